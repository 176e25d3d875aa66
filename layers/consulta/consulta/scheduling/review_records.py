"""Stored reviews: what a patient thought of a visit."""

from enum import StrEnum

from pynamodb.attributes import JSONAttribute, NumberAttribute, UnicodeAttribute

from consulta.core import ids
from consulta.core.item import InstantAttribute, TrackedItem

REVIEW = "REVIEW"
_PREFIX = "rev"


class ReviewStatus(StrEnum):
    """Whether everybody sees it, or only its author and the practice."""

    PUBLISHED = "published"
    HIDDEN = "hidden"


class ReviewItem(TrackedItem):
    """A patient's review of one completed appointment; its id is made from the appointment's.

    ``rating`` is 1 to 5. ``comment``, ``reply`` ({"text", "by": "expert" | "practice", "at"}) and
    ``hidden_reason`` are personal to ``patient_id``: the audit keeps them under their key.
    ``local_date`` is the day in the practice's ``zone`` on which it was written: figures count it
    there, as long as it is published. ``deleted_at`` marks a soft delete, which takes the words
    and the places in the lists with it. Lists: l1 by UTC month, l2 by expert, l3 by patient, each
    ordered by when it was written.
    """

    appointment_id = UnicodeAttribute()
    expert_id = UnicodeAttribute()
    service_id = UnicodeAttribute()
    patient_id = UnicodeAttribute()
    rating = NumberAttribute()
    comment = UnicodeAttribute(default="")
    status = UnicodeAttribute(default=str(ReviewStatus.PUBLISHED))
    zone = UnicodeAttribute()
    local_date = UnicodeAttribute()
    edited_at = InstantAttribute(null=True)
    reply = JSONAttribute(null=True)
    hidden_at = InstantAttribute(null=True)
    hidden_reason = UnicodeAttribute(null=True)
    deleted_at = InstantAttribute(null=True)


def id_of(appointment_id: str) -> str:
    """The id of an appointment's one review. It does not lead back: everybody sees reviews, and
    an appointment's id says when it was booked.
    """
    return ids.derived(_PREFIX, appointment_id)
