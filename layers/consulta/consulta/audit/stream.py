"""Stream records of the core table → the audit's queue: one encrypted message per change.

Not published: rows that are no items (without ``version`` or ``entity``: calendars, lookups, due
rows, memberships, persons' keys), and items of no practice (the inbox of providers' events: what an
event causes is a change of a payment, and recorded as that). The template's filter drops them, so
that they cost nothing; it is said again here, so that a filter that is wider leaks nothing.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from consulta.audit import fields
from consulta.audit.encryption import seal_message
from consulta.core import aws, settings
from consulta.core.observe import count, failure
from consulta.core.time import to_text

SEND_BATCH_MAX = 10
# SQS takes 256 KiB a message and a batch; a little is left for what it counts besides.
MAX_BYTES = 255 * 1024

Record = dict[str, Any]


class QueueSettings(settings.Settings):
    """The audit's queue."""

    audit_queue_url: str


class Message(NamedTuple):
    """A record's number, by which it is reported, and what is sent of it."""

    number: str
    body: str


def process(records: Sequence[Record]) -> list[str]:
    """Publish a batch. Gives the sequence numbers of the records to be delivered again."""
    messages = [
        Message(record["dynamodb"]["SequenceNumber"], body_of(record))
        for record in records
        if is_change(record)
    ]
    failed = [number for batch in _batches(messages) for number in _send(batch)]
    if failed:
        count("AuditRetried", len(failed))
    return failed


def is_change(record: Record) -> bool:
    """Whether a record is a change of a practice's item.

    A write that changes list keys only, or nothing, is none where the version stayed as it was.
    """
    found = record["dynamodb"]
    old, new = found.get("OldImage"), found.get("NewImage")
    image = new or old
    if not found["Keys"]["pk"]["S"].startswith("P#") or not image:
        return False
    if "version" not in image or "entity" not in image:
        return False
    if old and new and "version" in old and old["version"] == new["version"]:
        return bool(
            fields.content(old) != fields.content(new) or fields.stamps(old) != fields.stamps(new)
        )
    return True


def body_of(record: Record) -> str:
    """The message of one record; without images where they are larger than a message may be."""
    found = record["dynamodb"]
    old, new = found.get("OldImage"), found.get("NewImage")
    image: dict[str, Any] = new or old
    common = {
        "pk": found["Keys"]["pk"]["S"],
        "sk": found["Keys"]["sk"]["S"],
        "at": _seen_at(found),
        "expired": record.get("userIdentity", {}).get("principalId") == "dynamodb.amazonaws.com",
    }
    body = seal_message(_json({**common, "old": old, "new": new}))
    if len(body) <= MAX_BYTES:
        return body
    count("AuditOversize")
    kept = fields.STAMPS | {"origin", "patient_id", "person_id", "member_id"}
    outline = {name: value for name, value in image.items() if name in kept}
    action = "created" if old is None else "removed" if new is None else "changed"
    return seal_message(_json({**common, "oversize": action, "outline": outline}))


def _seen_at(found: dict[str, Any]) -> str:
    moment = found.get("ApproximateCreationDateTime", 0)
    return to_text(datetime.fromtimestamp(float(moment), UTC))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, default=_bytes).encode()


def _bytes(value: bytes) -> str:
    # Lambda's events have bytes as base64 text already; only the form needs to be the same.
    import base64  # noqa: PLC0415

    return base64.b64encode(value).decode()


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        length = len(message.body)
        if batch and (len(batch) == SEND_BATCH_MAX or size + length > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        yield batch


def _send(batch: Sequence[Message]) -> list[str]:
    """Send one batch; the numbers of what SQS did not take."""
    entries = [{"Id": str(n), "MessageBody": message.body} for n, message in enumerate(batch)]
    try:
        answer = aws.client("sqs").send_message_batch(
            QueueUrl=settings.load(QueueSettings).audit_queue_url, Entries=entries
        )
    except (BotoCoreError, ClientError) as error:
        failure("changes cannot be published", error)
        return [message.number for message in batch]
    return [batch[int(entry["Id"])].number for entry in answer.get("Failed", ())]
