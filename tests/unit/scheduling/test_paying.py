"""Who is paid after a move: the money that is there stays with its payee."""

from typing import Any

import pytest

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.keys import Key, Tenant
from consulta.scheduling import paying
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, PaymentStatus

TENANT = Tenant("prac_1")
ONE, OTHER = "exp_1", "exp_2"


def booked(status: PaymentStatus, payment_id: str | None = "pay_1") -> AppointmentItem:
    key = TENANT.item(APPOINTMENT, "appt_1")
    return AppointmentItem(
        pk=key.pk, sk=key.sk, expert_id=ONE, payment_status=str(status), payment_id=payment_id
    )


def found(
    provider: str, payee: str, accounts: dict[str, dict[str, Any]], **payment: Any
) -> dict[Key, table.Raw]:
    rows = {TENANT.item(paying.PAYMENT, "pay_1"): {"provider": provider, "payee_id": payee}}
    rows |= {TENANT.item(paying.PAYEE, one): has for one, has in accounts.items()}
    rows[TENANT.item(paying.PAYMENT, "pay_1")] |= payment
    return {key: table.to_raw(row) for key, row in rows.items()}


STRIPE, MERCADOPAGO = {"stripe_account": "acct_2"}, {"mercadopago_user": "4711"}


@pytest.mark.parametrize(
    ("provider", "payee", "accounts", "is_allowed"),
    [
        ("stripe", TENANT.practice, {}, True),
        ("stripe", TENANT.practice, {OTHER: STRIPE}, False),
        # An account at another provider does not make them its payee.
        ("stripe", TENANT.practice, {OTHER: MERCADOPAGO}, True),
        ("mercadopago", TENANT.practice, {OTHER: MERCADOPAGO}, False),
        ("mercadopago", ONE, {OTHER: STRIPE}, False),
        ("manual", TENANT.practice, {OTHER: MERCADOPAGO}, False),
        ("manual", ONE, {}, False),
    ],
)
def test_money_stays_with_its_payee(
    provider: str, payee: str, accounts: dict[str, Any], is_allowed: bool
) -> None:
    rows = found(provider, payee, accounts)
    for status in (PaymentStatus.PAID, PaymentStatus.PROCESSING, PaymentStatus.PARTIALLY_REFUNDED):
        if is_allowed:
            paying.check_payee(booked(status), OTHER, rows)
        else:
            with pytest.raises(Conflict):
                paying.check_payee(booked(status), OTHER, rows)
        paying.check_payee(booked(status), ONE, rows)


@pytest.mark.parametrize("status", [PaymentStatus.UNPAID, PaymentStatus.REFUNDED])
def test_where_there_is_no_money_nothing_is_read(status: PaymentStatus) -> None:
    assert paying.move_keys(booked(status), OTHER) == []
    assert paying.move_keys(booked(PaymentStatus.PAID, None), OTHER) == []
    paying.check_payee(booked(status), OTHER, found("stripe", ONE, {}))


def test_the_first_with_an_account_decides_whether_it_is_captured_later() -> None:
    ready, not_yet = {**STRIPE, "charges_enabled": True}, {**STRIPE, "charges_enabled": False}
    for accounts, later in (
        ({}, False),
        ({TENANT.practice: ready}, True),
        ({ONE: not_yet, TENANT.practice: ready}, False),
        ({ONE: MERCADOPAGO, TENANT.practice: ready}, True),
    ):
        assert paying.captures_later(TENANT, ONE, found("stripe", ONE, accounts)) is later
