"""Stripe's Checkout sessions: a page of Stripe's own on which one payment can be made.

Source: https://docs.stripe.com/api/checkout/sessions. A session has no intent until somebody tries
to pay on it, then one for all its life; that intent is cancelled by expiring the session, not
directly. What the page shows is neutral: a service's name is health data.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from consulta.core.errors import ProviderFailed
from consulta.core.time import to_epoch
from consulta.money.currencies import to_stripe
from consulta.money.provider import (
    CheckoutPage,
    Operation,
    PageState,
    PaymentDetails,
    ProviderPayment,
)
from consulta.money.records import PayeeItem, PaymentItem
from consulta.money.stripe.client import client, translated
from consulta.money.stripe.provider import (
    charge_params,
    is_of,
    metadata_of,
    method_params,
    options_of,
)

PAGE = 100
# A session whose answer was lost was made about when its operation was sent; clocks differ.
LOOKUP_BEFORE_S, LOOKUP_AFTER_S = 300, 600
LOOKUP_PAGES = 20
OPEN = "open"
_STATES = {OPEN: PageState.OPEN, "expired": PageState.EXPIRED}

Read = Callable[[str, PayeeItem], ProviderPayment]


def start(
    operation: Operation, payment: PaymentItem, payee: PayeeItem, details: PaymentDetails
) -> CheckoutPage:
    """A session for one payment, with its ids on the session and on the intent to come.

    Raises Conflict without an account, ProviderFailed; ``details.checkout`` has to be there.
    """
    urls, currency = details.checkout, str(payment.currency)
    if urls is None:
        raise ProviderFailed
    params: dict[str, Any] = {
        "mode": "payment",
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": currency.lower(),
                    "unit_amount": to_stripe(int(payment.amount), currency),
                    "product_data": {"name": f"Payment {payment.item_id}"},
                },
            }
        ],
        "payment_intent_data": charge_params(payment, payee, operation),
        "metadata": metadata_of(payment, operation),
        "client_reference_id": payment.item_id,
        "success_url": urls.success,
        "cancel_url": urls.cancel,
        "expires_at": to_epoch(payment.payable_until),
        **method_params(payment),
    }
    if details.payer_email:
        params["customer_email"] = details.payer_email
    with translated("checkout.sessions.create"):
        made = client().v1.checkout.sessions.create(params, options_of(payee, operation.key))
    return _page(made.to_dict(), ())


def find(payment: PaymentItem, payee: PayeeItem, since: datetime) -> dict[str, Any] | None:
    """The payment's session: by its id, or by its metadata among those made about ``since``.

    Raises ProviderFailed where these are too many to be sure.
    """
    options = options_of(payee)
    with translated("checkout.sessions.find"):
        sessions = client().v1.checkout.sessions
        if payment.checkout_id:
            found: dict[str, Any] = sessions.retrieve(payment.checkout_id, {}, options).to_dict()
            return found
        sent = to_epoch(since)
        created = {"gte": sent - LOOKUP_BEFORE_S, "lte": sent + LOOKUP_AFTER_S}
        page = sessions.list({"created": created, "limit": PAGE}, options)
        for _ in range(LOOKUP_PAGES):
            for session in page:
                found = session.to_dict()
                if is_of(payment, found.get("metadata") or {}):
                    return found
            if not page.has_more:
                return None
            page = page.next_page()
    raise ProviderFailed


def page_of(session: dict[str, Any], payee: PayeeItem, read: Read) -> CheckoutPage:
    """A session in our words; its intent is read, as a session does not say what became of it."""
    intent = session.get("payment_intent")
    return _page(session, (read(str(intent), payee),) if intent else ())


def expire(session_id: str, payee: PayeeItem) -> None:
    """Expire a session. One that is complete or has ended stays as it is."""
    # Without a key: there is nothing that it could make twice, and a replayed failure of Stripe's
    # would keep the session open.
    options = options_of(payee)
    sessions = client().v1.checkout.sessions
    try:
        with translated("checkout.sessions.expire"):
            sessions.expire(session_id, {}, options)
    except ProviderFailed:
        with translated("checkout.sessions.retrieve"):
            found = sessions.retrieve(session_id, {}, options).to_dict()
        if found["status"] == OPEN:
            raise


def _page(session: dict[str, Any], payments: tuple[ProviderPayment, ...]) -> CheckoutPage:
    return CheckoutPage(
        id=session["id"],
        state=_STATES.get(session["status"], PageState.COMPLETE),
        url=session.get("url") or "",
        payments=payments,
    )
