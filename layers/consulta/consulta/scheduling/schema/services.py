"""What can be booked."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from consulta.core.fields import Name, Text, printable
from consulta.core.http import ApiModel, Id
from consulta.core.money import MAX_AMOUNT
from consulta.scheduling.schema.fields import Price, Tax

# An expert's flag is kept in the transaction that changes a service: 100 parts hold 40 experts.
MAX_EXPERTS = 40
MAX_ORDERED = 50


def _unique(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


Experts = Annotated[list[Id], Field(max_length=MAX_EXPERTS), AfterValidator(_unique)]
Position = Annotated[int, Field(ge=0, le=999_999)]
Minutes = Annotated[int, Field(ge=1, le=1_440)]
Category = Annotated[str, StringConstraints(max_length=60, pattern=r"^[^\x00-\x1f\x7f]*$")]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$"), AfterValidator(str.lower)]
Seats = Annotated[int, Field(ge=1, le=50)]
OneOf = Annotated[list[Id], Field(min_length=1, max_length=10), AfterValidator(_unique)]
Resources = Annotated[list[OneOf], Field(max_length=3)]
Sessions = Annotated[int, Field(ge=2, le=100)]
ValidityDays = Annotated[int, Field(ge=1, le=1_095)]


class ServiceKind(StrEnum):
    """One appointment, or several sold together."""

    SINGLE = "SINGLE"
    PACKAGE = "PACKAGE"


class Location(ApiModel):
    """Where it takes place; ``address`` only where people meet in person."""

    kind: Literal["in_person", "online", "phone"]
    address: Annotated[str, StringConstraints(max_length=300), AfterValidator(printable)] = ""

    @field_validator("address")
    @classmethod
    def _only_in_person(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("kind") not in ("in_person", None):
            raise ValueError("only where people meet in person")
        return value


class Deposit(ApiModel):
    """What has to be paid to have the time: ``fixed`` minor units of the price's currency, or

    ``percent`` of price and tax; one of the two. The rest is paid by when the patient leaves.
    """

    fixed: Annotated[int, Field(ge=1, le=MAX_AMOUNT)] | None = None
    percent: Annotated[int, Field(ge=1, le=99)] | None = None


class AskedDeposit(Deposit):
    """The same, with the ``amount`` that it comes to in minor units."""

    amount: int


class ServiceRequest(ApiModel):
    """A new service.

    ``seats`` over 1 makes it a group appointment. ``resources``: of each inner list one room or
    piece of equipment is needed. A PACKAGE is ``sessions`` appointments for one price, to be used
    within ``validity_days``; it has one seat and no deposit.
    """

    name: Name
    description: Text = ""
    kind: ServiceKind = ServiceKind.SINGLE
    duration_minutes: Minutes
    price: Price
    expert_ids: Experts = Field(default_factory=list)
    active: bool = True
    position: Position = 0
    category: Category = ""
    colour: Colour | None = None
    location: Location | None = None
    seats: Seats = 1
    resources: Resources = Field(default_factory=list)
    tax: Tax | None = None
    deposit: Deposit | None = None
    sessions: Sessions | None = None
    validity_days: ValidityDays | None = None


class ServicePatch(ApiModel):
    """What of a service changes. What is booked keeps its own price and duration.

    Its kind stays. ``null`` clears colour, location, tax or deposit, an empty category or list
    clears those.
    """

    name: Name | None = None
    description: Text | None = None
    kind: ServiceKind | None = None
    duration_minutes: Minutes | None = None
    price: Price | None = None
    expert_ids: Experts | None = None
    active: bool | None = None
    position: Position | None = None
    category: Category | None = None
    colour: Colour | None = None
    location: Location | None = None
    seats: Seats | None = None
    resources: Resources | None = None
    tax: Tax | None = None
    deposit: Deposit | None = None
    sessions: Sessions | None = None
    validity_days: ValidityDays | None = None


class ServiceOrder(ApiModel):
    """The order of services in lists: the first id gets position 0, the next 1, …"""

    ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_ORDERED)]

    @field_validator("ids")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("each service once")
        return value


class Service(ApiModel):
    """What can be booked, by which experts. ``total`` is what is owed: price and tax."""

    id: Id
    name: str
    description: str
    kind: ServiceKind
    duration_minutes: int
    price: Price
    expert_ids: list[Id]
    active: bool
    position: int
    category: str
    colour: str | None
    location: Location | None
    seats: int
    resources: list[list[Id]]
    tax: Tax | None
    total: Price
    deposit: AskedDeposit | None
    sessions: int | None
    validity_days: int | None
    created_at: datetime
    version: int


class CatalogState(ApiModel):
    """How far Stripe's catalogue is: ``pending`` until it has this version of the service.

    ``error`` is the code of why it failed; it is tried again.
    """

    state: Literal["pending", "synced", "failed"]
    product_id: str | None = None
    price_id: str | None = None
    error: str | None = None


class ServiceDetail(Service):
    """One service; ``catalog`` is for the practice's members."""

    catalog: CatalogState | None


class ServicePage(ApiModel):
    """One page, by position. Filtered, it may be short, or empty, and still go on."""

    items: list[Service]
    next_cursor: str | None
