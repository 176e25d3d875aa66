"""What is done to one appointment: previewed, cancelled, paid by hand, noted; and how it shows."""

import json
from datetime import timedelta
from typing import Any

import pytest

from consulta.audit import fields
from consulta.core import table, trail
from consulta.core.errors import Conflict
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.time import now, to_text
from consulta.money.appointments import closing
from consulta.money.paying import payments
from consulta.money.paying.orders import Order
from consulta.people import policy as people_policy
from consulta.scheduling import notes
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.booking import CancelRequest
from tests.faults import Faults
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import Clock, World, tomorrow

PRICE = 5000
BY = Actor("test", "request-1")


@pytest.fixture
def world(tables: Any) -> World:
    return World()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(monkeypatch)
    for module in (closing, payments):
        monkeypatch.setattr(module, "now", lambda: clock.at)
    return clock


def ask(
    world: World,
    method: str,
    path: str,
    body: Any = None,
    *,
    function: str = "appointment_actions",
    role: str = "owner",
    subject: str = "",
    **request: Any,
) -> Answer:
    context = signed_in(role, world.practice, subject, person=f"person-{role}-{subject}")
    return call(function, method, path, body, context=context, **request)


def paths(answer: Answer) -> list[str]:
    return [error["path"] for error in answer.body["errors"]]


class Booked:
    """One confirmed appointment, three days ahead."""

    def __init__(self, world: World, **more: Any) -> None:
        self.world = world
        self.expert, self.patient = world.expert(), world.patient()
        self.service = world.service(self.expert, price=PRICE)
        self.id = world.book(
            self.service, self.expert, self.patient, tomorrow(days=3), confirm=True
        ).id
        if more:
            table.transact([table.change(self.item, BY, set_=more)])

    @property
    def path(self) -> str:
        return f"/v1/appointments/{self.id}"

    @property
    def item(self) -> AppointmentItem:
        found = table.get(AppointmentItem, self.world.tenant.item(APPOINTMENT, self.id))
        assert found
        return found

    def act(self, action: str, body: Any = None, **request: Any) -> Answer:
        return ask(self.world, "POST", f"{self.path}/{action}", body, **request)

    def pay(self, **request: Any) -> Answer:
        body = {"method": "cash", "received_at": now().date().isoformat()}
        return self.act("mark-paid", body, **request)

    def preview(self, reason: str = "patient_request", **request: Any) -> Answer:
        return self.act("cancellation-preview", {"reason_code": reason}, **request)

    def show(self, **request: Any) -> Answer:
        return ask(self.world, "GET", self.path, function="appointments", **request)


@pytest.fixture
def booked(world: World) -> Booked:
    return Booked(world)


def amounts(preview: dict[str, Any]) -> tuple[int, int, int]:
    return tuple(preview[name]["amount"] for name in ("paid", "kept", "refund"))  # type: ignore[return-value]


# ---------------------------------------------------------------- previews, and cancelling


def test_a_preview_says_what_cancelling_gives_back(booked: Booked, clock: Clock) -> None:
    assert booked.pay().status == 201
    free = booked.preview()
    assert (free.status, amounts(free.body)) == (200, (PRICE, 0, PRICE))
    assert free.body["lines"] == [
        {"name": name, "amount": {"amount": minor, "currency": "EUR"}}
        for name, minor in (("paid", PRICE), ("kept", 0), ("refund", PRICE))
    ]
    assert free.body["step"]["min_notice_s"] == 86_400
    assert (free.body["currency"], free.body["commission_returned"]) == ("EUR", True)
    until = booked.item.start - timedelta(days=1)
    assert free.body["valid_until"] == to_text(until).replace(".000Z", "Z")
    clock.at = until + timedelta(seconds=1)
    late = booked.preview()
    assert amounts(late.body) == (PRICE, PRICE // 2, PRICE // 2)
    assert late.body["valid_until"] is None
    assert late.body["hash"] != free.body["hash"]
    own = booked.preview("expert_request")
    assert amounts(own.body) == (PRICE, 0, PRICE)
    assert own.body["step"] == {"rule": "expert_cancel", "min_notice_s": None, "keep": None}
    # A patient's reason is the patient's terms, whatever they call it.
    patient = {"role": "patient", "subject": booked.patient}
    assert amounts(booked.preview("illness", **patient).body) == (PRICE, PRICE // 2, PRICE // 2)


def test_the_refund_is_what_the_preview_said(booked: Booked, clock: Clock) -> None:
    booked.pay()
    clock.at = booked.item.start - timedelta(hours=2)
    shown = booked.preview().body
    body = {"reason_code": "patient_request", "preview_hash": shown["hash"], "notify": False}
    done = booked.act("cancel", body)
    assert (done.status, done.body["status"]) == (200, "cancelled")
    assert done.body["payment_status"] == "partially_refunded"
    [payment] = Order.read(booked.world.tenant, booked.item.order_id).payments()
    assert payment.refunded == shown["refund"]["amount"]
    assert booked.item.notify is False
    again = booked.act("cancel", body)
    assert (again.status, again.body["appointment_status"]) == (409, "cancelled")
    assert booked.preview().status == 409


def test_an_answer_that_changed_since_is_a_conflict_with_the_new_one(
    booked: Booked, clock: Clock
) -> None:
    booked.pay()
    agreed = booked.preview().body
    clock.at = booked.item.start - timedelta(hours=23)
    body = {"reason_code": "patient_request", "preview_hash": agreed["hash"]}
    refused = booked.act("cancel", body)
    assert (refused.status, amounts(refused.body["preview"])) == (409, (PRICE, 2500, 2500))
    assert booked.item.status == "confirmed"
    assert refused.body["preview"] == booked.preview().body
    body["preview_hash"] = refused.body["preview"]["hash"]
    assert booked.act("cancel", body).status == 200


def test_after_its_start_only_the_practice_cancels(booked: Booked, clock: Clock) -> None:
    clock.at = booked.item.start
    patient = {"role": "patient", "subject": booked.patient}
    refused = booked.preview(**patient)
    assert (refused.status, refused.body["appointment_status"]) == (409, "confirmed")
    assert booked.act("cancel", {"reason_code": "other"}, **patient).status == 409
    assert booked.preview("other").status == 200
    assert booked.act("cancel", {"reason_code": "other"}).status == 200


def test_what_is_paid_after_the_preview_changes_the_answer(booked: Booked) -> None:
    unpaid = booked.preview().body
    assert amounts(unpaid) == (0, 0, 0)
    booked.pay()
    body = {"reason_code": "patient_request", "preview_hash": unpaid["hash"]}
    assert booked.act("cancel", body).status == 409


def test_notice_counts_to_the_earlier_start_after_a_late_move(world: World) -> None:
    """Rules §9: moved inside the window, it is cancelled on the terms of the time that it had."""
    booked = Booked(world, notice_start=to_text(now() + timedelta(hours=3)))
    booked.pay()
    assert amounts(booked.preview().body) == (PRICE, PRICE // 2, PRICE // 2)
    assert booked.act("cancel", {"reason_code": "patient_request"}).status == 200
    [payment] = Order.read(world.tenant, booked.item.order_id).payments()
    assert payment.refunded == PRICE // 2


def test_the_policy_is_the_one_that_it_was_booked_under(booked: Booked) -> None:
    booked.pay()
    strict = {**people_policy.default_policy("EUR"), "version": 2}
    strict["cancel"] = [{"min_notice_s": 0, "keep": {"fixed": 0, "percent": 100}}]
    other = Booked(booked.world, policy=json.dumps(strict))
    other.pay()
    assert amounts(other.preview().body) == (PRICE, PRICE, 0)
    assert amounts(booked.preview().body) == (PRICE, 0, PRICE)


def test_two_who_cancel_at_once_refund_once(booked: Booked, tables: Any) -> None:
    booked.pay()
    request = CancelRequest.model_validate({"reason_code": "illness"})
    owner = booked.world.owner
    with Faults(tables) as faults:
        rival = Faults.meanwhile(lambda: closing.cancel(owner, booked.id, request))
        faults.next("TransactWriteItems", rival)
        with pytest.raises(Conflict):
            closing.cancel(owner, booked.id, request)
        assert faults.happened == 1
    [payment] = Order.read(booked.world.tenant, booked.item.order_id).payments()
    assert payment.refunded == PRICE


@pytest.mark.parametrize(
    ("action", "body", "path"),
    [
        ("cancel", {}, "body.reason_code"),
        ("cancel", {"reason_code": "bored"}, "body.reason_code"),
        ("cancel", {"reason_code": "not_approved"}, "body.reason_code"),
        ("cancel", {"reason_code": "other", "preview_hash": "x"}, "body.preview_hash"),
        ("cancel", {"reason_code": "other", "notify": "maybe"}, "body.notify"),
        ("cancel", {"reason_code": "other", "note": "x" * 501}, "body.note"),
        ("cancel", {"reason_code": "other", "refund": 1}, "body.refund"),
        ("cancellation-preview", {"reason_code": None}, "body.reason_code"),
        ("mark-paid", {"method": "card", "received_at": "2026-11-20"}, "body.method"),
        ("mark-paid", {"method": "cash", "received_at": "2026-02-30"}, "body.received_at"),
        ("mark-paid", {"method": "cash", "received_at": "2999-01-01"}, "body.received_at"),
        ("mark-paid", {"method": "cash"}, "body.received_at"),
        ("decline", {"reason_code": "not_approved"}, "body.reason_code"),
        ("reschedule", {}, "body.start"),
        ("reschedule", {"start": "2027-01-01T10:00:00"}, "body.start"),
        ("notes", {"text": ""}, "body.text"),
        ("notes", {"text": "x" * 10_001}, "body.text"),
        ("notes", {"text": "a\u0000b"}, "body.text"),
    ],
)
def test_wrong_input_is_told_its_field(
    booked: Booked, action: str, body: dict[str, Any], path: str
) -> None:
    function = "notes" if action == "notes" else "appointment_actions"
    answer = booked.act(action, body, function=function)
    assert (answer.status, paths(answer)) == (422, [path])
    assert booked.item.version == 1


ACTIONS = {
    "confirm": None,
    "approve": None,
    "decline": {},
    "complete": None,
    "no-show": None,
    "cancellation-preview": {"reason_code": "other"},
    "cancel": {"reason_code": "other"},
    "reschedule": {"start": tomorrow(12, days=3).isoformat()},
    "mark-paid": {"method": "cash", "received_at": "2026-11-20"},
}


@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_not_the_callers_is_not_there(booked: Booked, action: str) -> None:
    body = ACTIONS[action]
    elsewhere = signed_in("owner", World().practice)
    path = f"{booked.path}/{action}"
    assert call("appointment_actions", "POST", path, body, context=elsewhere).status == 404
    other = {"role": "expert", "subject": booked.world.expert()}
    assert booked.act(action, body, **other).status == 404
    unknown = f"/v1/appointments/{new_id('appt')}/{action}"
    assert ask(booked.world, "POST", unknown, body).status == 404
    assert ask(booked.world, "POST", f"/v1/appointments/x/{action}", body).status == 422
    assert booked.act(action, body, role="viewer").status == 403
    assert call("appointment_actions", "POST", path, body).status == 401
    patients_may = action in ("cancellation-preview", "cancel", "reschedule")
    patient = booked.act(action, body, role="patient", subject=booked.world.patient())
    assert patient.status == (404 if patients_may else 403)
    assert booked.item.version == 1


def test_times_are_suggested_and_one_of_them_is_taken(booked: Booked) -> None:
    path = f"{booked.path}/reschedule-suggestions"
    found = ask(booked.world, "GET", path, query="limit=3")
    assert found.status == 200, found.body
    [first, *rest] = found.body["items"]
    assert len(rest) == 2
    moved = booked.act("reschedule", {"start": first["start"]})
    assert (moved.status, moved.body["rescheduled"]) == (200, 1)
    assert booked.item.start.isoformat() == first["start"].replace("Z", "+00:00")
    stale = {"headers": {"If-Match": '"1"'}}
    assert booked.act("reschedule", {"start": rest[0]["start"]}, **stale).status == 412
    for query, path_ in (("limit=0", "query.limit"), ("limit=51", "query.limit")):
        refused = ask(booked.world, "GET", path, query=query)
        assert (refused.status, paths(refused)) == (422, [path_])
    assert ask(booked.world, "GET", path, role="viewer").status == 403
    other = booked.world.expert()
    assert ask(booked.world, "GET", path, role="expert", subject=other).status == 404


# ---------------------------------------------------------------- paid by hand


def test_what_a_member_has_taken_pays_it(booked: Booked) -> None:
    paid = booked.pay(headers={"Idempotency-Key": "k"})
    assert (paid.status, paid.body["amount"]) == (201, {"amount": PRICE, "currency": "EUR"})
    assert paid.headers["Location"] == f"/v1/payments/{paid.body['id']}"
    assert booked.item.payment_status == "paid"
    assert booked.pay(headers={"Idempotency-Key": "k"}).body["id"] == paid.body["id"]
    assert booked.pay().status == 409
    assert booked.pay(role="patient", subject=booked.patient).status == 403


def test_what_costs_nothing_cannot_be_paid(world: World) -> None:
    expert = world.expert()
    made = world.book(world.service(expert, price=0), expert, world.patient(), tomorrow())
    body = {"method": "cash", "received_at": now().date().isoformat()}
    assert ask(world, "POST", f"/v1/appointments/{made.id}/mark-paid", body).status == 409


# ---------------------------------------------------------------- all of it shown


def test_one_appointment_in_full(world: World) -> None:
    place = {"kind": "in_person", "address": "Rua do Ouro 1"}
    booked = Booked(
        world, location=json.dumps(place), meeting_url="https://meet.example/a", resource_ids=[]
    )
    payment = booked.pay().body
    for number in range(22):
        row = {
            "kind": "confirmed",
            "channel": "email",
            "status": "sent",
            "at": to_text(tomorrow(minute=number)),
        }
        key = world.tenant.sub(APPOINTMENT, booked.id, "NOTIFICATION", f"{number:03d}")
        table.transact([table.put_values(key, row)])
    shown = booked.show()
    assert (shown.status, shown.headers["ETag"]) == (200, f'"{shown.body["version"]}"')
    assert shown.body["patient"] == {"id": booked.patient, "name": "Inês Carvalho"}
    assert shown.body["location"] == place
    assert shown.body["meeting_url"] == "https://meet.example/a"
    [line] = shown.body["payments"]
    assert line == {
        name: payment[name] for name in ("id", "part", "provider", "status", "amount", "created_at")
    } | {"refunded": {"amount": 0, "currency": "EUR"}}
    assert len(shown.body["notifications"]) == 20
    assert shown.body["notifications"][0] == {
        "kind": "confirmed",
        "channel": "email",
        "status": "sent",
        "at": to_text(tomorrow(minute=21)).replace(".000Z", "Z"),
        "reason": None,
    }


def test_who_sees_what_of_it(booked: Booked) -> None:
    booked.pay()
    patient = booked.show(role="patient", subject=booked.patient)
    assert (patient.status, len(patient.body["payments"])) == (200, 1)
    assert patient.body["patient"]["name"] == "Inês Carvalho"
    expert = booked.show(role="expert", subject=booked.expert)
    assert (expert.status, len(expert.body["payments"])) == (200, 1)
    billing = booked.show(role="billing")
    assert billing.body["patient"] == {"id": booked.patient, "name": None}
    assert booked.show(role="expert", subject=booked.world.expert()).status == 404
    assert booked.show(role="patient", subject=booked.world.patient()).status == 404


def test_the_detail_is_read_in_a_fixed_number_of_calls(booked: Booked, tables: Any) -> None:
    booked.pay()
    booked.show()
    with Faults(tables) as faults:
        booked.show()
        assert dict(faults.calls) == {"GetItem": 1, "Query": 2, "BatchGetItem": 1}


# ---------------------------------------------------------------- notes


class Told:
    """What the audit was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.facts: list[tuple[str, Any]] = []
        self.works = True
        monkeypatch.setattr(trail, "record", self.record)

    def record(self, kind: str, *_: Any, facts: Any, **__: Any) -> bool:
        self.facts.append((kind, facts))
        return self.works


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def note(booked: Booked, method: str, rest: str = "", body: Any = None, **request: Any) -> Answer:
    path = f"{booked.path}/notes{rest}"
    return ask(booked.world, method, path, body, function="notes", **request)


def test_a_note_from_its_writing_to_its_end(booked: Booked, told: Told) -> None:
    key = {"headers": {"Idempotency-Key": "k"}}
    made = note(booked, "POST", body={"text": "Sleeps badly\nagain"}, **key)
    one = f"/{made.body['id']}"
    assert (made.status, made.headers["ETag"]) == (201, '"1"')
    assert made.headers["Location"] == f"{booked.path}/notes{one}"
    again = note(booked, "POST", body={"text": "Sleeps badly\nagain"}, **key)
    assert again.body == made.body
    assert told.facts == []
    read = note(booked, "GET")
    assert [item["text"] for item in read.body["items"]] == ["Sleeps badly\nagain"]
    facts = {"appointment": booked.id, "patients": booked.patient}
    assert told.facts == [("notes_read", facts)]
    stale = {"headers": {"If-Match": '"7"'}}
    assert note(booked, "PATCH", one, {"text": "b"}, **stale).status == 412
    changed = note(booked, "PATCH", one, {"text": "b"}, headers={"If-Match": '"1"'})
    assert (changed.body["text"], changed.body["version"]) == ("b", 2)
    assert note(booked, "DELETE", one, headers={"If-Match": '"1"'}).status == 412
    assert note(booked, "DELETE", one).status == 204
    assert note(booked, "DELETE", one).status == 404
    assert note(booked, "GET").body == {"items": [], "next_cursor": None}
    # Nothing was shown, so nothing was read.
    assert len(told.facts) == 1


def test_a_key_is_good_for_one_appointment(booked: Booked, told: Told) -> None:
    key, body = {"headers": {"Idempotency-Key": "k"}}, {"text": "a"}
    assert note(booked, "POST", body=body, **key).status == 201
    other = Booked(booked.world)
    assert note(other, "POST", body=body, **key).status == 422


def test_no_note_is_shown_that_the_audit_does_not_hear_of(booked: Booked, told: Told) -> None:
    note(booked, "POST", body={"text": "secret"})
    told.works = False
    refused = note(booked, "GET")
    assert (refused.status, "secret" in json.dumps(refused.body)) == (503, False)


def test_notes_are_for_who_sees_the_patient(booked: Booked, told: Told) -> None:
    mine = {"role": "expert", "subject": booked.expert}
    made = note(booked, "POST", body={"text": "a"}, **mine)
    one = f"/{made.body['id']}"
    assert note(booked, "GET", **mine).status == 200
    for role in ("billing", "viewer", "patient"):
        denied = note(booked, "GET", role=role, subject=booked.patient)
        assert denied.status == 403
        assert note(booked, "POST", body={"text": "a"}, role=role).status == 403
    other = {"role": "expert", "subject": booked.world.expert()}
    assert note(booked, "GET", **other).status == 404
    # The owner may take it away, but not put other words into its author's mouth.
    assert note(booked, "PATCH", one, {"text": "b"}).status == 403
    theirs = note(booked, "POST", body={"text": "c"})
    assert note(booked, "DELETE", f"/{theirs.body['id']}", **mine).status == 403
    assert note(booked, "DELETE", one).status == 204
    elsewhere = signed_in("owner", World().practice)
    assert call("notes", "GET", f"{booked.path}/notes", context=elsewhere).status == 404


def test_notes_come_page_by_page_the_newest_first(booked: Booked, told: Told) -> None:
    for number in range(5):
        note(booked, "POST", body={"text": str(number)})
    first = note(booked, "GET", query="limit=3").body
    assert sorted(one["text"] for one in first["items"]) == ["2", "3", "4"]
    rest = note(booked, "GET", query=f"limit=3&cursor={first['next_cursor']}").body
    assert sorted(one["text"] for one in rest["items"]) == ["0", "1"]
    other = Booked(booked.world)
    assert note(other, "GET", query=f"cursor={first['next_cursor']}").status == 400


def test_the_audit_keeps_a_note_under_the_patients_key() -> None:
    assert fields.permission_for(notes.NOTE, "text") == fields.NOTES
    found = fields.subject_of(notes.NOTE, "appt_1", "prac_1", {"patient_id": "pat_1"})
    assert found == "pat_1"
