"""Every route × every caller, against the permission matrix; the table of it is printed.

Each function's own handler is called with what the authorizer would hand on. Where it lets a
caller through, the route itself is not run (``THROUGH`` is answered instead): what is compared is
who gets in, for every route there is.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.api_gateway import ResponseBuilder

import openapi
from consulta.core.http import PUBLIC, SIGNED_IN
from consulta.core.identity import MFA_NEEDED, Membership, authorizer_context
from consulta.core.permissions import GRANTS, Role
from tests.conftest import TABLE
from tests.unit.people.calling import MEMBER, OTHER_PRACTICE, PRACTICE, event, invoke, signed_in

THROUGH = 299
SOME_ID = "thing_01JC0NS0TADEM0000000000000"
ROLES = (*openapi.ROLES, "custom")
# What the practice of this test has put into its custom role.
CUSTOM = frozenset({"members:read"})
Operations = dict[tuple[str, str], dict[str, Any]]
SHORT = {"operator": "oper", "billing": "bill", "patient": "pat", "expert": "exp", "viewer": "view"}


def _context(role: str, *, blocked: str = "", key: str = "") -> dict[str, str]:
    if role == "operator":
        return signed_in("operator")
    granted = CUSTOM if role == "custom" else None
    member = Membership(PRACTICE, Role(role), MEMBER, "", granted, blocked)
    return authorizer_context("person-1", [member], operator=False, key=key)


# No caller at all, whatever the role was: the token or key is refused by the authorizer.
NOBODY = {
    "no token": {"problem": "missing"},
    "an expired token": {"problem": "expired"},
    "a bad token": {"problem": "invalid"},
    "an ended session": {"problem": "ended"},
    "a revoked key": {"problem": "key"},
    "no authorizer": {},
}


@pytest.fixture(scope="module")
def handlers() -> dict[str, Any]:
    """Tag → the handler of its function."""
    return {api.name.replace("_", "-"): api.handler for api in openapi.apis()}


@pytest.fixture(scope="module")
def operations() -> Operations:
    """(method, path) → operation, of everything in the OpenAPI document but the webhooks."""
    return {
        (method.upper(), path): operation
        for path, item in openapi.document()["paths"].items()
        for method, operation in item.items()
        if not path.startswith("/webhooks/")
    }


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes answer ``THROUGH`` instead of being run; ``Api`` stands in front of them as always."""

    def through(api: Any, route: Any, _: dict[str, str]) -> Any:
        response: Response[str] = Response(THROUGH, content_type="text/plain", body="")
        return ResponseBuilder(response=response, route=route)

    monkeypatch.setattr(APIGatewayHttpResolver, "_call_route", through)


def ask(
    handlers: dict[str, Any],
    operation: dict[str, Any],
    route: tuple[str, str],
    context: dict[str, str],
    practice: str = "",
) -> int:
    method, path = route
    headers = {"Consulta-Practice": practice} if practice else {}
    made = event(method, re.sub(r"{\w+}", SOME_ID, path), context=context, headers=headers)
    return invoke(handlers[operation["tags"][0]], made).status


def permissions(role: str) -> frozenset[str]:
    return CUSTOM if role == "custom" else GRANTS[Role(role)]


def expected(permission: str, role: str) -> int:
    """By the matrix alone."""
    if permission in (PUBLIC, SIGNED_IN) or permission in permissions(role):
        return THROUGH
    return 403


def test_every_route_of_every_function_is_in_the_document(operations: Operations) -> None:
    found = {
        (method.upper(), path): permission
        for api in openapi.apis()
        for (method, path), permission in openapi.permissions(api).items()
    }
    assert {route: op["x-permission"] for route, op in operations.items()} == found


def test_each_role_reaches_what_the_matrix_gives_it(
    gate: None,
    handlers: dict[str, Any],
    operations: Operations,
    record_property: Callable[[str, object], None],
) -> None:
    lines, wrong = [], []
    for route, operation in operations.items():
        marks = []
        for role in ROLES:
            got = ask(handlers, operation, route, _context(role))
            if got != expected(operation["x-permission"], role):
                wrong.append((route, role, got))
            marks.append("✓" if got == THROUGH else "·" if got == 403 else str(got))
        name = " ".join(route)
        lines.append(f"{name:<64}" + "".join(f"{mark:^6}" for mark in marks))
    head = f"{'role × route (custom: members:read)':<64}"
    head += "".join(f"{SHORT.get(role, role):^6}" for role in ROLES)
    record_property(TABLE, "\n".join([head, *lines]))
    assert not wrong


def test_another_practices_header_is_404(
    gate: None, handlers: dict[str, Any], operations: Operations
) -> None:
    """It must look like a practice that does not exist, whatever the caller may do at home."""
    for route, operation in operations.items():
        for role in ROLES:
            needs_practice = operation["x-permission"] not in (PUBLIC, SIGNED_IN)
            got = ask(handlers, operation, route, _context(role), OTHER_PRACTICE)
            assert got == (404 if needs_practice else THROUGH), (route, role)


def test_the_own_practices_header_changes_nothing(
    gate: None, handlers: dict[str, Any], operations: Operations
) -> None:
    for route, operation in operations.items():
        for role in ("owner", "patient", "custom"):
            got = ask(handlers, operation, route, _context(role), PRACTICE)
            assert got == expected(operation["x-permission"], role), (route, role)


@pytest.mark.parametrize("why", NOBODY)
@pytest.mark.parametrize("practice", ["", PRACTICE])
def test_who_is_nobody_reaches_public_routes_only(
    gate: None, handlers: dict[str, Any], operations: Operations, why: str, practice: str
) -> None:
    for route, operation in operations.items():
        got = ask(handlers, operation, route, NOBODY[why], practice)
        assert got == (THROUGH if operation["x-permission"] == PUBLIC else 401), route


def test_without_the_second_factor_that_the_practice_asks_for(
    gate: None, handlers: dict[str, Any], operations: Operations
) -> None:
    """What needs no practice stays open: the second factor is set up there."""
    for route, operation in operations.items():
        for role in (role for role in ROLES if role != "operator"):
            got = ask(handlers, operation, route, _context(role, blocked=MFA_NEEDED))
            is_open = operation["x-permission"] in (PUBLIC, SIGNED_IN)
            assert got == (THROUGH if is_open else 403), (route, role)


def test_a_key_reaches_what_it_was_given(
    gate: None, handlers: dict[str, Any], operations: Operations
) -> None:
    """An owner's key for one permission opens that alone, and nothing that is a person's own."""
    member = Membership(PRACTICE, Role.OWNER, MEMBER, "", CUSTOM)
    context = authorizer_context("person-1", [member], operator=False, key="key_1")
    for route, operation in operations.items():
        permission = operation["x-permission"]
        got = ask(handlers, operation, route, context)
        is_open = permission == PUBLIC or permission in CUSTOM
        assert got == (THROUGH if is_open else 403), route


def test_somebody_in_no_practice_is_let_into_none(
    gate: None, handlers: dict[str, Any], operations: Operations
) -> None:
    nowhere = authorizer_context("person-1", [], operator=False)
    for route, operation in operations.items():
        got = ask(handlers, operation, route, nowhere)
        is_open = operation["x-permission"] in (PUBLIC, SIGNED_IN)
        assert got == (THROUGH if is_open else 403), route


# Who sends a browser or a calendar there adds parameters of their own.
ANY_QUERY = {
    ("GET", "/v1/auth/sso/callback"),
    ("GET", "/v1/calendars/google/callback"),
    ("GET", "/v1/reports/downloads/{token}"),
    ("GET", "/feeds/{file}"),
}


def test_a_query_has_what_its_operation_has_and_nothing_twice(
    gate: None, handlers: dict[str, Any], operations: Operations
) -> None:
    """A filter that nobody looks at would be everybody's figures. Names as the document has them:
    those of the code behind it (``first`` for ``from``) are no names."""

    def asked(route: tuple[str, str], query: str) -> tuple[int, list[tuple[str, str]]]:
        operation = operations[route]
        context = _context(roles[route])
        path = re.sub(r"{\w+}", SOME_ID, route[1])
        found = invoke(
            handlers[operation["tags"][0]], event(route[0], path, context=context, query=query)
        )
        errors = found.body["errors"] if found.body else []
        return found.status, [(error["path"], error["code"]) for error in errors]

    roles = {
        route: next(r for r in ROLES if expected(op["x-permission"], r) == THROUGH)
        for route, op in operations.items()
    }
    for route, operation in operations.items():
        parameters = operation.get("parameters", ())
        names = {one["name"] for one in parameters if one["in"] == "query"}
        if route in ANY_QUERY:
            assert asked(route, "iss=1&iss=2")[0] == THROUGH, route
            continue
        if names:
            assert asked(route, "&".join(f"{name}=1" for name in names))[0] == THROUGH, route
        for name in sorted(names):
            twice = asked(route, f"{name}=1&{name}=1")
            assert twice == (422, [(f"query.{name}", "duplicate")]), route
        for name in {"unheard", "first", "last", "low", "high", "from_"} - names:
            assert asked(route, f"{name}=1") == (
                422,
                [(f"query.{name}", "extra_forbidden")],
            ), route
    assert operations.keys() >= ANY_QUERY


def test_the_committed_matrix_is_that_of_the_code() -> None:
    written = openapi.MATRIX.read_text()
    assert written == openapi.matrix(), "run: python tools/openapi.py permissions"
