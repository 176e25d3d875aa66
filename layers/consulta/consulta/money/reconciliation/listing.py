"""Runs and differences as the API shows them: operators see all, a practice its own."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from consulta.core import table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Forbidden, Invalid, NotFound
from consulta.core.fields import Amount
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.listing import Plan, equal
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.money.accounts.payout_effects import PLATFORM_TENANT
from consulta.money.reconciliation import running, storing
from consulta.money.reconciliation.matching import SENTENCES, Cause, Kind
from consulta.money.reconciliation.records import (
    DIFFERENCE,
    RECONCILIATION,
    DifferenceItem,
    RunItem,
)
from consulta.money.reconciliation.schema import (
    ClassCount,
    DifferenceFilter,
    DifferencePage,
    FailedAccount,
    ProvenBalance,
    Reconciliation,
    ReconciliationDifference,
    ReconciliationPage,
    RunRequest,
)

LOOK_BACK, MAX_RANGE = timedelta(days=92), timedelta(days=366)
# How far back a day may be looked at again: what providers still list in one go.
OLDEST = timedelta(days=60)
READ_BUDGET = 500
REPORT_COLUMNS = (
    "id",
    "class",
    "cause",
    "state",
    "provider",
    "account",
    "practice_id",
    "provider_id",
    "posting_id",
    "payment_id",
    "currency",
    "expected",
    "found",
    "occurred_at",
    "first_seen",
    "last_seen",
    "resolved_at",
)


def _tenant(by: Principal) -> Tenant:
    """The practice's own, or the platform's for operators. Raises Forbidden."""
    if by.role is Role.OPERATOR:
        return PLATFORM_TENANT
    return by.tenant


def page(by: Principal, limit: int, cursor: str | None) -> ReconciliationPage:
    """Runs, the last day first. Raises BadRequest (a cursor of another list)."""
    tenant = _tenant(by)
    scope = (tenant.practice, "/v1/reconciliations")
    query = table.Query(tenant.listing(RECONCILIATION), index="l1", newest_first=True)
    found = query.page(limit, decode(cursor, *scope))
    items = [shown(RunItem.read(raw)) for raw in found.items]
    return ReconciliationPage(items=items, next_cursor=encode(found.last_key, *scope))


def get(by: Principal, day: str) -> Reconciliation:
    """One day's. Raises NotFound."""
    return shown(_load(_tenant(by), day))


def _load(tenant: Tenant, day: str) -> RunItem:
    item = running.find(tenant, day)
    if item is None:
        raise NotFound
    return item


def ask(by: Principal, body: RunRequest, key: str | None) -> Reconciliation:
    """Have a day looked at again. Raises Invalid for one that is not over, or too long ago."""
    if by.role is not Role.OPERATOR:
        raise Forbidden
    once = Idempotent.of(PLATFORM_TENANT, by.person, key, body)
    if once.result:
        return get(by, once.result)
    today = now().date()
    day = body.day or today
    if not today - OLDEST <= day <= today:
        raise Invalid.of("body.day", f"Give a day of the last {OLDEST.days}", "range")
    item = running.ask(day, by.actor, once.actions(day.isoformat()))
    return shown(item)


def differences(
    by: Principal, wanted: DifferenceFilter, limit: int, cursor: str | None
) -> DifferencePage:
    """One page. Raises Invalid (the range), BadRequest (a cursor of another list)."""
    tenant = _tenant(by)
    high = wanted.to or now() + timedelta(days=1)
    low = wanted.from_ or high - LOOK_BACK
    if not timedelta() < high - low <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    asked = {"kind": wanted.class_, "state": wanted.state}
    filters = {name: str(value) for name, value in asked.items() if value is not None}
    scope = (tenant.practice, "/v1/reconciliation-differences", wanted.model_dump_json())
    index, partition = _list(tenant)
    plan = Plan(
        index,
        (partition,),
        to_text(low),
        to_text(high),
        newest_first=True,
        **(equal(filters) if filters else {}),
        budget=READ_BUDGET,
    )
    raws, last_key = plan.read(limit, decode(cursor, *scope))
    items = [difference(DifferenceItem.read(raw)) for raw in raws]
    return DifferencePage(items=items, next_cursor=encode(last_key, *scope))


def _list(tenant: Tenant) -> tuple[str, str]:
    if tenant == PLATFORM_TENANT:
        return "l2", storing.all_differences()
    return "l1", tenant.listing(DIFFERENCE)


def seen_on(tenant: Tenant, day: str) -> Iterator[DifferenceItem]:
    """All differences that were open in the run of a day."""
    index, partition = _list(tenant)
    end = datetime.combine(date.fromisoformat(day) + OLDEST, time.min, UTC)
    begin = end - OLDEST - OLDEST - timedelta(days=1)
    query = table.Query(partition, index=index, low=to_text(begin), high=to_text(end))
    for raw in query.all():
        item = DifferenceItem.read(raw)
        if item.first_day <= day <= item.last_day:
            yield item


def report(by: Principal, day: str) -> str:
    """A run's differences as CSV (RFC 4180): ids, codes and minor units. Raises NotFound."""
    tenant = _tenant(by)
    _load(tenant, day)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(REPORT_COLUMNS)
    for item in seen_on(tenant, day):
        row = difference(item).model_dump(by_alias=True, mode="json")
        row["currency"] = item.currency
        row |= {name: row[name]["amount"] for name in ("expected", "found")}
        writer.writerow(["" if row[name] is None else row[name] for name in REPORT_COLUMNS])
    return text.getvalue()


# ---------------------------------------------------------------- as they are shown


def shown(item: RunItem) -> Reconciliation:
    """A run, or a practice's part of it."""
    return Reconciliation(
        day=date.fromisoformat(item.item_id),
        state=item.state,
        started_at=item.started_at,
        finished_at=item.finished_at if item.state == "finished" else None,
        accounts=int(item.accounts),
        transactions=int(item.transactions),
        counts=[
            ClassCount.model_validate({"class": kind, "differences": int(item.counts[kind])})
            for kind in Kind
            if item.counts.get(kind)
        ],
        balances=[_balance(balance) for balance in item.balances],
        failures=[FailedAccount(**failed) for failed in item.failures],
    )


def _balance(raw: dict[str, Any]) -> ProvenBalance:
    def amount(name: str) -> Amount:
        return Amount(amount=int(raw[name]), currency=raw["currency"])

    return ProvenBalance(
        account=raw["account"],
        provider=None if raw["provider"] is None else amount("provider"),
        ledger=amount("ledger"),
        explained=amount("explained"),
        unsettled=amount("unsettled"),
        proven=raw["provider"] is not None and raw["provider"] == raw["ledger"],
    )


def difference(item: DifferenceItem) -> ReconciliationDifference:
    """One difference."""
    practice = item.tenant.practice
    return ReconciliationDifference.model_validate(
        {
            "id": item.item_id,
            "class": item.kind,
            "cause": item.cause,
            "detail": SENTENCES[Cause(item.cause)],
            "state": item.state,
            "provider": item.provider,
            "account": item.account,
            "practice_id": None if practice == PLATFORM_TENANT.practice else practice,
            "provider_id": item.provider_id,
            "posting_id": item.posting_key,
            "payment_id": item.payment_id,
            "expected": Amount(amount=int(item.expected), currency=item.currency),
            "found": Amount(amount=int(item.found), currency=item.currency),
            "occurred_at": item.at,
            "first_seen": item.first_seen,
            "last_seen": item.last_seen,
            "resolved_at": item.resolved_at,
        }
    )
