"""Stored items of people: practice, member, expert, patient."""

from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    JSONAttribute,
    ListAttribute,
    NumberAttribute,
    UnicodeAttribute,
)

from consulta.core.item import InstantAttribute, Item, ListedItem

PRACTICE, MEMBER, EXPERT, PATIENT = "PRACTICE", "MEMBER", "EXPERT", "PATIENT"


class PracticeItem(Item):
    """The tenant. ``policy`` is the default of MONEY_AND_BOOKING_RULES §9, copied at booking."""

    name = UnicodeAttribute()
    zone = UnicodeAttribute()
    currency = UnicodeAttribute()
    country = UnicodeAttribute()
    commission_bps = NumberAttribute()
    policy = JSONAttribute()
    l1pk = UnicodeAttribute()
    l1sk = UnicodeAttribute()


class MemberItem(ListedItem):
    """A person in a practice. ``subject`` is the expert or patient id that they are, if any."""

    person_id = UnicodeAttribute()
    role = UnicodeAttribute()
    email = UnicodeAttribute()
    name = UnicodeAttribute()
    subject = UnicodeAttribute(default="")


class ExpertItem(ListedItem):
    """A member who sees patients: public profile, and what of the set-up is done."""

    member_id = UnicodeAttribute()
    name = UnicodeAttribute()
    title = UnicodeAttribute(default="")
    bio = UnicodeAttribute(default="")
    languages: ListAttribute[Any] = ListAttribute(default=list)
    zone = UnicodeAttribute()
    published = BooleanAttribute(default=False)
    # Steps of the set-up that other items decide, kept here so that a dashboard reads one item.
    has_hours = BooleanAttribute(default=False)
    has_service = BooleanAttribute(default=False)
    identity_verified = BooleanAttribute(default=False)
    payments_ready = BooleanAttribute(default=False)
    calendar_connected = BooleanAttribute(default=False)


class PatientItem(ListedItem):
    """A person who is seen. ``deleted_at`` marks a soft delete.

    ``local_date`` is the practice's calendar day of the creation, for the figures. ``l2`` is the
    search by name: its range key is the folded name, so it has no cursor (names stay out of URLs).
    """

    name = UnicodeAttribute()
    email = UnicodeAttribute(null=True)
    phone = UnicodeAttribute(null=True)
    notes = UnicodeAttribute(null=True)
    trust = UnicodeAttribute(default="new")
    local_date = UnicodeAttribute()
    deleted_at = InstantAttribute(null=True)
    l2pk = UnicodeAttribute(null=True)
    l2sk = UnicodeAttribute(null=True)
