"""The stored item of a notice: what somebody was told about an item, or why not."""

from enum import StrEnum

from pynamodb.attributes import NumberAttribute, UnicodeAttribute

from consulta.core.item import InstantAttribute, Item
from consulta.core.keys import Key, parse_item

NOTIFICATION = "NOTIFICATION"
EMAIL = "email"


class Kind(StrEnum):
    """What a notice is about; those to the expert say so."""

    HOLD = "hold"
    REQUESTED = "requested"
    BOOKED = "booked"
    APPROVED = "approved"
    DECLINED = "declined"
    RESCHEDULED = "rescheduled"
    CANCELLED = "cancelled"
    SLOT_LOST = "slot_lost"
    WAITLIST_OFFER = "waitlist_offer"
    OFFER_LAPSED = "offer_lapsed"
    SERIES = "series"
    APPROVAL_REQUESTED = "approval_requested"
    EXPERT_BOOKED = "expert_booked"
    EXPERT_RESCHEDULED = "expert_rescheduled"
    EXPERT_CANCELLED = "expert_cancelled"
    EXPERT_REPLACED = "expert_replaced"
    EXPERT_SERIES = "expert_series"
    FRAUD_WARNING = "fraud_warning"
    MESSAGE = "message"
    EXPERT_MESSAGE = "expert_message"
    PRACTICE_MESSAGE = "practice_message"


# To those members who may do something about it, each by name: ``n`` begins with the member's id.
TO_STAFF = frozenset({Kind.FRAUD_WARNING, Kind.PRACTICE_MESSAGE})
TO_EXPERT = frozenset(
    {
        Kind.APPROVAL_REQUESTED,
        Kind.EXPERT_BOOKED,
        Kind.EXPERT_RESCHEDULED,
        Kind.EXPERT_CANCELLED,
        Kind.EXPERT_REPLACED,
        Kind.EXPERT_SERIES,
        Kind.EXPERT_MESSAGE,
    }
)
# Due by one event alone, whatever the appointment is now: only that event says they no longer are.
BY_EVENT = frozenset({Kind.SLOT_LOST, Kind.EXPERT_REPLACED, Kind.FRAUD_WARNING})


class State(StrEnum):
    """Of one notice. Pending is being sent, or was when its sender died."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"


class NotificationItem(Item):
    """One notice, a sub-item of what it is about: NOTIFICATION#<kind>#<n>. It has no address.

    ``audience``: patient, expert, staff. ``reason`` says in a code why it was not sent; ``at`` is
    of the last change of ``status``. While it is pending nobody else sends it before
    ``claimed_until``; ``tries`` counts the attempts of which nobody knows whether they sent it.
    """

    kind = UnicodeAttribute()
    channel = UnicodeAttribute(default=EMAIL)
    audience = UnicodeAttribute()
    status = UnicodeAttribute()
    reason = UnicodeAttribute(null=True)
    at = InstantAttribute()
    message_id = UnicodeAttribute(null=True)
    claimed_until = InstantAttribute(null=True)
    tries = NumberAttribute(default=0)


def key_of(about: Item, kind: Kind, n: str) -> Key:
    """The key of a notice about an item."""
    entity, item_id = parse_item(about.pk)
    return about.tenant.sub(entity, item_id, f"{NOTIFICATION}#{kind}", n)
