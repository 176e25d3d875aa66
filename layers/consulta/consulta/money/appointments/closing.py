"""Ends of an appointment that money has a part in: cancelled, completed, no-show, hold expired.

Each is one transaction: scheduling's parts, the refunds that the booking's policy gives, and their
postings. Intents that are still open are cancelled at the provider before.
"""

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.money.appointments import package_payments, policy
from consulta.money.appointments.policy import Party, Preview
from consulta.money.paying import effects, operations, parts, payments, placing, returning
from consulta.money.paying.changes import Change
from consulta.money.paying.orders import Order
from consulta.money.paying.parts import Part
from consulta.money.records import PaymentItem, Provider, State
from consulta.money.schema.payments import ManualPaymentRequest, Payment, PositiveAmount
from consulta.scheduling import appointments, holds, lifecycle, names, terms, transitions
from consulta.scheduling.records import AppointmentItem, Status
from consulta.scheduling.schema.actions import (
    CancellationPreview,
    MarkPaidRequest,
    PreviewLine,
    PreviewRequest,
    Step,
)
from consulta.scheduling.schema.appointments import Appointment, CancelReason
from consulta.scheduling.schema.booking import CancelRequest

DEADLINE_S = 12.0
CANCELLED, NO_SHOW = "cancelled", "no_show"
_UNDER_WAY = frozenset({State.OPEN, State.PROCESSING, State.AUTHORIZED})


# ---------------------------------------------------------------- by people


def cancel(caller: Principal, appointment_id: str, request: CancelRequest) -> Appointment:
    """Cancel, and give back what the policy of the booking says.

    The patient's terms hold where the patient cancels, or asked for it; where the practice does it
    of its own accord nothing is kept. Raises NotFound, Conflict (409) by the state, or with the new
    ``preview`` where it is no longer the one that was agreed to, and ProviderFailed where an open
    payment could not be cancelled: nothing has changed then.
    """
    by, party = caller.actor, _party(caller, request.reason_code)
    for _ in table.attempts(DEADLINE_S):
        appointment = appointments.load(caller, appointment_id)
        side: transitions.Party = "patient" if caller.role is Role.PATIENT else "practice"
        # Asked first: a state that does not allow it must not cost anybody their open payment.
        transitions.cancel_actions(appointment, by, request, side)
        order = Order.read(caller.tenant, appointment.order_id)
        made = order.payments()
        agreed = _preview(appointment, _paid(made), party)
        shown = package_payments.preview(agreed, appointment, party)
        if request.preview_hash not in (None, shown.hash):
            raise Conflict(
                "What cancelling gives back has changed since the preview",
                extra={"preview": preview_to_api(shown).model_dump(mode="json")},
            )
        if _stop_all(made, by):
            continue
        changes = _give_back(_paid(made), agreed.refund, CANCELLED, by)
        also = {"notify": request.notify, **shown_after(appointment, changes)}
        ending = transitions.cancel_actions(appointment, by, request, side, also=also)
        session, sold = _session(appointment, by, party)
        if table.written([*ending, *_actions(changes), *session, *_actions(sold)]):
            return _closed(caller, appointment_id, [*changes, *sold])
    raise AssertionError("attempts ends by raising Busy")


def preview(
    caller: Principal, appointment_id: str, request: PreviewRequest | CancelRequest
) -> Preview:
    """What :func:`cancel` would give back now. Raises NotFound, Conflict where it would."""
    appointment = appointments.load(caller, appointment_id)
    status, instant = Status(appointment.status), now()
    lifecycle.following(status, lifecycle.Event.CANCEL, start=appointment.start, at=instant)
    if caller.role is Role.PATIENT and instant >= appointment.start:
        raise Conflict("The appointment has begun", extra={"appointment_status": str(status)})
    paid = _paid(Order.read(caller.tenant, appointment.order_id).payments())
    party = _party(caller, request.reason_code)
    return package_payments.preview(_preview(appointment, paid, party), appointment, party)


def preview_to_api(shown: Preview) -> CancellationPreview:
    """A preview as the API shows it."""

    def amount(minor: int) -> Amount:
        return Amount(amount=minor, currency=shown.currency)

    return CancellationPreview(
        currency=shown.currency,
        lines=[
            PreviewLine.model_validate({"name": line.name, "amount": amount(line.amount)})
            for line in shown.lines
        ],
        paid=amount(shown.paid),
        kept=amount(shown.kept),
        refund=amount(shown.refund),
        commission_returned=shown.commission_returned,
        step=Step.model_validate(shown.step),
        valid_until=shown.valid_until,
        session=shown.session,
        hash=shown.hash,
    )


def mark_paid(
    caller: Principal, appointment_id: str, body: MarkPaidRequest, key: str | None
) -> Payment:
    """A member has taken what is left of the price in cash or by transfer, or the deposit.

    Raises NotFound, Invalid, Conflict where it is paid already or there is nothing to pay.
    """
    appointment = appointments.load(caller, appointment_id)
    if not appointment.price:
        raise Conflict("There is nothing to pay for this appointment")
    share = parts.share_of(appointment, Part(body.part or parts.outstanding_part(appointment)))
    taken = ManualPaymentRequest(
        appointment_id=appointment_id,
        part=share.part.value,
        method=body.method,
        amount=PositiveAmount(amount=share.amount, currency=appointment.currency),
        received_at=body.received_at,
        notes=body.notes,
    )
    return payments.record(caller, taken, key)


def complete(caller: Principal, appointment_id: str) -> Appointment:
    """It took place: what was paid for it is earned. Raises NotFound, Conflict."""
    for _ in table.attempts(DEADLINE_S):
        appointment = appointments.load(caller, appointment_id)
        ending = transitions.complete_actions(appointment, caller.actor)
        paid = _paid(Order.read(caller.tenant, appointment.order_id).payments())
        changes = _give_back(paid, 0, "", caller.actor)
        session, sold = _session(appointment, caller.actor)
        if table.written([*ending, *_actions(changes), *session, *_actions(sold)]):
            return _closed(caller, appointment_id, [*changes, *sold])
    raise AssertionError("attempts ends by raising Busy")


def no_show(caller: Principal, appointment_id: str) -> Appointment:
    """The patient did not come: the policy says what is kept. Raises NotFound, Conflict."""
    for _ in table.attempts(DEADLINE_S):
        appointment = appointments.load(caller, appointment_id)
        paid = _paid(Order.read(caller.tenant, appointment.order_id).payments())
        shown = policy.no_show(appointment.policy, paid=_amount(paid), price=int(appointment.price))
        refund = returning.movable(paid, shown.refund)
        changes = _give_back(paid, refund, NO_SHOW, caller.actor)
        also = shown_after(appointment, changes)
        ending = transitions.no_show_actions(appointment, caller.actor, also=also)
        session, sold = _session(appointment, caller.actor)
        if table.written([*ending, *_actions(changes), *session, *_actions(sold)]):
            return _closed(caller, appointment_id, [*changes, *sold])
    raise AssertionError("attempts ends by raising Busy")


def _party(caller: Principal, reason: CancelReason) -> Party:
    asked = reason is CancelReason.PATIENT_REQUEST
    return Party.PATIENT if caller.role is Role.PATIENT or asked else Party.PRACTICE


def _preview(appointment: AppointmentItem, paid: list[PaymentItem], party: Party) -> Preview:
    shown = policy.preview(
        appointment.policy,
        paid=_amount(paid),
        price=int(appointment.price),
        # Rescheduling inside the window does not make a late cancelling an early one (rules §9).
        start=appointment.notice_to,
        at=now(),
        by=party,
        withdraw_until=terms.withdraw_until(
            appointment.policy, appointment.created_at, appointment.start
        ),
    )
    return shown.giving_back(returning.movable(paid, shown.refund))


def shown_after(appointment: AppointmentItem, changes: list[Change]) -> dict[str, str]:
    """What it shows of money that goes back by hand, and so at once; a provider's comes later."""
    return placing.shown_together(appointment, changes)


def _session(
    appointment: AppointmentItem, by: Actor, cancelled_by: Party | None = None
) -> tuple[list[table.Action], list[Change]]:
    """What becomes of its package's session: over and earned; cancelled, it may be given back."""
    if cancelled_by is None:
        return package_payments.session_over(appointment, by)
    return package_payments.session_ended(appointment, str(cancelled_by), by)


def _closed(caller: Principal, appointment_id: str, changes: list[Change]) -> Appointment:
    """After the transaction: ask for the refunds, and show what came of it."""
    tenant = caller.tenant
    send(tenant, changes, caller.actor)
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
    # An offer of the waitlist may be a session of a package.
    session, sold = package_payments.session_ended(current, "system", by)
    if not holds.expire(current, by, also=[*session, *_actions(sold)]):
        return False
    send(tenant, sold, by)
    return True


def _being_made(tenant: Tenant, payment: PaymentItem) -> bool:
    """Whether a request may have gone out whose answer nobody has yet."""
    answered = payment.provider_id is not None or payment.checkout_id is not None
    if answered or not payment.operation_id:
        return False
    operation = operations.find(tenant, payment.item_id, payment.operation_id)
    return operation is not None and operations.in_flight(operation)


# ---------------------------------------------------------------- the order's payments


def _stop_all(made: list[PaymentItem], by: Actor) -> bool:
    """Cancel what is open or only authorized; whether the order has to be read again."""
    stopped = False
    for payment in made:
        # What is being processed cannot be cancelled: should it succeed, it is given back then.
        if payment.state in (State.OPEN, State.AUTHORIZED):
            effects.stop(payment, by)
            stopped = True
    return stopped


def _paid(made: list[PaymentItem]) -> list[PaymentItem]:
    return [payment for payment in made if payment.captured]


def _amount(paid: list[PaymentItem]) -> int:
    return sum(returning.left(payment) for payment in paid)


def send(tenant: Tenant, changes: list[Change], by: Actor) -> None:
    """After the transaction: ask for the refunds that it wrote; what fails is left to the sweep."""
    for change in changes:
        for refund_id in change.refunds:
            effects.try_send(tenant, refund_id, by)


def give_back_all(made: list[PaymentItem], reason: str, by: Actor) -> list[Change]:
    """All that is left of an order's payments: nobody but the patient has lost anything by it."""
    paid = _paid(made)
    return _give_back(paid, returning.movable(paid, _amount(paid)), reason, by)


def _give_back(paid: list[PaymentItem], refund: int, reason: str, by: Actor) -> list[Change]:
    """Ask ``refund`` back from the payments, the newest first; what is left of them is earned."""
    changes = []
    parts_back = returning.amounts(paid, refund)
    for payment, part in zip(reversed(paid), reversed(parts_back), strict=True):
        change = Change(payment, by)
        if part > 0:
            refund -= part
            if payment.provider == Provider.MANUAL:
                change.give_back_by_hand(part, reason)
            else:
                change.request_refund(part, reason)
        change.earn()
        changes.append(change)
    if refund > 0:
        raise Conflict("More would go back than is left of the payments")
    return changes


def _actions(changes: list[Change]) -> list[table.Action]:
    return [action for change in changes for action in change.actions()]
