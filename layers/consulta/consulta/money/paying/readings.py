"""What one reading of the provider means for one payment as it was read.

Source: MONEY_AND_BOOKING_RULES §1, §2 and §4. Nothing is written here: a :class:`Plan` gathers the
parts of one transaction, which :mod:`consulta.money.paying.effects` writes.
"""

from dataclasses import dataclass, field, replace

from consulta.core import table
from consulta.core.observe import logger, trouble
from consulta.money.appointments.authorizing import authorized
from consulta.money.books import ledger
from consulta.money.paying.changes import Change, charge_key, charge_of
from consulta.money.paying.orders import claim, refunds_of
from consulta.money.paying.placing import keep_hold, place, show_on_appointment
from consulta.money.provider import ProviderPayment, ProviderRefund
from consulta.money.records import PaymentItem, Provider, RefundItem, RefundState, State


@dataclass
class Plan:
    """One reading, one payment. ``problem`` is a code where the money is not what we asked for."""

    change: Change
    reading: ProviderPayment
    also_made: tuple[ProviderRefund, ...]
    ours: bool
    parts: list[table.Action] = field(default_factory=list)
    problem: str = ""
    failed_refunds: int = 0

    @property
    def payment(self) -> PaymentItem:
        """The payment as it was read."""
        return self.change.payment

    def make(self) -> None:
        """Gather the parts; none where the reading says nothing new."""
        change, reading = self.change, self.reading
        if not self._adopted():
            return
        placed: list[table.Action] = []
        if change.number("captured"):
            self._paid()
            placed = show_on_appointment(change)
        elif reading.state is State.SUCCEEDED:
            self.problem = _mismatch(self.payment, reading)
            if self.problem:
                self._suspend()
            else:
                change.capture(reading)
                self._paid()
                placed = place(change)
        elif reading.state is State.AUTHORIZED:
            placed = self._authorized()
        else:
            placed = self._unpaid()
        self.parts = [*change.actions(), *placed]

    def _adopted(self) -> bool:
        """Whether the reading is about the attempt that counts, which may be a new one."""
        payment, reading = self.payment, self.reading
        if reading.id == payment.provider_id:
            return True
        newer = reading.state is State.SUCCEEDED or (
            bool(payment.failure_code) and not reading.failure_code
        )
        if payment.captured or not (payment.provider_id is None or self.ours or newer):
            return False
        self.change.set("provider_id", reading.id)
        self.change.parts.append(
            claim(payment.tenant, payment.provider, reading.id, payment.item_id)
        )
        return True

    def _paid(self) -> None:
        self.change.exchange = self.reading.exchange
        self.change.settle(self.reading)
        self._refunded()
        self.change.release(self.reading)

    def _refunded(self) -> None:
        read = {made.id: made for made in self.reading.refunds}
        # What was just confirmed names its operation; the reading may know what it has moved.
        confirmed = {
            made.id: replace(made, legs=made.legs or getattr(read.get(made.id), "legs", None))
            for made in self.also_made
        }
        told = read | confirmed
        if not told:
            return
        ours = refunds_of(self.payment)
        for made in told.values():
            refund = _match(made, ours, Provider(self.payment.provider))
            if refund:
                ours.remove(refund)
                self._refund(refund, made)
            elif made.state is RefundState.SUCCEEDED and not self._is_untold(made):
                self.change.external_refund(made)
            elif made.state is RefundState.FAILED and made.failed_by and not self._is_untold(made):
                self.change.external_refund_failed(made)

    def _refund(self, refund: RefundItem, made: ProviderRefund) -> None:
        moved = made.state is RefundState.SUCCEEDED or bool(made.failed_by)
        if moved and self._is_untold(made):
            return
        match RefundState(refund.state), made.state:
            case RefundState.REQUESTED, RefundState.SUCCEEDED:
                self.change.refund_succeeded(refund, made)
            case ((RefundState.REQUESTED | RefundState.SUCCEEDED), RefundState.FAILED):
                self.change.refund_failed(refund, made)
                self.failed_refunds += 1
            case RefundState.REQUESTED, RefundState.REQUESTED if refund.provider_id is None:
                self.change.parts.append(
                    table.change(refund, self.change.by, set_={"provider_id": made.id})
                )

    def _is_untold(self, made: ProviderRefund) -> bool:
        """Whether it moved money in another currency, and how much is not told yet."""
        return bool(self.change.get("fx")) and made.legs is None

    def _unpaid(self) -> list[table.Action]:
        change, reading = self.change, self.reading
        declined = reading.failure_code if reading.state is State.OPEN else ""
        if declined and declined != self.payment.failure_code:
            change.set("declined", change.number("declined") + 1)
        change.set("failure_code", declined or None)
        change.set("requires_action", reading.requires_action)
        change.set("state", str(reading.state))
        if reading.method:
            change.set("method", reading.method)
        return keep_hold(change)

    def _authorized(self) -> list[table.Action]:
        """Set aside by the bank, and not ours yet."""
        placed = authorized(self.change, self.reading)
        self.change.set("requires_action", False)
        self.change.set("state", str(State.AUTHORIZED))
        if self.reading.method:
            self.change.set("method", self.reading.method)
        return placed

    def _suspend(self) -> None:
        payment, reading = self.payment, self.reading
        if payment.failure_code == self.problem:
            return
        self.change.set("failure_code", self.problem)
        self.change.post(
            ledger.mismatch(
                charge_of(payment),
                charge_key(payment, f"{reading.charge or reading.id}:suspense"),
                reading.currency,
                reading.captured,
            )
        )

    def announce(self) -> None:
        """Counted once it is written; each of these waits for a person."""
        ids_ = {"payment": self.payment.item_id}
        if self.problem:
            logger.error("money is not what we asked for", extra={**ids_, "code": self.problem})
            trouble("PaymentMismatches")
        if self.failed_refunds:
            logger.error("a refund failed", extra=ids_)
            trouble("RefundsFailed", self.failed_refunds)


def _mismatch(payment: PaymentItem, reading: ProviderPayment) -> str:
    if reading.currency != payment.currency:
        return "mismatch_currency"
    if reading.amount != payment.amount or reading.captured != payment.amount:
        return "mismatch_amount"
    return "" if reading.account == payment.provider_account else "mismatch_account"


def _match(made: ProviderRefund, ours: list[RefundItem], provider: Provider) -> RefundItem | None:
    for refund in ours:
        if refund.item_id == made.operation or refund.provider_id == made.id:
            return refund
    if provider is not Provider.MERCADOPAGO or made.operation:
        return None
    # Its refunds carry no metadata, and only one of ours is under way at a time.
    waiting = (r for r in ours if r.state == RefundState.REQUESTED and r.provider_id is None)
    return next((r for r in waiting if r.amount == made.amount), None)
