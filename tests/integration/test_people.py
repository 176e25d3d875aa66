"""People on moto's DynamoDB, through the functions; Cognito's answers come from the Stubber."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import Stubber

from consulta.core import aws, keys, table
from consulta.core.identity import Membership
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.people import authorization, cognito, memberships, tokens
from consulta.people.authorization import Memory
from consulta.people.records import EXPERT, PATIENT
from consulta.people.tokens import Claims
from tests.unit.people.calling import Answer, call, signed_in

OPERATOR = signed_in("operator", person="operator-1")
PASSWORD = "Temporary-pass-1"
PRACTICE_BODY = {
    "name": "Clínica Aurora",
    "zone": "Asia/Tokyo",
    "currency": "EUR",
    "country": "ES",
    "commission_percent": "12.5",
    "owner": {"email": "Olga@Example.com", "name": "Olga", "temporary_password": PASSWORD},
}
ANGELA = {
    "name": "Ángela Ruiz",
    "phone": "600 123 456",
    "email": "Angela@Example.com",
    "notes": "prefers mornings",
}


class Pool:
    """What Cognito is expected to be asked, and its answers."""

    def __init__(self, stubber: Stubber) -> None:
        self.stubber = stubber

    def makes(self, email: str, sub: str) -> None:
        self.stubber.add_response(
            "admin_create_user",
            {"User": {"Attributes": [{"Name": "sub", "Value": sub}]}},
            {
                "UserPoolId": "us-east-1_pool",
                "Username": email,
                "UserAttributes": [
                    {"Name": "email", "Value": email},
                    {"Name": "email_verified", "Value": "true"},
                ],
                "TemporaryPassword": PASSWORD,
                "MessageAction": "SUPPRESS",
            },
        )

    def knows(self, email: str, sub: str, status: str = "CONFIRMED") -> None:
        self.stubber.add_client_error("admin_create_user", "UsernameExistsException")
        self.stubber.add_response(
            "admin_get_user",
            {
                "Username": sub,
                "UserStatus": status,
                "UserAttributes": [
                    {"Name": "sub", "Value": sub},
                    {"Name": "email", "Value": email},
                ],
            },
            {"UserPoolId": "us-east-1_pool", "Username": email},
        )

    def sets_password(self, email: str) -> None:
        self.stubber.add_response(
            "admin_set_user_password",
            {},
            {
                "UserPoolId": "us-east-1_pool",
                "Username": email,
                "Password": PASSWORD,
                "Permanent": False,
            },
        )


@pytest.fixture
def pool(tables: Any, environment: pytest.MonkeyPatch) -> Iterator[Pool]:
    environment.setenv("USER_POOL_ID", "us-east-1_pool")
    environment.setenv("CLIENT_ID", "client-1")
    with Stubber(aws.client("cognito-idp", cognito.READ_TIMEOUT_S)) as stubber:
        yield Pool(stubber)
        stubber.assert_no_pending_responses()


@pytest.fixture
def practice(pool: Pool) -> dict[str, Any]:
    pool.makes("olga@example.com", "owner-1")
    answer = call("practices", "POST", "/v1/practices", PRACTICE_BODY, context=OPERATOR)
    assert answer.status == 201
    body: dict[str, Any] = answer.body
    return body


@pytest.fixture
def owner(practice: dict[str, Any]) -> dict[str, str]:
    return signed_in("owner", practice["id"], person="owner-1")


def member(**changes: Any) -> dict[str, Any]:
    made = {"email": "eva@example.com", "name": "Eva", "role": "viewer"}
    return made | {"temporary_password": PASSWORD} | changes


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


def test_patients_are_not_shown_the_commission(practice: dict[str, Any]) -> None:
    path = f"/v1/practices/{practice['id']}"
    answer = call("practices", "GET", path, context=signed_in("patient", practice["id"]))
    assert (answer.status, answer.body["commission_percent"]) == (200, None)


def test_another_practice_is_404_for_reading_and_writing(practice: dict[str, Any]) -> None:
    path, stranger = f"/v1/practices/{practice['id']}", signed_in("owner")
    assert call("practices", "GET", path, context=stranger).status == 404
    assert call("practices", "PATCH", path, {"name": "x"}, context=stranger).status == 404


# members


def test_letting_in_an_expert_makes_the_profile_and_the_membership(
    pool: Pool, practice: dict[str, Any], owner: dict[str, str]
) -> None:
    pool.makes("eva@example.com", "person-2")
    body = member(role="expert", expert={"title": "Dr", "zone": "Europe/Madrid"})
    made = call("members", "POST", "/v1/members", body, context=owner)
    assert made.status == 201
    assert memberships.of("person-2") == [
        Membership(practice["id"], Role.EXPERT, made.body["id"], made.body["expert_id"])
    ]
    expert = call("experts", "GET", f"/v1/experts/{made.body['expert_id']}", context=owner)
    assert (expert.body["name"], expert.body["published"]) == ("Eva", False)
    assert call("members", "GET", f"/v1/members/{made.body['id']}", context=owner).body == made.body
    listed = call("members", "GET", "/v1/members", context=owner).body["items"]
    assert [item["email"] for item in listed] == ["olga@example.com", "eva@example.com"]


@pytest.mark.parametrize("email", ["OLGA@example.com", "ｏlga@example.com", " olga@EXAMPLE.com"])
def test_one_address_is_one_member_however_it_is_written(
    pool: Pool, practice: dict[str, Any], owner: dict[str, str], email: str
) -> None:
    answer = call("members", "POST", "/v1/members", member(email=email), context=owner)
    assert (answer.status, answer.body["existing_id"]) == (409, practice["owner_member_id"])


def test_a_crash_after_the_account_converges_by_the_retry(
    pool: Pool, practice: dict[str, Any], owner: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    transact = table.transact

    def crash(*_: Any, **__: Any) -> None:
        raise ConnectionError("gone")

    pool.makes("eva@example.com", "person-2")
    monkeypatch.setattr(table, "transact", crash)
    assert call("members", "POST", "/v1/members", member(), context=owner).status == 500
    assert memberships.of("person-2") == []

    monkeypatch.setattr(table, "transact", transact)
    pool.knows("eva@example.com", "person-2", "FORCE_CHANGE_PASSWORD")
    pool.sets_password("eva@example.com")
    made = call("members", "POST", "/v1/members", member(), context=owner)
    assert made.status == 201
    assert memberships.of("person-2") == [Membership(practice["id"], Role.VIEWER, made.body["id"])]


def test_another_practices_member_keeps_their_password(pool: Pool, owner: dict[str, str]) -> None:
    elsewhere = Membership("prac_01JC0NS0TADEM0000000000009", Role.OWNER, "mem_1")
    table.transact([memberships.put("person-2", elsewhere)])
    pool.knows("eva@example.com", "person-2", "FORCE_CHANGE_PASSWORD")
    assert call("members", "POST", "/v1/members", member(), context=owner).status == 201
    assert len(memberships.of("person-2")) == 2


def test_the_same_key_lets_in_once(pool: Pool, owner: dict[str, str]) -> None:
    pool.makes("eva@example.com", "person-2")
    headers = {"Idempotency-Key": "key-1"}
    first, again, other = (
        call("members", "POST", "/v1/members", body, context=owner, headers=headers)
        for body in (member(), member(), member(role="billing"))
    )
    assert (first.status, again.status, first.body) == (201, 201, again.body)
    assert (other.status, other.body["errors"][0]["path"]) == (422, "header.Idempotency-Key")


def test_only_an_owner_lets_an_owner_in(practice: dict[str, Any], pool: Pool) -> None:
    admin = signed_in("admin", practice["id"])
    answer = call("members", "POST", "/v1/members", member(role="owner"), context=admin)
    assert answer.status == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "operator"},
        {"role": "expert"},
        {"role": "patient"},
        {"role": "viewer", "patient_id": "pat_01JC0NS0TADEM0000000000000"},
        {"role": "billing", "expert": {"zone": "Europe/Madrid"}},
        {"temporary_password": "weak"},
        {"email": "nobody"},
    ],
)
def test_a_member_that_makes_no_sense_is_422(
    owner: dict[str, str], changes: dict[str, Any]
) -> None:
    answer = call("members", "POST", "/v1/members", member(**changes), context=owner)
    assert answer.status == 422
    assert answer.body["errors"][0]["path"].startswith("body")


def test_a_patient_gets_one_login(pool: Pool, practice: dict[str, Any], owner: Any) -> None:
    patient_id = patient(owner).body["id"]
    body = member(email="angela@example.com", role="patient", patient_id=patient_id)
    pool.makes("angela@example.com", "person-3")
    made = call("members", "POST", "/v1/members", body, context=owner)
    assert (made.status, made.body["patient_id"], made.body["expert_id"]) == (201, patient_id, None)
    pool.makes("other@example.com", "person-4")
    second = call(
        "members", "POST", "/v1/members", body | {"email": "other@example.com"}, context=owner
    )
    assert (second.status, second.body["existing_id"]) == (409, made.body["id"])
    staff = call("members", "GET", "/v1/members", context=owner).body["items"]
    logins = call("members", "GET", "/v1/members", context=owner, query="kind=patient").body[
        "items"
    ]
    assert ([m["role"] for m in staff], [m["role"] for m in logins]) == (["owner"], ["patient"])


def test_a_login_for_a_patient_that_is_not_there_is_422(pool: Pool, owner: dict[str, str]) -> None:
    pool.makes("eva@example.com", "person-2")
    body = member(role="patient", patient_id="pat_01JC0NS0TADEM0000000000000")
    answer = call("members", "POST", "/v1/members", body, context=owner)
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "body.patient_id")
    assert memberships.of("person-2") == []


# who is signed in


def test_me_of_an_owner(practice: dict[str, Any], owner: dict[str, str]) -> None:
    answer = call(
        "auth",
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
    practice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "verify", lambda _: Claims("owner-1", False, 2**40))
    context = authorization.context_of("Bearer x", Memory())
    answer = call("auth", "GET", "/v1/me", context=context)
    assert answer.body["memberships"] == [
        {
            "practice": {"id": practice["id"], "name": "Clínica Aurora"},
            "role": "owner",
            "member_id": practice["owner_member_id"],
            "expert_id": None,
            "patient_id": None,
        }
    ]


# experts


@pytest.fixture
def expert_id(pool: Pool, owner: dict[str, str]) -> str:
    pool.makes("eva@example.com", "person-2")
    profile = {"title": "Dr", "bio": "b", "languages": ["es"], "zone": "Europe/Madrid"}
    body = member(role="expert", expert=profile)
    return str(call("members", "POST", "/v1/members", body, context=owner).body["expert_id"])


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
