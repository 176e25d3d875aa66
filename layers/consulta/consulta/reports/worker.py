"""Making a report: figures → document → files → mail, each step safe to do again."""

from datetime import date, datetime
from typing import Any

from consulta.core import mail, settings, table
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.observe import count
from consulta.core.time import from_text, now
from consulta.people.records import PRACTICE, PracticeItem
from consulta.reports import files, requests, revenue, schedules
from consulta.reports.document import Document
from consulta.reports.records import (
    REPORT,
    REPORT_SCHEDULE,
    Format,
    Frequency,
    ReportItem,
    ReportKind,
    ReportScheduleItem,
    State,
)


class WorkerSettings(settings.Settings):
    """Where the links of mails lead."""

    api_url: str


def handle(message: dict[str, Any], request_id: str) -> None:
    """One message of the queue: a report that was asked for, or a schedule whose time has come."""
    tenant = Tenant(message["practice"])
    practice = table.get(PracticeItem, tenant.item(PRACTICE, tenant.practice))
    if practice is None:
        return
    item = (
        _scheduled(tenant, message, request_id)
        if "schedule" in message
        else table.get(ReportItem, tenant.item(REPORT, message["report"]))
    )
    if item is None:
        return
    by = Actor("report-worker", request_id)
    if item.kind == ReportKind.PAYMENTS:
        exported = _export(tenant, practice, item, by)
        if exported is None:
            return
        item = exported
    elif item.state != State.READY:
        item = _make(tenant, practice, item, by)
    _mail(practice, item, by)


def _export(
    tenant: Tenant, practice: PracticeItem, item: ReportItem, by: Actor
) -> ReportItem | None:
    """None where it goes on in another message, or will never be."""
    from consulta.reports import payment_export  # noqa: PLC0415  # only where one was asked for

    if item.state == State.READY:
        payment_export.tidy(item)
        return item
    if item.state == State.FAILED and item.error:
        return None
    return payment_export.go_on(tenant, practice, item, by)


def give_up(message: dict[str, Any], request_id: str) -> None:
    """After the last try: whoever polls is told that there will be no report."""
    tenant = Tenant(message["practice"])
    report_id = message.get("report") or requests.report_id_for(message["schedule"], message["at"])
    item = table.get(ReportItem, tenant.item(REPORT, report_id))
    if item is not None and item.state == State.QUEUED:
        by = Actor("report-worker", request_id)
        table.transact([table.change(item, by, set_={"state": State.FAILED})])


def _scheduled(tenant: Tenant, message: dict[str, Any], request_id: str) -> ReportItem | None:
    """The report of this run of a schedule: made once, however often the message comes."""
    schedule = table.get(ReportScheduleItem, tenant.item(REPORT_SCHEDULE, message["schedule"]))
    if schedule is None:
        return None
    at: datetime = from_text(message["at"])
    first, last = schedules.period(Frequency(schedule.frequency), at, schedule.zone)
    item = requests.new_report(
        tenant,
        requests.report_id_for(schedule.item_id, message["at"]),
        Actor("schedule", request_id),
        kind=ReportKind(schedule.kind),
        first=first,
        last=last,
        formats=[Format(form) for form in schedule.formats],
        recipients=list(schedule.recipients),
        schedule_id=schedule.item_id,
    )
    try:
        table.transact([table.put_new(item)])
    except table.ConditionFailed:
        return table.get(ReportItem, item.key)
    return item


def _make(tenant: Tenant, practice: PracticeItem, item: ReportItem, by: Actor) -> ReportItem:
    document = revenue.build(
        tenant,
        practice,
        date.fromisoformat(item.first_day),
        date.fromisoformat(item.last_day),
        generated_at=now(),
    )
    name = f"{item.kind}-{item.first_day}-{item.last_day}"
    stored = {}
    for form in map(Format, item.formats):
        file = files.put(tenant, item.item_id, name, form, _render(form, document))
        stored[str(form)] = {"key": file.key, "bytes": file.size}
    item.files, item.state, item.ready_at = stored, State.READY, now()
    values = item.serialize()
    changed = table.from_raw({name: values[name] for name in ("files", "state", "ready_at")})
    table.transact([table.change(item, by, set_=changed)])
    count("ReportsMade")
    item.version = int(item.version) + 1
    return item


def _render(form: Format, document: Document) -> bytes:
    """Each format's library is loaded only where it is asked for."""
    match form:
        case Format.CSV:
            from consulta.reports.render_csv import render_csv as render  # noqa: PLC0415
        case Format.XLSX:
            from consulta.reports.render_xlsx import render_xlsx as render  # noqa: PLC0415
        case Format.PDF:
            from consulta.reports.render_pdf import render_pdf as render  # noqa: PLC0415
    return render(document)


def _mail(practice: PracticeItem, item: ReportItem, by: Actor) -> None:
    """Mail each recipient once; a crash between sending and noting it may send one mail again."""
    sent = [str(address) for address in item.mailed]
    for address in map(str, item.recipients):
        if address in sent:
            continue
        mail.send(address, *_letter(practice, item))
        sent.append(address)
        table.transact([table.change(item, by, set_={"mailed": sent})])
        item.version = int(item.version) + 1


def _letter(practice: PracticeItem, item: ReportItem) -> tuple[str, str]:
    api_url = settings.load(WorkerSettings).api_url
    links = "\n".join(
        f"  {form.upper()}: {files.make_link(stored['key'], api_url)}"
        for form, stored in sorted(item.files.items())
    )
    subject = f"{item.kind.capitalize()} report, {item.first_day} to {item.last_day}"
    text = (
        f"The {item.kind} report of {practice.name} for {item.first_day} to {item.last_day} "
        f"({practice.zone}) is ready.\n\n{links}\n\n"
        f"The links work for {files.LINK_FOR.days} days for everybody who has them.\n"
    )
    return subject, text
