"""Usage as /v1/usage tells it, from rows that the limiter wrote."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consulta.billing import usage
from consulta.core import limits
from consulta.core.identity import principal_of
from consulta.core.keys import Tenant
from consulta.core.limits import Caller
from tests.unit.people.calling import OTHER_PRACTICE, PRACTICE, Answer, call, signed_in

LATE = datetime(2026, 10, 31, 23, 59, tzinfo=UTC)
EVA, BEN = "mem_01JC0NS0TADEM00000000000EVA", "mem_01JC0NS0TADEM00000000000BEN"
LISTING, CANCEL = "G appointments", "P appointments/*/cancel"
RANGE = "from=2026-10-31T00:00:00Z&to=2026-11-02T00:00:00Z"


def eva(practice: str = PRACTICE) -> Caller:
    return Caller("person:eva", 1000, Tenant(practice), EVA)


def key() -> Caller:
    return Caller("key:key_1", 2, Tenant(PRACTICE), BEN)


@pytest.fixture
def used(counting: Any) -> None:
    """Eva in two hours of two months, Ben's key once above its limit of 2; another practice."""
    for caller, route, at in [
        (eva(), LISTING, LATE),
        (eva(), LISTING, LATE),
        (eva(), CANCEL, LATE + timedelta(minutes=5)),
        (key(), LISTING, LATE + timedelta(minutes=5)),
        (key(), LISTING, LATE + timedelta(minutes=5)),
        (key(), LISTING, LATE + timedelta(minutes=5)),
        (key(), LISTING, LATE + timedelta(minutes=5)),
        (eva(OTHER_PRACTICE), LISTING, LATE),
        (eva(), LISTING, LATE + timedelta(days=10)),
    ]:
        limits.admit(caller, route, at)


def ask(query: str, role: str = "owner", practice: str = PRACTICE) -> Answer:
    return call("usage", "GET", "/v1/usage", query=query, context=signed_in(role, practice))


def items(answer: Answer) -> list[tuple[Any, int, int]]:
    assert answer.status == 200, answer.body
    return [(i["group"], i["calls"], i["refused"]) for i in answer.body["items"]]


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        ("hour", [("2026-10-31T23:00:00Z", 2, 0), ("2026-11-01T00:00:00Z", 3, 2)]),
        ("day", [("2026-10-31", 2, 0), ("2026-11-01", 3, 2)]),
        ("member", [(EVA, 3, 0), (BEN, 2, 2)]),
        ("key", [(None, 3, 0), ("key_1", 2, 2)]),
        (
            "route",
            [
                ("GET /v1/appointments", 4, 0),
                (None, 0, 2),
                ("POST /v1/appointments/{id}/cancel", 1, 0),
            ],
        ),
    ],
)
def test_requests_are_added_up(
    used: None, group_by: str, expected: list[tuple[Any, int, int]]
) -> None:
    answer = ask(f"{RANGE}&group_by={group_by}")
    assert sorted(items(answer), key=str) == sorted(expected, key=str)
    assert answer.body["next_cursor"] is None
    assert (answer.body["from"], answer.body["to"]) == (
        "2026-10-31T00:00:00Z",
        "2026-11-02T00:00:00Z",
    )


def test_another_practices_requests_are_its_own(used: None) -> None:
    assert items(ask(f"{RANGE}&group_by=day", practice=OTHER_PRACTICE)) == [("2026-10-31", 1, 0)]


def test_an_hour_that_is_touched_is_counted_whole(used: None) -> None:
    query = "from=2026-10-31T23:30:00Z&to=2026-10-31T23:31:00Z&group_by=hour"
    assert items(ask(query)) == [("2026-10-31T23:00:00Z", 2, 0)]
    assert items(ask("from=2026-10-31T22:00:00Z&to=2026-10-31T23:00:00Z")) == []


def test_an_offset_is_honoured(used: None) -> None:
    query = "from=2026-11-01T00:00:00+01:00&to=2026-11-01T01:00:00+01:00"
    assert items(ask(query)) == [("2026-10-31", 2, 0)]


@pytest.mark.parametrize("group_by", ["hour", "member", "key"])
def test_pages_add_up_to_the_whole(used: None, group_by: str) -> None:
    whole = {group: (calls, x) for group, calls, x in items(ask(f"{RANGE}&group_by={group_by}"))}
    found: dict[Any, tuple[int, int]] = {}
    cursor, pages = "", 0
    while True:
        answer = ask(f"{RANGE}&group_by={group_by}&limit=1{cursor}")
        (item,) = items(answer)
        before = found.get(item[0], (0, 0))
        found[item[0]] = (before[0] + item[1], before[1] + item[2])
        pages += 1
        if not answer.body["next_cursor"]:
            break
        cursor = f"&cursor={answer.body['next_cursor'].rstrip('=')}"
        cursor += "=" * (-(len(cursor) - len("&cursor=")) % 4)
    assert found == whole
    assert pages > 1


def test_a_page_reads_a_bounded_number_of_rows(
    counting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "ROWS_READ", 4)
    for number in range(10):
        limits.admit(Caller(f"person:{number}", 9, Tenant(PRACTICE), EVA), LISTING, LATE)
    sums, query = [], f"{RANGE}&group_by=day"
    cursor: str | None = ""
    while cursor is not None:
        answer = usage_page(cursor or None)
        sums.append(answer.items[0].calls)
        cursor = answer.next_cursor
    assert sums == [4, 4, 2]
    assert items(ask(query))[0][1] == 4


def usage_page(cursor: str | None) -> usage.UsagePage:
    by = principal_of(signed_in(), None, "r")
    low = datetime(2026, 10, 31, tzinfo=UTC)
    day = usage.GroupBy.DAY
    return usage.usage(by, low, low + timedelta(days=2), day, 50, cursor)


@pytest.mark.parametrize(
    ("query", "status", "path"),
    [
        ("from=2026-01-01T00:00:00Z&to=2026-06-01T00:00:00Z", 422, "query.to"),
        ("from=2026-06-01T00:00:00Z&to=2026-01-01T00:00:00Z", 422, "query.to"),
        ("from=2026-06-01T00:00:00&to=2026-06-02T00:00:00Z", 422, "query.from"),
        ("to=9999-12-31T23:59:59Z", 422, "query.to"),
        ("from=0001-01-01T00:00:00+14:00", 422, "query.to"),
        ("group_by=year", 422, "query.group_by"),
        ("limit=51", 422, "query.limit"),
        ("cursor=nonsense", 400, "query.cursor"),
    ],
)
def test_what_cannot_be_asked(counting: Any, query: str, status: int, path: str) -> None:
    answer = ask(query)
    assert (answer.status, [e["path"] for e in answer.body["errors"]]) == (status, [path])


@pytest.mark.parametrize("role", ["expert", "viewer", "patient", "operator"])
def test_who_may_not_see_it(counting: Any, role: str) -> None:
    assert ask(RANGE, role).status == 403


def test_asking_is_counted_too(counting: Any) -> None:
    assert items(ask("group_by=route")) == [("GET /v1/usage", 1, 0)]


def test_without_a_table_there_is_none(tables: Any) -> None:
    assert items(ask(RANGE)) == []
