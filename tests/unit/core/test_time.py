"""Instants as text and seconds."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.time import (
    from_epoch,
    from_text,
    in_zone,
    is_zone,
    local_day,
    now,
    to_epoch,
    to_text,
)

INSTANTS = st.datetimes(
    datetime(1971, 1, 1),  # noqa: DTZ001  # hypothesis takes bounds without a zone
    datetime(2999, 1, 1),  # noqa: DTZ001  # the same
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))


@given(INSTANTS)
def test_text_is_read_as_it_was_written(instant: datetime) -> None:
    assert from_text(to_text(instant)) == instant
    assert to_text(instant).endswith("Z")


@given(INSTANTS, INSTANTS)
def test_text_sorts_as_time_does(one: datetime, other: datetime) -> None:
    assert (to_text(one) < to_text(other)) is (one < other)


@given(st.integers(0, 2**33))
def test_seconds_are_read_as_they_were_written(seconds: int) -> None:
    assert to_epoch(from_epoch(seconds)) == seconds


def test_a_time_without_offset_is_no_instant() -> None:
    with pytest.raises(ValueError, match="offset"):
        to_text(datetime(2026, 11, 21))  # noqa: DTZ001  # that is the point


def test_now_is_what_the_table_keeps() -> None:
    assert from_text(to_text(now())).tzinfo is not None
    assert now().microsecond % 1000 == 0


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("UTC", date(2026, 11, 21)),
        ("Asia/Kolkata", date(2026, 11, 22)),
        ("Pacific/Pago_Pago", date(2026, 11, 21)),
        ("Pacific/Kiritimati", date(2026, 11, 22)),
    ],
)
def test_a_day_is_a_zones(zone: str, day: date) -> None:
    instant = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    assert local_day(instant, zone) == day
    assert in_zone(instant, zone) == instant


def test_zones_are_ianas() -> None:
    assert is_zone("America/Sao_Paulo")
    assert not is_zone("Brasil/Rio")
    assert not is_zone("../etc/passwd")
