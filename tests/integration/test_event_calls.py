"""How often the worker asks DynamoDB for one event: what it can do in a second follows."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from consulta.core import aws
from consulta.money.webhooks import inbox
from tests.integration.test_money import Practice, practice  # noqa: F401  # a fixture is found by its name

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over


@pytest.fixture
def calls(practice: Practice) -> Iterator[list[str]]:
    """What was asked of DynamoDB."""
    made: list[str] = []

    def note(model: Any, **_: Any) -> None:
        made.append(model.name)

    events = aws.client("dynamodb").meta.events
    events.register("before-call.dynamodb", note)
    yield made
    events.unregister("before-call.dynamodb", note)


def test_each_event_of_a_payment_takes_few_calls(practice: Practice, calls: list[str]) -> None:
    payment = practice.start(practice.hold())
    provider_id = str(payment.provider_id)

    def told(message: dict[str, Any]) -> Counter[str]:
        calls.clear()
        assert inbox.handle(message) is inbox.InboxState.DONE
        return Counter(calls)

    practice.stripe.pay(provider_id)
    succeeded = practice.message(payment, "payment_intent.succeeded")
    # The row; payment, payee and appointment; the effect with DONE.
    assert told(succeeded) == {"TransactWriteItems": 2, "BatchGetItem": 1, "GetItem": 2}
    # Of what is done only the row.
    assert told(succeeded) == {"TransactWriteItems": 1}
    # The row; payment and payee; DONE, and what is new.
    few = {"TransactWriteItems": 2, "BatchGetItem": 1, "GetItem": 1}
    assert told(practice.message(payment, "charge.succeeded")) == few
    practice.stripe.settle(provider_id)
    assert told(practice.message(payment, "charge.updated")) == few
