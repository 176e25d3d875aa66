"""Disputes on DynamoDB's own conditions: scripted in every order, and against the simulator."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from consulta.core import settings
from consulta.core.errors import Conflict, Forbidden, NotFound, ProviderFailed
from consulta.core.ids import new_id
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.money.disputes import effects as dispute_effects
from consulta.money.disputes import listing as disputes
from consulta.money.disputes.records import DisputeItem, DisputeStatus
from consulta.money.paying import effects, orders, payments, refunds
from consulta.money.provider import Moved, Movement, Operation, ProviderDispute
from consulta.money.records import PaymentItem
from consulta.money.schema.disputes import DisputeFilter
from consulta.money.schema.payments import DisplayedStatus, RefundRequest, StartedPayment
from consulta.money.stripe.disputes import StripeDisputes
from consulta.money.webhooks import inbox
from consulta.money.webhooks.inbox import InboxState
from consulta.scheduling.records import PaymentStatus, Status
from tests.faults import Crash, Faults
from tests.integration.test_money import (
    BY,
    COMMISSION,
    FEE,
    PAID,
    PRICE,
    Practice,
    practice,  # noqa: F401  # a fixture is found by its name
)
from tests.integration.test_money_simulated import balances, hold, tell  # noqa: F401
from tests.integration.test_providers import (  # noqa: F401
    Simulator,
    ask,
    aws,
    open_account,
    stripe,
    stripe_process,
)
from tests.unit.people.calling import PRACTICE
from tests.unit.scheduling.world import World

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
DISPUTE_FEE = 1500


@dataclass
class Bank:
    """Disputes as a test says that banks decide them; stands for a provider's adapter."""

    practice: str
    disputes: dict[str, ProviderDispute] = field(default_factory=dict)
    moves: dict[str, Moved] = field(default_factory=dict)
    faults: dict[tuple[str, str], BaseException] = field(default_factory=dict)
    before_answer: list[Callable[[], None]] = field(default_factory=list)

    # the protocol

    def read(self, dispute_id: str, account: str) -> ProviderDispute | None:
        del account
        found = self.disputes.get(dispute_id)
        if self.before_answer:
            self.before_answer.pop()()
        return found

    def _move(self, name: str, operation: Operation, amount: int) -> Moved:
        if fault := self.faults.pop((name, "before"), None):
            raise fault
        made = self.moves.setdefault(operation.id, Moved(f"txn_{operation.id}", amount))
        if fault := self.faults.pop((name, "after"), None):
            raise fault
        return made

    def recover(self, operation: Operation, payment: PaymentItem, amount: int) -> Moved:
        assert payment.destination
        return self._move("recover", operation, amount)

    def give_back(self, operation: Operation, payment: PaymentItem, amount: int) -> Moved:
        return self._move("give_back", operation, amount)

    def find_recovery(self, operation: Operation, payment: PaymentItem) -> Moved | None:
        return self.moves.get(operation.id)

    find_given_back = find_recovery

    # what banks do

    def open(self, payment: StartedPayment, amount: int = PRICE, **more: Any) -> str:
        dispute_id = new_id("du")
        values = {
            "status": DisputeStatus.NEEDS_RESPONSE,
            "evidence_due_by": now() + timedelta(days=9),
        } | more
        self.disputes[dispute_id] = ProviderDispute(
            id=dispute_id,
            provider_payment=str(payment.provider_id),
            practice=self.practice,
            payment=payment.id,
            amount=amount,
            currency="EUR",
            reason="fraudulent",
            opened_at=now(),
            **values,
        )
        return dispute_id

    def decide(self, dispute_id: str, status: DisputeStatus) -> None:
        self.disputes[dispute_id] = replace(self.disputes[dispute_id], status=status)

    def move(self, dispute_id: str, name: str, amount: int, fee: int = 0) -> None:
        found = self.disputes[dispute_id]
        movement = Movement(f"{name}:{dispute_id}", amount, fee)
        self.disputes[dispute_id] = replace(found, movements=(*found.movements, movement))

    def withdraw(self, dispute_id: str) -> None:
        self.move(dispute_id, "dispute", -self.disputes[dispute_id].amount, DISPUTE_FEE)

    def reinstate(self, dispute_id: str) -> None:
        self.move(dispute_id, "dispute_won", self.disputes[dispute_id].amount)


@pytest.fixture
def bank(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    made = Bank(practice=practice.world.practice)
    monkeypatch.setattr(dispute_effects, "disputes_for", lambda _: made)
    yield made
    settings.reset()


def heard(
    practice: Practice, dispute_id: str, kind: str = "charge.dispute.created", account: str = ""
) -> InboxState:
    mercadopago = kind.startswith("topic")
    return inbox.handle(
        {
            "provider": "mercadopago" if mercadopago else "stripe",
            "event_id": f"evt_{next(practice.events)}",
            "type": kind,
            "live": False,
            "account": "4711" if mercadopago else account,
            "object_id": dispute_id,
            "api_version": "",
        }
    )


def item(practice: Practice, dispute_id: str, provider: str = "stripe") -> DisputeItem:
    found = dispute_effects.known(practice.world.tenant, provider, dispute_id)
    assert found
    return found


def recovering(when: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DISPUTE_RECOVER", when)
    settings.reset()


def part(amount: int) -> RefundRequest:
    return RefundRequest.model_validate({"amount": {"amount": amount, "currency": "EUR"}})


HELD = {
    **PAID,
    ("PLAT", "prov:stripe:pending", "EUR"): COMMISSION - FEE - PRICE - DISPUTE_FEE,
    ("PLAT", "fee", "EUR"): FEE + DISPUTE_FEE,
    ("PLAT", "held", "EUR"): PRICE,
}
WON = {
    **PAID,
    ("PLAT", "prov:stripe:pending", "EUR"): COMMISSION - FEE - DISPUTE_FEE,
    ("PLAT", "fee", "EUR"): FEE + DISPUTE_FEE,
}
LOST_BY_PAYEE = {
    **WON,
    ("PAYEE", "prov:acct_1:pending", "EUR"): -COMMISSION,
    ("PAYEE", "loss", "EUR"): PRICE,
}
LOST_BY_US = {
    **HELD,
    ("PLAT", "loss", "EUR"): PRICE,
}
LOST_BY_US.pop(("PLAT", "held", "EUR"))


# ---------------------------------------------------------------- one dispute


def test_opened_held_and_shown_with_the_appointment_untouched(
    practice: Practice, bank: Bank
) -> None:
    payment = practice.paid()
    dispute = bank.open(payment)
    bank.withdraw(dispute)
    before = practice.appointment(payment.appointment_id)
    assert heard(practice, dispute) is InboxState.DONE
    assert practice.balances() == HELD
    stored = practice.payment(payment.id)
    assert (stored.disputed, stored.captured, stored.refunded) == (PRICE, PRICE, 0)
    assert payments.get(practice.owner, payment.id).status is DisplayedStatus.DISPUTED
    after = practice.appointment(payment.appointment_id)
    assert (after.version, after.status) == (before.version, Status.CONFIRMED)
    assert after.payment_status == PaymentStatus.PAID
    version = item(practice, dispute).version
    assert heard(practice, dispute, "charge.dispute.updated") is InboxState.DONE
    assert item(practice, dispute).version == version


def test_what_is_disputed_cannot_be_refunded_and_the_rest_can(
    practice: Practice, bank: Bank
) -> None:
    payment = practice.paid()
    dispute = bank.open(payment, 3000)
    bank.withdraw(dispute)
    heard(practice, dispute)
    with pytest.raises(Conflict) as refused:
        refunds.create(practice.owner, payment.id, part(2001), None)
    assert refused.value.extra["refundable"]["amount"] == 2000
    assert refunds.create(practice.owner, payment.id, part(2000), None).state == "succeeded"
    bank.decide(dispute, DisputeStatus.WON)
    bank.reinstate(dispute)
    heard(practice, dispute, "charge.dispute.closed")
    assert practice.payment(payment.id).disputed == 0
    assert payments.get(practice.owner, payment.id).status is DisplayedStatus.PARTIALLY_REFUNDED
    assert refunds.create(practice.owner, payment.id, part(3000), None).state == "succeeded"


@pytest.mark.parametrize(
    "status", [s for s in DisputeStatus if s.startswith("warning") or s == "prevented"]
)
def test_an_inquiry_posts_nothing(practice: Practice, bank: Bank, status: DisputeStatus) -> None:
    payment = practice.paid()
    dispute = bank.open(payment, status=status)
    assert heard(practice, dispute) is InboxState.DONE
    assert practice.balances() == PAID
    assert practice.payment(payment.id).disputed == 0
    assert refunds.create(practice.owner, payment.id, part(PRICE), None).state == "succeeded"


def test_an_inquiry_that_becomes_a_dispute(practice: Practice, bank: Bank) -> None:
    payment = practice.paid()
    dispute = bank.open(payment, status=DisputeStatus.WARNING_NEEDS_RESPONSE)
    heard(practice, dispute)
    bank.decide(dispute, DisputeStatus.NEEDS_RESPONSE)
    bank.withdraw(dispute)
    heard(practice, dispute, "charge.dispute.funds_withdrawn")
    assert practice.balances() == HELD
    assert practice.payment(payment.id).disputed == PRICE


def test_two_disputes_of_one_payment_add_up(practice: Practice, bank: Bank) -> None:
    payment = practice.paid()
    for amount in (1000, 1500):
        dispute = bank.open(payment, amount)
        bank.withdraw(dispute)
        heard(practice, dispute)
    assert practice.payment(payment.id).disputed == 2500
    found = disputes.page(practice.owner, DisputeFilter(payment_id=payment.id), 10, None)
    assert sorted(one.amount.amount for one in found.items) == [1000, 1500]


# ---------------------------------------------------------------- who bears it


def lose(practice: Practice, bank: Bank) -> tuple[StartedPayment, str]:
    payment = practice.paid()
    dispute = bank.open(payment)
    bank.withdraw(dispute)
    heard(practice, dispute)
    bank.decide(dispute, DisputeStatus.LOST)
    heard(practice, dispute, "charge.dispute.closed")
    return payment, dispute


@pytest.mark.parametrize("when", ["opened", "lost"])
def test_lost_and_taken_back_from_the_payee(
    practice: Practice, bank: Bank, environment: pytest.MonkeyPatch, when: str
) -> None:
    recovering(when, environment)
    payment, dispute = lose(practice, bank)
    assert practice.balances() == LOST_BY_PAYEE
    stored = item(practice, dispute)
    assert (stored.recovered, stored.lost, stored.lost_by_payee) == (PRICE, PRICE, PRICE)
    assert stored.closed_at
    assert practice.payment(payment.id).disputed == PRICE


def test_lost_and_borne_by_the_platform(
    practice: Practice, bank: Bank, environment: pytest.MonkeyPatch
) -> None:
    recovering("never", environment)
    lose(practice, bank)
    assert practice.balances() == LOST_BY_US
    assert bank.moves == {}


def test_won_after_it_was_recovered_goes_to_the_payee_again(
    practice: Practice, bank: Bank, environment: pytest.MonkeyPatch
) -> None:
    recovering("opened", environment)
    payment = practice.paid()
    dispute = bank.open(payment)
    bank.withdraw(dispute)
    heard(practice, dispute)
    held = practice.balances()
    assert held["PAYEE", "held", "EUR"] == held["PLAT", "held", "EUR"] == PRICE
    assert held["PLAT", "due:PAYEE:practice", "EUR"] == -PRICE
    bank.decide(dispute, DisputeStatus.WON)
    bank.reinstate(dispute)
    heard(practice, dispute, "charge.dispute.closed")
    assert practice.balances() == WON
    assert len(bank.moves) == 2
    assert item(practice, dispute).returned == PRICE


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", [ProviderFailed, Crash])
def test_a_recovery_that_failed_or_whose_answer_was_lost_is_made_once(
    practice: Practice, bank: Bank, when: str, fault: type[BaseException]
) -> None:
    bank.faults["recover", when] = fault()
    try:
        _, dispute = lose(practice, bank)
    except Crash:
        [dispute] = bank.disputes
    stored = item(practice, dispute)
    assert (stored.status, stored.recovery, stored.lost) == ("lost", "requested", 0)
    assert practice.balances() == HELD
    assert dispute_effects.resume(stored.key, BY) is True
    assert dispute_effects.resume(stored.key, BY) is True
    assert practice.balances() == LOST_BY_PAYEE
    assert len(bank.moves) == 1


def test_a_recovery_that_is_never_possible_is_given_up_and_is_our_loss(
    practice: Practice, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.faults["recover", "before"] = ProviderFailed()
    _, dispute = lose(practice, bank)
    stored = item(practice, dispute)
    bank.faults["recover", "before"] = ProviderFailed()
    with pytest.raises(ProviderFailed):
        dispute_effects.resume(stored.key, BY)
    later = now() + timedelta(days=4)
    monkeypatch.setattr(dispute_effects, "now", lambda: later)
    bank.faults["recover", "before"] = ProviderFailed()
    assert dispute_effects.resume(stored.key, BY) is True
    assert practice.balances() == LOST_BY_US
    assert item(practice, dispute).recovery == "failed"


def test_only_what_was_not_refunded_is_recovered(practice: Practice, bank: Bank) -> None:
    payment = practice.paid()
    refunds.create(practice.owner, payment.id, part(2000), None)
    dispute = bank.open(payment, 4000, status=DisputeStatus.LOST)
    bank.withdraw(dispute)
    heard(practice, dispute)
    balances = practice.balances()
    assert balances["PAYEE", "loss", "EUR"] == 3000
    assert balances["PLAT", "loss", "EUR"] == 1000
    assert not {account for _, account, _ in balances} & {"held", "due:PAYEE:practice"}


# ---------------------------------------------------------------- direct, and Mercado Pago


@pytest.mark.parametrize("status", [DisputeStatus.LOST, DisputeStatus.WON])
def test_mercado_pago_takes_it_from_the_seller(
    practice: Practice, bank: Bank, status: DisputeStatus
) -> None:
    payment = practice.start(practice.hold(), "mercadopago")
    paid = practice.balances()
    dispute = bank.open(payment)
    bank.move(dispute, "dispute", -PRICE)
    for _ in range(2):
        assert heard(practice, dispute, "topic_chargebacks_wh") is InboxState.DONE
    held = practice.balances()
    assert held["PAYEE", "held", "EUR"] == PRICE
    before = paid["PAYEE", "prov:4711:pending", "EUR"]
    assert held["PAYEE", "prov:4711:pending", "EUR"] == before - PRICE
    bank.decide(dispute, status)
    if status is DisputeStatus.WON:
        bank.move(dispute, "dispute_won", PRICE)
    heard(practice, dispute, "topic_chargebacks_wh")
    ended = practice.balances()
    assert ("PAYEE", "held", "EUR") not in ended
    if status is DisputeStatus.WON:
        assert ended == paid
    else:
        assert ended["PAYEE", "loss", "EUR"] == PRICE
    assert bank.moves == {}
    keys = {p.posting_key for p in practice.postings() if p.event.startswith("dispute_w")}
    assert keys == {f"mp:{payment.provider_id}:dispute:{dispute}"}


# ---------------------------------------------------------------- any order

KINDS = ("created", "funds_withdrawn", "closed", "funds_reinstated", "refund")


@dataclass
class Life:
    """One payment with a dispute and a refund, told event by event."""

    practice: Practice
    bank: Bank
    payment: StartedPayment
    dispute: str = ""

    def happen(self, kind: str, ends: DisputeStatus) -> None:
        match kind:
            case "created":
                self.dispute = self.bank.open(self.payment, 3000)
            case "funds_withdrawn":
                self.bank.withdraw(self.dispute)
            case "closed":
                self.bank.decide(self.dispute, ends)
            case "funds_reinstated" if ends is DisputeStatus.WON:
                self.bank.reinstate(self.dispute)
            case "refund":
                self.practice.stripe.add_refund(str(self.payment.provider_id), 1000)

    def tell(self, kind: str) -> None:
        """What an event comes to, without its row: 120 orders write rows enough."""
        if kind == "refund":
            effects.refresh(self.practice.world.tenant, self.payment.id, BY)
        else:
            assert dispute_effects.refresh("stripe", self.dispute, "", BY) == ""

    def state(self) -> list[Any]:
        stored, found = self.practice.payment(self.payment.id), item(self.practice, self.dispute)
        of_payment = "state captured refunded reserved disputed settled fee commission_returned"
        of_dispute = "status held withdrawn reinstated lost lost_by_payee"
        return [
            *(getattr(stored, name) for name in of_payment.split()),
            *(getattr(found, name) for name in of_dispute.split()),
            found.recovered - found.returned,
        ]


def orders_of(ends: DisputeStatus) -> list[tuple[str, ...]]:
    """Nothing is reinstated of what is lost."""
    lost = ends is DisputeStatus.LOST
    return list(itertools.permutations([k for k in KINDS if not lost or k != "funds_reinstated"]))


@pytest.mark.parametrize(
    ("ends", "first"),
    [
        (ends, first)
        for ends in (DisputeStatus.WON, DisputeStatus.LOST)
        for first in sorted({order[:2] for order in orders_of(ends)})
    ],
)
def test_events_in_any_order_end_in_the_same_state_and_ledger(
    practice: Practice,
    bank: Bank,
    environment: pytest.MonkeyPatch,
    ends: DisputeStatus,
    first: tuple[str, str],
) -> None:
    """All is told in each order at the end, and one of it while it happens."""
    recovering("opened", environment)
    orders_ = [order for order in orders_of(ends) if order[:2] == first]
    lost = 3000 if ends is DisputeStatus.LOST else 0
    for hour, order in enumerate(orders_):
        life = Life(practice, bank, practice.start(practice.hold(8 + hour)))
        practice.stripe.pay(str(life.payment.provider_id))
        practice.stripe.settle(str(life.payment.provider_id))
        for kind in KINDS:
            life.happen(kind, ends)  # in the one order in which a bank can do it
            if kind == order[0]:
                life.tell(order[1])
        for kind in order:
            life.tell(kind)
        held = [PRICE, 1000, 0, lost, True, FEE, 0, str(ends), lost, 3000, 3000 - lost, lost, lost]
        assert life.state() == ["succeeded", *held, lost], order
    expected = {
        ("PLAT", "prov:stripe:pending", "EUR"): COMMISSION - FEE - DISPUTE_FEE,
        ("PLAT", "commission", "EUR"): -COMMISSION,
        ("PLAT", "fee", "EUR"): FEE + DISPUTE_FEE,
        ("PAYEE", "prov:acct_1:pending", "EUR"): PRICE - COMMISSION - 1000 - lost,
        ("PAYEE", "patient", "EUR"): -PRICE + 1000,
        ("PAYEE", "commission", "EUR"): COMMISSION,
        ("PAYEE", "loss", "EUR"): lost,
    }
    assert practice.balances() == {k: n * len(orders_) for k, n in expected.items() if n}


def test_closed_is_the_first_that_is_heard_even_before_the_payment(
    practice: Practice, bank: Bank
) -> None:
    payment = practice.start(practice.hold())
    practice.stripe.pay(str(payment.provider_id))
    dispute = bank.open(payment, status=DisputeStatus.LOST)
    bank.withdraw(dispute)
    assert heard(practice, dispute, "charge.dispute.closed") is InboxState.DONE
    practice.stripe.settle(str(payment.provider_id))
    practice.event(payment, "charge.updated")
    practice.event(payment, "payment_intent.succeeded")
    assert practice.balances() == LOST_BY_PAYEE
    assert practice.appointment(payment.appointment_id).status == Status.CONFIRMED


def test_what_was_lost_and_comes_back_after_all(
    practice: Practice, bank: Bank, environment: pytest.MonkeyPatch
) -> None:
    recovering("never", environment)
    _, dispute = lose(practice, bank)
    bank.decide(dispute, DisputeStatus.WON)
    bank.reinstate(dispute)
    heard(practice, dispute, "charge.dispute.funds_reinstated")
    assert practice.balances() == WON


def test_a_reading_that_was_overtaken_is_not_written(practice: Practice, bank: Bank) -> None:
    """We read it open; before we write, another worker hears that it is won."""
    payment = practice.paid()
    dispute = bank.open(payment)
    bank.withdraw(dispute)

    def meanwhile() -> None:
        bank.decide(dispute, DisputeStatus.WON)
        bank.reinstate(dispute)
        heard(practice, dispute, "charge.dispute.closed")

    # The second of its two readings is the one that is written.
    bank.before_answer[:] = [meanwhile, lambda: None]
    assert heard(practice, dispute) is InboxState.DONE
    assert item(practice, dispute).status == DisputeStatus.WON
    assert practice.balances() == WON
    assert practice.payment(payment.id).disputed == 0


def test_a_crash_at_every_write_ends_the_same(
    practice: Practice, bank: Bank, tables: Any, environment: pytest.MonkeyPatch
) -> None:
    recovering("lost", environment)
    crashes = 0
    for hour, (skipped, when) in enumerate(itertools.product(range(4), ("before", "after"))):
        payment = practice.paid(8 + hour)
        dispute = bank.open(payment, status=DisputeStatus.LOST)
        bank.withdraw(dispute)
        message = {
            "provider": "stripe",
            "event_id": f"evt_{next(practice.events)}",
            "type": "charge.dispute.closed",
            "live": False,
            "account": "",
            "object_id": dispute,
            "api_version": "",
        }
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
        assert dispute_effects.resume(item(practice, dispute).key, BY) is True
        assert practice.balances() == {k: n * (hour + 1) for k, n in LOST_BY_PAYEE.items()}
    assert crashes == 6


# ---------------------------------------------------------------- events that are not right


def test_what_is_not_ours_or_not_right_is_stored_with_its_reason(
    practice: Practice, bank: Bank
) -> None:
    assert heard(practice, "du_unknown") is InboxState.IGNORED
    payment = practice.paid()
    dispute = bank.open(payment)
    # Of a destination charge the platform's own event counts, no connected account's.
    assert heard(practice, dispute, account="acct_other") is InboxState.FAILED
    bank.disputes[dispute] = replace(bank.disputes[dispute], currency="USD")
    assert heard(practice, dispute) is InboxState.FAILED
    bank.disputes[dispute] = replace(bank.disputes[dispute], payment="x#y", provider_payment="pi")
    assert heard(practice, dispute) is InboxState.FAILED
    unpaid = bank.open(practice.start(practice.hold(14)))
    assert heard(practice, unpaid) is InboxState.FAILED
    assert practice.balances() == PAID


# ---------------------------------------------------------------- the API


def test_lists_by_status_payment_and_expert(practice: Practice, bank: Bank) -> None:
    told = []
    for hour, status in enumerate(
        (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW, DisputeStatus.NEEDS_RESPONSE)
    ):
        payment = practice.paid(8 + 2 * hour)
        dispute = bank.open(payment, status=status)
        heard(practice, dispute)
        told.append((payment, item(practice, dispute).item_id))
    everything = disputes.page(practice.owner, DisputeFilter(), 10, None)
    assert {one.id for one in everything.items} == {dispute_id for _, dispute_id in told}
    found, cursor = [], None
    while True:
        page = disputes.page(practice.owner, DisputeFilter(status="needs_response"), 1, cursor)
        found += [one.id for one in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert sorted(found) == sorted([told[0][1], told[2][1]])
    one = disputes.get(practice.owner, told[0][1])
    assert (one.payment_id, one.days_left, one.disputed.amount) == (told[0][0].id, 8, PRICE)
    expert = practice.world.caller(Role.EXPERT, practice.expert)
    assert len(disputes.page(expert, DisputeFilter(), 10, None).items) == 3
    stranger = practice.world.caller(Role.EXPERT, new_id("exp"))
    assert disputes.page(stranger, DisputeFilter(), 10, None).items == []
    assert disputes.page(stranger, DisputeFilter(payment_id=told[0][0].id), 10, None).items == []
    with pytest.raises(NotFound):
        disputes.get(stranger, told[0][1])
    with pytest.raises(Forbidden):
        disputes.page(stranger, DisputeFilter(expert_id=practice.expert), 10, None)
    patient = practice.world.caller(Role.PATIENT, practice.payment(told[0][0].id).patient_id)
    with pytest.raises(Forbidden):
        disputes.page(patient, DisputeFilter(), 10, None)
    with pytest.raises(Forbidden):
        disputes.get(patient, told[0][1])


# ---------------------------------------------------------------- the real adapter


@pytest.mark.parametrize("controller", ["platform_losses", "stripe_losses"])
@pytest.mark.parametrize("ends", ["won", "lost"])
def test_a_dispute_at_stripe_through_the_simulator(
    stripe: Simulator,
    hold: str,
    controller: str,
    ends: str,
    environment: pytest.MonkeyPatch,
) -> None:
    recovering("opened", environment)
    payee = open_account(stripe, controller)
    started = ask(
        "payments", "POST", "/v1/payments", {"appointment_id": hold, "provider": "stripe"}
    ).body
    path, amount = f"/v1/payments/{started['id']}", started["amount"]["amount"]
    stripe.control(f"pay/{started['provider_id']}", {"payment_method": "pm_card_visa"})
    assert InboxState.FAILED not in tell("stripe", stripe)
    paid = balances()
    charge = orders.load(World(PRACTICE, exists=True).tenant, started["id"]).charge_id
    opened = stripe.control("disputes", {"charge": str(charge), "reason": "fraudulent"})
    assert InboxState.FAILED not in tell("stripe", stripe)
    ours, theirs = (
        ("PLAT", "prov:stripe:pending"),
        ("PAYEE", f"prov:{payee.stripe_account}:pending"),
    )
    bearer = theirs if controller == "stripe_losses" else ours
    costs = {theirs: amount, ours: 0}
    costs[bearer] += DISPUTE_FEE
    held = balances()
    for account, cost in costs.items():
        assert held[account] == paid[account] - cost
    assert held[bearer[0], "held"] == held["PAYEE", "held"] == amount
    listed = ask("disputes", "GET", "/v1/disputes?status=needs_response").body["items"]
    assert [(one["provider_id"], one["days_left"]) for one in listed] == [(opened["id"], 8)]
    assert ask("payments", "GET", path).body["status"] == "disputed"
    assert ask("payments", "POST", f"{path}/refunds", {}).status == 409
    stripe.control(f"disputes/{opened['id']}", {"status": ends})
    assert InboxState.FAILED not in tell("stripe", stripe)
    ended = balances()
    assert {account for _, account in ended} - {account for _, account in paid} == (
        {"loss"} if ends == "lost" else set()
    )
    one = ask("disputes", "GET", f"/v1/disputes/{listed[0]['id']}").body
    assert (one["status"], one["days_left"]) == (ends, None)
    if ends == "won":
        costs[theirs] -= amount
    for account, cost in costs.items():
        assert ended[account] == paid[account] - cost
    if ends == "lost":
        assert ended["PAYEE", "loss"] == one["lost"]["amount"] == amount
    expected = "disputed" if ends == "lost" else "succeeded"
    assert ask("payments", "GET", path).body["status"] == expected


def test_a_transfer_at_stripe_whose_answer_was_lost_is_found_again(
    stripe: Simulator, hold: str
) -> None:
    open_account(stripe)
    started = ask(
        "payments", "POST", "/v1/payments", {"appointment_id": hold, "provider": "stripe"}
    ).body
    stripe.control(f"pay/{started['provider_id']}", {"payment_method": "pm_card_visa"})
    assert InboxState.FAILED not in tell("stripe", stripe)
    payment = orders.load(World(PRACTICE, exists=True).tenant, started["id"])
    adapter, recovery, again = StripeDisputes(), Operation("op_recover"), Operation("op_return")
    assert adapter.find_recovery(recovery, payment) is None
    made = adapter.recover(recovery, payment, 20000)
    assert made.amount == 20000
    assert adapter.recover(recovery, payment, 20000) == made
    assert adapter.find_recovery(recovery, payment) == made
    assert adapter.find_given_back(again, payment) is None
    returned = adapter.give_back(again, payment, 20000)
    assert adapter.find_given_back(again, payment) == returned != made
    with pytest.raises(ProviderFailed):
        adapter.recover(Operation("op_more"), payment, 100_000)
