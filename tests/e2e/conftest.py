"""The whole system, deployed once for all end-to-end tests, on ports of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.seed import Caller, sign_in
from local.stack import running_stack

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".local" / "e2e"
PORT = 4801


@pytest.fixture(scope="session")
def stack() -> Iterator[dict[str, Any]]:
    """What stack.json holds."""
    with running_stack(FOLDER, PORT) as description:
        yield description


@pytest.fixture(autouse=True)
def environment() -> None:
    """Instead of the unit tests' environment: these talk to a deployed system."""


@pytest.fixture(scope="session")
def people(stack: dict[str, Any]) -> dict[str, Caller]:
    """Role → somebody signed in."""
    return {s["role"]: sign_in(stack["api_url"], s["email"]) for s in stack["signins"]}
