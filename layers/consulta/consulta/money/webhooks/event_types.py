"""Every event type of the providers that we know of: what works on it, or why nothing has to.

Source: the providers' lists of events (https://docs.stripe.com/api/events/types,
https://www.mercadopago.com/developers/en/docs/your-integrations/notifications/webhooks). A type
that is not here is stored and ignored as ``unknown_type``; one that is :class:`NotNeeded` as
``not_needed``. docs/webhooks.md shows the same table.

Pure, and cheap to import: the repair asks it, too, what is worth a message.
"""

from dataclasses import dataclass
from enum import StrEnum


class Work(StrEnum):
    """What is done about an event; :mod:`.event_work` has a handler for each."""

    PAYMENT = "payment"
    CHECKOUT = "checkout"
    DISPUTE = "dispute"
    FRAUD_WARNING = "fraud_warning"
    ACCOUNT = "account"
    ACCOUNT_GONE = "account_gone"
    PAYOUT = "payout"
    BALANCE = "balance"
    TRANSFER = "transfer"
    APPLICATION_FEE = "application_fee"
    SELLER_PAYMENT = "seller_payment"
    SELLER_CHARGEBACK = "seller_chargeback"
    SELLER_CLAIM = "seller_claim"
    SELLER_FRAUD_ALERT = "seller_fraud_alert"
    SELLER_CONNECTION = "seller_connection"
    SELLER_ORDER = "seller_order"


@dataclass(frozen=True, slots=True)
class NotNeeded:
    """A type that is knowingly ignored."""

    why: str


_MADE_WITH_CHARGE = NotNeeded("made with its charge, whose settlement posts it")
_BILLING = NotNeeded("subscriptions to the product itself do not exist yet")
_SAVED_CARDS = NotNeeded("no payment method is kept for later")
_ORDERS_API = NotNeeded("payments are made by the payments API, whose topic tells of them")

STRIPE: dict[str, Work | NotNeeded] = {
    "payment_intent.succeeded": Work.PAYMENT,
    "payment_intent.payment_failed": Work.PAYMENT,
    "payment_intent.processing": Work.PAYMENT,
    "payment_intent.requires_action": Work.PAYMENT,
    "payment_intent.canceled": Work.PAYMENT,
    "payment_intent.amount_capturable_updated": Work.PAYMENT,
    "charge.succeeded": Work.PAYMENT,
    "charge.failed": Work.PAYMENT,
    "charge.captured": Work.PAYMENT,
    "charge.updated": Work.PAYMENT,
    "charge.refunded": Work.PAYMENT,
    "refund.created": Work.PAYMENT,
    "refund.updated": Work.PAYMENT,
    "refund.failed": Work.PAYMENT,
    "checkout.session.completed": Work.CHECKOUT,
    "checkout.session.async_payment_succeeded": Work.CHECKOUT,
    "checkout.session.async_payment_failed": Work.CHECKOUT,
    "checkout.session.expired": Work.CHECKOUT,
    "charge.dispute.created": Work.DISPUTE,
    "charge.dispute.updated": Work.DISPUTE,
    "charge.dispute.closed": Work.DISPUTE,
    "charge.dispute.funds_withdrawn": Work.DISPUTE,
    "charge.dispute.funds_reinstated": Work.DISPUTE,
    "radar.early_fraud_warning.created": Work.FRAUD_WARNING,
    "radar.early_fraud_warning.updated": Work.FRAUD_WARNING,
    "account.updated": Work.ACCOUNT,
    "account.application.deauthorized": Work.ACCOUNT_GONE,
    "capability.updated": Work.ACCOUNT,
    "payout.created": Work.PAYOUT,
    "payout.updated": Work.PAYOUT,
    "payout.paid": Work.PAYOUT,
    "payout.failed": Work.PAYOUT,
    "payout.canceled": Work.PAYOUT,
    "payout.reconciliation_completed": Work.PAYOUT,
    "balance.available": Work.BALANCE,
    "transfer.created": _MADE_WITH_CHARGE,
    "transfer.updated": Work.TRANSFER,
    "transfer.reversed": Work.TRANSFER,
    "application_fee.created": _MADE_WITH_CHARGE,
    "application_fee.refunded": Work.APPLICATION_FEE,
    "customer.subscription.created": _BILLING,
    "customer.subscription.updated": _BILLING,
    "customer.subscription.deleted": _BILLING,
    "customer.subscription.paused": _BILLING,
    "customer.subscription.resumed": _BILLING,
    "customer.subscription.trial_will_end": _BILLING,
    "invoice.created": _BILLING,
    "invoice.finalized": _BILLING,
    "invoice.finalization_failed": _BILLING,
    "invoice.paid": _BILLING,
    "invoice.payment_failed": _BILLING,
    "invoice.payment_action_required": _BILLING,
    "invoice.updated": _BILLING,
    "invoice.upcoming": _BILLING,
    "invoice.voided": _BILLING,
    "invoice.marked_uncollectible": _BILLING,
    "invoice.overdue": _BILLING,
    "setup_intent.succeeded": _SAVED_CARDS,
    "setup_intent.setup_failed": _SAVED_CARDS,
    "payment_method.attached": _SAVED_CARDS,
    "payment_method.detached": _SAVED_CARDS,
    "payment_method.automatically_updated": _SAVED_CARDS,
}

# v2.core.account.updated, v2.core.account[requirements].updated …: only ever thin.
STRIPE_FAMILIES: dict[str, Work | NotNeeded] = {
    "v2.core.account.": Work.ACCOUNT,
    "v2.core.account[": Work.ACCOUNT,
}

MERCADOPAGO: dict[str, Work | NotNeeded] = {
    "payment": Work.SELLER_PAYMENT,
    "merchant_order": Work.SELLER_ORDER,
    "topic_merchant_order_wh": Work.SELLER_ORDER,
    "topic_chargebacks_wh": Work.SELLER_CHARGEBACK,
    "topic_claims_integration_wh": Work.SELLER_CLAIM,
    "stop_delivery_op_wh": Work.SELLER_FRAUD_ALERT,
    "mp-connect": Work.SELLER_CONNECTION,
    "order": _ORDERS_API,
    "subscription_preapproval": _BILLING,
    "subscription_authorized_payment": _BILLING,
}

_EXACT = {"stripe": STRIPE, "mercadopago": MERCADOPAGO}


def find(provider: str, kind: str) -> Work | NotNeeded | None:
    """What is done about a provider's type; None where it is unknown."""
    if found := _EXACT[provider].get(kind):
        return found
    if provider != "stripe":
        return None
    return next((w for prefix, w in STRIPE_FAMILIES.items() if kind.startswith(prefix)), None)
