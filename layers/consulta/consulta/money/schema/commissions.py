"""API models of commissions: the dated rate table, and what was taken of each payment."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from consulta.core.fields import Amount, Currency
from consulta.core.http import ApiModel, Id
from consulta.core.money import BASIS_POINTS, MAX_AMOUNT
from consulta.money.schema.payments import ExchangedInto

MAX_ROWS = 200


class CommissionRate(ApiModel):
    """``fixed`` minor units of ``currency`` plus ``percent_bps`` ten-thousandths of the amount.

    It holds for payments in ``currency`` that are made from the practice's local day ``from`` on:
    of one service, or of all without a row of their own. Together never more than the amount. With
    ``plan_id`` it holds only while the practice is on that plan, before the plan's own table.

    ``tax_bps``: the tax that the commission contains, in ten-thousandths of the rest of it (1600
    for 16 %). ``on_manual``: it is taken of cash and transfers too, and then owed by the payee.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    starts: Annotated[date, Field(alias="from")]
    fixed: Annotated[int, Field(ge=0, le=MAX_AMOUNT)] = 0
    percent_bps: Annotated[int, Field(ge=0, le=BASIS_POINTS)] = 0
    tax_bps: Annotated[int, Field(ge=0, le=BASIS_POINTS)] = 0
    on_manual: bool = False
    currency: Currency
    service_id: Id | None = None
    plan_id: Id | None = None


class RatesRequest(ApiModel):
    """The whole rate table, the latest ``from`` first; an empty one leaves the default."""

    rates: Annotated[list[CommissionRate], Field(max_length=MAX_ROWS)]


class CommissionRates(ApiModel):
    """A practice's rate table, in the order service, practice, plan.

    ``plan_rates`` is the table of the plan that it is on; ``default_percent_bps`` holds where no
    row does.
    """

    practice_id: Id
    default_percent_bps: int
    rates: list[CommissionRate]
    plan_id: Id | None = None
    plan_rates: list[CommissionRate] = Field(default_factory=list)
    updated_at: datetime | None
    version: int


class PlanRates(ApiModel):
    """A plan's rate table: for every practice on it that has no row of its own. Version 0: none."""

    plan_id: Id
    rates: list[CommissionRate]
    updated_at: datetime | None
    version: int


class CommissionStatus(StrEnum):
    """Pending until the provider has settled, returned once all of it went back.

    Due: of money that was taken by hand, which the payee owes us.
    """

    PENDING = "pending"
    DUE = "due"
    COLLECTED = "collected"
    RETURNED = "returned"


class RateUsed(ApiModel):
    """The rate that was agreed when the payment was made; ``from`` is null for the default."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    fixed: int
    percent_bps: int
    tax_bps: int = 0
    on_manual: bool = False
    starts: Annotated[date | None, Field(alias="from")]
    scope: Literal["service", "practice", "plan", "default"]


class Commission(ApiModel):
    """What was taken of one captured payment, in its one currency.

    ``net`` is what is left for the payee: gross − refunded − (commission − commission_returned) −
    tax_withheld, and − fee where ``fee_paid_by`` is the payee. ``commission_tax`` is contained in
    ``commission``. ``exchange``: what the provider settled it as, in another currency; its fee is
    there, and not in ``fee`` or ``net``. ``rate`` is null where none was stamped: money taken by
    hand without commission, and payments from before there were rate tables.
    """

    payment_id: Id
    appointment_id: Id | None
    package_id: Id | None
    expert_id: Id
    service_id: Id
    provider: Literal["stripe", "mercadopago", "manual"]
    status: CommissionStatus
    gross: Amount
    refunded: Amount
    commission: Amount
    commission_returned: Amount
    commission_tax: Amount
    fee: Amount
    fee_paid_by: Literal["platform", "payee"]
    tax_withheld: Amount
    net: Amount
    exchange: ExchangedInto | None = None
    rate: RateUsed | None
    paid_on: date
    created_at: datetime


class CommissionPage(ApiModel):
    """One page, the newest first. It may be short, or empty, and still go on."""

    items: list[Commission]
    next_cursor: str | None


class CommissionFilter(ApiModel):
    """Of payments that were made in [from, to), at most 366 days."""

    from_: Annotated[AwareDatetime | None, Field(alias="from")] = None
    to: AwareDatetime | None = None
    expert_id: Id | None = None
    service_id: Id | None = None
