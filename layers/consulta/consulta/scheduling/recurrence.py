"""When a series takes place: a rule of RFC 5545 on the clocks of a zone. Pure.

A series is a wall time and a zone, not an instant that is repeated: 09:00 stays 09:00 across
daylight saving (MONEY_AND_BOOKING_RULES §10). The wall time that the rule gives is an occurrence's
name for good (RECURRENCE-ID), ``2026-12-01T09:00``, also where clocks skip that time and the
occurrence begins after the gap. There is at most one a day, so a date is enough to leave one out.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from consulta.core.errors import Invalid
from consulta.core.time import in_zone
from consulta.scheduling.wall import instant_of

PATH = "body.rrule"
MAX_OCCURRENCES, MAX_INTERVAL = 104, 8
# Two years, of which one may be a leap year.
MAX_SPAN = timedelta(days=731)
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_PARTS = {
    "WEEKLY": {"FREQ", "INTERVAL", "BYDAY", "COUNT", "UNTIL", "WKST"},
    "MONTHLY": {"FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY", "COUNT", "UNTIL", "WKST"},
}
_PLACED = re.compile(r"([+-]?[1-5])(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL = re.compile(r"\d{8}(T\d{6}Z?)?")
RECURRENCE_ID = "%Y-%m-%dT%H:%M"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time of a series: its name, and the instant (UTC) that it begins."""

    recurrence_id: str
    start: datetime


@dataclass(frozen=True, slots=True)
class Rule:
    """The parts of an RRULE that series may have.

    ``days`` are as RFC 5545 writes them: ``MO``, in a monthly rule ``1MO`` or ``-1FR``. ``until``
    is a wall time, and the last one that is included.
    """

    freq: str
    interval: int = 1
    days: tuple[str, ...] = ()
    month_days: tuple[int, ...] = ()
    count: int | None = None
    until: datetime | None = None
    week_start: str = "MO"

    @classmethod
    def parse(cls, text: str, zone: str) -> Self:
        """The rule of ``FREQ=WEEKLY;BYDAY=TU;COUNT=10``.

        ``UNTIL`` may be a date (the whole of it), a wall time of ``zone``, or an instant (``Z``).
        Raises Invalid (``body.rrule``) for everything that a series cannot have.
        """
        parts = _parts_of(text)
        freq = parts.get("FREQ", "")
        if freq not in _PARTS:
            raise _refused("FREQ is WEEKLY or MONTHLY", "freq")
        for name in parts:
            if name not in _PARTS[freq]:
                raise _refused(f"{name} is not taken in a {freq.lower()} series", "part")
        if ("COUNT" in parts) == ("UNTIL" in parts):
            raise _refused("Say where it ends: by COUNT or by UNTIL, not both", "end")
        rule = cls(
            freq,
            _number(parts, "INTERVAL", 1, MAX_INTERVAL) or 1,
            _days(parts, freq),
            _month_days(parts),
            _number(parts, "COUNT", 1, MAX_OCCURRENCES),
            _until(parts["UNTIL"], zone) if "UNTIL" in parts else None,
            parts.get("WKST", "MO"),
        )
        if freq == "MONTHLY" and bool(rule.days) == bool(rule.month_days):
            raise _refused("A monthly series needs BYMONTHDAY, or BYDAY like 2TU", "day")
        if rule.week_start not in DAYS:
            raise _refused("WKST is a weekday, like MO", "wkst")
        return rule

    def __str__(self) -> str:
        """As RFC 5545 writes it; ``UNTIL`` is a wall time."""
        parts = [f"FREQ={self.freq}"]
        if self.interval != 1:
            parts.append(f"INTERVAL={self.interval}")
        if self.days:
            parts.append(f"BYDAY={','.join(self.days)}")
        if self.month_days:
            parts.append(f"BYMONTHDAY={','.join(map(str, self.month_days))}")
        if self.count is not None:
            parts.append(f"COUNT={self.count}")
        if self.until is not None:
            parts.append(f"UNTIL={self.until:%Y%m%dT%H%M%S}")
        if self.week_start != "MO":
            parts.append(f"WKST={self.week_start}")
        return ";".join(parts)

    def walls(self, start: datetime) -> list[datetime]:
        """The wall times from ``start`` on, at most one more than a series may have."""
        # 60 ms to load, and only series need it.
        from dateutil import rrule  # noqa: PLC0415

        weekdays = {name: getattr(rrule, name) for name in DAYS}
        by_day = [
            weekdays[day[-2:]](int(day[:-2])) if day[:-2] else weekdays[day] for day in self.days
        ]
        found: list[datetime] = []
        for wall in rrule.rrule(
            rrule.WEEKLY if self.freq == "WEEKLY" else rrule.MONTHLY,
            dtstart=start,
            interval=self.interval,
            byweekday=by_day or None,
            bymonthday=self.month_days or None,
            count=self.count,
            until=self.until,
            wkst=weekdays[self.week_start],
        ):
            # A rule may name days that hardly ever come: 31 February never does.
            if wall > start + MAX_SPAN + timedelta(days=1) or len(found) > MAX_OCCURRENCES:
                break
            found.append(wall)
        return found

    def shifted(self, days: int) -> Self:
        """The same rule, so many days later. Raises Invalid for a monthly one."""
        if not days:
            return self
        if self.freq != "WEEKLY":
            raise Invalid.of(
                "body.shift_days",
                "A monthly rule cannot be moved by days: move its occurrences one by one",
                "monthly",
            )

        def moved(day: str) -> str:
            return DAYS[(DAYS.index(day) + days) % 7]

        # The week begins later by as much, so that an interval counts the same weeks.
        return replace(
            self,
            days=tuple(moved(day) for day in self.days),
            week_start=moved(self.week_start),
            until=self.until + timedelta(days=days) if self.until else None,
        )

    def ending(self, last: datetime) -> Self:
        """The same rule with ``last`` (wall time) as its last occurrence."""
        return replace(self, count=None, until=last)

    def counting(self, count: int) -> Self:
        """The same rule with so many occurrences."""
        return replace(self, count=count, until=None)


def wall_of(value: datetime, zone: str, path: str) -> datetime:
    """The wall time (naive) that a series begins with, of one with an offset or without.

    Raises Invalid under ``path``: a time that the clocks skip, or the second of two; a series takes
    the first.
    """
    instant = instant_of(value, zone, path)
    local = in_zone(instant, zone)
    if local.fold:
        raise Invalid.of(
            path, "The clocks show this time twice, and a series takes the first", "ambiguous"
        )
    if local.second or local.microsecond:
        raise Invalid.of(path, "Appointments begin at a full minute", "minute")
    return local.replace(tzinfo=None)


def instant(wall: datetime, zone: str) -> datetime:
    """The instant of a wall time, in UTC.

    In a gap it is later by the gap (RFC 5545, 3.3.5: the offset before it counts); of two, it is
    the first.
    """
    return wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)


def name(wall: datetime) -> str:
    """The RECURRENCE-ID of a wall time."""
    return f"{wall:{RECURRENCE_ID}}"


def wall_named(recurrence_id: str) -> datetime:
    """The reverse of :func:`name`."""
    return datetime.strptime(recurrence_id, RECURRENCE_ID)  # noqa: DTZ007  # a wall time


def occurrences(
    rule: Rule, start: datetime, zone: str, exdates: Iterable[date] = ()
) -> list[Occurrence]:
    """All of a series, in order; ``start`` is the wall time of the first.

    Raises Invalid: ``body.start`` where the rule does not begin with it, ``body.rrule`` for more
    than 104 or more than two years, ``body.exdates.<n>`` for a date without an occurrence,
    ``body.exdates`` where nothing is left.
    """
    walls = rule.walls(start)
    if not walls:
        raise _refused("The rule has no occurrence", "empty")
    if walls[0] != start:
        raise Invalid.of("body.start", "The rule does not begin at this date", "rule")
    too_far = rule.until is not None and rule.until > start + MAX_SPAN
    if too_far or walls[-1] > start + MAX_SPAN:
        raise _too_long()
    if len(walls) > MAX_OCCURRENCES:
        raise _refused(f"A series has at most {MAX_OCCURRENCES} occurrences", "too-many")
    if rule.count is not None and len(walls) < rule.count:
        # Short of its COUNT, it was cut off at the longest span.
        raise _too_long()
    known, left_out = {wall.date() for wall in walls}, set()
    for number, day in enumerate(exdates):
        if day not in known:
            raise Invalid.of(
                f"body.exdates.{number}", "The series has no occurrence on this date", "unknown"
            )
        left_out.add(day)
    kept = [wall for wall in walls if wall.date() not in left_out]
    if not kept:
        raise Invalid.of("body.exdates", "Nothing is left of the series", "empty")
    return [Occurrence(name(wall), instant(wall, zone)) for wall in kept]


def moved(wall: datetime, days: int, to: time | None) -> datetime:
    """A wall time so many days later, at another time of day where one is given."""
    later = wall + timedelta(days=days)
    return datetime.combine(later.date(), to) if to else later


# ---------------------------------------------------------------- reading a rule


def _refused(message: str, code: str) -> Exception:
    return Invalid.of(PATH, message, code)


def _too_long() -> Exception:
    return _refused("A series ends within two years", "too-long")


def _parts_of(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").split(";"):
        key, equals, value = part.partition("=")
        if not equals or not value or key in found:
            raise _refused("Write the rule like FREQ=WEEKLY;BYDAY=TU;COUNT=10", "syntax")
        found[key] = value
    return found


def _number(parts: Mapping[str, str], part: str, low: int, high: int) -> int | None:
    if part not in parts:
        return None
    text = parts[part]
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and low <= int(text) <= high):
        raise _refused(f"{part} is a number from {low} to {high}", part.lower())
    return int(text)


def _days(parts: Mapping[str, str], freq: str) -> tuple[str, ...]:
    found = parts["BYDAY"].split(",") if "BYDAY" in parts else []
    for day in found:
        fits = day in DAYS if freq == "WEEKLY" else _PLACED.fullmatch(day)
        if not fits:
            like = "MO,TH" if freq == "WEEKLY" else "2TU or -1FR"
            raise _refused(f"BYDAY of a {freq.lower()} series is written like {like}", "byday")
    return tuple(dict.fromkeys(day.removeprefix("+") for day in found))


def _month_days(parts: Mapping[str, str]) -> tuple[int, ...]:
    found = parts["BYMONTHDAY"].split(",") if "BYMONTHDAY" in parts else []
    for day in found:
        if not re.fullmatch(r"[+-]?\d{1,2}", day, re.ASCII) or not 1 <= abs(int(day)) <= 31:
            raise _refused("BYMONTHDAY is written like 15, or -1 for the last", "bymonthday")
    return tuple(dict.fromkeys(int(day) for day in found))


def _until(text: str, zone: str) -> datetime:
    try:
        if not _UNTIL.fullmatch(text):
            raise ValueError
        if "T" not in text:
            day = datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007  # a date
            return datetime.combine(day, time(23, 59, 59))
        wall = datetime.strptime(text.removesuffix("Z"), "%Y%m%dT%H%M%S")  # noqa: DTZ007
        if not text.endswith("Z"):
            return wall
        return in_zone(wall.replace(tzinfo=UTC), zone).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise _refused("UNTIL is written like 20271231 or 20271231T235959Z", "until") from None
