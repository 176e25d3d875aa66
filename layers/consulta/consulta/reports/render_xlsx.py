"""A report as an Excel workbook: numbers that add up, dates that sort, a chart that is native."""

import io
from datetime import UTC, date, datetime
from typing import Any

from xlsxwriter import Workbook

from consulta.core.money import BASIS_POINTS, Money, exponent
from consulta.core.time import in_zone
from consulta.reports.document import Cell, Column, Document, Measure, Section, Series

_BLUE, _GREY = "#3B82F6", "#6B7280"
_SERIES_COLOURS = (_BLUE, "#9CA3AF", "#374151", "#D1D5DB")
_CHART_ROWS = 18  # rows of the sheet that the chart covers; its data stand below it
_MOST_AXIS_LABELS = 12
_TOTAL = {"bold": True, "top": 1, "top_color": _GREY}
_GRID = {"visible": True, "line": {"color": "#E5E7EB"}}
_NO_LINE = {"none": True}
_NOTHING = "There was nothing in this period."


def render_xlsx(document: Document) -> bytes:
    """A workbook with a summary sheet and one sheet per section, named by its currency.

    Amounts are numbers in major units, formatted with the decimals of their currency (ISO 4217);
    percents are fractions formatted as percents; dates and times are real ones, the times on the
    clocks of the report's zone. Text is never taken for a formula or a link.
    """
    target = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with Workbook(target, options) as workbook:
        # The practice may bear a person's name: it stays out of the properties.
        created = document.generated_at.astimezone(UTC)
        workbook.set_properties({"title": document.title, "author": "Consulta", "created": created})
        book = _Book(workbook)
        _summary_sheet(book, document)
        for section in document.sections:
            _section_sheet(book, section)
    return target.getvalue()


class _Book:
    """The workbook and its cell formats, each made once."""

    def __init__(self, workbook: Workbook) -> None:
        self.workbook = workbook
        self._formats: dict[tuple[tuple[str, Any], ...], Any] = {}

    def style(self, **properties: Any) -> Any:
        """The cell format with these xlsxwriter properties."""
        key = tuple(sorted(properties.items()))
        if key not in self._formats:
            self._formats[key] = self.workbook.add_format(properties)
        return self._formats[key]

    def sheet(self, name: str) -> Any:
        """A new sheet that prints on A4, as wide as the page."""
        sheet = self.workbook.add_worksheet(name)
        sheet.hide_gridlines(2)
        sheet.set_paper(9)
        sheet.fit_to_pages(1, 0)
        return sheet

    def put(self, sheet: Any, row: int, column: int, cell: Cell | datetime, **style: Any) -> None:
        """Write one cell as what it is."""
        match cell:
            case None:
                sheet.write_blank(row, column, None, self.style(**style))
            case str():
                sheet.write_string(row, column, cell, self.style(**style))
            case Money():
                style = {"num_format": _money_format(cell.currency), **style}
                sheet.write_number(row, column, float(cell.decimal()), self.style(**style))
            case datetime():
                style = {"num_format": "yyyy-mm-dd hh:mm", "align": "left", **style}
                sheet.write_datetime(row, column, cell, self.style(**style))
            case date():
                style = {"num_format": "yyyy-mm-dd", "align": "left", **style}
                sheet.write_datetime(row, column, cell, self.style(**style))
            case int():
                style = {"num_format": "#,##0", **style}
                sheet.write_number(row, column, cell, self.style(**style))

    def put_in(
        self, column: Column, sheet: Any, row: int, at: int, cell: Cell, **style: Any
    ) -> None:
        """Write one cell of a table, which its column tells a percent from a count."""
        if column.kind == "percent" and isinstance(cell, int):
            shown = self.style(num_format="0.00%", **style)
            sheet.write_number(row, at, cell / BASIS_POINTS, shown)
        else:
            self.put(sheet, row, at, cell, **style)


def _money_format(currency: str) -> str:
    places = exponent(currency)
    return "#,##0." + "0" * places if places else "#,##0"


def _summary_sheet(book: _Book, document: Document) -> None:
    """Who, when, and the headline figures with one column per currency, never added up."""
    sheet = book.sheet("Summary")
    zone = document.period.zone
    facts: list[tuple[str, Cell | datetime]] = [
        ("Practice", document.practice_name),
        ("First day", document.period.first),
        ("Last day", document.period.last),
        ("Time zone", zone),
        ("Generated at", in_zone(document.generated_at, zone).replace(tzinfo=None)),
        ("Figures as of", in_zone(document.as_of, zone).replace(tzinfo=None)),
    ]
    book.put(sheet, 0, 0, document.title, bold=True, font_size=16)
    for row, (label, fact) in enumerate(facts, start=2):
        book.put(sheet, row, 0, label, font_color=_GREY)
        book.put(sheet, row, 1, fact)
    top = len(facts) + 3
    book.put(sheet, top, 0, "Figure", **_heading("text"))
    labels = list(dict.fromkeys(f.label for s in document.sections for f in s.summary))
    for column, section in enumerate(document.sections, start=1):
        book.put(sheet, top, column, section.currency or "Value", **_heading("money"))
        values = {figure.label: figure.value for figure in section.summary}
        for row, label in enumerate(labels, start=top + 1):
            book.put(sheet, row, 0, label)
            book.put(sheet, row, column, values.get(label))
    if all(section.is_empty for section in document.sections):
        book.put(sheet, top + len(labels) + 2, 0, _NOTHING, italic=True)
    sheet.set_column(0, 0, max([16, *(len(label) + 2 for label in labels)]))
    sheet.set_column(1, max(1, len(document.sections)), 22)


def _heading(kind: str) -> dict[str, Any]:
    side = "left" if kind in {"text", "date"} else "right"
    return {"bold": True, "font_color": "#FFFFFF", "bg_color": _BLUE, "align": side}


def _section_sheet(book: _Book, section: Section) -> None:
    sheet = book.sheet(section.currency or "Figures")
    sheet.set_landscape()
    sheet.freeze_panes(1, 0)
    sheet.repeat_rows(0)
    table = section.table
    for index, column in enumerate(table.columns):
        title = f"{column.title} ({section.currency})" if column.kind == "money" else column.title
        book.put(sheet, 0, index, title, **_heading(column.kind))
        for row, cells in enumerate(table.rows, start=1):
            book.put_in(column, sheet, row, index, cells[index])
        total = table.totals[index]
        book.put_in(column, sheet, len(table.rows) + 1, index, total, **_TOTAL)
        shown = [len(_shown(cells[index])) for cells in (*table.rows, table.totals)]
        sheet.set_column(index, index, min(max([10, len(title), *shown]) + 3, 60))
    if section.is_empty:
        book.put(sheet, len(table.rows) + 3, 0, _NOTHING, italic=True)
    elif section.series and section.series[0].points:
        _chart(book, sheet, len(table.columns) + 1, section)


def _shown(cell: Cell) -> str:
    """About what Excel displays, to size the column."""
    match cell:
        case None:
            return ""
        case Money():
            return f"{cell.decimal():,}"
        case int():
            return f"{cell:,}"
        case _:
            return str(cell)


def _chart(book: _Book, sheet: Any, left: int, section: Section) -> None:
    """A native column chart right of the table, over the cells that it is drawn from."""
    header = _CHART_ROWS + 1
    points = [label for label, _ in section.series[0].points]
    last = header + len(points)
    book.put(sheet, header, left, "Chart", **_heading("text"))
    for row, label in enumerate(points, start=header + 1):
        book.put(sheet, row, left, label, font_color=_GREY)
    chart = book.workbook.add_chart({"type": "column"})
    for number, series in enumerate(section.series):
        _series_column(book, sheet, header, left + 1 + number, series)
        chart.add_series(
            {
                "name": [sheet.name, header, left + 1 + number],
                "categories": [sheet.name, header + 1, left, last, left],
                "values": [sheet.name, header + 1, left + 1 + number, last, left + 1 + number],
                "fill": {"color": _SERIES_COLOURS[number % len(_SERIES_COLOURS)]},
                "gap": 40,
            }
        )
    interval = -(-len(points) // _MOST_AXIS_LABELS)
    chart.set_x_axis({"interval_unit": interval, "label_position": "low"})
    unit = {"name": section.currency} if section.currency else {}
    chart.set_y_axis({**unit, "num_format": "#,##0", "major_gridlines": _GRID, "line": _NO_LINE})
    chart.set_legend({"position": "top"})
    chart.set_size({"width": 720, "height": _CHART_ROWS * 20 - 10})
    sheet.insert_chart(0, left, chart, {"description": section.title})
    sheet.set_column(left, left + len(section.series), 16)


def _series_column(book: _Book, sheet: Any, header: int, column: int, series: Series) -> None:
    book.put(sheet, header, column, series.label, **_heading("money"))
    values: list[Measure] = [value for _, value in series.points]
    for row, value in enumerate(values, start=header + 1):
        book.put(sheet, row, column, value, font_color=_GREY)
