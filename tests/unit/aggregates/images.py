"""Items with figures, as DynamoDB's attribute maps, made by the real models."""

from datetime import UTC, datetime
from typing import Any

from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant
from consulta.core.table import Raw
from consulta.core.time import to_text
from consulta.money.disputes.records import DISPUTE, DisputeItem
from consulta.money.records import (
    PAYMENT,
    POSTING,
    REFUND,
    PaymentItem,
    PostingItem,
    RefundItem,
)
from consulta.people.records import PATIENT, PROFILE_VIEWS, PatientItem, ProfileViewsItem
from consulta.people.thread_records import THREAD, ThreadItem
from consulta.scheduling.records import APPOINTMENT, SERVICE, AppointmentItem, ServiceItem
from consulta.scheduling.review_records import REVIEW, ReviewItem

PRACTICE_ID = "prac_01JC0000000000000000000000"
TENANT = Tenant(PRACTICE_ID)
BY = Actor("person_1", "request_1")
AT = datetime(2026, 11, 20, 9, tzinfo=UTC)

WHO = {"expert_id": "exp_1", "patient_id": "pat_1", "service_id": "srv_1"}
DEFAULTS: dict[str, dict[str, Any]] = {
    APPOINTMENT: WHO
    | {
        "status": "confirmed",
        "payment_status": "unpaid",
        "start": AT,
        "end": AT,
        "buffer_before_s": 0,
        "buffer_after_s": 0,
        "zone": "Europe/Lisbon",
        "local_date": "2026-11-20",
        "local_hour": 9,
        "price": 5000,
        "currency": "EUR",
        "order_id": "ord_1",
        "policy": {"version": 1},
    },
    PAYMENT: WHO
    | {
        "appointment_id": "appt_1",
        "order_id": "ord_1",
        "payee_id": "payee_1",
        "provider": "stripe",
        "state": "succeeded",
        "amount": 5000,
        "captured": 5000,
        "commission": 500,
        "fee": 95,
        "currency": "EUR",
        "zone": "Europe/Lisbon",
        "local_date": "2026-11-20",
    },
    REFUND: WHO
    | {
        "payment_id": "pay_1",
        "appointment_id": "appt_1",
        "provider": "stripe",
        "state": "succeeded",
        "amount": 2000,
        "commission": 200,
        "currency": "EUR",
        "reason": "cancelled",
        "zone": "Europe/Lisbon",
        "local_date": "2026-11-21",
    },
    DISPUTE: WHO
    | {
        "payment_id": "pay_1",
        "provider": "stripe",
        "provider_id": "du_1",
        "amount": 5000,
        "held": 5000,
        "currency": "EUR",
        "reason": "fraudulent",
        "status": "needs_response",
        "opened_at": AT,
        "zone": "Europe/Lisbon",
        "local_date": "2026-11-23",
    },
    POSTING: {
        "event": "earned",
        "posting_key": "earned:pay_1:2",
        "payment_id": "pay_1",
        "expert_id": "exp_1",
        "currency": "EUR",
        "entries": [
            {"book": "PAYEE:payee_1", "account": "patient", "debit": 5000, "credit": 0},
            {"book": "PAYEE:payee_1", "account": "revenue", "debit": 0, "credit": 4132},
            {"book": "PAYEE:payee_1", "account": "tax_out", "debit": 0, "credit": 868},
        ],
        "occurred_at": AT,
        "local_date": "2026-11-22",
    },
    PATIENT: {"name": "Ana", "local_date": "2026-11-19"},
    SERVICE: {
        "name": "Session",
        "duration_s": 3000,
        "price": 5000,
        "currency": "EUR",
        "expert_ids": ["exp_1", "exp_2"],
    },
    REVIEW: WHO
    | {
        "appointment_id": "appt_1",
        "rating": 4,
        "zone": "Europe/Lisbon",
        "local_date": "2026-11-24",
    },
    THREAD: {
        "patient_id": "pat_1",
        "expert_id": "exp_1",
        "zone": "Europe/Lisbon",
        "unread_practice": 3,
        "unread_patient": 2,
        "last_at": AT,
        "last_from": "patient",
    },
    PROFILE_VIEWS: {
        "expert_id": "exp_1",
        "zone": "Europe/Lisbon",
        "local_date": "2026-11-25",
        "views": 7,
    },
}
MODELS = {
    APPOINTMENT: AppointmentItem,
    PAYMENT: PaymentItem,
    REFUND: RefundItem,
    DISPUTE: DisputeItem,
    POSTING: PostingItem,
    PATIENT: PatientItem,
    SERVICE: ServiceItem,
    REVIEW: ReviewItem,
    THREAD: ThreadItem,
    PROFILE_VIEWS: ProfileViewsItem,
}


def key(entity: str, item_id: str, tenant: Tenant = TENANT) -> Key:
    """An item's key."""
    return tenant.item(entity, item_id)


def image(
    entity: str, item_id: str = "1", version: int = 1, tenant: Tenant = TENANT, **changes: Any
) -> Raw:
    """An item with the defaults of its entity, except for ``changes``; None takes one out."""
    made = changes.pop("created_at", AT)
    values = {name: v for name, v in (DEFAULTS[entity] | changes).items() if v is not None}
    lists = {
        name: f"{tenant.prefix}LIST#{name[:2]}" if name.endswith("pk") else item_id
        for name in ("l1pk", "l1sk", "l2pk", "l2sk", "l3pk", "l3sk")
        if name in MODELS[entity].get_attributes()
    }
    item = MODELS[entity].create(
        key(entity, item_id, tenant),
        entity,
        BY,
        version=version,
        walkpk=tenant.listing(entity),
        walksk=item_id,
        **(lists | values),
    )
    # The stream gives plain maps; the model's are of a type of its own.
    return dict(item.serialize()) | {"created_at": {"S": to_text(made)}}


def record(number: int, new: Raw | None, old: Raw | None = None) -> dict[str, Any]:
    """The stream's record of one change, as Lambda gets it."""
    seen = new or old
    assert seen is not None
    body: dict[str, Any] = {
        "Keys": {"pk": seen["pk"], "sk": seen["sk"]},
        "SequenceNumber": f"{number:021d}",
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if new:
        body["NewImage"] = new
    if old:
        body["OldImage"] = old
    name = "MODIFY" if new and old else "INSERT" if new else "REMOVE"
    return {"eventID": str(number), "eventName": name, "dynamodb": body}
