"""Instants are aware and in UTC; wall time belongs to an IANA zone."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones


def now() -> datetime:
    """This instant, in UTC, to the millisecond (what the table stores)."""
    instant = datetime.now(UTC)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def to_text(instant: datetime) -> str:
    """RFC 3339 in UTC with milliseconds; sorts as text in the order of time."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs its offset")
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_text(text: str) -> datetime:
    """The instant that :func:`to_text` wrote."""
    return datetime.fromisoformat(text)


def to_epoch(instant: datetime) -> int:
    """Whole seconds since 1970, as the calendar rows and TTLs store them."""
    return int(instant.timestamp())


def from_epoch(seconds: int) -> datetime:
    """The instant of :func:`to_epoch`."""
    return datetime.fromtimestamp(seconds, UTC)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def is_zone(name: str) -> bool:
    """Whether ``name`` is an IANA time zone (``America/Sao_Paulo``)."""
    return name in _zones()


def in_zone(instant: datetime, zone: str) -> datetime:
    """The same instant on the clocks of ``zone``."""
    return instant.astimezone(ZoneInfo(zone))


def local_day(instant: datetime, zone: str) -> date:
    """The calendar day of ``instant`` in ``zone``."""
    return in_zone(instant, zone).date()


def utc_months(first: datetime, end: datetime) -> Iterator[str]:
    """The UTC months ``yyyy-mm`` of ``first`` to ``end``, both included."""
    low, high = first.astimezone(UTC), end.astimezone(UTC)
    for month in range(low.year * 12 + low.month - 1, high.year * 12 + high.month):
        yield f"{month // 12:04d}-{month % 12 + 1:02d}"
