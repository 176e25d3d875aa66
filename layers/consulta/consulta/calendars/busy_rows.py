"""Busy times as rows: which events are on which UTC day, and for each event on which days it is.

For each event a row says when it is, so that it can be taken out of its days when it moves. The
row and its days are written together; where they are too many for one transaction, the row says
first where the event was (``was``), until all its days are right.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from consulta.calendars.busy_times import Span
from consulta.calendars.records import BUSY, busy_key
from consulta.core import table
from consulta.core.keys import Tenant
from consulta.core.time import now

# Parts of one transaction: the lease's check is one more.
ROOM = 80


class Superseded(Exception):
    """Another sync has the lease, or the connection has changed: nothing more is written."""


@dataclass(frozen=True, slots=True)
class Known:
    """When an event was, as its row has it; ``was`` is where it may still be."""

    span: Span
    was: Span | None = None

    def days(self) -> set[date]:
        """All the days whose rows may have it."""
        return {*self.span.days(), *(self.was.days() if self.was else ())}


def known_times(tenant: Tenant, expert: str) -> dict[str, Known]:
    """Every event that is in our rows, by its entry."""
    prefix = busy_key(tenant, expert, "x")
    query = table.Query(prefix.pk, begins=f"{BUSY}#", consistent=True)
    return dict(_known(raw) for raw in query.all())


def times_of(tenant: Tenant, expert: str, entries: Iterable[str]) -> dict[str, Known]:
    """Those of these events that are in our rows."""
    rows = table.batch_get_raw([busy_key(tenant, expert, entry) for entry in entries])
    return dict(_known(raw) for raw in rows.values())


def _known(raw: table.Raw) -> tuple[str, Known]:
    row = table.from_raw(raw)
    was = Span(int(row["was_start"]), int(row["was_end"])) if "was_start" in row else None
    entry = raw["sk"]["S"].partition("#")[2]
    return entry, Known(Span(int(row["start"]), int(row["end"])), was)


@dataclass
class Changes:
    """Events put into their days' rows and taken out of them, a transaction's worth at a time."""

    tenant: Tenant
    expert: str
    known: Mapping[str, Known]
    guard: table.Action | None
    rows: list[table.Action] = field(default_factory=list)
    sets: dict[date, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    drops: dict[date, set[str]] = field(default_factory=lambda: defaultdict(set))

    def make(self, wanted: Mapping[str, Span | None]) -> None:
        """Write what differs. Raises Superseded where the lease is gone."""
        for entry, span in wanted.items():
            known = self.known.get(entry)
            if known is None and span is None:
                continue
            if known and span == known.span and known.was is None:
                continue
            old = known.days() if known else set()
            new = set(span.days()) if span else set()
            if len(old | new) + 1 > ROOM:
                self.flush()
                self._long(entry, span, known)
                continue
            if 1 + len(self.rows) + len({*self.sets, *self.drops} | old | new) > ROOM:
                self.flush()
            self.rows.append(self._row(entry, span))
            self._days(entry, span, old - new, new)
        self.flush()

    def _days(
        self, entry: str, span: Span | None, out: Iterable[date], into: Iterable[date]
    ) -> None:
        for day in out:
            self.drops[day].add(entry)
        for day in into:
            self.sets[day][entry] = span.text() if span else ""

    def _long(self, entry: str, span: Span | None, known: Known | None) -> None:
        """More days than a transaction has room for: the row says where it may be until then."""
        here = span or (known.span if known else None)
        if here is None:
            return
        old = known.days() if known else set()
        hull = _hull(known) if known else here
        self.rows.append(self._row(entry, here, hull))
        self.flush()
        new = set(span.days()) if span else set()
        for chunk in _chunks(sorted(old | new)):
            into = [day for day in chunk if day in new]
            self._days(entry, span, [day for day in chunk if day not in new], into)
            self.flush()
        self.rows.append(self._row(entry, span))
        self.flush()

    def _row(self, entry: str, span: Span | None, was: Span | None = None) -> table.Action:
        key = busy_key(self.tenant, self.expert, entry)
        if span is None:
            return table.delete(key)
        values = {"start": span.start, "end": span.end}
        if was:
            return table.update(key, set_={**values, "was_start": was.start, "was_end": was.end})
        return table.update(key, set_=values, remove=["was_start", "was_end"])

    def flush(self) -> None:
        """One transaction, if there is anything to write."""
        days = sorted({*self.sets, *self.drops})
        if not days and not self.rows:
            return
        today = now().date() - timedelta(days=2)
        actions = [*self.rows, *(self._day(day, today) for day in days)]
        if self.guard:
            actions.append(self.guard)
        try:
            table.transact(actions)
        except table.ConditionFailed:
            raise Superseded from None
        self.rows, self.sets, self.drops = [], defaultdict(dict), defaultdict(set)

    def _day(self, day: date, today: date) -> table.Action:
        key = self.tenant.external(self.expert, day)
        if day < today and not self.sets.get(day):
            # Over: nobody reads it again, and all its other entries are over as well.
            return table.delete(key)
        return table.update(
            key,
            set_=self.sets.get(day, {}),
            add={"version": 1},
            remove=sorted(self.drops.get(day, set()) - self.sets.get(day, {}).keys()),
        )


def _hull(known: Known) -> Span:
    days = [known.span, *([known.was] if known.was else [])]
    return Span(min(one.start for one in days), max(one.end for one in days))


def _chunks(days: list[date]) -> Iterator[list[date]]:
    for start in range(0, len(days), ROOM):
        yield days[start : start + ROOM]
