"""The expert's dashboard at 1,000 and at 100,000 appointments: time and read units.

Both practices have the same days ahead; only history differs. Time is the middle of many calls,
taken in turns, and counts only as the ratio of the two.
"""

import statistics
import time
from collections.abc import Iterable, Iterator

from benchmarks import engine, practice
from benchmarks.entry import Entry
from consulta.core.identity import Principal
from consulta.dashboards import dashboard

SMALL, LARGE = 1_000, 100_000
CALLS = 60
UNITS_BAR, ROUND_TRIPS_BAR, GROWTH_BAR = 10, 3, 1.05


def run() -> Iterable[Entry]:
    """dashboard.*: units, calls, and growth from 1k to 100k."""
    with engine.loading() as export:
        callers = {size: practice.write(export, size).caller() for size in (SMALL, LARGE)}
        with engine.client_of(export) as client:
            yield from _measure(callers, engine.Capacity(client))


def _measure(callers: dict[int, Principal], capacity: engine.Capacity) -> Iterator[Entry]:
    wanted = dashboard.asked_for(None)
    units, calls = {}, {}
    for size, caller in callers.items():
        capacity.reset()
        found = dashboard.build(caller, wanted)
        assert found.sections.stats.data.appointments_total == size
        units[size], calls[size] = capacity.units, capacity.calls
        yield Entry.at_most(f"dashboard.units_{size}", units[size], "read units", UNITS_BAR)
    took: dict[int, list[float]] = {size: [] for size in callers}
    for _ in range(CALLS):
        for size, caller in callers.items():
            began = time.perf_counter()
            dashboard.build(caller, wanted)
            took[size].append(time.perf_counter() - began)
    median = {size: statistics.median(times) for size, times in took.items()}
    yield Entry.at_most(
        "dashboard.units_growth", units[LARGE] / units[SMALL], "× 1k's units at 100k", GROWTH_BAR
    )
    yield Entry.at_most(
        "dashboard.time_growth", median[LARGE] / median[SMALL], "× 1k's time at 100k", GROWTH_BAR
    )
    yield Entry.at_most("dashboard.calls", calls[LARGE], "DynamoDB calls, in 3 round trips")
