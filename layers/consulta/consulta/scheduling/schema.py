"""API models of scheduling: what comes in and what goes out."""

from datetime import date, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from consulta.core.fields import Currency, Name, Text, Zone, printable
from consulta.core.http import ApiModel, Id
from consulta.scheduling.records import PaymentStatus, Status

# An expert's flag is kept in the transaction that changes a service: 100 parts hold 40 experts.
MAX_EXPERTS = 40
MAX_RANGES = 12


def _unique(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


Experts = Annotated[list[Id], Field(max_length=MAX_EXPERTS), AfterValidator(_unique)]
Minutes = Annotated[int, Field(ge=0, le=1_440)]
Position = Annotated[int, Field(ge=0, le=999_999)]


class Price(ApiModel):
    """Integer minor units of an ISO 4217 currency; 0 is free."""

    amount: Annotated[int, Field(ge=0, le=100_000_000)]
    currency: Currency


# services


class ServiceKind(StrEnum):
    """One appointment, or several sold together."""

    SINGLE = "SINGLE"
    PACKAGE = "PACKAGE"


class ServiceRequest(ApiModel):
    """A new service."""

    name: Name
    description: Text = ""
    kind: ServiceKind = ServiceKind.SINGLE
    duration_minutes: Annotated[int, Field(ge=1, le=1_440)]
    price: Price
    expert_ids: Experts = Field(default_factory=list)
    active: bool = True
    position: Position = 0


class ServicePatch(ApiModel):
    """What of a service changes. What is booked keeps its own price and duration."""

    name: Name | None = None
    description: Text | None = None
    kind: ServiceKind | None = None
    duration_minutes: Annotated[int, Field(ge=1, le=1_440)] | None = None
    price: Price | None = None
    expert_ids: Experts | None = None
    active: bool | None = None
    position: Position | None = None


class Service(ApiModel):
    """What can be booked, by which experts."""

    id: Id
    name: str
    description: str
    kind: ServiceKind
    duration_minutes: int
    price: Price
    expert_ids: list[Id]
    active: bool
    position: int
    created_at: datetime
    version: int


class ServicePage(ApiModel):
    """One page, by position."""

    items: list[Service]
    next_cursor: str | None


# availability


class WorkingRange(ApiModel):
    """From and to on the clocks of the zone; ``24:00`` is the end of the day."""

    from_: Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = Field(
        alias="from"
    )
    to: Annotated[str, StringConstraints(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.from_ >= self.to:
            raise ValueError("from must be before to")
        return self


def _apart(ranges: list[WorkingRange]) -> list[WorkingRange]:
    ordered = sorted(ranges, key=lambda one: one.from_)
    if any(one.to > other.from_ for one, other in pairwise(ordered)):
        raise ValueError("the ranges of a day must not overlap")
    return ordered


Day = Annotated[list[WorkingRange], Field(max_length=MAX_RANGES), AfterValidator(_apart)]


class Weekly(ApiModel):
    """Opening hours per weekday; a day without ranges is closed."""

    monday: Day = Field(default_factory=list)
    tuesday: Day = Field(default_factory=list)
    wednesday: Day = Field(default_factory=list)
    thursday: Day = Field(default_factory=list)
    friday: Day = Field(default_factory=list)
    saturday: Day = Field(default_factory=list)
    sunday: Day = Field(default_factory=list)


class AvailabilityRequest(ApiModel):
    """An expert's weekly hours, all of them."""

    zone: Zone
    weekly: Weekly
    slot_interval_minutes: Annotated[int, Field(ge=5, le=1_440)] = 30
    buffer_before_minutes: Minutes = 0
    buffer_after_minutes: Minutes = 0
    min_notice_minutes: Annotated[int, Field(ge=0, le=60 * 24 * 60)] = 0
    horizon_days: Annotated[int, Field(ge=1, le=730)] = 60


class Availability(AvailabilityRequest):
    """The same as it is kept; version 0 where nothing was set yet."""

    expert_id: Id
    version: int


# slots


class Slot(ApiModel):
    """A free time, on the clocks of the zone that was asked for."""

    start: datetime
    end: datetime


class Slots(ApiModel):
    """The free times of one expert for one service, in order."""

    zone: str
    service_id: Id
    expert_id: Id
    slots: list[Slot]


# appointments


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
