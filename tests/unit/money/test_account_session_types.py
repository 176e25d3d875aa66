"""What we send with an account session, against the annotations of the installed SDK.

The list of components and features is that of the payment facts we build on; should the SDK learn
of another feature or drop one, this fails and the table has to be looked at again.
"""

from itertools import product
from typing import Any

import pytest
import stripe.params as sp
import typing_extensions as te

from consulta.core.permissions import Role
from consulta.money.accounts.components import NAMES, Flags, State, components

AUTH = {"disable_stripe_user_authentication", "external_account_collection"}
PAYOUTS = {"instant_payouts", "standard_payouts", "edit_payout_schedule"}
CHARGES = {
    "refund_management",
    "dispute_management",
    "capture_payments",
    "destination_on_behalf_of_charge_management",
    "smart_disputes_management",
}
FACTS: dict[str, set[str]] = {
    "account_onboarding": AUTH,
    "account_management": AUTH,
    "notification_banner": AUTH,
    "balances": AUTH | PAYOUTS,
    "payouts": AUTH | PAYOUTS,
    "payments": CHARGES,
    "disputes_list": CHARGES,
    "payouts_list": set(),
    "payout_details": set(),
    "documents": set(),
    "tax_settings": set(),
    "tax_registrations": set(),
    "balance_report": set(),
    "payout_reconciliation_report": set(),
}
STATES: tuple[State, ...] = ("not_submitted", "restricted", "enabled")
FLAGS = [Flags(*values) for values in product((False, True), repeat=3)]
CONTROLLERS: dict[str, dict[str, Any]] = {
    "stripe collects": {"requirement_collection": "stripe"},
    "we collect": {"requirement_collection": "application"},
    "not told": {},
    # The type says nothing, whatever it is.
    "a type alone": {"type": "application"},
}
OWNERS = (Role.OWNER, Role.EXPERT)


def known(component: str) -> tuple[set[str], dict[str, Any]]:
    """The features that the SDK has for a component, and the annotations of them."""
    every = te.get_type_hints(sp.AccountSessionCreateParamsComponents)
    features = te.get_type_hints(te.get_type_hints(every[component])["features"])
    return set(features), features


@pytest.mark.parametrize("component", NAMES)
def test_the_sdk_has_each_component_with_these_features_and_no_others(component: str) -> None:
    names, annotations = known(component)
    assert names == FACTS[component]
    assert all(annotation is bool for annotation in annotations.values())


def test_the_facts_are_of_all_that_we_send() -> None:
    assert set(NAMES) == FACTS.keys()


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("role", list(Role))
def test_every_cell_sends_every_feature_and_authentication_by_who_collects(
    role: Role, state: State, controller: str
) -> None:
    for flags in FLAGS:
        sent = components(role, state, CONTROLLERS[controller], flags)
        for name, component in sent.items():
            assert component.keys() <= {"enabled", "features"}
            assert component["enabled"] is True
            given = component.get("features", {})
            assert given or "features" not in component
            assert all(type(value) is bool for value in given.values())
            by_collection = FACTS[name] & AUTH if controller == "we collect" else set()
            assert given.keys() == (FACTS[name] - AUTH) | by_collection, name
            if by_collection:
                owner = role in OWNERS
                assert given["external_account_collection"] is owner
                assert given["disable_stripe_user_authentication"] is not owner


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.PATIENT, Role.CUSTOM])
def test_who_gets_none_gets_none_of_any(role: Role) -> None:
    for state, controller, flags in product(STATES, CONTROLLERS.values(), FLAGS):
        assert components(role, state, controller, flags) == {}


@pytest.mark.parametrize("role", list(Role))
def test_capturing_is_never_given_and_refunding_only_by_the_setting(role: Role) -> None:
    for state, flags in product(STATES, FLAGS):
        for name, component in components(role, state, {}, flags).items():
            if FACTS[name] != CHARGES:
                continue
            given, enabled = component["features"], state == "enabled"
            assert given["capture_payments"] is False
            assert given["refund_management"] is (enabled and flags.manage_refunds)
            on_behalf_of = "destination_on_behalf_of_charge_management"
            assert given[on_behalf_of] is (enabled and flags.on_behalf_of)
