"""What the dashboards read, all of it at once: figures by key, and two bounded queries.

Nothing here grows with history. Of the days of this month that are still to come there are at most
31 rows, of months at most 12 back and 24 ahead; the queries stop after a few appointments.
"""

from calendar import monthrange
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from consulta.aggregates import figures
from consulta.core import table
from consulta.core.keys import Key, Tenant
from consulta.core.time import local_day, to_text
from consulta.scheduling.names import Names, resolve, shown
from consulta.scheduling.records import APPOINTMENT, BOOKED, OPEN, AppointmentItem
from consulta.scheduling.schema.appointments import Appointment

MONTHS_BACK, MONTHS_AHEAD = 11, 24
LIST_SIZE = 5
# Pages as small as the lists: a dashboard has ten read units.
UPCOMING_PAGE, RECENT_PAGE = 5, 7
DAY_BUDGET = 300


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose dashboard it is: figures of (``kind``, ``id``), and the list of their appointments."""

    tenant: Tenant
    kind: str
    id: str
    zone: str
    now: datetime
    sees_patients: bool

    @property
    def today(self) -> date:
        """The practice's calendar day."""
        return local_day(self.now, self.zone)

    def month(self, offset: int = 0) -> date:
        """The first day of this month, or of the one ``offset`` months away."""
        number = self.today.year * 12 + self.today.month - 1 + offset
        return date(number // 12, number % 12 + 1, 1)

    @property
    def last_of_month(self) -> date:
        """The last day of this month."""
        return self.today.replace(day=monthrange(self.today.year, self.today.month)[1])

    def midnight_after(self, day: date) -> datetime:
        """The instant at which ``day`` ends on the practice's clocks."""
        return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(self.zone))


@dataclass(frozen=True, slots=True)
class Upcoming:
    """The next few open appointments, and how many are left until the figures take over."""

    next: list[AppointmentItem]
    near: int


class Reads:
    """The reads of one dashboard: those that are ``wanted`` begin at once, together.

    A section waits for those that it needs, so that a read that fails spoils no other's section.
    ``known`` names are not read.
    """

    def __init__(
        self,
        subject: Subject,
        pool: ThreadPoolExecutor,
        wanted: Collection[str],
        known: Mapping[Key, str],
    ) -> None:
        self.subject = subject
        self._pool = pool
        self._wanted = wanted
        self._known = known
        for name in wanted:
            getattr(self, name)

    @cached_property
    def total(self) -> Future[figures.Figures]:
        """All time."""
        return self._pool.submit(self._total)

    @cached_property
    def months(self) -> Future[dict[date, figures.Figures]]:
        """A year back, and as far ahead as anybody books."""
        s = self.subject
        first, last = s.month(-MONTHS_BACK), s.month(MONTHS_AHEAD)
        return self._pool.submit(figures.months, s.tenant, s.kind, s.id, first, last)

    @cached_property
    def days(self) -> Future[dict[date, figures.Figures]]:
        """The rest of this month after today."""
        return self._pool.submit(self._days)

    @cached_property
    def upcoming(self) -> Future[Upcoming]:
        """The next few, and how many are near."""
        return self._pool.submit(self._upcoming)

    @cached_property
    def recent(self) -> Future[list[AppointmentItem]]:
        """The last few."""
        return self._pool.submit(self._recent)

    @cached_property
    def names(self) -> Future[Names]:
        """Who and what is on the lists that are wanted."""
        upcoming = self.upcoming if "upcoming" in self._wanted else None
        recent = self.recent if "recent" in self._wanted else None
        return self._pool.submit(self._names, upcoming, recent)

    def shown(self, items: list[AppointmentItem]) -> list[Appointment]:
        """These appointments with their names."""
        found = self.names.result()
        return [shown(item, found) for item in items]

    def _names(
        self, upcoming: Future[Upcoming] | None, recent: Future[list[AppointmentItem]] | None
    ) -> Names:
        """By one batch for both lists. One that fails says so in its own section, not here."""
        lists: list[Future[Any]] = [future for future in (upcoming, recent) if future]
        wait(lists)
        items: list[AppointmentItem] = []
        if upcoming and not upcoming.exception():
            items += upcoming.result().next
        if recent and not recent.exception():
            items += recent.result()
        s = self.subject
        return resolve(s.tenant, items, patients=s.sees_patients, known=self._known)

    def _total(self) -> figures.Figures:
        s = self.subject
        key = (s.kind, s.id, figures.TOTAL)
        return figures.read(s.tenant, [key])[key]

    def _days(self) -> dict[date, figures.Figures]:
        """The rest of this month after today. Patients have no day rows: their query covers it."""
        s = self.subject
        tomorrow = s.today + timedelta(days=1)
        if s.kind == "PATIENT" or tomorrow > s.last_of_month:
            return {}
        return figures.days(s.tenant, s.kind, s.id, tomorrow, s.last_of_month)

    def _near_end(self) -> datetime:
        s = self.subject
        return s.midnight_after(s.last_of_month if s.kind == "PATIENT" else s.today)

    def _upcoming(self) -> Upcoming:
        """From now on: the next few, and all until day rows (patients: month rows) take over."""
        found: list[AppointmentItem] = []
        end = self._near_end()
        for read, item in enumerate(self._open_from_now()):
            found.append(item)
            if (len(found) >= LIST_SIZE and item.start >= end) or read >= DAY_BUDGET:
                break
        return Upcoming(found[:LIST_SIZE], sum(item.start < end for item in found))

    def _open_from_now(self) -> Iterator[AppointmentItem]:
        s = self.subject
        statuses = {f":s{n}": str(status) for n, status in enumerate(sorted(OPEN))}
        for query in self._queries(to_text(s.now), None, newest_first=False, statuses=statuses):
            for raw in query.all(page_size=UPCOMING_PAGE):
                yield AppointmentItem.read(raw)

    def _recent(self) -> list[AppointmentItem]:
        s = self.subject
        statuses = {f":s{n}": str(status) for n, status in enumerate(sorted(BOOKED))}
        found: list[AppointmentItem] = []
        for query in self._queries(None, to_text(s.now), newest_first=True, statuses=statuses):
            # One page each: many cancelled ones make the list shorter, never the reading longer.
            page = query.page(RECENT_PAGE)
            found += [AppointmentItem.read(raw) for raw in page.items]
        return found[:LIST_SIZE]

    def _queries(
        self, low: str | None, high: str | None, *, newest_first: bool, statuses: dict[str, str]
    ) -> Iterator[table.Query]:
        s = self.subject
        dimension = {"EXPERT": "l2", "PATIENT": "l3"}.get(s.kind)
        if dimension:
            partitions = [(s.tenant.listing_by(APPOINTMENT, s.kind, s.id), dimension)]
        else:
            # A practice's list is by UTC month: this one and its neighbour are enough for a few.
            neighbour = to_text(s.now.replace(day=15) + timedelta(-30 if newest_first else 30))[:7]
            both = dict.fromkeys((to_text(s.now)[:7], neighbour))
            partitions = [(s.tenant.listing_by(APPOINTMENT, "MONTH", m), "l1") for m in both]
        for partition, index in partitions:
            yield table.Query(
                partition,
                index=index,
                low=low,
                high=high,
                newest_first=newest_first,
                where=f"#status IN ({', '.join(statuses)})",
                names={"#status": "status"},
                values=statuses,
            )
