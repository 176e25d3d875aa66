"""Messages through the function: one thread for each two, and unread counts that lose nothing."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consulta.core import aws, table
from consulta.core import settings as core_settings
from consulta.core.identity import Membership, authorizer_context
from consulta.core.permissions import ALL_APPOINTMENTS, GRANTS, Role
from consulta.people import threads
from consulta.people.records import PATIENT
from consulta.people.thread_records import THREAD, Side, ThreadItem, threads_key
from tests.faults import Crash, Fault, Faults
from tests.unit.people.calling import MEMBER, Answer, call, signed_in
from tests.unit.scheduling.world import World

SECRET = "I have not slept since Tuesday"
WRITES = "TransactWriteItems"


@dataclass
class Office:
    """A practice with people who write each other."""

    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        self.expert, self.colleague = self.world.expert(), self.world.expert("Ana Reis")
        self.patient, self.other = self.world.patient(), self.world.patient("Rui Costa")

    def context(self, who: str, *more: str) -> dict[str, str]:
        """``who`` is an expert's or a patient's id, or a role."""
        role = {"exp": Role.EXPERT, "pat": Role.PATIENT}.get(who.partition("_")[0])
        subject = who if role else ""
        role = role or Role(who)
        if not more:
            return signed_in(role.value, self.world.practice, subject, person=f"person-{who}")
        granted = frozenset(more) | (GRANTS[role] if role is not Role.CUSTOM else frozenset())
        membership = Membership(self.world.practice, role, MEMBER, subject, granted)
        return authorizer_context(f"person-{who}", [membership], operator=False)

    def ask(self, who: str | dict[str, str], method: str, path: str, **request: Any) -> Answer:
        context = self.context(who) if isinstance(who, str) else who
        return call("threads", method, f"/v1/threads{path}", context=context, **request)

    def open(self, who: str | dict[str, str], *, key: str = "", **body: Any) -> Answer:
        headers = {"Idempotency-Key": key} if key else {}
        return self.ask(who, "POST", "", body={"text": SECRET} | body, headers=headers)

    def thread(self, expert: str | None = "", patient: str = "") -> str:
        """A thread that its patient has opened."""
        expert = self.expert if expert == "" else expert
        answer = self.open(patient or self.patient, expert_id=expert)
        assert answer.status == 201, answer.body
        return str(answer.body["id"])

    def send(self, who: str, thread: str, text: str = "Good morning", *, key: str = "") -> str:
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.ask(who, "POST", f"/{thread}/messages", body={"text": text}, headers=headers)
        assert answer.status == 201, answer.body
        return str(answer.body["id"])

    def read(self, who: str, thread: str, up_to: str) -> int:
        answer = self.ask(who, "POST", f"/{thread}/read", body={"up_to": up_to})
        assert answer.status == 200, answer.body
        return int(answer.body["unread"])

    def unread(self, thread: str) -> tuple[int, int]:
        """The patient's and the practice's, as stored."""
        item = self.item(thread)
        return item.unread(Side.PATIENT), item.unread(Side.PRACTICE)

    def item(self, thread: str) -> ThreadItem:
        item = table.get(ThreadItem, self.world.tenant.item(THREAD, thread))
        assert item
        return item

    def texts(self, who: str | dict[str, str], thread: str) -> list[str]:
        answer = self.ask(who, "GET", f"/{thread}/messages")
        assert answer.status == 200, answer.body
        return [message["text"] for message in answer.body["items"]]

    def listed(self, who: str | dict[str, str], query: str = "") -> list[str]:
        """All pages of a list."""
        found, cursor = [], None
        while True:
            asked = "&".join(part for part in (query, f"cursor={cursor}" if cursor else "") if part)
            answer = self.ask(who, "GET", "", query=asked)
            assert answer.status == 200, answer.body
            found += [item["id"] for item in answer.body["items"]]
            cursor = answer.body["next_cursor"]
            if cursor is None:
                return found

    def delete(self, patient: str) -> Answer:
        context = signed_in("owner", self.world.practice)
        return call("patients", "DELETE", f"/v1/patients/{patient}", context=context)


@pytest.fixture
def office(tables: Any) -> Office:
    return Office()


# ---------------------------------------------------------------- one thread for each two


def test_whoever_begins_it_is_one_thread(office: Office) -> None:
    opened = office.open(office.patient, expert_id=office.expert)
    assert opened.status == 201
    assert opened.headers["Location"] == f"/v1/threads/{opened.body['id']}"
    assert opened.body["message"]["text"] == SECRET
    assert opened.body["message"]["author"] is None
    again = office.open(office.expert, expert_id=office.expert, patient_id=office.patient)
    assert (again.status, again.body["id"]) == (201, opened.body["id"])
    assert again.body["messages"] == 2
    assert again.body["message"]["author"] == f"person-{office.expert}"
    assert office.unread(opened.body["id"]) == (1, 1)
    assert office.item(opened.body["id"]).version == 2


def test_the_practice_as_a_whole_is_another_thread(office: Office) -> None:
    theirs, whole = office.thread(), office.thread(None)
    assert theirs != whole
    answer = office.ask("owner", "GET", f"/{whole}")
    assert (answer.body["expert"], answer.body["patient"]["name"]) == (None, "Inês Carvalho")
    assert "expert_id" not in office.item(whole).serialize()
    assert office.item(whole).zone == "Europe/Lisbon"


@pytest.mark.parametrize("name", ["patient", "expert"])
def test_nobody_writes_to_who_is_not_there(office: Office, name: str) -> None:
    who = {"patient_id": office.patient, "expert_id": office.expert}
    nobody = {f"{name}_id": f"{name[:3]}_01JC0DEM00000000000000000A"}
    answer = office.open("owner", **who | nobody)
    assert (answer.status, answer.body["detail"]) == (404, f"There is no such {name}")


def test_patients_begin_with_published_experts_and_go_on_with_any(office: Office) -> None:
    hidden = office.world.expert("Vera Luz", published=False)
    assert office.open(office.patient, expert_id=hidden).status == 404
    assert office.open(hidden, expert_id=hidden, patient_id=office.patient).status == 201
    assert office.open(office.patient, expert_id=hidden).status == 201


def test_what_is_refused(office: Office) -> None:
    for body, path in (
        ({"text": ""}, "body.text"),
        ({"text": "x" * 4001}, "body.text"),
        ({"text": "x", "expert_id": "x"}, "body.expert_id"),
    ):
        answer = office.ask("owner", "POST", "", body={"patient_id": office.patient} | body)
        assert (answer.status, answer.body["errors"][0]["path"]) == (422, path)
        assert SECRET not in json.dumps(answer.body)
    answer = office.open("owner")
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "body.patient_id")
    assert office.ask("owner", "POST", "", body={"patient_id": office.patient}).status == 422


def test_the_longest_text_is_kept_as_it_is(office: Office) -> None:
    text = "ção\n" + "ú" * 3990
    answer = office.open(office.patient, text=text)
    assert answer.status == 201
    assert office.texts("owner", answer.body["id"]) == [text]


def test_a_patient_has_no_more_threads_than_can_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "MAX_THREADS", 2)
    office.thread()
    office.thread(None)
    assert office.open(office.patient, expert_id=office.colleague).status == 409
    # Those that there are go on.
    assert office.open(office.patient, expert_id=office.expert).status == 201


# ---------------------------------------------------------------- who


def test_who_reads_and_writes(office: Office) -> None:
    thread, whole = office.thread(), office.thread(None)
    all_seeing = office.context(office.colleague, ALL_APPOINTMENTS)
    expected: list[tuple[str | dict[str, str], int, int]] = [
        (office.patient, 200, 200),
        (office.other, 404, 404),
        (office.expert, 200, 404),
        (office.colleague, 404, 404),
        (all_seeing, 404, 200),
        ("owner", 200, 200),
        ("admin", 200, 200),
        ("billing", 403, 403),
        ("viewer", 403, 403),
        (office.context("custom", "messages:read"), 404, 404),
        (office.context("custom", "messages:read", ALL_APPOINTMENTS), 200, 200),
    ]
    up_to = office.item(thread).last_message_id
    for who, on_thread, on_whole in expected:
        for path in ("", "/messages"):
            assert office.ask(who, "GET", f"/{thread}{path}").status == on_thread, who
            assert office.ask(who, "GET", f"/{whole}{path}").status == on_whole, who
        wrote = office.ask(who, "POST", f"/{thread}/messages", body={"text": "?"}).status
        marked = office.ask(who, "POST", f"/{thread}/read", body={"up_to": up_to}).status
        if on_thread != 200:
            assert (wrote, marked) in {(on_thread, on_thread), (403, 403)}
        elif isinstance(who, dict):
            assert (wrote, marked) == (403, 403)
        else:
            assert (wrote, marked) == (201, 200)


def test_nobody_writes_in_anothers_name(office: Office) -> None:
    who = {"patient_id": office.patient}
    assert office.open(office.colleague, expert_id=office.expert, **who).status == 403
    assert office.open(office.colleague, **who).status == 403
    assert office.open(office.other, expert_id=office.expert, **who).status == 404
    assert office.open(signed_in("patient", office.world.practice)).status == 403


def test_lists_show_what_is_the_callers(office: Office) -> None:
    a, b = office.thread(), office.thread(office.colleague)
    c, d = office.thread(None), office.thread(office.expert, office.other)
    all_seeing = office.context(office.expert, ALL_APPOINTMENTS)
    assert office.listed("owner") == [d, c, b, a]
    assert office.listed(office.patient) == [c, b, a]
    assert office.listed(office.other) == [d]
    assert office.listed(office.expert) == [d, a]
    assert office.listed(all_seeing) == [d, c, a]
    assert office.listed("owner", f"expert_id={office.expert}") == [d, a]
    assert office.listed("owner", f"patient_id={office.patient}") == [c, b, a]
    both = f"patient_id={office.patient}&expert_id={office.expert}"
    assert office.listed("owner", both) == [a]
    assert office.listed(office.expert, f"patient_id={office.patient}") == [a]
    assert office.listed(all_seeing, f"patient_id={office.patient}") == [c, a]
    assert office.listed(all_seeing, f"expert_id={office.expert}") == [d, a]
    assert office.listed(office.patient, f"expert_id={office.colleague}") == [b]
    for who, query in (
        (office.expert, f"expert_id={office.colleague}"),
        (office.patient, f"patient_id={office.other}"),
    ):
        assert office.ask(who, "GET", "", query=query).status == 403
    assert office.ask("viewer", "GET", "").status == 403
    assert office.ask(office.context("custom", "messages:read"), "GET", "").status == 403


def test_names_are_told_to_who_may_see_them(office: Office) -> None:
    thread = office.thread()
    unnamed = office.context("custom", "messages:read", ALL_APPOINTMENTS)
    for who, name in (
        ("owner", "Inês Carvalho"),
        (office.patient, "Inês Carvalho"),
        (unnamed, None),
    ):
        found = office.ask(who, "GET", f"/{thread}").body
        assert found["patient"] == {"id": office.patient, "name": name}
        assert found["expert"] == {"id": office.expert, "name": "Helena Duarte"}
        assert office.ask(who, "GET", "").body["items"] == [found]


def test_reading_is_on_record_but_for_who_writes_in_it(
    office: Office, environment: pytest.MonkeyPatch
) -> None:
    sqs = aws.client("sqs")
    queue = sqs.create_queue(QueueName="audit")["QueueUrl"]
    thread = office.thread()
    environment.setenv("AUDIT_QUEUE_URL", queue)
    core_settings.reset()
    for who in (office.patient, office.expert, "admin"):
        assert office.texts(who, thread) == [SECRET]
    (message,) = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    told = json.loads(message["Body"])
    assert (told["event"], told["by"]) == ("messages_read", "person-admin")
    assert told["facts"] == {"thread": thread, "patients": office.patient}
    sqs.delete_queue(QueueUrl=queue)
    assert office.ask("admin", "GET", f"/{thread}/messages").status == 503
    assert office.texts(office.expert, thread) == [SECRET]


def test_texts_are_in_no_log(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    thread = office.thread()
    office.texts(office.expert, thread)
    office.send(office.patient, thread, SECRET)
    office.delete(office.patient)
    office.open(office.patient, expert_id=office.expert)
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err


# ---------------------------------------------------------------- lists and pages


def test_a_message_brings_its_thread_to_the_front(office: Office) -> None:
    a, b = office.thread(), office.thread(None)
    assert office.listed(office.patient) == [b, a]
    office.send(office.patient, a)
    assert office.listed(office.patient) == [a, b]
    assert office.listed("owner", "limit=1") == [a, b]
    office.send("owner", b)
    assert office.listed("owner") == [b, a]


def test_unread_threads_are_those_of_the_callers_side(office: Office) -> None:
    a, b = office.thread(), office.thread(None)
    assert office.listed("owner", "unread=true") == [b, a]
    assert office.listed(office.patient, "unread=true") == []
    office.read("owner", b, office.send("owner", b))
    assert office.listed("owner", "unread=true&limit=1") == [a]
    assert office.listed(office.patient, "unread=true") == [b]
    assert office.listed(office.patient, f"unread=true&expert_id={office.expert}") == []


def test_messages_come_by_pages_the_newest_first(office: Office) -> None:
    thread = office.thread()
    sent = [office.send(office.patient, thread, f"n{n}") for n in range(4)]
    first = office.ask("owner", "GET", f"/{thread}/messages", query="limit=3").body
    assert [item["text"] for item in first["items"]] == ["n3", "n2", "n1"]
    rest = f"limit=3&cursor={first['next_cursor']}"
    second = office.ask("owner", "GET", f"/{thread}/messages", query=rest).body
    assert [item["text"] for item in second["items"]] == ["n0", SECRET]
    assert second["next_cursor"] is None
    assert [item["id"] for item in reversed(first["items"])] == sent[1:]
    other = office.thread(None)
    assert office.ask("owner", "GET", f"/{other}/messages", query=rest).status == 400


def test_a_cursor_is_its_callers_and_its_filters(office: Office) -> None:
    office.thread()
    office.thread(None)
    cursor = office.ask("owner", "GET", "", query="limit=1").body["next_cursor"]
    for who, query in ((office.patient, ""), ("owner", "unread=true&")):
        asked = f"{query}limit=1&cursor={cursor}"
        assert office.ask(who, "GET", "", query=asked).status == 400


# ---------------------------------------------------------------- what is unread


def test_counts_rise_for_the_other_side_and_fall_by_reading(office: Office) -> None:
    thread = office.thread()
    second = office.send(office.patient, thread)
    office.send(office.patient, thread)
    assert office.unread(thread) == (0, 3)
    answer = office.send(office.expert, thread)
    assert office.unread(thread) == (1, 3)
    assert office.read(office.expert, thread, second) == 1
    assert office.read(office.expert, thread, second) == 1
    assert office.read(office.patient, thread, answer) == 0
    assert office.unread(thread) == (0, 1)
    # Looking is not reading; one member's reading is all members'.
    office.texts("owner", thread)
    assert office.ask("owner", "GET", f"/{thread}").body["unread"] == 1
    assert office.read("owner", thread, answer) == 0
    before = office.item(thread).version
    assert office.read(office.expert, thread, second) == 0
    assert office.item(thread).version == before


def test_only_the_threads_own_messages_are_read(office: Office) -> None:
    thread, other = office.thread(), office.thread(None)
    foreign = office.item(other).last_message_id
    answer = office.ask("owner", "POST", f"/{thread}/read", body={"up_to": foreign})
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "body.up_to")
    assert office.unread(thread) == (0, 1)


def test_the_same_request_sends_one_message(office: Office) -> None:
    opened = [office.open(office.patient, expert_id=office.expert, key="k1") for _ in range(2)]
    assert opened[0].body == opened[1].body
    thread = opened[0].body["id"]
    assert office.send(office.patient, thread, key="k2") == office.send(
        office.patient, thread, key="k2"
    )
    assert office.unread(thread) == (0, 2)
    headers = {"Idempotency-Key": "k2"}
    other = office.ask(
        office.patient, "POST", f"/{thread}/messages", body={"text": "Another"}, headers=headers
    )
    assert other.status == 422
    whole = office.thread(None)
    elsewhere = office.ask(
        office.patient,
        "POST",
        f"/{whole}/messages",
        body={"text": "Good morning"},
        headers=headers,
    )
    assert elsewhere.status == 422
    assert office.unread(thread) == (0, 2)


# ---------------------------------------------------------------- at the same moment


@pytest.mark.parametrize(
    "fault", [Faults.conflict, Faults.throttle, Faults.lost_call, Faults.lost_answer]
)
@pytest.mark.parametrize("what", ["open", "send", "read"])
def test_a_fault_neither_loses_nor_doubles_a_message(
    office: Office, tables: Any, fault: Fault, what: str
) -> None:
    thread = "" if what == "open" else office.thread(None)
    first = "" if what == "open" else office.item(thread).last_message_id
    with Faults(tables) as faults:
        faults.next(WRITES, fault, fault)
        if what == "open":
            thread = office.thread(None)
        elif what == "send":
            office.send(office.patient, thread)
        else:
            assert office.read("owner", thread, first) == 0
        assert faults.happened == 2
    expected = {"open": (0, 1), "send": (0, 2), "read": (0, 0)}[what]
    assert office.unread(thread) == expected
    assert len(office.texts("owner", thread)) == (2 if what == "send" else 1)


def test_both_open_it_at_the_same_moment(office: Office, tables: Any) -> None:
    who = {"expert_id": office.expert}
    with Faults(tables) as faults:
        faults.next(
            WRITES,
            Faults.meanwhile(lambda: office.open(office.expert, patient_id=office.patient, **who)),
        )
        answer = office.open(office.patient, **who)
    assert answer.status == 201, answer.body
    assert office.unread(answer.body["id"]) == (1, 1)
    assert office.listed("owner") == [answer.body["id"]]
    row = table.get_raw(threads_key(office.world.tenant, office.patient))
    assert row
    assert row["threads"] == {"N": "1"}


def test_two_send_at_the_same_moment(office: Office, tables: Any) -> None:
    thread = office.thread()
    with Faults(tables) as faults:
        faults.next(WRITES, Faults.meanwhile(lambda: office.send("admin", thread, "first")))
        office.send(office.patient, thread, "second")
    assert office.texts(office.patient, thread) == ["second", "first", SECRET]
    assert office.unread(thread) == (1, 2)


@pytest.mark.parametrize("reading_wins", [True, False])
def test_one_sends_while_the_other_reads(office: Office, tables: Any, reading_wins: bool) -> None:
    thread = office.thread()
    first = office.item(thread).last_message_id

    def read() -> None:
        office.read(office.expert, thread, first)

    def send() -> None:
        office.send(office.patient, thread)

    inner, outer = (read, send) if reading_wins else (send, read)
    with Faults(tables) as faults:
        faults.next(WRITES, Faults.meanwhile(inner))
        outer()
    assert office.unread(thread) == (0, 1)


def test_the_same_request_twice_at_the_same_moment(office: Office, tables: Any) -> None:
    thread, ids = office.thread(), []

    def send() -> None:
        ids.append(office.send(office.patient, thread, key="k1"))

    with Faults(tables) as faults:
        faults.next(WRITES, Faults.meanwhile(send))
        send()
    assert len(set(ids)) == 1
    assert office.unread(thread) == (0, 2)


def test_a_crash_leaves_all_or_nothing(office: Office, tables: Any) -> None:
    thread = office.thread()
    for fault, expected in ((Faults.crash_before, (0, 1)), (Faults.crash_after, (0, 2))):
        with Faults(tables) as faults:
            faults.next(WRITES, fault)
            with pytest.raises(Crash):
                office.send(office.patient, thread, key="k1")
        assert office.unread(thread) == expected
        assert len(office.texts("owner", thread)) == expected[1]
    office.send(office.patient, thread, key="k1")
    assert office.unread(thread) == (0, 2)


SIDES = st.sampled_from(list(Side))
STEP = st.tuples(
    st.sampled_from(["send", "send", "read"]), SIDES, st.integers(0, 30), st.booleans()
)
FAULTS = st.sampled_from(["none", "none", "conflict", "lost_answer", "lost_call", "meanwhile"])


@given(steps=st.lists(st.tuples(STEP, FAULTS, STEP), min_size=1, max_size=8))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_the_counts_are_those_of_a_plain_count(
    office: Office, tables: Any, steps: list[tuple[Any, str, Any]]
) -> None:
    """Sends, readings of anything, requests twice, all of them also in the middle of another."""
    patient = office.world.patient()
    thread = office.thread(office.expert, patient)
    who = {Side.PATIENT: patient, Side.PRACTICE: office.expert}
    place = [office.item(thread).last_message_id]
    senders = {place[0]: Side.PATIENT}
    read = dict.fromkeys(Side, "")
    number = 0

    def act(step: tuple[str, Side, int, bool]) -> None:
        nonlocal number
        name, side, n, twice = step
        if name == "read":
            up_to = sorted(senders)[n % len(senders)]
            for _ in range(1 + twice):
                office.read(who[side], thread, up_to)
            read[side] = max(read[side], up_to)
            return
        number += 1
        key = f"{patient}-{number}"
        ids = {office.send(who[side], thread, key=key) for _ in range(1 + twice)}
        assert len(ids) == 1
        senders.update(dict.fromkeys(ids, side))

    with Faults(tables) as faults:
        for step, fault, other in steps:
            planned: dict[str, Callable[[], Fault]] = {
                "conflict": lambda: Faults.conflict,
                "lost_answer": lambda: Faults.lost_answer,
                "lost_call": lambda: Faults.lost_call,
                "meanwhile": lambda other=other: Faults.meanwhile(lambda: act(other)),  # type: ignore[misc]
            }
            if fault in planned:
                faults.next(WRITES, planned[fault]())
            act(step)
            # A reading that changed nothing has written nothing: its fault is not for the next.
            faults.forget()
            expected = tuple(
                sum(sender is side.other and one > read[side] for one, sender in senders.items())
                for side in (Side.PATIENT, Side.PRACTICE)
            )
            assert office.unread(thread) == expected
    stored = list(table.Query(office.item(thread).pk, begins="MESSAGE#").all())
    assert [raw["message_id"]["S"] for raw in stored] == sorted(senders)


# ---------------------------------------------------------------- a patient who is deleted


def test_a_deleted_patients_threads_are_gone(office: Office) -> None:
    thread, whole = office.thread(), office.thread(None)
    kept = office.thread(office.expert, office.other)
    office.send("owner", thread)
    message = office.item(thread).last_message_id
    assert office.delete(office.patient).status == 204
    for who in ("owner", office.expert, office.patient):
        for path in (f"/{thread}", f"/{thread}/messages"):
            assert office.ask(who, "GET", path).status == 404
        assert office.ask(who, "POST", f"/{thread}/messages", body={"text": "?"}).status == 404
        assert office.ask(who, "POST", f"/{thread}/read", body={"up_to": message}).status == 404
        assert whole not in office.listed(who)
    assert office.listed("owner") == [kept]
    assert office.listed("owner", f"patient_id={office.patient}") == []
    assert office.open(office.patient, expert_id=office.expert).status == 404
    assert office.open("owner", patient_id=office.patient).status == 404
    for ended in (thread, whole):
        item = office.item(ended)
        assert (item.unread_patient, item.unread_practice) == (0, 0)
    assert office.item(thread).version == 3
    assert office.item(thread).updated_by == "person-1"


def test_a_message_at_the_same_moment_does_not_keep_a_patient(office: Office, tables: Any) -> None:
    thread = office.thread()
    with Faults(tables) as faults:
        faults.next(WRITES, Faults.meanwhile(lambda: office.send(office.patient, thread)))
        assert office.delete(office.patient).status == 204
    assert office.unread(thread) == (0, 0)
    assert office.listed("owner") == []


def test_who_is_deleted_while_they_write_has_not_written(office: Office, tables: Any) -> None:
    thread = office.thread()
    with Faults(tables) as faults:
        faults.next(WRITES, Faults.meanwhile(lambda: office.delete(office.patient)))
        answer = office.ask(office.expert, "POST", f"/{thread}/messages", body={"text": "?"})
    assert answer.status == 404
    with Faults(tables) as faults:
        faults.next(WRITES, Faults.meanwhile(lambda: office.delete(office.other)))
        assert office.open(office.other).status == 404
    assert office.listed("owner") == []


@pytest.mark.parametrize("there_was_one", [True, False])
def test_a_thread_that_is_opened_at_the_same_moment_is_not_left_behind(
    office: Office, tables: Any, there_was_one: bool
) -> None:
    if there_was_one:
        office.thread()
    with Faults(tables) as faults:
        faults.next(WRITES, Faults.meanwhile(lambda: office.thread(None)))
        assert office.delete(office.patient).status == 409
    assert office.delete(office.patient).status == 204
    assert office.listed("owner") == []


def test_a_list_that_is_behind_shows_no_deleted_patient(office: Office) -> None:
    thread = office.thread()
    key = office.world.tenant.item(PATIENT, office.patient)
    # As the index still has it, a moment after.
    table.transact([table.update(key, set_={"deleted_at": "2026-11-21T10:00:00.000Z"})])
    assert office.item(thread).ended_at is None
    assert office.listed("owner") == []
