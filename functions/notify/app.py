"""Changes from the event bus → mails to patients and experts."""

from typing import Any

from consulta.core.observe import observed
from consulta.notifications.worker import process


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Tell of one batch of changes; what has to come again is answered as partial failures."""
    return {"batchItemFailures": [{"itemIdentifier": n} for n in process(event["Records"])]}


lambda_handler = observed(handle)
