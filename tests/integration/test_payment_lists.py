"""Lists and summaries of payments: every filter, both orders, and figures instead of counting."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consulta.aggregates import catalog
from consulta.aggregates.catalog import WALK, AggregateKey, aggregates_table, figures_key
from consulta.core import table
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.time import now
from consulta.money.paying import orders, payment_views
from consulta.money.records import PaymentItem, Provider, State
from consulta.money.schema.payments import DisplayedStatus
from tests.faults import Faults
from tests.integration.test_services import ask, paths
from tests.unit.people.calling import Answer
from tests.unit.scheduling.world import World

BY = Actor("test", "request-1")
PATH, SUMMARY = "/v1/payments", "/v1/payments/summary"


@pytest.fixture
def world(tables: Any) -> World:
    return World()


def put(world: World, **more: Any) -> PaymentItem:
    values = {
        "order_id": new_id("ord"),
        "appointment_id": new_id("appt"),
        "patient_id": "pat_01JC0NS0TADEM0000000000000",
        "expert_id": "exp_01JC0NS0TADEM0000000000000",
        "service_id": "srv_01JC0NS0TADEM0000000000000",
        "payee_id": world.practice,
        "provider": str(Provider.STRIPE),
        "amount": 5000,
        "currency": "EUR",
        "zone": "Europe/Lisbon",
    } | more
    state = values.pop("state", State.OPEN)
    item = orders.make_payment(world.tenant, BY, **values)
    item.state = str(state)
    table.transact([table.put_new(item)])
    return item


def listed(world: World, query: str = "", **caller: Any) -> Answer:
    return ask(world, "GET", PATH, query=query, **caller)


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [item["id"] for item in answer.body["items"]]


# ---------------------------------------------------------------- lists


def test_the_filter_by_status_is_the_status_that_is_shown(world: World) -> None:
    """Every state × what was captured, refunded and disputed × an action that is asked for."""
    found: dict[DisplayedStatus, list[str]] = {status: [] for status in DisplayedStatus}
    amounts = [(0, 0, 0), (5000, 0, 0), (5000, 100, 0), (5000, 5000, 0), (5000, 100, 100)]
    for state, (captured, refunded, disputed), asked in itertools.product(
        State, amounts, (True, False)
    ):
        item = put(
            world,
            state=state,
            captured=captured,
            refunded=refunded,
            disputed=disputed,
            requires_action=asked,
        )
        found[payment_views.displayed(item)].append(item.item_id)
    assert all(found.values())
    for status, expected in found.items():
        answer = listed(world, f"status={status}&limit=50")
        assert ids(answer) == expected[::-1], status
        assert {item["status"] for item in answer.body["items"]} == {str(status)}
    both = listed(world, "status=processing&state=authorized&limit=50")
    assert set(ids(both)) < set(found[DisplayedStatus.PROCESSING])
    assert len(ids(both)) == 4


def test_every_filter_alone_and_together(world: World) -> None:
    expert, patient, service = new_id("exp"), new_id("pat"), new_id("srv")
    plain = put(world)
    theirs = put(world, expert_id=expert)
    hers = put(world, patient_id=patient, expert_id=expert)
    special = put(world, service_id=service, patient_id=patient, provider="mercadopago")
    assert ids(listed(world)) == [i.item_id for i in (special, hers, theirs, plain)]
    assert ids(listed(world, f"expert_id={expert}")) == [hers.item_id, theirs.item_id]
    assert ids(listed(world, f"patient_id={patient}")) == [special.item_id, hers.item_id]
    assert ids(listed(world, f"patient_id={patient}&expert_id={expert}")) == [hers.item_id]
    assert ids(listed(world, f"service_id={service}")) == [special.item_id]
    assert ids(listed(world, f"patient_id={patient}&service_id={service}")) == [special.item_id]
    assert ids(listed(world, "provider=mercadopago")) == [special.item_id]
    assert ids(listed(world, "provider=manual")) == []
    own = listed(world, f"patient_id={patient}", role="expert", subject=expert)
    assert ids(own) == [hers.item_id]
    refused = listed(world, f"expert_id={new_id('exp')}", role="expert", subject=expert)
    assert refused.status == 403


def test_both_orders_page_by_page(world: World) -> None:
    made = [put(world).item_id for _ in range(5)]
    for sort, expected in (("created_at", made), ("-created_at", made[::-1])):
        found, query = list[str](), f"sort={sort}&limit=2"
        while True:
            answer = listed(world, query)
            found += ids(answer)
            cursor = answer.body["next_cursor"]
            if cursor is None:
                break
            query = f"sort={sort}&limit=2&cursor={cursor}"
        assert found == expected
        assert ids(listed(world, f"sort={sort}")) == expected
    first = listed(world, "sort=created_at&limit=2").body["next_cursor"]
    assert listed(world, f"sort=-created_at&limit=2&cursor={first}").status == 400


def test_a_range_is_by_when_it_was_made(world: World) -> None:
    put(world)
    day = now().replace(microsecond=0)

    def of(first: datetime, last: datetime) -> int:
        query = f"from={first:%Y-%m-%dT%H:%M:%SZ}&to={last:%Y-%m-%dT%H:%M:%SZ}"
        return len(ids(listed(world, query)))

    hour = timedelta(hours=1)
    assert of(day - hour, day + hour) == 1
    assert of(day - 3 * hour, day - hour) == 0
    assert of(day + hour, day + 3 * hour) == 0


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("sort=amount", "query.sort"),
        ("status=paid", "query.status"),
        ("provider=paypal", "query.provider"),
        ("service_id=x", "query.service_id"),
        ("limit=51", "query.limit"),
        ("from=2025-01-01T00:00:00Z&to=2026-06-01T00:00:00Z", "query.to"),
    ],
)
def test_what_cannot_be_asked_for(world: World, query: str, path: str) -> None:
    answer = listed(world, query)
    assert (answer.status, paths(answer)) == (422, [path])


# ---------------------------------------------------------------- the summary


def figure(world: World, subject: tuple[str, str], period: str, **more: int) -> None:
    key = figures_key(world.tenant, AggregateKey(*subject, period))
    row = {name.replace("__", "."): value for name, value in more.items()}
    updated = {"updated_at": "2026-11-21T09:00:00.000Z"}
    table.transact([table.put_values(key, {**row, **updated}, table=aggregates_table())])


def summary(world: World, query: str, **caller: Any) -> Answer:
    return ask(world, "GET", SUMMARY, query=query, **caller)


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def test_the_summary_is_read_from_figures(world: World, tables: Any) -> None:
    practice, expert = ("PRACTICE", world.practice), world.expert()
    figure(world, practice, "D#2026-01-31", collected__EUR=5000, payments__EUR=1)
    figure(world, practice, "M#2026-01", collected__EUR=99, payments__EUR=9)
    figure(world, practice, "M#2026-02", collected__EUR=7001, payments__EUR=3, refunded__EUR=40)
    figure(world, practice, "D#2026-03-01", collected__CLP=900, payments__CLP=2, payments=2)
    figure(world, practice, "D#2026-03-02", collected__EUR=99, payments__EUR=9)
    figure(world, practice, "TOTAL", awaiting__EUR=300, awaiting__USD=20, collected__EUR=10**9)
    figure(world, ("EXPERT", expert), "M#2026-02", collected__EUR=10, payments__EUR=4)
    query = "from=2026-01-31&to=2026-03-01"
    with Faults(tables) as faults:
        found = summary(world, query)
        assert dict(faults.calls) == {"Query": 3, "BatchGetItem": 1}
    assert found.status == 200
    assert found.headers["Cache-Control"] == "private, max-age=60"
    body = found.body
    assert (body["from"], body["to"], body["expert_id"]) == ("2026-01-31", "2026-03-01", None)
    assert body["changed_at"] == "2026-11-21T09:00:00Z"
    assert datetime.fromisoformat(body["as_of"]) <= datetime.now(UTC)

    def money(currency: str, amount: int) -> dict[str, Any]:
        return {"amount": amount, "currency": currency}

    def entry(currency: str, *amounts: int, count: int, average: int | None) -> dict[str, Any]:
        revenue, refunds, pending = (money(currency, amount) for amount in amounts)
        return {
            "currency": currency,
            "revenue": revenue,
            "refunds": refunds,
            "pending": pending,
            "count": count,
            "average": None if average is None else money(currency, average),
        }

    assert body["currencies"] == [
        entry("CLP", 900, 0, 0, count=2, average=450),
        # 12001 / 4 = 3000.25
        entry("EUR", 12001, 40, 300, count=4, average=3000),
        entry("USD", 0, 0, 20, count=0, average=None),
    ]
    own = summary(world, query, role="expert", subject=expert).body
    assert own["expert_id"] == expert
    # 2.5 to even
    assert own["currencies"] == [entry("EUR", 10, 0, 0, count=4, average=2)]


def test_the_summary_says_whether_it_is_complete(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "from=2026-02-01&to=2026-02-28"
    # Whether figures are whole that it does not show is not asked.
    monkeypatch.setattr(catalog, "GENERATION", 5)
    assert summary(world, query).body["complete"] is True
    monkeypatch.setitem(catalog.SINCE, "awaiting", 5)
    assert summary(world, query).body["complete"] is False
    figure(world, ("PRACTICE", world.practice), WALK, done=5)
    assert summary(world, query).body["complete"] is True
    assert summary(world, query).body["currencies"] == []


def test_whose_summary(world: World) -> None:
    expert = world.expert()
    query = "from=2026-02-01&to=2026-02-28"
    assert summary(world, query, role="patient", subject=world.patient()).status == 403
    other = f"{query}&expert_id={world.expert()}"
    assert summary(world, other, role="expert", subject=expert).status == 403
    assert summary(world, f"{query}&expert_id={World().expert()}").status == 404
    for wrong, path in (
        ("from=2026-02-01", "query.to"),
        ("from=2026-02-02&to=2026-02-01", "query.to"),
        ("from=2026-01-01&to=2027-01-02", "query.to"),
        ("from=2026-02-30&to=2026-03-01", "query.from"),
        (f"{query}&expert_id=x", "query.expert_id"),
    ):
        answer = summary(world, wrong)
        assert (answer.status, paths(answer)[0]) == (422, path), wrong
