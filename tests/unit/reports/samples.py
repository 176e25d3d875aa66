"""Documents for the renderers' tests, whose totals are summed from their rows."""

from datetime import UTC, date, datetime, timedelta

from consulta.core.money import Money
from consulta.reports.document import Column, Document, Figure, Period, Row, Section, Series, Table

FIRST = date(2025, 1, 1)
COLUMNS = (
    Column("day", "Day", "date"),
    Column("expert", "Expert", "text"),
    Column("payments", "Payments", "count"),
    Column("no_show", "No-show rate", "percent"),
    Column("net", "Net", "money"),
)


def section(currency: str = "EUR", amounts: tuple[int, ...] = (123_450, -5_000), name: str = "Ana"):
    """One row per amount of minor units, one day after the other."""
    rows: list[Row] = [
        (FIRST + timedelta(days=at), name, at + 1 if amount else 0, 1250, Money(amount, currency))
        for at, amount in enumerate(amounts)
    ]
    count = sum(at + 1 for at, amount in enumerate(amounts) if amount)
    net = Money(sum(amounts), currency)
    points = tuple((f"d{at}", Money(amount, currency)) for at, amount in enumerate(amounts))
    return Section(
        title=f"Revenue in {currency}",
        currency=currency,
        summary=(Figure("Net", net), Figure("Payments", count)),
        table=Table(COLUMNS, tuple(rows), ("Total", None, count, None, net)),
        series=(Series("Net", points),),
    )


def document(*sections: Section, practice: str = "Clínica São João") -> Document:
    return Document(
        kind="revenue",
        title="Revenue report",
        practice_name=practice,
        period=Period(FIRST, date(2026, 1, 1), "Europe/Lisbon"),
        generated_at=datetime(2026, 7, 2, 7, 5, tzinfo=UTC),
        as_of=datetime(2026, 7, 2, 7, 0, tzinfo=UTC),
        sections=sections or (section(),),
    )
