"""Payments and refunds as the API shows them, and who may see which."""

from datetime import date

from consulta.core.errors import NotFound
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.money.paying import orders, shown_status
from consulta.money.paying.orders import refunds_of
from consulta.money.paying.parts import Part
from consulta.money.provider import PixCode, ProviderPayment
from consulta.money.records import PaymentItem, Provider, RefundItem, State
from consulta.money.schema.payments import (
    DisplayedStatus,
    ExchangedInto,
    FraudWarning,
    Payment,
    PaymentDetail,
    Pix,
    Refund,
    StartedPayment,
)


def visible(by: Principal, payment: PaymentItem) -> bool:
    """Whether the caller may see this payment of their practice: patients and experts their own."""
    return by.sees("payments", payment.patient_id, payment.expert_id)


def load(by: Principal, payment_id: str) -> PaymentItem:
    """One that the caller may see. Raises NotFound."""
    payment = orders.load(by.tenant, payment_id)
    if not visible(by, payment):
        raise NotFound
    return payment


def displayed(payment: PaymentItem) -> DisplayedStatus:
    """The stored state, with what refunds and disputes make of it (rules §1)."""
    return DisplayedStatus(shown_status.of(payment))


def payment(by: Principal, item: PaymentItem) -> Payment:
    """One payment; what concerns the practice alone is not for patients."""
    member = by.role is not Role.PATIENT
    manual = item.provider == Provider.MANUAL

    def amount(minor: float) -> Amount:
        return Amount(amount=int(minor), currency=item.currency)

    return Payment(
        id=item.item_id,
        appointment_id=item.appointment_id,
        package_id=item.package_id,
        order_id=item.order_id,
        patient_id=item.patient_id,
        expert_id=item.expert_id,
        service_id=item.service_id,
        part=Part(item.part).value,
        provider=Provider(item.provider).value,
        provider_id=item.provider_id,
        method=item.method,
        status=displayed(item),
        failure_code=item.failure_code,
        amount=amount(item.amount),
        tax=amount(item.tax),
        captured=amount(item.captured),
        refunded=amount(item.refunded),
        commission=amount(item.commission) if member else None,
        commission_tax=amount(item.commission_tax) if member else None,
        fee=amount(item.fee) if member else None,
        exchange=ExchangedInto.of(item.fx) if member else None,
        settled=bool(item.settled),
        fraud_warning=FraudWarning.model_validate(item.fraud_warning)
        if member and item.fraud_warning
        else None,
        paid_at=item.paid_at,
        received_on=date.fromisoformat(str(item.local_date)) if manual else None,
        notes=item.notes if member else None,
        created_at=item.created_at,
        updated_at=item.updated_at,
        version=int(item.version),
    )


def detail(by: Principal, item: PaymentItem) -> PaymentDetail:
    """One payment with its refunds."""
    refunds = [refund(by, found) for found in refunds_of(item)]
    return PaymentDetail(**dict(payment(by, item)), refunds=refunds)


def started(by: Principal, item: PaymentItem, reading: ProviderPayment | None) -> StartedPayment:
    """One payment with what the browser needs to go on; that is neither stored nor logged."""
    open_ = reading if item.state in (State.OPEN, State.PROCESSING) else None
    return StartedPayment(
        **dict(payment(by, item)),
        client_secret=(open_.client_secret or None) if open_ else None,
        action_url=(open_.action_url or None) if open_ else None,
        pix=_pix(open_.pix) if open_ and open_.pix else None,
    )


def _pix(code: PixCode) -> Pix:
    return Pix(qr_code=code.code, qr_code_image=code.image or None, expires_at=code.expires_at)


def refund(by: Principal, item: RefundItem) -> Refund:
    """One refund."""
    member = by.role is not Role.PATIENT
    commission = Amount(amount=int(item.commission), currency=item.currency)
    return Refund(
        id=item.item_id,
        payment_id=item.payment_id,
        state=item.state,
        amount=Amount(amount=int(item.amount), currency=item.currency),
        commission=commission if member else None,
        reason=item.reason,
        created_at=item.created_at,
        version=int(item.version),
    )
