"""From whatever object an event of Stripe is about to our payment: by the metadata that we gave.

Events travel through the queue as ids, so that a charge or a refund first has to tell its intent.
"""

from dataclasses import dataclass
from typing import Any

from consulta.money.stripe_client import client, translated


@dataclass(frozen=True, slots=True)
class Found:
    """A payment intent, and the practice and payment in its metadata (empty: not ours)."""

    intent: str
    practice: str
    payment: str


def find(object_id: str, account: str) -> Found | None:
    """The intent behind an intent's, charge's or refund's id; ``account`` is the event's, or "".

    None where there is none, and for what a destination charge leaves on the connected account
    (``py_…`` with a source transfer): it is told by the platform's own events, and would count
    twice. Raises NotFound, ProviderFailed.
    """
    options = {"stripe_account": account} if account else {}
    kind = object_id.partition("_")[0]
    with translated("lookup"):
        api = client().v1
        if kind == "pi":
            return _of(api.payment_intents.retrieve(object_id, {}, options).to_dict())
        if kind in ("ch", "py"):
            expand = {"expand": ["payment_intent"]}
            charge = api.charges.retrieve(object_id, expand, options).to_dict()
            return None if charge.get("source_transfer") else _of(charge.get("payment_intent"))
        if kind == "re":
            refund = api.refunds.retrieve(object_id, {"expand": ["payment_intent"]}, options)
            return _of(refund.to_dict().get("payment_intent"))
    return None


def _of(intent: dict[str, Any] | None) -> Found | None:
    if not intent:
        return None
    metadata = intent.get("metadata") or {}
    return Found(intent["id"], metadata.get("practice", ""), metadata.get("payment", ""))
