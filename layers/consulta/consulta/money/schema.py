"""API models of payments and refunds: what comes in and what goes out."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, EmailStr, Field, StringConstraints

from consulta.core.fields import Amount, Currency
from consulta.core.http import ApiModel, Id

MAX_AMOUNT = 100_000_000
ShortText = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class PositiveAmount(ApiModel):
    """Integer minor units above zero."""

    amount: Annotated[int, Field(ge=1, le=MAX_AMOUNT)]
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


class PaymentRequest(ApiModel):
    """Pay for an appointment or for a package; amount and currency are its own.

    With ``stripe`` nothing else: the browser confirms with ``client_secret``. ``mercadopago`` needs
    ``payment_method_id`` and ``payer_email``, and for cards ``token``, all from its front end.
    """

    appointment_id: Id | None = None
    package_id: Id | None = None
    provider: Literal["stripe", "mercadopago"]
    token: Annotated[str, StringConstraints(max_length=200)] = ""
    payment_method_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,40}$")] = ""
    installments: Annotated[int, Field(ge=1, le=48)] = 1
    payer_email: EmailStr | None = None


class ManualPaymentRequest(ApiModel):
    """Money that a member took for an appointment or for a package.

    ``received_at`` is the practice's calendar day.
    """

    appointment_id: Id | None = None
    package_id: Id | None = None
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


class Payment(ApiModel):
    """A payment. ``commission`` and ``fee`` are for members; amounts in its one currency."""

    id: Id
    appointment_id: Id | None
    package_id: Id | None
    order_id: Id
    patient_id: Id
    expert_id: Id
    service_id: Id
    provider: Literal["stripe", "mercadopago", "manual"]
    provider_id: str | None
    method: str | None
    status: DisplayedStatus
    failure_code: str | None
    amount: Amount
    captured: Amount
    refunded: Amount
    commission: Amount | None
    fee: Amount | None
    settled: bool
    paid_at: datetime | None
    received_on: date | None
    notes: str | None
    created_at: datetime
    updated_at: datetime
    version: int


class PaymentDetail(Payment):
    """One payment with its refunds."""

    refunds: list[Refund]


class StartedPayment(Payment):
    """A payment to go on with in the browser: by ``client_secret``, or at ``action_url``."""

    client_secret: str | None
    action_url: str | None


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
    sort: Annotated[
        Literal["created_at", "-created_at"], Field(description="- is the newest first")
    ] = "-created_at"
