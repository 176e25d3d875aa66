"""API models of the ledger: ids and amounts, nothing else."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from consulta.core.fields import Amount
from consulta.core.http import ApiModel, Id

Month = Annotated[
    str, StringConstraints(pattern=r"^20\d\d-(0[1-9]|1[0-2])$"), Field(description="A UTC month")
]
Book = Annotated[
    str,
    StringConstraints(pattern=r"^(PLAT|PAYEE:[A-Za-z0-9_]{1,60})$"),
    Field(description="`PLAT`, or `PAYEE:` and the payee's id"),
]
Account = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z_]{1,20}(:[A-Za-z0-9_]{1,60}){0,2}$"),
    Field(description="An account of `book`, like `commission`"),
]


class LedgerFilter(ApiModel):
    """Which postings are listed: of one payment, or of a month; without either, of a year."""

    payment_id: Id | None = None
    month: Month | None = None
    book: Book | None = None
    account: Account | None = None


class LedgerEntry(ApiModel):
    """One line of a posting; either ``debit`` or ``credit`` is zero."""

    book: str
    account: str
    debit: Amount
    credit: Amount


class LedgerPosting(ApiModel):
    """A set of entries that balances per book; it is never changed.

    ``id`` is the posting's key: what moved, as the provider or we name it. ``event`` says what it
    explains. ``payment_id`` is null for what is about no payment, like a payout.
    """

    id: str
    event: str
    payment_id: str | None
    currency: str
    entries: list[LedgerEntry]
    occurred_at: datetime


class LedgerPage(ApiModel):
    """One page, the newest first. It may be short, or empty, and still go on."""

    items: list[LedgerPosting]
    next_cursor: str | None
