"""When an expert works."""

from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from consulta.core.fields import Zone
from consulta.core.http import ApiModel, Id

MAX_RANGES = 12

Minutes = Annotated[int, Field(ge=0, le=1_440)]


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
