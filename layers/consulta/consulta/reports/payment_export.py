"""A long list of payments as a file: read in parts, resumable, with memory that does not grow.

Each part is stored before the next is read, and how far it came is on the report: a worker that
dies is followed by another that goes on behind the last part. Files are written from the parts
once all are there, so that CSV and Excel hold the same rows. What takes longer than one invocation
may is continued by a message of its own.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from consulta.core import table
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.listing import Plan
from consulta.core.observe import count
from consulta.core.time import from_text, in_zone, now
from consulta.money import commissions
from consulta.money.paying import payment_lists, payment_views
from consulta.money.records import PaymentItem
from consulta.money.schema.payments import PaymentFilter
from consulta.people.records import PATIENT, PracticeItem
from consulta.reports import files, requests
from consulta.reports.export_columns import columns
from consulta.reports.records import Format, ReportItem, State

# Rows of one part: what is in memory at once, and what a worker that dies has to read again.
PART_ROWS = 2_000
MAX_ROWS = 100_000
# Items that one part reads at most, whether or not the filters let them through.
PART_READS = 20_000
# Names that are remembered from part to part.
MOST_NAMES = 20_000
# Seconds after which an invocation begins nothing long; Timeout in template.yaml is longer by what
# one part, or the writing of both files, takes.
BUDGET_S = 45.0
TOO_MANY = "too_many_rows"

Row = list[Any]


def go_on(tenant: Tenant, practice: PracticeItem, item: ReportItem, by: Actor) -> ReportItem | None:
    """Make the files of an export; None where another message goes on with it, or another worker.

    Raises what S3 and DynamoDB raise: the message then comes again, and goes on where this ended.
    """
    started = time.monotonic()
    names: dict[str, str] = {}
    while not _is_read(item):
        if time.monotonic() - started > BUDGET_S:
            _later(item)
            return None
        if not _read_part(tenant, practice, item, names, by):
            return None
        if item.state == State.FAILED:
            _tidy(item)
            return None
    if int(item.parts) > 1 and time.monotonic() - started > BUDGET_S / 2:
        _later(item)
        return None
    return _write(tenant, item, by)


def tidy(item: ReportItem) -> None:
    """Remove what the files of a finished export were made of; again does no harm."""
    _tidy(item)


def _later(item: ReportItem) -> None:
    requests.send({"practice": item.tenant.practice, "report": item.item_id})


def _is_read(item: ReportItem) -> bool:
    return bool((item.progress or {}).get("read"))


# ---------------------------------------------------------------- reading


def _read_part(
    tenant: Tenant, practice: PracticeItem, item: ReportItem, names: dict[str, str], by: Actor
) -> bool:
    """Store the next part and where to go on; False where another worker did."""
    plan = _plan(tenant, practice, item)
    raws, last_key = plan.read(PART_ROWS, item.cursor)
    payments = [PaymentItem.read(raw) for raw in raws]
    done = int((item.progress or {}).get("rows", 0)) + len(payments)
    if done > MAX_ROWS:
        return _save(item, by, state=State.FAILED, error=TOO_MANY)
    if item.patients:
        _resolve(tenant, payments, names)
    rows = [_row(payment, practice, item, names) for payment in payments]
    number = int(item.parts) + 1
    # In ASCII: nothing in a name can end a line.
    text = "\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    files.put_part(tenant, item.item_id, number, text.encode())
    until = payments[-1].created_at if payments else None
    progress = {
        "rows": done,
        "percent": _percent(plan, until, item.progress) if last_key else 95,
        "read": last_key is None,
    }
    return _save(item, by, parts=number, cursor=last_key, progress=progress)


def _plan(tenant: Tenant, practice: PracticeItem, item: ReportItem) -> Plan:
    """As ``GET /v1/payments`` reads it, from the oldest on and without its budget."""
    first = _midnight(date.fromisoformat(item.first_day), practice.zone)
    end = _midnight(date.fromisoformat(item.last_day) + timedelta(days=1), practice.zone)
    wanted = PaymentFilter.model_validate({**(item.filters or {}), "sort": "created_at"})
    ranged = wanted.model_copy(update={"from_": first, "to": end})
    return replace(payment_lists.plan_of(tenant, ranged), budget=PART_READS)


def _midnight(day: date, zone: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _percent(plan: Plan, until: datetime | None, before: dict[str, Any] | None) -> int:
    """How much of the time that is asked for lies behind the last row: nothing is counted first."""
    known = int((before or {}).get("percent", 0))
    if until is None or plan.low is None or plan.high is None:
        return known
    first, end = from_text(plan.low), min(from_text(plan.high), now())
    whole = max((end - first).total_seconds(), 1.0)
    return max(known, min(90, int(90 * (until - first).total_seconds() / whole)))


def _resolve(tenant: Tenant, payments: list[PaymentItem], names: dict[str, str]) -> None:
    """The patients' names of a part, of which those before it had some."""
    if len(names) > MOST_NAMES:
        names.clear()
    missing = sorted({payment.patient_id for payment in payments} - set(names))
    keys = {tenant.item(PATIENT, patient_id): patient_id for patient_id in missing}
    found = table.batch_get_raw(list(keys), consistent=False) if keys else {}
    for key, patient_id in keys.items():
        raw = found.get(key, {})
        names[patient_id] = raw["name"]["S"] if "name" in raw else ""


def _row(
    payment: PaymentItem, practice: PracticeItem, item: ReportItem, names: dict[str, str]
) -> Row:
    """In the order of :mod:`consulta.reports.export_columns`, as JSON has it."""
    cells: dict[str, Any] = {
        "payment_id": payment.item_id,
        "created_at": _local(payment.created_at, practice.zone),
        "paid_at": _local(payment.paid_at, practice.zone) if payment.paid_at else None,
        "paid_on": payment.local_date,
        "status": str(payment_views.displayed(payment)),
        "fee_paid_by": "platform" if payment.platform_pays_fees else "payee",
        "net": commissions.net_of(payment) if payment.captured else 0,
        "fraud_warning": (payment.fraud_warning or {}).get("fraud_type"),
        "patient_name": names.get(payment.patient_id),
    }
    row: Row = []
    for column in columns(patients=bool(item.patients)):
        value = cells[column.key] if column.key in cells else getattr(payment, column.key)
        row.append(int(value or 0) if column.kind == "money" else value)
    return row


def _local(instant: datetime, zone: str) -> str:
    """On the practice's clocks, with the offset that they have then."""
    return in_zone(instant, zone).isoformat(timespec="seconds")


def _save(item: ReportItem, by: Actor, **changed: Any) -> bool:
    """Write what changed, where nobody else has changed it; and keep ``item`` in step."""
    for name, value in changed.items():
        setattr(item, name, value)
    values = item.serialize()
    gone = [name for name in changed if name not in values]
    kept = table.from_raw({name: values[name] for name in changed if name in values})
    if not table.written([table.change(item, by, set_=kept, remove=gone)]):
        return False
    item.version = int(item.version) + 1
    return True


# ---------------------------------------------------------------- writing


def _write(tenant: Tenant, item: ReportItem, by: Actor) -> ReportItem | None:
    name = f"{item.kind}-{item.first_day}-{item.last_day}"
    shown = columns(patients=bool(item.patients))
    stored = {}
    with tempfile.TemporaryDirectory() as folder:
        for form in map(Format, item.formats):
            path = Path(folder) / f"export.{form}"
            match form:
                case Format.CSV:
                    from consulta.reports.export_csv import write  # noqa: PLC0415
                case Format.XLSX:
                    from consulta.reports.export_xlsx import write  # noqa: PLC0415
                case Format.PDF:
                    raise ValueError("payments are no PDF")
            write(path, shown, _rows(tenant, item))
            file = files.put_file(tenant, item.item_id, name, form, path)
            stored[str(form)] = {"key": file.key, "bytes": file.size}
            path.unlink()
    rows = int((item.progress or {}).get("rows", 0))
    done = {"rows": rows, "percent": 100, "read": True}
    if not _save(item, by, files=stored, state=State.READY, ready_at=now(), progress=done):
        return None
    _tidy(item)
    count("ReportsMade")
    return item


def _rows(tenant: Tenant, item: ReportItem) -> Iterator[Row]:
    """All rows in their order, one part in memory."""
    for number in range(1, int(item.parts) + 1):
        text = files.read_part(tenant, item.item_id, number).decode()
        for line in text.splitlines():
            yield json.loads(line)


def _tidy(item: ReportItem) -> None:
    for number in range(1, int(item.parts) + 1):
        files.delete_part(item.tenant, item.item_id, number)
