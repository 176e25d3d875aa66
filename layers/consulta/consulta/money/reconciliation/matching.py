"""What a provider says moved beside what our ledger says moved: the comparison itself, pure.

Source: MONEY_AND_BOOKING_RULES §8. Both sides come as movements of one balance under a posting's
key; they have to be equal in amount, currency and fee, without tolerance.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby

# What is younger may still be told by an event of its own.
IN_FLIGHT = timedelta(hours=48)


class Kind(StrEnum):
    """The classes of the rules' §8."""

    IN_FLIGHT = "in_flight"
    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    AMOUNT = "amount"
    EXTERNAL_REFUND = "external_refund"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Why it is a difference; :data:`SENTENCES` says it in words."""

    NOT_POSTED = "not_posted"
    NOT_THERE = "not_there"
    AMOUNT = "amount"
    FEE = "fee"
    CURRENCY = "currency"
    MADE_AT_PROVIDER = "made_at_provider"
    NOT_OURS = "not_ours"
    STATUS = "status"
    PAYOUT_SUM = "payout_sum"
    BALANCE = "balance"
    SUSPENSE = "suspense"


SENTENCES = {
    Cause.NOT_POSTED: "The provider moved this money, and the ledger has no posting of it.",
    Cause.NOT_THERE: "The ledger has this posting, and the provider knows of no such movement.",
    Cause.AMOUNT: "The provider and the ledger have different amounts of the same movement.",
    Cause.FEE: "The provider and the ledger have different fees of the same movement.",
    Cause.CURRENCY: "The provider and the ledger have the same movement in different currencies.",
    Cause.MADE_AT_PROVIDER: "This refund was made at the provider, not through us.",
    Cause.NOT_OURS: "The provider moved money in a way that nothing here asked for.",
    Cause.STATUS: "The provider has another state of it than we have.",
    Cause.PAYOUT_SUM: "A payout is not the sum of the transactions that it pays out.",
    Cause.BALANCE: "The provider's balance is not the ledger's, and no listed difference says why.",
    Cause.SUSPENSE: "Money came that is not what was asked for: it waits in suspense for a person.",
}


@dataclass(frozen=True, slots=True)
class Event:
    """What to read again: an event's type, its object, and the account it is told of ("" ours)."""

    type: str
    object_id: str
    account: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A provider's movement of one balance; amounts in minor units, below zero out of it.

    ``key`` is the posting key that it should have here, ``account`` the balance as the ledger names
    it, ``about`` the provider's own id. ``fee`` is the provider's, as taken from this balance.
    ``external``: a refund that we did not ask for. ``is_ours`` is False for what nothing here
    explains, ``suspended`` where its money is in suspense. ``event`` makes the worker read it.
    """

    key: str
    account: str
    currency: str
    net: int
    fee: int
    at: datetime
    about: str
    practice: str = ""
    payment: str = ""
    external: bool = False
    is_ours: bool = True
    suspended: bool = False
    event: Event | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Posted:
    """A posting's movement of one balance. ``external`` as for a :class:`Fact`."""

    key: str
    account: str
    currency: str
    net: int
    fee: int
    at: datetime
    practice: str = ""
    payment: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same on both sides.

    ``expected`` is the ledger's amount, ``found`` the provider's, in minor units of ``currency``;
    of the cause ``fee`` both are the fees. ``net`` is by how much the provider's balance is more
    than the ledger's for it. ``at`` is when it moved, None of what has no time of its own.
    ``done``: only to be seen, both sides agree by now. ``later``: what it is of, once it has been
    seen for :data:`IN_FLIGHT`, where the time of the movement says nothing.
    """

    kind: Kind
    cause: Cause
    account: str
    key: str
    currency: str
    expected: int
    found: int
    net: int
    at: datetime | None
    about: str = ""
    practice: str = ""
    payment: str = ""
    done: bool = False
    later: Kind | None = None
    event: Event | None = field(default=None, compare=False)


def match(facts: Iterable[Fact], posted: Iterable[Posted], moment: datetime) -> list[Difference]:
    """All differences, in the order of their keys; several movements under one key are added."""
    theirs = {(f.account, f.key, f.currency): f for f in _added(facts)}
    ours = {(p.account, p.key, p.currency): p for p in _summed(posted)}
    found: list[Difference] = []
    for place in sorted({*theirs, *ours}):
        fact, posting = theirs.get(place), ours.get(place)
        if fact is None or posting is None:
            continue
        del theirs[place], ours[place]
        if (fact.net, fact.fee) != (posting.net, posting.fee):
            found.append(_differs(fact, posting))
        elif fact.external:
            accepted = _of(fact, Kind.EXTERNAL_REFUND, Cause.MADE_AT_PROVIDER, fact.net)
            found.append(replace(accepted, net=0, done=True))
    elsewhere = {(account, key): p for (account, key, _), p in ours.items()}
    for (account, key, _), fact in sorted(theirs.items()):
        other = elsewhere.get((account, key))
        if other is not None:
            # One difference per currency: both balances are off.
            del ours[account, key, other.currency], elsewhere[account, key]
            found += _in_another_currency(fact, other)
        elif fact.net or fact.fee:
            found.append(_not_here(fact, moment))
    found += [_not_there(p, moment) for _, p in sorted(ours.items()) if p.net or p.fee]
    return sorted(found, key=lambda d: (d.account, d.key, d.currency))


def _added(facts: Iterable[Fact]) -> Iterator[Fact]:
    """One fact per key: a charge, its transfer and our commission are one movement."""

    def place(fact: Fact) -> tuple[str, str, str]:
        return fact.account, fact.key, fact.currency

    for _, group in groupby(sorted(facts, key=lambda f: (*place(f), f.at)), place):
        parts = list(group)
        # What it is about is said by the part that has an event, the first of them.
        main = next((part for part in parts if part.event), parts[0])
        yield replace(
            main,
            net=sum(part.net for part in parts),
            fee=sum(part.fee for part in parts),
            at=parts[0].at,
            practice=next((part.practice for part in parts if part.practice), ""),
            payment=next((part.payment for part in parts if part.payment), ""),
            external=any(part.external for part in parts),
            suspended=any(part.suspended for part in parts),
            is_ours=any(part.is_ours for part in parts),
        )


def _summed(posted: Iterable[Posted]) -> Iterator[Posted]:
    def place(one: Posted) -> tuple[str, str, str]:
        return one.account, one.key, one.currency

    for _, group in groupby(sorted(posted, key=lambda p: (*place(p), p.at)), place):
        parts = list(group)
        yield replace(parts[0], net=sum(p.net for p in parts), fee=sum(p.fee for p in parts))


def _of(fact: Fact, kind: Kind, cause: Cause, expected: int = 0) -> Difference:
    return Difference(
        kind,
        cause,
        fact.account,
        fact.key,
        fact.currency,
        expected,
        fact.net,
        fact.net - expected,
        fact.at,
        fact.about,
        fact.practice,
        fact.payment,
        event=fact.event,
    )


def _differs(fact: Fact, posting: Posted) -> Difference:
    made = replace(
        _of(fact, Kind.AMOUNT, Cause.AMOUNT, posting.net),
        practice=posting.practice,
        payment=posting.payment,
    )
    gross = fact.net + fact.fee == posting.net + posting.fee
    if gross or fact.net == posting.net:
        return replace(made, cause=Cause.FEE, expected=posting.fee, found=fact.fee)
    return made


def _in_another_currency(fact: Fact, posting: Posted) -> list[Difference]:
    here = replace(
        _of(fact, Kind.AMOUNT, Cause.CURRENCY),
        practice=posting.practice,
        payment=posting.payment,
    )
    there = replace(
        here, currency=posting.currency, expected=posting.net, found=0, net=-posting.net
    )
    return [here, there]


def _not_here(fact: Fact, moment: datetime) -> Difference:
    if fact.suspended:
        return _of(fact, Kind.UNKNOWN, Cause.SUSPENSE)
    if fact.external:
        return _of(fact, Kind.EXTERNAL_REFUND, Cause.MADE_AT_PROVIDER)
    if not fact.is_ours:
        return _of(fact, Kind.UNKNOWN, Cause.NOT_OURS)
    kind = Kind.IN_FLIGHT if moment - fact.at < IN_FLIGHT else Kind.MISSING_HERE
    return _of(fact, kind, Cause.NOT_POSTED)


def _not_there(posting: Posted, moment: datetime) -> Difference:
    kind = Kind.IN_FLIGHT if moment - posting.at < IN_FLIGHT else Kind.MISSING_THERE
    return Difference(
        kind,
        Cause.NOT_THERE,
        posting.account,
        posting.key,
        posting.currency,
        posting.net,
        0,
        -posting.net,
        posting.at,
        practice=posting.practice,
        payment=posting.payment,
    )


@dataclass(frozen=True, slots=True)
class Proof:
    """One balance at a provider beside the ledger's.

    ``provider`` is None where the provider does not tell it. ``explained`` is what the listed
    differences come to, ``unsettled`` what waits in the ledger for the provider to settle.
    """

    account: str
    currency: str
    provider: int | None
    ledger: int
    explained: int
    unsettled: int

    @property
    def left(self) -> int:
        """What nothing explains."""
        if self.provider is None:
            return 0
        return self.provider - self.ledger - self.explained

    @property
    def is_proven(self) -> bool:
        """Whether both say the same, with nothing to explain."""
        return self.provider is not None and self.provider == self.ledger
