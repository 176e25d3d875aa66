"""DynamoDB stream of the core table → the audit's queue."""

from typing import Any

from consulta.audit.stream import process
from consulta.core.observe import observed


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Publish one batch; what has to come again is answered as partial failures."""
    return {"batchItemFailures": [{"itemIdentifier": n} for n in process(event["Records"])]}


lambda_handler = observed(handle)
