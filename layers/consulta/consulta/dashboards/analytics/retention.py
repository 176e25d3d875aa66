"""GET /v1/analytics/retention: who came back, by the month of their first completed visit."""

from datetime import date, timedelta
from functools import partial

from consulta.aggregates.catalog import COHORT, VISITED
from consulta.aggregates.figures import Figures
from consulta.core import table
from consulta.core.errors import Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.time import local_day
from consulta.dashboards import ranges
from consulta.dashboards.analytics.asked import Reads, must_see_all
from consulta.dashboards.analytics.schema import (
    Cohort,
    CohortMonth,
    RetentionAnalytics,
    RetentionFilter,
)
from consulta.people.records import PRACTICE

MAX_MONTHS = 24


def of(by: Principal, wanted: RetentionFilter) -> RetentionAnalytics:
    """Of the whole practice. Raises Forbidden, Invalid, NotFound, Unavailable."""
    must_see_all(by, "appointments")
    first, last = _number(wanted.first), _number(wanted.last)
    length = last - first + 1
    years = {first // 12, last // 12}
    if not 0 < length <= MAX_MONTHS or any(year not in ranges.YEARS for year in years):
        raise Invalid.of("query.to", f"Give a range of at most {MAX_MONTHS} months", "range")
    tenant = by.tenant
    with Reads(tenant) as reads:
        practice = reads.later(partial(table.get_raw, tenant.item(PRACTICE, tenant.practice)))
        # As many months before with them, in the same query.
        days = _first_day(first - length), _first_day(last + 1) - timedelta(days=1)
        rows = {
            day.year * 12 + day.month - 1: row
            for day, row in reads.rows((COHORT, tenant.practice), days)()
        }
        item, stamps = practice(), reads.stamps(VISITED)
    if item is None:
        raise NotFound
    today = local_day(reads.as_of, item["zone"]["S"])
    sizes = {number: _visited(row, 0) for number, row in rows.items()}
    total = sum(size for number, size in sizes.items() if number >= first)
    before = sum(size for number, size in sizes.items() if number < first)
    return RetentionAnalytics(
        first=wanted.first,
        last=wanted.last,
        **stamps,
        cohorts=[
            _cohort(number, rows.get(number, Figures()), today.year * 12 + today.month - 1)
            for number in range(first, last + 1)
        ],
        total=total,
        previous_total=before,
        trend_percent=ranges.percent(total, before),
    )


def _cohort(number: int, row: Figures, present: int) -> Cohort:
    size = _visited(row, 0)
    later = range(number + 1, present + 1) if size else ()
    return Cohort(
        month=_text(number),
        patients=size,
        later=[
            CohortMonth(
                months_later=month - number,
                month=_text(month),
                patients=_visited(row, month - number),
                percent=ranges.share(_visited(row, month - number), size),
            )
            for month in later
        ],
    )


def _visited(row: Figures, months_later: int) -> int:
    return row[f"{VISITED}.{months_later}"]


def _number(month: str) -> int:
    """Months since the year 0, so that they can be added to."""
    return int(month[:4]) * 12 + int(month[5:]) - 1


def _text(number: int) -> str:
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


def _first_day(number: int) -> date:
    return date(number // 12, number % 12 + 1, 1)
