"""When a series takes place: rules, daylight saving, and what is refused."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.errors import Invalid, Problem
from consulta.scheduling import recurrence
from consulta.scheduling.recurrence import MAX_OCCURRENCES, Rule, occurrences, wall_of

LISBON = "Europe/Lisbon"


def wall(text: str) -> datetime:
    return datetime.fromisoformat(text)


def of(rrule: str, start: str, zone: str = LISBON, exdates: tuple[date, ...] = ()) -> list[str]:
    """The series as ``<recurrence id> <start in UTC>``."""
    found = occurrences(Rule.parse(rrule, zone), wall(start), zone, exdates)
    return [f"{one.recurrence_id} {one.start:%m-%dT%H:%M}" for one in found]


def ids(rrule: str, start: str) -> list[str]:
    return [text.partition(" ")[0][:10] for text in of(rrule, start)]


def refusal(rrule: str, start: str = "2026-12-01T09:00", zone: str = LISBON) -> tuple[str, str]:
    with pytest.raises(Problem) as caught:
        of(rrule, start, zone)
    assert caught.value.status == 422
    return caught.value.errors[0].path, caught.value.errors[0].code


# ---------------------------------------------------------------- daylight saving


@pytest.mark.parametrize(
    ("zone", "start", "expected"),
    [
        # Clocks go forward on 2027-03-28: 09:00 is 09:00 UTC before, 08:00 UTC from then on.
        (
            LISBON,
            "2027-03-21T09:00",
            ["2027-03-21T09:00 03-21T09:00", "2027-03-28T09:00 03-28T08:00"],
        ),
        # 01:30 is skipped on 28 March: 02:30 there, and 01:30 again a week later.
        (
            LISBON,
            "2027-03-21T01:30",
            [
                "2027-03-21T01:30 03-21T01:30",
                "2027-03-28T01:30 03-28T01:30",
                "2027-04-04T01:30 04-04T00:30",
            ],
        ),
        # 01:30 comes twice on 31 October: the first.
        (
            LISBON,
            "2027-10-24T01:30",
            [
                "2027-10-24T01:30 10-24T00:30",
                "2027-10-31T01:30 10-31T00:30",
                "2027-11-07T01:30 11-07T01:30",
            ],
        ),
        # No daylight saving since 2019.
        (
            "America/Sao_Paulo",
            "2026-10-31T09:00",
            ["2026-10-31T09:00 10-31T12:00", "2026-11-07T09:00 11-07T12:00"],
        ),
        # Clocks go forward at midnight of 2027-09-05: 00:30 is skipped, 01:30 there.
        (
            "America/Santiago",
            "2027-08-29T00:30",
            [
                "2027-08-29T00:30 08-29T04:30",
                "2027-09-05T00:30 09-05T04:30",
                "2027-09-12T00:30 09-12T03:30",
            ],
        ),
        (
            "Asia/Kolkata",
            "2026-12-01T09:00",
            ["2026-12-01T09:00 12-01T03:30", "2026-12-08T09:00 12-08T03:30"],
        ),
        # Half an hour: 02:15 is skipped on 2027-10-03, 02:45 there.
        (
            "Australia/Lord_Howe",
            "2027-09-26T02:15",
            [
                "2027-09-26T02:15 09-25T15:45",
                "2027-10-03T02:15 10-02T15:45",
                "2027-10-10T02:15 10-09T15:15",
            ],
        ),
        # And 01:45 comes twice on 2027-04-04: the first, at UTC+11.
        (
            "Australia/Lord_Howe",
            "2027-03-28T01:45",
            [
                "2027-03-28T01:45 03-27T14:45",
                "2027-04-04T01:45 04-03T14:45",
                "2027-04-11T01:45 04-10T15:15",
            ],
        ),
    ],
)
def test_wall_time_stays_across_daylight_saving(zone: str, start: str, expected: list[str]) -> None:
    assert of(f"FREQ=WEEKLY;COUNT={len(expected)}", start, zone) == expected


@given(
    zone=st.sampled_from(
        [LISBON, "America/Sao_Paulo", "America/Santiago", "Asia/Kolkata", "Australia/Lord_Howe"]
    ),
    start=st.datetimes(wall("2026-01-01"), wall("2030-01-01")).map(
        lambda at: at.replace(second=0, microsecond=0)
    ),
    weeks=st.integers(1, 8),
    count=st.integers(1, 13),
)
def test_a_weekly_series_never_drifts(zone: str, start: datetime, weeks: int, count: int) -> None:
    """Whatever gap a wall time falls into, the next occurrence is at the rule's own time."""
    rule = Rule.parse(f"FREQ=WEEKLY;INTERVAL={weeks};COUNT={count}", zone)
    found = occurrences(rule, start, zone)
    assert len(found) == count
    for number, one in enumerate(found):
        at = start + timedelta(weeks=weeks * number)
        assert one.recurrence_id == at.strftime("%Y-%m-%dT%H:%M")
        shown = one.start.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        # On the clocks it is that time, or later by the gap that it fell into.
        assert shown - at in (timedelta(), timedelta(minutes=30), timedelta(hours=1))
        if shown == at:
            assert one.start.astimezone(ZoneInfo(zone)).fold == 0


# ---------------------------------------------------------------- rules


def test_rules_give_their_days() -> None:
    assert ids("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH;COUNT=4", "2026-12-01T09:00") == [
        "2026-12-01",
        "2026-12-03",
        "2026-12-15",
        "2026-12-17",
    ]
    # A month without a 31st has none: nothing moves to the 30th.
    assert ids("FREQ=MONTHLY;BYMONTHDAY=31;COUNT=3", "2027-01-31T09:00") == [
        "2027-01-31",
        "2027-03-31",
        "2027-05-31",
    ]
    assert ids("FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=2", "2027-01-31T09:00")[1] == "2027-02-28"
    assert ids("FREQ=MONTHLY;BYDAY=-1FR;COUNT=2", "2026-12-25T09:00")[1] == "2027-01-29"
    assert ids("rrule:freq=monthly;byday=+1tu;count=2", "2026-12-01T09:00")[1] == "2027-01-05"


def test_until_is_a_date_a_wall_time_or_an_instant() -> None:
    for until in ("20261208", "20261208T090000", "20261208T090000Z"):
        assert len(of(f"FREQ=WEEKLY;UNTIL={until}", "2026-12-01T09:00")) == 2
    # 09:00 in São Paulo is noon in UTC.
    rule = Rule.parse("FREQ=WEEKLY;UNTIL=20261208T115959Z", "America/Sao_Paulo")
    assert len(occurrences(rule, wall("2026-12-01T09:00"), "America/Sao_Paulo")) == 1


def test_exdates_leave_their_dates_out() -> None:
    found = of("FREQ=WEEKLY;COUNT=3", "2026-12-01T09:00", exdates=(date(2026, 12, 8),))
    assert [text[:10] for text in found] == ["2026-12-01", "2026-12-15"]
    rule = Rule.parse("FREQ=WEEKLY;COUNT=2", LISBON)
    start, days = wall("2026-12-01T09:00"), [date(2026, 12, 1), date(2026, 12, 8)]
    with pytest.raises(Invalid) as unknown:
        occurrences(rule, start, LISBON, [days[0], date(2026, 12, 2)])
    assert unknown.value.errors[0].path == "body.exdates.1"
    with pytest.raises(Invalid) as nothing:
        occurrences(rule, start, LISBON, days)
    assert nothing.value.errors[0].path == "body.exdates"


@pytest.mark.parametrize(
    ("rrule", "code"),
    [
        ("", "syntax"),
        ("FREQ", "syntax"),
        ("FREQ=WEEKLY;FREQ=WEEKLY;COUNT=2", "syntax"),
        ("COUNT=2", "freq"),
        ("FREQ=DAILY;COUNT=2", "freq"),
        ("FREQ=YEARLY;COUNT=2", "freq"),
        ("FREQ=WEEKLY;BYHOUR=9;COUNT=2", "part"),
        ("FREQ=WEEKLY;BYMONTHDAY=1;COUNT=2", "part"),
        ("FREQ=MONTHLY;BYDAY=1TU;BYSETPOS=1;COUNT=2", "part"),
        ("FREQ=WEEKLY", "end"),
        ("FREQ=WEEKLY;COUNT=2;UNTIL=20270101", "end"),
        ("FREQ=WEEKLY;COUNT=0", "count"),
        ("FREQ=WEEKLY;COUNT=-1", "count"),
        ("FREQ=WEEKLY;COUNT=105", "count"),
        ("FREQ=WEEKLY;COUNT=٣", "count"),
        ("FREQ=WEEKLY;INTERVAL=0;COUNT=2", "interval"),
        ("FREQ=WEEKLY;INTERVAL=9;COUNT=2", "interval"),
        ("FREQ=WEEKLY;BYDAY=1TU;COUNT=2", "byday"),
        ("FREQ=MONTHLY;BYDAY=TU;COUNT=2", "byday"),
        ("FREQ=MONTHLY;BYDAY=6TU;COUNT=2", "byday"),
        ("FREQ=MONTHLY;BYMONTHDAY=32;COUNT=2", "bymonthday"),
        ("FREQ=MONTHLY;BYMONTHDAY=0;COUNT=2", "bymonthday"),
        ("FREQ=MONTHLY;COUNT=2", "day"),
        ("FREQ=MONTHLY;BYDAY=1TU;BYMONTHDAY=1;COUNT=2", "day"),
        ("FREQ=WEEKLY;WKST=XX;COUNT=2", "wkst"),
        ("FREQ=WEEKLY;UNTIL=tomorrow", "until"),
        ("FREQ=WEEKLY;UNTIL=20261301", "until"),
        ("FREQ=WEEKLY;UNTIL=20281231", "too-long"),
        ("FREQ=WEEKLY;UNTIL=20361231", "too-long"),
        ("FREQ=WEEKLY;INTERVAL=8;COUNT=104", "too-long"),
        ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;UNTIL=20271231", "too-many"),
        ("FREQ=WEEKLY;UNTIL=20261101", "empty"),
    ],
)
def test_other_rules_are_refused(rrule: str, code: str) -> None:
    assert refusal(rrule) == ("body.rrule", code)


def test_the_longest_series_are_taken() -> None:
    assert len(of("FREQ=WEEKLY;COUNT=104", "2026-12-01T09:00")) == MAX_OCCURRENCES
    assert len(of("FREQ=WEEKLY;UNTIL=20281120", "2026-12-01T09:00")) == 103


def test_a_series_begins_with_its_start() -> None:
    # 1 December 2026 is a Tuesday.
    assert refusal("FREQ=WEEKLY;BYDAY=WE;COUNT=2") == ("body.start", "rule")
    assert refusal("FREQ=MONTHLY;BYMONTHDAY=2;COUNT=2") == ("body.start", "rule")


def test_the_start_is_a_time_that_clocks_show_once_or_the_first_of_two() -> None:
    def start(text: str) -> datetime:
        return wall_of(datetime.fromisoformat(text), LISBON, "body.start")

    assert start("2026-12-01T09:00") == start("2026-12-01T09:00+00:00") == wall("2026-12-01T09:00")
    assert start("2027-10-31T01:30+01:00") == wall("2027-10-31T01:30")
    for text, code in (
        ("2027-03-28T01:30", "nonexistent"),
        ("2027-10-31T01:30", "ambiguous"),
        ("2027-10-31T01:30+00:00", "ambiguous"),
        ("2026-12-01T09:00+05:00", "offset"),
        ("2026-12-01T09:00:30", "minute"),
    ):
        with pytest.raises(Invalid) as caught:
            start(text)
        assert (caught.value.errors[0].path, caught.value.errors[0].code) == ("body.start", code)


# ---------------------------------------------------------------- moving a rule


@given(
    days=st.lists(st.sampled_from(recurrence.DAYS), min_size=1, max_size=7, unique=True),
    interval=st.integers(1, 4),
    shift=st.integers(-28, 28),
    first=st.dates(date(2026, 1, 1), date(2028, 1, 1)),
)
def test_a_moved_rule_gives_the_moved_occurrences(
    days: list[str], interval: int, shift: int, first: date
) -> None:
    rule = Rule.parse(f"FREQ=WEEKLY;INTERVAL={interval};BYDAY={','.join(days)};COUNT=9", LISBON)
    walls = rule.walls(wall(f"{first}T09:00"))
    later = rule.shifted(shift)
    assert later.walls(walls[0] + timedelta(days=shift)) == [
        at + timedelta(days=shift) for at in walls
    ]
    assert Rule.parse(str(later), LISBON) == later


def test_a_monthly_rule_is_not_moved_by_days() -> None:
    rule = Rule.parse("FREQ=MONTHLY;BYMONTHDAY=31;COUNT=2", LISBON)
    assert rule.shifted(0) == rule
    with pytest.raises(Invalid) as caught:
        rule.shifted(1)
    assert caught.value.errors[0].path == "body.shift_days"


def test_instants_are_in_utc() -> None:
    assert recurrence.instant(wall("2027-07-01T09:00"), LISBON) == datetime(
        2027, 7, 1, 8, tzinfo=UTC
    )
    assert recurrence.wall_named(recurrence.name(wall("2027-07-01T09:00"))) == wall(
        "2027-07-01T09:00"
    )
