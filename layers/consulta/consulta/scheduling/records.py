"""Stored items of scheduling: service, availability, closures, resource, appointment."""

from datetime import datetime
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

SERVICE, AVAILABILITY, APPOINTMENT = "SERVICE", "AVAILABILITY", "APPOINTMENT"
RESOURCE, CLOSURES, PACKAGE = "RESOURCE", "CLOSURES", "PACKAGE"
SERIES, WAITLIST = "SERIES", "WAITLIST"


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


class Approval(StrEnum):
    """What an expert who approves each booking has said to this one; stored before it is acted on.

    Declined and lapsed are on their way to cancelled, given to confirmed or to being paid.
    """

    NEEDED = "needed"
    GIVEN = "given"
    DECLINED = "declined"
    LAPSED = "lapsed"


class PaymentStatus(StrEnum):
    """What an appointment shows of its payments."""

    NOT_REQUIRED = "not_required"
    # A session of a package that is paid for as a whole.
    PACKAGE = "package"
    UNPAID = "unpaid"
    PROCESSING = "processing"
    # The rest of it is still owed.
    DEPOSIT_PAID = "deposit_paid"
    PAID = "paid"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"


class ServiceItem(Item):
    """What can be booked. ``price`` in minor units of ``currency``; durations in seconds.

    ``seats`` over 1 makes it a group appointment. ``resources``: [[resource id, …], …], one of each
    inner list is needed. ``location``: {"kind": "in_person" | "online" | "phone", "address"}. A
    PACKAGE is ``sessions`` appointments for one price, to be used within ``validity_days``.
    ``tax``: {"rate_bps", "code", "inclusive"}; what is not included comes on top of ``price``.
    ``deposit``: {"fixed"} in minor units or {"percent"} of price and tax, and the ``amount`` that
    it comes to: what has to be paid to have the time.
    """

    name = UnicodeAttribute()
    description = UnicodeAttribute(default="")
    kind = UnicodeAttribute(default="SINGLE")
    duration_s = NumberAttribute()
    price = NumberAttribute()
    currency = UnicodeAttribute()
    expert_ids: ListAttribute[Any] = ListAttribute(default=list)
    active = BooleanAttribute(default=True)
    position = NumberAttribute(default=0)
    category = UnicodeAttribute(default="")
    colour = UnicodeAttribute(null=True)
    location = JSONAttribute(null=True)
    seats = NumberAttribute(default=1)
    resources = JSONAttribute(null=True)
    tax = JSONAttribute(null=True)
    deposit = JSONAttribute(null=True)
    sessions = NumberAttribute(null=True)
    validity_days = NumberAttribute(null=True)
    deleted_at = InstantAttribute(null=True)
    l1pk = UnicodeAttribute(null=True)
    l1sk = UnicodeAttribute(null=True)
    walkpk = UnicodeAttribute()
    walksk = UnicodeAttribute()


class AvailabilityItem(Item):
    """An expert's weekly hours: a sub-item of the expert.

    ``weekly``: {"0" (Monday) … "6": [["09:00", "12:30"], …]} on the clocks of ``zone``.
    ``overrides``: {"2026-12-24": [["09:00", "12:00"]], …} in place of a date's weekly hours;
    ``vacations``: [{"from", "to" (dates, both included), "message"}, …]. ``cancellation``:
    {"window_s", "fixed", "percent"}, the expert's own terms in place of the practice's.
    """

    zone = UnicodeAttribute()
    weekly = JSONAttribute()
    slot_interval_s = NumberAttribute()
    buffer_before_s = NumberAttribute(default=0)
    buffer_after_s = NumberAttribute(default=0)
    min_notice_s = NumberAttribute(default=0)
    horizon_days = NumberAttribute(default=60)
    overrides = JSONAttribute(null=True)
    vacations = JSONAttribute(null=True)
    max_per_day = NumberAttribute(null=True)
    max_per_week = NumberAttribute(null=True)
    auto_confirm = BooleanAttribute(default=True)
    cancellation = JSONAttribute(null=True)


class ClosuresItem(Item):
    """When the whole practice is closed: a sub-item of the practice.

    ``closures``: [{"from", "to" (dates, both included), "name"}, …]. ``holidays``: {"country",
    "subdivision", "open": [dates that are worked all the same], "days": {"2026-12-25": name, …},
    "until": the last year of those}.
    """

    closures = JSONAttribute(null=True)
    holidays = JSONAttribute(null=True)


class ResourceItem(ListedItem):
    """A room, or equipment, that one appointment at a time can have. ``kind``: room, equipment."""

    name = UnicodeAttribute()
    kind = UnicodeAttribute()
    active = BooleanAttribute(default=True)
    position = NumberAttribute(default=0)
    deleted_at = InstantAttribute(null=True)


class AppointmentItem(TrackedItem):
    """One booked time.

    ``zone``, ``local_date`` and ``local_hour`` are the practice's, stamped when the time is set:
    figures are counted by them. Names are not copied: lists resolve them in one batch.
    ``price`` is all that the patient owes, in minor units of ``currency``; ``tax``: {"rate_bps",
    "code", "inclusive", "amount"} is a part of it, ``deposit`` what of it has to be paid first.
    ``fee`` is what of the price is for a move that came late: the deposit is all the rest then, and
    ``deposit_tax`` the tax within that, which is in no proportion to the fee's.
    ``payment_id`` is the payment that counts; ``deposit_payment_id`` the deposit's, which is the
    same until the rest is paid. The order's id is the appointment's, with a prefix of its own.
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
    tax = JSONAttribute(null=True)
    deposit = NumberAttribute(null=True)
    deposit_tax = NumberAttribute(null=True)
    fee = NumberAttribute(null=True)
    order_id = UnicodeAttribute()
    payment_id = UnicodeAttribute(null=True)
    deposit_payment_id = UnicodeAttribute(null=True)
    policy = JSONAttribute()
    hold_expires_at = InstantAttribute(null=True)
    cancelled_at = InstantAttribute(null=True)
    cancelled_by = UnicodeAttribute(null=True)
    # The status that it had: a hold that was given up was no appointment yet.
    cancelled_from = UnicodeAttribute(null=True)
    cancel_reason = UnicodeAttribute(null=True)
    cancel_note = UnicodeAttribute(null=True)
    # Whether the expert has to approve it first, and what came of that: Approval.
    approval = UnicodeAttribute(null=True)
    # Until when the expert may approve it.
    approve_until = InstantAttribute(null=True)
    seats = NumberAttribute(default=1)
    resource_ids: ListAttribute[Any] = ListAttribute(default=list)
    location = JSONAttribute(null=True)
    package_id = UnicodeAttribute(null=True)
    # The series that it belongs to, and the wall time that its rule gave it (RECURRENCE-ID).
    series_id = UnicodeAttribute(null=True)
    recurrence_id = UnicodeAttribute(null=True)
    # The waitlist entry that it is an offer to.
    waitlist_id = UnicodeAttribute(null=True)
    # How often it was moved; the start that notice is counted to, where that is an earlier one.
    rescheduled = NumberAttribute(default=0)
    notice_start = InstantAttribute(null=True)
    reschedule_note = UnicodeAttribute(null=True)
    # Whether the patient is told of the last change by mail.
    notify = BooleanAttribute(default=True)
    meeting_url = UnicodeAttribute(null=True)

    @property
    def notice_to(self) -> datetime:
        """The start that notice of cancelling counts to: the earlier one (rules §9)."""
        return min(self.start, self.notice_start or self.start)


class PackageItem(TrackedItem):
    """Sessions of one PACKAGE service that a patient has bought together.

    ``status``: pending, active, cancelled; exhausted and expired are derived. ``price`` in minor
    units of ``currency``, its ``tax`` within it, pays all ``sessions``; ``used`` of them are booked
    or over, ``settled`` are over: completed, or forfeited. Each use has a sub-item by its
    appointment. ``valid_until`` is set when it becomes active. ``zone``, ``local_date`` and
    ``local_hour`` are the practice's, of when it was made. Lists: l1 by UTC month of creation, l2
    by expert, l3 by patient.
    """

    service_id = UnicodeAttribute()
    expert_id = UnicodeAttribute()
    patient_id = UnicodeAttribute()
    order_id = UnicodeAttribute()
    payment_id = UnicodeAttribute(null=True)
    status = UnicodeAttribute()
    payment_status = UnicodeAttribute()
    price = NumberAttribute()
    currency = UnicodeAttribute()
    tax = JSONAttribute(null=True)
    sessions = NumberAttribute()
    used = NumberAttribute(default=0)
    settled = NumberAttribute(default=0)
    validity_days = NumberAttribute()
    valid_until = InstantAttribute(null=True)
    policy = JSONAttribute()
    zone = UnicodeAttribute()
    local_date = UnicodeAttribute()
    local_hour = NumberAttribute()
    cancelled_at = InstantAttribute(null=True)
    cancelled_by = UnicodeAttribute(null=True)


class ServiceCatalogItem(Item):
    """What Stripe has of a service: a sub-item of it.

    ``service_version`` is the service's that was looked at last; ``state``: synced, failed with
    ``error``, the code of why, and ``tries`` how often. ``label``, ``listed``, ``amount`` and
    ``currency`` are as Stripe has them.
    """

    service_version = NumberAttribute()
    state = UnicodeAttribute()
    error = UnicodeAttribute(null=True)
    tries = NumberAttribute(default=0)
    product_id = UnicodeAttribute(null=True)
    price_id = UnicodeAttribute(null=True)
    label = UnicodeAttribute(null=True)
    listed = BooleanAttribute(null=True)
    amount = NumberAttribute(null=True)
    currency = UnicodeAttribute(null=True)
