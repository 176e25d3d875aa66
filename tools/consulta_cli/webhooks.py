"""``webhooks check``, ``replay`` and ``list-accounts``, ``dead-letters redrive``.

Whether Stripe tells us what it has to, and what was not done.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from consulta.core import keys, table
from consulta.core.errors import Problem
from consulta.core.observe import logger
from consulta.money.accounts import payees
from consulta.money.schema.webhooks import RangeReplayRequest
from consulta.money.stripe import endpoints as stripe_endpoints
from consulta.money.stripe.client import api_version
from consulta.money.webhooks import endpoints
from consulta.money.webhooks import replay as replaying
from consulta_cli import dead_letters as letters
from consulta_cli import stack

From = Annotated[datetime, typer.Option("--from", help="Received at or after, in UTC.")]
To = Annotated[datetime, typer.Option("--to", help="Received before; at most 31 days.")]
EventsOf = Annotated[str, typer.Option("--provider", help="stripe or mercadopago; both without.")]
State = Annotated[str, typer.Option(help="FAILED, RECEIVED, IGNORED or, with --force, DONE.")]
Force = Annotated[bool, typer.Option(help="What is done is read again, too; it does no harm.")]
Queue = Annotated[str, typer.Option(help="Only what belongs to a queue with this in its name.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list them.")]
Limit = Annotated[int, typer.Option(min=1, help="At most this many.")]

BY = "consulta"
events = typer.Typer(help="The providers' events.", no_args_is_help=True)
dead = typer.Typer(help="What no worker could do.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(events, name="webhooks")
    app.add_typer(dead, name="dead-letters")


@events.callback()
def webhooks() -> None:
    """The providers' events as they were received."""


@dead.callback()
def dead_letters() -> None:
    """What no worker could do."""


@events.command()
def replay(
    from_: From,
    to: To,
    provider: EventsOf = "",
    state: State = "FAILED",
    force: Force = False,
    core_table: stack.CoreTable = "",
    events_queue: stack.EventsQueue = "",
    dead_letters_queue: stack.DeadLetters = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """Put the events of a time into the queue again; harmless however often."""
    _use(core_table, events_queue, dead_letters_queue, endpoint_url, stack_file)
    values = {
        "from": from_.replace(tzinfo=UTC),
        "to": to.replace(tzinfo=UTC),
        "provider": provider or None,
        "state": state,
        "force": force,
    }
    try:
        wanted = RangeReplayRequest.model_validate(values)
    except ValidationError as error:
        names = ", ".join(f"--{e['loc'][0]}" for e in error.errors())
        raise typer.BadParameter(f"not possible: {names}") from None
    queued = 0
    with _counting("events") as advance:
        while True:
            try:
                done = replaying.some(BY, wanted)
            except Problem as problem:
                raise typer.BadParameter(problem.detail) from None
            queued += done.queued
            advance(done.queued)
            if done.next_cursor is None:
                break
            wanted = wanted.model_copy(update={"cursor": done.next_cursor})
    Console(soft_wrap=True).print(f"{queued} events queued")


@events.command("list-accounts")
def list_accounts(
    core_table: stack.CoreTable = "",
    events_queue: stack.EventsQueue = "",
    dead_letters_queue: stack.DeadLetters = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """Put every connected account into the list that the repair goes through; harmless again.

    Only accounts that were connected before there was a list can be missing in it.
    """
    _use(core_table, events_queue, dead_letters_queue, endpoint_url, stack_file)
    listed = 0
    with _counting("practices") as advance:
        for raw in table.Query(keys.all_practices(), index="l1").all():
            listed += payees.list_accounts(keys.tenant_of(raw["pk"]["S"]).practice)
            advance(1)
    Console(soft_wrap=True).print(f"{listed} accounts listed")


@events.command()
def check(
    stripe_secret: stack.StripeSecret = "",
    api_url: stack.ApiUrl = "",
    stripe_api_base: stack.StripeApiBase = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """Compare Stripe's webhook endpoints with what this stack works on; after every deployment.

    Exit 1 where a version, a type or a whole endpoint is not as it has to be, 2 where Stripe cannot
    be asked.
    """
    address = stack.use_stripe(stripe_secret, api_url, stripe_api_base, endpoint_url, stack_file)
    url = f"{address}{endpoints.PATH}"
    try:
        with _counting("endpoints") as advance:
            listed = stripe_endpoints.listed()
            advance(len(listed))
    except Problem as problem:
        Console(stderr=True, soft_wrap=True).print(f"Stripe cannot be asked: {problem.detail}")
        raise typer.Exit(2) from None
    version = api_version()
    findings = endpoints.check(listed, url, version)
    _show_findings(findings)
    number = len(endpoints.at(url, listed))
    Console(soft_wrap=True).print(
        f"{number} endpoints at {url}, API version {version}: {len(findings)} findings"
    )
    if findings:
        raise typer.Exit(1)


@dead.command()
def redrive(
    queue: Queue = "",
    dry_run: DryRun = False,
    limit: Limit = 1000,
    core_table: stack.CoreTable = "",
    events_queue: stack.EventsQueue = "",
    dead_letters_queue: stack.DeadLetters = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """List the dead letters with their reasons, then send each back to its own queue.

    Exit 1 if some could not be sent: they belong to no queue, and stay where they are.
    """
    _use(core_table, events_queue, dead_letters_queue, endpoint_url, stack_file)
    with _counting("dead letters") as advance:
        found = []
        for letter in letters.read(limit):
            found.append(letter)
            advance(1)
    _show([letter for letter in found if queue in letter.queue])
    sent = kept = 0
    for letter in found:
        if dry_run or queue not in letter.queue:
            letters.release(letter)
        elif letters.redrive(letter):
            sent += 1
        else:
            kept += 1
    console = Console(soft_wrap=True)
    console.print(f"{len(found)} dead letters, {sent} sent back, {kept} belong to no queue")
    if kept:
        raise typer.Exit(1)


def _use(
    core_table: str, events_queue: str, dead_letters_queue: str, endpoint_url: str, stack_file: Path
) -> None:
    named = {
        "CORE_TABLE": core_table,
        "PAYMENT_EVENTS_QUEUE_URL": events_queue,
        "DEAD_LETTERS_URL": dead_letters_queue,
    }
    stack.use_queues(named, endpoint_url, stack_file)


def _show(found: list[letters.Letter]) -> None:
    console = Console(soft_wrap=True)
    if console.is_terminal:
        table = Table("Queue", "What", "Why", "Sent", "Received", title="Dead letters")
        for letter in found:
            table.add_row(*letters.shown(letter))
        console.print(table)
        return
    for letter in found:
        print(": ".join(letters.shown(letter)))  # noqa: T201  # one line each, for other tools


def _show_findings(findings: list[endpoints.Finding]) -> None:
    console = Console(soft_wrap=True)
    if findings and console.is_terminal:
        table = Table("What", "Endpoint", "Hears of", "Detail", title="Webhook endpoints")
        for one in findings:
            table.add_row(one.kind, one.endpoint or "-", one.scope, one.detail or "-")
        console.print(table)
        return
    for one in findings:
        # One line each, for other tools.
        print(one.kind, one.endpoint or "-", one.scope, one.detail or "-", sep=": ")  # noqa: T201


@contextmanager
def _counting(unit: str) -> Iterator[Callable[[int], None]]:
    # The functions' own log lines would break the line; what is wrong is in the exit code.
    level = logger.log_level
    logger.setLevel(logging.CRITICAL)
    columns = (SpinnerColumn(), TextColumn(f"{{task.completed}} {unit}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(unit, total=None)
            yield lambda number: progress.advance(task, number)
    finally:
        logger.setLevel(level)
