"""Booking: one transaction that cannot double-book (ARCHITECTURE §5).

Two reads, one write: what the booking rests on, then the calendar rows of expert and patient, then
everything at once on condition that those rows are as they were read. Whoever loses that race reads
again; it is over early only where this very time is taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from consulta.core import ids, table
from consulta.core.errors import Busy as TooBusy
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, SlotTaken
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, in_zone, now, to_epoch, to_text
from consulta.people.records import PATIENT, PRACTICE, PatientItem, PracticeItem
from consulta.scheduling import appointments, due, slots
from consulta.scheduling.busy import HOLDS, Claim, Row, entries, hold_limit_reached, put_hold
from consulta.scheduling.names import Names
from consulta.scheduling.offers import Offer, calendar
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, PaymentStatus, Status
from consulta.scheduling.schema.appointments import AppointmentDetail, BookingRequest
from consulta.scheduling.wall import instant_of

HOLD = timedelta(minutes=15)
MAX_HOLDS = 3
ALTERNATIVES = 5
ALTERNATIVES_AROUND = timedelta(days=7)
DEADLINE_S = 8.0


def book(by: Principal, request: BookingRequest, key: str | None) -> AppointmentDetail:
    """Book a time for a patient: held for 15 minutes where there is something to pay.

    Without a price, or with ``confirm`` by a member who may, it is confirmed at once. Raises
    NotFound, Forbidden, Invalid, Conflict (three open holds), SlotTaken with ``alternatives``.
    """
    start = instant_of(request.start, request.zone, "body.start")
    patient_id = _patient(by, request)
    once = Idempotent.asked(by.tenant, by.person, key, request)
    keys = _keys(by.tenant, request, patient_id)
    found = table.batch_get_raw([*keys, *([once.row] if once.row else [])])
    if once.row and (known := once.seen(found.get(once.row))).result:
        return appointments.get(by, known.result)
    draft = _draft(by, request, start, patient_id, found)
    draft.reread()
    try:
        for _ in table.attempts(DEADLINE_S):
            try:
                draft.write(once)
            except table.ConditionFailed as failed:
                if REPEATED in failed.labels and (known := once.again()).result:
                    return appointments.get(by, known.result)
                # The rows are read again. If they hold this appointment, an earlier try had been
                # written and only its answer was lost.
                if draft.reread():
                    break
            else:
                break
    except TooBusy:
        if not draft.reread():
            raise draft.taken("Too many are booking at once: try again, or take another") from None
    names = {key: found[key]["name"]["S"] for key in keys if "name" in found.get(key, {})}
    return appointments.detail(draft.item, Names(by.tenant, names))


def _patient(by: Principal, request: BookingRequest) -> str:
    """Who it is for; whether the caller may book this at all."""
    if (request.confirm or request.override) and not by.may("appointments:confirm"):
        raise Forbidden("Confirming or overriding needs the permission appointments:confirm")
    if by.role is Role.PATIENT:
        if not by.patient:
            raise Forbidden("The caller is not a patient of this practice")
        if request.patient_id not in (None, by.patient):
            raise NotFound
        return by.patient
    if not by.sees_all("appointments") and by.expert != request.expert_id:
        raise Forbidden("An expert books only their own appointments")
    if request.patient_id is None:
        raise Invalid.of("body.patient_id", "Say for which patient", "missing")
    return request.patient_id


@dataclass(slots=True)
class Draft:
    """One booking under way: the appointment, and the rows as they were last read."""

    by: Principal
    offer: Offer
    item: AppointmentItem
    claim: Claim
    rows: dict[Key, Row]
    holds: Row

    @property
    def _holding(self) -> bool:
        return bool(self.item.status == Status.HELD)

    def write(self, once: Idempotent) -> None:
        """Check against the rows as read, and write. Raises SlotTaken, Conflict."""
        self.check()
        own, until, instant = self.item.item_id, self.item.hold_expires_at, to_epoch(now())
        actions = [
            *self.claim.take(self.rows, own, until, instant),
            table.put_new(self.item),
            *once.actions(own),
        ]
        if until is not None:
            actions.append(put_hold(self.holds, own, until, instant))
            actions.append(due.at(until, self.item.pk, due.HOLD))
        table.transact(actions, on_conflict=self._still_free)

    def check(self) -> None:
        """Raises SlotTaken where the time is taken, Conflict for a fourth hold."""
        instant, own = to_epoch(now()), self.item.item_id
        if not self.claim.is_free(self.rows, instant, own):
            raise self.taken()
        if self._holding and hold_limit_reached(self.holds, instant, MAX_HOLDS):
            raise Conflict(f"The patient has {MAX_HOLDS} unpaid bookings: pay or cancel one first")

    def _still_free(self) -> None:
        # Between tries of the same transaction: what was read stays, so that its conditions hold
        # for just that; only whether it is worth another try is found out.
        if not self.claim.is_free(self.claim.read(), to_epoch(now()), self.item.item_id):
            raise self.taken()

    def reread(self) -> bool:
        """Read the rows again; whether they say that this booking has been written."""
        holds_key = self.holds.key
        found = table.batch_get_raw([*self.claim.touched(), holds_key])
        self.rows, self.holds = (
            self.claim.rows(found),
            Row.read(holds_key, HOLDS, found.get(holds_key)),
        )
        return any(self.item.item_id in row.entries for row in self.rows.values())

    def taken(self, detail: str = "") -> SlotTaken:
        """The 409 with the nearest times that are free for both."""
        instant, wanted = to_epoch(now()), to_epoch(self.item.start)
        around = int(ALTERNATIVES_AROUND.total_seconds())
        starts = self.offer.offered(wanted - around, wanted + around, instant)
        free = self.offer.free(starts, instant)
        if free:
            first, last = from_epoch(free[0]).date(), from_epoch(free[-1] + slots.DAY).date()
            rows = calendar(self.claim.tenant, PATIENT, self.claim.patient, first, last)
            bare = slots.Busy(0, self.offer.duration_s)
            free = slots.free(free, bare, (busy for _, busy in entries(rows, instant)))
        found = slots.nearest((one for one in free if one != wanted), wanted, ALTERNATIVES)
        return SlotTaken(detail, extra={"alternatives": list(self._shown(found))})

    def _shown(self, starts: list[int]) -> Iterator[dict[str, str]]:
        zone = self.offer.hours.zone if self.offer.hours else self.item.zone
        for start in starts:
            begins, ends = from_epoch(start), from_epoch(start + self.offer.duration_s)
            yield {
                "start": in_zone(begins, zone).isoformat(),
                "end": in_zone(ends, zone).isoformat(),
            }


def _keys(tenant: Tenant, request: BookingRequest, patient_id: str) -> list[Key]:
    """What a booking rests on."""
    return [
        tenant.item(PRACTICE, tenant.practice),
        tenant.item(PATIENT, patient_id),
        *Offer.keys(tenant, request.service_id, request.expert_id),
    ]


def _draft(
    by: Principal,
    request: BookingRequest,
    start: datetime,
    patient_id: str,
    found: dict[Key, table.Raw],
) -> Draft:
    """Check everything that the booking rests on, but for the calendars."""
    tenant = by.tenant
    offer = Offer.of(by, request.service_id, request.expert_id, found, "body")
    patient = found.get(tenant.item(PATIENT, patient_id))
    if patient is None or PatientItem.read(patient).deleted_at is not None:
        raise NotFound
    _check_start(by, offer, start, override=request.override)
    practice = PracticeItem.read(found[tenant.item(PRACTICE, tenant.practice)])
    item = _item(by, request, offer, practice, patient_id, start)
    return Draft(by, offer, item, Claim.of(item), {}, Row(tenant.holds(patient_id), HOLDS))


def _check_start(by: Principal, offer: Offer, start: datetime, *, override: bool) -> None:
    """Patients take an offered start; members any time in the weekly hours, or beyond them."""
    instant, begins = now(), to_epoch(start)
    if start <= instant:
        raise Invalid.of("body.start", "This time has passed", "past")
    if start != from_epoch(begins) or begins % slots.MINUTE:
        raise Invalid.of("body.start", "Appointments begin at a full minute", "minute")
    if by.role is Role.PATIENT:
        if not offer.offered(begins, begins + 1, to_epoch(instant)):
            raise Invalid.of(
                "body.start", "This start is not offered: see /v1/slots", "not-offered"
            )
        return
    if override:
        return
    ends = begins + offer.duration_s
    if offer.hours is None or not slots.is_open(offer.hours, begins, ends):
        raise Invalid.of("body.start", "This is outside the expert's hours", "outside-hours")


def _item(
    by: Principal,
    request: BookingRequest,
    offer: Offer,
    practice: PracticeItem,
    patient_id: str,
    start: datetime,
) -> AppointmentItem:
    tenant: Tenant = by.tenant
    appointment_id = ids.new_id("appt")
    place = f"{to_text(start)}#{appointment_id}"
    price, local = int(offer.service.price), in_zone(start, practice.zone)
    holding = price > 0 and not request.confirm
    taken = offer.at(to_epoch(start))
    return AppointmentItem.create(
        tenant.item(APPOINTMENT, appointment_id),
        APPOINTMENT,
        by.actor,
        service_id=request.service_id,
        expert_id=request.expert_id,
        patient_id=patient_id,
        status=str(Status.HELD if holding else Status.CONFIRMED),
        payment_status=str(PaymentStatus.UNPAID if price else PaymentStatus.NOT_REQUIRED),
        start=start,
        end=from_epoch(taken.end),
        buffer_before_s=taken.before,
        buffer_after_s=taken.after,
        zone=practice.zone,
        local_date=local.date().isoformat(),
        local_hour=local.hour,
        price=price,
        currency=offer.service.currency,
        order_id=ids.new_id("ord"),
        policy=practice.policy,
        # Whole seconds, as the calendar rows have it.
        hold_expires_at=from_epoch(to_epoch(now() + HOLD)) if holding else None,
        l1pk=tenant.listing_by(APPOINTMENT, "MONTH", to_text(start)[:7]),
        l1sk=place,
        l2pk=tenant.listing_by(APPOINTMENT, "EXPERT", request.expert_id),
        l2sk=place,
        l3pk=tenant.listing_by(APPOINTMENT, "PATIENT", patient_id),
        l3sk=place,
        walkpk=tenant.listing(APPOINTMENT),
        walksk=appointment_id,
    )
