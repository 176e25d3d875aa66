"""Roles that a practice makes of the permissions that there are."""

from typing import Any

import pytest

from consulta.core.permissions import ASSIGNABLE, GRANTS, Role
from tests.unit.people.calling import PRACTICE, Answer, call, signed_in

OWNER = signed_in("owner")
BODY = {"name": "Front desk", "permissions": ["patients:read", "appointments:write"]}
UNKNOWN = "role_01JC0NS0TADEM0000000000009"


def create(context: dict[str, str] = OWNER, **changes: Any) -> Answer:
    return call("roles", "POST", "/v1/roles", BODY | changes, context=context)


def one(method: str, role_id: str, body: Any = None, **request: Any) -> Answer:
    request.setdefault("context", OWNER)
    return call("roles", method, f"/v1/roles/{role_id}", body, **request)


def custom(*permissions: str) -> dict[str, str]:
    """A member with a role of the practice's own."""
    context = signed_in("custom")
    granted = f'"g":"{" ".join(permissions)}"'
    return context | {"memberships": context["memberships"].replace('"s":""', f'"s":"",{granted}')}


def test_a_role_is_made_read_changed_and_removed(tables: Any) -> None:
    made = create()
    assert (made.status, made.headers["Location"]) == (201, f"/v1/roles/{made.body['id']}")
    assert made.body["permissions"] == ["appointments:write", "patients:read"]
    role_id = made.body["id"]
    assert one("GET", role_id).body == made.body
    body = {"name": "Reception", "permissions": ["patients:read"]}
    changed = one("PATCH", role_id, body, headers={"If-Match": '"1"'})
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    assert (changed.body["name"], changed.body["permissions"]) == ("Reception", ["patients:read"])
    assert one("PATCH", role_id, {"name": "x"}, headers={"If-Match": '"1"'}).status == 412
    assert one("DELETE", role_id, headers={"If-Match": '"1"'}).status == 412
    assert one("DELETE", role_id, headers={"If-Match": '"2"'}).status == 204
    for method, sent in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        assert one(method, role_id, sent).status == 404
    assert create(name="Reception").status == 201


def test_the_list_has_the_built_in_roles_and_what_can_be_given(tables: Any) -> None:
    made = [create(name=f"Role {n}").body["id"] for n in range(3)]
    page = call("roles", "GET", "/v1/roles", context=OWNER, query="limit=2").body
    query = f"limit=2&cursor={page['next_cursor']}"
    rest = call("roles", "GET", "/v1/roles", context=OWNER, query=query).body
    assert [r["id"] for r in page["items"] + rest["items"]] == made
    assert page["assignable"] == sorted(ASSIGNABLE)
    shown = {r["role"]: set(r["permissions"]) for r in page["built_in"]}
    assert shown == {r.value: set(GRANTS[r]) for r in Role if r not in {"operator", "custom"}}
    stranger = signed_in("owner", "prac_01JC0NS0TADEM0000000000009")
    assert call("roles", "GET", "/v1/roles", context=stranger).body["items"] == []


@pytest.mark.parametrize("name", ["front DESK", " Front  desk", "Frönt desk", "Ｆront desk"])
def test_a_name_is_one_roles_however_it_is_written(tables: Any, name: str) -> None:
    first = create().body["id"]
    again = create(name=name)
    assert (again.status, again.body["existing_id"]) == (409, first)
    other = create(name="Other").body["id"]
    assert one("PATCH", other, {"name": name}).status == 409
    assert one("PATCH", first, {"name": name}).status == 200
    assert create(signed_in("owner", "prac_01JC0NS0TADEM0000000000009")).status == 201


def test_the_same_key_makes_one_role(tables: Any) -> None:
    headers = {"Idempotency-Key": "key-1"}
    first, again, other = (
        call("roles", "POST", "/v1/roles", body, context=OWNER, headers=headers)
        for body in (BODY, BODY, BODY | {"name": "Other"})
    )
    assert (first.status, again.status, first.body) == (201, 201, again.body)
    assert other.status == 422


@pytest.mark.parametrize(
    "changes",
    [
        {"permissions": ["practice:own"]},
        {"permissions": ["practices:write"]},
        {"permissions": ["patients:fly"]},
        {"permissions": "patients:read"},
        {"permissions": None},
        {"name": ""},
        {"name": "́"},
        {"name": "a\nb"},
        {"name": "x" * 121},
        {"role": "owner"},
    ],
)
def test_a_role_that_makes_no_sense_is_422(tables: Any, changes: dict[str, Any]) -> None:
    answer = create(**changes)
    assert answer.status == 422
    assert answer.body["errors"][0]["path"].startswith("body")


@pytest.mark.parametrize("role", ["expert", "billing", "viewer", "patient", "operator"])
def test_who_makes_no_roles(tables: Any, role: str) -> None:
    assert create(signed_in(role)).status == 403


def test_nobody_makes_or_changes_a_role_that_is_more_than_they_are(tables: Any) -> None:
    clerk = custom("roles:write", "members:read", "patients:read")
    assert create(clerk).status == 403
    mine = create(clerk, permissions=["patients:read"])
    assert mine.status == 201
    more = {"permissions": ["patients:read", "members:write"]}
    assert one("PATCH", mine.body["id"], more, context=clerk).status == 403
    assert one("PATCH", mine.body["id"], {"permissions": []}, context=clerk).status == 200
    theirs = create(name="Theirs").body["id"]
    for method, body in (("PATCH", {"permissions": []}), ("PATCH", {"name": "x"})):
        assert one(method, theirs, body, context=clerk).status == 403
    assert one("DELETE", theirs, context=clerk).status == 403


def test_a_practice_has_at_most_fifty(tables: Any) -> None:
    made = [create(name=f"Role {n}").body["id"] for n in range(50)]
    assert create(name="One more").status == 409
    assert one("DELETE", made[0]).status == 204
    assert create(name="One more").status == 201


def test_another_practices_role_is_404(tables: Any) -> None:
    role_id, stranger = create().body["id"], signed_in("owner", "prac_01JC0NS0TADEM0000000000009")
    assert PRACTICE not in str(stranger)
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        assert one(method, role_id, body, context=stranger).status == 404
    assert one("GET", UNKNOWN).status == 404
