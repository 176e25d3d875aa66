"""Both adapters, connected accounts and account sessions, against the providers' simulators."""

import json
import logging
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from consulta.core import settings, table
from consulta.core.errors import Busy, Conflict, NotFound, ProviderFailed
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.money import secrets
from consulta.money.accounts import connect, payees
from consulta.money.mercadopago import connections as mercadopago_connections
from consulta.money.mercadopago import tokens as mercadopago_tokens
from consulta.money.provider import Operation, PaymentDetails
from consulta.money.providers import provider_for
from consulta.money.records import PAYMENT, PayeeItem, PaymentItem, RefundState, State
from consulta.people.records import EXPERT, ExpertItem
from tests.faults import Crash, Fault, Faults
from tests.unit.people.calling import PRACTICE, Answer, call, signed_in

ROOT = Path(__file__).resolve().parents[2]
PAYMENT_ID = "pay_01JC0NS0TADEM0000000000000"
EXPERT_ID, OTHER_EXPERT = "exp_01JC0NS0TADEM0000000000000", "exp_01JC0NS0TADEM0000000000001"
TENANT, BY = Tenant(PRACTICE), Actor("person-1", "request-1")
WAIT_S = 15


# ---------------------------------------------------------------- the simulators


@dataclass(frozen=True)
class Simulator:
    """A running simulator and its control plane."""

    url: str

    def control(self, path: str, body: Any = None) -> Any:
        answer = requests.post(f"{self.url}/_control/{path}", json=body or {}, timeout=5)
        assert answer.ok, answer.text
        return answer.json()

    def get(self, path: str, account: str = "") -> Any:
        headers = {"Authorization": "Bearer sk_test_x", "Stripe-Account": account}
        return requests.get(f"{self.url}{path}", headers=headers, timeout=5).json()


def start(module: str) -> Iterator[Simulator]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", f"local.simulators.{module}", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    simulator = Simulator(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                requests.get(f"{simulator.url}/_control/health", timeout=1)
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        yield simulator
    finally:
        process.terminate()
        process.wait(WAIT_S)


@pytest.fixture(scope="module")
def stripe_process() -> Iterator[Simulator]:
    yield from start("stripe")


@pytest.fixture(scope="module")
def mercadopago_process() -> Iterator[Simulator]:
    yield from start("mercadopago")


@pytest.fixture
def aws(tables: Any, environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Secrets and the tokens' key, beside the tables."""
    store = boto3.client("secretsmanager")
    webhook = {"current": "whsec_current"}
    for name, value in (
        ("STRIPE_SECRET_ARN", {"api_key": "sk_test_x", "publishable_key": "pk_test_x"}),
        (
            "MERCADOPAGO_SECRET_ARN",
            {"client_id": "7", "client_secret": "s", "platform_access_token": "TEST-1"},
        ),
    ):
        made = store.create_secret(
            Name=name, SecretString=json.dumps({**value, "webhook": webhook})
        )
        environment.setenv(name, made["ARN"])
    environment.setenv("TOKENS_KEY_ID", boto3.client("kms").create_key()["KeyMetadata"]["KeyId"])
    settings.reset()
    return environment


@pytest.fixture
def stripe(stripe_process: Simulator, aws: pytest.MonkeyPatch) -> Simulator:
    aws.setenv("STRIPE_API_BASE", stripe_process.url)
    settings.reset()
    stripe_process.control("reset")
    stripe_process.control("config", {"settle_ms": 0})
    return stripe_process


@pytest.fixture
def mercadopago(mercadopago_process: Simulator, aws: pytest.MonkeyPatch) -> Simulator:
    aws.setenv("MERCADOPAGO_API_BASE", mercadopago_process.url)
    settings.reset()
    mercadopago_process.control("reset")
    return mercadopago_process


# ---------------------------------------------------------------- what the tests are about


def payment(provider: str, amount: int = 50050, **changes: Any) -> PaymentItem:
    values: dict[str, Any] = {
        "provider": provider,
        "state": "open",
        "amount": amount,
        "currency": "MXN",
        "commission": amount // 10,
        **changes,
    }
    return PaymentItem.create(TENANT.item(PAYMENT, PAYMENT_ID), PAYMENT, BY, **values)


def add_expert(expert_id: str = EXPERT_ID) -> None:
    expert = ExpertItem.create(
        TENANT.item(EXPERT, expert_id),
        EXPERT,
        BY,
        member_id="mem_1",
        name="An expert",
        zone="America/Mexico_City",
        l1pk=TENANT.listing(EXPERT),
        l1sk=expert_id,
        walkpk=TENANT.listing(EXPERT),
        walksk=expert_id,
    )
    table.transact([table.put_new(expert)])


def is_ready(expert_id: str = EXPERT_ID) -> bool:
    expert = table.get(ExpertItem, TENANT.item(EXPERT, expert_id))
    assert expert
    return bool(expert.payments_ready)


def ask(
    function: str, method: str, path: str, body: Any = None, role: str = "owner", subject: str = ""
) -> Answer:
    route, _, query = path.partition("?")
    context = signed_in(role, subject=subject)
    return call(function, method, route, body, context=context, query=query)


def open_account(
    simulator: Simulator, controller: str = "platform_losses", payee: str = "practice"
) -> PayeeItem:
    """A connected account, set up and enabled."""
    made = ask(
        "connect",
        "POST",
        "/v1/connect/accounts",
        {"payee": payee, "country": "MX", "controller": controller},
    )
    assert made.status == 201, made.body
    simulator.control(f"accounts/{made.body['stripe_account']}", {"state": "enabled"})
    connect.refresh_account(PRACTICE, made.body["payee"], BY)
    found = payees.find(TENANT, made.body["payee"])
    assert found
    return found


def by_card(appointment: str, token: str = "tok_approved") -> dict[str, Any]:
    """What a browser sends to pay an appointment through Mercado Pago."""
    return {
        "appointment_id": appointment,
        "provider": "mercadopago",
        "token": token,
        "payment_method_id": "visa",
        "installments": 1,
        "payer_email": "payer@example.com",
    }


def connect_seller(simulator: Simulator, payee: str = "practice", seller: str = "clinic") -> Answer:
    code = simulator.control("authorize", {"seller": seller})["code"]
    body = {"payee": payee, "code": code, "redirect_uri": "https://example.com/back"}
    return ask("mercadopago", "POST", "/v1/mercadopago/connections", body)


# ---------------------------------------------------------------- payments through Stripe


@pytest.mark.parametrize("controller", ["platform_losses", "stripe_losses"])
def test_a_payment_from_start_to_refund(stripe: Simulator, controller: str) -> None:
    payee, provider = open_account(stripe, controller), provider_for("stripe")
    account, direct = str(payee.stripe_account), controller == "stripe_losses"
    ours = payment("stripe")
    started = provider.start(Operation("op_1"), ours, payee, PaymentDetails())
    assert (started.state, started.amount, started.currency) == (State.OPEN, 50050, "MXN")
    assert (started.practice, started.payment, started.account) == (PRACTICE, PAYMENT_ID, account)
    assert started.client_secret.startswith(started.id)
    again = provider.start(Operation("op_1"), ours, payee, PaymentDetails())
    assert again.id == started.id

    sent = stripe.get(f"/v1/payment_intents/{started.id}", account if direct else "")
    assert sent["allowed_payment_method_types"] == ["card"]
    assert sent["application_fee_amount"] == 5005
    assert sent["metadata"] == {"practice": PRACTICE, "payment": PAYMENT_ID, "op_id": "op_1"}
    assert sent["description"] == f"Payment {PAYMENT_ID}"
    assert sent["on_behalf_of"] is None
    transfer = sent["transfer_data"] and sent["transfer_data"]["destination"]
    assert transfer == (None if direct else account)

    stripe.control(f"pay/{started.id}")
    paid = settled(stripe, started.id, payee)
    assert (paid.state, paid.captured, paid.commission) == (State.SUCCEEDED, 50050, 5005)
    assert (paid.fee, paid.method) == (1481, "card")
    assert paid.balance_transaction.startswith("txn_")
    assert paid.paid_at
    assert [found.id for found in provider.find(ours, payee)] == [started.id]

    ours.provider_id, ours.captured = started.id, 50050
    part = provider.refund(Operation("op_2"), ours, payee, 10010)
    assert (part.state, part.amount, part.operation) == (RefundState.SUCCEEDED, 10010, "op_2")
    assert provider.refund(Operation("op_2"), ours, payee, 10010).id == part.id
    rest = provider.refund(Operation("op_3"), ours, payee, 40040)
    after = provider.read(started.id, payee)
    assert {(r.id, r.amount, r.operation) for r in after.refunds} == {
        (part.id, 10010, "op_2"),
        (rest.id, 40040, "op_3"),
    }
    with pytest.raises(ProviderFailed):
        provider.refund(Operation("op_4"), ours, payee, 1)

    stripe.control(f"refunds/{rest.id}/fail")
    (failed,) = [r for r in provider.read(started.id, payee).refunds if r.id == rest.id]
    assert failed.state is RefundState.FAILED
    assert failed.balance_transaction == rest.balance_transaction
    assert failed.failed_by not in ("", rest.balance_transaction)


def settled(simulator: Simulator, provider_id: str, payee: PayeeItem) -> Any:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = provider_for("stripe").read(provider_id, payee)
        if found.balance_transaction:
            return found
        time.sleep(0.02)
    return pytest.fail("the charge did not settle")


def test_fee_and_commission_are_unknown_until_settlement(stripe: Simulator) -> None:
    stripe.control("config", {"settle_ms": 60_000})
    payee, provider = open_account(stripe), provider_for("stripe")
    started = provider.start(Operation("op_1"), payment("stripe"), payee, PaymentDetails())
    stripe.control(f"pay/{started.id}")
    paid = provider.read(started.id, payee)
    assert (paid.state, paid.fee, paid.commission) == (State.SUCCEEDED, None, None)
    assert paid.balance_transaction == ""


def test_a_payment_without_commission_is_refunded_too(stripe: Simulator) -> None:
    payee, provider = open_account(stripe), provider_for("stripe")
    ours = payment("stripe", commission=0)
    started = provider.start(Operation("op_1"), ours, payee, PaymentDetails())
    stripe.control(f"pay/{started.id}")
    ours.provider_id = started.id
    assert provider.refund(Operation("op_2"), ours, payee, 50050).state is RefundState.SUCCEEDED
    assert settled(stripe, started.id, payee).commission == 0


def test_a_declined_card_and_one_that_asks_for_more(stripe: Simulator) -> None:
    payee, provider = open_account(stripe), provider_for("stripe")
    started = provider.start(Operation("op_1"), payment("stripe"), payee, PaymentDetails())
    card = {"payment_method": "pm_card_chargeDeclinedInsufficientFunds"}
    requests.post(f"{stripe.url}/_control/pay/{started.id}", json=card, timeout=5)
    declined = provider.read(started.id, payee)
    assert (declined.state, declined.failure_code) == (State.OPEN, "insufficient_funds")
    stripe.control(f"pay/{started.id}", {"payment_method": "pm_card_authenticationRequired"})
    asked = provider.read(started.id, payee)
    assert (asked.state, asked.requires_action) == (State.OPEN, True)


def test_cancelling_says_what_it_is_by_then(stripe: Simulator) -> None:
    payee, provider = open_account(stripe), provider_for("stripe")
    first = provider.start(Operation("op_1"), payment("stripe"), payee, PaymentDetails())
    assert provider.cancel(Operation("op_2"), first.id, payee).state is State.CANCELLED
    second = provider.start(Operation("op_3"), payment("stripe"), payee, PaymentDetails())
    stripe.control(f"pay/{second.id}")
    assert provider.cancel(Operation("op_4"), second.id, payee).state is State.SUCCEEDED


def test_on_behalf_of_is_the_payees_setting(stripe: Simulator) -> None:
    open_account(stripe)
    path = "/v1/connect/accounts/practice"
    changed = ask("connect", "PATCH", path, {"on_behalf_of": True})
    assert (changed.status, changed.body["on_behalf_of"]) == (200, True)
    payee = payees.find(TENANT, PRACTICE)
    assert payee
    started = provider_for("stripe").start(
        Operation("op_1"), payment("stripe"), payee, PaymentDetails()
    )
    sent = stripe.get(f"/v1/payment_intents/{started.id}")
    assert sent["on_behalf_of"] == payee.stripe_account


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after"])
def test_a_lost_answer_is_tried_again_as_the_same_operation(stripe: Simulator, kind: str) -> None:
    payee, provider = open_account(stripe), provider_for("stripe")
    stripe.control("faults", {"kind": kind, "path_prefix": "/v1/payment_intents", "times": 3})
    with pytest.raises(ProviderFailed):
        provider.start(Operation("op_1"), payment("stripe"), payee, PaymentDetails())
    provider.start(Operation("op_1"), payment("stripe"), payee, PaymentDetails())
    assert len(stripe.get("/v1/payment_intents")["data"]) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_refusal_tells_nothing_of_the_providers_text(
    stripe: Simulator, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    payee, provider = open_account(stripe), provider_for("stripe")
    fault = {"kind": "status", "status": status, "path_prefix": "/v1/payment_intents", "times": 9}
    stripe.control("faults", fault)
    with caplog.at_level(logging.INFO), pytest.raises(ProviderFailed) as failed:
        provider.start(Operation("op_1"), payment("stripe"), payee, PaymentDetails())
    assert "unknown error" not in str(failed.value) + caplog.text
    assert "Injected" not in str(failed.value) + caplog.text


def test_what_stripe_does_not_have_is_not_found(stripe: Simulator) -> None:
    payee = open_account(stripe)
    with pytest.raises(NotFound):
        provider_for("stripe").read("pi_absent", payee)


# ---------------------------------------------------------------- connected accounts


def test_an_account_is_made_once_however_often_it_is_asked_for(stripe: Simulator) -> None:
    body = {"payee": "practice", "country": "MX"}
    first = ask("connect", "POST", "/v1/connect/accounts", body)
    second = ask("connect", "POST", "/v1/connect/accounts", body)
    assert (first.status, second.status) == (201, 200)
    assert first.body["stripe_account"] == second.body["stripe_account"]
    assert first.body["state"] == "not_submitted"
    assert first.body["charge_type"] == "destination"
    (made,) = stripe.get("/v1/accounts")["data"]
    assert (made["metadata"]["practice"], made["metadata"]["payee"]) == (PRACTICE, PRACTICE)
    assert payees.owner_of("stripe", made["id"]) == payees.Owner(PRACTICE, PRACTICE)
    assert payees.owner_of("stripe", "acct_unknown") is None
    other = ask("connect", "POST", "/v1/connect/accounts", {**body, "country": "BR"})
    assert other.status == 409


# The writes of creating an account: the payee, the operation, the account.
WRITES = range(3)


@pytest.mark.parametrize("write", WRITES)
def test_asked_for_at_the_same_moment_it_is_one_account(
    stripe: Simulator, tables: Any, write: int
) -> None:
    body, others = {"payee": "practice", "country": "MX"}, []
    race = Faults.meanwhile(
        lambda: others.append(ask("connect", "POST", "/v1/connect/accounts", body))
    )
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[Fault()] * write, race)
        ours = ask("connect", "POST", "/v1/connect/accounts", body)
        assert faults.happened == 1
    (other,) = others
    assert (other.status, ours.status) == (201, 200)
    assert other.body["stripe_account"] == ours.body["stripe_account"]
    assert len(stripe.get("/v1/accounts")["data"]) == 1


@pytest.mark.parametrize("crash", [Faults.crash_before, Faults.crash_after])
@pytest.mark.parametrize("write", WRITES)
def test_a_crash_at_any_step_is_taken_up_again(
    stripe: Simulator, tables: Any, write: int, crash: Fault
) -> None:
    body = {"payee": "practice", "country": "MX"}
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[Fault()] * write, crash)
        with pytest.raises(Crash):
            ask("connect", "POST", "/v1/connect/accounts", body)
    assert ask("connect", "POST", "/v1/connect/accounts", body).status in (200, 201)
    (account,) = stripe.get("/v1/accounts")["data"]
    payee = payees.find(TENANT, PRACTICE)
    assert payee
    assert payee.stripe_account == account["id"]


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after", "status"])
@pytest.mark.parametrize("later_s", [0, 120])
def test_an_unknown_outcome_does_not_make_a_second_account(
    stripe: Simulator, aws: pytest.MonkeyPatch, kind: str, later_s: int
) -> None:
    body = {"payee": "practice", "country": "MX"}
    # The SDK tries twice again where there is no answer; a 500 says that it should not.
    times = 1 if kind == "status" else 3
    stripe.control("faults", {"kind": kind, "path_prefix": "/v1/accounts", "times": times})
    assert ask("connect", "POST", "/v1/connect/accounts", body).status == 502
    aws.setattr(connect, "now", lambda: now() + timedelta(seconds=later_s))
    second = ask("connect", "POST", "/v1/connect/accounts", body)
    if kind == "status" and later_s == 0:
        # The provider replays its own 500 for the key: a new one comes after the minute.
        assert second.status == 502
        return
    assert second.status == 201
    assert len(stripe.get("/v1/accounts")["data"]) == 1


def test_the_set_up_leads_to_a_ready_expert(stripe: Simulator) -> None:
    add_expert()
    body = {"payee": "practice", "country": "MX"}
    account = ask("connect", "POST", "/v1/connect/accounts", body).body["stripe_account"]
    urls = {"refresh_url": "https://example.com/again", "return_url": "https://example.com/done"}
    link = ask("connect", "POST", "/v1/connect/accounts/practice/onboarding-link", urls)
    assert link.status == 200
    assert link.body["url"].startswith(stripe.url)
    assert not is_ready()
    requests.get(link.body["url"], allow_redirects=False, timeout=5)
    assert ask("connect", "GET", "/v1/connect/accounts/practice").body["state"] == "not_submitted"
    fresh = ask("connect", "GET", "/v1/connect/accounts/practice?refresh=true")
    assert (fresh.status, fresh.body["state"]) == (200, "enabled")
    assert is_ready()
    stripe.control(f"accounts/{account}", {"state": "restricted"})
    connect.refresh_account(PRACTICE, PRACTICE, BY)
    assert not is_ready()


def test_an_expert_with_an_own_account_does_not_depend_on_the_practices(stripe: Simulator) -> None:
    add_expert()
    add_expert(OTHER_EXPERT)
    open_account(stripe)
    assert is_ready()
    body = {"payee": EXPERT_ID, "country": "MX"}
    made = ask("connect", "POST", "/v1/connect/accounts", body, "expert", EXPERT_ID)
    assert made.status == 201
    assert (is_ready(), is_ready(OTHER_EXPERT)) == (False, True)
    stripe.control(f"accounts/{made.body['stripe_account']}", {"state": "enabled"})
    connect.refresh_account(PRACTICE, EXPERT_ID, BY)
    assert is_ready()
    owner = payees.payee_for(TENANT, EXPERT_ID)
    assert owner
    assert owner.item_id == EXPERT_ID


def test_a_withdrawn_account_is_forgotten(stripe: Simulator) -> None:
    add_expert()
    account = str(open_account(stripe).stripe_account)
    stripe.control(f"accounts/{account}/deauthorize")
    connect.disconnect(PRACTICE, PRACTICE, "acct_another", BY)
    assert is_ready()
    connect.refresh_account(PRACTICE, PRACTICE, BY)
    assert not is_ready()
    assert payees.owner_of("stripe", account) is None
    assert ask("connect", "GET", "/v1/connect/accounts/practice").status == 404
    assert open_account(stripe).stripe_account != account


def test_who_may_connect_what(stripe: Simulator) -> None:
    add_expert()
    add_expert(OTHER_EXPERT)
    path = "/v1/connect/accounts"
    practice, other = (
        {"payee": "practice", "country": "MX"},
        {"payee": OTHER_EXPERT, "country": "MX"},
    )
    for role in ("billing", "viewer", "patient", "operator"):
        assert ask("connect", "POST", path, practice, role).status == 403
    for body in (practice, other):
        assert ask("connect", "POST", path, body, "expert", EXPERT_ID).status == 403
    assert ask("connect", "GET", f"{path}/{OTHER_EXPERT}", None, "expert", EXPERT_ID).status == 403
    absent = "exp_01JC0NS0TADEM0000000000009"
    assert ask("connect", "POST", path, {"payee": absent, "country": "MX"}).status == 404
    for bad in ({"country": "mx"}, {"country": "MX", "payee": "a#b"}, {}, {**practice, "x": 1}):
        assert ask("connect", "POST", path, bad).status == 422
    assert ask("connect", "GET", f"{path}/a%23b").status in (404, 422)
    made = open_account(stripe, payee=EXPERT_ID)
    settings_path = f"{path}/{EXPERT_ID}"
    wish = {"refund_management": True}
    assert ask("connect", "PATCH", settings_path, wish, "expert", EXPERT_ID).status == 403
    stale = call(
        "connect",
        "PATCH",
        settings_path,
        wish,
        context=signed_in(),
        headers={"If-Match": f'"{int(made.version) - 1}"'},
    )
    assert stale.status == 412


# ---------------------------------------------------------------- account sessions


def test_a_session_opens_what_the_role_may_see(
    stripe: Simulator, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    open_account(stripe)
    made = ask("account_sessions", "POST", "/v1/account-sessions", {}, "admin")
    assert made.status == 201
    assert made.headers["Cache-Control"] == "no-store"
    assert made.body["components"] == ["disputes_list", "payments", "payouts_list"]
    assert made.body["publishable_key"] == "pk_test_x"
    secret = made.body["client_secret"]
    assert secret.startswith("accs_secret__")
    written = caplog.text + "".join(capfd.readouterr())
    assert secret not in written
    raw = json.dumps([item.to_dict() if hasattr(item, "to_dict") else str(item) for item in rows()])
    assert secret not in raw


def rows() -> list[Any]:
    found: list[Any] = boto3.client("dynamodb").scan(TableName="core")["Items"]
    return found


@pytest.mark.parametrize("state", ["not_submitted", "restricted", "enabled"])
@pytest.mark.parametrize("controller", ["platform_losses", "stripe_losses"])
def test_stripe_takes_every_cell_of_the_table(
    stripe: Simulator, controller: str, state: str
) -> None:
    add_expert()
    for payee, roles in ((PRACTICE, ("owner", "admin", "billing", "viewer")), (EXPERT_ID, ())):
        account = str(
            open_account(stripe, controller, payee.replace(PRACTICE, "practice")).stripe_account
        )
        stripe.control(f"accounts/{account}", {"state": state})
        connect.refresh_account(PRACTICE, payee, BY)
        allowed = {
            "not_submitted": {"owner"},
            "restricted": {"owner", "admin", "billing"},
            "enabled": {"owner", "admin", "billing", "viewer"},
        }[state]
        for role in roles:
            made = ask("account_sessions", "POST", "/v1/account-sessions", {}, role)
            assert made.status == (201 if role in allowed else 403), (role, made.body)
    own = ask("account_sessions", "POST", "/v1/account-sessions", {}, "expert", EXPERT_ID)
    assert own.status == 201


def test_who_gets_no_session(stripe: Simulator) -> None:
    add_expert()
    path = "/v1/account-sessions"
    assert ask("account_sessions", "POST", path, {}).status == 404
    open_account(stripe)
    for role in ("patient", "operator"):
        assert ask("account_sessions", "POST", path, {}, role).status == 403
    practice = {"payee": "practice"}
    assert ask("account_sessions", "POST", path, practice, "expert", EXPERT_ID).status == 403
    assert ask("account_sessions", "POST", path, practice, "expert").status == 403
    narrow = ask("account_sessions", "POST", path, {"components": ["payments"]})
    assert narrow.body["components"] == ["payments"]
    beyond = {"components": ["payments", "balances"]}
    assert ask("account_sessions", "POST", path, beyond, "admin").status == 403
    for bad in ({"components": ["payment"]}, {"components": []}, {"payee": "x"}, {"account": "a"}):
        assert ask("account_sessions", "POST", path, bad).status == 422


# ---------------------------------------------------------------- who was let into an account


def happenings(queue: str) -> list[dict[str, Any]]:
    answer = boto3.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def test_whoever_is_let_into_an_account_is_in_the_audit(
    stripe: Simulator, aws: pytest.MonkeyPatch
) -> None:
    open_account(stripe)
    queue = boto3.client("sqs").create_queue(QueueName="audit")["QueueUrl"]
    aws.setenv("AUDIT_QUEUE_URL", queue)
    settings.reset()
    wanted = {"components": ["payouts", "balances"]}
    session = ask("account_sessions", "POST", "/v1/account-sessions", wanted)
    login = ask("connect", "POST", LOGIN)
    assert (session.status, login.status) == (201, 200)
    told = happenings(queue)
    assert [(one["event"], one["practice"], one["facts"]) for one in told] == [
        ("account_session", PRACTICE, {"payee": PRACTICE, "components": "balances payouts"}),
        ("account_login", PRACTICE, {"payee": PRACTICE}),
    ]
    assert all(one["by"] for one in told)
    written = json.dumps(told)
    assert session.body["client_secret"] not in written
    assert login.body["url"] not in written
    # Nobody is let in unseen.
    aws.setenv("AUDIT_QUEUE_URL", queue + "-gone")
    settings.reset()
    for function, path in (("account_sessions", "/v1/account-sessions"), ("connect", LOGIN)):
        refused = ask(function, "POST", path, {} if function == "account_sessions" else None)
        assert refused.status == 503
        assert not {"client_secret", "url"} & refused.body.keys()


LOGIN = "/v1/connect/accounts/practice/login-link"


def test_a_login_link_leads_into_the_accounts_own_dashboard(stripe: Simulator) -> None:
    assert ask("connect", "POST", LOGIN).status == 404
    account = str(open_account(stripe).stripe_account)
    link = ask("connect", "POST", LOGIN)
    assert link.status == 200
    assert link.body["url"].startswith(f"{stripe.url}/express/{account}/")
    assert link.headers["Cache-Control"] == "no-store"
    stripe.control(f"accounts/{account}", {"state": "not_submitted"})
    connect.refresh_account(PRACTICE, PRACTICE, BY)
    assert ask("connect", "POST", LOGIN).status == 409


def test_an_account_with_the_full_dashboard_signs_in_there(stripe: Simulator) -> None:
    open_account(stripe, "stripe_losses")
    link = ask("connect", "POST", LOGIN)
    assert (link.status, link.body) == (200, {"url": "https://dashboard.stripe.com"})


def test_a_login_link_is_for_the_owner_and_the_payee_alone(stripe: Simulator) -> None:
    add_expert()
    open_account(stripe)
    own = open_account(stripe, payee=EXPERT_ID)
    theirs = f"/v1/connect/accounts/{own.item_id}/login-link"
    for role in ("admin", "billing", "viewer", "patient", "operator"):
        for path in (LOGIN, theirs):
            assert ask("connect", "POST", path, None, role).status == 403, (role, path)
    assert ask("connect", "POST", LOGIN, None, "expert", EXPERT_ID).status == 403
    assert ask("connect", "POST", theirs, None, "expert", EXPERT_ID).status == 200
    assert ask("connect", "POST", theirs).status == 200


# ---------------------------------------------------------------- Mercado Pago


CARD = PaymentDetails(token="tok_approved", method="visa", payer_email="payer@example.com")


def seller(simulator: Simulator) -> PayeeItem:
    assert connect_seller(simulator).status == 201
    found = payees.find(TENANT, PRACTICE)
    assert found
    return found


def test_a_mercado_pago_payment_from_start_to_refund(mercadopago: Simulator) -> None:
    payee, provider = seller(mercadopago), provider_for("mercadopago")
    ours = payment("mercadopago")
    paid = provider.start(Operation("op_1"), ours, payee, CARD)
    assert (paid.state, paid.amount, paid.currency) == (State.SUCCEEDED, 50050, "MXN")
    assert (paid.practice, paid.payment) == (PRACTICE, PAYMENT_ID)
    assert (paid.account, paid.method) == (payee.mercadopago_user, "visa")
    assert (paid.fee, paid.commission) == (1747, 5005)
    assert provider.start(Operation("op_1"), ours, payee, CARD).id == paid.id
    assert [found.id for found in provider.find(ours, payee)] == [paid.id]

    ours.provider_id, ours.captured = paid.id, 50050
    part = provider.refund(Operation("op_2"), ours, payee, 10010)
    assert (part.state, part.amount, part.operation) == (RefundState.SUCCEEDED, 10010, "op_2")
    assert provider.refund(Operation("op_2"), ours, payee, 10010).id == part.id
    provider.refund(Operation("op_3"), ours, payee, 40040)
    after = provider.read(paid.id, payee)
    assert (after.state, sorted(r.amount for r in after.refunds)) == (
        State.SUCCEEDED,
        [10010, 40040],
    )
    with pytest.raises(ProviderFailed):
        provider.refund(Operation("op_4"), ours, payee, 1)


def test_a_repeated_refund_that_is_answered_with_nothing(mercadopago: Simulator) -> None:
    mercadopago.control("config", {"refund_replay": "empty"})
    payee, provider = seller(mercadopago), provider_for("mercadopago")
    ours = payment("mercadopago")
    paid = provider.start(Operation("op_1"), ours, payee, CARD)
    ours.provider_id, ours.captured = paid.id, 50050
    whole = provider.refund(Operation("op_2"), ours, payee, 50050)
    assert provider.refund(Operation("op_2"), ours, payee, 50050) == whole


@pytest.mark.parametrize(
    ("token", "method", "state", "code"),
    [
        (
            "tok_cc_rejected_insufficient_amount",
            "visa",
            State.OPEN,
            "cc_rejected_insufficient_amount",
        ),
        ("tok_in_process", "visa", State.PROCESSING, ""),
        ("", "oxxo", State.PROCESSING, ""),
    ],
)
def test_payments_that_are_not_approved_at_once(
    mercadopago: Simulator, token: str, method: str, state: State, code: str
) -> None:
    payee, provider = seller(mercadopago), provider_for("mercadopago")
    details = PaymentDetails(token=token, method=method, payer_email="payer@example.com")
    found = provider.start(Operation("op_1"), payment("mercadopago"), payee, details)
    assert (found.state, found.failure_code, found.captured) == (state, code, 0)
    assert (found.fee, found.commission) == (None, None)


def test_cancelling_at_mercado_pago_says_what_it_is_by_then(mercadopago: Simulator) -> None:
    payee, provider = seller(mercadopago), provider_for("mercadopago")
    voucher = PaymentDetails(method="oxxo", payer_email="payer@example.com")
    first = provider.start(Operation("op_1"), payment("mercadopago"), payee, voucher)
    assert provider.cancel(Operation("op_2"), first.id, payee).state is State.CANCELLED
    second = provider.start(Operation("op_3"), payment("mercadopago"), payee, CARD)
    assert provider.cancel(Operation("op_4"), second.id, payee).state is State.SUCCEEDED


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after"])
def test_a_lost_answer_of_mercado_pago_is_the_same_operation(
    mercadopago: Simulator, kind: str
) -> None:
    payee, provider = seller(mercadopago), provider_for("mercadopago")
    mercadopago.control("faults", {"kind": kind, "path_prefix": "/v1/payments"})
    ours = payment("mercadopago")
    with pytest.raises(ProviderFailed):
        provider.start(Operation("op_1"), ours, payee, CARD)
    provider.start(Operation("op_1"), ours, payee, CARD)
    assert len(provider.find(ours, payee)) == 1


def test_what_mercado_pago_does_not_have_and_what_it_refuses(mercadopago: Simulator) -> None:
    payee, provider = seller(mercadopago), provider_for("mercadopago")
    with pytest.raises(NotFound):
        provider.read("1", payee)
    unknown = PaymentDetails(token="no", method="visa", payer_email="payer@example.com")
    with pytest.raises(ProviderFailed):
        provider.start(Operation("op_1"), payment("mercadopago"), payee, unknown)


def test_a_connection_shows_no_token_and_keeps_none_in_the_clear(mercadopago: Simulator) -> None:
    add_expert()
    made = connect_seller(mercadopago)
    assert made.status == 201
    assert set(made.body) == {
        "payee",
        "user_id",
        "live",
        "token_expires_at",
        "connected_at",
        "version",
    }
    assert not re.search(r"APP_USR|TG-", json.dumps(made.body) + str(rows()))
    assert is_ready()
    assert payees.owner_of("mercadopago", made.body["user_id"]) == payees.Owner(PRACTICE, PRACTICE)
    assert connect_seller(mercadopago).status == 201  # the same seller again
    assert connect_seller(mercadopago, seller="another").status == 409
    assert connect_seller(mercadopago, payee=EXPERT_ID).status == 409


def test_disconnecting_forgets_the_tokens(mercadopago: Simulator) -> None:
    add_expert()
    payee, path = seller(mercadopago), "/v1/mercadopago/connections/practice"
    assert ask("mercadopago", "GET", path).status == 200
    assert ask("mercadopago", "DELETE", path).status == 204
    assert ask("mercadopago", "GET", path).status == 404
    assert ask("mercadopago", "DELETE", path).status == 404
    assert not is_ready()
    assert payees.owner_of("mercadopago", str(payee.mercadopago_user)) is None
    with pytest.raises(Conflict):
        mercadopago_tokens.access_token(TENANT, PRACTICE)
    mercadopago_connections.forget(PRACTICE, PRACTICE, BY)
    assert connect_seller(mercadopago).status == 201


def test_a_code_that_was_used_is_refused(mercadopago: Simulator) -> None:
    body = {"code": "TG-used", "redirect_uri": "https://example.com/back"}
    assert ask("mercadopago", "POST", "/v1/mercadopago/connections", body).status == 502
    assert mercadopago_tokens.find(TENANT, PRACTICE) is None


def test_tokens_are_rotated_together(mercadopago: Simulator) -> None:
    seller(mercadopago)
    before = mercadopago_tokens.access_token(TENANT, PRACTICE)
    for _ in range(3):
        mercadopago_tokens.refresh_tokens(TENANT, PRACTICE)
    after = mercadopago_tokens.access_token(TENANT, PRACTICE)
    assert after != before
    payee = payees.find(TENANT, PRACTICE)
    assert payee
    paid = provider_for("mercadopago").start(Operation("op_1"), payment("mercadopago"), payee, CARD)
    assert paid.state is State.SUCCEEDED


def test_a_token_is_renewed_in_its_last_days(mercadopago: Simulator) -> None:
    seller(mercadopago)
    before = mercadopago_tokens.access_token(TENANT, PRACTICE)
    expire(timedelta(days=1))
    assert mercadopago_tokens.access_token(TENANT, PRACTICE) != before


def test_a_failed_renewal_matters_only_once_the_token_is_over(mercadopago: Simulator) -> None:
    seller(mercadopago)
    before = mercadopago_tokens.access_token(TENANT, PRACTICE)
    expire(timedelta(days=1))
    mercadopago.control(
        "faults", {"kind": "status", "status": 500, "path_prefix": "/oauth", "times": 9}
    )
    assert mercadopago_tokens.access_token(TENANT, PRACTICE) == before
    expire(timedelta(seconds=-1))
    with pytest.raises((ProviderFailed, Busy)):
        mercadopago_tokens.access_token(TENANT, PRACTICE)


def test_only_one_caller_sends_the_refresh_token(mercadopago: Simulator) -> None:
    seller(mercadopago)
    item = mercadopago_tokens.find(TENANT, PRACTICE)
    assert item
    lease = table.change(item, BY, set_={"refreshing_at": to_text(now())})
    table.transact([lease])
    with pytest.raises(Busy):
        mercadopago_tokens.refresh_tokens(TENANT, PRACTICE)


def test_another_payees_row_cannot_be_opened(mercadopago: Simulator) -> None:
    """The encryption context binds the ciphertext to its payee."""
    seller(mercadopago)
    item = mercadopago_tokens.find(TENANT, PRACTICE)
    assert item
    stolen = mercadopago_tokens.TokensItem.create(
        mercadopago_tokens.key_of(TENANT, EXPERT_ID),
        mercadopago_tokens.TOKENS,
        BY,
        user_id="1",
        live=False,
        ciphertext=item.ciphertext,
        token_expires_at=item.token_expires_at,
    )
    table.transact([table.put_new(stolen)])
    with pytest.raises(ClientError, match="InvalidCiphertextException"):
        mercadopago_tokens.access_token(TENANT, EXPERT_ID)


def expire(left: timedelta) -> None:
    item = mercadopago_tokens.find(TENANT, PRACTICE)
    assert item
    values = {"token_expires_at": to_text(now() + left)}
    table.transact([table.change(item, BY, set_=values, remove=["refreshing_at"])])


# ---------------------------------------------------------------- secrets


def test_a_rotated_secret_is_fetched_again_once_a_minute(
    aws: pytest.MonkeyPatch,
) -> None:
    assert secrets.stripe_secret().signing() == ("whsec_current",)
    body = {"api_key": "sk_test_x", "webhook": {"current": "whsec_next"}}
    arn = settings.load(secrets.StripeArn).stripe_secret_arn
    boto3.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=json.dumps(body))
    assert secrets.stripe_secret().signing() == ("whsec_current",)
    fresh = secrets.refetched_stripe_secret()
    assert fresh
    assert fresh.signing() == ("whsec_next",)
    assert secrets.stripe_secret().signing() == ("whsec_next",)
    assert secrets.refetched_stripe_secret() is None


@pytest.mark.parametrize("text", ["{}", "no json", '{"api_key": "", "webhook": {"current": ""}}'])
def test_a_secret_that_is_not_set_up_is_a_500(aws: pytest.MonkeyPatch, text: str) -> None:
    arn = settings.load(secrets.StripeArn).stripe_secret_arn
    boto3.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=text)
    path = "/v1/connect/accounts"
    made = ask("connect", "POST", path, {"payee": "practice", "country": "MX"}, Role.OWNER)
    assert (made.status, made.headers["Content-Type"]) == (500, "application/problem+json")
