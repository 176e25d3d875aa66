"""Moving and ending series: this occurrence, this and what follows, or all that is to come.

What has begun stays as it is. Moving "this and following" splits the series: the old one ends
before it, a new one goes on. "This" alone stays in its series under its old name, detached from
the rule (RFC 5545, RECURRENCE-ID).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from consulta.core import ids, table
from consulta.core.errors import Conflict, Forbidden, Invalid, PreconditionFailed
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.scheduling import recurrence, series_jobs, series_plan
from consulta.scheduling.records import APPOINTMENT, SERIES, AppointmentItem
from consulta.scheduling.recurrence import Occurrence
from consulta.scheduling.schema.appointments import CancelReason
from consulta.scheduling.schema.booking import CancelRequest
from consulta.scheduling.schema.series import Scope, SeriesPatch, SeriesPreview
from consulta.scheduling.searching import Search
from consulta.scheduling.series import conflict, load, making, offer_of
from consulta.scheduling.series_records import (
    OccurrenceRow,
    OccurrenceState,
    SeriesItem,
    SeriesStatus,
    rows_of,
)


def move(
    by: Principal, series_id: str, body: SeriesPatch, if_match: str | None, key: str | None
) -> str | SeriesPreview:
    """Begin to move occurrences; gives the id of the series that goes on with them.

    With ``dry_run``, what would happen instead. Raises NotFound, Forbidden, PreconditionFailed,
    Invalid, and Conflict: while the series is worked on, and with the preview where occurrences
    cannot be moved (``fail``).
    """
    once = Idempotent.of(by.tenant, by.person, key, body, series_id)
    if once.result:
        return once.result
    series = load(by, series_id)
    _may_change(by, series, body.expert_id)
    check_version(if_match, series.version)
    _check_idle(series)
    if body.start_time is None and not body.shift_days and body.expert_id is None:
        raise Invalid.of("body", "Say what is to change: start_time, shift_days or expert_id")
    move_ = _Move.of(by, series, body)
    preview, problems = move_.preview()
    target, actions = move_.actions()
    if body.dry_run:
        return preview
    if problems and (body.on_conflict == "fail" or problems == len(preview.occurrences)):
        raise conflict(preview)
    try:
        table.transact([*actions, *once.actions(target)])
    except table.ConditionFailed as failed:
        if REPEATED in failed.labels and (known := once.again().result):
            return known
        raise _changed_meanwhile(if_match) from None
    return target


def cancel(
    by: Principal,
    series_id: str,
    scope: Scope,
    first: str | None,
    reason: CancelReason,
    if_match: str | None,
) -> None:
    """Begin to cancel occurrences; each gives back what its own policy says.

    Raises NotFound, Forbidden, PreconditionFailed, Invalid, Conflict while it is worked on.
    """
    series = load(by, series_id)
    _may_change(by, series, None)
    check_version(if_match, series.version)
    _check_idle(series)
    rows = rows_of(by.tenant, series_id)
    named, cut = _cancelled_from(series, rows, scope, first)
    request = CancelRequest(reason_code=reason).model_dump(mode="json")
    ended = series.status == SeriesStatus.CANCELLED or (
        scope is not Scope.THIS
        and not any(
            row.recurrence_id < named
            and row.state == OccurrenceState.BOOKED
            and _is_ahead(series, row)
            for row in rows
        )
    )
    job_id = ids.new_id("job")
    job = series_jobs.job(
        by,
        job_id,
        "cancel",
        source=series_id,
        first=named,
        only=scope is Scope.THIS,
        request=request,
        **({"final": str(SeriesStatus.CANCELLED)} if ended else {}),
    )
    values: dict[str, Any] = _working(job_id, job, SeriesStatus.CANCELLING)
    if scope is Scope.THIS:
        values["exdates"] = sorted({*series.exdates, cut.date().isoformat()})
    elif kept := [one for one in series.rule.walls(series.first_wall) if one < cut]:
        values |= _ending(series, kept[-1])
    try:
        table.transact([table.change(series, by.actor, set_=values)])
    except table.ConditionFailed:
        raise _changed_meanwhile(if_match) from None


@dataclass(frozen=True, slots=True)
class _Move:
    """A move that can be read."""

    by: Principal
    series: SeriesItem
    body: SeriesPatch
    rows: list[OccurrenceRow]
    first: str

    @classmethod
    def of(cls, by: Principal, series: SeriesItem, body: SeriesPatch) -> "_Move":
        rows = rows_of(by.tenant, series.item_id)
        path = "body.from_recurrence_id"
        first = _first(series, rows, body.scope, body.from_recurrence_id, path)
        return cls(by, series, body, rows, first)

    @property
    def only(self) -> bool:
        return self.body.scope is Scope.THIS

    @property
    def job(self) -> dict[str, Any]:
        """What has to be done, but for whom and under which id."""
        return {
            "kind": "move",
            "source": self.series.item_id,
            "first": self.first,
            "only": self.only,
            "days": self.body.shift_days,
            "time": self.body.start_time,
            "expert_id": self.body.expert_id,
        }

    def _moving(self) -> list[OccurrenceRow]:
        """Those whose appointments change, in order."""
        job, tenant = {**self.job, "id": ""}, self.by.tenant
        rows = {
            tenant.item(APPOINTMENT, row.appointment_id): row
            for row in series_jobs.affected(job, self.rows)
            if row.state == OccurrenceState.BOOKED
        }
        found = table.batch_get_raw(list(rows)) if rows else {}
        moving = [
            rows[key]
            for key, raw in found.items()
            if series_jobs.is_moved(job, rows[key], AppointmentItem.read(raw), self.series.zone)
        ]
        return sorted(moving, key=lambda row: row.recurrence_id)

    def preview(self) -> tuple[SeriesPreview, int]:
        """Each occurrence at its new time, and how many cannot have it."""
        series, moving = self.series, self._moving()
        if not moving:
            raise Conflict("Nothing that is still to come is booked there")
        times = []
        for row in moving:
            wall = series_jobs.target_of(self.job, row.recurrence_id)
            times.append(Occurrence(row.recurrence_id, recurrence.instant(wall, series.zone)))
        expert_id = self.body.expert_id or series.expert_id
        offer = offer_of(self.by, series.service_id, expert_id, series.patient_id)
        own = frozenset(row.appointment_id for row in moving)
        checked = series_plan.check(self.by, Search(offer, series.patient_id, own), times)
        preview = series_plan.to_api(checked, offer, series.zone)
        return preview, preview.conflicts

    def actions(self) -> tuple[str, list[table.Action]]:
        """The series that goes on, and what begins it."""
        by, series = self.by, self.series
        job_id = ids.new_id("job")
        job = series_jobs.job(by, job_id, **self.job)
        values = _working(job_id, job, SeriesStatus.MOVING)
        if self.only:
            return series.item_id, [table.change(series, by.actor, set_=values)]
        wall = recurrence.wall_named(self.first)
        kept, rest = self._split(wall)
        after = self._rule_after(wall, rest)
        if self.body.scope is Scope.ALL or not kept:
            # What has begun stays in it, as history before its start.
            self._check_places()
            return series.item_id, [
                table.change(series, by.actor, set_={**values, **after, **self._places(after)})
            ]
        new = making(
            by,
            ids.new_id("ser"),
            service_id=series.service_id,
            patient_id=series.patient_id,
            zone=series.zone,
            confirm=series.confirm,
            package_id=series.package_id,
            on_conflict=series.on_conflict,
            status=str(SeriesStatus.MOVING),
            job=job,
            job_id=job_id,
            continues=series.item_id,
            **after,
        )
        ends = table.change(series, by.actor, set_=_ending(series, kept[-1]))
        return new.item_id, [table.put_new(new), ends]

    def _check_places(self) -> None:
        """Raises Invalid where an occurrence would get the name of one that stays as it is."""
        moving = series_jobs.affected({**self.job, "id": ""}, self.rows)
        staying = {row.recurrence_id for row in self.rows} - {row.recurrence_id for row in moving}
        for row in moving:
            wall = series_jobs.target_of(self.job, row.recurrence_id)
            if recurrence.name(wall) in staying:
                raise Invalid.of(
                    "body.shift_days", "An occurrence that has begun has its place there", "taken"
                )

    def _split(self, wall: datetime) -> tuple[list[datetime], list[datetime]]:
        walls = self.series.rule.walls(self.series.first_wall)
        return [one for one in walls if one < wall], [one for one in walls if one >= wall]

    def _rule_after(self, wall: datetime, rest: Sequence[datetime]) -> dict[str, Any]:
        """Start, rule, dates left out and expert from the first that is moved on."""
        series, body = self.series, self.body
        rule = series.rule.counting(max(1, len(rest))).shifted(body.shift_days)
        shift = timedelta(days=body.shift_days)
        return {
            "start": recurrence.name(series_jobs.target_of(self.job, self.first)),
            "rrule": str(rule),
            "exdates": [
                (date.fromisoformat(day) + shift).isoformat()
                for day in series.exdates
                if date.fromisoformat(day) >= wall.date()
            ],
            "expert_id": body.expert_id or series.expert_id,
        }

    def _places(self, after: dict[str, Any]) -> dict[str, Any]:
        """Its place in the list of the expert."""
        return {"l2pk": self.by.tenant.listing_by(SERIES, "EXPERT", after["expert_id"])}


def _first(
    series: SeriesItem,
    rows: Sequence[OccurrenceRow],
    scope: Scope,
    named: str | None,
    path: str,
) -> str:
    """The first occurrence that is meant; of ``all``, the first that has not begun.

    Raises Invalid under ``path``, Conflict where nothing is to come.
    """
    if scope is Scope.ALL:
        if named is not None:
            raise Invalid.of(path, "All means all: name none", "unexpected")
        ahead = [row.recurrence_id for row in rows if _is_ahead(series, row)]
        if not ahead:
            raise Conflict("Nothing of the series is still to come")
        return ahead[0]
    if named is None:
        raise Invalid.of(path, "Say from which occurrence", "missing")
    if all(row.recurrence_id != named for row in rows):
        raise Invalid.of(path, "The series has no such occurrence", "unknown")
    if recurrence.instant(recurrence.wall_named(named), series.zone) <= now():
        raise Invalid.of(path, "This occurrence has begun", "past")
    return named


def _cancelled_from(
    series: SeriesItem, rows: Sequence[OccurrenceRow], scope: Scope, named: str | None
) -> tuple[str, datetime]:
    """The first occurrence that is cancelled, and the wall time that the rule ends before.

    "All" has among them what its rule gave an earlier time, and somebody put off by itself.
    """
    put_off = _put_off(series, rows) if scope is Scope.ALL and named is None else None
    if put_off is None:
        first = _first(series, rows, scope, named, "query.from")
        return first, recurrence.wall_named(first)
    ahead = [row.recurrence_id for row in rows if _is_ahead(series, row)]
    if ahead:
        return put_off, recurrence.wall_named(ahead[0])
    # All times of the rule have come: it ends as it is.
    return put_off, recurrence.wall_named(rows[-1].recurrence_id) + timedelta(days=1)


def _put_off(series: SeriesItem, rows: Sequence[OccurrenceRow]) -> str | None:
    """The first whose time by the rule has come, and whose appointment is still ahead."""
    keys = {
        series.tenant.item(APPOINTMENT, row.appointment_id): row.recurrence_id
        for row in rows
        if row.state == OccurrenceState.BOOKED and not _is_ahead(series, row)
    }
    found = table.batch_get_raw(list(keys)) if keys else {}
    ahead = [keys[key] for key, raw in found.items() if AppointmentItem.read(raw).start > now()]
    return min(ahead, default=None)


def _is_ahead(series: SeriesItem, row: OccurrenceRow) -> bool:
    wall = recurrence.wall_named(row.recurrence_id)
    return recurrence.instant(wall, series.zone) > now()


def _working(job_id: str, job: dict[str, Any], status: SeriesStatus) -> dict[str, Any]:
    stored = SeriesItem.job.serialize(job)
    return {"job": stored, "job_id": job_id, "status": str(status), "done": 0}


def _ending(series: SeriesItem, last: datetime) -> dict[str, Any]:
    """Ends with ``last``; dates left out after it go with the rest."""
    return {
        "rrule": str(series.rule.ending(last)),
        "exdates": [day for day in series.exdates if date.fromisoformat(day) <= last.date()],
    }


def _may_change(by: Principal, series: SeriesItem, expert_id: str | None) -> None:
    if by.role is Role.PATIENT or by.sees_all("appointments"):
        return
    if by.expert != series.expert_id or expert_id not in (None, by.expert):
        raise Forbidden("An expert changes only their own series")


def _check_idle(series: SeriesItem) -> None:
    if series.job:
        raise Conflict("The series is still being worked on: wait until it is ready")


def _changed_meanwhile(if_match: str | None) -> Exception:
    if if_match is not None:
        return PreconditionFailed()
    return Conflict("It was changed at the same time: read it again and repeat")
