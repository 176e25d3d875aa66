"""When the whole practice is closed: /v1/closures."""

from consulta.core.http import Api, IfMatch, needs
from consulta.scheduling import closures
from consulta.scheduling.schema.closures import Closures, ClosuresRequest

api = Api("closures")


@api.get("/v1/closures")
@needs("availability:read")
def get() -> Closures:
    """Closures and public holidays; version 0 and none where none were set."""
    return api.ok(closures.get(api.caller))


@api.put("/v1/closures")
@needs("closures:write")
def put(body: ClosuresRequest, if_match: IfMatch = None) -> Closures:
    """Set closures, and whose public holidays are days off; what is booked stays."""
    return api.ok(closures.put(api.caller, body, if_match))


lambda_handler = api.handler
