"""Calls a function's handler as the HTTP API does, payload format 2.0."""

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from consulta.core.identity import Membership, authorizer_context
from consulta.core.permissions import Role
from tests.permissions import under_policy

FUNCTIONS = Path(__file__).resolve().parents[3] / "functions"
PRACTICE, OTHER_PRACTICE = "prac_01JC0NS0TADEM0000000000000", "prac_01JC0NS0TADEM0000000000001"
MEMBER = "mem_01JC0NS0TADEM0000000000000"


@dataclass(frozen=True)
class Answer:
    """What came back; ``body`` is parsed."""

    status: int
    body: Any
    headers: dict[str, str]
    cookies: list[str]


@cache
def handler(function: str) -> Any:
    """The handler of functions/<function>/app.py, with its function's permissions only."""
    spec = importlib.util.spec_from_file_location(
        f"functions_{function}", FUNCTIONS / function / "app.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return under_policy(function, module.lambda_handler)


def signed_in(
    role: str = "owner", practice: str = PRACTICE, subject: str = "", person: str = "person-1"
) -> dict[str, str]:
    """An authorizer's context of a member, or of an operator."""
    if role == "operator":
        return authorizer_context(person, [], operator=True)
    return authorizer_context(
        person, [Membership(practice, Role(role), MEMBER, subject)], operator=False
    )


def event(
    method: str,
    path: str,
    body: Any = None,
    *,
    context: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    cookies: list[str] | None = None,
    query: str = "",
) -> dict[str, Any]:
    """An event; ``body`` may be text that is no JSON. No ``context`` is a request with no token."""
    found = {name.lower(): value for name, value in (headers or {}).items()}
    if body is not None:
        found.setdefault("content-type", "application/json")
    made: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": found,
        "requestContext": {
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "test",
            },
            "requestId": "request-1",
            "stage": "$default",
            "authorizer": {"lambda": context if context is not None else {"problem": "missing"}},
        },
        "isBase64Encoded": False,
    }
    if cookies:
        made["cookies"] = cookies
    if query:
        made["queryStringParameters"] = dict(part.split("=", 1) for part in query.split("&"))
    if body is not None:
        made["body"] = body if isinstance(body, str) else json.dumps(body)
    return made


def invoke(called: Any, request: dict[str, Any]) -> Answer:
    """Give an event to a handler."""
    raw = called(request, SimpleNamespace(aws_request_id="aws-1", function_name="test"))
    return Answer(
        raw["statusCode"],
        json.loads(raw["body"]) if raw.get("body") else None,
        raw.get("headers") or {},
        raw.get("cookies") or [],
    )


def call(function: str, method: str, path: str, body: Any = None, **request: Any) -> Answer:
    """Call a function; see :func:`event`."""
    return invoke(handler(function), event(method, path, body, **request))
