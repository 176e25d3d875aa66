"""Minor units: exact, of one currency, rounded half to even."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.money import (
    Money,
    exponent,
    format_money,
    is_currency,
    proportion,
    share,
)

AMOUNTS = st.integers(-(10**12), 10**12)
CURRENCIES = st.sampled_from(["EUR", "USD", "BRL", "CLP", "JPY", "KWD"])


@pytest.mark.parametrize(("currency", "places"), [("EUR", 2), ("CLP", 0), ("JPY", 0), ("KWD", 3)])
def test_minor_units_are_iso_4217s(currency: str, places: int) -> None:
    assert exponent(currency) == places
    assert is_currency(currency)


@pytest.mark.parametrize("code", ["", "eur", "XAU", "EURO", "ABC"])
def test_other_codes_are_no_currency(code: str) -> None:
    assert not is_currency(code)


@given(AMOUNTS, AMOUNTS, CURRENCIES)
def test_one_currency_adds_up(a: int, b: int, currency: str) -> None:
    assert Money(a, currency) + Money(b, currency) == Money(a + b, currency)
    assert Money(a, currency) - Money(b, currency) == Money(a - b, currency)
    assert (Money(a, currency) < Money(b, currency)) is (a < b)
    assert -Money(a, currency) == Money(-a, currency)


def test_two_currencies_do_not() -> None:
    euro, dollar = Money(1, "EUR"), Money(1, "USD")
    with pytest.raises(ValueError, match="do not add up"):
        euro + dollar
    with pytest.raises(ValueError, match="do not add up"):
        euro - dollar
    with pytest.raises(ValueError, match="do not add up"):
        euro < dollar  # noqa: B015  # the comparison itself is what raises


@given(AMOUNTS, CURRENCIES)
def test_major_units_and_back(amount: int, currency: str) -> None:
    money = Money(amount, currency)
    assert Money.from_decimal(money.decimal(), currency) == money


def test_finer_parts_than_the_currency_has_are_refused() -> None:
    with pytest.raises(ValueError, match="decimal places"):
        Money.from_decimal(Decimal("1.5"), "CLP")


@pytest.mark.parametrize(
    ("amount", "bps", "expected"),
    [(5000, 1000, 500), (25, 1000, 2), (35, 1000, 4), (-25, 1000, -2), (1, 4999, 0), (0, 9999, 0)],
)
def test_a_share_is_rounded_half_to_even(amount: int, bps: int, expected: int) -> None:
    assert share(amount, bps) == expected


@given(AMOUNTS, st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_proportion_is_the_nearest_integer(amount: int, part: int, whole: int) -> None:
    exact = Fraction(amount * part, whole)
    assert abs(proportion(amount, part, whole) - exact) <= Fraction(1, 2)
    assert proportion(amount, part, 0) == 0


@given(AMOUNTS, st.integers(1, 10**6))
def test_the_whole_of_it_is_all_of_it(amount: int, whole: int) -> None:
    assert proportion(amount, whole, whole) == amount


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(123450, "EUR"), "EUR 1,234.50"),
        (Money(1234, "CLP"), "CLP 1,234"),
        (Money(-5, "KWD"), "KWD -0.005"),
    ],
)
def test_money_is_written_the_same_everywhere(money: Money, text: str) -> None:
    assert format_money(money) == text
