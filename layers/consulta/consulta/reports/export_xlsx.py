"""An export as an Excel workbook, row by row: the same cells as the CSV's, as numbers and dates."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from xlsxwriter import Workbook

from consulta.core.money import Money, exponent
from consulta.reports.export_columns import CURRENCY, Column

_WIDTHS = {"text": 18, "date": 12, "instant": 20, "money": 14}


def write(path: Path, columns: Sequence[Column], rows: Iterable[list[Any]]) -> None:
    """One sheet; amounts in major units with their currency's decimals (ISO 4217).

    Times are the practice's wall clock: Excel knows no offsets, the CSV has them. Text is never
    taken for a formula or a link. ``constant_memory`` writes each row out before the next.
    """
    options = {
        "constant_memory": True,
        "tmpdir": str(path.parent),
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "remove_timezone": True,
    }
    at = next(n for n, column in enumerate(columns) if column.key == CURRENCY)
    with Workbook(str(path), options) as book:
        book.set_properties({"title": "Payments", "author": "Consulta"})
        sheet = book.add_worksheet("Payments")
        sheet.freeze_panes(1, 0)
        bold = book.add_format({"bold": True})
        day = book.add_format({"num_format": "yyyy-mm-dd", "align": "left"})
        moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss", "align": "left"})
        money: dict[str, Any] = {}
        for index, column in enumerate(columns):
            sheet.set_column(index, index, _WIDTHS[column.kind])
            sheet.write_string(0, index, column.key, bold)
        for number, row in enumerate(rows, start=1):
            currency = row[at]
            if currency not in money:
                money[currency] = book.add_format({"num_format": _decimals(currency)})
            for index, (column, cell) in enumerate(zip(columns, row, strict=True)):
                if cell is None:
                    continue
                match column.kind:
                    case "money":
                        value = float(Money(cell, currency).decimal())
                        sheet.write_number(number, index, value, money[currency])
                    case "date":
                        sheet.write_datetime(number, index, date.fromisoformat(cell), day)
                    case "instant":
                        sheet.write_datetime(number, index, datetime.fromisoformat(cell), moment)
                    case "text":
                        sheet.write_string(number, index, str(cell))


def _decimals(currency: str) -> str:
    places = exponent(currency)
    return "#,##0." + "0" * places if places else "#,##0"
