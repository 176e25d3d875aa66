"""Payouts, made through the control plane: nobody waits two days on a laptop."""

from local.simulators.stripe import balance
from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.objects import new, now
from local.simulators.stripe.state import Object, State


def create(state: State, body: Object) -> Object:
    account = body.get("account")
    if account is not None:
        state.get(None, "account", account, "account")
    payout = new(
        "payout",
        amount=int(body["amount"]),
        arrival_date=now(),
        automatic=True,
        currency=body.get("currency", "usd"),
        method="standard",
        reconciliation_status="in_progress",
        source_type="card",
        status="pending",
        type="bank_account",
    )
    payout["balance_transaction"] = balance.post(
        state, account, "payout", -payout["amount"], payout
    )
    state.put(account, payout)
    state.emit(account, "payout.created", payout)
    status = body.get("status", "pending")
    return payout if status == "pending" else change(state, account, payout, status)


def change(state: State, account: str | None, payout: Object, status: str) -> Object:
    """A payout can go from paid to failed: the bank sent it back."""
    if status not in ("paid", "failed", "canceled") or payout["status"] in ("failed", "canceled"):
        raise invalid_request(f"A payout that is {payout['status']} cannot become {status}.")
    payout["status"] = status
    if status == "failed":
        payout |= {"failure_code": "account_closed", "failure_message": "The account is closed."}
    if status in ("failed", "canceled"):
        kind = "payout_failure" if status == "failed" else "payout_cancel"
        payout["failure_balance_transaction"] = balance.post(
            state, account, kind, payout["amount"], payout
        )
    if status == "paid":
        payout["reconciliation_status"] = "completed"
    state.emit(account, f"payout.{status}", payout)
    return payout
