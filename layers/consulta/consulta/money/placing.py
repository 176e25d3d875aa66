"""The appointment's part of a payment: confirmed when it is paid, kept a little while it is paying.

Source: MONEY_AND_BOOKING_RULES §4. Money that comes for a time that is lost, or for one that is
paid already, goes back by itself, our commission included.
"""

from datetime import datetime, timedelta

from consulta.core import table
from consulta.core.errors import Conflict, NotFound
from consulta.core.time import now
from consulta.money.changes import Change, shown_status
from consulta.money.records import State
from consulta.scheduling import transitions
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, PaymentStatus, Status

EXTENSION = timedelta(minutes=10)
LONGEST_HOLD = timedelta(minutes=45)
SLOT_LOST, DUPLICATE = "slot_lost", "duplicate"
_UNPAID = (PaymentStatus.UNPAID, PaymentStatus.PROCESSING)


def _appointment(change: Change) -> AppointmentItem:
    key = change.tenant.item(APPOINTMENT, change.payment.appointment_id)
    found = table.get(AppointmentItem, key)
    if found is None:
        raise NotFound
    return found


def paid_by(change: Change) -> dict[str, str]:
    """What the appointment shows of this payment, as its attributes."""
    status = shown_status(change.number("captured"), change.number("refunded"))
    return {"payment_status": str(status), "payment_id": change.payment.item_id}


def pay_for(change: Change, appointment: AppointmentItem) -> list[table.Action]:
    """What a payment that succeeded does to its appointment.

    Raises Conflict where it is paid already, or its time is lost.
    """
    if appointment.payment_status not in _UNPAID:
        raise Conflict("The appointment is paid already, or there is nothing to pay")
    by, also = change.by, paid_by(change)
    match Status(appointment.status):
        case Status.HELD:
            return transitions.confirm_actions(appointment, by, also=also)
        case Status.EXPIRED:
            return transitions.reclaim_actions(appointment, by, also=also)
        case Status.CANCELLED:
            raise Conflict("The appointment was cancelled")
        case Status.COMPLETED | Status.NO_SHOW:
            change.earn()
        case Status.AWAITING_APPROVAL | Status.CONFIRMED:
            pass
    return [table.change(appointment, by, set_=also)]


def place(change: Change) -> list[table.Action]:
    """A provider has the money: confirm what it pays for, or give it back with the same change."""
    appointment = _appointment(change)
    try:
        return pay_for(change, appointment)
    except Conflict:
        paid = appointment.payment_status not in _UNPAID
        if change.refundable > 0:
            change.request_refund(change.refundable, DUPLICATE if paid else SLOT_LOST)
        return []


def show_on_appointment(change: Change) -> list[table.Action]:
    """After a refund: what the appointment shows, where this is the payment that it shows."""
    if "refunded" not in change.values:
        return []
    appointment, also = _appointment(change), paid_by(change)
    ours = appointment.payment_id == change.payment.item_id
    if not ours or appointment.payment_status == also["payment_status"]:
        return []
    return [table.change(appointment, change.by, set_=also)]


def keep_hold(change: Change) -> list[table.Action]:
    """Not paid yet: the hold lasts longer while the payer or the provider is at it."""
    if not change.values:
        return []
    appointment = _appointment(change)
    if appointment.payment_status not in _UNPAID:
        return []
    also = _progress(change, appointment)
    until = _extended(change, appointment)
    if until:
        return transitions.extend_actions(appointment, change.by, until, also=also)
    return [table.change(appointment, change.by, set_=also)] if also else []


def _progress(change: Change, appointment: AppointmentItem) -> dict[str, str]:
    payment_id, shown = change.payment.item_id, appointment.payment_status
    if change.get("state") == State.PROCESSING:
        if shown == PaymentStatus.PROCESSING:
            return {}
        return {"payment_status": str(PaymentStatus.PROCESSING), "payment_id": payment_id}
    if shown == PaymentStatus.PROCESSING and appointment.payment_id == payment_id:
        return {"payment_status": str(PaymentStatus.UNPAID)}
    return {}


def _extended(change: Change, appointment: AppointmentItem) -> datetime | None:
    """Until when the hold is kept now; None to leave it. Never over 45 minutes in all."""
    ends = appointment.hold_expires_at
    if ends is None or not transitions.hold_alive(appointment, now()):
        return None
    longest: datetime = appointment.created_at + LONGEST_HOLD
    if change.get("state") == State.PROCESSING:
        until = longest
    elif change.get("requires_action") and not change.get("hold_extended"):
        change.set("hold_extended", True)
        until = min(ends + EXTENSION, longest)
    else:
        return None
    return until if until > ends else None
