"""Free starts of one expert: hours, days off, notice, horizon, and what is booked. Pure.

Instants are seconds since 1970 (UTC). Source: MONEY_AND_BOOKING_RULES §10. Durations, buffers and
notice are elapsed time; only hours, days off and the horizon are read off the clocks of a zone.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from operator import itemgetter
from zoneinfo import ZoneInfo

from consulta.core.time import from_epoch, local_day, to_epoch

MINUTE, DAY = 60, 86_400
DAY_MINUTES = 1_440
# The longest service, so that hours are looked at far enough behind the last start.
MAX_DURATION_S = DAY


class DayReason(StrEnum):
    """Why a day has no free start; the least closed first."""

    FULL = "full"
    NOTICE = "notice"
    HORIZON = "horizon"
    PAST = "past"
    VACATION = "vacation"
    CLOSED = "closed"
    NO_HOURS = "no_hours"


@dataclass(frozen=True, slots=True)
class Off:
    """Local dates off, both included: from the first's midnight to that behind the last.

    ``said`` is what is shown of it: a vacation's message, a closure's or holiday's name.
    """

    first: date
    last: date
    said: str = ""


@dataclass(frozen=True, slots=True)
class Hours:
    """When an expert works, and how starts are cut out of that.

    ``weekly``: weekday (0 is Monday) → (from, to) in minutes after midnight on the clocks of
    ``zone``; 1440 is the midnight at the day's end. ``overrides`` are a date's hours in place of
    the weekly ones. ``vacations`` are dates of ``zone``, ``closed`` those of ``closed_zone``, the
    practice's: both take away from the hours, whatever these are.
    """

    zone: str
    weekly: Mapping[int, Sequence[tuple[int, int]]]
    interval_s: int
    buffer_before_s: int = 0
    buffer_after_s: int = 0
    min_notice_s: int = 0
    horizon_days: int = 60
    overrides: Mapping[date, Sequence[tuple[int, int]]] = field(default_factory=dict)
    vacations: Sequence[Off] = ()
    closed: Sequence[Off] = ()
    closed_zone: str = "UTC"

    def of(self, day: date) -> Sequence[tuple[int, int]]:
        """The ranges of one local date."""
        found = self.overrides.get(day)
        return self.weekly.get(day.weekday(), ()) if found is None else found


@dataclass(frozen=True, slots=True)
class Busy:
    """A booked time with the buffers that it was booked with.

    ``group`` names a group appointment (:func:`consulta.scheduling.busy.group_of`): its seats
    share one time.
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
        return midnight(first, self.zone), midnight(first + timedelta(days=length), self.zone)

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

    def within(self, starts: Iterable[int], candidate: Busy, others: Iterable[Busy]) -> list[int]:
        """Those of ``starts`` at which one more is allowed, by one look at ``others``."""
        clocks, every = ZoneInfo(self.zone), list(others)
        day_of = {start: datetime.fromtimestamp(start, clocks).date() for start in starts}
        counted = [
            datetime.fromtimestamp(start, clocks).date()
            for start in [
                *(other.start for other in every if not other.group),
                # Seats of one group appointment count once.
                *(start for _, start in {(one.group, one.start) for one in every if one.group}),
            ]
        ]
        per_day = Counter(counted)
        per_week = Counter(day - timedelta(days=day.weekday()) for day in counted)
        seated = taken_seats(candidate, every)
        return [
            start
            for start, day in day_of.items()
            if start in seated
            or (
                (self.per_day is None or per_day[day] < self.per_day)
                and (
                    self.per_week is None
                    or per_week[day - timedelta(days=day.weekday())] < self.per_week
                )
            )
        ]


def midnight(day: date, zone: str) -> int:
    """The first instant of a local date, whether or not its clocks show a midnight."""
    clocks = ZoneInfo(zone)
    begins = datetime.combine(day, time(), clocks)
    found = to_epoch(begins)
    if _exists(begins):
        return found
    # Clocks are put forward over midnight: somewhere between the two readings of it.
    low = to_epoch(begins.replace(fold=1))
    while low < found:
        middle = (low + found) // 2
        if datetime.fromtimestamp(middle, clocks).date() < day:
            low = middle + 1
        else:
            found = middle
    return found


def _wall(day: date, minutes: int, zone: ZoneInfo, *, fold: int = 0) -> datetime:
    days, minutes = divmod(minutes, DAY_MINUTES)
    at = time(minutes // 60, minutes % 60, fold=fold)
    return datetime.combine(day + timedelta(days=days), at, zone)


def _exists(wall: datetime) -> bool:
    """Whether clocks show it at all: around the world and back it must be the same."""
    back = wall.astimezone(UTC).astimezone(wall.tzinfo)
    return back.replace(tzinfo=None) == wall.replace(tzinfo=None)


def opening(hours: Hours, first: date, last: date) -> Iterator[tuple[int, int]]:
    """The hours of the local days ``first`` to ``last`` as instants, range by range.

    Vacations and closures are not taken out yet: starts keep their places around them. In a gap a
    wall time shifts forward by the gap (as RFC 5545 reads it: the offset before the gap). Where
    clocks go back, a start is the first occurrence and an end the second.
    """
    zone, day = ZoneInfo(hours.zone), first
    while day <= last:
        for start, end in hours.of(day):
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


def _without(
    ranges: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    """What is left of ``ranges`` (joined, in order) beside all of ``taken``."""
    left, rest, position = [], _joined(taken), 0
    for start, end in ranges:
        while position < len(rest) and rest[position][1] <= start:
            position += 1
        begins = start
        for low, high in rest[position:]:
            if low >= end:
                break
            if begins < low:
                left.append((begins, low))
            begins = high
        if begins < end:
            left.append((begins, end))
    return left


def _days(zone: str, low: int, high: int) -> tuple[date, date]:
    """The local dates that a booking between ``low`` and ``high`` meets, and one more each way."""
    first = local_day(from_epoch(low), zone) - timedelta(days=1)
    return first, local_day(from_epoch(high + MAX_DURATION_S), zone) + timedelta(days=1)


def _off(hours: Hours, low: int, high: int) -> Iterator[tuple[int, int, DayReason, Off]]:
    """Vacations and closures that may touch [low, high), as instants."""
    for reason, zone, every in (
        (DayReason.VACATION, hours.zone, hours.vacations),
        (DayReason.CLOSED, hours.closed_zone, hours.closed),
    ):
        if not every:
            continue
        first, last = _days(zone, low, high)
        for one in every:
            if one.first <= last and first <= one.last:
                # Only the days that matter: a date may lie at the end of the calendar.
                begins = midnight(max(one.first, first), zone)
                ends = midnight(min(one.last, last) + timedelta(days=1), zone)
                yield begins, ends, reason, one


def is_open(hours: Hours, start: int, end: int) -> bool:
    """Whether all of it lies in the hours, and no vacation and no closure in it."""
    ranges = _joined(opening(hours, *_days(hours.zone, start, end)))
    return any(opens <= start and end <= closes for opens, closes in ranges) and not any(
        begins < end and start < ends for begins, ends, _, _ in _off(hours, start, end)
    )


def horizon(hours: Hours, now: int) -> int:
    """The end of the last local day that may be booked."""
    last = local_day(from_epoch(now), hours.zone) + timedelta(days=hours.horizon_days)
    return midnight(last + timedelta(days=1), hours.zone)


def offered(hours: Hours, duration_s: int, low: int, high: int, now: int) -> list[int]:
    """Every start in [low, high) that would be offered if nothing were booked, in order.

    Starts are ``interval_s`` apart from the beginning of their own range, so the same time is
    offered whatever range is asked for, and whatever is closed before it.
    """
    low, high = max(low, now + hours.min_notice_s), min(high, horizon(hours, now))
    return grid(hours, duration_s, low, high)


def grid(hours: Hours, duration_s: int, low: int, high: int) -> list[int]:
    """The same without regard to notice and horizon."""
    if low >= high:
        return []
    ranges = sorted(opening(hours, *_days(hours.zone, low, high)))
    # A booking may run on into the next range, but into no day off.
    pieces = _without(
        _joined(ranges), ((begins, ends) for begins, ends, _, _ in _off(hours, low, high))
    )
    ends = [end for _, end in pieces]
    found: set[int] = set()
    for opens, closes in ranges:
        for position in range(bisect_right(ends, max(opens, low)), len(pieces)):
            begin, end = pieces[position]
            until = min(closes, high, end - duration_s + 1)
            if begin >= min(closes, high):
                break
            steps = max(0, -(-(max(begin, low) - opens) // hours.interval_s))
            found.update(range(opens + steps * hours.interval_s, until, hours.interval_s))
    return sorted(found)


def why(
    hours: Hours, duration_s: int, edges: Sequence[int], now: int
) -> list[tuple[DayReason, str]]:
    """For each stretch between two of ``edges``: why it has no free start, where it has none.

    With what is said of a vacation, closure or holiday.
    """
    low, high = edges[0], edges[-1]
    notice, last = now + hours.min_notice_s, horizon(hours, now)
    starts = grid(hours, duration_s, low, high)
    bare = grid(replace(hours, vacations=(), closed=()), duration_s, low, high)
    # Vacations before closures: they have a message.
    off = list(_off(hours, low, high))
    found = []
    for begins, ends in pairwise(edges):
        mine = starts[bisect_left(starts, begins) : bisect_left(starts, ends)]
        plain = bare[bisect_left(bare, begins) : bisect_left(bare, ends)]
        # Without hours it is still a vacation that covers all of it.
        asked = [(start, start + duration_s) for start in plain] or [(begins, ends)]
        taken = [
            (reason, one.said)
            for at, until, reason, one in off
            if at < asked[-1][1]
            and until > begins
            and any(
                (at < end and start < until) if plain else (at <= start and end <= until)
                for start, end in asked
            )
        ]
        if ends <= now:
            found.append((DayReason.PAST, ""))
        elif begins >= last:
            found.append((DayReason.HORIZON, ""))
        elif mine:
            found.append((_in_time(mine, now, notice, last), ""))
        else:
            found.append(taken[0] if taken else (DayReason.NO_HOURS, ""))
    return found


def _in_time(starts: Sequence[int], now: int, notice: int, last: int) -> DayReason:
    """What stands against all of ``starts``; ``FULL`` where nothing but bookings can."""
    if any(notice <= start < last for start in starts):
        return DayReason.FULL
    if any(now <= start < last for start in starts):
        return DayReason.NOTICE
    return DayReason.HORIZON if starts[-1] >= last else DayReason.PAST


def free(starts: Iterable[int], candidate: Busy, busy: Iterable[Busy], seats: int = 1) -> list[int]:
    """Those of ``starts`` (in order) at which ``candidate`` would clash with nothing.

    ``candidate`` gives length, buffers and group; where it lies does not matter. A group's start
    is free while fewer than ``seats`` are taken. Every appointment is in ``busy`` once.
    """
    length, every = candidate.end - candidate.start, list(busy)
    seated = taken_seats(candidate, every)
    taken = sorted(
        (
            (
                other.start - length - max(candidate.after, other.before),
                other.end + max(other.after, candidate.before),
                other.start if _same_group(candidate, other) else None,
            )
            for other in every
        ),
        key=itemgetter(0),
    )
    # A start strictly inside such an interval clashes. They may be nested: the furthest end counts,
    # and to a group's own start the furthest of any other, since its seats lie on each other.
    found, position = [], 0
    furthest: tuple[int, int | None] | None = None
    second: int | None = None
    for start in starts:
        while position < len(taken) and taken[position][0] < start:
            _, end, group = taken[position]
            position += 1
            if furthest is None or (group == furthest[1] and end > furthest[0]):
                furthest = (end, group)
            elif end > furthest[0]:
                second, furthest = furthest[0], (end, group)
            elif group != furthest[1] and (second is None or end > second):
                second = end
        if start in seated:
            own = furthest is not None and furthest[1] == start
            until = second if own else furthest and furthest[0]
            is_free = seated[start] < seats
        else:
            until, is_free = furthest and furthest[0], True
        if is_free and (until is None or start >= until):
            found.append(start)
    return found


def _same_group(candidate: Busy, other: Busy) -> bool:
    """Whether the two would be seats of one appointment if they started together."""
    return (
        bool(candidate.group)
        and other.group == candidate.group
        and (other.end - other.start == candidate.end - candidate.start)
    )


def taken_seats(candidate: Busy, busy: Iterable[Busy]) -> Counter[int]:
    """Start → how many seats of the group are taken there."""
    return Counter(other.start for other in busy if _same_group(candidate, other))


def nearest(starts: Iterable[int], wanted: int, count: int) -> list[int]:
    """The ``count`` starts that are nearest to ``wanted``, the nearest first."""
    return sorted(starts, key=lambda start: (abs(start - wanted), start))[:count]
