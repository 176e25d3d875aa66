"""Messages name the sections that dashboards have, and every one of them in some message."""

from consulta.aggregates.contributions import ENTITIES
from consulta.dashboards.layout import SECTION_NAMES
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.realtime.sections import CHANGED_BY, SECTIONS, sections_of


def test_every_entity_with_figures_names_sections_that_there_are() -> None:
    assert set(CHANGED_BY) == set(ENTITIES)
    assert all(CHANGED_BY.values())
    assert frozenset().union(*CHANGED_BY.values()) == frozenset(SECTION_NAMES)
    assert frozenset().union(*SECTIONS.values()) == frozenset(SECTION_NAMES)


def test_each_kind_of_dashboard_hears_of_its_own_sections() -> None:
    entities = {"APPOINTMENT", "PAYMENT"}
    assert sections_of(PATIENT, entities) == {"stats", "upcoming", "recent", "spending"}
    assert "spending" not in sections_of(EXPERT, entities)
    assert {"earnings", "schedule", "today"} <= sections_of(EXPERT, entities)
    assert sections_of(PATIENT, {"POSTING"}) == frozenset()
    assert sections_of(PRACTICE, {"SERVICE"}) == sections_of(EXPERT, {"SERVICE"}) - {"setup"}
    assert sections_of(PRACTICE, {"OF_A_NEWER_STREAM"}) == frozenset()
