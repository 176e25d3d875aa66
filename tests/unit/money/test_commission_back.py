"""Which refund a part of a fee went back with: Stripe says neither, but when."""

import pytest

from consulta.money.reconciliation.stripe_side import NEAR_S, Books

AT = 1_795_316_973


@pytest.mark.parametrize(
    ("at", "number", "refund"),
    [
        # Two in one second, listed the newest first.
        (AT, 0, "re_first"),
        (AT, 1, "re_second"),
        # More parts than refunds that are as near.
        (AT, 2, "re_second"),
        (AT + 1, 0, "re_first"),
        (AT + 9, 0, "re_later"),
        (AT + 10 + NEAR_S, 0, "re_later"),
        (AT + 11 + NEAR_S, 0, None),
    ],
)
def test_the_refund_of_that_time_and_number(at: int, number: int, refund: str | None) -> None:
    books = Books.__new__(Books)
    listed = [
        {"id": "re_later", "created": AT + 10},
        {"id": "re_second", "created": AT},
        {"id": "re_first", "created": AT},
    ]
    books._memo = {("refunds", "acct_1", "ch_1"): {"data": listed}}
    assert books._refund_near("acct_1", "ch_1", at, number).get("id") == refund
