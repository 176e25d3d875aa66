"""The daylight-saving table: starts on the days on which clocks change, written out by hand."""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from consulta.scheduling.slots import Hours, Off, is_open, midnight, offered

NIGHT, EVENING, MORNING = (0, 240), (1260, 1440), (540, 720)
LORD_HOWE = (0, 300)

# Zone, local date, hours in minutes after midnight, and each hourly start as its clocks show it.
TABLE = (
    # 01:00 becomes 02:00, at 01:00 UTC.
    ("Europe/Lisbon", "2026-03-29", NIGHT, ["00:00+00:00", "02:00+01:00", "03:00+01:00"]),
    ("Europe/Lisbon", "2027-03-28", NIGHT, ["00:00+00:00", "02:00+01:00", "03:00+01:00"]),
    # 02:00 becomes 01:00, at 01:00 UTC.
    (
        "Europe/Lisbon",
        "2026-10-25",
        NIGHT,
        ["00:00+01:00", "01:00+01:00", "01:00+00:00", "02:00+00:00", "03:00+00:00"],
    ),
    (
        "Europe/Lisbon",
        "2027-10-31",
        NIGHT,
        ["00:00+01:00", "01:00+01:00", "01:00+00:00", "02:00+00:00", "03:00+00:00"],
    ),
    # São Paulo's last summer: no midnight on its first day, 23 o'clock twice on its last.
    ("America/Sao_Paulo", "2018-11-04", NIGHT, ["01:00-02:00", "02:00-02:00", "03:00-02:00"]),
    (
        "America/Sao_Paulo",
        "2019-02-16",
        EVENING,
        ["21:00-02:00", "22:00-02:00", "23:00-02:00", "23:00-03:00"],
    ),
    # and none since.
    (
        "America/Sao_Paulo",
        "2026-11-01",
        NIGHT,
        ["00:00-03:00", "01:00-03:00", "02:00-03:00", "03:00-03:00"],
    ),
    ("America/Sao_Paulo", "2027-02-20", EVENING, ["21:00-03:00", "22:00-03:00", "23:00-03:00"]),
    # The same two nights in Santiago.
    ("America/Santiago", "2026-09-06", NIGHT, ["01:00-03:00", "02:00-03:00", "03:00-03:00"]),
    ("America/Santiago", "2027-09-05", NIGHT, ["01:00-03:00", "02:00-03:00", "03:00-03:00"]),
    (
        "America/Santiago",
        "2026-04-04",
        EVENING,
        ["21:00-03:00", "22:00-03:00", "23:00-03:00", "23:00-04:00"],
    ),
    (
        "America/Santiago",
        "2027-04-03",
        EVENING,
        ["21:00-03:00", "22:00-03:00", "23:00-03:00", "23:00-04:00"],
    ),
    ("Asia/Kolkata", "2026-03-29", MORNING, ["09:00+05:30", "10:00+05:30", "11:00+05:30"]),
    ("Asia/Kolkata", "2027-10-31", MORNING, ["09:00+05:30", "10:00+05:30", "11:00+05:30"]),
    # 02:00 becomes 02:30; of four and a half hours the last half is too short.
    (
        "Australia/Lord_Howe",
        "2026-10-04",
        LORD_HOWE,
        ["00:00+10:30", "01:00+10:30", "02:30+11:00", "03:30+11:00"],
    ),
    (
        "Australia/Lord_Howe",
        "2027-10-03",
        LORD_HOWE,
        ["00:00+10:30", "01:00+10:30", "02:30+11:00", "03:30+11:00"],
    ),
    # 02:00 becomes 01:30.
    (
        "Australia/Lord_Howe",
        "2026-04-05",
        LORD_HOWE,
        ["00:00+11:00", "01:00+11:00", "01:30+10:30", "02:30+10:30", "03:30+10:30"],
    ),
    (
        "Australia/Lord_Howe",
        "2027-04-04",
        LORD_HOWE,
        ["00:00+11:00", "01:00+11:00", "01:30+10:30", "02:30+10:30", "03:30+10:30"],
    ),
)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(("zone", "day", "hours", "expected"), TABLE)
@pytest.mark.parametrize("how", ["weekly", "override"])
def test_the_starts_of_a_day_on_which_clocks_change(
    zone: str, day: str, hours: tuple[int, int], expected: list[str], how: str
) -> None:
    on = date.fromisoformat(day)
    weekly = {on.weekday(): [hours]} if how == "weekly" else {n: [(600, 1200)] for n in range(7)}
    overrides = {on: [hours]} if how == "override" else {}
    given = Hours(zone, weekly, interval_s=3600, horizon_days=9, overrides=overrides)
    around = at(f"{day}T12:00:00+00:00")
    low, high = around - 2 * 86_400, around + 2 * 86_400
    found = [
        datetime.fromtimestamp(start, UTC).astimezone(ZoneInfo(zone))
        for start in offered(given, 3600, low, high, low)
    ]
    shown = [f"{one:%H:%M}{one.isoformat()[-6:]}" for one in found if one.date() == on]
    assert shown == expected
    assert all(is_open(given, int(one.timestamp()), int(one.timestamp()) + 3600) for one in found)


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Lisbon", "2026-03-29", "2026-03-29T00:00:00+00:00"),
        ("Europe/Lisbon", "2026-03-30", "2026-03-29T23:00:00+00:00"),
        ("Asia/Kolkata", "2026-06-15", "2026-06-14T18:30:00+00:00"),
        # No midnight: the day begins at one.
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00:00+00:00"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00+00:00"),
        # Midnight twice: it begins at the first.
        ("Atlantic/Azores", "2026-10-25", "2026-10-25T00:00:00+00:00"),
        # 23:30 became 00:30: the day began half past midnight, at that very instant.
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30:00+00:00"),
        # A date that was left out is empty.
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00+00:00"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00+00:00"),
    ],
)
def test_the_first_instant_of_a_local_date(zone: str, day: str, expected: str) -> None:
    found = midnight(date.fromisoformat(day), zone)
    assert datetime.fromtimestamp(found, UTC).isoformat() == expected


def test_a_vacation_is_all_of_its_local_dates_and_no_more() -> None:
    # Awake day and night; off on the day of 23 hours, and on that without a midnight.
    for zone, day, length in (
        ("Europe/Lisbon", date(2026, 3, 29), 23),
        ("Europe/Lisbon", date(2026, 10, 25), 25),
        ("America/Santiago", date(2026, 9, 6), 23),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ):
        hours = Hours(
            zone,
            {n: [(0, 1440)] for n in range(7)},
            interval_s=1800,
            horizon_days=9,
            vacations=[Off(day, day)],
        )
        low = midnight(day - timedelta(days=1), zone)
        found = offered(hours, 1800, low, low + 3 * 86_400, low)
        gaps = [(one, two) for one, two in itertools.pairwise(found) if two - one > 1800]
        begins, ends = midnight(day, zone), midnight(day + timedelta(days=1), zone)
        assert ends - begins == length * 3600
        assert gaps == [(begins - 1800, ends)]
        assert is_open(hours, begins - 1800, begins)
        assert not is_open(hours, begins - 1800, begins + 60)
        assert not is_open(hours, ends - 60, ends + 60)
        assert is_open(hours, ends, ends + 60)


def test_a_closure_is_counted_in_the_practices_zone() -> None:
    # Closed on Christmas Day in Auckland, which is 24th 11:00 to 25th 11:00 UTC.
    hours = Hours(
        "UTC",
        {n: [(0, 1440)] for n in range(7)},
        interval_s=3600,
        closed=[Off(date(2026, 12, 25), date(2026, 12, 25), "Christmas Day")],
        closed_zone="Pacific/Auckland",
    )
    low = at("2026-12-24T00:00:00+00:00")
    found = offered(hours, 3600, low, low + 2 * 86_400, low)
    assert [one for one in found if low + 10 * 3600 <= one <= low + 35 * 3600] == [
        low + 10 * 3600,
        low + 35 * 3600,
    ]
    # A booking may not run into it either.
    assert low + 10 * 3600 not in offered(hours, 5400, low, low + 2 * 86_400, low)


def test_starts_keep_their_places_around_a_closure() -> None:
    # Half past nine in Adelaide is midnight in UTC: closed until a start that is not on the hour.
    hours = Hours(
        "Australia/Adelaide",
        {n: [(480, 720)] for n in range(7)},
        interval_s=3600,
        closed=[Off(date(2026, 6, 9), date(2026, 6, 9))],
        closed_zone="UTC",
    )
    low = at("2026-06-10T00:00:00+09:30")
    found = offered(hours, 3600, low, low + 86_400, low)
    shown = [datetime.fromtimestamp(one, ZoneInfo(hours.zone)).strftime("%H:%M") for one in found]
    assert shown == ["10:00", "11:00"]
