"""The table of account sessions, every cell, against the types of Stripe's own SDK."""

import typing
from typing import Any

import pytest
import stripe.params as sp
import typing_extensions as te
from pydantic import ConfigDict, TypeAdapter, ValidationError

from consulta.core.permissions import Role
from consulta.money.accounts.components import NAMES, Flags, State, components

STRIPE_COLLECTS = {"requirement_collection": "stripe"}
WE_COLLECT = {"requirement_collection": "application"}
AUTH = {"disable_stripe_user_authentication", "external_account_collection"}
ALL_FLAGS = Flags(manage_disputes=True, manage_refunds=True, on_behalf_of=True)
STATES: tuple[State, ...] = ("not_submitted", "restricted", "enabled")

OWNER = {
    "not_submitted": {"account_onboarding"},
    "restricted": {
        "account_onboarding",
        "account_management",
        "notification_banner",
        "balances",
        "payments",
        "payouts_list",
    },
    "enabled": {
        "account_management",
        "notification_banner",
        "balances",
        "payouts",
        "payments",
        "disputes_list",
        "payout_details",
        "documents",
        "tax_settings",
        "tax_registrations",
    },
}
TABLE: dict[Role, dict[str, set[str]]] = {
    Role.OWNER: OWNER,
    Role.EXPERT: OWNER,
    Role.ADMIN: {
        "not_submitted": set(),
        "restricted": {"payments"},
        "enabled": {"payments", "disputes_list", "payouts_list"},
    },
    Role.BILLING: {
        "not_submitted": set(),
        "restricted": {"payouts_list"},
        "enabled": {
            "balances",
            "payouts",
            "payments",
            "disputes_list",
            "payout_details",
            "documents",
            "balance_report",
            "payout_reconciliation_report",
        },
    },
    Role.VIEWER: {"not_submitted": set(), "restricted": set(), "enabled": {"payouts_list"}},
    Role.OPERATOR: {"not_submitted": set(), "restricted": set(), "enabled": set()},
    Role.PATIENT: {"not_submitted": set(), "restricted": set(), "enabled": set()},
    Role.CUSTOM: {"not_submitted": set(), "restricted": set(), "enabled": set()},
}
CELLS = [(role, state) for role in Role for state in STATES]


def features_of(component: str) -> set[str]:
    """The features that the SDK knows of a component."""
    hint = te.get_type_hints(te.get_type_hints(sp.AccountSessionCreateParamsComponents)[component])
    return set(te.get_type_hints(hint["features"]))


def strict(hint: Any) -> Any:
    """The SDK's type with unknown keys refused."""
    if te.is_typeddict(hint):
        made = te.TypedDict(  # type: ignore[misc]
            hint.__name__,
            {
                name: strict(inner)
                for name, inner in te.get_type_hints(hint, include_extras=True).items()
                if name in hint.__annotations__
            },
        )
        made.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
        return made
    if typing.get_origin(hint) in (te.NotRequired, te.Required):
        return typing.get_origin(hint)[strict(typing.get_args(hint)[0])]  # type: ignore[index]
    return hint


COMPONENTS = TypeAdapter(strict(sp.AccountSessionCreateParamsComponents))


@pytest.mark.parametrize(("role", "state"), CELLS)
def test_every_cell_of_the_table(role: Role, state: State) -> None:
    assert set(components(role, state, STRIPE_COLLECTS, ALL_FLAGS)) == TABLE[role][state]


@pytest.mark.parametrize("controller", [STRIPE_COLLECTS, WE_COLLECT])
@pytest.mark.parametrize("flags", [Flags(), ALL_FLAGS])
@pytest.mark.parametrize(("role", "state"), CELLS)
def test_every_cell_is_valid_and_sends_every_feature(
    role: Role, state: State, flags: Flags, controller: dict[str, Any]
) -> None:
    sent = components(role, state, controller, flags)
    COMPONENTS.validate_python(sent)
    for name, component in sent.items():
        assert component["enabled"] is True
        features = component.get("features", {})
        assert set(features) - AUTH == features_of(name) - AUTH
        has_auth = features_of(name) >= AUTH
        assert (set(features) & AUTH == AUTH) is (has_auth and controller is WE_COLLECT)
        # An empty hash of features is an error for a component that has none.
        assert features or "features" not in component


def test_the_types_refuse_what_stripe_does_not_know() -> None:
    for wrong in (
        {"payout": {"enabled": True}},
        {"payouts": {"enabled": True, "features": {"instant_payoutz": True}}},
        {"payouts_list": {"enabled": True, "features": {"instant_payouts": True}}},
        {"payouts": {"features": {}}},
    ):
        with pytest.raises(ValidationError):
            COMPONENTS.validate_python(wrong)


def test_the_names_that_may_be_asked_for_are_those_of_the_table() -> None:
    assert set(NAMES) == set().union(*(cell for row in TABLE.values() for cell in row.values()))


def features(
    role: Role, state: State, component: str, flags: Flags = ALL_FLAGS, ours: bool = False
) -> dict[str, bool]:
    found = components(role, state, WE_COLLECT if ours else STRIPE_COLLECTS, flags)
    sent: dict[str, bool] = found[component].get("features", {})
    return sent


@pytest.mark.parametrize(
    ("role", "component"),
    [(Role.OWNER, "balances"), (Role.OWNER, "payments"), (Role.ADMIN, "payments")],
)
def test_note_1_a_restricted_account_has_every_feature_off(role: Role, component: str) -> None:
    assert not any(features(role, "restricted", component).values())


@pytest.mark.parametrize("role", [Role.OWNER, Role.EXPERT])
@pytest.mark.parametrize("component", ["balances", "payouts"])
def test_note_2_owners_move_their_money(role: Role, component: str) -> None:
    assert features(role, "enabled", component) == {
        "instant_payouts": True,
        "standard_payouts": True,
        "edit_payout_schedule": True,
    }


@pytest.mark.parametrize("component", ["payments", "disputes_list"])
@pytest.mark.parametrize("role", [Role.OWNER, Role.EXPERT, Role.ADMIN, Role.BILLING])
def test_note_3_charges_by_permission_and_settings(role: Role, component: str) -> None:
    off = features(role, "enabled", component, Flags())
    assert not any(off.values())
    for flag, switched in (
        (Flags(manage_disputes=True), {"dispute_management", "smart_disputes_management"}),
        (Flags(manage_refunds=True), {"refund_management"}),
        (Flags(on_behalf_of=True), {"destination_on_behalf_of_charge_management"}),
    ):
        sent = features(role, "enabled", component, flag)
        assert {name for name, value in sent.items() if value} == switched
    assert features(role, "enabled", component)["capture_payments"] is False


@pytest.mark.parametrize("component", ["balances", "payouts"])
def test_note_4_billing_pays_out_by_the_usual_way_only(component: str) -> None:
    assert features(Role.BILLING, "enabled", component) == {
        "instant_payouts": False,
        "standard_payouts": True,
        "edit_payout_schedule": False,
    }


@pytest.mark.parametrize(
    ("role", "owner"), [(Role.OWNER, True), (Role.EXPERT, True), (Role.BILLING, False)]
)
def test_authentication_follows_who_collects_requirements(role: Role, owner: bool) -> None:
    assert not AUTH & set(features(role, "enabled", "balances"))
    sent = features(role, "enabled", "balances", ours=True)
    assert sent["external_account_collection"] is owner
    assert sent["disable_stripe_user_authentication"] is not owner
