"""GET /v1/analytics/services: every service side by side, those that were booked most first."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from consulta.aggregates.catalog import SERVICES
from consulta.aggregates.figures import Figures
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.money import proportion
from consulta.core.table import Raw
from consulta.dashboards import ranges
from consulta.dashboards.analytics.asked import Members, Reads, asked_of_all, cancelled, named
from consulta.dashboards.analytics.schema import (
    PracticeFilter,
    ServiceAnalytics,
    ServiceCounts,
    ServiceLine,
    ServiceMoney,
)
from consulta.scheduling.records import BOOKED, SERVICE, Status

MONEY = ("value", "collected", "refunded", "payments")


def of(by: Principal, wanted: PracticeFilter, limit: int) -> ServiceAnalytics:
    """The first ``limit`` of them. Raises Forbidden, Invalid, Unavailable.

    Read are as many rows as services had anything on a day beside the whole months, or in one of
    those: never more than 73 for each service.
    """
    a = asked_of_all(by, wanted, "appointments", "payments")
    with Reads(a.tenant) as reads:
        in_range, earlier = (reads.members(SERVICES, days) for days in (a.days, a.before))
        found, before = _together(in_range()), _together(earlier())
        counts = {one: _counts(rows) for one, rows in found.items()}
        order = sorted(counts, key=lambda one: (-counts[one].bookings, one))
        first = [(one, a.tenant.item(SERVICE, one)) for one in order[:limit]]
        items = reads.items(key for _, key in first)
        stamps = reads.stamps()
    total, total_before = (
        _counts(row for rows in side.values() for row in rows) for side in (found, before)
    )
    return ServiceAnalytics(
        first=a.first,
        last=a.last,
        **stamps,
        services=len(found),
        total=total,
        previous=total_before,
        trend_percent=ranges.percent(total.bookings, total_before.bookings),
        items=[
            ServiceLine(
                service=named(items, key, one),
                deleted=_is_deleted(items.get(key)),
                **dict(counts[one]),
                trend_percent=ranges.percent(
                    counts[one].bookings, _counts(before.get(one, ())).bookings
                ),
                items=_money(found[one]),
            )
            for one, key in first
        ],
    )


def _together(members: Members) -> dict[str, list[Figures]]:
    """Rows by service; one of which all figures are zero again had nothing."""
    found: dict[str, list[Figures]] = defaultdict(list)
    for service, row in members:
        if any(row.values()):
            found[service].append(row)
    return dict(found)


def _is_deleted(item: Raw | None) -> bool:
    return item is None or "S" in item.get("deleted_at", {})


def _counts(rows: Iterable[Figures]) -> ServiceCounts:
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update({status: row[f"status.{status}"] for status in BOOKED})
        sums["scheduled"] += row["scheduled"]
    completed, no_show = sums[Status.COMPLETED], sums[Status.NO_SHOW]
    bookings = sum(sums[status] for status in BOOKED)
    return ServiceCounts(
        bookings=bookings,
        completed=completed,
        cancelled=cancelled(sums["scheduled"], bookings),
        no_show=no_show,
        no_show_percent=ranges.share(no_show, completed + no_show),
    )


def _money(rows: list[Figures]) -> list[ServiceMoney]:
    found = ranges.by_currency(rows, MONEY)
    return [_in_currency(currency, sums) for currency, sums in sorted(found.items())]


def _in_currency(currency: str, sums: Counter[str]) -> ServiceMoney:
    def amount(minor: int) -> Amount:
        return Amount(amount=minor, currency=currency)

    gross, payments = sums["collected"], sums["payments"]
    return ServiceMoney(
        currency=currency,
        value=amount(sums["value"]),
        gross=amount(gross),
        refunded=amount(sums["refunded"]),
        collected=amount(gross - sums["refunded"]),
        # Half to even, in whole minor units.
        average=amount(proportion(gross, 1, payments)) if gross and payments else None,
    )
