"""Daily reconciliation where Stripe settles in another currency: what is right lists nothing."""

from typing import Any

import pytest

from tests.integration.test_exchange import LATER, RATE, refund, settle_in, settle_theirs_in
from tests.integration.test_exchange import paid as paid_in_pesos
from tests.integration.test_payouts import tell
from tests.integration.test_providers import (  # noqa: F401  # fixtures are found by their names
    Simulator,
    aws,
    mercadopago,
    mercadopago_process,
    open_account,
    stripe,
    stripe_process,
)
from tests.integration.test_reconciliation import (  # noqa: F401  # fixtures are found by their names
    CONTROLLERS,
    TENANT,
    change,
    clock,
    differences,
    hold,
    postings,
    queue,
    run,
    running,
    told,
)

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over


def proven(clock: Any) -> set[tuple[str, str]]:
    """Nothing is open, and these balances, by account and currency, are proven."""
    done = run(clock)
    assert (told(), done.failures) == ([], [])
    own = running.find(TENANT, done.item_id)
    assert own
    balances = [*done.balances, *own.balances]
    assert all(one["provider"] == one["ledger"] for one in balances)
    return {(one["account"], one["currency"]) for one in balances if one["provider"]}


@pytest.mark.parametrize(
    ("controller", "platform", "outcome"),
    [
        ("platform_losses", "usd", "won"),
        ("platform_losses", "usd", "lost"),
        ("stripe_losses", "usd", "lost"),
        ("stripe_losses", "eur", "won"),
    ],
)
def test_from_the_charge_to_the_payout(
    stripe: Simulator,
    hold: str,
    queue: str,
    clock: Any,
    controller: str,
    platform: str,
    outcome: str,
) -> None:
    account = str(open_account(stripe, controller).stripe_account)
    settle_in(stripe, account, RATE, platform)
    payment = paid_in_pesos(stripe, hold)
    both = {("stripe", platform.upper()), (account, "USD")}
    assert proven(clock) == both
    settle_in(stripe, account, LATER, platform)
    refund(payment, 20_000)
    tell(stripe)
    assert proven(clock) == both
    dispute = stripe.control("disputes", {"charge": str(payment.charge_id)})["id"]
    tell(stripe)
    proven(clock)
    stripe.control(f"disputes/{dispute}", {"status": outcome})
    tell(stripe)
    assert ((account, "USD") in proven(clock)) is True
    if outcome == "lost":
        return
    stripe.control("balance", {"account": account})
    stripe.control("payouts", {"account": account, "currency": "usd", "status": "paid"})
    tell(stripe)
    assert (account, "USD") not in proven(clock)


@CONTROLLERS
def test_another_rate_than_the_providers(
    stripe: Simulator, hold: str, queue: str, clock: Any, controller: str
) -> None:
    account = str(open_account(stripe, controller).stripe_account)
    settle_in(stripe, account, RATE)
    paid_in_pesos(stripe, hold)
    (settled,) = [
        one for one in postings() if one.event == "charge_settled" and one.currency == "USD"
    ]
    entries = [dict(entry) for entry in settled.entries]
    theirs = f"prov:{account}:pending"
    (entry,) = [e for e in entries if e["account"] == theirs and e["debit"]]
    entry["debit"] += 3
    change(settled, entries=entries)
    run(clock)
    (found,) = differences(state="open")
    assert (found.kind, found.cause, found.account) == ("amount", "amount", account)
    assert (found.currency, int(found.net)) == ("USD", -3)


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_what_is_converted_for_the_payee_alone(
    stripe: Simulator, hold: str, queue: str, clock: Any, outcome: str
) -> None:
    account = str(open_account(stripe, "platform_losses").stripe_account)
    settle_theirs_in(stripe, account, RATE)
    payment = paid_in_pesos(stripe, hold)
    both = {("stripe", "MXN"), (account, "USD")}
    assert proven(clock) == both
    settle_theirs_in(stripe, account, LATER)
    refund(payment, 20_000)
    tell(stripe)
    assert proven(clock) == both
    dispute = stripe.control("disputes", {"charge": str(payment.charge_id)})["id"]
    tell(stripe)
    proven(clock)
    stripe.control(f"disputes/{dispute}", {"status": outcome})
    tell(stripe)
    assert ((account, "USD") in proven(clock)) is True
    if outcome == "lost":
        return
    # The payout takes from the balance that the ledger has.
    stripe.control("balance", {"account": account})
    stripe.control("payouts", {"account": account, "currency": "usd", "status": "paid"})
    tell(stripe)
    assert (account, "USD") not in proven(clock)


def test_another_amount_than_the_payee_got(
    stripe: Simulator, hold: str, queue: str, clock: Any
) -> None:
    account = str(open_account(stripe, "platform_losses").stripe_account)
    settle_theirs_in(stripe, account, RATE)
    paid_in_pesos(stripe, hold)
    (settled,) = [
        one for one in postings() if one.event == "charge_settled" and one.currency == "USD"
    ]
    entries = [dict(entry) for entry in settled.entries]
    (entry,) = [e for e in entries if e["account"] == f"prov:{account}:pending"]
    entry["debit"] += 3
    change(settled, entries=entries)
    run(clock)
    (found,) = differences(state="open")
    assert (found.kind, found.cause, found.account) == ("amount", "amount", account)
    assert (found.currency, int(found.net)) == ("USD", -3)
