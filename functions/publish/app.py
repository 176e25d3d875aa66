"""DynamoDB stream of the core table → the audit's queue and the event bus."""

from typing import Any

from consulta.audit import stream
from consulta.core import bus
from consulta.core.observe import observed


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Publish one batch; what has to come again is answered as partial failures.

    Both take the same change twice without harm.
    """
    records = event["Records"]
    failed = {*stream.process(records), *bus.publish(filter(stream.is_change, records))}
    return {"batchItemFailures": [{"itemIdentifier": number} for number in sorted(failed)]}


lambda_handler = observed(handle)
