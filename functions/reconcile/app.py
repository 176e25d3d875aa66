"""Every ten minutes → the run of the day, from where it was left; nothing once it is finished."""

from datetime import date
from typing import Any

from consulta.core.item import Actor
from consulta.core.observe import observed
from consulta.money.reconciliation import running

# What one more practice, or the platform's own account, may take before Lambda's own deadline.
RESERVE_MS = 300_000


def handle(event: dict[str, Any], context: Any) -> dict[str, str]:
    """The schedule's event says nothing; the operators' command names a ``day``."""
    by = Actor("reconcile", context.aws_request_id)

    def time_left() -> bool:
        return bool(context.get_remaining_time_in_millis() > RESERVE_MS)

    if day := event.get("day"):
        done = running.run(date.fromisoformat(day), by, time_left=time_left)
    else:
        done = running.work(by, time_left=time_left)
    return {"day": done.item_id, "state": done.state} if done else {}


lambda_handler = observed(handle)
