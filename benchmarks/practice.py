"""A practice with experts and much history, as rows of an export: what the benchmarks read.

Practices of different sizes have the same days ahead and the same last fourteen months; only what
was before differs (benchmarks/history.py). Every completed visit is paid, one in three is reviewed.
Figures are written as the stream would have left them: contributions of the pure functions, summed.
Of payments and reviews from before the last fourteen months there are only the figures: nothing
here reads the items.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from benchmarks import engine, history
from benchmarks.history import Cell, Template
from consulta.aggregates import catalog, contributions
from consulta.aggregates.catalog import AggregateKey, figures_key
from consulta.aggregates.contributions import Contribution, Pair, cohort_of, contribution
from consulta.aggregates.figures import WALK
from consulta.aggregates.rows import pair_key, visits_key
from consulta.core import table
from consulta.core.identity import Principal
from consulta.core.ids import new_id
from consulta.core.item import Actor, Item
from consulta.core.keys import Key, Tenant, all_practices
from consulta.core.permissions import Role
from consulta.core.table import Raw
from consulta.core.time import from_text, local_day, now, to_text
from consulta.money.paying import orders
from consulta.money.records import State
from consulta.people import thread_records
from consulta.people.policy import default_policy
from consulta.people.records import EXPERT, PATIENT, PRACTICE, ExpertItem, PatientItem, PracticeItem
from consulta.people.thread_records import THREAD, ThreadItem
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
from consulta.scheduling.review_records import REVIEW, ReviewItem

# What of a visit long ago neither figures nor lists need: a million of them have to fit the disk.
LEFT_OUT = (
    *("policy", "order_id", "end", "updated_at", "updated_by", "request_id", "notify"),
    *("buffer_before_s", "buffer_after_s", "rescheduled", "resource_ids", "seats"),
)
# Appointments still to come, two a day.
AHEAD = 120
PATIENTS = 50
ZONE = "Europe/Madrid"
LENGTH, BREAK_S = history.LENGTH, 600
BY = Actor("benchmark", "benchmark")
# As many experts as one service can have.
EXPERTS_OF_A_SERVICE = 40
WEEKLY = {str(day): [["08:00", "13:00"], ["14:00", "20:00"]] for day in range(7)}


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Practice:
    """The ids of a practice that was written, and how many appointments it has."""

    id: str
    experts: list[str]
    services: list[str]
    patients: list[str]
    size: int = 0
    # Noon, in UTC, of the day that it was for the practice when it was written.
    today: datetime = field(default_factory=lambda: _noon(local_day(now(), ZONE)))

    @property
    def tenant(self) -> Tenant:
        """Its keys."""
        return Tenant(self.id)

    def caller(self, role: Role = Role.EXPERT) -> Principal:
        """Its first expert, its first patient, or another member."""
        subject = {Role.EXPERT: self.experts[0], Role.PATIENT: self.patients[0]}.get(role, "")
        return Principal("benchmark", role, "benchmark", self.id, new_id("mem"), subject)

    def cells(self) -> Iterator[Cell]:
        """Its visits, from yesterday back."""
        return history.cells(max(0, self.size - AHEAD), self.today.date(), len(self.patients))

    def ahead(self) -> list[tuple[datetime, str]]:
        """When its appointments to come start, each with its patient."""
        return [
            (self.today + timedelta(hours=12 * n + 6), self.patients[n % len(self.patients)])
            for n in range(min(AHEAD, self.size))
        ]


def write(export: engine.Export, size: int, *, experts: int = 1) -> Practice:
    """A practice with ``size`` appointments of its first expert, ``AHEAD`` of them to come."""
    services = -(-experts // EXPERTS_OF_A_SERVICE)
    made = Practice(
        new_id("prac"),
        [new_id("exp") for _ in range(experts)],
        [new_id("svc") for _ in range(services)],
        [new_id("pat") for _ in range(PATIENTS)],
        size,
    )
    people = [item.serialize() for item in _people(made)]
    export.write("core", people)
    if size:
        sums = _Sums(made)
        for raw in people:
            sums.add_item(raw)
        _threads(export, made, sums)
        _ahead(export, made, sums)
        _history(export, made, sums)
        export.write("aggregates", sums.rows())
    return made


def _threads(export: engine.Export, made: Practice, sums: "_Sums") -> None:
    """Each patient writes with the expert; of every third one a message is unread."""
    tenant, expert, at = made.tenant, made.experts[0], now()
    for number, patient in enumerate(made.patients):
        thread = thread_records.id_of(patient, expert)
        raw = ThreadItem.create(
            tenant.item(THREAD, thread), THREAD, BY, patient_id=patient, expert_id=expert,
            zone=ZONE, sent_patient=1, unread_practice=int(number % 3 == 0), last_from="patient",
            last_at=at, l1pk=tenant.listing(THREAD), l2pk=tenant.listing_by(THREAD, EXPERT, expert),
            l3pk=tenant.listing_by(THREAD, PATIENT, patient),
            **thread_records.places(thread, at, has_expert=True),
            walkpk=tenant.listing(THREAD), walksk=thread,
        ).serialize()  # fmt: skip
        export.write("core", [raw])
        sums.add_item(raw)


def _ahead(export: engine.Export, made: Practice, sums: "_Sums") -> None:
    """What is still to come, with the time that it takes in the calendars."""
    rows: dict[Key, dict[str, str]] = defaultdict(dict)
    for start, patient in made.ahead():
        item = _appointment(made, patient, start, Status.CONFIRMED)
        raw = item.serialize()
        export.write("core", [raw])
        sums.add_item(raw)
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


def _history(export: engine.Export, made: Practice, sums: "_Sums") -> None:
    """What was. Nothing reads the calendars of days gone by: they are left out."""
    visits = {recent: _visit(made, recent=recent) for recent in (True, False)}
    payment, reviews = _payment(made), {stars: _review(made, stars) for stars in (3, 4, 5)}
    rated: Counter[tuple[str, int]] = Counter()
    written: dict[tuple[str, int], dict[str, str]] = {}
    for cell in made.cells():
        patient, hour = made.patients[cell.patient], history.local_hour(cell, ZONE)
        export.write_lines("core", _visit_lines(made, cell, visits[cell.recent], patient, hour))
        values = {**_ids(made, cell.first), **history.when(cell, cell.first), "patient": patient}
        first = visits[cell.recent].raw(**values, hour=hour)
        sums.add(contribution(first["pk"]["S"], first), cell.count)
        paid = payment.raw(**values)
        sums.add(contribution(paid["pk"]["S"], paid), cell.count)
        if cell.recent:
            export.write("core", [paid])
        for number in cell.numbers:
            if stars := history.rating(number):
                rated[values["day"], stars] += 1
                written.setdefault((values["day"], stars), values)
                if cell.recent:
                    export.write("core", [reviews[stars].raw(**values)])
    for key, count in rated.items():
        review = reviews[key[1]].raw(**written[key])
        sums.add(contribution(review["pk"]["S"], review), count)


def _ids(made: Practice, number: int) -> dict[str, str]:
    names = {"id": "appt", "order": "ord", "payment": "pay", "review": "rev"}
    return {name: history.id_of(prefix, made.id, number) for name, prefix in names.items()}


def _visit_lines(
    made: Practice, cell: Cell, template: Template, patient: str, hour: int
) -> Iterator[str]:
    for number in cell.numbers:
        values = {**_ids(made, number), **history.when(cell, number)}
        yield template.line(**values, patient=patient, hour=hour)


class _Sums:
    """All that a practice's items contribute, and the rows of it."""

    def __init__(self, made: Practice) -> None:
        self.made = made
        self.figures: dict[AggregateKey, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.pairs: Counter[Pair] = Counter()
        self.visits: dict[str, Counter[str]] = defaultdict(Counter)

    def add_item(self, raw: Raw) -> None:
        """One item, if it contributes at all."""
        key = Key(raw["pk"]["S"], raw["sk"]["S"])
        if contributions.contributes(key):
            self.add(contribution(key.pk, raw))

    def add(self, one: Contribution, times: int = 1) -> None:
        """What so many items contribute, each the same."""
        for key, vector in one.figures.items():
            row = self.figures[key]
            for name, value in vector.items():
                row[name] += times * value
        for pair in one.pairs:
            self.pairs[pair] += times
        for visit in one.visits:
            self.visits[visit.patient][visit.month] += times

    def rows(self) -> Iterator[Raw]:
        """Of figures, of pairs and of visits; and the word that nothing is missing in them."""
        tenant = self.made.tenant
        distinct = [
            *(one for pair in self.pairs for one in pair.counted_in()),
            *(
                (key, name)
                for months in self.visits.values()
                for key, vector in cohort_of(tenant.practice, months).items()
                for name in vector
            ),
        ]
        for key, name in distinct:
            self.figures[key][name] += 1
        stamp = {"updated_at": to_text(now())}
        for key, vector in self.figures.items():
            yield _row(figures_key(tenant, key), {**vector, "rev": 1, **stamp})
        for pair, count in self.pairs.items():
            yield _row(pair_key(tenant, pair), {"n": count})
        for patient, months in self.visits.items():
            yield _row(visits_key(tenant, patient), {"rev": 1, **months})
        walked = figures_key(tenant, AggregateKey(PRACTICE, tenant.practice, WALK))
        yield _row(walked, {"done": catalog.GENERATION, "runs": 1, **stamp})


def _row(key: Key, values: dict[str, Any]) -> Raw:
    return {**table.raw_key(key), **table.to_raw(values)}


# ---------------------------------------------------------------- items


# What stands in a template where a patient's id comes, and where the hour does: a number that no id
# has in it by chance.
_PATIENT, _HOUR = "pat_WHO", 98_765_432_109
_STARTS = {name: text for name, text in history.WHEN.items() if name != "end"}


def _visit(made: Practice, *, recent: bool) -> Template:
    """A completed appointment."""
    item = _appointment(made, _PATIENT, history.PLACE, Status.COMPLETED)
    # Made when it begins: what is made is counted by that day.
    item.created_at = item.updated_at = history.PLACE
    item.local_hour = _HOUR
    raw, places = item.serialize(), {"id": item.item_id, "patient": _PATIENT, "hour": str(_HOUR)}
    if recent:
        return Template(raw, {**places, "order": item.order_id, **history.WHEN})
    slim = {name: value for name, value in raw.items() if name not in LEFT_OUT}
    return Template(slim, {**places, **_STARTS})


def _payment(made: Practice) -> Template:
    item = orders.make_payment(
        made.tenant, BY, appointment_id="appt_WHICH", order_id="ord_WHICH", patient_id=_PATIENT,
        expert_id=made.experts[0], service_id=made.services[0], payee_id=made.id,
        provider="stripe", amount=history.PRICE, currency="EUR", zone=ZONE,
        captured=history.PRICE, commission=history.COMMISSION, settled=True,
        paid_at=history.PLACE, local_date=history.PLACE.date().isoformat(),
    )  # fmt: skip
    item.state = str(State.SUCCEEDED)
    made_at = from_text(item.l1sk.partition("#")[0])
    item.created_at = item.updated_at = history.PLACE
    raw = item.serialize()
    # Its places in the lists are of the instant in which it was made.
    places = {name: raw[name]["S"] for name in ("l1pk", "l1sk", "l2sk", "l3sk")}
    for name, text in places.items():
        placed = text.replace(to_text(made_at), to_text(history.PLACE))
        raw[name] = {"S": placed.replace(f"#MONTH#{made_at:%Y-%m}", history.WHEN["month"])}
    ids = {"payment": item.item_id, "id": "appt_WHICH", "order": "ord_WHICH", "patient": _PATIENT}
    return Template(raw, {**ids, **_STARTS})


def _review(made: Practice, stars: int) -> Template:
    tenant, review, expert = made.tenant, new_id("rev"), made.experts[0]
    place = f"{to_text(history.PLACE)}#{review}"
    item = ReviewItem.create(
        tenant.item(REVIEW, review), REVIEW, BY, appointment_id="appt_WHICH", expert_id=expert,
        service_id=made.services[0], patient_id=_PATIENT, rating=stars, zone=ZONE,
        local_date=history.PLACE.date().isoformat(),
        l1pk=tenant.listing_by(REVIEW, "MONTH", place[:7]),
        l2pk=tenant.listing_by(REVIEW, EXPERT, expert),
        l3pk=tenant.listing_by(REVIEW, PATIENT, _PATIENT), l1sk=place, l2sk=place, l3sk=place,
        walkpk=tenant.listing(REVIEW), walksk=review,
    )  # fmt: skip
    item.created_at = item.updated_at = history.PLACE
    places = {"review": review, "id": "appt_WHICH", "patient": _PATIENT, **_STARTS}
    return Template(item.serialize(), places)


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
        local_date=local_day(start, ZONE).isoformat(), local_hour=start.hour, price=history.PRICE,
        currency="EUR", order_id=new_id("ord"), policy=default_policy("EUR"), **lists,
        l1sk=order, l2sk=order, l3sk=order,
        walkpk=tenant.listing(APPOINTMENT), walksk=item_id,
    )  # fmt: skip
