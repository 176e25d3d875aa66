"""Proves a practice's figures: everything is computed again from the items and compared.

1. every item's contribution against its contribution row;
2. the sums of the contribution rows against the rows of figures, the pairs and the visits;
3. each total against the sum of its months, and of its days.

Where a contribution row cannot be read, what is left is the first: nobody knows the sums.

It may run beside live traffic: only what two readings in a row agree on is reported.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from itertools import batched
from threading import Event, Lock
from typing import NamedTuple

from consulta.aggregates import current, engine
from consulta.aggregates.catalog import COHORT, MEMBERS, TOTAL, AggregateKey, is_additive
from consulta.aggregates.contributions import ENTITIES, NOTHING, Contribution, Pair, Visit
from consulta.aggregates.figures import Figures
from consulta.aggregates.parallel import each
from consulta.aggregates.rows import Visits, number
from consulta.aggregates.sums import SHARDS, Rows, Target, listed, remembered, stored, sums_of
from consulta.core import table
from consulta.core.keys import Key, Tenant
from consulta.core.table import Raw
from consulta.core.time import now, to_text
from consulta.people.records import EXPERT, PRACTICE
from consulta.scheduling.records import SERVICE

PAGE = 100
ROUNDS = 5
PAUSE_S = 0.5
# How young a change may be for its record to be waited for, and how often it is looked at again.
LATE, LATE_ROUNDS = timedelta(minutes=1), 20


class Difference(NamedTuple):
    """One number that is not what it should be. ``row`` and ``figure`` name it; ids only."""

    kind: str
    row: str
    figure: str
    expected: int
    found: int


Watch = Callable[[int], None]


def verify(tenant: Tenant, watch: Watch = lambda _: None, *, workers: int = 1) -> list[Difference]:
    """Every difference in one practice's figures; none where all is right.

    ``watch`` is called with the number of items after each page, by one thread at a time. Reads
    everything: for operators.
    """
    lock, stop = Lock(), Event()
    differences: list[Difference] = []
    seen: set[str] = set()

    def items(entity: str) -> None:
        for pks in batched(listed(tenant, entity), PAGE):
            if stop.is_set():
                return
            found = compare(tenant, pks)
            with lock:
                differences.extend(found)
                seen.update(pks)
                watch(len(pks))

    def counted(shard: int) -> None:
        """What was counted but is in no list (any more)."""
        damaged: list[str] = []
        rows = remembered(tenant, shard, damaged)
        left = (pk for pk, row in rows if row.contribution != NOTHING and pk not in seen)
        for pks in batched(left, PAGE):
            found = compare(tenant, pks)
            with lock:
                differences.extend(found)
        with lock:
            differences.extend(_damaged(pk) for pk in damaged if pk not in seen)

    each(items, ENTITIES, workers, stop)
    each(counted, SHARDS, workers, stop)
    if not any(difference.kind == "damaged" for difference in differences):
        differences += agreed(lambda: _rows_against_sums(tenant, workers))
    return sorted(differences)


def agreed(measure: Callable[[], set[Difference]]) -> list[Difference]:
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


def compare(tenant: Tenant, pks: Collection[str]) -> list[Difference]:
    """These items as they are now against what is remembered of them.

    Those that changed a moment ago are waited for: their records may be on their way.
    """
    found = _compare_once(tenant, pks)
    for _ in range(LATE_ROUNDS):
        if not _changed_just_now(d.row for d in found if d.kind == "contribution"):
            break
        time.sleep(PAUSE_S)
        found = _compare_once(tenant, {difference.row for difference in found})
    suspects = {difference.row for difference in found}
    return agreed(lambda: _compare_once(tenant, suspects)) if suspects else []


def _changed_just_now(pks: Iterable[str]) -> bool:
    """Whether any of these items was written within the last minute."""
    since = to_text(now() - LATE)
    found = table.batch_get_raw([Key(pk) for pk in pks])
    return any(raw.get("updated_at", {}).get("S", "") > since for raw in found.values())


def _compare_once(tenant: Tenant, pks: Collection[str]) -> set[Difference]:
    damaged: list[str] = []
    items = current.read(pks)
    remembered = engine.read_remembered(tenant, pks, damaged)
    found = {Difference("unreadable", pk, "", 0, 0) for pk in items.unreadable}
    found |= {_damaged(pk) for pk in damaged}
    for pk in remembered.keys() - items.unreadable:
        expected = items.there[pk].contribution if pk in items.there else NOTHING
        numbers, others = _numbers(expected), _numbers(remembered[pk].contribution)
        for name in numbers.keys() | others.keys():
            if numbers[name] != others[name]:
                found.add(Difference("contribution", pk, name, numbers[name], others[name]))
    return found


def _damaged(pk: str) -> Difference:
    return Difference("damaged", pk, "", 0, 0)


def _numbers(contribution: Contribution) -> Counter[str]:
    found: Counter[str] = Counter()
    for joined, n in (*contribution.pairs.items(), *contribution.visits.items()):
        found["#".join(joined)] += n
    for key, vector in contribution.figures.items():
        found.update({f"{'#'.join(key)} {name}": value for name, value in vector.items()})
    return found


# ------------------------------------------------------------------------------- sums and figures


def _rows_against_sums(tenant: Tenant, workers: int) -> set[Difference]:
    sums = sums_of(tenant, workers=workers)
    rows: Rows = {}
    live: Counter[Pair] = Counter()
    came: Counter[Visit] = Counter()

    def take(target: Target, raw: Raw) -> None:
        match target:
            case AggregateKey():
                rows[target] = Figures.of(raw)
            case Pair():
                live[target] = number(raw, "n")
            case _:
                months = Visits.read(raw).months
                came.update({Visit(target, month): n for month, n in months.items()})

    stored(tenant, sums, take, workers=workers)
    found = {
        Difference("pair", "#".join(pair), "n", sums.pairs[pair], live[pair])
        for pair in sums.pairs.keys() | live.keys()
        if sums.pairs[pair] != live[pair]
    }
    found |= {
        Difference("visits", visit.patient, visit.month, sums.visits[visit], came[visit])
        for visit in sums.visits.keys() | came.keys()
        if sums.visits[visit] != came[visit]
    }
    for key in sums.rows.keys() | rows.keys():
        expected, found_row = sums.rows.get(key, Figures()), rows.get(key, Figures())
        found |= _unequal("figure", key, expected, found_row, expected.keys() | found_row.keys())
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


def _totals(rows: Rows) -> set[Difference]:
    """TOTAL = Σ MONTH = Σ DAY, for the figures of which that is true; MONTH = Σ DAY of members."""
    return _members_totals({key: row for key, row in rows.items() if key.subject in MEMBERS}) | (
        _subjects_totals(
            {key: row for key, row in rows.items() if key.subject not in (*MEMBERS, COHORT)}
        )
    )


def _members_totals(rows: Rows) -> set[Difference]:
    sums: Rows = {}
    for key, row in rows.items():
        letter, day, member = key.period.split("#", 2)
        if letter == "D":
            month = AggregateKey(key.subject, key.subject_id, f"M#{day[:7]}#{member}")
            for name, value in row.items():
                _add(sums, month, name, value)
    months = {key for key in rows if key.period.startswith("M#")} | sums.keys()
    found: set[Difference] = set()
    for key in months:
        expected, stored = sums.get(key, Figures()), rows.get(key, Figures())
        found |= _unequal("days", key, expected, stored, expected.keys() | stored.keys())
    return found


def _subjects_totals(rows: Rows) -> set[Difference]:
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
            if letter == "D" and key.subject not in (PRACTICE, EXPERT, SERVICE):
                continue
            expected = sums[letter].get(key, Figures())
            names = [name for name in expected.keys() | stored.keys() if is_additive(name)]
            found |= _unequal(kind, key, expected, stored, names)
    return found
