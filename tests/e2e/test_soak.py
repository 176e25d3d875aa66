"""A small soak of the deployed system: payments amid failures, and nothing left of them."""

from typing import Any

from tests.e2e.refusals import FOLDER
from tests.soak.run import soak

COUNT, CLIENTS = 60, 3


def test_whatever_goes_wrong_all_adds_up_in_the_end(stack: dict[str, Any]) -> None:
    assert stack
    report = soak(FOLDER / "stack.json", COUNT, clients=CLIENTS)
    assert report.found == [], str(report)
    paid = sum(number for name, number in report.done.items() if name.startswith("payments"))
    assert paid == COUNT
    assert report.done["refunds"] > 0
