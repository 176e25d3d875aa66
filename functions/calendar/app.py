"""Days, weeks and months of booked times: /v1/calendar."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, needs
from consulta.scheduling import calendar_view
from consulta.scheduling.schema.calendar import Calendar, CalendarFilter

api = Api("calendar")


@api.get("/v1/calendar")
@needs("appointments:read")
def view(wanted: Annotated[CalendarFilter, Query()], cursor: Cursor = None) -> Calendar:
    """The local days of a view with what is on them; patients and experts see their own."""
    return api.ok(calendar_view.view(api.caller, wanted, cursor))


lambda_handler = api.handler
