"""The walk in segments: it goes on after a crash at any page, beside others and other code."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import botocore.client
import pytest

from consulta.aggregates import (
    catalog,
    contributions,
    figures,
    row_repair,
    verify,
    walk,
    walk_state,
)
from consulta.aggregates.contributions import ENTITIES
from consulta.aggregates.repair import repair
from consulta.aggregates.rows import Damaged, Remembered
from consulta.aggregates.stream import process
from consulta.aggregates.walk_state import NewerGeneration
from consulta.core import aws, table
from consulta.core.table import Raw
from consulta.money.disputes.records import DISPUTE
from consulta.money.records import PAYMENT
from consulta.people.records import PATIENT, PRACTICE
from consulta.scheduling.records import APPOINTMENT
from tests.conftest import AGGREGATES, CORE
from tests.faults import Crash, Faults
from tests.unit.aggregates.images import PRACTICE_ID, TENANT, image, key, record

MINE = catalog.GENERATION
STATE = (PRACTICE, PRACTICE_ID, figures.WALK)
TOTAL = (PRACTICE, PRACTICE_ID, "TOTAL")
Contribute = Callable[[Any], contributions.Contribution]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table.time, "sleep", lambda _: None)
    monkeypatch.setattr(verify, "PAUSE_S", 0)
    monkeypatch.setattr(walk, "PAGE", 2)


@pytest.fixture
def faults(tables: Any) -> Iterator[Faults]:
    with Faults(tables) as faults:
        yield faults


@pytest.fixture
def one_call_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto undoes a refused transaction by putting back whole tables, others' writes included."""
    lock, real = threading.Lock(), botocore.client.BaseClient._make_api_call

    def alone(*arguments: Any) -> Any:
        with lock:
            return real(*arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", alone)


def items(appointments: int = 5, payments: int = 3) -> list[Raw]:
    found = [image(APPOINTMENT, f"appt_{n}", patient_id=f"pat_{n}") for n in range(appointments)]
    return found + [image(PAYMENT, f"pay_{n}") for n in range(payments)]


def put(client: Any, *found: Raw) -> None:
    for item in found:
        client.put_item(TableName=CORE, Item=item)


def read(where: tuple[str, str, str]) -> figures.Figures:
    return figures.read(TENANT, [where], consistent=True)[where]


def totals() -> tuple[int, int, int]:
    row = read(TOTAL)
    return row["open"], row["unique_patients"], row["payments"]


def test_a_walk_that_dies_at_every_write_comes_to_its_end(faults: Faults) -> None:
    put(faults.client, *items())
    looked_at, ended = [0], False
    for number in range(60):
        fault = (Faults.crash_before, Faults.crash_after)[number % 2]
        # Two writes go through and the third dies: a page, and its place.
        faults.next("TransactWriteItems", *[Faults.meanwhile(lambda: None)] * 2, fault)
        try:
            walk.walk(TENANT, lambda walked: looked_at.append(walked.looked_at))
        except Crash:
            continue
        ended = True
        break
    assert ended
    assert totals() == (5, 5, 3)
    assert read(STATE)["done"] == MINE
    assert verify.verify(TENANT) == []


def test_each_segment_goes_on_from_its_own_place(faults: Faults) -> None:
    put(faults.client, *items())
    # Three pages of appointments, the first two with their places, and the first of payments.
    faults.next("TransactWriteItems", *[Faults.meanwhile(lambda: None)] * 8, Faults.crash_before)
    with pytest.raises(Crash):
        walk.walk(TENANT)
    kept = {raw["sk"]["S"]: raw for raw in table.Query(TENANT.walk("x").pk, table=AGGREGATES).all()}
    assert kept[APPOINTMENT]["cursor"]["S"] == ""
    assert PAYMENT in kept
    pages: list[str] = []
    real = walk._Run._items_page
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            walk._Run,
            "_items_page",
            lambda run, part: (pages.append(part.name), real(run, part))[1],
        )
        walked = walk.walk(TENANT)
    assert APPOINTMENT not in pages
    assert pages.count(PAYMENT) == 1
    # What is looked at here is less than all.
    assert walked.here < walked.looked_at
    assert totals() == (5, 5, 3)


def test_two_walks_at_once_share_the_work_and_end_as_one(faults: Faults) -> None:
    put(faults.client, *items())
    others: list[walk.Walked] = []
    faults.next(
        "TransactWriteItems",
        *[Faults.meanwhile(lambda: None)] * 3,
        Faults.meanwhile(lambda: others.append(walk.walk(TENANT))),
    )
    walk.walk(TENANT)
    assert len(others) == 1
    assert totals() == (5, 5, 3)
    assert read(STATE)["done"] == MINE
    assert read(STATE)["run"] == 0
    assert verify.verify(TENANT) == []
    # Both have ended: the next one begins anew.
    assert walk.walk(TENANT).here >= 8


def test_of_two_walks_that_begin_at_once_the_second_joins(faults: Faults) -> None:
    put(faults.client, *items())
    # The other begins, and stops after its first place, between our page and our first place.
    faults.next("TransactWriteItems", Faults.meanwhile(lambda: None))

    def begin() -> None:
        faults.next("TransactWriteItems", Faults.meanwhile(lambda: None), Faults.crash_before)
        with pytest.raises(Crash):
            walk.walk(TENANT)

    faults.next("TransactWriteItems", Faults.meanwhile(begin))
    walk.walk(TENANT)
    assert totals() == (5, 5, 3)
    assert (read(STATE)["done"], read(STATE)["runs"]) == (MINE, 1)


def test_a_fresh_walk_overtakes_the_one_that_is_under_way(faults: Faults) -> None:
    put(faults.client, *items())
    faults.next(
        "TransactWriteItems",
        *[Faults.meanwhile(lambda: None)] * 3,
        Faults.meanwhile(lambda: walk.walk(TENANT, fresh=True)),
    )
    with pytest.raises(walk.Overtaken):
        walk.walk(TENANT)
    assert read(STATE)["done"] == MINE
    assert verify.verify(TENANT) == []


@contextmanager
def code_of(generation: int, payment: Contribute) -> Iterator[None]:
    """What is called here is of this deployment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "GENERATION", generation)
        patch.setitem(ENTITIES, PAYMENT, payment)
        yield


def newer_walk() -> None:
    """Code of a deployment meanwhile, from a walk's start to its end."""
    with code_of(MINE + 1, contributions._payment):
        walk.walk(TENANT)


def test_older_code_neither_walks_nor_marks_what_newer_code_has_walked(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(faults.client, *items())
    # In the middle of the older walk the newer one goes from its start to its end.
    faults.next(
        "TransactWriteItems", *[Faults.meanwhile(lambda: None)] * 3, Faults.meanwhile(newer_walk)
    )
    with pytest.raises((walk.Overtaken, NewerGeneration)):
        walk.walk(TENANT)
    assert read(STATE)["done"] == MINE + 1
    with pytest.raises(NewerGeneration):
        walk.walk(TENANT)
    assert read(STATE)["done"] == MINE + 1


@pytest.mark.parametrize("complete", [False, True])
def test_an_older_walk_at_its_end_leaves_the_newer_mark(faults: Faults, *, complete: bool) -> None:
    """Its items are all gone by then: no row of newer code is met on the way."""
    if complete:
        walk_state.begin(TENANT)
    else:
        # It says that it looks at the rows for the last time, and then that it is done.
        faults.next("TransactWriteItems", Faults.meanwhile(lambda: None))
    faults.next("TransactWriteItems", Faults.meanwhile(newer_walk))
    walk.walk(TENANT)
    assert read(STATE)["done"] == MINE + 1


def test_an_older_walk_that_meets_a_newer_mark_gives_way(faults: Faults) -> None:
    faults.next("TransactWriteItems", Faults.meanwhile(newer_walk))
    with pytest.raises(NewerGeneration):
        walk.walk(TENANT)
    assert read(STATE)["done"] == MINE + 1


def test_a_backfill_walks_what_has_changed_since(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(faults.client, *items(), image(DISPUTE, "dp_1"), image(PATIENT, "pat_1"))
    walk.walk(TENANT)
    assert walk.backfill(TENANT).looked_at == 0
    monkeypatch.setattr(catalog, "GENERATION", MINE + 1)
    monkeypatch.setattr(walk, "LAST_CHANGED", dict.fromkeys(ENTITIES, MINE) | {PAYMENT: MINE + 1})
    assert not figures.is_complete(read(STATE))
    seen: set[str] = set()
    real = walk._Run._items_page
    monkeypatch.setattr(
        walk._Run, "_items_page", lambda run, part: (seen.add(part.name), real(run, part))[1]
    )
    walk.backfill(TENANT)
    assert seen == {PAYMENT}
    assert figures.is_complete(read(STATE))
    assert verify.verify(TENANT) == []
    # An entity that nobody has thought of counts as changed.
    monkeypatch.setattr(catalog, "GENERATION", MINE + 2)
    walk.backfill(TENANT)
    assert seen == {*ENTITIES}


def test_the_entities_generations_are_those_of_the_figures() -> None:
    assert walk.LAST_CHANGED.keys() < ENTITIES.keys()
    assert max(walk.LAST_CHANGED.values()) < MINE


def test_what_older_code_counts_behind_the_walk_is_counted_again(faults: Faults) -> None:
    late = image(APPOINTMENT, "appt_0000")
    put(faults.client, *items())

    def old_code() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(catalog, "GENERATION", MINE - 1)
            put(faults.client, late)
            process([record(1, late)])

    # Its place in the list is inside the page that has just been read, before any is kept.
    faults.next("TransactWriteItems", Faults.meanwhile(old_code))
    walk.walk(TENANT)
    row = table.get_raw(TENANT.contribution(late["pk"]["S"]), table=AGGREGATES)
    assert Remembered.read(row).gen == MINE
    assert read(TOTAL)["open"] == 6
    assert verify.verify(TENANT) == []


@pytest.fixture
def repair_queue(environment: pytest.MonkeyPatch, tables: Any) -> str:
    url = str(aws.client("sqs").create_queue(QueueName="repair")["QueueUrl"])
    environment.setenv("REPAIR_QUEUE_URL", url)
    return url


def messages(queue: str) -> list[Any]:
    found = aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [{"messageId": m["MessageId"], "body": m["Body"]} for m in found.get("Messages", ())]


def by_older_code(*changed: Raw) -> None:
    """Code of before the deployment processes these items' records."""
    with code_of(MINE - 1, without_new_figures):
        assert process([record(n, item) for n, item in enumerate(changed)]) == []


def present_code() -> AbstractContextManager[None]:
    """What older code meets meanwhile."""
    return code_of(MINE, contributions._payment)


def mark_done(generation: int) -> None:
    where = TENANT.figures(*STATE)
    table.transact([table.update(where, set_={"done": generation}, table=AGGREGATES)])


@pytest.mark.parametrize("done", [0, MINE - 1])
@pytest.mark.parametrize("payments", [0, 3])
def test_a_walk_from_start_to_end_while_older_code_is_at_a_new_item(
    faults: Faults, repair_queue: str, payments: int, done: int
) -> None:
    """Older code has read that nobody walks, and writes when all is called complete."""
    late = image(PAYMENT, "pay_late")
    put(faults.client, *items(0, payments))
    if done:
        mark_done(done)

    def whole_walk() -> None:
        with present_code():
            walk.backfill(TENANT)
        # What the walk reads lags: the item is not in it yet.
        put(faults.client, late)

    faults.next("TransactWriteItems", Faults.meanwhile(whole_walk))
    by_older_code(late)
    assert figures.is_complete(read(STATE))
    assert read(TOTAL)["payments"] == payments
    assert repair(messages(repair_queue)) == []
    assert read(TOTAL)["payments.EUR"] == read(TOTAL)["payments"] == payments + 1
    assert verify.verify(TENANT) == []


@pytest.mark.parametrize("done", [0, MINE - 1])
def test_older_code_counts_no_new_item_between_the_last_page_and_the_end(
    faults: Faults, repair_queue: str, done: int
) -> None:
    late = image(PAYMENT, "pay_late")
    if done:
        mark_done(done)
    real = walk._Run._finish

    def older_code_first(run: walk._Run) -> None:
        put(faults.client, late)
        by_older_code(late)
        real(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk._Run, "_finish", older_code_first)
        walk.backfill(TENANT)
    assert figures.is_complete(read(STATE))
    assert repair(messages(repair_queue)) == []
    assert read(TOTAL)["payments.EUR"] == read(TOTAL)["payments"] == 1
    assert verify.verify(TENANT) == []


def test_a_new_practice_that_older_code_counts_first_is_complete_after_a_walk(
    faults: Faults,
) -> None:
    early = image(PAYMENT, "pay_early")
    put(faults.client, early)
    by_older_code(early)
    walk_state.begin(TENANT)
    assert not figures.is_complete(read(STATE))
    walk.backfill(TENANT)
    assert figures.is_complete(read(STATE))
    assert read(TOTAL)["payments.EUR"] == 1


def test_a_new_practice_that_newer_code_counts_first_is_none_of_older_codes(
    faults: Faults, repair_queue: str
) -> None:
    first, late = image(PAYMENT, "pay_first"), image(PAYMENT, "pay_late")
    put(faults.client, first, late)

    def newer_code_first() -> None:
        with present_code():
            assert process([record(1, first)]) == []

    # Older code has read that nobody has counted anything.
    faults.next("TransactWriteItems", Faults.meanwhile(newer_code_first))
    by_older_code(late)
    walk_state.begin(TENANT)
    assert figures.is_complete(read(STATE))
    assert repair(messages(repair_queue)) == []
    assert read(TOTAL)["payments.EUR"] == read(TOTAL)["payments"] == 2
    assert verify.verify(TENANT) == []


def without_new_figures(item: Any) -> contributions.Contribution:
    """What code of before the deployment counts of a payment."""
    found = contributions._payment(item)
    figures = {
        row: {name: n for name, n in vector.items() if not name.startswith("payments.")}
        for row, vector in found.figures.items()
    }
    return contributions.Contribution(figures)


def test_what_older_code_meets_after_a_walk_waits_for_newer_code(
    faults: Faults, repair_queue: str
) -> None:
    put(faults.client, *items(0, 1))
    walk.backfill(TENANT)
    late = image(PAYMENT, "pay_late")
    put(faults.client, late)
    by_older_code(late)
    # Nothing was counted by halves: the figures are called complete, and are that once it is there.
    assert figures.is_complete(read(STATE))
    assert read(TOTAL)["payments"] == 1
    assert repair(messages(repair_queue)) == []
    assert (read(TOTAL)["payments"], read(TOTAL)["payments.EUR"]) == (2, 2)
    assert verify.verify(TENANT) == []


def test_two_walks_at_once_count_a_mended_meaning_once(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(faults.client, *items(0, 3))
    walk.walk(TENANT)
    old = ENTITIES[PAYMENT]

    def mended(item: Any) -> contributions.Contribution:
        found = old(item)
        figures = {row: vector | {"fresh": 1} for row, vector in found.figures.items()}
        return contributions.Contribution(figures, found.pairs)

    monkeypatch.setitem(ENTITIES, PAYMENT, mended)
    faults.next("TransactWriteItems", Faults.meanwhile(lambda: walk.walk(TENANT)))
    walk.walk(TENANT, fresh=True)
    assert read(TOTAL)["fresh"] == 3


def test_a_walk_that_goes_on_remembers_what_could_not_be_counted(faults: Faults) -> None:
    bad = image(APPOINTMENT, "appt_9") | {"price": {"S": "a lot"}}
    put(faults.client, *items(5, 0), bad)

    def die(_: Any) -> None:
        raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk._Run, "_finish", die)
        with pytest.raises(Crash):
            walk.walk(TENANT)
    assert walk.walk(TENANT).unreadable == 1
    assert read(STATE)["done"] == 0
    # Nor does it, once it is mended.
    put(faults.client, image(APPOINTMENT, "appt_9", version=2))
    assert walk.walk(TENANT).unreadable == 0
    assert (read(STATE)["done"], read(STATE)["stuck"]) == (MINE, 0)


@pytest.mark.parametrize("price", [5000, 9000])
def test_a_restored_item_is_counted_as_it_is(faults: Faults, price: int) -> None:
    newest = image(APPOINTMENT, "appt_1", version=5, price=9000)
    gone = image(APPOINTMENT, "appt_2", version=2)
    put(faults.client, newest)
    process([record(1, newest), record(2, None, gone)])
    # The core table is put back: to an older version, and to before an item went.
    back = image(APPOINTMENT, "appt_1", version=3, price=price)
    put(faults.client, back, image(APPOINTMENT, "appt_2", version=2, price=1))
    walk.walk(TENANT)
    assert verify.verify(TENANT) == []
    assert read(TOTAL)["value.EUR"] == price + 1
    # What happens from there on counts.
    process([record(3, image(APPOINTMENT, "appt_1", version=4, status="cancelled"))])
    assert (read(TOTAL)["open"], read(TOTAL)["status.cancelled"]) == (1, 1)


def test_an_item_that_changes_while_its_row_is_ahead_is_not_put_back(faults: Faults) -> None:
    """The restore is over, and its next change comes between the walk's reading and its write."""
    process([record(1, image(APPOINTMENT, "appt_1", version=5, price=9000))])
    put(faults.client, image(APPOINTMENT, "appt_1", version=3))
    later = image(APPOINTMENT, "appt_1", version=6, price=7000)

    def change() -> None:
        put(faults.client, later)
        process([record(2, later)])

    faults.next("TransactWriteItems", Faults.meanwhile(change))
    walk.walk(TENANT)
    assert read(TOTAL)["value.EUR"] == 7000
    assert verify.verify(TENANT) == []


def test_a_row_that_cannot_be_read_leaves_the_walk_incomplete(faults: Faults) -> None:
    put(faults.client, *items())
    walk.walk(TENANT)
    row = TENANT.contribution(key(APPOINTMENT, "appt_1").pk)
    table.transact([table.update(row, set_={"vec": "garbage"}, table=AGGREGATES)])
    late = image(APPOINTMENT, "appt_8", patient_id="pat_8")
    put(faults.client, late)
    assert walk.walk(TENANT).unreadable == 1
    assert totals() == (6, 6, 3)
    assert [(d.kind, d.row) for d in verify.verify(TENANT)] == [
        ("damaged", key(APPOINTMENT, "appt_1").pk)
    ]
    with pytest.raises(Damaged):
        row_repair.repair(TENANT)
    # As docs/figures.md says: without the row it is counted anew, and the rows are set right.
    faults.client.delete_item(TableName=AGGREGATES, Key=table.raw_key(row))
    assert walk.walk(TENANT).unreadable == 0
    assert row_repair.repair(TENANT).unsettled == []
    assert totals() == (6, 6, 3)
    assert verify.verify(TENANT) == []


def test_segments_side_by_side_count_the_same(one_call_at_a_time: None, faults: Faults) -> None:
    found = items(12, 6)
    put(faults.client, *found)
    gone = image(APPOINTMENT, "appt_gone")
    process([record(1, gone)])
    last: list[walk.Walked] = []
    walked = walk.walk(TENANT, last.append, workers=4)
    assert walked.ended == walked.segments
    assert totals() == (12, 12, 6)
    assert verify.verify(TENANT, workers=4) == []
    table.transact([table.update(TENANT.figures(*TOTAL), add={"open": 1}, table=AGGREGATES)])
    assert {d.figure for d in verify.verify(TENANT, workers=4)} == {"open"}


def test_one_segments_failure_ends_the_others_and_the_next_walk_goes_on(
    one_call_at_a_time: None, faults: Faults
) -> None:
    put(faults.client, *items(12, 6))
    faults.next("TransactWriteItems", *[Faults.meanwhile(lambda: None)] * 4, Faults.crash_before)
    with pytest.raises(Crash):
        walk.walk(TENANT, workers=4)
    assert read(STATE)["done"] == 0
    walk.walk(TENANT, workers=4)
    assert totals() == (12, 12, 6)
    assert verify.verify(TENANT) == []


def test_a_watch_that_raises_breaks_the_walk_off_there(tables: Any) -> None:
    put(tables, *items())

    class Enough(Exception):
        pass

    def stop(_: walk.Walked) -> None:
        raise Enough

    # Each call comes one page further, so that they end.
    for _ in range(40):
        try:
            walk.walk(TENANT, stop)
        except Enough:
            continue
        break
    else:
        pytest.fail("the walk does not get on")


def test_the_share_is_of_what_the_walk_before_has_looked_at(tables: Any) -> None:
    put(tables, *items(9, 0))
    first: list[float | None] = []
    walk.walk(TENANT, lambda walked: first.append(walked.share))
    assert set(first) == {None}
    shares: list[float] = []
    walk.walk(TENANT, lambda walked: shares.append(walked.share or 0))
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1


def test_keys_of_a_walk_are_the_practices_own() -> None:
    assert TENANT.walk(APPOINTMENT).pk == f"{TENANT.prefix}WALK"
    assert key(APPOINTMENT, "1").pk.startswith(TENANT.prefix)
