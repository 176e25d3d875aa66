"""Earnings: /v1/earnings."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, needs
from consulta.dashboards import earnings
from consulta.dashboards.schema_earnings import EarningsFilter, PeriodEarnings

api = Api("earnings")


@api.get("/v1/earnings")
@needs("payments:read")
def get(wanted: Annotated[EarningsFilter, Query()]) -> PeriodEarnings:
    """Collected and earned by currency on the practice's local days; experts see their own."""
    return api.ok(earnings.of(api.caller, wanted), max_age=60)


lambda_handler = api.handler
