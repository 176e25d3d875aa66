"""Stripe's objects, with exactly the fields that the SDK's classes declare.

`new("charge", amount=…)` has every field of stripe.Charge, null where nothing was given; a field
that the class does not have is a TypeError. So the shapes follow the pinned SDK by themselves.
"""

import secrets
import string
import time
from functools import cache
from typing import Any

import stripe

API_VERSION = stripe.api_version
_ALPHABET = string.ascii_letters + string.digits

# kind -> (prefix of its ids, the SDK's class)
_CLASSES: dict[str, tuple[str, Any]] = {
    "account": ("acct_", stripe.Account),
    "account_link": ("", stripe.AccountLink),
    "account_session": ("", stripe.AccountSession),
    "login_link": ("", stripe.LoginLink),
    "application_fee": ("fee_", stripe.ApplicationFee),
    "balance": ("", stripe.Balance),
    "balance_transaction": ("txn_", stripe.BalanceTransaction),
    "capability": ("", stripe.Capability),
    "charge": ("ch_", stripe.Charge),
    "checkout.session": ("cs_test_", stripe.checkout.Session),
    "dispute": ("du_", stripe.Dispute),
    "event": ("evt_", stripe.Event),
    "fee_refund": ("fr_", stripe.ApplicationFeeRefund),
    "payment_intent": ("pi_", stripe.PaymentIntent),
    "payout": ("po_", stripe.Payout),
    "price": ("price_", stripe.Price),
    "product": ("prod_", stripe.Product),
    "radar.early_fraud_warning": ("issfr_", stripe.radar.EarlyFraudWarning),
    "refund": ("re_", stripe.Refund),
    "transfer": ("tr_", stripe.Transfer),
    "transfer_reversal": ("trr_", stripe.TransferReversal),
    "v2.core.event_destination": ("ed_test_", stripe.v2.core.EventDestination),
    "webhook_endpoint": ("we_", stripe.WebhookEndpoint),
}

# Present only when expanded or in circumstances that do not arise here.
_ABSENT = {
    "account": {"deleted", "company", "groups", "individual"},
    "charge": {"refunds", "level3"},
    "checkout.session": {"line_items"},
    "event": {"account", "context"},
    "price": {"deleted", "currency_options", "tiers"},
    "product": {"deleted"},
    "v2.core.event_destination": {"amazon_eventbridge", "azure_event_grid"},
    # Its secret is in the answer that makes it, and in no other.
    "webhook_endpoint": {"deleted", "secret"},
}


def token(length: int = 24) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def now() -> int:
    return int(time.time())


@cache
def _fields(kind: str) -> frozenset[str]:
    names = set(_CLASSES[kind][1].__annotations__) - _ABSENT.get(kind, set())
    return frozenset(name for name in names if name.islower())


def new(kind: str, **given: Any) -> dict[str, Any]:
    """A new object with a fresh id (where its kind has one), `created` and `livemode: false`."""
    prefix, sdk_class = _CLASSES[kind]
    if unknown := set(given) - set(sdk_class.__annotations__):
        raise TypeError(f"stripe.{sdk_class.__name__} has no {sorted(unknown)}")
    known = _fields(kind)
    filled: dict[str, Any] = {"id": prefix + token()} if prefix else {}
    filled |= {"object": kind, "created": now(), "livemode": False, "metadata": {}}
    result = {name: filled[name] for name in filled if name in known}
    return result | dict.fromkeys(sorted(known - set(result))) | given


def page(url: str, data: list[dict[str, Any]], *, has_more: bool = False) -> dict[str, Any]:
    return {"object": "list", "url": url, "has_more": has_more, "data": data}
