"""Analytics of a practice: /v1/analytics/…, each answer with its ETag."""

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, IfNoneMatch, Limit, etag_of, needs
from consulta.dashboards.analytics import appointments as visits
from consulta.dashboards.analytics import (
    no_shows,
    peak_hours,
    profile,
    retention,
    revenue,
    schema,
    services,
    top_patients,
)

api = Api("analytics")
MAX_AGE = 120


def answer(found: schema.FiguresAnswer, known: str | None) -> Any:
    return api.unless_known(found, etag_of(found, {"as_of", "changed_at"}), known, MAX_AGE)


@api.get("/v1/analytics/revenue", summary="Money per currency and period, against the time before")
@needs("payments:read")
def get_revenue(
    wanted: Annotated[schema.PointsFilter, Query()], known: IfNoneMatch = None
) -> schema.RevenueAnalytics:
    return answer(revenue.of(api.caller, wanted), known)


@api.get("/v1/analytics/appointments", summary="Appointments per period and by status")
@needs("appointments:read")
def get_appointments(
    wanted: Annotated[schema.PointsFilter, Query()], known: IfNoneMatch = None
) -> schema.AppointmentAnalytics:
    return answer(visits.by_status(api.caller, wanted), known)


@api.get("/v1/analytics/payment-status", summary="Scheduled appointments by payment status")
@needs("payments:read")
def get_payment_status(
    wanted: Annotated[schema.OfServiceFilter, Query()], known: IfNoneMatch = None
) -> schema.PaymentStatusAnalytics:
    return answer(visits.by_payment_status(api.caller, wanted), known)


@api.get("/v1/analytics/funnel", summary="Scheduled, paid, completed")
@needs("appointments:read")
def get_funnel(
    wanted: Annotated[schema.OfServiceFilter, Query()], known: IfNoneMatch = None
) -> schema.FunnelAnalytics:
    return answer(visits.funnel(api.caller, wanted), known)


@api.get("/v1/analytics/peak-hours", summary="Appointments by weekday and hour")
@needs("appointments:read")
def get_peak_hours(
    wanted: Annotated[schema.AnalyticsFilter, Query()], known: IfNoneMatch = None
) -> schema.PeakHours:
    return answer(peak_hours.of(api.caller, wanted), known)


@api.get("/v1/analytics/services", summary="Services by bookings, with their money")
@needs("payments:read")
def get_services(
    wanted: Annotated[schema.PracticeFilter, Query()], limit: Limit = 20, known: IfNoneMatch = None
) -> schema.ServiceAnalytics:
    return answer(services.of(api.caller, wanted, limit), known)


@api.get("/v1/analytics/top-patients", summary="Patients by what was collected from them")
@needs("payments:read")
def get_top_patients(
    wanted: Annotated[schema.TopPatientsFilter, Query()],
    limit: Limit = 10,
    known: IfNoneMatch = None,
) -> schema.TopPatients:
    return answer(top_patients.of(api.caller, wanted, limit), known)


@api.get("/v1/analytics/no-shows", summary="No-show rate, and by whom")
@needs("appointments:read")
def get_no_shows(
    wanted: Annotated[schema.AnalyticsFilter, Query()], limit: Limit = 10, known: IfNoneMatch = None
) -> schema.NoShowAnalytics:
    return answer(no_shows.of(api.caller, wanted, limit), known)


@api.get("/v1/analytics/retention", summary="Patients who came back, by month of first visit")
@needs("appointments:read")
def get_retention(
    wanted: Annotated[schema.RetentionFilter, Query()], known: IfNoneMatch = None
) -> schema.RetentionAnalytics:
    return answer(retention.of(api.caller, wanted), known)


@api.get("/v1/analytics/profile", summary="Views of profiles, and appointments made")
@needs("appointments:read")
def get_profile(
    wanted: Annotated[schema.ProfileFilter, Query()], known: IfNoneMatch = None
) -> schema.ProfileAnalytics:
    return answer(profile.of(api.caller, wanted), known)


lambda_handler = api.handler
