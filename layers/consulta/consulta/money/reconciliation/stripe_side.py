"""Stripe's side: an account's balance transactions of a time, each under the posting key it has.

Source: https://docs.stripe.com/reports/balance-transaction-types. A charge, its transfer and our
commission are three transactions and one posting, so each is put under the key of the one that the
posting is named after: charge or refund, or the transfer of a dispute. What ties them together are
the objects that caused them, which come with the list.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from consulta.core.errors import NotFound
from consulta.core.keys import Tenant
from consulta.core.time import from_epoch, to_epoch
from consulta.money.accounts import payees
from consulta.money.accounts.payout_effects import Holder, place_of
from consulta.money.currencies import from_stripe
from consulta.money.reconciliation import ledger_side
from consulta.money.reconciliation.matching import Event, Fact
from consulta.money.records import Provider
from consulta.money.stripe.client import AccountUnreachable, client, translated

PAGE = 100
# What belongs to one posting happens within moments; lists are read a little beyond the time.
MARGIN = timedelta(hours=1)
SETTLING = timedelta(minutes=1)
# A refund and the commission that goes back with it are made by one call.
NEAR_S = 120
_COMMISSION = "application_fee"

Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PayoutSeen:
    """A payout as Stripe has it; ``paid_out`` is what its transactions come to, where it says."""

    id: str
    amount: int
    currency: str
    place: str
    at: datetime
    paid_out: int | None


@dataclass(frozen=True, slots=True)
class DisputeSeen:
    """A dispute as Stripe has it; ``practice`` as far as its charge says."""

    id: str
    status: str
    amount: int
    currency: str
    at: datetime
    practice: str
    payment: str


@dataclass
class Books:
    """One account's reading: what was looked up once is not asked for again."""

    holder: Holder
    low: datetime
    high: datetime
    # Called before each page and each look-up: raises OutOfTime where the invocation ends.
    check: Callable[[], None] = lambda: None
    transactions: int = 0
    _memo: dict[tuple[str, str, str], Raw] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)
    _transfers: dict[str, Raw] | None = None

    # ------------------------------------------------------------ what the account is asked

    def facts(self) -> list[Fact]:
        """What moved this balance between ``low`` and ``high``, under the posting's keys."""
        listed = list(
            self._pages(
                "balance_transactions",
                {"created": self._created(MARGIN, SETTLING), "expand": ["data.source"]},
            )
        )
        self.transactions += len(listed)
        for raw in listed:
            source = _source(raw)
            if source.get("object") in ("charge", "refund", "application_fee", "transfer"):
                self._memo[str(source["object"]), self.holder.account, source["id"]] = source
        found = [self._fact(raw) for raw in listed]
        # A posting's time is its first transaction's: what is only partly in the time is not cut.
        begun: dict[str, datetime] = {}
        for fact in found:
            begun[fact.key] = min(fact.at, begun.get(fact.key, fact.at))
        return [fact for fact in found if self.low <= begun[fact.key] <= self.high]

    def balances(self) -> dict[str, int]:
        """Pending and available together, per currency."""
        with translated("balance.retrieve"):
            raw = client().v1.balance.retrieve({}, self._options(self.holder.account)).to_dict()
        sums: dict[str, int] = {}
        for part in (*raw["pending"], *raw["available"]):
            currency = part["currency"].upper()
            sums[currency] = sums.get(currency, 0) + from_stripe(part["amount"], currency)
        return sums

    def payouts(self) -> Iterator[PayoutSeen]:
        """The payouts of the time, each with the sum of its transactions where Stripe has it."""
        for raw in self._pages("payouts", {"created": self._created()}):
            currency = raw["currency"].upper()
            paid_out = None
            if raw.get("automatic") and raw.get("reconciliation_status") == "completed":
                parts = self._pages("balance_transactions", {"payout": raw["id"]})
                nets = [part["net"] for part in parts if part["type"] != "payout"]
                paid_out = from_stripe(sum(nets), currency)
            yield PayoutSeen(
                raw["id"],
                from_stripe(raw["amount"], currency),
                currency,
                place_of(raw["status"]),
                from_epoch(raw["created"]),
                paid_out,
            )

    def disputes(self) -> Iterator[DisputeSeen]:
        """The disputes of the time that are about charges of ours."""
        for raw in self._pages("disputes", {"created": self._created()}):
            metadata = self._charge(self.holder.account, raw["charge"]).get("metadata") or {}
            if metadata.get("practice") and metadata.get("payment"):
                currency = raw["currency"].upper()
                yield DisputeSeen(
                    raw["id"],
                    raw["status"],
                    from_stripe(raw["amount"], currency),
                    currency,
                    from_epoch(raw["created"]),
                    metadata["practice"],
                    metadata["payment"],
                )

    def knows(self, transaction: str, account: str) -> bool:
        """Whether an account has such a balance transaction at all, of whatever time."""
        try:
            with translated("balance_transactions.retrieve"):
                client().v1.balance_transactions.retrieve(transaction, {}, self._options(account))
        except NotFound:
            return False
        except AccountUnreachable:
            # Nobody can say any more; what is known of it stays.
            return True
        return True

    def _created(
        self, before: timedelta = timedelta(), after: timedelta = timedelta()
    ) -> dict[str, int]:
        return {"gte": to_epoch(self.low - before), "lte": to_epoch(self.high + after)}

    @staticmethod
    def _options(account: str) -> dict[str, str]:
        return {"stripe_account": account} if account else {}

    def _pages(self, name: str, params: Raw) -> Iterator[Raw]:
        """A list of this account's, page by page."""
        return self._of(name, params, self.holder.account)

    def _of(self, name: str, params: Raw, account: str) -> Iterator[Raw]:
        with translated(f"{name}.list"):
            listed = getattr(client().v1, name).list(
                {**params, "limit": PAGE}, self._options(account)
            )
        while True:
            self.check()
            yield from (one.to_dict() for one in listed.data)
            if not listed.has_more:
                return
            with translated(f"{name}.list"):
                listed = listed.next_page()

    # ------------------------------------------------------------ looked up once

    def _get(self, kind: str, account: str, object_id: str) -> Raw:
        """An object of an account; ``{}`` where there is none, or the account is closed to us."""
        place = (kind, account, object_id)
        if place not in self._memo:
            self.check()
            resource = getattr(client().v1, f"{kind}s")
            try:
                with translated(f"{kind}s.retrieve"):
                    self._memo[place] = resource.retrieve(
                        object_id, {}, self._options(account)
                    ).to_dict()
            except (AccountUnreachable, NotFound):
                self._memo[place] = {}
        return self._memo[place]

    def _charge(self, account: str, charge_id: Any) -> Raw:
        return self._get("charge", account, _id(charge_id)) if charge_id else {}

    def _transfer(self, transfer_id: Any) -> Raw:
        """A transfer of the platform's; those to this account of the time are read at once."""
        if self._transfers is None:
            self._transfers = {}
            if self.holder.account:
                wanted = {
                    "destination": self.holder.account,
                    "created": self._created(MARGIN, SETTLING),
                    "expand": ["data.source_transaction"],
                }
                for raw in self._of("transfers", wanted, ""):
                    charge = raw.get("source_transaction")
                    if isinstance(charge, dict):
                        self._memo["charge", "", charge["id"]] = charge
                    self._transfers[raw["id"]] = raw
        found = self._transfers.get(_id(transfer_id))
        return found or self._get("transfer", "", _id(transfer_id))

    # ------------------------------------------------------------ one transaction

    def _fact(self, raw: Raw) -> Fact:
        currency, source = raw["currency"].upper(), _source(raw)
        how = _KINDS.get(raw["type"], Books._unexplained)
        told = how(self, raw, source)
        fee = sum(part["amount"] for part in raw["fee_details"] if part["type"] != _COMMISSION)
        return Fact(
            key=told.key or f"{self.holder.name}:{raw['id']}",
            account=self.holder.name,
            currency=currency,
            net=from_stripe(raw["net"], currency),
            fee=from_stripe(fee, currency),
            at=from_epoch(raw["created"]),
            about=source.get("id") or raw["id"],
            practice=self._practice(told),
            payment=told.metadata.get("payment", ""),
            external=told.external,
            is_ours=told.is_ours,
            event=told.event,
        )

    def _practice(self, told: "Told") -> str:
        """Whose it is: by the connected account, never by what metadata says alone."""
        if self.holder.account:
            return self.holder.tenant.practice
        owner = payees.owner_of(Provider.STRIPE, told.account) if told.account else None
        return owner.practice if owner else ""

    def _of_charge(self, raw: Raw, source: Raw) -> "Told":
        """A charge; or on the connected account what a transfer has brought."""
        del raw
        if source.get("source_transfer"):
            return self._brought(source)
        metadata = source.get("metadata") or {}
        return Told(
            account=_destination(source),
            metadata=metadata,
            is_ours=bool(metadata.get("practice")),
            event=Event("charge.updated", source.get("id", ""), self.holder.account),
        )

    def _brought(self, payment: Raw) -> "Told":
        transfer = self._transfer(payment["source_transfer"])
        return self._by_transfer(transfer, self.holder.account)

    def _by_transfer(self, transfer: Raw, account: str) -> "Told":
        """Of a destination charge it is the charge's; else it has a posting of its own."""
        charge_id = transfer.get("source_transaction")
        if not charge_id:
            ours = bool((transfer.get("metadata") or {}).get("op_id"))
            return Told(
                _stripe_key(transfer), account, transfer.get("metadata") or {}, is_ours=ours
            )
        charge = self._charge("", charge_id)
        metadata = charge.get("metadata") or {}
        event = Event("charge.updated", _id(charge_id)) if self.holder.account else None
        return Told(
            _stripe_key(charge),
            account,
            metadata,
            is_ours=bool(metadata.get("practice")),
            event=event,
        )

    def _of_transfer(self, raw: Raw, source: Raw) -> "Told":
        del raw
        return self._by_transfer(source, _id(source.get("destination") or ""))

    def _of_commission(self, raw: Raw, source: Raw) -> "Told":
        """Our fee of a charge, on the platform (destination) or on the account itself (direct)."""
        del raw
        return self._by_fee(source)

    def _by_fee(self, fee: Raw) -> "Told":
        account = _id(fee.get("account") or "")
        where, charge_id = self._charged(fee)
        charge = self._charge(where, charge_id)
        if not charge:
            return self._by_our_own(account, f"{where or Provider.STRIPE}:{charge_id}")
        metadata = charge.get("metadata") or {}
        return Told(
            _named(where, charge), account, metadata, is_ours=bool(metadata.get("practice"))
        )

    @staticmethod
    def _by_our_own(account: str, charge_key: str) -> "Told":
        """Of an account that is closed to us: what we posted of the charge while it was open."""
        owner = payees.owner_of(Provider.STRIPE, account) if account else None
        if owner is None:
            return Told(account=account, is_ours=False)
        key = ledger_side.settled_key(Tenant(owner.practice), charge_key)
        return Told(key, account)

    @staticmethod
    def _charged(fee: Raw) -> tuple[str, str]:
        """The account on which the charge of a fee was made, "" for the platform, and its id."""
        if fee.get("originating_transaction"):
            return "", _id(fee["originating_transaction"])
        return _id(fee.get("account") or ""), _id(fee.get("charge") or "")

    def _of_commission_back(self, raw: Raw, source: Raw) -> "Told":
        """It names its fee, not its refund: that is the one of the same charge at the same time.

        Of several in one second, the first part of the fee went back with the first of them.
        """
        fee = self._get("application_fee", "", _id(source.get("fee") or ""))
        told, (where, charge_id) = self._by_fee(fee), self._charged(fee)
        parts = (fee.get("refunds") or {}).get("data") or []
        before = [p["id"] for p in reversed(parts) if p["created"] == raw["created"]]
        number = before.index(source["id"]) if source.get("id") in before else 0
        refund = self._refund_near(where, charge_id, raw["created"], number)
        return Told(_named(where, refund), told.account, told.metadata, is_ours=told.is_ours)

    def _refund_near(self, account: str, charge_id: str, created: int, number: int) -> Raw:
        """The one made at that time; the one of this ``number`` where several are as near."""
        place = ("refunds", account, charge_id)
        if place not in self._memo:
            try:
                listed = list(self._of("refunds", {"charge": charge_id}, account))
            except AccountUnreachable:
                listed = []
            self._memo[place] = {"data": listed}
        away: dict[int, list[Raw]] = {}
        for refund in reversed(self._memo[place]["data"]):  # Stripe lists the newest first
            away.setdefault(abs(refund["created"] - created), []).append(refund)
        least = min(away, default=NEAR_S + 1)
        return away[least][min(number, len(away[least]) - 1)] if least <= NEAR_S else {}

    def _of_refund(self, raw: Raw, source: Raw) -> "Told":
        """A refund; or on the connected account what a transfer's reversal has taken back."""
        if source.get("source_transfer_reversal"):
            return self._taken_back(source)
        charge = self._charge(self.holder.account, source.get("charge"))
        metadata = charge.get("metadata") or {}
        failed = raw["type"] in ("refund_failure", "payment_failure_refund")
        return Told(
            account=_destination(charge),
            metadata=metadata,
            is_ours=bool(metadata.get("practice")),
            external=not failed and not (source.get("metadata") or {}).get("op_id"),
            event=Event("refund.updated", source.get("id", ""), self.holder.account),
        )

    def _taken_back(self, refund: Raw) -> "Told":
        payment = self._charge(self.holder.account, refund.get("charge"))
        transfer = self._transfer(payment.get("source_transfer") or "")
        wanted = _id(refund["source_transfer_reversal"])
        return self._by_reversal(self._reversal(transfer, wanted), self.holder.account)

    def _reversal(self, transfer: Raw, reversal_id: str) -> Raw:
        """From the first of them, which come with the transfer, or from all."""
        there = (transfer.get("reversals") or {}).get("data") or []
        for one in there:
            if one["id"] == reversal_id:
                return dict(one)
        with translated("transfers.reversals.list"):
            listed = client().v1.transfers.reversals.list(transfer["id"], {"limit": PAGE})
            for one in listed.auto_paging_iter():
                if one.id == reversal_id:
                    found: Raw = one.to_dict()
                    return found
        return {}

    def _by_reversal(self, reversal: Raw, account: str) -> "Told":
        refund_id = reversal.get("source_refund")
        if not refund_id:
            ours = bool((reversal.get("metadata") or {}).get("op_id"))
            metadata = reversal.get("metadata") or {}
            return Told(_stripe_key(reversal), account, metadata, is_ours=ours)
        refund = self._get("refund", "", _id(refund_id))
        charge = self._charge("", refund.get("charge"))
        metadata = charge.get("metadata") or {}
        event = Event("refund.updated", _id(refund_id)) if self.holder.account else None
        return Told(
            _stripe_key(refund),
            account,
            metadata,
            is_ours=bool(metadata.get("practice")),
            external=not (refund.get("metadata") or {}).get("op_id"),
            event=event,
        )

    def _of_reversal(self, raw: Raw, source: Raw) -> "Told":
        del raw
        transfer = self._transfer(source.get("transfer") or "")
        return self._by_reversal(source, _id(transfer.get("destination") or ""))

    def _of_dispute(self, raw: Raw, source: Raw) -> "Told":
        if source.get("object") != "dispute":
            return self._unexplained(raw, source)
        charge = self._charge(self.holder.account, source.get("charge"))
        metadata = charge.get("metadata") or {}
        return Told(
            account=_destination(charge),
            metadata=metadata,
            is_ours=bool(metadata.get("practice")),
            event=Event("charge.dispute.updated", source["id"], self.holder.account),
        )

    def _of_payout(self, raw: Raw, source: Raw) -> "Told":
        del raw
        event = Event("payout.updated", source.get("id", ""), self.holder.account)
        return Told(account=self.holder.account, event=event)

    def _unexplained(self, raw: Raw, source: Raw) -> "Told":
        """A kind that we have no posting for: reserves, top-ups, Stripe's own bills."""
        del raw, source
        return Told(is_ours=False)


@dataclass(frozen=True, slots=True)
class Told:
    """What a transaction's source says. Without ``key`` it is the posting's own transaction.

    ``account`` is the connected account whose owner's it is.
    """

    key: str = ""
    account: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    external: bool = False
    is_ours: bool = True
    event: Event | None = None


_KINDS: dict[str, Callable[[Books, Raw, Raw], Told]] = {
    "charge": Books._of_charge,
    "payment": Books._of_charge,
    "transfer": Books._of_transfer,
    "application_fee": Books._of_commission,
    "application_fee_refund": Books._of_commission_back,
    "refund": Books._of_refund,
    "payment_refund": Books._of_refund,
    "refund_failure": Books._of_refund,
    "payment_failure_refund": Books._of_refund,
    "transfer_refund": Books._of_reversal,
    "adjustment": Books._of_dispute,
    "payout": Books._of_payout,
    "payout_cancel": Books._of_payout,
    "payout_failure": Books._of_payout,
}


def _id(value: Any) -> str:
    """An id, of an object that may have come expanded."""
    return str(value["id"]) if isinstance(value, dict) else str(value)


def _source(raw: Raw) -> Raw:
    source = raw.get("source")
    return source if isinstance(source, dict) else {"id": source} if source else {}


def _destination(charge: Raw) -> str:
    destination = (charge.get("transfer_data") or {}).get("destination")
    return _id(destination) if destination else ""


def _named(account: str, made: Raw) -> str:
    """The key of an object's own transaction, on the platform where ``account`` is empty."""
    transaction = made.get("balance_transaction")
    return f"{account or Provider.STRIPE}:{_id(transaction)}" if transaction else ""


def _stripe_key(made: Raw) -> str:
    return _named("", made)
