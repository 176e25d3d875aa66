"""Days, weeks and months on whose clocks; and how many of each status there are."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from consulta.aggregates.catalog import AggregateKey, aggregates_table, figures_key
from consulta.core import table
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.keys import Key
from consulta.core.time import to_epoch
from consulta.dashboards import ranges
from consulta.people.records import PRACTICE
from consulta.scheduling import calendar_view
from consulta.scheduling.calendar_view import days_of
from consulta.scheduling.records import (
    CLOSURES,
    SERVICE,
    ClosuresItem,
    ServiceItem,
    Status,
)
from consulta.scheduling.schema.calendar import View
from tests.faults import Faults
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import World, tomorrow

BY = Actor("test", "request-1")


@pytest.fixture
def world(tables: Any) -> World:
    return World()


def ask(
    world: World,
    query: str,
    *,
    function: str = "calendar",
    path: str = "/v1/calendar",
    role: str = "owner",
    subject: str = "",
) -> Answer:
    context = signed_in(role, world.practice, subject)
    return call(function, "GET", path, context=context, query=query)


def view(world: World, kind: str, day: date, more: str = "", **caller: str) -> Answer:
    return ask(world, f"view={kind}&date={day}{more}", **caller)


def begun(answer: Answer) -> dict[str, list[str]]:
    """Day → the starts on it, of days that have some."""
    assert answer.status == 200, answer.body
    return {
        day["date"]: [one["start"] for one in day["appointments"]]
        for day in answer.body["days"]
        if day["appointments"]
    }


# ---------------------------------------------------------------- days


@pytest.mark.parametrize(
    ("kind", "day", "first", "count"),
    [
        ("day", "2026-11-21", "2026-11-21", 1),
        ("week", "2026-11-21", "2026-11-16", 7),
        ("week", "2026-11-16", "2026-11-16", 7),
        ("week", "2027-01-01", "2026-12-28", 7),
        ("month", "2026-11-30", "2026-11-01", 30),
        ("month", "2028-02-10", "2028-02-01", 29),
    ],
)
def test_the_days_of_a_view(kind: str, day: str, first: str, count: int) -> None:
    found = days_of(View(kind), date.fromisoformat(day))
    assert (found[0].isoformat(), len(found)) == (first, count)


def test_an_appointment_is_on_the_day_of_the_clocks_that_are_asked_for(world: World) -> None:
    expert = world.expert()
    service = world.service(expert, price=0)
    late = tomorrow(23, 30, days=3)
    made = world.book(service, expert, world.patient(), late)
    day = late.date()
    here = view(world, "day", day, "&zone=UTC")
    assert begun(here) == {day.isoformat(): [f"{day}T23:30:00Z"]}
    assert begun(view(world, "day", day, "&zone=Asia/Kolkata")) == {}
    there = view(world, "day", day + timedelta(days=1), "&zone=Asia/Kolkata")
    [entry] = there.body["days"][0]["appointments"]
    assert entry["id"] == made.id
    assert entry["start"] == f"{day + timedelta(days=1)}T05:00:00+05:30"
    assert there.body["zone"] == "Asia/Kolkata"
    # Without one, the practice's.
    assert view(world, "day", day).body["zone"] == "Europe/Lisbon"


def test_a_day_of_25_hours_has_all_of_them(world: World) -> None:
    """Lisbon puts its clocks back at 2 o'clock on the last Sunday of October."""
    expert, zone = world.expert(), ZoneInfo("Europe/Lisbon")
    service = world.service(expert, price=0, minutes=30)
    year = datetime.now(UTC).year
    for found in (year, year + 1):
        last = date(found, 10, 31)
        sunday = last - timedelta(days=(last.weekday() + 1) % 7)
        midnight = datetime(sunday.year, 10, sunday.day, tzinfo=zone).astimezone(UTC)
        if midnight > datetime.now(UTC) + timedelta(days=2):
            break
    inside = [midnight, midnight + timedelta(hours=24, minutes=30)]
    for start in [*inside, midnight + timedelta(hours=25)]:
        world.book(service, expert, world.patient(), start)
    [starts] = begun(view(world, "day", sunday)).values()
    assert [datetime.fromisoformat(one) for one in starts] == inside


def test_what_a_calendar_shows_of_an_appointment(world: World) -> None:
    expert, patient = world.expert(), world.patient()
    service = world.service(expert, price=0)
    item = table.get(ServiceItem, world.tenant.item(SERVICE, service))
    assert item
    table.transact([table.change(item, BY, set_={"colour": "#1f6feb"})])
    start = tomorrow(days=3)
    made = world.book(service, expert, patient, start)
    expected = {
        "id": made.id,
        "start": start.isoformat().replace("+00:00", "Z"),
        "end": (start + timedelta(hours=1)).isoformat().replace("+00:00", "Z"),
        "status": "confirmed",
        "payment_status": "not_required",
        "expert": {"id": expert, "name": "Helena Duarte"},
        "service": {"id": service, "name": "First consultation"},
        "patient": {"id": patient, "name": "Inês Carvalho"},
        "colour": "#1f6feb",
    }
    asked = view(world, "day", start.date(), "&zone=UTC")
    assert asked.body["days"][0]["appointments"] == [expected]
    billing = view(world, "day", start.date(), "&zone=UTC", role="billing")
    [entry] = billing.body["days"][0]["appointments"]
    assert entry["patient"] == {"id": patient, "name": None}


def test_filters_and_whose_calendar_it_is(world: World) -> None:
    experts = [world.expert(), world.expert()]
    services = [world.service(*experts, price=0) for _ in range(2)]
    patients = [world.patient(), world.patient()]
    start = tomorrow(days=3)
    ids = [
        world.book(services[n % 2], experts[n // 2], patients[n % 2], start + timedelta(hours=n)).id
        for n in range(4)
    ]

    def seen(more: str = "", **caller: str) -> list[str]:
        answer = view(world, "week", start.date(), more, **caller)
        assert answer.status == 200, answer.body
        return [one["id"] for day in answer.body["days"] for one in day["appointments"]]

    assert seen() == ids
    assert seen(f"&expert_id={experts[1]}") == ids[2:]
    assert seen(f"&service_id={services[0]}") == ids[::2]
    assert seen(f"&patient_id={patients[1]}&expert_id={experts[0]}") == [ids[1]]
    assert seen("&status=cancelled") == []
    assert seen(role="expert", subject=experts[0]) == ids[:2]
    assert seen(role="patient", subject=patients[0]) == ids[::2]
    for caller, more in (
        ({"role": "patient", "subject": patients[0]}, f"&patient_id={patients[1]}"),
        ({"role": "expert", "subject": experts[0]}, f"&expert_id={experts[1]}"),
    ):
        assert view(world, "week", start.date(), more, **caller).status == 403
    assert begun(view(World(), "week", start.date())) == {}


def test_a_page_ends_and_the_next_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar_view, "MAX_ENTRIES", 2)
    expert = world.expert()
    service = world.service(expert, price=0)
    starts = [tomorrow(8 + n, days=3) for n in range(5)]
    for start in starts:
        world.book(service, expert, world.patient(), start)
    day, found, more, pages = starts[0].date(), [], "&zone=UTC", 0
    while True:
        answer = view(world, "day", day, more)
        found += [one for ones in begun(answer).values() for one in ones]
        pages += 1
        if answer.body["next_cursor"] is None:
            break
        more = f"&zone=UTC&cursor={answer.body['next_cursor']}"
    assert [datetime.fromisoformat(one) for one in found] == starts
    assert pages == 3
    foreign = view(world, "week", day, more)
    assert (foreign.status, foreign.body["errors"][0]["path"]) == (400, "query.cursor")


def test_a_month_is_a_fixed_number_of_reads(world: World, tables: Any) -> None:
    expert = world.expert()
    service = world.service(expert, price=0)
    for n in range(12):
        world.book(service, expert, world.patient(), tomorrow(8 + n, days=3))
    day = tomorrow(days=3).date()
    with Faults(tables) as faults:
        view(world, "month", day, f"&expert_id={expert}")
        assert dict(faults.calls) == {"BatchGetItem": 3, "Query": 1}


# ---------------------------------------------------------------- elsewhere, and closed


def elsewhere(world: World, expert: str, *times: tuple[datetime, datetime]) -> None:
    """As the import of the expert's own calendar writes them, on each UTC day that they touch."""
    for number, (start, end) in enumerate(times):
        text = f"{to_epoch(start)},{to_epoch(end)},0,0,0"
        for day in {start.date(), end.date()}:
            key = world.tenant.external(expert, day)
            row = table.get_raw(key)
            values = {f"event{number}": text, "version": 1 + int(row is not None)}
            table.transact([table.update(key, set_=values)])


def test_what_an_expert_has_elsewhere_is_busy_and_nothing_more(world: World) -> None:
    expert = world.expert()
    day = tomorrow(days=3).date()
    elsewhere(
        world,
        expert,
        (tomorrow(9, days=3), tomorrow(10, days=3)),
        (tomorrow(22, days=3), tomorrow(3, days=4)),
    )
    found = view(world, "week", day, f"&zone=UTC&expert_id={expert}")
    busy = {one["date"]: one["busy"] for one in found.body["days"] if one["busy"]}
    after = day + timedelta(days=1)
    expected = {
        f"{day}": [
            {"start": f"{day}T09:00:00Z", "end": f"{day}T10:00:00Z"},
            {"start": f"{day}T22:00:00Z", "end": f"{after}T00:00:00Z"},
        ],
        f"{after}": [{"start": f"{after}T00:00:00Z", "end": f"{after}T03:00:00Z"}],
    }
    assert {one: busy[one] for one in busy if one in expected} == busy
    assert busy[f"{day}"] == expected[f"{day}"]
    own = view(world, "day", day, "&zone=UTC", role="expert", subject=expert)
    assert own.body["days"][0]["busy"] == expected[f"{day}"]
    patient = view(
        world, "day", day, f"&expert_id={expert}", role="patient", subject=world.patient()
    )
    assert patient.body["days"][0]["busy"] == []
    assert view(world, "day", day).body["days"][0]["busy"] == []


def test_a_day_off_says_why(world: World) -> None:
    day = date(2027, 3, 3)
    vacation = {"from": "2027-03-04", "to": "2027-03-05", "message": "At the sea"}
    weekly = {
        name: [{"from": "09:00", "to": "17:00"}]
        for name in ("monday", "tuesday", "wednesday", "thursday", "friday")
    }
    expert = world.expert(weekly=weekly, vacations=[vacation])
    key = world.tenant.sub(PRACTICE, world.practice, CLOSURES)
    closed = [{"from": "2027-03-03", "to": "2027-03-03", "name": "Inventory"}]
    table.transact([table.put_new(ClosuresItem.create(key, CLOSURES, BY, closures=closed))])
    found = view(world, "week", day, f"&expert_id={expert}").body["days"]
    assert [one["closed"] for one in found] == [
        None,
        None,
        {"reason": "closed", "message": "Inventory"},
        {"reason": "vacation", "message": "At the sea"},
        {"reason": "vacation", "message": "At the sea"},
        {"reason": "no_hours", "message": ""},
        {"reason": "no_hours", "message": ""},
    ]
    every = view(world, "week", day).body["days"]
    assert [bool(one["closed"]) for one in every] == [False, False, True] + [False] * 4


@pytest.mark.parametrize(
    ("query", "status", "path"),
    [
        ("date=2026-11-21", 422, "query.view"),
        ("view=year&date=2026-11-21", 422, "query.view"),
        ("view=day", 422, "query.date"),
        ("view=day&date=2026-02-30", 422, "query.date"),
        ("view=day&date=0001-01-01", 422, "query.date"),
        ("view=month&date=9999-12-31", 422, "query.date"),
        ("view=day&date=2026-11-21&zone=Mars/Olympus", 422, "query.zone"),
        ("view=day&date=2026-11-21&expert_id=x", 422, "query.expert_id"),
        ("view=day&date=2026-11-21&status=lost", 422, "query.status"),
        ("view=day&date=2026-11-21&cursor=abc", 400, "query.cursor"),
    ],
)
def test_a_calendar_that_cannot_be_answered_says_why(
    world: World, query: str, status: int, path: str
) -> None:
    answer = ask(world, query)
    assert (answer.status, [one["path"] for one in answer.body["errors"]]) == (status, [path])


def test_an_expert_who_is_not_there(world: World) -> None:
    for expert in (new_id("exp"), World().expert()):
        assert view(world, "day", date(2026, 11, 21), f"&expert_id={expert}").status == 404
    context = {"problem": "missing"}
    query = "view=day&date=2026-11-21"
    assert call("calendar", "GET", "/v1/calendar", context=context, query=query).status == 401


# ---------------------------------------------------------------- statistics


def figure(world: World, subject: tuple[str, str], period: str, **counts: int) -> None:
    key: Key = figures_key(world.tenant, AggregateKey(*subject, period))
    row = {f"status.{name}": count for name, count in counts.items()}
    table.transact(
        [
            table.put_values(
                key, {**row, "updated_at": "2026-11-21T09:00:00.000Z"}, table=aggregates_table()
            )
        ]
    )


def count(world: World, query: str, role: str = "owner", subject: str = "") -> Answer:
    return ask(
        world,
        query,
        function="appointments",
        path="/v1/appointments/statistics",
        role=role,
        subject=subject,
    )


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-03-05", "2026-03-20", [(False, "2026-03-05", "2026-03-20")]),
        ("2026-03-01", "2026-03-31", [(True, "2026-03-01", "2026-03-31")]),
        ("2026-03-01", "2026-03-30", [(False, "2026-03-01", "2026-03-30")]),
        ("2026-03-31", "2026-03-31", [(False, "2026-03-31", "2026-03-31")]),
        (
            "2026-01-15",
            "2026-04-02",
            [
                (False, "2026-01-15", "2026-01-31"),
                (True, "2026-02-01", "2026-03-31"),
                (False, "2026-04-01", "2026-04-02"),
            ],
        ),
        ("2026-01-15", "2026-02-10", [(False, "2026-01-15", "2026-02-10")]),
        (
            "2026-11-30",
            "2026-12-31",
            [(False, "2026-11-30", "2026-11-30"), (True, "2026-12-01", "2026-12-31")],
        ),
        ("2026-01-01", "2026-12-31", [(True, "2026-01-01", "2026-12-31")]),
    ],
)
def test_a_range_in_whole_months_and_days(
    first: str, last: str, expected: list[tuple[bool, str, str]]
) -> None:
    found = list(ranges.parts(date.fromisoformat(first), date.fromisoformat(last)))
    assert [(months, low.isoformat(), high.isoformat()) for months, low, high in found] == expected
    if not expected[0][0] or len(expected) > 1:
        days = sum((high - low).days + 1 for _, low, high in found)
        assert days == (date.fromisoformat(last) - date.fromisoformat(first)).days + 1


def test_statistics_are_read_from_figures(world: World, tables: Any) -> None:
    practice, expert = ("PRACTICE", world.practice), world.expert()
    figure(world, practice, "D#2026-01-31", completed=1)
    figure(world, practice, "M#2026-01", completed=100)
    figure(world, practice, "M#2026-02", completed=2, no_show=3)
    figure(world, practice, "D#2026-02-03", completed=100)
    figure(world, practice, "D#2026-03-01", confirmed=4)
    figure(world, practice, "D#2026-03-02", confirmed=100)
    figure(world, ("EXPERT", expert), "M#2026-02", completed=7)
    with Faults(tables) as faults:
        found = count(world, "from=2026-01-31&to=2026-03-01")
        assert dict(faults.calls) == {"Query": 3}
    assert found.body["statuses"] == {
        **{str(status): 0 for status in Status},
        "completed": 3,
        "no_show": 3,
        "confirmed": 4,
    }
    assert (found.body["total"], found.body["changed_at"]) == (10, "2026-11-21T09:00:00Z")
    assert (found.body["from"], found.body["to"]) == ("2026-01-31", "2026-03-01")
    assert datetime.fromisoformat(found.body["as_of"]) <= datetime.now(UTC)
    assert found.headers["Cache-Control"] == "private, max-age=60"
    one = count(world, f"from=2026-02-01&to=2026-02-28&expert_id={expert}")
    assert (one.body["total"], one.body["expert_id"]) == (7, expert)
    own = count(world, "from=2026-02-01&to=2026-02-28", "expert", expert)
    assert own.body["total"] == 7


def test_whose_statistics(world: World) -> None:
    expert = world.expert()
    query = "from=2026-02-01&to=2026-02-28"
    assert count(world, query, "patient", world.patient()).status == 403
    other = f"{query}&expert_id={world.expert()}"
    assert count(world, other, "expert", expert).status == 403
    assert count(world, f"{query}&expert_id={World().expert()}").status == 404
    for wrong, path in (
        ("from=2026-02-01", "query.to"),
        ("to=2026-02-01", "query.from"),
        ("from=2026-02-02&to=2026-02-01", "query.to"),
        ("from=2026-01-01&to=2027-01-02", "query.to"),
        ("from=0001-01-01&to=0001-01-02", "query.to"),
        ("from=2026-02-30&to=2026-03-01", "query.from"),
        (f"{query}&expert_id=x", "query.expert_id"),
    ):
        answer = count(world, wrong)
        assert (answer.status, answer.body["errors"][0]["path"]) == (422, path), wrong
    assert count(world, "from=2026-01-01&to=2027-01-01").status == 200


def test_a_calendar_says_nothing_that_a_patient_may_not_know(world: World) -> None:
    """A patient's calendar has their own appointments only, whatever else there is that day."""
    expert, me = world.expert(), world.patient()
    service = world.service(expert, price=0)
    start = tomorrow(days=3)
    world.book(service, expert, me, start)
    world.book(service, expert, world.patient("Zoe Antunes"), start + timedelta(hours=2))
    seen = view(world, "week", start.date(), role="patient", subject=me)
    assert "Zoe" not in json.dumps(seen.body)
    assert sum(len(ones) for ones in begun(seen).values()) == 1
