"""Services, hours, slots and appointments as a front end sees them."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consulta.core import table
from consulta.money.appointments import closing
from consulta.people.records import EXPERT, ExpertItem
from consulta.scheduling import services, sweep
from consulta.scheduling.records import SERVICE, ServiceItem
from consulta.scheduling.schema.services import ServicePatch
from tests.unit.people.calling import Answer, call, handler, invoke, signed_in
from tests.unit.scheduling.world import ALWAYS, Clock, World, tomorrow

EVENTS = Path(__file__).resolve().parents[2] / "events"
HOUR = timedelta(hours=1)


@pytest.fixture
def world(tables: Any) -> World:
    return World()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(closing, "now", lambda: clock.at)
    return clock


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
    context = signed_in(role, world.practice, subject, person=f"person-{role}-{subject}")
    parts = path.split("/")
    function = "appointment_actions" if parts[2] == "appointments" and parts[4:] else parts[2]
    return call(function, method, path, body, context=context, **request)


def paths(answer: Answer) -> list[str]:
    return [error["path"] for error in answer.body["errors"]]


def expert_of(world: World, expert_id: str) -> ExpertItem:
    found = table.get(ExpertItem, world.tenant.item(EXPERT, expert_id))
    assert found
    return found


def new_service(*experts: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "Follow-up",
        "duration_minutes": 50,
        "price": {"amount": 5000, "currency": "EUR"},
        "expert_ids": list(experts),
        **more,
    }


# ---------------------------------------------------------------- services


def test_a_service_from_its_making_to_its_end(world: World) -> None:
    expert = world.expert()
    made = ask(world, "POST", "/v1/services", new_service(expert))
    path = f"/v1/services/{made.body['id']}"
    assert (made.status, made.headers["Location"], made.headers["ETag"]) == (201, path, '"1"')
    assert made.body["price"] == {"amount": 5000, "currency": "EUR"}
    assert expert_of(world, expert).has_service
    body = {"price": {"amount": 0, "currency": "EUR"}, "description": "Short"}
    changed = ask(world, "PATCH", path, body, headers={"If-Match": '"1"'})
    assert (changed.status, changed.body["price"]["amount"], changed.body["version"]) == (200, 0, 2)
    stale = ask(world, "PATCH", path, {"name": "Other"}, headers={"If-Match": '"1"'})
    assert stale.status == 412
    same = ask(world, "PATCH", path, {"description": "Short"})
    assert same.body["version"] == 2
    assert ask(world, "DELETE", path, headers={"If-Match": '"2"'}).status == 204
    assert ask(world, "GET", path).status == 404
    assert ask(world, "DELETE", path).status == 404
    assert ask(world, "GET", "/v1/services").body == {"items": [], "next_cursor": None}
    assert not expert_of(world, expert).has_service
    kept = table.get(ServiceItem, world.tenant.item(SERVICE, made.body["id"]))
    assert kept
    assert kept.deleted_at is not None


def test_services_are_listed_by_position_and_idle_ones_to_members(world: World) -> None:
    ids = [world.service(position=n) for n in (3, 1, 2)]
    idle = world.service(position=0, active=False)
    path = "/v1/services"
    shown = ask(world, "GET", path, role="patient", subject="pat_x")
    assert [one["id"] for one in shown.body["items"]] == [ids[1], ids[2], ids[0]]
    ask(world, "PATCH", f"{path}/{ids[1]}", {"position": 9})
    shown = ask(world, "GET", path, query="include_inactive=true")
    assert [one["id"] for one in shown.body["items"]] == [idle, ids[2], ids[0], ids[1]]
    first = ask(world, "GET", path, query="limit=2&include_inactive=true").body
    query = f"limit=2&include_inactive=true&cursor={first['next_cursor']}"
    rest = ask(world, "GET", path, query=query).body["items"]
    assert [one["id"] for one in [*first["items"], *rest]] == [idle, ids[2], ids[0], ids[1]]
    foreign = call(
        "services", "GET", path, context=signed_in("owner", World().practice), query=query
    )
    assert (foreign.status, paths(foreign)) == (400, ["query.cursor"])
    refused = ask(world, "GET", path, role="patient", subject="x", query="include_inactive=true")
    assert refused.status == 403
    assert ask(world, "GET", f"{path}/{idle}", role="patient", subject="x").status == 404


def test_an_expert_has_a_service_while_one_of_them_is_active(world: World) -> None:
    expert, other = world.expert(), world.expert()
    first, second = world.service(expert, other), world.service(expert)
    flags = lambda: [bool(expert_of(world, one).has_service) for one in (expert, other)]  # noqa: E731
    assert flags() == [True, True]
    change = lambda one, **to: services.change(  # noqa: E731
        world.owner, one, ServicePatch.model_validate(to), None
    )
    change(first, active=False)
    assert flags() == [True, False]
    change(first, expert_ids=[other])
    assert flags() == [True, False]
    change(first, active=True)
    assert flags() == [True, True]
    change(second, expert_ids=[])
    assert flags() == [False, True]
    services.delete(world.owner, first, None)
    assert flags() == [False, False]


def test_what_is_no_service_is_told_its_field(world: World) -> None:
    expert = world.expert()
    stranger = World().expert()
    for change, path in (
        ({"kind": "SOMETHING"}, "body.kind"),
        ({"expert_ids": [stranger]}, "body.expert_ids"),
        ({"duration_minutes": 0}, "body.duration_minutes"),
        ({"price": {"amount": 1, "currency": "ABC"}}, "body.price.currency"),
    ):
        answer = ask(world, "POST", "/v1/services", new_service(expert) | change)
        assert (answer.status, paths(answer)) == (422, [path])
    path = f"/v1/services/{world.service(expert)}"
    assert paths(ask(world, "PATCH", path, {"name": None})) == ["body.name"]
    assert paths(ask(world, "PATCH", path, {"kind": "PACKAGE"})) == ["body.kind"]


def test_experts_write_services_that_are_theirs_alone(world: World) -> None:
    expert, other = world.expert(), world.expert()
    mine = {"role": "expert", "subject": expert}
    assert ask(world, "POST", "/v1/services", new_service(expert), **mine).status == 201
    for experts in ([other], [expert, other], []):
        assert ask(world, "POST", "/v1/services", new_service(*experts), **mine).status == 403
    shared = f"/v1/services/{world.service(expert, other)}"
    assert ask(world, "PATCH", shared, {"name": "Mine"}, **mine).status == 403
    assert ask(world, "DELETE", shared, **mine).status == 403
    assert ask(world, "POST", "/v1/services", new_service(), role="billing").status == 403


def test_a_service_is_made_once_per_key(world: World) -> None:
    key = {"Idempotency-Key": "k"}
    first = ask(world, "POST", "/v1/services", new_service(), headers=key)
    assert ask(world, "POST", "/v1/services", new_service(), headers=key).body == first.body
    other = ask(world, "POST", "/v1/services", new_service(name="Other"), headers=key)
    assert (other.status, paths(other)) == (422, ["header.Idempotency-Key"])


# ---------------------------------------------------------------- hours


def test_hours_are_read_as_they_were_set(world: World) -> None:
    expert = world.expert(weekly={})
    query = f"expert_id={expert}"
    empty = ask(world, "GET", "/v1/availability", query=query)
    assert empty.body["weekly"]["monday"] == []
    assert not expert_of(world, expert).has_hours
    body = {
        "zone": "Europe/Lisbon",
        "weekly": {"monday": [{"from": "09:00", "to": "12:30"}, {"from": "13:30", "to": "24:00"}]},
        "slot_interval_minutes": 15,
        "buffer_before_minutes": 5,
        "buffer_after_minutes": 10,
        "min_notice_minutes": 60,
        "horizon_days": 90,
    }
    own = {"role": "expert", "subject": expert}
    put = ask(world, "PUT", "/v1/availability", body, query=query, **own)
    assert put.status == 200
    assert {name: put.body[name] for name in body if name != "weekly"} == {
        name: value for name, value in body.items() if name != "weekly"
    }
    assert put.body["weekly"]["monday"] == body["weekly"]["monday"]
    assert ask(world, "GET", "/v1/availability", query=query).body == put.body
    assert expert_of(world, expert).has_hours
    stale = ask(world, "PUT", "/v1/availability", body, query=query, headers={"If-Match": '"1"'})
    assert stale.status == 412
    ask(world, "PUT", "/v1/availability", body | {"weekly": {}}, query=query)
    assert not expert_of(world, expert).has_hours


def test_hours_of_a_new_expert_are_empty_and_no_error(world: World) -> None:
    expert = world.expert()
    key = world.tenant.sub(EXPERT, expert, "AVAILABILITY")
    table.transact([table.delete(key)])
    query = f"expert_id={expert}"
    empty = ask(world, "GET", "/v1/availability", query=query)
    assert (empty.status, empty.body["version"], empty.headers["ETag"]) == (200, 0, '"0"')
    body = {"zone": "UTC", "weekly": ALWAYS}
    put = ask(world, "PUT", "/v1/availability", body, query=query, headers={"If-Match": '"0"'})
    assert (put.status, put.body["version"]) == (200, 1)


def test_hours_are_the_experts_own_affair(world: World) -> None:
    expert, other = world.expert(), world.expert(published=False)
    body = {"zone": "UTC", "weekly": {}}
    own = {"role": "expert", "subject": expert}
    for asked, role, status in (
        (other, own, 403),
        (expert, {"role": "patient", "subject": "x"}, 403),
        (World().expert(), {}, 404),
    ):
        query = f"expert_id={asked}"
        assert ask(world, "PUT", "/v1/availability", body, query=query, **role).status == status
    hidden = ask(
        world, "GET", "/v1/availability", query=f"expert_id={other}", role="patient", subject="x"
    )
    assert hidden.status == 404
    missing = ask(world, "GET", "/v1/availability")
    assert (missing.status, paths(missing)) == (422, ["query.expert_id"])


# ---------------------------------------------------------------- slots


def slots(world: World, low: Any, high: Any, **query: str) -> Answer:
    parts = {"from": low, "to": high, **query}
    text = "&".join(
        f"{name}={value.strftime('%Y-%m-%dT%H:%M:%SZ') if isinstance(value, datetime) else value}"
        for name, value in parts.items()
    )
    return ask(world, "GET", "/v1/slots", query=text)


def test_slots_are_on_the_callers_clocks(world: World) -> None:
    expert = world.expert()
    service = world.service(expert, minutes=50)
    who = {"service_id": service, "expert_id": expert}
    found = slots(world, tomorrow(3), tomorrow(4), **who, zone="Asia/Kolkata")
    day, only = tomorrow().date(), {"expert_id": expert, "expert_ids": None, "seats_left": None}
    assert found.body == {
        "zone": "Asia/Kolkata",
        **who,
        "price": {"amount": 5000, "currency": "EUR"},
        "tax": None,
        "deposit": None,
        "slots": [
            {"start": f"{day}T08:30:00+05:30", "end": f"{day}T09:20:00+05:30", **only},
            {"start": f"{day}T09:00:00+05:30", "end": f"{day}T09:50:00+05:30", **only},
        ],
        "until": None,
        "days": None,
    }
    assert slots(world, tomorrow(3), tomorrow(4), **who).body["zone"] == "UTC"


def test_slots_that_cannot_be_answered_say_why(world: World) -> None:
    expert, other = world.expert(), world.expert()
    who = {"service_id": world.service(expert), "expert_id": expert}
    day = tomorrow()
    for change, status, path in (
        ({"high": day + timedelta(days=63)}, 422, "query.to"),
        ({"high": day}, 422, "query.to"),
        ({"low": "2026-11-21T10:00:00"}, 422, "query.from"),
        ({"low": "yesterday"}, 422, "query.from"),
        ({"zone": "Mars/Olympus"}, 422, "query.zone"),
        ({"expert_id": other}, 422, "query.expert_id"),
        ({"service_id": world.service(expert, active=False)}, 422, "query.service_id"),
        ({"service_id": "x"}, 422, "query.service_id"),
        ({"service_id": World().service()}, 404, None),
        ({"expert_id": World().expert()}, 404, None),
    ):
        answer = slots(world, **({"low": day, "high": day + HOUR} | who | change))
        assert (answer.status, paths(answer)) == (status, [path] if path else []), change
    assert slots(world, day, day + timedelta(days=62), **who).status == 200


# ---------------------------------------------------------------- appointments


def test_a_patient_books_and_sees_it(world: World) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert)
    own = {"role": "patient", "subject": patient}
    body = {"service_id": service, "expert_id": expert, "start": tomorrow().isoformat()}
    made = ask(world, "POST", "/v1/appointments", body, headers={"Idempotency-Key": "k"}, **own)
    path = f"/v1/appointments/{made.body['id']}"
    assert (made.status, made.headers["Location"]) == (201, path)
    assert (made.body["status"], made.body["payment_status"]) == ("held", "unpaid")
    assert made.body["patient"] == {"id": patient, "name": "Inês Carvalho"}
    again = ask(world, "POST", "/v1/appointments", body, headers={"Idempotency-Key": "k"}, **own)
    assert again.body == made.body
    assert ask(world, "GET", path, **own).body.items() >= made.body.items()
    listed = ask(world, "GET", "/v1/appointments", query="status=held", **own)
    assert [one["id"] for one in listed.body["items"]] == [made.body["id"]]
    somebody = {"role": "patient", "subject": world.patient()}
    assert ask(world, "GET", path, **somebody).status == 404
    assert ask(world, "GET", path, role="expert", subject=world.expert()).status == 404
    assert (
        call("appointments", "GET", path, context=signed_in("owner", World().practice)).status
        == 404
    )
    taken = ask(world, "POST", "/v1/appointments", body, **somebody)
    assert (taken.status, taken.body["type"]) == (409, "urn:consulta:problem:slot-taken")
    assert len(taken.body["alternatives"]) == 5


def test_what_becomes_of_an_appointment(world: World) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert)
    booked = world.book(service, expert, patient, tomorrow())
    path = f"/v1/appointments/{booked.id}"
    own = {"role": "patient", "subject": patient}
    for action in ("confirm", "complete", "no-show"):
        assert ask(world, "POST", f"{path}/{action}", **own).status == 403
    mine = {"role": "expert", "subject": expert}
    assert ask(world, "POST", f"{path}/confirm", **mine).body["status"] == "confirmed"
    again = ask(world, "POST", f"{path}/confirm", **mine)
    assert (again.status, again.body["appointment_status"]) == (409, "confirmed")
    assert ask(world, "POST", f"{path}/complete", **mine).status == 409
    assert ask(world, "POST", f"{path}/no-show", **mine).status == 409
    body = {"reason_code": "patient_request"}
    assert ask(world, "POST", f"{path}/cancel", body, role="patient", subject="x").status == 404
    cancelled = ask(world, "POST", f"{path}/cancel", body, **own)
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")
    assert cancelled.body["cancelled_by"] == "patient"
    assert ask(world, "POST", f"{path}/cancel", body, **own).status == 409


@pytest.mark.parametrize(("action", "status"), [("complete", "completed"), ("no-show", "no_show")])
def test_after_its_start_it_took_place_or_not(
    world: World, clock: Clock, action: str, status: str
) -> None:
    expert = world.expert()
    booked = world.book(world.service(expert), expert, world.patient(), tomorrow(), confirm=True)
    clock.forward(days=2)
    answer = ask(world, "POST", f"/v1/appointments/{booked.id}/{action}")
    assert (answer.status, answer.body["status"]) == (200, status)


def test_a_list_that_cannot_be_answered_says_why(world: World) -> None:
    for query, status, path in (
        ("status=lost", 422, "query.status"),
        ("limit=51", 422, "query.limit"),
        ("limit=0", 422, "query.limit"),
        ("from=2026-11-21", 422, "query.from"),
        ("from=2026-01-01T00:00:00Z&to=2027-06-01T00:00:00Z", 422, "query.to"),
        ("patient_id=x", 422, "query.patient_id"),
        ("cursor=abc", 400, "query.cursor"),
    ):
        answer = ask(world, "GET", "/v1/appointments", query=query)
        assert (answer.status, paths(answer)) == (status, [path]), query


# ---------------------------------------------------------------- events and the sweep


def test_the_sweeps_function_ends_holds(world: World, clock: Clock) -> None:
    expert = world.expert()
    booked = world.book(world.service(expert), expert, world.patient(), tomorrow())
    clock.forward(minutes=17)
    answer = handler("sweep")(event("sweep", "every_minute"), context(60_000))
    assert (answer["done"], answer["postponed"]) == (1, 0)
    shown = ask(world, "GET", f"/v1/appointments/{booked.id}")
    assert shown.body["status"] == "expired"
    clock.forward(minutes=5)
    assert handler("sweep")(event("sweep", "every_minute"), context(14_000))["minutes"] == 0
    # Nothing is read out of the event: an empty one does the same.
    assert handler("sweep")(event("sweep", "nothing_in_it"), context(60_000))["minutes"] == 5
    assert sweep.run({}).minutes == 0


def context(milliseconds: int) -> SimpleNamespace:
    return SimpleNamespace(
        aws_request_id="aws-1",
        function_name="sweep",
        get_remaining_time_in_millis=lambda: milliseconds,
    )


def event(function: str, name: str) -> Any:
    return json.loads((EVENTS / function / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("function", "name", "status", "found"),
    [
        ("services", "list", 200, []),
        (
            "services",
            "create_package_without_sessions",
            422,
            ["body.sessions", "body.validity_days"],
        ),
        ("availability", "get_unknown_expert", 404, []),
        ("availability", "put_overlapping_hours", 422, ["body.weekly.monday"]),
        ("slots", "unknown_service", 404, []),
        ("slots", "range_without_offset", 422, ["query.from"]),
        ("appointments", "list", 200, []),
        ("appointments", "book_at_a_time_that_clocks_skip", 422, ["body.start"]),
        ("appointment_actions", "cancel_without_reason", 422, ["body.reason_code"]),
    ],
)
def test_each_event_gives_what_its_name_says(
    tables: Any, function: str, name: str, status: int, found: list[str]
) -> None:
    answer = invoke(handler(function), event(function, name))
    assert answer.status == status
    assert [error["path"] for error in answer.body.get("errors", [])] == found


def test_nobody_without_a_token(tables: Any) -> None:
    for function in ("services", "availability", "slots", "appointments"):
        assert call(function, "GET", f"/v1/{function}").status == 401
