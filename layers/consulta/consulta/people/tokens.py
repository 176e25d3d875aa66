"""Verification of Cognito access tokens.

Source: the Cognito developer guide, "Verifying JSON web tokens": RS256 by the pool's JWKS, ``iss``,
``token_use`` and ``exp``. An access token has no ``aud``; an ID token has one and is refused, since
it is made for the app and carries personal data. ``client_id`` is ours, or that of a practice's own
sign-in: then the session has to name it, which only the authorizer can see.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import jwt

from consulta.core import settings

ALGORITHMS = ["RS256"]
MAX_LENGTH = 8_192
LEEWAY_S = 10
KEYS_LIFETIME_S = 3_600
# A token with a made-up key id must not make us ask Cognito each time.
KEYS_COOLDOWN_S = 60
KEYS_TIMEOUT_S = 2
OPERATORS = "operator"
_ACCESS = "access"

_SHAPE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


class Flaw(StrEnum):
    """Why nobody is signed in; ``core.identity`` has the sentence for each."""

    MISSING = "missing"
    EXPIRED = "expired"
    INVALID = "invalid"
    ENDED = "ended"
    KEY = "key"


class BadToken(Exception):
    """The request has no good access token, or no good API key."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw = flaw


class TokenSettings(settings.Settings):
    """Whose tokens are good."""

    token_issuer: str
    client_id: str
    jwks_url: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What we use of a good token. ``expires_at`` is in epoch seconds.

    ``session`` is the ``origin_jti`` that a sign-in and all its refreshed tokens share; ``client``
    the app client, where it is not our own.
    """

    person: str
    operator: bool
    expires_at: int
    session: str
    client: str = ""


def bearer(header: str | None) -> str:
    """The token of an ``Authorization`` header (RFC 6750). Raises BadToken."""
    if not header:
        raise BadToken(Flaw.MISSING)
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise BadToken(Flaw.INVALID)
    return token.strip()


def verify(token: str) -> Claims:
    """The claims of a good access token.

    Raises BadToken, and PyJWKClientConnectionError where the pool's keys cannot be fetched: that is
    our failure, not the caller's.
    """
    # Before any parsing: what is not shaped like one of ours costs next to nothing.
    if len(token) > MAX_LENGTH or not _SHAPE.fullmatch(token):
        raise BadToken(Flaw.INVALID)
    wanted = settings.load(TokenSettings)
    try:
        claims = jwt.decode(
            token,
            _key(token, wanted.jwks_url),
            algorithms=ALGORITHMS,
            issuer=wanted.token_issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "sub", "client_id", "token_use", "origin_jti"]},
        )
    except jwt.ExpiredSignatureError:
        raise BadToken(Flaw.EXPIRED) from None
    except jwt.PyJWKClientConnectionError:
        raise
    except jwt.PyJWTError:
        raise BadToken(Flaw.INVALID) from None
    parts = (claims["sub"], claims["client_id"], claims["origin_jti"])
    if claims["token_use"] != _ACCESS or not all(_is_part(part) for part in parts):
        raise BadToken(Flaw.INVALID)
    foreign = claims["client_id"] != wanted.client_id
    return Claims(
        claims["sub"],
        OPERATORS in _groups(claims),
        int(claims["exp"]),
        claims["origin_jti"],
        claims["client_id"] if foreign else "",
    )


def _is_part(value: Any) -> bool:
    """Whether it can be part of a key: a malformed claim is a bad token, not a failure of ours."""
    return isinstance(value, str) and value != "" and "#" not in value


def _key(token: str, url: str) -> jwt.PyJWK:
    header = jwt.get_unverified_header(token)
    if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str):
        raise jwt.InvalidTokenError
    return keys(url).get_signing_key(header["kid"])


@cache
def keys(url: str) -> jwt.PyJWKClient:
    """The pool's public keys; fetched when first needed, again after an hour or for a new key."""
    return jwt.PyJWKClient(
        url,
        lifespan=KEYS_LIFETIME_S,
        cooldown_duration=KEYS_COOLDOWN_S,
        timeout=KEYS_TIMEOUT_S,
    )


def _groups(claims: dict[str, Any]) -> list[str]:
    groups = claims.get("cognito:groups")
    return groups if isinstance(groups, list) else []
