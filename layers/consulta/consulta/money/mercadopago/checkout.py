"""Mercado Pago's preferences: a page of Mercado Pago's own on which a payment can be made.

Source: https://www.mercadopago.com/developers/en/reference/preferences. A preference knows nothing
of its payments: these are found by our reference, and there may be several, even two approved. It
is ended by moving its end to now. Vouchers are excluded: they outlive every hold. What the page
shows is neutral: a service's name is health data.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from consulta.core.errors import NotFound, ProviderFailed
from consulta.core.time import now
from consulta.money.currencies import to_decimal
from consulta.money.mercadopago.provider import call, metadata_of, reference, stamp
from consulta.money.provider import (
    CheckoutPage,
    Operation,
    PageState,
    PaymentDetails,
    ProviderPayment,
)
from consulta.money.records import PayeeItem, PaymentItem, State

PAGE = 50
EXCLUDED_TYPES = ("ticket", "atm")


def start(
    operation: Operation, payment: PaymentItem, payee: PayeeItem, details: PaymentDetails
) -> CheckoutPage:
    """A preference for one payment until its ``payable_until``.

    Raises Conflict without a connection, ProviderFailed; ``details.checkout`` has to be there.
    """
    urls, currency = details.checkout, str(payment.currency)
    if urls is None:
        raise ProviderFailed
    ends = stamp(payment.payable_until)
    body: dict[str, Any] = {
        "items": [
            {
                "id": payment.item_id,
                "title": f"Payment {payment.item_id}",
                "quantity": 1,
                "unit_price": to_decimal(int(payment.amount), currency),
                "currency_id": currency,
            }
        ],
        "external_reference": reference(payment),
        "metadata": metadata_of(payment, operation),
        # Pending (Pix, a review) is on its way like success: our own page shows which it is.
        "back_urls": {"success": urls.success, "pending": urls.success, "failure": urls.cancel},
        "expires": True,
        "expiration_date_to": ends,
        # What is paid outside of the page, as Pix is, ends with it.
        "date_of_expiration": ends,
        "payment_methods": {"excluded_payment_types": [{"id": kind} for kind in EXCLUDED_TYPES]},
    }
    if payment.commission:
        body["marketplace_fee"] = to_decimal(int(payment.commission), currency)
    if details.payer_email:
        body["payer"] = {"email": details.payer_email}
    if urls.success.startswith("https:"):
        # Refused for any address that is not https, as a developer's own machine is not.
        body["auto_return"] = "approved"
    made = call("preference.create", payee, operation.key, "preference", "create", body)
    return page_of(made, ())


def find(payment: PaymentItem, payee: PayeeItem) -> dict[str, Any] | None:
    """The payment's preference: by its id, or the newest with our reference."""
    preference_id = payment.checkout_id or next(iter(_ids(payment, payee)), None)
    if preference_id is None:
        return None
    found: dict[str, Any] = call(
        "preference.get", payee, "", "preference", "get", str(preference_id)
    )
    return found


def page_of(preference: dict[str, Any], payments: Sequence[ProviderPayment]) -> CheckoutPage:
    """A preference in our words, with what was made on it."""
    ends = preference.get("expiration_date_to") if preference.get("expires") else None
    if any(made.state not in (State.OPEN, State.CANCELLED) for made in payments):
        state = PageState.COMPLETE
    elif ends and datetime.fromisoformat(ends) <= now():
        state = PageState.EXPIRED
    else:
        state = PageState.OPEN
    url = str(preference.get("init_point") or "") if state is PageState.OPEN else ""
    return CheckoutPage(str(preference["id"]), state, url, tuple(payments))


def expire(payment: PaymentItem, payee: PayeeItem, preference_id: str) -> None:
    """Move the end of the payment's preferences to now.

    Creating one has no idempotency of the provider's: an answer that was lost may have left one
    behind, which is found by our reference.
    """
    body = {"expires": True, "expiration_date_to": stamp(now())}
    for found in {preference_id, *_ids(payment, payee)}:
        try:
            call("preference.update", payee, "", "preference", "update", found, body)
        except NotFound:
            continue


def _ids(payment: PaymentItem, payee: PayeeItem) -> list[str]:
    """Of all preferences with our reference, the newest first."""
    filters = {"external_reference": reference(payment), "limit": PAGE}
    listed = call("preference.search", payee, "", "preference", "search", filters)
    found = sorted(listed.get("elements") or [], key=_made_at, reverse=True)
    return [str(preference["id"]) for preference in found]


def _made_at(preference: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(preference["date_created"])
