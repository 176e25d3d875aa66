"""The permission matrix."""

import pytest

from consulta.core.http import PUBLIC, SIGNED_IN, needs
from consulta.core.permissions import GRANTS, MEMBER_ROLES, Role, all_permissions

WRITES = {p for p in all_permissions() if not p.endswith((":read", ":all"))}


def test_every_role_has_a_row() -> None:
    assert set(GRANTS) == set(Role)


@pytest.mark.parametrize(
    ("role", "denied"),
    [
        (Role.ADMIN, {"practices:write", "practices:read"}),
        (Role.EXPERT, {"members:read", "members:write", "practice:write", "reports:read"}),
        (Role.BILLING, {"patients:read", "patients:write", "members:write", "appointments:write"}),
        (Role.PATIENT, {"patients:read", "patients:write", "members:read", "reports:read"}),
        (Role.OPERATOR, {"patients:read", "practice:read", "appointments:read", "members:read"}),
    ],
)
def test_what_a_role_must_never_do(role: Role, denied: set[str]) -> None:
    assert denied <= all_permissions()
    assert not GRANTS[role] & denied


def test_a_viewer_changes_nothing() -> None:
    # An account session shows a viewer the provider's own read-only components.
    assert GRANTS[Role.VIEWER] & WRITES == {"account_sessions:write"}


def test_owners_and_admins_have_what_any_member_has() -> None:
    for role in MEMBER_ROLES:
        assert GRANTS[role] <= GRANTS[Role.OWNER]
        assert GRANTS[role] - {"practice:own"} <= GRANTS[Role.ADMIN]


def test_a_route_cannot_need_what_nobody_has() -> None:
    with pytest.raises(ValueError, match="patients:export"):
        needs("patients:export")
    for permission in (PUBLIC, SIGNED_IN, "patients:read"):
        assert needs(permission)(lambda: None).permission == permission
