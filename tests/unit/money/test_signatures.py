"""Webhook signatures, against the providers' own verifiers, and what the functions make of them."""

import base64
import contextlib
import hashlib
import hmac
import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st
from mercadopago.webhook import InvalidWebhookSignatureError, WebhookSignatureValidator

from consulta.core import settings
from consulta.core.errors import BadRequest, Problem
from consulta.core.time import now
from consulta.money import secrets
from consulta.money.secrets import MercadoPagoSecret, StripeSecret, WebhookSecret
from consulta.money.webhooks import intake as webhook_intake
from consulta.money.webhooks.signatures import MercadoPagoSignature, StripeSignature
from local.simulators.delivery import Settings
from local.simulators.mercadopago.state import sign_notification

ROOT = Path(__file__).resolve().parents[3]
CURRENT, PREVIOUS, CONNECT = "whsec_current", "whsec_previous", "whsec_connect"
AT = 1_795_000_000
BODY = b'{"id": "evt_1"}'
LAMBDA = SimpleNamespace(aws_request_id="aws-1", function_name="test")


def signed(body: bytes | str, secret: str, at: float = AT) -> str:
    text = body.decode() if isinstance(body, bytes) else body
    header: str = stripe.WebhookSignature.generate_signature_header(text, secret, int(at))
    return header


# ---------------------------------------------------------------- Stripe


@given(st.text(max_size=200), st.text(min_size=1, max_size=60).filter(str.strip))
def test_what_stripe_signs_is_accepted(body: str, secret: str) -> None:
    try:
        header = signed(body, secret)
    except UnicodeEncodeError:
        return
    assert StripeSignature.read(header, body.encode(), AT).is_by([secret])
    assert not StripeSignature.read(header, body.encode() + b" ", AT).is_by([secret])


def test_stripes_own_verifier_accepts_what_ours_accepts() -> None:
    at = time.time()
    header = signed(BODY, CURRENT, at)
    assert stripe.WebhookSignature.verify_header(BODY, header, CURRENT, 300)
    assert StripeSignature.read(header, BODY, at).is_by([CURRENT])
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(BODY, header, PREVIOUS, 300)
    assert not StripeSignature.read(header, BODY, at).is_by([PREVIOUS])


@pytest.mark.parametrize("age", [-300, -299, 0, 299, 300])
def test_within_five_minutes(age: int) -> None:
    assert StripeSignature.read(signed(BODY, CURRENT, AT - age), BODY, AT).is_by([CURRENT])


@pytest.mark.parametrize("age", [-301, 301, 86_400, -86_400])
def test_stale_and_future_are_refused(age: int) -> None:
    with pytest.raises(BadRequest):
        StripeSignature.read(signed(BODY, CURRENT, AT - age), BODY, AT)


def test_one_of_several_signatures_is_enough() -> None:
    other = signed(BODY, PREVIOUS).partition(",")[2]
    header = f"{signed(BODY, CURRENT)},{other},v0=00"
    for secret in (CURRENT, PREVIOUS):
        assert StripeSignature.read(header, BODY, AT).is_by(["whsec_x", secret])
    assert not StripeSignature.read(header, BODY, AT).is_by(["whsec_x"])
    assert not StripeSignature.read(header, BODY, AT).is_by([])


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=1",
        "v1=ab",
        "t=,v1=ab",
        "t=x,v1=ab",
        "t=-1,v1=ab",
        f"t={AT},v0=ab",
        "=",
        ",,,",
        "t=²,v1=a",
        f"t={'9' * 400},v1=ab",
    ],
)
def test_a_malformed_header_is_refused(header: str) -> None:
    with pytest.raises(BadRequest):
        StripeSignature.read(header, BODY, AT)


def test_a_signature_beyond_ascii_is_a_mismatch() -> None:
    assert not StripeSignature.read(f"t={AT},v1=é", BODY, AT).is_by([CURRENT])


@given(st.text(max_size=80))
def test_no_header_is_ever_anything_but_refused_or_wrong(header: str) -> None:
    with contextlib.suppress(BadRequest):
        assert not StripeSignature.read(header, BODY, AT).is_by([CURRENT])


# ---------------------------------------------------------------- Mercado Pago


def mp_header(data_id: str, request_id: str, ts: str, secret: str = CURRENT) -> str:
    manifest = "".join(
        f"{name}:{value};"
        for name, value in (("id", data_id), ("request-id", request_id), ("ts", ts))
        if value
    )
    digest = hmac.new(secret.encode(), manifest.encode(), hashlib.sha256).hexdigest()
    return f"ts={ts},v1={digest}"


@pytest.mark.parametrize("request_id", ["req-1", ""])
@pytest.mark.parametrize("data_id", ["12345", "ORD01AB", ""])
def test_what_mercado_pago_signs_is_accepted(data_id: str, request_id: str) -> None:
    header = mp_header(data_id, request_id, "1795000000000")
    WebhookSignatureValidator.validate(header, request_id, data_id, CURRENT)
    assert MercadoPagoSignature.read(header, request_id, data_id).is_by([CURRENT])
    with pytest.raises(InvalidWebhookSignatureError):
        WebhookSignatureValidator.validate(header, request_id, data_id + "1", CURRENT)
    assert not MercadoPagoSignature.read(header, request_id, data_id + "1").is_by([CURRENT])


def test_an_id_that_was_lower_cased_before_signing() -> None:
    header = mp_header("ord01ab", "r", "1795000000")
    assert MercadoPagoSignature.read(header, "r", "ORD01AB").is_by([PREVIOUS, CURRENT])


@pytest.mark.parametrize(("ts", "seconds"), [("1795000000", AT), ("1795000000500", AT + 0.5)])
def test_the_timestamp_in_seconds_or_milliseconds(ts: str, seconds: float) -> None:
    assert MercadoPagoSignature.read(f"ts={ts},v1=ab", "", "1").signed_at == seconds


@pytest.mark.parametrize("header", ["", "ts=1", "v1=ab", "ts=x,v1=ab", "ts=1,v2=ab"])
def test_a_malformed_mercado_pago_header_is_refused(header: str) -> None:
    with pytest.raises(BadRequest):
        MercadoPagoSignature.read(header, "r", "1")


# ---------------------------------------------------------------- secrets in rotation


def test_the_previous_secret_counts_until_its_time() -> None:
    until = now()
    secret = WebhookSecret.model_validate(
        {"current": CURRENT, "previous": PREVIOUS, "until": until.isoformat()}
    )
    assert secret.accepted(until - timedelta(seconds=1)) == (CURRENT, PREVIOUS)
    assert secret.accepted(until) == (CURRENT,)


def test_a_secret_shows_itself_nowhere() -> None:
    secret = StripeSecret.model_validate({"api_key": "sk_test_x", "webhook": {"current": CURRENT}})
    assert "sk_test_x" not in repr(secret)
    assert CURRENT not in repr(secret)
    with pytest.raises(ValueError) as refused:
        StripeSecret.model_validate({"api_key": ["sk_test_x"], "webhook": {"current": CURRENT}})
    assert "sk_test_x" not in str(refused.value)


# ---------------------------------------------------------------- the functions


class Queue:
    """Stands where SQS is: remembers messages, or fails."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.broken = False

    def send_message(self, **request: str) -> None:
        if self.broken:
            raise ConnectionError("no queue")
        assert request["QueueUrl"] == "https://queue"
        self.sent.append(json.loads(request["MessageBody"]))


@pytest.fixture
def queue(environment: pytest.MonkeyPatch) -> Queue:
    found = Queue()
    environment.setenv("PAYMENT_EVENTS_QUEUE_URL", "https://queue")
    environment.setattr(webhook_intake, "aws", SimpleNamespace(client=lambda _service: found))
    webhook = {"current": CURRENT, "previous": PREVIOUS, "until": "2999-01-01T00:00:00Z"}
    stripe_secret = StripeSecret.model_validate(
        {"api_key": "sk", "webhook": webhook, "connect_webhook": {"current": CONNECT}}
    )
    mercadopago = MercadoPagoSecret.model_validate(
        {"client_id": "c", "client_secret": "s", "platform_access_token": "t", "webhook": webhook}
    )
    environment.setattr(secrets, "stripe_secret", lambda: stripe_secret)
    environment.setattr(secrets, "mercadopago_secret", lambda: mercadopago)
    environment.setattr(secrets, "refetched_stripe_secret", lambda: None)
    environment.setattr(secrets, "refetched_mercadopago_secret", lambda: None)
    settings.reset()
    return found


EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "payment_intent.succeeded",
    "livemode": False,
    "api_version": "2026-10-28",
    "data": {"object": {"id": "pi_1", "object": "payment_intent", "description": "private"}},
}


def stripe_call(body: bytes, header: str | None = None, *, encoded: bool = False) -> dict[str, Any]:
    headers = {} if header is None else {"stripe-signature": header}
    text = base64.b64encode(body).decode() if encoded else body.decode("utf-8", "replace")
    call = {
        "headers": headers,
        "body": text,
        "isBase64Encoded": encoded,
        "requestContext": {"requestId": "request-1"},
    }
    answer: dict[str, Any] = webhook_intake.handler(webhook_intake.stripe_message)(call, LAMBDA)
    return answer


def send(event: Any, secret: str = CURRENT, **options: Any) -> dict[str, Any]:
    body = event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()
    mac = hmac.new(secret.encode(), f"{int(time.time())}.".encode() + body, hashlib.sha256)
    header = f"t={int(time.time())},v1={mac.hexdigest()}"
    return stripe_call(body, header, **options)


def refused(answer: dict[str, Any], status: int = 400) -> bool:
    problem = json.loads(answer["body"])
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert problem["request_id"] == "request-1"
    return bool(answer["statusCode"] == status == problem["status"])


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("secret", [CURRENT, PREVIOUS, CONNECT])
def test_an_event_is_queued_by_its_ids_alone(queue: Queue, secret: str, encoded: bool) -> None:
    answer = send(EVENT, secret, encoded=encoded)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"received": True})
    (message,) = queue.sent
    assert message.pop("received_at").endswith("Z")
    assert message == {
        "provider": "stripe",
        "event_id": "evt_1",
        "type": "payment_intent.succeeded",
        "live": False,
        "account": "",
        "object_id": "pi_1",
        "api_version": "2026-10-28",
    }


def test_a_thin_event_names_its_account_and_object(queue: Queue) -> None:
    thin = {
        "id": "evt_2",
        "object": "v2.core.event",
        "type": "v2.core.account.updated",
        "livemode": False,
        "context": "acct_1",
        "related_object": {"id": "acct_1", "type": "account", "url": "/v2/core/accounts/acct_1"},
    }
    assert send(thin)["statusCode"] == 200
    assert (queue.sent[0]["account"], queue.sent[0]["object_id"]) == ("acct_1", "acct_1")


@pytest.mark.parametrize(
    ("sent", "queued"),
    [
        ("v1.charge.updated", "charge.updated"),
        ("v1.payment_intent.succeeded", "payment_intent.succeeded"),
        ("v2.core.account[requirements].updated", "v2.core.account[requirements].updated"),
    ],
)
def test_a_thin_event_is_called_like_its_snapshot(queue: Queue, sent: str, queued: str) -> None:
    thin = {
        "id": "evt_2",
        "object": "v2.core.event",
        "type": sent,
        "livemode": False,
        "context": "acct_1",
        "related_object": {"id": "ch_1", "type": "charge", "url": "/v1/charges/ch_1"},
    }
    assert send(thin)["statusCode"] == 200
    message = queue.sent[0]
    assert (message["type"], message["object_id"]) == (queued, "ch_1")


def test_a_deauthorization_carries_what_can_no_longer_be_read(queue: Queue) -> None:
    event = {
        **EVENT,
        "type": "account.application.deauthorized",
        "account": "acct_1",
        "data": {"object": {"id": "ca_1", "object": "application"}},
    }
    assert send(event)["statusCode"] == 200
    assert queue.sent[0]["payload"] == {"id": "ca_1", "object": "application"}


def test_bad_signatures_are_refused_and_nothing_is_sent(queue: Queue) -> None:
    body = json.dumps(EVENT).encode()
    assert refused(send(EVENT, "whsec_wrong"))
    assert refused(stripe_call(body))
    assert refused(stripe_call(body, signed(body, CURRENT, time.time() - 301)))
    assert refused(stripe_call(body, signed(body, CURRENT, time.time() + 310)))
    assert queue.sent == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b"[" * 5000,
        b'{"id": "evt#1", "type": "a.b"}',
        b'{"id": "evt_1", "type": "a b"}',
        b'{"id": {}, "type": "a.b"}',
    ],
)
def test_a_good_signature_over_a_bad_body_is_refused(queue: Queue, body: bytes) -> None:
    assert refused(send(body))
    assert queue.sent == []


def test_a_good_signature_over_broken_utf8_is_refused(queue: Queue) -> None:
    assert refused(send(b'{"id": "\xff\xfe"}', encoded=True))
    assert queue.sent == []


def test_broken_base64_is_refused(queue: Queue) -> None:
    call = {
        "headers": {"stripe-signature": signed("x", CURRENT, time.time())},
        "body": "%%%",
        "isBase64Encoded": True,
        "requestContext": {"requestId": "request-1"},
    }
    assert refused(webhook_intake.handler(webhook_intake.stripe_message)(call, LAMBDA))


def test_a_live_event_is_ignored_where_nothing_is_live(queue: Queue) -> None:
    answer = send({**EVENT, "livemode": True})
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["ignored"] is True
    assert queue.sent == []


def test_a_test_event_is_ignored_where_all_is_live(
    queue: Queue, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("LIVE_MODE", "true")
    settings.reset()
    assert json.loads(send(EVENT)["body"]) == {"received": True, "ignored": True}
    assert json.loads(send({**EVENT, "livemode": True})["body"]) == {"received": True}
    assert len(queue.sent) == 1


def test_a_broken_queue_is_a_500(queue: Queue) -> None:
    queue.broken = True
    assert refused(send(EVENT), 500)


def test_unavailable_secrets_are_a_500(queue: Queue, environment: pytest.MonkeyPatch) -> None:
    def unavailable() -> None:
        raise Problem("A secret of the payment provider cannot be read")

    environment.setattr(secrets, "stripe_secret", unavailable)
    assert refused(send(EVENT), 500)
    assert queue.sent == []


def test_a_mismatch_is_tried_once_with_a_fresh_secret(
    queue: Queue, environment: pytest.MonkeyPatch
) -> None:
    fresh = StripeSecret.model_validate({"api_key": "sk", "webhook": {"current": "whsec_new"}})
    environment.setattr(secrets, "refetched_stripe_secret", lambda: fresh)
    assert send(EVENT, "whsec_new")["statusCode"] == 200
    assert refused(send(EVENT, "whsec_wrong"))


NOTIFICATION = {
    "id": 987,
    "live_mode": False,
    "type": "payment",
    "user_id": "44",
    "api_version": "v1",
    "action": "payment.updated",
    "data": {"id": "123"},
}


def notify(
    body: dict[str, Any], data_id: str = "123", query: str | None = None, secret: str = CURRENT
) -> dict[str, Any]:
    call = {
        "headers": {
            "x-signature": mp_header(data_id, "req-1", str(int(time.time() * 1000)), secret),
            "x-request-id": "req-1",
        },
        "rawQueryString": f"data.id={data_id}&type=payment" if query is None else query,
        "body": json.dumps(body),
        "requestContext": {"requestId": "request-1"},
    }
    answer: dict[str, Any] = webhook_intake.handler(webhook_intake.mercadopago_message)(
        call, LAMBDA
    )
    return answer


def test_a_notification_is_queued_by_its_ids_alone(queue: Queue) -> None:
    assert notify(NOTIFICATION)["statusCode"] == 200
    (message,) = queue.sent
    assert message.pop("received_at")
    assert message == {
        "provider": "mercadopago",
        "event_id": "987",
        "type": "payment",
        "live": False,
        "account": "44",
        "object_id": "123",
        "api_version": "v1",
    }


def test_a_withdrawn_consent_carries_its_payload(queue: Queue) -> None:
    body = {**NOTIFICATION, "type": "mp-connect", "action": "application.deauthorized"}
    assert notify(body)["statusCode"] == 200
    assert queue.sent[0]["payload"]["action"] == "application.deauthorized"


def test_a_notification_about_something_else_than_was_signed(queue: Queue) -> None:
    assert refused(notify({**NOTIFICATION, "data": {"id": "124"}}))
    assert refused(notify(NOTIFICATION, query="data.id=124"))
    assert refused(notify(NOTIFICATION, secret="wrong"))
    assert refused(notify({**NOTIFICATION, "user_id": "4#4"}))
    assert queue.sent == []


# ---------------------------------------------------------------- the samples and the simulator


def sample(function: str, name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((ROOT / "events" / function / f"{name}.json").read_text())
    return event


def with_secret(environment: pytest.MonkeyPatch, secret: str) -> None:
    webhook = {"current": secret}
    ours = StripeSecret.model_validate({"api_key": "sk", "webhook": webhook})
    theirs = MercadoPagoSecret.model_validate(
        {"client_id": "c", "client_secret": "s", "platform_access_token": "t", "webhook": webhook}
    )
    environment.setattr(secrets, "stripe_secret", lambda: ours)
    environment.setattr(secrets, "mercadopago_secret", lambda: theirs)


def test_the_sample_of_stripe_is_good_at_its_time(
    queue: Queue, environment: pytest.MonkeyPatch
) -> None:
    with_secret(environment, "whsec_test")
    handle = webhook_intake.handler(webhook_intake.stripe_message)
    event = sample("stripe_webhook", "payment_intent_succeeded")
    assert handle(event, LAMBDA)["statusCode"] == 400
    signed_at = event["requestContext"]["timeEpoch"] / 1000
    environment.setattr(webhook_intake, "time", SimpleNamespace(time=lambda: signed_at))
    assert handle(event, LAMBDA)["statusCode"] == 200
    assert handle(sample("stripe_webhook", "without_signature"), LAMBDA)["statusCode"] == 400
    assert len(queue.sent) == 1


def test_the_samples_of_mercado_pago(queue: Queue, environment: pytest.MonkeyPatch) -> None:
    with_secret(environment, "whsec_test")
    handle = webhook_intake.handler(webhook_intake.mercadopago_message)
    assert handle(sample("mercadopago_webhook", "payment_updated"), LAMBDA)["statusCode"] == 200
    refused = handle(sample("mercadopago_webhook", "about_another_payment"), LAMBDA)
    assert refused["statusCode"] == 400
    assert len(queue.sent) == 1


@pytest.mark.parametrize("unit", ["ms", "s"])
def test_what_the_simulator_signs_is_taken(queue: Queue, unit: str) -> None:
    settings_ = Settings(
        webhook_url="http://localhost/webhooks/mercadopago",
        webhook_secret=CURRENT,
        signature_ts=unit,
    )
    message = sign_notification(NOTIFICATION, settings_)
    event = {
        "headers": {name.lower(): value for name, value in message.headers.items()},
        "rawQueryString": urlsplit(message.url).query,
        "body": message.body.decode(),
    }
    answer = webhook_intake.handler(webhook_intake.mercadopago_message)(event, LAMBDA)
    assert answer["statusCode"] == 200
    assert queue.sent[0]["object_id"] == "123"


# ---------------------------------------------------------------- what is not imported


def test_a_webhook_function_imports_no_sdk_and_no_resolver() -> None:
    heavy = ["stripe", "mercadopago", "pynamodb", "requests", "aws_lambda_powertools.event_handler"]
    code = "import sys, consulta.money.webhooks.intake; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "layers/consulta"},
        cwd=ROOT,
    )
    assert not set(heavy) & set(ran.stdout.split())


def test_our_own_work_is_far_below_a_tenth_of_a_second(queue: Queue) -> None:
    """Of the processor's time, which a busy machine does not add to; a body of a usual size."""
    event = {**EVENT, "data": {"object": {"id": "pi_1", "padding": "x" * 20_000}}}
    send(event)
    began = time.process_time()
    for _ in range(50):
        assert send(event)["statusCode"] == 200
        assert notify(NOTIFICATION)["statusCode"] == 200
    assert (time.process_time() - began) / 100 < 0.01
