"""Connected accounts, their onboarding, and account sessions for embedded components.

Sources: https://docs.stripe.com/connect/migrate-to-controller-properties,
https://docs.stripe.com/api/account_sessions.
"""

from typing import Any
from urllib.parse import urlencode

import stripe.params as sp
import typing_extensions as te

from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.intents import merge_metadata
from local.simulators.stripe.objects import new, now, page, token
from local.simulators.stripe.state import APPLICATION, Call, Object, State

LINK_LIFETIME_S = 300
SESSION_LIFETIME_S = 1800
STATES = ("enabled", "restricted", "not_submitted")

# type -> losses.payments, fees.payer, requirement_collection, stripe_dashboard.type
_TYPES = {
    "standard": ("stripe", "account", "stripe", "full"),
    "express": ("application", "application_express", "stripe", "express"),
    "custom": ("application", "application_custom", "application", "none"),
}
_DUE = ["business_profile.url", "external_account", "individual.verification.document"]
_AUTH_ONLY = "may only be set for accounts where `controller.requirement_collection` is application"


# The euro's countries have it; of all others that are not here it is the dollar.
_CURRENCIES = {"AR": "ars", "BR": "brl", "CL": "clp", "CO": "cop", "GB": "gbp", "MX": "mxn"}
_EURO = frozenset({"AT", "BE", "DE", "ES", "FI", "FR", "GR", "IE", "IT", "LU", "NL", "PT"})


def _currency_of(params: dict[str, Any]) -> str:
    country = str(params.get("country", "US")).upper()
    return "eur" if country in _EURO else _CURRENCIES.get(country, "usd")


def create(state: State, call: Call) -> Object:
    params = call.params
    controller = _controller(params)
    capabilities = params.get("capabilities", {})
    requested = [name for name, wish in capabilities.items() if wish.get("requested")]
    account = new(
        "account",
        business_profile=params.get("business_profile", {}),
        business_type=params.get("business_type"),
        capabilities=dict.fromkeys(requested, "inactive"),
        controller=controller,
        country=params.get("country", "US"),
        default_currency=params.get("default_currency") or _currency_of(params),
        email=params.get("email"),
        metadata=params.get("metadata") or {},
        settings=_settings({}, params),
        tos_acceptance=params.get("tos_acceptance", {}),
        type=params.get("type", "none" if "controller" in params else "standard"),
    )
    account["external_accounts"] = page(f"/v1/accounts/{account['id']}/external_accounts", [])
    _set_state(account, "not_submitted")
    return state.put(None, account)


def _controller(params: dict[str, Any]) -> dict[str, Any]:
    given = params.get("controller")
    if given is not None and "type" in params:
        raise invalid_request(
            "You may not provide the `type` parameter and `controller` parameters "
            "simultaneously. They are mutually exclusive.",
            param="type",
        )
    losses, payer, collection, dashboard = _TYPES[params.get("type", "standard")]
    given = given or {}
    losses = given.get("losses", {}).get("payments", losses)
    payer = given.get("fees", {}).get("payer", payer)
    if losses == "application" and payer == "account":
        raise invalid_request(
            "When `controller[losses][payments]` is application, `controller[fees][payer]` must "
            "be application.",
            param="controller[fees][payer]",
        )
    return {
        "type": "application",
        "is_controller": True,
        "fees": {"payer": payer},
        "losses": {"payments": losses},
        "requirement_collection": given.get("requirement_collection", collection),
        "stripe_dashboard": {"type": given.get("stripe_dashboard", {}).get("type", dashboard)},
    }


_ANCHORS = {"weekly": "weekly_anchor", "monthly": "monthly_anchor"}
_DAILY = {"interval": "daily", "delay_days": 2}


def _settings(before: Object, params: dict[str, Any]) -> Object:
    """Settings with what is given of them changed; a payout schedule is checked as a whole.

    Source: https://docs.stripe.com/api/accounts/update, settings.payouts.schedule.
    """
    given = params.get("settings", {})
    payouts = {**before.get("payouts", {}), **given.get("payouts", {})}
    schedule = given.get("payouts", {}).get("schedule")
    if schedule is None:
        schedule = before.get("payouts", {}).get("schedule", _DAILY)
    else:
        schedule = {"interval": "daily", **schedule}
        _check_schedule(schedule)
        schedule.setdefault("delay_days", 2)
    return {**before, **given, "payouts": {**payouts, "schedule": schedule}}


def _check_schedule(schedule: dict[str, Any]) -> None:
    where = "settings[payouts][schedule]"
    for interval, anchor in _ANCHORS.items():
        if schedule["interval"] == interval and anchor not in schedule:
            raise invalid_request(
                f"You must provide `{anchor}` when the interval is `{interval}`.",
                param=f"{where}[{anchor}]",
            )
        if schedule["interval"] != interval and anchor in schedule:
            raise invalid_request(
                f"You may only provide `{anchor}` when the interval is `{interval}`.",
                param=f"{where}[{anchor}]",
            )
    if not 1 <= schedule.get("monthly_anchor", 1) <= 31:
        raise invalid_request("Invalid day of the month.", param=f"{where}[monthly_anchor]")


def update(state: State, call: Call, account_id: str) -> Object:
    account = state.get(None, "account", account_id, "account")
    merge_metadata(account, call.params)
    for name in ("business_profile", "business_type", "default_currency", "email"):
        if name in call.params:
            account[name] = call.params[name]
    account["settings"] = _settings(account["settings"], call.params)
    for name, wish in call.params.get("capabilities", {}).items():
        if wish.get("requested"):
            status = "active" if account["charges_enabled"] else "inactive"
            account["capabilities"].setdefault(name, status)
    state.emit(account_id, "account.updated", account)
    return account


def _set_state(account: Object, name: str) -> None:
    enabled, submitted = name == "enabled", name != "not_submitted"
    due = [] if enabled else list(_DUE)
    account |= {
        "charges_enabled": enabled,
        "details_submitted": submitted,
        "payouts_enabled": enabled,
        "requirements": {
            "alternatives": [],
            "current_deadline": None,
            "currently_due": due,
            "disabled_reason": None if enabled else "requirements.past_due",
            "errors": [],
            "eventually_due": due,
            "past_due": due,
            "pending_verification": [],
        },
        "future_requirements": {
            "alternatives": [],
            "current_deadline": None,
            "currently_due": [],
            "disabled_reason": None,
            "errors": [],
            "eventually_due": [],
            "past_due": [],
            "pending_verification": [],
        },
    }
    status = "active" if enabled else "inactive"
    account["capabilities"] = dict.fromkeys(account["capabilities"], status)


def change_state(state: State, account_id: str, name: str) -> Object:
    """Completes or changes onboarding, as the account's owner or Stripe's review would."""
    account = state.get(None, "account", account_id)
    before = dict(account["capabilities"])
    _set_state(account, name)
    state.emit(account_id, "account.updated", account)
    for capability, status in account["capabilities"].items():
        if before[capability] != status:
            state.emit(account_id, "capability.updated", _capability(account, capability, status))
    return account


def change_currency(state: State, account_id: str, currency: str) -> Object:
    """Its owner has another default bank account; told only where that is of another currency."""
    account = state.get(None, "account", account_id, "account")
    if account["default_currency"] != currency:
        before = {"default_currency": account["default_currency"]}
        account["default_currency"] = currency
        state.emit(account_id, "account.updated", account, previous=before)
    return account


def deauthorize(state: State, account_id: str) -> Object:
    """The owner disconnects the platform: the account can no longer be read."""
    account = state.remove(None, "account", account_id)
    application = {"id": APPLICATION, "object": "application", "name": "Simulator"}
    state.emit(account_id, "account.application.deauthorized", application)
    return account


def _capability(account: Object, name: str, status: str) -> Object:
    return new(
        "capability",
        account=account["id"],
        id=name,
        requested=True,
        requested_at=account["created"],
        requirements=account["requirements"],
        status=status,
    )


def create_link(state: State, call: Call) -> Object:
    params = call.params
    account = state.get(None, "account", params["account"], "account")
    for name in ("refresh_url", "return_url"):
        if name not in params:
            raise invalid_request(
                f"Missing required param: {name}.", param=name, code="parameter_missing"
            )
    query = urlencode({"return_url": params["return_url"]})
    url = f"{call.base_url}/setup/{account['id']}/{token(12)}?{query}"
    return new("account_link", expires_at=now() + LINK_LIFETIME_S, url=url)


def create_login_link(state: State, call: Call, account_id: str) -> Object:
    account = state.get(None, "account", account_id, "account")
    if account["controller"]["stripe_dashboard"]["type"] != "express":
        raise invalid_request("Cannot create a login link for an account without Express.")
    if not account["details_submitted"]:
        raise invalid_request("Cannot create a login link for an account not yet onboarded.")
    url = f"{call.base_url}/express/{account['id']}/{token(12)}"
    return new("login_link", created=now(), url=url)


def create_session(state: State, call: Call) -> Object:
    account = state.get(None, "account", call.params["account"], "account")
    controller = account["controller"]
    asked = call.params["components"]
    for name, component in asked.items():
        _check_authentication(name, component.get("features", {}), controller)
    return new(
        "account_session",
        account=account["id"],
        client_secret=f"accs_secret__{token(48)}",
        components={
            name: _component(hint, asked.get(name, {}), controller)
            for name, hint in _component_types().items()
        },
        expires_at=now() + SESSION_LIFETIME_S,
    )


def _check_authentication(name: str, features: dict[str, Any], controller: dict[str, Any]) -> None:
    if controller["requirement_collection"] == "application":
        return
    for feature, forbidden in (
        ("disable_stripe_user_authentication", True),
        ("external_account_collection", False),
    ):
        if features.get(feature) is forbidden:
            raise invalid_request(
                f"`{feature}: {str(forbidden).lower()}` {_AUTH_ONLY}.",
                param=f"components[{name}][features][{feature}]",
            )


def _component_types() -> dict[str, Any]:
    return te.get_type_hints(sp.AccountSessionCreateParamsComponents)


def _component(hint: Any, asked: dict[str, Any], controller: dict[str, Any]) -> dict[str, Any]:
    """The component as Stripe answers it: every feature with its value or default."""
    features = te.get_type_hints(te.get_type_hints(hint)["features"])
    stripe_bears_losses = controller["losses"]["payments"] == "stripe"
    defaults = dict.fromkeys(features, True) | {
        "destination_on_behalf_of_charge_management": False,
        "disable_stripe_user_authentication": controller["requirement_collection"] == "application",
        "edit_payout_schedule": stripe_bears_losses,
        "instant_payouts": stripe_bears_losses,
        "standard_payouts": stripe_bears_losses,
    }
    given = asked.get("features", {})
    return {
        "enabled": asked.get("enabled", False),
        "features": {name: given.get(name, defaults[name]) for name in features},
    }
