"""Payments, refunds, events and closing on DynamoDB's own conditions, with a scripted provider."""

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from consulta.core import keys, table
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, ProviderFailed
from consulta.core.identity import Principal
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.money import providers
from consulta.money.accounts import payees
from consulta.money.appointments import closing
from consulta.money.books import verify as ledger_verify
from consulta.money.paying import (
    changes,
    effects,
    operations,
    orders,
    paid_for,
    payment_lists,
    payments,
    placing,
    refunds,
)
from consulta.money.records import (
    POSTING,
    InboxItem,
    PaymentItem,
    PostingItem,
    Provider,
    RefundState,
    State,
)
from consulta.money.schema.payments import (
    DisplayedStatus,
    ManualPaymentRequest,
    PaymentFilter,
    PaymentRequest,
    RefundRequest,
    StartedPayment,
)
from consulta.money.webhooks import inbox
from consulta.money.webhooks.inbox import InboxState
from consulta.scheduling import holds, rescheduling
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, PaymentStatus, Status
from consulta.scheduling.schema.booking import CancelRequest, RescheduleRequest
from tests.faults import Crash, Faults
from tests.integration.scripted_provider import ScriptedProvider, install
from tests.unit.scheduling.world import Clock, World, tomorrow

BY = Actor("test", "request-1")
PRICE, COMMISSION, FEE = 5000, 500, 175
Balances = dict[tuple[str, str, str], int]
OWN_ACCOUNT = {
    "stripe_account": "acct_2",
    "charges_enabled": True,
    "controller": json.dumps({"losses": {"payments": "stripe"}, "fees": {"payer": "account"}}),
}


@dataclass
class Practice:
    """A practice whose payee is connected, and what the tests do in it."""

    world: World
    stripe: ScriptedProvider
    mercadopago: ScriptedProvider
    clock: Clock
    expert: str = ""
    service: str = ""
    events: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.expert = self.world.expert()
        self.service = self.world.service(self.expert, price=PRICE)
        tenant = self.world.tenant
        payee = payees.ensure(tenant, tenant.practice, BY)
        controller = {"losses": {"payments": "application"}, "fees": {"payer": "application"}}
        values = {
            "stripe_account": "acct_1",
            "charges_enabled": True,
            "payouts_enabled": True,
            "controller": json.dumps(controller),
            "mercadopago_user": "4711",
        }
        owner = payees.Owner(tenant.practice, tenant.practice)
        table.transact(
            [
                table.change(payee, BY, set_=values),
                payees.account_row("stripe", "acct_1", owner),
                payees.account_row("mercadopago", "4711", owner),
            ]
        )

    @property
    def owner(self) -> Principal:
        return self.world.owner

    def hold(self, hour: int = 10, patient: str | None = None) -> str:
        booked = self.world.book(
            self.service, self.expert, patient or self.world.patient(), tomorrow(hour, days=2)
        )
        assert booked.status == Status.HELD
        return booked.id

    def start(
        self, appointment: str, provider: str = "stripe", key: str | None = None, **more: Any
    ) -> StartedPayment:
        if provider == "mercadopago":
            more = {
                "token": "tok_approved",
                "payment_method_id": "visa",
                "payer_email": "payer@example.com",
            } | more
        body = PaymentRequest(appointment_id=appointment, provider=provider, **more)
        return payments.create(self.owner, body, key)

    def paid(self, hour: int = 10) -> StartedPayment:
        """A hold, paid and settled through Stripe, told by its events."""
        payment = self.start(self.hold(hour))
        self.stripe.pay(str(payment.provider_id))
        self.event(payment, "payment_intent.succeeded")
        self.stripe.settle(str(payment.provider_id))
        self.event(payment, "charge.updated")
        return payment

    def message(
        self, payment: StartedPayment, kind: str, provider: str = "stripe"
    ) -> dict[str, Any]:
        provider_id = str(payment.provider_id)
        return {
            "provider": provider,
            "event_id": f"evt_{next(self.events)}",
            "type": kind,
            "live": False,
            "account": "4711" if provider == "mercadopago" else "",
            "object_id": provider_id.replace("pi_", "ch_") if "charge" in kind else provider_id,
            "api_version": "",
        }

    def event(self, payment: StartedPayment, kind: str, provider: str = "stripe") -> InboxState:
        return inbox.handle(self.message(payment, kind, provider))

    def payment(self, payment_id: str) -> PaymentItem:
        return orders.load(self.world.tenant, payment_id)

    def appointment(self, appointment_id: str) -> AppointmentItem:
        found = table.get(AppointmentItem, self.world.tenant.item(APPOINTMENT, appointment_id))
        assert found
        return found

    def refund_states(self, payment_id: str) -> list[tuple[int, str, str]]:
        found = orders.refunds_of(self.payment(payment_id))
        return [(int(r.amount), r.state, r.reason) for r in found]

    def postings(self) -> list[PostingItem]:
        query = table.Query(self.world.tenant.listing(POSTING), index="walk")
        keys = [self.world.tenant.item(POSTING, raw["walksk"]["S"]) for raw in query.all()]
        return [PostingItem.read(raw) for raw in table.batch_get_raw(keys).values()]

    def balances(self) -> Balances:
        """Every account that is not at zero; asserts that each posting balances by itself."""
        sums: Balances = defaultdict(int)
        for posting in self.postings():
            books: dict[str, int] = defaultdict(int)
            for entry in posting.entries:
                amount = int(entry["debit"]) - int(entry["credit"])
                books[entry["book"]] += amount
                book = "PLAT" if entry["book"] == "PLAT" else "PAYEE"
                account = entry["account"].replace(self.world.practice, "practice")
                sums[book, account, posting.currency] += amount
            assert not any(books.values()), posting.event
        return {key: amount for key, amount in sums.items() if amount}

    def sweep_refunds(self) -> list[bool]:
        return [
            effects.resume(refund.key, BY)
            for raw in table.Query(self.world.tenant.listing("REFUND"), index="walk").all()
            for refund in [effects.find_refund(self.world.tenant, raw["walksk"]["S"])]
        ]


@pytest.fixture
def practice(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Practice]:
    stripe, mercadopago = install(monkeypatch)
    clock = Clock(monkeypatch)
    for module in (
        changes,
        closing,
        effects,
        operations,
        orders,
        paid_for,
        payments,
        placing,
        payment_lists,
    ):
        if hasattr(module, "now"):
            monkeypatch.setattr(module, "now", lambda: clock.at)
    yield Practice(World(), stripe, mercadopago, clock)
    providers.provider_for.cache_clear()


PAID: Balances = {
    ("PLAT", "prov:stripe:pending", "EUR"): COMMISSION - FEE,
    ("PLAT", "commission", "EUR"): -COMMISSION,
    ("PLAT", "fee", "EUR"): FEE,
    ("PAYEE", "prov:acct_1:pending", "EUR"): PRICE - COMMISSION,
    ("PAYEE", "patient", "EUR"): -PRICE,
    ("PAYEE", "commission", "EUR"): COMMISSION,
}


def failed_refund(amount: int, commission: int) -> Balances:
    """Paid, and a refund came back: what went with it to the payee, or from there, stays so."""
    found = PAID | {
        ("PLAT", "prov:stripe:pending", "EUR"): COMMISSION - FEE - commission + amount,
        ("PLAT", "commission", "EUR"): commission - COMMISSION,
        ("PLAT", "due:PAYEE:practice", "EUR"): -amount,
        ("PAYEE", "prov:acct_1:pending", "EUR"): PRICE - COMMISSION + commission - amount,
        ("PAYEE", "commission", "EUR"): COMMISSION - commission,
        ("PAYEE", "due:PLAT", "EUR"): amount,
    }
    return {place: balance for place, balance in found.items() if balance}


REFUNDED: Balances = {
    ("PLAT", "prov:stripe:pending", "EUR"): -FEE,
    ("PLAT", "fee", "EUR"): FEE,
}


# ---------------------------------------------------------------- paying


def test_a_payment_confirms_the_hold_and_then_settles(practice: Practice) -> None:
    appointment = practice.hold()
    started = practice.start(appointment)
    assert started.status is DisplayedStatus.OPEN
    assert started.client_secret == f"{started.provider_id}_secret"
    assert (started.amount.amount, started.commission) == (PRICE, started.commission)
    assert started.commission is not None
    assert started.commission.amount == COMMISSION
    practice.stripe.pay(str(started.provider_id))
    assert practice.event(started, "payment_intent.succeeded") is InboxState.DONE
    found = practice.appointment(appointment)
    assert (found.status, found.payment_status) == (Status.CONFIRMED, PaymentStatus.PAID)
    assert found.payment_id == started.id
    unsettled = practice.balances()
    assert unsettled["PAYEE", "prov:acct_1:unsettled", "EUR"] == PRICE - COMMISSION
    assert unsettled["PLAT", "prov:stripe:unsettled", "EUR"] == COMMISSION
    practice.stripe.settle(str(started.provider_id))
    assert practice.event(started, "charge.updated") is InboxState.DONE
    assert practice.balances() == PAID
    item = practice.payment(started.id)
    assert (item.settled, item.fee, item.captured, item.state) == (True, FEE, PRICE, "succeeded")


def test_an_event_twice_changes_nothing(practice: Practice) -> None:
    started = practice.start(practice.hold())
    practice.stripe.pay(str(started.provider_id))
    message = practice.message(started, "payment_intent.succeeded")
    assert inbox.handle(message) is InboxState.DONE
    before, version = practice.balances(), practice.payment(started.id).version
    assert inbox.handle(message) is InboxState.DONE
    assert practice.event(started, "charge.succeeded") is InboxState.DONE
    assert practice.balances() == before
    assert practice.payment(started.id).version == version


def test_mercado_pago_is_paid_in_the_request_itself(practice: Practice) -> None:
    appointment = practice.hold()
    started = practice.start(appointment, "mercadopago")
    assert started.status is DisplayedStatus.SUCCEEDED
    assert practice.appointment(appointment).status == Status.CONFIRMED
    assert practice.balances() == {
        ("PLAT", "prov:mercadopago:pending", "EUR"): COMMISSION,
        ("PLAT", "commission", "EUR"): -COMMISSION,
        ("PAYEE", "prov:4711:pending", "EUR"): PRICE - COMMISSION - FEE,
        ("PAYEE", "patient", "EUR"): -PRICE,
        ("PAYEE", "commission", "EUR"): COMMISSION,
        ("PAYEE", "fee", "EUR"): FEE,
    }
    assert practice.event(started, "payment", "mercadopago") is InboxState.DONE


def test_a_rejected_card_is_followed_by_a_new_submission(practice: Practice) -> None:
    appointment = practice.hold()
    first = practice.start(appointment, "mercadopago", token="tok_rejected")
    assert (first.status, first.failure_code) == (DisplayedStatus.OPEN, "card_declined")
    assert practice.appointment(appointment).status == Status.HELD
    same = practice.start(appointment, "mercadopago", token="tok_rejected")
    assert same.provider_id == first.provider_id
    second = practice.start(appointment, "mercadopago")
    assert (second.id, second.status) == (first.id, DisplayedStatus.SUCCEEDED)
    keys = [key for name, key in practice.mercadopago.calls if name == "start"]
    assert len(set(keys)) == 2
    assert practice.payment(first.id).declined == 1
    # What the first one says later is not about the payment any more.
    assert practice.event(first, "payment", "mercadopago") is InboxState.DONE
    assert practice.payment(first.id).captured == PRICE


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_new_submission_whose_answer_is_lost_is_gone_on_with(
    practice: Practice, lost: str
) -> None:
    appointment = practice.hold()
    first = practice.start(appointment, "mercadopago", token="tok_rejected")
    practice.mercadopago.faults["start", lost] = ProviderFailed()
    with pytest.raises(ProviderFailed):
        practice.start(appointment, "mercadopago")
    second = practice.start(appointment, "mercadopago")
    assert (second.id, second.status) == (first.id, DisplayedStatus.SUCCEEDED)
    assert second.provider_id != first.provider_id
    keys = [key for name, key in practice.mercadopago.calls if name == "start"]
    assert len(set(keys)) == 2
    assert practice.appointment(appointment).status == Status.CONFIRMED


def test_a_declined_card_that_is_found_late_is_not_taken_for_the_next(practice: Practice) -> None:
    appointment = practice.hold()
    first = practice.start(appointment, "mercadopago", token="tok_rejected")
    practice.mercadopago.faults["start", "before"] = ProviderFailed()
    with pytest.raises(ProviderFailed):
        practice.start(appointment, "mercadopago")
    # One more of before, of which nobody had heard.
    known = practice.mercadopago.payments
    known["pi_late"] = replace(known[str(first.provider_id)], id="pi_late", operation="op_before")
    second = practice.start(appointment, "mercadopago")
    assert second.status is DisplayedStatus.SUCCEEDED
    assert second.provider_id not in (first.provider_id, "pi_late")


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_third_card_waits_for_what_became_of_the_second(practice: Practice, lost: str) -> None:
    appointment = practice.hold()
    practice.start(appointment, "mercadopago", token="tok_rejected")
    practice.mercadopago.faults["start", lost] = ProviderFailed()
    with pytest.raises(ProviderFailed):
        practice.start(appointment, "mercadopago")
    if lost == "before":
        with pytest.raises(Conflict):
            practice.start(appointment, "mercadopago", token="tok_third")
        practice.clock.forward(minutes=2)
    third = practice.start(appointment, "mercadopago", token="tok_third")
    assert third.status is DisplayedStatus.SUCCEEDED
    assert len(practice.mercadopago.payments) == 2


def test_the_open_payment_is_used_again(practice: Practice) -> None:
    appointment = practice.hold()
    first, second = practice.start(appointment), practice.start(appointment)
    assert (first.id, first.client_secret) == (second.id, second.client_secret)
    assert [name for name, _ in practice.stripe.calls].count("start") == 1


def test_the_same_key_gives_the_same_payment(practice: Practice) -> None:
    appointment = practice.hold()
    first = practice.start(appointment, key="k")
    assert practice.start(appointment, key="k").id == first.id
    with pytest.raises(Invalid):
        practice.start(practice.hold(14), key="k")


def test_a_start_whose_answer_is_lost_is_found_again(practice: Practice) -> None:
    appointment = practice.hold()
    practice.stripe.faults["start", "after"] = ProviderFailed()
    with pytest.raises(ProviderFailed):
        practice.start(appointment, key="k")
    practice.clock.forward(minutes=2)
    again = practice.start(appointment, key="k")
    assert again.provider_id in practice.stripe.payments
    assert len(practice.stripe.payments) == 1


def test_a_start_that_never_arrived_is_sent_under_a_new_key(practice: Practice) -> None:
    appointment = practice.hold()
    practice.stripe.faults["start", "before"] = ProviderFailed()
    with pytest.raises(ProviderFailed):
        practice.start(appointment)
    practice.clock.forward(minutes=2)
    practice.start(appointment)
    first, second = (key for name, key in practice.stripe.calls if name == "start")
    assert first.removesuffix(":1") == second.removesuffix(":2")


def test_what_cannot_be_paid_is_refused(practice: Practice) -> None:
    appointment = practice.hold()
    practice.clock.forward(minutes=16)
    with pytest.raises(Conflict, match="hold has ended"):
        practice.start(appointment)
    paid = practice.paid(14)
    with pytest.raises(Conflict, match="paid already"):
        practice.start(paid.appointment_id)
    tenant = practice.world.tenant
    payee = payees.find(tenant, tenant.practice)
    assert payee
    table.transact([table.change(payee, BY, set_={"charges_enabled": False})])
    with pytest.raises(Conflict, match="cannot take charges"):
        practice.start(practice.hold(16))
    stranger = practice.world.caller(Role.PATIENT, new_id("pat"))
    with pytest.raises(NotFound):
        payments.get(stranger, paid.id)


def test_an_expert_with_an_account_of_their_own_is_paid_directly(practice: Practice) -> None:
    tenant = practice.world.tenant
    payee = payees.ensure(tenant, practice.expert, BY)
    table.transact([table.change(payee, BY, set_=OWN_ACCOUNT)])
    paid = practice.paid()
    item = practice.payment(paid.id)
    assert (item.payee_id, item.destination) == (practice.expert, False)
    balances = practice.balances()
    assert balances["PAYEE", "prov:acct_2:pending", "EUR"] == PRICE - COMMISSION - FEE
    assert balances["PAYEE", "fee", "EUR"] == FEE
    assert balances["PLAT", "prov:stripe:pending", "EUR"] == COMMISSION


def test_money_for_an_appointment_that_went_to_another_payee_goes_back(
    practice: Practice,
) -> None:
    world, tenant = practice.world, practice.world.tenant
    other = world.expert()
    table.transact([table.change(payees.ensure(tenant, other, BY), BY, set_=OWN_ACCOUNT)])
    service = world.service(practice.expert, other, price=PRICE)
    booked = world.book(
        service, practice.expert, world.patient(), tomorrow(10, days=2), confirm=True
    )
    started = practice.start(booked.id)
    request = RescheduleRequest(start=tomorrow(12, days=2), expert_id=other)
    rescheduling.reschedule(practice.owner, booked.id, request, None)
    practice.stripe.pay(str(started.provider_id))
    practice.event(started, "payment_intent.succeeded")
    assert payments.get(practice.owner, started.id).status is DisplayedStatus.REFUNDED
    assert [r.reason for r in payments.get(practice.owner, started.id).refunds] == ["other_payee"]
    found = practice.appointment(booked.id)
    assert (found.payment_status, found.expert_id) == (PaymentStatus.UNPAID, other)


def test_a_declined_card_leaves_the_hold_and_3ds_extends_it_once(practice: Practice) -> None:
    appointment = practice.hold()
    started = practice.start(appointment)
    provider_id, ends = str(started.provider_id), practice.appointment(appointment).hold_expires_at
    practice.stripe.decline(provider_id)
    practice.event(started, "payment_intent.payment_failed")
    assert practice.payment(started.id).declined == 1
    assert practice.appointment(appointment).hold_expires_at == ends
    for _ in range(2):
        practice.stripe.change(provider_id, failure_code="", requires_action=True)
        practice.event(started, "payment_intent.requires_action")
        found = practice.appointment(appointment)
        assert found.hold_expires_at == ends + timedelta(minutes=10)
        shown = payments.get(practice.owner, started.id).status
        assert shown is DisplayedStatus.REQUIRES_ACTION
        practice.stripe.decline(provider_id)
        practice.event(started, "payment_intent.payment_failed")
    practice.stripe.change(provider_id, failure_code="", state=State.PROCESSING)
    practice.event(started, "payment_intent.processing")
    found = practice.appointment(appointment)
    assert found.payment_status == PaymentStatus.PROCESSING
    assert found.hold_expires_at == found.created_at + timedelta(minutes=45)
    practice.stripe.decline(provider_id)
    practice.event(started, "payment_intent.payment_failed")
    assert practice.appointment(appointment).payment_status == PaymentStatus.UNPAID


# ---------------------------------------------------------------- any order


KINDS = ("payment_intent.succeeded", "charge.updated", "refund.created", "refund.failed")


@pytest.mark.parametrize("order", list(itertools.permutations(KINDS)))
def test_events_in_any_order_end_in_the_same_state_and_ledger(
    practice: Practice, order: tuple[str, ...]
) -> None:
    """All of it is told in this order at the end, and some of it while it happens."""
    payment = practice.start(practice.hold())
    provider_id = str(payment.provider_id)
    happened = {
        "payment_intent.succeeded": lambda: practice.stripe.pay(provider_id),
        "charge.updated": lambda: practice.stripe.settle(provider_id),
        "refund.created": lambda: practice.stripe.add_refund(provider_id, 2000),
        "refund.failed": lambda: practice.stripe.fail_refunds(provider_id),
    }
    for step, kind in enumerate(KINDS):
        happened[kind]()
        if order[0] == kind:
            practice.event(payment, order[step])
    for kind in order:
        practice.event(payment, kind)
    item = practice.payment(payment.id)
    names = ("state", "captured", "refunded", "reserved", "settled", "fee", "commission_returned")
    state = [getattr(item, name) for name in names]
    assert state == ["succeeded", PRICE, 0, 0, True, FEE, 0]
    found = practice.appointment(payment.appointment_id)
    assert (found.status, found.payment_status) == (Status.CONFIRMED, PaymentStatus.PAID)
    assert practice.balances() == failed_refund(2000, 0)


def test_a_reading_that_was_overtaken_is_not_written(practice: Practice) -> None:
    """We read it open; before we write, another worker hears that it is paid."""
    started = practice.start(practice.hold())
    provider_id = str(started.provider_id)
    practice.stripe.decline(provider_id)

    def meanwhile() -> None:
        practice.stripe.pay(provider_id)
        practice.event(started, "payment_intent.succeeded")

    practice.stripe.before_answer["read"] = meanwhile
    assert practice.event(started, "payment_intent.payment_failed") is InboxState.DONE
    item = practice.payment(started.id)
    assert (item.state, item.failure_code, item.declined) == ("succeeded", None, 0)


# ---------------------------------------------------------------- the slot is lost, paid twice


def expired(practice: Practice, hour: int = 10) -> StartedPayment:
    """A hold that ended while its intent, unknown to us, is about to be paid."""
    payment = practice.start(practice.hold(hour))
    practice.clock.forward(minutes=16)
    assert holds.expire(practice.appointment(payment.appointment_id), BY)
    return payment


def test_a_late_payment_takes_its_time_back_where_it_is_free(practice: Practice) -> None:
    payment = expired(practice)
    practice.stripe.pay(str(payment.provider_id))
    practice.event(payment, "payment_intent.succeeded")
    found = practice.appointment(payment.appointment_id)
    assert (found.status, found.payment_status) == (Status.CONFIRMED, PaymentStatus.PAID)


@pytest.mark.parametrize("swept", [True, False])
def test_a_late_payment_goes_back_where_the_time_is_taken(practice: Practice, swept: bool) -> None:
    if swept:
        payment = expired(practice)
    else:
        payment = practice.start(practice.hold())
        practice.clock.forward(minutes=16)
    other = practice.hold()
    practice.stripe.pay(str(payment.provider_id))
    practice.stripe.settle(str(payment.provider_id))
    assert practice.event(payment, "payment_intent.succeeded") is InboxState.DONE
    assert practice.refund_states(payment.id) == [(PRICE, "succeeded", "slot_lost")]
    item = practice.payment(payment.id)
    assert (item.refunded, item.reserved, item.commission_returned) == (PRICE, 0, COMMISSION)
    assert practice.balances() == REFUNDED
    assert practice.appointment(other).status == Status.HELD
    status = practice.appointment(payment.appointment_id).status
    assert status == (Status.EXPIRED if swept else Status.HELD)


def test_a_crash_between_request_and_refund_is_healed_by_the_sweep(
    practice: Practice, tables: Any
) -> None:
    payment = expired(practice)
    practice.hold()
    practice.stripe.pay(str(payment.provider_id))
    practice.stripe.faults["refund", "before"] = Crash()
    with pytest.raises(Crash):
        practice.event(payment, "payment_intent.succeeded")
    assert practice.refund_states(payment.id) == [(PRICE, "requested", "slot_lost")]
    practice.clock.forward(minutes=3)
    assert practice.sweep_refunds() == [True]
    assert practice.sweep_refunds() == [True]
    assert practice.refund_states(payment.id) == [(PRICE, "succeeded", "slot_lost")]
    assert practice.payment(payment.id).refunded == PRICE
    assert len(practice.stripe.payments[str(payment.provider_id)].refunds) == 1


def test_a_refund_whose_answer_was_lost_is_not_made_twice(practice: Practice) -> None:
    payment = practice.paid()
    practice.stripe.faults["refund", "after"] = ProviderFailed()
    made = refunds.create(practice.owner, payment.id, RefundRequest(), None)
    assert made.state == "requested"
    practice.clock.forward(minutes=3)
    assert practice.sweep_refunds() == [True]
    assert len(practice.stripe.payments[str(payment.provider_id)].refunds) == 1
    assert practice.balances() == REFUNDED


def test_a_refund_that_nobody_takes_fails_in_the_end(practice: Practice) -> None:
    payment = practice.paid()
    practice.stripe.faults["refund", "before"] = ProviderFailed()
    refunds.create(practice.owner, payment.id, RefundRequest(), None)
    practice.clock.forward(days=4)
    practice.stripe.faults["refund", "before"] = ProviderFailed()
    practice.sweep_refunds()
    assert practice.refund_states(payment.id) == [(PRICE, "failed", "requested")]
    assert practice.balances() == PAID
    assert practice.payment(payment.id).reserved == 0


def test_two_providers_paid_for_one_order_and_one_goes_back(practice: Practice) -> None:
    appointment = practice.hold()
    first = practice.start(appointment)
    second = practice.start(appointment, "mercadopago", token="tok_in_process")
    practice.stripe.pay(str(first.provider_id))
    practice.event(first, "payment_intent.succeeded")
    practice.mercadopago.pay(str(second.provider_id))
    practice.event(second, "payment", "mercadopago")
    assert practice.refund_states(second.id) == [(PRICE, "succeeded", "duplicate")]
    found = practice.appointment(appointment)
    assert (found.payment_id, found.payment_status) == (first.id, PaymentStatus.PAID)


def test_a_second_approval_of_one_payment_goes_back_by_itself(practice: Practice) -> None:
    appointment = practice.hold()
    first = practice.start(appointment, "mercadopago", token="tok_rejected")
    second = practice.start(appointment, "mercadopago")
    # The bank approves the first one after all.
    practice.mercadopago.pay(str(first.provider_id))
    for _ in range(2):
        practice.event(first, "payment", "mercadopago")
    extra = orders.payment_id_of(
        practice.world.tenant, Provider.MERCADOPAGO, str(first.provider_id)
    )
    assert extra not in (None, second.id)
    assert practice.refund_states(extra) == [(PRICE, "succeeded", "duplicate")]
    assert practice.refund_states(second.id) == []
    assert practice.balances()["PAYEE", "patient", "EUR"] == -PRICE


# ---------------------------------------------------------------- events that are not right


def test_a_wrong_amount_goes_into_suspense(practice: Practice) -> None:
    started = practice.start(practice.hold())
    practice.stripe.change(str(started.provider_id), amount=4000)
    practice.stripe.pay(str(started.provider_id))
    for kind in ("payment_intent.succeeded", "charge.updated"):
        assert practice.event(started, kind) is InboxState.FAILED
    assert practice.payment(started.id).captured == 0
    assert practice.appointment(started.appointment_id).status == Status.HELD
    assert practice.balances() == {
        ("PLAT", "prov:stripe:unsettled", "EUR"): 4000,
        ("PLAT", "suspense", "EUR"): -4000,
    }


@pytest.mark.parametrize(
    "wrong", [{"currency": "USD"}, {"account": "acct_other"}, {"captured": 4999}]
)
def test_nothing_is_paid_by_what_does_not_match(practice: Practice, wrong: Any) -> None:
    started = practice.start(practice.hold())
    practice.stripe.pay(str(started.provider_id))
    practice.stripe.change(str(started.provider_id), **wrong)
    assert practice.event(started, "payment_intent.succeeded") is InboxState.FAILED
    assert practice.payment(started.id).captured == 0


def test_unknown_types_and_objects_are_stored(practice: Practice) -> None:
    started = practice.start(practice.hold())
    assert practice.event(started, "customer.created") is InboxState.IGNORED
    message = practice.message(started, "payment_intent.succeeded") | {"object_id": "pi_none"}
    assert inbox.handle(message) is InboxState.IGNORED
    query = table.Query(keys.inbox_month(now()), index="l1")
    rows = [InboxItem.read(raw) for raw in query.all()]
    assert {(row.state, row.error) for row in rows} == {
        ("IGNORED", "unknown_type"),
        ("IGNORED", "not_ours"),
    }


def test_a_timeout_brings_the_message_again_and_then_it_is_done(practice: Practice) -> None:
    started = practice.start(practice.hold())
    practice.stripe.pay(str(started.provider_id))
    message = practice.message(started, "payment_intent.succeeded")
    record = {"messageId": "m1", "receiptHandle": "r1", "body": json.dumps(message)}
    poison = {"messageId": "m2", "receiptHandle": "r2", "body": "{"}
    practice.stripe.faults["read", "before"] = ProviderFailed()
    assert inbox.process([poison, record]) == ["m2", "m1"]
    assert inbox.process([record]) == []
    assert practice.payment(started.id).captured == PRICE


def test_what_mercado_pago_does_not_know_yet_comes_again_later(
    practice: Practice, environment: pytest.MonkeyPatch
) -> None:
    sqs = inbox.aws.client("sqs")
    url = sqs.create_queue(QueueName="events")["QueueUrl"]
    environment.setenv("PAYMENT_EVENTS_QUEUE_URL", url)
    message = {
        "provider": "mercadopago",
        "event_id": "1",
        "type": "payment",
        "live": False,
        "account": "4711",
        "object_id": "12",
        "api_version": "",
    }
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(message))
    [received] = sqs.receive_message(QueueUrl=url)["Messages"]
    record = {
        "messageId": received["MessageId"],
        "receiptHandle": received["ReceiptHandle"],
        "body": received["Body"],
    }
    assert inbox.process([record]) == [record["messageId"]]
    waiting = sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )
    assert waiting["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_a_crash_at_every_write_ends_the_same(practice: Practice, tables: Any) -> None:
    crashes = 0
    for hour, crash in enumerate([*itertools.product(range(3), ("before", "after"))]):
        skipped, when = crash
        started = practice.start(practice.hold(hour))
        practice.stripe.pay(str(started.provider_id))
        practice.stripe.settle(str(started.provider_id))
        message = practice.message(started, "payment_intent.succeeded")
        with Faults(tables) as faults:
            faults.next("TransactWriteItems", *[Faults.meanwhile(lambda: None)] * skipped)
            faults.next(
                "TransactWriteItems",
                faults.crash_before if when == "before" else faults.crash_after,
            )
            try:
                inbox.handle(message)
            except Crash:
                crashes += 1
            faults.forget()
            assert inbox.handle(message) is InboxState.DONE
        assert practice.payment(started.id).captured == PRICE
        balances = practice.balances()
        assert balances == {key: amount * (hour + 1) for key, amount in PAID.items()}
    assert crashes == 4


# ---------------------------------------------------------------- refunds


def test_refunds_in_parts_return_every_cent_of_the_commission(practice: Practice) -> None:
    payment = practice.paid()
    for amount in (1667, 1667, 1666):
        body = RefundRequest.model_validate({"amount": {"amount": amount, "currency": "EUR"}})
        assert refunds.create(practice.owner, payment.id, body, None).state == "succeeded"
    assert practice.balances() == REFUNDED
    detail = payments.get(practice.owner, payment.id)
    assert detail.status is DisplayedStatus.REFUNDED
    assert [r.commission.amount for r in detail.refunds if r.commission] == [167, 166, 167]
    found = practice.appointment(payment.appointment_id)
    assert found.payment_status == PaymentStatus.REFUNDED
    with pytest.raises(Conflict):
        refunds.create(practice.owner, payment.id, RefundRequest(), None)


def test_a_key_that_refunded_one_payment_refunds_no_other(practice: Practice) -> None:
    first, second = practice.paid(), practice.paid(12)
    made = refunds.create(practice.owner, first.id, RefundRequest(), "once")
    assert refunds.create(practice.owner, first.id, RefundRequest(), "once").id == made.id
    with pytest.raises(Invalid):
        refunds.create(practice.owner, second.id, RefundRequest(), "once")


def test_refunds_at_the_same_time_never_exceed_what_was_paid(
    practice: Practice, tables: Any
) -> None:
    payment = practice.paid()
    body = RefundRequest.model_validate({"amount": {"amount": 3000, "currency": "EUR"}})
    with Faults(tables) as faults:
        # Both have read 5000 left; the other one writes first.
        faults.next(
            "TransactWriteItems",
            Faults.meanwhile(lambda: refunds.create(practice.owner, payment.id, body, None)),
        )
        with pytest.raises(Conflict) as refused:
            refunds.create(practice.owner, payment.id, body, None)
    assert refused.value.extra["refundable"] == {"amount": 2000, "currency": "EUR"}
    assert practice.payment(payment.id).refunded == 3000


def test_a_refund_with_a_key_is_made_once(practice: Practice) -> None:
    payment = practice.paid()
    body = RefundRequest.model_validate({"amount": {"amount": 100, "currency": "EUR"}})
    first = refunds.create(practice.owner, payment.id, body, "key")
    assert refunds.create(practice.owner, payment.id, body, "key").id == first.id
    assert practice.payment(payment.id).refunded == 100


def test_a_refund_made_at_the_provider_is_taken_over(practice: Practice) -> None:
    payment = practice.paid()
    practice.stripe.add_refund(str(payment.provider_id), 1000)
    for kind in ("refund.created", "charge.refunded"):
        practice.event(payment, kind)
    assert practice.refund_states(payment.id) == [(1000, "succeeded", "external")]
    found = practice.appointment(payment.appointment_id)
    assert found.payment_status == PaymentStatus.PARTIALLY_REFUNDED


def test_a_refund_that_fails_after_it_succeeded_is_reversed(practice: Practice) -> None:
    payment = practice.paid()
    refunds.create(practice.owner, payment.id, RefundRequest(), None)
    practice.stripe.fail_refunds(str(payment.provider_id))
    for _ in range(2):
        practice.event(payment, "refund.failed")
    assert practice.refund_states(payment.id) == [(PRICE, "failed", "requested")]
    assert practice.balances() == failed_refund(PRICE, COMMISSION)
    # What was left with the platform pays for the next one, and no commission is left to return.
    refunds.create(practice.owner, payment.id, RefundRequest(), None)
    item = practice.payment(payment.id)
    assert (item.refunded, item.owed_to_payee, item.commission_returned) == (PRICE, 0, COMMISSION)
    assert ledger_verify.verify(practice.world.tenant) == []
    practice.stripe.fail_refunds(str(payment.provider_id))
    practice.event(payment, "refund.failed")
    assert practice.balances() == failed_refund(PRICE, COMMISSION)
    found = practice.appointment(payment.appointment_id)
    assert found.payment_status == PaymentStatus.PAID


# ---------------------------------------------------------------- by hand


def by_hand(practice: Practice, appointment: str, **more: Any) -> Any:
    body = {
        "appointment_id": appointment,
        "method": "cash",
        "amount": {"amount": PRICE, "currency": "EUR"},
        "received_at": practice.clock.at.date().isoformat(),
    }
    request = ManualPaymentRequest.model_validate(body | more)
    return payments.record(practice.owner, request, None)


def test_cash_confirms_the_hold_and_can_be_given_back(practice: Practice) -> None:
    appointment = practice.hold()
    open_one = practice.start(appointment)
    made = by_hand(practice, appointment, notes="at the desk")
    assert (made.status, made.method) == (DisplayedStatus.SUCCEEDED, "cash")
    found = practice.appointment(appointment)
    assert (found.status, found.payment_status) == (Status.CONFIRMED, PaymentStatus.PAID)
    assert practice.payment(open_one.id).state == State.CANCELLED
    assert practice.balances() == {
        ("PAYEE", "cash", "EUR"): PRICE,
        ("PAYEE", "patient", "EUR"): -PRICE,
    }
    back = refunds.create(practice.owner, made.id, RefundRequest(), None)
    assert back.state == RefundState.SUCCEEDED
    assert practice.balances() == {}
    found = practice.appointment(appointment)
    assert found.payment_status == PaymentStatus.REFUNDED


def test_cash_must_be_what_is_due_and_on_a_past_day(practice: Practice) -> None:
    appointment = practice.hold()
    future = (practice.clock.at + timedelta(days=2)).date().isoformat()
    for wrong in (
        {"amount": {"amount": PRICE - 1, "currency": "EUR"}},
        {"amount": {"amount": PRICE, "currency": "USD"}},
        {"received_at": future},
    ):
        with pytest.raises(Invalid):
            by_hand(practice, appointment, **wrong)
    by_hand(practice, appointment)
    with pytest.raises(Conflict):
        by_hand(practice, appointment)


# ---------------------------------------------------------------- closing


def request(reason: str = "patient_request") -> CancelRequest:
    return CancelRequest.model_validate({"reason_code": reason})


@pytest.mark.parametrize(
    ("hours_before", "reason", "refund"),
    [
        (24, "patient_request", PRICE),
        (23.99, "patient_request", PRICE // 2),
        (1, "patient_request", PRICE // 2),
        (1, "expert_request", PRICE),
    ],
)
def test_cancelling_gives_back_what_the_policy_says(
    practice: Practice, hours_before: float, reason: str, refund: int
) -> None:
    payment = practice.paid()
    start = practice.appointment(payment.appointment_id).start
    practice.clock.at = start - timedelta(hours=hours_before)
    shown = closing.preview(practice.owner, payment.appointment_id, request(reason))
    assert shown.refund == refund
    found = closing.cancel(practice.owner, payment.appointment_id, request(reason))
    assert found.status == Status.CANCELLED
    assert practice.refund_states(payment.id) == [(refund, "succeeded", "cancelled")]
    item, balances = practice.payment(payment.id), practice.balances()
    assert item.commission_returned == refund // 10
    assert balances.get(("PAYEE", "revenue", "EUR"), 0) == refund - PRICE
    assert ("PAYEE", "patient", "EUR") not in balances
    with pytest.raises(Conflict):
        closing.cancel(practice.owner, payment.appointment_id, request())


def test_cancelling_a_hold_cancels_its_intent(practice: Practice) -> None:
    payment = practice.start(practice.hold())
    found = closing.cancel(practice.owner, payment.appointment_id, request())
    assert (found.status, found.payment_status) == (Status.CANCELLED, PaymentStatus.UNPAID)
    assert practice.payment(payment.id).state == State.CANCELLED
    assert practice.stripe.payments[str(payment.provider_id)].state is State.CANCELLED


def test_cancelling_a_hold_that_was_just_paid_refunds_it(practice: Practice) -> None:
    payment = practice.start(practice.hold())
    practice.stripe.pay(str(payment.provider_id))
    closing.cancel(practice.owner, payment.appointment_id, request())
    assert practice.refund_states(payment.id) == [(PRICE, "succeeded", "cancelled")]


def test_money_for_a_cancelled_appointment_goes_back(practice: Practice) -> None:
    payment = practice.start(practice.hold())
    provider_id = str(payment.provider_id)
    practice.stripe.change(provider_id, state=State.PROCESSING)
    practice.event(payment, "payment_intent.processing")
    closing.cancel(practice.owner, payment.appointment_id, request())
    practice.stripe.pay(provider_id)
    practice.event(payment, "payment_intent.succeeded")
    assert practice.refund_states(payment.id) == [(PRICE, "succeeded", "slot_lost")]


def test_what_took_place_is_earned_and_a_refund_comes_out_of_revenue(practice: Practice) -> None:
    payment = practice.paid()
    practice.clock.at = practice.appointment(payment.appointment_id).start + timedelta(hours=1)
    found = closing.complete(practice.owner, payment.appointment_id)
    assert found.status == Status.COMPLETED
    assert practice.balances()["PAYEE", "revenue", "EUR"] == -PRICE
    body = RefundRequest.model_validate({"amount": {"amount": 1000, "currency": "EUR"}})
    refunds.create(practice.owner, payment.id, body, None)
    assert practice.balances()["PAYEE", "revenue", "EUR"] == -4000
    assert practice.payment(payment.id).earned == 4000
    practice.stripe.fail_refunds(str(payment.provider_id))
    practice.event(payment, "refund.failed")
    assert practice.payment(payment.id).earned == PRICE
    assert practice.balances()["PAYEE", "revenue", "EUR"] == -PRICE


def test_a_no_show_is_kept_whole(practice: Practice) -> None:
    payment = practice.paid()
    practice.clock.at = practice.appointment(payment.appointment_id).start + timedelta(hours=1)
    assert closing.no_show(practice.owner, payment.appointment_id).status == Status.NO_SHOW
    assert practice.refund_states(payment.id) == []
    assert practice.balances()["PAYEE", "revenue", "EUR"] == -PRICE


@pytest.mark.parametrize(
    ("happens", "done", "status"),
    [
        (lambda p, i: None, True, Status.EXPIRED),
        (lambda p, i: p.pay(i), True, Status.CONFIRMED),
        (lambda p, i: p.change(i, state=State.PROCESSING), False, Status.HELD),
    ],
)
def test_a_hold_ends_only_when_nothing_can_be_paid_any_more(
    practice: Practice,
    happens: Callable[[ScriptedProvider, str], None],
    done: bool,
    status: Status,
) -> None:
    payment = practice.start(practice.hold())
    practice.clock.forward(minutes=16)
    happens(practice.stripe, str(payment.provider_id))
    assert closing.expire(practice.appointment(payment.appointment_id), BY) is done
    assert practice.appointment(payment.appointment_id).status == status


def test_a_hold_does_not_end_while_a_payment_is_being_made(practice: Practice) -> None:
    appointment = practice.hold()
    practice.clock.forward(minutes=14.5)
    practice.stripe.faults["start", "after"] = ProviderFailed()
    with pytest.raises(ProviderFailed):
        practice.start(appointment)
    practice.clock.forward(seconds=45)
    assert closing.expire(practice.appointment(appointment), BY) is False
    practice.clock.forward(seconds=30)
    assert closing.expire(practice.appointment(appointment), BY) is True
    assert practice.appointment(appointment).status == Status.EXPIRED


# ---------------------------------------------------------------- lists


def test_lists_show_what_the_caller_may_see_page_by_page(practice: Practice) -> None:
    patient = practice.world.patient()
    mine = practice.start(practice.hold(8, patient))
    others = [practice.start(practice.hold(hour)) for hour in (10, 12, 14)]
    everything = PaymentFilter()
    found, cursor = [], None
    while True:
        page = payment_lists.page(practice.owner, everything, 3, cursor)
        found += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [payment.id for payment in reversed([mine, *others])]
    me = practice.world.caller(Role.PATIENT, patient)
    page = payment_lists.page(me, everything, 10, None)
    assert [(item.id, item.commission) for item in page.items] == [(mine.id, None)]
    with pytest.raises(Forbidden):
        payment_lists.page(me, PaymentFilter(patient_id=new_id("pat")), 10, None)
    expert = practice.world.caller(Role.EXPERT, practice.expert)
    assert len(payment_lists.page(expert, everything, 10, None).items) == 4
    cancelled = PaymentFilter(status=DisplayedStatus.CANCELLED)
    assert payment_lists.page(practice.owner, cancelled, 10, None).items == []


def test_many_random_lives_balance(practice: Practice) -> None:
    """Whatever happens, the ledger says what the payments say."""
    chance = random.Random(7)
    lives = [practice.start(practice.hold(hour)) for hour in range(5)]
    provider = practice.stripe
    for _ in range(40):
        payment = chance.choice(lives)
        provider_id = str(payment.provider_id)
        state = provider.payments[provider_id]
        match chance.randrange(6):
            case 0 if state.state is State.OPEN:
                provider.decline(provider_id)
            case 1 | 2 if state.state is State.OPEN:
                provider.pay(provider_id)
            case 3 if state.captured:
                provider.settle(provider_id)
            case 4 if practice.payment(payment.id).captured:
                part = {"amount": chance.randint(1, 2500), "currency": "EUR"}
                try:
                    body = RefundRequest.model_validate({"amount": part})
                    refunds.create(practice.owner, payment.id, body, None)
                except Conflict:
                    continue
            case 5 if state.refunds and chance.random() < 0.3:
                provider.fail_refunds(provider_id)
        if chance.random() < 0.7:
            practice.event(payment, "payment_intent.succeeded")
    for payment in lives:
        practice.event(payment, "charge.updated")
    balances = practice.balances()
    items = [practice.payment(payment.id) for payment in lives]
    held = sum(int(i.captured - i.refunded - i.reserved - i.earned) for i in items)
    assert -balances.get(("PAYEE", "patient", "EUR"), 0) == held
    commission = sum(int(i.commission - i.commission_returned) for i in items if i.captured)
    assert -balances.get(("PLAT", "commission", "EUR"), 0) == commission
    assert sum(int(i.captured) for i in items) > 0
    assert sum(int(i.refunded) for i in items) > 0
