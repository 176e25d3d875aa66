"""Reviews: what comes in, and what of one is told to whom."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints

from consulta.core.fields import printable
from consulta.core.http import ApiModel, Id
from consulta.scheduling.review_records import ReviewStatus
from consulta.scheduling.schema.appointments import Ref

MAX_COMMENT, MAX_REASON = 2_000, 500

# Strict: true and "5" are no stars.
Stars = Annotated[int, Field(ge=1, le=5, strict=True)]
Comment = Annotated[str, StringConstraints(max_length=MAX_COMMENT), AfterValidator(printable)]


class ReviewRequest(ApiModel):
    """What the patient thought of one completed appointment of theirs."""

    appointment_id: Id
    rating: Stars
    comment: Comment = ""


class ReviewPatch(ApiModel):
    """What of a review changes; an empty ``comment`` takes it away."""

    rating: Stars | None = None
    comment: Comment | None = None


class ReplyRequest(ApiModel):
    """The one answer to a review, in place of an earlier one. Everybody sees it."""

    text: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_COMMENT), AfterValidator(printable)
    ]


class HideRequest(ApiModel):
    """Why a review is not shown any more: its author and the practice are told."""

    reason: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_REASON), AfterValidator(printable)
    ]


class ReviewFilter(ApiModel):
    """Which reviews a list shows. Written in [from, to), at most 366 days.

    ``status`` is for members; patients see published ones, and with ``mine`` all of their own.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    low: Annotated[AwareDatetime | None, Field(alias="from", description="Written not before")] = (
        None
    )
    high: Annotated[AwareDatetime | None, Field(alias="to", description="Written before")] = None
    expert_id: Id | None = None
    service_id: Id | None = None
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    status: ReviewStatus | None = None
    mine: bool = False


class Reply(ApiModel):
    """The answer to a review, of the expert or of the practice."""

    text: str
    by: Literal["expert", "practice"]
    written_on: date


class Review(ApiModel):
    """One review. Every author is a patient whose appointment was completed.

    ``author`` and ``appointment_id`` are null but for the author, and for members who may see both
    the patient and the appointment. ``written_on`` and ``edited_on`` are days of the practice.
    ``hidden_reason`` is for members and the author, ``editable_until`` for the author.
    """

    id: Id
    expert: Ref
    service: Ref
    rating: int
    comment: str
    status: ReviewStatus
    written_on: date
    edited_on: date | None
    reply: Reply | None
    author: Ref | None
    appointment_id: Id | None
    mine: bool
    hidden_reason: str | None
    editable_until: datetime | None
    version: int


class ReviewPage(ApiModel):
    """One page, the newest first. It may be short, or empty, and still go on: docs/lists.md."""

    items: list[Review]
    next_cursor: str | None
