"""When a whole practice is closed."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from consulta.core.fields import Name
from consulta.core.http import ApiModel
from consulta.scheduling.schema.availability import DateRange, LocalDate

MAX_CLOSURES, MAX_OPEN = 100, 200


class Closure(DateRange):
    """Dates on which nobody works, on the clocks of the practice; patients are shown the name."""

    name: Name


def _in_order(closures: list[Closure]) -> list[Closure]:
    return sorted(closures, key=lambda one: (one.from_, one.to))


def _unique(days: list[str]) -> list[str]:
    return sorted(set(days))


class Holidays(ApiModel):
    """Whose public holidays are days off: ISO 3166-1 alpha-2, and the last part of ISO 3166-2.

    ``open``: dates that are worked all the same.
    """

    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    subdivision: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{1,3}$")] | None = None
    open: Annotated[list[LocalDate], Field(max_length=MAX_OPEN), AfterValidator(_unique)] = Field(
        default_factory=list
    )


class ClosuresRequest(ApiModel):
    """All closures of a practice; ``holidays`` null for a practice that works on them."""

    closures: Annotated[
        list[Closure], Field(max_length=MAX_CLOSURES), AfterValidator(_in_order)
    ] = Field(default_factory=list)
    holidays: Holidays | None = None


class Holiday(ApiModel):
    """One public holiday."""

    date: LocalDate
    name: str


class Closures(ClosuresRequest):
    """The same as they are kept; version 0 where nothing was set yet.

    ``days`` are the holidays of this year and the next three, those that are worked included.
    """

    days: list[Holiday] = Field(default_factory=list)
    version: int
