"""Proves a practice's ledger: every posting, every sum, and every payment against its entries.

1. every posting is kept under its own key and balances per book; so does the sum of all of them,
   per book and currency;
2. every payment says what its postings, its refunds and its disputes say (:func:`expected`,
   :func:`of_payment`), in its own currency and in the one that its provider settled it in;
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
from typing import Any, NamedTuple

from consulta.core import table
from consulta.core.item import Item
from consulta.core.keys import Key, Tenant
from consulta.money.books import ledger
from consulta.money.books.ledger import Charge, Event
from consulta.money.disputes.records import DISPUTE, DisputeItem
from consulta.money.paying.changes import charge_of, commission_tax_of
from consulta.money.paying.orders import refunds_of
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
# Money that was not asked for is in suspense, and of no amount of its payment. Payouts, and funds
# that Stripe makes available, are of no payment.
NOT_OF_AMOUNTS = frozenset({Event.MISMATCH})

# Debits less credits, by book, account and currency.
Balances = Counter[tuple[str, str, str]]
Watch = Callable[[int], None]


class Finding(NamedTuple):
    """One thing that is wrong; ids and amounts in minor units, never anything personal.

    ``kind``: ``unbalanced`` (a posting, in one book) · ``sum`` (a book as a whole) · ``key`` (a
    posting that is not where its key says) · ``currency`` (a posting in another one than its
    payment's, and not where its provider settles) · ``balance`` (an account of a payment) ·
    ``state`` (``account`` is the state that does not fit what was captured) · ``refunds`` and
    ``disputes`` (``account`` is the amount that is not the sum of the payment's) · ``tax``
    (``account`` is a tax that is more than what contains it) · ``over_refunded`` · ``orphan`` (of
    no payment) · ``suspense``.
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
    for dispute in _walk(tenant, DISPUTE, DisputeItem, watch):
        read.disputes[dispute.payment_id].append(dispute)
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
    disputes: dict[str, list[DisputeItem]] = field(default_factory=lambda: defaultdict(list))

    def add(self, posting: PostingItem) -> None:
        for book, _, amount in lines(posting):
            self.totals[book, posting.currency] += amount
        if posting.payment_id:
            self.postings[posting.payment_id].append(posting)

    def of(self, payment: PaymentItem) -> list[Finding]:
        """What is wrong with a payment, which is then done with."""
        payment_id = payment.item_id
        postings = self.postings.pop(payment_id, [])
        refunds = self.refunds.pop(payment_id, Counter())
        return of_payment(payment, postings, refunds, self.disputes.pop(payment_id, []))

    @property
    def seen(self) -> set[str]:
        """Payments that something was read of, and that were in no list."""
        return {*self.postings, *self.refunds, *self.disputes}

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


def expected(payment: PaymentItem, disputes: Iterable[DisputeItem] = ()) -> Balances:
    """What each account holds of a payment by its own amounts, in the books of both.

    For every kind: the patient's advance is what was captured and neither earned nor on its way
    back; what is earned is revenue and its part of the tax; what is reserved is owed back;
    commission, fee and taxes are as the payment says. The money itself is where the kind of charge
    puts it: at the provider, in ``unsettled`` until the provider has told its fee, then pending,
    and available once it is released; or in the payee's own cash. Where it was settled in another
    currency it went through ``fx`` to there.
    """
    balances: Balances = Counter()
    captured, currency = int(payment.captured), str(payment.currency)
    if not captured:
        return balances

    def add(book: str, account: str, amount: int) -> None:
        balances[book, account, currency] += amount

    book, platform = ledger.payee_book(payment.payee_id), ledger.PLATFORM
    refunded, reserved, earned = int(payment.refunded), int(payment.reserved), int(payment.earned)
    commission, returned = int(payment.commission), int(payment.commission_returned)
    share, share_tax = commission - returned, commission_tax_of(payment, commission, returned)
    tax = ledger.tax_part(int(payment.tax), earned, captured)
    add(book, ledger.PATIENT, -(captured - refunded - reserved - earned))
    add(book, ledger.REVENUE, -(earned - tax))
    add(book, ledger.TAX_OUT, -tax)
    add(book, ledger.REFUND_DUE, -reserved)
    add(book, ledger.COMMISSION, share)
    add(platform, ledger.COMMISSION, -(share - share_tax))
    add(platform, ledger.TAX_OUT, -share_tax)
    if payment.provider == Provider.MANUAL:
        add(book, ledger.CASH, captured - refunded)
        add(book, ledger.due(platform), -share)
        add(platform, ledger.due(book), share)
        return balances

    charge, fee = charge_of(payment), int(payment.fee)
    # Where what is settled goes, in the charge's currency, and where it still is before that.
    ours, theirs = _settled_at(charge, payment.fx)
    waits = not payment.settled
    add(platform if charge.platform_pays_fees else book, ledger.FEE, fee)
    add(book, ledger.TAX_WITHHELD, int(payment.tax_withheld))
    add(platform, charge.ours(ledger.UNSETTLED) if waits else ours, commission)
    add(book, charge.theirs(ledger.UNSETTLED) if waits else theirs, captured - commission)
    # What goes back, and what the provider keeps, is always of what is settled or will be.
    # A fee that was exchanged is not among the payment's.
    payer = (platform, charge.ours()) if charge.platform_pays_fees else (book, charge.theirs())
    add(*payer, -fee)
    add(platform, ours, -returned)
    add(book, theirs, returned - refunded - int(payment.tax_withheld))
    # Of refunds that failed, what has not been used for another since.
    owed = int(payment.owed_to_payee)
    add(platform, ours, owed)
    add(platform, ledger.due(book), -owed)
    add(book, ledger.due(platform), owed)
    add(book, theirs, -owed)
    found = list(disputes)
    for dispute in found:
        _add_dispute(balances, charge, dispute, ours, theirs)
    if payment.fx:
        _add_exchange(balances, charge, payment.fx, found)
    return balances


def _settled_at(charge: Charge, fx: dict[str, Any] | None) -> tuple[str, str]:
    """The platform's account and the payee's for what is settled, in the charge's currency."""
    if not fx:
        return charge.ours(), charge.theirs()
    kept = charge.destination and fx["platform"]["currency"] == charge.currency
    return charge.ours() if kept else ledger.FX, ledger.FX


def _add_dispute(
    balances: Balances, charge: Charge, dispute: DisputeItem, ours: str, theirs: str
) -> None:
    """What a dispute holds, has cost, and has moved between the balances."""
    currency = str(dispute.currency)

    def add(book: str, account: str, amount: int) -> None:
        balances[book, account, currency] += amount

    taken = int(dispute.withdrawn) - int(dispute.reinstated)
    lost, by_payee, fee = int(dispute.lost), int(dispute.lost_by_payee), int(dispute.fee)
    recovered = int(dispute.recovered) - int(dispute.returned)
    if not charge.destination:
        add(charge.book, ledger.HELD, taken - lost)
        add(charge.book, ledger.LOSS, lost)
        add(charge.book, ledger.FEE, fee)
        add(charge.book, theirs, -taken - fee)
        return
    add(ledger.PLATFORM, ledger.HELD, taken - lost)
    add(ledger.PLATFORM, ledger.LOSS, lost - by_payee)
    add(ledger.PLATFORM, ledger.FEE, fee)
    add(ledger.PLATFORM, ledger.due(charge.book), by_payee - recovered)
    add(ledger.PLATFORM, ours, recovered - taken - fee)
    add(charge.book, ledger.HELD, recovered - by_payee)
    add(charge.book, ledger.LOSS, by_payee)
    add(charge.book, theirs, -recovered)


def _add_exchange(
    balances: Balances, charge: Charge, fx: dict[str, Any], disputes: Iterable[DisputeItem]
) -> None:
    """In the balances' own currencies: what the exchanges gave, less the provider's fees.

    Until the money is all back, what ``fx`` holds in the two currencies is the two sides of the
    same exchanges; what it holds then is what these have cost.
    """
    platform = ledger.PLATFORM
    for side, book, account in (
        ("platform", platform, charge.ours()),
        ("payee", charge.book, charge.theirs()),
    ):
        if side in fx:
            kept, net = fx[side]["currency"], int(fx[side]["net"])
            balances[book, account, kept] += net
            balances[book, ledger.FX, kept] -= net
    # Taken from where the charge is: from the payee, or from the platform of a destination charge.
    book, account = platform, charge.ours()
    if not charge.destination:
        book, account = charge.book, charge.theirs()
    for told in (fx, *(dispute.fx for dispute in disputes if dispute.fx)):
        balances[book, ledger.FEE, told["currency"]] += int(told["fee"])
        balances[book, account, told["currency"]] -= int(told["fee"])


def of_payment(
    payment: PaymentItem,
    postings: Iterable[PostingItem],
    refunds: Counter[str],
    disputes: Iterable[DisputeItem] = (),
) -> list[Finding]:
    """What is wrong with a payment, beside its postings, the sums of its refunds, its disputes."""
    payment_id, currency, found = payment.item_id, str(payment.currency), list(disputes)
    findings, held = list[Finding](), Balances()
    suspense: Counter[tuple[str, str]] = Counter()
    known = {currency, *_settled_in(payment)}
    for posting in postings:
        for book, account, amount in lines(posting):
            if account == ledger.SUSPENSE:
                suspense[book, posting.currency] += amount
            elif posting.event not in NOT_OF_AMOUNTS:
                held[book, account, posting.currency] += amount
        if posting.event not in NOT_OF_AMOUNTS and posting.currency not in known:
            key = posting.item_id
            findings.append(Finding("currency", payment_id, key, "", "", posting.currency, 0, 0))
    should = expected(payment, found)
    findings += [
        Finding("balance", payment_id, "", *place, should[place], held[place])
        for place in sorted({*should, *held})
        if should[place] != held[place]
    ]
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
    disputed = sum(int(dispute.held) for dispute in found)
    if disputed != int(payment.disputed):
        findings.append(wrong("disputes", "disputed", disputed, int(payment.disputed)))
    for name, within in (("tax", "amount"), ("commission_tax", "commission")):
        most, is_ = int(getattr(payment, within)), int(getattr(payment, name))
        if not 0 <= is_ <= most:
            findings.append(wrong("tax", name, most, is_))
    gone = int(payment.refunded) + int(payment.reserved)
    if gone > captured:
        findings.append(wrong("over_refunded", "refunded", captured, gone))
    return findings


def _settled_in(payment: PaymentItem) -> set[str]:
    """The currencies that its provider keeps it in, if these are others."""
    fx = payment.fx or {}
    return {fx[side]["currency"] for side in ("platform", "payee") if side in fx}


def _add_refund(sums: Counter[str], refund: RefundItem) -> None:
    amount = int(refund.amount)
    if refund.state == RefundState.REQUESTED:
        sums["reserved"] += amount
    elif refund.state == RefundState.SUCCEEDED:
        sums["refunded"] += amount
    # What went back with a refund that failed stays back.
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
    return set(of_payment(payment, postings, refunds, _disputes_of(payment)))


def _disputes_of(payment: PaymentItem) -> list[DisputeItem]:
    """A payment's disputes, consistently. The list of them may lag a moment behind."""
    rows = table.Query(payment.tenant.listing_by(DISPUTE, PAYMENT, payment.item_id), index="l2")
    found = table.batch_get_raw([Key(raw["pk"]["S"], raw["sk"]["S"]) for raw in rows.all()])
    return [DisputeItem.read(raw) for raw in found.values()]
