"""/v1/realtime/tickets: what opens a WebSocket connection."""

from http import HTTPStatus

from consulta.core.http import Api, needs
from consulta.dashboards.layout import subject_of
from consulta.realtime import tickets
from consulta.realtime.schema import RealtimeTicket

api = Api("realtime_tickets")


@api.post("/v1/realtime/tickets")
@needs("dashboard:read")
def create() -> RealtimeTicket:
    """A ticket for one WebSocket connection, which tells when the caller's dashboard changes.

    Good once and for a minute; made anew for every connection.
    """
    ticket = tickets.issue(api.caller, subject_of(api.caller))
    return api.ok(ticket, status=HTTPStatus.CREATED)


lambda_handler = api.handler
