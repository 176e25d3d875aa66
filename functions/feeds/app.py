"""Feeds for every other calendar: /v1/calendars/feeds, and what they read: /feeds/<token>.ics."""

from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Header
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse

from consulta.calendars import connections, feeds, ics
from consulta.calendars import schema as s
from consulta.core.http import (
    PUBLIC,
    Api,
    Id,
    IdempotencyKey,
    NotModified,
    any_query,
    caching,
    has_already,
    needs,
)

api = Api("feeds")

CALENDAR: OpenAPIResponse = {
    "description": "RFC 5545",
    "content": {"text/calendar": {"schema": {"type": "string"}}},
}
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", max_length=200)]


@api.post("/v1/calendars/feeds")
@needs("calendars:write")
def create_feed(body: s.FeedIn, key: IdempotencyKey = None) -> s.FeedCreated:
    """A new feed for every other calendar; its address is shown this once."""
    domain_name = api.current_event["requestContext"].get("domainName", "")
    made = feeds.create(api.caller, body, key, connections.api_url(domain_name))
    return api.created(made, f"/v1/calendars/feeds/{made.id}")


@api.get("/v1/calendars/feeds")
@needs("calendars:write")
def list_feeds(expert_id: s.ExpertId = None) -> s.FeedList:
    """All feeds of an expert, or the caller's own."""
    return api.ok(feeds.listing(api.caller, expert_id))


@api.delete("/v1/calendars/feeds/<feed_id>")
@needs("calendars:write")
def remove_feed(feed_id: Id, expert_id: s.ExpertId = None) -> None:
    """End a feed: its address is good for nothing from now on."""
    feeds.remove(api.caller, feed_id, expert_id)
    return api.no_content()


@api.get(
    "/feeds/<file>",
    summary="Appointments as iCalendar, by an address that is the key",
    responses={200: CALENDAR},
)
@needs(PUBLIC)
@any_query  # some calendars add one, so that no cache answers
def get_feed(file: str, if_none_match: IfNoneMatch = None) -> Response[str]:
    """Confirmed ones, those that wait for approval and those that are over: from 30 days ago to 366
    days ahead.
    """
    found = feeds.document(file)
    if has_already(if_none_match, found.etag):
        raise NotModified(found.etag, feeds.MAX_AGE_S)
    headers: dict[str, str | list[str]] = {"ETag": found.etag, **caching(feeds.MAX_AGE_S)}
    return Response(200, content_type=ics.CONTENT_TYPE, body=found.body, headers=headers)


lambda_handler = api.handler
