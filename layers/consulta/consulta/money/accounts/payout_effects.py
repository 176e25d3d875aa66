"""Payouts and available funds, brought into the ledger as the provider has them now.

Source: MONEY_AND_BOOKING_RULES §2, the rows of payouts and of available funds. By freshness, not
by rank, like payments: our item at a version, then the provider, then one transaction for that
version only. So the events may come in any order, twice, or not all of them.

The money of a payout goes one way: ``transit``, ``bank`` (paid), ``back`` (failed or cancelled,
also after it was paid). The platform's own balance belongs to no practice; its items are under a
tenant of its own, ``PLAT``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from consulta.core import keys, table
from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant
from consulta.core.observe import count, logger
from consulta.core.time import now, to_epoch, to_text
from consulta.money.accounts import payees
from consulta.money.books import ledger
from consulta.money.books.ledger import Posting
from consulta.money.paying.changes import posting_item
from consulta.money.records import PAYOUT, POSTING, PayoutItem, PostingItem, Provider
from consulta.money.stripe import payouts as stripe_payouts
from consulta.money.stripe.payouts import PAYOUT_TYPES, ProviderPayout, Transaction

DEADLINE_S = 12.0
TRANSIT, BANK, BACK = "transit", "bank", "back"
_PLACES = {"paid": BANK, "failed": BACK, "canceled": BACK}
_ORDER = (TRANSIT, BANK, BACK)
PLATFORM_TENANT = Tenant(ledger.PLATFORM)
# The platform's balance is older than we are: how far the first look goes back.
FIRST_LOOK = timedelta(days=30)
# Clocks differ, and a list may lag a moment behind.
OVERLAP_S = 3600

Closing = Callable[[], list[table.Action]]


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose balance at Stripe it is. ``account`` is the connected one, "" for the platform's."""

    tenant: Tenant
    payee_id: str
    account: str

    @property
    def book(self) -> str:
        """The book that has this balance."""
        return ledger.payee_book(self.payee_id) if self.account else ledger.PLATFORM

    @property
    def name(self) -> str:
        """The account as the ledger names it."""
        return self.account or str(Provider.STRIPE)


def holder_of(account: str) -> Holder | None:
    """The holder of an event's account ("" is the platform); None for an account not ours."""
    if not account:
        return Holder(PLATFORM_TENANT, ledger.PLATFORM, "")
    owner = payees.owner_of(Provider.STRIPE, account)
    return Holder(Tenant(owner.practice), owner.payee, account) if owner else None


# ---------------------------------------------------------------- payouts


def refresh(holder: Holder, payout_id: str, by: Actor, closing: Closing = list) -> None:
    """Bring a payout to what the provider says, with its postings, in one transaction.

    ``closing`` gives what is written besides. Raises NotFound, ProviderFailed, and Busy where
    others kept changing it.
    """
    for _ in table.attempts(DEADLINE_S):
        known = table.get(PayoutItem, holder.tenant.item(PAYOUT, payout_id))
        reading = stripe_payouts.read_payout(payout_id, holder.account)
        parts = [*_parts(holder, known, reading, by), *closing()]
        try:
            if parts:
                table.transact(parts)
        except table.ConditionFailed as failed:
            if "inbox" in failed.labels:
                return
            continue
        _announce(known, reading)
        return


def place_of(status: str) -> str:
    """Where the money is by the provider's status; one that we do not know is on its way."""
    return _PLACES.get(status, TRANSIT)


def postings(holder: Holder, place: str | None, reading: ProviderPayout) -> list[Posting]:
    """What the ledger lacks, where it has the money at ``place`` (None: it knows of no payout)."""
    wanted = place_of(reading.status)
    book, name, currency, amount = holder.book, holder.name, reading.currency, reading.amount
    found = []
    if place is None:
        key = f"{name}:{reading.transaction or f'{reading.id}:created'}"
        found.append(ledger.payout_created(book, name, key, currency, amount, reading.fee))
    if wanted == BANK and place in (None, TRANSIT):
        found.append(ledger.payout_paid(book, f"{name}:{reading.id}:paid", currency, amount))
    if wanted == BACK and place != BACK:
        key = f"{name}:{reading.failure_transaction or f'{reading.id}:returned'}"
        found.append(
            ledger.payout_returned(book, name, key, currency, amount, was_paid=place == BANK)
        )
    return [posting for posting in found if posting.entries]


def _parts(
    holder: Holder, known: PayoutItem | None, reading: ProviderPayout, by: Actor
) -> list[table.Action]:
    place = str(known.place) if known else None
    posted = [
        table.put_new(posting_item(holder.tenant, None, posting, by), "posting")
        for posting in postings(holder, place, reading)
    ]
    if known is None:
        return [table.put_new(_item(holder, reading, by)), *posted]
    wanted = place_of(reading.status)
    if _ORDER.index(wanted) < _ORDER.index(str(known.place)):
        # Nothing leaves a failed payout again, and nothing un-pays one but its failure.
        return []
    values = {
        "status": reading.status,
        "place": wanted,
        "arrives_on": reading.arrives_on.isoformat(),
        **({"failure_code": reading.failure_code} if reading.failure_code else {}),
    }
    changed = {name: value for name, value in values.items() if getattr(known, name) != value}
    return [table.change(known, by, set_=changed), *posted] if changed else []


def _item(holder: Holder, reading: ProviderPayout, by: Actor) -> PayoutItem:
    tenant, made_at = holder.tenant, reading.made_at
    place_in_list = f"{to_text(made_at)}#{reading.id}"
    return PayoutItem.create(
        tenant.item(PAYOUT, reading.id),
        PAYOUT,
        by,
        payee_id=holder.payee_id,
        provider=str(Provider.STRIPE),
        account=holder.name,
        amount=reading.amount,
        fee=reading.fee,
        currency=reading.currency,
        status=reading.status,
        place=place_of(reading.status),
        method=reading.method,
        automatic=reading.automatic,
        made_at=made_at,
        arrives_on=reading.arrives_on.isoformat(),
        failure_code=reading.failure_code or None,
        l1pk=tenant.listing_by(PAYOUT, "MONTH", f"{made_at:%Y-%m}"),
        l1sk=place_in_list,
        l2pk=tenant.listing_by(PAYOUT, "PAYEE", holder.payee_id),
        l2sk=place_in_list,
        walkpk=tenant.listing(PAYOUT),
        walksk=reading.id,
    )


def _announce(known: PayoutItem | None, reading: ProviderPayout) -> None:
    if reading.status == "failed" and (known is None or known.status != "failed"):
        logger.error("a payout failed", extra={"payout": reading.id, "code": reading.failure_code})
        count("PayoutsFailed")


# ---------------------------------------------------------------- pending → available


def take_available(holder: Holder, by: Actor) -> int:
    """Post ``available/pending`` for what has become available; how many postings were new.

    One posting per balance transaction, put once under its own key: however often and however late
    this is called, each is moved once. A watermark keeps how far back the next look has to go: to
    the oldest transaction that is still pending.
    """
    since, fresh = _since(holder), 0
    oldest_pending = to_epoch(now())
    for page in stripe_payouts.transactions(holder.account, since):
        movable = [t for t in page if t.kind not in PAYOUT_TYPES]
        fresh += _post(holder, [t for t in movable if t.is_available and t.net], by)
        pending = [t.created for t in movable if not t.is_available]
        oldest_pending = min([oldest_pending, *pending])
    table.transact([table.update(_watermark(holder), set_={"since": oldest_pending - OVERLAP_S})])
    return fresh


def _watermark(holder: Holder) -> Key:
    return keys.watermark(f"funds:{holder.name}")


def _since(holder: Holder) -> int:
    row = table.get_raw(_watermark(holder))
    if row:
        return int(row["since"]["N"])
    if holder.account:
        payee = payees.find(holder.tenant, holder.payee_id)
        if payee:
            return to_epoch(payee.created_at) - OVERLAP_S
    return to_epoch(now() - FIRST_LOOK)


def _post(holder: Holder, found: list[Transaction], by: Actor) -> int:
    """Post those that are not posted yet. A page of them fits one transaction."""
    by_key = {holder.tenant.item(POSTING, _key(holder, t)): t for t in found}
    for _ in table.attempts(DEADLINE_S):
        there = table.batch_get_raw(list(by_key)) if by_key else {}
        new = [t for key, t in by_key.items() if key not in there]
        if not new:
            return 0
        parts = [table.put_new(_posting(holder, t, by), "posting") for t in new]
        if table.written(parts):
            return len(new)
    raise AssertionError("attempts ends by raising Busy")


def _key(holder: Holder, transaction: Transaction) -> str:
    return f"{holder.name}:{transaction.id}:available"


def _posting(holder: Holder, transaction: Transaction, by: Actor) -> PostingItem:
    posting = ledger.funds_available(
        holder.book,
        holder.name,
        _key(holder, transaction),
        transaction.currency,
        transaction.net,
    )
    return posting_item(holder.tenant, None, posting, by)
