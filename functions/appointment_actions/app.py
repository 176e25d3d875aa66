"""What is done to one booked time: /v1/appointments/{id}/…."""

from consulta.core.http import Api, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.money.appointments import approving, closing
from consulta.money.schema.payments import Payment
from consulta.scheduling import rescheduling, suggestions
from consulta.scheduling.schema import actions as a
from consulta.scheduling.schema import appointments as s
from consulta.scheduling.schema import booking as b
from consulta.scheduling.schema.suggestions import Suggestions

api = Api("appointment_actions")
ONE = "/v1/appointments/<appointment_id>"


@api.post(f"{ONE}/confirm")
@needs("appointments:confirm")
def confirm(appointment_id: Id) -> s.AppointmentDetail:
    """Held or awaiting approval → confirmed, to be paid later."""
    return api.ok(approving.confirm(api.caller, appointment_id))


@api.post(f"{ONE}/approve")
@needs("appointments:confirm")
def approve(appointment_id: Id) -> s.AppointmentDetail:
    """The expert takes it: captured if it is authorized, held to be paid if it is not."""
    return api.ok(approving.approve(api.caller, appointment_id))


@api.post(f"{ONE}/decline")
@needs("appointments:confirm")
def decline(appointment_id: Id, body: b.DeclineRequest) -> s.AppointmentDetail:
    """The expert does not take it: nothing is charged, and what was paid goes back."""
    return api.ok(approving.decline(api.caller, appointment_id, body))


@api.post(f"{ONE}/complete")
@needs("appointments:confirm")
def complete(appointment_id: Id) -> s.Appointment:
    """It took place. Only after its start."""
    return api.ok(closing.complete(api.caller, appointment_id))


@api.post(f"{ONE}/no-show")
@needs("appointments:confirm")
def no_show(appointment_id: Id) -> s.Appointment:
    """The patient did not come. Only after its start."""
    return api.ok(closing.no_show(api.caller, appointment_id))


@api.post(f"{ONE}/cancellation-preview")
@needs("appointments:write")
def preview(appointment_id: Id, body: a.PreviewRequest) -> a.CancellationPreview:
    """What cancelling now would give back; nothing is changed."""
    return api.ok(closing.preview_to_api(closing.preview(api.caller, appointment_id, body)))


@api.post(f"{ONE}/cancel")
@needs("appointments:write")
def cancel(appointment_id: Id, body: b.CancelRequest) -> s.Appointment:
    """Cancel it, and give back what the policy of the booking says."""
    return api.ok(closing.cancel(api.caller, appointment_id, body))


@api.post(f"{ONE}/reschedule")
@needs("appointments:write")
def reschedule(
    appointment_id: Id,
    body: b.RescheduleRequest,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> s.AppointmentDetail:
    """Another time, with what was paid; 409 ``slot-taken`` has the nearest ``alternatives``."""
    moved = rescheduling.reschedule(
        api.caller, appointment_id, body, idempotency_key, if_match=if_match
    )
    return api.ok(moved)


@api.get(f"{ONE}/reschedule-suggestions")
@needs("appointments:write")
def suggest(appointment_id: Id, limit: Limit = suggestions.COUNT) -> Suggestions:
    """Free times that suit it best, at most 20, each with the reason for it."""
    return api.ok(suggestions.suggest(api.caller, appointment_id, limit))


@api.post(f"{ONE}/mark-paid")
@needs("payments:manual")
def mark_paid(appointment_id: Id, body: a.MarkPaidRequest, key: IdempotencyKey = None) -> Payment:
    """A member has taken the price in cash or by transfer; it is confirmed if it was held."""
    payment = closing.mark_paid(api.caller, appointment_id, body, key)
    return api.created(payment, f"/v1/payments/{payment.id}")


lambda_handler = api.handler
