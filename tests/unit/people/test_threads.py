"""Messages' rules without a table: one thread for each two, ids in order, counts by subtraction."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.identity import Principal
from consulta.core.ids import is_id
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import ALL_APPOINTMENTS, GRANTS, Role
from consulta.notifications import rules
from consulta.notifications.records import Kind
from consulta.notifications.rules import Due
from consulta.people import threads
from consulta.people.thread_records import (
    MESSAGE,
    THREAD,
    MessageItem,
    Side,
    ThreadItem,
    after_message,
    after_reading,
    id_of,
    message_key,
    next_message_id,
)

TENANT, BY = Tenant("prac_1"), Actor("person-1", "request-1")
NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
PATIENT, EXPERT, OTHER = "pat_1", "exp_1", "exp_2"


def thread(expert: str | None = EXPERT) -> ThreadItem:
    thread_id = id_of(PATIENT, expert)
    return ThreadItem.create(
        TENANT.item(THREAD, thread_id),
        THREAD,
        BY,
        patient_id=PATIENT,
        expert_id=expert,
        zone="UTC",
        last_from="patient",
        last_at=NOW,
    )


def take(item: ThreadItem, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(item, name, value)


def send(item: ThreadItem, side: Side, at: datetime = NOW) -> MessageItem:
    message_id = next_message_id(item.last_message_id)
    take(item, after_message(item, side, message_id, at))
    return MessageItem.create(
        message_key(TENANT, item.item_id, message_id),
        MESSAGE,
        BY,
        message_id=message_id,
        sent_patient=item.sent_patient,
        sent_practice=item.sent_practice,
    )


def test_there_is_one_thread_for_each_two() -> None:
    ids = {id_of(p, e) for p in ("pat_1", "pat_2") for e in ("exp_1", "exp_2", None)}
    assert len(ids) == 6
    assert all(is_id(one, "thr") for one in ids)
    assert id_of("pat_1", "exp_1") == id_of("pat_1", "exp_1")
    # Where one part ends and the other begins is a part of it.
    assert id_of("pat_1", "2") != id_of("pat_12", "")


def test_ids_rise_whatever_the_clock_says() -> None:
    ahead = "msg_7ZZZZZZZZZ0000000000000000"
    found = [ahead]
    for _ in range(5):
        found.append(next_message_id(found[-1]))
    assert found == sorted(set(found))
    assert all(is_id(one, "msg") for one in found)
    assert next_message_id("") < ahead


def test_an_older_clock_does_not_take_a_thread_back_in_its_lists() -> None:
    item = thread()
    send(item, Side.PATIENT, NOW)
    place = item.l1sk
    send(item, Side.PRACTICE, NOW - timedelta(hours=1))
    assert (item.last_at, item.l1sk) == (NOW, place)
    send(item, Side.PRACTICE, NOW + timedelta(hours=1))
    assert item.l1sk == item.l2sk == item.l3sk > place


def test_the_practices_own_thread_is_on_no_experts_list() -> None:
    item = thread(None)
    send(item, Side.PATIENT)
    assert (item.l2pk, item.l2sk) == (None, None)


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["send", "read"]), st.sampled_from(list(Side)), st.integers(0, 50)),
    max_size=40,
)


@given(OPERATIONS)
def test_what_is_unread_is_what_a_plain_count_finds(
    operations: list[tuple[str, Side, int]],
) -> None:
    item, sent, read = thread(), list[tuple[Side, MessageItem]](), dict.fromkeys(Side, -1)
    for name, side, n in operations:
        if name == "send":
            sent.append((side, send(item, side)))
        elif sent:
            place = n % len(sent)
            take(item, after_reading(item, side, sent[place][1]))
            read[side] = max(read[side], place)
        for one in Side:
            later = [who for who, _ in sent[read[one] + 1 :] if who is one.other]
            assert item.unread(one) == len(later)


def test_reading_less_than_before_changes_nothing() -> None:
    item = thread()
    first, second = send(item, Side.PATIENT), send(item, Side.PATIENT)
    assert after_reading(item, Side.PRACTICE, first) == {"unread_practice": 1, "seen_practice": 2}
    take(item, after_reading(item, Side.PRACTICE, second))
    assert item.unread_practice == 0
    assert after_reading(item, Side.PRACTICE, first) == {}
    assert after_reading(item, Side.PRACTICE, second) == {}
    # One's own are nothing to be read.
    assert after_reading(item, Side.PATIENT, second) == {}


# ---------------------------------------------------------------- who


def caller(role: Role, subject: str = "", *more: str) -> Principal:
    granted = GRANTS[role] | set(more) if more else None
    return Principal("person-1", role, "request-1", "prac_1", "mem_1", subject, granted)


@pytest.mark.parametrize(
    ("by", "theirs", "others", "practices"),
    [
        (caller(Role.PATIENT, PATIENT), True, True, True),
        (caller(Role.PATIENT, "pat_2"), False, False, False),
        (caller(Role.PATIENT), False, False, False),
        (caller(Role.EXPERT, EXPERT), True, False, False),
        (caller(Role.EXPERT, EXPERT, ALL_APPOINTMENTS), True, False, True),
        (caller(Role.EXPERT), False, False, False),
        (caller(Role.OWNER), True, True, True),
        (caller(Role.ADMIN, EXPERT), True, True, True),
        (caller(Role.CUSTOM, "", "messages:read"), False, False, False),
        (caller(Role.CUSTOM, EXPERT, "messages:read"), True, False, False),
        (caller(Role.CUSTOM, "", "messages:read", ALL_APPOINTMENTS), True, True, True),
    ],
)
def test_whose_threads_are_seen(by: Principal, theirs: bool, others: bool, practices: bool) -> None:
    found = [threads.may_see(by, PATIENT, expert) for expert in (EXPERT, OTHER, None)]
    assert found == [theirs, others, practices]


def test_who_has_the_permissions() -> None:
    for permission in ("messages:read", "messages:write"):
        having = {role for role, granted in GRANTS.items() if permission in granted}
        assert having == {Role.OWNER, Role.ADMIN, Role.EXPERT, Role.PATIENT}


# ---------------------------------------------------------------- who is told


def test_a_side_is_told_once_until_it_was_there_again() -> None:
    item = thread()
    assert rules.of_thread(item) == []
    first = send(item, Side.PATIENT)
    assert rules.of_thread(item) == [Due(Kind.EXPERT_MESSAGE, "0")]
    second = send(item, Side.PATIENT)
    assert rules.of_thread(item) == [Due(Kind.EXPERT_MESSAGE, "0")]
    # They were there: of what they left unread they know.
    take(item, after_reading(item, Side.PRACTICE, first))
    assert (item.unread_practice, rules.of_thread(item)) == (1, [])
    send(item, Side.PATIENT)
    assert rules.of_thread(item) == [Due(Kind.EXPERT_MESSAGE, "2")]
    take(item, after_reading(item, Side.PRACTICE, second))
    assert rules.of_thread(item) == []


def test_who_answers_was_there() -> None:
    item = thread()
    send(item, Side.PATIENT)
    send(item, Side.PRACTICE)
    assert rules.of_thread(item) == [Due(Kind.MESSAGE, "0")]
    assert item.unread_practice == 1
    send(item, Side.PATIENT)
    assert rules.of_thread(item) == [Due(Kind.EXPERT_MESSAGE, "1")]


def test_an_ended_thread_tells_nobody_and_the_practices_own_its_staff() -> None:
    item = thread(None)
    send(item, Side.PATIENT)
    assert rules.of_thread(item) == [Due(Kind.PRACTICE_MESSAGE, "0")]
    item.ended_at = NOW
    assert rules.of_thread(item) == []
