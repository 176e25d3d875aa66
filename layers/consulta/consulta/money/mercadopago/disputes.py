"""Chargebacks at Mercado Pago, as :class:`consulta.money.provider.DisputeProvider`.

The seller's own balance is debited when a chargeback is opened. How it ended is said by the
payment: ``reimbursed`` is won, ``settled`` is lost. Its movements have no ids of their own.
"""

from datetime import datetime
from typing import Any

from consulta.core.errors import NotFound, ProviderFailed
from consulta.core.keys import Tenant
from consulta.money.accounts import payees
from consulta.money.currencies import to_minor
from consulta.money.disputes.records import DisputeStatus
from consulta.money.mercadopago import client as mercadopago_client
from consulta.money.mercadopago import tokens as mercadopago_tokens
from consulta.money.provider import (
    Moved,
    Movement,
    Operation,
    ProviderDispute,
    ProviderPayment,
)
from consulta.money.providers import provider_for
from consulta.money.records import PayeeItem, PaymentItem, Provider

_ENDED = {"reimbursed": DisputeStatus.WON, "settled": DisputeStatus.LOST}
# What the seller has sent, or need not send any more.
_ANSWERED = frozenset({"review_pending", "valid", "invalid"})


class MercadoPagoDisputes:
    """See :class:`consulta.money.provider.DisputeProvider`."""

    def read(self, dispute_id: str, account: str) -> ProviderDispute | None:
        """The chargeback and its payment, by the seller's token."""
        owner = payees.owner_of(Provider.MERCADOPAGO, account)
        payee = payees.find(Tenant(owner.practice), owner.payee) if owner else None
        if payee is None:
            return None
        token = mercadopago_tokens.access_token(payee.tenant, payee.item_id)
        raw = mercadopago_client.answer(
            "chargeback.get",
            mercadopago_client.sdk(token).chargeback().get,
            dispute_id,
            mercadopago_client.options(token),
        )
        if not raw.get("payments"):
            return None
        payment = provider_for(Provider.MERCADOPAGO).read(str(raw["payments"][0]), payee)
        if payment.practice != payee.tenant.practice or not payment.payment:
            return None
        return normalised(raw, payment)

    # The seller is debited in the first place, and is who gets it back: nothing is transferred.

    def recover(self, operation: Operation, payment: PaymentItem, amount: int) -> Moved:
        """Never."""
        del operation, payment, amount
        raise ProviderFailed

    def find_recovery(self, operation: Operation, payment: PaymentItem) -> Moved | None:
        """Never anything."""
        del operation, payment
        return None

    def give_back(self, operation: Operation, payment: PaymentItem, amount: int) -> Moved:
        """Never."""
        del operation, payment, amount
        raise ProviderFailed

    def find_given_back(self, operation: Operation, payment: PaymentItem) -> Moved | None:
        """Never anything."""
        del operation, payment
        return None


def of_payment(provider_id: str, payee: PayeeItem) -> str | None:
    """The id of a payment's chargeback; None where there is none, as in a mediation.

    The chargebacks' API takes a payment's id in place of one of its own
    (https://www.mercadopago.com.mx/developers/en/reference/chargebacks/_chargebacks_id/get).
    """
    token = mercadopago_tokens.access_token(payee.tenant, payee.item_id)
    try:
        raw = mercadopago_client.answer(
            "chargeback.of_payment",
            mercadopago_client.sdk(token).chargeback().get,
            provider_id,
            mercadopago_client.options(token),
        )
    except NotFound:
        return None
    return str(raw["id"])


# ---------------------------------------------------------------- the provider's shape in ours


def normalised(raw: dict[str, Any], payment: ProviderPayment) -> ProviderDispute:
    """A chargeback in our words."""
    currency = raw.get("currency") or payment.currency
    amount, status = to_minor(raw["amount"], currency), _status(raw, payment)
    movements = [Movement(f"dispute:{raw['id']}", -amount)]
    if status is DisputeStatus.WON:
        movements.append(Movement(f"dispute_won:{raw['id']}", amount))
    due_by = raw.get("date_documentation_deadline")
    return ProviderDispute(
        id=str(raw["id"]),
        provider_payment=payment.id,
        practice=payment.practice,
        payment=payment.payment,
        amount=amount,
        currency=currency,
        reason=raw.get("reason") or "general",
        status=status,
        opened_at=datetime.fromisoformat(raw["date_created"]),
        evidence_due_by=datetime.fromisoformat(due_by) if due_by else None,
        movements=tuple(movements),
    )


def _status(raw: dict[str, Any], payment: ProviderPayment) -> DisputeStatus:
    if ended := _ENDED.get(payment.raw.get("status_detail") or ""):
        return ended
    if raw.get("coverage_applied"):
        return DisputeStatus.WON
    answered = raw.get("documentation_status") in _ANSWERED
    wants = raw.get("documentation_required") and not answered
    return DisputeStatus.NEEDS_RESPONSE if wants else DisputeStatus.UNDER_REVIEW
