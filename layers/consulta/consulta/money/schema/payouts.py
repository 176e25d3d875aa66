"""API models of payouts and of balances at the providers."""

from datetime import date, datetime
from typing import Annotated, Literal

from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from pydantic import AwareDatetime, Field

from consulta.core.fields import Amount, Currency
from consulta.core.http import ApiModel
from consulta.money.schema.connect import PAYEE_PATTERN, Payee

PayoutId = Annotated[
    str, Path(pattern=r"^po_[A-Za-z0-9_]{1,100}$", description="The provider's own id")
]
PayeeQuery = Annotated[
    str | None,
    Query(pattern=PAYEE_PATTERN, description="`practice`, or an expert's id; experts: themselves"),
]
PayoutStatus = Literal["pending", "in_transit", "paid", "failed", "canceled"]


class Payout(ApiModel):
    """Money from a provider's balance to the payee's bank.

    ``amount`` is below zero where the bank was debited; ``fee`` is what the provider took for it.
    ``arrives_on`` is the day on which the bank is expected to have it. A payout can be paid and
    fail afterwards: ``failure_code`` then says why, and the money is in the balance again.
    """

    id: str
    payee: str
    provider: Literal["stripe"]
    account: str
    amount: Amount
    fee: Amount
    status: str
    method: str
    automatic: bool
    arrives_on: date
    failure_code: str | None
    created_at: datetime
    updated_at: datetime
    version: int


class PayoutPage(ApiModel):
    """One page, the newest first. It may be short, or empty, and still go on."""

    items: list[Payout]
    next_cursor: str | None


class PayoutFilter(ApiModel):
    """Which payouts a list shows. Made at the provider in [from, to), at most 366 days."""

    from_: Annotated[AwareDatetime | None, Field(alias="from")] = None
    to: AwareDatetime | None = None
    payee: Payee | None = None
    status: PayoutStatus | None = None


class CurrencyBalance(ApiModel):
    """What the ledger has of a payee's money in one currency.

    ``unsettled``: paid, and the provider has not told its fee yet. ``pending``: it will be
    available. ``available``: it can be paid out. ``in_transit``: on its way to the bank.
    ``paid_out``: all that the bank ever got. Below zero where refunds took more than there was.
    """

    currency: Currency
    unsettled: Amount
    pending: Amount
    available: Amount
    in_transit: Amount
    paid_out: Amount


class PayeeBalance(ApiModel):
    """A payee's balances at all providers together, by currency; ``as_of``: the last change.

    ``complete`` is false while older postings are counted.
    """

    payee: str
    balances: list[CurrencyBalance]
    complete: bool
    as_of: datetime | None
