"""Quick actions: what this caller often does next, and above all what is still to be set up. Pure.

Each names the permission that its path needs, and of what a caller without a place of their own has
to see all there; without them, it is not shown.
"""

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.dashboards.schema import QuickAction
from consulta.people.setup import Setup


class Action(NamedTuple):
    """What it is called, where it is done, and the permission for it, if any.

    ``of``: whoever is neither an expert nor a patient must see all of these (``appointments`` or
    ``payments``). ``href`` has places for ``expert``, ``first`` and ``last``.
    """

    name: str
    href: str
    permission: str = ""
    of: str = ""


APPOINTMENTS = Action("Appointments", "/v1/appointments", "appointments:read", "appointments")
PAYMENTS = Action("Payments", "/v1/payments", "payments:read", "payments")
MESSAGES = Action("Messages", "/v1/threads", "messages:read", "appointments")
REPORTS = Action("Reports", "/v1/reports", "reports:read")
ADD_SERVICE = Action("Add a service", "/v1/services", "services:write")

PATIENT = (
    Action("Find an expert", "/v1/experts", "experts:read"),
    Action("My appointments", "/v1/appointments", "appointments:read", "appointments"),
    MESSAGES,
    Action("Account", "/v1/me"),
)
EXPERT = (
    APPOINTMENTS,
    PAYMENTS,
    Action("Schedule", "/v1/availability?expert_id={expert}", "availability:read"),
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
    Action("Earnings", "/v1/earnings?from={first}&to={last}", "payments:read", "payments"),
    Action("Payouts", "/v1/payouts", "payments:read", "payments"),
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
    view = APPOINTMENTS._replace(name="View schedule")
    return _shown(caller, [*([publish] if setup.can_publish else []), *steps, view])


def of_practice(
    caller: Principal, missing: Iterable[str], month: tuple[date, date]
) -> list[QuickAction]:
    """A member's of the practice: what it has none of yet (``missing`` of FIRST_STEPS) first.

    ``month``: the first and the last day of this one.
    """
    usual = BILLING if caller.role is Role.BILLING else PRACTICE
    first, last = (day.isoformat() for day in month)
    steps = [FIRST_STEPS[name] for name in missing]
    return _shown(caller, [*steps, *usual], first=first, last=last)


def publish_href(expert_id: str) -> str:
    """Where an expert's profile is published."""
    return f"/v1/experts/{expert_id}/publish"


def _shown(caller: Principal, actions: Iterable[Action], **places: str) -> list[QuickAction]:
    places["expert"] = caller.expert
    return [
        QuickAction(name=action.name, href=action.href.format_map(places))
        for action in actions
        if _may(caller, action)
    ]


def _may(caller: Principal, action: Action) -> bool:
    if action.permission and not caller.may(action.permission):
        return False
    return not action.of or bool(caller.subject) or caller.sees_all(action.of)
