"""What the API takes and gives of reports."""

from datetime import date, datetime
from typing import Annotated

from pydantic import EmailStr, Field, model_validator

from consulta.core.http import ApiModel, Id
from consulta.reports.records import Format, Frequency, Kind, State

MAX_DAYS = 366
Formats = Annotated[list[Format], Field(min_length=1, max_length=3)]
Recipients = Annotated[list[EmailStr], Field(max_length=10)]


class ReportRequest(ApiModel):
    """A report over the days ``from`` to ``to``, both included, on the practice's clocks."""

    kind: Kind = Kind.REVENUE
    first_day: date = Field(alias="from")
    last_day: date = Field(alias="to")
    formats: Formats = Field(default_factory=lambda: list(Format))
    recipients: Recipients = Field(default_factory=list)

    @model_validator(mode="after")
    def _range(self) -> "ReportRequest":
        if self.last_day < self.first_day:
            raise ValueError("to is before from")
        if (self.last_day - self.first_day).days >= MAX_DAYS:
            raise ValueError(f"a report covers at most {MAX_DAYS} days")
        if len(set(self.formats)) < len(self.formats):
            raise ValueError("formats repeat")
        return self


class ReportFile(ApiModel):
    """One file of a report; ``url`` opens it without signing in, until ``expires_at``."""

    format: Format
    bytes: int
    url: str
    expires_at: datetime


class Report(ApiModel):
    """A report: poll it until ``state`` is ready or failed."""

    id: Id
    kind: Kind
    first_day: date = Field(serialization_alias="from")
    last_day: date = Field(serialization_alias="to")
    formats: list[Format]
    state: State
    schedule_id: Id | None
    files: list[ReportFile]
    created_at: datetime
    ready_at: datetime | None
    version: int


class ReportPage(ApiModel):
    """One page of reports, newest first."""

    items: list[Report]
    next_cursor: str | None


class ReportScheduleRequest(ApiModel):
    """When to report.

    ``weekday`` 1 (Monday) to 7 goes with weekly, ``day_of_month`` 1 to 28 with monthly.
    """

    kind: Kind = Kind.REVENUE
    frequency: Frequency
    time: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", examples=["08:00"])
    weekday: int | None = Field(default=None, ge=1, le=7)
    day_of_month: int | None = Field(default=None, ge=1, le=28)
    formats: Formats = Field(default_factory=lambda: [Format.PDF])
    recipients: Annotated[Recipients, Field(min_length=1)]

    @model_validator(mode="after")
    def _when(self) -> "ReportScheduleRequest":
        if (self.weekday is not None) != (self.frequency is Frequency.WEEKLY):
            raise ValueError("weekday goes with weekly, and weekly needs it")
        if (self.day_of_month is not None) != (self.frequency is Frequency.MONTHLY):
            raise ValueError("day_of_month goes with monthly, and monthly needs it")
        return self


class ReportSchedule(ApiModel):
    """A schedule as it is kept; ``zone`` is the practice's when it was made."""

    id: Id
    kind: Kind
    frequency: Frequency
    time: str
    weekday: int | None
    day_of_month: int | None
    zone: str
    formats: list[Format]
    recipients: list[str]
    created_at: datetime
    version: int


class ReportSchedulePage(ApiModel):
    """One page of schedules."""

    items: list[ReportSchedule]
    next_cursor: str | None
