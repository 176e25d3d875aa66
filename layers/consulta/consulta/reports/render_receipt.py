"""A receipt as a PDF: A4 portrait, in the practice's language, with the words of receipt_words."""

import io
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from reportlab.lib.enums import TA_LEFT, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    KeepTogether,
    PageTemplate,
    Spacer,
    Table,
    TableStyle,
)

from consulta.core.fields import Amount
from consulta.core.language import written
from consulta.core.money import Money, format_money
from consulta.reports.receipt_schema import PaidPart, Receipt, ReceiptLine
from consulta.reports.receipt_words import WORDS, Words
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
)

_MARGIN, _TOP, _BOTTOM = 20 * mm, 22 * mm, 26 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_LONGEST_NAME, _LONGEST_TEXT = 200, 400


def render_receipt(receipt: Receipt) -> bytes:
    """The receipt as people print it; the same one gives the same bytes."""
    glyphs()
    # Drawn twice, since the first page already says how many there are.
    _, pages = _draw(receipt, pages=0)
    return _draw(receipt, pages)[0]


def _draw(receipt: Receipt, pages: int) -> tuple[bytes, int]:
    target, words = io.BytesIO(), WORDS[receipt.language]
    issued = receipt.issued_at

    def canvas(*args: Any, **options: Any) -> Canvas:
        made = Canvas(*args, **options)
        made.setDateFormatter(lambda *_: f"D:{issued:%Y%m%d%H%M%S}+00'00'")
        return made

    # People's names stay out of the properties, which file systems and search engines read.
    template = BaseDocTemplate(
        target,
        pagesize=A4,
        title=f"{words.title} {receipt.number}",
        author="Consulta",
        creator="Consulta",
        lang=receipt.language,
        invariant=1,
    )
    frame = Frame(_MARGIN, _BOTTOM, _WIDTH, A4[1] - _TOP - _BOTTOM, 0, 0, 0, 0, showBoundary=0)
    foot = f"{words.title} {receipt.number}  ·  {clip(receipt.issuer.name, 60)}"

    def furniture(drawn: Canvas, page: BaseDocTemplate) -> None:
        right = A4[0] - _MARGIN
        drawn.saveState()
        drawn.setFillColor(GREY)
        drawn.setFont(TEXT, 7)
        drawn.setStrokeColor(RULE)
        drawn.setLineWidth(0.5)
        drawn.line(_MARGIN, 18 * mm, right, 18 * mm)
        drawn.drawString(_MARGIN, 13.5 * mm, printable(foot))
        number = words.page.format(page=page.page, pages=pages)
        drawn.drawRightString(right, 13.5 * mm, printable(number))
        drawn.restoreState()

    template.addPageTemplates(PageTemplate("page", [frame], onPage=furniture))
    template.build(_story(receipt, words), canvasmaker=canvas)
    return target.getvalue(), template.page


def _story(receipt: Receipt, words: Words) -> list[Flowable]:
    issuer = receipt.issuer
    tax_id = f"{words.tax_id}: {issuer.tax_id}" if issuer.tax_id else ""
    told = [text for text in (issuer.address, tax_id) if text]
    issued = f"{words.issued} {written(receipt.issued_on, receipt.language)}"
    story: list[Flowable] = [
        paragraph(clip(issuer.name, _LONGEST_NAME), 11, BLUE, font=BOLD, after=2),
        *(paragraph(clip(text, _LONGEST_TEXT), 8.5, GREY) for text in told),
        Spacer(0, 7 * mm),
        paragraph(words.title, 20, INK, font=BOLD, after=4),
        paragraph(f"{receipt.number}  ·  {issued}", 8.5, GREY),
        Spacer(0, 6 * mm),
        _people(receipt, words),
        Spacer(0, 7 * mm),
        _lines(receipt, words),
        Spacer(0, 7 * mm),
        _payments(receipt, words),
    ]
    if receipt.refunds:
        story += [Spacer(0, 5 * mm), _refunds(receipt, words)]
    story += [
        Spacer(0, 5 * mm),
        KeepTogether([_sums(receipt, words), Spacer(0, 9 * mm), _notice(words)]),
    ]
    return story


def _people(receipt: Receipt, words: Words) -> Table:
    """Who it is for, who was there, and when; what is not known is not said."""
    facts = [
        (words.patient, receipt.patient.name),
        (words.expert, receipt.expert.name),
        (words.payee, receipt.payee.name if receipt.payee.id != receipt.issuer.id else None),
        (
            words.provided,
            written(receipt.provided_on, receipt.language) if receipt.provided_on else None,
        ),
    ]
    rows = [
        [
            paragraph(label, 8.5, GREY),
            paragraph(clip(value, _LONGEST_NAME), 9.5, INK),
        ]
        for label, value in facts
        if value
    ]
    table = Table(rows or [["", ""]], colWidths=[_WIDTH * 0.28, _WIDTH * 0.72])
    table.setStyle(TableStyle([*_BARE, ("VALIGN", (0, 0), (-1, -1), "TOP")]))
    return table


_BARE: list[tuple[Any, ...]] = [
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 0),
    ("TOPPADDING", (0, 0), (-1, -1), 1.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
]


def _lines(receipt: Receipt, words: Words) -> Table:
    head = (words.description, words.net, words.tax, words.amount)
    rows = [
        (_described(line, words), _money(line.net), _taxed(line, words), _money(line.amount))
        for line in receipt.lines
    ]
    totals = (words.total, _money(receipt.net), _money(receipt.tax), _money(receipt.total))
    return _table(head, rows, (0.40, 0.18, 0.24, 0.18), last=totals)


def _described(line: ReceiptLine, words: Words) -> str:
    sessions = f" ({words.sessions.format(n=line.sessions)})" if line.sessions else ""
    return f"{clip(line.description, _LONGEST_NAME)}{sessions}"


def _taxed(line: ReceiptLine, words: Words) -> str:
    tax = line.tax
    if tax is None:
        return _money(Amount(amount=0, currency=line.net.currency))
    percent = Decimal(tax.rate_bps).scaleb(-2).normalize()
    how = f" ({words.included})" if tax.inclusive else ""
    return f"{_money(tax.amount)} · {tax.code} {percent:f}%{how}"


def _payments(receipt: Receipt, words: Words) -> Table:
    rows = [
        (
            written(one.paid_on, receipt.language),
            words.parts[one.part],
            _method(one, words),
            _money(one.amount),
        )
        for one in receipt.payments
    ]
    return _table((words.payments, "", "", words.amount), rows, (0.3, 0.2, 0.3, 0.2))


def _method(one: PaidPart, words: Words) -> str:
    method = one.method or one.provider
    return clip(words.methods.get(method, method), 40)


def _refunds(receipt: Receipt, words: Words) -> Table:
    rows = [
        (written(one.on, receipt.language), "", "", _money(one.amount)) for one in receipt.refunds
    ]
    return _table((words.refunds, "", "", words.amount), rows, (0.3, 0.2, 0.3, 0.2))


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    shares: Sequence[float],
    last: Sequence[str] = (),
) -> Table:
    """Texts left, amounts right: the first column, and those before the last without a title."""

    def side(index: int) -> Side:
        return TA_LEFT if index == 0 or not head[index] else TA_RIGHT

    def line(cells: Sequence[str], font: str, colour: Any = INK) -> list[Flowable]:
        return [paragraph(cell, 8.5, colour, side(at), font=font) for at, cell in enumerate(cells)]

    body = [line(head, BOLD, GREY), *(line(row, TEXT) for row in rows)]
    style: list[tuple[Any, ...]] = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 4),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ("TOPPADDING", (0, 0), (-1, -1), 3.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3.5),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, GREY),
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
    ]
    if last:
        body.append(line(last, BOLD))
        style += [
            ("LINEABOVE", (0, -1), (-1, -1), 0.8, GREY),
            ("BACKGROUND", (0, -1), (-1, -1), PALE),
        ]
    table = Table(body, colWidths=[_WIDTH * share for share in shares], repeatRows=1)
    table.setStyle(TableStyle(style))
    return table


def _sums(receipt: Receipt, words: Words) -> Table:
    sums = [(words.paid, receipt.paid)]
    if receipt.refunds:
        sums.append((words.refunded, receipt.refunded))
    sums.append((words.left, receipt.left))
    rows = [
        [
            "",
            paragraph(label, 9, GREY, TA_RIGHT),
            paragraph(_money(amount), 10, INK, TA_RIGHT, font=BOLD),
        ]
        for label, amount in sums
    ]
    table = Table(rows, colWidths=[_WIDTH * 0.4, _WIDTH * 0.35, _WIDTH * 0.25])
    table.setStyle(TableStyle([*_BARE, ("RIGHTPADDING", (0, 0), (-1, -1), 4)]))
    return table


def _notice(words: Words) -> Table:
    table = Table([[paragraph(words.notice, 8.5, INK)]], colWidths=[_WIDTH])
    table.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), PALE),
                ("LINEBEFORE", (0, 0), (0, -1), 2, BLUE),
                ("LEFTPADDING", (0, 0), (-1, -1), 8),
                ("TOPPADDING", (0, 0), (-1, -1), 6),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
            ]
        )
    )
    return table


def _money(amount: Amount) -> str:
    return format_money(Money(amount.amount, amount.currency))
