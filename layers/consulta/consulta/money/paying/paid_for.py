"""What a payment is for: an appointment, or a package of sessions.

Both have an order, a price with its currency, a patient, an expert, a service and a payment status;
what a payment does to one is :mod:`consulta.money.paying.placing`'s.
"""

from consulta.core import table
from consulta.core.errors import Conflict, Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.time import now
from consulta.money.paying import parts
from consulta.money.paying.parts import UNPAID, PaidFor, Part
from consulta.money.records import PaymentItem
from consulta.money.schema.payments import ManualPaymentRequest, PaymentRequest
from consulta.scheduling import appointments, packages, transitions
from consulta.scheduling.records import (
    APPOINTMENT,
    PACKAGE,
    AppointmentItem,
    PackageItem,
    PaymentStatus,
    Status,
)
from consulta.scheduling.schema.packages import PackageStatus

_STILL_PAYABLE = frozenset({Status.CONFIRMED, Status.COMPLETED, Status.AWAITING_APPROVAL})


def wanted(by: Principal, body: PaymentRequest | ManualPaymentRequest) -> PaidFor:
    """What the caller wants to pay, which they may see. Raises Invalid, NotFound."""
    if body.package_id and body.appointment_id:
        message = "Pay for an appointment or for a package, not for both at once"
        raise Invalid.of("body.package_id", message, "both")
    if body.package_id:
        return packages.load(by, body.package_id)
    if body.appointment_id:
        return appointments.load(by, body.appointment_id)
    raise Invalid.of("body.appointment_id", "Say what is paid for, or a package_id", "missing")


def of(payment: PaymentItem) -> PaidFor:
    """What a payment is for, consistently. Raises NotFound."""
    tenant = payment.tenant
    found: PaidFor | None
    if payment.package_id:
        found = table.get(PackageItem, tenant.item(PACKAGE, payment.package_id))
    else:
        found = table.get(AppointmentItem, tenant.item(APPOINTMENT, str(payment.appointment_id)))
    if found is None:
        raise NotFound
    return found


def attributes(paid_for: PaidFor) -> dict[str, str]:
    """What a payment copies of it."""
    name = "package_id" if isinstance(paid_for, PackageItem) else "appointment_id"
    return {
        name: paid_for.item_id,
        "order_id": paid_for.order_id,
        "patient_id": paid_for.patient_id,
        "expert_id": paid_for.expert_id,
        "service_id": paid_for.service_id,
        "currency": paid_for.currency,
        "zone": paid_for.zone,
    }


def check_payable(paid_for: PaidFor, part: Part) -> None:
    """Raises Conflict where this part of it is paid, or not to be paid in its state."""
    check_due(paid_for, part)
    if why := not_payable(paid_for):
        raise Conflict(why, extra=_extra(paid_for))


def check_due(paid_for: PaidFor, part: Part) -> None:
    """Raises Conflict where this part of it is paid already, or not the one that is owed."""
    extra = _extra(paid_for)
    if not parts.is_due(paid_for, part):
        if paid_for.payment_status == PaymentStatus.DEPOSIT_PAID:
            raise Conflict("The deposit is paid: what is left is the remainder", extra=extra)
        if paid_for.payment_status in UNPAID:
            raise Conflict("The deposit comes before the remainder", extra=extra)
        what = _what(paid_for)
        raise Conflict(f"The {what} is paid already, or there is nothing to pay", extra=extra)


def _what(paid_for: PaidFor) -> str:
    return "package" if isinstance(paid_for, PackageItem) else "appointment"


def _extra(paid_for: PaidFor) -> dict[str, object]:
    return {
        f"{_what(paid_for)}_status": paid_for.status,
        "payment_status": paid_for.payment_status,
    }


def not_payable(paid_for: PaidFor) -> str:
    """Why it is not to be paid in its state, whatever was paid so far; "" where it is."""
    if isinstance(paid_for, PackageItem):
        return "The package was cancelled" if paid_for.status == PackageStatus.CANCELLED else ""
    if paid_for.status == Status.HELD:
        if not transitions.hold_alive(paid_for, now()):
            return "The hold has ended: book the time again"
    elif paid_for.status not in _STILL_PAYABLE:
        return "The appointment is not to be paid in this state"
    return ""
