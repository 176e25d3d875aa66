"""Who may give what to whom, and what an invitation may ask for: pure."""

from typing import Any

import pytest
from pydantic import ValidationError

from consulta.core.errors import Forbidden
from consulta.core.identity import Principal
from consulta.core.permissions import ASSIGNABLE, GRANTS, Role
from consulta.people.policy import default_policy
from consulta.people.practices import security_of
from consulta.people.records import PracticeItem
from consulta.people.roles import Standing, require, require_all
from consulta.people.schema.invitations import AcceptIn, InvitationIn
from consulta.people.schema.members import MemberPatch
from consulta.people.schema.roles import RoleIn

ROLE_ID = "role_01JC0NS0TADEM0000000000000"
PATIENT_ID = "pat_01JC0NS0TADEM0000000000000"
BUILT_IN = [role for role in Role if role not in {Role.OPERATOR, Role.CUSTOM, Role.PATIENT}]


def caller(role: Role, granted: set[str] | None = None) -> Principal:
    allowed = frozenset(granted) if granted is not None else None
    return Principal("person-1", role, "request-1", practice="prac_1", granted=allowed)


def may_give(by: Principal, role: Role, permissions: frozenset[str] | None = None) -> bool:
    try:
        require(by, Standing(role, None, GRANTS[role] if permissions is None else permissions))
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize("role", BUILT_IN)
def test_an_owner_gives_every_role_and_an_admin_all_but_an_owners(role: Role) -> None:
    assert may_give(caller(Role.OWNER), role)
    assert may_give(caller(Role.ADMIN), role) == (role is not Role.OWNER)


@pytest.mark.parametrize("by", BUILT_IN)
@pytest.mark.parametrize("wanted", BUILT_IN)
def test_what_can_be_given_is_never_more_than_one_has(by: Role, wanted: Role) -> None:
    assert may_give(caller(by), wanted) == (GRANTS[wanted] <= GRANTS[by])


def test_a_patients_login_is_given_by_who_may_change_the_patient() -> None:
    assert may_give(caller(Role.CUSTOM, {"patients:write"}), Role.PATIENT)
    assert not may_give(caller(Role.CUSTOM, {"members:write"}), Role.PATIENT)


def test_an_owner_by_a_narrower_key_is_no_owner() -> None:
    by_key = caller(Role.OWNER, set(ASSIGNABLE))
    assert not may_give(by_key, Role.OWNER)
    assert may_give(by_key, Role.ADMIN)


def test_the_refusal_names_what_is_lacking() -> None:
    with pytest.raises(Forbidden, match="audit:read, sso:write"):
        require_all(caller(Role.CUSTOM, {"roles:write"}), frozenset({"sso:write", "audit:read"}))


def test_nothing_that_is_an_owners_alone_can_be_put_into_a_role() -> None:
    assert GRANTS[Role.OWNER] - ASSIGNABLE == {"practice:own"}
    RoleIn(name="All", permissions=sorted(ASSIGNABLE))
    with pytest.raises(ValidationError):
        RoleIn(name="Own", permissions=["practice:own"])


@pytest.mark.parametrize(
    "asked",
    [
        {"role": "viewer"},
        {"role": "patient", "patient_id": PATIENT_ID},
        {"role": "expert", "expert": {"zone": "Europe/Madrid"}},
        {"role": "owner", "expert": {"zone": "Europe/Madrid"}},
        {"role_id": ROLE_ID},
        {"role_id": ROLE_ID, "expert": {"zone": "Europe/Madrid"}},
    ],
)
def test_what_an_invitation_may_ask_for(asked: dict[str, Any]) -> None:
    InvitationIn.model_validate({"email": "EVA@example.com", "name": "Eva", **asked})


def test_a_token_and_a_password_are_not_shown() -> None:
    body = AcceptIn.model_validate({"token": "the-token", "password": "Chosen-pass-2026!"})
    assert "the-token" not in repr(body) + body.model_dump_json()
    assert "Chosen" not in repr(body) + body.model_dump_json()


def test_a_member_has_one_role() -> None:
    with pytest.raises(ValidationError, match="either role or role_id"):
        MemberPatch(role="admin", role_id=ROLE_ID)


@pytest.mark.parametrize("stored", [None, {}, {"mfa_required": True}])
def test_what_was_never_set_is_off(stored: dict[str, bool] | None) -> None:
    item = PracticeItem(policy=default_policy("EUR"), security=stored)
    expected = {"mfa_required": bool(stored), "experts_see_all": False, "self_sign_up": False}
    assert security_of(item).model_dump() == expected
