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


BOOKED = START - 3 * DAY
KEEPS_ALL = [{"min_notice_s": 0, "keep": {"fixed": 0, "percent": 100}}]


def withdrawn(after: timedelta, *, by: Party = Party.PATIENT, days: int = 2, **terms: Any) -> Any:
    """What cancelling so long after it was booked gives back, with a right to withdraw."""
    until = min(BOOKED + days * DAY, START)
    at = BOOKED + after
    snapshot = default_policy("EUR") | {"cancel": KEEPS_ALL} | terms
    return policy.preview(
        snapshot, paid=5000, price=5000, start=START, at=at, by=by, withdraw_until=until
    )


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (timedelta(), 0),
        (2 * DAY - timedelta(milliseconds=1), 0),
        (2 * DAY, 0),
        (2 * DAY + timedelta(milliseconds=1), 5000),
        (3 * DAY, 5000),
    ],
)
def test_within_the_days_all_goes_back(after: timedelta, kept: int) -> None:
    found = withdrawn(after)
    assert (found.kept, found.refund) == (kept, 5000 - kept)
    if kept:
        assert (found.step["rule"], found.valid_until) == ("cancel", None)
    else:
        assert (found.step, found.valid_until) == ({"rule": "statutory"}, BOOKED + 2 * DAY)


def test_the_right_to_withdraw_ends_with_the_start() -> None:
    assert withdrawn(3 * DAY, days=14).kept == 0
    assert withdrawn(3 * DAY, days=14).valid_until == START
    assert withdrawn(3 * DAY + timedelta(milliseconds=1), days=14).kept == 5000


def test_where_nothing_is_kept_anyway_the_ordinary_step_is_told() -> None:
    """Its answer is as it was before there was such a right; the practice's own cancelling too."""
    ordinary = {"cancel": default_policy("EUR")["cancel"]}
    found = withdrawn(DAY, **ordinary)
    assert (found.step["rule"], found.valid_until) == ("cancel", START - DAY)
    assert found.hash == preview(2 * DAY).hash
    assert withdrawn(DAY, by=Party.PRACTICE).step == {"rule": "expert_cancel"}


def test_the_hash_is_of_the_right_that_was_used() -> None:
    assert withdrawn(DAY).hash == withdrawn(2 * DAY).hash
    assert withdrawn(DAY).hash != withdrawn(3 * DAY).hash


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


@given(
    st.integers(0, 10**8), st.integers(0, 10**8), st.integers(0, 100), st.booleans(),
    st.sampled_from(["paid", "price"]),
)  # fmt: skip
def test_what_was_paid_is_kept_or_goes_back(
    paid: int, price: int, percent: int, withdraws: bool, base: str
) -> None:
    terms = {"refund_base": base, "cancel": [{"min_notice_s": 0, "keep": {"percent": percent}}]}
    found = policy.preview(
        default_policy("EUR") | terms,
        paid=paid,
        price=price,
        start=START,
        at=START - DAY,
        by=Party.PATIENT,
        withdraw_until=START if withdraws else None,
    )
    assert found.kept + found.refund == found.paid == paid
    assert 0 <= found.refund <= paid
    assert found.refund == paid or not withdraws
