"""Records of the stream → figures: how many a second, and what a change of an appointment costs.

The stream's own reader is fed with records as DynamoDB sends them, of one practice, in batches as
large as the function's. The engine has no streams, so how far figures lag behind a change is not
measured here; our own share of it is. A backfill walks the largest practice, whose items nobody has
counted one by one, for ``BACKFILL_S`` seconds or to its end.
"""

import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import contention, engine
from benchmarks.entry import Entry
from benchmarks.lives import FLOW, Life, apply_records
from benchmarks.practice import Practice
from consulta.aggregates import walk
from consulta.aggregates.contributions import ENTITIES
from consulta.core.observe import logger
from consulta.scheduling.records import Status

BATCH, BATCHES = 100, 3
UNITS_BAR = 60
BACKFILL_S = "60"
TOLD_EVERY_S = 300
# Each change with what was before; None is nothing.
CHANGES = {
    "held": (None, Status.HELD),
    "confirmed": (Status.HELD, Status.CONFIRMED),
    "completed": (Status.CONFIRMED, Status.COMPLETED),
    "cancelled": (Status.CONFIRMED, Status.CANCELLED),
}


def run(client: Any, fresh: list[Practice], largest: Practice) -> Iterator[Entry]:
    """dashboards.stream_*, dashboards.units_of_*, dashboards.backfill_*."""
    writes, clock = engine.WriteUnits(client), engine.Clock(client)
    # A worker's log lines and metrics are not what is printed here.
    level = logger.log_level
    logger.setLevel(logging.ERROR)
    os.environ |= {"REPAIR_QUEUE_URL": "https://queue.example", "REALTIME_QUEUE_URL": ""}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            entries = [
                *_units(fresh[0], writes),
                *_rate(fresh[0], writes, clock),
                *contention.run(client, fresh),
                *_backfill(largest),
            ]
    finally:
        logger.setLevel(level)
    yield from entries


def _units(one: Practice, writes: engine.WriteUnits) -> Iterator[Entry]:
    """Of one change alone, in a transaction of its own: in a batch many share rows."""
    lives = {name: Life(one, number) for number, name in enumerate(CHANGES)}
    for name, (before, after) in CHANGES.items():
        life = lives[name]
        for status in FLOW[: FLOW.index(before) + 1] if before else ():
            apply_records([life.becomes(status)])
        writes.units = 0.0
        apply_records([life.becomes(after)])
        yield Entry.at_most(f"dashboards.units_of_{name}", writes.units, "write units", UNITS_BAR)


def _rate(one: Practice, writes: engine.WriteUnits, clock: engine.Clock) -> Iterator[Entry]:
    """Batches of one practice, by one reader."""
    lives = [Life(one, 10 + number) for number in range(BATCH * BATCHES)]
    apply_records([Life(one, 5).becomes(Status.HELD)])
    batches = [
        [life.becomes(status) for life in lives[first : first + BATCH]]
        for status in FLOW
        for first in range(0, len(lives), BATCH)
    ]
    writes.units, clock.seconds = 0.0, 0.0
    began, worked = time.perf_counter(), time.process_time()
    for batch in batches:
        apply_records(batch)
    took, worked = time.perf_counter() - began, time.process_time() - worked
    records = sum(map(len, batches))
    yield Entry.at_least("dashboards.stream_rate", records / took, "records/s of one reader")
    yield Entry.at_least(
        "dashboards.stream_rate_per_core", records / worked, "records/s of our processor time"
    )
    own = 1_000 * (took - clock.seconds) / records
    yield Entry.at_most("dashboards.stream_own_ms", own, "ms of own code a record")
    yield Entry.at_most(
        "dashboards.stream_units", writes.units / records, "write units a record, in batches"
    )


class _TimeIsUp(Exception):
    """The walk is broken off here; another would go on."""


def _backfill(one: Practice) -> Iterator[Entry]:
    """A walk by one thread, of what was never counted item by item.

    Its figures are there already, and are counted twice: nobody reads them after this. Where it
    comes to its end, the look at all rows is in the time and not in the number of items.
    """
    began = told = time.perf_counter()
    end = began + float(os.environ.get("BACKFILL_S", BACKFILL_S))
    items, all_counted = 0, False

    def watch(found: walk.Walked) -> None:
        nonlocal items, all_counted, told
        now = time.perf_counter()
        if not all_counted:
            items = found.here
        all_counted = found.ended >= len(ENTITIES)
        if now - told > TOLD_EVERY_S:  # a million takes more than an hour
            told = now
            print(f"backfill: {found.here} looked at, {now - began:.0f} s", file=sys.stderr)
        if now > end:
            raise _TimeIsUp

    with contextlib.suppress(_TimeIsUp):
        walk.walk(one.tenant, watch, fresh=True)
    took = time.perf_counter() - began
    which = "all" if all_counted else "the first"
    yield Entry.at_least(
        "dashboards.backfill_rate",
        items / took,
        f"items/s, {which} {items} of {one.size} appointments' practice",
    )
