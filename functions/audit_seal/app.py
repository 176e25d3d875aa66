"""Every hour → the hours before, sealed under Merkle roots."""

from typing import Any

from consulta.audit import sealing
from consulta.core.observe import observed

# What one more practice may take at most, before Lambda's own deadline.
RESERVE_MS = 8_000


def handle(_event: dict[str, Any], context: Any) -> dict[str, int]:
    """Work from each practice's watermark, whatever the event says: it may be late, or missing."""
    sealed = sealing.run(
        time_left=lambda: context.get_remaining_time_in_millis() > RESERVE_MS,
    )
    return {"practices": sealed.practices, "seals": sealed.seals, "failed": sealed.failed}


lambda_handler = observed(handle)
