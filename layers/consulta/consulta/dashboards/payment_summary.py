"""GET /v1/payments/summary: revenue, refunds, what is pending and the average, from figures alone.

Whole months are read as month rows, the days beside them as day rows: at most three ranges and one
batch, and never a payment.
"""

from collections import Counter

from consulta.aggregates import figures
from consulta.core.errors import Forbidden
from consulta.core.fields import Amount
from consulta.core.identity import Principal, own_only
from consulta.core.money import proportion
from consulta.core.permissions import Role
from consulta.core.time import from_text, now
from consulta.dashboards import ranges
from consulta.dashboards.schema_payment_summary import (
    CurrencySummary,
    PaymentSummary,
    SummaryFilter,
)
from consulta.people.records import PRACTICE

_OF_RANGE = ("collected", "refunded", "payments")


def of(by: Principal, wanted: SummaryFilter) -> PaymentSummary:
    """Of the practice or of one expert. Raises Forbidden, Invalid, NotFound.

    Patients' figures are not kept by day: they have their list.
    """
    if by.role is Role.PATIENT:
        raise Forbidden("These are figures of a practice")
    wanted = own_only(by, wanted, "payments")
    first, last = wanted.first, wanted.last
    ranges.check(first, last)
    tenant, subject = by.tenant, ranges.subject(by, wanted.expert_id)
    instant = now()
    total, walk = (*subject, figures.TOTAL), (PRACTICE, tenant.practice, figures.WALK)
    at_once = figures.read(tenant, [total, walk])
    rows = [row for _, row in ranges.rows(tenant, subject, first, last)]
    sums = ranges.by_currency(rows, _OF_RANGE)
    for currency, open_ in ranges.by_currency([at_once[total]], ("awaiting",)).items():
        sums.setdefault(currency, Counter()).update(open_)
    changed = figures.latest([*rows, at_once[total]])
    return PaymentSummary(
        first=first,
        last=last,
        expert_id=wanted.expert_id,
        currencies=[_summary(*one) for one in sorted(sums.items()) if any(one[1].values())],
        complete=figures.is_complete(at_once[walk], *_OF_RANGE, "awaiting"),
        as_of=instant,
        changed_at=from_text(changed) if changed else None,
    )


def _summary(currency: str, sums: Counter[str]) -> CurrencySummary:
    def amount(minor: int) -> Amount:
        return Amount(amount=minor, currency=currency)

    revenue, count = sums["collected"], sums["payments"]
    return CurrencySummary(
        currency=currency,
        revenue=amount(revenue),
        refunds=amount(sums["refunded"]),
        pending=amount(sums["awaiting"]),
        count=count,
        # Half to even, in whole minor units.
        average=amount(proportion(revenue, 1, count)) if count else None,
    )
