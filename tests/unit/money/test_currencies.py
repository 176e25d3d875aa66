"""Amounts as the providers count them: exactly there and back, or refused before they are sent."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.errors import Invalid
from consulta.core.money import exponent
from consulta.money import currencies
from consulta.money.currencies import MERCADOPAGO, movable, step
from consulta.money.records import Provider

AMOUNTS = st.integers(1, 10**12)
# All that a practice may have, with the odd ones of each provider.
AT_STRIPE = st.sampled_from(
    [
        "EUR",
        "USD",
        "BRL",
        "HUF",
        "TWD",
        "JPY",
        "KRW",
        "CLP",
        "XAF",
        "PYG",
        "VND",
        "ISK",
        "UGX",
        "MGA",
        "BHD",
        "JOD",
        "KWD",
        "OMR",
        "TND",
    ]
)


@pytest.mark.parametrize(
    ("currency", "places", "ours", "theirs"),
    [
        ("EUR", 2, 5050, 5050),
        # Two places when charged; whole ones are asked for in payouts only, which we do not make.
        ("HUF", 2, 123_456, 123_456),
        ("TWD", 2, 80_045, 80_045),
        ("JPY", 0, 500, 500),
        ("CLP", 0, 15_990, 15_990),
        ("KRW", 0, 1, 1),
        # No decimals in ISO 4217, two at Stripe, always zero.
        ("ISK", 0, 5, 500),
        ("UGX", 0, 12_345, 1_234_500),
        # Two in ISO 4217, none at Stripe.
        ("MGA", 2, 500, 5),
        # Three, of which the last is zero.
        ("KWD", 3, 1230, 1230),
        ("TND", 3, 10, 10),
    ],
)
def test_stripes_minor_units(currency: str, places: int, ours: int, theirs: int) -> None:
    assert exponent(currency) == places
    assert currencies.to_stripe(ours, currency) == theirs
    assert currencies.from_stripe(theirs, currency) == ours


@pytest.mark.parametrize(
    ("currency", "ours", "theirs"),
    [
        ("ARS", 100_050, 1000.5),
        ("BRL", 5050, 50.5),
        ("MXN", 1, 0.01),
        ("PEN", 10_000, 100),
        ("UYU", 999, 9.99),
        ("CLP", 15_990, 15_990),
        # Two places in ISO 4217; Mercado Pago takes whole pesos.
        ("COP", 1_500_000, 15_000),
    ],
)
def test_mercado_pagos_decimals(currency: str, ours: int, theirs: float) -> None:
    sent = currencies.to_decimal(ours, currency)
    assert (sent, type(sent)) == (theirs, type(theirs))
    assert currencies.to_minor(sent, currency) == ours


def refused(send: Callable[[], object]) -> None:
    with pytest.raises(Invalid) as found:
        send()
    assert (found.value.status, found.value.errors[0].path) == (422, "body.amount")


@given(AMOUNTS, AT_STRIPE)
def test_stripe_there_and_back_or_refused(amount: int, currency: str) -> None:
    if amount % step(Provider.STRIPE, currency):
        assert currency in ("MGA", "BHD", "JOD", "KWD", "OMR", "TND")
        refused(lambda: currencies.to_stripe(amount, currency))
        return
    # Eight digits of its own units: of what it counts in hundredths that is less.
    most = {"ISK": 999_999, "UGX": 999_999, "MGA": 9_999_999_900}.get(currency, 99_999_999)
    if amount > most:
        refused(lambda: currencies.to_stripe(amount, currency))
        return
    sent = currencies.to_stripe(amount, currency)
    assert currencies.from_stripe(sent, currency) == amount


@given(AMOUNTS, st.sampled_from(sorted(MERCADOPAGO)))
def test_mercado_pago_there_and_back_or_refused(amount: int, currency: str) -> None:
    if amount % step(Provider.MERCADOPAGO, currency):
        assert currency == "COP"
        refused(lambda: currencies.to_decimal(amount, currency))
        return
    sent = currencies.to_decimal(amount, currency)
    assert currencies.to_minor(sent, currency) == amount
    if currency in ("CLP", "COP"):
        assert isinstance(sent, int)


@given(st.integers(0, 999_999), AT_STRIPE)
def test_a_share_of_ours_can_always_be_sent(amount: int, currency: str) -> None:
    share = movable(Provider.STRIPE, amount, currency)
    assert 0 <= amount - share < step(Provider.STRIPE, currency)
    currencies.to_stripe(share, currency)


def test_what_a_member_takes_by_hand_has_no_step() -> None:
    assert {step(Provider.MANUAL, currency) for currency in ("EUR", "KWD", "MGA", "COP")} == {1}
    currencies.check(Provider.MANUAL, 1, "KWD")


def test_fees_are_seen_with_finer_parts() -> None:
    assert currencies.to_minor(17.465, "BRL") == 1746
    assert currencies.to_minor(Decimal("17.475"), "BRL") == 1748
    assert currencies.to_minor(12.5, "CLP") == 12


def test_what_is_no_currency() -> None:
    for code in ("EURO", "XAU", "eur ?"):
        with pytest.raises(ValueError):
            step(Provider.STRIPE, code)
