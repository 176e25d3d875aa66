"""Free times of an expert: /v1/slots."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import AwareDatetime

from consulta.core.fields import Zone
from consulta.core.http import Api, Id, needs
from consulta.scheduling import offers
from consulta.scheduling.schema.slots import Slots

api = Api("slots")


@api.get("/v1/slots")
@needs("slots:read")
def get(
    service_id: Annotated[Id, Query()],
    expert_id: Annotated[Id, Query()],
    low: Annotated[AwareDatetime, Query(alias="from", description="Starts not before")],
    high: Annotated[AwareDatetime, Query(alias="to", description="Starts before; 62 days at most")],
    zone: Annotated[
        Zone | None, Query(description="Whose clocks; the expert's if left out")
    ] = None,
) -> Slots:
    """Free starts of one expert for one service, in order."""
    return api.ok(offers.free_slots(api.caller, service_id, expert_id, low, high, zone))


lambda_handler = api.handler
