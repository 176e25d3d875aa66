"""What each item contributes, in literal numbers; no engine, no sockets."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.aggregates import catalog, contributions
from consulta.aggregates.catalog import AggregateKey, is_additive
from consulta.aggregates.contributions import (
    NOTHING,
    Contribution,
    Pair,
    Visit,
    cohort_of,
    contribution,
)
from consulta.aggregates.images import Malformed
from consulta.aggregates.rows import Remembered, decode, encode
from consulta.core.keys import Key
from consulta.core.table import Raw
from consulta.money.disputes.records import DISPUTE, INQUIRIES
from consulta.money.records import PAYMENT, POSTING, REFUND
from consulta.people.records import PATIENT, PROFILE_VIEWS
from consulta.people.thread_records import THREAD
from consulta.scheduling.records import APPOINTMENT, BOOKED, OPEN, Status
from consulta.scheduling.records import SERVICE as SERVICE_ITEM
from consulta.scheduling.review_records import REVIEW
from tests.unit.aggregates.images import PRACTICE_ID, image, key

PRACTICE = ("PRACTICE", PRACTICE_ID)
EXPERT, SERVICE, CLIENT = ("EXPERT", "exp_1"), ("SERVICE", "srv_1"), ("PATIENT", "pat_1")
SERVICES, EXPERTS, PATIENTS = (
    (subject, PRACTICE_ID) for subject in ("SERVICES", "EXPERTS", "PATIENTS")
)


def of(entity: str, **changes: Any) -> Contribution:
    return contribution(key(entity, "1").pk, image(entity, **changes))


def row(found: Contribution, subject: tuple[str, str], period: str) -> dict[str, int]:
    return found.figures.get(AggregateKey(*subject, period), {})


def periods(found: Contribution, subject: tuple[str, str]) -> set[str]:
    return {key.period for key in found.figures if key[:2] == subject}


def test_a_confirmed_appointment() -> None:
    found = of(APPOINTMENT, created_at=datetime(2026, 10, 31, 23, 30, tzinfo=UTC))
    vector = {"status.confirmed": 1, "open": 1, "value.EUR": 5000}
    funnel = vector | {"payment_status.unpaid": 1, "scheduled": 1}
    for subject in (PRACTICE, EXPERT):
        assert row(found, subject, "D#2026-11-20") == {**funnel, "hour.09": 1}
        assert row(found, subject, "M#2026-11") == funnel
        assert row(found, subject, "TOTAL") == funnel | {"made": 1}
        # Lisbon's clocks are on UTC by then: it was made in October.
        assert row(found, subject, "D#2026-10-31") == row(found, subject, "M#2026-10")
        assert row(found, subject, "M#2026-10") == {"made": 1}
    assert periods(found, SERVICE) == {"D#2026-11-20", "M#2026-11", "TOTAL"}
    assert all(row(found, SERVICE, period) == funnel for period in periods(found, SERVICE))
    assert periods(found, CLIENT) == {"M#2026-11", "TOTAL"}
    assert row(found, CLIENT, "M#2026-11") == row(found, CLIENT, "TOTAL") == vector
    beside = {"D#2026-11-20#srv_1", "M#2026-11#srv_1"}
    assert periods(found, SERVICES) == beside
    of_service = {**vector, "scheduled": 1}
    assert all(row(found, SERVICES, period) == of_service for period in beside)
    assert periods(found, EXPERTS) == periods(found, PATIENTS) == set()
    assert found.pairs == {
        Pair("EXPERT-PATIENT", "exp_1", "pat_1"): 1,
        Pair("PRACTICE-PATIENT", PRACTICE_ID, "pat_1"): 1,
    }
    assert found.visits == {}


def test_one_that_took_place_is_a_visit_and_an_attendance() -> None:
    found = of(APPOINTMENT, status="completed")
    assert found.visits == {Visit("pat_1", "2026-11"): 1}
    for subject, who in ((EXPERTS, "exp_1"), (PATIENTS, "pat_1")):
        assert periods(found, subject) == {f"D#2026-11-20#{who}", f"M#2026-11#{who}"}
        assert all(
            row(found, subject, p) == {"status.completed": 1} for p in periods(found, subject)
        )
    missed = of(APPOINTMENT, status="no_show")
    assert missed.visits == {}
    assert row(missed, PATIENTS, "D#2026-11-20#pat_1") == {"status.no_show": 1}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "held"}, {}),
        ({"status": "expired"}, {}),
        ({"status": "cancelled"}, {"scheduled": 1, "payment_status.unpaid": 1, "made": 1}),
        # A hold that was given up was never an appointment.
        ({"status": "cancelled", "cancelled_from": "held"}, {}),
        (
            {"status": "cancelled", "cancelled_from": "confirmed", "payment_status": "refunded"},
            {"scheduled": 1, "payment_status.refunded": 1, "made": 1},
        ),
        (
            {"status": "completed", "payment_status": "partially_refunded"},
            {"scheduled": 1, "paid": 1, "paid_completed": 1, "made": 1}
            | {"payment_status.partially_refunded": 1},
        ),
        (
            {"payment_status": "deposit_paid"},
            {"scheduled": 1, "payment_status.deposit_paid": 1, "made": 1},
        ),
        # What is free needs no payment.
        (
            {"status": "completed", "price": 0},
            {"scheduled": 1, "paid": 1, "paid_completed": 1, "made": 1}
            | {"payment_status.unpaid": 1},
        ),
    ],
)
def test_how_far_an_appointment_came(changes: dict[str, Any], expected: dict[str, int]) -> None:
    total = row(of(APPOINTMENT, **changes), PRACTICE, "TOTAL")
    names = ("scheduled", "paid", "paid_completed", "made", "payment_status")
    assert {n: v for n, v in total.items() if n.partition(".")[0] in names} == expected


@pytest.mark.parametrize(
    ("months", "expected"),
    [
        ([], {}),
        (["2026-11"], {"2026-11": {"visited.0": 1}}),
        (["2026-02", "2025-11", "2025-12"], {"2025-11": {f"visited.{n}": 1 for n in (0, 1, 3)}}),
        (["2025-12", "2026-12"], {"2025-12": {"visited.0": 1, "visited.12": 1}}),
    ],
)
def test_the_first_month_says_which_cohort(months: list[str], expected: dict[str, Any]) -> None:
    found = cohort_of(PRACTICE_ID, months)
    assert found == {
        AggregateKey("COHORT", PRACTICE_ID, f"M#{first}"): vector
        for first, vector in expected.items()
    }


def test_a_service_counts_while_it_can_be_booked() -> None:
    found = of(SERVICE_ITEM)
    assert row(found, PRACTICE, "TOTAL") == {"services": 1}
    assert row(found, EXPERT, "TOTAL") == row(found, ("EXPERT", "exp_2"), "TOTAL")
    assert row(found, EXPERT, "TOTAL") == {"services": 1}
    assert of(SERVICE_ITEM, active=False) == NOTHING
    deleted = image(SERVICE_ITEM) | {"deleted_at": {"S": "2026-11-20T09:00:00.000Z"}}
    assert contribution(key(SERVICE_ITEM, "1").pk, deleted) == NOTHING


@pytest.mark.parametrize("status", list(Status))
def test_a_status_decides_what_an_appointment_counts_for(status: Status) -> None:
    found = of(APPOINTMENT, status=str(status))
    total = row(found, PRACTICE, "TOTAL")
    assert total[f"status.{status}"] == 1
    assert ("value.EUR" in total, bool(found.pairs)) == (status in BOOKED, status in BOOKED)
    assert ("open" in total) == (status in OPEN)
    assert ("hour.09" in row(found, PRACTICE, "D#2026-11-20")) == (status in BOOKED)


def test_a_free_appointment_has_no_zero_in_it() -> None:
    total = row(of(APPOINTMENT, price=0), EXPERT, "TOTAL")
    assert 0 not in total.values()
    assert not any(name.startswith("value") for name in total)


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
    collected = {"collected.EUR": 5000, "payments": 1, "payments.EUR": 1}
    for period in ("D#2026-11-20", "M#2026-11", "TOTAL"):
        assert row(found, SERVICE, period) == collected
    for subject, who in ((SERVICES, "srv_1"), (EXPERTS, "exp_1"), (PATIENTS, "pat_1")):
        assert row(found, subject, f"D#2026-11-20#{who}") == collected
        assert row(found, subject, f"M#2026-11#{who}") == collected
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


def test_a_review_counts_its_stars_while_it_is_published() -> None:
    found = of(REVIEW)
    for subject in (PRACTICE, EXPERT, SERVICE):
        assert periods(found, subject) == {"D#2026-11-24", "M#2026-11", "TOTAL"}
        vector = {"reviews": 1, "rating": 4, "rated.4": 1}
        assert all(row(found, subject, period) == vector for period in periods(found, subject))
    deleted = image(REVIEW) | {"deleted_at": {"S": "2026-11-25T09:00:00.000Z"}}
    assert contribution(key(REVIEW, "1").pk, deleted) == of(REVIEW, status="hidden") == NOTHING


def test_unread_messages_count_on_the_side_that_has_not_read_them() -> None:
    found = of(THREAD)
    assert row(found, PRACTICE, "TOTAL") == row(found, EXPERT, "TOTAL") == {"unread": 3}
    assert row(found, CLIENT, "TOTAL") == {"unread": 2}
    assert len(found.figures) == 3
    with_the_practice = of(THREAD, expert_id=None)
    assert row(with_the_practice, PRACTICE, "TOTAL") == {"unread": 3}
    assert periods(with_the_practice, EXPERT) == set()
    ended = image(THREAD) | {"ended_at": {"S": "2026-11-25T09:00:00.000Z"}}
    assert contribution(key(THREAD, "1").pk, ended) == NOTHING


def test_views_count_on_their_day() -> None:
    found = of(PROFILE_VIEWS)
    for subject in (PRACTICE, EXPERT):
        assert periods(found, subject) == {"D#2026-11-25", "M#2026-11", "TOTAL"}
        assert all(row(found, subject, p) == {"views": 7} for p in periods(found, subject))


# Everything that a figure may depend on. Whatever else an item has can be erased or encrypted.
STAMPED = {
    APPOINTMENT: (
        "expert_id patient_id service_id status payment_status local_date local_hour price currency"
        " created_at zone cancelled_from"
    ),
    PAYMENT: (
        "expert_id patient_id service_id state provider amount captured commission fee"
        " tax_withheld settled platform_pays_fees currency local_date"
    ),
    REFUND: "expert_id patient_id service_id state amount commission currency local_date",
    DISPUTE: "expert_id status held currency local_date",
    POSTING: "expert_id currency entries local_date",
    PATIENT: "local_date deleted_at",
    SERVICE_ITEM: "active deleted_at expert_ids",
    REVIEW: "expert_id service_id status rating local_date deleted_at",
    THREAD: "expert_id patient_id unread_practice unread_patient ended_at",
    PROFILE_VIEWS: "expert_id local_date views",
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
        (APPOINTMENT, {"payment_status": {"S": "perhaps"}}),
        (APPOINTMENT, {"created_at": {"S": "long ago"}}),
        (APPOINTMENT, {"price": {"S": "5000"}}),
        (SERVICE_ITEM, {"expert_ids": {"L": [{"N": "1"}]}}),
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
        key("EXPERT", "1"),
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
        st.dictionaries(st.builds(Visit, WORDS, WORDS), st.just(1), max_size=3),
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
    overhead = len(pk) * 2 + len("ordgenvecupdated_at") + 40
    for status in Status:
        found = contribution(pk, image(APPOINTMENT, f"appt_{ulid}", status=str(status), **ids))
        assert len(encode(found)) + overhead < 1024


def test_what_the_first_generations_wrote_is_read() -> None:
    old = '{"v":[{"open":1}],"f":{"EXPERT#exp_1":{"M#2026-11":0,"TOTAL":0}},"p":[["A","b","c"]]}'
    assert decode(old) == Contribution(
        {AggregateKey("EXPERT", "exp_1", period): {"open": 1} for period in ("M#2026-11", "TOTAL")},
        {Pair("A", "b", "c"): 1},
    )


def test_what_newer_code_wrote_is_not_read() -> None:
    newer = {"ord": {"N": "4"}, "gen": {"N": str(catalog.GENERATION + 1)}}
    found = Remembered.read({**newer, "vec": {"S": "in another form"}})
    assert (found.ord, found.gen) == (4, catalog.GENERATION + 1)
