"""The waitlist: joining, leaving, and taking the time that is offered.

A patient has at most ten live entries, and one for the same service and expert: a row under the
patient says which, so that two requests at once cannot make more. What offers a time is
:mod:`waitlist_offering`.
"""

from datetime import date, timedelta

from consulta.core import ids, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, Invalid, NotFound
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal, own_only
from consulta.core.listing import Plan, equal
from consulta.core.time import from_epoch, local_day, now, to_epoch
from consulta.people.records import PATIENT, PatientItem
from consulta.scheduling import transitions
from consulta.scheduling.busy import Row
from consulta.scheduling.offers import Offer
from consulta.scheduling.records import (
    APPOINTMENT,
    SERVICE,
    WAITLIST,
    AppointmentItem,
    ServiceItem,
)
from consulta.scheduling.schema.availability import Weekly
from consulta.scheduling.schema.waitlist import (
    MAX_RANGE,
    TimeWindow,
    WaitlistEntry,
    WaitlistFilter,
    WaitlistPage,
    WaitlistRequest,
)
from consulta.scheduling.waitlist_records import (
    WaitlistItem,
    WaitlistStatus,
    changed,
    live_row,
    places,
)
from consulta.scheduling.whom import patient_of

MAX_LIVE = 10
MAX_AHEAD = timedelta(days=366)
READ_BUDGET = 300
DEADLINE_S = 4.0
# Whoever accepts has at least this long to pay.
TIME_TO_PAY = timedelta(minutes=15)
WEEKDAYS = tuple(Weekly.model_fields)


def join(by: Principal, body: WaitlistRequest, key: str | None) -> WaitlistEntry:
    """Wait for a time.

    Raises NotFound, Forbidden, Invalid, and Conflict for a second live entry of the same service
    and expert (``existing_id``) and for an eleventh.
    """
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return get(by, once.result)
    patient_id = patient_of(by, body.patient_id, expert_id=body.expert_id or "")
    _check_range(body)
    _check_offered(by, body, patient_id)
    entry_id, expert_id, instant = ids.new_id("wait"), body.expert_id or "", now()
    window = body.time_window
    item = WaitlistItem.create(
        tenant.item(WAITLIST, entry_id),
        WAITLIST,
        by.actor,
        service_id=body.service_id,
        expert_id=expert_id,
        patient_id=patient_id,
        zone=body.zone,
        first=body.from_.isoformat(),
        last=body.to.isoformat(),
        days=sorted({WEEKDAYS.index(day) for day in body.days}),
        time_from=window.from_ if window else None,
        time_to=window.to if window else None,
        status=str(WaitlistStatus.WAITING),
        **places(tenant, entry_id, body.service_id, expert_id, patient_id, instant),
    )
    for _ in table.attempts(DEADLINE_S):
        live = live_row(tenant, patient_id)
        over = _over(live)
        _check_live(live, over, item)
        text = f"{body.service_id}|{expert_id}|{item.ends}"
        actions = [table.put_new(item), live.put(entry_id, text, drop=over)]
        try:
            table.transact([*actions, *once.actions(entry_id)])
        except table.ConditionFailed as failed:
            if REPEATED in failed.labels and (known := once.again().result):
                return get(by, known)
            if entry_id in live_row(tenant, patient_id).entries:
                # It was written, and only the answer was lost.
                break
        else:
            break
    return to_api(item)


def _check_range(body: WaitlistRequest) -> None:
    today = local_day(now(), body.zone)
    if body.to < body.from_:
        raise Invalid.of("body.to", "to must not be before from", "range")
    if body.to - body.from_ > MAX_RANGE:
        raise Invalid.of("body.to", f"At most {MAX_RANGE.days} days", "range")
    if body.to < today:
        raise Invalid.of("body.to", "These days have passed", "past")
    if body.to > today + MAX_AHEAD:
        raise Invalid.of("body.to", "At most a year ahead", "range")
    if body.days:
        length = (body.to - body.from_).days + 1
        found = {(body.from_ + timedelta(days=n)).weekday() for n in range(min(length, 7))}
        if not found & {WEEKDAYS.index(day) for day in body.days}:
            raise Invalid.of("body.days", "None of these weekdays is in the range", "range")


def _check_offered(by: Principal, body: WaitlistRequest, patient_id: str) -> None:
    """The patient is there, and somebody gives the service."""
    tenant = by.tenant
    patient_key, service_key = (
        tenant.item(PATIENT, patient_id),
        tenant.item(SERVICE, body.service_id),
    )
    keys = [patient_key, service_key]
    if body.expert_id:
        keys += Offer.keys(tenant, body.service_id, body.expert_id)
    found = table.batch_get_raw(keys)
    patient = found.get(patient_key)
    if patient is None or PatientItem.read(patient).deleted_at is not None:
        raise NotFound
    if body.expert_id:
        Offer.of(by, body.service_id, body.expert_id, found, "body")
        return
    raw = found.get(service_key)
    service = ServiceItem.read(raw) if raw else None
    if service is None or service.deleted_at is not None:
        raise NotFound
    if not service.active:
        raise Invalid.of("body.service_id", "This service is not active", "inactive")


def _over(live: Row) -> list[str]:
    """Entries whose range is over: they count no more, whether or not anybody has ended them."""
    instant = to_epoch(now())
    return [
        entry for entry, text in live.entries.items() if int(text.rpartition("|")[2]) <= instant
    ]


def _check_live(live: Row, over: list[str], item: WaitlistItem) -> None:
    wanted = f"{item.service_id}|{item.expert_id}"
    found = {entry: text for entry, text in live.entries.items() if entry not in over}
    for entry, text in found.items():
        if text.rpartition("|")[0] == wanted:
            raise Conflict(
                "The patient waits for this already",
                extra={"code": "waiting", "existing_id": entry},
            )
    if len(found) >= MAX_LIVE:
        raise Conflict(f"A patient waits for {MAX_LIVE} things at most", extra={"code": "too-many"})


# ---------------------------------------------------------------- showing


def load(by: Principal, entry_id: str) -> WaitlistItem:
    """One that the caller may see: patients and experts their own. Raises NotFound."""
    item = table.get(WaitlistItem, by.tenant.item(WAITLIST, entry_id))
    if item is None or not by.sees("appointments", item.patient_id, item.expert_id):
        raise NotFound
    return item


def get(by: Principal, entry_id: str) -> WaitlistEntry:
    """One entry. Raises NotFound."""
    return to_api(load(by, entry_id))


def page(by: Principal, wanted: WaitlistFilter, limit: int, cursor: str | None) -> WaitlistPage:
    """In order of joining: a patient's all, else the expert's or the service's live ones.

    Raises Forbidden, Invalid (members say whose), BadRequest.
    """
    wanted = own_only(by, wanted, "appointments")
    tenant = by.tenant
    asked = {name: value for name, value in wanted.model_dump().items() if value}
    if patient := asked.pop("patient_id", None):
        index, partition = "l3", tenant.listing_by(WAITLIST, "PATIENT", patient)
    elif expert := asked.pop("expert_id", None):
        index, partition = "l2", tenant.listing_by(WAITLIST, "EXPERT", expert)
    elif service := asked.pop("service_id", None):
        index, partition = "l1", tenant.listing_by(WAITLIST, "SERVICE", service)
    else:
        raise Invalid.of("query.service_id", "Say which service, expert or patient", "missing")
    scope = (tenant.practice, "/v1/waitlist", by.role, wanted.model_dump_json())
    plan = Plan(index, (partition,), None, None, False, **equal(asked), budget=READ_BUDGET)
    raws, last_key = plan.read(limit, decode(cursor, *scope))
    return WaitlistPage(
        items=[to_api(WaitlistItem.read(raw)) for raw in raws],
        next_cursor=encode(last_key, *scope),
    )


def to_api(item: WaitlistItem) -> WaitlistEntry:
    """An entry as the API shows it; one whose range is over is expired, whoever has seen that."""
    over = item.status == WaitlistStatus.WAITING and item.is_over(now())
    offered = item.status == WaitlistStatus.OFFERED
    window = None
    if item.time_from and item.time_to:
        window = TimeWindow(from_=item.time_from, to=item.time_to)
    return WaitlistEntry(
        id=item.item_id,
        service_id=item.service_id,
        expert_id=item.expert_id or None,
        patient_id=item.patient_id,
        from_=date.fromisoformat(item.first),
        to=date.fromisoformat(item.last),
        days=[WEEKDAYS[int(number)] for number in item.days],
        time_window=window,
        zone=item.zone,
        status=WaitlistStatus.EXPIRED if over else WaitlistStatus(item.status),
        appointment_id=item.appointment_id
        if offered or item.status == WaitlistStatus.BOOKED
        else None,
        offer_until=item.offer_until if offered else None,
        ignored=int(item.ignored),
        created_at=item.created_at,
        version=int(item.version),
    )


# ---------------------------------------------------------------- answering


def leave(by: Principal, entry_id: str, if_match: str | None) -> str | None:
    """Wait no more; gives the appointment of an open offer, which is still to be cancelled.

    Nothing happens to an entry that has ended. Raises NotFound, PreconditionFailed, Conflict.
    """
    entry = load(by, entry_id)
    check_version(if_match, entry.version)
    if entry.status not in (WaitlistStatus.WAITING, WaitlistStatus.OFFERED):
        return None
    _write(changed(entry, by.actor, WaitlistStatus.LEFT))
    return entry.appointment_id if entry.status == WaitlistStatus.OFFERED else None


def accept(by: Principal, entry_id: str) -> WaitlistEntry:
    """Take the time that is offered.

    Without a price it is confirmed; else it stays held, 15 minutes at least from the first time but
    not beyond its start, and is paid as any other. Raises NotFound, Conflict where nothing is
    offered, or no longer.
    """
    entry, appointment = offered(by, entry_id)
    if entry.status == WaitlistStatus.BOOKED:
        return to_api(entry)
    if not appointment.price:
        confirmed = transitions.confirm_actions(appointment, by.actor)
        _write([*confirmed, *changed(entry, by.actor, WaitlistStatus.BOOKED)])
        return get(by, entry_id)
    until = min(from_epoch(to_epoch(now() + TIME_TO_PAY)), appointment.start)
    # Once: whoever accepts again and again would keep it for ever.
    if entry.accepted_id != appointment.item_id and appointment.hold_expires_at < until:
        extended = transitions.extend_actions(appointment, by.actor, until)
        values = {
            "offer_until": WaitlistItem.offer_until.serialize(until),
            "accepted_id": appointment.item_id,
        }
        _write([*extended, *changed(entry, by.actor, WaitlistStatus.OFFERED, values)])
    return get(by, entry_id)


def offered(by: Principal, entry_id: str) -> tuple[WaitlistItem, AppointmentItem]:
    """An entry and what is offered to it, or what came of that. Raises NotFound, Conflict."""
    entry = load(by, entry_id)
    is_answerable = entry.status in (WaitlistStatus.OFFERED, WaitlistStatus.BOOKED)
    appointment = None
    if is_answerable and entry.appointment_id:
        key = by.tenant.item(APPOINTMENT, entry.appointment_id)
        appointment = table.get(AppointmentItem, key)
    if appointment is None:
        raise Conflict("Nothing is offered to this entry", extra={"code": "not-offered"})
    alive = transitions.hold_alive(appointment, now())
    if entry.status == WaitlistStatus.OFFERED and not alive:
        raise Conflict("The offer has ended", extra={"code": "offer-ended"})
    return entry, appointment


def _write(actions: list[table.Action]) -> None:
    try:
        table.transact(actions)
    except table.ConditionFailed as failed:
        raise transitions.refusal(failed) from None
