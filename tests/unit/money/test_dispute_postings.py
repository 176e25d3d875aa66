"""The ledger's rows of disputes, each with its figures, and how a whole dispute ends."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consulta.money.books import ledger
from consulta.money.books.ledger import Charge, Leg, Posting
from consulta.money.disputes import listing as disputes
from consulta.money.disputes.records import DisputeItem, DisputeStatus
from consulta.money.mercadopago import disputes as mercadopago_disputes
from consulta.money.provider import Movement, ProviderPayment
from consulta.money.records import Provider, State
from consulta.money.stripe import disputes as stripe_disputes
from consulta.money.stripe.lookup import Found

DESTINATION = Charge(Provider.STRIPE, "acct_1", "prac_1", "EUR", destination=True)
DIRECT = Charge(Provider.STRIPE, "acct_1", "prac_1", "EUR")
MERCADOPAGO = Charge(Provider.MERCADOPAGO, "4711", "prac_1", "EUR")
OURS, THEIRS, DUE = "prov:stripe:pending", "prov:acct_1:pending", "due:PAYEE:prac_1"
GROSS, FEE = 10_000, 1_500
Sums = dict[tuple[str, str], int]


def sums(*postings: Posting) -> Sums:
    found: Sums = defaultdict(int)
    for posting in postings:
        for entry in posting.entries:
            book = entry.book.partition(":")[0]
            found[book, entry.account] += entry.debit - entry.credit
    return {key: amount for key, amount in found.items() if amount}


def withdrawn(charge: Charge) -> Posting:
    return ledger.dispute_withdrawn(charge, "acct:txn_1", GROSS, FEE)


def test_a_destination_charge_is_taken_from_the_platform() -> None:
    assert sums(withdrawn(DESTINATION)) == {
        ("PLAT", "held"): GROSS,
        ("PLAT", "fee"): FEE,
        ("PLAT", OURS): -GROSS - FEE,
    }


@pytest.mark.parametrize(
    ("charge", "balance"), [(DIRECT, THEIRS), (MERCADOPAGO, "prov:4711:pending")]
)
def test_every_other_one_is_taken_from_the_payee(charge: Charge, balance: str) -> None:
    assert sums(withdrawn(charge)) == {
        ("PAYEE", "held"): GROSS,
        ("PAYEE", "fee"): FEE,
        ("PAYEE", balance): -GROSS - FEE,
    }


def test_recovered_from_the_payee_by_reversing_the_transfer() -> None:
    assert sums(ledger.dispute_recovered(DESTINATION, "stripe:txn_2", 8_000)) == {
        ("PLAT", OURS): 8_000,
        ("PLAT", DUE): -8_000,
        ("PAYEE", "held"): 8_000,
        ("PAYEE", THEIRS): -8_000,
    }


@pytest.mark.parametrize("recovered", [0, 1, 8_000, GROSS])
def test_lost_leaves_nothing_held_and_splits_the_loss(recovered: int) -> None:
    ended = sums(
        withdrawn(DESTINATION),
        ledger.dispute_recovered(DESTINATION, "stripe:txn_2", recovered),
        ledger.dispute_lost(DESTINATION, "dispute:dp_1:lost:1", GROSS, recovered),
    )
    expected = {
        ("PLAT", "fee"): FEE,
        ("PLAT", "loss"): GROSS - recovered,
        ("PLAT", OURS): recovered - GROSS - FEE,
        ("PAYEE", "loss"): recovered,
        ("PAYEE", THEIRS): -recovered,
    }
    assert ended == {key: amount for key, amount in expected.items() if amount}


@pytest.mark.parametrize("recovered", [0, 8_000])
def test_won_leaves_the_fee_alone(recovered: int) -> None:
    ended = sums(
        withdrawn(DESTINATION),
        ledger.dispute_recovered(DESTINATION, "stripe:txn_2", recovered),
        ledger.dispute_reinstated(DESTINATION, "stripe:txn_3", GROSS),
        ledger.dispute_returned(DESTINATION, "stripe:txn_4", recovered),
    )
    assert ended == {("PLAT", "fee"): FEE, ("PLAT", OURS): -FEE}


def test_a_direct_charge_lost_and_won() -> None:
    lost = ledger.dispute_lost(DIRECT, "dispute:dp_1:lost:1", GROSS)
    assert sums(withdrawn(DIRECT), lost) == {
        ("PAYEE", "loss"): GROSS,
        ("PAYEE", "fee"): FEE,
        ("PAYEE", THEIRS): -GROSS - FEE,
    }
    won = ledger.dispute_reinstated(DIRECT, "acct_1:txn_3", GROSS, -FEE)
    assert sums(withdrawn(DIRECT), won) == {}


def test_what_comes_back_after_it_was_lost_is_posted_the_other_way_round() -> None:
    lost = ledger.dispute_lost(DESTINATION, "dispute:dp_1:lost:1", GROSS, 8_000)
    back = ledger.dispute_lost(DESTINATION, "dispute:dp_1:lost:2", -GROSS, -8_000)
    assert sums(lost, back) == {}


# ---------------------------------------------------------------- the providers' shapes


def stripe_dispute(**more: Any) -> dict[str, Any]:
    return {
        "id": "du_1",
        "amount": 10_000,
        "currency": "eur",
        "status": "needs_response",
        "reason": "fraudulent",
        "created": 1_795_251_600,
        "evidence_details": {"due_by": 1_796_029_200},
        "balance_transactions": [
            {"id": "txn_1", "amount": -10_000, "fee": 1_500, "currency": "eur"}
        ],
    } | more


def test_a_dispute_of_stripe_in_our_words() -> None:
    found = stripe_disputes.normalised(stripe_dispute(), Found("pi_1", "prac_1", "pay_1"))
    assert (found.provider_payment, found.payment) == ("pi_1", "pay_1")
    assert (found.amount, found.currency, found.status) == (10_000, "EUR", "needs_response")
    assert found.evidence_due_by == found.opened_at + timedelta(days=9)
    assert found.movements == (Movement("txn_1", -10_000, 1_500),)


def test_what_stripe_may_say_that_we_do_not_know() -> None:
    other = [{"id": "txn_1", "amount": -9_300, "fee": 1_400, "currency": "usd"}]
    raw = stripe_dispute(status="on_the_moon", balance_transactions=other, evidence_details=None)
    found = stripe_disputes.normalised(raw, Found("pi_1", "prac_1", "pay_1"))
    assert (found.status, found.evidence_due_by) == (DisputeStatus.UNDER_REVIEW, None)
    assert found.movements == (Movement("txn_1", -10_000, 0, Leg("USD", -9_300, 1_400)),)


@pytest.mark.parametrize(
    ("detail", "chargeback", "status", "back"),
    [
        ("in_process", {}, DisputeStatus.NEEDS_RESPONSE, 0),
        ("in_process", {"documentation_status": "review_pending"}, DisputeStatus.UNDER_REVIEW, 0),
        ("in_process", {"documentation_required": False}, DisputeStatus.UNDER_REVIEW, 0),
        ("in_process", {"coverage_applied": True}, DisputeStatus.WON, 5_050),
        ("reimbursed", {}, DisputeStatus.WON, 5_050),
        ("settled", {}, DisputeStatus.LOST, 0),
    ],
)
def test_a_chargeback_of_mercado_pago_in_our_words(
    detail: str, chargeback: dict[str, Any], status: DisputeStatus, back: int
) -> None:
    raw = {
        "id": 217_000_061,
        "payments": [12],
        "amount": 50.5,
        "currency": "MXN",
        "reason": "general",
        "coverage_applied": None,
        "documentation_required": True,
        "documentation_status": "pending",
        "date_documentation_deadline": "2026-11-30T10:00:00.000-04:00",
        "date_created": "2026-11-20T10:00:00.000-04:00",
    } | chargeback
    payment = ProviderPayment(
        id="12",
        state=State.SUCCEEDED,
        amount=5_050,
        currency="MXN",
        captured=5_050,
        account="4711",
        practice="prac_1",
        payment="pay_1",
        raw={"status": "charged_back", "status_detail": detail},
    )
    found = mercadopago_disputes.normalised(raw, payment)
    assert (found.id, found.status, found.amount) == ("217000061", status, 5_050)
    assert found.evidence_due_by == datetime(2026, 11, 30, 14, tzinfo=UTC)
    assert found.movements[0] == Movement("dispute:217000061", -5_050)
    assert sum(movement.amount for movement in found.movements) == back - 5_050


# ---------------------------------------------------------------- days left


@pytest.mark.parametrize(
    ("status", "due_in", "left"),
    [
        ("needs_response", timedelta(days=3, hours=1), 3),
        ("warning_needs_response", timedelta(hours=23), 0),
        ("needs_response", timedelta(days=-1), 0),
        ("needs_response", None, None),
        ("under_review", timedelta(days=3), None),
        ("lost", timedelta(days=3), None),
    ],
)
def test_how_long_evidence_can_be_sent(
    monkeypatch: pytest.MonkeyPatch, status: str, due_in: timedelta | None, left: int | None
) -> None:
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    monkeypatch.setattr(disputes, "now", lambda: at)
    item = DisputeItem(status=status, evidence_due_by=at + due_in if due_in else None)
    assert disputes.days_left(item) == left
