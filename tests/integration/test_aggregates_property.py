"""Whatever is delivered, however often, in whatever order and between whatever crashes: figures
end as the sum of what the items are."""

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from consulta.aggregates import engine
from consulta.aggregates import verify as verification
from consulta.aggregates.catalog import WALK
from consulta.aggregates.contributions import Pair, contribution
from consulta.aggregates.stream import process
from consulta.aggregates.verify import verify
from consulta.aggregates.walk import walk
from consulta.core import table
from consulta.core.errors import Busy
from consulta.core.table import Raw
from consulta.money.records import PAYMENT, REFUND
from consulta.people.records import PATIENT
from consulta.scheduling.records import APPOINTMENT, Status
from tests.conftest import AGGREGATES, CORE
from tests.faults import Crash, Faults
from tests.template import create_table
from tests.unit.aggregates import images

Numbers = Counter[tuple[str, ...]]


class World:
    """The items, and every stream record that their changes made."""

    def __init__(self, client: Any, faults: Faults) -> None:
        for name, table_name in (("CoreTable", CORE), ("AggregatesTable", AGGREGATES)):
            client.delete_table(TableName=table_name)
            create_table(client, name, table_name)
        self.client, self.faults = client, faults
        self.items: dict[str, Raw] = {}
        self.removed: set[str] = set()
        self.records: list[dict[str, Any]] = []
        self.delivered: set[int] = set()
        self.lost: set[int] = set()

    def write(self, entity: str, slot: int, changes: dict[str, Any]) -> None:
        """Make the item of that slot, or change it."""
        pk = images.key(entity, str(slot)).pk
        if pk in self.removed:
            return
        old = self.items.get(pk)
        version = int(old["version"]["N"]) + 1 if old else 1
        new = images.image(entity, str(slot), version, **changes)
        self.client.put_item(TableName=CORE, Item=new)
        self.items[pk] = new
        self.records.append(images.record(len(self.records), new, old))

    def remove(self, entity: str, slot: int) -> None:
        """Delete it for good, as erasure does. Ids are never used again."""
        pk = images.key(entity, str(slot)).pk
        old = self.items.pop(pk, None)
        if old is None:
            return
        self.removed.add(pk)
        self.client.delete_item(TableName=CORE, Key={"pk": old["pk"], "sk": old["sk"]})
        self.records.append(images.record(len(self.records), None, old))

    def deliver(self, picks: list[int]) -> None:
        """One batch, of any records that ever were: the new, the old, and the same again."""
        numbers = [pick % len(self.records) for pick in picks if self.records]
        numbers = [number for number in numbers if number not in self.lost]
        try:
            failed = process([self.records[number] for number in numbers])
        except Crash:
            return
        self.delivered |= {n for n in numbers if f"{n:021d}" not in failed}

    def meanwhile(self, picks: list[int]) -> None:
        """Another worker delivers these between the next transaction's reads and its write."""
        self.faults.next("TransactWriteItems", Faults.meanwhile(lambda: self.deliver(picks)))

    def lose(self, pick: int) -> None:
        """A record that nobody will ever get."""
        number = pick % len(self.records) if self.records else -1
        if number >= 0 and number not in self.delivered:
            self.lost.add(number)

    def walk(self) -> None:
        try:
            walk(images.TENANT)
        except (Crash, Busy, table.ClientError, table.HTTPClientError, table.BotoConnectionError):
            event("a walk was broken off")

    def end(self, order: Any) -> None:
        """Everything comes that will; a walk finds what was lost; and everything comes once more.

        Of an item that is gone the walk knows only what was counted: a record that comes for the
        first time after the loss of a later one of the same item is no stream's.
        """
        self.faults.forget()
        self.all(order)
        if self.lost:
            # One that goes on where an earlier one stopped looks at nothing before that again.
            walk(images.TENANT, fresh=True)
            self.all(order)

    def all(self, order: Any) -> None:
        left = [n for n in range(len(self.records)) if n not in self.lost]
        order.shuffle(left)
        while left:
            size = order.randint(1, 4)
            self.deliver(left[:size])
            left = left[size:]

    def expected(self) -> Numbers:
        """The figures computed from the items as they are, by plain addition."""
        numbers: Numbers = Counter()
        pairs: Counter[Pair] = Counter()
        months: dict[str, list[str]] = defaultdict(list)
        for pk, item in self.items.items():
            found = contribution(pk, item)
            for key, vector in found.figures.items():
                numbers.update({(*key, name): value for name, value in vector.items()})
            pairs.update(found.pairs)
            if item.get("status") == {"S": "completed"}:
                months[item["patient_id"]["S"]].append(item["local_date"]["S"][:7])
        for patient, came in months.items():
            # Counted from the items alone, month by month from the first.
            year, month = divmod(int(min(came).replace("-", "")), 100)
            cohort = ("COHORT", images.PRACTICE_ID, f"M#{min(came)}")
            for one in set(came):
                later = (int(one[:4]) - year) * 12 + int(one[5:]) - month
                numbers[(*cohort, f"visited.{later}")] += 1
            for one in came:
                numbers["VISITS", patient, one] += 1
        for pair, n in pairs.items():
            numbers["PAIR", *pair] = n
            for key, name in pair.counted_in():
                numbers[(*key, name)] += 1
        return Counter({name: value for name, value in numbers.items() if value})

    def stored(self) -> Numbers:
        """The figures and pairs in the table, without zeros."""
        numbers: Numbers = Counter()
        for row in self.client.scan(TableName=AGGREGATES)["Items"]:
            _, _, kind, *rest = row["pk"]["S"].split("#")
            if kind == "PAIR" and row["n"]["N"] != "0":
                numbers["PAIR", *rest, row["sk"]["S"]] = int(row["n"]["N"])
            if kind == "VISITS":
                for month, value in row.items():
                    if month[0].isdigit() and value["N"] != "0":
                        numbers["VISITS", *rest, month] = int(value["N"])
            if kind == "FIGURES" and row["sk"]["S"] != WALK:
                for name, value in row.items():
                    if int(value.get("N", 0)) and name != "rev":
                        numbers[*rest, row["sk"]["S"], name] = int(value["N"])
        return numbers


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


DAYS = one_of("2025-12-31", "2026-10-31", "2026-11-01", "2026-11-20")
WHO = {"expert_id": one_of("exp_1", "exp_2"), "patient_id": one_of("pat_1", "pat_2")}
CURRENCY = one_of("EUR", "BRL")
CHANGES = {
    APPOINTMENT: {
        **WHO,
        # Often one that took place: only those are visits.
        "status": st.sampled_from([str(status) for status in (*Status, "completed", "completed")]),
        "payment_status": one_of("unpaid", "paid"),
        "local_date": DAYS,
        "local_hour": one_of(9, 14),
        "price": one_of(0, 5000, 7000),
        "currency": CURRENCY,
    },
    PAYMENT: {
        **WHO,
        "state": one_of("open", "processing", "succeeded"),
        "captured": one_of(0, 5000),
        "settled": st.booleans(),
        "provider": one_of("stripe", "manual"),
        "local_date": DAYS,
        "currency": CURRENCY,
    },
    REFUND: {**WHO, "state": one_of("requested", "succeeded"), "amount": one_of(1, 2000)},
    PATIENT: {"local_date": DAYS, "deleted_at": one_of(None, images.AT)},
}
SLOTS = st.integers(0, 1)
PICKS = st.lists(st.integers(0, 60), min_size=1, max_size=8)
FAULTS = st.tuples(
    st.just("fault"),
    st.sampled_from(
        [
            ("TransactWriteItems", Faults.conflict),
            ("TransactWriteItems", Faults.throttle),
            ("TransactWriteItems", Faults.throttled_call),
            ("TransactWriteItems", Faults.lost_call),
            ("TransactWriteItems", Faults.lost_answer),
            ("TransactWriteItems", Faults.crash_before),
            ("TransactWriteItems", Faults.crash_after),
            ("BatchGetItem", Faults.unprocessed),
            ("BatchGetItem", Faults.throttled_call),
            ("BatchGetItem", Faults.crash_after),
        ]
    ),
)
WRITES = st.sampled_from([APPOINTMENT, APPOINTMENT, APPOINTMENT, PAYMENT, REFUND, PATIENT]).flatmap(
    lambda entity: st.tuples(
        st.just("write"), st.just(entity), SLOTS, st.fixed_dictionaries(CHANGES[entity])
    )
)
REMOVALS = st.tuples(st.just("remove"), one_of(APPOINTMENT, PAYMENT), SLOTS)
DELIVERIES = st.tuples(st.just("deliver"), PICKS)
HISTORY = st.lists(
    st.one_of(
        WRITES,
        WRITES,
        DELIVERIES,
        DELIVERIES,
        FAULTS,
        REMOVALS,
        st.tuples(st.just("meanwhile"), PICKS),
        st.tuples(st.just("lose"), st.integers(0, 60)),
        st.tuples(st.just("walk")),
    ),
    min_size=6,
    max_size=24,
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tables: Any) -> Any:
    """The tables, without pauses between tries; transactions small enough to have several."""
    monkeypatch.setattr(engine, "ITEMS_MAX", 2)
    monkeypatch.setattr(table.time, "sleep", lambda _: None)
    monkeypatch.setattr(verification, "PAUSE_S", 0)
    return tables


@settings(
    max_examples=70,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    history=HISTORY,
    order=st.randoms(use_true_random=False),
    # Either everything is read again at once, or the same transaction is sent again first.
    contended_s=st.sampled_from([0.0, 1.0]),
)
def test_figures_converge_to_what_the_items_are(
    quick: Any, history: Any, order: Any, contended_s: float
) -> None:
    with Faults(quick) as faults, pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "CONTENDED_S", contended_s)
        world = World(quick, faults)
        for what, *arguments in history:
            if what == "fault":
                faults.next(*arguments[0])
            else:
                getattr(world, what)(*arguments)
        world.end(order)
        assert world.stored() == world.expected()
        assert verify(images.TENANT) == []
        event(f"faults that happened: {min(faults.happened, 5)}")
