"""Requests as the gateway hands them to a function."""

from types import SimpleNamespace
from typing import Any

from consulta.core.identity import Membership, authorizer_context

CONTEXT = SimpleNamespace(aws_request_id="benchmark", function_name="benchmark")


def get(path: str, person: str, membership: Membership, query: str = "") -> dict[str, Any]:
    """The event of one GET of a person who is known already."""
    http = {"method": "GET", "path": path, "sourceIp": "127.0.0.1", "userAgent": "bench"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {},
        "requestContext": {
            "http": http,
            "requestId": "benchmark",
            "stage": "$default",
            "authorizer": {"lambda": authorizer_context(person, [membership], operator=False)},
        },
        "isBase64Encoded": False,
    }
