"""``reconcile``: the run of one day, now, and what it leaves open."""

import json
import os
from datetime import UTC, date, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from consulta.core import aws
from consulta.core.item import Actor
from consulta.money.accounts.payout_effects import PLATFORM_TENANT
from consulta.money.reconciliation import listing, running
from consulta.money.reconciliation.records import FINISHED, DifferenceItem
from consulta.money.reconciliation.storing import OPEN, is_pressing
from consulta_cli import stack

Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A UTC day; today.")]
Function = Annotated[str, typer.Option(help="Name of the function that reconciles.")]
COLUMNS = ("Class", "Cause", "Practice", "Account", "Provider id", "Posting", "Expected", "Found")
# A function lives a quarter of an hour at most; a boto client of ours would not wait for it.
WAIT_S = 870
ROUNDS = 50


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(reconcile)


def reconcile(
    day: Day = None,
    core_table: stack.CoreTable = "",
    function: Function = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """Compare the providers with the ledger; exit 1 if anything is open and not in flight."""
    stack.use_reconcile(
        {"CORE_TABLE": core_table, "RECONCILE_FUNCTION": function}, endpoint_url, stack_file
    )
    wanted = day.date() if day else datetime.now(UTC).date()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(f"reconciling {wanted}", total=None)
        _run(wanted)
    item = running.find(PLATFORM_TENANT, wanted.isoformat())
    if item is None or item.state != FINISHED:
        raise typer.BadParameter("the run did not finish: the function's log says why")
    found = [one for one in listing.seen_on(PLATFORM_TENANT, item.item_id) if one.state == OPEN]
    console = Console(soft_wrap=True)
    _show(console, found)
    for failed in item.failures:
        console.print(f"{failed['account']} was not reconciled: {failed['why']}")
    pressing = sum(is_pressing(one.kind) for one in found)
    console.print(
        f"{int(item.accounts)} accounts, {int(item.transactions)} transactions, "
        f"{len(found)} differences, {len(found) - pressing} of them in flight"
    )
    if pressing or item.failures:
        raise typer.Exit(1)


def _run(day: date) -> None:
    """Ask for it, and call the function until it is finished: it keeps its place."""
    running.ask(day, Actor("consulta", "consulta"))
    for _ in range(ROUNDS):
        answer = aws.client("lambda", WAIT_S, 1).invoke(
            FunctionName=os.environ["RECONCILE_FUNCTION"],
            Payload=json.dumps({"day": day.isoformat()}),
        )
        told = json.loads(answer["Payload"].read() or b"{}")
        if answer.get("FunctionError"):
            raise typer.BadParameter("the function failed: its log says why")
        if not told or told.get("state") == FINISHED:
            return


def _show(console: Console, found: list[DifferenceItem]) -> None:
    if not found:
        return
    if console.is_terminal:
        shown = Table(*COLUMNS, title="What is not the same")
        for one in found:
            shown.add_row(*_line(one))
        console.print(shown)
        return
    for one in found:
        print(*_line(one))  # noqa: T201  # one line each, for other tools


def _line(one: DifferenceItem) -> list[str]:
    return [
        one.kind,
        one.cause,
        one.tenant.practice,
        one.account,
        one.provider_id or "-",
        one.posting_key,
        f"{int(one.expected)} {one.currency}",
        f"{int(one.found)} {one.currency}",
    ]
