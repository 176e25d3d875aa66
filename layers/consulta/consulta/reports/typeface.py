"""The typeface of all PDFs, its colours, and how a text is made printable in it.

The font is Bitstream Vera, which comes with reportlab and covers Western European languages, and of
Central European letters only Čč Ćć Đđ Łł Šš Žž Şş Ğğ İı; any other letter is shown without its mark
(Ę as E), and what is no Latin letter as "?".
"""

import unicodedata
from functools import cache
from typing import Literal
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.enums import TA_LEFT
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph

type Side = Literal[0, 2]  # TA_LEFT, TA_RIGHT

BLUE, INK, GREY = HexColor("#3B82F6"), HexColor("#111827"), HexColor("#6B7280")
RULE, PALE = HexColor("#E5E7EB"), HexColor("#F9FAFB")
TEXT, BOLD = "Vera", "VeraBd"


def paragraph(
    text: str,
    size: float,
    colour: Color,
    alignment: Side = TA_LEFT,
    *,
    font: str = TEXT,
    after: float = 0,
) -> Paragraph:
    """One paragraph of one style, ``size`` and ``after`` in points."""
    style = ParagraphStyle(
        "text",
        fontName=font,
        fontSize=size,
        leading=size * 1.25,
        textColor=colour,
        alignment=alignment,
        spaceAfter=after,
    )
    return Paragraph(escape(printable(text)), style)


def text_width(text: str, font: str, size: float) -> float:
    """How wide a printable text is, in points."""
    return float(pdfmetrics.stringWidth(text, font, size))


def clip(text: str, longest: int) -> str:
    """At most so many characters of it, with an ellipsis where there were more."""
    shown = printable(text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


@cache
def glyphs() -> frozenset[int]:
    """Register the fonts with reportlab, once, and say which code points they have."""
    fonts = [TTFont(name, f"{name}.ttf") for name in (TEXT, BOLD)]
    for font in fonts:
        pdfmetrics.registerFont(font)
    return frozenset.intersection(*(frozenset(font.face.charToGlyph) for font in fonts))


def printable(text: str) -> str:
    """``text`` on one line, in letters that the font has (see the module)."""
    shown = []
    for letter in unicodedata.normalize("NFC", " ".join(text.split())):
        plain = letter if ord(letter) in glyphs() else unicodedata.normalize("NFKD", letter)[0]
        shown.append(plain if ord(plain) in glyphs() else "?")
    return "".join(shown)
