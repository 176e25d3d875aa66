"""template.yaml as the tests read it: the tables, functions and routes that are really deployed."""

from functools import cache
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml

ROOT = Path(__file__).resolve().parents[1]
TABLE_PROPERTIES = (
    "BillingMode",
    "AttributeDefinitions",
    "KeySchema",
    "GlobalSecondaryIndexes",
    "StreamSpecification",
)


@cache
def template() -> dict[str, Any]:
    """The template with its intrinsic functions as plain mappings."""
    return dict(cfn_yaml.load(str(ROOT / "template.yaml")))


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Logical id → resource, of one type."""
    return {
        name: resource
        for name, resource in template()["Resources"].items()
        if isinstance(resource, dict) and resource.get("Type") == kind
    }


def create_table(client: Any, logical_id: str, name: str) -> None:
    """Make a table as the template describes it."""
    properties = template()["Resources"][logical_id]["Properties"]
    request = {key: properties[key] for key in TABLE_PROPERTIES if key in properties}
    if "StreamSpecification" in request:
        request["StreamSpecification"] = {"StreamEnabled": True, **request["StreamSpecification"]}
    client.create_table(TableName=name, **request)
