"""The revenue report: what came in, what went back, what stays, day by day, per currency.

Collected is what was paid in on a day; refunds count on the day they went back. Commission and
provider fees are those of the payments collected that day, less commission that was returned.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from consulta.aggregates import figures
from consulta.core.keys import Tenant
from consulta.core.money import Money
from consulta.people.records import PracticeItem
from consulta.reports.document import (
    Column,
    Document,
    Figure,
    Period,
    Row,
    Section,
    Series,
    Table,
)

MAX_BARS = 62
COLUMNS = (
    Column("day", "Day", "date"),
    Column("payments", "Payments", "count"),
    Column("collected", "Collected", "money"),
    Column("refunded", "Refunded", "money"),
    Column("commission", "Commission", "money"),
    Column("fees", "Fees", "money"),
    Column("net", "Net", "money"),
)
Days = dict[date, figures.Figures]


def build(
    tenant: Tenant, practice: PracticeItem, first: date, last: date, generated_at: datetime
) -> Document:
    """The report of ``first`` to ``last`` from the practice's day figures: one range query."""
    days = figures.days(tenant, "PRACTICE", tenant.practice, first, last)
    currencies = sorted({*_currencies(days.values()), practice.currency})
    every_day = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return Document(
        kind="revenue",
        title="Revenue",
        practice_name=practice.name,
        period=Period(first, last, practice.zone),
        generated_at=generated_at,
        as_of=generated_at,
        sections=tuple(_section(currency, every_day, days) for currency in currencies),
    )


def _currencies(days: Iterable[figures.Figures]) -> set[str]:
    return {
        name.split(".")[1]
        for day in days
        for name, value in day.items()
        if value and name.startswith(("collected.", "refunded."))
    }


def _section(currency: str, every_day: list[date], days: Days) -> Section:
    rows = [_row(currency, day, days.get(day)) for day in every_day]
    totals = _totals(rows, currency)
    _, payments, collected, refunded, commission, fees, net = totals
    return Section(
        title=f"Revenue in {currency}",
        currency=currency,
        summary=(
            Figure("Collected", collected),
            Figure("Refunded", refunded),
            Figure("Commission and fees", commission + fees),
            Figure("Net", net),
            Figure("Payments", payments),
        ),
        table=Table(COLUMNS, tuple(rows), totals),
        series=tuple(
            Series(title, _bars(every_day, rows, index, currency))
            for title, index in (("Collected", 2), ("Net", 6))
        ),
    )


def _row(currency: str, day: date, found: figures.Figures | None) -> Row:
    def amount(name: str) -> Money:
        return Money(found.get(f"{name}.{currency}", 0) if found else 0, currency)

    collected, refunded = amount("collected"), amount("refunded")
    fees = amount("fee") - amount("platform_fee") + amount("tax_withheld")
    commission = amount("commission") - amount("commission_returned")
    payments = found.get(f"payments.{currency}", 0) if found else 0
    net = collected - refunded - commission - fees
    return (day, payments, collected, refunded, commission, fees, net)


def _totals(rows: list[Row], currency: str) -> tuple[str, int, Money, Money, Money, Money, Money]:
    def total(index: int) -> Money:
        cells = (row[index] for row in rows)
        return sum((c for c in cells if isinstance(c, Money)), Money(0, currency))

    payments = sum(int(row[1]) for row in rows if isinstance(row[1], int))
    return ("Total", payments, total(2), total(3), total(4), total(5), total(6))


def _bars(
    every_day: list[date], rows: list[Row], index: int, currency: str
) -> tuple[tuple[str, Money], ...]:
    """One bar a day for up to two months, else one a month."""
    monthly = len(every_day) > MAX_BARS
    bars: dict[str, Money] = {}
    for day, row in zip(every_day, rows, strict=True):
        label = day.strftime("%b %Y") if monthly else day.strftime("%d %b")
        cell = row[index]
        if isinstance(cell, Money):
            bars[label] = bars.get(label, Money(0, currency)) + cell
    return tuple(bars.items())
