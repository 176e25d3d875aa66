"""Early fraud warnings of Stripe: a card's issuer suspects a payment, and a dispute may follow.

Source: https://docs.stripe.com/api/radar/early_fraud_warnings. A warning moves no money and decides
nothing: it is kept on its payment, and the practice's staff are told once, while a refund would
still be earlier than the dispute. ``actionable`` ends at Stripe with a full refund or a dispute.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consulta.core import table
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.observe import count
from consulta.core.time import from_epoch, from_text, to_text
from consulta.money.paying.orders import behind
from consulta.money.records import FRAUD_WARNING, FraudWarningItem, PaymentItem, Provider
from consulta.money.stripe import lookup as stripe_lookup
from consulta.money.stripe.client import client, translated

DEADLINE_S = 4.0
Closing = Callable[[], list[table.Action]]


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning as Stripe has it now, and the charge or intent that it is about."""

    id: str
    about: str
    fraud_type: str
    actionable: bool
    at: datetime

    def stored(self) -> dict[str, Any]:
        """As it is kept on its payment."""
        return {
            "id": self.id,
            "fraud_type": self.fraud_type,
            "actionable": self.actionable,
            "at": to_text(self.at),
        }


def read(warning_id: str, account: str) -> Warned:
    """``account`` is the event's connected account, or "". Raises NotFound, ProviderFailed."""
    options = {"stripe_account": account} if account else {}
    with translated("radar.early_fraud_warnings.retrieve"):
        api = client().v1.radar.early_fraud_warnings
        raw = api.retrieve(warning_id, {}, options).to_dict()
    return Warned(
        id=raw["id"],
        about=raw.get("payment_intent") or raw["charge"],
        fraud_type=raw["fraud_type"],
        actionable=bool(raw["actionable"]),
        at=from_epoch(raw["created"]),
    )


def refresh(warning_id: str, account: str, by: Actor, closing: Closing = list) -> str:
    """Bring a payment to what Stripe says of a warning, with ``closing`` in the same transaction.

    Answers "", or why nothing was written, not even ``closing``: ``not_ours``, ``unknown_payment``.
    Of two warnings on one payment the later one stays, whichever was heard of first. Raises
    NotFound, ProviderFailed, Busy.
    """
    about = stripe_lookup.find(read(warning_id, account).about, account)
    if about is None or not (about.practice and about.payment):
        return "not_ours"
    for _ in table.attempts(DEADLINE_S):
        payment = _payment_of(about, account)
        if payment is None:
            return "unknown_payment"
        # After the payment: an answer that is older than what is stored cannot be written over it.
        warned = read(warning_id, account)
        parts, is_new = _parts(payment, warned, by)
        parts += closing()
        try:
            if parts:
                table.transact(parts)
        except table.ConditionFailed as failed:
            if "inbox" in failed.labels:
                return ""
            continue
        if is_new:
            count("FraudWarnings")
        return ""
    raise AssertionError("attempts ends by raising Busy")


def _parts(payment: PaymentItem, warned: Warned, by: Actor) -> tuple[list[table.Action], bool]:
    """What has to be written, and whether the warning was not known."""
    parts: list[table.Action] = []
    stored, known = warned.stored(), payment.fraud_warning
    if known != stored and not _is_later(known, warned):
        text = PaymentItem.fraud_warning.serialize(stored)
        parts.append(table.change(payment, by, set_={"fraud_warning": text}))
    key = payment.tenant.item(FRAUD_WARNING, warned.id)
    if table.get_raw(key) is not None:
        return parts, False
    made = FraudWarningItem.create(key, FRAUD_WARNING, by, payment_id=payment.item_id)
    return [*parts, table.put_new(made)], True


def _is_later(known: dict[str, Any] | None, warned: Warned) -> bool:
    """Whether what is known is another warning, which came after this one."""
    if not known:
        return False
    return (from_text(known["at"]), known["id"]) > (warned.at, warned.id)


def _payment_of(about: stripe_lookup.Found, account: str) -> PaymentItem | None:
    try:
        tenant = Tenant(about.practice)
    except ValueError:  # metadata comes from outside: it need not even be an id
        return None
    payment = behind(tenant, Provider.STRIPE, about.intent, about.payment)
    if payment is None or account not in ("", payment.provider_account):
        return None
    return payment
