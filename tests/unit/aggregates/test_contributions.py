"""What each item contributes, in literal numbers; no engine, no sockets."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.aggregates import contributions
from consulta.aggregates.contributions import (
    NOTHING,
    AggregateKey,
    Contribution,
    Malformed,
    Pair,
    contribution,
    is_additive,
)
from consulta.aggregates.rows import Remembered, decode, encode
from consulta.core.keys import Key
from consulta.core.table import Raw
from consulta.money.disputes.records import DISPUTE, INQUIRIES
from consulta.money.records import PAYMENT, POSTING, REFUND
from consulta.people.records import PATIENT
from consulta.scheduling.records import APPOINTMENT, BOOKED, OPEN, Status
from tests.unit.aggregates.images import PRACTICE_ID, image, key

PRACTICE = ("PRACTICE", PRACTICE_ID)
EXPERT, SERVICE, CLIENT = ("EXPERT", "exp_1"), ("SERVICE", "srv_1"), ("PATIENT", "pat_1")


def of(entity: str, **changes: Any) -> Contribution:
    return contribution(key(entity, "1").pk, image(entity, **changes))


def row(found: Contribution, subject: tuple[str, str], period: str) -> dict[str, int]:
    return found.figures.get(AggregateKey(*subject, period), {})


def periods(found: Contribution, subject: tuple[str, str]) -> set[str]:
    return {key.period for key in found.figures if key[:2] == subject}


def test_a_confirmed_appointment() -> None:
    found = of(APPOINTMENT)
    vector = {"status.confirmed": 1, "open": 1, "value.EUR": 5000}
    for subject in (PRACTICE, EXPERT):
        assert row(found, subject, "D#2026-11-20") == {**vector, "hour.09": 1}
        assert row(found, subject, "M#2026-11") == row(found, subject, "TOTAL") == vector
    for subject in (SERVICE, CLIENT):
        assert periods(found, subject) == {"M#2026-11", "TOTAL"}
        assert row(found, subject, "M#2026-11") == row(found, subject, "TOTAL") == vector
    assert found.pairs == {
        Pair("EXPERT-PATIENT", "exp_1", "pat_1"): 1,
        Pair("PRACTICE-PATIENT", PRACTICE_ID, "pat_1"): 1,
    }


@pytest.mark.parametrize("status", list(Status))
def test_a_status_decides_what_an_appointment_counts_for(status: Status) -> None:
    found = of(APPOINTMENT, status=str(status))
    total = row(found, PRACTICE, "TOTAL")
    assert total[f"status.{status}"] == 1
    assert ("value.EUR" in total, bool(found.pairs)) == (status in BOOKED, status in BOOKED)
    assert ("open" in total) == (status in OPEN)
    assert ("hour.09" in row(found, PRACTICE, "D#2026-11-20")) == (status in BOOKED)


def test_a_free_appointment_has_no_zero_in_it() -> None:
    assert row(of(APPOINTMENT, price=0), EXPERT, "TOTAL") == {"status.confirmed": 1, "open": 1}


def test_a_captured_payment() -> None:
    found = of(PAYMENT, tax_withheld=7)
    vector = {
        "collected.EUR": 5000,
        "commission.EUR": 500,
        "pending_commission.EUR": 500,
        "fee.EUR": 95,
        "tax_withheld.EUR": 7,
        "payments": 1,
        "payments.EUR": 1,
    }
    for subject in (PRACTICE, EXPERT):
        assert periods(found, subject) == {"D#2026-11-20", "M#2026-11", "TOTAL"}
        assert all(row(found, subject, period) == vector for period in periods(found, subject))
    assert row(found, SERVICE, "M#2026-11") == {"collected.EUR": 5000}
    assert row(found, CLIENT, "TOTAL") == row(found, CLIENT, "M#2026-11") == {"spent.EUR": 5000}


@pytest.mark.parametrize("change", [{"settled": True}, {"provider": "manual"}])
def test_a_settled_or_manual_payment_has_no_pending_commission(change: Any) -> None:
    total = row(of(PAYMENT, **change), PRACTICE, "TOTAL")
    assert (total["commission.EUR"], "pending_commission.EUR" in total) == (500, False)


@pytest.mark.parametrize("state", ["open", "processing"])
def test_a_payment_under_way_awaits_in_totals_only(state: str) -> None:
    found = of(PAYMENT, state=state, captured=0, local_date=None)
    awaiting = {"awaiting.EUR": 5000}
    assert found.figures == {
        AggregateKey(*PRACTICE, "TOTAL"): awaiting,
        AggregateKey(*EXPERT, "TOTAL"): awaiting,
    }


@pytest.mark.parametrize("state", ["authorized", "cancelled"])
def test_a_payment_without_capture_counts_for_nothing(state: str) -> None:
    assert of(PAYMENT, state=state, captured=0, local_date=None) == NOTHING


def test_a_refund_counts_on_its_own_day() -> None:
    found = of(REFUND)
    vector = {"refunded.EUR": 2000, "commission_returned.EUR": 200, "refunds": 1}
    for period in ("D#2026-11-21", "M#2026-11", "TOTAL"):
        assert row(found, PRACTICE, period) == row(found, EXPERT, period) == vector
    assert row(found, SERVICE, "TOTAL") == row(found, CLIENT, "M#2026-11") == {"refunded.EUR": 2000}
    assert of(REFUND, state="requested", local_date=None) == NOTHING
    assert of(REFUND, state="failed", commission=0, local_date=None) == NOTHING
    # Of one that had gone our commission stays returned.
    failed = of(REFUND, state="failed")
    assert row(failed, PRACTICE, "TOTAL") == row(failed, EXPERT, "M#2026-11")
    assert row(failed, PRACTICE, "TOTAL") == {"commission_returned.EUR": 200}


def test_a_dispute_counts_on_the_day_it_was_opened_and_an_inquiry_does_not() -> None:
    for subject in (PRACTICE, EXPERT):
        found = of(DISPUTE)
        assert periods(found, subject) == {"D#2026-11-23", "M#2026-11", "TOTAL"}
        assert row(found, subject, "TOTAL") == {"disputed.EUR": 5000, "disputes": 1}
        assert row(of(DISPUTE, status="won", held=0), subject, "TOTAL") == {"disputes": 1}
    for status in INQUIRIES:
        assert of(DISPUTE, status=str(status), held=0) == NOTHING


def test_what_is_earned_counts_with_its_tax_on_the_day_of_its_posting() -> None:
    found = of(POSTING)
    for subject in (PRACTICE, EXPERT):
        assert periods(found, subject) == {"D#2026-11-22", "M#2026-11", "TOTAL"}
        assert all(row(found, subject, p) == {"earned.EUR": 5000} for p in periods(found, subject))


def test_a_refund_of_what_was_earned_takes_it_back() -> None:
    entries = [
        {"book": "PAYEE:payee_1", "account": "patient", "debit": 500, "credit": 0},
        {"book": "PAYEE:payee_1", "account": "revenue", "debit": 1500, "credit": 0},
        {"book": "PAYEE:payee_1", "account": "refund_due", "debit": 0, "credit": 2000},
    ]
    found = of(POSTING, event="refund_requested", entries=entries)
    assert row(found, PRACTICE, "TOTAL") == {"earned.EUR": -1500}


def test_a_posting_without_a_day_is_earned_by_nobody() -> None:
    found = of(POSTING, event="charge_succeeded", expert_id=None, local_date=None)
    assert not any(name.startswith("earned") for row in found.figures.values() for name in row)
    assert periods(found, PRACTICE) == periods(found, EXPERT) == set()


def test_the_fee_that_the_platform_pays_is_told_apart() -> None:
    total = row(of(PAYMENT, platform_pays_fees=True), PRACTICE, "TOTAL")
    assert (total["fee.EUR"], total["platform_fee.EUR"]) == (95, 95)
    assert "platform_fee.EUR" not in row(of(PAYMENT), PRACTICE, "TOTAL")


def test_a_patient_until_deleted() -> None:
    found = of(PATIENT)
    assert row(found, PRACTICE, "D#2026-11-19") == {"new_patients": 1}
    assert row(found, PRACTICE, "TOTAL") == {"new_patients": 1, "patients": 1}
    deleted = image(PATIENT) | {"deleted_at": {"S": "2026-11-20T09:00:00.000Z"}}
    restored = image(PATIENT) | {"deleted_at": {"NULL": True}}
    pk = key(PATIENT, "1").pk
    assert contribution(pk, deleted) == NOTHING
    assert contribution(pk, restored) == found


# Everything that a figure may depend on. Whatever else an item has can be erased or encrypted.
STAMPED = {
    APPOINTMENT: "expert_id patient_id service_id status local_date local_hour price currency",
    PAYMENT: (
        "expert_id patient_id service_id state provider amount captured commission fee"
        " tax_withheld settled platform_pays_fees currency local_date"
    ),
    REFUND: "expert_id patient_id service_id state amount commission currency local_date",
    DISPUTE: "expert_id status held currency local_date",
    POSTING: "expert_id currency entries local_date",
    PATIENT: "local_date deleted_at",
}


@pytest.mark.parametrize("entity", list(contributions.ENTITIES))
def test_only_what_is_stamped_on_the_item_is_needed(entity: str) -> None:
    full = image(entity)
    stamped = {name: full[name] for name in STAMPED[entity].split() if name in full}
    pk = key(entity, "1").pk
    assert contribution(pk, stamped) == contribution(pk, full) != NOTHING


@pytest.mark.parametrize(
    ("entity", "broken"),
    [
        (APPOINTMENT, {"local_date": {"S": "tomorrow"}}),
        (APPOINTMENT, {"local_date": {"N": "1"}}),
        (APPOINTMENT, {"expert_id": {"S": "exp#1"}}),
        (APPOINTMENT, {"expert_id": {"S": ""}}),
        (APPOINTMENT, {"status": {"S": "dancing"}}),
        (APPOINTMENT, {"price": {"S": "5000"}}),
        (APPOINTMENT, {"price": {"N": "0.5"}}),
        (PAYMENT, {"local_date": {"NULL": True}}),
        (REFUND, {"currency": {}}),
        (POSTING, {"entries": {"L": [{"M": {"account": {"S": "revenue"}}}]}}),
    ],
)
def test_a_broken_item_is_malformed_and_its_value_stays_out_of_the_text(
    entity: str, broken: Raw
) -> None:
    (name,) = broken
    with pytest.raises(Malformed) as error:
        contribution(key(entity, "1").pk, image(entity) | broken)
    assert str(error.value) == f"attribute {name}"


def test_which_items_have_figures() -> None:
    assert contributions.contributes(key(APPOINTMENT, "1"))
    for other in (
        Key(key(APPOINTMENT, "1").pk, "NOTE#1"),
        key("SERVICE", "1"),
        Key("PERSON#person_1"),
        Key("P#prac_1#HOLDS"),
        Key("INBOX#stripe#acct_1#evt_1"),
    ):
        assert not contributions.contributes(other)


def test_what_is_gone_contributes_nothing() -> None:
    assert contribution(key(APPOINTMENT, "1").pk, None) == NOTHING


def test_which_totals_are_sums() -> None:
    assert all(is_additive(name) for name in ("new_patients", "value.EUR", "open", "payments"))
    assert not any(is_additive(n) for n in ("patients", "unique_patients", "awaiting.EUR"))


# ------------------------------------------------------------------------ contribution rows

WORDS = st.text("abcdefgh_.0123456789", min_size=1, max_size=8)
VECTORS = st.dictionaries(WORDS, st.integers(-(10**15), 10**15), min_size=1, max_size=4)
KEYS = st.builds(AggregateKey, WORDS, WORDS, st.sampled_from(["TOTAL", "M#2026-11", "D#2026-11-2"]))
PAIRS = st.builds(Pair, st.just("EXPERT-PATIENT"), WORDS, WORDS)


@given(
    st.builds(
        Contribution,
        st.dictionaries(KEYS, VECTORS, max_size=5),
        st.dictionaries(PAIRS, st.just(1), max_size=3),
    )
)
def test_a_contribution_is_read_as_it_was_written(found: Contribution) -> None:
    assert decode(encode(found)) == found


def test_nothing_is_an_empty_text_and_no_row_is_order_zero() -> None:
    assert encode(NOTHING) == ""
    assert Remembered.read(None) == Remembered(0, 0, NOTHING)


def test_an_appointments_row_fits_one_write_unit_with_real_ids() -> None:
    ulid = "01JC0000000000000000000000"
    ids = {"expert_id": f"exp_{ulid}", "patient_id": f"pat_{ulid}", "service_id": f"srv_{ulid}"}
    pk = key(APPOINTMENT, f"appt_{ulid}").pk
    found = contribution(pk, image(APPOINTMENT, f"appt_{ulid}", status="awaiting_approval", **ids))
    overhead = len(pk) * 2 + len("ordgenvecupdated_at") + 40
    assert len(encode(found)) + overhead < 1024
