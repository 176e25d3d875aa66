"""What is free for an expert and a patient together, besides appointments that would be moved.

Reading is by the range, not by the time: one query of calendar rows per 62 days for each of expert
and patient, and one for each room that would do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from consulta.core import table
from consulta.people.records import EXPERT, PATIENT
from consulta.scheduling import slots
from consulta.scheduling.busy import days, entries
from consulta.scheduling.offers import MAX_RANGE, Offer, Rooms, Taken, calendar, is_external
from consulta.scheduling.records import RESOURCE, ResourceItem
from consulta.scheduling.slots import DAY, Busy

SPAN_S = int(MAX_RANGE.total_seconds())


@dataclass(frozen=True, slots=True)
class Known:
    """What takes up time in a range that was read."""

    offer: Offer
    taken: Taken
    patients: Sequence[Busy]

    def free(self, starts: Sequence[int]) -> list[int]:
        """Those of ``starts`` (in order, within the range) that are free for both."""
        found = self.offer.free_of(starts, self.taken)
        # Buffers are the expert's.
        return slots.free(found, Busy(0, self.offer.duration_s), self.patients)


@dataclass(frozen=True, slots=True)
class Search:
    """Where to look: an offer, and the patient it is for (or nobody).

    The appointments ``moving`` are in nobody's way.
    """

    offer: Offer
    patient: str = ""
    moving: frozenset[str] = field(default_factory=frozenset)

    def read(self, low: int, high: int, instant: int) -> Known:
        """Everything about starts in [low, high], which are at most 62 days."""
        offer = self.offer
        first, last = offer.at(low).reach()[0], offer.at(high).reach()[1]
        if offer.limits:
            first = min(first, offer.limits.window(low)[0])
            last = max(last, offer.limits.window(high)[1])
        ours, elsewhere = self._of(EXPERT, offer.expert.item_id, first, last, instant)
        patients: list[Busy] = []
        if self.patient:
            end = high + offer.duration_s
            patients, _ = self._of(PATIENT, self.patient, low, end, instant)
        rooms = self._rooms(low, high + offer.duration_s, instant)
        return Known(offer, Taken(ours, elsewhere, rooms), patients)

    def _of(
        self, kind: str, owner: str, low: int, high: int, instant: int
    ) -> tuple[list[Busy], list[Busy]]:
        touched = days(low, high)
        rows = list(calendar(self.offer.tenant, kind, owner, touched[0], touched[-1]))
        # An appointment past midnight is in the rows of both days, and is one all the same.
        ours = dict(entries((row for row in rows if not is_external(row)), instant))
        elsewhere = [
            busy for _, busy in entries((row for row in rows if is_external(row)), instant)
        ]
        return [busy for own, busy in ours.items() if own not in self.moving], elsewhere

    def _rooms(self, low: int, high: int, instant: int) -> Rooms:
        tenant, groups = self.offer.tenant, self.offer.service.resources or []
        if not groups:
            return Rooms()
        named = [tenant.item(RESOURCE, one) for group in groups for one in group]
        found = table.batch_get_raw(named, consistent=False)
        items = [ResourceItem.read(raw) for raw in found.values()]
        there = [one.item_id for one in items if one.active and one.deleted_at is None]
        busy = {one: self._of(RESOURCE, one, low, high, instant)[0] for one in there}
        return Rooms(tuple(tuple(one for one in group if one in busy) for group in groups), busy)


def pieces(starts: Sequence[int], span_s: int = SPAN_S) -> Iterator[Sequence[int]]:
    """``starts`` (in order) in pieces that are no longer than one range."""
    begin = 0
    for number, start in enumerate(starts):
        if start - starts[begin] > span_s:
            yield starts[begin:number]
            begin = number
    if starts:
        yield starts[begin:]


def around(offer: Offer, start: int, days_: int, instant: int) -> list[int]:
    """What is offered within so many days of ``start``, if nothing were booked."""
    return offer.offered(start - days_ * DAY, start + days_ * DAY + 1, instant)
