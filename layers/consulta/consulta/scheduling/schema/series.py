"""Series: times that come again by a rule."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from consulta.core.fields import Zone
from consulta.core.http import ApiModel, Id
from consulta.scheduling.recurrence import MAX_OCCURRENCES
from consulta.scheduling.schema.appointments import Appointment
from consulta.scheduling.schema.slots import Slot
from consulta.scheduling.series_records import OccurrenceState, SeriesStatus

RecurrenceId = Annotated[
    str,
    StringConstraints(
        pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d$"
    ),
]
WallTime = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
OnConflict = Literal["fail", "skip"]


class SeriesRequest(ApiModel):
    """A series to book: the wall time of its first occurrence, a zone, and a rule of RFC 5545.

    ``rrule``: WEEKLY (INTERVAL to 8, BYDAY) or MONTHLY (BYMONTHDAY, or BYDAY like ``2TU``), ending
    by COUNT or UNTIL within 104 occurrences and two years. ``exdates`` are local dates left out.
    A service with a price needs ``confirm`` (members who may), or is a package's: each unpaid
    occurrence would be held for minutes only. ``on_conflict``: ``fail`` saves nothing if one of
    them cannot be booked now, ``skip`` books the others.
    """

    service_id: Id
    expert_id: Id
    patient_id: Id | None = None
    start: datetime
    zone: Zone
    rrule: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    exdates: Annotated[list[date], Field(max_length=MAX_OCCURRENCES, default_factory=list)]
    confirm: bool = False
    package_id: Id | None = None
    on_conflict: OnConflict = "fail"


class SeriesTime(ApiModel):
    """One occurrence before it is saved, on the clocks of the series' zone.

    ``problem``: past, not-offered, outside-hours, vacation, closed, taken. ``alternatives`` are the
    nearest free starts within three days.
    """

    recurrence_id: RecurrenceId
    start: datetime
    end: datetime
    ok: bool
    problem: str | None
    alternatives: list[Slot]


class SeriesPreview(ApiModel):
    """What a request would do; nothing was saved."""

    zone: str
    conflicts: int
    occurrences: list[SeriesTime]


class Progress(ApiModel):
    """How many occurrences there are, and what became of them."""

    total: int
    booked: int
    conflicts: int
    cancelled: int
    pending: int


class SeriesConflict(ApiModel):
    """An occurrence that was not booked, or is not where the rule says since it was not moved."""

    recurrence_id: RecurrenceId
    appointment_id: Id | None
    problem: str


class Series(ApiModel):
    """A series. While ``status`` is placing, moving or cancelling it is worked on: ask again.

    Occurrences are booked one by one: each is an appointment of its own, with its own policy.
    """

    id: Id
    service_id: Id
    expert_id: Id
    patient_id: Id
    zone: str
    start: RecurrenceId
    rrule: str
    exdates: list[date]
    confirm: bool
    package_id: Id | None
    on_conflict: OnConflict
    status: SeriesStatus
    progress: Progress
    conflicts: list[SeriesConflict]
    continues: Id | None
    created_at: datetime
    version: int


class SeriesSummary(ApiModel):
    """A series as lists show it."""

    id: Id
    service_id: Id
    expert_id: Id
    patient_id: Id
    zone: str
    start: RecurrenceId
    rrule: str
    status: SeriesStatus
    created_at: datetime
    version: int


class SeriesPage(ApiModel):
    """One page."""

    items: list[SeriesSummary]
    next_cursor: str | None


class SeriesFilter(ApiModel):
    """Whose series."""

    patient_id: Id | None = None
    expert_id: Id | None = None


class SeriesAppointment(ApiModel):
    """An occurrence and its appointment, if it has one that the caller may see."""

    recurrence_id: RecurrenceId
    state: OccurrenceState
    detached: bool
    problem: str | None
    appointment: Appointment | None


class SeriesAppointmentPage(ApiModel):
    """One page, in the order of the rule."""

    items: list[SeriesAppointment]
    next_cursor: str | None


class Scope(StrEnum):
    """Which occurrences: those that have begun stay as they are."""

    THIS = "this"
    THIS_AND_FOLLOWING = "this_and_following"
    ALL = "all"


class SeriesPatch(ApiModel):
    """Move occurrences: to another time of day, by days, to another expert.

    ``from_recurrence_id`` is needed but for ``all``. ``dry_run`` only says what would happen. Who
    was moved alone before (``this``) stays where it is.
    """

    scope: Scope
    from_recurrence_id: RecurrenceId | None = None
    start_time: WallTime | None = None
    shift_days: Annotated[int, Field(ge=-28, le=28)] = 0
    expert_id: Id | None = None
    on_conflict: OnConflict = "fail"
    dry_run: bool = False
