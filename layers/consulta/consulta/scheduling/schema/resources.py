"""Rooms and equipment."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from consulta.core.fields import Name
from consulta.core.http import ApiModel, Id

Kind = Literal["room", "equipment"]
Position = Annotated[int, Field(ge=0, le=999_999)]


class ResourceRequest(ApiModel):
    """A room, or equipment, that one appointment at a time can have."""

    name: Name
    kind: Kind
    active: bool = True
    position: Position = 0


class ResourcePatch(ApiModel):
    """What of a resource changes. An inactive one gets no new appointments."""

    name: Name | None = None
    kind: Kind | None = None
    active: bool | None = None
    position: Position | None = None


class Resource(ApiModel):
    """A room, or equipment."""

    id: Id
    name: str
    kind: Kind
    active: bool
    position: int
    created_at: datetime
    version: int


class ResourcePage(ApiModel):
    """One page, by position."""

    items: list[Resource]
    next_cursor: str | None
