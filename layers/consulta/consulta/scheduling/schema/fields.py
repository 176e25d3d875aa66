"""Fields that several of these models share."""

from typing import Annotated

from pydantic import Field

from consulta.core.fields import Currency
from consulta.core.http import ApiModel


class Price(ApiModel):
    """Integer minor units of an ISO 4217 currency; 0 is free."""

    amount: Annotated[int, Field(ge=0, le=100_000_000)]
    currency: Currency
