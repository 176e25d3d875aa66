"""Free times to move an appointment to: what people ask for first, first.

The same weekday and time in a later week, another time of the day, what is near, and other experts
of the service. The appointment's own time is in nobody's way. One query for each calendar looked
at: the expert's, the patient's, and at most three other experts'.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from consulta.core.errors import Conflict
from consulta.core.identity import Principal
from consulta.core.time import from_epoch, in_zone, now, to_epoch
from consulta.scheduling import appointments, slots
from consulta.scheduling.offers import MAX_RANGE, Offer, offers_of
from consulta.scheduling.records import OPEN, AppointmentItem
from consulta.scheduling.schema.suggestions import Suggestion, SuggestionReason, Suggestions
from consulta.scheduling.searching import Search

COUNT, MAX_COUNT = 5, 20
# Looked at: this long before the appointment, and after it as far as one query goes.
BEFORE = timedelta(days=14)
OTHER_EXPERTS = 3
# How many of each before any gets more.
SHARES = {
    SuggestionReason.SAME_TIME_NEXT_WEEK: 2,
    SuggestionReason.SAME_DAY: 1,
    SuggestionReason.NEAREST: 1,
    SuggestionReason.OTHER_EXPERT: 1,
}

Time = tuple[str, int]
"""An expert and a start."""


def suggest(by: Principal, appointment_id: str, count: int = COUNT) -> Suggestions:
    """The best ``count`` free times for it, at most 20, on the clocks of its practice.

    Raises NotFound, Conflict where it is not to be moved, and for patients Invalid where its
    service is not active any more.
    """
    appointment = appointments.load(by, appointment_id)
    if appointment.status not in OPEN or appointment.start <= now():
        raise Conflict(
            "Only what is still to come can be moved",
            extra={"appointment_status": str(appointment.status)},
        )
    found = _Looking.of(by, appointment)
    chosen = _shared(found.by_reason(), min(count, MAX_COUNT))
    length, zone = appointment.end - appointment.start, str(appointment.zone)
    return Suggestions(
        zone=zone,
        items=[
            Suggestion(
                start=in_zone(from_epoch(start), zone),
                end=in_zone(from_epoch(start) + length, zone),
                expert_id=expert_id,
                reason=reason,
            )
            for reason, (expert_id, start) in chosen
        ],
    )


@dataclass(frozen=True, slots=True)
class _Looking:
    """An appointment, and what is free around it: of its own expert, and of others."""

    appointment: AppointmentItem
    zone: str
    own: list[int]
    others: list[Time]

    @classmethod
    def of(cls, by: Principal, appointment: AppointmentItem) -> "_Looking":
        kept = str(appointment.expert_id)
        _, _, offers = offers_of(by, appointment.service_id, "path", booked_with=kept)
        zone, own, others = str(appointment.zone), list[int](), list[Time]()
        left = OTHER_EXPERTS
        for offer in offers:
            expert_id = offer.expert.item_id
            if expert_id == appointment.expert_id:
                own = _free(offer, appointment)
                zone = offer.hours.zone if offer.hours else zone
            elif left and _may_go_elsewhere(by):
                left -= 1
                others += [(expert_id, start) for start in _free(offer, appointment)]
        return cls(appointment, zone, own, others)

    def by_reason(self) -> dict[SuggestionReason, list[Time]]:
        """Each reason's times, the best first."""
        own, start = str(self.appointment.expert_id), to_epoch(self.appointment.start)
        wall = in_zone(self.appointment.start, self.zone)
        weekly, of_day = [], []
        for one in self.own:
            at = in_zone(from_epoch(one), self.zone)
            same_time = (at.weekday(), at.time()) == (wall.weekday(), wall.time())
            if one > start and same_time:
                weekly.append(one)
            if at.date() == wall.date():
                of_day.append(one)
        return {
            SuggestionReason.SAME_TIME_NEXT_WEEK: [(own, one) for one in weekly],
            SuggestionReason.SAME_DAY: [(own, one) for one in _near(of_day, start)],
            SuggestionReason.NEAREST: [(own, one) for one in _near(self.own, start)],
            SuggestionReason.OTHER_EXPERT: sorted(
                self.others, key=lambda time: (abs(time[1] - start), time[1])
            ),
        }


def _free(offer: Offer, appointment: AppointmentItem) -> list[int]:
    """When an expert could have it, but for where it is; its length stays as it was booked."""
    offer.service.duration_s = int((appointment.end - appointment.start).total_seconds())
    offer.service.seats = int(appointment.seats)
    instant, start = to_epoch(now()), to_epoch(appointment.start)
    low = max(instant, start - int(BEFORE.total_seconds()))
    # The query has a day more on either side.
    high = low + int(MAX_RANGE.total_seconds()) - 2 * slots.DAY
    starts = offer.offered(low, high, instant)
    if not starts:
        return []
    search = Search(offer, str(appointment.patient_id), frozenset({appointment.item_id}))
    free = search.read(starts[0], starts[-1], instant).free(starts)
    same = offer.expert.item_id == appointment.expert_id
    return [one for one in free if not (same and one == start)]


def _may_go_elsewhere(by: Principal) -> bool:
    """Experts move appointments within their own calendar only."""
    return bool(by.patient) or by.sees_all("appointments")


def _near(starts: list[int], start: int) -> list[int]:
    return slots.nearest(starts, start, MAX_COUNT)


def _shared(
    found: dict[SuggestionReason, list[Time]], count: int
) -> list[tuple[SuggestionReason, Time]]:
    """First each reason's share, then more of whatever there is; no time twice."""
    seen: set[Time] = set()

    def taken(times: Iterable[Time], most: int) -> Iterator[Time]:
        for time in times:
            if most and time not in seen:
                seen.add(time)
                most -= 1
                yield time

    chosen: list[tuple[SuggestionReason, Time]] = []
    for shares in (SHARES, dict.fromkeys(SHARES, MAX_COUNT)):
        for reason, most in shares.items():
            most_left = min(most, count - len(chosen))
            chosen += [(reason, time) for time in taken(found[reason], most_left)]
    return sorted(chosen, key=lambda one: list(SuggestionReason).index(one[0]))
