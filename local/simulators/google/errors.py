"""Google's error bodies, of the API and of OAuth.

Sources: https://developers.google.com/workspace/calendar/api/guides/errors and RFC 6749, 5.2.
"""

from typing import Any

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ALREADY_EXISTS",
    410: "FAILED_PRECONDITION",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class GoogleError(Exception):
    """{"error": {"code", "message", "errors": [{"domain", "reason", "message", …}], "status"}}"""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        domain: str = "global",
        location: tuple[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        detail = {"domain": domain, "reason": reason, "message": message}
        if location:
            detail |= {"locationType": location[0], "location": location[1]}
        self.body: Any = {
            "error": {
                "code": status,
                "message": message,
                "errors": [detail],
                "status": _STATUSES.get(status, "UNKNOWN"),
            }
        }


class OAuthError(GoogleError):
    """{"error", "error_description"}"""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(status, error, description)
        self.body = {"error": error, "error_description": description}


def bad_request(message: str, reason: str = "badRequest") -> GoogleError:
    return GoogleError(400, reason, message)


def bad_parameter(name: str, message: str, reason: str = "invalidParameter") -> GoogleError:
    return GoogleError(400, reason, message, location=("parameter", name))


def missing(what: str) -> GoogleError:
    return GoogleError(400, "required", f"Missing {what}.")


def empty_range() -> GoogleError:
    return GoogleError(
        400,
        "timeRangeEmpty",
        "The specified time range is empty.",
        domain="calendar",
        location=("parameter", "timeMax"),
    )


def not_found() -> GoogleError:
    return GoogleError(404, "notFound", "Not Found")


def unauthenticated(*, without_token: bool) -> GoogleError:
    reason, message = (
        ("required", "Login Required.") if without_token else ("authError", "Invalid Credentials")
    )
    return GoogleError(
        401,
        reason,
        message,
        location=("header", "Authorization"),
        headers={"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'},
    )


def scope_missing() -> GoogleError:
    return GoogleError(
        403, "insufficientPermissions", "Request had insufficient authentication scopes."
    )


def writer_needed() -> GoogleError:
    message = "You need to have writer access to this calendar."
    return GoogleError(403, "requiredAccessLevel", message, domain="calendar")


def full_sync_required() -> GoogleError:
    return GoogleError(
        410,
        "fullSyncRequired",
        "Sync token is no longer valid, a full sync is required.",
        domain="calendar",
        location=("parameter", "syncToken"),
    )


def injected(status: int) -> GoogleError:
    """What Google answers while something of its own does not work, or is too much."""
    if status in (403, 429):
        message = "Rate Limit Exceeded"
        return GoogleError(status, "rateLimitExceeded", message, domain="usageLimits")
    if status == 401:
        return unauthenticated(without_token=False)
    return GoogleError(status, "backendError", "Backend Error")
