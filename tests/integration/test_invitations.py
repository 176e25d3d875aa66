"""Invitations: who may invite whom, what the mail says, and what a token is good for."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from consulta.core import aws, table
from consulta.core.identity import Membership
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.people import memberships
from tests.faults import Faults
from tests.integration.letting_in import CHOSEN, EVA, Desk, last_token, mails, open_practice
from tests.integration.letting_in import scripted as script
from tests.unit.people.calling import MEMBER, Answer, call, signed_in

UNKNOWN = "inv_01JC0NS0TADEM0000000000009"


@pytest.fixture
def desk(tables: Any, environment: pytest.MonkeyPatch) -> Iterator[Desk]:
    with script(environment) as pool:
        yield Desk(pool, open_practice(pool))


def patient(desk: Desk, **changes: Any) -> str:
    body = {"name": "Ángela Ruiz", "phone": "600123456", "email": "angela@example.com"} | changes
    answer = call("patients", "POST", "/v1/patients", body, context=desk.owner)
    assert answer.status == 201
    return str(answer.body["id"])


def one(desk: Desk, invitation_id: str) -> dict[str, Any]:
    path = f"/v1/invitations/{invitation_id}"
    return dict(call("invitations", "GET", path, context=desk.owner).body)


def act(desk: Desk, method: str, invitation_id: str, suffix: str = "", **request: Any) -> Answer:
    path = f"/v1/invitations/{invitation_id}{suffix}"
    request.setdefault("context", desk.owner)
    return call("invitations", method, path, **request)


def accept_signed_in(token: str, context: dict[str, str] | None, **body: Any) -> Answer:
    path = "/v1/invitations/accept-signed-in"
    return call("invitations", "POST", path, {"token": token, **body}, context=context)


# inviting


def test_an_invitation_is_mailed_and_lets_its_owner_in_once(desk: Desk) -> None:
    invited = desk.invite()
    assert invited.status == 201
    assert invited.headers["Location"] == f"/v1/invitations/{invited.body['id']}"
    assert (invited.body["state"], invited.body["member_id"]) == ("open", None)
    assert invited.body["mailed_at"]
    (mail,) = mails()
    assert mail.destinations["ToAddresses"] == ["eva@example.com"]
    assert "Clínica Aurora" in mail.subject
    assert "Eva" not in mail.body + mail.subject
    assert memberships.of("person-2") == []

    desk.pool.admits("eva@example.com", "person-2")
    accepted = desk.accept(last_token())
    assert accepted.status == 201
    member_id = accepted.body["member_id"]
    assert accepted.headers["Location"] == f"/v1/members/{member_id}"
    assert accepted.body["practice"] == {"id": desk.practice["id"], "name": "Clínica Aurora"}
    assert memberships.of("person-2") == [
        Membership(desk.practice["id"], Role.VIEWER, member_id),
    ]
    member = desk.member(member_id)
    assert (member["email"], member["name"], member["role"]) == (
        "eva@example.com",
        "Eva",
        "viewer",
    )
    done = one(desk, invited.body["id"])
    assert (done["state"], done["member_id"]) == ("accepted", member_id)
    assert desk.accept(last_token()).status == 404
    assert act(desk, "DELETE", invited.body["id"]).status == 409
    assert act(desk, "POST", invited.body["id"], "/resend").status == 409


def test_an_invited_expert_has_a_profile_and_may_choose_a_name(desk: Desk) -> None:
    expert = {"title": "Dr", "zone": "Europe/Madrid"}
    assert desk.invite(role="expert", expert=expert).status == 201
    desk.pool.admits("eva@example.com", "person-2")
    accepted = desk.accept(last_token(), name="Eva María")
    expert_id = accepted.body["expert_id"]
    assert memberships.of("person-2")[0].subject == expert_id
    shown = call("experts", "GET", f"/v1/experts/{expert_id}", context=desk.owner).body
    assert (shown["name"], shown["title"], shown["published"]) == ("Eva María", "Dr", False)


@pytest.mark.parametrize("email", ["OLGA@example.com", "ｏlga@example.com", " olga@EXAMPLE.com"])
def test_a_member_is_not_invited_however_the_address_is_written(desk: Desk, email: str) -> None:
    answer = desk.invite(email=email)
    assert (answer.status, answer.body["existing_id"]) == (409, desk.practice["owner_member_id"])


@pytest.mark.parametrize("email", ["EVA@example.com", "ｅva@example.com"])
def test_one_open_invitation_per_address(desk: Desk, email: str) -> None:
    first = desk.invite().body["id"]
    again = desk.invite(email=email, role="billing")
    assert (again.status, again.body["existing_id"]) == (409, first)
    assert act(desk, "DELETE", first).status == 204
    assert desk.invite(email=email).status == 201


def test_the_same_key_invites_and_mails_once(desk: Desk) -> None:
    headers = {"Idempotency-Key": "key-1"}
    first, again, other = (
        call("invitations", "POST", "/v1/invitations", body, context=desk.owner, headers=headers)
        for body in (EVA, EVA, EVA | {"role": "billing"})
    )
    assert (first.status, again.status, first.body) == (201, 201, again.body)
    assert (other.status, other.body["errors"][0]["path"]) == (422, "header.Idempotency-Key")
    assert len(mails()) == 1
    # The key was used for another request.
    assert act(desk, "POST", first.body["id"], "/resend", headers=headers).status == 422
    headers = {"Idempotency-Key": "key-2"}
    for _ in range(2):
        assert act(desk, "POST", first.body["id"], "/resend", headers=headers).status == 200
    assert len(mails()) == 2


@pytest.mark.parametrize(
    ("role", "granted", "wanted", "status"),
    [
        (Role.ADMIN, None, "owner", 403),
        (Role.ADMIN, None, "admin", 201),
        (Role.OWNER, None, "owner", 201),
        (Role.EXPERT, None, "viewer", 403),
        (Role.VIEWER, None, "viewer", 403),
        (Role.PATIENT, None, "viewer", 403),
        (Role.CUSTOM, {"members:write"}, "viewer", 403),
        (Role.CUSTOM, {"members:write"}, "admin", 403),
    ],
)
def test_nobody_lets_in_more_than_they_are(
    desk: Desk, role: Role, granted: set[str] | None, wanted: str, status: int
) -> None:
    assert desk.invite(desk.as_(role, MEMBER, granted=granted), role=wanted).status == status


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "operator"},
        {"role": "custom"},
        {"role": "expert"},
        {"role": "patient"},
        {"role": None},
        {"role": "viewer", "patient_id": "pat_01JC0NS0TADEM0000000000000"},
        {"role": "billing", "expert": {"zone": "Europe/Madrid"}},
        {"email": "nobody"},
        {"email": "eva@example.com\r\nBcc: all@example.com"},
        {"name": "Eva\r\nBcc: all@example.com"},
        {"temporary_password": CHOSEN},
        {"role_id": "role_01JC0NS0TADEM0000000000000"},
    ],
)
def test_an_invitation_that_makes_no_sense_is_422(desk: Desk, changes: dict[str, Any]) -> None:
    answer = desk.invite(**changes)
    assert answer.status == 422
    assert answer.body["errors"][0]["path"].startswith("body")
    assert mails() == []


def test_a_patient_gets_one_login(desk: Desk) -> None:
    patient_id = patient(desk)
    member = desk.let_in(
        "person-3", email="angela@example.com", role="patient", patient_id=patient_id
    )
    assert (member["patient_id"], member["expert_id"]) == (patient_id, None)
    # Nothing of the patient is in the mail but the address that it goes to.
    assert "Ruiz" not in mails()[-1].body + mails()[-1].subject
    desk.invite(email="other@example.com", role="patient", patient_id=patient_id)
    desk.pool.admits("other@example.com", "person-4")
    assert desk.accept(last_token()).status == 409
    assert memberships.of("person-4") == []
    listed = [
        call("members", "GET", "/v1/members", context=desk.owner, query=f"kind={kind}").body
        for kind in ("staff", "patient")
    ]
    assert [[m["role"] for m in page["items"]] for page in listed] == [["owner"], ["patient"]]


def test_a_login_for_a_patient_that_is_not_there_is_422(desk: Desk) -> None:
    answer = desk.invite(role="patient", patient_id="pat_01JC0NS0TADEM0000000000000")
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "body.patient_id")


def test_a_patient_who_went_meanwhile_is_409(desk: Desk) -> None:
    patient_id = patient(desk)
    desk.invite(email="angela@example.com", role="patient", patient_id=patient_id)
    path = f"/v1/patients/{patient_id}"
    assert call("patients", "DELETE", path, context=desk.owner).status == 204
    desk.pool.admits("angela@example.com", "person-3")
    assert desk.accept(last_token()).status == 409
    assert memberships.of("person-3") == []


def test_invitations_are_the_practices_own_and_listed_by_pages(desk: Desk) -> None:
    made = [desk.invite(email=f"p{n}@example.com").body["id"] for n in range(3)]
    stranger = signed_in("owner")
    assert act(desk, "GET", made[0], context=stranger).status == 404
    assert act(desk, "DELETE", made[0], context=stranger).status == 404
    assert act(desk, "POST", made[0], "/resend", context=stranger).status == 404
    assert act(desk, "GET", UNKNOWN).status == 404
    path = "/v1/invitations"
    first = call("invitations", "GET", path, context=desk.owner, query="limit=2").body
    query = f"limit=2&cursor={first['next_cursor']}"
    second = call("invitations", "GET", path, context=desk.owner, query=query).body
    assert [i["id"] for i in first["items"] + second["items"]] == made[::-1]


def test_a_refused_mail_is_shown_and_can_be_sent_again(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    aws.client("ses").delete_identity(Identity="no-reply@consulta.example")
    invited = desk.invite()
    assert (invited.status, invited.body["mailed_at"], mails()) == (201, None, [])
    aws.client("ses").verify_email_identity(EmailAddress="no-reply@consulta.example")
    assert act(desk, "POST", invited.body["id"], "/resend").body["mailed_at"]
    assert len(mails()) == 1


# tokens


def test_only_a_hash_of_the_token_is_kept(tables: Any, desk: Desk) -> None:
    desk.invite()
    token = last_token()
    assert len(token) >= 43
    stored = str(tables.scan(TableName="core")["Items"])
    assert token not in stored
    assert "token_digest" in stored


def test_sending_again_makes_a_new_token_and_ends_the_old(desk: Desk) -> None:
    invited = desk.invite().body
    old = last_token()
    resent = act(desk, "POST", invited["id"], "/resend")
    assert (resent.status, resent.body["valid_until"] > invited["valid_until"]) == (200, True)
    assert last_token() != old
    gone = desk.accept(old)
    desk.pool.admits("eva@example.com", "person-2")
    assert (gone.status, desk.accept(last_token()).status) == (404, 201)


def test_what_does_not_work_is_the_same_whatever_the_reason(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = desk.invite().body["id"]
    tokens = {"used": last_token()}
    desk.pool.admits("eva@example.com", "person-2")
    assert desk.accept(tokens["used"]).status == 201
    revoked = desk.invite(email="r@example.com").body["id"]
    tokens["revoked"] = last_token()
    assert act(desk, "DELETE", revoked).status == 204
    expired = desk.invite(email="e@example.com").body["id"]
    tokens |= {"expired": last_token(), "wrong": "A" * 43, "odd": "x#y/../ü"}
    later = now() + timedelta(days=7, seconds=1)
    monkeypatch.setattr("consulta.people.invitations.now", lambda: later)
    answers = {why: desk.accept(token) for why, token in tokens.items()}
    assert {answer.status for answer in answers.values()} == {404}
    assert len({str(answer.body) for answer in answers.values()}) == 1
    assert "example.com" not in str(answers["expired"].body)
    states = [one(desk, i)["state"] for i in (used, revoked, expired)]
    assert states == ["accepted", "revoked", "expired"]
    # One whose time is over can be sent again.
    assert act(desk, "POST", expired, "/resend").body["state"] == "open"


def test_an_invitation_that_runs_out_while_it_is_accepted_lets_nobody_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.invite()
    later = now() + timedelta(days=8)

    def slowly(*_: Any) -> str:
        monkeypatch.setattr("consulta.people.invitations.now", lambda: later)
        return "person-2"

    monkeypatch.setattr("consulta.people.accounts.admit", slowly)
    assert desk.accept(last_token()).status == 404
    assert memberships.of("person-2") == []


def test_two_acceptances_at_once_let_in_one_member(desk: Desk) -> None:
    desk.invite()
    token = last_token()
    answers: list[Answer] = []
    desk.pool.admits("eva@example.com", "person-2")
    # The second reads the invitation while the first has made the account, but not come in yet.
    desk.pool.knows("eva@example.com", "person-2", "FORCE_CHANGE_PASSWORD")
    desk.pool.sets_password("eva@example.com", CHOSEN, permanent=True)
    with Faults(aws.client("dynamodb")) as faults:
        faults.next(
            "TransactWriteItems", faults.meanwhile(lambda: answers.append(desk.accept(token)))
        )
        answers.append(desk.accept(token))
    assert [answer.status for answer in answers] == [201, 404]
    listed = call("members", "GET", "/v1/members", context=desk.owner).body["items"]
    assert [m["email"] for m in listed] == ["olga@example.com", "eva@example.com"]
    assert len(memberships.of("person-2")) == 1


def test_revoking_wins_over_an_acceptance_on_its_way(desk: Desk) -> None:
    invited = desk.invite().body["id"]
    desk.pool.admits("eva@example.com", "person-2")
    with Faults(aws.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(lambda: act(desk, "DELETE", invited)))
        assert desk.accept(last_token()).status == 404
    assert memberships.of("person-2") == []


# accounts


def test_an_address_with_an_account_signs_in_first(desk: Desk) -> None:
    desk.invite()
    token = last_token()
    desk.pool.knows("eva@example.com", "person-2")
    assert desk.accept(token).status == 403
    assert accept_signed_in(token, None).status == 401
    # Somebody else's account, and then their own.
    desk.pool.knows("mallory@example.com", "person-7", asked="person-7")
    other = signed_in("owner", person="person-7")
    assert accept_signed_in(token, other).status == 403
    desk.pool.knows("Eva@Example.com", "person-2", asked="person-2")
    mine = signed_in("viewer", person="person-2")
    accepted = accept_signed_in(token, mine, name="E.")
    assert accepted.status == 201
    assert [m.practice for m in memberships.of("person-2")] == [desk.practice["id"]]
    raw = table.get_raw(desk.tenant.item("MEMBER", accepted.body["member_id"]))
    assert raw
    assert (raw["updated_by"]["S"], raw["name"]["S"]) == ("person-2", "E.")


def test_an_api_key_accepts_nothing(desk: Desk) -> None:
    desk.invite()
    by_key = signed_in("viewer", person="person-2") | {"key": "key_1"}
    assert accept_signed_in(last_token(), by_key).status == 403


@pytest.mark.parametrize("status", ["FORCE_CHANGE_PASSWORD", "UNCONFIRMED"])
def test_an_account_that_nobody_signed_in_with_counts_as_new(desk: Desk, status: str) -> None:
    desk.invite()
    desk.pool.knows("eva@example.com", "person-2", status)
    if status == "UNCONFIRMED":
        desk.pool.stubber.add_response("admin_update_user_attributes", {})
    desk.pool.sets_password("eva@example.com", CHOSEN, permanent=True)
    assert desk.accept(last_token()).status == 201


def test_an_account_that_is_a_member_elsewhere_keeps_its_password(desk: Desk) -> None:
    elsewhere = Membership("prac_01JC0NS0TADEM0000000000009", Role.OWNER, "mem_1")
    table.transact([memberships.put("person-2", elsewhere)])
    desk.invite()
    desk.pool.knows("eva@example.com", "person-2", "FORCE_CHANGE_PASSWORD")
    assert desk.accept(last_token()).status == 403


def test_a_new_account_needs_a_good_password(desk: Desk) -> None:
    desk.invite()
    weak = desk.accept(last_token(), password="weak")
    assert (weak.status, weak.body["errors"][0]["path"]) == (422, "body.password")
    desk.pool.knows_not()
    missing = desk.accept(last_token(), password=None)
    assert (missing.status, missing.body["errors"][0]["path"]) == (422, "body.password")
    assert CHOSEN not in str(missing.body)
    desk.pool.knows_not()
    desk.pool.stubber.add_client_error("admin_create_user", "InvalidPasswordException")
    refused = desk.accept(last_token())
    assert (refused.status, refused.body["errors"][0]["path"]) == (422, "body.password")
    desk.pool.admits("eva@example.com", "person-2")
    assert desk.accept(last_token()).status == 201


def test_a_crash_after_the_account_converges_signed_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.invite()
    token, transact = last_token(), table.transact

    def crash(*_: Any, **__: Any) -> None:
        raise ConnectionError("gone")

    desk.pool.admits("eva@example.com", "person-2")
    monkeypatch.setattr(table, "transact", crash)
    assert desk.accept(token).status == 500
    monkeypatch.setattr(table, "transact", transact)
    desk.pool.knows("eva@example.com", "person-2")
    assert desk.accept(token).status == 403
    desk.pool.knows("eva@example.com", "person-2", asked="person-2")
    nobody = {"person": "person-2", "operator": "", "memberships": "[]"}
    assert accept_signed_in(token, nobody).status == 201
    assert len(memberships.of("person-2")) == 1


def test_no_key_and_no_error_holds_an_address(tables: Any, desk: Desk) -> None:
    desk.let_in()
    desk.invite(email="other@example.com")
    for item in tables.scan(TableName="core")["Items"]:
        assert "example.com" not in item["pk"]["S"]
