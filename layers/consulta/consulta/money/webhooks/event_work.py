"""What each event does, by the work that its type leads to (:mod:`.event_types`).

What an event says is not believed: its object is read again, and the effect is written together
with the row's DONE. Where an effect is several transactions each of them can be repeated, and DONE
comes last.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from consulta.core import table
from consulta.core.keys import Tenant
from consulta.core.observe import count, logger
from consulta.money.accounts import connect, payees
from consulta.money.mercadopago import connections as mercadopago_connections
from consulta.money.paying import effects
from consulta.money.paying.orders import behind
from consulta.money.provider import ProviderPayment
from consulta.money.providers import provider_for
from consulta.money.records import PayeeItem, PaymentItem, Provider
from consulta.money.webhooks.event_types import Work
from consulta.money.webhooks.inbox_rows import MERCADOPAGO_GONE, InboxState, Message, Row

if TYPE_CHECKING:
    from consulta.money.stripe import lookup as stripe_lookup

# A payment of Mercado Pago that is contested may have a chargeback, and does not say which.
CONTESTED = ("charged_back", "in_mediation")


# ---------------------------------------------------------------- by type: Stripe


def _tenant(found: "stripe_lookup.Found | None") -> Tenant | None:
    """The practice that our metadata names; None where it names none of ours.

    Whoever has access to an account can write metadata: it need not even be an id.
    """
    if found is None or not (found.practice and found.payment):
        return None
    try:
        return Tenant(found.practice)
    except ValueError:
        return None


def _stripe_payment(message: Message, row: Row) -> InboxState:
    from consulta.money.stripe import lookup as stripe_lookup  # noqa: PLC0415  # only where a payment's event came

    return _stripe_found(stripe_lookup.find(message["object_id"], message["account"]), row)


def _stripe_found(found: "stripe_lookup.Found | None", row: Row, problem: str = "") -> InboxState:
    tenant = _tenant(found)
    if found is None or tenant is None:
        return row.finish(InboxState.IGNORED, "not_ours")
    payment = behind(tenant, Provider.STRIPE, found.intent, found.payment)
    return _refresh(payment, found.intent, row, problem)


def _stripe_checkout(message: Message, row: Row) -> InboxState:
    """What was paid on a page; nothing to read as long as nobody has tried to."""
    from consulta.money.stripe import lookup as stripe_lookup  # noqa: PLC0415  # only where a page's event came

    found = stripe_lookup.find(message["object_id"], message["account"])
    if found is not None and found.practice and found.payment and not found.intent:
        return row.finish(InboxState.DONE)
    return _stripe_found(found, row)


def _stripe_transfer(message: Message, row: Row) -> InboxState:
    """The payment behind a transfer; FAILED where somebody took money back that we did not ask for.

    Refunds reverse a transfer, and so do we for a dispute; what anybody else reverses, at the
    provider's own desk, is for a person to explain.
    """
    from consulta.money.stripe import lookup as stripe_lookup  # noqa: PLC0415  # only where such an event came

    found = None if message["account"] else stripe_lookup.behind_transfer(message["object_id"])
    unexplained = found is not None and found.unexplained
    return _stripe_found(found, row, "external_reversal" if unexplained else "")


def _stripe_fee(message: Message, row: Row) -> InboxState:
    """The payment behind an application fee; FAILED where more of it went back than is due.

    What is due follows from the refunds, which the event may be ahead of: they are read first.
    """
    from consulta.money.stripe import lookup as stripe_lookup  # noqa: PLC0415  # only where such an event came

    found = None if message["account"] else stripe_lookup.behind_fee(message["object_id"])
    tenant = _tenant(found)
    if found is None or tenant is None:
        return row.finish(InboxState.IGNORED, "not_ours")
    payment = behind(tenant, Provider.STRIPE, found.intent, found.payment)
    if payment is None:
        return row.finish(InboxState.FAILED, "unknown_payment")
    result = effects.refresh(
        tenant, payment.item_id, row.by, payment=payment, provider_id=found.intent
    )
    problem = result.problem or stripe_lookup.fee_problem(found, result.payment)
    return row.finish(InboxState.FAILED if problem else InboxState.DONE, problem)


# ---------------------------------------------------------------- by type: Mercado Pago


def _seller(message: Message) -> PayeeItem | None:
    """The payee whose account a notification is about."""
    owner = payees.owner_of(Provider.MERCADOPAGO, message["account"])
    return payees.find(Tenant(owner.practice), owner.payee) if owner else None


def _mercadopago_payment(message: Message, row: Row) -> InboxState:
    payee = _seller(message)
    if payee is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    return _seller_payment(payee, message["object_id"], message, row)


def _seller_payment(
    payee: PayeeItem, provider_id: str, message: Message, row: Row, problem: str = ""
) -> InboxState:
    tenant = payee.tenant
    reading = provider_for(Provider.MERCADOPAGO).read(provider_id, payee)
    named = reading.payment if _is_ours(tenant, reading) else ""
    payment = behind(tenant, Provider.MERCADOPAGO, provider_id, named)
    if payment is None and not named:
        return row.finish(InboxState.IGNORED, "not_ours")
    if reading.raw.get("status") in CONTESTED and not problem:
        return _contested(payee, payment, provider_id, message, row)
    return _refresh(payment, provider_id, row, problem)


def _contested(
    payee: PayeeItem, payment: PaymentItem | None, provider_id: str, message: Message, row: Row
) -> InboxState:
    """The payment, and then its chargeback, which nobody may have told us of."""
    from consulta.money.mercadopago import disputes as mercadopago_disputes  # noqa: PLC0415  # only where one is contested

    chargeback = mercadopago_disputes.of_payment(provider_id, payee)
    if chargeback is None:
        return _refresh(payment, provider_id, row)
    return _dispute({**message, "object_id": chargeback}, row)


def _mercadopago_order(message: Message, row: Row) -> InboxState:
    """Each payment that was made on one preference; DONE comes after the last of them."""
    from consulta.money.mercadopago import orders as mercadopago_orders  # noqa: PLC0415  # only where one was told

    payee = _seller(message)
    if payee is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    tenant, problem, ours = payee.tenant, "", False
    for provider_id in mercadopago_orders.payments_of(message["object_id"], payee):
        reading = provider_for(Provider.MERCADOPAGO).read(provider_id, payee)
        if not _is_ours(tenant, reading):
            continue
        payment = behind(tenant, Provider.MERCADOPAGO, provider_id, reading.payment)
        if payment is None:
            continue
        ours = True
        result = effects.refresh(
            tenant, payment.item_id, row.by, payment=payment, provider_id=provider_id
        )
        problem = problem or result.problem
    if problem:
        return row.finish(InboxState.FAILED, problem)
    # An order is told of before anything was paid for it.
    return row.finish(InboxState.DONE if ours else InboxState.IGNORED, "" if ours else "not_ours")


def _is_ours(tenant: Tenant, reading: ProviderPayment) -> bool:
    return reading.practice == tenant.practice and bool(reading.payment)


def _mercadopago_claim(message: Message, row: Row) -> InboxState:
    """A claim is a case at the provider, with a person's answer; we read the payment that it is
    about, which says whether anything was refunded or is held."""
    from consulta.money.mercadopago import claims as mercadopago_claims  # noqa: PLC0415  # only where one was told

    payee = _seller(message)
    if payee is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    provider_id = mercadopago_claims.payment_of(message["object_id"], payee)
    if provider_id is None:
        return row.finish(InboxState.IGNORED, "not_ours")
    logger.warning("a claim was opened or changed", extra={"event_id": message["event_id"]})
    count("ClaimsTold")
    return _seller_payment(payee, provider_id, message, row)


def _mercadopago_alert(message: Message, row: Row) -> InboxState:
    """The provider takes a payment for fraud and says "do not deliver": a person has to decide.

    The alert itself is not signed, and the payment that it names is read again. It stays FAILED
    with its reason until somebody has looked: nothing is refunded or called off by itself.
    """
    payee = _seller(message)
    if payee is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    logger.error("a payment may be fraud", extra={"event_id": message["event_id"]})
    count("FraudAlerts")
    return _seller_payment(payee, message["object_id"], message, row, "fraud_alert")


# ---------------------------------------------------------------- the effect, with DONE


def _refresh(
    payment: PaymentItem | None, provider_id: str, row: Row, known: str = ""
) -> InboxState:
    """The effect and DONE in one transaction; FAILED with the code where the money is not right.

    ``known`` is a code that the event itself brings; the money's own goes before it.
    """
    if payment is None:
        return row.finish(InboxState.FAILED, "unknown_payment")

    def closing(problem: str) -> list[table.Action]:
        code = problem or known
        return [row.mark(InboxState.FAILED if code else InboxState.DONE, code)]

    result = effects.refresh(
        payment.tenant,
        payment.item_id,
        row.by,
        payment=payment,
        provider_id=provider_id,
        closing=closing,
    )
    return InboxState.FAILED if result.problem or known else InboxState.DONE


def _stripe_account(message: Message, row: Row) -> InboxState:
    owner = payees.owner_of(Provider.STRIPE, message["account"] or message["object_id"])
    if owner is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    connect.refresh_account(owner.practice, owner.payee, row.by)
    return row.finish(InboxState.DONE)


def _stripe_payout(message: Message, row: Row) -> InboxState:
    from consulta.money.accounts import payout_effects  # noqa: PLC0415  # only where a payout's event came

    holder = payout_effects.holder_of(message["account"])
    if holder is None:
        return row.finish(InboxState.IGNORED, "unknown_account")

    def closing() -> list[table.Action]:
        return [row.mark(InboxState.DONE)]

    payout_effects.refresh(holder, message["object_id"], row.by, closing)
    return InboxState.DONE


def _stripe_balance(message: Message, row: Row) -> InboxState:
    """Many postings, each put once under its own key; DONE comes after the last of them."""
    from consulta.money.accounts import payout_effects  # noqa: PLC0415  # only where such an event came

    holder = payout_effects.holder_of(message["account"])
    if holder is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    payout_effects.take_available(holder, row.by)
    return row.finish(InboxState.DONE)


def _dispute(message: Message, row: Row) -> InboxState:
    from consulta.money.disputes import effects as dispute_effects  # noqa: PLC0415  # only where a dispute's event came

    def closing() -> list[table.Action]:
        return [row.mark(InboxState.DONE)]

    why = dispute_effects.refresh(
        message["provider"], message["object_id"], message["account"], row.by, closing
    )
    if why == "not_ours":
        return row.finish(InboxState.IGNORED, why)
    return row.finish(InboxState.FAILED, why) if why else InboxState.DONE


def _fraud_warning(message: Message, row: Row) -> InboxState:
    from consulta.money.disputes import fraud_warnings  # noqa: PLC0415  # only where such an event came

    def closing() -> list[table.Action]:
        return [row.mark(InboxState.DONE)]

    why = fraud_warnings.refresh(message["object_id"], message["account"], row.by, closing)
    if why == "not_ours":
        return row.finish(InboxState.IGNORED, why)
    return row.finish(InboxState.FAILED, why) if why else InboxState.DONE


def _stripe_gone(message: Message, row: Row) -> InboxState:
    """From the event alone: the account can no longer be read."""
    owner = payees.owner_of(Provider.STRIPE, message["account"]) if message["account"] else None
    if owner is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    connect.disconnect(owner.practice, owner.payee, message["account"], row.by)
    return row.finish(InboxState.DONE)


def _mercadopago_gone(message: Message, row: Row) -> InboxState:
    """``application.authorized`` needs nothing: the consent's code is what connects."""
    if (message.get("payload") or {}).get("action") != MERCADOPAGO_GONE:
        return row.finish(InboxState.IGNORED, "not_needed")
    owner = payees.owner_of(Provider.MERCADOPAGO, message["account"])
    if owner is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    mercadopago_connections.forget(owner.practice, owner.payee, row.by)
    return row.finish(InboxState.DONE)


# ---------------------------------------------------------------- who does which work

# One line each; the types that lead here are in :mod:`consulta.money.webhooks.event_types`.
HANDLERS: dict[Work, Callable[[Message, Row], InboxState]] = {
    Work.PAYMENT: _stripe_payment,
    Work.CHECKOUT: _stripe_checkout,
    Work.DISPUTE: _dispute,
    Work.FRAUD_WARNING: _fraud_warning,
    Work.ACCOUNT: _stripe_account,
    Work.ACCOUNT_GONE: _stripe_gone,
    Work.PAYOUT: _stripe_payout,
    Work.BALANCE: _stripe_balance,
    Work.TRANSFER: _stripe_transfer,
    Work.APPLICATION_FEE: _stripe_fee,
    Work.SELLER_PAYMENT: _mercadopago_payment,
    Work.SELLER_CHARGEBACK: _dispute,
    Work.SELLER_CLAIM: _mercadopago_claim,
    Work.SELLER_FRAUD_ALERT: _mercadopago_alert,
    Work.SELLER_CONNECTION: _mercadopago_gone,
    Work.SELLER_ORDER: _mercadopago_order,
}
