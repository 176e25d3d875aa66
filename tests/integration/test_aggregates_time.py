"""However long the tables conflict, a batch answers within its function's time."""

import json
from types import ModuleType
from typing import Any

import pytest

from consulta.aggregates import engine, repair, stream
from consulta.core import table
from consulta.core.keys import Tenant
from consulta.people.records import PRACTICE
from consulta.scheduling.records import APPOINTMENT
from tests.conftest import CORE
from tests.faults import Faults
from tests.unit.aggregates.images import TENANT, image, record

# The functions of the stream and of the repair queue have 60 s; the rest is for what they do after.
ENOUGH_S = 50


class Clock:
    """A clock that goes on by what is slept, and by 20 ms with each call of the table."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def called(self, **_: Any) -> None:
        self.now += 0.02


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tables: Any, environment: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    users: tuple[ModuleType, ...] = (table, engine, stream, repair)
    for module in users:
        monkeypatch.setattr(module, "time", clock)
    tables.meta.events.register("before-call.dynamodb", clock.called)
    return clock


def everywhere(number: int) -> Tenant:
    return Tenant(f"prac_{number}")


def here(_: int) -> Tenant:
    return TENANT


@pytest.mark.parametrize("place", [here, everywhere])
def test_a_batch_of_conflicts_ends_within_its_functions_time(
    clock: Clock, tables: Any, place: Any
) -> None:
    found = [image(APPOINTMENT, f"appt_{n}", tenant=place(n)) for n in range(100)]
    records = [record(n, one) for n, one in enumerate(found)]
    began = clock.now
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[Faults.conflict] * 20_000)
        assert len(stream.process(records)) == 100
    assert clock.now - began < ENOUGH_S
    # In another batch they are counted.
    assert stream.process(records) == []


def test_a_batch_of_a_slow_table_ends_within_its_functions_time(clock: Clock, tables: Any) -> None:
    found = [image(APPOINTMENT, "appt_1", tenant=everywhere(n)) for n in range(40)]
    began = clock.now
    with Faults(tables) as faults:
        faults.next("BatchGetItem", *[Faults.meanwhile(lambda: clock.sleep(3))] * 200)
        failed = stream.process([record(n, one) for n, one in enumerate(found)])
    assert clock.now - began < ENOUGH_S
    # Those whose turn came are counted; the others come again, as they came.
    assert 0 < len(failed) < 40
    assert failed == [f"{n:021d}" for n in range(40 - len(failed), 40)]


def test_practices_that_begin_while_the_table_conflicts_come_again(
    clock: Clock, tables: Any
) -> None:
    tenants = [everywhere(n) for n in range(40)]
    made = [
        record(n, {**table.raw_key(one.item(PRACTICE, one.practice)), "version": {"N": "1"}})
        for n, one in enumerate(tenants)
    ]
    began = clock.now
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[Faults.conflict] * 20_000)
        assert len(stream.process(made)) == 40
    assert clock.now - began < ENOUGH_S


def test_a_repair_of_conflicts_ends_within_its_functions_time(clock: Clock, tables: Any) -> None:
    messages = []
    for number in range(10):
        item = image(APPOINTMENT, "appt_1", tenant=everywhere(number))
        tables.put_item(TableName=CORE, Item=item)
        messages.append({"messageId": f"m{number}", "body": json.dumps({"pk": item["pk"]["S"]})})
    began = clock.now
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[Faults.conflict] * 20_000)
        assert len(repair.repair(messages)) == 10
    assert clock.now - began < ENOUGH_S
    assert repair.repair(messages) == []
