"""Single sign-on on moto's DynamoDB, through the function; Cognito's answers come from the Stubber.

The user pool's token endpoint is a small server of the test's own.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from botocore.stub import Stubber

from consulta.core import aws, keys, settings, table
from consulta.core.identity import Actor, Membership
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import now, to_epoch
from consulta.people import cognito, members, memberships, sso, sso_sign_in
from tests.faults import Crash, Faults
from tests.integration.serving import Reply, serving
from tests.unit.people.calling import OTHER_PRACTICE, PRACTICE, Answer, call, signed_in
from tests.unit.people.test_sso_rules import OIDC, SAML

POOL = "us-east-1_pool"
OWNER, OTHER_OWNER = signed_in("owner"), signed_in("owner", OTHER_PRACTICE, person="person-2")
OPERATOR = signed_in("operator", person="operator-1")
CALLBACK = "https://api.example/v1/auth/sso/callback"
GONE = "ResourceNotFoundException"


class Pool:
    """What Cognito is expected to be asked, in order, and its answers."""

    def __init__(self, stubber: Stubber) -> None:
        self.stubber = stubber
        self.asked: list[tuple[str, dict[str, Any]]] = []
        stubber.client.meta.events.register("provide-client-params.*.*", self._note)

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.asked.append((model.name, params))

    def makes_provider(self) -> None:
        self.stubber.add_response("create_identity_provider", {"IdentityProvider": {}})

    def refuses_provider(self, code: str) -> None:
        self.stubber.add_client_error("create_identity_provider", code)

    def updates_provider(self) -> None:
        self.stubber.add_response("update_identity_provider", {"IdentityProvider": {}})

    def makes_client(self, client_id: str = "client-sso") -> None:
        answer = {"UserPoolClient": {"ClientId": client_id}}
        self.stubber.add_response("create_user_pool_client", answer)

    def lists(self, *clients: tuple[str, str], more: str = "") -> None:
        found = [{"ClientId": i, "ClientName": name} for i, name in clients]
        answer: dict[str, Any] = {"UserPoolClients": found}
        self.stubber.add_response(
            "list_user_pool_clients", answer | ({"NextToken": more} if more else {})
        )

    def deletes_client(self, client_id: str, error: str = "") -> None:
        if error:
            self.stubber.add_client_error("delete_user_pool_client", error)
        else:
            wanted = {"UserPoolId": POOL, "ClientId": client_id}
            self.stubber.add_response("delete_user_pool_client", {}, wanted)

    def deletes_provider(self, error: str = "") -> None:
        if error:
            self.stubber.add_client_error("delete_identity_provider", error)
        else:
            self.stubber.add_response("delete_identity_provider", {})


@dataclass
class Endpoint:
    """The token endpoint: what it was sent, and what it answers."""

    base: str = ""
    status: int = 200
    claims: dict[str, Any] = field(default_factory=dict)
    answer: Any = None
    forms: list[dict[str, str]] = field(default_factory=list)

    def reply(self, method: str, path: str, body: str) -> Reply:
        sent = parse_qs(body, strict_parsing=True)
        self.forms.append({**{name: value[0] for name, value in sent.items()}, "path": path})
        if self.status != 200 or self.answer is not None:
            return self.status, {}, self.answer or {"error": "invalid_grant"}
        person = self.claims.get("sub", "person-9")
        common = {"sub": person, "origin_jti": str(uuid.uuid4())}
        claims = {"aud": "client-sso", "email": "Ana@Clinic.example", **common, **self.claims}
        tokens = {
            "access_token": _token({"client_id": "client-sso", **common}),
            "id_token": _token({name: v for name, v in claims.items() if v is not None}),
            "refresh_token": "refresh-1",
            "expires_in": 900,
            "token_type": "Bearer",
        }
        return 200, {}, tokens


def _token(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, "a-key-that-nobody-looks-at-in-this-test", algorithm="HS256")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()

    with serving(found.reply) as found.base:
        yield found


@pytest.fixture
def pool(tables: Any, environment: pytest.MonkeyPatch, endpoint: Endpoint) -> Iterator[Pool]:
    for name, value in {
        "USER_POOL_ID": POOL,
        "CLIENT_ID": "client-1",
        "SSO_BASE": endpoint.base,
        "APP_URL": "https://app.example",
        "PUBLIC_URL": "https://api.example",
    }.items():
        environment.setenv(name, value)
    with Stubber(aws.client("cognito-idp", cognito.READ_TIMEOUT_S)) as stubber:
        yield Pool(stubber)
        stubber.assert_no_pending_responses()


def create(body: dict[str, Any] = OIDC, key: str = "", context: Any = OWNER) -> Answer:
    headers = {"Idempotency-Key": key} if key else {}
    return call("sso", "POST", "/v1/sso", body, context=context, headers=headers)


def made(pool: Pool, body: dict[str, Any] = OIDC, context: Any = OWNER) -> dict[str, Any]:
    pool.makes_provider()
    pool.makes_client()
    answer = create(body, context=context)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.body
    return found


def verify(sso_id: str, domains: list[str] | None = None, practice: str = PRACTICE) -> Answer:
    body = {"practice_id": practice, "domains": domains or ["clinic.example"]}
    return call("sso", "POST", f"/v1/sso/{sso_id}/verify", body, context=OPERATOR)


def active(pool: Pool) -> dict[str, Any]:
    answer = verify(made(pool)["id"])
    assert (answer.status, answer.body["state"]) == (200, "active"), answer.body
    found: dict[str, Any] = answer.body
    return found


def start(email: str = "ana@clinic.example") -> Answer:
    return call("sso", "POST", "/v1/auth/sso", {"email": email})


def provider_of(sso_id: str) -> str:
    return sso_id.replace("_", "-")


def rows(tables: Any) -> list[dict[str, Any]]:
    found = [table.from_raw(raw) for raw in tables.scan(TableName="core")["Items"]]
    return [row for row in found if row["entity"] != "IDEMPOTENCY"]


def logged(caplog: pytest.LogCaptureFixture) -> str:
    return json.dumps([vars(record) for record in caplog.records], default=str)


def nothing_is_left(tables: Any) -> bool:
    left = rows(tables)
    return all(row["entity"] == "SSO_COUNT" and row["providers"] == 0 for row in left)


# providers


def test_a_provider_is_made_with_a_client_of_its_own(pool: Pool) -> None:
    answer = made(pool)
    assert (answer["state"], answer["enabled"]) == ("pending", True)
    assert answer["domains"] == [{"domain": "clinic.example", "verified_at": None}]
    (_, provider), (_, client) = pool.asked
    name = provider_of(answer["id"])
    assert provider == {
        "UserPoolId": POOL,
        "ProviderName": name,
        "ProviderType": "OIDC",
        "ProviderDetails": {
            "client_id": "consulta",
            "client_secret": OIDC["client_secret"],
            "authorize_scopes": "openid email",
            "oidc_issuer": OIDC["issuer"],
            "attributes_request_method": "GET",
        },
        "AttributeMapping": {"email": "email"},
    }
    assert (client["ClientName"], client["SupportedIdentityProviders"]) == (name, [name])
    assert client["CallbackURLs"] == [CALLBACK]
    assert (client["AllowedOAuthFlows"], client["AllowedOAuthScopes"]) == (
        ["code"],
        ["openid", "email"],
    )
    # Not by a password, not without rotation.
    assert client["ExplicitAuthFlows"] == ["ALLOW_CUSTOM_AUTH"]
    assert client["RefreshTokenRotation"]["Feature"] == "ENABLED"
    assert call("sso", "GET", f"/v1/sso/{answer['id']}", context=OWNER).body == answer


def test_a_saml_provider_is_made_from_its_metadata(pool: Pool) -> None:
    made(pool, SAML)
    assert pool.asked[0][1]["ProviderType"] == "SAML"
    assert pool.asked[0][1]["ProviderDetails"] == {"MetadataURL": SAML["metadata_url"]}
    assert pool.asked[0][1]["AttributeMapping"]["email"].endswith("/claims/emailaddress")
    xml = "<EntityDescriptor/>"
    body = {
        **SAML,
        "metadata_url": None,
        "metadata_xml": xml,
        "email_attribute": "mail",
        "domains": ["two.example"],
    }
    made(pool, body)
    assert pool.asked[2][1]["ProviderDetails"] == {"MetadataFile": xml}
    assert pool.asked[2][1]["AttributeMapping"] == {"email": "mail"}


def test_the_secret_is_nowhere_but_in_the_user_pool(
    pool: Pool, tables: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pool.makes_provider()
    pool.makes_client()
    answer = create(key="once")
    assert answer.status == 201
    stored = json.dumps(tables.scan(TableName="core")["Items"])
    assert OIDC["client_secret"] not in stored + json.dumps(answer.body) + logged(caplog)


@pytest.mark.parametrize("role", ["expert", "billing", "viewer", "patient", "operator"])
def test_only_who_may_write_single_sign_on_reads_or_writes_it(tables: Any, role: str) -> None:
    context, path = signed_in(role), "/v1/sso/sso_01JC0NS0TADEM0000000000000"
    assert create(context=context).status == 403
    for method, where in (("GET", "/v1/sso"), ("GET", path), ("PATCH", path), ("DELETE", path)):
        assert call("sso", method, where, {}, context=context).status == 403


def test_another_practices_provider_is_404(pool: Pool) -> None:
    path = f"/v1/sso/{made(pool)['id']}"
    for method in ("GET", "PATCH", "DELETE"):
        answer = call("sso", method, path, {"name": "x"}, context=OTHER_OWNER)
        assert answer.status == 404
    assert call("sso", "GET", "/v1/sso", context=OTHER_OWNER).body["items"] == []
    assert verify(path.rpartition("/")[2], practice=OTHER_PRACTICE).status == 404


def test_providers_are_listed_by_pages(pool: Pool) -> None:
    ids = [made(pool, OIDC | {"domains": [f"d{n}.example"]})["id"] for n in range(3)]
    first = call("sso", "GET", "/v1/sso", context=OWNER, query="limit=2").body
    query = f"limit=2&cursor={first['next_cursor']}"
    second = call("sso", "GET", "/v1/sso", context=OWNER, query=query).body
    assert [found["id"] for found in first["items"] + second["items"]] == ids


def test_a_practice_has_five_at_most(pool: Pool) -> None:
    ids = [made(pool, OIDC | {"domains": [f"d{n}.example"]})["id"] for n in range(5)]
    assert create(OIDC | {"domains": ["d6.example"]}).status == 409
    pool.lists()
    pool.deletes_provider()
    assert call("sso", "DELETE", f"/v1/sso/{ids[0]}", context=OWNER).status == 204
    made(pool, OIDC | {"domains": ["d6.example"]})


def test_a_domain_is_one_providers_across_practices(pool: Pool, tables: Any) -> None:
    first = made(pool)["id"]
    body = OIDC | {"domains": ["more.example", "CLINIC.example"]}
    own = create(body)
    assert (own.status, own.body["existing_id"]) == (409, first)
    assert own.body["errors"][0]["path"] == "body.domains.1"
    foreign = create(body, context=OTHER_OWNER)
    assert (foreign.status, foreign.body["existing_id"]) == (409, None)
    # Nothing of the refused requests was written.
    assert {r.get("provider") for r in rows(tables)} == {None, first}


def test_a_claim_that_nobody_verified_lapses(pool: Pool, environment: pytest.MonkeyPatch) -> None:
    squatter = made(pool)["id"]
    later = now() + sso.CLAIM_LIFETIME + timedelta(seconds=2)
    environment.setattr(sso, "now", lambda: later)
    owner = made(pool, context=OTHER_OWNER)["id"]
    assert verify(squatter).status == 409
    assert verify(owner, practice=OTHER_PRACTICE).status == 200
    # Removing the first provider does not take the domain from the second.
    pool.lists()
    pool.deletes_provider()
    assert call("sso", "DELETE", f"/v1/sso/{squatter}", context=OWNER).status == 204
    assert start().body["authorize_url"]


def test_a_verified_domain_never_lapses(pool: Pool, environment: pytest.MonkeyPatch) -> None:
    active(pool)
    later = now() + 10 * sso.CLAIM_LIFETIME
    environment.setattr(sso, "now", lambda: later)
    assert create(context=OTHER_OWNER).status == 409


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (OIDC, "body.issuer"),
        (SAML, "body.metadata_url"),
        ({**SAML, "metadata_url": None, "metadata_xml": "<x/>"}, "body.metadata_xml"),
    ],
)
def test_settings_that_the_user_pool_refuses_leave_nothing(
    pool: Pool, tables: Any, body: dict[str, Any], path: str
) -> None:
    pool.refuses_provider("InvalidParameterException")
    answer = create(body, key="once")
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, path)
    assert nothing_is_left(tables)
    # The same request again is a new one, key or not.
    pool.makes_provider()
    pool.makes_client()
    assert create(body, key="once").status == 201


def test_the_same_key_makes_one_provider(pool: Pool) -> None:
    pool.makes_provider()
    pool.makes_client()
    first = create(key="once")
    assert create(key="once").body == first.body
    other = create(OIDC | {"name": "Other"}, key="once")
    assert (other.status, other.body["errors"][0]["path"]) == (422, "header.Idempotency-Key")


# crashes


def test_a_crash_after_the_row_is_finished_by_the_same_request(pool: Pool, tables: Any) -> None:
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.crash_after)
        with pytest.raises(Crash):
            create(key="once")
    [listed] = call("sso", "GET", "/v1/sso", context=OWNER).body["items"]
    assert listed["state"] == "creating"
    assert verify(listed["id"]).body["state"] == "creating"
    assert start().body == {"authorize_url": None}
    pool.makes_provider()
    pool.lists()
    pool.makes_client()
    finished = create(key="once")
    assert (finished.status, finished.body["id"]) == (201, listed["id"])
    assert finished.body["state"] == "active"


def test_a_crash_after_the_user_pools_part_finds_it_again(pool: Pool, tables: Any) -> None:
    pool.makes_provider()
    pool.makes_client("client-lost")
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(lambda: None), faults.crash_before)
        with pytest.raises(Crash):
            create(key="once")
    [listed] = call("sso", "GET", "/v1/sso", context=OWNER).body["items"]
    assert listed["state"] == "creating"
    pool.refuses_provider("DuplicateProviderException")
    pool.updates_provider()
    pool.lists(("client-1", "web"), more="page-2")
    pool.lists(("client-lost", provider_of(listed["id"])))
    assert create(key="once").body["state"] == "pending"
    stored = table.get(sso.SsoItem, Tenant(PRACTICE).item("SSO", listed["id"]))
    assert stored is not None
    assert stored.client_id == "client-lost"


def test_a_user_pool_that_is_busy_leaves_a_row_that_can_be_finished_or_removed(
    pool: Pool, tables: Any
) -> None:
    pool.refuses_provider("TooManyRequestsException")
    assert create(key="once").status == 429
    [listed] = call("sso", "GET", "/v1/sso", context=OWNER).body["items"]
    path = f"/v1/sso/{listed['id']}"
    assert call("sso", "PATCH", path, {"name": "x"}, context=OWNER).status == 409
    pool.lists()
    pool.deletes_provider(error=GONE)
    assert call("sso", "DELETE", path, context=OWNER).status == 204
    assert nothing_is_left(tables)


def test_two_who_finish_at_once_leave_one_client(pool: Pool, tables: Any) -> None:
    tenant = Tenant(PRACTICE)

    def other_finishes() -> None:
        [item] = call("sso", "GET", "/v1/sso", context=OWNER).body["items"]
        key = tenant.item("SSO", item["id"])
        change = {"state": "ready", "client_id": "client-first"}
        table.transact([table.update(key, set_=change, add={"version": 1})])

    pool.makes_provider()
    pool.makes_client("client-second")
    pool.deletes_client("client-second")
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems", faults.meanwhile(lambda: None), faults.meanwhile(other_finishes)
        )
        answer = create()
    assert (answer.status, answer.body["state"]) == (201, "pending")


def test_a_removal_while_it_is_made_leaves_nothing(pool: Pool, tables: Any) -> None:
    def somebody_removes() -> None:
        [item] = call("sso", "GET", "/v1/sso", context=OWNER).body["items"]
        answer = call("sso", "DELETE", f"/v1/sso/{item['id']}", context=OWNER)
        assert answer.status == 204

    pool.makes_provider()
    pool.makes_client("client-late")
    # The removal's own calls, then those of who comes too late.
    pool.lists()
    pool.deletes_provider()
    pool.lists()
    pool.deletes_provider(error=GONE)
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems", faults.meanwhile(lambda: None), faults.meanwhile(somebody_removes)
        )
        assert create().status == 404
    assert nothing_is_left(tables)


def test_removing_cleans_the_user_pool_and_the_table(pool: Pool, tables: Any) -> None:
    sso_id = active(pool)["id"]
    pool.lists(("client-1", "web"), ("client-sso", provider_of(sso_id)))
    pool.deletes_client("client-sso")
    pool.deletes_provider()
    assert call("sso", "DELETE", f"/v1/sso/{sso_id}", context=OWNER).status == 204
    assert pool.asked[-1] == (
        "DeleteIdentityProvider",
        {"UserPoolId": POOL, "ProviderName": provider_of(sso_id)},
    )
    assert nothing_is_left(tables)
    assert call("sso", "DELETE", f"/v1/sso/{sso_id}", context=OWNER).status == 404
    # The domain is free again.
    made(pool, context=OTHER_OWNER)


@pytest.mark.parametrize("crash_in", ["first", "last"])
def test_a_removal_that_crashed_signs_nobody_in_and_is_finished_by_another(
    pool: Pool, tables: Any, crash_in: str
) -> None:
    sso_id = active(pool)["id"]
    path = f"/v1/sso/{sso_id}"
    with Faults(tables) as faults:
        if crash_in == "first":
            faults.next("TransactWriteItems", faults.crash_after)
        else:
            pool.lists(("client-sso", provider_of(sso_id)))
            pool.deletes_client("client-sso")
            pool.deletes_provider()
            faults.next("TransactWriteItems", faults.meanwhile(lambda: None), faults.crash_before)
        with pytest.raises(Crash):
            call("sso", "DELETE", path, context=OWNER)
    assert call("sso", "GET", path, context=OWNER).body["state"] == "deleting"
    assert start().body == {"authorize_url": None}
    assert verify(sso_id).body["state"] == "deleting"
    assert call("sso", "PATCH", path, {"enabled": True}, context=OWNER).status == 409
    pool.lists(("client-sso", provider_of(sso_id)))
    pool.deletes_client("client-sso", error=GONE if crash_in == "last" else "")
    pool.deletes_provider(error=GONE if crash_in == "last" else "")
    assert call("sso", "DELETE", path, context=OWNER).status == 204
    assert nothing_is_left(tables)


# changes and verification


def test_changing_the_domains_keeps_what_was_verified(pool: Pool) -> None:
    found = active(pool)
    path = f"/v1/sso/{found['id']}"
    body = {"domains": ["clinic.example", "new.example"], "name": "Renamed"}
    headers = {"If-Match": f'"{found["version"]}"'}
    changed = call("sso", "PATCH", path, body, context=OWNER, headers=headers)
    assert (changed.status, changed.body["name"]) == (200, "Renamed")
    assert [bool(entry["verified_at"]) for entry in changed.body["domains"]] == [True, False]
    assert start("ana@clinic.example").body["authorize_url"]
    assert start("ana@new.example").body == {"authorize_url": None}
    stale = call("sso", "PATCH", path, body, context=OWNER, headers=headers)
    assert stale.status == 412
    # What is given up is free, and must be verified again where it comes back.
    for domains in (["new.example"], ["new.example", "clinic.example"]):
        changed = call("sso", "PATCH", path, {"domains": domains}, context=OWNER)
    assert [entry["verified_at"] for entry in changed.body["domains"]] == [None, None]
    assert changed.body["state"] == "pending"
    assert start().body == {"authorize_url": None}


def test_a_change_that_loses_a_race_is_409_and_writes_nothing(pool: Pool, tables: Any) -> None:
    sso_id = active(pool)["id"]
    key = Tenant(PRACTICE).item("SSO", sso_id)

    def race() -> None:
        table.transact([table.update(key, add={"version": 1})])

    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(race))
        body = {"domains": ["new.example"]}
        assert call("sso", "PATCH", f"/v1/sso/{sso_id}", body, context=OWNER).status == 409
    assert table.get_raw(keys.email_domain("new.example")) is None
    assert start().body["authorize_url"]


def test_only_the_platforms_operators_verify(pool: Pool) -> None:
    sso_id = made(pool)["id"]
    body = {"practice_id": PRACTICE, "domains": ["clinic.example"]}
    answer = call("sso", "POST", f"/v1/sso/{sso_id}/verify", body, context=OWNER)
    assert answer.status == 403
    assert start().body == {"authorize_url": None}


def test_an_operator_verifies_what_they_looked_at_and_nothing_else(pool: Pool) -> None:
    sso_id = made(pool, OIDC | {"domains": ["clinic.example", "other.example"]})["id"]
    unknown = verify(sso_id, ["third.example"])
    assert (unknown.status, unknown.body["errors"][0]["path"]) == (422, "body.domains.0")
    first = verify(sso_id)
    assert [bool(entry["verified_at"]) for entry in first.body["domains"]] == [True, False]
    # Again: nothing changes.
    assert verify(sso_id).body == first.body
    assert start("a@other.example").body == {"authorize_url": None}


# signing in


@dataclass
class Begun:
    """A sign-in that was begun: what the browser has."""

    query: dict[str, str]
    cookie: str

    @property
    def state(self) -> str:
        return self.query["state"]


def begin(email: str = "ana@clinic.example") -> Begun:
    answer = start(email)
    url = urlsplit(answer.body["authorize_url"])
    [cookie] = answer.cookies
    query = {name: value[0] for name, value in parse_qs(url.query).items()}
    return Begun(query, cookie.partition(";")[0])


def come_back(state: str, cookie: str, code: str = "code-1", query: str = "") -> Answer:
    found = query or f"code={code}&state={state}"
    cookies = [cookie] if cookie else []
    return call("sso", "GET", "/v1/auth/sso/callback", query=found, cookies=cookies)


def error_of(answer: Answer) -> str:
    assert answer.status == 303
    where = urlsplit(answer.headers["Location"])
    assert f"{where.scheme}://{where.netloc}" == "https://app.example"
    # Whoever is refused gets no session's cookie.
    assert not any(cookie.startswith("consulta_refresh=") for cookie in answer.cookies)
    return parse_qs(where.query)["sso_error"][0]


def test_the_browser_is_sent_to_the_user_pool(pool: Pool, endpoint: Endpoint) -> None:
    sso_id = active(pool)["id"]
    answer = start("ANA@Clinic.example")
    assert answer.body["authorize_url"].startswith(f"{endpoint.base}/oauth2/authorize?")
    query = begin().query
    for name in ("state", "code_challenge"):
        assert len(query.pop(name)) >= 43
    assert query == {
        "response_type": "code",
        "identity_provider": provider_of(sso_id),
        "client_id": "client-sso",
        "redirect_uri": CALLBACK,
        "scope": "openid email",
        "code_challenge_method": "S256",
    }


@pytest.mark.parametrize("email", ["ana@other.example", "ana@sub.clinic.example", "a@gmail.com"])
def test_an_address_without_a_provider_gets_a_neutral_answer(
    pool: Pool, tables: Any, email: str
) -> None:
    active(pool)
    before = len(rows(tables))
    answer = start(email)
    assert (answer.status, answer.body, answer.cookies) == (200, {"authorize_url": None}, [])
    assert len(rows(tables)) == before


def test_whom_the_provider_names_is_signed_in(pool: Pool, endpoint: Endpoint, tables: Any) -> None:
    active(pool)
    begun = begin()
    answer = come_back(begun.state, begun.cookie)
    assert (answer.status, answer.headers["Location"]) == (303, "https://app.example/")
    assert answer.headers["Cache-Control"] == "no-store"
    dropped, kept = sorted(answer.cookies, reverse=True)
    assert dropped.startswith("consulta_sso=;")
    assert "Max-Age=0" in dropped
    assert kept.startswith("consulta_refresh=")
    assert "refresh-1" in kept
    assert {"HttpOnly", "Secure", "SameSite=Strict"} <= set(kept.split("; "))
    [form] = endpoint.forms
    assert form["path"] == "/oauth2/token"
    assert (form["grant_type"], form["code"]) == ("authorization_code", "code-1")
    assert (form["client_id"], form["redirect_uri"]) == ("client-sso", CALLBACK)
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert challenge == begun.query["code_challenge"]
    [session] = [row for row in rows(tables) if row["entity"] == "SESSION"]
    assert (session["person"], session["client_id"]) == ("person-9", "client-sso")
    assert (session["mfa"], session["mfa_practice"]) == (False, PRACTICE)
    assert (session["address"], session["user_agent"]) == ("127.0.0.1", "test")


def test_a_state_works_once(pool: Pool, endpoint: Endpoint) -> None:
    active(pool)
    begun = begin()
    assert come_back(begun.state, begun.cookie).headers["Location"] == "https://app.example/"
    assert error_of(come_back(begun.state, begun.cookie, "code-2")) == "expired"
    assert len(endpoint.forms) == 1


def test_of_two_at_once_one_is_signed_in(pool: Pool, tables: Any, endpoint: Endpoint) -> None:
    active(pool)
    begun = begin()
    with Faults(tables) as faults:
        # The other has read the row before us and uses it up just before we do.
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: come_back(begun.state, begun.cookie)),
        )
        assert error_of(come_back(begun.state, begun.cookie)) == "expired"
    assert len(endpoint.forms) == 1


@pytest.mark.parametrize("cookie", ["", "consulta_sso=", "consulta_sso=of-another-browser"])
def test_another_browser_cannot_finish_it(pool: Pool, endpoint: Endpoint, cookie: str) -> None:
    active(pool)
    begun = begin()
    assert error_of(come_back(begun.state, cookie)) == "expired"
    assert endpoint.forms == []
    # And has not spoilt it for the one that began.
    assert come_back(begun.state, begun.cookie).headers["Location"] == "https://app.example/"


def test_a_state_ends_after_ten_minutes(pool: Pool, environment: pytest.MonkeyPatch) -> None:
    active(pool)
    begun = begin()
    # The row is still there: TTL only tidies.
    later = now() + timedelta(minutes=10, seconds=1)
    environment.setattr(sso_sign_in, "now", lambda: later)
    assert error_of(come_back(begun.state, begun.cookie)) == "expired"


def test_states_are_tidied_and_hold_nothing_that_tells_who(pool: Pool, tables: Any) -> None:
    active(pool)
    begun = begin()
    [row] = [row for row in rows(tables) if row["entity"] == "SSO_STATE"]
    assert 0 < row["expires_at"] - to_epoch(now()) <= 600
    text = json.dumps(row, default=str)
    for secret in (begun.state, begun.cookie.partition("=")[2], "ana@", "clinic.example"):
        assert secret not in text


@pytest.mark.parametrize("query", ["", "state=unknown&code=x", "code=x", f"state={'x' * 400}"])
def test_a_state_that_we_did_not_give_is_refused(
    pool: Pool, endpoint: Endpoint, query: str
) -> None:
    answer = come_back("", "consulta_sso=x", query=query or "a=b")
    assert error_of(answer) == "expired"
    assert endpoint.forms == []


def test_a_refusal_at_the_provider_goes_back_to_the_app(pool: Pool, endpoint: Endpoint) -> None:
    active(pool)
    begun = begin()
    query = f"error=access_denied&error_description=Ana+may+not&state={begun.state}"
    answer = come_back("", begun.cookie, query=query)
    assert error_of(answer) == "refused"
    assert "Ana" not in answer.headers["Location"]
    assert endpoint.forms == []


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "eve@other.example"},
        {"email": "eve@sub.clinic.example"},
        {"email": "ana@clinic.example@evil.example"},
        {"email": "clinic.example"},
        {"email": None},
        {"email": 7},
        {"email": ""},
        {"aud": "client-1"},
        {"aud": None},
    ],
)
def test_a_provider_speaks_for_its_verified_domains_only(
    pool: Pool, tables: Any, endpoint: Endpoint, claims: dict[str, Any]
) -> None:
    active(pool)
    begun = begin()
    endpoint.claims = claims
    assert error_of(come_back(begun.state, begun.cookie)) == "not_allowed"
    assert not [row for row in rows(tables) if row["entity"] == "SESSION"]


def test_the_audit_is_told_of_whom_a_provider_may_not_name(
    pool: Pool, endpoint: Endpoint, environment: pytest.MonkeyPatch
) -> None:
    sqs = aws.client("sqs")
    queue = sqs.create_queue(QueueName="audit")["QueueUrl"]
    environment.setenv("AUDIT_QUEUE_URL", queue)
    settings.reset()
    sso_id = active(pool)["id"]
    begun = begin()
    endpoint.claims = {"email": "eve@other.example"}
    assert error_of(come_back(begun.state, begun.cookie)) == "not_allowed"
    [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
    told = json.loads(message["Body"])
    assert (told["event"], told["practice"], told["by"]) == ("denied", PRACTICE, "person-9")
    assert told["facts"]["provider"] == sso_id
    assert "other.example" not in message["Body"]


def test_a_provider_does_not_speak_for_another_practices_domain(
    pool: Pool, endpoint: Endpoint
) -> None:
    active(pool)
    other = made(pool, OIDC | {"domains": ["other.example"]}, context=OTHER_OWNER)["id"]
    assert verify(other, ["other.example"], OTHER_PRACTICE).status == 200
    begun = begin()
    endpoint.claims = {"email": "olga@other.example"}
    assert error_of(come_back(begun.state, begun.cookie)) == "not_allowed"


def test_a_domain_of_its_own_that_is_not_verified_does_not_count(
    pool: Pool, endpoint: Endpoint
) -> None:
    sso_id = made(pool, OIDC | {"domains": ["clinic.example", "two.example"]})["id"]
    verify(sso_id)
    begun = begin()
    endpoint.claims = {"email": "ana@two.example"}
    assert error_of(come_back(begun.state, begun.cookie)) == "not_allowed"


def test_a_provider_that_was_switched_off_meanwhile_signs_nobody_in(
    pool: Pool, endpoint: Endpoint
) -> None:
    sso_id = active(pool)["id"]
    begun = begin()
    body = {"enabled": False}
    assert call("sso", "PATCH", f"/v1/sso/{sso_id}", body, context=OWNER).status == 200
    assert start().body == {"authorize_url": None}
    assert error_of(come_back(begun.state, begun.cookie)) == "not_allowed"
    assert endpoint.forms == []


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (400, {"error": "invalid_grant"}, "refused"),
        (500, {"error": "x"}, "unavailable"),
        (302, {"error": "x"}, "unavailable"),
        (200, {"access_token": "a"}, "unavailable"),
        (200, ["x"], "unavailable"),
        (
            200,
            {"access_token": "a", "id_token": "a", "refresh_token": "r", "expires_in": 9},
            "unavailable",
        ),
    ],
)
def test_a_token_endpoint_that_gives_none(
    pool: Pool, endpoint: Endpoint, status: int, answer: Any, reason: str
) -> None:
    active(pool)
    begun = begin()
    endpoint.status, endpoint.answer = status, answer
    assert error_of(come_back(begun.state, begun.cookie)) == reason
    # A code is never sent twice.
    assert len(endpoint.forms) == 1


def test_a_token_endpoint_that_is_not_there(pool: Pool, environment: pytest.MonkeyPatch) -> None:
    active(pool)
    begun = begin()
    environment.setenv("SSO_BASE", "http://127.0.0.1:9")
    settings.reset()
    assert error_of(come_back(begun.state, begun.cookie)) == "unavailable"


# a member with a password account


NATIVE = {"Username": "native-1", "UserStatus": "CONFIRMED", "Enabled": True} | {
    "UserAttributes": [
        {"Name": "sub", "Value": "person-ana"},
        {"Name": "email", "Value": "ana@clinic.example"},
        {"Name": "email_verified", "Value": "true"},
    ]
}


def fresh(sso_id: str) -> dict[str, Any]:
    """What Cognito made of Ana when she came by the provider."""
    identities = [{"userId": "u-1", "providerName": provider_of(sso_id), "primary": True}]
    return {
        "Username": "made-by-the-pool",
        "UserStatus": "EXTERNAL_PROVIDER",
        "Enabled": True,
        "UserAttributes": [
            {"Name": "sub", "Value": "person-9"},
            {"Name": "identities", "Value": json.dumps(identities)},
        ],
    }


def join(practice: str = PRACTICE, email: str = "ana@clinic.example") -> None:
    """Ana is a member there, by her password account."""
    _, actions = members.joining(
        Tenant(practice),
        Actor("person-1", "request-1", "test"),
        person="person-ana",
        email=email,
        name="Ana",
        role=Role.ADMIN,
        expert=None,
        patient=None,
    )
    table.transact(actions)


def finds(pool: Pool, person: str, user: dict[str, Any]) -> None:
    asked = {"UserPoolId": POOL, "Username": person}
    pool.stubber.add_response("admin_get_user", user, asked)


def groups(pool: Pool, username: str, *names: str, more: str = "", after: str = "") -> None:
    asked: dict[str, Any] = {"UserPoolId": POOL, "Username": username, "Limit": 60}
    asked |= {"NextToken": after} if after else {}
    answer: dict[str, Any] = {"Groups": [{"GroupName": name} for name in names]}
    pool.stubber.add_response(
        "admin_list_groups_for_user", answer | ({"NextToken": more} if more else {}), asked
    )


def will_link(pool: Pool, sso_id: str) -> None:
    """All that is asked before anything is changed, then the deletion."""
    finds(pool, "person-ana", NATIVE)
    finds(pool, "person-9", fresh(sso_id))
    groups(pool, "native-1", "staff")
    groups(pool, "made-by-the-pool", "provider")
    asked = {"UserPoolId": POOL, "Username": "made-by-the-pool"}
    pool.stubber.add_response("admin_delete_user", {}, asked)


def links(pool: Pool, sso_id: str) -> None:
    will_link(pool, sso_id)
    asked = {
        "UserPoolId": POOL,
        "DestinationUser": {"ProviderName": "Cognito", "ProviderAttributeValue": "native-1"},
        "SourceUser": {
            "ProviderName": provider_of(sso_id),
            "ProviderAttributeName": "Cognito_Subject",
            "ProviderAttributeValue": "u-1",
        },
    }
    pool.stubber.add_response("admin_link_provider_for_user", {}, asked)


def once_more(answer: Answer, endpoint: Endpoint) -> Begun:
    """The browser is on its way to the user pool again, and nobody is signed in."""
    where = answer.headers["Location"]
    assert (answer.status, where.startswith(f"{endpoint.base}/oauth2/authorize?")) == (303, True)
    [cookie] = answer.cookies
    assert cookie.startswith("consulta_sso=")
    query = {name: value[0] for name, value in parse_qs(urlsplit(where).query).items()}
    return Begun(query, cookie.partition(";")[0])


def is_nobody(answer: Answer, tables: Any) -> None:
    """Signed in as before: as the provider's user, linked to no account."""
    assert (answer.status, answer.headers["Location"]) == (303, "https://app.example/")
    [session] = [row for row in rows(tables) if row["entity"] == "SESSION"]
    assert session["person"] == "person-9"


def test_a_member_with_a_password_is_linked_and_comes_as_themselves(
    pool: Pool, endpoint: Endpoint, tables: Any, environment: pytest.MonkeyPatch
) -> None:
    sqs = aws.client("sqs")
    queue = sqs.create_queue(QueueName="audit")["QueueUrl"]
    environment.setenv("AUDIT_QUEUE_URL", queue)
    settings.reset()
    sso_id = active(pool)["id"]
    join()
    links(pool, sso_id)
    begun = begin()
    again = once_more(come_back(begun.state, begun.cookie), endpoint)
    assert not [row for row in rows(tables) if row["entity"] == "SESSION"]
    assert again.query["identity_provider"] == provider_of(sso_id)
    assert begun.state != again.state
    [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
    told = json.loads(message["Body"])
    assert (told["event"], told["practice"], told["by"]) == ("sso_linked", PRACTICE, "person-ana")
    assert told["facts"]["provider"] == sso_id
    assert "clinic.example" not in message["Body"]
    endpoint.claims = {"sub": "person-ana"}
    answer = come_back(again.state, again.cookie, "code-2")
    assert answer.headers["Location"] == "https://app.example/"
    [session] = [row for row in rows(tables) if row["entity"] == "SESSION"]
    assert session["person"] == "person-ana"


def test_the_browser_goes_round_once_at_most(pool: Pool, endpoint: Endpoint) -> None:
    sso_id = active(pool)["id"]
    join()
    links(pool, sso_id)
    begun = begin()
    again = once_more(come_back(begun.state, begun.cookie), endpoint)
    assert error_of(come_back(again.state, again.cookie, "code-2")) == "not_allowed"


@pytest.mark.parametrize("code", ["LimitExceededException", "InvalidParameterException"])
def test_a_failure_between_deletion_and_link_is_made_good_by_the_next_sign_in(
    pool: Pool, endpoint: Endpoint, code: str
) -> None:
    sso_id = active(pool)["id"]
    join()
    will_link(pool, sso_id)
    pool.stubber.add_client_error("admin_link_provider_for_user", code)
    begun = begin()
    assert error_of(come_back(begun.state, begun.cookie)) == "unavailable"
    links(pool, sso_id)
    begun = begin()
    once_more(come_back(begun.state, begun.cookie), endpoint)


@pytest.mark.parametrize(
    "other",
    [
        {"UserStatus": "EXTERNAL_PROVIDER"},
        {"UserStatus": "UNCONFIRMED"},
        {"Enabled": False},
        {"UserAttributes": [{"Name": "sub", "Value": "person-ana"}]},
        {"UserAttributes": [*NATIVE["UserAttributes"][1:], {"Name": "sub", "Value": "person-x"}]},
    ],
)
def test_an_account_that_is_not_their_own_by_password_is_not_linked(
    pool: Pool, tables: Any, other: dict[str, Any]
) -> None:
    active(pool)
    join()
    finds(pool, "person-ana", NATIVE | other)
    begun = begin()
    is_nobody(come_back(begun.state, begun.cookie), tables)


@pytest.mark.parametrize("kind", ["native", "another provider's"])
def test_only_the_providers_own_user_is_ever_deleted(pool: Pool, tables: Any, kind: str) -> None:
    sso_id = active(pool)["id"]
    join()
    finds(pool, "person-ana", NATIVE)
    came = fresh("sso_other") if kind != "native" else fresh(sso_id) | {"UserStatus": "CONFIRMED"}
    finds(pool, "person-9", came)
    begun = begin()
    is_nobody(come_back(begun.state, begun.cookie), tables)


@pytest.mark.parametrize("who", ["member", "who came"])
def test_an_operator_is_never_linked(pool: Pool, tables: Any, who: str) -> None:
    sso_id = active(pool)["id"]
    join()
    finds(pool, "person-ana", NATIVE)
    finds(pool, "person-9", fresh(sso_id))
    if who == "member":
        groups(pool, "native-1", "staff", more="page-2")
        groups(pool, "native-1", "operator", after="page-2")
        groups(pool, "made-by-the-pool")
    else:
        groups(pool, "native-1")
        groups(pool, "made-by-the-pool", "operator")
    begun = begin()
    is_nobody(come_back(begun.state, begun.cookie), tables)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_who_came_and_is_somebody_already_is_not_linked(
    pool: Pool, tables: Any, where: str
) -> None:
    active(pool)
    join()
    practice = PRACTICE if where == "here" else OTHER_PRACTICE
    table.transact([memberships.put("person-9", Membership(practice, Role.VIEWER, "mem_9", ""))])
    begun = begin()
    is_nobody(come_back(begun.state, begun.cookie), tables)


@pytest.mark.parametrize("case", ["deactivated", "address", "practice", "two practices"])
def test_whom_the_practice_does_not_have_alone_is_not_linked(
    pool: Pool, tables: Any, case: str
) -> None:
    active(pool)
    join(
        OTHER_PRACTICE if case == "practice" else PRACTICE,
        "anna@clinic.example" if case == "address" else "ana@clinic.example",
    )
    if case == "two practices":
        join(OTHER_PRACTICE)
    if case == "deactivated":
        change = {"deactivated_at": "2026-11-21T00:00:00Z"}
        table.transact([memberships.change("person-ana", PRACTICE, set_=change)])
    begun = begin()
    is_nobody(come_back(begun.state, begun.cookie), tables)


def test_what_is_logged_names_nobody(
    pool: Pool, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    active(pool)
    begun = begin()
    endpoint.status = 500
    come_back(begun.state, begun.cookie, "code-that-is-secret")
    text = logged(caplog)
    assert "no tokens" in text
    for secret in ("code-that-is-secret", begun.state, "clinic.example", "ana@"):
        assert secret not in text
