"""Single sign-on from end to end on the local AWS: its user pool, and an identity provider of ours.

The function runs in this process; the browser is played by httpx, one redirect at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import jwt
import pytest

from consulta.core import aws, table
from consulta.core.identity import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.people import members, sessions
from local import processes
from local.environment import REGION, endpoint, ministack_environment
from local.processes import Service
from tests.conftest import CORE, forget
from tests.integration.gaps_stack import ROOT, free_port
from tests.integration.serving import Reply, serving
from tests.template import create_table
from tests.unit.people.calling import PRACTICE, Answer, call, signed_in

OWNER, OPERATOR = signed_in("owner"), signed_in("operator")


@dataclass
class Provider:
    """An OpenID provider that signs in whoever comes, as ``email``."""

    issuer: str = ""
    email: str = "Ana@clinic.example"

    def reply(self, method: str, path: str, body: str) -> Reply:
        return self.get(path) if method == "GET" else self.tokens(dict(parse_qsl(body)))

    def get(self, path: str) -> Reply:
        url = urlsplit(path)
        if url.path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token"}
            found = {name: f"{self.issuer}/{where}" for name, where in names.items()}
            return 200, {}, {"issuer": self.issuer, **found}
        asked = dict(parse_qsl(url.query))
        back = urlencode({"code": "from-the-provider", "state": asked["state"]})
        return 302, {"Location": f"{asked['redirect_uri']}?{back}"}, {}

    def tokens(self, form: dict[str, str]) -> Reply:
        if (form["code"], form["client_secret"]) != ("from-the-provider", "s3cret"):
            return 400, {}, {"error": "invalid_grant"}
        claims = {"sub": "u-1", "email": self.email}
        token = jwt.encode(claims, "the-local-pool-does-not-look-at-this-key", algorithm="HS256")
        return 200, {}, {"access_token": "at-the-provider", "id_token": token}


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider()

    with serving(found.reply) as found.issuer:
        yield found


@pytest.fixture
def pool_id(environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A local AWS with a user pool and a table in it; everything of this process goes there."""
    port = free_port()
    base = endpoint(port)
    for name in ("tmp", "layers"):
        (tmp_path / name).mkdir()
    variables = ministack_environment(port, tmp_path / "tmp", tmp_path / "layers", auth=False)
    service = Service("aws", ("local.aws",), variables, f"{base}/_ministack/health")
    try:
        processes.start(tmp_path, [service], ROOT)
        for name in ("AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            environment.setenv(name, variables[name])
        made = aws.client("cognito-idp", 5).create_user_pool(
            PoolName="people", UsernameAttributes=["email"]
        )
        for name, value in {
            "AWS_REGION": REGION,
            "USER_POOL_ID": made["UserPool"]["Id"],
            "CLIENT_ID": "client-of-the-template",
            "SSO_BASE": base,
            "APP_URL": "http://localhost:5173",
            "PUBLIC_URL": base,
        }.items():
            environment.setenv(name, value)
        forget()
        create_table(aws.client("dynamodb"), "CoreTable", CORE)
        yield str(made["UserPool"]["Id"])
    finally:
        processes.stop_all(tmp_path)


def sign_in(email: str) -> Answer:
    """What the callback answers to a browser that has been to the provider and back."""
    started = call("sso", "POST", "/v1/auth/sso", {"email": email})
    return come_back(started.body["authorize_url"], started.cookies)


def come_back(where: str, kept: list[str]) -> Answer:
    """Follow ``where`` to our callback, with the cookies that the browser was given."""
    # The user pool, the provider, the user pool again; the fourth stop is ours.
    for _ in range(3):
        stop = httpx.get(where)
        assert stop.status_code == 302, stop.text
        where = stop.headers["location"]
    back = urlsplit(where)
    assert back.path == "/v1/auth/sso/callback"
    cookies = [cookie.partition(";")[0] for cookie in kept]
    return call("sso", "GET", back.path, query=back.query, cookies=cookies)


def connected(provider: Provider) -> str:
    """The path of the practice's provider, which is verified."""
    body = {
        "kind": "oidc",
        "name": "Clinic",
        "issuer": provider.issuer,
        "client_id": "consulta",
        "client_secret": "s3cret",
        "domains": ["clinic.example"],
    }
    made = call("sso", "POST", "/v1/sso", body, context=OWNER)
    assert made.status == 201
    path = f"/v1/sso/{made.body['id']}"
    ask = {"practice_id": PRACTICE, "domains": ["clinic.example"]}
    assert call("sso", "POST", f"{path}/verify", ask, context=OPERATOR).body["state"] == "active"
    return path


def tokens_of(signed: Answer) -> dict[str, Any]:
    """What the access token says that the app gets by the refresh cookie."""
    assert (signed.status, signed.headers["Location"]) == (303, "http://localhost:5173/")
    [kept] = [cookie for cookie in signed.cookies if cookie.startswith("consulta_refresh=")]
    cookie = kept.partition(";")[0].partition("=")[2]
    tokens = sessions.refresh(cookie, origin="127.0.0.1|test", request_id="request-1")
    found: dict[str, Any] = jwt.decode(tokens.access_token, options={"verify_signature": False})
    return found


def test_a_member_with_a_password_comes_as_themselves(pool_id: str, provider: Provider) -> None:
    connected(provider)
    cognito = aws.client("cognito-idp", 5)
    email = "ana@clinic.example"
    # She came by the provider before she was a member, too: as nobody, who must go.
    nobody = tokens_of(sign_in(email))["sub"]
    made = cognito.admin_create_user(
        UserPoolId=pool_id,
        Username=email,
        UserAttributes=[{"Name": "email", "Value": email}],
        MessageAction="SUPPRESS",
    )
    attributes = {entry["Name"]: entry["Value"] for entry in made["User"]["Attributes"]}
    person = attributes["sub"]
    _, actions = members.joining(
        Tenant(PRACTICE),
        Actor("person-1", "request-1", "test"),
        person=person,
        email=email,
        name="Ana",
        role=Role.ADMIN,
        expert=None,
        patient=None,
    )
    table.transact(actions)

    linked = sign_in(email)
    where = linked.headers["Location"]
    assert urlsplit(where).path == "/oauth2/authorize"
    assert tokens_of(come_back(where, linked.cookies))["sub"] == person != nobody
    # From now on at once.
    assert tokens_of(sign_in(email))["sub"] == person
    with pytest.raises(cognito.exceptions.UserNotFoundException):
        cognito.admin_get_user(UserPoolId=pool_id, Username=nobody)


def test_a_practice_signs_in_by_its_own_provider(pool_id: str, provider: Provider) -> None:
    path = connected(provider)
    claims = tokens_of(sign_in("ana@clinic.example"))
    cognito = aws.client("cognito-idp", 5)
    [client] = cognito.list_user_pool_clients(UserPoolId=pool_id)["UserPoolClients"]
    assert (claims["client_id"], claims["token_use"]) == (client["ClientId"], "access")

    provider.email = "eve@other.example"
    refused = sign_in("ana@clinic.example")
    assert refused.headers["Location"] == "http://localhost:5173/?sso_error=not_allowed"

    assert call("sso", "DELETE", path, context=OWNER).status == 204
    assert cognito.list_user_pool_clients(UserPoolId=pool_id)["UserPoolClients"] == []
    assert cognito.list_identity_providers(UserPoolId=pool_id)["Providers"] == []
    again = call("sso", "POST", "/v1/auth/sso", {"email": "ana@clinic.example"})
    assert again.body == {"authorize_url": None}
