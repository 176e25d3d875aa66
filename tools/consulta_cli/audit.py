"""``audit verify``: every row, every history and every seal of the audit."""

import logging
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from consulta.audit.verifying import GRACE, Finding
from consulta.audit.verifying import verify as verify_audit
from consulta.core.observe import logger
from consulta_cli import stack

Practice = Annotated[str, typer.Option(help="Only this practice (its id).")]
Strict = Annotated[
    bool, typer.Option(help="Items that are older than their audit count as damage, too.")
]
GraceSeconds = Annotated[
    int, typer.Option(min=0, help="What was changed so recently may still be on its way.")
]

GRACE_S = int(GRACE.total_seconds())
group = typer.Typer(help="The audit.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(group, name="audit")


@group.callback()
def audit() -> None:
    """The audit of what was done."""


@group.command()
def verify(
    practice: Practice = "",
    strict: Strict = False,
    grace_seconds: GraceSeconds = GRACE_S,
    core_table: stack.CoreTable = "",
    audit_table: stack.AuditTable = "",
    audit_bucket: stack.AuditBucket = "",
    audit_secret: stack.AuditSecret = "",
    endpoint_url: stack.EndpointUrl = "",
    stack_file: stack.StackFile = stack.LOCAL_STACK,
) -> None:
    """Prove that no row was edited, deleted, inserted or moved; exit 1 with what is wrong."""
    stack.use_audit(
        {
            "CORE_TABLE": core_table,
            "AUDIT_TABLE": audit_table,
            "AUDIT_BUCKET": audit_bucket,
            "AUDIT_SECRET_ARN": audit_secret,
        },
        endpoint_url,
        stack_file,
    )
    level = logger.log_level
    logger.setLevel(logging.CRITICAL)
    columns = (SpinnerColumn(), TextColumn("{task.completed} rows"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("rows", total=None)
            result = verify_audit(
                practice,
                grace=timedelta(seconds=grace_seconds),
                watch=lambda rows: progress.advance(task, rows),
            )
    finally:
        logger.setLevel(level)
    console = Console(soft_wrap=True)
    wrong = [*result.findings, *(result.older if strict else [])]
    if wrong:
        _show(console, "What is wrong", wrong)
    if result.older and not strict:
        console.print(f"{len(result.older)} items are older than their audit (--strict lists them)")
    console.print(
        f"{result.rows} rows, {result.items} items, {result.seals} seals, {len(wrong)} findings"
    )
    if wrong:
        raise typer.Exit(1)


def _show(console: Console, title: str, findings: list[Finding]) -> None:
    if console.is_terminal:
        shown = Table("Row", "Why", title=title)
        for finding in findings:
            shown.add_row(finding.row, finding.why)
        console.print(shown)
        return
    for finding in findings:
        print(f"{finding.row}: {finding.why}")  # noqa: T201  # one line each, for other tools
