"""GET /v1/appointments: one dimension and time by index, the rest by filter within a read budget.

docs/lists.md has the table.
"""

from datetime import datetime, timedelta

from consulta.core.cursor import decode, encode
from consulta.core.errors import Invalid
from consulta.core.identity import Principal, own_only
from consulta.core.keys import Tenant
from consulta.core.listing import Plan, equal
from consulta.core.time import now, to_text, utc_months
from consulta.scheduling import names
from consulta.scheduling.appointments import sees_patients
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.appointments import AppointmentFilter, AppointmentPage

MAX_RANGE = timedelta(days=366)
# Without a range the practice's list begins this long ago.
LOOK_BACK = timedelta(days=30)
# Items that one request may read, whether or not the filters let them through.
READ_BUDGET = 300


def page(
    by: Principal, wanted: AppointmentFilter, limit: int, cursor: str | None
) -> AppointmentPage:
    """One page, by start. Raises Forbidden, Invalid, BadRequest (a cursor of another list)."""
    wanted = _with_range(own_only(by, wanted, "appointments"))
    tenant = by.tenant
    scope = (tenant.practice, "/v1/appointments", by.role, wanted.model_dump_json())
    plan = plan_of(tenant, wanted, now())
    raws, last_key = plan.read(limit, decode(cursor, *scope))
    items = [AppointmentItem.read(raw) for raw in raws]
    return AppointmentPage(
        items=names.to_api(tenant, items, patients=sees_patients(by)),
        next_cursor=encode(last_key, *scope),
    )


def plan_of(tenant: Tenant, wanted: AppointmentFilter, instant: datetime) -> Plan:
    """By patient, else by expert, else month by month."""
    asked = {
        name: str(value)
        for name in ("status", "payment_status", "patient_id", "expert_id", "service_id")
        if (value := getattr(wanted, name)) is not None
    }
    low = to_text(wanted.low) if wanted.low else None
    # Places are "<start>#<id>", so the bound itself is left out: [from, to).
    high = to_text(wanted.high) if wanted.high else None
    newest_first = wanted.sort == "-start"
    partitions: tuple[str, ...]
    if patient := asked.pop("patient_id", None):
        index, partitions = "l3", (tenant.listing_by(APPOINTMENT, "PATIENT", patient),)
    elif expert := asked.pop("expert_id", None):
        index, partitions = "l2", (tenant.listing_by(APPOINTMENT, "EXPERT", expert),)
    else:
        first = wanted.low or instant - LOOK_BACK
        found = list(utc_months(first, wanted.high or first + MAX_RANGE))
        if newest_first:
            found.reverse()
        index = "l1"
        partitions = tuple(tenant.listing_by(APPOINTMENT, "MONTH", month) for month in found)
    return Plan(index, partitions, low, high, newest_first, **equal(asked), budget=READ_BUDGET)


def _with_range(wanted: AppointmentFilter) -> AppointmentFilter:
    """Both ends where there is one."""
    low, high = wanted.low, wanted.high
    if low is None and high is None:
        return wanted
    if low is None and high is not None:
        low = high - MAX_RANGE
    if high is None and low is not None:
        high = low + MAX_RANGE
    if low is not None and high is not None and not timedelta() < high - low <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    return wanted.model_copy(update={"low": low, "high": high})
