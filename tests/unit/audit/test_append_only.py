"""House rules of the audit's resources in template.yaml."""

from typing import Any

from tests.template import resources

FUNCTIONS = resources("AWS::Serverless::Function")
TABLE = {"Fn::GetAtt": ["AuditTable", "Arn"]}


def actions_on(resource: dict[str, Any], function: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for policy in function["Properties"].get("Policies", []):
        for statement in policy.get("Statement", []):
            on = statement["Resource"]
            if resource in (on if isinstance(on, list) else [on]):
                named = statement["Action"]
                found |= set(named if isinstance(named, list) else [named])
    return found


def test_one_function_adds_rows_and_none_changes_them() -> None:
    writers = {
        name: actions_on(TABLE, function) & {"dynamodb:PutItem"}
        for name, function in FUNCTIONS.items()
    }
    assert [name for name, found in writers.items() if found] == ["AuditFunction"]
    for function in FUNCTIONS.values():
        for forbidden in ("UpdateItem", "DeleteItem", "BatchWriteItem"):
            assert f"dynamodb:{forbidden}" not in actions_on(TABLE, function)


def test_the_table_and_the_seals_outlive_the_stack() -> None:
    table = resources("AWS::DynamoDB::Table")["AuditTable"]
    bucket = resources("AWS::S3::Bucket")["AuditBucket"]
    for resource in (table, bucket):
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    assert table["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
    assert "TimeToLiveSpecification" not in table["Properties"]
    lock = bucket["Properties"]["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert lock["Mode"] == "COMPLIANCE"
    assert bucket["Properties"]["VersioningConfiguration"]["Status"] == "Enabled"


def test_only_seals_are_put_and_never_deleted() -> None:
    for name, function in FUNCTIONS.items():
        for policy in function["Properties"].get("Policies", []):
            for statement in policy.get("Statement", []):
                if "AuditBucket" in str(statement["Resource"]):
                    assert name == "AuditSealFunction"
                    assert set(statement["Action"]) == {"s3:PutObject", "s3:GetObject"}
