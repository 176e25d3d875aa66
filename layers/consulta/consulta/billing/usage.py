"""Requests per hour, day, member, key and route, from the rows that the limiter writes.

The rows lie in one partition per practice and UTC month, in order of time (core/limits.py). Figures
are what the table has, never what a function remembers.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from consulta.billing.schema import GroupBy, UsageOut, UsagePage
from consulta.core import cursor as cursors
from consulta.core import limits, settings
from consulta.core.errors import Invalid
from consulta.core.identity import Principal
from consulta.core.table import Query, Raw, from_raw
from consulta.core.time import now, to_text, utc_months

MAX_RANGE = timedelta(days=93)
DEFAULT_RANGE = timedelta(days=30)
# Rows of a page: an hour of one caller each, so a day of twenty people is one page.
ROWS_READ = 500
_BATCH = 100
_HOUR = timedelta(hours=1)
# Behind every principal of an hour.
_AFTER = "#~"


def usage(
    by: Principal,
    low: datetime | None,
    high: datetime | None,
    group_by: GroupBy,
    limit: int,
    cursor: str | None,
) -> UsagePage:
    """Usage of the caller's practice in ``low`` (included) to ``high`` (not), by whole UTC hours.

    A page has at most ``limit`` groups from at most 500 rows read. Raises Invalid for a range that
    is empty or above 93 days, BadRequest for a cursor of another list.
    """
    first, end = _range(low, high)
    scope = (by.tenant.practice, "usage", to_text(first), to_text(end), group_by)
    found: dict[str | None, list[int]] = {}
    last: Raw | None = None
    is_more = False
    rows = _rows(by, first, end, cursors.decode(cursor, *scope))
    for number, row in enumerate(rows):
        parts = _parts(from_raw(row), group_by)
        if number == ROWS_READ or len(found.keys() | parts.keys()) > max(limit, len(parts)):
            is_more = True
            break
        for group, (calls, refused) in parts.items():
            sums = found.setdefault(group, [0, 0])
            sums[0] += calls
            sums[1] += refused
        last = {"pk": row["pk"], "sk": row["sk"]}
    return UsagePage(
        start=first,
        end=end,
        group_by=group_by,
        items=[UsageOut(group=g, calls=c, refused=x) for g, (c, x) in found.items()],
        next_cursor=cursors.encode(last, *scope) if is_more else None,
    )


def _range(low: datetime | None, high: datetime | None) -> tuple[datetime, datetime]:
    """Whole hours, since the counters know no less: the first and the last are in it whole."""
    try:
        end = _hour((high or now()) + _HOUR - timedelta(microseconds=1))
        start = _hour(low) if low else end - DEFAULT_RANGE
    except OverflowError:
        raise Invalid.of("query.to", "There is no such time", "range") from None
    if start >= end:
        raise Invalid.of("query.to", "to must be after from", "range")
    if end - start > MAX_RANGE:
        raise Invalid.of("query.to", f"At most {MAX_RANGE.days} days at once", "range")
    return start, end


def _hour(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _rows(by: Principal, first: datetime, end: datetime, start: Raw | None) -> Iterator[Raw]:
    """The rows of the range in order of time, read only as far as they are asked for."""
    name = settings.load(limits.LimitSettings).counters_table
    if not name:
        return
    low, high = to_text(first), to_text(end - _HOUR)
    for month in utc_months(first, end - _HOUR):
        partition = by.tenant.usage(month)
        if start and start["pk"]["S"] > partition:
            continue
        query = Query(
            partition,
            low=low[8:13] if month == low[:7] else "00",
            high=(high[8:13] if month == high[:7] else "31T23") + _AFTER,
            table=name,
        )
        after = start if start and start["pk"]["S"] == partition else None
        while True:
            page = query.page(_BATCH, after)
            yield from page.items
            after = page.last_key
            if after is None:
                break


def _parts(row: dict[str, object], group_by: GroupBy) -> dict[str | None, tuple[int, int]]:
    """What one row adds: calls and refused ones by group."""
    calls, refused = int(str(row.get("n", 0))), int(str(row.get("x", 0)))
    if group_by is GroupBy.ROUTE:
        found: dict[str | None, tuple[int, int]] = {
            limits.route_of(name.removeprefix(limits.ROUTE)): (int(str(value)), 0)
            for name, value in row.items()
            if name.startswith(limits.ROUTE)
        }
        return found | ({None: (0, refused)} if refused else {})
    return {_group(row, group_by): (calls, refused)}


def _group(row: dict[str, object], group_by: GroupBy) -> str | None:
    hour, _, principal = str(row["sk"]).partition("#")
    month = str(row["pk"]).rpartition("#")[2]
    if group_by is GroupBy.MEMBER:
        return str(row["w"]) if "w" in row else None
    if group_by is GroupBy.KEY:
        kind, _, key = principal.partition(":")
        return key if kind == "key" else None
    day, _, clock = hour.partition("T")
    return f"{month}-{day}" if group_by is GroupBy.DAY else f"{month}-{day}T{clock}:00:00Z"
