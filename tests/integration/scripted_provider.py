"""A payment provider that lives in the test: it does what the test says payers and banks do.

It stands for Stripe or Mercado Pago behind :class:`consulta.money.provider.PaymentProvider`; the
code under test reaches it through the registry, like the real adapters.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest

from consulta.core import ids
from consulta.core.errors import NotFound, ProviderFailed
from consulta.core.time import now
from consulta.money import providers
from consulta.money.provider import (
    Operation,
    PaymentDetails,
    ProviderPayment,
    ProviderRefund,
)
from consulta.money.records import PayeeItem, PaymentItem, Provider, RefundState, State
from consulta.money.stripe import lookup as stripe_lookup


@dataclass
class ScriptedProvider:
    """Payments by id. ``faults`` are raised by the next calls: before or after they acted."""

    name: Provider
    payments: dict[str, ProviderPayment] = field(default_factory=dict)
    by_key: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[tuple[str, str], BaseException] = field(default_factory=dict)
    before_answer: dict[str, Callable[[], None]] = field(default_factory=dict)
    # The payments that were made to be captured later.
    manual: set[str] = field(default_factory=set)

    @property
    def fee(self) -> int:
        return 175

    def _call(self, name: str, key: str, act: Callable[[], Any]) -> Any:
        self.calls.append((name, key))
        if fault := self.faults.pop((name, "before"), None):
            raise fault
        if key and key in self.by_key:
            made = self.by_key[key]
        else:
            made = act()
            if key:
                self.by_key[key] = made
        if hook := self.before_answer.pop(name, None):
            hook()
        if fault := self.faults.pop((name, "after"), None):
            raise fault
        return made

    # the protocol

    def start(
        self, operation: Operation, payment: PaymentItem, payee: PayeeItem, details: PaymentDetails
    ) -> ProviderPayment:
        def act() -> str:
            provider_id = ids.new_id("prov").replace("prov", "pi")
            self.payments[provider_id] = ProviderPayment(
                id=provider_id,
                state=State.OPEN,
                amount=int(payment.amount),
                currency=payment.currency,
                captured=0,
                account=str(payment.provider_account),
                practice=payment.tenant.practice,
                payment=payment.item_id,
                operation=operation.id,
                client_secret=f"{provider_id}_secret",
                commission=None,
            )
            if payment.manual_capture:
                self.manual.add(provider_id)
            if self.name is Provider.MERCADOPAGO:
                if details.token == "tok_rejected":
                    self.decline(provider_id)
                elif details.token == "tok_in_process":
                    self.change(provider_id, state=State.PROCESSING)
                else:
                    self.pay(provider_id)
            return provider_id

        return self.payments[self._call("start", operation.key, act)]

    def read(
        self, provider_id: str, payee: PayeeItem, *, exchanged: bool | None = None
    ) -> ProviderPayment:
        def act() -> ProviderPayment:
            if provider_id not in self.payments:
                raise NotFound
            return self.payments[provider_id]

        found: ProviderPayment = self._call("read", "", act)
        return found

    def cancel(self, operation: Operation, provider_id: str, payee: PayeeItem) -> ProviderPayment:
        def act() -> None:
            if self.payments[provider_id].state in (State.OPEN, State.AUTHORIZED):
                self.change(provider_id, state=State.CANCELLED)

        self._call("cancel", operation.key, act)
        return self.payments[provider_id]

    def capture(self, operation: Operation, provider_id: str, payee: PayeeItem) -> ProviderPayment:
        def act() -> None:
            if self.payments[provider_id].state is State.AUTHORIZED:
                self._take(provider_id)

        self._call("capture", operation.key, act)
        return self.payments[provider_id]

    def refund(
        self, operation: Operation, payment: PaymentItem, payee: PayeeItem, amount: int
    ) -> ProviderRefund:
        def act() -> ProviderRefund:
            found = self.payments[str(payment.provider_id)]
            gone = sum(r.amount for r in found.refunds if r.state is not RefundState.FAILED)
            if gone + amount > found.captured:
                raise ProviderFailed
            return self.add_refund(found.id, amount, operation.id)

        made: ProviderRefund = self._call("refund", operation.key, act)
        return made

    def find(self, payment: PaymentItem, payee: PayeeItem) -> tuple[ProviderPayment, ...]:
        self._call("find", "", lambda: None)
        return tuple(p for p in self.payments.values() if p.payment == payment.item_id)

    # what payers and banks do

    def change(self, provider_id: str, **values: Any) -> None:
        self.payments[provider_id] = replace(self.payments[provider_id], **values)

    def decline(self, provider_id: str, code: str = "card_declined") -> None:
        self.change(provider_id, state=State.OPEN, failure_code=code, requires_action=False)

    def pay(self, provider_id: str, **values: Any) -> None:
        """Succeeded, or only authorized; at Stripe it is settled later."""
        if provider_id in self.manual:
            self.change(
                provider_id,
                state=State.AUTHORIZED,
                failure_code="",
                requires_action=False,
                method="card",
                charge=provider_id.replace("pi_", "ch_"),
                capture_before=now() + timedelta(days=7),
                **values,
            )
            return
        self._take(provider_id, **values)

    def _take(self, provider_id: str, **values: Any) -> None:
        at_once = self.name is Provider.MERCADOPAGO
        self.change(
            provider_id,
            state=State.SUCCEEDED,
            captured=self.payments[provider_id].amount,
            failure_code="",
            requires_action=False,
            capture_before=None,
            charge=provider_id if at_once else provider_id.replace("pi_", "ch_"),
            method="card",
            paid_at=now(),
            **values,
        )
        if at_once:
            self.change(provider_id, fee=self.fee, commission=500, balance_transaction=provider_id)

    def settle(self, provider_id: str) -> None:
        self.change(
            provider_id,
            fee=self.fee,
            commission=500,
            balance_transaction=provider_id.replace("pi_", "txn_"),
        )

    def add_refund(self, provider_id: str, amount: int, operation: str = "") -> ProviderRefund:
        refund_id = ids.new_id("re")
        if self.name is Provider.MERCADOPAGO:
            operation = ""
        made = ProviderRefund(
            refund_id, amount, RefundState.SUCCEEDED, operation, refund_id.replace("re_", "txn_")
        )
        self.change(provider_id, refunds=(*self.payments[provider_id].refunds, made))
        return made

    def fail_refunds(self, provider_id: str) -> None:
        failed = tuple(
            replace(r, state=RefundState.FAILED, failed_by=f"{r.id}_failure")
            for r in self.payments[provider_id].refunds
        )
        self.change(provider_id, refunds=failed)

    def lookup(self, object_id: str, account: str) -> stripe_lookup.Found | None:
        """``stripe_lookup.find``: charges are named like their intents here."""
        found = self.payments.get(object_id.replace("ch_", "pi_"))
        return stripe_lookup.Found(found.id, found.practice, found.payment) if found else None


@cache
def stripe() -> ScriptedProvider:
    return ScriptedProvider(Provider.STRIPE)


@cache
def mercadopago() -> ScriptedProvider:
    return ScriptedProvider(Provider.MERCADOPAGO)


def install(monkeypatch: pytest.MonkeyPatch) -> tuple[ScriptedProvider, ScriptedProvider]:
    """Fresh ones in the registry, in place of the adapters."""
    stripe.cache_clear()
    mercadopago.cache_clear()
    providers.provider_for.cache_clear()
    for name in (Provider.STRIPE, Provider.MERCADOPAGO):
        monkeypatch.setitem(providers._ADAPTERS, name, (__name__, str(name)))
    monkeypatch.setattr(stripe_lookup, "find", stripe().lookup)
    return stripe(), mercadopago()
