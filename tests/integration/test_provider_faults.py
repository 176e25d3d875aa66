"""The providers fail in every way there is, seen through both real adapters and the simulators.

No answer (before and after it acted), too many requests, a 500 (which Stripe stores and replays
under the same key), half an answer: of starting, refunding, cancelling and capturing. Whoever asks
again gets what was asked for, and it was done once.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from consulta.core.errors import ProviderFailed
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.money.appointments import approving
from consulta.money.books import verify as ledger_verify
from consulta.money.mercadopago import connections as mercadopago_connections
from consulta.money.paying import effects, operations, orders
from consulta.money.records import REFUND, PaymentItem, State
from consulta.money.schema.connect import ConnectionIn
from consulta.money.webhooks.inbox import InboxState
from consulta.scheduling import services
from consulta.scheduling.schema.services import ServiceRequest
from tests.integration.money_stage import listed
from tests.integration.test_money_simulated import PRICE, balances, hold, tell  # noqa: F401
from tests.integration.test_providers import (  # noqa: F401  # fixtures are found by their names
    BY,
    Simulator,
    ask,
    aws,
    by_card,
    mercadopago,
    mercadopago_process,
    open_account,
    stripe,
    stripe_process,
)
from tests.unit.people.calling import PRACTICE
from tests.unit.scheduling.world import World, tomorrow

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
# More than an SDK tries by itself.
TIMES = 4
FAULTS: dict[str, dict[str, Any]] = {
    "no answer before": {"kind": "timeout_before"},
    "no answer after": {"kind": "timeout_after"},
    "too many": {"kind": "status", "status": 429},
    "500": {"kind": "status", "status": 500},
    "half an answer": {"kind": "garbled"},
}
OWNER = Principal("person", Role.OWNER, "request", PRACTICE)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Nothing that was sent can still be on its way."""
    ahead = [timedelta(0)]
    monkeypatch.setattr(operations, "now", lambda: now() + ahead[0])

    def forward() -> None:
        ahead[0] += timedelta(minutes=2)

    return forward


def fail(simulator: Simulator, why: str, path: str, times: int = TIMES) -> None:
    """The next calls of that path fail."""
    body = {"method": "POST", "path_prefix": path, "times": times, **FAULTS[why]}
    simulator.control("faults", body)


def again(act: Callable[[], Any], later: Callable[[], None], tries: int = 6) -> Any:
    """Ask until it answers; a person would."""
    for _ in range(tries):
        try:
            answer = act()
        except ProviderFailed:
            later()
            continue
        if getattr(answer, "status", 201) < 500:
            return answer
        later()
    raise AssertionError("it never answered")


def ledger_is_right() -> None:
    assert ledger_verify.verify(World(PRACTICE, exists=True).tenant) == []


@pytest.mark.parametrize("why", FAULTS)
def test_starting_at_stripe(
    stripe: Simulator, hold: str, later: Callable[[], None], why: str
) -> None:
    open_account(stripe)
    fail(stripe, why, "/v1/payment_intents")
    body = {"appointment_id": hold, "provider": "stripe"}
    started = again(lambda: ask("payments", "POST", "/v1/payments", body), later).body
    assert started["client_secret"]
    [intent] = stripe.get("/v1/payment_intents")["data"]
    assert intent["id"] == started["provider_id"]
    stripe.control(f"pay/{intent['id']}")
    assert InboxState.FAILED not in tell("stripe", stripe)
    ledger_is_right()


@pytest.mark.parametrize("why", FAULTS)
def test_refunding_at_stripe(
    stripe: Simulator, hold: str, later: Callable[[], None], why: str
) -> None:
    open_account(stripe)
    body = {"appointment_id": hold, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", body).body
    stripe.control(f"pay/{started['provider_id']}")
    assert InboxState.FAILED not in tell("stripe", stripe)
    fail(stripe, why, "/v1/refunds")
    part = {"amount": {"amount": 20000, "currency": "MXN"}}
    made = ask("payments", "POST", f"/v1/payments/{started['id']}/refunds", part)
    assert made.status == 201, made.body
    tenant = World(PRACTICE, exists=True).tenant
    [refund_id] = listed(tenant, REFUND)

    def sweep() -> Any:
        return None if effects.resume(tenant.item(REFUND, refund_id), BY) else retry()

    def retry() -> None:
        raise ProviderFailed

    again(sweep, later)
    detail = ask("payments", "GET", f"/v1/payments/{started['id']}").body
    assert [refund["state"] for refund in detail["refunds"]] == ["succeeded"]
    [theirs] = stripe.get("/v1/refunds")["data"]
    assert theirs["amount"] == 20000
    assert InboxState.FAILED not in tell("stripe", stripe)
    ledger_is_right()


@pytest.mark.parametrize("answer", ["approve", "decline"])
@pytest.mark.parametrize("why", FAULTS)
def test_capturing_and_letting_go_at_stripe(
    stripe: Simulator, tables: Any, later: Callable[[], None], why: str, answer: str
) -> None:
    world = World(PRACTICE)
    open_account(stripe)
    expert = world.expert(auto_confirm=False)
    price = {"amount": PRICE, "currency": "MXN"}
    body = {"name": "First", "duration_minutes": 50, "price": price, "expert_ids": [expert]}
    service = services.create(world.owner, ServiceRequest.model_validate(body), None)
    held = world.book(service.id, expert, world.patient(), tomorrow(days=3)).id
    started = ask(
        "payments", "POST", "/v1/payments", {"appointment_id": held, "provider": "stripe"}
    ).body
    intent = started["provider_id"]
    stripe.control(f"pay/{intent}")
    assert InboxState.FAILED not in tell("stripe", stripe)
    verb = "capture" if answer == "approve" else "cancel"
    fail(stripe, why, f"/v1/payment_intents/{intent}/{verb}")
    path = f"/v1/appointments/{held}/{answer}"
    body = {} if answer == "approve" else {"reason_code": "unavailable"}
    ask("appointment_actions", "POST", path, body)

    def settled() -> PaymentItem:
        payment = orders.load(world.tenant, started["id"])
        approving.settle_due(payment.key, BY)
        return orders.load(world.tenant, started["id"])

    wanted = State.SUCCEEDED if answer == "approve" else State.CANCELLED
    for _ in range(6):
        try:
            if settled().state == wanted:
                break
        except ProviderFailed:
            pass
        later()
    assert orders.load(world.tenant, started["id"]).state == wanted
    theirs = stripe.get(f"/v1/payment_intents/{intent}")
    assert theirs["status"] == ("succeeded" if answer == "approve" else "canceled")
    assert theirs["amount_received"] == (PRICE if answer == "approve" else 0)
    assert InboxState.FAILED not in tell("stripe", stripe)
    ledger_is_right()


@pytest.mark.parametrize("why", FAULTS)
def test_paying_and_refunding_at_mercado_pago(
    mercadopago: Simulator, hold: str, later: Callable[[], None], why: str
) -> None:
    asked = mercadopago.control("authorize", {"seller": "aurora"})
    connection = {"code": asked["code"], "redirect_uri": "https://api.example/v1/docs"}
    mercadopago_connections.connect(OWNER, ConnectionIn.model_validate(connection))
    fail(mercadopago, why, "/v1/payments")
    body = by_card(hold)
    paid = again(lambda: ask("payments", "POST", "/v1/payments", body), later).body
    assert paid["status"] == "succeeded"
    fail(mercadopago, why, f"/v1/payments/{paid['provider_id']}/refunds")
    path = f"/v1/payments/{paid['id']}"
    made = ask("payments", "POST", f"{path}/refunds", {})
    assert made.status == 201, made.body
    tenant = World(PRACTICE, exists=True).tenant
    [refund_id] = listed(tenant, REFUND)
    for _ in range(6):
        try:
            if effects.resume(tenant.item(REFUND, refund_id), BY):
                break
        except ProviderFailed:
            pass
        later()
    detail = ask("payments", "GET", path).body
    assert [refund["state"] for refund in detail["refunds"]] == ["succeeded"]
    assert detail["status"] == "refunded"
    left = {account: amount for (_, account), amount in balances().items() if amount}
    fee = left.pop("fee")
    assert list(left.values()) == [-fee]
    ledger_is_right()
