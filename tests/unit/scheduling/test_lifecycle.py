"""The state machine, all of it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.errors import Conflict
from consulta.scheduling.lifecycle import AFTER_START, TRANSITIONS, Event, following
from consulta.scheduling.records import BLOCKING, Status

START = datetime(2026, 11, 21, 10, tzinfo=UTC)
BEFORE, AFTER = START - timedelta(hours=1), START + timedelta(hours=1)
FINAL = {Status.COMPLETED, Status.NO_SHOW, Status.CANCELLED}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("event", Event)
def test_only_what_the_table_has_is_taken(status: Status, event: Event) -> None:
    at = AFTER if event in AFTER_START else BEFORE
    if (status, event) in TRANSITIONS:
        assert following(status, event, start=START, at=at) is TRANSITIONS[status, event]
    else:
        with pytest.raises(Conflict) as refused:
            following(status, event, start=START, at=at)
        assert refused.value.extra == {"appointment_status": status.value}


@pytest.mark.parametrize("event", sorted(AFTER_START))
def test_nothing_has_taken_place_before_it_began(event: Event) -> None:
    with pytest.raises(Conflict, match="not begun"):
        following(Status.CONFIRMED, event, start=START, at=BEFORE)
    assert following(Status.CONFIRMED, event, start=START, at=START) in FINAL


def test_a_time_that_has_passed_is_not_claimed_again() -> None:
    with pytest.raises(Conflict, match="passed"):
        following(Status.EXPIRED, Event.RECLAIM, start=START, at=START)


@given(st.lists(st.sampled_from(Event)))
def test_every_path_ends_and_time_is_taken_only_while_open(events: list[Event]) -> None:
    status = Status.HELD
    for event in events:
        try:
            status = following(status, event, start=START, at=AFTER)
        except Conflict:
            continue
        if status in FINAL:
            break
    if status in FINAL:
        assert status not in BLOCKING
        assert not [one for one, _ in TRANSITIONS if one is status]
