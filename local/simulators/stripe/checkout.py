"""Checkout sessions in payment mode.

Source: https://docs.stripe.com/api/checkout/sessions.
"""

from typing import Any

from local.simulators.stripe import intents
from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.objects import new, now
from local.simulators.stripe.state import Call, Object, State

MIN_LIFETIME_S, MAX_LIFETIME_S = 1800, 24 * 3600
SLACK_S = 60  # clocks differ
# Parameters of the session that its intent is made with.
_SHARED = ("allowed_payment_method_types", "payment_method_options")


def create(state: State, call: Call) -> Object:
    params = call.params
    if params.get("mode") != "payment":
        raise invalid_request("This simulator has Checkout in payment mode only.", param="mode")
    if not params.get("line_items"):
        raise invalid_request(
            "Missing required param: line_items.", param="line_items", code="parameter_missing"
        )
    expires_at = params.get("expires_at", now() + MAX_LIFETIME_S)
    lifetime = expires_at - now()
    if not MIN_LIFETIME_S - SLACK_S <= lifetime <= MAX_LIFETIME_S + SLACK_S:
        raise invalid_request(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout "
            "Session creation.",
            param="expires_at",
        )
    prices = [_price_of(state, call, item) for item in params["line_items"]]
    total = sum(
        price["unit_amount"] * item.get("quantity", 1)
        for price, item in zip(prices, params["line_items"], strict=True)
    )
    intents.check_most(total, "line_items")
    allowed = params.get("allowed_payment_method_types")
    session = new(
        "checkout.session",
        allowed_payment_method_types=allowed,
        amount_subtotal=total,
        amount_total=total,
        automatic_tax={"enabled": False, "liability": None, "status": None},
        cancel_url=params.get("cancel_url"),
        client_reference_id=params.get("client_reference_id"),
        currency=prices[0]["currency"],
        custom_fields=[],
        custom_text={},
        customer_email=params.get("customer_email"),
        expires_at=expires_at,
        locale=params.get("locale"),
        metadata=params.get("metadata") or {},
        mode="payment",
        payment_method_options=params.get("payment_method_options") or {},
        payment_method_types=allowed or ["card"],
        payment_status="unpaid",
        shipping_options=[],
        status="open",
        success_url=params.get("success_url"),
        total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        ui_mode=params.get("ui_mode", "hosted_page"),
    )
    session["url"] = f"{call.base_url}/c/pay/{session['id']}"
    # The intent is made when the customer pays, but what it is made of is checked now.
    data = params.get("payment_intent_data", {}) | {
        "amount": total,
        "currency": session["currency"],
        **{name: params[name] for name in _SHARED if name in params},
    }
    intents.check(state, Call(account=call.account, params=data))
    state.remember_session(session["id"], data)
    state.after(max(lifetime, 0) * 1000, _expire_if_open, call.account, session["id"])
    return state.put(call.account, session)


def _price_of(state: State, call: Call, item: dict[str, Any]) -> dict[str, Any]:
    if "price" in item:
        return state.get(call.account, "price", item["price"], "line_items[0][price]")
    data: dict[str, Any] = item["price_data"]
    for one, other in (("unit_amount", "unit_amount_decimal"), ("product_data", "product")):
        if one not in data and other not in data:
            raise invalid_request(
                f"You must specify either `{one}` or `{other}` in `price_data`.",
                param=f"line_items[0][price_data][{one}]",
            )
    return data


def _expire_if_open(state: State, account: str | None, session_id: str) -> None:
    session = state.find(account, "checkout.session", session_id)
    if session is None or session["status"] != "open":
        return
    session |= {"status": "expired", "url": None}
    if session["payment_intent"]:
        intents.end(state, account, session["payment_intent"], "expired")
    state.emit(account, "checkout.session.expired", session)


def expire(state: State, call: Call, session_id: str) -> Object:
    session = state.get(call.account, "checkout.session", session_id, "session")
    if session["status"] != "open":
        raise invalid_request(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout '
            f"Session has a status of {session['status']}."
        )
    _expire_if_open(state, call.account, session_id)
    return session


def pay(
    state: State, account: str | None, session: Object, payment_method: str, base_url: str = ""
) -> Object:
    """What the customer does on the hosted page; a declined card leaves the session open.

    ``payment_method`` is a card of the tests, or the name of another method, as ``pix``.
    """
    if session["status"] != "open":
        raise invalid_request(f"The Checkout Session is {session['status']}.")
    call = Call(account=account, params=state.sessions[session["id"]], base_url=base_url)
    if session["payment_intent"] is None:
        intent = intents.create(state, call)
        session["payment_intent"] = intent["id"]
        state.sessions_by_intent[intent["id"]] = session["id"]
    call.params = intents.as_params(payment_method)
    intents.confirm(state, call, session["payment_intent"])
    return complete(state, account, session["payment_intent"]) or session


def complete(state: State, account: str | None, intent_id: str) -> Object | None:
    """After anything that was done about an intent: its session is complete once that is paid.

    Pix is paid while the page waits, so until then its session is open.
    """
    session_id = state.sessions_by_intent.get(intent_id)
    session = state.find(account, "checkout.session", session_id)
    intent = state.get(account, "payment_intent", intent_id)
    waits = intent["status"] in ("requires_action", "requires_payment_method", "canceled")
    if session is None or session["status"] != "open" or waits:
        return session
    session |= {"status": "complete", "url": None}
    session["payment_status"] = "paid" if intent["status"] == "succeeded" else "unpaid"
    state.emit(account, "checkout.session.completed", session)
    return session
