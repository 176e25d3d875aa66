"""Proves a practice's ledger: every posting, every sum, and every payment against its entries.

1. every posting is kept under its own key and balances per book; so does the sum of all of them,
   per book and currency;
2. every payment says what its postings and its refunds say (:func:`expected`, :func:`of_payment`);
3. nothing is in suspense, and nothing is owed back to a patient that no refund was asked for.

Source: MONEY_AND_BOOKING_RULES §2, docs/ledger.md. It may run beside live traffic: what a payment
is suspected of is reported only where two consistent readings in a row agree. It keeps some hundred
bytes a payment in memory and reads everything: for operators, never for a request.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import batched
from typing import NamedTuple

from consulta.core import table
from consulta.core.item import Item
from consulta.core.keys import Key, Tenant
from consulta.money import ledger
from consulta.money.changes import charge_of
from consulta.money.ledger import Event
from consulta.money.orders import refunds_of
from consulta.money.records import (
    PAYMENT,
    POSTING,
    REFUND,
    PaymentItem,
    PostingItem,
    Provider,
    RefundItem,
    RefundState,
    State,
)

PAGE = 100
ROUNDS = 5
PAUSE_S = 0.5
# What a payment's own amounts follow from. Disputes, payouts and funds that become available have
# items of their own; money that was not asked for is in suspense.
OF_PAYMENTS = frozenset(
    {
        Event.CHARGE_SUCCEEDED,
        Event.CHARGE_SETTLED,
        Event.MANUAL_PAYMENT,
        Event.EARNED,
        Event.REFUND_REQUESTED,
        Event.REFUND_SUCCEEDED,
        Event.REFUND_REVERSED,
    }
)

# Debits less credits, by book and account.
Balances = Counter[tuple[str, str]]
Watch = Callable[[int], None]


class Finding(NamedTuple):
    """One thing that is wrong; ids and amounts in minor units, never anything personal.

    ``kind``: ``unbalanced`` (a posting, in one book) · ``sum`` (a book as a whole) · ``key`` (a
    posting that is not where its key says) · ``currency`` (a posting in another one than its
    payment's) · ``balance`` (an account of a payment) · ``state`` (``account`` is the state that
    does not fit what was captured) · ``refunds`` (``account`` is the amount that is not the sum of
    the payment's refunds) · ``over_refunded`` · ``orphan`` (of no payment) · ``suspense``.
    """

    kind: str
    payment: str
    posting: str
    book: str
    account: str
    currency: str
    expected: int
    found: int


def verify(tenant: Tenant, watch: Watch = lambda _: None) -> list[Finding]:
    """All that is wrong in one practice's ledger; nothing where all is right.

    ``watch`` is called with the number of items after each page.
    """
    read, findings = _Read(), list[Finding]()
    for posting in _walk(tenant, POSTING, PostingItem, watch):
        findings += of_posting(posting)
        read.add(posting)
    for refund in _walk(tenant, REFUND, RefundItem, watch):
        _add_refund(read.refunds[refund.payment_id], refund)
    # Payments come last, so that nothing of what was read belongs to one that was not there yet.
    suspects = [
        payment.item_id
        for payment in _walk(tenant, PAYMENT, PaymentItem, watch)
        if read.of(payment)
    ]
    suspects += [payment for payment in read.seen if payment not in suspects]
    for payment_id in suspects:
        findings += _agreed(tenant, payment_id)
    return findings + read.sums()


def _walk[I: Item](tenant: Tenant, entity: str, model: type[I], watch: Watch) -> Iterator[I]:
    """Every item of a kind, as it is now. The index of walks may lag; what is gone is left out."""
    rows = table.Query(tenant.listing(entity), index="walk").all()
    for page in batched(rows, PAGE):
        found = table.batch_get_raw([Key(raw["pk"]["S"], raw["sk"]["S"]) for raw in page])
        for raw in found.values():
            yield model.read(raw)
        watch(len(page))


@dataclass(slots=True)
class _Read:
    """What has been read so far: sums of everything, and what each payment is compared with."""

    totals: Counter[tuple[str, str]] = field(default_factory=Counter)
    postings: dict[str, list[PostingItem]] = field(default_factory=lambda: defaultdict(list))
    refunds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, posting: PostingItem) -> None:
        for book, _, amount in lines(posting):
            self.totals[book, posting.currency] += amount
        if posting.payment_id:
            self.postings[posting.payment_id].append(posting)

    def of(self, payment: PaymentItem) -> list[Finding]:
        """What is wrong with a payment, which is then done with."""
        payment_id = payment.item_id
        postings = self.postings.pop(payment_id, [])
        return of_payment(payment, postings, self.refunds.pop(payment_id, Counter()))

    @property
    def seen(self) -> set[str]:
        """Payments that something was read of, and that were in no list."""
        return {*self.postings, *self.refunds}

    def sums(self) -> list[Finding]:
        return [
            Finding("sum", "", "", book, "", currency, 0, amount)
            for (book, currency), amount in sorted(self.totals.items())
            if amount
        ]


# ---------------------------------------------------------------- the rules, pure


def lines(posting: PostingItem) -> Iterator[tuple[str, str, int]]:
    """A posting's entries: book, account, and debit less credit."""
    for entry in posting.entries:
        yield entry["book"], entry["account"], int(entry["debit"]) - int(entry["credit"])


def of_posting(posting: PostingItem) -> list[Finding]:
    """What is wrong with one posting by itself."""
    key, payment, currency = posting.item_id, posting.payment_id or "", posting.currency
    sums: Counter[str] = Counter()
    for book, _, amount in lines(posting):
        sums[book] += amount
    findings = [
        Finding("unbalanced", payment, key, book, "", currency, 0, amount)
        for book, amount in sorted(sums.items())
        if amount
    ]
    if posting.posting_key != key:
        findings.append(Finding("key", payment, key, "", "", currency, 0, 0))
    return findings


def expected(payment: PaymentItem) -> Balances:
    """What each account holds of a payment by its own amounts, in the books of both.

    For every kind: the patient's advance is what was captured and neither earned nor on its way
    back; what is earned is revenue; what is reserved is owed back; commission, fee and tax are as
    the payment says. The money itself is where the kind of charge puts it: at the provider, in
    ``unsettled`` until the provider has told its fee, or in the payee's own cash.
    """
    balances: Balances = Counter()
    book, platform = ledger.payee_book(payment.payee_id), ledger.PLATFORM
    captured = int(payment.captured)
    if not captured:
        return balances
    refunded, reserved, earned = int(payment.refunded), int(payment.reserved), int(payment.earned)
    commission, returned = int(payment.commission), int(payment.commission_returned)
    share = commission - returned
    balances[book, ledger.PATIENT] = -(captured - refunded - reserved - earned)
    balances[book, ledger.REVENUE] = -earned
    balances[book, ledger.REFUND_DUE] = -reserved
    balances[book, ledger.COMMISSION] = share
    balances[platform, ledger.COMMISSION] = -share
    if payment.provider == Provider.MANUAL:
        balances[book, ledger.CASH] = captured - refunded
        balances[book, ledger.due(platform)] = -share
        balances[platform, ledger.due(book)] = share
        return balances

    charge, fee = charge_of(payment), int(payment.fee)
    balances[platform if charge.platform_pays_fees else book, ledger.FEE] = fee
    balances[book, ledger.TAX_WITHHELD] = int(payment.tax_withheld)
    arrived = ledger.PENDING if payment.settled else ledger.UNSETTLED
    balances[platform, charge.ours(arrived)] += commission
    balances[book, charge.theirs(arrived)] += captured - commission
    # What goes back, and what the provider keeps, is always of what is settled or will be.
    paid_by = (platform, charge.ours) if charge.platform_pays_fees else (book, charge.theirs)
    balances[paid_by[0], paid_by[1](ledger.PENDING)] -= fee
    balances[platform, charge.ours(ledger.PENDING)] -= returned
    balances[book, charge.theirs(ledger.PENDING)] += returned - refunded - int(payment.tax_withheld)
    return balances


def of_payment(
    payment: PaymentItem, postings: Iterable[PostingItem], refunds: Counter[str]
) -> list[Finding]:
    """What is wrong with a payment, beside its postings and the sums of its refunds."""
    payment_id, currency = payment.item_id, str(payment.currency)
    findings, held = list[Finding](), Counter[tuple[str, str]]()
    suspense: Counter[tuple[str, str]] = Counter()
    for posting in postings:
        for book, account, amount in lines(posting):
            if account == ledger.SUSPENSE:
                suspense[book, posting.currency] += amount
            elif posting.event in OF_PAYMENTS:
                # Tax is a part of what was earned.
                name = ledger.REVENUE if account == ledger.TAX_OUT else account
                held[book, name] += amount
        if posting.event in OF_PAYMENTS and posting.currency != currency:
            key = posting.item_id
            findings.append(Finding("currency", payment_id, key, "", "", posting.currency, 0, 0))
    should = expected(payment)
    for place in sorted({*should, *held}):
        if should[place] != held[place]:
            book, account = place
            findings.append(
                Finding(
                    "balance", payment_id, "", book, account, currency, should[place], held[place]
                )
            )
    findings += [
        Finding("suspense", payment_id, "", book, ledger.SUSPENSE, held_in, 0, amount)
        for (book, held_in), amount in sorted(suspense.items())
        if amount
    ]

    def wrong(kind: str, account: str, should_be: int, found: int) -> Finding:
        return Finding(kind, payment_id, "", "", account, currency, should_be, found)

    captured = int(payment.captured)
    if (payment.state == State.SUCCEEDED) != bool(captured):
        paid = int(payment.amount) if payment.state == State.SUCCEEDED else 0
        findings.append(wrong("state", str(payment.state), paid, captured))
    for name in ("refunded", "reserved", "commission_returned"):
        if refunds[name] != int(getattr(payment, name)):
            findings.append(wrong("refunds", name, refunds[name], int(getattr(payment, name))))
    gone = int(payment.refunded) + int(payment.reserved)
    if gone > captured:
        findings.append(wrong("over_refunded", "refunded", captured, gone))
    return findings


def _add_refund(sums: Counter[str], refund: RefundItem) -> None:
    amount = int(refund.amount)
    if refund.state == RefundState.REQUESTED:
        sums["reserved"] += amount
    elif refund.state == RefundState.SUCCEEDED:
        sums["refunded"] += amount
        sums["commission_returned"] += int(refund.commission)


# ---------------------------------------------------------------- beside live traffic


def _agreed(tenant: Tenant, payment_id: str) -> list[Finding]:
    """What two readings of a payment in a row agree on: the rest was a change under way."""
    last, both = _now(tenant, payment_id), set[Finding]()
    for _ in range(ROUNDS):
        if not last:
            return []
        time.sleep(PAUSE_S)
        again = _now(tenant, payment_id)
        both = last & again
        if both == again:
            break
        last = again
    return sorted(both)


def _now(tenant: Tenant, payment_id: str) -> set[Finding]:
    """What is wrong with one payment at this moment, read consistently."""
    payment = table.get(PaymentItem, tenant.item(PAYMENT, payment_id))
    rows = table.Query(tenant.listing_by(POSTING, PAYMENT, payment_id), index="l2").all()
    found = table.batch_get_raw([Key(raw["pk"]["S"], raw["sk"]["S"]) for raw in rows])
    postings = [PostingItem.read(raw) for raw in found.values()]
    if payment is None:
        return {
            Finding("orphan", payment_id, posting.item_id, "", "", posting.currency, 0, 0)
            for posting in postings
        } or {Finding("orphan", payment_id, "", "", "", "", 0, 0)}
    refunds: Counter[str] = Counter()
    for refund in refunds_of(payment):
        _add_refund(refunds, refund)
    return set(of_payment(payment, postings, refunds))
