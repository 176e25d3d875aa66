"""``ledger verify``: every posting, every sum, and every payment against its entries."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from consulta.core.keys import Tenant
from consulta.money.books.ledger import PLATFORM
from consulta.money.books.verify import Finding
from consulta.money.books.verify import verify as verify_ledger
from consulta_cli import figures, stack

Practice = Annotated[str, typer.Option(help="Only this practice (its id).")]
COLUMNS = ("Practice", "Kind", "Payment", "Posting", "Book", "Account", "Currency")

group = typer.Typer(help="The ledger.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(group, name="ledger")


@group.callback()
def ledger() -> None:
    """The double-entry ledger under every movement of money."""


@group.command()
def verify(
    practice: Practice = "",
    core_table: stack.CoreTable = "",
    aggregates_table: stack.AggregatesTable = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """Prove that every posting balances and every payment follows from them; else exit 1."""
    stack.use(core_table, aggregates_table, endpoint_url, stack_file)
    tenants = figures.chosen(practice)
    if not practice:
        # The platform's own payouts are no practice's: they have a place of their own.
        tenants.append(Tenant(PLATFORM))
    found = list[tuple[str, Finding]]()
    with figures.bars(len(tenants), "items") as bars:
        for tenant in tenants:
            with bars.practice(tenant):
                found += [(tenant.practice, one) for one in verify_ledger(tenant, bars.add)]
        items = bars.counted
    console = Console(soft_wrap=True)
    if found:
        _show(console, found)
    console.print(f"{len(tenants)} ledgers, {items} items, {len(found)} findings")
    if found:
        raise typer.Exit(1)


def _show(console: Console, found: list[tuple[str, Finding]]) -> None:
    if console.is_terminal:
        shown = Table(*COLUMNS, "Expected", "Found", title="What is wrong")
        for practice, finding in found:
            shown.add_row(practice, *(str(value) for value in finding))
        console.print(shown)
        return
    for practice, finding in found:
        print(practice, *(value if value != "" else "-" for value in finding))  # noqa: T201  # one line each, for other tools
