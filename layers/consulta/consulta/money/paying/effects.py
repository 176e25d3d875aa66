"""Bringing a payment to what the provider says, and asking the provider to give money back.

Source: MONEY_AND_BOOKING_RULES §1 and §4. Freshness, not rank: our payment at a version, then the
provider, then one transaction that holds for that version only, else both are read again. So it
does not matter in which order, or how often, anything is heard of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from consulta.core import table
from consulta.core.errors import NotFound, Problem, ProviderFailed
from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant, parse_item, tenant_of
from consulta.core.observe import count, logger, trouble
from consulta.core.time import now
from consulta.money.appointments import authorizing
from consulta.money.appointments.authorizing import Verdict
from consulta.money.paying import checkout_pages, operations, paid_for
from consulta.money.paying.changes import Change
from consulta.money.paying.operations import Kind
from consulta.money.paying.orders import Order, claim, load, new_payment, payee_of, payment_id_of
from consulta.money.paying.readings import Plan
from consulta.money.provider import (
    Operation,
    PaymentProvider,
    ProviderPayment,
    ProviderRefund,
)
from consulta.money.providers import provider_for
from consulta.money.records import REFUND, PaymentItem, Provider, RefundItem, RefundState, State

DEADLINE_S = 12.0
# Money that is not released so long after it was to be is looked after by a person.
RELEASE_GIVE_UP = timedelta(days=30)
# A refund that no provider took for so long has failed.
GIVE_UP = timedelta(days=3)
# What goes into the same transaction besides; it is told the problem, or "".
Closing = Callable[[str], list[table.Action]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A reading of the provider that is newer than our payment as it was read."""

    payment: PaymentItem
    reading: ProviderPayment


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. ``problem`` is a code where the money is not what we asked for."""

    tenant: Tenant
    payment_id: str
    reading: ProviderPayment
    problem: str = ""

    @property
    def payment(self) -> PaymentItem:
        """The payment as it is by now: read each time, for who asks."""
        return load(self.tenant, self.payment_id)


def refresh(
    tenant: Tenant,
    payment_id: str,
    by: Actor,
    *,
    payment: PaymentItem | None = None,
    seen: Seen | None = None,
    provider_id: str = "",
    also_made: tuple[ProviderRefund, ...] = (),
    closing: Closing = lambda _: [],
) -> Result:
    """Bring a payment to what the provider says, in one transaction with all that follows.

    ``payment`` is ours where it was read just now, to be read no second time. ``provider_id`` names
    the provider's payment where it may be another than the one that we know.
    ``also_made``: refunds that the provider has just confirmed. Refunds that have to be made are
    written as requested and then sent (:mod:`consulta.money.paying.refunds`). Raises
    ProviderFailed, NotFound, and Busy where others kept changing it.
    """
    for _ in table.attempts(DEADLINE_S):
        if seen is None:
            payment = payment or load(tenant, payment_id)
            adapter = provider_for(payment.provider)
            reading = _read(adapter, payment, provider_id or str(payment.provider_id))
        else:
            payment, reading = seen.payment, seen.reading
        if _is_second(payment, reading):
            second = _split(payment, reading, by)
            return refresh(tenant, second, by, closing=closing)
        plan = Plan(Change(payment, by), reading, also_made, ours=seen is not None)
        plan.make()
        parts = plan.parts + closing(plan.problem)
        try:
            if parts:
                table.transact(parts)
        except table.ConditionFailed as failed:
            if "inbox" in failed.labels:
                return Result(tenant, payment_id, reading)
            payment = seen = None
            continue
        plan.announce()
        for refund_id in plan.change.refunds:
            try_send(tenant, refund_id, by)
        if plan.change.settles:
            try_settle(tenant, payment_id, by)
        return Result(tenant, payment_id, reading, plan.problem)
    raise AssertionError("attempts ends by raising Busy")


def _read(adapter: PaymentProvider, payment: PaymentItem, provider_id: str) -> ProviderPayment:
    """The provider's payment as it is now; how ours has settled is known, and stays."""
    known = payment.settled and provider_id == payment.provider_id
    exchanged = bool(payment.fx) if known else None
    return adapter.read(provider_id, payee_of(payment), exchanged=exchanged)


def reread(payment: PaymentItem, by: Actor) -> PaymentItem:
    """Bring a payment to what the provider says; the payment as it is then.

    One that is made on a page may have several at the provider, and until somebody has tried to
    pay none at all. Raises ProviderFailed.
    """
    if payment.checkout:
        _look(payment, by)
    elif payment.provider_id is not None:
        return refresh(payment.tenant, payment.item_id, by).payment
    return load(payment.tenant, payment.item_id)


def _look(payment: PaymentItem, by: Actor) -> None:
    """Hear of everything that was made for a payment, and is not only open."""
    for made in provider_for(payment.provider).find(payment, payee_of(payment)):
        if made.state is not State.OPEN:
            refresh(payment.tenant, payment.item_id, by, provider_id=made.id)


# ---------------------------------------------------------------- two for one order


def _is_second(payment: PaymentItem, reading: ProviderPayment) -> bool:
    """Another provider payment of ours was paid already: this one is refunded by itself."""
    return bool(
        payment.captured and reading.id != payment.provider_id and reading.state is State.SUCCEEDED
    )


def _split(payment: PaymentItem, reading: ProviderPayment, by: Actor) -> str:
    """A payment of its own for a second approval; its id, however often it is asked for."""
    tenant = payment.tenant
    for _ in table.attempts(DEADLINE_S):
        known = payment_id_of(tenant, payment.provider, reading.id)
        if known and known != payment.item_id:
            return known
        second = new_payment(
            tenant, payment, by, provider_id=reading.id, amount=int(payment.amount)
        )
        order = Order.read(tenant, payment.order_id)
        try:
            table.transact(
                [
                    table.put_new(second),
                    *order.add(second.item_id),
                    claim(
                        tenant,
                        payment.provider,
                        reading.id,
                        second.item_id,
                        instead_of=payment.item_id,
                    ),
                ]
            )
        except table.ConditionFailed:
            continue
        return str(second.item_id)
    raise AssertionError("attempts ends by raising Busy")


# ---------------------------------------------------------------- released money


def resume_release(key: Key, by: Actor) -> bool:
    """The sweep's work when a provider wanted to release a payment's money: hear whether it has.

    False where it has to be asked again. Raises ProviderFailed.
    """
    tenant, (_, payment_id) = tenant_of(key.pk), parse_item(key.pk)
    payment = load(tenant, payment_id)
    if payment.released:
        return True
    payment = refresh(tenant, payment_id, by).payment
    due_at = payment.release_at
    if payment.released or due_at is None or due_at > now():
        # Of a later time there is a row of its own.
        return True
    if now() - due_at < RELEASE_GIVE_UP:
        return False
    logger.error("money was not released", extra={"payment": payment_id})
    trouble("ReleasesMissing")
    return True


# ---------------------------------------------------------------- giving money back


def find_refund(tenant: Tenant, refund_id: str) -> RefundItem:
    """One refund, consistently. Raises NotFound."""
    refund = table.get(RefundItem, tenant.item(REFUND, refund_id))
    if refund is None:
        raise NotFound
    return refund


def try_send(tenant: Tenant, refund_id: str, by: Actor) -> None:
    """Ask the provider for a refund that was just requested; what fails is left to the sweep."""
    try:
        refund = find_refund(tenant, refund_id)
        if refund.state == RefundState.REQUESTED:
            _send(refund, by, fresh=True)
    except Problem as problem:
        logger.warning("refund not sent yet", extra={"refund": refund_id, "why": problem.type})
        count("RefundsPostponed")


def resume(key: Key, by: Actor) -> bool:
    """The sweep's work on a requested refund: send it, or hear what became of it.

    False where it has to be asked again. Raises ProviderFailed.
    """
    tenant, (_, refund_id) = tenant_of(key.pk), parse_item(key.pk)
    refund = find_refund(tenant, refund_id)
    if refund.state != RefundState.REQUESTED:
        return True
    try:
        _send(refund, by, fresh=False)
    except ProviderFailed:
        if now() - refund.created_at < GIVE_UP:
            raise
        _fail(refund, by)
    return find_refund(tenant, refund_id).state != RefundState.REQUESTED


def _send(refund: RefundItem, by: Actor, *, fresh: bool) -> None:
    tenant = refund.tenant
    payment = load(tenant, refund.payment_id)
    payee, adapter = payee_of(payment), provider_for(payment.provider)
    operation = operations.find(tenant, payment.item_id, refund.item_id)
    if operation is None:
        raise NotFound

    def send(operation: Operation) -> ProviderRefund:
        return adapter.refund(operation, payment, payee, int(refund.amount))

    def lookup() -> ProviderRefund | None:
        result = refresh(tenant, payment.item_id, by)
        state = find_refund(tenant, refund.item_id)
        made = (m for m in result.reading.refunds if m.operation == refund.item_id)
        known = (m for m in result.reading.refunds if m.id == state.provider_id)
        return next(made, None) or next(known, None)

    made = (
        send(operations.first(operation))
        if fresh
        else operations.again(operation, by, lookup, send)
    )
    refresh(tenant, payment.item_id, by, also_made=(made,))


def _fail(refund: RefundItem, by: Actor) -> None:
    payment = load(refund.tenant, refund.payment_id)
    change = Change(payment, by)
    change.refund_failed(refund, ProviderRefund("", int(refund.amount), RefundState.FAILED))
    table.transact(change.actions())
    logger.error("a refund was given up", extra={"refund": refund.item_id})
    trouble("RefundsFailed")


# ---------------------------------------------------------------- what is only authorized


def try_settle(tenant: Tenant, payment_id: str, by: Actor) -> None:
    """Capture an authorization, or let it go; what fails is left to the sweep."""
    try:
        settle_authorization(load(tenant, payment_id), by)
    except Problem as problem:
        logger.warning(
            "authorization not settled yet", extra={"payment": payment_id, "why": problem.type}
        )
        count("AuthorizationsPostponed")


def settle_authorization(payment: PaymentItem, by: Actor) -> PaymentItem:
    """Do what its appointment asks for with an authorization; the payment as it is then.

    Raises ProviderFailed.
    """
    if payment.state != State.AUTHORIZED:
        return payment
    wanted = paid_for.of(payment)
    verdict = authorizing.verdict(payment, wanted)
    if authorizing.waits_for_approval(wanted):
        # Whoever is still only held by now was not given the time: it was lost.
        verdict = Verdict.VOID
    match verdict:
        case Verdict.CAPTURE:
            return capture(payment, by)
        case Verdict.VOID:
            return stop(payment, by)
        case Verdict.WAIT:
            return payment


def capture(payment: PaymentItem, by: Actor) -> PaymentItem:
    """Take what is authorized; the payment as it is then, which may be cancelled by its bank.

    Raises ProviderFailed.
    """
    payee, adapter = payee_of(payment), provider_for(payment.provider)

    def send(operation: Operation) -> ProviderPayment:
        return adapter.capture(operation, str(payment.provider_id), payee)

    def lookup() -> ProviderPayment | None:
        reading = adapter.read(str(payment.provider_id), payee)
        return None if reading.state is State.AUTHORIZED else reading

    # One for all time: a payment is captured once.
    operation_id = f"{payment.item_id}-capture"
    reading = _asked(payment, operation_id, Kind.CAPTURE, by, lookup, send)
    return refresh(payment.tenant, payment.item_id, by, seen=Seen(payment, reading)).payment


def _asked(
    payment: PaymentItem,
    operation_id: str,
    kind: Kind,
    by: Actor,
    lookup: Callable[[], ProviderPayment | None],
    send: Callable[[Operation], ProviderPayment],
) -> ProviderPayment:
    """Persist an operation, then send it; one that is known is gone on with."""
    operation = operations.new(payment.tenant, payment.item_id, operation_id, kind, by)
    try:
        table.transact([table.put_new(operation)])
    except table.ConditionFailed as known:
        sent = operations.OperationItem.read(known.old) if known.old else operation
        return operations.again(sent, by, lookup, send)
    return send(operations.first(operation))


# ---------------------------------------------------------------- calling a payment off


def stop(payment: PaymentItem, by: Actor) -> PaymentItem:
    """Cancel an open payment at its provider; what it is then, which may be succeeded.

    A page is closed to payers before anything else, and its payments read after that. Raises
    ProviderFailed.
    """
    tenant, payment_id = payment.tenant, payment.item_id
    if payment.checkout:
        payment = checkout_pages.shut(payment, by)
        if payment.state == State.OPEN:
            # What was tried there in vain ends with the page, and cannot be cancelled by itself.
            return _close(payment, by)
        if payment.provider == Provider.STRIPE and payment.state == State.PROCESSING:
            # Neither can what is being processed.
            return reread(payment, by)
    declined = payment.provider == Provider.MERCADOPAGO and bool(payment.failure_code)
    if payment.provider_id is None or declined:
        return _close(payment, by)
    payee, adapter = payee_of(payment), provider_for(payment.provider)

    def send(operation: Operation) -> ProviderPayment:
        return adapter.cancel(operation, str(payment.provider_id), payee)

    # One per version: whoever asks again meanwhile goes on with the same operation.
    operation_id = f"{payment_id}-v{int(payment.version)}"
    reading = _asked(payment, operation_id, Kind.CANCEL, by, lambda: None, send)
    return refresh(tenant, payment_id, by, seen=Seen(payment, reading)).payment


def _close(payment: PaymentItem, by: Actor) -> PaymentItem:
    """Nothing of it is open that we know of: look once more, then close ours."""
    tenant, payment_id = payment.tenant, payment.item_id
    _look(payment, by)
    for _ in table.attempts(DEADLINE_S):
        current = load(tenant, payment_id)
        if current.state != State.OPEN:
            return current
        change = Change(current, by)
        change.set("state", str(State.CANCELLED))
        try:
            table.transact(change.actions())
        except table.ConditionFailed:
            continue
    raise AssertionError("attempts ends by raising Busy")
