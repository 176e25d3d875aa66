"""Series that are being booked, moved or cancelled: told by the bus, done step by step."""

from typing import Any

from consulta.core.bus import Event
from consulta.core.errors import Problem
from consulta.core.observe import failure, observed
from consulta.money.appointments import series_closing

# What one more occurrence may take, before Lambda's own deadline.
RESERVE_MS = 15_000


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """SQS batch; what could not be done now comes again."""
    failed = []
    for record in event["Records"]:
        try:
            told = Event.received(record["body"])
            series_closing.work(
                told.tenant,
                told.id,
                context.aws_request_id,
                lambda: context.get_remaining_time_in_millis() > RESERVE_MS,
            )
        except (Problem, LookupError, TypeError, ValueError) as error:
            failure("a series could not be gone on with", error, message_id=record["messageId"])
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


lambda_handler = observed(handle)
