"""One exception base, and one class per answer that a caller can get (RFC 9457 problem+json).

``detail`` and ``errors`` reach the caller as they are: they never carry a patient's data.
"""

from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """What is wrong with one field; ``path`` as the caller wrote it: ``body.lines.0.price``."""

    path: str
    message: str
    code: str = "invalid"


class Problem(Exception):
    """Base of everything that a caller is told. Subclasses fix ``status`` and ``type``."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(
        self,
        detail: str = "",
        *,
        errors: tuple[FieldError, ...] = (),
        extra: dict[str, object] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = errors
        self.extra = extra or {}

    @classmethod
    def of(cls, path: str, message: str, code: str = "invalid") -> "Problem":
        """The problem of one field."""
        return cls(message, errors=(FieldError(path, message, code),))


class BadRequest(Problem):
    """The request cannot be read: broken JSON, a cursor that is not ours."""

    status, type, title = 400, "bad-request", "The request cannot be read"


class Unauthorized(Problem):
    """Nobody is signed in, or the token is no longer good."""

    status, type, title = 401, "unauthorized", "Sign in first"


class Forbidden(Problem):
    """Signed in, but without the permission."""

    status, type, title = 403, "forbidden", "This needs a permission that you do not have"


class MfaRequired(Forbidden):
    """The practice lets in only who signed in with a second factor."""

    type, title = "mfa-required", "This practice asks for a second factor: sign in with one"


class NotFound(Problem):
    """Not there, or another practice's: the two cannot be told apart from outside."""

    status, type, title = 404, "not-found", "There is no such resource"


class MethodNotAllowed(Problem):
    """The resource is there, the verb is not."""

    status, type, title = 405, "method-not-allowed", "The resource does not take this method"


class Conflict(Problem):
    """The state does not allow it, or somebody else was faster."""

    status, type, title = 409, "conflict", "The resource's state does not allow this"


class SlotTaken(Conflict):
    """The time is no longer free; ``extra["alternatives"]`` has the nearest free starts."""

    type, title = "slot-taken", "This time is no longer free"


class NoPackage(Conflict):
    """The patient has no package of this service with a session left for that time."""

    type, title = "no-package", "Buy a package first: none has a session left for this time"


class PreconditionFailed(Problem):
    """``If-Match`` names a version that is no longer current."""

    status, type, title = 412, "precondition-failed", "It was changed since you read it"


class PayloadTooLarge(Problem):
    """The body is larger than any that the API takes."""

    status, type, title = 413, "payload-too-large", "The body is too large"


class Invalid(Problem):
    """The request can be read, but a field's value cannot be accepted."""

    status, type, title = 422, "invalid", "A field cannot be accepted"


class TooManyRequests(Problem):
    """Asked too often; the same call may be tried again later."""

    status, type, title = 429, "too-many-requests", "Too many requests, try again later"


class Busy(Problem):
    """Too many at once on the same item; nothing was written, the same call may be tried again."""

    status, type, title = 503, "busy", "Too many changes at once, try again"


class Unavailable(Problem):
    """What it is read from does not answer at the moment; the same call may be tried again."""

    status, type, title = 503, "unavailable", "This cannot be read at the moment, try again"


class ProviderFailed(Problem):
    """A provider did not answer, or refused our call for a reason of its own."""

    status, type, title = 502, "provider-failed", "The provider did not take the request"


def catalogue() -> dict[str, int]:
    """Every problem type with its status, for the documentation and for the test of this table."""
    found: dict[str, int] = {}
    pending: list[type[Problem]] = [Problem]
    while pending:
        cls = pending.pop()
        found[cls.type] = cls.status
        pending.extend(cls.__subclasses__())
    return found
