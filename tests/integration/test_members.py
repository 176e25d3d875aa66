"""Members: roles, leaving and coming back, and a practice that never loses its last owner."""

from collections.abc import Iterator
from typing import Any

import pytest

from consulta.core import aws, keys, table
from consulta.core.permissions import Role
from consulta.people import memberships
from consulta.people.records import EXPERT, MEMBER
from tests.faults import Faults
from tests.integration.letting_in import Desk, last_token, open_practice, scripted
from tests.unit.people.calling import Answer, call, signed_in

NOBODY = "mem_01JC0NS0TADEM0000000000009"
EXPERT_IN = {"title": "Dr", "zone": "Europe/Madrid"}


@pytest.fixture
def desk(tables: Any, environment: pytest.MonkeyPatch) -> Iterator[Desk]:
    with scripted(environment) as pool:
        yield Desk(pool, open_practice(pool))


@pytest.fixture
def eva(desk: Desk) -> dict[str, Any]:
    """A viewer."""
    return desk.let_in()


@pytest.fixture
def second(desk: Desk) -> dict[str, Any]:
    """A second owner."""
    return desk.let_in("owner-2", email="second@example.com", role="owner")


def row(desk: Desk, person: str = "person-2") -> dict[str, Any]:
    raw = table.get_raw(keys.membership(person, desk.practice["id"]))
    assert raw
    return table.from_raw(raw)


def role_made(desk: Desk, permissions: list[str], name: str = "Front desk") -> str:
    body = {"name": name, "permissions": permissions}
    answer = call("roles", "POST", "/v1/roles", body, context=desk.owner)
    assert answer.status == 201
    return str(answer.body["id"])


def admin(desk: Desk) -> dict[str, str]:
    return desk.as_(Role.ADMIN, NOBODY, "admin-1")


# changing


def test_a_role_and_a_name_change_by_version(desk: Desk, eva: dict[str, Any]) -> None:
    headers = {"If-Match": '"1"'}
    changed = desk.members("PATCH", eva["id"], body={"role": "billing"}, headers=headers)
    assert (changed.status, changed.headers["ETag"], changed.body["role"]) == (
        200,
        '"2"',
        "billing",
    )
    assert row(desk)["role"] == "billing"
    assert desk.members("PATCH", eva["id"], body={"name": "E"}, headers=headers).status == 412
    renamed = desk.members("PATCH", eva["id"], body={"name": "Eva María"}).body
    assert (renamed["name"], renamed["role"], renamed["version"]) == ("Eva María", "billing", 3)
    same = desk.members("PATCH", eva["id"], body={"name": "Eva María", "role": "billing"})
    assert same.body["version"] == 3


def test_item_and_membership_change_together_or_not_at_all(desk: Desk, eva: dict[str, Any]) -> None:
    key = keys.membership("person-2", desk.practice["id"])
    table.transact([table.delete(key)])
    assert desk.members("PATCH", eva["id"], body={"role": "admin"}).status == 409
    assert desk.members("POST", eva["id"], "/deactivate").status == 409
    assert desk.member(eva["id"])["version"] == 1
    assert table.get_raw(key) is None


def test_an_expert_needs_a_profile(desk: Desk, eva: dict[str, Any]) -> None:
    refused = desk.members("PATCH", eva["id"], body={"role": "expert"})
    assert (refused.status, refused.body["errors"][0]["path"]) == (422, "body.expert")
    changed = desk.members("PATCH", eva["id"], body={"role": "expert", "expert": EXPERT_IN}).body
    assert (changed["role"], row(desk)["subject"]) == ("expert", changed["expert_id"])
    path = f"/v1/experts/{changed['expert_id']}"
    assert call("experts", "GET", path, context=desk.owner).body["name"] == "Eva"
    again = desk.members("PATCH", eva["id"], body={"expert": EXPERT_IN})
    assert again.status == 409


@pytest.mark.parametrize(
    "body",
    [
        {"role": "patient"},
        {"role": "operator"},
        {"role": "custom"},
        {"email": "x@example.com"},
        {"role": "admin", "role_id": "role_01JC0NS0TADEM0000000000000"},
        {"role_id": "role_01JC0NS0TADEM0000000000000"},
    ],
)
def test_what_no_member_can_become_is_422(
    desk: Desk, eva: dict[str, Any], body: dict[str, Any]
) -> None:
    answer = desk.members("PATCH", eva["id"], body=body)
    assert answer.status == 422
    assert answer.body["errors"][0]["path"].startswith("body")


def test_a_patients_login_keeps_its_role(desk: Desk) -> None:
    body = {"name": "Ángela", "phone": "600123456"}
    patient = call("patients", "POST", "/v1/patients", body, context=desk.owner).body
    login = desk.let_in(role="patient", patient_id=patient["id"])
    assert desk.members("PATCH", login["id"], body={"role": "viewer"}).status == 409
    handed = desk.members("POST", login["id"], "/transfer-ownership")
    assert handed.status == 409
    assert desk.members("POST", login["id"], "/deactivate").status == 200


def test_another_practices_member_is_404(desk: Desk, eva: dict[str, Any]) -> None:
    stranger = signed_in("owner")
    for method, suffix, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("POST", "/deactivate", None),
        ("POST", "/reactivate", None),
        ("POST", "/transfer-ownership", None),
    ):
        assert desk.members(method, eva["id"], suffix, body, stranger).status == 404


# who may change whom


@pytest.mark.parametrize("role", [Role.EXPERT, Role.BILLING, Role.VIEWER, Role.PATIENT])
def test_who_manages_nobody(desk: Desk, eva: dict[str, Any], role: Role) -> None:
    caller = desk.as_(role, eva["id"])
    for method, suffix, body in (
        ("PATCH", "", {"name": "x"}),
        ("POST", "/deactivate", None),
        ("POST", "/reactivate", None),
        ("POST", "/transfer-ownership", None),
    ):
        assert desk.members(method, eva["id"], suffix, body, caller).status == 403


def test_only_owners_change_owners(desk: Desk, eva: dict[str, Any]) -> None:
    owner_id = desk.practice["owner_member_id"]
    for method, suffix, body in (
        ("PATCH", "", {"name": "x"}),
        ("PATCH", "", {"role": "viewer"}),
        ("POST", "/deactivate", None),
        ("POST", "/transfer-ownership", None),
    ):
        assert desk.members(method, owner_id, suffix, body, admin(desk)).status == 403
    made = desk.members("PATCH", eva["id"], body={"role": "owner"}, context=admin(desk))
    assert made.status == 403
    assert desk.owners() == 1
    allowed = desk.members("PATCH", eva["id"], body={"role": "admin"}, context=admin(desk))
    assert allowed.status == 200


def test_nobody_gives_or_takes_more_than_they_have(desk: Desk, eva: dict[str, Any]) -> None:
    desk.members("PATCH", eva["id"], body={"role": "admin"})
    clerk_role = role_made(desk, ["members:write", "members:read"])
    clerk = desk.let_in("person-3", email="clerk@example.com", role_id=clerk_role)
    caller = desk.as_(Role.CUSTOM, clerk["id"], "person-3", {"members:write", "members:read"})
    # Their own role upwards, and whoever is more than they are.
    assert desk.members("PATCH", clerk["id"], body={"role": "admin"}, context=caller).status == 403
    assert desk.members("POST", eva["id"], "/deactivate", context=caller).status == 403
    other = desk.let_in("person-4", email="other@example.com", role_id=clerk_role)
    left = desk.members("POST", other["id"], "/deactivate", context=caller)
    assert left.status == 200


# leaving and coming back


def test_a_deactivated_member_is_out_and_comes_back(desk: Desk, eva: dict[str, Any]) -> None:
    out = desk.members("POST", eva["id"], "/deactivate")
    assert out.status == 200
    assert out.body["deactivated_at"]
    assert row(desk)["deactivated_at"]
    assert memberships.of("person-2") == []
    again = desk.members("POST", eva["id"], "/deactivate")
    assert again.body["version"] == out.body["version"]
    assert desk.members("PATCH", eva["id"], body={"role": "admin"}).status == 409
    # The address is still theirs.
    assert desk.invite().body["existing_id"] == eva["id"]
    back = desk.members("POST", eva["id"], "/reactivate")
    assert (back.status, back.body["deactivated_at"], back.body["role"]) == (200, None, "viewer")
    assert "deactivated_at" not in row(desk)
    assert [m.member for m in memberships.of("person-2")] == [eva["id"]]


def test_who_leaves_is_hidden_from_patients(desk: Desk) -> None:
    expert = desk.let_in(role="expert", expert=EXPERT_IN)
    key = desk.tenant.item(EXPERT, expert["expert_id"])
    table.transact([table.update(key, set_={"published": True}, add={"version": 1})])
    assert desk.members("POST", expert["id"], "/deactivate").status == 200
    raw = table.get_raw(key)
    assert raw
    assert raw["published"] == {"BOOL": False}


# owners


def test_the_last_owner_stays(desk: Desk, eva: dict[str, Any]) -> None:
    owner_id = desk.practice["owner_member_id"]
    assert desk.members("PATCH", owner_id, body={"role": "admin"}).status == 409
    assert desk.members("POST", owner_id, "/deactivate").status == 409
    assert (desk.owners(), desk.member(owner_id)["role"]) == (1, "owner")
    assert row(desk, "owner-1")["role"] == "owner"


def test_owners_are_counted_however_they_come_and_go(
    desk: Desk, eva: dict[str, Any], second: dict[str, Any]
) -> None:
    assert desk.owners() == 2
    desk.members("PATCH", eva["id"], body={"role": "owner"})
    assert desk.owners() == 3
    desk.members("POST", eva["id"], "/deactivate")
    assert desk.owners() == 2
    desk.members("POST", eva["id"], "/reactivate")
    assert desk.owners() == 3
    for member in (eva, second):
        assert desk.members("PATCH", member["id"], body={"role": "viewer"}).status == 200
    assert desk.owners() == 1


@pytest.mark.parametrize("suffix", ["", "/deactivate"])
def test_two_owners_who_remove_each_other_at_once_leave_one(
    desk: Desk, second: dict[str, Any], suffix: str
) -> None:
    owner_id = desk.practice["owner_member_id"]
    other = desk.as_(Role.OWNER, second["id"], "owner-2")
    answers: list[Answer] = []

    def remove(member_id: str, by: dict[str, str]) -> None:
        method, body = ("POST", None) if suffix else ("PATCH", {"role": "viewer"})
        answers.append(desk.members(method, member_id, suffix, body, by))

    with Faults(aws.client("dynamodb")) as faults:
        # Both have read two owners; the second writes while the first is on its way.
        first = faults.meanwhile(lambda: remove(owner_id, other))
        faults.next("TransactWriteItems", first)
        remove(second["id"], desk.owner)
    assert [answer.status for answer in answers] == [200, 409]
    assert desk.owners() == 1
    left = [desk.member(m) for m in (owner_id, second["id"])]
    active = [m["id"] for m in left if m["role"] == "owner" and not m["deactivated_at"]]
    assert active == [second["id"]]


def test_ownership_is_handed_over_at_once(desk: Desk, eva: dict[str, Any]) -> None:
    owner_id = desk.practice["owner_member_id"]
    headers = {"If-Match": '"7"'}
    late = desk.members("POST", eva["id"], "/transfer-ownership", headers=headers)
    assert late.status == 412
    handed = desk.members("POST", eva["id"], "/transfer-ownership")
    assert (handed.status, handed.body["role"]) == (200, "owner")
    assert desk.member(owner_id)["role"] == "admin"
    assert (row(desk)["role"], row(desk, "owner-1")["role"]) == ("owner", "admin")
    assert desk.owners() == 1
    # The former owner's token still says owner, for up to a minute.
    assert desk.members("POST", eva["id"], "/transfer-ownership").status == 403


def test_ownership_goes_to_active_staff_only(
    desk: Desk, eva: dict[str, Any], second: dict[str, Any]
) -> None:
    desk.members("POST", eva["id"], "/deactivate")
    for member_id in (eva["id"], second["id"], desk.practice["owner_member_id"]):
        assert desk.members("POST", member_id, "/transfer-ownership").status == 409
    assert desk.owners() == 2


def test_two_transfers_at_once_give_one_new_owner(desk: Desk, eva: dict[str, Any]) -> None:
    other = desk.let_in("person-3", email="other@example.com")
    answers: list[Answer] = []

    def hand(member_id: str) -> None:
        answers.append(desk.members("POST", member_id, "/transfer-ownership"))

    with Faults(aws.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(lambda: hand(other["id"])))
        hand(eva["id"])
    assert [answer.status for answer in answers] == [200, 409]
    roles = [desk.member(m["id"])["role"] for m in (eva, other)]
    assert (roles, desk.owners()) == (["viewer", "owner"], 1)


# the practice's own roles, given to members


def test_a_member_with_an_own_role(desk: Desk, eva: dict[str, Any]) -> None:
    role_id = role_made(desk, ["patients:read"])
    changed = desk.members("PATCH", eva["id"], body={"role_id": role_id})
    assert (changed.body["role"], changed.body["role_id"]) == ("custom", role_id)
    assert (row(desk)["role"], row(desk)["role_id"]) == ("custom", role_id)
    kept = desk.members("PATCH", eva["id"], body={"name": "E"}).body
    assert (kept["role"], kept["role_id"]) == ("custom", role_id)
    back = desk.members("PATCH", eva["id"], body={"role": "viewer"}).body
    assert (back["role"], back["role_id"]) == ("viewer", None)
    assert "role_id" not in row(desk)
    raw = table.get_raw(desk.tenant.item(MEMBER, eva["id"]))
    assert raw
    assert "role_id" not in raw


def test_a_role_that_somebody_has_stays(desk: Desk, eva: dict[str, Any]) -> None:
    first, other = role_made(desk, ["patients:read"]), role_made(desk, [], "Nothing")

    def remove(role_id: str) -> int:
        return call("roles", "DELETE", f"/v1/roles/{role_id}", context=desk.owner).status

    desk.members("PATCH", eva["id"], body={"role_id": first})
    invited = desk.let_in("person-3", email="desk@example.com", role_id=first)
    assert row(desk, "person-3")["role_id"] == first
    assert remove(first) == 409
    desk.members("PATCH", eva["id"], body={"role_id": other})
    # Deactivated members come back in the role that they had.
    desk.members("POST", invited["id"], "/deactivate")
    assert remove(first) == 409
    desk.members("POST", invited["id"], "/reactivate")
    assert desk.members("POST", invited["id"], "/transfer-ownership").status == 200
    assert remove(first) == 204
    assert remove(other) == 409


def test_a_role_removed_while_it_is_given_is_given_to_nobody(
    desk: Desk, eva: dict[str, Any]
) -> None:
    role_id = role_made(desk, ["patients:read"])
    removed: list[int] = []

    def remove() -> None:
        path = f"/v1/roles/{role_id}"
        removed.append(call("roles", "DELETE", path, context=desk.owner).status)

    with Faults(aws.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(remove))
        assert desk.members("PATCH", eva["id"], body={"role_id": role_id}).status == 409
    assert removed == [204]
    assert desk.member(eva["id"])["role"] == "viewer"


def test_an_invitation_whose_role_is_gone_is_409(desk: Desk) -> None:
    role_id = role_made(desk, ["patients:read"])
    assert desk.invite(role_id=role_id).status == 201
    assert call("roles", "DELETE", f"/v1/roles/{role_id}", context=desk.owner).status == 204

    desk.pool.admits("eva@example.com", "person-2")
    assert desk.accept(last_token()).status == 409
    assert memberships.of("person-2") == []
