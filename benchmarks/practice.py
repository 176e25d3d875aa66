"""A practice with experts and much history, as rows of an export: what the benchmarks read.

Practices of different sizes have the same days ahead; only history differs. Figures are written as
the stream would have left them: contributions of the pure functions, summed.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from benchmarks import engine
from consulta.aggregates.contributions import contribution
from consulta.aggregates.rows import figures_key
from consulta.core import table
from consulta.core.identity import Principal
from consulta.core.ids import new_id
from consulta.core.item import Actor, Item
from consulta.core.keys import Key, Tenant, all_practices
from consulta.core.permissions import Role
from consulta.core.time import local_day, now, to_text
from consulta.people.policy import default_policy
from consulta.people.records import EXPERT, PATIENT, PRACTICE, ExpertItem, PatientItem, PracticeItem
from consulta.scheduling import availability
from consulta.scheduling.busy import Claim, Entry
from consulta.scheduling.records import (
    APPOINTMENT,
    AVAILABILITY,
    SERVICE,
    AppointmentItem,
    AvailabilityItem,
    PaymentStatus,
    ServiceItem,
    Status,
)

# Appointments still to come, two a day.
AHEAD = 120
PATIENTS = 50
ZONE = "Europe/Madrid"
LENGTH, BREAK_S = timedelta(minutes=50), 600
BY = Actor("benchmark", "benchmark")
# As many experts as one service can have.
EXPERTS_OF_A_SERVICE = 40
WEEKLY = {str(day): [["08:00", "13:00"], ["14:00", "20:00"]] for day in range(7)}


@dataclass(frozen=True)
class Practice:
    """The ids of a practice that was written."""

    id: str
    experts: list[str]
    services: list[str]
    patients: list[str]

    @property
    def tenant(self) -> Tenant:
        """Its keys."""
        return Tenant(self.id)

    def caller(self, role: Role = Role.EXPERT) -> Principal:
        """Its first expert, or another member."""
        subject = self.experts[0] if role is Role.EXPERT else ""
        return Principal("benchmark", role, "benchmark", self.id, new_id("mem"), subject)


def write(export: engine.Export, size: int, *, experts: int = 1) -> Practice:
    """A practice with ``size`` appointments of its first expert, ``AHEAD`` of them to come."""
    services = -(-experts // EXPERTS_OF_A_SERVICE)
    made = Practice(
        new_id("prac"),
        [new_id("exp") for _ in range(experts)],
        [new_id("svc") for _ in range(services)],
        [new_id("pat") for _ in range(PATIENTS)],
    )
    export.write("core", (item.serialize() for item in _people(made)))
    if size:
        _history(export, made, size)
    return made


def _history(export: engine.Export, made: Practice, size: int) -> None:
    today = now().replace(hour=12, minute=0, second=0, microsecond=0)
    figures: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    rows: dict[Key, dict[str, str]] = defaultdict(dict)
    for n in range(size):
        ahead = n < AHEAD
        # History is dense: a hundred a day, so that a hundred thousand are a few years.
        start = (
            today + timedelta(hours=12 * n + 6) if ahead else today - timedelta(minutes=14 * n + 60)
        )
        item = _appointment(
            made,
            made.patients[n % PATIENTS],
            start,
            Status.CONFIRMED if ahead else Status.COMPLETED,
        )
        export.write("core", [item.serialize()])
        for key, vector in contribution(item.pk, item.serialize()).figures.items():
            for name, value in vector.items():
                figures[key][name] += value
        for busy, keys in Claim.of(item).parts():
            for key in keys:
                rows[key][item.item_id] = Entry(busy).to_text()
    export.write(
        "core",
        (
            {**table.raw_key(key), **table.to_raw({**entries, "version": len(entries)})}
            for key, entries in rows.items()
        ),
    )
    stamp = {"updated_at": to_text(now())}
    export.write(
        "aggregates",
        (
            {
                **table.raw_key(figures_key(made.tenant, key)),
                **table.to_raw({**vector, **stamp}),
            }
            for key, vector in figures.items()
        ),
    )


def _people(made: Practice) -> list[Item]:
    tenant = made.tenant
    items: list[Item] = [
        PracticeItem.create(
            tenant.item(PRACTICE, made.id),
            PRACTICE,
            BY,
            name="Benchmark",
            zone=ZONE,
            currency="EUR",
            country="ES",
            commission_bps=1000,
            policy=default_policy("EUR"),
            l1pk=all_practices(),
            l1sk=made.id,
        ),
        *(
            ServiceItem.create(
                tenant.item(SERVICE, service),
                SERVICE,
                BY,
                name="Session",
                duration_s=int(LENGTH.total_seconds()),
                price=5000,
                currency="EUR",
                expert_ids=made.experts[EXPERTS_OF_A_SERVICE * n : EXPERTS_OF_A_SERVICE * (n + 1)],
                **_lists(tenant, SERVICE, service),
            )
            for n, service in enumerate(made.services)
        ),
        *(
            PatientItem.create(
                tenant.item(PATIENT, patient),
                PATIENT,
                BY,
                name=f"Patient {n}",
                local_date="2026-01-01",
                **_lists(tenant, PATIENT, patient),
            )
            for n, patient in enumerate(made.patients)
        ),
    ]
    for expert in made.experts:
        items += [
            ExpertItem.create(
                tenant.item(EXPERT, expert),
                EXPERT,
                BY,
                member_id=new_id("mem"),
                name="Expert",
                zone=ZONE,
                published=True,
                **_lists(tenant, EXPERT, expert),
            ),
            AvailabilityItem.create(
                availability.key_of(tenant, expert),
                AVAILABILITY,
                BY,
                zone=ZONE,
                weekly=WEEKLY,
                slot_interval_s=1800,
                buffer_after_s=BREAK_S,
                horizon_days=365,
            ),
        ]
    return items


def _lists(tenant: Tenant, entity: str, item_id: str) -> dict[str, str]:
    partition = tenant.listing(entity)
    return {"l1pk": partition, "l1sk": item_id, "walkpk": partition, "walksk": item_id}


def _appointment(made: Practice, patient: str, start: datetime, status: Status) -> AppointmentItem:
    item_id, tenant = new_id("appt"), made.tenant
    expert = made.experts[0]
    order = f"{to_text(start)}#{item_id}"
    lists = {
        "l1pk": tenant.listing_by(APPOINTMENT, "MONTH", to_text(start)[:7]),
        "l2pk": tenant.listing_by(APPOINTMENT, EXPERT, expert),
        "l3pk": tenant.listing_by(APPOINTMENT, PATIENT, patient),
    }
    return AppointmentItem.create(
        tenant.item(APPOINTMENT, item_id), APPOINTMENT, BY, service_id=made.services[0],
        expert_id=expert, patient_id=patient, status=status, payment_status=PaymentStatus.PAID,
        start=start, end=start + LENGTH, buffer_before_s=0, buffer_after_s=BREAK_S, zone=ZONE,
        local_date=local_day(start, ZONE).isoformat(), local_hour=start.hour, price=5000,
        currency="EUR", order_id=new_id("ord"), policy=default_policy("EUR"), **lists,
        l1sk=order, l2sk=order, l3sk=order,
        walkpk=tenant.listing(APPOINTMENT), walksk=item_id,
    )  # fmt: skip
