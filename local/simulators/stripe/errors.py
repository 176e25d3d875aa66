"""Stripe's error shapes: {"error": {"type", "code", "message", "param"}}.

Source: https://docs.stripe.com/api/errors.
"""

from typing import Any


class StripeError(Exception):
    def __init__(self, status: int, **error: Any) -> None:
        super().__init__(error.get("message"))
        self.status = status
        self.error = {key: value for key, value in error.items() if value is not None}


def invalid_request(
    message: str, *, param: str | None = None, code: str | None = None, status: int = 400
) -> StripeError:
    doc_url = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}" if code else None
    return StripeError(
        status,
        type="invalid_request_error",
        message=message,
        param=param,
        code=code,
        doc_url=doc_url,
    )


def missing(kind: str, object_id: str, param: str = "id") -> StripeError:
    return invalid_request(
        f"No such {kind}: '{object_id}'", param=param, code="resource_missing", status=404
    )


def unexpected_state(message: str, intent: dict[str, Any]) -> StripeError:
    error = invalid_request(message, code="payment_intent_unexpected_state")
    error.error["payment_intent"] = intent
    return error
