"""Disputes, opened and moved through the control plane.

Source: https://docs.stripe.com/disputes/how-disputes-work.
"""

from local.simulators.stripe import balance, fraud_warnings
from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.objects import new, now
from local.simulators.stripe.state import Object, State

EVIDENCE_DUE_S = 9 * 24 * 3600
_CLOSED = ("won", "lost", "warning_closed", "prevented")


def open_one(
    state: State, account: str | None, charge: Object, *, status: str, amount: int, reason: str
) -> Object:
    """A warning_* dispute moves no money; any other withdraws the amount and a fee."""
    balance.settle(state, account, charge["id"])
    dispute = new(
        "dispute",
        amount=amount,
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={},
        evidence_details={
            "due_by": now() + EVIDENCE_DUE_S,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        is_charge_refundable=status.startswith("warning"),
        payment_intent=charge["payment_intent"],
        payment_method_details={"type": "card", "card": {"brand": "visa"}},
        reason=reason,
        status=status,
    )
    state.put(account, dispute)
    charge["disputed"] = True
    state.emit(account, "charge.dispute.created", dispute)
    fraud_warnings.follow(state, account, charge)
    if not status.startswith("warning"):
        _move_funds(state, account, dispute, -1)
        state.emit(account, "charge.dispute.funds_withdrawn", dispute)
    return dispute


def _move_funds(state: State, account: str | None, dispute: Object, sign: int) -> None:
    fee = balance.fee_detail("stripe_fee", balance.DISPUTE_FEE, dispute["currency"])
    fees = (fee,) if sign < 0 else ()
    amount = sign * dispute["amount"]
    posted = balance.post(state, account, "adjustment", amount, dispute, fees=fees)
    transaction = state.get(account, "balance_transaction", posted)
    if sign > 0:
        transaction["reporting_category"] = "dispute_reversal"
    dispute["balance_transactions"].append(transaction)


def change(state: State, account: str | None, dispute: Object, status: str) -> Object:
    if dispute["status"] in _CLOSED:
        raise invalid_request(f"This dispute is already {dispute['status']}.")
    warned = dispute["status"].startswith("warning")
    dispute["status"] = status
    if warned and status == "needs_response":
        _move_funds(state, account, dispute, -1)
        state.emit(account, "charge.dispute.funds_withdrawn", dispute)
    if status == "won":
        _move_funds(state, account, dispute, +1)
        state.emit(account, "charge.dispute.funds_reinstated", dispute)
    kind = "closed" if status in _CLOSED else "updated"
    state.emit(account, f"charge.dispute.{kind}", dispute)
    return dispute
