"""The waitlist: a freed time is held for the first whom it suits, and for nobody else."""

import json
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from consulta.core import settings, table
from consulta.core.bus import SOURCE, Event
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, to_epoch
from consulta.money.appointments import closing
from consulta.scheduling import (
    holds,
    packages,
    rescheduling,
    transitions,
    waitlist,
    waitlist_offering,
)
from consulta.scheduling.records import (
    APPOINTMENT,
    PACKAGE,
    WAITLIST,
    AppointmentItem,
    PackageItem,
    Status,
)
from consulta.scheduling.schema.booking import CancelRequest, RescheduleRequest
from consulta.scheduling.schema.packages import PackageRequest
from consulta.scheduling.waitlist_records import WaitlistItem, live_row
from tests.faults import Crash, Faults
from tests.unit.people.calling import Answer, call, handler, signed_in
from tests.unit.scheduling.world import Clock, World, tomorrow

BY = Actor("sweep", "request-9")
DAY = 5


class Clinic:
    """An expert with one hour a day, all of them booked for three days."""

    def __init__(self, price: int = 0) -> None:
        hours = [{"from": "10:00", "to": "11:00"}]
        days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
        self.world = World()
        self.expert = self.world.expert(
            weekly=dict.fromkeys(days, hours), slot_interval_minutes=60, horizon_days=DAY + 2
        )
        self.service = self.world.service(self.expert, price=price)
        self.booked = {
            n: self.world.book(
                self.service,
                self.expert,
                self.world.patient(),
                tomorrow(10, days=n),
                confirm=True,
            ).id
            for n in range(1, DAY + 3)
        }

    def body(self, **changes: Any) -> dict[str, Any]:
        return {
            "service_id": self.service,
            "patient_id": self.world.patient(),
            "from": tomorrow(days=1).date().isoformat(),
            "to": tomorrow(days=DAY + 2).date().isoformat(),
            "zone": "UTC",
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
        return call("waitlist", method, f"/v1/waitlist{path}", body, context=context, **request)

    def join(self, **changes: Any) -> str:
        answer = self.call("POST", body=self.body(**changes))
        assert answer.status == 201, answer.body
        return str(answer.body["id"])

    def entry(self, entry_id: str) -> WaitlistItem:
        found = table.get(WaitlistItem, self.world.tenant.item(WAITLIST, entry_id))
        assert found
        return found

    def states(self, *entries: str) -> list[str]:
        return [self.entry(one).status for one in entries]

    def item(self, appointment_id: str) -> AppointmentItem:
        found = table.get(AppointmentItem, self.world.tenant.item(APPOINTMENT, appointment_id))
        assert found
        return found

    def offer_of(self, entry_id: str) -> AppointmentItem:
        return self.item(str(self.entry(entry_id).appointment_id))

    def cancel(self, appointment_id: str) -> None:
        request = CancelRequest.model_validate({"reason_code": "illness"})
        closing.cancel(self.world.owner, appointment_id, request)

    def free(self, day: int) -> str:
        """The booking of that day is cancelled, and the bus tells of it."""
        self.cancel(self.booked[day])
        self.tell(self.booked[day])
        return self.booked[day]

    def tell(self, appointment_id: str, *, was: str = "confirmed", moved: bool = False) -> None:
        assert self.told(appointment_id, was=was, moved=moved) == {"batchItemFailures": []}

    def told(self, appointment_id: str, *, was: str = "confirmed", moved: bool = False) -> Any:
        """The worker's function gets the event of the appointment's last change."""
        item = self.item(appointment_id)
        detail = {
            "practice": self.world.practice,
            "entity": APPOINTMENT,
            "id": appointment_id,
            "version": int(item.version),
            "action": "changed",
            "status": item.status,
            "was": was,
            "moved": moved,
        }
        record = {"messageId": "1", "body": json.dumps({"source": SOURCE, "detail": detail})}
        context = SimpleNamespace(aws_request_id="aws-1", function_name="waitlist_offers")
        return handler("waitlist_offers")({"Records": [record]}, context)

    def held(self) -> list[AppointmentItem]:
        """All holds there are."""
        partition = self.world.tenant.listing_by(APPOINTMENT, "EXPERT", self.expert)
        items = [AppointmentItem.read(raw) for raw in table.Query(partition, index="l2").all()]
        return [item for item in items if item.status == Status.HELD]


@pytest.fixture
def clinic(tables: Any) -> Clinic:
    return Clinic()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock(monkeypatch)
    for module in (waitlist, waitlist_offering, closing):
        monkeypatch.setattr(module, "now", lambda: found.at)
    return found


# ---------------------------------------------------------------- joining


def test_joining_leaving_and_seeing(clinic: Clinic) -> None:
    patient = clinic.world.patient()
    window = {"from": "09:00", "to": "12:00"}
    answer = clinic.call(
        "POST",
        body=clinic.body(patient_id=patient, days=["monday", "friday"], time_window=window),
    )
    assert answer.status == 201
    made = answer.body["id"]
    assert answer.headers["Location"] == f"/v1/waitlist/{made}"
    assert (answer.body["status"], answer.body["time_window"]) == ("waiting", window)
    assert answer.body["days"] == ["monday", "friday"]
    for query in (f"service_id={clinic.service}", f"patient_id={patient}"):
        listed = clinic.call("GET", query=query).body["items"]
        assert [one["id"] for one in listed] == [made]
    mine = clinic.call("GET", role="patient", subject=patient).body["items"]
    assert [one["id"] for one in mine] == [made]
    assert clinic.call("GET", f"/{made}", role="patient", subject=new_id("pat")).status == 404
    assert clinic.call("GET").body["errors"][0]["path"] == "query.service_id"
    assert clinic.call("DELETE", f"/{made}", headers={"If-Match": '"9"'}).status == 412
    assert clinic.call("DELETE", f"/{made}").status == 204
    assert clinic.call("DELETE", f"/{made}").status == 204
    assert clinic.call("GET", f"/{made}").body["status"] == "left"
    assert clinic.call("GET", query=f"service_id={clinic.service}").body["items"] == []
    assert clinic.call("POST", body=clinic.body(patient_id=patient)).status == 201


def test_one_live_entry_for_the_same_and_ten_in_all(clinic: Clinic) -> None:
    patient = clinic.world.patient()
    first = clinic.join(patient_id=patient)
    again = clinic.call("POST", body=clinic.body(patient_id=patient))
    assert (again.status, again.body["existing_id"]) == (409, first)
    # With that very expert is another wish than with any.
    clinic.join(patient_id=patient, expert_id=clinic.expert)
    for _ in range(8):
        other = clinic.world.service(clinic.expert, price=0)
        clinic.join(patient_id=patient, service_id=other)
    full = clinic.call(
        "POST",
        body=clinic.body(
            patient_id=patient, service_id=clinic.world.service(clinic.expert, price=0)
        ),
    )
    assert (full.status, full.body["code"]) == (409, "too-many")


def test_entries_whose_range_is_over_count_no_more(clinic: Clinic, clock: Clock) -> None:
    patient = clinic.world.patient()
    short = {"to": tomorrow(days=1).date().isoformat()}
    made = clinic.join(patient_id=patient, **short)
    clock.forward(days=2)
    assert clinic.call("GET", f"/{made}").body["status"] == "expired"
    assert clinic.join(patient_id=patient)
    assert made not in live_row(clinic.world.tenant, patient).entries
    # Whoever offers a time ends it.
    clinic.free(4)
    assert clinic.entry(made).status == "expired"


def test_two_requests_at_once_make_one_entry(clinic: Clinic, tables: Any) -> None:
    patient, outcomes = clinic.world.patient(), []
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            Faults.meanwhile(
                lambda: outcomes.append(clinic.call("POST", body=clinic.body(patient_id=patient)))
            ),
        )
        late = clinic.call("POST", body=clinic.body(patient_id=patient))
    assert (outcomes[0].status, late.status) == (201, 409)
    assert late.body["existing_id"] == outcomes[0].body["id"]


def test_a_lost_answer_and_a_repeated_key_join_once(clinic: Clinic, tables: Any) -> None:
    body, headers = clinic.body(), {"Idempotency-Key": "once"}
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.lost_answer)
        first = clinic.call("POST", body=body, headers=headers)
    again = clinic.call("POST", body=body, headers=headers)
    assert (first.status, first.body["id"]) == (201, again.body["id"])
    assert len(live_row(clinic.world.tenant, body["patient_id"]).entries) == 1


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"to": "2020-01-01"}, "body.to"),
        ({"from": "2020-01-01", "to": "2020-02-01"}, "body.to"),
        ({"from": "2029-01-01", "to": "2029-01-02"}, "body.to"),
        ({"to": "2027-12-01"}, "body.to"),
        ({"from": "soon"}, "body.from"),
        ({"zone": "Mars/Olympus"}, "body.zone"),
        ({"days": ["someday"]}, "body.days.0"),
        ({"time_window": {"from": "12:00", "to": "09:00"}}, "body.time_window"),
        ({"time_window": {"from": "12:00"}}, "body.time_window.to"),
        ({"patient_id": None}, "body.patient_id"),
        ({"service_id": "it"}, "body.service_id"),
        ({"colour": "red"}, "body.colour"),
    ],
)
def test_what_cannot_be_taken_is_named(clinic: Clinic, changes: dict[str, Any], path: str) -> None:
    answer = clinic.call("POST", body=clinic.body(**changes))
    assert answer.status == 422, answer.body
    assert answer.body["errors"][0]["path"] == path


def test_a_weekday_outside_the_range_is_named(clinic: Clinic) -> None:
    day = tomorrow(days=3)
    wrong = waitlist.WEEKDAYS[(day.weekday() + 1) % 7]
    one_day = day.date().isoformat()
    answer = clinic.call("POST", body=clinic.body(**{"from": one_day}, to=one_day, days=[wrong]))
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "body.days")


def test_what_is_not_the_practices_is_not_there(clinic: Clinic) -> None:
    stranger = Clinic()
    for name in ("service_id", "patient_id"):
        theirs = {"service_id": stranger.service, "patient_id": stranger.world.patient()}[name]
        assert clinic.call("POST", body=clinic.body(**{name: theirs})).status == 404
    assert clinic.call("POST", body=clinic.body(expert_id=stranger.expert)).status == 404
    made = clinic.join()
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/accept"),
        ("POST", "/decline"),
    ):
        assert stranger.call(method, f"/{made}{path}").status == 404


# ---------------------------------------------------------------- offers


def test_a_freed_time_is_held_for_the_first_in_order(clinic: Clinic) -> None:
    first, second = clinic.join(), clinic.join()
    clinic.free(2)
    assert clinic.states(first, second) == ["offered", "waiting"]
    offer = clinic.offer_of(first)
    assert (offer.status, offer.start, offer.waitlist_id) == (
        Status.HELD,
        tomorrow(10, days=2),
        first,
    )
    shown = clinic.call("GET", f"/{first}").body
    assert shown["appointment_id"] == offer.item_id
    assert datetime.fromisoformat(shown["offer_until"]) == offer.hold_expires_at
    left = offer.hold_expires_at - offer.created_at
    assert timedelta(minutes=119) < left <= timedelta(hours=2)
    # A second freed time goes to the second.
    clinic.free(3)
    assert clinic.states(first, second) == ["offered", "offered"]
    assert clinic.offer_of(second).start == tomorrow(10, days=3)


def test_it_goes_to_the_first_whom_it_suits(clinic: Clinic) -> None:
    elsewhere = clinic.world.expert()
    other_service = clinic.world.service(clinic.expert, elsewhere, price=0)
    day = tomorrow(10, days=4)
    weekday = waitlist.WEEKDAYS
    out_of_range = clinic.join(to=tomorrow(days=3).date().isoformat())
    wrong_day = clinic.join(days=[weekday[(day.weekday() + 1) % 7]])
    too_early = clinic.join(time_window={"from": "08:00", "to": "10:59"})
    another_service = clinic.join(service_id=other_service)
    another_expert = clinic.join(service_id=other_service, expert_id=elsewhere)
    busy = clinic.world.patient()
    clinic.world.book(other_service, elsewhere, busy, day)
    busy_then = clinic.join(patient_id=busy)
    fits = clinic.join(
        days=[weekday[day.weekday()]],
        time_window={"from": "10:00", "to": "11:00"},
        expert_id=clinic.expert,
    )
    late = clinic.join()
    clinic.free(4)
    nobody = [out_of_range, wrong_day, too_early, another_service, another_expert, busy_then]
    assert clinic.states(*nobody, fits, late) == ["waiting"] * 6 + ["offered", "waiting"]


def test_the_window_is_on_the_clocks_of_the_entrys_zone(clinic: Clinic) -> None:
    tokyo = {"zone": "Asia/Tokyo"}
    wrong = clinic.join(time_window={"from": "10:00", "to": "11:00"}, **tokyo)
    right = clinic.join(time_window={"from": "19:00", "to": "20:00"}, **tokyo)
    clinic.free(4)
    assert clinic.states(wrong, right) == ["waiting", "offered"]


def test_told_twice_it_is_one_offer(clinic: Clinic) -> None:
    entries = [clinic.join(), clinic.join()]
    freed = clinic.free(2)
    # Another time has become free meanwhile: the repeated event is not about that.
    clinic.cancel(clinic.booked[3])
    clinic.tell(freed)
    assert clinic.states(*entries) == ["offered", "waiting"]
    assert len(clinic.held()) == 1


def test_two_deliveries_at_once_make_one_offer(clinic: Clinic, tables: Any) -> None:
    entries = [clinic.join(), clinic.join()]
    clinic.cancel(clinic.booked[2])
    clinic.cancel(clinic.booked[3])
    with Faults(tables) as faults:
        # Between the first one's reading and its writing, the second does all of its work.
        faults.next("TransactWriteItems", Faults.meanwhile(lambda: clinic.tell(clinic.booked[2])))
        clinic.tell(clinic.booked[2])
        assert clinic.states(*entries) == ["offered", "waiting"]
        assert len(clinic.held()) == 1
        # Two events at once are two offers, to two.
        clinic.cancel(clinic.booked[4])
        faults.next("TransactWriteItems", Faults.meanwhile(lambda: clinic.tell(clinic.booked[4])))
        clinic.tell(clinic.booked[3])
    third = clinic.join()
    assert clinic.states(*entries, third)[:2] == ["offered", "offered"]
    assert len({item.start for item in clinic.held()}) == len(clinic.held()) == 2


@pytest.mark.parametrize("kind", ["crash_before", "crash_after"])
def test_a_worker_that_dies_offers_once(clinic: Clinic, tables: Any, kind: str) -> None:
    entries = [clinic.join(), clinic.join()]
    clinic.cancel(clinic.booked[2])
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", getattr(faults, kind))
        with pytest.raises(Crash):
            clinic.tell(clinic.booked[2])
    clinic.tell(clinic.booked[2])
    assert clinic.states(*entries) == ["offered", "waiting"]
    assert len(clinic.held()) == 1


def test_an_offer_that_nobody_answers_goes_to_the_next(clinic: Clinic, clock: Clock) -> None:
    first, second = clinic.join(), clinic.join()
    clinic.free(3)
    offer = clinic.offer_of(first)
    clock.forward(hours=3)
    assert holds.expire(clinic.item(offer.item_id), BY)
    clinic.tell(offer.item_id, was="held")
    # It waits on, in its place, and is not offered the same again.
    assert clinic.states(first, second) == ["waiting", "offered"]
    assert int(clinic.entry(first).ignored) == 1
    assert clinic.offer_of(second).start == offer.start


def test_the_third_offer_in_vain_is_the_last(clinic: Clinic, clock: Clock) -> None:
    made = clinic.join()
    for number, day in enumerate((4, 5, 6), start=1):
        clinic.free(day)
        offer = clinic.offer_of(made)
        assert offer.start == tomorrow(10, days=day)
        clock.forward(hours=3)
        assert holds.expire(offer, BY)
        clinic.tell(offer.item_id, was="held")
        assert int(clinic.entry(made).ignored) == number
    assert clinic.entry(made).status == "expired"
    patient = str(clinic.entry(made).patient_id)
    assert live_row(clinic.world.tenant, patient).entries == {}


def test_it_is_not_held_beyond_the_minimum_notice(
    clinic: Clinic, clock: Clock, environment: pytest.MonkeyPatch
) -> None:
    made = clinic.join()
    clock.at = tomorrow(9, 0, days=2)
    clinic.free(2)
    assert clinic.offer_of(made).hold_expires_at == tomorrow(10, days=2)
    environment.setenv("WAITLIST_OFFER_MINUTES", "30")
    settings.reset()
    other = clinic.join()
    clinic.free(3)
    assert clinic.offer_of(other).hold_expires_at == clock_second(clock) + timedelta(minutes=30)
    # Ten minutes before is too late for anybody to answer.
    last = clinic.join()
    clock.at = tomorrow(9, 50, days=4)
    clinic.free(4)
    assert clinic.entry(last).status == "waiting"


def clock_second(clock: Clock) -> datetime:
    return from_epoch(to_epoch(clock.at))


def test_a_moved_appointment_leaves_a_time(clinic: Clinic) -> None:
    made = clinic.join()
    request = RescheduleRequest(start=tomorrow(15, days=2), override=True)
    rescheduling.reschedule(clinic.world.owner, clinic.booked[2], request, None)
    clinic.tell(clinic.booked[2], moved=True)
    assert clinic.offer_of(made).start == tomorrow(10, days=2)


# ---------------------------------------------------------------- answering


def test_accepting_what_is_free_of_charge_books_it(clinic: Clinic) -> None:
    made = clinic.join()
    patient = str(clinic.entry(made).patient_id)
    who = {"role": "patient", "subject": patient}
    early = clinic.call("POST", f"/{made}/accept", **who)
    assert (early.status, early.body["code"]) == (409, "not-offered")
    clinic.free(2)
    for _ in range(2):
        answer = clinic.call("POST", f"/{made}/accept", **who)
        assert (answer.status, answer.body["status"]) == (200, "booked")
    assert clinic.item(answer.body["appointment_id"]).status == Status.CONFIRMED
    assert live_row(clinic.world.tenant, patient).entries == {}
    declined = clinic.call("POST", f"/{made}/decline", **who)
    assert (declined.status, declined.body["code"]) == (409, "booked")


def test_accepting_what_has_a_price_leaves_time_to_pay(tables: Any, clock: Clock) -> None:
    clinic = Clinic(price=5000)
    made = clinic.join()
    clinic.free(3)
    offer = clinic.offer_of(made)
    clock.at = offer.hold_expires_at - timedelta(minutes=1)
    answer = clinic.call("POST", f"/{made}/accept")
    assert (answer.status, answer.body["status"]) == (200, "offered")
    extended = clinic.item(offer.item_id)
    assert extended.hold_expires_at == offer.hold_expires_at + timedelta(minutes=14)
    assert datetime.fromisoformat(answer.body["offer_until"]) == extended.hold_expires_at
    # Paid: the bus tells that it is confirmed.
    table.transact(transitions.confirm_actions(extended, BY))
    clinic.tell(offer.item_id, was="held")
    assert clinic.entry(made).status == "booked"


def test_a_payment_after_the_offer_had_ended_books_it(tables: Any, clock: Clock) -> None:
    clinic = Clinic(price=5000)
    made = clinic.join()
    clinic.free(3)
    offer = clinic.offer_of(made)
    clock.forward(hours=3)
    late = clinic.call("POST", f"/{made}/accept")
    assert (late.status, late.body["code"]) == (409, "offer-ended")
    holds.expire(offer, BY)
    clinic.tell(offer.item_id, was="held")
    assert clinic.entry(made).status == "waiting"
    table.transact(transitions.reclaim_actions(clinic.item(offer.item_id), BY))
    clinic.tell(offer.item_id, was="expired")
    assert clinic.entry(made).status == "booked"


def test_declining_gives_it_to_the_next(clinic: Clinic) -> None:
    first, second = clinic.join(), clinic.join()
    clinic.free(2)
    offer = clinic.offer_of(first)
    answer = clinic.call("POST", f"/{first}/decline")
    assert (answer.status, answer.body["status"], answer.body["ignored"]) == (200, "waiting", 0)
    assert clinic.item(offer.item_id).status == Status.CANCELLED
    clinic.tell(offer.item_id, was="held")
    assert clinic.states(first, second) == ["waiting", "offered"]
    # Nobody is left for whom it is new.
    again = clinic.offer_of(second)
    clinic.call("POST", f"/{second}/decline")
    clinic.tell(again.item_id, was="held")
    assert clinic.states(first, second) == ["waiting", "waiting"]
    assert clinic.held() == []


def test_leaving_gives_up_what_was_offered(clinic: Clinic) -> None:
    first, second = clinic.join(), clinic.join()
    clinic.free(2)
    offer = clinic.offer_of(first)
    assert clinic.call("DELETE", f"/{first}").status == 204
    assert clinic.item(offer.item_id).status == Status.CANCELLED
    clinic.tell(offer.item_id, was="held")
    assert clinic.states(first, second) == ["left", "offered"]


def test_an_offer_is_none_of_three_holds(tables: Any) -> None:
    clinic = Clinic(price=5000)
    patient, other = clinic.world.patient(), clinic.world.expert()
    service = clinic.world.service(other, price=5000)
    for hour in (12, 13, 14):
        clinic.world.book(service, other, patient, tomorrow(hour))
    made = clinic.join(patient_id=patient)
    clinic.free(2)
    assert clinic.entry(made).status == "offered"


def test_events_about_nothing_do_nothing(clinic: Clinic) -> None:
    made = clinic.join()
    event = Event(clinic.world.practice, APPOINTMENT, new_id("appt"), 1, "changed", "cancelled")
    waitlist_offering.handle(event, "request-1")
    # Still cancelled is not freed.
    clinic.cancel(clinic.booked[2])
    clinic.tell(clinic.booked[2], was="cancelled")
    assert clinic.entry(made).status == "waiting"


def test_who_may_what(clinic: Clinic) -> None:
    made = clinic.join(expert_id=clinic.expert)
    own = {"role": "expert", "subject": clinic.expert}
    other: dict[str, Any] = {"role": "expert", "subject": new_id("exp")}
    assert clinic.call("GET", f"/{made}", **own).status == 200
    assert [one["id"] for one in clinic.call("GET", **own).body["items"]] == [made]
    assert clinic.call("GET", f"/{made}", **other).status == 404
    assert clinic.call("POST", body=clinic.body(expert_id=clinic.expert), **other).status == 403
    assert clinic.call("POST", body=clinic.body(), role="viewer").status == 403
    caller = clinic.world.caller(Role.PATIENT, clinic.world.patient())
    mine = clinic.call(
        "POST", body=clinic.body(patient_id=None), role="patient", subject=caller.subject
    )
    assert (mine.status, mine.body["patient_id"]) == (201, caller.subject)


# ---------------------------------------------------------------- what a stranger tries


def test_accepting_again_and_again_keeps_no_time_for_ever(tables: Any, clock: Clock) -> None:
    clinic = Clinic(price=5000)
    made = clinic.join()
    clinic.free(3)
    clock.at = clinic.offer_of(made).hold_expires_at - timedelta(minutes=1)
    assert clinic.call("POST", f"/{made}/accept").status == 200
    until = clinic.offer_of(made).hold_expires_at
    clock.forward(minutes=10)
    again = clinic.call("POST", f"/{made}/accept")
    assert (again.status, again.body["status"]) == (200, "offered")
    assert clinic.offer_of(made).hold_expires_at == until
    # Another offer, after this one ran out, is accepted anew.
    clock.forward(hours=1)
    assert holds.expire(clinic.offer_of(made), BY)
    clinic.tell(str(clinic.entry(made).appointment_id), was="held")
    clinic.free(5)
    clock.at = clinic.offer_of(made).hold_expires_at - timedelta(minutes=1)
    until = clinic.offer_of(made).hold_expires_at
    assert clinic.call("POST", f"/{made}/accept").status == 200
    assert clinic.offer_of(made).hold_expires_at == until + timedelta(minutes=14)


def test_no_offer_is_held_beyond_its_start(tables: Any, clock: Clock) -> None:
    clinic = Clinic(price=5000)
    made = clinic.join()
    clock.at = tomorrow(9, 0, days=2)
    clinic.free(2)
    clock.at = tomorrow(9, 55, days=2)
    assert clinic.call("POST", f"/{made}/accept").status == 200
    assert clinic.offer_of(made).hold_expires_at == tomorrow(10, days=2)


@pytest.mark.parametrize("answer", ["decline", "leave", "expire"])
def test_an_offer_that_is_not_taken_costs_no_session(
    tables: Any, clock: Clock, answer: str
) -> None:
    """A session of a package is in the offer: inside the cancel window it is given back, too."""
    clinic = Clinic()
    package_of = clinic.world.service(
        clinic.expert, price=9000, kind="PACKAGE", sessions=3, validity_days=90
    )
    patient = clinic.world.patient()
    request = PackageRequest(service_id=package_of, patient_id=patient, confirm=True)
    bought = packages.create(clinic.world.owner, request, None).id
    # Somebody else's session is at the time that becomes free.
    other = clinic.world.patient()
    request = PackageRequest(service_id=package_of, patient_id=other, confirm=True)
    packages.create(clinic.world.owner, request, None)
    clinic.cancel(clinic.booked[2])
    booked = clinic.world.book(package_of, clinic.expert, other, tomorrow(10, days=2))
    made = clinic.join(patient_id=patient, service_id=package_of)
    clock.at = tomorrow(12, days=1)
    clinic.cancel(booked.id)
    clinic.tell(booked.id)
    assert clinic.entry(made).status == "offered"
    assert _used(clinic, bought) == 1
    if answer == "decline":
        assert (
            clinic.call("POST", f"/{made}/decline", role="patient", subject=patient).status == 200
        )
    elif answer == "leave":
        assert clinic.call("DELETE", f"/{made}", role="patient", subject=patient).status == 204
    else:
        clock.forward(hours=3)
        assert closing.expire(clinic.offer_of(made), BY)
    assert _used(clinic, bought) == 0


def _used(clinic: Clinic, package: str) -> int:
    item = table.get(PackageItem, clinic.world.tenant.item(PACKAGE, package))
    assert item
    return int(item.used)
