"""Paying on the provider's own page, and by Pix, against the providers' simulators."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests

from consulta.core import settings, table
from consulta.core.errors import ProviderFailed
from consulta.core.item import Actor
from consulta.core.time import now, to_text
from consulta.money.appointments import approving, closing
from consulta.money.books import verify as ledger_verify
from consulta.money.mercadopago import connections as mercadopago_connections
from consulta.money.mercadopago import tokens as mercadopago_tokens
from consulta.money.paying import checkout_pages, checkouts, effects, operations, orders, placing
from consulta.money.paying.orders import Order
from consulta.money.provider import CheckoutPage, PaymentDetails, ReturnUrls
from consulta.money.providers import provider_for
from consulta.money.records import PaymentItem, RefundItem, State
from consulta.money.schema.connect import ConnectionIn
from consulta.money.stripe import checkout as stripe_checkout
from consulta.money.webhooks import inbox
from consulta.money.webhooks.inbox import InboxState
from consulta.scheduling import appointments, services, transitions
from consulta.scheduling.records import AppointmentItem, PaymentStatus, Status
from consulta.scheduling.schema.appointments import CancelReason
from consulta.scheduling.schema.booking import CancelRequest, DeclineRequest
from consulta.scheduling.schema.services import ServiceRequest
from tests.faults import Crash, Faults
from tests.integration.test_money_simulated import balances, shown, tell
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
from tests.unit.people.calling import PRACTICE, Answer
from tests.unit.scheduling.world import World, tomorrow

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
PRICE, COMMISSION = 50050, 5005
BY = Actor("test", "request")
CANCEL = CancelRequest(reason_code=CancelReason.PATIENT_REQUEST)
HTTPS = {
    "success_url": "https://app.example/paid?session={CHECKOUT_SESSION_ID}",
    "cancel_url": "https://app.example/back",
}


@pytest.fixture(autouse=True)
def front_end(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALLOWED_ORIGINS", "https://app.example,http://localhost:5173")
    settings.reset()


def book(
    currency: str = "MXN", *, auto_confirm: bool = True, exists: bool = False, deposit: int = 0
) -> str:
    """An appointment that waits to be paid; 500.50 of the currency."""
    world = World(PRACTICE, exists=exists)
    expert = world.expert(auto_confirm=auto_confirm)
    body = {
        "name": "First consultation",
        "duration_minutes": 50,
        "price": {"amount": PRICE, "currency": currency},
        "expert_ids": [expert],
        "deposit": {"fixed": deposit} if deposit else None,
    }
    service = services.create(world.owner, ServiceRequest.model_validate(body), None)
    return str(world.book(service.id, expert, world.patient(), tomorrow(days=3)).id)


@pytest.fixture
def hold(tables: Any) -> str:
    return book()


def connect(mercadopago: Simulator, site: str = "MLM") -> None:
    asked = mercadopago.control("authorize", {"seller": "aurora", "site": site})
    body = {"code": asked["code"], "redirect_uri": "https://api.example/v1/docs"}
    owner = World(PRACTICE, exists=True).owner
    mercadopago_connections.connect(owner, ConnectionIn.model_validate(body))


def pay(provider: str, appointment: str, **more: Any) -> Answer:
    body = {"appointment_id": appointment, "provider": provider, **more}
    return ask("payments", "POST", "/v1/payments", body)


def on_page(provider: str, appointment: str, urls: dict[str, str] = HTTPS) -> Answer:
    return pay(provider, appointment, checkout=urls)


def appointment_of(appointment: str) -> AppointmentItem:
    return appointments.load(World(PRACTICE, exists=True).owner, appointment)


def payment_of(started: Answer) -> PaymentItem:
    return orders.load(World(PRACTICE, exists=True).tenant, started.body["id"])


def refunds_of(payment: PaymentItem) -> list[RefundItem]:
    return orders.refunds_of(payment)


def preference_of(mercadopago: Simulator, payment: PaymentItem) -> Any:
    return sessionless(mercadopago, f"/checkout/preferences/{payment.checkout_id}", payment)


def sessionless(mercadopago: Simulator, path: str, payment: PaymentItem) -> Any:
    token = mercadopago_tokens.access_token(payment.tenant, payment.payee_id)
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{mercadopago.url}{path}", headers=headers, timeout=5).json()


def later(monkeypatch: pytest.MonkeyPatch, minutes: float, *modules: Any) -> Callable[[], datetime]:
    """Those modules' clocks, so far ahead."""

    def at() -> datetime:
        return datetime.now(UTC) + timedelta(minutes=minutes)

    for module in modules:
        monkeypatch.setattr(module, "now", at)
    return at


def change(item: AppointmentItem, **values: str) -> None:
    table.transact([table.change(item, BY, set_=values)])


# ---------------------------------------------------------------- Stripe: Checkout sessions


@pytest.mark.parametrize("controller", ["platform_losses", "stripe_losses"])
def test_a_page_is_made_paid_and_refunded(stripe: Simulator, hold: str, controller: str) -> None:
    payee = open_account(stripe, controller)
    booked = appointment_of(hold)
    started = on_page("stripe", hold)
    assert started.status == 201, started.body
    assert (started.body["client_secret"], started.body["provider_id"]) == (None, None)
    payment = payment_of(started)
    direct = controller == "stripe_losses"
    account = str(payee.stripe_account) if direct else ""
    session = stripe.get(f"/v1/checkout/sessions/{payment.checkout_id}", account)
    assert started.body["action_url"] == session["url"]
    ids = {"practice": PRACTICE, "payment": payment.item_id, "op_id": payment.operation_id}
    assert session["metadata"] == ids
    assert session["allowed_payment_method_types"] == ["card"]
    assert (session["amount_total"], session["currency"]) == (PRICE, "mxn")
    assert session["success_url"] == HTTPS["success_url"]
    assert session["cancel_url"] == HTTPS["cancel_url"]
    assert datetime.fromtimestamp(session["expires_at"], UTC) == payment.payable_until
    # The hold lasts as long as the page, which is longer than the 15 minutes of any other.
    after = appointment_of(hold)
    assert after.hold_expires_at == payment.payable_until
    assert after.hold_expires_at > booked.hold_expires_at
    assert after.hold_expires_at <= after.created_at + timedelta(minutes=45)

    stripe.control(f"pay/{payment.checkout_id}")
    intent_id = stripe.get(f"/v1/checkout/sessions/{payment.checkout_id}", account)[
        "payment_intent"
    ]
    intent = stripe.get(f"/v1/payment_intents/{intent_id}", account)
    assert (intent["metadata"], intent["application_fee_amount"]) == (ids, COMMISSION)
    assert intent["description"] == f"Payment {payment.item_id}"
    transfer = intent["transfer_data"] and intent["transfer_data"]["destination"]
    assert transfer == (None if direct else payee.stripe_account)
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)
    paid = payment_of(started)
    assert (paid.state, paid.provider_id, paid.captured) == (State.SUCCEEDED, intent_id, PRICE)
    back = ask("payments", "POST", f"/v1/payments/{paid.item_id}/refunds", {})
    assert (back.status, back.body["state"]) == (201, "succeeded"), back.body
    assert on_page("stripe", hold).status == 409


def test_what_the_page_shows_names_no_service(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    payment = payment_of(on_page("stripe", hold))
    session = stripe.get(f"/v1/checkout/sessions/{payment.checkout_id}")
    told = json.dumps([session, stripe.get("/_control/events")])
    assert "consultation" not in told.lower()


def test_on_behalf_of_and_no_commission(stripe: Simulator, hold: str) -> None:
    payee = open_account(stripe)
    changed = ask("connect", "PATCH", "/v1/connect/accounts/practice", {"on_behalf_of": True})
    assert changed.body["on_behalf_of"] is True
    payment = payment_of(on_page("stripe", hold))
    stripe.control(f"pay/{payment.checkout_id}")
    [intent] = stripe.get("/v1/payment_intents")["data"]
    assert intent["on_behalf_of"] == payee.stripe_account


def test_the_same_page_while_it_is_open(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    first, again = on_page("stripe", hold), on_page("stripe", hold)
    assert first.body["action_url"]
    assert again.body["action_url"] == first.body["action_url"]
    assert again.body["id"] == first.body["id"]
    assert len(stripe.get("/v1/checkout/sessions")["data"]) == 1


def test_a_declined_card_leaves_the_page_open(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    started = on_page("stripe", hold)
    checkout = payment_of(started).checkout_id
    card = {"payment_method": "pm_card_chargeDeclinedInsufficientFunds"}
    requests.post(f"{stripe.url}/_control/pay/{checkout}", json=card, timeout=5)
    assert InboxState.FAILED not in tell("stripe", stripe)
    payment = payment_of(started)
    assert (payment.state, payment.failure_code, payment.declined) == (
        State.OPEN,
        "insufficient_funds",
        1,
    )
    again = on_page("stripe", hold)
    assert again.body["action_url"] == started.body["action_url"]
    stripe.control(f"pay/{checkout}")
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)
    assert payment_of(started).provider_id == payment.provider_id


def test_three_d_secure_on_the_page(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    started = on_page("stripe", hold)
    checkout = payment_of(started).checkout_id
    stripe.control(f"pay/{checkout}", {"payment_method": "pm_card_authenticationRequired"})
    tell("stripe", stripe)
    payment = payment_of(started)
    assert payment.requires_action
    assert on_page("stripe", hold).body["action_url"] == started.body["action_url"]
    stripe.control(f"payment_intents/{payment.provider_id}/authenticate")
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)


def test_a_payment_nobody_told_us_of_is_read_when_the_payer_comes_back(
    stripe: Simulator, hold: str
) -> None:
    open_account(stripe)
    started = on_page("stripe", hold)
    stripe.control(f"pay/{payment_of(started).checkout_id}")
    again = on_page("stripe", hold)
    assert (again.body["status"], again.body["action_url"]) == ("succeeded", None)
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)


@pytest.mark.parametrize("answer", ["approve", "decline"])
def test_a_page_only_authorizes_what_the_expert_has_to_approve(
    stripe: Simulator, tables: Any, answer: str
) -> None:
    World(PRACTICE)
    open_account(stripe)
    held = book(auto_confirm=False, exists=True)
    started = on_page("stripe", held)
    stripe.control(f"pay/{payment_of(started).checkout_id}")
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(held) == (Status.AWAITING_APPROVAL, PaymentStatus.PROCESSING)
    assert balances() == {}
    owner = World(PRACTICE, exists=True).owner
    if answer == "approve":
        approving.approve(owner, held)
        assert shown(held) == (Status.CONFIRMED, PaymentStatus.PAID)
    else:
        approving.decline(owner, held, DeclineRequest())
        assert shown(held) == (Status.CANCELLED, PaymentStatus.UNPAID)
        assert payment_of(started).state == State.CANCELLED
    assert InboxState.FAILED not in tell("stripe", stripe)


def test_an_authorization_on_a_page_is_heard_before_its_hold_ends(
    stripe: Simulator, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    World(PRACTICE)
    open_account(stripe)
    held = book(auto_confirm=False, exists=True)
    stripe.control(f"pay/{payment_of(on_page('stripe', held)).checkout_id}")
    assert approving.expire(appointment_of(held), BY) is True
    assert shown(held) == (Status.AWAITING_APPROVAL, PaymentStatus.PROCESSING)


def test_the_page_knows_the_payers_address_already(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    pay("stripe", hold, checkout=HTTPS, payer_email="payer@example.com")
    [session] = stripe.get("/v1/checkout/sessions")["data"]
    assert session["customer_email"] == "payer@example.com"


# ---------------------------------------------------------------- until when


def test_a_hold_that_cannot_be_kept_as_long_as_the_page(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_account(stripe)
    later(monkeypatch, 14, checkouts)
    refused = on_page("stripe", hold)
    assert (refused.status, refused.body["code"]) == (409, "hold_too_short"), refused.body
    assert stripe.get("/v1/checkout/sessions")["data"] == []
    later(monkeypatch, 12, checkouts)
    assert on_page("stripe", hold).status == 201


def test_after_the_hold_nothing_can_be_begun(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    item = appointment_of(hold)
    change(item, hold_expires_at=to_text(now() - timedelta(seconds=1)))
    assert on_page("stripe", hold).status == 409


def test_expiring_a_hold_ends_its_page(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_account(stripe)
    started = on_page("stripe", hold)
    later(monkeypatch, 34, transitions, closing)
    assert closing.expire(appointment_of(hold), BY) is True
    [session] = stripe.get("/v1/checkout/sessions")["data"]
    assert session["status"] == "expired"
    assert shown(hold) == (Status.EXPIRED, PaymentStatus.UNPAID)
    assert payment_of(started).state == State.CANCELLED
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert payment_of(started).state == State.CANCELLED


def test_a_page_with_a_declined_card_ends_with_its_hold(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its intent is not ours to cancel: Stripe does that with the page."""
    open_account(stripe)
    started = on_page("stripe", hold)
    card = {"payment_method": "pm_card_chargeDeclined"}
    requests.post(
        f"{stripe.url}/_control/pay/{payment_of(started).checkout_id}", json=card, timeout=5
    )
    tell("stripe", stripe)
    later(monkeypatch, 34, transitions, closing)
    assert closing.expire(appointment_of(hold), BY) is True
    [intent] = stripe.get("/v1/payment_intents")["data"]
    assert (intent["status"], intent["cancellation_reason"]) == ("canceled", "expired")
    assert payment_of(started).state == State.CANCELLED


def test_what_was_paid_at_the_last_moment_confirms_instead(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has told us of it; expiring the hold asks, and finds it complete."""
    open_account(stripe)
    stripe.control(f"pay/{payment_of(on_page('stripe', hold)).checkout_id}")
    later(monkeypatch, 34, transitions, closing)
    assert closing.expire(appointment_of(hold), BY) is True
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)


def test_cancelling_ends_the_page(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    started = on_page("stripe", hold)
    closing.cancel(World(PRACTICE, exists=True).owner, hold, CANCEL)
    [session] = stripe.get("/v1/checkout/sessions")["data"]
    assert session["status"] == "expired"
    assert shown(hold) == (Status.CANCELLED, PaymentStatus.UNPAID)
    assert payment_of(started).state == State.CANCELLED


def test_cancelling_what_was_just_paid_gives_it_back(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    started = on_page("stripe", hold)
    stripe.control(f"pay/{payment_of(started).checkout_id}")
    closing.cancel(World(PRACTICE, exists=True).owner, hold, CANCEL)
    payment = payment_of(started)
    assert (payment.state, payment.captured, payment.refunded) == (State.SUCCEEDED, PRICE, PRICE)
    assert shown(hold) == (Status.CANCELLED, PaymentStatus.REFUNDED)


def test_another_price_is_another_page(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    first = on_page("stripe", hold)
    table.transact([table.change(appointment_of(hold), BY, set_={"price": 60000})])
    second = on_page("stripe", hold)
    assert second.status == 201, second.body
    assert second.body["id"] != first.body["id"]
    by_amount = {
        s["amount_total"]: s["status"] for s in stripe.get("/v1/checkout/sessions")["data"]
    }
    assert by_amount == {PRICE: "expired", 60000: "open"}
    assert payment_of(first).state == State.CANCELLED


@pytest.mark.parametrize("page_first", [True, False])
def test_the_other_way_of_paying_ends_the_first(
    stripe: Simulator, hold: str, page_first: bool
) -> None:
    open_account(stripe)
    ways = [on_page, pay] if page_first else [pay, on_page]
    first, second = (way("stripe", hold) for way in ways)
    assert second.status == 201, second.body
    assert second.body["id"] != first.body["id"]
    assert payment_of(first).state == State.CANCELLED
    [session] = stripe.get("/v1/checkout/sessions")["data"]
    [intent] = stripe.get("/v1/payment_intents")["data"]
    assert session["status"] == ("expired" if page_first else "open")
    assert intent["status"] == ("requires_payment_method" if page_first else "canceled")


def test_a_page_that_has_ended_is_followed_by_another(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was confirmed before it is paid has no hold: its page lasts for hours."""
    open_account(stripe)
    appointments.confirm(World(PRACTICE, exists=True).owner, hold)
    first = on_page("stripe", hold)
    payment = payment_of(first)
    assert payment.payable_until - now() > timedelta(hours=22)
    later(monkeypatch, 24 * 60, checkouts)
    monkeypatch.setattr(checkouts, "LONGEST_PAGE", timedelta(minutes=31) - timedelta(hours=24))
    second = on_page("stripe", hold)
    assert second.status == 201, second.body
    assert second.body["id"] != first.body["id"]
    assert second.body["action_url"] != first.body["action_url"]
    assert payment_of(first).state == State.CANCELLED


def test_a_page_that_was_ended_elsewhere(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    first = on_page("stripe", hold)
    key = {"Authorization": "Bearer sk_test_x"}
    path = f"/v1/checkout/sessions/{payment_of(first).checkout_id}/expire"
    requests.post(f"{stripe.url}{path}", headers=key, timeout=5).raise_for_status()
    assert InboxState.FAILED not in tell("stripe", stripe)
    told = on_page("stripe", hold)
    assert (told.body["status"], told.body["action_url"]) == ("cancelled", None)
    assert on_page("stripe", hold).body["action_url"]


# ---------------------------------------------------------------- where the payer comes back to


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://evil.example/paid", "origin"),
        ("https://app.example.evil.example/", "origin"),
        ("https://app.example:8443/", "origin"),
        ("http://app.example/", "url"),
        ("https://app.example@evil.example/", "url"),
        ("https://evil.example\\@app.example/", "url"),
        ("http://localhost:9999/", "origin"),
        ("https://[app.example/", "url"),
    ],
)
@pytest.mark.parametrize("name", ["success_url", "cancel_url"])
def test_the_payer_comes_back_to_our_own_front_end(
    stripe: Simulator, hold: str, name: str, url: str, code: str
) -> None:
    open_account(stripe)
    refused = on_page("stripe", hold, HTTPS | {name: url})
    assert refused.status == 422, refused.body
    [error] = refused.body["errors"]
    assert (error["path"], error["code"]) == (f"body.checkout.{name}", code)
    assert stripe.get("/v1/checkout/sessions")["data"] == []


@pytest.mark.parametrize("url", ["ftp://app.example/", "javascript:alert(1)", "", "https://a b"])
def test_an_address_has_to_be_one(stripe: Simulator, hold: str, url: str) -> None:
    refused = on_page("stripe", hold, HTTPS | {"success_url": url})
    assert (refused.status, refused.body["errors"][0]["path"]) == (422, "body.checkout.success_url")


def test_a_developers_own_machine(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    local = {"success_url": "http://localhost:5173/paid", "cancel_url": "http://localhost:5173/"}
    assert on_page("stripe", hold, local).status == 201


def test_without_an_origin_there_are_no_pages(
    stripe: Simulator, hold: str, environment: pytest.MonkeyPatch
) -> None:
    open_account(stripe)
    environment.setenv("ALLOWED_ORIGINS", "")
    settings.reset()
    assert on_page("stripe", hold).status == 422


@pytest.mark.parametrize("name", ["token", "payment_method_id"])
def test_a_page_asks_for_the_card_itself(stripe: Simulator, hold: str, name: str) -> None:
    refused = pay("stripe", hold, checkout=HTTPS, **{name: "visa"})
    assert (refused.status, refused.body["errors"][0]["path"]) == (422, f"body.{name}")


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_answer_makes_one_page(stripe: Simulator, hold: str, kind: str, times: int) -> None:
    open_account(stripe)
    stripe.control("faults", {"kind": kind, "path_prefix": "/v1/checkout/sessions", "times": times})
    first = on_page("stripe", hold)
    assert first.status == (201 if times == 1 else 502), first.body
    again = on_page("stripe", hold)
    assert (again.status, bool(again.body["action_url"])) == (201, True), again.body
    assert len(stripe.get("/v1/checkout/sessions")["data"]) == 1
    stripe.control(f"pay/{payment_of(again).checkout_id}")
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)


@pytest.mark.parametrize("status", [429, 500])
def test_a_refusal_is_a_502_and_the_next_try_goes_on(
    stripe: Simulator, hold: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    open_account(stripe)
    fault = {"kind": "status", "status": status, "path_prefix": "/v1/checkout", "times": 9}
    stripe.control("faults", fault)
    with caplog.at_level(logging.INFO):
        refused = on_page("stripe", hold)
    assert refused.status == 502
    assert "app.example" not in caplog.text + json.dumps(refused.body)


def test_a_stored_500_is_followed_by_a_new_operation(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripe replays its own failures: once it cannot be on its way, it is asked for anew."""
    open_account(stripe)
    stripe.control("faults", {"kind": "status", "path_prefix": "/v1/checkout/sessions", "times": 1})
    assert on_page("stripe", hold).status == 502
    assert on_page("stripe", hold).status == 502  # the same key: the failure is replayed
    later(monkeypatch, 2, operations)
    made = on_page("stripe", hold)
    assert made.status == 201, made.body
    assert len(stripe.get("/v1/checkout/sessions")["data"]) == 1


@pytest.mark.parametrize("minutes", [0, 2])
def test_a_crash_after_the_page_was_made_finds_it_again(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    open_account(stripe)
    with monkeypatch.context() as patch:
        crash_at_remembering(patch)
        with pytest.raises(Crash):
            on_page("stripe", hold)
    later(monkeypatch, minutes, operations)
    made = on_page("stripe", hold)
    assert made.status == 201, made.body
    [session] = stripe.get("/v1/checkout/sessions")["data"]
    assert made.body["action_url"] == session["url"]


def test_a_crash_before_the_page_is_asked_for(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_account(stripe)

    def die(*_: Any) -> Any:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(stripe_checkout, "start", die)
        with pytest.raises(Crash):
            on_page("stripe", hold)
    assert on_page("stripe", hold).status == 201
    assert len(stripe.get("/v1/checkout/sessions")["data"]) == 1


def test_an_unknown_page_is_ended_with_its_hold(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was lost, and nobody asked again: it is found by what we told of it."""
    open_account(stripe)
    with monkeypatch.context() as patch:
        crash_at_remembering(patch)
        with pytest.raises(Crash):
            on_page("stripe", hold)
    later(monkeypatch, 34, transitions, closing, operations)
    assert closing.expire(appointment_of(hold), BY) is True
    [session] = stripe.get("/v1/checkout/sessions")["data"]
    assert session["status"] == "expired"


def test_a_page_that_may_be_on_its_way_keeps_the_hold(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_account(stripe)
    with monkeypatch.context() as patch:
        crash_at_remembering(patch)
        with pytest.raises(Crash):
            on_page("stripe", hold)
    later(monkeypatch, 34, transitions)
    assert closing.expire(appointment_of(hold), BY) is False


def test_a_page_that_cannot_be_ended_keeps_the_hold(
    stripe: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_account(stripe)
    on_page("stripe", hold)
    fault = {"kind": "status", "path_prefix": "/v1/checkout", "method": "*", "times": 9}
    stripe.control("faults", fault)
    later(monkeypatch, 34, transitions, closing)
    with pytest.raises(ProviderFailed):
        closing.expire(appointment_of(hold), BY)
    assert shown(hold)[0] == Status.HELD


def test_a_lost_write_of_the_payment_asks_nobody(stripe: Simulator, tables: Any, hold: str) -> None:
    """Crash before and after the transaction that writes payment, operation and longer hold."""
    open_account(stripe)
    for fault in (Faults.crash_before, Faults.crash_after):
        with Faults(tables) as faults:
            faults.next("TransactWriteItems", fault)
            with pytest.raises(Crash):
                on_page("stripe", hold)
        assert stripe.get("/v1/checkout/sessions")["data"] == []
    assert on_page("stripe", hold).status == 201
    order = Order.read(World(PRACTICE, exists=True).tenant, appointment_of(hold).order_id)
    assert len(order.payments()) == 1


def crash_at_remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any) -> Any:
        raise Crash

    monkeypatch.setattr(checkout_pages, "remember", die)


# ---------------------------------------------------------------- Mercado Pago: preferences


def test_a_preference_is_made_and_paid(mercadopago: Simulator, hold: str) -> None:
    connect(mercadopago)
    started = on_page("mercadopago", hold)
    assert started.status == 201, started.body
    payment = payment_of(started)
    made = preference_of(mercadopago, payment)
    assert started.body["action_url"] == made["init_point"]
    assert made["external_reference"] == f"{PRACTICE}:{payment.item_id}"
    assert made["marketplace_fee"] == COMMISSION / 100
    [item] = made["items"]
    assert (item["title"], item["quantity"], item["unit_price"], item["currency_id"]) == (
        f"Payment {payment.item_id}",
        1,
        PRICE / 100,
        "MXN",
    )
    assert made["back_urls"]["success"] == HTTPS["success_url"]
    assert made["back_urls"]["failure"] == HTTPS["cancel_url"]
    assert (made["auto_return"], made["expires"]) == ("approved", True)
    assert datetime.fromisoformat(made["expiration_date_to"]) == payment.payable_until
    assert appointment_of(hold).hold_expires_at == payment.payable_until
    excluded = made["payment_methods"]["excluded_payment_types"]
    assert excluded == [{"id": "ticket"}, {"id": "atm"}]
    assert made["metadata"]["payment"] == payment.item_id
    assert on_page("mercadopago", hold).body["action_url"] == started.body["action_url"]

    mercadopago.control(f"preferences/{payment.checkout_id}/pay")
    assert InboxState.FAILED not in tell("mercadopago", mercadopago)
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)
    paid = payment_of(started)
    assert (paid.captured, paid.commission) == (PRICE, COMMISSION)
    back = ask("payments", "POST", f"/v1/payments/{paid.item_id}/refunds", {})
    assert (back.status, back.body["state"]) == (201, "succeeded"), back.body


def test_two_payments_of_one_preference_both_approved(mercadopago: Simulator, hold: str) -> None:
    """The second goes back by itself, commission included, whichever is heard of first."""
    connect(mercadopago)
    started = on_page("mercadopago", hold)
    for _ in range(2):
        mercadopago.control(f"preferences/{payment_of(started).checkout_id}/pay")
    for _ in range(2):
        assert InboxState.FAILED not in tell("mercadopago", mercadopago)
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)
    order = Order.read(World(PRACTICE, exists=True).tenant, appointment_of(hold).order_id)
    first, second = order.payments()
    assert (first.captured, first.refunded) == (PRICE, 0)
    assert (second.captured, second.refunded, second.commission_returned) == (
        PRICE,
        PRICE,
        COMMISSION,
    )
    assert [refund.reason for refund in refunds_of(second)] == ["duplicate"]
    assert first.provider_id != second.provider_id


def test_a_declined_and_then_a_good_card_on_one_preference(
    mercadopago: Simulator, hold: str
) -> None:
    connect(mercadopago)
    started = on_page("mercadopago", hold)
    path = f"preferences/{payment_of(started).checkout_id}/pay"
    mercadopago.control(path, {"token": "tok_rejected"})
    assert InboxState.FAILED not in tell("mercadopago", mercadopago)
    declined = payment_of(started)
    assert (declined.state, declined.declined) == (State.OPEN, 1)
    assert on_page("mercadopago", hold).body["action_url"] == started.body["action_url"]
    mercadopago.control(path)
    assert InboxState.FAILED not in tell("mercadopago", mercadopago)
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)


def test_an_order_tells_of_its_payments(mercadopago: Simulator, hold: str) -> None:
    connect(mercadopago)
    started = on_page("mercadopago", hold)
    mercadopago.control(f"preferences/{payment_of(started).checkout_id}/pay")
    assert set(only_orders(mercadopago)) == {InboxState.DONE}
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)


def only_orders(mercadopago: Simulator) -> list[InboxState]:
    sent = [e["event"] for e in mercadopago.get("/_control/events")["events"]]
    return [
        inbox.handle(
            {
                "provider": "mercadopago",
                "event_id": str(event["id"]),
                "type": event["type"],
                "live": False,
                "account": str(event["user_id"]),
                "object_id": str(event["data"]["id"]),
                "api_version": "",
            }
        )
        for event in sent
        if event["type"] == "topic_merchant_order_wh"
    ]


def test_expiring_a_hold_ends_its_preference(
    mercadopago: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(mercadopago)
    started = on_page("mercadopago", hold)
    payment = payment_of(started)
    later(monkeypatch, 34, transitions, closing)
    assert closing.expire(appointment_of(hold), BY) is True
    assert shown(hold) == (Status.EXPIRED, PaymentStatus.UNPAID)
    assert payment_of(started).state == State.CANCELLED
    refused = requests.post(
        f"{mercadopago.url}/_control/preferences/{payment.checkout_id}/pay", json={}, timeout=5
    )
    assert refused.status_code == 400


def test_a_preference_that_was_paid_meanwhile(
    mercadopago: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(mercadopago)
    started = on_page("mercadopago", hold)
    mercadopago.control(f"preferences/{payment_of(started).checkout_id}/pay")
    later(monkeypatch, 34, transitions, closing)
    assert closing.expire(appointment_of(hold), BY) is True
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_comes_after_the_end_all_the_same(
    mercadopago: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    """A payment that the end of its page has crossed: the time is taken again, or it goes back."""
    connect(mercadopago)
    started = on_page("mercadopago", hold)
    if cancelled:
        closing.cancel(World(PRACTICE, exists=True).owner, hold, CANCEL)
    else:
        later(monkeypatch, 34, transitions, closing)
        assert closing.expire(appointment_of(hold), BY) is True
    payment = payment_of(started)
    token = mercadopago_tokens.access_token(payment.tenant, payment.payee_id)
    requests.put(
        f"{mercadopago.url}/checkout/preferences/{payment.checkout_id}",
        headers={"Authorization": f"Bearer {token}"},
        json={"expires": False},
        timeout=5,
    ).raise_for_status()
    mercadopago.control(f"preferences/{payment.checkout_id}/pay")
    for _ in range(2):
        assert InboxState.FAILED not in tell("mercadopago", mercadopago)
    paid = payment_of(started)
    assert (paid.state, paid.captured) == (State.SUCCEEDED, PRICE)
    if cancelled:
        assert (shown(hold)[0], paid.refunded) == (Status.CANCELLED, PRICE)
        assert [refund.reason for refund in refunds_of(paid)] == ["slot_lost"]
    else:
        assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)


def test_a_payment_under_review_is_called_off_with_its_hold(
    mercadopago: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(mercadopago)
    started = on_page("mercadopago", hold)
    mercadopago.control(
        f"preferences/{payment_of(started).checkout_id}/pay", {"token": "tok_in_process"}
    )
    later(monkeypatch, 50, transitions, closing, placing)
    assert closing.expire(appointment_of(hold), BY) is False
    assert payment_of(started).state == State.PROCESSING
    assert closing.expire(appointment_of(hold), BY) is True
    assert payment_of(started).state == State.CANCELLED
    assert shown(hold)[0] == Status.EXPIRED


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after"])
def test_a_lost_answer_of_mercado_pago(mercadopago: Simulator, hold: str, kind: str) -> None:
    connect(mercadopago)
    fault = {"kind": kind, "path_prefix": "/checkout/preferences", "times": 1}
    mercadopago.control("faults", fault)
    first = on_page("mercadopago", hold)
    again = on_page("mercadopago", hold)
    assert (first.status, again.status) == (502, 201), (first.body, again.body)
    found = sessionless(mercadopago, "/checkout/preferences/search", payment_of(again))
    assert len(found["elements"]) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_refusal_of_mercado_pago(mercadopago: Simulator, hold: str, status: int) -> None:
    connect(mercadopago)
    fault = {"kind": "status", "status": status, "path_prefix": "/checkout", "times": 9}
    mercadopago.control("faults", fault)
    assert on_page("mercadopago", hold).status == 502


def test_every_preference_of_a_payment_is_ended(
    mercadopago: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mercado Pago makes two for one operation: what a lost answer left behind is found."""
    connect(mercadopago)
    started = on_page("mercadopago", hold)
    payment = payment_of(started)
    operation = operations.find(payment.tenant, payment.item_id, str(payment.operation_id))
    assert operation
    other = provider_for("mercadopago").start_checkout(
        operations.first(operation), payment, orders.payee_of(payment), urls()
    )
    assert isinstance(other, CheckoutPage)
    effects.stop(payment, BY)
    found = sessionless(mercadopago, "/checkout/preferences/search", payment)["elements"]
    assert {p["id"] for p in found} == {payment.checkout_id, other.id}
    assert all(datetime.fromisoformat(p["expiration_date_to"]) <= now() for p in found)


def urls() -> Any:
    return PaymentDetails(checkout=ReturnUrls(HTTPS["success_url"], HTTPS["cancel_url"]))


def test_a_developers_own_machine_at_mercado_pago(mercadopago: Simulator, hold: str) -> None:
    connect(mercadopago)
    local = {"success_url": "http://localhost:5173/paid", "cancel_url": "http://localhost:5173/"}
    started = on_page("mercadopago", hold, local)
    assert started.status == 201, started.body
    assert preference_of(mercadopago, payment_of(started))["auto_return"] is None


# ---------------------------------------------------------------- deposits


DEPOSIT = 20_000
REST = PRICE - DEPOSIT


def both_parts(appointment: str) -> list[tuple[str, str, int, int]]:
    """What the appointment shows of its payments, and what was taken and kept of each."""
    shown = ask("appointments", "GET", f"/v1/appointments/{appointment}").body["payments"]
    tenant = World(PRACTICE, exists=True).tenant
    items = [orders.load(tenant, line["id"]) for line in shown]
    assert sum(int(item.commission) for item in items) == COMMISSION
    assert ledger_verify.verify(tenant) == []
    return [
        (line["part"], line["status"], line["amount"]["amount"], int(item.captured))
        for line, item in zip(shown, items, strict=True)
    ]


PAID_IN_PARTS = [
    ("deposit", "succeeded", DEPOSIT, DEPOSIT),
    ("remainder", "succeeded", REST, REST),
]


def test_deposit_and_remainder_on_stripes_page(stripe: Simulator, tables: Any) -> None:
    held = book(deposit=DEPOSIT)
    open_account(stripe)
    for amount, status in ((DEPOSIT, PaymentStatus.DEPOSIT_PAID), (REST, PaymentStatus.PAID)):
        started = on_page("stripe", held)
        assert started.status == 201, started.body
        checkout = payment_of(started).checkout_id
        assert stripe.get(f"/v1/checkout/sessions/{checkout}")["amount_total"] == amount
        stripe.control(f"pay/{checkout}")
        assert InboxState.FAILED not in tell("stripe", stripe)
        assert shown(held) == (Status.CONFIRMED, status)
    assert both_parts(held) == PAID_IN_PARTS
    assert on_page("stripe", held).status == 409


def test_deposit_and_remainder_by_stripes_pix(stripe: Simulator, tables: Any) -> None:
    held = book("BRL", deposit=DEPOSIT)
    open_account_with_pix(stripe)
    for amount, status in ((DEPOSIT, PaymentStatus.DEPOSIT_PAID), (REST, PaymentStatus.PAID)):
        intent_id = pay("stripe", held).body["provider_id"]
        intent = stripe.get(f"/v1/payment_intents/{intent_id}")
        assert (intent["amount"], "pix" in intent["allowed_payment_method_types"]) == (amount, True)
        stripe.control(f"pay/{intent_id}", {"payment_method": "pix"})
        stripe.control(f"payment_intents/{intent_id}/authenticate")
        assert InboxState.FAILED not in tell("stripe", stripe)
        assert shown(held) == (Status.CONFIRMED, status)
    assert both_parts(held) == PAID_IN_PARTS


def test_a_deposit_on_mercado_pagos_page_and_the_remainder_by_pix(
    mercadopago: Simulator, tables: Any
) -> None:
    held = book("BRL", deposit=DEPOSIT)
    connect(mercadopago, "MLB")
    payment = payment_of(on_page("mercadopago", held))
    [item] = preference_of(mercadopago, payment)["items"]
    assert item["unit_price"] == DEPOSIT / 100
    mercadopago.control(f"preferences/{payment.checkout_id}/pay")
    assert InboxState.FAILED not in tell("mercadopago", mercadopago)
    assert shown(held) == (Status.CONFIRMED, PaymentStatus.DEPOSIT_PAID)
    # A request that takes the money itself has to say that it is for the rest.
    unsaid = pay("mercadopago", held, **PIX)
    assert (unsaid.status, unsaid.body["code"]) == (409, "say_remainder")
    started = pay("mercadopago", held, part="remainder", **PIX)
    assert started.body["pix"]["qr_code"].startswith("000201")
    mercadopago.control(f"payments/{started.body['provider_id']}/approve")
    assert InboxState.FAILED not in tell("mercadopago", mercadopago)
    assert shown(held) == (Status.CONFIRMED, PaymentStatus.PAID)
    assert both_parts(held) == PAID_IN_PARTS


# ---------------------------------------------------------------- Pix


def open_account_with_pix(stripe: Simulator) -> None:
    open_account(stripe)
    changed = ask("connect", "PATCH", "/v1/connect/accounts/practice", {"pix": True})
    assert (changed.status, changed.body["pix"]) == (200, True)


def test_no_pix_unless_the_account_offers_it(stripe: Simulator, tables: Any) -> None:
    """Stripe refuses a payment altogether that asks for a method which its account has not."""
    held = book("BRL")
    open_account(stripe)
    assert ask("connect", "GET", "/v1/connect/accounts/practice").body["pix"] is False
    started = pay("stripe", held)
    assert (started.status, payment_of(started).pix_expires_s) == (201, None)
    intent = stripe.get(f"/v1/payment_intents/{started.body['provider_id']}")
    assert intent["allowed_payment_method_types"] == ["card"]


def test_pix_through_stripe(stripe: Simulator, tables: Any, caplog: Any) -> None:
    held = book("BRL")
    open_account_with_pix(stripe)
    with caplog.at_level(logging.DEBUG):
        started = pay("stripe", held)
        assert (started.status, started.body["pix"]) == (201, None), started.body
        intent = stripe.get(f"/v1/payment_intents/{started.body['provider_id']}")
        assert intent["allowed_payment_method_types"] == ["card", "pix"]
        seconds = intent["payment_method_options"]["pix"]["expires_after_seconds"]
        assert 14 * 60 < seconds <= 15 * 60
        stripe.control(f"pay/{started.body['provider_id']}", {"payment_method": "pix"})
        code = pay("stripe", held).body["pix"]
    assert code["qr_code"].startswith("000201")
    assert code["qr_code_image"].startswith("https://")
    assert code["expires_at"]
    assert code["qr_code"] not in caplog.text + everything()
    stripe.control(f"payment_intents/{started.body['provider_id']}/authenticate")
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(held) == (Status.CONFIRMED, PaymentStatus.PAID)
    assert payment_of(started).method == "pix"


def everything() -> str:
    """All that is stored."""
    found = boto3.client("dynamodb").scan(TableName="core")["Items"]
    assert found
    return json.dumps(found, default=str)


def test_pix_on_stripes_page(stripe: Simulator, tables: Any) -> None:
    held = book("BRL")
    open_account_with_pix(stripe)
    started = on_page("stripe", held)
    checkout = payment_of(started).checkout_id
    session = stripe.get(f"/v1/checkout/sessions/{checkout}")
    assert session["allowed_payment_method_types"] == ["card", "pix"]
    seconds = session["payment_method_options"]["pix"]["expires_after_seconds"]
    assert 30 * 60 < seconds <= 32 * 60
    stripe.control(f"pay/{checkout}", {"payment_method": "pix"})
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(held)[0] == Status.HELD
    payment = payment_of(started)
    stripe.control(f"payment_intents/{payment.provider_id}/authenticate")
    assert InboxState.FAILED not in tell("stripe", stripe)
    assert shown(held) == (Status.CONFIRMED, PaymentStatus.PAID)


def test_no_pix_where_something_waits_for_approval(stripe: Simulator, tables: Any) -> None:
    World(PRACTICE)
    open_account_with_pix(stripe)
    held = book("BRL", auto_confirm=False, exists=True)
    started = on_page("stripe", held)
    session = stripe.get(f"/v1/checkout/sessions/{payment_of(started).checkout_id}")
    assert session["allowed_payment_method_types"] == ["card"]
    assert session["payment_method_options"] == {}


@pytest.mark.parametrize(("left_s", "offered"), [(65, True), (50, False)])
def test_no_pix_for_the_last_seconds_of_a_hold(
    stripe: Simulator, tables: Any, left_s: int, offered: bool
) -> None:
    held = book("BRL")
    open_account_with_pix(stripe)
    change(appointment_of(held), hold_expires_at=to_text(now() + timedelta(seconds=left_s)))
    started = pay("stripe", held)
    intent = stripe.get(f"/v1/payment_intents/{started.body['provider_id']}")
    assert ("pix" in intent["allowed_payment_method_types"]) is offered


def test_pix_without_a_hold_lasts_four_hours(stripe: Simulator, tables: Any) -> None:
    held = book("BRL")
    open_account_with_pix(stripe)
    appointments.confirm(World(PRACTICE, exists=True).owner, held)
    started = pay("stripe", held)
    intent = stripe.get(f"/v1/payment_intents/{started.body['provider_id']}")
    assert intent["payment_method_options"]["pix"]["expires_after_seconds"] == 4 * 3600


PIX = {"payment_method_id": "pix", "payer_email": "payer@example.com"}


def test_pix_through_mercado_pago(mercadopago: Simulator, tables: Any, caplog: Any) -> None:
    held = book("BRL")
    connect(mercadopago, "MLB")
    with caplog.at_level(logging.DEBUG):
        started = pay("mercadopago", held, **PIX)
    assert started.status == 201, started.body
    code, payment = started.body["pix"], payment_of(started)
    assert code["qr_code"].startswith("000201")
    assert code["qr_code_image"].startswith("data:image/png;base64,")
    assert datetime.fromisoformat(code["expires_at"]) == payment.payable_until
    left = payment.payable_until - now()
    assert timedelta(minutes=30) < left <= timedelta(minutes=32)
    ends = appointment_of(held).hold_expires_at
    assert payment.payable_until <= ends <= payment.created_at + timedelta(minutes=45)
    assert code["qr_code"] not in caplog.text + everything()
    assert pay("mercadopago", held, **PIX).body["pix"] == code
    mercadopago.control(f"payments/{started.body['provider_id']}/approve")
    assert InboxState.FAILED not in tell("mercadopago", mercadopago)
    assert shown(held) == (Status.CONFIRMED, PaymentStatus.PAID)
    assert pay("mercadopago", held, **PIX).status == 409


def test_a_hold_that_is_too_short_for_pix(
    mercadopago: Simulator, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = book("BRL")
    connect(mercadopago, "MLB")
    later(monkeypatch, 14, checkouts)
    refused = pay("mercadopago", held, **PIX)
    assert (refused.status, refused.body["code"]) == (409, "hold_too_short"), refused.body


def test_the_last_minutes_of_a_hold_on_mercado_pagos_page(
    mercadopago: Simulator, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no minimum: the page lasts as long as the hold can."""
    connect(mercadopago)
    later(monkeypatch, 14, checkouts)
    started = on_page("mercadopago", hold)
    assert started.status == 201, started.body
    most = appointment_of(hold).created_at + timedelta(minutes=45)
    assert abs(payment_of(started).payable_until - most) < timedelta(seconds=1)


def test_no_address_is_stored(stripe: Simulator, hold: str) -> None:
    """Neither the page's address nor where the payer comes back to is stored."""
    open_account(stripe)
    started = on_page("stripe", hold)
    host = urlsplit(started.body["action_url"]).netloc
    stored = everything()
    assert host not in stored
    assert "app.example" not in stored
