"""``ledger verify``: where all is right it finds nothing, and each kind of damage is named."""

from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from consulta.core import table
from consulta.core.errors import ProviderFailed
from consulta.core.keys import Key
from consulta.money import providers
from consulta.money.accounts import payees
from consulta.money.books import ledger
from consulta.money.books import verify as ledger_verify
from consulta.money.books.ledger import Event
from consulta.money.books.verify import Finding, verify
from consulta.money.paying import payments, refunds
from consulta.money.paying.changes import Change, posting_item
from consulta.money.records import PAYMENT, POSTING, PostingItem, RefundState
from consulta.money.schema.payments import ManualPaymentRequest, RefundRequest
from consulta_cli import app
from tests.conftest import AGGREGATES, CORE
from tests.integration.scripted_provider import install
from tests.integration.test_money import BY, COMMISSION, FEE, OWN_ACCOUNT, PRICE, Practice
from tests.unit.scheduling.world import Clock, World


@pytest.fixture
def practice(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Practice]:
    stripe, mercadopago = install(monkeypatch)
    monkeypatch.setattr(ledger_verify, "PAUSE_S", 0)
    yield Practice(World(), stripe, mercadopago, Clock(monkeypatch))
    providers.provider_for.cache_clear()


def part(amount: int) -> RefundRequest:
    return RefundRequest.model_validate({"amount": {"amount": amount, "currency": "EUR"}})


def by_hand(practice: Practice) -> str:
    """Cash, a part of it given back."""
    body = {
        "appointment_id": practice.hold(8),
        "method": "cash",
        "amount": {"amount": PRICE, "currency": "EUR"},
        "received_at": practice.clock.at.date().isoformat(),
    }
    made = payments.record(practice.owner, ManualPaymentRequest.model_validate(body), None)
    refunds.create(practice.owner, made.id, part(500), None)
    return made.id


def earn(practice: Practice, payment_id: str, most: int | None = None) -> None:
    change = Change(practice.payment(payment_id), BY)
    change.earn(most)
    table.transact(change.actions())


def story(practice: Practice) -> None:
    """Every row of the table of entries, as it comes about."""
    practice.start(practice.hold(0))  # is never paid
    unsettled = practice.start(practice.hold(1))
    practice.stripe.pay(str(unsettled.provider_id))
    practice.event(unsettled, "payment_intent.succeeded")
    refunds.create(practice.owner, unsettled.id, part(700), None)

    by_destination(practice)

    earned = practice.paid(3)
    earn(practice, earned.id)
    refunds.create(practice.owner, earned.id, part(4000), None)

    external = practice.paid(4)
    practice.stripe.add_refund(str(external.provider_id), 1000)
    practice.event(external, "charge.refunded")

    failed = practice.paid(5)
    earn(practice, failed.id, 4000)
    refunds.create(practice.owner, failed.id, RefundRequest(), None)
    practice.stripe.fail_refunds(str(failed.provider_id))
    practice.event(failed, "refund.failed")

    waiting = practice.paid(6)
    practice.stripe.faults["refund", "before"] = ProviderFailed()
    refunds.create(practice.owner, waiting.id, part(900), None)
    assert practice.payment(waiting.id).reserved == 900

    by_mercadopago(practice)
    by_hand(practice)
    by_direct_charge(practice)


def by_destination(practice: Practice) -> str:
    """Paid, a part of it given back, a part of it earned."""
    paid = practice.paid(2)
    refunds.create(practice.owner, paid.id, part(1111), None)
    earn(practice, paid.id, 2000)
    return paid.id


def by_mercadopago(practice: Practice) -> str:
    """Paid through the seller's own token, a part of it given back."""
    paid = practice.start(practice.hold(7), "mercadopago")
    refunds.create(practice.owner, paid.id, part(1234), None)
    return paid.id


def by_direct_charge(practice: Practice) -> str:
    """From here on the expert is paid by an account of their own."""
    payee = payees.ensure(practice.world.tenant, practice.expert, BY)
    table.transact([table.change(payee, BY, set_=OWN_ACCOUNT)])
    paid = practice.paid(9)
    assert practice.payment(paid.id).destination is False
    refunds.create(practice.owner, paid.id, part(2500), None)
    return paid.id


# ---------------------------------------------------------------- nothing is wrong


def test_every_kind_of_payment_follows_from_its_entries(practice: Practice) -> None:
    story(practice)
    looked_at = list[int]()
    assert verify(practice.world.tenant, looked_at.append) == []
    assert sum(looked_at) == sum(
        len(list(table.Query(practice.world.tenant.listing(kind), index="walk").all()))
        for kind in ("POSTING", "REFUND", "PAYMENT")
    )


def test_an_empty_ledger_is_right(practice: Practice) -> None:
    assert verify(practice.world.tenant) == []


def test_payouts_are_of_no_payment(practice: Practice) -> None:
    practice.paid()
    book = ledger.payee_book(practice.world.practice)
    posting = ledger.payout_created(book, "acct_1", "acct_1:txn_9", "EUR", 1000)
    item = posting_item(practice.world.tenant, None, posting, BY)
    table.transact([table.put_new(item)])
    assert verify(practice.world.tenant) == []


# ---------------------------------------------------------------- what is wrong is named


def overwrite(key: Key, **values: Any) -> None:
    """Past every rule, as somebody with access to the table could."""
    table.transact([table.update(key, set_=values)])


def posting_of(practice: Practice, payment_id: str, event: Event) -> PostingItem:
    return next(
        posting
        for posting in practice.postings()
        if (posting.payment_id, posting.event) == (payment_id, event)
    )


def kinds(found: list[Finding]) -> set[str]:
    return {finding.kind for finding in found}


def test_a_changed_entry(practice: Practice) -> None:
    direct = by_direct_charge(practice)
    posting = posting_of(practice, direct, Event.CHARGE_SETTLED)
    book = f"PAYEE:{practice.expert}"
    entries = [dict(entry) for entry in posting.entries]
    (fee,) = (entry for entry in entries if entry["account"] == "fee")
    fee["debit"] = int(fee["debit"]) + 5
    overwrite(posting.key, entries=entries)
    found = verify(practice.world.tenant)
    assert set(found) == {
        Finding("unbalanced", direct, posting.posting_key, book, "", "EUR", 0, 5),
        Finding("balance", direct, "", book, "fee", "EUR", FEE, FEE + 5),
        Finding("sum", "", "", book, "", "EUR", 0, 5),
    }


def test_entries_that_balance_and_are_wrong(practice: Practice) -> None:
    cash = by_hand(practice)
    posting = posting_of(practice, cash, Event.MANUAL_PAYMENT)
    entries = [
        {**entry, **{side: 5001 for side in ("debit", "credit") if entry[side]}}
        for entry in posting.entries
    ]
    overwrite(posting.key, entries=entries)
    book = f"PAYEE:{practice.world.practice}"
    assert verify(practice.world.tenant) == [
        Finding("balance", cash, "", book, "cash", "EUR", 4500, 4501),
        Finding("balance", cash, "", book, "patient", "EUR", -4500, -4501),
    ]


def test_a_posting_that_is_gone(practice: Practice) -> None:
    mercadopago = by_mercadopago(practice)
    posting = posting_of(practice, mercadopago, Event.REFUND_REQUESTED)
    table.transact([table.delete(posting.key)])
    book = f"PAYEE:{practice.world.practice}"
    assert verify(practice.world.tenant) == [
        Finding("balance", mercadopago, "", book, "patient", "EUR", 1234 - PRICE, -PRICE),
        Finding("balance", mercadopago, "", book, "refund_due", "EUR", 0, 1234),
    ]


def test_a_posting_twice_under_two_keys(practice: Practice) -> None:
    destination = by_destination(practice)
    posting = posting_of(practice, destination, Event.EARNED)
    again = ledger.Posting(
        Event.EARNED,
        "earned:again",
        "EUR",
        ledger.earned(practice.world.practice, "x", "EUR", 2000).entries,
    )
    tenant = practice.world.tenant
    table.transact([table.put_new(posting_item(tenant, destination, again, BY))])
    book = f"PAYEE:{practice.world.practice}"
    assert verify(tenant) == [
        Finding("balance", destination, "", book, "patient", "EUR", -1889, 111),
        Finding("balance", destination, "", book, "revenue", "EUR", -2000, -4000),
    ]
    overwrite(tenant.item(POSTING, "earned:again"), posting_key=posting.posting_key)
    assert "key" in kinds(verify(tenant))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"state": "open"}, {"state"}),
        ({"captured": PRICE - 1}, {"balance"}),
        ({"refunded": 1112}, {"balance", "refunds"}),
        ({"reserved": 1}, {"balance", "refunds"}),
        ({"reserved": PRICE}, {"balance", "refunds", "over_refunded"}),
        ({"earned": 0}, {"balance"}),
        ({"commission": COMMISSION + 1}, {"balance"}),
        ({"commission_returned": 0}, {"balance", "refunds"}),
        ({"fee": FEE - 1}, {"balance"}),
        ({"tax_withheld": 1}, {"balance"}),
        ({"settled": False}, {"balance"}),
        # Balances are per currency: each is missing in the one and too much in the other.
        ({"currency": "USD"}, {"currency", "balance"}),
        ({"captured": 0}, {"balance", "state", "over_refunded"}),
    ],
)
def test_a_payment_that_does_not_follow(
    practice: Practice, values: dict[str, Any], expected: set[str]
) -> None:
    destination = by_destination(practice)
    key = practice.world.tenant.item(PAYMENT, destination)
    overwrite(key, **values)
    found = verify(practice.world.tenant)
    assert {finding.payment for finding in found} == {destination}
    assert kinds(found) == expected


def test_a_refund_that_was_changed(practice: Practice) -> None:
    cash = by_hand(practice)
    payment = practice.payment(cash)
    (refund,) = ledger_verify.refunds_of(payment)
    overwrite(refund.key, state=str(RefundState.FAILED))
    assert verify(practice.world.tenant) == [
        Finding("refunds", cash, "", "", "refunded", "EUR", 0, 500)
    ]


def test_what_belongs_to_no_payment(practice: Practice) -> None:
    cash = by_hand(practice)
    table.transact([table.delete(practice.world.tenant.item(PAYMENT, cash))])
    found = verify(practice.world.tenant)
    assert kinds(found) == {"orphan"}
    assert {finding.payment for finding in found} == {cash}
    assert len(found) == 3


def test_money_that_nobody_asked_for(practice: Practice) -> None:
    started = practice.start(practice.hold())
    practice.stripe.pay(str(started.provider_id), amount=PRICE - 1)
    practice.event(started, "payment_intent.succeeded")
    assert verify(practice.world.tenant) == [
        Finding("suspense", started.id, "", "PLAT", "suspense", "EUR", 0, -PRICE)
    ]


# ---------------------------------------------------------------- beside live traffic


def test_a_change_under_way_is_no_finding(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refund between the postings' reading and the payments' is read again."""
    paid = practice.paid()
    walk = ledger_verify._walk
    looked: list[str] = []

    def walking(tenant: Any, entity: str, *rest: Any) -> Iterator[Any]:
        if entity == PAYMENT:
            refunds.create(practice.owner, paid.id, part(100), None)
        yield from walk(tenant, entity, *rest)

    def again(tenant: Any, payment_id: str) -> set[Finding]:
        looked.append(payment_id)
        return now(tenant, payment_id)

    now = ledger_verify._now
    monkeypatch.setattr(ledger_verify, "_walk", walking)
    monkeypatch.setattr(ledger_verify, "_now", again)
    assert verify(practice.world.tenant) == []
    assert looked == [paid.id]


# ---------------------------------------------------------------- the command


def command(*arguments: str) -> Any:
    names = ("--core-table", CORE, "--aggregates-table", AGGREGATES)
    return CliRunner().invoke(app, ["ledger", "verify", *arguments, *names])


def test_the_command_says_what_is_wrong(practice: Practice) -> None:
    cash = by_hand(practice)
    right = command()
    assert (right.exit_code, "0 findings" in right.output) == (0, True)
    overwrite(practice.world.tenant.item(PAYMENT, cash), earned=7)
    for arguments in ((), ("--practice", practice.world.practice)):
        wrong = command(*arguments)
        assert wrong.exit_code == 1
        name = practice.world.practice
        assert f"{name} balance {cash} - PAYEE:{name} revenue EUR -7 0" in wrong.output
    assert command("--practice", "prac_none").exit_code == 2
