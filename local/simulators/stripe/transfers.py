"""Transfers of their own, and reversals without a refund.

Source: https://docs.stripe.com/connect/separate-charges-and-transfers.
"""

from local.simulators.stripe import balance
from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.objects import new, page
from local.simulators.stripe.state import Call, Object, State, paged


def create(state: State, call: Call) -> Object:
    params = call.params
    destination, amount = params["destination"], params.get("amount", 0)
    state.get(None, "account", destination, "destination")
    if amount <= 0:
        raise invalid_request("Invalid positive integer", param="amount")
    transfer = new(
        "transfer",
        amount=amount,
        amount_reversed=0,
        currency=params["currency"],
        description=params.get("description"),
        destination=destination,
        metadata=params.get("metadata") or {},
        reversed=False,
        source_type="card",
        transfer_group=params.get("transfer_group"),
    )
    transfer["reversals"] = page(f"/v1/transfers/{transfer['id']}/reversals", [])
    transfer["balance_transaction"] = balance.post(state, None, "transfer", -amount, transfer)
    payment = balance.destination_payment(state, destination, transfer, transfer)
    payment["balance_transaction"] = balance.post(state, destination, "payment", amount, payment)
    transfer["destination_payment"] = payment["id"]
    state.put(None, transfer)
    state.emit(None, "transfer.created", transfer)
    return transfer


def reverse(state: State, call: Call, transfer_id: str) -> Object:
    transfer = state.get(None, "transfer", transfer_id)
    remaining = transfer["amount"] - transfer["amount_reversed"]
    amount = call.params.get("amount", remaining)
    if not 0 < amount <= remaining:
        raise invalid_request(
            f"Transfer reversal amount ({amount}) is greater than unreversed amount ({remaining})",
            param="amount",
        )
    destination = transfer["destination"]
    payment = state.get(destination, "charge", transfer["destination_payment"])
    payment["amount_refunded"] += amount
    payment["refunded"] = payment["amount_refunded"] == payment["amount"]
    reversal = new(
        "transfer_reversal",
        amount=amount,
        currency=transfer["currency"],
        metadata=call.params.get("metadata") or {},
        transfer=transfer["id"],
    )
    back = new(
        "refund",
        amount=amount,
        charge=payment["id"],
        currency=transfer["currency"],
        source_transfer_reversal=reversal["id"],
        status="succeeded",
    )
    back["id"] = back["id"].replace("re_", "pyr_")
    back["balance_transaction"] = balance.post(state, destination, "payment_refund", -amount, back)
    reversal["destination_payment_refund"] = state.put(destination, back)["id"]
    reversal["balance_transaction"] = balance.post(state, None, "transfer_refund", amount, reversal)
    transfer["reversals"]["data"].insert(0, state.put(None, reversal))
    transfer["amount_reversed"] += amount
    transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
    state.emit(None, "transfer.reversed", transfer)
    return reversal


def reversals(state: State, call: Call, transfer_id: str) -> Object:
    return paged(call, state.get(None, "transfer", transfer_id)["reversals"]["data"])
