"""Repair queue → figures of the items whose keys were parked."""

from typing import Any

from consulta.aggregates.repair import repair
from consulta.core.observe import observed


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Settle one batch of keys; what has to come again is answered as partial failures."""
    return {"batchItemFailures": [{"itemIdentifier": n} for n in repair(event["Records"])]}


lambda_handler = observed(handle)
