"""Calendars at Google, against the simulator: consent, events, busy times, channels, faults."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from consulta.calendars import (
    busy_rows,
    connections,
    google,
    inward,
    outward,
    queue,
    tokens,
    worker,
)
from consulta.calendars.busy_times import FULL_EVERY
from consulta.calendars.records import Sync, sync_key
from consulta.core import aws, keys, settings, table
from consulta.core.errors import SlotTaken
from consulta.core.identity import Membership
from consulta.core.item import Actor
from consulta.core.permissions import Role
from consulta.core.time import now, to_epoch, to_text
from consulta.people import memberships
from consulta.people.setup import setup_of
from tests.faults import Crash, Faults
from tests.integration.google_stage import EMAIL, PERSON, Stage, soon, stage_of
from tests.integration.test_providers import Simulator, start
from tests.unit.people.calling import call, event, handler, invoke, signed_in

BY = Actor("person-1", "request-1")
HOUR = timedelta(hours=1)
NO_QUEUE = "https://sqs.us-east-1.amazonaws.com/1/nothing"


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    yield from start("google")


@pytest.fixture
def stage(tables: Any, environment: pytest.MonkeyPatch, process: Simulator) -> Stage:
    return stage_of(process, environment)


@pytest.fixture
def connected(stage: Stage) -> Stage:
    stage.connect()
    return stage


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google is given no second chance within one call: the queue's retries are what is tested."""
    monkeypatch.setattr(google, "DEADLINE_S", 0.0)


def book(stage: Stage, start: datetime, *, where: str = "in_person", **more: Any) -> str:
    """A confirmed appointment's id; ``where`` is written onto it as booking copies it."""
    world = stage.world
    service = more.pop("service", None) or world.service(stage.expert, **more)
    booked = world.book(service, stage.expert, world.patient(), start, confirm=True)
    change(stage, booked.id, location=json.dumps({"kind": where}))
    return booked.id


def change(stage: Stage, appointment_id: str, **values: Any) -> None:
    """Whatever happens to an appointment, as its item shows it afterwards."""
    item = stage.item(appointment_id)
    values = {n: to_text(v) if isinstance(v, datetime) else v for n, v in values.items()}
    table.transact([table.change(item, BY, set_=values)])


# ---------------------------------------------------------------- the consent


def test_connecting_asks_for_little_and_keeps_the_tokens_to_itself(stage: Stage) -> None:
    url, cookie = stage.begin()
    asked = parse_qs(urlsplit(url).query)
    assert asked["scope"] == [" ".join(google.SCOPES)]
    assert asked["code_challenge_method"] == ["S256"]
    assert (asked["access_type"], asked["prompt"]) == (["offline"], ["consent"])
    done = stage.come_back(stage.unquoted(stage.consent(url)), cookie)
    assert (done.status, done.headers["Location"]) == (
        303,
        "https://app.consulta.example/?calendar=connected",
    )
    assert stage.expert_item().calendar_connected
    shown = stage.call("GET")
    assert (shown.status, shown.body["state"], shown.body["label"]) == (200, "connected", "neutral")
    assert shown.body["calendar_id"] == "primary"
    raw = stage.connection().serialize()
    secret = tokens.refresh_token(stage.connection())
    assert secret.startswith("1//0")
    assert secret not in json.dumps(raw, default=str)
    assert secret not in json.dumps(shown.body)


def test_the_first_sync_reads_busy_times_and_is_told_of_changes_from_then_on(
    stage: Stage,
) -> None:
    at = soon(days=2)
    stage.by_hand(at, at + HOUR)
    stage.connect()
    assert stage.busy(at.date()) == [(to_epoch(at), to_epoch(at + HOUR))]
    [channel] = stage.channels()
    assert channel["address"] == "http://127.0.0.1:9/webhooks/google-calendar"
    shown = stage.call("GET").body
    assert shown["read_at"]
    assert shown["told_until"]
    assert shown["error"] is None


def test_a_state_is_good_once(stage: Stage) -> None:
    url, cookie = stage.begin()
    query = stage.unquoted(stage.consent(url))
    assert stage.come_back(query, cookie).headers["Location"].endswith("calendar=connected")
    assert stage.come_back(query, cookie).headers["Location"].endswith("calendar=expired")


def test_another_browser_connects_nothing(stage: Stage) -> None:
    """A link that somebody else prepared would put one person's calendar under another's name."""
    url, cookie = stage.begin()
    query = stage.unquoted(stage.consent(url))
    for other in ("", "consulta_calendar=another"):
        assert stage.come_back(query, other).headers["Location"].endswith("calendar=expired")
    assert stage.call("GET").body["state"] == "disconnected"
    # It was not used up by them.
    assert stage.come_back(query, cookie).headers["Location"].endswith("calendar=connected")


def test_after_ten_minutes_it_begins_anew(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    url, cookie = stage.begin()
    query = stage.unquoted(stage.consent(url))
    monkeypatch.setattr(connections, "now", lambda: now() + timedelta(minutes=10, seconds=1))
    assert stage.come_back(query, cookie).headers["Location"].endswith("calendar=expired")


@pytest.mark.parametrize(
    "consent",
    [{"deny": True}, {"scopes": [google.LIST_SCOPE]}],
    ids=["denied", "without the scope"],
)
def test_a_consent_that_is_none(stage: Stage, consent: dict[str, Any]) -> None:
    stage.control("reset")
    stage.control("consent", {**consent, "email": EMAIL})
    url, cookie = stage.begin()
    done = stage.come_back(stage.unquoted(stage.consent(url)), cookie)
    assert done.headers["Location"].endswith("calendar=refused")
    assert not stage.expert_item().calendar_connected


def test_google_away_in_the_middle_of_a_consent(stage: Stage) -> None:
    url, cookie = stage.begin()
    query = stage.unquoted(stage.consent(url))
    stage.control("down", {"status": 503, "times": 1, "path_prefix": "/token"})
    assert stage.come_back(query, cookie).headers["Location"].endswith("calendar=unavailable")


def test_who_has_left_meanwhile_connects_nothing(stage: Stage) -> None:
    url, cookie = stage.begin()
    query = stage.unquoted(stage.consent(url))
    table.transact(
        [memberships.change(PERSON, stage.world.practice, set_={"deactivated_at": to_text(now())})]
    )
    assert stage.come_back(query, cookie).headers["Location"].endswith("calendar=refused")


def test_whose_calendar_it_may_be(stage: Stage) -> None:
    practice, other = stage.world.practice, stage.world.expert("Ana Reis")
    connect, get = "/v1/calendars/google/connect", "/v1/calendars/google"
    own = signed_in("expert", practice, subject=stage.expert)
    assert call("calendars", "POST", connect, {}, context=own).status == 200
    asked = {"expert_id": other}
    assert call("calendars", "POST", connect, asked, context=own).status == 403
    assert call("calendars", "GET", get, context=own, query=f"expert_id={other}").status == 403
    assert call("calendars", "DELETE", get, context=own, query=f"expert_id={other}").status == 403
    patient = signed_in("patient", practice, subject=stage.world.patient())
    assert call("calendars", "POST", connect, {}, context=patient).status == 403
    admin = signed_in("admin", practice)
    assert call("calendars", "POST", connect, asked, context=admin).status == 200
    assert call("calendars", "POST", connect, {}, context=admin).status == 422
    viewer = signed_in("viewer", practice)
    assert call("calendars", "GET", get, context=viewer).status == 403


def test_another_practice_sees_nothing_of_it(connected: Stage) -> None:
    outside = signed_in("owner", "prac_01JC0NS0TADEM0000000000009")
    assert connected.call("GET", context=outside).status == 404


def test_a_key_connects_nothing(stage: Stage) -> None:
    context = {**signed_in("owner", stage.world.practice), "key": "key_1"}
    answer = stage.call("POST", "/connect", {"expert_id": stage.expert}, context=context)
    assert answer.status == 403


# ---------------------------------------------------------------- outward


def test_an_appointment_is_an_event_without_the_patient_and_the_service(connected: Stage) -> None:
    booked = book(connected, soon(days=3))
    assert connected.told(booked) == []
    [made] = connected.at_google()
    item = connected.item(booked)
    assert made["summary"] == "Appointment"
    assert datetime.fromisoformat(made["start"]["dateTime"]) == item.start
    assert datetime.fromisoformat(made["end"]["dateTime"]) == item.end
    assert made["extendedProperties"]["private"]["consulta"] == booked
    assert (made["status"], made["visibility"]) == ("confirmed", "private")
    text = json.dumps(made)
    assert "Carvalho" not in text
    assert "consultation" not in text
    assert "attendees" not in made


def test_told_twice_it_is_one_event_and_nothing_is_sent_again(connected: Stage) -> None:
    booked = book(connected, soon(days=3))
    connected.told(booked)
    [before] = connected.at_google()
    assert connected.told(booked) == []
    assert connected.at_google() == [before]


def test_an_event_moves_with_its_appointment(connected: Stage) -> None:
    booked = book(connected, soon(days=3))
    connected.told(booked)
    later = soon(days=4)
    change(connected, booked, start=later, end=later + HOUR)
    connected.told(booked)
    [made] = connected.at_google()
    assert datetime.fromisoformat(made["start"]["dateTime"]) == later


@pytest.mark.parametrize("status", ["cancelled", "expired"])
def test_an_event_goes_with_its_appointment(connected: Stage, status: str) -> None:
    booked = book(connected, soon(days=3))
    connected.told(booked)
    change(connected, booked, status=status)
    connected.told(booked)
    assert connected.at_google() == []
    assert connected.told(booked) == []
    # And it can come back: the practice takes the cancellation back by hand.
    change(connected, booked, status="confirmed")
    connected.told(booked)
    assert [made["status"] for made in connected.at_google()] == ["confirmed"]


def test_what_waits_for_approval_is_tentative_and_what_is_held_is_not_there(
    connected: Stage,
) -> None:
    booked = book(connected, soon(days=3))
    change(connected, booked, status="held")
    connected.told(booked)
    assert connected.at_google() == []
    change(connected, booked, status="awaiting_approval")
    connected.told(booked)
    assert [made["status"] for made in connected.at_google()] == ["tentative"]
    change(connected, booked, status="confirmed")
    connected.told(booked)
    assert [made["status"] for made in connected.at_google()] == ["confirmed"]


def test_what_has_happened_stays_in_the_calendar(connected: Stage) -> None:
    booked = book(connected, soon(days=3))
    connected.told(booked)
    change(connected, booked, status="completed")
    connected.told(booked)
    assert len(connected.at_google()) == 1


def test_another_expert_takes_it_over(connected: Stage) -> None:
    """The one who has no calendar is told nothing; the other's event goes."""
    booked = book(connected, soon(days=3))
    connected.told(booked)
    change(connected, booked, expert_id=connected.world.expert("Ana Reis"))
    connected.told(booked)
    assert connected.at_google() == []


def test_an_online_appointment_gets_its_link_and_nothing_runs_in_circles(
    connected: Stage,
) -> None:
    booked = book(connected, soon(days=3), where="online")
    connected.told(booked)
    item = connected.item(booked)
    [made] = connected.at_google()
    assert item.meeting_url == made["hangoutLink"]
    # The write of the link is a change, too: it is told, and causes no other.
    connected.told(booked)
    assert connected.item(booked).version == item.version
    assert connected.at_google() == [made]
    # The link stays when the time changes.
    later = soon(days=4)
    change(connected, booked, start=later, end=later + HOUR)
    connected.told(booked)
    assert connected.item(booked).meeting_url == made["hangoutLink"]


def test_a_link_that_google_takes_a_moment_to_make(connected: Stage) -> None:
    connected.control("meet", {"mode": "pending"})
    booked = book(connected, soon(days=3), where="online")
    # Reading the event is what settles it at the simulator, as a moment does at Google.
    for _ in range(3):
        if not connected.told(booked):
            break
    assert str(connected.item(booked).meeting_url).startswith("https://meet.google.com/")
    assert len(connected.at_google()) == 1


def test_a_calendar_that_has_no_meetings(connected: Stage) -> None:
    connected.control("meet", {"mode": "failure"})
    booked = book(connected, soon(days=3), where="online")
    assert connected.told(booked) == []
    assert connected.item(booked).meeting_url is None
    assert len(connected.at_google()) == 1


def test_a_link_of_the_services_own_is_left_alone(connected: Stage) -> None:
    booked = book(connected, soon(days=3))
    place = {"kind": "online", "address": "https://zoom.example/1"}
    change(connected, booked, location=json.dumps(place))
    connected.told(booked)
    [made] = connected.at_google()
    assert made["location"] == "https://zoom.example/1"
    assert "conferenceData" not in made


def test_a_consent_that_ends_while_the_link_is_made(connected: Stage) -> None:
    connected.control("meet", {"mode": "pending"})
    booked = book(connected, soon(days=3), where="online")
    meet = outward._meet
    monkey = pytest.MonkeyPatch()

    def withdrawn(*given: Any) -> None:
        monkey.undo()
        connected.control("revoke", {"email": EMAIL})
        meet(*given)

    monkey.setattr(outward, "_meet", withdrawn)
    # Nothing that comes again would help: only the expert can.
    assert connected.told(booked) == []
    assert connected.call("GET").body["state"] == "revoked"


def test_initials_where_the_expert_wants_them(connected: Stage) -> None:
    booked = book(connected, soon(days=3))
    connected.told(booked)
    assert connected.call("PATCH", body={"label": "initials"}).status == 200
    connected.work()
    assert [made["summary"] for made in connected.at_google()] == ["Appointment I. C."]


def test_the_seats_of_a_group_are_one_event(connected: Stage) -> None:
    service = connected.world.service(connected.expert, seats=3)
    at = soon(days=3)
    seats = [book(connected, at, service=service, where="online") for _ in range(2)]
    for seat in seats:
        connected.told(seat)
    [made] = connected.at_google()
    assert {connected.item(seat).meeting_url for seat in seats} == {made["hangoutLink"]}
    change(connected, seats[0], status="cancelled")
    connected.told(seats[0])
    assert len(connected.at_google()) == 1
    # The other moves: the group's time is nobody's any more.
    later = soon(days=4)
    item = connected.item(seats[1])
    place = f"{to_text(later)}#{item.item_id}"
    change(connected, seats[1], start=later, end=later + HOUR, l2sk=place)
    connected.told(seats[1])
    [made] = connected.at_google()
    assert datetime.fromisoformat(made["start"]["dateTime"]) == later


def test_a_seat_that_the_list_does_not_have_yet(connected: Stage) -> None:
    """The list by expert is behind by a moment, the message is not sent again for that."""
    seat = book(connected, soon(days=3), service=connected.world.service(connected.expert, seats=3))
    change(connected, seat, start=soon(days=4), end=soon(days=4) + HOUR)
    assert connected.told(seat) == []
    [made] = connected.at_google()
    assert datetime.fromisoformat(made["start"]["dateTime"]) == soon(days=4)


def test_what_was_booked_before_is_written_when_the_calendar_comes(stage: Stage) -> None:
    booked = [book(stage, soon(days=3)), book(stage, soon(days=4))]
    cancelled = book(stage, soon(days=5))
    change(stage, cancelled, status="cancelled")
    stage.connect()
    marks = {made["extendedProperties"]["private"]["consulta"] for made in stage.at_google()}
    assert marks == set(booked)


def test_more_than_a_page_of_what_was_booked_before(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outward, "PAGE", 2)
    for days in range(3, 8):
        book(stage, soon(days=days))
    stage.connect()
    assert len(stage.at_google()) == 5


def test_events_move_to_the_calendar_that_is_chosen(stage: Stage) -> None:
    second = {"id": "work@group.calendar.google.com", "summary": "Work"}
    stage.control("accounts", {"email": EMAIL, "calendars": [second]})
    stage.connect()
    book_one = book(stage, soon(days=3), where="online")
    stage.told(book_one)
    listed = stage.call("GET", "/calendars").body["items"]
    assert {one["id"]: one["primary"] for one in listed} == {EMAIL: True, second["id"]: False}
    etag = stage.call("GET").headers["ETag"]
    body = {"calendar_id": second["id"]}
    assert stage.call("PATCH", body=body, headers={"If-Match": '"99"'}).status == 412
    assert stage.call("PATCH", body=body, headers={"If-Match": etag}).status == 200
    stage.work()
    assert stage.at_google() == []
    [made] = stage.at_google(second["id"])
    assert stage.item(book_one).meeting_url == made["hangoutLink"]
    assert {one["calendar"] for one in stage.channels()} == {second["id"]}
    unknown = stage.call("PATCH", body={"calendar_id": "nobody@example.com"})
    assert unknown.status == 422


def test_without_a_calendar_nothing_happens(stage: Stage) -> None:
    assert stage.told(book(stage, soon(days=3))) == []
    assert stage.told("appt_01JC0NS0TADEM0000000000009") == []


# ---------------------------------------------------------------- Google down


def test_google_down_the_booking_stands_and_the_event_comes_later(
    connected: Stage, impatient: None
) -> None:
    connected.control("down", {"status": 503, "times": 2})
    booked = book(connected, soon(days=3))
    assert connected.told(booked) == ["m0"]
    assert connected.item(booked).status == "confirmed"
    assert connected.told(booked, tries=2) == ["m0"]
    assert connected.at_google() == []
    assert connected.told(booked, tries=3) == []
    assert len(connected.at_google()) == 1


def test_a_message_waits_longer_with_every_try(
    connected: Stage, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    sqs = aws.client("sqs")
    monkeypatch.setattr(
        sqs, "change_message_visibility", lambda **given: waits.append(given["VisibilityTimeout"])
    )
    booked = book(connected, soon(days=3))
    connected.control("down", {"status": 503, "times": 4})
    for tries in (1, 2, 5, 20):
        connected.told(booked, tries=tries)
    assert waits == [30, 60, 480, 3600]


def test_google_acted_but_its_answer_was_lost(connected: Stage, impatient: None) -> None:
    fault = {
        "method": "POST",
        "kind": "timeout_after",
        "path_prefix": "/calendar/v3/calendars",
    }
    connected.control("faults", fault)
    booked = book(connected, soon(days=3))
    assert connected.told(booked) == ["m0"]
    assert len(connected.at_google()) == 1
    # Inserting again finds it there, and changes it.
    assert connected.told(booked) == []
    assert len(connected.at_google()) == 1


def test_too_many_requests_are_tried_again_within_the_call(connected: Stage) -> None:
    connected.control("down", {"status": 429, "times": 1})
    booked = book(connected, soon(days=3))
    assert connected.told(booked) == []
    assert len(connected.at_google()) == 1


@pytest.mark.parametrize("calls", range(1, 5))
def test_a_crash_between_any_two_writes_leaves_one_event(
    connected: Stage, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    booked = book(connected, soon(days=3), where="online")
    with Faults(aws.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", *[faults.meanwhile(lambda: None)] * (calls - 1))
        faults.next("TransactWriteItems", faults.crash_after)
        try:
            connected.told(booked)
        except Crash:
            assert calls < 4
        else:
            assert calls == 4, "there are three writes: lease, digest, link"
            faults.forget()
    # Whoever crashed had a lease; it ends.
    monkeypatch.setattr(outward, "now", lambda: now() + outward.LEASE)
    assert connected.told(booked) == []
    [made] = connected.at_google()
    assert connected.item(booked).meeting_url == made["hangoutLink"]


def test_of_two_messages_at_once_one_writes_and_the_other_comes_again(
    connected: Stage,
) -> None:
    booked = book(connected, soon(days=3))
    later = soon(days=4)

    def meanwhile() -> None:
        # The appointment moves while the first message's worker is about to tell Google.
        change(connected, booked, start=later, end=later + HOUR)
        assert connected.told(booked) == ["m0"]

    put = outward._put

    def slowly(*given: Any, **more: Any) -> Any:
        monkey.undo()
        meanwhile()
        return put(*given, **more)

    monkey = pytest.MonkeyPatch()
    monkey.setattr(outward, "_put", slowly)
    assert connected.told(booked) == []
    # The second comes again, and what is true now is what is there in the end.
    assert connected.told(booked) == []
    [made] = connected.at_google()
    assert datetime.fromisoformat(made["start"]["dateTime"]) == later


def test_who_has_read_an_older_appointment_writes_nothing(connected: Stage) -> None:
    """Between the reading and the lease others wrote the event and took it out again."""
    booked = book(connected, soon(days=3))
    event_of = outward.event_of
    monkey = pytest.MonkeyPatch()

    def slowly(*given: Any) -> Any:
        monkey.undo()
        assert connected.told(booked) == []
        change(connected, booked, status="cancelled")
        assert connected.told(booked) == []
        return event_of(*given)

    monkey.setattr(outward, "event_of", slowly)
    assert connected.told(booked) == ["m0"]
    assert connected.at_google() == []
    assert connected.told(booked) == []
    assert connected.at_google() == []


def test_who_read_the_appointment_first_and_its_row_later_writes_nothing(
    connected: Stage,
) -> None:
    booked, later = book(connected, soon(days=3)), soon(days=4)
    single = outward._single
    monkey = pytest.MonkeyPatch()

    def slowly(*given: Any) -> Any:
        monkey.undo()
        found = single(*given)
        change(connected, booked, start=later, end=later + HOUR)
        assert connected.told(booked) == []
        return found

    monkey.setattr(outward, "_single", slowly)
    assert connected.told(booked) == ["m0"]
    [made] = connected.at_google()
    assert datetime.fromisoformat(made["start"]["dateTime"]) == later


def test_our_own_credentials_refused_lose_no_event(connected: Stage) -> None:
    """A secret that was rotated badly is ours to repair: until then the messages wait."""
    booked = book(connected, soon(days=3))
    connected.control("clock", {"advance_s": 4000})
    connected.control("down", {"status": 401, "times": 1, "path_prefix": "/token"})
    assert connected.told(booked) == ["m0"]
    assert connected.told(booked) == []
    assert len(connected.at_google()) == 1


def test_an_event_that_the_expert_deleted_comes_back_with_the_next_change(
    connected: Stage,
) -> None:
    booked = book(connected, soon(days=3))
    connected.told(booked)
    connected.delete_by_hand(connected.at_google()[0]["id"])
    later = soon(days=4)
    change(connected, booked, start=later, end=later + HOUR)
    assert connected.told(booked) == []
    assert len(connected.at_google()) == 1
    # And one that was deleted before its appointment was cancelled is no trouble.
    connected.delete_by_hand(connected.at_google()[0]["id"])
    change(connected, booked, status="cancelled")
    assert connected.told(booked) == []


# ---------------------------------------------------------------- revoked, disconnected


def test_a_consent_that_was_withdrawn_is_an_open_step_again(connected: Stage) -> None:
    step = {step.name: step.done for step in setup_of(connected.expert_item()).steps}
    assert step["calendar"]
    connected.control("revoke", {"email": EMAIL})
    booked = book(connected, soon(days=3))
    # The message is done: only the expert can do something about it.
    assert connected.told(booked) == []
    assert connected.call("GET").body["state"] == "revoked"
    step = {step.name: step.done for step in setup_of(connected.expert_item()).steps}
    assert not step["calendar"]
    assert connected.connection().ciphertext is None
    assert connected.call("GET", "/calendars").status == 409
    assert connected.call("PATCH", body={"label": "initials"}).status == 409
    # The consent again, and what was missed is there.
    connected.connect()
    assert connected.call("GET").body["state"] == "connected"
    assert len(connected.at_google()) == 1


def test_what_is_cancelled_while_nothing_is_connected_goes_with_the_next_consent(
    connected: Stage,
) -> None:
    booked = book(connected, soon(days=3))
    connected.told(booked)
    connected.control("revoke", {"email": EMAIL})
    connected.sync()
    change(connected, booked, status="cancelled")
    assert connected.told(booked) == []
    assert len(connected.at_google()) == 1
    connected.connect()
    assert connected.at_google() == []


def test_revoked_is_found_out_by_a_sync_too(connected: Stage) -> None:
    connected.control("revoke", {"email": EMAIL})
    assert connected.sync() == []
    assert connected.call("GET").body["state"] == "revoked"
    # It is on no list any more: the schedule does not ask for it every hour.
    assert table.Query(keys.calendar_connections(), index="l1").page(10).items == []


def test_an_access_token_that_google_no_longer_takes_is_renewed(connected: Stage) -> None:
    connected.control("clock", {"advance_s": 4000})
    booked = book(connected, soon(days=3))
    assert connected.told(booked) == []
    assert len(connected.at_google()) == 1


def test_tokens_are_asked_for_once_an_hour(
    connected: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    refresh = google.refresh
    monkeypatch.setattr(google, "refresh", lambda token: (asked.append(token), refresh(token))[1])
    connected.told(book(connected, soon(days=3)))
    assert asked == []
    monkeypatch.setattr(tokens, "now", lambda: now() + timedelta(minutes=59))
    connected.told(book(connected, soon(days=4)))
    connected.told(book(connected, soon(days=5)))
    assert len(asked) == 1


def test_disconnecting_gives_the_consent_back_and_forgets_what_was_read(
    connected: Stage,
) -> None:
    at = soon(days=2)
    connected.by_hand(at, at + HOUR)
    connected.sync()
    booked = book(connected, soon(days=3))
    connected.told(booked)
    assert connected.busy_days()
    assert connected.call("DELETE").status == 204
    connected.work()
    assert connected.busy_days() == []
    assert connected.channels() == []
    assert connected.call("GET").body["state"] == "disconnected"
    assert not connected.expert_item().calendar_connected
    assert connected.connection().ciphertext is None
    # Events that were written are the expert's own; later ones are not written any more.
    change(connected, booked, start=soon(days=4), end=soon(days=4) + HOUR)
    assert connected.told(booked) == []
    [_, left] = connected.at_google()
    assert datetime.fromisoformat(left["start"]["dateTime"]) == soon(days=3)
    assert connected.call("DELETE").status == 204
    # A calendar that comes back takes its events over, instead of writing them twice.
    connected.connect()
    [_, made] = connected.at_google()
    assert datetime.fromisoformat(made["start"]["dateTime"]) == connected.item(booked).start


def test_disconnecting_while_google_is_away(connected: Stage, impatient: None) -> None:
    connected.control("down", {"status": "timeout", "times": 9})
    assert connected.call("DELETE").status == 204
    assert connected.call("GET").body["state"] == "disconnected"


def to_queue(environment: pytest.MonkeyPatch, url: str) -> None:
    """Messages go to this queue, which may be none."""
    environment.setenv("CALENDAR_QUEUE_URL", url)
    settings.reset()


def test_disconnecting_is_finished_by_the_schedule_where_the_queue_took_nothing(
    connected: Stage, environment: pytest.MonkeyPatch
) -> None:
    at = soon(days=2)
    connected.by_hand(at, at + HOUR)
    connected.sync()
    to_queue(environment, NO_QUEUE)
    assert connected.call("DELETE").status == 204
    to_queue(environment, connected.queue)
    assert connected.busy_days()
    assert renew(connected) == 1
    connected.work()
    assert connected.busy_days() == []
    assert renew(connected) == 0


def test_settings_that_the_queue_did_not_take_are_seen_by_the_next_sync(
    connected: Stage, environment: pytest.MonkeyPatch
) -> None:
    at = soon(days=2)
    connected.by_hand(at, at + HOUR)
    connected.sync()
    connected.told(book(connected, soon(days=3)))
    to_queue(environment, NO_QUEUE)
    body = {"import_busy": False, "label": "initials"}
    assert connected.call("PATCH", body=body).status == 200
    to_queue(environment, connected.queue)
    assert connected.sync() == []
    connected.work()
    assert connected.busy_days() == []
    assert connected.channels() == []
    summaries = {made["summary"] for made in connected.at_google() if made.get("summary")}
    assert "Appointment I. C." in summaries


def test_who_connects_again_while_it_is_forgotten_loses_nothing(connected: Stage) -> None:
    at = soon(days=2)
    connected.by_hand(at, at + HOUR)
    connected.sync()
    assert connected.call("DELETE").status == 204
    assert len(connected.messages()) == 1
    known_times = inward.known_times
    monkey = pytest.MonkeyPatch()

    def slowly(*given: Any) -> Any:
        found = known_times(*given)
        monkey.undo()
        connected.connect()
        return found

    monkey.setattr(inward, "known_times", slowly)
    with pytest.raises(queue.Later):
        inward.forget(connected.world.tenant, connected.expert)
    inward.forget(connected.world.tenant, connected.expert)
    assert connected.busy_days() == [at.date().isoformat()]


def test_a_consent_that_takes_anothers_place_is_told_nothing_by_its_channel(
    connected: Stage,
) -> None:
    [hello] = told_by_google(connected)
    connected.connect()
    assert push(hello | {"X-Goog-Resource-State": "exists"}) == 404


# ---------------------------------------------------------------- inward


def test_busy_times_take_the_slots(connected: Stage) -> None:
    at = soon(days=3)
    connected.by_hand(at, at + HOUR)
    assert connected.sync() == []
    world = connected.world
    service = world.service(connected.expert)
    with pytest.raises(SlotTaken):
        world.book(service, connected.expert, world.patient(), at, confirm=True)
    assert world.book(service, connected.expert, world.patient(), at + HOUR, confirm=True)


def test_busy_times_move_and_go_with_their_events(connected: Stage) -> None:
    at = soon(days=3)
    event_id = connected.by_hand(at, at + HOUR)
    connected.sync()
    later = soon(days=5)
    connected.change_by_hand(event_id, start=later, end=later + HOUR)
    connected.sync()
    assert connected.busy(at.date()) == []
    assert connected.busy(later.date()) == [(to_epoch(later), to_epoch(later + HOUR))]
    connected.change_by_hand(event_id, transparent=True)
    connected.sync()
    assert connected.busy_days() == []
    connected.change_by_hand(event_id, transparent=False)
    connected.sync()
    assert len(connected.busy_days()) == 1
    connected.delete_by_hand(event_id)
    connected.sync()
    assert connected.busy_days() == []


def test_our_own_events_are_no_busy_times(connected: Stage) -> None:
    connected.told(book(connected, soon(days=3)))
    connected.sync()
    assert connected.busy_days() == []
    # Neither in a full reading.
    connected.control("sync-tokens/expire")
    connected.sync()
    assert connected.busy_days() == []


def test_declined_ones_are_no_busy_times(connected: Stage) -> None:
    at = soon(days=3)
    event_id = connected.by_hand(at, at + HOUR, response="accepted")
    connected.sync()
    assert len(connected.busy_days()) == 1
    connected.change_by_hand(event_id, response="declined")
    connected.sync()
    assert connected.busy_days() == []


def test_an_event_of_several_days_is_on_each(connected: Stage) -> None:
    # Within its days, whatever the hour is now: one that ends at midnight is on two.
    first = soon(days=3).replace(hour=10)
    connected.by_hand(first, first + timedelta(days=2))
    connected.sync()
    span = (to_epoch(first), to_epoch(first + timedelta(days=2)))
    for days in range(3):
        assert span in connected.busy((first + timedelta(days=days)).date())


def test_an_all_day_event_is_in_its_calendars_zone(stage: Stage) -> None:
    stage.control("reset")
    stage.control("accounts", {"email": EMAIL, "zone": "Asia/Kolkata"})
    stage.control("consent", {"email": EMAIL, "times": 9})
    stage.connect()
    day = soon(days=10).date()
    stage.by_hand(day.isoformat(), (day + timedelta(days=1)).isoformat())
    stage.sync()
    midnight = datetime.fromisoformat(f"{day}T00:00:00+05:30")
    [span] = stage.busy(day)
    assert span == (to_epoch(midnight), to_epoch(midnight + timedelta(days=1)))


def test_a_calendar_that_moves_to_another_zone_is_read_anew(connected: Stage) -> None:
    """Its all-day events are elsewhere then, and no change of theirs is told."""
    day = soon(days=10).date()
    connected.by_hand(day.isoformat(), (day + timedelta(days=1)).isoformat())
    connected.sync()
    own = {"id": EMAIL, "zone": "Asia/Kolkata"}
    connected.control("accounts", {"email": EMAIL, "calendars": [own]})
    connected.sync()
    midnight = datetime.fromisoformat(f"{day}T00:00:00+05:30")
    [span] = connected.busy(day)
    assert span == (to_epoch(midnight), to_epoch(midnight + timedelta(days=1)))


def test_a_token_that_is_too_old_means_everything_again(connected: Stage) -> None:
    at, later = soon(days=3), soon(days=5)
    gone = connected.by_hand(at, at + HOUR)
    connected.sync()
    connected.control("sync-tokens/expire")
    connected.delete_by_hand(gone)
    connected.by_hand(later, later + HOUR)
    assert connected.sync() == []
    assert connected.busy_days() == [later.date().isoformat()]
    # And from here on by what has changed again.
    row = Sync.read(sync_key(connected.world.tenant, connected.expert))
    assert row.sync_token


def test_pages_are_read_to_the_end(connected: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google, "PAGE_SIZE", 3)
    for days in range(2, 12):
        at = soon(days=days)
        connected.by_hand(at, at + HOUR)
    connected.control("sync-tokens/expire")
    connected.sync()
    assert len(connected.busy_days()) == 10


def test_more_than_one_transactions_worth(connected: Stage) -> None:
    at = soon(days=2)
    made = connected.control(
        f"calendars/{EMAIL}/events",
        {
            "start": at.isoformat(),
            "end": (at + HOUR).isoformat(),
            "every_days": 1,
            "times": 55,
        },
    )
    assert len(made["events"]) == 55
    connected.sync()
    assert len(connected.busy_days()) == 55


def test_a_long_leave(connected: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One event on more days than a transaction can write: also where it is interrupted."""
    first = soon(days=5).date()
    event_id = connected.by_hand(first.isoformat(), (first + timedelta(days=100)).isoformat())
    with Faults(aws.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", *[faults.meanwhile(lambda: None)] * 2)
        faults.next("TransactWriteItems", faults.crash_after)
        with pytest.raises(Crash):
            connected.sync()
    later = inward.LEASE + timedelta(seconds=1)
    monkeypatch.setattr(inward, "now", lambda: now() + later)
    assert connected.sync() == []
    # In Lisbon, where a day begins at UTC's midnight or an hour before.
    assert len(connected.busy_days()) in (100, 101)
    moved = first + timedelta(days=99)
    connected.change_by_hand(
        event_id, start=moved.isoformat(), end=(moved + timedelta(days=2)).isoformat()
    )
    connected.sync()
    assert len(connected.busy_days()) in (2, 3)
    connected.delete_by_hand(event_id)
    connected.sync()
    assert connected.busy_days() == []


@pytest.mark.parametrize("calls", range(1, 5))
def test_a_crash_in_a_sync_loses_nothing(
    connected: Stage, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    at, later = soon(days=3), soon(days=4)
    event_id = connected.by_hand(at, at + HOUR)
    connected.sync()
    connected.change_by_hand(event_id, start=later, end=later + HOUR)
    with Faults(aws.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", *[faults.meanwhile(lambda: None)] * (calls - 1))
        faults.next("TransactWriteItems", faults.crash_after)
        try:
            connected.sync()
        except Crash:
            assert calls < 4
        else:
            assert calls == 4, "there are three writes: lease, days, what was read"
            faults.forget()
    monkeypatch.setattr(inward, "now", lambda: now() + inward.LEASE + timedelta(seconds=1))
    assert connected.sync() == []
    assert connected.busy(at.date()) == []
    assert len(connected.busy(later.date())) == 1


def test_of_two_syncs_at_once_one_waits(connected: Stage) -> None:
    at = soon(days=3)
    connected.by_hand(at, at + HOUR)
    changes = google.Calendars.changes
    monkey = pytest.MonkeyPatch()

    def slowly(*given: Any) -> Any:
        monkey.undo()
        assert connected.sync() == ["m0"]
        return changes(*given)

    monkey.setattr(google.Calendars, "changes", slowly)
    assert connected.sync() == []
    assert len(connected.busy_days()) == 1


def test_who_lost_the_lease_writes_nothing_more(connected: Stage) -> None:
    """Disconnected in the middle of a sync: what it has read is not written any more."""
    at = soon(days=3)
    connected.by_hand(at, at + HOUR)
    changes = google.Calendars.changes
    monkey = pytest.MonkeyPatch()

    def slowly(*given: Any) -> Any:
        monkey.undo()
        found = changes(*given)
        assert connected.call("DELETE").status == 204
        return found

    monkey.setattr(google.Calendars, "changes", slowly)
    assert connected.sync() == []
    connected.work()
    assert connected.busy_days() == []


def test_busy_times_need_not_be_read(connected: Stage) -> None:
    at = soon(days=3)
    connected.by_hand(at, at + HOUR)
    connected.sync()
    assert len(connected.busy_days()) == 1
    assert connected.call("PATCH", body={"import_busy": False}).status == 200
    connected.work()
    assert connected.busy_days() == []
    connected.sync()
    assert connected.busy_days() == []
    assert connected.call("PATCH", body={"import_busy": True}).status == 200
    connected.work()
    assert len(connected.busy_days()) == 1


def test_google_down_busy_times_come_later(connected: Stage, impatient: None) -> None:
    at = soon(days=3)
    connected.by_hand(at, at + HOUR)
    connected.control("down", {"status": 500, "times": 1})
    assert connected.sync() == ["m0"]
    assert connected.call("GET").body["error"] == "unavailable"
    assert connected.sync() == []
    assert connected.call("GET").body["error"] is None
    assert len(connected.busy_days()) == 1


def test_nothing_of_an_event_but_its_times_is_read_or_stored(connected: Stage) -> None:
    at = soon(days=3)
    connected.by_hand(at, at + HOUR, summary="Oncologist")
    connected.sync()
    everything = aws.client("dynamodb").scan(TableName="core")["Items"]
    assert "Oncologist" not in json.dumps(everything, default=str)


def test_once_a_week_everything_is_read_as_the_window_moves_on(
    connected: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was ahead of the window is told by nobody: it did not change."""
    far = soon(days=400 + FULL_EVERY.days + 3)
    connected.by_hand(far, far + HOUR)
    connected.sync()
    assert connected.busy_days() == []
    ahead = FULL_EVERY + timedelta(hours=1)
    for module in (inward, tokens):
        monkeypatch.setattr(module, "now", lambda: now() + ahead)
    connected.sync()
    assert connected.busy_days() == [far.date().isoformat()]


def test_what_is_over_goes(connected: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    at = soon(days=1)
    connected.by_hand(at, at + HOUR)
    connected.sync()
    ahead = timedelta(days=30)
    for module in (busy_rows, inward, tokens):
        monkeypatch.setattr(module, "now", lambda: now() + ahead)
    connected.sync()
    partition = connected.world.tenant.external(connected.expert, at.date()).pk
    assert [r for r in table.Query(partition).all() if r["sk"]["S"].endswith("EXTERNAL")] == []
    assert inward.known_times(connected.world.tenant, connected.expert) == {}


# ---------------------------------------------------------------- channels


def push(headers: dict[str, str]) -> int:
    made = event("POST", "/webhooks/google-calendar", headers=headers)
    return invoke(handler("calendar_push"), made).status


def told_by_google(stage: Stage) -> list[dict[str, str]]:
    """The headers of all that Google has told so far."""
    sent = requests.get(f"{stage.google.url}/_control/events", timeout=5).json()["events"]
    return [
        {
            "X-Goog-Channel-ID": one["event"]["channel"],
            "X-Goog-Channel-Token": one["event"]["token"],
            "X-Goog-Resource-State": one["event"]["state"],
        }
        for one in sent
    ]


def test_what_google_tells_causes_a_sync(connected: Stage) -> None:
    [hello] = told_by_google(connected)
    assert hello["X-Goog-Resource-State"] == "sync"
    assert push(hello) == 204
    assert connected.messages() == []
    at = soon(days=3)
    connected.by_hand(at, at + HOUR)
    changed = told_by_google(connected)[-1]
    assert push(changed) == 204
    connected.work()
    assert len(connected.busy_days()) == 1


def test_many_changes_at_once_are_one_sync(
    connected: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    [hello] = told_by_google(connected)
    for _ in range(20):
        assert push(hello | {"X-Goog-Resource-State": "exists"}) == 204
    found = connected.messages()
    assert len(found) == 20
    read: list[str] = []
    changes = google.Calendars.changes
    monkeypatch.setattr(
        google.Calendars, "changes", lambda *given: (read.append(""), changes(*given))[1]
    )
    ahead = inward.SKEW + timedelta(seconds=1)
    for module in (inward, tokens):
        monkeypatch.setattr(module, "now", lambda: now() + ahead)
    assert connected.deliver(*(json.loads(one["Body"]) for one in found)) == []
    assert len(read) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Goog-Channel-ID", ""),
        ("X-Goog-Channel-ID", "2c5ea4c0-4067-11ee-be56-0242ac120002"),
        ("X-Goog-Channel-ID", "a#b"),
        ("X-Goog-Channel-ID", "a" * 300),
        ("X-Goog-Channel-Token", ""),
        ("X-Goog-Channel-Token", "another"),
    ],
)
def test_who_is_not_google_is_told_nothing(connected: Stage, name: str, value: str) -> None:
    headers = {**told_by_google(connected)[0], "X-Goog-Resource-State": "exists", name: value}
    answer = invoke(
        handler("calendar_push"), event("POST", "/webhooks/google-calendar", headers=headers)
    )
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert value not in json.dumps(answer.body) or not value
    assert connected.messages() == []


def test_a_queue_that_takes_nothing_is_told_again(
    connected: Stage, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("CALENDAR_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/1/nothing")
    settings.reset()
    headers = {**told_by_google(connected)[0], "X-Goog-Resource-State": "exists"}
    assert push(headers) == 500


def renew(stage: Stage) -> int:
    found: int = handler("calendar_renew")({}, SimpleNamespace(function_name="test"))["due"]
    return found


def test_the_schedule_asks_only_for_what_is_due(
    connected: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert renew(connected) == 0
    monkeypatch.setattr(worker, "now", lambda: now() + inward.POLL + timedelta(minutes=1))
    assert renew(connected) == 1
    # Until it was done it stays due.
    assert renew(connected) == 1
    [first, second] = connected.messages()
    assert first["Body"] == second["Body"]
    assert json.loads(first["Body"])["kind"] == queue.SYNC


def test_a_channel_is_renewed_before_it_ends(
    connected: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    [before] = connected.channels()
    connected.sync()
    assert connected.channels() == [before]
    ahead = inward.CHANNEL_LIFE - inward.RENEW_BEFORE + timedelta(minutes=1)
    for module in (inward, tokens):
        monkeypatch.setattr(module, "now", lambda: now() + ahead)
    assert connected.sync() == []
    [after] = connected.channels()
    assert after["id"] != before["id"]
    # The old one's address is good for nothing any more.
    headers = told_by_google(connected)[0] | {"X-Goog-Resource-State": "exists"}
    assert headers["X-Goog-Channel-ID"] == before["id"]
    assert push(headers) == 404


def test_without_a_channel_busy_times_are_read_all_the_same(
    stage: Stage, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("API_URL", "http://not-https.example")
    settings.reset()
    stage.connect()
    assert stage.channels() == []
    at = soon(days=3)
    stage.by_hand(at, at + HOUR)
    assert stage.sync() == []
    assert len(stage.busy_days()) == 1
    assert stage.call("GET").body["told_until"] is None


def test_more_due_connections_than_a_page(
    connected: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        row = sync_key(connected.world.tenant, f"exp_{number}")
        place = {"l1pk": keys.calendar_connections(), "l1sk": f"2020-01-01T00:00#{number}"}
        table.transact([table.update(row, set_=place)])
    monkeypatch.setattr(worker, "PAGE", 3)
    assert renew(connected) == 7
    assert len({one["Body"] for one in connected.messages()}) == 7


# ---------------------------------------------------------------- what cannot be


def test_a_poisoned_message_does_not_hold_up_the_others(connected: Stage) -> None:
    booked = book(connected, soon(days=3))
    good = queue.work(queue.APPOINTMENT, connected.world.practice, booked)
    assert connected.deliver({"kind": "dance", "practice": "p", "id": "x"}, good) == ["m0"]
    assert len(connected.at_google()) == 1


def test_nothing_of_a_person_is_in_a_log(
    connected: Stage, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tokens.refresh_token(connected.connection())
    connected.control("down", {"status": 403, "times": 3})
    booked = book(connected, soon(days=3))
    connected.told(booked)
    connected.control("revoke", {"email": EMAIL})
    connected.sync()
    said = caplog.text + "".join(capsys.readouterr())
    for word in (EMAIL, "Carvalho", "consultation", secret, "ya29."):
        assert word not in said


def test_membership_of_another_practice_is_no_way_in(stage: Stage) -> None:
    """The state names the practice in which it was begun, and the person must still be there."""
    url, cookie = stage.begin()
    query = stage.unquoted(stage.consent(url))
    other = Membership("prac_01JC0NS0TADEM0000000000009", Role.OWNER, "mem_1", "")
    table.transact(
        [
            table.delete(keys.membership(PERSON, stage.world.practice)),
            memberships.put(PERSON, other),
        ]
    )
    assert stage.come_back(query, cookie).headers["Location"].endswith("calendar=refused")
