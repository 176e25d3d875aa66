"""Paying, refunding, cancelling, disputing and paying out, dying at every single step.

A step is a write to a table or a call to a provider; one dies behind it, which is also before the
next, since nothing that lasts happens in between. Each flow is gone through once to count its
steps, and then once for each of them from the same point: it dies there, whoever asked asks again
(the same key, the queue's message again), the sweep does what is due, and the end must be the end
of the way without a death. One charge, every refund once, no appointment between two states, and a
ledger that ``ledger verify`` finds nothing in.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from consulta.core import settings
from consulta.core.errors import Conflict, ProviderFailed
from consulta.money.appointments import closing
from consulta.money.books import verify as ledger_verify
from consulta.money.disputes import effects as dispute_effects
from consulta.money.disputes.records import DISPUTE, DisputeStatus
from consulta.money.paying import effects, payments, refunds
from consulta.money.records import REFUND, RefundState, State
from consulta.money.schema.payments import ManualPaymentRequest, PaymentRequest, RefundRequest
from consulta.money.stripe import payouts as stripe_payouts
from consulta.money.webhooks import inbox
from consulta.money.webhooks.inbox import InboxState
from consulta.money.webhooks.throttling import RateLimited
from consulta.scheduling import holds
from consulta.scheduling.schema.booking import CancelRequest
from tests.faults import Crash
from tests.integration.money_stage import (
    Providers,
    account,
    end,
    listed,
    payout,
    restored,
    saved,
)
from tests.integration.test_disputes import Bank
from tests.integration.test_money import (
    BY,
    PRICE,
    Practice,
    practice,  # noqa: F401  # a fixture is found by its name
)

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
KEY = "the-same-key"
WRITES = ("TransactWriteItems", "PutItem", "UpdateItem", "DeleteItem")
PROVIDERS_CALLS = ("start", "read", "cancel", "capture", "refund", "find")
# What differs from one way to another of the same end.
OWN_IDS = frozenset({"provider_id", "charge_id", "refunds"})


@dataclass
class Death:
    """Dies behind the step number ``at``, counted from 0."""

    at: int = -1
    steps: int = 0

    def step(self, *_: Any, **__: Any) -> None:
        self.steps += 1
        if self.steps - 1 == self.at:
            raise Crash

    def mortal(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, in which one can die."""

        def called(*arguments: Any, **more: Any) -> Any:
            made = call(*arguments, **more)
            self.step()
            return made

        return called


@dataclass
class Flow:
    """What is done, one part after the other; each is done again where it dies."""

    practice: Practice
    providers: Providers
    # Made beforehand, alive.
    about: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None: ...

    def parts(self) -> list[Callable[[], object]]:
        raise NotImplementedError

    # what the flows have in common

    def hold(self) -> None:
        self.about["appointment"] = self.practice.hold()

    def pay_whole(self) -> None:
        payment = self.practice.paid()
        self.about |= {
            "payment": payment.id,
            "appointment": str(payment.appointment_id),
            "provider": str(payment.provider_id),
        }

    def tell(self, kind: str, object_id: str, provider: str = "stripe", account: str = "") -> None:
        """The queue's message, the same one however often it comes."""
        message = {
            "provider": provider,
            "event_id": f"evt_{kind}",
            "type": kind,
            "live": False,
            "account": account,
            "object_id": object_id,
            "api_version": "",
        }
        assert inbox.handle(message) is InboxState.DONE


class Pay(Flow):
    """A payment through Stripe, told by its events."""

    prepare = Flow.hold

    def parts(self) -> list[Callable[[], object]]:
        def start() -> None:
            body = PaymentRequest(appointment_id=self.about["appointment"], provider="stripe")
            made = payments.create(self.practice.owner, body, KEY)
            self.about["provider"] = str(made.provider_id)

        def paid() -> None:
            [intent] = self.practice.stripe.payments.values()
            if intent.state is State.OPEN:
                self.practice.stripe.pay(intent.id)
            self.tell("payment_intent.succeeded", intent.id)

        def settled() -> None:
            [intent] = self.practice.stripe.payments
            self.practice.stripe.settle(intent)
            self.tell("charge.updated", intent.replace("pi_", "ch_"))

        return [start, paid, settled]


class PayAtOnce(Flow):
    """A payment through Mercado Pago, which is paid in the request itself."""

    prepare = Flow.hold

    def parts(self) -> list[Callable[[], object]]:
        body = PaymentRequest.model_validate(
            {
                "appointment_id": self.about["appointment"],
                "provider": "mercadopago",
                "token": "tok_approved",
                "payment_method_id": "visa",
                "payer_email": "payer@example.com",
            }
        )
        return [lambda: payments.create(self.practice.owner, body, KEY)]


class ByHand(Flow):
    """Cash, with a payment at Stripe that is open and has to be called off."""

    def prepare(self) -> None:
        self.hold()
        self.practice.start(self.about["appointment"])

    def parts(self) -> list[Callable[[], object]]:
        body = ManualPaymentRequest.model_validate(
            {
                "appointment_id": self.about["appointment"],
                "method": "cash",
                "amount": {"amount": PRICE, "currency": "EUR"},
                "received_at": self.practice.clock.at.date().isoformat(),
            }
        )
        return [lambda: payments.record(self.practice.owner, body, KEY)]


class Refund(Flow):
    """A part of it by hand."""

    prepare = Flow.pay_whole

    def parts(self) -> list[Callable[[], object]]:
        part = {"amount": {"amount": 1999, "currency": "EUR"}}
        body = RefundRequest.model_validate(part)
        return [lambda: refunds.create(self.practice.owner, self.about["payment"], body, KEY)]


class FailedRefund(Refund):
    """It was made, and then the bank sends it back."""

    def parts(self) -> list[Callable[[], object]]:
        def failed() -> None:
            self.practice.stripe.fail_refunds(self.about["provider"])
            self.tell("refund.failed", self.about["provider"].replace("pi_", "ch_"))

        return [*super().parts(), failed]


class Cancel(Flow):
    """Cancelled by the practice: all of it goes back."""

    prepare = Flow.pay_whole

    def parts(self) -> list[Callable[[], object]]:
        request = CancelRequest.model_validate({"reason_code": "expert_request"})

        def cancel() -> None:
            try:
                closing.cancel(self.practice.owner, self.about["appointment"], request)
            except Conflict:  # it was cancelled by the time before
                found = self.practice.appointment(self.about["appointment"])
                assert found.status == "cancelled"

        return [cancel]


class LateAndLost(Flow):
    """Paid after its hold has ended and somebody else has the time: it goes back by itself."""

    def prepare(self) -> None:
        self.hold()
        self.practice.start(self.about["appointment"])
        self.practice.clock.forward(minutes=16)
        assert holds.expire(self.practice.appointment(self.about["appointment"]), BY)
        self.practice.hold()

    def parts(self) -> list[Callable[[], object]]:
        def paid() -> None:
            [intent] = self.practice.stripe.payments.values()
            if intent.state is State.OPEN:
                self.practice.stripe.pay(intent.id)
                self.practice.stripe.settle(intent.id)
            self.tell("payment_intent.succeeded", intent.id)

        return [paid]


class Expire(Flow):
    """The hold ends unpaid: the intent is called off first."""

    def prepare(self) -> None:
        self.hold()
        self.practice.start(self.about["appointment"])
        self.practice.clock.forward(minutes=16)

    def parts(self) -> list[Callable[[], object]]:
        def expire() -> None:
            assert closing.expire(self.practice.appointment(self.about["appointment"]), BY)

        return [expire]


class Dispute(Flow):
    """Contested, taken from the payee, and lost."""

    ends = DisputeStatus.LOST
    prepare = Flow.pay_whole

    def parts(self) -> list[Callable[[], object]]:
        bank = self.providers.bank

        def opened() -> None:
            if not bank.disputes:
                payment = payments.get(self.practice.owner, self.about["payment"])
                found = bank.open(payment, 3000)  # type: ignore[arg-type]
                reading = replace(
                    bank.disputes.pop(found), id="du_1", provider_payment=self.about["provider"]
                )
                bank.disputes["du_1"] = reading
                bank.withdraw("du_1")
            self.tell("charge.dispute.created", "du_1")

        def closed() -> None:
            if bank.disputes["du_1"].status is not self.ends:
                bank.decide("du_1", self.ends)
                if self.ends is DisputeStatus.WON:
                    bank.reinstate("du_1")
            self.tell("charge.dispute.closed", "du_1")

        return [opened, closed]


class WonDispute(Dispute):
    """Contested, taken from the payee, won, and given back."""

    ends = DisputeStatus.WON


class PaidOut(Flow):
    """A payout that is paid, and fails after all."""

    def parts(self) -> list[Callable[[], object]]:
        def becomes(status: str) -> Callable[[], None]:
            def act() -> None:
                failed = {"failure_transaction": "txn_f", "failure_code": "account_closed"}
                more = failed if status == "failed" else {}
                self.providers.payouts["po_1"] = replace(
                    payout("po_1"), status="pending" if status == "created" else status, **more
                )
                self.tell(f"payout.{status}", "po_1", account="acct_1")

            return act

        return [becomes(status) for status in ("created", "paid", "failed")]


FLOWS: tuple[type[Flow], ...] = (
    Pay,
    PayAtOnce,
    ByHand,
    Refund,
    FailedRefund,
    Cancel,
    LateAndLost,
    Expire,
    Dispute,
    WonDispute,
    PaidOut,
)


@pytest.fixture
def providers(
    practice: Practice, monkeypatch: pytest.MonkeyPatch, environment: pytest.MonkeyPatch
) -> Iterator[Providers]:
    environment.setenv("DISPUTE_RECOVER", "opened")
    settings.reset()
    made = Providers(practice.stripe, practice.mercadopago, Bank(practice.world.practice))
    made.account = account()
    made.install(monkeypatch)
    yield made
    settings.reset()


@dataclass
class Stage:
    """Where a flow can be gone through again and again from the same point."""

    flow: Flow
    tables: Any
    monkeypatch: pytest.MonkeyPatch

    def go(self, death: Death) -> bool:
        """Through the whole flow; whether it died on the way."""
        died = False
        for part in self.flow.parts():
            with self._mortality(death):
                try:
                    part()
                except Crash:
                    died = True
                else:
                    continue
            # Whoever asked asks again, once what was on its way cannot be any more.
            self.flow.practice.clock.forward(minutes=2)
            part()
            self.sweep()
        self.sweep()
        return died

    def sweep(self) -> None:
        """What is still asked for by then, as the sweep of the deployed system does it."""
        tenant = self.flow.practice.world.tenant
        self.flow.practice.clock.forward(minutes=2)
        for refund_id in listed(tenant, REFUND):
            assert effects.resume(tenant.item(REFUND, refund_id), BY)
        for dispute_id in listed(tenant, DISPUTE):
            assert dispute_effects.resume(tenant.item(DISPUTE, dispute_id), BY)

    def _mortality(self, death: Death) -> pytest.MonkeyPatch:
        context = pytest.MonkeyPatch.context()
        patch = context.__enter__()
        practice, events = self.flow.practice, self.tables.meta.events
        for provider in (practice.stripe, practice.mercadopago):
            for name in PROVIDERS_CALLS:
                patch.setattr(provider, name, death.mortal(getattr(provider, name)))
        bank = self.flow.providers.bank
        for name in ("read", "recover", "give_back", "find_recovery", "find_given_back"):
            patch.setattr(bank, name, death.mortal(getattr(bank, name)))
        patch.setattr(stripe_payouts, "read_payout", death.mortal(stripe_payouts.read_payout))
        for name in WRITES:
            events.register(f"after-call.dynamodb.{name}", death.step)

        class Ends:
            def __enter__(self) -> None: ...

            def __exit__(self, *_: Any) -> None:
                for name in WRITES:
                    events.unregister(f"after-call.dynamodb.{name}", death.step)
                context.__exit__(None, None, None)

        return Ends()  # type: ignore[return-value]


def plain() -> tuple[list[Any], dict[tuple[str, str, str], int]]:
    """How it ended, without the ids that differ from one way to another."""
    found = end()
    items = []
    for values in found.items.values():
        if isinstance(values, dict):
            kept = {name: value for name, value in values.items() if name not in OWN_IDS}
            kept["refunds"] = sorted(refund[1:] for refund in values.get("refunds", ()))
            items.append(repr(kept))
        else:
            items.append(repr(values))
    return sorted(items), found.balances


def given_back(practice: Practice) -> list[int]:
    """What the providers have given back, refund by refund."""
    made = [*practice.stripe.payments.values(), *practice.mercadopago.payments.values()]
    return sorted(
        refund.amount
        for found in made
        for refund in found.refunds
        if refund.state is RefundState.SUCCEEDED
    )


@pytest.mark.parametrize("kind", FLOWS, ids=lambda kind: kind.__name__)
def test_wherever_it_dies_it_ends_the_same(
    practice: Practice,
    providers: Providers,
    tables: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Flow],
) -> None:
    flow = kind(practice, providers)
    flow.prepare()
    stage = Stage(flow, tables, monkeypatch)
    rows, known, begun, about = saved(), providers.saved(), practice.clock.at, dict(flow.about)
    alive = Death()
    assert not stage.go(alive)
    expected, gone = plain(), given_back(practice)
    charges = len(practice.stripe.payments), len(practice.mercadopago.payments)
    assert ledger_verify.verify(practice.world.tenant) == []
    assert alive.steps >= 2
    for number in range(alive.steps):
        restored(rows)
        providers.restore(known)
        practice.clock.at, flow.about = begun, dict(about)
        assert stage.go(Death(number)), f"step {number} of {alive.steps} was never reached"
        assert plain() == expected, number
        assert given_back(practice) == gone, number
        found = len(practice.stripe.payments), len(practice.mercadopago.payments)
        assert found == charges, number
        assert ledger_verify.verify(practice.world.tenant) == [], number


# ---------------------------------------------------------------- providers that fail

CALLS: dict[str, tuple[type[Flow], str]] = {
    "start": (Pay, "stripe"),
    "start at once": (PayAtOnce, "mercadopago"),
    "refund": (Refund, "stripe"),
    "cancel": (Expire, "stripe"),
    "cancel for cash": (ByHand, "stripe"),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("problem", [ProviderFailed, RateLimited])
@pytest.mark.parametrize("call", CALLS)
def test_a_provider_that_fails_is_asked_again_and_ends_the_same(
    practice: Practice,
    providers: Providers,
    tables: Any,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    problem: type[ProviderFailed],
    when: str,
) -> None:
    """Without an answer, before and after it acted; too many requests."""
    kind, name = CALLS[call]
    flow = kind(practice, providers)
    flow.prepare()
    stage = Stage(flow, tables, monkeypatch)
    rows, known, begun, about = saved(), providers.saved(), practice.clock.at, dict(flow.about)
    stage.go(Death())
    expected, charges = plain(), len(getattr(practice, name).payments)
    restored(rows)
    providers.restore(known)
    practice.clock.at, flow.about = begun, dict(about)
    provider = getattr(practice, name)
    provider.faults[call.split(maxsplit=1)[0], when] = problem()
    for part in flow.parts():
        try:
            part()
        except ProviderFailed:
            practice.clock.forward(minutes=2)
            part()
    stage.sweep()
    assert not provider.faults
    assert plain() == expected
    assert len(provider.payments) == charges
    assert ledger_verify.verify(practice.world.tenant) == []
