"""Chargebacks and claims: what buyers contest with their bank, or with the provider itself.

Sources: https://www.mercadopago.com/developers/en/reference/chargebacks/_chargebacks_id/get and
https://www.mercadopago.com/developers/en/reference/claims/_claim_resource/get. A chargeback is read
by its own id or by its payment's.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from local.simulators.mercadopago import payments
from local.simulators.mercadopago.errors import MercadoPagoError, bad_request
from local.simulators.mercadopago.state import Object, Seller, State, stamp

ANSWER_DAYS = 7
PAID = ("approved", "in_mediation")
# How a chargeback ends: the payment's status_detail, and whether the provider covers the seller.
ENDS = {"won": ("reimbursed", True), "lost": ("settled", False)}


def open_chargeback(
    state: State, payment: Object, amount: Decimal | None = None, reason: str = "general"
) -> Object:
    """The buyer's bank takes the money back until it is decided; the seller is told."""
    if payment["status"] not in PAID:
        raise bad_request(2063, "The action requested is not valid for the current payment state")
    opened = datetime.now(UTC)
    chargeback_id = str(217_000_000_000_000_000 + state.next_id())
    chargeback: Object = {
        "id": chargeback_id,
        "amount": payment["transaction_amount"] if amount is None else amount,
        "coverage_applied": None,
        "coverage_elegible": False,
        "currency": payment["currency_id"],
        "date_created": stamp(opened),
        "date_documentation_deadline": stamp(opened + timedelta(days=ANSWER_DAYS)),
        "date_last_updated": stamp(opened),
        "documentation": [],
        "documentation_required": True,
        "documentation_status": "pending",
        "live_mode": False,
        "payments": [payment["id"]],
        "reason": reason,
    }
    state.keep(state.chargebacks, chargeback_id, chargeback)
    payments.set_status(state, payment, "charged_back", "in_process")
    _notify(state, chargeback, payment, "created")
    return chargeback


def end_chargeback(state: State, chargeback: Object, how: str) -> Object:
    """The bank has decided: the payment says how, and the seller is told again."""
    detail, covered = ENDS[how]
    payment = state.payments[chargeback["payments"][0]]
    chargeback |= {
        "coverage_applied": covered,
        "date_last_updated": stamp(),
        "documentation_status": "valid" if covered else "invalid",
    }
    payments.set_status(state, payment, "charged_back", detail)
    _notify(state, chargeback, payment, "updated")
    return chargeback


def _notify(state: State, chargeback: Object, payment: Object, action: str) -> None:
    state.notify("topic_chargebacks_wh", action, chargeback["id"], payment["collector_id"])


def find(state: State, seller: Seller, wanted: str) -> Object:
    """By the chargeback's id, or by the id of its payment."""
    for chargeback in state.chargebacks.values():
        payment_id = str(chargeback["payments"][0])
        if wanted in (chargeback["id"], payment_id) and state.visible(seller, payment_id):
            return chargeback
    raise MercadoPagoError(404, "Chargeback not found")


def search(state: State, seller: Seller, query: dict[str, str]) -> Object:
    """Those of one payment, a page of them."""
    if unknown := sorted(set(query) - {"limit", "offset", "payment_id"}):
        raise bad_request(8, f"This simulator cannot search by {', '.join(unknown)}")
    found = [
        chargeback
        for chargeback in state.chargebacks.values()
        if state.visible(seller, str(chargeback["payments"][0]))
        and query.get("payment_id") in (None, str(chargeback["payments"][0]))
    ]
    limit, offset = int(query.get("limit", 30)), int(query.get("offset", 0))
    paging = {"total": len(found), "limit": limit, "offset": offset}
    return {"paging": paging, "results": found[offset : offset + limit]}


def open_claim(state: State, payment: Object) -> Object:
    """The buyer complains to the provider, which mediates: the money is held meanwhile."""
    if payment["status"] not in PAID:
        raise bad_request(2063, "The action requested is not valid for the current payment state")
    claim_id = str(state.next_id())
    claim: Object = {
        "id": int(claim_id),
        "date_created": stamp(),
        "last_updated": stamp(),
        "players": [],
        "reason_id": "PDD9939",
        "resolution": None,
        "resource": "payment",
        "resource_id": payment["id"],
        "stage": "claim",
        "status": "opened",
        "type": "mediations",
    }
    state.keep(state.claims, claim_id, claim)
    payments.set_status(state, payment, "in_mediation", "pending")
    state.notify("topic_claims_integration_wh", "created", claim_id, payment["collector_id"])
    return claim


def find_claim(state: State, seller: Seller, claim_id: str) -> Object:
    claim = state.claims.get(claim_id)
    if claim is None or not state.visible(seller, str(claim["resource_id"])):
        raise MercadoPagoError(404, "Claim not found")
    return claim


def alert(state: State, payment: Object) -> None:
    """A fraud alert: the one notification without ``data.id``, which names the payment instead."""
    event: Object = {
        "action": "Created",
        "api_version": "v1",
        "data": {
            "description": "fraud",
            "merchant_order": 0,
            "payment_id": payment["id"],
            "site_id": "MLM",
        },
        "date_created": stamp(),
        "id": str(payment["id"]),
        "live_mode": False,
        "type": "stop_delivery_op_wh",
        "user_id": payment["collector_id"],
        "version": 1,
    }
    state.outbox.emit(f"alert-{payment['id']}", event)
