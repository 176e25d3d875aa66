"""A patient moves a booking inside the window of its policy: denied, for nothing, or for a fee.

Source: MONEY_AND_BOOKING_RULES §9, ``reschedule.inside``. The fee is what cancelling at that moment
would keep of the price. It is owed like the rest after a deposit: what was paid for the booking
becomes the deposit, and the fee is the remainder, with exactly its own tax.
"""

from datetime import datetime
from typing import Any

from consulta.core.errors import Conflict
from consulta.scheduling import package_sessions, pricing, terms
from consulta.scheduling.records import AppointmentItem, PaymentStatus

_NOT_PAID = frozenset({PaymentStatus.UNPAID, PaymentStatus.PROCESSING})


def fee_of(appointment: AppointmentItem, at: datetime) -> int:
    """What it costs a patient to move it at that moment, in minor units of its currency.

    0 outside the window, and where cancelling would keep nothing. Raises Conflict with ``code``:
    ``too_late`` where the policy denies it, or a fee cannot be asked for; ``pay_first``.
    """
    a, rules = appointment, appointment.policy["reschedule"]
    notice = (a.notice_to - at).total_seconds()
    if notice >= int(rules["free_until_s"]):
        return 0
    if rules["inside"] == "deny":
        raise _refused(a, "It is too late to move it", "too_late")
    if a.package_id:
        # What would be lost is the session: there is no price of its own to ask a part of.
        if package_sessions.is_returned(a, "patient", at):
            return 0
        raise _refused(a, "It is too late to move a session of a package", "too_late")
    if terms.is_within(terms.withdraw_until(a.policy, a.created_at, a.start), at):
        return 0
    fee = terms.moving_fee(a.policy, int(a.price), str(a.currency), notice)
    if not fee:
        return 0
    # A deposit and its rest, or a fee that is on it already.
    if a.deposit_payment_id:
        raise _refused(a, "It is too late to move it: it is paid in parts", "too_late")
    if a.payment_status in _NOT_PAID:
        raise _refused(a, "Moving it so late costs a fee: it has to be paid first", "pay_first")
    if a.payment_status != PaymentStatus.PAID or not a.payment_id:
        raise _refused(a, "It is too late to move it: what was paid went back", "too_late")
    return fee


def charged(appointment: AppointmentItem, fee: int) -> dict[str, Any]:
    """What of a booking that is paid changes with the ``fee`` for moving it, in stored form.

    The patient owes the fee as it is: its tax is within it, also where a tax is not included in
    prices.
    """
    a = appointment
    values: dict[str, Any] = {
        "price": int(a.price) + fee,
        "fee": fee,
        "deposit": int(a.price),
        "deposit_payment_id": a.payment_id,
        "payment_status": str(PaymentStatus.DEPOSIT_PAID),
    }
    if a.tax:
        had, within = int(a.tax["amount"]), pricing.tax_of(fee, {**a.tax, "inclusive": True})
        whole = {**a.tax, "amount": had + within}
        values |= {"tax": AppointmentItem.tax.serialize(whole), "deposit_tax": had}
    return values


def _refused(appointment: AppointmentItem, detail: str, code: str) -> Conflict:
    return Conflict(
        detail,
        extra={
            "appointment_status": str(appointment.status),
            "payment_status": str(appointment.payment_status),
            "code": code,
        },
    )
