"""Money through the API's functions and both real adapters, against the providers' simulators."""

import json
from collections import defaultdict
from typing import Any

import pytest

from consulta.core import table
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.money.appointments import approving
from consulta.money.mercadopago import connections as mercadopago_connections
from consulta.money.paying import orders
from consulta.money.records import POSTING, PostingItem
from consulta.money.schema.connect import ConnectionIn
from consulta.money.webhooks import inbox
from consulta.money.webhooks.inbox import InboxState
from consulta.scheduling import appointments, services
from consulta.scheduling.records import PaymentStatus, Status
from consulta.scheduling.schema.booking import DeclineRequest
from consulta.scheduling.schema.services import ServiceRequest
from tests.integration.test_providers import (  # noqa: F401  # fixtures are found by their names
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
PRICE = 50050


@pytest.fixture
def hold(tables: Any) -> str:
    """An appointment at 500.50 MXN that waits to be paid."""
    world = World(PRACTICE)
    expert = world.expert()
    body = {
        "name": "First consultation",
        "duration_minutes": 50,
        "price": {"amount": PRICE, "currency": "MXN"},
        "expert_ids": [expert],
    }
    service = services.create(world.owner, ServiceRequest.model_validate(body), None)
    return world.book(service.id, expert, world.patient(), tomorrow()).id


def shown(appointment: str) -> tuple[str, str]:
    owner = Principal("person", Role.OWNER, "request", PRACTICE)
    found = appointments.load(owner, appointment)
    return found.status, found.payment_status


def tell(provider: str, simulator: Simulator) -> list[InboxState]:
    """Hand all that the simulator has sent to the worker, the latest first, each one twice."""
    told = []
    for emitted in reversed(simulator.get("/_control/events")["events"]):
        sent = emitted["event"]
        subject = sent["data"].get("object") or sent["data"]
        message = {
            "provider": provider,
            "event_id": str(sent["id"]),
            "type": sent["type"],
            "live": False,
            "account": str(sent.get("account") or sent.get("user_id") or ""),
            "object_id": str(subject["id"]),
            "api_version": "",
        }
        told += [inbox.handle(message), inbox.handle(message)]
    return told


def balances() -> dict[tuple[str, str], int]:
    world = World(PRACTICE, exists=True)
    sums: dict[tuple[str, str], int] = defaultdict(int)
    query = table.Query(world.tenant.listing(POSTING), index="walk")
    for raw in query.all():
        posting = table.get(PostingItem, world.tenant.item(POSTING, raw["walksk"]["S"]))
        assert posting
        for entry in posting.entries:
            sums[entry["book"].partition(":")[0], entry["account"]] += int(entry["debit"]) - int(
                entry["credit"]
            )
    return {key: amount for key, amount in sums.items() if amount}


@pytest.mark.parametrize("controller", ["platform_losses", "stripe_losses"])
def test_a_stripe_payment_and_its_refund(stripe: Simulator, hold: str, controller: str) -> None:
    payee = open_account(stripe, controller)
    body = {"appointment_id": hold, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", body)
    assert started.status == 201, started.body
    assert started.body["client_secret"]
    again = ask("payments", "POST", "/v1/payments", body)
    assert again.body["client_secret"] == started.body["client_secret"]
    stripe.control(f"pay/{started.body['provider_id']}", {"payment_method": "pm_card_visa"})
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)
    payment = orders.load(World(PRACTICE, exists=True).tenant, started.body["id"])
    assert payment.settled
    fee = int(payment.fee)
    assert fee > 0
    direct = controller == "stripe_losses"
    theirs = f"prov:{payee.stripe_account}:pending"
    after = balances()
    assert after["PAYEE", theirs] == PRICE - 5005 - (fee if direct else 0)
    assert after["PLAT", "prov:stripe:pending"] == 5005 - (0 if direct else fee)
    part = {"amount": {"amount": 20000, "currency": "MXN"}}
    path = f"/v1/payments/{started.body['id']}"
    made = ask("payments", "POST", f"{path}/refunds", part)
    assert (made.status, made.body["state"]) == (201, "succeeded"), made.body
    assert made.body["commission"]["amount"] == 2000
    assert InboxState.FAILED not in tell("stripe", stripe)
    detail = ask("payments", "GET", path).body
    assert (detail["status"], len(detail["refunds"])) == ("partially_refunded", 1)
    rest = ask("payments", "POST", f"{path}/refunds", {})
    assert (rest.body["state"], rest.body["commission"]["amount"]) == ("succeeded", 3005)
    book = "PAYEE" if direct else "PLAT"
    pays = theirs if direct else "prov:stripe:pending"
    assert balances() == {(book, "fee"): fee, (book, pays): -fee}
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.REFUNDED)


@pytest.mark.parametrize("controller", ["platform_losses", "stripe_losses"])
@pytest.mark.parametrize("answer", ["approve", "decline"])
def test_money_set_aside_until_the_expert_answers(
    stripe: Simulator, tables: Any, controller: str, answer: str
) -> None:
    world = World(PRACTICE)
    open_account(stripe, controller)
    expert = world.expert(auto_confirm=False)
    price = {"amount": PRICE, "currency": "MXN"}
    body = {"name": "First", "duration_minutes": 50, "price": price, "expert_ids": [expert]}
    service = services.create(world.owner, ServiceRequest.model_validate(body), None)
    held = world.book(service.id, expert, world.patient(), tomorrow(days=3)).id
    paying = {"appointment_id": held, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", paying)
    assert started.status == 201, started.body
    intent = started.body["provider_id"]
    stripe.control(f"pay/{intent}", {"payment_method": "pm_card_visa"})
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(held) == (Status.AWAITING_APPROVAL, PaymentStatus.PROCESSING)
    assert balances() == {}
    found = orders.load(world.tenant, started.body["id"])
    assert found.capture_before
    if answer == "approve":
        approving.approve(world.owner, held)
        ended = (Status.CONFIRMED, PaymentStatus.PAID)
    else:
        approving.decline(world.owner, held, DeclineRequest())
        ended = (Status.CANCELLED, PaymentStatus.UNPAID)
    assert shown(held) == ended
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(held) == ended
    assert bool(balances()) is (answer == "approve")
    found = orders.load(world.tenant, started.body["id"])
    assert (found.state, found.captured) == (
        ("succeeded", PRICE) if answer == "approve" else ("cancelled", 0)
    )


def test_a_mercado_pago_payment_and_its_refund(mercadopago: Simulator, hold: str) -> None:
    asked = mercadopago.control("authorize", {"seller": "aurora"})
    body = {"code": asked["code"], "redirect_uri": "https://api.example/v1/docs"}
    owner = Principal("person", Role.OWNER, "request", PRACTICE)
    mercadopago_connections.connect(owner, ConnectionIn.model_validate(body))
    card = by_card(hold)
    declined = ask("payments", "POST", "/v1/payments", card | {"token": "tok_rejected"})
    assert (declined.status, declined.body["status"]) == (201, "open"), declined.body
    assert declined.body["failure_code"].startswith("cc_rejected")
    paid = ask("payments", "POST", "/v1/payments", card | {"token": "tok_approved"})
    assert (paid.body["id"], paid.body["status"]) == (declined.body["id"], "succeeded")
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)
    assert InboxState.FAILED not in tell("mercadopago", mercadopago)
    path = f"/v1/payments/{paid.body['id']}"
    for amount, commission in ((20000, 2000), (None, 3005)):
        part = {"amount": {"amount": amount, "currency": "MXN"}} if amount else {}
        made = ask("payments", "POST", f"{path}/refunds", part)
        assert (made.status, made.body["state"]) == (201, "succeeded"), made.body
        assert made.body["commission"]["amount"] == commission
    tell("mercadopago", mercadopago)
    assert ask("payments", "GET", path).body["status"] == "refunded"
    listed = ask("payments", "GET", "/v1/payments?status=refunded&from=2026-01-01T00:00:00Z").body
    assert [item["id"] for item in listed["items"]] == [paid.body["id"]]
    left = {account: amount for (_, account), amount in balances().items() if amount}
    fee = left.pop("fee")
    assert list(left.values()) == [-fee]


def test_the_api_answers_what_is_wrong(stripe: Simulator, hold: str) -> None:
    body = {"appointment_id": hold, "provider": "stripe"}
    nobody = ask("payments", "POST", "/v1/payments", body)
    assert (nobody.status, nobody.body["type"]) == (409, "urn:consulta:problem:conflict")
    assert ask("payments", "POST", "/v1/payments", body, role="viewer").status == 403
    bad = ask("payments", "POST", "/v1/payments", body | {"amount": 1})
    assert (bad.status, bad.body["errors"][0]["path"]) == (422, "body.amount")
    foreign = ask("payments", "GET", "/v1/payments/pay_01JC0NS0TADEM0000000000000")
    assert foreign.status == 404
    assert ask("payments", "GET", "/v1/payments?cursor=x").status == 400
    assert ask("payments", "GET", "/v1/payments?status=lost").status == 422
    refund = ask(
        "payments",
        "POST",
        "/v1/payments/pay_01JC0NS0TADEM0000000000000/refunds",
        {},
        role="patient",
        subject="pat_01JC0NS0TADEM0000000000000",
    )
    assert refund.status == 403
    assert json.dumps(refund.body)
