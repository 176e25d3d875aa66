"""Stored items of disputes: what a bank takes back because its customer contests a charge."""

from enum import StrEnum
from typing import Any

from pynamodb.attributes import JSONAttribute, ListAttribute, NumberAttribute, UnicodeAttribute

from consulta.core import table
from consulta.core.errors import NotFound
from consulta.core.item import InstantAttribute, TrackedItem
from consulta.core.keys import Tenant

DISPUTE, PROVIDER_DISPUTE = "DISPUTE", "PROVIDER_DISPUTE"


class DisputeStatus(StrEnum):
    """A dispute's state, in Stripe's words. ``warning_*`` is an inquiry: no money moves."""

    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"
    PREVENTED = "prevented"
    WARNING_NEEDS_RESPONSE = "warning_needs_response"
    WARNING_UNDER_REVIEW = "warning_under_review"
    WARNING_CLOSED = "warning_closed"


# The disputed part of the charge is not ours to refund: it may go to the bank, or has gone.
AT_RISK = frozenset({DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW, DisputeStatus.LOST})
CLOSED = frozenset(
    {
        DisputeStatus.WON,
        DisputeStatus.LOST,
        DisputeStatus.PREVENTED,
        DisputeStatus.WARNING_CLOSED,
    }
)
# No money moves, and none is counted.
INQUIRIES = frozenset(
    {
        DisputeStatus.WARNING_NEEDS_RESPONSE,
        DisputeStatus.WARNING_UNDER_REVIEW,
        DisputeStatus.WARNING_CLOSED,
        DisputeStatus.PREVENTED,
    }
)


class Asked(StrEnum):
    """What became of a transfer between the platform and the payee that a dispute asks for."""

    REQUESTED = "requested"
    DONE = "done"
    FAILED = "failed"


class DisputeItem(TrackedItem):
    """A dispute of one payment. All amounts in minor units of ``currency``.

    ``held`` is its part of the payment's ``disputed``. ``withdrawn``, ``reinstated`` and ``fee``
    are the sums of the provider's balance transactions, whose ids are in ``transactions``: what is
    there was posted. ``lost`` is what was posted as lost, ``lost_by_payee`` the part of it that the
    payee bears of a destination charge. ``recovery`` and ``returning`` (:class:`Asked`) are
    transfers back from the payee, and to it again; ``to_recover`` was asked for, ``recovered`` and
    ``returned`` moved. ``local_date`` is the practice's day on which it was opened. ``fx`` is there
    where its provider settles in another currency: {"currency", "fee"} instead of ``fee``.
    Lists: l1 by UTC month of opening, l2 payment, l3 expert.
    """

    payment_id = UnicodeAttribute()
    appointment_id = UnicodeAttribute(null=True)
    package_id = UnicodeAttribute(null=True)
    patient_id = UnicodeAttribute()
    expert_id = UnicodeAttribute()
    service_id = UnicodeAttribute()
    provider = UnicodeAttribute()
    provider_id = UnicodeAttribute()
    amount = NumberAttribute()
    currency = UnicodeAttribute()
    reason = UnicodeAttribute()
    status = UnicodeAttribute()
    evidence_due_by = InstantAttribute(null=True)
    opened_at = InstantAttribute()
    closed_at = InstantAttribute(null=True)
    zone = UnicodeAttribute()
    local_date = UnicodeAttribute()
    held = NumberAttribute(default=0)
    withdrawn = NumberAttribute(default=0)
    reinstated = NumberAttribute(default=0)
    fee = NumberAttribute(default=0)
    fx = JSONAttribute(null=True)
    transactions: ListAttribute[Any] = ListAttribute(default=list)
    lost = NumberAttribute(default=0)
    lost_by_payee = NumberAttribute(default=0)
    recovery = UnicodeAttribute(null=True)
    to_recover = NumberAttribute(default=0)
    recovered = NumberAttribute(default=0)
    returning = UnicodeAttribute(null=True)
    returned = NumberAttribute(default=0)


def find(tenant: Tenant, dispute_id: str) -> DisputeItem:
    """One dispute, consistently. Raises NotFound."""
    found = table.get(DisputeItem, tenant.item(DISPUTE, dispute_id))
    if found is None:
        raise NotFound
    return found
