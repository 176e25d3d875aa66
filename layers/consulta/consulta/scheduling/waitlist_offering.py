"""A time became free: it is held for the first on the waitlist whom it suits.

Told by the bus, so it may be told twice, late, or to two at once. Each event is one offer at most:
a row under the appointment that left the time is written in the transaction that holds it, together
with the entry's next state on condition of its version.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from consulta.core import settings, table
from consulta.core.bus import Event
from consulta.core.errors import Busy, Conflict, Invalid, NotFound, Problem
from consulta.core.identity import Principal
from consulta.core.keys import Key
from consulta.core.observe import count
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, now, to_epoch, to_text
from consulta.people.records import PATIENT
from consulta.scheduling import booking, slots
from consulta.scheduling.occupancy import read_busy
from consulta.scheduling.offers import MAX_RANGE, Offer, offers_of
from consulta.scheduling.records import (
    APPOINTMENT,
    BOOKED,
    WAITLIST,
    AppointmentItem,
    Status,
)
from consulta.scheduling.searching import Search
from consulta.scheduling.series_records import derived_id
from consulta.scheduling.slots import Busy as Taken
from consulta.scheduling.waitlist_records import (
    WaitlistItem,
    WaitlistStatus,
    changed,
    slot,
)

# Whoever gets an offer has at least this long to take it.
LEAST = timedelta(minutes=15)
MAX_IGNORED = 3
# Entries that one event looks at, in order of joining.
MAX_LOOKED_AT = 200
# Experts whose times are looked at where an appointment went to another one.
MAX_EXPERTS = 5
# Far beyond any repetition of an event.
MARK_KEPT = timedelta(days=30)
FREED = frozenset({Status.CANCELLED, Status.EXPIRED})


class OfferSettings(settings.Settings):
    """How long an offer is held."""

    waitlist_offer_minutes: int = 120


def handle(event: Event, request_id: str) -> None:
    """One change of an appointment. Raises Busy: the message comes again."""
    appointment = table.get(AppointmentItem, event.key)
    if appointment is None:
        return
    by = Principal("waitlist", Role.ADMIN, request_id, event.practice)
    if appointment.waitlist_id:
        settle(by, appointment)
    ended = event.status in FREED and event.status != event.was
    if ended or event.moved:
        _Freed(by, event, appointment).offer()


def settle(by: Principal, appointment: AppointmentItem) -> None:
    """What became of an offer, for its entry: booked, or waiting on in its old place.

    A time that was offered in vain is not offered again; the third that nobody answers ends it.
    """
    for _ in table.attempts(4.0):
        entry = table.get(WaitlistItem, by.tenant.item(WAITLIST, str(appointment.waitlist_id)))
        if entry is None or entry.appointment_id != appointment.item_id:
            return
        actions = _settled(entry, appointment, by)
        if not actions:
            return
        try:
            table.transact(actions)
        except table.ConditionFailed:
            continue
        return


def _settled(
    entry: WaitlistItem, appointment: AppointmentItem, by: Principal
) -> list[table.Action]:
    live = entry.status in (WaitlistStatus.OFFERED, WaitlistStatus.WAITING)
    if live and appointment.status in BOOKED:
        # Also where it was paid after the offer had ended, and its time was still free.
        return changed(entry, by.actor, WaitlistStatus.BOOKED)
    if entry.status != WaitlistStatus.OFFERED or appointment.status not in FREED:
        return []
    ignored = int(entry.ignored) + (appointment.status == Status.EXPIRED)
    over = ignored >= MAX_IGNORED or entry.is_over(now())
    passed = slot(appointment.expert_id, to_epoch(appointment.start))
    values = {"ignored": ignored, "passed": [*entry.passed, passed]}
    status = WaitlistStatus.EXPIRED if over else WaitlistStatus.WAITING
    return changed(entry, by.actor, status, values)


@dataclass(slots=True)
class _Freed:
    """A time that became free, and who may have it."""

    by: Principal
    event: Event
    appointment: AppointmentItem

    @property
    def _mark(self) -> Key:
        """That this event has led to an offer."""
        version = f"{self.event.version:09d}"
        return self.by.tenant.sub(APPOINTMENT, self.event.id, "OFFERED", version)

    def offer(self) -> None:
        """Make one offer: of the very time if it suits somebody, else of another that is free.

        Who waits had no time to take when they joined; what is free now is as good to them.
        """
        if table.get_raw(self._mark) is not None:
            return
        waiting = list(self._waiting())
        if not waiting:
            return
        offers = self._offers()
        if not self.event.moved:
            for offer in offers[:1]:
                if self._first(waiting, offer, self._very(offer)):
                    return
        for offer in offers:
            if self._first(waiting, offer, self._any(offer)):
                return

    def _waiting(self) -> Iterator[WaitlistItem]:
        """The service's entries in order of joining; those whose range is over are ended."""
        tenant, instant = self.by.tenant, now()
        partition = tenant.listing_by(WAITLIST, "SERVICE", self.appointment.service_id)
        for raw in table.Query(partition, index="l1").page(MAX_LOOKED_AT).items:
            entry = WaitlistItem.read(raw)
            if entry.status != WaitlistStatus.WAITING:
                continue
            if entry.is_over(instant):
                self._end(entry)
            else:
                yield entry

    def _end(self, entry: WaitlistItem) -> None:
        try:
            table.transact(changed(entry, self.by.actor, WaitlistStatus.EXPIRED))
        except table.ConditionFailed:
            # The index was behind: it has changed since.
            return

    def _offers(self) -> list[Offer]:
        """Whose times are looked at: the expert's, and after a move others', as it left one."""
        try:
            _, _, offers = offers_of(self.by, self.appointment.service_id, "body")
        except (NotFound, Invalid):
            return []
        expert = self.appointment.expert_id
        own = [offer for offer in offers if offer.expert.item_id == expert]
        if not self.event.moved:
            return own
        return [*own, *(offer for offer in offers if offer.expert.item_id != expert)][:MAX_EXPERTS]

    def _very(self, offer: Offer) -> list[int]:
        """The offered starts that the freed time made free, the nearest to its own first."""
        start, end = to_epoch(self.appointment.start), to_epoch(self.appointment.end)
        offered = offer.offered(start - offer.duration_s + 1, end, to_epoch(now()))
        return slots.nearest(_free(offer, offered), start, len(offered))

    def _any(self, offer: Offer) -> list[int]:
        """What is free in the next 62 days."""
        instant = to_epoch(now())
        high = instant + int(MAX_RANGE.total_seconds()) - slots.DAY
        return _free(offer, offer.offered(instant, high, instant))

    def _first(self, waiting: Sequence[WaitlistItem], offer: Offer, starts: list[int]) -> bool:
        """Offer one of ``starts`` to the first whom one suits; whether this event is done."""
        if not starts:
            return False
        expert = offer.expert.item_id
        for entry in waiting:
            if entry.expert_id not in ("", expert):
                continue
            passed = set(entry.passed)
            fitting = [
                start
                for start in starts
                if slot(expert, start) not in passed
                and entry.fits(from_epoch(start), from_epoch(start + offer.duration_s))
            ]
            for start in self._free_for(entry, offer, fitting)[:1]:
                if self._offered(entry, offer, start):
                    return True
        return False

    def _free_for(self, entry: WaitlistItem, offer: Offer, starts: list[int]) -> list[int]:
        """Those at which the patient has nothing else, in the order given."""
        if not starts:
            return []
        low, high = min(starts), max(starts) + offer.duration_s
        patient, instant = entry.patient_id, to_epoch(now())
        busy, _ = read_busy(self.by.tenant, PATIENT, patient, low, high, instant)
        free = set(slots.free(sorted(starts), Taken(0, offer.duration_s), busy))
        return [start for start in starts if start in free]

    def _offered(self, entry: WaitlistItem, offer: Offer, start: int) -> bool:
        """Hold the time for the entry; False where it cannot be, and the next is asked."""
        instant, notice = now(), offer.hours.min_notice_s if offer.hours else 0
        longest = timedelta(minutes=settings.load(OfferSettings).waitlist_offer_minutes)
        until = min(instant + longest, from_epoch(start - notice))
        if until < instant + LEAST:
            return False
        expert, tenant = offer.expert.item_id, self.by.tenant
        own = derived_id("appt", tenant.practice, entry.item_id, expert, str(start))
        wanted = booking.Wanted(
            service_id=entry.service_id,
            expert_id=expert,
            patient_id=entry.patient_id,
            start=from_epoch(start),
            appointment_id=own,
            waitlist_id=entry.item_id,
            hold_until=until,
        )
        values = {"appointment_id": own, "offer_until": to_text(from_epoch(to_epoch(until)))}
        mark = table.put_values(
            self._mark,
            {"appointment_id": own, "expires_at": to_epoch(instant + MARK_KEPT)},
            label="mark",
        )
        try:
            booking.place(
                self.by,
                wanted,
                also=lambda _: [
                    *changed(entry, self.by.actor, WaitlistStatus.OFFERED, values),
                    mark,
                ],
            )
        except Busy:
            raise
        except (Conflict, Invalid, NotFound):
            # Taken, or the entry changed, meanwhile; or another delivery of this event was faster.
            return table.get_raw(self._mark) is not None
        except Problem:
            return False
        # Told twice at once: the other one's offer was answered, and its mark is there.
        done = table.get_raw(self._mark) is not None
        count("WaitlistOffers", int(done))
        return done


def _free(offer: Offer, starts: list[int]) -> list[int]:
    if not starts:
        return []
    return Search(offer).read(starts[0], starts[-1], to_epoch(now())).free(starts)
