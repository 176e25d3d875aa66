"""Payments that are only authorized until the expert approves: Stripe's manual capture.

Source: MONEY_AND_BOOKING_RULES §4. What an authorization means for its appointment is written with
the payment's new state; capturing it, or letting it go, is asked of the provider after that, and by
the sweep where this process has died in between.
"""

from enum import StrEnum

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.time import now
from consulta.money.paying import paid_for
from consulta.money.paying.changes import AUTHORIZATION_DUE_WORK, Change
from consulta.money.paying.parts import UNPAID, PaidFor
from consulta.money.provider import ProviderPayment
from consulta.money.records import PaymentItem, Provider, State
from consulta.scheduling import due, transitions
from consulta.scheduling.lifecycle import approve_until
from consulta.scheduling.records import AppointmentItem, Approval, PaymentStatus, Status


class Verdict(StrEnum):
    """What is to become of an authorization."""

    WAIT = "wait"
    CAPTURE = "capture"
    VOID = "void"


def waits_for_approval(wanted: PaidFor) -> bool:
    """Whether a payment for it is only authorized at first."""
    if not isinstance(wanted, AppointmentItem):
        return False
    return bool(wanted.status == Status.HELD and wanted.approval == Approval.NEEDED)


def check_approved(wanted: PaidFor, provider: Provider) -> None:
    """Raises Conflict where it has to be approved before it can be paid this way."""
    if not isinstance(wanted, AppointmentItem):
        return
    extra: dict[str, object] = {"appointment_status": wanted.status, "code": "approve_first"}
    if wanted.status == Status.AWAITING_APPROVAL:
        raise Conflict("The expert has not approved it yet", extra=extra)
    if waits_for_approval(wanted) and provider is not Provider.STRIPE:
        raise Conflict(
            "The expert approves it first: until then it can only be authorized, through Stripe",
            extra=extra,
        )


def verdict(payment: PaymentItem, appointment: PaidFor) -> Verdict:
    """What is to become of an authorized payment, as its appointment is now. Pure but for time."""
    if not isinstance(appointment, AppointmentItem) or appointment.payment_status not in UNPAID:
        return Verdict.VOID
    match Status(appointment.status):
        case Status.CONFIRMED | Status.COMPLETED | Status.NO_SHOW:
            return Verdict.CAPTURE
        case Status.HELD:
            return _answer(appointment, otherwise=Verdict.CAPTURE)
        case Status.AWAITING_APPROVAL if not _is_of_another(payment, appointment):
            return _answer(appointment, otherwise=Verdict.VOID)
    return Verdict.VOID


def _answer(appointment: AppointmentItem, otherwise: Verdict) -> Verdict:
    match appointment.approval:
        case Approval.NEEDED:
            return Verdict.WAIT
        case Approval.GIVEN:
            return Verdict.CAPTURE
    return otherwise


def _is_of_another(payment: PaymentItem, appointment: AppointmentItem) -> bool:
    waiting = appointment.payment_status == PaymentStatus.PROCESSING
    return bool(waiting and appointment.payment_id != payment.item_id)


def authorized(change: Change, reading: ProviderPayment) -> list[table.Action]:
    """The bank has set the money aside: the appointment's part of it."""
    payment = change.payment
    if payment.state == State.AUTHORIZED:
        return []
    change.set("capture_before", reading.capture_before)
    appointment = paid_for.of(payment)
    found = Verdict.VOID if _mismatch(change, reading) else verdict(payment, appointment)
    if found is Verdict.WAIT and isinstance(appointment, AppointmentItem):
        try:
            return _waiting(change, reading, appointment)
        except Conflict:
            # Its time was taken, or has come: nothing is taken from the payer.
            found = Verdict.VOID
    change.settles = True
    change.parts.append(due.at(now(), payment.pk, AUTHORIZATION_DUE_WORK))
    return []


def _mismatch(change: Change, reading: ProviderPayment) -> bool:
    payment = change.payment
    asked = (payment.amount, payment.currency, payment.provider_account)
    if (reading.amount, reading.currency, reading.account) == asked:
        return False
    change.set("failure_code", "mismatch_authorization")
    return True


def _waiting(
    change: Change, reading: ProviderPayment, appointment: AppointmentItem
) -> list[table.Action]:
    also = {
        "payment_status": str(PaymentStatus.PROCESSING),
        "payment_id": change.payment.item_id,
    }
    if appointment.status != Status.HELD:
        return [table.change(appointment, change.by, set_=also)]
    until = approve_until(
        appointment.start, transitions.notice_s(appointment), now(), reading.capture_before
    )
    return transitions.request_approval_actions(appointment, change.by, until, also=also)
