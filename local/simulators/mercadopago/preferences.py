"""Checkout Pro preferences; paying one makes a payment with its marketplace fee."""

import uuid
from decimal import Decimal

from local.simulators.mercadopago import payments
from local.simulators.mercadopago.bodies import Payer, PaymentCreate, PreferenceCreate
from local.simulators.mercadopago.errors import MercadoPagoError, bad_request
from local.simulators.mercadopago.state import (
    APPLICATION_ID,
    PLATFORM_ID,
    SITES,
    Object,
    Seller,
    State,
    stamp,
)


def create_preference(
    state: State, seller: Seller, body: PreferenceCreate, base_url: str
) -> Object:
    if not body.items:
        raise bad_request(1, "items is required")
    if body.marketplace_fee and seller.user_id == PLATFORM_ID:
        raise bad_request(2059, "You cannot use marketplace_fee with this preference")
    preference_id = f"{seller.user_id}-{uuid.uuid4()}"
    currency = SITES[seller.site][0]
    preference = body.model_dump() | {
        "id": preference_id,
        "client_id": str(APPLICATION_ID),
        "collector_id": seller.user_id,
        "date_created": stamp(),
        "init_point": f"{base_url}/checkout/v1/redirect?pref_id={preference_id}",
        "items": [{"currency_id": currency} | i.model_dump(exclude_none=True) for i in body.items],
        "operation_type": "regular_payment",
        "sandbox_init_point": f"{base_url}/checkout/v1/redirect?pref_id={preference_id}",
        "site_id": seller.site,
    }
    return state.keep(state.preferences, preference_id, preference)


def pay_preference(
    state: State, preference_id: str, token: str = "tok_approved", method: str = "visa"
) -> Object:
    """What the buyer does on the page that init_point leads to."""
    preference = state.preferences.get(preference_id)
    if preference is None:
        raise MercadoPagoError(404, f"preference_id {preference_id} not found")
    sellers = (state.platform, *state.sellers.values())
    seller = next(s for s in sellers if s.user_id == preference["collector_id"])
    total = sum((i["unit_price"] * i["quantity"] for i in preference["items"]), Decimal(0))
    body = PaymentCreate(
        transaction_amount=total,
        application_fee=preference["marketplace_fee"] or None,
        external_reference=preference["external_reference"],
        installments=1,
        metadata=preference["metadata"],
        payer=Payer(email="buyer@example.com"),
        payment_method_id=method,
        token=token,
    )
    return payments.create(state, seller, body)
