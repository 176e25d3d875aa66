"""Lists of appointments: what is shown to whom, in which order, and at what cost."""

import base64
import json
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from consulta.core import listing as core_listing
from consulta.core import table
from consulta.core.errors import BadRequest, Forbidden, Invalid
from consulta.core.identity import Principal
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.permissions import Role
from consulta.core.time import to_text
from consulta.scheduling import listing
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, Status
from consulta.scheduling.schema.appointments import Appointment
from consulta.scheduling.schema.searching import AppointmentFilter
from tests.faults import Faults
from tests.unit.scheduling.world import World, tomorrow

BY = Actor("setup", "request-0")


class Filled:
    """Two experts, three patients, two services; an appointment every eight days, 45 of them."""

    def __init__(self) -> None:
        self.world = World()
        self.experts = [self.world.expert(), self.world.expert()]
        self.patients = [self.world.patient() for _ in range(3)]
        self.services = [self.world.service(*self.experts) for _ in range(2)]
        self.items = [self._item(n) for n in range(45)]
        for begin in range(0, 45, 15):
            table.transact([table.put_new(item) for item in self.items[begin : begin + 15]])

    def _item(self, n: int) -> AppointmentItem:
        tenant, start = self.world.tenant, tomorrow(days=1 + 8 * n)
        appointment_id = new_id("appt")
        expert, patient = self.experts[n % 2], self.patients[n % 3]
        place = f"{to_text(start)}#{appointment_id}"
        return AppointmentItem.create(
            tenant.item(APPOINTMENT, appointment_id),
            APPOINTMENT,
            BY,
            service_id=self.services[n % 2],
            expert_id=expert,
            patient_id=patient,
            status=list(Status)[n % 5],
            payment_status="paid" if n % 4 else "unpaid",
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


@pytest.fixture
def filled(tables: Any) -> Filled:
    return Filled()


def walk(by: Principal, limit: int = 7, **wanted: Any) -> list[Appointment]:
    """All pages; none is longer than asked for, and the last one comes."""
    found: list[Appointment] = []
    cursor, pages = None, 0
    while pages < 100:
        page = listing.page(by, AppointmentFilter(**wanted), limit, cursor)
        assert len(page.items) <= limit
        found += page.items
        cursor, pages = page.next_cursor, pages + 1
        if cursor is None:
            return found
    raise AssertionError("the list does not end")


WHOLE = {"low": tomorrow(0), "high": tomorrow(0, days=366)}


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("status",),
        ("payment_status", "service_id"),
        ("patient_id",),
        ("patient_id", "expert_id", "status"),
        ("expert_id",),
        ("expert_id", "payment_status"),
    ],
)
def test_every_filter_shows_just_what_it_says(filled: Filled, names: tuple[str, ...]) -> None:
    model = filled.items[4]
    wanted = {name: getattr(model, name) for name in names}
    expected = [
        item.item_id
        for item in filled.items
        if all(getattr(item, name) == value for name, value in wanted.items())
    ]
    assert expected
    for limit in (1, 7, 50):
        found = walk(filled.world.owner, limit, **WHOLE, **wanted)
        assert [one.id for one in found] == expected
        found = walk(filled.world.owner, limit, **WHOLE, **wanted, sort="-start")
        assert [one.id for one in found] == expected[::-1]


def test_a_range_is_from_its_first_instant_to_before_its_last(filled: Filled) -> None:
    starts = [item.start for item in filled.items]
    for by in (filled.world.owner, filled.world.caller(Role.EXPERT, filled.experts[0])):
        found = walk(by, low=starts[2], high=starts[10])
        assert {one.start for one in found} <= set(starts[2:10])
        assert starts[2] in {one.start for one in found}
        assert all(one.start < other.start for one, other in pairwise(found))


def test_one_end_of_a_range_brings_the_other(filled: Filled) -> None:
    starts = [item.start for item in filled.items]
    assert len(walk(filled.world.owner, low=starts[30])) == 15
    assert len(walk(filled.world.owner, high=starts[30])) == 30
    # Without a range: from last month on, for a year.
    assert 42 <= len(walk(filled.world.owner)) <= 45
    assert len(walk(filled.world.owner, patient_id=filled.patients[0])) == 15


def test_people_see_their_own(filled: Filled) -> None:
    world, (expert, other) = filled.world, filled.experts
    patient = filled.patients[0]
    seen = walk(world.caller(Role.PATIENT, patient))
    assert len(seen) == 15
    assert {one.patient.id for one in seen} == {patient}
    seen = walk(world.caller(Role.EXPERT, expert), status=Status.CONFIRMED)
    assert {one.expert.id for one in seen} == {expert}
    for by, wanted in (
        (world.caller(Role.PATIENT, patient), {"patient_id": filled.patients[1]}),
        (world.caller(Role.EXPERT, expert), {"expert_id": other}),
        (world.caller(Role.EXPERT), {}),
        (world.caller(Role.PATIENT), {}),
    ):
        with pytest.raises(Forbidden):
            listing.page(by, AppointmentFilter(**wanted), 10, None)
    assert walk(World().owner, **WHOLE) == []


def test_names_come_with_the_page_and_patients_only_to_who_may_read_them(filled: Filled) -> None:
    [shown] = listing.page(filled.world.owner, AppointmentFilter(**WHOLE), 1, None).items
    names = shown.service.name, shown.expert.name, shown.patient.name
    assert names == ("First consultation", "Helena Duarte", "Inês Carvalho")
    billing = filled.world.caller(Role.BILLING)
    [shown] = listing.page(billing, AppointmentFilter(**WHOLE), 1, None).items
    assert (shown.service.name, shown.patient.name) == ("First consultation", None)
    assert shown.patient.id == filled.items[0].patient_id


def test_a_page_is_one_query_and_one_batch(filled: Filled, tables: Any) -> None:
    with Faults(tables) as faults:
        listing.page(
            filled.world.caller(Role.EXPERT, filled.experts[0]), AppointmentFilter(), 20, None
        )
    assert dict(faults.calls) == {"Query": 1, "BatchGetItem": 1}


def test_no_list_reads_beyond_its_budget(
    filled: Filled, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that lets nothing through stops at the budget, and its cursor goes on to the end."""
    monkeypatch.setattr(listing, "READ_BUDGET", 6)
    monkeypatch.setattr(core_listing, "CHUNK", 3)
    nothing = {"expert_id": filled.experts[0], "service_id": filled.services[1]}
    cursor, pages = None, 0
    while cursor is not None or pages == 0:
        with Faults(tables) as faults:
            page = listing.page(filled.world.owner, AppointmentFilter(**nothing), 20, cursor)
        assert page.items == []
        assert dict(faults.calls) == {"Query": 2} or page.next_cursor is None
        cursor, pages = page.next_cursor, pages + 1
    assert pages == 4
    expected = [one.item_id for one in filled.items if one.status == Status.HELD]
    found = walk(filled.world.owner, **WHOLE, status=Status.HELD)
    assert [one.id for one in found] == expected


def test_the_budget_is_what_was_read(
    filled: Filled, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Months with three or four appointments each: one request goes on until it has read its own.

    A month without any counts as one, so that empty months end, too.
    """
    monkeypatch.setattr(listing, "READ_BUDGET", 30)
    wanted = AppointmentFilter(**WHOLE, status=Status.HELD)
    with Faults(tables) as faults:
        page = listing.page(filled.world.owner, wanted, 20, None)
    assert len(page.items) == 6
    assert faults.calls["Query"] in range(8, 11)
    with Faults(tables) as faults:
        nobodys = listing.page(World().owner, wanted, 20, None)
    assert (nobodys.items, nobodys.next_cursor) == ([], None)
    assert faults.calls["Query"] in (12, 13)


def test_a_foreign_or_forged_cursor_is_refused(filled: Filled) -> None:
    owner, other = filled.world.owner, World()
    whole = AppointmentFilter(**WHOLE, expert_id=filled.experts[0])
    cursor = listing.page(owner, whole, 5, None).next_cursor
    assert cursor
    for by, wanted in (
        (other.owner, whole),
        (owner, whole.model_copy(update={"status": Status.HELD})),
        (filled.world.caller(Role.EXPERT, filled.experts[0]), whole),
        (owner, whole.model_copy(update={"sort": "-start"})),
    ):
        with pytest.raises(BadRequest):
            listing.page(by, wanted, 5, cursor)
    body = json.loads(base64.urlsafe_b64decode(cursor))
    foreign = other.tenant.listing_by(APPOINTMENT, "EXPERT", filled.experts[0])
    for forged in (
        {**body["k"], "l2pk": foreign},
        {"l2pk": foreign},
        {**body["k"], "l2sk": "1999"},
        {**body["k"], "l2sk": "9999"},
        {**body["k"], "pk": ""},
        {**body["k"], "more": "x"},
        {"l2pk": body["k"]["l2pk"], "l2sk": body["k"]["l2sk"]},
        {},
    ):
        text = base64.urlsafe_b64encode(json.dumps({**body, "k": forged}).encode()).decode()
        with pytest.raises(BadRequest):
            listing.page(owner, whole, 5, text)


@pytest.mark.parametrize(
    "wanted",
    [
        {"low": tomorrow(), "high": tomorrow()},
        {"low": tomorrow(12), "high": tomorrow(10)},
        {"low": tomorrow(), "high": tomorrow(days=3650)},
    ],
)
def test_a_range_is_at_most_a_year(filled: Filled, wanted: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        listing.page(filled.world.owner, AppointmentFilter(**wanted), 5, None)
    assert refused.value.errors[0].path == "query.to"
