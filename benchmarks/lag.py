"""How far figures are behind a change, on the system that `make run` has started here.

From the answer to a booking until its figures are there, by looking at the row that is written in
one transaction with them; and until the dashboard that waits for it has answered (``?after=``,
docs/realtime.md). One member first, then several at once.
"""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from typing import Any

from benchmarks.entry import Entry
from consulta.aggregates import engine
from consulta.core import aws, settings
from consulta.core.keys import Tenant
from consulta.scheduling.records import APPOINTMENT
from consulta_cli import stack
from tests.soak.clients import Client
from tests.soak.run import STACK_FILE

BOOKINGS, MEMBERS = 40, 4
LOOK_S, PATIENCE_S = 0.005, 30


def run() -> Iterable[Entry]:
    """lag.*: milliseconds of the middle change and of the slowest in twenty."""
    if not STACK_FILE.exists():
        print("lag.*: not measured, it needs the system that `make run` starts")
        return
    found = json.loads(STACK_FILE.read_text())
    stack.use("", "", "", STACK_FILE)
    aws.reset()
    settings.reset()
    members = [Client(found, number, random.Random(number)) for number in range(MEMBERS)]
    for member in members:
        member.begin()
    tenant = Tenant(members[0].ask("GET", "/v1/me")["practice"]["id"])
    ways = {"figures": lambda one: _counted(tenant, one), "dashboard": _shown(members[0])}
    for name, wait in ways.items():
        yield from _entries(name, _lags(members[:1], wait), "one member")
        yield from _entries(f"{name}_busy", _lags(members, wait), f"{MEMBERS} members at once")


def _entries(name: str, lags: list[float], who: str) -> Iterator[Entry]:
    of_twenty = quantiles(lags, n=20)
    for percentile, seconds in (("p50", of_twenty[9]), ("p95", of_twenty[18])):
        unit = f"ms behind the answer, {who}"
        yield Entry.at_most(f"lag.{name}_{percentile}", seconds * 1_000, unit)


Booked = dict[str, Any]


def _lags(members: list[Client], wait: Callable[[Booked], None]) -> list[float]:
    def book(member: Client) -> list[float]:
        lags = []
        for _ in range(BOOKINGS):
            booked, began = member.book(), time.perf_counter()
            wait(booked)
            lags.append(time.perf_counter() - began)
        return lags

    with ThreadPoolExecutor(len(members)) as pool:
        return [lag for lags in pool.map(book, members) for lag in lags]


def _counted(tenant: Tenant, booked: Booked) -> None:
    pk, end = tenant.item(APPOINTMENT, booked["id"]).pk, time.monotonic() + PATIENCE_S
    while engine.read_remembered(tenant, [pk])[pk].ord < 2 * booked["version"]:
        if time.monotonic() > end:
            raise SystemExit("A change is not in the figures after half a minute")
        time.sleep(LOOK_S)


def _shown(member: Client) -> Callable[[Booked], None]:
    def ask(booked: Booked) -> None:
        change = {"sections": "today", "after": f"{booked['id']}:{booked['version']}"}
        while not member.ask("GET", "/v1/dashboard", params=change)["includes_change"]:
            pass

    return ask
