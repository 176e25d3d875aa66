"""GET /v1/analytics/appointments, payment-status and funnel: appointments by what became of them.

All are counted on the day that an appointment is on, by what it is now. A hold that ran out or was
given up never became one.
"""

from collections.abc import Container, Iterable, Iterator
from typing import Any

from consulta.aggregates.figures import Figures
from consulta.core.identity import Principal
from consulta.dashboards import ranges
from consulta.dashboards.analytics import periods
from consulta.dashboards.analytics.asked import Asked, Reads, asked, cancelled, only
from consulta.dashboards.analytics.schema import (
    AppointmentAnalytics,
    FunnelAnalytics,
    FunnelSteps,
    FunnelTrend,
    OfServiceFilter,
    PaymentStatusAnalytics,
    PaymentStatusShare,
    PointsFilter,
    StatusCounts,
    StatusPoint,
    StatusShare,
)
from consulta.scheduling.records import BOOKED, SERVICE, PaymentStatus, Status

HOLDS = frozenset({Status.HELD, Status.EXPIRED})


def by_status(by: Principal, wanted: PointsFilter) -> AppointmentAnalytics:
    """Per period and over the range. Raises Forbidden, Invalid, NotFound, Unavailable."""
    a = asked(by, wanted, "appointments")
    with Reads(a.tenant) as reads:
        in_range = reads.rows(a.subject, a.days, by_day=periods.by_day(wanted.group))
        earlier = reads.rows(a.subject, a.before)
        rows, before = in_range(), _statuses(only(earlier()))
        stamps = reads.stamps(*_counted(a, "status", "scheduled"))
    found = _statuses(only(rows))
    return AppointmentAnalytics(
        **a.shown_with_service(),
        **stamps,
        group=wanted.group,
        total=found.total,
        distribution=[
            StatusShare(status=status, **share)
            for status, share in _shares(found, before, but=HOLDS)
        ],
        previous=before,
        trend_percent=ranges.percent(found.total, before.total),
        points=[
            StatusPoint(**period, **dict(_statuses(part)))
            for period, part in periods.points(a.first, a.last, wanted.group, rows)
        ],
    )


def by_payment_status(by: Principal, wanted: OfServiceFilter) -> PaymentStatusAnalytics:
    """Of scheduled ones. Raises Forbidden, Invalid, NotFound, Unavailable."""
    a = asked(by, wanted, "payments")
    with Reads(a.tenant) as reads:
        in_range, earlier = reads.rows(a.subject, a.days), reads.rows(a.subject, a.before)
        found, before = _payment_statuses(only(in_range())), _payment_statuses(only(earlier()))
        stamps = reads.stamps(*_counted(a, "payment_status"))
    return PaymentStatusAnalytics(
        **a.shown_with_service(),
        **stamps,
        total=found.total,
        distribution=[
            PaymentStatusShare(payment_status=status, **share)
            for status, share in _shares(found, before)
        ],
        previous=before,
        trend_percent=ranges.percent(found.total, before.total),
    )


def funnel(by: Principal, wanted: OfServiceFilter) -> FunnelAnalytics:
    """How far they came. Raises Forbidden, Invalid, NotFound, Unavailable."""
    a = asked(by, wanted, "appointments")
    with Reads(a.tenant) as reads:
        in_range, earlier = reads.rows(a.subject, a.days), reads.rows(a.subject, a.before)
        found, before = _steps(only(in_range())), _steps(only(earlier()))
        stamps = reads.stamps(*_counted(a, "scheduled", "paid", "paid_completed"))
    trends = {
        name: ranges.percent(getattr(found, name), getattr(before, name))
        for name in FunnelTrend.model_fields
    }
    return FunnelAnalytics(
        **a.shown_with_service(),
        **stamps,
        steps=found,
        previous=before,
        trend_percent=FunnelTrend(**trends),
    )


def _counted(a: Asked, *names: str) -> tuple[str, ...]:
    """The figures that have to be complete. A service's day rows are newer than all of them."""
    return () if a.id_of(SERVICE) else names


def _statuses(rows: list[Figures]) -> StatusCounts:
    counts = _counts(rows, "status", Status)
    booked = sum(counts[status] for status in BOOKED)
    counts[Status.CANCELLED] = cancelled(sum(row["scheduled"] for row in rows), booked)
    return StatusCounts(total=booked + counts[Status.CANCELLED], statuses=counts)


def _payment_statuses(rows: list[Figures]) -> StatusCounts:
    counts = _counts(rows, "payment_status", PaymentStatus)
    return StatusCounts(total=sum(counts.values()), statuses=counts)


def _counts(rows: list[Figures], prefix: str, of: Iterable[str]) -> dict[str, int]:
    return {str(one): sum(row[f"{prefix}.{one}"] for row in rows) for one in of}


def _shares(
    found: StatusCounts, before: StatusCounts, *, but: Container[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each status with its count, its part of all, and its change since the time before.

    Those in ``but`` are no part of all.
    """
    for status, count in found.statuses.items():
        percent = None if status in but else ranges.share(count, found.total)
        trend = ranges.percent(count, before.statuses[status])
        yield status, {"count": count, "percent": percent, "trend_percent": trend}


def _steps(rows: list[Figures]) -> FunnelSteps:
    scheduled, paid, completed = (
        sum(row[name] for row in rows) for name in ("scheduled", "paid", "paid_completed")
    )
    return FunnelSteps(
        scheduled=scheduled,
        paid=paid,
        completed=completed,
        paid_percent=ranges.share(paid, scheduled),
        completed_percent=ranges.share(completed, paid),
        overall_percent=ranges.share(completed, scheduled),
    )
