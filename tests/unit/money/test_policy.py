"""What is kept and what goes back: steps, boundaries, rounding, and the answer's hash."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.money.appointments import policy
from consulta.money.appointments.policy import Party
from consulta.people.policy import default_policy

START = datetime(2026, 3, 29, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def preview(
    notice: timedelta, *, by: Party = Party.PATIENT, paid: int = 5000, **terms: Any
) -> policy.Preview:
    snapshot = default_policy("EUR") | terms
    return policy.preview(snapshot, paid=paid, price=5000, start=START, at=START - notice, by=by)


@pytest.mark.parametrize(
    ("notice", "kept"),
    [
        (DAY + timedelta(seconds=1), 0),
        (DAY, 0),
        (DAY - timedelta(milliseconds=1), 2500),
        (timedelta(), 2500),
        (-timedelta(hours=1), 2500),
    ],
)
def test_the_boundary_belongs_to_the_step(notice: timedelta, kept: int) -> None:
    found = preview(notice)
    assert (found.kept, found.refund) == (kept, 5000 - kept)
    assert [line.amount for line in found.lines] == [5000, kept, 5000 - kept]


def test_notice_is_elapsed_time_across_a_change_of_the_clocks() -> None:
    """The day before the clocks go forward has 23 hours on the wall, and is not a full notice."""
    snapshot = default_policy("EUR")
    wall = datetime.fromisoformat("2026-03-28T11:00:00+00:00")
    start = datetime.fromisoformat("2026-03-29T11:00:00+01:00")
    found = policy.preview(snapshot, paid=5000, price=5000, start=start, at=wall, by=Party.PATIENT)
    assert found.kept == 2500


def test_the_practice_keeps_nothing_of_what_it_cancels() -> None:
    found = preview(timedelta(minutes=1), by=Party.PRACTICE)
    assert (found.kept, found.refund, found.valid_until) == (0, 5000, None)


def test_a_no_show_pays_as_the_policy_says() -> None:
    assert policy.no_show(default_policy("EUR"), paid=5000, price=5000).refund == 0
    half = default_policy("EUR") | {"no_show": {"fixed": 100, "percent": 50}}
    assert policy.no_show(half, paid=5000, price=5000).kept == 2600


@pytest.mark.parametrize(("percent", "paid", "kept"), [(50, 1, 0), (50, 3, 2), (50, 5, 2)])
def test_halves_go_to_even(percent: int, paid: int, kept: int) -> None:
    assert policy.keep(paid, paid, 0, percent) == kept


def test_the_base_may_be_the_price() -> None:
    assert preview(timedelta(), paid=3000, refund_base="price").kept == 2500
    assert preview(timedelta(), paid=2000, refund_base="price").kept == 2000
    assert preview(timedelta(), paid=3000).kept == 1500


def test_the_answer_says_until_when_it_holds() -> None:
    assert preview(2 * DAY).valid_until == START - DAY
    assert preview(timedelta(hours=1)).valid_until is None
    assert preview(2 * DAY).step["min_notice_s"] == 86_400


def test_the_hash_changes_with_the_answer_only() -> None:
    assert preview(2 * DAY).hash == preview(3 * DAY).hash
    assert preview(2 * DAY).hash != preview(timedelta(hours=1)).hash
    assert preview(2 * DAY).hash != preview(2 * DAY, paid=4000).hash


@given(st.integers(0, 10**8), st.integers(0, 10**8), st.integers(0, 10**6), st.integers(0, 100))
def test_never_more_than_was_paid_and_never_less_than_nothing(
    paid: int, base: int, fixed: int, percent: int
) -> None:
    kept = policy.keep(paid, base, fixed, percent)
    assert 0 <= kept <= paid
    assert kept == paid or abs(kept - fixed - base * percent / 100) <= 0.5
