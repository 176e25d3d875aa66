"""When an expert works."""

import json
from datetime import date
from itertools import pairwise
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from consulta.core.fields import Zone, printable
from consulta.core.http import ApiModel, Id

# With messages of MAX_MESSAGES bytes in all (as they are stored), the item stays under 300 KB.
MAX_RANGES, MAX_OVERRIDES, MAX_VACATIONS, MAX_MESSAGES = 12, 366, 50, 200_000
YEARS = range(2000, 2200)

Minutes = Annotated[int, Field(ge=0, le=1_440)]


def _local_date(value: str) -> str:
    try:
        found = date.fromisoformat(value)
    except ValueError:
        raise ValueError("not a date, like 2026-12-24") from None
    if found.year not in YEARS:
        raise ValueError(f"not a year of {YEARS[0]} to {YEARS[-1]}")
    return value


# Text and no date of pydantic's, which would take an instant as well.
LocalDate = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$"),
    AfterValidator(_local_date),
    Field(json_schema_extra={"format": "date"}),
]


class DateRange(ApiModel):
    """Dates, both included."""

    from_: LocalDate = Field(alias="from")
    to: LocalDate

    @field_validator("to")
    @classmethod
    def _ordered(cls, value: str, info: ValidationInfo) -> str:
        if value < info.data.get("from_", value):
            raise ValueError("to must not be before from")
        return value


class Vacation(DateRange):
    """Dates off, on the clocks of the expert; patients are shown the message."""

    message: Annotated[str, StringConstraints(max_length=500), AfterValidator(printable)] = ""


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


class Cancellation(ApiModel):
    """An expert's own terms: cancelled later than this before the start, so much is kept.

    ``fixed`` in minor units of the appointment's currency, and ``percent`` of the base; at most
    all that was paid (MONEY_AND_BOOKING_RULES §9).
    """

    window_minutes: Annotated[int, Field(ge=0, le=366 * 24 * 60)]
    fixed: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    percent: Annotated[int, Field(ge=0, le=100)] = 0


def _in_order(vacations: list[Vacation]) -> list[Vacation]:
    if sum(len(json.dumps(one.message)) for one in vacations) > MAX_MESSAGES:
        raise ValueError("the messages are too long in all")
    return sorted(vacations, key=lambda one: (one.from_, one.to))


Maximum = Annotated[int, Field(ge=1, le=500)]


class AvailabilityRequest(ApiModel):
    """All of an expert's hours.

    ``overrides``: a date's hours in place of the weekly ones, ``[]`` to be closed. ``max_per_day``
    and ``max_per_week`` (Monday to Sunday) count appointments on the clocks of ``zone``.
    ``cancellation`` null leaves it to the practice's policy.
    """

    zone: Zone
    weekly: Weekly
    overrides: Annotated[dict[LocalDate, Day], Field(max_length=MAX_OVERRIDES)] = Field(
        default_factory=dict
    )
    vacations: Annotated[
        list[Vacation], Field(max_length=MAX_VACATIONS), AfterValidator(_in_order)
    ] = Field(default_factory=list)
    slot_interval_minutes: Annotated[int, Field(ge=5, le=1_440)] = 30
    buffer_before_minutes: Minutes = 0
    buffer_after_minutes: Minutes = 0
    min_notice_minutes: Annotated[int, Field(ge=0, le=60 * 24 * 60)] = 0
    horizon_days: Annotated[int, Field(ge=1, le=730)] = 60
    max_per_day: Maximum | None = None
    max_per_week: Maximum | None = None
    auto_confirm: bool = True
    cancellation: Cancellation | None = None


class Availability(AvailabilityRequest):
    """The same as it is kept; version 0 where nothing was set yet."""

    expert_id: Id
    version: int
