"""All that an expert offers, against an oracle: an hour's arithmetic, five minutes at a time.

The oracle knows what the clocks of two zones show at each step of nine days, and lists of booked
times. It shares no code with what it judges.
"""

from datetime import date, datetime, timedelta
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consulta.core.keys import Tenant
from consulta.people.records import ExpertItem
from consulta.scheduling.closures import Closed
from consulta.scheduling.occupancy import Rooms
from consulta.scheduling.offers import Offer, Taken
from consulta.scheduling.records import ServiceItem
from consulta.scheduling.slots import Busy, Hours, Limits, Off
from tests.unit.scheduling.test_slots import DAYS, STEP, Clocks, steps, wall_of, weeks

DAY = 86_400
PRACTICES = ("Europe/Lisbon", "America/Santiago", "Pacific/Auckland", "Asia/Kolkata")
SERVICE = "svc_01JC0DEM00000000000000000S"
EXPERT = "exp_01JC0DEM00000000000000000E"
# Seats of one group appointment: of one service by one expert.
GROUP = f"{SERVICE}/{EXPERT}"
clocks_of = cache(Clocks)
# Day and night, and office hours.
WEEKS = ({n: [(0, 1440)] for n in range(7)}, {n: [(480, 780), (840, 1200)] for n in range(7)})


def offer_of(
    hours: Hours, closed: Closed, limits: Limits | None, duration: int, seats: int
) -> Offer:
    tenant = Tenant("prac_1")
    service = ServiceItem(pk=tenant.item("SERVICE", SERVICE).pk, duration_s=duration, seats=seats)
    expert = ExpertItem(pk=tenant.item("EXPERT", EXPERT).pk)
    return Offer(tenant, service, expert, hours, closed, limits)


@st.composite
def dates_off(draw: st.DrawFn, around: date, most: int) -> tuple[Off, ...]:
    return tuple(
        Off(around + timedelta(days=first), around + timedelta(days=first + length))
        for first, length in draw(
            st.lists(st.tuples(st.integers(-2, 3), st.integers(0, 1)), max_size=most)
        )
    )


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    zone, day = draw(st.sampled_from(DAYS))
    clocks = clocks_of(zone, day)
    low = clocks.instants[0] + 3 * DAY + draw(steps(0, 200))
    duration, before, after = draw(steps(1, 18)), draw(steps(0, 6)), draw(steps(0, 6))
    holiday = day + timedelta(days=draw(st.integers(-2, 4)))
    days = {holiday.isoformat(): "Holiday"} if draw(st.booleans()) else {}
    hours = Hours(
        zone=zone,
        weekly=draw(st.sampled_from(WEEKS) | weeks()),
        interval_s=draw(steps(3, 18)),
        buffer_before_s=before,
        buffer_after_s=after,
        min_notice_s=draw(st.just(0) | steps(0, 100)),
        horizon_days=draw(st.just(9) | st.integers(0, 4)),
        overrides={
            day + timedelta(days=n): [(start * 15, end * 15)] if start < end else []
            for n, (start, end) in draw(
                st.dictionaries(
                    st.integers(-1, 3),
                    st.tuples(st.integers(0, 96), st.integers(0, 96)),
                    max_size=3,
                )
            ).items()
        },
        vacations=draw(dates_off(day, 1)),
        closed_zone=(practice := draw(st.sampled_from(PRACTICES))),
    )
    closed = Closed(
        practice,
        draw(dates_off(day, 1)),
        country="PT",
        opened=frozenset(days if draw(st.booleans()) else ()),
        days=days,
        kept_until=day.year + 1,
    )
    per_day, per_week = (draw(st.none() | st.integers(1, 4)) for _ in range(2))
    seats = draw(st.integers(1, 3))
    limits = Limits(zone, per_day, per_week) if per_day or per_week else None
    offer = offer_of(hours, closed, limits, duration, seats)
    high, now = low + draw(st.just(2 * DAY) | steps(1, 600)), low - draw(steps(0, 100))
    # Bookings lie where starts are, or anywhere; the seats of a group on each other.
    own = GROUP if seats > 1 else ""
    at = steps(0, 600).map(lambda n: low + n)
    if starts := offer.offered(low, high, now):
        at |= st.sampled_from(starts)
    ours = [
        Busy(start, start + length, before, after, group)
        for start, length, before, after, group in draw(
            st.lists(
                st.tuples(
                    at,
                    st.just(duration) | steps(1, 40),
                    steps(0, 9),
                    steps(0, 9),
                    st.sampled_from(["", own, own, "svc_other"]),
                ),
                max_size=6,
            )
        )
    ]
    elsewhere = [
        Busy(start, start + length)
        for start, length in draw(st.lists(st.tuples(at, steps(1, 40)), max_size=2))
    ]
    rooms = {
        room: [Busy(start, start + length) for start, length in times]
        for room, times in draw(
            st.dictionaries(
                st.sampled_from("abc"),
                st.lists(st.tuples(at, steps(1, 90)), max_size=3),
                min_size=1,
            )
        ).items()
    }
    groups = draw(
        st.lists(
            st.lists(st.sampled_from(sorted(rooms)), unique=True, min_size=1).map(tuple),
            max_size=2,
        )
    )
    return {
        "offer": offer,
        "clocks": clocks,
        "practice": clocks_of(practice, day),
        "range": (low, high, now),
        "taken": Taken(ours, elsewhere, Rooms(tuple(groups), rooms)),
    }


def is_off(every: tuple[Off, ...], day: date) -> bool:
    return any(one.first <= day <= one.last for one in every)


def oracle(world: dict[str, Any]) -> list[int]:
    offer, clocks, taken = world["offer"], world["clocks"], world["taken"]
    hours, closed, limits = offer.hours, offer.closed, offer.limits
    low, high, now = world["range"]
    holidays = {date.fromisoformat(day) for day in closed.days if day not in closed.opened}
    open_at, grid = set(), set()
    for day in sorted({wall.date() for wall in clocks.walls})[1:-2]:
        ranges = hours.overrides[day] if day in hours.overrides else hours.weekly[day.weekday()]
        for start, end in ranges:
            midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001  # a wall time
            opens = clocks.instant(midnight + timedelta(minutes=start), last=False)
            closes = clocks.instant(midnight + timedelta(minutes=end), last=True)
            open_at.update(range(opens, closes, STEP))
            grid.update(range(opens, closes, hours.interval_s))
    for instant, own, theirs in zip(
        clocks.instants, clocks.walls, world["practice"].walls, strict=True
    ):
        shut = is_off(closed.closures, theirs.date()) or theirs.date() in holidays
        if shut or is_off(hours.vacations, own.date()):
            open_at.discard(instant)
    last_day = wall_of(now, clocks.zone).date() + timedelta(days=hours.horizon_days)
    return [
        start
        for start in sorted(grid)
        if max(low, now + hours.min_notice_s) <= start < high
        and wall_of(start, clocks.zone).date() <= last_day
        and all(step in open_at for step in range(start, start + offer.duration_s, STEP))
        and expert_takes(offer, taken, start)
        and (limits is None or within(limits, clocks, offer, taken, start))
        and has_rooms(offer, taken.rooms, start)
    ]


def expert_takes(offer: Offer, taken: Taken, start: int) -> bool:
    end, seats = start + offer.duration_s, 0
    for other in [*taken.ours, *taken.elsewhere]:
        if offer.seats > 1 and (other.group, other.start, other.end) == (GROUP, start, end):
            seats += 1
            continue
        between_after = max(other.after, offer.hours.buffer_before_s)
        between_before = max(other.before, offer.hours.buffer_after_s)
        if start < other.end + between_after and other.start < end + between_before:
            return False
    return seats < offer.seats


def within(limits: Limits, clocks: Clocks, offer: Offer, taken: Taken, start: int) -> bool:
    end = start + offer.duration_s
    if offer.seats > 1 and any(
        (other.group, other.start, other.end) == (GROUP, start, end) for other in taken.ours
    ):
        return True
    alone = [other.start for other in taken.ours if not other.group]
    together = {(other.group, other.start) for other in taken.ours if other.group}
    days = [wall_of(one, clocks.zone).date() for one in [*alone, *(at for _, at in together)]]
    day = wall_of(start, clocks.zone).date()
    in_week = [one for one in days if one.isocalendar()[:2] == day.isocalendar()[:2]]
    return not (
        (limits.per_day is not None and days.count(day) >= limits.per_day)
        or (limits.per_week is not None and len(in_week) >= limits.per_week)
    )


def has_rooms(offer: Offer, rooms: Rooms, start: int) -> bool:
    end = start + offer.duration_s
    free = [
        [one for one in group if all(b.end <= start or end <= b.start for b in rooms.busy[one])]
        for group in rooms.groups
    ]
    return any(len(set(chosen)) == len(chosen) for chosen in product(*free))


@settings(max_examples=300)
@given(worlds())
def test_free_starts_are_those_of_the_oracle(world: dict[str, Any]) -> None:
    offer, (low, high, now) = world["offer"], world["range"]
    starts = offer.offered(low, high, now)
    found = offer.free_of(starts, world["taken"])
    assert found == oracle(world)
    assert all(offer.is_open(start, start + offer.duration_s) for start in starts)
    # One by one it is the same, as booking asks.
    for start in starts[:10]:
        assert offer.offered(start, start + 1, now) == [start]
        assert (offer.free_of([start], world["taken"]) == [start]) is (start in found)
        # and as the claim of one booking has it.
        busy, taken = offer.at(start), world["taken"]
        fits = busy.fits(taken.ours, offer.seats) and busy.fits(taken.elsewhere)
        allowed = not offer.limits or offer.limits.allow(busy, taken.ours)
        roomless = Taken(taken.ours, taken.elsewhere, Rooms())
        assert (offer.free_of([start], roomless) == [start]) is (fits and allowed)


def test_two_groups_need_a_room_each() -> None:
    hours = Hours("UTC", {}, interval_s=3600)
    offer = offer_of(hours, Closed(), None, 3600, 1)
    taken = {"a": [], "b": [Busy(0, 3600)]}
    for groups, expected in (
        ((("a", "b"), ("a", "b")), [3600]),
        ((("a",), ("b",)), [3600]),
        ((("a", "b"),), [0, 3600]),
        (((),), []),
    ):
        found = offer.free_of([0, 3600], Taken([], [], Rooms(groups, taken)))
        assert found == expected, groups


def test_buffers_are_the_experts_and_no_rooms() -> None:
    hours = Hours("UTC", {}, interval_s=1800, buffer_before_s=1800, buffer_after_s=1800)
    offer = offer_of(hours, Closed(), None, 3600, 1)
    taken = Taken([], [], Rooms((("a",),), {"a": [Busy(7200, 10_800)]}))
    assert offer.free_of([3600, 5400, 9000, 10_800], taken) == [3600, 10_800]


def test_a_seat_goes_where_its_group_is_whatever_it_was_booked_with() -> None:
    hours = Hours("UTC", {}, interval_s=1800, buffer_before_s=1800, buffer_after_s=1800)
    offer = offer_of(hours, Closed(), Limits("UTC", 1), 3600, 3)
    group = [Busy(7200, 10_800, 0, 600, GROUP), Busy(7200, 10_800, 900, 0, GROUP)]
    room = {"a": [Busy(7200, 10_800, group=GROUP)] * 2}
    taken = Taken(group, [], Rooms((("a",),), room))
    assert offer.free_of([1800, 3600, 7200, 86_400], taken) == [7200, 86_400]
    # Its two seats are one appointment of two.
    two = offer_of(hours, Closed(), Limits("UTC", 2), 3600, 3)
    assert two.free_of([1800, 3600, 7200, 86_400], taken) == [1800, 7200, 86_400]
    # Somebody else in between, who ends before the group does or after it.
    for other in (Busy(5400, 9000), Busy(9000, 14_400)):
        for elsewhere in (False, True):
            mixed = Taken([*group, *([] if elsewhere else [other])], [other] * elsewhere, Rooms())
            assert offer.free_of([7200], mixed) == []
    full = Taken([*group, group[0]], [], Rooms())
    assert offer.free_of([7200], full) == []
    # The same service at that time, but of another length: no seat of it.
    longer = Taken([Busy(7200, 12_600, 0, 0, GROUP)], [], Rooms())
    assert offer.free_of([7200], longer) == []


PORTUGUESE = ["Corpus Christi", "Day of Portugal, Camões, and the Portuguese Communities"]


@pytest.mark.parametrize(("until", "expected"), [(2029, ["Kept"]), (2025, PORTUGUESE)])
def test_later_years_than_those_kept_are_worked_out(until: int, expected: list[str]) -> None:
    closed = Closed("UTC", (), "PT", None, frozenset(), {"2026-06-10": "Kept"}, until)
    found = closed.between(date(2026, 6, 1), date(2026, 6, 12))
    assert [one.said for one in found] == expected


def test_a_year_that_is_kept_or_gone_needs_no_library() -> None:
    closed = Closed("UTC", (), "XX", None, frozenset(), {}, 2029)
    assert closed.between(date(2020, 1, 1), date(2029, 12, 31)) == []
    with pytest.raises(LookupError):
        closed.between(date(2029, 12, 31), date(2030, 1, 1))
