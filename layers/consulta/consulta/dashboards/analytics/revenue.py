"""GET /v1/analytics/revenue: what was collected and earned, by currency and by period."""

from collections import Counter
from dataclasses import dataclass

from consulta.aggregates.figures import Figures
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.dashboards import ranges
from consulta.dashboards.analytics import periods
from consulta.dashboards.analytics.asked import Reads, asked, only
from consulta.dashboards.analytics.schema import (
    PointsFilter,
    RevenueAnalytics,
    RevenuePoint,
    RevenueSum,
    RevenueTotal,
    RevenueTrend,
)
from consulta.dashboards.ranges import Rows
from consulta.scheduling.records import SERVICE

NAMES = ("collected", "refunded", "earned", "payments")


def of(by: Principal, wanted: PointsFilter) -> RevenueAnalytics:
    """Of the practice, an expert or a service. Raises Forbidden, Invalid, NotFound, Unavailable."""
    a = asked(by, wanted, "payments")
    of_service = a.id_of(SERVICE) is not None
    with Reads(a.tenant) as reads:
        in_range = reads.rows(a.subject, a.days, by_day=periods.by_day(wanted.group))
        earlier = reads.rows(a.subject, a.before)
        rows, before = in_range(), earlier()
        # A service's day rows are newer than their figures: only a walk of all makes them whole.
        stamps = reads.stamps(*(() if of_service else NAMES))
    money = _Money()
    if of_service:
        paid_in = paid_currencies(only([*rows, *before]))
        money = _Money(earned=False, payments=len(paid_in) <= 1)
        if len(paid_in) == 1:
            [currency] = paid_in
            rows, before = _counted_in(rows, currency), _counted_in(before, currency)
    sums = ranges.by_currency(only(rows), NAMES)
    sums_before = ranges.by_currency(only(before), NAMES)
    return RevenueAnalytics(
        **a.shown_with_service(),
        **stamps,
        group=wanted.group,
        items=[
            _total(money.shown(currency, sums), money.shown(currency, sums_before))
            for currency in sorted({*sums, *sums_before})
        ],
        points=[
            RevenuePoint(**period, items=[money.shown(one, part) for one in sorted(sums)])
            for period, found in periods.points(a.first, a.last, wanted.group, rows)
            for part in [ranges.by_currency(found, NAMES)]
        ],
    )


def paid_currencies(found: list[Figures]) -> set[str]:
    """In which currencies there is a payment in these rows."""
    return {currency for row in found for currency in row.money("collected")}


def _counted_in(rows: Rows, currency: str) -> Rows:
    """A service's rows, which count payments of all currencies together: all are of this one."""
    name = f"payments.{currency}"
    return [(day, Figures({**row, name: row["payments"]})) for day, row in rows]


@dataclass(frozen=True, slots=True)
class _Money:
    """Which parts of the money the subject's rows can tell."""

    earned: bool = True
    payments: bool = True

    def shown(self, currency: str, sums: dict[str, Counter[str]]) -> RevenueSum:
        """One currency's sums; zeros where there is none."""
        values = sums.get(currency, Counter())

        def amount(minor: int) -> Amount:
            return Amount(amount=minor, currency=currency)

        return RevenueSum(
            currency=currency,
            gross=amount(values["collected"]),
            refunded=amount(values["refunded"]),
            collected=amount(values["collected"] - values["refunded"]),
            earned=amount(values["earned"]) if self.earned else None,
            payments=values["payments"] if self.payments else None,
        )


def _total(found: RevenueSum, before: RevenueSum) -> RevenueTotal:
    trends = {}
    for name in RevenueTrend.model_fields:
        value, base = (_number(getattr(one, name)) for one in (found, before))
        trends[name] = None if value is None or base is None else ranges.percent(value, base)
    return RevenueTotal(**dict(found), previous=before, trend_percent=RevenueTrend(**trends))


def _number(value: Amount | int | None) -> int | None:
    return value.amount if isinstance(value, Amount) else value
