"""Requested times: an instant, or a wall time of a zone that has exactly one. Pure.

Source: MONEY_AND_BOOKING_RULES §10.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from consulta.core.errors import Invalid

# Clocks have no offset to the first and the last instants of the calendar.
YEARS = range(1971, 2200)


def instant_of(value: datetime, zone: str | None, path: str) -> datetime:
    """The instant that a caller means, in UTC.

    With an offset it is clear; if a ``zone`` is named as well, its clocks must show just that. A
    wall time without offset needs the ``zone``. Raises Invalid (422 on ``path``): no offset, a
    time that the zone's clocks skip, one that they show twice, an offset that the zone has not,
    a year of no appointment's.
    """
    if value.year not in YEARS:
        raise Invalid.of(path, f"Not in the years {YEARS[0]} to {YEARS[-1]}", "range")
    if value.tzinfo is None and zone is None:
        raise Invalid.of(
            path, "Give the time with its offset, like 2026-11-21T09:00:00+01:00", "offset"
        )
    if zone is None:
        return value.astimezone(UTC)
    wall = value.replace(tzinfo=ZoneInfo(zone), fold=0)
    found = {
        candidate.astimezone(UTC)
        for candidate in (wall, wall.replace(fold=1))
        if candidate.astimezone(UTC).astimezone(wall.tzinfo).replace(tzinfo=None)
        == value.replace(tzinfo=None)
    }
    if not found:
        raise Invalid.of(path, f"The clocks of {zone} skip this time", "nonexistent")
    if value.tzinfo is not None:
        if value.astimezone(UTC) not in found:
            raise Invalid.of(path, f"This is not the offset of {zone} at this time", "offset")
        return value.astimezone(UTC)
    if len(found) > 1:
        raise Invalid.of(
            path, f"The clocks of {zone} show this time twice: give its offset", "ambiguous"
        )
    return found.pop()
