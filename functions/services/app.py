"""What can be booked: /v1/services."""

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.scheduling import services
from consulta.scheduling.schema.services import Service, ServicePage, ServicePatch, ServiceRequest

api = Api("services")


@api.post("/v1/services")
@needs("services:write")
def create(body: ServiceRequest, idempotency_key: IdempotencyKey = None) -> Service:
    """A new service; experts may add services that they alone give."""
    service = services.create(api.caller, body, idempotency_key)
    return api.created(service, f"/v1/services/{service.id}")


@api.get("/v1/services")
@needs("services:read")
def listing(
    limit: Limit = 20, cursor: Cursor = None, include_inactive: bool = False
) -> ServicePage:
    """The active services by position; members may ask for the inactive ones too."""
    return api.ok(services.listing(api.caller, limit, cursor, include_inactive=include_inactive))


@api.get("/v1/services/<service_id>")
@needs("services:read")
def get(service_id: Id) -> Service:
    """One service."""
    return api.ok(services.get(api.caller, service_id))


@api.patch("/v1/services/<service_id>")
@needs("services:write")
def change(service_id: Id, body: ServicePatch, if_match: IfMatch = None) -> Service:
    """Change a service; what is booked keeps its price and duration."""
    return api.ok(services.change(api.caller, service_id, body, if_match))


@api.delete("/v1/services/<service_id>")
@needs("services:write")
def delete(service_id: Id, if_match: IfMatch = None) -> None:
    """Take a service out of the lists; what is booked stays."""
    services.delete(api.caller, service_id, if_match)
    return api.no_content()


lambda_handler = api.handler
