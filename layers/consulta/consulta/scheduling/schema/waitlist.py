"""The waitlist."""

from datetime import date, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from consulta.core.fields import Zone
from consulta.core.http import ApiModel, Id
from consulta.scheduling.schema.series import WallTime
from consulta.scheduling.waitlist_records import WaitlistStatus

MAX_RANGE = timedelta(days=62)
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class TimeWindow(ApiModel):
    """Wall times that the appointment lies between."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    from_: Annotated[WallTime, Field(alias="from")]
    to: WallTime

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.from_ >= self.to:
            raise ValueError("from must be before to")
        return self


class WaitlistRequest(ApiModel):
    """Wait for a time of a service: with one expert, or any where none is named.

    ``from`` and ``to`` are dates on the clocks of ``zone``, both included, at most 62 days.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    service_id: Id
    expert_id: Id | None = None
    patient_id: Id | None = None
    from_: Annotated[date, Field(alias="from")]
    to: date
    days: Annotated[list[Weekday], Field(max_length=7, default_factory=list)]
    time_window: TimeWindow | None = None
    zone: Zone


class WaitlistEntry(ApiModel):
    """An entry. While it is ``offered``, the time of ``appointment_id`` is held for the patient.

    ``offer_until`` is until when: accept it by then, and pay it by then where it has a price.
    """

    id: Id
    service_id: Id
    expert_id: Id | None
    patient_id: Id
    from_: Annotated[date, Field(serialization_alias="from")]
    to: date
    days: list[Weekday]
    time_window: TimeWindow | None
    zone: str
    status: WaitlistStatus
    appointment_id: Id | None
    offer_until: datetime | None
    ignored: int
    created_at: datetime
    version: int


class WaitlistPage(ApiModel):
    """One page, in order of joining."""

    items: list[WaitlistEntry]
    next_cursor: str | None


class WaitlistFilter(ApiModel):
    """Which entries."""

    service_id: Id | None = None
    expert_id: Id | None = None
    patient_id: Id | None = None
