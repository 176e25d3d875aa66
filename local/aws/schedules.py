"""EventBridge Scheduler: schedules that keep to their time zone."""

import time
import uuid
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from ministack.core.responses import request_scope
from ministack.services import eventbridge, scheduler

SWEEP_SECONDS = 1


def fire_schedules_in_their_time_zone() -> None:
    """Gap: cron() and at() are read as UTC, whatever ScheduleExpressionTimezone says.

    Besides, what is due is looked for every ten seconds only, and context attributes such as
    ``<aws.scheduler.scheduled-time>`` in a target's Input are not filled in (EventBridge
    Scheduler user guide, "Adding context attributes").
    """
    scheduler._SCHEDULE_TICK_INTERVAL = SWEEP_SECONDS
    scheduler._tick_schedules = _fire_due_schedules


def _fire_due_schedules() -> None:
    """Fire each enabled schedule whose next time since it was last looked at has come."""
    now = time.time()
    last_fired = scheduler._schedule_last_fired
    for key, schedule in list(scheduler._schedules._data.items()):
        if not _is_active(schedule, now):
            last_fired[key] = now  # what falls into a pause is not made up for
            continue
        moment = _next_time(schedule, last_fired.get(key, schedule["CreationDate"]))
        if moment is None or moment > now:
            continue
        last_fired[key] = now
        account, region, _ = key
        with request_scope(account, region):
            _fire(schedule, moment)
        is_one_time = schedule["ScheduleExpression"].startswith("at(")
        if is_one_time and schedule["ActionAfterCompletion"] == "DELETE":
            del scheduler._schedules._data[key]


def _is_active(schedule: dict[str, Any], now: float) -> bool:
    start = scheduler._to_epoch(schedule.get("StartDate")) or 0.0
    end = scheduler._to_epoch(schedule.get("EndDate")) or now
    return schedule["State"] == "ENABLED" and start <= now <= end


def _next_time(schedule: dict[str, Any], since: float) -> float | None:
    """The first moment after ``since`` (seconds since 1970) at which the schedule is due."""
    expression: str = schedule["ScheduleExpression"]
    zone = ZoneInfo(schedule.get("ScheduleExpressionTimezone") or "UTC")
    if expression.startswith("at("):
        text = expression.removeprefix("at(").removesuffix(")")
        moment = datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()
        return moment if moment > since else None
    interval: float | None = eventbridge._parse_rate_seconds(expression)
    if interval is not None:
        return since + interval
    fields = eventbridge._parse_cron_fields(expression)
    if fields is None:
        return None
    following = eventbridge._cron_next_fire(fields, datetime.fromtimestamp(since, zone))
    return None if following is None else float(following.timestamp())


def _fire(schedule: dict[str, Any], moment: float) -> None:
    """Send the target its Input, or the Scheduler's own event when it has none."""
    event = {
        "EventId": str(uuid.uuid4()),
        "Source": "aws.scheduler",
        "DetailType": "Scheduled Event",
        "Detail": "{}",
        "Time": moment,
        "Resources": [schedule["Arn"]],
    }
    target = dict(schedule["Target"])
    for name, value in {
        "scheduled-time": datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "schedule-arn": schedule["Arn"],
        "execution-id": event["EventId"],
        "attempt-number": "1",
    }.items():
        if target.get("Input"):
            target["Input"] = target["Input"].replace(f"<aws.scheduler.{name}>", value)
    eventbridge._invoke_target(target, event, schedule)
