"""API models of payments and refunds: what comes in and what goes out."""

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, EmailStr, Field, StringConstraints

from consulta.core.fields import Amount, Currency
from consulta.core.http import ApiModel, Id
from consulta.core.money import MAX_AMOUNT

# Kept as it was typed: the providers fill in what is theirs.
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s\x00-\x1f\x7f]+$", max_length=2048)]
ShortText = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class PositiveAmount(ApiModel):
    """Integer minor units above zero."""

    # Strict: true and "5" are no amounts.
    amount: Annotated[int, Field(ge=1, le=MAX_AMOUNT, strict=True)]
    currency: Currency


class DisplayedStatus(StrEnum):
    """What a payment shows, derived from its state, its refunds and its disputes."""

    OPEN = "open"
    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    CANCELLED = "cancelled"


PartName = Literal["full", "deposit", "remainder"]


class CheckoutUrls(ApiModel):
    """Where the provider's page sends the payer back to: on an origin of the front end."""

    success_url: Url
    cancel_url: Url


class PaymentRequest(ApiModel):
    """Pay for an appointment or for a package; amount and currency are its own.

    ``part``: the deposit, the remainder after it, or all of it. Left out it is what is asked for
    next: the remainder where a deposit is paid, the deposit where there is to be one, else all.
    Where this very request takes the money (``payment_method_id``) a remainder has to be said.

    With ``stripe`` nothing else: the browser confirms with ``client_secret``. ``mercadopago`` needs
    ``payment_method_id`` and ``payer_email``, and for cards ``token``, all from its front end. With
    ``checkout`` none of that: the payer goes to the provider's own page, at ``action_url``.
    """

    appointment_id: Id | None = None
    package_id: Id | None = None
    part: PartName | None = None
    provider: Literal["stripe", "mercadopago"]
    token: Annotated[str, StringConstraints(max_length=200)] = ""
    payment_method_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,40}$")] = ""
    installments: Annotated[int, Field(ge=1, le=48)] = 1
    payer_email: EmailStr | None = None
    checkout: CheckoutUrls | None = None


class ManualPaymentRequest(ApiModel):
    """Money that a member took for an appointment or for a package.

    ``amount`` is a part of what is owed, and tells which where ``part`` does not. ``received_at``
    is the practice's calendar day.
    """

    appointment_id: Id | None = None
    package_id: Id | None = None
    part: PartName | None = None
    method: Literal["cash", "transfer"]
    amount: PositiveAmount
    received_at: date
    notes: ShortText = ""


class RefundRequest(ApiModel):
    """Give money back: all that is left, or ``amount`` of it."""

    amount: PositiveAmount | None = None
    reason: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")] = "requested"


class Refund(ApiModel):
    """Money back to a patient. ``commission`` is what went back of ours, for members."""

    id: Id
    payment_id: Id
    state: Literal["requested", "succeeded", "failed"]
    amount: Amount
    commission: Amount | None
    reason: str
    created_at: datetime
    version: int


class FraudWarning(ApiModel):
    """The card's issuer suspects the payment, for a reason in Stripe's words.

    While it is ``actionable`` a full refund is earlier than a dispute, and without its fee.
    """

    id: str
    fraud_type: str
    actionable: bool
    at: datetime


class ExchangedInto(ApiModel):
    """What the provider settled a charge as. ``rate`` is the provider's, as it tells it.

    Where it converted only what the payee got: what came to the payee's balance, fee zero.
    """

    amount: Amount
    fee: Amount
    rate: str

    @classmethod
    def of(cls, fx: Mapping[str, Any] | None) -> Self | None:
        """Of a payment's ``fx``; None where nothing was exchanged."""
        if not fx:
            return None
        currency = fx["currency"]
        return cls(
            amount=Amount(amount=int(fx["amount"]), currency=currency),
            fee=Amount(amount=int(fx["fee"]), currency=currency),
            rate=fx["rate"],
        )


class Payment(ApiModel):
    """A payment. ``commission`` and ``fee`` are for members; amounts in its one currency.

    ``part`` says what of its order it pays, ``tax`` is what of ``amount`` is tax.
    """

    id: Id
    appointment_id: Id | None
    package_id: Id | None
    order_id: Id
    patient_id: Id
    expert_id: Id
    service_id: Id
    part: PartName
    provider: Literal["stripe", "mercadopago", "manual"]
    provider_id: str | None
    method: str | None
    status: DisplayedStatus
    failure_code: str | None
    amount: Amount
    tax: Amount
    captured: Amount
    refunded: Amount
    commission: Amount | None
    commission_tax: Amount | None
    fee: Amount | None
    exchange: ExchangedInto | None
    settled: bool
    fraud_warning: FraudWarning | None = None
    paid_at: datetime | None
    received_on: date | None
    notes: str | None
    created_at: datetime
    updated_at: datetime
    version: int


class PaymentDetail(Payment):
    """One payment with its refunds."""

    refunds: list[Refund]


class Pix(ApiModel):
    """What the payer scans, or copies and pastes. ``qr_code_image`` is an https or data address."""

    qr_code: str
    qr_code_image: str | None
    expires_at: datetime | None


class StartedPayment(Payment):
    """A payment to go on with in the browser: by ``client_secret``, at ``action_url``, or by Pix.

    ``action_url`` is the provider's own page with ``checkout``, else what a method asks for.
    """

    client_secret: str | None
    action_url: str | None
    pix: Pix | None


class PaymentPage(ApiModel):
    """One page, in the order asked for. It may be short, or empty, and still go on."""

    items: list[Payment]
    next_cursor: str | None


class PaymentFilter(ApiModel):
    """Which payments a list shows. Created in [from, to), at most 366 days."""

    from_: Annotated[AwareDatetime | None, Field(alias="from")] = None
    to: AwareDatetime | None = None
    state: Literal["open", "processing", "authorized", "succeeded", "cancelled"] | None = None
    status: DisplayedStatus | None = None
    provider: Literal["stripe", "mercadopago", "manual"] | None = None
    patient_id: Id | None = None
    expert_id: Id | None = None
    service_id: Id | None = None
    fraud_warning: Annotated[
        bool | None, Field(description="Whether a card's issuer has warned; for members")
    ] = None
    sort: Annotated[
        Literal["created_at", "-created_at"], Field(description="- is the newest first")
    ] = "-created_at"
