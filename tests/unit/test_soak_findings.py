"""The soak's own parts: what it asks for exists, and what it is told counts."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from typer.testing import CliRunner

from consulta_cli import app
from local.simulators.delivery import MODES
from tests.soak import findings
from tests.soak.trouble import DELIVERIES

ENDS = {"verify": "all right", "reconcile": "3 accounts, 40 transactions, 0 differences, 0 of them"}


def saying(told: dict[str, str], code: int = 0) -> Callable[..., CompletedProcess[str]]:
    """In place of the command: what it prints, by its first word."""

    def command(stack: Any, file: Path, *arguments: str) -> CompletedProcess[str]:
        text = {**ENDS, **told}.get(arguments[0], "")
        return CompletedProcess(arguments, code, text, "")

    return command


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "SETTLE_S", 0)
    monkeypatch.setattr(findings, "PAUSE_S", 0)


@pytest.mark.parametrize("command", [*findings.PROOFS, findings.REDRIVE, findings.LEFT])
def test_each_command_is_one(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, result.output


def test_where_all_is_right_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "command", saying({}))
    assert list(findings._commands({}, Path())) == []


def test_a_difference_in_flight_is_found_though_the_command_bears_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = "3 accounts, 40 transactions, 10 differences, 10 of them in flight"
    monkeypatch.setattr(findings, "command", saying({"reconcile": told}))
    assert list(findings._commands({}, Path())) == [f"consulta reconcile:\n{told}"]


def test_every_proof_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "command", saying({}, code=1))
    assert len(list(findings._commands({}, Path()))) == len(findings.PROOFS)


def test_every_way_of_delivering_is_one_that_the_simulators_know() -> None:
    assert sorted(DELIVERIES) == sorted(MODES)
