"""What GET /v1/dashboard answers: one shape per kind of caller, each section standing alone."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from consulta.core.fields import Amount
from consulta.core.http import ApiModel
from consulta.people.schema.experts import SetupOut
from consulta.people.schema.me import PracticeName
from consulta.scheduling.schema.appointments import Appointment


class Section[T](ApiModel):
    """One part of a dashboard.

    ``unavailable`` says that this part could not be read: the others are good all the same.
    ``as_of`` is when it was read; ``max_age_seconds`` how long a front end may show it.
    """

    status: Literal["ok", "unavailable"]
    as_of: datetime
    max_age_seconds: int
    data: T | None


class QuickAction(ApiModel):
    """Something that this caller often does next; ``href`` is the API's path for it."""

    name: str
    href: str


class Appointments(ApiModel):
    """A few appointments, in the order in which they matter."""

    items: list[Appointment]


class PatientStats(ApiModel):
    """D2. ``total_bookings`` counts what was booked in earnest, cancelled ones not included."""

    upcoming_appointments: int
    total_bookings: int
    unique_experts: int
    next_appointment: Appointment | None


class Spending(ApiModel):
    """What a patient paid, got back, and so spent, in one currency."""

    paid: Amount
    refunded: Amount
    spent: Amount


class SpendingList(ApiModel):
    """One entry per currency: currencies are never added together."""

    items: list[Spending]


class ExpertStats(ApiModel):
    """D4. Months are the practice's calendar months."""

    upcoming_appointments: int
    appointments_this_month: int
    appointments_total: int
    unique_patients: int
    average_rating: float | None = Field(description="null until there is a review")


class MonthEarnings(ApiModel):
    """One month's money in one currency, by the day on which it was paid or given back."""

    month: str = Field(examples=["2026-11"])
    gross: Amount
    commission: Amount
    net: Amount


class Earnings(ApiModel):
    """Collected money in one currency: gross less refunds, commission and fees is net.

    ``trend_percent`` compares this month's net with last month's; null where there was none.
    ``pending_commission`` is commission of payments that the provider has not settled yet.
    """

    currency: str
    gross: Amount
    refunded: Amount
    commission: Amount
    fees: Amount
    net: Amount
    this_month: MonthEarnings
    last_month: MonthEarnings
    trend_percent: float | None
    by_month: list[MonthEarnings]
    pending_commission: Amount


class EarningsList(ApiModel):
    """One entry per currency, and the rate of the platform's commission."""

    commission_percent: float
    items: list[Earnings]


class _Dashboard(ApiModel):
    practice: PracticeName
    quick_actions: list[QuickAction]


class PatientSections(ApiModel):
    """D2; a section that was not asked for is null."""

    stats: Section[PatientStats] | None = None
    upcoming: Section[Appointments] | None = None
    recent: Section[Appointments] | None = None
    spending: Section[SpendingList] | None = None


class PatientDashboard(_Dashboard):
    """For a patient."""

    kind: Literal["patient"] = "patient"
    sections: PatientSections


class NewExpertSections(ApiModel):
    """D3; a section that was not asked for is null."""

    setup: Section[SetupOut] | None = None
    stats: Section[ExpertStats] | None = None
    upcoming: Section[Appointments] | None = None


class NewExpertDashboard(_Dashboard):
    """For an expert whose profile is not published yet."""

    kind: Literal["new_expert"] = "new_expert"
    sections: NewExpertSections


class ExpertSections(ApiModel):
    """D4; a section that was not asked for is null."""

    stats: Section[ExpertStats] | None = None
    upcoming: Section[Appointments] | None = None
    recent: Section[Appointments] | None = None
    earnings: Section[EarningsList] | None = None


class ExpertDashboard(_Dashboard):
    """For an expert who is published, about themself."""

    kind: Literal["expert"] = "expert"
    sections: ExpertSections


class PracticeDashboard(_Dashboard):
    """For the practice's staff, about the whole practice."""

    kind: Literal["practice"] = "practice"
    sections: ExpertSections


Dashboard = PatientDashboard | NewExpertDashboard | ExpertDashboard | PracticeDashboard
SECTION_NAMES = ("stats", "upcoming", "recent", "spending", "setup", "earnings")
