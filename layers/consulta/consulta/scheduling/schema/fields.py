"""Fields that several of these models share."""

from typing import Annotated

from pydantic import Field, StringConstraints

from consulta.core.fields import Currency
from consulta.core.http import ApiModel
from consulta.core.money import MAX_AMOUNT


class Price(ApiModel):
    """Integer minor units of an ISO 4217 currency; 0 is free."""

    # Strict: true and "5" are no amounts.
    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT, strict=True)]
    currency: Currency


class Tax(ApiModel):
    """A tax: its rate in ten-thousandths, and the practice's or its authority's own code for it.

    ``inclusive``: the price has it already, else it comes on top.
    """

    rate_bps: Annotated[int, Field(ge=0, le=10_000)]
    code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")]
    inclusive: bool = True


class AppliedTax(Tax):
    """The same as it was agreed, with what it comes to in minor units of the price's currency."""

    amount: int
