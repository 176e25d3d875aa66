"""What people and banks do, for tests and for curl: the Stripe part of /_control.

POST pay/{pi_… or cs_…}            {"payment_method"?}: what Stripe.js or Checkout does in a browser
                                   with a card of the tests, or with another method's name: pix
POST payment_intents/{id}/authenticate   {"outcome"?: "succeeded" | "failed"}
POST accounts/{id}                 {"state": "enabled" | "restricted" | "not_submitted"}
POST accounts/{id}/deauthorize     the owner disconnects the platform
POST disputes                      {"charge", "status"?, "amount"?, "reason"?}
POST disputes/{id}                 {"status"}
POST early_fraud_warnings          {"charge", "fraud_type"?}
POST refunds/{id}/fail
POST settlement                    {"account"?, "currency", "rates": {"mxn": 0.058}}: what comes in
                                   these currencies is kept in that one, at these rates
POST balance                       {"account"?}: what is pending becomes available
POST payouts                       {"account"?, "amount"? (all without), "currency", "status"?}
POST payouts/{id}                  {"status": "paid" | "failed" | "canceled"}
POST thin                          {"type", "id", "object"?, "context"?}: a thin event of v2
"""

from decimal import Decimal

from flask import Blueprint, Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from local.simulators.control import body_of_request, refuse_as_json, required
from local.simulators.stripe import (
    accounts,
    balance,
    checkout,
    disputes,
    fraud_warnings,
    intents,
    payouts,
    refunds,
    thin,
)
from local.simulators.stripe.errors import StripeError
from local.simulators.stripe.state import Call, Object, State, to_json


def _json(body: Object, status: int = 200) -> Response:
    return Response(to_json(body), status=status, content_type="application/json")


def _base() -> str:
    return request.host_url.rstrip("/")


def stripe_control(state: State) -> Blueprint:
    plane = Blueprint("stripe_control", __name__)

    @plane.before_request
    def nobody_asked_through_the_api() -> None:
        with state.lock:
            state.request = {"id": None, "idempotency_key": None}

    @plane.post("/_control/accounts/<account_id>")
    def change_account(account_id: str) -> Response:
        name = body_of_request().get("state")
        if name not in accounts.STATES:
            abort(400, f"state is one of: {', '.join(accounts.STATES)}")
        with state.lock:
            return _json(accounts.change_state(state, account_id, str(name)))

    @plane.post("/_control/accounts/<account_id>/deauthorize")
    def deauthorize(account_id: str) -> Response:
        with state.lock:
            return _json(accounts.deauthorize(state, account_id))

    @plane.post("/_control/disputes")
    def open_dispute() -> Response:
        body = required(body_of_request(), "charge")
        with state.lock:
            account, charge = state.where("charge", str(body["charge"]))
            dispute = disputes.open_one(
                state,
                account,
                charge,
                status=body.get("status", "needs_response"),
                amount=body.get("amount") or charge["amount_captured"],
                reason=body.get("reason", "general"),
            )
            return _json(dispute)

    @plane.post("/_control/disputes/<dispute_id>")
    def change_dispute(dispute_id: str) -> Response:
        status = str(body_of_request().get("status"))
        with state.lock:
            account, dispute = state.where("dispute", dispute_id)
            return _json(disputes.change(state, account, dispute, status))

    @plane.post("/_control/refunds/<refund_id>/fail")
    def fail_refund(refund_id: str) -> Response:
        with state.lock:
            account, refund = state.where("refund", refund_id)
            return _json(refunds.fail(state, account, refund))

    @plane.post("/_control/settlement")
    def settle_in_another_currency() -> Response:
        body = required(body_of_request(), "currency", "rates")
        account, into = body.get("account"), str(body["currency"]).lower()
        with state.lock:
            if account is not None:
                accounts.change_currency(state, str(account), into)
            state.exchanges[account] = {
                currency.lower(): (into, Decimal(str(rate)))
                for currency, rate in body["rates"].items()
            }
        return _json(body)

    @plane.post("/_control/balance")
    def funds_become_available() -> Response:
        account = body_of_request().get("account")
        with state.lock:
            if account is not None:
                state.get(None, "account", str(account), "account")
            return _json(balance.make_available(state, account))

    @plane.post("/_control/payouts")
    def create_payout() -> Response:
        body = body_of_request()
        with state.lock:
            return _json(payouts.create(state, body))

    @plane.post("/_control/payouts/<payout_id>")
    def change_payout(payout_id: str) -> Response:
        status = str(body_of_request().get("status"))
        with state.lock:
            account, payout = state.where("payout", payout_id)
            return _json(payouts.change(state, account, payout, status))

    _add_warnings(plane, state)
    _add_payers(plane, state)
    _add_pages(plane, state)

    _thin_events(plane, state)
    refuse_as_json(plane)

    @plane.errorhandler(StripeError)
    def refused(error: StripeError) -> Response:
        return _json({"error": error.error}, error.status)

    return plane


def _add_warnings(plane: Blueprint, state: State) -> None:
    """What card issuers suspect."""

    @plane.post("/_control/early_fraud_warnings")
    def warn() -> Response:
        body = required(body_of_request(), "charge")
        with state.lock:
            account, charge = state.where("charge", str(body["charge"]))
            kind = str(body.get("fraud_type", "made_with_stolen_card"))
            return _json(fraud_warnings.open_one(state, account, charge, kind))


def _add_payers(plane: Blueprint, state: State) -> None:
    """What payers do in their browser."""

    @plane.post("/_control/pay/<object_id>")
    def pay(object_id: str) -> Response:
        payment_method = body_of_request().get("payment_method", "pm_card_visa")
        with state.lock:
            if object_id.startswith("cs_"):
                account, session = state.where("checkout.session", object_id)
                return _json(checkout.pay(state, account, session, payment_method, _base()))
            account, intent = state.where("payment_intent", object_id)
            params = intents.as_params(payment_method)
            call = Call(account=account, params=params, base_url=_base())
            return _json(intents.confirm(state, call, intent["id"]))

    @plane.route("/_control/payment_intents/<intent_id>/authenticate", methods=["GET", "POST"])
    def authenticate(intent_id: str) -> Response:
        outcome = body_of_request().get("outcome", "succeeded")
        with state.lock:
            account, intent = state.where("payment_intent", intent_id)
            done = intents.finish(state, account, intent, succeeded=outcome == "succeeded")
            checkout.complete(state, account, intent_id)
            return _json(done)


def _add_pages(plane: Blueprint, state: State) -> None:
    """The pages that Stripe hosts, reduced to what comes of visiting them."""

    @plane.get("/setup/<account_id>/<_secret>")
    def setup_page(account_id: str, _secret: str) -> AnyResponse:
        """The page that an account link leads to: it completes onboarding and goes back."""
        with state.lock:
            accounts.change_state(state, account_id, "enabled")
        return redirect(request.args.get("return_url", "/_control/health"))

    @plane.get("/c/pay/<session_id>")
    def checkout_page(session_id: str) -> AnyResponse:
        """The page that a Checkout session leads to: it pays and goes on to success_url."""
        with state.lock:
            account, session = state.where("checkout.session", session_id)
            checkout.pay(state, account, session, "pm_card_visa")
            to = (session["success_url"] or "/_control/health").replace(
                "{CHECKOUT_SESSION_ID}", session_id
            )
        return redirect(to)


def _thin_events(plane: Blueprint, state: State) -> None:
    @plane.post("/_control/thin")
    def tell_thinly() -> Response:
        body = required(body_of_request(), "type", "id")
        kind, object_id = body["type"], body["id"]
        subject = {"id": object_id, "type": body.get("object", "account"), "url": f"/{object_id}"}
        with state.lock:
            return _json(thin.emit(state, kind, subject, body.get("context")))
