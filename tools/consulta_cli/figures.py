"""``verify`` and ``rebuild``: the figures of every practice, or of one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from consulta.aggregates.verify import Difference
from consulta.aggregates.verify import verify as verify_practice
from consulta.aggregates.walk import SEGMENTS, Walked
from consulta.aggregates.walk import walk as walk_practice
from consulta.core import table
from consulta.core.errors import Busy
from consulta.core.keys import Tenant, all_practices, tenant_of
from consulta.core.observe import logger
from consulta.people.records import PRACTICE
from consulta_cli import stack

Practice = Annotated[str, typer.Option(help="Only this practice (its id).")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(verify)
    app.command()(rebuild)


def verify(
    practice: Practice = "",
    core_table: stack.CoreTable = "",
    aggregates_table: stack.AggregatesTable = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """Compute every figure again from the items and compare; exit 1 on any difference."""
    stack.use(core_table, aggregates_table, endpoint_url, stack_file)
    tenants = chosen(practice)
    items, found = 0, list[tuple[str, Difference]]()
    with bars(len(tenants), "items") as progress:
        for tenant in tenants:
            with progress.practice(tenant):
                found += [(tenant.practice, d) for d in verify_practice(tenant, progress.add)]
        items = progress.counted
    console = Console()
    if found:
        console.print(_differences(found))
    console.print(f"{len(tenants)} practices, {items} items, {len(found)} differences")
    if found:
        raise typer.Exit(1)


def rebuild(
    practice: Practice = "",
    core_table: stack.CoreTable = "",
    aggregates_table: stack.AggregatesTable = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """Walk all items through the figures: what is missing is added, what is gone is taken out.

    It may run beside live traffic, and goes on where it was broken off. Exit 1 if a practice could
    not be finished, or has items that cannot be counted.
    """
    stack.use(core_table, aggregates_table, endpoint_url, stack_file)
    tenants = chosen(practice)
    unreadable, unfinished = 0, list[str]()
    with bars(len(tenants), "rows") as progress:
        for tenant in tenants:
            with progress.practice(tenant):
                try:
                    walked = walk_practice(tenant, progress.show)
                except Busy:
                    unfinished.append(tenant.practice)
                else:
                    unreadable += walked.unreadable
    console = Console()
    for name in unfinished:
        console.print(f"{name}: too busy, not finished; run it again to go on")
    console.print(f"{len(tenants)} practices walked, {unreadable} items could not be counted")
    if unfinished or unreadable:
        raise typer.Exit(1)


def chosen(practice: str) -> list[Tenant]:
    """The practice of this id, or all of them. Raises BadParameter where there is none."""
    if practice:
        tenant = Tenant(practice)
        if table.get_raw(tenant.item(PRACTICE, practice)) is None:
            raise typer.BadParameter("there is no such practice", param_hint="--practice")
        return [tenant]
    rows = table.Query(all_practices(), index="l1").all()
    tenants = [tenant_of(raw["pk"]["S"]) for raw in rows]
    if not tenants:
        raise typer.BadParameter("the table has no practice", param_hint="--core-table")
    return tenants


def _differences(found: list[tuple[str, Difference]]) -> Table:
    shown = Table("Practice", "Kind", "Row", "Figure", "Expected", "Found", title="Differences")
    for name, difference in found:
        kind, row, figure, expected, stored = difference
        shown.add_row(name, kind, row, figure, str(expected), str(stored))
    return shown


class Bars:
    """One line for the practices and one for the practice in work, on standard error."""

    def __init__(self, progress: Progress, practices: int, unit: str) -> None:
        self._progress, self._unit = progress, unit
        self._all = progress.add_task("practices", total=practices)
        self._one = progress.add_task(unit, total=None)
        self.counted = 0

    @contextmanager
    def practice(self, tenant: Tenant) -> Iterator[None]:
        """One practice's turn."""
        self._progress.reset(self._one, description=f"{tenant.practice} {self._unit}")
        yield
        self._progress.advance(self._all)

    def add(self, items: int) -> None:
        """So many more were looked at."""
        self.counted += items
        self._progress.advance(self._one, items)

    def show(self, walked: Walked) -> None:
        """Where a walk has come to."""
        segment = f"{SEGMENTS.index(walked.segment) + 1}/{len(SEGMENTS)} {walked.segment}"
        self._progress.update(self._one, completed=walked.looked_at, description=segment)


@contextmanager
def bars(practices: int, unit: str) -> Iterator[Bars]:
    """Progress on standard error while the block runs."""
    # The functions' own log lines would break the bars; failures are in the table and exit code.
    level = logger.log_level
    logger.setLevel(logging.CRITICAL)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield Bars(progress, practices, unit)
    finally:
        logger.setLevel(level)
