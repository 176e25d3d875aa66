"""What patients thought of their visits: /v1/reviews."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.dashboards import review_statistics
from consulta.dashboards.schema_review_statistics import ReviewStatistics, ReviewStatisticsFilter
from consulta.scheduling import review_views, reviews
from consulta.scheduling.schema import reviews as s

api = Api("reviews")
ONE = "/v1/reviews/<review_id>"


@api.post("/v1/reviews")
@needs("reviews:write")
def create(body: s.ReviewRequest, idempotency_key: IdempotencyKey = None) -> s.Review:
    """Review a completed appointment, once and within 90 days of it: its patient."""
    review = reviews.create(api.caller, body, idempotency_key)
    return api.created(review, f"/v1/reviews/{review.id}")


@api.get("/v1/reviews")
@needs("reviews:read")
def page(
    wanted: Annotated[s.ReviewFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> s.ReviewPage:
    """The newest first; patients see published ones, without their authors."""
    return api.ok(review_views.page(api.caller, wanted, limit, cursor))


@api.get("/v1/reviews/statistics")
@needs("reviews:read")
def statistics(wanted: Annotated[ReviewStatisticsFilter, Query()]) -> ReviewStatistics:
    """How many published reviews there are, their average, and how many of each rating."""
    return api.ok(review_statistics.of(api.caller, wanted), max_age=60)


@api.get(ONE)
@needs("reviews:read")
def get(review_id: Id) -> s.Review:
    """One review."""
    return api.ok(review_views.get(api.caller, review_id))


@api.patch(ONE)
@needs("reviews:write")
def change(review_id: Id, body: s.ReviewPatch, if_match: IfMatch = None) -> s.Review:
    """Other stars or words: the author, for 30 days."""
    return api.ok(reviews.change(api.caller, review_id, body, if_match))


@api.delete(ONE)
@needs("reviews:write")
def delete(review_id: Id, if_match: IfMatch = None) -> None:
    """Take it back: the author, at any time; the appointment takes no other."""
    reviews.delete(api.caller, review_id, if_match)
    return api.no_content()


@api.post(f"{ONE}/reply")
@needs("reviews:write")
def reply(review_id: Id, body: s.ReplyRequest, if_match: IfMatch = None) -> s.Review:
    """Answer it, in place of an earlier answer: the expert it is about, or who moderates."""
    return api.ok(reviews.reply(api.caller, review_id, body, if_match))


@api.post(f"{ONE}/hide")
@needs("reviews:moderate")
def hide(review_id: Id, body: s.HideRequest, if_match: IfMatch = None) -> s.Review:
    """Show it to its author and to members only, with the reason."""
    return api.ok(reviews.hide(api.caller, review_id, body, if_match))


@api.post(f"{ONE}/publish")
@needs("reviews:moderate")
def publish(review_id: Id, if_match: IfMatch = None) -> s.Review:
    """Show a hidden one to everybody again."""
    return api.ok(reviews.publish(api.caller, review_id, if_match))


lambda_handler = api.handler
