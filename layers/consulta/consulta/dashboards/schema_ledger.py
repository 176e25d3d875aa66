"""API models of the ledger's balances."""

from datetime import datetime

from consulta.core.fields import Amount
from consulta.core.http import ApiModel
from consulta.money.schema.ledger import Book


class BalancesFilter(ApiModel):
    """Which book; without it the practice's own and the platform's."""

    book: Book | None = None


class Balance(ApiModel):
    """Debits less credits of one kind of account in one book and currency.

    ``unsettled``, ``pending`` and ``available`` are those at all providers together, ``due`` is
    what is owed between books.
    """

    book: str
    account: str
    balance: Amount


class Balances(ApiModel):
    """Every account that is not at zero. ``complete`` is false while older postings are counted.

    ``as_of`` is when it was read; figures follow the postings by a moment. ``changed_at`` is when
    one of them last changed.
    """

    items: list[Balance]
    complete: bool
    as_of: datetime
    changed_at: datetime | None
