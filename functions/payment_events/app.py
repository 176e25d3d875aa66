"""Queue of the providers' events → payments, ledger, appointments, connected accounts."""

from typing import Any

from consulta.core.observe import observed
from consulta.money.webhooks.inbox import process


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Work on one batch; what has to come again is answered as partial failures."""
    return {"batchItemFailures": [{"itemIdentifier": n} for n in process(event["Records"])]}


lambda_handler = observed(handle)
