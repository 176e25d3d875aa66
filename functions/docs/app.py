"""/v1/openapi.json and /v1/docs: the merged document, and a page to browse it."""

import base64
import hashlib
import re
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler.openapi import swagger_ui

from consulta.core.observe import observed
from consulta.core.secure import REQUEST_ID_HEADER, SECURITY_HEADERS

HERE = Path(__file__).parent
CACHE = "public, max-age=300"
# The page runs its own two scripts, by their hashes, and calls its own origin. Swagger UI sets
# styles as it goes, which no hash can name, and draws its icons from data: addresses.
PAGE_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _document() -> str:
    return (HERE / "openapi.json").read_text()


@cache
def _page() -> str:
    # Powertools carries Swagger UI, so the page needs nothing from elsewhere. "</" inside the
    # document would end the script that it stands in.
    assets = Path(swagger_ui.__file__).parent
    return swagger_ui.generate_swagger_html(
        spec=_document().replace("</", "<\\/"),
        swagger_js=(assets / "swagger-ui-bundle.min.js").read_text(),
        swagger_css=(assets / "swagger-ui.min.css").read_text(),
        swagger_base_url="",
        oauth2_config=None,
    ).replace("<title>Swagger UI</title>", "<title>Consulta API</title>")


@cache
def _page_policy() -> str:
    scripts = re.findall(r"<script>(.*?)</script>", _page(), re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    return PAGE_POLICY.format(scripts=" ".join(f"'sha256-{h}'" for h in hashes))


def handle(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """The page for /v1/docs, the document for anything else that the gateway lets through."""
    headers = {
        **SECURITY_HEADERS,
        REQUEST_ID_HEADER: event.get("requestContext", {}).get("requestId", ""),
        "Cache-Control": CACHE,
    }
    if event["rawPath"].endswith("/docs"):
        headers |= {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _page_policy(),
        }
        body = _page()
    else:
        headers["Content-Type"] = "application/json"
        body = _document()
    return {"statusCode": HTTPStatus.OK, "headers": headers, "body": body}


lambda_handler = observed(handle)
