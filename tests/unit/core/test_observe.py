"""Nothing of a person reaches a log line or Sentry."""

import gc
import io
import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

from consulta.core import observe, table
from tests.unit.people.calling import event, handler, signed_in

NAME, PHONE = "María López", "+34600123456"
CONTEXT = SimpleNamespace(aws_request_id="aws-1", function_name="test")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    logger = Logger(service=f"test-{id(stream)}", stream=stream, log_uncaught_exceptions=False)
    monkeypatch.setattr(observe, "logger", logger)
    return stream


def raising() -> None:
    raise ValueError(f"{NAME} has no appointment with {PHONE}")


def caught() -> ValueError:
    try:
        raising()
    except ValueError as error:
        return error
    raise AssertionError("not raised")


def test_a_failure_is_logged_as_type_and_place(lines: io.StringIO) -> None:
    observe.failure("it failed", caught(), payment="pay_1")
    logged = json.loads(lines.getvalue())
    assert (logged["message"], logged["error"], logged["payment"]) == (
        "it failed",
        "ValueError",
        "pay_1",
    )
    assert any(frame.endswith(":raising") for frame in logged["frames"])
    assert "María" not in lines.getvalue()
    assert "Mar\\u00eda" not in lines.getvalue()
    assert PHONE not in lines.getvalue()


def test_a_failing_handler_is_logged_and_raised(lines: io.StringIO) -> None:
    @observe.observed
    def failing(_event: Any, _context: Any) -> None:
        raising()

    with pytest.raises(ValueError, match="has no appointment"):
        failing({"name": NAME}, CONTEXT)
    assert json.loads(lines.getvalue())["request_id"] == "aws-1"
    assert "600123456" not in lines.getvalue()


def test_a_request_that_fails_leaves_no_body_in_the_log(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    body = {"name": NAME, "phone": PHONE}
    request = event("POST", "/v1/patients", body, context=signed_in())

    def refusing(*_: Any) -> None:
        raise ValueError(f"no item for {body}")

    monkeypatch.setattr(table, "get", refusing)
    answer = handler("patients")(request, CONTEXT)
    assert answer["statusCode"] == 500
    out, err = capfd.readouterr()
    for text in (lines.getvalue(), out, err, answer["body"]):
        assert "600123456" not in text
        assert "pez" not in text
    assert "the request failed" in lines.getvalue()


def test_what_needs_a_person_is_counted_for_the_whole_stack(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Made anew where the service's name is known, as when a function starts.
    for name in ("metrics", "_troubles"):
        monkeypatch.setattr(observe, name, EphemeralMetrics(namespace="Consulta"))

    @observe.observed
    def troubled(_event: Any, _context: Any) -> None:
        observe.trouble("RefundsFailed", 2)
        observe.count("EventsProcessed")

    troubled({}, CONTEXT)
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    by_name = {
        name: one for one in told for name in ("RefundsFailed", "EventsProcessed") if name in one
    }
    assert by_name["RefundsFailed"]["RefundsFailed"] == [2.0]
    shown = {
        name: one["_aws"]["CloudWatchMetrics"][0]["Dimensions"] for name, one in by_name.items()
    }
    assert shown["RefundsFailed"] == [["service"]]
    assert shown["EventsProcessed"] == [["function", "service"]]
    assert observe._troubles.metric_set == {}


def test_sentry_gets_no_text_and_no_request() -> None:
    sent = observe._scrub(
        {
            "exception": {"values": [{"type": "ValueError", "value": NAME}]},
            "request": {"data": NAME},
            "user": {"email": NAME},
            "extra": {"a": NAME},
            "breadcrumbs": [NAME],
        },
        {},
    )
    assert NAME not in json.dumps(sent, ensure_ascii=False)
    assert sent["exception"]["values"][0]["type"] == "ValueError"


def test_a_failure_reaches_sentry_where_it_is_imported(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[BaseException] = []
    monkeypatch.setitem(
        sys.modules, "sentry_sdk", SimpleNamespace(capture_exception=captured.append)
    )
    error = caught()
    observe.failure("it failed", error)
    assert captured == [error]


def test_what_was_imported_is_left_out_of_collection() -> None:
    gc.unfreeze()
    observe.observed(lambda _event, _context: None)
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
