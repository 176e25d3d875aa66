"""A report as a PDF to read and to print: A4 portrait, one accent colour, page x of y."""

import io
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.shapes import Drawing, Rect, String
from reportlab.lib.colors import HexColor, white
from reportlab.lib.enums import TA_LEFT, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    PageTemplate,
    Spacer,
    Table,
    TableStyle,
)

from consulta.core.money import Money, format_money
from consulta.core.time import in_zone
from consulta.reports.document import Cell, Column, Document, Measure, Period, Section, Series
from consulta.reports.typeface import (
    BLUE,
    BOLD,
    GREY,
    INK,
    PALE,
    RULE,
    TEXT,
    Side,
    clip,
    glyphs,
    paragraph,
    printable,
    text_width,
)

_SERIES_COLOURS = (BLUE, HexColor("#9CA3AF"), HexColor("#374151"), HexColor("#D1D5DB"))
_MARGIN, _TOP, _BOTTOM = 20 * mm, 22 * mm, 26 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_CARDS_PER_ROW = 4
_MOST_AXIS_LABELS = 12
_DASH = "\N{EN DASH}"
_LONGEST_TEXT = 160  # characters of one cell: a row must fit on a page
_NOTHING = "There was nothing in this period."


def render_pdf(document: Document) -> bytes:
    """One part per section: headline figures, a bar chart, and the table with its totals.

    A section without anything shows its zero totals and says so, in place of the chart and of the
    rows, all of which are zero. :mod:`consulta.reports.typeface` says which letters there are.
    """
    glyphs()
    # Drawn twice, since the first page already says how many there are.
    _, pages = _draw(document, pages=0)
    return _draw(document, pages)[0]


def _draw(document: Document, pages: int) -> tuple[bytes, int]:
    target = io.BytesIO()
    generated = document.generated_at.astimezone(UTC)

    def canvas(*args: Any, **options: Any) -> Canvas:
        made = Canvas(*args, **options)
        made.setDateFormatter(lambda *_: f"D:{generated:%Y%m%d%H%M%S}+00'00'")
        return made

    # The practice may bear a person's name: it stays out of the properties. ``invariant`` makes
    # the file's id follow from its content alone.
    template = BaseDocTemplate(
        target,
        pagesize=A4,
        title=printable(document.title),
        author="Consulta",
        subject=_days(document.period),
        creator="Consulta",
        lang="en",
        invariant=1,
    )
    frame = Frame(_MARGIN, _BOTTOM, _WIDTH, A4[1] - _TOP - _BOTTOM, 0, 0, 0, 0, showBoundary=0)
    furniture = _Furniture(document, pages)
    template.addPageTemplates(PageTemplate("page", [frame], onPage=furniture.draw))
    template.build(_story(document), canvasmaker=canvas)
    return target.getvalue(), template.page


class _Furniture:
    """What stands on every page outside the text: running head, footer, page number."""

    def __init__(self, document: Document, pages: int) -> None:
        period = document.period
        self._head = clip(document.title, 80)
        self._practice = clip(document.practice_name, 60)
        made = _moment(document.generated_at, period.zone)
        self._period = f"{_days(period)} ({period.zone})  ·  Generated {made}"
        self._pages = pages

    def draw(self, canvas: Canvas, template: BaseDocTemplate) -> None:
        right = A4[0] - _MARGIN
        canvas.saveState()
        canvas.setFillColor(GREY)
        canvas.setFont(TEXT, 7)
        if template.page > 1:
            canvas.drawString(_MARGIN, A4[1] - 14 * mm, self._head)
            canvas.drawRightString(right, A4[1] - 14 * mm, self._practice)
        canvas.setStrokeColor(RULE)
        canvas.setLineWidth(0.5)
        canvas.line(_MARGIN, 18 * mm, right, 18 * mm)
        canvas.drawString(_MARGIN, 13.5 * mm, self._practice)
        canvas.drawString(_MARGIN, 10 * mm, self._period)
        canvas.drawRightString(right, 13.5 * mm, f"Page {template.page} of {self._pages}")
        canvas.restoreState()


def _story(document: Document) -> list[Flowable]:
    period = document.period
    as_of = _moment(document.as_of, period.zone)
    story: list[Flowable] = [
        paragraph(clip(document.practice_name, 120), 9, BLUE, font=BOLD, after=3),
        paragraph(document.title, 20, INK, font=BOLD, after=5),
        paragraph(f"{_days(period)}  ·  {period.zone}  ·  Figures as of {as_of}", 8.5, GREY),
        Spacer(0, 5 * mm),
    ]
    for number, section in enumerate(document.sections):
        if number:
            # A section starts where its figures and its chart fit, or on a page of its own.
            story += [Spacer(0, 10 * mm), CondPageBreak(120 * mm)]
        story += _section(section)
    return story


def _section(section: Section) -> list[Flowable]:
    unit = f"Amounts in {section.currency}" if section.currency else ""
    parts: list[Flowable] = [
        _heading(section.title, unit),
        Spacer(0, 3 * mm),
    ]
    if section.summary:
        parts += [_cards(section), Spacer(0, 6 * mm)]
    if section.is_empty:
        parts += [paragraph(_NOTHING, 9, GREY), Spacer(0, 4 * mm)]
    elif section.series and section.series[0].points:
        parts += [_chart(section.series), Spacer(0, 6 * mm)]
    parts.append(_table(section))
    return parts


def _heading(title: str, unit: str) -> Table:
    cells = [paragraph(title, 12, INK, font=BOLD), paragraph(unit, 8, GREY, TA_RIGHT)]
    heading = Table([cells], colWidths=[_WIDTH * 0.7, _WIDTH * 0.3])
    heading.setStyle(
        TableStyle(
            [
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 0),
                ("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
                ("LINEBELOW", (0, 0), (-1, -1), 1.2, BLUE),
            ]
        )
    )
    return heading


def _cards(section: Section) -> Table:
    """The headline figures, at most four to a row, all in the size in which the longest fits."""
    figures = [(figure.label, _measure(figure.value)) for figure in section.summary]
    lines = -(-len(figures) // _CARDS_PER_ROW)
    across = -(-len(figures) // lines)
    width = _WIDTH / across
    size = min(12.0, *(12 * (width - 18) / text_width(value, BOLD, 12) for _, value in figures))
    cards: list[list[Flowable]] = [
        [paragraph(label, 7.5, GREY, after=3), paragraph(value, size, INK, font=BOLD)]
        for label, value in figures
    ]
    blank = -len(cards) % across
    unused = [("BACKGROUND", (-blank, -1), (-1, -1), white)] if blank else []
    cards += [[]] * blank
    rows = [cards[at : at + across] for at in range(0, len(cards), across)]
    table = Table(rows, colWidths=[width] * across)
    table.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), PALE),
                *unused,
                ("LINEABOVE", (0, 1), (-1, -1), 4, white),
                ("LINEAFTER", (0, 0), (-2, -1), 4, white),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("TOPPADDING", (0, 0), (-1, -1), 7),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 8),
                ("LEFTPADDING", (0, 0), (-1, -1), 8),
                ("RIGHTPADDING", (0, 0), (-1, -1), 8),
            ]
        )
    )
    return table


def _chart(series: Sequence[Series]) -> Drawing:
    """Bars side by side per label, with the legend above and at most a dozen labels below."""
    height, top, bottom = 58 * mm, 20, 18
    values = [[_major(value) for _, value in one.points] for one in series]
    whole = all(isinstance(value, int) for one in series for _, value in one.points)
    low, high, step = _ticks([value for run in values for value in run], whole)
    places = max(0, -int(step.normalize().as_tuple().exponent))
    left = 8 + max(text_width(f"{edge:,.{places}f}", TEXT, 7) for edge in (low, high))

    bars: Any = VerticalBarChart()  # a widget made of settings
    bars.x, bars.y = left, bottom
    bars.width, bars.height = _WIDTH - left - 8, height - top - bottom
    bars.data = [tuple(float(value) for value in run) for run in values]
    bars.groupSpacing, bars.barWidth, bars.barSpacing = 3, 10, 0
    for number in range(len(series)):
        bars.bars[number].fillColor = _SERIES_COLOURS[number % len(_SERIES_COLOURS)]
        bars.bars[number].strokeColor = None

    axis = bars.valueAxis
    axis.valueMin, axis.valueMax, axis.valueStep = float(low), float(high), float(step)
    axis.labelTextFormat = lambda value: f"{value:,.{places}f}"
    axis.visibleAxis, axis.visibleTicks, axis.visibleGrid = False, False, True
    axis.gridStrokeColor, axis.gridStrokeWidth = RULE, 0.5
    axis.labels.fontName, axis.labels.fontSize, axis.labels.fillColor = TEXT, 7, GREY

    names = [printable(label) for label, _ in series[0].points]
    every = -(-len(names) // _MOST_AXIS_LABELS)
    across = bars.categoryAxis
    across.categoryNames = [n if at % every == 0 else "" for at, n in enumerate(names)]
    across.labelAxisMode = "low"
    across.visibleTicks, across.strokeColor, across.strokeWidth = False, GREY, 0.5
    across.labels.fontName, across.labels.fontSize, across.labels.fillColor = TEXT, 7, GREY
    across.labels.dy = -4

    drawing = Drawing(_WIDTH, height)
    drawing.add(bars)
    at = left
    for number, one in enumerate(series):
        colour = _SERIES_COLOURS[number % len(_SERIES_COLOURS)]
        label = clip(one.label, 40)
        swatch = Rect(at, height - 9, 7, 7)
        swatch.fillColor, swatch.strokeColor = colour, None
        drawing.add(swatch)
        drawing.add(
            String(at + 11, height - 8.5, label, fontName=TEXT, fontSize=7.5, fillColor=GREY)
        )
        at += 11 + text_width(label, TEXT, 7.5) + 16
    return drawing


def _ticks(values: Sequence[Decimal], whole: bool) -> tuple[Decimal, Decimal, Decimal]:
    """Lowest and highest tick and the step between them: about four round steps, zero among them.

    ``whole`` for counts, whose steps have no fractions.
    """
    zero = Decimal(0)
    low, high = min(zero, *values), max(zero, *values)
    rough = (high - low) / 4 or Decimal(1)
    magnitude = Decimal(10) ** rough.adjusted()
    factors = (Decimal(factor) for factor in ("1", "2", "2.5", "5", "10"))
    step = next(factor * magnitude for factor in factors if factor * magnitude >= rough)
    if whole:
        step = step.to_integral_value(rounding="ROUND_CEILING")
    steps = (high / step).to_integral_value(rounding="ROUND_CEILING")
    below = (low / step).to_integral_value(rounding="ROUND_FLOOR")
    return below * step, max(steps, Decimal(1) if not below else zero) * step, step


def _table(section: Section) -> Table:
    table = section.table
    rows = () if section.is_empty else table.rows
    texts = [
        [_cell(column, cell) for column, cell in zip(table.columns, row, strict=True)]
        for row in (*rows, table.totals)
    ]
    size, widths = _layout(table.columns, texts)
    last = len(texts)
    body: list[list[Any]] = [
        [paragraph(c.title, size, GREY, _side(c), font=BOLD) for c in table.columns]
    ]
    for number, line in enumerate(texts, start=1):
        font = BOLD if number == last else TEXT
        body.append(
            [
                paragraph(text, size, INK, font=font) if column.kind == "text" else text
                for column, text in zip(table.columns, line, strict=True)
            ]
        )
    drawn = Table(body, colWidths=widths, repeatRows=1)
    style: list[tuple[Any, ...]] = [
        ("FONT", (0, 0), (-1, -2), TEXT, size, size * 1.25),
        ("FONT", (0, -1), (-1, -1), BOLD, size, size * 1.25),
        ("TEXTCOLOR", (0, 0), (-1, -1), INK),
        ("VALIGN", (0, 0), (-1, 0), "BOTTOM"),
        ("VALIGN", (0, 1), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 4),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ("TOPPADDING", (0, 0), (-1, -1), 3.2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3.2),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, GREY),
        ("LINEBELOW", (0, 1), (-1, -2), 0.4, RULE),
        ("LINEABOVE", (0, -1), (-1, -1), 0.8, GREY),
        ("BACKGROUND", (0, -1), (-1, -1), PALE),
        # The totals never stand alone on the last page.
        ("NOSPLIT", (0, -2), (-1, -1)),
    ]
    for index, column in enumerate(table.columns):
        side = "RIGHT" if _side(column) == TA_RIGHT else "LEFT"
        style.append(("ALIGN", (index, 0), (index, -1), side))
    drawn.setStyle(TableStyle(style))
    return drawn


def _layout(columns: Sequence[Column], texts: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Font size and column widths: figures are never wrapped, names are where they must be."""
    for size in (8.0, 7.0, 6.0, 5.0):
        natural, least = [], []
        for index, column in enumerate(columns):
            title = printable(column.title)
            widest = max(text_width(line[index], BOLD, size) for line in texts)
            word = max((text_width(word, BOLD, size) for word in title.split()), default=0)
            wrapped = min(widest, 14 * size) if column.kind == "text" else widest
            natural.append(9 + max(text_width(title, BOLD, size), widest))
            least.append(9 + max(word, wrapped))
        if sum(least) <= _WIDTH:
            break
    if sum(natural) <= _WIDTH:
        spare = (_WIDTH - sum(natural)) / len(natural)
        return size, [width + spare for width in natural]
    wanted = sum(natural) - sum(least)
    share = max(0.0, _WIDTH - sum(least)) / wanted if wanted else 0
    fitted = [low + (full - low) * share for low, full in zip(least, natural, strict=True)]
    # A dozen columns of billions are too wide for a page in any font: then they overlap a little.
    return size, [width * _WIDTH / sum(fitted) for width in fitted]


def _side(column: Column) -> Side:
    return TA_LEFT if column.kind in {"text", "date"} else TA_RIGHT


def _cell(column: Column, cell: Cell) -> str:
    match cell:
        case None:
            return _DASH if column.kind == "percent" else ""
        case Money():
            return f"{cell.decimal():,f}"
        case date():
            return cell.isoformat()
        case int() if column.kind == "percent":
            return f"{Decimal(cell).scaleb(-2):,f}%"
        case int():
            return f"{cell:,}"
        case str():
            return clip(cell, _LONGEST_TEXT)


def _measure(value: Measure) -> str:
    return format_money(value) if isinstance(value, Money) else f"{value:,}"


def _major(value: Measure) -> Decimal:
    return value.decimal() if isinstance(value, Money) else Decimal(value)


def _days(period: Period) -> str:
    first, last = (f"{day.day} {day:%b %Y}" for day in (period.first, period.last))
    return first if first == last else f"{first} {_DASH} {last}"


def _moment(instant: datetime, zone: str) -> str:
    local = in_zone(instant, zone)
    return f"{local.day} {local:%b %Y %H:%M}"
