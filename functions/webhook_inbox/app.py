"""The providers' events as they were received, and again: /v1/webhook-inbox."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Limit, needs
from consulta.money.schema.webhooks import (
    InboxEvent,
    InboxFilter,
    InboxId,
    InboxPage,
    RangeReplayRequest,
    Replayed,
    ReplayRequest,
)
from consulta.money.webhooks import inbox_listing, replay

api = Api("webhook_inbox")
BASE = "/v1/webhook-inbox"


@api.get("/v1/webhook-inbox")
@needs("webhooks:read")
def page(
    wanted: Annotated[InboxFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> InboxPage:
    """The last received first; without a range, of 31 days. A page may be short and still go on."""
    return api.ok(inbox_listing.page(api.caller, wanted, limit, cursor))


@api.post("/v1/webhook-inbox/replay")
@needs("webhooks:write")
def some(body: RangeReplayRequest) -> Replayed:
    """A range into the queue again, by default what failed; harmless however often."""
    return api.accepted(replay.some(api.caller.person, body), BASE)


@api.get("/v1/webhook-inbox/<inbox_id>")
@needs("webhooks:read")
def get(inbox_id: InboxId) -> InboxEvent:
    """One event."""
    return api.ok(inbox_listing.get(inbox_id))


@api.post("/v1/webhook-inbox/<inbox_id>/replay")
@needs("webhooks:write")
def one(inbox_id: InboxId, body: ReplayRequest) -> InboxEvent:
    """One event into the queue again; 409 where it is done, unless `force` is set."""
    event = replay.one(api.caller.person, inbox_id, body)
    return api.accepted(event, f"{BASE}/{event.id}")


lambda_handler = api.handler
