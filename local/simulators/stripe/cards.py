"""Test payment methods and the charges that they make.

Source: https://docs.stripe.com/testing.
"""

from dataclasses import dataclass
from typing import Any

from local.simulators.stripe.errors import missing
from local.simulators.stripe.objects import new
from local.simulators.stripe.state import Object


@dataclass(frozen=True)
class Card:
    last4: str
    brand: str = "visa"
    authenticate: bool = False
    code: str | None = None
    decline_code: str | None = None


CARDS = {
    "pm_card_visa": Card("4242"),
    "pm_card_mastercard": Card("4444", brand="mastercard"),
    "pm_card_authenticationRequired": Card("3184", authenticate=True),
    "pm_card_chargeDeclined": Card("0002", code="card_declined", decline_code="generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": Card(
        "9995", code="card_declined", decline_code="insufficient_funds"
    ),
    "pm_card_chargeDeclinedExpiredCard": Card("0069", code="expired_card"),
}


def known(payment_method: str) -> Card:
    if payment_method not in CARDS:
        raise missing("PaymentMethod", payment_method, "payment_method")
    return CARDS[payment_method]


def outcome(kind: str, reason: str | None = None) -> dict[str, Any]:
    authorized = kind == "authorized"
    return {
        "advice_code": None,
        "network_status": "approved_by_network" if authorized else "declined_by_network",
        "reason": reason,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "Payment complete." if authorized else "The bank declined the payment.",
        "type": kind,
    }


def charge_for(intent: Object, card: Card | None) -> Object:
    kind = "card" if card else intent["payment_method_types"][0]
    details: dict[str, Any] = {}
    if card:
        details = {
            "brand": card.brand,
            "capture_before": None,
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "funding": "credit",
            "last4": card.last4,
            "network": card.brand,
        }
    return new(
        "charge",
        amount=intent["amount"],
        amount_captured=intent["amount"],
        amount_refunded=0,
        application=intent["application"],
        application_fee_amount=intent["application_fee_amount"],
        billing_details={"address": None, "email": None, "name": None, "phone": None},
        captured=True,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        fraud_details={},
        metadata=dict(intent["metadata"]),
        on_behalf_of=intent["on_behalf_of"],
        outcome=outcome("authorized"),
        paid=True,
        payment_intent=intent["id"],
        payment_method=intent["payment_method"],
        payment_method_details={"type": kind, kind: details},
        receipt_email=intent["receipt_email"],
        refunded=False,
        status="succeeded",
        transfer_data=dict(intent["transfer_data"]) if intent["transfer_data"] else None,
        transfer_group=intent["transfer_group"],
    )
