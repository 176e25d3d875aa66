"""Rates by plan: the platform's tables, the practices on them, and which row a payment gets."""

from datetime import date, timedelta
from typing import Any

import pytest

from consulta.core import keys, table
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.money import commissions
from consulta.money.rates import Rate, RateTable, Row, Scope
from consulta.money.schema.commissions import RatesRequest
from tests.faults import Faults
from tests.integration import test_money
from tests.integration.test_commissions import get, put, row
from tests.integration.test_money import PRICE, Practice
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import TODAY, World

# The practice whose payee is connected, with scripted providers.
practice = test_money.practice

PLAN, OTHER_PLAN = "plan_01JC0NS0TADEM0000000000000", "plan_01JC0NS0TADEM0000000000001"
PATH = f"/v1/commissions/plans/{PLAN}/rates"
JANUARY, MARCH, JUNE = date(2026, 1, 1), date(2026, 3, 1), date(2026, 6, 1)
REFUSED: list[tuple[list[dict[str, Any]], str, str]] = [
    ([{"service_id": "srv_01JC0NS0TADEM0000000000009"}], "body.rates.0.service_id", "not_a_plans"),
    ([{"plan_id": OTHER_PLAN}], "body.rates.0.plan_id", "unknown"),
    ([{}, {"fixed": 1}], "body.rates.1.from", "duplicate"),
    ([{}, {"fixed": 1, "plan_id": PLAN}], "body.rates.1.from", "duplicate"),
    ([{}, {"from": "2026-01-02"}], "body.rates.1.from", "order"),
    ([{"percent_bps": 10_001}], "body.rates.0.percent_bps", "less_than_equal"),
]


def put_plan(*rows: dict[str, Any], role: str = "operator", **headers: str) -> Answer:
    context = signed_in(role)
    return call("commissions", "PUT", PATH, {"rates": list(rows)}, context=context, headers=headers)


def join(world: World, plan: str | None, role: str = "operator", **headers: str) -> Answer:
    path = f"/v1/practices/{world.practice}/plan"
    context = signed_in(role, world.practice)
    return call("practices", "PUT", path, {"plan_id": plan}, context=context, headers=headers)


def of_plan(role: str = "operator") -> Answer:
    return call("commissions", "GET", PATH, context=signed_in(role))


# ---------------------------------------------------------------- which row holds


def line(starts: date, bps: int, **more: Any) -> Row:
    return Row(starts, 0, bps, more.pop("currency", "EUR"), **more)


@pytest.mark.parametrize(
    ("rows", "plan_rows", "plan", "expected"),
    [
        # The latest that has begun, of the plan's own table.
        ([], [line(MARCH, 300), line(JANUARY, 200)], PLAN, (300, MARCH, Scope.PLAN)),
        ([], [line(JANUARY, 200), line(JUNE, 300)], PLAN, (200, JANUARY, Scope.PLAN)),
        ([], [line(JANUARY, 200, currency="USD")], PLAN, (1000, None, Scope.DEFAULT)),
        # What was agreed with the practice comes first, whichever is younger.
        ([line(JANUARY, 500)], [line(MARCH, 300)], PLAN, (500, JANUARY, Scope.PRACTICE)),
        (
            [line(MARCH, 500), line(JANUARY, 900, service_id="srv_1")],
            [line(MARCH, 300)],
            PLAN,
            (900, JANUARY, Scope.SERVICE),
        ),
        # The practice's own row for its plan comes before the plan's, and for another plan never.
        (
            [line(JANUARY, 700, plan_id=PLAN)],
            [line(MARCH, 300)],
            PLAN,
            (700, JANUARY, Scope.PLAN),
        ),
        (
            [line(JANUARY, 700, plan_id=PLAN, service_id="srv_1"), line(MARCH, 600, plan_id=PLAN)],
            [],
            PLAN,
            (700, JANUARY, Scope.PLAN),
        ),
        ([line(JANUARY, 700, plan_id=OTHER_PLAN)], [], PLAN, (1000, None, Scope.DEFAULT)),
        ([line(JANUARY, 700, plan_id=PLAN)], [], None, (1000, None, Scope.DEFAULT)),
    ],
)
def test_service_then_practice_then_plan_then_default(
    rows: list[Row],
    plan_rows: list[Row],
    plan: str | None,
    expected: tuple[int, date | None, Scope],
) -> None:
    bps, starts, scope = expected
    for own, plans in ((rows, plan_rows), (rows[::-1], plan_rows[::-1])):
        found = RateTable(1000, tuple(own), plan, tuple(plans))
        day = JUNE - timedelta(days=1)
        assert found.chosen("srv_1", "EUR", day) == Rate(0, bps, starts, scope)


# ---------------------------------------------------------------- the plans' tables


def test_a_plans_table_is_put_and_read_again(tables: Any) -> None:
    assert of_plan().status == 404
    first = put_plan(row("2026-07-01", fixed=50), row(), **{"If-Match": '"0"'})
    assert (first.status, first.headers["ETag"], first.body["plan_id"]) == (200, '"1"', PLAN)
    assert of_plan().body == first.body
    assert put_plan(row("2026-07-01", fixed=50), row()).body["version"] == 1
    assert put_plan(row(fixed=2), **{"If-Match": '"0"'}).status == 412
    emptied = put_plan(**{"If-Match": '"1"'})
    assert (emptied.body["rates"], emptied.body["version"]) == ([], 2)


@pytest.mark.parametrize(("rows", "path", "code"), REFUSED)
def test_a_plans_table_that_cannot_be_is_refused(
    tables: Any, rows: list[dict[str, Any]], path: str, code: str
) -> None:
    answer = put_plan(*(row() | one for one in rows))
    assert answer.status == 422
    assert (path, code) in [(e["path"], e["code"]) for e in answer.body["errors"]]
    assert of_plan().status == 404


def test_only_operators_set_plans_and_their_tables(tables: Any) -> None:
    world = World()
    put_plan(row())
    for role in ("owner", "admin", "expert", "billing", "viewer", "patient"):
        assert put_plan(row(fixed=1), role=role).status == 403
        assert of_plan(role).status == 403
        assert join(world, PLAN, role).status == 403
    assert of_plan().body["version"] == 1
    assert get(world).body["plan_id"] is None


def test_two_operators_at_once_do_not_write_over_each_other(tables: Any) -> None:
    put_plan(row())
    other = Principal("person-2", Role.OPERATOR, "request-2")

    def meanwhile() -> None:
        body = RatesRequest.model_validate({"rates": [row(fixed=2)]})
        commissions.put_plan_rates(other, PLAN, body, None)

    with Faults(tables) as faults:
        faults.next("TransactWriteItems", Faults.meanwhile(meanwhile))
        assert put_plan(row(fixed=3)).status == 409
    assert of_plan().body["rates"][0]["fixed"] == 2


def test_a_plan_without_a_table_is_unknown(tables: Any) -> None:
    world = World()
    refused = join(world, PLAN)
    assert refused.status == 422
    assert [(e["path"], e["code"]) for e in refused.body["errors"]] == [("body.plan_id", "unknown")]
    # An empty one is enough: then the practice's percentage holds.
    put_plan()
    assert join(world, PLAN).body["plan_id"] == PLAN


def test_a_practice_joins_and_leaves_a_plan(tables: Any) -> None:
    world = World()
    put_plan(row(percent_bps=300))
    first = join(world, PLAN, **{"If-Match": '"1"'})
    assert (first.status, first.body["plan_id"], first.headers["ETag"]) == (200, PLAN, '"2"')
    # The same again is no new version; a stale one is refused.
    assert join(world, PLAN).body["version"] == 2
    assert join(world, None, **{"If-Match": '"1"'}).status == 412
    shown = get(world).body
    assert (shown["plan_id"], shown["rates"]) == (PLAN, [])
    assert [one["percent_bps"] for one in shown["plan_rates"]] == [300]
    assert join(world, None).body["plan_id"] is None
    assert get(world).body["plan_rates"] == []
    unknown = call(
        "practices",
        "PUT",
        "/v1/practices/prac_01JC0NS0TADEM0000000000009/plan",
        {"plan_id": None},
        context=signed_in("operator"),
    )
    assert unknown.status == 404


def test_patients_are_not_told_of_the_plan(tables: Any) -> None:
    world = World()
    put_plan(row())
    join(world, PLAN)
    path = f"/v1/practices/{world.practice}"
    for role, plan in (("patient", None), ("viewer", PLAN)):
        found = call("practices", "GET", path, context=signed_in(role, world.practice))
        assert found.body["plan_id"] == plan


# ---------------------------------------------------------------- what a payment is stamped with


def test_a_payment_is_stamped_with_its_plans_rate(practice: Practice) -> None:
    world = practice.world
    # The run may go on past midnight: then this is tomorrow's.
    put_plan(row(TODAY + timedelta(days=2), percent_bps=100), row(fixed=50, percent_bps=300))
    before = practice.payment(practice.start(practice.hold(10)).id)
    assert before.rate["scope"] == "default"
    join(world, PLAN)
    item = practice.payment(practice.start(practice.hold(12)).id)
    expected = {"fixed": 50, "percent_bps": 300, "from": "2026-01-01", "scope": "plan"}
    assert expected.items() <= item.rate.items()
    assert int(item.commission) == 50 + PRICE * 300 // 10_000
    # The plan's table may change and the practice leave: what was agreed stays.
    put_plan()
    join(world, None)
    assert practice.payment(item.item_id).rate == item.rate
    # Its own row comes first.
    put_plan(row(percent_bps=300))
    join(world, PLAN)
    put(world, row(percent_bps=700))
    own = practice.payment(practice.start(practice.hold(14)).id)
    assert (own.rate["scope"], int(own.commission)) == ("practice", PRICE * 700 // 10_000)


def test_the_commission_of_a_plan_is_listed(practice: Practice) -> None:
    put_plan(row(percent_bps=300))
    join(practice.world, PLAN)
    practice.start(practice.hold(), "mercadopago")
    [shown] = get(practice.world, "/v1/commissions").body["items"]
    assert (shown["rate"]["scope"], shown["rate"]["percent_bps"]) == ("plan", 300)


def test_plans_are_in_no_practice(tables: Any) -> None:
    put_plan(row())
    world = World()
    assert table.get_raw(keys.plan_rates(PLAN)) is not None
    assert not keys.plan_rates(PLAN).pk.startswith(world.tenant.prefix)
