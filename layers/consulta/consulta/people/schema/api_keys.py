"""API keys of a practice's members."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from consulta.core.fields import Name
from consulta.core.http import ApiModel, Id
from consulta.people.schema.fields import Version

Permission = Annotated[str, StringConstraints(max_length=40, pattern=r"^[a-z_]+:[a-z_]+$")]
OverlapHours = Annotated[int, Field(ge=0, le=168)]


class ApiKeyIn(ApiModel):
    """A new key: at most what the caller may do, for 90 days where ``expires_at`` is not given."""

    name: Name
    permissions: Annotated[list[Permission], Field(min_length=1, max_length=64)]
    expires_at: AwareDatetime | None = None


class ApiKeyPatch(ApiModel):
    """What of a key changes. Its permissions never do: make another key."""

    name: Name


class RotateIn(ApiModel):
    """For how many hours the old key goes on beside the new one."""

    overlap_hours: OverlapHours = 24


class ApiKeyOut(ApiModel):
    """A key without its secret; ``prefix`` is enough to recognise it by."""

    id: Id
    name: str
    prefix: str
    member_id: Id
    permissions: list[str]
    status: Literal["active", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaces: Id | None
    replaced_by: Id | None
    version: Version


class ApiKeyCreated(ApiKeyOut):
    """A new key. ``key`` is shown this once: null where the same request is made again."""

    key: str | None


class ApiKeyPage(ApiModel):
    """Keys, the newest first."""

    items: list[ApiKeyOut]
    next_cursor: str | None
