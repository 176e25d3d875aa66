"""API models of analytics: what is asked, and the answers' common parts."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from consulta.core.fields import Amount, Currency
from consulta.core.http import ApiModel, Id
from consulta.core.strict import Day
from consulta.scheduling.records import PaymentStatus, Status

BY_NAME = ConfigDict(validate_by_name=True, validate_by_alias=True)
Percent = float | None
"""One decimal; null where there is nothing to compare, or to have a share in."""


class Interval(StrEnum):
    """What the points of a range are: local days, ISO weeks from Monday on, or months."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


# ---------------------------------------------------------------- what is asked


class AnalyticsFilter(ApiModel):
    """The practice's local days ``from`` to ``to``, both included, at most 366; of one expert."""

    model_config = BY_NAME

    first: Annotated[Day, Field(alias="from", description="The first local day")]
    last: Annotated[Day, Field(alias="to", description="The last local day, included")]
    expert_id: Id | None = None


class OfServiceFilter(AnalyticsFilter):
    """The same, or of one service; not of both at once."""

    service_id: Id | None = None


class PointsFilter(OfServiceFilter):
    """The same with points by ``group``."""

    group: Interval = Interval.DAY


class ProfileFilter(AnalyticsFilter):
    """A range with points by ``group``, of the practice or of one expert."""

    group: Interval = Interval.DAY


class PracticeFilter(ApiModel):
    """The practice's local days ``from`` to ``to``, both included, at most 366; of all experts."""

    model_config = BY_NAME

    first: Annotated[Day, Field(alias="from", description="The first local day")]
    last: Annotated[Day, Field(alias="to", description="The last local day, included")]


class TopPatientsFilter(PracticeFilter):
    """The same with the currency to order by; without one, the practice's own."""

    currency: Currency | None = None


MonthText = Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]


class RetentionFilter(ApiModel):
    """The months of first visits ``from`` to ``to``, ``yyyy-mm``, both included, at most 24."""

    model_config = BY_NAME

    first: Annotated[MonthText, Field(alias="from", description="The first month")]
    last: Annotated[MonthText, Field(alias="to", description="The last month, included")]


# ---------------------------------------------------------------- what every answer has


class FiguresAnswer(ApiModel):
    """``as_of`` is when it was read; figures follow what happened by a moment.

    ``changed_at`` is when one of them last changed. ``complete`` is false while older
    appointments, payments or refunds are still being counted.
    """

    model_config = BY_NAME

    as_of: datetime
    changed_at: datetime | None
    complete: bool


class RangeAnswer(FiguresAnswer):
    """Figures of the days ``from`` to ``to``; ``previous`` are those of as many days before.

    ``trend_percent`` says how much more, or less, than those it is.
    """

    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    expert_id: Id | None


class OfServiceAnswer(RangeAnswer):
    """The same, of one service where one was named."""

    service_id: Id | None


class Point(ApiModel):
    """One period: a day or a week's Monday ``yyyy-mm-dd``, or a month ``yyyy-mm``.

    Only the days ``from`` to ``to`` of it are counted: the range cuts its first and last period.
    """

    model_config = BY_NAME

    period: str
    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]


# ---------------------------------------------------------------- revenue


class RevenueSum(ApiModel):
    """Money of a stretch of days, in one currency.

    ``gross`` was paid by patients, ``collected`` is gross − refunded. ``earned`` is what was
    delivered, whenever it was paid; null of a service, which has none of its own.
    """

    currency: Currency
    gross: Amount
    refunded: Amount
    collected: Amount
    earned: Amount | None
    payments: int


class RevenueTrend(ApiModel):
    """Percent more than before."""

    gross: Percent
    refunded: Percent
    collected: Percent
    earned: Percent
    payments: Percent


class RevenueTotal(RevenueSum):
    """One currency's money of the whole range."""

    previous: RevenueSum
    trend_percent: RevenueTrend


class RevenuePoint(Point):
    """One period's money, in every currency that occurs in the range."""

    items: list[RevenueSum]


class RevenueAnalytics(OfServiceAnswer):
    """Money by currency and by period. Currencies are never added together."""

    group: Interval
    items: list[RevenueTotal]
    points: list[RevenuePoint]


# ---------------------------------------------------------------- appointments


class StatusCounts(ApiModel):
    """Appointments by the day that they are on and the status that they have now.

    In ``total`` are scheduled ones, what became an appointment. Holds (held, expired) are beside
    it; one that was given up is no cancelled appointment.
    """

    total: int
    statuses: dict[str, int]


class StatusPoint(Point):
    """One period's appointments."""

    total: int
    statuses: dict[str, int]


class StatusShare(ApiModel):
    """How many have a status, and which part of all scheduled that is; null of holds."""

    status: Status
    count: int
    percent: Percent
    trend_percent: Percent


class AppointmentAnalytics(OfServiceAnswer):
    """Appointments per period and, over the whole range, by status; ``total`` is scheduled ones."""

    group: Interval
    total: int
    distribution: list[StatusShare]
    previous: StatusCounts
    trend_percent: Percent
    points: list[StatusPoint]


class PaymentStatusShare(ApiModel):
    """How many scheduled appointments have a payment status, and which part of all that is."""

    payment_status: PaymentStatus
    count: int
    percent: Percent
    trend_percent: Percent


class PaymentStatusAnalytics(OfServiceAnswer):
    """Scheduled appointments (holds left out) by what they show of their payments."""

    total: int
    distribution: list[PaymentStatusShare]
    previous: StatusCounts
    trend_percent: Percent


class FunnelSteps(ApiModel):
    """How far scheduled appointments came: ``paid`` ones of them, ``completed`` ones of those.

    Free ones count as paid. ``paid_percent`` is paid of scheduled, ``completed_percent`` completed
    of paid, ``overall_percent`` completed of scheduled.
    """

    scheduled: int
    paid: int
    completed: int
    paid_percent: Percent
    completed_percent: Percent
    overall_percent: Percent


class FunnelTrend(ApiModel):
    """Percent more than before."""

    scheduled: Percent
    paid: Percent
    completed: Percent


class FunnelAnalytics(OfServiceAnswer):
    """Scheduled → paid → completed."""

    steps: FunnelSteps
    previous: FunnelSteps
    trend_percent: FunnelTrend


# ---------------------------------------------------------------- peak hours


class BusiestHour(ApiModel):
    """The hour of the day, of all weekdays together, in which most appointments begin."""

    hour: Annotated[int, Field(ge=0, le=23)]
    appointments: int


class BusiestDay(ApiModel):
    """The weekday with most appointments."""

    weekday: str
    appointments: int


class PeakHours(RangeAnswer):
    """Booked appointments by weekday and hour of their start, on the practice's clocks.

    ``hours`` has seven rows from Monday on, of 24 numbers each. Of equals the earliest is named.
    """

    total: int
    hours: list[list[int]]
    busiest_hour: BusiestHour | None
    busiest_day: BusiestDay | None
    previous_total: int
    trend_percent: Percent


# ---------------------------------------------------------------- by service, patient, expert


class NamedRef(ApiModel):
    """An id with its name; null where the caller may not know it, or it is no longer there."""

    id: Id
    name: str | None


class ServiceMoney(ApiModel):
    """What a service was booked for and what was paid of it, in one currency.

    ``value`` is the price of what was booked; ``gross`` was paid, ``collected`` is gross −
    refunded. ``average`` is gross per payment, null without any.
    """

    currency: Currency
    value: Amount
    gross: Amount
    refunded: Amount
    collected: Amount
    average: Amount | None


class ServiceCounts(ApiModel):
    """``bookings`` are awaiting approval, confirmed, completed or missed.

    ``cancelled`` are appointments: a hold that was given up is none.
    ``no_show_percent`` is no-shows of those that were completed or missed.
    """

    bookings: int
    completed: int
    cancelled: int
    no_show: int
    no_show_percent: Percent


class ServiceLine(ServiceCounts):
    """One service. ``deleted`` ones are there with what they had."""

    service: NamedRef
    deleted: bool
    trend_percent: Percent
    items: list[ServiceMoney]


class ServiceAnalytics(FiguresAnswer):
    """Services by bookings, most first: ``services`` of them had anything in the range."""

    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    services: int
    total: ServiceCounts
    previous: ServiceCounts
    trend_percent: Percent
    items: list[ServiceLine]


class PatientMoney(ApiModel):
    """What patients paid (``gross``) and got back; ``collected`` is gross − refunded."""

    gross: Amount
    refunded: Amount
    collected: Amount


class PatientLine(PatientMoney):
    """One patient: ``percent`` of all that was paid (``gross``), and ``completed`` visits.

    ``completed`` is null where the caller does not see all appointments.
    """

    patient: NamedRef
    percent: Percent
    completed: int | None


class TopPatients(FiguresAnswer):
    """Patients by what was collected from them in one currency, most first.

    ``patients`` of them paid or got anything back. ``total`` is of all of them.
    """

    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    currency: Currency
    patients: int
    total: PatientMoney
    previous: PatientMoney
    trend_percent: Percent
    items: list[PatientLine]


class NoShowRate(ApiModel):
    """``no_show_percent`` is no_show of completed + no_show; null where there was neither."""

    completed: int
    no_show: int
    no_show_percent: Percent


class NoShowLine(NoShowRate):
    """Of one expert, service or patient."""

    of: NamedRef


class NoShowTrend(NoShowLine):
    """The same with the rate of as many days before."""

    previous_percent: Percent


class NoShowAnalytics(RangeAnswer):
    """Missed appointments, and by whom: most first, nobody without any.

    The three lists are of the whole practice: null where one expert's were asked for.
    """

    total: NoShowRate
    previous: NoShowRate
    trend_percent: Percent
    by_expert: list[NoShowTrend] | None
    by_service: list[NoShowTrend] | None
    by_patient: list[NoShowLine] | None


# ---------------------------------------------------------------- retention, profiles


class CohortMonth(ApiModel):
    """How many of a cohort came ``months_later``, and which part of it that is."""

    months_later: int
    month: str
    patients: int
    percent: Percent


class Cohort(ApiModel):
    """Patients whose first completed visit was in ``month``, and in which months they came back.

    ``later`` goes up to the present month.
    """

    month: str
    patients: int
    later: list[CohortMonth]


class RetentionAnalytics(FiguresAnswer):
    """Every month of the range has its cohort. ``total`` is of all of them."""

    first: Annotated[str, Field(alias="from")]
    last: Annotated[str, Field(alias="to")]
    cohorts: list[Cohort]
    total: int
    previous_total: int
    trend_percent: Percent


class ProfileSum(ApiModel):
    """``views`` of profiles, ``made`` appointments by the day they were made on.

    ``conversion_percent`` is made of views: over 100 where people book without looking.
    """

    views: int
    made: int
    conversion_percent: Percent


class ProfilePoint(Point):
    """One period's."""

    views: int
    made: int
    conversion_percent: Percent


class ProfileTrend(ApiModel):
    """Percent more than before."""

    views: Percent
    made: Percent


class ProfileAnalytics(RangeAnswer):
    """How often profiles were looked at, and what came of it."""

    group: Interval
    total: ProfileSum
    previous: ProfileSum
    trend_percent: ProfileTrend
    points: list[ProfilePoint]
