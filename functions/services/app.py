"""What can be booked: /v1/services."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.scheduling import services
from consulta.scheduling.schema.services import (
    Category,
    ServiceDetail,
    ServiceOrder,
    ServicePage,
    ServicePatch,
    ServiceRequest,
)

api = Api("services")


@api.post("/v1/services")
@needs("services:write")
def create(body: ServiceRequest, idempotency_key: IdempotencyKey = None) -> ServiceDetail:
    """A new service; experts may add services that they alone give."""
    service = services.create(api.caller, body, idempotency_key)
    return api.created(service, f"/v1/services/{service.id}")


@api.get("/v1/services")
@needs("services:read")
def listing(
    limit: Limit = 20,
    cursor: Cursor = None,
    include_inactive: bool = False,
    category: Annotated[Category | None, Query()] = None,
    expert_id: Id | None = None,
) -> ServicePage:
    """The active services by position; members may ask for the inactive ones too."""
    found = services.listing(
        api.caller,
        limit,
        cursor,
        include_inactive=include_inactive,
        category=category,
        expert_id=expert_id,
    )
    return api.ok(found)


@api.post("/v1/services/order")
@needs("services:write")
def order(body: ServiceOrder) -> None:
    """Give these services the positions 0, 1, …; all of them or none."""
    services.order(api.caller, body)
    return api.no_content()


@api.get("/v1/services/<service_id>")
@needs("services:read")
def get(service_id: Id) -> ServiceDetail:
    """One service, and for members what Stripe's catalogue has of it."""
    return api.ok(services.get(api.caller, service_id))


@api.patch("/v1/services/<service_id>")
@needs("services:write")
def change(service_id: Id, body: ServicePatch, if_match: IfMatch = None) -> ServiceDetail:
    """Change a service; what is booked keeps its price and duration."""
    return api.ok(services.change(api.caller, service_id, body, if_match))


@api.delete("/v1/services/<service_id>")
@needs("services:write")
def delete(service_id: Id, if_match: IfMatch = None) -> None:
    """Take a service out of the lists; what is booked stays."""
    services.delete(api.caller, service_id, if_match)
    return api.no_content()


lambda_handler = api.handler
