"""Repairs rows of figures, pairs and visits while their contribution rows are right.

A walk cannot: it adds only what an item's contribution row says is missing. Here a row is set to
the sum of its contributions, row by row and while traffic flows, on the condition that nothing has
touched it meanwhile:

1. read every row of the practice, and remember each one's stamp (``rev``, ``updated_at``, ``n``);
2. read all contribution rows, and add them up;
3. read every row again. One with another stamp has changed meanwhile, and says nothing yet;
4. one with the same stamp and another content is set to the sum, if it still has that stamp.

Why a row that passes is right: whatever changes an item's contribution to a row writes both in one
transaction, and every write of a row changes its stamp. So with the same stamp before step 2 and in
step 4 no contribution to this row changed in between, and the sum that was read is the sum at the
moment of the write, although the contribution rows were not all read at one moment. One thing goes
around this: a damaged pair or visit makes the engine miss a first or last time while it is still
wrong. So nothing counts as repaired because it was written: rows that were written, with all that
is counted from their pairs and visits, are measured again, until a round finds every one of them
right and unchanged (docs/decisions/0020-repair-of-figures.md).

A row that changes more often than the contribution rows can be read is left, and said to be.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from consulta.aggregates import catalog
from consulta.aggregates.catalog import COHORT, AggregateKey, aggregates_table
from consulta.aggregates.contributions import Pair
from consulta.aggregates.figures import Figures
from consulta.aggregates.rows import Visits, number
from consulta.aggregates.sums import Sums, Target, stored, sums_of, target_key
from consulta.aggregates.verify import Difference
from consulta.aggregates.walk_state import NewerGeneration
from consulta.core import table
from consulta.core.errors import Busy
from consulta.core.keys import Tenant
from consulta.core.table import Raw
from consulta.core.time import now, to_text

ROUNDS = 12
PAUSE_S = 0.2
_STAMP = ("rev", "updated_at", "n")

# What a row's next change cannot leave as it is; None where there is no row.
Stamp = tuple[str, ...] | None


@dataclass(slots=True)
class Repaired:
    """What a repair came to.

    ``found`` is what was set right, or with ``dry_run`` what would be; ``unsettled`` names the rows
    that changed whenever they were read, or could not be written: they are as they were.
    """

    rounds: int = 0
    rows: int = 0
    found: list[Difference] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)


Watch = Callable[[Repaired], None]


def repair(
    tenant: Tenant,
    watch: Watch = lambda _: None,
    *,
    workers: int = 1,
    dry_run: bool = False,
) -> Repaired:
    """Set every row of one practice that is not the sum of its contributions to that sum.

    ``watch`` is called after each round. Each round reads all contribution rows: for operators.
    Raises NewerGeneration where newer code has counted items: their contributions are unreadable.
    Raises Damaged where a contribution row is: what the rows must hold is not known.
    Broken off, it leaves each row either as it was or repaired.
    """
    repaired = Repaired()
    left, cohorts = _measure_all(tenant, repaired, workers, dry_run)
    while left and not dry_run and repaired.rounds < ROUNDS:
        watch(repaired)
        time.sleep(PAUSE_S)
        left = _measure(tenant, _with_counted(left, cohorts), repaired, workers)
    named = {difference.row for difference in repaired.found} if dry_run else set()
    repaired.unsettled = sorted({_name(target) for target in left} - named)
    watch(repaired)
    return repaired


def _measure_all(
    tenant: Tenant, repaired: Repaired, workers: int, dry_run: bool
) -> tuple[set[Target], set[AggregateKey]]:
    """The first round, over all rows: what is to be measured again, and all rows of cohorts."""
    known = sums_of(tenant, workers=workers)
    stamps: dict[Target, Stamp] = {}
    stored(tenant, known, lambda t, raw: stamps.update({t: _stamp(raw)}), workers=workers)
    sums = _sums(tenant, workers)
    months = sums.months
    left: set[Target] = set()
    absent: set[Target] = {*sums.rows, *sums.pairs, *months}

    def look(target: Target, raw: Raw | None) -> None:
        stamp, expected = stamps.get(target), _expected(sums, months, target)
        if _is_left(tenant, target, stamp, raw, expected, repaired, dry_run):
            left.add(target)

    def look_at(target: Target, raw: Raw) -> None:
        absent.discard(target)
        look(target, raw)

    stored(tenant, sums, look_at, workers=workers)
    for target in absent:
        look(target, None)
    repaired.rounds, repaired.rows = 1, len(stamps)
    keys = {key for key in (*stamps, *sums.rows) if isinstance(key, AggregateKey)}
    return left, {key for key in keys if key.subject == COHORT}


def _measure(tenant: Tenant, targets: set[Target], repaired: Repaired, workers: int) -> set[Target]:
    """A round over some rows; empty where it finds every one of them right and unchanged."""
    keys = {target: target_key(tenant, target) for target in targets}
    before = table.batch_get_raw(list(keys.values()), table=aggregates_table())
    sums = _sums(tenant, workers)
    months = sums.months
    after = table.batch_get_raw(list(keys.values()), table=aggregates_table())
    repaired.rounds += 1
    left = set()
    for target, key in keys.items():
        stamp = _stamp(before.get(key))
        expected = _expected(sums, months, target)
        if _is_left(tenant, target, stamp, after.get(key), expected, repaired):
            left.add(target)
    return left


def _sums(tenant: Tenant, workers: int) -> Sums:
    sums = sums_of(tenant, workers=workers)
    if sums.newest > catalog.GENERATION:
        raise NewerGeneration(tenant.prefix)
    return sums


def _with_counted(left: Iterable[Target], cohorts: set[AggregateKey]) -> set[Target]:
    """And what the engine counts from their pairs and visits, which it may miss meanwhile."""
    found: set[Target] = set(left)
    for target in left:
        if isinstance(target, Pair):
            found.update(key for key, _ in target.counted_in())
        elif isinstance(target, str):
            found |= cohorts
    return found


# ------------------------------------------------------------------------------------ one row


def _is_left(
    tenant: Tenant,
    target: Target,
    stamp: Stamp,
    raw: Raw | None,
    expected: dict[str, int],
    repaired: Repaired,
    dry_run: bool = False,
) -> bool:
    """Whether a row has to be measured again; one that is stably wrong is set right."""
    if _stamp(raw) != stamp:
        return True
    held = _held(target, raw)
    wrong = {
        name: expected.get(name, 0)
        for name in expected.keys() | held.keys()
        if expected.get(name, 0) != held.get(name, 0)
    }
    if not wrong:
        return False
    if dry_run or _set(tenant, target, raw, wrong):
        kind, row = _kind(target), _name(target)
        repaired.found += [
            Difference(kind, row, name, value, held.get(name, 0))
            for name, value in sorted(wrong.items())
        ]
    return True


def _set(tenant: Tenant, target: Target, raw: Raw | None, values: dict[str, int]) -> bool:
    """Whether the row was written: it had to be as it was read."""
    has = [name for name in _STAMP if raw and name in raw]
    terms = [
        f"#{name} = :{name}" if name in has else f"attribute_not_exists(#{name})" for name in _STAMP
    ]
    as_read = table.from_raw({f":{name}": raw[name] for name in has}) if raw else {}
    stamped = {"updated_at": to_text(now())} if isinstance(target, AggregateKey) else {}
    action = table.update(
        target_key(tenant, target),
        set_={**values, **stamped},
        add={"rev": 1},
        condition=" AND ".join(terms),
        values=as_read,
        names={f"#{name}": name for name in _STAMP},
        table=aggregates_table(),
    )
    try:
        return table.written([action])
    except Busy:
        return False


def _stamp(raw: Raw | None) -> Stamp:
    if raw is None:
        return None
    return tuple(str(raw.get(name)) for name in _STAMP)


def _expected(sums: Sums, months: dict[str, dict[str, int]], target: Target) -> dict[str, int]:
    match target:
        case AggregateKey():
            return sums.rows.get(target, Figures())
        case Pair():
            return {"n": sums.pairs[target]}
        case _:
            return months.get(target, {})


def _held(target: Target, raw: Raw | None) -> dict[str, int]:
    if raw is None:
        return {}
    match target:
        case AggregateKey():
            return Figures.of(raw)
        case Pair():
            return {"n": number(raw, "n")}
        case _:
            return Visits.read(raw).months


def _kind(target: Target) -> str:
    match target:
        case AggregateKey():
            return "figure"
        case Pair():
            return "pair"
        case _:
            return "visits"


def _name(target: Target) -> str:
    return target if isinstance(target, str) else "#".join(target)
