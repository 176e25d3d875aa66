"""What the terms of a booking say at one moment: steps, what they keep, withdrawing, and fees."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.money import MAX_AMOUNT, exponent
from consulta.people.policy import default_policy
from consulta.scheduling import pricing, terms

BOOKED = datetime(2026, 3, 20, 9, 0, 0, 123_000, tzinfo=UTC)
DAY = timedelta(days=1)
LEAST = timedelta(milliseconds=1)


def step(notice: int, fixed: int = 0, percent: int = 0) -> dict[str, Any]:
    return {"min_notice_s": notice, "keep": {"fixed": fixed, "percent": percent}}


def snapshot(*steps: dict[str, Any], days: int = 0, waived: str | None = None) -> dict[str, Any]:
    policy = default_policy("EUR") | {"statutory": {"withdraw_days": days, "waived_at": waived}}
    return policy | ({"cancel": list(steps)} if steps else {})


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("notice", "found"),
    [
        (200_000, 172_800),
        (172_800, 172_800),
        (172_799.999, 86_400),
        (86_400, 86_400),
        (86_399.999, 0),
        (0, 0),
        (-1, 0),
    ],
)
def test_a_steps_boundary_belongs_to_it(notice: float, found: int) -> None:
    policy = snapshot(step(172_800), step(86_400, percent=50), step(0, percent=100))
    assert terms.step_of(policy, notice)["min_notice_s"] == found


@pytest.mark.parametrize(
    ("one", "keeps"),
    [(step(0), False), (step(0, 1), True), (step(0, 0, 1), True), ({"keep": {}}, False)],
)
def test_a_step_keeps_something_or_nothing(one: dict[str, Any], *, keeps: bool) -> None:
    assert terms.keeps_something(one) is keeps


@pytest.mark.parametrize(("percent", "paid", "kept"), [(50, 1, 0), (50, 3, 2), (50, 5, 2)])
def test_halves_go_to_even(percent: int, paid: int, kept: int) -> None:
    assert terms.keep(paid, paid, 0, percent) == kept


@given(st.integers(0, 10**8), st.integers(0, 10**8), st.integers(0, 10**6), st.integers(0, 100))
def test_never_more_than_was_paid_and_never_less_than_nothing(
    paid: int, base: int, fixed: int, percent: int
) -> None:
    kept = terms.keep(paid, base, fixed, percent)
    assert 0 <= kept <= paid
    assert kept == paid or abs(kept - fixed - base * percent / 100) <= 0.5


# ---------------------------------------------------------------- withdrawing


@pytest.mark.parametrize(
    ("days", "waived", "start", "until"),
    [
        (0, None, None, None),
        (14, None, None, BOOKED + 14 * DAY),
        (14, None, BOOKED + 30 * DAY, BOOKED + 14 * DAY),
        (14, None, BOOKED + 3 * DAY, BOOKED + 3 * DAY),
        (14, "2026-03-20T09:00:00.123Z", None, None),
        (0, "2026-03-20T09:00:00.123Z", None, None),
        (90, None, None, BOOKED + 90 * DAY),
    ],
)
def test_it_ends_with_the_days_or_with_the_start(
    days: int, waived: str | None, start: datetime | None, until: datetime | None
) -> None:
    assert terms.withdraw_until(snapshot(days=days, waived=waived), BOOKED, start) == until


def test_terms_from_before_the_right_was_kept_give_none() -> None:
    old = {name: value for name, value in snapshot().items() if name != "statutory"}
    assert terms.withdraw_until(old, BOOKED) is None
    assert terms.waived(old, BOOKED) == old
    assert terms.waived_at(old) is None


@pytest.mark.parametrize(
    ("after", "within"),
    [
        (timedelta(), True),
        (14 * DAY - LEAST, True),
        (14 * DAY, True),
        (14 * DAY + LEAST, False),
        (15 * DAY, False),
    ],
)
def test_its_last_instant_is_included(after: timedelta, *, within: bool) -> None:
    until = terms.withdraw_until(snapshot(days=14), BOOKED)
    assert terms.is_within(until, BOOKED + after) is within


def test_a_day_is_24_hours_where_the_clocks_change() -> None:
    """The clocks of Lisbon go forward on 29 March 2026: the local day has 23 hours."""
    booked = datetime.fromisoformat("2026-03-28T12:00:00+00:00")
    until = terms.withdraw_until(snapshot(days=1), booked)
    assert terms.is_within(until, datetime.fromisoformat("2026-03-29T13:00:00+01:00"))
    assert not terms.is_within(until, datetime.fromisoformat("2026-03-29T13:00:01+01:00"))


def test_waiving_is_stamped_where_there_is_a_right_to_waive() -> None:
    policy = snapshot(days=14)
    given_up = terms.waived(policy, BOOKED)
    assert given_up["statutory"] == {"withdraw_days": 14, "waived_at": "2026-03-20T09:00:00.123Z"}
    assert terms.waived_at(given_up) == BOOKED
    assert {**given_up, "statutory": policy["statutory"]} == policy
    # The practice's own policy is as it was.
    assert terms.waived_at(policy) is None
    assert terms.waived(snapshot(), BOOKED) == snapshot()


# ---------------------------------------------------------------- the fee for a late move


@pytest.mark.parametrize(
    ("price", "currency", "fixed", "percent", "fee"),
    [
        (5_000, "EUR", 0, 50, 2_500),
        (4_999, "EUR", 0, 50, 2_500),
        (5_001, "EUR", 0, 50, 2_500),
        (5_000, "EUR", 700, 0, 700),
        (5_000, "EUR", 700, 10, 1_200),
        (5_000, "EUR", 9_000, 0, 5_000),
        (5_000, "EUR", 0, 100, 5_000),
        (5_000, "EUR", 0, 0, 0),
        (0, "EUR", 700, 50, 0),
        (1, "EUR", 0, 50, 0),
        (100, "JPY", 0, 33, 33),
        # Rounded down to what every provider can move.
        (12_345, "KWD", 0, 50, 6_170),
        (12_345, "KWD", 0, 100, 12_340),
        (10_000_100, "COP", 0, 50, 5_000_000),
        (9, "KWD", 0, 100, 0),
        # Price and fee together are an amount that can be kept.
        (MAX_AMOUNT, "EUR", 0, 50, 0),
        (MAX_AMOUNT - 10, "EUR", 0, 50, 10),
        (MAX_AMOUNT - 199, "COP", 0, 50, 100),
    ],
)
def test_a_fee_is_what_would_be_kept(
    price: int, currency: str, fixed: int, percent: int, fee: int
) -> None:
    policy = snapshot(step(86_400), step(0, fixed, percent))
    assert terms.moving_fee(policy, price, currency, 86_399) == fee
    assert terms.moving_fee(policy, price, currency, 86_400) == 0


@given(
    st.integers(0, MAX_AMOUNT), st.integers(0, MAX_AMOUNT), st.integers(0, 100),
    st.sampled_from(["EUR", "JPY", "KWD", "COP", "MGA", "CLP"]),
)  # fmt: skip
def test_a_fee_is_never_more_than_the_price_and_can_be_moved(
    price: int, fixed: int, percent: int, currency: str
) -> None:
    fee = terms.moving_fee(snapshot(step(0, fixed, percent)), price, currency, 0)
    assert 0 <= fee <= terms.keep(price, price, fixed, percent) <= price
    assert price + fee <= MAX_AMOUNT
    assert pricing.coarse(fee, currency) == fee
    assert exponent(currency) != 3 or fee % 10 == 0
