"""The simulators of Stripe and Mercado Pago, driven by the providers' own SDKs."""

import json
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import mercadopago
import pytest
import requests
import stripe
from flask import Flask, request
from mercadopago.config import RequestOptions
from mercadopago.http import HttpClient
from mercadopago.webhook import InvalidWebhookSignatureError, WebhookSignatureValidator
from werkzeug.serving import BaseWSGIServer, make_server

from local.simulators.mercadopago.app import create_app as create_mercadopago
from local.simulators.stripe import objects
from local.simulators.stripe.app import create_app as create_stripe

SECRET = "whsec_platform"
CONNECT_SECRET = "whsec_connect"
WAIT_S = 5


def serve(app: Flask) -> BaseWSGIServer:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def until(condition: Callable[[], Any]) -> Any:
    """The condition's first truthy value; fails after a few seconds."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    pytest.fail("nothing happened in time")


@dataclass
class Delivery:
    headers: dict[str, str]
    query: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Inbox:
    """A webhook endpoint: answers with `statuses` first, then with 200."""

    url: str = ""
    received: list[Delivery] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def types(self) -> list[str]:
        return [delivery.event["type"] for delivery in self.received]

    def wait_for(self, *types: str) -> list[str]:
        return until(lambda: self.types() if set(types) <= set(self.types()) else None)

    def wait_count(self, count: int) -> list[Delivery]:
        return until(lambda: self.received if len(self.received) >= count else None)


@dataclass
class Local:
    """A running simulator and its control plane."""

    url: str

    def control(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = requests.post(f"{self.url}/_control/{path}", json=body or {}, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    def events(self) -> list[dict[str, Any]]:
        return requests.get(f"{self.url}/_control/events", timeout=5).json()["events"]


def started(create: Callable[[], Flask]) -> Iterator[Local]:
    server = serve(create())
    yield Local(f"http://127.0.0.1:{server.port}")
    server.shutdown()


@pytest.fixture(scope="module")
def stripe_server() -> Iterator[Local]:
    yield from started(create_stripe)


@pytest.fixture(scope="module")
def mercadopago_server() -> Iterator[Local]:
    yield from started(create_mercadopago)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    box = Inbox()
    app = Flask("inbox")

    @app.post("/hook")
    def hook() -> tuple[str, int]:
        box.received.append(
            Delivery(dict(request.headers), request.args.to_dict(), request.get_data())
        )
        return "", box.statuses.pop(0) if box.statuses else 200

    server = serve(app)
    box.url = f"http://127.0.0.1:{server.port}/hook"
    yield box
    server.shutdown()


@pytest.fixture
def sim(stripe_server: Local, inbox: Inbox) -> Local:
    stripe_server.control("reset")
    stripe_server.control(
        "config",
        {
            "webhook_url": inbox.url,
            "webhook_secret": SECRET,
            "connect_webhook_secret": CONNECT_SECRET,
            "retry_base_ms": 10,
            "settle_ms": 100,
        },
    )
    return stripe_server


@pytest.fixture
def client(sim: Local) -> stripe.StripeClient:
    return stripe.StripeClient("sk_test_local", base_addresses={"api": sim.url})


CAPABILITIES = {"card_payments": {"requested": True}, "transfers": {"requested": True}}


@pytest.fixture
def account(sim: Local, client: stripe.StripeClient) -> str:
    made = client.v1.accounts.create({"type": "express", "capabilities": CAPABILITIES})
    sim.control(f"accounts/{made.id}", {"state": "enabled"})
    return made.id


def destination_charge(account: str, **more: Any) -> Any:
    return {
        "amount": 10_000,
        "currency": "mxn",
        "application_fee_amount": 1_500,
        "transfer_data": {"destination": account},
        "metadata": {"payment": "pay_1"},
        **more,
    }


def settled(client: stripe.StripeClient, intent_id: str, account: str | None = None) -> Any:
    """The latest charge once its balance transaction is there."""

    def charge() -> Any:
        intent = client.v1.payment_intents.retrieve(
            intent_id,
            {"expand": ["latest_charge.balance_transaction"]},
            {"stripe_account": account} if account else {},
        )
        return intent.latest_charge if intent.latest_charge.balance_transaction else None

    return until(charge)


# --- Stripe: payments


def test_destination_charge_settles_a_moment_after_it_succeeds(
    sim: Local, client: stripe.StripeClient, account: str, inbox: Inbox
) -> None:
    intent = client.v1.payment_intents.create(destination_charge(account))
    assert intent.status == "requires_payment_method"
    assert sim.control(f"pay/{intent.id}")["status"] == "succeeded"

    paid = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert paid.amount_received == 10_000
    assert paid.latest_charge.balance_transaction is None
    assert paid.latest_charge.transfer is None
    assert paid.latest_charge.application_fee is None

    charge = settled(client, intent.id)
    assert (charge.balance_transaction.fee, charge.balance_transaction.net) == (320, 9_680)
    transfer = client.v1.transfers.retrieve(charge.transfer)
    assert (transfer.amount, transfer.destination) == (10_000, account)
    fee = client.v1.application_fees.retrieve(charge.application_fee)
    assert (fee.amount, fee.account, fee.originating_transaction) == (1_500, account, charge.id)
    seen = client.v1.charges.retrieve(
        transfer.destination_payment,
        {"expand": ["balance_transaction"]},
        {"stripe_account": account},
    )
    assert seen.source_transfer == transfer.id
    assert seen.balance_transaction.net == 8_500

    types = inbox.wait_for("charge.updated")
    order = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    assert [t for t in types if t in order] == order
    assert types.index("charge.updated") > types.index("payment_intent.succeeded")
    assert {"transfer.created", "application_fee.created"} <= set(types)


def test_platform_balance_adds_up(client: stripe.StripeClient, sim: Local, account: str) -> None:
    intent = client.v1.payment_intents.create(destination_charge(account))
    sim.control(f"pay/{intent.id}")
    settled(client, intent.id)
    posted = client.v1.balance_transactions.list().data
    assert sorted(t.type for t in posted) == ["application_fee", "charge", "transfer"]
    assert sum(t.net for t in posted) == 1_500 - 320


def test_direct_charge_belongs_to_the_account(
    sim: Local, client: stripe.StripeClient, inbox: Inbox
) -> None:
    made = client.v1.accounts.create({"type": "standard", "capabilities": CAPABILITIES})
    sim.control(f"accounts/{made.id}", {"state": "enabled"})
    intent = client.v1.payment_intents.create(
        {"amount": 10_000, "currency": "mxn", "application_fee_amount": 1_500},
        {"stripe_account": made.id},
    )
    sim.control(f"pay/{intent.id}")
    charge = settled(client, intent.id, made.id)
    details = {d.type: d.amount for d in charge.balance_transaction.fee_details}
    assert details == {"stripe_fee": 320, "application_fee": 1_500}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.retrieve(intent.id)
    assert refused.value.code == "resource_missing"
    inbox.wait_for("payment_intent.succeeded")
    assert {d.event.get("account") for d in inbox.received if "intent" in d.event["type"]} == {
        made.id
    }
    with pytest.raises(stripe.InvalidRequestError, match="direct charge"):
        client.v1.payment_intents.create(destination_charge(made.id))


def test_declined_card(sim: Local, client: stripe.StripeClient, account: str) -> None:
    intent = client.v1.payment_intents.create(destination_charge(account))
    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_chargeDeclined"})
    assert declined.value.code == "card_declined"
    assert declined.value.error.decline_code == "generic_decline"
    after = client.v1.payment_intents.retrieve(intent.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error.code == "card_declined"
    types = [e["event"]["type"] for e in sim.events()]
    assert types[-2:] == ["charge.failed", "payment_intent.payment_failed"]
    # The same intent can be tried again with another card.
    assert sim.control(f"pay/{intent.id}")["status"] == "succeeded"


@pytest.mark.parametrize(
    ("outcome", "status"), [("succeeded", "succeeded"), ("failed", "requires_payment_method")]
)
def test_three_d_secure(
    sim: Local, client: stripe.StripeClient, account: str, outcome: str, status: str
) -> None:
    intent = client.v1.payment_intents.create(
        destination_charge(account, payment_method="pm_card_authenticationRequired", confirm=True)
    )
    assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")
    done = sim.control(f"payment_intents/{intent.id}/authenticate", {"outcome": outcome})
    assert done["status"] == status


@pytest.mark.parametrize(
    ("method", "status", "event"),
    [
        ("oxxo", "requires_action", "payment_intent.requires_action"),
        ("sepa_debit", "processing", "payment_intent.processing"),
    ],
)
def test_slow_payment_methods(
    sim: Local,
    client: stripe.StripeClient,
    account: str,
    inbox: Inbox,
    method: Any,
    status: str,
    event: str,
) -> None:
    params = destination_charge(account, allowed_payment_method_types=[method], confirm=True)
    intent = client.v1.payment_intents.create(params | {"payment_method_data": {"type": method}})
    assert intent.status == status
    inbox.wait_for(event)
    assert sim.control(f"payment_intents/{intent.id}/authenticate")["status"] == "succeeded"
    assert settled(client, intent.id).payment_method_details.type == method


def test_manual_capture_and_cancel(
    sim: Local, client: stripe.StripeClient, account: str, inbox: Inbox
) -> None:
    def authorized() -> str:
        intent = client.v1.payment_intents.create(
            destination_charge(account, capture_method="manual")
        )
        assert sim.control(f"pay/{intent.id}")["status"] == "requires_capture"
        return intent.id

    kept = authorized()
    captured = client.v1.payment_intents.capture(kept, {"amount_to_capture": 6_000})
    assert (captured.status, captured.amount_received) == ("succeeded", 6_000)
    assert settled(client, kept).balance_transaction.amount == 6_000
    dropped = client.v1.payment_intents.cancel(authorized())
    assert dropped.status == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.cancel(kept)
    assert refused.value.code == "payment_intent_unexpected_state"
    inbox.wait_for(
        "payment_intent.amount_capturable_updated", "charge.captured", "payment_intent.canceled"
    )


def test_publishable_key_needs_the_client_secret(
    sim: Local, client: stripe.StripeClient, account: str
) -> None:
    intent = client.v1.payment_intents.create(destination_charge(account))
    url = f"{sim.url}/v1/payment_intents/{intent.id}"
    key = {"Authorization": "Bearer pk_test_local"}
    form = {"client_secret": intent.client_secret, "payment_method": "pm_card_visa"}
    wrong = requests.post(
        f"{url}/confirm", headers=key, data=form | {"client_secret": "x"}, timeout=5
    )
    assert wrong.status_code == 400
    paid = requests.post(f"{url}/confirm", headers=key, data=form, timeout=5)
    assert paid.json()["status"] == "succeeded"
    assert "application_fee_amount" not in paid.json()
    refused = requests.post(f"{sim.url}/v1/refunds", headers=key, timeout=5)
    assert refused.json()["error"]["code"] == "secret_key_required"


def test_no_key_is_401(sim: Local) -> None:
    answer = requests.get(f"{sim.url}/v1/charges", timeout=5)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_checkout_session_makes_its_intent_when_paid(
    sim: Local, client: stripe.StripeClient, account: str, inbox: Inbox
) -> None:
    price = client.v1.prices.create(
        {"currency": "mxn", "unit_amount": 500, "product_data": {"name": "Consultation"}}
    )
    params: Any = {
        "mode": "payment",
        "success_url": "http://127.0.0.1/done",
        "line_items": [{"price": price.id, "quantity": 2}],
        "payment_intent_data": {
            "application_fee_amount": 100,
            "transfer_data": {"destination": account},
            "metadata": {"payment": "pay_2"},
        },
    }
    session = client.v1.checkout.sessions.create(params)
    assert (session.status, session.amount_total, session.payment_intent) == ("open", 1_000, None)
    sim.control(f"pay/{session.id}", {"payment_method": "pm_card_chargeDeclined"}, status=402)
    assert sim.control(f"pay/{session.id}")["payment_status"] == "paid"
    paid = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert paid.payment_intent.metadata.to_dict() == {"payment": "pay_2"}
    expired = client.v1.checkout.sessions.expire(client.v1.checkout.sessions.create(params).id)
    assert (expired.status, expired.url) == ("expired", None)
    inbox.wait_for("checkout.session.completed", "checkout.session.expired")


# --- Stripe: what is refused


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"appliction_fee_amount": 10}, "appliction_fee_amount", "parameter_unknown"),
        ({"payment_method_types": ["card"]}, "payment_method_types", "parameter_unknown"),
        ({"transfer_data": {"to": "acct_1"}}, "transfer_data[to]", "parameter_unknown"),
        ({"amount": "ten"}, "amount", "parameter_invalid_integer"),
        ({"currency": ""}, "currency", "parameter_invalid_empty"),
        ({"capture_method": "manul"}, "capture_method", None),
        ({"allowed_payment_method_types": ["cardd"]}, "allowed_payment_method_types[0]", None),
        (
            {"transfer_data": {"destination": "acct_0"}},
            "transfer_data[destination]",
            "resource_missing",
        ),
        ({"application_fee_amount": 20_000}, "application_fee_amount", None),
    ],
)
def test_wrong_parameters_are_named(
    client: stripe.StripeClient, account: str, change: Any, param: str, code: str | None
) -> None:
    # raw_request sends what it is given; the typed method would keep some of it for itself.
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.raw_request("post", "/v1/payment_intents", **(destination_charge(account) | change))
    assert (refused.value.http_status, refused.value.param) == (400, param)
    assert refused.value.code == code


def test_missing_parameter_and_object(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.payment_intents.create({"currency": "mxn"})  # type: ignore[typeddict-item]
    assert (missing.value.param, missing.value.code) == ("amount", "parameter_missing")
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        client.v1.charges.retrieve("ch_unknown")
    assert (unknown.value.http_status, unknown.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version"):
        client.v1.charges.list({}, {"stripe_version": "2020-08-27"})
    with pytest.raises(stripe.PermissionError):
        client.v1.charges.list({}, {"stripe_account": "acct_unknown"})


def test_transfers_need_an_enabled_account(client: stripe.StripeClient) -> None:
    made = client.v1.accounts.create({"type": "express", "capabilities": CAPABILITIES})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.create(destination_charge(made.id))
    assert refused.value.code == "insufficient_capabilities_for_transfer"


def test_objects_have_only_the_fields_of_the_sdk() -> None:
    with pytest.raises(TypeError, match="surcharge"):
        objects.new("charge", surcharge=1)
    assert "balance_transaction" in objects.new("charge")


# --- Stripe: accounts and sessions


def test_onboarding_emits_connect_events(
    sim: Local, client: stripe.StripeClient, inbox: Inbox
) -> None:
    made = client.v1.accounts.create({"type": "express", "capabilities": CAPABILITIES})
    assert (made.details_submitted, made.charges_enabled) == (False, False)
    assert made.requirements.currently_due
    sim.control(f"accounts/{made.id}", {"state": "restricted"})
    restricted = client.v1.accounts.retrieve_current({}, {"stripe_account": made.id})
    assert (restricted.details_submitted, restricted.payouts_enabled) == (True, False)
    link = client.v1.account_links.create(
        {
            "account": made.id,
            "type": "account_onboarding",
            "refresh_url": f"{sim.url}/_control/health",
            "return_url": f"{sim.url}/_control/health",
        }
    )
    assert requests.get(link.url, timeout=5).json() == {"status": "ok"}
    assert client.v1.accounts.retrieve(made.id).payouts_enabled
    inbox.wait_for("account.updated", "capability.updated")
    delivery = inbox.received[-1]
    header = delivery.headers["Stripe-Signature"]
    event = stripe.Webhook.construct_event(delivery.body, header, CONNECT_SECRET)
    assert event.account == made.id
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(delivery.body, header, SECRET)
    assert client.v1.events.retrieve(event.id, {}, {"stripe_account": made.id}).id == event.id


def test_account_session_answers_with_defaults(client: stripe.StripeClient, account: str) -> None:
    session = client.v1.account_sessions.create(
        {
            "account": account,
            "components": {
                "payments": {"enabled": True, "features": {"refund_management": False}},
                "payouts": {"enabled": True},
            },
        }
    )
    assert session.client_secret.startswith("accs_secret__")
    components = session.components.to_dict()
    assert components["payments"]["features"]["refund_management"] is False
    assert components["payments"]["features"]["capture_payments"] is True
    assert components["payouts"]["features"]["standard_payouts"] is False
    assert components["documents"]["enabled"] is False


@pytest.mark.parametrize(
    ("component", "features", "param"),
    [
        ("payouts_list", {"x": True}, "components[payouts_list][features][x]"),
        ("payment_dispute", {}, "components[payment_dispute]"),
        (
            "account_onboarding",
            {"disable_stripe_user_authentication": True},
            "components[account_onboarding][features][disable_stripe_user_authentication]",
        ),
        (
            "account_onboarding",
            {"external_account_collection": False},
            "components[account_onboarding][features][external_account_collection]",
        ),
    ],
)
def test_account_session_refusals(
    client: stripe.StripeClient, account: str, component: str, features: Any, param: str
) -> None:
    components: Any = {component: {"enabled": True, "features": features}}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.account_sessions.create({"account": account, "components": components})
    assert refused.value.param == param


def test_platform_that_collects_requirements_may_skip_authentication(
    client: stripe.StripeClient,
) -> None:
    made = client.v1.accounts.create({"type": "custom"})
    session = client.v1.account_sessions.create(
        {
            "account": made.id,
            "components": {
                "balances": {
                    "enabled": True,
                    "features": {"disable_stripe_user_authentication": True},
                }
            },
        }
    )
    assert session.components.to_dict()["balances"]["features"][
        "disable_stripe_user_authentication"
    ]


# --- Stripe: refunds, disputes, payouts


def test_refund_returns_transfer_and_fee_in_proportion(
    sim: Local, client: stripe.StripeClient, account: str, inbox: Inbox
) -> None:
    intent = client.v1.payment_intents.create(destination_charge(account))
    sim.control(f"pay/{intent.id}")
    both: Any = {"reverse_transfer": True, "refund_application_fee": True}
    part = client.v1.refunds.create({"payment_intent": intent.id, "amount": 3_333} | both)
    assert (part.status, part.amount) == ("succeeded", 3_333)
    charge = settled(client, intent.id)
    fee = client.v1.application_fees.retrieve(charge.application_fee)
    assert fee.amount_refunded == 500  # 499.95 to the nearest
    assert client.v1.transfers.retrieve(charge.transfer).amount_reversed == 3_333
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 6_668})

    client.v1.refunds.create({"payment_intent": intent.id} | both)
    fee = client.v1.application_fees.retrieve(charge.application_fee)
    transfer = client.v1.transfers.retrieve(charge.transfer)
    assert (fee.amount_refunded, fee.refunded) == (1_500, True)
    assert (transfer.amount_reversed, transfer.reversed) == (10_000, True)
    with pytest.raises(stripe.InvalidRequestError) as again:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert again.value.code == "charge_already_refunded"
    # Stripe's own fee is not returned.
    assert sum(t.net for t in client.v1.balance_transactions.list({"limit": 100}).data) == -320
    inbox.wait_for(
        "refund.created", "charge.refunded", "transfer.reversed", "application_fee.refunded"
    )


def test_failed_refund_comes_back(sim: Local, client: stripe.StripeClient, account: str) -> None:
    intent = client.v1.payment_intents.create(destination_charge(account))
    sim.control(f"pay/{intent.id}")
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 1_000})
    sim.control(f"refunds/{refund.id}/fail")
    failed = client.v1.refunds.retrieve(
        refund.id, {"expand": ["failure_balance_transaction", "charge"]}
    )
    assert (failed.status, failed.failure_balance_transaction.amount) == ("failed", 1_000)
    assert failed.charge.amount_refunded == 0


def test_dispute_withdraws_and_reinstates(
    sim: Local, client: stripe.StripeClient, account: str, inbox: Inbox
) -> None:
    intent = client.v1.payment_intents.create(destination_charge(account))
    charge = sim.control(f"pay/{intent.id}")["latest_charge"]
    opened = sim.control("disputes", {"charge": charge})
    dispute = client.v1.disputes.retrieve(opened["id"])
    assert [t.net for t in dispute.balance_transactions] == [-10_000 - 1_500]
    sim.control(f"disputes/{opened['id']}", {"status": "won"})
    assert sum(t.net for t in client.v1.disputes.retrieve(dispute.id).balance_transactions) == -1500
    sim.control(f"disputes/{opened['id']}", {"status": "lost"}, status=400)
    warning = sim.control("disputes", {"charge": charge, "status": "warning_needs_response"})
    assert warning["balance_transactions"] == []
    inbox.wait_for(*(f"charge.dispute.{t}" for t in ("created", "funds_withdrawn", "closed")))


def test_payout_can_fail_after_it_was_paid(
    sim: Local, client: stripe.StripeClient, account: str, inbox: Inbox
) -> None:
    payout = sim.control("payouts", {"account": account, "amount": 700, "status": "paid"})
    sim.control(f"payouts/{payout['id']}", {"status": "failed"})
    listed = client.v1.payouts.list({"status": "failed"}, {"stripe_account": account})
    assert [p.id for p in listed.data] == [payout["id"]]
    inbox.wait_for("payout.created", "payout.paid", "payout.failed")


# --- Stripe: idempotency, faults, lists


def test_idempotency_replays_and_conflicts(client: stripe.StripeClient, account: str) -> None:
    key: Any = {"idempotency_key": "op_1:1"}
    first = client.v1.payment_intents.create(destination_charge(account), key)
    again = client.v1.payment_intents.create(destination_charge(account), key)
    assert again.id == first.id
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert len(client.v1.payment_intents.list().data) == 1
    with pytest.raises(stripe.IdempotencyError) as conflict:
        client.v1.payment_intents.create(destination_charge(account, amount=20_000), key)
    assert conflict.value.http_status == 400
    # What was refused before it was executed is not remembered.
    other: Any = {"idempotency_key": "op_2:1"}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.create(destination_charge(account, amount="x"), other)
    assert client.v1.payment_intents.create(destination_charge(account), other).id != first.id


def test_stored_500_is_replayed(sim: Local, client: stripe.StripeClient, account: str) -> None:
    sim.control(
        "faults", {"method": "POST", "path_prefix": "/v1/payment_intents", "kind": "status"}
    )
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            client.v1.payment_intents.create(
                destination_charge(account), {"idempotency_key": "op_3:1"}
            )
        assert failed.value.http_status == 500
    client.v1.payment_intents.create(destination_charge(account), {"idempotency_key": "op_3:2"})


@pytest.mark.parametrize(("kind", "made"), [("timeout_before", 0), ("timeout_after", 1)])
def test_lost_answers(
    sim: Local, client: stripe.StripeClient, account: str, kind: str, made: int
) -> None:
    sim.control("faults", {"method": "POST", "path_prefix": "/v1/payment_intents", "kind": kind})
    key: Any = {"idempotency_key": "op_4:1"}
    with pytest.raises(stripe.APIConnectionError):
        client.v1.payment_intents.create(destination_charge(account), key)
    assert len(client.v1.payment_intents.list().data) == made
    client.v1.payment_intents.create(destination_charge(account), key)
    assert len(client.v1.payment_intents.list().data) == 1


def test_many_payments_at_once(sim: Local, client: stripe.StripeClient, account: str) -> None:
    def pay(number: int) -> str:
        key: Any = {"idempotency_key": f"op:{number % 10}"}  # every operation is sent twice
        intent = client.v1.payment_intents.create(destination_charge(account), key)
        requests.post(f"{sim.url}/_control/pay/{intent.id}", timeout=5)
        return intent.id

    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(pay, range(20)))
    assert len(ids) == 10
    until(lambda: len(client.v1.transfers.list({"limit": 100}).data) == 10)
    charges = client.v1.balance_transactions.list({"limit": 100, "type": "charge"}).data
    assert sum(t.amount for t in charges) == 10 * 10_000


def test_lists_page_newest_first(client: stripe.StripeClient) -> None:
    made = [client.v1.products.create({"name": f"p{n}"}).id for n in range(5)]
    first = client.v1.products.list({"limit": 2})
    assert [p.id for p in first.data] == made[:2:-1]
    assert first.has_more
    walked = [p.id for p in client.v1.products.list({"limit": 2}).auto_paging_iter()]
    assert walked == made[::-1]
    with pytest.raises(stripe.InvalidRequestError, match="cannot filter by url"):
        client.v1.products.list({"url": "https://example.com"})
    newer = client.v1.products.list({"ending_before": made[0], "limit": 2})
    assert [p.id for p in newer.data] == [made[2], made[1]]


# --- Stripe: webhooks


def test_webhook_is_signed_and_enveloped(
    client: stripe.StripeClient, account: str, inbox: Inbox
) -> None:
    key: Any = {"idempotency_key": "op_5:1"}
    intent = client.v1.payment_intents.create(destination_charge(account), key)
    inbox.wait_for("payment_intent.created")
    delivery = next(d for d in inbox.received if d.event["type"] == "payment_intent.created")
    header = delivery.headers["Stripe-Signature"]
    event = stripe.Webhook.construct_event(delivery.body, header, SECRET)
    assert (event.api_version, event.livemode) == (stripe.api_version, False)
    assert event.data.object.id == intent.id
    assert event.request.idempotency_key == "op_5:1"
    assert "account" not in delivery.event
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(delivery.body + b" ", header, SECRET)


def test_deliveries_twice(sim: Local, client: stripe.StripeClient, inbox: Inbox) -> None:
    sim.control("config", {"deliveries": "twice"})
    client.v1.products.create({"name": "p"})
    first, second = (d.event["id"] for d in inbox.wait_count(2)[:2])
    assert first == second


def test_deliveries_reordered(
    sim: Local, client: stripe.StripeClient, account: str, inbox: Inbox
) -> None:
    inbox.wait_for("capability.updated")
    sim.control("config", {"deliveries": "reordered"})
    intent = client.v1.payment_intents.create(destination_charge(account))
    sim.control(f"pay/{intent.id}")
    types = inbox.wait_for("charge.updated", "payment_intent.created")
    order = ["charge.updated", "payment_intent.succeeded", "payment_intent.created"]
    assert [t for t in types if t in order] == order


def test_deliveries_from_many_machines(
    sim: Local, client: stripe.StripeClient, inbox: Inbox
) -> None:
    sim.control("config", {"in_turn": False})
    made = {client.v1.products.create({"name": f"p{n}"}).id for n in range(20)}
    told = {d.event["data"]["object"]["id"] for d in inbox.wait_count(20)}
    assert told == made
    latest = requests.get(f"{sim.url}/_control/events", params={"last": 5}, timeout=5).json()
    assert [one["id"] for one in latest["events"]] == [one["id"] for one in sim.events()[-5:]]


def test_deliveries_held_until_flushed(
    sim: Local, client: stripe.StripeClient, inbox: Inbox
) -> None:
    sim.control("config", {"deliveries": "hold"})
    made = [client.v1.products.create({"name": f"p{n}"}).id for n in range(3)]
    assert {e["state"] for e in sim.events()} == {"held"}
    missed = client.v1.events.list({"delivery_success": False})
    assert len(missed.data) == 3
    assert sim.control("flush", {"order": "reversed"}) == {"flushed": 3}
    ids = [d.event["data"]["object"]["id"] for d in inbox.wait_count(3)]
    assert ids == made[::-1]
    until(lambda: not client.v1.events.list({"delivery_success": False}).data)


def test_delivery_is_retried_until_2xx_and_can_be_sent_again(
    sim: Local, client: stripe.StripeClient, inbox: Inbox
) -> None:
    inbox.statuses = [500, 503]
    client.v1.products.create({"name": "p"})
    inbox.wait_count(3)
    [emission] = until(lambda: [e for e in sim.events() if e["state"] == "delivered"])
    assert [d["status"] for d in emission["deliveries"]] == [500, 503, 200]
    time.sleep(1.1)  # the signature's time has a resolution of a second
    sim.control(f"events/{emission['id']}/send")
    deliveries = inbox.wait_count(4)
    assert deliveries[3].body == deliveries[0].body
    assert deliveries[3].headers["Stripe-Signature"] != deliveries[0].headers["Stripe-Signature"]
    sim.control("events/evt_unknown/send", status=404)


def test_delivery_gives_up_after_five_tries(
    sim: Local, client: stripe.StripeClient, inbox: Inbox
) -> None:
    inbox.statuses = [500] * 5
    client.v1.products.create({"name": "p"})
    until(lambda: sim.events()[0]["state"] == "failed")
    assert len(inbox.received) == 5


def test_unknown_settings_are_refused(sim: Local) -> None:
    assert "delivery" in sim.control("config", {"delivery": "twice"}, status=400)["error"]
    sim.control("config", {"deliveries": "thrice"}, status=400)
    sim.control("faults", {"kind": "earthquake"}, status=400)
    sim.control("accounts/acct_1", {"state": "happy"}, status=400)
    assert sim.control("disputes", {}, status=400) == {"error": "give charge"}


# --- Mercado Pago


class LocalHttpClient(HttpClient):
    """The SDK has no base address: rewrite it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        local = url.replace("https://api.mercadopago.com", self.url)
        return super().request(method, local, *args, **kwargs)


@pytest.fixture
def mp(mercadopago_server: Local, inbox: Inbox) -> Local:
    mercadopago_server.control("reset")
    mercadopago_server.control(
        "config", {"webhook_url": inbox.url, "webhook_secret": SECRET, "retry_base_ms": 10}
    )
    return mercadopago_server


def sdk_with(mp: Local, token: str) -> mercadopago.SDK:
    return mercadopago.SDK(token, http_client=LocalHttpClient(mp.url))


@pytest.fixture
def platform(mp: Local) -> mercadopago.SDK:
    return sdk_with(mp, "TEST-platform")


def grant(mp: Local, platform: mercadopago.SDK, **seller: str) -> dict[str, Any]:
    code = mp.control("authorize", {"seller": "clinic"} | seller)["code"]
    answer = platform.oauth().create(
        {
            "grant_type": "authorization_code",
            "client_id": "1",
            "client_secret": "s",
            "code": code,
            "redirect_uri": "http://127.0.0.1/callback",
        }
    )
    assert answer["status"] == 200, answer
    return answer["response"]


@pytest.fixture
def seller(mp: Local, platform: mercadopago.SDK) -> mercadopago.SDK:
    return sdk_with(mp, grant(mp, platform)["access_token"])


def with_key(sdk: mercadopago.SDK, key: str) -> RequestOptions:
    return RequestOptions(
        access_token=sdk.request_options.access_token, custom_headers={"x-idempotency-key": key}
    )


def payment(**more: Any) -> dict[str, Any]:
    return {
        "transaction_amount": 58.8,
        "token": "tok_approved",
        "installments": 1,
        "payment_method_id": "visa",
        "payer": {"email": "buyer@example.com"},
        "external_reference": "pay_1",
        **more,
    }


def made(answer: Any) -> dict[str, Any]:
    assert answer["status"] == 201, answer
    return answer["response"]


def cause(answer: Any) -> tuple[int, int]:
    return answer["status"], answer["response"]["cause"][0]["code"]


def test_mp_payment_with_the_sellers_token(
    mp: Local, platform: mercadopago.SDK, seller: mercadopago.SDK, inbox: Inbox
) -> None:
    paid = made(seller.payment().create(payment(application_fee=5.88)))
    assert (paid["status"], paid["status_detail"]) == ("approved", "accredited")
    assert (paid["currency_id"], paid["transaction_amount"]) == ("MXN", 58.8)
    assert paid["fee_details"] == [
        {"type": "mercadopago_fee", "amount": 2.05, "fee_payer": "collector"},
        {"type": "application_fee", "amount": 5.88, "fee_payer": "collector"},
    ]
    assert paid["transaction_details"]["net_received_amount"] == 50.87

    for token in ("TEST-any", "APP_USR-platform"):
        read = sdk_with(mp, token).payment().get(paid["id"])
        assert read["response"]["id"] == paid["id"]
    other = sdk_with(mp, grant(mp, platform, seller="other")["access_token"])
    assert cause(other.payment().get(paid["id"])) == (404, 2000)
    assert sdk_with(mp, "APP_USR-unknown").payment().get(paid["id"])["status"] == 401

    [delivery] = inbox.wait_count(1)
    assert delivery.query == {"data.id": str(paid["id"]), "type": "payment"}
    body = delivery.event
    assert (body["action"], body["data"]) == ("payment.created", {"id": str(paid["id"])})
    assert body["user_id"] == str(paid["collector_id"])
    signed = (delivery.headers["X-Signature"], delivery.headers["X-Request-Id"])
    WebhookSignatureValidator.validate(*signed, delivery.query["data.id"], SECRET)
    with pytest.raises(InvalidWebhookSignatureError):
        WebhookSignatureValidator.validate(*signed, "1", SECRET)


def test_mp_signature_can_be_in_seconds(mp: Local, seller: mercadopago.SDK, inbox: Inbox) -> None:
    mp.control("config", {"signature_ts": "s"})
    seller.payment().create(payment())
    [delivery] = inbox.wait_count(1)
    WebhookSignatureValidator.validate(
        delivery.headers["X-Signature"],
        delivery.headers["X-Request-Id"],
        delivery.query["data.id"],
        SECRET,
        tolerance_seconds=60,
    )


@pytest.mark.parametrize(
    ("token", "status", "detail"),
    [
        ("tok_rejected", "rejected", "cc_rejected_other_reason"),
        ("tok_cc_rejected_high_risk", "rejected", "cc_rejected_high_risk"),
        ("tok_in_process", "in_process", "pending_review_manual"),
    ],
)
def test_mp_token_decides(seller: mercadopago.SDK, token: str, status: str, detail: str) -> None:
    paid = made(seller.payment().create(payment(token=token)))
    assert (paid["status"], paid["status_detail"]) == (status, detail)
    assert paid["fee_details"] == []


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        ({"currency_id": "MXN"}, 8, "[currency_id]"),
        ({"payer": {"email": "b@example.com", "name": "x"}}, 8, "[payer.name]"),
        ({"transaction_amount": None}, 4003, "transaction_amount"),
        ({"transaction_amount": 1.005}, 4037, "transaction_amount"),
        ({"token": None}, 4000, "token"),
        ({"token": "nonsense"}, 2006, "Token"),
        ({"installments": None}, 4004, "installments"),
        ({"payer": {"email": "nobody"}}, 4050, "payer.email"),
        ({"application_fee": 99}, 4038, "application_fee"),
        ({"payment_method_id": "shells"}, 3028, "payment_method_id"),
    ],
)
def test_mp_refusals(seller: mercadopago.SDK, change: Any, code: int, names: str) -> None:
    answer = seller.payment().create(payment() | change)
    assert cause(answer) == (400, code)
    assert names in answer["response"]["message"]


def test_mp_application_fee_needs_a_sellers_token(platform: mercadopago.SDK) -> None:
    assert cause(platform.payment().create(payment(application_fee=1))) == (400, 2059)
    assert made(platform.payment().create(payment()))["marketplace_owner"] is None


def test_mp_currency_without_decimals(mp: Local, platform: mercadopago.SDK) -> None:
    token = grant(mp, platform, seller="santiago", site="MLC")["access_token"]
    seller = sdk_with(mp, token)
    assert cause(seller.payment().create(payment(transaction_amount=100.5))) == (400, 4037)
    paid = made(seller.payment().create(payment(transaction_amount=1_000)))
    assert (paid["currency_id"], paid["fee_details"][0]["amount"]) == ("CLP", 35)


def test_mp_idempotency(mp: Local, seller: mercadopago.SDK) -> None:
    key = with_key(seller, "op_1:1")
    first = seller.payment().create(payment(), key)
    again = seller.payment().create(payment(), key)
    assert (first["status"], again["status"]) == (201, 200)
    assert again["response"] == first["response"]
    assert seller.payment().create(payment(transaction_amount=60), key)["status"] == 409
    headers = {"Authorization": f"Bearer {seller.request_options.access_token}"}
    missing = requests.post(f"{mp.url}/v1/payments", json=payment(), headers=headers, timeout=5)
    assert missing.json()["cause"][0]["code"] == 4292
    refunds = seller.refund()
    part = made(refunds.create(made(first)["id"], {"amount": 10}, with_key(seller, "op_2:1")))
    mp.control("config", {"refund_replay": "empty"})
    replay = refunds.create(part["payment_id"], {"amount": 10}, with_key(seller, "op_2:1"))
    assert (replay["status"], replay["response"]) == (200, None)
    assert len(refunds.list_all(part["payment_id"])["response"]) == 1


def test_mp_partial_and_full_refunds(seller: mercadopago.SDK, inbox: Inbox) -> None:
    paid = made(seller.payment().create(payment(transaction_amount=100)))
    part = made(seller.refund().create(paid["id"], {"amount": 30.5}))
    assert (part["amount"], part["status"], part["payment_id"]) == (30.5, "approved", paid["id"])
    after = seller.payment().get(paid["id"])["response"]
    assert (after["status"], after["status_detail"]) == ("approved", "partially_refunded")
    assert cause(seller.refund().create(paid["id"], {"amount": 69.51})) == (400, 4041)
    assert cause(seller.refund().create(paid["id"], {"amount": 0})) == (400, 4040)
    assert cause(seller.refund().create(paid["id"], {"sum": 1})) == (400, 8)
    assert made(seller.refund().create(paid["id"]))["amount"] == 69.5
    after = seller.payment().get(paid["id"])["response"]
    assert (after["status"], after["transaction_amount_refunded"]) == ("refunded", 100)
    assert cause(seller.refund().create(paid["id"])) == (400, 2063)
    assert cause(seller.refund().create(1)) == (404, 2000)
    assert after["refunds"][0]["id"] == part["id"]
    actions = [d.event["action"] for d in inbox.wait_count(3)]
    assert actions == ["payment.created", "payment.updated", "payment.updated"]


def test_mp_vouchers(mp: Local, seller: mercadopago.SDK) -> None:
    oxxo = payment(payment_method_id="oxxo")
    del oxxo["token"], oxxo["installments"]
    waiting = made(seller.payment().create(oxxo))
    assert (waiting["status"], waiting["status_detail"]) == ("pending", "pending_waiting_payment")
    assert cause(seller.refund().create(waiting["id"])) == (400, 2063)
    assert mp.control(f"payments/{waiting['id']}/approve")["status"] == "approved"
    assert cause(seller.refund().create(waiting["id"], {"amount": 1})) == (400, 3024)
    pix = made(seller.payment().create(oxxo | {"payment_method_id": "pix"}))
    assert pix["point_of_interaction"]["transaction_data"]["qr_code"]
    cancelled = seller.payment().update(pix["id"], {"status": "cancelled"})
    assert (cancelled["status"], cancelled["response"]["status"]) == (200, "cancelled")
    assert cause(seller.payment().update(pix["id"], {"status": "cancelled"})) == (400, 2063)


def test_mp_old_payment_and_chargeback(mp: Local, seller: mercadopago.SDK) -> None:
    paid = made(seller.payment().create(payment(token="tok_in_process")))
    mp.control(f"payments/{paid['id']}/approve", {"date_approved": "2020-01-01T00:00:00+00:00"})
    assert cause(seller.refund().create(paid["id"])) == (400, 2024)
    mp.control(f"payments/{paid['id']}", {"status": "charged_back", "status_detail": "settled"})
    assert seller.payment().get(paid["id"])["response"]["status"] == "charged_back"


def test_mp_search(seller: mercadopago.SDK, platform: mercadopago.SDK) -> None:
    ids = [
        made(seller.payment().create(payment(external_reference=f"pay_{n % 2}")))["id"]
        for n in range(4)
    ]
    found = seller.payment().search({"external_reference": "pay_1", "begin_date": "NOW-1DAYS"})
    assert [p["id"] for p in found["response"]["results"]] == [ids[3], ids[1]]
    page = seller.payment().search({"limit": 1, "offset": 1, "end_date": "NOW"})["response"]
    assert page["paging"] == {"total": 4, "limit": 1, "offset": 1}
    assert [p["id"] for p in page["results"]] == [ids[2]]
    none = seller.payment().search({"status": "rejected"})["response"]
    assert (none["results"], none["paging"]["total"]) == ([], 0)
    assert platform.payment().search({})["response"]["results"] == []


def test_mp_oauth_rotates_the_refresh_token(
    mp: Local, platform: mercadopago.SDK, inbox: Inbox
) -> None:
    first = grant(mp, platform)
    assert (first["expires_in"], first["token_type"]) == (15_552_000, "Bearer")
    again: dict[str, Any] = {
        "grant_type": "refresh_token",
        "client_id": "1",
        "client_secret": "s",
        "refresh_token": first["refresh_token"],
    }
    second = platform.oauth().refresh(again)["response"]
    assert second["user_id"] == first["user_id"]
    assert second["refresh_token"] != first["refresh_token"]
    used = platform.oauth().refresh(again)
    assert (used["status"], used["response"]["error"]) == (400, "invalid_grant")
    assert sdk_with(mp, second["access_token"]).payment().search({})["status"] == 200

    mp.control("deauthorize", {"seller": "clinic"})
    assert sdk_with(mp, second["access_token"]).payment().search({})["status"] == 401
    [delivery] = inbox.wait_count(1)
    assert (delivery.event["type"], delivery.query["type"]) == ("mp-connect", "mp-connect")


def test_mp_code_is_good_once(mp: Local, platform: mercadopago.SDK) -> None:
    back = requests.get(
        f"{mp.url}/authorization",
        params={"redirect_uri": "http://127.0.0.1/cb", "state": "s1"},
        allow_redirects=False,
        timeout=5,
    )
    target = back.headers["Location"]
    assert target.endswith("&state=s1")
    body = {
        "grant_type": "authorization_code",
        "client_id": "1",
        "client_secret": "s",
        "code": target.partition("code=")[2].partition("&")[0],
    }
    assert platform.oauth().create(body)["status"] == 200
    assert platform.oauth().create(body)["response"]["error"] == "invalid_grant"


def test_mp_preference(mp: Local, seller: mercadopago.SDK, platform: mercadopago.SDK) -> None:
    body = {
        "items": [{"title": "Consultation", "quantity": 2, "unit_price": 25.5}],
        "marketplace_fee": 5,
        "external_reference": "pay_9",
    }
    preference = made(seller.preference().create(body))
    assert seller.preference().get(preference["id"])["response"]["items"][0]["unit_price"] == 25.5
    assert platform.preference().get(preference["id"])["status"] == 404
    mp.control(f"preferences/{preference['id']}/pay")
    [paid] = seller.payment().search({"external_reference": "pay_9"})["response"]["results"]
    assert (paid["transaction_amount"], paid["fee_details"][1]["amount"]) == (51, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cause(seller.preference().create(body | {"back_url": "x"})) == (400, 8)


@pytest.mark.parametrize(("kind", "count"), [("timeout_before", 0), ("timeout_after", 1)])
def test_mp_lost_answers(mp: Local, seller: mercadopago.SDK, kind: str, count: int) -> None:
    mp.control("faults", {"path_prefix": "/v1/payments", "kind": kind})
    with pytest.raises(requests.ConnectionError):
        seller.payment().create(payment())
    assert seller.payment().search({})["response"]["paging"]["total"] == count


def test_mp_injected_status(mp: Local, seller: mercadopago.SDK) -> None:
    mp.control("faults", {"path_prefix": "/v1/payments", "kind": "status", "status": 429})
    assert seller.payment().create(payment())["status"] == 429
    assert seller.payment().create(payment())["status"] == 201


# --- as programs


@pytest.mark.parametrize("name", ["stripe", "mercadopago"])
def test_runs_as_a_program(name: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", f"local.simulators.{name}", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert str(port) in process.stdout.readline()
        health = requests.get(f"http://127.0.0.1:{port}/_control/health", timeout=5)
        assert health.json() == {"status": "ok"}
    finally:
        process.terminate()
        process.communicate(timeout=5)
