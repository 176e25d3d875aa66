"""What a service costs in all: its tax, and the deposit that it asks for. Pure.

Source: MONEY_AND_BOOKING_RULES §2 and §4. Both are worked out when a service is written, and copied
onto what is booked, so that a rate that changes never changes what was agreed.
"""

from collections.abc import Mapping
from typing import Any

from consulta.core.money import BASIS_POINTS, exponent, proportion, share
from consulta.scheduling.records import ServiceItem

PERCENT_IN_BASIS_POINTS = 100
# Where a provider moves no single minor unit of it: whole pesos, whole ariary; of three decimal
# places the last is zero (https://docs.stripe.com/currencies#special-cases).
_COARSE = {"COP": 100, "MGA": 100}
_THREE_PLACES = 3


def tax_of(price: int, tax: Mapping[str, Any]) -> int:
    """The tax of a ``price`` in minor units, rounded half to even: within it, or on top of it."""
    rate = int(tax["rate_bps"])
    return proportion(price, rate, BASIS_POINTS + rate) if tax["inclusive"] else share(price, rate)


def taxed(price: int, tax: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A tax with the ``amount`` that it comes to; None where there is none, or no price."""
    if not tax or not price:
        return None
    terms = {name: tax[name] for name in ("rate_bps", "code", "inclusive")}
    return {**terms, "amount": tax_of(price, tax)}


def total_of(price: int, tax: Mapping[str, Any] | None) -> int:
    """What is owed for a ``price``: with a tax that is not included, more than that."""
    return price if not tax or tax["inclusive"] else price + tax_of(price, tax)


def coarse(amount: int, currency: str) -> int:
    """``amount`` minor units rounded down to what every provider can move."""
    step = 10 if exponent(currency) == _THREE_PLACES else _COARSE.get(currency, 1)
    return amount - amount % step


def deposit_of(total: int, currency: str, deposit: Mapping[str, Any]) -> int:
    """The deposit of what is owed in minor units: ``fixed``, or ``percent`` of it half to even.

    A share of an amount that a provider can move is rounded down to one that it can move, too.
    """
    if deposit.get("fixed") is not None:
        return int(deposit["fixed"])
    amount = share(total, int(deposit["percent"]) * PERCENT_IN_BASIS_POINTS)
    return coarse(amount, currency) if coarse(total, currency) == total else amount


def owed(service: ServiceItem) -> dict[str, Any]:
    """What of a service's price is copied onto what is booked: ``price`` is the whole, tax and all.

    A tax that comes to an amount, and the deposit in minor units; either may be None.
    """
    price = int(service.price)
    deposit = int(service.deposit["amount"]) if service.deposit else None
    return {
        "price": total_of(price, service.tax),
        "currency": service.currency,
        "tax": taxed(price, service.tax),
        "deposit": deposit,
    }
