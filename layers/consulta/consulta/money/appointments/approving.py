"""An expert's answer to a booking: approved, declined, or none in time.

Source: MONEY_AND_BOOKING_RULES §4. The answer is kept first, once and for all; what follows from it
(capturing or cancelling at the provider, then the appointment) is done right after, and again by
the sweep until it is done: so an approval and a decline at once never both take effect, and a
crash between any two steps leaves nothing half-done.
"""

from collections.abc import Mapping

from consulta.core import table
from consulta.core.errors import Conflict, Problem
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Key, parse_item, tenant_of
from consulta.core.observe import count, logger
from consulta.core.time import now
from consulta.money.appointments import closing, package_payments
from consulta.money.paying import effects
from consulta.money.paying.changes import AUTHORIZATION_DUE_WORK
from consulta.money.paying.orders import Order, load
from consulta.money.records import PaymentItem, State
from consulta.scheduling import appointments, due, transitions
from consulta.scheduling.records import (
    APPOINTMENT,
    BLOCKING,
    AppointmentItem,
    Approval,
    PaymentStatus,
    Status,
)
from consulta.scheduling.schema.appointments import AppointmentDetail, CancelReason
from consulta.scheduling.schema.booking import CancelRequest, DeclineRequest

DEADLINE_S = 12.0
DECLINED = "declined"
_UNDER_WAY = frozenset({State.OPEN, State.PROCESSING, State.AUTHORIZED})
_ANSWERED = frozenset({Approval.DECLINED, Approval.LAPSED})


# ---------------------------------------------------------------- by people


def confirm(by: Principal, appointment_id: str) -> AppointmentDetail:
    """Held or awaiting approval → confirmed, to be paid later where it is not; an approval, too.

    What is authorized is captured. Raises NotFound, Conflict, and SlotTaken where a hold that had
    ended lost its time.
    """
    found = appointments.load(by, appointment_id)
    waits = found.status == Status.AWAITING_APPROVAL
    is_answered = found.approval not in (None, Approval.NEEDED)
    if waits and (is_answered or found.payment_status == PaymentStatus.PROCESSING):
        return approve(by, appointment_id)
    return appointments.confirm(by, appointment_id)


def approve(by: Principal, appointment_id: str) -> AppointmentDetail:
    """Take a booking that waits for it.

    What is authorized is captured, and it is confirmed by that; what is to be paid and is not yet
    is held for the patient to pay; anything else is confirmed at once. Approving again is answered
    with the appointment as it is. Raises NotFound, and Conflict where it waits for nothing, was
    declined, or its time to be approved is over.
    """
    for _ in table.attempts(DEADLINE_S):
        appointment = appointments.load(by, appointment_id)
        if appointment.approval == Approval.GIVEN and appointment.status in BLOCKING:
            _go_on(appointment, by.actor)
            return appointments.get(by, appointment_id)
        _check_waits(appointment)
        if table.written(_approved(appointment, by.actor)):
            _go_on(appointments.load(by, appointment_id), by.actor)
            return appointments.get(by, appointment_id)
    raise AssertionError("attempts ends by raising Busy")


def decline(by: Principal, appointment_id: str, request: DeclineRequest) -> AppointmentDetail:
    """Do not take it: what is authorized is let go, what was paid goes back, it is cancelled.

    Raises NotFound, Conflict where it waits for nothing or was approved, and ProviderFailed where
    the provider could not be asked: it stays declined, and the sweep goes on with it.
    """
    for _ in table.attempts(DEADLINE_S):
        appointment = appointments.load(by, appointment_id)
        if appointment.status == Status.AWAITING_APPROVAL and appointment.approval in _ANSWERED:
            break
        also = {
            "cancel_reason": str(request.reason_code),
            "notify": request.notify,
            **({"cancel_note": request.note} if request.note else {}),
        }
        if table.written(_answered(appointment, by.actor, Approval.DECLINED, also)):
            break
    _end(appointments.load(by, appointment_id), by.actor)
    return appointments.get(by, appointment_id)


def _check_waits(appointment: AppointmentItem) -> None:
    extra: dict[str, object] = {"appointment_status": str(appointment.status)}
    waits = appointment.status == Status.AWAITING_APPROVAL
    if not waits or appointment.approval in _ANSWERED:
        raise Conflict("It is not waiting to be approved", extra=extra)
    if appointment.approve_until is not None and now() >= appointment.approve_until:
        raise Conflict("The time to approve it is over", extra=extra)


def _approved(appointment: AppointmentItem, by: Actor) -> list[table.Action]:
    if appointment.payment_status == PaymentStatus.UNPAID:
        return transitions.request_payment_actions(appointment, by)
    if appointment.payment_status == PaymentStatus.PROCESSING:
        payment = load(appointment.tenant, str(appointment.payment_id))
        return [
            *transitions.answer_actions(appointment, by, Approval.GIVEN),
            due.at(now(), payment.pk, AUTHORIZATION_DUE_WORK),
        ]
    return transitions.confirm_actions(appointment, by)


def _go_on(appointment: AppointmentItem, by: Actor) -> None:
    """Capture what waits for the approval; what fails is left to the sweep."""
    if appointment.status != Status.AWAITING_APPROVAL or not appointment.payment_id:
        return
    try:
        settle(load(appointment.tenant, appointment.payment_id), by)
    except Problem as problem:
        ids = {"appointment": appointment.item_id}
        logger.warning("approved, not captured yet", extra={**ids, "why": problem.type})
        count("CapturesPostponed")


# ---------------------------------------------------------------- by time


def lapse(appointment: AppointmentItem, by: Actor) -> None:
    """Nobody has approved it in time: declined by the system.

    Raises Conflict where somebody has, ProviderFailed.
    """
    if appointment.approval not in _ANSWERED:
        also = {"cancel_reason": str(CancelReason.NOT_APPROVED)}
        if not table.written(_answered(appointment, by, Approval.LAPSED, also)):
            raise Conflict("It was changed at the same time")
        appointment = _read(appointment)
    _end(appointment, by)


def work(key: Key, by: Actor) -> bool:
    """The sweep's work where an approval is due; False to be asked again. Raises ProviderFailed."""
    appointment = table.get(AppointmentItem, key)
    if appointment is None or appointment.status != Status.AWAITING_APPROVAL:
        return True
    if appointment.approval == Approval.GIVEN:
        # Its payment has a due row of its own.
        return True
    until = appointment.approve_until
    if appointment.approval == Approval.NEEDED and until is not None and now() < until:
        # It was moved, and has another row at its new time.
        return True
    try:
        lapse(appointment, by)
    except Conflict:
        return False
    return True


def settle_due(key: Key, by: Actor) -> bool:
    """The sweep's work on an authorized payment; False to be asked again. Raises ProviderFailed."""
    tenant, (_, payment_id) = tenant_of(key.pk), parse_item(key.pk)
    payment = settle(load(tenant, payment_id), by)
    appointment = _of(payment)
    if appointment is None:
        return True
    if appointment.status != Status.AWAITING_APPROVAL:
        return payment.state != State.AUTHORIZED
    # While it waits for an answer, it is the answer that brings it back.
    return appointment.approval != Approval.GIVEN


def expire(appointment: AppointmentItem, by: Actor) -> bool:
    """End a hold, but not one whose payment was authorized in time without our hearing of it yet.

    See :func:`consulta.money.appointments.closing.expire`.
    """
    if appointment.approval == Approval.NEEDED:
        for payment in Order.read(appointment.tenant, appointment.order_id).payments():
            if payment.manual_capture and payment.state == State.OPEN:
                effects.reread(payment, by)
        appointment = _read(appointment)
        if appointment.status != Status.HELD:
            return True
    return closing.expire(appointment, by)


# ---------------------------------------------------------------- what follows


def settle(payment: PaymentItem, by: Actor) -> PaymentItem:
    """Bring an authorized payment to what its appointment asks for, and that to what came of it.

    Raises ProviderFailed.
    """
    payment = effects.settle_authorization(payment, by)
    appointment = _of(payment)
    if appointment is None or payment.state != State.CANCELLED:
        return payment
    approved = appointment.approval == Approval.GIVEN
    unpaid = appointment.payment_status == PaymentStatus.UNPAID
    if approved and unpaid and appointment.status == Status.AWAITING_APPROVAL:
        # The bank let the authorization go before it was captured: the patient pays again.
        table.written(transitions.request_payment_actions(appointment, by))
    return payment


def _of(payment: PaymentItem) -> AppointmentItem | None:
    if not payment.appointment_id:
        return None
    return table.get(AppointmentItem, payment.tenant.item(APPOINTMENT, payment.appointment_id))


def _answered(
    appointment: AppointmentItem, by: Actor, answer: Approval, also: Mapping[str, object]
) -> list[table.Action]:
    """The answer, and a due row: should we die after it, the sweep goes on."""
    return [
        *transitions.answer_actions(appointment, by, answer, also=also),
        due.at(now(), appointment.pk, due.APPROVE),
    ]


def _end(appointment: AppointmentItem, by: Actor) -> None:
    """Let go what is authorized, then cancel it and give back what was paid."""
    for _ in table.attempts(DEADLINE_S):
        if appointment.status != Status.AWAITING_APPROVAL:
            return
        payments = Order.read(appointment.tenant, appointment.order_id).payments()
        under_way = [payment for payment in payments if payment.state in _UNDER_WAY]
        for payment in under_way:
            effects.stop(payment, by)
        if under_way:
            payments = Order.read(appointment.tenant, appointment.order_id).payments()
            appointment = _read(appointment)
            if appointment.status != Status.AWAITING_APPROVAL:
                return
        changes = closing.give_back_all(payments, DECLINED, by)
        request = CancelRequest.model_construct(
            reason_code=CancelReason(str(appointment.cancel_reason)), note=""
        )
        side: transitions.Party = (
            "system" if appointment.approval == Approval.LAPSED else "practice"
        )
        also = closing.shown_after(appointment, changes)
        ending = transitions.cancel_actions(appointment, by, request, side, also=also)
        # A session goes back; its price, too, where its package was cancelled meanwhile.
        session, sold = package_payments.session_ended(appointment, side, by)
        changes += sold
        if table.written([*ending, *session, *(part for one in changes for part in one.actions())]):
            closing.send(appointment.tenant, changes, by)
            return
        appointment = _read(appointment)


def _read(appointment: AppointmentItem) -> AppointmentItem:
    found = table.get(AppointmentItem, appointment.key)
    if found is None:
        raise Conflict("The appointment is gone")
    return found
