"""Roles: the built-in ones and a practice's own."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from consulta.core.fields import Name
from consulta.core.http import ApiModel, Id
from consulta.core.permissions import ASSIGNABLE, Role
from consulta.people.contact import fold_name
from consulta.people.schema.fields import Version


def _assignable(value: str) -> str:
    if value not in ASSIGNABLE:
        raise ValueError("not a permission that a practice can give; GET /v1/roles lists them")
    return value


def _readable(value: str) -> str:
    if not fold_name(value):
        raise ValueError("a name needs a letter or a digit")
    return value


Permission = Annotated[
    str,
    AfterValidator(_assignable),
    Field(max_length=40, json_schema_extra={"enum": sorted(ASSIGNABLE)}),
]
Permissions = Annotated[list[Permission], Field(max_length=len(ASSIGNABLE))]
# Names are unique without case and accents, so one of nothing but accents is none.
RoleName = Annotated[Name, AfterValidator(_readable)]


class RoleIn(ApiModel):
    """A new role of the practice's own."""

    name: RoleName
    permissions: Permissions


class RolePatch(ApiModel):
    """What of a role changes. ``permissions`` are all that it grants from then on."""

    name: RoleName | None = None
    permissions: Permissions | None = None


class RoleOut(ApiModel):
    """A role that the practice made."""

    id: Id
    name: str
    permissions: list[str]
    created_at: datetime
    version: Version


class BuiltInRole(ApiModel):
    """A role that every practice has, and what it grants."""

    role: Role
    permissions: list[str]


class RolePage(ApiModel):
    """The built-in roles, the permissions that a practice may give, and its own, oldest first."""

    built_in: list[BuiltInRole]
    assignable: list[str]
    items: list[RoleOut]
    next_cursor: str | None
