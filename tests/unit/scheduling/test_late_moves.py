"""A late move: what it costs, where it is refused, and what it makes of a booking that is paid."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.errors import Conflict
from consulta.core.keys import Tenant
from consulta.money.paying import order_views, parts
from consulta.money.paying.parts import Part
from consulta.people.policy import default_policy
from consulta.scheduling import late_moves
from consulta.scheduling.records import APPOINTMENT, AppointmentItem

START = datetime(2026, 4, 10, 10, 0, tzinfo=UTC)
BOOKED = START - timedelta(days=40)
KEY = Tenant("prac_1").item(APPOINTMENT, "appt_1")
WINDOW = timedelta(days=1)
LEAST = timedelta(milliseconds=1)
TAX = {"rate_bps": 2_100, "code": "IVA", "inclusive": True, "amount": 868}


def policy(**changed: Any) -> dict[str, Any]:
    found = default_policy("EUR")
    return found | {"reschedule": {**found["reschedule"], "inside": "fee"}} | changed


def appointment(**values: Any) -> AppointmentItem:
    known: dict[str, Any] = {
        "service_id": "svc_01JC0NS0TADEM0000000000000",
        "price": 5_000,
        "currency": "EUR",
        "status": "confirmed",
        "payment_status": "paid",
        "payment_id": "pay_1",
        "start": START,
        "created_at": BOOKED,
        "policy": policy(),
    }
    return AppointmentItem(KEY.pk, KEY.sk, **known | values)


def with_days(days: int, **more: Any) -> dict[str, Any]:
    return policy(statutory={"withdraw_days": days, "waived_at": None}, **more)


def fee(notice: timedelta, **values: Any) -> int:
    found = appointment(**values)
    return late_moves.fee_of(found, found.start - notice)


@pytest.mark.parametrize(
    ("notice", "cost"),
    [(WINDOW + LEAST, 0), (WINDOW, 0), (WINDOW - LEAST, 2_500), (LEAST, 2_500)],
)
def test_the_windows_boundary_is_outside_it(notice: timedelta, cost: int) -> None:
    assert fee(notice) == cost


def test_the_window_may_be_wider_than_the_steps_that_keep_something() -> None:
    wide = policy(reschedule={"free_until_s": 172_800, "max": 3, "inside": "fee"})
    assert fee(WINDOW, policy=wide) == 0
    assert fee(WINDOW - LEAST, policy=wide) == 2_500
    narrow = policy(reschedule={"free_until_s": 3_600, "max": 3, "inside": "fee"})
    assert fee(WINDOW - LEAST, policy=narrow) == 0
    assert fee(timedelta(minutes=59), policy=narrow) == 2_500


def test_notice_counts_to_the_earlier_start() -> None:
    moved = {"start": START + timedelta(days=9), "notice_start": START}
    assert late_moves.fee_of(appointment(**moved), START - WINDOW) == 0
    assert late_moves.fee_of(appointment(**moved), START - WINDOW + LEAST) == 2_500
    assert late_moves.fee_of(appointment(**moved), START + LEAST) == 2_500


LATE = timedelta(hours=1)
DENIED = policy(reschedule={"free_until_s": 86_400, "max": 3, "inside": "deny"})
FREE = policy(cancel=[{"min_notice_s": 0, "keep": {"fixed": 0, "percent": 0}}])
RETURNS = policy(package={"unused": "none", "late": "returns", "valid_until": None})


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"policy": DENIED}, "too_late"),
        ({"policy": DENIED, "price": 0}, "too_late"),
        ({"payment_status": "unpaid", "payment_id": None}, "pay_first"),
        ({"payment_status": "processing"}, "pay_first"),
        ({"payment_status": "paid", "payment_id": None}, "too_late"),
        ({"payment_status": "partially_refunded"}, "too_late"),
        ({"payment_status": "refunded"}, "too_late"),
        ({"payment_status": "deposit_paid", "deposit_payment_id": "pay_1"}, "too_late"),
        ({"deposit_payment_id": "pay_0", "deposit": 2_000}, "too_late"),
        ({"fee": 500, "deposit": 4_500, "deposit_payment_id": "pay_0"}, "too_late"),
        ({"price": 0, "payment_status": "package", "package_id": "pkg_1"}, "too_late"),
    ],
)
def test_where_no_fee_can_be_asked_for(values: dict[str, Any], code: str) -> None:
    with pytest.raises(Conflict) as refused:
        fee(LATE, **values)
    assert refused.value.extra["code"] == code
    # Outside the window it does not matter.
    assert fee(WINDOW, **values) == 0


@pytest.mark.parametrize(
    "values",
    [
        {"price": 0, "payment_status": "not_required", "payment_id": None},
        {"policy": FREE},
        {"policy": FREE, "payment_status": "unpaid"},
        {"price": 0, "payment_status": "package", "package_id": "pkg_1", "policy": FREE},
        {"price": 0, "payment_status": "package", "package_id": "pkg_1", "policy": RETURNS},
        {"policy": with_days(90)},
        {"policy": with_days(90), "price": 0, "package_id": "pkg_1"},
    ],
)
def test_where_cancelling_keeps_nothing_there_is_no_fee(values: dict[str, Any]) -> None:
    assert fee(LATE, **values) == 0


def test_a_deposit_that_was_paid_with_the_whole_is_none() -> None:
    assert fee(LATE, deposit=2_000) == 2_500


def test_the_right_to_withdraw_ends() -> None:
    booked = {"policy": with_days(2), "created_at": START - timedelta(days=2, hours=1)}
    assert fee(LATE, **booked) == 0
    assert fee(LATE - LEAST, **booked) == 2_500


# ---------------------------------------------------------------- what becomes of it


def moved(cost: int, **before: Any) -> AppointmentItem:
    """As it is read after the write."""
    values = late_moves.charged(appointment(**before), cost)
    if "tax" in values:
        values["tax"] = AppointmentItem.tax.deserialize(values["tax"])
    return appointment(**before | values)


@pytest.mark.parametrize("inclusive", [True, False])
def test_what_was_paid_becomes_the_deposit_and_the_fee_the_rest(*, inclusive: bool) -> None:
    after = moved(2_500, tax={**TAX, "inclusive": inclusive})
    assert (after.price, after.deposit, after.fee) == (7_500, 5_000, 2_500)
    assert (after.payment_status, after.deposit_payment_id) == ("deposit_paid", "pay_1")
    # 25.00 that contain 21 %: 4.34 of it.
    assert (after.tax["amount"], after.deposit_tax) == (868 + 434, 868)
    first, rest = (parts.share_of(after, part) for part in (Part.DEPOSIT, Part.REMAINDER))
    assert (first.amount, first.tax, rest.amount, rest.tax) == (5_000, 868, 2_500, 434)
    assert parts.due_part(after) is Part.REMAINDER


def test_without_a_tax_there_is_none_of_the_fee() -> None:
    after = moved(100)
    assert (after.tax, after.deposit_tax) == (None, None)
    assert parts.share_of(after, Part.REMAINDER).tax == 0


@given(st.integers(1, 10**7), st.integers(0, 10_000), st.booleans(), st.data())
def test_both_parts_add_up_to_price_and_tax(
    price: int, rate: int, inclusive: bool, data: st.DataObject
) -> None:
    had = data.draw(st.integers(0, price - 1))
    cost = data.draw(st.integers(1, price))
    tax = {"rate_bps": rate, "code": "T", "inclusive": inclusive, "amount": had}
    after = moved(cost, price=price, tax=tax)
    whole, first, rest = (parts.share_of(after, part) for part in Part)
    assert (first.amount, first.tax) == (price, had)
    assert rest.amount == cost
    assert 0 <= rest.tax < cost
    assert abs(rest.tax - cost * rate / (10_000 + rate)) <= 0.5
    assert (first.amount + rest.amount, first.tax + rest.tax) == (whole.amount, whole.tax)
    lines = order_views.lines(after)
    assert [line.kind for line in lines] == ["appointment", "reschedule_fee"]
    assert [line.amount.amount for line in lines] == [price, cost]
    assert lines[0] == order_views.lines(appointment(price=price, tax=tax))[0]
    for line in lines:
        assert line.tax is not None
        assert line.net.amount + line.tax.amount == line.amount.amount
    assert lines[1].unit_amount == lines[1].amount
