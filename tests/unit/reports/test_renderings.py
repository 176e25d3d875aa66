"""The same figures in all three renderings, read back with other libraries than wrote them."""

import csv
import hashlib
import io
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import openpyxl
import pypdf
import pytest

from consulta.core.money import Money, exponent, format_money
from consulta.reports.document import Column, Document, Figure, Section, Series, Table
from consulta.reports.render_csv import render_csv
from consulta.reports.render_pdf import render_pdf
from consulta.reports.render_xlsx import render_xlsx
from tests.unit.reports.samples import COLUMNS, FIRST, document, section

RENDERERS = (render_csv, render_xlsx, render_pdf)
YEAR = tuple((at * 7919) % 100_003 for at in range(366))


def csv_rows(report: Document) -> list[dict[str, str]]:
    text = render_csv(report).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def workbook(report: Document) -> Any:
    return openpyxl.load_workbook(io.BytesIO(render_xlsx(report)))


def pdf_pages(report: Document) -> list[list[str]]:
    """The text of each page; one line per cell of a table."""
    pages = pypdf.PdfReader(io.BytesIO(render_pdf(report))).pages
    return [[line.strip() for line in page.extract_text().splitlines()] for page in pages]


def has_run(lines: list[str], run: list[str]) -> bool:
    return any(lines[at : at + len(run)] == run for at in range(len(lines)))


@pytest.mark.parametrize("currency", ["JPY", "EUR", "KWD"])
def test_rows_and_totals_are_the_same_in_all_three(currency: str) -> None:
    report = document(section(currency, (123_450, -5_000, 7)))
    table = report.sections[0].table
    sheet = workbook(report)[currency]
    lines = [line for page in pdf_pages(report) for line in page]
    places = exponent(currency)
    read = csv_rows(report)
    assert len(read) == len(table.rows) == 3
    for at, (day, _, count, _, net) in enumerate(table.rows):
        assert isinstance(net, Money)
        row = read[at]
        assert (row["currency"], row["day"], row["payments"], row["no_show"]) == (
            currency,
            str(day),
            str(count),
            "12.50",
        )
        assert Decimal(row["net"]) == net.decimal()
        assert len(row["net"].partition(".")[2]) == places
        cells = [sheet.cell(at + 2, column).value for column in range(1, 6)]
        assert cells[0] == datetime.fromisoformat(str(day))
        assert cells[1:4] == ["Ana", count, 0.125]
        assert Decimal(str(cells[4])) == net.decimal()
        shown = f"{net.decimal():,.{places}f}"
        assert has_run(lines, [str(day), "Ana", str(count), "12.50%", shown])

    total = table.totals[4]
    assert isinstance(total, Money)
    assert sum(Decimal(row["net"]) for row in read) == total.decimal()
    assert Decimal(str(sheet.cell(5, 5).value)) == total.decimal()
    assert f"{total.decimal():,.{places}f}" in lines
    assert format_money(total) in lines


@pytest.mark.parametrize(
    ("currency", "shown"), [("JPY", "#,##0"), ("EUR", "#,##0.00"), ("KWD", "#,##0.000")]
)
def test_excel_has_real_numbers_with_the_currency_s_decimals(currency: str, shown: str) -> None:
    sheet = workbook(document(section(currency)))[currency]
    cell = sheet.cell(2, 5)
    assert (cell.data_type, cell.number_format) == ("n", shown)
    assert sheet.cell(1, 5).value == f"Net ({currency})"
    assert sheet.cell(2, 1).is_date
    assert sheet.freeze_panes == "A2"
    assert len(sheet._charts) == 1


def test_two_currencies_stand_side_by_side_and_are_never_added() -> None:
    report = document(section("EUR", (100, 200)), section("JPY", (7, 8)))
    assert [row["currency"] for row in csv_rows(report)] == ["EUR", "EUR", "JPY", "JPY"]
    book = workbook(report)
    assert book.sheetnames == ["Summary", "EUR", "JPY"]
    summary = {row[0]: row[1:] for row in book["Summary"].iter_rows(values_only=True)}
    assert summary["Figure"] == ("EUR", "JPY")
    assert summary["Net"] == (3, 15)
    assert book["Summary"]["C11"].number_format == "#,##0"
    lines = [line for page in pdf_pages(report) for line in page]
    assert {"EUR 3.00", "JPY 15", "Revenue in EUR", "Revenue in JPY"} <= set(lines)


@pytest.mark.parametrize("amounts", [(), (0,) * 31])
def test_an_empty_period_says_so_and_has_zero_totals(amounts: tuple[int, ...]) -> None:
    report = document(section("EUR", amounts))
    pages = pdf_pages(report)
    assert len(pages) == 1
    assert "There was nothing in this period." in pages[0]
    assert has_run(pages[0], ["Total", "0", "\N{EN DASH}", "0.00"])
    assert "EUR 0.00" in pages[0]
    book = workbook(report)
    values = [value for row in book["Summary"].iter_rows(values_only=True) for value in row]
    assert "There was nothing in this period." in values
    assert book["EUR"].cell(len(amounts) + 2, 5).value == 0
    assert not book["EUR"]._charts
    assert len(csv_rows(report)) == len(amounts)


def test_a_year_of_days_is_paginated_with_headers_footers_and_page_numbers() -> None:
    pages = pdf_pages(document(section("EUR", YEAR)))
    assert 8 <= len(pages) <= 14
    days = [line for lines in pages for line in lines if line.startswith("202") and "-" in line]
    assert len(days) == 366
    for number, lines in enumerate(pages, start=1):
        assert f"Page {number} of {len(pages)}" in lines
        assert has_run(lines, ["Day", "Expert", "Payments", "No-show rate", "Net"])
        footer = next(line for line in lines if "Generated" in line)
        assert "1 Jan 2025" in footer
        assert "Europe/Lisbon" in footer
        assert "2 Jul 2026 08:05" in footer  # 07:05 UTC on Lisbon's clocks in summer
        assert "Clínica São João" in lines
    labels = [line for line in pages[0] if line.startswith("d") and line[1:].isdigit()]
    assert labels[0] == "d0"
    assert len(labels) <= 12


def test_totals_never_stand_alone_on_a_page() -> None:
    pages = [pdf_pages(document(section("EUR", YEAR[:rows])))[-1] for rows in range(17, 27)]
    assert any("Page 2 of 2" in lines for lines in pages)
    assert any("Page 1 of 1" in lines for lines in pages)
    for rows, lines in enumerate(pages, start=17):
        assert {"Total", f"2025-01-{rows}"} <= set(lines)


def test_text_is_never_a_formula() -> None:
    for name in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"):
        report = document(section(name=name))
        assert csv_rows(report)[0]["expert"] == f"'{name}"
        cell = workbook(report)["EUR"].cell(2, 2)
        assert cell.data_type == "s"
    # A negative amount is a number, and stays one.
    assert csv_rows(document())[1]["net"] == "-50.00"


def test_csv_is_rfc_4180_in_utf_8_with_a_byte_order_mark() -> None:
    content = render_csv(document(section("EUR", (100,), name='Ana "Nita", a\nsegunda')))
    assert content.decode("utf-8") == (
        "\ufeffcurrency,day,expert,payments,no_show,net\r\n"
        'EUR,2025-01-01,"Ana ""Nita"", a\nsegunda",1,12.50,1.00\r\n'
    )


@pytest.mark.parametrize("name", ["João Conceição", "Íñigo Núñez", "Łukasz Wąsik", "Ștefan Őry"])
def test_names_are_kept_in_csv_and_excel(name: str) -> None:
    report = document(section(name=name), practice=name)
    assert csv_rows(report)[0]["expert"] == name
    book = workbook(report)
    assert book["EUR"].cell(2, 2).value == book["Summary"]["B3"].value == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("João Conceição", "João Conceição"),
        ("Joa\u0303o", "João"),
        ("Íñigo Núñez", "Íñigo Núñez"),
        ("Łukasz Wąsik", "Łukasz Wasik"),
        ("Ștefan Őry", "Stefan Ory"),
        ("Šárka Žižková", "Šárka Žižková"),
        ("李 <b>&amp;", "? <b>&amp;"),
        ("Ana \x00\U0001f600", "Ana ??"),
    ],
)
def test_the_pdf_shows_what_its_font_has_and_never_fails(name: str, shown: str) -> None:
    assert shown in pdf_pages(document(section(name=name), practice=name))[0]


def test_long_texts_and_many_wide_columns_still_fit_a_page() -> None:
    columns = (
        Column("name", "Name", "text"),
        *(Column(f"m{n}", f"Amount {n}", "money") for n in range(12)),
    )
    amounts = (Money(123_456_789_012, "EUR"),) * 12
    table = Table(columns, (("x" * 5_000, *amounts),), ("Total", *amounts))
    report = document(Section("Wide " * 40, "EUR", (), table), practice="y" * 500)
    assert "Page 1 of 1" in pdf_pages(report)[0]


def test_a_report_without_money_has_no_currency() -> None:
    columns = (Column("expert", "Expert", "text"), Column("visits", "Visits", "count"))
    table = Table(columns, (("Ana", 1), ("Rui", 1_200)), ("Total", 1_201))
    visits = Series("Visits", (("Ana", 1), ("Rui", 2)))
    part = Section("Attendance", None, (Figure("Visits", 1_201),), table, (visits,))
    report = document(part)
    assert csv_rows(report)[1] == {"expert": "Rui", "visits": "1200"}
    assert workbook(report).sheetnames == ["Summary", "Figures"]
    lines = pdf_pages(report)[0]
    assert has_run(lines, ["Rui", "1,200"])
    assert "0.5" not in lines  # half a visit is no tick of the axis


def test_a_column_may_hold_nothing() -> None:
    columns = (*COLUMNS[:2], COLUMNS[3], COLUMNS[4])
    nothing = (None, None, None, Money(5, "EUR"))
    report = document(Section("Revenue", "EUR", (), Table(columns, (nothing,), nothing)))
    assert csv_rows(report)[0] == {
        "currency": "EUR",
        "day": "",
        "expert": "",
        "no_show": "",
        "net": "0.05",
    }
    assert [cell.value for cell in workbook(report)["EUR"][2]][:3] == [None, None, None]
    assert "0.05" in pdf_pages(report)[0]


@pytest.mark.parametrize("render", RENDERERS)
def test_the_same_document_gives_the_same_bytes_in_another_process(
    render: Callable[[Document], bytes],
) -> None:
    here = render(document())
    code = (
        "import hashlib; from tests.unit.reports.samples import document;"
        f"from {render.__module__} import {render.__name__} as render;"
        "print(hashlib.sha256(render(document())).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path), "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_properties_say_when_it_was_made_and_name_nobody() -> None:
    report = document(practice="Dra. Ana Souza")
    properties = openpyxl.load_workbook(io.BytesIO(render_xlsx(report))).properties
    assert properties.created == report.generated_at.replace(tzinfo=None)
    assert (properties.title, properties.creator) == ("Revenue report", "Consulta")
    metadata = pypdf.PdfReader(io.BytesIO(render_pdf(report))).metadata
    assert metadata is not None
    assert metadata.creation_date == report.generated_at
    assert "Ana" not in str(metadata)


def test_summary_sheet_has_the_period_and_its_times_on_the_zone_s_clocks() -> None:
    sheet = workbook(document())["Summary"]
    facts = {row[0]: row[1] for row in sheet.iter_rows(values_only=True)}
    assert facts["First day"] == datetime.fromisoformat(str(FIRST))
    assert facts["Last day"].date() == date(2026, 1, 1)
    assert facts["Time zone"] == "Europe/Lisbon"
    assert facts["Generated at"] == datetime.fromisoformat("2026-07-02T08:05")
