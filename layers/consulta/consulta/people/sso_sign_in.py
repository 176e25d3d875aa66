"""Signing in by a practice's identity provider: OAuth's code flow through the user pool.

Source: the Cognito developer guide (authorize and token endpoints), RFC 7636 (PKCE) and RFC 9700
(OAuth's current security practice). What was begun is a row that lives ten minutes and is used
once; the browser that began it has a cookie, so that nobody is signed in by a link that another
prepared (RFC 9700 §4.7).
"""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import urlencode

import urllib3
from aws_lambda_powertools.shared.cookies import Cookie, SameSite

from consulta.core import keys, settings, table, trail
from consulta.core.errors import Busy, TooManyRequests
from consulta.core.keys import Tenant
from consulta.core.observe import count, logger
from consulta.core.time import now, to_epoch
from consulta.people import cognito, cookies, sessions, sso, sso_cognito, sso_linking
from consulta.people.contact import fold_email
from consulta.people.domains import domain_of
from consulta.people.schema.sso import SsoStartOut
from consulta.people.sso import SsoItem

CALLBACK = "/v1/auth/sso/callback"
LIFETIME = timedelta(minutes=10)
COOKIE, COOKIE_PATH = "consulta_sso", "/v1/auth/sso"
TIMEOUT_S = 3.0
# Why somebody was not let in, as the app reads it in ``?sso_error=``.
EXPIRED, REFUSED, NOT_ALLOWED, UNAVAILABLE = "expired", "refused", "not_allowed", "unavailable"
_SSO_STATE = "SSO_STATE"


class SsoSettings(settings.Settings):
    """Where the user pool's hosted endpoints are, and where the app is."""

    sso_base: str
    app_url: str
    public_url: str = ""


class NotSignedIn(Exception):
    """The sign-in came to nothing; ``reason`` is for the app."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that was begun: where the browser goes, and its cookie's value."""

    authorize_url: str
    browser: str


def callback_url(domain_name: str) -> str:
    """Where browsers come back to: at the API's own address.

    ``domain_name`` is the gateway's own, which a caller cannot choose. The template cannot say it:
    the gateway is made of the functions.
    """
    return f"{settings.load(SsoSettings).public_url or f'https://{domain_name}'}{CALLBACK}"


def app_url(error: str = "") -> str:
    """Where the app is; with ``error`` it is told why nobody is signed in."""
    base = settings.load(SsoSettings).app_url.rstrip("/")
    return f"{base}/?{urlencode({'sso_error': error})}" if error else f"{base}/"


def browser_cookie(value: str) -> Cookie:
    """The cookie that ties a sign-in to its browser; without a value, the one that takes it away.

    ``Lax``, since the browser comes back by a link from another site.
    """
    return Cookie(
        COOKIE,
        value,
        path=COOKIE_PATH,
        http_only=True,
        secure=True,
        same_site=SameSite.LAX_MODE,
        max_age=int(LIFETIME.total_seconds()) if value else 0,
    )


def browser_of(cookies_sent: list[str]) -> str:
    """The value of that cookie among a request's, or nothing."""
    for cookie in cookies_sent:
        name, _, value = cookie.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def start(email: str) -> tuple[SsoStartOut, list[Cookie]]:
    """Begin the sign-in of this address: where its browser goes, with which cookies.

    Nowhere, where no provider signs the address's domain in.
    """
    try:
        found = _provider_of(domain_of(email))
    except ValueError:
        found = None
    if found is None:
        return SsoStartOut(authorize_url=None), []
    begun = _begin(found)
    return SsoStartOut(authorize_url=begun.authorize_url), [browser_cookie(begun.browser)]


def _begin(found: SsoItem, linked: str = "") -> Begun:
    """``linked`` is the person whose account the browser must come back with, the second time."""
    state, browser, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    table.transact(
        [
            table.put_values(
                keys.sso_state(_sha256(state).hex()),
                {
                    "entity": _SSO_STATE,
                    "practice": found.tenant.practice,
                    "provider": found.item_id,
                    "verifier": verifier,
                    "browser": _sha256(browser).hex(),
                    "expires_at": to_epoch(now() + LIFETIME),
                    **({"linked": linked} if linked else {}),
                },
            )
        ]
    )
    query = {
        "response_type": "code",
        "identity_provider": sso_cognito.provider_name(found.item_id),
        "client_id": found.client_id,
        "redirect_uri": found.callback_url,
        "scope": " ".join(sso_cognito.SCOPES),
        "state": state,
        "code_challenge": _unpadded(_sha256(verifier)),
        "code_challenge_method": "S256",
    }
    base = settings.load(SsoSettings).sso_base.rstrip("/")
    return Begun(f"{base}/oauth2/authorize?{urlencode(query)}", browser)


def come_back(
    code: str | None, state: str | None, cookies_sent: list[str], *, origin: str, request_id: str
) -> tuple[str, list[Cookie]]:
    """Where a browser that comes back goes on, and its cookies from then on.

    In the app; or to the user pool once more, where it was linked to an account. No token is in any
    address: the app gets its access token by the refresh cookie.
    """
    dropped = browser_cookie("")
    try:
        done = finish(code, state, browser_of(cookies_sent), origin=origin, request_id=request_id)
    except NotSignedIn as refused:
        return app_url(refused.reason), [dropped]
    if isinstance(done, Begun):
        return done.authorize_url, [browser_cookie(done.browser)]
    return app_url(), [dropped, cookies.refresh_cookie(done.refresh_token)]


def finish(
    code: str | None, state: str | None, browser: str, *, origin: str, request_id: str
) -> sessions.SignedIn | Begun:
    """The browser is back: whom the provider names is signed in. Raises NotSignedIn.

    A member who has a password account is linked to it, and the browser goes round once more: these
    tokens are of a user who is no more. Without a membership they are signed in as nobody, and may
    accept an invitation.
    """
    begun = _use_up(state or "", browser)
    if not code:
        # Refused at the provider, or given up there.
        raise NotSignedIn(REFUSED)
    tenant, sso_id = Tenant(begun["practice"]), str(begun["provider"])
    provider = table.get(SsoItem, tenant.item(sso.SSO, sso_id))
    if provider is None or not _is_open(provider):
        raise NotSignedIn(NOT_ALLOWED)
    tokens = _exchange(code, str(begun["verifier"]), provider)
    claims = _claims(tokens)
    if claims.get("aud") != provider.client_id or not _speaks_for(provider, claims):
        trail.record(
            "denied",
            tenant.practice,
            by=str(claims.get("sub") or "unknown"),
            request_id=request_id,
            origin=origin,
            facts={"route": f"GET {CALLBACK}", "provider": sso_id},
        )
        raise NotSignedIn(NOT_ALLOWED)
    wanted = begun.get("linked")
    if wanted and claims.get("sub") != wanted:
        # Once is enough: a link that did not take must not send the browser round and round.
        raise NotSignedIn(NOT_ALLOWED)
    linked = None if wanted else _linked(provider, claims, origin, request_id)
    if linked:
        return _begin(provider, linked)
    result = {
        "AccessToken": tokens["access_token"],
        "IdToken": tokens["id_token"],
        "RefreshToken": tokens["refresh_token"],
        "ExpiresIn": int(tokens["expires_in"]),
        "TokenType": "Bearer",
    }
    # To ask for a second factor is the provider's part, and its practice's to see to.
    return sessions.begin(
        result,
        mfa=False,
        mfa_practice=tenant.practice,
        origin=origin,
        request_id=request_id,
    )


def _is_open(provider: SsoItem) -> bool:
    return bool(provider.state == sso.READY and provider.enabled and provider.client_id)


def _provider_of(domain: str) -> SsoItem | None:
    """The provider that signs in a domain now: verified, open, complete."""
    raw = table.get_raw(keys.email_domain(domain))
    row = table.from_raw(raw) if raw else {}
    if "verified_at" not in row:
        return None
    provider = table.get(SsoItem, Tenant(row["practice"]).item(sso.SSO, row["provider"]))
    return provider if provider is not None and _is_open(provider) else None


def _speaks_for(provider: SsoItem, claims: dict[str, Any]) -> bool:
    """Whether the address that the provider asserts is of a domain verified as its practice's.

    A provider can assert any address that it likes.
    """
    email = fold_email(claims.get("email"))
    if not isinstance(email, str):
        return False
    try:
        found = _provider_of(domain_of(email))
    except ValueError:
        return False
    return found is not None and found.key == provider.key


def _linked(provider: SsoItem, claims: dict[str, Any], origin: str, request_id: str) -> str | None:
    try:
        return sso_linking.link(provider, claims, origin=origin, request_id=request_id)
    except (cognito.Refused, TooManyRequests, Busy) as error:
        _troubled(getattr(error, "code", type(error).__name__), "nobody was linked")
        raise NotSignedIn(UNAVAILABLE) from None


def _use_up(state: str, browser: str) -> dict[str, Any]:
    """What was begun under ``state`` by this browser, which nobody can finish after us."""
    key, instant = keys.sso_state(_sha256(state).hex()), to_epoch(now())
    raw = table.get_raw(key)
    if raw is None:
        raise NotSignedIn(EXPIRED)
    try:
        table.transact(
            [
                table.delete(
                    key,
                    condition="attribute_exists(pk) AND expires_at > :now AND browser = :browser",
                    values={":now": instant, ":browser": _sha256(browser).hex()},
                )
            ]
        )
    except table.ConditionFailed:
        raise NotSignedIn(EXPIRED) from None
    return table.from_raw(raw)


@cache
def _http() -> urllib3.PoolManager:
    # A code works once: a request whose answer was lost is not sent again.
    return urllib3.PoolManager(timeout=TIMEOUT_S, retries=False)


def _exchange(code: str, verifier: str, provider: SsoItem) -> dict[str, Any]:
    """Tokens for a code, from the user pool itself."""
    body = {
        "grant_type": "authorization_code",
        "client_id": provider.client_id,
        "code": code,
        "redirect_uri": provider.callback_url,
        "code_verifier": verifier,
    }
    base = settings.load(SsoSettings).sso_base.rstrip("/")
    try:
        answer = _http().request(
            "POST",
            f"{base}/oauth2/token",
            body=urlencode(body),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        if 400 <= answer.status < 500:
            raise NotSignedIn(REFUSED)
        tokens = json.loads(answer.data) if answer.status == 200 else {}
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        _troubled(type(error).__name__)
        raise NotSignedIn(UNAVAILABLE) from None
    wanted = ("access_token", "id_token", "refresh_token", "expires_in")
    if not isinstance(tokens, dict) or any(not tokens.get(name) for name in wanted):
        _troubled(f"status {answer.status}")
        raise NotSignedIn(UNAVAILABLE)
    return tokens


def _troubled(what: str, message: str = "the user pool gave no tokens for a code") -> None:
    logger.error(message, extra={"error": what})
    count("SsoFailures")


def _claims(tokens: dict[str, Any]) -> dict[str, Any]:
    """What the ID token says.

    Its signature is not looked at: it came from the user pool itself over TLS, as OpenID Connect
    Core 1.0, §3.1.3.7 (6) allows.
    """
    try:
        payload = str(tokens["id_token"]).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, IndexError):
        claims = None
    if not isinstance(claims, dict):
        _troubled("no claims")
        raise NotSignedIn(UNAVAILABLE)
    return claims


def _sha256(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()


def _unpadded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
