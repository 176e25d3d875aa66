"""Who may do what: one matrix, from which handlers, documentation and tests take it.

A permission is ``resource:verb``. A handler declares the one it needs with ``needs``; whatever is
not granted here is denied.
"""

from enum import StrEnum


class Role(StrEnum):
    """A member's role in a practice, a patient's, or the platform's own staff's.

    ``CUSTOM`` grants nothing by itself: its permissions are those of a role that the practice made.
    """

    OWNER = "owner"
    ADMIN = "admin"
    EXPERT = "expert"
    BILLING = "billing"
    VIEWER = "viewer"
    PATIENT = "patient"
    OPERATOR = "operator"
    CUSTOM = "custom"


MEMBER_ROLES = frozenset(
    {Role.OWNER, Role.ADMIN, Role.EXPERT, Role.BILLING, Role.VIEWER, Role.CUSTOM}
)
# See everybody's, where without them a member sees only what is their own as an expert.
ALL_APPOINTMENTS, ALL_PAYMENTS = "appointments:all", "payments:all"

_READ = {
    "practice:read",
    "experts:read",
    "services:read",
    "availability:read",
    "slots:read",
    "appointments:read",
    "packages:read",
    "reviews:read",
    "dashboard:read",
}
_STAFF_READ = _READ | {
    ALL_APPOINTMENTS,
    ALL_PAYMENTS,
    "patients:read",
    "members:read",
    "payments:read",
    "reports:read",
    "activity:read",
}
_STAFF_WRITE = {
    "appointments:write",
    "appointments:confirm",
    "packages:write",
    "calendars:write",
    "patients:write",
    "payments:write",
    "payments:manual",
    # Patients write reviews, members answer them.
    "reviews:write",
    "api_keys:write",
}
_MANAGE = {
    "practice:write",
    "experts:write",
    "services:write",
    "resources:write",
    "closures:write",
    "availability:write",
    "members:write",
    "roles:write",
    "sso:write",
    "audit:read",
    "usage:read",
    "notes:read",
    "notes:write",
    "messages:read",
    "messages:write",
    "reports:write",
    "reviews:moderate",
    "connect:read",
    "connect:write",
    "ledger:read",
}

GRANTS: dict[Role, frozenset[str]] = {
    Role.OWNER: frozenset(
        _STAFF_READ | _STAFF_WRITE | _MANAGE | {"account_sessions:write", "practice:own"}
    ),
    Role.ADMIN: frozenset(_STAFF_READ | _STAFF_WRITE | _MANAGE | {"account_sessions:write"}),
    # An expert acts on own appointments, hours and profile: use cases narrow these to themselves.
    Role.EXPERT: frozenset(
        _READ
        | _STAFF_WRITE
        | {"patients:read", "payments:read", "availability:write", "experts:write"}
        | {"services:write", "account_sessions:write", "connect:read", "connect:write"}
        | {"notes:read", "notes:write", "messages:read", "messages:write"}
    ),
    Role.BILLING: frozenset(
        (_STAFF_READ - {"patients:read"})
        | {"payments:manual", "reports:write", "account_sessions:write", "connect:read"}
        | {"usage:read", "api_keys:write", "ledger:read"}
    ),
    Role.VIEWER: frozenset(_STAFF_READ | {"account_sessions:write"}),
    Role.PATIENT: frozenset(
        _READ
        | {"appointments:write", "packages:write", "calendars:write", "reviews:write"}
        | {"payments:read", "payments:write", "account_sessions:write"}
        | {"messages:read", "messages:write"}
    ),
    Role.OPERATOR: frozenset(
        {"practices:write", "practices:read", "account_sessions:write"}
        | {"webhooks:read", "webhooks:write", "accounts:read", "ledger:read"}
    ),
    Role.CUSTOM: frozenset(),
}

# What a practice may put into a role or a key of its own: all that its admins have, nothing that is
# an owner's alone.
ASSIGNABLE = GRANTS[Role.ADMIN]
# What lets people in and what they may do: never a key's, so that a stolen key makes no other.
FORBIDDEN_FOR_KEYS = frozenset(
    {"api_keys:write", "members:write", "roles:write", "sso:write", "practice:own"}
)


def all_permissions() -> frozenset[str]:
    """Every permission that some role has."""
    return frozenset().union(*GRANTS.values())
