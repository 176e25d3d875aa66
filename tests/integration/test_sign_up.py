"""Accounts of one's own, second factors and joining a practice; Cognito is the Stubber's."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import Stubber

from consulta.core import aws, ids, keys, table
from consulta.core.identity import Membership, authorizer_context
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.people import cognito, memberships, session_rows
from consulta.people.policy import default_policy
from consulta.people.records import PRACTICE, PracticeItem
from tests.faults import Faults
from tests.unit.people.calling import Answer, call, signed_in

PERSON, SESSION = "person-1", "session-1"
EMAIL, PASSWORD = "ana@example.com", "Secret-password-1"
POOL = {"UserPoolId": "us-east-1_pool"}
CLIENT = {"ClientId": "client-1"}
BEARER = {"authorization": "Bearer access-token"}
ANA = {"name": "Ana", "phone": "600 123 456"}
ACCEPTED = (202, {"status": "accepted"})


@pytest.fixture
def pool(tables: Any, environment: pytest.MonkeyPatch) -> Iterator[Stubber]:
    environment.setenv("USER_POOL_ID", POOL["UserPoolId"])
    environment.setenv("CLIENT_ID", CLIENT["ClientId"])
    with Stubber(aws.client("cognito-idp", cognito.READ_TIMEOUT_S)) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def knows(
    pool: Stubber,
    asked: str = PERSON,
    *,
    email: str = EMAIL,
    verified: str = "true",
    status: str = "CONFIRMED",
    factors: tuple[str, ...] = (),
) -> None:
    pool.add_response(
        "admin_get_user",
        {
            "Username": PERSON,
            "UserStatus": status,
            "UserMFASettingList": list(factors),
            "UserAttributes": [
                {"Name": "sub", "Value": PERSON},
                {"Name": "email", "Value": email},
                {"Name": "email_verified", "Value": verified},
            ],
        },
        POOL | {"Username": asked},
    )


def post(path: str, **body: str) -> Answer:
    return call("sign_up", "POST", f"/v1/auth/{path}", body)


def outcome(answer: Answer) -> tuple[int, Any]:
    return answer.status, answer.body


# signing up


def test_signing_up_makes_an_account(pool: Stubber) -> None:
    pool.add_response(
        "sign_up",
        {"UserConfirmed": False, "UserSub": PERSON},
        CLIENT
        | {
            "Username": EMAIL,
            "Password": PASSWORD,
            "UserAttributes": [{"Name": "email", "Value": EMAIL}],
        },
    )
    assert outcome(post("sign-up", email="Ana@Example.com", password=PASSWORD)) == ACCEPTED


@pytest.mark.parametrize("code", ["UsernameExistsException", "CodeDeliveryFailureException"])
def test_signing_up_again_looks_the_same_and_changes_nothing(pool: Stubber, code: str) -> None:
    # Any further call would fail: the Stubber has no answer for it.
    pool.add_client_error("sign_up", code, f"{EMAIL} is somebody")
    assert outcome(post("sign-up", email=EMAIL, password=PASSWORD)) == ACCEPTED


@pytest.mark.parametrize(
    "password", ["Short-1", "no-upper-case-1", " Begins-blank-12", "Ends-blank-12 "]
)
def test_a_weak_password_is_refused_unasked(pool: Stubber, password: str) -> None:
    for path, field in (("sign-up", "password"), ("reset-password", "new_password")):
        answer = post(path, email=EMAIL, code="123456", **{field: password})
        assert answer.status == 422
        assert f"body.{field}" in [error["path"] for error in answer.body["errors"]]
        assert password not in str(answer.body)


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("sign-up/resend", "resend_confirmation_code"),
        ("forgot-password", "forgot_password"),
    ],
)
@pytest.mark.parametrize(
    "code",
    [
        "",
        "UserNotFoundException",
        "NotAuthorizedException",
        "InvalidParameterException",
        "LimitExceededException",
    ],
)
def test_asking_for_a_mail_tells_nothing(
    pool: Stubber, path: str, operation: str, code: str
) -> None:
    if code:
        pool.add_client_error(operation, code, f"{EMAIL} is somebody")
    else:
        pool.add_response(operation, {}, CLIENT | {"Username": EMAIL})
    assert outcome(post(path, email=EMAIL)) == ACCEPTED


def test_an_address_is_confirmed_by_its_code(pool: Stubber) -> None:
    expected = CLIENT | {"Username": EMAIL, "ConfirmationCode": "123456"}
    pool.add_response("confirm_sign_up", {}, expected)
    assert post("sign-up/confirm", email=EMAIL, code="123456").status == 204


def test_whose_mail_it_is_chooses_the_password(pool: Stubber) -> None:
    """Not a stranger who signed up with the address before."""
    pool.add_response(
        "confirm_sign_up", {}, CLIENT | {"Username": EMAIL, "ConfirmationCode": "123456"}
    )
    chosen = POOL | {"Username": EMAIL, "Password": PASSWORD, "Permanent": True}
    pool.add_response("admin_set_user_password", {}, chosen)
    body = {"email": EMAIL, "code": "123456", "password": PASSWORD}
    assert post("sign-up/confirm", **body).status == 204
    # A wrong code changes no password.
    pool.add_client_error("confirm_sign_up", "CodeMismatchException")
    assert post("sign-up/confirm", **body).status == 422


@pytest.mark.parametrize(
    ("path", "operation", "more"),
    [
        ("sign-up/confirm", "confirm_sign_up", {}),
        ("reset-password", "confirm_forgot_password", {"new_password": PASSWORD}),
    ],
)
def test_a_code_that_is_not_good_has_one_answer(
    pool: Stubber, path: str, operation: str, more: dict[str, str]
) -> None:
    answers = []
    for code in (
        "CodeMismatchException",
        "ExpiredCodeException",
        "NotAuthorizedException",
        "UserNotFoundException",
        "TooManyFailedAttemptsException",
        "LimitExceededException",
    ):
        pool.add_client_error(operation, code, f"{EMAIL} is somebody")
        answers.append(post(path, email=EMAIL, code="123456", **more))
    assert {answer.status for answer in answers} == {422}
    assert {str(answer.body["errors"]) for answer in answers} == {
        str(
            [
                {
                    "path": "body.code",
                    "message": "The code is wrong or has expired: ask for a new one",
                    "code": "code",
                }
            ]
        )
    }


def test_an_unknown_refusal_is_our_failure(pool: Stubber) -> None:
    pool.add_client_error("sign_up", "ResourceNotFoundException", "client-1 is not there")
    answer = post("sign-up", email=EMAIL, password=PASSWORD)
    assert answer.status == 500
    assert "client-1" not in str(answer.body)


def test_a_new_password_ends_every_session(pool: Stubber) -> None:
    for session in (SESSION, "session-2"):
        session_rows.open_row(PERSON, session, "client-1", "t", mfa=False, origin="")
    pool.add_response(
        "confirm_forgot_password",
        {},
        CLIENT | {"Username": EMAIL, "ConfirmationCode": "123456", "Password": PASSWORD},
    )
    knows(pool, EMAIL)
    pool.add_response("admin_user_global_sign_out", {}, POOL | {"Username": PERSON})
    assert post("reset-password", email=EMAIL, code="123456", new_password=PASSWORD).status == 204
    for session in (SESSION, "session-2"):
        row = session_rows.read(PERSON, session)
        assert row
        assert row.ended_at


# the second factor


@pytest.fixture
def me() -> dict[str, str]:
    return authorizer_context(PERSON, [], operator=False, session=SESSION)


@pytest.fixture
def session(pool: Stubber) -> None:
    session_rows.open_row(PERSON, SESSION, "client-1", "t", mfa=False, origin="")


def has_factor(session: str = SESSION) -> bool:
    row = session_rows.read(PERSON, session)
    assert row
    return row.mfa


def confirm_mfa(me: dict[str, str]) -> Answer:
    body = {"code": "123456"}
    return call("me", "POST", "/v1/me/mfa/confirm", body, context=me, headers=BEARER)


def remove_mfa(me: dict[str, str], **headers: str) -> Answer:
    code = {"Consulta-MFA-Code": "123456"}
    return call("me", "DELETE", "/v1/me/mfa", context=me, headers=BEARER | code | headers)


def verifies(pool: Stubber, status: str = "SUCCESS") -> None:
    pool.add_response(
        "verify_software_token",
        {"Status": status},
        {"AccessToken": "access-token", "UserCode": "123456"},
    )


def prefers(pool: Stubber, *, on: bool) -> None:
    pool.add_response(
        "set_user_mfa_preference",
        {},
        {
            "AccessToken": "access-token",
            "SoftwareTokenMfaSettings": {"Enabled": on, "PreferredMfa": on},
        },
    )


def test_a_secret_is_given_for_the_app(pool: Stubber, me: dict[str, str]) -> None:
    knows(pool)
    pool.add_response(
        "associate_software_token", {"SecretCode": "S" * 32}, {"AccessToken": "access-token"}
    )
    answer = call("me", "POST", "/v1/me/mfa", context=me, headers=BEARER)
    assert outcome(answer) == (
        201,
        {
            "secret": "S" * 32,
            "otpauth_uri": f"otpauth://totp/Consulta%3Aana%40example.com?secret={'S' * 32}"
            "&issuer=Consulta",
        },
    )


def test_a_factor_that_is_on_is_not_replaced(pool: Stubber, me: dict[str, str]) -> None:
    knows(pool, factors=("SOFTWARE_TOKEN_MFA",))
    assert call("me", "POST", "/v1/me/mfa", context=me, headers=BEARER).status == 409


def test_a_first_code_turns_it_on_for_this_session_too(
    pool: Stubber, me: dict[str, str], session: None
) -> None:
    session_rows.open_row(PERSON, "session-2", "client-1", "t", mfa=False, origin="")
    verifies(pool)
    prefers(pool, on=True)
    assert confirm_mfa(me).status == 204
    assert (has_factor(), has_factor("session-2")) == (True, False)


@pytest.mark.parametrize(
    "code",
    ["EnableSoftwareTokenMFAException", "CodeMismatchException", "InvalidParameterException", ""],
)
def test_a_wrong_code_is_422(pool: Stubber, me: dict[str, str], session: None, code: str) -> None:
    def refuses() -> None:
        if code:
            pool.add_client_error("verify_software_token", code)
        else:
            verifies(pool, "ERROR")

    refuses()
    confirmed = confirm_mfa(me)
    knows(pool, factors=("SOFTWARE_TOKEN_MFA",))
    refuses()
    removed = remove_mfa(me)
    for answer, path in ((confirmed, "body.code"), (removed, "header.Consulta-MFA-Code")):
        assert (answer.status, answer.body["errors"][0]["path"]) == (422, path)
    assert not has_factor()


def test_a_token_that_is_over_is_401(pool: Stubber, me: dict[str, str]) -> None:
    pool.add_client_error("verify_software_token", "NotAuthorizedException")
    assert confirm_mfa(me).status == 401


def test_a_current_code_turns_it_off_for_all_sessions(pool: Stubber, me: dict[str, str]) -> None:
    for session in (SESSION, "session-2"):
        session_rows.open_row(PERSON, session, "client-1", "t", mfa=True, origin="")
    knows(pool, factors=("SOFTWARE_TOKEN_MFA",))
    verifies(pool)
    prefers(pool, on=False)
    assert remove_mfa(me).status == 204
    assert (has_factor(), has_factor("session-2")) == (False, False)


def test_what_is_off_is_not_turned_off(pool: Stubber, me: dict[str, str]) -> None:
    knows(pool)
    assert remove_mfa(me).status == 409


@pytest.mark.parametrize("headers", [{"Consulta-MFA-Code": ""}, {"Consulta-MFA-Code": "12345a"}])
def test_turning_it_off_needs_a_code(
    pool: Stubber, me: dict[str, str], headers: dict[str, str]
) -> None:
    assert remove_mfa(me, **headers).status == 422


@pytest.mark.parametrize("factors", [(), ("SOFTWARE_TOKEN_MFA",)])
def test_me_tells_whether_it_is_on(
    pool: Stubber, me: dict[str, str], factors: tuple[str, ...]
) -> None:
    knows(pool, factors=factors)
    answer = call("me", "GET", "/v1/me", context=me)
    assert (answer.status, answer.body["mfa_enabled"]) == (200, bool(factors))
    assert answer.body["email"] == EMAIL


# joining a practice


@pytest.fixture
def practice(tables: Any) -> PracticeItem:
    return make_practice({"self_sign_up": True})


def make_practice(security: dict[str, bool] | None) -> PracticeItem:
    practice_id = ids.new_id("prac")
    item = PracticeItem.create(
        Tenant(practice_id).item(PRACTICE, practice_id),
        PRACTICE,
        Actor("test", "test"),
        name="Aurora",
        zone="Europe/Madrid",
        currency="EUR",
        country="ES",
        commission_bps=1000,
        policy=default_policy("EUR"),
        security=security,
        l1pk=keys.all_practices(),
        l1sk=practice_id,
    )
    table.transact([table.put_new(item)])
    return item


def join(practice: PracticeItem, me: dict[str, str], key: str = "", **changes: str) -> Answer:
    body = {"practice_id": practice.item_id} | ANA | changes
    headers = {"Idempotency-Key": key} if key else {}
    return call("me", "POST", "/v1/me/memberships", body, context=me, headers=headers)


def patient(practice: PracticeItem, **body: str) -> dict[str, Any]:
    owner = signed_in("owner", practice.item_id, person="owner-1")
    answer = call("patients", "POST", "/v1/patients", {"name": "Ana R"} | body, context=owner)
    assert answer.status == 201
    made: dict[str, Any] = answer.body
    return made


def patients_of(practice: PracticeItem) -> list[dict[str, Any]]:
    owner = signed_in("owner", practice.item_id, person="owner-1")
    listed: list[dict[str, Any]] = call("patients", "GET", "/v1/patients", context=owner).body[
        "items"
    ]
    return listed


def test_somebody_new_becomes_a_patient(
    pool: Stubber, practice: PracticeItem, me: dict[str, str]
) -> None:
    knows(pool, email="Ana@Example.com")
    answer = join(practice, me)
    assert answer.status == 201
    assert answer.body["practice"] == {"id": practice.item_id, "name": "Aurora"}
    assert (answer.body["role"], answer.body["expert_id"]) == ("patient", None)
    [made] = patients_of(practice)
    assert made["id"] == answer.body["patient_id"]
    assert (made["name"], made["phone"], made["email"]) == ("Ana", "+34600123456", EMAIL)
    assert memberships.of(PERSON) == [
        Membership(practice.item_id, Role.PATIENT, answer.body["member_id"], made["id"])
    ]
    owner = signed_in("owner", practice.item_id, person="owner-1")
    logins = call("members", "GET", "/v1/members", context=owner, query="kind=patient").body
    assert [item["patient_id"] for item in logins["items"]] == [made["id"]]


def test_who_is_known_by_the_confirmed_address_joins_as_that_patient(
    pool: Stubber, practice: PracticeItem, me: dict[str, str]
) -> None:
    existing = patient(practice, phone="+34600999999", email=EMAIL)
    knows(pool)
    answer = join(practice, me)
    assert (answer.status, answer.body["patient_id"]) == (201, existing["id"])
    # What the practice has written of them stays.
    assert patients_of(practice) == [existing]


@pytest.mark.parametrize("email", [None, "other@example.com"])
def test_a_phone_proves_nothing(
    pool: Stubber, practice: PracticeItem, me: dict[str, str], email: str | None
) -> None:
    existing = patient(practice, phone="+34600123456", **({"email": email} if email else {}))
    knows(pool)
    answer = join(practice, me)
    assert answer.status == 409
    assert existing["id"] not in str(answer.body)
    assert "phone number or email" in answer.body["detail"]
    assert memberships.of(PERSON) == []


def test_a_patient_has_one_login(pool: Stubber, practice: PracticeItem, me: dict[str, str]) -> None:
    knows(pool)
    first = join(practice, me)
    assert first.status == 201
    knows(pool)
    again = join(practice, me)
    assert (again.status, "already" in again.body["detail"]) == (409, True)
    # Another person with the same address: an account that was made anew.
    knows(pool, "person-2")
    other = authorizer_context("person-2", [], operator=False, session="session-9")
    taken = join(practice, other)
    assert taken.status == 409
    assert first.body["patient_id"] not in str(taken.body)
    assert memberships.of("person-2") == []


@pytest.mark.parametrize("security", [None, {}, {"self_sign_up": False}])
def test_a_practice_that_did_not_open_does_not_exist(
    pool: Stubber, me: dict[str, str], security: dict[str, bool] | None
) -> None:
    closed = join(make_practice(security), me)
    missing = call(
        "me",
        "POST",
        "/v1/me/memberships",
        {"practice_id": ids.new_id("prac")} | ANA,
        context=me,
    )
    assert (closed.status, missing.status) == (404, 404)
    assert closed.body["detail"] == missing.body["detail"]


@pytest.mark.parametrize(
    ("verified", "status"), [("false", "CONFIRMED"), ("true", "EXTERNAL_PROVIDER")]
)
def test_an_address_that_was_not_proved_does_not_join(
    pool: Stubber, practice: PracticeItem, me: dict[str, str], verified: str, status: str
) -> None:
    patient(practice, phone="+34600999999", email=EMAIL)
    knows(pool, verified=verified, status=status)
    assert join(practice, me).status == 403
    assert memberships.of(PERSON) == []


def test_the_same_key_joins_once(pool: Stubber, practice: PracticeItem, me: dict[str, str]) -> None:
    knows(pool)
    first, again = join(practice, me, "key-1"), join(practice, me, "key-1")
    assert outcome(first) == outcome(again)
    assert join(practice, me, "key-1", name="Eva").status == 422
    assert len(patients_of(practice)) == 1


def test_two_at_once_with_one_key_join_once(
    pool: Stubber, practice: PracticeItem, me: dict[str, str], tables: Any
) -> None:
    knows(pool)
    knows(pool)
    faster: list[Answer] = []
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems", faults.meanwhile(lambda: faster.append(join(practice, me, "k")))
        )
        slower = join(practice, me, "k")
        assert faults.happened == 1
    assert outcome(slower) == outcome(faster[0])
    assert len(patients_of(practice)) == 1


def test_an_address_that_the_practice_takes_away_meanwhile_proves_nothing(
    pool: Stubber, practice: PracticeItem, me: dict[str, str], tables: Any
) -> None:
    existing = patient(practice, phone="+34600999999", email=EMAIL)
    owner = signed_in("owner", practice.item_id, person="owner-1")

    def take_away() -> None:
        path = f"/v1/patients/{existing['id']}"
        assert call("patients", "PATCH", path, {"email": None}, context=owner).status == 200

    knows(pool)
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(take_away))
        assert join(practice, me).status == 409
    assert memberships.of(PERSON) == []


@pytest.mark.parametrize("phone", ["12", "no phone", "+999999"])
def test_a_phone_that_is_none_is_422(
    pool: Stubber, practice: PracticeItem, me: dict[str, str], phone: str
) -> None:
    if len(phone) >= 4:
        knows(pool)
    answer = join(practice, me, phone=phone)
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "body.phone")
