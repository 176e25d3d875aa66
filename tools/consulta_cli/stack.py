"""Which stack a command works on: named by options, or the local one that is running."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

LOCAL_STACK = Path(__file__).resolve().parents[2] / ".local" / "stack.json"

CoreTable = Annotated[str, typer.Option(help="Name of the core table.")]
AggregatesTable = Annotated[str, typer.Option(help="Name of the aggregates table.")]
AuditTable = Annotated[str, typer.Option(help="Name of the audit table.")]
AuditBucket = Annotated[str, typer.Option(help="Name of the audit's bucket of seals.")]
AuditSecret = Annotated[str, typer.Option(help="ARN of the audit's secret.")]
EventsQueue = Annotated[str, typer.Option(help="Address of the payment events' queue.")]
StripeSecret = Annotated[str, typer.Option(help="ARN of Stripe's secret.")]
ApiUrl = Annotated[str, typer.Option(help="Address of the API, as the stack's outputs name it.")]
StripeApiBase = Annotated[str, typer.Option(help="Address of a local Stripe; none for Stripe.")]
DeadLetters = Annotated[str, typer.Option(help="Address of the queue of dead letters.")]
EndpointUrl = Annotated[str, typer.Option(help="Address of a local AWS; none for AWS itself.")]
StackFile = Annotated[Path, typer.Option(help="What `make run` wrote about the local stack.")]


def use(core_table: str, aggregates_table: str, endpoint_url: str, stack_file: Path) -> None:
    """Point this process at a stack.

    With both tables named, nothing else is looked up: AWS with the operator's own credentials, or
    the endpoint. Otherwise the local stack's file is read. A local AWS gets no real credentials.
    """
    if not (core_table and aggregates_table):
        if core_table or aggregates_table:
            raise typer.BadParameter("name both tables, or neither for the local stack")
        core_table, aggregates_table, address = described(stack_file)
        endpoint_url = endpoint_url or address
    os.environ |= {"CORE_TABLE": core_table, "AGGREGATES_TABLE": aggregates_table}
    _point(endpoint_url)


AUDIT_OUTPUTS = {
    "CORE_TABLE": "CoreTableName",
    "AUDIT_TABLE": "AuditTableName",
    "AUDIT_BUCKET": "AuditBucketName",
    "AUDIT_SECRET_ARN": "AuditSecretArn",
}


def use_audit(named: Mapping[str, str], endpoint_url: str, stack_file: Path) -> None:
    """Point this process at a stack's audit: all of ``named``, or the local stack's. See use."""
    values = dict(named)
    if not all(values.values()):
        if any(values.values()):
            raise typer.BadParameter("name tables, bucket and secret, or none for the local stack")
        outputs, address = _outputs(stack_file, list(AUDIT_OUTPUTS.values()))
        values = {name: outputs[output] for name, output in AUDIT_OUTPUTS.items()}
        endpoint_url = endpoint_url or address
    os.environ |= values
    _point(endpoint_url)


def _point(endpoint_url: str) -> None:
    if endpoint_url:
        os.environ.pop("AWS_PROFILE", None)
        os.environ.pop("AWS_SESSION_TOKEN", None)
        os.environ |= {
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def described(stack_file: Path) -> tuple[str, str, str]:
    """Core table, aggregates table and address of a local stack. Raises BadParameter."""
    names = ["CoreTableName", "AggregatesTableName"]
    outputs, address = _outputs(stack_file, names)
    return outputs[names[0]], outputs[names[1]], address


def _outputs(stack_file: Path, names: Sequence[str]) -> tuple[dict[str, str], str]:
    """Some of a local stack's outputs, and its address. Raises BadParameter."""
    try:
        stack = json.loads(stack_file.read_text())
        api = urlsplit(stack["api_url"])
        outputs = {name: str(stack["outputs"][name]) for name in names}
    except FileNotFoundError:
        raise typer.BadParameter(
            f"there is no {stack_file}: run `make run`, or name the tables"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise typer.BadParameter(f"{stack_file} does not describe a stack") from None
    return outputs, f"{api.scheme}://{api.netloc}"


QUEUE_OUTPUTS = {
    "CORE_TABLE": "CoreTableName",
    "PAYMENT_EVENTS_QUEUE_URL": "PaymentEventsQueueUrl",
    "DEAD_LETTERS_URL": "DeadLettersUrl",
}


def use_queues(named: Mapping[str, str], endpoint_url: str, stack_file: Path) -> None:
    """Point this process at a stack's payment events and dead letters. See use_audit."""
    values = dict(named)
    if not all(values.values()):
        if any(values.values()):
            raise typer.BadParameter("name the table and both queues, or none of them")
        outputs, address = _outputs(stack_file, list(QUEUE_OUTPUTS.values()))
        values = {name: outputs[output] for name, output in QUEUE_OUTPUTS.items()}
        endpoint_url = endpoint_url or address
    os.environ |= values
    _point(endpoint_url)


RECONCILE_OUTPUTS = {
    "CORE_TABLE": "CoreTableName",
    "RECONCILE_FUNCTION": "ReconcileFunctionName",
}


def use_reconcile(named: Mapping[str, str], endpoint_url: str, stack_file: Path) -> None:
    """Point this process at a stack's table and the function that reconciles. See use_audit."""
    values = dict(named)
    if not all(values.values()):
        if any(values.values()):
            raise typer.BadParameter("name the table and the function, or neither")
        outputs, address = _outputs(stack_file, list(RECONCILE_OUTPUTS.values()))
        values = {name: outputs[output] for name, output in RECONCILE_OUTPUTS.items()}
        endpoint_url = endpoint_url or address
    os.environ |= values
    _point(endpoint_url)


def use_stripe(
    secret: str, api_url: str, api_base: str, endpoint_url: str, stack_file: Path
) -> str:
    """Point this process at a stack's key of Stripe; the address of its API. See use_audit."""
    if not (secret and api_url):
        if secret or api_url:
            raise typer.BadParameter("name Stripe's secret and the API, or neither")
        outputs, address = _outputs(stack_file, ["StripeSecretArn"])
        told = json.loads(stack_file.read_text())
        secret, api_url = outputs["StripeSecretArn"], str(told["api_url"])
        endpoint_url = endpoint_url or address
        api_base = api_base or str(told["stripe_url"])
    os.environ["STRIPE_SECRET_ARN"] = secret
    if api_base:
        os.environ["STRIPE_API_BASE"] = api_base
    _point(endpoint_url)
    return api_url.rstrip("/")
