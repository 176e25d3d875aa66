"""Any five events of the providers, in each of their 120 orders, end in the same state and ledger.

A history is drawn from a seed: where the payment starts from, and what then happens to it, to a
second one at Mercado Pago, to disputes, to a payout, to available funds and to the account. Of its
events five are told, the others never come; the last of each object is always among the five, since
without it nobody can know how the object ended (the scheduled repair asks for what is missed).

Each order is told while the providers' truth moves on: an event comes at some time after it
happened, and what is read then is as it is by then. Some are told twice, also much later. At the
end of each order, payments, refunds, disputes, payouts, appointments and the balances of the ledger
are the same; with all events told late, so is every single posting. ``ledger verify`` agrees.

HISTORIES says how many are drawn (5 unless told, one from each place; 100 take about half an hour).
"""

import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from consulta.core import settings, table
from consulta.core.errors import ProviderFailed
from consulta.money.accounts import payees
from consulta.money.appointments import closing
from consulta.money.books import verify as ledger_verify
from consulta.money.disputes.records import DisputeStatus
from consulta.money.paying import refunds
from consulta.money.provider import ProviderRefund
from consulta.money.records import RefundState, State
from consulta.money.schema.payments import RefundRequest, StartedPayment
from consulta.money.stripe.payouts import Transaction
from tests.integration.money_stage import Providers, account, deliver, end, payout, restored, saved
from tests.integration.test_disputes import Bank
from tests.integration.test_money import (
    BY,
    OWN_ACCOUNT,
    Practice,
    expired,
    practice,  # noqa: F401  # a fixture is found by its name
)

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
HISTORIES = int(os.environ.get("HISTORIES", "5"))
TOLD = 5
BASES = ("open", "slot_lost", "refund_asked", "direct", "completed")


@dataclass(frozen=True)
class Step:
    """Something happens to one object, and its provider tells of it."""

    subject: str
    kind: str
    object_id: str
    act: Callable[[], object] = lambda: None
    provider: str = "stripe"
    account: str = ""


@dataclass
class History:
    """What happens, in the order in which it can; five of it are told."""

    practice: Practice
    providers: Providers
    chance: random.Random
    base: str
    payment: StartedPayment = field(init=False)
    steps: list[Step] = field(init=False)
    told: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.payment = self._begin()
        self.steps = self._draw()
        self.told = self._choose()

    # ------------------------------------------------------------ where it starts from

    def _begin(self) -> StartedPayment:
        practice = self.practice
        match self.base:
            case "slot_lost":
                payment = expired(practice)
                practice.hold()
                return payment
            case "refund_asked":
                payment = practice.paid()
                practice.stripe.faults["refund", "after"] = ProviderFailed()
                part = {"amount": {"amount": 1500, "currency": "EUR"}}
                refunds.create(practice.owner, payment.id, RefundRequest.model_validate(part), None)
                return payment
            case "direct":
                tenant = practice.world.tenant
                payee = payees.ensure(tenant, practice.expert, BY)
                table.transact([table.change(payee, BY, set_=OWN_ACCOUNT)])
                return practice.start(practice.hold())
            case "completed":
                payment = practice.paid()
                appointment = practice.appointment(payment.appointment_id)
                practice.clock.at = appointment.start + timedelta(hours=1)
                closing.complete(practice.owner, payment.appointment_id)
                return payment
            case _:
                return practice.start(practice.hold())

    # ------------------------------------------------------------ what happens

    def _draw(self) -> list[Step]:
        """The lives of several objects, each in its own order, one among the other."""
        lives = [
            self._stripe_life(),
            self.chance.choice([self._payout_life(), self._funds(), self._account_life()]),
        ]
        if self.base == "open":
            lives.append(self._mercadopago_life())
        if sum(len(life) for life in lives) < TOLD:
            lives.append(self._payout_life())
        order = [n for n, life in enumerate(lives) for _ in life]
        self.chance.shuffle(order)
        rest = [iter(life) for life in lives]
        return [next(rest[n]) for n in order]

    def _choose(self) -> list[int]:
        """Five of it, with the last of each object; a longer history loses some others."""
        last = {step.subject: n for n, step in enumerate(self.steps)}
        others = [n for n in range(len(self.steps)) if n not in last.values()]
        return sorted([*last.values(), *self.chance.sample(others, TOLD - len(last))])

    def _stripe_life(self) -> list[Step]:
        stripe, provider_id = self.practice.stripe, str(self.payment.provider_id)
        charge = provider_id.replace("pi_", "ch_")
        steps: list[Step] = []

        def happens(kind: str, act: Callable[[], object] = lambda: None) -> None:
            about = provider_id if kind.startswith("payment_intent") else charge
            where = "acct_2" if self.base == "direct" else ""
            steps.append(Step("payment", kind, about, act, account=where))

        if not stripe.payments[provider_id].captured:
            if self.chance.random() < 0.5:
                happens("payment_intent.payment_failed", lambda: stripe.decline(provider_id))
            if self.chance.random() < 0.3:
                asks = {"failure_code": "", "requires_action": True}
                happens(
                    "payment_intent.requires_action", lambda: stripe.change(provider_id, **asks)
                )
            if self.chance.random() < 0.3:
                busy = {"state": State.PROCESSING, "failure_code": "", "requires_action": False}
                happens("payment_intent.processing", lambda: stripe.change(provider_id, **busy))
            happens("payment_intent.succeeded", lambda: stripe.pay(provider_id))
            happens("charge.succeeded")
            happens("charge.updated", lambda: stripe.settle(provider_id))
        if self.base == "slot_lost":
            happens("refund.created")
            return steps
        self._refund(happens)
        return [*steps, *self._dispute_life()]

    def _refund(self, happens: Callable[..., None]) -> None:
        """A refund made at the provider, which may fail in the end, before or after it went."""
        stripe, provider_id = self.practice.stripe, str(self.payment.provider_id)

        def add() -> None:
            made = ProviderRefund("re_1", 1000, RefundState.SUCCEEDED, "", "txn_re_1")
            known = stripe.payments[provider_id].refunds
            stripe.change(provider_id, refunds=(*known, made))

        happens("refund.created", add)
        if self.chance.random() < 0.5:
            happens("charge.refunded")
        if self.chance.random() < 0.5:
            happens("refund.failed", lambda: stripe.fail_refunds(provider_id))

    def _dispute_life(self) -> list[Step]:
        bank, dispute_id = self.providers.bank, "du_1"
        if self.chance.random() < 0.25:
            return []
        ends = self.chance.choice([DisputeStatus.WON, DisputeStatus.LOST])
        steps: list[Step] = []

        def happens(kind: str, act: Callable[[], object]) -> None:
            where = "acct_2" if self.base == "direct" else ""
            name = f"charge.dispute.{kind}"
            steps.append(Step("dispute", name, dispute_id, act, account=where))

        def opened() -> None:
            made = bank.open(self.payment, 3000)
            bank.disputes[dispute_id] = replace(bank.disputes.pop(made), id=dispute_id)

        review = DisputeStatus.UNDER_REVIEW
        happens("created", opened)
        happens("funds_withdrawn", lambda: bank.withdraw(dispute_id))
        happens("updated", lambda: bank.decide(dispute_id, review))
        happens("closed", lambda: bank.decide(dispute_id, ends))
        if ends is DisputeStatus.WON:
            happens("funds_reinstated", lambda: bank.reinstate(dispute_id))
        return steps

    def _mercadopago_life(self) -> list[Step]:
        """A second payment of the practice, in process at first; some of it may go back."""
        provider = self.practice.mercadopago
        second = self.practice.start(self.practice.hold(14), "mercadopago", token="tok_in_process")
        provider_id = str(second.provider_id)

        def happens(act: Callable[[], object]) -> Step:
            return Step("mercadopago", "payment", provider_id, act, "mercadopago", "4711")

        def refund() -> None:
            made = ProviderRefund("re_mp", 700, RefundState.SUCCEEDED, "", "re_mp")
            provider.change(provider_id, refunds=(made,))

        if self.chance.random() < 0.3:
            return [happens(lambda: provider.decline(provider_id, "cc_rejected_other_reason"))]
        steps = [happens(lambda: provider.pay(provider_id))]
        return [*steps, happens(refund)] if self.chance.random() < 0.6 else steps

    def _payout_life(self) -> list[Step]:
        payouts, payout_id = self.providers.payouts, "po_1"
        payouts[payout_id] = payout(payout_id)
        ends = self.chance.choice([("paid",), ("paid", "failed"), ("failed",), ("canceled",)])

        def becomes(status: str) -> Step:
            def act() -> None:
                failed = status in ("failed", "canceled")
                payouts[payout_id] = replace(
                    payouts[payout_id],
                    status=status,
                    failure_transaction="txn_failure" if failed else "",
                    failure_code="account_closed" if status == "failed" else "",
                )

            return Step("payout", f"payout.{status}", payout_id, act, account="acct_1")

        first = [replace(becomes("pending"), kind="payout.created")]
        second = [replace(becomes("in_transit"), kind="payout.updated")]
        return [*first, *second, *(becomes(status) for status in ends)]

    def _funds(self) -> list[Step]:
        funds = self.providers.funds

        def available(name: str) -> Step:
            made = Transaction(f"txn_{name}", 900, "EUR", "payment", True, 1_700_000_000)
            return Step(
                "funds", "balance.available", "", lambda: funds.append(made), "stripe", "acct_1"
            )

        return [available("one"), available("two")]

    def _account_life(self) -> list[Step]:
        providers = self.providers

        def is_now(kind: str, **values: Any) -> Step:
            def act() -> None:
                providers.account = account(**values)

            return Step("account", kind, "acct_1", act, account="acct_1")

        return [
            is_now("account.updated", payouts_enabled=False, requirements_due=True),
            is_now("capability.updated", payouts_enabled=False),
            is_now("account.updated"),
        ]


# ---------------------------------------------------------------- every order of five


@dataclass
class Orders:
    """All orders of one history's five events; paths share their beginnings."""

    history: History
    chance: random.Random
    # Whether all is told only once everything has happened.
    late: bool
    ends: int = 0
    expected: Any = None
    path: list[int] = field(default_factory=list)

    def tell(self, happened: int, rest: tuple[int, ...]) -> None:
        """Tell ``rest`` in every order; so many of the steps have happened by now."""
        if not rest:
            self._finished(happened)
            return
        rows, providers = saved(), self.history.providers.saved()
        for number in rest:
            restored(rows)
            self.history.providers.restore(providers)
            by_now = self._until(happened, number)
            deliver(self._message(number))
            self.path.append(number)
            self._repeat()
            self.tell(by_now, tuple(other for other in rest if other != number))
            self.path.pop()

    def _until(self, happened: int, number: int) -> int:
        """Let things happen: at least what is told of, and maybe more."""
        steps = self.history.steps
        least = max(happened, number + 1)
        by_now = len(steps) if self.late else self.chance.randint(least, len(steps))
        for step in steps[happened:by_now]:
            step.act()
        return by_now

    def _message(self, number: int) -> dict[str, Any]:
        step = self.history.steps[number]
        return {
            "provider": step.provider,
            "event_id": f"evt_told_{number}",
            "type": step.kind,
            "live": False,
            "account": step.account,
            "object_id": step.object_id,
            "api_version": "",
        }

    def _repeat(self) -> None:
        """Some come twice, at once or when others have come meanwhile; some as a second event."""
        if self.chance.random() < 0.3:
            deliver(self._message(self.chance.choice(self.path)))
        if self.chance.random() < 0.05:
            number = self.chance.choice(self.path)
            deliver(self._message(number) | {"event_id": f"evt_again_{number}"})

    def _finished(self, happened: int) -> None:
        for step in self.history.steps[happened:]:
            step.act()
        found, named = end(), [self._kind(n) for n in self.path]
        self.ends += 1
        if self.expected is None:
            self.expected = found
        for subject, values in self.expected.items.items():
            assert found.items.get(subject) == values, named
        assert found.items.keys() == self.expected.items.keys(), named
        assert found.balances == self.expected.balances, named
        if self.late:
            assert found.entries == self.expected.entries, named
        if self.ends % 40 == 1:
            assert ledger_verify.verify(self.history.practice.world.tenant) == []

    def _kind(self, number: int) -> str:
        return self.history.steps[number].kind


@pytest.fixture
def providers(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> Iterator[Providers]:
    made = Providers(practice.stripe, practice.mercadopago, Bank(practice.world.practice))
    made.account = account()
    made.install(monkeypatch)
    yield made
    settings.reset()


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_any_five_events_in_any_order_end_the_same(
    practice: Practice, providers: Providers, environment: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    environment.setenv("DISPUTE_RECOVER", ("opened", "lost", "never")[seed % 3])
    settings.reset()
    history = History(practice, providers, chance, BASES[seed % len(BASES)])
    orders = Orders(history, chance, late=seed % 2 == 1)
    orders.tell(0, tuple(history.told))
    assert orders.ends == len(list(itertools.permutations(range(TOLD))))
    _agrees_with_the_providers(history, orders.expected.items)


def _agrees_with_the_providers(history: History, items: dict[str, Any]) -> None:
    """The same everywhere could be the same mistake: what Stripe and the bank say by themselves."""
    theirs = history.practice.stripe.payments[str(history.payment.provider_id)]
    ours = items[history.payment.id]
    gone = sum(r.amount for r in theirs.refunds if r.state is RefundState.SUCCEEDED)
    assert (ours["captured"], ours["refunded"], ours["reserved"]) == (theirs.captured, gone, 0)
    assert ours["settled"]
    subjects = {step.subject for step in history.steps}
    if "dispute" in subjects:
        dispute = history.providers.bank.disputes["du_1"]
        lost = 3000 if dispute.status is DisputeStatus.LOST else 0
        assert (items["du_1"]["status"], items["du_1"]["lost"]) == (str(dispute.status), lost)
        assert ours["disputed"] == lost
    if "payout" in subjects:
        assert items["po_1"][0] == history.providers.payouts["po_1"].status
    assert items[history.practice.world.practice]["payouts_enabled"]
