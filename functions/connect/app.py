"""Payees' accounts with Stripe: /v1/connect/accounts."""

from consulta.core.http import Api, IfMatch, needs
from consulta.money.accounts import connect
from consulta.money.accounts import lookup as account_lookup
from consulta.money.schema.connect import (
    AccountIn,
    AccountMatches,
    AccountOut,
    AccountPatch,
    AccountSearch,
    LinkIn,
    LinkOut,
    LoginLinkOut,
    PayeePath,
    Refresh,
)

api = Api("connect")


@api.post("/v1/connect/accounts")
@needs("connect:write")
def create(body: AccountIn) -> AccountOut:
    """Connect an account for a payee; asked again it answers with the same account."""
    account, is_new = connect.create(api.caller, body)
    return (
        api.created(account, f"/v1/connect/accounts/{account.payee}") if is_new else api.ok(account)
    )


@api.post("/v1/connect/accounts/search")
@needs("accounts:read")
def search(body: AccountSearch) -> AccountMatches:
    """The accounts of an email, in all practices: for operators."""
    return api.ok(account_lookup.search(api.caller, body))


@api.get("/v1/connect/accounts/<payee>")
@needs("connect:read")
def get(payee: PayeePath, refresh: Refresh = False) -> AccountOut:
    """The account's state; with `refresh` as Stripe has it now."""
    return api.ok(connect.get(api.caller, payee, refresh=refresh))


@api.patch("/v1/connect/accounts/<payee>")
@needs("connect:write")
def change(payee: PayeePath, body: AccountPatch, if_match: IfMatch = None) -> AccountOut:
    """Settings of the account."""
    return api.ok(connect.change(api.caller, payee, body, if_match))


@api.post("/v1/connect/accounts/<payee>/onboarding-link")
@needs("connect:write")
def link(payee: PayeePath, body: LinkIn) -> LinkOut:
    """Where the account's owner goes on with the set-up."""
    return api.ok(connect.onboarding_link(api.caller, payee, body))


@api.post("/v1/connect/accounts/<payee>/login-link")
@needs("connect:write")
def login(payee: PayeePath) -> LoginLinkOut:
    """Into the account's own dashboard, for its payee and the practice's owner."""
    return api.ok(connect.login_link(api.caller, payee))


lambda_handler = api.handler
