"""Who did what: /v1/audit, and the feed of it, /v1/activity."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import AwareDatetime

from consulta.audit import listing
from consulta.audit import schema as s
from consulta.core.http import Api, Cursor, Limit, needs

api = Api("audit_log")

Entity = Annotated[s.Entity | None, Query(description="PATIENT, APPOINTMENT …; EVENT: no change")]
ItemId = Annotated[s.ItemId | None, Query(description="One item's history, with its entity")]
By = Annotated[s.ActorId | None, Query(description="A person, key:…, webhook:… or a schedule")]
Action = Annotated[s.Action | None, Query(description="created, changed, removed, sign_in …")]
From = Annotated[AwareDatetime | None, Query(alias="from", description="Recorded at or after")]
To = Annotated[
    AwareDatetime | None, Query(alias="to", description="Recorded before; at most 366 days")
]


@api.get("/v1/audit")
@needs("audit:read")
def audit(
    entity: Entity = None,
    item_id: ItemId = None,
    by: By = None,
    action: Action = None,
    low: From = None,
    high: To = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> s.AuditPage:
    """Every change and happening, the last recorded first; without a range, of 31 days.

    One item, one actor and the time are found by index; the rest is filtered within a read budget,
    so that a page may be short, or empty, with a cursor that goes on.
    """
    wanted = s.AuditFilter(entity=entity, item_id=item_id, by=by, action=action, low=low, high=high)
    return api.ok(listing.audit(api.caller, wanted, limit, cursor))


@api.get("/v1/activity")
@needs("activity:read")
def activity(limit: Limit = 20, cursor: Cursor = None) -> s.ActivityPage:
    """What was done in the last 31 days, the latest first."""
    return api.ok(listing.activity(api.caller, limit, cursor))


lambda_handler = api.handler
