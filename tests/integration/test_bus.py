"""From the stream to the bus beside the audit, and through the template's rule to its queue."""

import json
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import ANY, Stubber

from consulta.audit import stream, writing
from consulta.core import aws, bus, settings
from consulta.core.bus import Event
from local import processes
from local.environment import endpoint, ministack_environment
from local.processes import Service
from tests.integration import audit_stack
from tests.integration.audit_stack import Audit
from tests.integration.gaps_stack import free_port, until
from tests.template import ROOT, template
from tests.unit.people.calling import handler

BUS = "changes"
CONTEXT = SimpleNamespace(aws_request_id="aws-1", function_name="test")


@pytest.fixture
def audit(tables: Any, environment: pytest.MonkeyPatch) -> Audit:
    environment.setenv("EVENT_BUS_NAME", BUS)
    environment.setattr(bus, "PAUSES_S", (0, 0, 0))
    return audit_stack.build(tables, environment)


@pytest.fixture
def events(audit: Audit) -> Iterator[Stubber]:
    with Stubber(aws.client("events")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def taken(count: int) -> list[dict[str, str]]:
    return [{"EventId": str(n)} for n in range(count)]


def refused(code: str) -> dict[str, str]:
    return {"ErrorCode": code, "ErrorMessage": "no"}


def answers(events: Stubber, *calls: list[dict[str, str]]) -> None:
    for entries in calls:
        failed = sum("ErrorCode" in entry for entry in entries)
        answer = {"FailedEntryCount": failed, "Entries": entries}
        events.add_response("put_events", answer, {"Entries": ANY})


def publish(records: list[dict[str, Any]]) -> list[str]:
    """The function under test; what comes again."""
    answer = handler("publish")({"Records": records}, CONTEXT)
    return [failed["itemIdentifier"] for failed in answer["batchItemFailures"]]


def patients_of(audit: Audit) -> list[dict[str, Any]]:
    """The records of patients: the audit's own keys are rows, too."""
    return [r for r in audit.records() if "#PATIENT#" in r["dynamodb"]["Keys"]["pk"]["S"]]


def number(record: dict[str, Any]) -> str:
    return str(record["dynamodb"]["SequenceNumber"])


def test_every_change_is_told_in_calls_of_ten(audit: Audit, events: Stubber) -> None:
    patients = [audit.patient() for _ in range(12)]
    told: list[dict[str, Any]] = []
    client = aws.client("events")
    client.meta.events.register(
        "provide-client-params.*.PutEvents", lambda params, **_: told.append(params)
    )
    answers(events, taken(10), taken(2))
    assert publish(patients_of(audit)) == []
    assert [len(call["Entries"]) for call in told] == [10, 2]
    entries = [entry for call in told for entry in call["Entries"]]
    assert {(e["EventBusName"], e["Source"], e["DetailType"]) for e in entries} == {
        (BUS, "consulta", "PATIENT")
    }
    found = [Event.received(json.dumps({"detail": json.loads(e["Detail"])})) for e in entries]
    assert [event.key for event in found] == [patient.key for patient in patients]
    assert not any("ngela" in entry["Detail"] for entry in entries)
    assert len(audit.received()) == 12


def test_what_the_bus_does_not_take_is_told_again_at_once(audit: Audit, events: Stubber) -> None:
    for _ in range(3):
        audit.patient()
    throttled = refused("ThrottlingException")
    answers(events, [*taken(1), throttled, throttled], [throttled, *taken(1)], taken(1))
    assert publish(patients_of(audit)) == []


def test_what_is_left_comes_again_and_the_audit_takes_it_twice(
    audit: Audit, events: Stubber
) -> None:
    for _ in range(3):
        audit.patient()
    records, away = patients_of(audit), refused("InternalFailure")
    answers(events, [*taken(1), away, *taken(1)], [away], [away], [away])
    assert publish(records) == [number(records[1])]
    # From the failed record on, the stream brings everything again.
    answers(events, taken(2))
    assert publish(records[1:]) == []
    messages = audit.received()
    assert len(messages) == 5
    assert writing.process(messages) == []
    assert len([row for row in audit.rows() if "#PATIENT#" in row["pk"]]) == 3


def test_an_event_that_is_refused_for_good_holds_nothing_up(audit: Audit, events: Stubber) -> None:
    for _ in range(2):
        audit.patient()
    records = patients_of(audit)
    odd = json.loads(json.dumps(records[0]).replace("#PATIENT#pat_", "#ODD"))
    answers(events, [refused("MalformedDetail"), *taken(1)])
    assert publish([odd, *records]) == []
    assert len(audit.received()) == 3


def test_a_bus_that_is_away_does_not_keep_the_audit(audit: Audit, events: Stubber) -> None:
    audit.patient()
    records = patients_of(audit)
    events.add_client_error("put_events", "AccessDeniedException", http_status_code=400)
    assert publish(records) == [number(records[0])]
    assert len(audit.received()) == 1


def test_an_audit_that_is_away_does_not_keep_the_bus(
    audit: Audit, events: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.patient()
    records = patients_of(audit)
    answers(events, taken(1))
    monkeypatch.setenv("AUDIT_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/1/none")
    settings.reset()
    assert publish(records) == [number(records[0])]


def test_an_audit_that_breaks_down_does_not_keep_the_bus(
    audit: Audit, events: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.patient()
    records = patients_of(audit)
    answers(events, taken(1))

    def out_of_reach(_: bytes) -> str:
        raise EndpointConnectionError(endpoint_url="https://kms.us-east-1.amazonaws.com")

    monkeypatch.setattr(stream, "seal_message", out_of_reach)
    # The whole batch comes again; the events were told all the same.
    with pytest.raises(EndpointConnectionError):
        publish(records)


# ---------------------------------------------------------------- on the local AWS


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """A MiniStack with the template's bus, its queue and its rule."""
    folder = tmp_path_factory.mktemp("bus")
    for name in ("tmp", "layers"):
        (folder / name).mkdir()
    port = free_port()
    environment = ministack_environment(port, folder / "tmp", folder / "layers", auth=False)
    names = ("EventBus", "RulesMaySend", "DeadLetters", "NotifyQueue", "NotifyRule")
    resources = {name: template()["Resources"][name] for name in names}
    policy = resources["RulesMaySend"]["Properties"]
    rules = {**resources["RulesMaySend"], "Properties": {**policy, "Queues": mine(policy, names)}}
    body = {
        "Resources": resources | {"RulesMaySend": rules},
        "Outputs": {n: {"Value": {"Ref": n}} for n in ("EventBus", "NotifyQueue", "DeadLetters")},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in environment.items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        health = f"{endpoint(port)}/_ministack/health"
        processes.start(folder, [Service("aws", ("local.aws",), environment, health)], ROOT)
        try:
            cloudformation = boto3.client("cloudformation", endpoint_url=endpoint(port))
            cloudformation.create_stack(StackName="small", TemplateBody=json.dumps(body))
            waiter = cloudformation.get_waiter("stack_create_complete")
            waiter.wait(StackName="small", WaiterConfig={"Delay": 0.2, "MaxAttempts": 100})
            session = boto3.session.Session()
            yield lambda service: session.client(service, endpoint_url=endpoint(port))
        finally:
            processes.stop_all(folder)


def mine(policy: dict[str, Any], names: tuple[str, ...]) -> list[Any]:
    """Of all the queues of the rules, those of this stack."""
    return [queue for queue in policy["Queues"] if queue["Ref"] in names]


def test_the_rule_brings_what_people_are_told_of_to_its_queue(
    local_aws: Callable[[str], Any],
) -> None:
    stacks = local_aws("cloudformation").describe_stacks(StackName="small")["Stacks"]
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stacks[0]["Outputs"]}
    told = [
        Event("prac_1", entity, f"{entity.lower()}_1", 1, "created", "held")
        for entity in ("APPOINTMENT", "PATIENT", "REFUND", "SERIES")
    ]
    entries = [
        {
            "EventBusName": outputs["EventBus"],
            "Source": bus.SOURCE,
            "DetailType": event.entity,
            "Detail": json.dumps({name: getattr(event, name) for name in Event.__slots__}),
        }
        for event in told
    ]
    answer = local_aws("events").put_events(Entries=entries)
    assert answer["FailedEntryCount"] == 0

    sqs, found = local_aws("sqs"), {}

    def all_there() -> bool:
        batch = sqs.receive_message(QueueUrl=outputs["NotifyQueue"], MaxNumberOfMessages=10)
        for message in batch.get("Messages", []):
            event = Event.received(message["Body"])
            found[event.entity] = event
        return len(found) >= 3

    until(all_there)
    assert found == {event.entity: event for event in told if event.entity != "PATIENT"}
    allowed = sqs.get_queue_attributes(QueueUrl=outputs["DeadLetters"], AttributeNames=["Policy"])
    assert "events.amazonaws.com" in allowed["Attributes"]["Policy"]
