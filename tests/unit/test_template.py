"""House rules of template.yaml that the linters do not hold."""

import re
from typing import Any

import pytest

from tests.template import ROOT, resources, template

FUNCTIONS = resources("AWS::Serverless::Function")


def test_a_change_of_the_layer_alone_publishes_a_version() -> None:
    common = template()["Globals"]["Function"]
    assert common["AutoPublishAlias"]
    assert common["AutoPublishAliasAllProperties"] is True


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_handler_exists_and_the_time_is_one_that_lambda_gives(name: str) -> None:
    properties = FUNCTIONS[name]["Properties"]
    handler = (ROOT / properties["CodeUri"] / "app.py").read_text()
    assert re.search(r"^lambda_handler = ", handler, re.MULTILINE)
    assert properties.get("Timeout", 10) <= 900


def test_every_function_has_its_log_group_and_alarms() -> None:
    each = template()["Resources"]["Fn::ForEach::EveryFunction"]
    assert sorted(f"{name}Function" for name in each[1]) == sorted(FUNCTIONS)
    assert [key.removeprefix("${Name}") for key in each[2]] == ["Logs", "Errors", "Throttles"]
    names = {name: f["Properties"]["FunctionName"] for name, f in FUNCTIONS.items()}
    for name, value in names.items():
        assert value == {"Fn::Sub": f"${{AWS::StackName}}-{name.removesuffix('Function')}"}


def statements(function: dict[str, Any]) -> list[dict[str, Any]]:
    documents = [
        policy if "Statement" in policy else managed(policy["Ref"])
        for policy in function["Properties"].get("Policies", [])
    ]
    return [statement for document in documents for statement in document["Statement"]]


def managed(name: str) -> dict[str, Any]:
    return dict(resources("AWS::IAM::ManagedPolicy")[name]["Properties"]["PolicyDocument"])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_permissions_name_their_actions_and_resources(name: str) -> None:
    for statement in statements(FUNCTIONS[name]):
        actions = statement["Action"]
        for action in actions if isinstance(actions, list) else [actions]:
            assert "*" not in action
        assert statement["Resource"] != "*"


def test_nothing_asynchronous_is_lost() -> None:
    queues = resources("AWS::SQS::Queue")
    assert all("RedrivePolicy" in q["Properties"] for n, q in queues.items() if n != "DeadLetters")
    for function in FUNCTIONS.values():
        for event in function["Properties"].get("Events", {}).values():
            properties = event["Properties"]
            if event["Type"] == "DynamoDB":
                assert properties["DestinationConfig"]["OnFailure"]
            if event["Type"] == "ScheduleV2":
                assert properties["DeadLetterConfig"]


def test_the_report_worker_knows_its_last_try() -> None:
    policy = resources("AWS::SQS::Queue")["ReportsQueue"]["Properties"]["RedrivePolicy"]
    worker = (ROOT / "functions" / "report_worker" / "app.py").read_text()
    assert f"LAST_TRY = {policy['maxReceiveCount']}\n" in worker
