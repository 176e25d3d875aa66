"""GET /v1/appointments/statistics: how many appointments of each status, from the figures alone.

Whole months are read as month rows, the days beside them as day rows: at most three ranges, and
never an appointment.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta

from consulta.aggregates import figures
from consulta.core import table
from consulta.core.errors import Forbidden, Invalid, NotFound
from consulta.core.identity import Principal, own_only
from consulta.core.permissions import Role
from consulta.core.time import from_text, now
from consulta.dashboards.schema_statistics import Statistics, StatisticsFilter
from consulta.people.records import EXPERT
from consulta.scheduling.records import Status

MAX_DAYS = 366
YEARS = range(1971, 2200)


def appointments(by: Principal, wanted: StatisticsFilter) -> Statistics:
    """Per status, of the practice or of one expert. Raises Forbidden, Invalid, NotFound.

    Patients' figures are not kept by day: they have their list.
    """
    if by.role is Role.PATIENT:
        raise Forbidden("These are figures of a practice")
    wanted = own_only(by, wanted, "appointments")
    first, last = wanted.first, wanted.last
    if first.year not in YEARS or last.year not in YEARS or not 0 <= (last - first).days < MAX_DAYS:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_DAYS} days", "range")
    tenant = by.tenant
    if wanted.expert_id and table.get_raw(tenant.item(EXPERT, wanted.expert_id)) is None:
        raise NotFound
    subject = (EXPERT, wanted.expert_id) if wanted.expert_id else ("PRACTICE", tenant.practice)
    instant, rows = now(), []
    for is_months, low, high in parts(first, last):
        read = figures.months if is_months else figures.days
        rows += list(read(tenant, *subject, low, high).values())
    counts = {str(status): sum(row[f"status.{status}"] for row in rows) for status in Status}
    changed = figures.latest(rows)
    return Statistics(
        first=first,
        last=last,
        expert_id=wanted.expert_id,
        statuses=counts,
        total=sum(counts.values()),
        as_of=instant,
        changed_at=from_text(changed) if changed else None,
    )


def parts(first: date, last: date) -> Iterator[tuple[bool, date, date]]:
    """[first, last] as ranges of whole months (True) and of days beside them."""
    begins = first if first.day == 1 else _next_month(first)
    last_of = last.replace(day=monthrange(last.year, last.month)[1])
    ends = last if last == last_of else last.replace(day=1) - timedelta(days=1)
    if begins > ends:
        yield False, first, last
        return
    if first < begins:
        yield False, first, begins - timedelta(days=1)
    yield True, begins, ends
    if ends < last:
        yield False, ends + timedelta(days=1), last


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
