"""A seller's tokens at Mercado Pago: encrypted with KMS, rotated in one conditional write.

The ciphertext is bound to practice and payee by the encryption context, so that a row which was
copied to another payee cannot be opened there. An access token is good for 180 days; refreshing
gives both tokens anew, and the refresh token before is worth nothing from then on.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from pynamodb.attributes import BinaryAttribute, BooleanAttribute, UnicodeAttribute

from consulta.core import aws, settings, table
from consulta.core.errors import Busy, Conflict, ProviderFailed
from consulta.core.item import Actor, InstantAttribute, Item
from consulta.core.keys import Key, Tenant
from consulta.core.time import now, to_text
from consulta.money.mercadopago import client as mercadopago_client
from consulta.money.records import PAYEE
from consulta.money.secrets import mercadopago_secret

TOKENS = "MERCADOPAGO_TOKENS"
RENEW_BEFORE = timedelta(days=10)
# Longer than a refresh can take: two calls with their timeouts.
LEASE = timedelta(seconds=60)
SYSTEM = Actor("mercadopago-tokens", "")


class TokensKey(settings.Settings):
    """The KMS key of the tokens."""

    tokens_key_id: str


class TokensItem(Item):
    """A payee's tokens. ``token_expires_at`` is not the table's TTL: the row outlives it."""

    user_id = UnicodeAttribute()
    live = BooleanAttribute()
    ciphertext = BinaryAttribute(legacy_encoding=False)
    token_expires_at = InstantAttribute()
    refreshing_at = InstantAttribute(null=True)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What Mercado Pago gave out. Its repr shows no token."""

    access: str
    refresh: str
    user_id: str
    live: bool
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Tokens(user_id={self.user_id!r}, expires_at={self.expires_at!r})"


def key_of(tenant: Tenant, payee: str) -> Key:
    """Where a payee's tokens are: a sub-item of the payee."""
    return tenant.sub(PAYEE, payee, TOKENS)


def find(tenant: Tenant, payee: str) -> TokensItem | None:
    """The payee's tokens as they are stored."""
    return table.get(TokensItem, key_of(tenant, payee))


def new_item(tenant: Tenant, payee: str, tokens: Tokens, by: Actor) -> TokensItem:
    """The row of freshly given tokens."""
    return TokensItem.create(key_of(tenant, payee), TOKENS, by, **_values(tenant, payee, tokens))


def replaced(item: TokensItem, tokens: Tokens, by: Actor) -> table.Action:
    """Both tokens in one write, if nobody else has changed them since they were read."""
    values = _values(item.tenant, item.item_id, tokens)
    expires_at = to_text(values.pop("token_expires_at"))
    return table.change(
        item, by, set_={**values, "token_expires_at": expires_at}, remove=["refreshing_at"]
    )


def exchange(code: str, redirect_uri: str) -> Tokens:
    """The tokens for the code that the seller's consent gave. Raises ProviderFailed."""
    return _grant(
        {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}, "exchange"
    )


def access_token(tenant: Tenant, payee: str) -> str:
    """The seller's token, renewed in its last days. Raises Conflict where none is connected."""
    item = find(tenant, payee)
    if item is None:
        raise Conflict("The payee has not connected Mercado Pago")
    if item.token_expires_at - now() < RENEW_BEFORE:
        try:
            item = refresh_tokens(tenant, payee)
        except (ProviderFailed, Busy):
            # As long as the old one is good, a refresh that fails keeps nobody from paying.
            if item.token_expires_at <= now():
                raise
    return _open(item)["access"]


def refresh_tokens(tenant: Tenant, payee: str) -> TokensItem:
    """Rotate both tokens and give the row as it is then.

    A refresh token works once, so a lease in the row lets only one caller send it; who comes second
    gets Busy. Raises Conflict where none is connected, ProviderFailed where the provider refuses.
    """
    item = find(tenant, payee)
    if item is None:
        raise Conflict("The payee has not connected Mercado Pago")
    if item.refreshing_at and now() - item.refreshing_at < LEASE:
        raise Busy
    lease = table.change(item, SYSTEM, set_={"refreshing_at": to_text(now())})
    try:
        table.transact([lease])
    except table.ConditionFailed:
        raise Busy from None
    leased = find(tenant, payee)
    if leased is None or leased.version != item.version + 1:
        raise Busy
    tokens = _grant(
        {"grant_type": "refresh_token", "refresh_token": _open(leased)["refresh"]}, "refresh"
    )
    with suppress(
        table.ConditionFailed
    ):  # connected anew meanwhile: those tokens are the good ones
        table.transact([replaced(leased, tokens, SYSTEM)])
    found = find(tenant, payee)
    if found is None:
        raise Conflict("The payee has disconnected Mercado Pago")
    return found


def _grant(body: dict[str, str], name: str) -> Tokens:
    secret = mercadopago_secret()
    platform = secret.platform_access_token.get_secret_value()
    request = {
        "client_id": secret.client_id,
        "client_secret": secret.client_secret.get_secret_value(),
        **body,
    }
    given: dict[str, Any] = mercadopago_client.answer(
        f"oauth.{name}",
        mercadopago_client.sdk(platform).oauth().create,
        request,
        mercadopago_client.options(platform),
    )
    return Tokens(
        access=given["access_token"],
        refresh=given["refresh_token"],
        user_id=str(given["user_id"]),
        live=bool(given.get("live_mode")),
        expires_at=now() + timedelta(seconds=int(given["expires_in"])),
    )


# ---------------------------------------------------------------- encryption


def _values(tenant: Tenant, payee: str, tokens: Tokens) -> dict[str, Any]:
    plain = json.dumps({"access": tokens.access, "refresh": tokens.refresh})
    sealed = aws.client("kms").encrypt(
        KeyId=settings.load(TokensKey).tokens_key_id,
        Plaintext=plain.encode(),
        EncryptionContext={"practice": tenant.practice, "payee": payee},
    )
    return {
        "user_id": tokens.user_id,
        "live": tokens.live,
        "ciphertext": sealed["CiphertextBlob"],
        "token_expires_at": tokens.expires_at,
    }


def _open(item: TokensItem) -> dict[str, str]:
    return _opened(bytes(item.ciphertext), item.tenant.practice, item.item_id)


@lru_cache(maxsize=64)
def _opened(ciphertext: bytes, practice: str, payee: str) -> dict[str, str]:
    # Rotation makes another ciphertext, so what is remembered is never out of date.
    answer = aws.client("kms").decrypt(
        KeyId=settings.load(TokensKey).tokens_key_id,
        CiphertextBlob=ciphertext,
        EncryptionContext={"practice": practice, "payee": payee},
    )
    opened: dict[str, str] = json.loads(answer["Plaintext"])
    return opened
