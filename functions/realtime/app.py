"""Changes of dashboards → messages to whoever has one open."""

from typing import Any

from consulta.core.observe import observed
from consulta.dashboards.layout import subject_of
from consulta.realtime.posting import deliver


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """SQS batch; what could not be told to anybody comes again."""
    failed = deliver(event["Records"], subject_of)
    return {"batchItemFailures": [{"itemIdentifier": n} for n in failed]}


lambda_handler = observed(handle)
