"""Notices of appointments from the change to the mail, with what may go wrong in between."""

import email
import email.policy
import json
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import icalendar
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ses.models import RawMessage, ses_backends

from consulta.audit import stream
from consulta.core import aws, bus, ids, settings, table
from consulta.core.bus import Event
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.time import now, to_text
from consulta.money.appointments import closing
from consulta.money.paying import orders
from consulta.money.paying.placing import SLOT_LOST
from consulta.money.records import PAYMENT, REFUND, PaymentItem, RefundItem
from consulta.notifications import claims
from consulta.people.policy import default_policy
from consulta.people.records import EXPERT, MEMBER, PATIENT, PRACTICE, MemberItem, PracticeItem
from consulta.scheduling.records import APPOINTMENT, SERIES, AppointmentItem
from consulta.scheduling.schema.appointments import CancelReason
from consulta.scheduling.schema.booking import CancelRequest
from consulta.scheduling.series_records import OccurrenceRow, OccurrenceState, SeriesItem
from tests.faults import Crash, Fault, Faults
from tests.template import resources
from tests.unit.people.calling import handler
from tests.unit.scheduling.world import BY, World, tomorrow

SENDER, APP = "no-reply@consulta.example", "https://app.consulta.example"
INES, HELENA = "ines@example.com", "helena@example.com"
CONTEXT = SimpleNamespace(aws_request_id="aws-1", function_name="test")
SES = "before-send.ses.*"
NOTHING = Fault()


@dataclass(frozen=True)
class Received:
    """A mail as it arrived."""

    to: list[str]
    subject: str
    text: str
    files: list[tuple[str, str, bytes]]

    @classmethod
    def read(cls, message: Any) -> "Received":
        if not isinstance(message, RawMessage):
            to = message.destinations["ToAddresses"]
            return cls(list(to), message.subject, message.body, [])
        mail = email.message_from_string(message.raw_data, policy=email.policy.default)
        body = mail.get_body()
        assert body
        files = [
            (part.get_filename() or "", part["Content-Type"].params["method"], content)
            for part in mail.iter_attachments()
            if (content := part.get_payload(decode=True))
        ]
        return cls([mail["To"]], mail["Subject"], body.get_content(), files)


@dataclass
class Post:
    """A practice whose changes reach people, each step by hand."""

    world: World
    patient: str
    expert: str
    queued: list[Event] = field(default_factory=list)
    read: int = 0

    @property
    def tenant(self) -> Tenant:
        return self.world.tenant

    # what happens

    def appointment(self, status: str = "confirmed", **values: Any) -> AppointmentItem:
        own, start = ids.new_id("appt"), values.pop("start", tomorrow())
        defaults = {
            "service_id": "srv_1",
            "expert_id": self.expert,
            "patient_id": self.patient,
            "payment_status": "unpaid",
            "end": start + timedelta(hours=1),
            "buffer_before_s": 0,
            "buffer_after_s": 0,
            "zone": "Europe/Lisbon",
            "local_date": start.date().isoformat(),
            "local_hour": start.hour,
            "price": 5000,
            "currency": "EUR",
            "order_id": ids.new_id("ord"),
            "policy": default_policy("EUR"),
        }
        if status == "held":
            defaults["hold_expires_at"] = now() + timedelta(minutes=15)
        item = AppointmentItem.create(
            self.tenant.item(APPOINTMENT, own),
            APPOINTMENT,
            BY,
            status=status,
            start=start,
            **defaults | values,
            **listed(self.tenant, APPOINTMENT, own),
        )
        self.write(item)
        return item

    def write(self, item: Any, status: str = "") -> None:
        table.transact([table.put_new(item)])
        found = item.status if hasattr(item, "status") else status
        self.queued.append(
            Event(self.tenant.practice, item.entity, item.item_id, 1, "created", str(found))
        )

    def change(self, item: AppointmentItem, by: Actor = BY, **values: Any) -> AppointmentItem:
        before = table.get(AppointmentItem, item.key)
        assert before
        table.transact([table.change(before, by, set_=values)])
        after = table.get(AppointmentItem, item.key)
        assert after
        moved = (before.start, before.expert_id) != (after.start, after.expert_id)
        self.queued.append(
            Event(
                self.tenant.practice,
                APPOINTMENT,
                item.item_id,
                int(after.version),
                "changed",
                after.status,
                before.status,
                moved,
                to_text(before.start) if moved else "",
                before.expert_id if moved else "",
            )
        )
        return after

    def paid(self, item: AppointmentItem, **amounts: int) -> PaymentItem:
        own = ids.new_id("pay")
        payment = PaymentItem.create(
            self.tenant.item(PAYMENT, own),
            PAYMENT,
            BY,
            appointment_id=item.item_id,
            order_id=item.order_id,
            patient_id=item.patient_id,
            expert_id=item.expert_id,
            service_id=item.service_id,
            payee_id="payee_1",
            provider="stripe",
            state="succeeded",
            amount=5000,
            currency="EUR",
            zone=item.zone,
            **{"captured": 5000} | amounts,
            **listed(self.tenant, PAYMENT, own),
        )
        order = orders.Order.read(self.tenant, item.order_id)
        table.transact([table.put_new(payment), *order.add(own)])
        return payment

    def refund(self, item: AppointmentItem, reason: str) -> RefundItem:
        own = ids.new_id("ref")
        refund = RefundItem.create(
            self.tenant.item(REFUND, own),
            REFUND,
            BY,
            payment_id="pay_1",
            appointment_id=item.item_id,
            patient_id=item.patient_id,
            expert_id=item.expert_id,
            service_id=item.service_id,
            provider="stripe",
            state="requested",
            amount=5000,
            currency="EUR",
            reason=reason,
            zone=item.zone,
            l1pk=self.tenant.listing(REFUND),
            l1sk=own,
            walkpk=self.tenant.listing(REFUND),
            walksk=own,
        )
        self.write(refund, "requested")
        return refund

    # what is told

    def deliver(self, *events: Event) -> list[str]:
        """Give a batch to the function; the messages that come again."""
        records = [
            {"messageId": f"message-{n}", "body": json.dumps({"detail": asdict(event)})}
            for n, event in enumerate(events)
        ]
        answer = handler("notify")({"Records": records}, CONTEXT)
        return [failed["itemIdentifier"] for failed in answer["batchItemFailures"]]

    def settle(self) -> list[Received]:
        """Deliver what has happened; the mails that came of it."""
        events, self.queued = self.queued, []
        assert self.deliver(*events) == []
        return self.mails()

    def mails(self) -> list[Received]:
        """The mails since this was asked last."""
        found = ses_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].sent_messages
        fresh, self.read = found[self.read :], len(found)
        return [Received.read(message) for message in fresh]

    def history(self, item: Any) -> dict[str, tuple[str, str | None]]:
        """Notice → its status and reason."""
        return {
            notice.sk.removeprefix("NOTIFICATION#"): (notice.status, notice.reason)
            for notice in claims.of(item.pk)
        }

    def other_expert(self) -> tuple[str, str]:
        """Another expert, and their address."""
        expert = self.world.expert("Ana Reis")
        self.member(expert, "Ana Reis", "ana@example.com")
        return expert, "ana@example.com"

    def member(self, expert: str, name: str, address: str) -> None:
        """Who an expert is."""
        raw = table.get_raw(self.tenant.item(EXPERT, expert))
        assert raw
        member_id = raw["member_id"]["S"]
        place = self.tenant.listing(MEMBER)
        item = MemberItem.create(
            self.tenant.item(MEMBER, member_id),
            MEMBER,
            BY,
            person_id=f"person-{name.partition(' ')[0].lower()}",
            role="expert",
            email=address,
            name=name,
            l1pk=place,
            l1sk=member_id,
            walkpk=place,
            walksk=member_id,
        )
        table.transact([table.put_new(item)])

    def edit(self, entity: str, item_id: str, **values: Any) -> None:
        table.transact([table.update(self.tenant.item(entity, item_id), set_=values)])


def listed(tenant: Tenant, entity: str, own: str) -> dict[str, str]:
    place = tenant.listing(entity)
    found = {f"{at}{part}": place for at in ("l1", "l2", "l3") for part in ("pk", "sk")}
    return {**found, "walkpk": place, "walksk": own}


@pytest.fixture
def post(tables: Any, environment: pytest.MonkeyPatch) -> Post:
    environment.setenv("SENDER_EMAIL", SENDER)
    environment.setenv("APP_URL", f"{APP}/")
    settings.reset()
    aws.client("ses").verify_email_identity(EmailAddress=SENDER)
    world = World()
    made = Post(world, world.patient(), world.expert())
    made.edit(PATIENT, made.patient, email=INES)
    made.member(made.expert, "Helena Duarte", HELENA)
    return made


def told(mails: list[Received]) -> list[tuple[str, str]]:
    return [(to, mail.subject) for mail in mails for to in mail.to]


def calendar_of(mail: Received) -> tuple[str, Any]:
    ((name, method, content),) = mail.files
    assert name == "appointment.ics"
    calendar = icalendar.Calendar.from_ical(content)
    assert str(calendar["METHOD"]) == method
    return method, calendar


# ---------------------------------------------------------------- what people are told


def test_a_booking_from_the_hold_to_the_end(post: Post) -> None:
    start = tomorrow(10)
    item = post.appointment("held", start=start)
    (hold,) = post.settle()
    assert (hold.to, hold.subject) == ([INES], "O seu horário está reservado")
    assert f"{APP}/appointments/{item.item_id}" in hold.text
    assert "Aurora guarda este horário até" in hold.text
    assert "Helena Duarte" in hold.text
    assert hold.files == []

    location = {"kind": "in_person", "address": "Rua Augusta 1, Lisboa"}
    item = post.change(
        item, status="confirmed", payment_status="paid", location=json.dumps(location)
    )
    booked, to_expert = post.settle()
    assert (booked.to, booked.subject) == ([INES], "A sua consulta está confirmada")
    assert "Onde: Rua Augusta 1, Lisboa" in booked.text
    assert "(Europe/Lisbon, UTC+00:00)" in booked.text
    method, calendar = calendar_of(booked)
    (meeting,) = calendar.walk("VEVENT")
    assert (method, meeting.decoded("dtstart"), str(meeting["SUMMARY"])) == (
        "REQUEST",
        start,
        "Consulta",
    )
    assert str(meeting["ATTENDEE"]) == f"mailto:{INES}"
    assert str(meeting["ORGANIZER"]) == f"mailto:{SENDER}"
    assert (to_expert.to, to_expert.subject) == ([HELENA], "Uma nova consulta na sua agenda")
    # Who comes is not for a mail.
    assert "Carvalho" not in to_expert.text

    later = start + timedelta(hours=2)
    item = post.change(
        item,
        start=later.isoformat(),
        end=(later + timedelta(hours=1)).isoformat(),
        rescheduled=1,
    )
    moved, moved_expert = post.settle()
    assert (moved.subject, moved_expert.to) == ("A sua consulta mudou de horário", [HELENA])
    method, calendar = calendar_of(moved)
    (again,) = calendar.walk("VEVENT")
    assert (method, again["UID"], again.decoded("dtstart")) == ("REQUEST", meeting["UID"], later)
    assert int(again["SEQUENCE"]) > int(meeting["SEQUENCE"])

    post.paid(item, reserved=3000)
    item = post.change(item, status="cancelled", cancelled_by="practice")
    cancelled, _ = post.settle()
    assert cancelled.subject == "A sua consulta foi cancelada"
    assert "EUR 30.00" in cancelled.text
    method, calendar = calendar_of(cancelled)
    (gone,) = calendar.walk("VEVENT")
    assert (method, str(gone["STATUS"]), gone["UID"]) == ("CANCEL", "CANCELLED", meeting["UID"])
    assert post.history(item) == {
        "hold#1": ("sent", None),
        "booked#1": ("sent", None),
        "expert_booked#1": ("sent", None),
        "rescheduled#1": ("sent", None),
        "expert_rescheduled#1": ("sent", None),
        "cancelled#1": ("sent", None),
        "expert_cancelled#1": ("sent", None),
    }


def test_a_booking_that_the_expert_approves(post: Post) -> None:
    until = tomorrow(8)
    item = post.appointment("awaiting_approval", approval="needed", approve_until=until)
    requested, asked = post.settle()
    assert (requested.to, asked.to) == ([INES], [HELENA])
    assert asked.subject == "Um pedido espera a sua resposta"
    assert "08:00 (Europe/Lisbon" in asked.text
    item = post.change(item, status="held", approval="given", hold_expires_at=until.isoformat())
    (pay,) = post.settle()
    assert pay.subject == "O seu pedido foi aprovado: falta o pagamento"
    post.change(item, status="confirmed")
    (booked,) = post.settle()
    assert (booked.to, calendar_of(booked)[0]) == ([INES], "REQUEST")


def test_approved_at_once_and_declined(post: Post) -> None:
    first = post.appointment("awaiting_approval", approval="needed")
    second = post.appointment("awaiting_approval", approval="needed", start=tomorrow(15))
    post.settle()
    post.change(first, status="confirmed", approval="given")
    post.paid(second, captured=0)
    post.change(second, status="cancelled", approval="declined", cancelled_by="practice")
    approved, declined = post.settle()
    assert "aprovou" in approved.text
    assert calendar_of(approved)[0] == "REQUEST"
    assert "não pôde aprovar" in declined.text
    assert declined.files == []
    assert "EUR" not in declined.text


def test_what_is_kept_by_the_terms_is_said(post: Post) -> None:
    item = post.appointment()
    post.settle()
    post.paid(item)
    post.change(item, status="cancelled", cancelled_by="patient")
    cancelled, _ = post.settle()
    assert "Segundo as condições da reserva" in cancelled.text


def test_a_payment_for_a_lost_time_is_told_to_come_back(post: Post) -> None:
    item = post.appointment("expired")
    other = post.refund(item, "duplicate")
    assert post.settle() == []
    lost = post.refund(item, SLOT_LOST)
    (mail,) = post.settle()
    assert (mail.to, mail.subject) == ([INES], "O seu pagamento é devolvido")
    assert "EUR 50.00" in mail.text
    assert post.history(item) == {f"slot_lost#{lost.item_id}": ("sent", None)}
    assert other.item_id not in str(post.history(item))


def test_an_offer_of_the_waitlist(post: Post) -> None:
    item = post.appointment("held", waitlist_id="wait_1")
    (offer,) = post.settle()
    assert (offer.to, offer.subject) == ([INES], "Um horário ficou livre")
    # Not taken: nobody is told of a cancellation.
    post.change(item, status="cancelled", cancelled_by="patient")
    assert post.settle() == []


def test_an_offer_that_lapses(post: Post) -> None:
    item = post.appointment("held", waitlist_id="wait_1")
    plain = post.appointment("held", start=tomorrow(15))
    post.settle()
    post.change(item, status="expired")
    post.change(plain, status="expired")
    (lapsed,) = post.settle()
    assert (lapsed.to, lapsed.subject) == ([INES], "O horário oferecido já não está guardado")


def test_another_expert_takes_it_over(post: Post) -> None:
    """The one whom it left is told when it was, and is not sent where they may not look."""
    item = post.appointment(start=tomorrow(10))
    post.settle()
    other, ana = post.other_expert()
    post.change(item, expert_id=other, start=tomorrow(16).isoformat(), rescheduled=1)
    (event,) = post.queued
    patient, new, left = post.settle()
    assert patient.subject == "A sua consulta mudou de horário"
    assert (new.to, new.subject) == ([ana], "Uma nova consulta na sua agenda")
    assert "16:00 (Europe/Lisbon" in new.text
    assert (left.to, left.subject) == ([HELENA], "Uma consulta saiu da sua agenda")
    assert "10:00 (Europe/Lisbon" in left.text
    assert item.item_id not in left.text
    assert post.deliver(event) == []
    assert post.mails() == []


def test_who_takes_over_a_request_is_asked_for_an_answer(post: Post) -> None:
    item = post.appointment("awaiting_approval", approval="needed", approve_until=tomorrow(8))
    post.settle()
    other, ana = post.other_expert()
    item = post.change(item, expert_id=other, rescheduled=1)
    subjects = {mail.to[0]: mail.subject for mail in post.settle()}
    assert subjects[ana] == "Um pedido espera a sua resposta"
    assert subjects[HELENA] == "Uma consulta saiu da sua agenda"
    post.change(item, status="confirmed", approval="given")
    assert [mail.to for mail in post.settle()] == [[INES]]


def test_a_series_is_one_mail(post: Post) -> None:
    own = ids.new_id("ser")
    series = SeriesItem.create(
        post.tenant.item(SERIES, own),
        SERIES,
        BY,
        service_id="srv_1",
        expert_id=post.expert,
        patient_id=post.patient,
        zone="Europe/Lisbon",
        start="2026-12-01T09:00",
        rrule="FREQ=WEEKLY;COUNT=3",
        on_conflict="skip",
        status="placing",
        **listed(post.tenant, SERIES, own),
    )
    post.write(series)
    for days in (1, 8, 15):
        item = post.appointment(series_id=own, start=tomorrow(9, days=days))
        row = OccurrenceRow(f"{days}", OccurrenceState.BOOKED, item.item_id)
        table.transact([row.write(post.tenant, own)])
    table.transact([OccurrenceRow("22", OccurrenceState.CONFLICT).write(post.tenant, own)])
    assert post.settle() == []
    post.edit(SERIES, own, status="ready")
    ready = Event(post.tenant.practice, SERIES, own, 2, "changed", "ready", "placing")
    assert post.deliver(ready, ready) == []
    mail, to_expert = post.mails()
    assert (mail.to, mail.subject) == ([INES], "As suas consultas estão marcadas")
    assert mail.text.count("Quando: ") == 3
    method, calendar = calendar_of(mail)
    assert (method, len(calendar.walk("VEVENT"))) == ("PUBLISH", 3)
    assert (to_expert.to, to_expert.subject) == ([HELENA], "Novas consultas na sua agenda")
    assert to_expert.text.count("Quando: ") == 3
    assert "Carvalho" not in to_expert.text
    assert post.history(series) == {"series#1": ("sent", None), "expert_series#1": ("sent", None)}


@pytest.mark.parametrize(
    ("country", "subject", "summary"),
    [
        ("MX", "Tu cita está confirmada", "Cita"),
        ("BR", "A sua consulta está confirmada", "Consulta"),
        ("US", "Your appointment is confirmed", "Appointment"),
    ],
)
def test_in_the_language_of_the_practices_country(
    post: Post, country: str, subject: str, summary: str
) -> None:
    post.edit(PRACTICE, post.tenant.practice, country=country)
    post.appointment()
    booked, _ = post.settle()
    assert booked.subject == subject
    assert str(calendar_of(booked)[1].walk("VEVENT")[0]["SUMMARY"]) == summary


def test_names_add_neither_headers_nor_lines(post: Post) -> None:
    post.edit(EXPERT, post.expert, name="Eve\r\nBcc: eve@example.com\r\n\r\nhttps://evil.example")
    address = "1\r\nATTENDEE:mailto:eve@example.com"
    post.appointment(location={"kind": "in_person", "address": address})
    booked, _ = post.settle()
    assert booked.to == [INES]
    assert "Com: Eve Bcc: eve@example.com https://evil.example" in booked.text.splitlines()
    _, calendar = calendar_of(booked)
    (meeting,) = calendar.walk("VEVENT")
    assert str(meeting["ATTENDEE"]) == f"mailto:{INES}"


# ---------------------------------------------------------------- who is not


def test_nobody_is_told_who_should_not_be(post: Post) -> None:
    quiet = post.appointment(notify=False)
    assert told(post.settle()) == [(HELENA, "Uma nova consulta na sua agenda")]
    assert post.history(quiet)["booked#1"] == ("skipped", "not_wanted")
    post.edit(PATIENT, post.patient, email=None)
    nowhere = post.appointment(start=tomorrow(12))
    post.change(nowhere, by=Actor("person-helena", "request-2"), status="confirmed")
    assert post.settle() == []
    assert post.history(nowhere) == {
        "booked#1": ("skipped", "no_address"),
        "expert_booked#1": ("skipped", "own_action"),
    }


def test_the_money_back_is_told_whatever_was_chosen(post: Post) -> None:
    item = post.appointment("expired", notify=False)
    post.refund(item, SLOT_LOST)
    assert len(post.settle()) == 1


def test_who_is_gone_gets_no_mail(post: Post) -> None:
    post.edit(PATIENT, post.patient, deleted_at="2026-11-20T09:00:00.000Z")
    raw = table.get_raw(post.tenant.item(EXPERT, post.expert))
    assert raw
    post.edit(MEMBER, raw["member_id"]["S"], deactivated_at="2026-11-20T09:00:00.000Z")
    item = post.appointment()
    assert post.settle() == []
    assert set(post.history(item).values()) == {("skipped", "recipient_gone")}


def test_a_change_that_is_no_transition_tells_nobody(post: Post) -> None:
    item = post.appointment()
    post.queued.clear()
    post.change(item, payment_status="paid")
    assert post.settle() == []
    assert post.history(item) == {}


# ---------------------------------------------------------------- twice, late, out of order


def test_events_come_twice_and_late(post: Post) -> None:
    item = post.appointment("held")
    post.change(item, status="confirmed")
    events = [*post.queued, *post.queued]
    # Both describe what came before; the state says what is told.
    assert post.deliver(*reversed(events)) == []
    assert told(post.mails()) == [
        (INES, "A sua consulta está confirmada"),
        (HELENA, "Uma nova consulta na sua agenda"),
    ]
    assert post.deliver(*events) == []
    assert post.mails() == []


def test_booked_is_not_told_after_cancelled(post: Post) -> None:
    item = post.appointment()
    post.change(item, status="cancelled", cancelled_by="practice")
    created, cancelled = post.queued
    assert post.deliver(cancelled) == []
    assert [mail.subject for mail in post.mails()] == [
        "A sua consulta foi cancelada",
        "Uma consulta foi cancelada",
    ]
    assert post.deliver(created) == []
    assert post.mails() == []
    assert set(post.history(item)) == {"cancelled#1", "expert_cancelled#1"}


def test_an_item_that_is_gone_is_no_trouble(post: Post) -> None:
    for entity in (APPOINTMENT, REFUND, SERIES, PATIENT):
        gone = Event(post.tenant.practice, entity, "gone_1", 1, "created", "ready", "placing")
        assert post.deliver(gone) == []


# ---------------------------------------------------------------- what goes wrong


def later(monkeypatch: pytest.MonkeyPatch, **by: float) -> None:
    moment = now() + timedelta(**by)
    monkeypatch.setattr(claims, "now", lambda: moment)


def test_a_crash_between_claim_and_mail(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    item = post.appointment("held")
    (event,) = post.queued
    with Faults(aws.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", faults.crash_after)
        with pytest.raises(Crash):
            post.deliver(event)
    assert post.history(item) == {"hold#1": ("pending", None)}
    # Whoever is at it may still be: not yet.
    assert post.deliver(event) == ["message-0"]
    assert post.mails() == []
    later(monkeypatch, seconds=91)
    assert post.deliver(event) == []
    assert len(post.mails()) == 1
    assert post.history(item) == {"hold#1": ("sent", None)}


def test_a_crash_after_the_mail_sends_it_at_most_three_times(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = post.appointment("held")
    (event,) = post.queued
    for number in range(3):
        later(monkeypatch, seconds=100 * number)
        with Faults(aws.client("dynamodb")) as faults:
            faults.next("TransactWriteItems", NOTHING, faults.crash_before)
            with pytest.raises(Crash):
                post.deliver(event)
        assert len(post.mails()) == 1
    later(monkeypatch, seconds=400)
    assert post.deliver(event) == []
    assert post.mails() == []
    assert post.history(item) == {"hold#1": ("failed", "unknown_outcome")}


def test_what_a_dead_sender_left_is_settled_when_it_is_out_of_date(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = post.appointment("held")
    (event,) = post.queued
    with Faults(aws.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", faults.crash_after)
        with pytest.raises(Crash):
            post.deliver(event)
    later(monkeypatch, seconds=91)
    post.change(item, status="cancelled", cancelled_by="patient")
    (mail,) = post.settle()
    assert mail.subject == "A sua consulta foi cancelada"
    assert post.history(item) == {
        "hold#1": ("skipped", "superseded"),
        "cancelled#1": ("sent", None),
    }


def test_two_at_once_send_one_mail(post: Post) -> None:
    post.appointment("held")
    (event,) = post.queued
    outcome: list[list[str]] = []
    with Faults(aws.client("dynamodb")) as faults:

        def other() -> None:
            faults.forget()
            outcome.append(post.deliver(event))

        faults.next("TransactWriteItems", faults.meanwhile(other))
        assert post.deliver(event) == ["message-0"]
    assert outcome == [[]]
    assert len(post.mails()) == 1


def test_an_address_that_is_refused_is_failed_once(post: Post) -> None:
    aws.client("ses").delete_identity(Identity=SENDER)
    item = post.appointment()
    assert post.settle() == []
    assert post.history(item) == {
        "booked#1": ("failed", "MessageRejected"),
        "expert_booked#1": ("failed", "MessageRejected"),
    }
    aws.client("ses").verify_email_identity(EmailAddress=SENDER)
    again = Event(post.tenant.practice, APPOINTMENT, item.item_id, 1, "created", "confirmed")
    assert post.deliver(again) == []
    assert post.mails() == []


def test_an_address_that_is_none_is_failed(post: Post) -> None:
    post.edit(PATIENT, post.patient, email="ines@example.com\r\nBcc: eve@example.com")
    item = post.appointment()
    assert told(post.settle()) == [(HELENA, "Uma nova consulta na sua agenda")]
    assert post.history(item)["booked#1"] == ("failed", "bad_address")


@pytest.mark.parametrize("error", ["throttled", "away"])
def test_ses_that_takes_nothing_for_now_is_asked_again(
    post: Post, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    item = post.appointment()
    (event,) = post.queued

    def refuse(**_: Any) -> Any:
        if error == "away":
            raise EndpointConnectionError(endpoint_url="https://email.us-east-1.amazonaws.com")
        said = {"Error": {"Code": "Throttling", "Message": f"{INES}: slower"}}
        return AWSResponse("", 400, {}, None), said

    client = aws.client("ses", retries=0)
    client.meta.events.register("before-call.ses", refuse)
    for _ in range(5):
        assert post.deliver(event) == ["message-0"]
    client.meta.events.unregister("before-call.ses", refuse)
    assert set(post.history(item).values()) == {("pending", None)}
    assert post.deliver(event) == []
    assert len(post.mails()) == 2
    printed = capsys.readouterr().out
    assert "NoticesPostponed" in printed
    assert INES not in printed
    assert "Inês" not in printed


def test_money_back_that_waits_for_ses_is_not_out_of_date(post: Post) -> None:
    """Only its refund's event makes it due: another one of the appointment does not settle it."""
    item = post.appointment("held")
    post.settle()
    item = post.change(item, status="expired")
    post.refund(item, SLOT_LOST)
    expired, refunded = post.queued

    def refuse(**_: Any) -> Any:
        return AWSResponse("", 400, {}, None), {"Error": {"Code": "Throttling", "Message": ""}}

    client = aws.client("ses", retries=0)
    client.meta.events.register("before-call.ses", refuse)
    assert post.deliver(refunded) == ["message-0"]
    client.meta.events.unregister("before-call.ses", refuse)
    assert post.deliver(expired) == []
    assert post.deliver(refunded) == []
    assert [mail.subject for mail in post.mails()] == ["O seu pagamento é devolvido"]


def test_an_answer_that_was_lost_waits_for_the_claim(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = post.appointment("held")
    (event,) = post.queued

    asked: list[str] = []

    def lose(**_: Any) -> Any:
        asked.append("")
        raise ReadTimeoutError(endpoint_url="https://email.us-east-1.amazonaws.com")

    client = aws.client("ses", retries=0)
    client.meta.events.register_first(SES, lose)
    assert post.deliver(event) == ["message-0"]
    client.meta.events.unregister(SES, lose)
    # Not repeated behind our back: it may have been sent.
    assert len(asked) == 1
    assert post.deliver(event) == ["message-0"]
    assert post.mails() == []
    later(monkeypatch, seconds=91)
    assert post.deliver(event) == []
    assert len(post.mails()) == 1
    (notice,) = claims.of(item.pk)
    assert (int(notice.tries), notice.status) == (2, "sent")


def test_one_that_fails_does_not_repeat_the_others(post: Post) -> None:
    post.appointment("held")
    (event,) = post.queued
    records = [
        {"messageId": "good", "body": json.dumps({"detail": asdict(event)})},
        {"messageId": "bad", "body": "not json"},
    ]
    answer = handler("notify")({"Records": records}, CONTEXT)
    assert answer["batchItemFailures"] == [{"itemIdentifier": "bad"}]
    assert len(post.mails()) == 1


def test_a_notice_holds_no_address_and_no_name(post: Post, tables: Any) -> None:
    item = post.appointment()
    post.settle()
    rows = list(table.Query(item.pk, begins="NOTIFICATION#").all())
    assert len(rows) == 2
    for raw in rows:
        text = json.dumps(raw, ensure_ascii=False)
        assert not any(word in text for word in (INES, HELENA, "Inês", "Helena", "Aurora"))
    (booked,) = (row for row in map(table.from_raw, rows) if row["kind"] == "booked")
    assert (booked["channel"], booked["audience"]) == ("email", "patient")
    assert booked["message_id"]
    assert "claimed_until" not in booked


def test_a_practice_that_is_gone_tells_nobody(post: Post) -> None:
    item = post.appointment()
    key = post.tenant.item(PRACTICE, post.tenant.practice)
    assert table.get(PracticeItem, key)
    table.transact([table.delete(key)])
    assert post.settle() == []
    assert post.history(item) == {}


# ---------------------------------------------------------------- with all that is before it


def changes() -> list[dict[str, Any]]:
    """The core table's stream, from its beginning."""
    streams, core = aws.client("dynamodbstreams"), table.core_table()
    arn = aws.client("dynamodb").describe_table(TableName=core)["Table"]["LatestStreamArn"]
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    iterator = streams.get_shard_iterator(
        StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    return list(streams.get_records(ShardIterator=iterator, Limit=1000)["Records"])


def test_from_the_stream_over_the_bus(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    service = post.world.service(post.expert, price=0)
    booked = post.world.book(service, post.expert, post.patient, tomorrow(11))
    request = CancelRequest(reason_code=CancelReason.ILLNESS, note="influenza")
    closing.cancel(post.world.owner, booked.id, request)

    monkeypatch.setenv("EVENT_BUS_NAME", "changes")
    settings.reset()
    client, told_of = aws.client("events"), []
    client.create_event_bus(Name="changes")
    client.meta.events.register(
        "provide-client-params.events.PutEvents",
        lambda params, **_: told_of.extend(params["Entries"]),
    )
    records = changes()
    assert bus.publish(filter(stream.is_change, records)) == []
    events = [Event(**json.loads(entry["Detail"])) for entry in told_of]
    mine = [event for event in events if event.entity == APPOINTMENT]
    assert [(e.action, e.was, e.status) for e in mine] == [
        ("created", "", "confirmed"),
        ("changed", "confirmed", "cancelled"),
    ]
    assert post.deliver(*mine) == []
    assert told(post.mails()) == [
        (INES, "A sua consulta foi cancelada"),
        (HELENA, "Uma consulta foi cancelada"),
    ]
    assert not any("influenza" in json.dumps(entry) for entry in told_of)
    # What is written about notices is no change that the bus tells of.
    seen = len(told_of)
    assert bus.publish(filter(stream.is_change, changes()[len(records) :])) == []
    assert len(told_of) == seen


def test_a_claim_outlives_its_sender_and_ends_before_the_message_returns() -> None:
    function = resources("AWS::Serverless::Function")["NotifyFunction"]["Properties"]
    queue = resources("AWS::SQS::Queue")["NotifyQueue"]["Properties"]
    claim = claims.CLAIM.total_seconds()
    assert function["Timeout"] < claim < queue["VisibilityTimeout"]
