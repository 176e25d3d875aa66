"""Walks a practice's items through the engine: the backfill of a new figure, and the rebuild.

First every item by the ``walk`` index, as it is now: one that was counted as it is loses nothing,
an older image than the one counted loses by its ord. Then every contribution row: an item that is
gone is taken out. It may run beside the stream, twice, or be broken off: it goes on from the page
where it stopped.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from consulta.aggregates import contributions, current, engine
from consulta.aggregates.contributions import ENTITIES, NOTHING, AggregateKey
from consulta.aggregates.rows import WALK, Remembered, aggregates_table, figures_key
from consulta.core import table
from consulta.core.keys import CONTRIBUTION_SHARDS, Key, Tenant, contribution_partition
from consulta.core.table import Raw
from consulta.core.time import now, to_text
from consulta.people.records import PRACTICE

PAGE = 100
_ROWS = tuple(f"ROWS-{number}" for number in range(CONTRIBUTION_SHARDS))
SEGMENTS = (*ENTITIES, *_ROWS)


@dataclass(slots=True)
class Walked:
    """How far a walk has come: the segment, what was looked at, and what could not be counted."""

    segment: str = SEGMENTS[0]
    looked_at: int = 0
    unreadable: int = 0


Watch = Callable[[Walked], None]


def walk(tenant: Tenant, watch: Watch = lambda _: None) -> Walked:
    """Walk one practice from where the last walk stopped, or from the start where it ended.

    ``watch`` is called after each page. Where every item could be read, the practice's figures of
    this generation are complete from then on. Raises as :func:`consulta.aggregates.engine.apply`;
    the next call then goes on.
    """
    walked, cursor = _resume(tenant)
    for segment in SEGMENTS[SEGMENTS.index(walked.segment) :]:
        walked.segment = segment
        apply_page = _items if segment in ENTITIES else _rows
        while True:
            cursor = apply_page(tenant, walked, cursor)
            watch(walked)
            if cursor is None:
                break
            _save(tenant, walked, cursor)
    _finish(tenant, walked)
    return walked


def _items(tenant: Tenant, walked: Walked, cursor: Raw | None) -> Raw | None:
    page = table.Query(tenant.listing(walked.segment), index="walk").page(PAGE, cursor)
    # The index lags: an item that is already gone is left to the rows' segments.
    found = current.read(raw["pk"]["S"] for raw in page.items)
    engine.apply(tenant, found.there.values())
    walked.looked_at += len(page.items)
    walked.unreadable += len(found.unreadable)
    return page.last_key


def _rows(tenant: Tenant, walked: Walked, cursor: Raw | None) -> Raw | None:
    partition = contribution_partition(tenant, _ROWS.index(walked.segment))
    query = table.Query(partition, consistent=True, table=aggregates_table())
    page = query.page(PAGE, cursor)
    rows = {raw["sk"]["S"]: Remembered.read(raw) for raw in page.items}
    live = [pk for pk, row in rows.items() if row.contribution != NOTHING]
    there = table.batch_get_raw([Key(pk) for pk in live])
    gone = [engine.vanished(pk, rows[pk]) for pk in live if Key(pk) not in there]
    engine.apply(tenant, gone)
    walked.looked_at += len(page.items)
    return page.last_key


# ---------------------------------------------------------------------------- where it has come to


def _state(tenant: Tenant) -> Key:
    return figures_key(tenant, AggregateKey(PRACTICE, tenant.practice, WALK))


def _resume(tenant: Tenant) -> tuple[Walked, Raw | None]:
    state = table.get_raw(_state(tenant), table=aggregates_table()) or {}
    # A walk of other code's figures is no use to this one's.
    if int(state.get("gen", {}).get("N", 0)) != contributions.GENERATION:
        return Walked(), None
    walked = Walked(
        state["segment"]["S"], int(state["looked_at"]["N"]), int(state["unreadable"]["N"])
    )
    cursor: Raw = json.loads(state["cursor"]["S"])
    return walked, cursor


def _save(tenant: Tenant, walked: Walked, cursor: Raw) -> None:
    values = {
        "gen": contributions.GENERATION,
        "segment": walked.segment,
        "looked_at": walked.looked_at,
        "unreadable": walked.unreadable,
        "cursor": json.dumps(cursor),
        "updated_at": to_text(now()),
    }
    table.transact([table.update(_state(tenant), set_=values, table=aggregates_table())])


def _finish(tenant: Tenant, walked: Walked) -> None:
    values: dict[str, int | str] = {"updated_at": to_text(now())}
    if not walked.unreadable:
        values["done"] = contributions.GENERATION
    under_way = ("gen", "segment", "looked_at", "unreadable", "cursor")
    table.transact(
        [table.update(_state(tenant), set_=values, remove=under_way, table=aggregates_table())]
    )
