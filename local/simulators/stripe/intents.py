"""Payment intents: create, update, confirm, capture, cancel.

Source: https://docs.stripe.com/payments/paymentintents/lifecycle.
"""

from typing import Any

from local.simulators.stripe import balance, cards
from local.simulators.stripe.errors import StripeError, invalid_request, unexpected_state
from local.simulators.stripe.objects import new, now, token
from local.simulators.stripe.state import APPLICATION, Call, Object, State

CAPTURE_WINDOW_S = 7 * 24 * 3600
VOUCHERS = {
    "boleto": "boleto_display_details",
    "oxxo": "oxxo_display_details",
    "pix": "pix_display_qr_code",
}


_COPIED = (
    "application_fee_amount",
    "customer",
    "description",
    "on_behalf_of",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
MOST = 99_999_999
_AMOUNTS = ("amount", "application_fee_amount")
PIX = "pix"
PIX_LEAST_S, PIX_MOST_S, PIX_DEFAULT_S = 60, 14 * 24 * 3600, 4 * 3600
# The only currency of a method, where it has one.
_CURRENCIES = {"boleto": "brl", "oxxo": "mxn", PIX: "brl"}
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = (*_CONFIRMABLE, "requires_capture", "processing")


def create(state: State, call: Call) -> Object:
    params = call.params
    check(state, call)
    allowed = params.get("allowed_payment_method_types")
    intent = new(
        "payment_intent",
        amount=params["amount"],
        amount_capturable=0,
        amount_received=0,
        application=APPLICATION if call.account else None,
        allowed_payment_method_types=allowed,
        automatic_payment_methods=_automatic(params, allowed),
        capture_method=params.get("capture_method", "automatic_async"),
        confirmation_method=params.get("confirmation_method", "automatic"),
        currency=params["currency"].lower(),
        metadata=params.get("metadata", {}),
        payment_method_options=params.get("payment_method_options", {}),
        payment_method_types=allowed or ["card"],
        status="requires_payment_method",
        transfer_data=_transfer_data(params),
        **{name: params[name] for name in _COPIED if name in params},
    )
    intent["client_secret"] = f"{intent['id']}_secret_{token()}"
    state.put(call.account, intent)
    state.emit(call.account, "payment_intent.created", intent)
    if params.get("confirm"):
        return confirm(state, call, intent["id"])
    if params.get("payment_method"):
        cards.known(params["payment_method"])
        intent |= {"payment_method": params["payment_method"], "status": "requires_confirmation"}
    return intent


def check(state: State, call: Call) -> None:
    """What makes Stripe refuse an intent, or a Checkout session that would make one."""
    _check_amounts(call.params)
    _check_application_fee(call)
    _check_destination(state, call.params)
    _check_methods(call.params)


def _check_methods(params: dict[str, Any]) -> None:
    """Each listed method takes the currency and the way of capturing; Pix holds within its bounds.

    Source: https://docs.stripe.com/payments/pix.
    """
    allowed, currency = params.get("allowed_payment_method_types") or [], params["currency"].lower()
    for method in allowed:
        only = _CURRENCIES.get(method)
        if only and currency != only:
            raise invalid_request(
                f"The currency provided ({currency}) is invalid for one or more payment method "
                f"types on this PaymentIntent: {method} takes {only}.",
                param="allowed_payment_method_types",
            )
        if only and params.get("capture_method") == "manual":
            raise invalid_request(
                f"The payment method type {method} does not support manual capture.",
                param="capture_method",
            )
    pix = (params.get("payment_method_options") or {}).get(PIX) or {}
    seconds = pix.get("expires_after_seconds")
    if seconds is not None and not PIX_LEAST_S <= seconds <= PIX_MOST_S:
        raise invalid_request(
            f"Invalid expires_after_seconds: must be between {PIX_LEAST_S} and {PIX_MOST_S}.",
            param="payment_method_options[pix][expires_after_seconds]",
        )
    if pix and PIX not in allowed:
        raise invalid_request(
            "payment_method_options[pix] needs pix among the allowed payment method types.",
            param="payment_method_options[pix]",
        )


def as_params(payment_method: str) -> dict[str, Any]:
    """What a browser sends for a card of the tests, or for another method by its name."""
    if payment_method.startswith("pm_"):
        return {"payment_method": payment_method}
    return {"payment_method_data": {"type": payment_method}}


def _check_amounts(params: dict[str, Any]) -> None:
    if params["amount"] < 1:
        raise invalid_request(
            "This value must be greater than or equal to 1.",
            param="amount",
            code="parameter_invalid_integer",
        )
    check_most(params["amount"], "amount")
    if (params.get("application_fee_amount") or 0) > params["amount"]:
        raise invalid_request(
            "Your application fee cannot be larger than the amount of the charge.",
            param="application_fee_amount",
        )


def check_most(amount: int, param: str) -> None:
    """At most eight digits: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts."""
    if amount > MOST:
        raise invalid_request("Amount is too large.", param=param, code="amount_too_large")


def _check_application_fee(call: Call) -> None:
    transfer_data = call.params.get("transfer_data", {})
    if "application_fee_amount" not in call.params:
        return
    if not call.account and not transfer_data:
        raise invalid_request(
            "Can only apply an application_fee_amount when the PaymentIntent is attempting a "
            "direct payment (using an OAuth key or Stripe-Account header) or destination payment "
            "(using `transfer_data[destination]`).",
            param="application_fee_amount",
        )
    if "amount" in transfer_data:
        raise invalid_request(
            "You may not provide both `application_fee_amount` and `transfer_data[amount]`.",
            param="application_fee_amount",
        )


def _check_destination(state: State, params: dict[str, Any]) -> None:
    if destination := params.get("transfer_data", {}).get("destination"):
        param = "transfer_data[destination]"
        account = state.find(None, "account", destination)
        if account is None:
            raise invalid_request(
                f"No such destination: '{destination}'", param=param, code="resource_missing"
            )
        if account["controller"]["losses"]["payments"] == "stripe":
            raise invalid_request(
                "Destination charges are not supported for accounts whose losses are "
                "Stripe's responsibility; create a direct charge.",
                param=param,
            )
        _require_capability(account, "transfers", param, "insufficient_capabilities_for_transfer")
    if owner := params.get("on_behalf_of"):
        account = state.get(None, "account", owner, "on_behalf_of")
        _require_capability(account, "card_payments", "on_behalf_of", None)


def _require_capability(account: Object, name: str, param: str, code: str | None) -> None:
    if account["capabilities"].get(name) != "active":
        raise invalid_request(
            f"Your destination account needs to have the following capability enabled: {name}",
            param=param,
            code=code,
        )


def _automatic(params: dict[str, Any], allowed: list[str] | None) -> dict[str, Any] | None:
    if "automatic_payment_methods" in params:
        return {"allow_redirects": "always"} | dict(params["automatic_payment_methods"])
    return None if allowed else {"allow_redirects": "always", "enabled": True}


def _transfer_data(params: dict[str, Any]) -> dict[str, Any] | None:
    given = params.get("transfer_data")
    return {"amount": None, "destination": None} | given if given else None


def update(state: State, call: Call, intent_id: str) -> Object:
    intent = state.get(call.account, "payment_intent", intent_id, "intent")
    if intent["status"] not in _CONFIRMABLE and set(call.params) - {"metadata", "description"}:
        raise unexpected_state(
            "This PaymentIntent's amount could not be updated because it has a status of "
            f"{intent['status']}.",
            intent,
        )
    _check_amounts(
        {name: intent[name] for name in ("amount", "application_fee_amount")} | call.params
    )
    merge_metadata(intent, call.params)
    for name in ("amount", "allowed_payment_method_types", *_COPIED):
        if name in call.params:
            intent[name] = call.params[name] or None
    if call.params.get("payment_method"):
        cards.known(call.params["payment_method"])
        intent["payment_method"] = call.params["payment_method"]
        intent["status"] = "requires_confirmation"
    return intent


def merge_metadata(obj: Object, params: dict[str, Any]) -> None:
    """Keys are merged, an empty value removes its key, an empty string removes all."""
    if params.get("metadata") == "":
        obj["metadata"] = {}
    merged = obj["metadata"] | (params.get("metadata") or {})
    obj["metadata"] = {key: value for key, value in merged.items() if value != ""}


def confirm(state: State, call: Call, intent_id: str) -> Object:
    intent = state.get(call.account, "payment_intent", intent_id, "intent")
    if intent["status"] not in _CONFIRMABLE:
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it has already succeeded after being "
            f"previously confirmed, or has a status of {intent['status']}.",
            intent,
        )
    method_type = call.params.get("payment_method_data", {}).get("type", "card")
    if method_type != "card":
        return _start_voucher(state, call.account, intent, method_type)
    payment_method = call.params.get("payment_method") or intent["payment_method"]
    if not payment_method:
        raise invalid_request(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
        )
    card = cards.known(payment_method)
    intent |= {"payment_method": payment_method, "last_payment_error": None}
    if card.authenticate:
        return _ask_to_authenticate(state, call, intent)
    if card.code:
        raise _decline(state, call.account, intent, card)
    return succeed(state, call.account, intent)


def _ask_to_authenticate(state: State, call: Call, intent: Object) -> Object:
    intent["status"] = "requires_action"
    page = f"{call.base_url}/_control/payment_intents/{intent['id']}/authenticate"
    if return_url := call.params.get("return_url"):
        redirect = {"return_url": return_url, "url": page}
        intent["next_action"] = {"type": "redirect_to_url", "redirect_to_url": redirect}
    else:
        sdk = {"type": "three_d_secure_redirect", "stripe_js": page}
        intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": sdk}
    state.emit(call.account, "payment_intent.requires_action", intent)
    return intent


def _start_voucher(state: State, account: str | None, intent: Object, method: str) -> Object:
    """A voucher waits to be paid, anything else (bank debits) is processing."""
    if method not in (intent["allowed_payment_method_types"] or [method]):
        raise invalid_request(
            f"The payment method type {method} is not allowed on this PaymentIntent.",
            param="payment_method_data[type]",
        )
    intent |= {"payment_method": f"pm_{token()}", "payment_method_types": [method]}
    if method == PIX:
        _show_pix(state, account, intent)
    elif method in VOUCHERS:
        intent["status"] = "requires_action"
        intent["next_action"] = {"type": VOUCHERS[method], VOUCHERS[method]: {"number": token(20)}}
        state.emit(account, "payment_intent.requires_action", intent)
    else:
        intent["status"] = "processing"
        state.emit(account, "payment_intent.processing", intent)
    return intent


def _show_pix(state: State, account: str | None, intent: Object) -> None:
    options = (intent["payment_method_options"] or {}).get(PIX) or {}
    seconds = options.get("expires_after_seconds", PIX_DEFAULT_S)
    code = f"00020126580014br.gov.bcb.pix{token(20)}"
    shown = {
        "data": code,
        "expires_at": now() + seconds,
        "hosted_instructions_url": f"https://payments.stripe.com/pix/instructions/{token()}",
        "image_url_png": f"https://qr.stripe.com/{token()}.png",
        "image_url_svg": f"https://qr.stripe.com/{token()}.svg",
    }
    intent |= {
        "status": "requires_action",
        "next_action": {"type": VOUCHERS[PIX], VOUCHERS[PIX]: shown},
    }
    state.emit(account, "payment_intent.requires_action", intent)
    state.after(seconds * 1000, _pix_expires, account, intent["id"], code)


def _pix_expires(state: State, account: str | None, intent_id: str, code: str) -> None:
    """A code that nobody has paid: the payer may choose again."""
    intent = state.find(account, "payment_intent", intent_id)
    shown = ((intent or {}).get("next_action") or {}).get(VOUCHERS[PIX]) or {}
    if intent is not None and shown.get("data") == code:
        finish(state, account, intent, succeeded=False)


def finish(state: State, account: str | None, intent: Object, *, succeeded: bool) -> Object:
    """What the customer or the bank does after requires_action or processing."""
    if intent["status"] not in ("requires_action", "processing"):
        raise unexpected_state(f"The PaymentIntent is {intent['status']}.", intent)
    if succeeded:
        return succeed(state, account, intent)
    intent["last_payment_error"] = {
        "code": "payment_intent_authentication_failure",
        "message": "The provided PaymentMethod has failed authentication.",
        "type": "invalid_request_error",
    }
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    state.emit(account, "payment_intent.payment_failed", intent)
    return intent


def _decline(state: State, account: str | None, intent: Object, card: cards.Card) -> StripeError:
    message = "Your card was declined." if card.decline_code else "Your card has expired."
    charge = cards.charge_for(intent, card) | {
        "captured": False,
        "failure_code": card.code,
        "failure_message": message,
        "outcome": cards.outcome("issuer_declined", card.decline_code or card.code),
        "paid": False,
        "status": "failed",
        "amount_captured": 0,
    }
    state.put(account, charge)
    error = StripeError(
        402,
        type="card_error",
        code=card.code,
        decline_code=card.decline_code,
        message=message,
        charge=charge["id"],
        doc_url=f"https://stripe.com/docs/error-codes/{(card.code or '').replace('_', '-')}",
    )
    intent["last_payment_error"] = dict(error.error)
    intent |= {
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    state.emit(account, "charge.failed", charge)
    state.emit(account, "payment_intent.payment_failed", intent)
    error.error["payment_intent"] = dict(intent)
    return error


def succeed(state: State, account: str | None, intent: Object) -> Object:
    """Authorizes, and captures unless the capture is manual."""
    charge = cards.charge_for(intent, cards.CARDS.get(intent["payment_method"]))
    state.put(account, charge)
    intent |= {"latest_charge": charge["id"], "next_action": None, "last_payment_error": None}
    if intent["capture_method"] == "manual":
        charge |= {"captured": False, "amount_captured": 0}
        card = charge["payment_method_details"].get("card", {})
        card["capture_before"] = now() + CAPTURE_WINDOW_S
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
        state.emit(account, "charge.succeeded", charge)
        state.emit(account, "payment_intent.amount_capturable_updated", intent)
        return intent
    intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    state.emit(account, "charge.succeeded", charge)
    state.emit(account, "payment_intent.succeeded", intent)
    _settle_soon(state, account, intent)
    return intent


def _settle_soon(state: State, account: str | None, intent: Object) -> None:
    if intent["capture_method"] == "automatic":
        balance.settle(state, account, intent["latest_charge"])
    else:
        state.after(
            state.outbox.settings.settle_ms, balance.settle, account, intent["latest_charge"]
        )


def capture(state: State, call: Call, intent_id: str) -> Object:
    intent = state.get(call.account, "payment_intent", intent_id, "intent")
    if intent["status"] != "requires_capture":
        raise unexpected_state(
            "This PaymentIntent could not be captured because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            "captured: requires_capture.",
            intent,
        )
    amount = call.params.get("amount_to_capture") or intent["amount_capturable"]
    if not 0 < amount <= intent["amount_capturable"]:
        raise invalid_request(
            "Amount could not be captured because it is greater than the capturable amount.",
            param="amount_to_capture",
            code="amount_too_large",
        )
    charge = state.get(call.account, "charge", intent["latest_charge"])
    charge |= {"captured": True, "amount_captured": amount}
    if "application_fee_amount" in call.params:
        fee = call.params["application_fee_amount"]
        intent["application_fee_amount"] = charge["application_fee_amount"] = fee
    intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    state.emit(call.account, "charge.captured", charge)
    state.emit(call.account, "payment_intent.succeeded", intent)
    _settle_soon(state, call.account, intent)
    return intent


def cancel(state: State, call: Call, intent_id: str) -> Object:
    """An intent of a Checkout session can be cancelled by itself only once it is authorized.

    Source: https://docs.stripe.com/api/payment_intents/cancel.
    """
    intent = state.get(call.account, "payment_intent", intent_id, "intent")
    if intent_id in state.sessions_by_intent and intent["status"] in _CONFIRMABLE:
        raise invalid_request(
            "You cannot cancel a PaymentIntent that was created by a Checkout Session. Expire the "
            "Checkout Session instead."
        )
    if intent["status"] not in _CANCELABLE:
        raise unexpected_state(
            "You cannot cancel this PaymentIntent because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            f"canceled: {', '.join(_CANCELABLE)}.",
            intent,
        )
    return end(state, call.account, intent_id, call.params.get("cancellation_reason"))


def end(state: State, account: str | None, intent_id: str, reason: str | None) -> Object:
    """An intent that nobody can pay any more; what was authorized is let go."""
    intent = state.get(account, "payment_intent", intent_id, "intent")
    if intent["status"] not in _CANCELABLE:
        return intent
    if intent["status"] == "requires_capture":
        charge = state.get(account, "charge", intent["latest_charge"])
        charge |= {"refunded": True, "amount_refunded": charge["amount"]}
        state.emit(account, "charge.refunded", charge)
    intent |= {
        "amount_capturable": 0,
        "canceled_at": now(),
        "cancellation_reason": reason,
        "next_action": None,
        "status": "canceled",
    }
    state.emit(account, "payment_intent.canceled", intent)
    return intent
