"""What the providers say, in our words: pure mapping, amounts, and what is never sent."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.errors import Conflict, Invalid
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.money.accounts.connect import CONTROLLERS
from consulta.money.mercadopago import provider as mercadopago_provider
from consulta.money.provider import PaymentDetails
from consulta.money.providers import provider_for
from consulta.money.records import PAYMENT, PaymentItem, Provider, RefundState, State
from consulta.money.stripe import provider as stripe_provider

PRACTICE = "prac_01JC0NS0TADEM0000000000000"
PAYMENT_ID = "pay_01JC0NS0TADEM0000000000000"


def intent(**changes: Any) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "status": "requires_payment_method",
        "amount": 5000,
        "amount_received": 0,
        "currency": "eur",
        "client_secret": "pi_1_secret",
        "latest_charge": None,
        "last_payment_error": None,
        "next_action": None,
        "metadata": {"practice": PRACTICE, "payment": PAYMENT_ID},
        "payment_method_types": ["card"],
        "transfer_data": {"destination": "acct_1"},
        **changes,
    }


def charge(**changes: Any) -> dict[str, Any]:
    return {
        "id": "ch_1",
        "status": "succeeded",
        "created": 1_795_000_000,
        "application_fee_amount": 500,
        "balance_transaction": None,
        "payment_method_details": {"type": "card"},
        **changes,
    }


def settlement(**changes: Any) -> dict[str, Any]:
    details = [
        {"type": "stripe_fee", "amount": 175},
        {"type": "tax", "amount": 30},
        {"type": "application_fee", "amount": 500},
    ]
    return {"id": "txn_1", "currency": "eur", "fee_details": details, **changes}


# ---------------------------------------------------------------- the registry


def test_each_provider_has_its_adapter() -> None:
    for name in (Provider.STRIPE, Provider.MERCADOPAGO):
        assert provider_for(name).name is name
        assert provider_for(name.value).name is name
    for name in ("manual", "paypal"):
        with pytest.raises(ValueError):
            provider_for(name)


# ---------------------------------------------------------------- Stripe


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("requires_payment_method", State.OPEN),
        ("requires_confirmation", State.OPEN),
        ("requires_action", State.OPEN),
        ("processing", State.PROCESSING),
        ("requires_capture", State.AUTHORIZED),
        ("succeeded", State.SUCCEEDED),
        ("canceled", State.CANCELLED),
        ("something_new", State.PROCESSING),
    ],
)
def test_stripes_states(status: str, state: State) -> None:
    found = stripe_provider.normalised(intent(status=status), (), "acct_2")
    assert (found.state, found.requires_action) == (state, status == "requires_action")
    assert (found.practice, found.payment, found.account) == (PRACTICE, PAYMENT_ID, "acct_1")


def test_before_settlement_fee_and_commission_are_unknown() -> None:
    raw = intent(status="succeeded", amount_received=5000, latest_charge=charge())
    found = stripe_provider.normalised(raw, (), "acct_1")
    assert (found.captured, found.charge, found.method) == (5000, "ch_1", "card")
    assert (found.fee, found.commission, found.balance_transaction) == (None, None, "")
    assert found.paid_at is not None


def test_after_settlement_our_commission_is_not_a_fee() -> None:
    settled = charge(balance_transaction=settlement())
    raw = intent(status="succeeded", amount_received=5000, latest_charge=settled)
    found = stripe_provider.normalised(raw, (), "acct_1")
    assert (found.fee, found.commission, found.balance_transaction) == (205, 500, "txn_1")


def test_a_fee_in_another_currency_is_not_taken_for_ours() -> None:
    settled = charge(balance_transaction=settlement(currency="usd"))
    raw = intent(status="succeeded", amount_received=5000, latest_charge=settled)
    assert stripe_provider.normalised(raw, (), "acct_1").fee is None


def test_a_declined_card_leaves_the_payment_open() -> None:
    error = {"code": "card_declined", "decline_code": "insufficient_funds", "message": "private"}
    raw = intent(latest_charge=charge(status="failed"), last_payment_error=error)
    found = stripe_provider.normalised(raw, (), "acct_1")
    assert (found.state, found.failure_code, found.charge) == (State.OPEN, "insufficient_funds", "")
    assert found.paid_at is None


def test_a_failed_refund_is_explained_by_what_took_it_back() -> None:
    base = {
        "id": "re_1",
        "amount": 100,
        "metadata": {"op_id": "op_1"},
        "balance_transaction": "txn_2",
        "failure_balance_transaction": "txn_3",
    }
    for status, state in (
        ("succeeded", RefundState.SUCCEEDED),
        ("pending", RefundState.REQUESTED),
        ("requires_action", RefundState.REQUESTED),
        ("failed", RefundState.FAILED),
        ("canceled", RefundState.FAILED),
    ):
        raw = intent(status="succeeded", amount_received=5000)
        (found,) = stripe_provider.normalised(raw, [{**base, "status": status}], "acct_1").refunds
        assert found.state == state
        assert (found.balance_transaction, found.failed_by) == ("txn_2", "txn_3")
        assert (found.operation, found.amount) == ("op_1", 100)


@pytest.mark.parametrize(
    ("reversal", "told"),
    [
        (None, 0),
        ({"amount": 60, "currency": "eur"}, 60),
        ({"amount": 60, "currency": "usd"}, None),
        ("trr_1", None),
    ],
)
def test_a_refund_tells_what_its_transfer_gave_back(reversal: object, told: int | None) -> None:
    raw = intent(status="succeeded", amount_received=5000)
    made = {"id": "re_1", "amount": 100, "status": "succeeded", "transfer_reversal": reversal}
    (found,) = stripe_provider.normalised(raw, [made], "acct_1").refunds
    assert found.reversed == told


@given(st.integers(1, 999_999), st.sampled_from(["EUR", "JPY", "ISK", "UGX", "MGA", "KWD", "CLP"]))
def test_stripes_amounts_come_back_as_they_went(amount: int, currency: str) -> None:
    try:
        sent = stripe_provider.to_stripe(amount, currency)
    except Invalid:
        assert currency in ("MGA", "KWD")
        return
    assert stripe_provider.from_stripe(sent, currency) == amount


@pytest.mark.parametrize(
    ("amount", "currency", "sent"),
    [(5000, "EUR", 5000), (500, "JPY", 500), (5, "ISK", 500), (500, "MGA", 5), (1230, "KWD", 1230)],
)
def test_stripes_special_currencies(amount: int, currency: str, sent: int) -> None:
    assert stripe_provider.to_stripe(amount, currency) == sent


def test_the_kind_of_charge_follows_the_controller() -> None:
    assert not stripe_provider.is_direct(CONTROLLERS["platform_losses"])
    assert stripe_provider.is_direct(CONTROLLERS["stripe_losses"])
    wrong = {"losses": {"payments": "application"}, "fees": {"payer": "account"}}
    for controller in (None, {}, wrong):
        with pytest.raises(Conflict):
            stripe_provider.is_direct(controller)


# ---------------------------------------------------------------- Mercado Pago


def paid(**changes: Any) -> dict[str, Any]:
    return {
        "id": 123,
        "status": "approved",
        "status_detail": "accredited",
        "currency_id": "MXN",
        "transaction_amount": 500.5,
        "collector_id": 44,
        "external_reference": f"{PRACTICE}:{PAYMENT_ID}",
        "metadata": {},
        "payment_method_id": "visa",
        "date_approved": "2026-11-21T03:00:00.000-04:00",
        "fee_details": [
            {"type": "mercadopago_fee", "amount": 17.47, "fee_payer": "collector"},
            {"type": "financing_fee", "amount": 3, "fee_payer": "payer"},
            {"type": "application_fee", "amount": 50.05, "fee_payer": "collector"},
        ],
        "refunds": [],
        **changes,
    }


@pytest.mark.parametrize(
    ("status", "detail", "state", "captured"),
    [
        ("approved", "accredited", State.SUCCEEDED, 50050),
        ("approved", "partially_refunded", State.SUCCEEDED, 50050),
        ("refunded", "refunded", State.SUCCEEDED, 50050),
        ("charged_back", "settled", State.SUCCEEDED, 50050),
        ("in_mediation", "pending", State.SUCCEEDED, 50050),
        ("authorized", "pending_capture", State.AUTHORIZED, 0),
        ("pending", "pending_waiting_transfer", State.PROCESSING, 0),
        ("pending", "pending_challenge", State.OPEN, 0),
        ("in_process", "pending_review_manual", State.PROCESSING, 0),
        ("rejected", "cc_rejected_high_risk", State.OPEN, 0),
        ("cancelled", "expired", State.CANCELLED, 0),
        ("canceled", "by_payer", State.CANCELLED, 0),
        ("something_new", "who_knows", State.PROCESSING, 0),
    ],
)
def test_mercado_pagos_states(status: str, detail: str, state: State, captured: int) -> None:
    found = mercadopago_provider.normalised(paid(status=status, status_detail=detail))
    assert (found.state, found.captured) == (state, captured)
    assert found.failure_code == (detail if status == "rejected" else "")
    assert found.requires_action is (detail in ("pending_challenge", "pending_waiting_transfer"))
    assert (found.practice, found.payment, found.account) == (PRACTICE, PAYMENT_ID, "44")


def test_mercado_pagos_fees_commission_and_tax() -> None:
    taxes = [
        {"type": "tax", "amounts": {"original": 8.01}, "accounts": {"from": "collector"}},
        {"type": "tax", "amounts": {"original": 1}, "accounts": {"from": "payer"}},
        {"type": "fee", "amounts": {"original": 17.47}, "accounts": {"from": "collector"}},
    ]
    found = mercadopago_provider.normalised(paid(charges_details=taxes))
    assert (found.fee, found.commission, found.tax_withheld) == (1747, 5005, 801)
    assert found.paid_at is not None
    assert found.paid_at.isoformat() == "2026-11-21T03:00:00-04:00"


def test_our_ids_are_found_in_the_metadata_where_the_reference_is_another() -> None:
    raw = paid(external_reference="x", metadata={"practice": PRACTICE, "payment": PAYMENT_ID})
    found = mercadopago_provider.normalised(raw)
    assert (found.practice, found.payment) == (PRACTICE, PAYMENT_ID)


def test_mercado_pagos_refunds() -> None:
    made = [
        {"id": n, "amount": 10.5, "status": status}
        for n, status in enumerate(["approved", "in_process", "rejected", "new", None])
    ]
    found = mercadopago_provider.normalised(paid(refunds=made)).refunds
    assert [refund.state for refund in found] == [
        RefundState.SUCCEEDED,
        RefundState.REQUESTED,
        RefundState.FAILED,
        RefundState.REQUESTED,
        RefundState.REQUESTED,
    ]
    assert {refund.amount for refund in found} == {1050}


@given(st.integers(1, 10**12), st.sampled_from(["MXN", "CLP", "BRL"]))
def test_mercado_pagos_amounts_come_back_as_they_went(amount: int, currency: str) -> None:
    sent = mercadopago_provider.to_decimal(amount, currency)
    assert mercadopago_provider.to_minor(sent, currency) == amount


@pytest.mark.parametrize(
    ("details", "currency"),
    [
        (PaymentDetails(method="visa"), "MXN"),
        (PaymentDetails(payer_email="a@example.com"), "MXN"),
        (PaymentDetails(method="visa", payer_email="a@example.com"), "EUR"),
    ],
)
def test_what_mercado_pago_could_not_take_is_not_sent(
    details: PaymentDetails, currency: str
) -> None:
    payment = PaymentItem.create(
        Tenant(PRACTICE).item(PAYMENT, PAYMENT_ID),
        PAYMENT,
        Actor("person-1", "request-1"),
        currency=currency,
        amount=100,
    )
    with pytest.raises(Invalid):
        provider_for("mercadopago").start(None, payment, None, details)  # type: ignore[arg-type]
