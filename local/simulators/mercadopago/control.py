"""What buyers, sellers and banks do, for tests and for curl: this part of /_control.

POST authorize                  {"seller": name, "site"?: "MLM"}: {"code", "user_id"}
POST deauthorize                {"seller": name}
POST payments/{id}/approve      {"date_approved"?: ISO 8601}
POST payments/{id}/release      the seller may use the money
POST payments/{id}/chargeback   {"amount"?, "reason"?}: the bank takes it back; {"id"}
POST chargebacks/{id}           {"status": won or lost}
POST payments/{id}/claim        the buyer complains to the provider; {"id"}
POST payments/{id}/alert        the provider takes it for fraud
POST payments/{id}              {"status", "status_detail"}: rejected, charged_back, in_mediation …
POST preferences/{id}/pay       {"token"?, "payment_method_id"?}: as often as it is called
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from flask import Blueprint, Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from local.simulators.control import body_of_request, refuse_as_json, required
from local.simulators.mercadopago import contests, oauth, payments
from local.simulators.mercadopago.errors import MercadoPagoError, payment_not_found
from local.simulators.mercadopago.preferences import pay_preference
from local.simulators.mercadopago.state import SITES, Object, State, to_json


def _json(body: Any, status: int = 200) -> Response:
    return Response(to_json(body), status=status, content_type="application/json")


def _payment(state: State, payment_id: int) -> Object:
    payment = state.payments.get(payment_id)
    if payment is None:
        raise payment_not_found()
    return payment


def mercadopago_control(state: State) -> Blueprint:
    plane = Blueprint("mercadopago_control", __name__)

    @plane.post("/_control/authorize")
    def authorize() -> Response:
        body = required(body_of_request(), "seller")
        site = body.get("site", "MLM")
        if site not in SITES:
            abort(400, f"site is one of: {', '.join(SITES)}")
        with state.lock:
            code = oauth.authorize(state, body["seller"], site)
            return _json({"code": code, "user_id": state.sellers[body["seller"]].user_id})

    @plane.post("/_control/deauthorize")
    def deauthorize() -> Response:
        name = body_of_request().get("seller")
        with state.lock:
            if name not in state.sellers:
                abort(404, f"no seller {name}")
            return _json({"user_id": oauth.deauthorize(state, str(name)).user_id})

    @plane.post("/_control/payments/<int:payment_id>/approve")
    def approve(payment_id: int) -> Response:
        given = body_of_request().get("date_approved")
        approved = datetime.fromisoformat(given).astimezone() if given else None
        with state.lock:
            return _json(payments.approve(state, _payment(state, payment_id), approved))

    @plane.post("/_control/payments/<int:payment_id>/release")
    def release(payment_id: int) -> Response:
        with state.lock:
            return _json(payments.release(state, _payment(state, payment_id)))

    @plane.post("/_control/payments/<int:payment_id>")
    def change(payment_id: int) -> Response:
        body = required(body_of_request(), "status", "status_detail")
        with state.lock:
            payment = _payment(state, payment_id)
            changed = payments.set_status(state, payment, body["status"], body["status_detail"])
            return _json(changed)

    @plane.post("/_control/preferences/<preference_id>/pay")
    def pay(preference_id: str) -> Response:
        body = body_of_request()
        token = body.get("token", "tok_approved")
        method = body.get("payment_method_id", "visa")
        with state.lock:
            return _json(pay_preference(state, preference_id, token, method))

    @plane.get("/checkout/v1/redirect")
    def checkout_page() -> AnyResponse:
        """The page that init_point leads to: it pays and goes on to back_urls.success."""
        preference_id = request.args["pref_id"]
        with state.lock:
            pay_preference(state, preference_id)
            urls = state.preferences[preference_id]["back_urls"] or {}
        return redirect(urls.get("success", "/_control/health"))

    _contests(plane, state)
    refuse_as_json(plane)

    @plane.errorhandler(MercadoPagoError)
    def refused(error: MercadoPagoError) -> Response:
        return _json(error.body, error.status)

    return plane


def _contests(plane: Blueprint, state: State) -> None:
    @plane.post("/_control/payments/<int:payment_id>/chargeback")
    def charge_back(payment_id: int) -> Response:
        body = body_of_request()
        amount = Decimal(str(body["amount"])) if "amount" in body else None
        with state.lock:
            payment = _payment(state, payment_id)
            reason = body.get("reason", "general")
            return _json(contests.open_chargeback(state, payment, amount, reason))

    @plane.post("/_control/chargebacks/<chargeback_id>")
    def end(chargeback_id: str) -> Response:
        how = required(body_of_request(), "status")["status"]
        if how not in contests.ENDS:
            abort(400, f"status is one of: {', '.join(contests.ENDS)}")
        with state.lock:
            if chargeback_id not in state.chargebacks:
                abort(404, f"no chargeback {chargeback_id}")
            return _json(contests.end_chargeback(state, state.chargebacks[chargeback_id], how))

    @plane.post("/_control/payments/<int:payment_id>/claim")
    def claim(payment_id: int) -> Response:
        with state.lock:
            return _json(contests.open_claim(state, _payment(state, payment_id)))

    @plane.post("/_control/payments/<int:payment_id>/alert")
    def alert(payment_id: int) -> Response:
        with state.lock:
            contests.alert(state, _payment(state, payment_id))
            return _json({"id": payment_id})
