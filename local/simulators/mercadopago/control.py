"""What buyers, sellers and banks do, for tests and for curl: this part of /_control.

POST authorize                  {"seller": name, "site"?: "MLM"}: {"code", "user_id"}
POST deauthorize                {"seller": name}
POST payments/{id}/approve      {"date_approved"?: ISO 8601}
POST payments/{id}              {"status", "status_detail"}: rejected, charged_back, in_mediation …
POST preferences/{id}/pay       {"token"?, "payment_method_id"?}
"""

from datetime import datetime
from typing import Any

from flask import Blueprint, Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from local.simulators.control import body_of_request, refuse_as_json, required
from local.simulators.mercadopago import oauth, payments
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

    refuse_as_json(plane)

    @plane.errorhandler(MercadoPagoError)
    def refused(error: MercadoPagoError) -> Response:
        return _json(error.body, error.status)

    return plane
