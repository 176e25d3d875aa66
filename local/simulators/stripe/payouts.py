"""Payouts, made through the control plane: nobody waits two days on a laptop.

Without an amount it is an automatic payout: of all that is available and was not paid out yet, and
Stripe then lists which transactions these are.
Source: https://docs.stripe.com/payouts/reconciliation.
"""

from local.simulators.stripe import balance
from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.objects import new, now
from local.simulators.stripe.state import Call, Object, State, listed, paged


def create(state: State, body: Object) -> Object:
    account = body.get("account")
    if account is not None:
        state.get(None, "account", account, "account")
    currency = body.get("currency", "usd")
    automatic = "amount" not in body
    paid_out = _not_paid_out(state, account, currency) if automatic else []
    amount = sum(one["net"] for one in paid_out) if automatic else int(body["amount"])
    if amount <= 0:
        raise invalid_request("There is nothing to pay out.", param="amount")
    payout = new(
        "payout",
        amount=amount,
        arrival_date=now(),
        automatic=automatic,
        currency=currency,
        method="standard",
        reconciliation_status="in_progress" if automatic else "not_applicable",
        source_type="card",
        status="pending",
        type="bank_account",
    )
    payout["balance_transaction"] = balance.post(
        state, account, "payout", -payout["amount"], payout
    )
    state.put(account, payout)
    if automatic:
        state.paid_out[payout["id"]] = [one["id"] for one in paid_out]
    state.emit(account, "payout.created", payout)
    status = body.get("status", "pending")
    return payout if status == "pending" else change(state, account, payout, status)


def _not_paid_out(state: State, account: str | None, currency: str) -> list[Object]:
    gone = {one for ids in state.paid_out.values() for one in ids}
    return [
        one
        for one in state.all(account, "balance_transaction")
        if one["status"] == "available"
        and one["currency"] == currency
        and not one["type"].startswith("payout")
        and one["id"] not in gone
    ]


def list_transactions(state: State, call: Call) -> Object:
    """GET /v1/balance_transactions; with ``payout`` those of an automatic payout, itself first."""
    payout_id = call.params.pop("payout", None)
    if payout_id is None:
        filters = ("currency", "source", "type")
        return listed(state, call, "balance_transaction", filters)
    payout = state.get(call.account, "payout", payout_id, "payout")
    if not payout["automatic"]:
        raise invalid_request(
            "Balance transaction history can only be filtered on automatic transfers, not manual.",
            param="payout",
        )
    handled = {"limit", "starting_after", "ending_before"}
    if unknown := sorted(set(call.params) - handled):
        raise invalid_request(f"This simulator cannot filter by {unknown[0]}.", param=unknown[0])
    wanted = {payout["balance_transaction"], *state.paid_out.get(payout_id, [])}
    found = [one for one in state.all(call.account, "balance_transaction") if one["id"] in wanted]
    return paged(call, found)


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
    if status == "paid" and payout["automatic"]:
        payout["reconciliation_status"] = "completed"
    state.emit(account, f"payout.{status}", payout)
    return payout
