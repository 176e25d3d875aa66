"""GET /v1/payouts: payouts as they were last read, never asked of a provider.

Patients see none; experts are shown themselves as payee, and whoever may see all payments, all.
"""

from datetime import date, datetime, timedelta

from consulta.core import table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Forbidden, Invalid, NotFound
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.listing import Plan, equal
from consulta.core.permissions import Role
from consulta.core.time import now, to_text, utc_months
from consulta.money.accounts import payees
from consulta.money.records import PAYOUT, PayoutItem
from consulta.money.schema.payouts import (
    Payout,
    PayoutFilter,
    PayoutPage,
)

MAX_RANGE = timedelta(days=366)


def page(by: Principal, wanted: PayoutFilter, limit: int, cursor: str | None) -> PayoutPage:
    """One page. Raises Forbidden, NotFound (no such expert), Invalid, BadRequest."""
    payee_id = payee_of(by, wanted.payee)
    tenant = by.tenant
    scope = (tenant.practice, "/v1/payouts", by.role, payee_id or "", wanted.model_dump_json())
    plan = _plan(tenant, payee_id, _with_range(wanted))
    raws, last_key = plan.read(limit, decode(cursor, *scope))
    items = [to_out(PayoutItem.read(raw)) for raw in raws]
    return PayoutPage(items=items, next_cursor=encode(last_key, *scope))


def get(by: Principal, payout_id: str) -> Payout:
    """One payout. Raises NotFound, also for one that is not the caller's to see."""
    payee_id = payee_of(by, None)
    item = table.get(PayoutItem, by.tenant.item(PAYOUT, payout_id))
    if item is None or payee_id not in (None, item.payee_id):
        raise NotFound
    return to_out(item)


def payee_of(by: Principal, wanted: str | None) -> str | None:
    """The payee's id that the caller is shown; None for all of them.

    Raises Forbidden, and NotFound where the practice has no such expert.
    """
    if by.sees_all("payments"):
        return payees.resolve(by, wanted) if wanted else None
    if by.role is Role.PATIENT or not by.expert or wanted not in (None, by.expert):
        raise Forbidden("Payouts are shown to their payee, and to who may see all payments")
    return by.expert


def _plan(tenant: Tenant, payee_id: str | None, wanted: PayoutFilter) -> Plan:
    first, end = wanted.from_ or now(), wanted.to or now()
    if payee_id:
        index, partitions = "l2", [tenant.listing_by(PAYOUT, "PAYEE", payee_id)]
    else:
        months = reversed(list(utc_months(first, end)))
        index, partitions = "l1", [tenant.listing_by(PAYOUT, "MONTH", month) for month in months]
    return Plan(
        index,
        tuple(partitions),
        to_text(first),
        to_text(end),
        newest_first=True,
        **(equal({"status": wanted.status}) if wanted.status else {}),
    )


def _with_range(wanted: PayoutFilter) -> PayoutFilter:
    end = wanted.to or (wanted.from_ + MAX_RANGE if wanted.from_ else now() + timedelta(days=1))
    first = wanted.from_ or end - MAX_RANGE
    if not timedelta() < end - first <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    return wanted.model_copy(update={"from_": first, "to": end})


def to_out(item: PayoutItem) -> Payout:
    """A payout as the API shows it."""
    made_at: datetime = item.made_at
    return Payout(
        id=item.item_id,
        payee=item.payee_id,
        provider="stripe",
        account=item.account,
        amount=Amount(amount=int(item.amount), currency=item.currency),
        fee=Amount(amount=int(item.fee), currency=item.currency),
        status=item.status,
        method=item.method,
        automatic=bool(item.automatic),
        arrives_on=date.fromisoformat(item.arrives_on),
        failure_code=item.failure_code,
        created_at=made_at,
        updated_at=item.updated_at,
        version=int(item.version),
    )
