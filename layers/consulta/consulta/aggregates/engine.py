"""Applies what items contribute to the figures, exactly once whatever is delivered.

A figure is never "add one because something happened". What an item has contributed is remembered
in its contribution row, under the ``ord`` of the image that it came from, and the row changes in
the same transaction as the figures. So a delivery that comes twice, late, in part or out of order
changes nothing, or exactly what is still missing (docs/decisions/0003-convergent-aggregates.md).
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from consulta.aggregates import catalog
from consulta.aggregates.catalog import AggregateKey, aggregates_table, figures_key, walk_key
from consulta.aggregates.contributions import (
    NOTHING,
    Contribution,
    Pair,
    Vector,
    Visit,
    cohort_of,
    contribution,
    version_of,
)
from consulta.aggregates.images import Image
from consulta.aggregates.rows import (
    Damaged,
    Remembered,
    Visits,
    encode,
    number,
    pair_key,
    visits_key,
)
from consulta.aggregates.walk_state import Generations, NewerGeneration
from consulta.core import table
from consulta.core.errors import Busy
from consulta.core.keys import Tenant
from consulta.core.time import now, to_text

ITEMS_MAX = 10
DEADLINE_S = 20.0
# How long one transaction is tried again as it is. Other shards of the stream write a practice's
# totals, too: reading everything again for each conflict made four readers slower than one.
CONTENDED_S = 1.0


@dataclass(frozen=True, slots=True)
class Change:
    """An item as it was at one moment: a later moment has a higher ``ord``.

    ``over`` is the one higher ``ord`` that it takes the place of, in a row read before the item.
    """

    pk: str
    ord: int
    contribution: Contribution
    over: int = 0


def as_of(pk: str, image: Image) -> Change:
    """The item as ``image`` shows it. Raises Malformed."""
    return Change(pk, 2 * version_of(image), contribution(pk, image))


def removal(pk: str, last_image: Image) -> Change:
    """The item is gone; ``last_image`` is what it was. Raises Malformed."""
    return Change(pk, 2 * version_of(last_image) + 1, NOTHING)


def vanished(pk: str, remembered: Remembered) -> Change:
    """The item is not there and nobody saw it go: above all that is remembered of it."""
    return Change(pk, remembered.ord | 1, NOTHING)


def restored(change: Change, before: Remembered) -> Change:
    """The item as it was read after its row: an older one than was counted has been put back."""
    return replace(change, over=before.ord)


def read_remembered(
    tenant: Tenant, pks: Iterable[str], damaged: list[str] | None = None
) -> dict[str, Remembered]:
    """What items have contributed, by item; consistent, in one call per hundred.

    Raises Damaged for a row that cannot be read; with ``damaged`` it is left out and named there.
    """
    keys = {pk: tenant.contribution(pk) for pk in pks}
    found = table.batch_get_raw(list(keys.values()), table=aggregates_table())
    rows: dict[str, Remembered] = {}
    for pk, key in keys.items():
        try:
            rows[pk] = Remembered.read(found.get(key))
        except Damaged:
            if damaged is None:
                raise
            damaged.append(pk)
    return rows


def apply(tenant: Tenant, changes: Iterable[Change], *, deadline_s: float = DEADLINE_S) -> None:
    """Bring one practice's figures to what ``changes`` say.

    Per item only the highest ``ord`` counts. Each transaction is at most ``ITEMS_MAX`` items' work.
    Where rows changed under us, where transactions conflict or are throttled for longer than
    ``CONTENDED_S``, and where answers are lost, everything that is still open is read again, after
    a pause with jitter, in transactions of half the size. Raises Busy where that does not end by
    the deadline, NewerGeneration where newer code is at work, and Damaged for a row that cannot be
    read. In a first pass the last two come before anything is written; what was applied stays so.
    """
    pending = _newest(changes)
    size, end = ITEMS_MAX, time.monotonic() + deadline_s
    for _ in table.attempts(deadline_s):
        moves, generations = _moves(tenant, pending)
        pending, size = _write(tenant, moves, _known(tenant, moves, generations), size, end)
        if not pending:
            return


def _newest(changes: Iterable[Change]) -> dict[str, Change]:
    newest: dict[str, Change] = {}
    for change in changes:
        if change.pk not in newest or newest[change.pk].ord < change.ord:
            newest[change.pk] = change
    return newest


@dataclass(frozen=True, slots=True)
class _Move:
    """One item's way from what it has contributed to what it should."""

    change: Change
    was: Remembered
    figures: dict[AggregateKey, Vector]
    pairs: dict[Pair, int]
    visits: dict[Visit, int]

    @property
    def rows(self) -> set[object]:
        """Every row that it may write; merged with others it can be fewer, never more.

        A visit writes its patient's row and those of two cohorts, the one left and the one joined.
        """
        counts = {key for pair in self.pairs for key, _ in pair.counted_in()}
        cohorts = {(visit.patient, n) for visit in self.visits for n in range(3)}
        return {self.change.pk, *self.figures, *self.pairs, *counts, *cohorts}


def _moves(tenant: Tenant, pending: dict[str, Change]) -> tuple[list[_Move], Generations]:
    """What there is to do, and whose code has been here."""
    walk, keys = walk_key(tenant), {pk: tenant.contribution(pk) for pk in pending}
    found = table.batch_get_raw([*keys.values(), walk], table=aggregates_table())
    mine = catalog.GENERATION
    generations = Generations.of(found.get(walk))
    moves = []
    for pk, change in pending.items():
        was = Remembered.read(found.get(keys[pk]))
        if was.gen > mine:
            raise NewerGeneration(pk)
        if was.ord > change.ord and was.ord != change.over:
            continue
        new, old = change.contribution, was.contribution
        if (was.ord, was.gen) == (change.ord, mine) and new == old:
            continue
        if generations.newest > mine:
            # No walk comes back for what this code would count less of than that one did.
            raise NewerGeneration(pk)
        figures = _differences(new.figures, old.figures)
        pairs, visits = _difference(new.pairs, old.pairs), _difference(new.visits, old.visits)
        moves.append(_Move(change, was, figures, pairs, visits))
    return moves, generations


def _differences(
    new: dict[AggregateKey, Vector], old: dict[AggregateKey, Vector]
) -> dict[AggregateKey, Vector]:
    """Row by row, of those that differ."""
    deltas = {
        key: _difference(new.get(key, {}), old.get(key, {})) for key in new.keys() | old.keys()
    }
    return {key: delta for key, delta in deltas.items() if delta}


def _difference[K](new: dict[K, int], old: dict[K, int]) -> dict[K, int]:
    deltas = {name: new.get(name, 0) - old.get(name, 0) for name in new.keys() | old.keys()}
    return {name: delta for name, delta in deltas.items() if delta}


def _write(
    tenant: Tenant, moves: Sequence[_Move], known: "_Known", size: int, end: float
) -> tuple[dict[str, Change], int]:
    """One transaction per chunk until ``end``; gives what is to be tried again, in what size."""
    again: dict[str, Change] = {}
    next_size = size
    for chunk in _chunks(moves, size):
        left = end - time.monotonic()
        if left < 0:
            again.update((move.change.pk, move.change) for move in chunk)
            continue
        merged = _merge(tenant, chunk, known)
        try:
            table.transact(
                _actions(tenant, chunk, merged, known), deadline_s=min(CONTENDED_S, left)
            )
        except table.ConditionFailed:
            again.update((move.change.pk, move.change) for move in chunk)
        except Busy:
            again.update((move.change.pk, move.change) for move in chunk)
            next_size = max(1, size // 2)
        else:
            for pair, delta in merged.pairs.items():
                known.pairs[pair] += delta
            for patient, deltas in merged.visits.items():
                known.visits[patient] = known.visits[patient].moved(deltas)
            if _has_new(chunk):
                known.generations.written()
    return again, next_size


@dataclass(frozen=True, slots=True)
class _Known:
    """What is written as it was read plus a change: nobody else's may come between.

    How many live items join each pair, each patient's visits by month, whose code has been here.
    """

    pairs: dict[Pair, int]
    visits: dict[str, Visits]
    generations: Generations


def _known(tenant: Tenant, moves: Sequence[_Move], generations: Generations) -> _Known:
    pairs = {pair: pair_key(tenant, pair) for move in moves for pair in move.pairs}
    patients = {one.patient: visits_key(tenant, one.patient) for m in moves for one in m.visits}
    keys = [*pairs.values(), *patients.values()]
    found = table.batch_get_raw(keys, table=aggregates_table()) if keys else {}
    return _Known(
        {pair: number(found.get(key), "n") for pair, key in pairs.items()},
        {patient: Visits.read(found.get(key)) for patient, key in patients.items()},
        generations,
    )


def _chunks(moves: Sequence[_Move], size: int) -> Iterator[list[_Move]]:
    chunk: list[_Move] = []
    rows: set[object] = set()
    for move in moves:
        # One part is for the walk's row.
        if chunk and (len(chunk) == size or len(rows | move.rows) >= table.TRANSACT_MAX):
            yield chunk
            chunk, rows = [], set()
        chunk.append(move)
        rows |= move.rows
    if chunk:
        yield chunk


@dataclass(frozen=True, slots=True)
class _Merged:
    """What a chunk changes in all; what cancels out is an empty vector, or 0."""

    figures: dict[AggregateKey, Vector]
    pairs: dict[Pair, int]
    visits: dict[str, dict[str, int]]


def _merge(tenant: Tenant, chunk: Sequence[_Move], known: _Known) -> _Merged:
    figures: dict[AggregateKey, Vector] = {}
    pairs: dict[Pair, int] = {}
    visits: dict[str, dict[str, int]] = {}

    def add(key: AggregateKey, name: str, delta: int) -> None:
        row = figures.setdefault(key, {})
        row[name] = row.get(name, 0) + delta

    for move in chunk:
        for key, vector in move.figures.items():
            for name, delta in vector.items():
                add(key, name, delta)
        for pair, delta in move.pairs.items():
            pairs[pair] = pairs.get(pair, 0) + delta
        for (patient, month), delta in move.visits.items():
            months = visits.setdefault(patient, {})
            months[month] = months.get(month, 0) + delta
    for pair, delta in pairs.items():
        was = known.pairs[pair]
        crossing = int(was + delta > 0) - int(was > 0)
        for key, name in pair.counted_in() if crossing else ():
            add(key, name, crossing)
    for patient, months in visits.items():
        before = known.visits[patient]
        new, old = before.moved(months).came, before.came
        cohorts = cohort_of(tenant.practice, new), cohort_of(tenant.practice, old)
        for key, vector in _differences(*cohorts).items():
            for name, delta in vector.items():
                add(key, name, delta)
    # A row whose changes cancel out has changed all the same: a repair must see that.
    kept = {key: {n: d for n, d in vector.items() if d} for key, vector in figures.items()}
    return _Merged(kept, pairs, visits)


def _actions(
    tenant: Tenant, chunk: Sequence[_Move], merged: _Merged, known: _Known
) -> list[table.Action]:
    name, at = aggregates_table(), to_text(now())
    actions = [_remember(tenant, move, at) for move in chunk]
    if _has_new(chunk):
        actions.append(known.generations.none_newer(tenant, at))
    for pair, delta in merged.pairs.items():
        was = known.pairs[pair]
        actions.append(
            table.update(
                pair_key(tenant, pair),
                set_={"n": was + delta},
                add={"rev": 1},
                condition="n = :was" if was else "attribute_not_exists(n) OR n = :was",
                values={":was": was},
                table=name,
                label="pair",
            )
        )
    for patient, deltas in merged.visits.items():
        visits = known.visits[patient].moved(deltas)
        actions.append(
            table.update(
                visits_key(tenant, patient),
                set_={"rev": visits.rev, **{month: visits.months[month] for month in deltas}},
                condition="rev = :was" if visits.rev > 1 else "attribute_not_exists(rev)",
                values={":was": visits.rev - 1} if visits.rev > 1 else None,
                table=name,
                label="visits",
            )
        )
    actions.extend(
        table.update(
            figures_key(tenant, key),
            set_={"updated_at": at},
            add={**vector, "rev": 1},
            table=name,
        )
        for key, vector in merged.figures.items()
    )
    return actions


def _has_new(chunk: Sequence[_Move]) -> bool:
    """Whether an item among them has no contribution row yet."""
    return not all(move.was.ord for move in chunk)


def _remember(tenant: Tenant, move: _Move, at: str) -> table.Action:
    """The contribution row, only if it is still as it was read.

    With its ``vec``: a mended meaning counts the same image anew without a new generation.
    """
    change, was = move.change, move.was
    as_read = "ord = :ord AND gen = :gen AND vec = :vec"
    return table.update(
        tenant.contribution(change.pk),
        set_={
            "ord": change.ord,
            "gen": catalog.GENERATION,
            "vec": encode(change.contribution),
            "updated_at": at,
        },
        condition=as_read if was.ord else "attribute_not_exists(pk)",
        values={":ord": was.ord, ":gen": was.gen, ":vec": was.vec} if was.ord else None,
        table=aggregates_table(),
        label="contribution",
    )
