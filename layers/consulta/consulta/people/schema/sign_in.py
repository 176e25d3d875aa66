"""Signing in and staying signed in."""

from typing import Annotated, Literal

from aws_lambda_powertools.event_handler.openapi.params import Header
from pydantic import StringConstraints

from consulta.core.http import ApiModel
from consulta.people.contact import Email
from consulta.people.passwords import NewPassword, Password

CsrfHeader = Annotated[str | None, Header(alias="Consulta-CSRF", max_length=1, description="1")]
_BEARER: Literal["Bearer"] = "Bearer"


class LoginIn(ApiModel):
    """An email address and its password."""

    email: Email
    password: Password


class ChallengeIn(ApiModel):
    """The answer to ``new_password_required``; ``session`` as the challenge gave it."""

    email: Email
    session: Annotated[str, StringConstraints(min_length=20, max_length=2_048)]
    new_password: NewPassword


class SignedInOut(ApiModel):
    """The access token, good for ``expires_in`` seconds; the refresh token is in the cookie."""

    access_token: str
    token_type: Literal["Bearer"] = _BEARER
    expires_in: int


class ChallengeOut(ApiModel):
    """The password is right; a new one is wanted, with this ``session``."""

    challenge: Literal["new_password_required"] = "new_password_required"
    session: str
