"""What can be booked."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from consulta.core.fields import Name, Text
from consulta.core.http import ApiModel, Id
from consulta.scheduling.schema.fields import Price

# An expert's flag is kept in the transaction that changes a service: 100 parts hold 40 experts.
MAX_EXPERTS = 40


def _unique(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


Experts = Annotated[list[Id], Field(max_length=MAX_EXPERTS), AfterValidator(_unique)]
Position = Annotated[int, Field(ge=0, le=999_999)]


class ServiceKind(StrEnum):
    """One appointment, or several sold together."""

    SINGLE = "SINGLE"
    PACKAGE = "PACKAGE"


class ServiceRequest(ApiModel):
    """A new service."""

    name: Name
    description: Text = ""
    kind: ServiceKind = ServiceKind.SINGLE
    duration_minutes: Annotated[int, Field(ge=1, le=1_440)]
    price: Price
    expert_ids: Experts = Field(default_factory=list)
    active: bool = True
    position: Position = 0


class ServicePatch(ApiModel):
    """What of a service changes. What is booked keeps its own price and duration."""

    name: Name | None = None
    description: Text | None = None
    kind: ServiceKind | None = None
    duration_minutes: Annotated[int, Field(ge=1, le=1_440)] | None = None
    price: Price | None = None
    expert_ids: Experts | None = None
    active: bool | None = None
    position: Position | None = None


class Service(ApiModel):
    """What can be booked, by which experts."""

    id: Id
    name: str
    description: str
    kind: ServiceKind
    duration_minutes: int
    price: Price
    expert_ids: list[Id]
    active: bool
    position: int
    created_at: datetime
    version: int


class ServicePage(ApiModel):
    """One page, by position."""

    items: list[Service]
    next_cursor: str | None
