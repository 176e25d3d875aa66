"""Every row of the ledger's table, and that whatever is posted balances."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.money.books import ledger
from consulta.money.books.ledger import Charge, Entry, Event, Posting, Settlement
from consulta.money.records import Provider

Sums = dict[tuple[str, str], int]

DESTINATION = Charge(
    Provider.STRIPE, "acct_1", "p1", "EUR", destination=True, platform_pays_fees=True
)
DIRECT = Charge(Provider.STRIPE, "acct_1", "p1", "EUR")
MERCADOPAGO = Charge(Provider.MERCADOPAGO, "4711", "p1", "BRL")
CHARGES = st.sampled_from([DESTINATION, DIRECT, MERCADOPAGO])


def sums(*postings: Posting) -> Sums:
    """What is left on each account, debits positive."""
    found: Sums = defaultdict(int)
    for posting in postings:
        for entry in posting.entries:
            book = "PLAT" if entry.book == "PLAT" else "PAYEE"
            found[book, entry.account] += entry.debit - entry.credit
    return {key: amount for key, amount in found.items() if amount}


def test_a_destination_charge_waits_and_settles() -> None:
    succeeded = ledger.charge_succeeded(DESTINATION, "stripe:ch_1", 10_000, 1_000)
    assert succeeded.entries[:4] == (
        Entry("PLAT", "prov:stripe:unsettled", debit=10_000),
        Entry("PLAT", "due:PAYEE:p1", credit=10_000),
        Entry("PLAT", "due:PAYEE:p1", debit=10_000),
        Entry("PLAT", "prov:stripe:unsettled", credit=10_000),
    )
    assert sums(succeeded) == {
        ("PLAT", "prov:stripe:unsettled"): 1_000,
        ("PLAT", "commission"): -1_000,
        ("PAYEE", "prov:acct_1:unsettled"): 9_000,
        ("PAYEE", "patient"): -10_000,
        ("PAYEE", "commission"): 1_000,
    }
    settled = ledger.charge_settled(
        DESTINATION, "stripe:txn_1", 10_000, 1_000, Settlement(320), moved=1_000
    )
    assert sums(succeeded, settled) == {
        ("PLAT", "prov:stripe:pending"): 680,
        ("PLAT", "commission"): -1_000,
        ("PLAT", "fee"): 320,
        ("PAYEE", "prov:acct_1:pending"): 9_000,
        ("PAYEE", "patient"): -10_000,
        ("PAYEE", "commission"): 1_000,
    }


def test_a_direct_charge_costs_the_payee() -> None:
    succeeded = ledger.charge_succeeded(DIRECT, "acct_1:ch_1", 10_000, 1_000)
    settled = ledger.charge_settled(
        DIRECT, "acct_1:txn_1", 10_000, 1_000, Settlement(320), moved=1_000
    )
    assert sums(succeeded, settled) == {
        ("PLAT", "prov:stripe:pending"): 1_000,
        ("PLAT", "commission"): -1_000,
        ("PAYEE", "prov:acct_1:pending"): 8_680,
        ("PAYEE", "patient"): -10_000,
        ("PAYEE", "commission"): 1_000,
        ("PAYEE", "fee"): 320,
    }
    paid_by_us = Charge(Provider.STRIPE, "acct_1", "p1", "EUR", platform_pays_fees=True)
    settled = ledger.charge_settled(
        paid_by_us, "acct_1:txn_1", 10_000, 1_000, Settlement(320), moved=1_000
    )
    assert sums(settled)["PLAT", "fee"] == 320


def test_mercado_pago_is_posted_at_once() -> None:
    posting = ledger.charge_succeeded(
        MERCADOPAGO, "mp:1:payment:1", 10_000, 1_000, settled=Settlement(349, 120)
    )
    assert sums(posting) == {
        ("PLAT", "prov:mercadopago:pending"): 1_000,
        ("PLAT", "commission"): -1_000,
        ("PAYEE", "prov:4711:pending"): 8_531,
        ("PAYEE", "patient"): -10_000,
        ("PAYEE", "commission"): 1_000,
        ("PAYEE", "fee"): 349,
        ("PAYEE", "tax_withheld"): 120,
    }


def test_the_commission_that_the_provider_moved_is_the_one_that_counts() -> None:
    succeeded = ledger.charge_succeeded(DESTINATION, "stripe:ch_1", 10_000, 1_000)
    settled = ledger.charge_settled(
        DESTINATION, "stripe:txn_1", 10_000, 1_000, Settlement(320), moved=990
    )
    after = sums(succeeded, settled)
    assert (after["PLAT", "commission"], after["PAYEE", "commission"]) == (-990, 990)
    assert after["PAYEE", "prov:acct_1:pending"] == 9_010


def test_cash_owes_us_the_commission() -> None:
    assert sums(ledger.manual_payment("p1", "manual:1", "EUR", 5_000, 500)) == {
        ("PLAT", "due:PAYEE:p1"): 500,
        ("PLAT", "commission"): -500,
        ("PAYEE", "cash"): 5_000,
        ("PAYEE", "patient"): -5_000,
        ("PAYEE", "commission"): 500,
        ("PAYEE", "due:PLAT"): -500,
    }
    paid = ledger.manual_payment("p1", "manual:1", "EUR", 5_000, 500)
    asked = ledger.refund_requested("p1", "refund:1:requested", "EUR", 5_000, 0)
    back = ledger.manual_refund("p1", "refund:1:paid", "EUR", 5_000, 500)
    assert sums(paid, asked, back) == {}


def test_what_is_earned_leaves_the_tax() -> None:
    assert sums(ledger.earned("p1", "earned:1", "EUR", 6_050, tax=1_050)) == {
        ("PAYEE", "patient"): 6_050,
        ("PAYEE", "revenue"): -5_000,
        ("PAYEE", "tax_out"): -1_050,
    }


@given(st.integers(0, 10**9), st.integers(1, 60))
def test_a_package_earns_its_price_session_by_session(price: int, sessions: int) -> None:
    parts = [ledger.session_share(price, sessions, k) for k in range(1, sessions + 1)]
    assert sum(parts) == price
    assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize("charge", [DESTINATION, DIRECT, MERCADOPAGO])
def test_all_that_came_in_goes_out_but_the_fee(charge: Charge) -> None:
    postings = [
        ledger.charge_succeeded(charge, "a:1", 10_000, 1_000),
        ledger.charge_settled(charge, "a:2", 10_000, 1_000, Settlement(320), moved=1_000),
        ledger.refund_requested("p1", "refund:1:requested", charge.currency, 10_000, 0),
        ledger.refund_succeeded(charge, "a:3", 10_000, 1_000),
    ]
    book = "PLAT" if charge.platform_pays_fees else "PAYEE"
    pays = charge.ours("pending") if charge.platform_pays_fees else charge.theirs("pending")
    assert sums(*postings) == {(book, "fee"): 320, (book, pays): -320}


def test_a_refund_of_a_destination_charge_goes_through_the_platform() -> None:
    posting = ledger.refund_succeeded(DESTINATION, "stripe:txn_2", 4_000, 400)
    assert posting.entries[:4] == (
        Entry("PLAT", "due:PAYEE:p1", debit=4_000),
        Entry("PLAT", "prov:stripe:pending", credit=4_000),
        Entry("PLAT", "prov:stripe:pending", debit=4_000),
        Entry("PLAT", "due:PAYEE:p1", credit=4_000),
    )
    assert sums(posting) == {
        ("PLAT", "commission"): 400,
        ("PLAT", "prov:stripe:pending"): -400,
        ("PAYEE", "refund_due"): 4_000,
        ("PAYEE", "prov:acct_1:pending"): -3_600,
        ("PAYEE", "commission"): -400,
    }


def test_a_refund_takes_the_advance_first_and_revenue_for_the_rest() -> None:
    posting = ledger.refund_requested("p1", "refund:1:requested", "EUR", 1_000, 3_000, tax=500)
    assert sums(posting) == {
        ("PAYEE", "patient"): 1_000,
        ("PAYEE", "revenue"): 2_500,
        ("PAYEE", "tax_out"): 500,
        ("PAYEE", "refund_due"): -4_000,
    }


def test_reversing_leaves_nothing() -> None:
    posting = ledger.refund_succeeded(DIRECT, "acct_1:txn_2", 4_000, 400)
    back = posting.reversed(Event.REFUND_REVERSED, "acct_1:txn_3")
    assert sums(posting, back) == {}
    assert back.key == "acct_1:txn_3"


def test_money_that_was_not_asked_for_is_in_suspense_where_it_is() -> None:
    assert sums(ledger.mismatch(DESTINATION, "stripe:ch_1:suspense", "USD", 70)) == {
        ("PLAT", "prov:stripe:unsettled"): 70,
        ("PLAT", "suspense"): -70,
    }
    assert ("PAYEE", "suspense") in sums(ledger.mismatch(DIRECT, "a:ch_1:suspense", "EUR", 70))


def test_what_does_not_balance_is_refused() -> None:
    one = (Entry("PLAT", "fee", debit=5), Entry("PAYEE:p1", "fee", credit=5))
    with pytest.raises(ValueError, match="does not balance in PAYEE:p1, PLAT"):
        Posting(Event.EARNED, "k", "EUR", one)
    for entry in (Entry("PLAT", "fee"), Entry("PLAT", "fee", -1), Entry("PLAT", "fee", 1, 1)):
        with pytest.raises(ValueError, match="either a debit or a credit"):
            Posting(Event.EARNED, "k", "EUR", (entry,))
    with pytest.raises(ValueError, match="separator"):
        Posting(Event.EARNED, "a#b", "EUR", ())


amounts = st.integers(1, 10**8)


@given(CHARGES, amounts, st.data())
def test_any_life_of_a_charge_balances_and_loses_no_cent(
    charge: Charge, gross: int, data: st.DataObject
) -> None:
    """Paid, settled, refunded in parts, some of which fail and are asked for again."""
    commission = data.draw(st.integers(0, gross))
    settled = Settlement(data.draw(st.integers(0, gross)), data.draw(st.integers(0, 50)))
    postings = [
        ledger.charge_succeeded(charge, "a:1", gross, commission),
        ledger.charge_settled(charge, "a:2", gross, commission, settled, moved=commission),
    ]
    refunded = returned = 0
    while refunded < gross and len(postings) < 60:
        part = (
            data.draw(st.integers(1, gross - refunded)) if len(postings) < 50 else gross - refunded
        )
        fee = ledger.commission_to_return(commission, gross, refunded, part, returned)
        assert fee >= 0
        asked = ledger.refund_requested("p1", "refund:1", charge.currency, part, 0)
        done = ledger.refund_succeeded(charge, "a:3", part, fee)
        postings += [asked, done]
        if data.draw(st.booleans()) and len(postings) < 40:
            postings += [
                asked.reversed(Event.REFUND_REVERSED, "refund:1:reversed"),
                done.reversed(Event.REFUND_REVERSED, "a:4"),
            ]
            continue
        refunded, returned = refunded + part, returned + fee
    assert (refunded, returned) == (gross, commission)
    after = sums(*postings)
    # What is left are the costs, and nothing between patient, payee and platform.
    payer = "PLAT" if charge.platform_pays_fees else "PAYEE"
    expected = {(payer, "fee"): settled.fee, ("PAYEE", "tax_withheld"): settled.tax_withheld}
    costs = {key: amount for key, amount in after.items() if not key[1].startswith("prov:")}
    assert costs == {key: amount for key, amount in expected.items() if amount}
