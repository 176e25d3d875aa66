"""Every function's role is good for what the function does, and for nothing else.

That it is good for all of it is shown by the other tests: IAM is enforced in them, and the
``stack`` fixture fails at its end when any call was refused.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local.seed import Caller
from tests.e2e.refusals import ON_PURPOSE, OUTSIDER, decided
from tests.permissions import PARTS, allowed
from tests.template import resources

Stack = dict[str, Any]
KEY = {"pk": {"S": "P#nobody"}, "sk": {"S": "nothing"}}
FUNCTIONS = sorted(resources("AWS::Serverless::Function"))
TABLES = sorted(resources("AWS::DynamoDB::Table"))


@pytest.fixture(scope="module")
def deployed(stack: Stack) -> dict[str, str]:
    """Logical id → name or ARN of what was deployed."""
    listing = boto3.client("cloudformation").get_paginator("list_stack_resources")
    return {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for page in listing.paginate(StackName=stack["stack_name"])
        for resource in page["StackResourceSummaries"]
    }


def assume(role: str) -> dict[str, str]:
    """Credentials of the role, as its function has them."""
    arn = boto3.client("iam").get_role(RoleName=role)["Role"]["Arn"]
    given = boto3.client("sts").assume_role(RoleArn=arn, RoleSessionName=OUTSIDER)["Credentials"]
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


def calls(client: Any, table: str) -> Iterator[tuple[str, Any]]:
    """What can be done with a table, by action, each in a way that does nothing."""
    never = "attribute_exists(pk)"
    yield "Scan", lambda: client.scan(TableName=table, Limit=1)
    yield (
        "Query",
        lambda: client.query(
            TableName=table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": KEY["pk"]},
        ),
    )
    yield "BatchGetItem", lambda: client.batch_get_item(RequestItems={table: {"Keys": [KEY]}})
    yield "DeleteTable", lambda: client.delete_table(TableName=table)
    parts = {
        "Get": {"Key": KEY},
        "Put": {"Item": KEY, "ConditionExpression": never},
        "Update": {"Key": KEY, "UpdateExpression": "REMOVE nothing", "ConditionExpression": never},
        "Delete": {"Key": KEY},
    }
    for kind, part in parts.items():
        request = {"TableName": table, **part}
        call = getattr(client, f"{kind.lower()}_item")
        yield PARTS[kind], lambda call=call, request=request: call(**request)
        if kind != "Get":
            items = [{kind: request}]
            yield PARTS[kind], lambda items=items: client.transact_write_items(TransactItems=items)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_does_with_each_table_what_its_policy_says(
    function: str, deployed: dict[str, str]
) -> None:
    client = boto3.client("dynamodb", **assume(deployed[f"{function}Role"]))
    for table in TABLES:
        for action, call in calls(client, deployed[table]):
            may = (f"dynamodb:{action}", table) in allowed(function)
            try:
                call()
                refused = False
            except ClientError as error:
                refused = error.response["Error"]["Code"] == "AccessDeniedException"
            assert refused is not may, f"{function} and {action} of {table}"


def test_without_one_action_the_function_fails_and_the_record_says_so(
    stack: Stack, people: dict[str, Caller], deployed: dict[str, str]
) -> None:
    admin, iam = people["admin"], boto3.client("iam")
    expert = admin.get("/v1/experts")["items"][0]
    role = deployed["ExpertsFunctionRole"]
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    policy = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    without = re.sub(r'"dynamodb:(Batch)?GetItem"(, )?', "", json.dumps(policy))
    assert without != json.dumps(policy)
    ON_PURPOSE.update({(role, "dynamodb:GetItem"), (role, "dynamodb:BatchGetItem")})

    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=without)
    try:
        problem = admin.call("GET", f"/v1/experts/{expert['id']}", 500)
    finally:
        again = json.dumps(policy)
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=again)

    assert problem["type"] == "urn:consulta:problem:internal"
    assert "dynamodb" not in json.dumps(problem).lower()
    assert any(
        d["role"] == role and d["session"] != OUTSIDER and not d["allowed"] for d in decided()
    )
    assert admin.get(f"/v1/experts/{expert['id']}")["id"] == expert["id"]
