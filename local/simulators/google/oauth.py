"""OAuth 2.0 for web server applications: consent, tokens, revocation.

Sources: https://developers.google.com/identity/protocols/oauth2/web-server, RFC 6749, RFC 7636.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

from local.simulators.google.errors import OAuthError, scope_missing, unauthenticated
from local.simulators.google.state import (
    DEFAULT_ACCOUNT,
    Account,
    Client,
    Code,
    Consent,
    Grant,
    Object,
    State,
    token,
)

ACCESS_LIFETIME_S = 3600
CODE_LIFETIME_S = 600
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_SCOPE = "https://www.googleapis.com/auth/"
_ALL, _ALL_READ = f"{_SCOPE}calendar", f"{_SCOPE}calendar.readonly"
_EVENTS, _EVENTS_READ = f"{_SCOPE}calendar.events", f"{_SCOPE}calendar.events.readonly"
_LIST, _LIST_READ = f"{_SCOPE}calendar.calendarlist", f"{_SCOPE}calendar.calendarlist.readonly"
# Any of these lets a call through.
MAY_LIST = (_ALL, _ALL_READ, _LIST, _LIST_READ)
MAY_READ = (_ALL, _ALL_READ, _EVENTS, _EVENTS_READ)
MAY_WRITE = (_ALL, _EVENTS)
SCOPES = {*MAY_LIST, *MAY_READ, "openid", "email", "profile", f"{_SCOPE}userinfo.email"}

_AUTHORIZATION = {
    "access_type",
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "enable_granular_consent",
    "hd",
    "include_granted_scopes",
    "login_hint",
    "nonce",
    "prompt",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
}
_CLIENT = {"client_id", "client_secret", "grant_type"}
_PARAMETERS = {
    "authorization_code": {*_CLIENT, "code", "redirect_uri", "code_verifier"},
    "refresh_token": {*_CLIENT, "refresh_token", "scope"},
}
_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")


# --- consent ------------------------------------------------------------------------------------


def authorize(state: State, query: Mapping[str, str]) -> str:
    """Where the browser goes after the consent, which is given at once.

    Errors that Google shows on a page of its own, because the redirect address cannot be trusted
    or the program is wrong, are raised; a person's refusal goes back as error=access_denied.
    """
    _check_authorization(state.client, query)
    consent = _next_consent(state)
    back = {"state": query["state"]} if "state" in query else {}
    if consent.deny:
        return _with(query["redirect_uri"], {"error": "access_denied", **back})
    email = consent.email or query.get("login_hint") or DEFAULT_ACCOUNT
    scopes = query["scope"].split()
    if consent.scopes is not None:
        scopes = [scope for scope in scopes if scope in consent.scopes]
    state.account(email)
    earlier = any(grant.email == email and not grant.revoked for grant in state.grants)
    grant = Grant(email, query["client_id"], tuple(scopes))
    state.grants.append(grant)
    # A refresh token comes with the first consent, and after that only where consent is forced.
    forced = "consent" in query.get("prompt", "").split() or not earlier
    code = Code(
        grant,
        query["redirect_uri"],
        query.get("code_challenge"),
        query.get("code_challenge_method", "plain"),
        query.get("access_type", "online") == "offline" and forced,
        state.clock.now() + timedelta(seconds=CODE_LIFETIME_S),
    )
    given = state.keep(state.codes, f"4/0A{secrets.token_urlsafe(32)}", code)
    answer = {**back, "code": given, "scope": " ".join(scopes), "authuser": "0"}
    return _with(query["redirect_uri"], answer | {"prompt": "consent" if forced else "none"})


def _check_authorization(client: Client, query: Mapping[str, str]) -> None:
    if unknown := sorted(set(query) - _AUTHORIZATION):
        raise OAuthError("invalid_request", f"Unsupported parameter: {unknown[0]}")
    for name in ("client_id", "redirect_uri", "response_type", "scope"):
        if not query.get(name):
            raise OAuthError("invalid_request", f"Missing required parameter: {name}")
    if query["client_id"] != client.client_id:
        raise OAuthError("invalid_client", "The OAuth client was not found.", 401)
    if not _is_registered(client, query["redirect_uri"]):
        raise OAuthError("redirect_uri_mismatch", "The redirect URI is not registered.")
    if query["response_type"] != "code":
        raise OAuthError("unsupported_response_type", "Only code is simulated")
    if unknown := sorted(set(query["scope"].split()) - SCOPES):
        raise OAuthError("invalid_scope", f"Some requested scopes were invalid: {unknown[0]}")
    _one_of(query, "access_type", ("online", "offline"))
    _one_of(query, "code_challenge_method", ("S256", "plain"))
    if set(query.get("prompt", "consent").split()) - {"none", "consent", "select_account"}:
        raise OAuthError("invalid_request", "Invalid parameter value for prompt")
    if not _VERIFIER.fullmatch(query.get("code_challenge", "-" * 43)):
        raise OAuthError("invalid_request", "Invalid parameter value for code_challenge")


def _one_of(query: Mapping[str, str], name: str, values: tuple[str, ...]) -> None:
    if query.get(name, values[0]) not in values:
        raise OAuthError("invalid_request", f"Invalid parameter value for {name}")


def _is_registered(client: Client, uri: str) -> bool:
    if client.redirect_uris is not None:
        return uri in client.redirect_uris
    parts = urlsplit(uri)
    if parts.fragment or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS)


def _next_consent(state: State) -> Consent:
    if not state.consents:
        return Consent()
    consent = state.consents[0]
    consent.times -= 1
    if consent.times <= 0:
        state.consents.pop(0)
    return consent


def _with(uri: str, query: Mapping[str, str]) -> str:
    return f"{uri}{'&' if urlsplit(uri).query else '?'}{urlencode(query)}"


# --- tokens -------------------------------------------------------------------------------------


def give_tokens(state: State, form: Mapping[str, str]) -> Object:
    """The token endpoint, for a code or for a refresh token."""
    kind = form.get("grant_type", "")
    if kind not in _PARAMETERS:
        raise OAuthError("unsupported_grant_type", f"Invalid grant_type: {kind}")
    if unknown := sorted(set(form) - _PARAMETERS[kind]):
        raise OAuthError(
            "invalid_request", f"Parameter not allowed for this message type: {unknown[0]}"
        )
    _check_client(state.client, form)
    if kind == "refresh_token":
        return _refreshed(state, form)
    return _exchanged(state, form)


def _check_client(client: Client, form: Mapping[str, str]) -> None:
    if form.get("client_id") != client.client_id:
        raise OAuthError("invalid_client", "The OAuth client was not found.", 401)
    if form.get("client_secret") != client.client_secret:
        raise OAuthError("invalid_client", "Unauthorized", 401)


def _exchanged(state: State, form: Mapping[str, str]) -> Object:
    code = state.codes.get(_needed(form, "code"))
    if code is None:
        raise OAuthError("invalid_grant", "Malformed auth code.")
    if _needed(form, "redirect_uri") != code.redirect_uri:
        raise OAuthError("redirect_uri_mismatch", "Bad Request")
    del state.codes[form["code"]]  # good once, whatever is wrong with the rest
    if state.clock.now() > code.until or code.grant.revoked:
        raise OAuthError("invalid_grant", "Bad Request")
    _check_verifier(code, form.get("code_verifier"))
    answer = _access(state, code.grant)
    if code.offline:
        answer["refresh_token"] = state.keep(state.refresh_tokens, token("1//0"), code.grant)
    return answer


def _check_verifier(code: Code, verifier: str | None) -> None:
    if code.challenge is None:
        return
    if verifier is None:
        raise OAuthError("invalid_grant", "Missing code verifier.")
    digest = hashlib.sha256(verifier.encode()).digest()
    hashed = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    found = hashed if code.method == "S256" else verifier
    if not _VERIFIER.fullmatch(verifier) or found != code.challenge:
        raise OAuthError("invalid_grant", "Invalid code verifier.")


def _refreshed(state: State, form: Mapping[str, str]) -> Object:
    grant = state.refresh_tokens.get(_needed(form, "refresh_token"))
    if grant is None or grant.revoked:
        raise OAuthError("invalid_grant", "Token has been expired or revoked.")
    return _access(state, grant)


def _needed(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise OAuthError("invalid_request", f"Missing required parameter: {name}")
    return form[name]


def _access(state: State, grant: Grant) -> Object:
    until = state.clock.now() + timedelta(seconds=ACCESS_LIFETIME_S)
    return {
        "access_token": state.keep(state.access_tokens, token("ya29."), (grant, until)),
        # A second of the hour has gone by, as at Google.
        "expires_in": ACCESS_LIFETIME_S - 1,
        "scope": " ".join(grant.scopes),
        "token_type": "Bearer",
    }


def revoke(state: State, given: str) -> None:
    """The program gives a consent back, by its refresh token or one of its access tokens."""
    access = state.access_tokens.get(given)
    grant = access[0] if access else state.refresh_tokens.get(given)
    if grant is None or grant.revoked or (access and access[1] <= state.clock.now()):
        raise OAuthError("invalid_token", "Token expired or revoked")
    revoke_account(state, grant.email)


def revoke_account(state: State, email: str) -> int:
    """A person withdraws what they granted: all of it, as Google does. Gives how many consents."""
    open_ones = [grant for grant in state.grants if grant.email == email and not grant.revoked]
    for grant in open_ones:
        grant.revoked = True
    return len(open_ones)


def caller(state: State, authorization: str, scopes: tuple[str, ...]) -> tuple[Account, Grant]:
    """Whose access token it is. Errors: 401 without a good one, 403 without one of the scopes."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not given:
        raise unauthenticated(without_token=True)
    grant, until = state.access_tokens.get(given, (None, None))
    if grant is None or until is None or grant.revoked or until <= state.clock.now():
        raise unauthenticated(without_token=False)
    if not set(scopes) & set(grant.scopes):
        raise scope_missing()
    return state.accounts[grant.email], grant
