"""API models of the statistics of appointments."""

from datetime import date, datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from consulta.core.http import ApiModel, Id
from consulta.core.strict import Day


class StatisticsFilter(ApiModel):
    """The practice's local days ``from`` to ``to``, both included, at most 366; of one expert."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    first: Annotated[Day, Field(alias="from", description="The first local day")]
    last: Annotated[Day, Field(alias="to", description="The last local day, included")]
    expert_id: Id | None = None


class Statistics(ApiModel):
    """Appointments per status, by the day that they are on and the status that they have now.

    ``as_of`` is when it was read; figures follow the appointments by a moment. ``changed_at`` is
    when one of them last changed.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    expert_id: Id | None
    statuses: dict[str, int]
    total: int
    as_of: datetime
    changed_at: datetime | None
