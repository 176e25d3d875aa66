"""Checkout Pro preferences; paying one makes a payment with its marketplace fee.

A preference is paid as long as it has not ended, and as often as somebody does: each time makes a
payment of its own, and all of them are in one merchant order.
"""

import uuid
from datetime import UTC, datetime
from decimal import Decimal

from local.simulators.mercadopago import payments
from local.simulators.mercadopago.bodies import (
    Payer,
    PaymentCreate,
    PreferenceCreate,
    PreferenceUpdate,
)
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

_MOMENTS = ("date_of_expiration", "expiration_date_from", "expiration_date_to")


def create_preference(
    state: State, seller: Seller, body: PreferenceCreate, base_url: str
) -> Object:
    if not body.items:
        raise bad_request(1, "items is required")
    if body.marketplace_fee and seller.user_id == PLATFORM_ID:
        raise bad_request(2059, "You cannot use marketplace_fee with this preference")
    currency = SITES[seller.site][0]
    _check(body, currency)
    preference_id = f"{seller.user_id}-{uuid.uuid4()}"
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


def _check(body: PreferenceCreate, currency: str) -> None:
    if body.auto_return and not (body.back_urls or {}).get("success", "").startswith("https:"):
        raise bad_request(1, "auto_return invalid. back_url.success must be defined")
    if any(item.currency_id not in (None, currency) for item in body.items):
        raise bad_request(1, f"currency_id invalid, the seller takes {currency}")
    if any(item.unit_price <= 0 for item in body.items):
        raise bad_request(1, "unit_price invalid")
    total = sum((item.unit_price * item.quantity for item in body.items), Decimal(0))
    if body.marketplace_fee > total:
        raise bad_request(4038, "marketplace_fee cannot be bigger than the total")
    _check_moments(body)


def _check_moments(body: PreferenceCreate | PreferenceUpdate) -> None:
    for name in _MOMENTS:
        given = getattr(body, name)
        if given is not None and datetime.fromisoformat(given).tzinfo is None:
            raise bad_request(23, f"The following parameters must be valid date: {name}")


def find(state: State, seller: Seller, preference_id: str) -> Object:
    preference = state.preferences.get(preference_id)
    if preference is None or preference["collector_id"] != seller.user_id:
        raise MercadoPagoError(404, f"preference_id {preference_id} not found")
    return preference


def update(preference: Object, body: PreferenceUpdate) -> Object:
    _check_moments(body)
    preference |= body.model_dump(exclude_unset=True)
    return preference


def search(state: State, seller: Seller, query: dict[str, str]) -> Object:
    """The seller's own by external_reference, the newest first, without what only one shows."""
    handled = {"external_reference", "limit", "offset"}
    if unknown := sorted(set(query) - handled):
        raise bad_request(8, f"This simulator cannot search by {', '.join(unknown)}")
    reference = query.get("external_reference")
    found = [
        {name: value for name, value in preference.items() if not name.endswith("init_point")}
        for preference in reversed(state.preferences.values())
        if preference["collector_id"] == seller.user_id
        and reference in (None, preference["external_reference"])
    ]
    limit, offset = int(query.get("limit", 30)), int(query.get("offset", 0))
    page = found[offset : offset + limit]
    return {"elements": page, "next_offset": offset + len(page), "total": len(found)}


def pay_preference(
    state: State, preference_id: str, token: str = "tok_approved", method: str = "visa"
) -> Object:
    """What the buyer does on the page that init_point leads to."""
    preference = state.preferences.get(preference_id)
    if preference is None:
        raise MercadoPagoError(404, f"preference_id {preference_id} not found")
    _check_payable(preference, method)
    sellers = (state.platform, *state.sellers.values())
    seller = next(s for s in sellers if s.user_id == preference["collector_id"])
    total = sum((i["unit_price"] * i["quantity"] for i in preference["items"]), Decimal(0))
    order = _order_of(state, preference)
    body = PaymentCreate(
        transaction_amount=total,
        application_fee=preference["marketplace_fee"] or None,
        date_of_expiration=preference["date_of_expiration"] if method == "pix" else None,
        external_reference=preference["external_reference"],
        installments=1,
        metadata=preference["metadata"],
        order={"id": str(order["id"]), "type": "mercadopago"},
        payer=Payer(email="buyer@example.com"),
        payment_method_id=method,
        token=None if method in payments.VOUCHERS else token,
    )
    payment = payments.create(state, seller, body, on_page=True)
    order["payments"].append(payment["id"])
    state.notify("topic_merchant_order_wh", "updated", str(order["id"]), seller.user_id)
    return payment


def _check_payable(preference: Object, method: str) -> None:
    ends = preference["expiration_date_to"] if preference["expires"] else None
    if ends and datetime.fromisoformat(ends) <= datetime.now(UTC):
        raise MercadoPagoError(400, "The preference has expired")
    kind = payments.VOUCHERS[method][0] if method in payments.VOUCHERS else "credit_card"
    excluded = (preference["payment_methods"] or {}).get("excluded_payment_types") or []
    if {"id": kind} in excluded:
        raise MercadoPagoError(400, f"The preference does not take {kind}")


# ---------------------------------------------------------------- merchant orders


def _order_of(state: State, preference: Object) -> Object:
    for order in state.orders.values():
        if order["preference_id"] == preference["id"]:
            return order
    order_id = state.next_id()
    order: Object = {
        "id": order_id,
        "collector": {"id": preference["collector_id"]},
        "date_created": stamp(),
        "external_reference": preference["external_reference"],
        "payments": [],
        "preference_id": preference["id"],
        "site_id": preference["site_id"],
    }
    return state.keep(state.orders, order_id, order)


def find_order(state: State, seller: Seller, order_id: str) -> Object:
    """An order with its payments as they are now."""
    order = state.orders.get(int(order_id)) if order_id.isdigit() else None
    if order is None or order["collector"]["id"] != seller.user_id:
        raise MercadoPagoError(404, "Merchant order not found")
    made = [state.payments[payment_id] for payment_id in order["payments"]]
    shown = ("id", "status", "status_detail", "transaction_amount", "currency_id", "date_approved")
    return order | {"payments": [{name: one[name] for name in shown} for one in made]}
