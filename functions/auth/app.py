"""Signing in and out, and who is signed in: /v1/auth/*, /v1/me."""

from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Header

from consulta.core.http import PUBLIC, SIGNED_IN, Api, needs
from consulta.people import me, sessions
from consulta.people.cookies import refresh_cookie, refresh_token_of, require_csrf_header
from consulta.people.schema import ChallengeIn, ChallengeOut, LoginIn, MeOut, SignedInOut

api = Api("auth")

Csrf = Annotated[str | None, Header(alias="Consulta-CSRF", max_length=1, description="1")]
Practice = Annotated[str | None, Header(alias="Consulta-Practice", max_length=40)]


def _answer(outcome: sessions.SignedIn | sessions.Challenge) -> Response[Any]:
    if isinstance(outcome, sessions.Challenge):
        return api.ok(ChallengeOut(session=outcome.session))
    response = api.ok(SignedInOut(access_token=outcome.access_token, expires_in=outcome.expires_in))
    response.cookies = [refresh_cookie(outcome.refresh_token)]
    return response


@api.post("/v1/auth/login")
@needs(PUBLIC)
def login(body: LoginIn) -> SignedInOut | ChallengeOut:
    """Sign in with email and password."""
    return _answer(sessions.sign_in(body.email, body.password.get_secret_value()))


@api.post("/v1/auth/challenge")
@needs(PUBLIC)
def challenge(body: ChallengeIn) -> SignedInOut | ChallengeOut:
    """Choose a password at the first sign-in."""
    password = body.new_password.get_secret_value()
    return _answer(sessions.set_new_password(body.email, body.session, password))


@api.post("/v1/auth/refresh")
@needs(PUBLIC)
def refresh(csrf: Csrf = None) -> SignedInOut:
    """A new access token by the cookie; the cookie is renewed too."""
    require_csrf_header(csrf)
    return _answer(sessions.refresh(refresh_token_of(api.current_event.cookies)))


@api.post("/v1/auth/logout")
@needs(PUBLIC)
def logout() -> None:
    """End the session of the cookie, if there is one."""
    sessions.sign_out(refresh_token_of(api.current_event.cookies))
    response = api.no_content()
    response.cookies = [refresh_cookie("")]
    return response


@api.get("/v1/me")
@needs(SIGNED_IN)
def get_me(practice: Practice = None) -> MeOut:
    """Who is signed in, with memberships and permissions."""
    return api.ok(me.me(api.account, practice))


lambda_handler = api.handler
