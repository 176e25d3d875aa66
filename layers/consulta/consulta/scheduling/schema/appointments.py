"""Booked times, as they are shown."""

from datetime import date, datetime
from enum import StrEnum
from typing import Literal

from consulta.core.http import ApiModel, Id
from consulta.scheduling.records import PaymentStatus, Status
from consulta.scheduling.schema.fields import AppliedTax, Price


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


class Ref(ApiModel):
    """An id with the name that people know it by; no name where the caller may not know it."""

    id: Id
    name: str | None


class Appointment(ApiModel):
    """One booked time. ``start`` and ``end`` are on the clocks of ``zone``, the practice's.

    ``price`` is all that the patient owes; ``tax`` is a part of it, ``deposit`` what of it has to
    be paid first, ``fee`` what of it is for moving it late. What was paid of it is in the order.
    """

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
    tax: AppliedTax | None
    deposit: Price | None
    fee: Price | None
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
    """One appointment, with what only a single one shows.

    ``withdraw_until``: until when, that instant included, the patient may withdraw by law and get
    all of it back; null without that right, and where it was waived, at ``withdrawal_waived_at``.
    """

    local_date: date
    buffer_before_minutes: int
    buffer_after_minutes: int
    cancel_note: str | None
    withdraw_until: datetime | None
    withdrawal_waived_at: datetime | None


class AppointmentPage(ApiModel):
    """One page. It may be short, or empty, and still go on: docs/lists.md."""

    items: list[Appointment]
    next_cursor: str | None
