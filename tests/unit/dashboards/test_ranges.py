"""Percentages of counts and of money."""

import pytest

from consulta.dashboards import ranges


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0, 0, None),
        (5, 0, None),
        (0, 7, 0.0),
        (2, 3, 66.7),
        (-125, 100, -125.0),
        # 0.05, 0.15, 0.25 and 0.35: half to even, where a float is a little more or less than that.
        (1, 2000, 0.0),
        (3, 2000, 0.2),
        (5, 2000, 0.2),
        (7, 2000, 0.4),
        # More than a float can tell from the half.
        (10**17 + 1, 2 * 10**20, 0.1),
    ],
)
def test_a_share_to_one_decimal(part: int, whole: int, expected: float | None) -> None:
    assert ranges.share(part, whole) == expected


@pytest.mark.parametrize(
    ("value", "base", "expected"),
    [
        (5, 0, None),
        (150, 100, 50.0),
        (0, 100, -100.0),
        (50, -100, 150.0),
        (2001, 2000, 0.0),
        (1997, 2000, -0.2),
    ],
)
def test_how_much_more(value: int, base: int, expected: float | None) -> None:
    assert ranges.percent(value, base) == expected
