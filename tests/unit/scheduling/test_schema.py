"""What a caller may send."""

from typing import Any

import pytest
from pydantic import ValidationError

from consulta.scheduling.schema.availability import AvailabilityRequest
from consulta.scheduling.schema.booking import BookingRequest, CancelRequest
from consulta.scheduling.schema.fields import Price
from consulta.scheduling.schema.services import ServiceRequest

SERVICE = {
    "name": "First",
    "duration_minutes": 50,
    "price": {"amount": 5000, "currency": "EUR"},
}


def week(*ranges: tuple[str, str]) -> dict[str, Any]:
    return {"zone": "UTC", "weekly": {"monday": [{"from": a, "to": b} for a, b in ranges]}}


def test_ranges_of_a_day_are_kept_in_order() -> None:
    body = AvailabilityRequest.model_validate(week(("13:00", "24:00"), ("09:00", "13:00")))
    assert [(one.from_, one.to) for one in body.weekly.monday] == [
        ("09:00", "13:00"),
        ("13:00", "24:00"),
    ]


@pytest.mark.parametrize(
    "ranges",
    [
        [("09:00", "12:00"), ("11:59", "13:00")],
        [("09:00", "09:00")],
        [("12:00", "09:00")],
        [("24:00", "24:00")],
        [("9:00", "10:00")],
        [("09:00", "25:00")],
        [("09:00", "24:01")],
        [(f"{n:02}:00", f"{n:02}:30") for n in range(13)],
    ],
)
def test_other_ranges_are_refused(ranges: list[tuple[str, str]]) -> None:
    with pytest.raises(ValidationError):
        AvailabilityRequest.model_validate(week(*ranges))


@pytest.mark.parametrize(
    "change",
    [
        {"zone": "Mars/Olympus"},
        {"slot_interval_minutes": 0},
        {"buffer_after_minutes": -1},
        {"horizon_days": 3650},
        {"weekly": {"funday": []}},
    ],
)
def test_other_hours_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AvailabilityRequest.model_validate(week() | change)


@pytest.mark.parametrize(
    "change",
    [
        {"duration_minutes": 0},
        {"duration_minutes": -30},
        {"duration_minutes": 1441},
        {"kind": "WEEKLY"},
        {"name": " "},
        {"name": "a\x00b"},
        {"price": {"amount": -1, "currency": "EUR"}},
        {"price": {"amount": 10, "currency": "eur"}},
        {"price": {"amount": 10, "currency": "XAU"}},
        {"price": {"amount": 10.5, "currency": "EUR"}},
        {"expert_ids": ["exp#1"]},
        {"colour": "red"},
    ],
)
def test_other_services_are_refused(change: dict[str, Any]) -> None:
    assert ServiceRequest.model_validate(SERVICE)
    with pytest.raises(ValidationError):
        ServiceRequest.model_validate(SERVICE | change)


def test_an_expert_named_twice_is_one() -> None:
    expert = "exp_01JC0NS0TADEM0000000000000"
    body = ServiceRequest.model_validate(SERVICE | {"expert_ids": [expert, expert]})
    assert body.expert_ids == [expert]


def test_a_booking_says_nothing_of_price_or_length() -> None:
    body = {
        "service_id": "svc_01JC0NS0TADEM0000000000000",
        "expert_id": "exp_01JC0NS0TADEM0000000000000",
        "start": "2026-11-21T10:00:00Z",
    }
    assert BookingRequest.model_validate(body).confirm is False
    for extra in ({"price": {"amount": 1, "currency": "EUR"}}, {"end": "2026-11-21T11:00:00Z"}):
        with pytest.raises(ValidationError):
            BookingRequest.model_validate(body | extra)


def test_a_cancellation_has_one_of_four_reasons() -> None:
    assert CancelRequest.model_validate({"reason_code": "illness"}).note == ""
    with pytest.raises(ValidationError):
        CancelRequest.model_validate({"reason_code": "bored"})
    with pytest.raises(ValidationError):
        CancelRequest.model_validate({"reason_code": "other", "note": "x" * 501})


def test_free_is_a_price() -> None:
    assert Price(amount=0, currency="CLP").amount == 0
