"""API models of earnings."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from consulta.core.fields import Amount, Currency
from consulta.core.http import ApiModel, Id
from consulta.core.strict import Day

_BY_NAME = ConfigDict(validate_by_name=True, validate_by_alias=True)


class Group(StrEnum):
    """What the parts of a range are."""

    DAY = "day"
    MONTH = "month"


class EarningsFilter(ApiModel):
    """The practice's local days ``from`` to ``to``, both included, at most 366; of one expert.

    With ``group`` also day by day (at most 92 days) or month by month.
    """

    model_config = _BY_NAME

    first: Annotated[Day, Field(alias="from", description="The first local day")]
    last: Annotated[Day, Field(alias="to", description="The last local day, included")]
    expert_id: Id | None = None
    group: Group | None = None


class EarningsSum(ApiModel):
    """Money of a stretch of days, in one currency.

    ``gross`` was paid by patients, ``collected`` is gross − refunded. ``earned`` is what was
    delivered in those days, whenever it was paid. ``fees`` are the provider's as far as the payee
    bears them. ``net`` is collected − (commission − commission_returned) − fees − tax_withheld.
    ``pending_commission`` is the part of commission that the provider has not settled yet.
    ``commission_percent`` is commission over gross, null where nothing was paid.
    """

    currency: Currency
    payments: int
    gross: Amount
    refunded: Amount
    collected: Amount
    earned: Amount
    fees: Amount
    tax_withheld: Amount
    commission: Amount
    commission_returned: Amount
    pending_commission: Amount
    net: Amount
    commission_percent: float | None


class Trend(ApiModel):
    """Percent more, or less, than in as many days right before; null where there was nothing."""

    gross: float | None
    collected: float | None
    earned: float | None
    net: float | None


class EarningsTotal(EarningsSum):
    """One currency's money of the whole range, with its trend."""

    trend_percent: Trend


class EarningsPart(ApiModel):
    """One day, ``yyyy-mm-dd``, or what of one month, ``yyyy-mm``, is in the range."""

    period: str
    items: list[EarningsSum]


class PeriodEarnings(ApiModel):
    """Earnings by currency; parts without any money are left out.

    ``complete`` is false while older payments and postings are counted. ``as_of`` is when it was
    read; figures follow the payments by a moment. ``changed_at`` is when one of them last changed.
    """

    model_config = _BY_NAME

    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    expert_id: Id | None
    items: list[EarningsTotal]
    parts: list[EarningsPart] | None
    complete: bool
    as_of: datetime
    changed_at: datetime | None
