"""One role-aware entry: who calls decides what is read and which sections there are (D1, D9).

Whatever is slow or down costs the sections that need it, never the others: all reads have one
deadline, and the answer does not wait for what hangs behind it.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from consulta.aggregates import figures
from consulta.core import aws, table
from consulta.core.errors import NotFound, Unavailable
from consulta.core.http import etag_of
from consulta.core.identity import Principal
from consulta.core.keys import Key
from consulta.core.observe import failure
from consulta.core.time import from_text, now
from consulta.dashboards import actions, layout, sections
from consulta.dashboards.layout import asked_for
from consulta.dashboards.reads import Pending, Reads
from consulta.dashboards.schema import (
    Dashboard,
    ExpertDashboard,
    NewExpertDashboard,
    NewExpertSections,
    PanelSections,
    PatientDashboard,
    PatientSections,
    PracticeDashboard,
    QuickAction,
    Section,
)
from consulta.dashboards.sections import Built
from consulta.dashboards.subject import Subject
from consulta.people.records import EXPERT, PATIENT, PRACTICE, ExpertItem, PracticeItem
from consulta.people.schema.fields import PracticeName
from consulta.people.setup import setup_of

if TYPE_CHECKING:
    from consulta.money.rates import RateTable

# All that one dashboard may have under way at once, with what hangs.
READERS = 12
# Of the function's ten seconds: for the change that a caller waits for, then for all reads.
WAIT_S, READ_S = 2.0, 3.0

Builder = Callable[[], Built]
# Waits until the figures have a change, or the time is up: whether they have.
HasChange = Callable[[float], bool]


class Head(NamedTuple):
    """Who it is about: the first round trip. ``expert`` is the caller's own item, if any.

    ``rates`` is the practice's own table of commissions, where it has one and it was asked for.
    """

    practice: PracticeItem
    expert: ExpertItem | None
    rates: table.Raw | None


def build(caller: Principal, wanted: frozenset[str] | None, after: str | None = None) -> Dashboard:
    """The caller's dashboard with the ``wanted`` sections, or with those that come by themselves.

    ``after``: a change that its figures are to have, as ``freshness.parse`` takes it; it waits for
    that, but not for long. Raises Invalid, NotFound, and Unavailable where the practice itself
    cannot be read.
    """
    has_change = _until_changed(caller, after) if after else None
    aws.client("dynamodb")  # made here, before the readers race for it
    pool = ThreadPoolExecutor(READERS)
    try:
        return _build(caller, wanted, has_change, pool)
    finally:
        # What hangs ends with its client's own timeouts, and nobody waits for it.
        pool.shutdown(wait=False, cancel_futures=True)


def _build(
    caller: Principal,
    wanted: frozenset[str] | None,
    has_change: HasChange | None,
    pool: ThreadPoolExecutor,
) -> Dashboard:
    end = time.monotonic() + READ_S
    of = layout.subject_of(caller)
    head = Pending(pool.submit(_head, caller, is_rated=_is_rated(caller, of, wanted)), end)
    includes = _wait_for(has_change, pool) if has_change else None
    if has_change:
        end = time.monotonic() + READ_S
    found = _known(head)
    kind = _kind(of[0] if of else "", found)
    names = layout.sections_of(caller, kind, of[0] if of else "", wanted)
    tenant, practice = caller.tenant, found.practice
    subject = Subject(
        tenant,
        *(of or (PRACTICE, tenant.practice)),
        practice.zone,
        now(),
        caller.sees_patients,
        tuple(practice.former_zones),
    )
    reads = Reads(
        subject,
        pool,
        end,
        _reads(caller, kind, subject.kind, names),
        rates=lambda: _rates(found),
        lists=layout.lists_of(kind, names),
        weeks="weeks" in names,
        known={found.expert.key: found.expert.name} if found.expert else {},
        fresh=bool(includes),
    )
    reads.read_names()
    dashboard = _dashboard(caller, kind, found, reads, names)
    return dashboard.model_copy(update={"includes_change": includes})


def _is_rated(caller: Principal, of: tuple[str, str] | None, wanted: frozenset[str] | None) -> bool:
    """Whether earnings may be shown, with the commission's rate."""
    subject_kind = of[0] if of else ""
    kind = "patient" if subject_kind == PATIENT else "practice"
    return "earnings" in layout.sections_of(caller, kind, subject_kind, wanted)


def _head(caller: Principal, *, is_rated: bool) -> Head:
    tenant = caller.tenant
    practice = tenant.item(PRACTICE, tenant.practice)
    own = tenant.item(EXPERT, caller.expert) if caller.expert else None
    keys: list[Key] = [practice, *([own] if own else [])]
    if is_rated:
        # Patients have no earnings: a cold start does without it.
        from consulta.money.rates import key_of  # noqa: PLC0415

        keys.append(key_of(tenant))
    found = table.batch_get_raw(keys, consistent=False)
    if practice not in found:
        raise NotFound
    expert = found.get(own) if own else None
    return Head(
        PracticeItem.read(found[practice]),
        ExpertItem.read(expert) if expert else None,
        found.get(keys[-1]) if is_rated else None,
    )


def _rates(head: Head) -> "RateTable":
    from consulta.money.rates import RatesItem, table_of  # noqa: PLC0415

    return table_of(head.practice, RatesItem.read(head.rates) if head.rates else None)


def _known(head: Pending[Head]) -> Head:
    try:
        return head.result()
    except NotFound:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it ran into, the deadline included
        failure("the practice of a dashboard cannot be read", error)
        raise Unavailable from None


def _until_changed(caller: Principal, after: str) -> HasChange:
    """What waits for a change. Raises Invalid for what is none."""
    # Most dashboards wait for nothing: their cold start does without it.
    from consulta.dashboards import freshness  # noqa: PLC0415

    return partial(freshness.wait_for, caller.tenant, freshness.parse(after))


def _wait_for(has_change: HasChange, pool: ThreadPoolExecutor) -> bool:
    """Whether the figures have the change; no, where that cannot be found out."""
    end = time.monotonic() + WAIT_S
    seen = Pending(pool.submit(has_change, end), end + 0.05)
    try:
        return seen.result()
    except Exception as error:  # noqa: BLE001  # the figures are shown as they are
        failure("a change could not be waited for", error)
        return False


def _kind(subject_kind: str, head: Head) -> str:
    if subject_kind == PATIENT:
        return "patient"
    if subject_kind == EXPERT:
        return "expert" if head.expert is None or head.expert.published else "new_expert"
    return "practice"


def _reads(caller: Principal, kind: str, subject_kind: str, names: Iterable[str]) -> list[str]:
    """What these sections need, without what of it is not for this caller."""
    needed = dict.fromkeys(read for name in names for read in layout.SECTIONS[name].reads)
    if kind == "practice":
        # In any case: they say how far it is set up, and in which months its lists go on. First,
        # since the lists look for them.
        needed = {"figures": None, **needed}
    if not layout.sees_money(caller, subject_kind):
        needed.pop("payments", None)
    if not caller.may("reviews:read"):
        needed.pop("reviews", None)
    return list(needed)


def _dashboard(
    caller: Principal, kind: str, head: Head, reads: Reads, names: tuple[str, ...]
) -> Dashboard:
    money = layout.sees_money(caller, reads.subject.kind)
    messages = caller.may("messages:read")
    own = reads.subject.kind == EXPERT
    authors = caller.sees_patients and (own or caller.sees_all("appointments"))

    def setup() -> Built:
        return sections.setup(head.expert) if head.expert else _unknown()

    builders: dict[str, Builder] = {
        "setup": setup,
        "stats": lambda: (
            sections.patient_stats(reads, messages=messages)
            if kind == "patient"
            else sections.expert_stats(reads)
        ),
        "today": lambda: sections.today(reads, money=money, messages=messages),
        "weeks": lambda: sections.weeks(reads, money=money),
        "upcoming": lambda: sections.upcoming(reads),
        "schedule": lambda: sections.schedule(reads),
        "recent": lambda: sections.recent(reads),
        "activity": lambda: sections.activity(reads, authors=authors),
        "spending": lambda: sections.spending(reads),
        "earnings": lambda: sections.earnings(reads, head.practice),
        "payouts": lambda: sections.payouts(reads),
    }
    parts = {name: _section(name, builders[name], reads) for name in names}
    common: dict[str, Any] = {
        "practice": PracticeName(id=caller.practice, name=head.practice.name),
        "quick_actions": _quick_actions(caller, kind, head, reads),
    }
    match kind:
        case "patient":
            return PatientDashboard(**common, sections=PatientSections(**parts))
        case "new_expert":
            return NewExpertDashboard(**common, sections=NewExpertSections(**parts))
        case "expert":
            return ExpertDashboard(**common, sections=PanelSections(**parts))
        case _:
            return PracticeDashboard(**common, sections=PanelSections(**parts))


def _unknown() -> Built:
    raise NotFound


def _quick_actions(caller: Principal, kind: str, head: Head, reads: Reads) -> list[QuickAction]:
    if kind == "patient":
        return actions.of_patient(caller)
    if kind != "practice" and head.expert:
        published = bool(head.expert.published)
        return actions.of_expert(caller, setup_of(head.expert), published=published)
    subject, missing = reads.subject, _missing(reads) if kind == "practice" else []
    return actions.of_practice(caller, missing, (subject.month(), subject.last_of_month))


def _missing(reads: Reads) -> list[str]:
    """What a practice has none of yet, whichever sections are shown; nothing while unknown."""
    try:
        total, walk = reads.total, reads.walk
    except Exception as error:  # noqa: BLE001  # whatever the reads ran into, the deadline included
        failure("how far a practice is set up cannot be read", error)
        return []
    return [n for n in actions.FIRST_STEPS if not total[n] and figures.is_complete(walk, n)]


def _section(name: str, build_data: Builder, reads: Reads) -> dict[str, Any]:
    """The section, or the word that it is unavailable: one that fails leaves the others alone."""
    data, changed, complete = None, None, False
    try:
        built = build_data()
        changed = figures.latest(built.rows)
        complete = not built.figures or figures.is_complete(reads.walk, *built.figures)
        data = built.data
    except Exception as error:  # noqa: BLE001  # whatever one section's reads ran into
        failure("a dashboard section is unavailable", error, section=name)
    return {
        "status": "unavailable" if data is None else "ok",
        "as_of": reads.subject.now,
        "changed_at": from_text(changed) if data is not None and changed else None,
        "complete": complete and data is not None,
        "max_age_seconds": layout.SECTIONS[name].max_age_s,
        "data": data,
    }


def shown(dashboard: Dashboard) -> list[tuple[str, Section[Any]]]:
    """The sections that are in this answer."""
    names = (name for name in type(dashboard.sections).model_fields)
    return [(n, s) for n in names if (s := getattr(dashboard.sections, n)) is not None]


def etag(dashboard: Dashboard) -> str:
    """Changes with what is shown, not with when it was read.

    Rows change for figures that a section does not show, too: ``changed_at`` is left out. So is
    ``includes_change``, unless it says no: what has the change is the same asked for or not.
    """
    timeless: dict[str, Any] = {
        "sections": {name: {"as_of", "changed_at"} for name, _ in shown(dashboard)}
    }
    if dashboard.includes_change is not False:
        timeless["includes_change"] = True
    return etag_of(dashboard, timeless)


def max_age(dashboard: Dashboard) -> int:
    """As short as its shortest-lived section.

    Nothing while one is unavailable, and while a change that was asked for is missing.
    """
    parts = [section for _, section in shown(dashboard)]
    is_poor = any(section["status"] == "unavailable" for section in parts)
    if is_poor or dashboard.includes_change is False:
        return 0
    return min((section["max_age_seconds"] for section in parts), default=0)


__all__ = ["asked_for", "build", "etag", "max_age", "shown"]
