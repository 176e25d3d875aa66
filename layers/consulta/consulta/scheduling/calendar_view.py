"""GET /v1/calendar: the local days of a view, each with what is on it.

One batch for the zone and the days off, one query a page (or one a UTC month) for the appointments,
one batch for all names, and one for the busy times of one expert's calendar elsewhere.
"""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from consulta.core import table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Invalid, NotFound
from consulta.core.identity import Principal, own_only
from consulta.core.keys import Key
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, in_zone, local_day, now, to_epoch
from consulta.people.records import EXPERT, PATIENT, PRACTICE, PracticeItem
from consulta.scheduling import availability, closures, listing, names
from consulta.scheduling.appointments import sees_patients
from consulta.scheduling.busy import CALENDAR, Row, entries
from consulta.scheduling.busy import days as utc_days
from consulta.scheduling.names import Names
from consulta.scheduling.records import (
    SERVICE,
    AppointmentItem,
    AvailabilityItem,
    PaymentStatus,
    Status,
)
from consulta.scheduling.schema.calendar import (
    BusyTime,
    Calendar,
    CalendarDay,
    CalendarEntry,
    CalendarFilter,
    ClosedDay,
    View,
)
from consulta.scheduling.schema.searching import AppointmentFilter
from consulta.scheduling.slots import Hours, midnight

MAX_ENTRIES = 500
# Items that a page may read, whether or not the filters let them through.
READ_BUDGET = 1_500
YEARS = range(2000, 2101)


def view(by: Principal, wanted: CalendarFilter, cursor: str | None) -> Calendar:
    """One page. Raises Forbidden, Invalid, NotFound (the expert), BadRequest (a foreign cursor)."""
    wanted = own_only(by, wanted, "appointments")
    if wanted.date.year not in YEARS:
        raise Invalid.of("query.date", "Not a year of any booking", "range")
    frame = _Frame.read(by, wanted)
    tenant = by.tenant
    scope = (tenant.practice, "/v1/calendar", by.role, wanted.model_dump_json(), frame.zone)
    low, high = frame.bounds
    filters = AppointmentFilter(
        low=from_epoch(low),
        high=from_epoch(high),
        status=wanted.status,
        patient_id=wanted.patient_id,
        expert_id=wanted.expert_id,
        service_id=wanted.service_id,
    )
    plan = replace(listing.plan_of(tenant, filters, now()), budget=READ_BUDGET)
    raws, last_key = plan.read(MAX_ENTRIES, decode(cursor, *scope))
    items = [AppointmentItem.read(raw) for raw in raws]
    known = names.resolve(tenant, items, patients=sees_patients(by))
    found: dict[date, list[CalendarEntry]] = {day: [] for day in frame.days}
    for item in items:
        found[local_day(item.start, frame.zone)].append(_entry(item, known, frame.zone))
    is_first = cursor is None
    busy = frame.busy() if is_first else {}
    return Calendar(
        view=wanted.view,
        zone=frame.zone,
        days=[
            CalendarDay(
                date=day,
                appointments=found[day],
                busy=busy.get(day, []),
                closed=frame.closed_on(day) if is_first else None,
            )
            for day in frame.days
        ],
        next_cursor=encode(last_key, *scope),
    )


def days_of(wanted: View, day: date) -> list[date]:
    """The local days of the view that ``day`` is in."""
    first, length = day, 1
    if wanted is View.WEEK:
        first, length = day - timedelta(days=day.weekday()), 7
    elif wanted is View.MONTH:
        first, length = day.replace(day=1), monthrange(day.year, day.month)[1]
    return [first + timedelta(days=n) for n in range(length)]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The days of a view, on which clocks, and what makes them days off."""

    by: Principal
    zone: str
    days: list[date]
    expert: str
    hours: Hours | None
    offs: list[tuple[date, date, str]]

    @classmethod
    def read(cls, by: Principal, wanted: CalendarFilter) -> "_Frame":
        """By one batch. Raises NotFound for an expert who is not there."""
        tenant, expert = by.tenant, wanted.expert_id or ""
        practice_key = tenant.item(PRACTICE, tenant.practice)
        keys = [practice_key, closures.key_of(tenant)]
        if expert:
            keys += [tenant.item(EXPERT, expert), availability.key_of(tenant, expert)]
        found = table.batch_get_raw(keys, consistent=False)
        if practice_key not in found or (expert and keys[2] not in found):
            raise NotFound
        zone = wanted.zone or PracticeItem.read(found[practice_key]).zone
        days = days_of(wanted.view, wanted.date)
        closed = closures.Closed.of(tenant, found).between(days[0], days[-1])
        hours = cls._hours(found, keys[3]) if expert else None
        offs = [(one.first, one.last, one.said) for one in closed]
        return cls(by, zone, days, expert, hours, offs)

    @staticmethod
    def _hours(found: dict[Key, table.Raw], key: Key) -> Hours | None:
        return availability.hours_of(AvailabilityItem.read(found[key])) if key in found else None

    @property
    def bounds(self) -> tuple[int, int]:
        """[low, high) of all its days."""
        return midnight(self.days[0], self.zone), midnight(self._after(self.days[-1]), self.zone)

    @staticmethod
    def _after(day: date) -> date:
        return day + timedelta(days=1)

    def closed_on(self, day: date) -> ClosedDay | None:
        """Why nobody works on that date, the practice's reasons first."""
        for first, last, said in self.offs:
            if first <= day <= last:
                return ClosedDay(reason="closed", message=said)
        if not self.expert:
            return None
        for off in self.hours.vacations if self.hours else ():
            if off.first <= day <= off.last:
                return ClosedDay(reason="vacation", message=off.said)
        if self.hours is None or not self.hours.of(day):
            return ClosedDay(reason="no_hours", message="")
        return None

    def busy(self) -> dict[date, list[BusyTime]]:
        """What one expert has in their calendar elsewhere, by day; for members only."""
        if not self.expert or self.by.role is Role.PATIENT:
            return {}
        found: dict[date, list[BusyTime]] = {}
        for day, start, end in self._pieces():
            shown = BusyTime(
                start=in_zone(from_epoch(start), self.zone), end=in_zone(from_epoch(end), self.zone)
            )
            found.setdefault(day, []).append(shown)
        return found

    def _pieces(self) -> Iterator[tuple[date, int, int]]:
        """Each cut at the midnights of the view's days; an event of two UTC days comes once."""
        keys = [self.by.tenant.external(self.expert, day) for day in utc_days(*self.bounds)]
        raws = table.batch_get_raw(keys, consistent=False)
        rows = (Row.read(key, CALENDAR, raw) for key, raw in raws.items())
        every = sorted({(busy.start, busy.end) for _, busy in entries(rows, to_epoch(now()))})
        for day in self.days:
            low, high = midnight(day, self.zone), midnight(self._after(day), self.zone)
            for start, end in every:
                if start < high and low < end:
                    yield day, max(start, low), min(end, high)


def _entry(item: AppointmentItem, known: Names, zone: str) -> CalendarEntry:
    return CalendarEntry(
        id=item.item_id,
        start=in_zone(item.start, zone),
        end=in_zone(item.end, zone),
        status=Status(item.status),
        payment_status=PaymentStatus(item.payment_status),
        expert=known.ref(EXPERT, item.expert_id),
        service=known.ref(SERVICE, item.service_id),
        patient=known.ref(PATIENT, item.patient_id),
        colour=known.colour(item.service_id),
    )
