"""Payments through Stripe, as :class:`consulta.money.provider.PaymentProvider`.

The charge's type follows the connected account's controller (rules §3): where the platform bears
losses, a destination charge on the platform; where Stripe does, a direct charge on the account.
The payer's device confirms with ``client_secret``; nothing is confirmed from here.

What Stripe is sent says nothing about anybody's health: ids, amounts, and a neutral description.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from consulta.core.errors import Conflict, ProviderFailed
from consulta.core.time import from_epoch, to_epoch
from consulta.money.currencies import from_stripe, to_stripe
from consulta.money.provider import (
    CheckoutPage,
    Operation,
    PaymentDetails,
    PixCode,
    ProviderPayment,
    ProviderRefund,
)
from consulta.money.records import PayeeItem, PaymentItem, Provider, RefundState, State
from consulta.money.stripe.client import AccountUnreachable, WrongState, client, translated

CARD, PIX = "card", "pix"
PAGE = 100
# A lookup goes from a little before our payment was made (clocks differ) to when no hold is left.
LOOKUP_BEFORE_S, LOOKUP_AFTER_S = 300, 3600
LOOKUP_PAGES = 20
_EXPAND = ["latest_charge.balance_transaction"]
_REFUND_EXPAND = ["transfer_reversal"]

_STATES = {
    "requires_payment_method": State.OPEN,
    "requires_confirmation": State.OPEN,
    "requires_action": State.OPEN,
    "processing": State.PROCESSING,
    "requires_capture": State.AUTHORIZED,
    "succeeded": State.SUCCEEDED,
    "canceled": State.CANCELLED,
}
_REFUND_STATES = {
    "succeeded": RefundState.SUCCEEDED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}


def is_direct(controller: dict[str, Any] | None) -> bool:
    """Whether charges are made on the connected account itself, by its controller (rules §3).

    Raises Conflict for a controller that neither kind of charge is right for.
    """
    found = controller or {}
    losses = found.get("losses", {}).get("payments")
    payer = found.get("fees", {}).get("payer")
    if losses == "stripe":
        return True
    if losses == "application" and payer == "application":
        return False
    raise Conflict("The connected account's controller does not allow charges through us")


def account_of(payee: PayeeItem) -> str:
    """The payee's account. Raises Conflict where there is none yet."""
    if not payee.stripe_account:
        raise Conflict("The payee has no account at Stripe yet")
    return str(payee.stripe_account)


def options_of(payee: PayeeItem, key: str = "") -> dict[str, str]:
    """One call's options: the account where charges are direct, and our idempotency key."""
    options = {"idempotency_key": key} if key else {}
    if is_direct(payee.controller):
        options["stripe_account"] = account_of(payee)
    return options


def metadata_of(payment: PaymentItem, operation: Operation) -> dict[str, str]:
    """What leads back to our payment from whatever Stripe tells of."""
    return {
        "practice": payment.tenant.practice,
        "payment": payment.item_id,
        "op_id": operation.id,
    }


def charge_params(payment: PaymentItem, payee: PayeeItem, operation: Operation) -> dict[str, Any]:
    """How the money is taken: whose charge it is, what of it is ours, and when it is captured."""
    params: dict[str, Any] = {
        # Neutral on purpose: a service's name is health data.
        "description": f"Payment {payment.item_id}",
        "metadata": metadata_of(payment, operation),
    }
    if payment.manual_capture:
        params["capture_method"] = "manual"
    if payment.commission:
        fee = to_stripe(int(payment.commission), str(payment.currency))
        params["application_fee_amount"] = fee
    if not is_direct(payee.controller):
        account = account_of(payee)
        params["transfer_data"] = {"destination": account}
        if payee.on_behalf_of:
            params["on_behalf_of"] = account
    return params


def method_params(payment: PaymentItem) -> dict[str, Any]:
    """By what it can be paid, listed one by one: cards, and Pix for as long as the hold lasts."""
    if not payment.pix_expires_s:
        return {"allowed_payment_method_types": [CARD]}
    return {
        # payment_method_types under its name since this version of the API
        "allowed_payment_method_types": [CARD, PIX],
        "payment_method_options": {PIX: {"expires_after_seconds": int(payment.pix_expires_s)}},
    }


class StripeProvider:
    """See :class:`consulta.money.provider.PaymentProvider`."""

    name = Provider.STRIPE

    def start(
        self,
        operation: Operation,
        payment: PaymentItem,
        payee: PayeeItem,
        details: PaymentDetails,  # noqa: ARG002  # the payer's device gives them to Stripe itself
    ) -> ProviderPayment:
        """A payment intent, which the browser confirms. Raises Conflict without an account."""
        account, currency = account_of(payee), str(payment.currency)
        params: dict[str, Any] = {
            "amount": to_stripe(int(payment.amount), currency),
            "currency": currency.lower(),
            "expand": _EXPAND,
            **method_params(payment),
            **charge_params(payment, payee, operation),
        }
        with translated("payment_intents.create"):
            intent = client().v1.payment_intents.create(params, options_of(payee, operation.key))
        return normalised(intent.to_dict(), (), account)

    def read(
        self, provider_id: str, payee: PayeeItem, *, exchanged: bool | None = None
    ) -> ProviderPayment:
        """The intent with its charge, settlement and refunds."""
        options = options_of(payee)
        with translated("payment_intents.retrieve"):
            intent = (
                client()
                .v1.payment_intents.retrieve(provider_id, {"expand": _EXPAND}, options)
                .to_dict()
            )
            refunds: list[dict[str, Any]] = []
            # A refund that failed has left no trace in the charge's amounts.
            if intent["amount_received"]:
                expand = [f"data.{name}" for name in _REFUND_EXPAND]
                listed = client().v1.refunds.list(
                    {"payment_intent": provider_id, "limit": PAGE, "expand": expand}, options
                )
                refunds = [refund.to_dict() for refund in listed.auto_paging_iter()]
        reading = normalised(intent, refunds, account_of(payee))
        if not is_exchanged(intent) and (exchanged is False or not is_passed_on(intent)):
            return reading
        from consulta.money.stripe import exchange as stripe_exchange  # noqa: PLC0415  # most are none

        try:
            return stripe_exchange.told(reading, intent, refunds, options.get("stripe_account", ""))
        except AccountUnreachable:
            if exchanged or is_exchanged(intent):
                raise
            # Nobody can see any more what it came to there: it stays in the charge's currency.
            return reading

    def capture(self, operation: Operation, provider_id: str, payee: PayeeItem) -> ProviderPayment:
        """Capture all that is authorized; where its state does not allow it, what it is by now."""
        try:
            with translated("payment_intents.capture"):
                intent = client().v1.payment_intents.capture(
                    provider_id, {"expand": _EXPAND}, options_of(payee, operation.key)
                )
        except WrongState:
            return self.read(provider_id, payee)
        made = normalised(intent.to_dict(), (), account_of(payee))
        # What a destination charge came to at its payee is only known once it is read.
        return replace(made, balance_transaction="") if is_passed_on(intent.to_dict()) else made

    def cancel(self, operation: Operation, provider_id: str, payee: PayeeItem) -> ProviderPayment:
        """Cancel the intent; where its state no longer allows it, what it is by now."""
        try:
            with translated("payment_intents.cancel"):
                intent = client().v1.payment_intents.cancel(
                    provider_id, {"expand": _EXPAND}, options_of(payee, operation.key)
                )
        except WrongState:
            return self.read(provider_id, payee)
        return normalised(intent.to_dict(), (), account_of(payee))

    def refund(
        self, operation: Operation, payment: PaymentItem, payee: PayeeItem, amount: int
    ) -> ProviderRefund:
        """Give it back; the transfer and our fee go back in proportion, as Stripe computes it."""
        currency = str(payment.currency)
        params: dict[str, Any] = {
            "payment_intent": str(payment.provider_id),
            "amount": to_stripe(amount, currency),
            "metadata": metadata_of(payment, operation),
            "expand": _REFUND_EXPAND,
        }
        # Stripe refuses either flag where there is nothing to return: what went back with a refund
        # that failed stays back, and pays for the next one.
        if payment.commission > payment.commission_returned:
            params["refund_application_fee"] = True
        if not is_direct(payee.controller) and amount > payment.owed_to_payee:
            params["reverse_transfer"] = True
        with translated("refunds.create"):
            refund = client().v1.refunds.create(params, options_of(payee, operation.key))
        return _refund(refund.to_dict(), currency)

    def find(self, payment: PaymentItem, payee: PayeeItem) -> tuple[ProviderPayment, ...]:
        """Every intent made for ``payment``: what to ask before a late retry (rules §6).

        One that is paid on a page has what was tried there. Others are found by metadata, among the
        intents of the hour after ours was made; Stripe's search would be simpler, but lags behind.
        Raises ProviderFailed where these are too many to be sure.
        """
        if payment.checkout:
            page = self.read_checkout(payment, payee, payment.created_at)
            return page.payments if page else ()
        made = to_epoch(payment.created_at)
        created = {"gte": made - LOOKUP_BEFORE_S, "lte": made + LOOKUP_AFTER_S}
        found: list[str] = []
        with translated("payment_intents.list"):
            page = client().v1.payment_intents.list(
                {"created": created, "limit": PAGE}, options_of(payee)
            )
            for _ in range(LOOKUP_PAGES):
                found += [i["id"] for i in page if is_of(payment, i.to_dict()["metadata"])]
                if not page.has_more:
                    return tuple(self.read(intent_id, payee) for intent_id in found)
                page = page.next_page()
        raise ProviderFailed

    def start_checkout(
        self, operation: Operation, payment: PaymentItem, payee: PayeeItem, details: PaymentDetails
    ) -> CheckoutPage:
        """A Checkout session in payment mode."""
        from consulta.money.stripe import checkout as stripe_checkout  # noqa: PLC0415  # only where pages are used

        return stripe_checkout.start(operation, payment, payee, details)

    def read_checkout(
        self, payment: PaymentItem, payee: PayeeItem, since: datetime
    ) -> CheckoutPage | None:
        """The session, with its intent once somebody has tried to pay."""
        from consulta.money.stripe import checkout as stripe_checkout  # noqa: PLC0415

        found = stripe_checkout.find(payment, payee, since)
        return stripe_checkout.page_of(found, payee, self.read) if found else None

    def expire_checkout(self, payment: PaymentItem, payee: PayeeItem, page: CheckoutPage) -> None:
        """Expire the session; Stripe cancels its intent with it, which we may not do ourselves."""
        from consulta.money.stripe import checkout as stripe_checkout  # noqa: PLC0415

        del payment
        stripe_checkout.expire(page.id, payee)


def is_of(payment: PaymentItem, metadata: dict[str, str]) -> bool:
    """Whether that is our payment's metadata."""
    return (metadata.get("practice"), metadata.get("payment")) == (
        payment.tenant.practice,
        payment.item_id,
    )


# ---------------------------------------------------------------- Stripe's shapes in ours


def normalised(
    intent: dict[str, Any], refunds: list[dict[str, Any]] | tuple[()], account: str
) -> ProviderPayment:
    """A payment intent, with ``latest_charge.balance_transaction`` expanded, in our words.

    An unknown status counts as processing: nothing is done about it until it is one that we know.
    """
    currency = intent["currency"].upper()
    charge = intent.get("latest_charge") or {}
    state = _STATES.get(intent["status"], State.PROCESSING)
    # A declined attempt leaves a failed charge behind; what it says is not about the payment.
    if charge.get("status") == "failed":
        charge = {}
    error = intent.get("last_payment_error") or {}
    redirect = (intent.get("next_action") or {}).get("redirect_to_url") or {}
    methods = intent.get("payment_method_types") or [""]
    transfer = intent.get("transfer_data") or {}
    settlement = charge.get("balance_transaction") or {}
    return ProviderPayment(
        id=intent["id"],
        state=state,
        amount=from_stripe(intent["amount"], currency),
        currency=currency,
        captured=from_stripe(intent["amount_received"], currency),
        account=transfer.get("destination") or account,
        practice=intent["metadata"].get("practice", ""),
        payment=intent["metadata"].get("payment", ""),
        method=(charge.get("payment_method_details") or {}).get("type") or methods[0],
        failure_code=error.get("decline_code") or error.get("code") or "",
        charge=charge.get("id", ""),
        client_secret=intent.get("client_secret") or "",
        action_url=redirect.get("url") or "",
        requires_action=intent["status"] == "requires_action",
        pix=_pix(intent),
        capture_before=_capture_before(charge),
        paid_at=_paid_at(intent, charge) if state is State.SUCCEEDED else None,
        fee=_fee(settlement, currency),
        commission=_commission(charge, settlement, currency),
        balance_transaction=settlement.get("id", ""),
        refunds=tuple(_refund(refund, currency) for refund in refunds),
        raw={"status": intent["status"]},
    )


def _pix(intent: dict[str, Any]) -> PixCode | None:
    shown = (intent.get("next_action") or {}).get("pix_display_qr_code") or {}
    if not shown.get("data"):
        return None
    ends = shown.get("expires_at")
    return PixCode(
        shown["data"], shown.get("image_url_png") or "", from_epoch(ends) if ends else None
    )


def _capture_before(charge: dict[str, Any]) -> datetime | None:
    """When the bank lets an authorization go; only cards say so, and only before the capture."""
    card = (charge.get("payment_method_details") or {}).get("card") or {}
    ends = card.get("capture_before")
    return from_epoch(ends) if ends and not charge.get("captured") else None


def _paid_at(intent: dict[str, Any], charge: dict[str, Any]) -> datetime | None:
    """When the money was taken. A charge that was captured later is older than that."""
    later = intent.get("capture_method") == "manual"
    return from_epoch(charge["created"]) if charge and not later else None


def _fee(settlement: dict[str, Any], currency: str) -> int | None:
    """Stripe's own fee; None before settlement, and where that was in another currency.

    That one is told by :mod:`consulta.money.stripe.exchange`. Of a direct charge our commission is
    in the same list.
    """
    if not settlement or settlement["currency"].upper() != currency:
        return None
    own = (d["amount"] for d in settlement["fee_details"] if d["type"] != "application_fee")
    return from_stripe(sum(own), currency)


def is_exchanged(intent: dict[str, Any]) -> bool:
    """Whether its charge has settled in another currency than its own."""
    settlement = (intent.get("latest_charge") or {}).get("balance_transaction") or {}
    return bool(settlement) and settlement["currency"] != intent["currency"]


def is_passed_on(intent: dict[str, Any]) -> bool:
    """Whether it is a destination charge that has settled.

    Its transfer may have been converted for the payee alone, which nothing on the platform says.
    """
    settled = (intent.get("latest_charge") or {}).get("balance_transaction")
    return bool(settled and (intent.get("transfer_data") or {}).get("destination"))


def _commission(charge: dict[str, Any], settlement: dict[str, Any], currency: str) -> int | None:
    """What we really got of it; None before settlement."""
    if not settlement:
        return None
    return from_stripe(charge.get("application_fee_amount") or 0, currency)


def _refund(refund: dict[str, Any], currency: str) -> ProviderRefund:
    """A failed refund is explained by two balance transactions: its own, and what took it back."""
    state = _REFUND_STATES.get(refund["status"], RefundState.REQUESTED)
    return ProviderRefund(
        id=refund["id"],
        amount=from_stripe(refund["amount"], currency),
        state=state,
        operation=(refund.get("metadata") or {}).get("op_id", ""),
        balance_transaction=refund.get("balance_transaction") or "",
        failed_by=refund.get("failure_balance_transaction") or "",
        reversed=_reversed(refund, currency),
    )


def _reversed(refund: dict[str, Any], currency: str) -> int | None:
    """What its transfer gave back; None where that was in another currency, and so is not told."""
    reversal = refund.get("transfer_reversal")
    if not reversal:
        return 0
    if not isinstance(reversal, dict) or reversal["currency"].upper() != currency:
        return None
    return from_stripe(reversal["amount"], currency)
