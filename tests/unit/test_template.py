"""House rules of template.yaml that the linters do not hold."""

import json
import re
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
from samtranslator.translator.transform import transform

from consulta.aggregates.contributions import ENTITIES
from consulta.money.records import POSTING
from consulta.people.records import PRACTICE
from tests.permissions import allowed, many, resource_name, statements
from tests.template import ROOT, resources, template

FUNCTIONS = resources("AWS::Serverless::Function")
TABLES = resources("AWS::DynamoDB::Table")
INDEXES = {
    f"{name}/index/{index['IndexName']}"
    for name, table in TABLES.items()
    for index in table["Properties"].get("GlobalSecondaryIndexes", [])
}
# What a function does to items; no function scans a table or changes what it is.
TABLE_ACTIONS = {
    f"dynamodb:{action}"
    for action in (
        "GetItem",
        "BatchGetItem",
        "Query",
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "ConditionCheckItem",
    )
}
KINDS = {
    "AWS::DynamoDB::Table": "dynamodb:",
    "AWS::S3::Bucket": "s3:",
    "AWS::SQS::Queue": "sqs:",
    "AWS::KMS::Key": "kms:",
    "AWS::SecretsManager::Secret": "secretsmanager:",
}
# Logical id → the service whose permissions are good for it.
USED = {name: service for kind, service in KINDS.items() for name in resources(kind)}
# Named to Scheduler, whose own role uses it.
HANDED_ON = {"DeadLetters"}


def named(variables: dict[str, Any]) -> set[str]:
    """The resources that environment variables name."""
    return {resource_name(value) for value in variables.values()}


def translated(parameters: dict[str, str]) -> dict[str, Any]:
    """The template as SAM translates it, without what Fn::ForEach makes."""
    source = deepcopy(template())
    loops = [name for name in source["Resources"] if name.startswith("Fn::")]
    for name in loops:
        del source["Resources"][name]
    for resource in source["Resources"].values():
        for local in {"CodeUri", "ContentUri"} & resource.get("Properties", {}).keys():
            resource["Properties"][local] = "s3://bucket/key"
    found: dict[str, Any] = transform(source, parameters, SimpleNamespace(load=dict))
    return found


@pytest.mark.parametrize(
    "origins", [None, "https://a.example", "https://a.example,https://b.example"]
)
def test_sam_leaves_the_gateway_a_list_of_origins(origins: str | None) -> None:
    written = template()["Resources"]["Api"]["Properties"]["CorsConfiguration"]["Fn::If"][1]
    api = translated({"AllowedOrigins": origins} if origins else {})["Resources"]["Api"]
    condition, cors, otherwise = api["Properties"]["Body"]["x-amazon-apigateway-cors"]["Fn::If"]
    assert (condition, otherwise) == ("HasOrigins", {"Ref": "AWS::NoValue"})
    given = origins or template()["Parameters"]["AllowedOrigins"]["Default"]
    assert cors.pop("allowOrigins") == {"Fn::Split": [",", given]}
    # Everything else is there too, in the names that the gateway reads.
    named = {name[0].lower() + name[1:]: value for name, value in written.items()}
    assert cors == {name: value for name, value in named.items() if name != "allowOrigins"}
    assert cors["allowCredentials"] is True


def test_the_stack_has_room_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudFormation takes 500 resources; functions come with several each (decision 0016)."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    loops = [each for name, each in template()["Resources"].items() if name.startswith("Fn::")]
    looped = sum(len(names) * len(made) for _, names, made in loops)
    assert len(translated({})["Resources"]) + looped <= 490


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_handler_exists_and_the_time_is_one_that_lambda_gives(name: str) -> None:
    properties = FUNCTIONS[name]["Properties"]
    handler = (ROOT / properties["CodeUri"] / "app.py").read_text()
    assert re.search(r"^lambda_handler = ", handler, re.MULTILINE)
    assert properties.get("Timeout", 10) <= 900


def test_every_function_has_its_log_group_and_alarms() -> None:
    each = template()["Resources"]["Fn::ForEach::EveryFunction"]
    assert sorted(f"{name}Function" for name in each[1]) == sorted(FUNCTIONS)
    assert [key.removeprefix("${Name}") for key in each[2]] == ["Logs", "Errors"]
    assert "Dimensions" not in template()["Resources"]["ThrottlesAlarm"]["Properties"]
    names = {name: f["Properties"]["FunctionName"] for name, f in FUNCTIONS.items()}
    for name, value in names.items():
        assert value == {"Fn::Sub": f"${{AWS::StackName}}-{name.removesuffix('Function')}"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_permissions_name_their_actions_and_resources(name: str) -> None:
    for statement in statements(name):
        for action in many(statement["Action"]):
            assert "*" not in action
        for resource in many(statement["Resource"]):
            assert resource != "*"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_permissions_on_tables_name_the_table_and_the_index(name: str) -> None:
    for action, resource in allowed(name):
        if action.startswith("dynamodb:"):
            assert resource in (INDEXES if "/" in resource else TABLES), resource
            assert action in TABLE_ACTIONS, action
            assert action == "dynamodb:Query" or "/" not in resource, "an index is only queried"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_writes_over_the_audit(name: str) -> None:
    on_audit = {action for action, resource in allowed(name) if resource == "AuditTable"}
    assert not on_audit & {"dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_may_use_what_its_environment_names_and_nothing_else(name: str) -> None:
    common = template()["Globals"]["Function"]["Environment"]["Variables"]
    own = FUNCTIONS[name]["Properties"].get("Environment", {}).get("Variables", {})
    used = {resource.partition("/")[0] for _, resource in allowed(name)} & USED.keys()
    assert used <= named(common) | named(own)
    for resource in named(own) & USED.keys():
        actions = {a for a, on in allowed(name) if on.partition("/")[0] == resource}
        assert resource in HANDED_ON or any(a.startswith(USED[resource]) for a in actions), resource


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


def test_every_item_with_figures_reaches_them_whatever_becomes_of_it() -> None:
    stream = FUNCTIONS["AggregateFunction"]["Properties"]["Events"]["Stream"]["Properties"]
    found: dict[str, set[str]] = {"NewImage": set(), "OldImage": set()}
    for one in stream["FilterCriteria"]["Filters"]:
        ((image, pattern),) = json.loads(one["Pattern"])["dynamodb"].items()
        found[image] |= set(pattern["entity"]["S"])
    # Postings are only ever added.
    # A new practice's figures begin with it.
    assert found == {
        "NewImage": {*ENTITIES, PRACTICE},
        "OldImage": ENTITIES.keys() - {POSTING},
    }


def test_all_that_needs_a_person_has_its_alarm() -> None:
    """Whichever function counts it: no dimension names one."""
    _, names, made = template()["Resources"]["Fn::ForEach::Trouble"]
    [alarm] = made.values()
    assert alarm["Properties"]["Dimensions"] == [{"Name": "service", "Value": "consulta"}]
    assert alarm["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    sources = "".join(path.read_text() for path in (ROOT / "layers").rglob("*.py"))
    assert set(re.findall(r'\btrouble\("(\w+)"', sources)) == set(names)


def test_no_alarm_takes_silence_for_trouble() -> None:
    """A new stack has told nothing yet: one that waits for a metric would begin with an alarm."""
    each = [made for name, made in template()["Resources"].items() if not name.startswith("Fn::")]
    for name, loop in template()["Resources"].items():
        each += loop[2].values() if name.startswith("Fn::") else []
    alarms = [one["Properties"] for one in each if one["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(alarms) > 10
    assert {alarm.get("TreatMissingData") for alarm in alarms} == {"notBreaching"}


def test_the_report_worker_knows_its_last_try() -> None:
    policy = resources("AWS::SQS::Queue")["ReportsQueue"]["Properties"]["RedrivePolicy"]
    worker = (ROOT / "functions" / "report_worker" / "app.py").read_text()
    assert f"LAST_TRY = {policy['maxReceiveCount']}\n" in worker
