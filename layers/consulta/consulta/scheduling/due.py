"""Due rows: bring an item back at a time. Written in the transaction that causes it."""

from datetime import datetime, timedelta

from consulta.core import keys, table
from consulta.core.time import now, to_epoch

HOLD, APPROVE = "hold", "approve"
# A row must not be written into a minute that the sweep has already been through.
SOONEST = timedelta(minutes=2)
# Far beyond any outage of the sweep; until then nothing but the sweep removes a row.
KEPT = timedelta(days=90)


def at(when: datetime, item_pk: str, what: str, *, tries: int = 0) -> table.Action:
    """Bring the item of ``item_pk`` to the sweep at ``when``, as work of the kind ``what``."""
    when = max(when, now() + SOONEST)
    return table.update(
        keys.due(when, item_pk, what),
        set_={
            "item": item_pk,
            "what": what,
            "tries": tries,
            "expires_at": to_epoch(when + KEPT),
        },
        label="due",
    )
