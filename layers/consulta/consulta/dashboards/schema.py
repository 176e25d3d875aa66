"""What GET /v1/dashboard answers: one shape per kind of caller, each section standing alone."""

from datetime import date, datetime
from typing import Annotated, Literal, TypedDict

from pydantic import Field

from consulta.core.fields import Amount
from consulta.core.http import ApiModel
from consulta.people.schema.fields import PracticeName
from consulta.people.schema.setup import SetupOut
from consulta.scheduling.schema.appointments import Appointment, Ref


class Section[T](TypedDict):
    """One part of a dashboard.

    ``unavailable`` says that this part could not be read in time: the others are good all the same.
    ``as_of`` is when it was read; ``changed_at`` when the figures in it last changed, null for a
    list and where there are none yet; ``complete`` is false while older items are still being
    counted in a figure that is new. ``max_age_seconds`` is how long a front end may show it.
    """

    # A dictionary, as a cold start would make a model of each of the dozen kinds of section.

    status: Literal["ok", "unavailable"]
    as_of: datetime
    changed_at: datetime | None
    complete: bool
    max_age_seconds: int
    data: T | None


class QuickAction(ApiModel):
    """Something that this caller often does next; ``href`` is the API's path for it."""

    name: str
    href: str


class Appointments(ApiModel):
    """A few appointments, in the order in which they matter."""

    items: list[Appointment]


Unread = Annotated[int | None, Field(description="Messages; null for who may not read messages")]
Rating = Annotated[
    float | None, Field(description="Of 1 to 5, one decimal; null until there is a review")
]
Percent = Annotated[
    float | None, Field(description="How much more, in percent; null where there was nothing")
]


class PatientStats(ApiModel):
    """D2. ``total_bookings`` counts what was booked in earnest, cancelled ones not included."""

    upcoming_appointments: int
    total_bookings: int
    unique_experts: int
    unread_messages: Unread
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
    """D3 and D4. Months are the practice's calendar months, whole ones, by the appointment's day.

    ``appointments_trend_percent`` compares this month with last month; ``profile_views`` are of
    the expert's public profile, of a practice's all together.
    """

    upcoming_appointments: int
    appointments_this_month: int
    appointments_last_month: int
    appointments_trend_percent: Percent
    appointments_total: int
    unique_patients: int
    reviews: int
    average_rating: Rating
    profile_views: int
    profile_views_this_month: int


class RevenueToday(ApiModel):
    """Money of some days in one currency: what was paid in them, less what went back in them."""

    collected: Amount
    refunded: Amount
    net: Amount


class TodayPanel(ApiModel):
    """D5, the day that it is for the practice.

    ``appointments`` are today's, over or to come; ``pending`` (awaiting approval) and
    ``confirmed`` are all that are still ahead, on whatever day. ``revenue`` has one entry per
    currency; null for who may not see payments. ``services`` can be booked now.
    """

    day: date
    appointments: int
    pending: int
    confirmed: int
    revenue: list[RevenueToday] | None
    services: int
    unread_messages: Unread
    reviews: int
    average_rating: Rating


class WeekCount(ApiModel):
    """Of this week and the one before, from Monday on, each whole and up to today's weekday.

    ``percent`` compares the two that go as far as today: a whole week with a part says nothing.
    """

    this_week: int
    last_week: int
    this_week_so_far: int
    last_week_so_far: int
    percent: Percent


class WeekRevenue(ApiModel):
    """The same of money in one currency, net of refunds."""

    this_week: Amount
    last_week: Amount
    this_week_so_far: Amount
    last_week_so_far: Amount
    percent: Percent


class WeekComparison(ApiModel):
    """D5, this ISO week against last, on the practice's calendar.

    ``appointments`` and ``completed`` by the appointment's own day; ``booked`` by the day on which
    it was made, whatever came of it. ``revenue`` is null for who may not see payments.
    """

    begins: date
    appointments: WeekCount
    completed: WeekCount
    booked: WeekCount
    revenue: list[WeekRevenue] | None


class TodaySchedule(ApiModel):
    """D5, today's appointments in the order of the day, at most 50; ``more`` if there are more."""

    day: date
    items: list[Appointment]
    more: bool


class ActivityEntry(ApiModel):
    """A payment that was begun, or a review that was written; ``state`` is what it is now.

    A payment has an ``amount``, a review a ``rating``; its words are at /v1/reviews. ``patient`` is
    null for who may not know a review's author.
    """

    kind: Literal["payment", "review"]
    id: str
    at: datetime
    expert: Ref
    patient: Ref | None
    amount: Amount | None = None
    rating: int | None = None
    state: str


class RecentActivity(ApiModel):
    """D5, the newest five payments and the newest five reviews, the newest first.

    Each only for who may see it.
    """

    items: list[ActivityEntry]


class PayoutBrief(ApiModel):
    """Money on its way to the bank, or there; below zero where the bank was debited."""

    id: str
    amount: Amount
    status: str
    arrives_on: date
    created_at: datetime


class BalanceBrief(ApiModel):
    """What can be paid out of one currency, and what can be later."""

    available: Amount
    pending: Amount


class PayoutsPanel(ApiModel):
    """D4, the payee's balances as the ledger has them, by currency, and the newest five payouts."""

    payee: str
    balances: list[BalanceBrief]
    items: list[PayoutBrief]


class SetupProgress(SetupOut):
    """D3: the steps, and where to publish once that is allowed; null until then."""

    publish_href: str | None


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
    """One entry per currency, and what the platform takes of a payment of today.

    ``commission_percent`` is that of the practice's own currency and of services without a rate of
    their own; a rate's fixed part is not in it.
    """

    commission_percent: float
    items: list[Earnings]


class _Dashboard(ApiModel):
    practice: PracticeName
    quick_actions: list[QuickAction]
    includes_change: Annotated[
        bool | None,
        Field(description="Whether the figures have the change of `after`; null if not asked"),
    ] = None


class PatientSections(ApiModel):
    """D2; a section that was not asked for, or is not for this caller, is null."""

    stats: Section[PatientStats] | None = None
    upcoming: Section[Appointments] | None = None
    recent: Section[Appointments] | None = None
    spending: Section[SpendingList] | None = None


class PatientDashboard(_Dashboard):
    """For a patient."""

    kind: Literal["patient"] = "patient"
    sections: PatientSections


class NewExpertSections(ApiModel):
    """D3; a section that was not asked for, or is not for this caller, is null."""

    setup: Section[SetupProgress] | None = None
    stats: Section[ExpertStats] | None = None
    upcoming: Section[Appointments] | None = None


class NewExpertDashboard(_Dashboard):
    """For an expert whose profile is not published yet."""

    kind: Literal["new_expert"] = "new_expert"
    sections: NewExpertSections


class PanelSections(ApiModel):
    """D4 and D5; a section that was not asked for, or is not for this caller, is null."""

    stats: Section[ExpertStats] | None = None
    today: Section[TodayPanel] | None = None
    weeks: Section[WeekComparison] | None = None
    upcoming: Section[Appointments] | None = None
    schedule: Section[TodaySchedule] | None = None
    recent: Section[Appointments] | None = None
    activity: Section[RecentActivity] | None = None
    earnings: Section[EarningsList] | None = None
    payouts: Section[PayoutsPanel] | None = None


class ExpertDashboard(_Dashboard):
    """For an expert who is published, about themself."""

    kind: Literal["expert"] = "expert"
    sections: PanelSections


class PracticeDashboard(_Dashboard):
    """For the practice's staff, about the whole practice."""

    kind: Literal["practice"] = "practice"
    sections: PanelSections


Dashboard = PatientDashboard | NewExpertDashboard | ExpertDashboard | PracticeDashboard
