"""The average of ratings: one, wherever it is shown."""

import pytest

from consulta.aggregates.figures import Figures
from consulta.dashboards import ranges


@pytest.mark.parametrize(
    ("reviews", "rating", "expected"),
    [
        (0, 0, None),
        (1, 5, 5.0),
        (3, 13, 4.3),
        (3, 14, 4.7),
        # 4.25 and 4.75: half to even, where a float's own rounding depends on its last bit.
        (4, 17, 4.2),
        (4, 19, 4.8),
        (20, 81, 4.0),
        (20, 21, 1.0),
        (1_000_000, 4_650_001, 4.7),
    ],
)
def test_to_one_decimal(reviews: int, rating: int, expected: float | None) -> None:
    assert ranges.rating(Figures({"reviews": reviews, "rating": rating})) == expected
