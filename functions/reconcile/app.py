"""Every ten minutes → the run of the day, from where it was left; nothing once it is finished."""

from datetime import date
from typing import Any

from consulta.core.item import Actor
from consulta.core.observe import count, observed
from consulta.money.reconciliation import running
from consulta.money.reconciliation.records import FINISHED

# What one more account may take before Lambda's own deadline; what
# takes longer is begun again with the whole time of an invocation, and given up at its end.
RESERVE_MS, END_MS = 300_000, 30_000


def handle(event: dict[str, Any], context: Any) -> dict[str, str]:
    """The schedule's event says nothing; the operators' command names a ``day``."""
    by = Actor("reconcile", context.aws_request_id)

    def time_left() -> bool:
        return bool(context.get_remaining_time_in_millis() > RESERVE_MS)

    def ends() -> bool:
        return bool(context.get_remaining_time_in_millis() < END_MS)

    if day := event.get("day"):
        done = running.run(date.fromisoformat(day), by, time_left=time_left, ends=ends)
    else:
        done = running.work(by, time_left=time_left, ends=ends)
    if done is None or done.state != FINISHED:
        # Hours of these are the alarm; a stack that is new has no such hours.
        count("ReconciliationsFinished", 0)
    return {"day": done.item_id, "state": done.state} if done else {}


lambda_handler = observed(handle)
