"""GET /v1/analytics/revenue: what was collected and earned, by currency and by period."""

from collections import Counter
from functools import partial

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
    shown = partial(_shown, earned=not of_service)
    sums = ranges.by_currency(only(rows), NAMES)
    sums_before = ranges.by_currency(only(before), NAMES)
    return RevenueAnalytics(
        **a.shown_with_service(),
        **stamps,
        group=wanted.group,
        items=[
            _total(shown(currency, sums), shown(currency, sums_before))
            for currency in sorted({*sums, *sums_before})
        ],
        points=[
            RevenuePoint(**period, items=[shown(one, part) for one in sorted(sums)])
            for period, found in periods.points(a.first, a.last, wanted.group, rows)
            for part in [ranges.by_currency(found, NAMES)]
        ],
    )


def _shown(currency: str, sums: dict[str, Counter[str]], *, earned: bool) -> RevenueSum:
    """One currency's sums; zeros where there is none. A service has nothing ``earned``."""
    values = sums.get(currency, Counter())

    def amount(minor: int) -> Amount:
        return Amount(amount=minor, currency=currency)

    return RevenueSum(
        currency=currency,
        gross=amount(values["collected"]),
        refunded=amount(values["refunded"]),
        collected=amount(values["collected"] - values["refunded"]),
        earned=amount(values["earned"]) if earned else None,
        payments=values["payments"],
    )


def _total(found: RevenueSum, before: RevenueSum) -> RevenueTotal:
    trends = {}
    for name in RevenueTrend.model_fields:
        value, base = (_number(getattr(one, name)) for one in (found, before))
        trends[name] = None if value is None or base is None else ranges.percent(value, base)
    return RevenueTotal(**dict(found), previous=before, trend_percent=RevenueTrend(**trends))


def _number(value: Amount | int | None) -> int | None:
    return value.amount if isinstance(value, Amount) else value
