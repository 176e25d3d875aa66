"""Booked times: /v1/appointments."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, Limit, needs
from consulta.dashboards import statistics
from consulta.dashboards.schema_statistics import Statistics, StatisticsFilter
from consulta.money.appointments import detail
from consulta.money.schema.detail import AppointmentInFull
from consulta.scheduling import booking, listing
from consulta.scheduling.schema.appointments import AppointmentDetail, AppointmentPage
from consulta.scheduling.schema.booking import BookingRequest
from consulta.scheduling.schema.searching import (
    AppointmentFilter,
    AppointmentMatches,
    AppointmentSearch,
)

api = Api("appointments")


@api.post("/v1/appointments")
@needs("appointments:write")
def book(body: BookingRequest, idempotency_key: IdempotencyKey = None) -> AppointmentDetail:
    """Book a time; 409 ``slot-taken`` has the nearest free ``alternatives``."""
    appointment = booking.book(api.caller, body, idempotency_key)
    return api.created(appointment, f"/v1/appointments/{appointment.id}")


@api.get("/v1/appointments")
@needs("appointments:read")
def page(
    wanted: Annotated[AppointmentFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> AppointmentPage:
    """By start; patients and experts see their own. A page may be short and still go on."""
    return api.ok(listing.page(api.caller, wanted, limit, cursor))


@api.post("/v1/appointments/search")
@needs("patients:read")
def search(body: AppointmentSearch) -> AppointmentMatches:
    """By a patient's id, or the beginning of the name: in a body, since URLs are logged."""
    return api.ok(listing.search(api.caller, body))


@api.get("/v1/appointments/statistics")
@needs("appointments:read")
def count(wanted: Annotated[StatisticsFilter, Query()]) -> Statistics:
    """How many of each status on the practice's local days; for members."""
    return api.ok(statistics.appointments(api.caller, wanted), max_age=60)


@api.get("/v1/appointments/<appointment_id>")
@needs("appointments:read")
def get(appointment_id: Id) -> AppointmentInFull:
    """One appointment with its payments, messages and rooms."""
    return api.ok(detail.get(api.caller, appointment_id))


lambda_handler = api.handler
