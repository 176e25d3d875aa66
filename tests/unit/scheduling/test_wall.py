"""Which instant a requested time is."""

from datetime import UTC, datetime

import pytest

from consulta.core.errors import Invalid
from consulta.scheduling.wall import instant_of

LISBON, LORD_HOWE = "Europe/Lisbon", "Australia/Lord_Howe"


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-06-01T10:00:00+01:00", None, "2026-06-01T09:00:00Z"),
        ("2026-06-01T10:00:00+01:00", LISBON, "2026-06-01T09:00:00Z"),
        ("2026-06-01T10:00:00", LISBON, "2026-06-01T09:00:00Z"),
        # Shown twice: each offset is one of the two.
        ("2026-10-25T01:30:00+01:00", LISBON, "2026-10-25T00:30:00Z"),
        ("2026-10-25T01:30:00+00:00", LISBON, "2026-10-25T01:30:00Z"),
        ("2026-04-05T01:45:00+10:30", LORD_HOWE, "2026-04-04T15:15:00Z"),
    ],
)
def test_a_clear_time_is_one_instant(text: str, zone: str | None, expected: str) -> None:
    found = instant_of(datetime.fromisoformat(text), zone, "body.start")
    assert found == datetime.fromisoformat(expected)
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "zone", "code"),
    [
        ("2026-06-01T10:00:00", None, "offset"),
        ("2026-06-01T10:00:00+02:00", LISBON, "offset"),
        ("2026-03-29T01:30:00", LISBON, "nonexistent"),
        ("2026-03-29T01:30:00+00:00", LISBON, "nonexistent"),
        ("2026-10-04T02:15:00", LORD_HOWE, "nonexistent"),
        ("2026-10-25T01:30:00", LISBON, "ambiguous"),
        ("2026-04-05T01:45:00", LORD_HOWE, "ambiguous"),
    ],
)
def test_any_other_is_refused_on_its_field(text: str, zone: str | None, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        instant_of(datetime.fromisoformat(text), zone, "body.start")
    assert [(one.path, one.code) for one in refused.value.errors] == [("body.start", code)]
