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
from consulta.money.paying import effects, orders
from consulta.money.paying.orders import payee_of
from consulta.money.providers import provider_for
from consulta.money.records import POSTING, PaymentItem
from consulta.money.stripe import exchange as stripe_exchange
from consulta.money.webhooks.inbox import InboxState
from tests.integration.test_money_simulated import PRICE, balances, hold, tell  # noqa: F401
from tests.integration.test_providers import (  # noqa: F401  # fixtures are found by their names
    BY,
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


# ---------------------------------------------------------------- for the payee alone


def settle_theirs_in(simulator: Simulator, account: str, rate: float) -> None:
    """The platform keeps pesos; the account has no balance in them."""
    body = {"account": account, "currency": "usd", "rates": {"mxn": rate}}
    simulator.control("settlement", body)


def apart(simulator: Simulator, hold: str) -> tuple[str, PaymentItem]:
    """A destination charge that was converted for its payee alone: account and payment."""
    account = str(open_account(simulator, "platform_losses").stripe_account)
    settle_theirs_in(simulator, account, RATE)
    return account, paid(simulator, hold)


def balance_of(book: str, name: str, currency: str) -> int:
    """What one account of one book holds."""
    postings = ledger_verify._walk(
        World(PRACTICE, exists=True).tenant, POSTING, ledger_verify.PostingItem, lambda _: None
    )
    return sum(
        amount
        for posting in postings
        for held_by, account, amount in ledger_verify.lines(posting)
        if (held_by.partition(":")[0], account, posting.currency) == (book, name, currency)
    )


def test_converted_for_the_payee_and_given_back_in_parts(stripe: Simulator, hold: str) -> None:
    account, payment = apart(stripe, hold)
    commission = int(payment.commission)
    assert payment.settled
    # Stripe's fee was the platform's, in pesos; what is shown is what the payee got.
    assert int(payment.fee) > 0
    assert payment.fx["platform"] == {"currency": "MXN", "net": 0}
    assert payment.fx["payee"]["currency"] == "USD"
    assert (payment.fx["currency"], payment.fx["rate"]) == ("USD", str(RATE))
    agrees(stripe, account)
    left = round(PRICE * RATE) - round(commission * RATE)
    assert in_ledger() == {
        ("stripe", "MXN"): commission - int(payment.fee),
        (account, "USD"): left,
    }
    shown = ask("payments", "GET", f"/v1/payments/{payment.item_id}").body
    assert shown["exchange"] == {
        "amount": {"amount": round(PRICE * RATE), "currency": "USD"},
        "fee": {"amount": 0, "currency": "USD"},
        "rate": str(RATE),
    }
    # The platform's book never went through fx; the payee's has both sides of the exchange there.
    assert balance_of("PLAT", "fx", "MXN") == 0
    assert balance_of("PAYEE", "fx", "MXN") == PRICE - commission
    assert balance_of("PAYEE", "fx", "USD") == -left
    refund(payment, 20_000)
    agrees(stripe, account)
    settle_theirs_in(stripe, account, LATER)
    refund(payment)
    assert InboxState.FAILED not in tell("stripe", stripe)
    agrees(stripe, account)
    # Nothing is left in pesos but the fee; in dollars what the two rates have brought the payee.
    assert balance_of("PAYEE", "fx", "MXN") == 0
    assert balance_of("PAYEE", "fx", "USD") == -in_ledger()[account, "USD"]
    assert in_ledger()[account, "USD"] > 0
    assert in_ledger()["stripe", "MXN"] == -int(payment.fee)


def test_a_refund_fails_where_only_the_payee_is_converted(stripe: Simulator, hold: str) -> None:
    account, payment = apart(stripe, hold)
    refund(payment, 20_000)
    gone = in_ledger()
    intent = str(payment.provider_id)
    (made,) = stripe.get(f"/v1/refunds?payment_intent={intent}")["data"]
    settle_theirs_in(stripe, account, LATER)
    stripe.control(f"refunds/{made['id']}/fail")
    assert InboxState.FAILED not in tell("stripe", stripe)
    agrees(stripe, account)
    # The refund came back to the platform, peso for peso, which owes it; the payee's stays away.
    back = {place: amount - gone[place] for place, amount in in_ledger().items()}
    assert back == {("stripe", "MXN"): 20_000, (account, "USD"): 0}
    assert balance_of("PLAT", f"due:PAYEE:{payment.payee_id}", "MXN") == -20_000
    # The next refund is paid out of that first.
    refund(payment, 20_000)
    agrees(stripe, account)
    assert in_ledger() == gone
    refund(payment)
    agrees(stripe, account)
    assert balance_of("PLAT", f"due:PAYEE:{payment.payee_id}", "MXN") == 0


@pytest.mark.parametrize("recover", ["opened", "lost", "never"])
@pytest.mark.parametrize("ends", ["won", "lost"])
@pytest.mark.parametrize("amount", [None, 30_000])
def test_a_dispute_where_only_the_payee_is_converted(
    stripe: Simulator,
    hold: str,
    environment: pytest.MonkeyPatch,
    amount: int | None,
    ends: str,
    recover: str,
) -> None:
    environment.setenv("DISPUTE_RECOVER", recover)
    settings.reset()
    account, payment = apart(stripe, hold)
    before = in_ledger()
    settle_theirs_in(stripe, account, LATER)
    body = {"charge": str(payment.charge_id), **({"amount": amount} if amount else {})}
    made = stripe.control("disputes", body)
    assert InboxState.FAILED not in tell("stripe", stripe)
    agrees(stripe, account)
    stripe.control(f"disputes/{made['id']}", {"status": ends})
    assert InboxState.FAILED not in tell("stripe", stripe)
    agrees(stripe, account)
    disputed = amount or PRICE
    taken = round(disputed * LATER)
    is_taken = ends == "lost" and recover != "never"
    assert before[account, "USD"] - in_ledger()[account, "USD"] == (taken if is_taken else 0)
    assert balance_of("PAYEE", "loss", "MXN") == (disputed if is_taken else 0)
    assert balance_of("PLAT", "loss", "MXN") == (disputed if ends == "lost" and not is_taken else 0)
    assert not balance_of("PAYEE", "held", "MXN")


def test_a_partly_refunded_charge_of_such_a_payee_is_disputed(
    stripe: Simulator, hold: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("DISPUTE_RECOVER", "opened")
    settings.reset()
    account, payment = apart(stripe, hold)
    refund(payment, 12_345)
    settle_theirs_in(stripe, account, LATER)
    made = stripe.control("disputes", {"charge": str(payment.charge_id), "amount": PRICE - 12_345})
    assert InboxState.FAILED not in tell("stripe", stripe)
    agrees(stripe, account)
    stripe.control(f"disputes/{made['id']}", {"status": "won"})
    assert InboxState.FAILED not in tell("stripe", stripe)
    agrees(stripe, account)


def test_the_payee_keeps_the_charges_currency_beside_another(stripe: Simulator, hold: str) -> None:
    """By default it has dollars, but an account for pesos, too: nothing is converted."""
    account = str(open_account(stripe).stripe_account)
    body = {"account": account, "currency": "usd", "rates": {"brl": RATE}}
    stripe.control("settlement", body)
    payment = paid(stripe, hold)
    assert payment.fx is None
    assert payment.fee
    agrees(stripe, account)
    refund(payment, 20_000)
    agrees(stripe, account)


def test_the_transfer_is_told_after_the_charge_has_settled(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a settlement is none: it waits for the transfer, which tells what the payee got."""
    read, lacking = stripe_exchange.told, [True]

    def without_transfer(reading: Any, intent: Any, refunds: Any, account: str) -> Any:
        if lacking[0]:
            intent = {**intent, "latest_charge": {**intent["latest_charge"], "transfer": None}}
        return read(reading, intent, refunds, account)

    monkeypatch.setattr(stripe_exchange, "told", without_transfer)
    account, payment = apart(stripe, hold)
    assert (payment.state, payment.settled, payment.fx) == ("succeeded", False, None)
    lacking[0] = False
    effects.refresh(payment.tenant, payment.item_id, BY)
    assert orders.load(payment.tenant, payment.item_id).fx["payee"]["currency"] == "USD"
    agrees(stripe, account)


def test_what_has_settled_plainly_is_not_looked_for_again(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_account(stripe)
    payment = paid(stripe, hold)
    assert payment.settled
    monkeypatch.delattr(stripe_exchange, "told")
    effects.refresh(payment.tenant, payment.item_id, BY)
    # Whoever does not know how it settled looks.
    with pytest.raises(AttributeError):
        provider_for("stripe").read(str(payment.provider_id), payee_of(payment))


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
