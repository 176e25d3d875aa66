"""The inbox of provider events for operators: listing, replay, and dead letters back in work."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from consulta.core import aws, settings
from consulta.core.ids import new_id
from consulta.core.time import to_text
from consulta.money.accounts import connect
from consulta.money.provider import ProviderPayment
from consulta.money.records import State
from consulta.money.webhooks import inbox, replay
from consulta.money.webhooks.inbox import InboxState
from consulta_cli import app
from tests.conftest import CORE
from tests.integration.test_money import (  # noqa: F401  # fixtures are found by their names
    Practice,
    practice,
)
from tests.unit.people.calling import Answer, call, signed_in

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
BASE = "/v1/webhook-inbox"
DAY = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}


@pytest.fixture
def queue(tables: Any, environment: pytest.MonkeyPatch) -> str:
    """The payment events' queue; its address."""
    url = str(aws.client("sqs").create_queue(QueueName="PaymentEventsQueue")["QueueUrl"])
    environment.setenv("PAYMENT_EVENTS_QUEUE_URL", url)
    settings.reset()
    return url


def taken(url: str) -> list[dict[str, Any]]:
    """All messages of a queue, which has none of them any more."""
    found: list[dict[str, Any]] = []
    while True:
        messages = (
            aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages")
        )
        if not messages:
            return found
        for message in messages:
            aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            found.append(json.loads(message["Body"]))


def told(number: int, **changes: Any) -> dict[str, Any]:
    """A message of the queue, about nothing that we know."""
    return {
        "provider": "stripe",
        "event_id": f"evt_{number:03d}",
        "type": "customer.created",
        "live": False,
        "account": "",
        "object_id": f"cus_{number}",
        "api_version": "2026-10-28",
        **changes,
    }


def fail(practice: Practice, number: int) -> dict[str, Any]:
    """An event about a payment that bears our mark and is not there: FAILED."""
    provider_id = f"pi_{number}"
    practice.stripe.payments[provider_id] = ProviderPayment(
        id=provider_id,
        state=State.SUCCEEDED,
        amount=5000,
        currency="EUR",
        captured=5000,
        account="acct_1",
        practice=practice.world.tenant.practice,
        payment=new_id("pay"),
    )
    message = told(number, type="payment_intent.succeeded", object_id=provider_id)
    assert inbox.handle(message) is InboxState.FAILED
    return message


def ask(
    method: str, path: str, body: Any = None, query: str = "", role: str = "operator"
) -> Answer:
    return call("webhook_inbox", method, path, body, context=signed_in(role), query=query)


def around(practice: Practice) -> dict[str, str]:
    low, high = practice.clock.at, practice.clock.at
    return {
        "from": to_text(low.replace(hour=0, minute=0)),
        "to": to_text(high.replace(hour=23, minute=59, second=59, microsecond=999000)),
    }


# ---------------------------------------------------------------- the list


def test_the_last_received_comes_first(practice: Practice, queue: str) -> None:
    for number in range(3):
        inbox.handle(told(number))
    fail(practice, 3)
    inbox.handle(told(4, provider="mercadopago", type="order", account="4711"))
    listed = ask("GET", BASE)
    assert listed.status == 200, listed.body
    events = [item["event_id"] for item in listed.body["items"]]
    assert events == ["evt_004", "evt_003", "evt_002", "evt_001", "evt_000"]
    failed = listed.body["items"][1]
    assert failed["received_at"]
    assert {name: failed[name] for name in failed if name not in ("id", "received_at")} == {
        "provider": "stripe",
        "account": None,
        "event_id": "evt_003",
        "type": "payment_intent.succeeded",
        "object_id": "pi_3",
        "livemode": False,
        "api_version": "2026-10-28",
        "state": "FAILED",
        "error": "unknown_payment",
        "attempts": 1,
        "done_at": None,
    }
    assert listed.body["items"][0]["account"] == "4711"
    assert listed.body["items"][0]["done_at"]
    assert ask("GET", f"{BASE}/{failed['id']}").body == failed


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=FAILED", ["evt_003"]),
        ("provider=mercadopago", ["evt_004"]),
        ("type=customer.created", ["evt_001"]),
        ("state=IGNORED&provider=stripe", ["evt_001"]),
        ("state=DONE", []),
        ("from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z", []),
    ],
)
def test_filters(practice: Practice, queue: str, query: str, expected: list[str]) -> None:
    inbox.handle(told(1))
    fail(practice, 3)
    inbox.handle(told(4, provider="mercadopago", type="order", account="4711"))
    listed = ask("GET", BASE, query=query)
    assert listed.status == 200, listed.body
    assert [item["event_id"] for item in listed.body["items"]] == expected


def test_pages_go_on(practice: Practice, queue: str) -> None:
    for number in range(5):
        inbox.handle(told(number))
    found, query = [], "limit=2"
    for _ in range(4):
        answer = ask("GET", BASE, query=query).body
        found += [item["event_id"] for item in answer["items"]]
        if answer["next_cursor"] is None:
            break
        query = f"limit=2&cursor={answer['next_cursor']}"
    assert found == [f"evt_{number:03d}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("inbox_id", ["nothing", "c3RyaXBl", "evt_000", "____", "I3wjfCM", "abcde"])
def test_what_is_no_id_is_not_found(practice: Practice, queue: str, inbox_id: str) -> None:
    assert ask("GET", f"{BASE}/{inbox_id}").status == 404
    assert ask("POST", f"{BASE}/{inbox_id}/replay", {}).status == 404


@pytest.mark.parametrize("role", ["owner", "admin", "billing", "viewer", "expert", "patient"])
def test_it_is_the_operators_alone(practice: Practice, queue: str, role: str) -> None:
    assert ask("GET", BASE, role=role).status == 403
    assert ask("POST", f"{BASE}/replay", DAY, role=role).status == 403


def test_a_year_is_too_much(practice: Practice, queue: str) -> None:
    query = "from=2025-01-01T00:00:00Z&to=2026-01-01T00:00:00Z"
    assert ask("GET", BASE, query=query).status == 422


# ---------------------------------------------------------------- again


def test_what_failed_is_done_once_its_cause_is_gone(practice: Practice, queue: str) -> None:
    payment = practice.start(practice.hold())
    provider_id = str(payment.provider_id)
    practice.stripe.pay(provider_id)
    right = practice.stripe.payments[provider_id]
    practice.stripe.change(provider_id, payment=new_id("pay"))
    practice.stripe.payments["pi_other"] = practice.stripe.payments.pop(provider_id)
    message = told(7, type="payment_intent.succeeded", object_id="pi_other")
    practice.stripe.change("pi_other", id="pi_other")
    assert inbox.handle(message) is InboxState.FAILED
    practice.stripe.payments[provider_id] = right
    practice.stripe.payments["pi_other"] = right
    item = ask("GET", BASE, query="state=FAILED").body["items"][0]
    answer = ask("POST", f"{BASE}/{item['id']}/replay", {})
    assert (answer.status, answer.headers["Location"]) == (202, f"{BASE}/{item['id']}")
    (again,) = taken(queue)
    assert {name: again[name] for name in message} == message
    assert inbox.handle(again) is InboxState.DONE
    assert practice.payment(payment.id).state == State.SUCCEEDED
    now_done = ask("GET", f"{BASE}/{item['id']}").body
    assert (now_done["state"], now_done["error"], now_done["attempts"]) == ("DONE", None, 2)
    assert now_done["done_at"] >= now_done["received_at"]


def test_what_is_done_is_left_alone_unless_forced(practice: Practice, queue: str) -> None:
    payment = practice.paid()
    before = practice.balances()
    item = ask("GET", BASE, query="state=DONE").body["items"][0]
    assert ask("POST", f"{BASE}/{item['id']}/replay", {}).status == 409
    assert taken(queue) == []
    assert ask("POST", f"{BASE}/{item['id']}/replay", {"force": True}).status == 202
    (message,) = taken(queue)
    assert message["force"] is True
    reads = sum(name == "read" for name, _ in practice.stripe.calls)
    assert inbox.handle(message) is InboxState.DONE
    assert sum(name == "read" for name, _ in practice.stripe.calls) > reads
    assert practice.balances() == before
    assert ask("GET", f"{BASE}/{item['id']}").body["attempts"] == 2
    assert practice.payment(payment.id).settled
    # Without the word it is a repetition, and nothing is read.
    del message["force"]
    reads = len(practice.stripe.calls)
    assert inbox.handle(message) is InboxState.DONE
    assert len(practice.stripe.calls) == reads


def test_a_withdrawn_consent_keeps_the_word_that_it_is_acted_on(
    practice: Practice, queue: str
) -> None:
    payload = {"action": "application.deauthorized", "user": "somebody"}
    gone = told(1, provider="mercadopago", type="mp-connect", account="999", payload=payload)
    assert inbox.handle(gone) is InboxState.IGNORED
    item = ask("GET", BASE).body["items"][0]
    assert ask("POST", f"{BASE}/{item['id']}/replay", {}).status == 202
    (message,) = taken(queue)
    assert message["payload"] == {"action": "application.deauthorized"}
    assert inbox.handle(message) is InboxState.IGNORED


@pytest.mark.parametrize("kind", ["v2.core.account.updated", "v2.core.account[identity].updated"])
def test_a_thin_event_of_an_account_is_one_of_an_account(
    practice: Practice, queue: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        connect, "refresh_account", lambda _practice, payee, _by: read.append(payee)
    )
    assert inbox.handle(told(1, type=kind, account="acct_1")) is InboxState.DONE
    assert read == [practice.world.practice]
    assert inbox.handle(told(2, type="v2.core.accounting", account="acct_1")) is InboxState.IGNORED


def test_a_range_is_what_failed_of_it(
    practice: Practice, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        fail(practice, number)
    inbox.handle(told(9))
    monkeypatch.setattr(replay, "AT_ONCE", 2)
    body: dict[str, Any] = around(practice)
    queued = []
    for _ in range(5):
        answer = ask("POST", f"{BASE}/replay", body)
        assert answer.status == 202, answer.body
        queued.append(answer.body["queued"])
        if answer.body["next_cursor"] is None:
            break
        body["cursor"] = answer.body["next_cursor"]
    assert sum(queued) == 5
    assert max(queued) == 2
    assert sorted(m["event_id"] for m in taken(queue)) == [f"evt_{n:03d}" for n in range(5)]


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "2020-03-01T00:00:00Z"},
        {"to": "2019-12-31T00:00:00Z"},
        {"state": "DONE"},
        {"state": "LOST"},
        {"provider": "manual"},
        {"payload": True},
    ],
)
def test_a_range_that_cannot_be(practice: Practice, queue: str, changes: dict[str, Any]) -> None:
    assert ask("POST", f"{BASE}/replay", DAY | changes).status == 422


def test_a_cursor_of_another_range_is_refused(practice: Practice, queue: str) -> None:
    assert ask("POST", f"{BASE}/replay", DAY | {"cursor": "bm90aGluZw"}).status == 400


# ---------------------------------------------------------------- the command


@pytest.fixture
def dead(queue: str, environment: pytest.MonkeyPatch) -> str:
    """The queue of dead letters; its address."""
    url = str(aws.client("sqs").create_queue(QueueName="DeadLetters")["QueueUrl"])
    environment.setenv("DEAD_LETTERS_URL", url)
    return url


def command(queue: str, dead: str, *arguments: str) -> Any:
    options = ["--core-table", CORE, "--events-queue", queue, "--dead-letters-queue", dead]
    return CliRunner().invoke(app, [*arguments, *options])


def bury(url: str, body: Any, **attributes: str) -> None:
    aws.client("sqs").send_message(
        QueueUrl=url,
        MessageBody=body if isinstance(body, str) else json.dumps(body),
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )


def test_the_command_replays_a_range(practice: Practice, queue: str, dead: str) -> None:
    for number in range(3):
        fail(practice, number)
    day = around(practice)
    times = ("--from", day["from"][:10], "--to", day["to"][:19])
    done = command(queue, dead, "webhooks", "replay", *times, "--provider", "stripe")
    assert (done.exit_code, "3 events queued" in done.output) == (0, True), done.output
    assert len(taken(queue)) == 3
    other = command(queue, dead, "webhooks", "replay", *times, "--provider", "mercadopago")
    assert "0 events queued" in other.output
    assert command(queue, dead, "webhooks", "replay", *times, "--state", "LOST").exit_code == 2
    assert command(queue, dead, "webhooks", "replay", *times, "--state", "DONE").exit_code == 2


def test_dead_letters_are_listed_with_reasons_and_sent_back(
    practice: Practice, queue: str, dead: str
) -> None:
    changes = aws.client("sqs").create_queue(QueueName="CalendarQueue")["QueueUrl"]
    event = fail(practice, 1)
    bury(dead, event)
    bury(dead, told(2))
    change = {"detail-type": "APPOINTMENT", "detail": {"pk": "P#1"}}
    target = "arn:aws:sqs:us-east-1:123456789012:CalendarQueue"
    bury(dead, change, TARGET_ARN=target, ERROR_CODE="SDK_CLIENT_ERROR")
    bury(dead, "not json, and secret")
    listed = command(queue, dead, "dead-letters", "redrive", "--dry-run")
    assert listed.exit_code == 0, listed.output
    assert "FAILED unknown_payment after 1 tries" in listed.output
    assert "never begun" in listed.output
    assert "SDK_CLIENT_ERROR" in listed.output
    assert "secret" not in listed.output
    assert (taken(queue), taken(str(changes))) == ([], [])
    some = command(queue, dead, "dead-letters", "redrive", "--queue", "Calendar")
    assert "1 sent back" in some.output, some.output
    assert taken(str(changes)) == [change]
    rest = command(queue, dead, "dead-letters", "redrive")
    assert rest.exit_code == 1
    assert "3 dead letters, 2 sent back, 1 belong to no queue" in rest.output, rest.output
    assert sorted(m["event_id"] for m in taken(queue)) == ["evt_001", "evt_002"]
    left = aws.client("sqs").receive_message(QueueUrl=dead, MaxNumberOfMessages=10)["Messages"]
    assert [message["Body"] for message in left] == ["not json, and secret"]
