"""Orders: deposits, remainders and taxes, from the service's terms to the last refund."""

import itertools
import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from consulta.core import table
from consulta.core.errors import Conflict, Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.money.accounts import payees
from consulta.money.appointments import approving, closing, packages
from consulta.money.books import verify as ledger_verify
from consulta.money.paying import effects, order_views, orders, payments, refunds
from consulta.money.rates import key_of
from consulta.money.records import PaymentItem
from consulta.money.schema.orders import Order, OrderStatus
from consulta.money.schema.payments import (
    ManualPaymentRequest,
    Payment,
    RefundRequest,
    StartedPayment,
)
from consulta.people.records import PRACTICE, PracticeItem
from consulta.scheduling import appointments, offers, rescheduling, services
from consulta.scheduling import packages as sold
from consulta.scheduling.records import AppointmentItem, Status
from consulta.scheduling.schema.actions import MarkPaidRequest, PreviewRequest
from consulta.scheduling.schema.appointments import CancelReason
from consulta.scheduling.schema.booking import CancelRequest, RescheduleRequest
from consulta.scheduling.schema.packages import PackageRequest
from consulta.scheduling.schema.services import ServicePatch, ServiceRequest
from tests.faults import Crash, Faults
from tests.integration import test_money
from tests.integration.test_money import BY, OWN_ACCOUNT, Practice
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import TODAY, World, tomorrow

practice = test_money.practice
PRICE, DEPOSIT, REST = 10_000, 3_000, 7_000
IVA = {"rate_bps": 2_100, "code": "IVA", "inclusive": True}
ON_TOP = {**IVA, "inclusive": False}
BY_PRACTICE = CancelRequest(reason_code=CancelReason.ILLNESS)
ASKED = CancelRequest(reason_code=CancelReason.PATIENT_REQUEST)


@dataclass
class Desk:
    """A practice whose service asks for a deposit, and what is done at its desk."""

    practice: Practice
    patient: str
    service: str

    @classmethod
    def of(cls, practice: Practice, **terms: Any) -> "Desk":
        body = {"deposit": {"fixed": DEPOSIT}, "price": PRICE} | terms
        service = practice.world.service(practice.expert, **body)
        return cls(practice, practice.world.patient(), service)

    @property
    def patients_own(self) -> Principal:
        return self.practice.world.caller(Role.PATIENT, self.patient)

    def hold(self, hour: int = 10, days: int = 2, **more: Any) -> str:
        world, expert = self.practice.world, self.practice.expert
        start = tomorrow(hour, days=days)
        return world.book(self.service, expert, self.patient, start, **more).id

    def succeeded(self, payment: StartedPayment) -> None:
        """Paid in the browser, and told by an event."""
        self.practice.stripe.pay(str(payment.provider_id))
        self.practice.event(payment, "payment_intent.succeeded")

    def settled(self, payment: StartedPayment) -> None:
        """Stripe has told its fee, and moved the commission that we asked for."""
        stripe, provider_id = self.practice.stripe, str(payment.provider_id)
        stripe.settle(provider_id)
        stripe.change(provider_id, commission=int(self.item(payment).commission))
        self.practice.event(payment, "charge.updated")

    def pay(self, appointment: str, part: str | None = None) -> StartedPayment:
        payment = self.practice.start(appointment, part=part)
        self.succeeded(payment)
        self.settled(payment)
        return payment

    def cash(self, appointment: str, amount: int, part: Any = None) -> Payment:
        body = ManualPaymentRequest.model_validate(
            {
                "appointment_id": appointment,
                "part": part,
                "method": "cash",
                "amount": {"amount": amount, "currency": "EUR"},
                "received_at": TODAY,
            }
        )
        return payments.record(self.practice.owner, body, None)

    def item(self, payment: Payment) -> PaymentItem:
        return self.practice.payment(payment.id)

    def shown(self, appointment: str) -> tuple[str, str]:
        found = self.practice.appointment(appointment)
        return str(found.status), str(found.payment_status)

    def order(self, appointment: str) -> Order:
        order_id = self.practice.appointment(appointment).order_id
        found = order_views.get(self.practice.owner, order_id)
        check(found)
        return found

    def figures(self, appointment: str) -> tuple[int, int, int, int]:
        """Paid, refunded, due and due now."""
        found = self.order(appointment)
        amounts = found.paid, found.refunded, found.due, found.due_now
        paid, refunded, due, now_ = (one.amount for one in amounts)
        return paid, refunded, due, now_

    def verified(self) -> None:
        assert ledger_verify.verify(self.practice.world.tenant) == []


def check(order: Order) -> None:
    """What holds of every order."""
    assert sum(line.amount.amount for line in order.lines) == order.total.amount
    for line in order.lines:
        assert line.net.amount + (line.tax.amount if line.tax else 0) == line.amount.amount
    assert sum(line.tax.amount for line in order.lines if line.tax) == order.tax.amount
    kept = order.paid.amount - order.refunded.amount
    assert kept == sum(one.captured.amount - one.refunded.amount for one in order.payments)
    assert 0 <= order.due_now.amount <= order.due.amount <= order.total.amount


@pytest.fixture
def desk(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(ledger_verify, "PAUSE_S", 0)
    return Desk.of(practice)


# ---------------------------------------------------------------- a service's terms


def written(world: World, **body: Any) -> ServiceRequest:
    base = {"name": "S", "duration_minutes": 30, "price": {"amount": 5_000, "currency": "EUR"}}
    return ServiceRequest.model_validate(base | body)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"deposit": {}}, "body.deposit"),
        ({"deposit": {"fixed": 100, "percent": 10}}, "body.deposit"),
        ({"deposit": {"fixed": 5_000}}, "body.deposit.fixed"),
        ({"deposit": {"percent": 1}, "price": {"amount": 3, "currency": "EUR"}}, "percent"),
        ({"deposit": {"fixed": 1}, "price": {"amount": 0, "currency": "EUR"}}, "fixed"),
        (
            {"deposit": {"fixed": 1}, "kind": "PACKAGE", "sessions": 2, "validity_days": 9},
            "body.deposit",
        ),
        ({"tax": ON_TOP, "price": {"amount": 99_999_999, "currency": "EUR"}}, "body.price.amount"),
    ],
)
def test_terms_that_do_not_fit_are_named(tables: Any, body: dict[str, Any], path: str) -> None:
    world = World()
    with pytest.raises(Invalid) as refused:
        services.create(world.owner, written(world, **body), None)
    assert [error.path.endswith(path) for error in refused.value.errors] == [True]


def test_a_services_terms_are_shown_and_follow_its_price(tables: Any) -> None:
    world = World()
    made = services.create(world.owner, written(world, tax=ON_TOP, deposit={"percent": 50}), None)
    assert (made.price.amount, made.total.amount) == (5_000, 6_050)
    assert made.tax is not None
    assert made.tax.model_dump() == ON_TOP
    assert made.deposit is not None
    assert (made.deposit.percent, made.deposit.amount) == (50, 3_025)

    def patched(**body: Any) -> Any:
        return services.change(world.owner, made.id, ServicePatch.model_validate(body), None)

    dearer = patched(price={"amount": 10_000, "currency": "EUR"})
    assert (dearer.total.amount, dearer.deposit.amount) == (12_100, 6_050)
    untaxed = patched(tax=None)
    assert (untaxed.tax, untaxed.total.amount, untaxed.deposit.amount) == (None, 10_000, 5_000)
    fixed = patched(deposit={"fixed": 9_999})
    assert (fixed.deposit.fixed, fixed.deposit.percent, fixed.deposit.amount) == (
        9_999,
        None,
        9_999,
    )
    # It is the new price that does not fit the deposit: that was not written.
    with pytest.raises(Invalid) as refused:
        patched(price={"amount": 9_999, "currency": "EUR"})
    assert [error.path for error in refused.value.errors] == ["body.price.amount"]
    assert patched(name="Other").deposit.amount == 9_999
    assert patched(deposit=None).deposit is None


def test_what_was_agreed_is_copied_when_it_is_booked(practice: Practice) -> None:
    desk = Desk.of(practice, tax=ON_TOP, deposit={"percent": 30})
    world = practice.world
    free = offers.free_slots(
        world.owner, desk.service, practice.expert, tomorrow(8), tomorrow(9), None
    )
    assert free.deposit is not None
    assert free.tax is not None
    assert (free.price.amount, free.tax.amount, free.deposit.amount) == (12_100, 2_100, 3_630)
    booked = desk.hold()
    services.change(
        world.owner, desk.service, ServicePatch.model_validate({"tax": None, "deposit": None}), None
    )
    found = appointments.get(world.owner, booked)
    assert found.deposit is not None
    assert found.tax is not None
    assert (found.price.amount, found.tax.amount, found.deposit.amount) == (12_100, 2_100, 3_630)
    order = desk.order(booked)
    assert (order.id, order.id[4:]) == (found.order_id, booked[5:])
    (line,) = order.lines
    assert (line.unit_amount.amount, line.net.amount, line.amount.amount) == (
        10_000,
        10_000,
        12_100,
    )
    assert (order.total.amount, order.tax.amount, order.due_now.amount) == (12_100, 2_100, 3_630)
    assert order.status is OrderStatus.OPEN


# ---------------------------------------------------------------- deposit, then remainder


def test_a_deposit_confirms_and_the_remainder_pays_the_whole(desk: Desk) -> None:
    appointment = desk.hold()
    assert desk.figures(appointment) == (0, 0, PRICE, DEPOSIT)
    first = desk.pay(appointment)
    assert (first.part, first.amount.amount) == ("deposit", DEPOSIT)
    assert desk.shown(appointment) == ("confirmed", "deposit_paid")
    assert desk.figures(appointment) == (DEPOSIT, 0, REST, REST)
    assert desk.order(appointment).status is OrderStatus.DEPOSIT_PAID
    second = desk.pay(appointment)
    assert (second.part, second.amount.amount) == ("remainder", REST)
    assert desk.shown(appointment) == ("confirmed", "paid")
    assert desk.figures(appointment) == (PRICE, 0, 0, 0)
    order = desk.order(appointment)
    assert order.status is OrderStatus.PAID
    assert [(one.payment_id, one.part) for one in order.payments] == [
        (first.id, "deposit"),
        (second.id, "remainder"),
    ]
    found = desk.practice.appointment(appointment)
    assert (found.deposit_payment_id, found.payment_id) == (first.id, second.id)
    desk.verified()


def test_a_remainder_may_be_paid_after_it_took_place(desk: Desk) -> None:
    appointment = desk.hold()
    desk.pay(appointment)
    desk.practice.clock.forward(days=3)
    closing.complete(desk.practice.owner, appointment)
    assert desk.shown(appointment) == ("completed", "deposit_paid")
    assert desk.figures(appointment) == (DEPOSIT, 0, REST, REST)
    rest = desk.pay(appointment)
    assert desk.shown(appointment) == ("completed", "paid")
    assert int(desk.item(rest).earned) == REST
    assert desk.practice.balances()["PAYEE", "revenue", "EUR"] == -PRICE
    desk.verified()


def test_the_whole_may_be_paid_at_once(desk: Desk) -> None:
    appointment = desk.hold()
    whole = desk.pay(appointment, "full")
    assert (whole.part, whole.amount.amount) == ("full", PRICE)
    assert desk.shown(appointment) == ("confirmed", "paid")
    for part in ("full", "deposit", "remainder"):
        with pytest.raises(Conflict):
            desk.practice.start(appointment, part=part)


def test_parts_out_of_turn_are_refused(desk: Desk) -> None:
    appointment = desk.hold()
    with pytest.raises(Conflict):
        desk.practice.start(appointment, part="remainder")
    with pytest.raises(Conflict):
        desk.cash(appointment, REST)
    desk.pay(appointment, "deposit")
    for part in ("deposit", "full"):
        with pytest.raises(Conflict):
            desk.practice.start(appointment, part=part)
    for amount in (DEPOSIT, PRICE):
        with pytest.raises(Conflict):
            desk.cash(appointment, amount)
    with pytest.raises(Invalid):
        desk.cash(appointment, REST - 1)
    desk.pay(appointment, "remainder")
    with pytest.raises(Conflict):
        desk.practice.start(appointment, part="remainder")


def test_the_desk_takes_what_is_left_or_the_deposit(desk: Desk) -> None:
    owner = desk.practice.owner

    def marked(appointment: str, **body: Any) -> Payment:
        request = MarkPaidRequest.model_validate({"method": "cash", "received_at": TODAY} | body)
        return closing.mark_paid(owner, appointment, request, None)

    first = desk.hold(10)
    assert marked(first, part="deposit").amount.amount == DEPOSIT
    assert desk.shown(first) == ("confirmed", "deposit_paid")
    rest = marked(first)
    assert (rest.part, rest.amount.amount) == ("remainder", REST)
    assert desk.shown(first) == ("confirmed", "paid")
    with pytest.raises(Conflict):
        marked(first)
    assert marked(desk.hold(12)).amount.amount == PRICE
    plain = desk.practice.hold(14)
    with pytest.raises(Invalid):
        marked(plain, part="deposit")
    desk.verified()


def test_a_deposit_sent_twice_does_not_become_the_remainder(desk: Desk) -> None:
    """Where the request itself takes the money, or tells nothing but an amount."""
    appointment = desk.hold(10)
    assert desk.practice.start(appointment, "mercadopago").part == "deposit"
    with pytest.raises(Conflict) as refused:
        desk.practice.start(appointment, "mercadopago")
    assert refused.value.extra["code"] == "say_remainder"
    assert desk.figures(appointment) == (DEPOSIT, 0, REST, REST)
    desk.practice.start(appointment, "mercadopago", part="remainder")
    assert desk.shown(appointment) == ("confirmed", "paid")

    half = Desk.of(desk.practice, deposit={"percent": 50})
    appointment = half.hold(12)
    half.cash(appointment, PRICE // 2)
    with pytest.raises(Invalid) as unsaid:
        half.cash(appointment, PRICE // 2)
    assert unsaid.value.errors[0].path == "body.part"
    assert half.cash(appointment, PRICE // 2, "remainder").part == "remainder"
    assert half.shown(appointment) == ("confirmed", "paid")


def test_a_deposit_paid_meanwhile_is_not_followed_by_the_remainder(desk: Desk) -> None:
    """The open deposit is found paid while another way of paying is begun: 409, and no second."""
    appointment = desk.hold()
    first = desk.practice.start(appointment, part="full")
    desk.practice.stripe.pay(str(first.provider_id))
    with pytest.raises(Conflict):
        desk.practice.start(appointment)
    assert desk.shown(appointment) == ("confirmed", "paid")
    other = desk.hold(12)
    deposit = desk.practice.start(other)
    desk.practice.stripe.pay(str(deposit.provider_id))
    with pytest.raises(Conflict):
        desk.practice.start(other, part="full")
    assert desk.shown(other) == ("confirmed", "deposit_paid")


# ---------------------------------------------------------------- money that came anyway


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("deposit", "full", "deposit_paid"),
        ("full", "deposit", "paid"),
        ("deposit", "deposit", "deposit_paid"),
        ("full", "full", "paid"),
    ],
)
def test_two_tabs_pay_and_the_second_goes_back(
    desk: Desk, one: str, other: str, shown: str
) -> None:
    appointment = desk.hold()
    practice_ = desk.practice
    first = practice_.start(appointment, part=one)
    second = practice_.start(appointment, "mercadopago", part=other, token="tok_in_process")
    desk.succeeded(first)
    assert desk.shown(appointment) == ("confirmed", shown)
    practice_.mercadopago.pay(str(second.provider_id))
    practice_.event(second, "payment", "mercadopago")
    amount = DEPOSIT if other == "deposit" else PRICE
    assert practice_.refund_states(second.id) == [(amount, "succeeded", "duplicate")]
    assert desk.shown(appointment) == ("confirmed", shown)
    assert practice_.appointment(appointment).payment_id == first.id
    paid, refunded, due, _ = desk.figures(appointment)
    assert (paid - refunded, due) == ((DEPOSIT, REST) if one == "deposit" else (PRICE, 0))


def test_a_remainder_paid_twice_goes_back_once(desk: Desk) -> None:
    appointment = desk.hold()
    desk.pay(appointment)
    first = desk.practice.start(appointment)
    second = desk.practice.start(
        appointment, "mercadopago", part="remainder", token="tok_in_process"
    )
    desk.practice.mercadopago.pay(str(second.provider_id))
    desk.practice.event(second, "payment", "mercadopago")
    assert desk.shown(appointment) == ("confirmed", "paid")
    desk.succeeded(first)
    assert desk.practice.refund_states(first.id) == [(REST, "succeeded", "duplicate")]
    assert desk.shown(appointment) == ("confirmed", "paid")
    assert desk.figures(appointment) == (PRICE + REST, REST, 0, 0)


def test_two_tabs_of_one_patient_share_the_open_payment(desk: Desk) -> None:
    appointment = desk.hold()
    first = desk.practice.start(appointment)
    assert desk.practice.start(appointment).id == first.id
    # Another part is another payment: the first one is called off.
    whole = desk.practice.start(appointment, part="full")
    assert whole.id != first.id
    assert desk.item(first).state == "cancelled"


def test_a_remainder_under_way_leaves_the_deposit_shown(desk: Desk) -> None:
    appointment = desk.hold()
    desk.pay(appointment)
    rest = desk.practice.start(appointment, "mercadopago", part="remainder", token="tok_in_process")
    assert desk.shown(appointment) == ("confirmed", "deposit_paid")
    desk.practice.mercadopago.decline(str(rest.provider_id))
    desk.practice.event(rest, "payment", "mercadopago")
    assert desk.shown(appointment) == ("confirmed", "deposit_paid")
    assert desk.figures(appointment) == (DEPOSIT, 0, REST, REST)


def test_a_remainder_for_a_cancelled_appointment_goes_back(desk: Desk) -> None:
    appointment = desk.hold()
    desk.pay(appointment)
    rest = desk.practice.start(appointment, "mercadopago", part="remainder", token="tok_in_process")
    closing.cancel(desk.practice.owner, appointment, BY_PRACTICE)
    desk.practice.mercadopago.pay(str(rest.provider_id))
    desk.practice.event(rest, "payment", "mercadopago")
    assert desk.practice.refund_states(rest.id) == [(REST, "succeeded", "slot_lost")]
    assert desk.shown(appointment) == ("cancelled", "refunded")
    assert desk.figures(appointment) == (PRICE, PRICE, 0, 0)


def test_a_deposit_that_comes_late_takes_the_time_back(desk: Desk) -> None:
    appointment = desk.hold()
    deposit = desk.practice.start(appointment)
    desk.practice.stripe.pay(str(deposit.provider_id))
    desk.practice.clock.forward(minutes=16)
    assert approving.expire(desk.practice.appointment(appointment), BY)
    desk.practice.event(deposit, "payment_intent.succeeded")
    assert desk.shown(appointment) == ("confirmed", "deposit_paid")


# ---------------------------------------------------------------- ends of an appointment


def both_paid(desk: Desk, *, by_hand: bool = False) -> tuple[str, list[Payment]]:
    appointment = desk.hold()
    if by_hand:
        return appointment, [desk.cash(appointment, amount) for amount in (DEPOSIT, REST)]
    return appointment, [desk.pay(appointment), desk.pay(appointment)]


@pytest.mark.parametrize("by_hand", [False, True])
def test_cancelling_in_time_gives_both_back(desk: Desk, by_hand: bool) -> None:
    appointment, _ = both_paid(desk, by_hand=by_hand)
    preview = closing.preview(
        desk.practice.owner, appointment, PreviewRequest(reason_code=BY_PRACTICE.reason_code)
    )
    assert (preview.paid, preview.refund) == (PRICE, PRICE)
    closing.cancel(desk.practice.owner, appointment, BY_PRACTICE)
    assert desk.shown(appointment) == ("cancelled", "refunded")
    assert desk.figures(appointment) == (PRICE, PRICE, 0, 0)
    desk.verified()


@pytest.mark.parametrize("by_hand", [False, True])
def test_cancelling_late_takes_the_refund_from_the_newest_first(desk: Desk, by_hand: bool) -> None:
    appointment, (deposit, rest) = both_paid(desk, by_hand=by_hand)
    desk.practice.clock.forward(days=1, hours=20)
    shown = closing.preview(
        desk.practice.owner, appointment, PreviewRequest(reason_code=CancelReason.PATIENT_REQUEST)
    )
    assert (shown.kept, shown.refund) == (PRICE // 2, PRICE // 2)
    closing.cancel(desk.practice.owner, appointment, replaced(ASKED, shown.hash))
    assert [int(desk.item(one).refunded) for one in (deposit, rest)] == [0, PRICE // 2]
    assert desk.shown(appointment) == ("cancelled", "partially_refunded")
    assert desk.practice.balances()["PAYEE", "revenue", "EUR"] == -PRICE // 2
    desk.verified()


def replaced(request: CancelRequest, preview_hash: str) -> CancelRequest:
    return request.model_copy(update={"preview_hash": preview_hash})


def test_a_crash_at_any_write_of_cancelling_gives_both_back_once(desk: Desk, tables: Any) -> None:
    crashes, each = 0, [*itertools.product(range(2), ("before", "after"))]
    for hour, (skipped, when) in enumerate(each):
        appointment = desk.hold(hour)
        desk.pay(appointment)
        desk.pay(appointment)
        with Faults(tables) as faults:
            faults.next("TransactWriteItems", *[Faults.meanwhile(lambda: None)] * skipped)
            crash = faults.crash_before if when == "before" else faults.crash_after
            faults.next("TransactWriteItems", crash)
            try:
                closing.cancel(desk.practice.owner, appointment, BY_PRACTICE)
            except Crash:
                crashes += 1
            faults.forget()
        if desk.shown(appointment)[0] != "cancelled":
            closing.cancel(desk.practice.owner, appointment, BY_PRACTICE)
        desk.practice.clock.forward(minutes=2)
        desk.practice.sweep_refunds()
        assert desk.shown(appointment) == ("cancelled", "refunded")
        assert desk.figures(appointment) == (PRICE, PRICE, 0, 0)
    assert crashes == 4
    desk.verified()


def test_a_deposit_alone_is_kept_by_the_policy_of_the_price(desk: Desk) -> None:
    """With ``refund_base: price`` half of the price is kept: all of the deposit, being less."""
    practice_item(desk.practice.world, refund_base="price")
    appointment = desk.hold()
    desk.pay(appointment)
    desk.practice.clock.forward(days=1, hours=20)
    closing.cancel(desk.practice.owner, appointment, ASKED)
    assert desk.shown(appointment) == ("cancelled", "deposit_paid")
    assert desk.figures(appointment) == (DEPOSIT, 0, 0, 0)
    assert desk.order(appointment).status is OrderStatus.CLOSED
    desk.verified()


def practice_item(world: World, **policy: Any) -> None:
    """Another policy for what is booked from now on."""
    found = table.get(PracticeItem, world.tenant.item(PRACTICE, world.practice))
    assert found
    kept = json.dumps({**found.policy, **policy})
    table.transact([table.change(found, BY, set_={"policy": kept})])


def test_a_deposit_partly_kept_is_partly_refunded(desk: Desk) -> None:
    appointment = desk.hold()
    deposit = desk.pay(appointment)
    desk.practice.clock.forward(days=1, hours=20)
    closing.cancel(desk.practice.owner, appointment, ASKED)
    assert int(desk.item(deposit).refunded) == DEPOSIT // 2
    assert desk.shown(appointment) == ("cancelled", "partially_refunded")
    desk.verified()


def test_a_no_show_keeps_both(desk: Desk) -> None:
    appointment, paid = both_paid(desk)
    desk.practice.clock.forward(days=3)
    closing.no_show(desk.practice.owner, appointment)
    assert desk.shown(appointment) == ("no_show", "paid")
    assert sum(int(desk.item(one).earned) for one in paid) == PRICE
    with pytest.raises(Conflict):
        desk.practice.start(appointment)
    desk.verified()


def test_completing_earns_both(desk: Desk) -> None:
    appointment, paid = both_paid(desk)
    desk.practice.clock.forward(days=3)
    closing.complete(desk.practice.owner, appointment)
    assert [int(desk.item(one).earned) for one in paid] == [DEPOSIT, REST]
    desk.verified()


def test_a_refund_by_hand_of_the_deposit_is_shown_though_it_is_not_the_last(desk: Desk) -> None:
    appointment, (deposit, rest) = both_paid(desk)

    def refunded(payment: Payment, amount: int | None = None) -> None:
        wanted = {"amount": {"amount": amount, "currency": "EUR"}} if amount else {}
        body = RefundRequest.model_validate(wanted)
        refunds.create(desk.practice.owner, payment.id, body, None)

    refunded(deposit, 500)
    assert desk.shown(appointment) == ("confirmed", "partially_refunded")
    refunded(rest)
    assert desk.shown(appointment) == ("confirmed", "partially_refunded")
    refunded(deposit)
    assert desk.shown(appointment) == ("confirmed", "refunded")
    assert desk.figures(appointment) == (PRICE, PRICE, 0, 0)
    desk.verified()


def test_a_gesture_out_of_the_deposit_leaves_the_rest_owed(desk: Desk) -> None:
    appointment = desk.hold()
    deposit = desk.pay(appointment)
    body = RefundRequest.model_validate({"amount": {"amount": 100, "currency": "EUR"}})
    refunds.create(desk.practice.owner, deposit.id, body, None)
    assert desk.shown(appointment) == ("confirmed", "deposit_paid")
    desk.pay(appointment)
    assert desk.shown(appointment) == ("confirmed", "partially_refunded")
    assert desk.figures(appointment) == (PRICE, 100, 0, 0)


@pytest.mark.parametrize("before", [0, 100])
def test_refunds_of_both_at_the_same_moment_show_what_came_of_both(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """The other one succeeds right before this one is written: neither saw the other's.

    Where a part went back before, neither changes what is shown, as far as it can see.
    """
    appointment, (deposit, rest) = both_paid(desk)
    tenant, stripe = desk.practice.world.tenant, desk.practice.stripe

    def refunded(payment: Payment, amount: int) -> None:
        stripe.add_refund(str(desk.item(payment).provider_id), amount)

    if before:
        for one in (deposit, rest):
            refunded(one, before)
            effects.refresh(tenant, one.id, BY)
        assert desk.shown(appointment) == ("confirmed", "partially_refunded")
    refunded(deposit, DEPOSIT - before)
    refunded(rest, REST - before)
    transact = table.transact

    def after_the_other(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(table, "transact", transact)
        effects.refresh(tenant, rest.id, BY)
        return transact(*args, **options)

    monkeypatch.setattr(table, "transact", after_the_other)
    effects.refresh(tenant, deposit.id, BY)
    assert desk.shown(appointment) == ("confirmed", "refunded")
    desk.verified()


@pytest.mark.parametrize("refund_is_last", [True, False])
def test_a_gesture_at_the_moment_of_the_remainder_is_shown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, refund_is_last: bool
) -> None:
    """Whichever of the two is written last has seen the other."""
    appointment = desk.hold()
    deposit = desk.pay(appointment)
    rest = desk.practice.start(appointment)
    tenant, stripe = desk.practice.world.tenant, desk.practice.stripe
    stripe.add_refund(str(deposit.provider_id), 100)
    stripe.pay(str(rest.provider_id))
    last, first = (deposit, rest) if refund_is_last else (rest, deposit)
    transact = table.transact

    def after_the_other(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(table, "transact", transact)
        effects.refresh(tenant, first.id, BY)
        return transact(*args, **options)

    monkeypatch.setattr(table, "transact", after_the_other)
    effects.refresh(tenant, last.id, BY)
    assert desk.shown(appointment) == ("confirmed", "partially_refunded")
    assert desk.figures(appointment) == (PRICE, 100, 0, 0)


def test_moving_keeps_the_deposit_with_its_payee(desk: Desk) -> None:
    appointment = desk.hold()
    desk.pay(appointment)
    other = desk.practice.world.expert()
    services.change(
        desk.practice.owner,
        desk.service,
        ServicePatch.model_validate({"expert_ids": [desk.practice.expert, other]}),
        None,
    )
    payee = payees.ensure(desk.practice.world.tenant, other, BY)
    table.transact([table.change(payee, BY, set_=OWN_ACCOUNT)])
    body = {"start": tomorrow(12, days=3).isoformat(), "expert_id": other}
    with pytest.raises(Conflict) as refused:
        rescheduling.reschedule(
            desk.practice.owner, appointment, RescheduleRequest.model_validate(body), None
        )
    assert refused.value.extra["code"] == "other_payee"
    body["expert_id"] = desk.practice.expert
    rescheduling.reschedule(
        desk.practice.owner, appointment, RescheduleRequest.model_validate(body), None
    )
    desk.pay(appointment)
    assert desk.shown(appointment) == ("confirmed", "paid")


# ---------------------------------------------------------------- approval


def approved_each(desk: Desk) -> str:
    expert = desk.practice.world.expert(auto_confirm=False)
    desk.service = desk.practice.world.service(expert, price=PRICE, deposit={"fixed": DEPOSIT})
    booked = desk.practice.world.book(desk.service, expert, desk.patient, tomorrow(10, days=4))
    assert booked.status == Status.HELD
    return booked.id


def test_an_approved_deposit_is_captured_and_the_rest_is_owed(desk: Desk) -> None:
    appointment = approved_each(desk)
    deposit = desk.practice.start(appointment)
    desk.succeeded(deposit)
    assert desk.shown(appointment) == ("awaiting_approval", "processing")
    approving.approve(desk.practice.owner, appointment)
    assert desk.shown(appointment) == ("confirmed", "deposit_paid")
    desk.settled(deposit)
    rest = desk.pay(appointment)
    assert not desk.item(rest).manual_capture
    assert desk.shown(appointment) == ("confirmed", "paid")
    desk.verified()


def test_a_deposit_in_cash_goes_back_where_it_is_declined(desk: Desk) -> None:
    appointment = approved_each(desk)
    deposit = desk.cash(appointment, DEPOSIT)
    assert desk.shown(appointment) == ("awaiting_approval", "deposit_paid")
    approving.decline(
        desk.practice.owner,
        appointment,
        approving.DeclineRequest(reason_code=CancelReason.UNAVAILABLE),
    )
    assert desk.shown(appointment) == ("cancelled", "refunded")
    assert int(desk.item(deposit).refunded) == DEPOSIT
    desk.verified()


# ---------------------------------------------------------------- commission and tax


def test_deposit_and_remainder_bear_the_commission_of_the_whole(desk: Desk) -> None:
    """0.35 and 9.99 %, the fixed part once; a rate that changes meanwhile changes nothing."""
    world = desk.practice.world
    rate = {"from": "2026-01-01", "currency": "EUR", "service_id": None, "plan_id": None}

    def rates(fixed: int, bps: int) -> None:
        values = json.dumps([{**rate, "fixed": fixed, "percent_bps": bps}])
        key = key_of(world.tenant)
        table.transact([table.update(key, set_={"entity": "RATES", "rates": values, "version": 1})])

    rates(35, 999)
    appointment = desk.hold()
    deposit = desk.pay(appointment)
    rates(0, 5_000)
    rest = desk.pay(appointment)
    assert [int(desk.item(one).commission) for one in (deposit, rest)] == [335, 699]
    assert 335 + 699 == 35 + 999
    desk.verified()


def test_tax_is_divided_with_the_payments(practice: Practice) -> None:
    desk = Desk.of(practice, tax=IVA)
    appointment = desk.hold()
    first, second = desk.pay(appointment), desk.pay(appointment)
    assert (first.tax.amount, second.tax.amount) == (521, 1_215)
    assert desk.order(appointment).tax.amount == 1_736


# ---------------------------------------------------------------- packages


def test_a_package_has_its_tax_and_no_deposit(practice: Practice) -> None:
    desk = Desk.of(practice, kind="PACKAGE", sessions=4, validity_days=90, tax=ON_TOP, deposit=None)
    bought = sold.create(
        practice.owner,
        PackageRequest.model_validate({"service_id": desk.service, "patient_id": desk.patient}),
        None,
    )
    assert bought.tax is not None
    assert (bought.price.amount, bought.tax.amount) == (12_100, 2_100)
    order = order_views.get(practice.owner, bought.order_id)
    check(order)
    assert (order.package_id, order.appointment_id, order.deposit) == (bought.id, None, None)
    assert (order.due.amount, order.due_now.amount) == (12_100, 12_100)
    body = payments.PaymentRequest.model_validate(
        {"package_id": bought.id, "provider": "stripe", "part": "deposit"}
    )
    with pytest.raises(Invalid):
        payments.create(practice.owner, body, None)
    whole = payments.create(practice.owner, body.model_copy(update={"part": None}), None)
    desk.succeeded(whole)
    session = practice.appointment(desk.hold())
    assert (int(session.price), session.tax, session.deposit) == (0, None, None)
    order = order_views.get(practice.owner, session.order_id)
    assert (order.status, order.total.amount) == (OrderStatus.CLOSED, 0)
    packages.cancel(practice.owner, bought.id)
    order = order_views.get(practice.owner, bought.order_id)
    check(order)
    assert (order.paid.amount, order.refunded.amount, order.due.amount) == (12_100, 9_075, 0)


# ---------------------------------------------------------------- who sees an order


def test_everybody_sees_their_own_orders_only(desk: Desk) -> None:
    world, appointment = desk.practice.world, desk.hold()
    order_id = desk.practice.appointment(appointment).order_id
    mine = (
        desk.patients_own,
        world.caller(Role.EXPERT, desk.practice.expert),
        *(world.caller(role) for role in (Role.OWNER, Role.ADMIN, Role.BILLING)),
    )
    for caller in mine:
        assert order_views.get(caller, order_id).appointment_id == appointment
    others = (
        world.caller(Role.PATIENT, world.patient()),
        world.caller(Role.EXPERT, world.expert()),
        World().owner,
    )
    for caller in others:
        with pytest.raises(NotFound):
            order_views.get(caller, order_id)
    for unknown in (appointment, "ord_01JC0DEM00000000000000000K"):
        with pytest.raises(NotFound):
            order_views.get(world.owner, unknown)


def test_an_order_over_http(desk: Desk) -> None:
    appointment = desk.hold()
    order_id = desk.practice.appointment(appointment).order_id
    context = signed_in("owner", desk.practice.world.practice)
    answer: Answer = call("orders", "GET", f"/v1/orders/{order_id}", context=context)
    assert answer.status == 200
    assert answer.body["due"] == {"amount": PRICE, "currency": "EUR"}
    assert answer.body["due_now"] == {"amount": DEPOSIT, "currency": "EUR"}
    assert call("orders", "GET", "/v1/orders/nothing", context=context).status == 422


# ---------------------------------------------------------------- any life of any order


@pytest.mark.parametrize("seed", range(12))
def test_any_life_of_an_order_adds_up(desk: Desk, seed: int) -> None:
    """Random terms, payments, refunds and ends: the order, the status and the ledger agree."""
    chance = random.Random(seed)
    price = chance.randint(200, 20_000)
    tax = {
        "rate_bps": chance.choice((0, 500, 1_900, 2_100)),
        "code": "T",
        "inclusive": chance.random() < 0.5,
    }
    deposit = chance.choice(({"percent": chance.randint(1, 99)}, {"fixed": chance.randint(1, 199)}))
    desk = Desk.of(desk.practice, price=price, tax=chance.choice((tax, None)), deposit=deposit)
    appointment = desk.hold()
    made: list[Payment] = []
    seen: Counter[str] = Counter()
    for _ in range(chance.randint(2, 8)):
        step = chance.choice(("pay", "pay", "cash", "refund", "end"))
        try:
            act(desk, appointment, made, step, chance)
            seen[step] += 1
        except (Conflict, Invalid):
            seen["refused"] += 1
        item = desk.practice.appointment(appointment)
        order = desk.order(appointment)
        assert order.payment_status == expected(item, desk)
        owed = order.due.amount
        if owed:
            had = order.paid.amount if item.payment_status == "deposit_paid" else 0
            assert owed + had == order.total.amount
    desk.verified()
    balances = desk.practice.balances()
    assert not any(account == "suspense" for _, account, _ in balances)
    assert sum(seen.values()) >= 2


def act(
    desk: Desk, appointment: str, made: list[Payment], step: str, chance: random.Random
) -> None:
    owner = desk.practice.owner
    if step == "pay":
        part = chance.choice((None, None, "full", "deposit", "remainder"))
        made.append(desk.pay(appointment, part))
    elif step == "cash":
        order = desk.order(appointment)
        amount = chance.choice((order.due, order.due_now, order.total)).amount
        if amount:
            made.append(desk.cash(appointment, amount))
    elif step == "refund" and made:
        payment = chance.choice(made)
        most = int(desk.item(payment).captured) - int(desk.item(payment).refunded)
        if most > 0:
            wanted = {"amount": {"amount": chance.randint(1, most), "currency": "EUR"}}
            refunds.create(owner, payment.id, RefundRequest.model_validate(wanted), None)
    elif step == "end":
        match chance.choice(("cancel", "late", "complete", "no_show")):
            case "cancel":
                closing.cancel(owner, appointment, BY_PRACTICE)
            case "late":
                desk.practice.clock.forward(days=1, hours=20)
                closing.cancel(owner, appointment, ASKED)
            case "complete":
                desk.practice.clock.forward(days=3)
                closing.complete(owner, appointment)
            case _:
                desk.practice.clock.forward(days=3)
                closing.no_show(owner, appointment)


def expected(item: AppointmentItem, desk: Desk) -> str:
    """The status, worked out once more from all payments that really count."""
    paid = orders.Order.read(item.tenant, item.order_id).payments()
    kept = [one for one in paid if one.captured]
    captured = sum(int(one.captured) for one in kept)
    refunded = sum(int(one.refunded) for one in kept)
    if not captured:
        return "unpaid"
    if refunded >= captured:
        return "refunded"
    over = item.status in ("cancelled", "no_show", "expired")
    if captured < int(item.price) and not (refunded and over):
        return "deposit_paid"
    return "partially_refunded" if refunded else "paid"
