"""Who asks, whose figures, of which days; and all reads of one answer, under way at once."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from consulta.aggregates import figures
from consulta.aggregates.figures import Figures
from consulta.core import aws, table
from consulta.core.errors import Forbidden, Invalid, NotFound, Unavailable
from consulta.core.identity import Principal, own_only
from consulta.core.keys import Key, Tenant
from consulta.core.observe import failure
from consulta.core.permissions import Role
from consulta.core.time import from_text, now
from consulta.dashboards import ranges
from consulta.dashboards.analytics.schema import AnalyticsFilter, NamedRef, PracticeFilter
from consulta.dashboards.ranges import Rows, Subject
from consulta.people.records import EXPERT, PRACTICE
from consulta.scheduling.records import SERVICE

# As many as one answer reads at once: they wait for the table, and no read for another.
READERS = 24
# Of the function's ten seconds: for all reads of an answer. What follows them is short.
READ_S = 7.0
MAX_HAPPENINGS = 60_000
HAPPENINGS = ("status.completed", "status.no_show", "payments", "refunds")

Later = Callable[[], Any]
Members = list[tuple[str, Figures]]
"""Rows of many of a kind: the id, and a day's or month's figures of it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Figures of ``subject`` on the days ``first`` to ``last``, which are checked."""

    tenant: Tenant
    subject: Subject
    first: date
    last: date

    @property
    def days(self) -> tuple[date, date]:
        """The first and the last of them."""
        return self.first, self.last

    @property
    def before(self) -> tuple[date, date]:
        """As many days right before."""
        return ranges.before(self.first, self.last)

    def id_of(self, kind: str) -> str | None:
        """The id of the subject, if it is of that kind."""
        return self.subject[1] if self.subject[0] == kind else None

    def shown(self) -> dict[str, Any]:
        """Whose and which days, as an answer says it."""
        return {"first": self.first, "last": self.last, "expert_id": self.id_of(EXPERT)}

    def shown_with_service(self) -> dict[str, Any]:
        """The same where a service can be asked for."""
        return {**self.shown(), "service_id": self.id_of(SERVICE)}


def asked(by: Principal, wanted: AnalyticsFilter, what: str) -> Asked:
    """What ``wanted`` comes to for this caller, who sees all ``what`` or only their own.

    Raises Forbidden, Invalid. Whether the expert or service is there is left to :class:`Reads`.
    """
    _refuse_patients(by)
    wanted = own_only(by, wanted, what)
    ranges.check(wanted.first, wanted.last)
    service_id: str | None = getattr(wanted, "service_id", None)
    if service_id and wanted.expert_id:
        if not by.sees_all(what):
            raise Forbidden("Figures of a service are those of all its experts")
        raise Invalid.of("query.service_id", "Name an expert or a service, not both", "conflict")
    subject = (PRACTICE, by.tenant.practice)
    if service_id:
        subject = (SERVICE, service_id)
    elif wanted.expert_id:
        subject = (EXPERT, wanted.expert_id)
    return Asked(by.tenant, subject, wanted.first, wanted.last)


def asked_of_all(by: Principal, wanted: PracticeFilter, *what: str) -> Asked:
    """The same of the whole practice, for who sees all of it. Raises Forbidden, Invalid."""
    must_see_all(by, *what)
    ranges.check(wanted.first, wanted.last)
    return Asked(by.tenant, (PRACTICE, by.tenant.practice), wanted.first, wanted.last)


def must_see_all(by: Principal, *what: str) -> None:
    """Raises Forbidden unless all ``what`` (appointments, payments) are theirs to see."""
    _refuse_patients(by)
    for one in what:
        if not by.sees_all(one):
            raise Forbidden(f"You see only your own {one}")


def _refuse_patients(by: Principal) -> None:
    if by.role is Role.PATIENT:
        raise Forbidden("These are figures of a practice")


class Reads:
    """The reads of one answer. Each begins when it is named, and is waited for when it is called.

    A read that fails is Unavailable: an answer in which a part is missing would be a wrong one.
    So is one that is not there in time: all of them have one deadline.
    """

    def __init__(self, tenant: Tenant) -> None:
        aws.client("dynamodb")  # made here, before the readers race for it
        self.as_of = now()
        self._end = time.monotonic() + READ_S
        self._tenant = tenant
        self._pool = ThreadPoolExecutor(READERS)
        self._changed: set[str] = set()
        self._walk_key = (PRACTICE, tenant.practice, figures.WALK)
        self._walk = self.later(partial(figures.read, tenant, [self._walk_key]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What hangs ends with its client's own timeouts, and nobody waits for it.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def later(self, read: Callable[[], Any]) -> Later:
        """Begin a read; its result is there when the answer is called."""
        future = self._pool.submit(read)

        def result() -> Any:
            try:
                return future.result(max(0.0, self._end - time.monotonic()))
            except (BotoCoreError, ClientError, TimeoutError) as error:
                failure("figures cannot be read", error)
                raise Unavailable from error

        return result

    def rows(self, of: Subject, days: tuple[date, date], *, by_day: bool = False) -> Later:
        """A subject's rows of these days: ``Rows``. One that is not there raises NotFound."""
        queries = ranges.queries(self._tenant, of, *days, by_day=by_day)
        parts = [self.later(query) for query in queries]
        there = self._there(of)

        def result() -> Rows:
            there()
            return [row for part in parts for row in self._seen(part())]

        return result

    def members(self, subject: str, days: tuple[date, date]) -> Later:
        """The rows of all SERVICES, EXPERTS or PATIENTS of these days: ``Members``."""
        parts = [
            self.later(
                partial(figures.by_member, self._tenant, subject, first, last, months=is_months)
            )
            for is_months, first, last in ranges.parts(*days)
        ]

        def result() -> Members:
            found = [one for part in parts for one in part()]
            self._seen((day, row) for day, _, row in found)
            return [(member, row) for _, member, row in found]

        return result

    def items(self, keys: Iterable[Key]) -> dict[Key, table.Raw]:
        """Items of the core table, in one batch per hundred; waits for them."""
        wanted = sorted(set(keys), key=lambda key: key.pk)
        found: dict[Key, table.Raw] = {}
        if wanted:
            found = self.later(partial(table.batch_get_raw, wanted, consistent=False))()
        return found

    def stamps(self, *names: str) -> dict[str, Any]:
        """When it was read and last changed, and whether the figures ``names`` are complete.

        Without names, whether all are: rows of a kind that is newer than its figures need that.
        """
        walk = self._walk()[self._walk_key]
        changed = max(self._changed, default=None)
        return {
            "as_of": self.as_of,
            "changed_at": from_text(changed) if changed else None,
            "complete": figures.is_complete(walk, *names),
        }

    def _there(self, of: Subject) -> Callable[[], None]:
        if of[0] not in (EXPERT, SERVICE):
            return lambda: None
        item = self.later(partial(table.get_raw, self._tenant.item(*of)))

        def check() -> None:
            if item() is None:
                raise NotFound

        return check

    def _seen(self, found: Iterable[tuple[date, Figures]]) -> Rows:
        rows = list(found)
        changed = figures.latest(row for _, row in rows)
        if changed:
            self._changed.add(changed)
        return rows


def check_happenings(rows: list[Figures]) -> None:
    """Raises Invalid where the practice's ``rows`` are of too many visits, payments and refunds.

    There are no more rows of patients side by side than that, and with this never more are read.
    """
    if sum(row[name] for row in rows for name in HAPPENINGS) > MAX_HAPPENINGS:
        message = f"Give a range with at most {MAX_HAPPENINGS:,} visits, payments and refunds"
        raise Invalid.of("query.to", message, "range")


def cancelled(scheduled: int, booked: int) -> int:
    """Appointments that were cancelled: ``status.cancelled`` has holds that were given up, too.

    While older items are still being counted, fewer may be scheduled than are booked.
    """
    return max(0, scheduled - booked)


def only(rows: Rows) -> list[Figures]:
    """The figures without their days."""
    return [row for _, row in rows]


def named(found: Mapping[Key, table.Raw], key: Key, item_id: str) -> NamedRef:
    """An id with the name of its item."""
    return NamedRef(id=item_id, name=found.get(key, {}).get("name", {}).get("S"))
