"""The whole system, deployed once for all end-to-end tests with IAM enforced, on its own ports."""

from collections.abc import Iterator
from typing import Any

import pytest

from local.seed import Caller, sign_in
from local.stack import running_stack
from tests.e2e.refusals import FOLDER, unexpected

PORT = 4801


@pytest.fixture(scope="session")
def stack() -> Iterator[dict[str, Any]]:
    """What stack.json holds; at the end, no call of any function may have been refused.

    A refused call need not fail a test: the code may go on without its answer.
    """
    with running_stack(FOLDER, PORT, auth=True) as description:
        yield description
        refused = unexpected()
    assert not refused, "template.yaml does not allow what a function does"


@pytest.fixture(autouse=True)
def environment() -> None:
    """Instead of the unit tests' environment: these talk to a deployed system."""


@pytest.fixture(scope="session")
def people(stack: dict[str, Any]) -> dict[str, Caller]:
    """Role → somebody signed in."""
    return {s["role"]: sign_in(stack["api_url"], s["email"]) for s in stack["signins"]}
