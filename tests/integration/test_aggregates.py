"""The figures' engine, workers, walk, proof and command, on tables built from template.yaml."""

import importlib.util
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from consulta.aggregates import catalog, contributions, engine, figures, row_repair, verify, walk
from consulta.aggregates.repair import repair
from consulta.aggregates.stream import process
from consulta.core import aws, table
from consulta.core.errors import Busy
from consulta.core.keys import Key, Tenant
from consulta.core.table import Raw
from consulta.money.records import PAYMENT
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.scheduling.records import APPOINTMENT
from consulta_cli import app, stack
from tests.conftest import AGGREGATES, CORE
from tests.faults import Crash, Faults
from tests.template import ROOT
from tests.unit.aggregates.images import PRACTICE_ID, TENANT, image, key, record

TOTAL = (PRACTICE, PRACTICE_ID, "TOTAL")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table.time, "sleep", lambda _: None)
    monkeypatch.setattr(verify, "PAUSE_S", 0)


@pytest.fixture
def faults(tables: Any) -> Iterator[Faults]:
    with Faults(tables) as faults:
        yield faults


@pytest.fixture
def queue(tables: Any, environment: pytest.MonkeyPatch) -> str:
    url = str(aws.client("sqs").create_queue(QueueName="repair")["QueueUrl"])
    environment.setenv("REPAIR_QUEUE_URL", url)
    return url


def parked(queue: str) -> list[str]:
    answer = aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return sorted(json.loads(message["Body"])["pk"] for message in answer.get("Messages", ()))


def put(tables: Any, *items: Raw) -> None:
    for item in items:
        tables.put_item(TableName=CORE, Item=item)


def records(*items: Raw) -> list[dict[str, Any]]:
    return [record(number, item) for number, item in enumerate(items)]


def read(*wanted: tuple[str, str, str]) -> list[figures.Figures]:
    found = figures.read(TENANT, wanted or [TOTAL], consistent=True)
    return [found[one] for one in wanted or [TOTAL]]


def total() -> figures.Figures:
    return read()[0]


def of_practice(number: int, **changes: Any) -> Raw:
    return image(APPOINTMENT, f"appt_{number}", **changes)


# ------------------------------------------------------------------------------------- the engine


def test_a_hundred_records_take_few_round_trips(faults: Faults) -> None:
    items = [of_practice(n, expert_id=f"exp_{n % 3}") for n in range(100)]
    assert process(records(*items)) == []
    assert total()["value.EUR"] == 500_000
    # Contribution rows and pairs in one call each, the walk's row, which is the hundred-and-first
    # key, in one of its own (and one by total()), ten items a transaction.
    assert dict(faults.calls) == {"BatchGetItem": 4, "TransactWriteItems": 10}


def test_one_booking_writes_few_rows(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = table.transact

    def measured(actions: Any, **options: Any) -> None:
        sizes.append(len(actions))
        real(actions, **options)

    monkeypatch.setattr(table, "transact", measured)
    for version, status in enumerate(("held", "confirmed", "completed"), start=1):
        assert process(records(of_practice(1, status=status, version=version))) == []
    # Each row is under 1 KB and so two write units inside a transaction. Thirteen rows of figures,
    # the contribution row and, for a new item, the walk's; with the booking two pairs (made on
    # another day than it is on, three to six rows more); and when it has taken place four beside
    # the other experts' and patients', the patient's visits and their cohort.
    assert sizes == [15, 16, 20]


def test_large_work_is_cut_to_what_a_transaction_takes(faults: Faults) -> None:
    items = [
        of_practice(n, expert_id=f"e{n}", patient_id=f"p{n}", service_id=f"s{n}") for n in range(20)
    ]
    assert process(records(*items)) == []
    # Items that share nothing but the practice: 3 + 10 rows each, so fewer than ten fit.
    assert faults.calls["TransactWriteItems"] > 2
    assert (total()["unique_patients"], total()["open"]) == (20, 20)


@pytest.mark.parametrize(
    "fault",
    [
        Faults.conflict,
        Faults.throttle,
        Faults.throttled_call,
        Faults.lost_call,
        Faults.lost_answer,
    ],
)
@pytest.mark.parametrize("contended_s", [0, 1])
def test_after_a_conflict_or_a_lost_answer_the_work_is_done_once(
    faults: Faults, fault: Any, contended_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CONTENDED_S", contended_s)
    faults.next("TransactWriteItems", fault)
    assert process(records(*[of_practice(n) for n in range(8)])) == []
    assert total()["value.EUR"] == 40_000
    assert total()["unique_patients"] == 1


def test_an_image_without_new_figures_still_beats_an_older_one(tables: Any) -> None:
    back_again = of_practice(1, version=3)
    late = of_practice(1, version=2, status="cancelled")
    for item in (of_practice(1), back_again, late):
        assert process(records(item)) == []
    assert (total()["open"], total()["status.cancelled"]) == (1, 0)


def test_a_conflict_is_tried_again_as_it_is(faults: Faults) -> None:
    faults.next("TransactWriteItems", Faults.conflict)
    assert process(records(*[of_practice(n) for n in range(10)])) == []
    # Nothing is read again: contribution rows and pairs were, once.
    assert dict(faults.calls) == {"BatchGetItem": 2, "TransactWriteItems": 2}
    assert total()["open"] == 10


def test_conflicts_that_last_halve_the_transactions(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CONTENDED_S", 0)
    faults.next("TransactWriteItems", Faults.conflict)
    assert process(records(*[of_practice(n) for n in range(10)])) == []
    # One refused with ten items, then two with five.
    assert faults.calls["TransactWriteItems"] == 3


def test_two_first_items_of_one_pair_at_once_count_one_patient(faults: Faults) -> None:
    mine, theirs = records(of_practice(1)), [record(1, of_practice(2))]
    faults.next("TransactWriteItems", Faults.meanwhile(lambda: process(theirs)))
    assert process(mine) == []
    assert (total()["unique_patients"], total()["open"]) == (1, 2)
    pair = table.get_raw(TENANT.pair("EXPERT-PATIENT", "exp_1", "pat_1"), table=AGGREGATES)
    assert pair is not None
    assert pair["n"]["N"] == "2"


def test_one_image_that_two_count_anew_is_counted_once(faults: Faults) -> None:
    # Of one version, as after a mended meaning: neither its ord nor its generation has risen.
    assert process(records(of_practice(1))) == []
    anew = of_practice(1, price=7000)
    faults.next("TransactWriteItems", Faults.meanwhile(lambda: process(records(anew))))
    assert process(records(anew)) == []
    assert total()["value.EUR"] == 7000


def test_a_distinct_count_goes_down_with_the_last_item_of_a_pair(tables: Any) -> None:
    process(records(of_practice(1), of_practice(2)))
    process([record(3, of_practice(1, version=2, status="cancelled"))])
    assert total()["unique_patients"] == 1
    process([record(4, None, of_practice(2))])
    expert, patient = read((EXPERT, "exp_1", "TOTAL"), (PATIENT, "pat_1", "TOTAL"))
    assert (total()["unique_patients"], expert["unique_patients"]) == (0, 0)
    assert patient["unique_experts"] == 0


def test_no_end_of_conflicts_is_busy_and_what_was_applied_stays(faults: Faults) -> None:
    faults.next("TransactWriteItems", *[Faults.conflict] * 10_000)
    change = engine.as_of(key(APPOINTMENT, "1").pk, image(APPOINTMENT))
    with pytest.raises(Busy):
        engine.apply(TENANT, [change], deadline_s=0)
    faults.forget()
    engine.apply(TENANT, [change])
    engine.apply(TENANT, [change])
    assert total()["open"] == 1


# ------------------------------------------------------------------------------------- the stream


def test_what_has_no_figures_is_passed_over(faults: Faults) -> None:
    note = image(APPOINTMENT) | {"sk": {"S": "NOTE#1"}}
    person = {"pk": {"S": "PERSON#p1"}, "sk": {"S": "PROFILE"}}
    assert process(records(note, person)) == []
    assert faults.calls == {}


def test_a_malformed_record_is_parked_and_the_others_are_counted(queue: str) -> None:
    bad = of_practice(2) | {"price": {"S": "a lot"}}
    assert process(records(of_practice(1), bad, of_practice(3))) == []
    assert total()["open"] == 2
    assert parked(queue) == [key(APPOINTMENT, "appt_2").pk]


def test_a_record_that_the_table_refuses_is_found_and_parked(
    faults: Faults, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first transaction of 4, of its first 2, and of the first alone.
    faults.next("TransactWriteItems", *[Faults.refused] * 3)
    assert process(records(*[of_practice(n) for n in range(4)])) == []
    assert parked(queue) == [key(APPOINTMENT, "appt_0").pk]
    assert total()["open"] == 3


def test_what_could_not_be_parked_comes_again(queue: str, environment: pytest.MonkeyPatch) -> None:
    bad = of_practice(2) | {"price": {"S": "a lot"}}
    environment.setenv("REPAIR_QUEUE_URL", queue + "-gone")
    assert process(records(of_practice(1), bad)) == [f"{1:021d}"]


def test_only_the_throttled_practices_records_come_again(faults: Faults) -> None:
    other = image(APPOINTMENT, "appt_9", tenant=Tenant("prac_other"), price=1)
    faults.next("BatchGetItem", Faults.throttled_call)
    assert process(records(of_practice(1), other, of_practice(2))) == [f"{0:021d}", f"{2:021d}"]
    found = figures.read(Tenant("prac_other"), [(PRACTICE, "prac_other", "TOTAL")])
    assert [row["value.EUR"] for row in found.values()] == [1]
    assert total() == {}


def test_older_code_does_not_undo_newer_figures(
    tables: Any, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "GENERATION", 2)
    process(records(of_practice(1)))
    before = total()
    monkeypatch.setattr(catalog, "GENERATION", 1)
    assert process([record(1, of_practice(1, version=2, status="cancelled"))]) == []
    assert total() == before
    assert parked(queue) == [key(APPOINTMENT, "appt_1").pk]


@pytest.mark.parametrize("mark", ["done", "gen"])
def test_older_code_counts_nothing_behind_newer_codes_walk(
    tables: Any, queue: str, mark: str
) -> None:
    process(records(of_practice(1)))
    state, newer = TENANT.figures(PRACTICE, PRACTICE_ID, figures.WALK), catalog.GENERATION + 1
    table.transact([table.update(state, set_={mark: newer}, table=AGGREGATES)])
    # A new item, of which no row says that newer code is there; what is counted is not parked.
    assert process([record(1, of_practice(2)), record(2, of_practice(1))]) == []
    assert total()["open"] == 1
    assert process([record(3, of_practice(1))]) == []
    assert parked(queue) == sorted(key(APPOINTMENT, f"appt_{n}").pk for n in (1, 2))


def test_a_new_practices_figures_are_complete_from_its_first_day(faults: Faults) -> None:
    directory = {**table.raw_key(TENANT.item(PRACTICE, PRACTICE_ID)), "version": {"N": "1"}}
    made, changed = record(0, directory), record(1, directory, directory)
    state = (PRACTICE, PRACTICE_ID, figures.WALK)
    assert process([changed]) == []
    assert not figures.is_complete(read(state)[0])
    faults.next("TransactWriteItems", Faults.lost_answer)
    assert process([made, made]) == []
    assert figures.is_complete(read(state)[0])


@pytest.mark.parametrize(
    ("done", "figure", "complete"),
    [
        (1, "open", True),
        (1, "earned.EUR", False),
        (2, "earned.EUR", True),
        (2, "payment_status.paid", False),
        (3, "payment_status.paid", True),
    ],
)
def test_a_figure_is_complete_from_the_generation_that_brought_it(
    done: int, figure: str, *, complete: bool
) -> None:
    assert figures.is_complete(figures.Figures({"done": done}), figure) is complete
    assert figures.is_complete(figures.Figures({"done": done}), "open", figure) is complete


GARBAGE = {
    "no base 64": {"vec": "garbage"},
    "not compressed": {"vec": "Z2FyYmFnZQ=="},
    "no json": {"vec": "{no"},
    "another shape": {"vec": '{"v": [], "f": {"EXPERT#exp_1": {"TOTAL": 3}}}'},
    "no text": {"vec": 7},
    "no number": {"gen": "three"},
}


@pytest.mark.parametrize("what", GARBAGE)
def test_a_damaged_contribution_row_holds_up_no_other(tables: Any, queue: str, what: str) -> None:
    other = image(APPOINTMENT, "appt_9", tenant=Tenant("prac_other"))
    put(tables, of_practice(1, version=2), of_practice(3))
    assert process(records(of_practice(1))) == []
    bad = key(APPOINTMENT, "appt_1").pk
    table.transact([table.update(TENANT.contribution(bad), set_=GARBAGE[what], table=AGGREGATES)])
    assert process(records(of_practice(2), of_practice(1, version=2), other)) == []
    assert total()["open"] == 2
    theirs = (PRACTICE, "prac_other", "TOTAL")
    assert figures.read(Tenant("prac_other"), [theirs])[theirs]["open"] == 1
    assert parked(queue) == [bad]
    # It waits for a person, and whoever is parked beside it does not.
    good = key(APPOINTMENT, "appt_3").pk
    assert repair([message("m1", {"pk": bad}), message("m2", {"pk": good})]) == ["m1"]
    assert total()["open"] == 3


def test_counts_without_their_stamps_are_gone_on_with(tables: Any) -> None:
    """They may be wrong, which a repair of rows sets right; what comes is counted all the same."""
    put(tables, of_practice(1, status="completed"))
    assert process(records(of_practice(1, status="completed"))) == []
    pair, visits = TENANT.pair("EXPERT-PATIENT", "exp_1", "pat_1"), TENANT.visits("pat_1")
    table.transact(
        [
            table.update(pair, remove=["n"], table=AGGREGATES),
            table.update(visits, remove=["rev"], table=AGGREGATES),
        ]
    )
    assert {d.kind for d in verify.verify(TENANT)} == {"pair"}
    second = of_practice(2, status="completed")
    put(tables, second)
    assert process(records(second)) == []
    assert total()["status.completed"] == 2
    assert row_repair.repair(TENANT).unsettled == []
    assert verify.verify(TENANT) == []


# ------------------------------------------------------------------------------------- the repair


def message(message_id: str, body: Any) -> dict[str, Any]:
    return {"messageId": message_id, "body": body if isinstance(body, str) else json.dumps(body)}


def test_a_repair_settles_what_the_item_is_now(tables: Any) -> None:
    put(tables, of_practice(1, version=4))
    pk, other = key(APPOINTMENT, "appt_1").pk, key(APPOINTMENT, "appt_2").pk
    process([record(1, of_practice(2))])  # counted, and gone without a record
    messages = [message("m1", {"pk": pk}), message("m2", {"pk": other}), message("m3", {"pk": pk})]
    assert repair(messages) == []
    assert (total()["open"], total()["unique_patients"]) == (1, 1)
    # The late record of the one that is gone loses.
    process([record(1, of_practice(2))])
    assert total()["open"] == 1


def test_a_repair_settles_an_item_that_was_put_back(tables: Any) -> None:
    process([record(1, of_practice(1, version=5, price=9000))])
    put(tables, of_practice(1, version=3))
    assert repair([message("m1", {"pk": key(APPOINTMENT, "appt_1").pk})]) == []
    assert total()["value.EUR"] == 5000


def test_messages_that_cannot_be_settled_come_again(tables: Any) -> None:
    put(tables, of_practice(1), of_practice(2) | {"price": {"S": "a lot"}})
    good, bad = (key(APPOINTMENT, f"appt_{n}").pk for n in (1, 2))
    messages = [message("m1", "no json"), message("m2", {"pk": "P#prac_1#EXPERT#exp_1"})]
    messages += [message("m3", {"pk": bad}), message("m4", {"pk": good}), message("m5", ["pk"])]
    assert repair(messages) == ["m1", "m2", "m5", "m3"]
    assert total()["open"] == 1


# --------------------------------------------------------------------------------------- the walk


def test_a_walk_goes_on_where_it_was_broken_off(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "PAGE", 3)
    put(faults.client, *[of_practice(n) for n in range(8)])
    faults.next("TransactWriteItems", *[Faults.meanwhile(lambda: None)] * 4, Faults.crash_before)
    with pytest.raises(Crash):
        walk.walk(TENANT)
    assert total()["open"] == 6
    pages: list[int] = []
    assert walk.walk(TENANT, lambda walked: pages.append(walked.looked_at)).unreadable == 0
    # Two pages were kept; the third is the last of the appointments.
    assert (pages[0], total()["open"]) == (8, 8)
    assert verify.verify(TENANT) == []


def test_a_new_figure_is_incomplete_until_its_walk_has_ended(
    tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tables, of_practice(1), of_practice(2))
    process(records(of_practice(1), of_practice(2)))
    old = contributions.ENTITIES[APPOINTMENT]

    def with_new_figure(item: Any) -> contributions.Contribution:
        found = old(item)
        return contributions.Contribution(
            {k: v | {"new": 1} for k, v in found.figures.items()}, found.pairs
        )

    monkeypatch.setitem(contributions.ENTITIES, APPOINTMENT, with_new_figure)
    monkeypatch.setattr(catalog, "GENERATION", catalog.GENERATION + 1)
    state = (PRACTICE, PRACTICE_ID, figures.WALK)
    assert not figures.is_complete(read(state)[0])
    walk.walk(TENANT)
    assert figures.is_complete(read(state)[0])
    assert (total()["new"], total()["open"]) == (2, 2)


def test_an_item_that_cannot_be_counted_leaves_the_walk_incomplete(
    tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "GENERATION", catalog.GENERATION + 1)
    put(tables, of_practice(1), of_practice(2) | {"price": {"S": "a lot"}})
    assert walk.walk(TENANT).unreadable == 1
    assert total()["open"] == 1
    assert not figures.is_complete(read((PRACTICE, PRACTICE_ID, figures.WALK))[0])
    assert [d.kind for d in verify.verify(TENANT)] == ["unreadable"]


# -------------------------------------------------------------------------------------- the proof


def tamper(tables: Any, where: Key, name: str, by: int) -> None:
    tables.update_item(
        TableName=AGGREGATES,
        Key=table.raw_key(where),
        UpdateExpression="ADD #n :v",
        ExpressionAttributeNames={"#n": name},
        ExpressionAttributeValues={":v": {"N": str(by)}},
    )


@pytest.fixture
def practice(tables: Any) -> Any:
    """A practice as the directory has it, with a booking and a payment that are counted."""
    items = [of_practice(1), image(PAYMENT, "pay_1")]
    directory = {**table.raw_key(TENANT.item(PRACTICE, PRACTICE_ID))}
    directory |= {"l1pk": {"S": "PRACTICES"}, "l1sk": {"S": PRACTICE_ID}}
    put(tables, *items, directory)
    assert process(records(*items)) == []
    assert verify.verify(TENANT) == []
    return tables


def test_every_kind_of_difference_is_found(practice: Any) -> None:
    tamper(practice, TENANT.figures(PRACTICE, PRACTICE_ID, "D#2026-11-20"), "collected.EUR", 1)
    assert {d[0::2][:1] + d[2:] for d in verify.verify(TENANT)} == {
        ("figure", "collected.EUR", 5000, 5001),
        ("days", "collected.EUR", 5001, 5000),
    }
    tamper(practice, TENANT.figures(PRACTICE, PRACTICE_ID, "D#2026-11-20"), "collected.EUR", -1)
    tamper(practice, TENANT.figures(PRACTICE, PRACTICE_ID, "M#2025-01"), "open", 1)
    assert {d.kind for d in verify.verify(TENANT)} == {"figure", "months"}
    tamper(practice, TENANT.figures(PRACTICE, PRACTICE_ID, "M#2025-01"), "open", -1)
    tamper(practice, TENANT.pair("EXPERT-PATIENT", "exp_1", "pat_1"), "n", 1)
    assert [d.kind for d in verify.verify(TENANT)] == ["pair"]
    tamper(practice, TENANT.pair("EXPERT-PATIENT", "exp_1", "pat_1"), "n", -1)
    put(practice, of_practice(1, version=2, price=4000))
    assert {d.kind for d in verify.verify(TENANT)} == {"contribution"}


def test_what_is_only_under_way_is_no_difference(
    practice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = of_practice(1, version=2, price=4000)
    put(practice, changed)
    # The stream's delivery comes between the first reading and the second.
    monkeypatch.setattr(table.time, "sleep", lambda _: process(records(changed)))
    assert verify.verify(TENANT) == []


def test_what_is_a_little_late_is_waited_for(
    practice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = of_practice(1, version=2, price=4000)
    put(practice, changed)
    pauses = 0

    def sleep(_: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 12:
            process(records(changed))

    monkeypatch.setattr(table.time, "sleep", sleep)
    assert verify.verify(TENANT) == []
    # What changed long ago and was never counted is not waited for.
    pauses = 20
    long_ago = {"updated_at": {"S": "2026-11-20T09:00:00.000Z"}}
    put(practice, of_practice(1, version=3, price=3000) | long_ago)
    assert {d.kind for d in verify.verify(TENANT)} == {"contribution"}
    assert pauses == 21


def test_an_item_that_vanished_is_found(practice: Any) -> None:
    practice.delete_item(TableName=CORE, Key=table.raw_key(key(APPOINTMENT, "appt_1")))
    assert {d.row for d in verify.verify(TENANT)} == {key(APPOINTMENT, "appt_1").pk}
    walk.walk(TENANT)
    assert verify.verify(TENANT) == []
    assert total()["open"] == 0


# ---------------------------------------------------------------------------------------- reading


def test_days_and_months_are_ranges_with_their_ends(tables: Any) -> None:
    days = ["2026-10-31", "2026-11-01", "2026-11-02", "2026-11-04"]
    process(records(*[of_practice(n, local_date=day) for n, day in enumerate(days)]))
    found = figures.days(TENANT, PRACTICE, PRACTICE_ID, date(2026, 11, 1), date(2026, 11, 4))
    assert list(found) == [date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 4)]
    assert all(row["open"] == 1 and row["none"] == 0 for row in found.values())
    months = figures.months(TENANT, EXPERT, "exp_1", date(2026, 1, 1), date(2026, 12, 31))
    assert {month: row["open"] for month, row in months.items()} == {
        date(2026, 10, 1): 1,
        date(2026, 11, 1): 3,
    }
    assert figures.latest(found.values()) == max(row.updated_at or "" for row in found.values())


def test_an_absent_row_is_zero_and_money_is_by_currency(tables: Any) -> None:
    process(records(image(PAYMENT, "1"), image(PAYMENT, "2", currency="BRL", captured=70)))
    row, absent = read(TOTAL, (EXPERT, "exp_9", "TOTAL"))
    assert {c: money.amount for c, money in row.money("collected").items()} == {
        "BRL": 70,
        "EUR": 5000,
    }
    assert (absent, absent["open"], absent.updated_at) == ({}, 0, None)
    assert figures.latest([absent]) is None


# ------------------------------------------------------------------------------------ the command


def command(*arguments: str) -> Any:
    names = ("--core-table", CORE, "--aggregates-table", AGGREGATES)
    return CliRunner().invoke(app, [*arguments, *names])


def test_the_command_proves_and_rebuilds(practice: Any) -> None:
    assert command("verify").exit_code == 0
    put(practice, of_practice(2))
    failed = command("verify", "--practice", PRACTICE_ID)
    assert failed.exit_code == 1
    assert "contribution" in failed.output
    assert command("rebuild").exit_code == 0
    assert command("verify").exit_code == 0
    assert total()["open"] == 2


def test_the_command_says_what_it_cannot_find(practice: Any, tmp_path: Path) -> None:
    assert command("verify", "--practice", "prac_none").exit_code == 2
    missing = CliRunner().invoke(app, ["verify", "--stack-file", str(tmp_path / "none.json")])
    assert missing.exit_code == 2
    half = CliRunner().invoke(app, ["verify", "--core-table", CORE])
    assert half.exit_code == 2


def test_the_local_stacks_file_names_the_tables_and_the_address(tmp_path: Path) -> None:
    outputs = {"CoreTableName": "c", "AggregatesTableName": "a"}
    described = {"api_url": "http://127.0.0.1:4701/v1", "outputs": outputs}
    file = tmp_path / "stack.json"
    file.write_text(json.dumps(described))
    assert stack.described(file) == ("c", "a", "http://127.0.0.1:4701")
    file.write_text("{}")
    with pytest.raises(typer.BadParameter):
        stack.described(file)


# ---------------------------------------------------------------------------------- the functions


def invoke(function: str, sample: str) -> Any:
    """Run a function's handler on one of its sample events."""
    path = ROOT / "functions" / function / "app.py"
    spec = importlib.util.spec_from_file_location(f"{function}_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    event = json.loads((ROOT / "events" / function / f"{sample}.json").read_text())
    return module.lambda_handler(event, None), event["Records"]


def test_the_sample_events_go_through_their_functions(queue: str) -> None:
    demo = Tenant("prac_01JCONSULTADEMO0000000000A")
    answer, _ = invoke("aggregate", "appointment_paid_and_confirmed")
    assert answer == {"batchItemFailures": []}
    wanted = (PRACTICE, demo.practice, "TOTAL")
    row = figures.read(demo, [wanted])[wanted]
    assert (row["status.confirmed"], row["status.held"], row["collected.EUR"]) == (1, 0, 5000)
    answer, records_ = invoke("aggregate", "malformed_item_is_parked")
    assert answer == {"batchItemFailures": []}
    assert parked(queue) == [records_[0]["dynamodb"]["Keys"]["pk"]["S"]]
    # The appointment is in no core table here: the repair takes it out again.
    answer, _ = invoke("repair", "parked_item")
    assert answer == {"batchItemFailures": []}
    assert figures.read(demo, [wanted])[wanted]["status.confirmed"] == 0
    answer, messages = invoke("repair", "not_a_key_comes_again")
    assert answer == {"batchItemFailures": [{"itemIdentifier": messages[0]["messageId"]}]}
