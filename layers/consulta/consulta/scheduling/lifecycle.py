"""An appointment's states, and which event leads from which to which. Pure.

Source: MONEY_AND_BOOKING_RULES §4.
"""

from datetime import datetime
from enum import StrEnum

from consulta.core.errors import Conflict
from consulta.scheduling.records import Status


class Event(StrEnum):
    """What can happen to an appointment after it was booked."""

    CONFIRM = "confirm"
    REQUEST_APPROVAL = "request_approval"
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
