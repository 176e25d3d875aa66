"""Queue of changed services → Stripe's products and prices."""

from typing import Any

from consulta.core.observe import observed
from consulta.money.catalog import process


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Work on one batch; what has to come again is answered as partial failures."""
    return {"batchItemFailures": [{"itemIdentifier": n} for n in process(event["Records"])]}


lambda_handler = observed(handle)
