"""Prefixed ids."""

import re

import pytest

from consulta.core.ids import ID_PATTERN, is_id, new_id


def test_ids_have_their_prefix_and_are_never_the_same() -> None:
    made = [new_id("appt") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(is_id(one, "appt") and re.match(ID_PATTERN, one) for one in made)


def test_ids_sort_by_the_time_they_were_made() -> None:
    # The first ten letters are the time, to the millisecond.
    made = [new_id("appt")[5:15] for _ in range(1000)]
    assert made == sorted(made)


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
