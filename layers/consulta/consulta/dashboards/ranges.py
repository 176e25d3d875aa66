"""Figures of a stretch of days: whole months are read as month rows, the days beside as day rows.

At most three ranges, one query each, however long the history. Days are the practice's.
"""

from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date, timedelta
from functools import partial

from consulta.aggregates import figures
from consulta.aggregates.figures import Figures
from consulta.core import table
from consulta.core.errors import Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.money import proportion
from consulta.people.records import EXPERT, PRACTICE

MAX_DAYS = 366
YEARS = range(1971, 2200)

Rows = list[tuple[date, Figures]]
Subject = tuple[str, str]
"""Kind and id: whose figures."""


def check(first: date, last: date) -> None:
    """Raises Invalid for a range that is backwards, too long, or beyond all calendars."""
    if last < first:
        raise Invalid.of("query.to", "The last day comes before the first", "range")
    is_range = (last - first).days < MAX_DAYS
    if first.year not in YEARS or last.year not in YEARS or not is_range:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_DAYS} days", "range")


def subject(by: Principal, expert_id: str | None) -> Subject:
    """The expert, or without one the caller's practice. Raises NotFound."""
    tenant = by.tenant
    if not expert_id:
        return PRACTICE, tenant.practice
    if table.get_raw(tenant.item(EXPERT, expert_id)) is None:
        raise NotFound
    return EXPERT, expert_id


def before(first: date, last: date) -> tuple[date, date]:
    """As many days right before."""
    return first - (last - first) - timedelta(days=1), first - timedelta(days=1)


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


def queries(
    tenant: Tenant, of: Subject, first: date, last: date, *, by_day: bool = False
) -> list[Callable[[], Rows]]:
    """The queries that give the rows of [first, last]: all by day, or by month where it can be."""
    ranges = [(False, first, last)] if by_day else list(parts(first, last))
    return [partial(_query, tenant, of, *one) for one in ranges]


def _query(tenant: Tenant, of: Subject, is_months: bool, first: date, last: date) -> Rows:
    read = figures.months if is_months else figures.days
    return list(read(tenant, *of, first, last).items())


def rows(tenant: Tenant, of: Subject, first: date, last: date, *, by_day: bool = False) -> Rows:
    """The rows that make up [first, last], each with its first day, in order."""
    return [row for query in queries(tenant, of, first, last, by_day=by_day) for row in query()]


def by_currency(found: Iterable[Figures], names: Collection[str]) -> dict[str, Counter[str]]:
    """What the money figures of these names come to, by currency; no currency without any."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for row in found:
        for figure, value in row.items():
            name, _, currency = figure.partition(".")
            if value and currency and name in names:
                sums[currency][name] += value
    return dict(sums)


def percent(value: int, base: int) -> float | None:
    """How much more than ``base``, in percent of it; None where there is nothing to compare."""
    return share(value - base, abs(base))


def share(part: int, whole: int) -> float | None:
    """``part`` in percent of ``whole``, one decimal, half to even; None where there is no whole."""
    return proportion(part, 1000, whole) / 10 if whole else None


def rating(row: Figures) -> float | None:
    """Stars per review, one decimal, half to even; None where there is no review."""
    return proportion(row["rating"], 10, row["reviews"]) / 10 if row["reviews"] else None
