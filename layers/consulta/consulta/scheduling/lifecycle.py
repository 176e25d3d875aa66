"""An appointment's states, and which event leads from which to which. Pure.

Source: MONEY_AND_BOOKING_RULES §4.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from consulta.core.errors import Conflict
from consulta.core.time import from_epoch, to_epoch
from consulta.scheduling.records import Status

# How long an expert has to approve a booking, and a patient to pay for an approved one.
APPROVE_WITHIN = PAY_WITHIN = timedelta(hours=24)
# An expert who is asked later than that before the notice ends has until the start.
SHORT_OF_NOTICE = timedelta(hours=1)
# An authorization is let go, or captured, this long before the bank ends it.
BEFORE_CAPTURE_ENDS = timedelta(hours=12)
SHORTEST_PAYMENT = timedelta(minutes=15)


class Event(StrEnum):
    """What can happen to an appointment after it was booked."""

    CONFIRM = "confirm"
    REQUEST_APPROVAL = "request_approval"
    # Approved before it was paid: held again until it is.
    REQUEST_PAYMENT = "request_payment"
    COMPLETE = "complete"
    NO_SHOW = "no_show"
    CANCEL = "cancel"
    EXPIRE = "expire"
    # A payment arrived after the hold had ended, and the time was still free.
    RECLAIM = "reclaim"


TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (Status.HELD, Event.CONFIRM): Status.CONFIRMED,
    (Status.HELD, Event.REQUEST_APPROVAL): Status.AWAITING_APPROVAL,
    (Status.HELD, Event.CANCEL): Status.CANCELLED,
    (Status.HELD, Event.EXPIRE): Status.EXPIRED,
    (Status.AWAITING_APPROVAL, Event.CONFIRM): Status.CONFIRMED,
    (Status.AWAITING_APPROVAL, Event.REQUEST_PAYMENT): Status.HELD,
    (Status.AWAITING_APPROVAL, Event.CANCEL): Status.CANCELLED,
    (Status.CONFIRMED, Event.COMPLETE): Status.COMPLETED,
    (Status.CONFIRMED, Event.NO_SHOW): Status.NO_SHOW,
    (Status.CONFIRMED, Event.CANCEL): Status.CANCELLED,
    (Status.EXPIRED, Event.RECLAIM): Status.CONFIRMED,
}
# Nobody has come, or not come, before it began.
AFTER_START = frozenset({Event.COMPLETE, Event.NO_SHOW})


def following(status: Status, event: Event, *, start: datetime, at: datetime) -> Status:
    """The state after ``event`` at the instant ``at``.

    Raises Conflict where the state does not allow it; ``extra["appointment_status"]`` says which
    it is.
    """
    target = TRANSITIONS.get((status, event))
    extra: dict[str, object] = {"appointment_status": str(status)}
    if target is None:
        raise Conflict(f"An appointment that is {status} does not take: {event}", extra=extra)
    if event in AFTER_START and at < start:
        raise Conflict("The appointment has not begun yet", extra=extra)
    if event is Event.RECLAIM and at >= start:
        raise Conflict("The appointment's time has passed", extra=extra)
    return target


def approve_until(
    start: datetime, notice_s: int, at: datetime, capture_before: datetime | None = None
) -> datetime:
    """Until when a booking may be approved that is asked for ``at``, to the second.

    A day, but no later than the expert's minimum notice before the start, or than an authorization
    can safely be captured.
    """
    notice_ends = start - timedelta(seconds=notice_s)
    latest = start if notice_ends < at + SHORT_OF_NOTICE else notice_ends
    ends = [at + APPROVE_WITHIN, latest]
    if capture_before is not None:
        ends.append(capture_before - BEFORE_CAPTURE_ENDS)
    return from_epoch(to_epoch(min(ends)))


def pay_until(start: datetime, notice_s: int, at: datetime) -> datetime:
    """Until when a booking that was approved ``at`` has to be paid, to the second."""
    ends = min(at + PAY_WITHIN, start - timedelta(seconds=notice_s))
    return from_epoch(to_epoch(max(ends, at + SHORTEST_PAYMENT)))
