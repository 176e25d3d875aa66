"""Proves a practice's figures: everything is computed again from the items and compared.

1. every item's contribution against its contribution row;
2. the sums of the contribution rows against the rows of figures and the pairs;
3. each total against the sum of its months, and of its days.

It may run beside live traffic: only what two readings in a row agree on is reported.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import batched
from typing import NamedTuple

from consulta.aggregates import current, engine
from consulta.aggregates.contributions import (
    ENTITIES,
    EXPERT_PATIENT,
    NOTHING,
    PRACTICE_PATIENT,
    TOTAL,
    AggregateKey,
    Contribution,
    Pair,
    is_additive,
)
from consulta.aggregates.figures import Figures
from consulta.aggregates.rows import (
    WALK,
    Remembered,
    aggregates_table,
    figures_key,
    pair_key,
)
from consulta.core import table
from consulta.core.keys import CONTRIBUTION_SHARDS, Tenant, contribution_partition
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.scheduling.records import SERVICE

PAGE = 100
ROUNDS = 5
PAUSE_S = 0.5


class Difference(NamedTuple):
    """One number that is not what it should be. ``row`` and ``figure`` name it; ids only."""

    kind: str
    row: str
    figure: str
    expected: int
    found: int


Watch = Callable[[int], None]


def verify(tenant: Tenant, watch: Watch = lambda _: None) -> list[Difference]:
    """Every difference in one practice's figures; none where all is right.

    ``watch`` is called with the number of items after each page. Reads everything: for operators.
    """
    differences: list[Difference] = []
    seen: set[str] = set()
    for pks in batched(_items(tenant), PAGE):
        differences += _compare(tenant, pks)
        seen.update(pks)
        watch(len(pks))
    # What was counted but is in no list (any more).
    for pks in batched((pk for pk in _counted(tenant) if pk not in seen), PAGE):
        differences += _compare(tenant, pks)
    differences += _agreed(lambda: _rows_against_sums(tenant))
    return differences


def _agreed(measure: Callable[[], set[Difference]]) -> list[Difference]:
    """Differences that two readings in a row agree on: others were changes under way."""
    last, both = measure(), set[Difference]()
    for _ in range(ROUNDS):
        if not last:
            return []
        time.sleep(PAUSE_S)
        again = measure()
        both = last & again
        if both == again:
            break
        last = again
    return sorted(both)


# ------------------------------------------------------------------ items and contribution rows


def _items(tenant: Tenant) -> Iterator[str]:
    for entity in ENTITIES:
        yield from _listed(tenant, entity)


def _listed(tenant: Tenant, entity: str) -> Iterator[str]:
    for raw in table.Query(tenant.listing(entity), index="walk").all():
        yield raw["pk"]["S"]


def _remembered(tenant: Tenant) -> Iterator[tuple[str, Remembered]]:
    for number in range(CONTRIBUTION_SHARDS):
        partition = contribution_partition(tenant, number)
        query = table.Query(partition, consistent=True, table=aggregates_table())
        for raw in query.all():
            yield raw["sk"]["S"], Remembered.read(raw)


def _counted(tenant: Tenant) -> Iterator[str]:
    return (pk for pk, row in _remembered(tenant) if row.contribution != NOTHING)


def _compare(tenant: Tenant, pks: Collection[str]) -> list[Difference]:
    suspects = {difference.row for difference in _compare_once(tenant, pks)}
    return _agreed(lambda: _compare_once(tenant, suspects)) if suspects else []


def _compare_once(tenant: Tenant, pks: Collection[str]) -> set[Difference]:
    now = current.read(pks)
    remembered = engine.read_remembered(tenant, pks)
    found = {Difference("unreadable", pk, "", 0, 0) for pk in now.unreadable}
    for pk in (*now.there, *now.gone):
        expected = now.there[pk].contribution if pk in now.there else NOTHING
        numbers, others = _numbers(expected), _numbers(remembered[pk].contribution)
        for name in numbers.keys() | others.keys():
            if numbers[name] != others[name]:
                found.add(Difference("contribution", pk, name, numbers[name], others[name]))
    return found


def _numbers(contribution: Contribution) -> Counter[str]:
    found: Counter[str] = Counter({"#".join(pair): n for pair, n in contribution.pairs.items()})
    for key, vector in contribution.figures.items():
        found.update({f"{'#'.join(key)} {name}": value for name, value in vector.items()})
    return found


# ------------------------------------------------------------------------------- sums and figures

Rows = dict[AggregateKey, Figures]


def _rows_against_sums(tenant: Tenant) -> set[Difference]:
    sums, pairs = _sums(tenant)
    rows = _stored(tenant, {(key.subject, key.subject_id) for key in sums})
    live = _stored_pairs(tenant, {pair[:2] for pair in pairs})
    found = {
        Difference("pair", "#".join(pair), "n", pairs[pair], live[pair])
        for pair in pairs.keys() | live.keys()
        if pairs[pair] != live[pair]
    }
    for key in sums.keys() | rows.keys():
        expected, stored = sums.get(key, Figures()), rows.get(key, Figures())
        found |= _unequal("figure", key, expected, stored, expected.keys() | stored.keys())
    return found | _totals(rows)


def _unequal(
    kind: str, key: AggregateKey, expected: Figures, stored: Figures, names: Iterable[str]
) -> set[Difference]:
    return {
        Difference(kind, "#".join(key), name, expected[name], stored[name])
        for name in names
        if expected[name] != stored[name]
    }


def _add(rows: Rows, key: AggregateKey, name: str, value: int) -> None:
    row = rows.setdefault(key, Figures())
    row[name] += value


def _sums(tenant: Tenant) -> tuple[Rows, Counter[Pair]]:
    """What the figures and pairs must be, from all contribution rows."""
    sums: Rows = {}
    pairs: Counter[Pair] = Counter()
    for _, row in _remembered(tenant):
        for key, vector in row.contribution.figures.items():
            for name, value in vector.items():
                _add(sums, key, name, value)
        pairs.update(row.contribution.pairs)
    for pair in pairs:
        for key, name in pair.counted_in():
            _add(sums, key, name, 1)
    return sums, pairs


def _stored(tenant: Tenant, subjects: set[tuple[str, str]]) -> Rows:
    """All rows of ``subjects``, and of whoever else of the practice has figures."""
    others = {(PRACTICE, tenant.practice)}
    for entity in (EXPERT, SERVICE, PATIENT):
        others |= {(entity, pk.rsplit("#", 1)[1]) for pk in _listed(tenant, entity)}
    # Whoever has any row has a total: most patients of a large practice have none.
    totals = {
        subject: figures_key(tenant, AggregateKey(*subject, TOTAL)) for subject in others - subjects
    }
    found = table.batch_get_raw(list(totals.values()), table=aggregates_table())
    subjects = subjects | {subject for subject, key in totals.items() if key in found}
    rows: Rows = {}
    for subject in subjects:
        partition = figures_key(tenant, AggregateKey(*subject, TOTAL)).pk
        query = table.Query(partition, consistent=True, table=aggregates_table())
        for raw in query.all():
            if raw["sk"]["S"] != WALK:
                rows[AggregateKey(*subject, raw["sk"]["S"])] = Figures.of(raw)
    return rows


def _stored_pairs(tenant: Tenant, lefts: set[tuple[str, str]]) -> Counter[Pair]:
    everyone = {(PRACTICE_PATIENT, tenant.practice)} | {
        (EXPERT_PATIENT, pk.rsplit("#", 1)[1]) for pk in _listed(tenant, EXPERT)
    }
    live: Counter[Pair] = Counter()
    for name, left in everyone | lefts:
        partition = pair_key(tenant, Pair(name, left, "any")).pk
        query = table.Query(partition, consistent=True, table=aggregates_table())
        for raw in query.all():
            live[Pair(name, left, raw["sk"]["S"])] = int(raw["n"]["N"])
    return live


def _totals(rows: Rows) -> set[Difference]:
    """TOTAL = Σ MONTH = Σ DAY, for the figures of which that is true."""
    sums: dict[str, Rows] = {"M": {}, "D": {}}
    for key, row in rows.items():
        if key.period != TOTAL:
            for name, value in row.items():
                total = AggregateKey(key.subject, key.subject_id, TOTAL)
                _add(sums[key.period[0]], total, name, value)
    found: set[Difference] = set()
    for key in {AggregateKey(subject, subject_id, TOTAL) for subject, subject_id, _ in rows}:
        stored = rows.get(key, Figures())
        for kind, letter in (("months", "M"), ("days", "D")):
            if letter == "D" and key.subject not in (PRACTICE, EXPERT):
                continue
            expected = sums[letter].get(key, Figures())
            names = [name for name in expected.keys() | stored.keys() if is_additive(name)]
            found |= _unequal(kind, key, expected, stored, names)
    return found
