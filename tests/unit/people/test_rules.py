"""The pure rules of people: folding, phones, passwords, policy and set-up."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.people.contact import fold_email, fold_name, is_country, to_e164
from consulta.people.passwords import check_policy
from consulta.people.policy import PolicySettings, default_policy, to_stored
from consulta.people.records import EXPERT, ExpertItem
from consulta.people.setup import setup_of
from tests.unit.people.calling import PRACTICE

EXPERT_ID = "exp_01JC0NS0TADEM0000000000000"


@given(st.text(max_size=40))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold_name(fold_name(text)) == fold_name(text)
    assert fold_email(fold_email(text)) == fold_email(text)


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("Ángela  Ruiz", "angela ruiz"),
        ("ÅSA ÖBERG", "asa oberg"),
        ("Strauß", "strauss"),
        ("  José\tMaría ", "jose maria"),
        ("́", ""),
    ],
)
def test_names_are_searched_without_case_and_accents(name: str, folded: str) -> None:
    assert fold_name(name) == folded


@pytest.mark.parametrize(
    ("phone", "country", "e164"),
    [
        ("+34 600 123 456", "ES", "+34600123456"),
        ("600123456", "ES", "+34600123456"),
        ("(11) 96123-4567", "BR", "+5511961234567"),
        ("+1 212 555 0100", "ES", "+12125550100"),
    ],
)
def test_phones_become_e164(phone: str, country: str, e164: str) -> None:
    assert to_e164(phone, country) == e164


@pytest.mark.parametrize("phone", ["", "12", "+", "not a phone", "+999123456789", "+3460012345678"])
def test_what_is_no_phone_is_refused(phone: str) -> None:
    with pytest.raises(ValueError, match="not a phone number"):
        to_e164(phone, "ES")


def test_countries() -> None:
    assert is_country("ES")
    assert not is_country("XX")
    assert not is_country("es")


@given(st.text(alphabet=string.printable.strip(), max_size=30))
def test_a_password_needs_twelve_characters_of_four_classes(password: str) -> None:
    good = len(password) >= 12 and all(
        any(letter in members for letter in password)
        for members in (
            string.ascii_lowercase,
            string.ascii_uppercase,
            string.digits,
            string.punctuation,
        )
    )
    if good:
        check_policy(SecretStr(password))
    else:
        with pytest.raises(ValueError, match="The password needs"):
            check_policy(SecretStr(password))


def test_the_default_policy_has_the_shape_of_the_rules() -> None:
    policy = default_policy("EUR")
    assert set(policy) == {
        "version",
        "currency",
        "refund_base",
        "commission_returned",
        "cancel",
        "no_show",
        "expert_cancel",
        "reschedule",
        "package",
        "statutory",
    }
    assert (policy["version"], policy["currency"]) == (1, "EUR")
    settings = {k: v for k, v in policy.items() if k not in ("version", "currency")}
    assert to_stored(PolicySettings.model_validate(settings), "EUR", 1) == policy


@pytest.mark.parametrize(
    "cancel",
    [
        [],
        [{"min_notice_s": 60, "keep": {}}],
        [{"min_notice_s": 0, "keep": {}}, {"min_notice_s": 60, "keep": {}}],
        [{"min_notice_s": 0, "keep": {}}, {"min_notice_s": 0, "keep": {}}],
        [{"min_notice_s": 0, "keep": {"percent": 101}}],
        [{"min_notice_s": 0, "keep": {"fixed": -1}}],
    ],
)
def test_a_policy_that_cannot_be_computed_is_refused(cancel: list[Any]) -> None:
    with pytest.raises(ValidationError):
        PolicySettings.model_validate({"cancel": cancel})


@pytest.mark.parametrize(
    "nobody_does", [{"commission_returned": False}, {"no_show": {"charge_card": True}}]
)
def test_what_nobody_would_do_is_not_promised(nobody_does: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PolicySettings.model_validate(nobody_does)


def expert(**attributes: Any) -> ExpertItem:
    tenant = Tenant(PRACTICE)
    return ExpertItem.create(
        tenant.item(EXPERT, EXPERT_ID),
        EXPERT,
        Actor("person-1", "request-1"),
        name="Eva",
        **attributes,
    )


PROFILE = {"title": "Dr", "bio": "Sees people", "languages": ["es"]}
REQUIRED = {"has_hours": True, "has_service": True, "payments_ready": True}


def test_a_new_expert_has_everything_to_do() -> None:
    setup = setup_of(expert())
    assert (setup.done, setup.total, setup.can_publish) == (0, 6, False)
    assert setup.open_steps == ["profile", "availability", "services", "payments"]


def test_identity_and_calendar_do_not_hold_up_publishing() -> None:
    setup = setup_of(expert(**PROFILE, **REQUIRED))
    assert (setup.done, setup.can_publish) == (4, True)
    assert [step.name for step in setup.steps if not step.done] == ["identity", "calendar"]


@pytest.mark.parametrize("missing", [*PROFILE, *REQUIRED])
def test_each_required_thing_holds_up_publishing(missing: str) -> None:
    given_ = {name: value for name, value in {**PROFILE, **REQUIRED}.items() if name != missing}
    assert not setup_of(expert(**given_)).can_publish
