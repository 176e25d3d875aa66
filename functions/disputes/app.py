"""Disputes of the practice's payments: /v1/disputes."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, Limit, needs
from consulta.money.disputes import listing as disputes
from consulta.money.schema.disputes import Dispute, DisputeFilter, DisputePage

api = Api("disputes")


@api.get("/v1/disputes")
@needs("payments:read")
def page(
    wanted: Annotated[DisputeFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> DisputePage:
    """The newest first; experts see their own. A page may be short and still go on."""
    return api.ok(disputes.page(api.caller, wanted, limit, cursor))


@api.get("/v1/disputes/<dispute_id>")
@needs("payments:read")
def get(dispute_id: Id) -> Dispute:
    """One dispute, with how long evidence can still be sent."""
    return api.ok(disputes.get(api.caller, dispute_id))


lambda_handler = api.handler
