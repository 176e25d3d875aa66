"""Signing in and out, and who is signed in: /v1/auth/*, /v1/me."""

from typing import Any

from aws_lambda_powertools.event_handler import Response

from consulta.core.http import PUBLIC, SIGNED_IN, Api, needs
from consulta.people import cookies, me, sessions
from consulta.people.schema import sign_in as s
from consulta.people.schema.me import MeOut, PracticeHeader

api = Api("auth")


def _answer(outcome: sessions.SignedIn | sessions.Challenge) -> Response[Any]:
    if isinstance(outcome, sessions.Challenge):
        return api.ok(s.ChallengeOut(session=outcome.session))
    response = api.ok(s.SignedInOut.model_validate(outcome))
    response.cookies = [cookies.refresh_cookie(outcome.refresh_token)]
    return response


@api.post("/v1/auth/login")
@needs(PUBLIC)
def login(body: s.LoginIn) -> s.SignedInOut | s.ChallengeOut:
    """Sign in with email and password."""
    return _answer(sessions.sign_in(body.email, body.password.get_secret_value()))


@api.post("/v1/auth/challenge")
@needs(PUBLIC)
def challenge(body: s.ChallengeIn) -> s.SignedInOut | s.ChallengeOut:
    """Choose a password at the first sign-in."""
    password = body.new_password.get_secret_value()
    return _answer(sessions.set_new_password(body.email, body.session, password))


@api.post("/v1/auth/refresh")
@needs(PUBLIC)
def refresh(csrf: s.CsrfHeader = None) -> s.SignedInOut:
    """A new access token by the cookie; the cookie is renewed too."""
    cookies.require_csrf_header(csrf)
    return _answer(sessions.refresh(cookies.refresh_token_of(api.current_event.cookies)))


@api.post("/v1/auth/logout")
@needs(PUBLIC)
def logout() -> None:
    """End the session of the cookie, if there is one."""
    sessions.sign_out(cookies.refresh_token_of(api.current_event.cookies))
    response = api.no_content()
    response.cookies = [cookies.refresh_cookie("")]
    return response


@api.get("/v1/me")
@needs(SIGNED_IN)
def get_me(practice: PracticeHeader = None) -> MeOut:
    """Who is signed in, with memberships and permissions."""
    return api.ok(me.me(api.account, practice))


lambda_handler = api.handler
