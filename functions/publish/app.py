"""DynamoDB stream of the core table → the audit's queue and the event bus."""

from typing import Any

from consulta.audit import stream
from consulta.core import bus
from consulta.core.observe import observed


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Publish one batch; what has to come again is answered as partial failures.

    Both take the same change twice without harm, and neither keeps the other from trying: the bus
    comes first because it raises nothing, while the audit does where its key is out of reach.
    """
    records = event["Records"]
    failed = {*bus.publish(filter(stream.is_change, records)), *stream.process(records)}
    return {"batchItemFailures": [{"itemIdentifier": number} for number in sorted(failed)]}


lambda_handler = observed(handle)
