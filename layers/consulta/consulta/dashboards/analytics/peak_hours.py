"""GET /v1/analytics/peak-hours: when booked appointments begin, by weekday and hour."""

from collections.abc import Sequence

from consulta.core.identity import Principal
from consulta.dashboards import ranges
from consulta.dashboards.analytics.asked import Reads, asked, only
from consulta.dashboards.analytics.schema import (
    AnalyticsFilter,
    BusiestDay,
    BusiestHour,
    PeakHours,
)
from consulta.scheduling.records import BOOKED

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HOURS = 24


def of(by: Principal, wanted: AnalyticsFilter) -> PeakHours:
    """Of the practice or an expert. Raises Forbidden, Invalid, NotFound, Unavailable."""
    a = asked(by, wanted, "appointments")
    with Reads(a.tenant) as reads:
        in_range = reads.rows(a.subject, a.days, by_day=True)
        earlier = reads.rows(a.subject, a.before)
        matrix = [[0] * HOURS for _ in WEEKDAYS]
        for day, row in in_range():
            for hour in range(HOURS):
                matrix[day.weekday()][hour] += row[f"hour.{hour:02d}"]
        # Hours are inside days alone; what they come to is what is booked.
        before = sum(row[f"status.{status}"] for row in only(earlier()) for status in BOOKED)
        stamps = reads.stamps("hour", "status")
    by_hour = [sum(column) for column in zip(*matrix, strict=True)]
    by_day = [sum(hours) for hours in matrix]
    total, hour, day = sum(by_day), _most(by_hour), _most(by_day)
    return PeakHours(
        **a.shown(),
        **stamps,
        total=total,
        hours=matrix,
        busiest_hour=BusiestHour(hour=hour, appointments=by_hour[hour]) if total else None,
        busiest_day=BusiestDay(weekday=WEEKDAYS[day], appointments=by_day[day]) if total else None,
        previous_total=before,
        trend_percent=ranges.percent(total, before),
    )


def _most(counts: Sequence[int]) -> int:
    """Where the most are; of equals the first."""
    return max(range(len(counts)), key=lambda at: (counts[at], -at))
