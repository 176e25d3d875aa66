"""Which commission a dated rate table gives, in literal numbers and as a property."""

from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.money.rates import Rate, RateTable, Row, Scope, commission

JANUARY, MARCH, JUNE = date(2026, 1, 1), date(2026, 3, 1), date(2026, 6, 1)
ROWS = (
    Row(JUNE, 100, 500, "EUR"),
    Row(MARCH, 0, 2000, "EUR", "srv_1"),
    Row(JANUARY, 50, 1200, "EUR"),
    Row(JANUARY, 900, 0, "CLP"),
    Row(JANUARY, 7000, 0, "EUR", plan_id="plan_1"),
)
TABLE = RateTable(1000, ROWS)


@pytest.mark.parametrize(
    ("service", "currency", "day", "expected"),
    [
        # Before the first row the practice's percentage holds, as it does in other currencies.
        ("srv_2", "EUR", date(2025, 12, 31), Rate(0, 1000, None, Scope.DEFAULT)),
        ("srv_2", "USD", JUNE, Rate(0, 1000, None, Scope.DEFAULT)),
        # From the very day on, and until the day before the next.
        ("srv_2", "EUR", JANUARY, Rate(50, 1200, JANUARY, Scope.PRACTICE)),
        ("srv_2", "EUR", JUNE - timedelta(days=1), Rate(50, 1200, JANUARY, Scope.PRACTICE)),
        ("srv_2", "EUR", JUNE, Rate(100, 500, JUNE, Scope.PRACTICE)),
        # A service's own comes first, though the practice's is younger.
        ("srv_1", "EUR", MARCH - timedelta(days=1), Rate(50, 1200, JANUARY, Scope.PRACTICE)),
        ("srv_1", "EUR", MARCH, Rate(0, 2000, MARCH, Scope.SERVICE)),
        ("srv_1", "EUR", date(2027, 1, 1), Rate(0, 2000, MARCH, Scope.SERVICE)),
        ("srv_1", "CLP", JUNE, Rate(900, 0, JANUARY, Scope.PRACTICE)),
    ],
)
def test_the_rate_that_holds(service: str, currency: str, day: date, expected: Rate) -> None:
    assert TABLE.chosen(service, currency, day) == expected


@pytest.mark.parametrize(
    ("amount", "fixed", "bps", "expected"),
    [
        (5000, 0, 1000, 500),
        (5000, 100, 500, 350),
        # Half to even, up and down.
        (50, 0, 100, 0),
        (150, 0, 100, 2),
        (250, 0, 100, 2),
        # Never above the amount, and nothing of nothing.
        (80, 100, 500, 80),
        (100, 100, 0, 100),
        (100, 1, 10_000, 100),
        (0, 100, 500, 0),
        (-5000, 100, 500, 0),
        (100_000_000, 0, 10_000, 100_000_000),
    ],
)
def test_the_commission_of_a_rate(amount: int, fixed: int, bps: int, expected: int) -> None:
    table = RateTable(0, (Row(JANUARY, fixed, bps, "EUR"),))
    assert commission(table, "srv_1", amount, "EUR", JANUARY) == expected


DAYS = st.dates(date(2025, 1, 1), date(2027, 12, 31))
ROW = st.builds(
    Row,
    DAYS,
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.sampled_from(["EUR", "CLP"]),
    st.sampled_from([None, "srv_1", "srv_2"]),
)
TABLES = st.lists(ROW, max_size=6, unique_by=lambda r: (r.starts, r.currency, r.service_id))


@given(TABLES, st.integers(0, 10_000), st.integers(0, 10**8), DAYS)
def test_any_table_gives_the_latest_row_exactly(
    rows: list[Row], default: int, amount: int, day: date
) -> None:
    found = commission(RateTable(default, tuple(rows)), "srv_1", amount, "EUR", day)
    assert 0 <= found <= amount
    # The same by another way: walk the rows by date, a service's own after all of the practice's.
    fixed, bps = 0, default
    for row in sorted(rows, key=lambda row: (row.service_id is not None, row.starts)):
        if row.currency == "EUR" and row.starts <= day and row.service_id in (None, "srv_1"):
            fixed, bps = row.fixed, row.percent_bps
    exact = fixed + Fraction(amount * bps, 10_000)
    assert abs(found - min(exact, Fraction(amount))) <= Fraction(1, 2)
    if exact <= amount and (exact - found).denominator == 2:
        assert (found - fixed) % 2 == 0
    # Whatever order the rows are in.
    assert commission(RateTable(default, tuple(rows[::-1])), "srv_1", amount, "EUR", day) == found


def test_what_is_stamped_says_which_rate_it_was() -> None:
    assert TABLE.chosen("srv_1", "EUR", MARCH).to_stored() == {
        "fixed": 0,
        "percent_bps": 2000,
        "tax_bps": 0,
        "on_manual": False,
        "from": "2026-03-01",
        "scope": "service",
    }
    assert TABLE.chosen("srv_1", "USD", MARCH).to_stored()["from"] is None
