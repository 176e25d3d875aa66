"""What the API takes and gives of reports."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import EmailStr, Field, model_validator

from consulta.core.http import ApiModel, Id
from consulta.money.schema.payments import DisplayedStatus
from consulta.reports.records import Format, Frequency, ReportKind, State

MAX_DAYS = 366
Formats = Annotated[list[Format], Field(min_length=1, max_length=3)]
Recipients = Annotated[list[EmailStr], Field(max_length=10)]


class ExportFilter(ApiModel):
    """Which payments an export has: the filters of ``GET /v1/payments``, but for its range."""

    state: Literal["open", "processing", "authorized", "succeeded", "cancelled"] | None = None
    status: DisplayedStatus | None = None
    provider: Literal["stripe", "mercadopago", "manual"] | None = None
    patient_id: Id | None = None
    expert_id: Id | None = None
    service_id: Id | None = None
    fraud_warning: bool | None = None


_FORMATS = {
    ReportKind.REVENUE: frozenset(Format),
    ReportKind.PAYMENTS: frozenset({Format.CSV, Format.XLSX}),
}


class ReportRequest(ApiModel):
    """A report over the days ``from`` to ``to``, both included, on the practice's clocks.

    Of the kind ``payments`` it has one row for each payment that was made on those days, at most
    100,000, as CSV and Excel; patients are on it for who may read patients, unless it is mailed.
    """

    kind: ReportKind = ReportKind.REVENUE
    first_day: date = Field(alias="from")
    last_day: date = Field(alias="to")
    formats: Formats = Field(default_factory=lambda: list(Format))
    recipients: Recipients = Field(default_factory=list)
    filters: ExportFilter | None = None

    @model_validator(mode="after")
    def _of_kind(self) -> "ReportRequest":
        if "formats" not in self.model_fields_set:
            self.formats = [form for form in self.formats if form in _FORMATS[self.kind]]
        if not set(self.formats) <= _FORMATS[self.kind]:
            raise ValueError("payments are exported as csv and xlsx")
        if self.filters is not None and self.kind is not ReportKind.PAYMENTS:
            raise ValueError("filters go with the kind payments")
        return self

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


class ExportProgress(ApiModel):
    """How far an export is; ``percent`` is an estimate by time, since nothing is counted first."""

    rows: int
    percent: int


class Report(ApiModel):
    """A report: poll it until ``state`` is ready or failed.

    Files are shown to who may see what is in them. ``error`` is a code, ``too_many_rows``: ask for
    fewer days.
    """

    id: Id
    kind: ReportKind
    first_day: date = Field(serialization_alias="from")
    last_day: date = Field(serialization_alias="to")
    formats: list[Format]
    state: State
    schedule_id: Id | None
    files: list[ReportFile]
    created_at: datetime
    ready_at: datetime | None
    filters: ExportFilter | None = None
    progress: ExportProgress | None = None
    error: str | None = None
    version: int


class ReportPage(ApiModel):
    """One page of reports, newest first."""

    items: list[Report]
    next_cursor: str | None


class ReportScheduleRequest(ApiModel):
    """When to report.

    ``weekday`` 1 (Monday) to 7 goes with weekly, ``day_of_month`` 1 to 28 with monthly.
    """

    kind: ReportKind = ReportKind.REVENUE
    frequency: Frequency
    time: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", examples=["08:00"])
    weekday: int | None = Field(default=None, ge=1, le=7)
    day_of_month: int | None = Field(default=None, ge=1, le=28)
    formats: Formats = Field(default_factory=lambda: [Format.PDF])
    recipients: Annotated[Recipients, Field(min_length=1)]

    @model_validator(mode="after")
    def _of_kind(self) -> "ReportScheduleRequest":
        if "formats" not in self.model_fields_set and self.kind is ReportKind.PAYMENTS:
            self.formats = [Format.CSV]
        if not set(self.formats) <= _FORMATS[self.kind]:
            raise ValueError("payments are exported as csv and xlsx")
        return self

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
    kind: ReportKind
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
