"""All that happens to one payment in one transaction: amounts, states and what the ledger says.

A :class:`Change` starts from the payment as it was read; its actions hold only for that version. So
the guard ``refunded + reserved + r <= captured - disputed`` is one conditional write however many
run at once (rules §1).
"""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from consulta.core import ids, table
from consulta.core.errors import Conflict, ProviderFailed
from consulta.core.item import Actor, Item
from consulta.core.keys import Tenant
from consulta.core.time import local_day, now, to_text
from consulta.money import rates
from consulta.money.books import ledger
from consulta.money.books.ledger import Charge, Leg, Posting, Settlement
from consulta.money.paying import operations
from consulta.money.provider import Exchange, Legs, ProviderPayment, ProviderRefund
from consulta.money.records import (
    PAYMENT,
    POSTING,
    REFUND,
    PaymentItem,
    PostingItem,
    Provider,
    RefundItem,
    RefundState,
    State,
)
from consulta.scheduling import due
from consulta.scheduling.records import PaymentStatus

REFUND_DUE_WORK, AUTHORIZATION_DUE_WORK, RELEASE_DUE_WORK = "refund", "authorization", "release"
# A provider's clock is not ours.
RELEASE_GRACE = timedelta(minutes=5)
_EARNING = frozenset({ledger.REVENUE, ledger.TAX_OUT})


def charge_of(payment: PaymentItem) -> Charge:
    """Who bears what of this payment's charge."""
    return Charge(
        provider=Provider(payment.provider),
        account=str(payment.provider_account),
        payee_id=payment.payee_id,
        currency=payment.currency,
        destination=bool(payment.destination),
        platform_pays_fees=bool(payment.platform_pays_fees),
        part=ledger.AVAILABLE if payment.released else ledger.PENDING,
    )


def charge_key(payment: PaymentItem, transaction: str) -> str:
    """The posting key of a provider's transaction (rules §2)."""
    account = payment.provider if payment.destination else payment.provider_account
    return f"{account}:{transaction}"


def posting_item(
    tenant: Tenant, payment_id: str | None, posting: Posting, by: Actor
) -> PostingItem:
    """A posting as it is stored; its key can be put once."""
    instant = now()
    place = f"{to_text(instant)}#{posting.key}"
    return PostingItem.create(
        tenant.item(POSTING, posting.key),
        POSTING,
        by,
        event=str(posting.event),
        posting_key=posting.key,
        payment_id=payment_id,
        currency=posting.currency,
        entries=[
            {"book": e.book, "account": e.account, "debit": e.debit, "credit": e.credit}
            for e in posting.entries
        ],
        touched=ledger.touched(posting),
        occurred_at=instant,
        l1pk=tenant.listing_by(POSTING, "MONTH", f"{instant:%Y-%m}"),
        l1sk=place,
        l2pk=tenant.listing_by(POSTING, PAYMENT, payment_id) if payment_id else None,
        l2sk=place if payment_id else None,
        walkpk=tenant.listing(POSTING),
        walksk=posting.key,
    )


def stored_values(item: Item, values: dict[str, Any]) -> dict[str, Any]:
    """Attributes of an item as they are written; those that are None are removed instead."""

    def stored(name: str, value: Any) -> Any:
        if isinstance(value, datetime):
            return to_text(value)
        return getattr(type(item), name).serialize(value) if isinstance(value, dict) else value

    return {name: stored(name, value) for name, value in values.items() if value is not None}


def commission_tax_of(payment: PaymentItem, commission: int, returned: int = 0) -> int:
    """The tax in a payment's commission, as far as it was not returned: by the agreed rate.

    Cumulative, like the commission that goes back itself: parts lose no cent. What was agreed on
    stands, unless the provider has moved another commission.
    """
    contained = int(payment.commission_tax)
    if commission != payment.commission:
        contained = rates.contained_tax(commission, int((payment.rate or {}).get("tax_bps", 0)))
    return contained - ledger.tax_part(contained, returned, commission)


def shown_status(captured: int, refunded: int) -> PaymentStatus:
    """What the appointment shows of a payment that succeeded."""
    if refunded == 0:
        return PaymentStatus.PAID
    return PaymentStatus.REFUNDED if refunded >= captured else PaymentStatus.PARTIALLY_REFUNDED


@dataclass
class Change:
    """One payment's part of a transaction, collected step by step."""

    payment: PaymentItem
    by: Actor
    is_new: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    parts: list[table.Action] = field(default_factory=list)
    refunds: list[str] = field(default_factory=list)
    # Whether an authorization has to be captured, or let go, once this is written.
    settles: bool = False
    # What the provider tells of it now, where it was settled in another currency.
    exchange: Exchange | None = None

    @property
    def tenant(self) -> Tenant:
        """The payment's practice."""
        return self.payment.tenant

    def get(self, name: str) -> Any:
        """An attribute as it will be."""
        return self.values[name] if name in self.values else getattr(self.payment, name)

    def number(self, name: str) -> int:
        """A number as it will be."""
        return int(self.get(name) or 0)

    def set(self, name: str, value: Any) -> None:
        """Write an attribute, where it differs."""
        if self.get(name) != value:
            self.values[name] = value

    @property
    def refundable(self) -> int:
        """What a refund may take: captured − disputed − refunded − reserved."""
        return (
            self.number("captured")
            - self.number("disputed")
            - self.number("refunded")
            - self.number("reserved")
        )

    @property
    def advance(self) -> int:
        """What of it is still the patient's: not earned, not on its way back."""
        return (
            self.number("captured")
            - self.number("refunded")
            - self.number("reserved")
            - self.number("earned")
        )

    def actions(self) -> list[table.Action]:
        """The parts; none where nothing changes."""
        if self.is_new:
            for name, value in self.values.items():
                setattr(self.payment, name, value)
            return [table.put_new(self.payment), *self.parts]
        if not (self.values or self.parts):
            return []
        stored = stored_values(self.payment, self.values)
        gone = [name for name, value in self.values.items() if value is None]
        changed = table.change(self.payment, self.by, set_=stored, remove=gone)
        return [changed, *self.parts]

    def post(self, posting: Posting) -> None:
        """Put a posting; without entries (amount 0) there is nothing to explain."""
        if posting.entries:
            item = posting_item(self.tenant, self.payment.item_id, posting, self.by)
            if any(entry.account in _EARNING for entry in posting.entries):
                item.expert_id = self.payment.expert_id
                item.local_date = local_day(item.occurred_at, self.payment.zone).isoformat()
            self.parts.append(table.put_new(item, "posting"))

    # ------------------------------------------------------------ in another currency

    def move(self, posting: Posting, legs: Legs | None) -> None:
        """Put a posting of what the provider has moved; ``legs``: in another currency."""
        if legs is None:
            self.post(posting)
            return
        charge = charge_of(self.payment)
        fx = self.get("fx") or {}
        by_book: dict[str, Leg] = {}
        for side, book, leg in (
            ("platform", ledger.PLATFORM, legs.platform),
            ("payee", charge.book, legs.payee),
        ):
            if leg is None:
                continue
            if side == "platform" and ledger.keeps_currency(charge, leg):
                leg = ledger.drift(charge, posting, leg)  # noqa: PLW2901  # the rest is no exchange
            by_book[book] = leg
            known = fx.get(side)
            if known and known["currency"] != leg.currency:
                # Two of them cannot be added up: a person has to look at what the provider does.
                raise ProviderFailed
            net = int(known["net"]) if known else 0
            fx = {**fx, side: {"currency": leg.currency, "net": net + leg.net}}
        self.set("fx", fx)
        for made in ledger.exchanged(charge, posting, by_book):
            self.post(made)

    def _refund_legs(self, told: Legs | None) -> tuple[Legs | None, int]:
        """What a refund did to the balances, our commission included, and that commission."""
        fx = self.get("fx")
        if not fx or told is None:
            return None, 0
        before = int(fx["commission_returned"])
        returned = self.exchange.commission_returned - before if self.exchange else 0
        net = told.platform.net if told.platform else 0
        platform = Leg(fx["platform"]["currency"], net - returned)
        self.set("fx", {**fx, "commission_returned": before + returned})
        return Legs(platform, told.payee), returned

    # ------------------------------------------------------------ money comes in

    def capture(self, reading: ProviderPayment) -> None:
        """The provider has taken the money."""
        payment = self.payment
        at_once = payment.provider == Provider.MERCADOPAGO
        commission = self.number("commission")
        if at_once and reading.commission is not None:
            commission = reading.commission
        paid_at = reading.paid_at or now()
        self.set("state", str(State.SUCCEEDED))
        self.set("captured", reading.captured)
        self.set("commission", commission)
        tax = commission_tax_of(payment, commission)
        self.set("commission_tax", tax)
        self.set("charge_id", reading.charge or None)
        self.set("method", reading.method or None)
        self.set("paid_at", paid_at)
        self.set("local_date", local_day(paid_at, payment.zone).isoformat())
        self.set("failure_code", None)
        self.set("requires_action", False)
        settled = None
        key = charge_key(payment, reading.charge or reading.id)
        if at_once:
            settled = Settlement(reading.fee or 0, reading.tax_withheld)
            key = f"mp:{reading.id}:payment:{reading.id}"
            self._settled(commission, settled)
        self.post(
            ledger.charge_succeeded(
                charge_of(payment),
                key,
                reading.captured,
                commission,
                commission_tax=tax,
                settled=settled,
            )
        )

    def settle(self, reading: ProviderPayment) -> None:
        """The provider has told its fee: out of ``unsettled``."""
        exchange = reading.exchange
        told = reading.fee is not None or exchange is not None
        if self.get("settled") or not reading.balance_transaction or not told:
            return
        before = self.number("commission")
        moved = before if reading.commission is None else reading.commission
        # Told in the charge's currency where only what the payee got was exchanged, or nothing was.
        settled = Settlement(reading.fee or 0, reading.tax_withheld)
        returned = self.number("commission_returned")
        posting = ledger.charge_settled(
            charge_of(self.payment),
            charge_key(self.payment, reading.balance_transaction),
            self.number("captured"),
            before,
            settled,
            moved=moved,
            more_tax=commission_tax_of(self.payment, moved, returned)
            - commission_tax_of(self.payment, before, returned),
        )
        self.set("commission_tax", commission_tax_of(self.payment, moved))
        self._settled(moved, settled)
        if exchange:
            self.set("fx", _fx(exchange))
        self.move(posting, _with_fee(charge_of(self.payment), exchange) if exchange else None)

    def _settled(self, commission: int, settled: Settlement) -> None:
        self.set("commission", commission)
        self.set("fee", settled.fee)
        self.set("tax_withheld", settled.tax_withheld)
        self.set("settled", True)

    def release(self, reading: ProviderPayment) -> None:
        """The provider releases the money at a time, or has: it can be used from now on.

        Called last of all that one reading means: what went before is of what was pending.
        """
        if self.get("released") or not self.get("settled"):
            return
        if reading.release_at and reading.release_at != self.get("release_at"):
            self.set("release_at", reading.release_at)
            if not reading.released:
                at = reading.release_at + RELEASE_GRACE
                self.parts.append(due.at(at, self.payment.pk, RELEASE_DUE_WORK))
        if not reading.released:
            return
        kept = self.number("commission") - self.number("commission_returned")
        theirs = (
            self.number("captured")
            - self.number("refunded")
            - self.number("disputed")
            - self.number("fee")
            - self.number("tax_withheld")
            - kept
        )
        self.set("released", True)
        key = f"mp:{reading.id}:release:{reading.id}"
        self.post(ledger.released(charge_of(self.payment), key, kept, theirs))

    def take_by_hand(self, received_on: date) -> None:
        """A member has taken cash or a transfer."""
        payment = self.payment
        self.set("state", str(State.SUCCEEDED))
        self.set("captured", self.number("amount"))
        self.set("paid_at", now())
        self.set("local_date", received_on.isoformat())
        self.set("settled", True)
        key = f"manual:{payment.item_id}"
        tax = commission_tax_of(payment, self.number("commission"))
        self.set("commission_tax", tax)
        self.post(
            ledger.manual_payment(
                payment.payee_id,
                key,
                payment.currency,
                self.number("amount"),
                self.number("commission"),
                tax,
            )
        )

    def earn(self, most: int | None = None) -> None:
        """What is left of the patient's advance becomes revenue: the service was given, or kept.

        With ``most`` no more than that: a session's part of a package.
        """
        amount = self.advance if most is None else min(self.advance, most)
        if amount <= 0:
            return
        payment = self.payment
        key = f"earned:{payment.item_id}:{int(payment.version) + 1}"
        tax = self._tax_in(amount)
        self.set("earned", self.number("earned") + amount)
        self.post(ledger.earned(payment.payee_id, key, payment.currency, amount, tax))

    def _tax_in(self, more: int) -> int:
        """What ``more`` revenue adds to the tax that is owed; below zero, takes from it."""
        tax, captured, earned = (self.number(name) for name in ("tax", "captured", "earned"))
        return ledger.tax_part(tax, earned + more, captured) - ledger.tax_part(
            tax, earned, captured
        )

    # ------------------------------------------------------------ money goes back

    def request_refund(self, amount: int, reason: str) -> RefundItem:
        """Reserve ``amount`` for a refund that is sent once this is written.

        Raises Conflict where that much is not left.
        """
        if not 0 < amount <= self.refundable:
            raise Conflict(
                "More than is left of this payment cannot be refunded",
                extra={"refundable": {"amount": self.refundable, "currency": self.get("currency")}},
            )
        refund = self._new_refund(amount, reason, RefundState.REQUESTED)
        self.set("reserved", self.number("reserved") + amount)
        self.parts.append(table.put_new(refund))
        if self.payment.provider != Provider.MANUAL:
            # The operation is there before it is sent; should we die before, the sweep sends it.
            operation = operations.new(
                self.tenant, self.payment.item_id, refund.item_id, operations.Kind.REFUND, self.by
            )
            self.parts.append(table.put_new(operation))
            self.parts.append(due.at(now(), refund.pk, REFUND_DUE_WORK))
            self.refunds.append(refund.item_id)
        return refund

    def give_back_by_hand(self, amount: int, reason: str) -> RefundItem:
        """A refund in cash or by transfer: it is done when it is recorded."""
        if not 0 < amount <= self.refundable:
            raise Conflict("More than is left of this payment cannot be refunded")
        refund = self._new_refund(amount, reason, RefundState.SUCCEEDED)
        commission = self._commission_back(amount, None)
        tax = self._commission_tax_back(commission)
        key = f"refund:{refund.item_id}:paid"
        payment = self.payment
        self.post(
            ledger.manual_refund(payment.payee_id, key, payment.currency, amount, commission, tax)
        )
        self._went_back(refund, amount, commission)
        self.parts.append(table.put_new(refund))
        return refund

    def external_refund(self, made: ProviderRefund) -> None:
        """A refund that was made at the provider, not through us, and has succeeded."""
        self._external(made, RefundState.SUCCEEDED)

    def _external(self, made: ProviderRefund, state: RefundState) -> RefundItem:
        refund = self._new_refund(made.amount, "external", state)
        refund.provider_id = made.id
        commission = made.commission or 0
        self._post_success(refund, made, commission)
        self._went_back(refund, made.amount, commission)
        self.parts.append(table.put_new(refund))
        return refund

    def refund_succeeded(self, refund: RefundItem, made: ProviderRefund) -> None:
        """The provider has given it back."""
        self._went(refund, made)
        self._change_refund(
            refund, state=str(RefundState.SUCCEEDED), provider_id=made.id, **_told_of(refund)
        )

    def refund_failed(self, refund: RefundItem, made: ProviderRefund) -> None:
        """The money came back to the balance that had paid it, where it had gone at all."""
        had_gone = refund.state == RefundState.SUCCEEDED
        if not had_gone and made.failed_by:
            # It went, and came back, before we heard of either.
            self._went(refund, made)
            had_gone = True
        if had_gone:
            self._came_back(refund, made)
        else:
            self.set("reserved", self.number("reserved") - int(refund.amount))
        self._to_the_patient_again(refund)
        self._change_refund(
            refund, state=str(RefundState.FAILED), provider_id=made.id, **_told_of(refund)
        )

    def external_refund_failed(self, made: ProviderRefund) -> None:
        """One that was made at the provider has gone, and came back, before we heard of either."""
        refund = self._external(made, RefundState.FAILED)
        self._came_back(refund, made)
        self._to_the_patient_again(refund)

    def _went(self, refund: RefundItem, made: ProviderRefund) -> None:
        """A refund that was asked for has taken what was reserved for it."""
        amount = int(refund.amount)
        commission = self._commission_back(amount, made.commission)
        self._post_success(refund, made, commission)
        self.set("reserved", self.number("reserved") - amount)
        self._went_back(refund, amount, commission)

    def _came_back(self, refund: RefundItem, made: ProviderRefund) -> None:
        """Post what the provider has moved for the failure.

        Stripe brings back the refund alone: our commission and a reversed transfer stay as they
        are, so that the platform owes the payee of a destination charge what it holds. Of Mercado
        Pago all is undone.
        """
        amount, charge = int(refund.amount), charge_of(self.payment)
        key = self._refund_key(made.failed_by or f"{made.id}:failed")
        self.set("refunded", self.number("refunded") - amount)
        if charge.provider is Provider.MERCADOPAGO:
            commission = int(refund.commission)
            tax = -self._commission_tax_back(-commission)
            done = ledger.refund_succeeded(charge, "done", amount, commission, tax)
            self.post(done.reversed(ledger.Event.REFUND_REVERSED, key))
            self.set("commission_returned", self.number("commission_returned") - commission)
            refund.commission = 0
            return
        if charge.destination:
            self.set("owed_to_payee", self.number("owed_to_payee") + amount)
        self.move(ledger.refund_failed(charge, key, amount), self._failure_legs(refund, made))

    def _to_the_patient_again(self, refund: RefundItem) -> None:
        """What was requested is posted the other way round: it is an advance, or revenue, again."""
        # The tax that is owed again is that of what is earned by now.
        revenue = int(refund.from_revenue)
        requested = self._requested(refund, self._tax_in(revenue))
        key = f"refund:{refund.item_id}:reversed"
        self.post(requested.reversed(ledger.Event.REFUND_REVERSED, key))
        self.set("earned", self.number("earned") + revenue)

    def _new_refund(self, amount: int, reason: str, state: RefundState) -> RefundItem:
        payment, tenant, instant = self.payment, self.tenant, now()
        refund_id = ids.new_id("rfnd")
        revenue = max(0, amount - self.advance)
        refund = RefundItem.create(
            tenant.item(REFUND, refund_id),
            REFUND,
            self.by,
            payment_id=payment.item_id,
            appointment_id=payment.appointment_id,
            package_id=payment.package_id,
            patient_id=payment.patient_id,
            expert_id=payment.expert_id,
            service_id=payment.service_id,
            provider=payment.provider,
            state=str(state),
            amount=amount,
            from_revenue=revenue,
            currency=payment.currency,
            reason=reason,
            zone=payment.zone,
            l1pk=tenant.listing_by(REFUND, "MONTH", f"{instant:%Y-%m}"),
            l1sk=f"{to_text(instant)}#{refund_id}",
            walkpk=tenant.listing(REFUND),
            walksk=refund_id,
        )
        tax = -self._tax_in(-revenue)
        self.set("earned", self.number("earned") - revenue)
        self.post(self._requested(refund, tax))
        pointer = tenant.sub(PAYMENT, payment.item_id, REFUND, refund_id)
        self.parts.append(table.put_values(pointer, {"entity": "PAYMENT_REFUND"}))
        return refund

    def _requested(self, refund: RefundItem, tax: int) -> Posting:
        payment, revenue = self.payment, int(refund.from_revenue)
        key = f"refund:{refund.item_id}:requested"
        advance = int(refund.amount) - revenue
        return ledger.refund_requested(
            payment.payee_id, key, payment.currency, advance, revenue, tax
        )

    def _commission_back(self, amount: int, told: int | None) -> int:
        if told is not None:
            return told
        return ledger.commission_to_return(
            self.number("commission"),
            self.number("captured"),
            self.number("refunded"),
            amount,
            self.number("commission_returned"),
        )

    def _commission_tax_back(self, commission: int) -> int:
        """The tax in a part of the commission that goes back; below zero, comes back."""
        whole, returned = self.number("commission"), self.number("commission_returned")
        return commission_tax_of(self.payment, whole, returned) - commission_tax_of(
            self.payment, whole, returned + commission
        )

    def _refund_key(self, transaction: str) -> str:
        if self.payment.provider == Provider.MERCADOPAGO:
            return f"mp:{self.payment.provider_id}:refund:{transaction}"
        return charge_key(self.payment, transaction)

    def _post_success(self, refund: RefundItem, made: ProviderRefund, commission: int) -> None:
        """Put it; what was moved in another currency is kept on the refund."""
        charge = charge_of(self.payment)
        key = self._refund_key(made.balance_transaction or made.id)
        tax = self._commission_tax_back(commission)
        from_payee = self._from_payee(made) if charge.destination else made.amount
        posting = ledger.refund_succeeded(
            charge, key, made.amount, commission, tax, from_payee=from_payee
        )
        owed = self.number("owed_to_payee")
        self.set("owed_to_payee", owed - (made.amount - from_payee))
        legs, returned = self._refund_legs(made.legs)
        self.move(posting, legs)
        refund.fx = _kept(legs, returned, made.legs) if legs and made.legs else None

    def _from_payee(self, made: ProviderRefund) -> int:
        """What of a destination charge's refund was taken from the payee, as the provider says.

        Where it does not, what a refund that failed has left with the platform is used first.
        """
        if made.reversed is not None:
            return made.reversed
        return made.amount - min(made.amount, max(self.number("owed_to_payee"), 0))

    def _failure_legs(self, refund: RefundItem, made: ProviderRefund) -> Legs | None:
        """What a failed refund brings back, at the rate of that day, to the balance that paid."""
        if not refund.fx:
            return None
        side = "platform" if self.payment.destination else "payee"
        if refund.fx[side]["currency"] == self.payment.currency:
            # It was paid, and came back, in its own: only the payee's part was exchanged.
            return None
        back = made.came_back or int(refund.fx["paid"])
        leg = Leg(refund.fx[side]["currency"], back)
        return Legs(platform=leg) if self.payment.destination else Legs(payee=leg)

    def _went_back(self, refund: RefundItem, amount: int, commission: int) -> None:
        self.set("refunded", self.number("refunded") + amount)
        self.set("commission_returned", self.number("commission_returned") + commission)
        refund.commission = commission
        refund.local_date = local_day(now(), self.payment.zone).isoformat()

    def _change_refund(self, refund: RefundItem, **values: Any) -> None:
        stored = stored_values(refund, values)
        self.parts.append(table.change(refund, self.by, set_=stored))


# ---------------------------------------------------------------- another currency, as it is kept


def _fx(exchange: Exchange) -> dict[str, Any]:
    return {
        "currency": exchange.currency,
        "amount": exchange.amount,
        "fee": exchange.fee,
        "rate": exchange.rate,
        "commission": exchange.commission,
        "commission_returned": 0,
    }


def _with_fee(charge: Charge, exchange: Exchange) -> Legs:
    """What came to the balances, and the provider's fee at the one that it was taken from."""
    ours, theirs = exchange.platform, exchange.payee
    if charge.destination:
        return Legs(replace(ours, fee=exchange.fee), theirs)
    return Legs(ours, replace(theirs, fee=exchange.fee))


def _told_of(refund: RefundItem) -> dict[str, Any]:
    """What a refund keeps of what it has moved, nothing where it has moved nothing."""
    names = ("commission", "local_date", "fx")
    return {name: value for name in names if (value := getattr(refund, name)) is not None}


def _kept(legs: Legs, returned: int, told: Legs) -> dict[str, Any]:
    sides = {"platform": legs.platform, "payee": legs.payee}
    kept = {side: {"currency": leg.currency, "net": leg.net} for side, leg in sides.items() if leg}
    return {**kept, "commission": returned, "paid": told.paid}
