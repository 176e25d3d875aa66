"""The HTTP side of the Stripe simulator: keys, accounts, idempotency, faults, answers."""

import base64
import hmac
from typing import Any
from urllib.parse import parse_qsl

from flask import Flask, Response, request

from local.simulators.control import Fault, control_blueprint, drop_connection, spoiled, take_fault
from local.simulators.idempotency import Stored, fingerprint
from local.simulators.stripe.control import stripe_control
from local.simulators.stripe.errors import StripeError, invalid_request
from local.simulators.stripe.objects import API_VERSION, token
from local.simulators.stripe.params import check, nested
from local.simulators.stripe.routes import ROUTES, Route
from local.simulators.stripe.state import Call, Object, State, expanded, to_json

MAX_KEY = 255
# What Stripe shows to a publishable key.
_PUBLIC = frozenset(
    {
        "id",
        "object",
        "amount",
        "automatic_payment_methods",
        "canceled_at",
        "cancellation_reason",
        "capture_method",
        "client_secret",
        "confirmation_method",
        "created",
        "currency",
        "description",
        "last_payment_error",
        "livemode",
        "next_action",
        "payment_method",
        "payment_method_types",
        "processing",
        "receipt_email",
        "setup_future_usage",
        "shipping",
        "source",
        "status",
    }
)


def create_app() -> Flask:
    app = Flask("stripe_simulator")
    state = State()
    app.register_blueprint(control_blueprint(state))
    app.register_blueprint(stripe_control(state))
    for route in ROUTES:
        app.add_url_rule(
            route.path,
            f"{route.method} {route.path}",
            lambda _route=route, **ids: _answer(state, _route, ids),
            methods=[route.method],
        )
    app.register_error_handler(404, _unrecognized)
    app.register_error_handler(405, _unrecognized)
    return app


def _unrecognized(_: Exception) -> Response:
    message = f"Unrecognized request URL ({request.method}: {request.path})."
    return _respond(404, {"error": {"type": "invalid_request_error", "message": message}})


def _respond(status: int, body: Any, **headers: str) -> Response:
    response = Response(to_json(body), status=status, content_type="application/json")
    response.headers["Stripe-Version"] = API_VERSION
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    return response


def _answer(state: State, route: Route, ids: dict[str, str]) -> Response:
    fault = take_fault(state, request.method, request.path)
    if fault and fault.kind == "timeout_before":
        return drop_connection(fault)
    request_id = f"req_{token(14)}"
    with state.lock:
        state.request = {"id": request_id, "idempotency_key": _idempotency_key()}
        try:
            status, body, headers = _handle(state, route, ids, fault)
        except StripeError as error:
            status, body, headers = error.status, {"error": error.error}, {}
        response = _respond(status, body, Request_Id=request_id, **headers)
    return spoiled(fault, response) if fault else response


def _idempotency_key() -> str | None:
    return request.headers.get("Idempotency-Key") if request.method == "POST" else None


def _handle(
    state: State, route: Route, ids: dict[str, str], fault: Fault | None
) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers. What is refused before it is executed leaves no stored answer.

    Source: https://docs.stripe.com/api/idempotent_requests.
    """
    key = _api_key()
    _check_version()
    pairs = parse_qsl(request.get_data(as_text=True), keep_blank_values=True)
    pairs += parse_qsl(request.query_string.decode(), keep_blank_values=True)
    raw = nested(pairs)
    account = _account(state)
    public = key.startswith("pk_")
    if public:
        _check_client_secret(state, route, account, raw, ids)
    # What Stripe.js adds to its calls is no parameter of the operation.
    given = {k: v for k, v in raw.items() if not (public and k in ("key", "client_secret"))}
    call = Call(
        account=account,
        params=check(route.params, given),
        base_url=request.host_url.rstrip("/"),
        path=request.path,
    )
    mark = fingerprint(request.method, request.path, raw)
    idempotency_key = _idempotency_key()
    scope = (key, account or "", idempotency_key or "")
    if idempotency_key is not None:
        stored = _replay(state, scope, mark)
        if stored is not None:
            return stored.status, stored.body, {"Idempotent-Replayed": "true"}
    status, body = _execute(state, route, ids, call, fault)
    if idempotency_key is not None and status not in (409, 429, 503):
        state.keys.put(scope, Stored(mark, status, body))
    if public and "error" not in body:
        body = {name: body[name] for name in body if name in _PUBLIC}
    retry = {"Stripe-Should-Retry": "false"} if status == 500 and idempotency_key else {}
    return status, body, retry


def _execute(
    state: State, route: Route, ids: dict[str, str], call: Call, fault: Fault | None
) -> tuple[int, Object]:
    if fault and fault.kind == "status":
        message = "An unknown error occurred" if fault.status >= 500 else "Injected by the tester"
        return fault.status, {"error": {"type": "api_error", "message": message}}
    expand = call.params.pop("expand", [])
    try:
        result = route.handler(state, call, **ids)
        return 200, expanded(state, call.account, result, expand)
    except StripeError as error:
        return error.status, {"error": error.error}


def _replay(state: State, scope: tuple[str, ...], mark: str) -> Stored | None:
    key = scope[-1]
    if len(key) > MAX_KEY:
        raise invalid_request(f"Idempotency key is longer than {MAX_KEY} characters.")
    stored = state.keys.get(scope)
    if stored is not None and not hmac.compare_digest(stored.fingerprint, mark):
        raise StripeError(
            400,
            type="idempotency_error",
            message="Keys for idempotent requests can only be used with the same parameters they "
            f"were first used with. Try using a key other than '{key}' if you meant to execute a "
            "different request.",
        )
    return stored


def _api_key() -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":  # curl -u sk_test_…:
        try:
            value = base64.b64decode(value).decode().partition(":")[0]
        except ValueError:
            value = "?"
    if not value:
        raise StripeError(
            401,
            type="invalid_request_error",
            message="You did not provide an API key. You need to provide your API key in the "
            "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'"
            ").",
        )
    if not value.startswith(("sk_", "rk_", "pk_")):
        raise StripeError(
            401, type="invalid_request_error", message=f"Invalid API Key provided: {value[:3]}****"
        )
    return value


def _check_version() -> None:
    """Another version has other shapes, which this simulator does not have."""
    version = request.headers.get("Stripe-Version", API_VERSION)
    if version != API_VERSION:
        raise invalid_request(f"Invalid Stripe API version: {version}")


def _account(state: State) -> str | None:
    account = request.headers.get("Stripe-Account")
    if account and state.find(None, "account", account) is None:
        raise invalid_request(
            f"The provided key does not have access to account '{account}' (or that account does "
            "not exist). Application access may have been revoked.",
            code="account_invalid",
            status=403,
        )
    return account or None


def _check_client_secret(
    state: State, route: Route, account: str | None, raw: dict[str, Any], ids: dict[str, str]
) -> None:
    """A publishable key may only read and confirm an intent whose secret it knows."""
    if not route.publishable:
        raise StripeError(
            403,
            type="invalid_request_error",
            code="secret_key_required",
            message="This API call cannot be made with a publishable API key. Please use a secret "
            "API key.",
        )
    intent = state.get(account, "payment_intent", next(iter(ids.values())), "intent")
    if not hmac.compare_digest(intent["client_secret"], str(raw.get("client_secret", ""))):
        raise invalid_request(
            "The client_secret provided does not match the client_secret associated with the "
            "PaymentIntent.",
            param="client_secret",
            code="payment_intent_invalid_parameter",
        )
