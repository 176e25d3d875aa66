"""What a payment shows, and what requests may say: without any table."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from consulta.core.errors import Invalid
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.money.paying import operations, payment_views, payments
from consulta.money.paying.changes import shown_status
from consulta.money.paying.orders import make_payment
from consulta.money.provider import PaymentDetails, ProviderPayment
from consulta.money.records import PaymentItem, State
from consulta.money.schema.payments import DisplayedStatus, ManualPaymentRequest, PaymentRequest
from consulta.scheduling.records import PaymentStatus

PRACTICE = "prac_01JCABCDEFGHJKMNPQRSTVWXYZ"
ID = "{}_01JCABCDEFGHJKMNPQRSTVWXYZ"


def payment(**values: Any) -> PaymentItem:
    names = ("appointment_id", "order_id", "patient_id", "expert_id", "service_id", "payee_id")
    ids = {name: ID.format(name[:3]) for name in names}
    made = make_payment(
        Tenant(PRACTICE),
        Actor("p", "r"),
        **ids,
        provider="stripe",
        amount=5000,
        currency="EUR",
        commission=500,
        zone="UTC",
    )
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({}, DisplayedStatus.OPEN),
        ({"requires_action": True}, DisplayedStatus.REQUIRES_ACTION),
        ({"state": "processing"}, DisplayedStatus.PROCESSING),
        ({"state": "authorized"}, DisplayedStatus.PROCESSING),
        ({"state": "cancelled"}, DisplayedStatus.CANCELLED),
        ({"state": "succeeded", "captured": 5000}, DisplayedStatus.SUCCEEDED),
        (
            {"state": "succeeded", "captured": 5000, "refunded": 1},
            DisplayedStatus.PARTIALLY_REFUNDED,
        ),
        ({"state": "succeeded", "captured": 5000, "refunded": 5000}, DisplayedStatus.REFUNDED),
        (
            {"state": "succeeded", "captured": 5000, "refunded": 10, "disputed": 10},
            DisplayedStatus.DISPUTED,
        ),
    ],
)
def test_the_shown_status_is_derived(values: dict[str, Any], shown: DisplayedStatus) -> None:
    assert payment_views.displayed(payment(**values)) is shown


def test_an_appointment_shows_what_went_back() -> None:
    assert shown_status(5000, 0) is PaymentStatus.PAID
    assert shown_status(5000, 4999) is PaymentStatus.PARTIALLY_REFUNDED
    assert shown_status(5000, 5000) is PaymentStatus.REFUNDED


def caller(role: Role, subject: str = "") -> Principal:
    return Principal("person", role, "request", PRACTICE, "", subject)


def test_patients_do_not_see_what_the_practice_pays() -> None:
    item = payment(state="succeeded", captured=5000, notes="paid late")
    for role, commission in ((Role.PATIENT, None), (Role.BILLING, 500)):
        shown = payment_views.payment(caller(role, item.patient_id), item)
        assert (shown.commission.amount if shown.commission else None) == commission
        assert (shown.notes is None) == (role is Role.PATIENT)


def test_everybody_sees_their_own() -> None:
    item = payment()
    assert payment_views.visible(caller(Role.PATIENT, item.patient_id), item)
    assert payment_views.visible(caller(Role.EXPERT, item.expert_id), item)
    assert payment_views.visible(caller(Role.BILLING), item)
    assert not payment_views.visible(caller(Role.PATIENT, item.expert_id), item)
    assert not payment_views.visible(caller(Role.EXPERT, item.patient_id), item)
    assert not payment_views.visible(caller(Role.PATIENT), item)


def test_a_secret_is_shown_only_while_there_is_something_to_pay() -> None:
    reading = ProviderPayment(
        "pi_1", State.OPEN, 5000, "EUR", 0, "acct", PRACTICE, "pay", client_secret="pi_1_secret_x"
    )
    by = caller(Role.OWNER)
    assert payment_views.started(by, payment(), reading).client_secret == "pi_1_secret_x"
    paid = payment(state="succeeded", captured=5000)
    assert payment_views.started(by, paid, reading).client_secret is None


@pytest.mark.parametrize(
    "body",
    [
        {"provider": "paypal"},
        {"provider": "manual"},
        {"provider": "stripe", "amount": 1},
        {"provider": "mercadopago", "installments": 0},
        {"provider": "mercadopago", "payer_email": "nobody"},
        {"provider": "stripe", "appointment_id": "appt_1#2"},
    ],
)
def test_a_request_says_nothing_else(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PaymentRequest.model_validate({"appointment_id": ID.format("appt")} | body)


@pytest.mark.parametrize("amount", [0, -1, 100_000_001, 1.5])
def test_cash_is_an_amount_above_zero(amount: float) -> None:
    body = {
        "appointment_id": ID.format("appt"),
        "method": "cash",
        "amount": {"amount": amount, "currency": "EUR"},
        "received_at": datetime.now(UTC).date().isoformat(),
    }
    with pytest.raises(ValidationError):
        ManualPaymentRequest.model_validate(body)


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({"payer_email": "a@example.com", "token": "t"}, "body.payment_method_id"),
        ({"payment_method_id": "visa", "token": "t"}, "body.payer_email"),
        ({"payment_method_id": "oxxo", "payer_email": "a@example.com"}, "body.token"),
    ],
)
def test_mercado_pago_says_what_it_needs(more: dict[str, Any], missing: str) -> None:
    body = {"appointment_id": ID.format("appt"), "provider": "mercadopago"} | more
    with pytest.raises(Invalid) as refused:
        payments._details(PaymentRequest.model_validate(body))
    assert [error.path for error in refused.value.errors] == [missing]


def test_a_submission_is_told_apart_without_keeping_its_token() -> None:
    one, other = PaymentDetails(token="tok_1"), PaymentDetails(token="tok_2")
    assert operations.digest(one) == operations.digest(PaymentDetails(token="tok_1"))
    assert operations.digest(one) != operations.digest(other)
    assert "tok_1" not in operations.digest(one)
