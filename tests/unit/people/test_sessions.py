"""Signing in by the user pool; Cognito's answers come from botocore's Stubber."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import Stubber

from consulta.core import aws
from consulta.people import cognito
from tests.unit.people.calling import Answer, call

LOGIN = {"email": "ana@example.com", "password": "Secret-password-1"}
CHALLENGE = {
    "email": "ana@example.com",
    "session": "s" * 24,
    "new_password": "Secret-password-1",
}
COOKIE = ["other=1", "consulta_refresh=person-1.session-1.refresh-1"]
CSRF = {"Consulta-CSRF": "1"}


@pytest.fixture
def pool(environment: pytest.MonkeyPatch) -> Iterator[Stubber]:
    environment.setenv("USER_POOL_ID", "us-east-1_pool")
    environment.setenv("CLIENT_ID", "client-1")
    with Stubber(aws.client("cognito-idp", cognito.READ_TIMEOUT_S)) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def login(body: Any = None) -> Answer:
    return call("auth", "POST", "/v1/auth/login", body or LOGIN)


@pytest.mark.parametrize(
    "code",
    [
        "NotAuthorizedException",
        "UserNotFoundException",
        "UserNotConfirmedException",
        "PasswordResetRequiredException",
        "InvalidParameterException",
    ],
)
def test_every_refusal_looks_the_same(pool: Stubber, code: str) -> None:
    pool.add_client_error("initiate_auth", code, "ana@example.com does something")
    answer = login()
    assert answer.status == 401
    assert answer.body["detail"] == "The email or the password is wrong"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.cookies == []


@pytest.mark.parametrize(
    "code", ["TooManyRequestsException", "LimitExceededException", "TooManyFailedAttemptsException"]
)
def test_throttling_is_429(pool: Stubber, code: str) -> None:
    pool.add_client_error("initiate_auth", code)
    answer = login()
    assert (answer.status, answer.body["type"]) == (429, "urn:consulta:problem:too-many-requests")
    assert answer.headers["Retry-After"] == "1"


def test_an_unknown_refusal_is_our_failure(pool: Stubber) -> None:
    pool.add_client_error("initiate_auth", "ResourceNotFoundException", "client-1 is not there")
    answer = login()
    assert answer.status == 500
    assert "client-1" not in str(answer.body)


def test_a_first_sign_in_asks_for_a_new_password(pool: Stubber) -> None:
    pool.add_response(
        "initiate_auth", {"ChallengeName": "NEW_PASSWORD_REQUIRED", "Session": "s" * 24}
    )
    answer = login()
    assert answer.body == {"challenge": "new_password_required", "session": "s" * 24}
    assert answer.cookies == []


def test_a_step_that_is_not_offered_is_refused(pool: Stubber) -> None:
    pool.add_response("initiate_auth", {"ChallengeName": "SMS_MFA", "Session": "s" * 24})
    assert login().status == 401


@pytest.mark.parametrize(
    "password",
    ["Short-1", "no-upper-case-1", "NO-LOWER-CASE-1", "No-digits-here", "NoSymbolsHere1"],
)
def test_a_weak_password_is_refused_without_asking(pool: Stubber, password: str) -> None:
    answer = call("auth", "POST", "/v1/auth/challenge", CHALLENGE | {"new_password": password})
    assert answer.status == 422
    assert [e["path"] for e in answer.body["errors"]] == ["body.new_password"]
    assert password not in str(answer.body)


@pytest.mark.parametrize(
    "code", ["InvalidPasswordException", "PasswordHistoryPolicyViolationException"]
)
def test_the_pools_own_policy_has_the_last_word(pool: Stubber, code: str) -> None:
    pool.add_client_error("respond_to_auth_challenge", code)
    answer = call("auth", "POST", "/v1/auth/challenge", CHALLENGE)
    assert answer.status == 422
    assert answer.body["errors"][0]["path"] == "body.new_password"


@pytest.mark.parametrize("headers", [{}, {"Consulta-CSRF": "0"}])
@pytest.mark.parametrize("path", ["/v1/auth/refresh", "/v1/auth/logout"])
def test_what_takes_the_cookie_needs_the_csrf_header(
    pool: Stubber, path: str, headers: dict[str, str]
) -> None:
    assert call("auth", "POST", path, headers=headers, cookies=COOKIE).status == 403


# Nothing, a cookie of before, one with a key's separator in it, and two without a token.
@pytest.mark.parametrize("value", [None, "refresh-1", "person-1#.s.t", "person-1.s.", "..t"])
def test_a_cookie_that_is_none_of_ours_is_401_unread(pool: Stubber, value: str | None) -> None:
    cookies = [f"consulta_refresh={value}"] if value is not None else None
    answer = call("auth", "POST", "/v1/auth/refresh", headers=CSRF, cookies=cookies)
    assert (answer.status, answer.body["detail"]) == (
        401,
        "The session has ended: sign in again",
    )


def test_signing_out_without_a_session_is_fine(pool: Stubber) -> None:
    answer = call("auth", "POST", "/v1/auth/logout")
    assert answer.status == 204
    assert "Max-Age=0" in answer.cookies[0]


@pytest.mark.parametrize(
    "answer", [{}, {"code": "123456", "new_password": "Secret-password-1"}, {"code": "12345"}]
)
def test_a_challenge_has_one_answer(pool: Stubber, answer: dict[str, str]) -> None:
    body = {"email": "ana@example.com", "session": "s" * 24} | answer
    assert call("auth", "POST", "/v1/auth/challenge", body).status == 422


@pytest.mark.parametrize(
    "code", ["CodeMismatchException", "ExpiredCodeException", "NotAuthorizedException"]
)
def test_a_wrong_code_is_401(pool: Stubber, code: str) -> None:
    pool.add_client_error("respond_to_auth_challenge", code, "ana@example.com does something")
    body = {"email": "ana@example.com", "session": "s" * 24, "code": "123456"}
    answer = call("auth", "POST", "/v1/auth/challenge", body)
    assert (answer.status, answer.body["detail"]) == (
        401,
        "The code is wrong, or the sign-in has expired: sign in again",
    )


def test_a_second_factor_is_asked_for(pool: Stubber) -> None:
    pool.add_response("initiate_auth", {"ChallengeName": "SOFTWARE_TOKEN_MFA", "Session": "s" * 24})
    answer = login()
    assert answer.body == {"challenge": "mfa_required", "session": "s" * 24}


@pytest.mark.parametrize("path", ["/v1/auth/logout-all"])
def test_signing_out_everywhere_needs_a_token(pool: Stubber, path: str) -> None:
    assert call("auth", "POST", path).status == 401
