"""Mercado Pago's chargebacks, claims and fraud alerts, whoever tells of them first."""

from typing import Any

import mercadopago as sdk
import pytest

from consulta.core import keys, table
from consulta.money.disputes.records import DISPUTE, DisputeItem
from consulta.money.paying import orders
from consulta.money.webhooks import inbox
from consulta.money.webhooks.inbox import InboxState
from tests.integration.test_money_simulated import (  # noqa: F401  # fixtures are found by their names
    PRICE,
    Simulator,
    ask,
    aws,
    balances,
    hold,
    mercadopago,
    mercadopago_process,
)
from tests.integration.test_providers import by_card, connect_seller
from tests.unit.people.calling import PRACTICE
from tests.unit.scheduling.world import World

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over


@pytest.fixture
def paid(mercadopago: Simulator, hold: str) -> dict[str, Any]:
    """A payment that the seller has received, as the API shows it."""
    assert connect_seller(mercadopago).status in (200, 201)
    body = by_card(hold)
    made = ask("payments", "POST", "/v1/payments", body)
    assert (made.status, made.body["status"]) == (201, "succeeded"), made.body
    return dict(made.body)


def events(simulator: Simulator, *kinds: str) -> list[dict[str, Any]]:
    found = [item["event"] for item in simulator.get("/_control/events")["events"]]
    return [event for event in found if event["type"] in kinds]


def hear(event: dict[str, Any]) -> InboxState:
    data = event["data"]
    return inbox.handle(
        {
            "provider": "mercadopago",
            "event_id": str(event["id"]),
            "type": event["type"],
            "live": False,
            "account": str(event["user_id"]),
            "object_id": str(data.get("id") or data.get("payment_id")),
            "api_version": "v1",
        }
    )


def error_of(event: dict[str, Any]) -> str:
    raw = table.get_raw(keys.inbox("mercadopago", str(event["user_id"]), str(event["id"])))
    assert raw
    return str(table.from_raw(raw).get("error", ""))


def disputes() -> list[DisputeItem]:
    tenant = World(PRACTICE, exists=True).tenant
    rows = table.Query(tenant.listing(DISPUTE), index="walk").all()
    items = [table.get(DisputeItem, tenant.item(DISPUTE, raw["walksk"]["S"])) for raw in rows]
    return [item for item in items if item]


def disputed(payment_id: str) -> int:
    return int(orders.load(World(PRACTICE, exists=True).tenant, payment_id).disputed)


@pytest.mark.parametrize("ends", ["won", "lost"])
@pytest.mark.parametrize(
    "topics", [("payment",), ("topic_chargebacks_wh",), ("payment", "topic_chargebacks_wh")]
)
def test_a_chargeback_is_heard_of_by_either_topic_alone(
    mercadopago: Simulator, paid: dict[str, Any], topics: tuple[str, ...], ends: str
) -> None:
    before = balances()
    opened = mercadopago.control(f"payments/{paid['provider_id']}/chargeback", {"reason": "fraud"})
    for event in reversed(events(mercadopago, *topics)):
        assert hear(event) is InboxState.DONE
        assert hear(event) is InboxState.DONE
    (item,) = disputes()
    assert (item.provider_id, item.status, item.amount) == (opened["id"], "needs_response", PRICE)
    assert disputed(paid["id"]) == PRICE
    held = ("PAYEE", "held")
    assert balances()[held] == PRICE
    mercadopago.control(f"chargebacks/{opened['id']}", {"status": ends})
    for event in reversed(events(mercadopago, *topics)):
        assert hear(event) is InboxState.DONE
    (item,) = disputes()
    assert item.status == ends
    if ends == "won":
        assert (disputed(paid["id"]), balances()) == (0, before)
    else:
        assert held not in balances()
        assert balances()["PAYEE", "loss"] == PRICE


def test_a_mediation_has_no_chargeback(mercadopago: Simulator, paid: dict[str, Any]) -> None:
    claim = mercadopago.control(f"payments/{paid['provider_id']}/claim")
    before = balances()
    for event in events(mercadopago, "payment", "topic_claims_integration_wh"):
        assert hear(event) is InboxState.DONE
    assert disputes() == []
    assert balances() == before
    assert claim["resource_id"] == int(paid["provider_id"])


def test_a_claim_about_a_payment_that_is_not_ours(
    mercadopago: Simulator, paid: dict[str, Any]
) -> None:
    token = next(iter(_tokens()))
    other = (
        client(mercadopago, token)
        .payment()
        .create(
            {
                "transaction_amount": 10,
                "payment_method_id": "visa",
                "token": "tok_approved",
                "installments": 1,
                "payer": {"email": "somebody@example.com"},
            }
        )["response"]
    )
    mercadopago.control(f"payments/{other['id']}/claim")
    (event,) = events(mercadopago, "topic_claims_integration_wh")
    assert hear(event) is InboxState.IGNORED
    assert error_of(event) == "not_ours"
    stranger = {**event, "id": "77", "user_id": "4712"}
    assert hear(stranger) is InboxState.IGNORED
    assert error_of(stranger) == "unknown_account"


def _tokens() -> list[str]:
    from consulta.money.mercadopago import tokens as mercadopago_tokens  # noqa: PLC0415

    tenant = World(PRACTICE, exists=True).tenant
    return [mercadopago_tokens.access_token(tenant, PRACTICE)]


def client(simulator: Simulator, token: str) -> Any:
    from consulta.money.mercadopago import client as mercadopago_client  # noqa: PLC0415

    return mercadopago_client.sdk(token)


def test_a_fraud_alert_waits_for_a_person(mercadopago: Simulator, paid: dict[str, Any]) -> None:
    mercadopago.control(f"payments/{paid['provider_id']}/alert")
    (event,) = events(mercadopago, "stop_delivery_op_wh")
    assert "id" not in event["data"]
    before = balances()
    assert hear(event) is InboxState.FAILED
    assert error_of(event) == "fraud_alert"
    assert (balances(), disputed(paid["id"])) == (before, 0), "nothing is refunded by itself"


@pytest.mark.parametrize("contested", ["claim", "chargeback"])
def test_an_alert_about_a_contested_payment_waits_too(
    mercadopago: Simulator, paid: dict[str, Any], contested: str
) -> None:
    mercadopago.control(f"payments/{paid['provider_id']}/{contested}", {"reason": "fraud"})
    mercadopago.control(f"payments/{paid['provider_id']}/alert")
    (event,) = events(mercadopago, "stop_delivery_op_wh")
    assert hear(event) is InboxState.FAILED
    assert error_of(event) == "fraud_alert"


# ---------------------------------------------------------------- the simulator, by the SDK


def test_the_simulator_shows_chargebacks_to_their_seller_only(
    mercadopago: Simulator, paid: dict[str, Any]
) -> None:
    api = client(mercadopago, _tokens()[0])
    none = api.chargeback().get(paid["provider_id"])
    assert none["status"] == 404
    opened = mercadopago.control(f"payments/{paid['provider_id']}/chargeback", {"amount": "10.50"})
    by_payment = api.chargeback().get(paid["provider_id"])["response"]
    assert by_payment == api.chargeback().get(opened["id"])["response"]
    assert (by_payment["amount"], by_payment["payments"]) == (10.5, [int(paid["provider_id"])])
    listed = api.chargeback().search({"payment_id": paid["provider_id"]})["response"]
    assert [found["id"] for found in listed["results"]] == [opened["id"]]
    assert api.chargeback().search({"payment_id": "1"})["response"]["paging"]["total"] == 0
    assert api.chargeback().search({"status": "x"})["status"] == 400
    assert connect_seller(mercadopago, "practice", "clinic").status in (200, 201)
    code = mercadopago.control("authorize", {"seller": "another"})["code"]
    body = {
        "grant_type": "authorization_code",
        "client_id": "7",
        "client_secret": "s",
        "code": code,
        "redirect_uri": "https://example.com/back",
    }
    stranger = api.oauth().create(body)["response"]["access_token"]
    theirs = sdk.config.RequestOptions(access_token=stranger)
    assert api.chargeback().get(opened["id"], theirs)["status"] == 404
