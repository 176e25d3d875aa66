"""Asking for a report, and seeing what came of it."""

import json
from datetime import date
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from consulta.core import aws, cursor, settings, table, trail
from consulta.core.errors import Busy, Forbidden, NotFound
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.ids import derived, new_id
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.time import now, to_text
from consulta.reports import files
from consulta.reports.records import REPORT, Format, ReportItem, ReportKind, State
from consulta.reports.schema import (
    ExportFilter,
    ExportProgress,
    Report,
    ReportFile,
    ReportPage,
    ReportRequest,
)


class QueueSettings(settings.Settings):
    """The queue of the report worker."""

    reports_queue_url: str


def request(caller: Principal, body: ReportRequest, key: str | None) -> Report:
    """Ask for a report; it is made by the worker, so the answer is its resource to poll.

    Raises Forbidden for an export of payments that the caller may not see, Invalid, Busy.
    """
    tenant = caller.tenant
    exports = body.kind is ReportKind.PAYMENTS
    if exports and not _sees_payments(caller):
        raise Forbidden("An export of payments is for who sees all of them")
    once = Idempotent.of(tenant, caller.person, key, body)
    if once.result:
        return get(caller, once.result)
    item = new_report(
        tenant,
        new_id("rep"),
        caller.actor,
        kind=body.kind,
        first=body.first_day,
        last=body.last_day,
        formats=body.formats,
        recipients=[str(address) for address in body.recipients],
    )
    if exports:
        # A mail is forwarded: what it links to names no patients.
        item.patients = caller.sees_patients and not body.recipients
        given = body.filters.model_dump(mode="json", exclude_none=True) if body.filters else {}
        item.filters = given or None
    queue(item, once)
    return to_api(item)


def queue(item: ReportItem, once: Idempotent | None = None) -> None:
    """Store a report and put it before the worker, or neither.

    The item comes first; where the message cannot be sent, it goes again with its idempotency row,
    so that asking once more is a new request. A message that was sent all the same finds no report
    and is dropped. Raises Busy.
    """
    table.transact([table.put_new(item), *(once.actions(item.item_id) if once else [])])
    try:
        send({"practice": item.tenant.practice, "report": item.item_id})
    except (BotoCoreError, ClientError) as error:
        undone = [item.key, *([once.row] if once and once.row else [])]
        table.transact([table.delete(key) for key in undone])
        raise Busy("The report could not be queued, ask again") from error


def new_report(
    tenant: Tenant,
    report_id: str,
    by: Actor,
    *,
    kind: ReportKind,
    first: date,
    last: date,
    formats: list[Format],
    recipients: list[str],
    schedule_id: str | None = None,
) -> ReportItem:
    """A queued report in memory."""
    return ReportItem.create(
        tenant.item(REPORT, report_id),
        REPORT,
        by,
        kind=kind,
        first_day=first.isoformat(),
        last_day=last.isoformat(),
        formats=[str(form) for form in formats],
        recipients=recipients,
        schedule_id=schedule_id,
        state=State.QUEUED,
        l1pk=tenant.listing(REPORT),
        l1sk=f"{to_text(now())}#{report_id}",
        walkpk=tenant.listing(REPORT),
        walksk=report_id,
    )


def report_id_for(schedule_id: str, scheduled_at: str) -> str:
    """The same report for the same run of a schedule, however often its message comes."""
    return derived("rep", f"{schedule_id}|{scheduled_at}")


def send(message: dict[str, Any]) -> None:
    """Put one message before the worker."""
    aws.client("sqs").send_message(
        QueueUrl=settings.load(QueueSettings).reports_queue_url, MessageBody=json.dumps(message)
    )


def find(tenant: Tenant, report_id: str) -> ReportItem:
    """One report. Raises NotFound."""
    item = table.get(ReportItem, tenant.item(REPORT, report_id))
    if item is None:
        raise NotFound
    return item


def get(caller: Principal, report_id: str) -> Report:
    """One report with fresh addresses of its files. Raises NotFound, Busy."""
    return _told(caller, [find(caller.tenant, report_id)])[0]


def page(caller: Principal, limit: int, cursor_: str | None) -> ReportPage:
    """The practice's reports, newest first."""
    scope = (caller.practice, "reports")
    found = table.Query(caller.tenant.listing(REPORT), index="l1", newest_first=True).page(
        limit, cursor.decode(cursor_, *scope)
    )
    return ReportPage(
        items=_told(caller, [ReportItem.read(raw) for raw in found.items]),
        next_cursor=cursor.encode(found.last_key, *scope),
    )


def _told(caller: Principal, items: list[ReportItem]) -> list[Report]:
    """Reports with addresses that open their files: recorded as an export, or not given out."""
    exported = [item.item_id for item in items if item.files and _may_open(caller, item)]
    if exported:
        facts = {"reports": " ".join(exported)}
        trail.insist("The export", "exported", caller.practice, caller.actor, **facts)
    return [to_api(item, is_open=_may_open(caller, item)) for item in items]


def _sees_payments(caller: Principal) -> bool:
    return caller.may("payments:read") and caller.sees_all("payments")


def _may_open(caller: Principal, item: ReportItem) -> bool:
    """Whether the caller may see what is in the report's files."""
    if item.kind != ReportKind.PAYMENTS:
        return True
    return _sees_payments(caller) and (not item.patients or caller.may("patients:read"))


def to_api(item: ReportItem, *, is_open: bool = True) -> Report:
    """The report as the API shows it; without its files where they are not the caller's to see."""
    progress = item.progress
    expires_at = now() + files.PRESIGNED_FOR
    return Report(
        id=item.item_id,
        kind=ReportKind(item.kind),
        first_day=date.fromisoformat(item.first_day),
        last_day=date.fromisoformat(item.last_day),
        formats=[Format(form) for form in item.formats],
        state=State(item.state),
        schedule_id=item.schedule_id,
        files=[
            ReportFile(
                format=Format(form),
                bytes=stored["bytes"],
                url=files.presigned(stored["key"]),
                expires_at=expires_at,
            )
            for form, stored in sorted(item.files.items() if is_open else ())
        ],
        created_at=item.created_at,
        ready_at=item.ready_at,
        filters=ExportFilter.model_validate(item.filters) if item.filters else None,
        progress=ExportProgress(rows=progress["rows"], percent=progress["percent"])
        if progress
        else None,
        error=item.error,
        version=int(item.version),
    )
