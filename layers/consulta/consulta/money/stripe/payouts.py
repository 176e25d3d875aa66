"""Payouts and balance transactions of an account at Stripe, in our own words."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from consulta.core.time import from_epoch
from consulta.money.currencies import from_stripe
from consulta.money.stripe.client import client, translated

PAGE = 100
# Payouts take from, and give back to, what is available: they never were pending.
PAYOUT_TYPES = frozenset({"payout", "payout_cancel", "payout_failure"})


@dataclass(frozen=True, slots=True)
class ProviderPayout:
    """A payout as Stripe has it now; amounts in minor units of ``currency``.

    ``transaction`` took the money out of the balance; ``failure_transaction`` brought it back.
    """

    id: str
    amount: int
    fee: int
    currency: str
    status: str
    method: str
    automatic: bool
    made_at: datetime
    arrives_on: date
    failure_code: str
    transaction: str
    failure_transaction: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """One movement of an account's balance; ``net`` is what it came to."""

    id: str
    net: int
    currency: str
    kind: str
    is_available: bool
    created: int


def _options(account: str) -> dict[str, str]:
    return {"stripe_account": account} if account else {}


def read_payout(payout_id: str, account: str) -> ProviderPayout:
    """The payout as it is now; ``account`` is "" for the platform's own.

    Raises NotFound, ProviderFailed.
    """
    expand = {"expand": ["balance_transaction"]}
    with translated("payouts.retrieve"):
        raw = client().v1.payouts.retrieve(payout_id, expand, _options(account)).to_dict()
    return _payout(raw)


def transactions(account: str, since: int) -> Iterator[list[Transaction]]:
    """Pages of what moved the account's balance since an epoch second, the newest first."""
    with translated("balance_transactions.list"):
        page = client().v1.balance_transactions.list(
            {"created": {"gte": since}, "limit": PAGE}, _options(account)
        )
    while True:
        yield [_transaction(found.to_dict()) for found in page.data]
        if not page.has_more:
            return
        with translated("balance_transactions.list"):
            page = page.next_page()


def _payout(raw: dict[str, Any]) -> ProviderPayout:
    currency = raw["currency"].upper()
    transaction = raw.get("balance_transaction") or {}
    return ProviderPayout(
        id=raw["id"],
        amount=from_stripe(raw["amount"], currency),
        fee=from_stripe(transaction.get("fee") or 0, currency),
        currency=currency,
        status=raw["status"],
        method=raw.get("method") or "standard",
        automatic=bool(raw.get("automatic")),
        made_at=from_epoch(raw["created"]),
        arrives_on=from_epoch(raw["arrival_date"]).date(),
        failure_code=raw.get("failure_code") or "",
        transaction=transaction.get("id", ""),
        failure_transaction=raw.get("failure_balance_transaction") or "",
    )


def _transaction(raw: dict[str, Any]) -> Transaction:
    currency = raw["currency"].upper()
    return Transaction(
        id=raw["id"],
        net=from_stripe(raw["net"], currency),
        currency=currency,
        kind=raw["type"],
        is_available=raw["status"] == "available",
        created=raw["created"],
    )
