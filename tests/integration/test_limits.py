"""The limiter on moto's DynamoDB: what it counts, refuses and survives."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consulta.core import aws, errors, limits
from consulta.core.http import PUBLIC, SIGNED_IN, Api, ApiModel, needs
from consulta.core.identity import Membership, authorizer_context
from consulta.core.keys import Tenant
from consulta.core.limits import Caller
from consulta.core.permissions import Role
from tests.conftest import COUNTERS
from tests.faults import Faults
from tests.unit.people.calling import (
    MEMBER,
    OTHER_PRACTICE,
    PRACTICE,
    Answer,
    event,
    invoke,
    signed_in,
)

NOON = datetime(2026, 11, 21, 12, 30, 20, tzinfo=UTC)
ROUTE = "G things/*"
KEY = authorizer_context(
    "person-1", [Membership(PRACTICE, Role.OWNER, MEMBER)], operator=False, key="key_1"
)
NO_TOKEN = {"problem": "missing"}


class ThingOut(ApiModel):
    id: str


@pytest.fixture(scope="module")
def api() -> Api:
    api = Api("things")

    @api.get("/v1/things/<thing_id>")
    @needs("patients:read")
    def get(thing_id: str) -> ThingOut:
        return api.ok(ThingOut(id=thing_id))

    @api.get("/v1/account")
    @needs(SIGNED_IN)
    def account() -> ThingOut:
        return api.ok(ThingOut(id=api.account.person))

    @api.get("/v1/open")
    @needs(PUBLIC)
    def public() -> ThingOut:
        return api.ok(ThingOut(id="open"))

    return api


@pytest.fixture
def faults(counting: Any) -> Iterator[Faults]:
    """Of the limiter's own client."""
    with Faults(aws.client("dynamodb", limits.TIMEOUT_S, 0)) as faults:
        yield faults


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """One minute that does not end in the middle of a test."""
    monkeypatch.setattr(limits, "now", lambda: NOON)


def ask(api: Api, path: str = "/v1/things/1", **request: Any) -> Answer:
    request.setdefault("context", signed_in())
    return invoke(api.handler, event(request.pop("method", "GET"), path, **request))


def rows(client: Any) -> list[dict[str, Any]]:
    return list(client.scan(TableName=COUNTERS)["Items"])


def only_row(client: Any) -> dict[str, str]:
    (row,) = rows(client)
    return {name: next(iter(value.values())) for name, value in row.items()}


def caller(limit: int, tenant: Tenant | None = None) -> Caller:
    return Caller("person:1", limit, tenant, MEMBER)


def refused(found: limits.Rate | None) -> bool:
    assert found
    return found.is_refused


# what is counted


def test_a_request_is_one_write_and_no_read(faults: Faults, api: Api, at_noon: None) -> None:
    assert ask(api).status == 200
    assert dict(faults.calls) == {"UpdateItem": 1}


def test_a_request_is_counted_by_minute_route_and_member(
    counting: Any, api: Api, at_noon: None
) -> None:
    for _ in range(3):
        assert ask(api).status == 200
    assert only_row(counting) == {
        "pk": f"P#{PRACTICE}#USAGE#2026-11",
        "sk": "21T12#person:person-1",
        "m30": "3",
        "n": "3",
        "r.G things/*": "3",
        "w": MEMBER,
        "expires_at": str(int((NOON.replace(minute=0, second=0) + limits.KEPT).timestamp())),
    }


@pytest.mark.parametrize(
    ("path", "context", "pk"),
    [
        ("/v1/things/1", KEY, f"P#{PRACTICE}#USAGE#2026-11"),
        ("/v1/account", signed_in(), f"P#{PRACTICE}#USAGE#2026-11"),
        ("/v1/open", signed_in(), f"P#{PRACTICE}#USAGE#2026-11"),
        ("/v1/nowhere", signed_in(), f"P#{PRACTICE}#USAGE#2026-11"),
        ("/v1/account", signed_in("operator"), "CALLER#person:person-1"),
        ("/v1/things/1", NO_TOKEN, "ANON#"),
        ("/v1/things/1", {"problem": "expired"}, "ANON#"),
        ("/v1/open", NO_TOKEN, "ANON#"),
        ("/v1/nowhere", NO_TOKEN, "ANON#"),
    ],
)
def test_whose_request_it_is(
    counting: Any, api: Api, path: str, context: dict[str, str], pk: str, at_noon: None
) -> None:
    ask(api, path, context=context)
    row = only_row(counting)
    assert row["pk"].startswith(pk)
    assert row["n"] == "1"
    assert "127.0.0.1" not in str(row)


def test_a_foreign_practice_is_not_billed(counting: Any, api: Api) -> None:
    answer = ask(api, headers={"Consulta-Practice": OTHER_PRACTICE})
    assert answer.status == 404
    assert only_row(counting)["pk"] == "CALLER#person:person-1"


def test_what_a_permission_refuses_is_counted_too(counting: Any, api: Api) -> None:
    assert ask(api, context=signed_in("patient")).status == 403
    assert only_row(counting)["n"] == "1"


# what is refused


def test_the_request_above_the_limit_is_429_with_the_headers(
    counting: Any, api: Api, at_noon: None
) -> None:
    for left in reversed(range(limits.ANONYMOUS)):
        answer = ask(api, "/v1/open", context=NO_TOKEN)
        assert (answer.status, answer.headers["RateLimit-Remaining"]) == (200, str(left))
    answer = ask(api, "/v1/open", context=NO_TOKEN)
    assert (answer.status, answer.body["type"]) == (429, "urn:consulta:problem:too-many-requests")
    assert {
        name: answer.headers[name]
        for name in ("Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    } == {
        "Retry-After": "40",
        "RateLimit-Limit": "100",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "40",
    }
    # Somebody who signed in behind the same address goes on, and so does another address.
    assert ask(api, "/v1/open", context=signed_in()).status == 200
    other = event("GET", "/v1/open")
    other["requestContext"]["http"]["sourceIp"] = "203.0.113.9"
    assert invoke(api.handler, other).status == 200


def test_a_stranger_above_the_limit_learns_nothing_else(
    counting: Any, api: Api, at_noon: None
) -> None:
    for _ in range(limits.ANONYMOUS):
        assert ask(api, context={"problem": "invalid"}).status == 401
    assert ask(api, context={"problem": "invalid"}).status == 429
    assert ask(api, "/v1/nowhere", context=NO_TOKEN).status == 429


@pytest.mark.parametrize(
    ("context", "limit"),
    [
        (NO_TOKEN, 100),
        (signed_in("patient"), 120),
        (signed_in("expert"), 300),
        (signed_in("viewer"), 300),
        (signed_in("billing"), 300),
        (signed_in("custom"), 300),
        (signed_in("admin"), 600),
        (signed_in("owner"), 600),
        (signed_in("operator"), 1200),
        (KEY, 600),
    ],
)
def test_every_role_has_its_limit(
    counting: Any, api: Api, context: dict[str, str], limit: int
) -> None:
    answer = ask(api, "/v1/open", context=context)
    assert answer.headers["RateLimit-Limit"] == str(limit)
    assert answer.headers["RateLimit-Remaining"] == str(limit - 1)


def test_refused_requests_are_counted_apart(counting: Any) -> None:
    found = [refused(limits.admit(caller(3), ROUTE, NOON)) for _ in range(8)]
    assert found == [False] * 3 + [True] * 5
    row = only_row(counting)
    assert (row["n"], row["m30"], row[f"r.{ROUTE}"], row["x"]) == ("3", "3", "3", "5")


def test_the_next_minute_begins_anew(counting: Any) -> None:
    for _ in range(4):
        limits.admit(caller(3), ROUTE, NOON)
    assert not refused(limits.admit(caller(3), ROUTE, NOON + timedelta(minutes=1)))
    row = only_row(counting)
    assert (row["n"], row["m30"], row["m31"]) == ("4", "3", "1")


def test_another_environment_knows_too(counting: Any) -> None:
    for _ in range(3):
        limits.admit(caller(3), ROUTE, NOON)
    limits.reset()
    assert refused(limits.admit(caller(3), ROUTE, NOON))


def test_a_refusal_is_one_write_at_most(faults: Faults) -> None:
    for number in range(1, 9):
        limits.admit(caller(3), ROUTE, NOON)
        assert faults.calls["UpdateItem"] == number
    assert set(faults.calls) == {"UpdateItem"}


def test_one_practices_requests_fill_no_other_practices_minute(counting: Any) -> None:
    for _ in range(3):
        limits.admit(caller(3, Tenant(PRACTICE)), ROUTE, NOON)
    assert refused(limits.admit(caller(3, Tenant(PRACTICE)), ROUTE, NOON))
    assert not refused(limits.admit(caller(3, Tenant(OTHER_PRACTICE)), ROUTE, NOON))


def test_an_ipv6_customer_is_one_caller() -> None:
    one, same = limits.of_address("2001:db8:1:2::1"), limits.of_address("2001:db8:1:2:ffff::9")
    assert one == same
    assert one != limits.of_address("2001:db8:1:3::1")


# what it survives


@pytest.mark.parametrize("fault", ["throttled_call", "lost_call", "lost_answer"])
def test_its_failure_fails_no_request(faults: Faults, api: Api, fault: str, at_noon: None) -> None:
    faults.next("UpdateItem", getattr(faults, fault))
    answer = ask(api)
    assert answer.status == 200
    assert "RateLimit-Limit" not in answer.headers


def test_after_a_failure_the_table_is_left_alone_for_a_while(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.next("UpdateItem", faults.lost_call)
    assert [limits.admit(caller(3), ROUTE, NOON) for _ in range(5)] == [None] * 5
    assert faults.calls["UpdateItem"] == 1
    later = limits.time.monotonic() + limits.PAUSE_S
    monkeypatch.setattr(limits.time, "monotonic", lambda: later)
    assert limits.admit(caller(3), ROUTE, NOON) is not None


def test_a_table_that_is_not_there_fails_no_request(
    counting: Any, api: Api, environment: pytest.MonkeyPatch
) -> None:
    counting.delete_table(TableName=COUNTERS)
    assert ask(api).status == 200


def test_a_throttled_row_of_one_caller_switches_no_limit_off(faults: Faults) -> None:
    for _ in range(4):
        limits.admit(caller(3), ROUTE, NOON)
    faults.next("UpdateItem", faults.throttled_call, faults.lost_call)
    assert refused(limits.admit(caller(3), ROUTE, NOON))
    assert refused(limits.admit(caller(3), ROUTE, NOON))
    # The others are still counted, and no refusal was lost.
    assert limits.admit(Caller("person:2", 3), ROUTE, NOON) is not None
    assert refused(limits.admit(caller(3), ROUTE, NOON))
    row = aws.client("dynamodb").get_item(
        TableName=COUNTERS,
        Key={"pk": {"S": "CALLER#person:1"}, "sk": {"S": "2026-11-21T12"}},
    )["Item"]
    assert row["x"]["N"] == "4"


def test_without_a_table_nobody_counts() -> None:
    assert limits.admit(caller(1), ROUTE, NOON) is None


# when a key was last used


def test_a_key_was_last_used_in_its_last_minute(counting: Any) -> None:
    key = Caller("key:key_1", 600, Tenant(PRACTICE), MEMBER)
    other = Caller("key:key_2", 600, Tenant(PRACTICE), MEMBER)
    assert limits.last_used(PRACTICE, "key:key_1") is None
    for at in (NOON - timedelta(days=40), NOON - timedelta(minutes=9), NOON):
        limits.admit(key, ROUTE, at)
    limits.admit(other, ROUTE, NOON + timedelta(hours=1))
    assert limits.last_used(PRACTICE, "key:key_1") == NOON.replace(second=0)
    assert limits.last_used(OTHER_PRACTICE, "key:key_1") is None


def test_a_key_that_was_used_long_ago_is_found(counting: Any) -> None:
    long_ago = NOON - timedelta(days=200)
    limits.admit(Caller("key:key_1", 600, Tenant(PRACTICE), MEMBER), ROUTE, long_ago)
    assert limits.last_used(PRACTICE, "key:key_1") == long_ago.replace(second=0)


def test_the_problem_of_a_full_minute() -> None:
    with pytest.raises(errors.TooManyRequests) as caught:
        limits.Rate(100, 0, 40, is_refused=True).check()
    assert caught.value.extra == {"retry_after": 40}
    limits.Rate(100, 0, 40).check()


@pytest.mark.parametrize(
    ("method", "path", "short", "back"),
    [
        ("GET", "/v1/things", "G things", "GET /v1/things"),
        ("POST", "/v1/a/<a_id>/b", "P a/*/b", "POST /v1/a/{id}/b"),
        ("PATCH", "/v1/a/{a_id}", "A a/*", "PATCH /v1/a/{id}"),
        ("PUT", "/v1/a", "U a", "PUT /v1/a"),
        ("DELETE", "/v1/a", "D a", "DELETE /v1/a"),
    ],
)
def test_a_routes_short_name(method: str, path: str, short: str, back: str) -> None:
    assert limits.route_id(method, path) == short
    assert limits.route_of(short) == back
