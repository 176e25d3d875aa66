"""Which of somebody's events keep them busy, and when. Pure.

Source: MONEY_AND_BOOKING_RULES §10; Google's reference of the event resource.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from consulta.core.time import from_epoch, is_zone, to_epoch
from consulta.scheduling.slots import midnight

# Whose event of ours it is; the first names the appointment, for who looks at the event by hand.
OURS, OWNER = "consulta", "consulta_owner"
# A person works somewhere, or has a birthday: neither takes up time.
_FREE_TYPES = frozenset({"workingLocation", "birthday"})
BACK = timedelta(days=1)
MAX_DAYS = 730


@dataclass(frozen=True, slots=True)
class Window:
    """The time that is read, [low, high) in epoch seconds."""

    low: int
    high: int

    @classmethod
    def of(cls, instant: datetime, horizon_days: int) -> "Window":
        """From a day ago to as far as anybody can book, and a while more.

        The while is what makes the window last until it is read as a whole again.
        """
        days = min(horizon_days + FULL_EVERY.days + 1, MAX_DAYS)
        return cls(to_epoch(instant - BACK), to_epoch(instant + timedelta(days=days)))


# So often everything is read: the window moves on, and what lies ahead of it is told by nobody.
FULL_EVERY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Span:
    """A busy time, [start, end) in epoch seconds."""

    start: int
    end: int

    def text(self) -> str:
        """As a calendar row has it: no buffers, and nothing that runs out."""
        return f"{self.start},{self.end},0,0,0"

    def days(self) -> list[date]:
        """The UTC days that it touches."""
        first, last = from_epoch(self.start).date(), from_epoch(self.end - 1).date()
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def entry_of(event_id: str) -> str:
    """The event's name in our rows: short, and not the provider's own."""
    return f"g{hashlib.sha256(event_id.encode()).hexdigest()[:20]}"


def owner_mark(practice: str, expert: str) -> str:
    """Whose events ours are: who is an expert of two practices is busy in each with the other's."""
    return f"{practice}/{expert}"


def span_of(event: Mapping[str, Any], zone: str, window: Window, owner: str) -> Span | None:
    """When this event keeps its calendar's owner busy; None where it does not.

    ``zone`` is the calendar's own, in which its all-day events are: [local midnight, next local
    midnight). What lies outside the window is cut off.
    """
    if event.get("status") == "cancelled" or event.get("transparency") == "transparent":
        return None
    if event.get("eventType") in _FREE_TYPES or _declined(event) or _ours(event, owner):
        return None
    start = _instant(event.get("start"), zone)
    end = _instant(event.get("end"), zone)
    if start is None or end is None:
        return None
    start, end = max(start, window.low), min(end, window.high)
    return Span(start, end) if start < end else None


def _declined(event: Mapping[str, Any]) -> bool:
    return any(
        guest.get("self") and guest.get("responseStatus") == "declined"
        for guest in event.get("attendees") or ()
    )


def _ours(event: Mapping[str, Any], owner: str) -> bool:
    marks = (event.get("extendedProperties") or {}).get("private") or {}
    return OURS in marks and marks.get(OWNER, owner) == owner


def _instant(when: Any, zone: str) -> int | None:
    if not isinstance(when, Mapping):
        return None
    try:
        if when.get("date"):
            known = zone if is_zone(zone) else "UTC"
            return midnight(date.fromisoformat(str(when["date"])), known)
        instant = datetime.fromisoformat(str(when.get("dateTime", "")))
    except ValueError:
        return None
    return to_epoch(instant) if instant.tzinfo else None
