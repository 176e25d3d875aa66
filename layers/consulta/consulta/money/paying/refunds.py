"""Refunds by hand: POST /v1/payments/{id}/refunds. By policy they come from ``closing``."""

from consulta.core import table
from consulta.core.errors import Conflict, Invalid
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.money import currencies
from consulta.money.paying import effects, payment_views
from consulta.money.paying.changes import Change
from consulta.money.paying.placing import show_on_appointment
from consulta.money.records import PaymentItem, Provider
from consulta.money.schema.payments import Refund, RefundRequest


def create(by: Principal, payment_id: str, body: RefundRequest, key: str | None) -> Refund:
    """Give back all that is left of a payment, or a part; never more, however many ask at once.

    The guard and the reservation are one conditional write. At a provider the refund is then asked
    for; where that fails it stays requested, and the sweep goes on with it. Raises NotFound,
    Invalid, Conflict (409 with ``refundable``).
    """
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body, payment_id)
    for _ in table.attempts(effects.DEADLINE_S):
        if once.result:
            return payment_views.refund(by, effects.find_refund(tenant, once.result))
        payment = payment_views.load(by, payment_id)
        change = Change(payment, by.actor)
        amount = _amount(change, body)
        if payment.provider == Provider.MANUAL:
            made = change.give_back_by_hand(amount, body.reason)
        else:
            made = change.request_refund(amount, body.reason)
        try:
            table.transact(
                [*change.actions(), *show_on_appointment(change), *once.actions(made.item_id)]
            )
        except table.ConditionFailed as failed:
            if REPEATED in failed.labels:
                once = once.again()
            continue
        for refund_id in change.refunds:
            effects.try_send(tenant, refund_id, by.actor)
        return payment_views.refund(by, effects.find_refund(tenant, made.item_id))
    raise AssertionError("attempts ends by raising Busy")


def _amount(change: Change, body: RefundRequest) -> int:
    payment: PaymentItem = change.payment
    if not payment.captured:
        raise Conflict("Nothing was paid yet, so nothing can be refunded")
    if body.amount is None:
        if change.refundable <= 0:
            raise Conflict("All of it was refunded already")
        return change.refundable
    if body.amount.currency != payment.currency:
        raise Invalid.of("body.amount.currency", f"The payment is in {payment.currency}")
    currencies.check(payment.provider, body.amount.amount, payment.currency)
    return body.amount.amount
