"""Sessions on moto's DynamoDB, through the functions; Cognito's answers come from the Stubber."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from botocore.stub import ANY, Stubber

from consulta.core import aws, keys, table, trail
from consulta.core.identity import Membership, authorizer_context
from consulta.core.permissions import Role
from consulta.core.time import now, to_epoch
from consulta.people import cognito, memberships, session_rows, sessions
from tests.faults import Faults
from tests.unit.people.calling import OTHER_PRACTICE, PRACTICE, Answer, call

PERSON, SESSION, CLIENT = "person-1", "session-1", "client-1"
EMAIL, PASSWORD = "ana@example.com", "Secret-password-1"
CSRF = {"Consulta-CSRF": "1"}


def tokens(refresh: str | None = "refresh-1", **claims: str) -> dict[str, Any]:
    """What Cognito gives; the access token's signature is nobody's business here."""
    access = jwt.encode(
        {"sub": PERSON, "origin_jti": SESSION, "client_id": CLIENT} | claims, "k" * 32
    )
    return {
        "AccessToken": access,
        "ExpiresIn": 900,
        **({"RefreshToken": refresh} if refresh else {}),
    }


class Pool:
    """What Cognito is expected to be asked, and its answers."""

    def __init__(self, stubber: Stubber) -> None:
        self.stubber = stubber

    def signs_in(self, **claims: str) -> None:
        expected = {"ClientId": CLIENT, "AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": ANY}
        result = {"AuthenticationResult": tokens(**claims)}
        self.stubber.add_response("initiate_auth", result, expected)

    def refreshes(self, presented: str, given: str | None, client: str = CLIENT) -> None:
        self.stubber.add_response(
            "get_tokens_from_refresh_token",
            {"AuthenticationResult": tokens(given)},
            {"ClientId": client, "RefreshToken": presented},
        )

    def refuses_to_refresh(self, code: str) -> None:
        self.stubber.add_client_error("get_tokens_from_refresh_token", code)

    def revokes(self, token: str) -> None:
        self.stubber.add_response("revoke_token", {}, {"ClientId": CLIENT, "Token": token})

    def signs_out(self) -> None:
        self.stubber.add_response(
            "admin_user_global_sign_out", {}, {"UserPoolId": "us-east-1_pool", "Username": PERSON}
        )


@pytest.fixture
def pool(tables: Any, environment: pytest.MonkeyPatch) -> Iterator[Pool]:
    environment.setenv("USER_POOL_ID", "us-east-1_pool")
    environment.setenv("CLIENT_ID", CLIENT)
    with Stubber(aws.client("cognito-idp", cognito.READ_TIMEOUT_S)) as stubber:
        yield Pool(stubber)
        stubber.assert_no_pending_responses()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, str]]]:
    """What the audit was told: event, practice and facts."""
    found: list[tuple[str, str, dict[str, str]]] = []

    def record(kind: str, practice: str, *, facts: dict[str, str], **_: str) -> bool:
        found.append((kind, practice, facts))
        return True

    monkeypatch.setattr(trail, "record", record)
    return found


def later(monkeypatch: pytest.MonkeyPatch, **delta: float) -> None:
    """From here on it is that much later for the sessions."""
    moment = now() + timedelta(**delta)
    monkeypatch.setattr(sessions, "now", lambda: moment)
    monkeypatch.setattr(session_rows, "now", lambda: moment)


def login(email: str = EMAIL, password: str = PASSWORD) -> Answer:
    return call("auth", "POST", "/v1/auth/login", {"email": email, "password": password})


def cookie_of(answer: Answer) -> str:
    return answer.cookies[0].partition(";")[0].partition("=")[2]


def refresh(cookie: str) -> Answer:
    cookies = [f"consulta_refresh={cookie}"]
    return call("auth", "POST", "/v1/auth/refresh", headers=CSRF, cookies=cookies)


def logout(cookie: str) -> Answer:
    cookies = [f"consulta_refresh={cookie}"]
    return call("auth", "POST", "/v1/auth/logout", headers=CSRF, cookies=cookies)


def row(session: str = SESSION) -> dict[str, Any]:
    raw = table.get_raw(keys.session(PERSON, session))
    assert raw
    return table.from_raw(raw)


def me(session: str = SESSION, **more: str) -> dict[str, str]:
    return authorizer_context(PERSON, [], operator=False, session=session, **more)


@pytest.fixture
def cookie(pool: Pool) -> str:
    pool.signs_in()
    return cookie_of(login())


# signing in


def test_signing_in_opens_a_session(
    pool: Pool, told: list[tuple[str, str, dict[str, str]]]
) -> None:
    for number in range(2):
        joined = Membership(f"{PRACTICE[:-1]}{number}", Role.VIEWER, "mem_1")
        table.transact([memberships.put(PERSON, joined)])
    pool.signs_in()
    answer = login()
    assert answer.status == 200
    assert answer.body == {
        "access_token": tokens()["AccessToken"],
        "token_type": "Bearer",
        "expires_in": 900,
    }
    assert set(answer.cookies[0].split("; ")) == {
        "consulta_refresh=person-1.session-1.refresh-1",
        "Path=/v1/auth",
        "HttpOnly",
        "Secure",
        "SameSite=Strict",
        "Max-Age=2592000",
    }
    stored = row()
    assert "refresh-1" not in str(stored)
    assert (stored["entity"], stored["person"], stored["mfa"]) == ("SESSION", PERSON, False)
    assert (stored["address"], stored["user_agent"]) == ("127.0.0.1", "test")
    assert "ended_at" not in stored
    assert abs(int(stored["expires_at"]) - to_epoch(now()) - 30 * 86_400) < 60
    assert [kind for kind, _, _ in told] == ["sign_in", "sign_in"]
    assert {facts["second_factor"] for _, _, facts in told} == {"no"}
    assert SESSION not in str(told)


# The third begins with a full-width letter, the last two are one domain.
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ANA@Example.com", "ana@example.com"),
        (" ana@example.com ", "ana@example.com"),
        ("ａna@example.com", "ana@example.com"),
        ("ana@EXAMPLE。com", "ana@example.com"),
        ("STRASSE@example.com", "strasse@example.com"),
        ("straße@example.com", "strasse@example.com"),
        ("jose\u0301@example.com", "jos\u00e9@example.com"),
        ("ana@Bücher.example", "ana@bücher.example"),
        ("ana@xn--bcher-kva.example", "ana@bücher.example"),
    ],
)
def test_an_address_has_one_spelling(pool: Pool, typed: str, meant: str) -> None:
    pool.stubber.add_response(
        "initiate_auth",
        {"AuthenticationResult": tokens()},
        {
            "ClientId": CLIENT,
            "AuthFlow": "USER_PASSWORD_AUTH",
            "AuthParameters": {"USERNAME": meant, "PASSWORD": " spaces stay "},
        },
    )
    assert login(typed, " spaces stay ").status == 200


@pytest.mark.parametrize(
    ("answer", "name", "responses", "mfa"),
    [
        (
            {"new_password": PASSWORD},
            "NEW_PASSWORD_REQUIRED",
            {"USERNAME": EMAIL, "NEW_PASSWORD": PASSWORD},
            False,
        ),
        (
            {"code": "123456"},
            "SOFTWARE_TOKEN_MFA",
            {"USERNAME": EMAIL, "SOFTWARE_TOKEN_MFA_CODE": "123456"},
            True,
        ),
    ],
)
def test_a_challenge_is_answered(
    pool: Pool, answer: dict[str, str], name: str, responses: dict[str, str], mfa: bool
) -> None:
    pool.stubber.add_response(
        "respond_to_auth_challenge",
        {"AuthenticationResult": tokens()},
        {
            "ClientId": CLIENT,
            "ChallengeName": name,
            "Session": "s" * 24,
            "ChallengeResponses": responses,
        },
    )
    body = {"email": EMAIL, "session": "s" * 24} | answer
    assert call("auth", "POST", "/v1/auth/challenge", body).status == 200
    assert row()["mfa"] is mfa


def test_a_new_password_may_lead_to_the_second_factor(pool: Pool) -> None:
    pool.stubber.add_response(
        "respond_to_auth_challenge",
        {"ChallengeName": "SOFTWARE_TOKEN_MFA", "Session": "t" * 24},
    )
    body = {"email": EMAIL, "session": "s" * 24, "new_password": PASSWORD}
    answer = call("auth", "POST", "/v1/auth/challenge", body)
    assert answer.body == {"challenge": "mfa_required", "session": "t" * 24}
    assert answer.cookies == []


# staying signed in


def test_refreshing_rotates_the_cookie(pool: Pool, cookie: str) -> None:
    for number in (1, 2):
        pool.refreshes(f"refresh-{number}", f"refresh-{number + 1}")
        answer = refresh(cookie)
        assert answer.status == 200
        cookie = cookie_of(answer)
        assert cookie == f"person-1.session-1.refresh-{number + 1}"
    assert row()["token_hash"] == session_rows.digest("refresh-3")
    assert row()["previous_hash"] == session_rows.digest("refresh-2")


def test_a_pool_that_does_not_rotate_keeps_the_token_good(
    pool: Pool, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minutes in (0, 15, 30):
        later(monkeypatch, minutes=minutes)
        pool.refreshes("refresh-1", None)
        answer = refresh(cookie)
        assert (answer.status, cookie_of(answer)) == (200, cookie)
    assert "previous_hash" not in row()


def test_a_used_token_that_comes_back_ends_the_family(
    pool: Pool,
    cookie: str,
    monkeypatch: pytest.MonkeyPatch,
    told: list[tuple[str, str, dict[str, str]]],
) -> None:
    table.transact([memberships.put(PERSON, Membership(PRACTICE, Role.VIEWER, "mem_1"))])
    pool.refreshes("refresh-1", "refresh-2")
    newest = cookie_of(refresh(cookie))
    later(monkeypatch, seconds=11)
    pool.revokes("refresh-1")
    answer = refresh(cookie)
    assert (answer.status, answer.body["detail"]) == (401, "The session has ended: sign in again")
    assert [(kind, practice) for kind, practice, _ in told] == [("session_reuse", PRACTICE)]
    # Also for who holds the newest, whoever of the two that is; nobody is asked for it any more.
    assert refresh(newest).status == 401
    assert refresh(cookie).status == 401
    assert len(told) == 1


def test_a_made_up_token_does_not_pass_for_the_session(pool: Pool, cookie: str) -> None:
    pool.revokes("made-up")
    assert refresh("person-1.session-1.made-up").status == 401
    assert refresh("person-1.session-2.refresh-1").status == 401
    assert refresh("person-2.session-1.refresh-1").status == 401


def test_an_answer_that_was_lost_is_given_again_within_the_grace(
    pool: Pool, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.refreshes("refresh-1", "refresh-2a")
    refresh(cookie)
    later(monkeypatch, seconds=9)
    pool.refreshes("refresh-1", "refresh-2b")
    again = refresh(cookie)
    assert again.status == 200
    # Well after the grace, what was given within it is good; then its sister is not.
    later(monkeypatch, minutes=14)
    pool.refreshes("refresh-2b", "refresh-3")
    assert refresh(cookie_of(again)).status == 200
    later(monkeypatch, minutes=28)
    pool.revokes("refresh-2a")
    assert refresh("person-1.session-1.refresh-2a").status == 401


def test_the_grace_has_an_end_in_number_too(pool: Pool, cookie: str) -> None:
    for number in range(session_rows.MAX_SIBLINGS + 1):
        pool.refreshes("refresh-1", f"refresh-2-{number}")
        assert refresh(cookie).status == 200
    assert refresh(cookie).status == 429


def test_two_at_once_are_both_served(pool: Pool, cookie: str, tables: Any) -> None:
    pool.refreshes("refresh-1", "refresh-2a")
    pool.refreshes("refresh-1", "refresh-2b")
    faster: list[Answer] = []
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(lambda: faster.append(refresh(cookie))))
        slower = refresh(cookie)
        assert faults.happened == 1
    assert (slower.status, faster[0].status) == (200, 200)
    # Whichever answer the browser keeps, it goes on.
    pool.refreshes("refresh-2a", "refresh-3")
    assert cookie_of(slower).endswith(".refresh-2a")
    assert refresh(cookie_of(slower)).status == 200


def test_a_session_that_is_ended_meanwhile_gives_nothing(
    pool: Pool, cookie: str, tables: Any
) -> None:
    pool.refreshes("refresh-1", "refresh-2")
    pool.revokes("refresh-2")
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems", faults.meanwhile(lambda: session_rows.end(PERSON, SESSION))
        )
        assert refresh(cookie).status == 401
    assert "ended_at" in row()


@pytest.mark.parametrize(
    ("idle", "status"), [({"hours": 11, "minutes": 59}, 200), ({"hours": 12}, 401)]
)
def test_a_session_ends_without_use(
    pool: Pool, cookie: str, monkeypatch: pytest.MonkeyPatch, idle: dict[str, float], status: int
) -> None:
    later(monkeypatch, **idle)
    if status == 200:
        pool.refreshes("refresh-1", "refresh-2")
    else:
        pool.revokes("refresh-1")
    assert refresh(cookie).status == status
    assert ("ended_at" in row()) is (status == 401)


def test_a_session_ends_whatever_its_use(
    pool: Pool, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for half_days in range(1, 60):
        later(monkeypatch, hours=half_days * 12 - half_days * 0.001)
        pool.refreshes(f"refresh-{half_days}", f"refresh-{half_days + 1}")
        answer = refresh(cookie)
        assert answer.status == 200, half_days
        cookie = cookie_of(answer)
    later(monkeypatch, days=30, seconds=1)
    pool.revokes("refresh-60")
    assert refresh(cookie).status == 401


def test_the_ends_are_settings(
    pool: Pool, environment: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.setenv("SESSION_IDLE_HOURS", "1")
    environment.setenv("SESSION_ABSOLUTE_DAYS", "2")
    pool.signs_in()
    cookie = cookie_of(login())
    assert abs(int(row()["expires_at"]) - to_epoch(now()) - 2 * 86_400) < 60
    later(monkeypatch, hours=1, seconds=1)
    pool.revokes("refresh-1")
    assert refresh(cookie).status == 401


# The last is that of an app client that is gone: a practice's single sign-on was removed.
@pytest.mark.parametrize(
    "code", ["NotAuthorizedException", "UserNotFoundException", "ResourceNotFoundException"]
)
def test_what_cognito_has_ended_ends_here(pool: Pool, cookie: str, code: str) -> None:
    pool.refuses_to_refresh(code)
    assert refresh(cookie).status == 401
    assert "ended_at" in row()


def test_a_token_that_was_used_past_us_ends_the_session(pool: Pool, cookie: str) -> None:
    pool.refuses_to_refresh("RefreshTokenReuseException")
    pool.revokes("refresh-1")
    assert refresh(cookie).status == 401
    assert "ended_at" in row()


def test_a_late_repetition_is_no_reuse(pool: Pool, cookie: str) -> None:
    pool.refreshes("refresh-1", "refresh-2")
    newest = cookie_of(refresh(cookie))
    pool.refuses_to_refresh("RefreshTokenReuseException")
    assert refresh(cookie).status == 401
    pool.refreshes("refresh-2", "refresh-3")
    assert refresh(newest).status == 200


def test_a_failure_of_cognito_ends_nothing(pool: Pool, cookie: str) -> None:
    pool.refuses_to_refresh("InternalErrorException")
    assert refresh(cookie).status == 503
    assert "ended_at" not in row()


def test_a_session_is_refreshed_by_the_app_client_that_began_it(pool: Pool) -> None:
    """As a practice's own sign-in does."""
    begun = sessions.begin(
        tokens(client_id="client-of-a-practice"), mfa=True, origin="::1|x", request_id="r"
    )
    assert (row()["client_id"], row()["mfa"]) == ("client-of-a-practice", True)
    pool.refreshes("refresh-1", "refresh-2", client="client-of-a-practice")
    assert refresh(begun.refresh_token).status == 200


def test_single_sign_on_is_a_second_factor_in_its_practice_only(
    pool: Pool, told: list[tuple[str, str, dict[str, str]]]
) -> None:
    """As the audit of each practice and the list of devices tell it."""
    for practice in (PRACTICE, OTHER_PRACTICE):
        member = Membership(practice, Role.VIEWER, "mem_1", "")
        table.transact([memberships.put(PERSON, member)])
    sessions.begin(tokens(), mfa=False, mfa_practice=PRACTICE, origin="::1|x", request_id="r")
    facts = {practice: fact["second_factor"] for _, practice, fact in told}
    assert facts == {PRACTICE: "yes", OTHER_PRACTICE: "no"}
    pool.signs_in(origin_jti="session-2")
    login()
    devices = call("me", "GET", "/v1/me/sessions", context=me()).body["items"]
    assert [(device["mfa"], device["mfa_practice_id"]) for device in devices] == [
        (False, PRACTICE),
        (False, None),
    ]


# signing out


def test_signing_out_ends_this_device(pool: Pool, cookie: str) -> None:
    pool.revokes("refresh-1")
    answer = logout(cookie)
    assert (answer.status, answer.body) == (204, None)
    assert answer.cookies[0].startswith("consulta_refresh=; ")
    assert "Max-Age=0" in answer.cookies[0]
    assert "ended_at" in row()
    assert refresh(cookie).status == 401


def test_signing_out_twice_is_fine(pool: Pool, cookie: str) -> None:
    pool.revokes("refresh-1")
    logout(cookie)
    pool.stubber.add_client_error("revoke_token", "NotAuthorizedException")
    assert logout(cookie).status == 204


def sign_in_as(pool: Pool, session: str) -> None:
    pool.signs_in(origin_jti=session)
    login()


def test_signing_out_everywhere_ends_all_of_the_person(pool: Pool, cookie: str) -> None:
    sign_in_as(pool, "session-2")
    sign_in_as(pool, "session-3")
    session_rows.open_row("person-2", "session-4", CLIENT, "t", mfa=False, origin="")
    pool.signs_out()
    answer = call("auth", "POST", "/v1/auth/logout-all", context=me())
    assert answer.status == 204
    assert "Max-Age=0" in answer.cookies[0]
    for session in (SESSION, "session-2", "session-3"):
        assert "ended_at" in row(session)
    other = session_rows.read("person-2", "session-4")
    assert other
    assert other.ended_at is None
    assert refresh(cookie).status == 401


def test_the_devices_are_listed_by_pages_and_ended(pool: Pool, cookie: str) -> None:
    for session in ("session-2", "session-3"):
        sign_in_as(pool, session)
    session_rows.open_row("person-2", "session-4", CLIENT, "t", mfa=False, origin="")
    found, query = [], "limit=2"
    while query:
        page = call("me", "GET", "/v1/me/sessions", context=me(), query=query).body
        found += page["items"]
        query = f"limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert [(item["id"], item["current"]) for item in found] == [
        ("session-1", True),
        ("session-2", False),
        ("session-3", False),
    ]
    assert {(item["address"], item["user_agent"]) for item in found} == {("127.0.0.1", "test")}

    def end(session: str) -> int:
        return call("me", "DELETE", f"/v1/me/sessions/{session}", context=me()).status

    assert [end("session-2"), end("session-2"), end("session-4")] == [204, 404, 404]
    left = call("me", "GET", "/v1/me/sessions", context=me()).body["items"]
    assert [item["id"] for item in left] == ["session-1", "session-3"]


@pytest.mark.parametrize(
    ("function", "method", "path", "body"),
    [
        ("auth", "POST", "/v1/auth/logout-all", None),
        ("me", "GET", "/v1/me/sessions", None),
        ("me", "DELETE", "/v1/me/sessions/session-1", None),
        ("me", "POST", "/v1/me/mfa", None),
        ("me", "POST", "/v1/me/mfa/confirm", {"code": "123456"}),
        ("me", "DELETE", "/v1/me/mfa", None),
        (
            "me",
            "POST",
            "/v1/me/memberships",
            {"practice_id": PRACTICE, "name": "Ana", "phone": "+34600123456"},
        ),
    ],
)
def test_an_api_key_is_nobody_who_signed_in(
    pool: Pool, function: str, method: str, path: str, body: Any
) -> None:
    context = authorizer_context(PERSON, [], operator=False, key="key_1")
    headers = {"authorization": "Bearer x", "Consulta-MFA-Code": "123456"}
    answer = call(function, method, path, body, context=context, headers=headers)
    assert answer.status == 403
