"""API models of reconciliation: ids, classes and amounts, nothing personal."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from consulta.core.fields import Amount
from consulta.core.http import ApiModel, Id
from consulta.money.reconciliation.matching import Cause, Kind

# A UTC day, ``yyyy-mm-dd``.
Day = Annotated[str, StringConstraints(pattern=r"^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]


class RunRequest(ApiModel):
    """Which UTC day is looked at again, with the three days before it; without one, today."""

    day: date | None = None


class ClassCount(ApiModel):
    """How many differences of one class a run has left open."""

    class_: Annotated[Kind, Field(alias="class")]
    differences: int


class ProvenBalance(ApiModel):
    """A provider's balance (pending and available together) beside the ledger's.

    ``provider`` is null where it is not told (Mercado Pago). ``explained`` is what the listed
    differences come to; ``unsettled`` is in the ledger, and waits for the provider to settle it.
    """

    account: str
    provider: Amount | None
    ledger: Amount
    explained: Amount
    unsettled: Amount
    proven: bool


class FailedAccount(ApiModel):
    """An account that could not be read; ``why`` is a code."""

    account: str
    why: str


class Reconciliation(ApiModel):
    """The run of one UTC day: for operators all of it, for a practice its own part."""

    day: date
    state: Literal["asked", "running", "finished"]
    started_at: datetime | None
    finished_at: datetime | None
    accounts: int
    transactions: int
    counts: list[ClassCount]
    balances: list[ProvenBalance]
    failures: list[FailedAccount]


class ReconciliationPage(ApiModel):
    """Runs, the last day first."""

    items: list[Reconciliation]
    next_cursor: str | None


class DifferenceFilter(ApiModel):
    """Which differences are listed: first seen in [from, to), at most a year; without, 92 days."""

    class_: Annotated[Kind | None, Field(alias="class")] = None
    state: Literal["open", "resolved"] | None = None
    from_: Annotated[AwareDatetime | None, Field(alias="from")] = None
    to: AwareDatetime | None = None


class ReconciliationDifference(ApiModel):
    """One thing that is not the same at the provider and in the ledger.

    ``expected`` is the ledger's amount, ``found`` the provider's: what the balance ``account``
    gained, or, of the cause ``fee``, the fees. ``practice_id`` is null for what is the platform's.
    ``occurred_at`` is null for what has no time of its own, like a balance.
    """

    id: Id
    class_: Annotated[Kind, Field(alias="class")]
    cause: Cause
    detail: str
    state: Literal["open", "resolved"]
    provider: Literal["stripe", "mercadopago"]
    account: str
    practice_id: str | None
    provider_id: str | None
    posting_id: str | None
    payment_id: str | None
    expected: Amount
    found: Amount
    occurred_at: datetime | None
    first_seen: datetime
    last_seen: datetime
    resolved_at: datetime | None


class DifferencePage(ApiModel):
    """One page, the first seen last. It may be short, or empty, and still go on."""

    items: list[ReconciliationDifference]
    next_cursor: str | None
