"""API model of one appointment in full: with its money and its messages."""

from datetime import datetime
from typing import Literal

from consulta.core.fields import Amount
from consulta.core.http import ApiModel, Id
from consulta.money.schema.payments import DisplayedStatus, PartName
from consulta.scheduling.schema.appointments import AppointmentDetail, Ref


class PaymentLine(ApiModel):
    """One payment of the appointment's order; ``/v1/payments/{id}`` has the rest."""

    id: Id
    part: PartName
    provider: Literal["stripe", "mercadopago", "manual"]
    status: DisplayedStatus
    amount: Amount
    refunded: Amount
    created_at: datetime


class NotificationLine(ApiModel):
    """One message to somebody about the appointment; to whom is not kept in clear."""

    kind: str
    channel: str
    status: str
    at: datetime | None
    reason: str | None


class Place(ApiModel):
    """Where it takes place: ``in_person`` with its address, ``online`` or ``phone``."""

    kind: str
    address: str | None = None


class AppointmentInFull(AppointmentDetail):
    """One appointment with its payments, messages and rooms.

    ``payments`` (at most 20) is null where the caller may not see them; ``notifications`` has the
    newest 20. Notes are a resource of their own, since reading them is recorded.
    """

    location: Place | None
    meeting_url: str | None
    resources: list[Ref]
    payments: list[PaymentLine] | None
    notifications: list[NotificationLine]
