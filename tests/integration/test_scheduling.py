"""Booking, on DynamoDB's own conditions: nobody gets a time that somebody else has."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from consulta.core import table
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, Problem, SlotTaken
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.permissions import Role
from consulta.core.time import now, to_epoch, to_text
from consulta.people.records import PATIENT, PatientItem
from consulta.scheduling import appointments, booking, holds, offers, services, transitions
from consulta.scheduling.busy import Claim
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, PaymentStatus, Status
from consulta.scheduling.schema.booking import CancelRequest
from consulta.scheduling.schema.services import ServicePatch
from tests.faults import Crash, Faults
from tests.unit.scheduling.world import Clock, World, tomorrow

BY = Actor("person-1", "request-1")
HOUR = timedelta(hours=1)
Together = Callable[..., list[Any]]


@pytest.fixture
def world(tables: Any) -> World:
    return World()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def together(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Together:
    """Run all in threads: each has read before any writes. Gives results and problems, in order.

    Each call is atomic, as DynamoDB's are and moto's are not.
    """
    call = tables._make_api_call

    def run(*tasks: Callable[[], Any]) -> list[Any]:
        lock, all_read = threading.Lock(), threading.Barrier(len(tasks), timeout=20)
        passed = threading.local()

        def atomic(operation: str, request: dict[str, Any]) -> Any:
            if operation == "TransactWriteItems" and not getattr(passed, "barrier", False):
                passed.barrier = True
                all_read.wait()
            with lock:
                return call(operation, request)

        def outcome(task: Callable[[], Any]) -> Any:
            try:
                return task()
            except Problem as problem:
                return problem

        with monkeypatch.context() as patched, ThreadPoolExecutor(len(tasks)) as pool:
            patched.setattr(tables, "_make_api_call", atomic)
            return list(pool.map(outcome, tasks))

    return run


def load(world: World, appointment_id: str) -> AppointmentItem:
    found = table.get(AppointmentItem, world.tenant.item(APPOINTMENT, appointment_id))
    assert found
    return found


def apply(actions: list[table.Action]) -> None:
    appointments.apply(actions)


def cancel(world: World, appointment_id: str) -> None:
    request = CancelRequest.model_validate({"reason_code": "illness", "note": "flu"})
    apply(transitions.cancel_actions(load(world, appointment_id), BY, request, "patient"))


def starts(world: World, service: str, expert: str, low: datetime, hours: int) -> list[int]:
    found = offers.free_slots(world.owner, service, expert, low, low + hours * HOUR, None)
    return [to_epoch(slot.start) for slot in found.slots]


# ---------------------------------------------------------------- at the same time


def test_of_two_at_once_exactly_one_gets_the_time(world: World, together: Together) -> None:
    expert, patients = world.expert(), [world.patient(), world.patient()]
    service = world.service(expert)
    outcomes = together(*(lambda p=p: world.book(service, expert, p, tomorrow()) for p in patients))
    [lost] = [one for one in outcomes if isinstance(one, SlotTaken)]
    [won] = [one for one in outcomes if not isinstance(one, Problem)]
    assert (won.status, won.payment_status) == (Status.HELD, PaymentStatus.UNPAID)
    found = [one["start"] for one in lost.extra["alternatives"]]
    assert len(found) == 5
    assert found[:2] == [(tomorrow() - HOUR).isoformat(), (tomorrow() + HOUR).isoformat()]
    assert load(world, won.id).status == Status.HELD


def test_two_times_of_one_day_at_once_are_both_booked(world: World, together: Together) -> None:
    expert, patients = world.expert(), [world.patient(), world.patient(), world.patient()]
    service = world.service(expert)
    outcomes = together(
        *(
            lambda n=n, p=p: world.book(service, expert, p, tomorrow(10 + n))
            for n, p in enumerate(patients)
        )
    )
    assert [one.status for one in outcomes] == [Status.HELD] * 3
    assert starts(world, service, expert, tomorrow(10), 3) == []


def test_one_key_at_once_books_once(world: World, together: Together) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert)
    outcomes = together(*[lambda: world.book(service, expert, patient, tomorrow(), key="once")] * 2)
    assert outcomes[0].id == outcomes[1].id
    assert outcomes[0] == outcomes[1]


def test_three_open_holds_at_once_are_no_more_than_three(world: World, together: Together) -> None:
    patient = world.patient()
    experts = [world.expert() for _ in range(4)]
    service = world.service(*experts)
    outcomes = together(
        *(
            lambda n=n, e=e: world.book(service, e, patient, tomorrow(10 + n))
            for n, e in enumerate(experts)
        )
    )
    assert sum(isinstance(one, Conflict) for one in outcomes) == 1
    assert sum(getattr(one, "status", "") == Status.HELD for one in outcomes) == 3


# ---------------------------------------------------------------- who is where


def test_a_patient_is_not_with_two_experts_at_once(world: World) -> None:
    one, other, patient = world.expert(buffer_after_minutes=30), world.expert(), world.patient()
    service = world.service(one, other)
    world.book(service, one, patient, tomorrow(10))
    with pytest.raises(SlotTaken) as taken:
        world.book(service, other, patient, tomorrow(10, 30))
    # The other expert is free all day: what is offered instead suits the patient too.
    assert taken.value.extra["alternatives"][0]["start"] == tomorrow(11).isoformat()
    # Buffers are the expert's time, not the patient's.
    assert world.book(service, other, patient, tomorrow(11)).status is Status.HELD


def test_between_two_bookings_is_the_larger_buffer(world: World) -> None:
    expert = world.expert(
        slot_interval_minutes=5, buffer_before_minutes=10, buffer_after_minutes=15
    )
    service = world.service(expert)
    world.book(service, expert, world.patient(), tomorrow(10))
    with pytest.raises(SlotTaken):
        world.book(service, expert, world.patient(), tomorrow(11, 10))
    world.book(service, expert, world.patient(), tomorrow(11, 15))
    free = starts(world, service, expert, tomorrow(8), 5)
    assert to_epoch(tomorrow(8, 45)) in free
    assert to_epoch(tomorrow(8, 50)) not in free
    assert min(one for one in free if one > to_epoch(tomorrow(9))) == to_epoch(tomorrow(12, 30))


def test_past_midnight_both_days_are_taken(world: World) -> None:
    expert = world.expert()
    service = world.service(expert, minutes=120)
    world.book(service, expert, world.patient(), tomorrow(23))
    for start in (tomorrow(22), tomorrow(0, days=2), tomorrow(0, 30, days=2)):
        with pytest.raises(SlotTaken):
            world.book(service, expert, world.patient(), start)
    assert world.book(service, expert, world.patient(), tomorrow(1, days=2))


def test_a_day_begins_with_the_buffer_of_the_day_before(world: World) -> None:
    expert = world.expert(buffer_before_minutes=30)
    service = world.service(expert)
    world.book(service, expert, world.patient(), tomorrow(22, 45))
    assert starts(world, service, expert, tomorrow(0, days=2), 1) == [
        to_epoch(tomorrow(0, 30, days=2))
    ]


# ---------------------------------------------------------------- holds


def test_a_fourth_hold_waits_for_one_of_three(world: World, clock: Clock) -> None:
    expert, patient = world.expert(), world.patient()
    service, free = world.service(expert), world.service(expert, price=0)
    made = [world.book(service, expert, patient, tomorrow(hour)) for hour in (8, 9, 10)]
    with pytest.raises(Conflict, match="3 unpaid"):
        world.book(service, expert, patient, tomorrow(11))
    # What needs no payment, or is confirmed by a member, is no hold.
    assert world.book(free, expert, patient, tomorrow(11)).status is Status.CONFIRMED
    confirmed = world.book(service, expert, patient, tomorrow(12), confirm=True)
    assert (confirmed.status, confirmed.payment_status) == (Status.CONFIRMED, "unpaid")
    assert confirmed.hold_expires_at is None
    cancel(world, made[0].id)
    assert world.book(service, expert, patient, tomorrow(13)).status is Status.HELD
    with pytest.raises(Conflict):
        world.book(service, expert, patient, tomorrow(14))
    clock.forward(minutes=16)
    assert world.book(service, expert, patient, tomorrow(14)).status is Status.HELD


def test_a_hold_that_ended_is_free_before_anybody_sweeps(world: World, clock: Clock) -> None:
    expert = world.expert()
    service = world.service(expert)
    first = world.book(service, expert, world.patient(), tomorrow())
    clock.forward(minutes=14)
    with pytest.raises(SlotTaken):
        world.book(service, expert, world.patient(), tomorrow())
    clock.forward(minutes=1)
    assert to_epoch(tomorrow()) in starts(world, service, expert, tomorrow(9), 3)
    second = world.book(service, expert, world.patient(), tomorrow())
    with pytest.raises(SlotTaken):
        appointments.confirm(world.owner, first.id)
    # Ending the lost one takes nothing from the one that has the time now.
    assert holds.expire(load(world, first.id), BY)
    assert appointments.confirm(world.owner, second.id).status is Status.CONFIRMED
    with pytest.raises(SlotTaken):
        world.book(service, expert, world.patient(), tomorrow())


def test_a_hold_that_lost_its_place_is_not_confirmed(world: World) -> None:
    expert = world.expert()
    service = world.service(expert)
    held = load(world, world.book(service, expert, world.patient(), tomorrow()).id)
    # Somebody whose clock is ahead has found the hold ended, between our reading and our writing.
    parts = transitions.confirm_actions(held, BY)
    table.transact(Claim.of(held).leave(held.item_id))
    with pytest.raises(SlotTaken):
        apply(parts)
    assert load(world, held.item_id).status == Status.HELD


def test_late_money_gets_the_time_where_it_is_still_free(world: World, clock: Clock) -> None:
    expert, other = world.expert(), world.expert()
    service, patient = world.service(expert, other), world.patient()
    late = world.book(service, expert, patient, tomorrow())
    gone = world.book(service, other, patient, tomorrow(12))
    clock.forward(minutes=16)
    # Another booking of that day sweeps the ended holds out of the calendar row.
    world.book(service, expert, world.patient(), tomorrow(14))
    assert appointments.confirm(world.owner, late.id).status is Status.CONFIRMED
    assert holds.expire(load(world, gone.id), BY)
    also = {"payment_status": str(PaymentStatus.PAID)}
    apply(transitions.reclaim_actions(load(world, gone.id), BY, also=also))
    found = load(world, gone.id)
    assert (found.status, found.payment_status) == (Status.CONFIRMED, PaymentStatus.PAID)
    for one, start in ((expert, tomorrow()), (other, tomorrow(12))):
        with pytest.raises(SlotTaken):
            world.book(service, one, world.patient(), start)


def test_late_money_for_a_lost_time_is_told_so(world: World, clock: Clock) -> None:
    expert = world.expert()
    service = world.service(expert)
    lost = world.book(service, expert, world.patient(), tomorrow())
    clock.forward(minutes=16)
    assert holds.expire(load(world, lost.id), BY)
    world.book(service, expert, world.patient(), tomorrow(10, 30))
    with pytest.raises(SlotTaken):
        transitions.reclaim_actions(load(world, lost.id), BY)
    passed = world.book(service, expert, world.patient(), tomorrow(15))
    clock.forward(minutes=16)
    assert holds.expire(load(world, passed.id), BY)
    clock.forward(days=2)
    with pytest.raises(SlotTaken, match="passed"):
        transitions.reclaim_actions(load(world, passed.id), BY)


def test_a_hold_is_kept_longer_while_somebody_pays(world: World, clock: Clock) -> None:
    expert = world.expert()
    service = world.service(expert)
    held = world.book(service, expert, world.patient(), tomorrow())
    until = clock.at + timedelta(minutes=25)
    apply(transitions.extend_actions(load(world, held.id), BY, until))
    clock.forward(minutes=20)
    with pytest.raises(SlotTaken):
        world.book(service, expert, world.patient(), tomorrow())
    with pytest.raises(Conflict, match="not ended"):
        holds.expire(load(world, held.id), BY)
    clock.forward(minutes=6)
    with pytest.raises(SlotTaken, match="ended"):
        transitions.extend_actions(load(world, held.id), BY, until)
    assert world.book(service, expert, world.patient(), tomorrow()).status is Status.HELD


# ---------------------------------------------------------------- what happens to one


def test_cancelling_gives_the_time_back_to_both(world: World) -> None:
    expert, other, patient = world.expert(), world.expert(), world.patient()
    service = world.service(expert, other)
    booked = world.book(service, expert, patient, tomorrow(), confirm=True)
    cancel(world, booked.id)
    shown = appointments.get(world.owner, booked.id)
    assert (shown.status, shown.cancelled_by, shown.cancel_reason, shown.cancel_note) == (
        Status.CANCELLED,
        "patient",
        "illness",
        "flu",
    )
    assert world.book(service, expert, world.patient(), tomorrow())
    assert world.book(service, other, patient, tomorrow())
    with pytest.raises(Conflict):
        cancel(world, booked.id)


def test_once_it_began_only_the_practice_cancels(world: World, clock: Clock) -> None:
    expert = world.expert()
    service = world.service(expert)
    booked = world.book(service, expert, world.patient(), tomorrow(), confirm=True)
    clock.forward(days=2)
    with pytest.raises(Conflict, match="begun"):
        cancel(world, booked.id)
    request = CancelRequest.model_validate({"reason_code": "expert_request"})
    apply(transitions.cancel_actions(load(world, booked.id), BY, request, "practice"))
    assert load(world, booked.id).status == Status.CANCELLED


def test_completing_waits_for_the_start(world: World, clock: Clock) -> None:
    expert = world.expert()
    service = world.service(expert)
    first, second = (
        world.book(service, expert, world.patient(), tomorrow(hour), confirm=True)
        for hour in (8, 10)
    )
    with pytest.raises(Conflict, match="not begun"):
        transitions.complete_actions(load(world, first.id), BY)
    clock.forward(days=2)
    apply(transitions.complete_actions(load(world, first.id), BY))
    apply(transitions.no_show_actions(load(world, second.id), BY))
    found = load(world, first.id), load(world, second.id)
    assert [one.status for one in found] == [Status.COMPLETED, Status.NO_SHOW]


def test_of_two_changes_at_once_one_is_told_to_read_again(world: World) -> None:
    expert = world.expert()
    service = world.service(expert)
    read = load(world, world.book(service, expert, world.patient(), tomorrow()).id)
    cancel(world, read.item_id)
    with pytest.raises(Conflict):
        apply(transitions.confirm_actions(read, BY))
    assert load(world, read.item_id).status == Status.CANCELLED


# ---------------------------------------------------------------- keys and faults


def test_a_key_gives_the_first_result_again(world: World, clock: Clock) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert)
    first = world.book(service, expert, patient, tomorrow(), key="k1")
    assert world.book(service, expert, patient, tomorrow(), key="k1") == first
    with pytest.raises(Invalid) as refused:
        world.book(service, expert, patient, tomorrow(12), key="k1")
    assert refused.value.errors[0].path == "header.Idempotency-Key"
    # Somebody else's key of the same name is another key.
    by = world.caller(Role.ADMIN)
    assert world.book(service, expert, patient, tomorrow(12), key="k1", by=by).id != first.id
    # The result stays the result, whatever has become of it or of the service.
    services.change(world.owner, service, ServicePatch.model_validate({"active": False}), None)
    cancel(world, first.id)
    again = world.book(service, expert, patient, tomorrow(), key="k1")
    assert (again.id, again.status) == (first.id, Status.CANCELLED)
    services.change(world.owner, service, ServicePatch.model_validate({"active": True}), None)
    clock.forward(days=3)
    late = world.book(service, expert, patient, tomorrow(days=5), key="k1")
    assert late.id != first.id


@pytest.mark.parametrize("name", ["conflict", "throttle", "lost_call", "lost_answer"])
def test_a_fault_costs_a_try_and_books_once(world: World, tables: Any, name: str) -> None:
    expert = world.expert()
    service, patient = world.service(expert), world.patient()
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", getattr(faults, name), getattr(faults, name))
        booked = world.book(service, expert, patient, tomorrow())
        assert faults.happened == 2
        assert faults.calls["TransactWriteItems"] <= 3
    assert load(world, booked.id).status == Status.HELD
    partition = world.tenant.listing_by(APPOINTMENT, "EXPERT", expert)
    assert len(list(table.Query(partition, index="l2").all())) == 1


def test_conflicts_without_end_are_a_conflict_with_alternatives(
    world: World, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expert = world.expert()
    service, patient = world.service(expert), world.patient()
    monkeypatch.setattr(table, "attempts", _three_attempts)
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[faults.conflict] * 50)
        with pytest.raises(SlotTaken, match="Too many") as busy:
            world.book(service, expert, patient, tomorrow())
    assert len(busy.value.extra["alternatives"]) == 5
    assert world.book(service, expert, patient, tomorrow()).status is Status.HELD


def _three_attempts(*_: Any) -> Any:
    yield from range(3)
    raise booking.TooBusy


def test_nothing_is_half_booked_where_the_process_dies(world: World, tables: Any) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert)
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.crash_before)
        with pytest.raises(Crash):
            world.book(service, expert, patient, tomorrow(), key="k")
        assert to_epoch(tomorrow()) in starts(world, service, expert, tomorrow(), 1)
        faults.next("TransactWriteItems", faults.crash_after)
        with pytest.raises(Crash):
            world.book(service, expert, patient, tomorrow(), key="k")
    # It was booked, and the caller who never heard of it asks again.
    assert world.book(service, expert, patient, tomorrow(), key="k").status is Status.HELD
    assert to_epoch(tomorrow()) not in starts(world, service, expert, tomorrow(), 1)


def test_booking_is_two_reads_and_one_transaction(world: World, tables: Any) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert)
    with Faults(tables) as faults:
        world.book(service, expert, patient, tomorrow(), key="k")
    assert dict(faults.calls) == {"BatchGetItem": 2, "TransactWriteItems": 1}
    with Faults(tables) as faults:
        starts(world, service, expert, tomorrow(), 24 * 30)
    assert dict(faults.calls) == {"BatchGetItem": 1, "Query": 1}


# ---------------------------------------------------------------- what is refused


def test_what_cannot_be_booked_says_why(world: World) -> None:
    weekly = {"monday": [{"from": "09:00", "to": "17:00"}]}
    expert, other = world.expert(weekly=weekly), world.expert()
    stranger = World()
    patient = world.patient()
    service, others = world.service(expert), world.service(other)
    idle = world.service(expert, active=False)
    monday = tomorrow(10) + timedelta(days=(0 - tomorrow().weekday()) % 7)
    cases: list[tuple[type[Problem], str, dict[str, Any]]] = [
        (Invalid, "past", {"start": now() - HOUR}),
        (Invalid, "offset", {"start": monday.replace(tzinfo=None)}),
        (Invalid, "minute", {"start": monday + timedelta(seconds=30)}),
        (Invalid, "outside-hours", {"start": monday + 8 * HOUR}),
        (Invalid, "inactive", {"service": idle}),
        (Invalid, "service", {"service": others}),
        (NotFound, "", {"service": new_id("svc")}),
        (NotFound, "", {"expert": new_id("exp")}),
        (NotFound, "", {"patient": new_id("pat")}),
        (NotFound, "", {"patient": stranger.patient()}),
        (NotFound, "", {"expert": stranger.expert()}),
        (Invalid, "missing", {"patient": None}),
        (Forbidden, "", {"by": world.caller(Role.EXPERT, other)}),
    ]
    for problem, code, change in cases:
        order = {"service": service, "expert": expert, "patient": patient, "start": monday}
        with pytest.raises(problem) as refused:
            world.book(**(order | change))
        assert [one.code for one in refused.value.errors] == ([code] if code else []), change
    late = world.book(service, expert, patient, monday + 8 * HOUR, override=True)
    assert late.status is Status.HELD


def test_patients_take_what_is_offered_for_themselves(world: World) -> None:
    expert, hidden = world.expert(min_notice_minutes=60), world.expert(published=False)
    service, patient = world.service(expert, hidden), world.patient()
    by = world.caller(Role.PATIENT, patient)
    booked = world.book(service, expert, patient, tomorrow(), by=by)
    assert booked.patient.id == patient
    assert booked.patient.name == "Inês Carvalho"
    for problem, change in (
        (Invalid, {"start": tomorrow(12, 10)}),
        (Invalid, {"start": tomorrow(12, days=500)}),
        (NotFound, {"patient": world.patient()}),
        (NotFound, {"expert": hidden}),
        (Forbidden, {"confirm": True}),
        (Forbidden, {"override": True}),
    ):
        order = {"service": service, "expert": expert, "patient": patient, "start": tomorrow(12)}
        with pytest.raises(problem):
            world.book(**(order | change), by=by)
    with pytest.raises(NotFound):
        offers.free_slots(by, service, hidden, tomorrow(), tomorrow() + HOUR, None)


def test_a_patient_who_left_is_not_booked(world: World) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert)
    known = table.get(PatientItem, world.tenant.item(PATIENT, patient))
    assert known
    table.transact([table.change(known, BY, set_={"deleted_at": to_text(now())})])
    with pytest.raises(NotFound):
        world.book(service, expert, patient, tomorrow())


def test_what_was_booked_keeps_its_price_length_and_policy(world: World) -> None:
    expert = world.expert()
    service = world.service(expert, price=5000, minutes=60)
    booked = load(world, world.book(service, expert, world.patient(), tomorrow()).id)
    change = {"price": {"amount": 9900, "currency": "EUR"}, "duration_minutes": 30}
    services.change(world.owner, service, ServicePatch.model_validate(change), None)
    again = load(world, booked.item_id)
    assert (again.price, again.currency, again.end - again.start) == (5000, "EUR", HOUR)
    assert again.policy["version"] == 1
    assert again.policy["cancel"][-1]["min_notice_s"] == 0
    assert (again.zone, again.local_date) == ("Europe/Lisbon", str(tomorrow().date()))
