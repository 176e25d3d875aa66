"""The documentation page: it runs its own scripts and no others."""

import base64
import hashlib
import re
from typing import Any

import pytest

import openapi
from consulta.core.secure import REQUEST_ID_HEADER, SECURITY_HEADERS


@pytest.fixture(scope="module")
def docs() -> Any:
    module = openapi.load("docs")
    module._document = lambda: '{"info": "</script><script>alert(1)</script>"}'
    return module


def get(docs: Any, path: str) -> dict[str, Any]:
    event = {"rawPath": path, "requestContext": {"requestId": "request-1"}}
    answer: dict[str, Any] = docs.handle(event, None)
    return answer


def test_the_page_names_each_of_its_scripts(docs: Any) -> None:
    answer = get(docs, "/v1/docs")
    policy = answer["headers"]["Content-Security-Policy"]
    scripts = re.findall(r"<script>(.*?)</script>", answer["body"], re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    script_rule = policy.partition("script-src")[2].partition(";")[0]
    assert "unsafe" not in script_rule
    assert "frame-ancestors 'none'" in policy


def test_what_the_policy_would_refuse_is_not_in_the_page(docs: Any) -> None:
    page = re.sub(r"<script>.*?</script>", "", get(docs, "/v1/docs")["body"], flags=re.DOTALL)
    assert not re.search(r"<script|<link|<img|<iframe|\son\w+=", page)


@pytest.mark.parametrize("path", ["/v1/docs", "/v1/openapi.json"])
def test_both_have_the_headers_of_every_answer(docs: Any, path: str) -> None:
    headers = get(docs, path)["headers"]
    assert headers.keys() >= SECURITY_HEADERS.keys()
    assert headers[REQUEST_ID_HEADER] == "request-1"


def test_a_receipt_is_json_or_pdf() -> None:
    receipt = openapi.document()["paths"]["/v1/payments/{payment_id}/receipt"]["get"]
    content = receipt["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/Receipt"}
    assert content["application/pdf"]["schema"] == {"type": "string", "format": "binary"}


def test_the_document_itself_allows_nothing(docs: Any) -> None:
    headers = get(docs, "/v1/openapi.json")["headers"]
    assert headers.items() >= SECURITY_HEADERS.items()
