"""The double-entry ledger: which entries each event posts. Pure.

Source: MONEY_AND_BOOKING_RULES §2; a worked example of every row is in docs/ledger.md. Two kinds of
book, the platform's and one per payee, each balanced per currency by itself. A posting is never
edited: what has to be taken back is posted the other way round.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from consulta.core.money import proportion
from consulta.money.records import Provider

PLATFORM = "PLAT"
PATIENT, REVENUE, REFUND_DUE = "patient", "revenue", "refund_due"
COMMISSION, FEE, CASH, SUSPENSE = "commission", "fee", "cash", "suspense"
TAX_OUT, TAX_WITHHELD = "tax_out", "tax_withheld"
HELD, LOSS = "held", "loss"
UNSETTLED, PENDING, AVAILABLE = "unsettled", "pending", "available"
TRANSIT, BANK = "transit", "bank"
FX = "fx"


class Event(StrEnum):
    """What a posting explains."""

    CHARGE_SUCCEEDED = "charge_succeeded"
    CHARGE_SETTLED = "charge_settled"
    MANUAL_PAYMENT = "manual_payment"
    EARNED = "earned"
    REFUND_REQUESTED = "refund_requested"
    REFUND_SUCCEEDED = "refund_succeeded"
    REFUND_REVERSED = "refund_reversed"
    MISMATCH = "mismatch"
    DISPUTE_WITHDRAWN = "dispute_withdrawn"
    DISPUTE_REINSTATED = "dispute_reinstated"
    DISPUTE_RECOVERED = "dispute_recovered"
    DISPUTE_RETURNED = "dispute_returned"
    DISPUTE_LOST = "dispute_lost"
    FUNDS_AVAILABLE = "funds_available"
    PAYOUT_CREATED = "payout_created"
    PAYOUT_PAID = "payout_paid"
    PAYOUT_RETURNED = "payout_returned"
    EXCHANGE = "exchange"


def payee_book(payee_id: str) -> str:
    """The book of a practice or an expert who is paid."""
    return f"PAYEE:{payee_id}"


def due(book: str) -> str:
    """What is owed to, or by, another book."""
    return f"due:{book}"


def prov(account: str, part: str) -> str:
    """A balance at a provider: ``unsettled``, ``pending`` or ``available``."""
    return f"prov:{account}:{part}"


def kind_of(account: str) -> str:
    """What sort of account it is: one name for those of all providers, and for all other books."""
    head, _, rest = account.partition(":")
    return rest.rpartition(":")[2] if head == "prov" else head


@dataclass(frozen=True, slots=True)
class Entry:
    """One line, in minor units; one of ``debit`` and ``credit`` is zero."""

    book: str
    account: str
    debit: int = 0
    credit: int = 0


@dataclass(frozen=True, slots=True)
class Posting:
    """The entries of one event under its key. Raises ValueError where a book does not balance.

    ``key``: ``<account>:<balance transaction>``, ``mp:<payment>:<kind>:<sub id>``, or for what no
    provider knows of, a kind of ours with our id.
    """

    event: Event
    key: str
    currency: str
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        if "#" in self.key:
            raise ValueError("a posting's key holds a separator")
        sums: dict[str, int] = {}
        for entry in self.entries:
            if entry.debit < 0 or entry.credit < 0 or bool(entry.debit) == bool(entry.credit):
                raise ValueError("an entry has either a debit or a credit, above zero")
            sums[entry.book] = sums.get(entry.book, 0) + entry.debit - entry.credit
        unbalanced = sorted(book for book, total in sums.items() if total)
        if unbalanced:
            raise ValueError(f"{self.event} does not balance in {', '.join(unbalanced)}")

    def reversed(self, event: Event, key: str) -> "Posting":
        """The same the other way round."""
        entries = tuple(Entry(e.book, e.account, e.credit, e.debit) for e in self.entries)
        return Posting(event, key, self.currency, entries)


def touched(posting: Posting) -> list[str]:
    """The books of a posting and its accounts in each, as ``<book>`` and ``<book>/<account>``."""
    places = [(entry.book, f"{entry.book}/{entry.account}") for entry in posting.entries]
    return sorted({name for place in places for name in place})


@dataclass(frozen=True, slots=True)
class Charge:
    """Whose charge it is and who bears what: the same for everything that follows from it.

    ``account`` is the connected account; ``destination``: charged on the platform and transferred.
    The platform's own account at a provider is named as the provider. ``part`` is where its settled
    money is: ``available`` once the provider has released it.
    """

    provider: Provider
    account: str
    payee_id: str
    currency: str
    destination: bool = False
    platform_pays_fees: bool = False
    part: str = PENDING

    @property
    def book(self) -> str:
        """The payee's."""
        return payee_book(self.payee_id)

    def ours(self, part: str = "") -> str:
        """The platform's balance at the provider: that of settled money, or a part by name."""
        return prov(self.provider, part or self.part)

    def theirs(self, part: str = "") -> str:
        """The payee's balance at the provider, likewise."""
        return prov(self.account, part or self.part)


Move = tuple[str, str, str, int]


def _entries(moves: Iterable[Move]) -> tuple[Entry, ...]:
    """Of (book, debited, credited, amount): zero adds none, below zero goes the other way."""
    found: list[Entry] = []
    for book, debited, credited, amount in moves:
        if amount < 0:
            debited, credited = credited, debited  # noqa: PLW2901  # the sign is the direction
        if amount:
            found += [
                Entry(book, debited, debit=abs(amount)),
                Entry(book, credited, credit=abs(amount)),
            ]
    return tuple(found)


# ---------------------------------------------------------------- money comes in


def charge_succeeded(
    charge: Charge,
    key: str,
    gross: int,
    commission: int,
    *,
    commission_tax: int = 0,
    settled: "Settlement | None" = None,
) -> Posting:
    """A patient has paid through a provider.

    ``commission_tax`` is contained in our commission: we owe it on, the payee pays the whole.
    Without ``settled`` gross and commission wait in ``unsettled`` for :func:`charge_settled`
    (Stripe); with it all is posted at once (Mercado Pago tells its fee with the approval).
    """
    part = charge.part if settled else UNSETTLED
    ours, theirs, book = charge.ours(part), charge.theirs(part), charge.book
    moves: list[Move] = []
    if charge.destination:
        moves += [(PLATFORM, ours, due(book), gross), (PLATFORM, due(book), ours, gross)]
    moves += [
        *_commission(ours, commission, commission_tax),
        (book, theirs, PATIENT, gross),
        (book, COMMISSION, theirs, commission),
    ]
    if settled:
        moves += _costs(charge, settled)
    return Posting(Event.CHARGE_SUCCEEDED, key, charge.currency, _entries(moves))


def _commission(from_: str, amount: int, tax: int) -> list[Move]:
    """Our share, in our book: what is ours of it, and the tax that it contains."""
    return [(PLATFORM, from_, COMMISSION, amount - tax), (PLATFORM, from_, TAX_OUT, tax)]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the provider has kept of a charge."""

    fee: int
    tax_withheld: int = 0


def charge_settled(
    charge: Charge,
    key: str,
    gross: int,
    commission: int,
    settled: Settlement,
    *,
    moved: int,
    more_tax: int = 0,
) -> Posting:
    """The provider has settled: from ``unsettled`` to ``pending``, less what it keeps.

    ``commission`` is what was posted when the charge succeeded, ``moved`` what it really is, and
    ``more_tax`` what that changes in the tax that it contains.
    """
    ours, theirs, book = charge.ours, charge.theirs, charge.book
    moves = [
        (PLATFORM, ours(), ours(UNSETTLED), commission),
        (book, theirs(), theirs(UNSETTLED), gross - commission),
        *_commission(ours(), moved - commission, more_tax),
        (book, COMMISSION, theirs(), moved - commission),
        *_costs(charge, settled),
    ]
    return Posting(Event.CHARGE_SETTLED, key, charge.currency, _entries(moves))


def _costs(charge: Charge, settled: Settlement) -> list[Move]:
    theirs = charge.theirs()
    fee = (
        (PLATFORM, FEE, charge.ours(), settled.fee)
        if charge.platform_pays_fees
        else (charge.book, FEE, theirs, settled.fee)
    )
    return [fee, (charge.book, TAX_WITHHELD, theirs, settled.tax_withheld)]


def manual_payment(
    payee_id: str,
    key: str,
    currency: str,
    gross: int,
    commission: int = 0,
    commission_tax: int = 0,
) -> Posting:
    """Cash or a transfer that the practice took itself; it owes us the commission, if any."""
    book = payee_book(payee_id)
    moves = [
        *_commission(due(book), commission, commission_tax),
        (book, CASH, PATIENT, gross),
        (book, COMMISSION, due(PLATFORM), commission),
    ]
    return Posting(Event.MANUAL_PAYMENT, key, currency, _entries(moves))


def mismatch(charge: Charge, key: str, currency: str, received: int) -> Posting:
    """Money came that is not what we asked for: in suspense until a person has looked."""
    if charge.destination:
        moves = [(PLATFORM, charge.ours(UNSETTLED), SUSPENSE, received)]
    else:
        moves = [(charge.book, charge.theirs(UNSETTLED), SUSPENSE, received)]
    return Posting(Event.MISMATCH, key, currency, _entries(moves))


# ---------------------------------------------------------------- it is earned


def earned(payee_id: str, key: str, currency: str, amount: int, tax: int = 0) -> Posting:
    """The patient's advance becomes revenue; ``tax`` of the amount is owed on."""
    book = payee_book(payee_id)
    moves = [(book, PATIENT, REVENUE, amount - tax), (book, PATIENT, TAX_OUT, tax)]
    return Posting(Event.EARNED, key, currency, _entries(moves))


def tax_part(tax: int, part: int, whole: int) -> int:
    """The tax in the first ``part`` of a ``whole`` that contains ``tax``: half to even.

    What one more part contains is the difference of two of these, so that all of them together
    contain ``tax`` to the cent, in whatever parts it is earned, or goes back.
    """
    return proportion(tax, part, whole)


def session_share(price: int, sessions: int, number: int) -> int:
    """What session ``number`` (1 …) of a package earns; all of them together earn the price."""
    return price * number // sessions - price * (number - 1) // sessions


# ---------------------------------------------------------------- it goes back


def refund_requested(
    payee_id: str, key: str, currency: str, advance: int, revenue: int, tax: int = 0
) -> Posting:
    """A refund is under way: out of the patient's advance, and of what was earned already."""
    book = payee_book(payee_id)
    moves = [
        (book, PATIENT, REFUND_DUE, advance),
        (book, REVENUE, REFUND_DUE, revenue - tax),
        (book, TAX_OUT, REFUND_DUE, tax),
    ]
    return Posting(Event.REFUND_REQUESTED, key, currency, _entries(moves))


def refund_succeeded(
    charge: Charge,
    key: str,
    amount: int,
    commission: int,
    commission_tax: int = 0,
    *,
    from_payee: int | None = None,
) -> Posting:
    """The patient has it back; ``commission`` of ours, with its tax, went back to the payee.

    ``from_payee`` is what of a destination charge's refund its transfer gave back, all of it unless
    said: the rest the platform has paid out of what it owes the payee.
    """
    ours, theirs, book = charge.ours(), charge.theirs(), charge.book
    taken = amount if from_payee is None else from_payee
    moves: list[Move] = []
    if charge.destination:
        moves += [(PLATFORM, due(book), ours, amount), (PLATFORM, ours, due(book), taken)]
    moves += [
        *_commission(ours, -commission, -commission_tax),
        (book, REFUND_DUE, theirs, taken),
        (book, REFUND_DUE, due(PLATFORM), amount - taken),
        (book, theirs, COMMISSION, commission),
    ]
    return Posting(Event.REFUND_SUCCEEDED, key, charge.currency, _entries(moves))


def refund_failed(charge: Charge, key: str, amount: int) -> Posting:
    """A refund's money came back to the balance that had paid it, and nothing else with it.

    Of a destination charge that is the platform's, which owes it to the payee from then on.
    """
    book = charge.book
    moves = [(book, charge.theirs(), REFUND_DUE, amount)]
    if charge.destination:
        moves = [
            (PLATFORM, charge.ours(), due(book), amount),
            (book, due(PLATFORM), REFUND_DUE, amount),
        ]
    return Posting(Event.REFUND_REVERSED, key, charge.currency, _entries(moves))


def manual_refund(
    payee_id: str,
    key: str,
    currency: str,
    amount: int,
    commission: int = 0,
    commission_tax: int = 0,
) -> Posting:
    """Handed back in cash or by transfer; the commission that was owed for it no longer is."""
    book = payee_book(payee_id)
    moves = [
        *_commission(due(book), -commission, -commission_tax),
        (book, REFUND_DUE, CASH, amount),
        (book, due(PLATFORM), COMMISSION, commission),
    ]
    return Posting(Event.REFUND_SUCCEEDED, key, currency, _entries(moves))


def commission_to_return(
    commission: int, gross: int, refunded: int, refund: int, returned: int
) -> int:
    """Our commission for one more ``refund``, in proportion to all that has gone back with it.

    Cumulative, half to even: parts lose no cent, and a full refund returns all the rest. What was
    returned with a refund that failed counts, so that there may be nothing left to return.
    """
    return max(proportion(commission, refunded + refund, gross) - returned, 0)


# ---------------------------------------------------------------- it is disputed


def _disputed_at(charge: Charge) -> tuple[str, str]:
    """Book and balance that a bank takes a dispute from: the platform's of a destination charge."""
    if charge.destination:
        return PLATFORM, charge.ours()
    return charge.book, charge.theirs()


def dispute_withdrawn(charge: Charge, key: str, amount: int, fee: int = 0) -> Posting:
    """The bank has taken ``amount`` until it decides, and the provider its fee for the dispute."""
    book, balance = _disputed_at(charge)
    moves = [(book, HELD, balance, amount), (book, FEE, balance, fee)]
    return Posting(Event.DISPUTE_WITHDRAWN, key, charge.currency, _entries(moves))


def dispute_reinstated(charge: Charge, key: str, amount: int, fee: int = 0) -> Posting:
    """The bank has given it back; ``fee`` is what the provider took for it, below zero: gave back.

    The first fee is not returned.
    """
    book, balance = _disputed_at(charge)
    moves = [(book, balance, HELD, amount), (book, FEE, balance, fee)]
    return Posting(Event.DISPUTE_REINSTATED, key, charge.currency, _entries(moves))


def dispute_recovered(charge: Charge, key: str, amount: int) -> Posting:
    """Of a destination charge: its transfer was reversed, so that the payee bears ``amount``."""
    book = charge.book
    moves = [
        (PLATFORM, charge.ours(), due(book), amount),
        (book, HELD, charge.theirs(), amount),
    ]
    return Posting(Event.DISPUTE_RECOVERED, key, charge.currency, _entries(moves))


def dispute_returned(charge: Charge, key: str, amount: int) -> Posting:
    """The dispute was won: a new transfer gives the payee back what was recovered."""
    return dispute_recovered(charge, key, amount).reversed(Event.DISPUTE_RETURNED, key)


def dispute_lost(charge: Charge, key: str, amount: int, recovered: int = 0) -> Posting:
    """What is held is lost: ``recovered`` of a destination charge by the payee, the rest by us."""
    book = charge.book
    moves = [(book, LOSS, HELD, amount)]
    if charge.destination:
        moves = [
            (PLATFORM, due(book), HELD, recovered),
            (PLATFORM, LOSS, HELD, amount - recovered),
            (book, LOSS, HELD, recovered),
        ]
    return Posting(Event.DISPUTE_LOST, key, charge.currency, _entries(moves))


# ---------------------------------------------------------------- it goes to the bank


def funds_available(book: str, account: str, key: str, currency: str, net: int) -> Posting:
    """A provider's balance transaction of ``net`` can be paid out from now on."""
    moves = [(book, prov(account, AVAILABLE), prov(account, PENDING), net)]
    return Posting(Event.FUNDS_AVAILABLE, key, currency, _entries(moves))


def released(charge: Charge, key: str, platform: int, payee: int) -> Posting:
    """A provider has released a charge's money (Mercado Pago): all of it that is pending, in both.

    What happens to the charge from now on happens to what is available.
    """
    moves = [
        (PLATFORM, charge.ours(AVAILABLE), charge.ours(PENDING), platform),
        (charge.book, charge.theirs(AVAILABLE), charge.theirs(PENDING), payee),
    ]
    return Posting(Event.FUNDS_AVAILABLE, key, charge.currency, _entries(moves))


def payout_created(
    book: str, account: str, key: str, currency: str, amount: int, fee: int = 0
) -> Posting:
    """A payout is on its way; ``fee`` is what the provider takes for it (an instant one)."""
    available = prov(account, AVAILABLE)
    moves = [(book, TRANSIT, available, amount), (book, FEE, available, fee)]
    return Posting(Event.PAYOUT_CREATED, key, currency, _entries(moves))


def payout_paid(book: str, key: str, currency: str, amount: int) -> Posting:
    """The bank has it."""
    return Posting(Event.PAYOUT_PAID, key, currency, _entries([(book, BANK, TRANSIT, amount)]))


def payout_returned(
    book: str, account: str, key: str, currency: str, amount: int, *, was_paid: bool
) -> Posting:
    """A payout failed or was cancelled: the money is in the provider's balance again."""
    moves = [(book, prov(account, AVAILABLE), BANK if was_paid else TRANSIT, amount)]
    return Posting(Event.PAYOUT_RETURNED, key, currency, _entries(moves))


# ---------------------------------------------------------------- in another currency


@dataclass(frozen=True, slots=True)
class Leg:
    """What one book's balance at the provider got in its own currency, before ``fee``.

    Below zero it was taken from the balance. ``fee`` is the provider's, in the same currency.
    """

    currency: str
    net: int
    fee: int = 0


def keeps_currency(charge: Charge, leg: Leg) -> bool:
    """Whether a leg of the platform's stayed in its destination charge's currency.

    Such a charge was converted for the payee alone: nothing in the platform's book goes through
    ``fx`` but what our commission lost, or gained, on its way there and back.
    """
    return charge.destination and leg.currency == charge.currency


def drift(charge: Charge, posting: Posting, leg: Leg) -> Leg:
    """How much more came to the platform's balance than is posted, where it keeps its currency.

    ``leg`` is all that came, before the provider's fee, which ``posting`` has.
    """
    places = {charge.ours(PENDING), charge.ours(AVAILABLE), FEE}
    posted = sum(
        entry.debit - entry.credit
        for entry in posting.entries
        if entry.book == PLATFORM and entry.account in places
    )
    return Leg(leg.currency, leg.net - posted)


def exchanged(charge: Charge, posting: Posting, legs: Mapping[str, Leg]) -> list[Posting]:
    """A posting of what the provider has moved in another currency than the charge's.

    ``legs`` are by book. In the charge's currency what would have come to the provider's balances,
    or out of them, comes to ``fx`` (under ``<key>:exchange``); in the balance's own currency
    ``fx`` gives it, under the posting's own key, as the provider's balance transaction has it.
    What stays on ``fx`` in either currency is what the exchange has cost, or brought.

    Where the platform's leg keeps the charge's currency (:func:`keeps_currency`) it is its
    :func:`drift`: the platform's book is posted as it is, under the posting's own key, and only
    the payee's goes through ``fx``, its own currency under ``<key>:<CUR>``.
    """
    ours = legs.get(PLATFORM)
    kept = ours if ours and keeps_currency(charge, ours) else None
    balances = {
        side(part) for side in (charge.ours, charge.theirs) for part in (PENDING, AVAILABLE)
    }
    if kept:
        entries = tuple(
            replace(e, account=FX) if e.book != PLATFORM and e.account in balances else e
            for e in posting.entries
        ) + _entries([(PLATFORM, charge.ours(), FX, kept.net)])
        made = [replace(posting, entries=entries)]
    else:
        sums: dict[tuple[str, str], int] = {}
        for entry in posting.entries:
            place = entry.book, FX if entry.account in balances else entry.account
            sums[place] = sums.get(place, 0) + entry.debit - entry.credit
        entries = tuple(
            Entry(book, account, max(amount, 0), max(-amount, 0))
            for (book, account), amount in sums.items()
            if amount
        )
        made = [Posting(Event.EXCHANGE, f"{posting.key}:exchange", posting.currency, entries)]
    home = legs.get(PLATFORM if charge.destination else charge.book)
    moved = {book: leg for book, leg in legs.items() if leg is not kept}
    for currency in sorted({leg.currency for leg in moved.values()}):
        moves: list[Move] = []
        for book, leg in moved.items():
            balance = charge.ours() if book == PLATFORM else charge.theirs()
            if leg.currency == currency:
                moves += [(book, balance, FX, leg.net), (book, FEE, balance, leg.fee)]
        # Of two currencies the one of the provider's own transaction has the key as it is.
        own = home is None or home.currency == currency
        key = posting.key if own else f"{posting.key}:{currency}"
        made.append(Posting(posting.event, key, currency, _entries(moves)))
    return [posting for posting in made if posting.entries]
