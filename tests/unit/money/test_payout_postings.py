"""What a payout and available funds post, and that each way there ends in the same balances."""

from collections import Counter
from datetime import UTC, date, datetime
from itertools import product

import pytest

from consulta.aggregates.catalog import AggregateKey
from consulta.aggregates.contributions import contribution
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.money.accounts.lookup import digest_of
from consulta.money.accounts.payout_effects import BACK, BANK, TRANSIT, Holder, place_of, postings
from consulta.money.books import ledger
from consulta.money.books.ledger import Event, Posting, kind_of
from consulta.money.paying.changes import posting_item
from consulta.money.stripe.payouts import ProviderPayout

TENANT = Tenant("prac_1")
HOLDER = Holder(TENANT, "prac_1", "acct_1")
BOOK = "PAYEE:prac_1"
AVAILABLE = "prov:acct_1:available"


def reading(status: str, amount: int = 9000, fee: int = 0) -> ProviderPayout:
    return ProviderPayout(
        id="po_1",
        amount=amount,
        fee=fee,
        currency="EUR",
        status=status,
        method="standard",
        automatic=True,
        made_at=datetime(2026, 11, 21, tzinfo=UTC),
        arrives_on=date(2026, 11, 23),
        failure_code="",
        transaction="txn_1",
        failure_transaction="txn_2" if status in ("failed", "canceled") else "",
    )


def sums(found: list[Posting]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for posting in found:
        for entry in posting.entries:
            total[entry.account] += entry.debit - entry.credit
    return {account: amount for account, amount in total.items() if amount}


def test_a_payout_from_its_making_to_the_bank() -> None:
    (made,) = postings(HOLDER, None, reading("pending"))
    assert (made.event, made.key) == (Event.PAYOUT_CREATED, "acct_1:txn_1")
    assert sums([made]) == {"transit": 9000, AVAILABLE: -9000}
    assert postings(HOLDER, TRANSIT, reading("in_transit")) == []
    (paid,) = postings(HOLDER, TRANSIT, reading("paid"))
    assert (paid.event, paid.key) == (Event.PAYOUT_PAID, "acct_1:po_1:paid")
    assert sums([made, paid]) == {"bank": 9000, AVAILABLE: -9000}
    assert {entry.book for entry in (*made.entries, *paid.entries)} == {BOOK}


@pytest.mark.parametrize("status", ["failed", "canceled"])
@pytest.mark.parametrize("place", [TRANSIT, BANK])
def test_what_comes_back_leaves_from_where_it_was(status: str, place: str) -> None:
    (back,) = postings(HOLDER, place, reading(status))
    assert (back.event, back.key) == (Event.PAYOUT_RETURNED, "acct_1:txn_2")
    assert sums([back]) == {AVAILABLE: 9000, place: -9000}
    assert postings(HOLDER, BACK, reading(status)) == []


STATUSES = ("pending", "in_transit", "paid", "failed")


@pytest.mark.parametrize("seen", list(product(STATUSES, repeat=2)))
def test_whatever_was_seen_before_a_failure_all_is_back(seen: tuple[str, ...]) -> None:
    place, found = None, []
    for status in (*sorted(seen, key=STATUSES.index), "failed", "failed"):
        found += postings(HOLDER, place, reading(status, fee=50))
        place = place_of(status)
    # What the provider took for an instant payout stays a cost.
    assert sums(found) == {AVAILABLE: -50, "fee": 50}
    assert len({posting.key for posting in found}) == len(found)


def test_a_debit_of_the_bank_goes_the_other_way() -> None:
    assert sums(postings(HOLDER, None, reading("paid", -700))) == {"bank": -700, AVAILABLE: 700}


def test_the_platforms_own_is_in_its_own_book() -> None:
    holder = Holder(Tenant("PLAT"), "PLAT", "")
    (made,) = postings(holder, None, reading("pending"))
    assert made.key == "stripe:txn_1"
    assert [(e.book, e.account) for e in made.entries] == [
        ("PLAT", "transit"),
        ("PLAT", "prov:stripe:available"),
    ]


@pytest.mark.parametrize("net", [8680, -4000])
def test_what_becomes_available_leaves_what_is_pending(net: int) -> None:
    posting = ledger.funds_available(BOOK, "acct_1", "acct_1:txn_1:available", "EUR", net)
    assert sums([posting]) == {AVAILABLE: net, "prov:acct_1:pending": -net}


@pytest.mark.parametrize(
    ("account", "kind"),
    [
        ("prov:acct_1:pending", "pending"),
        ("prov:stripe:available", "available"),
        ("due:PAYEE:prac_1", "due"),
        ("transit", "transit"),
    ],
)
def test_accounts_of_one_kind_are_one_balance(account: str, kind: str) -> None:
    assert kind_of(account) == kind


def test_a_posting_adds_to_the_balances_of_its_books() -> None:
    posting = ledger.manual_payment("prac_1", "manual:pay_1", "EUR", 10000, 1000)
    item = posting_item(TENANT, "pay_1", posting, Actor("test", "request"))
    found = contribution(item.pk, item.serialize()).figures
    theirs = AggregateKey("BOOK", BOOK, "TOTAL")
    assert found[theirs] == {
        "balance.cash.EUR": 10000,
        "balance.patient.EUR": -10000,
        "balance.commission.EUR": 1000,
        "balance.due.EUR": -1000,
    }
    assert found[AggregateKey("BOOK", "PLAT", "TOTAL")] == {
        "balance.due.EUR": 1000,
        "balance.commission.EUR": -1000,
    }


def test_an_email_is_one_however_it_is_written() -> None:
    assert digest_of(" Ana@Example.com ") == digest_of("ana@example.com")
    assert "ana" not in digest_of("ana@example.com")
