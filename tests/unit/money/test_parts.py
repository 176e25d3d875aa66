"""Deposit and remainder: two payments that come to the whole in amount, tax and commission."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.errors import Conflict, Invalid
from consulta.core.keys import Tenant
from consulta.money.paying import paid_for, parts, placing
from consulta.money.paying.parts import Part
from consulta.money.rates import Rate, Scope, contained_tax
from consulta.money.records import PaymentItem
from consulta.scheduling.records import (
    APPOINTMENT,
    PACKAGE,
    AppointmentItem,
    PackageItem,
    PaymentStatus,
    Status,
)

TENANT = Tenant("prac_1")
KEY = TENANT.item(APPOINTMENT, "appt_1")


def appointment(**values: Any) -> AppointmentItem:
    given_: dict[str, Any] = {
        "price": 10_000,
        "currency": "EUR",
        "deposit": 3_000,
        "tax": {"rate_bps": 2_100, "code": "IVA", "inclusive": True, "amount": 1_736},
        "status": "confirmed",
        "payment_status": "unpaid",
    }
    return AppointmentItem(KEY.pk, KEY.sk, **given_ | values)


def package() -> PackageItem:
    key = TENANT.item(PACKAGE, "pkg_1")
    return PackageItem(
        key.pk, key.sk, price=10_000, currency="EUR", status="pending", payment_status="unpaid"
    )


@given(st.integers(2, 10**8), st.data())
def test_the_parts_are_the_whole(price: int, data: st.DataObject) -> None:
    deposit, tax = data.draw(st.integers(1, price - 1)), data.draw(st.integers(0, price - 1))
    wanted = appointment(price=price, deposit=deposit, tax={"amount": tax})
    whole, first, rest = (parts.share_of(wanted, part) for part in Part)
    assert (whole.amount, whole.tax) == (price, tax)
    assert (first.amount + rest.amount, first.tax + rest.tax) == (price, tax)
    assert 0 <= first.tax <= first.amount
    assert 0 <= rest.tax <= rest.amount


@given(
    st.integers(2, 10**8), st.integers(0, 5_000), st.integers(0, 10_000), st.integers(0, 3_000),
    st.data(),
)  # fmt: skip
def test_the_commissions_are_that_of_the_whole(
    price: int, fixed: int, bps: int, tax_bps: int, data: st.DataObject
) -> None:
    deposit = data.draw(st.integers(1, price - 1))
    rate = Rate(fixed, bps, None, Scope.DEFAULT, tax_bps)
    first, first_tax = parts.commission_of(rate, deposit, "stripe", "EUR", None)
    before = PaymentItem(
        "k", "k", amount=deposit, commission=first, commission_tax=first_tax, rate=rate.to_stored()
    )
    assert parts.agreed_rate(before) == rate
    rest, rest_tax = parts.commission_of(rate, price - deposit, "stripe", "EUR", before)
    assert first + rest == rate.of(price)
    assert first_tax + rest_tax == contained_tax(rate.of(price), tax_bps)
    assert 0 <= first <= deposit
    assert 0 <= rest <= price - deposit


def test_of_a_deposit_in_cash_nothing_was_taken_so_the_rest_bears_its_own() -> None:
    before = PaymentItem("k", "k", amount=3_000, commission=0, rate=None)
    rate = Rate(50, 1_000, None, Scope.DEFAULT)
    assert parts.agreed_rate(before) is None
    assert parts.commission_of(rate, 7_000, "stripe", "EUR", before) == (750, 0)


@pytest.mark.parametrize(
    ("status", "due", "payable"),
    [
        ("unpaid", Part.DEPOSIT, {Part.FULL, Part.DEPOSIT}),
        ("processing", Part.DEPOSIT, {Part.FULL, Part.DEPOSIT}),
        ("deposit_paid", Part.REMAINDER, {Part.REMAINDER}),
        ("paid", Part.DEPOSIT, set()),
        ("partially_refunded", Part.DEPOSIT, set()),
        ("refunded", Part.DEPOSIT, set()),
    ],
)
def test_what_can_be_paid_follows_from_what_was(status: str, due: Part, payable: set[Part]) -> None:
    wanted = appointment(payment_status=status)
    assert parts.due_part(wanted) is due
    assert {part for part in Part if parts.is_due(wanted, part)} == payable
    for part in set(Part) - payable:
        with pytest.raises(Conflict):
            paid_for.check_payable(wanted, part)
    for part in payable:
        paid_for.check_payable(wanted, part)


@pytest.mark.parametrize("status", ["cancelled", "no_show", "expired"])
def test_nothing_is_paid_of_what_is_over(status: str) -> None:
    with pytest.raises(Conflict):
        paid_for.check_payable(
            appointment(status=status, payment_status="deposit_paid"), Part.REMAINDER
        )


def test_without_a_deposit_there_is_only_the_whole() -> None:
    for wanted in (appointment(deposit=None), package()):
        assert parts.due_part(wanted) is Part.FULL
        assert parts.share_of(wanted, Part.FULL).amount == 10_000
        for part in (Part.DEPOSIT, Part.REMAINDER):
            with pytest.raises(Invalid) as refused:
                parts.share_of(wanted, part)
            assert refused.value.errors[0].path == "body.part"


@pytest.mark.parametrize(
    ("status", "amount", "part"),
    [
        ("unpaid", 10_000, Part.FULL),
        ("unpaid", 5_000, Part.DEPOSIT),
        ("deposit_paid", 5_000, Part.REMAINDER),
        ("deposit_paid", 10_000, Part.FULL),
        ("unpaid", 4_999, None),
    ],
)
def test_an_amount_tells_which_part_it_is(status: str, amount: int, part: Part | None) -> None:
    found = parts.of_amount(appointment(deposit=5_000, payment_status=status), amount)
    assert (found and found.part) == part


@pytest.mark.parametrize(
    ("captured", "refunded", "over", "shown"),
    [
        (3_000, 0, False, PaymentStatus.DEPOSIT_PAID),
        (3_000, 1_000, False, PaymentStatus.DEPOSIT_PAID),
        (3_000, 3_000, False, PaymentStatus.REFUNDED),
        (3_000, 0, True, PaymentStatus.DEPOSIT_PAID),
        (3_000, 1_000, True, PaymentStatus.PARTIALLY_REFUNDED),
        (10_000, 0, False, PaymentStatus.PAID),
        (10_000, 3_000, False, PaymentStatus.PARTIALLY_REFUNDED),
        (10_000, 10_000, True, PaymentStatus.REFUNDED),
    ],
)
def test_what_is_shown_is_of_both_payments(
    captured: int, refunded: int, over: bool, shown: PaymentStatus
) -> None:
    status = Status.CANCELLED if over else Status.CONFIRMED
    assert placing.shown(appointment(status=status), captured, refunded, over=over) is shown
