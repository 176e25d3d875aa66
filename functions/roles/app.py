"""Roles, built in and a practice's own: /v1/roles."""

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.people import roles
from consulta.people.schema.roles import RoleIn, RoleOut, RolePage, RolePatch

api = Api("roles")


@api.get("/v1/roles")
@needs("members:read")
def listing(limit: Limit = 20, cursor: Cursor = None) -> RolePage:
    """The built-in roles with their permissions, and the practice's own."""
    return api.ok(roles.listing(api.caller, limit, cursor))


@api.post("/v1/roles")
@needs("roles:write")
def create(body: RoleIn, key: IdempotencyKey = None) -> RoleOut:
    """A new role of the practice's own."""
    role = roles.create(api.caller, body, key)
    return api.created(role, f"/v1/roles/{role.id}")


@api.get("/v1/roles/<role_id>")
@needs("members:read")
def get(role_id: Id) -> RoleOut:
    """One of the practice's own roles."""
    return api.ok(roles.get(api.caller, role_id))


@api.patch("/v1/roles/<role_id>")
@needs("roles:write")
def change(role_id: Id, body: RolePatch, if_match: IfMatch = None) -> RoleOut:
    """Rename a role or change what it grants."""
    return api.ok(roles.change(api.caller, role_id, body, if_match))


@api.delete("/v1/roles/<role_id>")
@needs("roles:write")
def remove(role_id: Id, if_match: IfMatch = None) -> None:
    """Remove a role that nobody has."""
    roles.remove(api.caller, role_id, if_match)
    return api.no_content()


lambda_handler = api.handler
