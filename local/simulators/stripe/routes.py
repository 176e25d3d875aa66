"""Stripe's endpoints: method, path, the SDK's parameter type, and what answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import stripe.params as sp
from stripe.params.checkout import (
    SessionCreateParams,
    SessionExpireParams,
    SessionListParams,
    SessionRetrieveParams,
)
from stripe.params.radar import EarlyFraudWarningListParams, EarlyFraudWarningRetrieveParams

from local.simulators.stripe import (
    accounts,
    balance,
    catalog,
    checkout,
    endpoints,
    intents,
    payouts,
    refunds,
    thin,
    transfers,
)
from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.state import Call, Object, State, created_matches, listed, paged

Handler = Callable[..., Object]


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    params: Any
    handler: Handler
    publishable: bool = False  # may be called with a publishable key and the client secret


def _retrieve(kind: str) -> Handler:
    def retrieve(state: State, call: Call, object_id: str) -> Object:
        return state.get(call.account, kind, object_id)

    return retrieve


def _list(kind: str, *filters: str) -> Handler:
    def list_page(state: State, call: Call) -> Object:
        return listed(state, call, kind, filters)

    return list_page


def _retrieve_account(state: State, call: Call, object_id: str | None = None) -> Object:
    wanted = object_id or call.account
    if wanted is None or state.find(None, "account", wanted) is None:
        raise invalid_request(
            f"The provided key does not have access to account '{wanted}' (or that account does "
            "not exist). Application access may have been revoked.",
            code="account_invalid",
            status=403,
        )
    return state.get(None, "account", wanted)


def _event(state: State, event: Object) -> Object:
    pending = state.outbox.state_of(event["id"]) in ("queued", "held", "failed")
    return event | {"pending_webhooks": int(pending)}


def _retrieve_event(state: State, call: Call, object_id: str) -> Object:
    return _event(state, state.get(call.account, "event", object_id))


def _list_events(state: State, call: Call) -> Object:
    """delivery_success=false finds what no endpoint has taken yet, for repairing."""
    types = call.params.get("types") or [call.params.get("type", "*")]
    wanted = call.params.get("delivery_success")
    found = [
        shown
        for event in state.all(call.account, "event")
        if any(_type_matches(event["type"], pattern) for pattern in types)
        and created_matches(event["created"], call.params.get("created"))
        and (shown := _event(state, event))
        and wanted in (None, not shown["pending_webhooks"])
    ]
    return paged(call, found)


def _type_matches(event_type: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return event_type == pattern


ROUTES = (
    Route("POST", "/v1/accounts", sp.AccountCreateParams, accounts.create),
    Route("GET", "/v1/accounts", sp.AccountListParams, _list("account")),
    Route("GET", "/v1/account", sp.AccountRetrieveCurrentParams, _retrieve_account),
    Route("GET", "/v1/accounts/<object_id>", sp.AccountRetrieveParams, _retrieve_account),
    Route("POST", "/v1/accounts/<account_id>", sp.AccountUpdateParams, accounts.update),
    Route("POST", "/v1/account_links", sp.AccountLinkCreateParams, accounts.create_link),
    Route(
        "POST",
        "/v1/accounts/<account_id>/login_links",
        sp.AccountLoginLinkCreateParams,
        accounts.create_login_link,
    ),
    Route("POST", "/v1/account_sessions", sp.AccountSessionCreateParams, accounts.create_session),
    Route("POST", "/v1/payment_intents", sp.PaymentIntentCreateParams, intents.create),
    Route(
        "GET",
        "/v1/payment_intents",
        sp.PaymentIntentListParams,
        _list("payment_intent", "customer"),
    ),
    Route(
        "GET",
        "/v1/payment_intents/<object_id>",
        sp.PaymentIntentRetrieveParams,
        _retrieve("payment_intent"),
        publishable=True,
    ),
    Route("POST", "/v1/payment_intents/<intent_id>", sp.PaymentIntentUpdateParams, intents.update),
    Route(
        "POST",
        "/v1/payment_intents/<intent_id>/confirm",
        sp.PaymentIntentConfirmParams,
        intents.confirm,
        publishable=True,
    ),
    Route(
        "POST",
        "/v1/payment_intents/<intent_id>/capture",
        sp.PaymentIntentCaptureParams,
        intents.capture,
    ),
    Route(
        "POST",
        "/v1/payment_intents/<intent_id>/cancel",
        sp.PaymentIntentCancelParams,
        intents.cancel,
    ),
    Route(
        "GET",
        "/v1/charges",
        sp.ChargeListParams,
        _list("charge", "customer", "payment_intent", "transfer_group"),
    ),
    Route("GET", "/v1/charges/<object_id>", sp.ChargeRetrieveParams, _retrieve("charge")),
    Route(
        "GET",
        "/v1/balance_transactions",
        sp.BalanceTransactionListParams,
        payouts.list_transactions,
    ),
    Route("GET", "/v1/balance", sp.BalanceRetrieveParams, balance.retrieve),
    Route(
        "GET",
        "/v1/balance_transactions/<object_id>",
        sp.BalanceTransactionRetrieveParams,
        _retrieve("balance_transaction"),
    ),
    Route("POST", "/v1/refunds", sp.RefundCreateParams, refunds.create),
    Route("GET", "/v1/refunds", sp.RefundListParams, _list("refund", "charge", "payment_intent")),
    Route("GET", "/v1/refunds/<object_id>", sp.RefundRetrieveParams, _retrieve("refund")),
    Route("POST", "/v1/refunds/<refund_id>", sp.RefundUpdateParams, refunds.update),
    Route(
        "GET",
        "/v1/transfers",
        sp.TransferListParams,
        _list("transfer", "destination", "transfer_group"),
    ),
    Route("GET", "/v1/transfers/<object_id>", sp.TransferRetrieveParams, _retrieve("transfer")),
    Route("POST", "/v1/transfers", sp.TransferCreateParams, transfers.create),
    Route(
        "GET",
        "/v1/transfers/<transfer_id>/reversals",
        sp.TransferReversalListParams,
        transfers.reversals,
    ),
    Route(
        "POST",
        "/v1/transfers/<transfer_id>/reversals",
        sp.TransferReversalCreateParams,
        transfers.reverse,
    ),
    Route(
        "GET",
        "/v1/application_fees",
        sp.ApplicationFeeListParams,
        _list("application_fee", "charge"),
    ),
    Route(
        "GET",
        "/v1/application_fees/<object_id>",
        sp.ApplicationFeeRetrieveParams,
        _retrieve("application_fee"),
    ),
    Route(
        "GET", "/v1/disputes", sp.DisputeListParams, _list("dispute", "charge", "payment_intent")
    ),
    Route("GET", "/v1/disputes/<object_id>", sp.DisputeRetrieveParams, _retrieve("dispute")),
    Route(
        "GET",
        "/v1/radar/early_fraud_warnings",
        EarlyFraudWarningListParams,
        _list("radar.early_fraud_warning", "charge", "payment_intent"),
    ),
    Route(
        "GET",
        "/v1/radar/early_fraud_warnings/<object_id>",
        EarlyFraudWarningRetrieveParams,
        _retrieve("radar.early_fraud_warning"),
    ),
    Route("GET", "/v1/payouts", sp.PayoutListParams, _list("payout", "status")),
    Route("GET", "/v1/payouts/<object_id>", sp.PayoutRetrieveParams, _retrieve("payout")),
    Route("POST", "/v1/checkout/sessions", SessionCreateParams, checkout.create),
    Route(
        "GET",
        "/v1/checkout/sessions",
        SessionListParams,
        _list("checkout.session", "payment_intent", "status"),
    ),
    Route(
        "GET",
        "/v1/checkout/sessions/<object_id>",
        SessionRetrieveParams,
        _retrieve("checkout.session"),
    ),
    Route(
        "POST", "/v1/checkout/sessions/<session_id>/expire", SessionExpireParams, checkout.expire
    ),
    Route("POST", "/v1/webhook_endpoints", sp.WebhookEndpointCreateParams, endpoints.create),
    Route("GET", "/v1/webhook_endpoints", sp.WebhookEndpointListParams, endpoints.list_all),
    Route(
        "GET",
        "/v1/webhook_endpoints/<endpoint_id>",
        sp.WebhookEndpointRetrieveParams,
        endpoints.retrieve,
    ),
    Route(
        "POST",
        "/v1/webhook_endpoints/<endpoint_id>",
        sp.WebhookEndpointUpdateParams,
        endpoints.update,
    ),
    Route(
        "DELETE",
        "/v1/webhook_endpoints/<endpoint_id>",
        sp.WebhookEndpointDeleteParams,
        endpoints.delete,
    ),
    Route(
        "GET",
        "/v2/core/event_destinations",
        endpoints.DestinationParams,
        endpoints.list_destinations,
    ),
    Route("GET", "/v2/core/events", thin.PageParams, thin.list_events),
    Route("GET", "/v1/events", sp.EventListParams, _list_events),
    Route("GET", "/v1/events/<object_id>", sp.EventRetrieveParams, _retrieve_event),
    Route("POST", "/v1/products", sp.ProductCreateParams, catalog.create_product),
    Route("GET", "/v1/products", sp.ProductListParams, _list("product", "active")),
    Route("GET", "/v1/products/<object_id>", sp.ProductRetrieveParams, _retrieve("product")),
    Route("POST", "/v1/products/<product_id>", sp.ProductUpdateParams, catalog.update_product),
    Route("POST", "/v1/prices", sp.PriceCreateParams, catalog.create_price),
    Route("GET", "/v1/prices", sp.PriceListParams, catalog.list_prices),
    Route("GET", "/v1/prices/<object_id>", sp.PriceRetrieveParams, _retrieve("price")),
    Route("POST", "/v1/prices/<price_id>", sp.PriceUpdateParams, catalog.update_price),
)
