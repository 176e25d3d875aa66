"""What stands against the times of a series, before anything is saved."""

from collections.abc import Sequence
from dataclasses import dataclass

from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, in_zone, local_day, now, to_epoch
from consulta.scheduling import searching, slots
from consulta.scheduling.offers import Offer
from consulta.scheduling.recurrence import Occurrence
from consulta.scheduling.schema.series import SeriesPreview, SeriesTime
from consulta.scheduling.schema.slots import Slot
from consulta.scheduling.searching import SPAN_S, Search
from consulta.scheduling.slots import DAY

ALTERNATIVES, WITHIN_DAYS = 3, 3


@dataclass(frozen=True, slots=True)
class Checked:
    """One time, why it cannot be had ("" if it can), and what is free near it instead."""

    occurrence: Occurrence
    problem: str
    alternatives: tuple[int, ...] = ()


def check(by: Principal, search: Search, times: Sequence[Occurrence]) -> list[Checked]:
    """Each of the times, in their order; one query of each calendar per 62 days."""
    instant = to_epoch(now())
    at = {one.recurrence_id: to_epoch(one.start) for one in times}
    problems = {one.recurrence_id: _closed(by, search.offer, one, instant) for one in times}
    alternatives: dict[str, tuple[int, ...]] = {}
    ordered = sorted(set(at.values()))
    # The days around them are in the same query.
    for piece in searching.pieces(ordered, SPAN_S - 2 * WITHIN_DAYS * DAY):
        within = WITHIN_DAYS * DAY
        known = search.read(piece[0] - within, piece[-1] + within, instant)
        free = set(known.free(piece))
        for name, start in at.items():
            if not piece[0] <= start <= piece[-1]:
                continue
            if not problems[name] and start not in free:
                problems[name] = "taken"
            if problems[name]:
                near = searching.around(search.offer, start, WITHIN_DAYS, instant)
                found = (one for one in known.free(near) if one != start)
                alternatives[name] = tuple(slots.nearest(found, start, ALTERNATIVES))
    return [
        Checked(one, problems[one.recurrence_id], alternatives.get(one.recurrence_id, ()))
        for one in times
    ]


def _closed(by: Principal, offer: Offer, one: Occurrence, instant: int) -> str:
    """Why it could not be booked even if nothing were."""
    start = to_epoch(one.start)
    if start <= instant:
        return "past"
    if by.role is Role.PATIENT:
        if offer.offered(start, start + 1, instant):
            return ""
    elif offer.is_open(start, start + offer.duration_s):
        return ""
    day = local_day(one.start, offer.closed.zone)
    if offer.closed.between(day, day):
        return "closed"
    if offer.hours:
        day = local_day(one.start, offer.hours.zone)
        if any(off.first <= day <= off.last for off in offer.hours.vacations):
            return "vacation"
    return "not-offered" if by.role is Role.PATIENT else "outside-hours"


def to_api(checked: Sequence[Checked], offer: Offer, zone: str) -> SeriesPreview:
    """As the API shows it, on the clocks of ``zone``."""

    def slot(start: int) -> Slot:
        return Slot(
            start=in_zone(from_epoch(start), zone),
            end=in_zone(from_epoch(start + offer.duration_s), zone),
            expert_id=offer.expert.item_id,
        )

    return SeriesPreview(
        zone=zone,
        conflicts=sum(bool(one.problem) for one in checked),
        occurrences=[
            SeriesTime(
                recurrence_id=one.occurrence.recurrence_id,
                start=slot(to_epoch(one.occurrence.start)).start,
                end=slot(to_epoch(one.occurrence.start)).end,
                ok=not one.problem,
                problem=one.problem or None,
                alternatives=[slot(start) for start in one.alternatives],
            )
            for one in checked
        ],
    )
