"""Rooms and equipment: /v1/resources."""

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.scheduling import resources
from consulta.scheduling.schema.resources import (
    Resource,
    ResourcePage,
    ResourcePatch,
    ResourceRequest,
)

api = Api("resources")


@api.post("/v1/resources")
@needs("resources:write")
def create(body: ResourceRequest, idempotency_key: IdempotencyKey = None) -> Resource:
    """A new room or piece of equipment."""
    resource = resources.create(api.caller, body, idempotency_key)
    return api.created(resource, f"/v1/resources/{resource.id}")


@api.get("/v1/resources")
@needs("services:read")
def listing(
    limit: Limit = 20, cursor: Cursor = None, include_inactive: bool = False
) -> ResourcePage:
    """The active ones by position; members may ask for the inactive ones too."""
    return api.ok(resources.listing(api.caller, limit, cursor, include_inactive=include_inactive))


@api.get("/v1/resources/<resource_id>")
@needs("services:read")
def get(resource_id: Id) -> Resource:
    """One of them."""
    return api.ok(resources.get(api.caller, resource_id))


@api.patch("/v1/resources/<resource_id>")
@needs("resources:write")
def change(resource_id: Id, body: ResourcePatch, if_match: IfMatch = None) -> Resource:
    """Change one; appointments that have it keep it."""
    return api.ok(resources.change(api.caller, resource_id, body, if_match))


@api.delete("/v1/resources/<resource_id>")
@needs("resources:write")
def delete(resource_id: Id, if_match: IfMatch = None) -> None:
    """Take one out of the lists, once no active service needs it."""
    resources.delete(api.caller, resource_id, if_match)
    return api.no_content()


lambda_handler = api.handler
