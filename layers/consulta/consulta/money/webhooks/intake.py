"""What a webhook function does: verify the raw bytes, put ids in the queue, answer.

Nothing of the provider's payload goes on, only ids and the type: the worker reads the object again.
The message:

    {"provider", "event_id", "type", "live", "account", "object_id", "api_version", "received_at",
     "payload"?}

``account`` is the connected account or the seller, "" for the platform itself. ``payload`` is there
only for the events whose object can no longer be read when they arrive (rules §5).

These functions answer under a payment provider's deadline and start cold often: no resolver, no
SDK, no table.
"""

import base64
import binascii
import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from consulta.core import aws, settings
from consulta.core.errors import BadRequest, FieldError, Problem
from consulta.core.observe import count, failure, logger, observed
from consulta.core.time import now, to_text
from consulta.money import secrets
from consulta.money.webhooks.signatures import MercadoPagoSignature, StripeSignature, refusal

Event = dict[str, Any]
Message = dict[str, Any]

# Read from their payload: the account is closed to us once they are sent.
STRIPE_PAYLOADS = {"account.application.deauthorized"}
MERCADOPAGO_PAYLOADS = {"mp-connect"}
# Of a payload only these go on: whatever else is in it is not ours to keep.
PAYLOAD_FIELDS = ("id", "object", "action")
# Events are of some kilobytes; what is larger than this is not looked at.
MAX_BODY = 1_000_000
# Ids become parts of keys; a separator in one must not reach another key.
_ID = re.compile(r"[A-Za-z0-9_.:/-]{1,255}")
# Stripe's ``v2.core.account[requirements].updated`` has brackets.
_TYPE = re.compile(r"[A-Za-z0-9_.\[\]-]{1,100}")
# A thin event about an object of the first API is named like its snapshot behind this.
THIN_PREFIX = "v1."


class Intake(settings.Settings):
    """What a webhook function needs besides its secret."""

    payment_events_queue_url: str
    live_mode: bool = False


def raw_body(event: Event) -> bytes:
    """The bytes that were sent. Raises BadRequest where there are too many of them, or the
    gateway's base64 is broken."""
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        raw = str(body).encode()
    else:
        try:
            raw = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest("The body cannot be read") from None
    if len(raw) > MAX_BODY:
        raise BadRequest("The body is too large")
    return raw


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a body whose signature was good. Raises BadRequest for anything else."""
    try:
        parsed = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON in UTF-8") from None
    if not isinstance(parsed, dict):
        raise BadRequest("The body is not a JSON object")
    return parsed


def _text(value: Any, path: str, pattern: re.Pattern[str] = _ID, *, required: bool = True) -> str:
    # Mercado Pago's ids are numbers; True is one too, for Python.
    right = value is None or (isinstance(value, str | int) and not isinstance(value, bool))
    text = "" if value is None or not right else str(value)
    if right and ((not text and not required) or pattern.fullmatch(text)):
        return text
    raise BadRequest(
        "The event cannot be read", errors=(FieldError(f"body.{path}", "not as expected"),)
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _payload(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    kept = ((name, found.get(name)) for name in PAYLOAD_FIELDS)
    fields = {n: v for n, v in kept if isinstance(v, str) and _ID.fullmatch(v)}
    return {"payload": fields}


# ---------------------------------------------------------------- what each provider sends


def stripe_message(event: Event) -> Message:
    """The queue's message for a verified event of Stripe, snapshot or thin."""
    headers, body = event.get("headers", {}), raw_body(event)
    signature = StripeSignature.read(headers.get("stripe-signature", ""), body, time.time())
    if not signature.is_by(secrets.stripe_secret().signing()):
        fresh = secrets.refetched_stripe_secret()
        if fresh is None or not signature.is_by(fresh.signing()):
            raise refusal("Stripe-Signature", "does not match")
    sent = parse(body)
    # A thin event names its object instead of carrying it, and its account as the context.
    subject = _object(_object(sent.get("data")).get("object")) or _object(
        sent.get("related_object")
    )
    kind = _text(sent.get("type"), "type", _TYPE).removeprefix(THIN_PREFIX)
    message = {
        "provider": "stripe",
        "event_id": _text(sent.get("id"), "id"),
        "type": kind,
        "live": sent.get("livemode") is True,
        "account": _text(sent.get("account") or sent.get("context"), "account", required=False),
        "object_id": _text(subject.get("id"), "data.object.id", required=False),
        "api_version": _text(sent.get("api_version"), "api_version", required=False),
    }
    return message | (_payload(subject) if kind in STRIPE_PAYLOADS else {})


def mercadopago_message(event: Event) -> Message:
    """The queue's message for a verified notification of Mercado Pago.

    Only the query's ``data.id`` is signed, so it is the object's id; the body's must not differ.
    """
    headers = event.get("headers", {})
    query = dict(parse_qsl(event.get("rawQueryString", ""), keep_blank_values=True))
    data_id = query.get("data.id", "")
    signature = MercadoPagoSignature.read(
        headers.get("x-signature", ""), headers.get("x-request-id", ""), data_id
    )
    if not signature.is_by(secrets.mercadopago_secret().signing()):
        fresh = secrets.refetched_mercadopago_secret()
        if fresh is None or not signature.is_by(fresh.signing()):
            raise refusal("x-signature", "does not match")
    sent = parse(raw_body(event))
    data = _object(sent.get("data"))
    # A fraud alert (``stop_delivery_op_wh``) has no id of its own, and names the payment instead.
    named = data.get("id") if data.get("id") is not None else data.get("payment_id")
    said = _text(named, "data.id", required=False)
    if data_id and said and said.lower() != data_id.lower():
        raise BadRequest(
            "The body is about something else than what was signed",
            errors=(FieldError("body.data.id", "differs from query.data.id"),),
        )
    kind = _text(sent.get("type") or sent.get("topic") or query.get("type"), "type", _TYPE)
    logger.info("notification signed", extra={"age_s": round(time.time() - signature.signed_at)})
    message = {
        "provider": "mercadopago",
        "event_id": _text(sent.get("id"), "id"),
        "type": kind,
        "live": sent.get("live_mode") is True,
        "account": _text(sent.get("user_id"), "user_id", required=False),
        "object_id": _text(data_id or said, "data.id", required=False),
        "api_version": _text(sent.get("api_version"), "api_version", required=False),
    }
    return message | (_payload(sent) if kind in MERCADOPAGO_PAYLOADS else {})


# ---------------------------------------------------------------- the function


def _respond(status: int, body: dict[str, Any], kind: str = "application/json") -> Event:
    headers = {"Content-Type": kind, "Cache-Control": "no-store"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}


def _problem(problem: Problem, request_id: str) -> Event:
    body = {
        "type": f"urn:consulta:problem:{problem.type}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "errors": [{"path": e.path, "message": e.message, "code": e.code} for e in problem.errors],
        "request_id": request_id,
    }
    return _respond(problem.status, body, "application/problem+json")


def _accept(message: Message) -> Event:
    ids = {name: message[name] for name in ("provider", "event_id", "type", "account", "live")}
    intake = settings.load(Intake)
    if message["live"] != intake.live_mode:
        # A live Connect endpoint receives test events too; each stage keeps to its own mode.
        logger.info("event of the other mode ignored", extra=ids)
        return _respond(200, {"received": True, "ignored": True})
    aws.client("sqs").send_message(
        QueueUrl=intake.payment_events_queue_url,
        MessageBody=json.dumps({**message, "received_at": to_text(now())}),
    )
    logger.info("event queued", extra=ids)
    count("WebhookEvents")
    return _respond(200, {"received": True})


def handler(read: Callable[[Event], Message]) -> Callable[[Any, Any], Any]:
    """The Lambda handler of a webhook: 200 once it is in the queue, 400, or 500 for a retry."""

    def handle(event: Event, _context: Any) -> Event:
        request_id = str(event.get("requestContext", {}).get("requestId", ""))
        try:
            return _accept(read(event))
        except Problem as problem:
            logger.warning(
                "webhook refused",
                extra={"problem": problem.type, "why": [e.message for e in problem.errors]},
            )
            count("WebhooksRefused")
            return _problem(problem, request_id)
        except Exception as error:  # noqa: BLE001  # whatever it is, the provider must send again
            failure("the webhook could not be queued", error, request=request_id)
            return _problem(Problem("It was our fault and has been recorded"), request_id)

    return observed(handle)
