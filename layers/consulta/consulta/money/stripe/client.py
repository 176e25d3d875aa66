"""The one place that imports Stripe's SDK, when it is first used: client, and errors in our words.

Its import costs a cold start as much as all our own code.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Any

from consulta.core import settings
from consulta.core.errors import NotFound, ProviderFailed
from consulta.core.observe import count, logger
from consulta.money.secrets import stripe_secret
from consulta.money.webhooks.throttling import RateLimited, seconds

# Seconds to connect and to read. Stripe's own default is 80, longer than any function lives.
TIMEOUTS_S = (2, 10)
RETRIES = 2


@cache
def _sdk() -> Any:
    import stripe  # noqa: PLC0415

    # At INFO it logs the text of every error, which may quote what was sent.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    return stripe


def api_version() -> str:
    """Pinned to what this SDK's types describe; the account's default plays no part."""
    return str(_sdk().api_version)


class StripeBase(settings.Settings):
    """Where Stripe's API is."""

    stripe_api_base: str = "https://api.stripe.com"


@lru_cache(maxsize=2)
def _client_of(api_key: str, base: str) -> Any:
    sdk = _sdk()
    return sdk.StripeClient(
        api_key,
        stripe_version=api_version(),
        base_addresses={"api": base},
        max_network_retries=RETRIES,
        http_client=sdk.RequestsClient(timeout=TIMEOUTS_S),
    )


def client() -> Any:
    """The client with the key as it is now; kept as long as key and base stay the same."""
    base = settings.load(StripeBase).stripe_api_base.rstrip("/")
    return _client_of(stripe_secret().api_key.get_secret_value(), base)


class AccountUnreachable(ProviderFailed):
    """The connected account is gone, or its owner has disconnected us."""


class WrongState(ProviderFailed):
    """The object's state does not allow the call; reading it says what it is."""


class AlreadyExists(ProviderFailed):
    """An object with the id that we chose is there already."""


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Stripe's errors in our words; their text, which may quote what was sent, goes nowhere.

    404 → NotFound; an account that is closed to us → AccountUnreachable; a state that does not
    allow it → WrongState; an id that is taken → AlreadyExists; 429 → RateLimited; all else, no
    answer included → ProviderFailed.
    """
    try:
        yield
    except _sdk().StripeError as error:
        logger.warning(
            "stripe refused or did not answer",
            extra={
                "operation": operation,
                "error": type(error).__name__,
                "status": error.http_status,
                "code": _code(error),
                "stripe_request": error.request_id,
            },
        )
        count("StripeErrors")
        raise _problem(error) from None


def _code(error: Any) -> str:
    # Only some of the SDK's errors carry the code themselves; the answer's body always has it.
    return error.code or getattr(error.error, "code", None) or ""


def _problem(error: Any) -> Exception:
    code = _code(error)
    if code == "account_invalid":
        return AccountUnreachable("The connected account is no longer reachable")
    if code in ("payment_intent_unexpected_state", "charge_already_refunded"):
        return WrongState("The payment's state does not allow this")
    if code == "resource_already_exists":
        return AlreadyExists("The payment provider has it already")
    if error.http_status == HTTPStatus.NOT_FOUND:
        return NotFound("The payment provider has no such object")
    if error.http_status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(seconds((error.headers or {}).get("retry-after")))
    return ProviderFailed()
