"""Packages: several sessions of one service, bought together."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from consulta.core.http import ApiModel, Id
from consulta.scheduling.records import PaymentStatus
from consulta.scheduling.schema.fields import AppliedTax, Price


class PackageStatus(StrEnum):
    """Pending until it is paid, or a member has confirmed it; the last two by themselves."""

    PENDING = "pending"
    ACTIVE = "active"
    CANCELLED = "cancelled"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"


class PackageRequest(ApiModel):
    """Buy a package. Price, sessions and validity are the service's.

    ``expert_id`` may be left out where one expert alone gives the service. ``patient_id`` is for
    members to give; ``confirm`` lets it be used before it is paid, for members who may confirm.
    ``waives_withdrawal``: the patient gives up the legal right to withdraw, as for a booking.
    """

    service_id: Id
    expert_id: Id | None = None
    patient_id: Id | None = None
    confirm: bool = False
    waives_withdrawal: bool = False


class SoldPackage(ApiModel):
    """Sessions of one service. ``used`` ones are booked or over, ``remaining`` can be booked.

    ``price`` is all that the patient owes; ``tax`` is a part of it.

    ``valid_until`` is null until it is active; what begins before it can be booked.
    """

    id: Id
    service_id: Id
    expert_id: Id
    patient_id: Id
    order_id: Id
    payment_id: Id | None
    status: PackageStatus
    payment_status: PaymentStatus
    price: Price
    tax: AppliedTax | None
    sessions: int
    used: int
    remaining: int
    valid_until: datetime | None
    cancelled_at: datetime | None
    cancelled_by: Literal["patient", "practice"] | None
    created_at: datetime
    updated_at: datetime
    version: int


class PackageDetail(SoldPackage):
    """One package, with the appointments that its sessions were used for.

    ``withdraw_until``: until when, that instant included, the patient may withdraw by law; null
    without that right, and where it was waived, at ``withdrawal_waived_at``.
    """

    appointment_ids: list[Id]
    withdraw_until: datetime | None
    withdrawal_waived_at: datetime | None


class PackagePage(ApiModel):
    """One page, the newest first. It may be short, or empty, and still go on."""

    items: list[SoldPackage]
    next_cursor: str | None


class PackageFilter(ApiModel):
    """Which packages a list shows. Made in [from, to), at most 366 days."""

    from_: Annotated[AwareDatetime | None, Field(alias="from")] = None
    to: AwareDatetime | None = None
    status: PackageStatus | None = None
    patient_id: Id | None = None
    expert_id: Id | None = None
    service_id: Id | None = None
