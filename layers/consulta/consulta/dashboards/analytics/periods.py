"""A range cut into days, ISO weeks or months. Its first and last period end where it does."""

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from consulta.aggregates.figures import Figures
from consulta.dashboards.analytics.schema import Interval
from consulta.dashboards.ranges import Rows


def by_day(group: Interval) -> bool:
    """Whether day rows are needed: weeks do not end where months do."""
    return group is not Interval.MONTH


def points(
    first: date, last: date, group: Interval, rows: Rows
) -> Iterator[tuple[dict[str, Any], list[Figures]]]:
    """Every period of the range, in order, as an answer names it; with the rows that are in it."""
    found: dict[str, list[Figures]] = defaultdict(list)
    for day, row in rows:
        found[_label(day, group)].append(row)
    day = first
    while day <= last:
        end, label = min(_last_of(day, group), last), _label(day, group)
        yield {"period": label, "first": day, "last": end}, found[label]
        day = end + timedelta(days=1)


def _label(day: date, group: Interval) -> str:
    match group:
        case Interval.DAY:
            return day.isoformat()
        case Interval.WEEK:
            return (day - timedelta(days=day.weekday())).isoformat()
        case Interval.MONTH:
            return f"{day:%Y-%m}"


def _last_of(day: date, group: Interval) -> date:
    match group:
        case Interval.DAY:
            return day
        case Interval.WEEK:
            return day + timedelta(days=6 - day.weekday())
        case Interval.MONTH:
            return day.replace(day=monthrange(day.year, day.month)[1])
