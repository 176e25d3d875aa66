"""The token bucket of one account at one provider."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.money.webhooks import throttling
from consulta.money.webhooks.throttling import BURST, RATE, Bucket, bucket_of, seconds


def full(at: float = 0.0) -> Bucket:
    return Bucket(BURST, at)


def test_a_burst_and_then_the_rate() -> None:
    bucket = full()
    assert [bucket.take(0.0) for _ in range(int(BURST))] == [0.0] * int(BURST)
    assert bucket.take(0.0) == pytest.approx(1 / RATE)
    assert bucket.take(1 / RATE) == 0.0
    assert bucket.take(1 / RATE) > 0


def test_a_refusal_closes_it_for_as_long_as_the_provider_asks() -> None:
    bucket = full()
    assert bucket.refused(10.0, 30.0) >= 30.0
    assert bucket.take(11.0) == pytest.approx(29.0)
    assert bucket.take(39.9) > 0
    # At half the rate, and with nothing saved up meanwhile.
    assert bucket.take(40.0) == pytest.approx(2 / RATE)
    assert bucket.take(40.0 + 2 / RATE) == 0.0


def test_the_rate_comes_down_with_each_refusal_and_up_with_each_event() -> None:
    bucket = full()
    for number in range(50):
        bucket.refused(number * 1000.0, 0.0)
    assert bucket.rate == throttling.LOWEST_RATE
    for _ in range(1000):
        bucket.done()
    assert bucket.rate == RATE


def test_a_provider_cannot_close_it_for_ever() -> None:
    bucket = full()
    bucket.refused(0.0, 1e9)
    assert bucket.take(1.0) < throttling.MAX_PAUSE_S


def test_each_account_has_its_own() -> None:
    bucket_of.cache_clear()
    assert bucket_of("stripe", "acct_1") is bucket_of("stripe", "acct_1")
    assert bucket_of("stripe", "acct_1") is not bucket_of("stripe", "")
    assert bucket_of("stripe", "4711") is not bucket_of("mercadopago", "4711")


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7.0), (" 60 ", 60.0), (None, 0.0), ("", 0.0), ("-1", 0.0), ("soon", 0.0), ("²", 0.0)],
)
def test_retry_after(header: str | None, expected: float) -> None:
    assert seconds(header) == expected


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=200))
def test_never_more_than_the_burst_and_the_rate_allow(steps: list[tuple[float, bool]]) -> None:
    bucket, at, taken, last_wait = full(), 0.0, 0, 0.0
    for pause, refuses in steps:
        at += pause
        last_wait = bucket.take(at)
        taken += last_wait == 0.0
        assert last_wait >= 0
        if refuses:
            bucket.refused(at, 0.0)
    assert taken <= BURST + at * RATE + 1
