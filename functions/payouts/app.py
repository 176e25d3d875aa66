"""Payouts and balances: /v1/payouts."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Limit, needs
from consulta.dashboards import payee_balances
from consulta.money.accounts import payouts
from consulta.money.schema.payouts import (
    PayeeBalance,
    PayeeQuery,
    Payout,
    PayoutFilter,
    PayoutId,
    PayoutPage,
)

api = Api("payouts")


@api.get("/v1/payouts")
@needs("payments:read")
def page(
    wanted: Annotated[PayoutFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> PayoutPage:
    """The newest first; experts see their own. A page may be short and still go on."""
    return api.ok(payouts.page(api.caller, wanted, limit, cursor))


@api.get("/v1/payouts/balance")
@needs("payments:read")
def balance(payee: PayeeQuery = None) -> PayeeBalance:
    """What of a payee's money is unsettled, pending, available and on its way, by currency."""
    return api.ok(payee_balances.balance(api.caller, payee))


@api.get("/v1/payouts/<payout_id>")
@needs("payments:read")
def get(payout_id: PayoutId) -> Payout:
    """One payout."""
    return api.ok(payouts.get(api.caller, payout_id))


lambda_handler = api.handler
