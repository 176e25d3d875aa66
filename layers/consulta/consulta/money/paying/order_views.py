"""An order as the API shows it. It is stored nowhere: it is read off what it is for.

Source: MONEY_AND_BOOKING_RULES §1: an order has lines, what is due, and the payments that were made
of it. Its id is that of its appointment or package behind another prefix, so that it is found
without a lookup.
"""

from collections.abc import Mapping
from typing import Any, Literal

from consulta.core import ids, table
from consulta.core.errors import NotFound
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.money.paying import orders, paid_for, parts, payment_views
from consulta.money.paying.parts import PaidFor, Part
from consulta.money.records import PaymentItem, Provider
from consulta.money.schema.orders import Allocation, Order, OrderLine, OrderStatus
from consulta.scheduling.records import (
    APPOINTMENT,
    PACKAGE,
    AppointmentItem,
    PackageItem,
    PaymentStatus,
)
from consulta.scheduling.schema.fields import AppliedTax

Kind = Literal["appointment", "package", "reschedule_fee"]


def get(by: Principal, order_id: str) -> Order:
    """The order of something that the caller may see. Raises NotFound."""
    wanted = find(by.tenant, order_id)
    if wanted is None or not by.sees("payments", wanted.patient_id, wanted.expert_id):
        raise NotFound
    return order(wanted, orders.Order.read(by.tenant, order_id).payments())


def find(tenant: Tenant, order_id: str) -> PaidFor | None:
    """The appointment or the package of an order, consistently."""
    if not ids.is_id(order_id, "ord"):
        return None
    appointment = tenant.item(APPOINTMENT, ids.related(order_id, "appt"))
    package = tenant.item(PACKAGE, ids.related(order_id, "pkg"))
    found = table.batch_get_raw([appointment, package])
    if appointment in found:
        return AppointmentItem.read(found[appointment])
    return PackageItem.read(found[package]) if package in found else None


def due_of(wanted: PaidFor) -> tuple[int, int]:
    """What is still owed, and what of it is asked for next, in minor units."""
    part = parts.outstanding_part(wanted)
    if not parts.is_due(wanted, part) or paid_for.not_payable(wanted):
        return 0, 0
    due = parts.share_of(wanted, part).amount
    return due, parts.share_of(wanted, parts.due_part(wanted)).amount


def order(wanted: PaidFor, payments: list[PaymentItem]) -> Order:
    """What is owed for something, with the payments that were made of it."""
    currency, is_package = str(wanted.currency), isinstance(wanted, PackageItem)

    def amount(minor: float) -> Amount:
        return Amount(amount=int(minor), currency=currency)

    due, due_now = due_of(wanted)
    # With a fee on it what was paid before it was no deposit that anybody asked for.
    deposit = 0 if parts.fee_of(wanted) else parts.deposit_of(wanted)
    return Order(
        id=wanted.order_id,
        appointment_id=None if is_package else wanted.item_id,
        package_id=wanted.item_id if is_package else None,
        patient_id=wanted.patient_id,
        expert_id=wanted.expert_id,
        status=_status(wanted, due),
        payment_status=PaymentStatus(wanted.payment_status),
        currency=currency,
        lines=lines(wanted),
        total=amount(wanted.price),
        tax=amount(wanted.tax["amount"] if wanted.tax else 0),
        deposit=amount(deposit) if deposit else None,
        paid=amount(sum(payment.captured for payment in payments)),
        refunded=amount(sum(payment.refunded for payment in payments)),
        disputed=amount(sum(payment.disputed for payment in payments)),
        due=amount(due),
        due_now=amount(due_now),
        payments=[_allocation(payment) for payment in payments],
        created_at=wanted.created_at,
    )


def lines(wanted: PaidFor) -> list[OrderLine]:
    """What is owed, and for what: the service, and the fee for a late move where there is one.

    A tax that is not included in prices is within the fee all the same.
    """
    if not parts.fee_of(wanted):
        kind: Kind = "package" if isinstance(wanted, PackageItem) else "appointment"
        return [_line(wanted, kind, int(wanted.price), wanted.tax)]
    first, rest = (parts.share_of(wanted, part) for part in (Part.DEPOSIT, Part.REMAINDER))
    before = wanted.tax and {**wanted.tax, "amount": first.tax}
    within = wanted.tax and {**wanted.tax, "amount": rest.tax, "inclusive": True}
    return [
        _line(wanted, "appointment", first.amount, before),
        _line(wanted, "reschedule_fee", rest.amount, within),
    ]


def _line(wanted: PaidFor, kind: Kind, total: int, tax: Mapping[str, Any] | None) -> OrderLine:
    def amount(minor: int) -> Amount:
        return Amount(amount=minor, currency=str(wanted.currency))

    of_it = int(tax["amount"]) if tax else 0
    on_top = of_it if tax and not tax["inclusive"] else 0
    return OrderLine(
        kind=kind,
        service_id=wanted.service_id,
        quantity=1,
        unit_amount=amount(total - on_top),
        net=amount(total - of_it),
        tax=AppliedTax.model_validate(tax) if tax else None,
        amount=amount(total),
    )


def _status(wanted: PaidFor, due: int) -> OrderStatus:
    if due:
        paid = wanted.payment_status == PaymentStatus.DEPOSIT_PAID
        return OrderStatus.DEPOSIT_PAID if paid else OrderStatus.OPEN
    return OrderStatus.PAID if wanted.payment_status == PaymentStatus.PAID else OrderStatus.CLOSED


def _allocation(payment: PaymentItem) -> Allocation:
    def amount(minor: float) -> Amount:
        return Amount(amount=int(minor), currency=payment.currency)

    return Allocation(
        payment_id=payment.item_id,
        part=Part(payment.part).value,
        provider=Provider(payment.provider).value,
        status=payment_views.displayed(payment),
        amount=amount(payment.amount),
        captured=amount(payment.captured),
        refunded=amount(payment.refunded),
        disputed=amount(payment.disputed),
        created_at=payment.created_at,
    )
