"""GET /v1/analytics/top-patients: from whom most was collected, in one currency."""

from collections import Counter
from functools import partial

from consulta.aggregates.catalog import PATIENTS
from consulta.aggregates.figures import Figures
from consulta.core import table
from consulta.core.errors import NotFound
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.dashboards import ranges
from consulta.dashboards.analytics.asked import (
    Asked,
    Members,
    Reads,
    asked_of_all,
    check_happenings,
    named,
    only,
)
from consulta.dashboards.analytics.schema import (
    PatientLine,
    PatientMoney,
    TopPatients,
    TopPatientsFilter,
)
from consulta.people.records import PATIENT, PRACTICE

Sums = Counter[str]


def of(by: Principal, wanted: TopPatientsFilter, limit: int) -> TopPatients:
    """The first ``limit`` of them. Raises Forbidden, Invalid, NotFound, Unavailable."""
    a = asked_of_all(by, wanted, "payments")
    with Reads(a.tenant) as reads:
        in_range, earlier = (reads.rows(a.subject, days) for days in (a.days, a.before))
        currency = wanted.currency or _own_currency(a, reads)
        rows, before = only(in_range()), only(earlier())
        check_happenings(rows)
        found = _by_patient(reads.members(PATIENTS, a.days)(), currency)
        order = sorted(found, key=lambda one: (-_collected(found[one]), one))[:limit]
        keys = {one: a.tenant.item(PATIENT, one) for one in order}
        names = reads.items(keys.values()) if by.sees_patients else {}
        stamps = reads.stamps()
    total, total_before = _total(rows, currency), _total(before, currency)
    return TopPatients(
        first=a.first,
        last=a.last,
        **stamps,
        currency=currency,
        patients=len(found),
        total=total,
        previous=total_before,
        trend_percent=ranges.percent(total.collected.amount, total_before.collected.amount),
        items=[
            PatientLine(
                patient=named(names, keys[one], one),
                **dict(_money(found[one], currency)),
                # Of what was collected, with refunds in it, parts can be negative or beyond all.
                percent=ranges.share(found[one]["collected"], total.gross.amount),
                completed=found[one]["completed"] if by.sees_all("appointments") else None,
            )
            for one in order
        ],
    )


def _own_currency(a: Asked, reads: Reads) -> str:
    item = reads.later(partial(table.get_raw, a.tenant.item(PRACTICE, a.tenant.practice)))()
    if item is None:
        raise NotFound
    return str(item["currency"]["S"])


def _by_patient(members: Members, currency: str) -> dict[str, Sums]:
    """Who paid or got anything back in this currency, and how much."""
    found: dict[str, Sums] = {}
    for patient, row in members:
        found.setdefault(patient, Counter()).update(
            {
                "collected": row[f"collected.{currency}"],
                "refunded": row[f"refunded.{currency}"],
                "completed": row["status.completed"],
            }
        )
    return {one: sums for one, sums in found.items() if sums["collected"] or sums["refunded"]}


def _collected(sums: Sums) -> int:
    return sums["collected"] - sums["refunded"]


def _total(rows: list[Figures], currency: str) -> PatientMoney:
    sums = ranges.by_currency(rows, ("collected", "refunded"))
    return _money(sums.get(currency, Counter()), currency)


def _money(sums: Sums, currency: str) -> PatientMoney:
    def amount(minor: int) -> Amount:
        return Amount(amount=minor, currency=currency)

    return PatientMoney(
        gross=amount(sums["collected"]),
        refunded=amount(sums["refunded"]),
        collected=amount(_collected(sums)),
    )
