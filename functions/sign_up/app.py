"""Accounts of one's own and forgotten passwords: /v1/auth/sign-up, …/reset-password."""

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import Response

from consulta.core.http import PUBLIC, Api, needs
from consulta.people import sign_up
from consulta.people.schema import sign_in as s

api = Api("sign_up")


def _mailed() -> Response[Any]:
    return api.ok(s.MailedOut(), status=HTTPStatus.ACCEPTED)


@api.post("/v1/auth/sign-up")
@needs(PUBLIC)
def create(body: s.SignUpIn) -> s.MailedOut:
    """Make an account. The answer is the same where the address has one; nothing changes then."""
    sign_up.sign_up(body.email, body.password.get_secret_value())
    return _mailed()


@api.post("/v1/auth/sign-up/confirm")
@needs(PUBLIC)
def confirm(body: s.ConfirmIn) -> None:
    """Prove the address by the code that was mailed to it."""
    password = body.password.get_secret_value() if body.password else None
    sign_up.confirm(body.email, body.code, password)
    return api.no_content()


@api.post("/v1/auth/sign-up/resend")
@needs(PUBLIC)
def resend(body: s.AddressIn) -> s.MailedOut:
    """Mail the code again. The answer is the same where nothing waits for one."""
    sign_up.resend(body.email)
    return _mailed()


@api.post("/v1/auth/forgot-password")
@needs(PUBLIC)
def forgot_password(body: s.AddressIn) -> s.MailedOut:
    """Mail a code for a new password. The answer is the same where there is no account."""
    sign_up.forgot_password(body.email)
    return _mailed()


@api.post("/v1/auth/reset-password")
@needs(PUBLIC)
def reset_password(body: s.ResetPasswordIn) -> None:
    """A new password by the mailed code; every session of the person ends."""
    sign_up.reset_password(
        body.email,
        body.code,
        body.new_password.get_secret_value(),
        origin=api.origin,
        request_id=api.request_id,
    )
    return api.no_content()


lambda_handler = api.handler
