"""Booked times: /v1/appointments."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import AwareDatetime

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, Limit, needs
from consulta.money import closing
from consulta.scheduling import appointments, booking, listing
from consulta.scheduling.records import PaymentStatus, Status
from consulta.scheduling.schema.appointments import (
    Appointment,
    AppointmentDetail,
    AppointmentFilter,
    AppointmentPage,
    BookingRequest,
    CancelRequest,
    Sort,
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
    low: Annotated[
        AwareDatetime | None, Query(alias="from", description="Starts not before")
    ] = None,
    high: Annotated[AwareDatetime | None, Query(alias="to", description="Starts before")] = None,
    status: Annotated[Status | None, Query()] = None,
    payment_status: Annotated[PaymentStatus | None, Query()] = None,
    patient_id: Annotated[Id | None, Query()] = None,
    expert_id: Annotated[Id | None, Query()] = None,
    service_id: Annotated[Id | None, Query()] = None,
    sort: Annotated[Sort, Query()] = "start",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> AppointmentPage:
    """By start; patients and experts see their own. A page may be short and still go on."""
    wanted = AppointmentFilter(
        low=low,
        high=high,
        status=status,
        payment_status=payment_status,
        patient_id=patient_id,
        expert_id=expert_id,
        service_id=service_id,
        sort=sort,
    )
    return api.ok(listing.page(api.caller, wanted, limit, cursor))


@api.get("/v1/appointments/<appointment_id>")
@needs("appointments:read")
def get(appointment_id: Id) -> AppointmentDetail:
    """One appointment."""
    return api.ok(appointments.get(api.caller, appointment_id))


@api.post("/v1/appointments/<appointment_id>/confirm")
@needs("appointments:confirm")
def confirm(appointment_id: Id) -> AppointmentDetail:
    """Held or awaiting approval → confirmed, to be paid later."""
    return api.ok(appointments.confirm(api.caller, appointment_id))


@api.post("/v1/appointments/<appointment_id>/complete")
@needs("appointments:confirm")
def complete(appointment_id: Id) -> Appointment:
    """It took place. Only after its start."""
    return api.ok(closing.complete(api.caller, appointment_id))


@api.post("/v1/appointments/<appointment_id>/no-show")
@needs("appointments:confirm")
def no_show(appointment_id: Id) -> Appointment:
    """The patient did not come. Only after its start."""
    return api.ok(closing.no_show(api.caller, appointment_id))


@api.post("/v1/appointments/<appointment_id>/cancel")
@needs("appointments:write")
def cancel(appointment_id: Id, body: CancelRequest) -> Appointment:
    """Cancel it, and give back what the policy of the booking says."""
    return api.ok(closing.cancel(api.caller, appointment_id, body))


lambda_handler = api.handler
