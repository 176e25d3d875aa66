"""What Google's refusals mean for us."""

from typing import Any

import pytest

from consulta.calendars import google


def api(reason: str) -> dict[str, Any]:
    """An error of the Calendar API."""
    return {"error": {"code": 0, "message": "x", "errors": [{"reason": reason, "message": "x"}]}}


@pytest.mark.parametrize(
    ("operation", "status", "body", "query", "kind"),
    [
        ("token.refresh", 400, {"error": "invalid_grant"}, {}, google.Revoked),
        ("token.exchange", 400, {"error": "invalid_request"}, {}, google.Refused),
        # Our own credentials: that is not the expert's doing.
        ("token.refresh", 401, {"error": "invalid_client"}, {}, google.Refused),
        ("token.refresh", 503, {}, {}, google.Unavailable),
        ("events.list", 401, api("authError"), {}, google.Unauthorized),
        ("events.list", 410, api("fullSyncRequired"), {"syncToken": "x"}, google.SyncTokenGone),
        ("events.delete", 410, api("deleted"), {}, google.Missing),
        ("events.get", 404, api("notFound"), {}, google.Missing),
        ("events.insert", 409, api("duplicate"), {}, google.Exists),
        ("events.insert", 403, api("rateLimitExceeded"), {}, google.Unavailable),
        ("events.insert", 403, api("userRateLimitExceeded"), {}, google.Unavailable),
        ("events.insert", 403, api("insufficientPermissions"), {}, google.Refused),
        ("events.insert", 429, {}, {}, google.Unavailable),
        ("events.insert", 500, {}, {}, google.Unavailable),
        ("events.insert", 400, {"error": {"errors": "not a list"}}, {}, google.Refused),
        ("events.insert", 400, {"error": None}, {}, google.Refused),
    ],
)
def test_kinds(
    operation: str, status: int, body: Any, query: dict[str, str], kind: type[Exception]
) -> None:
    assert type(google._problem(operation, status, body, query)) is kind


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"null", b"\xff"])
def test_an_answer_that_is_no_object_is_an_empty_one(data: bytes) -> None:
    assert google._parsed(data) == {}


def test_no_token_is_shown_by_a_repr() -> None:
    grant = google.Grant("ya29.secret", 3600, "1//secret", ())
    assert "secret" not in repr(grant) + repr(google.Calendars("ya29.secret"))


def test_a_calendars_id_stays_one_part_of_the_path() -> None:
    assert google._events("a/b?c#d@x.y", "e1") == "calendars/a%2Fb%3Fc%23d%40x.y/events/e1"


def test_tries_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google.time, "sleep", lambda _: None)
    assert list(google._tries(again=False)) == [0]
    assert list(google._tries(again=True)) == [0, 1, 2, 3, 4]
    monkeypatch.setattr(google, "DEADLINE_S", 0.0)
    assert list(google._tries(again=True)) == [0]
