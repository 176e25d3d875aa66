"""Tickets, connections, and who is told that a dashboard changed; the gateway by script."""

import itertools
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError

from consulta.aggregates import figures, stream
from consulta.aggregates.stream import process
from consulta.core import aws, keys, table
from consulta.core.identity import Membership, authorizer_context
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import Role
from consulta.people import memberships, session_rows
from consulta.people.records import EXPERT, PATIENT, PRACTICE, ROLE
from consulta.realtime import connections, posting, telling
from consulta.realtime.connections import Connection
from consulta.scheduling.records import APPOINTMENT
from consulta.scheduling.review_records import REVIEW
from tests.conftest import CONNECTIONS
from tests.faults import Faults
from tests.unit.aggregates.images import PRACTICE_ID, TENANT, image, record
from tests.unit.people.calling import Answer, call, handler

ENDPOINT = "https://gateway.example/live"
OTHER = Tenant("prac_01JC0000000000000000000001")
TOTAL = (PRACTICE, PRACTICE_ID, "TOTAL")
# Behind botocore's own retries.
GATEWAY = "before-send.apigatewaymanagementapi"


class Empty:
    """The body of every answer."""

    def stream(self) -> Iterator[bytes]:
        yield b""


class Gateway:
    """The WebSocket API behind botocore's own client: what it was asked, and what it answers.

    ``takes`` is how many seconds each post takes, of which ``at`` says how many there were.
    """

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.closed: list[str] = []
        self.answers: dict[str, int] = {}
        self.asked: list[str] = []
        self.takes: dict[str, float] = {}
        self.at = 0.0
        posting.gateway().meta.events.register(GATEWAY, self._answer)

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        assert request.url.startswith(f"{ENDPOINT}/@connections/")
        connection_id = unquote(request.url.rpartition("/")[2])
        self.asked.append(connection_id)
        self.at += self.takes.get(connection_id, 0)
        status = self.answers.get(connection_id, 200)
        if status == 200 and request.method == "POST":
            self.posts.append((connection_id, json.loads(request.body)))
        elif status == 200:
            self.closed.append(connection_id)
        codes = {410: "GoneException", 429: "LimitExceededException"}
        headers = {} if status == 200 else {"x-amzn-errortype": codes[status]}
        return AWSResponse(request.url, status, headers, Empty())

    @property
    def told(self) -> list[str]:
        """Who has got a message, in order."""
        return sorted(connection_id for connection_id, _ in self.posts)


class Stage:
    """A practice whose people open dashboards."""

    def __init__(self, client: Any, queue: str) -> None:
        self.client, self.queue = client, queue
        self.gateway = Gateway()
        self._numbers = itertools.count(1)

    def joined(
        self, role: str, subject: str = "", tenant: Tenant = TENANT, granted: str | None = None
    ) -> dict[str, str]:
        """Somebody with a session and a membership; gives what the authorizer says of them."""
        number = next(self._numbers)
        person, session = f"person-{number}", f"session-{number}"
        may = None if granted is None else frozenset(granted.split())
        member = Membership(tenant.practice, Role(role), f"mem_{number}", subject, may)
        role_id = None if may is None else f"role_{number}"
        table.transact([memberships.put(person, member, role_id)])
        if may is not None:
            made = {"entity": ROLE, "permissions": sorted(may)}
            table.transact([table.put_values(tenant.item(ROLE, str(role_id)), made)])
        session_rows.open_row(person, session, "", "token", mfa=False, origin="192.0.2.1|test")
        return authorizer_context(person, [member], operator=False, session=session)

    def ticket(self, context: dict[str, str]) -> str:
        answer = self.asked(context)
        assert answer.status == 201, answer.body
        assert answer.body["url"] == "wss://gateway.example/live"
        return str(answer.body["ticket"])

    def asked(self, context: dict[str, str]) -> Answer:
        return call("realtime_tickets", "POST", "/v1/realtime/tickets", context=context)

    def event(self, kind: str, connection_id: str, ticket: str | None = None) -> int:
        """An event of the WebSocket API; gives the status of the answer."""
        event: dict[str, Any] = {
            "requestContext": {"eventType": kind, "connectionId": connection_id}
        }
        if ticket is not None:
            event["queryStringParameters"] = {"ticket": ticket}
        return int(handler("realtime_connection")(event, CONTEXT)["statusCode"])

    def connected(self, role: str, subject: str = "", tenant: Tenant = TENANT) -> str:
        """The id of somebody's new connection."""
        ticket = self.ticket(self.joined(role, subject, tenant))
        connection_id = f"conn{next(self._numbers)}="
        assert self.event("CONNECT", connection_id, ticket) == 200
        return connection_id

    def open(self, tenant: Tenant = TENANT) -> list[str]:
        """The connections that there are."""
        return sorted(one.id for one in connections.of_practice(tenant))

    def rows(self) -> set[str]:
        """The hash keys of all rows of connections and tickets."""
        items = self.client.scan(TableName=CONNECTIONS)["Items"]
        return {item["pk"]["S"] for item in items}

    def change(self, key: Key, **values: int) -> None:
        table.transact([table.update(key, set_=values, table=CONNECTIONS)])

    def settle(self, connection_id: str) -> None:
        """As if it had been opened long ago."""
        self.change(self.row(connection_id).key, since=1)

    def row(self, connection_id: str) -> Connection:
        [found] = [one for one in connections.of_practice(TENANT) if one.id == connection_id]
        return found

    def messages(self) -> list[dict[str, Any]]:
        """What the stream's reader put into the queue, as Lambda gets it."""
        sqs = aws.client("sqs")
        answer = sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10)
        found = answer.get("Messages", [])
        for message in found:
            sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return [{"messageId": m["MessageId"], "body": m["Body"]} for m in found]

    def deliver(self, *records: dict[str, Any]) -> list[str]:
        """Run the function; gives the messages that come again."""
        answer = handler("realtime")({"Records": records}, CONTEXT)
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


CONTEXT = SimpleNamespace(aws_request_id="aws-1", function_name="test")


def message(tenant: Tenant = TENANT, at: int = 1, **changed: list[str]) -> dict[str, Any]:
    """One of the queue's, about these entities of these subjects."""
    body = {
        "practice": tenant.practice,
        "at": f"2026-11-21T10:30:0{at}.000Z",
        "changed": {
            entity: [*who, f"PRACTICE#{tenant.practice}"] for entity, who in changed.items()
        },
    }
    return {"messageId": f"message-{at}", "body": json.dumps(body)}


@pytest.fixture
def stage(tables: Any, environment: pytest.MonkeyPatch) -> Stage:
    sqs = aws.client("sqs")
    queue = str(sqs.create_queue(QueueName="realtime")["QueueUrl"])
    environment.setenv("REALTIME_QUEUE_URL", queue)
    environment.setenv("REPAIR_QUEUE_URL", str(sqs.create_queue(QueueName="repair")["QueueUrl"]))
    environment.setenv("REALTIME_ENDPOINT", ENDPOINT)
    return Stage(tables, queue)


@pytest.fixture
def faults(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    monkeypatch.setattr(table.time, "sleep", lambda _: None)
    with Faults(stage.client) as faults:
        yield faults


@pytest.fixture
def asked(stage: Stage) -> Iterator[Faults]:
    """What the stream's reader asks of the connections."""
    client = aws.client("dynamodb", connections.TIMEOUT_S, connections.RETRIES)
    with Faults(client) as faults:
        yield faults


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is counted of dashboards that nobody was told of."""
    found: list[float] = []

    def count(name: str, value: float = 1) -> None:
        if name == "DashboardsUntold":
            found.append(value)

    for module in (connections, posting, stream):
        monkeypatch.setattr(module, "count", count)
    return found


def appointment(number: int, **changes: Any) -> table.Raw:
    return image(APPOINTMENT, f"appt_{number}", **changes)


def changed(*items: table.Raw) -> list[dict[str, Any]]:
    """Stream records of new items."""
    return [record(number, item) for number, item in enumerate(items)]


def total() -> figures.Figures:
    return figures.read(TENANT, [TOTAL], consistent=True)[TOTAL]


# ------------------------------------------------------------------------------------ connecting


def test_a_ticket_opens_one_connection(stage: Stage) -> None:
    ticket = stage.ticket(stage.joined("owner"))
    assert ticket not in str(stage.rows())
    assert stage.event("CONNECT", "one=", ticket) == 200
    assert stage.event("CONNECT", "two=", ticket) == 403
    assert stage.open() == ["one="]
    assert not any(pk.startswith("TICKET#") for pk in stage.rows())


def test_of_two_with_one_ticket_at_once_one_is_let_in(stage: Stage, faults: Faults) -> None:
    ticket = stage.ticket(stage.joined("owner"))
    faster = Faults.meanwhile(lambda: stage.event("CONNECT", "faster=", ticket))
    faults.next("TransactWriteItems", faster)
    assert stage.event("CONNECT", "slower=", ticket) == 403
    assert stage.open() == ["faster="]


def test_a_ticket_whose_minute_is_over_opens_nothing(stage: Stage) -> None:
    ticket = stage.ticket(stage.joined("owner"))
    [row] = [pk for pk in stage.rows() if pk.startswith("TICKET#")]
    stage.change(Key(row), expires_at=1)
    assert stage.event("CONNECT", "one=", ticket) == 403
    assert stage.open() == []


@pytest.mark.parametrize("ticket", [None, "", "short", "A" * 43, "A" * 44, "#" * 43])
def test_what_is_no_ticket_opens_nothing(stage: Stage, ticket: str | None) -> None:
    assert stage.event("CONNECT", "one=", ticket) == 403
    assert stage.rows() == set()


def test_a_connection_is_of_its_tickets_practice_alone(stage: Stage) -> None:
    """A ticket names practice, person and subject; whoever connects with it adds nothing."""
    ours, theirs = stage.connected("owner"), stage.connected("owner", tenant=OTHER)
    assert (stage.open(TENANT), stage.open(OTHER)) == ([ours], [theirs])
    stage.deliver(message(TENANT, APPOINTMENT=[]))
    assert stage.gateway.told == [ours]
    # Not by naming another practice's expert either.
    lures = stage.connected("expert", "exp_1", OTHER)
    stage.deliver(message(TENANT, APPOINTMENT=["EXPERT#exp_1"]))
    assert lures not in stage.gateway.told


def test_who_has_no_session_or_no_dashboard_gets_no_ticket(stage: Stage) -> None:
    member = Membership(PRACTICE_ID, Role.OWNER, "mem_1")
    by_key = authorizer_context("person-1", [member], operator=False, key="key_1")
    assert stage.asked(by_key).status == 403
    assert stage.asked(stage.joined("expert")).status == 403
    assert stage.asked(stage.joined("patient")).status == 403
    sees_nobodys = stage.joined("custom", granted="dashboard:read appointments:read")
    assert stage.asked(sees_nobodys).status == 403
    assert stage.asked(stage.joined("custom", granted="members:read")).status == 403
    assert stage.asked({"problem": "missing"}).status == 401
    assert stage.rows() == set()


def test_a_connection_that_ends_leaves_nothing(stage: Stage) -> None:
    one, two = stage.connected("owner"), stage.connected("patient", "pat_1")
    assert stage.event("MESSAGE", one) == 200
    assert stage.event("DISCONNECT", one) == 200
    assert stage.event("DISCONNECT", one) == 200
    assert stage.open() == [two]
    assert stage.event("DISCONNECT", two) == 200
    assert stage.rows() == {TENANT.listening().pk}


def test_nobody_has_more_connections_than_anybody_may(stage: Stage) -> None:
    me = stage.joined("owner")
    for number in range(connections.MAX_OF_ONE):
        assert stage.event("CONNECT", f"c{number}", stage.ticket(me)) == 200
    assert stage.event("CONNECT", "more", stage.ticket(me)) == 403
    assert stage.open() == sorted(f"c{number}" for number in range(connections.MAX_OF_ONE))
    # The dashboard is others', too, and what has ended makes room.
    stage.connected("owner")
    stage.event("DISCONNECT", "c0")
    assert stage.event("CONNECT", "more", stage.ticket(me)) == 200
    stage.change(stage.row("c1").key, expires_at=1)
    assert stage.event("CONNECT", "another", stage.ticket(me)) == 200
    assert stage.event("CONNECT", "and another", stage.ticket(me)) == 403


def test_the_mark_that_somebody_listens_is_not_written_by_every_connection(
    stage: Stage, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = table.transact
    monkeypatch.setattr(table, "transact", lambda a, **o: (sizes.append(len(a)), real(a, **o)))
    tickets = [stage.ticket(stage.joined("owner")) for _ in range(3)]
    sizes.clear()
    for number, ticket in enumerate(tickets[:2]):
        stage.event("CONNECT", f"conn{number}=", ticket)
    # A connection is a row, its id's row and the ticket's end.
    assert sizes == [4, 3]
    until = connections.of_practice(TENANT)
    stage.change(TENANT.listening(), expires_at=max(one.expires_at for one in until) - 1)
    stage.event("CONNECT", "conn2=", tickets[2])
    assert sizes == [4, 3, 1, 4]


# ------------------------------------------------------------------------- from stream to queue


def test_the_queue_hears_of_what_was_applied_and_whose_it_is(stage: Stage) -> None:
    stage.connected("owner")
    seen: list[int] = []
    sqs = aws.client("sqs", connections.TIMEOUT_S, connections.RETRIES)
    sqs.meta.events.register(
        "before-call.sqs.SendMessageBatch", lambda **_: seen.append(total()["open"])
    )
    items = [appointment(1), appointment(2, expert_id="exp_2", patient_id="pat_2")]
    assert process(changed(*items)) == []
    [told] = stage.messages()
    assert json.loads(told["body"])["changed"] == {
        "APPOINTMENT": [
            *("EXPERT#exp_1", "EXPERT#exp_2", "PATIENT#pat_1", "PATIENT#pat_2"),
            f"PRACTICE#{PRACTICE_ID}",
        ]
    }
    # Told when whoever reads again finds the new figures.
    assert seen == [2]


def test_of_a_practice_without_connections_nothing_is_told(
    stage: Stage, faults: Faults, asked: Faults
) -> None:
    stage.connected("owner", tenant=OTHER)
    faults.calls.clear()
    assert process(changed(appointment(1))) == []
    assert stage.messages() == []
    # Whether anybody listens: that is all that it costs.
    assert dict(asked.calls) == {"BatchGetItem": 1}
    assert faults.calls["Query"] == 0
    # Nor once the last connection must be over.
    stage.change(OTHER.listening(), expires_at=1)
    assert process(changed(appointment(2, tenant=OTHER))) == []
    assert stage.messages() == []


def test_one_batch_of_several_practices_asks_once(stage: Stage, asked: Faults) -> None:
    stage.connected("owner")
    stage.connected("owner", tenant=OTHER)
    assert process(changed(appointment(1), appointment(2, tenant=OTHER))) == []
    assert dict(asked.calls) == {"BatchGetItem": 1}
    practices = {json.loads(one["body"])["practice"] for one in stage.messages()}
    assert practices == {PRACTICE_ID, OTHER.practice}


def test_more_practices_than_one_read_takes(stage: Stage, asked: Faults) -> None:
    stage.connected("owner")
    many = [Tenant(f"prac_{number}") for number in range(table.BATCH_GET_MAX)]
    assert telling.listening([*many, TENANT]) == [TENANT]
    assert dict(asked.calls) == {"BatchGetItem": 2}


def test_the_stream_does_not_ask_twice_of_a_table_that_is_busy(
    stage: Stage, asked: Faults, untold: list[float]
) -> None:
    stage.connected("owner")
    stage.connected("owner", tenant=OTHER)
    asked.next("BatchGetItem", Faults.unprocessed)
    assert process(changed(appointment(1), appointment(2, tenant=OTHER))) == []
    assert dict(asked.calls) == {"BatchGetItem": 1}
    assert (len(stage.messages()), untold) == (1, [1])
    assert connections.TIMEOUT_S * (1 + connections.RETRIES) <= 2


def test_an_item_that_moved_is_told_to_both(stage: Stage) -> None:
    stage.connected("owner")
    before, after = appointment(1), appointment(1, version=2, expert_id="exp_2")
    assert process([record(1, after, before)]) == []
    [told] = stage.messages()
    assert {"EXPERT#exp_1", "EXPERT#exp_2"} <= set(json.loads(told["body"])["changed"][APPOINTMENT])
    # Of a removed one, whose it was.
    assert process([record(2, None, after)]) == []
    [told] = stage.messages()
    assert "EXPERT#exp_2" in json.loads(told["body"])["changed"][APPOINTMENT]


def test_what_no_figure_counts_is_told_where_it_is_shown(stage: Stage) -> None:
    stage.connected("owner")
    hidden = {"status": "hidden", "local_date": "2026-11-21"}
    before, after = (
        image(REVIEW, "rev_1", version=version, rating=version, **hidden) for version in (1, 2)
    )
    assert process([record(1, after, before)]) == []
    [told] = stage.messages()
    assert json.loads(told["body"])["changed"] == {
        REVIEW: ["EXPERT#exp_1", f"PRACTICE#{PRACTICE_ID}"]
    }


def test_an_earlier_image_that_cannot_be_read_does_not_matter(stage: Stage) -> None:
    stage.connected("owner")
    broken = appointment(1) | {"status": {"S": "never heard of"}}
    assert process([record(1, appointment(1, version=2), broken)]) == []
    [told] = stage.messages()
    assert "EXPERT#exp_1" in json.loads(told["body"])["changed"][APPOINTMENT]


def test_what_a_payee_is_paid_is_in_their_dashboard(stage: Stage) -> None:
    stage.connected("owner")
    entries = [
        {"book": "PAYEE:exp_7", "account": "bank", "debit": 100, "credit": 0},
        {"book": "PAYEE:exp_7", "account": "transit", "debit": 0, "credit": 100},
    ]
    paid_out = image("POSTING", "po_1", entries=entries, expert_id=None, local_date=None)
    assert process(changed(paid_out)) == []
    [told] = stage.messages()
    assert json.loads(told["body"])["changed"]["POSTING"] == [
        "EXPERT#exp_7",
        f"PRACTICE#{PRACTICE_ID}",
    ]


def test_what_was_not_applied_is_not_told(stage: Stage, faults: Faults) -> None:
    stage.connected("owner")
    faults.next("TransactWriteItems", Faults.refused)
    assert process(changed(appointment(1))) == []
    assert (total()["open"], stage.messages()) == (0, [])
    # Another practice of the same batch is told all the same.
    stage.connected("owner", tenant=OTHER)
    faults.next("TransactWriteItems", Faults.refused)
    assert process(changed(appointment(2), appointment(3, tenant=OTHER))) == []
    assert [json.loads(m["body"])["practice"] for m in stage.messages()] == [OTHER.practice]


def refuse(**_: Any) -> None:
    raise EndpointConnectionError(endpoint_url="https://sqs.us-east-1.amazonaws.com/")


def test_a_queue_that_is_away_fails_no_batch(stage: Stage) -> None:
    stage.connected("owner")
    sqs = aws.client("sqs", connections.TIMEOUT_S, connections.RETRIES)
    sqs.meta.events.register("before-call.sqs.SendMessageBatch", refuse)
    assert process(changed(appointment(1), appointment(2))) == []
    assert total()["open"] == 2
    sqs.meta.events.unregister("before-call.sqs.SendMessageBatch", refuse)
    assert stage.messages() == []


def test_connections_that_cannot_be_read_fail_no_batch(stage: Stage) -> None:
    stage.connected("owner")
    stage.client.delete_table(TableName=CONNECTIONS)
    assert process(changed(appointment(1))) == []
    assert total()["open"] == 1


def test_a_batch_that_used_up_its_time_tells_nobody(
    stage: Stage, untold: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.connected("owner")
    clock, apply = SimpleNamespace(at=0.0), stream.engine.apply

    def slowly(*of: Any, **how: Any) -> None:
        apply(*of, **how)
        clock.at += stream.BUDGET_S

    monkeypatch.setattr(stream.engine, "apply", slowly)
    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: clock.at))
    assert process(changed(appointment(1))) == []
    assert (total()["open"], stage.messages()) == (1, [])
    # Nobody hears of it later: it does not come again.
    assert untold == [1]


# -------------------------------------------------------------------- from queue to connections


def test_each_hears_of_their_own_dashboard(stage: Stage) -> None:
    owner, viewer = stage.connected("owner"), stage.connected("viewer")
    expert, patient = stage.connected("expert", "exp_1"), stage.connected("patient", "pat_1")
    stage.connected("expert", "exp_2")
    stage.connected("patient", "pat_2")
    assert stage.deliver(message(APPOINTMENT=["EXPERT#exp_1", "PATIENT#pat_1"])) == []
    assert stage.gateway.told == sorted([owner, viewer, expert, patient])
    assert dict(stage.gateway.posts)[patient] == {
        "type": "dashboard.changed",
        "practice": PRACTICE_ID,
        "sections": ["recent", "stats", "upcoming"],
        "at": "2026-11-21T10:30:01.000Z",
    }
    assert "schedule" in dict(stage.gateway.posts)[expert]["sections"]


def test_whoever_sees_only_what_is_their_own_hears_only_of_that(stage: Stage) -> None:
    own = "dashboard:read appointments:read"
    for granted in (own, f"{own} appointments:all"):
        ticket = stage.ticket(stage.joined("custom", "exp_1", granted=granted))
        assert stage.event("CONNECT", f"{len(granted)}", ticket) == 200
    stage.deliver(message(APPOINTMENT=["EXPERT#exp_2"]))
    assert stage.gateway.told == [f"{len(own) + len(' appointments:all')}"]


def test_nobody_is_told_of_sections_that_they_do_not_have(stage: Stage) -> None:
    owner = stage.connected("owner")
    stage.connected("patient", "pat_1")
    stage.deliver(message(POSTING=["PATIENT#pat_1"]))
    assert stage.gateway.told == [owner]


def test_what_comes_together_is_told_once(stage: Stage, faults: Faults) -> None:
    owner, patient = stage.connected("owner"), stage.connected("patient", "pat_1")
    faults.calls.clear()
    assert (
        stage.deliver(
            message(at=2, APPOINTMENT=["PATIENT#pat_1"]),
            message(at=3, PAYMENT=["PATIENT#pat_1"]),
            message(at=1, APPOINTMENT=[]),
        )
        == []
    )
    assert stage.gateway.told == sorted([owner, patient])
    told = dict(stage.gateway.posts)[patient]
    assert told["sections"] == ["recent", "spending", "stats", "upcoming"]
    assert told["at"] == "2026-11-21T10:30:03.000Z"
    # The practice's connections, and who of them may still hear it.
    assert dict(faults.calls) == {"Query": 1, "BatchGetItem": 1}


def test_a_connection_that_is_gone_is_forgotten(stage: Stage) -> None:
    gone, there = stage.connected("owner"), stage.connected("owner")
    stage.settle(gone)
    stage.gateway.answers[gone] = 410
    assert stage.deliver(message(APPOINTMENT=[])) == []
    assert stage.gateway.told == [there]
    assert stage.open() == [there]
    assert keys.connection(gone).pk not in stage.rows()


def test_one_that_is_only_just_opening_is_not_taken_for_gone(stage: Stage) -> None:
    opening = stage.connected("owner")
    stage.gateway.answers[opening] = 410
    assert stage.deliver(message(APPOINTMENT=[])) == []
    assert stage.open() == [opening]
    stage.gateway.answers.clear()
    stage.deliver(message(APPOINTMENT=[]))
    assert stage.gateway.told == [opening]


def test_one_that_cannot_be_told_keeps_nobody_else_from_it(stage: Stage) -> None:
    slow, there = stage.connected("owner"), stage.connected("owner")
    stage.settle(slow)
    stage.gateway.answers[slow] = 429
    assert stage.deliver(message(APPOINTMENT=[])) == []
    assert stage.gateway.told == [there]
    assert stage.open() == sorted([slow, there])
    # It is not waited for either: no try but this one.
    assert stage.gateway.asked.count(slow) == 1
    assert posting.gateway().meta.config.read_timeout <= 1


def test_one_practices_slow_connections_keep_no_other_waiting(
    stage: Stage, untold: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [stage.connected("owner") for _ in range(40)]
    theirs = stage.connected("owner", tenant=OTHER)
    stage.gateway.takes = dict.fromkeys(slow, 1.0)
    monkeypatch.setattr(posting, "time", SimpleNamespace(monotonic=lambda: stage.gateway.at))
    ours, others = message(APPOINTMENT=[]), message(OTHER, at=2, APPOINTMENT=[])
    # Who is not told in time is not told later.
    assert stage.deliver(ours, others) == []
    assert theirs in stage.gateway.told
    assert len(stage.gateway.told) < len(slow)
    assert len(stage.gateway.told) + sum(untold) == len([*slow, theirs])


def test_when_time_is_over_nobody_is_asked_whom_to_tell(
    stage: Stage, faults: Faults, untold: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.connected("owner")
    monkeypatch.setattr(posting, "BUDGET_S", 0)
    faults.calls.clear()
    assert stage.deliver(message(APPOINTMENT=[])) == []
    assert (dict(faults.calls), stage.gateway.told, untold) == ({}, [], [1])


def test_one_whose_time_is_over_is_not_asked_for(stage: Stage) -> None:
    over, there = stage.connected("owner"), stage.connected("owner")
    stage.change(stage.row(over).key, expires_at=1)
    stage.deliver(message(APPOINTMENT=[]))
    assert stage.gateway.told == [there]


def ended(holder: connections.Holder) -> None:
    assert session_rows.end(holder.person, holder.session)


def deactivated(holder: connections.Holder) -> None:
    gone = {"deactivated_at": "2026-11-21T10:00:00.000Z"}
    table.transact([memberships.change(holder.person, holder.practice, set_=gone)])


def of_another_role(holder: connections.Holder) -> None:
    role = {"role": Role.BILLING.value}
    table.transact([memberships.change(holder.person, holder.practice, set_=role)])


def of_another_subject(holder: connections.Holder) -> None:
    subject = {"subject": "exp_9"}
    table.transact([memberships.change(holder.person, holder.practice, set_=subject)])


def removed(holder: connections.Holder) -> None:
    table.transact([table.delete(keys.membership(holder.person, holder.practice))])


@pytest.mark.parametrize("end", [ended, deactivated, of_another_role, of_another_subject, removed])
def test_a_connection_ends_with_what_it_was_opened_by(stage: Stage, end: Any) -> None:
    leaves, stays = stage.connected("expert", "exp_1"), stage.connected("expert", "exp_1")
    end(stage.row(leaves).holder)
    assert stage.deliver(message(APPOINTMENT=["EXPERT#exp_1"])) == []
    assert stage.gateway.told == [stays]
    assert stage.gateway.closed == [leaves]
    assert stage.open() == [stays]


def of_another_role_of_its_own(holder: connections.Holder) -> None:
    role = {"role_id": "role_nothing"}
    table.transact([memberships.change(holder.person, holder.practice, set_=role)])


def of_a_role_with_less(holder: connections.Holder) -> None:
    less = {"permissions": ["appointments:all", "appointments:read"]}
    table.transact([table.update(own_role(holder), set_=less)])


def of_a_role_that_sees_only_their_own(holder: connections.Holder) -> None:
    less = {"permissions": ["appointments:read", "dashboard:read"]}
    table.transact([table.update(own_role(holder), set_=less)])


def of_a_role_that_is_gone(holder: connections.Holder) -> None:
    gone = {"deleted_at": "2026-11-21T10:00:00.000Z"}
    table.transact([table.update(own_role(holder), set_=gone)])


def own_role(holder: connections.Holder) -> Key:
    found = memberships.row(holder.person, holder.practice)
    assert found
    assert found.role_key
    return found.role_key


@pytest.mark.parametrize(
    "end",
    [
        of_another_role_of_its_own,
        of_a_role_with_less,
        of_a_role_that_sees_only_their_own,
        of_a_role_that_is_gone,
    ],
)
def test_a_connection_ends_with_what_a_role_of_the_practices_own_allows(
    stage: Stage, faults: Faults, end: Any
) -> None:
    granted = "dashboard:read appointments:read appointments:all"
    for connection_id in ("leaves", "stays"):
        ticket = stage.ticket(stage.joined("custom", "exp_1", granted=granted))
        assert stage.event("CONNECT", connection_id, ticket) == 200
    end(stage.row("leaves").holder)
    faults.calls.clear()
    assert stage.deliver(message(APPOINTMENT=[])) == []
    assert (stage.gateway.told, stage.gateway.closed) == (["stays"], ["leaves"])
    # The roles, by one read more.
    assert faults.calls["BatchGetItem"] == 2


def test_a_connection_ends_where_the_practice_wants_a_second_factor(stage: Stage) -> None:
    leaves, stays, theirs = (stage.connected("owner") for _ in range(3))
    for connection_id, shown in ((stays, {"mfa": True}), (theirs, {"mfa_practice": PRACTICE_ID})):
        holder = stage.row(connection_id).holder
        table.transact([table.update(keys.session(holder.person, holder.session), set_=shown)])
    rules = {"security": json.dumps({"mfa_required": True})}
    table.transact([table.update(TENANT.item(PRACTICE, PRACTICE_ID), set_=rules)])
    assert stage.deliver(message(APPOINTMENT=[])) == []
    assert stage.gateway.told == sorted([stays, theirs])
    assert stage.gateway.closed == [leaves]


def test_another_role_with_the_same_dashboard_keeps_the_connection(stage: Stage) -> None:
    owner = stage.connected("owner")
    of_another_role(stage.row(owner).holder)
    stage.deliver(message(APPOINTMENT=[]))
    assert (stage.gateway.told, stage.gateway.closed) == ([owner], [])


def test_one_that_could_not_be_closed_is_closed_the_next_time(stage: Stage) -> None:
    leaves = stage.connected("owner")
    ended(stage.row(leaves).holder)
    stage.gateway.answers[leaves] = 429
    stage.deliver(message(APPOINTMENT=[]))
    assert (stage.gateway.closed, stage.open()) == ([], [leaves])
    stage.gateway.answers.clear()
    stage.deliver(message(APPOINTMENT=[]))
    assert (stage.gateway.closed, stage.open()) == ([leaves], [])
    assert stage.gateway.posts == []


def test_where_it_is_not_known_whom_to_tell_the_messages_come_again(
    stage: Stage, faults: Faults
) -> None:
    stage.connected("owner")
    theirs = stage.connected("owner", tenant=OTHER)
    faults.next("Query", Faults.throttled_call)
    ours = [message(at=1, APPOINTMENT=[]), message(at=2, PAYMENT=[])]
    assert stage.deliver(*ours, message(OTHER, at=3, APPOINTMENT=[])) == ["message-1", "message-2"]
    assert stage.gateway.told == [theirs]


@pytest.mark.parametrize(
    "body",
    ["no json", "[]", "{}", '{"practice": 1, "at": "", "changed": {}}', '{"practice": "a#b"}'],
)
def test_a_message_that_is_none_comes_again_and_keeps_nobody_waiting(
    stage: Stage, body: str
) -> None:
    owner = stage.connected("owner")
    bad = {"messageId": "bad", "body": body}
    assert stage.deliver(bad, message(APPOINTMENT=[])) == ["bad"]
    assert stage.gateway.told == [owner]


def test_nothing_of_a_person_is_in_what_is_told(stage: Stage) -> None:
    """Ids of practices, experts and patients in the queue; of the practice alone to browsers."""
    stage.connected("owner")
    named = image(PATIENT, "pat_1", name="Ana Prado")
    assert process(changed(named, appointment(1))) == []
    [told] = stage.messages()
    assert set(json.loads(told["body"])) == {"practice", "at", "changed"}
    assert "Ana" not in told["body"]
    stage.deliver(told)
    [(_, post)] = stage.gateway.posts
    assert set(post) == {"type", "practice", "sections", "at"}


def test_from_an_item_to_the_dashboards_of_all_whose_it_is(stage: Stage) -> None:
    expert, patient = stage.connected("expert", "exp_1"), stage.connected("patient", "pat_1")
    stage.connected("expert", "exp_2")
    assert process(changed(appointment(1))) == []
    assert stage.deliver(*stage.messages()) == []
    assert stage.gateway.told == sorted([expert, patient])
    assert EXPERT in str(stage.row(expert).key.sk)
