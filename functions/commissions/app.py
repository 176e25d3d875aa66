"""Commissions: /v1/commissions, and the practices' rate tables."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IfMatch, Limit, needs
from consulta.money import commissions
from consulta.money.schema.commissions import (
    CommissionFilter,
    CommissionPage,
    CommissionRates,
    PlanRates,
    RatesRequest,
)

api = Api("commissions")

PracticeId = Annotated[Id, Query(description="Whose rate table")]


@api.get("/v1/commissions")
@needs("payments:read")
def page(
    wanted: Annotated[CommissionFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> CommissionPage:
    """The commission of each captured payment, the newest first; experts see their own."""
    return api.ok(commissions.page(api.caller, wanted, limit, cursor))


@api.get("/v1/commissions/rates")
@needs("payments:read")
def rates() -> CommissionRates:
    """The practice's own rate table, for who sees all its payments."""
    return api.ok(commissions.rates_for_staff(api.caller))


@api.put("/v1/commissions/rates")
@needs("practices:write")
def put_rates(
    practice_id: PracticeId, body: RatesRequest, if_match: IfMatch = None
) -> CommissionRates:
    """Replace a practice's rate table: for the platform's operators. It holds from now on."""
    return api.ok(commissions.put_rates(api.caller, practice_id, body, if_match))


@api.get("/v1/commissions/rates/<practice_id>")
@needs("practices:read")
def rates_of(practice_id: Id) -> CommissionRates:
    """A practice's rate table: for the platform's operators."""
    return api.ok(commissions.rates_of(practice_id))


@api.put("/v1/commissions/plans/<plan_id>/rates")
@needs("practices:write")
def put_plan_rates(plan_id: Id, body: RatesRequest, if_match: IfMatch = None) -> PlanRates:
    """Replace a plan's rate table, for all practices on it: for the platform's operators."""
    return api.ok(commissions.put_plan_rates(api.caller, plan_id, body, if_match))


@api.get("/v1/commissions/plans/<plan_id>/rates")
@needs("practices:read")
def plan_rates(plan_id: Id) -> PlanRates:
    """A plan's rate table: for the platform's operators."""
    return api.ok(commissions.plan_rates_of(plan_id))


lambda_handler = api.handler
