"""Our side: postings as movements of the providers' balances, and what these balances are.

A balance is ``pending`` and ``available`` together; ``unsettled`` waits for the provider and is
told apart. Postings are only ever added, so months that are over are added up once and kept.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from consulta.core import table
from consulta.core.keys import Key, Tenant
from consulta.core.time import to_text, utc_months
from consulta.money.books import ledger
from consulta.money.books.ledger import Event
from consulta.money.reconciliation.matching import Posted
from consulta.money.records import PAYMENT, POSTING, PostingItem, Provider

SUMS = "RECONCILED_SUMS"
# Before this month nobody can have posted anything.
FIRST_MONTH = datetime.fromisoformat("2025-01-01T00:00:00+00:00")
# A month is closed once it is over for longer than any list lags.
CLOSED_AFTER = timedelta(days=3)
_BALANCE = frozenset({ledger.PENDING, ledger.AVAILABLE})
_REFUNDS = frozenset({Event.REFUND_SUCCEEDED, Event.REFUND_REVERSED})


def primary(key: str) -> str:
    """The provider's own part of a key: what we add behind a transaction is about that one."""
    if key.startswith("mp:"):
        return key
    return ":".join(key.split(":")[:2])


def movements(item: PostingItem) -> Iterator[Posted]:
    """What a posting moves in each provider's balance; nothing where it only waits to be settled.

    What moves from ``pending`` to ``available`` moves nothing. Of Mercado Pago's refunds the
    provider tells one amount only, so that ours and the seller's part of it are one movement.
    """
    net: Counter[tuple[str, str]] = Counter()
    fees: Counter[str] = Counter()
    for entry in item.entries:
        amount = int(entry["debit"]) - int(entry["credit"])
        book, (head, _, rest) = entry["book"], entry["account"].partition(":")
        if head == ledger.FEE:
            fees[book] += amount
        account, _, part = rest.rpartition(":")
        if head == "prov" and part in _BALANCE:
            net[account, book] += amount
    if item.event in _REFUNDS and item.posting_key.startswith("mp:"):
        sellers = [place for place in net if place[0] != Provider.MERCADOPAGO]
        if sellers:
            net = Counter({sellers[0]: sum(net.values())})
    practice = "" if item.tenant.practice == ledger.PLATFORM else item.tenant.practice
    for (account, book), amount in net.items():
        if amount or fees[book]:
            yield Posted(
                primary(item.posting_key),
                account,
                item.currency,
                amount,
                fees[book],
                item.occurred_at,
                practice,
                item.payment_id or "",
            )


def under(places: Iterable[tuple[Tenant, str, str]]) -> list[PostingItem]:
    """The postings that there are under these keys, read consistently.

    With a currency each: of an exchange the second one's posting has it in its key.
    """
    wanted = [
        tenant.item(POSTING, name)
        for tenant, key, currency in places
        for name in (key, f"{key}:{currency}")
    ]
    return [PostingItem.read(raw) for raw in table.batch_get_raw(wanted).values()]


def settled_key(tenant: Tenant, charge_key: str) -> str:
    """The key under which a charge was settled, by the one under which it was posted; or ""."""
    charge = table.get(PostingItem, tenant.item(POSTING, charge_key))
    if charge is None or charge.payment_id is None:
        return ""
    partition = tenant.listing_by(POSTING, PAYMENT, charge.payment_id)
    for raw in table.Query(partition, index="l2").all():
        item = PostingItem.read(raw)
        if item.event == Event.CHARGE_SETTLED:
            return str(item.posting_key)
    return ""


def between(tenant: Tenant, low: datetime, high: datetime, account: str) -> Iterator[PostingItem]:
    """A practice's postings of a time that touch a provider's balance."""
    parts = [f"{ledger.prov(account, part)}" for part in sorted(_BALANCE)]
    for month in utc_months(low, high):
        query = table.Query(
            tenant.listing_by(POSTING, "MONTH", month),
            index="l1",
            low=to_text(low),
            high=to_text(high),
        )
        for raw in query.all():
            item = PostingItem.read(raw)
            if any(entry["account"] in parts for entry in item.entries):
                yield item


# ---------------------------------------------------------------- balances


@dataclass(slots=True)
class Balances:
    """Up to ``until``, by account and currency; suspense by book, payment and currency."""

    until: datetime = FIRST_MONTH
    settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    unsettled: Counter[tuple[str, str]] = field(default_factory=Counter)
    suspense: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, item: PostingItem) -> None:
        """One posting's entries."""
        for entry in item.entries:
            amount = int(entry["debit"]) - int(entry["credit"])
            head, _, rest = entry["account"].partition(":")
            if head == ledger.SUSPENSE:
                self.suspense[entry["book"], item.payment_id or "", item.currency] += amount
            elif head == "prov":
                account, _, part = rest.rpartition(":")
                place = self.settled if part in _BALANCE else self.unsettled
                place[account, item.currency] += amount

    def plus(self, other: "Balances") -> None:
        """The sums of both, which are of the same moment."""
        for mine, theirs in self._pairs(other):
            for place, amount in theirs.items():
                mine[place] += amount

    def _pairs(self, other: "Balances") -> list[tuple[Any, Any]]:
        return [
            (self.settled, other.settled),
            (self.unsettled, other.unsettled),
            (self.suspense, other.suspense),
        ]

    def stored(self) -> dict[str, list[Any]]:
        """As the row of closed months keeps it."""
        named: dict[str, Any] = {
            "settled": self.settled,
            "unsettled": self.unsettled,
            "suspense": self.suspense,
        }
        return {
            name: [[*place, amount] for place, amount in sorted(sums.items()) if amount]
            for name, sums in named.items()
        }

    @classmethod
    def read(cls, row: dict[str, Any]) -> "Balances":
        """The reverse of :meth:`stored`."""
        made = cls()
        named: dict[str, Any] = {
            "settled": made.settled,
            "unsettled": made.unsettled,
            "suspense": made.suspense,
        }
        for name, sums in named.items():
            for *place, amount in row.get(name, []):
                sums[tuple(place)] += int(amount)
        return made


def balances(tenant: Tenant, moment: datetime) -> Balances:
    """A practice's ledger before ``moment``; the closed months are in the row that keeps them."""
    place, high = _sums_key(tenant), to_text(moment)
    raw = table.get_raw(place)
    row = table.from_raw(raw) if raw else {}
    total, through = Balances.read(row), str(row.get("through", ""))
    total.until = moment
    closed = f"{_month_before(moment - CLOSED_AFTER):%Y-%m}"
    for month in utc_months(FIRST_MONTH, moment):
        if month <= through:
            continue
        listed = tenant.listing_by(POSTING, "MONTH", month)
        for found in table.Query(listed, index="l1", high=high).all():
            total.add(PostingItem.read(found))
        if month == closed:
            values: dict[str, Any] = {
                "entity": SUMS,
                "through": month,
                "updated_at": to_text(moment),
            }
            table.transact([table.update(place, set_={**values, **total.stored()})])
    return total


def _month_before(instant: datetime) -> datetime:
    return instant.replace(day=1) - timedelta(days=1)


def _sums_key(tenant: Tenant) -> Key:
    return tenant.item(SUMS, "closed")
