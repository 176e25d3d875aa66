"""A warm dashboard's function over the DynamoDB calls that it must make, made bare.

The function is called as the gateway calls it. What it asks the table is written down and asked
again without it: first who it is about, then all reads at once in as many threads, then the names.
The limit that each request counts against is measured by itself (benchmarks/limits.py).
"""

import importlib.util
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import gateway
from benchmarks.entry import Entry
from benchmarks.practice import Practice
from consulta.core import settings
from consulta.core.identity import Membership
from consulta.core.permissions import Role
from consulta.dashboards.dashboard import READERS

APP = Path(__file__).resolve().parents[1] / "functions" / "dashboard" / "app.py"
BAR = 1.5
ROUNDS, WARM_UP = 60, 5

Call = tuple[str, dict[str, Any]]


def run(client: Any, one: Practice, kinds: dict[str, Role]) -> Iterator[Entry]:
    """dashboards.<kind>_warm: the function's time over that of its calls."""
    counters = os.environ.pop("COUNTERS_TABLE")
    settings.reset()
    try:
        yield from _ratios(client, one, kinds)
    finally:
        os.environ["COUNTERS_TABLE"] = counters
        settings.reset()


def _ratios(client: Any, one: Practice, kinds: dict[str, Role]) -> Iterator[Entry]:
    handler, asked = _handler(), _Asked(client)
    for kind, role in kinds.items():
        caller = one.caller(role)
        member = Membership(one.id, role, caller.member, caller.subject)
        event = gateway.get("/v1/dashboard", caller.person, member)
        calls = asked.by(lambda event=event: handler(event, gateway.CONTEXT))
        ours, bare = [], []
        for number in range(WARM_UP + ROUNDS):
            began = time.perf_counter()
            answer = handler(event, gateway.CONTEXT)
            middle = time.perf_counter()
            asked.again(calls)
            end = time.perf_counter()
            assert answer["statusCode"] == 200, answer
            if number >= WARM_UP:
                ours.append(middle - began)
                bare.append(end - middle)
        ratio = statistics.median(ours) / statistics.median(bare)
        yield Entry.at_most(f"dashboards.{kind}_warm", ratio, "× its calls alone", BAR)


def _handler() -> Any:
    spec = importlib.util.spec_from_file_location("dashboard_function", APP)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.lambda_handler


class _Asked:
    """What a client is asked for."""

    def __init__(self, client: Any) -> None:
        self._client, self._ask = client, client._make_api_call

    def by(self, work: Any) -> list[Call]:
        """All that ``work`` asks, in the order in which it began to."""
        calls: list[Call] = []

        def note(operation: str, request: dict[str, Any]) -> Any:
            calls.append((operation, request))
            return self._ask(operation, request)

        self._client._make_api_call = note
        try:
            work()
        finally:
            self._client._make_api_call = self._ask
        return calls

    def again(self, calls: list[Call]) -> None:
        """The same, in the same three round trips."""
        first, *together, last = calls
        self._ask(*first)
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(lambda call: self._ask(*call), together))
        self._ask(*last)
