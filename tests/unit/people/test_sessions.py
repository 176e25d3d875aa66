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
TOKENS = {"AccessToken": "access", "ExpiresIn": 900, "RefreshToken": "refresh-1"}
COOKIE = ["other=1", "consulta_refresh=refresh-1"]
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


def test_signing_in_keeps_the_refresh_token_in_the_cookie(pool: Stubber) -> None:
    pool.add_response(
        "initiate_auth",
        {"AuthenticationResult": TOKENS},
        {
            "ClientId": "client-1",
            "AuthFlow": "USER_PASSWORD_AUTH",
            "AuthParameters": {"USERNAME": "ana@example.com", "PASSWORD": "Secret-password-1"},
        },
    )
    answer = login()
    assert (answer.status, answer.body) == (
        200,
        {"access_token": "access", "token_type": "Bearer", "expires_in": 900},
    )
    [cookie] = answer.cookies
    parts = set(cookie.split("; "))
    assert parts == {
        "consulta_refresh=refresh-1",
        "Path=/v1/auth",
        "HttpOnly",
        "Secure",
        "SameSite=Strict",
        "Max-Age=2592000",
    }
    assert answer.headers["Cache-Control"] == "no-store"


# The third begins with a full-width letter.
@pytest.mark.parametrize("email", ["ANA@Example.com", " ana@example.com ", "ａna@example.com"])
def test_an_address_has_one_spelling(pool: Stubber, email: str) -> None:
    pool.add_response(
        "initiate_auth",
        {"AuthenticationResult": TOKENS},
        {
            "ClientId": "client-1",
            "AuthFlow": "USER_PASSWORD_AUTH",
            "AuthParameters": {"USERNAME": "ana@example.com", "PASSWORD": " spaces stay "},
        },
    )
    assert login({"email": email, "password": " spaces stay "}).status == 200


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


def test_the_challenge_is_answered(pool: Stubber) -> None:
    pool.add_response(
        "respond_to_auth_challenge",
        {"AuthenticationResult": TOKENS},
        {
            "ClientId": "client-1",
            "ChallengeName": "NEW_PASSWORD_REQUIRED",
            "Session": "s" * 24,
            "ChallengeResponses": {
                "USERNAME": "ana@example.com",
                "NEW_PASSWORD": "Secret-password-1",
            },
        },
    )
    answer = call("auth", "POST", "/v1/auth/challenge", CHALLENGE)
    assert (answer.status, answer.body["access_token"]) == (200, "access")
    assert answer.cookies[0].startswith("consulta_refresh=refresh-1;")


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


def test_refreshing_rotates_the_cookie(pool: Stubber) -> None:
    pool.add_response(
        "get_tokens_from_refresh_token",
        {"AuthenticationResult": TOKENS | {"RefreshToken": "refresh-2"}},
        {"ClientId": "client-1", "RefreshToken": "refresh-1"},
    )
    answer = call("auth", "POST", "/v1/auth/refresh", headers=CSRF, cookies=COOKIE)
    assert (answer.status, answer.body["access_token"]) == (200, "access")
    assert answer.cookies[0].startswith("consulta_refresh=refresh-2;")


@pytest.mark.parametrize("headers", [{}, {"Consulta-CSRF": "0"}])
def test_refreshing_needs_the_csrf_header(pool: Stubber, headers: dict[str, str]) -> None:
    answer = call("auth", "POST", "/v1/auth/refresh", headers=headers, cookies=COOKIE)
    assert answer.status == 403


def test_refreshing_without_a_cookie_is_401(pool: Stubber) -> None:
    assert call("auth", "POST", "/v1/auth/refresh", headers=CSRF).status == 401


@pytest.mark.parametrize("code", ["NotAuthorizedException", "RefreshTokenReuseException"])
def test_an_ended_session_is_401(pool: Stubber, code: str) -> None:
    pool.add_client_error("get_tokens_from_refresh_token", code)
    answer = call("auth", "POST", "/v1/auth/refresh", headers=CSRF, cookies=COOKIE)
    assert answer.status == 401


def test_signing_out_revokes_and_clears(pool: Stubber) -> None:
    pool.add_response("revoke_token", {}, {"ClientId": "client-1", "Token": "refresh-1"})
    answer = call("auth", "POST", "/v1/auth/logout", cookies=COOKIE)
    assert (answer.status, answer.body) == (204, None)
    assert answer.cookies[0].startswith("consulta_refresh=; ")
    assert "Max-Age=0" in answer.cookies[0]


def test_signing_out_without_a_session_is_fine(pool: Stubber) -> None:
    assert call("auth", "POST", "/v1/auth/logout").status == 204
    pool.add_client_error("revoke_token", "UnsupportedTokenTypeException")
    assert call("auth", "POST", "/v1/auth/logout", cookies=COOKIE).status == 204
