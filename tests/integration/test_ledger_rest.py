"""Taxes, commission on cash, released money, and refunds in amounts that can be moved."""

from datetime import timedelta
from typing import Any

import pytest

from consulta.core import table
from consulta.core.keys import Key
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.money import commissions, rates
from consulta.money.appointments import closing
from consulta.money.books import verify as ledger_verify
from consulta.money.books.verify import verify
from consulta.money.mercadopago import connections as mercadopago_connections
from consulta.money.paying import changes, effects, orders, payments, refunds
from consulta.money.paying.changes import RELEASE_DUE_WORK, Change
from consulta.money.rates import RatesItem
from consulta.money.records import PaymentItem
from consulta.money.schema.commissions import CommissionFilter, CommissionStatus
from consulta.money.schema.connect import ConnectionIn
from consulta.money.schema.payments import ManualPaymentRequest, RefundRequest
from consulta.money.webhooks.inbox import InboxState
from consulta.scheduling import services
from consulta.scheduling.schema.booking import CancelRequest
from consulta.scheduling.schema.services import ServiceRequest
from tests.integration.test_money import (
    BY,
    PRICE,
    Practice,
    practice,  # noqa: F401  # fixtures are found by their names
)
from tests.integration.test_money_simulated import hold, tell  # noqa: F401
from tests.integration.test_providers import (  # noqa: F401
    Simulator,
    ask,
    aws,
    by_card,
    mercadopago,
    mercadopago_process,
)
from tests.unit.people.calling import PRACTICE
from tests.unit.scheduling.world import World

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
TAX_BPS = 2100
TAX = 868  # of 50.00 with 21 % in it, half to even


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_verify, "PAUSE_S", 0)


def agree(practice: Practice, **rate: Any) -> None:
    """One rate for the whole practice: 10 % unless said otherwise."""
    row = {
        "from": "2026-01-01",
        "fixed": 0,
        "percent_bps": 1000,
        "currency": "EUR",
        "service_id": None,
        "plan_id": None,
        **rate,
    }
    key = rates.key_of(practice.world.tenant)
    table.transact([table.put_new(RatesItem.create(key, rates.RATES, BY, rates=[row]))])


def taxed(practice: Practice) -> None:
    """From now on what is booked has 21 % of tax within its price."""
    tax = {"rate_bps": TAX_BPS, "code": "IVA", "inclusive": True}
    practice.service = practice.world.service(practice.expert, price=PRICE, tax=tax)


def earn(practice: Practice, payment_id: str, most: int | None = None) -> None:
    change = Change(practice.payment(payment_id), BY)
    change.earn(most)
    table.transact(change.actions())


def part(amount: int, currency: str = "EUR") -> RefundRequest:
    return RefundRequest.model_validate({"amount": {"amount": amount, "currency": currency}})


def holds(practice: Practice, account: str, book: str = "PAYEE") -> int:
    return practice.balances().get((book, account, "EUR"), 0)


# ---------------------------------------------------------------- taxes


def test_the_tax_in_what_is_earned_is_owed_to_the_cent(practice: Practice) -> None:
    taxed(practice)
    paid = practice.paid()
    assert int(practice.payment(paid.id).tax) == TAX
    owed = []
    for most in (1, 1333, 1333, None):
        earn(practice, paid.id, most)
        owed.append(-holds(practice, "tax_out"))
        assert verify(practice.world.tenant) == []
    assert owed == [0, 232, 463, TAX]
    assert holds(practice, "revenue") == TAX - PRICE


def test_a_refund_out_of_revenue_takes_its_tax_back(practice: Practice) -> None:
    taxed(practice)
    paid = practice.paid()
    earn(practice, paid.id)
    refunds.create(practice.owner, paid.id, part(1000), None)
    assert holds(practice, "tax_out") == -round(TAX * 4000 / PRICE)
    assert verify(practice.world.tenant) == []
    practice.stripe.fail_refunds(str(paid.provider_id))
    practice.event(paid, "refund.failed")
    assert holds(practice, "tax_out") == -TAX
    assert verify(practice.world.tenant) == []
    refunds.create(practice.owner, paid.id, RefundRequest(), None)
    assert (holds(practice, "tax_out"), holds(practice, "revenue")) == (0, 0)
    assert verify(practice.world.tenant) == []


def test_the_tax_on_the_commission_is_a_line_of_its_own(practice: Practice) -> None:
    agree(practice, tax_bps=1600)
    paid = practice.paid()
    item = practice.payment(paid.id)
    assert (int(item.commission), int(item.commission_tax)) == (500, 69)
    assert holds(practice, "commission", "PLAT") == 69 - 500
    assert holds(practice, "tax_out", "PLAT") == -69
    assert holds(practice, "commission") == 500
    for amount in (1667, 1667, 1666):
        refunds.create(practice.owner, paid.id, part(amount), None)
        assert verify(practice.world.tenant) == []
    assert holds(practice, "tax_out", "PLAT") == 0
    assert holds(practice, "commission", "PLAT") == 0
    shown = payments.get(practice.owner, paid.id)
    assert shown.commission_tax
    assert shown.commission_tax.amount == 69
    [listed] = commissions.page(practice.owner, CommissionFilter(), 10, None).items
    assert (listed.commission_tax.amount, listed.rate and listed.rate.tax_bps) == (69, 1600)
    patient = practice.world.caller(Role.PATIENT, str(item.patient_id))
    assert payments.get(patient, paid.id).commission_tax is None


# ---------------------------------------------------------------- commission on cash


def cash(practice: Practice) -> str:
    body = {
        "appointment_id": practice.hold(),
        "method": "cash",
        "amount": {"amount": PRICE, "currency": "EUR"},
        "received_at": practice.clock.at.date().isoformat(),
    }
    return payments.record(practice.owner, ManualPaymentRequest.model_validate(body), None).id


def test_cash_owes_commission_where_the_rate_says_so(practice: Practice) -> None:
    agree(practice, on_manual=True, tax_bps=1600)
    payment_id = cash(practice)
    book = f"PAYEE:{practice.world.practice}"
    assert practice.balances() == {
        ("PLAT", f"due:{book}".replace(practice.world.practice, "practice"), "EUR"): 500,
        ("PLAT", "commission", "EUR"): -431,
        ("PLAT", "tax_out", "EUR"): -69,
        ("PAYEE", "cash", "EUR"): PRICE,
        ("PAYEE", "patient", "EUR"): -PRICE,
        ("PAYEE", "commission", "EUR"): 500,
        ("PAYEE", "due:PLAT", "EUR"): -500,
    }
    [listed] = commissions.page(practice.owner, CommissionFilter(), 10, None).items
    assert (listed.status, listed.commission.amount) == (CommissionStatus.DUE, 500)
    assert verify(practice.world.tenant) == []
    refunds.create(practice.owner, payment_id, part(2000), None)
    assert holds(practice, "due:PLAT") == -300
    assert verify(practice.world.tenant) == []
    refunds.create(practice.owner, payment_id, RefundRequest(), None)
    assert practice.balances() == {}
    [listed] = commissions.page(practice.owner, CommissionFilter(), 10, None).items
    assert listed.status is CommissionStatus.RETURNED


def test_cash_owes_nothing_where_it_does_not(practice: Practice) -> None:
    agree(practice)
    cash(practice)
    assert practice.balances() == {
        ("PAYEE", "cash", "EUR"): PRICE,
        ("PAYEE", "patient", "EUR"): -PRICE,
    }
    [listed] = commissions.page(practice.owner, CommissionFilter(), 10, None).items
    assert listed.status is CommissionStatus.COLLECTED


# ---------------------------------------------------------------- released money


def test_released_funds_are_available(mercadopago: Simulator, hold: str) -> None:
    asked = mercadopago.control("authorize", {"seller": "aurora"})
    body = {"code": asked["code"], "redirect_uri": "https://api.example/v1/docs"}
    world = World(PRACTICE, exists=True)
    mercadopago_connections.connect(world.owner, ConnectionIn.model_validate(body))
    card = by_card(hold)
    paid = ask("payments", "POST", "/v1/payments", card).body

    def payment() -> PaymentItem:
        return orders.load(world.tenant, paid["id"])

    def parts() -> dict[str, int]:
        found: dict[str, int] = {}
        for posting in ledger_verify._walk(
            world.tenant, "POSTING", ledger_verify.PostingItem, lambda _: None
        ):
            for _, account, amount in ledger_verify.lines(posting):
                if account.startswith("prov:"):
                    name = account.partition(":")[2]
                    found[name] = found.get(name, 0) + amount
        return {name: amount for name, amount in found.items() if amount}

    def refund(amount: int) -> None:
        path = f"/v1/payments/{paid['id']}/refunds"
        made = ask("payments", "POST", path, {"amount": {"amount": amount, "currency": "MXN"}})
        assert made.body["state"] == "succeeded", made.body

    first = payment()
    seller, fee, price = str(asked["user_id"]), int(first.fee), int(first.amount)
    assert first.released is False
    assert first.release_at is not None
    assert timedelta(days=13) < first.release_at - now() < timedelta(days=15)
    due = [raw for raw in all_rows() if raw.get("what") == RELEASE_DUE_WORK]
    assert [row["item"] for row in due] == [first.pk]
    refund(10_000)
    # The day may come and the provider be late: it is asked again.
    table.transact([table.change(payment(), BY, set_={"release_at": "2026-01-01T00:00:00.000Z"})])
    assert effects.resume_release(Key(first.pk), BY) is True  # it has moved the day itself
    before = parts()
    assert set(before) == {f"{seller}:pending", "mercadopago:pending"}
    mercadopago.control(f"payments/{paid['provider_id']}/release")
    assert effects.resume_release(Key(first.pk), BY) is True
    assert payment().released
    assert parts() == {
        f"{seller}:available": before[f"{seller}:pending"],
        "mercadopago:available": before["mercadopago:pending"],
    }
    assert verify(world.tenant) == []
    assert InboxState.FAILED not in tell("mercadopago", mercadopago)
    # What goes back from now on goes back from what is available.
    refund(20_000)
    commission = int(payment().commission) - int(payment().commission_returned)
    assert parts() == {
        f"{seller}:available": price - 30_000 - commission - fee,
        "mercadopago:available": commission,
    }
    assert verify(world.tenant) == []


def test_who_releases_late_is_asked_again(practice: Practice) -> None:
    paid = practice.start(practice.hold(), "mercadopago")
    at, provider_id = now() - timedelta(hours=1), str(paid.provider_id)
    practice.mercadopago.change(provider_id, release_at=at)
    key = Key(practice.payment(paid.id).pk)
    assert effects.resume_release(key, BY) is False
    practice.mercadopago.change(provider_id, released=True)
    assert effects.resume_release(key, BY) is True
    calls = len(practice.mercadopago.calls)
    assert effects.resume_release(key, BY) is True
    assert len(practice.mercadopago.calls) == calls
    assert holds(practice, "prov:4711:pending") == 0
    assert holds(practice, "prov:4711:available") == PRICE - 500 - practice.mercadopago.fee
    assert verify(practice.world.tenant) == []


def test_money_that_is_never_released_is_given_up(
    practice: Practice, caplog: pytest.LogCaptureFixture
) -> None:
    paid = practice.start(practice.hold(), "mercadopago")
    at = now() - effects.RELEASE_GIVE_UP - timedelta(hours=1)
    practice.mercadopago.change(str(paid.provider_id), release_at=at)
    assert effects.resume_release(Key(practice.payment(paid.id).pk), BY) is True
    assert "money was not released" in caplog.text


def all_rows() -> list[dict[str, Any]]:
    from tests.conftest import CORE  # noqa: PLC0415

    rows = table.aws.client("dynamodb").scan(TableName=CORE)["Items"]
    return [table.from_raw(row) for row in rows]


# ---------------------------------------------------------------- amounts that can be moved


@pytest.mark.parametrize(
    ("provider", "currency", "price", "refund"),
    [
        ("mercadopago", "COP", 10_000_100, 5_000_100),
        ("stripe", "KWD", 10_010, 5_010),
        ("mercadopago", "CLP", 10_001, 5_001),
        ("stripe", "JPY", 10_001, 5_001),
        ("stripe", "EUR", 10_001, 5_001),
    ],
)
def test_a_policys_refund_can_be_moved(
    practice: Practice, provider: str, currency: str, price: int, refund: int
) -> None:
    body = {
        "name": "First consultation",
        "duration_minutes": 60,
        "price": {"amount": price, "currency": currency},
        "expert_ids": [practice.expert],
    }
    made = services.create(practice.owner, ServiceRequest.model_validate(body), None)
    practice.service = made.id
    payment = practice.start(practice.hold(), provider)
    if provider == "stripe":
        practice.stripe.pay(str(payment.provider_id))
        practice.event(payment, "payment_intent.succeeded")
    start = practice.appointment(str(payment.appointment_id)).start
    practice.clock.at = start - timedelta(hours=1)
    request = CancelRequest.model_validate({"reason_code": "patient_request"})
    shown = closing.preview(practice.owner, str(payment.appointment_id), request)
    assert (shown.refund, shown.kept) == (refund, price - refund)
    again = CancelRequest.model_validate(
        {"reason_code": "patient_request", "preview_hash": shown.hash}
    )
    closing.cancel(practice.owner, str(payment.appointment_id), again)
    assert practice.refund_states(payment.id) == [(refund, "succeeded", "cancelled")]
    assert changes.Change(practice.payment(payment.id), BY).advance == 0
