"""GET /v1/payments/summary: revenue, refunds, what is pending and the average, from figures alone.

Whole months are read as month rows, the days beside them as day rows: at most three ranges and one
batch, and never a payment.
"""

from collections import Counter

from consulta.aggregates import figures
from consulta.core import table
from consulta.core.errors import Forbidden, Invalid, NotFound
from consulta.core.fields import Amount
from consulta.core.identity import Principal, own_only
from consulta.core.money import proportion
from consulta.core.permissions import Role
from consulta.core.time import from_text, now
from consulta.dashboards.schema_payment_summary import (
    CurrencySummary,
    PaymentSummary,
    SummaryFilter,
)
from consulta.dashboards.statistics import MAX_DAYS, YEARS, parts
from consulta.people.records import EXPERT, PRACTICE

_OF_RANGE = ("collected", "refunded", "payments")


def of(by: Principal, wanted: SummaryFilter) -> PaymentSummary:
    """Of the practice or of one expert. Raises Forbidden, Invalid, NotFound.

    Patients' figures are not kept by day: they have their list.
    """
    if by.role is Role.PATIENT:
        raise Forbidden("These are figures of a practice")
    wanted = own_only(by, wanted, "payments")
    first, last = wanted.first, wanted.last
    if first.year not in YEARS or last.year not in YEARS or not 0 <= (last - first).days < MAX_DAYS:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_DAYS} days", "range")
    tenant = by.tenant
    if wanted.expert_id and table.get_raw(tenant.item(EXPERT, wanted.expert_id)) is None:
        raise NotFound
    subject = (EXPERT, wanted.expert_id) if wanted.expert_id else (PRACTICE, tenant.practice)
    instant = now()
    total, walk = (*subject, figures.TOTAL), (PRACTICE, tenant.practice, figures.WALK)
    at_once = figures.read(tenant, [total, walk])
    rows = []
    for is_months, low, high in parts(first, last):
        read = figures.months if is_months else figures.days
        rows += list(read(tenant, *subject, low, high).values())
    sums: Counter[tuple[str, str]] = Counter()
    for row in rows:
        sums.update(_by_currency(row, *_OF_RANGE))
    sums.update(_by_currency(at_once[total], "awaiting"))
    changed = figures.latest([*rows, at_once[total]])
    found = sorted({currency for (_, currency), value in sums.items() if value})
    return PaymentSummary(
        first=first,
        last=last,
        expert_id=wanted.expert_id,
        currencies=[_summary(currency, sums) for currency in found],
        complete=figures.is_complete(at_once[walk]),
        as_of=instant,
        changed_at=from_text(changed) if changed else None,
    )


def _by_currency(row: figures.Figures, *names: str) -> dict[tuple[str, str], int]:
    """The row's figures of these names that are kept by currency."""
    parted = {figure.partition(".")[::2]: value for figure, value in row.items()}
    return {key: value for key, value in parted.items() if key[0] in names and key[1]}


def _summary(currency: str, sums: Counter[tuple[str, str]]) -> CurrencySummary:
    def amount(minor: int) -> Amount:
        return Amount(amount=minor, currency=currency)

    revenue, count = sums["collected", currency], sums["payments", currency]
    return CurrencySummary(
        currency=currency,
        revenue=amount(revenue),
        refunds=amount(sums["refunded", currency]),
        pending=amount(sums["awaiting", currency]),
        count=count,
        # Half to even, in whole minor units.
        average=amount(proportion(revenue, 1, count)) if count else None,
    )
