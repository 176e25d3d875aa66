"""Signing in and staying signed in."""

from typing import Annotated, Literal, Self

from aws_lambda_powertools.event_handler.openapi.params import Header
from pydantic import StringConstraints, model_validator

from consulta.core.http import ApiModel
from consulta.people.contact import Email
from consulta.people.passwords import NewPassword, Password

CsrfHeader = Annotated[str | None, Header(alias="Consulta-CSRF", max_length=1, description="1")]
MailedCode = Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")]
AppCode = Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")]
_BEARER: Literal["Bearer"] = "Bearer"


class LoginIn(ApiModel):
    """An email address and its password."""

    email: Email
    password: Password


class ChallengeIn(ApiModel):
    """The answer to a challenge; ``session`` as the challenge gave it.

    ``new_password`` for ``new_password_required``, the authenticator app's ``code`` for
    ``mfa_required``.
    """

    email: Email
    session: Annotated[str, StringConstraints(min_length=20, max_length=2_048)]
    new_password: NewPassword | None = None
    code: AppCode | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.new_password is None) == (self.code is None):
            raise ValueError("give one of new_password and code")
        return self


class SignedInOut(ApiModel):
    """The access token, good for ``expires_in`` seconds; the refresh token is in the cookie."""

    access_token: str
    token_type: Literal["Bearer"] = _BEARER
    expires_in: int


class ChallengeOut(ApiModel):
    """The password is right; a step is wanted first, with this ``session``."""

    challenge: Literal["new_password_required", "mfa_required"]
    session: str


class SignUpIn(ApiModel):
    """A new account."""

    email: Email
    password: NewPassword


class AddressIn(ApiModel):
    """Where a code is wanted."""

    email: Email


class ConfirmIn(ApiModel):
    """The code that was mailed to the address.

    Send ``password`` as at the sign-up: it holds then, whoever signed up with the address first.
    """

    email: Email
    code: MailedCode
    password: NewPassword | None = None


class ResetPasswordIn(ApiModel):
    """The code that was mailed to the address, and the password to come."""

    email: Email
    code: MailedCode
    new_password: NewPassword


class MailedOut(ApiModel):
    """The same whoever asks: if there is something to mail to the address, it is on its way."""

    status: Literal["accepted"] = "accepted"
