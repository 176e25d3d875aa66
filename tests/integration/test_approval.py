"""Bookings that an expert approves: asked, answered, paid or not, and whatever dies in between.

Source: MONEY_AND_BOOKING_RULES §4. The provider is scripted; ``test_money_simulated`` has Stripe's.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from consulta.core import table
from consulta.core.errors import Conflict, NotFound, ProviderFailed
from consulta.core.item import Actor
from consulta.core.keys import Key
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.money import providers
from consulta.money.accounts import payees
from consulta.money.appointments import approving, authorizing, closing
from consulta.money.paying import changes, effects, operations, orders, paid_for, payments, placing
from consulta.money.records import PaymentItem, State
from consulta.money.schema.payments import ManualPaymentRequest, PaymentRequest, StartedPayment
from consulta.money.webhooks import inbox
from consulta.scheduling import appointments, due, holds, rescheduling, services, sweep
from consulta.scheduling.records import (
    APPOINTMENT,
    AppointmentItem,
    Approval,
    PaymentStatus,
    Status,
)
from consulta.scheduling.schema.booking import CancelRequest, DeclineRequest, RescheduleRequest
from consulta.scheduling.schema.services import ServicePatch
from tests.faults import Crash, Faults
from tests.integration import scripted_provider
from tests.integration.scripted_provider import ScriptedProvider, install
from tests.unit.scheduling.world import Clock, World, tomorrow

BY = Actor("sweep", "request-9")
HOUR = timedelta(hours=1)
WORKERS: dict[str, sweep.Worker] = {
    due.HOLD: holds.worker(approving.expire, BY),
    due.APPROVE: lambda key: approving.work(key, BY),
    changes.REFUND_DUE_WORK: lambda key: effects.resume(key, BY),
    changes.AUTHORIZATION_DUE_WORK: lambda key: approving.settle_due(key, BY),
}


@dataclass
class Practice:
    """A practice whose expert approves each booking, and what the tests do in it."""

    world: World
    stripe: ScriptedProvider
    clock: Clock
    events: int = 0

    def __post_init__(self) -> None:
        self.expert = self.world.expert(auto_confirm=False)
        self.service = self.world.service(self.expert, price=5000)
        self.free = self.world.service(self.expert, price=0)

    def connect(self, **values: Any) -> None:
        tenant = self.world.tenant
        payee = payees.ensure(tenant, tenant.practice, BY)
        controller = {"losses": {"payments": "application"}, "fees": {"payer": "application"}}
        told = {
            "stripe_account": "acct_1",
            "charges_enabled": True,
            "controller": json.dumps(controller),
            **values,
        }
        owner = payees.Owner(tenant.practice, tenant.practice)
        table.transact(
            [
                table.change(payee, BY, set_=told),
                payees.account_row("stripe", "acct_1", owner),
            ]
        )

    def book(self, service: str = "", start: datetime | None = None, **more: Any) -> str:
        return self.world.book(
            service or self.service,
            self.expert,
            self.world.patient(),
            start or tomorrow(days=5),
            **more,
        ).id

    def load(self, appointment_id: str) -> AppointmentItem:
        found = table.get(AppointmentItem, self.world.tenant.item(APPOINTMENT, appointment_id))
        assert found
        return found

    def shown(self, appointment_id: str) -> tuple[str, str]:
        found = self.load(appointment_id)
        return found.status, found.payment_status

    def pay(self, appointment_id: str, provider: str = "stripe") -> StartedPayment:
        body = PaymentRequest(appointment_id=appointment_id, provider=provider)
        return payments.create(self.world.owner, body, None)

    def tell(self, payment: StartedPayment, kind: str) -> inbox.InboxState:
        self.events += 1
        return inbox.handle(
            {
                "provider": "stripe",
                "event_id": f"evt_{self.events}",
                "type": kind,
                "live": False,
                "account": "",
                "object_id": str(payment.provider_id),
                "api_version": "",
            }
        )

    def authorized(self, **booking: Any) -> tuple[str, StartedPayment]:
        """Booked, and the payer's bank has set the money aside."""
        appointment = self.book(**booking)
        payment = self.pay(appointment)
        self.stripe.pay(str(payment.provider_id))
        self.tell(payment, "payment_intent.amount_capturable_updated")
        return appointment, payment

    def payment(self, payment: StartedPayment) -> PaymentItem:
        return orders.load(self.world.tenant, payment.id)

    def captures(self) -> int:
        return len({key for name, key in self.stripe.calls if name == "capture"})

    def sweep(self, minutes: int = 5) -> None:
        """Do what is due by then, without looking at every minute in between."""
        self.clock.forward(minutes=minutes)
        scan = table._dynamodb().scan(TableName="core")["Items"]
        until = f"DUE#{to_text(self.clock.at)[:16]}#9"
        for raw in scan:
            if raw["pk"]["S"].startswith("DUE#") and raw["pk"]["S"] < until:
                values = table.from_raw(raw)
                key = Key(values["pk"], values["sk"])
                row = sweep.Row(key, values["item"], values["what"], int(values["tries"]))
                sweep._work(row, WORKERS, sweep.Swept())

    def free_again(self, appointment_id: str) -> bool:
        found = self.load(appointment_id)
        try:
            made = self.world.book(
                self.free, self.expert, self.world.patient(), found.start, confirm=True
            )
        except Conflict:
            return False
        return made.status is Status.CONFIRMED


@pytest.fixture
def practice(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Practice]:
    stripe, _ = install(monkeypatch)
    clock = Clock(monkeypatch)
    for module in (
        approving,
        authorizing,
        changes,
        closing,
        effects,
        operations,
        orders,
        paid_for,
        payments,
        placing,
        scripted_provider,
    ):
        if hasattr(module, "now"):
            monkeypatch.setattr(module, "now", lambda: clock.at)
    yield Practice(World(), stripe, clock)
    providers.provider_for.cache_clear()


# ---------------------------------------------------------------- without money, or before it


def test_a_free_booking_waits_and_is_confirmed_by_the_expert(practice: Practice) -> None:
    booked = practice.book(practice.free)
    found = practice.load(booked)
    assert (found.status, found.approval) == (Status.AWAITING_APPROVAL, Approval.NEEDED)
    assert found.approve_until == practice.clock.at.replace(microsecond=0) + 24 * HOUR
    assert found.hold_expires_at is None
    assert not practice.free_again(booked)
    expert = practice.world.caller(Role.EXPERT, practice.expert)
    assert approving.approve(expert, booked).status is Status.CONFIRMED
    # Whoever never heard of it asks again.
    assert approving.approve(expert, booked).status is Status.CONFIRMED
    with pytest.raises(Conflict):
        approving.decline(expert, booked, DeclineRequest())
    stranger = practice.world.caller(Role.EXPERT, practice.world.expert())
    with pytest.raises(NotFound):
        approving.approve(stranger, booked)
    practice.sweep(60 * 25)
    assert practice.load(booked).status == Status.CONFIRMED


def test_how_long_there_is_to_approve(practice: Practice, clock_at: Callable[..., None]) -> None:
    world = practice.world
    hours = {"auto_confirm": False, "min_notice_minutes": 60 * 12}
    expert = world.expert(**hours)
    service = world.service(expert, price=0)
    clock_at(tomorrow(9, days=0) if now() < tomorrow(9, days=0) else tomorrow(9))
    at = practice.clock.at

    def until(start: datetime) -> timedelta:
        made = world.book(service, expert, world.patient(), start)
        limit = practice.load(made.id).approve_until
        assert limit
        return limit - at

    # A day; the notice before the start; and the start itself where that is too soon.
    assert until(at + 72 * HOUR) == 24 * HOUR
    assert until(at + 20 * HOUR) == 8 * HOUR
    assert until(at + 13 * HOUR) == HOUR
    assert until(at + 6 * HOUR) == 6 * HOUR


@pytest.fixture
def clock_at(practice: Practice) -> Callable[..., None]:
    def move(at: datetime) -> None:
        practice.clock.at = at

    return move


def test_a_member_who_confirms_is_not_asked(practice: Practice) -> None:
    booked = practice.book(confirm=True)
    assert practice.shown(booked) == (Status.CONFIRMED, PaymentStatus.UNPAID)
    with pytest.raises(Conflict):
        approving.approve(practice.world.owner, booked)


def test_declined_gives_the_time_back_and_says_why(practice: Practice) -> None:
    booked = practice.book(practice.free)
    request = DeclineRequest.model_validate({"reason_code": "not_suitable", "note": "Adults only"})
    shown = approving.decline(practice.world.owner, booked, request)
    assert (shown.status, shown.cancelled_by, shown.cancel_reason, shown.cancel_note) == (
        Status.CANCELLED,
        "practice",
        "not_suitable",
        "Adults only",
    )
    assert practice.free_again(booked)
    for again in (approving.approve, lambda by, id_: approving.decline(by, id_, request)):
        with pytest.raises(Conflict):
            again(practice.world.owner, booked)


def test_nobody_answers_in_time(practice: Practice) -> None:
    booked = practice.book(practice.free)
    practice.sweep(60 * 23)
    assert practice.load(booked).status == Status.AWAITING_APPROVAL
    practice.clock.forward(minutes=61)
    with pytest.raises(Conflict, match="over"):
        approving.approve(practice.world.owner, booked)
    practice.sweep()
    found = practice.load(booked)
    assert (found.status, found.cancelled_by, found.cancel_reason) == (
        Status.CANCELLED,
        "system",
        "not_approved",
    )
    assert practice.free_again(booked)


def test_without_a_payee_that_captures_it_is_approved_first_then_paid(practice: Practice) -> None:
    practice.connect(charges_enabled=False, mercadopago_user="4711")
    booked = practice.book()
    assert practice.shown(booked) == (Status.AWAITING_APPROVAL, PaymentStatus.UNPAID)
    with pytest.raises(Conflict, match="not approved"):
        practice.pay(booked)
    shown = approving.approve(practice.world.owner, booked)
    assert shown.status is Status.HELD
    assert shown.hold_expires_at == practice.clock.at.replace(microsecond=0) + 24 * HOUR
    practice.sweep(60 * 20)
    body = {
        "appointment_id": booked,
        "provider": "mercadopago",
        "token": "tok_approved",
        "payment_method_id": "visa",
        "payer_email": "payer@example.com",
    }
    payments.create(practice.world.owner, PaymentRequest.model_validate(body), None)
    assert practice.shown(booked) == (Status.CONFIRMED, PaymentStatus.PAID)


def test_approved_and_never_paid_is_free_again(practice: Practice) -> None:
    booked = practice.book()
    approving.approve(practice.world.owner, booked)
    practice.sweep(60 * 25)
    assert practice.load(booked).status == Status.EXPIRED
    assert practice.free_again(booked)


def test_approved_holds_are_none_of_the_patients_three(practice: Practice) -> None:
    world, patient = practice.world, practice.world.patient()
    other = world.expert()
    service = world.service(other)
    waiting = world.book(practice.service, practice.expert, patient, tomorrow(days=5)).id
    approving.approve(world.owner, waiting)
    for hour in (8, 9, 10):
        assert world.book(service, other, patient, tomorrow(hour)).status is Status.HELD
    with pytest.raises(Conflict):
        world.book(service, other, patient, tomorrow(11))


def test_cash_does_not_answer_for_the_expert(practice: Practice) -> None:
    booked = practice.book()
    found = practice.load(booked)
    body = {
        "appointment_id": booked,
        "method": "cash",
        "amount": {"amount": 5000, "currency": "EUR"},
        "received_at": str(practice.clock.at.date()),
    }
    payments.record(practice.world.owner, ManualPaymentRequest.model_validate(body), None)
    assert practice.shown(booked) == (Status.AWAITING_APPROVAL, PaymentStatus.PAID)
    approving.decline(practice.world.owner, booked, DeclineRequest())
    assert practice.shown(booked) == (Status.CANCELLED, PaymentStatus.REFUNDED)
    [made] = orders.Order.read(practice.world.tenant, found.order_id).payments()
    assert (made.captured, made.refunded) == (5000, 5000)


def test_cash_for_what_is_held_to_be_authorized_does_not_either(practice: Practice) -> None:
    practice.connect()
    booked = practice.book()
    assert practice.shown(booked) == (Status.HELD, PaymentStatus.UNPAID)
    body = {
        "appointment_id": booked,
        "method": "cash",
        "amount": {"amount": 5000, "currency": "EUR"},
        "received_at": str(practice.clock.at.date()),
    }
    payments.record(practice.world.owner, ManualPaymentRequest.model_validate(body), None)
    found = practice.load(booked)
    assert (found.status, found.payment_status) == (Status.AWAITING_APPROVAL, PaymentStatus.PAID)
    assert found.approve_until == practice.clock.at.replace(microsecond=0) + 24 * HOUR
    practice.sweep(60 * 25)
    assert practice.shown(booked) == (Status.CANCELLED, PaymentStatus.REFUNDED)
    assert practice.free_again(booked)


def test_moving_it_leaves_time_to_capture(practice: Practice) -> None:
    practice.connect()
    appointment, payment = practice.authorized(start=tomorrow(days=20))
    ends = (practice.clock.at + 20 * HOUR).replace(microsecond=0)
    stored = practice.payment(payment)
    table.transact([table.change(stored, BY, set_={"capture_before": to_text(ends)})])
    move = RescheduleRequest(start=tomorrow(12, days=20))
    rescheduling.reschedule(practice.world.owner, appointment, move, None)
    assert practice.load(appointment).approve_until == ends - 12 * HOUR


# ---------------------------------------------------------------- authorized, then captured


def test_authorized_then_approved_then_captured(practice: Practice) -> None:
    practice.connect()
    appointment, payment = practice.authorized()
    found = practice.load(appointment)
    assert (found.status, found.payment_status, found.payment_id) == (
        Status.AWAITING_APPROVAL,
        PaymentStatus.PROCESSING,
        payment.id,
    )
    assert found.approve_until == practice.clock.at.replace(microsecond=0) + 24 * HOUR
    stored = practice.payment(payment)
    assert (stored.state, stored.captured) == (State.AUTHORIZED, 0)
    with pytest.raises(Conflict, match="authorized payment"):
        appointments.confirm(practice.world.owner, appointment)
    shown = approving.approve(practice.world.owner, appointment)
    assert (shown.status, shown.payment_status) == (Status.CONFIRMED, PaymentStatus.PAID)
    stored = practice.payment(payment)
    assert (stored.state, stored.captured, stored.capture_before is None) == (
        State.SUCCEEDED,
        5000,
        False,
    )
    practice.tell(payment, "payment_intent.succeeded")
    practice.sweep(60 * 25)
    assert practice.captures() == 1
    assert practice.shown(appointment) == (Status.CONFIRMED, PaymentStatus.PAID)


def test_the_bank_ends_an_authorization_before_a_day_is_over(practice: Practice) -> None:
    practice.connect()
    appointment = practice.book()
    payment = practice.pay(appointment)
    practice.stripe.pay(str(payment.provider_id))
    ends = practice.clock.at + 20 * HOUR
    practice.stripe.change(str(payment.provider_id), capture_before=ends)
    practice.tell(payment, "payment_intent.amount_capturable_updated")
    until = practice.load(appointment).approve_until
    assert until == (ends - 12 * HOUR).replace(microsecond=0)


@pytest.mark.parametrize("how", ["declined", "lapsed", "cancelled"])
def test_what_is_not_taken_is_let_go_at_the_provider_first(practice: Practice, how: str) -> None:
    practice.connect()
    appointment, payment = practice.authorized()
    if how == "declined":
        approving.decline(practice.world.owner, appointment, DeclineRequest())
    elif how == "lapsed":
        practice.sweep(60 * 25)
    else:
        request = CancelRequest.model_validate({"reason_code": "patient_request"})
        closing.cancel(practice.world.owner, appointment, request)
    assert practice.shown(appointment) == (Status.CANCELLED, PaymentStatus.UNPAID)
    assert practice.stripe.payments[str(payment.provider_id)].state is State.CANCELLED
    assert practice.payment(payment).state == State.CANCELLED
    assert practice.captures() == 0
    assert practice.free_again(appointment)


def test_approve_and_decline_at_once_never_both_happen(practice: Practice, tables: Any) -> None:
    practice.connect()
    owner = practice.world.owner
    appointment, payment = practice.authorized()
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: approving.approve(owner, appointment)),
        )
        with pytest.raises(Conflict):
            approving.decline(owner, appointment, DeclineRequest())
    assert practice.shown(appointment) == (Status.CONFIRMED, PaymentStatus.PAID)
    other, payment = practice.authorized(start=tomorrow(14, days=5))
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: approving.decline(owner, other, DeclineRequest())),
        )
        with pytest.raises(Conflict):
            approving.approve(owner, other)
    assert practice.shown(other) == (Status.CANCELLED, PaymentStatus.UNPAID)
    assert practice.payment(payment).state == State.CANCELLED


def test_a_capture_that_fails_is_made_by_the_sweep(practice: Practice) -> None:
    practice.connect()
    for when, start in (("before", tomorrow(10, days=5)), ("after", tomorrow(14, days=5))):
        appointment, payment = practice.authorized(start=start)
        practice.stripe.faults["capture", when] = ProviderFailed()
        shown = approving.approve(practice.world.owner, appointment)
        assert shown.status is Status.AWAITING_APPROVAL
        with pytest.raises(Conflict):
            approving.decline(practice.world.owner, appointment, DeclineRequest())
        practice.sweep()
        assert practice.shown(appointment) == (Status.CONFIRMED, PaymentStatus.PAID)
        assert practice.payment(payment).captured == 5000


def test_an_authorization_that_ended_before_its_capture_is_paid_anew(practice: Practice) -> None:
    practice.connect()
    appointment, payment = practice.authorized()
    practice.stripe.change(str(payment.provider_id), state=State.CANCELLED)
    shown = approving.approve(practice.world.owner, appointment)
    assert (shown.status, shown.payment_status) == (Status.HELD, PaymentStatus.UNPAID)
    again = practice.pay(appointment)
    assert again.id != payment.id
    assert again.provider_id not in practice.stripe.manual
    practice.stripe.pay(str(again.provider_id))
    practice.tell(again, "payment_intent.succeeded")
    assert practice.shown(appointment) == (Status.CONFIRMED, PaymentStatus.PAID)


def test_an_authorization_without_an_appointment_is_let_go(practice: Practice) -> None:
    practice.connect()
    appointment = practice.book()
    payment = practice.pay(appointment)
    practice.clock.forward(minutes=16)
    practice.world.book(
        practice.free, practice.expert, practice.world.patient(), tomorrow(days=5), confirm=True
    )
    practice.stripe.pay(str(payment.provider_id))
    practice.stripe.faults["cancel", "before"] = ProviderFailed()
    practice.tell(payment, "payment_intent.amount_capturable_updated")
    assert practice.payment(payment).state == State.AUTHORIZED
    practice.sweep()
    assert practice.payment(payment).state == State.CANCELLED
    assert practice.stripe.payments[str(payment.provider_id)].state is State.CANCELLED
    assert practice.load(appointment).status == Status.EXPIRED


def test_a_late_authorization_takes_its_time_again_where_it_is_free(practice: Practice) -> None:
    practice.connect()
    appointment = practice.book()
    payment = practice.pay(appointment)
    practice.clock.forward(minutes=16)
    practice.stripe.pay(str(payment.provider_id))
    practice.tell(payment, "payment_intent.amount_capturable_updated")
    assert practice.load(appointment).status == Status.AWAITING_APPROVAL
    assert not practice.free_again(appointment)


def test_an_authorization_in_time_that_nobody_told_us_of_is_no_ended_hold(
    practice: Practice,
) -> None:
    practice.connect()
    appointment = practice.book()
    payment = practice.pay(appointment)
    practice.stripe.pay(str(payment.provider_id))
    practice.sweep(20)
    assert practice.load(appointment).status == Status.AWAITING_APPROVAL
    assert practice.stripe.payments[str(payment.provider_id)].state is State.AUTHORIZED
    never = practice.book(start=tomorrow(15, days=5))
    practice.pay(never)
    practice.sweep(20)
    assert practice.load(never).status == Status.EXPIRED


def test_a_hold_that_a_member_confirms_is_captured_when_it_is_authorized(
    practice: Practice,
) -> None:
    practice.connect()
    appointment = practice.book()
    payment = practice.pay(appointment)
    appointments.confirm(practice.world.owner, appointment)
    practice.stripe.pay(str(payment.provider_id))
    practice.tell(payment, "payment_intent.amount_capturable_updated")
    assert practice.shown(appointment) == (Status.CONFIRMED, PaymentStatus.PAID)


def test_a_price_that_changes_meanwhile_stays_the_bookings(practice: Practice) -> None:
    practice.connect()
    appointment = practice.book()
    patch = ServicePatch.model_validate({"price": {"amount": 9900, "currency": "EUR"}})
    services.change(practice.world.owner, practice.service, patch, None)
    payment = practice.pay(appointment)
    assert payment.amount.amount == 5000
    practice.stripe.pay(str(payment.provider_id))
    practice.tell(payment, "payment_intent.amount_capturable_updated")
    approving.approve(practice.world.owner, appointment)
    assert practice.payment(payment).captured == 5000


def test_only_stripe_sets_money_aside(practice: Practice) -> None:
    practice.connect(mercadopago_user="4711")
    appointment = practice.book()
    body = {
        "appointment_id": appointment,
        "provider": "mercadopago",
        "token": "tok_approved",
        "payment_method_id": "visa",
        "payer_email": "payer@example.com",
    }
    with pytest.raises(Conflict, match="Stripe") as refused:
        payments.create(practice.world.owner, PaymentRequest.model_validate(body), None)
    assert refused.value.extra["code"] == "approve_first"


def test_not_what_was_asked_for_is_let_go(practice: Practice) -> None:
    practice.connect()
    appointment = practice.book()
    payment = practice.pay(appointment)
    practice.stripe.change(str(payment.provider_id), amount=4999)
    practice.stripe.pay(str(payment.provider_id))
    practice.tell(payment, "payment_intent.amount_capturable_updated")
    assert practice.payment(payment).state == State.CANCELLED
    assert practice.load(appointment).status == Status.HELD


# ---------------------------------------------------------------- dying in between


def crashes(act: Callable[[], object], tables: Any, after: int, kind: str) -> bool:
    """Do it, and die at the write number ``after``; whether there was one."""
    with Faults(tables) as faults:
        nothing = faults.meanwhile(lambda: None)
        fault = getattr(faults, kind)
        faults.next("TransactWriteItems", *[nothing] * after, fault)
        try:
            act()
        except Crash:
            return True
    return False


@pytest.mark.parametrize("kind", ["crash_before", "crash_after"])
@pytest.mark.parametrize("answer", ["approve", "decline", "lapse"])
def test_wherever_it_dies_it_ends_as_it_was_answered(
    practice: Practice, tables: Any, kind: str, answer: str
) -> None:
    """Each write of the whole way in turn; then the sweep, and whoever asked asks again."""
    practice.connect()
    owner = practice.world.owner
    for number in range(12):
        appointment, payment = practice.authorized(start=tomorrow(9 + number % 10, days=8))
        if answer == "lapse":
            practice.clock.forward(hours=25)

        def act(appointment_id: str = appointment) -> object:
            if answer == "approve":
                return approving.approve(owner, appointment_id)
            if answer == "decline":
                return approving.decline(owner, appointment_id, DeclineRequest())
            return approving.work(practice.load(appointment_id).key, BY)

        died = crashes(act, tables, number, kind)
        if died and number == 0 and kind == "crash_before":
            # Nothing was written: nothing was answered.
            assert practice.shown(appointment)[0] == Status.AWAITING_APPROVAL
            act()
        for _ in range(3):
            practice.sweep(10)
        ended = Status.CONFIRMED if answer == "approve" else Status.CANCELLED
        paid = PaymentStatus.PAID if answer == "approve" else PaymentStatus.UNPAID
        assert practice.shown(appointment) == (ended, paid), (number, kind)
        state = State.SUCCEEDED if answer == "approve" else State.CANCELLED
        assert practice.payment(payment).state == state
        assert practice.stripe.payments[str(payment.provider_id)].state is state
        if not died:
            assert number > 1
            return
        request = CancelRequest.model_validate({"reason_code": "expert_request"})
        if answer == "approve":
            closing.cancel(owner, appointment, request)
    raise AssertionError("it never got to its end")


@pytest.mark.parametrize("name", ["conflict", "throttle", "lost_call", "lost_answer"])
def test_a_fault_costs_a_try(practice: Practice, tables: Any, name: str) -> None:
    practice.connect()
    appointment, _ = practice.authorized()
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[getattr(faults, name)] * 2)
        approving.approve(practice.world.owner, appointment)
        assert faults.happened == 2
    assert practice.shown(appointment) == (Status.CONFIRMED, PaymentStatus.PAID)
    assert practice.captures() == 1
