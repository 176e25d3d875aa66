"""The providers' secrets, from Secrets Manager: cached, rotated without a deployment.

Stripe:       {"api_key", "publishable_key"?, "webhook": W, "connect_webhook"?: W}
Mercado Pago: {"client_id", "client_secret", "platform_access_token", "webhook": W}
W:            {"current", "previous"?, "until"?}: ``previous`` signs too, until that instant.

A secret that cannot be read, or is not as above, is our own failure: Problem, 500.
"""

import time
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any

from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from aws_lambda_powertools.utilities.parameters.secrets import SecretsProvider
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from consulta.core import aws, settings
from consulta.core.errors import Problem
from consulta.core.observe import failure
from consulta.core.time import now

MAX_AGE_S = 300
REFETCH_EVERY_S = 60

Filled = Annotated[SecretStr, Field(min_length=1)]


class _Secret(BaseModel):
    # A validation error would otherwise quote the secret.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class WebhookSecret(_Secret):
    """What a provider signs with: two secrets while one takes the other's place."""

    current: Filled
    previous: SecretStr | None = None
    until: AwareDatetime | None = None

    def accepted(self, at: datetime) -> tuple[str, ...]:
        """The secrets that a signature may be made with at ``at``."""
        found = [self.current.get_secret_value()]
        if self.previous and self.until and at < self.until:
            found.append(self.previous.get_secret_value())
        return tuple(filter(None, found))


class StripeSecret(_Secret):
    """Stripe's. ``connect_webhook`` is the endpoint's that hears of connected accounts."""

    api_key: Filled
    publishable_key: str = ""
    webhook: WebhookSecret
    connect_webhook: WebhookSecret | None = None

    def signing(self) -> tuple[str, ...]:
        """Every secret that an event may be signed with now, of both endpoints."""
        endpoints = [self.webhook, *([self.connect_webhook] if self.connect_webhook else [])]
        return tuple(secret for endpoint in endpoints for secret in endpoint.accepted(now()))


class MercadoPagoSecret(_Secret):
    """Mercado Pago's: our application's credentials, and what notifications are signed with."""

    client_id: str
    client_secret: Filled
    platform_access_token: SecretStr
    webhook: WebhookSecret

    def signing(self) -> tuple[str, ...]:
        """Every secret that a notification may be signed with now."""
        return self.webhook.accepted(now())


class StripeArn(settings.Settings):
    """Where Stripe's secret is."""

    stripe_secret_arn: str


class MercadoPagoArn(settings.Settings):
    """Where Mercado Pago's secret is."""

    mercadopago_secret_arn: str


class _Store:
    """Powertools' cache over one client; remembers when each secret was last refetched."""

    def __init__(self, client: Any) -> None:
        self._provider = SecretsProvider(boto3_client=client)
        self._refetched: dict[str, float] = {}

    def read[S: _Secret](self, model: type[S], arn: str, *, force: bool = False) -> S:
        try:
            text = self._provider.get(arn, max_age=MAX_AGE_S, force_fetch=force)
            return model.model_validate_json(str(text))
        except (GetParameterError, ValidationError) as error:
            failure("a provider's secret cannot be read", error, secret=model.__name__)
            raise Problem("A secret of the payment provider cannot be read") from None

    def may_refetch(self, arn: str) -> bool:
        last = self._refetched.get(arn)
        if last is not None and time.monotonic() - last < REFETCH_EVERY_S:
            return False
        self._refetched[arn] = time.monotonic()
        return True


@lru_cache(maxsize=1)
def _store_of(client: Any) -> _Store:
    return _Store(client)


def _store() -> _Store:
    # One store per client: where the clients are forgotten, so is what they fetched.
    return _store_of(aws.client("secretsmanager"))


def stripe_secret() -> StripeSecret:
    """Stripe's secret, at most five minutes old."""
    return _store().read(StripeSecret, settings.load(StripeArn).stripe_secret_arn)


def mercadopago_secret() -> MercadoPagoSecret:
    """Mercado Pago's secret, at most five minutes old."""
    return _store().read(MercadoPagoSecret, settings.load(MercadoPagoArn).mercadopago_secret_arn)


def refetched_stripe_secret() -> StripeSecret | None:
    """Stripe's secret as it is now, after a mismatch: once a minute, else None."""
    arn = settings.load(StripeArn).stripe_secret_arn
    store = _store()
    return store.read(StripeSecret, arn, force=True) if store.may_refetch(arn) else None


def refetched_mercadopago_secret() -> MercadoPagoSecret | None:
    """Mercado Pago's secret as it is now, after a mismatch: once a minute, else None."""
    arn = settings.load(MercadoPagoArn).mercadopago_secret_arn
    store = _store()
    return store.read(MercadoPagoSecret, arn, force=True) if store.may_refetch(arn) else None
