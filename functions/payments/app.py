"""Payments and refunds: /v1/payments."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, Limit, needs
from consulta.dashboards import payment_summary
from consulta.dashboards.schema_payment_summary import PaymentSummary, SummaryFilter
from consulta.money.paying import payment_lists, payments, refunds
from consulta.money.schema.payments import (
    ManualPaymentRequest,
    Payment,
    PaymentDetail,
    PaymentFilter,
    PaymentPage,
    PaymentRequest,
    Refund,
    RefundRequest,
    StartedPayment,
)

api = Api("payments")


@api.post("/v1/payments")
@needs("payments:write")
def create(body: PaymentRequest, idempotency_key: IdempotencyKey = None) -> StartedPayment:
    """Start paying, or go on with the payment that is open; 409 where it cannot be paid."""
    payment = payments.create(api.caller, body, idempotency_key)
    return api.created(payment, f"/v1/payments/{payment.id}")


@api.post("/v1/payments/manual")
@needs("payments:manual")
def record(body: ManualPaymentRequest, idempotency_key: IdempotencyKey = None) -> Payment:
    """Record cash or a transfer; the appointment is paid, and confirmed if it was held."""
    payment = payments.record(api.caller, body, idempotency_key)
    return api.created(payment, f"/v1/payments/{payment.id}")


@api.get("/v1/payments")
@needs("payments:read")
def page(
    wanted: Annotated[PaymentFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> PaymentPage:
    """The newest first, or the oldest; patients and experts see their own. Pages may be short."""
    return api.ok(payment_lists.page(api.caller, wanted, limit, cursor))


@api.get("/v1/payments/summary")
@needs("payments:read")
def summary(wanted: Annotated[SummaryFilter, Query()]) -> PaymentSummary:
    """Revenue, refunds, what is pending, count and average per currency; for members."""
    return api.ok(payment_summary.of(api.caller, wanted), max_age=60)


@api.get("/v1/payments/<payment_id>")
@needs("payments:read")
def get(payment_id: Id) -> PaymentDetail:
    """One payment with its refunds."""
    return api.ok(payments.get(api.caller, payment_id))


@api.post("/v1/payments/<payment_id>/refunds")
@needs("payments:manual")
def refund(payment_id: Id, body: RefundRequest, idempotency_key: IdempotencyKey = None) -> Refund:
    """Give back all that is left, or `amount` of it; never more than was paid."""
    made = refunds.create(api.caller, payment_id, body, idempotency_key)
    return api.created(made, f"/v1/payments/{payment_id}")


lambda_handler = api.handler
