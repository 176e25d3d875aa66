"""A small stack, in a MiniStack of its own, of all that test_local_aws.py looks at."""

import io
import json
import socket
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx

from local import processes
from local.environment import endpoint, ministack_environment, runtime
from local.processes import Service

ROOT = Path(__file__).resolve().parents[2]
STACK = "gaps"
ORIGIN, DEFAULT_ORIGIN = "http://localhost:5173", "http://localhost:1"
PATIENCE_SECONDS = 15.0

ECHO = """
import importlib.util, json

def lambda_handler(event, context):
    spec = importlib.util.find_spec("in_the_layer")
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({
            "event": event,
            "layer": spec.origin if spec else None,
            "sees_pytest": importlib.util.find_spec("pytest") is not None,
        }),
    }
"""

AUTHORIZE = """
import uuid

def lambda_handler(event, context):
    token = event["headers"].get("authorization", "none")
    return {"isAuthorized": True, "context": {"token": token, "decision": str(uuid.uuid4())}}
"""

# Prints what it was given; what begins with "bad" fails, in the way the variable says.
CONSUME = """
import json, os

def lambda_handler(event, context):
    if "Records" not in event:
        print(json.dumps(event))
        return None
    names, failures = [], []
    for record in event["Records"]:
        stream = record.get("dynamodb")
        name = stream["Keys"]["pk"]["S"] if stream else json.loads(record["body"])["pk"]
        names.append(name)
        if name.startswith("bad"):
            failures.append(stream["SequenceNumber"] if stream else record["messageId"])
    print(json.dumps(names))
    if failures and os.environ["MODE"] == "raise":
        raise ValueError("bad")
    return {"batchItemFailures": [{"itemIdentifier": failure} for failure in failures]}
"""


@dataclass(frozen=True)
class Aws:
    """A running MiniStack with the test's stack in it."""

    url: str
    outputs: dict[str, str]

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.url)

    def api(self, path: str, **request: Any) -> httpx.Response:
        """A request to the stack's HTTP API by the address that plain MiniStack knows."""
        address = f"{self.url}/_aws/execute-api/{self.outputs['Api']}/$default"
        return httpx.request(request.pop("method", "GET"), address + path, **request)

    def hand_made_api(self, function: str) -> str:
        """The address of an API made by calls, for a MiniStack that cannot import a body."""
        gateway = self.client("apigatewayv2")
        api = gateway.create_api(Name="hand-made", ProtocolType="HTTP")["ApiId"]
        integration = gateway.create_integration(
            ApiId=api,
            IntegrationType="AWS_PROXY",
            IntegrationUri=self.outputs[function],
            PayloadFormatVersion="2.0",
        )["IntegrationId"]
        route = {"RouteKey": "GET /webhooks/echo", "Target": f"integrations/{integration}"}
        gateway.create_route(ApiId=api, **route)
        gateway.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
        return f"{self.url}/_aws/execute-api/{api}/$default/webhooks/echo"

    def invoke(self, function: str) -> Any:
        """The decoded body that the function answers with."""
        answer = self.client("lambda").invoke(FunctionName=self.outputs[function], Payload=b"{}")
        return json.loads(json.load(answer["Payload"])["body"])

    def printed(self, function: str) -> list[Any]:
        """What the function printed, oldest first."""
        group = f"/aws/lambda/{self.outputs[function]}"
        logs = self.client("logs")
        found = [g["logGroupName"] for g in logs.describe_log_groups()["logGroups"]]
        if group not in found:
            return []
        events = logs.filter_log_events(logGroupName=group)["events"]
        return [json.loads(e["message"]) for e in events if e["message"].startswith(("[", "{"))]

    def messages(self, queue: str) -> list[Any]:
        received = self.client("sqs").receive_message(
            QueueUrl=self.outputs[queue], MaxNumberOfMessages=10, WaitTimeSeconds=0
        )
        return [json.loads(message["Body"]) for message in received.get("Messages", [])]

    def offer(self, table: str, mapping: str, names: list[str]) -> None:
        """Write the items while the event source is off, so that they arrive as one batch."""
        for name in names:
            self.client("dynamodb").put_item(
                TableName=self.outputs[table], Item={"pk": {"S": name}}
            )
        self.client("lambda").update_event_source_mapping(UUID=self.outputs[mapping], Enabled=True)


def until(condition: Callable[[], Any]) -> Any:
    """The first true answer; fails when none comes in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return answer


def function(code: str, **properties: Any) -> dict[str, Any]:
    defaults = {"InlineCode": code, "Handler": "index.lambda_handler", "Runtime": runtime()}
    return {"Type": "AWS::Serverless::Function", "Properties": defaults | properties}


def stream_source(table: str, **properties: Any) -> dict[str, Any]:
    defaults = {
        "Stream": {"Fn::GetAtt": [table, "StreamArn"]},
        "StartingPosition": "TRIM_HORIZON",
        "Enabled": False,
        "DestinationConfig": {
            "OnFailure": {"Type": "SQS", "Destination": {"Fn::GetAtt": ["Failures", "Arn"]}}
        },
    }
    return {"Records": {"Type": "DynamoDB", "Properties": defaults | properties}}


def table_with_stream() -> dict[str, Any]:
    return {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
        },
    }


def template() -> dict[str, Any]:
    """What the project's template does, in small."""
    not_ignored = {"dynamodb": {"Keys": {"pk": {"S": [{"anything-but": ["ignored"]}]}}}}
    api = {"ApiId": {"Ref": "Api"}, "Method": "ANY"}
    routes = {
        "Own": {"Type": "HttpApi", "Properties": api | {"Path": "/v1/echo/{proxy+}"}},
        "Open": {
            "Type": "HttpApi",
            "Properties": api | {"Path": "/webhooks/echo", "Auth": {"Authorizer": "NONE"}},
        },
    }
    resources = {
        "Api": {
            "Type": "AWS::Serverless::HttpApi",
            "Properties": {
                "CorsConfiguration": {"AllowOrigins": [{"Ref": "Origin"}], "AllowMethods": ["GET"]},
                "Auth": {
                    "DefaultAuthorizer": "Token",
                    "Authorizers": {
                        "Token": {
                            "FunctionArn": {"Fn::GetAtt": ["Authorizer", "Arn"]},
                            "AuthorizerPayloadFormatVersion": "2.0",
                            "EnableSimpleResponses": True,
                            "EnableFunctionDefaultPermissions": True,
                            "Identity": {"ReauthorizeEvery": 0},
                        }
                    },
                },
            },
        },
        "Layer": {
            "Type": "AWS::Serverless::LayerVersion",
            "Properties": {"ContentUri": "s3://layers/layer.zip"},
        },
        "Authorizer": function(AUTHORIZE),
        "Echo": function(ECHO, Layers=[{"Ref": "Layer"}], Events=routes),
        "Other": function(ECHO, Layers=[{"Ref": "Layer"}]),
        "PartialTable": table_with_stream(),
        "Partial": function(
            CONSUME,
            Environment={"Variables": {"MODE": "report"}},
            Events=stream_source(
                "PartialTable",
                FunctionResponseTypes=["ReportBatchItemFailures"],
                MaximumRetryAttempts=1,
                FilterCriteria={"Filters": [{"Pattern": json.dumps(not_ignored)}]},
            ),
        ),
        "BisectedTable": table_with_stream(),
        "Bisected": function(
            CONSUME,
            Environment={"Variables": {"MODE": "raise"}},
            Events=stream_source(
                "BisectedTable", MaximumRetryAttempts=0, BisectBatchOnFunctionError=True
            ),
        ),
        "People": {
            "Type": "AWS::Cognito::UserPool",
            "Properties": {
                "UsernameAttributes": ["email"],
                "AutoVerifiedAttributes": ["email"],
                "MfaConfiguration": "OPTIONAL",
                "EnabledMfas": ["SOFTWARE_TOKEN_MFA"],
            },
        },
        "App": {
            "Type": "AWS::Cognito::UserPoolClient",
            "Properties": {
                "UserPoolId": {"Ref": "People"},
                "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH"],
                "PreventUserExistenceErrors": "ENABLED",
                "RefreshTokenRotation": {"Feature": "ENABLED", "RetryGracePeriodSeconds": 1},
            },
        },
        "Secret": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": "{}"}},
        "Failures": {"Type": "AWS::SQS::Queue"},
        "DeadLetters": {"Type": "AWS::SQS::Queue"},
        "Work": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "VisibilityTimeout": 1,
                "RedrivePolicy": {
                    "deadLetterTargetArn": {"Fn::GetAtt": ["DeadLetters", "Arn"]},
                    "maxReceiveCount": 2,
                },
            },
        },
        "Worker": function(
            CONSUME,
            Timeout=1,
            Environment={"Variables": {"MODE": "report"}},
            Events={
                "Queue": {
                    "Type": "SQS",
                    "Properties": {
                        "Queue": {"Fn::GetAtt": ["Work", "Arn"]},
                        "FunctionResponseTypes": ["ReportBatchItemFailures"],
                        "FilterCriteria": {
                            "Filters": [{"Pattern": json.dumps({"body": {"kind": ["work"]}})}]
                        },
                    },
                }
            },
        ),
        "Scheduled": function(CONSUME),
        "Minutely": function(
            CONSUME,
            Events={
                "Sweep": {
                    "Type": "ScheduleV2",
                    "Properties": {"ScheduleExpression": "rate(1 minute)", "Input": '{"a": 1}'},
                }
            },
        ),
    }
    return {
        "Transform": "AWS::Serverless-2016-10-31",
        "Parameters": {"Origin": {"Type": "String", "Default": DEFAULT_ORIGIN}},
        "Resources": resources,
        "Outputs": {name: {"Value": {"Ref": name}} for name in resources if name != "Layer"}
        | {
            f"{name}Mapping": {"Value": {"Ref": f"{name}Records"}}
            for name in ("Partial", "Bisected")
        }
        | {"ScheduledArn": {"Value": {"Fn::GetAtt": ["Scheduled", "Arn"]}}},
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(module: str, folder: Path) -> Aws:
    """Start a MiniStack in the folder and deploy the template into it."""
    port = free_port()
    for name in ("tmp", "layers"):
        (folder / name).mkdir()
    environment = ministack_environment(port, folder / "tmp", folder / "layers", auth=False)
    aws = Aws(endpoint(port), {})
    health = f"{aws.url}/_ministack/health"
    processes.start(folder, [Service("aws", (module,), environment, health)], ROOT)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as layer:
        layer.writestr("python/in_the_layer.py", "")
    aws.client("s3").create_bucket(Bucket="layers")
    aws.client("s3").put_object(Bucket="layers", Key="layer.zip", Body=archive.getvalue())
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template()),
        Parameters=[{"ParameterKey": "Origin", "ParameterValue": ORIGIN}],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    waiter = cloudformation.get_waiter("stack_create_complete")
    waiter.wait(StackName=STACK, WaiterConfig={"Delay": 0.2, "MaxAttempts": 100})
    outputs = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
    return Aws(aws.url, {o["OutputKey"]: o["OutputValue"] for o in outputs})
