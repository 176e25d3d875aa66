"""Mercado Pago's side: a seller's payments of a time, with their refunds and chargebacks.

It has no list of movements: what a payment is by now says what has moved. The search goes by the
time of the last change, so that a payment from long ago that was refunded today is found. A
seller's balance is not told to us, and the release report is made on request only: there is no
proof of balances here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consulta.core.errors import NotFound
from consulta.core.time import to_text
from consulta.money.mercadopago import client as mercadopago_client
from consulta.money.mercadopago import disputes as mercadopago_disputes
from consulta.money.mercadopago import tokens as mercadopago_tokens
from consulta.money.mercadopago.provider import normalised
from consulta.money.provider import ProviderPayment, ProviderRefund
from consulta.money.reconciliation.matching import Event, Fact
from consulta.money.records import PayeeItem, Provider, RefundState, State

PAGE = 100
CHARGED_BACK = "charged_back"
# How a chargeback ends, said by its payment.
ENDED = frozenset({"reimbursed", "settled"})

Raw = dict[str, Any]


@dataclass
class Books:
    """One seller's reading."""

    payee: PayeeItem
    low: datetime
    high: datetime
    # Called before each call: raises OutOfTime where the invocation ends.
    check: Callable[[], None] = lambda: None
    transactions: int = 0

    @property
    def user(self) -> str:
        """The seller, as the ledger names the account."""
        return str(self.payee.mercadopago_user)

    def facts(self) -> list[Fact]:
        """All movements of the payments that changed between ``low`` and ``high``."""
        return [fact for raw in self._changed() for fact in self._of(raw)]

    def of_payment(self, provider_id: str) -> list[Fact]:
        """All movements of one payment; nothing where there is none."""
        try:
            return self._of(self._call("payment.get", "payment", "get", provider_id))
        except NotFound:
            return []

    def _call(self, name: str, resource: str, method: str, argument: Any) -> Any:
        self.check()
        token = mercadopago_tokens.access_token(self.payee.tenant, self.payee.item_id)
        call = getattr(getattr(mercadopago_client.sdk(token), resource)(), method)
        return mercadopago_client.answer(name, call, argument, mercadopago_client.options(token))

    def _changed(self) -> Iterator[Raw]:
        """By the time of the change and not by offset: what changes meanwhile moves the pages."""
        begin, offset, seen = to_text(self.low), 0, set[int]()
        while True:
            filters = {
                "range": "date_last_updated",
                "begin_date": begin,
                "end_date": to_text(self.high),
                "sort": "date_last_updated",
                "criteria": "asc",
                "limit": PAGE,
                "offset": offset,
            }
            results = self._call("payment.search", "payment", "search", filters)["results"]
            for raw in results:
                if raw["id"] not in seen:
                    seen.add(raw["id"])
                    yield raw
            if len(results) < PAGE:
                return
            latest = to_text(datetime.fromisoformat(results[-1]["date_last_updated"]))
            # More of one moment than a page holds can only be passed by counting.
            begin, offset = (begin, offset + PAGE) if latest == begin else (latest, 0)

    def _of(self, raw: Raw) -> list[Fact]:
        self.transactions += 1
        payment = normalised(raw)
        mine = payment.practice == self.payee.tenant.practice and payment.payment
        # A seller's own sales are none of our business, and their payments carry no id of ours.
        if not mine or payment.state is not State.SUCCEEDED:
            return []
        facts = self._charged(payment)
        made_at = {str(one["id"]): one["date_created"] for one in raw.get("refunds") or []}
        facts += [
            self._refunded(payment, refund, datetime.fromisoformat(made_at[refund.id]))
            for refund in payment.refunds
            if refund.state is RefundState.SUCCEEDED
        ]
        if raw["status"] == CHARGED_BACK or raw.get("status_detail") in ENDED:
            facts += self._charged_back(payment)
        return facts

    def _fact(
        self, payment: ProviderPayment, rest: str, net: int, at: datetime, **more: Any
    ) -> Fact:
        return Fact(
            key=f"mp:{payment.id}:{rest}",
            account=more.pop("account", self.user),
            currency=payment.currency,
            net=net,
            fee=more.pop("fee", 0),
            at=at,
            about=rest.rpartition(":")[2],
            practice=payment.practice,
            payment=payment.payment,
            event=more.pop("event", Event("payment", payment.id, self.user)),
            **more,
        )

    def _charged(self, payment: ProviderPayment) -> list[Fact]:
        """What the seller received, and our commission of it."""
        at, rest = payment.paid_at or self.low, f"payment:{payment.id}"
        fee, commission = payment.fee or 0, payment.commission or 0
        kept = fee + commission + payment.tax_withheld
        facts = [self._fact(payment, rest, payment.captured - kept, at, fee=fee)]
        if commission:
            facts.append(
                self._fact(payment, rest, commission, at, account=str(Provider.MERCADOPAGO))
            )
        return facts

    def _refunded(self, payment: ProviderPayment, refund: ProviderRefund, at: datetime) -> Fact:
        return self._fact(payment, f"refund:{refund.id}", -refund.amount, at)

    def _charged_back(self, payment: ProviderPayment) -> list[Fact]:
        """Its chargeback's movements, as they are posted; none where there is only a mediation."""
        chargeback = mercadopago_disputes.of_payment(payment.id, self.payee)
        if chargeback is None:
            return []
        dispute = mercadopago_disputes.MercadoPagoDisputes().read(chargeback, self.user)
        if dispute is None:
            return []
        event = Event("topic_chargebacks_wh", chargeback, self.user)
        return [
            self._fact(payment, moved.id, moved.amount, dispute.opened_at, event=event)
            for moved in dispute.movements
        ]
