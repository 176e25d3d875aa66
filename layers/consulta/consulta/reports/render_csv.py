"""A report as CSV (RFC 4180), for spreadsheets and for other programs."""

import codecs
import csv
import io
from datetime import date
from decimal import Decimal

from consulta.core.money import Money
from consulta.reports.document import Cell, Column, Document

# What a spreadsheet may take for a formula, and the full-width forms that some read alike:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")


def render_csv(document: Document) -> bytes:
    """UTF-8 with a byte order mark (so that Excel reads it as UTF-8), lines ended by CRLF.

    One header of column keys, then one line per table row of each section; totals are left to the
    reader. Dates are ISO 8601, amounts plain decimals in major units with their currency in the
    first column (left out of a report without money), percents plain decimals (12.50).
    """
    with_currency = any(section.currency for section in document.sections)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    keys = [column.key for column in document.columns]
    writer.writerow(["currency", *keys] if with_currency else keys)
    for section in document.sections:
        for row in section.table.rows:
            cells = [_plain(*pair) for pair in zip(document.columns, row, strict=True)]
            writer.writerow([section.currency or "", *cells] if with_currency else cells)
    return codecs.BOM_UTF8 + text.getvalue().encode()


def _plain(column: Column, cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case Money():
            return f"{cell.decimal():f}"
        case date():
            return cell.isoformat()
        case int() if column.kind == "percent":
            return f"{Decimal(cell).scaleb(-2):f}"
        case int():
            return str(cell)
        case str():
            return guarded(cell)


def guarded(text: str) -> str:
    """What a spreadsheet would take for a formula begins with an apostrophe instead."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
