"""What the API was used for."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from consulta.core.http import ApiModel


class GroupBy(StrEnum):
    """What requests are added up by."""

    HOUR = "hour"
    DAY = "day"
    MEMBER = "member"
    KEY = "key"
    ROUTE = "route"


class UsageOut(ApiModel):
    """Requests of one hour, day, member, key or route."""

    group: str | None = Field(
        description=(
            "Start of the hour or day in UTC, member's or key's id, or route. None by key: people's"
            " own requests, without a key; by route: refused ones, which reached none"
        )
    )
    calls: int = Field(description="Requests that were let through")
    refused: int = Field(description="Requests above the limit; nobody is billed for them")


class UsagePage(ApiModel):
    """Usage in the order of time; `from` and `to` are the hours that were counted."""

    start: datetime = Field(serialization_alias="from", description="First hour, included")
    end: datetime = Field(
        serialization_alias="to", description="End of the last hour, not included"
    )
    group_by: GroupBy
    items: list[UsageOut] = Field(
        description="A group may come again on a later page: its numbers are to be added"
    )
    next_cursor: str | None
