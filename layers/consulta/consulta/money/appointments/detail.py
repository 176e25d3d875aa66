"""GET /v1/appointments/{id}: one appointment with its payments, messages, rooms and names.

Three round trips, whatever there is: the appointment; its messages beside its order's list of
payments; everything that has a name, and the payments, in one batch.
"""

from concurrent.futures import ThreadPoolExecutor

from consulta.core import aws, table
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.keys import Key
from consulta.core.time import from_text
from consulta.money.paying import payment_views
from consulta.money.paying.orders import Order
from consulta.money.records import PAYMENT, PaymentItem
from consulta.money.schema.detail import AppointmentInFull, NotificationLine, PaymentLine, Place
from consulta.scheduling import appointments, names
from consulta.scheduling.records import RESOURCE, AppointmentItem

MAX_PAYMENTS, MAX_NOTIFICATIONS = 20, 20
# Written by what sends them, under the appointment; the newest sorts last.
NOTIFICATION = "NOTIFICATION#"


def get(by: Principal, appointment_id: str) -> AppointmentInFull:
    """One appointment in full. Raises NotFound."""
    aws.client("dynamodb")  # made here, before the two readers race for it
    item = appointments.load(by, appointment_id)
    with ThreadPoolExecutor(2) as pool:
        messages = pool.submit(_notifications, item)
        ids = pool.submit(_payment_ids, by, item)
        payment_ids = ids.result()
        notifications = messages.result()
    resource_keys = [item.tenant.item(RESOURCE, str(one)) for one in item.resource_ids]
    payment_keys = [item.tenant.item(PAYMENT, one) for one in payment_ids or ()]
    named = names.keys_of(item.tenant, [item], patients=appointments.sees_patients(by))
    found = table.batch_get_raw([*sorted(named, key=str), *resource_keys, *payment_keys])
    known = names.named(item.tenant, found)
    detail = appointments.detail(item, known)
    return AppointmentInFull.model_validate(
        {
            **dict(detail),
            "location": _place(item),
            "meeting_url": item.meeting_url,
            "resources": [known.ref(RESOURCE, str(one)) for one in item.resource_ids],
            "payments": None if payment_ids is None else _payments(by, found, payment_keys),
            "notifications": notifications,
        }
    )


def _payment_ids(by: Principal, item: AppointmentItem) -> list[str] | None:
    """Of its order, the oldest first; None where the caller may see no payments of it."""
    if not by.may("payments:read") or not by.sees("payments", item.patient_id, item.expert_id):
        return None
    return list(Order.read(item.tenant, item.order_id).payment_ids[-MAX_PAYMENTS:])


def _payments(by: Principal, found: dict[Key, table.Raw], keys: list[Key]) -> list[PaymentLine]:
    items = [PaymentItem.read(found[key]) for key in keys if key in found]
    return [_payment(item) for item in items if payment_views.visible(by, item)]


def _payment(item: PaymentItem) -> PaymentLine:
    return PaymentLine.model_validate(
        {
            "id": item.item_id,
            "part": item.part,
            "provider": item.provider,
            "status": payment_views.displayed(item),
            "amount": Amount(amount=int(item.amount), currency=item.currency),
            "refunded": Amount(amount=int(item.refunded), currency=item.currency),
            "created_at": item.created_at,
        }
    )


def _notifications(item: AppointmentItem) -> list[NotificationLine]:
    """The newest first."""
    query = table.Query(item.pk, begins=NOTIFICATION, newest_first=True)
    found = (table.from_raw(raw) for raw in query.page(MAX_NOTIFICATIONS).items)
    lines = [
        NotificationLine(
            kind=str(row.get("kind") or ""),
            channel=str(row.get("channel") or ""),
            status=str(row.get("status") or ""),
            at=from_text(str(row["at"])) if row.get("at") else None,
            reason=str(row["reason"]) if row.get("reason") else None,
        )
        for row in found
    ]
    return sorted(lines, key=lambda line: line.at.timestamp() if line.at else 0, reverse=True)


def _place(item: AppointmentItem) -> Place | None:
    kind = (item.location or {}).get("kind")
    return Place(kind=kind, address=item.location.get("address") or None) if kind else None
