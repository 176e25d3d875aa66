"""Appointments as iCalendar: what is attached to mails, and the feeds (RFC 5545, RFC 5546).

Each appointment has a UID of its own, so that an occurrence of a series moves by itself. Labels are
neutral unless the caller passes others: a service's name is health data.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from consulta.scheduling.records import AppointmentItem, Status

if TYPE_CHECKING:
    from icalendar import Calendar, Event

PRODUCT = "-//Consulta//Appointments//EN"
NEUTRAL = "Appointment"
CONTENT_TYPE = "text/calendar; charset=utf-8"
_STATUS = {
    Status.HELD: "TENTATIVE",
    Status.AWAITING_APPROVAL: "TENTATIVE",
    Status.CANCELLED: "CANCELLED",
    Status.EXPIRED: "CANCELLED",
}


def uid(appointment_id: str) -> str:
    """An appointment's UID: the same in every mail and feed, so that calendars replace it."""
    return f"{appointment_id}@consulta"


def invitation(
    item: AppointmentItem,
    *,
    organizer: str,
    attendee_email: str,
    cancelled: bool = False,
    summary: str = NEUTRAL,
    location: str = "",
) -> bytes:
    """The .ics of one appointment for one recipient: METHOD REQUEST, or CANCEL.

    ``organizer`` and ``attendee_email`` are plain addresses; without an attendee nobody is asked,
    and it is a PUBLISH. SEQUENCE is the item's version, so that a later mail always wins.
    """
    from icalendar import vCalAddress  # noqa: PLC0415

    method = "CANCEL" if cancelled else "REQUEST" if attendee_email else "PUBLISH"
    event = _event(item, summary, location, cancelled=cancelled)
    host = vCalAddress(f"mailto:{organizer}")
    event.add("organizer", host)
    if attendee_email:
        guest = vCalAddress(f"mailto:{attendee_email}")
        guest.params["ROLE"] = "REQ-PARTICIPANT"
        guest.params["PARTSTAT"] = "ACCEPTED"
        guest.params["RSVP"] = "FALSE"
        event.add("attendee", guest)
    return _text(_calendar(method), [event])


def feed(items: Iterable[tuple[AppointmentItem, str, str]]) -> bytes:
    """Many appointments as one calendar that others subscribe to: (item, summary, location) each.

    Asks for a refresh every quarter of an hour (RFC 7986); most calendars take their own time.
    """
    calendar = _calendar("PUBLISH")
    calendar.add("x-wr-calname", "Consulta")
    calendar.add("refresh-interval;value=duration", "PT15M")
    calendar.add("x-published-ttl", "PT15M")
    return _text(calendar, [_event(item, summary, location) for item, summary, location in items])


def _calendar(method: str) -> "Calendar":
    from icalendar import Calendar  # noqa: PLC0415

    found = Calendar()
    found.add("prodid", PRODUCT)
    found.add("version", "2.0")
    found.add("method", method)
    return found


def _event(
    item: AppointmentItem, summary: str, location: str, *, cancelled: bool = False
) -> "Event":
    """One VEVENT; times in UTC, which every calendar shows on its reader's own clocks."""
    from icalendar import Event  # noqa: PLC0415

    found = Event()
    found.add("uid", uid(item.item_id))
    found.add("sequence", int(item.version))
    found.add("dtstamp", item.updated_at)
    found.add("last-modified", item.updated_at)
    found.add("dtstart", item.start)
    found.add("dtend", item.end)
    found.add("summary", summary)
    found.add("status", "CANCELLED" if cancelled else _STATUS.get(Status(item.status), "CONFIRMED"))
    found.add("class", "PRIVATE")
    if location:
        found.add("location", location)
    if item.meeting_url and not cancelled:
        found.add("url", item.meeting_url)
    return found


def _text(calendar: "Calendar", events: Iterable["Event"]) -> bytes:
    for event in events:
        calendar.add_component(event)
    text: bytes = calendar.to_ical()
    return text
