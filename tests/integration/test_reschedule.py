"""Rescheduling: out of one time and into another, by the rules of booking and of the policy."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consulta.core import table
from consulta.core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Problem,
    SlotTaken,
)
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Key
from consulta.core.permissions import Role
from consulta.core.time import local_day, now, to_text
from consulta.money.accounts import payees
from consulta.money.paying import payments
from consulta.money.schema.payments import ManualPaymentRequest
from consulta.scheduling import offers, rescheduling, services, suggestions, transitions
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, Status
from consulta.scheduling.schema.appointments import AppointmentDetail
from consulta.scheduling.schema.booking import CancelRequest, RescheduleRequest
from consulta.scheduling.schema.services import ServicePatch
from tests.faults import Crash, Faults
from tests.integration.test_booking import external, room
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


def move(
    world: World,
    appointment_id: str,
    start: Any,
    *,
    by: Principal | None = None,
    key: str | None = None,
    if_match: str | None = None,
    **more: Any,
) -> AppointmentDetail:
    request = RescheduleRequest(start=start, **more)
    return rescheduling.reschedule(
        by or world.owner, appointment_id, request, key, if_match=if_match
    )


def free(world: World, service: str, expert: str, low: Any, hours: int = 1) -> int:
    found = offers.free_slots(world.owner, service, expert, low, low + hours * HOUR, None)
    return len(found.slots)


def test_it_leaves_its_old_time_and_takes_the_new_one(world: World) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert, minutes=60)
    booked = world.book(service, expert, patient, tomorrow(10, days=3), confirm=True)
    before = load(world, booked.id)
    shown = move(world, booked.id, tomorrow(15, days=40), reason="on holiday", notify=False)
    after = load(world, booked.id)
    assert (shown.start, shown.rescheduled, shown.status) == (
        tomorrow(15, days=40),
        1,
        Status.CONFIRMED,
    )
    assert (after.order_id, after.price, after.policy) == (
        before.order_id,
        before.price,
        before.policy,
    )
    assert (after.notify, after.reschedule_note) == (False, "on holiday")
    assert after.local_date == str(tomorrow(15, days=40).date())
    assert after.l1pk.endswith(to_text(after.start)[:7])
    for place in (after.l1sk, after.l2sk, after.l3sk):
        assert place == f"{to_text(after.start)}#{booked.id}"
    assert free(world, service, expert, tomorrow(10, days=3)) == 2
    assert free(world, service, expert, tomorrow(15, days=40)) == 0
    with pytest.raises(SlotTaken):
        world.book(service, expert, world.patient(), tomorrow(15, days=40))
    assert world.book(service, expert, patient, tomorrow(10, days=3))


def test_it_does_not_stand_in_its_own_way(world: World) -> None:
    expert = world.expert(max_per_day=1, buffer_after_minutes=30)
    service = world.service(expert, price=0, resources=[[room(world)]])
    booked = world.book(service, expert, world.patient(), tomorrow(10, days=3))
    shown = move(world, booked.id, tomorrow(10, 30, days=3))
    assert shown.start == tomorrow(10, 30, days=3)
    over = move(world, booked.id, tomorrow(23, 30, days=3))
    assert over.end == tomorrow(0, 30, days=4)
    assert move(world, booked.id, tomorrow(23, days=3)).rescheduled == 3
    with pytest.raises(Conflict, match="fully booked"):
        world.book(service, expert, world.patient(), tomorrow(8, days=3))


def test_another_expert_of_the_service_takes_it_over(world: World) -> None:
    one, other, foreign = world.expert(), world.expert(), world.expert()
    first = room(world)
    service, patient = world.service(one, other, price=0, resources=[[first]]), world.patient()
    booked = world.book(service, one, patient, tomorrow(10, days=3))
    link = {"meeting_url": "https://meet.example/one"}
    table.transact([table.update(load(world, booked.id).key, set_=link)])
    assert load(world, booked.id).meeting_url
    shown = move(world, booked.id, tomorrow(10, days=3), expert_id=other)
    after = load(world, booked.id)
    # The link was to a meeting of the one's.
    assert after.meeting_url is None
    assert (shown.expert.id, after.l2pk) == (
        other,
        world.tenant.listing_by(APPOINTMENT, "EXPERT", other),
    )
    assert after.resource_ids == [first]
    assert free(world, service, one, tomorrow(10, days=3)) == 0
    with pytest.raises(Invalid) as refused:
        move(world, booked.id, tomorrow(12, days=3), expert_id=foreign)
    assert refused.value.errors[0].path == "body.expert_id"
    by = world.caller(Role.EXPERT, other)
    with pytest.raises(Forbidden):
        move(world, booked.id, tomorrow(12, days=3), by=by, expert_id=one)
    with pytest.raises(NotFound):
        move(world, booked.id, tomorrow(12, days=3), expert_id=World().expert())


def test_the_same_is_checked_as_for_a_booking(world: World) -> None:
    weekly = {"monday": [{"from": "09:00", "to": "17:00"}]}
    expert, second, patient = world.expert(weekly=weekly), world.expert(), world.patient()
    service = world.service(expert, second, price=0)
    monday = tomorrow(9, days=10) + timedelta(days=(0 - tomorrow(days=10).weekday()) % 7)
    booked = world.book(service, expert, patient, monday)
    world.book(service, expert, world.patient(), monday + 2 * HOUR)
    world.book(service, second, patient, monday + 4 * HOUR)
    external(world, expert, monday + 6 * HOUR)
    cases: list[tuple[type[Problem], str, dict[str, Any]]] = [
        (Invalid, "past", {"start": tomorrow(days=-1)}),
        (Invalid, "offset", {"start": monday.replace(tzinfo=None)}),
        (Invalid, "minute", {"start": monday + timedelta(seconds=5)}),
        (Invalid, "outside-hours", {"start": monday + 9 * HOUR}),
        (Invalid, "unchanged", {"start": monday}),
        (SlotTaken, "", {"start": monday + 2 * HOUR}),
        (SlotTaken, "", {"start": monday + 4 * HOUR}),
        (SlotTaken, "", {"start": monday + 6 * HOUR}),
        (Forbidden, "", {"start": monday + HOUR, "override": True, "by": _patient(world, patient)}),
        (NotFound, "", {"start": monday + HOUR, "by": _patient(world, world.patient())}),
        (Invalid, "not-offered", {"start": monday + timedelta(minutes=70), "by": None}),
    ]
    for problem, code, change in cases:
        by = change.pop("by", world.owner) or _patient(world, patient)
        with pytest.raises(problem) as refused:
            move(world, booked.id, change.pop("start"), by=by, **change)
        assert [one.code for one in refused.value.errors] == ([code] if code else []), code
        if problem is SlotTaken:
            assert refused.value.extra["alternatives"]
    assert load(world, booked.id).version == 1
    shown = move(world, booked.id, monday + 9 * HOUR, override=True)
    assert shown.start == monday + 9 * HOUR


def _patient(world: World, patient: str) -> Principal:
    return world.caller(Role.PATIENT, patient)


def test_only_what_is_booked_in_earnest_is_moved(world: World) -> None:
    expert = world.expert()
    service = world.service(expert)
    held = world.book(service, expert, world.patient(), tomorrow(10, days=3))
    with pytest.raises(Conflict) as refused:
        move(world, held.id, tomorrow(12, days=3))
    assert refused.value.extra["appointment_status"] == "held"
    request = CancelRequest.model_validate({"reason_code": "other"})
    table.transact(transitions.cancel_actions(load(world, held.id), BY, request, "practice"))
    with pytest.raises(Conflict, match="cancelled"):
        move(world, held.id, tomorrow(12, days=3))


def test_a_group_keeps_its_seats(world: World) -> None:
    expert, patients = world.expert(), [world.patient() for _ in range(3)]
    first, second = room(world), room(world)
    service = world.service(expert, price=0, seats=2, resources=[[first, second]])
    made = [world.book(service, expert, one, tomorrow(10, days=3)) for one in patients[:2]]
    other = world.book(service, expert, patients[2], tomorrow(14, days=3))
    with pytest.raises(SlotTaken):
        move(world, other.id, tomorrow(10, days=3))
    move(world, made[0].id, tomorrow(14, days=3))
    assert load(world, made[0].id).resource_ids == load(world, other.id).resource_ids
    assert world.book(service, expert, patients[0], tomorrow(10, days=3))
    with pytest.raises(SlotTaken):
        move(world, made[1].id, tomorrow(14, days=3))


def test_it_keeps_the_length_that_was_booked(world: World) -> None:
    expert = world.expert()
    service = world.service(expert, price=0, minutes=60)
    booked = world.book(service, expert, world.patient(), tomorrow(10, days=3))
    patch = ServicePatch.model_validate({"duration_minutes": 30})
    services.change(world.owner, service, patch, None)
    shown = move(world, booked.id, tomorrow(12, days=3))
    assert shown.end - shown.start == HOUR


def test_what_is_booked_is_moved_whatever_became_of_its_service(world: World) -> None:
    expert, other, patient = world.expert(), world.expert(), world.patient()
    service = world.service(expert, price=0)
    booked = world.book(service, expert, patient, tomorrow(10, days=3))
    patch = ServicePatch.model_validate({"active": False})
    services.change(world.owner, service, patch, None)
    assert move(world, booked.id, tomorrow(11, days=3)).start == tomorrow(11, days=3)
    assert suggestions.suggest(world.owner, booked.id).items
    # Nobody is offered it any more: that goes for who has it as well.
    with pytest.raises(Invalid) as refused:
        move(world, booked.id, tomorrow(12, days=3), by=_patient(world, patient))
    assert refused.value.errors[0].code == "inactive"
    patch = ServicePatch.model_validate({"expert_ids": [other]})
    services.change(world.owner, service, patch, None)
    assert move(world, booked.id, tomorrow(12, days=3)).expert.id == expert
    assert move(world, booked.id, tomorrow(12, days=3), expert_id=other).expert.id == other
    with pytest.raises(Invalid) as refused:
        move(world, booked.id, tomorrow(12, days=3), expert_id=expert)
    assert refused.value.errors[0].code == "service"
    services.delete(world.owner, service, None)
    assert move(world, booked.id, tomorrow(13, days=3)).start == tomorrow(13, days=3)


# ---------------------------------------------------------------- who was paid


def connect(world: World, expert: str) -> None:
    """An expert who is paid directly."""
    payee = payees.ensure(world.tenant, expert, BY)
    told = {"stripe_account": f"acct_{expert}", "charges_enabled": True}
    table.transact([table.change(payee, BY, set_=told)])


def pay(world: World, appointment_id: str) -> None:
    """In cash: whoever is paid for the expert's work has it."""
    body = {
        "appointment_id": appointment_id,
        "method": "cash",
        "amount": {"amount": 5000, "currency": "EUR"},
        "received_at": str(local_day(now(), "Europe/Lisbon")),
    }
    payments.record(world.owner, ManualPaymentRequest.model_validate(body), None)


def test_what_was_paid_stays_with_its_payee(world: World) -> None:
    own, other, third = world.expert(), world.expert(), world.expert()
    service = world.service(own, other, third)
    connect(world, own)
    for expert, to, start in ((own, other, 10), (other, own, 12)):
        booked = world.book(service, expert, world.patient(), tomorrow(start, days=3), confirm=True)
        there = tomorrow(start, days=9)
        # Nothing was paid yet: whoever has it then is paid.
        assert move(world, booked.id, there, expert_id=to).expert.id == to
        move(world, booked.id, tomorrow(start, days=3), expert_id=expert)
        pay(world, booked.id)
        with pytest.raises(Conflict, match="payee") as refused:
            move(world, booked.id, there, expert_id=to)
        assert refused.value.extra["code"] == "other_payee"
        assert move(world, booked.id, there).expert.id == expert
    # Both are paid through the practice.
    assert move(world, booked.id, there, expert_id=third).expert.id == third


# ---------------------------------------------------------------- the policy


def policy(world: World, appointment_id: str, **reschedule: Any) -> None:
    item = load(world, appointment_id)
    rules = {**item.policy, "reschedule": {**item.policy["reschedule"], **reschedule}}
    stored = AppointmentItem.policy.serialize(rules)
    table.transact([table.change(item, BY, set_={"policy": stored})])


def test_patients_move_as_often_and_as_late_as_the_policy_says(world: World, clock: Clock) -> None:
    expert, patient = world.expert(), world.patient()
    by = _patient(world, patient)
    service = world.service(expert, price=0)
    clock.at = tomorrow(9, days=1)
    booked = world.book(service, expert, patient, tomorrow(10, days=5))
    policy(world, booked.id, max=1)
    move(world, booked.id, tomorrow(11, days=5), by=by)
    with pytest.raises(Conflict, match="often"):
        move(world, booked.id, tomorrow(12, days=5), by=by)
    assert move(world, booked.id, tomorrow(12, days=5)).rescheduled == 2
    policy(world, booked.id, max=9)
    # Exactly a day before is still in time.
    clock.at = tomorrow(12, days=4)
    assert move(world, booked.id, tomorrow(13, days=5), by=by)
    clock.at = tomorrow(13, days=4) + timedelta(seconds=1)
    with pytest.raises(Conflict, match="late"):
        move(world, booked.id, tomorrow(14, days=6), by=by)
    policy(world, booked.id, inside="fee")
    move(world, booked.id, tomorrow(14, days=9), by=by)
    # Notice counts to the earlier start from now on, however often it is moved.
    assert load(world, booked.id).notice_start == tomorrow(13, days=5)
    move(world, booked.id, tomorrow(14, days=10), by=by)
    assert load(world, booked.id).notice_start == tomorrow(13, days=5)
    move(world, booked.id, tomorrow(10, days=5), by=by)
    assert load(world, booked.id).notice_start == tomorrow(10, days=5)
    clock.at = tomorrow(10, days=6)
    with pytest.raises(Conflict, match="begun"):
        move(world, booked.id, tomorrow(14, days=9), by=by)


def test_what_the_practice_moves_takes_no_notice_away(world: World, clock: Clock) -> None:
    expert = world.expert()
    service = world.service(expert, price=0)
    for hour, requested_by, counted in (
        (10, "patient", tomorrow(10, days=2)),
        (14, "practice", None),
    ):
        clock.at = tomorrow(9, days=1)
        booked = world.book(service, expert, world.patient(), tomorrow(hour, days=2))
        clock.at = tomorrow(15, days=1)
        move(world, booked.id, tomorrow(hour, days=9), requested_by=requested_by)
        assert load(world, booked.id).notice_start == counted
        move(world, booked.id, tomorrow(hour, days=20))
        assert load(world, booked.id).notice_start == counted


def test_the_deadline_of_an_approval_moves_along(world: World, clock: Clock) -> None:
    clock.at = tomorrow(9)
    expert = world.expert(auto_confirm=False)
    service = world.service(expert, price=0)
    booked = world.book(service, expert, world.patient(), tomorrow(15))
    assert load(world, booked.id).approve_until == tomorrow(15)
    shown = move(world, booked.id, tomorrow(15, days=9))
    assert shown.status is Status.AWAITING_APPROVAL
    assert load(world, booked.id).approve_until == tomorrow(9, days=2)


# ---------------------------------------------------------------- at once, and twice


def test_of_two_at_once_one_wins(world: World, tables: Any) -> None:
    expert = world.expert()
    service = world.service(expert, price=0)
    booked = world.book(service, expert, world.patient(), tomorrow(10, days=3))
    other = replace(world.caller(Role.ADMIN), request_id="request-2")
    for if_match, problem in ((None, Conflict), ('"2"', PreconditionFailed)):
        with Faults(tables) as faults:
            hour = 12 if if_match is None else 16
            faults.next(
                "TransactWriteItems",
                faults.meanwhile(
                    lambda hour=hour: move(world, booked.id, tomorrow(hour, days=3), by=other)
                ),
            )
            with pytest.raises(problem):
                move(world, booked.id, tomorrow(14, days=3), if_match=if_match)
        assert load(world, booked.id).start == tomorrow(hour, days=3)
    assert free(world, service, expert, tomorrow(14, days=3)) == 2
    with pytest.raises(PreconditionFailed):
        move(world, booked.id, tomorrow(14, days=3), if_match='"2"')
    assert move(world, booked.id, tomorrow(14, days=3), if_match='"3"').version == 4


def test_a_booking_meanwhile_wins_the_time(world: World, tables: Any) -> None:
    expert = world.expert()
    service = world.service(expert, price=0)
    booked = world.book(service, expert, world.patient(), tomorrow(10, days=3))
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(
                lambda: world.book(service, expert, world.patient(), tomorrow(12, days=3))
            ),
        )
        with pytest.raises(SlotTaken) as taken:
            move(world, booked.id, tomorrow(12, 30, days=3))
    assert taken.value.extra["alternatives"]
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(
                lambda: world.book(service, expert, world.patient(), tomorrow(20, days=3))
            ),
        )
        assert move(world, booked.id, tomorrow(14, days=3)).version == 2


def test_a_key_moves_once(world: World) -> None:
    expert = world.expert()
    service = world.service(expert, price=0)
    one, other = (
        world.book(service, expert, world.patient(), tomorrow(hour, days=3)) for hour in (8, 9)
    )
    first = move(world, one.id, tomorrow(12, days=3), key="k")
    assert move(world, one.id, tomorrow(12, days=3), key="k") == first
    for appointment, start in ((one.id, tomorrow(13, days=3)), (other.id, tomorrow(12, days=3))):
        with pytest.raises(Invalid) as refused:
            move(world, appointment, start, key="k")
        assert refused.value.errors[0].code == "reused"
    assert load(world, one.id).rescheduled == 1


@pytest.mark.parametrize("name", ["conflict", "throttle", "lost_call", "lost_answer"])
def test_a_fault_costs_a_try_and_moves_once(world: World, tables: Any, name: str) -> None:
    expert, second = world.expert(), world.expert()
    service = world.service(expert, second, price=0, resources=[[room(world)]])
    booked = world.book(service, expert, world.patient(), tomorrow(10, days=3))
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[getattr(faults, name)] * 2)
        shown = move(world, booked.id, tomorrow(12, days=3), expert_id=second)
        assert faults.happened == 2
    assert (shown.rescheduled, shown.version) == (1, 2)


@pytest.mark.parametrize("crash", ["crash_before", "crash_after"])
def test_a_crash_leaves_it_here_or_there(world: World, tables: Any, crash: str) -> None:
    expert = world.expert()
    service = world.service(expert, price=0, resources=[[room(world)]])
    booked = world.book(service, expert, world.patient(), tomorrow(10, days=3))
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", getattr(faults, crash))
        with pytest.raises(Crash):
            move(world, booked.id, tomorrow(12, days=3), key="k")
    hours = {10: 2, 12: 0} if crash == "crash_after" else {10: 0, 12: 2}
    for hour, count in hours.items():
        assert free(world, service, expert, tomorrow(hour, days=3)) == count
    move(world, booked.id, tomorrow(12, days=3), key="k")
    assert load(world, booked.id).rescheduled == 1


def test_conflicts_without_end_are_a_conflict_with_alternatives(
    world: World, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expert = world.expert()
    service = world.service(expert, price=0)
    booked = world.book(service, expert, world.patient(), tomorrow(10, days=3))

    def three(*_: Any) -> Any:
        yield from range(3)
        raise rescheduling.TooBusy

    monkeypatch.setattr(table, "attempts", three)
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[faults.conflict] * 50)
        with pytest.raises(SlotTaken, match="Too many") as busy:
            move(world, booked.id, tomorrow(12, days=3))
    assert len(busy.value.extra["alternatives"]) == 5


def test_it_is_one_transaction_of_a_few_rows(world: World, tables: Any) -> None:
    """Over midnight, to another expert, into another room, with weekly maxima on both sides."""
    one, other = (world.expert(max_per_week=9, buffer_after_minutes=90) for _ in range(2))
    groups = [[room(world)], [room(world)], [room(world)]]
    service = world.service(one, other, price=0, minutes=120, resources=groups)
    booked = world.book(service, one, world.patient(), tomorrow(23, days=3))
    sent: list[int] = []

    def count(params: dict[str, Any], **_: Any) -> None:
        sent.append(len(params["TransactItems"]))

    name = "provide-client-params.dynamodb.TransactWriteItems"
    tables.meta.events.register(name, count)
    try:
        move(world, booked.id, tomorrow(23, days=30), expert_id=other)
    finally:
        tables.meta.events.unregister(name, count)
    assert len(sent) == 1
    assert sent[0] <= 40
    keys: set[Key] = set()
    for raw in tables.scan(TableName="core")["Items"]:
        if booked.id in raw:
            keys.add(Key(raw["pk"]["S"], raw["sk"]["S"]))
    assert {key.sk for key in keys} == {
        str(tomorrow(days=30).date()),
        str(tomorrow(days=31).date()),
    }
