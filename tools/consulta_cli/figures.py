"""``verify``, ``rebuild``, ``backfill`` and ``repair-figures``: of every practice, or of one."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from consulta.aggregates import row_repair, walk
from consulta.aggregates.rows import Damaged
from consulta.aggregates.verify import Difference
from consulta.aggregates.verify import verify as verify_practice
from consulta.aggregates.walk import Walked
from consulta.aggregates.walk_state import NewerGeneration
from consulta.core import table
from consulta.core.errors import Busy
from consulta.core.keys import Tenant, all_practices, tenant_of
from consulta.core.observe import logger
from consulta.people.records import PRACTICE
from consulta_cli import stack

Practice = Annotated[str, typer.Option(help="Only this practice (its id).")]
All = Annotated[bool, typer.Option("--all", help="Every practice.")]
Workers = Annotated[
    int, typer.Option(min=1, max=10, help="Segments of a practice that are worked on at once.")
]
WORKERS = 4


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(verify)
    app.command()(rebuild)
    app.command()(backfill)
    app.command()(repair_figures)


def verify(
    practice: Practice = "",
    workers: Workers = WORKERS,
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
                differences = verify_practice(tenant, progress.add, workers=workers)
                found += [(tenant.practice, difference) for difference in differences]
        items = progress.counted
    console = Console()
    if found:
        console.print(_differences(found))
    console.print(f"{len(tenants)} practices, {items} items, {len(found)} differences")
    if found:
        raise typer.Exit(1)


def rebuild(
    practice: Practice = "",
    every: All = False,
    workers: Workers = WORKERS,
    fresh: Annotated[
        bool, typer.Option(help="From the start, where a walk was broken off, too.")
    ] = False,
    core_table: stack.CoreTable = "",
    aggregates_table: stack.AggregatesTable = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """Walk all items through the figures: what is missing is added, what is gone is taken out.

    Of every practice unless one is named. It may run beside live traffic and beside another of
    itself, and goes on where it was broken off. Exit 1 if a practice could not be finished, or has
    items that cannot be counted.
    """
    stack.use(core_table, aggregates_table, endpoint_url, stack_file)
    _one_or_all(practice, every)
    _walk_all(
        chosen(practice),
        lambda tenant, watch: walk.walk(tenant, watch, workers=workers, fresh=fresh),
    )


def backfill(
    practice: Practice = "",
    every: All = False,
    workers: Workers = WORKERS,
    core_table: stack.CoreTable = "",
    aggregates_table: stack.AggregatesTable = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """After a deployment with new figures: walk only the items that they are made of.

    Of every practice unless one is named; nothing where its figures are complete. As rebuild
    otherwise.
    """
    stack.use(core_table, aggregates_table, endpoint_url, stack_file)
    _one_or_all(practice, every)
    _walk_all(chosen(practice), lambda tenant, watch: walk.backfill(tenant, watch, workers=workers))


def _walk_all(tenants: list[Tenant], walk_one: Callable[[Tenant, walk.Watch], Walked]) -> None:
    looked_at, unreadable, unfinished, began = 0, 0, list[str](), time.monotonic()
    with bars(len(tenants), "rows") as progress:
        for tenant in tenants:
            with progress.practice(tenant):
                try:
                    walked = walk_one(tenant, progress.show)
                except Busy:
                    unfinished.append(f"{tenant.practice}: too busy; run it again to go on")
                except walk.Overtaken:
                    unfinished.append(f"{tenant.practice}: another walk has begun in its place")
                except NewerGeneration:
                    unfinished.append(f"{tenant.practice}: newer code has counted; use that")
                else:
                    looked_at += walked.here
                    unreadable += walked.unreadable
    console = Console()
    for line in unfinished:
        console.print(line)
    console.print(
        f"{len(tenants)} practices walked, {looked_at} rows, {_rate(looked_at, began)}; "
        f"{unreadable} items could not be counted"
    )
    if unfinished or unreadable:
        raise typer.Exit(1)


def repair_figures(
    practice: Practice = "",
    every: All = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is wrong.")] = False,
    workers: Workers = WORKERS,
    core_table: stack.CoreTable = "",
    aggregates_table: stack.AggregatesTable = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """Set rows of figures to the sums of their contributions, where they are not that.

    For what `verify` calls figure, pair, visits, months or days; what it calls contribution is for
    `rebuild`, before this. It may run beside live traffic. Exit 1 where rows are left that changed
    whenever they were read: run it again at a quieter time; with --dry-run, where any are wrong.
    Nothing is written of a practice in which `verify` calls a row damaged: nobody knows its sums.
    """
    stack.use(core_table, aggregates_table, endpoint_url, stack_file)
    if not (practice or every):
        raise typer.BadParameter("name a practice, or say --all", param_hint="--practice")
    _one_or_all(practice, every)
    tenants = chosen(practice)
    rows, found, unsettled = 0, list[tuple[str, Difference]](), list[str]()
    with bars(len(tenants), "rows") as progress:
        for tenant in tenants:
            with progress.practice(tenant):
                try:
                    repaired = row_repair.repair(
                        tenant, progress.rounds, workers=workers, dry_run=dry_run
                    )
                except NewerGeneration:
                    unsettled.append(f"{tenant.practice}: newer code has counted; use that")
                    continue
                except Damaged as damaged:
                    unsettled.append(f"{damaged.pk}: its contribution row cannot be read")
                    continue
                rows += repaired.rows
                found += [(tenant.practice, difference) for difference in repaired.found]
                unsettled += [
                    f"{tenant.practice}: {row} keeps changing" for row in repaired.unsettled
                ]
    console = Console()
    if found:
        console.print(_differences(found, title="To be repaired" if dry_run else "Repaired"))
    for line in unsettled:
        console.print(line)
    console.print(
        f"{len(tenants)} practices, {rows} rows, {len(found)} numbers "
        f"{'to be repaired' if dry_run else 'repaired'}, {len(unsettled)} rows not settled"
    )
    if unsettled or (dry_run and found):
        raise typer.Exit(1)


def _one_or_all(practice: str, every: bool) -> None:
    if practice and every:
        raise typer.BadParameter("name a practice or say --all, not both", param_hint="--all")


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


def _differences(found: list[tuple[str, Difference]], title: str = "Differences") -> Table:
    shown = Table("Practice", "Kind", "Row", "Figure", "Expected", "Found", title=title)
    for name, difference in found:
        kind, row, figure, expected, stored = difference
        shown.add_row(name, kind, row, figure, str(expected), str(stored))
    return shown


def _rate(rows: int, began: float) -> str:
    return f"{rows / max(time.monotonic() - began, 0.001):,.0f} rows/s"


class Bars:
    """One line for the practices and one for the practice in work, on standard error."""

    def __init__(self, progress: Progress, practices: int, unit: str) -> None:
        self._progress, self._unit = progress, unit
        self._all = progress.add_task("practices", total=practices)
        self._one = progress.add_task(unit, total=None)
        self._began = time.monotonic()
        self.counted = 0

    @contextmanager
    def practice(self, tenant: Tenant) -> Iterator[None]:
        """One practice's turn."""
        self._began = time.monotonic()
        self._progress.reset(self._one, description=f"{tenant.practice} {self._unit}")
        yield
        self._progress.advance(self._all)

    def add(self, items: int) -> None:
        """So many more were looked at."""
        self.counted += items
        self._progress.advance(self._one, items)

    def show(self, walked: Walked) -> None:
        """Where a walk has come to, and of what where a walk before it tells."""
        text = f"segment {walked.ended}/{walked.segments}, {_rate(walked.here, self._began)}"
        if walked.share is not None:
            text += f", about {walked.share:.0%}"
        total = walked.before or None
        self._progress.update(self._one, completed=walked.looked_at, total=total, description=text)

    def rounds(self, repaired: row_repair.Repaired) -> None:
        """How often a repair has measured by now."""
        text = f"round {repaired.rounds}, {len(repaired.found)} numbers repaired"
        self._progress.update(self._one, completed=repaired.rows, description=text)


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
