"""/v1/account-sessions: sessions of the provider's embedded components."""

from http import HTTPStatus

from consulta.core.http import Api, needs
from consulta.money.accounts import sessions as account_sessions
from consulta.money.schema.connect import SessionIn, SessionOut

api = Api("account_sessions")


@api.post("/v1/account-sessions")
@needs("account_sessions:write")
def create(body: SessionIn) -> SessionOut:
    """A session for what the caller's role may see of an account; made anew for every display."""
    return api.ok(account_sessions.create(api.caller, body), status=HTTPStatus.CREATED)


lambda_handler = api.handler
