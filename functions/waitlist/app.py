"""Waiting for a time: /v1/waitlist."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.money.appointments import waitlist_closing
from consulta.scheduling import waitlist
from consulta.scheduling.schema.waitlist import (
    WaitlistEntry,
    WaitlistFilter,
    WaitlistPage,
    WaitlistRequest,
)

api = Api("waitlist")


@api.post("/v1/waitlist")
@needs("appointments:write")
def join(body: WaitlistRequest, idempotency_key: IdempotencyKey = None) -> WaitlistEntry:
    """Wait for a time of a service; whoever joins first is offered a freed time first."""
    entry = waitlist.join(api.caller, body, idempotency_key)
    return api.created(entry, f"/v1/waitlist/{entry.id}")


@api.get("/v1/waitlist")
@needs("appointments:read")
def page(
    wanted: Annotated[WaitlistFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> WaitlistPage:
    """In order of joining; patients see their own, members name a service, expert or patient."""
    return api.ok(waitlist.page(api.caller, wanted, limit, cursor))


@api.get("/v1/waitlist/<entry_id>")
@needs("appointments:read")
def get(entry_id: Id) -> WaitlistEntry:
    """One entry, and what is offered to it."""
    return api.ok(waitlist.get(api.caller, entry_id))


@api.delete("/v1/waitlist/<entry_id>")
@needs("appointments:write")
def leave(entry_id: Id, if_match: IfMatch = None) -> None:
    """Wait no more; a time that was offered goes to the next."""
    waitlist_closing.leave(api.caller, entry_id, if_match)
    return api.no_content()


@api.post("/v1/waitlist/<entry_id>/accept")
@needs("appointments:write")
def accept(entry_id: Id) -> WaitlistEntry:
    """Take the offered time: confirmed at once where it is free of charge, else held to be paid."""
    return api.ok(waitlist.accept(api.caller, entry_id))


@api.post("/v1/waitlist/<entry_id>/decline")
@needs("appointments:write")
def decline(entry_id: Id) -> WaitlistEntry:
    """Not this time; the entry keeps its place."""
    return api.ok(waitlist_closing.decline(api.caller, entry_id))


lambda_handler = api.handler
