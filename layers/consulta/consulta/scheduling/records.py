"""Stored items of scheduling: service, availability, appointment."""

from enum import StrEnum
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    JSONAttribute,
    ListAttribute,
    NumberAttribute,
    UnicodeAttribute,
)

from consulta.core.item import InstantAttribute, Item, TrackedItem

SERVICE, AVAILABILITY, APPOINTMENT = "SERVICE", "AVAILABILITY", "APPOINTMENT"


class Status(StrEnum):
    """The states of MONEY_AND_BOOKING_RULES §4."""

    HELD = "held"
    AWAITING_APPROVAL = "awaiting_approval"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    NO_SHOW = "no_show"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


# Booked in earnest: what "appointments" counts on every dashboard.
BOOKED = frozenset({Status.AWAITING_APPROVAL, Status.CONFIRMED, Status.COMPLETED, Status.NO_SHOW})
# Still to happen.
OPEN = frozenset({Status.AWAITING_APPROVAL, Status.CONFIRMED})
# Takes up its time.
BLOCKING = frozenset({Status.HELD, *OPEN})


class PaymentStatus(StrEnum):
    """What an appointment shows of its payments."""

    NOT_REQUIRED = "not_required"
    UNPAID = "unpaid"
    PROCESSING = "processing"
    PAID = "paid"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"


class ServiceItem(Item):
    """What can be booked. ``price`` in minor units of ``currency``; durations in seconds."""

    name = UnicodeAttribute()
    description = UnicodeAttribute(default="")
    kind = UnicodeAttribute(default="SINGLE")
    duration_s = NumberAttribute()
    price = NumberAttribute()
    currency = UnicodeAttribute()
    expert_ids: ListAttribute[Any] = ListAttribute(default=list)
    active = BooleanAttribute(default=True)
    position = NumberAttribute(default=0)
    deleted_at = InstantAttribute(null=True)
    l1pk = UnicodeAttribute(null=True)
    l1sk = UnicodeAttribute(null=True)
    walkpk = UnicodeAttribute()
    walksk = UnicodeAttribute()


class AvailabilityItem(Item):
    """An expert's weekly hours: a sub-item of the expert.

    ``weekly``: {"0" (Monday) … "6": [["09:00", "12:30"], …]} on the clocks of ``zone``.
    """

    zone = UnicodeAttribute()
    weekly = JSONAttribute()
    slot_interval_s = NumberAttribute()
    buffer_before_s = NumberAttribute(default=0)
    buffer_after_s = NumberAttribute(default=0)
    min_notice_s = NumberAttribute(default=0)
    horizon_days = NumberAttribute(default=60)


class AppointmentItem(TrackedItem):
    """One booked time.

    ``zone``, ``local_date`` and ``local_hour`` are the practice's, stamped when the time is set:
    figures are counted by them. Names are not copied: lists resolve them in one batch.
    Lists: l1 by UTC month, l2 by expert, l3 by patient, each ordered by start.
    """

    service_id = UnicodeAttribute()
    expert_id = UnicodeAttribute()
    patient_id = UnicodeAttribute()
    status = UnicodeAttribute()
    payment_status = UnicodeAttribute()
    start = InstantAttribute()
    end = InstantAttribute()
    buffer_before_s = NumberAttribute()
    buffer_after_s = NumberAttribute()
    zone = UnicodeAttribute()
    local_date = UnicodeAttribute()
    local_hour = NumberAttribute()
    price = NumberAttribute()
    currency = UnicodeAttribute()
    order_id = UnicodeAttribute()
    payment_id = UnicodeAttribute(null=True)
    policy = JSONAttribute()
    hold_expires_at = InstantAttribute(null=True)
    cancelled_at = InstantAttribute(null=True)
    cancelled_by = UnicodeAttribute(null=True)
    cancel_reason = UnicodeAttribute(null=True)
    cancel_note = UnicodeAttribute(null=True)
