"""Stored items of reports: a report, and the schedule that asks for one again and again."""

from enum import StrEnum
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    JSONAttribute,
    ListAttribute,
    NumberAttribute,
    UnicodeAttribute,
)

from consulta.core.item import InstantAttribute, ListedItem

REPORT, REPORT_SCHEDULE = "REPORT", "REPORTSCHEDULE"


class ReportKind(StrEnum):
    """What a report is about."""

    REVENUE = "revenue"
    # A row for each payment, in place of figures.
    PAYMENTS = "payments"


class Format(StrEnum):
    """How it is written down."""

    CSV = "csv"
    XLSX = "xlsx"
    PDF = "pdf"


class State(StrEnum):
    """queued → ready, or failed after its last try."""

    QUEUED = "queued"
    READY = "ready"
    FAILED = "failed"


class Frequency(StrEnum):
    """How often a schedule asks; each covers the whole day, week or month before."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class ReportItem(ListedItem):
    """One report: ``first_day`` to ``last_day`` on the practice's clocks.

    ``files``: {format: {"key": S3 key, "bytes": size}}. ``recipients`` get a mail with links once;
    ``mailed`` holds those that have been sent theirs.

    Of an export of payments: ``filters`` as they were asked for; ``patients`` says that it has
    their names; ``progress`` {"rows", "percent", "read"}; ``parts`` of it are stored, and
    ``cursor`` is where the next one begins. ``error`` says in a code why there is none.
    """

    kind = UnicodeAttribute()
    first_day = UnicodeAttribute()
    last_day = UnicodeAttribute()
    formats: ListAttribute[Any] = ListAttribute()
    recipients: ListAttribute[Any] = ListAttribute(default=list)
    mailed: ListAttribute[Any] = ListAttribute(default=list)
    schedule_id = UnicodeAttribute(null=True)
    state = UnicodeAttribute()
    files = JSONAttribute(default=dict)
    ready_at = InstantAttribute(null=True)
    filters = JSONAttribute(null=True)
    patients = BooleanAttribute(default=False)
    progress = JSONAttribute(null=True)
    parts = NumberAttribute(default=0)
    cursor = JSONAttribute(null=True)
    error = UnicodeAttribute(null=True)


class ReportScheduleItem(ListedItem):
    """Ask for a report at ``time`` (HH:MM) on the clocks of ``zone``, kept by EventBridge."""

    kind = UnicodeAttribute()
    frequency = UnicodeAttribute()
    time = UnicodeAttribute()
    weekday = NumberAttribute(null=True)
    day_of_month = NumberAttribute(null=True)
    zone = UnicodeAttribute()
    formats: ListAttribute[Any] = ListAttribute()
    recipients: ListAttribute[Any] = ListAttribute()
