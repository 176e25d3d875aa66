"""Our minor units as each provider counts them: exactly, or refused before anything is sent.

Ours are ISO 4217's. Sources of the exceptions: https://docs.stripe.com/currencies#special-cases;
Mercado Pago takes whole pesos only in Chile and Colombia, whatever ISO 4217 says of COP.
"""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from consulta.core import money
from consulta.core.errors import Invalid
from consulta.core.money import MAX_AMOUNT, Money
from consulta.money.records import Provider

# Stripe's minor units where they are not ISO 4217's: what to multiply ours by, and to divide by.
_STRIPE_FACTORS = {"ISK": (100, 1), "UGX": (100, 1), "MGA": (1, 100)}
_THREE_PLACES = 3
# The currencies of the countries that Mercado Pago serves: in another one it would charge the same
# number.
MERCADOPAGO = frozenset({"ARS", "BRL", "CLP", "COP", "MXN", "PEN", "UYU"})
_WHOLE_AT_MERCADOPAGO = frozenset({"CLP", "COP"})
_NAMES = {Provider.STRIPE: "Stripe", Provider.MERCADOPAGO: "Mercado Pago"}


def step(provider: str, currency: str) -> int:
    """The smallest amount that a provider can move, in our minor units: all others are multiples.

    1 for what a member takes by hand. Raises ValueError for what is no currency of ISO 4217.
    """
    places = money.exponent(currency)
    if provider == Provider.STRIPE:
        # Of three decimal places the last must be zero.
        return 10 if places == _THREE_PLACES else _STRIPE_FACTORS.get(currency, (1, 1))[1]
    if provider == Provider.MERCADOPAGO and currency in _WHOLE_AT_MERCADOPAGO:
        return int(10**places)
    return 1


def check(provider: str, amount: int, currency: str) -> None:
    """Raises Invalid (``body.amount``) for an amount that the provider cannot move."""
    smallest = step(provider, currency)
    if amount % smallest:
        name = _NAMES[Provider(provider)]
        raise Invalid.of("body.amount", f"{name} takes {currency} in steps of {smallest}", "step")
    factor, divisor = _STRIPE_FACTORS.get(currency, (1, 1))
    if provider == Provider.STRIPE and amount * factor // divisor > MAX_AMOUNT:
        raise Invalid.of("body.amount", f"Stripe takes no such amount of {currency}", "range")


def movable(provider: str, amount: int, currency: str) -> int:
    """``amount`` rounded down to what the provider can move: for shares of our own making."""
    return amount - amount % step(provider, currency)


def movable_up(provider: str, amount: int, currency: str, most: int) -> int:
    """``amount`` rounded up to what the provider can move, as far as ``most`` allows it."""
    smallest = step(provider, currency)
    return min(-(-amount // smallest) * smallest, movable(provider, most, currency))


# ---------------------------------------------------------------- Stripe: integers of its own


def to_stripe(amount: int, currency: str) -> int:
    """Our minor units as Stripe counts them. Raises Invalid for an amount it cannot take."""
    check(Provider.STRIPE, amount, currency)
    factor, divisor = _STRIPE_FACTORS.get(currency, (1, 1))
    return amount * factor // divisor


def from_stripe(amount: int, currency: str) -> int:
    """Stripe's minor units as ours."""
    factor, divisor = _STRIPE_FACTORS.get(currency, (1, 1))
    return amount * divisor // factor


# ---------------------------------------------------------------- Mercado Pago: decimals


def to_decimal(amount: int, currency: str) -> int | float:
    """Minor units as the JSON number that Mercado Pago takes: 5050 BRL centavos → 50.5.

    Raises Invalid for a part of a peso where it takes whole ones only.
    """
    check(Provider.MERCADOPAGO, amount, currency)
    exact = Money(amount, currency).decimal()
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def to_minor(value: Any, currency: str) -> int:
    """A number of Mercado Pago's as minor units; fees are seen with finer parts, half to even."""
    exact = Decimal(str(value)).scaleb(money.exponent(currency))
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
