"""What is free for an expert and a patient together, besides appointments that would be moved.

Reading is by the range, not by the time: one query of calendar rows per 62 days for each of expert
and patient, and one for each room that would do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from consulta.people.records import PATIENT
from consulta.scheduling import slots
from consulta.scheduling.occupancy import read_busy, read_rooms
from consulta.scheduling.offers import MAX_RANGE, Offer, Taken
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
        offer, moving = self.offer, self.moving
        rooms = read_rooms(offer.tenant, offer.service, low, high, instant, moving)
        taken = offer.taken(low, high, instant, rooms, moving)
        patients: list[Busy] = []
        if self.patient:
            end = high + offer.duration_s
            patients, _ = read_busy(offer.tenant, PATIENT, self.patient, low, end, instant, moving)
        return Known(offer, taken, patients)


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
