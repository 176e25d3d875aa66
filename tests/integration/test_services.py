"""Services: what one may be, the rooms it needs, the order of them, as a front end sees them."""

from typing import Any

import pytest

from consulta.core import table
from consulta.scheduling import resources, services
from consulta.scheduling.records import SERVICE, ServiceItem
from consulta.scheduling.schema.resources import ResourceRequest
from tests.faults import Faults
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import World

PATH = "/v1/services"
PACKAGE = {"kind": "PACKAGE", "sessions": 10, "validity_days": 365}


@pytest.fixture
def world(tables: Any) -> World:
    return World()


def ask(
    world: World,
    method: str,
    path: str = PATH,
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


def new(**more: Any) -> dict[str, Any]:
    return {
        "name": "Consultation",
        "duration_minutes": 50,
        "price": {"amount": 5000, "currency": "EUR"},
    } | more


def room(world: World, name: str = "Room 1", **more: Any) -> str:
    body = ResourceRequest(name=name, kind="room", **more)
    return resources.create(world.owner, body, None).id


def made(world: World, **more: Any) -> str:
    answer = ask(world, "POST", PATH, new(**more))
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


# ---------------------------------------------------------------- what a service may be


def test_all_of_a_service_comes_back(world: World) -> None:
    expert, first, second, beamer = (
        world.expert(),
        room(world),
        room(world),
        room(world, "Beamer"),
    )
    body = new(
        expert_ids=[expert],
        category="Groups",
        colour="#33AAcc",
        location={"kind": "in_person", "address": "Rua A, 1\n1000 Lisboa"},
        seats=8,
        resources=[[first, second], [beamer]],
        position=3,
    )
    answer = ask(world, "POST", PATH, body)
    assert (answer.status, answer.headers["Location"]) == (201, f"{PATH}/{answer.body['id']}")
    expected = body | {
        "colour": "#33aacc",
        "kind": "SINGLE",
        "description": "",
        "active": True,
        "sessions": None,
        "validity_days": None,
        "catalog": {"state": "pending", "product_id": None, "price_id": None, "error": None},
    }
    assert {name: answer.body[name] for name in expected} == expected
    assert ask(world, "GET", f"{PATH}/{answer.body['id']}").body == answer.body
    (listed,) = ask(world, "GET").body["items"]
    assert listed == {name: value for name, value in answer.body.items() if name != "catalog"}
    as_patient = ask(world, "GET", f"{PATH}/{answer.body['id']}", role="patient", subject="pat_x")
    assert as_patient.body["catalog"] is None


def test_a_service_of_before_has_the_defaults(world: World) -> None:
    found = ask(world, "GET", f"{PATH}/{made(world)}").body
    assert (found["category"], found["colour"], found["location"]) == ("", None, None)
    assert (found["seats"], found["resources"], found["sessions"]) == (1, [], None)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"duration_minutes": 0}, "body.duration_minutes"),
        ({"duration_minutes": -30}, "body.duration_minutes"),
        ({"category": "x" * 61}, "body.category"),
        ({"category": "a\u0000"}, "body.category"),
        ({"colour": "red"}, "body.colour"),
        ({"colour": "#12345"}, "body.colour"),
        ({"seats": 0}, "body.seats"),
        ({"seats": 51}, "body.seats"),
        ({"location": {"kind": "moon"}}, "body.location.kind"),
        ({"location": {"kind": "online", "address": "Rua A"}}, "body.location.address"),
        ({"location": {"kind": "in_person", "address": "x" * 301}}, "body.location.address"),
        ({"resources": [["res_01JC0DEM00000000000000000R"]]}, "body.resources.0.0"),
        ({"resources": [[]]}, "body.resources.0"),
        ({"sessions": 5}, "body.sessions"),
        ({"validity_days": 5}, "body.validity_days"),
        (PACKAGE | {"sessions": None}, "body.sessions"),
        (PACKAGE | {"validity_days": None}, "body.validity_days"),
        (PACKAGE | {"sessions": 1}, "body.sessions"),
        (PACKAGE | {"sessions": 101}, "body.sessions"),
        (PACKAGE | {"validity_days": 0}, "body.validity_days"),
        (PACKAGE | {"validity_days": 1096}, "body.validity_days"),
        (PACKAGE | {"seats": 2}, "body.seats"),
        (PACKAGE | {"price": {"amount": 0, "currency": "EUR"}}, "body.price.amount"),
    ],
)
def test_what_is_no_service_is_told_its_field(
    world: World, change: dict[str, Any], path: str
) -> None:
    answer = ask(world, "POST", PATH, new(**change))
    assert (answer.status, paths(answer)) == (422, [path])
    assert ask(world, "GET").body["items"] == []


def test_at_most_three_groups_of_ten_resources(world: World) -> None:
    ids = [f"res_01JC0DEM0000000000000000{n:02d}" for n in range(11)]
    answer = ask(world, "POST", PATH, new(resources=[ids]))
    assert (answer.status, paths(answer)) == (422, ["body.resources.0"])
    answer = ask(world, "POST", PATH, new(resources=[[one] for one in ids[:4]]))
    assert (answer.status, paths(answer)) == (422, ["body.resources"])


def test_a_package_says_how_many_and_until_when(world: World) -> None:
    service = made(world, **PACKAGE)
    found = ask(world, "GET", f"{PATH}/{service}").body
    assert (found["kind"], found["sessions"], found["validity_days"]) == ("PACKAGE", 10, 365)
    path = f"{PATH}/{service}"
    changed = ask(world, "PATCH", path, {"sessions": 5, "validity_days": 90})
    assert (changed.body["sessions"], changed.body["validity_days"]) == (5, 90)
    for change, field in (
        ({"kind": "SINGLE"}, "body.kind"),
        ({"sessions": None}, "body.sessions"),
        ({"seats": 3}, "body.seats"),
        ({"price": {"amount": 0, "currency": "EUR"}}, "body.price.amount"),
    ):
        answer = ask(world, "PATCH", path, change)
        assert (answer.status, paths(answer)) == (422, [field])
    assert ask(world, "PATCH", path, {"kind": "PACKAGE"}).status == 200
    single = f"{PATH}/{made(world)}"
    assert paths(ask(world, "PATCH", single, {"kind": "PACKAGE"})) == ["body.kind"]
    assert paths(ask(world, "PATCH", single, {"sessions": 3})) == ["body.sessions"]


def test_what_is_optional_is_cleared(world: World) -> None:
    service = made(
        world,
        colour="#000000",
        category="A",
        location={"kind": "phone"},
        resources=[[room(world)]],
        seats=4,
    )
    path = f"{PATH}/{service}"
    changed = ask(
        world,
        "PATCH",
        path,
        {"colour": None, "location": None, "category": "", "resources": [], "seats": 1},
    )
    assert changed.status == 200
    cleared = ("colour", "location", "category", "resources", "seats")
    assert [changed.body[name] for name in cleared] == [None, None, "", [], 1]
    item = table.get(ServiceItem, world.tenant.item(SERVICE, service))
    assert item
    assert (item.location, item.resources) == (None, None)
    for name in ("category", "seats", "resources", "name"):
        assert paths(ask(world, "PATCH", path, {name: None})) == [f"body.{name}"]


def test_an_unchanged_patch_writes_nothing(world: World) -> None:
    first = room(world)
    service = made(world, resources=[[first]], location={"kind": "online"})
    body = {"resources": [[first]], "location": {"kind": "online"}, "name": "Consultation"}
    assert ask(world, "PATCH", f"{PATH}/{service}", body).body["version"] == 1


# ---------------------------------------------------------------- lists


def test_services_by_category_and_expert(world: World) -> None:
    helena, rui = world.expert(), world.expert()
    yoga = made(world, category="Yoga", expert_ids=[helena], position=1)
    both = made(world, category="Yoga", expert_ids=[helena, rui], position=2)
    talk = made(world, category="Talk", expert_ids=[rui], position=3)

    def found(query: str) -> list[str]:
        return [one["id"] for one in ask(world, "GET", query=query).body["items"]]

    assert found("category=Yoga") == [yoga, both]
    assert found(f"expert_id={rui}") == [both, talk]
    assert found(f"category=Yoga&expert_id={rui}") == [both]
    assert found("category=Nothing") == []
    assert paths(ask(world, "GET", query="expert_id=x")) == ["query.expert_id"]
    page = ask(world, "GET", query="category=Yoga&limit=1").body
    other = ask(world, "GET", query=f"category=Talk&limit=1&cursor={page['next_cursor']}")
    assert (other.status, paths(other)) == (400, ["query.cursor"])


def test_services_are_put_in_order_in_one_go(world: World) -> None:
    ids = [made(world, position=n) for n in (10, 20, 30)]
    wanted = [ids[2], ids[0], ids[1]]
    assert ask(world, "POST", f"{PATH}/order", {"ids": wanted}).status == 204
    shown = ask(world, "GET").body["items"]
    assert [(one["id"], one["position"]) for one in shown] == list(zip(wanted, range(3)))  # noqa: B905
    versions = [one["version"] for one in shown]
    assert ask(world, "POST", f"{PATH}/order", {"ids": wanted}).status == 204
    assert [one["version"] for one in ask(world, "GET").body["items"]] == versions


def test_an_order_of_what_is_not_there_changes_nothing(world: World) -> None:
    first, second = made(world, position=1), made(world, position=2)
    foreign = made(World())
    services.delete(world.owner, gone := made(world), None)
    for ids, field in (
        ([second, foreign], "body.ids.1"),
        ([second, gone], "body.ids.1"),
        ([second, second], "body.ids"),
        ([], "body.ids"),
        ([f"svc_01JC0DEM0000000000000000{n:02d}" for n in range(51)], "body.ids"),
    ):
        answer = ask(world, "POST", f"{PATH}/order", {"ids": ids})
        assert (answer.status, paths(answer)) == (422, [field])
    assert [one["id"] for one in ask(world, "GET").body["items"]] == [first, second]
    expert = world.expert()
    mine = {"role": "expert", "subject": expert}
    assert ask(world, "POST", f"{PATH}/order", {"ids": [first]}, **mine).status == 403
    own = made(world, expert_ids=[expert])
    assert ask(world, "POST", f"{PATH}/order", {"ids": [own]}, **mine).status == 204


def test_a_race_for_the_order_is_told(world: World, tables: Any) -> None:
    first, second = made(world, position=1), made(world, position=2)

    def rename() -> None:
        ask(world, "PATCH", f"{PATH}/{second}", {"name": "Other"})

    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(rename))
        answer = ask(world, "POST", f"{PATH}/order", {"ids": [second, first]})
    assert answer.status == 409
    assert [one["id"] for one in ask(world, "GET").body["items"]] == [first, second]


# ---------------------------------------------------------------- rooms


def test_a_foreign_room_is_no_room(world: World) -> None:
    mine, foreign = room(world), room(World())
    answer = ask(world, "POST", PATH, new(resources=[[mine], [mine, foreign]]))
    assert (answer.status, paths(answer)) == (422, ["body.resources.1.1"])
    service = made(world, resources=[[mine]])
    answer = ask(world, "PATCH", f"{PATH}/{service}", {"resources": [[foreign]]})
    assert (answer.status, paths(answer)) == (422, ["body.resources.0.0"])


def test_an_idle_service_wakes_only_with_its_rooms(world: World) -> None:
    mine = room(world)
    service = made(world, resources=[[mine]], active=False)
    assert ask(world, "DELETE", f"/v1/resources/{mine}").status == 204
    answer = ask(world, "PATCH", f"{PATH}/{service}", {"active": True})
    assert (answer.status, paths(answer)) == (422, ["body.resources.0.0"])
    other = room(world)
    answer = ask(world, "PATCH", f"{PATH}/{service}", {"active": True, "resources": [[other]]})
    assert (answer.status, answer.body["resources"]) == (200, [[other]])


def test_too_many_at_once_is_told(world: World) -> None:
    experts = [world.expert() for _ in range(36)]
    rooms = [room(world) for _ in range(30)]
    body = new(expert_ids=experts, resources=[rooms[:10], rooms[10:20], rooms[20:]])
    answer = ask(world, "POST", PATH, body)
    assert (answer.status, paths(answer)) == (422, ["body"])
