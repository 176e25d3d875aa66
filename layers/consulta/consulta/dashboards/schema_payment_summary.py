"""API models of the summary of payments."""

from datetime import date, datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from consulta.core.fields import Amount
from consulta.core.http import ApiModel, Id
from consulta.core.strict import Day


class SummaryFilter(ApiModel):
    """The practice's local days ``from`` to ``to``, both included, at most 366; of one expert."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    first: Annotated[Day, Field(alias="from", description="The first local day")]
    last: Annotated[Day, Field(alias="to", description="The last local day, included")]
    expert_id: Id | None = None


class CurrencySummary(ApiModel):
    """What was paid in one currency; another one is never added to it.

    ``revenue`` is what was collected in the range, by the day paid; ``refunds`` what went back in
    it, by the day it did; ``count`` how many payments the revenue is of, ``average`` what one of
    them is, null where there is none. ``pending`` is what is asked for and not paid at this moment,
    whatever the range: it has no day yet.
    """

    currency: str
    revenue: Amount
    refunds: Amount
    pending: Amount
    count: int
    average: Amount | None


class PaymentSummary(ApiModel):
    """Payments by currency, from figures. ``complete`` is false while older ones are counted.

    ``as_of`` is when it was read; figures follow the payments by a moment. ``changed_at`` is when
    one of them last changed.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    expert_id: Id | None
    currencies: list[CurrencySummary]
    complete: bool
    as_of: datetime
    changed_at: datetime | None
