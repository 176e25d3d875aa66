"""The providers' pages and Pix in the simulators, driven by the providers' own SDKs."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import mercadopago
import pytest
import stripe

from tests.integration.test_simulators import (  # noqa: F401  # fixtures are found by their names
    Inbox,
    Local,
    account,
    cause,
    client,
    grant,
    inbox,
    made,
    mercadopago_server,
    mp,
    platform,
    sdk_with,
    sim,
    stripe_server,
    until,
)

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
PIX = {
    "allowed_payment_method_types": ["card", "pix"],
    "payment_method_options": {"pix": {"expires_after_seconds": 900}},
}


def session_params(**more: Any) -> Any:
    price = {"currency": "brl", "unit_amount": 5000, "product_data": {"name": "Payment"}}
    return {
        "mode": "payment",
        "line_items": [{"quantity": 1, "price_data": price}],
        "success_url": "https://app.example/paid",
        **more,
    }


def intent_params(**more: Any) -> Any:
    return {"amount": 5000, "currency": "brl", **more}


def in_minutes(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat(timespec="milliseconds")


# ---------------------------------------------------------------- Stripe


def test_expiring_a_session_cancels_its_intent(sim: Local, client: stripe.StripeClient) -> None:
    session = client.v1.checkout.sessions.create(session_params())
    card = {"payment_method": "pm_card_chargeDeclined"}
    sim.control(f"pay/{session.id}", card, status=402)
    intent = str(client.v1.checkout.sessions.retrieve(session.id).payment_intent)
    with pytest.raises(stripe.InvalidRequestError, match="Expire the Checkout Session"):
        client.v1.payment_intents.cancel(intent)
    assert client.v1.checkout.sessions.expire(session.id).status == "expired"
    ended = client.v1.payment_intents.retrieve(intent)
    assert (ended.status, ended.cancellation_reason) == ("canceled", "expired")
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.expire(session.id)


def test_an_authorized_intent_of_a_session_can_be_cancelled(
    sim: Local, client: stripe.StripeClient
) -> None:
    manual = session_params(payment_intent_data={"capture_method": "manual"})
    session = client.v1.checkout.sessions.create(manual)
    sim.control(f"pay/{session.id}")
    done = client.v1.checkout.sessions.retrieve(session.id)
    assert (done.status, done.payment_status) == ("complete", "unpaid")
    assert client.v1.payment_intents.cancel(str(done.payment_intent)).status == "canceled"


@pytest.mark.parametrize("method", ["pm_card_authenticationRequired", "pix"])
def test_a_session_is_complete_once_its_payer_has_done_the_rest(
    sim: Local, client: stripe.StripeClient, inbox: Inbox, method: str
) -> None:
    session = client.v1.checkout.sessions.create(session_params(**PIX))
    sim.control(f"pay/{session.id}", {"payment_method": method})
    waiting = client.v1.checkout.sessions.retrieve(session.id)
    assert waiting.status == "open"
    sim.control(f"payment_intents/{waiting.payment_intent}/authenticate")
    done = client.v1.checkout.sessions.retrieve(session.id)
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    inbox.wait_for("checkout.session.completed", "payment_intent.succeeded")


def test_pix_shows_its_code(sim: Local, client: stripe.StripeClient) -> None:
    intent = client.v1.payment_intents.create(intent_params(**PIX))
    sim.control(f"pay/{intent.id}", {"payment_method": "pix"})
    shown = client.v1.payment_intents.retrieve(intent.id).next_action
    assert shown
    code = shown.pix_display_qr_code
    assert code
    assert code.data
    assert 880 < (code.expires_at or 0) - time.time() <= 900
    assert client.v1.payment_intents.cancel(intent.id).next_action is None


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"currency": "mxn", **PIX}, "allowed_payment_method_types"),
        ({"capture_method": "manual", **PIX}, "capture_method"),
        (
            {**PIX, "payment_method_options": {"pix": {"expires_after_seconds": 59}}},
            "payment_method_options[pix][expires_after_seconds]",
        ),
        ({**PIX, "allowed_payment_method_types": ["card"]}, "payment_method_options[pix]"),
    ],
)
def test_pix_within_its_bounds(client: stripe.StripeClient, params: Any, param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.create(intent_params() | params)
    assert refused.value.param == param


def test_pix_where_it_is_not_allowed(sim: Local, client: stripe.StripeClient) -> None:
    cards = intent_params(allowed_payment_method_types=["card"])
    intent = client.v1.payment_intents.create(cards)
    sim.control(f"pay/{intent.id}", {"payment_method": "pix"}, status=400)


def test_a_price_needs_an_amount_and_a_product(client: stripe.StripeClient) -> None:
    for price in ({"unit_amount": 5000}, {"product_data": {"name": "Payment"}}):
        lines = [{"quantity": 1, "price_data": {"currency": "brl", **price}}]
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.checkout.sessions.create(session_params(line_items=lines))


# ---------------------------------------------------------------- Mercado Pago


@pytest.fixture
def seller(mp: Local, platform: mercadopago.SDK) -> mercadopago.SDK:
    """A seller in Brazil."""
    return sdk_with(mp, grant(mp, platform, seller="ana", site="MLB")["access_token"])


def preference(**more: Any) -> dict[str, Any]:
    items = [{"title": "Payment", "quantity": 1, "unit_price": 50}]
    return {"items": items, "external_reference": "prac:pay_1", **more}


def test_a_preference_ends(mp: Local, seller: mercadopago.SDK) -> None:
    lasting = preference(expires=True, expiration_date_to=in_minutes(30))
    found = made(seller.preference().create(lasting))
    path = f"preferences/{found['id']}/pay"
    mp.control(path)
    ended = {"expires": True, "expiration_date_to": in_minutes(0)}
    changed = seller.preference().update(found["id"], ended)
    assert (changed["status"], changed["response"]["items"]) == (200, found["items"])
    mp.control(path, status=400)
    assert cause(seller.preference().update(found["id"], {"price": 1})) == (400, 8)
    assert seller.preference().update("0-unknown", ended)["status"] == 404


def test_preferences_are_found_by_reference(
    mp: Local, seller: mercadopago.SDK, platform: mercadopago.SDK
) -> None:
    ids = [made(seller.preference().create(preference()))["id"] for _ in range(2)]
    made(seller.preference().create(preference(external_reference="prac:pay_2")))
    listed = seller.preference().search({"external_reference": "prac:pay_1"})["response"]
    assert [one["id"] for one in listed["elements"]] == ids[::-1]
    assert "init_point" not in listed["elements"][0]
    assert platform.preference().search({})["response"]["elements"] == []
    assert cause(seller.preference().search({"payer": "1"})) == (400, 8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"auto_return": "approved"},
        {"auto_return": "approved", "back_urls": {"success": "http://localhost:5173"}},
        {"marketplace_fee": 51},
        {"items": []},
        {"items": [{"title": "x", "quantity": 1, "unit_price": 1, "currency_id": "MXN"}]},
        {"items": [{"title": "x", "quantity": 1, "unit_price": 0}]},
        {"expires": True, "expiration_date_to": "2026-01-01T00:00:00"},
    ],
)
def test_preferences_that_are_refused(seller: mercadopago.SDK, wrong: dict[str, Any]) -> None:
    assert seller.preference().create(preference(**wrong))["status"] == 400


def test_excluded_types_are_not_taken(mp: Local, seller: mercadopago.SDK) -> None:
    cards = {"excluded_payment_types": [{"id": "ticket"}, {"id": "bank_transfer"}]}
    found = made(seller.preference().create(preference(payment_methods=cards)))
    for method in ("bolbradesco", "pix"):
        mp.control(f"preferences/{found['id']}/pay", {"payment_method_id": method}, status=400)
    mp.control(f"preferences/{found['id']}/pay")


def test_an_order_names_every_payment_of_a_preference(
    mp: Local, seller: mercadopago.SDK, inbox: Inbox
) -> None:
    found = made(seller.preference().create(preference()))
    for token in ("tok_rejected", "tok_approved", "tok_approved"):
        mp.control(f"preferences/{found['id']}/pay", {"token": token})
    inbox.wait_for("topic_merchant_order_wh")
    [order_id] = {
        d.event["data"]["id"]
        for d in inbox.received
        if d.event["type"] == "topic_merchant_order_wh"
    }
    order = seller.merchant_order().get(order_id)["response"]
    assert [one["status"] for one in order["payments"]] == ["rejected", "approved", "approved"]
    assert order["preference_id"] == found["id"]
    assert seller.merchant_order().get("1")["status"] == 404


@pytest.mark.parametrize(("minutes", "status"), [(31, 201), (29, 400), (60 * 24 * 31, 400)])
def test_how_long_a_pix_code_holds(seller: mercadopago.SDK, minutes: float, status: int) -> None:
    body = {
        "transaction_amount": 50,
        "payment_method_id": "pix",
        "payer": {"email": "payer@example.com"},
        "date_of_expiration": in_minutes(minutes),
    }
    answer = seller.payment().create(body)
    assert answer["status"] == status
    if status == 201:
        shown = answer["response"]["point_of_interaction"]["transaction_data"]
        assert shown["qr_code"]
        assert shown["qr_code_base64"]
        assert answer["response"]["date_of_expiration"] == body["date_of_expiration"]


def test_a_pix_code_of_a_page_ends_with_the_page(mp: Local, seller: mercadopago.SDK) -> None:
    ends = in_minutes(10)
    found = made(seller.preference().create(preference(date_of_expiration=ends)))
    paid = mp.control(f"preferences/{found['id']}/pay", {"payment_method_id": "pix"})
    assert (paid["status"], paid["date_of_expiration"]) == ("pending", ends)
