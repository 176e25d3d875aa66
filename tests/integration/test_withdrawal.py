"""The consumer's legal right to withdraw: within its days all goes back, unless it was waived."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from consulta.core import table
from consulta.core.errors import Conflict, Forbidden
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.core.time import from_text
from consulta.money.appointments import closing
from consulta.money.appointments import packages as sold
from consulta.money.appointments.policy import Preview
from consulta.money.books import verify as ledger_verify
from consulta.people.records import PRACTICE, PracticeItem
from consulta.scheduling import appointments, rescheduling
from consulta.scheduling.schema.actions import PreviewRequest
from consulta.scheduling.schema.appointments import CancelReason
from consulta.scheduling.schema.booking import CancelRequest, RescheduleRequest
from tests.integration import test_money, test_packages
from tests.integration.test_packages import FIRST, PRICE, Clinic
from tests.integration.test_services import ask, paths
from tests.unit.people.calling import call, signed_in
from tests.unit.scheduling.world import tomorrow

clinic = test_packages.clinic
SINGLE = test_money.PRICE
ASKED = CancelRequest(reason_code=CancelReason.PATIENT_REQUEST)
ALL = [{"min_notice_s": 0, "keep": {"fixed": 0, "percent": 100}}]
NONE = {"unused": "none", "late": "forfeits", "valid_until": None}
START = tomorrow(10, days=6)
LEAST = timedelta(milliseconds=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_verify, "PAUSE_S", 0)


def rights(clinic: Clinic, days: int, **more: Any) -> None:
    """A practice that keeps everything, but for the right to withdraw."""
    clinic.policy(**{"cancel": ALL, "statutory": {"withdraw_days": days}} | more)


def booked(clinic: Clinic, **more: Any) -> str:
    """A single appointment, paid in cash."""
    world = clinic.world
    made = world.book(clinic.service, clinic.expert, clinic.patient, START, **more)
    body = {
        "method": "cash",
        "amount": {"amount": SINGLE, "currency": "EUR"},
        "received_at": clinic.clock.at.date().isoformat(),
    }
    answer = ask(world, "POST", "/v1/payments/manual", body | {"appointment_id": made.id})
    assert answer.status == 201, answer.body
    return made.id


def patient(clinic: Clinic) -> Principal:
    return clinic.world.caller(Role.PATIENT, clinic.patient)


def practices(clinic: Clinic) -> Any:
    """The practice's own policy."""
    found = table.get(PracticeItem, clinic.world.tenant.item(PRACTICE, clinic.world.practice))
    assert found
    return found.policy


def previewed(clinic: Clinic, appointment: str, by: Principal | None = None) -> Preview:
    request = PreviewRequest(reason_code=CancelReason.PATIENT_REQUEST)
    return closing.preview(by or patient(clinic), appointment, request)


# ---------------------------------------------------------------- appointments


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (timedelta(), 0),
        (timedelta(days=2), 0),
        (timedelta(days=2) + LEAST, SINGLE),
    ],
)
def test_within_the_days_of_booking_all_goes_back(
    clinic: Clinic, after: timedelta, kept: int
) -> None:
    rights(clinic, 2)
    appointment = booked(clinic)
    until = clinic.appointment(appointment).created_at + timedelta(days=2)
    assert appointments.get(patient(clinic), appointment).withdraw_until == until
    clinic.clock.at = clinic.appointment(appointment).created_at + after
    for by in (patient(clinic), clinic.owner):
        # A member who passes on what the patient asked for does the same.
        found = previewed(clinic, appointment, by)
        assert (found.paid, found.kept, found.refund) == (SINGLE, kept, SINGLE - kept)
        assert found.step["rule"] == ("cancel" if kept else "statutory")
        assert found.valid_until == (None if kept else until)
    agreed = ASKED.model_copy(update={"preview_hash": found.hash})
    closing.cancel(patient(clinic), appointment, agreed)
    shown = clinic.appointment(appointment).payment_status
    assert shown == ("paid" if kept else "refunded")
    assert ledger_verify.verify(clinic.world.tenant) == []


def test_an_answer_that_ran_out_is_not_cancelled_upon(clinic: Clinic) -> None:
    rights(clinic, 2)
    appointment = booked(clinic)
    agreed = previewed(clinic, appointment)
    assert agreed.valid_until
    clinic.clock.at = agreed.valid_until + LEAST
    request = ASKED.model_copy(update={"preview_hash": agreed.hash})
    with pytest.raises(Conflict) as changed:
        closing.cancel(patient(clinic), appointment, request)
    preview: Any = changed.value.extra["preview"]
    assert preview["step"]["rule"] == "cancel"


def test_it_ends_with_the_start_and_is_not_a_no_shows(clinic: Clinic) -> None:
    rights(clinic, 90)
    appointment = booked(clinic)
    assert appointments.get(clinic.owner, appointment).withdraw_until == START
    clinic.clock.at = START
    assert previewed(clinic, appointment, clinic.owner).refund == SINGLE
    clinic.clock.at = START + LEAST
    assert previewed(clinic, appointment, clinic.owner).refund == 0
    closing.no_show(clinic.owner, appointment)
    assert clinic.appointment(appointment).payment_status == "paid"


def test_it_goes_with_the_time_that_it_is_moved_to(clinic: Clinic) -> None:
    """Notice counts to the earlier start after a late move; the right ends with the one it has."""
    free = {"free_until_s": 0, "max": 3, "inside": "deny"}
    rights(clinic, 90, reschedule=free, cancel=[{**ALL[0], "min_notice_s": 86_400}, *ALL])
    appointment = booked(clinic)
    clinic.clock.at = START - timedelta(hours=1)
    request = RescheduleRequest(start=START + timedelta(days=3))
    rescheduling.reschedule(patient(clinic), appointment, request, None)
    assert clinic.appointment(appointment).notice_to == START
    clinic.clock.at = START + timedelta(days=2)
    assert previewed(clinic, appointment).step["rule"] == "statutory"


def test_a_late_move_costs_nothing_that_cancelling_would_not(clinic: Clinic) -> None:
    rights(clinic, 5, reschedule={"free_until_s": 864_000, "max": 3, "inside": "fee"})
    appointment = booked(clinic)
    request = RescheduleRequest(start=START + timedelta(hours=1))
    moved = rescheduling.reschedule(patient(clinic), appointment, request, None)
    assert (moved.fee, moved.price.amount) == (None, SINGLE)
    clinic.clock.at = moved.created_at + timedelta(days=5) + LEAST
    with pytest.raises(Conflict) as late:
        rescheduling.reschedule(patient(clinic), appointment, RescheduleRequest(start=START), None)
    assert late.value.extra["fee"] == {"amount": SINGLE, "currency": "EUR"}


def test_who_has_waived_it_has_it_no_more(clinic: Clinic) -> None:
    rights(clinic, 14)
    appointment = booked(clinic, waives_withdrawal=True)
    item = clinic.appointment(appointment)
    assert item.policy["statutory"]["withdraw_days"] == 14
    shown = appointments.get(patient(clinic), appointment)
    assert shown.withdraw_until is None
    assert shown.withdrawal_waived_at == from_text(item.policy["statutory"]["waived_at"])
    assert previewed(clinic, appointment).kept == SINGLE
    # For this one alone: the practice's policy is as it was.
    assert practices(clinic)["statutory"] == {"withdraw_days": 14, "waived_at": None}
    other = clinic.world.book(
        clinic.service, clinic.expert, clinic.patient, START + timedelta(hours=3)
    )
    assert other.withdrawal_waived_at is None
    assert other.withdraw_until == other.start


def test_waiving_what_is_not_there_changes_nothing(clinic: Clinic) -> None:
    appointment = booked(clinic, waives_withdrawal=True)
    shown = appointments.get(patient(clinic), appointment)
    assert (shown.withdraw_until, shown.withdrawal_waived_at) == (None, None)
    assert clinic.appointment(appointment).policy == practices(clinic)


def test_over_http(clinic: Clinic) -> None:
    world, own = clinic.world, {"role": "patient", "subject": clinic.patient}
    path = f"/v1/practices/{world.practice}"
    waived = {"policy": {"statutory": {"withdraw_days": 14, "waived_at": "2026-01-01T00:00:00Z"}}}
    assert paths(ask(world, "PATCH", path, waived)) == ["body.policy.statutory.waived_at"]
    policy = {"cancel": ALL, "statutory": {"withdraw_days": 14}}
    assert ask(world, "PATCH", path, {"policy": policy}).status == 200
    # What a front end needs before anything is booked.
    assert ask(world, "GET", path, **own).body["policy"]["statutory"]["withdraw_days"] == 14
    body = {"service_id": clinic.service, "expert_id": clinic.expert, "start": START.isoformat()}
    made = ask(world, "POST", "/v1/appointments", body, **own).body
    assert datetime.fromisoformat(made["withdraw_until"]) == START
    reason = {"reason_code": "patient_request"}
    context = signed_in("patient", world.practice, clinic.patient)
    path = f"/v1/appointments/{made['id']}/cancellation-preview"
    preview = call("appointment_actions", "POST", path, reason, context=context)
    assert (preview.status, preview.body["step"]["rule"]) == (200, "statutory")
    later = {"start": (START + timedelta(hours=2)).isoformat(), "waives_withdrawal": True}
    other = ask(world, "POST", "/v1/appointments", body | later, **own).body
    assert (other["withdraw_until"], bool(other["withdrawal_waived_at"])) == (None, True)
    found = ask(world, "GET", f"/v1/appointments/{other['id']}", **own).body
    assert found["withdrawal_waived_at"] == other["withdrawal_waived_at"]


# ---------------------------------------------------------------- packages


def test_an_unused_package_goes_back_whole(clinic: Clinic) -> None:
    rights(clinic, 14, package=NONE)
    package = clinic.bought()
    shown = clinic.show(package)
    assert shown.withdraw_until == shown.created_at + timedelta(days=14)
    clinic.clock.at = shown.created_at + timedelta(days=14)
    ended = sold.cancel(patient(clinic), package)
    assert (ended.status, ended.cancelled_by, ended.payment_status) == (
        "cancelled",
        "patient",
        "refunded",
    )
    assert (clinic.advance(), clinic.revenue()) == (0, 0)
    assert ledger_verify.verify(clinic.world.tenant) == []


def test_after_the_days_it_is_the_practices_to_cancel(clinic: Clinic) -> None:
    rights(clinic, 14, package=NONE)
    package = clinic.bought()
    clinic.clock.at = clinic.show(package).created_at + timedelta(days=14) + LEAST
    with pytest.raises(Forbidden):
        sold.cancel(patient(clinic), package)
    assert sold.cancel(clinic.owner, package).payment_status == "paid"
    assert clinic.advance() == PRICE


def test_within_the_days_the_desk_gives_it_back_as_well(clinic: Clinic) -> None:
    rights(clinic, 14, package=NONE)
    assert sold.cancel(clinic.owner, clinic.bought()).payment_status == "refunded"


def test_sessions_that_are_used_stay_paid(clinic: Clinic) -> None:
    rights(clinic, 14, package=NONE)
    package = clinic.bought()
    clinic.over(clinic.book(days=2))
    later = clinic.book(days=6)
    assert clinic.show(package).used == 2
    ended = sold.cancel(patient(clinic), package)
    # Of three sessions one took place and one is booked: 33.34 go back.
    assert ended.payment_status == "partially_refunded"
    assert (clinic.advance(), clinic.revenue()) == (FIRST, FIRST)
    # The one that was booked is given up now: its price goes back, since that was in time.
    found = previewed(clinic, later)
    assert (found.session, found.step["rule"], found.refund) == ("returned", "statutory", FIRST)
    closing.cancel(patient(clinic), later, ASKED)
    assert (clinic.advance(), clinic.revenue()) == (0, FIRST)
    assert ledger_verify.verify(clinic.world.tenant) == []


@pytest.mark.parametrize(("at", "worth"), [(timedelta(days=3), FIRST), (timedelta(days=4), 0)])
def test_what_a_session_is_worth_follows_when_its_package_ended(
    clinic: Clinic, at: timedelta, worth: int
) -> None:
    """Given up later: its price goes back only where the package was ended within the days."""
    rights(clinic, 3, package={**NONE, "late": "returns"})
    package = clinic.bought()
    session, made = clinic.book(days=6), clinic.show(package).created_at
    clinic.clock.at = made + at
    sold.cancel(clinic.owner, package)
    clinic.clock.at = made + timedelta(days=5)
    found = previewed(clinic, session)
    assert (found.session, found.refund) == ("returned", worth)


def test_a_package_whose_right_was_waived_is_kept(clinic: Clinic) -> None:
    rights(clinic, 14, package=NONE)
    package = clinic.buy(waives_withdrawal=True)
    assert (package.withdraw_until, bool(package.withdrawal_waived_at)) == (None, True)
    clinic.cash(package.id)
    with pytest.raises(Forbidden):
        sold.cancel(patient(clinic), package.id)
    assert sold.cancel(clinic.owner, package.id).payment_status == "paid"


def test_a_session_that_is_withdrawn_from_comes_back(clinic: Clinic) -> None:
    rights(clinic, 1)
    package = clinic.bought()
    first, second = clinic.book(days=5), clinic.book(14, days=5)
    assert previewed(clinic, first).session == "returned"
    closing.cancel(patient(clinic), first, ASKED)
    assert clinic.show(package).used == 1
    clinic.clock.at = clinic.appointment(second).created_at + timedelta(days=1) + LEAST
    assert previewed(clinic, second).session == "forfeited"
