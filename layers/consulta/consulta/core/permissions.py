"""Who may do what: one matrix, from which handlers, documentation and tests take it.

A permission is ``resource:verb``. A handler declares the one it needs with ``needs``; whatever is
not granted here is denied.
"""

from enum import StrEnum


class Role(StrEnum):
    """A member's role in a practice, a patient's, or the platform's own staff's."""

    OWNER = "owner"
    ADMIN = "admin"
    EXPERT = "expert"
    BILLING = "billing"
    VIEWER = "viewer"
    PATIENT = "patient"
    OPERATOR = "operator"


MEMBER_ROLES = frozenset({Role.OWNER, Role.ADMIN, Role.EXPERT, Role.BILLING, Role.VIEWER})

_READ = {
    "practice:read",
    "experts:read",
    "services:read",
    "availability:read",
    "slots:read",
    "appointments:read",
    "dashboard:read",
}
_STAFF_READ = _READ | {"patients:read", "members:read", "payments:read", "reports:read"}
_STAFF_WRITE = {
    "appointments:write",
    "appointments:confirm",
    "patients:write",
    "payments:write",
    "payments:manual",
}
_MANAGE = {
    "practice:write",
    "experts:write",
    "services:write",
    "availability:write",
    "members:write",
    "reports:write",
    "connect:read",
    "connect:write",
}

GRANTS: dict[Role, frozenset[str]] = {
    Role.OWNER: frozenset(_STAFF_READ | _STAFF_WRITE | _MANAGE | {"account_sessions:write"}),
    Role.ADMIN: frozenset(_STAFF_READ | _STAFF_WRITE | _MANAGE | {"account_sessions:write"}),
    # An expert acts on own appointments, hours and profile: use cases narrow these to themselves.
    Role.EXPERT: frozenset(
        _READ
        | _STAFF_WRITE
        | {"patients:read", "payments:read", "availability:write", "experts:write"}
        | {"services:write", "account_sessions:write", "connect:read", "connect:write"}
    ),
    Role.BILLING: frozenset(
        (_STAFF_READ - {"patients:read"})
        | {"payments:manual", "reports:write", "account_sessions:write", "connect:read"}
    ),
    Role.VIEWER: frozenset(_STAFF_READ | {"account_sessions:write"}),
    Role.PATIENT: frozenset(
        _READ | {"appointments:write", "payments:read", "payments:write", "account_sessions:write"}
    ),
    Role.OPERATOR: frozenset({"practices:write", "practices:read", "account_sessions:write"}),
}


def may(role: Role, permission: str) -> bool:
    """Whether ``role`` has ``permission``."""
    return permission in GRANTS[role]


def all_permissions() -> frozenset[str]:
    """Every permission that some role has."""
    return frozenset().union(*GRANTS.values())
