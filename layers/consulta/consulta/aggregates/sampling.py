"""The nightly check: a bounded sample of every practice's figures, proved as ``verify`` does it.

Of each practice some items of every entity, from a random place of its list and of its contribution
rows, against what they have contributed; and of some subjects the total against its months and a
month against its days. What differs in two readings in a row is drift: it is counted for the alarm,
named in the log by its keys, and an item's key goes to the repair queue, which mends it. A row of
figures is mended by ``consulta repair-figures`` alone: that its contribution rows are right is for
a person to see.

A practice whose figures are not complete, because a deployment has changed them, is walked first.
Practices take turns: a night that is too short goes on where the last one stopped.
"""

import random
from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date

from consulta.aggregates import catalog, engine, figures, stream, verify, walk
from consulta.aggregates.catalog import TOTAL, AggregateKey, aggregates_table, is_additive
from consulta.aggregates.contributions import ENTITIES
from consulta.aggregates.figures import Figures
from consulta.aggregates.verify import Difference
from consulta.core import keys, table
from consulta.core.keys import CONTRIBUTION_SHARDS, Tenant, contribution_partition, tenant_of
from consulta.core.observe import count, failure, logger, trouble
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.scheduling.records import SERVICE

PLACE = "figures-check"
# Of each entity of a practice, twice: by its list, and by its contribution rows.
ITEMS = 10
FIRST, LAST = date(2000, 1, 1), date(9999, 12, 31)
LOGGED = 20
# The characters of keys, and how many of them behind a common beginning are looked at.
_LOWEST, _CHARACTERS, _DIGITS = 32, 95, 8

TimeLeft = Callable[[], bool]
_chance = random.SystemRandom()


class OutOfTimeError(Exception):
    """The walk of an incomplete practice goes on in the next night."""


@dataclass(slots=True)
class Checked:
    """What one run came to."""

    practices: int = 0
    items: int = 0
    drifted: int = 0
    failed: int = 0


def run(*, time_left: TimeLeft = lambda: True) -> Checked:
    """Check practice after practice, each at most once, from where the last run stopped."""
    checked = Checked()
    for tenant, place in _turns():
        if not time_left():
            break
        try:
            _check(tenant, checked, time_left)
        except OutOfTimeError:
            logger.info("a practice's figures are not complete yet", extra={"of": tenant.practice})
        except Exception as error:  # noqa: BLE001  # one practice must not hold up the others
            failure("a practice's figures could not be checked", error, practice=tenant.practice)
            checked.failed += 1
        _keep_place(place)
    count("FiguresChecked", checked.items)
    if checked.failed:
        count("FiguresUnchecked", checked.failed)
    return checked


def _check(tenant: Tenant, checked: Checked, time_left: TimeLeft) -> None:
    complete = _complete(tenant, checked, time_left)
    pks = sorted({*_listed(tenant), *_counted(tenant)})
    if not complete:
        # What older code has counted differs, and rightly so.
        damaged: list[str] = []
        remembered = engine.read_remembered(tenant, pks, damaged)
        mine = {pk for pk, row in remembered.items() if row.gen >= catalog.GENERATION}
        pks = sorted({*mine, *damaged})
    found = [*verify.compare(tenant, pks), *_rows(tenant, complete)]
    checked.practices += 1
    checked.items += len(pks)
    if not found:
        return
    drifted = {difference.row for difference in found}
    checked.drifted += len(drifted)
    trouble("FiguresDrift", len(drifted))
    for difference in found[:LOGGED]:
        logger.error("figures have drifted", extra={"drift": difference._asdict()})
    # What cannot be read was parked when it was written, and waits for a person.
    items = {difference.row for difference in found if difference.kind == "contribution"}
    if unsent := stream.park({pk: pk for pk in items}):
        count("FiguresUnmended", len(unsent))


def _complete(tenant: Tenant, checked: Checked, time_left: TimeLeft) -> bool:
    """Whether the practice's figures are complete, after a backfill where they were not.

    One that has ended with items that cannot be counted would end so again: it is told of each
    night until a person has mended them and walked again.
    """

    def go_on(_: walk.Walked) -> None:
        if not time_left():
            raise OutOfTimeError

    where = (PRACTICE, tenant.practice, figures.WALK)
    state = figures.read(tenant, [where], consistent=True)[where]
    if state["stuck"] < catalog.GENERATION:
        walk.backfill(tenant, go_on)
        state = figures.read(tenant, [where], consistent=True)[where]
    complete = figures.is_complete(state)
    if not complete and state["stuck"] >= catalog.GENERATION:
        logger.error("a practice has what cannot be counted", extra={"of": tenant.practice})
        checked.drifted += 1
        trouble("FiguresDrift")
    return complete


# ------------------------------------------------------------------------------------ taking turns


def _turns() -> Iterator[tuple[Tenant, str]]:
    """All practices with their places in the list: behind the last run's place, then up to it."""
    raw = table.get_raw(keys.watermark(PLACE))
    place = raw["after"]["S"] if raw else ""
    everybody = table.Query(keys.all_practices(), index="l1")
    behind = replace(everybody, low=place) if place else everybody
    for listed in behind.all():
        if listed["l1sk"]["S"] != place:
            yield tenant_of(listed["pk"]["S"]), listed["l1sk"]["S"]
    for listed in replace(everybody, high=place).all() if place else ():
        yield tenant_of(listed["pk"]["S"]), listed["l1sk"]["S"]


def _keep_place(place: str) -> None:
    table.transact([table.update(keys.watermark(PLACE), set_={"after": place})])


# ------------------------------------------------------------------------------------------- items


def _listed(tenant: Tenant) -> Iterator[str]:
    """Of each entity some items from a random place of its list on."""
    for entity in ENTITIES:
        for raw in _somewhere(table.Query(tenant.listing(entity), index="walk")):
            yield raw["pk"]["S"]


def _counted(tenant: Tenant) -> Iterator[str]:
    """The same of what was counted, in a random shard: some of it may be gone."""
    partition = contribution_partition(tenant, _chance.randrange(CONTRIBUTION_SHARDS))
    for entity in ENTITIES:
        begins = f"{tenant.prefix}{entity}#"
        query = table.Query(partition, low=begins, high=f"{begins}~", table=aggregates_table())
        for raw in _somewhere(query):
            yield raw["sk"]["S"]


def _somewhere(query: table.Query, limit: int = ITEMS) -> list[table.Raw]:
    """At most ``limit`` rows from a random place between the first and the last on, in order."""
    name = f"{query.index}sk"
    first, last = query.page(1).items, replace(query, newest_first=True).page(1).items
    if not (first and last):
        return []
    low, high = first[0][name]["S"], last[0][name]["S"]
    return replace(query, low=between(low, high), high=high).page(limit).items


def between(low: str, high: str) -> str:
    """A random text from ``low`` to ``high``, as the table sorts them: there is one at ``high``."""
    same = next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), None)
    if same is None:
        return low
    number = _chance.randint(_number(low[same:]), _number(high[same:]))
    text = ""
    for _ in range(_DIGITS):
        number, digit = divmod(number, _CHARACTERS)
        text = chr(_LOWEST + digit) + text
    return min(max(low, low[:same] + text), high)


def _number(text: str) -> int:
    """The first characters as the digits of a number, so that larger texts have larger numbers."""
    number = 0
    for character in text[:_DIGITS].ljust(_DIGITS):
        digit = min(max(ord(character) - _LOWEST, 0), _CHARACTERS - 1)
        number = number * _CHARACTERS + digit
    return number


# -------------------------------------------------------------------------------------------- rows


def _rows(tenant: Tenant, complete: bool) -> Iterator[Difference]:
    """Of the practice and one of each kind: the total against its months, a month and its days."""
    subjects = [(PRACTICE, tenant.practice)]
    for entity in (EXPERT, SERVICE, PATIENT):
        found = _somewhere(table.Query(tenant.listing(entity), index="walk"), 1)
        subjects += [(entity, keys.parse_item(raw["pk"]["S"])[1]) for raw in found]
    for subject in subjects:
        # New figures may have days before they have all of them.
        has_days = subject[0] != PATIENT and complete
        yield from verify.agreed(_measure(tenant, subject, has_days, _chance.random()))


def _measure(
    tenant: Tenant, subject: tuple[str, str], has_days: bool, chance: float
) -> Callable[[], set[Difference]]:
    """Reads one subject's total and months, and the days of the month at ``chance`` (0 to 1)."""

    def measure() -> set[Difference]:
        total = AggregateKey(*subject, TOTAL)
        whole = figures.read(tenant, [total], consistent=True)[total]
        months = figures.months(tenant, *subject, FIRST, LAST)
        found = _unequal("months", total, whole, months.values())
        if months and has_days:
            first = sorted(months)[int(chance * len(months))]
            last = first.replace(day=monthrange(first.year, first.month)[1])
            days = figures.days(tenant, *subject, first, last)
            month = AggregateKey(*subject, figures.month(first))
            found |= _unequal("days", month, months[first], days.values())
        return found

    return measure


def _unequal(
    kind: str, key: AggregateKey, whole: Figures, parts: Iterable[Figures]
) -> set[Difference]:
    sums: Counter[str] = Counter()
    for part in parts:
        sums.update({name: n for name, n in part.items() if is_additive(name)})
    names = sums.keys() | {name for name in whole if is_additive(name)}
    return {
        Difference(kind, "#".join(key), name, sums[name], whole[name])
        for name in names
        if sums[name] != whole[name]
    }
