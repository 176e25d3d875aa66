"""Experts' calendars at Google: /v1/calendars/google."""

from aws_lambda_powertools.event_handler import Response

from consulta.calendars import connections
from consulta.calendars import schema as s
from consulta.core.http import PUBLIC, Api, IfMatch, any_query, needs

api = Api("calendars")


@api.post("/v1/calendars/google/connect")
@needs("calendars:write")
def connect(body: s.ConnectIn) -> s.ConnectOut:
    """Begin the consent: the browser that has asked goes on at Google."""
    domain_name = api.current_event["requestContext"].get("domainName", "")
    begun, cookie = connections.connect(api.caller, body.expert_id, domain_name)
    return api.ok(begun, cookies=[cookie])


@api.get("/v1/calendars/google/callback")
@needs(PUBLIC)
@any_query
def callback(code: s.Code = None, state: s.BegunState = None) -> Response[None]:
    """The browser comes back from Google: on to the app, which is told what has become of it."""
    where, cookies = connections.come_back(
        code, state, api.current_event.cookies, origin=api.origin, request_id=api.request_id
    )
    return api.see_other(where, cookies)


@api.get("/v1/calendars/google")
@needs("calendars:write")
def get(expert_id: s.ExpertId = None) -> s.CalendarOut:
    """How an expert's connection is."""
    return api.ok(connections.get(api.caller, expert_id))


@api.patch("/v1/calendars/google")
@needs("calendars:write")
def change(
    body: s.CalendarPatch, expert_id: s.ExpertId = None, if_match: IfMatch = None
) -> s.CalendarOut:
    """Which calendar is written, whether its busy times count, what events are called."""
    return api.ok(connections.change(api.caller, expert_id, body, if_match))


@api.delete("/v1/calendars/google")
@needs("calendars:write")
def disconnect(expert_id: s.ExpertId = None) -> None:
    """Give the consent back, and forget what was read of the calendar."""
    connections.disconnect(api.caller, expert_id)
    return api.no_content()


@api.get("/v1/calendars/google/calendars")
@needs("calendars:write")
def choices(expert_id: s.ExpertId = None) -> s.CalendarChoices:
    """The calendars at Google that can be chosen."""
    return api.ok(connections.choices(api.caller, expert_id))


lambda_handler = api.handler
