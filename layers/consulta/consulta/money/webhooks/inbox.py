"""Events of the providers, from the queue: each done once, in whatever order they come.

Source: MONEY_AND_BOOKING_RULES §5. The row is RECEIVED before anything is looked at, and DONE in
the very transaction of the effect; only DONE dedupes. What an event says is not believed: its
object is read again (:mod:`consulta.money.webhooks.event_work`). Messages are written by
:mod:`consulta.money.webhooks.intake`.
"""

import json
import math
import random
import time
from typing import Any

from consulta.core import aws, settings
from consulta.core.errors import NotFound
from consulta.core.observe import count, failure, logger, trouble
from consulta.money.accounts import payees
from consulta.money.records import Provider
from consulta.money.stripe.client import AccountUnreachable
from consulta.money.webhooks import event_types, throttling
from consulta.money.webhooks.event_types import NotNeeded
from consulta.money.webhooks.event_work import HANDLERS
from consulta.money.webhooks.inbox_rows import PLATFORM, InboxState, Message, Row
from consulta.money.webhooks.throttling import RateLimited

__all__ = ["PLATFORM", "InboxState", "Message", "NotYet", "Row", "handle", "process"]

# Mercado Pago notifies before its own API knows the payment.
NOT_YET_S = 300
# What SQS waits at most, and how often a provider may be too busy for an event: over a day.
MAX_DELAY_S, MAX_DEFERRED = 900, 100


class Worker(settings.Settings):
    """Where the messages come from."""

    payment_events_queue_url: str


class NotYet(Exception):
    """The provider does not know its own object yet: to be asked again in five minutes."""


# ---------------------------------------------------------------- the batch


def process(records: list[dict[str, Any]]) -> list[str]:
    """Work on a batch of the queue; the ids of the messages that have to come again.

    What cannot be processed at all comes back until the queue moves it to the dead letters. What a
    provider is too busy for does not count towards them: it goes into the queue anew, with a delay.
    """
    failed = []
    for record in records:
        try:
            _handle_in_turn(json.loads(record["body"]))
        except NotYet:
            _postpone(record)
            failed.append(record["messageId"])
        except Exception as error:  # noqa: BLE001  # one poisoned message must not hold up the others
            failure("event not processed", error, queue_message=record["messageId"])
            failed.append(record["messageId"])
    return failed


def _handle_in_turn(message: Message) -> None:
    """One event, where its account has a token for it (:mod:`.throttling`)."""
    bucket = throttling.bucket_of(message["provider"], message["account"])
    if wait_s := bucket.take(time.monotonic()):
        _defer(message, wait_s)
        return
    try:
        handle(message)
    except RateLimited as limited:
        _defer(message, bucket.refused(time.monotonic(), limited.after_s))
        return
    bucket.done()


def _defer(message: Message, wait_s: float) -> None:
    """The same event later, as a message of its own: this one's tries stay as they are.

    Raises RateLimited where that was done for over a day: then it counts.
    """
    deferred = int(message.get("deferred") or 0) + 1
    if deferred > MAX_DEFERRED:
        raise RateLimited
    # Longer from time to time, and not all at once.
    delay_s = wait_s + random.uniform(0, min(deferred * 10, MAX_DELAY_S))  # noqa: S311
    aws.client("sqs").send_message(
        QueueUrl=settings.load(Worker).payment_events_queue_url,
        MessageBody=json.dumps({**message, "deferred": deferred}),
        DelaySeconds=min(math.ceil(delay_s), MAX_DELAY_S),
    )
    logger.info("event deferred", extra={"event_id": message["event_id"], "times": deferred})
    count("EventsDeferred")


def _postpone(record: dict[str, Any]) -> None:
    aws.client("sqs").change_message_visibility(
        QueueUrl=settings.load(Worker).payment_events_queue_url,
        ReceiptHandle=record["receiptHandle"],
        VisibilityTimeout=NOT_YET_S,
    )


def handle(message: Message) -> InboxState:
    """One event; what has become of it.

    Raises NotYet, RateLimited where the provider is too busy, and ProviderFailed for another try.
    """
    row = Row.of(message)
    known = row.receive()
    if known is InboxState.DONE and not row.forced:
        count("EventsRepeated")
        return known
    try:
        state = _route(message, row)
    except NotFound:
        if message["provider"] == Provider.MERCADOPAGO:
            raise NotYet from None
        state = row.finish(InboxState.FAILED, "not_found")
    except AccountUnreachable:
        # Not one of ours, or one that was disconnected: asking again would find nothing else.
        ours = payees.owner_of(message["provider"], message["account"])
        ended = InboxState.FAILED if ours else InboxState.IGNORED
        state = row.finish(ended, "account_unreachable" if ours else "unknown_account")
    if state is InboxState.FAILED:
        logger.error("event failed", extra={"event_id": message["event_id"]})
        trouble("EventsFailed")
    count("EventsProcessed")
    return state


def _route(message: Message, row: Row) -> InboxState:
    work = event_types.find(message["provider"], message["type"])
    if work is None:
        return row.finish(InboxState.IGNORED, "unknown_type")
    if isinstance(work, NotNeeded):
        return row.finish(InboxState.IGNORED, "not_needed")
    return HANDLERS[work](message, row)
