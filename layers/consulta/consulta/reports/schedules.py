"""Schedules: EventBridge Scheduler keeps the time, in the practice's zone, and asks the worker."""

import json
from datetime import date, datetime, timedelta
from typing import Any

from consulta.core import aws, cursor, settings, table
from consulta.core.errors import NotFound
from consulta.core.identity import Principal
from consulta.core.ids import new_id
from consulta.core.time import local_day, now, to_text
from consulta.people.records import PRACTICE, PracticeItem
from consulta.reports import requests
from consulta.reports.records import (
    REPORT_SCHEDULE,
    Format,
    Frequency,
    ReportKind,
    ReportScheduleItem,
)
from consulta.reports.schema import (
    Report,
    ReportSchedule,
    ReportSchedulePage,
    ReportScheduleRequest,
)

# Scheduler puts the time for which it fires in place of this (EventBridge Scheduler User Guide,
# "Adding context attributes").
SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"


class SchedulerSettings(settings.Settings):
    """Where schedules are made and what they may do."""

    schedule_group: str
    schedule_role_arn: str
    reports_queue_arn: str
    dead_letters_arn: str


def expression(frequency: Frequency, time: str, weekday: int | None, day: int | None) -> str:
    """EventBridge's cron: ``cron(0 8 ? * 2 *)`` is Mondays at eight (its week starts on Sunday)."""
    hour, minute = (int(part) for part in time.split(":"))
    match frequency:
        case Frequency.DAILY:
            days = "* * ?"
        case Frequency.WEEKLY:
            days = f"? * {int(weekday or 1) % 7 + 1}"
        case Frequency.MONTHLY:
            days = f"{day} * ?"
    return f"cron({minute} {hour} {days} *)"


def period(frequency: Frequency, at: datetime, zone: str) -> tuple[date, date]:
    """First and last day of the whole day, week (Monday to Sunday) or month before ``at``."""
    today = local_day(at, zone)
    match frequency:
        case Frequency.DAILY:
            return today - timedelta(days=1), today - timedelta(days=1)
        case Frequency.WEEKLY:
            monday = today - timedelta(days=today.weekday())
            return monday - timedelta(days=7), monday - timedelta(days=1)
        case Frequency.MONTHLY:
            last = today.replace(day=1) - timedelta(days=1)
            return last.replace(day=1), last


def create(caller: Principal, body: ReportScheduleRequest) -> ReportSchedule:
    """Make a schedule. The item comes first: a timer without its item asks for nothing."""
    tenant = caller.tenant
    practice = table.get(PracticeItem, tenant.item(PRACTICE, caller.practice))
    if practice is None:
        raise NotFound
    schedule_id = new_id("rsch")
    item = ReportScheduleItem.create(
        tenant.item(REPORT_SCHEDULE, schedule_id),
        REPORT_SCHEDULE,
        caller.actor,
        kind=body.kind,
        frequency=body.frequency,
        time=body.time,
        weekday=body.weekday,
        day_of_month=body.day_of_month,
        zone=practice.zone,
        formats=[str(form) for form in body.formats],
        recipients=[str(address) for address in body.recipients],
        l1pk=tenant.listing(REPORT_SCHEDULE),
        l1sk=f"{to_text(now())}#{schedule_id}",
        walkpk=tenant.listing(REPORT_SCHEDULE),
        walksk=schedule_id,
    )
    table.transact([table.put_new(item)])
    try:
        _start_timer(item)
    except Exception:
        # Whatever it was, it is raised again: an item without its timer would never report.
        table.transact([table.delete(item.key)])
        raise
    return to_api(item)


def _start_timer(item: ReportScheduleItem) -> None:
    config = settings.load(SchedulerSettings)
    aws.client("scheduler").create_schedule(
        Name=item.item_id,
        GroupName=config.schedule_group,
        ClientToken=item.item_id,
        ScheduleExpression=expression(
            Frequency(item.frequency), item.time, _int(item.weekday), _int(item.day_of_month)
        ),
        ScheduleExpressionTimezone=item.zone,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": config.reports_queue_arn,
            "RoleArn": config.schedule_role_arn,
            "DeadLetterConfig": {"Arn": config.dead_letters_arn},
            "Input": json.dumps(_message(item, SCHEDULED_TIME)),
        },
    )


def _message(item: ReportScheduleItem, at: str) -> dict[str, Any]:
    return {"practice": item.tenant.practice, "schedule": item.item_id, "at": at}


def run(caller: Principal, schedule_id: str) -> Report:
    """What the timer asks for, now. Raises NotFound, Busy."""
    item = find(caller, schedule_id)
    first, last = period(Frequency(item.frequency), now(), item.zone)
    report = requests.new_report(
        caller.tenant,
        new_id("rep"),
        caller.actor,
        kind=ReportKind(item.kind),
        first=first,
        last=last,
        formats=[Format(form) for form in item.formats],
        recipients=list(item.recipients),
        schedule_id=schedule_id,
    )
    requests.queue(report)
    return requests.to_api(report)


def find(caller: Principal, schedule_id: str) -> ReportScheduleItem:
    """One schedule. Raises NotFound."""
    item = table.get(ReportScheduleItem, caller.tenant.item(REPORT_SCHEDULE, schedule_id))
    if item is None:
        raise NotFound
    return item


def delete(caller: Principal, schedule_id: str) -> None:
    """Stop a schedule. The item goes first: a timer that outlives it asks for nothing."""
    item = find(caller, schedule_id)
    table.transact([table.delete(item.key)])
    scheduler = aws.client("scheduler")
    try:
        scheduler.delete_schedule(
            Name=schedule_id, GroupName=settings.load(SchedulerSettings).schedule_group
        )
    except scheduler.exceptions.ResourceNotFoundException:
        return


def page(caller: Principal, limit: int, cursor_: str | None) -> ReportSchedulePage:
    """The practice's schedules, oldest first."""
    scope = (caller.practice, "report-schedules")
    found = table.Query(caller.tenant.listing(REPORT_SCHEDULE), index="l1").page(
        limit, cursor.decode(cursor_, *scope)
    )
    return ReportSchedulePage(
        items=[to_api(ReportScheduleItem.read(raw)) for raw in found.items],
        next_cursor=cursor.encode(found.last_key, *scope),
    )


def _int(value: float | None) -> int | None:
    return None if value is None else int(value)


def to_api(item: ReportScheduleItem) -> ReportSchedule:
    """The schedule as the API shows it."""
    return ReportSchedule(
        id=item.item_id,
        kind=ReportKind(item.kind),
        frequency=Frequency(item.frequency),
        time=item.time,
        weekday=_int(item.weekday),
        day_of_month=_int(item.day_of_month),
        zone=item.zone,
        formats=[Format(form) for form in item.formats],
        recipients=[str(address) for address in item.recipients],
        created_at=item.created_at,
        version=int(item.version),
    )
