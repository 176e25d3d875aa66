"""GET /v1/analytics/profile: how often profiles were looked at, and how many booked.

A view counts on the day that it was on, an appointment on the day on which it was made. Views are
not kept side by side, so that each expert is asked for by ``expert_id``.
"""

from collections.abc import Iterable

from consulta.aggregates.figures import Figures
from consulta.core.identity import Principal
from consulta.dashboards import ranges
from consulta.dashboards.analytics import periods
from consulta.dashboards.analytics.asked import Reads, asked, only
from consulta.dashboards.analytics.schema import (
    ProfileAnalytics,
    ProfileFilter,
    ProfilePoint,
    ProfileSum,
    ProfileTrend,
)


def of(by: Principal, wanted: ProfileFilter) -> ProfileAnalytics:
    """Of all profiles or one expert's. Raises Forbidden, Invalid, NotFound, Unavailable."""
    a = asked(by, wanted, "appointments")
    with Reads(a.tenant) as reads:
        in_range = reads.rows(a.subject, a.days, by_day=periods.by_day(wanted.group))
        earlier = reads.rows(a.subject, a.before)
        rows, before = in_range(), _sum(only(earlier()))
        stamps = reads.stamps("views", "made")
    total = _sum(only(rows))
    return ProfileAnalytics(
        **a.shown(),
        **stamps,
        group=wanted.group,
        total=total,
        previous=before,
        trend_percent=ProfileTrend(
            views=ranges.percent(total.views, before.views),
            made=ranges.percent(total.made, before.made),
        ),
        points=[
            ProfilePoint(**period, **dict(_sum(part)))
            for period, part in periods.points(a.first, a.last, wanted.group, rows)
        ],
    )


def _sum(rows: Iterable[Figures]) -> ProfileSum:
    views = made = 0
    for row in rows:
        views, made = views + row["views"], made + row["made"]
    return ProfileSum(views=views, made=made, conversion_percent=ranges.share(made, views))
