"""Rooms and equipment as a front end sees them."""

from typing import Any

import pytest

from consulta.scheduling import resources
from consulta.scheduling.schema.resources import ResourcePatch
from tests.faults import Faults
from tests.integration.test_services import ask, made, paths
from tests.unit.scheduling.world import World

PATH = "/v1/resources"


@pytest.fixture
def world(tables: Any) -> World:
    return World()


def room(world: World, **more: Any) -> str:
    answer = ask(world, "POST", PATH, {"name": "Room", "kind": "room"} | more)
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


def test_a_room_is_made_read_changed_and_removed(world: World) -> None:
    made_ = ask(world, "POST", PATH, {"name": "Room 1", "kind": "room", "position": 4})
    path = f"{PATH}/{made_.body['id']}"
    assert (made_.status, made_.headers["Location"], made_.headers["ETag"]) == (201, path, '"1"')
    assert (made_.body["active"], made_.body["position"]) == (True, 4)
    changed = ask(world, "PATCH", path, {"name": "Blue room", "kind": "equipment"})
    assert (changed.body["name"], changed.body["kind"], changed.body["version"]) == (
        "Blue room",
        "equipment",
        2,
    )
    assert ask(world, "PATCH", path, {"name": "Blue room"}).body["version"] == 2
    stale = {"headers": {"If-Match": '"1"'}}
    assert ask(world, "PATCH", path, {"name": "Red"}, **stale).status == 412
    assert ask(world, "DELETE", path, **stale).status == 412
    assert ask(world, "DELETE", path, headers={"If-Match": '"2"'}).status == 204
    assert ask(world, "GET", path).status == 404
    assert ask(world, "PATCH", path, {"name": "Red"}).status == 404
    assert ask(world, "DELETE", path).status == 404
    assert ask(world, "GET", PATH, query="include_inactive=true").body["items"] == []


def test_a_room_is_made_once_per_key(world: World) -> None:
    key = {"headers": {"Idempotency-Key": "k"}}
    body = {"name": "Room", "kind": "room"}
    first = ask(world, "POST", PATH, body, **key)
    assert ask(world, "POST", PATH, body, **key).body == first.body
    other = ask(world, "POST", PATH, body | {"name": "Other"}, **key)
    assert (other.status, paths(other)) == (422, ["header.Idempotency-Key"])
    assert len(ask(world, "GET", PATH).body["items"]) == 1


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": ""}, "body.name"),
        ({"kind": "car"}, "body.kind"),
        ({"position": -1}, "body.position"),
        ({"colour": "#000000"}, "body.colour"),
    ],
)
def test_what_is_no_room_is_told_its_field(world: World, change: dict[str, Any], path: str) -> None:
    answer = ask(world, "POST", PATH, {"name": "Room", "kind": "room"} | change)
    assert (answer.status, paths(answer)) == (422, [path])
    mine = f"{PATH}/{room(world)}"
    assert paths(ask(world, "PATCH", mine, change)) == [path]
    assert paths(ask(world, "PATCH", mine, {"active": None})) == ["body.active"]


def test_rooms_are_listed_by_position_and_idle_ones_to_members(world: World) -> None:
    ids = [room(world, position=n) for n in (3, 1, 2)]
    idle = room(world, position=0, active=False)
    room(World())

    def found(query: str = "", **caller: str) -> list[str]:
        return [one["id"] for one in ask(world, "GET", PATH, query=query, **caller).body["items"]]

    assert found(role="patient", subject="pat_x") == [ids[1], ids[2], ids[0]]
    assert found("include_inactive=true") == [idle, ids[1], ids[2], ids[0]]
    first = ask(world, "GET", PATH, query="limit=2").body
    rest = ask(world, "GET", PATH, query=f"limit=2&cursor={first['next_cursor']}").body
    shown = [one["id"] for one in [*first["items"], *rest["items"]]]
    assert [one for one in shown if one != idle] == [ids[1], ids[2], ids[0]][: len(shown)]
    patient = {"role": "patient", "subject": "pat_x"}
    assert ask(world, "GET", PATH, query="include_inactive=true", **patient).status == 403
    assert ask(world, "GET", f"{PATH}/{idle}", **patient).status == 404
    assert ask(world, "GET", f"{PATH}/{idle}").status == 200


def test_only_who_may_writes_and_another_practice_sees_nothing(world: World) -> None:
    mine = room(world)
    body = {"name": "Room", "kind": "room"}
    for role in ("expert", "billing", "viewer", "patient"):
        assert ask(world, "POST", PATH, body, role=role, subject="x").status == 403
        assert ask(world, "DELETE", f"{PATH}/{mine}", role=role, subject="x").status == 403
    stranger = World()
    assert ask(stranger, "GET", f"{PATH}/{mine}").status == 404
    assert ask(stranger, "PATCH", f"{PATH}/{mine}", {"name": "Mine"}).status == 404


def test_what_an_active_service_needs_stays(world: World) -> None:
    mine, other = room(world), room(world)
    first = made(world, resources=[[mine, other]])
    second = made(world, resources=[[mine]])
    idle = made(world, resources=[[mine]], active=False)
    refused = ask(world, "DELETE", f"{PATH}/{mine}")
    assert (refused.status, refused.body["service_ids"]) == (409, sorted([first, second]))
    assert ask(world, "PATCH", f"{PATH}/{mine}", {"active": False}).status == 200
    ask(world, "PATCH", f"/v1/services/{first}", {"resources": [[other]]})
    assert ask(world, "DELETE", f"{PATH}/{mine}").body["service_ids"] == [second]
    ask(world, "PATCH", f"/v1/services/{idle}", {"active": True})
    ask(world, "PATCH", f"/v1/services/{second}", {"active": False})
    assert ask(world, "DELETE", f"{PATH}/{mine}").body["service_ids"] == [idle]
    ask(world, "DELETE", f"/v1/services/{idle}")
    assert ask(world, "DELETE", f"{PATH}/{mine}").status == 204


def test_a_service_that_takes_a_room_while_it_goes(world: World, tables: Any) -> None:
    mine = room(world)
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(lambda: made(world, resources=[[mine]])))
        assert ask(world, "DELETE", f"{PATH}/{mine}").status == 409
    assert ask(world, "GET", f"{PATH}/{mine}").status == 200


def test_a_room_that_goes_while_a_service_takes_it(world: World, tables: Any) -> None:
    mine = room(world)
    body = {
        "name": "Consultation",
        "duration_minutes": 50,
        "price": {"amount": 0, "currency": "EUR"},
        "resources": [[mine]],
    }
    with Faults(tables) as faults:
        gone = lambda: resources.delete(world.owner, mine, None)  # noqa: E731
        faults.next("TransactWriteItems", faults.meanwhile(gone))
        assert ask(world, "POST", "/v1/services", body).status == 409
    assert ask(world, "GET", "/v1/services").body["items"] == []


@pytest.mark.parametrize(("headers", "status"), [({}, 409), ({"If-Match": '"1"'}, 412)])
def test_two_changes_at_once_are_told(
    world: World, tables: Any, headers: dict[str, str], status: int
) -> None:
    mine = room(world)

    def rename() -> None:
        resources.change(world.owner, mine, ResourcePatch(name="First"), None)

    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(rename))
        answer = ask(world, "PATCH", f"{PATH}/{mine}", {"name": "Second"}, headers=headers)
    assert answer.status == status
    assert ask(world, "GET", f"{PATH}/{mine}").body["name"] == "First"
