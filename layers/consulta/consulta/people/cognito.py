"""The user pool: one call, with Cognito's error codes told apart in one place."""

from typing import Any

from botocore.exceptions import ClientError

from consulta.core import aws, settings
from consulta.core.errors import Busy, TooManyRequests

# Creating a user takes Cognito about a second.
READ_TIMEOUT_S = 5
_THROTTLED = {
    "TooManyRequestsException",
    "LimitExceededException",
    "TooManyFailedAttemptsException",
    "ThrottlingException",
}
PASSWORD_REFUSED = {"InvalidPasswordException", "PasswordHistoryPolicyViolationException"}


class PoolSettings(settings.Settings):
    """The user pool and our app client in it."""

    user_pool_id: str
    client_id: str


class Refused(Exception):
    """Cognito refused the call. ``code`` is its error code; its text may quote a person."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def pool() -> PoolSettings:
    """The settings of this environment."""
    return settings.load(PoolSettings)


def call(operation: str, **request: Any) -> dict[str, Any]:
    """Cognito's answer. Raises Refused, TooManyRequests where throttled, Busy where it failed."""
    client = aws.client("cognito-idp", READ_TIMEOUT_S)
    try:
        answer: dict[str, Any] = getattr(client, operation)(**request)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _THROTTLED:
            raise TooManyRequests from None
        if code == "InternalErrorException":
            raise Busy from None
        raise Refused(code) from None
    return answer
