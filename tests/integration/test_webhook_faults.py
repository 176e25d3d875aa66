"""What can go wrong with a webhook, through the functions' own handlers, under their own policies.

First what comes in: signatures, bodies, secrets, the queue. Then what the worker meets: objects
that are not there or not ours, and providers that do not answer, or not as they should.
"""

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest

from consulta.core import aws as clients
from consulta.core import keys, settings, table
from consulta.core.item import Actor
from consulta.core.time import now, to_text
from consulta.money import secrets
from consulta.money.accounts import payees
from consulta.money.mercadopago import tokens as mercadopago_tokens
from consulta.money.paying import orders
from consulta.money.records import State
from consulta.money.stripe import client as stripe_client
from consulta.money.webhooks import inbox, throttling
from consulta.money.webhooks.inbox import InboxState
from consulta.scheduling.records import PaymentStatus, Status
from tests.integration.test_money_simulated import (  # noqa: F401  # fixtures are found by their names
    PRICE,
    Simulator,
    ask,
    aws,
    balances,
    hold,
    mercadopago,
    mercadopago_process,
    open_account,
    shown,
    stripe,
    stripe_process,
)
from tests.integration.test_providers import connect_seller
from tests.integration.test_webhook_inbox import queue, taken  # noqa: F401
from tests.unit.people.calling import OTHER_PRACTICE, PRACTICE, handler
from tests.unit.scheduling.world import World

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
CURRENT, PREVIOUS, CONNECT, NEW = "whsec_current", "whsec_previous", "whsec_connect", "whsec_new"
LAMBDA = SimpleNamespace(
    aws_request_id="aws-1",
    function_name="webhook",
    memory_limit_in_mb=256,
    invoked_function_arn="arn:aws:lambda:us-east-1:1:function:webhook",
)
EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "payment_intent.succeeded",
    "livemode": False,
    "api_version": "2026-10-28",
    "data": {"object": {"id": "pi_1", "object": "payment_intent"}},
}
NOTIFICATION: dict[str, Any] = {
    "id": 987,
    "live_mode": False,
    "type": "payment",
    "user_id": "44",
    "api_version": "v1",
    "action": "payment.updated",
    "data": {"id": "123"},
}


@pytest.fixture(autouse=True)
def fresh_buckets() -> None:
    throttling.bucket_of.cache_clear()


def secret(provider: str, **webhooks: Any) -> None:
    """What Secrets Manager has from now on."""
    name = f"{provider.upper()}_SECRET_ARN"
    store = boto3.client("secretsmanager")
    known = json.loads(store.get_secret_value(SecretId=name)["SecretString"])
    store.put_secret_value(SecretId=name, SecretString=json.dumps(known | webhooks))


def rotating(until: timedelta = timedelta(hours=1)) -> None:
    webhook = {"current": CURRENT, "previous": PREVIOUS, "until": to_text(now() + until)}
    secret("stripe", webhook=webhook, connect_webhook={"current": CONNECT, "previous": None})
    secret("mercadopago", webhook=webhook)


def body_of(event: Any) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode()


def stripe_header(body: bytes, secret: str = CURRENT, age_s: int = 0) -> str:
    at = int(time.time()) - age_s
    return f"t={at},v1={hmac.digest(secret.encode(), f'{at}.'.encode() + body, 'sha256').hex()}"


def send_stripe(event: Any, secret: str = CURRENT, header: str | None = None) -> Any:
    body = body_of(event)
    headers = {"stripe-signature": stripe_header(body, secret) if header is None else header}
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        # What is no UTF-8 the gateway hands over as base64.
        text, encoded = base64.b64encode(body).decode(), True
    call = {
        "headers": {name: value for name, value in headers.items() if value},
        "body": text,
        "isBase64Encoded": encoded,
        "requestContext": {"requestId": "request-1"},
    }
    return handler("stripe_webhook")(call, LAMBDA)


def send_mercadopago(
    event: Any,
    secret: str = CURRENT,
    *,
    data_id: str = "123",
    header: str | None = None,
    ts: int | None = None,
) -> Any:
    ts = int(time.time() * 1000) if ts is None else ts
    manifest = (f"id:{data_id};" if data_id else "") + f"request-id:req-1;ts:{ts};"
    signed = hmac.digest(secret.encode(), manifest.encode(), "sha256").hex()
    signature = f"ts={ts},v1={signed}" if header is None else header
    call = {
        "headers": {"x-request-id": "req-1", **({"x-signature": signature} if signature else {})},
        "rawQueryString": urlencode({"data.id": data_id, "type": "payment"} if data_id else {}),
        "body": body_of(event).decode(),
        "requestContext": {"requestId": "request-1"},
    }
    return handler("mercadopago_webhook")(call, LAMBDA)


def is_refused(answer: Any, status: int = 400) -> bool:
    problem = json.loads(answer["body"])
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert problem["request_id"] == "request-1"
    assert "whsec" not in answer["body"]
    return bool(answer["statusCode"] == status == problem["status"])


def rows() -> int:
    """How many events the inbox has."""
    return len(list(table.Query(keys.inbox_month(now()), index="l1").all()))


# ---------------------------------------------------------------- signatures


@pytest.mark.parametrize("whose", [CURRENT, PREVIOUS, CONNECT])
def test_each_secret_of_a_rotation_is_good(aws: pytest.MonkeyPatch, queue: str, whose: str) -> None:
    rotating()
    assert send_stripe(EVENT, whose)["statusCode"] == 200
    (message,) = taken(queue)
    assert (message["event_id"], message["object_id"]) == ("evt_1", "pi_1")
    assert rows() == 0, "only the worker writes"


def test_the_previous_secret_ends(aws: pytest.MonkeyPatch, queue: str) -> None:
    rotating(timedelta(seconds=-1))
    assert send_stripe(EVENT, CURRENT)["statusCode"] == 200
    assert is_refused(send_stripe(EVENT, PREVIOUS))
    assert is_refused(send_mercadopago(NOTIFICATION, PREVIOUS))
    assert len(taken(queue)) == 1


def test_a_thin_event_with_the_connect_secret(aws: pytest.MonkeyPatch, queue: str) -> None:
    rotating()
    thin = {
        "id": "evt_2",
        "object": "v2.core.event",
        "type": "v2.core.account[requirements].updated",
        "livemode": False,
        "context": "acct_1",
        "related_object": {"id": "acct_1", "type": "account", "url": "/v2/core/accounts/acct_1"},
    }
    assert send_stripe(thin, CONNECT)["statusCode"] == 200
    (message,) = taken(queue)
    assert (message["account"], message["object_id"]) == ("acct_1", "acct_1")


BODY = body_of(EVENT)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        "t={now}",
        "t={now},v1=",
        f"t={{now}},v0={'0' * 64}",
        f"t=soon,v1={'0' * 64}",
        f"t={10**20},v1={'0' * 64}",
        f"v1={'0' * 64}",
        "t=1,v1=é",
    ],
)
def test_bad_signatures_of_stripe(aws: pytest.MonkeyPatch, queue: str, header: str) -> None:
    assert is_refused(send_stripe(EVENT, header=header.replace("{now}", str(int(time.time())))))
    assert taken(queue) == []


@pytest.mark.parametrize(
    "header",
    [
        lambda: stripe_header(BODY, "whsec_wrong"),
        lambda: stripe_header(BODY, age_s=301),
        lambda: stripe_header(BODY, age_s=-310),
        lambda: stripe_header(BODY + b" "),
        # The time is signed too: an old signature with a fresh time is none.
        lambda: f"t={int(time.time())}," + stripe_header(BODY, age_s=400).partition(",")[2],
    ],
    ids=["wrong", "stale", "future", "another body", "time changed"],
)
def test_signatures_that_do_not_hold(
    aws: pytest.MonkeyPatch, queue: str, header: Callable[[], str]
) -> None:
    assert is_refused(send_stripe(EVENT, header=header()))
    assert taken(queue) == []


def test_a_replayed_event_of_stripe_is_done_once(stripe: Simulator, hold: str, queue: str) -> None:
    payment_id, event = paid(stripe, hold)
    header = stripe_header(body_of(event))
    for _ in range(2):
        assert send_stripe(event, header=header)["statusCode"] == 200
    assert work(queue) == []
    version = payment(payment_id).version
    assert (payment(payment_id).state, rows()) == (State.SUCCEEDED, 1)
    assert send_stripe(event, header=header)["statusCode"] == 200
    assert work(queue) == []
    assert payment(payment_id).version == version


@pytest.mark.parametrize("header", ["", "nonsense", "ts=1", "ts=soon,v1=00", "v1=00", "ts=1,v1=é"])
def test_bad_signatures_of_mercado_pago(aws: pytest.MonkeyPatch, queue: str, header: str) -> None:
    assert is_refused(send_mercadopago(NOTIFICATION, header=header))
    assert is_refused(send_mercadopago(NOTIFICATION, "wrong"))
    assert is_refused(send_mercadopago(NOTIFICATION, data_id="124"))
    assert taken(queue) == []


def test_an_old_notification_is_taken(aws: pytest.MonkeyPatch, queue: str) -> None:
    """A retry may keep its ts, and what it is about is read again."""
    for ts in (int(time.time() * 1000) - 86_400_000, int(time.time()) - 86_400):
        assert send_mercadopago(NOTIFICATION, ts=ts)["statusCode"] == 200
    assert len(taken(queue)) == 2


# ---------------------------------------------------------------- a good signature, a bad body

BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"1",
    b"{}",
    b"[" * 5000,
    b'{"id": 1e400, "type": "a.b"}',
    b'{"id": ' + b"9" * 5000 + b', "type": "a.b"}',
    b'{"id": "evt#1", "type": "a.b"}',
    b'{"id": "evt_1", "type": "a b"}',
    b'{"id": {}, "type": "a.b"}',
    b'{"id": ["evt_1"], "type": "a.b"}',
    b'{"id": true, "type": "a.b"}',
    b'{"id": "evt_1", "type": 7.5}',
    b'{"id": "evt_1"}',
    b'{"type": "a.b"}',
    b'{"id": "' + b"x" * 300 + b'", "type": "a.b"}',
    b'{"id": "evt_1", "type": "a.b", "account": {"id": "acct_1"}, "user_id": {}}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_a_bad_body_is_refused(aws: pytest.MonkeyPatch, queue: str, body: bytes) -> None:
    assert is_refused(send_stripe(body))
    assert is_refused(send_mercadopago(body, data_id=""))
    assert taken(queue) == []


def test_what_is_no_utf8_is_refused(aws: pytest.MonkeyPatch, queue: str) -> None:
    assert is_refused(send_stripe(b'{"id": "\xff\xfe", "type": "a.b"}'))
    assert taken(queue) == []


def test_a_huge_body_is_refused_before_it_is_read(aws: pytest.MonkeyPatch, queue: str) -> None:
    huge = {**EVENT, "padding": "x" * 5_000_000}
    began = time.perf_counter()
    assert is_refused(send_stripe(huge))
    assert is_refused(send_mercadopago({**NOTIFICATION, "padding": "x" * 5_000_000}))
    assert time.perf_counter() - began < 5
    assert taken(queue) == []
    assert send_stripe({**EVENT, "padding": "x" * 500_000})["statusCode"] == 200
    (message,) = taken(queue)
    assert len(json.dumps(message)) < 500, "ids go on, and nothing else"


def test_live_events_in_test_are_answered_and_ignored(aws: pytest.MonkeyPatch, queue: str) -> None:
    for answer in (
        send_stripe({**EVENT, "livemode": True}),
        send_mercadopago({**NOTIFICATION, "live_mode": True}),
    ):
        assert (answer["statusCode"], json.loads(answer["body"])["ignored"]) == (200, True)
    assert taken(queue) == []


def test_payloads_go_on_as_the_little_that_is_acted_on(aws: pytest.MonkeyPatch, queue: str) -> None:
    gone = {
        **EVENT,
        "type": "account.application.deauthorized",
        "account": "acct_1",
        "data": {"object": {"id": "ca_1", "object": "application", "name": "Dr. Nadia Ruiz"}},
    }
    withdrawn = {
        **NOTIFICATION,
        "type": "mp-connect",
        "action": "application.deauthorized",
        "email": "nadia@example.com",
    }
    assert send_stripe(gone)["statusCode"] == 200
    assert send_mercadopago(withdrawn)["statusCode"] == 200
    theirs, sellers = taken(queue)
    assert theirs["payload"] == {"id": "ca_1", "object": "application"}
    assert sellers["payload"] == {"action": "application.deauthorized"}
    assert "adia" not in json.dumps([theirs, sellers])


# ---------------------------------------------------------------- the queue and the secrets


def test_without_a_queue_it_is_a_500_and_nothing_is_written(
    aws: pytest.MonkeyPatch, queue: str
) -> None:
    clients.client("sqs").delete_queue(QueueUrl=queue)
    assert is_refused(send_stripe(EVENT), 500)
    assert is_refused(send_mercadopago(NOTIFICATION), 500)
    assert rows() == 0


@pytest.mark.parametrize("text", [None, "", "not json", "{}", '{"api_key": "sk", "webhook": {}}'])
def test_without_secrets_it_is_a_500(aws: pytest.MonkeyPatch, queue: str, text: str | None) -> None:
    store = boto3.client("secretsmanager")
    for name in ("STRIPE_SECRET_ARN", "MERCADOPAGO_SECRET_ARN"):
        if text is None:
            store.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        else:
            store.put_secret_value(SecretId=name, SecretString=text or " ")
    assert is_refused(send_stripe(EVENT), 500)
    assert is_refused(send_mercadopago(NOTIFICATION), 500)
    assert taken(queue) == []


def test_a_mismatch_forces_one_refetch_a_minute(
    aws: pytest.MonkeyPatch, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(at=1000.0)
    monkeypatch.setattr(secrets, "time", SimpleNamespace(monotonic=lambda: clock.at))
    asked: list[str] = []
    clients.client("secretsmanager").meta.events.register(
        "before-call.secrets-manager.GetSecretValue", lambda **_: asked.append("secret")
    )
    sends = {
        "stripe": lambda whose: send_stripe(EVENT, whose)["statusCode"],
        "mercadopago": lambda whose: send_mercadopago(NOTIFICATION, whose)["statusCode"],
    }
    for provider, send in sends.items():
        asked.clear()
        assert send(CURRENT) == 200
        secret(provider, webhook={"current": NEW})
        # Cached for five minutes, and asked for again at the first signature that does not match.
        assert (send(NEW), len(asked)) == (200, 2)
        assert [send("whsec_forged") for _ in range(20)] == [400] * 20
        assert len(asked) == 2, "a flood of forgeries costs nothing"
        secret(provider, webhook={"current": "whsec_newer"})
        assert send("whsec_newer") == 400
        clock.at += 61
        assert (send("whsec_newer"), len(asked)) == (200, 3)


# ---------------------------------------------------------------- the worker


def work(queue: str) -> list[str]:
    """All that the queue has, through the worker once; the messages that come again."""
    again: list[str] = []
    while True:
        found = clients.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=5)
        messages = found.get("Messages")
        if not messages:
            return again
        records = [
            {"messageId": m["MessageId"], "receiptHandle": m["ReceiptHandle"], "body": m["Body"]}
            for m in messages
        ]
        answer = handler("payment_events")({"Records": records}, LAMBDA)
        failed = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
        again += failed
        for record in records:
            if record["messageId"] not in failed:
                clients.client("sqs").delete_message(
                    QueueUrl=queue, ReceiptHandle=record["receiptHandle"]
                )


def paid(stripe: Simulator, hold: str) -> tuple[str, dict[str, Any]]:
    """A payment at Stripe that we have not heard of: its id, and the event."""
    open_account(stripe)
    body = {"appointment_id": hold, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", body)
    assert started.status == 201, started.body
    stripe.control(f"pay/{started.body['provider_id']}")
    return str(started.body["id"]), emitted(stripe, "payment_intent.succeeded")


def emitted(simulator: Simulator, kind: str) -> dict[str, Any]:
    """The last event of a type, once it is there."""
    for _ in range(100):
        events = simulator.get("/_control/events")["events"]
        found = [item["event"] for item in events if item["event"]["type"] == kind]
        if found:
            return dict(found[-1])
        time.sleep(0.05)
    raise AssertionError(f"no {kind}")


def payment(payment_id: str) -> Any:
    return orders.load(World(PRACTICE, exists=True).tenant, payment_id)


def row(event: dict[str, Any], provider: str = "stripe") -> tuple[str, str]:
    """State and error of an event's row."""
    account = event.get("account") or event.get("user_id") or inbox.PLATFORM
    raw = table.get_raw(keys.inbox(provider, str(account), str(event["id"])))
    assert raw
    found = table.from_raw(raw)
    return found["state"], found.get("error", "")


def about(object_id: str, kind: str = "payment_intent.succeeded", **more: Any) -> dict[str, Any]:
    return {**EVENT, "type": kind, "data": {"object": {"id": object_id}}, **more}


@pytest.mark.parametrize(
    ("kind", "object_id", "state"),
    [
        ("payment_intent.succeeded", "pi_unknown", ("FAILED", "not_found")),
        ("charge.updated", "ch_unknown", ("FAILED", "not_found")),
        ("charge.dispute.created", "du_unknown", ("FAILED", "not_found")),
        ("refund.created", "re_unknown", ("FAILED", "not_found")),
        ("refund.failed", "pyr_unknown", ("FAILED", "not_found")),
        ("payout.paid", "po_unknown", ("FAILED", "not_found")),
        ("transfer.reversed", "tr_unknown", ("FAILED", "not_found")),
        ("application_fee.refunded", "fee_unknown", ("FAILED", "not_found")),
        ("account.updated", "acct_unknown", ("IGNORED", "unknown_account")),
        ("account.updated", "", ("IGNORED", "unknown_account")),
        ("customer.created", "cus_1", ("IGNORED", "unknown_type")),
        ("invoice.paid", "in_1", ("IGNORED", "not_needed")),
        ("transfer.created", "tr_1", ("IGNORED", "not_needed")),
        ("payment_intent.succeeded", "", ("IGNORED", "not_ours")),
        ("payment_intent.succeeded", "zz_1", ("IGNORED", "not_ours")),
    ],
)
def test_what_is_unknown_is_stored_and_not_tried_again(
    stripe: Simulator, queue: str, kind: str, object_id: str, state: tuple[str, str]
) -> None:
    event = about(object_id, kind)
    assert send_stripe(event)["statusCode"] == 200
    assert work(queue) == []
    assert row(event) == state


@pytest.mark.parametrize(
    ("kind", "object_id"),
    [
        ("payment_intent.succeeded", "pi_1"),
        ("payout.paid", "po_1"),
        ("balance.available", ""),
        ("capability.updated", "card_payments"),
        ("account.application.deauthorized", "ca_1"),
        ("v2.core.account.updated", "acct_stranger"),
    ],
)
def test_events_of_an_account_that_is_not_ours(
    stripe: Simulator, queue: str, kind: str, object_id: str
) -> None:
    event = about(object_id, kind, account="acct_stranger")
    assert send_stripe(event)["statusCode"] == 200
    assert work(queue) == []
    assert row(event) == ("IGNORED", "unknown_account")


def test_another_practices_payment_in_the_metadata(
    stripe: Simulator, hold: str, queue: str, aws: pytest.MonkeyPatch
) -> None:
    """Whoever can make an intent at Stripe can name any payment: it must stay as it is."""
    payment_id, _ = paid(stripe, hold)
    before = payment(payment_id)
    for practice, account in ((PRACTICE, ""), (OTHER_PRACTICE, ""), ("#", "")):
        forged = forge(stripe, practice, payment_id, account)
        event = about(forged, id=f"evt_{forged}")
        assert send_stripe(event)["statusCode"] == 200
        assert work(queue) == []
        assert row(event)[0] in ("FAILED", "IGNORED"), row(event)
    after = payment(payment_id)
    assert (after.state, after.captured) == (before.state, before.captured)
    assert shown(hold) == (Status.HELD, PaymentStatus.UNPAID)


def forge(stripe: Simulator, practice: str, payment_id: str, account: str) -> str:
    """An intent of 1.00 that says it is for somebody else's payment, and is paid; its id."""
    import stripe as sdk  # noqa: PLC0415  # the fixture has its name

    client = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url})
    made = client.v1.payment_intents.create(
        {
            "amount": 100,
            "currency": "mxn",
            "allowed_payment_method_types": ["card"],
            "metadata": {"practice": practice, "payment": payment_id},
        },
        {"stripe_account": account} if account else {},
    )
    stripe.control(f"pay/{made.id}")
    return str(made.id)


# ---------------------------------------------------------------- providers that do not answer well


def fault(simulator: Simulator, kind: str, path: str, **more: Any) -> None:
    # As often as the SDK asks again; half an answer is none of the things that it does so for.
    times = 1 if kind == "garbled" else 1 + stripe_client.RETRIES
    body = {"kind": kind, "method": "*", "path_prefix": path, "times": times, **more}
    simulator.control("faults", body)


@pytest.mark.parametrize(
    ("kind", "more"),
    [("timeout_before", {}), ("timeout_after", {}), ("status", {"status": 500}), ("garbled", {})],
)
def test_a_stripe_that_fails_leaves_it_received_and_it_comes_again(
    stripe: Simulator,
    hold: str,
    queue: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    more: dict[str, Any],
) -> None:
    payment_id, event = paid(stripe, hold)
    monkeypatch.setattr("stripe._http_client.HTTPClient._sleep_time_seconds", lambda *_: 0)
    fault(stripe, kind, "/v1/payment_intents", **more)
    assert send_stripe(event)["statusCode"] == 200
    assert len(work(queue)) == 1
    assert row(event) == ("RECEIVED", "")
    assert payment(payment_id).state == State.OPEN
    assert handle_again(event) is InboxState.DONE
    assert payment(payment_id).state == State.SUCCEEDED
    assert row(event) == ("DONE", "")


def handle_again(event: dict[str, Any], provider: str = "stripe") -> InboxState:
    subject = event["data"].get("object") or event["data"]
    return inbox.handle(
        {
            "provider": provider,
            "event_id": str(event["id"]),
            "type": event["type"],
            "live": False,
            "account": str(event.get("account") or event.get("user_id") or ""),
            "object_id": str(subject["id"]),
            "api_version": "",
        }
    )


class Nonsense(BaseHTTPRequestHandler):
    """A provider that answers every call with the same."""

    status, answer, headers_ = 200, b"", dict[str, str]()

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.answer)))
        for name, value in self.headers_.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def nonsense(aws: pytest.MonkeyPatch) -> Iterator[type[Nonsense]]:
    class One(Nonsense):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), One)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("STRIPE_API_BASE", "MERCADOPAGO_API_BASE"):
        aws.setenv(name, f"http://127.0.0.1:{server.server_port}")
    settings.reset()
    yield One
    server.shutdown()
    server.server_close()


MALFORMED = [
    b"<html><body>Bad gateway</body></html>",
    b'{"id": "pi_1", "object": "payment_in',
    b"",
    b"{}",
    b"[]",
    b"null",
    b'"pi_1"',
    b'{"id": "pi_1", "object": "payment_intent"}',
    b'{"id": 123, "status": "approved"}',
]


@pytest.mark.parametrize("answer", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_answers_leave_it_received_or_ignored(
    nonsense: type[Nonsense], hold: str, queue: str, answer: bytes
) -> None:
    seller(PRACTICE)
    nonsense.answer = answer
    events = (about("pi_1"), {**NOTIFICATION, "user_id": "4711"})
    assert send_stripe(events[0])["statusCode"] == 200
    assert send_mercadopago(events[1])["statusCode"] == 200
    again = work(queue)
    states = {row(events[0]), row(events[1], "mercadopago")}
    # Never done, and never FAILED for good: an answer that says nothing proves nothing. One that is
    # an intent without our metadata is not ours.
    assert states <= {("RECEIVED", ""), ("IGNORED", "not_ours")}, states
    assert len(again) == [row(events[0]), row(events[1], "mercadopago")].count(("RECEIVED", ""))
    assert row(events[1], "mercadopago") == ("RECEIVED", "")


def seller(practice: str) -> None:
    """A seller whose token is good for a long time."""
    tenant, by = keys.Tenant(practice), Actor("test", "request-1")
    payee = payees.ensure(tenant, practice, by)
    tokens = mercadopago_tokens.Tokens(
        access="APP_USR-1",
        refresh="TG-1",
        user_id="4711",
        live=False,
        expires_at=now() + timedelta(days=90),
    )
    owner = payees.Owner(practice, payee.item_id)
    table.transact(
        [
            payees.account_row("mercadopago", "4711", owner),
            table.put_new(mercadopago_tokens.new_item(tenant, payee.item_id, tokens, by)),
            table.change(payee, by, set_={"mercadopago_user": "4711"}),
        ]
    )


@pytest.mark.parametrize("retry_after", ["", "7"])
def test_a_provider_that_is_too_busy_is_asked_later_and_no_try_is_counted(
    nonsense: type[Nonsense], hold: str, queue: str, retry_after: str
) -> None:
    seller(PRACTICE)
    nonsense.status, nonsense.answer = 429, b'{"error": {"type": "rate_limit"}, "message": "busy"}'
    nonsense.headers_ = {"Retry-After": retry_after} if retry_after else {}
    events = [about(f"pi_{number}", id=f"evt_{number}") for number in range(3)]
    for event in events:
        assert send_stripe(event)["statusCode"] == 200
    assert send_mercadopago({**NOTIFICATION, "user_id": "4711"})["statusCode"] == 200
    assert work(queue) == [], "none is reported as failed: nothing counts towards the dead letters"
    count = clients.client("sqs").get_queue_attributes(
        QueueUrl=queue,
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"],
    )["Attributes"]
    # Each waits as a new message. Only the first was tried: the others had no token.
    assert count["ApproximateNumberOfMessagesDelayed"] == "4"
    assert row(events[0]) == ("RECEIVED", "")
    assert rows() == 2
    bucket = throttling.bucket_of("stripe", "")
    assert bucket.closed_until - time.monotonic() == pytest.approx(
        float(retry_after or throttling.PAUSE_S), abs=2
    )
    assert throttling.bucket_of("stripe", "acct_other").take(time.monotonic()) == 0.0


def test_what_was_put_off_for_over_a_day_counts_after_all(
    nonsense: type[Nonsense], tables: Any, queue: str
) -> None:
    nonsense.status, nonsense.answer = 429, b"{}"
    message = {
        "provider": "stripe",
        "event_id": "evt_1",
        "type": "payment_intent.succeeded",
        "live": False,
        "account": "",
        "object_id": "pi_1",
        "api_version": "",
        "received_at": to_text(now()),
        "deferred": inbox.MAX_DEFERRED,
    }
    clients.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(message))
    assert len(work(queue)) == 1


def test_a_payment_that_mercado_pago_does_not_know_yet_is_asked_for_in_five_minutes(
    mercadopago: Simulator, hold: str, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connect_seller(mercadopago).status in (200, 201)
    user = next(a.account for a in payees.accounts() if a.provider == "mercadopago")
    waits: list[int] = []
    sqs = clients.client("sqs")
    sqs.meta.events.register(
        "before-parameter-build.sqs.ChangeMessageVisibility",
        lambda params, **_: waits.append(params["VisibilityTimeout"]),
    )
    event = {**NOTIFICATION, "user_id": user, "data": {"id": "999"}}
    assert send_mercadopago(event, data_id="999")["statusCode"] == 200
    assert len(work(queue)) == 1
    assert waits == [300]
    assert row(event, "mercadopago") == ("RECEIVED", "")


def test_a_notification_that_names_no_account(mercadopago: Simulator, queue: str) -> None:
    event = {name: value for name, value in NOTIFICATION.items() if name != "user_id"}
    assert send_mercadopago(event)["statusCode"] == 200
    assert work(queue) == []
    assert row(event, "mercadopago") == ("IGNORED", "unknown_account")


# ---------------------------------------------------------------- in any order


def test_a_refund_that_is_told_before_its_payment(stripe: Simulator, hold: str, queue: str) -> None:
    payment_id, succeeded = paid(stripe, hold)
    import stripe as sdk  # noqa: PLC0415  # the fixture has its name

    client = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url})
    client.v1.refunds.create(
        {"payment_intent": str(payment(payment_id).provider_id), "reverse_transfer": True}
    )
    for event in (emitted(stripe, "refund.created"), emitted(stripe, "charge.refunded"), succeeded):
        assert send_stripe(event)["statusCode"] == 200
        assert work(queue) == []
        assert row(event) == ("DONE", "")
    found = payment(payment_id)
    assert (found.captured, found.refunded) == (PRICE, PRICE)


@pytest.mark.parametrize("turned", [False, True])
def test_a_refund_after_a_dispute(stripe: Simulator, hold: str, queue: str, turned: bool) -> None:
    payment_id, succeeded = paid(stripe, hold)
    settled = emitted(stripe, "charge.updated")
    told = [succeeded, settled]
    for event in told:
        assert send_stripe(event)["statusCode"] == 200
    assert work(queue) == []
    charge = str(payment(payment_id).charge_id)
    stripe.control("disputes", {"charge": charge, "amount": 20000})
    disputed = [emitted(stripe, "charge.dispute.created")]
    part = {"amount": {"amount": PRICE - 20000, "currency": "MXN"}}
    made: list[Any] = []

    def refund() -> None:
        made.append(ask("payments", "POST", f"/v1/payments/{payment_id}/refunds", part))
        assert made[-1].status in (201, 409), made[-1].body

    def tell() -> None:
        for event in disputed:
            assert send_stripe(event)["statusCode"] == 200
        assert work(queue) == []

    for step in (refund, tell) if turned else (tell, refund):
        step()
    refunded = emitted(stripe, "refund.created")
    assert send_stripe(refunded)["statusCode"] == 200
    assert work(queue) == []
    found = payment(payment_id)
    assert (found.refunded, found.disputed) == (PRICE - 20000, 20000)
    more = ask("payments", "POST", f"/v1/payments/{payment_id}/refunds", {})
    assert more.status == 409, "what is disputed is not refunded"


@pytest.mark.parametrize("turned", [False, True])
def test_a_payout_that_was_paid_and_then_failed(
    stripe: Simulator, hold: str, queue: str, turned: bool
) -> None:
    payee = open_account(stripe)
    account = str(payee.stripe_account)
    body = {"appointment_id": hold, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", body)
    stripe.control(f"pay/{started.body['provider_id']}")
    emitted(stripe, "charge.updated")
    stripe.control("balance", {"account": account})
    made = stripe.control("payouts", {"account": account, "currency": "mxn", "status": "paid"})
    stripe.control(f"payouts/{made['id']}", {"status": "failed"})
    told = [emitted(stripe, f"payout.{name}") for name in ("created", "paid", "failed")]
    for event in reversed(told) if turned else told:
        assert send_stripe(event)["statusCode"] == 200
        assert work(queue) == []
        assert row(event) == ("DONE", "")
    tenant = World(PRACTICE, exists=True).tenant
    raw = table.get_raw(tenant.item("PAYOUT", made["id"]))
    assert raw
    assert table.from_raw(raw)["place"] == "back"
    assert not {key: amount for key, amount in balances().items() if key[1] in ("bank", "transit")}


# ---------------------------------------------------------------- what a sibling event explains


def test_a_transfer_that_somebody_reversed_by_hand(
    stripe: Simulator, hold: str, queue: str
) -> None:
    payment_id, succeeded = paid(stripe, hold)
    emitted(stripe, "charge.updated")
    assert send_stripe(succeeded)["statusCode"] == 200
    assert work(queue) == []
    import stripe as sdk  # noqa: PLC0415  # the fixture has its name

    client = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url})
    client.v1.refunds.create(
        {
            "payment_intent": str(payment(payment_id).provider_id),
            "amount": 1000,
            "reverse_transfer": True,
            "refund_application_fee": True,
        }
    )
    for kind in ("transfer.reversed", "application_fee.refunded"):
        event = emitted(stripe, kind)
        assert send_stripe(event)["statusCode"] == 200
        assert work(queue) == []
        # A refund explains both, and they may be the first to tell of it.
        assert row(event) == ("DONE", ""), kind
    assert payment(payment_id).refunded == 1000
    transfer = emitted(stripe, "transfer.reversed")["data"]["object"]["id"]
    client.v1.transfers.reversals.create(transfer, {"amount": 500})
    event = emitted(stripe, "transfer.reversed")
    assert send_stripe(event)["statusCode"] == 200
    assert work(queue) == []
    assert row(event) == ("FAILED", "external_reversal")
