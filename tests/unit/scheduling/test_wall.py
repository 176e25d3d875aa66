"""Which instant a requested time is."""

from datetime import UTC, datetime

import pytest

from consulta.core.errors import Invalid
from consulta.scheduling.wall import instant_of

LISBON, LORD_HOWE = "Europe/Lisbon", "Australia/Lord_Howe"
SANTIAGO, SAO_PAULO, KOLKATA = "America/Santiago", "America/Sao_Paulo", "Asia/Kolkata"


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
        ("2026-04-05T01:45:00+11:00", LORD_HOWE, "2026-04-04T14:45:00Z"),
        ("2026-04-05T01:29:00", LORD_HOWE, "2026-04-04T14:29:00Z"),
        ("2026-10-04T02:30:00", LORD_HOWE, "2026-10-03T15:30:00Z"),
        ("2026-09-06T01:00:00", SANTIAGO, "2026-09-06T04:00:00Z"),
        ("2026-04-04T23:30:00-03:00", SANTIAGO, "2026-04-05T02:30:00Z"),
        ("2026-04-04T23:30:00-04:00", SANTIAGO, "2026-04-05T03:30:00Z"),
        # São Paulo has left its clocks alone since 2019.
        ("2026-11-01T00:30:00", SAO_PAULO, "2026-11-01T03:30:00Z"),
        ("2027-02-20T23:30:00", SAO_PAULO, "2027-02-21T02:30:00Z"),
        ("2026-03-29T01:30:00", KOLKATA, "2026-03-28T20:00:00Z"),
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
        # Santiago's clocks are changed at midnight: in September there is none.
        ("2026-09-06T00:00:00", SANTIAGO, "nonexistent"),
        ("2026-09-06T00:59:00", SANTIAGO, "nonexistent"),
        ("2026-04-04T23:30:00", SANTIAGO, "ambiguous"),
        ("2018-11-04T00:30:00", SAO_PAULO, "nonexistent"),
        ("2019-02-16T23:30:00", SAO_PAULO, "ambiguous"),
        ("2027-03-28T01:59:00", LISBON, "nonexistent"),
        ("2027-10-31T01:00:00", LISBON, "ambiguous"),
        ("2027-06-01T10:00:00+05:00", KOLKATA, "offset"),
        # Beyond what a zone's offset can be taken from.
        ("0001-01-01T00:00:00+14:00", None, "range"),
        ("9999-12-31T23:59:00-10:00", None, "range"),
        ("2026-10-25T01:30:00", LISBON, "ambiguous"),
        ("2026-04-05T01:45:00", LORD_HOWE, "ambiguous"),
    ],
)
def test_any_other_is_refused_on_its_field(text: str, zone: str | None, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        instant_of(datetime.fromisoformat(text), zone, "body.start")
    assert [(one.path, one.code) for one in refused.value.errors] == [("body.start", code)]
