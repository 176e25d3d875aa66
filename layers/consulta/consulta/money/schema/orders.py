"""API models of orders: what is owed for one booking or package, and what was paid of it."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from consulta.core.fields import Amount
from consulta.core.http import ApiModel, Id
from consulta.money.schema.payments import DisplayedStatus, PartName
from consulta.scheduling.records import PaymentStatus
from consulta.scheduling.schema.fields import AppliedTax


class OrderStatus(StrEnum):
    """Whether something is still owed."""

    OPEN = "open"
    DEPOSIT_PAID = "deposit_paid"
    PAID = "paid"
    # Nothing is to be paid, or not any more: free, cancelled, expired, given back.
    CLOSED = "closed"


class OrderLine(ApiModel):
    """``quantity`` of a service at ``unit_amount``, without what tax comes on top of it.

    ``amount`` is ``net`` and the tax's amount together: what is owed for the line. The second line
    of an appointment, ``reschedule_fee``, is what a late move costs; its tax is within it.
    """

    kind: Literal["appointment", "package", "reschedule_fee"]
    service_id: Id
    quantity: int
    unit_amount: Amount
    net: Amount
    tax: AppliedTax | None
    amount: Amount


class Allocation(ApiModel):
    """A payment of the order, with the part that it is for and what came of it."""

    payment_id: Id
    part: PartName
    provider: Literal["stripe", "mercadopago", "manual"]
    status: DisplayedStatus
    amount: Amount
    captured: Amount
    refunded: Amount
    disputed: Amount
    created_at: datetime


class Order(ApiModel):
    """What is owed for an appointment or a package. Its id is theirs, with the prefix ``ord``.

    ``total`` is the sum of the lines, ``tax`` a part of it. ``paid``, ``refunded`` and ``disputed``
    are of all its payments, the oldest first; also of one that came twice, and goes back by itself.
    ``due`` is all that is still owed, ``due_now`` what of it is asked for next: the deposit, while
    that is not paid. Both are zero where nothing can be paid any more. What was paid before a fee
    for a late move came on top is like a deposit (``deposit_paid``), though ``deposit`` is null:
    nobody had asked for it as one.
    """

    id: Id
    appointment_id: Id | None
    package_id: Id | None
    patient_id: Id
    expert_id: Id
    status: OrderStatus
    payment_status: PaymentStatus
    currency: str
    lines: list[OrderLine]
    total: Amount
    tax: Amount
    deposit: Amount | None
    paid: Amount
    refunded: Amount
    disputed: Amount
    due: Amount
    due_now: Amount
    payments: list[Allocation]
    created_at: datetime
