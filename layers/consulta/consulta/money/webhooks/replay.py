"""Events of the providers into the queue again: one of the inbox, a range of it, or missed ones.

What a row keeps is what its message needs: ids and the type. The worker reads the object again and
a row that is DONE dedupes, so replaying is harmless however often it is done; ``force`` only means
that a DONE row is read again, too.
"""

import json
from collections.abc import Iterable
from datetime import timedelta
from itertools import batched
from typing import Any

from consulta.core import aws, settings
from consulta.core.cursor import decode, encode
from consulta.core.errors import Busy, Conflict, Invalid
from consulta.core.observe import count, logger
from consulta.core.time import to_text
from consulta.money.records import InboxItem
from consulta.money.schema.webhooks import InboxEvent, RangeReplayRequest, Replayed, ReplayRequest
from consulta.money.webhooks import inbox_listing
from consulta.money.webhooks.inbox_listing import PLATFORM

Message = dict[str, Any]
DONE = "DONE"
MAX_RANGE = timedelta(days=31)
# One request queues at most so many, and reads at most so many to find them.
AT_ONCE, READ_BUDGET = 500, 3000
SEND_MAX = 10


class Queue(settings.Settings):
    """Where the worker takes its messages from."""

    payment_events_queue_url: str


def message_of(item: InboxItem, *, force: bool = False) -> Message:
    """The queue's message, as :mod:`consulta.money.webhooks.intake` wrote it."""
    message: Message = {
        "provider": item.provider,
        "event_id": item.event_id,
        "type": item.type,
        "live": bool(item.live),
        "account": "" if item.account == PLATFORM else item.account,
        "object_id": item.object_id or "",
        "api_version": item.api_version or "",
        "received_at": to_text(item.created_at),
    }
    if item.action:
        message["payload"] = {"action": item.action}
    return message | ({"force": True} if force else {})


def send(messages: Iterable[Message]) -> int:
    """Put them into the queue; how many. Raises Busy where some were not taken: try all again."""
    url, sent, refused = settings.load(Queue).payment_events_queue_url, 0, 0
    for batch in batched(messages, SEND_MAX):
        entries = [{"Id": str(n), "MessageBody": json.dumps(one)} for n, one in enumerate(batch)]
        answer = aws.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
        refused += len(answer.get("Failed", []))
        sent += len(batch)
    if refused:
        raise Busy
    return sent


def one(by: str, inbox_id: str, body: ReplayRequest) -> InboxEvent:
    """One event again. Raises NotFound, and Conflict where it is done and ``force`` is not set."""
    item = inbox_listing.load(inbox_id)
    if item.state == DONE and not body.force:
        raise Conflict("The event is done: force reads its object again all the same")
    send([message_of(item, force=body.force)])
    _note(by, 1)
    return inbox_listing.event(item)


def some(by: str, body: RangeReplayRequest) -> Replayed:
    """The next of a range, the first received first. Raises Invalid, BadRequest (the cursor)."""
    if not timedelta() < body.to - body.from_ <= MAX_RANGE:
        raise Invalid.of("body.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    if body.state == DONE and not body.force:
        raise Invalid.of("body.force", "What is done is only replayed with force", "needed")
    scope = ("replay", body.model_copy(update={"cursor": None}).model_dump_json())
    asked: dict[str, str] = {"state": body.state}
    if body.provider:
        asked["provider"] = body.provider
    plan = inbox_listing.plan_of(body.from_, body.to, asked, newest_first=False, budget=READ_BUDGET)
    raws, last_key = plan.read(AT_ONCE, decode(body.cursor, *scope))
    queued = send(message_of(InboxItem.read(raw), force=body.force) for raw in raws)
    _note(by, queued)
    return Replayed(queued=queued, next_cursor=encode(last_key, *scope))


def _note(by: str, events: int) -> None:
    logger.info("events replayed", extra={"by": by, "events": events})
    count("EventsReplayed", events)
