"""What is asked: booking a time, moving it, giving it up."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from consulta.core.fields import Zone, printable
from consulta.core.http import ApiModel, Id
from consulta.scheduling.schema.appointments import CancelReason
from consulta.scheduling.schema.fields import Price


class BookingRequest(ApiModel):
    """A time to book. Price and duration are the service's.

    ``start`` needs its offset, or a ``zone`` whose clocks show it once. Without ``expert_id`` it is
    the one of the service's experts who is free and has the least to do that day. ``patient_id`` is
    for members to give; ``confirm`` books in earnest before it is paid or approved, and
    ``override`` outside the opening hours, over the expert's maxima and their calendar elsewhere:
    both are for members who may confirm. ``package_id`` says which package's session it is.
    ``waives_withdrawal``: the patient gives up the legal right to withdraw, for this booking alone;
    a member passes on what the patient has said. It changes nothing where there is no such right.
    """

    service_id: Id
    expert_id: Id | None = None
    start: datetime
    zone: Zone | None = None
    patient_id: Id | None = None
    package_id: Id | None = None
    confirm: bool = False
    override: bool = False
    waives_withdrawal: bool = False


Note = Annotated[str, StringConstraints(max_length=500), AfterValidator(printable)]


class RescheduleRequest(ApiModel):
    """Another time for it, and another expert of the same service where one is named.

    ``override`` is for members who may confirm. ``requested_by`` says at whose wish a member moves
    it: what the practice moves of its own accord takes no notice away from the patient.
    ``notify``: whether the patient is told by mail. ``fee``: what the patient agrees to pay for it
    inside the window of the policy; without it, or with another one, a 409 with the code ``fee``
    says how much it is, and nothing is changed.
    """

    start: datetime
    zone: Zone | None = None
    expert_id: Id | None = None
    override: bool = False
    requested_by: Literal["patient", "practice"] = "patient"
    notify: bool = True
    reason: Note = ""
    fee: Price | None = None


def _of_people(reason: CancelReason) -> CancelReason:
    if reason is CancelReason.NOT_APPROVED:
        raise ValueError("this reason is not for people to give")
    return reason


GivenReason = Annotated[CancelReason, AfterValidator(_of_people)]


class CancelRequest(ApiModel):
    """Why; the note is for people, and stays with the appointment.

    ``notify``: whether the patient is told by mail. ``preview_hash``: of the preview that was
    agreed to; without it, it is cancelled whatever that gives back.
    """

    reason_code: GivenReason
    note: Note = ""
    notify: bool = True
    preview_hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = None


class DeclineRequest(ApiModel):
    """Why the expert does not take it; the note stays with the appointment."""

    reason_code: GivenReason = CancelReason.UNAVAILABLE
    note: Note = ""
    notify: bool = True
