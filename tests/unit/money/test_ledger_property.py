"""Any life of a payment: all books balance per currency, no cent is lost, and it verifies.

Random charges of every kind, settled in their own or in another currency, earned and refunded in
parts, with taxes, failing refunds, disputes and releases. After every step ``ledger verify``'s own
rules find nothing: they follow from the payment's amounts alone, not from what was posted.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consulta.core import settings as core_settings
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.money import proportion
from consulta.money import rates
from consulta.money.books import verify as ledger_verify
from consulta.money.books.ledger import Leg, Posting
from consulta.money.disputes.effects import Step
from consulta.money.disputes.records import DisputeItem, DisputeStatus
from consulta.money.paying.changes import Change, commission_tax_of, posting_item
from consulta.money.paying.operations import Kind
from consulta.money.provider import (
    Exchange,
    Legs,
    Moved,
    Movement,
    ProviderDispute,
    ProviderPayment,
    ProviderRefund,
)
from consulta.money.records import PAYMENT, PaymentItem, PostingItem, RefundItem, State

TENANT, BY = Tenant("prac_01JC0NS0TADEM0000000000000"), Actor("person-1", "request-1")
AT = datetime(2026, 11, 2, 10, tzinfo=UTC)


class Recorded(Change):
    """A change whose postings and refunds are kept in memory."""

    def __init__(self, life: "Life") -> None:
        super().__init__(life.payment, BY)
        self.life = life

    def post(self, posting: Posting) -> None:
        if posting.entries:
            self.life.postings.append(posting_item(TENANT, self.payment.item_id, posting, BY))

    def _new_refund(self, *arguments: Any) -> RefundItem:
        refund = super()._new_refund(*arguments)
        self.life.refunds.append(refund)
        return refund

    def _change_refund(self, refund: RefundItem, **values: Any) -> None:
        for name, value in values.items():
            setattr(refund, name, value)

    def written(self) -> None:
        for name, value in self.values.items():
            setattr(self.payment, name, value)
        self.payment.version += 1


@dataclass
class Life:
    """A payment with all that is kept about it, in memory."""

    payment: PaymentItem
    data: st.DataObject
    # What the provider pays for one minor unit of the charge, in thousandths; 0: not exchanged.
    rate: int = 0
    platform_currency: str = "USD"
    # Whether the platform keeps the charge's own currency, and only the payee's part is exchanged.
    apart: bool = False
    # What of our commission it has given back, in the platform's currency.
    commission_returned: int = 0
    postings: list[PostingItem] = field(default_factory=list)
    refunds: list[RefundItem] = field(default_factory=list)
    disputes: list[DisputeItem] = field(default_factory=list)
    made: int = 0

    def draw(self, least: int, most: int) -> int:
        found: int = self.data.draw(st.integers(least, max(least, most)))
        return found

    def next_id(self, kind: str) -> str:
        self.made += 1
        return f"{kind}_made_{self.made}"

    def change(self) -> Recorded:
        change = Recorded(self)
        change.exchange = self.exchange() if self.rate else None
        return change

    def into(self, amount: int) -> int:
        """An amount as the provider exchanges it today."""
        return amount * self.rate // 1000

    # ------------------------------------------------------------ what the provider says

    def exchange(self) -> Exchange:
        captured, commission = int(self.payment.captured), int(self.payment.commission)
        fx = self.payment.fx
        came = int(fx["amount"]) if fx else self.into(captured)
        ours = int(fx["commission"]) if fx else self.into(commission)
        theirs = came - ours
        if self.apart:
            theirs = came - self.into(commission)
            # It went with the transfer, and came back from there.
            ours = int(fx["commission"]) if fx else commission - self.draw(-2, 2)
        return Exchange(
            currency="USD",
            amount=came,
            fee=0 if self.apart else came // 30,
            rate=str(self.rate / 1000),
            commission=ours,
            platform=Leg(self.platform_currency, ours),
            payee=Leg("USD", theirs),
            commission_returned=self.commission_returned,
        )

    def reading(self, commission: int) -> ProviderPayment:
        manual = self.payment.provider == "manual"
        return ProviderPayment(
            id="pi_1",
            state=State.SUCCEEDED,
            amount=int(self.payment.amount),
            currency=self.payment.currency,
            captured=int(self.payment.amount),
            account="acct_1",
            practice=TENANT.practice,
            payment=self.payment.item_id,
            charge="ch_1",
            paid_at=AT,
            fee=None if (self.rate and not self.apart) or manual else self.draw(0, 300),
            commission=commission,
            tax_withheld=self.draw(0, 50) if self.payment.provider == "mercadopago" else 0,
            balance_transaction="txn_1",
            release_at=AT + timedelta(days=14),
        )

    def told(self, refund: RefundItem, state: str) -> ProviderRefund:
        amount = int(refund.amount)
        legs = None
        if self.rate:
            self.rate += self.draw(0, 7)
            legs = self._given_back(amount, self.into(amount))
            self.rate += self.draw(0, 7)
        # It may fail without having moved anything, and after it went without our hearing of it.
        failed = state == "failed" and (refund.state == "succeeded" or self.draw(0, 1))
        return ProviderRefund(
            refund.provider_id or self.next_id("re"),
            amount,
            state,  # type: ignore[arg-type]  # an enum of strings
            balance_transaction=self.next_id("txn"),
            legs=legs,
            failed_by=self.next_id("txn") if failed else "",
            came_back=self.into(amount),
        )

    def _given_back(self, amount: int, paid: int) -> Legs:
        fx, payment = self.payment.fx, self.payment
        back = proportion(
            int(fx["commission"]), int(payment.refunded) + amount, int(payment.captured)
        )
        more = max(back - int(fx["commission_returned"]), 0)
        self.commission_returned = int(fx["commission_returned"]) + more
        if not payment.destination:
            return Legs(payee=Leg("USD", more - paid), paid=paid)
        reversed_ = paid - self.draw(-2, 2)
        if self.apart:
            ours = Leg("MXN", self.draw(-2, 2) - amount if self.draw(0, 1) else self.draw(-2, 2))
            return Legs(ours, Leg("USD", -reversed_), amount)
        return Legs(Leg(self.platform_currency, reversed_ - paid), Leg("USD", -reversed_), paid)

    # ------------------------------------------------------------ what happens

    def begin(self) -> None:
        change = self.change()
        if self.payment.provider == "manual":
            change.take_by_hand(AT.date())
            change.written()
            return
        commission = int(self.payment.commission)
        change.capture(self.reading(commission))
        change.written()
        self.check()
        if self.payment.provider == "stripe":
            moved = max(0, commission - self.draw(0, 2))
            change = self.change()
            reading = self.reading(moved)
            if self.rate:
                reading = replace(reading, exchange=self.exchange())
            change.settle(reading)
            change.written()

    def earn(self) -> None:
        change = self.change()
        change.earn(self.draw(1, int(self.payment.captured)))
        change.written()

    def refund(self) -> None:
        change = self.change()
        if change.refundable <= 0:
            return
        amount = self.draw(1, change.refundable)
        if self.payment.provider == "manual":
            change.give_back_by_hand(amount, "test")
            change.written()
            return
        change.request_refund(amount, "test")
        change.written()

    def answer(self) -> None:
        """A provider says what became of a refund; the other way round for one that was made."""
        open_ones = [r for r in self.refunds if r.state != "failed"]
        if not open_ones or self.payment.provider == "manual":
            return
        refund = self.data.draw(st.sampled_from(open_ones))
        fails = refund.state == "succeeded" or self.data.draw(st.booleans())
        told = self.told(refund, "failed" if fails else "succeeded")
        change = self.change()
        if fails:
            change.refund_failed(refund, told)
        else:
            change.refund_succeeded(refund, told)
        change.written()

    def dispute(self) -> None:
        """Opened, or decided."""
        if self.payment.provider == "manual":
            return
        known = self.disputes[0] if self.disputes else None
        if known is None and self.change().refundable <= 0:
            return
        status = DisputeStatus.NEEDS_RESPONSE
        given_back = known is not None and "txn_d2" in known.transactions
        if known is not None:
            # What a bank has given back is not lost any more.
            ends = [DisputeStatus.WON, *([] if given_back else [DisputeStatus.LOST])]
            status = self.data.draw(st.sampled_from(ends))
        amount = int(known.amount) if known else self.draw(1, self.change().refundable)
        movements = [self._movement("txn_d1", -amount)]
        if status is DisputeStatus.WON or given_back:
            movements.append(self._movement("txn_d2", amount))
        step = self._step(known)
        step.read(
            ProviderDispute(
                id="du_1",
                provider_payment="pi_1",
                practice=TENANT.practice,
                payment=self.payment.item_id,
                amount=amount,
                currency=self.payment.currency,
                reason="general",
                status=status,
                opened_at=AT,
                movements=tuple(movements),
            )
        )
        self._keep(step)
        for name, kind in (("recovery", Kind.RECOVER), ("returning", Kind.GIVE_BACK)):
            if getattr(self.disputes[0], name) == "requested":
                self._transfer(kind)

    def _movement(self, transaction: str, amount: int) -> Movement:
        if not self.rate or self.apart:
            takes_fee = amount < 0 and self.payment.provider == "stripe"
            return Movement(transaction, amount, 1500 if takes_fee else 0)
        currency = self.platform_currency if self.payment.destination else "USD"
        return Movement(transaction, amount, leg=Leg(currency, self.into(amount), 87))

    def _transfer(self, kind: Kind) -> None:
        """A transfer between the balances, which may be given up."""
        item = self.disputes[0]
        amount = int(item.to_recover if kind is Kind.RECOVER else item.recovered)
        made = None
        if self.data.draw(st.booleans()):
            sign, there = (1 if kind is Kind.RECOVER else -1), self.into(amount)
            ours = amount if self.apart else there
            legs = Legs(Leg(self.platform_currency, sign * ours), Leg("USD", -sign * there))
            made = Moved(self.next_id("txn"), amount, legs if self.rate else None)
        step = self._step(item)
        step.moved(kind, made)
        self._keep(step)

    def _step(self, known: DisputeItem | None) -> Step:
        step = Step(self.payment, BY, known)
        step.change = self.change()
        return step

    def _keep(self, step: Step) -> None:
        for name, value in step.values.items():
            setattr(step.item, name, value)
        step.item.version += 1
        step.change.written()  # type: ignore[attr-defined]  # it is a recorded one
        self.disputes = [step.item]

    def release(self) -> None:
        if self.payment.provider == "mercadopago":
            change = self.change()
            change.release(replace(self.reading(0), released=True))
            change.written()

    # ------------------------------------------------------------ what always holds

    def check(self) -> None:
        refunds: Counter[str] = Counter()
        for refund in self.refunds:
            ledger_verify._add_refund(refunds, refund)
        assert ledger_verify.of_payment(self.payment, self.postings, refunds, self.disputes) == []
        for posting in self.postings:
            assert ledger_verify.of_posting(posting) == []
        keys = [posting.posting_key for posting in self.postings]
        assert len(keys) == len(set(keys))

    def sums(self) -> Counter[tuple[str, str, str]]:
        found: Counter[tuple[str, str, str]] = Counter()
        for posting in self.postings:
            for book, account, amount in ledger_verify.lines(posting):
                found[book.partition(":")[0], account, posting.currency] += amount
        return found


KINDS: dict[str, dict[str, Any]] = {
    "destination": {"provider": "stripe", "destination": True, "platform_pays_fees": True},
    "direct": {"provider": "stripe"},
    "direct, we pay": {"provider": "stripe", "platform_pays_fees": True},
    "mercadopago": {"provider": "mercadopago"},
    "manual": {"provider": "manual"},
}


def a_life(kind: str, data: st.DataObject) -> Life:
    gross = data.draw(st.integers(1, 100_000))
    commission = data.draw(st.integers(0, gross))
    tax_bps = data.draw(st.sampled_from([0, 1600, 2100]))
    payment = PaymentItem.create(
        TENANT.item(PAYMENT, "pay_01JC0NS0TADEM0000000000000"),
        PAYMENT,
        BY,
        state="open",
        amount=gross,
        tax=data.draw(st.integers(0, gross)),
        currency="MXN",
        commission=commission,
        commission_tax=rates.contained_tax(commission, tax_bps),
        rate={"tax_bps": tax_bps},
        provider_account="acct_1",
        payee_id="p1",
        order_id="ord_1",
        patient_id="pat_1",
        expert_id="exp_1",
        service_id="svc_1",
        zone="UTC",
        **KINDS[kind],
    )
    exchanged = payment.provider == "stripe" and data.draw(st.booleans())
    life = Life(payment, data, rate=data.draw(st.integers(30, 2000)) if exchanged else 0)
    if not payment.destination and data.draw(st.booleans()):
        life.platform_currency = "EUR"
    if payment.destination and exchanged and data.draw(st.booleans()):
        life.platform_currency, life.apart = "MXN", True
    return life


STEPS = st.lists(
    st.sampled_from(["earn", "refund", "refund", "answer", "answer", "dispute", "release"]),
    max_size=14,
)


@pytest.fixture(params=["opened", "lost", "never"])
def recover(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DISPUTE_RECOVER", request.param)
    core_settings.reset()
    return str(request.param)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("recover")
@settings(max_examples=40)
@given(data=st.data(), steps=STEPS)
def test_any_life_verifies(kind: str, data: st.DataObject, steps: list[str]) -> None:
    life = a_life(kind, data)
    life.begin()
    life.check()
    for step in steps:
        getattr(life, step)()
        life.check()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(data=st.data(), steps=STEPS)
def test_what_is_earned_owes_exactly_the_tax(
    kind: str, data: st.DataObject, steps: list[str]
) -> None:
    """In whatever parts: earned, refunded out of revenue, failed and earned again."""
    life = a_life(kind, data)
    life.begin()
    for step in steps:
        if step != "dispute":
            getattr(life, step)()
    payment = life.payment
    change = life.change()
    change.earn()
    change.written()
    life.check()
    sums = life.sums()
    kept = int(payment.captured) - int(payment.refunded) - int(payment.reserved)
    assert sums["PAYEE", "patient", "MXN"] == 0
    assert sums["PAYEE", "revenue", "MXN"] + sums["PAYEE", "tax_out", "MXN"] == -kept
    if kept == payment.captured:
        assert sums["PAYEE", "tax_out", "MXN"] == -int(payment.tax)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(data=st.data(), parts=st.integers(1, 6), earned=st.booleans())
def test_all_that_goes_back_leaves_nothing(
    kind: str, data: st.DataObject, parts: int, earned: bool
) -> None:
    """Refunded in parts to the last cent: no patient, revenue, tax or commission is left."""
    life = a_life(kind, data)
    life.begin()
    for number in range(parts):
        if earned:
            life.earn()
        change = life.change()
        left = change.refundable
        amount = left if number == parts - 1 else life.draw(0, left)
        if not amount:
            continue
        if kind == "manual":
            change.give_back_by_hand(amount, "test")
            change.written()
            continue
        refund = change.request_refund(amount, "test")
        change.written()
        told = life.told(refund, "succeeded")
        change = life.change()
        change.refund_succeeded(refund, told)
        change.written()
    life.check()
    left_over = {place: amount for place, amount in life.sums().items() if amount}
    costs = {"fee", "tax_withheld"}
    # At the provider only what it keeps is missing; what exchanges have cost is on fx there.
    assert {account for _, account, _ in left_over if not account.startswith("prov:")} <= (
        costs | {"fx"}
    )
    lost = ("PLAT", "fx", "MXN")  # what our commission has lost where only the payee is exchanged
    assert not any(
        place[1:] == ("fx", "MXN") for place in left_over if not (life.apart and place == lost)
    )
    assert commission_tax_of(life.payment, int(life.payment.commission), 0) >= 0
