"""One action on many appointments: a result for each, whatever dies in between."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from consulta.core import aws, settings, table
from consulta.core.ids import new_id
from consulta.money.appointments import bulk, closing
from consulta.money.paying import payments
from consulta.scheduling import appointments
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.bulk import MAX_ITEMS, BulkRequest
from tests.faults import Crash, Faults
from tests.unit.people.calling import Answer, call, handler, signed_in
from tests.unit.scheduling.world import Clock, World, tomorrow

CANCEL = {"action": "cancel", "reason_code": "illness"}


class Clinic:
    """A practice with its worker's queue, and appointments an hour apart."""

    def __init__(self) -> None:
        self.world = World()
        self.expert = self.world.expert()
        self.service = self.world.service(self.expert, price=0)
        self.patient = self.world.patient()
        self.queue = aws.client("sqs").create_queue(QueueName="bulk")["QueueUrl"]

    def book(self, count: int, days: int = 3) -> list[str]:
        return [
            self.world.book(self.service, self.expert, self.patient, tomorrow(hour, days=days)).id
            for hour in range(count)
        ]

    def item(self, appointment_id: str) -> AppointmentItem:
        found = table.get(AppointmentItem, self.world.tenant.item(APPOINTMENT, appointment_id))
        assert found
        return found

    def states(self, ids: list[str]) -> list[str]:
        return [self.item(one).status for one in ids]

    def ask(
        self, body: dict[str, Any], role: str = "owner", subject: str = "", **request: Any
    ) -> Answer:
        context = signed_in(role, self.world.practice, subject, person=f"person-{role}-{subject}")
        return call("bulk", "POST", "/v1/appointments/bulk", body, context=context, **request)

    def look(self, job: str, role: str = "owner", subject: str = "") -> Answer:
        context = signed_in(role, self.world.practice, subject, person=f"person-{role}-{subject}")
        return call("bulk", "GET", f"/v1/appointments/bulk/{job}", context=context)

    def messages(self) -> list[dict[str, str]]:
        """What waits for the worker, delayed ones too."""
        attributes = aws.client("sqs").get_queue_attributes(
            QueueUrl=self.queue, AttributeNames=["All"]
        )["Attributes"]
        waiting = int(attributes["ApproximateNumberOfMessages"])
        return [{}] * (waiting + int(attributes["ApproximateNumberOfMessagesDelayed"]))

    def work(self, job: str, milliseconds: int = 120_000) -> dict[str, Any]:
        """The worker's function gets the job's message."""
        body = json.dumps({"practice": self.world.practice, "job": job})
        context = SimpleNamespace(
            aws_request_id="aws-1",
            function_name="bulk_worker",
            get_remaining_time_in_millis=lambda: milliseconds,
        )
        found: dict[str, Any] = handler("bulk_worker")(
            {"Records": [{"messageId": "1", "body": body}]}, context
        )
        return found


def items(ids: list[str]) -> dict[str, Any]:
    return {"items": [{"id": one} for one in ids]}


def outcomes(answer: Answer) -> list[str]:
    return [one["outcome"] for one in answer.body["results"]]


@pytest.fixture
def clinic(tables: Any, environment: pytest.MonkeyPatch) -> Clinic:
    clinic = Clinic()
    environment.setenv("BULK_QUEUE_URL", clinic.queue)
    settings.reset()
    return clinic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(monkeypatch)
    for module in (closing, payments, bulk):
        monkeypatch.setattr(module, "now", lambda: clock.at)
    return clock


# ---------------------------------------------------------------- a result for each


def test_each_has_its_own_result(clinic: Clinic) -> None:
    ids = clinic.book(3)
    clinic_path = "/v1/appointments/bulk/"
    unknown = new_id("appt")
    context = signed_in("owner", clinic.world.practice, person="other")
    body = {"reason_code": "other"}
    path = f"/v1/appointments/{ids[1]}/cancel"
    assert call("appointment_actions", "POST", path, body, context=context).status == 200
    answer = clinic.ask({**CANCEL, **items([*ids, unknown]), "note": "flu", "notify": False})
    assert (answer.status, answer.body["state"]) == (200, "done")
    assert answer.headers["Location"] == clinic_path + answer.body["id"]
    assert outcomes(answer) == ["done", "unchanged", "done", "failed"]
    counted = [answer.body[name] for name in ("total", "done", "unchanged", "failed")]
    assert counted == [4, 2, 1, 1]
    problem = answer.body["results"][3]["problem"]
    assert (problem["status"], problem["type"]) == (404, "urn:consulta:problem:not-found")
    assert clinic.states(ids) == ["cancelled"] * 3
    cancelled = clinic.item(ids[0])
    assert (cancelled.cancel_note, cancelled.cancel_reason) == ("flu", "illness")
    assert cancelled.notify is False
    assert clinic.look(answer.body["id"]).body == answer.body
    expires = datetime.fromisoformat(answer.body["expires_at"])
    assert timedelta(days=29) < expires - datetime.now(UTC) <= timedelta(days=30)


@pytest.mark.parametrize(("action", "status"), [("complete", "completed"), ("no_show", "no_show")])
def test_what_took_place_or_not(clinic: Clinic, clock: Clock, action: str, status: str) -> None:
    past, ahead = clinic.book(2, days=1), clinic.book(1, days=5)
    clock.forward(days=3)
    answer = clinic.ask({"action": action, **items([*past, *ahead])})
    assert outcomes(answer) == ["done", "done", "failed"]
    assert answer.body["results"][2]["problem"]["status"] == 409
    assert clinic.states(past) == [status, status]


def test_many_holds_are_confirmed(clinic: Clinic) -> None:
    service = clinic.world.service(clinic.expert, price=5000)
    ids = [
        clinic.world.book(service, clinic.expert, clinic.world.patient(), tomorrow(hour)).id
        for hour in range(2)
    ]
    assert outcomes(clinic.ask({"action": "confirm", **items(ids)})) == ["done", "done"]
    assert clinic.states(ids) == ["confirmed", "confirmed"]


def test_what_is_taken_is_said_for_just_that_one(clinic: Clinic) -> None:
    first, second, third = clinic.book(3)
    free, taken = tomorrow(15, days=3), clinic.item(third).start
    moves = [
        {"id": first, "start": taken.isoformat()},
        {"id": second, "start": free.isoformat()},
    ]
    answer = clinic.ask({"action": "reschedule", "items": moves})
    assert outcomes(answer) == ["failed", "done"]
    assert answer.body["results"][0]["problem"]["type"] == "urn:consulta:problem:slot-taken"
    assert clinic.item(second).start == free


def test_a_shift_by_days_keeps_the_wall_time(clinic: Clinic) -> None:
    zone = ZoneInfo("America/Santiago")
    expert = clinic.world.expert(zone="America/Santiago", horizon_days=365)
    service = clinic.world.service(expert, price=0)
    # The clocks of Chile go back an hour in the first days of April.
    year = datetime.now(UTC).year + 1
    start = datetime(year, 4, 1, 10, 0, tzinfo=zone)
    made = clinic.world.book(service, expert, clinic.patient, start).id
    answer = clinic.ask({"action": "reschedule", **items([made]), "shift_days": 14})
    assert outcomes(answer) == ["done"]
    moved = clinic.item(made).start
    assert moved.astimezone(zone) == datetime(year, 4, 15, 10, 0, tzinfo=zone)
    assert moved - start.astimezone(UTC) == timedelta(days=14, hours=1)


def test_a_shift_into_a_gap_is_that_ones_problem(clinic: Clinic) -> None:
    zone = ZoneInfo("Europe/Lisbon")
    expert = clinic.world.expert(zone="Europe/Lisbon", horizon_days=365)
    service = clinic.world.service(expert, price=0)
    year = datetime.now(UTC).year + 1
    last = datetime(year, 3, 31, tzinfo=zone)
    sunday = last - timedelta(days=(last.weekday() + 1) % 7)
    start = sunday.replace(hour=1, minute=30) - timedelta(days=1)
    made = clinic.world.book(service, expert, clinic.patient, start).id
    answer = clinic.ask({"action": "reschedule", **items([made]), "shift_days": 1})
    assert outcomes(answer) == ["failed"]
    assert answer.body["results"][0]["problem"]["status"] == 422
    assert clinic.item(made).start == start


def test_a_shift_by_minutes_is_elapsed_time(clinic: Clinic) -> None:
    ids = clinic.book(2)
    starts = [clinic.item(one).start for one in ids]
    body = {"action": "reschedule", **items(ids[::-1]), "shift_minutes": 60}
    assert outcomes(clinic.ask(body)) == ["done", "done"]
    assert [clinic.item(one).start for one in ids] == [one + timedelta(hours=1) for one in starts]


@pytest.mark.parametrize("minutes", [60, -60])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("by_start", [False, True])
def test_no_one_is_in_the_next_ones_way(
    clinic: Clinic, minutes: int, turned: bool, by_start: bool
) -> None:
    """A whole morning is moved into itself, in whatever order it is named."""
    ids = clinic.book(3, days=4)
    starts = [clinic.item(one).start for one in ids]
    moved = [one + timedelta(minutes=minutes) for one in starts]
    body: dict[str, Any] = {"action": "reschedule", **items(ids), "shift_minutes": minutes}
    if by_start:
        del body["shift_minutes"]
        body["items"] = [
            {"id": one, "start": start.isoformat()} for one, start in zip(ids, moved, strict=True)
        ]
    if turned:
        body["items"].reverse()
    answer = clinic.ask(body)
    assert outcomes(answer) == ["done"] * 3, answer.body
    assert [one["id"] for one in answer.body["results"]] == [one["id"] for one in body["items"]]
    assert [clinic.item(one).start for one in ids] == moved


# ---------------------------------------------------------------- going on where it was


def crashing(after: int) -> Callable[[], bool]:
    """A worker's time, which is up after so many appointments."""
    left = iter([True] * after)
    return lambda: next(left, False)


def test_the_worker_goes_on_where_the_request_stopped(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = clinic.book(4)
    monkeypatch.setattr(bulk, "IN_REQUEST_S", 0.0)
    answer = clinic.ask({**CANCEL, **items(ids)})
    assert (answer.status, outcomes(answer)) == (202, ["pending"] * 4)
    job = answer.body["id"]
    assert answer.headers["Location"] == f"/v1/appointments/bulk/{job}"
    assert len(clinic.messages()) == 1
    assert clinic.states(ids) == ["confirmed"] * 4
    message = {"practice": clinic.world.practice, "job": job}
    bulk.resume(message, crashing(after=2))
    assert outcomes(clinic.look(job)) == ["done", "done", "pending", "pending"]
    # Its time was up: it has asked for another turn.
    assert len(clinic.messages()) == 2
    assert clinic.work(job) == {"batchItemFailures": []}
    done = clinic.look(job)
    assert (done.status, done.body["state"], done.body["done"]) == (200, "done", 4)
    versions = [clinic.item(one).version for one in ids]
    assert clinic.work(job) == {"batchItemFailures": []}
    assert [clinic.item(one).version for one in ids] == versions


def test_too_little_time_is_left_to_the_next_turn(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "IN_REQUEST_S", 0.0)
    ids = clinic.book(1)
    job = clinic.ask({**CANCEL, **items(ids)}).body["id"]
    clinic.work(job, milliseconds=20_000)
    assert clinic.states(ids) == ["confirmed"]
    assert len(clinic.messages()) == 2


def test_a_worker_that_dies_at_any_write_is_gone_on_from(
    clinic: Clinic, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "IN_REQUEST_S", 0.0)
    message = {"practice": clinic.world.practice}
    for number in range(6):
        for fault in (Faults.crash_before, Faults.crash_after):
            ids = clinic.book(2, days=4 + number)
            message["job"] = clinic.ask({**CANCEL, **items(ids)}).body["id"]
            with Faults(tables) as faults:
                through = [Faults.meanwhile(lambda: None)] * number
                faults.next("TransactWriteItems", *through, fault)
                try:
                    bulk.resume(message, lambda: True)
                except Crash:
                    assert faults.happened == number + 1
            bulk.resume(message, lambda: True)
            found = clinic.look(message["job"])
            assert outcomes(found) == ["done", "done"], (number, fault)
            assert clinic.states(ids) == ["cancelled", "cancelled"]
            for one in ids:
                table.transact([table.delete(clinic.item(one).key)])


def test_a_shift_moves_once_however_often_its_worker_dies(
    clinic: Clinic, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "IN_REQUEST_S", 0.0)
    [one] = clinic.book(1)
    start = clinic.item(one).start
    body = {"action": "reschedule", **items([one]), "shift_days": 2}
    message = {"practice": clinic.world.practice, "job": clinic.ask(body).body["id"]}
    with Faults(tables) as faults:
        # Moved, and gone before the result was written.
        faults.next("TransactWriteItems", Faults.crash_after)
        with pytest.raises(Crash):
            bulk.resume(message, lambda: True)
    assert clinic.item(one).start == start + timedelta(days=2)
    bulk.resume(message, lambda: True)
    assert outcomes(clinic.look(message["job"])) == ["done"]
    assert clinic.item(one).start == start + timedelta(days=2)


def test_two_workers_at_once_come_to_one_result(
    clinic: Clinic, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "IN_REQUEST_S", 0.0)
    ids = clinic.book(2)
    job = clinic.ask({**CANCEL, **items(ids)}).body["id"]
    message = {"practice": clinic.world.practice, "job": job}
    with Faults(tables) as faults:
        rival = Faults.meanwhile(lambda: bulk.resume(message, lambda: True))
        faults.next("TransactWriteItems", rival)
        bulk.resume(message, lambda: True)
    found = clinic.look(job)
    assert (found.body["state"], outcomes(found)) == ("done", ["done", "done"])


def test_our_own_bug_in_one_stops_no_other(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = clinic.book(2)
    load = appointments.load

    def broken(by: Any, appointment_id: str) -> AppointmentItem:
        if appointment_id == ids[0]:
            raise KeyError("Inês")
        return load(by, appointment_id)

    monkeypatch.setattr(appointments, "load", broken)
    answer = clinic.ask({**CANCEL, **items(ids)})
    assert outcomes(answer) == ["failed", "done"]
    assert answer.body["results"][0]["problem"]["status"] == 500
    assert "Inês" not in json.dumps(answer.body)


# ---------------------------------------------------------------- the same key, and a full queue


def test_the_same_key_is_the_same_job(clinic: Clinic) -> None:
    key = {"headers": {"Idempotency-Key": "k"}}
    body = {**CANCEL, **items(clinic.book(2))}
    first = clinic.ask(body, **key)
    again = clinic.ask(body, **key)
    assert (again.status, again.body) == (200, first.body)
    assert len(clinic.messages()) == 1
    other = clinic.ask({**body, "reason_code": "other"}, **key)
    assert other.status == 422


@pytest.mark.parametrize("kind", ["crash_before", "crash_after"])
def test_a_request_that_dies_has_told_the_worker(
    clinic: Clinic, tables: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whether or not its job was written: what was is worked on, without anybody asking again."""
    monkeypatch.setattr(bulk, "WORKER_AFTER_S", 0)
    ids = clinic.book(1)
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", getattr(faults, kind))
        with pytest.raises(Crash):
            clinic.ask({**CANCEL, **items(ids)})
    [message] = aws.client("sqs").receive_message(QueueUrl=clinic.queue)["Messages"]
    assert clinic.work(json.loads(message["Body"])["job"]) == {"batchItemFailures": []}
    assert clinic.states(ids) == ["confirmed" if kind == "crash_before" else "cancelled"]


def test_what_cannot_be_queued_was_not_begun(
    clinic: Clinic, environment: pytest.MonkeyPatch
) -> None:
    key = {"headers": {"Idempotency-Key": "k"}}
    ids = clinic.book(1)
    aws.client("sqs").delete_queue(QueueUrl=clinic.queue)
    assert clinic.ask({**CANCEL, **items(ids)}, **key).status == 503
    assert clinic.states(ids) == ["confirmed"]
    clinic.queue = aws.client("sqs").create_queue(QueueName="another")["QueueUrl"]
    environment.setenv("BULK_QUEUE_URL", clinic.queue)
    settings.reset()
    assert outcomes(clinic.ask({**CANCEL, **items(ids)}, **key)) == ["done"]


# ---------------------------------------------------------------- who, and what


def test_everybody_changes_only_what_they_see(clinic: Clinic) -> None:
    [mine] = clinic.book(1)
    other = clinic.world.expert()
    theirs = clinic.world.book(
        clinic.world.service(other, price=0), other, clinic.world.patient(), tomorrow()
    ).id
    elsewhere = World()
    stranger = elsewhere.expert()
    foreign = elsewhere.book(
        elsewhere.service(stranger, price=0), stranger, elsewhere.patient(), tomorrow()
    ).id
    body = {**CANCEL, **items([mine, theirs, foreign])}
    answer = clinic.ask(body, role="expert", subject=clinic.expert)
    assert outcomes(answer) == ["done", "failed", "failed"]
    assert clinic.states([theirs]) == ["confirmed"]
    job = answer.body["id"]
    assert clinic.look(job, "expert", clinic.expert).status == 200
    assert clinic.look(job, "owner").status == 200
    assert clinic.look(job, "expert", other).status == 404
    there = signed_in("owner", elsewhere.practice)
    path = f"/v1/appointments/bulk/{job}"
    assert call("bulk", "GET", path, context=there).status == 404
    assert call("bulk", "GET", path).status == 401
    assert clinic.look(new_id("bulk")).status == 404


def test_many_at_once_are_for_members_with_the_permission(clinic: Clinic) -> None:
    body = {**CANCEL, **items(clinic.book(1))}
    for role, action in (("viewer", body), ("billing", body), ("patient", body)):
        assert clinic.ask(action, role=role, subject=clinic.patient).status == 403
    shift = {"action": "reschedule", **items([new_id("appt")]), "shift_days": 1}
    assert outcomes(clinic.ask(shift, role="expert", subject=clinic.expert)) == ["failed"]


A, B = new_id("appt"), new_id("appt")
START = "2027-03-01T10:00:00Z"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "body.action"),
        ({"action": "delete"}, "body.action"),
        ({"items": []}, "body.items"),
        ({"items": [{"id": A}] * (MAX_ITEMS + 1)}, "body.items"),
        ({"items": [{"id": "x"}]}, "body.items.0.id"),
        ({"items": [{"id": A}, {"id": B, "start": "2027-03-01T10:00:00"}]}, "body.items.1.start"),
        ({"items": [{"id": A}, {"id": A}]}, "body"),
        ({"reason_code": None}, "body"),
        ({"reason_code": "bored"}, "body.reason_code"),
        ({"items": [{"id": A, "start": START}]}, "body"),
        ({"shift_days": 1}, "body"),
        ({"action": "complete"}, "body"),
        ({"action": "reschedule"}, "body"),
        ({"action": "reschedule", "reason_code": None}, "body"),
        ({"action": "reschedule", "reason_code": None, "shift_days": 0}, "body"),
        ({"action": "reschedule", "reason_code": None, "shift_days": 367}, "body.shift_days"),
        (
            {"action": "reschedule", "reason_code": None, "shift_days": 1, "shift_minutes": 1},
            "body",
        ),
        (
            {
                "action": "reschedule",
                "reason_code": None,
                "shift_days": 1,
                "items": [{"id": A, "start": START}],
            },
            "body",
        ),
    ],
)
def test_wrong_input_is_refused_before_anything_is_done(
    clinic: Clinic, body: dict[str, Any], path: str
) -> None:
    whole = {**CANCEL, "items": [{"id": A}], **body} if body else {"items": [{"id": A}]}
    answer = clinic.ask(whole)
    assert answer.status == 422, answer.body
    assert path in [error["path"] for error in answer.body["errors"]]
    assert clinic.messages() == []


def test_two_hundred_are_one_answer_of_one_page(clinic: Clinic) -> None:
    ids = [new_id("appt") for _ in range(MAX_ITEMS)]
    request = BulkRequest.model_validate({**CANCEL, **items(ids)})
    job = bulk.start(clinic.world.owner, request, None)
    while job.state == bulk.RUNNING:
        bulk.resume({"practice": clinic.world.practice, "job": job.id}, lambda: True)
        job = bulk.get(clinic.world.owner, job.id)
    assert [one.id for one in job.results] == ids
    assert job.failed == MAX_ITEMS


def test_a_start_beyond_all_dates_is_that_ones_problem(clinic: Clinic) -> None:
    [one] = clinic.book(1)
    moves = [{"id": one, "start": "9999-12-31T23:00:00Z"}]
    answer = clinic.ask({"action": "reschedule", "items": moves})
    assert outcomes(answer) == ["failed"]
    assert answer.body["results"][0]["problem"]["status"] == 422
