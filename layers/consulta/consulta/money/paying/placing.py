"""What a payment does to the appointment, or the package, that it is for.

An appointment is confirmed when it is paid, and kept a little while it is paying.

Source: MONEY_AND_BOOKING_RULES §4. Money that comes for a time that is lost, or for one that is
paid already, goes back by itself, our commission included.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.item import Actor, Item
from consulta.core.time import now
from consulta.money.appointments import package_payments
from consulta.money.appointments.authorizing import waits_for_approval
from consulta.money.paying import paid_for, parts
from consulta.money.paying.changes import Change, shown_status
from consulta.money.paying.orders import load
from consulta.money.paying.parts import UNPAID, PaidFor, Part
from consulta.money.records import PaymentItem, State
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


_OVER = frozenset({Status.CANCELLED, Status.NO_SHOW, Status.EXPIRED})


def shown(wanted: PaidFor, captured: int, refunded: int, *, over: bool) -> PaymentStatus:
    """What an appointment or a package shows of the payments that count, all together.

    Of a deposit alone the rest stays owed, whatever went back of it, until it is ``over``: then
    there is nothing left to pay.
    """
    is_deposit = captured < int(wanted.price) and parts.deposit_of(wanted)
    if is_deposit and refunded < captured and not (over and refunded):
        return PaymentStatus.DEPOSIT_PAID
    return shown_status(captured, refunded)


def counted(wanted: PaidFor) -> set[str]:
    """The ids of the payments that its status tells of; what came besides goes back by itself."""
    ids = [wanted.payment_id]
    if isinstance(wanted, AppointmentItem):
        ids.append(wanted.deposit_payment_id)
    return {str(one) for one in ids if one}


def paid_by(change: Change, wanted: PaidFor, before: PaymentItem | None) -> dict[str, str]:
    """What the appointment or package shows of this payment, as its attributes.

    ``before`` is the deposit that was paid before it.
    """
    payment_id = change.payment.item_id
    captured, refunded = change.number("captured"), change.number("refunded")
    if before is not None:
        captured, refunded = captured + int(before.captured), refunded + int(before.refunded)
    status = shown(wanted, captured, refunded, over=False)
    values = {"payment_status": str(status), "payment_id": payment_id}
    if change.payment.part == Part.DEPOSIT:
        values["deposit_payment_id"] = payment_id
    return values


def pay_for(change: Change, wanted: PaidFor) -> list[table.Action]:
    """What a payment that succeeded does to its appointment or package.

    Raises Conflict where it is paid already, or lost: its time, or the package itself; and where
    it is not the part that is owed: a deposit again, all of it after a deposit, the rest before.
    """
    by = change.by
    if isinstance(wanted, PackageItem):
        return package_payments.pay_for(change, wanted, paid_by(change, wanted, None))
    appointment = wanted
    paid_for.check_due(appointment, Part(change.payment.part))
    also, same = paid_by(change, appointment, None), list[table.Action]()
    if change.payment.part == Part.REMAINDER:
        before = load(change.tenant, str(appointment.deposit_payment_id))
        also, same = paid_by(change, appointment, before), [_as_read(before)]
    return [*same, *_placed(change, appointment, by, also)]


def _as_read(item: Item) -> table.Action:
    """The transaction holds only while this is as it was read, though it does not change it."""
    return table.check(
        item.key,
        "#version = :version",
        names={"#version": "version"},
        values={":version": int(item.version)},
        label="payments of the order",
    )


def _placed(
    change: Change, appointment: AppointmentItem, by: Actor, also: dict[str, str]
) -> list[table.Action]:
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
        lost = package_payments.CANCELLED if isinstance(wanted, PackageItem) else SLOT_LOST
        if change.refundable > 0:
            change.request_refund(
                change.refundable, DUPLICATE if _is_paid(change, wanted) else lost
            )
        return []


def _is_paid(change: Change, wanted: PaidFor) -> bool:
    """Whether what came was paid before: it is the second one, and not merely too late."""
    if change.payment.part == Part.REMAINDER and isinstance(wanted, AppointmentItem):
        return bool(wanted.payment_id != wanted.deposit_payment_id)
    return wanted.payment_status not in UNPAID


def _is_anothers(change: Change, wanted: PaidFor) -> bool:
    """Whether it was moved, while this was being paid, to an expert for whom another is paid."""
    payment, tenant = change.payment, change.tenant
    if wanted.expert_id == payment.expert_id:
        return False
    found = table.batch_get_raw(paying.payee_keys(tenant, wanted.expert_id))
    payee_id = paying.payee_of(tenant, wanted.expert_id, payment.provider, found)
    return bool(payee_id != payment.payee_id)


def show_on_appointment(change: Change) -> list[table.Action]:
    """After a refund: what is shown of it, where this is one of the payments that count.

    Of two payments each one's refunds may end at the same moment: whichever is written last has
    seen the other, so that what is shown is what came of both.
    """
    if "refunded" not in change.values:
        return []
    wanted, own = paid_for.of(change.payment), change.payment.item_id
    ids = counted(wanted)
    if own not in ids:
        return []
    others = [load(change.tenant, one) for one in sorted(ids - {own})]
    captured = change.number("captured") + sum(int(one.captured) for one in others)
    refunded = change.number("refunded") + sum(int(one.refunded) for one in others)
    status = shown(wanted, captured, refunded, over=wanted.status in _OVER)
    same = [_as_read(one) for one in others]
    if wanted.payment_status != status:
        return [*same, table.change(wanted, change.by, set_={"payment_status": str(status)})]
    return [*same, _as_read(wanted)] if parts.deposit_of(wanted) else []


def shown_together(wanted: PaidFor, changes: Iterable[Change]) -> dict[str, str]:
    """What it shows once it is over, by changes of all its payments in the same transaction."""
    ids = counted(wanted)
    ours = [change for change in changes if change.payment.item_id in ids]
    captured = sum(change.number("captured") for change in ours)
    refunded = sum(change.number("refunded") for change in ours)
    if not refunded:
        return {}
    return {"payment_status": str(shown(wanted, captured, refunded, over=True))}


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
