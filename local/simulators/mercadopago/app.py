"""The HTTP side of the Mercado Pago simulator: tokens, idempotency, faults, answers.

POST /oauth/token · POST, GET, PUT /v1/payments · GET /v1/payments/search ·
POST, GET /v1/payments/{id}/refunds · POST, GET, PUT /checkout/preferences ·
GET /checkout/preferences/search · GET /merchant_orders/{id} · GET /authorization ·
GET /v1/chargebacks/search · GET /v1/chargebacks/{id} · GET /post-purchase/v1/claims/{id}
"""

import json
import secrets
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from local.simulators.control import Fault, control_blueprint, drop_connection, spoiled, take_fault
from local.simulators.idempotency import Stored, fingerprint
from local.simulators.mercadopago import contests, oauth, payments, preferences
from local.simulators.mercadopago.bodies import (
    PaymentCreate,
    PaymentUpdate,
    PreferenceCreate,
    PreferenceUpdate,
    RefundCreate,
    Token,
    read,
)
from local.simulators.mercadopago.control import mercadopago_control
from local.simulators.mercadopago.errors import MercadoPagoError, bad_request, unauthorized
from local.simulators.mercadopago.state import Object, Seller, State, to_json

MAX_KEY = 64

Operation = Callable[..., tuple[int, Any]]


def create_app() -> Flask:
    app = Flask("mercadopago_simulator")
    state = State()
    app.register_blueprint(control_blueprint(state))
    app.register_blueprint(mercadopago_control(state))
    for method, path, operation in ROUTES:
        app.add_url_rule(
            path,
            f"{method} {path}",
            lambda _operation=operation, **ids: _answer(state, _operation, ids),
            methods=[method],
        )

    @app.get("/authorization")
    def consent() -> AnyResponse:
        """The seller's browser: consents at once and goes back with code and state."""
        name = request.args.get("seller", "seller")
        with state.lock:
            code = oauth.authorize(state, name, request.args.get("site", "MLM"))
        back = request.args["redirect_uri"]
        joint = "&" if "?" in back else "?"
        return redirect(f"{back}{joint}code={code}&state={request.args.get('state', '')}")

    app.register_error_handler(404, _no_such_resource)
    app.register_error_handler(405, _no_such_resource)
    return app


def _no_such_resource(_: Exception) -> Response:
    return _respond(404, MercadoPagoError(404, f"resource {request.path} not found").body)


def _respond(status: int, body: Any) -> Response:
    text = "" if body is None else to_json(body)
    response = Response(text, status=status, content_type="application/json; charset=utf-8")
    response.headers["x-request-id"] = secrets.token_hex(16)
    return response


def _answer(state: State, operation: Operation, ids: dict[str, str]) -> Response:
    fault = take_fault(state, request.method, request.path)
    if fault and fault.kind == "timeout_before":
        return drop_connection(fault)
    with state.lock:
        try:
            status, body = _handle(state, operation, ids, fault)
        except MercadoPagoError as error:
            status, body = error.status, error.body
        response = _respond(status, body)
    return spoiled(fault, response) if fault else response


def _handle(
    state: State, operation: Operation, ids: dict[str, str], fault: Fault | None
) -> tuple[int, Any]:
    if fault and fault.kind == "status":
        raise MercadoPagoError(fault.status, "Internal error injected by the tester")
    return operation(state, **ids)


def _caller(state: State) -> Seller:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized()
    return state.caller(token)


def _once(state: State, seller: Seller, act: Callable[[], Object]) -> tuple[int, Any]:
    """X-Idempotency-Key: the first answer is 201, its repetition 200 with the same body.

    Seen at the provider: a repeated refund is answered 200 without a body; the setting
    refund_replay "empty" does that. The same key with another body is 409 here.
    """
    key = request.headers.get("X-Idempotency-Key")
    if not key:
        raise bad_request(4292, "Header X-Idempotency-Key can't be null")
    if len(key) > MAX_KEY:
        raise bad_request(1, f"X-Idempotency-Key must have between 1 and {MAX_KEY} characters")
    scope = (str(seller.user_id), key)
    mark = fingerprint(request.method, request.path, request.get_json(force=True, silent=True))
    stored = state.keys.get(scope)
    if stored is None:
        body = act()
        state.keys.put(scope, Stored(mark, 201, to_json(body)))
        return 201, body
    if stored.fingerprint != mark:
        raise MercadoPagoError(
            409,
            "The idempotency key was already used with a different request",
            error="idempotency_key_already_used",
        )
    empty = state.outbox.settings.refund_replay == "empty" and request.path.endswith("/refunds")
    return 200, None if empty else json.loads(stored.body)


def _token(state: State) -> tuple[int, Any]:
    if request.is_json:
        return 200, oauth.token(state, read(Token, request.get_data()))
    return 200, oauth.token(state, read(Token, to_json(request.form.to_dict()).encode()))


def _create_payment(state: State) -> tuple[int, Any]:
    seller = _caller(state)

    def act() -> Object:
        return payments.create(state, seller, read(PaymentCreate, request.get_data()))

    return _once(state, seller, act)


def _get_payment(state: State, payment_id: str) -> tuple[int, Any]:
    return 200, payments.find(state, _caller(state), payment_id)


def _search(state: State) -> tuple[int, Any]:
    return 200, payments.search(state, _caller(state), request.args.to_dict())


def _update_payment(state: State, payment_id: str) -> tuple[int, Any]:
    payment = payments.find(state, _caller(state), payment_id)
    return 200, payments.update(state, payment, read(PaymentUpdate, request.get_data()))


def _create_refund(state: State, payment_id: str) -> tuple[int, Any]:
    seller = _caller(state)

    def act() -> Object:
        payment = payments.find(state, seller, payment_id)
        return payments.refund(state, payment, read(RefundCreate, request.get_data()))

    return _once(state, seller, act)


def _list_refunds(state: State, payment_id: str) -> tuple[int, Any]:
    return 200, payments.find(state, _caller(state), payment_id)["refunds"]


def _get_refund(state: State, payment_id: str, refund_id: str) -> tuple[int, Any]:
    for refund in payments.find(state, _caller(state), payment_id)["refunds"]:
        if str(refund["id"]) == refund_id:
            return 200, refund
    raise MercadoPagoError(404, "Refund not found", 2000)


def _create_preference(state: State) -> tuple[int, Any]:
    seller = _caller(state)
    body = read(PreferenceCreate, request.get_data())
    return 201, preferences.create_preference(state, seller, body, request.host_url.rstrip("/"))


def _get_preference(state: State, preference_id: str) -> tuple[int, Any]:
    seller = _caller(state)
    return 200, preferences.find(state, seller, preference_id)


def _update_preference(state: State, preference_id: str) -> tuple[int, Any]:
    preference = preferences.find(state, _caller(state), preference_id)
    return 200, preferences.update(preference, read(PreferenceUpdate, request.get_data()))


def _search_preferences(state: State) -> tuple[int, Any]:
    return 200, preferences.search(state, _caller(state), request.args.to_dict())


def _get_order(state: State, order_id: str) -> tuple[int, Any]:
    return 200, preferences.find_order(state, _caller(state), order_id)


def _search_chargebacks(state: State) -> tuple[int, Any]:
    return 200, contests.search(state, _caller(state), request.args.to_dict())


def _get_chargeback(state: State, chargeback_id: str) -> tuple[int, Any]:
    return 200, contests.find(state, _caller(state), chargeback_id)


def _get_claim(state: State, claim_id: str) -> tuple[int, Any]:
    return 200, contests.find_claim(state, _caller(state), claim_id)


ROUTES: tuple[tuple[str, str, Operation], ...] = (
    ("POST", "/oauth/token", _token),
    ("POST", "/v1/payments", _create_payment),
    ("GET", "/v1/payments/search", _search),
    ("GET", "/v1/payments/<payment_id>", _get_payment),
    ("PUT", "/v1/payments/<payment_id>", _update_payment),
    ("POST", "/v1/payments/<payment_id>/refunds", _create_refund),
    ("GET", "/v1/payments/<payment_id>/refunds", _list_refunds),
    ("GET", "/v1/payments/<payment_id>/refunds/<refund_id>", _get_refund),
    ("POST", "/checkout/preferences", _create_preference),
    ("GET", "/checkout/preferences/search", _search_preferences),
    ("GET", "/checkout/preferences/<preference_id>", _get_preference),
    ("GET", "/v1/chargebacks/search", _search_chargebacks),
    ("GET", "/v1/chargebacks/<chargeback_id>", _get_chargeback),
    ("GET", "/post-purchase/v1/claims/<claim_id>", _get_claim),
    ("PUT", "/checkout/preferences/<preference_id>", _update_preference),
    ("GET", "/merchant_orders/<order_id>", _get_order),
)
