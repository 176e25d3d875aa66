"""One role-aware entry: who calls decides what is read and which sections there are (D1, D9)."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from consulta.core import aws, table
from consulta.core.errors import Invalid, NotFound
from consulta.core.http import ApiModel
from consulta.core.identity import Principal
from consulta.core.observe import failure
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.dashboards import sections
from consulta.dashboards.reads import Reads, Subject
from consulta.dashboards.schema import (
    SECTION_NAMES,
    Appointments,
    Dashboard,
    ExpertDashboard,
    ExpertSections,
    NewExpertDashboard,
    NewExpertSections,
    PatientDashboard,
    PatientSections,
    PracticeDashboard,
    QuickAction,
    Section,
)
from consulta.people.records import EXPERT, PRACTICE, ExpertItem, PracticeItem
from consulta.people.schema.experts import SetupOut
from consulta.people.schema.me import PracticeName
from consulta.people.setup import setup_of

# As many as one dashboard reads at once; readers of names wait for the lists inside this pool.
READERS = 8
# How long a front end may show a section, in seconds (D9).
MAX_AGE = {"stats": 60, "setup": 60, "upcoming": 30, "recent": 30, "spending": 120, "earnings": 120}

# What each section reads; all of it is under way before the first section is built.
NEEDS = {
    "stats": ("upcoming", "total", "months", "days"),
    "upcoming": ("upcoming", "names"),
    "recent": ("recent", "names"),
    "spending": ("total",),
    "earnings": ("total", "months"),
    "setup": (),
}

ACTIONS = {
    "patient": (
        QuickAction(name="Find an expert", href="/v1/experts"),
        QuickAction(name="My appointments", href="/v1/appointments"),
        QuickAction(name="Account", href="/v1/me"),
    ),
    "new_expert": (
        QuickAction(name="Set opening hours", href="/v1/availability"),
        QuickAction(name="Add a service", href="/v1/services"),
        QuickAction(name="View schedule", href="/v1/appointments"),
    ),
    "expert": (
        QuickAction(name="Appointments", href="/v1/appointments"),
        QuickAction(name="Payments", href="/v1/payments"),
        QuickAction(name="Schedule", href="/v1/availability"),
    ),
    "practice": (
        QuickAction(name="Appointments", href="/v1/appointments"),
        QuickAction(name="Patients", href="/v1/patients"),
        QuickAction(name="Reports", href="/v1/reports"),
    ),
}
Build = Callable[[], ApiModel]


def asked_for(names: str | None) -> frozenset[str]:
    """The sections named in ``?sections=stats,upcoming``; all without it.

    Raises Invalid for a name that no dashboard has.
    """
    if names is None:
        return frozenset(SECTION_NAMES)
    found = frozenset(names.split(","))
    unknown = sorted(found - set(SECTION_NAMES))
    if unknown:
        message = f"There is no section {unknown[0]}: choose of {', '.join(SECTION_NAMES)}"
        raise Invalid.of("query.sections", message, "enum")
    return found


def build(caller: Principal, wanted: frozenset[str]) -> Dashboard:
    """The caller's dashboard with the ``wanted`` sections."""
    tenant = caller.tenant
    aws.client("dynamodb")  # made here, before the readers race for it
    keys = [tenant.item(PRACTICE, tenant.practice)]
    if caller.expert:
        keys.append(tenant.item(EXPERT, caller.expert))
    found = table.batch_get_raw(keys, consistent=False)
    if keys[0] not in found:
        raise NotFound
    practice = PracticeItem.read(found[keys[0]])
    expert = ExpertItem.read(found[keys[1]]) if keys[1:] and keys[1] in found else None
    kind, subject_id = _subject(caller)
    subject = Subject(tenant, kind, subject_id, practice.zone, now(), caller.sees_patients)
    known = {keys[1]: expert.name} if expert else {}
    needed = dict.fromkeys(n for name in SECTION_NAMES if name in wanted for n in NEEDS[name])
    with ThreadPoolExecutor(READERS) as pool:
        reads = Reads(subject, pool, needed, known)
        return _dashboard(caller, practice, expert, reads, wanted)


def _subject(caller: Principal) -> tuple[str, str]:
    if caller.role is Role.PATIENT:
        return "PATIENT", caller.patient
    if caller.role is Role.EXPERT:
        return "EXPERT", caller.expert
    return "PRACTICE", caller.practice


def _dashboard(
    caller: Principal,
    practice: PracticeItem,
    expert: ExpertItem | None,
    reads: Reads,
    wanted: frozenset[str],
) -> Dashboard:
    def upcoming() -> Appointments:
        return Appointments(items=reads.shown(reads.upcoming.result().next))

    def recent() -> Appointments:
        return Appointments(items=reads.shown(reads.recent.result()))

    def expert_stats() -> ApiModel:
        return sections.expert_stats(reads)

    def earnings() -> ApiModel:
        return sections.earnings(reads, practice)

    def made(**builders: Build) -> dict[str, Any]:
        return {
            name: _section(name, builder, reads)
            for name, builder in builders.items()
            if name in wanted
        }

    about = PracticeName(id=caller.practice, name=practice.name)
    if caller.role is Role.PATIENT:
        parts = made(
            stats=lambda: sections.patient_stats(reads),
            upcoming=upcoming,
            recent=recent,
            spending=lambda: sections.spending(reads),
        )
        return PatientDashboard(
            practice=about,
            quick_actions=list(ACTIONS["patient"]),
            sections=PatientSections(**parts),
        )
    if expert and caller.role is Role.EXPERT and not expert.published:
        parts = made(
            setup=lambda: SetupOut.model_validate(setup_of(expert)),
            stats=expert_stats,
            upcoming=upcoming,
        )
        return NewExpertDashboard(
            practice=about,
            quick_actions=list(ACTIONS["new_expert"]),
            sections=NewExpertSections(**parts),
        )
    shown = ExpertSections(
        **made(stats=expert_stats, upcoming=upcoming, recent=recent, earnings=earnings)
    )
    if caller.role is Role.EXPERT:
        return ExpertDashboard(
            practice=about, quick_actions=list(ACTIONS["expert"]), sections=shown
        )
    return PracticeDashboard(
        practice=about, quick_actions=list(ACTIONS["practice"]), sections=shown
    )


def _section(name: str, build_data: Build, reads: Reads) -> dict[str, Any]:
    """The section, or the word that it is unavailable: one that fails leaves the others alone."""
    try:
        data = build_data().model_dump()
    except Exception as error:  # noqa: BLE001  # whatever one section's reads ran into
        failure("a dashboard section is unavailable", error, section=name)
        data = None
    return {
        "status": "unavailable" if data is None else "ok",
        "as_of": reads.subject.now,
        "max_age_seconds": MAX_AGE[name],
        "data": data,
    }


def shown(dashboard: Dashboard) -> list[tuple[str, Section[Any]]]:
    """The sections that are in this answer."""
    names = (name for name in type(dashboard.sections).model_fields)
    return [(n, s) for n in names if (s := getattr(dashboard.sections, n)) is not None]


def etag(dashboard: Dashboard) -> str:
    """Changes with what is shown, not with when it was read."""
    timeless = {name: {"as_of"} for name, _ in shown(dashboard)}
    body = dashboard.model_dump_json(exclude={"sections": timeless})
    return f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'


def max_age(dashboard: Dashboard) -> int:
    """As short as its shortest-lived section; nothing while one is unavailable."""
    parts = [section for _, section in shown(dashboard)]
    if any(section.status == "unavailable" for section in parts):
        return 0
    return min((section.max_age_seconds for section in parts), default=0)
