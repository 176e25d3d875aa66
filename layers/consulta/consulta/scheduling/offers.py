"""What an expert offers for a service, and the free starts of it: GET /v1/slots."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Self

from consulta.core import table
from consulta.core.errors import Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, in_zone, now, to_epoch
from consulta.people.records import EXPERT, ExpertItem
from consulta.scheduling import availability, slots
from consulta.scheduling.busy import CALENDAR, Row, days, entries
from consulta.scheduling.records import SERVICE, AvailabilityItem, ServiceItem
from consulta.scheduling.schema.slots import Slot, Slots
from consulta.scheduling.slots import Busy, Hours

MAX_RANGE = timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Offer:
    """A service as one expert gives it. Without ``hours`` there are no starts at all."""

    tenant: Tenant
    service: ServiceItem
    expert: ExpertItem
    hours: Hours | None

    @staticmethod
    def keys(tenant: Tenant, service_id: str, expert_id: str) -> tuple[Key, Key, Key]:
        """What has to be read for it."""
        return (
            tenant.item(SERVICE, service_id),
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
    ) -> Self:
        """The offer out of a batch that holds its items.

        Raises NotFound for what is not there, or not for patients to see; Invalid under ``path``
        for an inactive service and for an expert who does not give it.
        """
        service_key, expert_key, hours_key = cls.keys(by.tenant, service_id, expert_id)
        if service_key not in found or expert_key not in found:
            raise NotFound
        service = ServiceItem.read(found[service_key])
        expert = ExpertItem.read(found[expert_key])
        hidden = by.role is Role.PATIENT and not expert.published
        if service.deleted_at is not None or hidden:
            raise NotFound
        if not service.active:
            raise Invalid.of(f"{path}.service_id", "This service is not active", "inactive")
        if expert_id not in service.expert_ids:
            raise Invalid.of(
                f"{path}.expert_id", "This expert does not give this service", "service"
            )
        raw = found.get(hours_key)
        hours = availability.hours_of(AvailabilityItem.read(raw)) if raw else None
        return cls(by.tenant, service, expert, hours)

    @property
    def duration_s(self) -> int:
        """The service's length."""
        return int(self.service.duration_s)

    def at(self, start: int) -> Busy:
        """The time that a booking at ``start`` takes, with today's buffers."""
        before = self.hours.buffer_before_s if self.hours else 0
        after = self.hours.buffer_after_s if self.hours else 0
        return Busy(start, start + self.duration_s, before, after)

    def offered(self, low: int, high: int, instant: int) -> list[int]:
        """The starts of [low, high) that would be offered if nothing were booked."""
        if self.hours is None:
            return []
        return slots.offered(self.hours, self.duration_s, low, high, instant)

    def free(self, starts: list[int], instant: int) -> list[int]:
        """Those of ``starts`` at which the expert is free, by one query of calendar rows."""
        if not starts:
            return []
        touched = days(self.at(starts[0]).reach()[0], self.at(starts[-1]).reach()[1])
        rows = calendar(self.tenant, EXPERT, self.expert.item_id, touched[0], touched[-1])
        return slots.free(starts, self.at(0), (busy for _, busy in entries(rows, instant)))


def calendar(tenant: Tenant, kind: str, owner: str, first: date, last: date) -> Iterator[Row]:
    """Somebody's calendar rows of these UTC days, in one query."""
    low, high = tenant.calendar(kind, owner, first), tenant.calendar(kind, owner, last)
    query = table.Query(low.pk, low=low.sk, high=high.sk)
    for raw in query.all():
        yield Row.read(Key(raw["pk"]["S"], raw["sk"]["S"]), CALENDAR, raw)


def free_slots(
    by: Principal, service_id: str, expert_id: str, low: datetime, high: datetime, zone: str | None
) -> Slots:
    """The free starts in [low, high), at most 62 days, on the clocks of ``zone``.

    Without ``zone``, on the expert's. Raises NotFound, Invalid.
    """
    if low >= high:
        raise Invalid.of("query.to", "to must be after from", "range")
    if high - low > MAX_RANGE:
        raise Invalid.of("query.to", f"At most {MAX_RANGE.days} days at once", "range")
    found = table.batch_get_raw(Offer.keys(by.tenant, service_id, expert_id), consistent=False)
    offer = Offer.of(by, service_id, expert_id, found, "query")
    instant = to_epoch(now())
    # An instant with a fraction of a second is not before the second that it is in.
    starts = offer.offered(-int(-low.timestamp() // 1), -int(-high.timestamp() // 1), instant)
    shown = zone or (offer.hours.zone if offer.hours else offer.expert.zone)
    return Slots(
        zone=shown,
        service_id=service_id,
        expert_id=expert_id,
        slots=[
            Slot(
                start=in_zone(from_epoch(start), shown),
                end=in_zone(from_epoch(start + offer.duration_s), shown),
            )
            for start in offer.free(starts, instant)
        ],
    )
