"""ICS feeds: made, read by whoever has the address, limited, ended."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from icalendar import Calendar

from consulta.calendars import feeds
from consulta.core import keys, settings, table
from consulta.core.item import Actor
from consulta.core.time import now, to_text
from consulta.people.records import EXPERT, MEMBER, PATIENT, ExpertItem
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from tests.unit.people.calling import Answer, call, event, handler, signed_in
from tests.unit.scheduling.world import World, tomorrow

BY = Actor("person-1", "request-1")
PUBLIC = "https://api.consulta.example"
HOUR = timedelta(hours=1)


@pytest.fixture
def world(tables: Any, environment: pytest.MonkeyPatch) -> World:
    environment.setenv("PUBLIC_URL", PUBLIC)
    settings.reset()
    return World()


@pytest.fixture
def expert(world: World) -> str:
    return world.expert()


def make(world: World, expert: str = "", **more: Any) -> Answer:
    body = {**({"expert_id": expert} if expert else {}), **more.pop("body", {})}
    context = more.pop("context", None) or signed_in("owner", world.practice)
    return call("feeds", "POST", "/v1/calendars/feeds", body, context=context, **more)


def listed(world: World, expert: str, **more: Any) -> list[dict[str, Any]]:
    context = more.pop("context", None) or signed_in("owner", world.practice)
    query = f"expert_id={expert}" if expert else ""
    answer = call("feeds", "GET", "/v1/calendars/feeds", context=context, query=query)
    found: list[dict[str, Any]] = answer.body["items"]
    return found


def remove(world: World, feed: str, expert: str) -> int:
    context = signed_in("owner", world.practice)
    path, query = f"/v1/calendars/feeds/{feed}", f"expert_id={expert}"
    return call("feeds", "DELETE", path, context=context, query=query).status


def read(url: str, **headers: str) -> dict[str, Any]:
    """The gateway's answer to a calendar that subscribes: no token, and no JSON."""
    path = url.removeprefix(PUBLIC)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: dict[str, Any] = handler("feeds")(event("GET", path, headers=sent), None)
    return answer


def events(url: str) -> list[Any]:
    answer = read(url)
    assert answer["statusCode"] == 200, answer
    return list(Calendar.from_ical(answer["body"]).walk("VEVENT"))


def book(world: World, expert: str, start: datetime, patient: str = "", **values: str) -> str:
    service = world.service(expert)
    booked = world.book(service, expert, patient or world.patient(), start, confirm=True)
    if values:
        item = table.get(AppointmentItem, world.tenant.item(APPOINTMENT, booked.id))
        assert item
        table.transact([table.change(item, BY, set_=values)])
    return booked.id


def test_a_feed_has_what_is_booked_and_nobodys_name(world: World, expert: str) -> None:
    at = tomorrow(10)
    booked = book(world, expert, at)
    made = make(world, expert)
    assert made.status == 201
    assert made.headers["Location"] == f"/v1/calendars/feeds/{made.body['id']}"
    answer = read(made.body["url"])
    assert answer["headers"]["Content-Type"] == "text/calendar; charset=utf-8"
    assert answer["headers"]["Cache-Control"] == "private, max-age=900"
    assert "Carvalho" not in answer["body"]
    assert "consultation" not in answer["body"]
    [found] = events(made.body["url"])
    assert (found["UID"], found["SUMMARY"]) == (f"{booked}@consulta", "Appointment")
    assert found["DTSTART"].dt == at


@pytest.mark.parametrize("status", ["completed", "no_show"])
def test_what_has_happened_stays_in_it(world: World, expert: str, status: str) -> None:
    """Whoever marks yesterday's appointments as done does not take them out of the calendar."""
    booked = book(world, expert, tomorrow(10), status=status)
    [found] = events(make(world, expert).body["url"])
    assert (found["UID"], found["STATUS"]) == (f"{booked}@consulta", "CONFIRMED")


def test_services_are_named_only_where_the_owner_wants_that(world: World, expert: str) -> None:
    book(world, expert, tomorrow(10))
    made = make(world, expert, body={"labels": "service"})
    [found] = events(made.body["url"])
    assert found["SUMMARY"] == "First consultation"
    assert "Carvalho" not in read(made.body["url"])["body"]


def test_only_what_is_still_on_is_in_it(world: World, expert: str) -> None:
    shown = book(world, expert, tomorrow(10))
    waiting = book(world, expert, tomorrow(12), status="awaiting_approval")
    for hour, status in ((14, "cancelled"), (16, "held"), (18, "expired")):
        book(world, expert, tomorrow(hour), status=status)
    book(world, world.expert("Ana Reis"), tomorrow(10))
    found = {str(one["UID"]): str(one["STATUS"]) for one in events(make(world, expert).body["url"])}
    assert found == {f"{shown}@consulta": "CONFIRMED", f"{waiting}@consulta": "TENTATIVE"}


def test_from_30_days_ago_to_a_year_ahead(
    world: World, expert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(world, expert, tomorrow(10, days=300))
    url = make(world, expert).body["url"]
    assert len(events(url)) == 1
    monkeypatch.setattr(feeds, "now", lambda: now() + timedelta(days=329))
    assert len(events(url)) == 1
    monkeypatch.setattr(feeds, "now", lambda: now() + timedelta(days=332))
    assert events(url) == []
    monkeypatch.setattr(feeds, "now", lambda: now() - timedelta(days=70))
    assert events(url) == []


def test_no_more_than_a_calendar_can_take(
    world: World, expert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (8, 10, 12):
        book(world, expert, tomorrow(hour))
    monkeypatch.setattr(feeds, "MAX_EVENTS", 2)
    found = events(make(world, expert).body["url"])
    assert [one["DTSTART"].dt for one in found] == [tomorrow(8), tomorrow(10)]


def test_a_patients_own(world: World, expert: str) -> None:
    patient, other = world.patient(), world.patient("Rui Melo")
    booked = book(world, expert, tomorrow(10), patient)
    book(world, expert, tomorrow(12), other)
    context = signed_in("patient", world.practice, subject=patient)
    made = make(world, context=context)
    assert (made.body["patient_id"], made.body["expert_id"]) == (patient, None)
    assert [str(one["UID"]) for one in events(made.body["url"])] == [f"{booked}@consulta"]
    assert make(world, expert, context=context).status == 403
    # A patient who is deleted has none any more.
    item = table.get_raw(world.tenant.item(PATIENT, patient))
    assert item
    mark = table.update(world.tenant.item(PATIENT, patient), set_={"deleted_at": to_text(now())})
    table.transact([mark])
    assert read(made.body["url"])["statusCode"] == 404


def test_whose_feeds_they_are(world: World, expert: str) -> None:
    other = world.expert("Ana Reis")
    own = signed_in("expert", world.practice, subject=expert)
    assert make(world, context=own).status == 201
    assert make(world, other, context=own).status == 403
    assert make(world, other).status == 201
    assert make(world, expert, context=signed_in("viewer", world.practice)).status == 403
    outside = signed_in("owner", "prac_01JC0NS0TADEM0000000000009")
    assert make(world, expert, context=outside).status == 404


def test_who_has_left_the_practice_has_no_feed(world: World, expert: str) -> None:
    url = make(world, expert).body["url"]
    item = table.get(ExpertItem, world.tenant.item(EXPERT, expert))
    assert item
    member = world.tenant.item(MEMBER, item.member_id)
    table.transact([table.put_values(member, {"name": "Helena Duarte"})])
    assert read(url)["statusCode"] == 200
    table.transact([table.update(member, set_={"deactivated_at": to_text(now())})])
    assert read(url)["statusCode"] == 404


@pytest.mark.parametrize(
    "file",
    [
        "A" * 43 + ".ics",
        "A" * 43,
        "A" * 42 + ".ics",
        "A" * 43 + ".ICS",
        ".ics",
        "..ics",
        "A" * 4000 + ".ics",
        "%00.ics",
        "a b.ics",
    ],
)
def test_a_wrong_address_is_404_and_not_repeated(world: World, file: str) -> None:
    answer = read(f"{PUBLIC}/feeds/{file}")
    assert answer["statusCode"] == 404
    assert file not in answer["body"]


def test_the_token_is_nowhere_but_in_the_one_answer(
    world: World, expert: str, tables: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(world, expert)
    token = made.body["url"].removeprefix(f"{PUBLIC}/feeds/").removesuffix(".ics")
    assert len(token) == 43
    events(made.body["url"])
    everything = json.dumps(tables.scan(TableName="core")["Items"], default=str)
    assert token not in everything
    assert made.body["hint"] == token[-4:]
    assert token not in "".join(capsys.readouterr())
    assert token not in json.dumps(listed(world, expert))


def test_an_ended_feed_is_good_for_nothing(world: World, expert: str) -> None:
    made = make(world, expert)
    assert remove(world, made.body["id"], expert) == 204
    assert read(made.body["url"])["statusCode"] == 404
    assert listed(world, expert) == []
    assert remove(world, made.body["id"], expert) == 404


def test_at_most_five_and_room_again_after_one_is_ended(world: World, expert: str) -> None:
    made = [make(world, expert) for _ in range(5)]
    assert {one.status for one in made} == {201}
    assert make(world, expert).status == 409
    # Each owner has five of their own.
    assert make(world, world.expert("Ana Reis")).status == 201
    assert remove(world, made[0].body["id"], expert) == 204
    assert make(world, expert).status == 201
    assert len(listed(world, expert)) == 5


def test_the_same_request_again_makes_no_second_one(world: World, expert: str) -> None:
    key = {"Idempotency-Key": "feed-1"}
    first, again = make(world, expert, headers=key), make(world, expert, headers=key)
    assert (first.status, again.status) == (201, 201)
    assert first.body["id"] == again.body["id"]
    assert again.body["url"] is None
    other = make(world, expert, headers=key, body={"labels": "service"})
    assert other.status == 422


def test_the_day_of_the_last_use_is_written_once_a_day(world: World, expert: str) -> None:
    made = make(world, expert)
    assert listed(world, expert)[0]["last_used_on"] is None
    events(made.body["url"])
    assert listed(world, expert)[0]["last_used_on"] == now().date().isoformat()
    token = made.body["url"].removeprefix(f"{PUBLIC}/feeds/").removesuffix(".ics")
    row = table.get_raw(keys.feed(feeds.digest_of(token)))
    events(made.body["url"])
    assert table.get_raw(keys.feed(feeds.digest_of(token))) == row


def test_what_has_not_changed_is_not_sent_again(world: World, expert: str) -> None:
    book(world, expert, tomorrow(10))
    url = make(world, expert).body["url"]
    whole = read(url)
    etag = whole["headers"]["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = read(url, if_none_match=known)
        assert (again["statusCode"], again["body"]) == (304, "")
        for name in ("ETag", "Cache-Control", "Vary"):
            assert again["headers"][name] == whole["headers"][name]
    book(world, expert, tomorrow(12))
    changed = read(url, if_none_match=etag)
    assert changed["statusCode"] == 200
    assert changed["headers"]["ETag"] != etag
