"""Appointments by a patient's name: several lists as one, page by page, within a read budget."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from consulta.core import table
from consulta.core.cursor import encode
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.time import to_text
from consulta.people import patients
from consulta.people.schema.patients import PatientIn
from consulta.scheduling import listing
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.searching import AppointmentSearch
from tests.faults import Faults
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import World, tomorrow

BY = Actor("setup", "request-0")


class Found:
    """Patients with appointments of their own, spread over each other's."""

    def __init__(self) -> None:
        self.world = World()
        self.experts = [self.world.expert(), self.world.expert()]
        self.service = self.world.service(*self.experts)
        self.phones = iter(range(100, 1000))

    def patient(self, name: str) -> str:
        body = PatientIn(name=name, phone=f"+351912345{next(self.phones)}")
        return patients.create(self.world.owner, body, None).id

    def appointments(self, patient: str, *hours: int) -> list[str]:
        made = [self._item(patient, hour) for hour in hours]
        for begin in range(0, len(made), 100):
            table.transact([table.put_new(item) for item in made[begin : begin + 100]])
        return [item.item_id for item in made]

    def _item(self, patient: str, hour: int) -> AppointmentItem:
        tenant, start = self.world.tenant, tomorrow(0) + timedelta(hours=hour)
        appointment_id, expert = new_id("appt"), self.experts[hour % 2]
        place = f"{to_text(start)}#{appointment_id}"
        return AppointmentItem.create(
            tenant.item(APPOINTMENT, appointment_id),
            APPOINTMENT,
            BY,
            service_id=self.service,
            expert_id=expert,
            patient_id=patient,
            status="confirmed" if hour % 3 else "completed",
            payment_status="unpaid",
            start=start,
            end=start + timedelta(hours=1),
            buffer_before_s=0,
            buffer_after_s=0,
            zone="Europe/Lisbon",
            local_date=str(start.date()),
            local_hour=10,
            price=5000,
            currency="EUR",
            order_id=new_id("ord"),
            policy={"version": 1},
            l1pk=tenant.listing_by(APPOINTMENT, "MONTH", to_text(start)[:7]),
            l1sk=place,
            l2pk=tenant.listing_by(APPOINTMENT, "EXPERT", expert),
            l2sk=place,
            l3pk=tenant.listing_by(APPOINTMENT, "PATIENT", patient),
            l3sk=place,
            walkpk=tenant.listing(APPOINTMENT),
            walksk=appointment_id,
        )

    def ask(self, body: dict[str, Any], role: str = "owner", subject: str = "") -> Answer:
        context = signed_in(role, self.world.practice, subject)
        return call("appointments", "POST", "/v1/appointments/search", body, context=context)

    def walk(self, body: dict[str, Any], **caller: str) -> list[str]:
        """The ids of all pages; none is longer than asked for, and the last one comes."""
        ids: list[str] = []
        cursor: str | None = None
        for _ in range(100):
            more = {"cursor": cursor} if cursor else {}
            answer = self.ask({**body, **more}, **caller)
            assert answer.status == 200, answer.body
            assert len(answer.body["items"]) <= body.get("limit", 20)
            ids += [one["id"] for one in answer.body["items"]]
            cursor = answer.body["next_cursor"]
            if cursor is None:
                return ids
        raise AssertionError("the search does not end")


@pytest.fixture
def found(tables: Any) -> Found:
    return Found()


def test_several_patients_are_one_list_by_start(found: Found) -> None:
    ines, ingrid = found.patient("Inês Carvalho"), found.patient("Ingrid Böhm")
    other = found.patient("Olga Inácio")
    by_hour = dict(zip((1, 4, 7, 9), found.appointments(ines, 1, 4, 7, 9), strict=True))
    by_hour |= dict(zip((2, 3, 8), found.appointments(ingrid, 2, 3, 8), strict=True))
    found.appointments(other, 5, 6)
    ordered = [by_hour[hour] for hour in sorted(by_hour)]
    for limit in (1, 2, 3, 50):
        assert found.walk({"patient": "in", "limit": limit}) == ordered
        backwards = found.walk({"patient": "in", "limit": limit, "sort": "-start"})
        assert backwards == ordered[::-1]
    # Case and accents do not matter; a whole name does.
    assert found.walk({"patient": "INES"}) == [by_hour[hour] for hour in (1, 4, 7, 9)]
    assert found.walk({"patient": "ines carvalhal"}) == []
    assert found.walk({"patient": ingrid}) == [by_hour[hour] for hour in (2, 3, 8)]
    assert found.walk({"patient": new_id("pat")}) == []


def test_two_at_the_same_instant_are_both_there_once(found: Found) -> None:
    ids = []
    for number in range(4):
        ids += found.appointments(found.patient(f"Same Name {number}"), 5)
    for sort, limit in product(("start", "-start"), (1, 2, 3)):
        seen = found.walk({"patient": "same", "limit": limit, "sort": sort})
        assert sorted(seen) == sorted(ids)


def test_filters_and_a_range(found: Found) -> None:
    ines, ingrid = found.patient("Inês Carvalho"), found.patient("Ingrid Böhm")
    ids = dict(zip(range(0, 20, 2), found.appointments(ines, *range(0, 20, 2)), strict=True))
    ids |= dict(zip(range(1, 20, 2), found.appointments(ingrid, *range(1, 20, 2)), strict=True))
    expected = {
        "status": ("completed", [hour for hour in range(20) if hour % 3 == 0]),
        "expert_id": (found.experts[0], list(range(0, 20, 2))),
        "service_id": (new_id("svc"), []),
        "payment_status": ("paid", []),
    }
    for name, (value, hours) in expected.items():
        for limit in (1, 4, 50):
            seen = found.walk({"patient": "in", name: value, "limit": limit})
            assert seen == [ids[hour] for hour in hours], (name, limit)
    day = tomorrow(0)
    low, high = (day + timedelta(hours=hour) for hour in (3, 6))
    asked = {"patient": "in", "from": low.isoformat(), "to": high.isoformat()}
    for sort in ("start", "-start"):
        seen = found.walk({**asked, "limit": 1, "sort": sort})
        assert sorted(seen) == sorted(ids[hour] for hour in (3, 4, 5))


def test_a_name_that_many_have_says_so(found: Found) -> None:
    ids = []
    for number in range(listing.MAX_PATIENTS + 1):
        ids += found.appointments(found.patient(f"Maria {number:02d}"), number)
    answer = found.ask({"patient": "maria", "limit": 50})
    assert answer.body["truncated"] is True
    assert [one["id"] for one in answer.body["items"]] == ids[:-1]
    assert found.ask({"patient": "maria 0"}).body["truncated"] is False


def test_no_page_reads_more_than_its_budget(
    found: Found, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing matches, and yet no page reads all; the cursor brings one to the end."""
    monkeypatch.setattr(listing, "READ_BUDGET", 30)
    monkeypatch.setattr(listing, "MERGED_AT_ONCE", 10)
    many = listing.READ_BUDGET + 5
    found.appointments(found.patient("Inês Carvalho"), *range(many))
    last = found.appointments(found.patient("Ingrid Böhm"), many)
    read: list[int] = []
    page = table.Query.page

    def counted(self: table.Query, limit: int, start: Any = None) -> table.Page:
        answer = page(self, limit, start)
        if self.index == "l3":
            read.append(len(answer.items))
        return answer

    monkeypatch.setattr(table.Query, "page", counted)
    body = {"patient": "in", "service_id": new_id("svc")}
    first = found.ask(body)
    assert (first.body["items"], bool(first.body["next_cursor"])) == ([], True)
    assert 0 < sum(read) <= listing.READ_BUDGET
    assert found.walk({**body, "service_id": found.service, "limit": 50})[-1:] == last
    assert found.walk(body) == []
    read.clear()
    found.ask({"patient": "in", "limit": 3})
    # Two lists, so many items of both together at once.
    assert sum(read) <= listing.MERGED_AT_ONCE
    with Faults(tables) as faults:
        found.ask({"patient": "in", "limit": 3})
        assert dict(faults.calls) == {"Query": 3, "BatchGetItem": 1}


def test_who_may_search(found: Found) -> None:
    ines = found.patient("Inês Carvalho")
    ids = found.appointments(ines, 0, 1, 2, 3)
    mine = {"role": "expert", "subject": found.experts[0]}
    assert found.walk({"patient": "ines"}, **mine) == ids[::2]
    assert found.ask({"patient": "ines", "expert_id": found.experts[1]}, **mine).status == 403
    assert found.ask({"patient": "ines"}, "viewer").status == 200
    assert found.ask({"patient": "ines"}, "billing").status == 403
    assert found.ask({"patient": ines}, "patient", ines).status == 403
    elsewhere = signed_in("owner", World().practice)
    path = "/v1/appointments/search"
    for term in ("ines", ines):
        there = call("appointments", "POST", path, {"patient": term}, context=elsewhere)
        assert (there.status, there.body["items"]) == (200, [])
    assert call("appointments", "POST", path, {"patient": "ines"}).status == 401


def test_a_cursor_is_good_for_its_own_search(found: Found) -> None:
    found.appointments(found.patient("Inês Carvalho"), 0, 1, 2)
    body = {"patient": "ines", "limit": 1}
    cursor = found.ask(body).body["next_cursor"]
    for other in (
        {**body, "patient": "ine"},
        {**body, "sort": "-start"},
        {**body, "status": "confirmed"},
    ):
        answer = found.ask({**other, "cursor": cursor})
        assert (answer.status, answer.body["errors"][0]["path"]) == (400, "body.cursor")
    # How many are shown at once may change on the way.
    assert len(found.ask({**body, "limit": 2, "cursor": cursor}).body["items"]) == 2


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "body.patient"),
        ({"patient": "x"}, "body.patient"),
        ({"patient": "x" * 121}, "body.patient"),
        ({"patient": "ines", "patient_id": new_id("pat")}, "body.patient_id"),
        ({"patient": "ines", "limit": 51}, "body.limit"),
        ({"patient": "ines", "limit": 0}, "body.limit"),
        ({"patient": "ines", "sort": "name"}, "body.sort"),
        ({"patient": "ines", "from": "2026-11-21T10:00:00"}, "body.from"),
        ({"patient": "ines", "from": "0001-01-01T00:00:00Z"}, "body.from"),
        ({"patient": "ines", "to": "9999-12-31T00:00:00Z"}, "body.to"),
        (
            {"patient": "ines", "from": "2026-01-01T00:00:00Z", "to": "2027-06-01T00:00:00Z"},
            "body.to",
        ),
        ({"patient": "ines", "phone": "+34600"}, "body.phone"),
    ],
)
def test_a_search_that_cannot_be_answered_says_why(
    found: Found, body: dict[str, Any], path: str
) -> None:
    answer = found.ask(body)
    assert (answer.status, [one["path"] for one in answer.body["errors"]]) == (422, [path])


@pytest.mark.parametrize(
    "query", ["from=0001-01-01T00:00:00Z", "to=0001-01-01T00:00:00Z", "from=9999-12-31T00:00:00Z"]
)
def test_a_list_of_a_year_that_is_none(found: Found, query: str) -> None:
    context = signed_in("owner", found.world.practice)
    answer = call("appointments", "GET", "/v1/appointments", context=context, query=query)
    path = f"query.{query.split('=', maxsplit=1)[0]}"
    assert (answer.status, [one["path"] for one in answer.body["errors"]]) == (422, [path])


def test_a_place_that_the_search_cannot_have_made_is_refused(found: Found) -> None:
    patient = found.patient("Inês Carvalho")
    found.appointments(patient, 0, 1)
    wanted = AppointmentSearch.model_validate(
        {"patient": "ines", "from": tomorrow(0), "to": tomorrow(3)}
    )
    filters = wanted.model_dump_json(exclude={"cursor", "limit"})
    scope = (found.world.practice, "/v1/appointments/search", "owner", filters)
    body = {"patient": "ines", "from": tomorrow(0).isoformat(), "to": tomorrow(3).isoformat()}
    for place in ("", "1999", "3000", {"S": "x"}):
        forged = encode({"at": {"S": place}}, *scope)
        assert found.ask({**body, "cursor": forged}).status == 400, place
    good = encode({"at": {"S": to_text(tomorrow(0))}}, *scope)
    assert found.ask({**body, "cursor": good}).status == 200
