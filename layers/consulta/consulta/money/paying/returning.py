"""How much of each payment of an order goes back: the newest first, in amounts that can be moved.

A policy's percentage need not be an amount that a provider can move: the last of three decimal
places must be zero at Stripe, Mercado Pago moves whole pesos in Chile and Colombia. It is rounded
in the patient's favour, and never above what is left of the payment. A preview says the same.
"""

from collections.abc import Sequence

from consulta.core.item import Actor
from consulta.money import currencies
from consulta.money.paying.changes import Change
from consulta.money.records import PaymentItem

_NOBODY = Actor("", "")


def left(payment: PaymentItem) -> int:
    """What of a payment can still go back."""
    return max(Change(payment, _NOBODY).refundable, 0)


def amounts(paid: Sequence[PaymentItem], refund: int) -> list[int]:
    """What goes back of each payment of ``paid``, oldest first, where ``refund`` is asked for.

    Together at least that, as far as it is there. Asking for their sum gives the same amounts.
    """
    found = []
    for payment in reversed(paid):
        most = left(payment)
        wanted = min(max(refund, 0), most)
        part = currencies.movable_up(payment.provider, wanted, payment.currency, most)
        found.append(part)
        refund -= part
    return found[::-1]


def movable(paid: Sequence[PaymentItem], refund: int) -> int:
    """All that goes back of ``paid`` where ``refund`` is asked for."""
    return sum(amounts(paid, refund))
