"""Which notices are due: pure.

Decided by the appointment as it is now, whatever the event was about: what came and went before the
event was read is told to nobody, and an event that comes late or twice finds its notices made. Only
a transition (made, another status, moved) makes notices due, so that an appointment of long ago is
not announced because something small about it changed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from consulta.core.bus import Event
from consulta.core.time import from_text
from consulta.notifications.records import TO_EXPERT, TO_STAFF, Kind
from consulta.people.thread_records import Side, ThreadItem
from consulta.scheduling.records import OPEN, AppointmentItem, Approval, Status

_BOOKED = frozenset({Kind.BOOKED, Kind.APPROVED, Kind.RESCHEDULED})
_REFUSED = frozenset({Approval.DECLINED, Approval.LAPSED})


@dataclass(frozen=True, slots=True)
class Due:
    """One notice that somebody should have; ``n`` tells those of a kind apart."""

    kind: Kind
    n: str = "1"

    @property
    def to_expert(self) -> bool:
        """Whether it is for the expert; else it is for the patient."""
        return self.kind in TO_EXPERT

    @property
    def audience(self) -> str:
        """``patient``, ``expert`` or ``staff``."""
        return "staff" if self.kind in TO_STAFF else "expert" if self.to_expert else "patient"


# The second hold of a booking that was approved first, and is to be paid now.
PAY_APPROVED = Due(Kind.HOLD, "2")

Told = Collection[Due]
"""The notices that there are already, whatever became of them."""


def is_transition(event: Event) -> bool:
    """Whether the change is one that people are told of."""
    return event.action != "removed" and (event.status != event.was or event.moved)


def due(item: AppointmentItem, event: Event, told: Told, at: datetime) -> list[Due]:
    """The notices of an appointment as it is ``at`` that instant, those already told included.

    ``event`` is a transition (:func:`is_transition`).
    """
    status = Status(item.status)
    if status is Status.CANCELLED:
        return _cancelled(item, event, told)
    if item.start <= at:
        return []
    match status:
        case Status.HELD:
            return _held(item, at)
        case Status.AWAITING_APPROVAL:
            return _awaiting(item, event, told)
        case Status.CONFIRMED:
            return _confirmed(item, event, told)
    # What is reserved until it is paid says until when; an offer waits for an answer.
    lapsed = status is Status.EXPIRED and Due(Kind.WAITLIST_OFFER) in told
    return [Due(Kind.OFFER_LAPSED)] if lapsed else []


def replaced(item: AppointmentItem, event: Event, at: datetime) -> Due | None:
    """The notice to the expert whose appointment became another's by this event."""
    if event.was not in OPEN or event.expert_was in ("", item.expert_id):
        return None
    if from_text(event.start_was) <= at:
        return None
    return Due(Kind.EXPERT_REPLACED, str(event.version))


def of_thread(thread: ThreadItem) -> list[Due]:
    """The notices of a thread as it is: one a side, for as long as that side was not there again.

    ``n`` is how many messages there were when it was: with the next one after its return, another
    notice is due. Where the thread is with the practice as a whole, ``n`` is each member's own.
    """
    if thread.ended_at is not None:
        return []
    to_practice = Kind.EXPERT_MESSAGE if thread.expert_id else Kind.PRACTICE_MESSAGE
    kinds = {Side.PATIENT: Kind.MESSAGE, Side.PRACTICE: to_practice}
    return [
        Due(kind, str(thread.seen(side)))
        for side, kind in kinds.items()
        if thread.unread(side) and thread.sent(side.other) > thread.seen(side)
    ]


def _held(item: AppointmentItem, at: datetime) -> list[Due]:
    if item.hold_expires_at is None or item.hold_expires_at <= at:
        return []
    if item.waitlist_id:
        return [Due(Kind.WAITLIST_OFFER)]
    return [PAY_APPROVED if item.approval == Approval.GIVEN else Due(Kind.HOLD)]


def _awaiting(item: AppointmentItem, event: Event, told: Told) -> list[Due]:
    # Answered already, it is on its way to what it will be told as.
    waits = item.approval == Approval.NEEDED
    asked = [Due(Kind.REQUESTED), Due(Kind.APPROVAL_REQUESTED)] if waits else []
    return [*asked, *_moved(item, event, told)]


def _confirmed(item: AppointmentItem, event: Event, told: Told) -> list[Due]:
    moved = _moved(item, event, told)
    # The expert has said yes, and it was paid then: that it was accepted is known.
    paid_after = event.was == Status.HELD or PAY_APPROVED in told
    if item.approval == Approval.GIVEN and not paid_after:
        return [*_unless(told, Due(Kind.BOOKED), Due(Kind.APPROVED)), *moved]
    # What a series made confirmed is told of once, as a whole; what had to be paid or approved, by
    # itself. What was moved meanwhile is told with its new time.
    in_series = item.series_id and not event.was
    if in_series or (moved and not paid_after):
        return moved
    # An expert who was asked for it knows.
    expert = [] if item.approval else [Due(Kind.EXPERT_BOOKED)]
    return [*_unless(told, Due(Kind.APPROVED), Due(Kind.BOOKED)), *expert, *moved]


def _unless(told: Told, other: Due, one: Due) -> list[Due]:
    """Of two notices that say the same, the second one only where the first was not told."""
    return [] if other in told else [one]


def _moved(item: AppointmentItem, event: Event, told: Told) -> list[Due]:
    """Who gives it since the move has heard nothing of it before: to them it is a new one."""
    count = int(item.rescheduled or 0)
    if not count:
        return []
    moved, booked, asked = (
        Due(Kind.EXPERT_RESCHEDULED, str(count)),
        Due(Kind.EXPERT_BOOKED, str(count + 1)),
        Due(Kind.APPROVAL_REQUESTED, str(count + 1)),
    )
    expert = [one for one in (moved, booked, asked) if one in told]
    if not expert:
        waits = item.status == Status.AWAITING_APPROVAL and item.approval == Approval.NEEDED
        is_new = event.expert_was not in ("", item.expert_id)
        expert = [moved if not is_new else asked if waits else booked]
    return [Due(Kind.RESCHEDULED, str(count)), *expert]


def _cancelled(item: AppointmentItem, event: Event, told: Told) -> list[Due]:
    """Whoever knew of it is told; a hold was the patient's alone, an offer not yet anybody's."""
    kinds = {one.kind for one in told} | _known_by(event)
    expert = [Due(Kind.EXPERT_CANCELLED)] if kinds & TO_EXPERT else []
    if item.approval in _REFUSED:
        # By the expert, or by their silence: the patient waits for an answer.
        return [Due(Kind.DECLINED)]
    booked, offered = bool(kinds & _BOOKED), bool(item.waitlist_id)
    knows = booked or (kinds & {Kind.REQUESTED, Kind.HOLD} and not offered)
    return [*([Due(Kind.CANCELLED)] if knows else []), *expert]


def _known_by(event: Event) -> set[Kind]:
    """What must have been told, or was about to be, in the state that the event left behind."""
    match event.was:
        case Status.HELD:
            return {Kind.HOLD}
        case Status.AWAITING_APPROVAL:
            return {Kind.REQUESTED, Kind.APPROVAL_REQUESTED}
        case Status.CONFIRMED:
            return {Kind.BOOKED, Kind.EXPERT_BOOKED}
        case _:
            return set()
