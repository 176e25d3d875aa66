"""Stored items of series: the series itself, and a row under it for each occurrence.

The rows are how far a series has come: one is written in the transaction that books its occurrence,
so whoever goes on after a crash does what has no row yet. There are at most 104 of them, some more
where a series was moved.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pynamodb.attributes import (
    BooleanAttribute,
    JSONAttribute,
    ListAttribute,
    NumberAttribute,
    UnicodeAttribute,
)

from consulta.core import ids, table
from consulta.core.identity import Principal
from consulta.core.item import TrackedItem
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import Role
from consulta.scheduling import recurrence
from consulta.scheduling.records import SERIES
from consulta.scheduling.recurrence import Rule

OCCURRENCE = "OCCURRENCE"
MOVED_ON = "the row of another occurrence"


class SeriesStatus(StrEnum):
    """``ready`` is a series that nobody is working on."""

    PLACING = "placing"
    MOVING = "moving"
    CANCELLING = "cancelling"
    READY = "ready"
    CANCELLED = "cancelled"


WORKING = frozenset({SeriesStatus.PLACING, SeriesStatus.MOVING, SeriesStatus.CANCELLING})


class SeriesItem(TrackedItem):
    """A series. ``start`` is the wall time (``2026-12-01T09:00``) of its first occurrence.

    ``rrule`` and ``exdates`` say what it is from ``start`` on; occurrences before that are history
    of before it was moved. ``job`` is what is being done to it, and for whom; ``job_id`` keeps out
    whoever still works on one that is done. ``continues`` is the series that it was split from.
    Lists: l1 all, l2 by expert, l3 by patient, each by creation.
    """

    service_id = UnicodeAttribute()
    expert_id = UnicodeAttribute()
    patient_id = UnicodeAttribute()
    zone = UnicodeAttribute()
    start = UnicodeAttribute()
    rrule = UnicodeAttribute()
    exdates: ListAttribute[Any] = ListAttribute(default=list)
    confirm = BooleanAttribute(default=False)
    package_id = UnicodeAttribute(null=True)
    on_conflict = UnicodeAttribute()
    status = UnicodeAttribute()
    job = JSONAttribute(null=True)
    job_id = UnicodeAttribute(null=True)
    # How many occurrences the last job has done: each step of a worker raises it.
    done = NumberAttribute(default=0)
    continues = UnicodeAttribute(null=True)

    @property
    def first_wall(self) -> datetime:
        """The wall time of the first occurrence."""
        return recurrence.wall_named(self.start)

    @property
    def rule(self) -> Rule:
        """Its rule."""
        return Rule.parse(self.rrule, self.zone)


class OccurrenceState(StrEnum):
    """What became of an occurrence."""

    BOOKED = "booked"
    CONFLICT = "conflict"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class OccurrenceRow:
    """One occurrence of a series.

    ``problem`` is why it was not booked, or not moved; ``detached`` one that is not where the rule
    says. ``job`` is the last that has seen it.
    """

    recurrence_id: str
    state: str
    appointment_id: str = ""
    problem: str = ""
    detached: bool = False
    job: str = ""

    @classmethod
    def read(cls, raw: table.Raw) -> Self:
        """The row of DynamoDB's attribute map."""
        values = table.from_raw(raw)
        return cls(**{name: values[name] for name in cls.__slots__})

    def write(self, tenant: Tenant, series_id: str) -> table.Action:
        """Write it, whatever is there: its content follows from what it is written with."""
        key = _row(tenant, series_id, self.recurrence_id)
        return table.update(key, set_=asdict(self), label=OCCURRENCE)

    def remove(self, tenant: Tenant, series_id: str) -> table.Action:
        """Take it out of its series, unless another occurrence has been given its place since."""
        return table.delete(
            _row(tenant, series_id, self.recurrence_id),
            condition="attribute_not_exists(pk) OR job = :job",
            values={":job": self.job},
            label=MOVED_ON,
        )


def _row(tenant: Tenant, series_id: str, recurrence_id: str) -> Key:
    return tenant.sub(SERIES, series_id, OCCURRENCE, recurrence_id)


def rows_of(tenant: Tenant, series_id: str) -> list[OccurrenceRow]:
    """All of a series' rows in order, consistently."""
    query = table.Query(tenant.item(SERIES, series_id).pk, begins=f"{OCCURRENCE}#", consistent=True)
    return [OccurrenceRow.read(raw) for raw in query.all()]


def derived_id(prefix: str, *parts: str) -> str:
    """The same id for the same parts: whatever makes it again makes nothing new."""
    return ids.derived(prefix, "|".join(parts))


def to_json(by: Principal) -> dict[str, Any]:
    """A caller as a job keeps them: what is done later is theirs, and theirs to do.

    From where they called is left out: that is personal, and the job is not.
    """
    kept = asdict(by)
    granted = kept.pop("granted")
    for name in ("request_id", "practice", "session", "origin"):
        del kept[name]
    return {**kept, "role": str(by.role), "granted": None if granted is None else sorted(granted)}


def from_json(kept: Mapping[str, Any], practice: str, request_id: str) -> Principal:
    """The reverse of :func:`to_json`."""
    granted = kept["granted"]
    return Principal(
        kept["person"],
        Role(kept["role"]),
        request_id,
        practice,
        kept["member"],
        kept["subject"],
        None if granted is None else frozenset(granted),
        key=kept["key"],
    )
