"""What the dashboards read, all of it at once: figures by key and by range, and the lists.

Nothing here grows with history. Of days there are at most 44 rows (from Monday of last week to the
end of the month), of months 12 back and 24 ahead; the queries stop after a few appointments. Three
round trips: who it is about, then all of this together, then the names on the lists. A list that
goes on, on a full day or into another month, takes one or two more.

All reads have one deadline. What is not there by then is left to end by itself: nobody waits for
it, and the sections that need it are unavailable.
"""

import time as clock
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from consulta.aggregates import figures
from consulta.aggregates.catalog import BOOK, AggregateKey, aggregates_table, figures_key
from consulta.aggregates.figures import Figures
from consulta.core import table
from consulta.core.keys import Key
from consulta.dashboards.lists import Day, Lists, Review, Upcoming
from consulta.dashboards.subject import Subject
from consulta.money.records import PaymentItem, PayoutItem
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.scheduling.names import Names, keys_of, named, shown
from consulta.scheduling.records import AppointmentItem
from consulta.scheduling.schema.appointments import Appointment, Ref

if TYPE_CHECKING:
    from consulta.money.rates import RateTable

MONTHS_BACK, MONTHS_AHEAD = 11, 24
# What is kept of the time for the names on the lists.
NAMES_S = 1.0

BOOK_OF = "PAYEE:"  # money.books.ledger.payee_book: the ledger is not imported for a dashboard


class Late(Exception):
    """A list came when its names had been read already."""


class Totals(NamedTuple):
    """A subject's figures of all time, and of each month of the last year and of those ahead.

    ``walk`` is the practice's, where it is the practice's figures that were read.
    """

    total: Figures
    months: dict[date, Figures]
    walk: Figures


class Pending[T]:
    """What is being read, until ``end`` (of the monotonic clock)."""

    def __init__(self, future: Future[T], end: float) -> None:
        self.future, self.end = future, end

    def result(self) -> T:
        """What was read. Raises TimeoutError at the end, or whatever the reading ran into."""
        return self.future.result(max(0.0, self.end - clock.monotonic()))


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
        entries = Lists(subject, self._months_soon)
        sources: dict[str, Callable[[], Any]] = {
            "walk": self._walk,
            "figures": self._figures,
            "days": self._days,
            "upcoming": entries.upcoming,
            "recent": entries.recent,
            "schedule": entries.schedule,
            "payments": entries.payments,
            "reviews": entries.reviews,
            "payouts": entries.payouts,
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

    def _months_soon(self) -> dict[date, Figures]:
        """The months' figures; none where they do not come soon: names are still to be read."""
        pending = self._pending["figures"]
        wait([pending.future], max(0.0, self._end - NAMES_S - clock.monotonic()) / 2)
        found: Totals | None = came(pending)
        return found.months if found else {}

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
