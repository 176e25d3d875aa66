"""GET /v1/analytics/no-shows: how many did not come, with whom, to what, and who they are."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from consulta.aggregates.catalog import EXPERTS, PATIENTS, SERVICES
from consulta.aggregates.figures import Figures
from consulta.core.identity import Principal
from consulta.dashboards import ranges
from consulta.dashboards.analytics.asked import (
    Asked,
    Later,
    Members,
    Reads,
    asked,
    check_happenings,
    named,
    only,
)
from consulta.dashboards.analytics.schema import (
    AnalyticsFilter,
    NoShowAnalytics,
    NoShowLine,
    NoShowRate,
    NoShowTrend,
)
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.scheduling.records import SERVICE

SIDE_BY_SIDE = {EXPERT: EXPERTS, SERVICE: SERVICES, PATIENT: PATIENTS}
Rates = dict[str, NoShowRate]


def of(by: Principal, wanted: AnalyticsFilter, limit: int) -> NoShowAnalytics:
    """The rate, and the first ``limit`` experts, services and patients by missed appointments.

    Raises Forbidden, Invalid, NotFound, Unavailable.
    """
    a = asked(by, wanted, "appointments")
    is_practice = a.id_of(PRACTICE) is not None
    with Reads(a.tenant) as reads:
        in_range, earlier = (reads.rows(a.subject, days) for days in (a.days, a.before))
        lists: dict[str, Any] = {f"by_{kind.lower()}": None for kind in SIDE_BY_SIDE}
        if is_practice:
            lists = _lists(by, a, reads, in_range, limit)
        total, before = _rate(only(in_range())), _rate(only(earlier()))
        stamps = reads.stamps(*(() if is_practice else ("status",)))
    return NoShowAnalytics(
        **a.shown(),
        **stamps,
        total=total,
        previous=before,
        trend_percent=_trend(total, before),
        **lists,
    )


def _lists(by: Principal, a: Asked, reads: Reads, in_range: Later, limit: int) -> dict[str, Any]:
    """Who missed most, of each kind; all their names come from one batch."""
    # Few are experts and services, so that the days before are read as well.
    earlier = {kind: reads.members(SIDE_BY_SIDE[kind], a.before) for kind in (EXPERT, SERVICE)}
    reading = {kind: reads.members(SIDE_BY_SIDE[kind], a.days) for kind in (EXPERT, SERVICE)}
    check_happenings(only(in_range()))
    reading[PATIENT] = reads.members(PATIENTS, a.days)
    rates = {kind: _rates(found()) for kind, found in reading.items()}
    before = {kind: _rates(found()) for kind, found in earlier.items()}
    keys = {
        (kind, one): a.tenant.item(kind, one)
        for kind, found in rates.items()
        for one in _order(found)[:limit]
    }
    shown = [key for (kind, _), key in keys.items() if kind != PATIENT or by.sees_patients]
    names = reads.items(shown)
    lists: dict[str, list[NoShowLine]] = {f"by_{kind.lower()}": [] for kind in SIDE_BY_SIDE}
    for (kind, one), key in keys.items():
        line = NoShowLine(of=named(names, key, one), **dict(rates[kind][one]))
        if kind in before:
            earlier_rate = before[kind].get(one, _rate(()))
            line = NoShowTrend(**dict(line), previous_percent=earlier_rate.no_show_percent)
        lists[f"by_{kind.lower()}"].append(line)
    return lists


def _order(rates: Rates) -> list[str]:
    """Most missed first, without who missed nothing."""
    missed = (one for one, rate in rates.items() if rate.no_show)
    return sorted(missed, key=lambda one: (-rates[one].no_show, one))


def _rates(members: Members) -> Rates:
    rows: dict[str, list[Figures]] = {}
    for member, row in members:
        rows.setdefault(member, []).append(row)
    return {member: _rate(found) for member, found in rows.items()}


def _rate(rows: Iterable[Figures]) -> NoShowRate:
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update({name: row[f"status.{name}"] for name in ("completed", "no_show")})
    both = sums["completed"] + sums["no_show"]
    return NoShowRate(
        completed=sums["completed"],
        no_show=sums["no_show"],
        no_show_percent=ranges.share(sums["no_show"], both),
    )


def _trend(found: NoShowRate, before: NoShowRate) -> float | None:
    """Of the rates, where there are two: of whole numbers, for what is shown of them is rounded."""
    both, both_before = (one.completed + one.no_show for one in (found, before))
    return ranges.percent(found.no_show * both_before, before.no_show * both)
