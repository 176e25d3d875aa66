"""Analytics against an independent count of the same items, by role, and where reading fails."""

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ReadTimeoutError

from consulta.aggregates import figures, walk
from consulta.aggregates.catalog import (
    PATIENTS,
    SERVICES,
    AggregateKey,
    aggregates_table,
    figures_key,
)
from consulta.core import ids, table
from consulta.core.identity import Membership, authorizer_context
from consulta.core.permissions import GRANTS, Role
from consulta.dashboards.analytics import asked, periods
from consulta.dashboards.analytics.schema import Interval
from consulta.money.records import PAYMENT, POSTING, REFUND
from consulta.people.records import PRACTICE
from consulta.scheduling.records import APPOINTMENT, SERVICE, PaymentStatus, Status
from tests.faults import Faults
from tests.unit.aggregates.images import image
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import World

ZONES = ("Australia/Lord_Howe", "Europe/Madrid", "America/Mexico_City")
CURRENCIES = ("EUR", "MXN", "KWD")
BOOKED = ("awaiting_approval", "confirmed", "completed", "no_show")
HOLDS = ("held", "expired")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
TODAY = datetime(2027, 3, 10, 12, tzinfo=UTC)
# They cut months and weeks, are a day, a month and as long as can be.
RANGES = (
    ("2026-11-15", "2027-01-10"),
    ("2026-12-01", "2026-12-31"),
    ("2026-12-30", "2026-12-30"),
    ("2026-10-30", "2027-02-03"),
    ("2026-02-11", "2027-02-11"),
)
Item = dict[str, Any]


class Clinic:
    """A practice with a history that nobody ordered; its items as plain values beside the table."""

    def __init__(self, zone: str = "Europe/Madrid") -> None:
        self.world, self.zone = World(), zone
        practice = self.world.tenant.item(PRACTICE, self.world.practice)
        table.transact([table.update(practice, set_={"zone": zone})])
        self.experts = [self.world.expert(name) for name in ("Helena", "Rui")]
        self.services = [self.world.service(*self.experts, name=name) for name in ("A", "B", "C")]
        self.patients = [self.world.patient(f"Patient {n}") for n in range(6)]
        self.items: dict[str, list[Item]] = defaultdict(list)

    def put(self, entity: str, **values: Any) -> Item:
        """An item, stamped as those that write it do."""
        if "at" in values:
            local = values.pop("at").astimezone(ZoneInfo(self.zone))
            values |= {"local_date": local.date().isoformat(), "zone": self.zone}
            values |= {"local_hour": local.hour} if entity == APPOINTMENT else {}
        who = {
            "expert_id": self.experts[0],
            "service_id": self.services[0],
            "patient_id": self.patients[0],
        }
        values = (who if entity != POSTING else {}) | values
        created = values.pop("created_at", None)
        raw = image(entity, ids.new_id("x"), tenant=self.world.tenant, **values)
        if created:
            raw["created_at"] = {"S": created}
        table.transact([table.put_raw(raw)])
        item = {name: next(iter(value.values())) for name, value in raw.items()} | values
        self.items[entity].append(item)
        return item

    def history(self, seed: int, size: int = 28) -> None:
        """Random appointments, payments, refunds and postings: most where a range is cut."""
        dice = random.Random(seed)
        edges = sorted({edge for span in RANGES for edge in (*span, *before(*span))})
        statuses = [str(one) for one in Status] + ["completed"] * 6 + ["no_show"] * 2

        def instant() -> datetime:
            middle = datetime.fromisoformat(f"{dice.choice(edges)}T12:00:00+00:00")
            if dice.random() < 0.25:
                middle = datetime(2026, 1, 20, tzinfo=UTC) + timedelta(days=dice.randrange(400))
            return middle + timedelta(minutes=dice.randrange(-1440, 1440))

        def who() -> Item:
            return {
                "expert_id": dice.choice(self.experts),
                "service_id": dice.choice(self.services),
                "patient_id": dice.choice(self.patients),
                "currency": dice.choice(CURRENCIES),
            }

        for _ in range(size):
            made = instant().isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self.put(
                APPOINTMENT,
                **who(),
                at=instant(),
                created_at=made,
                status=dice.choice(statuses),
                cancelled_from=dice.choice((None, "confirmed", "held")),
                payment_status=str(dice.choice(list(PaymentStatus))),
                price=dice.choice((0, 4999, 5000)),
            )
        for _ in range(size // 2):
            captured = dice.choice((0, 1, 4999, 70_000))
            self.put(PAYMENT, **who(), at=instant(), captured=captured, amount=captured)
            self.put(REFUND, **who(), at=instant(), amount=dice.choice((1, 300)), commission=0)
            self.earn(instant(), dice.choice((250, 900)), dice.choice(CURRENCIES), dice)

    def earn(self, at: datetime, amount: int, currency: str, dice: random.Random) -> None:
        day = at.astimezone(ZoneInfo(self.zone)).date().isoformat()
        entries = [
            {"book": "PAYEE:p", "account": "patient", "debit": amount, "credit": 0},
            {"book": "PAYEE:p", "account": "revenue", "debit": 0, "credit": amount},
        ]
        expert = dice.choice(self.experts)
        self.put(
            POSTING, local_date=day, entries=entries, currency=currency, expert_id=expert
        ).update({"earned": amount})

    def view(self, expert: str, day: str, views: int) -> None:
        raw = {
            **table.raw_key(self.world.tenant.item("PROFILE_VIEWS", f"{expert}.{day}")),
            **table.to_raw(
                {
                    "entity": "PROFILE_VIEWS",
                    "expert_id": expert,
                    "local_date": day,
                    "views": views,
                    "version": views,
                    "walkpk": self.world.tenant.listing("PROFILE_VIEWS"),
                    "walksk": f"{expert}.{day}",
                }
            ),
        }
        table.transact([table.put_raw(raw)])
        self.items["PROFILE_VIEWS"].append({"expert_id": expert, "local_date": day, "views": views})

    def looked_at(self, dice: random.Random) -> None:
        """Profiles, on some days of any range."""
        known = sorted({day for first, last in RANGES for day in days(first, last)})
        for day in dice.sample(known, 12):
            for expert in self.experts:
                self.view(expert, day.isoformat(), dice.randint(1, 9))

    def count(self) -> None:
        """Every item through the real engine."""
        walk.walk(self.world.tenant)

    def ask(self, what: str, query: str, role: str = "owner", subject: str = "") -> Answer:
        context = signed_in(role, self.world.practice, subject)
        return call("analytics", "GET", f"/v1/analytics/{what}", context=context, query=query)

    def see(self, what: str, query: str, role: str = "owner", subject: str = "") -> Any:
        answer = self.ask(what, query, role, subject)
        assert answer.status == 200, answer.body
        assert answer.headers["Cache-Control"] == "private, max-age=120"
        assert answer.body["complete"] is True
        return answer.body

    # the independent count: every item, one after the other

    def of(self, entity: str, first: str, last: str, **who: str) -> list[Item]:
        """The items of these local days, and of the expert or service."""
        return [
            item
            for item in self.items[entity]
            if first <= item["local_date"] <= last
            and all(item.get(name) == value for name, value in who.items())
        ]

    def scheduled(self, first: str, last: str, **who: str) -> list[Item]:
        return [
            one
            for one in self.of(APPOINTMENT, first, last, **who)
            if one["status"] in BOOKED
            or (one["status"] == "cancelled" and one.get("cancelled_from") != "held")
        ]


def before(first: str, last: str) -> tuple[str, str]:
    low, high = date.fromisoformat(first), date.fromisoformat(last)
    day = timedelta(days=1)
    return (low - (high - low) - day).isoformat(), (low - day).isoformat()


def trend(value: int | Fraction, base: int | Fraction) -> float | None:
    """Of fractions: they are rounded once, and half to even."""
    return float(round(Fraction(value - base) * 100 / abs(base), 1)) if base else None


def share(part: int, whole: int) -> float | None:
    return float(round(Fraction(part * 100, whole), 1)) if whole else None


def days(first: str, last: str) -> Iterator[date]:
    day = date.fromisoformat(first)
    while day.isoformat() <= last:
        yield day
        day += timedelta(days=1)


def period(day: date, group: str) -> str:
    """By the calendar itself: ISO's year and week, Monday being its first day."""
    if group == "month":
        return day.isoformat()[:7]
    if group == "week":
        year, week, _ = day.isocalendar()
        return date.fromisocalendar(year, week, 1).isoformat()
    return day.isoformat()


def cut(first: str, last: str, group: str) -> dict[str, tuple[str, str]]:
    """Every period of the range → its first and last day within it."""
    found: dict[str, list[str]] = defaultdict(list)
    for day in days(first, last):
        found[period(day, group)].append(day.isoformat())
    return {name: (inside[0], inside[-1]) for name, inside in found.items()}


@pytest.fixture
def clinic(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    monkeypatch.setattr(asked, "now", lambda: TODAY)
    return Clinic()


@pytest.fixture
def busy(clinic: Clinic) -> Clinic:
    """The clinic with a short history, of which this much is in each range of two months."""
    clinic.put(APPOINTMENT, local_date="2026-12-30", status="no_show")
    clinic.put(PAYMENT, local_date="2026-12-30")
    clinic.history(3, size=10)
    clinic.count()
    return clinic


class Question(NamedTuple):
    """A range, whose figures (as a query, and as a part of an item), and which points."""

    first: str
    last: str
    query: str
    who: dict[str, str]
    group: str


def whose(clinic: Clinic) -> list[tuple[str, dict[str, str]]]:
    """The practice, an expert, a service: as a query, and as a part of an item."""
    expert, service = clinic.experts[1], clinic.services[1]
    return [
        ("", {}),
        (f"&expert_id={expert}", {"expert_id": expert}),
        (f"&service_id={service}", {"service_id": service}),
    ]


# ---------------------------------------------------------------- against the items


def money(clinic: Clinic, first: str, last: str, **who: str) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one in clinic.of(PAYMENT, first, last, **who):
        if one["captured"]:
            found[one["currency"]].update(gross=one["captured"], payments=1)
    for one in clinic.of(REFUND, first, last, **who):
        found[one["currency"]].update(refunded=one["amount"])
    for one in clinic.of(POSTING, first, last, **who) if "service_id" not in who else ():
        found[one["currency"]].update(earned=one["earned"])
    for sums in found.values():
        sums["collected"] = sums["gross"] - sums["refunded"]
    return dict(found)


def minor(shown: dict[str, Any], *names: str) -> dict[str, int | None]:
    values = {name: shown[name] for name in names}
    amounts = [value for value in values.values() if isinstance(value, dict)]
    assert {one["currency"] for one in amounts} == {shown["currency"]}
    return {n: v["amount"] if isinstance(v, dict) else v for n, v in values.items()}


def check_revenue(busy: Clinic, asked_: Question) -> None:
    first, last, query, who, group = asked_
    names = ("gross", "refunded", "collected", "earned", "payments")
    known = [n for n in names if "service_id" not in who or n != "earned"]
    seen = busy.see("revenue", f"from={first}&to={last}&group={group}{query}")
    expected = money(busy, first, last, **who)
    earlier = money(busy, *before(first, last), **who)
    shown = {one["currency"]: one for one in seen["items"]}
    assert list(shown) == sorted({*expected, *earlier})
    for currency, one in shown.items():
        now_, then = (side.get(currency, Counter()) for side in (expected, earlier))
        assert minor(one, *known) == {n: now_[n] for n in known}
        assert minor(one["previous"], *known) == {n: then[n] for n in known}
        trends = {n: trend(now_[n], then[n]) for n in known}
        assert {n: one["trend_percent"][n] for n in known} == trends
    points = {point["period"]: point for point in seen["points"]}
    periods_ = cut(first, last, group)
    assert list(points) == list(periods_)
    for name, (low, high) in periods_.items():
        part = money(busy, low, high, **who)
        assert (points[name]["from"], points[name]["to"]) == (low, high)
        assert [one["currency"] for one in points[name]["items"]] == sorted(expected)
        for one in points[name]["items"]:
            values = part.get(one["currency"], Counter())
            assert minor(one, *known) == {n: values[n] for n in known}


def by_status(clinic: Clinic, first: str, last: str, **who: str) -> Counter[str]:
    """Appointments, and the holds that never became one; without those that were given up."""
    holds = [one for one in clinic.of(APPOINTMENT, first, last, **who) if one["status"] in HOLDS]
    return Counter(one["status"] for one in (*clinic.scheduled(first, last, **who), *holds))


def check_appointments(busy: Clinic, asked_: Question) -> None:
    first, last, query, who, group = asked_
    statuses = [str(status) for status in Status]
    seen = busy.see("appointments", f"from={first}&to={last}&group={group}{query}")
    found, earlier = (
        by_status(busy, *span, **who) for span in ((first, last), before(first, last))
    )
    total, then = (
        len(busy.scheduled(*span, **who)) for span in ((first, last), before(first, last))
    )
    assert (seen["total"], seen["previous"]["total"]) == (total, then)
    assert seen["trend_percent"] == trend(total, then)
    assert seen["previous"]["statuses"] == {one: earlier[one] for one in statuses}
    assert seen["distribution"] == [
        {
            "status": one,
            "count": found[one],
            "percent": None if one in HOLDS else share(found[one], total),
            "trend_percent": trend(found[one], earlier[one]),
        }
        for one in statuses
    ]
    assert [
        (p["period"], p["from"], p["to"], p["total"], p["statuses"]) for p in seen["points"]
    ] == [
        (
            name,
            low,
            high,
            len(busy.scheduled(low, high, **who)),
            {one: part[one] for one in statuses},
        )
        for name, (low, high) in cut(first, last, group).items()
        for part in [by_status(busy, low, high, **who)]
    ]


def check_payment_status(busy: Clinic, asked_: Question) -> None:
    first, last, query, who, _ = asked_
    seen = busy.see("payment-status", f"from={first}&to={last}{query}")
    found, earlier = (
        Counter(one["payment_status"] for one in busy.scheduled(*span, **who))
        for span in ((first, last), before(first, last))
    )
    shown = {one["payment_status"]: one for one in seen["distribution"]}
    assert list(shown) == [str(one) for one in PaymentStatus]
    for status, one in shown.items():
        assert one["count"] == found[status]
        assert one["percent"] == share(found[status], found.total())
        assert one["trend_percent"] == trend(found[status], earlier[status])
    assert (seen["total"], seen["previous"]["total"]) == (found.total(), earlier.total())
    assert seen["previous"]["statuses"] == {one: earlier[one] for one in shown}
    assert seen["trend_percent"] == trend(found.total(), earlier.total())


def steps(clinic: Clinic, first: str, last: str, **who: str) -> dict[str, Any]:
    scheduled = clinic.scheduled(first, last, **who)
    paid = [
        one
        for one in scheduled
        if one["price"] == 0 or one["payment_status"] in ("paid", "partially_refunded")
    ]
    completed = [one for one in paid if one["status"] == "completed"]
    return {
        "scheduled": len(scheduled),
        "paid": len(paid),
        "completed": len(completed),
        "paid_percent": share(len(paid), len(scheduled)),
        "completed_percent": share(len(completed), len(paid)),
        "overall_percent": share(len(completed), len(scheduled)),
    }


def check_funnel(busy: Clinic, asked_: Question) -> None:
    first, last, query, who, _ = asked_
    seen = busy.see("funnel", f"from={first}&to={last}{query}")
    now_, then = steps(busy, first, last, **who), steps(busy, *before(first, last), **who)
    assert (seen["steps"], seen["previous"]) == (now_, then)
    names = ("scheduled", "paid", "completed")
    assert seen["trend_percent"] == {n: trend(now_[n], then[n]) for n in names}


def check_peak_hours(busy: Clinic, asked_: Question) -> None:
    first, last, query, who, _ = asked_
    seen = busy.see("peak-hours", f"from={first}&to={last}{query}")
    booked, earlier = (
        [one for one in busy.of(APPOINTMENT, *span, **who) if one["status"] in BOOKED]
        for span in ((first, last), before(first, last))
    )
    at = Counter(
        (date.fromisoformat(one["local_date"]).weekday(), one["local_hour"]) for one in booked
    )
    assert seen["hours"] == [[at[day, hour] for hour in range(24)] for day in range(7)]
    assert (seen["total"], seen["previous_total"]) == (len(booked), len(earlier))
    assert seen["trend_percent"] == trend(len(booked), len(earlier))
    hours, weekdays = Counter[int](), Counter[int]()
    for (day, hour), n in sorted(at.items()):
        hours[hour] += n
        weekdays[day] += n
    if not booked:
        assert (seen["busiest_hour"], seen["busiest_day"]) == (None, None)
        return
    hour = min(h for h in hours if hours[h] == max(hours.values()))
    day = min(d for d in weekdays if weekdays[d] == max(weekdays.values()))
    assert seen["busiest_hour"] == {"hour": hour, "appointments": hours[hour]}
    named = {"weekday": WEEKDAYS[day], "appointments": weekdays[day]}
    assert seen["busiest_day"] == named


def service_counts(found: list[Item]) -> dict[str, Any]:
    status = Counter(one["status"] for one in found)
    return {
        "bookings": sum(status[one] for one in BOOKED),
        "completed": status["completed"],
        "cancelled": sum(
            one["status"] == "cancelled" and one.get("cancelled_from") != "held" for one in found
        ),
        "no_show": status["no_show"],
        "no_show_percent": share(status["no_show"], status["no_show"] + status["completed"]),
    }


def check_services(busy: Clinic, asked_: Question) -> None:
    first, last, *_ = asked_
    seen = busy.see("services", f"from={first}&to={last}")
    span, earlier = (first, last), before(first, last)
    everything = [
        (
            service,
            busy.of(APPOINTMENT, *span, service_id=service),
            service_money(busy, service, *span),
        )
        for service in busy.services
    ]
    there = [one for one in everything if one[1] or one[2]]
    there.sort(key=lambda one: (-service_counts(one[1])["bookings"], one[0]))
    assert [one["service"]["id"] for one in seen["items"]] == [one[0] for one in there]
    for line, (service, found, sums) in zip(seen["items"], there, strict=True):
        counts = service_counts(found)
        then = service_counts(busy.of(APPOINTMENT, *earlier, service_id=service))
        assert {name: line[name] for name in counts} == counts
        assert line["trend_percent"] == trend(counts["bookings"], then["bookings"])
        names = ("value", "gross", "refunded", "collected")
        assert {one["currency"]: minor(one, *names) for one in line["items"]} == {
            currency: {name: values[name] for name in names}
            for currency, values in sorted(sums.items())
        }
        assert not line["deleted"]
    assert seen["services"] == len(there)
    assert seen["total"] == service_counts(busy.of(APPOINTMENT, *span))
    assert seen["previous"] == service_counts(busy.of(APPOINTMENT, *earlier))
    total, then = seen["total"]["bookings"], seen["previous"]["bookings"]
    assert seen["trend_percent"] == trend(total, then)
    few = busy.see("services", f"from={first}&to={last}&limit=1")
    assert few["items"] == seen["items"][:1]


def service_money(clinic: Clinic, service: str, first: str, last: str) -> dict[str, Counter[str]]:
    found = {c: Counter(s) for c, s in money(clinic, first, last, service_id=service).items()}
    for one in clinic.of(APPOINTMENT, first, last, service_id=service):
        if one["status"] in BOOKED and one["price"]:
            found.setdefault(one["currency"], Counter()).update(value=one["price"])
    return found


def check_top_patients(busy: Clinic, asked_: Question) -> None:
    first, last, *_ = asked_
    for currency in CURRENCIES[:2]:
        query = f"from={first}&to={last}&currency={currency}"
        seen = busy.see("top-patients", query)
        total = money(busy, first, last).get(currency, Counter())
        then = money(busy, *before(first, last)).get(currency, Counter())
        sums = {
            patient: found[currency]
            for patient in busy.patients
            if currency in (found := money(busy, first, last, patient_id=patient))
            and (found[currency]["gross"] or found[currency]["refunded"])
        }
        order = sorted(sums, key=lambda one: (-sums[one]["collected"], one))
        assert [one["patient"]["id"] for one in seen["items"]] == order
        assert seen["patients"] == len(sums)
        for line in seen["items"]:
            patient = line["patient"]["id"]
            for name in ("gross", "refunded", "collected"):
                amount = {"amount": sums[patient][name], "currency": currency}
                assert line[name] == amount
            visits = busy.of(APPOINTMENT, first, last, patient_id=patient)
            assert line["completed"] == sum(one["status"] == "completed" for one in visits)
            assert line["percent"] == share(sums[patient]["gross"], total["gross"])
            assert line["patient"]["name"].startswith("Patient ")
        for side, values in (("total", total), ("previous", then)):
            for name in ("gross", "refunded", "collected"):
                assert seen[side][name] == {"amount": values[name], "currency": currency}
        assert seen["trend_percent"] == trend(total["collected"], then["collected"])
        assert busy.see("top-patients", f"{query}&limit=2")["items"] == seen["items"][:2]


def rate(found: list[Item]) -> dict[str, Any]:
    status = Counter(one["status"] for one in found)
    missed, came = status["no_show"], status["completed"]
    return {"completed": came, "no_show": missed, "no_show_percent": share(missed, missed + came)}


def check_no_shows(busy: Clinic, asked_: Question) -> None:
    first, last, query, who, _ = asked_
    kinds = {
        "by_expert": ("expert_id", busy.experts),
        "by_service": ("service_id", busy.services),
        "by_patient": ("patient_id", busy.patients),
    }
    span, earlier = (first, last), before(first, last)
    seen = busy.see("no-shows", f"from={first}&to={last}{query}")
    total, then = (rate(busy.of(APPOINTMENT, *one, **who)) for one in (span, earlier))
    assert (seen["total"], seen["previous"]) == (total, then)
    exact = [
        Fraction(one["no_show"], both)
        for one in (total, then)
        if (both := one["completed"] + one["no_show"])
    ]
    assert seen["trend_percent"] == (trend(*exact) if len(exact) == 2 else None)
    for name, (attribute, subjects) in kinds.items():
        if who:
            assert seen[name] is None
            continue
        lines = []
        for one in subjects:
            found = rate(busy.of(APPOINTMENT, *span, **{attribute: one}))
            past = rate(busy.of(APPOINTMENT, *earlier, **{attribute: one}))
            if found["no_show"]:
                extra = {"previous_percent": past["no_show_percent"]}
                lines.append((one, found | ({} if name == "by_patient" else extra)))
        lines.sort(key=lambda line: (-line[1]["no_show"], line[0]))
        assert [(line.pop("of")["id"], line) for line in seen[name]] == lines
    if not who:
        few = busy.see("no-shows", f"from={first}&to={last}&limit=1")
        assert [len(few[name]) <= 1 for name in kinds] == [True] * 3


def months_after(month: str, n: int) -> str:
    number = int(month[:4]) * 12 + int(month[5:]) - 1 + n
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


def check_retention(busy: Clinic, first: str, last: str) -> None:
    came: dict[str, set[str]] = defaultdict(set)
    for one in busy.items[APPOINTMENT]:
        if one["status"] == "completed":
            came[one["patient_id"]].add(one["local_date"][:7])
    cohorts: dict[str, list[set[str]]] = defaultdict(list)
    for visited in came.values():
        cohorts[min(visited)].append(visited)
    seen = busy.see("retention", f"from={first}&to={last}")
    months = [months_after(first, n) for n in range(24) if months_after(first, n) <= last]
    assert [cohort["month"] for cohort in seen["cohorts"]] == months
    for cohort in seen["cohorts"]:
        month, members = cohort["month"], cohorts[cohort["month"]]
        later = [months_after(month, n) for n in range(1, 40)]
        assert cohort["patients"] == len(members)
        assert [(one["months_later"], one["month"]) for one in cohort["later"]] == [
            (n + 1, one) for n, one in enumerate(later) if one <= "2027-03" and members
        ]
        for one in cohort["later"]:
            back = sum(one["month"] in visited for visited in members)
            assert (one["patients"], one["percent"]) == (back, share(back, len(members)))
    total = sum(len(cohorts[month]) for month in months)
    past = sum(len(cohorts[months_after(first, -n)]) for n in range(1, len(months) + 1))
    assert (seen["total"], seen["previous_total"]) == (total, past)
    assert seen["trend_percent"] == trend(total, past)


def check_profile(busy: Clinic, asked_: Question) -> None:
    first, last, query, who, group = asked_
    zone = ZoneInfo(busy.zone)

    def expected(low: str, high: str, **who: str) -> dict[str, Any]:
        views = sum(one["views"] for one in busy.of("PROFILE_VIEWS", low, high, **who))
        made = [
            datetime.fromisoformat(str(one["created_at"])).astimezone(zone).date().isoformat()
            for one in busy.scheduled("0", "9", **who)
        ]
        n = sum(low <= day <= high for day in made)
        return {"views": views, "made": n, "conversion_percent": share(n, views)}

    seen = busy.see("profile", f"from={first}&to={last}&group={group}{query}")
    now_, then = expected(first, last, **who), expected(*before(first, last), **who)
    assert (seen["total"], seen["previous"]) == (now_, then)
    assert seen["trend_percent"] == {
        name: trend(now_[name], then[name]) for name in ("views", "made")
    }
    assert [
        {name: value for name, value in point.items() if name not in ("from", "to")}
        for point in seen["points"]
    ] == [
        {"period": name, **expected(low, high, **who)}
        for name, (low, high) in cut(first, last, group).items()
    ]


GROUPS = ("day", "week", "month")
OF_SERVICES = (check_revenue, check_appointments, check_payment_status, check_funnel)
OF_EXPERTS_ALONE = (check_peak_hours, check_no_shows, check_profile)
OF_ALL = (check_services, check_top_patients)
MONTHS = (
    ("2026-01", "2027-02"),
    ("2026-12", "2026-12"),
    ("2025-03", "2027-02"),
    ("2027-01", "2027-06"),
)


@pytest.mark.parametrize("zone", ZONES)
def test_every_answer_is_what_the_items_come_to(clinic: Clinic, zone: str) -> None:
    """Counted once by the engine, which takes its time here; each kind of question meets all
    ranges, and all zones together meet each group of each kind of subject."""
    at = ZONES.index(zone)
    busy = Clinic(zone)
    busy.history(at)
    busy.looked_at(random.Random(at))
    busy.count()
    for n, (first, last) in enumerate(RANGES):
        subjects, group = whose(busy), GROUPS[(n + 2 * at) % 3]
        for check in OF_SERVICES:
            check(busy, Question(first, last, *subjects[(n + at) % 3], group))
        for check in OF_EXPERTS_ALONE:
            check(busy, Question(first, last, *subjects[(n + at) % 2], group))
        for check in OF_ALL:
            check(busy, Question(first, last, *subjects[0], group))
    for first_month, last_month in MONTHS:
        check_retention(busy, first_month, last_month)


# ---------------------------------------------------------------- what a range is


@pytest.mark.parametrize("group", list(Interval))
def test_periods_are_a_partition_of_the_range(group: Interval) -> None:
    for first, last in (*RANGES, ("2024-02-26", "2024-03-03"), ("2020-12-28", "2021-01-04")):
        low, high = date.fromisoformat(first), date.fromisoformat(last)
        found = [period for period, _ in periods.points(low, high, group, [])]
        inside = [
            day for one in found for day in days(one["first"].isoformat(), one["last"].isoformat())
        ]
        assert inside == list(days(first, last))
        assert [one["period"] for one in found] == list(cut(first, last, group))


def test_a_week_is_named_by_its_monday_and_cut_at_the_ends(clinic: Clinic) -> None:
    # The last week of 2026 goes on into 2027; the range begins on its Wednesday.
    for day in ("2026-12-29", "2026-12-30", "2027-01-03", "2027-01-04"):
        clinic.put(PAYMENT, local_date=day)
    clinic.count()
    seen = clinic.see("revenue", "from=2026-12-30&to=2027-01-05&group=week")
    assert [
        (one["period"], one["from"], one["to"], one["items"][0]["gross"]["amount"])
        for one in seen["points"]
    ] == [
        ("2026-12-28", "2026-12-30", "2027-01-03", 10_000),
        ("2027-01-04", "2027-01-04", "2027-01-05", 5000),
    ]


def test_the_period_before_is_as_long_and_ends_right_before(clinic: Clinic) -> None:
    for n, day in enumerate(("2026-11-26", "2026-11-27", "2026-11-30", "2026-12-01")):
        clinic.put(PAYMENT, local_date=day, captured=10**n, amount=10**n)
    clinic.count()
    [seen] = clinic.see("revenue", "from=2026-12-01&to=2026-12-04")["items"]
    assert (seen["previous"]["gross"]["amount"], seen["gross"]["amount"]) == (110, 1000)


def test_an_empty_practice(clinic: Clinic) -> None:
    clinic.count()
    span = "from=2026-12-01&to=2026-12-31"
    revenue = clinic.see("revenue", f"{span}&group=month")
    assert (revenue["items"], revenue["changed_at"]) == ([], None)
    assert revenue["points"] == [
        {"period": "2026-12", "from": "2026-12-01", "to": "2026-12-31", "items": []}
    ]
    assert clinic.see("funnel", span)["steps"]["paid_percent"] is None
    assert clinic.see("services", span)["items"] == []
    top = clinic.see("top-patients", span)
    # The currency of the practice itself.
    assert (top["items"], top["total"]["gross"]) == ([], {"amount": 0, "currency": "EUR"})
    assert clinic.see("no-shows", span)["total"]["no_show_percent"] is None
    assert clinic.see("peak-hours", span)["busiest_hour"] is None
    assert clinic.see("profile", span)["total"]["conversion_percent"] is None


def test_a_currency_that_is_only_in_the_period_before(clinic: Clinic) -> None:
    clinic.put(PAYMENT, local_date="2026-11-30", currency="KWD")
    clinic.put(PAYMENT, local_date="2026-12-02")
    clinic.count()
    seen = clinic.see("revenue", "from=2026-12-01&to=2026-12-03")
    trends = {one["currency"]: one["trend_percent"]["gross"] for one in seen["items"]}
    assert trends == {"EUR": None, "KWD": -100.0}
    assert all([one["currency"] for one in p["items"]] == ["EUR"] for p in seen["points"])


def test_a_services_payments_are_counted_in_each_currency(clinic: Clinic) -> None:
    service = clinic.services[2]
    clinic.put(PAYMENT, local_date="2026-12-02", service_id=service, captured=5001)
    clinic.put(PAYMENT, local_date="2026-12-03", service_id=service, captured=5000)
    clinic.put(REFUND, local_date="2026-12-03", service_id=service, currency="MXN")
    clinic.count()
    span = f"from=2026-12-01&to=2026-12-03&service_id={service}"
    euros, pesos = clinic.see("revenue", span)["items"]
    assert (euros["payments"], pesos["payments"], euros["earned"]) == (2, 0, None)
    [line] = clinic.see("services", "from=2026-12-01&to=2026-12-03")["items"]
    # Half to even.
    assert [one["average"] for one in line["items"]] == [{"amount": 5000, "currency": "EUR"}, None]
    clinic.put(PAYMENT, local_date="2026-12-03", service_id=service, currency="MXN")
    clinic.count()
    assert [one["payments"] for one in clinic.see("revenue", span)["items"]] == [2, 1]
    [line] = clinic.see("services", "from=2026-12-01&to=2026-12-03")["items"]
    assert [one["average"]["amount"] for one in line["items"]] == [5000, 5000]


def test_a_deleted_service_keeps_what_it_had(clinic: Clinic) -> None:
    gone, erased = clinic.services[0], ids.new_id("srv")
    clinic.put(APPOINTMENT, local_date="2026-12-02", service_id=gone)
    clinic.put(APPOINTMENT, local_date="2026-12-02", service_id=erased)
    key = clinic.world.tenant.item(SERVICE, gone)
    table.transact([table.update(key, set_={"deleted_at": "2026-12-03T00:00:00.000Z"})])
    clinic.count()
    seen = clinic.see("services", "from=2026-12-01&to=2026-12-31")["items"]
    lines = {one["service"]["id"]: (one["service"]["name"], one["deleted"]) for one in seen}
    assert lines == {gone: ("A", True), erased: (None, True)}
    span = f"from=2026-12-01&to=2026-12-31&service_id={gone}"
    assert clinic.see("appointments", span)["total"] == 1


def test_a_hold_that_never_became_an_appointment_is_none(clinic: Clinic) -> None:
    clinic.put(APPOINTMENT, local_date="2026-12-09")
    clinic.put(APPOINTMENT, local_date="2026-12-10")
    for status, came_from in [*[("expired", None)] * 3, *[("cancelled", "held")] * 2]:
        clinic.put(APPOINTMENT, local_date="2026-12-10", status=status, cancelled_from=came_from)
    clinic.count()
    span = "from=2026-12-10&to=2026-12-10"
    seen = clinic.see("appointments", span)
    assert (seen["total"], seen["previous"]["total"], seen["trend_percent"]) == (1, 1, 0.0)
    assert [point["total"] for point in seen["points"]] == [1]
    shares = {one["status"]: (one["count"], one["percent"]) for one in seen["distribution"]}
    assert (shares["confirmed"], shares["expired"]) == ((1, 100.0), (3, None))
    assert shares["cancelled"] == (0, 0.0)
    assert clinic.see("services", span)["total"]["cancelled"] == 0
    clinic.put(APPOINTMENT, local_date="2026-12-10", status="cancelled", cancelled_from="confirmed")
    clinic.count()
    seen = clinic.see("appointments", span)
    assert (seen["total"], seen["points"][0]["statuses"]["cancelled"]) == (2, 1)
    assert clinic.see("services", span)["total"]["cancelled"] == 1


def test_the_trend_of_a_rate_is_not_of_what_is_shown_of_it(clinic: Clinic) -> None:
    for day, completed, missed in (("2026-12-09", 22, 1), ("2026-12-10", 43, 2)):
        for status, times in (("completed", completed), ("no_show", missed)):
            for _ in range(times):
                clinic.put(APPOINTMENT, local_date=day, status=status)
    clinic.count()
    seen = clinic.see("no-shows", "from=2026-12-10&to=2026-12-10")
    # 1 of 23 is 4.35 %, 2 of 45 is 4.44 %: shown as 4.3 and 4.4, which would be 2.3 % more.
    rates = seen["previous"]["no_show_percent"], seen["total"]["no_show_percent"]
    assert (rates, seen["trend_percent"]) == ((4.3, 4.4), 2.2)


def test_a_patients_part_is_of_what_was_paid(clinic: Clinic) -> None:
    one, other = clinic.patients[:2]
    clinic.put(PAYMENT, local_date="2026-12-10", patient_id=one, captured=9100)
    clinic.put(REFUND, local_date="2026-12-10", patient_id=other, amount=9000)
    clinic.put(REFUND, local_date="2026-12-11", patient_id=other, amount=1)
    clinic.count()
    seen = clinic.see("top-patients", "from=2026-12-10&to=2026-12-10")["items"]
    assert [(line["patient"]["id"], line["percent"]) for line in seen] == [
        (one, 100.0),
        (other, 0.0),
    ]
    [line] = clinic.see("top-patients", "from=2026-12-11&to=2026-12-11")["items"]
    assert line["percent"] is None


# ---------------------------------------------------------------- who sees what

RANGED = (
    *("revenue", "appointments", "payment-status", "funnel", "peak-hours"),
    *("services", "top-patients", "no-shows", "profile"),
)
OF_EXPERTS = ("revenue", "appointments", "payment-status", "funnel", "peak-hours", "no-shows")
SPAN = "from=2026-12-01&to=2026-12-31"


def test_patients_are_refused_and_staff_sees_all(clinic: Clinic) -> None:
    clinic.count()
    for what in RANGED:
        for role in ("owner", "admin", "billing", "viewer"):
            assert clinic.ask(what, SPAN, role).status == 200, (what, role)
        assert clinic.ask(what, SPAN, "patient", clinic.patients[0]).status == 403
        assert clinic.ask(what, SPAN, "operator").status == 403
    months = "from=2026-01&to=2026-12"
    assert clinic.ask("retention", months, "viewer").status == 200
    assert clinic.ask("retention", months, "patient", clinic.patients[0]).status == 403
    assert clinic.ask("retention", months, "expert", clinic.experts[0]).status == 403


def test_an_expert_sees_their_own_alone(busy: Clinic) -> None:
    me, other = busy.experts
    span = f"from={RANGES[0][0]}&to={RANGES[0][1]}"
    for what in (*OF_EXPERTS, "profile"):
        own = busy.see(what, span, "expert", me)
        named = busy.see(what, f"{span}&expert_id={me}")
        assert own == named
        assert (own["expert_id"], own != busy.see(what, span)) == (me, True)
        assert busy.ask(what, f"{span}&expert_id={other}", "expert", me).status == 403
    for what in ("services", "top-patients"):
        assert busy.ask(what, span, "expert", me).status == 403
    for what in ("revenue", "appointments", "payment-status", "funnel"):
        query = f"{span}&service_id={busy.services[0]}"
        assert busy.ask(what, query, "expert", me).status == 403


def test_names_of_patients_only_for_who_may_read_them(busy: Clinic) -> None:
    span = f"from={RANGES[4][0]}&to={RANGES[4][1]}"
    for what, name, of in (
        ("top-patients", "items", "patient"),
        ("no-shows", "by_patient", "of"),
    ):
        full, short = (busy.see(what, span, role) for role in ("owner", "billing"))
        assert all(line[of]["name"] for line in full[name])
        assert [line[of] for line in short[name]] == [
            {"id": line[of]["id"], "name": None} for line in full[name]
        ]
        assert full[name]
    assert all(line["of"]["name"] for line in busy.see("no-shows", span, "billing")["by_expert"])


@pytest.mark.parametrize(
    ("missing", "refused"),
    [
        ("payments:all", {"revenue", "payment-status", "services", "top-patients"}),
        ("appointments:all", set(RANGED) - {"revenue", "payment-status", "top-patients"}),
        ("payments:read", {"revenue", "payment-status", "services", "top-patients"}),
        (
            "appointments:read",
            set(RANGED) - {"revenue", "payment-status", "services", "top-patients"},
        ),
    ],
)
def test_a_custom_role_sees_what_its_permissions_give(
    clinic: Clinic, missing: str, refused: set[str]
) -> None:
    granted = GRANTS[Role.VIEWER] - {missing}
    member = Membership(clinic.world.practice, Role.CUSTOM, "mem_1", "", granted)
    context = authorizer_context("person-1", [member], operator=False)
    answers = {
        what: call("analytics", "GET", f"/v1/analytics/{what}", context=context, query=SPAN).status
        for what in RANGED
    }
    assert {what for what, status in answers.items() if status == 403} == refused
    assert {status for what, status in answers.items() if what not in refused} == {200}


def test_visits_only_for_who_sees_all_appointments(clinic: Clinic) -> None:
    clinic.put(PAYMENT, local_date="2026-12-02")
    clinic.put(APPOINTMENT, local_date="2026-12-02", status="completed")
    clinic.count()
    money_alone = frozenset({"payments:read", "payments:all"})
    shown = []
    for granted in (money_alone, money_alone | {"appointments:read", "appointments:all"}):
        member = Membership(clinic.world.practice, Role.CUSTOM, "mem_1", "", granted)
        context = authorizer_context("person-1", [member], operator=False)
        path = "/v1/analytics/top-patients"
        [line] = call("analytics", "GET", path, context=context, query=SPAN).body["items"]
        shown.append(line["completed"])
    assert shown == [None, 1]


def test_another_practices_history_is_not_in_it(busy: Clinic) -> None:
    stranger = World()
    span = f"from={RANGES[4][0]}&to={RANGES[4][1]}"

    def ask(what: str, query: str) -> Answer:
        context = signed_in("owner", stranger.practice)
        return call("analytics", "GET", f"/v1/analytics/{what}", context=context, query=query)

    assert ask("revenue", span).body["items"] == []
    assert ask("appointments", span).body["total"] == 0
    for what in ("services", "top-patients"):
        assert ask(what, span).body["items"] == []
    assert ask("no-shows", span).body["by_patient"] == []
    assert ask("retention", "from=2026-01&to=2026-12").body["total"] == 0
    for what in OF_EXPERTS:
        assert ask(what, f"{span}&expert_id={busy.experts[0]}").status == 404
    for what in ("revenue", "appointments", "payment-status", "funnel"):
        assert ask(what, f"{span}&service_id={busy.services[0]}").status == 404


# ---------------------------------------------------------------- what is asked wrongly


@pytest.mark.parametrize(
    "query",
    [
        "",
        "from=2026-12-01",
        "from=2026-12-31&to=2026-12-01",
        "from=2025-12-01&to=2026-12-02",
        "from=0001-01-01&to=0001-01-02",
        "from=9999-12-30&to=9999-12-31",
        "from=2026-02-30&to=2026-03-01",
        "from=2026-12&to=2026-12",
        "from=1796688000&to=1796688000",
        "from=2026-12-01T00:00:00&to=2026-12-31",
        "from=20261201&to=20261231",
        f"{SPAN}&group=year",
        f"{SPAN}&expert_id=somebody",
        f"{SPAN}&limit=0",
        f"{SPAN}&limit=51",
        f"{SPAN}&currency=EURO",
    ],
)
def test_what_is_asked_wrongly_is_refused(clinic: Clinic, query: str) -> None:
    takes = {
        "group": ("revenue", "appointments", "profile"),
        "limit": ("services", "top-patients", "no-shows"),
        "currency": ("top-patients",),
        "expert_id": (*OF_EXPERTS, "profile"),
    }
    extra = query.rpartition("&")[2].partition("=")[0]
    for what in takes.get(extra, RANGED):
        answer = clinic.ask(what, query)
        assert (answer.status, answer.body["type"]) == (422, "urn:consulta:problem:invalid"), what


def test_a_filter_that_is_not_looked_at_is_refused(clinic: Clinic) -> None:
    clinic.count()
    expert, service = clinic.experts[0], clinic.services[0]
    unknown = {
        f"service_id={service}": set(RANGED)
        - {"revenue", "appointments", "payment-status", "funnel"},
        f"expert_id={expert}": {"services", "top-patients"},
        "after=appt_01JC0NS0TADEM0000000000000:1": set(RANGED),
        "first=2026-12-05": set(RANGED),
        "x=1": set(RANGED),
    }
    for extra, routes in unknown.items():
        name = extra.partition("=")[0]
        for what in RANGED:
            answer = clinic.ask(what, f"{SPAN}&{extra}")
            expected = (422, [f"query.{name}"]) if what in routes else (200, [])
            paths = [error["path"] for error in answer.body.get("errors", ())]
            assert (answer.status, paths) == expected, (what, extra)


def test_366_days_are_a_range_and_367_are_none(clinic: Clinic) -> None:
    clinic.count()
    for what in RANGED:
        assert clinic.ask(what, "from=2025-12-01&to=2026-12-01").status == 200
        refused = clinic.ask(what, "from=2025-12-01&to=2026-12-02")
        assert refused.body["errors"][0]["path"] == "query.to"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "from=2026-12&to=2026-11",
        "from=2024-12&to=2026-12",
        "from=2026-13&to=2026-13",
        "from=2026-00&to=2026-01",
        "from=2026-1&to=2026-2",
        "from=2026-12-01&to=2026-12-31",
        "from=0000-01&to=0000-02",
        "from=9999-11&to=9999-12",
    ],
)
def test_months_of_retention(clinic: Clinic, query: str) -> None:
    assert clinic.ask("retention", query).status == 422


def test_an_expert_or_a_service_that_is_not_there(clinic: Clinic) -> None:
    expert, service = ids.new_id("exp"), ids.new_id("srv")
    for what in (*OF_EXPERTS, "profile"):
        assert clinic.ask(what, f"{SPAN}&expert_id={expert}").status == 404
    for what in ("revenue", "appointments", "payment-status", "funnel"):
        assert clinic.ask(what, f"{SPAN}&service_id={service}").status == 404
        both = f"{SPAN}&expert_id={clinic.experts[0]}&service_id={clinic.services[0]}"
        answer = clinic.ask(what, both)
        assert (answer.status, answer.body["errors"][0]["path"]) == (422, "query.service_id")


@pytest.mark.parametrize(
    ("entity", "values"),
    [
        (APPOINTMENT, {"status": "completed"}),
        (APPOINTMENT, {"status": "no_show"}),
        (PAYMENT, {}),
        (REFUND, {}),
    ],
    ids=["completed", "no-shows", "payments", "refunds"],
)
def test_more_than_can_be_read_is_refused_before_it_is_read(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, tables: Any, entity: str, values: Item
) -> None:
    monkeypatch.setattr(asked, "MAX_HAPPENINGS", 2)
    for day in ("2026-12-01", "2026-12-15"):
        clinic.put(entity, local_date=day, **values)
    clinic.count()
    assert clinic.ask("top-patients", SPAN).status == 200
    clinic.put(entity, local_date="2026-12-31", **values)
    clinic.count()
    for what in ("top-patients", "no-shows"):
        partitions: list[str] = []

        def note(params: dict[str, Any], seen: list[str] = partitions, **_: Any) -> None:
            seen.append(params["ExpressionAttributeValues"][":pk"]["S"])

        tables.meta.events.register("provide-client-params.dynamodb.Query", note)
        answer = clinic.ask(what, SPAN)
        tables.meta.events.unregister("provide-client-params.dynamodb.Query", note)
        assert (answer.status, answer.body["errors"][0]["path"]) == (422, "query.to")
        assert not [one for one in partitions if "#PATIENTS#" in one]
        assert clinic.ask(what, "from=2026-12-01&to=2026-12-30").status == 200


# ---------------------------------------------------------------- caches, faults, completeness


def ask_again(clinic: Clinic, what: str, query: str, etag: str) -> Answer:
    context = signed_in("owner", clinic.world.practice)
    headers = {"If-None-Match": etag}
    path = f"/v1/analytics/{what}"
    return call("analytics", "GET", path, context=context, query=query, headers=headers)


def test_an_answer_that_is_known_is_not_sent_again(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.put(PAYMENT, local_date="2026-12-02")
    clinic.count()
    etags = {what: clinic.ask(what, SPAN).headers["ETag"] for what in RANGED}
    monkeypatch.setattr(asked, "now", lambda: TODAY + timedelta(minutes=5))
    for what, etag in etags.items():
        # A CDN that compresses makes it a weak one.
        for known in (etag, f"W/{etag}", f'"other", {etag}'):
            answer = ask_again(clinic, what, SPAN, known)
            assert (answer.status, answer.body, answer.headers["ETag"]) == (304, None, etag)
        assert ask_again(clinic, what, SPAN, '"other"').status == 200
        assert ask_again(clinic, what, "from=2026-12-01&to=2026-12-30", etag).status == 200
    clinic.put(PAYMENT, local_date="2026-12-03")
    clinic.count()
    assert ask_again(clinic, "revenue", SPAN, etags["revenue"]).status == 200


@pytest.mark.parametrize("operation", ["Query", "BatchGetItem"])
@pytest.mark.parametrize("fault", [Faults.throttled_call, Faults.lost_call])
def test_a_table_that_fails_is_503_and_to_be_tried_again(
    clinic: Clinic, tables: Any, operation: str, fault: Any
) -> None:
    clinic.put(PAYMENT, local_date="2026-12-02")
    clinic.count()
    for what, query in [*((one, SPAN) for one in RANGED), ("retention", "from=2026-01&to=2026-12")]:
        with Faults(tables) as faults:
            faults.next(operation, fault)
            answer = clinic.ask(what, query)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1"), what
        assert answer.body["type"] == "urn:consulta:problem:unavailable"
        assert clinic.ask(what, query).status == 200


def test_a_table_that_does_not_answer_is_503_before_the_function_ends(
    clinic: Clinic, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "READ_S", 0.3)
    for what, operation in (("revenue", "Query"), ("top-patients", "GetItem")):
        over, ended = threading.Event(), threading.Event()

        def hang(over: threading.Event = over, ended: threading.Event = ended, **_: Any) -> None:
            over.wait(10)
            ended.set()
            raise ReadTimeoutError(endpoint_url="https://dynamodb.example")

        tables.meta.events.register(f"before-call.dynamodb.{operation}", hang)
        answer = clinic.ask(what, SPAN)
        # Answered while the calls still hang: nobody waits for them.
        is_over = ended.is_set()
        tables.meta.events.unregister(f"before-call.dynamodb.{operation}", hang)
        over.set()
        assert not is_over, what
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1"), what


@pytest.mark.parametrize(
    ("done", "whole"),
    [
        (2, {"revenue", "peak-hours"}),
        # Of what is side by side, some figures are of the fourth generation.
        (3, set(RANGED) - {"services", "top-patients", "no-shows"}),
    ],
)
def test_figures_that_are_still_counted_say_so(clinic: Clinic, done: int, whole: set[str]) -> None:
    clinic.put(PAYMENT, local_date="2026-12-02")
    clinic.count()
    key = AggregateKey(PRACTICE, clinic.world.practice, figures.WALK)
    came_to = table.update(
        figures_key(clinic.world.tenant, key), set_={"done": done}, table=aggregates_table()
    )
    table.transact([came_to])
    assert {what for what in RANGED if clinic.ask(what, SPAN).body["complete"]} == whole
    # A service has days only since then; of one expert the rate is older than that.
    service = f"{SPAN}&service_id={clinic.services[0]}"
    assert clinic.ask("revenue", service).body["complete"] is False
    assert clinic.ask("appointments", service).body["complete"] is False
    expert = f"{SPAN}&expert_id={clinic.experts[0]}"
    assert clinic.ask("no-shows", expert).body["complete"] is True


def test_changed_at_is_when_one_of_them_changed(clinic: Clinic) -> None:
    clinic.put(PAYMENT, local_date="2026-12-02")
    clinic.count()
    row = figures_key(
        clinic.world.tenant, AggregateKey(PRACTICE, clinic.world.practice, "M#2026-12")
    )
    at = "2026-12-24T10:00:00.000Z"
    table.transact([table.update(row, set_={"updated_at": at}, table=aggregates_table())])
    seen = clinic.see("funnel", SPAN)
    assert (seen["changed_at"], seen["as_of"]) == ("2026-12-24T10:00:00Z", "2027-03-10T12:00:00Z")


@pytest.mark.parametrize(
    ("what", "subject", "at"),
    [("top-patients", PATIENTS, "patients"), ("services", SERVICES, "services")],
)
def test_changed_at_is_also_of_those_side_by_side(
    clinic: Clinic, what: str, subject: str, at: str
) -> None:
    clinic.put(PAYMENT, local_date="2026-12-02")
    clinic.count()
    member = getattr(clinic, at)[0]
    key = AggregateKey(subject, clinic.world.practice, f"M#2026-12#{member}")
    late = {"updated_at": "2100-01-01T00:00:00.000Z"}
    row = figures_key(clinic.world.tenant, key)
    table.transact([table.update(row, set_=late, table=aggregates_table())])
    assert clinic.see(what, SPAN)["changed_at"] == "2100-01-01T00:00:00Z"


def test_of_figures_counted_in_part_no_count_is_negative(clinic: Clinic) -> None:
    clinic.put(APPOINTMENT, local_date="2026-12-02")
    clinic.count()
    key = AggregateKey(PRACTICE, clinic.world.practice, "M#2026-12")
    row = figures_key(clinic.world.tenant, key)
    table.transact([table.update(row, set_={"scheduled": 0}, table=aggregates_table())])
    seen = clinic.see("appointments", f"{SPAN}&group=month")
    assert (seen["total"], seen["points"][0]["statuses"]["cancelled"]) == (1, 0)


# ---------------------------------------------------------------- what it costs

QUERIES = {
    "revenue": 4,
    "appointments": 4,
    "payment-status": 6,
    "funnel": 6,
    "peak-hours": 4,
    "services": 6,
    "top-patients": 9,
    "no-shows": 21,
    "profile": 4,
}


def test_as_many_queries_whatever_the_history(busy: Clinic, tables: Any) -> None:
    span = "from=2026-11-15&to=2027-02-10"

    def calls() -> dict[str, tuple[int, int]]:
        found = {}
        for what in QUERIES:
            with Faults(tables) as faults:
                assert busy.ask(what, span).status == 200
                found[what] = (faults.calls["Query"], faults.calls["BatchGetItem"])
        return found

    few = calls()
    busy.history(12, size=20)
    busy.count()
    assert calls() == few
    assert {what: queries for what, (queries, _) in few.items()} == QUERIES
    # Whether figures are complete, and names.
    assert max(batches for _, batches in few.values()) == 2


def test_reads_that_wait_for_nothing_are_under_way_at_once(busy: Clinic, tables: Any) -> None:
    """Of no-shows' queries all but those of patients, which wait for the limit."""
    together = threading.Barrier(QUERIES["no-shows"] - 3, timeout=5)

    def wait(params: dict[str, Any], **_: Any) -> None:
        if "#PATIENTS#" not in params["ExpressionAttributeValues"][":pk"]["S"]:
            together.wait()

    tables.meta.events.register("provide-client-params.dynamodb.Query", wait)
    answer = busy.ask("no-shows", "from=2026-11-15&to=2027-02-10")
    tables.meta.events.unregister("provide-client-params.dynamodb.Query", wait)
    assert answer.status == 200
