"""What takes up the time of experts, patients, rooms and equipment, read a range at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from consulta.core import table
from consulta.core.keys import Key, Tenant
from consulta.scheduling import slots
from consulta.scheduling.busy import CALENDAR, Row, days, entries
from consulta.scheduling.records import RESOURCE, ResourceItem, ServiceItem
from consulta.scheduling.slots import Busy

# Queries at once: a function's environment has a fraction of a processor, and waits.
WORKERS = 8
# How the row of an expert's calendar elsewhere ends, beside that day's own (core.keys).
_EXTERNAL = "#EXTERNAL"


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the rooms and equipment that a service needs are taken by: group → resource → times.

    One of each group is needed, and no one for two of them.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    busy: dict[str, list[Busy]] = field(default_factory=dict)

    def free(self, starts: Sequence[int], candidate: Busy, seats: int) -> list[int]:
        """Those of ``starts`` at which each group has one that is free."""
        # Buffers are the expert's: rooms need none.
        bare = replace(candidate, before=0, after=0)
        at = {one: set(slots.free(starts, bare, busy, seats)) for one, busy in self.busy.items()}
        return [
            start
            for start in starts
            if _each_its_own([{one for one in group if start in at[one]} for group in self.groups])
        ]


def _each_its_own(groups: Sequence[set[str]], used: frozenset[str] = frozenset()) -> bool:
    """Whether every group can have one that no other has."""
    if not groups:
        return True
    return any(_each_its_own(groups[1:], used | {one}) for one in groups[0] - used)


def read_busy(
    tenant: Tenant,
    kind: str,
    owner: str,
    low: int,
    high: int,
    instant: int,
    without: frozenset[str] = frozenset(),
) -> tuple[list[Busy], list[Busy]]:
    """Somebody's appointments around [low, high), each once, and their calendar elsewhere.

    By one query. The appointments ``without`` are left out.
    """
    touched = days(low, high)
    first, last = (tenant.calendar(kind, owner, day) for day in (touched[0], touched[-1]))
    query = table.Query(first.pk, low=first.sk, high=f"{last.sk}{_EXTERNAL}")
    rows = [Row.read(Key(raw["pk"]["S"], raw["sk"]["S"]), CALENDAR, raw) for raw in query.all()]
    # An appointment past midnight is in the rows of both days, and is one all the same.
    ours = dict(entries((row for row in rows if not row.key.sk.endswith(_EXTERNAL)), instant))
    elsewhere = entries((row for row in rows if row.key.sk.endswith(_EXTERNAL)), instant)
    return [busy for own, busy in ours.items() if own not in without], [b for _, b in elsewhere]


def read_rooms(
    tenant: Tenant,
    service: ServiceItem,
    first: int,
    last: int,
    instant: int,
    without: frozenset[str] = frozenset(),
) -> Rooms:
    """What takes up the rooms and equipment that would do for starts of ``first`` to ``last``.

    Those that are deleted or inactive do for nobody; the appointments ``without`` are left out.
    """
    groups = service.resources or []
    if not groups:
        return Rooms()
    named = list(dict.fromkeys(one for group in groups for one in group))
    found = table.batch_get_raw([tenant.item(RESOURCE, one) for one in named], consistent=False)
    there = [ResourceItem.read(raw) for raw in found.values()]
    usable = sorted(one.item_id for one in there if one.active and one.deleted_at is None)
    end = last + int(service.duration_s)

    def busy(one: str) -> list[Busy]:
        return read_busy(tenant, RESOURCE, one, first, end, instant, without)[0]

    with ThreadPoolExecutor(WORKERS) as pool:
        read = dict(zip(usable, pool.map(busy, usable), strict=True))
    return Rooms(tuple(tuple(one for one in group if one in usable) for group in groups), read)
