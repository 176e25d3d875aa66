"""One action on many appointments: a job with a result for each, which can be gone on with.

A message that waits a few seconds is sent before the job is written, with its idempotency row, so
that a request which dies leaves nothing undone: without a job, the message means nothing. The
request works until its time is up, the worker goes on where there is no result yet. Each
appointment is changed by the single action's own code, with the job's id as its request: where it
is found changed by this job, but without a result, its result is written. A new start is worked out
once, when the job is made: doing it again moves nothing twice.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.attributes import (
    BooleanAttribute,
    JSONAttribute,
    NumberAttribute,
    UnicodeAttribute,
)

from consulta.core import aws, ids, settings, table
from consulta.core.errors import Busy, Forbidden, Invalid, NotFound, Problem
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Principal
from consulta.core.item import Item
from consulta.core.keys import ITEM, Key, Tenant
from consulta.core.observe import failure
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, from_text, in_zone, now, to_epoch, to_text
from consulta.money.appointments import approving, closing
from consulta.scheduling import appointments, availability, rescheduling
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, AvailabilityItem, Status
from consulta.scheduling.schema.appointments import CancelReason
from consulta.scheduling.schema.booking import CancelRequest, RescheduleRequest
from consulta.scheduling.schema.bulk import (
    BulkAction,
    BulkItem,
    BulkJob,
    BulkProblem,
    BulkRequest,
    BulkResult,
)
from consulta.scheduling.wall import instant_of

BULK, RESULT = "BULK", "RESULT"
KEPT = timedelta(days=30)
# How long the request itself works; the worker's message waits until it has surely ended.
IN_REQUEST_S = 5.0
WORKER_AFTER_S = 20
DONE, UNCHANGED, FAILED = "done", "unchanged", "failed"
RUNNING = "running"
_TARGETS = {
    BulkAction.CONFIRM: Status.CONFIRMED,
    BulkAction.COMPLETE: Status.COMPLETED,
    BulkAction.NO_SHOW: Status.NO_SHOW,
    BulkAction.CANCEL: Status.CANCELLED,
}
_NEEDS = {BulkAction.CANCEL: "appointments:write", BulkAction.RESCHEDULE: "appointments:write"}


class QueueSettings(settings.Settings):
    """The queue of the worker."""

    bulk_queue_url: str


class BulkJobItem(Item):
    """A job. ``caller`` is who asked, as the permissions were then; each result is a row under it.

    ``targets``: [{"id", "start"?, "was"?, "problem"?}, …]. ``state``: running, done.
    """

    action = UnicodeAttribute()
    state = UnicodeAttribute()
    targets = JSONAttribute()
    reason_code = UnicodeAttribute(null=True)
    note = UnicodeAttribute(null=True)
    notify = BooleanAttribute(default=True)
    person_id = UnicodeAttribute()
    caller = JSONAttribute()
    expires_at = NumberAttribute()


@dataclass(frozen=True, slots=True)
class _Outcome:
    outcome: str
    problem: dict[str, Any] | None = None


# ---------------------------------------------------------------- asking, and looking


def start(by: Principal, body: BulkRequest, key: str | None) -> BulkJob:
    """Begin, and do what can be done within some seconds.

    Raises Forbidden, Invalid (a key that was used otherwise), Busy (nothing was begun).
    """
    if by.role is Role.PATIENT:
        raise Forbidden("Many at once are for members to change")
    by.require(_NEEDS.get(body.action, "appointments:confirm"))
    ends = time.monotonic() + IN_REQUEST_S
    once = Idempotent.of(by.tenant, by.person, key, body)
    if once.result:
        return get(by, once.result)
    job = _make(by, body)
    try:
        send(by.tenant, job.item_id, WORKER_AFTER_S)
    except (BotoCoreError, ClientError) as error:
        raise Busy("The appointments could not be queued, ask again") from error
    try:
        table.transact([table.put_new(job), *once.actions(job.item_id)])
    except table.ConditionFailed as failed:
        if LABEL not in failed.labels:
            raise
        return get(by, once.again().result)
    work(job, lambda: time.monotonic() < ends)
    return get(by, job.item_id)


def get(by: Principal, job_id: str) -> BulkJob:
    """One job with its results so far. Raises NotFound, also for somebody else's."""
    job, results = _read(by.tenant, job_id)
    if job is None or not (job.person_id == by.person or by.sees_all("appointments")):
        raise NotFound
    return to_api(job, results)


def send(tenant: Tenant, job_id: str, delay_s: int) -> None:
    """Put a job before the worker."""
    aws.client("sqs").send_message(
        QueueUrl=settings.load(QueueSettings).bulk_queue_url,
        MessageBody=json.dumps({"practice": tenant.practice, "job": job_id}),
        DelaySeconds=delay_s,
    )


def _make(by: Principal, body: BulkRequest) -> BulkJobItem:
    job_id = ids.new_id("bulk")
    caller = {
        "role": str(by.role),
        "member": by.member,
        "subject": by.subject,
        "granted": None if by.granted is None else sorted(by.granted),
        "key": by.key,
    }
    return BulkJobItem.create(
        by.tenant.item(BULK, job_id),
        BULK,
        by.actor,
        action=str(body.action),
        state=RUNNING,
        targets=_targets(by, body),
        reason_code=str(body.reason_code) if body.reason_code else None,
        note=body.note or None,
        notify=body.notify,
        person_id=by.person,
        caller=caller,
        expires_at=to_epoch(now() + KEPT),
    )


def _targets(by: Principal, body: BulkRequest) -> list[dict[str, Any]]:
    """Each with its new start, where it gets one, and where it was: worked out here, once."""
    if body.action is not BulkAction.RESCHEDULE:
        return [{"id": item.id} for item in body.items]
    keys = [by.tenant.item(APPOINTMENT, item.id) for item in body.items]
    found = {key: AppointmentItem.read(raw) for key, raw in table.batch_get_raw(keys).items()}
    zones = _zones(by.tenant, found.values()) if body.shift_days else {}
    made = []
    for item, key in zip(body.items, keys, strict=True):
        appointment = found.get(key)
        target: dict[str, Any] = {"id": item.id}
        if appointment is not None and appointments.visible(by, appointment):
            target |= {"was": to_text(appointment.start), **_start(appointment, item, body, zones)}
        made.append(target)
    return made


def _start(
    appointment: AppointmentItem, item: BulkItem, body: BulkRequest, zones: dict[str, str]
) -> dict[str, Any]:
    """The new start, or why there is none."""
    if item.start is not None:
        return {"start": to_text(item.start)}
    try:
        zone = zones.get(appointment.expert_id, appointment.zone)
        return {"start": to_text(_shifted(appointment.start, body, zone))}
    except Invalid as problem:
        return {"problem": _told(problem)}


def _zones(tenant: Tenant, found: Any) -> dict[str, str]:
    """On whose clocks the experts' days are."""
    keys = {one.expert_id: availability.key_of(tenant, one.expert_id) for one in found}
    rows = table.batch_get_raw(list(keys.values()), consistent=False)
    return {
        expert: AvailabilityItem.read(rows[key]).zone for expert, key in keys.items() if key in rows
    }


def _shifted(start: datetime, body: BulkRequest, zone: str) -> datetime:
    """Raises Invalid where the clocks of ``zone`` do not show that time, or show it twice."""
    try:
        if body.shift_minutes is not None:
            return start + timedelta(minutes=body.shift_minutes)
        wall = in_zone(start, zone).replace(tzinfo=None) + timedelta(days=body.shift_days or 0)
    except OverflowError:
        raise Invalid.of("body.shift_days", "Not a date", "range") from None
    return instant_of(wall, zone, "body.shift_days")


# ---------------------------------------------------------------- working


def resume(message: dict[str, str], may_go_on: Callable[[], bool]) -> None:
    """One message of the queue: go on with a job, and ask for another turn where time is up."""
    tenant = Tenant(message["practice"])
    job, _ = _read(tenant, message["job"])
    if job is not None and not work(job, may_go_on):
        send(tenant, job.item_id, 0)


def work(job: BulkJobItem, may_go_on: Callable[[], bool]) -> bool:
    """Do what has no result yet, as long as there is time; whether all of it is done."""
    if job.state != RUNNING:
        return True
    tenant, by = job.tenant, _caller(job)
    _, results = _read(tenant, job.item_id)
    for number in _order(job.targets):
        if number in results:
            continue
        if not may_go_on():
            return False
        _write(job, number, _do(by, job, job.targets[number]))
    try:
        table.transact([table.change(job, by.actor, set_={"state": DONE})])
    except table.ConditionFailed:
        # Somebody else was at its end at the same time.
        return True
    return True


def _order(targets: list[dict[str, Any]]) -> list[int]:
    """So that no one is in the next one's way: what goes later from the end, what goes earlier not.

    Texts of instants sort as the instants do.
    """
    starts = [(target.get("start", ""), target.get("was", "")) for target in targets]
    numbers = sorted(range(len(targets)), key=lambda number: starts[number][1])
    later = [number for number in numbers if starts[number][0] > starts[number][1]]
    moving = set(later)
    return [*reversed(later), *(number for number in numbers if number not in moving)]


def _caller(job: BulkJobItem) -> Principal:
    """Who asked: what they may see and do is checked for each appointment by the action itself."""
    who, granted = job.caller, job.caller["granted"]
    return Principal(
        job.person_id,
        Role(who["role"]),
        job.item_id,
        job.tenant.practice,
        who["member"],
        who["subject"],
        None if granted is None else frozenset(granted),
        key=who["key"],
        origin=job.origin or "",
    )


def _do(by: Principal, job: BulkJobItem, target: dict[str, Any]) -> _Outcome:
    """One appointment. Whatever happens is its result, so that one cannot stop the others."""
    if "problem" in target:
        return _Outcome(FAILED, target["problem"])
    try:
        appointment = appointments.load(by, target["id"])
        known = _settled(job, target, appointment)
        if known is None:
            _act(by, job, target)
        return known or _Outcome(DONE)
    except Problem as problem:
        return _after_refusal(by, job, target, problem)
    except Exception as error:  # noqa: BLE001  # our own bug in one must not stop the others
        failure("an appointment of a job failed", error, job=job.item_id)
        return _Outcome(FAILED, _told(Problem("It was our fault and has been recorded")))


def _after_refusal(
    by: Principal, job: BulkJobItem, target: dict[str, Any], problem: Problem
) -> _Outcome:
    """Another worker of this job may have done it meanwhile: that is no conflict."""
    try:
        known = _settled(job, target, appointments.load(by, target["id"]))
    except NotFound:
        known = None
    return known or _Outcome(FAILED, _told(problem))


def _settled(
    job: BulkJobItem, target: dict[str, Any], appointment: AppointmentItem
) -> _Outcome | None:
    """Whether it is already as wanted: by this job, or before it."""
    action = BulkAction(job.action)
    if action is BulkAction.RESCHEDULE:
        is_so = "start" in target and appointment.start == from_text(target["start"])
    else:
        is_so = appointment.status == _TARGETS[action]
    if not is_so:
        return None
    return _Outcome(DONE if appointment.request_id == job.item_id else UNCHANGED)


def _act(by: Principal, job: BulkJobItem, target: dict[str, Any]) -> None:
    """The single action. Raises its problems."""
    appointment_id = target["id"]
    match BulkAction(job.action):
        case BulkAction.CONFIRM:
            approving.confirm(by, appointment_id)
        case BulkAction.COMPLETE:
            closing.complete(by, appointment_id)
        case BulkAction.NO_SHOW:
            closing.no_show(by, appointment_id)
        case BulkAction.CANCEL:
            request = CancelRequest(
                reason_code=CancelReason(str(job.reason_code)),
                note=job.note or "",
                notify=bool(job.notify),
            )
            closing.cancel(by, appointment_id, request)
        case BulkAction.RESCHEDULE:
            moved = RescheduleRequest(
                start=from_text(target["start"]),
                requested_by="practice",
                notify=bool(job.notify),
                reason=job.note or "",
            )
            rescheduling.reschedule(by, appointment_id, moved, None)


def _told(problem: Problem) -> dict[str, Any]:
    return {
        "type": f"urn:consulta:problem:{problem.type}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }


# ---------------------------------------------------------------- rows


def _result_key(tenant: Tenant, job_id: str, number: int) -> Key:
    return tenant.sub(BULK, job_id, RESULT, f"{number:03d}")


def _write(job: BulkJobItem, number: int, result: _Outcome) -> None:
    """The first result stays, whoever else comes to one."""
    values = {
        "outcome": result.outcome,
        "expires_at": int(job.expires_at),
        **({"problem": json.dumps(result.problem)} if result.problem else {}),
    }
    try:
        table.transact([table.put_values(_result_key(job.tenant, job.item_id, number), values)])
    except table.ConditionFailed:
        return


def _read(tenant: Tenant, job_id: str) -> tuple[BulkJobItem | None, dict[int, _Outcome]]:
    """A job and the results that it has, by their numbers: one page of one partition."""
    job, results = None, {}
    for raw in table.Query(tenant.item(BULK, job_id).pk, consistent=True).all():
        if raw["sk"]["S"] == ITEM:
            job = BulkJobItem.read(raw)
            continue
        row = table.from_raw(raw)
        problem = json.loads(row["problem"]) if "problem" in row else None
        results[int(row["sk"].partition("#")[2])] = _Outcome(row["outcome"], problem)
    return job, results


def to_api(job: BulkJobItem, results: dict[int, _Outcome]) -> BulkJob:
    """A job as the API shows it, in the order that was asked for."""
    outcomes = [one.outcome for one in results.values()]
    return BulkJob(
        id=job.item_id,
        action=BulkAction(job.action),
        state=DONE if len(results) == len(job.targets) else RUNNING,
        total=len(job.targets),
        done=outcomes.count(DONE),
        unchanged=outcomes.count(UNCHANGED),
        failed=outcomes.count(FAILED),
        results=[
            _result(target["id"], results.get(number)) for number, target in enumerate(job.targets)
        ],
        created_at=job.created_at,
        expires_at=from_epoch(int(job.expires_at)),
    )


def _result(appointment_id: str, found: _Outcome | None) -> BulkResult:
    problem = BulkProblem.model_validate(found.problem) if found and found.problem else None
    outcome = found.outcome if found else "pending"
    return BulkResult.model_validate({"id": appointment_id, "outcome": outcome, "problem": problem})
