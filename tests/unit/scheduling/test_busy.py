"""Rows of calendars and holds: what is written into them, and what counts."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.errors import Conflict
from consulta.core.keys import Key, Tenant
from consulta.core.time import from_epoch
from consulta.scheduling.busy import (
    CALENDAR,
    HOLDS,
    MAX_ENTRIES,
    Claim,
    Entry,
    Row,
    days,
    entries,
    hold_limit_reached,
    lapsed,
    put_hold,
)
from consulta.scheduling.slots import DAY, Busy

KEY = Key("P#prac_1#CALENDAR#EXPERT#exp_1", "2026-11-21")
NOON = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp())
SECONDS = st.integers(0, 2**32)


@given(SECONDS, SECONDS, SECONDS, SECONDS, SECONDS)
def test_entries_are_read_as_they_were_written(
    start: int, end: int, before: int, after: int, until: int
) -> None:
    entry = Entry(Busy(start, end, before, after), until)
    assert Entry.from_text(entry.to_text()) == entry


def test_a_hold_counts_until_its_end_and_the_rest_for_good() -> None:
    row = Row(
        KEY,
        CALENDAR,
        1,
        {
            "firm": Entry(Busy(NOON, NOON + 60)).to_text(),
            "alive": Entry(Busy(NOON, NOON + 60), NOON + 1).to_text(),
            "ended": Entry(Busy(NOON, NOON + 60), NOON).to_text(),
        },
    )
    assert [entry_id for entry_id, _ in entries([row], NOON)] == ["firm", "alive"]
    assert lapsed(row, NOON) == ["ended"]


@given(st.integers(0, 10**6).map(lambda n: n * 60), st.integers(1, 3 * 1440).map(lambda n: n * 60))
def test_days_are_all_that_are_touched_and_no_other(low: int, length: int) -> None:
    found = days(low, low + length)
    touched = {from_epoch(second).date() for second in range(low, low + length, 60)}
    assert found == sorted(touched)


def test_midnight_at_the_end_touches_no_new_day() -> None:
    assert days(0, DAY) == [date(1970, 1, 1)]
    assert days(0, DAY + 1) == [date(1970, 1, 1), date(1970, 1, 2)]


def test_writing_needs_the_version_that_was_read() -> None:
    fresh = Row(KEY, CALENDAR).put("appt_1", "x").request
    assert fresh["ConditionExpression"] == "attribute_not_exists(pk)"
    known = Row(KEY, CALENDAR, 7, {"old": "x"}).put("appt_1", "x", drop=["old", "unknown"]).request
    assert known["ConditionExpression"] == "#version = :read"
    assert known["ExpressionAttributeValues"][":read"] == {"N": "7"}
    assert "old" in known["ExpressionAttributeNames"].values()
    assert "unknown" not in known["ExpressionAttributeNames"].values()


def test_a_day_holds_no_more_than_its_row_can() -> None:
    full = Row(KEY, CALENDAR, 1, {f"appt_{n}": "x" for n in range(MAX_ENTRIES)})
    with pytest.raises(Conflict):
        full.put("one_more", "x")
    assert full.put("appt_0", "again").kind == "Update"
    assert full.put("one_more", "x", drop=["appt_0"]).kind == "Update"


@given(st.dictionaries(st.text("abc", min_size=1), SECONDS, max_size=6), SECONDS)
def test_only_open_holds_count_and_the_others_go(holds: dict[str, int], now: int) -> None:
    row = Row(KEY, HOLDS, 1, {name: str(ends) for name, ends in holds.items()})
    still_open = sum(ends > now for ends in holds.values())
    assert hold_limit_reached(row, now, 3) is (still_open >= 3)
    request = put_hold(row, "appt_new", from_epoch(now + 900), now).request
    removed = set(request["ExpressionAttributeNames"].values()) - {"appt_new", "version"}
    assert removed == {name for name, ends in holds.items() if ends <= now}


def test_a_claim_takes_buffers_of_the_expert_only() -> None:
    midnight = NOON + DAY // 2
    claim = Claim(Tenant("prac_1"), "exp_1", "pat_1", Busy(midnight - 3600, midnight, 0, 600))
    assert [key.sk for key in claim.touched()] == ["2026-11-21", "2026-11-22", "2026-11-21"]
    rows = claim.rows({})
    assert claim.is_free(rows, NOON)
    expert_next_day = claim.touched()[1]
    other = Entry(Busy(midnight + 599, midnight + 3600)).to_text()
    rows[expert_next_day] = Row(expert_next_day, CALENDAR, 1, {"appt_2": other})
    assert not claim.is_free(rows, NOON)
    assert claim.is_free(rows, NOON, own="appt_2")
