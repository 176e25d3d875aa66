"""Makes the reports that were asked for: one message of the queue each."""

import json
from typing import Any

from consulta.core.observe import failure, observed
from consulta.reports import worker

# The queue's maxReceiveCount in template.yaml.
LAST_TRY = 3


def _give_up(record: dict[str, Any], context: Any) -> None:
    try:
        worker.give_up(json.loads(record["body"]), context.aws_request_id)
    except Exception as error:  # noqa: BLE001  # the message goes to the dead letters all the same
        failure("a report could not be marked as failed", error, message_id=record["messageId"])


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """SQS batch; a message that failed comes again, and after its last try is a dead letter."""
    failed = []
    for record in event["Records"]:
        try:
            worker.handle(json.loads(record["body"]), context.aws_request_id)
        except Exception as error:  # noqa: BLE001  # one message's failure must not repeat others
            failure("a report could not be made", error, message_id=record["messageId"])
            failed.append({"itemIdentifier": record["messageId"]})
            if int(record["attributes"]["ApproximateReceiveCount"]) >= LAST_TRY:
                _give_up(record, context)
    return {"batchItemFailures": failed}


lambda_handler = observed(handle)
