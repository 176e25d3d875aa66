"""Kinds of field that several API models have, each with the words of its refusal."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from consulta.core.http import ApiModel
from consulta.core.money import is_currency
from consulta.core.time import is_zone


def _zone(value: str) -> str:
    if not is_zone(value):
        raise ValueError("not an IANA time zone, like Europe/Madrid")
    return value


def _currency(value: str) -> str:
    if not is_currency(value):
        raise ValueError("not an ISO 4217 currency, like EUR")
    return value


def printable(value: str) -> str:
    """Text of several lines without other control characters."""
    if any(ord(letter) < 0x20 and letter not in "\n\t" for letter in value):
        raise ValueError("control characters are not accepted")
    return value


Zone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)]
Currency = Annotated[str, StringConstraints(max_length=3), AfterValidator(_currency)]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Text = Annotated[str, StringConstraints(max_length=4_000), AfterValidator(printable)]


class Amount(ApiModel):
    """Integer minor units of an ISO 4217 currency."""

    amount: int
    currency: Currency
