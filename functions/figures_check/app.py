"""Every night → a sample of each practice's figures, proved."""

from dataclasses import asdict
from typing import Any

from consulta.aggregates import sampling
from consulta.core.observe import observed

# What one more practice may take at most, before Lambda's own deadline.
RESERVE_MS = 60_000


def handle(_event: dict[str, Any], context: Any) -> dict[str, int]:
    """Work from the last run's place, whatever the event says: it may be late, or missing."""
    return asdict(
        sampling.run(
            time_left=lambda: context.get_remaining_time_in_millis() > RESERVE_MS,
        )
    )


lambda_handler = observed(handle)
