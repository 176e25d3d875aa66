"""Stored items of people: practice, member, role, invitation, expert, patient, API key."""

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
API_KEY = "API_KEY"
ROLE, INVITATION = "ROLE", "INVITATION"
PROFILE_VIEWS = "PROFILE_VIEWS"


class PracticeItem(Item):
    """The tenant. ``policy`` is the default of MONEY_AND_BOOKING_RULES §9, copied at booking.

    ``security`` is what its owner opened or demands: ``{"mfa_required", "experts_see_all",
    "self_sign_up"}``, each true or false; what is not there is false. ``plan_id`` is the platform's
    plan that it is on, set by operators: its commission follows. ``tax_id`` and ``address`` stand
    on receipts; empty is not said. ``former_zones`` are those whose calendar days are still stamped
    on items of before it moved.
    """

    name = UnicodeAttribute()
    zone = UnicodeAttribute()
    former_zones: ListAttribute[Any] = ListAttribute(default=list)
    currency = UnicodeAttribute()
    country = UnicodeAttribute()
    commission_bps = NumberAttribute()
    plan_id = UnicodeAttribute(null=True)
    tax_id = UnicodeAttribute(default="")
    address = UnicodeAttribute(default="")
    policy = JSONAttribute()
    security = JSONAttribute(null=True)
    # What Stripe's catalogue calls services: ``neutral`` words, or the ``service``'s own name.
    stripe_labels = UnicodeAttribute(default="neutral")
    l1pk = UnicodeAttribute()
    l1sk = UnicodeAttribute()


class MemberItem(ListedItem):
    """A person in a practice. ``subject`` is the expert or patient id that they are, if any.

    ``role_id`` is the practice's own role of who has the role ``custom``. ``deactivated_at`` is on
    the membership row too: what the authorizer reads.
    """

    person_id = UnicodeAttribute()
    role = UnicodeAttribute()
    email = UnicodeAttribute()
    name = UnicodeAttribute()
    subject = UnicodeAttribute(default="")
    role_id = UnicodeAttribute(null=True)
    deactivated_at = InstantAttribute(null=True)


class RoleItem(ListedItem):
    """A role that a practice made: a name and the permissions that it grants.

    How many members have it is counted in a row under it, so that giving it to somebody does not
    change its version.
    """

    name = UnicodeAttribute()
    permissions: ListAttribute[Any] = ListAttribute(default=list)


class InvitationItem(ListedItem):
    """Somebody who may come in until ``valid_until``: the sha256 of the mailed token is kept only.

    ``state`` is ``open``, ``accepted`` (by ``member_id``) or ``revoked``; an open one whose time is
    over stays open, and can be sent again. ``mailed_at`` is missing where the mail was refused.
    """

    email = UnicodeAttribute()
    name = UnicodeAttribute()
    role = UnicodeAttribute()
    role_id = UnicodeAttribute(null=True)
    expert = JSONAttribute(null=True)
    patient_id = UnicodeAttribute(null=True)
    state = UnicodeAttribute(default="open")
    token_digest = UnicodeAttribute()
    valid_until = InstantAttribute()
    mailed_at = InstantAttribute(null=True)
    member_id = UnicodeAttribute(null=True)


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


class ProfileViewsItem(Item):
    """How many visitors saw an expert's profile on one local day of the practice's ``zone``.

    Its id is ``<expert id>.<yyyy-mm-dd>``. ``views`` and ``version`` are only ever added to.
    """

    expert_id = UnicodeAttribute()
    local_date = UnicodeAttribute()
    zone = UnicodeAttribute()
    views = NumberAttribute()
    walkpk = UnicodeAttribute()
    walksk = UnicodeAttribute()


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


class ApiKeyItem(ListedItem):
    """An API key without its secret. ``l2`` is its member's list.

    ``lifetime_s`` is what a rotation gives the next one; ``hint`` is enough to recognise a key by.
    """

    member_id = UnicodeAttribute()
    person_id = UnicodeAttribute()
    name = UnicodeAttribute()
    hint = UnicodeAttribute()
    permissions: ListAttribute[Any] = ListAttribute(default=list)
    expires_at = InstantAttribute()
    lifetime_s = NumberAttribute()
    revoked_at = InstantAttribute(null=True)
    replaces = UnicodeAttribute(null=True)
    replaced_by = UnicodeAttribute(null=True)
    l2pk = UnicodeAttribute()
    l2sk = UnicodeAttribute()
