"""Who may do what, on the deployed system: invited, with a second factor, by key, and recorded."""

import base64
import hashlib
import hmac
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from consulta.audit import sealing
from consulta.core import aws, settings
from consulta_cli.stack import AUDIT_OUTPUTS
from local.seed import OPERATOR, OWNER, PASSWORD, Caller, invitation_token, let_in, sign_in, until

ROOT = Path(__file__).resolve().parents[2]
STACK_FILE = ROOT / ".local" / "e2e" / "stack.json"
EVERYWHERE_S = 60
Stack = dict[str, Any]
People = dict[str, Caller]


def answer(stack: Stack, method: str, path: str, **request: Any) -> httpx.Response:
    return httpx.request(method, f"{stack['api_url']}{path}", timeout=30, **request)


def bearer(token: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **headers}


def one_time_code(secret: str, at: float | None = None) -> str:
    """RFC 6238, as an authenticator app computes it."""
    counter = int((time.time() if at is None else at) // 30)
    digest = hmac.digest(base64.b32decode(secret), struct.pack(">Q", counter), hashlib.sha1)
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def invite(stack: Stack, inviter: Caller, email: str, role: str) -> Caller:
    """Invited by mail, accepted by its link, which works once; signed in."""
    let_in(inviter, {"email": email, "name": "Nadia Ferrer", "role": role})
    used = {"token": invitation_token(inviter, email), "password": PASSWORD}
    assert answer(stack, "POST", "/v1/invitations/accept", json=used).status_code == 404
    return sign_in(stack["api_url"], email)


@pytest.fixture(scope="module")
def clerk(stack: Stack, people: People) -> Caller:
    """Somebody of billing, who came by invitation."""
    return invite(stack, people["admin"], "nadia@aurora.example", "billing")


def test_who_was_invited_has_the_role_and_nothing_more(clerk: Caller) -> None:
    assert clerk.get("/v1/me")["role"] == "billing"
    assert clerk.get("/v1/payments")["items"]
    clerk.call("GET", "/v1/patients", 403)
    clerk.post("/v1/invitations", {"email": "x@example.com", "name": "X", "role": "admin"}, 403)


def test_a_token_of_no_invitation_lets_nobody_in(stack: Stack) -> None:
    body = {"token": "A" * 43, "password": PASSWORD}
    assert answer(stack, "POST", "/v1/invitations/accept", json=body).status_code == 404


def test_a_second_factor(stack: Stack, people: People) -> None:
    email = "mfa@aurora.example"
    person = invite(stack, people["admin"], email, "viewer")
    secret = person.post("/v1/me/mfa", {})["secret"]
    person.post("/v1/me/mfa/confirm", {"code": "000000"}, expect=422)
    person.post("/v1/me/mfa/confirm", {"code": one_time_code(secret)}, expect=204)
    body = {"email": email, "password": PASSWORD}
    asked = answer(stack, "POST", "/v1/auth/login", json=body).json()
    assert asked["challenge"] == "mfa_required"
    wrong = {"email": email, "session": asked["session"], "code": "000000"}
    assert answer(stack, "POST", "/v1/auth/challenge", json=wrong).status_code == 401
    asked = answer(stack, "POST", "/v1/auth/login", json=body).json()
    right = {"email": email, "session": asked["session"], "code": one_time_code(secret)}
    entered = answer(stack, "POST", "/v1/auth/challenge", json=right)
    assert entered.status_code == 200, entered.text
    token = entered.json()["access_token"]
    me = answer(stack, "GET", "/v1/me", headers=bearer(token)).json()
    assert (me["mfa_enabled"], me["role"]) == (True, "viewer")


def test_a_practice_may_ask_for_a_second_factor(stack: Stack) -> None:
    """In a practice of its own, since it shuts out everybody who has none."""
    owner = sign_in(stack["api_url"], OWNER)
    operator = sign_in(stack["api_url"], OPERATOR)
    made = operator.post(
        "/v1/practices",
        {
            "name": "Clínica Boreal",
            "zone": "America/Mexico_City",
            "currency": "MXN",
            "country": "MX",
            "commission_percent": "10",
            "owner": {"email": OWNER, "name": "Beatriz Lima"},
        },
    )
    here = {"Consulta-Practice": made["id"]}

    def member_of_both() -> bool:
        return len(owner.get("/v1/me")["memberships"]) == 2

    until(member_of_both, EVERYWHERE_S + 10)
    # In two practices, a request says which one it is about.
    assert answer(stack, "GET", "/v1/members", headers=bearer(owner.token)).status_code == 422
    members = answer(stack, "GET", "/v1/members", headers=bearer(owner.token, **here))
    assert [member["role"] for member in members.json()["items"]] == ["owner"]
    changed = answer(
        stack,
        "PATCH",
        f"/v1/practices/{made['id']}",
        json={"security": {"mfa_required": True}},
        headers=bearer(owner.token, **here),
    )
    assert changed.status_code == 200, changed.text

    def shut_out() -> bool:
        refused = answer(stack, "GET", "/v1/members", headers=bearer(owner.token, **here))
        return bool(refused.json().get("type") == "urn:consulta:problem:mfa-required")

    until(shut_out, EVERYWHERE_S + 10)


def test_a_refresh_token_that_was_used_ends_its_family(stack: Stack, clerk: Caller) -> None:
    assert clerk.token
    body = {"email": "nadia@aurora.example", "password": PASSWORD}
    first = answer(stack, "POST", "/v1/auth/login", json=body)
    stolen = first.cookies["consulta_refresh"]
    csrf = {"Consulta-CSRF": "1"}

    def refreshed(cookie: str) -> httpx.Response:
        headers = {**csrf, "Cookie": f"consulta_refresh={cookie}"}
        return answer(stack, "POST", "/v1/auth/refresh", headers=headers)

    second = refreshed(stolen)
    assert second.status_code == 200
    newest = second.cookies["consulta_refresh"]
    assert newest != stolen
    time.sleep(11)  # past the grace that two tabs at once are given
    assert refreshed(stolen).status_code == 401
    assert refreshed(newest).status_code == 401
    token = second.json()["access_token"]

    def ended() -> bool:
        return answer(stack, "GET", "/v1/me", headers=bearer(token)).status_code == 401

    until(ended, EVERYWHERE_S + 10)


def test_a_key_is_scoped_rotated_and_revoked(stack: Stack, clerk: Caller) -> None:
    asked = {"name": "Bookkeeping", "permissions": ["payments:read", "payments:all"]}
    made = clerk.post("/v1/api-keys", asked)
    key = made["key"]
    assert key.startswith("ck_")
    assert "key" not in clerk.get(f"/v1/api-keys/{made['id']}")
    assert answer(stack, "GET", "/v1/payments", headers=bearer(key)).status_code == 200
    assert answer(stack, "GET", "/v1/appointments", headers=bearer(key)).status_code == 403
    assert answer(stack, "GET", "/v1/api-keys", headers=bearer(key)).status_code == 403
    last = "a" if key[-1] != "a" else "b"
    assert answer(stack, "GET", "/v1/payments", headers=bearer(key[:-1] + last)).status_code == 401
    too_much = {"name": "Too much", "permissions": ["patients:read"]}
    assert clerk.post("/v1/api-keys", too_much, expect=422)["errors"]

    rotated = clerk.post(f"/v1/api-keys/{made['id']}/rotate", {"overlap_hours": 1})
    for either in (key, rotated["key"]):
        assert answer(stack, "GET", "/v1/payments", headers=bearer(either)).status_code == 200
    used = until(lambda: clerk.get(f"/v1/api-keys/{made['id']}")["last_used_at"])
    assert used
    clerk.call("DELETE", f"/v1/api-keys/{made['id']}", 204)

    def refused() -> bool:
        return answer(stack, "GET", "/v1/payments", headers=bearer(key)).status_code == 401

    until(refused, EVERYWHERE_S + 10)
    other = answer(stack, "GET", "/v1/payments", headers=bearer(rotated["key"]))
    assert other.status_code == 200
    rows = clerk.get("/v1/usage", group_by="key")["items"]
    assert rows


def test_whoever_asks_too_often_is_told_when_to_come_back(stack: Stack, people: People) -> None:
    eager = invite(stack, people["admin"], "eager@aurora.example", "viewer")
    headers = bearer(eager.token)
    first = answer(stack, "GET", "/v1/services", headers=headers)
    limit = int(first.headers["RateLimit-Limit"])
    assert int(first.headers["RateLimit-Remaining"]) < limit
    with httpx.Client(base_url=stack["api_url"], headers=headers, timeout=30) as http:
        for _ in range(3 * limit):
            last = http.get("/v1/services")
            if last.status_code != 200:
                break
    assert last.status_code == 429
    assert last.json()["type"] == "urn:consulta:problem:too-many-requests"
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    assert last.headers["RateLimit-Remaining"] == "0"
    # Nobody else is the slower for it.
    assert people["admin"].get("/v1/services")


def test_a_browser_may_call_from_the_allowed_origin_only(stack: Stack) -> None:
    allowed, other = "http://localhost:5173", "http://localhost:5174"

    def headers(method: str, origin: str) -> httpx.Headers:
        asked = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
        return answer(stack, method, "/v1/me", headers=asked).headers

    for method in ("OPTIONS", "GET"):
        given = headers(method, allowed)
        assert given["Access-Control-Allow-Origin"] == allowed
        assert given["Access-Control-Allow-Credentials"] == "true"
        assert "Access-Control-Allow-Origin" not in headers(method, other)
    preflight = headers("OPTIONS", allowed)
    assert "PATCH" in preflight["Access-Control-Allow-Methods"]
    assert "consulta-csrf" in preflight["Access-Control-Allow-Headers"]


def test_every_answer_is_hardened(stack: Stack) -> None:
    for path in ("/v1/me", "/v1/openapi.json"):
        headers = answer(stack, "GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "max-age=" in headers["Strict-Transport-Security"]
        assert headers["Consulta-Request-Id"]
    doubled = b'{"email": "a@example.com", "email": "b@example.com", "password": "x"}'
    json_type = {"Content-Type": "application/json"}
    refused = answer(stack, "POST", "/v1/auth/login", content=doubled, headers=json_type)
    assert refused.status_code == 400
    large = b'{"email": "' + b"a" * 300_000 + b'"}'
    refused = answer(stack, "POST", "/v1/auth/login", content=large, headers=json_type)
    assert refused.status_code == 413
    no_text = b'{"email": "\xff@example.com", "password": "x"}'
    refused = answer(stack, "POST", "/v1/auth/login", content=no_text, headers=json_type)
    assert refused.status_code == 400


def verified(*extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "consulta_cli", "audit", "verify"]
    return subprocess.run(
        [*command, "--stack-file", str(STACK_FILE), *extra],
        env={**os.environ, "PYTHONPATH": "layers/consulta:tools"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_audit_shows_what_was_changed_and_by_whom(stack: Stack, people: People) -> None:
    admin = people["admin"]
    patient = admin.post("/v1/patients", {"name": "Ana Prado", "phone": "+525512345699"})
    path = f"/v1/patients/{patient['id']}"
    admin.call("PATCH", path, 200, json={"name": "Ana Prado Vega"})

    def rows() -> list[dict[str, Any]]:
        found = admin.get("/v1/audit", entity="PATIENT", item_id=patient["id"])["items"]
        return list(found) if len(found) >= 2 else []

    newest, oldest = until(rows)[:2]
    assert (oldest["action"], newest["action"]) == ("created", "changed")
    assert "name" in newest["changed"]
    assert newest["after"]["name"] == "Ana Prado Vega"
    assert newest["before"]["name"] == "Ana Prado"
    assert newest["address"]
    people["patient"].call("GET", "/v1/audit", 403)
    denied = until(lambda: admin.get("/v1/audit", action="denied")["items"])
    assert denied


def test_an_edited_row_of_the_audit_is_named(stack: Stack) -> None:
    assert verified().returncode == 0, verified().stdout
    client = boto3.client(
        "dynamodb",
        endpoint_url=stack["api_url"],
        region_name=stack["region"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    table = stack["outputs"]["AuditTableName"]
    row = next(
        item
        for page in client.get_paginator("scan").paginate(TableName=table)
        for item in page["Items"]
        if item.get("entity", {}).get("S") == "PATIENT"
    )
    edited = {**row, "by": {"S": "somebody-else"}}
    client.put_item(TableName=table, Item=edited)
    found = verified()
    assert found.returncode == 1
    assert row["pk"]["S"] in found.stdout
    client.put_item(TableName=table, Item=row)
    assert verified().returncode == 0


@pytest.fixture
def in_two_hours(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process works on the stack's audit, and it is two hours later for the sealing."""
    for name, output in AUDIT_OUTPUTS.items():
        monkeypatch.setenv(name, stack["outputs"][output])
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "consulta")
    later = sealing.now() + 2 * sealing.HOUR
    monkeypatch.setattr(sealing, "now", lambda: later)
    aws.reset()
    settings.reset()
    yield
    aws.reset()
    settings.reset()


@pytest.mark.usefixtures("in_two_hours")
def test_a_changed_seal_of_the_audit_is_named(stack: Stack) -> None:
    """In a practice of its own, the last of this file: this hour is closed for all of them now."""
    operator = sign_in(stack["api_url"], OPERATOR)
    practice = operator.post(
        "/v1/practices",
        {
            "name": "Clínica Cordillera",
            "zone": "America/Mexico_City",
            "currency": "MXN",
            "country": "MX",
            "commission_percent": "10",
            "owner": {"email": OWNER, "name": "Beatriz Lima"},
        },
    )["id"]
    only = ("--practice", practice)
    until(lambda: verified(*only, "--grace-seconds", "0").returncode == 0)
    sealed = sealing.run()
    assert sealed.failed == 0
    assert sealed.seals >= 2
    clean = verified(*only)
    assert clean.returncode == 0, clean.stdout

    s3, bucket = aws.client("s3"), stack["outputs"]["AuditBucketName"]
    prefix = sealing.object_key(practice, "").removesuffix(".json")
    key = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"][0]["Key"]
    seal = json.load(s3.get_object(Bucket=bucket, Key=key)["Body"])
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps({**seal, "rows": 0}))
    found = verified(*only)
    assert found.returncode == 1
    assert key in found.stdout
