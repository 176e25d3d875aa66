"""API models of disputes."""

from datetime import datetime
from typing import Literal

from consulta.core.fields import Amount
from consulta.core.http import ApiModel, Id

Status = Literal[
    "needs_response",
    "under_review",
    "won",
    "lost",
    "prevented",
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
]


class Dispute(ApiModel):
    """A charge that its card's holder contests. ``warning_*`` is an inquiry: no money has moved.

    Evidence is due by ``evidence_due_by``: ``days_left`` whole days from now, 0 on the last one and
    after it; both are null where nobody waits for it. ``disputed`` can neither be refunded nor
    counted on; ``fee`` is what the provider took; ``recovered`` came back from the payee's
    connected account, less ``returned``; ``lost`` is gone for good.
    """

    id: Id
    payment_id: Id
    appointment_id: Id | None
    package_id: Id | None
    patient_id: Id
    expert_id: Id
    service_id: Id
    provider: Literal["stripe", "mercadopago"]
    provider_id: str
    status: Status
    reason: str
    amount: Amount
    disputed: Amount
    fee: Amount
    recovered: Amount
    returned: Amount
    lost: Amount
    evidence_due_by: datetime | None
    days_left: int | None
    opened_at: datetime
    closed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


class DisputePage(ApiModel):
    """One page, the newest first. It may be short, or empty, and still go on."""

    items: list[Dispute]
    next_cursor: str | None


class DisputeFilter(ApiModel):
    """Which disputes a list shows: those of the last 366 days, or all of one payment."""

    status: Status | None = None
    payment_id: Id | None = None
    expert_id: Id | None = None
