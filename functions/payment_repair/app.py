"""Every quarter of an hour → what the payment providers' webhooks have not told us."""

from dataclasses import asdict
from typing import Any

from consulta.core.item import Actor
from consulta.core.observe import observed
from consulta.money.webhooks import missed

# What one more account may take at most, before Lambda's own deadline.
RESERVE_MS = 60_000


def handle(_event: dict[str, Any], context: Any) -> dict[str, int]:
    """Work from the marks, whatever the event says: an event may be late, or missing."""
    return asdict(
        missed.run(
            Actor("payment-repair", context.aws_request_id),
            time_left=lambda: context.get_remaining_time_in_millis() > RESERVE_MS,
        )
    )


lambda_handler = observed(handle)
