"""The lists of a dashboard: a few appointments, payments, reviews and payouts, each of a few pages.

None grows with history: an index gives the next or the newest few, and where a list stays short,
figures say in which further months there is more.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from typing import NamedTuple

from consulta.aggregates.figures import Figures
from consulta.core import table
from consulta.core.keys import parse_item
from consulta.core.time import to_text, utc_months
from consulta.dashboards.subject import Subject
from consulta.money.records import PAYMENT, PAYOUT, PaymentItem, PayoutItem
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.scheduling.records import APPOINTMENT, BOOKED, OPEN, AppointmentItem
from consulta.scheduling.review_records import REVIEW

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


def _near(found: Iterable[AppointmentItem], last: date) -> Counter[str]:
    return Counter(str(item.status) for item in found if item.local_date <= last.isoformat())


class Lists:
    """What is listed of one subject; each method reads its list anew.

    ``months`` gives the subject's figures by month, as far as they are there: asked only where a
    practice's list is short.
    """

    def __init__(self, subject: Subject, months: Callable[[], dict[date, Figures]]) -> None:
        self.subject = subject
        self._months = months

    def upcoming(self) -> Upcoming:
        """From now on: the next few, and all until day rows (patients: month rows) take over.

        Those rows go by the day that is stamped on an appointment, whatever the practice's zone has
        become: so does what is left to count here.
        """
        s = self.subject
        last = s.last_of_month if s.kind == PATIENT else s.today
        # A practice's list is by UTC month: this one and the next are mostly enough for a few.
        months = [*utc_months(s.now, s.now.replace(day=15) + timedelta(days=30))]
        over = s.over_by(last)
        found: list[AppointmentItem] = []
        read = 0

        def beyond() -> bool:
            return bool(found) and found[-1].start >= over

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

    def recent(self) -> list[AppointmentItem]:
        """The last few that were booked in earnest, the newest first."""
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

    def schedule(self) -> Day:
        """Today's, in the order of the day."""
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
        """The UTC months behind those that were ``read`` in which the figures have any of these."""
        day, months = timedelta(days=1), set()
        for month, row in self._months().items():
            if any(row[f"status.{status}"] for status in statuses):
                first = self.subject.begun_by(month - day)
                last = self.subject.over_by((month + 31 * day).replace(day=1) - day)
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

    def payments(self) -> list[PaymentItem]:
        """The newest few."""
        return [PaymentItem.read(raw) for raw in self._newest(PAYMENT)]

    def reviews(self) -> list[Review]:
        """The newest few."""
        return [Review.of(raw) for raw in self._newest(REVIEW)]

    def payouts(self) -> list[PayoutItem]:
        """The newest few of the payee: of the expert, or the practice's own."""
        partition = self.subject.tenant.listing_by(PAYOUT, "PAYEE", self.subject.id)
        page = table.Query(partition, index="l2", newest_first=True).page(LIST_SIZE)
        return [PayoutItem.read(raw) for raw in page.items]
