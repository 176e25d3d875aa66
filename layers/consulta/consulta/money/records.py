"""Stored items of money: payment, refund, posting, payee, and the inbox of provider events."""

from enum import StrEnum
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    JSONAttribute,
    ListAttribute,
    NumberAttribute,
    UnicodeAttribute,
)

from consulta.core.item import InstantAttribute, Item, ListedItem, TrackedItem

PAYMENT, REFUND, POSTING, PAYEE, INBOX = "PAYMENT", "REFUND", "POSTING", "PAYEE", "INBOX"
PAYOUT = "PAYOUT"
FRAUD_WARNING = "FRAUD_WARNING"


class Provider(StrEnum):
    """Who moves the money. ``manual`` is cash or a transfer that a member recorded."""

    STRIPE = "stripe"
    MERCADOPAGO = "mercadopago"
    MANUAL = "manual"


class State(StrEnum):
    """What a payment stores (rules §1); refunded and disputed are derived from amounts."""

    OPEN = "open"
    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"


class RefundState(StrEnum):
    """A refund's state."""

    REQUESTED = "requested"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class PaymentItem(TrackedItem):
    """Money from a patient for one order: for an appointment, or for a package.

    All amounts in minor units of ``currency``.

    ``captured`` is what was really taken; ``refunded`` what went back, ``reserved`` what a refund
    under way may still take, ``disputed`` what is contested, ``earned`` what of it has become the
    payee's revenue. ``destination`` and ``platform_pays_fees`` are the charge's type as it was when
    the payment was made; ``declined`` counts refused attempts. ``operation_id`` is the latest
    submission to the provider. ``local_date`` is the practice's calendar day on which it was paid.
    ``checkout`` payments are made on the provider's own page: ``checkout_id`` is the session's or
    preference's id once it is known, ``provider_id`` stays None until somebody has tried to pay
    there. ``payable_until``: when that page, or a Pix code, ends at the provider; both are written
    before the provider hears of them. ``pix_expires_s``: how long a Pix code that Stripe shows for
    it holds; None where Pix is not offered.
    ``tax`` is contained in ``amount``, ``commission_tax`` in ``commission``. ``release_at`` is when
    Mercado Pago wants to release the money, ``released`` that it has: the ledger has it as
    available. ``fx`` is there where the provider has settled in another currency: {"currency",
    "amount", "fee", "rate", "commission", "commission_returned", "platform", "payee"}; amount and
    fee are the charge's there, in minor units of fx's currency; ``platform`` and ``payee`` are
    {"currency", "net"}, what the exchanges have brought to the balance of each so far, before that
    fee; the commissions are in the platform's currency. ``fee`` itself is then 0. A destination
    charge that was converted for its payee alone has its own fee, ``currency``, ``amount`` and
    ``rate`` are the payee's, and ``platform`` what our commission lost, or gained, on its way.
    ``part`` says what of the order it pays: full, deposit or remainder. ``owed_to_payee``: what the
    platform holds of a destination charge's refunds that failed, and has to pass on.
    ``fraud_warning`` is the latest early fraud warning: {"id", "fraud_type", "actionable", "at"}.
    Lists: l1 by UTC month of creation, l2 expert, l3 patient.
    """

    appointment_id = UnicodeAttribute(null=True)
    package_id = UnicodeAttribute(null=True)
    order_id = UnicodeAttribute()
    patient_id = UnicodeAttribute()
    expert_id = UnicodeAttribute()
    service_id = UnicodeAttribute()
    part = UnicodeAttribute(default="full")
    payee_id = UnicodeAttribute()
    provider = UnicodeAttribute()
    method = UnicodeAttribute(null=True)
    state = UnicodeAttribute()
    amount = NumberAttribute()
    tax = NumberAttribute(default=0)
    currency = UnicodeAttribute()
    commission = NumberAttribute(default=0)
    commission_returned = NumberAttribute(default=0)
    commission_tax = NumberAttribute(default=0)
    fee = NumberAttribute(default=0)
    tax_withheld = NumberAttribute(default=0)
    captured = NumberAttribute(default=0)
    refunded = NumberAttribute(default=0)
    reserved = NumberAttribute(default=0)
    disputed = NumberAttribute(default=0)
    owed_to_payee = NumberAttribute(default=0)
    earned = NumberAttribute(default=0)
    settled = BooleanAttribute(default=False)
    fx = JSONAttribute(null=True)
    release_at = InstantAttribute(null=True)
    released = BooleanAttribute(default=False)
    destination = BooleanAttribute(default=False)
    platform_pays_fees = BooleanAttribute(default=False)
    # Only authorized when it is paid: taken once the expert approves, before ``capture_before``.
    manual_capture = BooleanAttribute(default=False)
    capture_before = InstantAttribute(null=True)
    declined = NumberAttribute(default=0)
    # The commission's terms as they were agreed: {"fixed", "percent_bps", "tax_bps", "on_manual",
    # "from", "scope"}.
    rate = JSONAttribute(null=True)
    requires_action = BooleanAttribute(default=False)
    hold_extended = BooleanAttribute(default=False)
    operation_id = UnicodeAttribute(null=True)
    checkout = BooleanAttribute(default=False)
    checkout_id = UnicodeAttribute(null=True)
    payable_until = InstantAttribute(null=True)
    pix_expires_s = NumberAttribute(null=True)
    provider_account = UnicodeAttribute(null=True)
    provider_id = UnicodeAttribute(null=True)
    charge_id = UnicodeAttribute(null=True)
    notes = UnicodeAttribute(null=True)
    failure_code = UnicodeAttribute(null=True)
    fraud_warning = JSONAttribute(null=True)
    paid_at = InstantAttribute(null=True)
    zone = UnicodeAttribute()
    local_date = UnicodeAttribute(null=True)
    read_at = InstantAttribute(null=True)


class RefundItem(ListedItem):
    """Money back to a patient. Its id is also its operation's at the provider (rules §6).

    ``from_revenue`` is the part that had been earned already. ``local_date`` is the practice's day
    on which it succeeded. ``fx``: what it moved where the provider has settled in another currency,
    {"platform": {"currency", "net"}, "payee": {…}, "commission"}, as in its payment's ``fx``.
    """

    payment_id = UnicodeAttribute()
    appointment_id = UnicodeAttribute(null=True)
    package_id = UnicodeAttribute(null=True)
    patient_id = UnicodeAttribute()
    expert_id = UnicodeAttribute()
    service_id = UnicodeAttribute()
    provider = UnicodeAttribute()
    provider_id = UnicodeAttribute(null=True)
    state = UnicodeAttribute()
    amount = NumberAttribute()
    commission = NumberAttribute(default=0)
    from_revenue = NumberAttribute(default=0)
    fx = JSONAttribute(null=True)
    currency = UnicodeAttribute()
    reason = UnicodeAttribute()
    zone = UnicodeAttribute()
    local_date = UnicodeAttribute(null=True)


class FraudWarningItem(Item):
    """That a payment's card issuer suspects it: put once, for whom it has to be told to.

    Its id is Stripe's; what it says, and whether it still asks for something, is on the payment.
    """

    payment_id = UnicodeAttribute()


class PostingItem(ListedItem):
    """One balanced set of ledger entries, put once under its posting key.

    ``entries``: [{"book", "account", "debit", "credit"}, …] in minor units of ``currency``. What
    changes revenue has whose it is, and ``local_date``, the practice's day of it: figures need it.
    """

    event = UnicodeAttribute()
    posting_key = UnicodeAttribute()
    # None of what is about no payment: payouts, and funds that have become available.
    payment_id = UnicodeAttribute(null=True)
    currency = UnicodeAttribute()
    entries: ListAttribute[Any] = ListAttribute()
    # What lists filter by: each book, and each ``<book>/<account>``.
    touched: ListAttribute[Any] = ListAttribute(default=list)
    occurred_at = InstantAttribute()
    # The list of one payment, where it is about one.
    l2pk = UnicodeAttribute(null=True)
    l2sk = UnicodeAttribute(null=True)
    expert_id = UnicodeAttribute(null=True)
    local_date = UnicodeAttribute(null=True)


class PayoutItem(ListedItem):
    """Money on its way from a provider's balance to its owner's bank. Its id is the provider's.

    ``amount`` is in minor units of ``currency``, below zero where the bank is debited. ``payee_id``
    is ``PLAT`` for the platform's own. ``place`` is where the ledger has the money: ``transit``,
    ``bank`` or ``back``. Lists: l1 by UTC month, l2 by payee, both by when the provider made it.
    """

    payee_id = UnicodeAttribute()
    provider = UnicodeAttribute()
    account = UnicodeAttribute()
    amount = NumberAttribute()
    fee = NumberAttribute(default=0)
    currency = UnicodeAttribute()
    status = UnicodeAttribute()
    place = UnicodeAttribute()
    method = UnicodeAttribute()
    automatic = BooleanAttribute(default=True)
    made_at = InstantAttribute()
    arrives_on = UnicodeAttribute()
    failure_code = UnicodeAttribute(null=True)
    l2pk = UnicodeAttribute()
    l2sk = UnicodeAttribute()


class PayeeItem(Item):
    """Who owns the connected accounts: the practice, or an expert who is paid directly.

    ``controller`` is Stripe's, as it was when last read; ``requirements_due`` says that Stripe asks
    for something. ``stripe_operation`` is the creation of the account, kept before it is sent:
    {"id", "attempt", "sent_at", "country", "controller"}. Mercado Pago's tokens are a sub-item,
    encrypted. ``payout_schedule`` is as last read, ``schedule_operation`` a change of it under way:
    {"id", "attempt", "sent_at", "schedule"}. ``email_digest`` finds the account's lookup row.
    """

    owner = UnicodeAttribute()
    stripe_operation = JSONAttribute(null=True)
    stripe_account = UnicodeAttribute(null=True)
    controller = JSONAttribute(null=True)
    details_submitted = BooleanAttribute(default=False)
    charges_enabled = BooleanAttribute(default=False)
    payouts_enabled = BooleanAttribute(default=False)
    requirements_due = BooleanAttribute(default=False)
    payout_schedule = JSONAttribute(null=True)
    schedule_operation = JSONAttribute(null=True)
    email_digest = UnicodeAttribute(null=True)
    on_behalf_of = BooleanAttribute(default=False)
    # Whether Stripe is asked for Pix beside cards: where it has not allowed that, it refuses both.
    pix = BooleanAttribute(default=False)
    # Whether a refund may be made in Stripe's own components, past our policy and guard.
    refund_management = BooleanAttribute(default=False)
    mercadopago_user = UnicodeAttribute(null=True)
    read_at = InstantAttribute(null=True)
    walkpk = UnicodeAttribute()
    walksk = UnicodeAttribute()


class InboxItem(Item):
    """A provider's event: RECEIVED, then DONE or IGNORED with its effect, or FAILED with a code.

    All that its message needs is here, so that it can be put into the queue again; ``action`` is
    the one word of a payload that is acted on. Listed on l1 by the UTC month in which it came.
    """

    provider = UnicodeAttribute()
    event_id = UnicodeAttribute()
    type = UnicodeAttribute()
    account = UnicodeAttribute()
    object_id = UnicodeAttribute(null=True)
    live = BooleanAttribute()
    api_version = UnicodeAttribute(null=True)
    state = UnicodeAttribute()
    tries = NumberAttribute(default=0)
    error = UnicodeAttribute(null=True)
    action = UnicodeAttribute(null=True)
    done_at = InstantAttribute(null=True)
    expires_at = NumberAttribute()
    l1pk = UnicodeAttribute()
    l1sk = UnicodeAttribute()
