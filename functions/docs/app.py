"""/v1/openapi.json and /v1/docs: the merged document, and a page to browse it."""

from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler.openapi import swagger_ui

from consulta.core.observe import observed

HERE = Path(__file__).parent
CACHE = "public, max-age=300"


@cache
def _document() -> str:
    return (HERE / "openapi.json").read_text()


@cache
def _page() -> str:
    # Powertools carries Swagger UI, so the page needs nothing from elsewhere.
    assets = Path(swagger_ui.__file__).parent
    return swagger_ui.generate_swagger_html(
        spec=_document(),
        swagger_js=(assets / "swagger-ui-bundle.min.js").read_text(),
        swagger_css=(assets / "swagger-ui.min.css").read_text(),
        swagger_base_url="",
        oauth2_config=None,
    ).replace("<title>Swagger UI</title>", "<title>Consulta API</title>")


def handle(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """The page for /v1/docs, the document for anything else that the gateway lets through."""
    is_page = event["rawPath"].endswith("/docs")
    content_type, body = (
        ("text/html; charset=utf-8", _page) if is_page else ("application/json", _document)
    )
    headers = {"Content-Type": content_type, "Cache-Control": CACHE}
    return {"statusCode": HTTPStatus.OK, "headers": headers, "body": body()}


lambda_handler = observed(handle)
