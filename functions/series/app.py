"""Times that come again: /v1/series."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.money.appointments import series_closing
from consulta.scheduling import series
from consulta.scheduling.schema import series as s
from consulta.scheduling.schema.appointments import CancelReason
from consulta.scheduling.schema.booking import GivenReason
from consulta.scheduling.series_records import WORKING

api = Api("series")
ONE = "/v1/series/<series_id>"
From = Annotated[s.RecurrenceId | None, Query(alias="from")]


@api.post("/v1/series")
@needs("appointments:write")
def create(body: s.SeriesRequest, idempotency_key: IdempotencyKey = None) -> s.Series:
    """Book a series, one occurrence after the other; 202 while some are still to be booked.

    409 ``series-conflicts`` lists the occurrences that cannot be had, and what is free near them.
    """
    return told(series_closing.create(api.caller, body, idempotency_key), is_new=True)


@api.post("/v1/series/preview")
@needs("appointments:write")
def preview(body: s.SeriesRequest) -> s.SeriesPreview:
    """All occurrences, what stands against each, and what is free near it; nothing is saved."""
    return api.ok(series.preview(api.caller, body))


@api.get("/v1/series")
@needs("appointments:read")
def page(
    wanted: Annotated[s.SeriesFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> s.SeriesPage:
    """The newest first; patients and experts see their own."""
    return api.ok(series.page(api.caller, wanted, limit, cursor))


@api.get(ONE)
@needs("appointments:read")
def get(series_id: Id) -> s.Series:
    """One series: how far it has come, and which occurrences are not as the rule says."""
    return api.ok(series.get(api.caller, series_id))


@api.get(f"{ONE}/appointments")
@needs("appointments:read")
def appointments(
    series_id: Id, limit: Limit = 20, cursor: Cursor = None
) -> s.SeriesAppointmentPage:
    """Its occurrences in order, each with its appointment."""
    return api.ok(series.appointments(api.caller, series_id, limit, cursor))


@api.patch(ONE)
@needs("appointments:write")
def change(
    series_id: Id, body: s.SeriesPatch, if_match: IfMatch = None, key: IdempotencyKey = None
) -> s.Series | s.SeriesPreview:
    """Move this occurrence, this and the following, or all that are to come.

    "This and following" goes on as a new series, which is answered. With ``dry_run``: a preview.
    """
    found = series_closing.move(api.caller, series_id, body, if_match, key)
    return api.ok(found) if isinstance(found, s.SeriesPreview) else told(found)


@api.delete(ONE)
@needs("appointments:write")
def cancel(
    series_id: Id,
    scope: Annotated[s.Scope, Query()] = s.Scope.ALL,
    first: From = None,
    reason_code: Annotated[GivenReason, Query()] = CancelReason.OTHER,
    if_match: IfMatch = None,
) -> s.Series:
    """Cancel this occurrence, this and the following, or all that are to come."""
    return told(series_closing.cancel(api.caller, series_id, scope, first, reason_code, if_match))


def told(found: s.Series, *, is_new: bool = False) -> s.Series:
    """202 while a worker goes on with it."""
    location = f"/v1/series/{found.id}"
    if found.status in WORKING:
        return api.accepted(found, location)
    return api.created(found, location) if is_new else api.ok(found)


lambda_handler = api.handler
