"""An export as CSV (RFC 4180), line by line; what a report's own is, render_csv says."""

import codecs
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from consulta.core.money import Money
from consulta.reports.export_columns import CURRENCY, Column
from consulta.reports.render_csv import guarded


def write(path: Path, columns: Sequence[Column], rows: Iterable[list[Any]]) -> None:
    """UTF-8 with a byte order mark, lines ended by CRLF, one header of column keys.

    Amounts are plain decimals in major units of the row's currency. What a spreadsheet would take
    for a formula is guarded.
    """
    at = next(n for n, column in enumerate(columns) if column.key == CURRENCY)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(codecs.BOM_UTF8.decode())
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow([column.key for column in columns])
        for row in rows:
            currency = row[at]
            writer.writerow(
                [_plain(column, cell, currency) for column, cell in zip(columns, row, strict=True)]
            )


def _plain(column: Column, cell: Any, currency: str) -> str:
    if cell is None:
        return ""
    if column.kind == "money":
        return f"{Money(cell, currency).decimal():f}"
    return guarded(str(cell)) if column.kind == "text" else str(cell)
