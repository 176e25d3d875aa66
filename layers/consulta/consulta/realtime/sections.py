"""Which sections of a dashboard a change of an item can alter: what a message names.

More than needed costs a front end a 304, less leaves it behind: when in doubt a section is named.
"""

from consulta.people.records import EXPERT, PATIENT, PRACTICE

_LISTS = frozenset({"upcoming", "recent", "schedule"})
_MONEY = frozenset({"earnings", "spending", "payouts", "today", "weeks", "activity"})
# Entity → the sections that show something of it: a figure, an item of a list, a name in one.
CHANGED_BY = {
    "APPOINTMENT": _LISTS | {"stats", "today", "weeks"},
    "PAYMENT": _MONEY,
    "REFUND": _MONEY,
    "DISPUTE": frozenset({"earnings", "payouts", "activity"}),
    "POSTING": frozenset({"earnings", "payouts"}),
    "PATIENT": _LISTS | {"stats", "activity"},
    "SERVICE": _LISTS | {"setup", "stats", "today"},
    "REVIEW": frozenset({"stats", "today", "activity"}),
    "THREAD": frozenset({"stats", "today"}),
    "PROFILE_VIEWS": frozenset({"stats"}),
}
_WORK = _LISTS | {"stats", "earnings", "payouts", "today", "weeks", "activity"}
# What the dashboard is of → the sections that it may have, whatever the member's role.
SECTIONS = {
    PATIENT: frozenset({"stats", "upcoming", "recent", "spending"}),
    EXPERT: _WORK | {"setup"},
    PRACTICE: _WORK,
}


def sections_of(kind: str, entities: set[str]) -> frozenset[str]:
    """The sections of a PRACTICE's, EXPERT's or PATIENT's dashboard that these entities are in."""
    named = frozenset[str]().union(*(CHANGED_BY.get(entity, frozenset()) for entity in entities))
    return named & SECTIONS[kind]
