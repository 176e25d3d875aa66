"""Walks a practice's items through the engine: the backfill of a new figure, and the rebuild.

First every item by the ``walk`` index, as it is now: one that was counted as it is loses nothing,
an older image than the one counted loses by its ord. Then every contribution row: an item that is
gone is taken out, one that older code has counted meanwhile is counted again, and one that is older
than its row, because the core table was restored, is counted as it is.

A walk is cut into segments, one per entity and one per shard of contribution rows, each with a row
of its own that says how far it has come; several may be walked at once. It may run beside the
stream, twice, or be broken off at any page: the next call goes on there. The practice's figures are
complete once all segments of one run have ended (docs/decisions/0020-repair-of-figures.md).

    {"run", "looked_at", "unreadable", "cursor": JSON; "" at its end}    row of a segment

The row of the practice itself is in ``walk_state.py``.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Event, Lock

from consulta.aggregates import catalog, current, engine, walk_state
from consulta.aggregates.catalog import aggregates_table, walk_key
from consulta.aggregates.contributions import ENTITIES, NOTHING, version_of
from consulta.aggregates.images import Malformed
from consulta.aggregates.parallel import each
from consulta.aggregates.rows import Damaged, Remembered
from consulta.aggregates.walk_state import WalkState
from consulta.core import table
from consulta.core.keys import CONTRIBUTION_SHARDS, Key, Tenant, contribution_partition, parse_item
from consulta.core.observe import failure
from consulta.core.table import Raw
from consulta.core.time import now, to_text
from consulta.money.disputes.records import DISPUTE
from consulta.money.records import POSTING, REFUND
from consulta.people.records import PATIENT, PROFILE_VIEWS
from consulta.people.thread_records import THREAD
from consulta.scheduling.records import SERVICE
from consulta.scheduling.review_records import REVIEW

# With the practice's own row they are one call of a hundred keys.
PAGE = 99
_ROWS = tuple(f"ROWS-{number}" for number in range(CONTRIBUTION_SHARDS))
# The generation that last changed what an entity contributes. An entity that is not here counts as
# changed by the present one: to forget it costs a longer backfill, never a missing figure.
LAST_CHANGED = {
    **dict.fromkeys((DISPUTE, PATIENT), 1),
    POSTING: 2,
    **dict.fromkeys((PROFILE_VIEWS, REFUND, REVIEW, SERVICE, THREAD), 3),
}


class Overtaken(RuntimeError):
    """A newer walk of this practice has begun, which does all that this one would have done."""


@dataclass(slots=True)
class Walked:
    """How far a walk has come, over all its segments and whoever walked them.

    ``unreadable`` are items that cannot be counted, and rows that do not say what was counted.

    ``here`` is what this call looked at, ``before`` what the walk before this one had looked at in
    these segments (0 where there was none): what a rate and a share are made of.
    """

    looked_at: int = 0
    unreadable: int = 0
    ended: int = 0
    segments: int = 0
    here: int = 0
    before: int = 0

    @property
    def share(self) -> float | None:
        """How much of the walk is done, from 0 to 1; None where nobody has walked here before."""
        return min(1.0, self.looked_at / self.before) if self.before else None


Watch = Callable[[Walked], None]


def _unseen(_: Walked) -> None:
    """Nobody watches."""


def walk(
    tenant: Tenant, watch: Watch = _unseen, *, workers: int = 1, fresh: bool = False
) -> Walked:
    """Walk one practice from where the last walk stopped, or from the start where it ended.

    ``fresh`` begins at the start anyway. ``watch`` is called after each page, by one thread at a
    time; where it raises, the walk is broken off there. Where every item could be read, the
    practice's figures of this generation are complete from then on. Raises Overtaken, and as
    :func:`consulta.aggregates.engine.apply`; after Busy the next call goes on.
    """
    return _Run(tenant, walk_state.read(tenant), ENTITIES, fresh=fresh).go(watch, workers)


def backfill(tenant: Tenant, watch: Watch = _unseen, *, workers: int = 1) -> Walked:
    """The same, of those entities alone that contribute to what the practice has not complete yet.

    Nothing is done where all figures are complete. A walk that is under way is gone on with.
    """
    state = walk_state.read(tenant)
    if state.done >= catalog.GENERATION:
        return Walked()
    entities = [
        entity for entity in ENTITIES if LAST_CHANGED.get(entity, catalog.GENERATION) > state.done
    ]
    return _Run(tenant, state, entities or ENTITIES).go(watch, workers)


# ---------------------------------------------------------------------------- where it has come to


def _is_behind(image: Raw, row: Remembered) -> bool:
    """Whether an item, read after its row, is older than that: its table was restored."""
    try:
        return 2 * version_of(image) < row.ord
    except Malformed:
        return False


@dataclass(slots=True)
class _Segment:
    """One part of a walk."""

    name: str
    looked_at: int = 0
    unreadable: int = 0
    cursor: Raw | None = None
    ended: bool = False

    def read(self, raw: Raw) -> None:
        """Go on from the place in this row."""
        self.looked_at, self.unreadable = int(raw["looked_at"]["N"]), int(raw["unreadable"]["N"])
        self.cursor = json.loads(raw["cursor"]["S"] or "null")
        self.ended = self.cursor is None


@dataclass
class _Run:
    """One run through a practice, which several processes may walk together.

    Its number is taken when the first place is written down, or before the rows' segments where it
    makes figures complete: a small practice's rebuild writes nothing but its end. Of two runs the
    one with the lower number gives way.
    """

    tenant: Tenant
    found: WalkState
    wanted: Iterable[str]
    fresh: bool = False
    lock: Lock = field(default_factory=Lock)
    stop: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.begun = self.keeps = not self.fresh and self._covers(self.found)
        self.number = self.found.run if self.begun else self.found.runs + 1
        self.entities = self.found.entities if self.begun else frozenset(self.wanted)
        names = [entity for entity in ENTITIES if entity in self.entities]
        self.items, self.rows = [_Segment(n) for n in names], [_Segment(n) for n in _ROWS]
        self.walked = Walked(segments=len(self.segments))
        query = table.Query(
            self.tenant.walk(names[0]).pk, consistent=True, table=aggregates_table()
        )
        places = {raw["sk"]["S"]: raw for raw in query.all()}
        for segment in self.segments:
            raw = places.get(segment.name)
            if raw and int(raw["run"]["N"]) == self.number:
                segment.read(raw)
            elif raw:
                self.walked.before += int(raw["looked_at"]["N"])
        if self.begun:
            self.walked.before = self.found.before
        # What is left may be no page at all: what those before could not count is counted here.
        self._sum()

    @property
    def segments(self) -> list[_Segment]:
        return [*self.items, *self.rows]

    def _covers(self, state: WalkState) -> bool:
        mine = state.gen == catalog.GENERATION
        return bool(state.run) and mine and state.entities.issuperset(self.wanted)

    def go(self, watch: Watch, workers: int) -> Walked:
        """All that is left of it."""
        self._walk_all(self.items, watch, workers)
        if self.found.done < catalog.GENERATION:
            self._announce()
        self._walk_all(self.rows, watch, workers)
        self._finish()
        return self.walked

    def _walk_all(self, phase: list[_Segment], watch: Watch, workers: int) -> None:
        left = [segment for segment in phase if not segment.ended]
        each(lambda segment: self._walk(segment, watch), left, workers, self.stop)

    def _walk(self, segment: _Segment, watch: Watch) -> None:
        apply_page = self._items_page if segment.name in ENTITIES else self._rows_page
        while not (segment.ended or self.stop.is_set()):
            page = apply_page(segment)
            with self.lock:
                segment.looked_at += len(page.items)
                self.walked.here += len(page.items)
                segment.cursor, segment.ended = page.last_key, page.last_key is None
                # A practice of single pages is as quickly walked again as its places are written.
                if self.keeps or not segment.ended:
                    self._keep(segment)
                self._sum()
                watch(self.walked)

    def _sum(self) -> None:
        self.walked.looked_at = sum(segment.looked_at for segment in self.segments)
        self.walked.unreadable = sum(segment.unreadable for segment in self.segments)
        self.walked.ended = sum(segment.ended for segment in self.segments)

    def _items_page(self, segment: _Segment) -> table.Page:
        query = table.Query(self.tenant.listing(segment.name), index="walk")
        page = query.page(PAGE, segment.cursor)
        # The index lags: an item that is already gone is left to the rows' segments.
        found = current.read(raw["pk"]["S"] for raw in page.items)
        self._apply(found.there.values())
        segment.unreadable += len(found.unreadable)
        return page

    def _apply(self, changes: Iterable[engine.Change]) -> None:
        """All but what has a row that cannot be read: the rows' segments count those."""
        left = {change.pk: change for change in changes}
        while left:
            try:
                engine.apply(self.tenant, left.values())
            except Damaged as damaged:
                del left[damaged.pk]
            else:
                return

    def _rows_page(self, segment: _Segment) -> table.Page:
        partition = contribution_partition(self.tenant, _ROWS.index(segment.name))
        query = table.Query(partition, consistent=True, table=aggregates_table())
        page = query.page(PAGE, segment.cursor)
        rows: dict[str, Remembered] = {}
        for raw in page.items:
            try:
                rows[raw["sk"]["S"]] = Remembered.read(raw)
            except Damaged as damaged:
                failure("a contribution row cannot be read", damaged, item=damaged.pk)
                segment.unreadable += 1
        # Code of before the deployment may have counted an item after its page was walked.
        older = {
            pk
            for pk, row in rows.items()
            if row.gen < catalog.GENERATION and parse_item(pk)[0] in self.entities
        }
        found = table.batch_get_raw([Key(pk) for pk in rows])
        there = {pk for pk in rows if Key(pk) in found}
        counted = older | {pk for pk, row in rows.items() if row.contribution != NOTHING}
        gone = [engine.vanished(pk, rows[pk]) for pk in counted - there]
        back = {pk for pk in there if _is_behind(found[Key(pk)], rows[pk])}
        again = current.read(there & older | back)
        changes = [engine.restored(change, rows[pk]) for pk, change in again.there.items()]
        self._apply([*gone, *changes])
        return page

    def _keep(self, segment: _Segment) -> None:
        """Write down where a segment has come to; where somebody is ahead, go on from there."""
        self.keeps = True
        actions = [self._place(segment)] if self.begun else [self._begin(), self._place(segment)]
        try:
            table.transact(actions)
        except table.ConditionFailed as failed:
            if failed.label == "run":
                self._join()
                self._keep(segment)
                return
            if failed.old is None or int(failed.old["run"]["N"]) != self.number:
                raise Overtaken from None
            segment.read(failed.old)
        else:
            self.begun = True

    def _announce(self) -> None:
        """Let no older code count a new item from here on: the last look at rows begins."""
        while not self.begun:
            if table.written([self._begin()]):
                self.begun = True
            else:
                self._join()

    def _begin(self) -> table.Action:
        return table.update(
            walk_key(self.tenant),
            set_={
                "run": self.number,
                "runs": self.number,
                "gen": catalog.GENERATION,
                "entities": ",".join(sorted(self.entities)),
                "before": self.walked.before,
                "updated_at": to_text(now()),
            },
            condition=self._nobody_has_begun,
            values={":runs": self.found.runs} if self.found.runs else None,
            table=aggregates_table(),
            label="run",
        )

    @property
    def _nobody_has_begun(self) -> str:
        """No run has begun since the state was read."""
        return "runs = :runs" if self.found.runs else "attribute_not_exists(runs)"

    def _join(self) -> None:
        """Another has begun at the same time: go on in its run, or leave it all to that one."""
        self.found = walk_state.read(self.tenant)
        if not self.found.run:
            # It has ended already: then this one begins after all.
            self.number = self.found.runs + 1
        elif self._covers(self.found):
            self.begun, self.number = True, self.found.run
        else:
            raise Overtaken

    def _place(self, segment: _Segment) -> table.Action:
        return table.update(
            self.tenant.walk(segment.name),
            set_={
                "run": self.number,
                "looked_at": segment.looked_at,
                "unreadable": segment.unreadable,
                "cursor": json.dumps(segment.cursor) if segment.cursor else "",
            },
            condition=(
                "attribute_not_exists(pk) OR run < :run OR (run = :run AND looked_at <= :looked_at)"
            ),
            values={":run": self.number, ":looked_at": segment.looked_at},
            table=aggregates_table(),
            label="place",
        )

    def _finish(self) -> None:
        """All segments have ended. Whoever else ends this run, or has begun another, is left be."""
        values: dict[str, int | str] = {"updated_at": to_text(now())}
        values["stuck" if self.walked.unreadable else "done"] = catalog.GENERATION
        was_stuck = () if self.walked.unreadable else ("stuck",)
        begun = self.begun or self.found.runs
        condition = "run = :run" if self.begun else self._nobody_has_begun
        own = {":run": self.number} if self.begun else {":runs": self.found.runs}
        under_way = ("run", "gen", "entities", "before", "segment", "looked_at", "unreadable")
        action = table.update(
            walk_key(self.tenant),
            set_=values,
            remove=(*under_way, "cursor", *was_stuck),
            condition=f"{condition} AND (attribute_not_exists(done) OR done <= :mine)",
            values={**(own if begun else {}), ":mine": catalog.GENERATION},
            table=aggregates_table(),
        )
        table.written([action])
