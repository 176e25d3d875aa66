"""People on moto's DynamoDB, through the functions; Cognito's answers come from the Stubber."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from consulta.core import keys, table
from consulta.core.identity import Membership
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.people import authorization, memberships, tokens
from consulta.people.authorization import Memory
from consulta.people.records import EXPERT, PATIENT, PRACTICE, PracticeItem
from consulta.people.tokens import Claims
from tests.integration.letting_in import (
    OPERATOR,
    PRACTICE_BODY,
    Desk,
    Pool,
    last_token,
    open_practice,
    scripted,
)
from tests.unit.people.calling import Answer, call, signed_in

ANGELA = {
    "name": "Ángela Ruiz",
    "phone": "600 123 456",
    "email": "Angela@Example.com",
    "notes": "prefers mornings",
}


@pytest.fixture
def pool(tables: Any, environment: pytest.MonkeyPatch) -> Iterator[Pool]:
    with scripted(environment) as found:
        yield found


@pytest.fixture
def practice(pool: Pool) -> dict[str, Any]:
    return open_practice(pool)


@pytest.fixture
def owner(practice: dict[str, Any]) -> dict[str, str]:
    return signed_in("owner", practice["id"], person="owner-1")


@pytest.fixture
def desk(pool: Pool, practice: dict[str, Any]) -> Desk:
    return Desk(pool, practice)


def patient(owner: dict[str, str], **changes: Any) -> Answer:
    return call("patients", "POST", "/v1/patients", ANGELA | changes, context=owner)


# practices


def test_a_practice_is_made_with_its_owner(practice: dict[str, Any]) -> None:
    assert practice["commission_percent"] == "12.50"
    assert practice["policy"]["currency"] == "EUR"
    assert memberships.of("owner-1") == [
        Membership(practice["id"], Role.OWNER, practice["owner_member_id"])
    ]


@pytest.mark.parametrize("role", ["owner", "admin", "patient", "viewer"])
def test_only_operators_make_practices(tables: Any, role: str) -> None:
    answer = call("practices", "POST", "/v1/practices", PRACTICE_BODY, context=signed_in(role))
    assert answer.status == 403


def test_the_same_key_makes_one_practice(pool: Pool) -> None:
    pool.makes("olga@example.com", "owner-1")
    answers = [
        call(
            "practices",
            "POST",
            "/v1/practices",
            PRACTICE_BODY,
            context=OPERATOR,
            headers={"Idempotency-Key": "key-1"},
        )
        for _ in range(2)
    ]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].body == answers[1].body
    assert len(list(table.Query(keys.all_practices(), index="l1").all())) == 1


def test_an_owner_whose_account_a_crash_left_behind_gets_the_password_that_is_promised(
    pool: Pool,
) -> None:
    pool.is_taken()
    pool.knows("olga@example.com", "owner-1", "FORCE_CHANGE_PASSWORD")
    pool.sets_password("olga@example.com")
    answer = call("practices", "POST", "/v1/practices", PRACTICE_BODY, context=OPERATOR)
    assert answer.status == 201, answer.body


def test_practices_are_listed_for_operators_by_pages(pool: Pool) -> None:
    for number in range(3):
        pool.makes("olga@example.com", f"owner-{number}")
        call("practices", "POST", "/v1/practices", PRACTICE_BODY, context=OPERATOR)
    found, query = [], "limit=2"
    while True:
        page = call("practices", "GET", "/v1/practices", context=OPERATOR, query=query).body
        found += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query = f"limit=2&cursor={page['next_cursor']}"
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 3


def test_a_practice_changes_by_version(practice: dict[str, Any], owner: dict[str, str]) -> None:
    path = f"/v1/practices/{practice['id']}"
    policy = {"cancel": [{"min_notice_s": 0, "keep": {"percent": 10}}]}

    def change(body: Any, version: int) -> Answer:
        headers = {"If-Match": f'"{version}"'}
        return call("practices", "PATCH", path, body, context=owner, headers=headers)

    changed = change({"policy": policy, "zone": "Europe/Madrid"}, 1)
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    assert changed.body["policy"]["version"] == 2
    assert changed.body["policy"]["cancel"] == [
        {"min_notice_s": 0, "keep": {"fixed": 0, "percent": 10}}
    ]
    assert change({"name": "Late"}, 1).status == 412
    assert change({"currency": "USD"}, 2).status == 422
    read = call("practices", "GET", path, context=owner)
    assert read.body == changed.body


def test_a_practice_that_moves_remembers_where_it_was(
    practice: dict[str, Any], owner: dict[str, str]
) -> None:
    path = f"/v1/practices/{practice['id']}"
    first = practice["zone"]
    for zone in ("Europe/Madrid", "Europe/Madrid", "America/Lima", first, "America/Lima"):
        assert call("practices", "PATCH", path, {"zone": zone}, context=owner).status == 200
    assert call("practices", "PATCH", path, {"name": "New"}, context=owner).status == 200
    item = table.get(PracticeItem, Tenant(practice["id"]).item(PRACTICE, practice["id"]))
    assert item
    assert item.zone == "America/Lima"
    assert item.former_zones == ["Europe/Madrid", "America/Lima", first]


def test_patients_are_not_shown_the_commission(practice: dict[str, Any]) -> None:
    path = f"/v1/practices/{practice['id']}"
    answer = call("practices", "GET", path, context=signed_in("patient", practice["id"]))
    assert (answer.status, answer.body["commission_percent"]) == (200, None)


def test_only_an_owner_changes_the_security(practice: dict[str, Any], owner: Any) -> None:
    path = f"/v1/practices/{practice['id']}"
    off = {"mfa_required": False, "experts_see_all": False, "self_sign_up": False}
    assert practice["security"] == off
    admin = signed_in("admin", practice["id"])
    body = {"security": {"mfa_required": True}}
    assert call("practices", "PATCH", path, body, context=admin).status == 403
    assert call("practices", "PATCH", path, {"name": "Aurora"}, context=admin).status == 200
    assert call("practices", "PATCH", path, body, context=owner).status == 200
    body = {"security": {"self_sign_up": True}}
    changed = call("practices", "PATCH", path, body, context=owner)
    assert changed.body["security"] == {**off, "mfa_required": True, "self_sign_up": True}
    assert call("practices", "GET", path, context=admin).body == changed.body
    shown = call("practices", "GET", path, context=signed_in("patient", practice["id"])).body
    assert (shown["security"], shown["commission_percent"]) == (None, None)
    body = {"security": {"everything": True}}
    assert call("practices", "PATCH", path, body, context=owner).status == 422


def test_another_practice_is_404_for_reading_and_writing(practice: dict[str, Any]) -> None:
    path, stranger = f"/v1/practices/{practice['id']}", signed_in("owner")
    assert call("practices", "GET", path, context=stranger).status == 404
    assert call("practices", "PATCH", path, {"name": "x"}, context=stranger).status == 404


# who is signed in


CLAIMS = Claims("owner-1", operator=False, expires_at=2**40, session="session-1")


def who_am_i(pool: Pool, monkeypatch: pytest.MonkeyPatch, practice_id: str = "") -> Answer:
    """GET /v1/me of the owner, by what the authorizer says of their session."""
    key = keys.session(CLAIMS.person, CLAIMS.session)
    if table.get_raw(key) is None:
        table.transact([table.put_values(key, {"entity": "SESSION", "expires_at": 2**40})])
    monkeypatch.setattr(tokens, "verify", lambda _: CLAIMS)
    pool.knows("olga@example.com", "owner-1", asked="owner-1")
    context = authorization.context_of("Bearer x", Memory())
    headers = {"Consulta-Practice": practice_id} if practice_id else {}
    return call("me", "GET", "/v1/me", context=context, headers=headers)


def test_me_of_an_owner(pool: Pool, practice: dict[str, Any], owner: dict[str, str]) -> None:
    pool.knows("olga@example.com", "owner-1", asked="owner-1")
    answer = call(
        "me",
        "GET",
        "/v1/me",
        context=owner
        | {
            "memberships": owner["memberships"].replace(
                "mem_01JC0NS0TADEM0000000000000", practice["owner_member_id"]
            )
        },
    )
    assert answer.status == 200
    assert (answer.body["email"], answer.body["name"]) == ("olga@example.com", "Olga")
    assert answer.body["practice"] == {"id": practice["id"], "name": "Clínica Aurora"}
    assert "patients:write" in answer.body["permissions"]


def test_the_authorizer_reads_what_was_written(
    pool: Pool, practice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = who_am_i(pool, monkeypatch)
    (found,) = answer.body["memberships"]
    assert found["practice"] == {"id": practice["id"], "name": "Clínica Aurora"}
    assert (found["role"], found["member_id"]) == ("owner", practice["owner_member_id"])


def test_a_person_in_two_practices_switches_by_the_header(
    pool: Pool, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Desk(pool, open_practice(pool, "owner-2"))
    assert other.invite(email="olga@example.com").status == 409
    assert other.invite(email="olga@other.example", role="billing").status == 201
    # An owner here is let in there, by another address of the same account.
    pool.knows("olga@other.example", "owner-1", asked="owner-1")
    body = {"token": last_token()}
    path = "/v1/invitations/accept-signed-in"
    accepted = call("invitations", "POST", path, body, context=desk.owner)
    assert accepted.status == 201
    here, there = desk.practice["id"], other.practice["id"]
    unchosen = who_am_i(pool, monkeypatch)
    assert {m["practice"]["id"] for m in unchosen.body["memberships"]} == {here, there}
    assert (unchosen.body["practice"], unchosen.body["permissions"]) == (None, [])
    for practice_id, role in ((here, "owner"), (there, "billing")):
        chosen = who_am_i(pool, monkeypatch, practice_id).body
        assert (chosen["practice"]["id"], chosen["role"]) == (practice_id, role)
        assert ("members:write" in chosen["permissions"]) == (role == "owner")
    foreign = "prac_01JC0NS0TADEM0000000000009"
    monkeypatch.setattr(tokens, "verify", lambda _: CLAIMS)
    context = authorization.context_of("Bearer x", Memory())
    headers = {"Consulta-Practice": foreign}
    assert call("me", "GET", "/v1/me", context=context, headers=headers).status == 404
    # What one may do follows the practice: the same person lists members in both, invites in one.
    for practice_id, status in ((here, 200), (there, 403)):
        headers = {"Consulta-Practice": practice_id}
        listed = call("members", "GET", "/v1/members", context=context, headers=headers)
        assert listed.status == 200
        asked = call("invitations", "GET", "/v1/invitations", context=context, headers=headers)
        assert asked.status == status
    assert call("members", "GET", "/v1/members", context=context).status == 422


# experts


@pytest.fixture
def expert_id(desk: Desk) -> str:
    profile = {"title": "Dr", "bio": "b", "languages": ["es"], "zone": "Europe/Madrid"}
    return str(desk.let_in(role="expert", expert=profile)["expert_id"])


def set_up(practice_id: str, expert_id: str, **flags: bool) -> None:
    key = Tenant(practice_id).item(EXPERT, expert_id)
    table.transact([table.update(key, set_=flags, add={"version": 1})])


READY = {"has_hours": True, "has_service": True, "payments_ready": True}


def test_publishing_waits_for_the_set_up(
    practice: dict[str, Any], owner: dict[str, str], expert_id: str
) -> None:
    path = f"/v1/experts/{expert_id}"
    patient_ = signed_in("patient", practice["id"])
    refused = call("experts", "POST", f"{path}/publish", {}, context=owner)
    assert refused.status == 409
    assert refused.body["open_steps"] == ["availability", "services", "payments"]
    assert call("experts", "GET", path, context=patient_).status == 404
    assert call("experts", "GET", "/v1/experts", context=patient_).body["items"] == []

    set_up(practice["id"], expert_id, **READY)
    setup = call("experts", "GET", f"{path}/setup", context=owner).body
    assert (setup["done"], setup["total"], setup["can_publish"]) == (4, 6, True)
    assert call("experts", "POST", f"{path}/publish", {}, context=owner).body["published"] is True
    assert call("experts", "GET", path, context=patient_).status == 200
    assert len(call("experts", "GET", "/v1/experts", context=patient_).body["items"]) == 1

    assert call("experts", "POST", f"{path}/unpublish", context=owner).body["published"] is False
    assert call("experts", "GET", path, context=patient_).status == 404


def test_publishing_loses_to_a_service_that_goes_meanwhile(
    practice: dict[str, Any],
    owner: dict[str, str],
    expert_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_up(practice["id"], expert_id, **READY)
    transact = table.transact

    def race(actions: Any) -> None:
        # As a writer that does not raise the version would.
        key = Tenant(practice["id"]).item(EXPERT, expert_id)
        transact([table.update(key, set_={"has_service": False})])
        transact(actions)

    monkeypatch.setattr(table, "transact", race)
    path = f"/v1/experts/{expert_id}"
    assert call("experts", "POST", f"{path}/publish", context=owner).status == 409
    assert call("experts", "GET", path, context=owner).body["published"] is False


def test_an_expert_changes_only_the_own_profile(practice: dict[str, Any], expert_id: str) -> None:
    path = f"/v1/experts/{expert_id}"
    own = signed_in("expert", practice["id"], expert_id)
    other = signed_in("expert", practice["id"], "exp_01JC0NS0TADEM0000000000009")
    assert call("experts", "PATCH", path, {"bio": "mine"}, context=own).body["bio"] == "mine"
    for method, suffix in (("PATCH", ""), ("GET", "/setup"), ("POST", "/publish")):
        answer = call("experts", method, path + suffix, {"bio": "x"}, context=other)
        assert answer.status == 403
    stranger = signed_in("owner")
    assert call("experts", "PATCH", path, {"bio": "x"}, context=stranger).status == 404


# patients


def test_a_patient_is_made_read_found_and_listed(owner: dict[str, str]) -> None:
    made = patient(owner)
    assert (made.status, made.headers["Location"]) == (201, f"/v1/patients/{made.body['id']}")
    assert (made.body["phone"], made.body["email"]) == ("+34600123456", "angela@example.com")
    path = f"/v1/patients/{made.body['id']}"
    assert call("patients", "GET", path, context=owner).body == made.body
    for search in (
        {"name": "ANGELA r"},
        {"phone": "+34600123456"},
        {"email": "ANGELA@example.com"},
    ):
        found = call("patients", "POST", "/v1/patients/search", search, context=owner)
        assert found.body["items"] == [made.body]
    for search in ({"name": "ruiz"}, {"phone": "+34600123457"}, {"email": "x@example.com"}):
        found = call("patients", "POST", "/v1/patients/search", search, context=owner)
        assert found.body["items"] == []


@pytest.mark.parametrize("search", [{}, {"name": "An", "phone": "600123456"}, {"name": "A"}])
def test_a_search_is_for_one_thing(owner: dict[str, str], search: dict[str, str]) -> None:
    assert call("patients", "POST", "/v1/patients/search", search, context=owner).status == 422


def test_the_creation_day_is_the_practices(
    owner: dict[str, str], practice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    evening = datetime(2026, 3, 1, 16, 30, tzinfo=UTC)
    monkeypatch.setattr("consulta.people.patients.now", lambda: evening)
    made = patient(owner)
    raw = table.get_raw(Tenant(practice["id"]).item(PATIENT, made.body["id"]))
    assert raw is not None
    assert raw["local_date"]["S"] == "2026-03-02"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"email": "other@example.com", "phone": "+34 600 12 34 56"}, "body.phone"),
        ({"phone": "+34600999999", "email": "ANGELA@EXAMPLE.com"}, "body.email"),
    ],
)
def test_a_duplicate_names_the_patient_who_is_there(
    owner: dict[str, str], changes: dict[str, str], path: str
) -> None:
    first = patient(owner).body["id"]
    second = patient(owner, **changes)
    assert (second.status, second.body["existing_id"]) == (409, first)
    assert second.body["errors"][0]["path"] == path
    assert "Ruiz" not in str(second.body)


def test_the_same_phone_in_another_practice_is_no_duplicate(pool: Pool, owner: Any) -> None:
    pool.makes("olga@example.com", "owner-2")
    other = call("practices", "POST", "/v1/practices", PRACTICE_BODY, context=OPERATOR).body
    assert patient(owner).status == 201
    assert patient(signed_in("owner", other["id"])).status == 201


def test_changing_the_phone_moves_its_lookup(owner: dict[str, str]) -> None:
    made = patient(owner).body
    path = f"/v1/patients/{made['id']}"
    changed = call(
        "patients",
        "PATCH",
        path,
        {"phone": "600999999", "email": None, "name": "Ana Ruiz"},
        context=owner,
        headers={"If-Match": '"1"'},
    )
    assert (
        changed.status,
        changed.body["phone"],
        changed.body["email"],
        changed.body["version"],
    ) == (
        200,
        "+34600999999",
        None,
        2,
    )
    assert patient(owner, name="Another").status == 201
    found = call("patients", "POST", "/v1/patients/search", {"name": "ana"}, context=owner)
    assert [p["id"] for p in found.body["items"]] == [made["id"]]
    taken = call("patients", "PATCH", path, {"phone": "600123456"}, context=owner)
    assert taken.status == 409
    stale = call(
        "patients", "PATCH", path, {"notes": ""}, context=owner, headers={"If-Match": '"1"'}
    )
    assert stale.status == 412


@pytest.mark.parametrize(
    "body", [{"name": None}, {"phone": None}, {"phone": "abcd"}, {"trust": "x"}]
)
def test_a_patient_keeps_a_name_and_a_phone(owner: dict[str, str], body: dict[str, Any]) -> None:
    path = f"/v1/patients/{patient(owner).body['id']}"
    answer = call("patients", "PATCH", path, body, context=owner)
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, f"body.{next(iter(body))}")


def test_a_lost_race_is_409_and_writes_nothing(
    owner: dict[str, str], practice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = patient(owner).body
    key = Tenant(practice["id"]).item(PATIENT, made["id"])
    transact = table.transact

    def race(actions: Any) -> None:
        transact([table.update(key, add={"version": 1})])
        transact(actions)

    monkeypatch.setattr(table, "transact", race)
    path = f"/v1/patients/{made['id']}"
    answer = call("patients", "PATCH", path, {"phone": "600999999"}, context=owner)
    assert answer.status == 409
    assert "existing_id" not in answer.body


def test_a_deleted_patient_is_gone_and_frees_phone_and_email(
    owner: dict[str, str], practice: dict[str, Any]
) -> None:
    made = patient(owner).body
    path = f"/v1/patients/{made['id']}"
    assert call("patients", "DELETE", path, context=owner).status == 204
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        assert call("patients", method, path, body, context=owner).status == 404
    assert call("patients", "GET", "/v1/patients", context=owner).body["items"] == []
    assert patient(owner).status == 201
    raw = table.get_raw(Tenant(practice["id"]).item(PATIENT, made["id"]))
    assert raw is not None
    assert raw["deleted_at"]["S"]
    # What figures rest on stays.
    assert raw["local_date"]["S"]
    assert raw["version"] == {"N": "2"}


def test_patients_are_listed_newest_first_by_pages(owner: dict[str, str]) -> None:
    ids = [
        patient(owner, phone=f"60000000{n}", email=f"p{n}@example.com").body["id"] for n in range(3)
    ]
    first = call("patients", "GET", "/v1/patients", context=owner, query="limit=2").body
    query = f"limit=2&cursor={first['next_cursor']}"
    second = call("patients", "GET", "/v1/patients", context=owner, query=query).body
    assert [p["id"] for p in first["items"] + second["items"]] == ids[::-1]
    foreign = call("patients", "GET", "/v1/patients", context=signed_in("owner"), query=query)
    assert (foreign.status, foreign.body["errors"][0]["path"]) == (400, "query.cursor")


@pytest.mark.parametrize(
    ("role", "status", "notes"),
    [
        ("admin", 200, "prefers mornings"),
        ("expert", 200, "prefers mornings"),
        ("viewer", 200, None),
        ("billing", 403, None),
        ("patient", 403, None),
        ("operator", 403, None),
    ],
)
def test_who_sees_patients_and_their_notes(
    owner: dict[str, str], practice: dict[str, Any], role: str, status: int, notes: str | None
) -> None:
    path = f"/v1/patients/{patient(owner).body['id']}"
    answer = call("patients", "GET", path, context=signed_in(role, practice["id"]))
    assert (answer.status, answer.body.get("notes")) == (status, notes)


def test_another_practices_patient_is_404(owner: dict[str, str]) -> None:
    path, stranger = f"/v1/patients/{patient(owner).body['id']}", signed_in("owner")
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        assert call("patients", method, path, body, context=stranger).status == 404


def test_a_very_long_name_can_be_searched(owner: dict[str, str]) -> None:
    # One of these letters folds to eighteen.
    name = "ﷺ" * 100
    assert patient(owner, name=name).status == 201
    found = call("patients", "POST", "/v1/patients/search", {"name": name}, context=owner)
    assert len(found.body["items"]) == 1


def test_no_key_holds_an_address_or_a_phone(tables: Any, owner: dict[str, str]) -> None:
    patient(owner)
    found = tables.scan(TableName="core")["Items"]
    assert found
    for item in found:
        assert "example.com" not in item["pk"]["S"]
        assert "600123456" not in item["pk"]["S"]


def test_items_are_stamped_with_who_and_which_request(
    owner: dict[str, str], practice: dict[str, Any]
) -> None:
    raw = table.get_raw(Tenant(practice["id"]).item(PATIENT, patient(owner).body["id"]))
    assert raw is not None
    by = Actor(raw["updated_by"]["S"], raw["request_id"]["S"])
    assert by == Actor("owner-1", "request-1")
