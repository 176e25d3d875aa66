"""One interface over both payment providers, and what they say in our own words.

``stripe.provider`` and ``mercadopago.provider`` implement it. Amounts are integer minor units; the
amount and the currency always come from our payment item, never from a caller.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from consulta.money.books.ledger import Leg
from consulta.money.disputes.records import DisputeStatus
from consulta.money.records import PayeeItem, PaymentItem, Provider, RefundState, State


@dataclass(frozen=True, slots=True)
class Operation:
    """Something we ask of a provider, persisted before it is sent (rules §6)."""

    id: str
    attempt: int = 1

    @property
    def key(self) -> str:
        """The idempotency key: at most 64 characters."""
        return f"{self.id}:{self.attempt}"


@dataclass(frozen=True, slots=True)
class PaymentDetails:
    """What the payer's device gave us, as the provider's own front end made it.

    Stripe takes the payment in the browser by ``client_secret``, so all of it may be empty there.
    Mercado Pago needs ``token`` (cards), ``method`` (``visa``, ``pix``, …), ``installments`` and
    ``payer_email``. With ``checkout`` the payer gives all that to the provider's own page.
    """

    token: str = ""
    method: str = ""
    installments: int = 1
    payer_email: str = ""
    checkout: "ReturnUrls | None" = None


@dataclass(frozen=True, slots=True)
class ReturnUrls:
    """Where the provider's page sends the payer afterwards: addresses of our own front end."""

    success: str
    cancel: str


@dataclass(frozen=True, slots=True)
class PixCode:
    """What is scanned, or copied and pasted, to pay by Pix: never stored, never logged.

    ``image`` is the address of the code's picture, ``https:`` or ``data:``, or "".
    """

    code: str = field(repr=False)
    image: str = field(default="", repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a charge that settled in another currency came to, in minor units of ``currency``.

    ``platform`` and ``payee`` are what came to the balance of each, before ``fee``. ``commission``
    is our share of it, in the platform's currency, and ``commission_returned`` what of that went
    back by now. ``rate`` is as the provider tells it. Where it was converted for the payee alone,
    ``platform`` is in the charge's own currency, all else the payee's, and ``fee`` is 0.
    """

    currency: str
    amount: int
    fee: int
    rate: str
    commission: int
    platform: Leg
    payee: Leg
    commission_returned: int = 0


@dataclass(frozen=True, slots=True)
class Legs:
    """What a later movement of such a charge did to the balances; None: nothing to that one.

    Of a refund our commission is not in the platform's: the charge tells all of it. ``paid`` is
    what the refund itself took.
    """

    platform: Leg | None = None
    payee: Leg | None = None
    paid: int = 0


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """A refund as the provider has it. ``commission`` is what it returned of ours, if it says.

    ``balance_transaction`` is that of the refund, ``failed_by`` the one that brought it back where
    it failed. ``reversed`` is what of a destination charge's transfer went back with it, if that is
    told. ``legs``: what it moved if that was in another currency, ``came_back`` what its failure
    brought back there.
    """

    id: str
    amount: int
    state: RefundState
    operation: str = ""
    balance_transaction: str = ""
    commission: int | None = None
    legs: Legs | None = None
    failed_by: str = ""
    reversed: int | None = None
    came_back: int = 0


@dataclass(frozen=True, slots=True)
class ProviderPayment:
    """A payment as the provider has it now, read with our own credentials.

    ``practice`` and ``payment`` are the metadata that we gave it, ``operation`` of which submission
    it came where a payment may have several; ``account`` is the connected account that receives.
    ``fee``, ``commission`` and ``balance_transaction`` are None until the provider has settled
    (Stripe's asynchronous capture). ``balance_transaction`` is the second half of the posting key.
    ``capture_before`` is when an authorization ends by itself. ``exchange`` instead of ``fee``
    where it was settled in another currency, and beside it where only what the payee got of a
    destination charge was converted. ``release_at`` is when the money is to be released,
    ``released`` that it is.
    """

    id: str
    state: State
    amount: int
    currency: str
    captured: int
    account: str
    practice: str
    payment: str
    operation: str = ""
    method: str = ""
    failure_code: str = ""
    charge: str = ""
    client_secret: str = ""
    action_url: str = ""
    requires_action: bool = False
    pix: PixCode | None = None
    capture_before: datetime | None = None
    paid_at: datetime | None = None
    fee: int | None = None
    commission: int | None = None
    tax_withheld: int = 0
    exchange: Exchange | None = None
    release_at: datetime | None = None
    released: bool = False
    balance_transaction: str = ""
    refunds: tuple[ProviderRefund, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


class PageState(StrEnum):
    """Of a page at the provider: open, paid (or being paid), ended without a payment."""

    OPEN = "open"
    COMPLETE = "complete"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class CheckoutPage:
    """A Checkout session or a preference as the provider has it now.

    It is no payment: whatever somebody has tried to pay on it is in ``payments``, decline or not.
    """

    id: str
    state: PageState
    url: str = field(default="", repr=False)
    payments: tuple[ProviderPayment, ...] = ()


class PaymentProvider(Protocol):
    """What both providers do for us.

    Every method raises ProviderFailed where the provider refuses or does not answer (its outcome
    is then unknown: the same operation may be sent again), NotFound where it has no such object.
    A declined card is no error: the payment comes back open, with its ``failure_code``.
    """

    name: Provider

    def start(
        self, operation: Operation, payment: PaymentItem, payee: PayeeItem, details: PaymentDetails
    ) -> ProviderPayment:
        """Make the provider's payment for ours."""
        ...

    def read(
        self, provider_id: str, payee: PayeeItem, *, exchanged: bool | None = None
    ) -> ProviderPayment:
        """The payment as it is now.

        ``exchanged``: whether anything was, where it has settled before our eyes; what was not is
        not looked for again.
        """
        ...

    def capture(self, operation: Operation, provider_id: str, payee: PayeeItem) -> ProviderPayment:
        """Take what is only authorized; what comes back says what it is now."""
        ...

    def cancel(self, operation: Operation, provider_id: str, payee: PayeeItem) -> ProviderPayment:
        """Cancel it if it is not paid, an authorization included; says what it is now."""
        ...

    def refund(
        self, operation: Operation, payment: PaymentItem, payee: PayeeItem, amount: int
    ) -> ProviderRefund:
        """Give ``amount`` back, with the proportional part of our commission."""
        ...

    def find(self, payment: PaymentItem, payee: PayeeItem) -> tuple[ProviderPayment, ...]:
        """Everything made for ``payment``: what to ask before something is sent again late."""
        ...

    def start_checkout(
        self, operation: Operation, payment: PaymentItem, payee: PayeeItem, details: PaymentDetails
    ) -> CheckoutPage:
        """Make a page on which ``payment`` can be paid until its ``payable_until``."""
        ...

    def read_checkout(
        self, payment: PaymentItem, payee: PayeeItem, since: datetime
    ) -> CheckoutPage | None:
        """The page of ``payment`` as it is now, with what was tried on it.

        Where its id is not known it is looked for among those made from ``since`` on; None where
        there is none.
        """
        ...

    def expire_checkout(self, payment: PaymentItem, payee: PayeeItem, page: CheckoutPage) -> None:
        """Let nobody begin to pay on it any more. Nothing happens where it has ended already."""
        ...


# ---------------------------------------------------------------- disputes


@dataclass(frozen=True, slots=True)
class Movement:
    """One balance transaction of a dispute: ``amount`` below zero was taken, above it given back.

    ``fee`` is what the provider took for it. ``id`` is the second half of the posting's key.
    ``leg``: what it was in the balance's own currency, where that is another; its fee is there.
    """

    id: str
    amount: int
    fee: int = 0
    leg: Leg | None = None


@dataclass(frozen=True, slots=True)
class ProviderDispute:
    """A dispute as the provider has it now. ``practice`` and ``payment`` are our metadata."""

    id: str
    provider_payment: str
    practice: str
    payment: str
    amount: int
    currency: str
    reason: str
    status: DisputeStatus
    opened_at: datetime
    evidence_due_by: datetime | None = None
    movements: tuple[Movement, ...] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """A transfer between the platform's balance and the payee's: its balance transaction.

    ``legs``: what it did to the balances of both, where these are in another currency.
    """

    id: str
    amount: int
    legs: Legs | None = None


class DisputeProvider(Protocol):
    """What a provider tells of disputes. Errors as :class:`PaymentProvider`'s."""

    def read(self, dispute_id: str, account: str) -> ProviderDispute | None:
        """The dispute as it is now, None where it is not ours.

        ``account`` is the event's connected account, or "".
        """
        ...

    def recover(self, operation: Operation, payment: PaymentItem, amount: int) -> Moved:
        """Take ``amount`` of a destination charge's transfer back from the payee."""
        ...

    def find_recovery(self, operation: Operation, payment: PaymentItem) -> Moved | None:
        """What :meth:`recover` has made, if anything."""
        ...

    def give_back(self, operation: Operation, payment: PaymentItem, amount: int) -> Moved:
        """Transfer ``amount`` to the payee again."""
        ...

    def find_given_back(self, operation: Operation, payment: PaymentItem) -> Moved | None:
        """What :meth:`give_back` has made, if anything."""
        ...
