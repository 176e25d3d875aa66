"""What every API function answers, before its own use cases do."""

from enum import StrEnum
from typing import Any

import pytest
from pydantic import Field

from consulta.core import errors, limits, trail
from consulta.core.http import (
    PUBLIC,
    SIGNED_IN,
    Api,
    ApiModel,
    Cursor,
    Id,
    IfMatch,
    IfNoneMatch,
    Limit,
    check_version,
    needs,
)
from consulta.core.identity import MFA_NEEDED, Membership, authorizer_context
from consulta.core.permissions import Role
from tests.unit.people.calling import (
    MEMBER,
    OTHER_PRACTICE,
    PRACTICE,
    Answer,
    event,
    invoke,
    signed_in,
)

THING_ID = "thing_01JC0NS0TADEM0000000000000"


class Colour(StrEnum):
    RED = "red"


class Line(ApiModel):
    price: int


class ThingIn(ApiModel):
    colour: Colour
    lines: list[Line] = Field(default_factory=list)


class ThingOut(ApiModel):
    id: str
    version: int


@pytest.fixture(scope="module")
def api() -> Api:
    api = Api("things")

    @api.post("/v1/things")
    @needs("patients:write")
    def create(body: ThingIn) -> ThingOut:
        return api.created(ThingOut(id=THING_ID, version=1), f"/v1/things/{THING_ID}")

    @api.get("/v1/things")
    @needs("patients:read")
    def listing(limit: Limit = 20, cursor: Cursor = None) -> ThingOut:
        return api.ok(ThingOut(id=str(limit), version=2), max_age=30)

    @api.get("/v1/known")
    @needs("patients:read")
    def known(if_none_match: IfNoneMatch = None) -> ThingOut:
        return api.unless_known(ThingOut(id="known", version=1), '"a"', if_none_match, 30)

    @api.get("/v1/things/<thing_id>")
    @needs("patients:read")
    def get(thing_id: Id, if_match: IfMatch = None) -> ThingOut:
        check_version(if_match, 3)
        return api.ok(ThingOut(id=thing_id, version=3))

    @api.delete("/v1/things/<thing_id>")
    @needs("patients:write")
    def delete(thing_id: Id) -> None:
        raise RuntimeError("Maria Lopez, +34600123456")

    @api.get("/v1/account")
    @needs(SIGNED_IN)
    def account() -> ThingOut:
        return api.ok(ThingOut(id=api.account.person, version=len(api.account.memberships)))

    @api.post("/v1/things/<thing_id>/rename")
    @needs("patients:write")
    def rename(thing_id: Id) -> None:
        raise errors.Forbidden("only your own")

    @api.get("/v1/who")
    @needs("patients:read")
    def who() -> ThingOut:
        return api.ok(ThingOut(id=api.caller.actor.origin, version=1))

    @api.get("/v1/open")
    @needs(PUBLIC)
    def public() -> ThingOut:
        return api.ok(ThingOut(id="open", version=1))

    @api.get("/v1/forgotten")
    def forgotten() -> ThingOut:
        raise AssertionError("a route without a permission was called")

    return api


def ask(api: Api, method: str, path: str, body: Any = None, **request: Any) -> Answer:
    request.setdefault("context", signed_in())
    return invoke(api.handler, event(method, path, body, **request))


def paths(answer: Answer) -> list[str]:
    return [entry["path"] for entry in answer.body["errors"]]


def test_a_good_request(api: Api) -> None:
    answer = ask(api, "POST", "/v1/things", {"colour": "red", "lines": [{"price": 1}]})
    assert (answer.status, answer.body["id"]) == (201, THING_ID)
    assert answer.headers["Location"] == f"/v1/things/{THING_ID}"
    assert answer.headers["ETag"] == '"1"'


def test_cache_control(api: Api) -> None:
    assert ask(api, "GET", "/v1/things").headers["Cache-Control"] == "private, max-age=30"
    assert ask(api, "GET", f"/v1/things/{THING_ID}").headers["Cache-Control"] == "no-store"


def test_what_may_be_kept_is_kept_for_its_caller_and_practice(api: Api) -> None:
    kept = ask(api, "GET", "/v1/things")
    assert kept.headers["Vary"] == "Authorization, Consulta-Practice"
    same = ask(api, "GET", "/v1/known", headers={"If-None-Match": '"a"'})
    assert (same.status, same.headers["ETag"]) == (304, '"a"')
    for name in ("Cache-Control", "Vary"):
        assert same.headers[name] == kept.headers[name]


@pytest.mark.parametrize(
    ("named", "status"),
    [
        ('"a"', 304),
        ('"b", W/"a"', 304),
        ("*", 304),
        # Longer than one tag and another.
        (", ".join([f'"{n:032}"' for n in range(20)] + ['"a"']), 304),
        (", ".join(f'"{n:032}"' for n in range(20)), 200),
        ("a", 200),
        ("", 200),
    ],
)
def test_what_the_caller_has_already(api: Api, named: str, status: int) -> None:
    assert ask(api, "GET", "/v1/known", headers={"If-None-Match": named}).status == status


@pytest.mark.parametrize("body", ["{", "[1,", "nonsense", '{"colour": "red"'])
def test_malformed_json_is_400(api: Api, body: str) -> None:
    answer = ask(api, "POST", "/v1/things", body)
    assert (answer.status, answer.body["type"]) == (400, "urn:consulta:problem:bad-request")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_missing_body_is_422(api: Api) -> None:
    answer = ask(api, "POST", "/v1/things", "")
    assert (answer.status, paths(answer)) == (422, ["body"])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "body.colour"),
        ({"colour": "blue"}, "body.colour"),
        ({"colour": 1}, "body.colour"),
        ({"colour": "red", "lines": [{"price": 1}, {"price": "x"}]}, "body.lines.1.price"),
        ({"colour": "red", "lines": {}}, "body.lines"),
        ({"colour": "red", "size": 1}, "body.size"),
        ({"colour": "red", "lines": [{"price": 1, "tax": 2}]}, "body.lines.0.tax"),
    ],
)
def test_a_field_that_cannot_be_accepted_is_422_with_its_path(
    api: Api, body: Any, path: str
) -> None:
    answer = ask(api, "POST", "/v1/things", body)
    assert (answer.status, answer.body["type"]) == (422, "urn:consulta:problem:invalid")
    assert paths(answer) == [path]


@pytest.mark.parametrize(
    ("query", "path"),
    [("limit=0", "query.limit"), ("limit=51", "query.limit"), ("limit=many", "query.limit")],
)
def test_a_bad_parameter_is_422_with_its_path(api: Api, query: str, path: str) -> None:
    answer = ask(api, "GET", "/v1/things", query=query)
    assert (answer.status, paths(answer)) == (422, [path])


@pytest.mark.parametrize("thing", ["1", "THING_1", "thing_01JC0NS0TADEM000000000000I"])
def test_an_id_of_another_shape_is_422(api: Api, thing: str) -> None:
    answer = ask(api, "GET", f"/v1/things/{thing}")
    assert (answer.status, paths(answer)) == (422, ["path.thing_id"])


def test_a_separator_of_keys_is_in_no_path(api: Api) -> None:
    assert ask(api, "GET", "/v1/things/P#other#PATIENT").status == 404


@pytest.mark.parametrize(
    ("context", "status"),
    [
        ({"problem": "missing"}, 401),
        ({"problem": "expired"}, 401),
        ({"problem": "invalid"}, 401),
        (signed_in("viewer"), 403),
        (signed_in("operator"), 403),
    ],
)
@pytest.mark.parametrize("body", ["{", {"colour": "blue"}, {"colour": "red"}])
def test_who_calls_is_settled_before_what_is_sent(
    api: Api, context: dict[str, str], status: int, body: Any
) -> None:
    answer = ask(api, "POST", "/v1/things", body, context=context)
    assert (answer.status, answer.body["errors"]) == (status, [])


def test_an_event_without_an_authorizer_is_401(api: Api) -> None:
    request = event("GET", "/v1/things")
    del request["requestContext"]["authorizer"]
    assert invoke(api.handler, request).status == 401


def test_a_public_route_asks_for_nothing(api: Api) -> None:
    assert ask(api, "GET", "/v1/open", context={"problem": "invalid"}).status == 200


def test_a_signed_in_route_asks_for_a_token_but_no_practice(api: Api) -> None:
    assert ask(api, "GET", "/v1/account", context={"problem": "missing"}).status == 401
    answer = ask(api, "GET", "/v1/account", context=signed_in("operator"))
    assert (answer.status, answer.body["version"]) == (200, 0)


def test_a_route_without_a_permission_is_never_called(api: Api) -> None:
    assert ask(api, "GET", "/v1/forgotten").status == 403


def test_another_method_is_405_with_allow(api: Api) -> None:
    answer = ask(api, "PUT", f"/v1/things/{THING_ID}")
    assert (answer.status, answer.headers["Allow"]) == (405, "DELETE, GET")


def test_an_unknown_path_is_404(api: Api) -> None:
    answer = ask(api, "GET", "/v1/nowhere", context={"problem": "missing"})
    assert (answer.status, answer.body["type"]) == (404, "urn:consulta:problem:not-found")


def test_our_own_failure_is_500_without_its_text(api: Api) -> None:
    answer = ask(api, "DELETE", f"/v1/things/{THING_ID}")
    assert (answer.status, answer.body["type"]) == (500, "urn:consulta:problem:internal")
    assert "Lopez" not in str(answer)


@pytest.mark.parametrize("if_match", ['"3"', "*", None])
def test_the_current_version_passes(if_match: str | None) -> None:
    check_version(if_match, 3)


@pytest.mark.parametrize("if_match", ['"2"', "3", 'W/"3"', ""])
def test_another_version_is_412(api: Api, if_match: str) -> None:
    with pytest.raises(errors.PreconditionFailed):
        check_version(if_match, 3)
    headers = {"If-Match": '"2"'}
    assert ask(api, "GET", f"/v1/things/{THING_ID}", headers=headers).status == 412


# from where, and who was refused


@pytest.mark.parametrize(
    ("agent", "origin"),
    [
        ("Mozilla/5.0 (X11)", "127.0.0.1|Mozilla/5.0 (X11)"),
        ("a" * 300, f"127.0.0.1|{'a' * 200}"),
        ("a\x1b[31m\nb\ud83d", "127.0.0.1|a[31mb"),
        (None, "127.0.0.1|"),
    ],
)
def test_changes_are_stamped_with_where_they_came_from(
    api: Api, agent: str | None, origin: str
) -> None:
    request = event("GET", "/v1/who", context=signed_in())
    request["requestContext"]["http"]["userAgent"] = agent
    assert invoke(api.handler, request).body["id"] == origin


@pytest.fixture
def denials(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the audit is told."""
    found: list[dict[str, Any]] = []

    def record(kind: str, practice: str, **more: Any) -> bool:
        found.append({"kind": kind, "practice": practice, **more})
        return True

    monkeypatch.setattr(trail, "record", record)
    return found


def denial(route: str, permission: str, **changes: Any) -> dict[str, Any]:
    facts = {"route": route, "permission": permission, "problem": "forbidden"}
    return {
        "kind": "denied",
        "practice": PRACTICE,
        "by": "person-1",
        "request_id": "request-1",
        "origin": "127.0.0.1|test",
        "facts": facts | changes.pop("facts", {}),
    } | changes


def test_the_audit_is_told_of_a_missing_permission(api: Api, denials: list[dict[str, Any]]) -> None:
    assert ask(api, "DELETE", f"/v1/things/{THING_ID}", context=signed_in("viewer")).status == 403
    assert denials == [denial("DELETE /v1/things/{thing_id}", "patients:write")]


def test_the_audit_is_told_of_what_a_use_case_refuses(
    api: Api, denials: list[dict[str, Any]]
) -> None:
    assert ask(api, "POST", f"/v1/things/{THING_ID}/rename").status == 403
    assert denials == [denial("POST /v1/things/{thing_id}/rename", "patients:write")]


def test_the_audit_is_told_which_key_was_refused(api: Api, denials: list[dict[str, Any]]) -> None:
    member = Membership(PRACTICE, Role.OWNER, MEMBER, "", frozenset({"members:read"}))
    context = authorizer_context("person-1", [member], operator=False, key="key_1")
    assert ask(api, "GET", "/v1/things", context=context).status == 403
    assert denials == [denial("GET /v1/things", "patients:read", by="key:key_1")]


def test_the_audit_is_told_of_a_missing_second_factor(
    api: Api, denials: list[dict[str, Any]]
) -> None:
    here = Membership(PRACTICE, Role.OWNER, MEMBER, blocked=MFA_NEEDED)
    other = Membership(OTHER_PRACTICE, Role.PATIENT, MEMBER)
    context = authorizer_context("person-1", [other, here], operator=False)
    answer = ask(api, "GET", "/v1/things", context=context, headers={"Consulta-Practice": PRACTICE})
    assert (answer.status, answer.body["type"]) == (403, "urn:consulta:problem:mfa-required")
    assert denials == [denial("GET /v1/things", "patients:read", facts={"problem": "mfa-required"})]


@pytest.mark.parametrize(
    ("path", "context", "headers"),
    [
        ("/v1/things", {"problem": "expired"}, {}),
        ("/v1/things", signed_in("operator"), {}),
        ("/v1/things", signed_in(), {"Consulta-Practice": OTHER_PRACTICE}),
        ("/v1/things", signed_in(), {}),
        ("/v1/open", signed_in("patient"), {}),
    ],
)
def test_the_audit_is_not_told_of_the_rest(
    api: Api,
    denials: list[dict[str, Any]],
    path: str,
    context: dict[str, str],
    headers: dict[str, str],
) -> None:
    ask(api, "GET", path, context=context, headers=headers)
    assert denials == []


def test_a_request_above_the_limit_is_not_audited(
    api: Api, denials: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = limits.Rate(300, 0, 30, is_refused=True)
    monkeypatch.setattr(limits, "admit", lambda *_: full)
    answer = ask(api, "DELETE", f"/v1/things/{THING_ID}", context=signed_in("viewer"))
    assert (answer.status, answer.headers["Retry-After"], denials) == (429, "30", [])
