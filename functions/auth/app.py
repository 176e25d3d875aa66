"""Signing in, staying signed in and signing out: /v1/auth/*."""

from typing import Any

from aws_lambda_powertools.event_handler import Response

from consulta.core.http import PUBLIC, SIGNED_IN, Api, needs
from consulta.people import cookies, sessions
from consulta.people.schema import sign_in as s

api = Api("auth")


def _from() -> dict[str, str]:
    return {"origin": api.origin, "request_id": api.request_id}


def _answer(outcome: sessions.SignedIn | sessions.Challenge) -> Response[Any]:
    if isinstance(outcome, sessions.Challenge):
        return api.ok(s.ChallengeOut.model_validate(outcome))
    response = api.ok(s.SignedInOut.model_validate(outcome))
    response.cookies = [cookies.refresh_cookie(outcome.refresh_token)]
    return response


def _gone() -> Response[Any]:
    response = api.no_content()
    response.cookies = [cookies.refresh_cookie("")]
    return response


@api.post("/v1/auth/login")
@needs(PUBLIC)
def login(body: s.LoginIn) -> s.SignedInOut | s.ChallengeOut:
    """Sign in with email and password."""
    password = body.password.get_secret_value()
    return _answer(sessions.sign_in(body.email, password, **_from()))


@api.post("/v1/auth/challenge")
@needs(PUBLIC)
def challenge(body: s.ChallengeIn) -> s.SignedInOut | s.ChallengeOut:
    """Choose a password at the first sign-in, or give the authenticator app's code."""
    if body.code is not None:
        return _answer(sessions.answer_mfa(body.email, body.session, body.code, **_from()))
    password = body.new_password.get_secret_value() if body.new_password else ""
    return _answer(sessions.set_new_password(body.email, body.session, password, **_from()))


@api.post("/v1/auth/refresh")
@needs(PUBLIC)
def refresh(csrf: s.CsrfHeader = None) -> s.SignedInOut:
    """A new access token by the cookie; the cookie is renewed too."""
    cookies.require_csrf_header(csrf)
    cookie = cookies.refresh_token_of(api.current_event.cookies)
    return _answer(sessions.refresh(cookie, **_from()))


@api.post("/v1/auth/logout")
@needs(PUBLIC)
def logout(csrf: s.CsrfHeader = None) -> None:
    """End the session of the cookie, if there is one."""
    cookie = cookies.refresh_token_of(api.current_event.cookies)
    if cookie:
        cookies.require_csrf_header(csrf)
        sessions.sign_out(cookie, **_from())
    return _gone()


@api.post("/v1/auth/logout-all")
@needs(SIGNED_IN)
def logout_all() -> None:
    """End every session of the caller, on all devices."""
    sessions.sign_out_everywhere(api.account, **_from())
    return _gone()


lambda_handler = api.handler
