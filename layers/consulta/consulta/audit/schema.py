"""The audit as the API shows it."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, StringConstraints

from consulta.core.http import ApiModel

Entity = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z_]{1,39}$")]
ItemId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
ActorId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:.-]{1,120}$")]
Action = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{1,39}$")]


class AuditFilter(ApiModel):
    """What of the audit is wanted; ``low`` and ``high`` bound when it was recorded: [low, high)."""

    entity: Entity | None = None
    item_id: ItemId | None = None
    by: ActorId | None = None
    action: Action | None = None
    low: AwareDatetime | None = None
    high: AwareDatetime | None = None


class AuditEntry(ApiModel):
    """One change, or something that happened (entity ``EVENT``).

    ``before`` and ``after`` hold the changed fields only. A value is ``•••`` where the caller may
    not see it, ``erased`` where its person's data were erased, ``secret`` where it is never kept,
    ``… bytes`` where it was too large to keep.
    """

    entity: str
    item_id: str
    part: Annotated[
        str | None, Field(description="Which row under the item, where it is not its own")
    ]
    version: int
    action: str
    at: datetime
    recorded_at: datetime
    by: str
    request_id: str | None
    address: str | None
    user_agent: str | None
    changed: list[str]
    before: dict[str, Any]
    after: dict[str, Any]


class AuditPage(ApiModel):
    """Entries, the last recorded first."""

    items: list[AuditEntry]
    next_cursor: str | None


class Activity(ApiModel):
    """Somebody did something: without what it was before and after."""

    at: datetime
    by: str
    name: Annotated[str | None, Field(description="Who that is, where they are in the practice")]
    action: str
    entity: str
    item_id: str


class ActivityPage(ApiModel):
    """What was done, the latest first."""

    items: list[Activity]
    next_cursor: str | None
