"""Booked times."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, StringConstraints

from consulta.core.fields import Zone, printable
from consulta.core.http import ApiModel, Id
from consulta.scheduling.records import PaymentStatus, Status
from consulta.scheduling.schema.fields import Price


class BookingRequest(ApiModel):
    """A time to book. Price and duration are the service's.

    ``start`` needs its offset, or a ``zone`` whose clocks show it once. ``patient_id`` is for
    members to give; ``confirm`` books in earnest before it is paid, and ``override`` outside the
    weekly hours: both are for members who may confirm.
    """

    service_id: Id
    expert_id: Id
    start: datetime
    zone: Zone | None = None
    patient_id: Id | None = None
    confirm: bool = False
    override: bool = False


class CancelReason(StrEnum):
    """Why an appointment was cancelled."""

    PATIENT_REQUEST = "patient_request"
    EXPERT_REQUEST = "expert_request"
    ILLNESS = "illness"
    OTHER = "other"


class CancelRequest(ApiModel):
    """Why; the note is for people, and stays with the appointment."""

    reason_code: CancelReason
    note: Annotated[str, StringConstraints(max_length=500), AfterValidator(printable)] = ""


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

    low: AwareDatetime | None = None
    high: AwareDatetime | None = None
    status: Status | None = None
    payment_status: PaymentStatus | None = None
    patient_id: Id | None = None
    expert_id: Id | None = None
    service_id: Id | None = None
    sort: Sort = "start"
