"""Single sign-on: a practice's identity providers (/v1/sso), and signing in (/v1/auth/sso)."""

from aws_lambda_powertools.event_handler import Response

from consulta.core.http import (
    PUBLIC,
    Api,
    Cursor,
    Id,
    IdempotencyKey,
    IfMatch,
    Limit,
    any_query,
    needs,
)
from consulta.people import sso, sso_sign_in
from consulta.people.schema import sso as s

api = Api("sso")


@api.post("/v1/sso")
@needs("sso:write")
def create(body: s.SsoIn, key: IdempotencyKey = None) -> s.SsoOut:
    """Add an identity provider; its domains wait for the platform's verification."""
    domain_name = api.current_event["requestContext"].get("domainName", "")
    made = sso.create(api.caller, body, key, sso_sign_in.callback_url(domain_name))
    return api.created(made, f"/v1/sso/{made.id}")


@api.get("/v1/sso")
@needs("sso:write")
def listing(limit: Limit = 20, cursor: Cursor = None) -> s.SsoPage:
    """The practice's identity providers, the oldest first."""
    return api.ok(sso.listing(api.caller, limit, cursor))


@api.get("/v1/sso/<sso_id>")
@needs("sso:write")
def get(sso_id: Id) -> s.SsoOut:
    """One identity provider."""
    return api.ok(sso.get(api.caller, sso_id))


@api.patch("/v1/sso/<sso_id>")
@needs("sso:write")
def change(sso_id: Id, body: s.SsoPatch, if_match: IfMatch = None) -> s.SsoOut:
    """Change its name, its domains, or whether it is open for sign-ins."""
    return api.ok(sso.change(api.caller, sso_id, body, if_match))


@api.delete("/v1/sso/<sso_id>")
@needs("sso:write")
def remove(sso_id: Id) -> None:
    """Remove it; what it signed in ends with the access tokens, within 15 minutes."""
    sso.remove(api.caller, sso_id)
    return api.no_content()


@api.post("/v1/sso/<sso_id>/verify")
@needs("practices:write")
def verify(sso_id: Id, body: s.VerifyIn) -> s.SsoOut:
    """The domains are the practice's: for the platform's operators, who have looked."""
    return api.ok(sso.verify(api.caller, sso_id, body))


@api.post("/v1/auth/sso")
@needs(PUBLIC)
def start(body: s.SsoStartIn) -> s.SsoStartOut:
    """Where the browser goes on, where the address's domain has single sign-on."""
    answer, cookies = sso_sign_in.start(body.email)
    return api.ok(answer, cookies=cookies)


@api.get("/v1/auth/sso/callback")
@needs(PUBLIC)
@any_query
def callback(code: s.Code = None, state: s.State = None) -> Response[None]:
    """The browser comes back: on to the app, signed in by the cookie or told why not."""
    where, cookies = sso_sign_in.come_back(
        code, state, api.current_event.cookies, origin=api.origin, request_id=api.request_id
    )
    return api.see_other(where, cookies)


lambda_handler = api.handler
