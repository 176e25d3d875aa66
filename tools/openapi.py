"""One OpenAPI 3.1 document from the routes of every API function, and who may call which.

``python tools/openapi.py`` writes functions/docs/openapi.json, which the docs function serves. It
is made at every build and never committed, so it cannot be behind the code.

``python tools/openapi.py permissions`` writes docs/permissions.md, which is committed, so that a
change of who may do what is seen in review; a test says when it is behind the code.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer

from consulta.core.errors import catalogue
from consulta.core.http import PUBLIC, SIGNED_IN, Api
from consulta.core.limits import ANONYMOUS, API_KEY, LIMITS
from consulta.core.permissions import GRANTS, Role, all_permissions
from consulta.core.strict import MAX_BODY, MAX_DEPTH

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "functions" / "docs" / "openapi.json"
MATRIX = ROOT / "docs" / "permissions.md"
# Most powerful first; what a custom role may do is the practice's own choice.
ROLES = ("owner", "admin", "expert", "billing", "viewer", "patient", "operator")
METHODS = ("get", "post", "put", "patch", "delete")
SECURITY: list[dict[str, list[str]]] = [{"token": []}]
DESCRIPTION = f"""\
The serverless back office of practices and expert marketplaces.

Sign in at `/v1/auth/login` and send the access token as `Authorization: Bearer …`. A caller in
several practices names one in the `Consulta-Practice` header. Money is integer minor units with an
ISO 4217 currency; times are RFC 3339 with an offset. Every error of ours is
`application/problem+json`. The gateway itself answers `{{"message": …}}` for a path that no
function serves (404), above its throttle (429), for a body above 10 MB (413) and where a function
timed out (503). A query has the parameters of its operation and no others, each once.

Requests a minute: {ANONYMOUS} per address where nobody is signed in; signed in, per practice,
{", ".join(f"{LIMITS[Role(role)]} for {role}" for role in (*ROLES, "custom"))}; {API_KEY} per API
key. Every answer has `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds to the
next minute), as long as requests are counted; above the limit it is 429 with `Retry-After`. Every
answer has `Consulta-Request-Id`.

A body is a JSON object in UTF-8 of at most {MAX_BODY // 1024} KB, nested at most {MAX_DEPTH} deep,
with no key twice.
"""
PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `errors` names each field that is wrong, by its path.",
    "required": ["type", "title", "status", "detail", "errors", "request_id"],
    "properties": {
        "type": {"type": "string", "enum": [f"urn:consulta:problem:{t}" for t in catalogue()]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message", "code"],
                "properties": {
                    "path": {"type": "string", "examples": ["body.price.amount"]},
                    "message": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
        "request_id": {"type": "string"},
    },
}
ERROR = {
    "description": "A problem",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
WEBHOOK = {
    "description": "For the provider only: its signature over the raw body is the authorization.",
    "tags": ["webhooks"],
    "security": [],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {}}}},
    "responses": {
        "200": {"description": "Queued", "content": {"application/json": {"schema": {}}}},
        "default": ERROR,
    },
}

PUSH = {
    "summary": "A calendar at Google has changed",
    "description": "For Google only: the channel's token in the headers is the authorization.",
    "tags": ["webhooks"],
    "security": [],
    "responses": {"204": {"description": "Queued"}, "default": ERROR},
}


def load(name: str) -> Any:
    """The module of functions/<name>/app.py, under a name of its own."""
    path = ROOT / "functions" / name / "app.py"
    spec = importlib.util.spec_from_file_location(f"functions_{name}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names() -> list[str]:
    """Every function's folder."""
    return sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))


def apis() -> list[Api]:
    """The resolvers of all API functions."""
    modules = (load(name) for name in names())
    return [m.api for m in modules if isinstance(getattr(m, "api", None), Api)]


def permissions(api: Api) -> dict[tuple[str, str], str]:
    """(method, OpenAPI path) → the permission its handler declares."""
    found = {}
    for route in [*api._static_routes, *api._dynamic_routes]:  # no public listing
        for method in [route.method] if isinstance(route.method, str) else route.method:
            found[method.lower(), route.openapi_path] = route.func.permission
    return found


def _operation(operation: dict[str, Any], name: str, permission: str) -> dict[str, Any]:
    operation.pop("servers", None)
    operation["tags"] = [name.replace("_", "-")]
    for named in ("422", "500"):
        operation["responses"].pop(named, None)
    operation["responses"]["default"] = ERROR
    operation["x-permission"] = permission
    if permission == PUBLIC:
        operation["security"] = []
    else:
        roles = ", ".join(sorted(role for role, granted in GRANTS.items() if permission in granted))
        note = f"Permission `{permission}` ({roles})."
        operation["description"] = f"{operation.get('description', '')}\n\n{note}".strip()
        operation["security"] = SECURITY
    return operation


def document() -> dict[str, Any]:
    """The merged document. Raises ValueError where two functions claim one path or one schema."""
    merged: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"Problem": PROBLEM}
    for api in apis():
        schema = api.get_openapi_schema(
            title="Consulta",
            version="1",
            description=DESCRIPTION,
            security_schemes={"token": HTTPBearer(bearerFormat="JWT")},
        )
        part = schema.model_dump(mode="json", by_alias=True, exclude_none=True)
        needed = permissions(api)
        for path, item in part["paths"].items():
            if path in paths:
                raise ValueError(f"two functions serve {path}")
            paths[path] = {
                method: _operation(item[method], api.name, needed[method, path])
                for method in METHODS
                if method in item
            }
        for name, body in part.get("components", {}).get("schemas", {}).items():
            if schemas.setdefault(name, body) != body:
                raise ValueError(f"two different schemas are called {name}")
        merged = merged or {key: part[key] for key in ("openapi", "info")} | {
            "components": {"securitySchemes": part["components"]["securitySchemes"]}
        }
    for provider in ("stripe", "mercadopago"):
        paths[f"/webhooks/{provider}"] = {"post": {**WEBHOOK, "summary": f"Events of {provider}"}}
    paths["/webhooks/google-calendar"] = {"post": PUSH}
    for unused in ("HTTPValidationError", "ResponseValidationError", "ValidationError"):
        schemas.pop(unused, None)
    merged["paths"] = dict(sorted(paths.items()))
    merged["components"]["schemas"] = dict(sorted(schemas.items()))
    return merged


def _route_list() -> dict[str, list[str]]:
    """Permission → the routes that need it."""
    found: dict[str, list[str]] = {}
    for api in apis():
        for (method, path), permission in permissions(api).items():
            found.setdefault(permission, []).append(f"`{method.upper()} {path}`")
    return {
        name: sorted(routes, key=lambda r: r.strip("`").split()[::-1])
        for name, routes in found.items()
    }


def matrix() -> str:
    """docs/permissions.md: the permissions of each role, and the routes of each permission."""
    routes = _route_list()
    lines = [
        "# Who may do what",
        "",
        "Made by `python tools/openapi.py permissions` from `core/permissions.py` and the routes;",
        "do not edit. A custom role has what its practice gave it, out of what admins have. An API",
        "key has what it was given, and never more than its member. Patients and experts see and",
        "change their own where a practice has not opened more: `appointments:all` and",
        "`payments:all` say whose are seen.",
        "",
        "| permission | " + " | ".join(ROLES) + " |",
        "| --- |" + " :-: |" * len(ROLES),
    ]
    for permission in sorted(all_permissions()):
        marks = ["✓" if permission in GRANTS[Role(role)] else "" for role in ROLES]
        lines.append(f"| `{permission}` | " + " | ".join(marks) + " |")
    lines += ["", "## Routes", "", "| needs | routes |", "| --- | --- |"]
    said = {PUBLIC: "nothing", SIGNED_IN: "to be signed in"}
    for permission in [PUBLIC, SIGNED_IN, *sorted(routes.keys() - {PUBLIC, SIGNED_IN})]:
        name = said.get(permission, f"`{permission}`")
        lines.append(f"| {name} | {', '.join(routes.get(permission, ['–']))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["permissions"]:
        MATRIX.write_text(matrix())
        sys.stdout.write(f"{MATRIX.relative_to(ROOT)}\n")
    else:
        TARGET.write_text(json.dumps(document(), indent=1, sort_keys=False) + "\n")
        sys.stdout.write(f"{TARGET.relative_to(ROOT)}\n")
