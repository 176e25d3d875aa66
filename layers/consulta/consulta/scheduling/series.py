"""Series: previewed, booked and shown. What moves or cancels them is :mod:`series_changes`.

A request checks all occurrences at once and saves the series; its occurrences are booked one by
one by :mod:`series_jobs`, the first in the request, the rest by a worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from consulta.core import ids, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, Invalid, NotFound
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal, own_only
from consulta.core.listing import Plan, equal
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.people.records import PATIENT, PatientItem
from consulta.scheduling import names, recurrence, series_jobs, series_plan
from consulta.scheduling.appointments import visible
from consulta.scheduling.offers import Offer
from consulta.scheduling.records import APPOINTMENT, SERIES, AppointmentItem
from consulta.scheduling.recurrence import Rule
from consulta.scheduling.schema.series import (
    Progress,
    Series,
    SeriesAppointment,
    SeriesAppointmentPage,
    SeriesConflict,
    SeriesFilter,
    SeriesPage,
    SeriesPreview,
    SeriesRequest,
    SeriesSummary,
)
from consulta.scheduling.searching import Search
from consulta.scheduling.series_plan import Checked
from consulta.scheduling.series_records import (
    OCCURRENCE,
    OccurrenceRow,
    OccurrenceState,
    SeriesItem,
    SeriesStatus,
    rows_of,
)
from consulta.scheduling.whom import patient_of

READ_BUDGET = 300
PACKAGE_KIND = "PACKAGE"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that can be read: for whom, when, and what stands against it."""

    patient_id: str
    start: str
    rule: Rule
    offer: Offer
    checked: list[Checked]

    def refuse(self, zone: str, *, skip: bool) -> None:
        """Raises Conflict (409, with the preview) where nothing is to be saved."""
        conflicts = sum(bool(one.problem) for one in self.checked)
        if conflicts and (not skip or conflicts == len(self.checked)):
            raise conflict(series_plan.to_api(self.checked, self.offer, zone))


def conflict(preview: SeriesPreview) -> Conflict:
    """The 409 that says which occurrences cannot be had, and what could be instead."""
    return Conflict(
        f"{preview.conflicts} of {len(preview.occurrences)} cannot be booked",
        extra={"code": "series-conflicts", **preview.model_dump(mode="json")},
    )


def preview(by: Principal, body: SeriesRequest) -> SeriesPreview:
    """All occurrences of a series and what stands against each; nothing is saved.

    Raises as :func:`create` does, but for conflicts.
    """
    asked = _asked(by, body)
    return series_plan.to_api(asked.checked, asked.offer, body.zone)


def create(by: Principal, body: SeriesRequest, key: str | None) -> str:
    """Save a series, to be booked by its job; gives its id.

    Raises NotFound, Forbidden, Invalid, and Conflict with the preview where an occurrence cannot be
    booked (``fail``), or none can.
    """
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return once.result
    asked = _asked(by, body)
    asked.refuse(body.zone, skip=body.on_conflict == "skip")
    series_id, job_id = ids.new_id("ser"), ids.new_id("job")
    item = making(
        by,
        series_id,
        service_id=body.service_id,
        expert_id=body.expert_id,
        patient_id=asked.patient_id,
        zone=body.zone,
        start=asked.start,
        rrule=str(asked.rule),
        exdates=sorted({day.isoformat() for day in body.exdates}),
        confirm=body.confirm,
        package_id=body.package_id,
        on_conflict=body.on_conflict,
        status=str(SeriesStatus.PLACING),
        job=series_jobs.job(by, job_id, "place"),
        job_id=job_id,
    )
    try:
        table.transact([table.put_new(item), *once.actions(series_id)])
    except table.ConditionFailed as failed:
        if REPEATED in failed.labels and (known := once.again().result):
            return known
        raise Conflict("It was saved at the same time: repeat the request") from None
    return series_id


def making(by: Principal, series_id: str, **attributes: Any) -> SeriesItem:
    """A new series in memory, on its lists."""
    tenant, place = by.tenant, f"{to_text(now())}#{series_id}"
    return SeriesItem.create(
        tenant.item(SERIES, series_id),
        SERIES,
        by.actor,
        **attributes,
        l1pk=tenant.listing(SERIES),
        l1sk=place,
        l2pk=tenant.listing_by(SERIES, "EXPERT", attributes["expert_id"]),
        l2sk=place,
        l3pk=tenant.listing_by(SERIES, "PATIENT", attributes["patient_id"]),
        l3sk=place,
        walkpk=tenant.listing(SERIES),
        walksk=series_id,
    )


def _asked(by: Principal, body: SeriesRequest) -> Asked:
    patient_id = patient_of(by, body.patient_id, confirm=body.confirm, expert_id=body.expert_id)
    start = recurrence.wall_of(body.start, body.zone, "body.start")
    rule = Rule.parse(body.rrule, body.zone)
    times = recurrence.occurrences(rule, start, body.zone, body.exdates)
    offer = offer_of(by, body.service_id, body.expert_id, patient_id)
    _check_paid(by, body, offer)
    checked = series_plan.check(by, Search(offer, patient_id), times)
    return Asked(patient_id, recurrence.name(start), rule, offer, checked)


def offer_of(by: Principal, service_id: str, expert_id: str, patient_id: str) -> Offer:
    """What an expert offers to a patient who is there. Raises NotFound, Invalid."""
    tenant = by.tenant
    patient_key = tenant.item(PATIENT, patient_id)
    found = table.batch_get_raw([*Offer.keys(tenant, service_id, expert_id), patient_key])
    patient = found.get(patient_key)
    if patient is None or PatientItem.read(patient).deleted_at is not None:
        raise NotFound
    return Offer.of(by, service_id, expert_id, found, "body")


def _check_paid(by: Principal, body: SeriesRequest, offer: Offer) -> None:
    """Refuse what would be held for minutes and lost: nobody pays for many bookings that fast."""
    if not offer.service.price or offer.service.kind == PACKAGE_KIND or body.confirm:
        return
    if by.role is Role.PATIENT:
        raise Invalid.of(
            "body.service_id",
            "This service is paid for each time: book its times one by one, or a package's series",
            "price",
        )
    raise Invalid.of(
        "body.confirm", "A series of a service with a price has to be confirmed", "price"
    )


# ---------------------------------------------------------------- showing


def load(by: Principal, series_id: str) -> SeriesItem:
    """One that the caller may see: patients and experts their own. Raises NotFound."""
    item = table.get(SeriesItem, by.tenant.item(SERIES, series_id))
    if item is None or not by.sees("appointments", item.patient_id, item.expert_id):
        raise NotFound
    return item


def get(by: Principal, series_id: str) -> Series:
    """One series and how far it has come. Raises NotFound."""
    item = load(by, series_id)
    return to_api(item, rows_of(by.tenant, series_id))


def page(by: Principal, wanted: SeriesFilter, limit: int, cursor: str | None) -> SeriesPage:
    """The newest first, by patient, else by expert, else all. Raises Forbidden, BadRequest."""
    wanted = own_only(by, wanted, "appointments")
    tenant = by.tenant
    scope = (tenant.practice, "/v1/series", by.role, wanted.model_dump_json())
    index, partition, asked = "l1", tenant.listing(SERIES), {}
    if wanted.patient_id:
        index, partition = "l3", tenant.listing_by(SERIES, "PATIENT", wanted.patient_id)
        asked = {"expert_id": wanted.expert_id} if wanted.expert_id else {}
    elif wanted.expert_id:
        index, partition = "l2", tenant.listing_by(SERIES, "EXPERT", wanted.expert_id)
    plan = Plan(index, (partition,), None, None, True, **equal(asked), budget=READ_BUDGET)
    raws, last_key = plan.read(limit, decode(cursor, *scope))
    return SeriesPage(
        items=[_summary(SeriesItem.read(raw)) for raw in raws],
        next_cursor=encode(last_key, *scope),
    )


def appointments(
    by: Principal, series_id: str, limit: int, cursor: str | None
) -> SeriesAppointmentPage:
    """The occurrences in order, each with its appointment. Raises NotFound, BadRequest."""
    tenant = by.tenant
    load(by, series_id)
    scope = (tenant.practice, f"/v1/series/{series_id}/appointments")
    query = table.Query(tenant.item(SERIES, series_id).pk, begins=f"{OCCURRENCE}#")
    read = query.page(limit, decode(cursor, *scope))
    rows = [OccurrenceRow.read(raw) for raw in read.items]
    keys = [tenant.item(APPOINTMENT, row.appointment_id) for row in rows if row.appointment_id]
    found = table.batch_get_raw(keys, consistent=False) if keys else {}
    every = [AppointmentItem.read(found[key]) for key in keys if key in found]
    # One may have gone to another expert: it is not this one's to see.
    items = [item for item in every if visible(by, item)]
    shown = {one.id: one for one in names.to_api(tenant, items, patients=by.sees_patients)}
    return SeriesAppointmentPage(
        items=[
            SeriesAppointment(
                recurrence_id=row.recurrence_id,
                state=OccurrenceState(row.state),
                detached=row.detached,
                problem=row.problem or None,
                appointment=shown.get(row.appointment_id),
            )
            for row in rows
        ],
        next_cursor=encode(read.last_key, *scope),
    )


def _exdates(item: SeriesItem) -> list[date]:
    return [date.fromisoformat(day) for day in item.exdates]


def _summary(item: SeriesItem) -> SeriesSummary:
    return SeriesSummary(
        id=item.item_id,
        service_id=item.service_id,
        expert_id=item.expert_id,
        patient_id=item.patient_id,
        zone=item.zone,
        start=item.start,
        rrule=item.rrule,
        status=SeriesStatus(item.status),
        created_at=item.created_at,
        version=int(item.version),
    )


def to_api(item: SeriesItem, rows: Sequence[OccurrenceRow]) -> Series:
    """One series as the API shows it."""
    states = [row.state for row in rows]
    pending = series_jobs.pending(item, rows)
    # What is placed, or moved here from another series, has no row here yet.
    missing = pending if item.status == SeriesStatus.PLACING or _comes_from_another(item) else 0
    return Series(
        **dict(_summary(item)),
        exdates=_exdates(item),
        confirm=item.confirm,
        package_id=item.package_id,
        on_conflict=item.on_conflict,
        progress=Progress(
            total=len(rows) + missing,
            booked=states.count(OccurrenceState.BOOKED),
            conflicts=states.count(OccurrenceState.CONFLICT),
            cancelled=states.count(OccurrenceState.CANCELLED),
            pending=pending,
        ),
        conflicts=[
            SeriesConflict(
                recurrence_id=row.recurrence_id,
                appointment_id=row.appointment_id or None,
                problem=row.problem,
            )
            for row in rows
            if row.problem
        ],
        continues=item.continues,
    )


def _comes_from_another(item: SeriesItem) -> bool:
    return bool(item.job) and item.job.get("source", item.item_id) != item.item_id
