"""Free starts of one expert: weekly hours, notice, horizon and what is booked. Pure.

Instants are seconds since 1970 (UTC). Source: MONEY_AND_BOOKING_RULES §10. Durations, buffers and
notice are elapsed time; only weekly hours and the horizon are read off the clocks of a zone.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from consulta.core.time import from_epoch, local_day, to_epoch

MINUTE, DAY = 60, 86_400
DAY_MINUTES = 1_440
# The longest service, so that hours are looked at far enough behind the last start.
MAX_DURATION_S = DAY


@dataclass(frozen=True, slots=True)
class Hours:
    """When an expert works, and how starts are cut out of that.

    ``weekly``: weekday (0 is Monday) → (from, to) in minutes after midnight on the clocks of
    ``zone``; 1440 is the midnight at the day's end.
    """

    zone: str
    weekly: Mapping[int, Sequence[tuple[int, int]]]
    interval_s: int
    buffer_before_s: int = 0
    buffer_after_s: int = 0
    min_notice_s: int = 0
    horizon_days: int = 60


@dataclass(frozen=True, slots=True)
class Busy:
    """A booked time with the buffers that it was booked with.

    ``group`` is the service of a group appointment: its seats share one time.
    """

    start: int
    end: int
    before: int = 0
    after: int = 0
    group: str = ""

    def reach(self) -> tuple[int, int]:
        """From and to, buffers included: the calendar days that hold it are those of its reach."""
        return self.start - self.before, self.end + self.after

    def clashes(self, other: "Busy") -> bool:
        """Whether the two are nearer than the larger of the buffers between them."""
        return self.start < other.end + max(
            other.after, self.before
        ) and other.start < self.end + max(self.after, other.before)

    def shares(self, other: "Busy") -> bool:
        """Whether the two are seats of the same group appointment."""
        return bool(self.group) and (self.group, self.start, self.end) == (
            other.group,
            other.start,
            other.end,
        )

    def fits(self, others: Iterable["Busy"], seats: int = 1) -> bool:
        """Whether it clashes with none of ``others``, and there is a seat left in its group."""
        taken = 0
        for other in others:
            if self.shares(other):
                taken += 1
            elif self.clashes(other):
                return False
        return taken < seats


@dataclass(frozen=True, slots=True)
class Limits:
    """The most appointments of an expert per local date and per week (Monday to Sunday).

    Source: MONEY_AND_BOOKING_RULES §10. The seats of a group appointment are one appointment.
    """

    zone: str
    per_day: int | None = None
    per_week: int | None = None

    def __bool__(self) -> bool:
        return self.per_day is not None or self.per_week is not None

    def window(self, start: int) -> tuple[int, int]:
        """From and to of the days whose appointments count beside one that starts then."""
        day = local_day(from_epoch(start), self.zone)
        first, length = day, 1
        if self.per_week is not None:
            first, length = day - timedelta(days=day.weekday()), 7
        zone = ZoneInfo(self.zone)
        return (
            to_epoch(datetime.combine(first, time(), zone)),
            to_epoch(datetime.combine(first + timedelta(days=length), time(), zone)),
        )

    def allow(self, candidate: Busy, others: Iterable[Busy]) -> bool:
        """Whether one more fits beside all of ``others`` in its day and week."""
        day = local_day(from_epoch(candidate.start), self.zone)
        monday = day - timedelta(days=day.weekday())
        in_day, in_week = set(), set()
        for number, other in enumerate(others):
            if candidate.shares(other):
                return True
            its = local_day(from_epoch(other.start), self.zone)
            # Seats of one group appointment count once.
            name: object = (other.group, other.start) if other.group else number
            if its == day:
                in_day.add(name)
            if monday <= its < monday + timedelta(days=7):
                in_week.add(name)
        return (self.per_day is None or len(in_day) < self.per_day) and (
            self.per_week is None or len(in_week) < self.per_week
        )


def _wall(day: date, minutes: int, zone: ZoneInfo, *, fold: int = 0) -> datetime:
    days, minutes = divmod(minutes, DAY_MINUTES)
    at = time(minutes // 60, minutes % 60, fold=fold)
    return datetime.combine(day + timedelta(days=days), at, zone)


def _exists(wall: datetime) -> bool:
    """Whether clocks show it at all: around the world and back it must be the same."""
    back = wall.astimezone(UTC).astimezone(wall.tzinfo)
    return back.replace(tzinfo=None) == wall.replace(tzinfo=None)


def opening(hours: Hours, first: date, last: date) -> Iterator[tuple[int, int]]:
    """Working hours of the local days ``first`` to ``last`` as instants, range by range.

    In a gap a wall time shifts forward by the gap (as RFC 5545 reads it: the offset before the
    gap). Where clocks go back, a start is the first occurrence and an end the second.
    """
    zone, day = ZoneInfo(hours.zone), first
    while day <= last:
        for start, end in hours.weekly.get(day.weekday(), ()):
            opens, closes = _wall(day, start, zone), _wall(day, end, zone, fold=1)
            if not _exists(closes):
                closes = closes.replace(fold=0)
            if to_epoch(opens) < to_epoch(closes):
                yield to_epoch(opens), to_epoch(closes)
        day += timedelta(days=1)


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges that touch as one: somebody who works past midnight does not stop there."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _around(hours: Hours, low: int, high: int) -> list[tuple[int, int]]:
    """The opening hours of every local day that a booking between ``low`` and ``high`` meets."""
    first = local_day(from_epoch(low), hours.zone) - timedelta(days=1)
    last = local_day(from_epoch(high + MAX_DURATION_S), hours.zone) + timedelta(days=1)
    return sorted(opening(hours, first, last))


def is_open(hours: Hours, start: int, end: int) -> bool:
    """Whether all of it lies in the opening hours."""
    return any(
        opens <= start and end <= closes for opens, closes in _joined(_around(hours, start, end))
    )


def offered(hours: Hours, duration_s: int, low: int, high: int, now: int) -> list[int]:
    """Every start in [low, high) that would be offered if nothing were booked, in order.

    Starts are ``interval_s`` apart from the beginning of their own range, so the same time is
    offered whatever range is asked for.
    """
    low = max(low, now + hours.min_notice_s)
    last_day = local_day(from_epoch(now), hours.zone) + timedelta(days=hours.horizon_days)
    horizon = datetime.combine(last_day + timedelta(days=1), time(), ZoneInfo(hours.zone))
    high = min(high, to_epoch(horizon))
    if low >= high:
        return []
    ranges = _around(hours, low, high)
    joined = _joined(ranges)
    ends = [closes for _, closes in joined]
    found: set[int] = set()
    for opens, closes in ranges:
        # The range that it is joined to: a booking may run on into the next one.
        until = ends[bisect_left(ends, closes)] - duration_s
        steps = max(0, -(-(low - opens) // hours.interval_s))
        first = opens + steps * hours.interval_s
        found.update(range(first, min(closes, high, until + 1), hours.interval_s))
    return sorted(found)


def free(starts: Iterable[int], candidate: Busy, busy: Iterable[Busy], seats: int = 1) -> list[int]:
    """Those of ``starts`` (in order) at which ``candidate`` would clash with nothing.

    ``candidate`` gives length, buffers and group; where it lies does not matter. A group's start
    is free while fewer than ``seats`` are taken.
    """
    length, every = candidate.end - candidate.start, list(busy)
    taken = sorted(
        (
            other.start - length - max(candidate.after, other.before),
            other.end + max(other.after, candidate.before),
        )
        for other in every
    )
    shared = {
        other.start
        for other in every
        if candidate.group and other.group == candidate.group and other.end - other.start == length
    }
    # A start strictly inside such an interval clashes. They may be nested: the furthest end counts.
    found, position, furthest = [], 0, None
    for start in starts:
        while position < len(taken) and taken[position][0] < start:
            end = taken[position][1]
            furthest = end if furthest is None else max(furthest, end)
            position += 1
        if start in shared:
            here = replace(candidate, start=start, end=start + length)
            if here.fits(every, seats):
                found.append(start)
        elif furthest is None or start >= furthest:
            found.append(start)
    return found


def nearest(starts: Iterable[int], wanted: int, count: int) -> list[int]:
    """The ``count`` starts that are nearest to ``wanted``, the nearest first."""
    return sorted(starts, key=lambda start: (abs(start - wanted), start))[:count]
