"""Paying for an appointment or a package: through a provider, or by hand to a member.

Amount, currency and commission come from our own records. The payment and its operation are
written before the provider hears of them; what the provider answers is then applied like any other
reading (:mod:`consulta.money.paying.effects`).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from consulta.core import ids, table
from consulta.core.errors import Conflict, Invalid, NotFound
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.time import local_day, now
from consulta.money import currencies, rates
from consulta.money.accounts import payees
from consulta.money.appointments import authorizing
from consulta.money.paying import checkouts, effects, operations, paid_for, parts, payment_views
from consulta.money.paying.changes import Change
from consulta.money.paying.effects import Result, Seen
from consulta.money.paying.operations import Kind, OperationItem
from consulta.money.paying.orders import Order, load, make_payment, payee_of, payment_id_of
from consulta.money.paying.parts import PaidFor, Part, Share
from consulta.money.paying.placing import pay_for
from consulta.money.provider import Operation, PaymentDetails, ProviderPayment, ReturnUrls
from consulta.money.providers import provider_for
from consulta.money.records import PAYEE, PayeeItem, PaymentItem, Provider, State
from consulta.money.schema.payments import (
    CheckoutUrls,
    ManualPaymentRequest,
    Payment,
    PaymentDetail,
    PaymentRequest,
    StartedPayment,
)
from consulta.money.stripe.provider import is_direct
from consulta.scheduling.records import AppointmentItem

DEADLINE_S = 12.0
# Taken by hand and recorded later, but not from another year.
OLDEST_RECEIPT = timedelta(days=366)
# Methods that need no card token; all others of Mercado Pago's are refused. Vouchers (OXXO, boleto)
# outlive every hold and cannot be refunded.
WITHOUT_TOKEN = frozenset({"pix"})
_UNDER_WAY = frozenset({State.OPEN, State.PROCESSING, State.AUTHORIZED})
_ACCOUNT = {Provider.STRIPE: "stripe_account", Provider.MERCADOPAGO: "mercadopago_user"}


def get(by: Principal, payment_id: str) -> PaymentDetail:
    """One payment with its refunds. Raises NotFound."""
    return payment_views.detail(by, payment_views.load(by, payment_id))


# ---------------------------------------------------------------- through a provider


def create(by: Principal, body: PaymentRequest, key: str | None) -> StartedPayment:
    """Start paying for an appointment or a package, or go on with the payment that is open.

    Raises NotFound, Invalid, ProviderFailed, and Conflict where the payee cannot take charges, or
    it is not to be paid, is paid, or its hold has ended.
    """
    tenant, provider = by.tenant, Provider(body.provider)
    details = _details(body)
    once = Idempotent.of(tenant, by.person, key, body)
    part = Part(body.part) if body.part else None
    for _ in table.attempts(DEADLINE_S):
        if once.result:
            return _go_on(by, load(tenant, once.result), details)
        wanted = paid_for.wanted(by, body)
        # What was asked for stays that, should the deposit be paid meanwhile.
        part = part or _next_part(wanted, details)
        share = parts.share_of(wanted, part)
        paid_for.check_payable(wanted, part)
        authorizing.check_approved(wanted, provider)
        payee = _payee(tenant, wanted.expert_id, provider)
        order = Order.read(tenant, wanted.order_id)
        known = _open_one(order, wanted, share, payee, provider, by, details)
        draft = None if known else _Draft.of(by, wanted, share, payee, provider, details)
        payment = known or (draft.payment if draft else None)
        if payment is None:  # one of the two is there
            raise NotFound
        actions = [*(draft.actions(order) if draft else []), *once.actions(payment.item_id)]
        try:
            if actions:
                table.transact(actions)
        except table.ConditionFailed:
            once = once.again()
            continue
        return (
            _submitted(by, payment, draft.operation, details)
            if draft
            else _go_on(by, payment, details)
        )
    raise AssertionError("attempts ends by raising Busy")


def _next_part(wanted: PaidFor, details: PaymentDetails) -> Part:
    """What is asked for next. Raises Conflict where a remainder would be taken without a word.

    Mercado Pago takes the money in the request itself: a deposit that is sent a second time must
    not become the rest.
    """
    part = parts.due_part(wanted)
    if part is Part.REMAINDER and details.method:
        raise Conflict(
            "The deposit is paid: say that it is the remainder that is to be paid now",
            extra={"code": "say_remainder", "payment_status": str(wanted.payment_status)},
        )
    return part


def _details(body: PaymentRequest) -> PaymentDetails:
    if body.checkout is not None:
        return _on_page(body, body.checkout)
    if Provider(body.provider) is Provider.MERCADOPAGO:
        for name in ("payment_method_id", "payer_email"):
            if not getattr(body, name):
                raise Invalid.of(f"body.{name}", "Mercado Pago needs it", "missing")
        if not body.token and body.payment_method_id not in WITHOUT_TOKEN:
            raise Invalid.of("body.token", "This method needs a card token", "missing")
    return PaymentDetails(
        token=body.token,
        method=body.payment_method_id,
        installments=body.installments,
        payer_email=str(body.payer_email or ""),
    )


def _on_page(body: PaymentRequest, urls: CheckoutUrls) -> PaymentDetails:
    for name in ("token", "payment_method_id"):
        if getattr(body, name):
            raise Invalid.of(f"body.{name}", "On its page the provider asks for it", "both")
    asked = {"success": str(urls.success_url), "cancel": str(urls.cancel_url)}
    checkouts.check_urls({f"body.checkout.{name}_url": url for name, url in asked.items()})
    return PaymentDetails(payer_email=str(body.payer_email or ""), checkout=ReturnUrls(**asked))


def _payee(tenant: Tenant, expert_id: str, provider: Provider) -> PayeeItem:
    """The expert with an account of their own at this provider, else the practice."""
    keys = [tenant.item(PAYEE, payee_id) for payee_id in (expert_id, tenant.practice)]
    found = table.batch_get_raw(keys)
    account = _ACCOUNT[provider]
    for payee in (PayeeItem.read(found[key]) for key in keys if key in found):
        if not getattr(payee, account):
            continue
        if provider is Provider.STRIPE and not payee.charges_enabled:
            raise Conflict("The payee's account cannot take charges yet")
        return payee
    raise Conflict(f"Nobody has connected {provider} to be paid through")


def _open_one(
    order: Order,
    wanted: PaidFor,
    share: Share,
    payee: PayeeItem,
    provider: Provider,
    by: Principal,
    details: PaymentDetails,
) -> PaymentItem | None:
    """The order's payment that is under way with this provider, if it is still the right one."""
    for payment in order.payments():
        if payment.provider != provider or payment.state not in _UNDER_WAY:
            continue
        account = _account(payee, provider)
        now_due = (share.part, share.amount, wanted.currency, payee.item_id, account)
        has = (payment.part, payment.amount, payment.currency, payment.payee_id)
        same = (*has, payment.provider_account) == now_due
        # What is on its way already is gone on with, however it was begun.
        begun = payment.state != State.OPEN
        same_way = bool(payment.checkout) is (details.checkout is not None)
        if same and (begun or (same_way and not checkouts.is_over(payment))):
            return payment
        effects.stop(payment, by.actor)
    return None


def _account(payee: PayeeItem, provider: Provider) -> str:
    return str(getattr(payee, _ACCOUNT[provider]))


def _terms(wanted: PaidFor, share: Share, provider: Provider) -> dict[str, Any]:
    """What a payment of this part is for, and what the platform has of it.

    What was agreed for the deposit holds for the rest. Of what is taken by hand we have a part only
    where the rate says so.
    """
    tenant = wanted.tenant
    before = _deposit(wanted) if share.part is Part.REMAINDER else None
    rate = parts.agreed_rate(before)
    if rate is None:
        practice, known_rates = rates.read(tenant)
        today = local_day(now(), practice.zone)
        rate = rates.table_of(practice, known_rates).chosen(
            wanted.service_id, wanted.currency, today
        )
    terms: dict[str, Any] = {"part": str(share.part), "amount": share.amount, "tax": share.tax}
    if provider is Provider.MANUAL and not rate.on_manual:
        return terms
    commission, tax = parts.commission_of(rate, share.amount, provider, wanted.currency, before)
    return {**terms, "commission": commission, "commission_tax": tax, "rate": rate.to_stored()}


def _deposit(wanted: PaidFor) -> PaymentItem | None:
    """The payment of the deposit, where it is paid."""
    paid = wanted.deposit_payment_id if isinstance(wanted, AppointmentItem) else None
    return load(wanted.tenant, paid) if paid else None


@dataclass(frozen=True, slots=True)
class _Draft:
    """A new payment with its first operation, before either is written."""

    payment: PaymentItem
    operation: OperationItem
    wanted: PaidFor
    # Keeps the hold as long as it can be paid.
    extension: list[table.Action]

    @classmethod
    def of(
        cls,
        by: Principal,
        wanted: PaidFor,
        share: Share,
        payee: PayeeItem,
        provider: Provider,
        details: PaymentDetails,
    ) -> "_Draft":
        """Amount, currency and commission are our records', whatever the caller has sent."""
        tenant = by.tenant
        currencies.check(provider, share.amount, wanted.currency)
        terms = _terms(wanted, share, provider)
        direct = provider is Provider.MERCADOPAGO or is_direct(payee.controller)
        fees = (payee.controller or {}).get("fees", {}).get("payer")
        stripe = provider is Provider.STRIPE
        manual_capture = stripe and authorizing.waits_for_approval(wanted)
        lasting = checkouts.terms(wanted, payee, provider, details, manual_capture=manual_capture)
        operation_id = ids.new_id("op")
        payment = make_payment(
            tenant,
            by.actor,
            **paid_for.attributes(wanted),
            **lasting.values,
            payee_id=payee.item_id,
            provider=str(provider),
            provider_account=_account(payee, provider),
            manual_capture=manual_capture,
            **terms,
            destination=not direct,
            platform_pays_fees=stripe and (not direct or fees == "application"),
            operation_id=operation_id,
        )
        operation = operations.new(
            tenant,
            payment.item_id,
            operation_id,
            Kind.START,
            by.actor,
            sent=operations.digest(details),
        )
        return cls(payment, operation, wanted, lasting.extension(wanted, by.actor))

    def actions(self, order: Order) -> list[table.Action]:
        """All or nothing, while what is paid for is as it was read."""
        unchanged = table.check(
            self.wanted.key,
            "#version = :version",
            names={"#version": "version"},
            values={":version": int(self.wanted.version)},
            label="paid for",
        )
        return [
            table.put_new(self.payment),
            table.put_new(self.operation),
            *order.add(self.payment.item_id),
            # Extending the hold is a change of the same version.
            *(self.extension or [unchanged]),
        ]


def _submitted(
    by: Principal, payment: PaymentItem, operation: OperationItem, details: PaymentDetails
) -> StartedPayment:
    """Send an operation for the first time."""
    if payment.checkout:
        return checkouts.begin(by, payment, operation, details)
    reading = provider_for(payment.provider).start(
        operations.first(operation), payment, payee_of(payment), details
    )
    return _applied(by, payment, reading)


def _applied(by: Principal, payment: PaymentItem, reading: ProviderPayment) -> StartedPayment:
    seen = Seen(payment, reading)
    result = effects.refresh(by.tenant, payment.item_id, by.actor, seen=seen)
    return _answer(by, result)


def _answer(by: Principal, result: Result) -> StartedPayment:
    if result.problem:
        raise Conflict(
            "The provider took something else than was asked for", extra={"code": result.problem}
        )
    return payment_views.started(by, result.payment, result.reading)


def _go_on(by: Principal, payment: PaymentItem, details: PaymentDetails) -> StartedPayment:
    """With a payment that was made before: as far as it came, or with another card."""
    if payment.state not in _UNDER_WAY:
        return payment_views.started(by, payment, None)
    if payment.checkout:
        return checkouts.go_on(by, payment, details, _resubmitted)
    return _go_on_directly(by, payment, details)


def _go_on_directly(by: Principal, payment: PaymentItem, details: PaymentDetails) -> StartedPayment:
    result = None
    if payment.provider_id is not None:
        result = effects.refresh(by.tenant, payment.item_id, by.actor)
        payment = result.payment
    operation = operations.find(by.tenant, payment.item_id, str(payment.operation_id))
    same = operation is not None and operation.digest == operations.digest(details)
    if result and not (
        payment.provider_id == result.reading.id and _is_of_another(payment, result.reading)
    ):
        if payment.provider == Provider.MERCADOPAGO and payment.failure_code and not same:
            return _resubmitted(by, payment, details)
        return _answer(by, result)

    payee, adapter = payee_of(payment), provider_for(payment.provider)

    def lookup() -> ProviderPayment | None:
        found = [made for made in adapter.find(payment, payee) if _unclaimed(payment, made)]
        if same:
            found = [one for one in found if not _is_of_another(payment, one)]
        return max(found, key=lambda made: made.state is State.SUCCEEDED, default=None)

    def send(operation: Operation) -> ProviderPayment:
        return adapter.start(operation, payment, payee, details)

    if operation is not None and same:
        reading = operations.again(operation, by.actor, lookup, send)
        return _applied(by, payment, reading)
    made = lookup()
    if made is not None:
        return _applied(by, payment, made)
    if operation is not None and operations.in_flight(operation):
        raise Conflict("A payment is being made at this moment: try again in a minute")
    return _resubmitted(by, payment, details)


def _is_of_another(payment: PaymentItem, reading: ProviderPayment) -> bool:
    """Whether it is a submission's before the last one, and came to nothing.

    What became of the last one, an answer that never came, is not known then.
    """
    earlier = reading.operation not in ("", payment.operation_id)
    return bool(earlier and reading.failure_code)


def _unclaimed(payment: PaymentItem, made: ProviderPayment) -> bool:
    return payment_id_of(payment.tenant, payment.provider, made.id) is None


def _resubmitted(by: Principal, payment: PaymentItem, details: PaymentDetails) -> StartedPayment:
    """Another submission for the same payment: a new operation, and so a new key (rules §6)."""
    operation = operations.new(
        by.tenant,
        payment.item_id,
        ids.new_id("op"),
        Kind.START,
        by.actor,
        sent=operations.digest(details),
    )
    wanted, provider = paid_for.of(payment), Provider(payment.provider)
    lasting = checkouts.terms(
        wanted, payee_of(payment), provider, details, manual_capture=bool(payment.manual_capture)
    )
    change = Change(payment, by.actor)
    change.set("operation_id", operations.id_of(operation))
    for name, value in lasting.values.items():
        change.set(name, value)
    extension = lasting.extension(wanted, by.actor)
    try:
        table.transact([*change.actions(), table.put_new(operation), *extension])
    except table.ConditionFailed:
        raise Conflict("A payment is being made at this moment: read it again") from None
    return _submitted(by, load(by.tenant, payment.item_id), operation, details)


# ---------------------------------------------------------------- by hand


def record(by: Principal, body: ManualPaymentRequest, key: str | None) -> Payment:
    """Cash or a transfer that a member has taken: it is paid, and confirmed if it was held.

    What the expert approves first waits for that, paid. Payments that are open at a provider are
    cancelled first. Raises NotFound, Invalid, Conflict, SlotTaken, ProviderFailed.
    """
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    for _ in table.attempts(DEADLINE_S):
        if once.result:
            return payment_views.payment(by, load(tenant, once.result))
        wanted = paid_for.wanted(by, body)
        share = _received(body, wanted)
        order = Order.read(tenant, wanted.order_id)
        if _stop_open(order, by):
            continue
        payee = payees.payee_for(tenant, wanted.expert_id)
        payment = make_payment(
            tenant,
            by.actor,
            **paid_for.attributes(wanted),
            payee_id=payee.item_id if payee else tenant.practice,
            provider=str(Provider.MANUAL),
            method=body.method,
            **_terms(wanted, share, Provider.MANUAL),
            notes=body.notes or None,
        )
        change = Change(payment, by.actor, is_new=True)
        change.take_by_hand(body.received_at)
        placed = pay_for(change, wanted)
        actions = [
            *change.actions(),
            *placed,
            *order.add(payment.item_id),
            *once.actions(payment.item_id),
        ]
        try:
            table.transact(actions)
        except table.ConditionFailed:
            once = once.again()
            continue
        return payment_views.payment(by, payment)
    raise AssertionError("attempts ends by raising Busy")


def _received(body: ManualPaymentRequest, wanted: PaidFor) -> Share:
    """The part that was taken. Raises Invalid."""
    if body.amount.currency != wanted.currency:
        raise Invalid.of("body.amount.currency", f"The price is in {wanted.currency}")
    taken = body.amount.amount
    share = parts.share_of(wanted, Part(body.part)) if body.part else parts.of_amount(wanted, taken)
    as_much = share and share.part is Part.REMAINDER and taken == parts.deposit_of(wanted)
    if as_much and not body.part:
        # A deposit that is recorded a second time must not become the rest.
        message = "The deposit is as much, and is paid: say that it is the remainder"
        raise Invalid.of("body.part", message, "missing")
    if share is None or share.amount != taken:
        raise Invalid.of("body.amount.amount", "Not what is due", "amount")
    today = local_day(now(), wanted.zone)
    if not today - OLDEST_RECEIPT <= body.received_at <= today:
        raise Invalid.of("body.received_at", "Not a day of the last year up to today", "range")
    return share


def _stop_open(order: Order, by: Principal) -> bool:
    """Cancel what is open at providers; whether there was anything."""
    stopped = False
    for payment in order.payments():
        if payment.state in _UNDER_WAY:
            if effects.stop(payment, by.actor).state == State.PROCESSING:
                raise Conflict("A payment of it is still being processed")
            stopped = True
    return stopped
