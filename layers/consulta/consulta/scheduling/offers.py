"""What an expert offers for a service, and the free starts of it: GET /v1/slots."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Self

from consulta.core import table
from consulta.core.errors import Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, in_zone, local_day, now, to_epoch
from consulta.people.records import EXPERT, PRACTICE, ExpertItem
from consulta.scheduling import availability, closures, pricing, slots
from consulta.scheduling.busy import group_of
from consulta.scheduling.closures import Closed
from consulta.scheduling.occupancy import WORKERS, Rooms, read_busy, read_rooms
from consulta.scheduling.records import SERVICE, AvailabilityItem, ServiceItem
from consulta.scheduling.schema.fields import AppliedTax, Price
from consulta.scheduling.schema.slots import Slot, Slots, UnavailableDay
from consulta.scheduling.slots import Busy, DayReason, Hours, Limits
from consulta.scheduling.wall import YEARS

MAX_RANGE = timedelta(days=62)
ANY = "any"
# The most pairs of start and expert in one answer: it stays under the 6 MB that Lambda gives back.
MAX_PAIRS = 20_000


@dataclass(frozen=True, slots=True)
class Taken:
    """What takes up an expert's time: our appointments, each once, and a calendar elsewhere."""

    ours: list[Busy]
    elsewhere: list[Busy]
    rooms: Rooms


@dataclass(frozen=True, slots=True)
class Offer:
    """A service as one expert gives it. Without ``hours`` there are no starts at all.

    ``limits``, ``auto_confirm`` and ``cancellation`` ({"window_s", "fixed", "percent"}, or None for
    the practice's policy) are the expert's own.
    """

    tenant: Tenant
    service: ServiceItem
    expert: ExpertItem
    hours: Hours | None
    closed: Closed = field(default_factory=Closed)
    limits: Limits | None = None
    auto_confirm: bool = True
    cancellation: dict[str, Any] | None = None

    @staticmethod
    def keys(tenant: Tenant, service_id: str, expert_id: str) -> tuple[Key, ...]:
        """What has to be read for it."""
        return (
            tenant.item(SERVICE, service_id),
            tenant.item(PRACTICE, tenant.practice),
            closures.key_of(tenant),
            tenant.item(EXPERT, expert_id),
            availability.key_of(tenant, expert_id),
        )

    @classmethod
    def of(
        cls,
        by: Principal,
        service_id: str,
        expert_id: str,
        found: dict[Key, table.Raw],
        path: str,
        *,
        booked_with: str = "",
    ) -> Self:
        """The offer out of a batch that holds its items.

        Raises NotFound for what is not there, or not for patients to see; Invalid under ``path``
        for an inactive service and for an expert who does not give it. To a member neither matters
        of what is booked already, with the expert ``booked_with``: it stays what it is.
        """
        expert_key = by.tenant.item(EXPERT, expert_id)
        if expert_key not in found:
            raise NotFound
        expert = ExpertItem.read(found[expert_key])
        if not _is_shown(by, expert):
            raise NotFound
        stays = bool(booked_with) and by.role is not Role.PATIENT
        service = _service(by, service_id, found, path, in_any_state=stays)
        if expert_id not in service.expert_ids and not (stays and expert_id == booked_with):
            raise Invalid.of(
                f"{path}.expert_id", "This expert does not give this service", "service"
            )
        return cls.made(by.tenant, service, expert, found, Closed.of(by.tenant, found))

    @classmethod
    def made(
        cls,
        tenant: Tenant,
        service: ServiceItem,
        expert: ExpertItem,
        found: dict[Key, table.Raw],
        closed: Closed,
    ) -> Self:
        """The offer of a service and an expert that were read, and may be shown."""
        raw = found.get(availability.key_of(tenant, expert.item_id))
        if raw is None:
            return cls(tenant, service, expert, None, closed)
        item = AvailabilityItem.read(raw)
        return cls(
            tenant,
            service,
            expert,
            replace(availability.hours_of(item), closed_zone=closed.zone),
            closed,
            availability.limits_of(item),
            bool(item.auto_confirm),
            item.cancellation,
        )

    @property
    def duration_s(self) -> int:
        """The service's length."""
        return int(self.service.duration_s)

    @property
    def seats(self) -> int:
        """How many may share one time; over 1 it is a group appointment."""
        return int(self.service.seats)

    def at(self, start: int) -> Busy:
        """The time that a booking at ``start`` takes, with today's buffers."""
        before = self.hours.buffer_before_s if self.hours else 0
        after = self.hours.buffer_after_s if self.hours else 0
        group = group_of(self.service.item_id, self.expert.item_id, self.seats)
        return Busy(start, start + self.duration_s, before, after, group)

    def during(self, hours: Hours, low: int, high: int) -> Hours:
        """The hours with the practice's closures of the days around [low, high)."""
        first = local_day(from_epoch(low), self.closed.zone) - timedelta(days=2)
        last = local_day(from_epoch(high + slots.MAX_DURATION_S), self.closed.zone)
        return replace(hours, closed=self.closed.between(first, last + timedelta(days=2)))

    def is_open(self, begins: int, ends: int) -> bool:
        """Whether all of it lies in the expert's hours, and on no day off."""
        if self.hours is None:
            return False
        return slots.is_open(self.during(self.hours, begins, ends), begins, ends)

    def offered(self, low: int, high: int, instant: int) -> list[int]:
        """The starts of [low, high) that would be offered if nothing were booked."""
        if self.hours is None:
            return []
        low = max(low, instant + self.hours.min_notice_s)
        high = min(high, slots.horizon(self.hours, instant))
        if low >= high:
            return []
        return slots.grid(self.during(self.hours, low, high), self.duration_s, low, high)

    def free(
        self, starts: Sequence[int], instant: int, without: frozenset[str] = frozenset()
    ) -> list[int]:
        """Those of ``starts`` (in order) at which the expert is free, and a room of each kind.

        One query of the expert's calendar rows, and one per room or equipment that would do. The
        appointments ``without`` are in nobody's way.
        """
        if not starts:
            return []
        first, last = starts[0], starts[-1]
        rooms = read_rooms(self.tenant, self.service, first, last, instant, without)
        return self.free_of(starts, self.taken(first, last, instant, rooms, without))

    def taken(
        self,
        first: int,
        last: int,
        instant: int,
        rooms: Rooms,
        without: frozenset[str] = frozenset(),
    ) -> Taken:
        """What takes up the expert's time around starts of ``first`` to ``last``, by one query.

        The appointments ``without`` are left out.
        """
        low, high = self.at(first).reach()[0], self.at(last).reach()[1]
        if self.limits:
            low = min(low, self.limits.window(first)[0])
            high = max(high, self.limits.window(last)[1])
        owner = self.expert.item_id
        ours, elsewhere = read_busy(self.tenant, EXPERT, owner, low, high, instant, without)
        return Taken(ours, elsewhere, rooms)

    def free_of(self, starts: Sequence[int], taken: Taken) -> list[int]:
        """The same out of what was read."""
        candidate = self.at(0)
        found = slots.free(starts, candidate, [*taken.ours, *taken.elsewhere], self.seats)
        if self.limits:
            found = self.limits.within(found, candidate, taken.ours)
        return taken.rooms.free(found, candidate, self.seats) if taken.rooms.groups else found


def _is_shown(by: Principal, expert: ExpertItem) -> bool:
    return by.role is not Role.PATIENT or bool(expert.published)


def _service(
    by: Principal,
    service_id: str,
    found: dict[Key, table.Raw],
    path: str,
    *,
    in_any_state: bool = False,
) -> ServiceItem:
    raw = found.get(by.tenant.item(SERVICE, service_id))
    if raw is None:
        raise NotFound
    service = ServiceItem.read(raw)
    if in_any_state:
        return service
    if service.deleted_at is not None:
        raise NotFound
    if not service.active:
        raise Invalid.of(f"{path}.service_id", "This service is not active", "inactive")
    return service


def offers_of(
    by: Principal, service_id: str, path: str, *, booked_with: str = ""
) -> tuple[ServiceItem, Closed, list[Offer]]:
    """A service as all of its experts give it whom the caller may see, by two batches.

    For what is booked already with ``booked_with`` as in :meth:`Offer.of`, which raises the same.
    """
    tenant = by.tenant
    shared = table.batch_get_raw(
        [
            tenant.item(SERVICE, service_id),
            tenant.item(PRACTICE, tenant.practice),
            closures.key_of(tenant),
        ],
        consistent=False,
    )
    stays = bool(booked_with) and by.role is not Role.PATIENT
    service = _service(by, service_id, shared, path, in_any_state=stays)
    closed = Closed.of(tenant, shared)
    given = list(dict.fromkeys([*service.expert_ids, *([booked_with] if stays else [])]))
    keys = [
        key for one in given for key in (tenant.item(EXPERT, one), availability.key_of(tenant, one))
    ]
    found = table.batch_get_raw(keys, consistent=False)
    experts = [
        ExpertItem.read(found[key])
        for key in (tenant.item(EXPERT, one) for one in given)
        if key in found
    ]
    return (
        service,
        closed,
        [Offer.made(tenant, service, one, found, closed) for one in experts if _is_shown(by, one)],
    )


@dataclass(frozen=True, slots=True)
class Found:
    """The free starts of one offer, and the seats that are left where there are seats."""

    offer: Offer
    free: list[int]
    seats: dict[int, int]


def free_slots(
    by: Principal,
    service_id: str,
    expert_id: str,
    low: datetime,
    high: datetime,
    zone: str | None,
    *,
    explain: bool = False,
) -> Slots:
    """The free starts in [low, high), at most 62 days, on the clocks of ``zone``.

    Without ``expert_id``, or with ``any``, of all experts of the service. Without ``zone``, on the
    expert's clocks, or the practice's. ``explain``: also why other days have none. Raises NotFound,
    Invalid.
    """
    _check_range(low, high)
    is_any = expert_id in ("", ANY)
    if is_any:
        service, closed, offers = offers_of(by, service_id, "query")
        own_zone = closed.zone
    else:
        found = table.batch_get_raw(Offer.keys(by.tenant, service_id, expert_id), consistent=False)
        offers = [Offer.of(by, service_id, expert_id, found, "query")]
        service, [offer] = offers[0].service, offers
        own_zone = offer.hours.zone if offer.hours else offer.expert.zone
    instant = to_epoch(now())
    # An instant with a fraction of a second is not before the second that it is in.
    begins, ends = -int(-low.timestamp() // 1), -int(-high.timestamp() // 1)
    every = _search(by.tenant, service, offers, begins, ends, instant)
    shown = zone or own_zone
    answered, until = _answered(every, ends)
    return Slots(
        zone=shown,
        service_id=service_id,
        expert_id=None if is_any else expert_id,
        **_terms(service),
        slots=[
            Slot(
                start=in_zone(from_epoch(start), shown),
                end=in_zone(from_epoch(start + int(service.duration_s)), shown),
                expert_id=None if is_any else expert_id,
                expert_ids=[one.offer.expert.item_id for one in able] if is_any else None,
                seats_left=max(one.seats[start] for one in able) if service.seats > 1 else None,
            )
            for start, able in answered
        ],
        until=in_zone(from_epoch(until), shown) if until < ends else None,
        days=_explained(every, shown, begins, until, instant) if explain else None,
    )


def _terms(service: ServiceItem) -> dict[str, Any]:
    """What one of its times costs."""
    terms = pricing.owed(service)
    currency, tax, deposit = terms["currency"], terms["tax"], terms["deposit"]
    return {
        "price": Price(amount=terms["price"], currency=currency),
        "tax": AppliedTax.model_validate(tax) if tax else None,
        "deposit": Price(amount=deposit, currency=currency) if deposit else None,
    }


def _check_range(low: datetime, high: datetime) -> None:
    for name, value in (("from", low), ("to", high)):
        if value.year not in YEARS:
            message = f"Not in the years {YEARS[0]} to {YEARS[-1]}"
            raise Invalid.of(f"query.{name}", message, "range")
    if low >= high:
        raise Invalid.of("query.to", "to must be after from", "range")
    if high - low > MAX_RANGE:
        raise Invalid.of("query.to", f"At most {MAX_RANGE.days} days at once", "range")


def _search(
    tenant: Tenant,
    service: ServiceItem,
    offers: Sequence[Offer],
    low: int,
    high: int,
    instant: int,
) -> list[Found]:
    """The free starts of each offer; experts are asked for at once."""
    starts = [offer.offered(low, high, instant) for offer in offers]
    some = sorted({start for one in starts for start in (*one[:1], *one[-1:])})
    rooms = read_rooms(tenant, service, some[0], some[-1], instant) if some else Rooms()

    def search(offer: Offer, offered: list[int]) -> Found:
        if not offered:
            return Found(offer, [], {})
        taken = offer.taken(offered[0], offered[-1], instant, rooms)
        free, seats = offer.free_of(offered, taken), offer.seats
        if seats == 1:
            return Found(offer, free, {})
        gone = slots.taken_seats(offer.at(0), taken.ours)
        return Found(offer, free, {start: seats - gone[start] for start in free})

    if len(offers) < 2:
        return [search(*pair) for pair in zip(offers, starts, strict=True)]
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(search, offers, starts))


def _answered(every: Sequence[Found], high: int) -> tuple[list[tuple[int, list[Found]]], int]:
    """Each free start with who is free then, in order; and until when that is all of them."""
    able: dict[int, list[Found]] = {}
    for one in every:
        for start in one.free:
            able.setdefault(start, []).append(one)
    answered: list[tuple[int, list[Found]]] = []
    pairs = 0
    for start in sorted(able):
        pairs += len(able[start])
        if pairs > MAX_PAIRS:
            return answered, start
        answered.append((start, able[start]))
    return answered, high


def _explained(
    every: Sequence[Found], zone: str, low: int, high: int, instant: int
) -> list[UnavailableDay]:
    """Why the local dates of [low, high) without a free start have none."""
    reasons = [_reasons(one.offer, zone, low, high, instant) for one in every]
    free = {local_day(from_epoch(start), zone) for one in every for start in one.free}
    rank = list(DayReason).index
    found = []
    for day in _dates(zone, low, high):
        if day in free:
            continue
        reason, said = min(
            (one[day] for one in reasons),
            key=lambda one: rank(one[0]),
            default=(DayReason.NO_HOURS, ""),
        )
        found.append(UnavailableDay(date=day.isoformat(), reason=reason, message=said or None))
    return found


def _dates(zone: str, low: int, high: int) -> list[date]:
    first, last = local_day(from_epoch(low), zone), local_day(from_epoch(high - 1), zone)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _reasons(
    offer: Offer, zone: str, low: int, high: int, instant: int
) -> dict[date, tuple[DayReason, str]]:
    """For each local date of ``zone``: why it would have no free start, if it has none."""
    dates = _dates(zone, low, high)
    edges = [low, *(slots.midnight(day, zone) for day in dates[1:]), high]
    if offer.hours is None:
        return {
            day: (DayReason.PAST if end <= instant else DayReason.NO_HOURS, "")
            for day, end in zip(dates, edges[1:], strict=True)
        }
    # Behind the horizon nothing else matters: no year's holidays need to be worked out for it.
    last = min(high, slots.horizon(offer.hours, instant))
    hours = offer.during(offer.hours, low, last) if low < last else offer.hours
    found = slots.why(hours, offer.duration_s, edges, instant)
    return dict(zip(dates, found, strict=True))
