"""Series: previewed, booked one by one whatever dies in between, moved and cancelled."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from consulta.core import aws, table
from consulta.core.bus import SOURCE
from consulta.core.ids import new_id
from consulta.core.permissions import Role
from consulta.money.appointments import closing
from consulta.scheduling import (
    appointments,
    packages,
    rescheduling,
    series,
    series_changes,
    series_jobs,
    series_plan,
    transitions,
)
from consulta.scheduling.records import APPOINTMENT, SERIES, AppointmentItem, Status
from consulta.scheduling.schema.availability import Weekly
from consulta.scheduling.schema.booking import CancelRequest, RescheduleRequest
from consulta.scheduling.schema.packages import PackageRequest
from consulta.scheduling.schema.series import SeriesRequest
from consulta.scheduling.series_records import SeriesItem, rows_of
from tests.faults import Crash, Faults
from tests.unit.people.calling import Answer, call, handler, signed_in
from tests.unit.scheduling.world import World, tomorrow

WEEK = timedelta(days=7)


class Clinic:
    """A practice whose expert always works, a patient, and a service without a price."""

    def __init__(self, **hours: Any) -> None:
        self.world = World()
        self.expert = self.world.expert(**hours)
        self.other = self.world.expert(**hours)
        self.service = self.world.service(self.expert, self.other, price=0)
        self.patient = self.world.patient()
        self.start = tomorrow(10, days=7)

    def at(self, week: int, **more: int) -> datetime:
        return self.start + week * WEEK + timedelta(**more)

    def body(self, count: int = 3, **changes: Any) -> dict[str, Any]:
        return {
            "service_id": self.service,
            "expert_id": self.expert,
            "patient_id": self.patient,
            "start": f"{self.start:%Y-%m-%dT%H:%M}",
            "zone": "UTC",
            "rrule": f"FREQ=WEEKLY;COUNT={count}",
            **changes,
        }

    def call(
        self,
        method: str,
        path: str = "",
        body: Any = None,
        role: str = "owner",
        subject: str = "",
        **request: Any,
    ) -> Answer:
        context = signed_in(role, self.world.practice, subject, person=f"person-{role}-{subject}")
        return call("series", method, f"/v1/series{path}", body, context=context, **request)

    def create(self, count: int = 3, **changes: Any) -> Answer:
        return self.call("POST", body=self.body(count, **changes))

    def book(self, start: datetime, expert: str = "", patient: str = "") -> str:
        owner = patient or self.world.patient()
        return self.world.book(self.service, expert or self.expert, owner, start).id

    def get(self, series_id: str) -> Any:
        answer = self.call("GET", f"/{series_id}")
        assert answer.status == 200
        return answer.body

    def items(self, series_id: str) -> list[AppointmentItem]:
        """The appointments of its rows, in the rows' order."""
        found = []
        for row in rows_of(self.world.tenant, series_id):
            key = self.world.tenant.item(APPOINTMENT, row.appointment_id or "none")
            item = table.get(AppointmentItem, key)
            if item:
                found.append(item)
        return found

    def starts(self, series_id: str) -> list[datetime]:
        return [item.start for item in self.items(series_id) if item.status == Status.CONFIRMED]

    def everything(self) -> list[AppointmentItem]:
        """All of the patient's appointments that take place."""
        partition = self.world.tenant.listing_by(APPOINTMENT, "PATIENT", self.patient)
        items = [AppointmentItem.read(raw) for raw in table.Query(partition, index="l3").all()]
        return [item for item in items if item.status == Status.CONFIRMED]

    def work(self, series_id: str, milliseconds: int = 120_000) -> dict[str, Any]:
        """The worker's function is told that the series changed."""
        detail = {
            "practice": self.world.practice,
            "entity": SERIES,
            "id": series_id,
            "version": 1,
            "action": "created",
            "status": "placing",
        }
        body = json.dumps({"source": SOURCE, "detail": detail})
        context = SimpleNamespace(
            aws_request_id="aws-1",
            function_name="series_worker",
            get_remaining_time_in_millis=lambda: milliseconds,
        )
        found: dict[str, Any] = handler("series_worker")(
            {"Records": [{"messageId": "1", "body": body}]}, context
        )
        return found


@pytest.fixture
def clinic(tables: Any) -> Clinic:
    return Clinic()


# ---------------------------------------------------------------- before saving


def test_a_preview_names_every_conflict_and_what_is_free_near_it(tables: Any) -> None:
    start = tomorrow(10, days=7)
    vacation = (start + 2 * WEEK).date().isoformat()
    clinic = Clinic(
        weekly={day: [{"from": "09:00", "to": "12:00"}] for day in Weekly.model_fields},
        slot_interval_minutes=60,
        vacations=[{"from": vacation, "to": vacation, "message": "away"}],
    )
    clinic.book(clinic.at(1))
    answer = clinic.call("POST", "/preview", clinic.body(4))
    assert answer.status == 200
    assert answer.body["conflicts"] == 2
    found = answer.body["occurrences"]
    assert [one["problem"] for one in found] == [None, "taken", "vacation", None]
    assert found[1]["recurrence_id"] == f"{clinic.at(1):%Y-%m-%dT%H:%M}"
    # At the same day an hour before and after; the third is the day before.
    near = [datetime.fromisoformat(one["start"]) for one in found[1]["alternatives"]]
    assert near[:2] == [clinic.at(1, hours=-1), clinic.at(1, hours=1)]
    assert len(near) == 3
    assert clinic.at(2).date() not in {
        datetime.fromisoformat(one["start"]).date() for one in found[2]["alternatives"]
    }
    outside = clinic.call("POST", "/preview", clinic.body(1, start=f"{start:%Y-%m-%d}T13:00"))
    assert [one["problem"] for one in outside.body["occurrences"]] == ["outside-hours"]
    assert not clinic.everything()


def test_the_patient_is_not_in_two_places(clinic: Clinic) -> None:
    clinic.book(clinic.at(1), expert=clinic.other, patient=clinic.patient)
    answer = clinic.call("POST", "/preview", clinic.body(2))
    assert [one["problem"] for one in answer.body["occurrences"]] == [None, "taken"]


def test_reading_is_by_the_range_and_not_by_the_occurrence(clinic: Clinic) -> None:
    with Faults(tables_client()) as faults:
        clinic.call("POST", "/preview", clinic.body(8))
        few = faults.calls["Query"]
        clinic.call(
            "POST",
            "/preview",
            clinic.body(8, rrule="FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;COUNT=50"),
        )
        many = faults.calls["Query"] - few
        clinic.call("POST", "/preview", clinic.body(52))
        year = faults.calls["Query"] - many - few
    # The expert's and the patient's, per 56 days and the days around them.
    assert few == many == 2
    assert year == 2 * 6


def tables_client() -> Any:
    return aws.client("dynamodb")


def test_nothing_is_saved_where_one_fails(clinic: Clinic) -> None:
    clinic.book(clinic.at(1))
    answer = clinic.create(3)
    assert answer.status == 409
    assert (answer.body["code"], answer.body["conflicts"]) == ("series-conflicts", 1)
    assert [one["ok"] for one in answer.body["occurrences"]] == [True, False, True]
    assert not clinic.everything()
    assert clinic.call("GET").body["items"] == []
    # Where it is told to, it books the others, and says which it did not.
    skipped = clinic.create(3, on_conflict="skip")
    assert skipped.status == 201
    assert skipped.body["progress"] == {
        "total": 3,
        "booked": 2,
        "conflicts": 1,
        "cancelled": 0,
        "pending": 0,
    }
    [conflict] = skipped.body["conflicts"]
    assert (conflict["problem"], conflict["appointment_id"]) == ("taken", None)
    assert clinic.starts(skipped.body["id"]) == [clinic.at(0), clinic.at(2)]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"rrule": "FREQ=DAILY;COUNT=2"}, "body.rrule"),
        ({"rrule": ""}, "body.rrule"),
        ({"zone": "Mars/Olympus"}, "body.zone"),
        ({"start": "2027-03-28T01:30", "zone": "Europe/Lisbon"}, "body.start"),
        ({"start": "soon"}, "body.start"),
        ({"exdates": ["2020-01-01"]}, "body.exdates.0"),
        ({"exdates": ["never"]}, "body.exdates.0"),
        ({"patient_id": None}, "body.patient_id"),
        ({"expert_id": "me"}, "body.expert_id"),
        ({"on_conflict": "ask"}, "body.on_conflict"),
        ({"colour": "red"}, "body.colour"),
    ],
)
def test_what_cannot_be_taken_is_named(clinic: Clinic, changes: dict[str, Any], path: str) -> None:
    for route in ("", "/preview"):
        answer = clinic.call("POST", route, clinic.body(**changes))
        assert answer.status == 422, answer.body
        assert answer.body["errors"][0]["path"] == path


def test_what_is_not_the_practices_is_not_there(clinic: Clinic) -> None:
    stranger = Clinic()
    for changes in (
        {"service_id": stranger.service},
        {"expert_id": stranger.expert},
        {"patient_id": stranger.patient},
    ):
        assert clinic.create(**changes).status == 404
    made = clinic.create().body["id"]
    assert stranger.call("GET", f"/{made}").status == 404
    assert stranger.call("GET", f"/{made}/appointments").status == 404
    assert stranger.call("DELETE", f"/{made}").status == 404
    patch = {"scope": "all", "start_time": "11:00"}
    assert stranger.call("PATCH", f"/{made}", patch).status == 404
    # Neither is it another patient's.
    assert clinic.call("GET", f"/{made}", role="patient", subject=new_id("pat")).status == 404
    mine = clinic.call("GET", f"/{made}", role="patient", subject=clinic.patient)
    assert mine.status == 200


def test_patients_book_series_of_what_is_free_of_charge(clinic: Clinic) -> None:
    who = {"role": "patient", "subject": clinic.patient}
    body = clinic.body(2, patient_id=None)
    assert clinic.call("POST", body=body, **who).status == 201
    paid = clinic.world.service(clinic.expert, price=5000)
    later = clinic.body(2, service_id=paid, start=f"{clinic.at(0, hours=3):%Y-%m-%dT%H:%M}")
    refused = clinic.call("POST", body=later, **who)
    assert (refused.status, refused.body["errors"][0]["path"]) == (422, "body.service_id")
    # Members confirm it, and it is paid later.
    refused = clinic.call("POST", body=later)
    assert (refused.status, refused.body["errors"][0]["path"]) == (422, "body.confirm")
    confirmed = clinic.call("POST", body={**later, "confirm": True})
    assert confirmed.status == 201
    assert clinic.call("POST", body={**later, "confirm": True}, **who).status == 403
    assert {item.payment_status for item in clinic.items(confirmed.body["id"])} == {"unpaid"}


# ---------------------------------------------------------------- booking


def test_each_occurrence_is_an_appointment_of_its_own(clinic: Clinic) -> None:
    answer = clinic.create(3)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v1/series/{answer.body['id']}"
    assert answer.body["status"] == "ready"
    items = clinic.items(answer.body["id"])
    assert [item.start for item in items] == [clinic.at(n) for n in range(3)]
    assert {item.series_id for item in items} == {answer.body["id"]}
    assert [item.recurrence_id for item in items] == [
        f"{clinic.at(n):%Y-%m-%dT%H:%M}" for n in range(3)
    ]
    page = clinic.call("GET", f"/{answer.body['id']}/appointments", query="limit=2").body
    assert [one["appointment"]["id"] for one in page["items"]] == [i.item_id for i in items[:2]]
    rest = clinic.call(
        "GET", f"/{answer.body['id']}/appointments", query=f"cursor={page['next_cursor']}"
    ).body
    assert [one["appointment"]["id"] for one in rest["items"]] == [items[2].item_id]


def test_wall_time_stays_where_clocks_change(clinic: Clinic) -> None:
    """A year of Lisbon's weeks has both changes: ten o'clock is ten o'clock in all of them."""
    answer = clinic.call("POST", "/preview", clinic.body(52, zone="Europe/Lisbon"))
    starts = [datetime.fromisoformat(one["start"]) for one in answer.body["occurrences"]]
    assert {start.hour for start in starts} == {10}
    assert {start.astimezone(UTC).hour for start in starts} == {9, 10}


def test_a_long_series_is_accepted_and_done_by_the_worker(clinic: Clinic) -> None:
    answer = clinic.create(45)
    assert answer.status == 202
    assert answer.body["status"] == "placing"
    assert (answer.body["progress"]["booked"], answer.body["progress"]["pending"]) == (10, 35)
    made = answer.body["id"]
    # While it is being booked nobody moves it.
    patch = {"scope": "all", "start_time": "11:00"}
    assert clinic.call("PATCH", f"/{made}", patch).status == 409
    before = table.get(SeriesItem, clinic.world.tenant.item(SERIES, made))
    assert before
    assert clinic.work(made) == {"batchItemFailures": []}
    # One run does a part; the change of the series brings the next.
    halfway = table.get(SeriesItem, clinic.world.tenant.item(SERIES, made))
    assert halfway
    assert halfway.version > before.version
    assert (halfway.status, len(clinic.items(made))) == ("placing", 40)
    clinic.work(made)
    assert clinic.get(made)["progress"]["booked"] == 45
    assert clinic.get(made)["status"] == "ready"
    assert len(clinic.everything()) == 45


@pytest.mark.parametrize("crashing", [1, 2, 3, 6])
def test_a_worker_that_dies_is_followed_by_one_that_does_the_rest(
    clinic: Clinic, crashing: int
) -> None:
    asked = clinic.world.owner
    made = series.create(asked, _request(clinic, 4), None)
    with Faults(tables_client()) as faults:
        # It dies with its n-th write, before or after that was applied.
        through = [Faults.meanwhile(lambda: None)] * (crashing - 1)
        kind = faults.crash_after if crashing % 2 else faults.crash_before
        faults.next("TransactWriteItems", *through, kind)
        if crashing <= 5:
            with pytest.raises(Crash):
                clinic.work(made)
    assert len(clinic.everything()) < 4 or crashing >= 4
    clinic.work(made)
    clinic.work(made)
    assert clinic.starts(made) == [clinic.at(n) for n in range(4)]
    assert len(clinic.everything()) == 4
    assert clinic.get(made)["status"] == "ready"


def _request(clinic: Clinic, count: int, **changes: Any) -> SeriesRequest:
    return SeriesRequest.model_validate(clinic.body(count, **changes))


@pytest.mark.parametrize("late", range(5))
def test_two_workers_at_once_book_each_occurrence_once(clinic: Clinic, late: int) -> None:
    made = series.create(clinic.world.owner, _request(clinic, 4), None)
    with Faults(tables_client()) as faults:
        # Just before the n-th write of the one, the other does all that is left.
        through = [Faults.meanwhile(lambda: None)] * late
        faults.next("TransactWriteItems", *through, Faults.meanwhile(lambda: clinic.work(made)))
        clinic.work(made)
    found = clinic.get(made)
    assert (found["status"], found["conflicts"]) == ("ready", [])
    assert clinic.starts(made) == [clinic.at(n) for n in range(4)]
    assert len(clinic.everything()) == 4


@pytest.mark.parametrize("late", range(7))
def test_two_workers_at_once_move_each_occurrence_once(clinic: Clinic, late: int) -> None:
    made = clinic.create(3).body["id"]
    with Faults(tables_client()) as faults:
        # The first write begins the move, and the request's own steps follow.
        through = [Faults.meanwhile(lambda: None)] * (late + 1)
        faults.next("TransactWriteItems", *through, Faults.meanwhile(lambda: clinic.work(made)))
        patch = {"scope": "all", "shift_days": 7, "start_time": "10:30"}
        assert clinic.call("PATCH", f"/{made}", patch).status in (200, 202)
    clinic.work(made)
    found = clinic.get(made)
    assert (found["status"], found["conflicts"]) == ("ready", [])
    assert clinic.starts(made) == [clinic.at(n, days=7, minutes=30) for n in range(3)]
    assert [row.detached for row in rows_of(clinic.world.tenant, made)] == [False] * 3
    assert {int(item.rescheduled) for item in clinic.items(made)} == {1}


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("late", range(4))
def test_two_workers_take_turns_at_moving(clinic: Clinic, late: int, steps: int) -> None:
    """The one goes on with what it had read, after the other did some of that."""
    clinic.start = tomorrow(10, days=22)
    made = clinic.create(4).body["id"]
    tenant = clinic.world.tenant

    def meanwhile() -> None:
        series_jobs.run(tenant, made, "request-2", cancel=closing.cancel, most=steps)

    with Faults(tables_client()) as faults:
        through = [Faults.meanwhile(lambda: None)] * (late + 1)
        faults.next("TransactWriteItems", *through, Faults.meanwhile(meanwhile))
        patch = {"scope": "all", "shift_days": -7}
        assert clinic.call("PATCH", f"/{made}", patch).status in (200, 202)
    clinic.work(made)
    assert clinic.get(made)["status"] == "ready"
    assert clinic.starts(made) == [clinic.at(n, days=-7) for n in range(4)]
    assert len(rows_of(tenant, made)) == 4
    assert {int(item.rescheduled) for item in clinic.items(made)} == {1}


def test_a_conflict_that_comes_later_is_in_the_results(clinic: Clinic) -> None:
    made = series.create(clinic.world.owner, _request(clinic, 3), None)
    clinic.book(clinic.at(1))
    clinic.work(made)
    found = clinic.get(made)
    assert (found["status"], found["progress"]["booked"]) == ("ready", 2)
    assert [one["problem"] for one in found["conflicts"]] == ["taken"]


def test_what_cannot_be_done_now_comes_again(clinic: Clinic) -> None:
    made = series.create(clinic.world.owner, _request(clinic, 2), None)
    with Faults(tables_client()) as faults:
        faults.next("BatchGetItem", faults.throttled_call)
        failed = False
        try:
            failed = bool(clinic.work(made)["batchItemFailures"])
        except Exception:  # noqa: BLE001  # Lambda gives the message back after an error as well
            failed = True
    assert failed
    assert not clinic.everything()
    clinic.work(made)
    assert len(clinic.everything()) == 2


def test_one_key_saves_one_series(clinic: Clinic) -> None:
    headers = {"Idempotency-Key": "once"}
    first = clinic.call("POST", body=clinic.body(), headers=headers)
    again = clinic.call("POST", body=clinic.body(), headers=headers)
    assert (first.body["id"], first.status, again.status) == (again.body["id"], 201, 201)
    assert len(clinic.everything()) == 3
    other = clinic.call("POST", body=clinic.body(4), headers=headers)
    assert (other.status, other.body["errors"][0]["path"]) == (422, "header.Idempotency-Key")


def test_lists_are_of_a_patient_an_expert_or_all(clinic: Clinic) -> None:
    made = clinic.create().body["id"]
    for query, found in (
        ("", [made]),
        (f"patient_id={clinic.patient}", [made]),
        (f"expert_id={clinic.expert}", [made]),
        (f"expert_id={clinic.other}", []),
        (f"patient_id={clinic.patient}&expert_id={clinic.other}", []),
    ):
        assert [one["id"] for one in clinic.call("GET", query=query).body["items"]] == found
    mine = clinic.call("GET", role="patient", subject=clinic.patient)
    assert [one["id"] for one in mine.body["items"]] == [made]
    theirs = clinic.call(
        "GET", role="patient", subject=new_id("pat"), query=f"patient_id={clinic.patient}"
    )
    assert theirs.status == 403


# ---------------------------------------------------------------- moving


def test_all_are_moved_to_another_time(clinic: Clinic) -> None:
    made = clinic.create(3).body
    ids = [item.item_id for item in clinic.items(made["id"])]
    answer = clinic.call(
        "PATCH",
        f"/{made['id']}",
        {"scope": "all", "start_time": "10:30", "shift_days": 1},
        headers={"If-Match": f'"{made["version"]}"'},
    )
    assert answer.status == 200, answer.body
    moved = clinic.get(made["id"])
    assert moved["status"] == "ready"
    assert moved["start"] == f"{clinic.at(0, days=1, minutes=30):%Y-%m-%dT%H:%M}"
    expected = [clinic.at(n, days=1, minutes=30) for n in range(3)]
    assert clinic.starts(made["id"]) == expected
    items = clinic.items(made["id"])
    # The same appointments, under their new names.
    assert [item.item_id for item in items] == ids
    assert [item.recurrence_id for item in items] == [f"{at:%Y-%m-%dT%H:%M}" for at in expected]
    assert (
        clinic.call(
            "PATCH",
            f"/{made['id']}",
            {"scope": "all", "start_time": "12:00"},
            headers={"If-Match": f'"{made["version"]}"'},
        ).status
        == 412
    )


@pytest.mark.parametrize("shift", [7, -7, 14])
def test_a_series_moves_over_its_own_times(clinic: Clinic, shift: int) -> None:
    """Each occurrence goes where another one was: in an order in which that is free."""
    clinic.start = tomorrow(10, days=22)
    made = clinic.create(4).body["id"]
    answer = clinic.call("PATCH", f"/{made}", {"scope": "all", "shift_days": shift})
    assert answer.status == 200, answer.body
    assert clinic.get(made)["conflicts"] == []
    assert clinic.starts(made) == [clinic.at(n, days=shift) for n in range(4)]
    assert len(rows_of(clinic.world.tenant, made)) == 4


def test_this_and_following_go_on_as_a_new_series(clinic: Clinic) -> None:
    made = clinic.create(4).body["id"]
    named = f"{clinic.at(2):%Y-%m-%dT%H:%M}"
    answer = clinic.call(
        "PATCH",
        f"/{made}",
        {
            "scope": "this_and_following",
            "from_recurrence_id": named,
            "start_time": "15:00",
            "expert_id": clinic.other,
        },
    )
    assert answer.status == 200, answer.body
    new = answer.body["id"]
    assert new != made
    assert answer.body["continues"] == made
    assert clinic.starts(made) == [clinic.at(0), clinic.at(1)]
    assert clinic.starts(new) == [clinic.at(2, hours=5), clinic.at(3, hours=5)]
    assert {item.expert_id for item in clinic.items(new)} == {clinic.other}
    assert {item.series_id for item in clinic.items(new)} == {new}
    old = clinic.get(made)
    assert old["rrule"] == f"FREQ=WEEKLY;UNTIL={clinic.at(1):%Y%m%dT%H%M%S}"
    assert old["progress"]["total"] == 2
    assert clinic.get(new)["rrule"] == "FREQ=WEEKLY;COUNT=2"
    assert [
        one["id"] for one in clinic.call("GET", query=f"expert_id={clinic.other}").body["items"]
    ] == [new]


def test_this_alone_is_detached_and_stays_where_it_is(clinic: Clinic) -> None:
    made = clinic.create(3).body["id"]
    named = f"{clinic.at(1):%Y-%m-%dT%H:%M}"
    patch = {"scope": "this", "from_recurrence_id": named, "start_time": "17:00"}
    assert clinic.call("PATCH", f"/{made}", patch).status == 200
    assert clinic.starts(made) == [clinic.at(0), clinic.at(1, hours=7), clinic.at(2)]
    page = clinic.call("GET", f"/{made}/appointments").body["items"]
    assert [one["detached"] for one in page] == [False, True, False]
    assert page[1]["recurrence_id"] == named
    # The whole is moved without it.
    assert clinic.call("PATCH", f"/{made}", {"scope": "all", "start_time": "12:00"}).status == 200
    assert clinic.starts(made) == [
        clinic.at(0, hours=2),
        clinic.at(1, hours=7),
        clinic.at(2, hours=2),
    ]


def test_an_appointment_that_was_moved_by_itself_stays_there_as_well(clinic: Clinic) -> None:
    made = clinic.create(2).body["id"]
    [first, _] = clinic.items(made)
    request = RescheduleRequest(start=clinic.at(0, hours=4))
    rescheduling.reschedule(clinic.world.owner, first.item_id, request, None)
    clinic.call("PATCH", f"/{made}", {"scope": "all", "start_time": "11:00"})
    assert clinic.starts(made) == [clinic.at(0, hours=4), clinic.at(1, hours=1)]


def test_a_move_is_previewed_and_not_made_where_one_fails(clinic: Clinic) -> None:
    made = clinic.create(3).body["id"]
    clinic.book(clinic.at(1, hours=1))
    patch = {"scope": "all", "start_time": "11:00"}
    dry = clinic.call("PATCH", f"/{made}", {**patch, "dry_run": True})
    assert dry.status == 200
    assert [one["problem"] for one in dry.body["occurrences"]] == [None, "taken", None]
    assert clinic.call("PATCH", f"/{made}", patch).status == 409
    assert clinic.starts(made) == [clinic.at(n) for n in range(3)]
    # Half an hour later overlaps with nothing but the series itself.
    half = clinic.call(
        "PATCH", f"/{made}", {"scope": "all", "start_time": "10:30", "dry_run": True}
    )
    assert [one["problem"] for one in half.body["occurrences"]] == [None, "taken", None]
    skipped = clinic.call("PATCH", f"/{made}", {**patch, "on_conflict": "skip"})
    assert skipped.status == 200
    assert clinic.starts(made) == [clinic.at(0, hours=1), clinic.at(1), clinic.at(2, hours=1)]
    [problem] = clinic.get(made)["conflicts"]
    assert (problem["problem"], problem["appointment_id"]) == (
        "taken",
        clinic.items(made)[1].item_id,
    )


@pytest.mark.parametrize("crashing", range(1, 8))
@pytest.mark.parametrize("scope", ["all", "this_and_following"])
def test_a_move_that_dies_anywhere_is_finished(clinic: Clinic, crashing: int, scope: str) -> None:
    made = clinic.create(3).body["id"]
    named = f"{clinic.at(1):%Y-%m-%dT%H:%M}"
    patch: dict[str, Any] = {"scope": scope, "start_time": "10:30", "shift_days": 7}
    if scope != "all":
        patch["from_recurrence_id"] = named
    with Faults(tables_client()) as faults:
        through = [Faults.meanwhile(lambda: None)] * crashing
        kind = faults.crash_after if crashing % 2 else faults.crash_before
        faults.next("TransactWriteItems", *through, kind)
        with suppress(Crash):
            clinic.call("PATCH", f"/{made}", patch)
    for one in clinic.call("GET").body["items"]:
        clinic.work(one["id"])
    listed = clinic.call("GET").body["items"]
    assert {one["status"] for one in listed} == {"ready"}
    kept = [] if scope == "all" else [clinic.at(0)]
    first = len(kept)
    moved = [clinic.at(n, days=7, minutes=30) for n in range(first, 3)]
    assert sorted(item.start for item in clinic.everything()) == sorted([*kept, *moved])
    found = [start for one in reversed(listed) for start in clinic.starts(one["id"])]
    assert sorted(found) == sorted([*kept, *moved])
    assert all(not clinic.get(one["id"])["conflicts"] for one in listed)
    rows = [row for one in listed for row in rows_of(clinic.world.tenant, one["id"])]
    assert len(rows) == 3
    assert not any(row.detached for row in rows)


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"scope": "some"}, "body.scope"),
        ({"scope": "all"}, "body"),
        ({"scope": "this", "start_time": "11:00"}, "body.from_recurrence_id"),
        (
            {"scope": "this", "start_time": "11:00", "from_recurrence_id": "2020-01-01T10:00"},
            "body.from_recurrence_id",
        ),
        (
            {"scope": "all", "start_time": "11:00", "from_recurrence_id": "2030-01-01T10:00"},
            "body.from_recurrence_id",
        ),
        ({"scope": "all", "start_time": "25:00"}, "body.start_time"),
        ({"scope": "all", "shift_days": 99}, "body.shift_days"),
    ],
)
def test_a_move_that_cannot_be_taken_is_named(
    clinic: Clinic, patch: dict[str, Any], path: str
) -> None:
    made = clinic.create(2).body["id"]
    answer = clinic.call("PATCH", f"/{made}", patch)
    assert answer.status == 422
    assert answer.body["errors"][0]["path"] == path


def test_a_monthly_series_keeps_its_days(clinic: Clinic) -> None:
    day = clinic.start.day
    rule = f"FREQ=MONTHLY;BYMONTHDAY={day};COUNT=2"
    made = clinic.create(rrule=rule).body["id"]
    refused = clinic.call("PATCH", f"/{made}", {"scope": "all", "shift_days": 1})
    assert (refused.status, refused.body["errors"][0]["path"]) == (422, "body.shift_days")
    assert clinic.call("PATCH", f"/{made}", {"scope": "all", "start_time": "11:00"}).status == 200
    assert {start.hour for start in clinic.starts(made)} == {11}


def test_one_key_moves_once(clinic: Clinic) -> None:
    made = clinic.create(2).body["id"]
    headers, patch = {"Idempotency-Key": "once"}, {"scope": "all", "shift_days": 1}
    for _ in range(2):
        assert clinic.call("PATCH", f"/{made}", patch, headers=headers).status == 200
    assert clinic.starts(made) == [clinic.at(n, days=1) for n in range(2)]


# ---------------------------------------------------------------- cancelling


@pytest.mark.parametrize(
    ("scope", "cancelled", "status"),
    [
        ("this", [1], "ready"),
        ("this_and_following", [1, 2], "ready"),
        ("all", [0, 1, 2], "cancelled"),
    ],
)
def test_cancelling_by_scope(clinic: Clinic, scope: str, cancelled: list[int], status: str) -> None:
    made = clinic.create(3).body
    query = f"scope={scope}&reason_code=illness"
    if scope != "all":
        query += f"&from={clinic.at(1):%Y-%m-%dT%H:%M}"
    answer = clinic.call(
        "DELETE", f"/{made['id']}", query=query, headers={"If-Match": f'"{made["version"]}"'}
    )
    assert answer.status == 200, answer.body
    assert answer.body["status"] == status
    assert answer.body["progress"]["cancelled"] == len(cancelled)
    found = clinic.items(made["id"])
    assert [n for n, item in enumerate(found) if item.status == Status.CANCELLED] == cancelled
    assert {item.cancel_reason for n, item in enumerate(found) if n in cancelled} == {"illness"}
    # Their times are free again.
    for number in cancelled:
        assert clinic.book(clinic.at(number))


def test_what_was_cancelled_by_itself_is_in_nobodys_way(clinic: Clinic) -> None:
    made = clinic.create(3).body["id"]
    first = clinic.items(made)[0]
    request = CancelRequest.model_validate({"reason_code": "other"})
    closing.cancel(clinic.world.owner, first.item_id, request)
    assert clinic.call("PATCH", f"/{made}", {"scope": "all", "shift_days": 1}).status == 200
    assert clinic.starts(made) == [clinic.at(1, days=1), clinic.at(2, days=1)]
    answer = clinic.call("DELETE", f"/{made}")
    assert answer.body["progress"]["cancelled"] == 3
    assert clinic.call("DELETE", f"/{made}").status in (200, 409)


def test_cancelling_that_dies_is_finished(clinic: Clinic) -> None:
    made = clinic.create(3).body["id"]
    with Faults(tables_client()) as faults:
        through = [Faults.meanwhile(lambda: None)] * 3
        faults.next("TransactWriteItems", *through, faults.crash_after)
        with pytest.raises(Crash):
            clinic.call("DELETE", f"/{made}")
    assert 0 < len(clinic.everything()) < 3
    clinic.work(made)
    assert not clinic.everything()
    assert clinic.get(made)["status"] == "cancelled"


def test_an_expert_has_their_own_series_only(clinic: Clinic) -> None:
    made = clinic.create().body["id"]
    own = {"role": "expert", "subject": clinic.expert}
    other = {"role": "expert", "subject": clinic.other}
    assert clinic.call("GET", f"/{made}", **own).status == 200
    assert clinic.call("GET", f"/{made}", **other).status == 404
    assert clinic.call("POST", body=clinic.body(2), **other).status == 403
    patch = {"scope": "all", "expert_id": clinic.other}
    assert clinic.call("PATCH", f"/{made}", patch, **own).status == 403
    assert clinic.call("DELETE", f"/{made}", role="viewer").status == 403


def test_a_worker_acts_for_whoever_asked(clinic: Clinic) -> None:
    caller = clinic.world.caller(Role.PATIENT, clinic.patient)
    made = series.create(caller, _request(clinic, 2), None)
    clinic.work(made)
    assert {item.updated_by for item in clinic.items(made)} == {caller.person}
    assert appointments.get(caller, clinic.items(made)[0].item_id).status == Status.CONFIRMED


# ---------------------------------------------------------------- what a stranger tries


def test_a_key_that_moved_one_series_moves_no_other(clinic: Clinic) -> None:
    made = clinic.create(1).body["id"]
    other = clinic.create(1, start=f"{clinic.at(0, hours=3):%Y-%m-%dT%H:%M}").body["id"]
    headers, patch = {"Idempotency-Key": "once"}, {"scope": "all", "shift_days": 1}
    assert clinic.call("PATCH", f"/{made}", patch, headers=headers).status == 200
    refused = clinic.call("PATCH", f"/{other}", patch, headers=headers)
    assert (refused.status, refused.body["errors"][0]["code"]) == (422, "reused")


def test_a_reason_that_is_not_for_people_is_named(clinic: Clinic) -> None:
    made = clinic.create(1).body["id"]
    answer = clinic.call("DELETE", f"/{made}", query="reason_code=not_approved")
    assert answer.status == 422, answer.body
    assert answer.body["errors"][0]["path"] == "query.reason_code"


def test_a_dry_run_refuses_what_the_move_would(clinic: Clinic) -> None:
    rule = f"FREQ=MONTHLY;BYMONTHDAY={clinic.start.day};COUNT=2"
    made = clinic.create(rrule=rule).body["id"]
    patch = {"scope": "all", "shift_days": 1, "dry_run": True}
    answer = clinic.call("PATCH", f"/{made}", patch)
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "body.shift_days")


def test_a_move_does_not_take_the_place_of_what_has_begun(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clinic.create(3).body["id"]
    before = rows_of(clinic.world.tenant, made)
    begun = clinic.at(0, hours=1)
    for module in (series_changes, series_plan, series_jobs):
        monkeypatch.setattr(module, "now", lambda: begun)
    patch = {"scope": "all", "shift_days": -7, "on_conflict": "skip"}
    answer = clinic.call("PATCH", f"/{made}", patch)
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "body.shift_days")
    assert rows_of(clinic.world.tenant, made) == before


def test_what_another_expert_gives_is_not_an_experts_to_see(clinic: Clinic) -> None:
    made = clinic.create(2).body["id"]
    named = f"{clinic.at(1):%Y-%m-%dT%H:%M}"
    patch = {"scope": "this", "from_recurrence_id": named, "expert_id": clinic.other}
    assert clinic.call("PATCH", f"/{made}", patch).status == 200
    path = f"/{made}/appointments"
    own = clinic.call("GET", path, role="expert", subject=clinic.expert).body["items"]
    assert [bool(one["appointment"]) for one in own] == [True, False]
    every = clinic.call("GET", path).body["items"]
    assert [bool(one["appointment"]) for one in every] == [True, True]


def test_a_cancelled_series_stays_cancelled(clinic: Clinic) -> None:
    made = clinic.create(2).body["id"]
    assert clinic.call("DELETE", f"/{made}").body["status"] == "cancelled"
    query = f"scope=this&from={clinic.at(1):%Y-%m-%dT%H:%M}"
    clinic.call("DELETE", f"/{made}", query=query)
    assert clinic.get(made)["status"] == "cancelled"


@pytest.mark.parametrize("begun", [1, 2])
def test_all_that_is_to_come_is_also_what_was_put_off(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, begun: int
) -> None:
    """The first was moved behind the others by itself: it is cancelled with them."""
    made = clinic.create(2).body["id"]
    first = clinic.items(made)[0].item_id
    request = RescheduleRequest(start=clinic.at(3))
    rescheduling.reschedule(clinic.world.owner, first, request, None)
    at = clinic.at(begun - 1, hours=1)
    for module in (series_changes, series_jobs, transitions, closing):
        monkeypatch.setattr(module, "now", lambda: at)
    answer = clinic.call("DELETE", f"/{made}")
    assert answer.status == 200, answer.body
    states = [item.status for item in clinic.items(made)]
    # What has begun by then stays as it is.
    assert states == [Status.CANCELLED, [Status.CANCELLED, Status.CONFIRMED][begun - 1]]


def test_a_packages_long_series_is_done_by_the_worker(clinic: Clinic) -> None:
    """Which package it uses is found for each: the patient's only one."""
    owner = clinic.world.owner
    of = clinic.world.service(
        clinic.expert, price=12_000, kind="PACKAGE", sessions=12, validity_days=300
    )
    request = PackageRequest(service_id=of, patient_id=clinic.patient, confirm=True)
    bought = packages.create(owner, request, None).id
    made = clinic.create(12, service_id=of)
    assert made.status == 202, made.body
    assert clinic.work(made.body["id"]) == {"batchItemFailures": []}
    assert clinic.get(made.body["id"])["progress"]["booked"] == 12
    assert packages.get(owner, bought).used == 12
