"""Disputes at Stripe, as :class:`consulta.money.provider.DisputeProvider`.

Source: https://docs.stripe.com/connect/disputes. A destination charge is disputed on the platform,
whose balance is debited; nothing of the transfer comes back unless we reverse it.
"""

from typing import Any

from consulta.core.errors import ProviderFailed
from consulta.core.money import proportion
from consulta.core.time import from_epoch, to_epoch
from consulta.money.books.ledger import Leg
from consulta.money.currencies import from_stripe, to_stripe
from consulta.money.disputes.records import DisputeStatus
from consulta.money.provider import Moved, Movement, Operation, ProviderDispute
from consulta.money.records import PaymentItem
from consulta.money.stripe import lookup as stripe_lookup
from consulta.money.stripe.client import client, translated

PAGE = 100


class StripeDisputes:
    """See :class:`consulta.money.provider.DisputeProvider`."""

    def read(self, dispute_id: str, account: str) -> ProviderDispute | None:
        """The dispute with its balance transactions, and whose payment it is about."""
        options = {"stripe_account": account} if account else {}
        with translated("disputes.retrieve"):
            raw = client().v1.disputes.retrieve(dispute_id, {}, options).to_dict()
        found = stripe_lookup.find(raw.get("payment_intent") or raw["charge"], account)
        if found is None or not (found.practice and found.payment):
            return None
        return normalised(raw, found)

    def recover(self, operation: Operation, payment: PaymentItem, amount: int) -> Moved:
        """Reverse a part of the transfer. Raises ProviderFailed where it is not made yet."""
        transfer = _transfer_of(payment)
        params = _moving(operation, payment, amount)
        if payment.fx:
            params["amount"] = _transferred(transfer, payment, amount)["amount"]
        with translated("transfers.reversals.create"):
            made = client().v1.transfers.reversals.create(
                transfer, params, {"idempotency_key": operation.key}
            )
        return _moved(made.to_dict(), payment)

    def find_recovery(self, operation: Operation, payment: PaymentItem) -> Moved | None:
        """By the operation's id in the metadata, among the reversals of the charge's transfer."""
        transfer = _transfer_of(payment)
        with translated("transfers.reversals.list"):
            listed = client().v1.transfers.reversals.list(transfer, {"limit": PAGE})
            made = (found.to_dict() for found in listed.auto_paging_iter())
            found = next((raw for raw in made if _is_of(operation, raw)), None)
        return _moved(found, payment) if found else None

    def give_back(self, operation: Operation, payment: PaymentItem, amount: int) -> Moved:
        """A transfer of its own: a reversal cannot be undone."""
        params = _moving(operation, payment, amount) | {
            "currency": str(payment.currency).lower(),
            "destination": str(payment.provider_account),
        }
        if payment.fx:
            params |= _transferred(_transfer_of(payment), payment, amount)
        with translated("transfers.create"):
            made = client().v1.transfers.create(params, {"idempotency_key": operation.key})
        return _moved(made.to_dict(), payment)

    def find_given_back(self, operation: Operation, payment: PaymentItem) -> Moved | None:
        """By the operation's id in the metadata, among the transfers since the payment was made."""
        wanted = {
            "destination": str(payment.provider_account),
            "created": {"gte": to_epoch(payment.created_at)},
            "limit": PAGE,
        }
        with translated("transfers.list"):
            listed = client().v1.transfers.list(wanted)
            made = (found.to_dict() for found in listed.auto_paging_iter())
            found = next((raw for raw in made if _is_of(operation, raw)), None)
        return _moved(found, payment) if found else None


def _moving(operation: Operation, payment: PaymentItem, amount: int) -> dict[str, Any]:
    return {
        "amount": to_stripe(amount, str(payment.currency)),
        "metadata": {
            "practice": payment.tenant.practice,
            "payment": payment.item_id,
            "op_id": operation.id,
            # Of a charge that settled in another currency its transfer is in that one.
            **({"amount": str(amount)} if payment.fx else {}),
        },
    }


def _transferred(transfer: str, payment: PaymentItem, amount: int) -> dict[str, Any]:
    """``amount`` of the charge in the currency of its transfer: the same part of it, rounded."""
    with translated("transfers.retrieve"):
        made = client().v1.transfers.retrieve(transfer)
    return {
        "amount": proportion(made.amount, amount, int(payment.captured)),
        "currency": made.currency,
    }


def _transfer_of(payment: PaymentItem) -> str:
    with translated("charges.retrieve"):
        charge = client().v1.charges.retrieve(str(payment.charge_id)).to_dict()
    transfer = charge.get("transfer")
    if not transfer:
        raise ProviderFailed
    return str(transfer)


def _is_of(operation: Operation, raw: dict[str, Any]) -> bool:
    return bool((raw.get("metadata") or {}).get("op_id") == operation.id)


def _moved(raw: dict[str, Any], payment: PaymentItem) -> Moved:
    if payment.fx:
        from consulta.money.stripe import exchange as stripe_exchange  # noqa: PLC0415  # rare: most are not

        is_reversal = raw["object"] == "transfer_reversal"
        told = stripe_exchange.recovered if is_reversal else stripe_exchange.given_back
        return Moved(str(raw["balance_transaction"]), int(raw["metadata"]["amount"]), told(raw))
    return Moved(
        str(raw["balance_transaction"]), from_stripe(raw["amount"], raw["currency"].upper())
    )


# ---------------------------------------------------------------- Stripe's shape in ours


def normalised(raw: dict[str, Any], found: stripe_lookup.Found) -> ProviderDispute:
    """A dispute in our words. With a status that we do not know it counts as under review."""
    currency = raw["currency"].upper()
    known = raw["status"] in set(DisputeStatus)
    due_by = (raw.get("evidence_details") or {}).get("due_by")
    return ProviderDispute(
        id=raw["id"],
        provider_payment=found.intent,
        practice=found.practice,
        payment=found.payment,
        amount=from_stripe(raw["amount"], currency),
        currency=currency,
        reason=raw["reason"],
        status=DisputeStatus(raw["status"]) if known else DisputeStatus.UNDER_REVIEW,
        opened_at=from_epoch(raw["created"]),
        evidence_due_by=from_epoch(due_by) if due_by else None,
        movements=tuple(_movement(one, raw, currency) for one in raw["balance_transactions"]),
    )


def _movement(one: dict[str, Any], raw: dict[str, Any], currency: str) -> Movement:
    """Where the balance is kept in another currency, the dispute's own amount, and the leg."""
    kept = one["currency"].upper()
    if kept != currency:
        amount = from_stripe(raw["amount"], currency)
        leg = Leg(kept, from_stripe(one["amount"], kept), from_stripe(one["fee"], kept))
        return Movement(one["id"], -amount if one["amount"] < 0 else amount, leg=leg)
    return Movement(
        one["id"], from_stripe(one["amount"], currency), from_stripe(one["fee"], currency)
    )
