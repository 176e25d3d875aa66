"""Which notices are due, by the state and by what was told before."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consulta.core.bus import Event
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.time import to_text
from consulta.notifications import rules
from consulta.notifications.records import Kind
from consulta.notifications.rules import PAY_APPROVED, Due
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, Status

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
TENANT = Tenant("prac_1")


def appointment(status: str, **values: Any) -> AppointmentItem:
    defaults = {
        "start": NOW + timedelta(days=1),
        "hold_expires_at": NOW + timedelta(minutes=15) if status == "held" else None,
    }
    key = TENANT.item(APPOINTMENT, "appt_1")
    values = defaults | values
    return AppointmentItem.create(key, APPOINTMENT, Actor("x", "y"), status=status, **values)


def event(status: str, was: str = "", *, moved: bool = False, expert_was: str = "") -> Event:
    action = "changed" if was else "created"
    start_was = to_text(NOW + timedelta(hours=1)) if expert_was else ""
    return Event(
        *("prac_1", APPOINTMENT, "appt_1", 2, action, status, was, moved),
        start_was=start_was,
        expert_was=expert_was,
    )


def due(item: AppointmentItem, was: str = "", told: tuple[Due, ...] = ()) -> list[str]:
    found = rules.due(item, event(str(item.status), was), told, NOW)
    return [one.kind if one.n == "1" else f"{one.kind}#{one.n}" for one in found]


def test_what_people_are_told_of_is_a_transition() -> None:
    assert rules.is_transition(event("held"))
    assert rules.is_transition(event("confirmed", "held"))
    assert rules.is_transition(event("confirmed", "confirmed", moved=True))
    assert not rules.is_transition(event("confirmed", "confirmed"))
    assert not rules.is_transition(Event("p", APPOINTMENT, "a", 2, "removed", "", "held"))


@pytest.mark.parametrize(
    ("status", "values", "was", "expected"),
    [
        ("held", {}, "", ["hold"]),
        ("held", {"waitlist_id": "wait_1"}, "", ["waitlist_offer"]),
        ("held", {"series_id": "ser_1"}, "", ["hold"]),
        ("held", {"approval": "needed"}, "", ["hold"]),
        ("held", {"approval": "given"}, "awaiting_approval", ["hold#2"]),
        ("held", {"hold_expires_at": NOW}, "", []),
        ("awaiting_approval", {"approval": "needed"}, "", ["requested", "approval_requested"]),
        ("awaiting_approval", {"approval": "given"}, "", []),
        (
            "awaiting_approval",
            {"approval": "needed", "rescheduled": 1},
            "awaiting_approval",
            ["requested", "approval_requested", "rescheduled", "expert_rescheduled"],
        ),
        ("confirmed", {}, "", ["booked", "expert_booked"]),
        ("confirmed", {}, "held", ["booked", "expert_booked"]),
        ("confirmed", {"waitlist_id": "wait_1"}, "held", ["booked", "expert_booked"]),
        ("confirmed", {"approval": "given"}, "awaiting_approval", ["approved"]),
        ("confirmed", {"approval": "given"}, "held", ["booked"]),
        ("confirmed", {"series_id": "ser_1"}, "", []),
        ("confirmed", {"series_id": "ser_1"}, "held", ["booked", "expert_booked"]),
        ("confirmed", {"series_id": "ser_1"}, "expired", ["booked", "expert_booked"]),
        (
            "confirmed",
            {"series_id": "ser_1", "rescheduled": 1},
            "confirmed",
            ["rescheduled", "expert_rescheduled"],
        ),
        ("cancelled", {"series_id": "ser_1"}, "confirmed", ["cancelled", "expert_cancelled"]),
        (
            "confirmed",
            {"rescheduled": 2},
            "confirmed",
            ["rescheduled#2", "expert_rescheduled#2"],
        ),
        ("confirmed", {"start": NOW}, "held", []),
        ("completed", {}, "confirmed", []),
        ("no_show", {}, "confirmed", []),
        ("expired", {}, "held", []),
        ("cancelled", {}, "confirmed", ["cancelled", "expert_cancelled"]),
        ("cancelled", {}, "held", ["cancelled"]),
        ("cancelled", {}, "", []),
        ("cancelled", {"waitlist_id": "wait_1"}, "held", []),
        ("cancelled", {"waitlist_id": "wait_1"}, "confirmed", ["cancelled", "expert_cancelled"]),
        ("cancelled", {"approval": "declined"}, "awaiting_approval", ["declined"]),
        ("cancelled", {"approval": "lapsed"}, "awaiting_approval", ["declined"]),
        (
            "cancelled",
            {"approval": "needed"},
            "awaiting_approval",
            ["cancelled", "expert_cancelled"],
        ),
        ("cancelled", {"start": NOW}, "confirmed", ["cancelled", "expert_cancelled"]),
    ],
)
def test_the_state_says_what_is_due(
    status: str, values: dict[str, Any], was: str, expected: list[str]
) -> None:
    assert due(appointment(status, **values), was) == expected


def test_what_was_told_is_not_told_in_other_words() -> None:
    given = appointment("confirmed", approval="given")
    assert due(given, "awaiting_approval", (Due(Kind.BOOKED),)) == []
    assert due(given, "held", (PAY_APPROVED,)) == ["booked"]
    # An old event of before the approval, read after it was paid.
    assert due(given, "", (PAY_APPROVED, Due(Kind.BOOKED))) == ["booked"]


def test_a_late_event_of_a_cancelled_one_tells_those_who_know() -> None:
    item = appointment("cancelled")
    assert due(item, "", (Due(Kind.HOLD),)) == ["cancelled"]
    assert due(item, "", (Due(Kind.BOOKED), Due(Kind.EXPERT_BOOKED))) == [
        "cancelled",
        "expert_cancelled",
    ]


def test_who_takes_an_appointment_over_hears_of_a_new_one_and_the_other_that_it_left() -> None:
    moved = appointment("confirmed", rescheduled=1, expert_id="exp_2")
    from_other = event("confirmed", "confirmed", moved=True, expert_was="exp_1")
    assert rules.due(moved, from_other, (), NOW) == [
        Due(Kind.RESCHEDULED),
        Due(Kind.EXPERT_BOOKED, "2"),
    ]
    assert rules.replaced(moved, from_other, NOW) == Due(Kind.EXPERT_REPLACED, "2")
    # Other events of the same appointment do not tell them in other words.
    told = (Due(Kind.EXPERT_BOOKED, "2"),)
    assert due(moved, "awaiting_approval", told) == ["rescheduled", "expert_booked#2"]
    # Who has it again has lost nothing; nor has anybody a time that is over, or that was a hold.
    back = appointment("confirmed", rescheduled=2, expert_id="exp_1")
    assert rules.replaced(back, from_other, NOW) is None
    assert rules.replaced(moved, from_other, NOW + timedelta(hours=1)) is None
    held = event("held", "held", moved=True, expert_was="exp_1")
    assert rules.replaced(moved, held, NOW) is None


def test_who_takes_over_what_waits_for_approval_is_asked() -> None:
    moved = appointment("awaiting_approval", approval="needed", rescheduled=1, expert_id="exp_2")
    from_other = event("awaiting_approval", "awaiting_approval", moved=True, expert_was="exp_1")
    told = (Due(Kind.REQUESTED), Due(Kind.APPROVAL_REQUESTED))
    found = [one for one in rules.due(moved, from_other, told, NOW) if one not in told]
    assert found == [Due(Kind.RESCHEDULED), Due(Kind.APPROVAL_REQUESTED, "2")]


def test_an_offer_that_was_told_is_told_to_have_lapsed_and_a_hold_is_not() -> None:
    offer = appointment("expired", waitlist_id="wait_1")
    assert due(offer, "held", (Due(Kind.WAITLIST_OFFER),)) == ["offer_lapsed"]
    assert due(offer, "held") == []
    assert due(appointment("expired"), "held", (Due(Kind.HOLD),)) == []


def test_every_state_is_thought_of() -> None:
    for status in Status:
        assert isinstance(due(appointment(str(status))), list)
