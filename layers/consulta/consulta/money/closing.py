"""Ends of an appointment that money has a part in: cancelled, completed, no-show, hold expired.

Each is one transaction: scheduling's parts, the refunds that the booking's policy gives, and their
postings. Intents that are still open are cancelled at the provider before.
"""

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.money import effects, operations, policy
from consulta.money.changes import Change
from consulta.money.orders import Order
from consulta.money.policy import Party, Preview
from consulta.money.records import PaymentItem, Provider, State
from consulta.scheduling import appointments, holds, names, transitions
from consulta.scheduling.records import AppointmentItem, Status
from consulta.scheduling.schema.appointments import Appointment, CancelReason, CancelRequest

DEADLINE_S = 12.0
CANCELLED, NO_SHOW = "cancelled", "no_show"
_UNDER_WAY = frozenset({State.OPEN, State.PROCESSING, State.AUTHORIZED})


# ---------------------------------------------------------------- by people


def cancel(caller: Principal, appointment_id: str, request: CancelRequest) -> Appointment:
    """Cancel, and give back what the policy of the booking says.

    The patient's terms hold where the patient cancels, or asked for it; where the practice does it
    of its own accord nothing is kept. Raises NotFound, Conflict (409) by the state, ProviderFailed
    where an open payment could not be cancelled: nothing has changed then.
    """
    by = caller.actor
    for _ in table.attempts(DEADLINE_S):
        appointment = appointments.load(caller, appointment_id)
        side: transitions.Party = "patient" if caller.role is Role.PATIENT else "practice"
        # Asked first: a state that does not allow it must not cost anybody their open payment.
        ending = transitions.cancel_actions(appointment, by, request, side)
        order = Order.read(caller.tenant, appointment.order_id)
        if _stop_all(order, by):
            continue
        paid = _paid(order)
        shown = _preview(appointment, paid, _party(caller, request))
        changes = _give_back(paid, shown.refund, CANCELLED, by)
        if _written([*ending, *_actions(changes)]):
            return _closed(caller, appointment_id, changes)
    raise AssertionError("attempts ends by raising Busy")


def preview(caller: Principal, appointment_id: str, request: CancelRequest) -> Preview:
    """What :func:`cancel` would give back now. Raises NotFound."""
    appointment = appointments.load(caller, appointment_id)
    paid = _paid(Order.read(caller.tenant, appointment.order_id))
    return _preview(appointment, paid, _party(caller, request))


def complete(caller: Principal, appointment_id: str) -> Appointment:
    """It took place: what was paid for it is earned. Raises NotFound, Conflict."""
    for _ in table.attempts(DEADLINE_S):
        appointment = appointments.load(caller, appointment_id)
        ending = transitions.complete_actions(appointment, caller.actor)
        paid = _paid(Order.read(caller.tenant, appointment.order_id))
        changes = _give_back(paid, 0, "", caller.actor)
        if _written([*ending, *_actions(changes)]):
            return _closed(caller, appointment_id, changes)
    raise AssertionError("attempts ends by raising Busy")


def no_show(caller: Principal, appointment_id: str) -> Appointment:
    """The patient did not come: the policy says what is kept. Raises NotFound, Conflict."""
    for _ in table.attempts(DEADLINE_S):
        appointment = appointments.load(caller, appointment_id)
        ending = transitions.no_show_actions(appointment, caller.actor)
        paid = _paid(Order.read(caller.tenant, appointment.order_id))
        shown = policy.no_show(appointment.policy, paid=_amount(paid), price=int(appointment.price))
        changes = _give_back(paid, shown.refund, NO_SHOW, caller.actor)
        if _written([*ending, *_actions(changes)]):
            return _closed(caller, appointment_id, changes)
    raise AssertionError("attempts ends by raising Busy")


def _party(caller: Principal, request: CancelRequest) -> Party:
    asked = request.reason_code is CancelReason.PATIENT_REQUEST
    return Party.PATIENT if caller.role is Role.PATIENT or asked else Party.PRACTICE


def _preview(appointment: AppointmentItem, paid: list[PaymentItem], party: Party) -> Preview:
    return policy.preview(
        appointment.policy,
        paid=_amount(paid),
        price=int(appointment.price),
        start=appointment.start,
        at=now(),
        by=party,
    )


def _closed(caller: Principal, appointment_id: str, changes: list[Change]) -> Appointment:
    """After the transaction: ask for the refunds, and show what came of it."""
    tenant = caller.tenant
    for change in changes:
        for refund_id in change.refunds:
            effects.try_send(tenant, refund_id, caller.actor)
    found = appointments.load(caller, appointment_id)
    shown = names.to_api(tenant, [found], patients=appointments.sees_patients(caller))
    return shown[0]


# ---------------------------------------------------------------- by time


def expire(appointment: AppointmentItem, by: Actor) -> bool:
    """End a hold whose time is over, once nothing can be paid for it any more.

    False where a payment may still succeed, or somebody else changed it: ask again later. Raises
    ProviderFailed where the provider could not be asked.
    """
    tenant = appointment.tenant
    order = Order.read(tenant, appointment.order_id)
    for payment in order.payments():
        if payment.state not in _UNDER_WAY:
            continue
        if _being_made(tenant, payment):
            return False
        if effects.stop(payment, by).state == State.PROCESSING:
            return False
    current = table.get(AppointmentItem, appointment.key)
    if current is None or current.status != Status.HELD:
        return True
    if transitions.hold_alive(current, now()):
        # The provider asks the payer for something: the hold was extended, with a due row.
        return True
    return holds.expire(current, by)


def _being_made(tenant: Tenant, payment: PaymentItem) -> bool:
    """Whether a request may have gone out whose answer nobody has yet."""
    if payment.provider_id is not None or not payment.operation_id:
        return False
    operation = operations.find(tenant, payment.item_id, payment.operation_id)
    return operation is not None and operations.in_flight(operation)


# ---------------------------------------------------------------- the order's payments


def _stop_all(order: Order, by: Actor) -> bool:
    """Cancel the open payments; whether the order has to be read again."""
    stopped = False
    for payment in order.payments():
        # What is being processed cannot be cancelled: should it succeed, it is given back then.
        if payment.state == State.OPEN:
            effects.stop(payment, by)
            stopped = True
    return stopped


def _paid(order: Order) -> list[PaymentItem]:
    return [payment for payment in order.payments() if payment.captured]


def _left(payment: PaymentItem) -> int:
    return Change(payment, Actor("", "")).refundable


def _amount(paid: list[PaymentItem]) -> int:
    return sum(_left(payment) for payment in paid)


def _give_back(paid: list[PaymentItem], refund: int, reason: str, by: Actor) -> list[Change]:
    """Ask ``refund`` back from the payments, the newest first; what is left of them is earned."""
    changes = []
    for payment in reversed(paid):
        change = Change(payment, by)
        part = min(refund, change.refundable)
        if part > 0:
            refund -= part
            if payment.provider == Provider.MANUAL:
                change.give_back_by_hand(part, reason)
            else:
                change.request_refund(part, reason)
        change.earn()
        changes.append(change)
    if refund:
        raise Conflict("More would go back than is left of the payments")
    return changes


def _actions(changes: list[Change]) -> list[table.Action]:
    return [action for change in changes for action in change.actions()]


def _written(actions: list[table.Action]) -> bool:
    """False where somebody else was faster: read again, decide again."""
    try:
        table.transact(actions)
    except table.ConditionFailed:
        return False
    return True
