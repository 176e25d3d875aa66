"""GET /v1/disputes: by payment, by expert, or month by month; the newest first.

The dimension and the time are read by index; the rest is filtered within the list's read budget,
so that a page may be short and still go on (docs/lists.md). What a dispute does to money is in
:mod:`consulta.money.disputes.effects`.
"""

from datetime import timedelta

from consulta.core.cursor import decode, encode
from consulta.core.errors import Forbidden, NotFound
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.listing import Plan, equal
from consulta.core.permissions import Role
from consulta.core.time import now, to_text, utc_months
from consulta.money.disputes.records import DISPUTE, DisputeItem, DisputeStatus, find
from consulta.money.schema.disputes import Dispute, DisputeFilter, DisputePage

MAX_RANGE = timedelta(days=366)
DAY = timedelta(days=1)
_AWAITS_EVIDENCE = frozenset({DisputeStatus.NEEDS_RESPONSE, DisputeStatus.WARNING_NEEDS_RESPONSE})


def page(by: Principal, wanted: DisputeFilter, limit: int, cursor: str | None) -> DisputePage:
    """One page. Raises Forbidden, BadRequest (a cursor of another list)."""
    _not_for_patients(by)
    if not by.sees_all("payments"):
        if not by.expert or wanted.expert_id not in (None, by.expert):
            raise Forbidden("You see only your own disputes")
        wanted = wanted.model_copy(update={"expert_id": by.expert})
    scope = (by.tenant.practice, "/v1/disputes", by.role, wanted.model_dump_json())
    raws, last_key = _plan(by.tenant, wanted).read(limit, decode(cursor, *scope))
    shown = [view(DisputeItem.read(raw)) for raw in raws]
    return DisputePage(items=shown, next_cursor=encode(last_key, *scope))


def get(by: Principal, dispute_id: str) -> Dispute:
    """One dispute that the caller may see. Raises Forbidden, NotFound."""
    _not_for_patients(by)
    found = find(by.tenant, dispute_id)
    if not by.sees("payments", found.patient_id, found.expert_id):
        raise NotFound
    return view(found)


def _not_for_patients(by: Principal) -> None:
    if by.role is Role.PATIENT:
        raise Forbidden("Disputes are the practice's to see")


def _plan(tenant: Tenant, wanted: DisputeFilter) -> Plan:
    filters: dict[str, str] = {"status": wanted.status} if wanted.status else {}
    low = high = None
    if wanted.payment_id:
        index, partitions = "l2", [tenant.listing_by(DISPUTE, "PAYMENT", wanted.payment_id)]
        filters |= {"expert_id": wanted.expert_id} if wanted.expert_id else {}
    elif wanted.expert_id:
        index, partitions = "l3", [tenant.listing_by(DISPUTE, "EXPERT", wanted.expert_id)]
    else:
        # The end is a day ahead: the provider's clock is not ours.
        first, end = now() - MAX_RANGE, now() + DAY
        low, high = to_text(first), to_text(end)
        index = "l1"
        partitions = [
            tenant.listing_by(DISPUTE, "MONTH", month)
            for month in reversed(list(utc_months(first, end)))
        ]
    return Plan(index, tuple(partitions), low, high, newest_first=True, **equal(filters))


def days_left(item: DisputeItem) -> int | None:
    """Whole days in which evidence can still be sent; None where nobody waits for it."""
    if item.status not in _AWAITS_EVIDENCE or item.evidence_due_by is None:
        return None
    return max(0, (item.evidence_due_by - now()) // DAY)


def view(item: DisputeItem) -> Dispute:
    """One dispute as the API shows it."""

    def amount(minor: float) -> Amount:
        return Amount(amount=int(minor), currency=item.currency)

    left = days_left(item)
    return Dispute(
        id=item.item_id,
        payment_id=item.payment_id,
        appointment_id=item.appointment_id,
        package_id=item.package_id,
        patient_id=item.patient_id,
        expert_id=item.expert_id,
        service_id=item.service_id,
        provider=item.provider,
        provider_id=item.provider_id,
        status=item.status,
        reason=item.reason,
        amount=amount(item.amount),
        disputed=amount(item.held),
        fee=amount(item.fee),
        recovered=amount(item.recovered),
        returned=amount(item.returned),
        lost=amount(item.lost),
        evidence_due_by=item.evidence_due_by if left is not None else None,
        days_left=left,
        opened_at=item.opened_at,
        closed_at=item.closed_at,
        created_at=item.created_at,
        updated_at=item.updated_at,
        version=int(item.version),
    )
