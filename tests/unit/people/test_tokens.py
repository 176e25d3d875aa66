"""Which access tokens are good."""

import base64
import hashlib
import hmac
import io
import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from consulta.people import tokens
from consulta.people.tokens import BadToken, Claims, Flaw

ISSUER = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_pool"
CLIENT = "client-1"
KID = "key-1"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FOREIGN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    return {
        **json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())),
        "kid": kid,
        "alg": "RS256",
        "use": "sig",
    }


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {
        "sub": "person-1",
        "iss": ISSUER,
        "client_id": CLIENT,
        "token_use": "access",
        "origin_jti": "session-1",
        "iat": now,
        "exp": now + 900,
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def sign(key: Any = KEY, alg: str = "RS256", kid: Any = KID, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=alg, headers={"kid": kid} if kid else None)


def by_hand(header: dict[str, Any] | str, signature: Callable[[bytes], bytes]) -> str:
    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    text = header if isinstance(header, str) else json.dumps(header)
    signed = part(text.encode()) + b"." + part(json.dumps(claims()).encode())
    return (signed + b"." + part(signature(signed))).decode()


def rs256(key: rsa.RSAPrivateKey = KEY) -> Callable[[bytes], bytes]:
    return lambda signed: key.sign(signed, padding.PKCS1v15(), hashes.SHA256())


def from_another_pool() -> str:
    """Everything right by its own pool: issuer, key and key id."""
    issuer = ISSUER.replace("us-east-1_pool", "us-east-1_other")
    return sign(key=FOREIGN_KEY, kid="key-of-other", iss=issuer)


def with_its_own_key() -> str:
    """The header brings the key to be verified by (RFC 7515 jwk): nobody may look at it."""
    own = jwk(FOREIGN_KEY, KID)
    return by_hand({"alg": "RS256", "kid": KID, "jwk": own}, rs256(FOREIGN_KEY))


def hmac_by_public_key() -> str:
    """The classic confusion: HS256 with the published RSA key as the secret."""
    secret = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return by_hand(
        {"alg": "HS256", "kid": KID, "typ": "JWT"},
        lambda signed: hmac.new(secret, signed, hashlib.sha256).digest(),
    )


@dataclass
class Jwks:
    """The pool's keys as the network would give them."""

    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk(KEY, KID)])
    fetched: int = 0
    down: bool = False

    def open(self, *_: Any, **__: Any) -> io.BytesIO:
        if self.down:
            raise urllib.request.URLError("down")
        self.fetched += 1
        return io.BytesIO(json.dumps({"keys": self.keys}).encode())


@pytest.fixture(autouse=True)
def jwks(environment: pytest.MonkeyPatch) -> Jwks:
    environment.setenv("TOKEN_ISSUER", ISSUER)
    environment.setenv("CLIENT_ID", CLIENT)
    environment.setenv("JWKS_URL", "https://keys.invalid/jwks.json")
    served = Jwks()
    environment.setattr(urllib.request.OpenerDirector, "open", served.open)
    tokens.keys.cache_clear()
    return served


def test_a_good_token_gives_its_person() -> None:
    expires_at = int(time.time()) + 300
    assert tokens.verify(sign(exp=expires_at)) == Claims("person-1", False, expires_at, "session-1")


def test_a_token_of_another_app_client_names_it() -> None:
    # Good only for a session that was begun by it: the authorizer looks.
    assert tokens.verify(sign(client_id="client-2")).client == "client-2"


@pytest.mark.parametrize(
    ("groups", "is_operator"),
    [(["operator"], True), (["operators"], False), ("operator", False), (None, False)],
)
def test_operators_are_in_the_group(groups: Any, is_operator: bool) -> None:
    assert tokens.verify(sign(**{"cognito:groups": groups})).operator is is_operator


BAD: dict[str, Callable[[], str]] = {
    "alg none": lambda: by_hand({"alg": "none", "kid": KID}, lambda _: b"x"),
    "alg none, unsigned": lambda: jwt.encode(claims(), None, "none", headers={"kid": KID}),
    "HS256 by the public key": hmac_by_public_key,
    "RS512 by the right key": lambda: sign(alg="RS512"),
    "signed by another key": lambda: sign(key=FOREIGN_KEY),
    "unknown kid": lambda: sign(kid="key-2"),
    "no kid": lambda: sign(kid=None),
    "kid of another type": lambda: by_hand({"alg": "RS256", "kid": 1}, lambda _: b"x"),
    "another issuer": lambda: sign(iss=ISSUER + "2"),
    "another pool, signed well by it": from_another_pool,
    "another pool, our kid": lambda: sign(key=FOREIGN_KEY, iss=ISSUER + "2"),
    "a key in its header": with_its_own_key,
    "a duplicated alg": lambda: by_hand('{"alg": "RS256", "alg": "none", "kid": "key-1"}', rs256()),
    "a duplicated kid": lambda: by_hand(
        '{"alg": "RS256", "kid": "key-1", "kid": "key-2"}', rs256()
    ),
    "a header that is a list": lambda: by_hand("[]", rs256()),
    "an unknown critical header": lambda: by_hand(
        {"alg": "RS256", "kid": KID, "crit": ["x"], "x": 1}, rs256()
    ),
    "client_id of another type": lambda: sign(client_id=["client-1"]),
    "a session of another type": lambda: sign(origin_jti=1),
    "a session with a separator": lambda: sign(origin_jti="a#b"),
    "an empty session": lambda: sign(origin_jti=""),
    "without a session": lambda: sign(origin_jti=None),
    "two tokens in one header": lambda: f"{sign()}, Bearer {sign()}",
    "a padded signature": lambda: sign() + "==",
    "a token behind a space": lambda: sign().replace(".", ". ", 1),
    "ID token": lambda: sign(token_use="id", aud=CLIENT),
    "an audience": lambda: sign(aud=CLIENT),
    "refresh token": lambda: sign(token_use="refresh"),
    "without sub": lambda: sign(sub=None),
    "without exp": lambda: sign(exp=None),
    "without client_id": lambda: sign(client_id=None),
    "not yet": lambda: sign(nbf=int(time.time()) + 3600),
    "changed payload": lambda: ".".join(
        [sign().split(".")[0], sign(sub="person-2").split(".")[1], sign().split(".")[2]]
    ),
    "garbage": lambda: "garbage",
    "three dots": lambda: "a.b.c.d",
    "not base64": lambda: "ä.ö.ü",
    "no JSON": lambda: "AAAA.AAAA.AAAA",
    "10 kB": lambda: sign(padding="x" * 10_000),
    "empty": lambda: "",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused(name: str) -> None:
    with pytest.raises(BadToken) as caught:
        tokens.verify(BAD[name]())
    assert caught.value.flaw is Flaw.INVALID


def test_an_expired_token_says_so_after_a_small_leeway() -> None:
    now = int(time.time())
    assert tokens.verify(sign(exp=now - tokens.LEEWAY_S + 5)).person == "person-1"
    with pytest.raises(BadToken) as caught:
        tokens.verify(sign(exp=now - tokens.LEEWAY_S - 5))
    assert caught.value.flaw is Flaw.EXPIRED


@pytest.mark.parametrize("name", ["10 kB", "garbage", "alg none", "no kid"])
def test_what_cannot_be_ours_is_refused_before_keys_are_fetched(name: str, jwks: Jwks) -> None:
    with pytest.raises(BadToken):
        tokens.verify(BAD[name]())
    assert jwks.fetched == 0


def test_keys_are_fetched_once(jwks: Jwks) -> None:

    for _ in range(3):
        tokens.verify(sign())
    assert jwks.fetched == 1


def test_unknown_keys_are_asked_for_at_most_once_a_minute(jwks: Jwks) -> None:
    tokens.verify(sign())
    for number in range(5):
        with pytest.raises(BadToken):
            tokens.verify(sign(kid=f"made-up-{number}"))
    assert jwks.fetched == 1


def test_a_rotated_key_is_found_after_the_cooldown(jwks: Jwks) -> None:
    tokens.verify(sign())
    jwks.keys.append(jwk(FOREIGN_KEY, "key-2"))
    client = tokens.keys("https://keys.invalid/jwks.json")
    assert client._last_successful_fetch is not None
    client._last_successful_fetch -= tokens.KEYS_COOLDOWN_S + 1
    assert tokens.verify(sign(key=FOREIGN_KEY, kid="key-2")).person == "person-1"
    assert jwks.fetched == 2


def test_unreachable_keys_are_our_failure_not_the_callers(jwks: Jwks) -> None:
    jwks.down = True
    with pytest.raises(jwt.PyJWKClientConnectionError):
        tokens.verify(sign())


@pytest.mark.parametrize(
    ("header", "flaw"),
    [
        (None, Flaw.MISSING),
        ("", Flaw.MISSING),
        ("Basic dXNlcjpwYXNz", Flaw.INVALID),
        ("token-without-scheme", Flaw.INVALID),
    ],
)
def test_other_authorization_headers(header: str | None, flaw: Flaw) -> None:
    with pytest.raises(BadToken) as caught:
        tokens.bearer(header)
    assert caught.value.flaw is flaw


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER  abc "])
def test_the_scheme_has_no_case(header: str) -> None:
    assert tokens.bearer(header) == "abc"
