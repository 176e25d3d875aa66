"""IAM on moto, which allows everything: a function's calls are held against its own policy.

    handler = under_policy("experts", module.lambda_handler)

While that handler runs, a call that template.yaml does not allow the function ends the test as
``Denied``. DynamoDB's are looked at with their very table and index, the others by their action
alone: what they are about is made up in these tests, and IAM itself looks at it in the end-to-end
tests.
"""

import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import botocore.handlers

from tests.template import resources, template

# Operations whose permission has another name.
NAMED_OTHERWISE = {
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "apigatewaymanagementapi:DeleteConnection": "execute-api:ManageConnections",
    "apigatewaymanagementapi:PostToConnection": "execute-api:ManageConnections",
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
}
PREFIXES = {"sesv2": "ses"}
PARTS = {"ConditionCheck": "ConditionCheckItem", "Put": "PutItem", "Update": "UpdateItem"} | {
    "Delete": "DeleteItem",
    "Get": "GetItem",
}
Permission = tuple[str, str]
"""An action, and a resource as :func:`resource_name` names it."""

running: list[str] = []
used: set[tuple[str, str, str]] = set()
"""(function, action, resource) of each call so far."""


class Denied(BaseException):
    """The policy does not allow the call; nothing in the code under test may catch this."""


def many(value: Any) -> list[Any]:
    """IAM writes one thing without a list."""
    return value if isinstance(value, list) else [value]


def resource_name(resource: Any) -> str:
    """``CoreTable``, ``CoreTable/index/l1-index``, ``ReportsBucket/*`` or, unresolved, its text."""
    match resource:
        case {"Ref": name} | {"Fn::GetAtt": [name, "Arn" | "StreamArn"]}:
            return str(name)
        case {"Fn::Sub": str(text)} if text.startswith("${") and ".Arn}" in text:
            name, rest = text.removeprefix("${").split(".Arn}", 1)
            return name + rest
        case {"Fn::Sub": str(text)}:
            return text
        case _:
            return str(resource)


def statements(function: str) -> list[dict[str, Any]]:
    """Of the function with that logical id, its managed policies' of this template included."""
    properties, found = resources("AWS::Serverless::Function")[function]["Properties"], []
    for policy in properties.get("Policies", []):
        managed = resources("AWS::IAM::ManagedPolicy").get(policy.get("Ref", ""))
        document = managed["Properties"]["PolicyDocument"] if managed else policy
        found += document["Statement"]
    return found


@cache
def allowed(function: str) -> frozenset[Permission]:
    """All that the function with that logical id may do."""
    return frozenset(
        (action, resource_name(resource))
        for statement in statements(function)
        for action in many(statement["Action"])
        for resource in many(statement["Resource"])
    )


@cache
def logical_ids() -> dict[str, str]:
    """The folder below functions/ → the function's logical id."""
    return {
        str(function["Properties"]["CodeUri"]).rstrip("/").rpartition("/")[2]: name
        for name, function in resources("AWS::Serverless::Function").items()
    }


def under_policy(folder: str, handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, with no more permissions than its function has when deployed."""
    function = logical_ids()[folder]

    def handle(*arguments: Any) -> Any:
        running.append(function)
        try:
            return handler(*arguments)
        finally:
            running.remove(function)

    return handle


def needed(service: str, operation: str, request: dict[str, Any]) -> Iterator[Permission]:
    """The permissions that one call takes (service authorization reference)."""
    if service != "dynamodb":
        action = f"{PREFIXES.get(service, service)}:{operation}"
        yield NAMED_OTHERWISE.get(action, action), ""
    elif operation.startswith("Transact"):
        for part in request["TransactItems"]:
            for kind, item in part.items():
                yield f"dynamodb:{PARTS[kind]}", item["TableName"]
    elif operation.startswith("Batch"):
        for name in request["RequestItems"]:
            yield f"dynamodb:{operation}", name
    else:
        index = f"/index/{request['IndexName']}" if "IndexName" in request else ""
        yield f"dynamodb:{operation}", request["TableName"] + index


def in_template(name: str) -> set[str]:
    """The logical ids of the table that these tests call ``name``, with the index behind it."""
    table, slash, index = name.partition("/")
    return {
        logical_id + slash + index
        for variable, logical_id in _table_variables()
        if os.environ.get(variable) == table
    }


@cache
def _table_variables() -> set[tuple[str, str]]:
    """The environment variables that name tables, with the tables' logical ids."""
    common = template()["Globals"]["Function"]["Environment"]["Variables"]
    own = [
        function["Properties"].get("Environment", {}).get("Variables", {})
        for function in resources("AWS::Serverless::Function").values()
    ]
    return {
        (variable, value["Ref"])
        for variables in (common, *own)
        for variable, value in variables.items()
        if variable.endswith("_TABLE")
    }


def hold_against_the_policy(params: dict[str, Any], model: Any, **_: Any) -> None:
    """Botocore's hook, before each call of any client."""
    if not running or model.auth_type == "none":
        return
    function = running[-1]
    may = allowed(function)
    for action, name in needed(model.service_model.service_name, model.name, params):
        ids = in_template(name)
        if name and not any((action, table) in may for table in ids):
            raise Denied(f"{function} may not {action} on {name}")
        if not name and action not in {permitted for permitted, _ in may}:
            raise Denied(f"{function} may not {action}")
        used.update((function, action, table) for table in ids or {""})


# As moto does it: every client that is made from now on has the hook.
botocore.handlers.BUILTIN_HANDLERS.append(("provide-client-params", hold_against_the_policy))
