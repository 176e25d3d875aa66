"""A time under way to be taken, by a booking or a reschedule: its rows as they were last read.

What it needs is checked against those rows (expert, patient, rooms, the expert's maxima, the
calendar elsewhere), and written on condition that they are as they were read.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from consulta.core import table
from consulta.core.errors import Conflict, Invalid, Problem, SlotTaken
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, in_zone, now, to_epoch, to_text
from consulta.people.records import EXPERT, PATIENT, PracticeItem
from consulta.scheduling import slots
from consulta.scheduling.busy import (
    CALENDAR,
    HOLDS,
    Claim,
    Row,
    days,
    entries,
    hold_limit_reached,
    rooms_for,
)
from consulta.scheduling.occupancy import read_busy
from consulta.scheduling.offers import Offer
from consulta.scheduling.records import APPOINTMENT, RESOURCE, AppointmentItem, ResourceItem, Status
from consulta.scheduling.slots import Limits

MAX_HOLDS = 3
ALTERNATIVES = 5
ALTERNATIVES_AROUND = timedelta(days=7)
FULLY_BOOKED = "fully_booked"


@dataclass(slots=True)
class Draft:
    """The appointment as it would be, and who has what at that time.

    ``leaving`` are the calendar rows of where it is now, if it is moved.
    """

    by: Principal
    offer: Offer
    item: AppointmentItem
    claim: Claim
    leaving: tuple[Key, ...] = ()
    rows: dict[Key, Row] = field(default_factory=dict)
    rooms: list[list[str]] = field(default_factory=list)
    holds: Row = field(init=False)
    # Whether alternatives are left out of what is raised, since others are tried first.
    quiet: bool = False
    # Whether it is chosen among several by how much each has to do that day.
    spread: bool = False

    def __post_init__(self) -> None:
        self.holds = Row(self._holds_key, HOLDS)

    @property
    def tenant(self) -> Tenant:
        """The practice's keys."""
        return self.claim.tenant

    @property
    def own(self) -> str:
        """The appointment's id."""
        return str(self.item.item_id)

    @property
    def _holds_key(self) -> Key:
        return self.tenant.holds(self.item.patient_id)

    @property
    def _groups(self) -> Sequence[Sequence[str]]:
        return self.offer.service.resources or ()

    def _candidates(self) -> list[str]:
        return list(dict.fromkeys(one for group in self._groups for one in group))

    # ------------------------------------------------------------ reading

    def _calendars(self) -> list[Key]:
        rooms = [key for one in self._candidates() for key in self.claim.room(one)]
        day = self.day_keys() if self.spread else []
        return list(dict.fromkeys([*self.claim.watched(), *self.leaving, *rooms, *day]))

    def keys(self) -> list[Key]:
        """All rows that have to be read, and the rooms themselves."""
        rooms = [self.tenant.item(RESOURCE, one) for one in self._candidates()]
        return [*self._calendars(), self._holds_key, *rooms]

    def load(self, found: dict[Key, table.Raw]) -> None:
        """Take the rows out of a batch that holds them, and choose the rooms."""
        self.rows = self._rows(found)
        self.holds = Row.read(self._holds_key, HOLDS, found.get(self._holds_key))
        there = {one for one in self._candidates() if _usable(self.tenant, one, found)}
        self.rooms = [[one for one in group if one in there] for group in self._groups]
        chosen = rooms_for(self.claim, self.rooms, self.rows, to_epoch(now()), self.own)
        if chosen is not None:
            self.claim = replace(self.claim, resources=chosen)
            self.item.resource_ids = list(chosen)

    def _rows(self, found: dict[Key, table.Raw]) -> dict[Key, Row]:
        return {key: Row.read(key, CALENDAR, found.get(key)) for key in self._calendars()}

    def reread(self) -> AppointmentItem | None:
        """Read all again; the appointment as it is stored, if it is."""
        found = table.batch_get_raw([*self.keys(), self.item.key])
        self.load(found)
        raw = found.get(self.item.key)
        return AppointmentItem.read(raw) if raw else None

    # ------------------------------------------------------------ checking

    def check(self) -> None:
        """Raise what stands against it.

        SlotTaken with alternatives, Conflict for a fully booked day or week (``code``), a second
        seat of the same patient and a fourth hold.
        """
        problem = self.problem(self.rows)
        if problem is not None:
            raise problem
        instant = to_epoch(now())
        if self.counts_as_hold and hold_limit_reached(self.holds, instant, MAX_HOLDS):
            raise Conflict(f"The patient has {MAX_HOLDS} unpaid bookings: pay or cancel one first")

    @property
    def counts_as_hold(self) -> bool:
        """Whether it is one of the patient's open holds; a waitlist's offer is not."""
        return bool(self.item.status == Status.HELD and not self.item.waitlist_id)

    def problem(self, rows: dict[Key, Row]) -> Problem | None:
        """Why these rows do not allow it, if they do not."""
        instant = to_epoch(now())
        if self._second_seat(rows, instant):
            return Conflict("The patient has a seat in this group already")
        # Where others took the room that was chosen, another one does: rooms are looked at apart.
        if not replace(self.claim, resources=()).is_free(rows, instant, self.own):
            return self.taken()
        if rooms_for(self.claim, self.rooms, rows, instant, self.own) is None:
            return self.taken("No room or equipment that this needs is free then")
        if not self.claim.within_limits(rows, instant, self.own):
            return Conflict(
                "The expert is fully booked that day or week",
                extra={"code": FULLY_BOOKED, "alternatives": self.alternatives()},
            )
        return None

    def _second_seat(self, rows: dict[Key, Row], instant: int) -> bool:
        (busy, theirs), (_, patients) = self.claim.parts()[:2]
        seats = {
            entry_id
            for entry_id, other in entries((rows[key] for key in theirs), instant)
            if busy.shares(other)
        }
        mine = {entry_id for entry_id, _ in entries((rows[key] for key in patients), instant)}
        return bool(seats & mine - {self.own})

    def still_free(self) -> None:
        """Between two tries of one transaction: stop where it would be in vain.

        What was read stays, so that the transaction's conditions hold for just that.
        """
        problem = self.problem(self._rows(table.batch_get_raw(self._calendars())))
        if problem is not None:
            raise problem

    def _local_day(self) -> tuple[int, int]:
        zone = self.offer.hours.zone if self.offer.hours else self.item.zone
        return Limits(zone, per_day=1).window(self.claim.busy.start)

    def day_keys(self) -> list[Key]:
        """The expert's rows of the whole local day."""
        low, high = self._local_day()
        return [self.tenant.calendar(EXPERT, self.claim.expert, day) for day in days(low, high)]

    def load_of_day(self) -> int:
        """How much the expert has on the local day, to spread bookings among experts."""
        (low, high), instant = self._local_day(), to_epoch(now())
        rows = [self.rows[key] for key in self.day_keys() if key in self.rows]
        found = {entry_id: other.start for entry_id, other in entries(rows, instant)}
        return sum(low <= start < high for start in found.values())

    # ------------------------------------------------------------ alternatives

    def taken(self, detail: str = "") -> SlotTaken:
        """The 409 with the nearest times that are free for expert, patient and rooms."""
        return SlotTaken(detail, extra={"alternatives": self.alternatives()})

    def alternatives(self) -> list[dict[str, str]]:
        """The nearest starts that are offered and free, the nearest first."""
        if self.quiet:
            return []
        instant, wanted = to_epoch(now()), to_epoch(self.item.start)
        around = int(ALTERNATIVES_AROUND.total_seconds())
        starts = self.offer.offered(wanted - around, wanted + around, instant)
        # Where it is now is in nobody's way: it leaves that time.
        own, length = frozenset({self.own}), self.offer.duration_s
        free = self.offer.free(starts, instant, own)
        if free:
            low, high = free[0], free[-1] + length
            busy, _ = read_busy(self.tenant, PATIENT, self.claim.patient, low, high, instant, own)
            free = slots.free(free, slots.Busy(0, length), busy)
        found = slots.nearest((one for one in free if one != wanted), wanted, ALTERNATIVES)
        return list(self._shown(found))

    def _shown(self, starts: list[int]) -> Iterator[dict[str, str]]:
        zone = self.offer.hours.zone if self.offer.hours else self.item.zone
        for start in starts:
            begins, ends = from_epoch(start), from_epoch(start + self.offer.duration_s)
            yield {
                "start": in_zone(begins, zone).isoformat(),
                "end": in_zone(ends, zone).isoformat(),
                "expert_id": self.claim.expert,
            }

    def nearest_with(self, others: Iterable["Draft"]) -> SlotTaken:
        """The 409 of a booking with any expert: the nearest times of several."""
        wanted, unique = self.item.start, dict[datetime, dict[str, str]]()
        for draft in (self, *others):
            draft.quiet = False
            for found in draft.alternatives():
                unique.setdefault(datetime.fromisoformat(found["start"]), found)
        near = sorted(unique, key=lambda start: (abs(start - wanted), start))[:ALTERNATIVES]
        return SlotTaken(extra={"alternatives": [unique[start] for start in near]})


def _usable(tenant: Tenant, resource: str, found: dict[Key, table.Raw]) -> bool:
    raw = found.get(tenant.item(RESOURCE, resource))
    if raw is None:
        return False
    item = ResourceItem.read(raw)
    return bool(item.active) and item.deleted_at is None


def check_start(by: Principal, offer: Offer, start: datetime, *, override: bool) -> None:
    """Patients take an offered start; members any time in the opening hours, or beyond them.

    Raises Invalid (``past``, ``minute``, ``not-offered``, ``outside-hours``).
    """
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
    if not override and not offer.is_open(begins, begins + offer.duration_s):
        raise Invalid.of("body.start", "This is outside the expert's hours", "outside-hours")


def claim_of(item: AppointmentItem, offer: Offer, *, override: bool) -> Claim:
    """What the appointment takes. An override goes over the maxima and the calendar elsewhere."""
    limits = None if override else offer.limits
    return replace(Claim.of(item), limits=limits, regardless=override)


def placed_at(
    practice: PracticeItem, appointment_id: str, offer: Offer, patient_id: str, start: datetime
) -> dict[str, Any]:
    """Every attribute that follows from expert and start: times, stamps, places in the lists."""
    tenant = offer.tenant
    expert_id = offer.expert.item_id
    place = f"{to_text(start)}#{appointment_id}"
    local, taken = in_zone(start, practice.zone), offer.at(to_epoch(start))
    return {
        "expert_id": expert_id,
        "start": start,
        "end": from_epoch(taken.end),
        "buffer_before_s": taken.before,
        "buffer_after_s": taken.after,
        "zone": practice.zone,
        "local_date": local.date().isoformat(),
        "local_hour": local.hour,
        "l1pk": tenant.listing_by(APPOINTMENT, "MONTH", to_text(start)[:7]),
        "l1sk": place,
        "l2pk": tenant.listing_by(APPOINTMENT, "EXPERT", expert_id),
        "l2sk": place,
        "l3pk": tenant.listing_by(APPOINTMENT, "PATIENT", patient_id),
        "l3sk": place,
    }


def notice_s(offer: Offer) -> int:
    """The expert's minimum notice in seconds."""
    return offer.hours.min_notice_s if offer.hours else 0
