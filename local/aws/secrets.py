"""Secrets that a template makes."""

from typing import Any

from ministack.services import secretsmanager
from ministack.services.cloudformation import provisioners

KIND = "AWS::SecretsManager::Secret"


def refer_to_secrets_by_arn() -> None:
    """Gap: ``!Ref`` of a secret is its name, so a policy that names it so allows nothing.

    On AWS it is the ARN (CloudFormation reference, AWS::SecretsManager::Secret, "Return values").
    """
    handlers = provisioners._RESOURCE_HANDLERS[KIND]
    create, update, delete = handlers["create"], handlers["update"], handlers["delete"]

    def create_by_arn(*arguments: Any, **named: Any) -> tuple[str, dict[str, str]]:
        _, attributes = create(*arguments, **named)
        return attributes["Arn"], attributes

    def update_by_arn(arn: str, *arguments: Any, **named: Any) -> tuple[str, dict[str, str]]:
        _, attributes = update(_name(arn), *arguments, **named)
        return attributes["Arn"], attributes

    def delete_by_arn(arn: str, *arguments: Any, **named: Any) -> Any:
        return delete(_name(arn), *arguments, **named)

    handlers |= {"create": create_by_arn, "update": update_by_arn, "delete": delete_by_arn}


def _name(arn: str) -> str:
    name, _ = secretsmanager._resolve(arn)
    return name or arn
