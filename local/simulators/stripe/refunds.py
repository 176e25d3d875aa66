"""Refunds, with the transfer's and the application fee's shares.

Source: https://docs.stripe.com/connect/destination-charges#issue-refunds.
"""

from fractions import Fraction
from typing import Any

from local.simulators.stripe import balance, fraud_warnings
from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.intents import merge_metadata
from local.simulators.stripe.objects import new
from local.simulators.stripe.state import Call, Object, State


def create(state: State, call: Call) -> Object:
    params, account = call.params, call.account
    charge = _charge_to_refund(state, call)
    balance.settle(state, account, charge["id"])
    remaining = charge["amount_captured"] - charge["amount_refunded"]
    if remaining == 0:
        raise invalid_request(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    amount = params.get("amount", remaining)
    if not 0 < amount <= remaining:
        raise invalid_request(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({remaining})",
            param="amount",
        )
    if params.get("reverse_transfer") and not charge["transfer"]:
        raise invalid_request(
            f"Cannot reverse transfer on charge {charge['id']}: it has no associated transfer.",
            param="reverse_transfer",
        )
    if params.get("refund_application_fee") and not charge["application_fee"]:
        raise invalid_request(
            f"Charge {charge['id']} has no application fee to refund.",
            param="refund_application_fee",
        )
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    refund = _new_refund(charge, amount, params)
    fee_returned = 0
    if params.get("refund_application_fee"):
        fee_returned = _return_fee(state, charge)
    fees: tuple[dict[str, Any], ...] = ()
    if account and fee_returned:
        fees = (balance.fee_detail("application_fee", -fee_returned, charge["currency"]),)
    refund["balance_transaction"] = balance.post(
        state, account, "refund", -amount, refund, fees=fees
    )
    if params.get("reverse_transfer"):
        refund["transfer_reversal"] = _reverse_transfer(state, charge, refund, fee_returned)
    state.put(account, refund)
    state.emit(account, "refund.created", refund)
    state.emit(account, "charge.refunded", charge)
    fraud_warnings.follow(state, account, charge)
    return refund


def _charge_to_refund(state: State, call: Call) -> Object:
    params, account = call.params, call.account
    if ("charge" in params) == ("payment_intent" in params):
        raise invalid_request("One of the following params should be provided: charge.")
    charge_id = params.get("charge")
    if intent_id := params.get("payment_intent"):
        intent = state.get(account, "payment_intent", intent_id, "payment_intent")
        charge_id = intent["latest_charge"]
        if intent["status"] != "succeeded":
            raise invalid_request(
                f"This PaymentIntent ({intent_id}) does not have a successful charge to refund."
            )
    return state.get(account, "charge", charge_id or "", "charge")


def _new_refund(charge: Object, amount: int, params: dict[str, Any]) -> Object:
    return new(
        "refund",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={
            "type": "card",
            "card": {"reference_status": "pending", "reference_type": "acquirer_reference_number"},
        },
        metadata=params.get("metadata") or {},
        payment_intent=charge["payment_intent"],
        reason=params.get("reason"),
        status="succeeded",
    )


def _share(total: int, done: int, charge: Object) -> int:
    """What is still to return of `total`, in proportion to what the charge has refunded.

    Cumulative, so that several parts never add up to more, and a full refund returns the rest.
    """
    share = Fraction(total * charge["amount_refunded"], charge["amount_captured"])
    return round(share) - done  # half to even


def _return_fee(state: State, charge: Object) -> int:
    fee = state.get(None, "application_fee", charge["application_fee"])
    amount = _share(fee["amount"], fee["amount_refunded"], charge)
    if amount <= 0:
        return 0
    part = new("fee_refund", amount=amount, currency=fee["currency"], fee=fee["id"])
    part["balance_transaction"] = balance.post(state, None, "application_fee_refund", -amount, part)
    fee["refunds"]["data"].insert(0, state.put(None, part))
    fee["amount_refunded"] += amount
    fee["refunded"] = fee["amount_refunded"] == fee["amount"]
    state.emit(None, "application_fee.refunded", fee)
    return amount


def _reverse_transfer(
    state: State, charge: Object, refund: Object, fee_returned: int
) -> str | None:
    transfer = state.get(None, "transfer", charge["transfer"])
    amount = _share(transfer["amount"], transfer["amount_reversed"], charge)
    if amount <= 0:
        return None
    destination = transfer["destination"]
    payment = state.get(destination, "charge", transfer["destination_payment"])
    payment["amount_refunded"] += amount
    payment["refunded"] = payment["amount_refunded"] == payment["amount"]
    reversal = new(
        "transfer_reversal",
        amount=amount,
        currency=transfer["currency"],
        source_refund=refund["id"],
        transfer=transfer["id"],
    )
    back = _new_refund(payment, amount, {})
    back["id"] = back["id"].replace("re_", "pyr_")
    fees: tuple[dict[str, Any], ...] = ()
    if fee_returned:
        returned, currency, _ = state.exchanged(None, fee_returned, charge["currency"])
        fees = (balance.fee_detail("application_fee", -returned, currency),)
    back["source_transfer_reversal"] = reversal["id"]
    back["balance_transaction"] = balance.post(
        state, destination, "payment_refund", -amount, back, fees=fees
    )
    reversal["destination_payment_refund"] = state.put(destination, back)["id"]
    reversal["balance_transaction"] = balance.post(state, None, "transfer_refund", amount, reversal)
    transfer["reversals"]["data"].insert(0, state.put(None, reversal))
    transfer["amount_reversed"] += amount
    transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
    state.emit(None, "transfer.reversed", transfer)
    made: str = reversal["id"]
    return made


def update(state: State, call: Call, refund_id: str) -> Object:
    refund = state.get(call.account, "refund", refund_id)
    merge_metadata(refund, call.params)
    state.emit(call.account, "refund.updated", refund)
    return refund


def fail(state: State, account: str | None, refund: Object) -> Object:
    """A bank that refuses a refund: the money comes back to the balance that paid it."""
    refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    refund["failure_balance_transaction"] = balance.post(
        state, account, "refund_failure", refund["amount"], refund
    )
    charge = state.get(account, "charge", refund["charge"])
    charge |= {"amount_refunded": charge["amount_refunded"] - refund["amount"], "refunded": False}
    state.emit(account, "refund.failed", refund)
    state.emit(account, "refund.updated", refund)
    return refund
