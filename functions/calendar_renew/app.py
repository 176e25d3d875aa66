"""Every hour → calendars whose channel ends within a day, or that told nothing for six hours."""

from typing import Any

from consulta.calendars import worker
from consulta.core.observe import observed


def handle(_event: dict[str, Any], _context: object) -> dict[str, int]:
    """Put them into the calendars' queue."""
    return {"due": worker.renew()}


lambda_handler = observed(handle)
