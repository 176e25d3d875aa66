"""Calendars' queue → events at Google, busy times of the experts' own calendars."""

from typing import Any

from consulta.calendars import worker
from consulta.core.observe import observed


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Work on one batch; what has to come again is answered as partial failures."""
    return {"batchItemFailures": [{"itemIdentifier": n} for n in worker.process(event["Records"])]}


lambda_handler = observed(handle)
