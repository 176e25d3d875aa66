"""Goes on with bulk actions that their request did not finish: one message of the queue each."""

import json
from typing import Any

from consulta.core.observe import failure, observed
from consulta.money.appointments import bulk

# An action with a payment provider in it may take its whole deadline.
LAST_ACTION_MS = 30_000


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """SQS batch; a message that failed comes again, and goes on where it was."""

    def may_go_on() -> bool:
        return bool(context.get_remaining_time_in_millis() > LAST_ACTION_MS)

    failed = []
    for record in event["Records"]:
        try:
            bulk.resume(json.loads(record["body"]), may_go_on)
        except Exception as error:  # noqa: BLE001  # one message's failure must not repeat others
            failure("a bulk action could not go on", error, message_id=record["messageId"])
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


lambda_handler = observed(handle)
