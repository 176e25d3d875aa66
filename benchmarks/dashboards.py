"""Dashboards at a thousand, a hundred thousand and a million appointments, and beside PostgreSQL.

All practices have the same days ahead and the same last fourteen months; only what was before
differs (benchmarks/history.py). ``SIZES=1000,10000`` measures other sizes. Times are medians of
calls taken in turns, and count only as ratios of one run. What the stream makes of changes is
measured on the same engine, after that (benchmarks/stream.py).
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from statistics import median

from benchmarks import contention, engine, imports, postgres, practice, stream, warm
from benchmarks.entry import Entry
from benchmarks.practice import Practice
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.dashboards import dashboard

SIZES = "1000,100000,1000000"
KINDS = {"patient": Role.PATIENT, "expert": Role.EXPERT, "practice": Role.OWNER}
# What comes by itself, and all that there is.
EXTENTS = {"": None, "all_": "all"}
CALLS, MORE_CALLS, COLD_ROUNDS = 60, 4, 16
UNITS_BAR, GROWTH_BAR = 10, 1.05
# Our requests against PostgreSQL's statements (docs/decisions/0021-measured-against-postgresql.md):
# ahead from here on, and so far ahead at the end.
AHEAD_FROM, FAR_FROM, AHEAD_BAR, FAR_BAR = 100_000, 1_000_000, 1, 30


def sizes() -> list[int]:
    """How many appointments the practices have, the smallest first."""
    return sorted({int(size) for size in os.environ.get("SIZES", SIZES).split(",")})


def run() -> Iterable[Entry]:
    """dashboards.*: cold start, growth, PostgreSQL, the stream, a backfill."""
    cold = imports.ratios(["dashboard"], COLD_ROUNDS)["dashboard"]
    yield Entry.at_most("dashboards.cold", cold, "× the floor", imports.bar_of("dashboard"))
    began = time.perf_counter()
    with engine.loading() as export:
        made = [practice.write(export, size) for size in sizes()]
        # The stream's changes are to practices without a past.
        fresh = [practice.write(export, 0) for _ in range(contention.READERS)]
        with engine.client_of(export, on_disk=True) as client:
            yield Entry.at_most("dashboards.loading", time.perf_counter() - began, "s to load")
            capacity = engine.Capacity(client)
            for kind, role in KINDS.items():
                callers = {one.size: one.caller(role) for one in made}
                for extent, names in EXTENTS.items():
                    yield from _growth(f"{kind}_{extent}", callers, names, capacity)
            yield from warm.run(client, made[-1], KINDS)
            yield from _against_postgres(made)
            yield from stream.run(client, fresh, made[-1])


def _growth(
    name: str, callers: dict[int, Principal], names: str | None, capacity: engine.Capacity
) -> Iterator[Entry]:
    wanted = dashboard.asked_for(names)
    units, calls = {}, {}
    for size, caller in callers.items():
        dashboard.build(caller, wanted)  # the first opens connections
        capacity.reset()
        found = dashboard.build(caller, wanted)
        assert all(section["complete"] for _, section in dashboard.shown(found))
        _check_total(found, size)
        units[size], calls[size] = capacity.units, capacity.calls
    low, high = min(callers), max(callers)
    bar = None if names else UNITS_BAR
    yield Entry.at_most(f"dashboards.{name}units", max(units.values()), "read units", bar)
    yield Entry.at_most(f"dashboards.{name}calls", max(calls.values()), "calls, 3 round trips")
    growth = units[high] / units[low]
    unit = f"× {low}'s at {high}"
    yield Entry.at_most(f"dashboards.{name}units_growth", growth, f"{unit}, units", GROWTH_BAR)
    growth = _time_growth(
        {size: _asking(caller, wanted) for size, caller in callers.items() if size in (low, high)}
    )
    yield Entry.at_most(f"dashboards.{name}time_growth", growth, f"{unit}, time", GROWTH_BAR)


def _check_total(found: object, size: int) -> None:
    """That it is the practice of this size: an expert's whole is all of it."""
    stats = getattr(getattr(found, "sections", None), "stats", None)
    total = getattr(getattr(stats, "data", None), "appointments_total", size)
    assert total == size, f"{total} of {size} appointments are counted"


def _asking(caller: Principal, wanted: frozenset[str] | None) -> Callable[[], object]:
    return lambda: dashboard.build(caller, wanted)


def _time_growth(asks: dict[int, Callable[[], object]]) -> float:
    """The middle call of the largest over that of the smallest.

    More calls where that is over the bar: all of them count, so that a neighbour's noise evens out
    and what is really slower stays so.
    """
    took: dict[int, list[float]] = {size: [] for size in asks}
    growth = 0.0
    for _ in range(1 + MORE_CALLS):
        for number in range(CALLS):
            # Who comes first changes: what the first call leaves behind, the second has.
            turn = list(asks.items()) if number % 2 else list(reversed(asks.items()))
            for size, ask in turn:
                began = time.perf_counter()
                ask()
                took[size].append(time.perf_counter() - began)
        growth = median(took[max(took)]) / median(took[min(took)])
        if growth <= GROWTH_BAR:
            break
    return growth


def _against_postgres(made: list[Practice]) -> Iterator[Entry]:
    """Ours and theirs in turns: the panel, and the whole dashboard."""
    with postgres.running() as connect:
        measured = {one.size: postgres.Measured(one, connect()) for one in made}
        for _ in range(CALLS):
            for one in measured.values():
                one.round()
    for size, one in measured.items():
        bar = FAR_BAR if size >= FAR_FROM else AHEAD_BAR if size >= AHEAD_FROM else None
        panel, whole = one.panel, one.whole
        slowest = f"{panel.theirs * 1e3:.1f} ms, {panel.slowest} most"
        for name, found, at_least, unit in (
            ("panel", panel, None, f"PostgreSQL's 11 queries ({slowest})"),
            ("whole", whole, bar, f"PostgreSQL's {whole.queries} queries"),
        ):
            key, ratio = f"dashboards.postgres_{name}", found.theirs / found.ours
            yield Entry.at_least(f"{key}_{size}", ratio, f"× ours, {unit}")
            ratio, alone = found.theirs / found.bare, f"× our requests alone, {unit}"
            yield Entry.at_least(f"{key}_bare_{size}", ratio, alone, at_least)
        yield Entry.at_most(f"dashboards.panel_ms_{size}", panel.ours * 1e3, "ms, ours")
        yield Entry.at_most(f"dashboards.whole_ms_{size}", whole.ours * 1e3, "ms, ours")
