"""Rows of who has which time: calendars (expert, patient, room; one per UTC day) and open holds.

A row is a version and one attribute per appointment, so that an entry can be taken out without
reading the row. Putting one in depends on all the others and needs the version as it was read.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Self

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.keys import Key, Tenant
from consulta.core.time import from_epoch, to_epoch
from consulta.people.records import EXPERT, PATIENT
from consulta.scheduling.records import RESOURCE, AppointmentItem
from consulta.scheduling.slots import Busy, Limits

CALENDAR, HOLDS = "calendar", "holds"
MAX_ENTRIES = 300
_OWN = frozenset({"pk", "sk", "version"})


@dataclass(frozen=True, slots=True)
class Row:
    """One such row as it was read; version 0 is a row that is not there yet."""

    key: Key
    label: str
    version: int = 0
    entries: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, key: Key, label: str, raw: table.Raw | None) -> Self:
        """The row of what DynamoDB gave, or the empty one."""
        if raw is None:
            return cls(key, label)
        values = {name: value["S"] for name, value in raw.items() if name not in _OWN}
        return cls(key, label, int(raw["version"]["N"]), values)

    def put(self, entry_id: str, value: str, *, drop: Iterable[str] = ()) -> table.Action:
        """Write one entry and drop others, if nobody else wrote in the meantime."""
        dropped = [name for name in drop if name in self.entries and name != entry_id]
        if len(self.entries) - len(dropped) >= MAX_ENTRIES and entry_id not in self.entries:
            raise Conflict(f"There is no room for more: {self.label}")
        return self._write({entry_id: value}, dropped)

    def drop(self, entry_id: str) -> table.Action:
        """Take one entry out, if nobody else wrote in the meantime."""
        return self._write({}, [entry_id])

    def unchanged(self) -> table.Action:
        """Go through only if nobody else wrote in the meantime."""
        return table.check(self.key, **self._as_read(), label=self.label)

    def _as_read(self) -> dict[str, Any]:
        if not self.version:
            return {"condition": "attribute_not_exists(pk)"}
        return {
            "condition": "#version = :read",
            "names": {"#version": "version"},
            "values": {":read": self.version},
        }

    def _write(self, values: dict[str, str], remove: Iterable[str]) -> table.Action:
        return table.update(
            self.key,
            set_={**values, "version": self.version + 1},
            remove=remove,
            **self._as_read(),
            label=self.label,
        )


def take_out(key: Key, label: str, entry_id: str) -> table.Action:
    """Take one entry out, whether it is still there or not."""
    return table.update(key, add={"version": 1}, remove=[entry_id], label=label)


def renew(key: Key, label: str, entry_id: str, value: str) -> table.Action:
    """Change an entry that must still be there: one that ran out may have lost its place."""
    return table.update(
        key,
        set_={entry_id: value},
        add={"version": 1},
        condition="attribute_exists(#entry)",
        names={"#entry": entry_id},
        label=label,
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """A booked time in a calendar row; ``until`` is when a hold ends, 0 for what is firm."""

    busy: Busy
    until: int = 0

    def to_text(self) -> str:
        """Compact: these rows are read a month at a time."""
        busy = self.busy
        group = f",{busy.group}" if busy.group else ""
        return f"{busy.start},{busy.end},{busy.before},{busy.after},{self.until}{group}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The reverse of :meth:`to_text`."""
        numbers, group = text.split(",")[:5], text.split(",")[5:]
        start, end, before, after, until = (int(part) for part in numbers)
        return cls(Busy(start, end, before, after, *group), until)

    def lapsed(self, now: int) -> bool:
        """A hold that has ended counts as free, whether or not the sweep has come by."""
        return 0 < self.until <= now


def entries(rows: Iterable[Row], now: int) -> Iterator[tuple[str, Busy]]:
    """What takes up time in these rows, with the appointments' ids."""
    for row in rows:
        for entry_id, text in row.entries.items():
            entry = Entry.from_text(text)
            if not entry.lapsed(now):
                yield entry_id, entry.busy


def lapsed(row: Row, now: int) -> list[str]:
    """The holds in a calendar row that have ended."""
    return [entry_id for entry_id, text in row.entries.items() if Entry.from_text(text).lapsed(now)]


def days(low: int, high: int) -> list[date]:
    """The UTC days that [low, high) touches."""
    first, last = from_epoch(low).date(), from_epoch(max(low, high - 1)).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def group_of(service_id: str, expert_id: str, seats: int) -> str:
    """What seats of one group appointment have in common besides their time.

    The expert is part of it: two who give the same service at once do not share a room.
    """
    return f"{service_id}/{expert_id}" if seats > 1 else ""


@dataclass(frozen=True, slots=True)
class Claim:
    """The time that one appointment takes: of its expert, its patient, its rooms and equipment.

    ``seats`` is how many may share a group's time; ``limits`` the expert's, where they are to be
    kept; ``regardless`` of what the expert's calendar elsewhere has.
    """

    tenant: Tenant
    expert: str
    patient: str
    busy: Busy
    resources: tuple[str, ...] = ()
    seats: int = 1
    limits: Limits | None = None
    regardless: bool = False

    @classmethod
    def of(cls, appointment: AppointmentItem) -> Self:
        """The claim of an appointment."""
        busy = Busy(
            to_epoch(appointment.start),
            to_epoch(appointment.end),
            int(appointment.buffer_before_s),
            int(appointment.buffer_after_s),
            group_of(appointment.service_id, appointment.expert_id, int(appointment.seats)),
        )
        return cls(
            appointment.tenant,
            appointment.expert_id,
            appointment.patient_id,
            busy,
            tuple(appointment.resource_ids),
            int(appointment.seats),
        )

    @property
    def bare(self) -> Busy:
        """The time without buffers, which are the expert's: rooms and patients need none."""
        return replace(self.busy, before=0, after=0)

    def parts(self) -> list[tuple[Busy, list[Key]]]:
        """What is written, and in which rows: the expert's, the patient's, the rooms'."""
        bare = self.bare
        # A patient has one seat: another time of the same group is no place for them either.
        owners = [
            (EXPERT, self.expert, self.busy),
            (PATIENT, self.patient, replace(bare, group="")),
            *((RESOURCE, one, bare) for one in self.resources),
        ]
        return [
            (busy, [self.tenant.calendar(kind, owner, day) for day in days(*busy.reach())])
            for kind, owner, busy in owners
        ]

    def touched(self) -> list[Key]:
        """The calendar rows that it writes."""
        return [key for _, keys in self.parts() for key in keys]

    def room(self, resource: str) -> list[Key]:
        """The calendar rows of a room or piece of equipment that it would write."""
        return [self.tenant.calendar(RESOURCE, resource, day) for day in days(*self.bare.reach())]

    def counted(self) -> list[Key]:
        """The expert's rows whose appointments count for the limits."""
        if not self.limits:
            return []
        window = days(*self.limits.window(self.busy.start))
        return [self.tenant.calendar(EXPERT, self.expert, day) for day in window]

    def elsewhere(self) -> list[Key]:
        """The rows of the expert's own calendar elsewhere.

        They are read, and no condition of what is written: what happens elsewhere is heard of
        seconds later at best, so a change between reading and writing is like one just after it.
        """
        return [self.tenant.external(self.expert, day) for day in days(*self.busy.reach())]

    def watched(self) -> list[Key]:
        """All rows that have to be read."""
        return list(dict.fromkeys([*self.touched(), *self.counted(), *self.elsewhere()]))

    def read(self) -> dict[Key, Row]:
        """Those rows, consistently."""
        return self.rows(table.batch_get_raw(self.watched()))

    def rows(self, found: dict[Key, table.Raw]) -> dict[Key, Row]:
        """Those rows out of a batch that holds them."""
        return {key: Row.read(key, CALENDAR, found.get(key)) for key in self.watched()}

    def is_free(self, rows: dict[Key, Row], now: int, own: str = "") -> bool:
        """Whether nobody has anything else then; ``own`` is this appointment's id."""
        elsewhere = [busy for _, busy in entries((rows[key] for key in self.elsewhere()), now)]
        if not self.regardless and any(self.busy.clashes(other) for other in elsewhere):
            return False
        return all(
            busy.fits(others(rows, keys, now, own), self.seats) for busy, keys in self.parts()
        )

    def within_limits(self, rows: dict[Key, Row], now: int, own: str = "") -> bool:
        """Whether the expert takes one more that day and that week."""
        if not self.limits:
            return True
        return self.limits.allow(self.busy, others(rows, self.counted(), now, own))

    def take(
        self,
        rows: dict[Key, Row],
        own: str,
        until: datetime | None,
        now: int,
        *,
        leaving: Iterable[Key] = (),
    ) -> list[table.Action]:
        """Write it into the rows as they were read, dropping holds that have ended.

        Rows that only count for the limits have to be as they were read, too. It is taken out of
        the rows ``leaving``, where it was before.
        """
        ends = to_epoch(until) if until else 0
        touched = set(self.touched())
        left = [key for key in dict.fromkeys(leaving) if key not in touched]
        return [
            *(
                rows[key].put(own, Entry(busy, ends).to_text(), drop=lapsed(rows[key], now))
                for busy, keys in self.parts()
                for key in keys
            ),
            *(rows[key].drop(own) for key in left),
            *(
                rows[key].unchanged()
                for key in self.counted()
                if key not in touched and key not in left
            ),
        ]

    def keep(self, own: str, until: datetime | None) -> list[table.Action]:
        """Make it firm, or let it last until then; fails where it has lost its place."""
        ends = to_epoch(until) if until else 0
        return [
            renew(key, CALENDAR, own, Entry(busy, ends).to_text())
            for busy, keys in self.parts()
            for key in keys
        ]

    def leave(self, own: str) -> list[table.Action]:
        """Give the time up."""
        return [take_out(key, CALENDAR, own) for key in self.touched()]


def others(rows: dict[Key, Row], keys: Iterable[Key], now: int, own: str) -> list[Busy]:
    """What else takes up time in those rows, each appointment once."""
    found = dict(entries((rows[key] for key in keys), now))
    found.pop(own, None)
    return list(found.values())


def rooms_for(
    claim: Claim, groups: Sequence[Sequence[str]], rows: dict[Key, Row], now: int, own: str = ""
) -> tuple[str, ...] | None:
    """One free room or piece of equipment of each group, no two the same; None without that many.

    The first that is free, in the groups' own order; a group appointment goes where it already is.
    """
    bare = claim.bare
    options: list[list[str]] = []
    for group in groups:
        joined: list[str] = []
        fitting: list[str] = []
        for resource in group:
            there = others(rows, claim.room(resource), now, own)
            if bare.fits(there, claim.seats):
                shared = any(bare.shares(other) for other in there)
                (joined if shared else fitting).append(resource)
        options.append([*joined, *fitting])
    return _distinct(options)


def _distinct(options: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    if not options:
        return ()
    for resource in options[0]:
        rest = [[one for one in group if one != resource] for group in options[1:]]
        found = _distinct(rest)
        if found is not None:
            return (resource, *found)
    return None


def hold_limit_reached(row: Row, now: int, limit: int) -> bool:
    """Whether a patient has that many holds that have not ended."""
    return sum(int(until) > now for until in row.entries.values()) >= limit


def put_hold(row: Row, own: str, until: datetime, now: int) -> table.Action:
    """Count one more hold."""
    ended = [entry_id for entry_id, ends in row.entries.items() if int(ends) <= now]
    return row.put(own, str(to_epoch(until)), drop=ended)
