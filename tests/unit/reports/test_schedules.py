"""When a schedule fires, which days it covers, and what of a request is refused."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consulta.core.ids import is_id
from consulta.reports.records import Format, Frequency
from consulta.reports.requests import report_id_for
from consulta.reports.schedules import expression, period
from consulta.reports.schema import ReportRequest, ReportScheduleRequest

LISBON, SAO_PAULO, AUCKLAND, APIA = (
    "Europe/Lisbon",
    "America/Sao_Paulo",
    "Pacific/Auckland",
    "Pacific/Apia",
)
TO = ["ines@example.com"]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# ---------------------------------------------------------------- when


@pytest.mark.parametrize(
    ("frequency", "time", "weekday", "day", "expected"),
    [
        (Frequency.DAILY, "08:00", None, None, "cron(0 8 * * ? *)"),
        (Frequency.DAILY, "00:05", None, None, "cron(5 0 * * ? *)"),
        (Frequency.DAILY, "23:59", None, None, "cron(59 23 * * ? *)"),
        # EventBridge's week is 1 (Sunday) to 7 (Saturday), ours 1 (Monday) to 7 (Sunday).
        (Frequency.WEEKLY, "08:00", 1, None, "cron(0 8 ? * 2 *)"),
        (Frequency.WEEKLY, "08:30", 6, None, "cron(30 8 ? * 7 *)"),
        (Frequency.WEEKLY, "08:00", 7, None, "cron(0 8 ? * 1 *)"),
        (Frequency.MONTHLY, "07:15", None, 1, "cron(15 7 1 * ? *)"),
        (Frequency.MONTHLY, "07:15", None, 28, "cron(15 7 28 * ? *)"),
    ],
)
def test_the_expression(
    frequency: Frequency, time: str, weekday: int | None, day: int | None, expected: str
) -> None:
    assert expression(frequency, time, weekday, day) == expected


# ---------------------------------------------------------------- which days


@pytest.mark.parametrize(
    ("frequency", "at", "zone", "first", "last"),
    [
        (Frequency.DAILY, "2026-11-20T08:00", "UTC", "2026-11-19", "2026-11-19"),
        (Frequency.DAILY, "2026-01-01T08:00", "UTC", "2025-12-31", "2025-12-31"),
        (Frequency.DAILY, "2028-03-01T08:00", "UTC", "2028-02-29", "2028-02-29"),
        # The clocks of Lisbon go back on 25 October 2026, and forward on 29 March.
        (Frequency.DAILY, "2026-10-25T23:30", LISBON, "2026-10-24", "2026-10-24"),
        (Frequency.DAILY, "2026-10-26T00:30", LISBON, "2026-10-25", "2026-10-25"),
        (Frequency.DAILY, "2026-10-24T23:30", LISBON, "2026-10-24", "2026-10-24"),
        (Frequency.DAILY, "2026-03-29T00:30", LISBON, "2026-03-28", "2026-03-28"),
        (Frequency.DAILY, "2026-03-29T23:30", LISBON, "2026-03-29", "2026-03-29"),
        # A Monday there, a Sunday or a Tuesday on other clocks.
        (Frequency.WEEKLY, "2026-11-16T08:00", LISBON, "2026-11-09", "2026-11-15"),
        (Frequency.WEEKLY, "2026-11-16T02:00", SAO_PAULO, "2026-11-02", "2026-11-08"),
        (Frequency.WEEKLY, "2026-11-15T12:00", AUCKLAND, "2026-11-09", "2026-11-15"),
        (Frequency.WEEKLY, "2026-11-22T08:00", LISBON, "2026-11-09", "2026-11-15"),
        (Frequency.WEEKLY, "2027-01-01T08:00", LISBON, "2026-12-21", "2026-12-27"),
        (Frequency.WEEKLY, "2027-01-04T08:00", LISBON, "2026-12-28", "2027-01-03"),
        (Frequency.MONTHLY, "2026-01-01T08:00", "UTC", "2025-12-01", "2025-12-31"),
        (Frequency.MONTHLY, "2026-03-28T08:00", "UTC", "2026-02-01", "2026-02-28"),
        (Frequency.MONTHLY, "2028-03-01T08:00", "UTC", "2028-02-01", "2028-02-29"),
        (Frequency.MONTHLY, "2026-01-01T02:00", SAO_PAULO, "2025-11-01", "2025-11-30"),
        (Frequency.MONTHLY, "2025-12-31T12:00", AUCKLAND, "2025-12-01", "2025-12-31"),
    ],
)
def test_the_period_is_the_whole_one_before(
    frequency: Frequency, at: str, zone: str, first: str, last: str
) -> None:
    expected = (date.fromisoformat(first), date.fromisoformat(last))
    assert period(frequency, utc(at), zone) == expected


def fires(day: date, zone: str) -> datetime:
    """Eight o'clock there, as an instant."""
    return datetime(day.year, day.month, day.day, 8, tzinfo=ZoneInfo(zone)).astimezone(UTC)


@given(
    day=st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    zone=st.sampled_from(["UTC", LISBON, SAO_PAULO, AUCKLAND, APIA]),
    frequency=st.sampled_from(Frequency),
)
def test_one_run_takes_over_where_the_one_before_ended(
    day: date, zone: str, frequency: Frequency
) -> None:
    first, last = period(frequency, fires(day, zone), zone)
    assert first <= last < day
    # The first day that is covered no more is the first on which the period moves on.
    following = last + timedelta(days=1)
    assert period(frequency, fires(following, zone), zone) == (first, last)
    days = (last - first).days + 1
    match frequency:
        case Frequency.DAILY:
            assert days == 1
        case Frequency.WEEKLY:
            assert (first.weekday(), days) == (0, 7)
        case Frequency.MONTHLY:
            assert (first.day, following.day, days >= 28) == (1, 1, True)


# ---------------------------------------------------------------- what is asked for


@pytest.mark.parametrize(
    "body",
    [
        {"frequency": "daily", "time": "00:00"},
        {"frequency": "weekly", "time": "23:59", "weekday": 7},
        {"frequency": "monthly", "time": "08:00", "day_of_month": 28},
    ],
)
def test_a_schedule_that_is_taken(body: dict[str, Any]) -> None:
    taken = ReportScheduleRequest.model_validate(body | {"recipients": TO})
    assert (taken.kind, taken.formats) == ("revenue", [Format.PDF])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"frequency": "weekly"}, "weekly needs it"),
        ({"frequency": "daily", "weekday": 1}, "weekday goes with weekly"),
        ({"frequency": "monthly"}, "monthly needs it"),
        ({"frequency": "weekly", "weekday": 1, "day_of_month": 1}, "day_of_month goes with"),
        ({"frequency": "weekly", "weekday": 0}, "greater than or equal to 1"),
        ({"frequency": "weekly", "weekday": 8}, "less than or equal to 7"),
        ({"frequency": "monthly", "day_of_month": 29}, "less than or equal to 28"),
        ({"time": "24:00"}, "String should match pattern"),
        ({"time": "8:00"}, "String should match pattern"),
        ({"frequency": "hourly"}, "Input should be 'daily'"),
        ({"recipients": []}, "at least 1 item"),
        ({"recipients": ["nobody"]}, "not a valid email address"),
        ({"recipients": [f"n{n}@example.com" for n in range(11)]}, "at most 10 items"),
        ({"formats": []}, "at least 1 item"),
        ({"zone": "UTC"}, "Extra inputs are not permitted"),
    ],
)
def test_a_schedule_that_is_refused(body: dict[str, Any], said: str) -> None:
    whole = {"frequency": "daily", "time": "08:00", "recipients": TO} | body
    with pytest.raises(ValidationError, match=said) as refused:
        ReportScheduleRequest.model_validate(whole)
    assert refused.value.error_count() == 1


def test_a_report_of_a_day_in_all_formats_is_the_default() -> None:
    taken = ReportRequest.model_validate({"from": "2026-11-20", "to": "2026-11-20"})
    assert (taken.first_day, taken.last_day) == (date(2026, 11, 20),) * 2
    assert (taken.formats, taken.recipients) == (list(Format), [])


def test_a_report_covers_a_leap_year_and_no_more() -> None:
    taken = ReportRequest.model_validate({"from": "2028-01-01", "to": "2028-12-31"})
    assert (taken.last_day - taken.first_day).days == 365
    with pytest.raises(ValidationError, match="at most 366 days"):
        ReportRequest.model_validate({"from": "2028-01-01", "to": "2029-01-01"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"to": "2026-10-31"}, "to is before from"),
        ({"formats": ["pdf", "csv", "pdf"]}, "formats repeat"),
        ({"formats": ["docx"]}, "Input should be 'csv'"),
        ({"kind": "tax"}, "Input should be 'revenue'"),
        ({"from": "2026-02-30"}, "valid date"),
        ({"recipients": ["a@b"]}, "not a valid email address"),
    ],
)
def test_a_report_that_is_refused(body: dict[str, Any], said: str) -> None:
    whole = {"from": "2026-11-01", "to": "2026-11-30"} | body
    with pytest.raises(ValidationError, match=said) as refused:
        ReportRequest.model_validate(whole)
    assert refused.value.error_count() == 1


# ---------------------------------------------------------------- the run's report


def test_a_run_of_a_schedule_has_one_report_id() -> None:
    at, later = "2026-11-20T08:00:00.000Z", "2026-11-21T08:00:00.000Z"
    mine = report_id_for("rsch_1", at)
    assert is_id(mine, "rep")
    assert mine == report_id_for("rsch_1", at)
    assert len({mine, report_id_for("rsch_1", later), report_id_for("rsch_2", at)}) == 3


@given(schedule=st.text(max_size=40), at=st.text(max_size=40))
def test_every_report_id_is_well_formed(schedule: str, at: str) -> None:
    assert is_id(report_id_for(schedule, at), "rep")
