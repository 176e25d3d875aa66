"""GET /v1/payments: by patient, by expert, or month by month; the newest first, or the oldest.

The dimension and the time are read by index; everything else is filtered within a read budget, so
that a page may be short and still go on (docs/lists.md).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from consulta.core.cursor import decode, encode
from consulta.core.errors import Forbidden, Invalid
from consulta.core.identity import Principal, own_only
from consulta.core.keys import Tenant
from consulta.core.listing import Plan, equal
from consulta.core.permissions import Role
from consulta.core.time import now, to_text, utc_months
from consulta.money.paying import payment_views
from consulta.money.records import PAYMENT, PaymentItem, State
from consulta.money.schema.payments import DisplayedStatus, PaymentFilter, PaymentPage

MAX_RANGE = timedelta(days=366)
EQUAL = ("state", "provider", "patient_id", "expert_id", "service_id")

# The status that :func:`consulta.money.paying.payment_views.displayed` shows, of the stored item.
_WENT_BACK = "#disputed = :zero AND #captured > :zero AND #refunded > :zero"
_PLAIN = "#disputed = :zero AND (#captured = :zero OR #refunded = :zero)"
_ASKED = f"{_PLAIN} AND #state = :open AND #requires_action"
_SHOWN: Mapping[DisplayedStatus, str] = {
    DisplayedStatus.DISPUTED: "#disputed <> :zero",
    DisplayedStatus.REFUNDED: f"{_WENT_BACK} AND #refunded >= #captured",
    DisplayedStatus.PARTIALLY_REFUNDED: f"{_WENT_BACK} AND #refunded < #captured",
    DisplayedStatus.REQUIRES_ACTION: f"{_ASKED} = :true",
    DisplayedStatus.OPEN: f"{_ASKED} <> :true",
    DisplayedStatus.PROCESSING: f"{_PLAIN} AND #state IN (:processing, :authorized)",
    DisplayedStatus.SUCCEEDED: f"{_PLAIN} AND #state = :succeeded",
    DisplayedStatus.CANCELLED: f"{_PLAIN} AND #state = :cancelled",
}
_VALUES: Mapping[str, Any] = {
    ":zero": 0,
    ":true": True,
    **{f":{state}": str(state) for state in State},
}


def page(by: Principal, wanted: PaymentFilter, limit: int, cursor: str | None) -> PaymentPage:
    """One page. Raises Forbidden, Invalid, BadRequest (a cursor of another list)."""
    if wanted.fraud_warning is not None and by.role is Role.PATIENT:
        raise Forbidden("Fraud warnings are for the practice")
    wanted = own_only(by, wanted, "payments")
    tenant = by.tenant
    scope = (tenant.practice, "/v1/payments", by.role, wanted.model_dump_json())
    raws, last_key = plan_of(tenant, _with_range(wanted)).read(limit, decode(cursor, *scope))
    shown = [payment_views.payment(by, PaymentItem.read(raw)) for raw in raws]
    return PaymentPage(items=shown, next_cursor=encode(last_key, *scope))


def plan_of(tenant: Tenant, wanted: PaymentFilter) -> Plan:
    """What is read of which index, for a range that the caller has given or been given."""
    first, end = wanted.from_ or now() - MAX_RANGE, wanted.to or now() + timedelta(days=1)
    newest_first = wanted.sort == "-created_at"
    others = {name: value for name in EQUAL if (value := getattr(wanted, name)) is not None}
    if wanted.patient_id:
        index, partitions = "l3", [tenant.listing_by(PAYMENT, "PATIENT", wanted.patient_id)]
        del others["patient_id"]
    elif wanted.expert_id:
        index, partitions = "l2", [tenant.listing_by(PAYMENT, "EXPERT", wanted.expert_id)]
        del others["expert_id"]
    else:
        months = list(utc_months(first, end))
        index, partitions = "l1", [tenant.listing_by(PAYMENT, "MONTH", month) for month in months]
    if newest_first:
        partitions.reverse()
    low, high = to_text(first), to_text(end)
    filtered = _filtered(others, wanted.status, wanted.fraud_warning)
    return Plan(index, tuple(partitions), low, high, newest_first=newest_first, **filtered)


def _filtered(
    others: dict[str, str], status: DisplayedStatus | None, warned: bool | None
) -> dict[str, Any]:
    """``where``, ``names`` and ``values`` of what no index narrows."""
    found = equal({f"wanted_{name}": value for name, value in others.items()})
    names = {f"#wanted_{name}": name for name in others}
    where, values = found["where"], found["values"]
    if status is not None:
        clause = _SHOWN[status]
        where = f"{where} AND {clause}" if where else clause
        names |= {f"#{name}": name for name in _NAMES if f"#{name}" in clause}
        values |= {name: value for name, value in _VALUES.items() if name in clause}
    if warned is not None:
        clause = f"attribute_{'' if warned else 'not_'}exists(#fraud_warning)"
        where = f"{where} AND {clause}" if where else clause
        names["#fraud_warning"] = "fraud_warning"
    return {"where": where, "names": names, "values": values}


_NAMES = ("captured", "refunded", "disputed", "state", "requires_action")


def _with_range(wanted: PaymentFilter) -> PaymentFilter:
    end = wanted.to or (wanted.from_ + MAX_RANGE if wanted.from_ else now() + timedelta(days=1))
    first = wanted.from_ or end - MAX_RANGE
    if not timedelta() < end - first <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    return wanted.model_copy(update={"from_": first, "to": end})
