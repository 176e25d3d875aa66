"""DynamoDB's answers: items as they came, except where something has to be decoded."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import JSONFileLoader, Loader

from consulta.core import aws


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    aws.reset()
    yield aws.client("dynamodb")
    aws.reset()


def answering(client: Any, body: dict[str, Any], status: int = 200) -> None:
    """Every call is answered so, without a socket."""
    content = json.dumps(body).encode()

    class Raw:
        def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
            yield content

    def answer(**_: Any) -> AWSResponse:
        headers = {"x-amzn-requestid": "req-1"}
        return AWSResponse("http://test", status, headers, Raw())

    client.meta.events.register("before-send", answer)


def test_an_item_is_as_it_came(client: Any) -> None:
    item = {
        "pk": {"S": "one"},
        "n": {"N": "1"},
        "m": {"M": {"deep": {"L": [{"BOOL": True}, {"NULL": True}, {"SS": ["B", "BS"]}]}}},
    }
    answering(client, {"Item": item, "ConsumedCapacity": {"TableName": "t", "CapacityUnits": 0.5}})
    found = client.get_item(TableName="t", Key={"pk": {"S": "one"}})
    assert found["Item"] == item
    assert found["ConsumedCapacity"]["CapacityUnits"] == 0.5
    assert found["ResponseMetadata"]["RequestId"] == "req-1"


def test_binary_values_are_decoded_however_deep(client: Any) -> None:
    text = base64.b64encode(b"sealed").decode()
    item = {"b": {"B": text}, "bs": {"BS": [text]}, "m": {"M": {"deep": {"L": [{"B": text}]}}}}
    answering(client, {"Items": [item], "Count": 1, "ScannedCount": 1})
    (found,) = client.query(TableName="t", KeyConditionExpression="pk = :pk")["Items"]
    assert found["b"]["B"] == b"sealed"
    assert found["bs"]["BS"] == [b"sealed"]
    assert found["m"]["M"]["deep"]["L"][0]["B"] == b"sealed"


def test_a_refusal_is_read_as_botocore_does(client: Any) -> None:
    answering(
        client,
        {
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "cancelled",
            "CancellationReasons": [
                {"Code": "ConditionalCheckFailed", "Item": {"pk": {"S": "one"}}},
                {"Code": "None"},
            ],
        },
        status=400,
    )
    put = {"Put": {"TableName": "t", "Item": {"pk": {"S": "one"}}}}
    with pytest.raises(client.exceptions.TransactionCanceledException) as refused:
        client.transact_write_items(TransactItems=[put, put])
    reasons = refused.value.response["CancellationReasons"]
    assert reasons[0] == {"Code": "ConditionalCheckFailed", "Item": {"pk": {"S": "one"}}}


def test_maps_of_other_services_are_read_by_botocore(client: Any) -> None:
    sqs = aws.client("sqs")
    answering(sqs, {"Attributes": {"VisibilityTimeout": "30", "Policy": None}})
    answer = sqs.get_queue_attributes(QueueUrl="https://queue.example", AttributeNames=["All"])
    assert answer["Attributes"]["VisibilityTimeout"] == "30"


def test_a_service_is_found_without_looking_into_every_folder(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = aws._session()._session.get_component("data_loader")
    assert isinstance(models, aws._Models)
    services = Loader().list_available_services("service-2")
    assert set(models.list_available_services("service-2")) >= set(services)
    asked = []
    exists = JSONFileLoader.exists

    def noting(self: JSONFileLoader, path: str) -> bool:
        asked.append(path)
        return exists(self, path)

    monkeypatch.setattr(JSONFileLoader, "exists", noting)
    found = aws._Models().load_service_model("dynamodb", "service-2")
    assert found == client.meta.service_model._service_description
    assert len(asked) < 20 < len(services)
    with pytest.raises((UnknownServiceError, DataNotFoundError)):
        aws.client("no-such-service")
