"""A document that exists adds up."""

from dataclasses import replace
from datetime import date, datetime

import pytest

from consulta.core.money import Money
from consulta.reports.document import Column, Period, Section, Series, Table
from tests.unit.reports.samples import COLUMNS, document, section

ROW = (date(2025, 1, 1), "Ana", 3, 1250, Money(500, "EUR"))
TOTALS = ("Total", None, 3, None, Money(500, "EUR"))


def test_a_table_whose_totals_are_the_sums_is_accepted() -> None:
    assert Table(COLUMNS, (ROW,), TOTALS).totals == TOTALS


@pytest.mark.parametrize(
    ("at", "wrong", "message"),
    [
        (2, 4, "payments is not the sum"),
        (4, Money(501, "EUR"), "net is not the sum"),
        (4, Money(500, "USD"), "adds up two currencies"),
        (2, None, "payments holds count"),
        (0, date(2025, 1, 1), "a label or nothing"),
    ],
)
def test_totals_are_checked(at: int, wrong: object, message: str) -> None:
    totals = (*TOTALS[:at], wrong, *TOTALS[at + 1 :])
    with pytest.raises(ValueError, match=message):
        Table(COLUMNS, (ROW,), totals)


@pytest.mark.parametrize(
    ("at", "wrong"),
    [
        (0, datetime(2025, 1, 1)),  # noqa: DTZ001 - the naive time is what must be refused
        (1, 7),
        (2, True),
        (3, 12.5),
        (4, 500),
    ],
)
def test_a_cell_fits_its_column_exactly(at: int, wrong: object) -> None:
    with pytest.raises(ValueError, match=COLUMNS[at].key):
        Table(COLUMNS, ((*ROW[:at], wrong, *ROW[at + 1 :]),), TOTALS)


def test_a_short_row_and_a_repeated_or_reserved_key_are_refused() -> None:
    with pytest.raises(ValueError, match="one cell per column"):
        Table(COLUMNS, (ROW[:4],), TOTALS)
    for keys in (("a", "a"), ("a", "currency")):
        columns = tuple(Column(key, key, "count") for key in keys)
        with pytest.raises(ValueError, match="column keys"):
            Table(columns, (), (0, 0))


def test_a_section_holds_its_currency_alone() -> None:
    euros = section("EUR")
    with pytest.raises(ValueError, match="the section is in USD"):
        replace(euros, currency="USD")
    with pytest.raises(ValueError, match="the section is in None"):
        replace(euros, currency=None)


def test_the_series_of_a_chart_share_their_labels() -> None:
    one, other = Series("a", (("Jan", 1),)), Series("b", (("Feb", 1),))
    with pytest.raises(ValueError, match="share their labels"):
        replace(section(), series=(one, other))


def test_a_document_has_one_section_per_currency_and_aware_times() -> None:
    good = document()
    with pytest.raises(ValueError, match="each currency has one section"):
        replace(good, sections=(section("EUR"), section("EUR")))
    with pytest.raises(ValueError, match="at least one section"):
        replace(good, sections=())
    with pytest.raises(ValueError, match="offset"):
        replace(good, as_of=good.as_of.replace(tzinfo=None))
    counts = Section("Visits", None, (), Table((Column("n", "n", "count"),), ((1,),), (1,)))
    with pytest.raises(ValueError, match="share their columns"):
        replace(good, sections=(section("EUR"), counts))


def test_a_period_runs_forward_in_a_known_zone() -> None:
    with pytest.raises(ValueError, match="ends on or after"):
        Period(date(2025, 2, 1), date(2025, 1, 1), "Europe/Lisbon")
    with pytest.raises(ValueError, match="IANA"):
        Period(date(2025, 1, 1), date(2025, 1, 1), "Lisbon")


@pytest.mark.parametrize(
    ("amounts", "empty"),
    # Amounts that cancel out are not nothing.
    [((), True), ((0, 0), True), ((100, -100), False), ((0, 1), False)],
)
def test_empty_means_that_nothing_happened(amounts: tuple[int, ...], empty: bool) -> None:
    assert section("EUR", amounts).is_empty is empty
