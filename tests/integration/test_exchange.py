"""Charges that Stripe settles in another currency: refunds, failures and disputes, to the cent.

Against the simulator: prices in MXN; what the ledger has at Stripe is what Stripe's own balances
hold, in every currency, and ``ledger verify`` finds nothing.
"""

from collections import Counter
from typing import Any

import pytest

from consulta.core import settings
from consulta.money.books import verify as ledger_verify
from consulta.money.books.verify import verify
from consulta.money.paying import orders
from consulta.money.records import POSTING, PaymentItem
from consulta.money.webhooks.inbox import InboxState
from tests.integration.test_money_simulated import PRICE, balances, hold, tell  # noqa: F401
from tests.integration.test_providers import (  # noqa: F401  # fixtures are found by their names
    Simulator,
    ask,
    aws,
    mercadopago,
    mercadopago_process,
    open_account,
    stripe,
    stripe_process,
)
from tests.unit.people.calling import PRACTICE
from tests.unit.scheduling.world import World

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
RATE, LATER = 0.0583, 0.0571
CONTROLLERS = ["platform_losses", "stripe_losses"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_verify, "PAUSE_S", 0)


def settle_in(simulator: Simulator, account: str, rate: float, platform: str = "usd") -> None:
    """Both balances keep pesos in another currency."""
    simulator.control("settlement", {"currency": platform, "rates": {"mxn": rate}})
    body = {"account": account, "currency": "usd", "rates": {"mxn": rate}}
    simulator.control("settlement", body)


def paid(simulator: Simulator, appointment: str) -> PaymentItem:
    body = {"appointment_id": appointment, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", body)
    assert started.status == 201, started.body
    simulator.control(f"pay/{started.body['provider_id']}", {"payment_method": "pm_card_visa"})
    assert InboxState.FAILED not in tell("stripe", simulator)
    return orders.load(World(PRACTICE, exists=True).tenant, started.body["id"])


def refund(payment: PaymentItem, amount: int | None = None) -> str:
    part = {"amount": {"amount": amount, "currency": "MXN"}} if amount else {}
    made = ask("payments", "POST", f"/v1/payments/{payment.item_id}/refunds", part)
    assert (made.status, made.body["state"]) == (201, "succeeded"), made.body
    return str(made.body["id"])


def at_stripe(simulator: Simulator, account: str) -> dict[tuple[str, str], int]:
    """What the balances hold by Stripe's own transactions."""
    sums: Counter[tuple[str, str]] = Counter()
    for name, header in (("stripe", ""), (account, account)):
        listed = simulator.get("/v1/balance_transactions?limit=100", header)["data"]
        for one in listed:
            sums[name, one["currency"].upper()] += one["net"]
    return {place: amount for place, amount in sums.items() if amount}


def in_ledger() -> dict[tuple[str, str], int]:
    """What the ledger has at Stripe."""
    world = World(PRACTICE, exists=True)
    sums: Counter[tuple[str, str]] = Counter()
    for posting in ledger_verify._walk(
        world.tenant, POSTING, ledger_verify.PostingItem, lambda _: None
    ):
        for _, account, amount in ledger_verify.lines(posting):
            if account.startswith("prov:"):
                assert not account.endswith(":unsettled") or posting.currency == "MXN"
                sums[account.split(":")[1], posting.currency] += amount
    return {place: amount for place, amount in sums.items() if amount}


def agrees(simulator: Simulator, account: str) -> None:
    assert in_ledger() == at_stripe(simulator, account)
    assert verify(World(PRACTICE, exists=True).tenant) == []


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_paid_and_given_back_in_parts(stripe: Simulator, hold: str, controller: str) -> None:
    account = str(open_account(stripe, controller).stripe_account)
    settle_in(stripe, account, RATE)
    payment = paid(stripe, hold)
    assert payment.settled
    assert (int(payment.fee), payment.fx["currency"]) == (0, "USD")
    assert int(payment.fx["amount"]) == round(PRICE * RATE)
    assert payment.fx["fee"] > 0
    assert payment.fx["rate"] == str(RATE)
    agrees(stripe, account)
    shown = ask("payments", "GET", f"/v1/payments/{payment.item_id}").body
    assert shown["exchange"]["amount"] == {"amount": round(PRICE * RATE), "currency": "USD"}
    refund(payment, 20_000)
    agrees(stripe, account)
    settle_in(stripe, account, LATER)
    refund(payment)
    assert InboxState.FAILED not in tell("stripe", stripe)
    agrees(stripe, account)
    # Nothing is left in pesos; in dollars what the exchanges and the provider have cost.
    world = World(PRACTICE, exists=True)
    pesos: Counter[tuple[str, str]] = Counter()
    for posting in ledger_verify._walk(
        world.tenant, POSTING, ledger_verify.PostingItem, lambda _: None
    ):
        if posting.currency == "MXN":
            for book, name, amount in ledger_verify.lines(posting):
                pesos[book, name] += amount
    assert not any(pesos.values())


def test_the_platform_keeps_a_third_currency(stripe: Simulator, hold: str) -> None:
    account = str(open_account(stripe, "stripe_losses").stripe_account)
    settle_in(stripe, account, RATE, platform="eur")
    payment = paid(stripe, hold)
    assert payment.fx["platform"]["currency"] == "EUR"
    agrees(stripe, account)
    refund(payment, 12_345)
    agrees(stripe, account)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_refund_fails_at_another_rate(stripe: Simulator, hold: str, controller: str) -> None:
    account = str(open_account(stripe, controller).stripe_account)
    settle_in(stripe, account, RATE)
    payment = paid(stripe, hold)
    refund(payment, 20_000)
    payer = ("stripe" if controller == "platform_losses" else account, "USD")
    gone = in_ledger()
    intent = str(payment.provider_id)
    header = account if controller == "stripe_losses" else ""
    (made,) = stripe.get(f"/v1/refunds?payment_intent={intent}", header)["data"]
    settle_in(stripe, account, LATER)
    stripe.control(f"refunds/{made['id']}/fail")
    assert InboxState.FAILED not in tell("stripe", stripe)
    # The refund alone came back, at the rate of the day.
    agrees(stripe, account)
    assert in_ledger()[payer] - gone[payer] == round(20_000 * LATER)
    refund(payment)
    assert InboxState.FAILED not in tell("stripe", stripe)
    agrees(stripe, account)


@pytest.mark.parametrize("recover", ["opened", "lost"])
@pytest.mark.parametrize("ends", ["won", "lost"])
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_dispute(
    stripe: Simulator,
    hold: str,
    environment: pytest.MonkeyPatch,
    controller: str,
    ends: str,
    recover: str,
) -> None:
    environment.setenv("DISPUTE_RECOVER", recover)
    settings.reset()
    account = str(open_account(stripe, controller).stripe_account)
    settle_in(stripe, account, RATE)
    payment = paid(stripe, hold)
    settle_in(stripe, account, LATER)
    made = stripe.control("disputes", {"charge": str(payment.charge_id)})
    assert InboxState.FAILED not in tell("stripe", stripe)
    agrees(stripe, account)
    stripe.control(f"disputes/{made['id']}", {"status": ends})
    assert InboxState.FAILED not in tell("stripe", stripe)
    agrees(stripe, account)
    tenant = World(PRACTICE, exists=True).tenant
    assert (orders.load(tenant, payment.item_id).disputed == 0) is (ends == "won")


def test_a_currency_that_is_kept_is_not_exchanged(stripe: Simulator, hold: str) -> None:
    account = str(open_account(stripe).stripe_account)
    stripe.control("settlement", {"currency": "usd", "rates": {"brl": 0.2}})
    payment = paid(stripe, hold)
    assert payment.fx is None
    assert payment.fee
    agrees(stripe, account)


def found(stripe: Simulator, path: str, account: str = "") -> Any:
    return stripe.get(path, account)["data"]


def test_the_simulator_keeps_what_it_exchanges(stripe: Simulator, hold: str) -> None:
    """As Stripe: rate and currency on each balance transaction, the transfer as it is kept."""
    account = str(open_account(stripe).stripe_account)
    settle_in(stripe, account, RATE)
    payment = paid(stripe, hold)
    by_type = {one["type"]: one for one in found(stripe, "/v1/balance_transactions?limit=100")}
    charge = by_type["charge"]
    assert (charge["currency"], charge["exchange_rate"]) == ("usd", RATE)
    assert charge["amount"] == round(PRICE * RATE)
    assert {detail["currency"] for detail in charge["fee_details"]} == {"usd"}
    (transfer,) = found(stripe, "/v1/transfers")
    assert (transfer["currency"], transfer["amount"]) == ("usd", charge["amount"])
    (fee,) = found(stripe, "/v1/application_fees")
    assert (fee["currency"], fee["amount"]) == ("mxn", int(payment.commission))
    assert by_type["application_fee"]["amount"] == round(fee["amount"] * RATE)
    assert stripe.get(f"/v1/accounts/{account}")["default_currency"] == "usd"
