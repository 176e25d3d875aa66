"""Which reviews a list reads, by whom and for what it is asked."""

from datetime import UTC, datetime

import pytest

from consulta.core.errors import Forbidden, Invalid
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.scheduling import review_views
from consulta.scheduling.review_views import plan_of
from consulta.scheduling.schema.reviews import ReviewFilter

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
EXPERT, SERVICE = "exp_01JC0NS0TADEM0000000000000", "svc_01JC0NS0TADEM0000000000000"
PATIENT = Principal("person-1", Role.PATIENT, "request-1", "prac_1", "", "pat_1")
OWNER = Principal("person-2", Role.OWNER, "request-1", "prac_1", "mem_1")


def wanted(**filters: object) -> ReviewFilter:
    return ReviewFilter.model_validate(filters)


def test_an_experts_reviews_are_read_from_their_own_list() -> None:
    plan = plan_of(OWNER, wanted(expert_id=EXPERT, rating=3, service_id=SERVICE), AT)
    assert (plan.index, plan.partitions) == ("l2", (f"P#prac_1#REVIEW#EXPERT#{EXPERT}",))
    assert (plan.low, plan.high, plan.newest_first) == (None, None, True)
    assert plan.where == "#service_id = :service_id AND #rating = :rating"
    # Ratings are stored as numbers: as text none would be equal.
    assert dict(plan.values) == {":service_id": SERVICE, ":rating": 3}


def test_an_authors_own_are_read_from_theirs_and_filtered_by_expert() -> None:
    plan = plan_of(PATIENT, wanted(mine=True, expert_id=EXPERT), AT)
    assert (plan.index, plan.partitions) == ("l3", ("P#prac_1#REVIEW#PATIENT#pat_1",))
    assert plan.where == "#expert_id = :expert_id"


def test_the_practices_are_read_month_by_month_the_newest_first() -> None:
    plan = plan_of(OWNER, wanted(), AT)
    assert plan.index == "l1"
    assert plan.partitions[0] == "P#prac_1#REVIEW#MONTH#2026-11"
    assert plan.partitions[-1] == "P#prac_1#REVIEW#MONTH#2025-11"
    assert len(plan.partitions) == 13
    assert plan.where == ""


@pytest.mark.parametrize(
    ("by", "filters"),
    [(OWNER, {"mine": True}), (PATIENT, {"status": "hidden"})],
)
def test_what_is_not_the_callers_to_ask(by: Principal, filters: dict[str, object]) -> None:
    with pytest.raises(Forbidden):
        review_views.page(by, wanted(**filters), 20, None)


@pytest.mark.parametrize(
    "filters",
    [
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
        {"from": "2025-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z"},
        {"from": "9999-12-31T00:00:00Z"},
        {"to": "0001-01-01T00:00:00Z"},
    ],
)
def test_a_range_is_at_most_a_year_of_years_that_there_are(filters: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        review_views.page(OWNER, wanted(**filters), 20, None)
