"""Money: integer minor units with an ISO 4217 currency, never two currencies in one sum."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache

BASIS_POINTS = 10_000
# Stripe takes eight digits: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
MAX_AMOUNT = 99_999_999


@cache
def exponent(currency: str) -> int:
    """Decimal places of ``currency`` (EUR 2, CLP 0, KWD 3).

    Raises ValueError for a code that ISO 4217 does not have, or that has no minor unit (gold).
    """
    from iso4217 import Currency  # noqa: PLC0415  # it reads ISO's own XML when imported

    places = Currency(currency).exponent
    if places is None:
        raise ValueError(f"{currency} has no minor unit")
    return int(places)


def is_currency(code: str) -> bool:
    """Whether ``code`` is an upper-case ISO 4217 code that money can be kept in."""
    try:
        exponent(code)
    except ValueError:
        return False
    return code.isupper()


def share(amount: int, basis_points: int) -> int:
    """``basis_points`` ten-thousandths of ``amount`` minor units, rounded half to even."""
    exact = Decimal(amount) * basis_points / BASIS_POINTS
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def proportion(amount: int, part: int, whole: int) -> int:
    """``amount × part / whole`` in minor units, rounded half to even; 0 where ``whole`` is 0."""
    if whole == 0:
        return 0
    exact = Decimal(amount) * part / whole
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@dataclass(frozen=True, slots=True)
class Money:
    """``amount`` minor units of ``currency``: Money(5000, "EUR") is fifty euros."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        exponent(self.currency)

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount - self._same(other), self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self._same(other)

    def _same(self, other: "Money") -> int:
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")
        return other.amount

    @property
    def exponent(self) -> int:
        """Decimal places of the currency."""
        return exponent(self.currency)

    def decimal(self) -> Decimal:
        """The amount in major units: Money(5000, "EUR") gives Decimal("50.00")."""
        return Decimal(self.amount).scaleb(-self.exponent)

    @classmethod
    def from_decimal(cls, value: Decimal, currency: str) -> "Money":
        """Minor units from major ones. Raises ValueError where ``value`` has finer parts."""
        minor = value.scaleb(exponent(currency))
        if minor != minor.to_integral_value():
            raise ValueError(f"{currency} has {exponent(currency)} decimal places")
        return cls(int(minor), currency)


def format_money(money: Money) -> str:
    """For people to read, the same in every locale: ``EUR 1,234.50``."""
    return f"{money.currency} {money.decimal():,.{money.exponent}f}"
