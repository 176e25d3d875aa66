"""Every minute → what has become due: ended holds, missing approvals, what providers owe us."""

from typing import Any

from consulta.core.item import Actor
from consulta.core.observe import observed
from consulta.money.appointments import approving
from consulta.money.disputes import effects as dispute_effects
from consulta.money.paying import changes, effects
from consulta.scheduling import due, holds, sweep

# What one more minute's work may take at most, before Lambda's own deadline.
RESERVE_MS = 15_000


def handle(_event: dict[str, Any], context: Any) -> dict[str, int]:
    """Work from the watermark, whatever the event says: an event may be late, or missing."""
    by = Actor("sweep", context.aws_request_id)
    swept = sweep.run(
        {
            due.HOLD: holds.worker(approving.expire, by),
            due.APPROVE: lambda key: approving.work(key, by),
            changes.REFUND_DUE_WORK: lambda key: effects.resume(key, by),
            changes.RELEASE_DUE_WORK: lambda key: effects.resume_release(key, by),
            dispute_effects.DISPUTE_DUE_WORK: lambda key: dispute_effects.resume(key, by),
            changes.AUTHORIZATION_DUE_WORK: lambda key: approving.settle_due(key, by),
        },
        time_left=lambda: context.get_remaining_time_in_millis() > RESERVE_MS,
    )
    return {"minutes": swept.minutes, "done": swept.done, "postponed": swept.postponed}


lambda_handler = observed(handle)
