"""Hours, days off and free times as a front end sees them."""

import json
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from consulta.core import ids, table
from consulta.core.time import now, to_epoch, to_text
from consulta.people.records import EXPERT
from consulta.scheduling import availability, closures, offers
from consulta.scheduling.busy import Claim, group_of
from consulta.scheduling.offers import Offer
from consulta.scheduling.records import RESOURCE, ResourceItem
from consulta.scheduling.schema.availability import Weekly
from consulta.scheduling.slots import Busy
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import BY, TODAY, Clock, World

HOUR = timedelta(hours=1)
NINE_TO_TWELVE = {day: [{"from": "09:00", "to": "12:00"}] for day in Weekly.model_fields}
PLAIN: dict[str, Any] = {"zone": "Europe/Lisbon", "weekly": {}}


@pytest.fixture
def world(tables: Any) -> World:
    return World()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def ask(
    world: World,
    method: str,
    path: str,
    body: Any = None,
    *,
    role: str = "owner",
    subject: str = "",
    **request: Any,
) -> Answer:
    context = signed_in(role, world.practice, subject)
    return call(path.split("/")[2], method, path, body, context=context, **request)


def paths(answer: Answer) -> list[str]:
    return [error["path"] for error in answer.body["errors"]]


def stamp(value: Any) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


def slots(world: World, low: Any, high: Any, role: str = "owner", **query: Any) -> Answer:
    parts = {"from": low, "to": high, **query}
    text = "&".join(f"{name}={stamp(value)}" for name, value in parts.items())
    return ask(world, "GET", "/v1/slots", query=text, role=role, subject="pat_x")


def starts(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [slot["start"][11:16] for slot in answer.body["slots"]]


def day(days: int) -> date:
    return TODAY + timedelta(days=days)


def at(days: int, hour: int = 0) -> datetime:
    return datetime(day(days).year, day(days).month, day(days).day, hour, tzinfo=UTC)


def take(world: World, expert: str, start: datetime, **more: Any) -> None:
    """Fill an hour of an expert's time, as a booking does."""
    minutes, group = more.pop("minutes", 60), more.pop("group", "")
    begins = to_epoch(start)
    busy = Busy(begins, begins + minutes * 60, group=group)
    claim = Claim(world.tenant, expert, world.patient(), busy, **more)
    table.transact(claim.take(claim.read(), ids.new_id("appt"), None, begins - 86_400))


def elsewhere(world: World, expert: str, start: datetime, end: datetime) -> None:
    """An entry of the expert's own calendar, as it is read into the rows beside ours."""
    key = world.tenant.external(expert, start.date())
    entry = f"{to_epoch(start)},{to_epoch(end)},0,0,0"
    table.transact([table.update(key, set_={"event1": entry}, add={"version": 1})])


def resource(world: World, *, active: bool = True) -> str:
    resource_id = ids.new_id("res")
    item = ResourceItem.create(
        world.tenant.item(RESOURCE, resource_id),
        RESOURCE,
        BY,
        name="Room",
        kind="room",
        active=active,
        l1pk=world.tenant.listing(RESOURCE),
        l1sk=resource_id,
        walkpk=world.tenant.listing(RESOURCE),
        walksk=resource_id,
    )
    table.transact([table.put_new(item)])
    return resource_id


# ---------------------------------------------------------------- availability


def test_all_of_the_hours_are_read_as_they_were_set(world: World) -> None:
    expert = world.expert()
    query = f"expert_id={expert}"
    body = {
        "zone": "Europe/Lisbon",
        "weekly": {},
        "overrides": {
            "2026-12-24": [{"from": "09:00", "to": "12:00"}],
            "2026-12-31": [],
        },
        "vacations": [
            {"from": "2027-08-01", "to": "2027-08-31", "message": "Back in September 🌞"},
            {"from": "2026-12-27", "to": "2026-12-27", "message": ""},
        ],
        "max_per_day": 6,
        "max_per_week": 20,
        "auto_confirm": False,
        "cancellation": {"window_minutes": 2880, "fixed": 1500, "percent": 50},
    }
    put = ask(world, "PUT", "/v1/availability", body, query=query)
    assert put.status == 200, put.body
    shown = ask(world, "GET", "/v1/availability", query=query)
    assert shown.body == put.body
    assert {name: shown.body[name] for name in body if name not in ("weekly", "vacations")} == {
        name: value for name, value in body.items() if name not in ("weekly", "vacations")
    }
    assert shown.body["vacations"] == body["vacations"][::-1]
    # What is left out goes back to what it is without.
    ask(world, "PUT", "/v1/availability", PLAIN, query=query)
    empty = ask(world, "GET", "/v1/availability", query=query).body
    assert (empty["overrides"], empty["vacations"], empty["cancellation"]) == ({}, [], None)
    assert (empty["max_per_day"], empty["max_per_week"], empty["auto_confirm"]) == (
        None,
        None,
        True,
    )


def dates(count: int) -> list[str]:
    return [(date(2026, 1, 1) + timedelta(days=n)).isoformat() for n in range(count)]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"zone": "Europe/Lisboa"}, "body.zone"),
        ({"overrides": {"2026-02-30": []}}, "body.overrides.2026-02-30.[key]"),
        ({"overrides": {"2026-12-24T00:00:00Z": []}}, "body.overrides.2026-12-24T00:00:00Z.[key]"),
        ({"overrides": {"1767225600": []}}, "body.overrides.1767225600.[key]"),
        ({"overrides": {"9999-12-31": []}}, "body.overrides.9999-12-31.[key]"),
        ({"overrides": {day: [] for day in dates(367)}}, "body.overrides"),
        (
            {"overrides": {"2026-12-24": [{"from": "12:00", "to": "12:00"}]}},
            "body.overrides.2026-12-24.0",
        ),
        (
            {
                "overrides": {
                    "2026-12-24": [
                        {"from": "09:00", "to": "12:00"},
                        {"from": "11:00", "to": "13:00"},
                    ]
                }
            },
            "body.overrides.2026-12-24",
        ),
        ({"overrides": {"2026-12-24": None}}, "body.overrides.2026-12-24"),
        ({"vacations": [{"from": "2026-12-24", "to": "2026-12-23"}]}, "body.vacations.0.to"),
        ({"vacations": [{"from": "2026-12-24"}]}, "body.vacations.0.to"),
        ({"vacations": [{"from": "24.12.2026", "to": "2026-12-24"}]}, "body.vacations.0.from"),
        (
            {"vacations": [{"from": "2026-12-24", "to": "2026-12-24", "message": "x" * 501}]},
            "body.vacations.0.message",
        ),
        (
            {"vacations": [{"from": "2026-12-24", "to": "2026-12-24", "message": "a\u0000b"}]},
            "body.vacations.0.message",
        ),
        ({"vacations": [{"from": "2026-12-24", "to": "2026-12-24"}] * 51}, "body.vacations"),
        (
            {"vacations": [{"from": "2026-12-24", "to": "2026-12-24", "message": "🌞" * 500}] * 50},
            "body.vacations",
        ),
        ({"max_per_day": 0}, "body.max_per_day"),
        ({"max_per_week": 501}, "body.max_per_week"),
        ({"max_per_day": 1.5}, "body.max_per_day"),
        ({"auto_confirm": None}, "body.auto_confirm"),
        ({"cancellation": {}}, "body.cancellation.window_minutes"),
        ({"cancellation": {"window_minutes": -1}}, "body.cancellation.window_minutes"),
        ({"cancellation": {"window_minutes": 1, "fixed": -1}}, "body.cancellation.fixed"),
        ({"cancellation": {"window_minutes": 1, "percent": 101}}, "body.cancellation.percent"),
        ({"buffer_before_minutes": -5}, "body.buffer_before_minutes"),
        ({"slot_interval_minutes": 0}, "body.slot_interval_minutes"),
        ({"horizon_days": 3650}, "body.horizon_days"),
        ({"holidays": True}, "body.holidays"),
    ],
)
def test_wrong_hours_are_refused_on_their_field(
    world: World, wrong: dict[str, Any], path: str
) -> None:
    expert = world.expert()
    body = json.dumps(PLAIN | wrong, ensure_ascii=False)
    answer = ask(world, "PUT", "/v1/availability", body, query=f"expert_id={expert}")
    assert (answer.status, paths(answer)) == (422, [path])


def test_the_fullest_hours_fit_into_an_item(world: World) -> None:
    expert = world.expert()
    ranges = [{"from": f"{hour:02d}:00", "to": f"{hour:02d}:50"} for hour in (9, 13)]
    body = {
        "zone": "Europe/Lisbon",
        "weekly": dict.fromkeys(Weekly.model_fields, ranges),
        "overrides": dict.fromkeys(dates(366), ranges),
        "vacations": [{"from": "2026-12-24", "to": "2026-12-24", "message": "ж" * 500}] * 50,
    }
    text = json.dumps(body, ensure_ascii=False)
    put = ask(world, "PUT", "/v1/availability", text, query=f"expert_id={expert}")
    assert put.status == 200, put.body
    raw = table.get_raw(availability.key_of(world.tenant, expert))
    assert raw
    stored = sum(len(str(value)) for entry in raw.values() for value in entry.values())
    assert 150_000 < stored < 300_000


# ---------------------------------------------------------------- closures


def test_closures_from_the_first_to_the_next(world: World) -> None:
    path = "/v1/closures"
    empty = ask(world, "GET", path)
    assert empty.body == {"closures": [], "holidays": None, "days": [], "version": 0}
    body = {
        "closures": [
            {"from": "2027-08-01", "to": "2027-08-15", "name": "Summer"},
            {"from": "2026-12-24", "to": "2026-12-24", "name": "Works outing"},
        ],
        "holidays": {"country": "DE", "subdivision": "BY", "open": ["2027-01-06", "2027-01-06"]},
    }
    put = ask(world, "PUT", path, body, headers={"If-Match": '"0"'})
    assert (put.status, put.headers["ETag"]) == (200, '"1"')
    assert put.body["closures"] == body["closures"][::-1]
    assert put.body["holidays"] == {"country": "DE", "subdivision": "BY", "open": ["2027-01-06"]}
    named = {one["date"]: one["name"] for one in put.body["days"]}
    # Bavaria's own day, and all of this year to the third from now.
    assert named["2027-01-06"] == "Epiphany"
    assert {text[:4] for text in named} == {str(TODAY.year + n) for n in range(4)}
    assert ask(world, "GET", path, role="patient", subject="pat_x").body == put.body
    stale = ask(world, "PUT", path, body, headers={"If-Match": '"0"'})
    assert stale.status == 412
    bare = ask(world, "PUT", path, {"holidays": {"country": "DE"}}, headers={"If-Match": '"1"'})
    assert (bare.status, bare.body["closures"], bare.body["version"]) == (200, [], 2)
    assert "2027-01-06" not in {one["date"] for one in bare.body["days"]}
    none = ask(world, "PUT", path, {})
    assert none.body == {"closures": [], "holidays": None, "days": [], "version": 3}


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("expert", 403), ("viewer", 403)])
def test_closures_are_the_managers_affair(world: World, role: str, status: int) -> None:
    assert ask(world, "PUT", "/v1/closures", {}, role=role).status == status


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"holidays": {"country": "XX"}}, "body.holidays.country"),
        ({"holidays": {"country": "deu"}}, "body.holidays.country"),
        ({"holidays": {}}, "body.holidays.country"),
        ({"holidays": {"country": "PT", "subdivision": "ZZ"}}, "body.holidays.subdivision"),
        ({"holidays": {"country": "DE", "subdivision": "Bayern"}}, "body.holidays.subdivision"),
        ({"holidays": {"country": "PT", "open": ["yesterday"]}}, "body.holidays.open.0"),
        (
            {"closures": [{"from": "2026-12-24", "to": "2026-12-23", "name": "x"}]},
            "body.closures.0.to",
        ),
        ({"closures": [{"from": "2026-12-24", "to": "2026-12-24"}]}, "body.closures.0.name"),
        (
            {"closures": [{"from": "2026-12-24", "to": "2026-12-24", "name": "x"}] * 101},
            "body.closures",
        ),
        ({"closures": None}, "body.closures"),
    ],
)
def test_wrong_closures_are_refused_on_their_field(
    world: World, wrong: dict[str, Any], path: str
) -> None:
    answer = ask(world, "PUT", "/v1/closures", wrong)
    assert (answer.status, paths(answer)) == (422, [path])


def test_slots_need_no_library_of_holidays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    expert = world.expert()
    service = world.service(expert)
    ask(world, "PUT", "/v1/closures", {"holidays": {"country": "PT"}})
    closures.holidays_of.cache_clear()
    monkeypatch.setitem(sys.modules, "holidays", None)
    assert slots(world, at(1), at(60), service_id=service, expert_id=expert).status == 200


# ---------------------------------------------------------------- slots


def test_other_dates_vacations_and_closures_make_the_hours(world: World) -> None:
    expert = world.expert(
        weekly=NINE_TO_TWELVE,
        slot_interval_minutes=60,
        overrides={
            day(2).isoformat(): [{"from": "20:00", "to": "22:00"}],
            day(3).isoformat(): [],
        },
        vacations=[{"from": day(4).isoformat(), "to": day(5).isoformat(), "message": "At the sea"}],
    )
    service = world.service(expert)
    body = {"closures": [{"from": day(6).isoformat(), "to": day(6).isoformat(), "name": "Move"}]}
    ask(world, "PUT", "/v1/closures", body)
    who = {"service_id": service, "expert_id": expert}
    found = slots(world, at(1), at(8), "patient", **who, explain="true")
    weekly = ["09:00", "10:00", "11:00"]
    assert starts(found) == [*weekly, "20:00", "21:00", *weekly]
    assert found.body["days"] == [
        {"date": day(3).isoformat(), "reason": "no_hours", "message": None},
        {"date": day(4).isoformat(), "reason": "vacation", "message": "At the sea"},
        {"date": day(5).isoformat(), "reason": "vacation", "message": "At the sea"},
        {"date": day(6).isoformat(), "reason": "closed", "message": "Move"},
    ]
    assert slots(world, at(1), at(8), **who).body["days"] is None


def test_a_day_is_closed_for_notice_horizon_bookings_or_because_it_has_passed(
    world: World, clock: Clock
) -> None:
    clock.at = at(0, 13)
    expert = world.expert(
        weekly=NINE_TO_TWELVE,
        slot_interval_minutes=60,
        min_notice_minutes=60 * 24,
        horizon_days=3,
    )
    service = world.service(expert)
    for hour in (9, 10, 11):
        take(world, expert, at(2, hour))
    found = slots(world, at(-1), at(6), service_id=service, expert_id=expert, explain="true")
    assert [(one["date"], one["reason"]) for one in found.body["days"]] == [
        (day(-1).isoformat(), "past"),
        (day(0).isoformat(), "past"),
        (day(1).isoformat(), "notice"),
        (day(2).isoformat(), "full"),
        (day(4).isoformat(), "horizon"),
        (day(5).isoformat(), "horizon"),
    ]
    assert {slot["start"][:10] for slot in found.body["slots"]} == {day(3).isoformat()}


def test_the_day_is_that_of_the_clocks_that_are_shown(world: World) -> None:
    # Nine to twelve in UTC is 22:00 to 01:00 in Auckland's summer, the next day's first hour.
    expert = world.expert(
        weekly=NINE_TO_TWELVE,
        slot_interval_minutes=60,
        vacations=[{"from": day(4).isoformat(), "to": day(4).isoformat(), "message": "Off"}],
    )
    who = {"service_id": world.service(expert), "expert_id": expert}
    found = slots(world, at(3), at(6), **who, zone="Asia/Kolkata", explain="true")
    assert starts(found)[:3] == ["14:30", "15:30", "16:30"]
    assert [(one["date"], one["reason"]) for one in found.body["days"]] == [
        (day(4).isoformat(), "vacation"),
        # What is left of the last date, from midnight to 05:30, has no hours.
        (day(6).isoformat(), "no_hours"),
    ]


def test_a_calendar_elsewhere_takes_time_too(world: World) -> None:
    expert = world.expert(weekly=NINE_TO_TWELVE, slot_interval_minutes=60, max_per_day=3)
    who = {"service_id": world.service(expert), "expert_id": expert}
    elsewhere(world, expert, at(1, 10), at(1, 11))
    assert starts(slots(world, at(1), at(2), **who)) == ["09:00", "11:00"]
    # It is no appointment: the maximum leaves it out.
    take(world, expert, at(1, 9))
    assert starts(slots(world, at(1), at(2), **who)) == ["11:00"]


def test_a_maximum_counts_local_days_and_weeks(world: World) -> None:
    # Sunday evening in São Paulo is Monday in UTC.
    zone = "America/Sao_Paulo"
    weekly = {name: [{"from": "09:00", "to": "23:00"}] for name in Weekly.model_fields}
    expert = world.expert(
        zone=zone, weekly=weekly, slot_interval_minutes=60, max_per_day=2, max_per_week=3
    )
    who = {"service_id": world.service(expert), "expert_id": expert}
    monday = at(7 - TODAY.weekday() + 7)

    def free(low: datetime, high: datetime) -> set[str]:
        return {slot["start"][:10] for slot in slots(world, low, high, **who).body["slots"]}

    def local(n: int) -> str:
        return (monday.date() + timedelta(days=n)).isoformat()

    low, high = monday + 3 * HOUR, monday + timedelta(days=14)
    take(world, expert, monday + 13 * HOUR)
    assert local(0) in free(low, high)
    take(world, expert, monday + 15 * HOUR)
    assert local(0) not in free(low, high)
    assert local(1) in free(low, high)
    # 22:00 on Sunday: of this week, though it is the next Monday in UTC.
    take(world, expert, monday + timedelta(days=7) + HOUR)
    assert free(low, high) == {local(n) for n in range(7, 14)}
    # The same when one day in the middle is asked for.
    assert free(monday + timedelta(days=3), monday + timedelta(days=4)) == set()


def test_a_room_of_each_kind_has_to_be_free(world: World) -> None:
    expert, other = (world.expert(weekly=NINE_TO_TWELVE, slot_interval_minutes=60) for _ in "12")
    one, two, laser = (resource(world) for _ in range(3))
    gone = [resource(world, active=False), resource(world)]
    service = world.service(expert, resources=[[one, two, *gone], [laser]])
    key = world.tenant.item(RESOURCE, gone[1])
    table.transact([table.update(key, set_={"deleted_at": to_text(now())})])
    who = {"service_id": service, "expert_id": expert}
    assert starts(slots(world, at(1), at(2), **who)) == ["09:00", "10:00", "11:00"]
    take(world, other, at(1, 9), resources=(one,))
    assert starts(slots(world, at(1), at(2), **who)) == ["09:00", "10:00", "11:00"]
    take(world, world.expert(), at(1, 9), resources=(two,))
    take(world, other, at(1, 11), resources=(laser,))
    assert starts(slots(world, at(1), at(2), **who)) == ["10:00"]
    # Which rooms there are changes under a service too.
    idle = world.service(expert, resources=[[one, two], [laser]])
    for room in (one, two):
        key = world.tenant.item(RESOURCE, room)
        table.transact([table.update(key, set_={"active": False})])
    found = slots(world, at(1), at(2), service_id=idle, expert_id=expert, explain="true")
    assert (starts(found), found.body["days"][0]["reason"]) == ([], "full")


def test_seats_are_left_until_the_last(world: World) -> None:
    expert = world.expert(weekly=NINE_TO_TWELVE, slot_interval_minutes=60, max_per_day=1)
    room = resource(world)
    service = world.service(expert, seats=3, resources=[[room]])
    who = {"service_id": service, "expert_id": expert}

    group = group_of(service, expert, 3)

    def seats() -> dict[str, int]:
        found = slots(world, at(1), at(2), **who).body["slots"]
        return {slot["start"][11:16]: slot["seats_left"] for slot in found}

    assert seats() == {"09:00": 3, "10:00": 3, "11:00": 3}
    for left in (2, 1):
        take(world, expert, at(1, 10), group=group, seats=3, resources=(room,))
        # The day's one appointment is this group: others may only join it.
        assert seats() == {"10:00": left}
    take(world, expert, at(1, 10), group=group, seats=3, resources=(room,))
    assert seats() == {}


def test_any_expert_of_the_service(world: World) -> None:
    one = world.expert(weekly=NINE_TO_TWELVE, slot_interval_minutes=60)
    two = world.expert(weekly=NINE_TO_TWELVE, slot_interval_minutes=60)
    hidden = world.expert(published=False)
    idle = world.expert(weekly={})
    service = world.service(one, two, idle, hidden)
    take(world, one, at(1, 9))
    take(world, two, at(1, 10))
    for asked in ({}, {"expert_id": "any"}):
        found = slots(world, at(1, 8), at(1, 13), "patient", service_id=service, **asked)
        assert [(slot["start"][11:16], slot["expert_ids"]) for slot in found.body["slots"]] == [
            ("09:00", [two]),
            ("10:00", [one]),
            ("11:00", [one, two]),
        ]
        assert found.body["expert_id"] is None
        assert {slot["expert_id"] for slot in found.body["slots"]} == {None}
        # On the practice's clocks.
        assert found.body["zone"] == "Europe/Lisbon"
    members = slots(world, at(1, 8), at(1, 9), service_id=service)
    assert [slot["expert_ids"] for slot in members.body["slots"]] == [[hidden]] * 2
    # Of several reasons the one that is the least closed.
    take(world, one, at(1, 10))
    take(world, two, at(1, 9))
    for expert in (one, two):
        take(world, expert, at(1, 11))
    full = slots(world, at(1, 0), at(2), "patient", service_id=service, explain="true", zone="UTC")
    assert (starts(full), full.body["days"][0]["reason"]) == ([], "full")
    nobody = slots(world, at(1), at(2), service_id=world.service(), explain="true", zone="UTC")
    assert (starts(nobody), nobody.body["days"][0]["reason"]) == ([], "no_hours")


def test_too_many_for_one_answer_go_on_from_where_it_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = [world.expert(weekly=NINE_TO_TWELVE, slot_interval_minutes=60) for _ in "123"]
    service = world.service(*experts)
    whole = slots(world, at(1), at(4), service_id=service, zone="UTC").body
    assert whole["until"] is None
    monkeypatch.setattr(offers, "MAX_PAIRS", 10)
    low, found = stamp(at(1)), []
    for _ in range(9):
        part = slots(world, low, at(4), service_id=service, zone="UTC", explain="true").body
        assert part["days"] == []
        found += part["slots"]
        if part["until"] is None:
            break
        low = part["until"].replace("+00:00", "Z")
    assert found == whole["slots"]
    assert len(found) == 9


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"high": "2036-11-21T10:00:00Z"}, "query.to"),
        ({"low": "0001-01-01T00:00:00Z", "high": "0001-01-02T00:00:00Z"}, "query.from"),
        ({"high": "9999-12-31T23:59:59Z"}, "query.to"),
        ({"expert_id": "everybody"}, "query.expert_id"),
        ({"expert_id": "any any"}, "query.expert_id"),
        ({"explain": "perhaps"}, "query.explain"),
        ({"zone": "Mars/Olympus"}, "query.zone"),
        ({"zone": ""}, "query.zone"),
    ],
)
def test_wrong_questions_are_refused_on_their_field(
    world: World, wrong: dict[str, Any], path: str
) -> None:
    service = world.service(world.expert())
    answer = slots(world, **({"low": at(1), "high": at(2), "service_id": service} | wrong))
    assert (answer.status, paths(answer)) == (422, [path])


def test_thirty_days_are_one_query(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    expert = world.expert(max_per_day=5, max_per_week=20)
    service = world.service(expert)
    made: list[str] = []
    page = table.Query.page

    def counted(query: table.Query, *args: Any) -> table.Page:
        made.append(query.partition)
        return page(query, *args)

    monkeypatch.setattr(table.Query, "page", counted)
    assert slots(world, at(1), at(31), service_id=service, expert_id=expert).status == 200
    assert made == [world.tenant.calendar(EXPERT, expert, TODAY).pk]


# ---------------------------------------------------------------- what booking is given


def test_an_offer_has_the_experts_own_terms(world: World) -> None:
    expert = world.expert(
        weekly=NINE_TO_TWELVE,
        buffer_before_minutes=5,
        buffer_after_minutes=10,
        auto_confirm=False,
        max_per_day=4,
        cancellation={"window_minutes": 60, "percent": 100},
        vacations=[{"from": day(3).isoformat(), "to": day(3).isoformat(), "message": ""}],
    )
    service = world.service(expert, seats=4)

    def offer() -> Offer:
        found = table.batch_get_raw(Offer.keys(world.tenant, service, expert))
        return Offer.of(world.owner, service, expert, found, "body")

    made = offer()
    begins = to_epoch(at(2, 10))
    assert made.at(begins) == Busy(begins, begins + 3600, 300, 600, group_of(service, expert, 4))
    assert (made.seats, made.auto_confirm, made.limits and made.limits.per_day) == (4, False, 4)
    assert made.cancellation == {"window_s": 3600, "fixed": 0, "percent": 100}
    assert made.is_open(begins, begins + 3600)
    assert not made.is_open(begins + 86_400, begins + 90_000)
    ask(
        world,
        "PUT",
        "/v1/closures",
        {"closures": [{"from": day(2).isoformat(), "to": day(2).isoformat(), "name": "x"}]},
    )
    assert not offer().is_open(begins, begins + 3600)
