"""Booking: one transaction that cannot double-book (ARCHITECTURE §5).

Two reads, one write: what the booking rests on, then the calendar rows of expert, patient and
rooms, then everything at once on condition that those rows are as they were read. Whoever loses
that race reads again; it is over early only where this very time is taken.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from consulta.core import ids, table
from consulta.core.errors import Busy as TooBusy
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, Problem, SlotTaken
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.time import from_epoch, now, to_epoch
from consulta.people.records import PATIENT, PRACTICE, PatientItem, PracticeItem
from consulta.scheduling import appointments, due, names, package_sessions, paying, terms
from consulta.scheduling.busy import CALENDAR, HOLDS, put_hold
from consulta.scheduling.drafts import (
    FULLY_BOOKED,
    Draft,
    check_start,
    claim_of,
    notice_s,
    placed_at,
)
from consulta.scheduling.lifecycle import approve_until
from consulta.scheduling.offers import Offer
from consulta.scheduling.pricing import owed
from consulta.scheduling.records import (
    APPOINTMENT,
    SERVICE,
    AppointmentItem,
    Approval,
    PackageItem,
    PaymentStatus,
    ServiceItem,
    Status,
)
from consulta.scheduling.schema.appointments import AppointmentDetail
from consulta.scheduling.schema.booking import BookingRequest
from consulta.scheduling.wall import instant_of
from consulta.scheduling.whom import patient_of

HOLD = timedelta(minutes=15)
DEADLINE_S = 8.0
# Of so many experts the nearest free times are looked for, where any would do.
ALTERNATIVE_EXPERTS = 3
# What another booking may have changed meanwhile: read again, try again.
_RACED = frozenset({CALENDAR, HOLDS})
PACKAGE_KIND = "PACKAGE"

Also = Callable[[AppointmentItem], list[table.Action]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A time to book. Who may ask for what was settled before.

    ``expert_id`` "" is any expert of the service. ``appointment_id`` makes a repeat harmless: the
    one that is there is answered. ``hold_until`` makes it an offer, held until then and not
    counted among the patient's holds.
    """

    service_id: str
    expert_id: str
    patient_id: str
    start: datetime
    confirm: bool = False
    override: bool = False
    appointment_id: str = ""
    series_id: str | None = None
    recurrence_id: str | None = None
    waitlist_id: str | None = None
    hold_until: datetime | None = None
    package_id: str | None = None
    waives_withdrawal: bool = False


def book(by: Principal, request: BookingRequest, key: str | None) -> AppointmentDetail:
    """Book a time for a patient: held for 15 minutes where there is something to pay.

    Without a price, or with ``confirm`` by a member who may, it is confirmed at once; an expert who
    approves each booking is asked first (MONEY_AND_BOOKING_RULES §4). Raises NotFound, Forbidden,
    Invalid, Conflict (three open holds, fully booked), NoPackage, SlotTaken with ``alternatives``.
    """
    start = instant_of(request.start, request.zone, "body.start")
    wanted = Wanted(
        service_id=request.service_id,
        expert_id=request.expert_id or "",
        patient_id=_for_whom(by, request),
        start=start,
        confirm=request.confirm,
        override=request.override,
        package_id=request.package_id,
        waives_withdrawal=request.waives_withdrawal,
    )
    once = Idempotent.asked(by.tenant, by.person, key, request)
    placing = _Placing(by, wanted, once)
    item = placing.place()
    known = names.named(by.tenant, placing.found)
    return appointments.detail(item, known) if placing.is_new else appointments.to_api(by, item)


def place(by: Principal, wanted: Wanted, *, also: Also = lambda _: []) -> AppointmentItem:
    """Book for a series, the waitlist and the like; ``also`` gives parts of the same transaction.

    Raises NotFound, Invalid, Conflict (also where a condition of ``also`` fails), SlotTaken.
    """
    nothing = Idempotent(None, "")
    return _Placing(by, wanted, nothing, also).place()


def _for_whom(by: Principal, request: BookingRequest) -> str:
    if request.override and not by.may("appointments:confirm"):
        raise Forbidden("Overriding needs the permission appointments:confirm")
    return patient_of(
        by, request.patient_id, confirm=request.confirm, expert_id=request.expert_id or ""
    )


@dataclass(slots=True)
class _Placing:
    """One booking under way."""

    by: Principal
    wanted: Wanted
    once: Idempotent
    also: Also = lambda _: []
    found: dict[Key, table.Raw] = field(default_factory=dict)
    package: PackageItem | None = None
    is_new: bool = False

    @property
    def tenant(self) -> Tenant:
        return self.by.tenant

    def place(self) -> AppointmentItem:
        """Book it, or answer what was booked by the same request before."""
        self.found = table.batch_get_raw(self._keys())
        known = self._known()
        if known is not None:
            return known
        drafts = self._drafts()
        if self._package_is_used():
            self.package = package_sessions.chosen(
                self.tenant,
                self.wanted.package_id,
                self.wanted.patient_id,
                self.wanted.service_id,
                self.wanted.start,
            )
        for draft in drafts:
            draft.spread = len(drafts) > 1
        keys = [key for draft in drafts for key in (*draft.keys(), *self._payees(draft))]
        rows = table.batch_get_raw(keys)
        for draft in drafts:
            draft.load(rows)
            self._settle(draft, rows)
        if len(drafts) == 1:
            return self._commit(drafts[0])
        return self._commit_any(drafts)

    # ------------------------------------------------------------ what it rests on

    def _keys(self) -> list[Key]:
        tenant, wanted = self.tenant, self.wanted
        keys = [
            tenant.item(PRACTICE, tenant.practice),
            tenant.item(PATIENT, wanted.patient_id),
            tenant.item(SERVICE, wanted.service_id),
        ]
        if wanted.expert_id:
            keys += Offer.keys(tenant, wanted.service_id, wanted.expert_id)
        if wanted.appointment_id:
            keys.append(tenant.item(APPOINTMENT, wanted.appointment_id))
        if self.once.row:
            keys.append(self.once.row)
        return keys

    def _known(self) -> AppointmentItem | None:
        if self.once.row:
            result = self.once.seen(self.found.get(self.once.row)).result
            if result:
                return appointments.load(self.by, result)
        if self.wanted.appointment_id:
            raw = self.found.get(self.tenant.item(APPOINTMENT, self.wanted.appointment_id))
            return AppointmentItem.read(raw) if raw else None
        return None

    def _drafts(self) -> list[Draft]:
        """One per expert who could; all but the calendars is checked."""
        patient = self.found.get(self.tenant.item(PATIENT, self.wanted.patient_id))
        if patient is None or PatientItem.read(patient).deleted_at is not None:
            raise NotFound
        if self.wanted.expert_id:
            return [self._draft(self.wanted.expert_id)]
        raw = self.found.get(self.tenant.item(SERVICE, self.wanted.service_id))
        if raw is None:
            raise NotFound
        service = ServiceItem.read(raw)
        if service.deleted_at is not None:
            raise NotFound
        experts = list(service.expert_ids)
        keys = [key for e in experts for key in Offer.keys(self.tenant, self.wanted.service_id, e)]
        self.found |= table.batch_get_raw(keys) if keys else {}
        drafts: list[Draft] = []
        problem: Problem = Invalid.of("body.expert_id", "Nobody gives this service", "service")
        for expert_id in experts:
            try:
                drafts.append(self._draft(expert_id))
            except NotFound:
                continue
            except Invalid as invalid:
                problem = invalid
        if not drafts:
            raise problem
        return drafts

    def _draft(self, expert_id: str) -> Draft:
        wanted = self.wanted
        offer = Offer.of(self.by, wanted.service_id, expert_id, self.found, "body")
        check_start(self.by, offer, wanted.start, override=wanted.override)
        item = self._item(offer)
        claim = claim_of(item, offer, override=wanted.override)
        return Draft(self.by, offer, item, claim)

    def _item(self, offer: Offer) -> AppointmentItem:
        tenant, wanted, service = self.tenant, self.wanted, offer.service
        practice = PracticeItem.read(self.found[tenant.item(PRACTICE, tenant.practice)])
        appointment_id = wanted.appointment_id or ids.new_id("appt")
        return AppointmentItem.create(
            tenant.item(APPOINTMENT, appointment_id),
            APPOINTMENT,
            self.by.actor,
            service_id=wanted.service_id,
            patient_id=wanted.patient_id,
            **placed_at(practice, appointment_id, offer, wanted.patient_id, wanted.start),
            status=str(Status.CONFIRMED),
            payment_status=str(PaymentStatus.NOT_REQUIRED),
            **owed(service),
            order_id=ids.related(appointment_id, "ord"),
            policy=self._policy(practice, offer),
            seats=offer.seats,
            location=service.location,
            series_id=wanted.series_id,
            recurrence_id=wanted.recurrence_id,
            waitlist_id=wanted.waitlist_id,
            walkpk=tenant.listing(APPOINTMENT),
            walksk=appointment_id,
        )

    def _policy(self, practice: PracticeItem, offer: Offer) -> dict[str, Any]:
        policy = policy_of(practice, offer)
        return terms.waived(policy, now()) if self.wanted.waives_withdrawal else policy

    def _package_is_used(self) -> bool:
        raw = self.found[self.tenant.item(SERVICE, self.wanted.service_id)]
        if ServiceItem.read(raw).kind == PACKAGE_KIND:
            return True
        if self.wanted.package_id:
            raise Invalid.of("body.package_id", "This service is not sold as a package", "kind")
        return False

    # ------------------------------------------------------------ its first state

    def _payees(self, draft: Draft) -> list[Key]:
        """Who would be paid, where it matters."""
        if not self._needs_approval(draft):
            return []
        return paying.payee_keys(self.tenant, draft.claim.expert)

    def _needs_approval(self, draft: Draft) -> bool:
        # Who offers a time of the waitlist has agreed to it.
        return not (draft.offer.auto_confirm or self.wanted.confirm or self.wanted.hold_until)

    def _settle(self, draft: Draft, rows: dict[Key, table.Raw]) -> None:
        """Held, waiting for approval, or confirmed (rules §4)."""
        item, wanted, instant = draft.item, self.wanted, now()
        if self.package is not None:
            item.price, item.package_id = 0, self.package.item_id
            item.tax = item.deposit = None
            item.payment_status = str(PaymentStatus.PACKAGE)
        elif item.price:
            item.payment_status = str(PaymentStatus.UNPAID)
        priced = bool(item.price) and not wanted.confirm
        if self._needs_approval(draft):
            item.approval = str(Approval.NEEDED)
            item.approve_until = approve_until(item.start, notice_s(draft.offer), instant)
            later = priced and paying.captures_later(self.tenant, draft.claim.expert, rows)
            item.status = str(Status.HELD if later else Status.AWAITING_APPROVAL)
        elif priced or wanted.hold_until:
            item.status = str(Status.HELD)
        if item.status == Status.HELD:
            # Whole seconds, as the calendar rows have it.
            until = wanted.hold_until or instant + HOLD
            item.hold_expires_at = from_epoch(to_epoch(until))

    # ------------------------------------------------------------ writing

    def _commit_any(self, drafts: Sequence[Draft]) -> AppointmentItem:
        """The free expert with the least to do that day; if that race is lost, the next."""
        ends = time.monotonic() + DEADLINE_S
        for draft in sorted(drafts, key=Draft.load_of_day):
            try:
                return self._commit(draft, raced_only=True)
            except Conflict as problem:
                if not _is_full(problem):
                    raise
            # Each may take as long as one alone; all of them together may not.
            if time.monotonic() > ends:
                break
        raise drafts[0].nearest_with(drafts[1:ALTERNATIVE_EXPERTS])

    def _commit(self, draft: Draft, *, raced_only: bool = False) -> AppointmentItem:
        draft.quiet = raced_only
        try:
            for _ in table.attempts(DEADLINE_S):
                try:
                    self._write(draft)
                except table.ConditionFailed as failed:
                    if done := self._after(draft, failed):
                        return done
                else:
                    self.is_new = True
                    return draft.item
        except TooBusy:
            if done := self._written(draft):
                return done
            raise draft.taken("Too many are booking at once: try again, or take another") from None
        raise AssertionError("attempts ends by raising Busy")

    def _write(self, draft: Draft) -> None:
        """Check against the rows as read, and write. Raises SlotTaken, Conflict."""
        draft.check()
        item, own = draft.item, draft.own
        until, instant = item.hold_expires_at, to_epoch(now())
        actions = [
            *draft.claim.take(draft.rows, own, until, instant),
            table.put_new(item),
            *self.once.actions(own),
            *self.also(item),
        ]
        if self.package is not None:
            actions += package_sessions.use(
                self.tenant, self.package, own, item.start, now(), self.by.actor
            )
        if until is not None:
            actions.append(due.at(until, item.pk, due.HOLD))
        if draft.counts_as_hold and until is not None:
            actions.append(put_hold(draft.holds, own, until, instant))
        if item.status == Status.AWAITING_APPROVAL and item.approve_until is not None:
            actions.append(due.at(item.approve_until, item.pk, due.APPROVE))
        table.transact(actions, on_conflict=draft.still_free)

    def _after(self, draft: Draft, failed: table.ConditionFailed) -> AppointmentItem | None:
        """Whether it is booked all the same; else everything is read again for the next try.

        The rows may hold this appointment already: an earlier try had been written and only its
        answer was lost, or the same request was made twice.
        """
        if REPEATED in failed.labels and (result := self.once.again().result):
            return appointments.load(self.by, result)
        if done := self._written(draft):
            return done
        if package_sessions.LABEL in failed.labels and self.package is not None:
            self.package = package_sessions.chosen(
                self.tenant,
                self.package.item_id,
                self.wanted.patient_id,
                self.wanted.service_id,
                self.wanted.start,
            )
        elif not _RACED & set(failed.labels):
            raise Conflict("It was changed at the same time: read it again and repeat") from failed
        return None

    def _written(self, draft: Draft) -> AppointmentItem | None:
        stored = draft.reread()
        if stored is None:
            return None
        self.is_new = (stored.request_id, stored.created_at) == (
            draft.item.request_id,
            draft.item.created_at,
        )
        return stored


def _is_full(problem: Conflict) -> bool:
    return isinstance(problem, SlotTaken) or problem.extra.get("code") == FULLY_BOOKED


def policy_of(practice: PracticeItem, offer: Offer) -> dict[str, Any]:
    """The snapshot of rules §9: the practice's, with the expert's own terms of cancelling."""
    policy = dict(practice.policy)
    own = offer.cancellation
    if own:
        kept = {"fixed": int(own["fixed"]), "percent": int(own["percent"])}
        free = {"min_notice_s": int(own["window_s"]), "keep": {"fixed": 0, "percent": 0}}
        late = {"min_notice_s": 0, "keep": kept}
        policy["cancel"] = [free, late] if free["min_notice_s"] else [free]
    return policy
