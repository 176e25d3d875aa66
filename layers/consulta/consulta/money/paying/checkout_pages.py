"""The provider's page of a payment: reading it, keeping its id, and closing it to payers.

Source: MONEY_AND_BOOKING_RULES §4 and §6. A page is made by an operation that is persisted before
it is sent; where the answer was lost, it is found again by what we told the provider of it.
"""

from datetime import datetime

from consulta.core import table
from consulta.core.item import Actor
from consulta.money.paying import operations
from consulta.money.paying.orders import load, payee_of
from consulta.money.provider import CheckoutPage
from consulta.money.providers import provider_for
from consulta.money.records import PaymentItem

DEADLINE_S = 12.0


def read(payment: PaymentItem) -> CheckoutPage | None:
    """The payment's page as it is now, None where none was made. Raises ProviderFailed."""
    adapter = provider_for(payment.provider)
    return adapter.read_checkout(payment, payee_of(payment), _sent(payment))


def _sent(payment: PaymentItem) -> datetime:
    """When its page was asked for."""
    operation = operations.find(payment.tenant, payment.item_id, str(payment.operation_id))
    sent: datetime = operation.sent_at if operation else payment.created_at
    return sent


def remember(payment: PaymentItem, page: CheckoutPage, by: Actor) -> PaymentItem:
    """Keep the page's id; the payment as it is then."""
    for _ in table.attempts(DEADLINE_S):
        if payment.checkout_id == page.id:
            return payment
        if table.written([table.change(payment, by, set_={"checkout_id": page.id})]):
            return load(payment.tenant, payment.item_id)
        payment = load(payment.tenant, payment.item_id)
    raise AssertionError("attempts ends by raising Busy")


def shut(payment: PaymentItem, by: Actor) -> PaymentItem:
    """Let nobody begin to pay any more; what was paid till now has to be read after it.

    Raises ProviderFailed: it may still be open then.
    """
    page = read(payment)
    if page is None:
        return payment
    payment = remember(payment, page, by)
    provider_for(payment.provider).expire_checkout(payment, payee_of(payment), page)
    return payment
