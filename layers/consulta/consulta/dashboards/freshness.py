"""Reading one's own change: figures follow an item by a moment, and a caller can wait for that.

What an item has contributed is remembered with the version that it came from, in the transaction
that changed the figures (docs/decisions/0003-convergent-aggregates.md): once that row has the
version that the caller was given, every figure has the change.
"""

import time
from typing import NamedTuple

from consulta.aggregates import engine
from consulta.core.errors import Invalid
from consulta.core.keys import Tenant
from consulta.money.disputes.records import DISPUTE
from consulta.money.records import PAYMENT, REFUND
from consulta.people.records import PATIENT
from consulta.people.thread_records import THREAD
from consulta.scheduling.records import APPOINTMENT, SERVICE
from consulta.scheduling.review_records import REVIEW

# What has figures, by the prefix of its ids.
PREFIXES = {
    "appt": APPOINTMENT,
    "pay": PAYMENT,
    "rfnd": REFUND,
    "dp": DISPUTE,
    "pat": PATIENT,
    "svc": SERVICE,
    "rev": REVIEW,
    "thr": THREAD,
}
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.025, 0.2


class Change(NamedTuple):
    """An item of the practice, and the version that its caller knows."""

    entity: str
    item_id: str
    version: int


def parse(text: str) -> Change:
    """``appt_01J…:7``, as the answer of a change gave id and version.

    Raises Invalid for an id that is none of an item with figures.
    """
    item_id, _, version = text.partition(":")
    entity = PREFIXES.get(item_id.partition("_")[0])
    if entity is None:
        known = ", ".join(f"{prefix}_" for prefix in PREFIXES)
        message = f"No figure depends on that: give an id of {known} and its version"
        raise Invalid.of("query.after", message, "enum")
    return Change(entity, item_id, int(version))


def wait_for(tenant: Tenant, change: Change, end: float) -> bool:
    """Whether the figures have ``change``, waiting for it until ``end`` (of the monotonic clock).

    Costs one consistent read of one row each time that it looks.
    """
    pk = tenant.item(change.entity, change.item_id).pk
    pause = FIRST_PAUSE_S
    while engine.read_remembered(tenant, [pk])[pk].ord < 2 * change.version:
        if time.monotonic() + pause > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
    return True
