"""Fixtures of every test: an environment of its own, and tables built from template.yaml."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from moto import mock_aws

from consulta.core import aws, limits, settings
from tests import quicker

quicker.apply()
# No test asserts on time: a busy machine is not a wrong answer.
hypothesis_settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("any machine")

CORE, AGGREGATES, COUNTERS = "core", "aggregates", "counters"
AUDIT, CONNECTIONS = "audit", "connections"
TABLES = {
    CORE: "CoreTable",
    AGGREGATES: "AggregatesTable",
    COUNTERS: "CountersTable",
    AUDIT: "AuditTable",
    CONNECTIONS: "ConnectionsTable",
}
# What a test records under this name (``record_property``) is printed at the end.
TABLE = "table"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tests' tables: the processes that run tests have no terminal of their own."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, text in report.user_properties:
                if name == TABLE:
                    terminalreporter.write_line(f"\n{text}\n")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What every function has in its environment; no credentials of the machine are used."""
    values = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "CORE_TABLE": CORE,
        "AGGREGATES_TABLE": AGGREGATES,
        "AUDIT_TABLE": AUDIT,
        "CONNECTIONS_TABLE": CONNECTIONS,
        "STAGE": "test",
        "POWERTOOLS_SERVICE_NAME": "consulta",
        "POWERTOOLS_METRICS_NAMESPACE": "Consulta",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    forget()
    yield monkeypatch
    forget()


def forget() -> None:
    """Clients and settings of the test before must not reach the next."""
    aws.reset()
    settings.reset()
    limits.reset()


@pytest.fixture
def tables(environment: pytest.MonkeyPatch) -> Iterator[Any]:
    """The tables on moto, as template.yaml describes them; gives the DynamoDB client.

    Requests are counted only where a test asks for it (``counting``): most make more of them in a
    minute than a caller may.
    """
    with mock_aws():
        forget()
        client = aws.client("dynamodb")
        quicker.create_tables(client, "us-east-1", TABLES)
        yield client
        forget()


@pytest.fixture
def counting(tables: Any, environment: pytest.MonkeyPatch) -> Any:
    """The tables, with the limiter on; gives the DynamoDB client."""
    environment.setenv("COUNTERS_TABLE", COUNTERS)
    settings.reset()
    return tables
