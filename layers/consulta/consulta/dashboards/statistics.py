"""GET /v1/appointments/statistics: how many appointments of each status, from the figures alone."""

from consulta.aggregates import figures
from consulta.core.errors import Forbidden
from consulta.core.identity import Principal, own_only
from consulta.core.permissions import Role
from consulta.core.time import from_text, now
from consulta.dashboards import ranges
from consulta.dashboards.schema_statistics import Statistics, StatisticsFilter
from consulta.scheduling.records import Status


def appointments(by: Principal, wanted: StatisticsFilter) -> Statistics:
    """Per status, of the practice or of one expert. Raises Forbidden, Invalid, NotFound.

    Patients' figures are not kept by day: they have their list.
    """
    if by.role is Role.PATIENT:
        raise Forbidden("These are figures of a practice")
    wanted = own_only(by, wanted, "appointments")
    first, last = wanted.first, wanted.last
    ranges.check(first, last)
    subject = ranges.subject(by, wanted.expert_id)
    instant = now()
    rows = [row for _, row in ranges.rows(by.tenant, subject, first, last)]
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
