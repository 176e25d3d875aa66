"""API models of the inbox of provider events: ids, types and states, never a payload."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from consulta.core.http import ApiModel

InboxId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{4,800}$")]
EventType = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\[\]-]{1,100}$")]
State = Literal["RECEIVED", "DONE", "IGNORED", "FAILED"]
EventProvider = Literal["stripe", "mercadopago"]


class InboxFilter(ApiModel):
    """Which events a list shows. Received in [from, to), at most 92 days; without, of 31."""

    from_: Annotated[AwareDatetime | None, Field(alias="from")] = None
    to: AwareDatetime | None = None
    provider: EventProvider | None = None
    state: State | None = None
    type: EventType | None = None


class InboxEvent(ApiModel):
    """One event as it was received, and what has become of it.

    ``account`` is the connected account or the seller, null for the platform itself. ``error`` is a
    code. ``done_at`` is when it was done or ignored.
    """

    id: str
    provider: EventProvider
    account: str | None
    event_id: str
    type: str
    object_id: str | None
    livemode: bool
    api_version: str | None
    state: State
    error: str | None
    attempts: int
    received_at: datetime
    done_at: datetime | None


class InboxPage(ApiModel):
    """Events, the last received first. A page may be short and still go on."""

    items: list[InboxEvent]
    next_cursor: str | None


class ReplayRequest(ApiModel):
    """One event again; with ``force`` also one that is done: its object is read again, no harm."""

    force: bool = False


class RangeReplayRequest(ApiModel):
    """Events received in [from, to), at most 31 days, of one state.

    ``cursor`` is the answer's ``next_cursor`` where one request did not reach the end.
    """

    from_: Annotated[AwareDatetime, Field(alias="from")]
    to: AwareDatetime
    provider: EventProvider | None = None
    state: State = "FAILED"
    force: bool = False
    cursor: Annotated[str | None, StringConstraints(max_length=2048)] = None


class Replayed(ApiModel):
    """How many were put into the queue; with ``next_cursor`` the range goes on."""

    queued: int
    next_cursor: str | None
