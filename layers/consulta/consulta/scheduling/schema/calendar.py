"""The calendar of a day, a week or a month."""

from datetime import date as calendar_date
from datetime import datetime
from enum import StrEnum
from typing import Literal

from consulta.core.fields import Zone
from consulta.core.http import ApiModel, Id
from consulta.core.strict import Day
from consulta.scheduling.records import PaymentStatus, Status
from consulta.scheduling.schema.appointments import Ref


class View(StrEnum):
    """How much of it; weeks begin on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class CalendarFilter(ApiModel):
    """Which days, on whose clocks, and which appointments of them.

    ``date`` is any day of the week or month. ``zone`` is the practice's where none is given.
    """

    view: View
    date: Day
    zone: Zone | None = None
    expert_id: Id | None = None
    patient_id: Id | None = None
    service_id: Id | None = None
    status: Status | None = None


class CalendarEntry(ApiModel):
    """One appointment, as short as a calendar shows it; ``colour`` is its service's."""

    id: Id
    start: datetime
    end: datetime
    status: Status
    payment_status: PaymentStatus
    expert: Ref
    service: Ref
    patient: Ref
    colour: str | None


class BusyTime(ApiModel):
    """Something in the expert's own calendar elsewhere: only that there is something."""

    start: datetime
    end: datetime


class ClosedDay(ApiModel):
    """Why nobody works: the practice is closed, the expert is on vacation, or has no hours then."""

    reason: Literal["closed", "vacation", "no_hours"]
    message: str


class CalendarDay(ApiModel):
    """One local day: the appointments that begin on it, by start.

    ``busy`` and ``closed`` are on the first page only. ``busy`` is of one expert, cut at midnight,
    and for members. ``closed`` goes by the date on the practice's and the expert's own clocks.
    """

    date: calendar_date
    appointments: list[CalendarEntry]
    busy: list[BusyTime]
    closed: ClosedDay | None


class Calendar(ApiModel):
    """All days of the view. A page has at most 500 appointments, and may still go on."""

    view: View
    zone: str
    days: list[CalendarDay]
    next_cursor: str | None
