"""Quick actions: what this caller often does next, and above all what is still to be set up. Pure.

Each names the permission that its path needs; without it, it is not shown.
"""

from collections.abc import Iterable
from typing import NamedTuple

from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.dashboards.schema import QuickAction
from consulta.people.setup import Setup


class Action(NamedTuple):
    """What it is called, where it is done, and the permission for it, if any."""

    name: str
    href: str
    permission: str = ""


APPOINTMENTS = Action("Appointments", "/v1/appointments", "appointments:read")
PAYMENTS = Action("Payments", "/v1/payments", "payments:read")
MESSAGES = Action("Messages", "/v1/threads", "messages:read")
REPORTS = Action("Reports", "/v1/reports", "reports:read")
ADD_SERVICE = Action("Add a service", "/v1/services", "services:write")

PATIENT = (
    Action("Find an expert", "/v1/experts", "experts:read"),
    Action("My appointments", "/v1/appointments", "appointments:read"),
    MESSAGES,
    Action("Account", "/v1/me"),
)
EXPERT = (
    APPOINTMENTS,
    PAYMENTS,
    Action("Schedule", "/v1/availability", "availability:read"),
    MESSAGES,
)
PRACTICE = (
    APPOINTMENTS,
    Action("Patients", "/v1/patients", "patients:read"),
    MESSAGES,
    PAYMENTS,
    REPORTS,
    Action("Invite somebody", "/v1/invitations", "members:write"),
)
BILLING = (
    PAYMENTS,
    Action("Earnings", "/v1/earnings", "payments:read"),
    Action("Payouts", "/v1/payouts", "payments:read"),
    Action("Ledger", "/v1/ledger", "ledger:read"),
    REPORTS,
)
# The steps of an expert's set-up (people.setup) by what the one who does them calls them.
STEPS = {
    "profile": ("Complete your profile", "experts:write"),
    "availability": ("Set opening hours", "availability:write"),
    "services": ("Add a service", "services:write"),
    "identity": ("Verify your identity", "account_sessions:write"),
    "payments": ("Connect payments", "connect:write"),
    "calendar": ("Connect a calendar", "calendars:write"),
}
# A practice without any of it yet: the figure that says so.
FIRST_STEPS = {
    "services": ADD_SERVICE,
    "patients": Action("Add a patient", "/v1/patients", "patients:write"),
}


def of_patient(caller: Principal) -> list[QuickAction]:
    """A patient's."""
    return _shown(caller, PATIENT)


def of_expert(caller: Principal, setup: Setup, *, published: bool) -> list[QuickAction]:
    """An expert's, and open steps of the set-up: first, until the profile is published.

    Publishing is the first of all as soon as it is allowed.
    """
    steps = [Action(STEPS[s.name][0], s.href, STEPS[s.name][1]) for s in setup.steps if not s.done]
    if published:
        return _shown(caller, [*EXPERT, *steps])
    publish = Action("Publish your profile", publish_href(caller.expert), "experts:write")
    view = Action("View schedule", "/v1/appointments", "appointments:read")
    return _shown(caller, [*([publish] if setup.can_publish else []), *steps, view])


def of_practice(caller: Principal, missing: Iterable[str]) -> list[QuickAction]:
    """A member's of the practice: what it has none of yet (``missing`` of FIRST_STEPS) first."""
    usual = BILLING if caller.role is Role.BILLING else PRACTICE
    return _shown(caller, [*(FIRST_STEPS[name] for name in missing), *usual])


def publish_href(expert_id: str) -> str:
    """Where an expert's profile is published."""
    return f"/v1/experts/{expert_id}/publish"


def _shown(caller: Principal, actions: Iterable[Action]) -> list[QuickAction]:
    return [
        QuickAction(name=action.name, href=action.href)
        for action in actions
        if not action.permission or caller.may(action.permission)
    ]
