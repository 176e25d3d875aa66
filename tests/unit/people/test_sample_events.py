"""The sample events of people's functions that need no table: each gives what its name says."""

import json
from pathlib import Path

import pytest

from tests.unit.people.calling import handler, invoke

EVENTS = Path(__file__).resolve().parents[3] / "events"


@pytest.mark.parametrize(
    ("function", "name", "status", "path"),
    [
        ("auth", "login_without_password", 422, "body.password"),
        ("practices", "create_with_unknown_zone", 422, "body.zone"),
        ("members", "change_to_unknown_role", 422, "body.role"),
        ("patients", "create_without_phone", 422, "body.phone"),
    ],
)
def test_a_bad_event_is_told_its_field(function: str, name: str, status: int, path: str) -> None:
    event = json.loads((EVENTS / function / f"{name}.json").read_text())
    answer = invoke(handler(function), event)
    assert (answer.status, [e["path"] for e in answer.body["errors"]]) == (status, [path])


def test_signing_out_without_a_session() -> None:
    event = json.loads((EVENTS / "auth" / "logout_without_session.json").read_text())
    assert invoke(handler("auth"), event).status == 204
