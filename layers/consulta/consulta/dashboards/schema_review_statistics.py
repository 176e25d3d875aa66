"""API models of the statistics of reviews."""

from datetime import datetime

from pydantic import Field

from consulta.core.http import ApiModel, Id


class ReviewStatisticsFilter(ApiModel):
    """Of the whole practice, or of one expert."""

    expert_id: Id | None = None


class ReviewStatistics(ApiModel):
    """Published reviews, from figures.

    ``ratings`` has how many have each of 1 to 5 stars. ``complete`` is false while older reviews
    are being counted. ``as_of`` is when it was read; figures follow the reviews by a moment.
    ``changed_at`` is when one of the figures that are kept with these last changed.
    """

    expert_id: Id | None
    reviews: int
    average: float | None = Field(description="To one decimal; null until there is a review")
    ratings: dict[str, int]
    complete: bool
    as_of: datetime
    changed_at: datetime | None
