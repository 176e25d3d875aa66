"""What is being done to a series: its occurrences are booked, moved or cancelled, one by one.

A job is kept on the series, with the caller whose it is. Each occurrence is one atomic step that
leaves its row behind, so a worker that dies anywhere is followed by one that does the rest, and two
at once do nothing twice. Steps are fenced by the job's id: whoever is late changes nothing more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from functools import partial
from typing import Any

from consulta.core import table
from consulta.core.errors import Busy, Invalid, NotFound, Problem, ProviderFailed, SlotTaken
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.scheduling import booking, recurrence, rescheduling
from consulta.scheduling.records import (
    APPOINTMENT,
    BLOCKING,
    OPEN,
    SERIES,
    AppointmentItem,
    Status,
)
from consulta.scheduling.recurrence import Occurrence
from consulta.scheduling.schema.booking import CancelRequest, RescheduleRequest
from consulta.scheduling.series_records import (
    MOVED_ON,
    OccurrenceRow,
    OccurrenceState,
    SeriesItem,
    SeriesStatus,
    derived_id,
    from_json,
    rows_of,
    to_json,
)

# In one request; a worker goes on with the rest.
IN_REQUEST = 10
DEADLINE_S = 4.0
# Money's way to cancel one appointment, with what that gives back.
Cancel = Callable[[Principal, str, CancelRequest], object]


class Outdated(Exception):
    """The job was done by somebody else meanwhile."""


def job(by: Principal, job_id: str, kind: str, **more: Any) -> dict[str, Any]:
    """A job as a series keeps it: ``place``, ``move`` or ``cancel``.

    Of ``move`` and ``cancel``: ``source`` is the series whose rows it is about, ``first`` the first
    recurrence id, ``only`` whether that one alone. Of ``move``: ``days``, ``time`` (or None) and
    ``expert_id`` (or None). Of ``cancel``: ``request``, and ``final``, the status of the series.
    """
    return {"id": job_id, "kind": kind, "by": to_json(by), **more}


def pending(series: SeriesItem, rows: Sequence[OccurrenceRow]) -> int:
    """How many steps the series' job has still to do; ``rows`` are the series' own."""
    if not series.job:
        return 0
    if series.job["kind"] == "place":
        return len(_unplaced(series, rows))
    source = series.job["source"]
    found = rows if source == series.item_id else rows_of(series.tenant, source)
    return len(affected(series.job, found))


def affected(job_: dict[str, Any], rows: Sequence[OccurrenceRow]) -> list[OccurrenceRow]:
    """The rows that a job is about and has not seen yet, in the order in which it takes them.

    What goes later is taken from the end, so that no occurrence is in the next one's way.
    """
    found = [
        row
        for row in rows
        if row.job != job_["id"]
        and (
            row.recurrence_id == job_["first"]
            if job_["only"]
            else row.recurrence_id >= job_["first"]
        )
        and (job_["kind"] == "move" or row.state == OccurrenceState.BOOKED)
    ]
    return found[::-1] if is_later(job_) else found


def is_later(job_: dict[str, Any]) -> bool:
    """Whether a job moves occurrences towards the end."""
    if job_["kind"] != "move":
        return False
    return bool(job_["days"] > 0 or (job_["days"] == 0 and job_["time"] is not None))


def _unplaced(series: SeriesItem, rows: Sequence[OccurrenceRow]) -> list[Occurrence]:
    known = {row.recurrence_id for row in rows}
    times = recurrence.occurrences(
        series.rule, series.first_wall, series.zone, map(date.fromisoformat, series.exdates)
    )
    return [one for one in times if one.recurrence_id not in known]


def is_moved(job_: dict[str, Any], row: OccurrenceRow, item: AppointmentItem, zone: str) -> bool:
    """Whether a move takes an occurrence along: one that is to come, and where the rule has it.

    Who was moved alone stays there, unless it is meant itself.
    """
    if item.status not in OPEN or item.start <= now():
        return False
    ruled = recurrence.instant(recurrence.wall_named(row.recurrence_id), zone)
    return bool(job_["only"] or (not row.detached and item.start == ruled))


def target_of(job_: dict[str, Any], recurrence_id: str) -> datetime:
    """The wall time that an occurrence is moved to."""
    to = time.fromisoformat(job_["time"]) if job_["time"] else None
    return recurrence.moved(recurrence.wall_named(recurrence_id), job_["days"], to)


def run(
    tenant: Tenant,
    series_id: str,
    request_id: str,
    *,
    cancel: Cancel,
    most: int = IN_REQUEST,
    time_left: Callable[[], bool] = lambda: True,
) -> bool:
    """Go on with a series' job, at most ``most`` steps; whether nothing is left to do.

    Raises Busy and ProviderFailed where a step could not be done now: it is still to be done.
    """
    series = table.get(SeriesItem, tenant.item(SERIES, series_id))
    if series is None or not series.job:
        return True
    work = _Work(series, from_json(series.job["by"], tenant.practice, request_id), cancel)
    steps = work.steps()
    try:
        for number, step in enumerate(steps):
            if number == most or not time_left():
                return False
            step()
        work.finish()
    except Outdated:
        return True
    return True


def go_on(tenant: Tenant, series_id: str, steps: int, request_id: str) -> None:
    """Note how far a worker came: the change of the series brings the next one, by the bus."""
    series = table.get(SeriesItem, tenant.item(SERIES, series_id))
    if series is None or not series.job:
        return
    by = from_json(series.job["by"], tenant.practice, request_id)
    try:
        table.transact([table.change(series, by.actor, set_={"done": int(series.done) + steps})])
    except table.ConditionFailed:
        # Somebody else changed it, and that is an event as well.
        return


@dataclass(slots=True)
class _Work:
    """One run on one series."""

    series: SeriesItem
    by: Principal
    cancel: Cancel

    @property
    def tenant(self) -> Tenant:
        return self.by.tenant

    @property
    def job(self) -> dict[str, Any]:
        found: dict[str, Any] = self.series.job
        return found

    @property
    def series_id(self) -> str:
        return str(self.series.item_id)

    def steps(self) -> list[Callable[[], None]]:
        if self.job["kind"] == "place":
            rows = rows_of(self.tenant, self.series_id)
            return [partial(self._place, one) for one in _unplaced(self.series, rows)]
        rows = affected(self.job, rows_of(self.tenant, self.job["source"]))
        if self.job["kind"] == "move":
            return [partial(self._move, row) for row in rows]
        return [partial(self._cancel, row) for row in rows]

    # ------------------------------------------------------------ booking

    def _place(self, one: Occurrence) -> None:
        series = self.series
        own = derived_id("appt", self.tenant.practice, self.series_id, one.recurrence_id)
        booked = OccurrenceRow(one.recurrence_id, OccurrenceState.BOOKED, own, job=self.job["id"])
        wanted = booking.Wanted(
            service_id=series.service_id,
            expert_id=series.expert_id,
            patient_id=series.patient_id,
            start=one.start,
            confirm=bool(series.confirm),
            appointment_id=own,
            series_id=self.series_id,
            recurrence_id=one.recurrence_id,
            package_id=series.package_id,
        )
        try:
            booking.place(self.by, wanted, also=lambda _: self._written(booked))
        except Busy:
            raise
        except Problem as problem:
            # Also where the fence did not hold: this is fenced, too.
            row = replace(
                booked, state=OccurrenceState.CONFLICT, appointment_id="", problem=code_of(problem)
            )
            self._write(row)

    # ------------------------------------------------------------ moving

    def _move(self, row: OccurrenceRow) -> None:
        only = self.job["only"]
        wall = target_of(self.job, row.recurrence_id)
        target = replace(row, job=self.job["id"], problem="")
        if not only:
            target = replace(target, recurrence_id=recurrence.name(wall))
        item = self._appointment(row)
        if item is not None and self._is_there(item, wall):
            # Before a crash between moving it and noting that.
            target = replace(target, detached=only)
        elif item is not None and is_moved(self.job, row, item, self.series.zone):
            target = self._moved(row, target, wall)
        elif item is not None and item.status in OPEN:
            target = replace(target, detached=True)
        else:
            target = replace(target, problem=row.problem)
        self._attach(row, target)

    def _is_there(self, item: AppointmentItem, wall: datetime) -> bool:
        start = recurrence.instant(wall, self.series.zone)
        expert = self.job["expert_id"] or item.expert_id
        return item.status in OPEN and (item.start, item.expert_id) == (start, expert)

    def _moved(self, row: OccurrenceRow, target: OccurrenceRow, wall: datetime) -> OccurrenceRow:
        request = RescheduleRequest(
            start=recurrence.instant(wall, self.series.zone),
            expert_id=self.job["expert_id"],
            requested_by="patient" if self.by.role is Role.PATIENT else "practice",
        )
        key = f"{self.job['id']}:{row.recurrence_id}"
        try:
            rescheduling.reschedule(self.by, row.appointment_id, request, key)
        except (Busy, ProviderFailed):
            raise
        except Problem as problem:
            code = code_of(problem)
            return replace(target, problem=code, detached=row.detached or not self.job["only"])
        return replace(target, detached=bool(self.job["only"]))

    def _is_ahead(self, row: OccurrenceRow) -> bool:
        item = self._appointment(row)
        return item is not None and item.status in BLOCKING and item.start > now()

    def _attach(self, row: OccurrenceRow, target: OccurrenceRow) -> None:
        """Give the occurrence its place in this series, and its appointment the name of it."""
        source = self.job["source"]
        place = (self.series_id, target.recurrence_id)
        for _ in table.attempts(DEADLINE_S):
            actions = self._written(target)
            if place != (source, row.recurrence_id):
                actions.append(row.remove(self.tenant, source))
            item = self._appointment(row)
            if item is not None and (item.series_id, item.recurrence_id) != place:
                named = {"series_id": place[0], "recurrence_id": place[1]}
                actions.append(table.change(item, self.by.actor, set_=named))
            try:
                table.transact(actions)
            except table.ConditionFailed as failed:
                if SERIES in failed.labels:
                    raise Outdated from None
                if MOVED_ON in failed.labels:
                    # Another worker was here, and went on.
                    return
            else:
                return

    # ------------------------------------------------------------ cancelling

    def _cancel(self, row: OccurrenceRow) -> None:
        if self._is_ahead(row):
            request = CancelRequest.model_validate(self.job["request"])
            try:
                self.cancel(self.by, row.appointment_id, request)
            except (Busy, ProviderFailed):
                raise
            except Problem as problem:
                row = replace(row, problem=code_of(problem))
        item = self._appointment(row)
        if item is None or item.status in (Status.CANCELLED, Status.EXPIRED):
            row = replace(row, state=OccurrenceState.CANCELLED, problem="")
        self._write(replace(row, job=self.job["id"]))

    # ------------------------------------------------------------ writing

    def _appointment(self, row: OccurrenceRow) -> AppointmentItem | None:
        if not row.appointment_id:
            return None
        return table.get(AppointmentItem, self.tenant.item(APPOINTMENT, row.appointment_id))

    def _written(self, row: OccurrenceRow) -> list[table.Action]:
        """A row, and the fence."""
        fence = table.check(
            self.series.key, "job_id = :job", values={":job": self.job["id"]}, label=SERIES
        )
        return [row.write(self.tenant, self.series_id), fence]

    def _write(self, row: OccurrenceRow) -> None:
        try:
            table.transact(self._written(row))
        except table.ConditionFailed:
            raise Outdated from None

    def finish(self) -> None:
        """Nothing is left to do."""
        status = self.job.get("final", str(SeriesStatus.READY))
        for _ in table.attempts(DEADLINE_S):
            series = table.get(SeriesItem, self.series.key)
            if series is None or series.job_id != self.job["id"]:
                return
            done = table.change(
                series, self.by.actor, set_={"status": status}, remove=["job", "job_id"]
            )
            try:
                table.transact([done])
            except table.ConditionFailed:
                continue
            return


def code_of(problem: Problem) -> str:
    """What a row says of a problem: the field's code, or the kind of problem."""
    if isinstance(problem, SlotTaken):
        return "taken"
    if isinstance(problem, Invalid) and problem.errors:
        return problem.errors[0].code
    if isinstance(problem, NotFound):
        return "not-found"
    return str(problem.extra.get("code") or problem.type)
