"""Appointments that were cancelled, expired, moved or confirmed → offers of the waitlist."""

from typing import Any

from consulta.core.bus import Event
from consulta.core.errors import Problem
from consulta.core.observe import failure, observed
from consulta.scheduling import waitlist_offering


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """SQS batch; what could not be done now comes again."""
    failed = []
    for record in event["Records"]:
        try:
            waitlist_offering.handle(Event.received(record["body"]), context.aws_request_id)
        except (Problem, LookupError, TypeError, ValueError) as error:
            failure("the waitlist was not looked at", error, message_id=record["messageId"])
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


lambda_handler = observed(handle)
