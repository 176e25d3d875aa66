"""What may come in at all, for the routes in general: the same refusals whatever the route."""

import base64
import json
from typing import Annotated, Any

import pytest
from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core import strict
from consulta.core.errors import BadRequest, Invalid, PayloadTooLarge, Problem
from consulta.core.http import PUBLIC, Api, ApiModel, IdempotencyKey, needs
from consulta.core.secure import REQUEST_ID_HEADER, SECURITY_HEADERS
from tests.unit.people.calling import Answer, event, invoke, signed_in


class Inner(ApiModel):
    text: str = ""
    number: float = 0


class ThingIn(ApiModel):
    text: str = ""
    number: int = 0
    inner: Inner | None = None
    more: dict[str, Any] | None = None


class ThingOut(ApiModel):
    text: str


@pytest.fixture(scope="module")
def api() -> Api:
    api = Api("things")

    @api.post("/v1/things")
    @needs("patients:write")
    def create(
        body: ThingIn,
        filter_: Annotated[str | None, Query(alias="filter")] = None,
        key: IdempotencyKey = None,
    ) -> ThingOut:
        return api.ok(ThingOut(text=body.text))

    @api.post("/v1/things/run")
    @needs("patients:write")
    def run() -> ThingOut:
        return api.ok(ThingOut(text="ran"))

    @api.get("/v1/wrong")
    @needs(PUBLIC)
    def wrong() -> ThingOut:
        return {"Maria": "Lopez"}  # type: ignore[return-value]

    @api.get("/v1/object")
    @needs(PUBLIC)
    def no_json() -> Any:
        return api.ok(object())  # type: ignore[arg-type]

    return api


def send(
    api: Api,
    body: str | None,
    *,
    path: str = "/v1/things",
    is_base64: bool = False,
    **request: Any,
) -> Answer:
    request.setdefault("context", signed_in())
    made = event("POST", path, body, **request)
    made["isBase64Encoded"] = is_base64
    return invoke(api.handler, made)


def nested(levels: int) -> str:
    return '{"more":' + '{"a":' * (levels - 1) + "1" + "}" * levels


BAD = [
    # the body as a whole
    ("broken", "{", 400, "body.1"),
    ("twice", "{} {}", 400, "body.3"),
    ("empty text", " ", 400, "body.1"),
    ("an array", "[]", 400, "body"),
    ("a text", '"{}"', 400, "body"),
    ("null", "null", 400, "body"),
    ("a number", "1", 400, "body"),
    ("a byte order mark", "\ufeff{}", 400, "body.0"),
    ("single quotes", "{'text': 'a'}", 400, "body.1"),
    ("a comment", '{"text": "a"} // c', 400, "body.14"),
    ("a trailing comma", '{"text": "a",}', 400, None),
    # keys and numbers
    ("a key twice", '{"text": "a", "text": "b"}', 400, "body.text"),
    ("a key twice, deeper", '{"inner": {"text": "a", "text": "a"}}', 400, "body.inner.text"),
    ("a key twice, escaped", '{"text": "a", "te\\u0078t": "b"}', 400, "body.text"),
    ("NaN", '{"inner": {"number": NaN}}', 400, "body.inner.number"),
    ("Infinity", '{"number": Infinity}', 400, "body.number"),
    ("minus Infinity", '{"number": -Infinity}', 400, "body.number"),
    ("an overflow", '{"inner": {"number": 1e999}}', 400, "body.inner.number"),
    ("thousands of digits", '{"number": %s}' % ("9" * 5000), 400, "body.number"),
    ("65 bits", '{"number": 9223372036854775808}', 422, "body.number"),
    # nesting
    ("33 levels", nested(33), 400, "body.more" + ".a" * 31),
    ("100,000 levels", '{"more":' + "[" * 100_000, 400, "body"),
    # texts
    ("a control character", '{"text": "a\\u0000"}', 422, "body.text"),
    ("a raw control character", '{"text": "a\x01"}', 400, None),
    ("an escape", '{"inner": {"text": "\\u001b[31m"}}', 422, "body.inner.text"),
    ("DEL", '{"text": "\x7f"}', 422, "body.text"),
    ("C1", '{"text": "\x85"}', 422, "body.text"),
    ("half a pair", '{"text": "\\ud83d"}', 422, "body.text"),
    ("the other half", '{"text": "a\\ude00"}', 422, "body.text"),
    ("half a pair in a list", '{"more": {"a": ["ok", "\\ud83d"]}}', 422, "body.more.a.1"),
    ("a control character in a key", '{"more": {"a\\u0000": 1}}', 422, "body.more"),
    # fields
    ("an unknown field", '{"colour": "red"}', 422, "body.colour"),
    ("an unknown field, deeper", '{"inner": {"colour": 1}}', 422, "body.inner.colour"),
    ("another type", '{"text": 1}', 422, "body.text"),
    ("another type, a boolean", '{"text": true}', 422, "body.text"),
]


@pytest.mark.parametrize(("body", "status", "path"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
@pytest.mark.parametrize("is_base64", [False, True])
def test_a_bad_body(api: Api, body: str, status: int, path: str | None, is_base64: bool) -> None:
    sent = base64.b64encode(body.encode()).decode() if is_base64 else body
    answer = send(api, sent, is_base64=is_base64)
    assert answer.status == status
    if path:
        assert [e["path"] for e in answer.body["errors"]] == [path]


@pytest.mark.parametrize(
    "raw", [b'{"text": "\xff"}', b'{"text": "\xc0\xaf"}', '{"text": "ñ"}'.encode("utf-16")]
)
def test_invalid_utf_8_is_400(api: Api, raw: bytes) -> None:
    answer = send(api, base64.b64encode(raw).decode(), is_base64=True)
    assert (answer.status, answer.body["errors"][0]["path"]) == (400, "body")


def test_broken_base64_is_400(api: Api) -> None:
    assert send(api, "e30*", is_base64=True).status == 400


@pytest.mark.parametrize("text", ["a\tb\r\nc", "Ángela 😀", "\u202bעברית", "9" * 100])
@pytest.mark.parametrize("is_base64", [False, True])
def test_good_text_passes(api: Api, text: str, is_base64: bool) -> None:
    body = json.dumps({"text": text}, ensure_ascii=False)
    sent = base64.b64encode(body.encode()).decode() if is_base64 else body
    answer = send(api, sent, is_base64=is_base64)
    assert (answer.status, answer.body) == (200, {"text": text})


def test_32_levels_pass(api: Api) -> None:
    assert send(api, nested(32)).status == 200


@pytest.mark.parametrize("letter", ["a", "ñ", "😀"])
@pytest.mark.parametrize("path", ["/v1/things", "/v1/things/run", "/v1/nowhere"])
def test_a_large_body_is_413_wherever_it_goes(api: Api, letter: str, path: str) -> None:
    text = letter * (strict.MAX_BODY // len(letter.encode()))
    assert send(api, json.dumps({"text": text}, ensure_ascii=False), path=path).status == 413
    encoded = base64.b64encode(json.dumps({"text": text}).encode()).decode()
    assert send(api, encoded, path=path, is_base64=True).status == 413


@pytest.mark.parametrize("letter", ["a", "ñ", "😀"])
def test_the_largest_body_passes(letter: str) -> None:
    body = letter * (strict.MAX_BODY // len(letter.encode()))
    strict.check_size(body, is_base64=False)
    with pytest.raises(PayloadTooLarge):
        strict.check_size(body + "a", is_base64=False)
    strict.check_size(base64.b64encode(body.encode()).decode(), is_base64=True)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json; charset=iso-8859-1",
    ],
)
def test_another_content_type_is_400(api: Api, kind: str) -> None:
    answer = send(api, "{}", headers={"Content-Type": kind})
    assert (answer.status, answer.body["errors"][0]["path"]) == (400, "header.Content-Type")


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
def test_json_in_utf_8_is_taken(api: Api, kind: str) -> None:
    assert send(api, "{}", headers={"Content-Type": kind}).status == 200


def test_a_body_that_nobody_asked_for_is_not_read(api: Api) -> None:
    assert send(api, "{", path="/v1/things/run").status == 200


@pytest.mark.parametrize("value", ["a" * 4097, "a\x00b", "\x1b[2J", "\ud83d"])
def test_a_bad_query_is_422(api: Api, value: str) -> None:
    made = event("POST", "/v1/things", {}, context=signed_in())
    made["queryStringParameters"] = {"filter": value}
    answer = invoke(api.handler, made)
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "query.filter")


@pytest.mark.parametrize("value", ["a" * 5000, "a" * 256, "a\x00b", "\ud83d"])
def test_a_bad_header_is_422(api: Api, value: str) -> None:
    answer = send(api, "{}", headers={"Idempotency-Key": value})
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, "header.idempotency-key")


def test_a_header_that_no_route_takes_is_not_looked_at(api: Api) -> None:
    assert send(api, "{}", headers={"Cookie-Jar": "a\x00" * 9000}).status == 200


def test_who_calls_is_settled_before_what_is_sent(api: Api) -> None:
    for body in ('{"text": NaN}', "x" * 300_000):
        assert send(api, body, context={"problem": "missing"}).status == 401
        assert send(api, body, context=signed_in("viewer")).status == 403


# what every answer has


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/things", 200),
        ("GET", "/v1/things", 405),
        ("GET", "/v1/nowhere", 404),
        ("GET", "/v1/wrong", 500),
        ("GET", "/v1/object", 500),
    ],
)
def test_every_answer_has_its_headers(api: Api, method: str, path: str, status: int) -> None:
    body = {} if method == "POST" else None
    answer = invoke(api.handler, event(method, path, body, context=signed_in()))
    assert answer.status == status
    assert answer.headers.items() >= SECURITY_HEADERS.items()
    assert answer.headers[REQUEST_ID_HEADER] == "request-1"
    assert "Lopez" not in str(answer)
    assert "Traceback" not in str(answer)


def test_even_where_answering_fails(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("Maria Lopez")

    monkeypatch.setattr(api, "_answer", broken)
    answer = send(api, "{")
    assert (answer.status, answer.body["type"]) == (500, "urn:consulta:problem:internal")
    assert answer.headers.items() >= SECURITY_HEADERS.items()
    assert answer.headers[REQUEST_ID_HEADER] == answer.body["request_id"] == "request-1"
    assert "Lopez" not in str(answer)


@pytest.mark.parametrize(
    ("problem", "body"),
    [(BadRequest, '{"text": "Maria"'), (Invalid, '{"text": "Maria\\u0000"}')],
)
def test_an_error_quotes_no_value(problem: type[Problem], body: str) -> None:
    with pytest.raises(problem) as caught:
        strict.read_object(body, is_base64=False)
    assert "Maria" not in str(caught.value) + str(caught.value.errors)
