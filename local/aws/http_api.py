"""HTTP APIs: what SAM's OpenAPI body describes, and the payload format 2.0 event."""

import json
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ministack.services import apigateway, lambda_svc
from ministack.services.cloudformation import provisioners

ANY_METHOD = "x-amazon-apigateway-any-method"


def move_cookies_out_of_headers() -> None:
    """Gap: the payload 2.0 event has no ``cookies``; they stay in the ``cookie`` header.

    AWS puts them into the list ``cookies`` and sends no such header, both to functions and to
    Lambda authorizers (API Gateway developer guide, "AWS Lambda proxy integrations for HTTP
    APIs", payload format version).
    """
    execute = lambda_svc._execute_function_with_config_scope

    def execute_with_cookies(function: dict[str, Any], event: Any) -> Any:
        if isinstance(event, dict) and event.get("version") == "2.0" and "rawPath" in event:
            header = event["headers"].pop("cookie", None)
            if header:
                event["cookies"] = [cookie.strip() for cookie in header.split(";")]
        return execute(function, event)

    lambda_svc._execute_function_with_config_scope = execute_with_cookies


def send_bytes_that_are_no_text_in_base64() -> None:
    """Gap: of a body that is not UTF-8, the function gets a text with U+FFFD for what is not.

    MiniStack goes by the content type alone. The event is JSON and holds such bytes only as AWS
    sends them, in base64 with ``isBase64Encoded``, so that the function sees what was sent.
    """
    invoke, is_text_type = apigateway._invoke_lambda_proxy, apigateway._v2_request_body_is_text
    is_utf8: ContextVar[bool] = ContextVar("is_utf8", default=True)

    async def invoke_with_body(*request: Any, **named: Any) -> Any:
        body = request[6]
        token = is_utf8.set(_is_utf8(body or b""))
        try:
            return await invoke(*request, **named)
        finally:
            is_utf8.reset(token)

    def is_text(content_type: str | None) -> bool:
        return is_utf8.get() and is_text_type(content_type)

    apigateway._invoke_lambda_proxy = invoke_with_body
    apigateway._v2_request_body_is_text = is_text


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def import_openapi_bodies() -> None:
    """Gap: ``Body`` of AWS::ApiGatewayV2::Api creates no routes, integrations, authorizers or CORS.

    SAM writes everything of an HttpApi into that OpenAPI document, so without this an API of
    ours answers 404 to everything.
    """
    handler = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    create, update = handler["create"], handler["update"]

    def create_with_body(logical_id: str, props: dict[str, Any], *rest: Any) -> Any:
        result = create(logical_id, props, *rest)
        _import_body(result[0], props.get("Body"))
        return result

    def update_with_body(
        physical_id: str, old: dict[str, Any], new: dict[str, Any], *rest: Any, **named: Any
    ) -> Any:
        result = update(physical_id, old, new, *rest, **named)
        _import_body(result[0], new.get("Body"))
        return result

    handler["create"], handler["update"] = create_with_body, update_with_body


def _import_body(api_id: str, body: dict[str, Any] | None) -> None:
    """Replace what the API has by what the OpenAPI document says."""
    if body is None:
        return
    apigateway._routes[api_id] = {}
    apigateway._integrations[api_id] = {}
    apigateway._authorizers[api_id] = {}
    authorizers = {
        name: _created(apigateway._create_authorizer(api_id, _authorizer(name, scheme)))
        for name, scheme in body.get("components", {}).get("securitySchemes", {}).items()
        if "x-amazon-apigateway-authorizer" in scheme
    }
    integrations: dict[str, str] = {}
    for route_key, operation in _operations(body):
        integration = operation["x-amazon-apigateway-integration"]
        uri = integration["uri"]
        if uri not in integrations:
            created = _created(apigateway._create_integration(api_id, _integration(integration)))
            integrations[uri] = created["integrationId"]
        route = {"routeKey": route_key, "target": f"integrations/{integrations[uri]}"}
        route |= _authorization(operation.get("security", []), authorizers)
        _created(apigateway._create_route(api_id, route))
    api = apigateway._apis[api_id]
    api.pop("corsConfiguration", None)
    if "x-amazon-apigateway-cors" in body:
        api["corsConfiguration"] = body["x-amazon-apigateway-cors"]


def _operations(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (route key, operation) for every operation that has an integration."""
    for path, methods in body.get("paths", {}).items():
        for method, operation in methods.items():
            if not isinstance(operation, dict) or (
                "x-amazon-apigateway-integration" not in operation
            ):
                continue
            name = "ANY" if method == ANY_METHOD else method.upper()
            yield "$default" if path == "/$default" else f"{name} {path}", operation


def _integration(extension: dict[str, Any]) -> dict[str, Any]:
    """The CreateIntegration request for an ``x-amazon-apigateway-integration``."""
    return {
        "integrationType": "AWS_PROXY",
        "integrationUri": extension["uri"],
        "payloadFormatVersion": extension.get("payloadFormatVersion", "2.0"),
    }


def _authorizer(name: str, scheme: dict[str, Any]) -> dict[str, Any]:
    """The CreateAuthorizer request for an ``x-amazon-apigateway-authorizer``."""
    extension = scheme["x-amazon-apigateway-authorizer"]
    sources = extension.get("identitySource") or []
    request = {
        "name": name,
        "identitySource": [sources] if isinstance(sources, str) else sources,
    }
    if extension["type"] == "jwt":
        return request | {
            "authorizerType": "JWT",
            "jwtConfiguration": extension["jwtConfiguration"],
        }
    request |= {
        "authorizerType": "REQUEST",
        "authorizerUri": extension["authorizerUri"],
        "authorizerPayloadFormatVersion": str(extension["authorizerPayloadFormatVersion"]),
        "enableSimpleResponses": extension.get("enableSimpleResponses", False),
    }
    lifetime = extension.get("authorizerResultTtlInSeconds")
    return request if lifetime is None else request | {"authorizerResultTtlInSeconds": lifetime}


def _authorization(
    security: list[dict[str, list[str]]], authorizers: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The authorization part of a CreateRoute request; empty for an open route."""
    for requirement in security:
        for name, scopes in requirement.items():
            if name not in authorizers:
                continue
            is_jwt = authorizers[name]["authorizerType"] == "JWT"
            return {
                "authorizationType": "JWT" if is_jwt else "CUSTOM",
                "authorizerId": authorizers[name]["authorizerId"],
                "authorizationScopes": scopes if is_jwt else [],
            }
    return {}


def _created(response: tuple[int, dict[str, str], bytes | str]) -> dict[str, Any]:
    """The resource of a create call; an error stops the deployment, as on AWS."""
    status, _, body = response
    resource: dict[str, Any] = json.loads(body)
    if status >= 400:
        raise ValueError(resource.get("message", resource))
    return resource
