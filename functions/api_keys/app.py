"""API keys of a practice's members: /v1/api-keys."""

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.people import api_keys
from consulta.people.schema.api_keys import (
    ApiKeyCreated,
    ApiKeyIn,
    ApiKeyOut,
    ApiKeyPage,
    ApiKeyPatch,
    RotateIn,
)

api = Api("api_keys")


@api.post("/v1/api-keys")
@needs("api_keys:write")
def create(body: ApiKeyIn, key: IdempotencyKey = None) -> ApiKeyCreated:
    """A new key, shown this once: the same request again answers without it."""
    made = api_keys.create(api.caller, body, key)
    return api.created(made, f"/v1/api-keys/{made.id}")


@api.get("/v1/api-keys")
@needs("api_keys:write")
def listing(limit: Limit = 20, cursor: Cursor = None) -> ApiKeyPage:
    """One's own keys, or for who manages members all of the practice; the newest first."""
    return api.ok(api_keys.listing(api.caller, limit, cursor))


@api.get("/v1/api-keys/<key_id>")
@needs("api_keys:write")
def get(key_id: Id) -> ApiKeyOut:
    """One key, without its secret."""
    return api.ok(api_keys.get(api.caller, key_id))


@api.patch("/v1/api-keys/<key_id>")
@needs("api_keys:write")
def rename(key_id: Id, body: ApiKeyPatch, if_match: IfMatch = None) -> ApiKeyOut:
    """Give a key another name."""
    return api.ok(api_keys.rename(api.caller, key_id, body, if_match))


@api.post("/v1/api-keys/<key_id>/rotate")
@needs("api_keys:write")
def rotate(key_id: Id, body: RotateIn, key: IdempotencyKey = None) -> ApiKeyCreated:
    """A new key in this one's place, which goes on for the overlap; shown this once."""
    made = api_keys.rotate(api.caller, key_id, body, key)
    return api.created(made, f"/v1/api-keys/{made.id}")


@api.delete("/v1/api-keys/<key_id>")
@needs("api_keys:write")
def revoke(key_id: Id) -> None:
    """End a key, within 60 seconds everywhere."""
    api_keys.revoke(api.caller, key_id)
    return api.no_content()


lambda_handler = api.handler
