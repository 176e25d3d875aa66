"""The sweep: everything due is done once it is due, whatever dies in between."""

from datetime import timedelta
from typing import Any

import pytest

from consulta.core import keys, table
from consulta.core.item import Actor
from consulta.core.keys import Key
from consulta.core.time import from_text, to_epoch, to_text
from consulta.scheduling import due, holds, offers, sweep, transitions
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, Status
from consulta.scheduling.schema.booking import CancelRequest
from tests.faults import Crash, Faults
from tests.unit.scheduling.world import Clock, World, tomorrow

BY = Actor("sweep", "request-1")
WORKERS = {due.HOLD: holds.worker(holds.expire, BY)}


@pytest.fixture
def world(tables: Any) -> World:
    return World()


@pytest.fixture
def clock(world: World, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(sweep, "LOOK_BACK", timedelta(minutes=1))
        sweep.run(WORKERS)
    return clock


@pytest.fixture
def held(world: World, clock: Clock) -> AppointmentItem:
    expert = world.expert()
    booked = world.book(world.service(expert), expert, world.patient(), tomorrow())
    return load(world, booked.id)


def load(world: World, appointment_id: str) -> AppointmentItem:
    found = table.get(AppointmentItem, world.tenant.item(APPOINTMENT, appointment_id))
    assert found
    return found


def status(appointment: AppointmentItem) -> str:
    return str(load(World.of(appointment), appointment.item_id).status)


def watermark() -> Any:
    raw = table.get_raw(keys.watermark(sweep.NAME))
    assert raw
    return from_text(raw["minute"]["S"])


def due_rows(client: Any) -> list[str]:
    items = client.scan(TableName="core")["Items"]
    return [item["what"]["S"] for item in items if item["pk"]["S"].startswith("DUE#")]


def test_a_hold_ends_in_the_minute_after_it_is_due(
    held: AppointmentItem, clock: Clock, tables: Any
) -> None:
    clock.forward(minutes=15, seconds=-1)
    assert sweep.run(WORKERS).done == 0
    assert status(held) == Status.HELD
    clock.forward(minutes=1, seconds=1)
    assert sweep.run(WORKERS).done == 1
    assert status(held) == Status.EXPIRED
    assert due_rows(tables) == []
    by = World.of(held).owner
    free = offers.free_slots(
        by, held.service_id, held.expert_id, tomorrow(), tomorrow(11), None
    ).slots
    assert to_epoch(free[0].start) == to_epoch(held.start)
    assert sweep.run(WORKERS) == sweep.Swept()


def test_what_is_paid_or_cancelled_by_then_is_left_alone(
    world: World, held: AppointmentItem, clock: Clock, tables: Any
) -> None:
    other = world.book(held.service_id, held.expert_id, held.patient_id, tomorrow(12))
    table.transact(transitions.confirm_actions(held, BY))
    request = CancelRequest.model_validate({"reason_code": "other"})
    table.transact(transitions.cancel_actions(load(world, other.id), BY, request, "practice"))
    clock.forward(minutes=20)
    assert sweep.run(WORKERS).done == 2
    assert status(held) == Status.CONFIRMED
    assert load(world, other.id).status == Status.CANCELLED
    assert due_rows(tables) == []


def test_an_extended_hold_ends_when_the_extension_does(held: AppointmentItem, clock: Clock) -> None:
    until = clock.at + timedelta(minutes=25)
    table.transact(transitions.extend_actions(held, BY, until))
    clock.forward(minutes=17)
    sweep.run(WORKERS)
    assert status(held) == Status.HELD
    clock.forward(minutes=10)
    sweep.run(WORKERS)
    assert status(held) == Status.EXPIRED


@pytest.mark.parametrize("fault", ["crash_before", "crash_after"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_sweep_that_dies_is_continued_by_the_next(
    held: AppointmentItem, clock: Clock, tables: Any, step: int, fault: str
) -> None:
    """The steps are three writes: the hold's end, the due row's, and the watermark."""
    clock.forward(minutes=17)
    with Faults(tables) as faults:
        nothing = type(faults.conflict)()
        faults.next("TransactWriteItems", *[nothing] * step, getattr(faults, fault))
        with pytest.raises(Crash):
            sweep.run(WORKERS)
        assert faults.happened == 1
    sweep.run(WORKERS)
    assert status(held) == Status.EXPIRED
    assert due_rows(tables) == []
    assert watermark() == clock.at.replace(second=0, microsecond=0)


def test_a_missed_hour_is_caught_up(held: AppointmentItem, clock: Clock) -> None:
    clock.forward(hours=1, minutes=16)
    swept = sweep.run(WORKERS)
    assert (swept.minutes, swept.done) == (76, 1)
    assert status(held) == Status.EXPIRED


def test_catching_up_is_in_bounded_steps(
    held: AppointmentItem, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "MAX_MINUTES", 7)
    start = watermark()
    clock.forward(minutes=20)
    assert [sweep.run(WORKERS).minutes for _ in range(4)] == [7, 7, 6, 0]
    assert watermark() == start + timedelta(minutes=20)
    assert status(held) == Status.EXPIRED


def test_a_sweep_stops_when_its_time_is_over(held: AppointmentItem, clock: Clock) -> None:
    start, left = watermark(), iter([True, True, True, False])
    clock.forward(minutes=20)
    assert sweep.run(WORKERS, time_left=lambda: next(left)).minutes == 3
    assert watermark() == start + timedelta(minutes=3)


def test_work_that_fails_is_tried_again_later_and_holds_up_nobody(
    world: World, held: AppointmentItem, clock: Clock, tables: Any
) -> None:
    other = world.book(held.service_id, held.expert_id, held.patient_id, tomorrow(12))
    failing, tried = {held.pk}, []

    def work(key: Key) -> bool:
        tried.append(key.pk)
        if key.pk in failing:
            raise ConnectionError
        return WORKERS[due.HOLD](key)

    clock.forward(minutes=17)
    swept = sweep.run({due.HOLD: work})
    assert (swept.done, swept.postponed) == (1, 1)
    assert load(world, other.id).status == Status.EXPIRED
    assert status(held) == Status.HELD
    for _ in range(5):
        clock.forward(minutes=3)
        sweep.run({due.HOLD: work})
    # Every try waits twice as long as the one before: 2 (the soonest), 2, 4, 8 minutes.
    assert tried.count(held.pk) == 4
    failing.clear()
    clock.forward(hours=1)
    sweep.run({due.HOLD: work})
    assert status(held) == Status.EXPIRED
    assert due_rows(tables) == []


def test_a_payment_under_way_is_asked_about_again(
    held: AppointmentItem, clock: Clock, tables: Any
) -> None:
    clock.forward(minutes=17)
    swept = sweep.run({due.HOLD: holds.worker(lambda _item, _by: False, BY)})
    assert (swept.done, swept.postponed) == (0, 1)
    assert due_rows(tables) == [due.HOLD]
    clock.forward(minutes=5)
    assert sweep.run(WORKERS).done == 1
    assert status(held) == Status.EXPIRED


def test_the_very_first_sweep_looks_an_hour_back(world: World) -> None:
    assert sweep.run(WORKERS).minutes == 60


def test_a_slow_sweep_takes_no_faster_one_back(held: AppointmentItem, clock: Clock) -> None:
    clock.forward(minutes=5)
    before = watermark()
    sweep.run(WORKERS)
    ahead = watermark()
    sweep._advance(before, before + timedelta(minutes=1))
    assert watermark() == ahead


@pytest.mark.parametrize(("tries", "minutes"), [(0, 2), (5, 32), (6, 64), (60, 64)])
def test_work_that_fails_for_days_does_not_stop_the_sweep(
    held: AppointmentItem, clock: Clock, tables: Any, tries: int, minutes: int
) -> None:
    """It is asked again after an hour at most, however often that was, and others go on."""
    due_at = clock.at + timedelta(minutes=3)
    failing = due.at(due_at, held.pk, "failing", tries=tries)
    table.transact([failing])

    def fail(_: Key) -> bool:
        raise RuntimeError("the provider is away")

    clock.forward(minutes=17)
    swept = sweep.run(WORKERS | {"failing": fail})
    assert (swept.done, swept.postponed) == (1, 1)
    [row] = [one for one in tables.scan(TableName="core")["Items"] if "tries" in one]
    assert row["tries"]["N"] == str(tries + 1)
    again = to_text(clock.at + timedelta(minutes=minutes))[:16]
    assert row["pk"]["S"].split("#")[1] == again
