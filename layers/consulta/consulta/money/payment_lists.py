"""GET /v1/payments: by patient, by expert, or month by month; the newest first.

The dimension and the time are read by index; state, provider and the derived status are filtered
among at most ``limit`` items read per partition, so that a page may be short and still go on.
"""

from datetime import timedelta

from consulta.core.cursor import decode, encode
from consulta.core.errors import Invalid
from consulta.core.identity import Principal, own_only
from consulta.core.keys import Tenant
from consulta.core.listing import Plan
from consulta.core.time import now, to_text, utc_months
from consulta.money import payment_views
from consulta.money.records import PAYMENT, PaymentItem
from consulta.money.schema import PaymentFilter, PaymentPage

MAX_RANGE = timedelta(days=366)


def page(by: Principal, wanted: PaymentFilter, limit: int, cursor: str | None) -> PaymentPage:
    """One page. Raises Forbidden, Invalid, BadRequest (a cursor of another list)."""
    wanted = own_only(by, wanted, "payments")
    tenant = by.tenant
    scope = (tenant.practice, "/v1/payments", by.role, wanted.model_dump_json())
    wanted = _with_range(wanted)
    # What the index does not know is filtered afterwards: pages may be short.
    raws, last_key = _plan(tenant, wanted).read(limit, decode(cursor, *scope))
    found = [PaymentItem.read(raw) for raw in raws]
    shown = [payment_views.payment(by, item) for item in found if _passes(item, wanted)]
    return PaymentPage(items=shown, next_cursor=encode(last_key, *scope))


def _plan(tenant: Tenant, wanted: PaymentFilter) -> Plan:
    first, end = wanted.from_ or now() - MAX_RANGE, wanted.to or now() + timedelta(days=1)
    low, high = to_text(first), to_text(end)
    if wanted.patient_id:
        index, partitions = "l3", [tenant.listing_by(PAYMENT, "PATIENT", wanted.patient_id)]
    elif wanted.expert_id:
        index, partitions = "l2", [tenant.listing_by(PAYMENT, "EXPERT", wanted.expert_id)]
    else:
        months = reversed(list(utc_months(first, end)))
        index, partitions = "l1", [tenant.listing_by(PAYMENT, "MONTH", month) for month in months]
    return Plan(index, tuple(partitions), low, high, newest_first=True)


def _passes(item: PaymentItem, wanted: PaymentFilter) -> bool:
    equal = {
        name: value
        for name in ("state", "provider", "patient_id", "expert_id")
        if (value := getattr(wanted, name)) is not None
    }
    if any(getattr(item, name) != value for name, value in equal.items()):
        return False
    return wanted.status is None or payment_views.displayed(item) is wanted.status


def _with_range(wanted: PaymentFilter) -> PaymentFilter:
    end = wanted.to or (wanted.from_ + MAX_RANGE if wanted.from_ else now() + timedelta(days=1))
    first = wanted.from_ or end - MAX_RANGE
    if not timedelta() < end - first <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    return wanted.model_copy(update={"from_": first, "to": end})
