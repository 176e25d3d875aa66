"""Messages between patients and the practice: /v1/threads."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, Limit, needs
from consulta.people import messages, threads
from consulta.people.schema import threads as s

api = Api("threads")


@api.get("/v1/threads")
@needs("messages:read")
def listing(
    wanted: Annotated[s.ThreadFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> s.ThreadPage:
    """The caller's threads, that with the newest message first."""
    return api.ok(threads.page(api.caller, wanted, limit, cursor))


@api.post("/v1/threads")
@needs("messages:write")
def open_thread(body: s.ThreadIn, idempotency_key: IdempotencyKey = None) -> s.ThreadOpened:
    """Write to an expert, to the practice, or to a patient; one thread for each two."""
    opened = messages.open_thread(api.caller, body, idempotency_key)
    return api.created(opened, f"/v1/threads/{opened.id}")


@api.get("/v1/threads/<thread_id>")
@needs("messages:read")
def get(thread_id: Id) -> s.ThreadOut:
    """One thread, without its messages."""
    return api.ok(threads.get(api.caller, thread_id))


@api.get("/v1/threads/<thread_id>/messages")
@needs("messages:read")
def page(thread_id: Id, limit: Limit = 20, cursor: Cursor = None) -> s.MessagePage:
    """Its messages, the newest first; they stay unread until they are marked as read."""
    return api.ok(messages.page(api.caller, thread_id, limit, cursor))


@api.post("/v1/threads/<thread_id>/messages")
@needs("messages:write")
def send(thread_id: Id, body: s.MessageIn, idempotency_key: IdempotencyKey = None) -> s.MessageOut:
    """Write another message."""
    message = messages.send(api.caller, thread_id, body, idempotency_key)
    return api.created(message, f"/v1/threads/{thread_id}/messages")


@api.post("/v1/threads/<thread_id>/read")
@needs("messages:write")
def mark_read(thread_id: Id, body: s.ReadIn) -> s.ThreadOut:
    """All up to a message is read, for the caller's side."""
    return api.ok(messages.mark_read(api.caller, thread_id, body))


lambda_handler = api.handler
