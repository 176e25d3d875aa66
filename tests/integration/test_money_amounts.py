"""Amounts at their edges, through the API's functions: each refused by its field, or right.

Stripe's simulator counts in Stripe's minor units: what is asked of it, and given back, is compared
with what the patient owes, for currencies of no, two and three decimals.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.money import MAX_AMOUNT
from consulta.money.books import verify as ledger_verify
from consulta.money.paying import refunds
from consulta.money.schema.payments import RefundRequest
from consulta.money.webhooks.inbox import InboxState
from consulta.scheduling import services
from consulta.scheduling.schema.services import ServiceRequest
from tests.integration.test_money import (
    PRICE,
    Practice,
    practice,  # noqa: F401  # a fixture is found by its name
)
from tests.integration.test_money_simulated import hold, tell  # noqa: F401
from tests.integration.test_providers import (  # noqa: F401  # fixtures are found by their names
    Simulator,
    ask,
    aws,
    open_account,
    stripe,
    stripe_process,
)
from tests.unit.people.calling import PRACTICE
from tests.unit.scheduling.world import World, tomorrow

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
NOT_AMOUNTS: dict[str, Any] = {
    "zero": 0,
    "negative": -1,
    "over the most": MAX_AMOUNT + 1,
    "over 64 bits": 10**30,
    "a fraction": 10.5,
    "text": "1000",
    "nothing": None,
    "true": True,
}


def priced(amount: int, currency: str) -> str:
    """A held appointment of that price; its id."""
    world = World(PRACTICE, exists=True)
    expert = world.expert()
    body = {
        "name": "First",
        "duration_minutes": 50,
        "price": {"amount": amount, "currency": currency},
        "expert_ids": [expert],
    }
    service = services.create(world.owner, ServiceRequest.model_validate(body), None)
    return world.book(service.id, expert, world.patient(), tomorrow()).id


@pytest.fixture
def paid(stripe: Simulator, hold: str) -> str:
    """A payment of 500.50 MXN that has settled; its id."""
    open_account(stripe)
    return pay(stripe, hold)["id"]


def pay(stripe: Simulator, appointment: str) -> dict[str, Any]:
    body = {"appointment_id": appointment, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", body)
    assert started.status == 201, started.body
    stripe.control(f"pay/{started.body['provider_id']}", {"payment_method": "pm_card_visa"})
    assert InboxState.FAILED not in tell("stripe", stripe)
    return dict(started.body)


# ---------------------------------------------------------------- what is no amount


@pytest.mark.parametrize("why", NOT_AMOUNTS)
def test_no_such_refund(paid: str, why: str) -> None:
    body = {"amount": {"amount": NOT_AMOUNTS[why], "currency": "MXN"}}
    answer = ask("payments", "POST", f"/v1/payments/{paid}/refunds", body)
    assert answer.status == 422, answer.body
    assert answer.body["errors"][0]["path"] == "body.amount.amount"


@pytest.mark.parametrize("why", NOT_AMOUNTS)
def test_no_such_cash(tables: Any, hold: str, why: str) -> None:
    body = {
        "appointment_id": hold,
        "method": "cash",
        "amount": {"amount": NOT_AMOUNTS[why], "currency": "MXN"},
        "received_at": tomorrow(days=0).date().isoformat(),
    }
    answer = ask("payments", "POST", "/v1/payments/manual", body)
    assert answer.status == 422, answer.body
    assert answer.body["errors"][0]["path"] == "body.amount.amount"


@pytest.mark.parametrize("currency", ["EUR", "mxn", "XXX", "", "PESO", 5])
def test_a_refund_is_in_the_payments_own_currency(paid: str, currency: Any) -> None:
    body = {"amount": {"amount": 100, "currency": currency}}
    answer = ask("payments", "POST", f"/v1/payments/{paid}/refunds", body)
    assert answer.status == 422, answer.body
    assert answer.body["errors"][0]["path"] == "body.amount.currency"


@pytest.mark.parametrize("amount", [50051, 1_000_000, MAX_AMOUNT])
def test_more_than_was_paid_is_refused_with_what_is_left(paid: str, amount: int) -> None:
    body = {"amount": {"amount": amount, "currency": "MXN"}}
    answer = ask("payments", "POST", f"/v1/payments/{paid}/refunds", body)
    assert answer.status == 409, answer.body
    assert answer.body["refundable"] == {"amount": 50050, "currency": "MXN"}


@pytest.mark.parametrize("name", ["amount", "currency", "price", "commission"])
def test_what_is_owed_is_never_the_callers_to_say(stripe: Simulator, hold: str, name: str) -> None:
    open_account(stripe)
    body = {"appointment_id": hold, "provider": "stripe", name: 1}
    answer = ask("payments", "POST", "/v1/payments", body)
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, f"body.{name}")


@pytest.mark.parametrize("amount", [-1, 10**12, 0.5, "5", True, None])
def test_no_such_price(tables: Any, amount: Any) -> None:
    world = World(PRACTICE)
    body = {
        "name": "First",
        "duration_minutes": 50,
        "price": {"amount": amount, "currency": "MXN"},
        "expert_ids": [world.expert()],
    }
    answer = ask("services", "POST", "/v1/services", body)
    assert answer.status == 422, answer.body
    assert answer.body["errors"][0]["path"] == "body.price.amount"


# ---------------------------------------------------------------- currencies, small and large

# What we keep, and what Stripe is asked for: a million units, the least there is, none too odd.
CHARGED = [
    (50050, "MXN", 50050),
    (99_999_999, "MXN", 99_999_999),
    (999_999, "UGX", 99_999_900),
    (1_000_000, "JPY", 1_000_000),
    (5000, "JPY", 5000),
    (50_000, "CLP", 50_000),
    (5000, "KWD", 5000),
    (1_000_000, "KWD", 1_000_000),
]


@pytest.mark.parametrize(("amount", "currency", "sent"), CHARGED)
def test_paid_and_given_back_to_the_last_unit(
    stripe: Simulator, tables: Any, amount: int, currency: str, sent: int
) -> None:
    World(PRACTICE)
    open_account(stripe)
    started = pay(stripe, priced(amount, currency))
    intent = stripe.get(f"/v1/payment_intents/{started['provider_id']}")
    assert (intent["amount"], intent["currency"]) == (sent, currency.lower())
    path = f"/v1/payments/{started['id']}"
    assert ask("payments", "GET", path).body["status"] == "succeeded"
    part = {"amount": {"amount": 10 * (amount // 30), "currency": currency}}
    assert ask("payments", "POST", f"{path}/refunds", part).body["state"] == "succeeded"
    rest = ask("payments", "POST", f"{path}/refunds", {})
    assert rest.status == 201, rest.body
    detail = ask("payments", "GET", path).body
    assert detail["status"] == "refunded"
    assert sum(refund["amount"]["amount"] for refund in detail["refunds"]) == amount
    charge = stripe.get(f"/v1/charges/{intent['latest_charge']}")
    assert charge["amount_refunded"] == sent
    returned = sum(refund["commission"]["amount"] for refund in detail["refunds"])
    assert returned == detail["commission"]["amount"]
    assert ledger_verify.verify(World(PRACTICE, exists=True).tenant) == []


@pytest.mark.parametrize(
    ("amount", "currency"),
    [(100_000_000, "MXN"), (1_000_000, "UGX"), (5001, "KWD"), (4_999_999_999, "JPY")],
)
def test_what_stripe_cannot_charge_is_refused_before_it_is_asked(
    stripe: Simulator, tables: Any, amount: int, currency: str
) -> None:
    World(PRACTICE)
    open_account(stripe)
    world = World(PRACTICE, exists=True)
    expert = world.expert()
    body = {
        "name": "First",
        "duration_minutes": 50,
        "price": {"amount": amount, "currency": currency},
        "expert_ids": [expert],
    }
    made = ask("services", "POST", "/v1/services", body)
    if made.status == 201:
        booked = world.book(made.body["id"], expert, world.patient(), tomorrow()).id
        body = {"appointment_id": booked, "provider": "stripe"}
        made = ask("payments", "POST", "/v1/payments", body)
    assert made.status in (409, 422), made.body
    assert made.body["detail"] or made.body["errors"]
    assert stripe.get("/v1/payment_intents")["data"] == []


# ---------------------------------------------------------------- at the same time


@pytest.fixture
def one_call_at_a_time(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB's calls are atomic; moto's are so only where no two of them run at once."""
    client, lock = table._dynamodb(), threading.Lock()
    call = client._make_api_call

    def locked(*arguments: Any) -> Any:
        with lock:
            return call(*arguments)

    monkeypatch.setattr(client, "_make_api_call", locked)


@pytest.mark.parametrize("amount", [1700, 2500, 4999, None])
def test_never_more_than_was_paid_however_many_ask_at_once(
    practice: Practice, one_call_at_a_time: None, amount: int | None
) -> None:
    payment, gate = practice.paid(), threading.Barrier(6)
    part = {"amount": {"amount": amount, "currency": "EUR"}} if amount else {}
    body = RefundRequest.model_validate(part)

    def ask_for_it(number: int) -> bool:
        gate.wait()
        try:
            refunds.create(practice.owner, payment.id, body, f"key-{number}")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        given = sum(pool.map(ask_for_it, range(6)))
    each = amount or PRICE
    assert given == PRICE // each
    stored = practice.payment(payment.id)
    assert (stored.refunded, stored.reserved) == (given * each, 0)
    at_provider = practice.stripe.payments[str(payment.provider_id)].refunds
    assert [refund.amount for refund in at_provider] == [each] * given
    assert ledger_verify.verify(practice.world.tenant) == []
