"""GET /v1/reviews/statistics: how many, how good on average, and of how many stars.

From the totals' row alone, and never a review.
"""

from consulta.aggregates import figures
from consulta.core import table
from consulta.core.errors import NotFound
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.core.time import from_text, now
from consulta.dashboards import ranges
from consulta.dashboards.schema_review_statistics import ReviewStatistics, ReviewStatisticsFilter
from consulta.people.records import EXPERT, PRACTICE, ExpertItem

STARS = range(1, 6)
COUNTED = ("reviews", "rating", "rated")


def of(by: Principal, wanted: ReviewStatisticsFilter) -> ReviewStatistics:
    """Of the practice or of one expert. Raises NotFound.

    For patients an expert who is not published is not there.
    """
    tenant = by.tenant
    if wanted.expert_id:
        expert = table.get(ExpertItem, tenant.item(EXPERT, wanted.expert_id))
        if expert is None or (by.role is Role.PATIENT and not expert.published):
            raise NotFound
    subject = (EXPERT, wanted.expert_id) if wanted.expert_id else (PRACTICE, tenant.practice)
    total, walk = (*subject, figures.TOTAL), (PRACTICE, tenant.practice, figures.WALK)
    instant, found = now(), figures.read(tenant, [total, walk])
    row = found[total]
    return ReviewStatistics(
        expert_id=wanted.expert_id,
        reviews=row["reviews"],
        average=ranges.rating(row),
        ratings={str(stars): row[f"rated.{stars}"] for stars in STARS},
        complete=figures.is_complete(found[walk], *COUNTED),
        as_of=instant,
        changed_at=from_text(row.updated_at) if row.updated_at else None,
    )
