"""What counting a request costs: its calls, and its time over that of the bare write.

The same request to the same trivial route, with the limiter and without it, taken in turns; the
difference is the limiter's. Each round has a caller of its own, so that no minute is ever full.
"""

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from benchmarks import engine, gateway
from benchmarks.entry import Entry
from consulta.core import aws, limits, settings
from consulta.core.http import Api, ApiModel, needs
from consulta.core.identity import Membership
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import now

PRACTICE, MEMBER = "prac_01JC0NS0TADEM0000000000000", "mem_01JC0NS0TADEM0000000000000"
ROUNDS, WARM_UP = 300, 20
WRITES_BAR, READS_BAR, TIME_BAR = 1, 0, 1.5

Call = Callable[[int], object]


class Nothing(ApiModel):
    """The answer."""

    id: str


def run() -> Iterable[Entry]:
    """identity.limiter_*: writes and reads of a request, and the time over that of its write."""
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "POWERTOOLS_SERVICE_NAME": "consulta",
        "POWERTOOLS_METRICS_NAMESPACE": "Consulta",
    }
    with engine.loading() as export, engine.running(export) as endpoint:
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = endpoint
        aws.reset()
        limits.reset()
        yield from _measure()
    del os.environ["AWS_ENDPOINT_URL_DYNAMODB"]
    os.environ.pop("COUNTERS_TABLE", None)
    aws.reset()
    settings.reset()


def _measure() -> Iterator[Entry]:
    client = aws.client("dynamodb", limits.TIMEOUT_S, 0)
    calls: Counter[str] = Counter()
    client.meta.events.register(
        "before-call.dynamodb", lambda model, **_: calls.update([model.name])
    )
    handler = _api().handler

    def counting(table: str) -> None:
        os.environ["COUNTERS_TABLE"] = table
        settings.reset()

    def request(number: int) -> None:
        assert handler(_event(number), gateway.CONTEXT)["statusCode"] == 200

    def write(number: int) -> None:
        caller = limits.Caller(f"person:bare-{number}", 300, Tenant(PRACTICE), MEMBER)
        client.update_item(**limits.one_more("counters", caller, now(), "G nothing"))

    took: dict[str, list[float]] = {"with": [], "without": [], "write": []}
    turns: list[tuple[str, str, Call]] = [
        ("with", "counters", request),
        ("without", "", request),
        ("write", "counters", write),
    ]
    for number in range(WARM_UP + ROUNDS):
        for name, table, call in turns:
            counting(table)
            calls.clear()
            began = time.perf_counter()
            call(number)
            spent = time.perf_counter() - began
            if name == "with":
                writes, reads = calls.pop("UpdateItem"), calls.total()
                assert (writes, reads) == (1, 0), "a request was counted in another way"
            if number >= WARM_UP:
                took[name].append(spent)
    median = {name: statistics.median(times) for name, times in took.items()}
    yield Entry.at_most("identity.limiter_writes", writes, "writes a request", WRITES_BAR)
    yield Entry.at_most("identity.limiter_reads", reads, "reads a request", READS_BAR)
    yield Entry.at_most(
        "identity.limiter_ratio",
        (median["with"] - median["without"]) / median["write"],
        "× its bare write",
        TIME_BAR,
    )


def _api() -> Api:
    api = Api("nothing")

    @api.get("/v1/nothing")
    @needs("patients:read")
    def nothing() -> Nothing:
        return api.ok(Nothing(id="nothing"))

    return api


def _event(number: int) -> dict[str, Any]:
    member = Membership(PRACTICE, Role.EXPERT, MEMBER)
    return gateway.get("/v1/nothing", f"caller-{number}", member)
