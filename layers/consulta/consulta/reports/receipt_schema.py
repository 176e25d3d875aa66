"""API model of a receipt: all that an issuer of fiscal invoices (CFDI, NFS-e) needs, too."""

from datetime import date, datetime
from typing import Literal

from consulta.core.fields import Amount
from consulta.core.http import ApiModel, Id
from consulta.core.language import Language


class Issuer(ApiModel):
    """The practice, as far as it has said; an empty text is not said. ``country`` is ISO 3166-1."""

    id: Id
    name: str
    tax_id: str
    address: str
    country: str


class Named(ApiModel):
    """Somebody by id; ``name`` is null where the caller may not see it, or they are gone."""

    id: Id
    name: str | None


class LineTax(ApiModel):
    """Tax of a line: ``rate_bps`` ten-thousandths; ``inclusive`` says that the price held it."""

    code: str
    rate_bps: int
    inclusive: bool
    amount: Amount


class ReceiptLine(ApiModel):
    """What was bought: ``net`` and its tax are ``amount``. ``sessions`` is of a package.

    ``reschedule_fee`` is a line of its own: what a late move of the appointment costs.
    """

    kind: Literal["appointment", "package", "reschedule_fee"]
    service_id: Id
    description: str
    quantity: int
    sessions: int | None
    net: Amount
    tax: LineTax | None
    amount: Amount


class PaidPart(ApiModel):
    """One payment of the order, the oldest first.

    ``part`` is full, deposit or remainder, or ``reschedule_fee`` for what a late move costs;
    ``tax`` is what of its amount is tax. ``paid_on`` is the practice's calendar day.
    """

    id: Id
    part: Literal["full", "deposit", "remainder", "reschedule_fee"]
    provider: Literal["stripe", "mercadopago", "manual"]
    provider_id: str | None
    method: str | None
    paid_on: date
    amount: Amount
    tax: Amount
    refunded: Amount


class GivenBack(ApiModel):
    """One refund that has succeeded, on the practice's calendar day."""

    id: Id
    payment_id: Id
    on: date
    amount: Amount
    reason: str


class Receipt(ApiModel):
    """A receipt for a payment, with the order that it is of.

    It is no fiscal invoice: ``notice`` says so, in ``language``. ``total`` is what the order comes
    to, ``paid`` what was taken of it and ``refunded`` what of that went back; ``left`` is still
    owed. ``payee`` is who was paid: the practice, or the expert in person.
    """

    number: str
    payment_id: Id
    order_id: Id
    appointment_id: Id | None
    package_id: Id | None
    is_fiscal_invoice: Literal[False] = False
    notice: str
    language: Language
    zone: str
    issued_at: datetime
    issued_on: date
    issuer: Issuer
    payee: Named
    expert: Named
    patient: Named
    provided_on: date | None
    currency: str
    lines: list[ReceiptLine]
    net: Amount
    tax: Amount
    total: Amount
    payments: list[PaidPart]
    paid: Amount
    refunds: list[GivenBack]
    refunded: Amount
    left: Amount
