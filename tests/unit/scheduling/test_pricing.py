"""What a service costs in all: taxes within and on top, deposits fixed and in percent."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.scheduling import pricing

VAT: dict[str, Any] = {"rate_bps": 2_100, "code": "IVA", "inclusive": True}
ON_TOP: dict[str, Any] = {**VAT, "inclusive": False}


@pytest.mark.parametrize(
    ("price", "tax", "amount", "total"),
    [
        (12_100, VAT, 2_100, 12_100),
        (10_000, ON_TOP, 2_100, 12_100),
        # 50 of 10 000 is 0.5 and 1.5: both to the even side.
        (100, {**ON_TOP, "rate_bps": 50}, 0, 100),
        (300, {**ON_TOP, "rate_bps": 50}, 2, 302),
        (5_000, {**ON_TOP, "rate_bps": 0}, 0, 5_000),
        (0, ON_TOP, 0, 0),
    ],
)
def test_a_tax_is_within_the_price_or_on_top(
    price: int, tax: dict[str, Any], amount: int, total: int
) -> None:
    assert pricing.tax_of(price, tax) == amount
    assert pricing.total_of(price, tax) == total
    applied = pricing.taxed(price, tax)
    assert applied == ({**tax, "amount": amount} if price else None)


def test_without_a_tax_the_price_is_all() -> None:
    assert pricing.total_of(5_000, None) == 5_000
    assert pricing.taxed(5_000, None) is None


@pytest.mark.parametrize(
    ("total", "currency", "deposit", "amount"),
    [
        (5_000, "EUR", {"fixed": 1_234, "percent": None}, 1_234),
        (5_000, "EUR", {"fixed": None, "percent": 30}, 1_500),
        (4_999, "EUR", {"fixed": None, "percent": 50}, 2_500),
        # Neither provider moves a part of these: the share stays movable where the whole is.
        (12_340, "KWD", {"fixed": None, "percent": 33}, 4_070),
        (10_000_100, "COP", {"fixed": None, "percent": 50}, 5_000_000),
        (12_345, "KWD", {"fixed": None, "percent": 33}, 4_074),
        (100, "JPY", {"fixed": None, "percent": 33}, 33),
    ],
)
def test_a_deposit_is_fixed_or_a_share(
    total: int, currency: str, deposit: dict[str, Any], amount: int
) -> None:
    assert pricing.deposit_of(total, currency, deposit) == amount


@given(st.integers(1, 100_000_000), st.integers(0, 10_000))
def test_net_and_tax_come_to_the_same_either_way(price: int, rate: int) -> None:
    """A price with a tax on top, read as one that has it within, has the same tax, to a unit."""
    on_top = {"rate_bps": rate, "code": "T", "inclusive": False}
    total = pricing.total_of(price, on_top)
    within = pricing.tax_of(total, {**on_top, "inclusive": True})
    assert abs(within - pricing.tax_of(price, on_top)) <= 1
    assert 0 <= within < total
