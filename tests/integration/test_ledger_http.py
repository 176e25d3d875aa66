"""GET /v1/ledger: postings of a payment, a month, a book or an account; ids and amounts only."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from consulta.aggregates import walk
from consulta.core import table
from consulta.core.ids import new_id
from consulta.core.time import now, to_text
from consulta.money import providers
from consulta.money.books import ledger
from consulta.money.paying import refunds
from consulta.money.paying.changes import posting_item
from consulta.money.paying.orders import refunds_of
from consulta.money.records import POSTING
from consulta.money.schema.payments import RefundRequest
from tests.integration.scripted_provider import install
from tests.integration.test_money import BY, COMMISSION, FEE, PRICE, Practice
from tests.integration.test_services import ask, paths
from tests.unit.people.calling import Answer
from tests.unit.scheduling.world import Clock, World

PATH = "/v1/ledger"


@pytest.fixture
def practice(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Practice]:
    stripe, mercadopago = install(monkeypatch)
    yield Practice(World(), stripe, mercadopago, Clock(monkeypatch))
    providers.provider_for.cache_clear()


def listed(practice: Practice, query: str = "", **caller: Any) -> Answer:
    return ask(practice.world, "GET", PATH, query=query, **caller)


def keys(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [item["id"] for item in answer.body["items"]]


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def at(practice: Practice, months: int, number: int) -> str:
    """A posting of a month so far back, past the rules."""
    when = now().replace(day=1, hour=0) - timedelta(days=31 * months - 20)
    posting = ledger.earned(practice.world.practice, f"earned:old:{number}", "EUR", 100)
    item = posting_item(practice.world.tenant, None, posting, BY)
    item.occurred_at = when
    item.l1pk = practice.world.tenant.listing_by(POSTING, "MONTH", f"{when:%Y-%m}")
    item.l1sk = f"{to_text(when)}#{posting.key}"
    table.transact([table.put_new(item)])
    return posting.key


def test_a_payments_postings_with_all_their_entries(practice: Practice) -> None:
    paid, other = practice.paid(), practice.paid(12)
    charge = f"stripe:{str(paid.provider_id).replace('pi_', 'ch_')}"
    settled = f"stripe:{str(paid.provider_id).replace('pi_', 'txn_')}"
    found = listed(practice, f"payment_id={paid.id}")
    assert keys(found) == [settled, charge]
    newest = found.body["items"][0]
    assert (newest["event"], newest["payment_id"]) == ("charge_settled", paid.id)
    assert newest["currency"] == "EUR"
    assert {"book": "PLAT", "account": "fee", "debit": eur(FEE), "credit": eur(0)} in (
        newest["entries"]
    )
    for side in ("PLAT", f"PAYEE:{practice.world.practice}"):
        lines = [entry for entry in newest["entries"] if entry["book"] == side]
        assert sum(entry["debit"]["amount"] - entry["credit"]["amount"] for entry in lines) == 0
    assert found.body["next_cursor"] is None
    assert keys(listed(practice, f"payment_id={other.id}")) != keys(found)
    assert keys(listed(practice, f"payment_id={new_id('pay')}")) == []
    # Another practice's caller has no such payment.
    stranger = ask(World(), "GET", PATH, query=f"payment_id={paid.id}")
    assert (stranger.status, stranger.body["items"]) == (200, [])


def test_by_month_the_newest_first_page_by_page(practice: Practice) -> None:
    older = [at(practice, months, months) for months in (3, 2)]
    practice.paid()
    everything = keys(listed(practice))
    assert everything[-2:] == [older[1], older[0]]
    assert len(everything) == 4
    found, query = list[str](), "limit=1"
    while True:
        answer = listed(practice, query)
        found += keys(answer)
        if not answer.body["next_cursor"]:
            break
        query = f"limit=1&cursor={answer.body['next_cursor']}"
    assert found == everything
    assert keys(listed(practice, f"month={now():%Y-%m}")) == everything[:2]
    assert keys(listed(practice, "month=2025-01")) == []


def test_of_a_book_and_of_an_account(practice: Practice) -> None:
    paid = practice.paid()
    refunds.create(practice.owner, paid.id, RefundRequest(), None)
    payee = f"PAYEE:{practice.world.practice}"
    everything = keys(listed(practice))
    assert len(everything) == 4
    assert keys(listed(practice, f"book={payee}")) == everything
    requested = f"refund:{practice_refund(practice, paid.id)}:requested"
    # What was asked for touches the payee's book only.
    assert set(everything) - set(keys(listed(practice, "book=PLAT"))) == {requested}
    fees = listed(practice, "book=PLAT&account=fee")
    assert [item["event"] for item in fees.body["items"]] == ["charge_settled"]
    assert keys(listed(practice, f"book={payee}&account=fee")) == []
    pending = f"book={payee}&account=prov:acct_1:pending"
    assert len(keys(listed(practice, pending))) == 2
    both = f"payment_id={paid.id}&book={payee}&account=refund_due"
    assert [item["event"] for item in listed(practice, both).body["items"]] == [
        "refund_succeeded",
        "refund_requested",
    ]


def practice_refund(practice: Practice, payment_id: str) -> str:
    (refund,) = refunds_of(practice.payment(payment_id))
    assert refund.amount == PRICE
    return str(refund.item_id)


def test_who_may_read_it(practice: Practice) -> None:
    for role in ("owner", "admin", "billing"):
        assert listed(practice, role=role).status == 200
    for role, subject in (
        ("viewer", ""),
        ("expert", practice.expert),
        ("patient", practice.world.patient()),
        ("operator", ""),
    ):
        assert listed(practice, role=role, subject=subject).status == 403, role


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("account=fee", "query.book"),
        ("month=2026-13", "query.month"),
        ("month=2026-1", "query.month"),
        ("book=plat", "query.book"),
        ("book=PLAT&account=a#b", "query.account"),
        ("payment_id=x", "query.payment_id"),
        ("payment_id=pay_01JC0NS0TADEM0000000000000&month=2026-11", "query.month"),
        ("limit=51", "query.limit"),
    ],
)
def test_what_cannot_be_asked_for(practice: Practice, query: str, path: str) -> None:
    answer = listed(practice, query)
    assert (answer.status, paths(answer)) == (422, [path])


def test_a_cursor_of_another_list_is_refused(practice: Practice) -> None:
    paid = practice.paid()
    cursor = listed(practice, "limit=1").body["next_cursor"]
    assert listed(practice, f"payment_id={paid.id}&cursor={cursor}").status == 400
    assert listed(practice, "cursor=x").status == 400


# ---------------------------------------------------------------- balances


def held(practice: Practice, query: str = "") -> dict[tuple[str, str, str], int]:
    answer = ask(practice.world, "GET", f"{PATH}/balances", query=query)
    assert answer.status == 200, answer.body
    return {
        (one["book"], one["account"], one["balance"]["currency"]): one["balance"]["amount"]
        for one in answer.body["items"]
    }


def test_balances_are_what_the_postings_come_to(practice: Practice) -> None:
    assert held(practice) == {}
    paid = practice.paid()
    practice.start(practice.hold(14), "mercadopago")
    refunds.create(practice.owner, paid.id, RefundRequest(), None)
    walk.walk(practice.world.tenant)
    own = f"PAYEE:{practice.world.practice}"
    expected = {
        ("PLAT", "commission", "EUR"): -COMMISSION,
        ("PLAT", "fee", "EUR"): FEE,
        ("PLAT", "pending", "EUR"): COMMISSION - FEE,
        (own, "patient", "EUR"): -PRICE,
        (own, "commission", "EUR"): COMMISSION,
        (own, "fee", "EUR"): FEE,
        (own, "pending", "EUR"): PRICE - COMMISSION - FEE,
    }
    assert held(practice) == expected
    for book in ("PLAT", own):
        part = {key: amount for key, amount in expected.items() if key[0] == book}
        assert held(practice, f"book={book}") == part
        assert sum(part.values()) == 0
    assert held(practice, f"book=PAYEE:{practice.expert}") == {}
    answer = ask(practice.world, "GET", f"{PATH}/balances")
    assert answer.body["changed_at"] is not None
    assert answer.headers["Cache-Control"] == "private, max-age=60"
    for role, status in (("billing", 200), ("viewer", 403), ("expert", 403)):
        shown = ask(practice.world, "GET", f"{PATH}/balances", role=role, subject=practice.expert)
        assert shown.status == status
    assert ask(practice.world, "GET", f"{PATH}/balances", query="book=x").status == 422
