"""Applies what items contribute to the figures, exactly once whatever is delivered.

A figure is never "add one because something happened". What an item has contributed is remembered
in its contribution row, under the ``ord`` of the image that it came from, and the row changes in
the same transaction as the figures. So a delivery that comes twice, late, in part or out of order
changes nothing, or exactly what is still missing (docs/decisions/0003-convergent-aggregates.md).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from consulta.aggregates import contributions
from consulta.aggregates.contributions import (
    NOTHING,
    AggregateKey,
    Contribution,
    Image,
    Pair,
    Vector,
    contribution,
    version_of,
)
from consulta.aggregates.rows import (
    Remembered,
    aggregates_table,
    encode,
    figures_key,
    pair_key,
)
from consulta.core import table
from consulta.core.errors import Busy
from consulta.core.keys import Tenant
from consulta.core.time import now, to_text

ITEMS_MAX = 10
DEADLINE_S = 20.0


class NewerGeneration(RuntimeError):
    """The row of item ``pk`` was written by newer code, whose figures this code must not undo."""

    def __init__(self, pk: str) -> None:
        super().__init__("a contribution row is of a newer generation")
        self.pk = pk


@dataclass(frozen=True, slots=True)
class Change:
    """An item as it was at one moment: a later moment has a higher ``ord``."""

    pk: str
    ord: int
    contribution: Contribution


def as_of(pk: str, image: Image) -> Change:
    """The item as ``image`` shows it. Raises Malformed."""
    return Change(pk, 2 * version_of(image), contribution(pk, image))


def removal(pk: str, last_image: Image) -> Change:
    """The item is gone; ``last_image`` is what it was. Raises Malformed."""
    return Change(pk, 2 * version_of(last_image) + 1, NOTHING)


def vanished(pk: str, remembered: Remembered) -> Change:
    """The item is not there and nobody saw it go: above all that is remembered of it."""
    return Change(pk, remembered.ord | 1, NOTHING)


def read_remembered(tenant: Tenant, pks: Iterable[str]) -> dict[str, Remembered]:
    """What items have contributed, by item; consistent, in one call per hundred."""
    keys = {pk: tenant.contribution(pk) for pk in pks}
    found = table.batch_get_raw(list(keys.values()), table=aggregates_table())
    return {pk: Remembered.read(found.get(key)) for pk, key in keys.items()}


def apply(tenant: Tenant, changes: Iterable[Change], *, deadline_s: float = DEADLINE_S) -> None:
    """Bring one practice's figures to what ``changes`` say.

    Per item only the highest ``ord`` counts. Each transaction is at most ``ITEMS_MAX`` items' work.
    Where rows changed under us, where transactions conflict or are throttled, and where an answer
    was lost, everything that is still open is read again, after a pause with jitter, in
    transactions of half the size. Raises Busy where that does not end by the deadline (what was
    applied stays applied), NewerGeneration before anything is written.
    """
    pending = _newest(changes)
    size = ITEMS_MAX
    for _ in table.attempts(deadline_s):
        moves = _moves(tenant, pending)
        pending, size = _write(tenant, moves, size)
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

    @property
    def rows(self) -> set[AggregateKey | Pair | str]:
        """Every row that it may write; merged with others it can be fewer, never more."""
        counts = {key for pair in self.pairs for key, _ in pair.counted_in()}
        return {self.change.pk, *self.figures, *self.pairs, *counts}


def _moves(tenant: Tenant, pending: dict[str, Change]) -> list[_Move]:
    remembered = read_remembered(tenant, pending)
    mine = contributions.GENERATION
    moves = []
    for pk, change in pending.items():
        was = remembered[pk]
        if was.gen > mine:
            raise NewerGeneration(pk)
        if was.ord > change.ord:
            continue
        new, old = change.contribution, was.contribution
        if (was.ord, was.gen) == (change.ord, mine) and new == old:
            continue
        figures: dict[AggregateKey, Vector] = {}
        for key in new.figures.keys() | old.figures.keys():
            delta = _difference(new.figures.get(key, {}), old.figures.get(key, {}))
            if delta:
                figures[key] = delta
        moves.append(_Move(change, was, figures, _difference(new.pairs, old.pairs)))
    return moves


def _difference[K](new: dict[K, int], old: dict[K, int]) -> dict[K, int]:
    deltas = {name: new.get(name, 0) - old.get(name, 0) for name in new.keys() | old.keys()}
    return {name: delta for name, delta in deltas.items() if delta}


def _write(tenant: Tenant, moves: Sequence[_Move], size: int) -> tuple[dict[str, Change], int]:
    """One transaction per chunk; gives what is to be tried again, and in what size."""
    live = _live_items(tenant, {pair for move in moves for pair in move.pairs})
    again: dict[str, Change] = {}
    next_size = size
    for chunk in _chunks(moves, size):
        merged = _merge(chunk, live)
        try:
            # One try only: after a conflict, a throttle or a lost answer the rows are read again.
            table.transact(_actions(tenant, chunk, merged, live), deadline_s=0)
        except table.ConditionFailed:
            again.update((move.change.pk, move.change) for move in chunk)
        except Busy:
            again.update((move.change.pk, move.change) for move in chunk)
            next_size = max(1, size // 2)
        else:
            for pair, delta in merged.pairs.items():
                live[pair] += delta
    return again, next_size


def _live_items(tenant: Tenant, pairs: set[Pair]) -> dict[Pair, int]:
    """How many live items join each pair now; no row counts as 0."""
    keys = {pair: pair_key(tenant, pair) for pair in pairs}
    if not keys:
        return {}
    found = table.batch_get_raw(list(keys.values()), table=aggregates_table())
    return {pair: int(found[key]["n"]["N"]) if key in found else 0 for pair, key in keys.items()}


def _chunks(moves: Sequence[_Move], size: int) -> Iterator[list[_Move]]:
    chunk: list[_Move] = []
    rows: set[AggregateKey | Pair | str] = set()
    for move in moves:
        if chunk and (len(chunk) == size or len(rows | move.rows) > table.TRANSACT_MAX):
            yield chunk
            chunk, rows = [], set()
        chunk.append(move)
        rows |= move.rows
    if chunk:
        yield chunk


@dataclass(frozen=True, slots=True)
class _Merged:
    """What a chunk changes in all; without zeros."""

    figures: dict[AggregateKey, Vector]
    pairs: dict[Pair, int]


def _merge(chunk: Sequence[_Move], live: dict[Pair, int]) -> _Merged:
    figures: dict[AggregateKey, Vector] = {}
    pairs: dict[Pair, int] = {}

    def add(key: AggregateKey, name: str, delta: int) -> None:
        row = figures.setdefault(key, {})
        row[name] = row.get(name, 0) + delta

    for move in chunk:
        for key, vector in move.figures.items():
            for name, delta in vector.items():
                add(key, name, delta)
        for pair, delta in move.pairs.items():
            pairs[pair] = pairs.get(pair, 0) + delta
    pairs = {pair: delta for pair, delta in pairs.items() if delta}
    for pair, delta in pairs.items():
        crossing = int(live[pair] + delta > 0) - int(live[pair] > 0)
        for key, name in pair.counted_in() if crossing else ():
            add(key, name, crossing)
    kept = {key: {n: d for n, d in vector.items() if d} for key, vector in figures.items()}
    return _Merged({key: vector for key, vector in kept.items() if vector}, pairs)


def _actions(
    tenant: Tenant, chunk: Sequence[_Move], merged: _Merged, live: dict[Pair, int]
) -> list[table.Action]:
    name, at = aggregates_table(), to_text(now())
    actions = [_remember(tenant, move, at) for move in chunk]
    for pair, delta in merged.pairs.items():
        was = live[pair]
        actions.append(
            table.update(
                pair_key(tenant, pair),
                set_={"n": was + delta},
                condition="n = :was" if was else "attribute_not_exists(pk) OR n = :was",
                values={":was": was},
                table=name,
                label="pair",
            )
        )
    actions.extend(
        table.update(figures_key(tenant, key), set_={"updated_at": at}, add=vector, table=name)
        for key, vector in merged.figures.items()
    )
    return actions


def _remember(tenant: Tenant, move: _Move, at: str) -> table.Action:
    """The contribution row, only if it is still as it was read."""
    change, was = move.change, move.was
    return table.update(
        tenant.contribution(change.pk),
        set_={
            "ord": change.ord,
            "gen": contributions.GENERATION,
            "vec": encode(change.contribution),
            "updated_at": at,
        },
        condition="ord = :ord AND gen = :gen" if was.ord else "attribute_not_exists(pk)",
        values={":ord": was.ord, ":gen": was.gen} if was.ord else None,
        table=aggregates_table(),
        label="contribution",
    )
