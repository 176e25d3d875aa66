"""Early fraud warnings, made through the control plane.

Source: https://docs.stripe.com/api/radar/early_fraud_warnings/object. A warning is actionable until
its charge is fully refunded or disputed; Stripe tells that it no longer is.
"""

from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.objects import new
from local.simulators.stripe.state import Object, State

KIND = "radar.early_fraud_warning"
FRAUD_TYPES = frozenset(
    {
        "card_never_received",
        "fraudulent_card_application",
        "made_with_counterfeit_card",
        "made_with_lost_card",
        "made_with_stolen_card",
        "misc",
        "unauthorized_use_of_card",
    }
)


def open_one(state: State, account: str | None, charge: Object, fraud_type: str) -> Object:
    if fraud_type not in FRAUD_TYPES:
        raise invalid_request(f"fraud_type is one of: {', '.join(sorted(FRAUD_TYPES))}")
    warning = new(
        KIND,
        actionable=_is_actionable(charge),
        charge=charge["id"],
        fraud_type=fraud_type,
        payment_intent=charge["payment_intent"],
    )
    state.put(account, warning)
    state.emit(account, f"{KIND}.created", warning)
    return warning


def follow(state: State, account: str | None, charge: Object) -> None:
    """What a refund or a dispute of the charge does to its warnings."""
    for warning in state.all(account, KIND):
        if warning["charge"] == charge["id"] and warning["actionable"] != _is_actionable(charge):
            warning["actionable"] = _is_actionable(charge)
            state.emit(account, f"{KIND}.updated", warning)


def _is_actionable(charge: Object) -> bool:
    return not charge["disputed"] and not charge["refunded"]
