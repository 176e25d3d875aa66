"""Free slots, lists and bookings: calls, read units and own work at 1,000 and 100,000 appointments.

Our own work is the time of a use case less that of its calls to DynamoDB. Bookings a second are
for looking at: how many the engine takes says more of it than of us, so their ratio counts.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from benchmarks import engine, practice
from benchmarks.entry import Entry
from benchmarks.practice import Practice
from consulta.core.errors import Problem
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.scheduling import booking, listing, offers
from consulta.scheduling.records import Status
from consulta.scheduling.schema.booking import BookingRequest
from consulta.scheduling.schema.searching import AppointmentFilter

SMALL, LARGE = 1_000, 100_000
MANY_EXPERTS = 1_000
DAYS = timedelta(days=30)
ROUNDS, CLIENTS, BOOKINGS = 40, 8, 240
OWN_WORK_BAR_MS, GROWTH_BAR, TIME_GROWTH_BAR = 20.0, 1.05, 1.15
SLOT_CALLS_BAR, BOOKING_CALLS_BAR, PAGE_UNITS_BAR = 2, 3, 150


def run() -> Iterable[Entry]:
    """scheduling.*: slots, lists and bookings."""
    with engine.loading() as export:
        made = {size: practice.write(export, size) for size in (SMALL, LARGE)}
        crowd = practice.write(export, 0, experts=MANY_EXPERTS)
        with engine.client_of(export) as client:
            capacity, clock = engine.Capacity(client), engine.Clock(client)
            yield from _slots(made, capacity, clock)
            yield from _lists(made, capacity)
            yield from _booking(made[SMALL], capacity)
            yield from _rates(made[LARGE], crowd)


def _slots(
    made: dict[int, Practice], capacity: engine.Capacity, clock: engine.Clock
) -> Iterator[Entry]:
    """Thirty days of one expert."""
    low = now() + timedelta(days=1)

    def ask(size: int) -> None:
        one = made[size]
        found = offers.free_slots(
            one.caller(), one.services[0], one.experts[0], low, low + DAYS, None
        )
        assert found.slots

    units, calls = _counted(ask, capacity)
    yield Entry.at_most("scheduling.slots_calls", calls[LARGE], "calls", SLOT_CALLS_BAR)
    yield Entry.at_most("scheduling.slots_units_100000", units[LARGE], "read units")
    yield Entry.at_most(
        "scheduling.slots_units_growth", units[LARGE] / units[SMALL], "× 1k's at 100k", GROWTH_BAR
    )
    took, own = _timed(ask, clock)
    yield Entry.at_most(
        "scheduling.slots_own_work_ms", 1_000 * own[LARGE], "ms of own work", OWN_WORK_BAR_MS
    )
    yield Entry.at_most(
        "scheduling.slots_time_growth", took[LARGE] / took[SMALL], "× 1k's at 100k", TIME_GROWTH_BAR
    )


def _lists(made: dict[int, Practice], capacity: engine.Capacity) -> Iterator[Entry]:
    """A page of 50 by expert, and one whose filter lets nothing through."""
    for name, status in (("list", None), ("filtered_list", Status.NO_SHOW)):
        wanted = AppointmentFilter(status=status, sort="-start")

        def ask(size: int, wanted: AppointmentFilter = wanted) -> None:
            listing.page(made[size].caller(), wanted, 50, None)

        units, _ = _counted(ask, capacity)
        yield Entry.at_most(
            f"scheduling.{name}_units_100000", units[LARGE], "read units", PAGE_UNITS_BAR
        )
        yield Entry.at_most(
            f"scheduling.{name}_units_growth",
            units[LARGE] / units[SMALL],
            "× 1k's at 100k",
            GROWTH_BAR,
        )


def _booking(one: Practice, capacity: engine.Capacity) -> Iterator[Entry]:
    """The calls of one booking."""
    start = _starts(one, one.experts[0], 1)[0]
    capacity.reset()
    _book(one, 0, start, one.patients[0])
    yield Entry.at_most(
        "scheduling.booking_calls", capacity.calls, "calls: 2 reads, 1 write", BOOKING_CALLS_BAR
    )


def _rates(one: Practice, crowd: Practice) -> Iterator[Entry]:
    """Bookings a second by eight clients, of one expert and of a thousand."""
    contended = [(one, 0, start) for start in _starts(one, one.experts[0], BOOKINGS)]
    # Each at a time of its own: the patients are fewer than the bookings.
    uncontended = [
        (crowd, n * MANY_EXPERTS // BOOKINGS, start)
        for n, start in enumerate(_starts(crowd, crowd.experts[0], BOOKINGS))
    ]
    rates = {}
    for name, wanted in (("contended", contended), ("uncontended", uncontended)):
        random.Random(1).shuffle(wanted)  # the same order in every run
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            booked = list(pool.map(lambda one: _tried(*one), wanted))
        rates[name] = sum(booked) / (time.perf_counter() - began)
        assert all(booked), f"{booked.count(False)} free times could not be booked"
        yield Entry.at_most(f"scheduling.bookings_{name}", rates[name], "bookings/s")
    yield Entry.at_most(
        "scheduling.bookings_contention",
        rates["uncontended"] / rates["contended"],
        "× one expert's rate with 1,000",
    )


def _starts(one: Practice, expert: str, count: int) -> list[datetime]:
    low = now() + timedelta(days=1)
    service = one.services[one.experts.index(expert) // practice.EXPERTS_OF_A_SERVICE]
    found = offers.free_slots(
        one.caller(Role.ADMIN), service, expert, low, low + timedelta(days=62), None
    )
    # Two half hours apart: one does not take the next one's time.
    return [slot.start for slot in found.slots][::3][:count]


def _tried(one: Practice, expert: int, start: datetime) -> bool:
    try:
        _book(one, expert, start, random.choice(one.patients))
    except Problem:
        # The patient may have something else then: another one has not.
        try:
            _book(one, expert, start, one.patients[-1])
        except Problem:
            return False
    return True


def _book(one: Practice, expert: int, start: datetime, patient: str) -> None:
    service = one.services[expert // practice.EXPERTS_OF_A_SERVICE]
    request = BookingRequest(
        service_id=service,
        expert_id=one.experts[expert],
        patient_id=patient,
        start=start,
        confirm=True,
    )
    booking.book(one.caller(Role.ADMIN), request, None)


def _counted(
    ask: Callable[[int], None], capacity: engine.Capacity
) -> tuple[dict[int, float], dict[int, int]]:
    """Read units and calls at each size."""
    units, calls = {}, {}
    for size in (SMALL, LARGE):
        capacity.reset()
        ask(size)
        units[size], calls[size] = capacity.units, capacity.calls
    return units, calls


def _timed(
    ask: Callable[[int], None], clock: engine.Clock
) -> tuple[dict[int, float], dict[int, float]]:
    """Seconds in all, and of our own, at each size: medians, taken in turns."""
    took: dict[int, list[float]] = {SMALL: [], LARGE: []}
    own: dict[int, list[float]] = {SMALL: [], LARGE: []}
    for number in range(ROUNDS + 5):
        for size in (SMALL, LARGE):
            clock.seconds = 0.0
            began = time.perf_counter()
            ask(size)
            seconds = time.perf_counter() - began
            if number >= 5:  # the first warm connections and caches
                took[size].append(seconds)
                own[size].append(seconds - clock.seconds)
    return (
        {size: statistics.median(times) for size, times in took.items()},
        {size: statistics.median(times) for size, times in own.items()},
    )
