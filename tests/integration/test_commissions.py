"""Rate tables, the rate that a payment is stamped with, and the list of commissions."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from consulta.core import table
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.core.time import local_day, to_text
from consulta.money import commissions
from consulta.money.paying import payments, refunds
from consulta.money.paying.orders import new_payment
from consulta.money.rates import key_of
from consulta.money.schema.commissions import RatesRequest
from consulta.money.schema.payments import ManualPaymentRequest, RefundRequest, StartedPayment
from consulta.people.records import PRACTICE, PracticeItem
from tests.faults import Faults
from tests.integration import test_money
from tests.integration.test_money import BY, FEE, PRICE, Practice
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import TODAY, World, tomorrow

# The practice whose payee is connected, with scripted providers.
practice = test_money.practice

RATES = "/v1/commissions/rates"
UNKNOWN = "srv_01JC0NS0TADEM0000000000009"
PUT_REFUSED: list[tuple[list[dict[str, Any]], str, str]] = [
    ([{"percent_bps": 10_001}], "body.rates.0.percent_bps", "less_than_equal"),
    ([{"percent_bps": -1}], "body.rates.0.percent_bps", "greater_than_equal"),
    ([{"fixed": -1}], "body.rates.0.fixed", "greater_than_equal"),
    ([{"fixed": 0.5}], "body.rates.0.fixed", "int_from_float"),
    ([{"currency": "XXQ"}], "body.rates.0.currency", "value_error"),
    ([{"from": "yesterday"}], "body.rates.0.from", "date_from_datetime_parsing"),
    ([{"rate": 1}], "body.rates.0.rate", "extra_forbidden"),
    ([{"service_id": UNKNOWN}], "body.rates.0.service_id", "unknown"),
    ([{}, {"fixed": 1}], "body.rates.1.from", "duplicate"),
    ([{}, {"from": "2026-01-02"}], "body.rates.1.from", "order"),
    ([{}] * 201, "body.rates", "too_long"),
]


def row(day: date | str = "2026-01-01", **changes: Any) -> dict[str, Any]:
    return {"from": str(day), "percent_bps": 1000, "currency": "EUR"} | changes


def put(world: World, *rows: dict[str, Any], role: str = "operator", **headers: str) -> Answer:
    context = signed_in(role, world.practice)
    return call(
        "commissions",
        "PUT",
        RATES,
        {"rates": list(rows)},
        context=context,
        query=f"practice_id={world.practice}",
        headers=headers,
    )


def elsewhere(world: World) -> None:
    """Another operator puts a table at the same time."""
    body = RatesRequest.model_validate({"rates": [row(fixed=2)]})
    operator = Principal("person-2", Role.OPERATOR, "request-2")
    commissions.put_rates(operator, world.practice, body, None)


def get(world: World, path: str = RATES, role: str = "owner", **request: Any) -> Answer:
    subject = request.pop("subject", "")
    context = signed_in(role, world.practice, subject)
    return call("commissions", "GET", path, context=context, **request)


def listed(practice: Practice, query: str = "", role: str = "owner", subject: str = "") -> Any:
    answer = get(practice.world, "/v1/commissions", role, subject=subject, query=query)
    assert answer.status == 200, answer.body
    return answer.body["items"]


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def settled(practice: Practice, payment: StartedPayment, commission: int) -> None:
    """Paid, and settled with the commission that was asked for."""
    provider_id = str(payment.provider_id)
    practice.stripe.pay(provider_id)
    practice.event(payment, "payment_intent.succeeded")
    practice.stripe.change(
        provider_id, fee=FEE, commission=commission, balance_transaction=f"txn_{provider_id}"
    )
    practice.event(payment, "charge.updated")


# ---------------------------------------------------------------- the rate table


def test_a_table_is_put_and_read_again(tables: Any) -> None:
    world = World()
    service = world.service(world.expert())
    before = get(world)
    assert (before.status, before.body["version"], before.body["rates"]) == (200, 0, [])
    assert before.body["default_percent_bps"] == 1000
    rows = [row("2026-07-01", fixed=50, service_id=service), row()]
    first = put(world, *rows, **{"If-Match": '"0"'})
    full = {"fixed": 0, "tax_bps": 0, "on_manual": False, "service_id": None, "plan_id": None}
    assert (first.status, first.headers["ETag"]) == (200, '"1"')
    assert first.body["rates"] == [full | one for one in rows]
    assert get(world).body == first.body
    operators = call(
        "commissions", "GET", f"{RATES}/{world.practice}", context=signed_in("operator")
    )
    assert operators.body == first.body
    # The same again is no new version; another one replaces it, and an empty one ends it.
    assert put(world, *rows).body["version"] == 1
    assert put(world, row(), **{"If-Match": '"1"'}).body["version"] == 2
    assert (put(world).body["rates"], get(world).body["version"]) == ([], 3)


@pytest.mark.parametrize(("rows", "path", "code"), PUT_REFUSED)
def test_a_table_that_cannot_be_is_refused(
    tables: Any, rows: list[dict[str, Any]], path: str, code: str
) -> None:
    world = World()
    answer = put(world, *(row(**one) if "from" not in one else row() | one for one in rows))
    assert answer.status == 422
    assert (path, code) in [(e["path"], e["code"]) for e in answer.body["errors"]]
    assert table.get_raw(key_of(world.tenant)) is None


def test_a_stale_table_is_not_written_over(tables: Any) -> None:
    world = World()
    put(world, row())
    assert put(world, row(fixed=1), **{"If-Match": '"0"'}).status == 412
    for first_time in (False, True):
        other = World() if first_time else world
        with Faults(tables) as faults:
            faults.next("TransactWriteItems", Faults.meanwhile(lambda w=other: elsewhere(w)))
            assert put(other, row(fixed=3)).status == 409
        assert [one["fixed"] for one in get(other).body["rates"]] == [2]


def test_a_lost_answer_writes_it_once(tables: Any) -> None:
    world = World()
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", Faults.lost_answer)
        assert put(world, row()).status == 200
    assert get(world).body["version"] == 1


@pytest.mark.parametrize("role", ["owner", "admin", "expert", "billing", "viewer", "patient"])
def test_only_operators_write_it(tables: Any, role: str) -> None:
    world = World()
    assert put(world, row(), role=role).status == 403
    assert get(world, f"{RATES}/{world.practice}", role).status == 403
    assert table.get_raw(key_of(world.tenant)) is None


@pytest.mark.parametrize(
    ("role", "status"),
    [("owner", 200), ("admin", 200), ("billing", 200), ("expert", 403), ("patient", 403)],
)
def test_the_terms_are_for_who_sees_all_payments(tables: Any, role: str, status: int) -> None:
    assert get(World(), role=role, subject="exp_01JC0NS0TADEM0000000000000").status == status


def test_a_practice_that_is_not_there(tables: Any) -> None:
    world = World("prac_01JC0NS0TADEM0000000000009", exists=True)
    assert put(world, row()).status == 404
    for query in ("", "practice_id=prac_1"):
        answer = call(
            "commissions", "PUT", RATES, {"rates": []}, context=signed_in("operator"), query=query
        )
        assert (answer.status, answer.body["errors"][0]["path"]) == (422, "query.practice_id")


# ---------------------------------------------------------------- what a payment is stamped with


def test_the_rate_of_its_day_is_stamped_and_stays(practice: Practice) -> None:
    put(
        practice.world,
        row(TODAY + timedelta(days=3), percent_bps=9000),
        row(TODAY - timedelta(days=1), fixed=120, percent_bps=700),
    )
    payment = practice.start(practice.hold())
    item = practice.payment(payment.id)
    assert int(item.commission) == 120 + PRICE * 7 // 100
    since = (TODAY - timedelta(days=1)).isoformat()
    terms = {"tax_bps": 0, "on_manual": False}
    stamped = {"fixed": 120, "percent_bps": 700, **terms, "from": since, "scope": "practice"}
    assert item.rate == stamped
    # What is under way keeps what was agreed; what is made next has the new rate.
    put(practice.world, row(percent_bps=100))
    again = practice.start(payment.appointment_id)
    assert (again.id, practice.payment(again.id).rate) == (payment.id, stamped)
    assert int(practice.payment(practice.start(practice.hold(14)).id).commission) == PRICE // 100


def test_a_services_own_rate_comes_first(practice: Practice) -> None:
    put(
        practice.world,
        row("2026-02-01", percent_bps=100),
        row(percent_bps=2000, service_id=practice.service),
    )
    item = practice.payment(practice.start(practice.hold(), "mercadopago").id)
    assert item.rate["scope"] == "service"
    other = practice.world.service(practice.expert, price=PRICE)
    held = practice.world.book(
        other, practice.expert, practice.world.patient(), tomorrow(15, days=2)
    )
    assert int(practice.payment(practice.start(held.id).id).commission) == PRICE // 100


def test_without_a_table_the_practices_percentage_holds(practice: Practice) -> None:
    put(practice.world, row(currency="USD", percent_bps=1))
    item = practice.payment(practice.start(practice.hold()).id)
    terms = {"tax_bps": 0, "on_manual": False}
    default = {"fixed": 0, "percent_bps": 1000, **terms, "from": None, "scope": "default"}
    assert (int(item.commission), item.rate) == (PRICE // 10, default)


@pytest.mark.parametrize(("hour", "bps"), [(14, 1000), (15, 500)])
def test_the_day_is_the_practices(practice: Practice, hour: int, bps: int) -> None:
    """At 15:00 UTC it is the next day in Tokyo, and the new rate holds."""
    key = practice.world.tenant.item(PRACTICE, practice.world.practice)
    found = table.get(PracticeItem, key)
    assert found
    table.transact([table.change(found, BY, set_={"zone": "Asia/Tokyo"})])
    held = practice.hold()
    practice.clock.at = datetime(TODAY.year, TODAY.month, TODAY.day, hour, tzinfo=UTC)
    put(
        practice.world,
        row(TODAY + timedelta(days=1), percent_bps=500),
        row(TODAY - timedelta(days=9)),
    )
    item = practice.appointment(held)
    ends = {"hold_expires_at": to_text(practice.clock.at + timedelta(minutes=10))}
    table.transact([table.change(item, BY, set_=ends)])
    assert practice.payment(practice.start(held).id).rate["percent_bps"] == bps
    assert local_day(practice.clock.at, "Asia/Tokyo") == TODAY + timedelta(days=hour - 14)


def test_the_second_payment_of_an_order_has_the_same_terms(practice: Practice) -> None:
    put(practice.world, row(fixed=10))
    like = practice.payment(practice.start(practice.hold()).id)
    made = new_payment(practice.world.tenant, like, BY, provider_id="pi_2", amount=PRICE)
    assert (made.rate, made.commission) == (like.rate, like.commission)


# ---------------------------------------------------------------- the list


def test_a_commission_is_pending_then_collected_then_returned(practice: Practice) -> None:
    put(practice.world, row(fixed=120, percent_bps=700))
    payment = practice.start(practice.hold())
    assert listed(practice) == []
    practice.stripe.pay(str(payment.provider_id))
    practice.event(payment, "payment_intent.succeeded")
    [shown] = listed(practice)
    assert (shown["status"], shown["payment_id"]) == ("pending", payment.id)
    assert shown["rate"] == {
        "fixed": 120,
        "percent_bps": 700,
        "tax_bps": 0,
        "on_manual": False,
        "from": "2026-01-01",
        "scope": "practice",
    }
    settled(practice, payment, 470)
    [shown] = listed(practice)
    assert shown["status"] == "collected"
    assert (shown["gross"], shown["commission"], shown["fee"]) == (eur(PRICE), eur(470), eur(FEE))
    # A destination charge: the platform pays the provider, so the fee is not the payee's.
    assert (shown["fee_paid_by"], shown["net"]) == ("platform", eur(PRICE - 470))
    body = RefundRequest.model_validate({"amount": eur(1000)})
    refunds.create(practice.owner, payment.id, body, None)
    [shown] = listed(practice)
    assert (shown["status"], shown["commission_returned"]) == ("collected", eur(94))
    assert shown["net"] == eur(PRICE - 1000 - (470 - 94))
    refunds.create(practice.owner, payment.id, RefundRequest(), None)
    [shown] = listed(practice)
    assert (shown["status"], shown["commission_returned"]) == ("returned", eur(470))
    assert (shown["refunded"], shown["net"]) == (eur(PRICE), eur(0))


def test_the_payees_part_of_a_mercado_pago_payment(practice: Practice) -> None:
    practice.start(practice.hold(), "mercadopago")
    [shown] = listed(practice)
    assert (shown["provider"], shown["status"]) == ("mercadopago", "collected")
    assert (shown["fee_paid_by"], shown["net"]) == ("payee", eur(PRICE - 500 - FEE))


def test_money_taken_by_hand_owes_nothing(practice: Practice) -> None:
    body = {
        "appointment_id": practice.hold(),
        "method": "cash",
        "amount": eur(PRICE),
        "received_at": TODAY.isoformat(),
    }
    payments.record(practice.owner, ManualPaymentRequest.model_validate(body), None)
    [shown] = listed(practice)
    assert (shown["status"], shown["commission"], shown["rate"]) == ("collected", eur(0), None)
    assert shown["net"] == eur(PRICE)


def test_experts_see_their_own_and_patients_none(practice: Practice) -> None:
    practice.paid()
    other = practice.world.expert()
    assert len(listed(practice, role="expert", subject=practice.expert)) == 1
    assert listed(practice, role="expert", subject=other) == []
    world, path = practice.world, "/v1/commissions"
    query = f"expert_id={practice.expert}"
    assert get(world, path, "expert", subject=other, query=query).status == 403
    assert get(world, path, "patient", subject=world.patient()).status == 403
    assert get(world, path, "operator").status == 403
    assert get(World(), path).body["items"] == []


def test_filters_and_pages(practice: Practice) -> None:
    paid = []
    for hour in (9, 11, 13):
        paid.append(practice.paid(hour).id)
        practice.clock.forward(seconds=1)
    assert [one["payment_id"] for one in listed(practice)] == paid[::-1]
    assert len(listed(practice, f"service_id={practice.service}")) == 3
    assert listed(practice, f"service_id={UNKNOWN}") == []
    assert len(listed(practice, f"expert_id={practice.expert}&service_id={practice.service}")) == 3
    late = f"{TODAY + timedelta(days=30)}T00:00:00Z"
    assert listed(practice, f"from={late}") == []
    for query in ("limit=2", f"limit=2&expert_id={practice.expert}"):
        first = get(practice.world, "/v1/commissions", query=query).body
        cursor = first["next_cursor"]
        second = get(practice.world, "/v1/commissions", query=f"{query}&cursor={cursor}").body
        found = [one["payment_id"] for one in (*first["items"], *second["items"])]
        assert (len(first["items"]), found) == (2, paid[::-1])
    foreign = get(practice.world, "/v1/commissions", query=f"limit=2&cursor={cursor[:-4]}AAAA")
    assert foreign.status == 400
    other = World()
    assert get(other, "/v1/commissions", query=f"{query}&cursor={cursor}").status == 400


@pytest.mark.parametrize(
    "query",
    [
        "from=2025-01-01T00:00:00Z&to=2026-11-01T00:00:00Z",
        "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "from=2026-02-01",
        "service_id=%23",
        "limit=51",
    ],
)
def test_a_bad_filter_is_refused(tables: Any, query: str) -> None:
    assert get(World(), "/v1/commissions", query=query).status == 422


def test_nothing_personal_is_listed(practice: Practice) -> None:
    practice.paid()
    text = json.dumps(listed(practice))
    assert "patient" not in text
    assert "Inês" not in text
