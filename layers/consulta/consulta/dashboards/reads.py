"""What the dashboards read, all of it at once: figures by key and by range, and bounded lists.

Nothing here grows with history. Of days there are at most 44 rows (from Monday of last week to the
end of the month), of months 12 back and 24 ahead; the queries stop after a few appointments. Three
round trips: who it is about, then all of this together, then the names on the lists. A list that
goes on, on a full day or into another month, takes one or two more.

All reads have one deadline. What is not there by then is left to end by itself: nobody waits for
it, and the sections that need it are unavailable.
"""

import time as clock
from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from consulta.aggregates import figures
from consulta.aggregates.contributions import BOOK, AggregateKey
from consulta.aggregates.figures import Figures
from consulta.aggregates.rows import aggregates_table, figures_key
from consulta.core import table
from consulta.core.keys import Key, Tenant, parse_item
from consulta.core.time import local_day, to_text, utc_months
from consulta.money.records import PAYMENT, PAYOUT, PaymentItem, PayoutItem
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.scheduling.names import Names, keys_of, named, shown
from consulta.scheduling.records import APPOINTMENT, BOOKED, OPEN, AppointmentItem
from consulta.scheduling.review_records import REVIEW
from consulta.scheduling.schema.appointments import Appointment, Ref

if TYPE_CHECKING:
    from consulta.money.rates import RateTable

MONTHS_BACK, MONTHS_AHEAD = 11, 24
LIST_SIZE, SCHEDULE_SIZE = 5, 50
# Pages as small as the lists: a dashboard has ten read units. What is left of a full day follows in
# pages of the other size.
UPCOMING_PAGE, RECENT_PAGE, FULL_DAY_PAGE = 5, 5, 100
DAY_BUDGET = 300
# Once more behind those of the last few that came to nothing: given up, run out, cancelled.
RECENT_MORE = 20
# Further UTC months of a practice whose neighbouring ones have not filled a list: two of the
# calendar's, with their edges.
MORE_MONTHS = 4
# What is kept of the time for the names on the lists.
NAMES_S = 1.0

BOOK_OF = "PAYEE:"  # money.books.ledger.payee_book: the ledger is not imported for a dashboard


class Late(Exception):
    """A list came when its names had been read already."""


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

    @property
    def monday(self) -> date:
        """The day on which this ISO week began."""
        return self.today - timedelta(days=self.today.weekday())

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


class Totals(NamedTuple):
    """A subject's figures of all time, and of each month of the last year and of those ahead.

    ``walk`` is the practice's, where it is the practice's figures that were read.
    """

    total: Figures
    months: dict[date, Figures]
    walk: Figures


class Upcoming(NamedTuple):
    """The next few open appointments, and by status how many are left until figures take over.

    ``near`` is None of a day so full that its own row of figures has to say it.
    """

    next: list[AppointmentItem]
    near: Counter[str] | None


class Day(NamedTuple):
    """Appointments of one day; ``more`` where it has more of them than a list shows."""

    items: list[AppointmentItem]
    more: bool


class Review(NamedTuple):
    """Of a review what a dashboard shows; its words are not read into anything."""

    id: str
    at: str
    expert_id: str
    patient_id: str
    rating: int
    status: str

    @classmethod
    def of(cls, raw: table.Raw) -> "Review":
        """Of DynamoDB's attribute map."""
        return cls(
            parse_item(raw["pk"]["S"])[1],
            raw["created_at"]["S"],
            raw["expert_id"]["S"],
            raw["patient_id"]["S"],
            int(raw["rating"]["N"]),
            raw["status"]["S"],
        )


class Pending[T]:
    """What is being read, until ``end`` (of the monotonic clock)."""

    def __init__(self, future: Future[T], end: float) -> None:
        self.future, self.end = future, end

    def result(self) -> T:
        """What was read. Raises TimeoutError at the end, or whatever the reading ran into."""
        return self.future.result(max(0.0, self.end - clock.monotonic()))


def _near(found: Iterable[AppointmentItem], last: str) -> Counter[str]:
    return Counter(str(item.status) for item in found if item.local_date <= last)


def came[T](pending: Pending[T]) -> T | None:
    """What was read, if it is there by now."""
    future = pending.future
    is_there = future.done() and not future.cancelled() and future.exception() is None
    return future.result() if is_there else None


class Reads:
    """The reads of one dashboard: those that are ``wanted`` begin at once, together.

    A section waits for those that it needs, so that a read that fails spoils no other's section.
    ``lists`` are those of them that are shown with names; ``known`` names are not read. ``weeks``:
    whether days of last week are among the days. ``fresh`` figures are read consistently: a caller
    waited for them. ``rates`` gives the practice's table of commissions.
    """

    def __init__(
        self,
        subject: Subject,
        pool: ThreadPoolExecutor,
        end: float,
        wanted: Collection[str],
        *,
        rates: "Callable[[], RateTable]",
        lists: Collection[str] = (),
        weeks: bool = False,
        known: Mapping[Key, str] | None = None,
        fresh: bool = False,
    ) -> None:
        self.subject = subject
        self._pool, self._end = pool, end
        self._lists = tuple(name for name in lists if name in wanted)
        self._weeks, self._fresh = weeks, fresh
        self._has_book = "payouts" in wanted
        # A practice's walk is beside its figures.
        self._walk_beside = subject.kind == PRACTICE and "figures" in wanted
        self._known = known or {}
        self._covered: frozenset[str] = frozenset()
        self._pending: dict[str, Pending[Any]] = {}
        sources: dict[str, Callable[[], Any]] = {
            "walk": self._walk,
            "figures": self._figures,
            "days": self._days,
            "upcoming": self._upcoming,
            "recent": self._recent,
            "schedule": self._schedule,
            "payments": self._payments,
            "reviews": self._reviews,
            "payouts": self._payouts,
            "rates": rates,
        }
        for name in wanted:
            self._start(name, sources[name])

    def _start(self, name: str, read: Callable[[], Any]) -> None:
        self._pending[name] = Pending(self._pool.submit(read), self._end)

    # what sections take; each raises what its reading ran into

    @property
    def total(self) -> Figures:
        """All time."""
        return self._totals.total

    @property
    def months(self) -> dict[date, Figures]:
        """A year back, and as far ahead as anybody books."""
        return self._totals.months

    @property
    def _totals(self) -> Totals:
        found: Totals = self._pending["figures"].result()
        return found

    @property
    def walk(self) -> Figures:
        """How far the walk of the practice's older items has come."""
        if self._walk_beside:
            return self._totals.walk
        rows: dict[AggregateKey, Figures] = self._pending["walk"].result()
        return rows[self._walk_key]

    @property
    def book(self) -> Figures:
        """The balances of the payee."""
        rows: dict[AggregateKey, Figures] = self._pending["walk"].result()
        return rows[self._book_key]

    @property
    def days(self) -> dict[date, Figures]:
        """Today and the rest of its month; with the weeks, also those of this week and last."""
        found: dict[date, Figures] = self._pending["days"].result()
        return found

    @property
    def upcoming(self) -> Upcoming:
        """The next few, and how many are near."""
        found: Upcoming = self._pending["upcoming"].result()
        return found

    @property
    def recent(self) -> list[AppointmentItem]:
        """The last few."""
        found: list[AppointmentItem] = self._pending["recent"].result()
        return found

    @property
    def schedule(self) -> Day:
        """Today's appointments."""
        found: Day = self._pending["schedule"].result()
        return found

    @property
    def payments(self) -> list[PaymentItem]:
        """The newest few."""
        found: list[PaymentItem] = self._pending["payments"].result()
        return found

    @property
    def reviews(self) -> list[Review]:
        """The newest few."""
        found: list[Review] = self._pending["reviews"].result()
        return found

    @property
    def payouts(self) -> list[PayoutItem]:
        """The newest few of the payee."""
        found: list[PayoutItem] = self._pending["payouts"].result()
        return found

    @property
    def rates(self) -> "RateTable":
        """The practice's commissions."""
        found: RateTable = self._pending["rates"].result()
        return found

    @property
    def payee(self) -> str:
        """Whose payouts they are: the expert's, or the practice's own."""
        return self.subject.id

    def has(self, name: str) -> bool:
        """Whether this was asked for at all."""
        return name in self._pending

    def shown(self, source: str, appointments: list[AppointmentItem]) -> list[Appointment]:
        """As the API shows them. Raises Late where the names of ``source`` have not been read."""
        if not appointments:
            return []
        names = self.names(source)
        return [shown(appointment, names) for appointment in appointments]

    def names(self, source: str) -> Names:
        """The names on one list. Raises Late where it came too late for them."""
        if source not in self._covered:
            raise Late
        found: Names = self._pending["names"].result()
        return found

    def patient(self, source: str, patient_id: str) -> Ref:
        """A patient by the names of one list."""
        return self.names(source).ref(PATIENT, patient_id)

    def read_names(self) -> None:
        """Read the names on all lists that have come; which comes later has to do without."""
        left = self._end - NAMES_S - clock.monotonic()
        wait([self._pending[name].future for name in self._lists], max(0.0, left))
        found = {n: value for n in self._lists if (value := came(self._pending[n])) is not None}
        self._covered = frozenset(found)
        keys = {key for value in found.values() for key in self._keys(value)}
        self._start("names", lambda: self._names(keys))

    # figures

    @property
    def _walk_key(self) -> AggregateKey:
        return AggregateKey(PRACTICE, self.subject.tenant.practice, figures.WALK)

    @property
    def _book_key(self) -> AggregateKey:
        return AggregateKey(BOOK, f"{BOOK_OF}{self.payee}", figures.TOTAL)

    def _walk(self) -> dict[tuple[str, str, str], Figures]:
        keys = [] if self._walk_beside else [self._walk_key]
        keys += [self._book_key] if self._has_book else []
        return figures.read(self.subject.tenant, keys, consistent=self._fresh)

    def _figures(self) -> Totals:
        """Months and total by one query: the total's key comes right behind the last month's.

        Behind a practice's total is its walk's.
        """
        first = figures.month(self.subject.month(-MONTHS_BACK))
        last = figures.WALK if self._walk_beside else figures.TOTAL
        rows = dict(self._range(first, last))
        total, walk = (rows.pop(name, Figures()) for name in (figures.TOTAL, figures.WALK))
        return Totals(total, {date.fromisoformat(f"{sk[2:]}-01"): rows[sk] for sk in rows}, walk)

    def _days(self) -> dict[date, Figures]:
        """Patients have no day rows: their upcoming ones are counted to the month's end."""
        s = self.subject
        if s.kind == PATIENT:
            return {}
        first, last = s.today, s.last_of_month
        if self._weeks:
            first, last = s.monday - timedelta(days=7), max(last, s.monday + timedelta(days=6))
        rows = self._range(figures.day(first), figures.day(last))
        return {date.fromisoformat(sk[2:]): row for sk, row in rows}

    def _range(self, first: str, last: str) -> Iterator[tuple[str, Figures]]:
        s = self.subject
        low = figures_key(s.tenant, AggregateKey(s.kind, s.id, first))
        query = table.Query(
            low.pk, low=low.sk, high=last, consistent=self._fresh, table=aggregates_table()
        )
        return ((raw["sk"]["S"], Figures.of(raw)) for raw in query.all())

    # lists

    def _upcoming(self) -> Upcoming:
        """From now on: the next few, and all until day rows (patients: month rows) take over.

        Those rows go by the day that is stamped on an appointment, whatever the practice's zone has
        become: so does what is left to count here.
        """
        s = self.subject
        last = (s.last_of_month if s.kind == PATIENT else s.today).isoformat()
        # A practice's list is by UTC month: this one and the next are mostly enough for a few.
        months = [*utc_months(s.now, s.now.replace(day=15) + timedelta(days=30))]
        found: list[AppointmentItem] = []
        read = 0

        def beyond() -> bool:
            return bool(found) and found[-1].local_date > last

        for query in self._onward(found, OPEN, months, low=to_text(s.now)):
            size, start = UPCOMING_PAGE, None
            while True:
                page = query.page(size, start)
                found += [AppointmentItem.read(raw) for raw in page.items]
                start, size, read = page.last_key, FULL_DAY_PAGE, read + page.read
                if len(found) >= LIST_SIZE and beyond():
                    return Upcoming(found[:LIST_SIZE], _near(found, last))
                if start and read >= DAY_BUDGET:
                    return Upcoming(found[:LIST_SIZE], _near(found, last) if beyond() else None)
                if start is None:
                    break
        return Upcoming(found[:LIST_SIZE], _near(found, last))

    def _recent(self) -> list[AppointmentItem]:
        s = self.subject
        months = [*utc_months(s.now.replace(day=15) - timedelta(days=30), s.now)][::-1]
        found: list[AppointmentItem] = []
        more = RECENT_MORE
        for query in self._onward(found, BOOKED, months, high=to_text(s.now), newest_first=True):
            page = query.page(RECENT_PAGE)
            found += [AppointmentItem.read(raw) for raw in page.items]
            if len(found) < LIST_SIZE and page.last_key and more:
                # Once: beyond that, what came to nothing makes the list shorter.
                page, more = query.page(more, page.last_key), 0
                found += [AppointmentItem.read(raw) for raw in page.items]
            if len(found) >= LIST_SIZE or page.last_key:
                break
        return found[:LIST_SIZE]

    def _schedule(self) -> Day:
        s = self.subject
        first, end = s.midnight_after(s.today - timedelta(days=1)), s.midnight_after(s.today)
        found: list[AppointmentItem] = []
        read = 0
        for query in self._appointments(
            BOOKED, utc_months(first, end), low=to_text(first), high=to_text(end)
        ):
            start = None
            while True:
                page = query.page(SCHEDULE_SIZE + 1, start)
                found += [AppointmentItem.read(raw) for raw in page.items]
                start, read = page.last_key, read + page.read
                if len(found) > SCHEDULE_SIZE or (start and read >= DAY_BUDGET):
                    return Day(found[:SCHEDULE_SIZE], more=True)
                if start is None:
                    break
        return Day(found, more=False)

    def _onward(
        self,
        found: list[AppointmentItem],
        statuses: Iterable[str],
        months: list[str],
        *,
        low: str | None = None,
        high: str | None = None,
        newest_first: bool = False,
    ) -> Iterator[table.Query]:
        """The lists of these months, and a practice's further ones while ``found`` is too short."""
        yield from self._appointments(
            statuses, months, low=low, high=high, newest_first=newest_first
        )
        if self.subject.kind == PRACTICE and len(found) < LIST_SIZE:
            further = self._further(statuses, months, back=newest_first)
            yield from self._appointments(
                statuses, further, low=low, high=high, newest_first=newest_first
            )

    def _further(self, statuses: Iterable[str], read: list[str], *, back: bool) -> list[str]:
        """The UTC months behind those that were ``read`` in which the figures have any of these.

        Figures that do not come soon leave a list short: its names are still to be read.
        """
        pending = self._pending["figures"]
        wait([pending.future], max(0.0, self._end - NAMES_S - clock.monotonic()) / 2)
        found: Totals | None = came(pending)
        day, months = timedelta(days=1), set()
        for month, row in found.months.items() if found else ():
            if any(row[f"status.{status}"] for status in statuses):
                first = self.subject.midnight_after(month - day)
                last = self.subject.midnight_after((month + 31 * day).replace(day=1) - day)
                months |= {*utc_months(first, last - timedelta(microseconds=1))}
        beyond = [one for one in months if (one < min(read) if back else one > max(read))]
        return sorted(beyond, reverse=back)[:MORE_MONTHS]

    def _appointments(
        self,
        statuses: Iterable[str],
        months: Iterable[str],
        *,
        low: str | None = None,
        high: str | None = None,
        newest_first: bool = False,
    ) -> Iterator[table.Query]:
        values = {f":s{n}": str(status) for n, status in enumerate(sorted(statuses))}
        for partition, index in self._partitions(APPOINTMENT, months):
            yield table.Query(
                partition,
                index=index,
                low=low,
                high=high,
                newest_first=newest_first,
                where=f"#status IN ({', '.join(values)})",
                names={"#status": "status"},
                values=values,
            )

    def _partitions(self, entity: str, months: Iterable[str]) -> list[tuple[str, str]]:
        """Where the subject's items of an entity are, and on which index: a practice's by month."""
        s = self.subject
        dimension = {EXPERT: "l2", PATIENT: "l3"}.get(s.kind)
        if dimension:
            return [(s.tenant.listing_by(entity, s.kind, s.id), dimension)]
        return [(s.tenant.listing_by(entity, "MONTH", month), "l1") for month in months]

    def _newest(self, entity: str) -> list[table.Raw]:
        """The newest few; a practice's of this UTC month and the last."""
        s = self.subject
        months = reversed([*utc_months(s.now.replace(day=15) - timedelta(days=30), s.now)])
        found: list[table.Raw] = []
        for partition, index in self._partitions(entity, months):
            query = table.Query(partition, index=index, newest_first=True)
            found += query.page(LIST_SIZE - len(found)).items
            if len(found) >= LIST_SIZE:
                break
        return found

    def _payments(self) -> list[PaymentItem]:
        return [PaymentItem.read(raw) for raw in self._newest(PAYMENT)]

    def _reviews(self) -> list[Review]:
        return [Review.of(raw) for raw in self._newest(REVIEW)]

    def _payouts(self) -> list[PayoutItem]:
        partition = self.subject.tenant.listing_by(PAYOUT, "PAYEE", self.payee)
        page = table.Query(partition, index="l2", newest_first=True).page(LIST_SIZE)
        return [PayoutItem.read(raw) for raw in page.items]

    # names

    def _keys(self, found: Any) -> set[Key]:
        """Whose names are on one list."""
        s = self.subject
        match found:
            case Upcoming(next=items) | Day(items=items):
                return keys_of(s.tenant, items, patients=s.sees_patients)
            case [AppointmentItem(), *_]:
                return keys_of(s.tenant, found, patients=s.sees_patients)
            case _:
                who = {s.tenant.item(EXPERT, one.expert_id) for one in found}
                if s.sees_patients:
                    who |= {s.tenant.item(PATIENT, one.patient_id) for one in found}
                return who

    def _names(self, keys: set[Key]) -> Names:
        """By one batch for all lists."""
        unknown = sorted(keys - set(self._known), key=lambda key: key.pk)
        found = table.batch_get_raw(unknown, consistent=False) if unknown else {}
        return named(self.subject.tenant, found, self._known)
