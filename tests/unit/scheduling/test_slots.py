"""Free starts against an oracle that knows nothing but clocks, a grid and a list of intervals."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consulta.scheduling.slots import Busy, Hours, free, is_open, nearest, offered, opening

STEP = 300
# Days on which clocks change, and some on which they do not. Santiago's change is at midnight,
# Lord Howe's is half an hour, the Azores' takes midnight twice.
DAYS = (
    ("Europe/Lisbon", date(2026, 3, 29)),
    ("Europe/Lisbon", date(2026, 10, 25)),
    ("America/Santiago", date(2026, 4, 5)),
    ("America/Santiago", date(2026, 9, 6)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Atlantic/Azores", date(2026, 10, 25)),
    ("Asia/Kolkata", date(2026, 6, 15)),
    ("America/Sao_Paulo", date(2026, 6, 15)),
)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def wall_of(instant: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(instant, UTC).astimezone(zone).replace(tzinfo=None)


class Clocks:
    """What the clocks of a zone show at each step of a week, and the reverse."""

    def __init__(self, zone: str, around: date) -> None:
        middle = int(datetime(around.year, around.month, around.day, tzinfo=UTC).timestamp())
        self.zone = ZoneInfo(zone)
        self.instants = range(middle - 4 * 86_400, middle + 5 * 86_400, STEP)
        self.walls = [wall_of(instant, self.zone) for instant in self.instants]

    def instant(self, wall: datetime, *, last: bool) -> int:
        """The first or last instant at which the clocks show ``wall``; skipped, it is later."""
        pairs = list(zip(self.instants, self.walls, strict=True))
        shown = [instant for instant, found in pairs if found == wall]
        if shown:
            return shown[-1] if last else shown[0]
        before, found = max((pair for pair in pairs if pair[1] < wall), key=lambda pair: pair[0])
        return before + int((wall - found).total_seconds())


def oracle(
    clocks: Clocks, hours: Hours, duration: int, low: int, high: int, now: int, busy: list[Busy]
) -> list[int]:
    open_at: set[int] = set()
    grid: set[int] = set()
    for day in sorted({wall.date() for wall in clocks.walls})[1:-2]:
        for start, end in hours.weekly.get(day.weekday(), ()):
            midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001  # a wall time
            opens = clocks.instant(midnight + timedelta(minutes=start), last=False)
            closes = clocks.instant(midnight + timedelta(minutes=end), last=True)
            open_at.update(range(opens, closes, STEP))
            grid.update(range(opens, closes, hours.interval_s))
    last_day = wall_of(now, clocks.zone).date() + timedelta(days=hours.horizon_days)
    found = []
    for start in sorted(grid):
        end = start + duration
        fits = all(step in open_at for step in range(start, end, STEP))
        in_time = max(low, now + hours.min_notice_s) <= start < high
        near = wall_of(start, clocks.zone).date() <= last_day
        clash = any(
            other.end + max(other.after, hours.buffer_before_s) > start
            and other.start < end + max(other.before, hours.buffer_after_s)
            for other in busy
        )
        if fits and in_time and near and not clash:
            found.append(start)
    return found


def steps(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high).map(lambda n: n * STEP)


@st.composite
def weeks(draw: st.DrawFn) -> dict[int, list[tuple[int, int]]]:
    edges = st.lists(st.integers(0, 96), unique=True, max_size=4).map(sorted)
    week = {}
    for day in range(7):
        found = [edge * 15 for edge in draw(edges)]
        week[day] = list(zip(found[::2], found[1::2], strict=False))
    return week


@settings(max_examples=150)
@given(st.data())
def test_starts_are_those_of_the_oracle(data: st.DataObject) -> None:
    zone, day = data.draw(st.sampled_from(DAYS))
    clocks = Clocks(zone, day)
    low = clocks.instants[0] + 3 * 86_400 + data.draw(steps(0, 200))
    hours = Hours(
        zone=zone,
        weekly=data.draw(weeks()),
        interval_s=data.draw(steps(1, 24)),
        buffer_before_s=data.draw(steps(0, 6)),
        buffer_after_s=data.draw(steps(0, 6)),
        min_notice_s=data.draw(steps(0, 100)),
        horizon_days=data.draw(st.integers(0, 2)),
    )
    duration = data.draw(steps(1, 60))
    busy = [
        Busy(start, start + length, before, after)
        for start, length, before, after in data.draw(
            st.lists(
                st.tuples(
                    steps(0, 500).map(lambda s: low + s), steps(1, 40), steps(0, 9), steps(0, 9)
                ),
                max_size=6,
            )
        )
    ]
    high, now = low + data.draw(steps(1, 480)), low - data.draw(steps(0, 100))
    candidate = Busy(0, duration, hours.buffer_before_s, hours.buffer_after_s)
    found = free(offered(hours, duration, low, high, now), candidate, busy)
    assert found == oracle(clocks, hours, duration, low, high, now, busy)


@settings(max_examples=60)
@given(st.sampled_from(DAYS), weeks(), steps(1, 24), steps(0, 300), steps(1, 60))
def test_the_same_start_is_offered_whatever_range_is_asked_for(
    case: tuple[str, date],
    week: dict[int, list[tuple[int, int]]],
    interval: int,
    offset: int,
    duration: int,
) -> None:
    zone, day = case
    hours = Hours(zone=zone, weekly=week, interval_s=interval, horizon_days=9)
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    whole = offered(hours, duration, begin - 86_400, begin + 2 * 86_400, begin - 86_400)
    cut = begin - 86_400 + offset
    assert [one for one in whole if one >= cut] == offered(
        hours, duration, cut, begin + 2 * 86_400, begin - 86_400
    )
    for start in whole:
        assert offered(hours, duration, start, start + 1, begin - 86_400) == [start]
        assert is_open(hours, start, start + duration)


def every_day(zone: str, start: int, end: int) -> Hours:
    return Hours(zone=zone, weekly={day: [(start, end)] for day in range(7)}, interval_s=1800)


@pytest.mark.parametrize(
    ("zone", "day", "hours", "opens", "closes"),
    [
        # Lisbon goes from 01:00 to 02:00: what begins in the gap begins an hour later.
        ("Europe/Lisbon", date(2026, 3, 29), (90, 180), "01:30Z", "02:00Z"),
        ("Europe/Lisbon", date(2026, 3, 29), (60, 180), "01:00Z", "02:00Z"),
        ("Europe/Lisbon", date(2026, 3, 29), (0, 90), "00:00Z", "01:30Z"),
        # and back from 02:00 to 01:00: from the first 01:30 to the second 01:45.
        ("Europe/Lisbon", date(2026, 10, 25), (90, 105), "00:30Z", "01:45Z"),
        # Half an hour at Lord Howe, forward at 02:00, which is 15:30 UTC of the day before.
        ("Australia/Lord_Howe", date(2026, 10, 4), (135, 180), "15:45Z", "16:00Z"),
        # Santiago has no 00:00 on this day.
        ("America/Santiago", date(2026, 9, 6), (0, 120), "04:00Z", "05:00Z"),
        ("Asia/Kolkata", date(2026, 6, 15), (540, 600), "03:30Z", "04:30Z"),
    ],
)
def test_hours_on_days_when_clocks_change(
    zone: str, day: date, hours: tuple[int, int], opens: str, closes: str
) -> None:
    [(start, end)] = opening(every_day(zone, *hours), day, day)
    shown = [datetime.fromtimestamp(one, UTC).strftime("%H:%MZ") for one in (start, end)]
    assert shown == [opens, closes]


def test_a_range_that_the_gap_swallows_is_closed() -> None:
    # 01:30 shifts to 02:30, which is behind 02:15.
    assert not list(
        opening(every_day("Europe/Lisbon", 90, 135), date(2026, 3, 29), date(2026, 3, 29))
    )


def test_a_day_of_23_hours_has_fewer_starts() -> None:
    hours = every_day("Europe/Lisbon", 0, 1440)
    short = offered(hours, 3600, at("2026-03-29T00:00:00Z"), at("2026-03-29T23:00:00Z"), 0)
    assert short == []  # the horizon is counted from now
    now = at("2026-03-28T00:00:00Z")
    short = offered(
        hours, 3600, at("2026-03-29T00:00:00+00:00"), at("2026-03-30T00:00:00+01:00"), now
    )
    assert len(short) == 46


def test_a_booking_may_run_past_midnight_where_the_expert_does() -> None:
    weekly = {4: [(1320, 1440)], 5: [(0, 120)]}
    hours = Hours(zone="UTC", weekly=weekly, interval_s=3600)
    friday = at("2026-11-20T22:00:00Z")
    found = offered(hours, 7200, friday, friday + 86_400, friday - 3600)
    assert found == [friday, friday + 3600, friday + 7200]


def test_the_distance_is_the_larger_buffer_not_the_sum() -> None:
    first, second = Busy(0, 3600, 600, 900), Busy(4500, 8100, 600, 0)
    assert not first.clashes(second)
    assert first.clashes(Busy(4499, 8100, 600, 0))
    assert second.clashes(first) is first.clashes(second)
    # Either of the two may be the larger.
    bare = Busy(0, 3600)
    assert bare.clashes(Busy(4199, 8100, 600, 0))
    assert not bare.clashes(Busy(4200, 8100, 600, 0))


@given(
    st.builds(Busy, steps(0, 20), steps(21, 40), steps(0, 9), steps(0, 9)),
    st.builds(Busy, steps(0, 20), steps(21, 40), steps(0, 9), steps(0, 9)),
    steps(0, 60),
)
def test_what_clashes_shares_a_day(one: Busy, other: Busy, shift: int) -> None:
    """The rows of a booking's own reach are enough to find whatever it clashes with."""
    moved = Busy(other.start + shift, other.end + shift, other.before, other.after)
    if one.clashes(moved):
        assert moved.clashes(one)
        (low, high), (start, end) = one.reach(), moved.reach()
        assert low < end
        assert start < high


def test_the_nearest_come_first() -> None:
    assert nearest([0, 50, 90, 110, 200], 100, 3) == [90, 110, 50]
