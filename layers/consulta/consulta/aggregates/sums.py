"""What a practice's rows must hold, from its contribution rows, and what they do hold.

Both read everything there is of one practice, in threads where asked: for operators.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import batched
from threading import Event, Lock

from consulta.aggregates.catalog import (
    BOOK,
    COHORT,
    MEMBERS,
    TOTAL,
    WALK,
    AggregateKey,
    aggregates_table,
    figures_key,
)
from consulta.aggregates.contributions import (
    EXPERT_PATIENT,
    PRACTICE_PATIENT,
    Contribution,
    Pair,
    Visit,
    cohort_of,
)
from consulta.aggregates.figures import Figures
from consulta.aggregates.parallel import each
from consulta.aggregates.rows import Damaged, Remembered, pair_key, visits_key
from consulta.core import table
from consulta.core.keys import CONTRIBUTION_SHARDS, Key, Tenant, contribution_partition
from consulta.core.table import Raw
from consulta.money.books.ledger import PLATFORM, payee_book
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.scheduling.records import SERVICE

SHARDS = range(CONTRIBUTION_SHARDS)
PAGE = 100

Rows = dict[AggregateKey, Figures]
# A row of figures, a pair's count, or (by the patient's id) a patient's visits.
Target = AggregateKey | Pair | str


def listed(tenant: Tenant, entity: str) -> Iterator[str]:
    """The keys of all items of an entity; the index lags by a moment."""
    for raw in table.Query(tenant.listing(entity), index="walk").all():
        yield raw["pk"]["S"]


def remembered(
    tenant: Tenant, shard: int, damaged: list[str] | None = None
) -> Iterator[tuple[str, Remembered]]:
    """The contribution rows of one shard, by their items' keys.

    Raises Damaged for a row that cannot be read; with ``damaged`` it is left out and named there.
    """
    for raw in _partition(contribution_partition(tenant, shard)):
        try:
            yield raw["sk"]["S"], Remembered.read(raw)
        except Damaged as error:
            if damaged is None:
                raise
            damaged.append(error.pk)


# ------------------------------------------------------------------------------ what they must hold


@dataclass(slots=True)
class Sums:
    """The sums of contribution rows; ``newest`` is the highest generation among them."""

    rows: Rows = field(default_factory=dict)
    pairs: Counter[Pair] = field(default_factory=Counter)
    visits: Counter[Visit] = field(default_factory=Counter)
    newest: int = 0

    def add(self, contribution: Contribution) -> None:
        """One item more."""
        for key, vector in contribution.figures.items():
            self.count(key, vector)
        self.pairs.update(contribution.pairs)
        self.visits.update(contribution.visits)

    def count(self, key: AggregateKey, vector: dict[str, int]) -> None:
        """A vector more in one row."""
        row = self.rows.setdefault(key, Figures())
        for name, value in vector.items():
            row[name] += value

    def join(self, other: "Sums") -> None:
        """The sums of other items."""
        for key, row in other.rows.items():
            self.count(key, row)
        self.pairs.update(other.pairs)
        self.visits.update(other.visits)
        self.newest = max(self.newest, other.newest)

    @property
    def months(self) -> dict[str, dict[str, int]]:
        """Each patient's visits by month."""
        found: dict[str, dict[str, int]] = {}
        for visit, n in self.visits.items():
            found.setdefault(visit.patient, {})[visit.month] = n
        return found

    def derive(self, practice: str) -> None:
        """Add what follows from pairs and visits: distinct counts and cohorts."""
        for pair in self.pairs:
            for key, name in pair.counted_in():
                self.count(key, {name: 1})
        for months in self.months.values():
            for key, vector in cohort_of(practice, months).items():
                self.count(key, vector)


def sums_of(tenant: Tenant, *, workers: int = 1, stop: Event | None = None) -> Sums:
    """The sums of all contribution rows of a practice. Raises Damaged."""
    lock, whole = Lock(), Sums()

    def add_up(shard: int) -> None:
        part = Sums()
        for _, row in remembered(tenant, shard):
            part.add(row.contribution)
            part.newest = max(part.newest, row.gen)
        with lock:
            whole.join(part)

    each(add_up, SHARDS, workers, stop or Event())
    whole.derive(tenant.practice)
    return whole


# -------------------------------------------------------------------------------- what they do hold


def target_key(tenant: Tenant, target: Target) -> Key:
    """Where a target's row is."""
    match target:
        case AggregateKey():
            return figures_key(tenant, target)
        case Pair():
            return pair_key(tenant, target)
        case _:
            return visits_key(tenant, target)


def stored(
    tenant: Tenant,
    sums: Sums,
    take: Callable[[Target, Raw], None],
    *,
    workers: int = 1,
    stop: Event | None = None,
) -> None:
    """Hand every row of whoever is in ``sums`` or listed to ``take``, one at a time."""
    lock = Lock()

    def subject(of: tuple[str, str]) -> None:
        partition = figures_key(tenant, AggregateKey(*of, TOTAL)).pk
        for raw in _partition(partition):
            if raw["sk"]["S"] != WALK:
                with lock:
                    take(AggregateKey(*of, raw["sk"]["S"]), raw)

    def joined(of: tuple[str, str]) -> None:
        for raw in _partition(pair_key(tenant, Pair(*of, "any")).pk):
            with lock:
                take(Pair(*of, raw["sk"]["S"]), raw)

    def visited(patients: Sequence[str]) -> None:
        keys = {visits_key(tenant, patient): patient for patient in patients}
        found = table.batch_get_raw(list(keys), table=aggregates_table())
        with lock:
            for key, raw in found.items():
                take(keys[key], raw)

    stop = stop or Event()
    experts, patients = _ids(tenant, EXPERT), _ids(tenant, PATIENT)
    lefts = {(EXPERT_PATIENT, expert) for expert in experts} | {pair[:2] for pair in sums.pairs}
    came = sorted(patients | {visit.patient for visit in sums.visits})
    everyone = {(EXPERT, expert) for expert in experts} | {(PATIENT, one) for one in patients}
    everyone |= {(SERVICE, service) for service in _ids(tenant, SERVICE)}
    # A payee is an expert or the practice.
    books = {PLATFORM, *(payee_book(payee) for payee in (tenant.practice, *experts))}
    everyone |= {(BOOK, book) for book in books}
    everyone |= {(kind, tenant.practice) for kind in (PRACTICE, *MEMBERS, COHORT)}
    everyone |= {(key.subject, key.subject_id) for key in sums.rows}
    each(subject, sorted(everyone), workers, stop)
    each(joined, sorted(lefts | {(PRACTICE_PATIENT, tenant.practice)}), workers, stop)
    each(visited, batched(came, PAGE), workers, stop)


def _partition(partition: str) -> Iterator[Raw]:
    yield from table.Query(partition, consistent=True, table=aggregates_table()).all()


def _ids(tenant: Tenant, entity: str) -> set[str]:
    return {pk.rsplit("#", 1)[1] for pk in listed(tenant, entity)}
