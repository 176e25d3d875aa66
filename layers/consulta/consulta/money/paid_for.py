"""What a payment is for: an appointment, or a package of sessions.

Both have an order, a price with its currency, a patient, an expert, a service and a payment status;
what a payment does to one is :mod:`consulta.money.placing`'s.
"""

from consulta.core import table
from consulta.core.errors import Conflict, Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.time import now
from consulta.money.records import PaymentItem
from consulta.money.schema import ManualPaymentRequest, PaymentRequest
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

type PaidFor = AppointmentItem | PackageItem

UNPAID = frozenset({PaymentStatus.UNPAID, PaymentStatus.PROCESSING})
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


def check_payable(paid_for: PaidFor) -> None:
    """Raises Conflict where it is paid, or not to be paid in its state."""
    what = "package" if isinstance(paid_for, PackageItem) else "appointment"
    extra: dict[str, object] = {
        f"{what}_status": paid_for.status,
        "payment_status": paid_for.payment_status,
    }
    if paid_for.payment_status not in UNPAID:
        raise Conflict(f"The {what} is paid already, or there is nothing to pay", extra=extra)
    if isinstance(paid_for, PackageItem):
        if paid_for.status == PackageStatus.CANCELLED:
            raise Conflict("The package was cancelled", extra=extra)
    elif paid_for.status == Status.HELD:
        if not transitions.hold_alive(paid_for, now()):
            raise Conflict("The hold has ended: book the time again", extra=extra)
    elif paid_for.status not in _STILL_PAYABLE:
        raise Conflict("The appointment is not to be paid in this state", extra=extra)
