"""What a practice has behind it, however much: its visits, alike but for when and who.

All sizes have the last ``RECENT_DAYS`` alike, two visits a day; a larger one differs only in what
was before: ``OLDER_DAYS`` days, the fuller the larger it is. So a dashboard has the same to show at
every size, and what it costs more at a larger one it costs for history.

A million items are not made by their models one by one: each line of an export is that of one item,
with what differs put into its places. Visits come in cells, those of one patient in one hour: they
contribute the same to the same figures.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from consulta.core.table import Raw
from consulta.core.time import in_zone, to_text

RECENT_DAYS, RECENT_HOURS = 440, (8, 10)
OLDER_DAYS = 1_000
# A day of long ago: from eight to eight, in UTC, with so many different patients an hour.
HOURS, PATIENTS_AN_HOUR = range(8, 20), 4
LENGTH = timedelta(minutes=50)
# Whoever has paid has paid this, and one visit in three is reviewed.
PRICE, COMMISSION, REVIEWED = 5_000, 500, 3
# Stands in a template where the instant of a visit comes.
PLACE = datetime(2001, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)


class Cell(NamedTuple):
    """``count`` visits of one patient in one hour of one day (UTC), numbered from ``first`` on.

    ``offset`` and the others of its hour are seconds apart: no two start at the same instant.
    """

    day: date
    hour: int
    offset: int
    patient: int
    first: int
    count: int
    recent: bool

    @property
    def numbers(self) -> range:
        """Of its visits."""
        return range(self.first, self.first + self.count)

    def clock(self, number: int) -> str:
        """Minute and second at which a visit starts: in the first ten minutes of the hour."""
        minute, second = divmod(self.offset + PATIENTS_AN_HOUR * (number - self.first), 60)
        if minute > 9:
            raise ValueError("an hour has no room for so many visits")
        return f"{minute:02}:{second:02}"

    def start(self, number: int) -> str:
        """When a visit starts, as the table stores it."""
        return f"{self.day}T{self.hour:02}:{self.clock(number)}.000Z"

    def end(self, number: int) -> str:
        """When it ends: in the same hour."""
        clock = self.clock(number)
        return f"{self.day}T{self.hour:02}:5{clock[1:]}.000Z"


def cells(visits: int, today: date, patients: int) -> Iterator[Cell]:
    """The last so many visits, from yesterday back: today some would still be to come."""
    number = 0
    for day in range(1, RECENT_DAYS + 1):
        for n, hour in enumerate(RECENT_HOURS):
            if number == visits:
                return
            on = today - timedelta(days=day)
            yield Cell(on, hour, 0, (2 * day + n) % patients, number, 1, recent=True)
            number += 1
    each, more = divmod(visits - number, OLDER_DAYS)
    for day in range(OLDER_DAYS):
        on, left = today - timedelta(days=RECENT_DAYS + 1 + day), each + (day < more)
        places = len(HOURS) * PATIENTS_AN_HOUR
        for place in range(places):
            count = left // places + (place < left % places)
            if count:
                hour, offset = HOURS[place % len(HOURS)], place // len(HOURS)
                patient = (PATIENTS_AN_HOUR * hour + offset + day) % patients
                yield Cell(on, hour, offset, patient, number, count, recent=False)
                number += count


def rating(number: int) -> int | None:
    """The stars of a visit's review; None for one that was not reviewed."""
    return 3 + number // REVIEWED % 3 if number % REVIEWED == 0 else None


def id_of(prefix: str, practice: str, number: int) -> str:
    """An id as ours are, in the order of numbers, of one practice alone."""
    return f"{prefix}_01{practice[-14:]}{number:010}"


class Template:
    """A line of an export with places for what differs: ``{place: the text that stands there}``."""

    def __init__(self, raw: Raw, places: dict[str, str]) -> None:
        text = json.dumps({"Item": raw}, separators=(",", ":")).replace("%", "%%")
        for name, value in places.items():
            if value not in text:
                raise ValueError(f"an item has no place for {name}")
            text = text.replace(value, f"%({name})s")
        self._text = text

    def line(self, **values: Any) -> str:
        """The line with these in its places."""
        return self._text % values

    def raw(self, **values: Any) -> Raw:
        """The item of that line."""
        item: Raw = json.loads(self.line(**values))["Item"]
        return item


# Where what differs stands in an item that was made at PLACE; the order counts, as a day is part of
# an instant.
WHEN = {
    "start": to_text(PLACE),
    "end": to_text(PLACE + LENGTH),
    "month": f"#MONTH#{PLACE:%Y-%m}",
    "day": PLACE.date().isoformat(),
}


def when(cell: Cell, number: int) -> dict[str, str]:
    """What comes into those places."""
    return {
        "start": cell.start(number),
        "end": cell.end(number),
        "month": f"#MONTH#{cell.day.isoformat()[:7]}",
        "day": cell.day.isoformat(),
    }


def local_hour(cell: Cell, zone: str) -> int:
    """Its hour on the clocks of ``zone``, which keep its day."""
    start = datetime(cell.day.year, cell.day.month, cell.day.day, cell.hour, tzinfo=UTC)
    return in_zone(start, zone).hour
