"""Which of Stripe's embedded components a role gets, and with which features. Pure.

The table is MONEY_AND_BOOKING_RULES §7. A feature that is left out takes Stripe's default, and
several of these are on, so every one is sent; only the two about authentication depend on who
collects requirements, and are left out where Stripe does.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from consulta.core.permissions import Role

State = Literal["not_submitted", "restricted", "enabled"]
ComponentName = Literal[
    "account_management",
    "account_onboarding",
    "balance_report",
    "balances",
    "disputes_list",
    "documents",
    "notification_banner",
    "payments",
    "payout_details",
    "payout_reconciliation_report",
    "payouts",
    "payouts_list",
    "tax_registrations",
    "tax_settings",
]
NAMES: tuple[str, ...] = get_args(ComponentName)

_PAYOUT_FEATURES = ("instant_payouts", "standard_payouts", "edit_payout_schedule")
_CHARGE_FEATURES = (
    "refund_management",
    "dispute_management",
    "smart_disputes_management",
    "capture_payments",
    "destination_on_behalf_of_charge_management",
)
_FEATURES: dict[str, tuple[str, ...]] = {
    "balances": _PAYOUT_FEATURES,
    "payouts": _PAYOUT_FEATURES,
    "payments": _CHARGE_FEATURES,
    "disputes_list": _CHARGE_FEATURES,
}
# These show or change who owns the account and its bank account.
_AUTHENTICATED = frozenset(
    {"account_management", "account_onboarding", "balances", "notification_banner", "payouts"}
)
# The account's owner: of the practice's account its owner, of an expert's the expert.
_OWNERS = frozenset({Role.OWNER, Role.EXPERT})


@dataclass(frozen=True, slots=True)
class Flags:
    """What besides role and state decides: a permission and two settings."""

    manage_disputes: bool = False
    manage_refunds: bool = False
    on_behalf_of: bool = False


# What a component's features are set to: the footnotes of the table.
_Grant = Literal["plain", "nothing", "payouts", "charges", "standard_payouts"]
_OWNER_ENABLED: dict[str, _Grant] = {
    "account_management": "plain",
    "notification_banner": "plain",
    "balances": "payouts",
    "payouts": "payouts",
    "payments": "charges",
    "disputes_list": "charges",
    "payout_details": "plain",
    "documents": "plain",
    "tax_settings": "plain",
    "tax_registrations": "plain",
}
_OWNER: dict[State, dict[str, _Grant]] = {
    "not_submitted": {"account_onboarding": "plain"},
    "restricted": {
        "account_onboarding": "plain",
        "account_management": "plain",
        "notification_banner": "plain",
        "balances": "nothing",
        "payments": "nothing",
        "payouts_list": "plain",
    },
    "enabled": _OWNER_ENABLED,
}
_TABLE: dict[Role, dict[State, dict[str, _Grant]]] = {
    Role.OWNER: _OWNER,
    Role.EXPERT: _OWNER,
    Role.ADMIN: {
        "restricted": {"payments": "nothing"},
        "enabled": {"payments": "charges", "disputes_list": "charges", "payouts_list": "plain"},
    },
    Role.BILLING: {
        "restricted": {"payouts_list": "plain"},
        "enabled": {
            "balances": "standard_payouts",
            "payouts": "standard_payouts",
            "payments": "charges",
            "disputes_list": "charges",
            "payout_details": "plain",
            "documents": "plain",
            "balance_report": "plain",
            "payout_reconciliation_report": "plain",
        },
    },
    Role.VIEWER: {"enabled": {"payouts_list": "plain"}},
}


def components(
    role: Role, state: State, controller: dict[str, Any], flags: Flags
) -> dict[str, dict[str, Any]]:
    """Stripe's ``components`` parameter for a role; empty where the table says 403.

    ``role`` EXPERT means the account's own payee; for any other expert nothing is to be asked.
    ``controller`` is the account's, as Stripe has it: its type says nothing.
    """
    granted = _TABLE.get(role, {}).get(state, {})
    ours = controller.get("requirement_collection") == "application"
    found: dict[str, dict[str, Any]] = {}
    for name, grant in granted.items():
        features = _features(name, grant, flags)
        if ours and name in _AUTHENTICATED:
            owner = role in _OWNERS
            features["external_account_collection"] = owner
            features["disable_stripe_user_authentication"] = not owner
        # A component without features takes no hash of them at all.
        found[name] = {"enabled": True, **({"features": features} if features else {})}
    return found


def _features(name: str, grant: _Grant, flags: Flags) -> dict[str, bool]:
    features = dict.fromkeys(_FEATURES.get(name, ()), False)
    if grant == "payouts":
        features.update(dict.fromkeys(_PAYOUT_FEATURES, True))
    elif grant == "standard_payouts":
        features["standard_payouts"] = True
    elif grant == "charges":
        features["dispute_management"] = flags.manage_disputes
        features["smart_disputes_management"] = flags.manage_disputes
        # A refund made in the component bypasses our policy and guard: a setting, off by default.
        features["refund_management"] = flags.manage_refunds
        features["destination_on_behalf_of_charge_management"] = flags.on_behalf_of
    return features
