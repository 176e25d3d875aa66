"""In which language people are written to, and how that language writes a date: pure.

Dates are written by tables of our own: the standard library's depend on the machine's locales.
"""

from datetime import date
from typing import Literal

Language = Literal["en", "es", "pt"]

# Countries by the language that the most people there read; English is for all others.
_SPANISH = "AR BO CL CO CR CU DO EC ES GQ GT HN MX NI PA PE PR PY SV UY VE"
_PORTUGUESE = "AO BR CV GW MO MZ PT ST TL"
LANGUAGES: dict[str, Language] = {
    **dict.fromkeys(_SPANISH.split(), "es"),
    **dict.fromkeys(_PORTUGUESE.split(), "pt"),
}

MONTHS: dict[Language, str] = {
    "en": "January February March April May June July August September October November December",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro "
    "dezembro",
}
_DAYS: dict[Language, str] = {
    "en": "{day} {month} {year}",
    "es": "{day} de {month} de {year}",
    "pt": "{day} de {month} de {year}",
}


def language_of(country: str) -> Language:
    """The language of what a practice writes, by its ISO 3166-1 country."""
    return LANGUAGES.get(country, "en")


def written(day: date, language: Language) -> str:
    """A date for people to read: ``21 November 2026``, ``21 de noviembre de 2026``."""
    month = MONTHS[language].split()[day.month - 1]
    return _DAYS[language].format(day=day.day, month=month, year=day.year)
