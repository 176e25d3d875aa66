"""The caller behind an authorizer's context."""

import json

import pytest

from consulta.core.errors import Forbidden, Invalid, NotFound, Unauthorized
from consulta.core.identity import (
    Membership,
    account_of,
    authorizer_context,
    principal_of,
)
from consulta.core.permissions import Role
from tests.unit.people.calling import MEMBER, OTHER_PRACTICE, PRACTICE

OWNER = Membership(PRACTICE, Role.OWNER, MEMBER, "exp_01JC0NS0TADEM0000000000000")
PATIENT = Membership(OTHER_PRACTICE, Role.PATIENT, MEMBER, "pat_01JC0NS0TADEM0000000000000")


def context(*memberships: Membership, operator: bool = False) -> dict[str, str]:
    return authorizer_context("person-1", list(memberships), operator=operator)


def test_a_membership_survives_the_authorizers_context() -> None:
    assert account_of(context(OWNER, PATIENT)).memberships == (OWNER, PATIENT)


@pytest.mark.parametrize("problem", ["missing", "expired", "invalid"])
def test_a_bad_token_is_401_with_a_sentence_of_its_own(problem: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        principal_of({"problem": problem}, None, "r")
    assert caught.value.detail != Unauthorized.title


def test_without_an_authorizer_nobody_is_signed_in() -> None:
    with pytest.raises(Unauthorized):
        principal_of({}, PRACTICE, "r")


def test_the_only_practice_is_chosen() -> None:
    caller = principal_of(context(OWNER), None, "r")
    assert (caller.practice, caller.role, caller.expert, caller.patient) == (
        PRACTICE,
        Role.OWNER,
        OWNER.subject,
        "",
    )
    assert caller.tenant.prefix == f"P#{PRACTICE}#"
    assert (caller.actor.id, caller.actor.request_id) == ("person-1", "r")


def test_of_several_the_header_chooses() -> None:
    caller = principal_of(context(OWNER, PATIENT), OTHER_PRACTICE, "r")
    assert (caller.role, caller.expert, caller.patient) == (Role.PATIENT, "", PATIENT.subject)


def test_several_without_the_header_is_a_field_error() -> None:
    with pytest.raises(Invalid) as caught:
        principal_of(context(OWNER, PATIENT), None, "r")
    assert caught.value.errors[0].path == "header.Consulta-Practice"


def test_another_practice_looks_like_none() -> None:
    with pytest.raises(NotFound):
        principal_of(context(OWNER), OTHER_PRACTICE, "r")


def test_who_is_in_no_practice_is_forbidden() -> None:
    with pytest.raises(Forbidden):
        principal_of(context(), None, "r")


def test_an_operator_has_no_practice() -> None:
    caller = principal_of(context(operator=True), None, "r")
    assert caller.role is Role.OPERATOR
    with pytest.raises(Forbidden):
        _ = caller.tenant


def test_an_operator_is_not_let_into_a_practice_by_the_header() -> None:
    with pytest.raises(NotFound):
        principal_of(context(operator=True), PRACTICE, "r")


def test_a_person_cannot_forge_an_operator_by_a_name() -> None:
    forged = context(OWNER) | {"memberships": json.dumps([OWNER.to_context()])}
    assert principal_of(forged, None, "r").role is Role.OWNER
