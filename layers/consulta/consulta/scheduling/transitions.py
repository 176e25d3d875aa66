"""What each event writes, as parts of a transaction: money adds its own parts to the same one.

Every function checks the state machine first (Conflict), takes further attributes of the
appointment as ``also`` (in stored form: a transaction may change an item only once), and gives
parts that hold only for the version that was read. :func:`refusal` says what a failed part means.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from consulta.core import table
from consulta.core.errors import Conflict, Problem, SlotTaken
from consulta.core.item import Actor
from consulta.core.keys import Key
from consulta.core.time import now, to_epoch, to_text
from consulta.people.records import EXPERT
from consulta.scheduling import due
from consulta.scheduling.busy import CALENDAR, HOLDS, Claim, renew, take_out
from consulta.scheduling.lifecycle import Event, following, pay_until
from consulta.scheduling.records import (
    AVAILABILITY,
    AppointmentItem,
    Approval,
    AvailabilityItem,
    PaymentStatus,
    Status,
)
from consulta.scheduling.schema.booking import CancelRequest

Also = Mapping[str, Any] | None
Party = Literal["patient", "practice", "system"]


def hold_alive(appointment: AppointmentItem, at: datetime) -> bool:
    """Whether the time is still kept for whoever is paying."""
    ends = appointment.hold_expires_at
    return appointment.status == Status.HELD and ends is not None and at < ends


def confirm_actions(
    appointment: AppointmentItem, by: Actor, *, also: Also = None
) -> list[table.Action]:
    """Held or awaiting approval → confirmed.

    A hold that has ended is confirmed all the same where its time is still free and ahead; that is
    read consistently here. Raises SlotTaken where it is not, Conflict from any other state, and
    where an authorized payment waits for the approval: that has to be captured.
    """
    instant = now()
    _check_not_authorized(appointment, also)
    changed = _changed(
        appointment,
        Event.CONFIRM,
        by,
        instant,
        _approved(appointment, also),
        remove=["hold_expires_at"],
    )
    claim, own = Claim.of(appointment), appointment.item_id
    if appointment.status != Status.HELD:
        return [changed]
    if hold_alive(appointment, instant):
        taken = claim.keep(own, None)
    else:
        taken = _taken_again(appointment, instant)
    return [changed, *taken, _hold_ended(appointment)]


def _approved(appointment: AppointmentItem, also: Also) -> dict[str, Any]:
    """Whatever confirms it has approved it, too."""
    approved = {"approval": str(Approval.GIVEN)} if appointment.approval else {}
    return {**approved, **(also or {})}


def _check_not_authorized(appointment: AppointmentItem, also: Also) -> None:
    if appointment.status != Status.AWAITING_APPROVAL or "payment_status" in (also or {}):
        return
    if appointment.payment_status == PaymentStatus.PROCESSING:
        raise Conflict("An authorized payment waits for it: approve or decline it")
    if appointment.approval in (Approval.DECLINED, Approval.LAPSED):
        raise Conflict("It was declined, or not approved in time")


# ---------------------------------------------------------------- approval


def request_approval_actions(
    appointment: AppointmentItem, by: Actor, until: datetime, *, also: Also = None
) -> list[table.Action]:
    """Held → awaiting approval, once its payment is authorized.

    A hold that has ended is taken again as :func:`confirm_actions` does it. Raises SlotTaken,
    Conflict.
    """
    instant = now()
    values = {**(also or {}), "approve_until": to_text(until)}
    changed = _changed(
        appointment, Event.REQUEST_APPROVAL, by, instant, values, remove=["hold_expires_at"]
    )
    if hold_alive(appointment, instant):
        taken = Claim.of(appointment).keep(appointment.item_id, None)
    else:
        taken = _taken_again(appointment, instant)
    return [
        changed,
        *taken,
        _hold_ended(appointment),
        due.at(until, appointment.pk, due.APPROVE),
    ]


def request_payment_actions(
    appointment: AppointmentItem, by: Actor, *, also: Also = None
) -> list[table.Action]:
    """Awaiting approval → held, approved, until it is paid. Not one of the patient's three holds.

    Raises Conflict.
    """
    instant = now()
    until = pay_until(appointment.start, notice_s(appointment), instant)
    values = {
        **(also or {}),
        "approval": str(Approval.GIVEN),
        "hold_expires_at": to_text(until),
    }
    return [
        _changed(appointment, Event.REQUEST_PAYMENT, by, instant, values, remove=["approve_until"]),
        *Claim.of(appointment).keep(appointment.item_id, until),
        due.at(until, appointment.pk, due.HOLD),
    ]


def answer_actions(
    appointment: AppointmentItem, by: Actor, answer: Approval, *, also: Also = None
) -> list[table.Action]:
    """Keep what the expert has said before anything is done about it; once only.

    Whoever is second finds the version changed. Raises Conflict where it waits for no answer.
    """
    waits = appointment.status == Status.AWAITING_APPROVAL
    if not waits or appointment.approval != Approval.NEEDED:
        raise Conflict(
            "It is not waiting to be approved",
            extra={"appointment_status": str(appointment.status)},
        )
    return [table.change(appointment, by, set_={**(also or {}), "approval": str(answer)})]


def notice_s(appointment: AppointmentItem) -> int:
    """The expert's minimum notice as it is now, in seconds."""
    key = appointment.tenant.sub(EXPERT, appointment.expert_id, AVAILABILITY)
    hours = table.get(AvailabilityItem, key)
    return int(hours.min_notice_s) if hours else 0


def reclaim_actions(
    appointment: AppointmentItem, by: Actor, *, also: Also = None
) -> list[table.Action]:
    """Expired → confirmed, for a payment that arrived late.

    Raises SlotTaken where the time is no longer free or has begun.
    """
    instant = now()
    taken = _taken_again(appointment, instant)
    changed = _changed(appointment, Event.RECLAIM, by, instant, also, remove=["hold_expires_at"])
    return [changed, *taken]


def extend_actions(
    appointment: AppointmentItem, by: Actor, until: datetime, *, also: Also = None
) -> list[table.Action]:
    """Keep a hold longer (3-D Secure, a voucher); how long is allowed is the caller's rule.

    Raises SlotTaken where the hold has ended.
    """
    if not hold_alive(appointment, now()):
        raise SlotTaken("The hold has ended")
    own = appointment.item_id
    # Offers and what was approved first are none of the patient's three holds.
    counted = not appointment.waitlist_id and appointment.approval != Approval.GIVEN
    held = _holds(appointment)
    return [
        table.change(appointment, by, set_={**(also or {}), "hold_expires_at": to_text(until)}),
        *Claim.of(appointment).keep(own, until),
        *([renew(held, HOLDS, own, str(to_epoch(until)))] if counted else []),
        due.at(until, appointment.pk, due.HOLD),
    ]


def cancel_actions(
    appointment: AppointmentItem,
    by: Actor,
    request: CancelRequest,
    party: Party,
    *,
    also: Also = None,
) -> list[table.Action]:
    """Held, awaiting approval or confirmed → cancelled; the time is free again.

    Once it has begun only the practice cancels: whether somebody came is not the patient's to say.
    """
    instant = now()
    if party == "patient" and instant >= appointment.start:
        raise Conflict("The appointment has begun")
    values = {
        **(also or {}),
        "cancelled_at": to_text(instant),
        "cancelled_by": party,
        "cancel_reason": str(request.reason_code),
        "cancelled_from": str(appointment.status),
    }
    if request.note:
        values["cancel_note"] = request.note
    changed = _changed(appointment, Event.CANCEL, by, instant, values, remove=["hold_expires_at"])
    return [changed, *_given_up(appointment)]


def expire_actions(
    appointment: AppointmentItem, by: Actor, *, also: Also = None
) -> list[table.Action]:
    """Held → expired, once the hold has ended. Raises Conflict before that."""
    instant = now()
    if hold_alive(appointment, instant):
        raise Conflict("The hold has not ended yet")
    changed = _changed(appointment, Event.EXPIRE, by, instant, also)
    return [changed, *_given_up(appointment)]


def complete_actions(
    appointment: AppointmentItem, by: Actor, *, also: Also = None
) -> list[table.Action]:
    """Confirmed → completed, after the start."""
    return [_changed(appointment, Event.COMPLETE, by, now(), also)]


def no_show_actions(
    appointment: AppointmentItem, by: Actor, *, also: Also = None
) -> list[table.Action]:
    """Confirmed → no_show, after the start."""
    return [_changed(appointment, Event.NO_SHOW, by, now(), also)]


def refusal(failed: table.ConditionFailed) -> Problem:
    """What to tell the caller about a transaction with these parts that was not written."""
    if CALENDAR in failed.labels:
        return SlotTaken()
    return Conflict("It was changed at the same time: read it again and repeat")


def _changed(
    appointment: AppointmentItem,
    event: Event,
    by: Actor,
    instant: datetime,
    also: Also,
    *,
    remove: Iterable[str] = (),
) -> table.Action:
    target = following(Status(appointment.status), event, start=appointment.start, at=instant)
    return table.change(
        appointment, by, set_={**(also or {}), "status": str(target)}, remove=remove
    )


def _taken_again(appointment: AppointmentItem, instant: datetime) -> list[table.Action]:
    claim, own = Claim.of(appointment), appointment.item_id
    if instant >= appointment.start:
        raise SlotTaken("The appointment's time has passed")
    rows = claim.read()
    if not claim.is_free(rows, to_epoch(instant), own):
        raise SlotTaken
    return claim.take(rows, own, None, to_epoch(instant))


def _holds(appointment: AppointmentItem) -> Key:
    return appointment.tenant.holds(appointment.patient_id)


def _hold_ended(appointment: AppointmentItem) -> table.Action:
    return take_out(_holds(appointment), HOLDS, appointment.item_id)


def _given_up(appointment: AppointmentItem) -> list[table.Action]:
    parts = Claim.of(appointment).leave(appointment.item_id)
    if appointment.status == Status.HELD:
        parts.append(_hold_ended(appointment))
    return parts
