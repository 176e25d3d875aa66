"""Names of events, and what they are called."""

import re

import pytest

from consulta.calendars.outward import event_id, initials


def test_an_events_id_is_one_that_google_takes() -> None:
    """Base32hex in lower case, 5 to 1024 characters (events.insert)."""
    made = event_id("prac_1", "appt_1")
    assert re.fullmatch(r"[0-9a-v]{5,1024}", made)
    assert made == event_id("prac_1", "appt_1")
    assert len({made, event_id("prac_1", "appt_2"), event_id("prac_2", "appt_1")}) == 3


def test_parts_do_not_run_into_each_other() -> None:
    assert event_id("a", "bc") != event_id("ab", "c")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Inês de Carvalho", "I. C."),
        ("maría josé lópez", "M. L."),
        ("Pelé", "P."),
        ("  Ana   Sá ", "A. S."),
        ("(Dr.) Ana Sá", "A. S."),
        ("123", ""),
        ("", ""),
    ],
)
def test_initials(name: str, shown: str) -> None:
    assert initials(name) == shown
