"""GET /v1/earnings: what was collected and what was earned, from the figures alone.

Whole months are read as month rows, the days beside them as day rows, never a payment. Currencies
are never added together.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from consulta.aggregates import figures
from consulta.aggregates.figures import Figures
from consulta.core.errors import Forbidden, Invalid
from consulta.core.fields import Amount
from consulta.core.identity import Principal, own_only
from consulta.core.permissions import Role
from consulta.core.time import from_text, now
from consulta.dashboards import ranges
from consulta.dashboards.ranges import Rows, percent
from consulta.dashboards.schema_earnings import (
    EarningsFilter,
    EarningsPart,
    EarningsSum,
    EarningsTotal,
    Group,
    PeriodEarnings,
    Trend,
)
from consulta.people.records import PRACTICE

MAX_DAYS_APART = 92
MONEY = (
    "collected",
    "refunded",
    "earned",
    "commission",
    "commission_returned",
    "pending_commission",
    "fee",
    "platform_fee",
    "tax_withheld",
)
_COUNTED = (*MONEY, "payments")


def of(by: Principal, wanted: EarningsFilter) -> PeriodEarnings:
    """Of the practice or of one expert. Raises Forbidden, Invalid, NotFound."""
    if by.role is Role.PATIENT:
        raise Forbidden("These are figures of a practice")
    wanted = own_only(by, wanted, "payments")
    first, last = wanted.first, wanted.last
    _check(wanted)
    tenant, subject = by.tenant, ranges.subject(by, wanted.expert_id)
    walk = (PRACTICE, tenant.practice, figures.WALK)
    instant, walked = now(), figures.read(tenant, [walk])[walk]
    rows = ranges.rows(tenant, subject, first, last, by_day=wanted.group is Group.DAY)
    before = _sums(row for _, row in ranges.rows(tenant, subject, *ranges.before(first, last)))
    found = [row for _, row in rows]
    changed = figures.latest(found)
    return PeriodEarnings(
        first=first,
        last=last,
        expert_id=wanted.expert_id,
        items=[
            _total(sum_, before.get(currency)) for currency, sum_ in sorted(_sums(found).items())
        ],
        parts=_parts(rows, wanted.group) if wanted.group else None,
        complete=figures.is_complete(walked, *_COUNTED),
        as_of=instant,
        changed_at=from_text(changed) if changed else None,
    )


def _check(wanted: EarningsFilter) -> None:
    ranges.check(wanted.first, wanted.last)
    days = (wanted.last - wanted.first).days + 1
    if wanted.group is Group.DAY and days > MAX_DAYS_APART:
        message = f"Day by day at most {MAX_DAYS_APART} days"
        raise Invalid.of("query.to", message, "range")


def _parts(rows: Rows, group: Group) -> list[EarningsPart]:
    """The rows by day or by month, in order."""
    together: dict[str, list[Figures]] = defaultdict(list)
    for day, row in rows:
        together[day.isoformat() if group is Group.DAY else f"{day:%Y-%m}"].append(row)
    shown = [
        EarningsPart(period=period, items=[one for _, one in sorted(_sums(found).items())])
        for period, found in sorted(together.items())
    ]
    return [part for part in shown if part.items]


def _sums(rows: Iterable[Figures]) -> dict[str, EarningsSum]:
    """What rows come to, by currency; none where there is no money in any."""
    found = ranges.by_currency(rows, _COUNTED)
    return {currency: _sum(currency, one) for currency, one in found.items()}


def _sum(currency: str, values: Counter[str]) -> EarningsSum:
    gross, commission = values["collected"], values["commission"]
    collected = gross - values["refunded"]
    fees = values["fee"] - values["platform_fee"]
    kept = commission - values["commission_returned"]
    amounts = {
        "gross": gross,
        "refunded": values["refunded"],
        "collected": collected,
        "earned": values["earned"],
        "fees": fees,
        "tax_withheld": values["tax_withheld"],
        "commission": commission,
        "commission_returned": values["commission_returned"],
        "pending_commission": values["pending_commission"],
        "net": collected - kept - fees - values["tax_withheld"],
    }
    return EarningsSum(
        currency=currency,
        payments=values["payments"],
        commission_percent=round(commission * 100 / gross, 2) if gross else None,
        **{name: Amount(amount=value, currency=currency) for name, value in amounts.items()},
    )


def _total(found: EarningsSum, before: EarningsSum | None) -> EarningsTotal:
    trends = {
        name: percent(getattr(found, name).amount, getattr(before, name).amount if before else 0)
        for name in Trend.model_fields
    }
    return EarningsTotal(**dict(found), trend_percent=Trend(**trends))
