"""Rooms, groups, maxima, any expert, calendars elsewhere: what a booking protects, and how it ends.

The last test is a property: whatever is booked, moved and cancelled, by however many at once,
nobody and nothing is in two places, and no maximum is exceeded.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from consulta.core import ids, table
from consulta.core.errors import Busy, Conflict, Forbidden, Invalid, NotFound, Problem, SlotTaken
from consulta.core.item import Actor
from consulta.core.permissions import Role
from consulta.core.time import local_day, now, to_epoch, to_text
from consulta.scheduling import appointments, booking, rescheduling, services, transitions
from consulta.scheduling.booking import Wanted
from consulta.scheduling.records import (
    APPOINTMENT,
    BLOCKING,
    RESOURCE,
    AppointmentItem,
    PaymentStatus,
    ResourceItem,
    Status,
)
from consulta.scheduling.schema.booking import BookingRequest, CancelRequest, RescheduleRequest
from consulta.scheduling.schema.services import ServicePatch
from tests.faults import Crash, Faults
from tests.unit.scheduling.world import Clock, World, tomorrow

BY = Actor("person-1", "request-1")
HOUR = timedelta(hours=1)


@pytest.fixture
def world(tables: Any) -> World:
    return World()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def load(world: World, appointment_id: str) -> AppointmentItem:
    found = table.get(AppointmentItem, world.tenant.item(APPOINTMENT, appointment_id))
    assert found
    return found


def room(world: World, name: str = "Room", **more: Any) -> str:
    resource_id = ids.new_id("res")
    item = ResourceItem.create(
        world.tenant.item(RESOURCE, resource_id),
        RESOURCE,
        BY,
        name=name,
        kind="room",
        l1pk=world.tenant.listing(RESOURCE),
        l1sk=resource_id,
        walkpk=world.tenant.listing(RESOURCE),
        walksk=resource_id,
        **more,
    )
    table.transact([table.put_new(item)])
    return resource_id


def change_room(world: World, resource_id: str, **values: Any) -> None:
    item = table.get(ResourceItem, world.tenant.item(RESOURCE, resource_id))
    assert item
    table.transact([table.change(item, BY, set_=values)])


def external(world: World, expert: str, start: datetime, hours: float = 1) -> None:
    """Something in the expert's calendar elsewhere."""
    begins = to_epoch(start)
    entry = f"{begins},{begins + int(hours * 3600)},0,0,0"
    key = world.tenant.external(expert, start.date())
    table.transact([table.put_values(key, {"event": entry, "version": 1})])


def any_expert(
    world: World, service: str, patient: str, start: datetime, **more: Any
) -> AppointmentItem:
    request = BookingRequest(service_id=service, patient_id=patient, start=start, **more)
    booked = booking.book(world.owner, request, None)
    return load(world, booked.id)


# ---------------------------------------------------------------- rooms and equipment


def test_a_room_of_each_kind_is_taken_and_no_room_twice(world: World) -> None:
    one, other, third = world.expert(), world.expert(), world.expert()
    first, second, device = room(world), room(world), room(world, "Laser")
    service = world.service(
        one, other, third, price=0, resources=[[first, second], [device, second]]
    )
    made = load(world, world.book(service, one, world.patient(), tomorrow()).id)
    assert made.resource_ids == [first, device]
    # The second group has to take the second room; the first group is left with none.
    with pytest.raises(SlotTaken, match="No room") as taken:
        world.book(service, other, world.patient(), tomorrow())
    assert taken.value.extra["alternatives"][0]["start"] == tomorrow(9).isoformat()
    transitions_cancel(world, made.item_id)
    again = load(world, world.book(service, other, world.patient(), tomorrow()).id)
    assert again.resource_ids == [first, device]


def transitions_cancel(world: World, appointment_id: str) -> None:
    request = CancelRequest.model_validate({"reason_code": "other"})
    item = load(world, appointment_id)
    appointments.apply(transitions.cancel_actions(item, BY, request, "practice"))


def test_the_last_room_is_found_where_a_greedy_choice_would_not(world: World) -> None:
    expert, first, second = world.expert(), room(world), room(world)
    service = world.service(expert, price=0, resources=[[first, second], [first]])
    made = load(world, world.book(service, expert, world.patient(), tomorrow()).id)
    assert made.resource_ids == [second, first]


def test_closed_rooms_do_for_nobody(world: World) -> None:
    expert, first, second = world.expert(), room(world), room(world)
    service = world.service(expert, price=0, resources=[[first, second]])
    change_room(world, first, active=False)
    made = load(world, world.book(service, expert, world.patient(), tomorrow(8)).id)
    assert made.resource_ids == [second]
    change_room(world, second, deleted_at=to_text(now()))
    with pytest.raises(SlotTaken):
        world.book(service, expert, world.patient(), tomorrow(12))


def test_a_room_is_free_as_soon_as_it_is_over_whatever_the_buffers(world: World) -> None:
    one, other = world.expert(buffer_after_minutes=60), world.expert()
    first = room(world)
    service = world.service(one, other, price=0, resources=[[first]])
    world.book(service, one, world.patient(), tomorrow(10))
    with pytest.raises(SlotTaken):
        world.book(service, one, world.patient(), tomorrow(11))
    with pytest.raises(SlotTaken, match="No room"):
        world.book(service, other, world.patient(), tomorrow(10, 30))
    assert world.book(service, other, world.patient(), tomorrow(11)).status is Status.CONFIRMED


def test_of_two_in_one_room_at_once_one_is_too_late(world: World, tables: Any) -> None:
    one, other, first = world.expert(), world.expert(), room(world)
    service = world.service(one, other, price=0, resources=[[first]])
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: world.book(service, other, world.patient(), tomorrow())),
        )
        with pytest.raises(SlotTaken):
            world.book(service, one, world.patient(), tomorrow())
    second = room(world)
    patch = ServicePatch.model_validate({"resources": [[first, second]]})
    services.change(world.owner, service, patch, None)
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: world.book(service, other, world.patient(), tomorrow(14))),
        )
        made = world.book(service, one, world.patient(), tomorrow(14))
    assert load(world, made.id).resource_ids == [second]


def test_a_conflict_over_one_room_takes_the_other(world: World, tables: Any) -> None:
    """The time is free while any room is: it is not over because the chosen one is gone."""
    one, other = world.expert(), world.expert()
    first, second = room(world), room(world)
    service = world.service(one, other, price=0, resources=[[first, second]])
    patient, rival = world.patient(), world.patient()
    with Faults(tables) as faults:
        nothing = faults.meanwhile(lambda: None)
        taken = faults.meanwhile(lambda: world.book(service, other, rival, tomorrow()))
        faults.next("TransactWriteItems", faults.conflict)
        faults.next("BatchGetItem", nothing, nothing, taken)
        made = world.book(service, one, patient, tomorrow())
        assert faults.happened == 4
    assert load(world, made.id).resource_ids == [second]


# ---------------------------------------------------------------- groups


def test_a_group_has_as_many_as_it_has_seats_in_one_room(world: World, clock: Clock) -> None:
    expert, first, second = world.expert(), room(world), room(world)
    service = world.service(expert, price=1000, seats=3, resources=[[first, second]])
    patients = [world.patient() for _ in range(4)]
    made = [world.book(service, expert, one, tomorrow()) for one in patients[:3]]
    assert {tuple(load(world, one.id).resource_ids) for one in made} == {(first,)}
    assert {one.price.amount for one in made} == {1000}
    with pytest.raises(SlotTaken):
        world.book(service, expert, patients[3], tomorrow())
    with pytest.raises(SlotTaken):
        world.book(service, expert, patients[3], tomorrow(10, 30))
    clock.forward(minutes=16)
    # Three seats ran out unpaid: the group is as free as if it had never been.
    assert world.book(service, expert, patients[3], tomorrow(10, 30)).status is Status.HELD


def test_a_patient_has_one_seat_of_a_group(world: World) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert, price=0, seats=3)
    world.book(service, expert, patient, tomorrow())
    with pytest.raises(Conflict, match="seat") as refused:
        world.book(service, expert, patient, tomorrow())
    assert not isinstance(refused.value, SlotTaken)


def test_another_service_does_not_join_a_group(world: World) -> None:
    expert = world.expert()
    group, single = world.service(expert, price=0, seats=3), world.service(expert, price=0)
    other = world.service(expert, price=0, seats=3)
    world.book(group, expert, world.patient(), tomorrow())
    for service in (single, other):
        with pytest.raises(SlotTaken):
            world.book(service, expert, world.patient(), tomorrow())


def test_the_last_seat_at_once_is_one_patients(world: World, tables: Any) -> None:
    expert = world.expert()
    service = world.service(expert, price=0, seats=2)
    world.book(service, expert, world.patient(), tomorrow())
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: world.book(service, expert, world.patient(), tomorrow())),
        )
        with pytest.raises(SlotTaken):
            world.book(service, expert, world.patient(), tomorrow())


# ---------------------------------------------------------------- the expert's maxima


def test_a_full_day_and_a_full_week_are_said_to_be_full(world: World) -> None:
    expert = world.expert(max_per_day=2, max_per_week=3)
    service = world.service(expert, price=0)
    monday = tomorrow(10) + timedelta(days=7 - tomorrow().weekday())
    for n in (0, 2):
        world.book(service, expert, world.patient(), monday + n * HOUR)
    with pytest.raises(Conflict, match="fully booked") as full:
        world.book(service, expert, world.patient(), monday + 4 * HOUR)
    assert full.value.extra["code"] == "fully_booked"
    offered = {one["start"][:10] for one in full.value.extra["alternatives"]}
    assert offered
    assert monday.date().isoformat() not in offered
    world.book(service, expert, world.patient(), monday + timedelta(days=6))
    with pytest.raises(Conflict, match="fully booked"):
        world.book(service, expert, world.patient(), monday + timedelta(days=3))
    over = world.book(service, expert, world.patient(), monday + timedelta(days=3), override=True)
    assert over.status is Status.CONFIRMED
    assert world.book(service, expert, world.patient(), monday + timedelta(days=7))


def test_a_day_is_the_experts_own(world: World) -> None:
    expert = world.expert(zone="Pacific/Auckland", max_per_day=1)
    service = world.service(expert, price=0)
    # Noon and midnight of UTC are two days there, 10:00 and 09:00 the day after are one.
    day = tomorrow(0, days=10)
    first, second = day + 10 * HOUR, day + 13 * HOUR
    zone = "Pacific/Auckland"
    assert local_day(first, zone) != local_day(second, zone)
    world.book(service, expert, world.patient(), first)
    world.book(service, expert, world.patient(), second)
    third = day + 33 * HOUR
    assert local_day(third, zone) == local_day(second, zone)
    with pytest.raises(Conflict, match="fully booked"):
        world.book(service, expert, world.patient(), third)


def test_the_last_of_a_day_at_once_is_one_patients(world: World, tables: Any) -> None:
    # In a zone where the local day lies in two of UTC's: neither writes the other's row.
    expert = world.expert(zone="America/Sao_Paulo", max_per_day=1)
    service = world.service(expert, price=0)
    early, late = tomorrow(10, days=5), tomorrow(1, days=6)
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: world.book(service, expert, world.patient(), late)),
        )
        with pytest.raises(Conflict, match="fully booked"):
            world.book(service, expert, world.patient(), early)


def test_seats_of_a_group_are_one_appointment_of_the_day(world: World) -> None:
    expert = world.expert(max_per_day=1)
    service = world.service(expert, price=0, seats=3)
    for _ in range(3):
        world.book(service, expert, world.patient(), tomorrow(days=3))
    with pytest.raises(Conflict, match="fully booked"):
        world.book(service, expert, world.patient(), tomorrow(12, days=3))


# ---------------------------------------------------------------- a calendar elsewhere


def test_what_is_elsewhere_counts_for_everybody_but_an_override(world: World) -> None:
    expert, patient = world.expert(buffer_after_minutes=30), world.patient()
    service = world.service(expert, price=0)
    external(world, expert, tomorrow(10))
    with pytest.raises(SlotTaken) as taken:
        world.book(service, expert, patient, tomorrow(9, 30))
    assert tomorrow(10).isoformat() not in [
        one["start"] for one in taken.value.extra["alternatives"]
    ]
    with pytest.raises(SlotTaken):
        # Its buffer is between the two.
        world.book(service, expert, patient, tomorrow(9))
    with pytest.raises(SlotTaken):
        world.book(service, expert, patient, tomorrow(), by=world.caller(Role.PATIENT, patient))
    assert world.book(service, expert, patient, tomorrow(), override=True)


# ---------------------------------------------------------------- any expert


def test_any_expert_is_the_one_with_the_least_to_do_that_day(world: World) -> None:
    busy, idle, closed = world.expert(), world.expert(), world.expert(weekly={})
    service = world.service(closed, busy, idle, price=0)
    world.book(service, busy, world.patient(), tomorrow(8))
    first = any_expert(world, service, world.patient(), tomorrow(10))
    assert first.expert_id == idle
    second = any_expert(world, service, world.patient(), tomorrow(10))
    assert second.expert_id == busy
    with pytest.raises(SlotTaken) as taken:
        any_expert(world, service, world.patient(), tomorrow(10))
    found = taken.value.extra["alternatives"]
    assert len(found) == 5
    assert {one["expert_id"] for one in found} <= {busy, idle}
    with pytest.raises(NotFound):
        any_expert(world, ids.new_id("svc"), world.patient(), tomorrow(10))
    nobody = world.service(price=0)
    with pytest.raises(Invalid) as refused:
        any_expert(world, nobody, world.patient(), tomorrow(10))
    assert refused.value.errors[0].path == "body.expert_id"
    with pytest.raises(Invalid) as refused:
        any_expert(world, world.service(closed, price=0), world.patient(), tomorrow(10))
    assert refused.value.errors[0].code == "outside-hours"


def test_any_expert_goes_to_the_next_where_a_race_is_lost(world: World, tables: Any) -> None:
    one, other = world.expert(), world.expert()
    service = world.service(one, other, price=0)
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: world.book(service, one, world.patient(), tomorrow())),
        )
        made = any_expert(world, service, world.patient(), tomorrow())
    assert made.expert_id == other


def test_any_expert_takes_no_longer_than_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def busy(*_: Any, **__: Any) -> None:
        tried.append("")
        raise Busy

    service = world.service(*(world.expert() for _ in range(4)), price=0)
    patient = world.patient()
    monkeypatch.setattr(booking, "DEADLINE_S", 0.0)
    monkeypatch.setattr(table, "transact", busy)
    with pytest.raises(SlotTaken) as taken:
        any_expert(world, service, patient, tomorrow())
    assert len(tried) == 1
    assert taken.value.extra["alternatives"]


def test_nobody_gives_what_is_gone(world: World) -> None:
    service = world.service(world.expert(), price=0)
    services.delete(world.owner, service, None)
    with pytest.raises(NotFound):
        any_expert(world, service, world.patient(), tomorrow())


def test_a_patient_with_any_expert_gets_only_who_is_published(world: World) -> None:
    hidden, shown = world.expert(published=False), world.expert()
    service, patient = world.service(hidden, shown, price=0), world.patient()
    request = BookingRequest(service_id=service, start=tomorrow())
    booked = booking.book(world.caller(Role.PATIENT, patient), request, None)
    assert booked.expert.id == shown
    request = BookingRequest(service_id=service, patient_id=patient, start=tomorrow(12))
    with pytest.raises(Forbidden):
        booking.book(world.caller(Role.EXPERT, shown), request, None)


# ---------------------------------------------------------------- for series, waitlist, packages


def wanted(world: World, **more: Any) -> Wanted:
    expert = world.expert()
    values = {
        "service_id": world.service(expert),
        "expert_id": expert,
        "patient_id": world.patient(),
        "start": tomorrow(),
    }
    return Wanted(**(values | more))


def test_a_given_id_is_placed_once(world: World, tables: Any) -> None:
    asked = wanted(world, appointment_id=ids.new_id("appt"), confirm=True, series_id="ser_1")
    first = booking.place(world.owner, asked)
    assert (first.item_id, first.series_id) == (asked.appointment_id, "ser_1")
    assert booking.place(world.owner, asked).item_id == first.item_id
    other = Wanted(
        **{**_fields(asked), "appointment_id": ids.new_id("appt"), "start": tomorrow(14)}
    )
    with Faults(tables) as faults:
        # The same delivery twice, at the same time.
        faults.next(
            "TransactWriteItems", faults.meanwhile(lambda: booking.place(world.owner, other))
        )
        assert booking.place(world.owner, other).version == 1
    assert len(appointments_of(world, asked.expert_id)) == 2


def _fields(asked: Wanted) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in Wanted.__dataclass_fields__}


def test_what_goes_along_is_written_with_it_or_not_at_all(world: World) -> None:
    asked, key = wanted(world, confirm=True), world.tenant.unique("test", "row")

    def row(item: AppointmentItem) -> list[table.Action]:
        return [table.put_values(key, {"entity": "TEST", "item": item.item_id}, label="row")]

    made = booking.place(world.owner, asked, also=row)
    stored = table.get_raw(key)
    assert stored
    assert stored["item"]["S"] == made.item_id
    again = Wanted(**{**_fields(asked), "start": tomorrow(15)})
    with pytest.raises(Conflict, match="changed at the same time"):
        booking.place(world.owner, again, also=row)
    assert len(appointments_of(world, asked.expert_id)) == 1


def test_an_offer_is_held_until_its_end_and_is_none_of_three(world: World, clock: Clock) -> None:
    until = clock.at + timedelta(hours=2)
    asked = wanted(world, hold_until=until, waitlist_id="wait_1", confirm=False)
    expert, service = asked.expert_id, asked.service_id
    offer = booking.place(world.owner, asked)
    assert (offer.status, offer.hold_expires_at) == (
        Status.HELD,
        until.replace(microsecond=0),
    )
    for hour in (12, 13, 14):
        world.book(service, expert, asked.patient_id, tomorrow(hour))
    with pytest.raises(Conflict, match="3 unpaid"):
        world.book(service, expert, asked.patient_id, tomorrow(15))
    clock.forward(minutes=119)
    later = clock.at + timedelta(minutes=20)
    found = load(world, offer.item_id)
    appointments.apply(transitions.extend_actions(found, BY, later))
    clock.forward(minutes=10)
    with pytest.raises(SlotTaken):
        world.book(service, expert, world.patient(), tomorrow())
    clock.forward(minutes=11)
    assert world.book(service, expert, world.patient(), tomorrow()).status is Status.HELD
    free = world.service(expert, price=0)
    asked = wanted(
        world, service_id=free, expert_id=expert, start=tomorrow(20), hold_until=clock.at + HOUR
    )
    made = booking.place(world.owner, asked)
    assert (made.status, made.payment_status) == (Status.HELD, PaymentStatus.NOT_REQUIRED)


def test_a_package_only_pays_for_what_is_sold_so(world: World) -> None:
    expert, patient = world.expert(), world.patient()
    single = world.service(expert)
    package = world.service(expert, kind="PACKAGE", sessions=3, validity_days=30)
    with pytest.raises(Invalid) as refused:
        world.book(single, expert, patient, tomorrow(), package_id=ids.new_id("pkg"))
    assert refused.value.errors[0].path == "body.package_id"
    with pytest.raises(Conflict) as none:
        world.book(package, expert, patient, tomorrow())
    assert none.value.type == "no-package"


# ---------------------------------------------------------------- what it was booked under


def test_the_experts_own_terms_are_in_the_snapshot(world: World) -> None:
    own = {"window_minutes": 120, "fixed": 700, "percent": 25}
    expert, other = world.expert(cancellation=own), world.expert()
    service = world.service(expert, other, location={"kind": "online"})
    made = load(world, world.book(service, expert, world.patient(), tomorrow()).id)
    assert made.policy["cancel"] == [
        {"min_notice_s": 7200, "keep": {"fixed": 0, "percent": 0}},
        {"min_notice_s": 0, "keep": {"fixed": 700, "percent": 25}},
    ]
    assert made.policy["no_show"]["percent"] == 100
    assert made.location["kind"] == "online"
    plain = load(world, world.book(service, other, world.patient(), tomorrow()).id)
    assert plain.policy["cancel"][0]["min_notice_s"] == 86_400


def test_notice_and_horizon_hold_for_patients(world: World) -> None:
    expert = world.expert(min_notice_minutes=60 * 24 * 3, horizon_days=10)
    service, patient = world.service(expert), world.patient()
    by = world.caller(Role.PATIENT, patient)
    for days in (1, 12):
        with pytest.raises(Invalid) as refused:
            world.book(service, expert, patient, tomorrow(days=days), by=by)
        assert refused.value.errors[0].code == "not-offered"
        assert world.book(service, expert, world.patient(), tomorrow(days=days))
    assert world.book(service, expert, patient, tomorrow(days=6), by=by)


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("name", ["conflict", "throttle", "lost_call", "lost_answer"])
def test_a_fault_with_a_room_and_a_maximum_costs_a_try(
    world: World, tables: Any, name: str
) -> None:
    expert, patient = world.expert(max_per_day=1), world.patient()
    service = world.service(expert, price=0, seats=2, resources=[[room(world)]])
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[getattr(faults, name)] * 3)
        made = world.book(service, expert, patient, tomorrow(days=3), key="k")
        assert faults.happened == 3
    assert [one.item_id for one in appointments_of(world, expert)] == [made.id]


def test_a_crash_before_or_after_the_write_leaves_all_or_nothing(world: World, tables: Any) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert, price=0, resources=[[room(world)]])
    for crash, count in (("crash_before", 0), ("crash_after", 1)):
        with Faults(tables) as faults:
            faults.next("TransactWriteItems", getattr(faults, crash))
            with pytest.raises(Crash):
                world.book(service, expert, patient, tomorrow(), key="k")
        assert len(appointments_of(world, expert)) == count
    again = world.book(service, expert, patient, tomorrow(), key="k")
    assert [again.id] == [one.item_id for one in appointments_of(world, expert)]


def test_a_booking_with_rooms_and_maxima_is_two_reads_and_one_write(
    world: World, tables: Any
) -> None:
    expert, patient = world.expert(max_per_week=5, auto_confirm=False), world.patient()
    service = world.service(expert, resources=[[room(world), room(world)]])
    with Faults(tables) as faults:
        world.book(service, expert, patient, tomorrow(), key="k")
    assert dict(faults.calls) == {"BatchGetItem": 2, "TransactWriteItems": 1}


# ---------------------------------------------------------------- whatever is done, at once


def appointments_of(world: World, *experts: str) -> list[AppointmentItem]:
    return [
        AppointmentItem.read(raw)
        for expert in experts
        for raw in table.Query(
            world.tenant.listing_by(APPOINTMENT, "EXPERT", expert), index="l2"
        ).all()
    ]


PER_DAY, SEATS = 3, 2
ZONE = "America/Sao_Paulo"


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_ever_in_two_places(
    world: World, tables: Any, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    luck = random.Random(seed)
    hours = {"max_per_day": PER_DAY, "zone": ZONE}
    experts = [world.expert(**hours, buffer_after_minutes=15), world.expert(**hours)]
    rooms = [room(world), room(world)]
    patients = [world.patient() for _ in range(4)]
    offered = [
        world.service(*experts, price=0, resources=[rooms]),
        world.service(*experts, price=0, seats=SEATS, resources=[rooms]),
        world.service(*experts, price=0, minutes=30),
    ]
    starts = [tomorrow(hour, minute, days=4) for hour in (1, 2, 3, 12, 13) for minute in (0, 30)]

    def book(rng: random.Random) -> None:
        expert = rng.choice([*experts, ""])
        asked = Wanted(
            rng.choice(offered), expert, rng.choice(patients), rng.choice(starts), confirm=True
        )
        booking.place(world.owner, asked)

    def existing(rng: random.Random) -> AppointmentItem | None:
        found = [one for one in appointments_of(world, *experts) if one.status == Status.CONFIRMED]
        return rng.choice(found) if found else None

    def move(rng: random.Random) -> None:
        found = existing(rng)
        if found:
            request = RescheduleRequest(
                start=rng.choice(starts), expert_id=rng.choice([None, *experts])
            )
            rescheduling.reschedule(world.owner, found.item_id, request, None)

    def cancel(rng: random.Random) -> None:
        found = existing(rng)
        if found:
            transitions_cancel(world, found.item_id)

    def work(number: int) -> None:
        rng = random.Random(seed * 100 + number)
        for _ in range(7):
            act = rng.choices([book, move, cancel], [6, 4, 1])[0]
            try:
                act(rng)
            except Problem:
                continue

    _atomic(tables, monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, luck.sample(range(100), 4)))
    taken = [one for one in appointments_of(world, *experts) if one.status in BLOCKING]
    assert taken
    _check_apart(taken)
    _check_rows(world, taken)


def _atomic(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call is atomic, as DynamoDB's are and moto's are not."""
    call, lock = tables._make_api_call, threading.Lock()

    def one_at_a_time(operation: str, request: dict[str, Any]) -> Any:
        with lock:
            return call(operation, request)

    monkeypatch.setattr(tables, "_make_api_call", one_at_a_time)


def _check_apart(taken: list[AppointmentItem]) -> None:
    """By a plain look at every pair: no row and no key of ours is asked."""
    for number, one in enumerate(taken):
        for other in taken[number + 1 :]:
            same_group = int(one.seats) > 1 and (one.service_id, one.start, one.expert_id) == (
                other.service_id,
                other.start,
                other.expert_id,
            )
            gap = timedelta(seconds=max(0, int(one.buffer_after_s)))
            if one.expert_id == other.expert_id and not same_group:
                assert one.end + gap <= other.start or other.end + gap <= one.start
            if one.patient_id == other.patient_id:
                assert one.end <= other.start or other.end <= one.start
            if set(one.resource_ids) & set(other.resource_ids) and not same_group:
                assert one.end <= other.start or other.end <= one.start
    groups = Counter((one.service_id, one.expert_id, one.start) for one in taken)
    capacity = {one.service_id: int(one.seats) for one in taken}
    assert all(count <= capacity[service] for (service, _, _), count in groups.items())
    per_day: dict[tuple[str, object], set[object]] = {}
    for one in taken:
        session = (one.service_id, one.start) if one.seats > 1 else one.item_id
        day = local_day(one.start, ZONE)
        per_day.setdefault((one.expert_id, day), set()).add(session)
    assert all(len(sessions) <= PER_DAY for sessions in per_day.values())


def _check_rows(world: World, taken: list[AppointmentItem]) -> None:
    """Every place that is taken in a calendar row belongs to an appointment that is there."""
    client_ids = {one.item_id for one in taken}
    scan: Callable[..., Any] = table._dynamodb().scan
    for raw in scan(TableName="core")["Items"]:
        if "#CALENDAR#" in raw["pk"]["S"] and raw["pk"]["S"].startswith(world.tenant.prefix):
            assert set(raw) - {"pk", "sk", "version"} <= client_ids
