"""The deployed HTTP API at the root of the gateway's own address."""

from ministack import app
from ministack.services import apigateway

PUBLIC_PREFIXES = ("/v1/", "/webhooks/", "/feeds/")


def serve_http_api_at_the_root() -> None:
    """Gap: an HTTP API answers only at a ``*.localhost`` name or below ``/_aws/execute-api/``.

    Such names do not resolve everywhere, and the long path has a ``$`` in it. On AWS the API
    has an address of its own, with nothing before ``/v1``. Here requests on the gateway port
    whose path starts with a public prefix reach the ``$default`` stage of the deployed HTTP API.
    """
    parse_address = app._parse_execute_api_url

    def parse_address_or_front_door(host: str, path: str) -> tuple[str, str, str] | None:
        parsed: tuple[str, str, str] | None = parse_address(host, path)
        if parsed is None and path.startswith(PUBLIC_PREFIXES):
            api_id = _deployed_http_api()
            return None if api_id is None else (api_id, "$default", path)
        return parsed

    app._parse_execute_api_url = parse_address_or_front_door


def _deployed_http_api() -> str | None:
    """The id of the first HTTP API that has a ``$default`` stage, in any account and region."""
    for api in list(apigateway._apis._data.values()):
        if api["protocolType"] == "HTTP" and "$default" in apigateway.stages_for_api(api["apiId"]):
            return str(api["apiId"])
    return None
