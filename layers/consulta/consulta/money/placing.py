"""What a payment does to the appointment, or the package, that it is for.

An appointment is confirmed when it is paid, and kept a little while it is paying.

Source: MONEY_AND_BOOKING_RULES §4. Money that comes for a time that is lost, or for one that is
paid already, goes back by itself, our commission included.
"""

from datetime import datetime, timedelta

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.time import now
from consulta.money import package_payments, paid_for
from consulta.money.authorizing import waits_for_approval
from consulta.money.changes import Change, shown_status
from consulta.money.paid_for import UNPAID, PaidFor
from consulta.money.records import State
from consulta.scheduling import paying, transitions
from consulta.scheduling.lifecycle import approve_until
from consulta.scheduling.records import (
    AppointmentItem,
    Approval,
    PackageItem,
    PaymentStatus,
    Status,
)

EXTENSION = timedelta(minutes=10)
LONGEST_HOLD = timedelta(minutes=45)
SLOT_LOST, DUPLICATE, OTHER_PAYEE = "slot_lost", "duplicate", "other_payee"


def paid_by(change: Change) -> dict[str, str]:
    """What the appointment or package shows of this payment, as its attributes."""
    status = shown_status(change.number("captured"), change.number("refunded"))
    return {"payment_status": str(status), "payment_id": change.payment.item_id}


def pay_for(change: Change, wanted: PaidFor) -> list[table.Action]:
    """What a payment that succeeded does to its appointment or package.

    Raises Conflict where it is paid already, or lost: its time, or the package itself.
    """
    by, also = change.by, paid_by(change)
    if isinstance(wanted, PackageItem):
        return package_payments.pay_for(change, wanted, also)
    appointment = wanted
    if appointment.payment_status not in UNPAID:
        raise Conflict("The appointment is paid already, or there is nothing to pay")
    match Status(appointment.status):
        case Status.HELD if waits_for_approval(appointment) and not change.payment.manual_capture:
            notice = transitions.notice_s(appointment)
            until = approve_until(appointment.start, notice, now())
            return transitions.request_approval_actions(appointment, by, until, also=also)
        case Status.HELD:
            return transitions.confirm_actions(appointment, by, also=also)
        case Status.EXPIRED:
            return transitions.reclaim_actions(appointment, by, also=also)
        case Status.CANCELLED:
            raise Conflict("The appointment was cancelled")
        case Status.COMPLETED | Status.NO_SHOW:
            change.earn()
        case Status.AWAITING_APPROVAL if _is_taken(change, appointment):
            return transitions.confirm_actions(appointment, by, also=also)
        case Status.AWAITING_APPROVAL | Status.CONFIRMED:
            pass
    return [table.change(appointment, by, set_=also)]


def _is_taken(change: Change, appointment: AppointmentItem) -> bool:
    """Whether the expert has taken it: what was only authorized is captured for that alone.

    Cash that a member took says nothing about the expert.
    """
    if appointment.approval in (Approval.DECLINED, Approval.LAPSED):
        return False
    return bool(change.payment.manual_capture) or appointment.approval == Approval.GIVEN


def place(change: Change) -> list[table.Action]:
    """A provider has the money: confirm what it pays for, or give it back with the same change."""
    wanted = paid_for.of(change.payment)
    if _is_anothers(change, wanted):
        change.request_refund(change.refundable, OTHER_PAYEE)
        return []
    try:
        return pay_for(change, wanted)
    except Conflict:
        paid = wanted.payment_status not in UNPAID
        lost = package_payments.CANCELLED if isinstance(wanted, PackageItem) else SLOT_LOST
        if change.refundable > 0:
            change.request_refund(change.refundable, DUPLICATE if paid else lost)
        return []


def _is_anothers(change: Change, wanted: PaidFor) -> bool:
    """Whether it was moved, while this was being paid, to an expert for whom another is paid."""
    payment, tenant = change.payment, change.tenant
    if wanted.expert_id == payment.expert_id:
        return False
    found = table.batch_get_raw(paying.payee_keys(tenant, wanted.expert_id))
    payee_id = paying.payee_of(tenant, wanted.expert_id, payment.provider, found)
    return bool(payee_id != payment.payee_id)


def show_on_appointment(change: Change) -> list[table.Action]:
    """After a refund: what is shown of it, where this is the payment that is shown."""
    if "refunded" not in change.values:
        return []
    wanted, also = paid_for.of(change.payment), paid_by(change)
    ours = wanted.payment_id == change.payment.item_id
    if not ours or wanted.payment_status == also["payment_status"]:
        return []
    return [table.change(wanted, change.by, set_=also)]


def keep_hold(change: Change) -> list[table.Action]:
    """Not paid yet: the hold lasts longer while the payer or the provider is at it."""
    if not change.values:
        return []
    wanted = paid_for.of(change.payment)
    if wanted.payment_status not in UNPAID:
        return []
    also = _progress(change, wanted)
    if isinstance(wanted, AppointmentItem) and (until := _extended(change, wanted)):
        return transitions.extend_actions(wanted, change.by, until, also=also)
    return [table.change(wanted, change.by, set_=also)] if also else []


def _progress(change: Change, wanted: PaidFor) -> dict[str, str]:
    payment_id, shown = change.payment.item_id, wanted.payment_status
    if change.get("state") == State.PROCESSING:
        if shown == PaymentStatus.PROCESSING:
            return {}
        return {"payment_status": str(PaymentStatus.PROCESSING), "payment_id": payment_id}
    if shown == PaymentStatus.PROCESSING and wanted.payment_id == payment_id:
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
