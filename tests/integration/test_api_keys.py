"""API keys on moto's DynamoDB, through the function and the authorizer."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from consulta.core import keys, table
from consulta.core.identity import Membership, authorizer_context
from consulta.core.keys import Tenant
from consulta.core.permissions import ASSIGNABLE, FORBIDDEN_FOR_KEYS, GRANTS, Role
from consulta.core.time import from_text, now, to_text
from consulta.people import api_keys, memberships
from consulta.people.authorization import Memory, context_of
from consulta.people.records import API_KEY
from tests.faults import Crash, Faults
from tests.unit.people.calling import OTHER_PRACTICE, PRACTICE, Answer, call, signed_in

EVA, OLGA = "mem_01JC0NS0TADEM0000000000011", "mem_01JC0NS0TADEM0000000000012"
BODY = {"name": "Calendar", "permissions": ["patients:read", "appointments:read"]}
PATH = "/v1/api-keys"


def context(role: str, member: str, practice: str = PRACTICE) -> dict[str, str]:
    joined = Membership(practice, Role(role), member)
    return authorizer_context(f"person-{member}", [joined], operator=False, session="session-1")


EXPERT, OWNER = context("expert", EVA), context("owner", OLGA)


@pytest.fixture(autouse=True)
def joined(tables: Any) -> None:
    for role, member in (("expert", EVA), ("owner", OLGA)):
        row = memberships.put(f"person-{member}", Membership(PRACTICE, Role(role), member))
        table.transact([row])


def ask(method: str, path: str = "", body: Any = None, who: Any = EXPERT, **more: Any) -> Answer:
    return call("api_keys", method, PATH + path, body, context=who, **more)


def make(who: Any = EXPERT, **changes: Any) -> dict[str, Any]:
    answer = ask("POST", "", BODY | changes, who)
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.body
    return made


def works(key: str) -> bool:
    return "person" in context_of(f"Bearer {key}", Memory())


def shown(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name != "key"}


# making


def test_a_key_is_made_and_shown_once(tables: Any) -> None:
    answer = ask("POST", "", BODY)
    made = answer.body
    assert answer.headers["Location"] == f"{PATH}/{made['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert made["key"].startswith(f"ck_test_{made['id'][4:]}")
    assert made["prefix"] == f"ck_test_{made['id'][4:7]}…{made['key'][-4:]}"
    assert made["permissions"] == ["appointments:read", "patients:read"]
    assert (made["member_id"], made["status"], made["revoked_at"]) == (EVA, "active", None)
    created, expires = (datetime.fromisoformat(made[n]) for n in ("created_at", "expires_at"))
    assert timedelta(days=90) - (expires - created) < timedelta(seconds=5)
    assert ask("GET", f"/{made['id']}").body == shown(made)
    assert works(made["key"])


def test_nothing_that_is_stored_opens_anything(tables: Any) -> None:
    made = make()
    secret = made["key"][34:-6]
    rows = tables.scan(TableName="core")["Items"]
    assert sum(row.get("entity") == {"S": "API_KEY_LOOKUP"} for row in rows) == 1
    assert secret not in str(rows)
    assert made["key"] not in str(rows)


def test_the_same_request_again_gives_the_same_key_without_its_secret(tables: Any) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again, other = (
        ask("POST", "", body, headers=headers) for body in (BODY, BODY, BODY | {"name": "Other"})
    )
    assert (first.status, again.status, other.status) == (201, 201, 422)
    assert again.body == shown(first.body) | {"key": None}
    assert works(first.body["key"])
    assert len(ask("GET").body["items"]) == 1


def test_two_at_once_with_one_idempotency_key_make_one_key(tables: Any) -> None:
    headers = {"Idempotency-Key": "once"}
    with Faults(tables) as faults:
        first: list[Answer] = []
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: first.append(ask("POST", "", BODY, headers=headers))),
        )
        second = ask("POST", "", BODY, headers=headers)
    assert (first[0].status, second.status) == (201, 201)
    assert (second.body["id"], second.body["key"]) == (first[0].body["id"], None)
    assert len(ask("GET").body["items"]) == 1


def test_a_crash_makes_both_rows_or_none(tables: Any) -> None:
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.crash_before)
        with pytest.raises(Crash):
            ask("POST", "", BODY)
    assert tables.scan(TableName="core")["Count"] == 2


@pytest.mark.parametrize("permission", sorted(FORBIDDEN_FOR_KEYS))
def test_what_lets_people_in_is_never_a_keys(permission: str) -> None:
    answer = ask("POST", "", BODY | {"permissions": ["patients:read", permission]}, OWNER)
    assert answer.status == 422
    assert [error["path"] for error in answer.body["errors"]] == ["body.permissions.1"]


def test_all_that_an_admin_may_do_besides_can_be_a_keys() -> None:
    permissions = sorted(ASSIGNABLE - FORBIDDEN_FOR_KEYS)
    assert make(OWNER, permissions=permissions)["permissions"] == permissions


@pytest.mark.parametrize("permission", ["practices:write", "made:up", "audit:read"])
def test_nobody_gives_a_key_more_than_they_have(permission: str) -> None:
    answer = ask("POST", "", BODY | {"permissions": [permission]})
    assert (answer.status, answer.body["errors"][0]["code"]) == (422, "not-grantable")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 121},
        {"name": "line\nbreak"},
        {"permissions": []},
        {"permissions": "patients:read"},
        {"permissions": ["patients:read"] * 65},
        {"permissions": ["PATIENTS:READ"]},
        {"permissions": ["*"]},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2027-01-01T00:00:00"},
        {"expires_at": "9999-12-31T23:59:59Z"},
        {"expires_at": "9999-12-31T23:59:59-23:59"},
        {"expires_at": "0001-01-01T00:00:00+14:00"},
        {"expires_at": "tomorrow"},
        {"scopes": []},
    ],
)
def test_a_key_that_makes_no_sense_is_422(changes: dict[str, Any]) -> None:
    answer = ask("POST", "", BODY | changes)
    assert answer.status == 422
    assert answer.body["errors"][0]["path"].startswith("body")


def test_a_key_ends_when_it_was_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    instant = now()
    end = (instant + timedelta(days=366)).replace(microsecond=0)
    made = make(expires_at=end.isoformat())
    assert datetime.fromisoformat(made["expires_at"]) == end
    late = (instant + timedelta(days=366, minutes=1)).isoformat()
    assert ask("POST", "", BODY | {"expires_at": late}).status == 422
    monkeypatch.setattr("consulta.people.api_keys.now", lambda: end)
    assert ask("GET", f"/{made['id']}").body["status"] == "expired"


@pytest.mark.parametrize("role", ["viewer", "patient", "operator"])
def test_who_has_no_keys(role: str) -> None:
    for method, path, body in (("POST", "", BODY), ("GET", "", None), ("DELETE", "/key_x", None)):
        assert ask(method, path, body, signed_in(role)).status == 403


def test_a_key_makes_no_keys_and_revokes_none() -> None:
    made = make(OWNER, permissions=sorted(ASSIGNABLE - FORBIDDEN_FOR_KEYS))
    by_key = context_of(f"Bearer {made['key']}", Memory())
    one = f"/{made['id']}"
    for method, path, body in (
        ("POST", "", BODY),
        ("GET", "", None),
        ("GET", one, None),
        ("PATCH", one, {"name": "x"}),
        ("POST", f"{one}/rotate", {}),
        ("DELETE", one, None),
    ):
        assert ask(method, path, body, by_key).status == 403
    assert works(made["key"])


# how many


def test_a_member_has_twenty_live_keys(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_LIVE", 3)
    ids = [make()["id"] for _ in range(3)]
    refused = ask("POST", "", BODY)
    assert (refused.status, refused.body["type"]) == (409, "urn:consulta:problem:conflict")
    assert make(OWNER)
    # A rotation that lets both live is one more; one that ends the old at once is not.
    assert ask("POST", f"/{ids[1]}/rotate", {}).status == 409
    assert ask("POST", f"/{ids[1]}/rotate", {"overlap_hours": 0}).status == 201
    assert ask("DELETE", f"/{ids[0]}").status == 204
    make()
    assert ask("POST", "", BODY).status == 409
    later = now() + timedelta(days=91)
    monkeypatch.setattr("consulta.people.api_keys.now", lambda: later)
    make()


def test_the_default_limit_is_twenty() -> None:
    for _ in range(20):
        make()
    assert ask("POST", "", BODY).status == 409
    assert len(ask("GET", query="limit=50").body["items"]) == 20


def test_two_at_once_cannot_both_be_the_last(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_LIVE", 2)
    make()
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(make))
        assert ask("POST", "", BODY).status == 409
    assert len(ask("GET").body["items"]) == 2


def test_two_at_once_below_the_limit_are_both_made(tables: Any) -> None:
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(make))
        made = make()
    assert works(made["key"])
    assert len(ask("GET").body["items"]) == 2


# reading


def test_members_see_their_own_and_who_manages_members_all() -> None:
    own, others = make(), make(OWNER)
    assert ask("GET").body["items"] == [shown(own)]
    assert ask("GET", who=OWNER).body["items"] == [shown(others), shown(own)]
    assert ask("GET", f"/{own['id']}", who=OWNER).status == 200
    assert ask("GET", f"/{others['id']}").status == 404


def test_keys_are_listed_newest_first_by_pages() -> None:
    ids = [make()["id"] for _ in range(3)]
    first = ask("GET", query="limit=2").body
    cursor = first["next_cursor"]
    second = ask("GET", query=f"limit=2&cursor={cursor}").body
    assert [key["id"] for key in first["items"] + second["items"]] == ids[::-1]
    assert ask("GET", query=f"cursor={cursor}", who=OWNER).status == 400
    assert ask("GET", query="limit=51").status == 422


def test_another_practices_key_is_not_there() -> None:
    stranger, made = context("owner", OLGA, OTHER_PRACTICE), make()
    one = f"/{made['id']}"
    assert ask("GET", who=stranger).body["items"] == []
    for method, path, body in (
        ("GET", one, None),
        ("PATCH", one, {"name": "x"}),
        ("POST", f"{one}/rotate", {}),
        ("DELETE", one, None),
    ):
        assert ask(method, path, body, stranger).status == 404
    assert works(made["key"])


# changing


def test_a_key_gets_another_name_by_version() -> None:
    made = make()
    path = f"/{made['id']}"
    changed = ask("PATCH", path, {"name": "Phone"}, headers={"If-Match": '"1"'})
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    assert changed.body == shown(made) | {"name": "Phone", "version": 2}
    assert ask("PATCH", path, {"name": "Late"}, headers={"If-Match": '"1"'}).status == 412
    assert ask("PATCH", path, {"permissions": ["patients:read"]}).status == 422
    assert ask("PATCH", path, {"name": "Theirs"}, OWNER).status == 403
    assert works(made["key"])


def test_a_lost_race_for_a_name_is_409(tables: Any) -> None:
    path = f"/{make()['id']}"
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems", faults.meanwhile(lambda: ask("PATCH", path, {"name": "First"}))
        )
        assert ask("PATCH", path, {"name": "Second"}).status == 409
    assert ask("GET", path).body["name"] == "First"


def test_a_rotated_key_goes_on_for_the_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    end = now() + timedelta(days=30)
    old = make(expires_at=end.isoformat())
    answer = ask("POST", f"/{old['id']}/rotate", {"overlap_hours": 2})
    new = answer.body
    assert (answer.status, answer.headers["Location"]) == (201, f"{PATH}/{new['id']}")
    assert (new["name"], new["permissions"]) == (old["name"], old["permissions"])
    assert (new["replaces"], new["replaced_by"]) == (old["id"], None)
    lasts = datetime.fromisoformat(new["expires_at"]) - now()
    assert timedelta(days=29, hours=23) < lasts <= timedelta(days=30)
    before = ask("GET", f"/{old['id']}").body
    assert (before["replaced_by"], before["status"], before["version"]) == (new["id"], "active", 2)
    goes_on = datetime.fromisoformat(before["expires_at"]) - now()
    assert timedelta(hours=1, minutes=59) < goes_on <= timedelta(hours=2)
    assert works(old["key"])
    assert works(new["key"])
    later = now() + timedelta(hours=2)
    monkeypatch.setattr("time.time", later.timestamp)
    assert not works(old["key"])
    assert works(new["key"])


def test_a_rotation_without_overlap_ends_the_old_key_at_once() -> None:
    old = make()
    new = ask("POST", f"/{old['id']}/rotate", {"overlap_hours": 0}).body
    assert works(new["key"])
    assert not works(old["key"])
    assert ask("GET", f"/{old['id']}").body["status"] == "expired"


def test_a_rotation_never_makes_the_old_key_live_longer() -> None:
    end = (now() + timedelta(hours=1)).replace(microsecond=0)
    old = make(expires_at=end.isoformat())
    ask("POST", f"/{old['id']}/rotate", {"overlap_hours": 168})
    assert datetime.fromisoformat(ask("GET", f"/{old['id']}").body["expires_at"]) == end


def test_a_key_is_rotated_once(tables: Any) -> None:
    old = make()
    path = f"/{old['id']}/rotate"
    first: list[Answer] = []
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems", faults.meanwhile(lambda: first.append(ask("POST", path, {})))
        )
        assert ask("POST", path, {}).status == 409
    again = ask("POST", path, {})
    assert (again.status, again.body["existing_id"]) == (409, first[0].body["id"])
    assert len(ask("GET").body["items"]) == 2


def test_a_rotation_is_idempotent_for_its_key_alone() -> None:
    headers = {"Idempotency-Key": "rotate"}
    one, two = make(), make()
    first, again = (ask("POST", f"/{one['id']}/rotate", {}, headers=headers) for _ in range(2))
    assert again.body == shown(first.body) | {"key": None}
    assert ask("POST", f"/{two['id']}/rotate", {}, headers=headers).status == 422


@pytest.mark.parametrize("overlap", [-1, 169, 1.5, "1 day", None])
def test_an_overlap_is_whole_hours_up_to_a_week(overlap: Any) -> None:
    answer = ask("POST", f"/{make()['id']}/rotate", {"overlap_hours": overlap})
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "body.overlap_hours")


def test_nobody_gets_a_secret_of_a_key_that_acts_as_another() -> None:
    made = make()
    assert ask("POST", f"/{made['id']}/rotate", {}, OWNER).status == 403


def test_what_has_ended_is_not_rotated() -> None:
    made = make()
    ask("DELETE", f"/{made['id']}")
    assert ask("POST", f"/{made['id']}/rotate", {}).status == 409


# revoking


@pytest.mark.parametrize("who", [EXPERT, OWNER])
def test_a_revoked_key_is_dead_and_revoking_again_is_fine(who: Any) -> None:
    made = make()
    path = f"/{made['id']}"
    assert [ask("DELETE", path, who=who).status for _ in range(2)] == [204, 204]
    found = ask("GET", path).body
    assert (found["status"], found["version"]) == ("revoked", 2)
    assert found["revoked_at"]
    assert not works(made["key"])


def test_others_keys_are_not_revoked_by_members() -> None:
    made = make(OWNER)
    assert ask("DELETE", f"/{made['id']}").status == 404
    assert works(made["key"])


def test_revoking_wins_every_race(tables: Any) -> None:
    made = make()
    path = f"/{made['id']}"
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: ask("PATCH", path, {"name": "Meanwhile"})),
            faults.meanwhile(make),
        )
        assert ask("DELETE", path).status == 204
    assert not works(made["key"])
    assert ask("GET", path).body["name"] == "Meanwhile"


def test_a_key_that_is_not_there() -> None:
    for method, path, body in (
        ("GET", "/key_01JC0NS0TADEM0000000000000", None),
        ("DELETE", "/key_01JC0NS0TADEM0000000000000", None),
        ("PATCH", "/key_01JC0NS0TADEM0000000000000", {"name": "x"}),
        ("POST", "/key_01JC0NS0TADEM0000000000000/rotate", {}),
    ):
        assert ask(method, path, body).status == 404
    assert ask("GET", "/not-an-id").status == 422


def test_the_two_rows_of_a_key_agree_through_its_life(tables: Any) -> None:
    made = make()
    ask("POST", f"/{made['id']}/rotate", {"overlap_hours": 1})
    ask("DELETE", f"/{made['id']}")
    item = table.from_raw(table.get_raw(Tenant(PRACTICE).item(API_KEY, made["id"])) or {})
    lookup = table.from_raw(table.get_raw(keys.api_key(made["id"])) or {})
    for name in ("permissions", "expires_at", "revoked_at"):
        assert item[name] == lookup[name]
    assert (item["updated_by"], item["version"]) == (f"person-{EVA}", 3)
    assert from_text(item["revoked_at"]) <= now()
    assert to_text(from_text(item["expires_at"])) == item["expires_at"]


def test_every_role_that_makes_keys_could_sign_in_for_them() -> None:
    makers = {role for role in Role if "api_keys:write" in GRANTS[role]}
    assert makers == {Role.OWNER, Role.ADMIN, Role.EXPERT, Role.BILLING}


# where a key is not let in, and when it was used


@pytest.mark.usefixtures("counting")
def test_a_key_says_when_it_was_used_last() -> None:
    used, unused = make(), make()
    by_key = context_of(f"Bearer {used['key']}", Memory())
    assert call("patients", "GET", "/v1/patients", context=by_key).status == 200
    found = {key["id"]: key["last_used_at"] for key in ask("GET").body["items"]}
    assert found[unused["id"]] is None
    ago = now() - datetime.fromisoformat(found[used["id"]])
    assert timedelta() <= ago < timedelta(minutes=2)
    assert ask("GET", f"/{used['id']}").body["last_used_at"] == found[used["id"]]


def test_a_key_is_not_let_in_where_a_person_has_to_sign_in() -> None:
    by_key = context_of(f"Bearer {make()['key']}", Memory())
    answer = call("me", "GET", "/v1/me", context=by_key)
    assert (answer.status, answer.body["detail"]) == (403, "An API key cannot do this: sign in")
