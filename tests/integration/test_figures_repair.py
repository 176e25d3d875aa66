"""Damaged rows of figures are repaired from their contributions while records are applied.

Faults and other workers come between any two calls; what was damaged before a repair ended is right
after it, whatever happened meanwhile, and stays so.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from consulta.aggregates import catalog, engine, row_repair
from consulta.aggregates import verify as verification
from consulta.aggregates.row_repair import Repaired, repair
from consulta.aggregates.stream import process
from consulta.aggregates.verify import verify
from consulta.aggregates.walk_state import NewerGeneration
from consulta.core import table
from consulta.core.errors import Busy
from consulta.core.keys import Key
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.scheduling.records import APPOINTMENT
from consulta_cli import app
from tests.conftest import AGGREGATES, CORE
from tests.faults import Crash, Faults
from tests.integration.test_aggregates_property import FAULTS, PICKS, REMOVALS, WRITES, World
from tests.unit.aggregates.images import PRACTICE_ID, TENANT, image, key, record

TOTAL = TENANT.figures(PRACTICE, PRACTICE_ID, "TOTAL")
PAIR = TENANT.pair("EXPERT-PATIENT", "exp_1", "pat_1")
VISITS = TENANT.visits("pat_1")
COHORT = TENANT.figures("COHORT", PRACTICE_ID, "M#2026-11")
# What is damaged: any of these rows, whether it is there or not.
ROWS = (
    (TOTAL, "open"),
    (TOTAL, "unique_patients"),
    (TOTAL, "collected.EUR"),
    (TENANT.figures(PRACTICE, PRACTICE_ID, "D#2026-11-20"), "made"),
    (TENANT.figures(EXPERT, "exp_1", "M#2026-11"), "status.confirmed"),
    (TENANT.figures("PATIENTS", PRACTICE_ID, "M#2026-11#pat_1"), "status.completed"),
    (COHORT, "visited.0"),
    (PAIR, "n"),
    (VISITS, "2026-11"),
)


def damage(client: Any, where: Key, name: str, by: int) -> None:
    """Change a number behind everybody's back; a pair or visit only where its row is."""
    there = table.get_raw(where, table=AGGREGATES)
    if there is None and where in (PAIR, VISITS):
        return
    client.update_item(
        TableName=AGGREGATES,
        Key=table.raw_key(where),
        UpdateExpression="ADD #n :v",
        ExpressionAttributeNames={"#n": name},
        ExpressionAttributeValues={":v": {"N": str(by)}},
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ITEMS_MAX", 2)
    monkeypatch.setattr(table.time, "sleep", lambda _: None)
    monkeypatch.setattr(verification, "PAUSE_S", 0)


@pytest.fixture
def faults(tables: Any) -> Iterator[Faults]:
    with Faults(tables) as faults:
        yield faults


def booked(number: int, **changes: Any) -> Any:
    return image(APPOINTMENT, f"appt_{number}", **changes)


def deliver(*items: Any) -> None:
    assert process([record(number, item) for number, item in enumerate(items)]) == []


def put(client: Any, *items: Any) -> None:
    for item in items:
        client.put_item(TableName=CORE, Item=item)


def counted(client: Any, *items: Any) -> None:
    put(client, *items)
    deliver(*items)


def differences() -> list[str]:
    return [f"{d.kind} {d.figure}" for d in verify(TENANT)]


# --------------------------------------------------------------------------------------- directed


@pytest.mark.parametrize(("where", "name"), ROWS)
def test_every_kind_of_row_is_repaired(faults: Faults, where: Key, name: str) -> None:
    by = -3
    counted(faults.client, booked(1, status="completed"), booked(2), booked(3, expert_id="exp_2"))
    damage(faults.client, where, name, by)
    assert differences() != []
    tried = repair(TENANT, dry_run=True)
    assert [(d.figure, d.found - d.expected) for d in tried.found] == [(name, by)]
    assert (tried.rounds, differences() != []) == (1, True)
    repaired = repair(TENANT)
    assert [(d.figure, d.found - d.expected) for d in repaired.found] == [(name, by)]
    assert repaired.unsettled == []
    assert differences() == []


def test_where_all_is_right_nothing_is_written(faults: Faults) -> None:
    counted(faults.client, booked(1), booked(2))
    faults.calls.clear()
    assert repair(TENANT) == Repaired(rounds=1, rows=repair(TENANT).rows)
    assert "TransactWriteItems" not in faults.calls


def test_a_row_that_was_lost_and_one_of_nobody_are_repaired(faults: Faults) -> None:
    counted(faults.client, booked(1))
    faults.client.delete_item(TableName=AGGREGATES, Key=table.raw_key(TOTAL))
    damage(faults.client, TENANT.figures(EXPERT, "exp_1", "M#2019-01"), "open", 4)
    assert {d.row.split("#")[0] for d in repair(TENANT).found} == {PRACTICE, EXPERT}
    assert differences() == []


NOBODYS = (
    ("BOOK", "PAYEE:exp_2", "TOTAL", "balance.available.EUR"),
    ("BOOK", f"PAYEE:{PRACTICE_ID}", "TOTAL", "balance.due.EUR"),
    ("BOOK", "PLAT", "TOTAL", "balance.unsettled.EUR"),
    (EXPERT, "exp_2", "M#2026-11", "collected.EUR"),
    (EXPERT, "exp_2", "D#2026-11-20", "collected.EUR"),
    (PATIENT, "pat_2", "M#2026-11", "spent.EUR"),
)


@pytest.mark.parametrize("where", NOBODYS)
def test_a_row_without_contributions_of_whoever_is_listed_is_repaired(
    faults: Faults, where: tuple[str, str, str, str]
) -> None:
    counted(faults.client, booked(1), image(PATIENT, "pat_2"))
    listed = {"walkpk": {"S": TENANT.listing(EXPERT)}, "walksk": {"S": "exp_2"}}
    put(faults.client, {**table.raw_key(TENANT.item(EXPERT, "exp_2")), **listed})
    assert differences() == []
    *row, figure = where
    damage(faults.client, TENANT.figures(*row), figure, 777)
    assert f"figure {figure}" in differences()
    assert [(d.row, d.found) for d in repair(TENANT).found] == [("#".join(row), 777)]
    assert differences() == []


def test_a_change_between_reading_and_writing_is_not_undone(faults: Faults) -> None:
    counted(faults.client, booked(1))
    damage(faults.client, TOTAL, "open", 5)
    put(faults.client, booked(2))
    # The record comes when the sums are read and the row is about to be written.
    faults.next("TransactWriteItems", Faults.meanwhile(lambda: deliver(booked(2))))
    repaired = repair(TENANT)
    assert repaired.unsettled == []
    # Refused once, and then right at once: the booking was never taken out of the count.
    assert [(d.figure, d.expected, d.found) for d in repaired.found] == [("open", 2, 7)]
    assert differences() == []


def test_a_change_between_two_readings_is_not_taken_for_damage(faults: Faults) -> None:
    counted(faults.client, booked(1))
    put(faults.client, booked(2))
    calls = 0
    real = row_repair.sums_of

    def sums_of(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        found = real(*arguments, **options)
        if calls == 2:
            deliver(booked(2))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_repair, "sums_of", sums_of)
        repaired = repair(TENANT)
    assert (repaired.found, repaired.unsettled) == ([], [])
    assert differences() == []


def test_a_pair_that_was_wrong_while_it_was_left_leaves_its_count_right(faults: Faults) -> None:
    counted(faults.client, booked(1))
    damage(faults.client, PAIR, "n", -1)
    gone = booked(1, version=2, status="cancelled")
    put(faults.client, gone)
    # With the pair at 0 the engine takes this leaving for none: the count stays one too high.
    faults.next("TransactWriteItems", Faults.meanwhile(lambda: deliver(gone)))
    assert repair(TENANT).unsettled == []
    assert differences() == []


def test_a_row_that_never_rests_is_left_and_named(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted(faults.client, booked(1))
    damage(faults.client, TOTAL, "open", 5)
    real, versions = row_repair.sums_of, iter(range(2, 100))

    def busy(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        counted(faults.client, booked(1, version=next(versions), price=next(versions)))
        return found

    monkeypatch.setattr(row_repair, "sums_of", busy)
    repaired = repair(TENANT)
    assert repaired.rounds == row_repair.ROUNDS
    assert f"{PRACTICE}#{PRACTICE_ID}#TOTAL" in repaired.unsettled
    monkeypatch.setattr(row_repair, "sums_of", real)
    # Nothing that was right was made wrong, and the rest waits for a quieter time.
    assert {d.row for d in verify(TENANT) if d.kind == "figure"} == {
        f"{PRACTICE}#{PRACTICE_ID}#TOTAL"
    }
    assert repair(TENANT).unsettled == []
    assert differences() == []


def test_two_repairs_at_once_repair_once(faults: Faults) -> None:
    counted(faults.client, booked(1))
    damage(faults.client, TOTAL, "open", 5)
    faults.next("TransactWriteItems", Faults.meanwhile(lambda: repair(TENANT)))
    assert repair(TENANT).unsettled == []
    assert differences() == []


def test_what_newer_code_has_counted_is_left_to_it(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted(faults.client, booked(1))
    damage(faults.client, TOTAL, "open", 5)
    before = table.get_raw(TOTAL, table=AGGREGATES)
    monkeypatch.setattr(catalog, "GENERATION", catalog.GENERATION - 1)
    with pytest.raises(NewerGeneration):
        repair(TENANT)
    assert table.get_raw(TOTAL, table=AGGREGATES) == before


# --------------------------------------------------------------------------------------- property


class Damaged(World):
    """A world in which rows are damaged and repaired while records come."""

    def __init__(self, client: Any, faults: Faults) -> None:
        super().__init__(client, faults)
        # Whether anything was damaged since the last repair that came to its end.
        self.damaged = False
        # Whose rows there are is known by the lists: of nobody's no repair and no proof would know.
        for expert in ("exp_1", "exp_2"):
            listed = {"walkpk": {"S": TENANT.listing(EXPERT)}, "walksk": {"S": expert}}
            put(client, {**table.raw_key(TENANT.item(EXPERT, expert)), **listed})
        for patient in ("pat_1", "pat_2"):
            self.items[key(PATIENT, patient).pk] = new = image(PATIENT, patient)
            put(client, new)
            self.records.append(record(len(self.records), new))

    def damage(self, row: int, by: int) -> None:
        where, name = ROWS[row]
        if table.get_raw(where, table=AGGREGATES):
            damage(self.client, where, name, by)
            self.damaged = True

    def repair(self, between: list[tuple[int, list[int]]]) -> None:
        """While it reads and writes, other workers deliver: at these calls, these records."""
        for number, picks in between:
            pauses = [Faults.meanwhile(lambda: None)] * number
            act = Faults.meanwhile(lambda picks=picks: self.deliver(picks))
            self.faults.next("Query", *pauses, act)
        try:
            repaired = repair(TENANT)
        except (Crash, Busy, table.ClientError, table.HTTPClientError, table.BotoConnectionError):
            event("a repair was broken off")
            return
        if not repaired.unsettled:
            event(f"repaired in {min(repaired.rounds, 6)} rounds")
            self.damaged = False


DAMAGE = st.tuples(
    st.just("damage"), st.integers(0, len(ROWS) - 1), st.sampled_from([-2, -1, 1, 2])
)
BETWEEN = st.lists(st.tuples(st.integers(0, 40), PICKS), max_size=2)
REPAIRS = st.tuples(st.just("repair"), BETWEEN)
EVENTS = st.one_of(
    WRITES,
    WRITES,
    st.tuples(st.just("deliver"), PICKS),
    FAULTS,
    REMOVALS,
    DAMAGE,
    REPAIRS,
    st.tuples(st.just("meanwhile"), PICKS),
    st.tuples(st.just("lose"), st.integers(0, 60)),
    st.tuples(st.just("walk")),
)
# Something is there, some of it not delivered yet, when the first damage is repaired.
HISTORY = st.tuples(
    st.lists(WRITES, min_size=3, max_size=6),
    st.tuples(st.just("deliver"), PICKS).map(lambda one: [one]),
    st.lists(DAMAGE, min_size=1, max_size=3),
    REPAIRS.map(lambda one: [one]),
    st.lists(EVENTS, max_size=8),
).map(lambda parts: [one for part in parts for one in part])


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=HISTORY, order=st.randoms(use_true_random=False))
def test_what_was_damaged_is_right_after_a_repair(tables: Any, history: Any, order: Any) -> None:
    with Faults(tables) as faults:
        world = Damaged(tables, faults)
        for what, *arguments in history:
            if what == "fault":
                faults.next(*arguments[0])
            else:
                getattr(world, what)(*arguments)
        world.end(order)
        if world.damaged:
            assert repair(TENANT).unsettled == []
        assert world.stored() == world.expected()
        assert verify(TENANT) == []


# ---------------------------------------------------------------------------------------- command


def command(*arguments: str) -> Any:
    names = ("--core-table", CORE, "--aggregates-table", AGGREGATES)
    return CliRunner().invoke(app, [*arguments, *names])


def test_the_command_repairs_what_it_is_told_to(faults: Faults) -> None:
    counted(faults.client, booked(1))
    directory = {**table.raw_key(TENANT.item(PRACTICE, PRACTICE_ID))}
    put(faults.client, directory | {"l1pk": {"S": "PRACTICES"}, "l1sk": {"S": PRACTICE_ID}})
    damage(faults.client, TOTAL, "open", 5)
    # It writes, so nobody's figures are meant by saying nothing.
    assert command("repair-figures").exit_code == 2
    assert command("repair-figures", "--all", "--practice", PRACTICE_ID).exit_code == 2
    tried = command("repair-figures", "--all", "--dry-run")
    assert (tried.exit_code, "1 numbers to be repaired" in tried.output) == (1, True)
    assert command("verify").exit_code == 1
    done = command("repair-figures", "--practice", PRACTICE_ID)
    assert (done.exit_code, "1 numbers repaired" in done.output) == (0, True)
    assert command("verify").exit_code == 0
    # The first generation needs no walk, this one does; then there is nothing left to do.
    assert " 0 rows" not in command("backfill", "--all").output
    assert " 0 rows" in command("backfill", "--all").output
    assert command("rebuild", "--practice", PRACTICE_ID, "--fresh").exit_code == 0
    # With a row that does not say what it has contributed, no sums are known.
    pk = key(APPOINTMENT, "appt_1").pk
    damaged = table.update(TENANT.contribution(pk), set_={"vec": "garbage"}, table=AGGREGATES)
    table.transact([damaged])
    damage(faults.client, TOTAL, "open", 5)
    refused = command("repair-figures", "--all")
    assert (refused.exit_code, "0 numbers repaired" in refused.output) == (1, True)
    assert command("rebuild", "--all").exit_code == 1
