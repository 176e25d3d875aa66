"""What the providers and the ledger do not agree on: /v1/reconciliations and its differences."""

from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, IdempotencyKey, Limit, needs
from consulta.money.reconciliation import listing
from consulta.money.reconciliation.schema import (
    Day,
    DifferenceFilter,
    DifferencePage,
    Reconciliation,
    ReconciliationPage,
    RunRequest,
)

api = Api("reconciliations")
BASE = "/v1/reconciliations"


@api.get("/v1/reconciliations")
@needs("ledger:read")
def page(limit: Limit = 20, cursor: Cursor = None) -> ReconciliationPage:
    """Daily runs, the last first: all of each for operators, their own part for practices."""
    return api.ok(listing.page(api.caller, limit, cursor))


@api.post("/v1/reconciliations")
@needs("webhooks:write")
def ask(body: RunRequest, idempotency_key: IdempotencyKey = None) -> Reconciliation:
    """Look at a day again: it begins within ten minutes."""
    asked = listing.ask(api.caller, body, idempotency_key)
    return api.accepted(asked, f"{BASE}/{asked.day}")


@api.get("/v1/reconciliations/<day>")
@needs("ledger:read")
def get(day: Day) -> Reconciliation:
    """One day's run, with the balances that it has compared."""
    return api.ok(listing.get(api.caller, day))


@api.get("/v1/reconciliations/<day>/report")
@needs("ledger:read")
def report(day: Day) -> Response[str]:
    """The differences that were open in that run, as CSV."""
    headers = {"Content-Disposition": f'attachment; filename="reconciliation-{day}.csv"'}
    headers["Cache-Control"] = "no-store"
    return Response(200, "text/csv; charset=utf-8", listing.report(api.caller, day), headers)


@api.get("/v1/reconciliation-differences")
@needs("ledger:read")
def differences(
    wanted: Annotated[DifferenceFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> DifferencePage:
    """The first seen last; open and resolved. A page may be short and still go on."""
    return api.ok(listing.differences(api.caller, wanted, limit, cursor))


lambda_handler = api.handler
