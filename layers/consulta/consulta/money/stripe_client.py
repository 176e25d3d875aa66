"""The one place that imports Stripe's SDK: its client, and its errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import stripe

from consulta.core import settings
from consulta.core.errors import NotFound, ProviderFailed
from consulta.core.observe import count, logger
from consulta.money.secrets import stripe_secret

# Seconds to connect and to read. Stripe's own default is 80, longer than any function lives.
TIMEOUTS_S = (2, 10)
RETRIES = 2
API_VERSION = stripe.api_version


class StripeBase(settings.Settings):
    """Where Stripe's API is."""

    stripe_api_base: str = stripe.DEFAULT_API_BASE


@lru_cache(maxsize=2)
def _client_of(api_key: str, base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        api_key,
        stripe_version=API_VERSION,
        base_addresses={"api": base},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=TIMEOUTS_S),
    )


def client() -> Any:
    """The client with the key as it is now; kept as long as key and base stay the same."""
    base = settings.load(StripeBase).stripe_api_base.rstrip("/")
    return _client_of(stripe_secret().api_key.get_secret_value(), base)


class AccountUnreachable(ProviderFailed):
    """The connected account is gone, or its owner has disconnected us."""


class WrongState(ProviderFailed):
    """The object's state does not allow the call; reading it says what it is."""


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Stripe's errors in our words; their text, which may quote what was sent, goes nowhere.

    404 → NotFound; an account that is closed to us → AccountUnreachable; a state that does not
    allow it → WrongState; all else, no answer included → ProviderFailed.
    """
    try:
        yield
    except stripe.StripeError as error:
        logger.warning(
            "stripe refused or did not answer",
            extra={
                "operation": operation,
                "error": type(error).__name__,
                "status": error.http_status,
                "code": error.code,
                "stripe_request": error.request_id,
            },
        )
        count("StripeErrors")
        raise _problem(error) from None


def _problem(error: stripe.StripeError) -> Exception:
    if error.code == "account_invalid":
        return AccountUnreachable("The connected account is no longer reachable")
    if error.code in ("payment_intent_unexpected_state", "charge_already_refunded"):
        return WrongState("The payment's state does not allow this")
    if error.http_status == HTTPStatus.NOT_FOUND:
        return NotFound("The payment provider has no such object")
    return ProviderFailed()
