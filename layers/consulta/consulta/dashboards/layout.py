"""Which sections a caller's dashboard has, what each takes, and how long it may be shown. Pure.

Who sees what is the permissions' alone: a custom role or an API key sees the sections that its
permissions allow. docs/dashboards.md has the table.
"""

from collections.abc import Iterable
from typing import NamedTuple

from consulta.core.errors import Invalid
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.people.records import EXPERT, PATIENT, PRACTICE

ALL = "all"


class Rule(NamedTuple):
    """What one section takes.

    ``reads`` are under way before the first section is built; ``lists`` are those of them that it
    shows with names. ``permission`` is what its caller must have; ``of`` what of the practice they
    must see all of, where it is the whole practice's.
    """

    max_age_s: int
    reads: tuple[str, ...] = ()
    permission: str = ""
    of: str = ""
    lists: tuple[str, ...] = ()


APPOINTMENTS = ("appointments:read", "appointments")
MONEY = ("payments:read", "payments")
STATS_S, LIST_S, MONEY_S = 60, 30, 120
SECTIONS = {
    "setup": Rule(STATS_S),
    "stats": Rule(STATS_S, ("walk", "figures", "days", "upcoming"), *APPOINTMENTS),
    "today": Rule(STATS_S, ("walk", "figures", "days", "upcoming"), *APPOINTMENTS),
    "weeks": Rule(STATS_S, ("walk", "days"), *APPOINTMENTS),
    "upcoming": Rule(LIST_S, ("upcoming",), *APPOINTMENTS, lists=("upcoming",)),
    "schedule": Rule(LIST_S, ("schedule",), *APPOINTMENTS, lists=("schedule",)),
    "recent": Rule(LIST_S, ("recent",), *APPOINTMENTS, lists=("recent",)),
    "activity": Rule(LIST_S, ("payments", "reviews"), lists=("payments", "reviews")),
    "spending": Rule(MONEY_S, ("walk", "figures"), *MONEY),
    "earnings": Rule(MONEY_S, ("walk", "figures", "rates"), *MONEY),
    "payouts": Rule(MONEY_S, ("walk", "payouts"), *MONEY),
}
SECTION_NAMES = tuple(SECTIONS)
_PANEL = (
    *("stats", "today", "weeks", "upcoming", "schedule", "recent"),
    *("activity", "earnings", "payouts"),
)
KINDS = {
    "patient": ("stats", "upcoming", "recent", "spending"),
    "new_expert": ("setup", "stats", "upcoming"),
    "expert": _PANEL,
    "practice": _PANEL,
}
# Each has more to read than the others have in common: they come where they are asked for.
ON_REQUEST = frozenset({"weeks", "schedule", "activity", "payouts"})
BILLING = frozenset({"stats", "today", "weeks", "earnings", "payouts"})


def asked_for(names: str | None) -> frozenset[str] | None:
    """The sections named in ``?sections=stats,upcoming``, or ``all``; None without it.

    Raises Invalid for a name that no dashboard has.
    """
    if names is None:
        return None
    if names == ALL:
        return frozenset(SECTION_NAMES)
    found = frozenset(names.split(","))
    unknown = sorted(found - set(SECTION_NAMES))
    if unknown:
        message = (
            f"There is no section {unknown[0]}: {ALL}, or choose of {', '.join(SECTION_NAMES)}"
        )
        raise Invalid.of("query.sections", message, "enum")
    return found


def subject_of(caller: Principal) -> tuple[str, str] | None:
    """Kind and id of whose dashboard it is; None for a member who sees nobody's.

    An expert's is their own, also where they may see all; so is that of whoever may see only what
    is their own. Everybody else's is the practice's.
    """
    if caller.role is Role.PATIENT:
        return (PATIENT, caller.patient) if caller.patient else None
    sees_all = caller.sees_all("appointments") or caller.sees_all("payments")
    if caller.role is Role.EXPERT or not sees_all:
        return (EXPERT, caller.expert) if caller.expert else None
    return PRACTICE, caller.practice


def sees_money(caller: Principal, subject_kind: str) -> bool:
    """Whether this subject's payments are the caller's to see."""
    return caller.may("payments:read") and (subject_kind != PRACTICE or caller.sees_all("payments"))


def sections_of(
    caller: Principal, kind: str, subject_kind: str, wanted: Iterable[str] | None
) -> tuple[str, ...]:
    """Of the ``wanted`` sections those that this dashboard has and this caller may see, in order.

    ``subject_kind`` is empty where there is no subject. Without ``wanted`` those that come by
    themselves.
    """
    if not subject_kind:
        return ()
    if wanted is None:
        wanted = BILLING if caller.role is Role.BILLING else set(SECTION_NAMES) - ON_REQUEST
    chosen = frozenset(wanted)
    return tuple(n for n in KINDS[kind] if n in chosen and _may_see(caller, subject_kind, n))


def lists_of(kind: str, names: Iterable[str]) -> frozenset[str]:
    """The lists that these sections show with names."""
    shown = {one for name in names for one in SECTIONS[name].lists}
    # A patient's figures have their next appointment with them.
    return frozenset(shown | ({"upcoming"} if kind == "patient" and "stats" in names else set()))


def _may_see(caller: Principal, subject_kind: str, name: str) -> bool:
    rule = SECTIONS[name]
    if rule.permission and not caller.may(rule.permission):
        return False
    if subject_kind != PRACTICE:
        return True
    # What goes on in the whole practice is not for everybody who may see its payments.
    allowed = caller.may("activity:read") if name == "activity" else True
    return allowed and (not rule.of or caller.sees_all(rule.of))
