"""Paying: a provider's payment for an appointment, or money that a member took.

Amount, currency and commission come from our own records. The payment and its operation are
written before the provider hears of them; what the provider answers is then applied like any other
reading (:mod:`consulta.money.effects`).
"""

from dataclasses import dataclass
from datetime import timedelta

from consulta.core import ids, table
from consulta.core.errors import Conflict, Invalid, NotFound
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.money import share
from consulta.core.time import local_day, now
from consulta.money import effects, operations, payees, payment_views
from consulta.money.changes import Change
from consulta.money.effects import Result, Seen
from consulta.money.operations import Kind
from consulta.money.orders import Order, load, make_payment, payee_of, payment_id_of
from consulta.money.placing import place
from consulta.money.provider import Operation, PaymentDetails, ProviderPayment
from consulta.money.providers import provider_for
from consulta.money.records import PayeeItem, PaymentItem, Provider, State
from consulta.money.schema import (
    ManualPaymentRequest,
    Payment,
    PaymentDetail,
    PaymentRequest,
    StartedPayment,
)
from consulta.money.stripe_provider import is_direct
from consulta.people import practices
from consulta.scheduling import appointments, transitions
from consulta.scheduling.records import AppointmentItem, PaymentStatus, Status

DEADLINE_S = 12.0
# Taken by hand and recorded later, but not from another year.
OLDEST_RECEIPT = timedelta(days=366)
# Methods that need no card token; all others of Mercado Pago's are refused. Vouchers (OXXO, boleto)
# outlive every hold and cannot be refunded.
WITHOUT_TOKEN = frozenset({"pix"})
_STILL_PAYABLE = frozenset({Status.CONFIRMED, Status.COMPLETED, Status.AWAITING_APPROVAL})
_UNPAID = frozenset({PaymentStatus.UNPAID, PaymentStatus.PROCESSING})


def get(by: Principal, payment_id: str) -> PaymentDetail:
    """One payment with its refunds. Raises NotFound."""
    return payment_views.detail(by, payment_views.load(by, payment_id))


# ---------------------------------------------------------------- through a provider


def create(by: Principal, body: PaymentRequest, key: str | None) -> StartedPayment:
    """Start paying for an appointment, or go on with the payment that is open already.

    Raises NotFound, Invalid, ProviderFailed, and Conflict where the payee cannot take charges, or
    the appointment is not to be paid, is paid, or its hold has ended.
    """
    tenant, provider = by.tenant, Provider(body.provider)
    details = _details(body)
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return _go_on(by, load(tenant, once.result), details)
    for _ in table.attempts(DEADLINE_S):
        appointment = appointments.load(by, body.appointment_id)
        _check_payable(appointment)
        payee = _payee(tenant, appointment.expert_id, provider)
        order = Order.read(tenant, appointment.order_id)
        known = _open_one(order, provider, by)
        if known:
            if once.row and _written(once.actions(known.item_id)) or not once.row:
                return _go_on(by, known, details)
            once = once.again()
            if once.result:
                return _go_on(by, load(tenant, once.result), details)
            continue
        draft = _Draft.of(by, appointment, payee, provider, details)
        if _written([*draft.actions(order), *once.actions(draft.payment.item_id)]):
            return _answer(by, draft.send(by))
        once = once.again()
        if once.result:
            return _go_on(by, load(tenant, once.result), details)
    raise AssertionError("attempts ends by raising Busy")
