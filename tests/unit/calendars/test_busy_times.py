"""Which events elsewhere take up time, and when."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.calendars.busy_times import Span, Window, entry_of, owner_mark, span_of
from consulta.core.time import from_epoch, to_epoch
from consulta.scheduling.busy import Entry

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ALWAYS = Window(0, 2**40)
OWNER = owner_mark("prac_1", "exp_1")


def at(text: str) -> int:
    return to_epoch(datetime.fromisoformat(text))


def timed(start: str, end: str, **more: Any) -> dict[str, Any]:
    return {"id": "e1", "start": {"dateTime": start}, "end": {"dateTime": end}, **more}


def whole_days(first: str, behind: str, **more: Any) -> dict[str, Any]:
    return {"id": "e1", "start": {"date": first}, "end": {"date": behind}, **more}


def span(event: dict[str, Any], zone: str = "UTC", window: Window = ALWAYS) -> Span | None:
    return span_of(event, zone, window, OWNER)


MEETING = ("2026-11-23T10:00:00+01:00", "2026-11-23T11:00:00+01:00")
GUESTS = [{"email": "x@example.com", "responseStatus": "declined"}]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"status": "tentative"},
        {"transparency": "opaque"},
        {"eventType": "outOfOffice"},
        # Somebody else has declined.
        {"attendees": GUESTS},
        {"attendees": [{"self": True, "responseStatus": "needsAction"}]},
        {"extendedProperties": {"private": {"another": "app"}}},
        # Ours, but of another practice, or of another expert with the same calendar.
        {
            "extendedProperties": {
                "private": {"consulta": "appt_1", "consulta_owner": "prac_2/exp_9"}
            }
        },
    ],
)
def test_what_keeps_somebody_busy(more: dict[str, Any]) -> None:
    expected = Span(at("2026-11-23T09:00:00+00:00"), at("2026-11-23T10:00:00+00:00"))
    assert span(timed(*MEETING, **more)) == expected


@pytest.mark.parametrize(
    "more",
    [
        {"status": "cancelled"},
        {"transparency": "transparent"},
        {"eventType": "workingLocation"},
        {"eventType": "birthday"},
        {"attendees": [*GUESTS, {"self": True, "responseStatus": "declined"}]},
        {"extendedProperties": {"private": {"consulta": "appt_1"}}},
        {"extendedProperties": {"private": {"consulta": "appt_1", "consulta_owner": OWNER}}},
    ],
)
def test_what_does_not(more: dict[str, Any]) -> None:
    assert span(timed(*MEETING, **more)) is None


@pytest.mark.parametrize(
    "event",
    [
        {"id": "e1", "status": "confirmed"},
        {"id": "e1", "start": {}, "end": {}},
        {"id": "e1", "start": None, "end": None},
        timed("2026-11-23T10:00:00", "2026-11-23T11:00:00"),
        timed("soon", "later"),
        whole_days("2026-02-30", "2026-03-01"),
        # It ends where it starts, or before.
        timed(MEETING[0], MEETING[0]),
        timed(MEETING[1], MEETING[0]),
    ],
)
def test_what_cannot_be_read_is_nobodys_time(event: dict[str, Any]) -> None:
    assert span(event) is None


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("Europe/Lisbon", "2026-11-23", "2026-11-23T00:00:00+00:00", 24),
        # Both daylight-saving days, seen from where the calendar is.
        ("Europe/Lisbon", "2026-03-29", "2026-03-29T00:00:00+00:00", 23),
        ("Europe/Lisbon", "2026-10-25", "2026-10-24T23:00:00+00:00", 25),
        # Clocks there are put forward at midnight: the day begins at one.
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00:00+00:00", 23),
        ("America/Santiago", "2026-04-04", "2026-04-04T03:00:00+00:00", 25),
        ("Asia/Kolkata", "2026-11-23", "2026-11-22T18:30:00+00:00", 24),
        # Half an hour of daylight saving.
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30:00+00:00", 23.5),
        ("Nowhere/At_All", "2026-11-23", "2026-11-23T00:00:00+00:00", 24),
    ],
)
def test_whole_days_are_in_the_calendars_own_zone(
    zone: str, day: str, start: str, hours: float
) -> None:
    behind = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    expected = Span(at(start), at(start) + int(hours * 3600))
    assert span(whole_days(day, behind), zone) == expected


def test_the_window_cuts_what_is_longer() -> None:
    window = Window.of(NOW, 60)
    assert from_epoch(window.low) == NOW - timedelta(days=1)
    assert from_epoch(window.high) >= NOW + timedelta(days=67)
    assert span(whole_days("2020-01-01", "2040-01-01"), window=window) == Span(
        window.low, window.high
    )
    assert span(whole_days("2026-11-01", "2026-11-20"), window=window) is None
    assert span(whole_days("2030-01-01", "2030-01-02"), window=window) is None
    assert Window.of(NOW, 730).high == to_epoch(NOW + timedelta(days=730))


def test_a_span_is_an_entry_as_booking_reads_it() -> None:
    entry = Entry.from_text(Span(10, 20).text())
    assert (entry.busy.start, entry.busy.end, entry.busy.before, entry.busy.after) == (10, 20, 0, 0)
    assert not entry.lapsed(15)


@given(st.integers(0, 2**31), st.integers(1, 40 * 86_400))
def test_a_span_is_on_every_day_that_it_touches(start: int, length: int) -> None:
    days = Span(start, start + length).days()
    assert days[0] == from_epoch(start).date()
    assert days[-1] == from_epoch(start + length - 1).date()
    assert days == [days[0] + timedelta(days=n) for n in range(len(days))]


def test_an_entrys_name_is_no_attribute_of_the_row() -> None:
    assert entry_of("version") not in {"pk", "sk", "version"}
    assert entry_of("a") != entry_of("b")
