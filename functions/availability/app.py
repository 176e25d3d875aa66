"""Hours of an expert: /v1/availability."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Id, IfMatch, needs
from consulta.scheduling import availability
from consulta.scheduling.schema.availability import Availability, AvailabilityRequest

api = Api("availability")
Expert = Annotated[Id, Query(description="Whose hours")]


@api.get("/v1/availability")
@needs("availability:read")
def get(expert_id: Expert) -> Availability:
    """Weekly hours, other dates and days off; version 0 and closed where none were set."""
    return api.ok(availability.get(api.caller, expert_id))


@api.put("/v1/availability")
@needs("availability:write")
def put(expert_id: Expert, body: AvailabilityRequest, if_match: IfMatch = None) -> Availability:
    """Set all of the hours: experts their own, owners and admins anybody's."""
    return api.ok(availability.put(api.caller, expert_id, body, if_match))


lambda_handler = api.handler
