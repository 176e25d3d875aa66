"""Booked times."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints

from consulta.core.fields import Zone, printable
from consulta.core.http import MAX_PAGE, ApiModel, Id
from consulta.scheduling.records import PaymentStatus, Status
from consulta.scheduling.schema.fields import Price


class BookingRequest(ApiModel):
    """A time to book. Price and duration are the service's.

    ``start`` needs its offset, or a ``zone`` whose clocks show it once. Without ``expert_id`` it is
    the one of the service's experts who is free and has the least to do that day. ``patient_id`` is
    for members to give; ``confirm`` books in earnest before it is paid or approved, and
    ``override`` outside the opening hours, over the expert's maxima and their calendar elsewhere:
    both are for members who may confirm. ``package_id`` says which package's session it is.
    """

    service_id: Id
    expert_id: Id | None = None
    start: datetime
    zone: Zone | None = None
    patient_id: Id | None = None
    package_id: Id | None = None
    confirm: bool = False
    override: bool = False


Note = Annotated[str, StringConstraints(max_length=500), AfterValidator(printable)]


class RescheduleRequest(ApiModel):
    """Another time for it, and another expert of the same service where one is named.

    ``override`` is for members who may confirm. ``requested_by`` says at whose wish a member moves
    it: what the practice moves of its own accord takes no notice away from the patient.
    ``notify``: whether the patient is told by mail.
    """

    start: datetime
    zone: Zone | None = None
    expert_id: Id | None = None
    override: bool = False
    requested_by: Literal["patient", "practice"] = "patient"
    notify: bool = True
    reason: Note = ""


class CancelReason(StrEnum):
    """Why an appointment was cancelled."""

    PATIENT_REQUEST = "patient_request"
    EXPERT_REQUEST = "expert_request"
    ILLNESS = "illness"
    UNAVAILABLE = "unavailable"
    NOT_SUITABLE = "not_suitable"
    OTHER = "other"
    # Nobody approved it in time: the system's alone to give.
    NOT_APPROVED = "not_approved"


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


class Ref(ApiModel):
    """An id with the name that people know it by; no name where the caller may not know it."""

    id: Id
    name: str | None


class Appointment(ApiModel):
    """One booked time. ``start`` and ``end`` are on the clocks of ``zone``, the practice's."""

    id: Id
    service: Ref
    expert: Ref
    patient: Ref
    status: Status
    payment_status: PaymentStatus
    start: datetime
    end: datetime
    zone: str
    price: Price
    order_id: Id
    payment_id: Id | None
    hold_expires_at: datetime | None
    approve_until: datetime | None
    rescheduled: int
    series_id: Id | None
    package_id: Id | None
    waitlist_id: Id | None
    cancelled_at: datetime | None
    cancelled_by: Literal["patient", "practice", "system"] | None
    cancel_reason: CancelReason | None
    created_at: datetime
    updated_at: datetime
    version: int


class AppointmentDetail(Appointment):
    """One appointment, with what only a single one shows."""

    local_date: date
    buffer_before_minutes: int
    buffer_after_minutes: int
    cancel_note: str | None


class AppointmentPage(ApiModel):
    """One page. It may be short, or empty, and still go on: docs/lists.md."""

    items: list[Appointment]
    next_cursor: str | None


Sort = Literal["start", "-start"]


class AppointmentFilter(ApiModel):
    """Which appointments a list shows. Starts in [low, high), at most 366 days."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    low: Annotated[AwareDatetime | None, Field(alias="from", description="Starts not before")] = (
        None
    )
    high: Annotated[AwareDatetime | None, Field(alias="to", description="Starts before")] = None
    status: Status | None = None
    payment_status: PaymentStatus | None = None
    patient_id: Id | None = None
    expert_id: Id | None = None
    service_id: Id | None = None
    sort: Sort = "start"


class AppointmentSearch(AppointmentFilter):
    """Appointments of a patient: ``pat_…``, or of all whose names begin so (case aside).

    In a body, since addresses are logged and names must not be.
    """

    patient: Annotated[str, StringConstraints(min_length=2, max_length=120)]
    patient_id: None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Annotated[str, StringConstraints(max_length=2048)] | None = None


class AppointmentMatches(AppointmentPage):
    """One page. ``truncated``: the name fits more patients than the ten that are shown."""

    truncated: bool
