"""Which sections there are for whom, quick actions, and what can be waited for: pure rules."""

from datetime import date
from itertools import combinations

import pytest

from consulta.core.errors import Invalid
from consulta.core.identity import Principal
from consulta.core.ids import new_id
from consulta.core.permissions import GRANTS, MEMBER_ROLES, Role
from consulta.dashboards import actions, freshness, layout
from consulta.dashboards.schema import NewExpertSections, PanelSections, PatientSections
from consulta.people.setup import Setup, Step
from tests.template import resources

PRACTICE, EXPERT = "prac_1", "exp_1"
MARCH = date(2027, 3, 1), date(2027, 3, 31)
DECIDE = (
    *("appointments:read", "appointments:all", "payments:read", "payments:all"),
    *("activity:read", "reviews:read", "messages:read", "patients:read"),
)


def caller(role: Role, subject: str = "", granted: frozenset[str] | None = None) -> Principal:
    return Principal("person", role, "request", PRACTICE, "mem_1", subject, granted)


def test_every_section_of_a_kind_has_its_place_in_that_kinds_answer() -> None:
    places = {
        "patient": PatientSections,
        "new_expert": NewExpertSections,
        "expert": PanelSections,
        "practice": PanelSections,
    }
    assert {kind: set(names) for kind, names in layout.KINDS.items()} == {
        kind: set(model.model_fields) for kind, model in places.items()
    }
    # And in the same order.
    for kind, model in places.items():
        assert list(layout.KINDS[kind]) == list(model.model_fields)


@pytest.mark.parametrize("role", [Role.CUSTOM, Role.OWNER, Role.EXPERT])
@pytest.mark.parametrize("subject", ["", EXPERT])
def test_no_section_is_shown_without_the_permission_for_all_of_it(role: Role, subject: str) -> None:
    """Every set of the permissions that decide it, of roles as of API keys."""
    for size in range(len(DECIDE) + 1):
        for granted in map(frozenset, combinations(DECIDE, size)):
            by = caller(role, subject, granted)
            of = layout.subject_of(by)
            if of is None:
                continue
            kind = "expert" if of[0] == "EXPERT" else "practice"
            names = set(layout.sections_of(by, kind, of[0], layout.SECTION_NAMES))
            whole = kind == "practice"
            assert whole or of == ("EXPERT", subject)
            for name in ("stats", "today", "weeks", "upcoming", "schedule", "recent"):
                needed = {"appointments:read", *(["appointments:all"] if whole else [])}
                assert (name in names) is (needed <= granted)
            for name in ("earnings", "payouts"):
                needed = {"payments:read", *(["payments:all"] if whole else [])}
                assert (name in names) is (needed <= granted)
            assert ("activity" in names) is (not whole or "activity:read" in granted)


def test_an_expert_who_may_see_all_still_sees_their_own_dashboard() -> None:
    opened = GRANTS[Role.EXPERT] | {"appointments:all", "payments:all"}
    assert layout.subject_of(caller(Role.EXPERT, EXPERT, opened)) == ("EXPERT", EXPERT)


def test_who_is_nobody_in_the_practice_has_no_dashboard_of_anybody() -> None:
    assert layout.subject_of(caller(Role.PATIENT)) is None
    assert layout.subject_of(caller(Role.CUSTOM, "", frozenset({"appointments:read"}))) is None
    assert layout.sections_of(caller(Role.CUSTOM), "practice", "", layout.SECTION_NAMES) == ()


def setup_with(*done: str) -> Setup:
    return Setup(
        tuple(
            Step(name, name in done, name not in ("identity", "calendar"), f"/v1/{name}")
            for name in actions.STEPS
        )
    )


def test_open_steps_come_first_until_the_profile_is_published() -> None:
    by = caller(Role.EXPERT, EXPERT)
    names = [one.name for one in actions.of_expert(by, setup_with("profile"), published=False)]
    assert names[0] == "Set opening hours"
    done = setup_with("profile", "availability", "services", "payments")
    names = [one.name for one in actions.of_expert(by, done, published=False)]
    assert names == [
        *("Publish your profile", "Verify your identity", "Connect a calendar", "View schedule"),
    ]
    names = [one.name for one in actions.of_expert(by, done, published=True)]
    assert names[0] == "Appointments"


def test_no_action_leads_where_its_caller_may_not_go() -> None:
    everything = [
        *(*actions.PATIENT, *actions.EXPERT, *actions.PRACTICE, *actions.BILLING),
        *actions.FIRST_STEPS.values(),
    ]
    for role in (*MEMBER_ROLES, Role.PATIENT):
        shown = {
            one.name: one.href
            for found in (
                actions.of_patient(caller(role)),
                actions.of_practice(caller(role), actions.FIRST_STEPS, MARCH),
                actions.of_expert(caller(role, EXPERT), setup_with(), published=True),
            )
            for one in found
        }
        for action in everything:
            if action.permission and action.permission not in GRANTS[role]:
                assert action.name not in shown or shown[action.name] != action.href


def test_every_action_leads_to_a_path_that_there_is() -> None:
    paths = {
        event["Properties"]["Path"]
        for function in resources("AWS::Serverless::Function").values()
        for event in function["Properties"].get("Events", {}).values()
        if event["Type"] == "HttpApi"
    }
    hrefs = {
        one.href.partition("?")[0]
        for one in (*actions.PATIENT, *actions.EXPERT, *actions.PRACTICE, *actions.BILLING)
    }
    assert hrefs - paths == set()


def test_an_id_and_its_version_are_taken_apart() -> None:
    for prefix, entity in freshness.PREFIXES.items():
        item_id = new_id(prefix)
        assert freshness.parse(f"{item_id}:12") == freshness.Change(entity, item_id, 12)
    with pytest.raises(Invalid) as refused:
        freshness.parse(f"{new_id('prac')}:1")
    assert refused.value.errors[0].path == "query.after"
