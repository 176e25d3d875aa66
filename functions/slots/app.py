"""Free times of an expert, or of any: /v1/slots."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import AwareDatetime, StringConstraints

from consulta.core.fields import Zone
from consulta.core.http import Api, Id, needs
from consulta.core.ids import ID_PATTERN
from consulta.scheduling import offers
from consulta.scheduling.schema.slots import Slots

api = Api("slots")
Expert = Annotated[
    str,
    StringConstraints(pattern=rf"{ID_PATTERN}|^{offers.ANY}$"),
    Query(description="Whose times; any expert of the service if left out"),
]


@api.get("/v1/slots")
@needs("slots:read")
def get(
    service_id: Annotated[Id, Query()],
    low: Annotated[AwareDatetime, Query(alias="from", description="Starts not before")],
    high: Annotated[AwareDatetime, Query(alias="to", description="Starts before; 62 days at most")],
    expert_id: Expert = offers.ANY,
    zone: Annotated[
        Zone | None,
        Query(description="Whose clocks; the expert's (of any: the practice's) if left out"),
    ] = None,
    explain: Annotated[
        bool, Query(description="Also say why days without a free time have none")
    ] = False,
) -> Slots:
    """Free starts for one service, in order."""
    return api.ok(
        offers.free_slots(api.caller, service_id, expert_id, low, high, zone, explain=explain)
    )


lambda_handler = api.handler
