"""The expert's dashboard at 1,000 and at 100,000 appointments: time and read units.

Both practices have the same days ahead; only history differs. The rows are written as the stream
would have left them: contributions of the pure functions, summed. Time is the middle of many calls,
taken in turns, and counts only as the ratio of the two.
"""

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from benchmarks import engine
from benchmarks.entry import Entry
from consulta.aggregates.contributions import contribution
from consulta.aggregates.rows import figures_key
from consulta.core import aws, settings, table
from consulta.core.identity import Principal
from consulta.core.ids import new_id
from consulta.core.item import Actor, Item
from consulta.core.keys import Tenant, all_practices
from consulta.core.permissions import Role
from consulta.core.time import local_day, now, to_text
from consulta.dashboards import dashboard
from consulta.people.records import EXPERT, PATIENT, PRACTICE, ExpertItem, PatientItem, PracticeItem
from consulta.scheduling.records import (
    APPOINTMENT,
    SERVICE,
    AppointmentItem,
    PaymentStatus,
    ServiceItem,
    Status,
)

SMALL, LARGE = 1_000, 100_000
AHEAD = 120
CALLS = 60
ZONE = "Europe/Madrid"
BY = Actor("benchmark", "benchmark")
UNITS_BAR, ROUND_TRIPS_BAR, GROWTH_BAR = 10, 3, 1.05


def run() -> Iterable[Entry]:
    """dashboard.*: units, calls, and growth from 1k to 100k."""
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "CORE_TABLE": "core",
        "AGGREGATES_TABLE": "aggregates",
    }
    with engine.loading() as export:
        callers = {size: _practice(export, size) for size in (SMALL, LARGE)}
        with engine.running(export) as endpoint:
            os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = endpoint
            aws.reset()
            settings.reset()
            yield from _measure(callers, engine.Capacity(aws.client("dynamodb")))
    del os.environ["AWS_ENDPOINT_URL_DYNAMODB"]
    aws.reset()


def _measure(callers: dict[int, Principal], capacity: engine.Capacity) -> Iterator[Entry]:
    wanted = dashboard.asked_for(None)
    units, calls = {}, {}
    for size, caller in callers.items():
        capacity.reset()
        found = dashboard.build(caller, wanted)
        assert found.sections.stats.data.appointments_total == size
        units[size], calls[size] = capacity.units, capacity.calls
        yield Entry.at_most(f"dashboard.units_{size}", units[size], "read units", UNITS_BAR)
    took: dict[int, list[float]] = {size: [] for size in callers}
    for _ in range(CALLS):
        for size, caller in callers.items():
            began = time.perf_counter()
            dashboard.build(caller, wanted)
            took[size].append(time.perf_counter() - began)
    median = {size: statistics.median(times) for size, times in took.items()}
    yield Entry.at_most(
        "dashboard.units_growth", units[LARGE] / units[SMALL], "× 1k's units at 100k", GROWTH_BAR
    )
    yield Entry.at_most(
        "dashboard.time_growth", median[LARGE] / median[SMALL], "× 1k's time at 100k", GROWTH_BAR
    )
    yield Entry.at_most("dashboard.calls", calls[LARGE], "DynamoDB calls, in 3 round trips")


def _practice(export: engine.Export, size: int) -> Principal:
    """A practice with one expert and ``size`` appointments, ``AHEAD`` of them still to come."""
    practice, expert, service = new_id("prac"), new_id("exp"), new_id("svc")
    tenant = Tenant(practice)
    patients = [new_id("pat") for _ in range(50)]
    items: list[Item] = [
        PracticeItem.create(
            tenant.item(PRACTICE, practice),
            PRACTICE,
            BY,
            name="Benchmark",
            zone=ZONE,
            currency="EUR",
            country="ES",
            commission_bps=1000,
            policy={"version": 1},
            l1pk=all_practices(),
            l1sk=practice,
        ),
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
        ServiceItem.create(
            tenant.item(SERVICE, service),
            SERVICE,
            BY,
            name="Session",
            duration_s=3000,
            price=5000,
            currency="EUR",
            expert_ids=[expert],
            **_lists(tenant, SERVICE, service),
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
            for n, patient in enumerate(patients)
        ),
    ]
    today = now().replace(hour=12, minute=0, second=0, microsecond=0)
    figures: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for n in range(size):
        ahead = n < AHEAD
        start = today + timedelta(hours=12 * n + 6) if ahead else today - timedelta(minutes=10 * n)
        status = Status.CONFIRMED if ahead else Status.COMPLETED
        item = _appointment(tenant, expert, service, patients[n % len(patients)], start, status)
        for key, vector in contribution(item.pk, item.serialize()).figures.items():
            for name, value in vector.items():
                figures[key][name] += value
        export.write("core", [item.serialize()])
    export.write("core", (item.serialize() for item in items))
    stamp = {"updated_at": to_text(now())}
    export.write(
        "aggregates",
        (
            {**table.raw_key(figures_key(tenant, key)), **table.to_raw({**vector, **stamp})}
            for key, vector in figures.items()
        ),
    )
    return Principal("benchmark", Role.EXPERT, "benchmark", practice, new_id("mem"), expert)


def _lists(tenant: Tenant, entity: str, item_id: str) -> dict[str, str]:
    partition = tenant.listing(entity)
    return {"l1pk": partition, "l1sk": item_id, "walkpk": partition, "walksk": item_id}


def _appointment(
    tenant: Tenant, expert: str, service: str, patient: str, start: datetime, status: Status
) -> AppointmentItem:
    item_id = new_id("appt")
    order = f"{to_text(start)}#{item_id}"
    lists = {
        "l1pk": tenant.listing_by(APPOINTMENT, "MONTH", to_text(start)[:7]),
        "l2pk": tenant.listing_by(APPOINTMENT, EXPERT, expert),
        "l3pk": tenant.listing_by(APPOINTMENT, PATIENT, patient),
    }
    return AppointmentItem.create(
        tenant.item(APPOINTMENT, item_id), APPOINTMENT, BY, service_id=service, expert_id=expert,
        patient_id=patient, status=status, payment_status=PaymentStatus.PAID, start=start,
        end=start + timedelta(minutes=50), buffer_before_s=0, buffer_after_s=600, zone=ZONE,
        local_date=local_day(start, ZONE).isoformat(), local_hour=start.hour, price=5000,
        currency="EUR", order_id=new_id("ord"), policy={"version": 1}, **lists,
        l1sk=order, l2sk=order, l3sk=order,
        walkpk=tenant.listing(APPOINTMENT), walksk=item_id,
    )  # fmt: skip
