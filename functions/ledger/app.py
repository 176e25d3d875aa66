"""The double-entry ledger under every movement of money: /v1/ledger."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Limit, needs
from consulta.dashboards import ledger_balances
from consulta.dashboards.schema_ledger import Balances, BalancesFilter
from consulta.money.books import listing as ledger_listing
from consulta.money.schema.ledger import LedgerFilter, LedgerPage

api = Api("ledger")


@api.get("/v1/ledger")
@needs("ledger:read")
def page(
    wanted: Annotated[LedgerFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> LedgerPage:
    """Postings, the newest first: of one payment, of a month, of a book or account."""
    return api.ok(ledger_listing.page(api.caller, wanted, limit, cursor))


@api.get("/v1/ledger/balances")
@needs("ledger:read")
def balances(wanted: Annotated[BalancesFilter, Query()]) -> Balances:
    """What each kind of account holds per currency, of a book."""
    return api.ok(ledger_balances.of(api.caller, wanted), max_age=60)


lambda_handler = api.handler
