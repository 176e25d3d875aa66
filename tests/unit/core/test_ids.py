"""Prefixed ids."""

import re

import pytest

from consulta.core.ids import ID_PATTERN, derived, is_id, new_id
from consulta.money.reconciliation import records as reconciliation
from consulta.people import thread_records
from consulta.reports import requests
from consulta.scheduling import review_records, series_records


def test_ids_have_their_prefix_and_are_never_the_same() -> None:
    made = [new_id("appt") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(is_id(one, "appt") and re.match(ID_PATTERN, one) for one in made)


def test_ids_sort_by_the_time_they_were_made() -> None:
    # The first ten letters are the time, to the millisecond.
    made = [new_id("appt")[5:15] for _ in range(1000)]
    assert made == sorted(made)


# Made by the code before these had one home: what is stored under them must be found.
STORED = [
    "rev_5Y1QJZPW5K8XRGMS541Y4C7NEX",
    "thr_7K419S24TYSTC41C0MBC790NJJ",
    "thr_5FY9S3A19MGCQ4KZYDFGYDPZYK",
    "appt_4A7QKNDBY4RBRVNSCGQV0YF03W",
    "rep_6N7NEK71ZJ7WAPD4CPW6APT8E0",
    "diff_7PET6CJT16XB4174SWV1C9MK7A",
]


def test_an_id_that_follows_from_something_is_always_the_same() -> None:
    one = derived("rev", "appt_1")
    assert one == derived("rev", "appt_1") != derived("rev", "appt_2")
    assert is_id(one, "rev")


def test_ids_that_follow_are_those_that_are_stored_already() -> None:
    assert [
        review_records.id_of("appt_1"),
        thread_records.id_of("pat_1", "exp_1"),
        thread_records.id_of("pat_1", None),
        series_records.derived_id("appt", "ser_1", "2026-11-22"),
        requests.report_id_for("sched_1", "2026-11-22T10:00:00Z"),
        reconciliation.difference_id("prac_1", "acct_1", "txn_1", "EUR"),
    ] == STORED


@pytest.mark.parametrize(
    "value",
    [
        "",
        "appt_",
        "appt_01JC0NS0TADEM000000000000",
        "appt_01JC0NS0TADEM00000000000000",
        "appt_01JCONSULTADEMO00000000000",
        "APPT_01JC0NS0TADEM0000000000000",
        "appt_01jc0ns0tadem0000000000000",
        "appt_01JC0NS0TADEM0000000000000#x",
        "appt-01JC0NS0TADEM0000000000000",
    ],
)
def test_anything_else_is_no_id(value: str) -> None:
    assert not is_id(value)


def test_the_prefix_must_be_the_whole_prefix() -> None:
    assert not is_id("appt_01JC0NS0TADEM0000000000000", "app")
    assert not is_id("appt_01JC0NS0TADEM0000000000000", "pat")
