"""HTTP for every API function: the resolver, permissions, problem+json, ETags.

Order of checks, each before the next is looked at: how often (429), 401, 403, then the shape of the
request (413, 400, 422), then the use case's own answers.
"""

import hashlib
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestUnsupportedContentType,
    RequestValidationError,
    ResponseValidationError,
)
from aws_lambda_powertools.event_handler.openapi.params import Header, Query
from aws_lambda_powertools.shared.cookies import Cookie
from pydantic import BaseModel, ConfigDict, StringConstraints

from consulta.core import errors, limits, strict, trail
from consulta.core.identity import (
    PRACTICE_HEADER,
    Account,
    Principal,
    account_of,
    principal_of,
    refuse_key,
)
from consulta.core.ids import ID_PATTERN
from consulta.core.observe import failure, observed
from consulta.core.permissions import all_permissions
from consulta.core.secure import REQUEST_ID_HEADER, SECURITY_HEADERS

PUBLIC, SIGNED_IN = "public", "signed-in"
MAX_PAGE = 50
_MAX_AGENT = 200
# Who asks, by a token or a key, and for which practice: one URL has as many answers as those have.
_VARY = "Authorization, Consulta-Practice"
F = TypeVar("F", bound=Callable[..., Any])


class ApiModel(BaseModel):
    """Base of every body that comes in or goes out: unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid", str_strip_whitespace=True, from_attributes=True, defer_build=True
    )


Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="At most this many items")]
Cursor = Annotated[str | None, Query(max_length=2048, description="From the page before")]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=40, description="The ETag that was read")
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="The ETag of what one has already")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="The same key with the same body gives the same result again",
    ),
]


def needs(permission: str) -> Callable[[F], F]:
    """Declare the permission that a handler's caller must have.

    ``PUBLIC`` for none, ``SIGNED_IN`` for a good token in whatever practice, or in none yet.
    """
    if permission not in {PUBLIC, SIGNED_IN} | all_permissions():
        raise ValueError(f"no role has the permission {permission}")

    def mark(function: F) -> F:
        function.permission = permission  # type: ignore[attr-defined]
        return function

    return mark


def any_query[T: Callable[..., Any]](function: T) -> T:
    """Declare that others put parameters of their own into the addresses of a handler."""
    function.any_query = True  # type: ignore[attr-defined]
    return function


def _query_names(route: Any) -> set[str]:
    """What a route's query may have: its parameters, those of a model by their aliases."""
    names = set()
    for param in route.dependant.query_params:
        model = param.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names |= {field.alias or name for name, field in model.model_fields.items()}
        else:
            names.add(param.alias)
    return names


def _is_json(content_type: str) -> bool:
    """None is taken for JSON; a charset may be named where it is UTF-8 (RFC 8259, 8.1)."""
    kind, _, rest = content_type.lower().partition(";")
    parameters = [part.strip().replace('"', "") for part in rest.split(";")]
    return kind.strip() in ("", "application/json") and all(
        not part.startswith("charset=") or part in ("charset=utf-8", "charset=utf8")
        for part in parameters
    )


def _body(problem: errors.Problem, request_id: str) -> dict[str, Any]:
    return {
        "type": f"urn:consulta:problem:{problem.type}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "errors": [{"path": e.path, "message": e.message, "code": e.code} for e in problem.errors],
        "request_id": request_id,
        **problem.extra,
    }


def _as_written(where: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """A field's place without the name of the handler's model that holds the query's."""
    kind, *rest = where
    is_model = kind == "query" and any(isinstance(part, str) for part in rest[1:2])
    return (kind, *rest[1:]) if is_model else where


class NotModified(Exception):
    """The caller has it already: raised, so that no body is checked against the route's model.

    ``max_age`` as the whole answer would have it.
    """

    def __init__(self, etag: str, max_age: int) -> None:
        super().__init__(etag)
        self.etag, self.max_age = etag, max_age


class Download(Exception):
    """A file in place of the route's model: raised, so that it is not checked against that."""

    def __init__(self, body: bytes, content_type: str, name: str) -> None:
        super().__init__(name)
        self.body, self.content_type, self.name = body, content_type, name


def etag_of(body: BaseModel, timeless: Any) -> str:
    """An ETag of what a body says; ``timeless`` (fields to leave out) is when it was read."""
    text = body.model_dump_json(exclude=timeless)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def has_already(if_none_match: str | None, etag: str) -> bool:
    """Whether ``If-None-Match`` names ``etag``, compared weakly, or any (RFC 9110, 13.1.2)."""
    named = {one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")}
    return not named.isdisjoint({etag, "*"})


def caching(max_age: int) -> dict[str, str]:
    """How long the caller may keep an answer: nobody else, and not for another practice."""
    if not max_age:
        return {"Cache-Control": "no-store"}
    return {"Cache-Control": f"private, max-age={max_age}", "Vary": _VARY}


class Api(APIGatewayHttpResolver):
    """The resolver of one API function. A route without ``needs`` is never called."""

    def __init__(self, name: str) -> None:
        # Without a code of its own, an answer of ours that is wrong looks like a caller's fault.
        super().__init__(
            enable_validation=True,
            response_validation_error_http_code=HTTPStatus.INTERNAL_SERVER_ERROR,
        )
        self.name = name
        self.exception_handler(errors.Problem)(self._problem)
        self.exception_handler(RequestValidationError)(self._invalid)
        self.exception_handler(RequestUnsupportedContentType)(self._invalid)
        self.exception_handler(ResponseValidationError)(self._failed)
        self.exception_handler(Exception)(self._failed)
        self.exception_handler(NotModified)(self._not_modified)
        self.exception_handler(Download)(self._download)
        self.not_found(self._no_route)

    @property
    def caller(self) -> Principal:
        """Who is calling. Only routes that need a permission have a caller."""
        found: Principal = self.context["caller"]
        return found

    @property
    def account(self) -> Account:
        """Who is signed in, on a ``SIGNED_IN`` route."""
        found: Account = self.context["account"]
        return found

    @property
    def request_id(self) -> str:
        """The gateway's id of this request; errors carry it."""
        return str(self.current_event.request_context.request_id)

    @property
    def origin(self) -> str:
        """From where it was called: what changes are stamped with, a public route's too."""
        http = self.current_event.request_context.http
        agent = strict.printable(http.user_agent or "", _MAX_AGENT)
        return f"{http.source_ip or ''}|{agent}"

    def _call_route(self, route: Any, route_arguments: dict[str, str]) -> Any:
        # Powertools validates the request ahead of any middleware. Who calls is settled first here,
        # so that a stranger learns nothing of a route's shape.
        try:
            self._let_in(route)
            self._read(route)
        except errors.Problem as problem:
            return self._call_exception_handler(problem, route)
        return super()._call_route(route, route_arguments)

    def _let_in(self, route: Any) -> None:
        """Count the request, then check who calls against what the route needs."""
        authorizer = self._authorizer_context()
        account: Account | None = None
        caller: Principal | None = None
        problem: errors.Problem | None = None
        try:
            account = account_of(authorizer)
            caller = principal_of(authorizer, self._practice_header(), self.request_id, self.origin)
        except errors.Problem as found:
            problem = found
        self._count(route, account, caller)
        permission = getattr(route.func, "permission", None)
        if permission == PUBLIC or "unmatched" in self.context:
            return
        self.context["denial"] = (account, caller, permission)
        if permission == SIGNED_IN and account:
            # What is a person's own (their devices, their second factor) no program changes.
            refuse_key(account)
            self.context["account"] = account
            return
        if caller is None:
            raise problem or errors.Unauthorized
        self.context["caller"] = caller
        caller.require(str(permission))

    def _count(self, route: Any, account: Account | None, caller: Principal | None) -> None:
        if caller:
            counted = limits.of_principal(caller)
        elif account:
            counted = limits.of_account(account)
        else:
            counted = limits.of_address(self.current_event.request_context.http.source_ip or "")
        is_known = "unmatched" not in self.context
        name = limits.route_id(route.method, route.path) if is_known else limits.NO_ROUTE
        rate = limits.admit(counted, name)
        if rate:
            self.context["rate"] = rate
            rate.check()

    def _read(self, route: Any) -> None:
        """Refuse what no route takes, and parse the body strictly for Powertools to validate."""
        event = self.current_event
        body, is_base64 = event.body or "", bool(event.is_base64_encoded)
        strict.check_size(body, is_base64=is_base64)
        if "unmatched" in self.context:
            return
        if not hasattr(route.func, "any_query"):
            strict.check_query(event.get("rawQueryString") or "", _query_names(route))
        for name, value in event.query_string_parameters.items():
            strict.check_parameter(value, f"query.{strict.printable(name, 100)}")
        for header in route.dependant.header_params:
            strict.check_parameter(event.headers.get(header.alias) or "", f"header.{header.alias}")
        if body and route.dependant.body_params:
            if not _is_json(event.headers.get("content-type") or ""):
                raise errors.BadRequest.of(
                    "header.Content-Type", "Send application/json", "unsupported_content_type"
                )
            event.json_body = strict.read_object(body, is_base64=is_base64)

    def _handle_not_found(self, method: str, path: str) -> Any:
        # Signed in or not, an unknown path is a 404: it is no secret which routes exist.
        self.context["unmatched"] = self._verbs(path)
        return super()._handle_not_found(method, path)

    def _verbs(self, path: str) -> list[str]:
        found = []
        for route in [*self._static_routes, *self._dynamic_routes]:
            if route.rule.match(path):
                found.extend([route.method] if isinstance(route.method, str) else route.method)
        return sorted(found)

    def _authorizer_context(self) -> dict[str, Any]:
        authorizer = self.current_event.request_context.authorizer
        return (authorizer.get_lambda if authorizer else None) or {}

    def _practice_header(self) -> str | None:
        found: str | None = self.current_event.headers.get(PRACTICE_HEADER)
        return found

    def _build_response(self, response_builder: Any) -> dict[str, Any]:
        answer: dict[str, Any] = super()._build_response(response_builder)
        rate: limits.Rate | None = self.context.get("rate")
        answer["headers"] = {
            **SECURITY_HEADERS,
            REQUEST_ID_HEADER: self.request_id,
            **(rate.headers if rate else {}),
            **(answer.get("headers") or {}),
        }
        return answer

    # what went wrong, as problem+json

    def _answer(self, problem: errors.Problem) -> Response[str]:
        headers: dict[str, Any] = {"Cache-Control": "no-store"}
        if problem.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Bearer realm="consulta"'
        if problem.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            headers["Retry-After"] = str(problem.extra.get("retry_after", 1))
        if "allow" in problem.extra:
            headers["Allow"] = str(problem.extra["allow"])
        return Response(
            status_code=problem.status,
            content_type="application/problem+json",
            body=json.dumps(_body(problem, self.request_id)),
            headers=headers,
        )

    def _problem(self, problem: errors.Problem) -> Response[str]:
        if isinstance(problem, errors.Forbidden):
            self._record_denial(problem)
        return self._answer(problem)

    def _record_denial(self, problem: errors.Problem) -> None:
        """Tell the audit of the practice in which somebody was refused."""
        account, caller, permission = self.context.get("denial") or (None, None, None)
        if account is None:
            return
        practice = caller.practice if caller else self._chosen(account)
        if not practice:
            return
        route = self.context["_route"]
        trail.record(
            "denied",
            practice,
            by=caller.actor.id if caller else account.person,
            request_id=self.request_id,
            origin=self.origin,
            facts={
                "route": f"{route.method} {route.openapi_path}",
                "permission": str(permission),
                "problem": problem.type,
            },
        )

    def _chosen(self, account: Account) -> str:
        """The practice that would have let them in, had they signed in as it asks."""
        named = self._practice_header()
        found = [m.practice for m in account.memberships if named in (None, m.practice)]
        return found[0] if len(found) == 1 else ""

    def _invalid(self, error: RequestValidationError) -> Response[str]:
        found = tuple(
            errors.FieldError(
                ".".join(str(part) for part in _as_written(entry["loc"])),
                entry["msg"],
                entry["type"],
            )
            for entry in error.errors()
        )
        if any(entry.code == "unsupported_content_type" for entry in found):
            return self._answer(errors.BadRequest("Send application/json", errors=found))
        if any(entry.code == "json_invalid" for entry in found):
            return self._answer(errors.BadRequest("The body is not JSON", errors=found))
        return self._answer(errors.Invalid(errors=found))

    def _no_route(self, _error: NotFoundError) -> Response[str]:
        allowed = self.context.get("unmatched")
        if allowed:
            return self._answer(errors.MethodNotAllowed(extra={"allow": ", ".join(allowed)}))
        return self._answer(errors.NotFound("There is no such path"))

    def _failed(self, error: Exception) -> Response[str]:
        failure("the request failed", error, request=self.request_id)
        return self._answer(errors.Problem("It was our fault and has been recorded"))

    def _not_modified(self, found: NotModified) -> Response[str]:
        headers: dict[str, str | list[str]] = {"ETag": found.etag, **caching(found.max_age)}
        return Response(HTTPStatus.NOT_MODIFIED, headers=headers)

    def _download(self, found: Download) -> Response[bytes]:
        return Response(
            HTTPStatus.OK,
            content_type=found.content_type,
            body=found.body,
            headers={
                "Cache-Control": "no-store",
                "Content-Disposition": f'attachment; filename="{found.name}"',
            },
        )

    def _give_up(self, event: Any, error: Exception) -> dict[str, Any]:
        """The answer where even answering failed: fixed, and without the resolver."""
        request_id = str(event.get("requestContext", {}).get("requestId", ""))
        failure("the request could not be answered", error, request=request_id)
        problem = errors.Problem("It was our fault and has been recorded")
        return {
            "statusCode": problem.status,
            "headers": {
                **SECURITY_HEADERS,
                REQUEST_ID_HEADER: request_id,
                "Content-Type": "application/problem+json",
                "Cache-Control": "no-store",
            },
            "body": json.dumps(_body(problem, request_id)),
        }

    # what went well

    def created(self, body: ApiModel, location: str) -> Response[Any]:
        """201 with the new resource and where it is."""
        return self.ok(body, status=HTTPStatus.CREATED, headers={"Location": location})

    def accepted(self, body: ApiModel, location: str) -> Response[Any]:
        """202 with the resource to poll."""
        return self.ok(body, status=HTTPStatus.ACCEPTED, headers={"Location": location})

    def ok(
        self,
        body: ApiModel,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        headers: dict[str, str] | None = None,
        max_age: int = 0,
        cookies: list[Cookie] | None = None,
    ) -> Response[Any]:
        """An answer with its ETag, where the body has a version, and its cache lifetime."""
        version = getattr(body, "version", None)
        all_headers: dict[str, str | list[str]] = {**caching(max_age), **(headers or {})}
        if version is not None:
            all_headers["ETag"] = f'"{version}"'
        return Response(
            status, content_type="application/json", body=body, headers=all_headers, cookies=cookies
        )

    def unless_known(
        self, body: ApiModel, etag: str, if_none_match: str | None, max_age: int
    ) -> Response[Any]:
        """The answer, for the caller alone to keep; 304 where they have it already."""
        if has_already(if_none_match, etag):
            raise NotModified(etag, max_age)
        return self.ok(body, headers={"ETag": etag}, max_age=max_age)

    def no_content(self) -> Response[Any]:
        """204."""
        return Response(HTTPStatus.NO_CONTENT)

    def found(self, location: str) -> Response[Any]:
        """302 to an address that is good for a moment only."""
        headers: dict[str, str | list[str]] = {"Location": location, "Cache-Control": "no-store"}
        return Response(HTTPStatus.FOUND, headers=headers)

    def see_other(self, location: str, cookies: list[Cookie]) -> Response[Any]:
        """303: the browser goes on there, with these cookies."""
        headers: dict[str, str | list[str]] = {"Location": location, "Cache-Control": "no-store"}
        return Response(HTTPStatus.SEE_OTHER, headers=headers, cookies=cookies)

    @property
    def handler(self) -> Callable[[Any, Any], Any]:
        """The function's Lambda handler."""

        def handle(event: Any, context: Any) -> dict[str, Any]:
            try:
                answer = self.resolve(event, context)
            except Exception as error:  # noqa: BLE001  # nothing of it may reach the caller
                answer = self._give_up(event, error)
            # A gateway that takes the text of a body literally fails on null.
            return {**answer, "body": answer.get("body") or ""}

        return observed(handle)


def check_version(if_match: str | None, version: float) -> None:
    """Raises PreconditionFailed where ``If-Match`` names another version than the current one."""
    if if_match is not None and if_match not in ("*", f'"{int(version)}"'):
        raise errors.PreconditionFailed
