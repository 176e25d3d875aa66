"""Other times for an appointment."""

from datetime import datetime
from enum import StrEnum

from consulta.core.http import ApiModel, Id


class SuggestionReason(StrEnum):
    """Why a time is suggested, the likeliest to suit first."""

    SAME_TIME_NEXT_WEEK = "same_time_next_week"
    SAME_DAY = "same_day"
    NEAREST = "nearest"
    OTHER_EXPERT = "other_expert"


class Suggestion(ApiModel):
    """A free time to move an appointment to, on the clocks of ``zone`` of all of them."""

    start: datetime
    end: datetime
    expert_id: Id
    reason: SuggestionReason


class Suggestions(ApiModel):
    """The best free times, the best first."""

    zone: str
    items: list[Suggestion]
