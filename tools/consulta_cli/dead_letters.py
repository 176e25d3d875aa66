"""What no worker could do, read from the queue of dead letters, and back to where it came from.

SQS can move a dead-letter queue by itself (StartMessageMoveTask), but ours is shared by queues,
rules and schedules: such a task can neither choose among them nor say why a message is here, and
it fails on those that no queue has sent. So messages are received, shown, and sent one by one; one
that is sent and not deleted comes twice, which every worker bears.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from consulta.core import aws, keys, table
from consulta.core.time import from_epoch, to_text

# How long a message is ours to look at; none is lost if we die, it only comes back later.
HELD_S = 600
AT_ONCE = 10
# A standard queue may answer nothing although it has something.
EMPTY_ANSWERS = 3
PLATFORM = "platform"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. ``queue`` is the name of its own queue, "" where it has none."""

    receipt: str
    body: str
    queue: str
    what: str
    reason: str
    sent_at: datetime
    received: int


def read(limit: int) -> Iterator[Letter]:
    """At most ``limit`` letters; each is hidden from others for ten minutes."""
    sqs, found, empty = aws.client("sqs"), 0, 0
    while found < limit and empty < EMPTY_ANSWERS:
        answer = sqs.receive_message(
            QueueUrl=_address(),
            MaxNumberOfMessages=min(AT_ONCE, limit - found),
            VisibilityTimeout=HELD_S,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        empty = 0 if messages else empty + 1
        found += len(messages)
        yield from map(_letter, messages)


def release(letter: Letter) -> None:
    """Leave it where it is, for whoever looks next."""
    aws.client("sqs").change_message_visibility(
        QueueUrl=_address(), ReceiptHandle=letter.receipt, VisibilityTimeout=0
    )


def redrive(letter: Letter) -> bool:
    """Back into its own queue. False where it has none, or that queue is no more."""
    sqs = aws.client("sqs")
    try:
        address = sqs.get_queue_url(QueueName=letter.queue)["QueueUrl"] if letter.queue else ""
    except ClientError:
        address = ""
    if not address:
        release(letter)
        return False
    sqs.send_message(QueueUrl=address, MessageBody=letter.body)
    sqs.delete_message(QueueUrl=_address(), ReceiptHandle=letter.receipt)
    return True


def _address() -> str:
    return os.environ["DEAD_LETTERS_URL"]


def _letter(message: dict[str, Any]) -> Letter:
    attributes = message.get("Attributes", {})
    said = {
        name: str(value.get("StringValue", ""))
        for name, value in message.get("MessageAttributes", {}).items()
    }
    body = _parsed(message["Body"])
    return Letter(
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        queue=_queue(attributes, said, body),
        what=_what(body),
        reason=_reason(said, body),
        sent_at=from_epoch(int(attributes.get("SentTimestamp", "0")) // 1000),
        received=int(attributes.get("ApproximateReceiveCount", "1")),
    )


def _parsed(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _queue(attributes: dict[str, str], said: dict[str, str], body: dict[str, Any]) -> str:
    """By what SQS says, by what a rule says that could not deliver, or by the message's shape."""
    source = attributes.get("DeadLetterQueueSourceArn") or said.get("TARGET_ARN", "")
    if ":sqs:" in source:
        return source.rpartition(":")[2]
    if _is_event(body):
        return os.environ["PAYMENT_EVENTS_QUEUE_URL"].rpartition("/")[2]
    return ""


def _is_event(body: dict[str, Any]) -> bool:
    return {"provider", "event_id", "type", "account"} <= body.keys()


def _what(body: dict[str, Any]) -> str:
    """What it is about, in ids and types; never what else it says."""
    if _is_event(body):
        return f"{body['provider']} {body['type']} {body['event_id']}"
    if "detail-type" in body:
        return f"change of {body['detail-type']}"
    if "event" in body and "at" in body:
        return f"happening {body['event']}"
    return "with " + ", ".join(sorted(body)[:5]) if body else "not readable"


def _reason(said: dict[str, str], body: dict[str, Any]) -> str:
    if _is_event(body):
        return _event_reason(body)
    context = body.get("requestContext")
    failed = context.get("condition", "") if isinstance(context, dict) else ""
    return said.get("ERROR_CODE") or failed or "not told: the worker's log says it"


def _event_reason(body: dict[str, Any]) -> str:
    """What the inbox says of the event."""
    try:
        key = keys.inbox(body["provider"], body["account"] or PLATFORM, body["event_id"])
    except (TypeError, ValueError):
        return "not an event's ids"
    raw = table.get_raw(key)
    if raw is None:
        return "never begun"
    row = table.from_raw(raw)
    error = f" {row['error']}" if row.get("error") else ""
    return f"{row['state']}{error} after {int(row['tries'])} tries"


def shown(letter: Letter) -> tuple[str, str, str, str, str]:
    """As the command prints it."""
    at = to_text(letter.sent_at)
    return letter.queue or "none", letter.what, letter.reason, at, str(letter.received)
