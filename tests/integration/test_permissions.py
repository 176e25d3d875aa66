"""What holds handlers to their policies on moto is itself held to what the policies say."""

from collections.abc import Callable
from typing import Any

import pytest

from consulta.core import aws
from tests.conftest import AGGREGATES, CORE
from tests.permissions import Denied, under_policy

KEY = {"pk": {"S": "P#nobody"}, "sk": {"S": "nothing"}}
NEVER = {"ConditionExpression": "attribute_exists(pk)"}


def query(client: Any, index: str = "") -> Any:
    request = {
        "TableName": CORE,
        "KeyConditionExpression": "#pk = :pk",
        "ExpressionAttributeNames": {"#pk": f"{index}pk"},
        "ExpressionAttributeValues": {":pk": {"S": "nobody"}},
    }
    return client.query(**request, **({"IndexName": f"{index}-index"} if index else {}))


def write(client: Any, *parts: dict[str, Any]) -> Any:
    return client.transact_write_items(TransactItems=list(parts))


ALLOWED: list[Callable[[Any], Any]] = [
    lambda client: client.get_item(TableName=CORE, Key=KEY),
    lambda client: query(client, "l1"),
    lambda client: write(
        client, {"Update": {"TableName": CORE, "Key": KEY, "UpdateExpression": "REMOVE a"}}
    ),
]
DENIED: list[Callable[[Any], Any]] = [
    lambda client: client.scan(TableName=CORE),
    lambda client: client.get_item(TableName=AGGREGATES, Key=KEY),
    lambda client: client.batch_get_item(RequestItems={CORE: {"Keys": [KEY]}}),
    query,
    lambda client: query(client, "l2"),
    lambda client: write(client, {"Delete": {"TableName": CORE, "Key": KEY}}),
    # One part that is allowed does not take another with it.
    lambda client: write(
        client,
        {"Update": {"TableName": CORE, "Key": KEY, "UpdateExpression": "REMOVE a", **NEVER}},
        {"Put": {"TableName": CORE, "Item": KEY}},
    ),
]


@pytest.mark.parametrize("call", ALLOWED)
def test_what_the_policy_has_goes_through(tables: Any, call: Callable[[Any], Any]) -> None:
    under_policy("experts", lambda: call(tables))()


@pytest.mark.parametrize("call", DENIED)
def test_what_the_policy_does_not_have_ends_the_test(
    tables: Any, call: Callable[[Any], Any]
) -> None:
    with pytest.raises(Denied):
        under_policy("experts", lambda: call(tables))()


def test_other_services_are_held_to_the_action(tables: Any) -> None:
    queue = aws.client("sqs").create_queue(QueueName="queue")["QueueUrl"]
    request = {"QueueUrl": queue, "MessageBody": "{}"}
    under_policy("experts", lambda: aws.client("sqs").send_message(**request))()
    with pytest.raises(Denied):
        under_policy("docs", lambda: aws.client("sqs").send_message(**request))()
    with pytest.raises(Denied):
        under_policy("experts", lambda: aws.client("sqs").receive_message(QueueUrl=queue))()


def test_a_test_itself_may_do_anything_afterwards(tables: Any) -> None:
    with pytest.raises(Denied):
        under_policy("docs", lambda: tables.scan(TableName=CORE))()
    assert tables.scan(TableName=CORE)["Items"] == []
