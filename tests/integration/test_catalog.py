"""Services in Stripe's catalogue, against the simulator, which checks every request by the SDK."""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from consulta.core import aws as clients
from consulta.core import settings, table
from consulta.core.bus import Event
from consulta.core.errors import NotFound, ProviderFailed
from consulta.money import catalog
from consulta.people import practices
from consulta.people.records import PRACTICE
from consulta.people.schema.practices import PracticePatch
from consulta.scheduling.records import SERVICE, ServiceCatalogItem
from consulta.scheduling.services import catalog_key
from tests.faults import Faults
from tests.integration.test_providers import (  # noqa: F401  # fixtures are found by their names
    Simulator,
    aws,
    stripe,
    stripe_process,
)
from tests.integration.test_services import PACKAGE, PATH, ask, made
from tests.unit.people.calling import handler
from tests.unit.scheduling.world import World

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over


@pytest.fixture
def world(stripe: Simulator) -> World:
    return World()


def product(stripe: Simulator, service: str) -> dict[str, Any]:
    return dict(stripe.get(f"/v1/products/{service}"))


def prices(stripe: Simulator, service: str) -> list[tuple[int, str, bool]]:
    """Amount, currency and whether it is in use; the newest first."""
    found = stripe.get(f"/v1/prices?product={service}")["data"]
    return [(one["unit_amount"], one["currency"], one["active"]) for one in found]


def patch(world: World, service: str, **change: Any) -> None:
    assert ask(world, "PATCH", f"{PATH}/{service}", change).status == 200


def shown(world: World, service: str) -> dict[str, Any]:
    return dict(ask(world, "GET", f"{PATH}/{service}").body["catalog"])


def known(world: World, service: str) -> ServiceCatalogItem:
    found = table.get(ServiceCatalogItem, catalog_key(world.tenant, service))
    assert found
    return found


def fail_next(stripe: Simulator, method: str, path: str, kind: str = "status", **more: Any) -> None:
    stripe.control("faults", {"method": method, "path_prefix": path, "kind": kind, **more})


# ---------------------------------------------------------------- in step


def test_a_service_becomes_a_product_with_its_price(world: World, stripe: Simulator) -> None:
    service = made(world, name="Couples therapy")
    assert shown(world, service)["state"] == "pending"
    catalog.sync(world.tenant, service)
    found = product(stripe, service)
    assert (found["name"], found["active"]) == ("Appointment", True)
    assert found["metadata"] == {"practice": world.practice, "service": service}
    assert prices(stripe, service) == [(5000, "eur", True)]
    state = shown(world, service)
    assert (state["state"], state["product_id"], state["error"]) == ("synced", service, None)
    assert state["price_id"] == found["default_price"]
    price = stripe.get(f"/v1/prices/{state['price_id']}")
    assert price["lookup_key"] == f"{service}:EUR:5000"
    assert price["metadata"] == {"practice": world.practice, "service": service}


def test_nothing_of_a_service_is_told_but_what_it_costs(world: World, stripe: Simulator) -> None:
    service = made(world, name="HIV test", description="Private", category="Lab")
    catalog.sync(world.tenant, service)
    told = json.dumps([product(stripe, service), stripe.get(f"/v1/prices?product={service}")])
    for word in ("HIV", "Private", "Lab"):
        assert word not in told


def test_a_package_says_how_many_sessions(world: World, stripe: Simulator) -> None:
    service = made(world, **PACKAGE)
    catalog.sync(world.tenant, service)
    assert product(stripe, service)["name"] == "Package of 10 sessions"


def test_another_price_takes_the_place_of_the_first(world: World, stripe: Simulator) -> None:
    service = made(world)
    catalog.sync(world.tenant, service)
    first = shown(world, service)["price_id"]
    patch(world, service, price={"amount": 6000, "currency": "EUR"})
    pending = shown(world, service)
    assert (pending["state"], pending["price_id"]) == ("pending", first)
    catalog.sync(world.tenant, service)
    assert prices(stripe, service) == [(6000, "eur", True), (5000, "eur", False)]
    assert product(stripe, service)["default_price"] == shown(world, service)["price_id"] != first
    patch(world, service, price={"amount": 5000, "currency": "EUR"})
    catalog.sync(world.tenant, service)
    assert prices(stripe, service) == [(6000, "eur", False), (5000, "eur", True)]
    assert shown(world, service)["price_id"] == first
    patch(world, service, price={"amount": 5000, "currency": "USD"})
    catalog.sync(world.tenant, service)
    assert [p for p in prices(stripe, service) if p[2]] == [(5000, "usd", True)]


def test_yen_and_dinars_are_stripes_own_units(world: World, stripe: Simulator) -> None:
    yen = made(world, price={"amount": 500, "currency": "JPY"})
    crowns = made(world, price={"amount": 500, "currency": "ISK"})
    for service in (yen, crowns):
        catalog.sync(world.tenant, service)
    assert prices(stripe, yen) == [(500, "jpy", True)]
    assert prices(stripe, crowns) == [(50_000, "isk", True)]


def test_an_idle_or_removed_service_is_not_sold(world: World, stripe: Simulator) -> None:
    service = made(world)
    catalog.sync(world.tenant, service)
    patch(world, service, active=False)
    catalog.sync(world.tenant, service)
    assert product(stripe, service)["active"] is False
    patch(world, service, active=True)
    catalog.sync(world.tenant, service)
    assert product(stripe, service)["active"] is True
    ask(world, "DELETE", f"{PATH}/{service}")
    catalog.sync(world.tenant, service)
    assert product(stripe, service)["active"] is False
    never = made(world)
    ask(world, "DELETE", f"{PATH}/{never}")
    catalog.sync(world.tenant, never)
    assert "error" in product(stripe, never)


def test_what_stripe_has_already_is_not_sent_again(
    world: World, stripe: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = made(world)
    catalog.sync(world.tenant, service)
    monkeypatch.setattr(catalog, "bring", lambda *_: pytest.fail("Stripe was asked"))
    version = known(world, service).version
    catalog.sync(world.tenant, service)
    assert known(world, service).version == version
    patch(world, service, position=7)
    assert shown(world, service)["state"] == "pending"
    catalog.sync(world.tenant, service)
    assert shown(world, service)["state"] == "synced"


# ---------------------------------------------------------------- labels


def test_a_practice_may_use_its_own_names(world: World, stripe: Simulator) -> None:
    service = made(world, name="Massage")
    catalog.sync(world.tenant, service)
    owner = world.owner
    out = practices.change(owner, world.practice, PracticePatch(stripe_labels="service"), None)
    assert out.stripe_labels == "service"
    catalog.sync(world.tenant, service)
    assert product(stripe, service)["name"] == "Massage"
    patch(world, service, name="Sports massage")
    catalog.sync(world.tenant, service)
    assert product(stripe, service)["name"] == "Sports massage"
    practices.change(owner, world.practice, PracticePatch(stripe_labels="neutral"), None)
    catalog.sync(world.tenant, service)
    assert product(stripe, service)["name"] == "Appointment"


def test_a_practices_change_reaches_each_of_its_services(
    world: World, stripe: Simulator, environment: pytest.MonkeyPatch
) -> None:
    queue = clients.client("sqs").create_queue(QueueName="catalog")["QueueUrl"]
    environment.setenv("CATALOG_QUEUE_URL", queue)
    settings.reset()
    services = {made(world) for _ in range(12)}
    made(World())
    event = Event(world.practice, PRACTICE, world.practice, 2, "changed")
    assert catalog.process([record(event)]) == []
    told = []
    while True:
        answer = clients.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        if not answer.get("Messages"):
            break
        told += [Event.received(message["Body"]) for message in answer["Messages"]]
        for message in answer["Messages"]:
            clients.client("sqs").delete_message(
                QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"]
            )
    assert {event.id for event in told} == services
    assert {event.entity for event in told} == {SERVICE}
    assert len(told) == len(services)


# ---------------------------------------------------------------- trouble


def record(event: Event, number: str = "m1") -> dict[str, Any]:
    return {"messageId": number, "body": json.dumps({"detail": asdict(event)})}


def test_the_queue_tries_again_what_stripe_did_not_take(world: World, stripe: Simulator) -> None:
    first, second = made(world), made(world)
    events = [
        record(Event(world.practice, SERVICE, service, 1, "created"), service)
        for service in (first, second)
    ]
    fail_next(stripe, "POST", "/v1/products", status=500)
    called = handler("catalog")
    answer = called({"Records": events}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": first}]}
    state = shown(world, first)
    assert (state["state"], state["error"], state["product_id"]) == (
        "failed",
        "provider-failed",
        None,
    )
    assert shown(world, second)["state"] == "synced"
    assert called({"Records": events}, None) == {"batchItemFailures": []}
    assert shown(world, first)["state"] == "synced"
    assert shown(world, first)["error"] is None


def test_a_failure_does_not_reach_who_changes_a_service(world: World, stripe: Simulator) -> None:
    fail_next(stripe, "POST", "/v1/products", status=500)
    service = made(world)
    with pytest.raises(ProviderFailed):
        catalog.sync(world.tenant, service)
    patch(world, service, name="Still mine")
    assert ask(world, "GET", PATH).body["items"][0]["name"] == "Still mine"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/products"),
        ("GET", "/v1/prices"),
        ("POST", "/v1/prices"),
        ("POST", "/v1/products/svc"),
    ],
)
@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after"])
def test_whatever_was_lost_on_the_way_comes_to_the_same(
    world: World, stripe: Simulator, method: str, path: str, kind: str
) -> None:
    service = made(world)
    catalog.sync(world.tenant, service)
    patch(world, service, price={"amount": 7000, "currency": "EUR"}, active=False)
    # As often as the SDK tries by itself.
    fail_next(stripe, method, path, kind, times=3)
    for _ in range(4):
        try:
            catalog.sync(world.tenant, service)
        except ProviderFailed:
            continue
        break
    assert [price for price in prices(stripe, service) if price[2]] == [(7000, "eur", True)]
    assert len(prices(stripe, service)) == 2
    assert product(stripe, service)["active"] is False
    assert shown(world, service)["state"] == "synced"


def test_a_product_that_somebody_removed_is_made_again(world: World, stripe: Simulator) -> None:
    service = made(world)
    catalog.sync(world.tenant, service)
    stripe.control("reset")
    patch(world, service, price={"amount": 9000, "currency": "EUR"})
    with pytest.raises(NotFound):
        catalog.sync(world.tenant, service)
    assert shown(world, service)["state"] == "failed"
    catalog.sync(world.tenant, service)
    assert prices(stripe, service) == [(9000, "eur", True)]


def test_an_amount_that_stripe_does_not_take_is_not_tried_again(
    world: World, stripe: Simulator
) -> None:
    service = made(world, price={"amount": 5001, "currency": "KWD"})
    catalog.sync(world.tenant, service)
    state = shown(world, service)
    assert (state["state"], state["error"]) == ("failed", "invalid")
    assert "error" in product(stripe, service)
    patch(world, service, price={"amount": 5010, "currency": "KWD"})
    catalog.sync(world.tenant, service)
    assert shown(world, service)["state"] == "synced"


def test_who_is_overtaken_starts_from_what_is_now(
    world: World, stripe: Simulator, tables: Any
) -> None:
    service = made(world)
    catalog.sync(world.tenant, service)
    patch(world, service, price={"amount": 6000, "currency": "EUR"})

    def newer() -> None:
        """Another worker, with a newer version, done before the first has written."""
        patch(world, service, price={"amount": 7000, "currency": "EUR"}, active=False)
        catalog.sync(world.tenant, service)

    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(newer))
        catalog.sync(world.tenant, service)
    assert [price for price in prices(stripe, service) if price[2]] == [(7000, "eur", True)]
    assert product(stripe, service)["active"] is False
    assert shown(world, service)["state"] == "synced"


def at_once(number: int, act: Callable[[], None]) -> None:
    threads = [threading.Thread(target=act) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_many_at_once_make_one_price(world: World, stripe: Simulator) -> None:
    service = made(world)

    def act() -> None:
        for _ in range(3):
            try:
                catalog.sync(world.tenant, service)
            except ProviderFailed:
                continue
            return

    at_once(4, act)
    assert prices(stripe, service) == [(5000, "eur", True)]
    assert shown(world, service)["state"] == "synced"


def test_other_entities_are_let_by(world: World) -> None:
    catalog.handle(Event(world.practice, "APPOINTMENT", "appt_1", 1, "created"))
    catalog.handle(Event(world.practice, PRACTICE, world.practice, 1, "created"))
