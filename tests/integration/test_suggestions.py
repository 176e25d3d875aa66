"""Other times for an appointment: what suits best first, and nothing that is not free."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from consulta.core.errors import Conflict, NotFound
from consulta.core.ids import new_id
from consulta.core.permissions import Role
from consulta.core.time import to_epoch
from consulta.money.appointments import closing
from consulta.scheduling import rescheduling, suggestions
from consulta.scheduling.schema.booking import CancelRequest, RescheduleRequest
from tests.faults import Faults
from tests.unit.scheduling.world import World, tomorrow

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HOURS = {
    "weekly": {day: [{"from": "09:00", "to": "12:00"}] for day in DAYS},
    "slot_interval_minutes": 60,
}
WEEK, HOUR = timedelta(days=7), timedelta(hours=1)
START = tomorrow(10, days=9)


class Clinic:
    def __init__(self) -> None:
        self.world = World()
        self.expert, self.other = self.world.expert(**HOURS), self.world.expert(**HOURS)
        self.service = self.world.service(self.expert, self.other, price=0)
        self.patient = self.world.patient()
        self.own = self.book(START, self.patient)

    def book(self, start: datetime, patient: str = "", expert: str = "") -> str:
        who = patient or self.world.patient()
        return self.world.book(self.service, expert or self.expert, who, start).id

    def found(self, count: int = 5) -> list[tuple[str, datetime, str]]:
        answer = suggestions.suggest(self.world.owner, self.own, count)
        return [(str(one.reason), one.start, one.expert_id) for one in answer.items]


@pytest.fixture
def clinic(tables: Any) -> Clinic:
    return Clinic()


def test_the_best_come_first_with_their_reasons(clinic: Clinic) -> None:
    assert clinic.found() == [
        ("same_time_next_week", START + WEEK, clinic.expert),
        ("same_time_next_week", START + 2 * WEEK, clinic.expert),
        ("same_day", START - HOUR, clinic.expert),
        ("nearest", START + HOUR, clinic.expert),
        ("other_expert", START, clinic.other),
    ]


def test_what_is_taken_is_left_out(clinic: Clinic) -> None:
    clinic.book(START + WEEK)
    clinic.book(START - HOUR)
    clinic.book(START, expert=clinic.other)
    # The patient is somewhere else then.
    clinic.book(START + 2 * WEEK, clinic.patient, clinic.other)
    assert clinic.found() == [
        ("same_time_next_week", START + 3 * WEEK, clinic.expert),
        ("same_time_next_week", START + 4 * WEEK, clinic.expert),
        ("same_day", START + HOUR, clinic.expert),
        ("nearest", START - timedelta(hours=23), clinic.expert),
        ("other_expert", START - HOUR, clinic.other),
    ]


def test_its_own_time_is_in_nobodys_way(tables: Any) -> None:
    """With starts each half an hour, times that overlap with where it is now are as good as any."""
    clinic = Clinic()
    half = {**HOURS, "slot_interval_minutes": 30}
    expert = clinic.world.expert(**half)
    service = clinic.world.service(expert, price=0)
    made = clinic.world.book(service, expert, clinic.world.patient(), START).id
    found = {one.start for one in suggestions.suggest(clinic.world.owner, made, 20).items}
    assert {START - timedelta(minutes=30), START + timedelta(minutes=30)} <= found
    assert START not in found


def test_all_that_is_suggested_can_be_had(clinic: Clinic) -> None:
    for _, start, expert in clinic.found(20):
        request = RescheduleRequest(start=start, expert_id=expert)
        moved = rescheduling.reschedule(clinic.world.owner, clinic.own, request, None)
        assert to_epoch(moved.start) == to_epoch(start)


def test_no_time_is_suggested_twice(clinic: Clinic) -> None:
    found = [(start, expert) for _, start, expert in clinic.found(20)]
    assert len(found) == len(set(found)) == 20


def test_reading_does_not_grow_with_what_is_found(clinic: Clinic, tables: Any) -> None:
    with Faults(tables) as faults:
        clinic.found(1)
        few = faults.calls["Query"]
        clinic.found(20)
        assert faults.calls["Query"] == 2 * few
    # Each of two experts, and the patient beside each.
    assert few == 4


def test_experts_stay_in_their_own_calendar(clinic: Clinic) -> None:
    expert = clinic.world.caller(Role.EXPERT, clinic.expert)
    found = suggestions.suggest(expert, clinic.own, 20)
    assert {one.expert_id for one in found.items} == {clinic.expert}
    with pytest.raises(NotFound):
        suggestions.suggest(clinic.world.caller(Role.EXPERT, clinic.other), clinic.own)
    with pytest.raises(NotFound):
        suggestions.suggest(clinic.world.caller(Role.PATIENT, new_id("pat")), clinic.own)
    mine = suggestions.suggest(clinic.world.caller(Role.PATIENT, clinic.patient), clinic.own)
    assert len(mine.items) == 5


def test_what_is_over_is_not_moved(clinic: Clinic) -> None:
    request = CancelRequest.model_validate({"reason_code": "illness"})
    closing.cancel(clinic.world.owner, clinic.own, request)
    with pytest.raises(Conflict):
        suggestions.suggest(clinic.world.owner, clinic.own)
