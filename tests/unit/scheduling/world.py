"""A practice with experts, patients and services, as tests of scheduling need it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consulta.core import idempotency, ids, keys, table
from consulta.core.identity import Principal
from consulta.core.item import Actor, Item
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.people.policy import default_policy
from consulta.people.records import (
    EXPERT,
    PATIENT,
    PRACTICE,
    ExpertItem,
    PatientItem,
    PracticeItem,
)
from consulta.scheduling import (
    availability,
    booking,
    drafts,
    due,
    holds,
    listing,
    offers,
    rescheduling,
    services,
    sweep,
    transitions,
)
from consulta.scheduling.schema.appointments import AppointmentDetail
from consulta.scheduling.schema.availability import AvailabilityRequest, Weekly
from consulta.scheduling.schema.booking import BookingRequest
from consulta.scheduling.schema.services import ServiceRequest

ALWAYS = {day: [{"from": "00:00", "to": "24:00"}] for day in Weekly.model_fields}
BY = Actor("setup", "request-0")
TODAY = now().date()


def tomorrow(hour: int = 10, minute: int = 0, days: int = 1) -> datetime:
    """A time in the future on UTC's clocks, at a full minute; the same in the whole run."""
    day = TODAY + timedelta(days=days)
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


@dataclass
class World:
    """One practice on the core table; what it gives are ids."""

    practice: str = field(default_factory=lambda: ids.new_id("prac"))
    exists: bool = False

    @classmethod
    def of(cls, item: Item) -> "World":
        """The world that an item is in."""
        return cls(item.tenant.practice, exists=True)

    def __post_init__(self) -> None:
        if self.exists:
            return
        key = self.tenant.item(PRACTICE, self.practice)
        practice = PracticeItem.create(
            key,
            PRACTICE,
            BY,
            name="Aurora",
            zone="Europe/Lisbon",
            currency="EUR",
            country="PT",
            commission_bps=1000,
            policy=default_policy("EUR"),
            l1pk=keys.all_practices(),
            l1sk=self.practice,
        )
        table.transact([table.put_new(practice)])

    @property
    def tenant(self) -> Tenant:
        return Tenant(self.practice)

    def caller(self, role: Role = Role.OWNER, subject: str = "") -> Principal:
        return Principal(f"person-{role}-{subject}", role, "request-1", self.practice, "", subject)

    @property
    def owner(self) -> Principal:
        return self.caller()

    def patient(self, name: str = "Inês Carvalho") -> str:
        patient_id = ids.new_id("pat")
        item = PatientItem.create(
            self.tenant.item(PATIENT, patient_id),
            PATIENT,
            BY,
            name=name,
            local_date="2026-01-01",
            l1pk=self.tenant.listing(PATIENT),
            l1sk=patient_id,
            walkpk=self.tenant.listing(PATIENT),
            walksk=patient_id,
        )
        table.transact([table.put_new(item)])
        return patient_id

    def expert(self, name: str = "Helena Duarte", *, published: bool = True, **hours: Any) -> str:
        expert_id = ids.new_id("exp")
        item = ExpertItem.create(
            self.tenant.item(EXPERT, expert_id),
            EXPERT,
            BY,
            member_id=ids.new_id("mem"),
            name=name,
            zone="UTC",
            published=published,
            l1pk=self.tenant.listing(EXPERT),
            l1sk=expert_id,
            walkpk=self.tenant.listing(EXPERT),
            walksk=expert_id,
        )
        table.transact([table.put_new(item)])
        body = {"zone": "UTC", "weekly": ALWAYS, "horizon_days": 400, **hours}
        availability.put(self.owner, expert_id, AvailabilityRequest.model_validate(body), None)
        return expert_id

    def service(self, *experts: str, price: int = 5000, minutes: int = 60, **more: Any) -> str:
        body = {
            "name": "First consultation",
            "duration_minutes": minutes,
            "price": {"amount": price, "currency": "EUR"},
            "expert_ids": list(experts),
            **more,
        }
        return services.create(self.owner, ServiceRequest.model_validate(body), None).id

    def book(
        self,
        service: str,
        expert: str,
        patient: str,
        start: datetime,
        *,
        by: Principal | None = None,
        key: str | None = None,
        **more: Any,
    ) -> AppointmentDetail:
        request = BookingRequest(
            service_id=service, expert_id=expert, patient_id=patient, start=start, **more
        )
        return booking.book(by or self.owner, request, key)


class Clock:
    """The time that all of scheduling sees, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = now()
        for module in (
            booking,
            drafts,
            due,
            holds,
            idempotency,
            listing,
            offers,
            rescheduling,
            sweep,
            transitions,
        ):
            monkeypatch.setattr(module, "now", lambda: self.at)

    def forward(self, **by: float) -> None:
        self.at += timedelta(**by)
