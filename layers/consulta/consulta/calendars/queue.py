"""The calendars' queue: what the worker is asked for, and what of a batch comes again.

Messages are events of the bus, or ours: ``{"kind", "practice", "id", "after"?, "told_at"?}``. Both
name something to look at, never what to do with it: the worker reads what is there now, so that
twice, late and out of order do no harm.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import batched
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from consulta.core import aws, settings
from consulta.core.errors import Busy
from consulta.core.observe import count, failure

# Read busy times; write all of an expert's coming appointments; forget busy times; one appointment.
SYNC, OUTWARD, FORGET, APPOINTMENT = "sync", "outward", "forget", "appointment"
SEND_MAX = 10
# Somebody else is at it: seconds. Google is away: doubled with every try, up to an hour.
SOON_S, AWAY_S, AWAY_MAX_S = 15, 30, 3600

Message = dict[str, str]


class QueueSettings(settings.Settings):
    """The queue."""

    calendar_queue_url: str


class Later(Exception):
    """It cannot be done now, and is nobody's fault: the message comes again."""


def work(kind: str, practice: str, subject: str, after: str = "") -> Message:
    """A message: ``subject`` is the expert's id, or the appointment's."""
    found = {"kind": kind, "practice": practice, "id": subject}
    return found | ({"after": after} if after else {})


def send(message: Message) -> None:
    """Put one message in the queue. Raises botocore's errors."""
    url = settings.load(QueueSettings).calendar_queue_url
    aws.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(message))


def try_to_send(message: Message) -> None:
    """Put one message in the queue, where the schedule makes up for one that was not taken."""
    try:
        send(message)
    except (BotoCoreError, ClientError) as error:
        failure("the calendars' queue took nothing", error, kind=message["kind"])


def send_all(messages: Iterable[Message]) -> None:
    """Put many in the queue. Raises Later where some were not taken."""
    url, refused = settings.load(QueueSettings).calendar_queue_url, 0
    for batch in batched(messages, SEND_MAX):
        entries = [{"Id": str(n), "MessageBody": json.dumps(one)} for n, one in enumerate(batch)]
        answer = aws.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
        refused += len(answer.get("Failed", []))
    if refused:
        raise Later


def process(
    records: Iterable[dict[str, Any]],
    handle: Callable[[dict[str, Any]], None],
    later: tuple[type[Exception], ...] = (),
) -> Iterator[str]:
    """Handle a batch; gives the ids of the messages that have to come again.

    ``later`` are the errors that mean that Google is away.
    """
    for record in records:
        try:
            handle(json.loads(record["body"]))
        except (Later, Busy):
            count("CalendarBusy")
            _postpone(record, SOON_S)
            yield record["messageId"]
        except later:
            count("CalendarPostponed")
            tries = int(record.get("attributes", {}).get("ApproximateReceiveCount", 1))
            _postpone(record, min(AWAY_S * 2 ** (tries - 1), AWAY_MAX_S))
            yield record["messageId"]
        except Exception as error:  # noqa: BLE001  # one poisoned message must not hold up the others
            failure("a calendar was not synced", error, queue_message=record["messageId"])
            yield record["messageId"]


def _postpone(record: dict[str, Any], seconds: int) -> None:
    url = settings.load(QueueSettings).calendar_queue_url
    try:
        aws.client("sqs").change_message_visibility(
            QueueUrl=url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=seconds
        )
    except Exception as error:  # noqa: BLE001  # then it comes again when the queue says so
        failure("a message was not postponed", error, queue_message=record["messageId"])
