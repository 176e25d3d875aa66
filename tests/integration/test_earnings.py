"""Earnings from the figures: collected and earned told apart, by currency, with their trend."""

from datetime import timedelta
from typing import Any

import pytest

from consulta.aggregates import stream, verify, walk
from consulta.core import table
from consulta.core.time import local_day
from consulta.dashboards import ranges
from consulta.money.appointments import closing
from consulta.money.paying import refunds
from consulta.money.records import PAYMENT, POSTING, REFUND
from consulta.money.schema.payments import RefundRequest
from tests.integration import test_money
from tests.integration.test_money import COMMISSION, PRICE, Practice
from tests.unit.aggregates.images import image, record
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import World

# The practice whose payee is connected, with scripted providers.
practice = test_money.practice

NOVEMBER = "from=2026-11-01&to=2026-11-30"


class Books:
    """A practice's payments, refunds and postings, and what it sees of them."""

    def __init__(self) -> None:
        self.world = World()
        self.expert, self.other = self.world.expert(), self.world.expert()
        self.items = 0

    def put(self, entity: str, day: str, **changes: Any) -> None:
        self.items += 1
        values = {"expert_id": self.expert, "local_date": day} | changes
        raw = image(entity, f"x_{self.items}", tenant=self.world.tenant, **values)
        table.transact([table.put_raw(raw)])

    def earn(self, day: str, amount: int, **changes: Any) -> None:
        entries = [
            {"book": "PAYEE:p", "account": "patient", "debit": amount, "credit": 0},
            {"book": "PAYEE:p", "account": "revenue", "debit": 0, "credit": amount},
        ]
        self.put(POSTING, day, entries=entries, **changes)

    def answer(self, query: str = NOVEMBER, role: str = "owner", subject: str = "") -> Answer:
        context = signed_in(role, self.world.practice, subject)
        return call("earnings", "GET", "/v1/earnings", context=context, query=query)

    def see(self, query: str = NOVEMBER, role: str = "owner", subject: str = "") -> dict[str, Any]:
        walk.walk(self.world.tenant)
        answer = self.answer(query, role, subject)
        assert answer.status == 200, answer.body
        return dict(answer.body)


@pytest.fixture
def books(tables: Any) -> Books:
    return Books()


def minor(shown: dict[str, Any]) -> dict[str, int]:
    """The amounts; every one of them is in the currency of the whole."""
    amounts = {name: v for name, v in shown.items() if isinstance(v, dict) and "amount" in v}
    assert {value["currency"] for value in amounts.values()} == {shown["currency"]}
    return {name: value["amount"] for name, value in amounts.items()}


def test_collected_and_earned_are_told_apart(books: Books) -> None:
    # Paid ahead in October and delivered in November; paid in November, delivered later.
    books.put(PAYMENT, "2026-10-30", captured=8000, amount=8000, commission=800, fee=200)
    books.earn("2026-11-05", 8000)
    books.put(PAYMENT, "2026-11-10", settled=True, tax_withheld=50)
    books.put(PAYMENT, "2026-11-30", platform_pays_fees=True)
    books.put(REFUND, "2026-11-12")
    seen = books.see()
    [eur] = seen["items"]
    assert minor(eur) == {
        "gross": 10_000,
        "refunded": 2000,
        "collected": 8000,
        "earned": 8000,
        "fees": 95,
        "tax_withheld": 50,
        "commission": 1000,
        "commission_returned": 200,
        "pending_commission": 500,
        "net": 8000 - (1000 - 200) - 95 - 50,
    }
    assert (eur["payments"], eur["commission_percent"]) == (2, 10.0)
    # November has thirty days, so that the period before begins on the second of October.
    assert eur["trend_percent"] == {
        "gross": 25.0,
        "collected": 0.0,
        "earned": None,
        "net": round((7055 - 7000) * 100 / 7000, 1),
    }
    assert (seen["from"], seen["to"], seen["parts"]) == ("2026-11-01", "2026-11-30", None)
    assert seen["changed_at"] <= seen["as_of"].replace("+00:00", "Z")


def test_they_say_whether_older_ones_are_counted(books: Books) -> None:
    # What was earned is counted from the second generation on.
    assert books.answer().body["complete"] is False
    assert books.see()["complete"] is True


def test_the_period_before_is_as_long_and_ends_the_day_before(books: Books) -> None:
    for day, amount in (("2026-11-02", 1), ("2026-11-03", 100), ("2026-11-05", 150)):
        books.put(PAYMENT, day, captured=amount, amount=amount, commission=0, fee=0)
    [eur] = books.see("from=2026-11-05&to=2026-11-06")["items"]
    assert (eur["gross"]["amount"], eur["trend_percent"]["gross"]) == (150, 50.0)
    [eur] = books.see("from=2026-11-04&to=2026-11-06")["items"]
    assert eur["trend_percent"]["gross"] == round((150 - 101) * 100 / 101, 1)


def test_a_base_below_zero_keeps_the_direction() -> None:
    assert ranges.percent(50, -100) == 150.0
    assert ranges.percent(-150, -100) == -50.0
    assert (ranges.percent(0, 100), ranges.percent(5, 0)) == (-100.0, None)


def test_currencies_are_never_added(books: Books) -> None:
    books.put(PAYMENT, "2026-11-10")
    books.put(PAYMENT, "2026-11-10", currency="CLP", captured=7, amount=7, commission=1, fee=0)
    books.put(REFUND, "2026-11-11", currency="KWD", amount=3, commission=0)
    found = {one["currency"]: one["net"]["amount"] for one in books.see()["items"]}
    assert found == {"CLP": 6, "EUR": 5000 - 500 - 95, "KWD": -3}
    assert list(found) == sorted(found)


def test_day_by_day_and_month_by_month(books: Books) -> None:
    for day in ("2026-09-30", "2026-10-01", "2026-10-31", "2026-11-02"):
        books.put(PAYMENT, day)
    books.earn("2026-10-31", 700)

    def gross(seen: dict[str, Any]) -> dict[str, int]:
        return {part["period"]: part["items"][0]["gross"]["amount"] for part in seen["parts"]}

    days = books.see("from=2026-10-01&to=2026-11-30&group=day")
    assert gross(days) == {"2026-10-01": 5000, "2026-10-31": 5000, "2026-11-02": 5000}
    # Only what of a month is in the range.
    months = books.see("from=2026-09-30&to=2026-11-01&group=month")
    assert gross(months) == {"2026-09": 5000, "2026-10": 10_000}
    assert months["parts"][1]["items"][0]["earned"]["amount"] == 700
    for seen in (days, months):
        assert sum(gross(seen).values()) == seen["items"][0]["gross"]["amount"]


def test_an_experts_own(books: Books) -> None:
    books.put(PAYMENT, "2026-11-10")
    books.put(PAYMENT, "2026-11-11", expert_id=books.other, captured=900, amount=900)
    books.earn("2026-11-12", 300, expert_id=books.other)
    [all_] = books.see()["items"]
    [own] = books.see(role="expert", subject=books.other)["items"]
    [named] = books.see(f"{NOVEMBER}&expert_id={books.other}")["items"]
    assert (all_["gross"]["amount"], own["gross"]["amount"]) == (5900, 900)
    assert (own, own["earned"]["amount"]) == (named, 300)
    refused = books.answer(f"{NOVEMBER}&expert_id={books.expert}", "expert", books.other)
    assert refused.status == 403
    assert books.answer(role="patient", subject=books.world.patient()).status == 403
    assert books.answer(role="operator").status == 403
    unknown = f"{NOVEMBER}&expert_id=exp_01JC0NS0TADEM0000000000009"
    assert books.answer(unknown).status == 404
    assert Books().see()["items"] == []


@pytest.mark.parametrize(
    "query",
    [
        "",
        "from=2026-11-30",
        "from=2026-11-30&to=2026-11-01",
        "from=2025-01-01&to=2026-11-01",
        "from=2026-01-01&to=2026-11-01&group=day",
        "from=2026-11-01&to=2026-11-30&group=week",
        "from=0001-01-01&to=0001-01-02",
        "from=9999-12-30&to=9999-12-31",
        "from=2026-02-30&to=2026-03-01",
    ],
)
def test_a_bad_range_is_refused(books: Books, query: str) -> None:
    assert books.answer(query).status == 422


def test_what_took_place_is_earned_and_a_refund_takes_it_back(practice: Practice) -> None:
    """The same through the real flow: postings are stamped with their day, and counted by it."""
    tenant = practice.world.tenant
    payment = practice.paid()
    practice.clock.at = practice.appointment(payment.appointment_id).start + timedelta(hours=1)
    closing.complete(practice.owner, payment.appointment_id)
    body = RefundRequest.model_validate({"amount": {"amount": 1000, "currency": "EUR"}})
    refunds.create(practice.owner, payment.id, body, None)
    today = local_day(practice.clock.at, "Europe/Lisbon")
    stamped = [one for one in practice.postings() if one.local_date]
    assert {(one.event, one.expert_id, one.local_date) for one in stamped} == {
        ("earned", practice.expert, today.isoformat()),
        ("refund_requested", practice.expert, today.isoformat()),
    }
    first = today - timedelta(days=30)
    walk.walk(tenant)
    query = f"from={first}&to={today}"
    context = signed_in("owner", practice.world.practice)
    answer = call("earnings", "GET", "/v1/earnings", context=context, query=query)
    [eur] = answer.body["items"]
    assert (eur["earned"]["amount"], eur["collected"]["amount"]) == (PRICE - 1000, PRICE - 1000)
    kept = COMMISSION - COMMISSION * 1000 // PRICE
    assert eur["net"]["amount"] == PRICE - 1000 - kept
    assert verify.verify(tenant) == []
    # The list of commissions comes to the same.
    listed = call("commissions", "GET", "/v1/commissions", context=context).body["items"]
    assert sum(one["net"]["amount"] for one in listed) == eur["net"]["amount"]
    # The refund fails later: what was earned is earned again.
    practice.stripe.fail_refunds(str(payment.provider_id))
    practice.event(payment, "refund.failed")
    walk.walk(tenant)
    answer = call("earnings", "GET", "/v1/earnings", context=context, query=query)
    assert answer.body["items"][0]["earned"]["amount"] == PRICE


def test_the_stream_counts_a_posting_once(books: Books, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REPAIR_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/1/none")
    who = {"expert_id": books.expert, "tenant": books.world.tenant}
    counted = image(POSTING, "earned:pay_1:2", **who)
    other = image(
        POSTING,
        "ch_1",
        event="charge_succeeded",
        expert_id=None,
        local_date=None,
        tenant=books.world.tenant,
    )
    for raw in (counted, other):
        table.transact([table.put_raw(raw)])
    for _ in range(2):
        assert stream.process([record(1, counted), record(2, other)]) == []
    answer = books.answer()
    assert [one["earned"]["amount"] for one in answer.body["items"]] == [5000]
    assert verify.verify(books.world.tenant) == []
