"""What the practice has used of the API: /v1/usage."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import AwareDatetime

from consulta.billing import usage
from consulta.billing.schema import GroupBy, UsagePage
from consulta.core.http import Api, Cursor, Limit, needs

api = Api("usage")

From = Annotated[
    AwareDatetime | None, Query(alias="from", description="From this hour on; 30 days if left out")
]
To = Annotated[
    AwareDatetime | None,
    Query(alias="to", description="Up to here, at most 93 days; now if left out"),
]


@api.get("/v1/usage")
@needs("usage:read")
def listing(
    low: From = None,
    high: To = None,
    group_by: Annotated[GroupBy, Query(description="What is added up")] = GroupBy.DAY,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> UsagePage:
    """Requests of the practice by hour, day, member, API key or route, the oldest first."""
    return api.ok(usage.usage(api.caller, low, high, group_by, limit, cursor))


lambda_handler = api.handler
