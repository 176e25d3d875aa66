"""What is attached to mails and served as feeds, read back by the library."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from icalendar import Calendar

from consulta.calendars import ics
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, Status

ID = "appt_01JC0NS0TADEM0000000000000"
START = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def appointment(**more: Any) -> AppointmentItem:
    values = {
        "status": str(Status.CONFIRMED),
        "start": START,
        "end": START + timedelta(hours=1),
        "version": 3,
        **more,
    }
    key = Tenant("prac_01JC0NS0TADEM0000000000000").item(APPOINTMENT, ID)
    return AppointmentItem.create(key, APPOINTMENT, Actor("person-1", "request-1"), **values)


def read(text: bytes) -> tuple[Any, Any]:
    calendar: Any = Calendar.from_ical(text)
    [event] = calendar.walk("VEVENT")
    return calendar, event


def invited(item: AppointmentItem, **more: Any) -> tuple[Any, Any]:
    given = {"organizer": "no-reply@example.com", "attendee_email": "p@example.com", **more}
    return read(ics.invitation(item, **given))


def test_an_invitation() -> None:
    calendar, event = invited(appointment(), location="Rua A, 1; 2.º\nLisboa")
    assert calendar["METHOD"] == "REQUEST"
    assert event["UID"] == f"{ID}@consulta"
    assert int(event["SEQUENCE"]) == 3
    assert event["DTSTART"].dt == START
    assert event["DTEND"].dt == START + timedelta(hours=1)
    assert event["STATUS"] == "CONFIRMED"
    assert event["ORGANIZER"] == "mailto:no-reply@example.com"
    assert event["ATTENDEE"] == "mailto:p@example.com"
    assert event["LOCATION"] == "Rua A, 1; 2.º\nLisboa"


def test_labels_are_neutral_unless_somebody_gives_others() -> None:
    assert invited(appointment())[1]["SUMMARY"] == "Appointment"
    assert invited(appointment(), summary="Physio")[1]["SUMMARY"] == "Physio"


def test_what_is_called_off_takes_the_same_event_away() -> None:
    calendar, event = invited(appointment(status="cancelled", version=4), cancelled=True)
    assert calendar["METHOD"] == "CANCEL"
    assert (event["UID"], int(event["SEQUENCE"])) == (f"{ID}@consulta", 4)
    assert event["STATUS"] == "CANCELLED"


def test_without_an_attendee_nobody_is_asked() -> None:
    calendar, event = invited(appointment(), attendee_email="")
    assert calendar["METHOD"] == "PUBLISH"
    assert "ATTENDEE" not in event


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (Status.AWAITING_APPROVAL, "TENTATIVE"),
        (Status.CONFIRMED, "CONFIRMED"),
        (Status.COMPLETED, "CONFIRMED"),
        (Status.CANCELLED, "CANCELLED"),
        (Status.EXPIRED, "CANCELLED"),
    ],
)
def test_statuses(status: Status, shown: str) -> None:
    assert invited(appointment(status=str(status)))[1]["STATUS"] == shown


def test_the_link_is_there_as_long_as_the_appointment_is() -> None:
    item = appointment(meeting_url="https://meet.example/abc")
    assert invited(item)[1]["URL"] == "https://meet.example/abc"
    assert "URL" not in invited(item, cancelled=True)[1]


def test_text_cannot_add_a_line_of_its_own() -> None:
    text = ics.invitation(
        appointment(),
        organizer="no-reply@example.com",
        attendee_email="p@example.com",
        summary="A\r\nATTENDEE:mailto:evil@example.com",
    )
    assert b"\r\nATTENDEE:mailto:evil" not in text
    assert all(len(line) <= 75 for line in text.split(b"\r\n"))


def test_a_feed() -> None:
    calendar = Calendar.from_ical(
        ics.feed([(appointment(), "Appointment", "https://meet.example")])
    )
    assert calendar["METHOD"] == "PUBLISH"
    [event] = calendar.walk("VEVENT")
    assert event["LOCATION"] == "https://meet.example"
    assert not Calendar.from_ical(ics.feed([])).walk("VEVENT")


def test_the_same_appointments_make_the_same_feed() -> None:
    entries = [(appointment(), "Appointment", "")]
    assert ics.feed(entries) == ics.feed(entries)
