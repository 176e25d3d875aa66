"""What a report says, before anything decides how it looks.

The same :class:`Document` is rendered as CSV, Excel and PDF, so that the three cannot disagree.
Everything is checked when it is made: a document that exists adds up.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from consulta.core.money import Money, exponent
from consulta.core.time import is_zone

type Kind = Literal["text", "date", "count", "money", "percent"]
# A percent is an int of basis points (1250 is 12.50%), or None where the whole is zero.
type Cell = str | date | int | Money | None
type Row = tuple[Cell, ...]
type Measure = Money | int

_TYPES: dict[str, type] = {"text": str, "date": date, "count": int, "money": Money, "percent": int}
_MAY_BE_NONE = frozenset({"text", "date", "percent"})
_SUMMED = frozenset({"count", "money"})


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days ``first`` to ``last``, both included, on the clocks of the IANA ``zone``.

    Raises ValueError where the days are the wrong way round or the zone is unknown.
    """

    first: date
    last: date
    zone: str

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError("a period ends on or after its first day")
        if not is_zone(self.zone):
            raise ValueError(f"{self.zone} is not an IANA time zone")


@dataclass(frozen=True, slots=True)
class Figure:
    """One headline figure: an amount, or a count."""

    label: str
    value: Measure


@dataclass(frozen=True, slots=True)
class Column:
    """One column: ``key`` names it in a CSV header, ``title`` is what people read."""

    key: str
    title: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells in the order of ``columns``, and the totals below them.

    Cells are, by the column's kind: text ``str``; date ``date``; count ``int``; money ``Money``;
    percent ``int`` basis points. Text, dates and percents may be None. In ``totals`` counts and
    money are the sums of the rows; percents are given, since ratios do not add up; a text or date
    column holds a label or None.

    Raises ValueError where a cell does not fit its column, or a total is not the sum.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    totals: Row

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("a table has at least one column")
        keys = {column.key for column in self.columns}
        if len(keys) < len(self.columns) or "currency" in keys:
            raise ValueError("column keys are unique, and currency is the renderers' own")
        if any(len(row) != len(self.columns) for row in (*self.rows, self.totals)):
            raise ValueError("every row has one cell per column")
        for index, column in enumerate(self.columns):
            cells = [row[index] for row in self.rows]
            for cell in cells:
                _check_cell(column, cell)
            _check_total(column, cells, self.totals[index])

    @property
    def is_empty(self) -> bool:
        """Whether no count and no amount of any row differs from zero."""
        summed = [i for i, column in enumerate(self.columns) if column.kind in _SUMMED]
        return all(_minor(row[i]) == 0 for row in self.rows for i in summed)


@dataclass(frozen=True, slots=True)
class Series:
    """One run of bars: (label on the axis, value) in the order of time.

    Up to about 60 points are easy to read on a page; for more days give weeks or months.
    """

    label: str
    points: tuple[tuple[str, Measure], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Everything in one currency; ``currency`` is None for a report that has no money.

    Raises ValueError where money is in another currency, or the series have different labels.
    """

    title: str
    currency: str | None
    summary: tuple[Figure, ...]
    table: Table
    series: tuple[Series, ...] = ()

    def __post_init__(self) -> None:
        if self.currency is not None:
            exponent(self.currency)
        values: list[Cell] = [figure.value for figure in self.summary]
        values += [cell for row in (*self.table.rows, self.table.totals) for cell in row]
        values += [value for series in self.series for _, value in series.points]
        if any(isinstance(v, Money) and v.currency != self.currency for v in values):
            raise ValueError(f"the section is in {self.currency}")
        if len({tuple(label for label, _ in series.points) for series in self.series}) > 1:
            raise ValueError("the series of one chart share their labels")

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing in the period: all rows and all headline figures are zero."""
        return self.table.is_empty and all(_minor(figure.value) == 0 for figure in self.summary)


@dataclass(frozen=True, slots=True)
class Document:
    """A report of one practice over one period.

    ``generated_at`` is when it was made; ``as_of`` is up to when its figures are complete. A
    period without anything still has one section, in the practice's currency, with zero totals.

    Raises ValueError for a naive time, no section, two sections in one currency, or sections
    whose tables have different columns.
    """

    kind: str
    title: str
    practice_name: str
    period: Period
    generated_at: datetime
    as_of: datetime
    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        if self.generated_at.tzinfo is None or self.as_of.tzinfo is None:
            raise ValueError("an instant needs its offset")
        if not self.sections:
            raise ValueError("a document has at least one section")
        if len({section.currency for section in self.sections}) < len(self.sections):
            raise ValueError("each currency has one section")
        if len({section.table.columns for section in self.sections}) > 1:
            raise ValueError("the sections share their columns")

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of every section."""
        return self.sections[0].table.columns


def _check_cell(column: Column, cell: Cell) -> None:
    # Exact types: a datetime is a date and a bool is an int, and neither renders as one.
    fits = column.kind in _MAY_BE_NONE if cell is None else type(cell) is _TYPES[column.kind]
    if not fits:
        raise ValueError(f"{column.key} holds {column.kind}")


def _check_total(column: Column, cells: list[Cell], total: Cell) -> None:
    if column.kind in {"text", "date"}:
        if not isinstance(total, str | None):
            raise ValueError(f"the total of {column.key} is a label or nothing")
        return
    _check_cell(column, total)
    if column.kind in _SUMMED and sum(map(_minor, cells)) != _minor(total):
        raise ValueError(f"the total of {column.key} is not the sum of its rows")
    if len({cell.currency for cell in (*cells, total) if isinstance(cell, Money)}) > 1:
        raise ValueError(f"{column.key} adds up two currencies")


def _minor(cell: Cell) -> int:
    if isinstance(cell, Money):
        return cell.amount
    if isinstance(cell, int):
        return cell
    raise TypeError("only counts and money are summed")
