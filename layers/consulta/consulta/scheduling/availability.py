"""An expert's hours: one sub-item of the expert, replaced as a whole."""

from datetime import date
from functools import lru_cache
from typing import Any

from consulta.core import table
from consulta.core.errors import Conflict, Forbidden, NotFound, PreconditionFailed
from consulta.core.http import check_version
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import Role
from consulta.people.records import EXPERT, ExpertItem
from consulta.scheduling.records import AVAILABILITY, AvailabilityItem
from consulta.scheduling.schema.availability import (
    Availability,
    AvailabilityRequest,
    Cancellation,
    Vacation,
    Weekly,
    WorkingRange,
)
from consulta.scheduling.slots import MINUTE, Hours, Limits, Off

MANAGERS = frozenset({Role.OWNER, Role.ADMIN})
WEEKDAYS = tuple(Weekly.model_fields)


def key_of(tenant: Tenant, expert_id: str) -> Key:
    """Where an expert's hours are."""
    return tenant.sub(EXPERT, expert_id, AVAILABILITY)


def hours_of(item: AvailabilityItem) -> Hours:
    """The stored hours as the rules of slots take them."""
    return Hours(
        zone=item.zone,
        weekly={int(day): _ranges(ranges) for day, ranges in item.weekly.items()},
        interval_s=int(item.slot_interval_s),
        buffer_before_s=int(item.buffer_before_s),
        buffer_after_s=int(item.buffer_after_s),
        min_notice_s=int(item.min_notice_s),
        horizon_days=int(item.horizon_days),
        overrides={
            date.fromisoformat(day): _ranges(ranges)
            for day, ranges in (item.overrides or {}).items()
        },
        vacations=[
            Off(date.fromisoformat(one["from"]), date.fromisoformat(one["to"]), one["message"])
            for one in item.vacations or ()
        ],
    )


def limits_of(item: AvailabilityItem) -> Limits | None:
    """The expert's maxima, or None without any."""
    most = [None if n is None else int(n) for n in (item.max_per_day, item.max_per_week)]
    return Limits(item.zone, *most) or None


def _ranges(ranges: list[list[str]]) -> list[tuple[int, int]]:
    return [(_minutes(start), _minutes(end)) for start, end in ranges]


@lru_cache(maxsize=1_441)
def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def get(by: Principal, expert_id: str) -> Availability:
    """An expert's hours; closed all week, with version 0, where none were set.

    Raises NotFound, also where a patient asks for an expert who is not published.
    """
    expert, item = _load(by, expert_id)
    if by.role is Role.PATIENT and not expert.published:
        raise NotFound
    return to_api(expert, item)


def put(
    by: Principal, expert_id: str, body: AvailabilityRequest, if_match: str | None
) -> Availability:
    """Set an expert's hours; what is booked stays. Keeps the expert's ``has_hours``.

    Raises NotFound, Forbidden (an expert sets only their own), PreconditionFailed, Conflict.
    """
    if by.role not in MANAGERS and by.expert != expert_id:
        raise Forbidden("An expert sets only their own hours")
    expert, item = _load(by, expert_id)
    check_version(if_match, item.version if item else 0)
    values = _stored(body)
    actions = [_written(by.tenant, by.actor, expert_id, item, values)]
    has_hours = any(values["weekly"].values())
    if has_hours != bool(expert.has_hours):
        actions.append(table.change(expert, by.actor, set_={"has_hours": has_hours}))
    try:
        table.transact(actions)
    except table.ConditionFailed:
        if if_match is not None:
            raise PreconditionFailed from None
        raise Conflict("The hours were changed at the same time: read them again") from None
    return get(by, expert_id)


def _load(by: Principal, expert_id: str) -> tuple[ExpertItem, AvailabilityItem | None]:
    expert_key, hours_key = by.tenant.item(EXPERT, expert_id), key_of(by.tenant, expert_id)
    found = table.batch_get_raw([expert_key, hours_key])
    if expert_key not in found:
        raise NotFound
    raw = found.get(hours_key)
    return ExpertItem.read(found[expert_key]), AvailabilityItem.read(raw) if raw else None


def _stored(body: AvailabilityRequest) -> dict[str, Any]:
    terms = body.cancellation
    return {
        "zone": body.zone,
        "weekly": {
            str(number): _kept(getattr(body.weekly, day)) for number, day in enumerate(WEEKDAYS)
        },
        "overrides": {day: _kept(ranges) for day, ranges in sorted(body.overrides.items())} or None,
        "vacations": [one.model_dump(by_alias=True) for one in body.vacations] or None,
        "max_per_day": body.max_per_day,
        "max_per_week": body.max_per_week,
        "auto_confirm": body.auto_confirm,
        "cancellation": {
            "window_s": terms.window_minutes * MINUTE,
            "fixed": terms.fixed,
            "percent": terms.percent,
        }
        if terms
        else None,
        "slot_interval_s": body.slot_interval_minutes * MINUTE,
        "buffer_before_s": body.buffer_before_minutes * MINUTE,
        "buffer_after_s": body.buffer_after_minutes * MINUTE,
        "min_notice_s": body.min_notice_minutes * MINUTE,
        "horizon_days": body.horizon_days,
    }


def _kept(ranges: list[WorkingRange]) -> list[list[str]]:
    return [[one.from_, one.to] for one in ranges]


def _written(
    tenant: Tenant,
    by: Actor,
    expert_id: str,
    item: AvailabilityItem | None,
    values: dict[str, Any],
) -> table.Action:
    if item is None:
        key = key_of(tenant, expert_id)
        return table.put_new(AvailabilityItem.create(key, AVAILABILITY, by, **values))
    stored = {name: value for name, value in values.items() if value is not None}
    for name in ("weekly", "overrides", "vacations", "cancellation"):
        if name in stored:
            stored[name] = getattr(AvailabilityItem, name).serialize(stored[name])
    return table.change(
        item, by, set_=stored, remove=[name for name in values if name not in stored]
    )


def to_api(expert: ExpertItem, item: AvailabilityItem | None) -> Availability:
    """The hours as the API shows them."""
    if item is None:
        return Availability(expert_id=expert.item_id, zone=expert.zone, weekly=Weekly(), version=0)
    limits, terms = limits_of(item), item.cancellation
    return Availability(
        expert_id=expert.item_id,
        zone=item.zone,
        weekly=Weekly.model_validate(
            {day: _shown(item.weekly[str(number)]) for number, day in enumerate(WEEKDAYS)}
        ),
        overrides={day: _shown(ranges) for day, ranges in (item.overrides or {}).items()},
        vacations=[Vacation.model_validate(one) for one in item.vacations or ()],
        slot_interval_minutes=int(item.slot_interval_s) // MINUTE,
        buffer_before_minutes=int(item.buffer_before_s) // MINUTE,
        buffer_after_minutes=int(item.buffer_after_s) // MINUTE,
        min_notice_minutes=int(item.min_notice_s) // MINUTE,
        horizon_days=int(item.horizon_days),
        max_per_day=limits.per_day if limits else None,
        max_per_week=limits.per_week if limits else None,
        auto_confirm=item.auto_confirm,
        cancellation=Cancellation(
            window_minutes=terms["window_s"] // MINUTE,
            fixed=terms["fixed"],
            percent=terms["percent"],
        )
        if terms
        else None,
        version=int(item.version),
    )


def _shown(ranges: list[list[str]]) -> list[WorkingRange]:
    return [WorkingRange.model_validate({"from": start, "to": end}) for start, end in ranges]
