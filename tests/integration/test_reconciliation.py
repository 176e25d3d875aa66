"""Daily reconciliation against the providers' simulators: nothing where all is right, else why."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from typer.testing import CliRunner

from consulta.core import settings, table
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.time import now
from consulta.money.accounts.payout_effects import PLATFORM_TENANT, Holder
from consulta.money.books.verify import verify
from consulta.money.paying import orders
from consulta.money.reconciliation import accounts, ledger_side, running, stripe_side
from consulta.money.reconciliation.records import DifferenceItem, RunItem
from consulta.money.records import POSTING, PostingItem
from consulta.money.webhooks import inbox
from consulta.money.webhooks.inbox import InboxState
from consulta_cli import app
from consulta_cli import reconcile as command
from tests.conftest import CORE
from tests.integration.serving import serving
from tests.integration.test_money_simulated import (  # noqa: F401  # fixtures are found by their names
    PRICE,
    Simulator,
    ask,
    aws,
    hold,
    mercadopago,
    mercadopago_process,
    open_account,
    stripe,
    stripe_process,
)
from tests.integration.test_payouts import tell
from tests.integration.test_providers import EXPERT_ID, add_expert, by_card, connect_seller
from tests.integration.test_webhook_inbox import queue, taken  # noqa: F401
from tests.unit.people.calling import (
    OTHER_PRACTICE,
    PRACTICE,
    Answer,
    call,
    event,
    handler,
    signed_in,
)

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
BY = Actor("reconcile", "request-1")
TENANT = Tenant(PRACTICE)
FAILING = {"method": "GET", "kind": "status", "path_prefix": "/v1/balance", "times": 99}
CONTROLLERS = pytest.mark.parametrize("controller", ["platform_losses", "stripe_losses"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reconciliation's own clock, some time after the providers': hours to be set."""

    class Clock:
        later = timedelta(minutes=5)

        def __call__(self) -> Any:
            return now() + self.later

    found = Clock()
    for module in (running, accounts, running.storing):
        monkeypatch.setattr(module, "now", found)
    return found


def differences(**wanted: str) -> list[DifferenceItem]:
    """All that there are, of every practice."""
    rows = table.Query(running.storing.all_differences(), index="l2").all()
    found = [DifferenceItem.read(raw) for raw in rows]
    return [one for one in found if all(getattr(one, n) == v for n, v in wanted.items())]


def told() -> list[tuple[str, str]]:
    return sorted((one.kind, one.cause) for one in differences(state="open"))


def run(clock: Any, day: date | None = None) -> RunItem:
    wanted = day or clock().date()
    running.ask(wanted, BY)
    done = running.run(wanted, BY)
    assert done
    assert done.state == "finished"
    return done


def work_off(queue: str) -> int:
    messages = taken(queue)
    for message in messages:
        inbox.handle(message)
    return len(messages)


def paid(stripe: Simulator, hold: str, controller: str) -> dict[str, Any]:
    """A payment at Stripe; nothing has been told of it yet."""
    payee = open_account(stripe, controller)
    body = {"appointment_id": hold, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", body)
    assert started.status == 201, started.body
    stripe.control(f"pay/{started.body['provider_id']}", {"payment_method": "pm_card_visa"})
    return {**started.body, "account": str(payee.stripe_account)}


@CONTROLLERS
@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("again", [PRICE, PRICE // 2])
def test_a_refund_that_failed_agrees_with_stripe(
    stripe: Simulator, hold: str, queue: str, clock: Any, controller: str, heard: bool, again: int
) -> None:
    """Our commission and the transfer's reversal stay as they are; the next returns the rest."""
    made = paid(stripe, hold, controller)
    tell(stripe)
    path = f"/v1/payments/{made['id']}/refunds"
    part = {"amount": {"amount": PRICE // 2, "currency": "MXN"}}
    if heard:
        assert ask("payments", "POST", path, part).status == 201
    else:
        # Asked for, and failed, before its answer is there.
        fault = {"kind": "timeout_after", "path_prefix": "/v1/refunds", "times": 3}
        stripe.control("faults", fault)
        assert ask("payments", "POST", path, part).body["state"] == "requested"
    account = made["account"] if controller == "stripe_losses" else ""
    (refund,) = stripe.get(f"/v1/refunds?payment_intent={made['provider_id']}", account)["data"]
    stripe.control(f"refunds/{refund['id']}/fail")
    assert InboxState.FAILED not in tell(stripe)
    payment = orders.load(TENANT, made["id"])
    returned = int(payment.commission) // 2
    assert (payment.refunded, payment.reserved, payment.commission_returned) == (0, 0, returned)
    assert payment.owed_to_payee == (0 if account else PRICE // 2)
    assert verify(TENANT) == []
    run(clock)
    assert told() == []
    whole = {"amount": {"amount": again, "currency": "MXN"}}
    assert ask("payments", "POST", path, whole).status == 201
    assert InboxState.FAILED not in tell(stripe)
    payment = orders.load(TENANT, made["id"])
    due = int(payment.commission) if again == PRICE else returned
    assert (payment.refunded, payment.commission_returned) == (again, due)
    assert payment.owed_to_payee == 0
    assert verify(TENANT) == []
    run(clock)
    assert told() == []


@CONTROLLERS
def test_where_all_is_right_there_is_nothing(
    stripe: Simulator, hold: str, queue: str, clock: Any, controller: str
) -> None:
    made = paid(stripe, hold, controller)
    tell(stripe)
    part = {"amount": {"amount": 20000, "currency": "MXN"}}
    assert ask("payments", "POST", f"/v1/payments/{made['id']}/refunds", part).status == 201
    tell(stripe)
    done = run(clock)
    assert (told(), done.failures, done.counts) == ([], [], {})
    assert done.accounts == 2
    assert done.transactions >= 4
    (platform,) = done.balances
    assert platform["account"] == "stripe"
    assert platform["provider"] == platform["ledger"] != 0
    mine = running.find(TENANT, clock().date().isoformat())
    assert mine
    (own,) = mine.balances
    assert own["provider"] == own["ledger"] != 0


# ---------------------------------------------------------------- one of every class


@CONTROLLERS
def test_an_event_that_never_came(
    stripe: Simulator, hold: str, queue: str, clock: Any, controller: str
) -> None:
    paid(stripe, hold, controller)
    run(clock)
    assert set(told()) == {("in_flight", "not_posted")}
    first = {one.item_id: one.first_seen for one in differences()}
    clock.later = timedelta(hours=49)
    done = run(clock)
    assert set(told()) == {("missing_here", "not_posted")}
    assert done.counts == {"missing_here": len(first)}
    # The same differences are the same items, on whatever day they are seen.
    assert {one.item_id: one.first_seen for one in differences()} == first
    # What is missing explains the whole balance.
    for one in (*done.balances, *running.find(TENANT, done.item_id).balances):
        assert one["provider"] - one["ledger"] == one["explained"] != 0
    # The worker has been told, reads the payment and posts it: the next run sees it gone.
    assert work_off(queue) > 0
    assert run(clock).counts == {}
    assert told() == []
    assert all(one.resolved_at for one in differences())


@CONTROLLERS
def test_a_posting_with_another_amount(
    stripe: Simulator, hold: str, queue: str, clock: Any, controller: str
) -> None:
    made = paid(stripe, hold, controller)
    tell(stripe)
    (settled,) = [one for one in postings() if one.event == "charge_settled"]
    theirs = f"prov:{made['account']}:pending"
    entries = [dict(entry) for entry in settled.entries]
    (entry,) = [e for e in entries if e["account"] == theirs and e["debit"] > 5000]
    entry["debit"] -= 7
    change(settled, entries=entries)
    run(clock)
    (found,) = differences(state="open")
    assert (found.kind, found.cause, found.account) == ("amount", "amount", made["account"])
    assert (int(found.found) - int(found.expected), int(found.net)) == (7, 7)
    assert (found.payment_id, found.posting_key) == (made["id"], settled.posting_key)
    change(settled, entries=settled.entries)
    run(clock)
    assert told() == []


@CONTROLLERS
def test_a_fee_that_is_not_the_providers(
    stripe: Simulator, hold: str, queue: str, clock: Any, controller: str
) -> None:
    paid(stripe, hold, controller)
    tell(stripe)
    (settled,) = [one for one in postings() if one.event == "charge_settled"]
    entries = [dict(entry) for entry in settled.entries]
    (fee,) = [e for e in entries if e["account"] == "fee"]
    fee["account"] = "loss"
    change(settled, entries=entries)
    run(clock)
    (found,) = differences(state="open")
    assert (found.kind, found.cause) == ("amount", "fee")
    assert (int(found.expected), int(found.found)) == (0, int(fee["debit"]))


@CONTROLLERS
def test_a_refund_made_at_the_provider(
    stripe: Simulator, hold: str, queue: str, clock: Any, controller: str
) -> None:
    made = paid(stripe, hold, controller)
    tell(stripe)
    direct = controller == "stripe_losses"
    form = {"payment_intent": made["provider_id"], "amount": "3000"}
    headers = {"Authorization": "Bearer sk_test_x"}
    if direct:
        headers["Stripe-Account"] = made["account"]
    else:
        form["reverse_transfer"] = "true"
    answer = requests.post(f"{stripe.url}/v1/refunds", data=form, headers=headers, timeout=5)
    assert answer.ok, answer.text
    run(clock)
    assert set(told()) == {("external_refund", "made_at_provider")}
    work_off(queue)
    done = run(clock)
    # It is in the books now; that it was made there stays to be seen.
    assert (told(), done.counts) == ([], {})
    assert {one.kind for one in differences(state="resolved")} == {"external_refund"}


def test_a_posting_that_nobody_there_knows(
    stripe: Simulator, hold: str, queue: str, clock: Any
) -> None:
    made = paid(stripe, hold, "stripe_losses")
    tell(stripe)
    (settled,) = [one for one in postings() if one.event == "charge_settled"]
    key = f"{made['account']}:txn_nobody"
    copied = settled.serialize() | {
        "pk": {"S": TENANT.item(POSTING, key).pk},
        "posting_key": {"S": key},
        "walksk": {"S": key},
    }
    table.transact([table.put_raw(copied)])
    run(clock)
    # Both balances that it moves: the account's own, and the platform's with our commission.
    assert told() == [("in_flight", "not_there")] * 2
    clock.later = timedelta(hours=49)
    run(clock)
    assert told() == [("missing_there", "not_there")] * 2
    assert {one.posting_key for one in differences()} == {key}
    assert sum(int(one.found) for one in differences()) == 0


def test_money_that_was_not_asked_for(stripe: Simulator, hold: str, queue: str, clock: Any) -> None:
    made = paid(stripe, hold, "stripe_losses")
    payment = table.get_raw(TENANT.item("PAYMENT", made["id"]))
    assert payment
    changed = table.update(TENANT.item("PAYMENT", made["id"]), set_={"amount": PRICE + 100})
    table.transact([changed])
    tell(stripe)
    done = run(clock)
    found = differences(state="open")
    assert {(one.kind, one.cause) for one in found} == {("unknown", "suspense")} | {
        ("in_flight", "not_posted")
    }
    assert done.counts["unknown"] >= 1
    (held,) = [one for one in found if one.account == "suspense"]
    assert (int(held.found), held.payment_id) == (PRICE, made["id"])


def test_what_nothing_here_asked_for(stripe: Simulator, hold: str, queue: str, clock: Any) -> None:
    made = paid(stripe, hold, "stripe_losses")
    tell(stripe)
    form = {
        "amount": "4000",
        "currency": "mxn",
        "confirm": "true",
        "payment_method": "pm_card_visa",
    }
    headers = {"Authorization": "Bearer sk_test_x", "Stripe-Account": made["account"]}
    answer = requests.post(
        f"{stripe.url}/v1/payment_intents", data=form, headers=headers, timeout=5
    )
    assert answer.ok, answer.text
    run(clock)
    assert told() == [("unknown", "not_ours")]
    # There is nothing to read again.
    assert taken(queue) == []


# ---------------------------------------------------------------- disputes and payouts


@CONTROLLERS
@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_a_dispute_from_its_beginning_to_its_end(
    stripe: Simulator, hold: str, queue: str, clock: Any, controller: str, outcome: str
) -> None:
    made = paid(stripe, hold, controller)
    tell(stripe)
    account = made["account"] if controller == "stripe_losses" else ""
    charge = stripe.get("/v1/charges", account)["data"][0]["id"]
    dispute = stripe.control("disputes", {"charge": charge})["id"]
    run(clock)
    assert {cause for _, cause in told()} == {"not_posted", "status"}
    tell(stripe)
    run(clock)
    assert told() == []
    stripe.control(f"disputes/{dispute}", {"status": outcome})
    tell(stripe)
    run(clock)
    assert told() == []


@CONTROLLERS
def test_a_payout_and_what_it_pays_out(
    stripe: Simulator, hold: str, queue: str, clock: Any, controller: str
) -> None:
    made = paid(stripe, hold, controller)
    tell(stripe)
    stripe.control("balance", {"account": made["account"]})
    body = {"account": made["account"], "currency": "mxn", "status": "paid"}
    payout = stripe.control("payouts", body)
    assert payout["automatic"]
    run(clock)
    assert sorted({cause for _, cause in told()}) == ["not_posted", "status"]
    assert work_off(queue) > 0
    run(clock)
    assert told() == []
    tell(stripe)
    run(clock)
    assert told() == []
    (own,) = running.find(TENANT, clock().date().isoformat()).balances
    assert (own["provider"], own["ledger"]) == (0, 0)
    stripe.control(f"payouts/{payout['id']}", {"status": "failed"})
    tell(stripe)
    run(clock)
    assert told() == []


def test_a_payout_that_is_not_its_transactions(
    stripe: Simulator, hold: str, queue: str, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = paid(stripe, hold, "stripe_losses")
    tell(stripe)
    stripe.control("balance", {"account": made["account"]})
    body = {"account": made["account"], "currency": "mxn", "status": "paid"}
    stripe.control("payouts", body)
    tell(stripe)
    seen = stripe_side.Books.payouts

    def one_less(books: Any) -> Iterator[Any]:
        for one in seen(books):
            yield replace(one, paid_out=one.paid_out - 1)

    monkeypatch.setattr(stripe_side.Books, "payouts", one_less)
    run(clock)
    assert told() == [("amount", "payout_sum")]


# ---------------------------------------------------------------- Mercado Pago


@pytest.fixture
def sold(mercadopago: Simulator, hold: str) -> dict[str, Any]:
    """A payment at Mercado Pago that is in the books: its answer says so at once."""
    assert connect_seller(mercadopago).status == 201
    card = by_card(hold)
    answer = ask("payments", "POST", "/v1/payments", card)
    assert (answer.status, answer.body["status"]) == (201, "succeeded"), answer.body
    return dict(answer.body)


def refund_there(mercadopago: Simulator, payment: str, amount: int) -> None:
    headers = {"Authorization": "Bearer TEST-1", "X-Idempotency-Key": f"there-{amount}"}
    url = f"{mercadopago.url}/v1/payments/{payment}/refunds"
    answer = requests.post(url, json={"amount": amount}, headers=headers, timeout=5)
    assert answer.ok, answer.text


def unpaid(payment_id: str) -> None:
    """Take a payment and its posting out of the table, as if nothing had been told."""
    key = TENANT.item("PAYMENT", payment_id)
    for one in postings():
        table.transact([table.delete(one.key)])
    values = {"state": "open", "captured": 0, "settled": False}
    table.transact([table.update(key, set_=values, remove=["paid_at", "local_date"])])


def test_a_seller_whose_books_are_right(
    mercadopago: Simulator, sold: dict[str, Any], queue: str, clock: Any
) -> None:
    part = {"amount": {"amount": 20000, "currency": "MXN"}}
    path = f"/v1/payments/{sold['id']}/refunds"
    assert ask("payments", "POST", path, part).body["state"] == "succeeded"
    done = run(clock)
    assert [one["account"] for one in done.failures] == ["stripe:platform"]
    assert (told(), done.accounts, done.transactions) == ([], 1, 1)
    (own,) = running.find(TENANT, done.item_id).balances
    assert (own["provider"], own["ledger"] > 0) == (None, True)


def test_a_payment_that_mercado_pago_never_told_of(
    mercadopago: Simulator, sold: dict[str, Any], queue: str, clock: Any
) -> None:
    unpaid(sold["id"])
    clock.later = timedelta(hours=49)
    run(clock)
    # The seller's part of it, and our commission.
    assert told() == [("missing_here", "not_posted")] * 2
    assert {one.account for one in differences()} >= {"mercadopago"}
    assert work_off(queue) == 1
    run(clock)
    assert told() == []


def test_a_refund_made_at_mercado_pago(
    mercadopago: Simulator, sold: dict[str, Any], queue: str, clock: Any
) -> None:
    refund_there(mercadopago, sold["provider_id"], 30)
    run(clock)
    (found,) = differences(state="open")
    assert (found.kind, int(found.expected), int(found.found)) == ("external_refund", 0, -3000)
    assert work_off(queue) == 1
    run(clock)
    assert told() == []


def test_amounts_and_postings_at_mercado_pago(
    mercadopago: Simulator, sold: dict[str, Any], queue: str, clock: Any
) -> None:
    (paid_,) = [one for one in postings() if one.event == "charge_succeeded"]
    key = "mp:999:payment:999"
    copied = paid_.serialize() | {
        "pk": {"S": TENANT.item(POSTING, key).pk},
        "posting_key": {"S": key},
        "walksk": {"S": key},
    }
    table.transact([table.put_raw(copied)])
    entries = [dict(entry) for entry in paid_.entries]
    for entry in entries:
        if entry["account"] == "prov:mercadopago:pending":
            entry["debit"] += 1
    change(paid_, entries=entries)
    clock.later = timedelta(hours=49)
    run(clock)
    assert told() == [("amount", "amount")] + [("missing_there", "not_there")] * 2
    (wrong,) = differences(kind="amount")
    assert (wrong.account, int(wrong.found) - int(wrong.expected)) == ("mercadopago", -1)


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_a_chargeback_at_mercado_pago(
    mercadopago: Simulator, sold: dict[str, Any], queue: str, clock: Any, outcome: str
) -> None:
    opened = mercadopago.control(f"payments/{sold['provider_id']}/chargeback")["id"]
    run(clock)
    assert told() == [("in_flight", "not_posted")]
    assert work_off(queue) == 1
    run(clock)
    assert told() == []
    mercadopago.control(f"chargebacks/{opened}", {"status": outcome})
    run(clock)
    assert told() == ([("in_flight", "not_posted")] if outcome == "won" else [])
    work_off(queue)
    run(clock)
    assert told() == []


# ---------------------------------------------------------------- runs


def test_an_account_that_fails_holds_up_no_other(
    stripe: Simulator, hold: str, queue: str, clock: Any
) -> None:
    made = paid(stripe, hold, "stripe_losses")
    tell(stripe)
    stripe.control(f"accounts/{made['account']}/deauthorize")
    done = run(clock)
    scope = f"stripe:{made['account']}"
    assert done.failures == [{"account": scope, "why": "account_unreachable"}]
    # The platform's own was compared all the same, our commission of that account's charge with it.
    assert (int(done.accounts), int(done.transactions), told()) == (1, 1, [])
    own = running.find(TENANT, done.item_id)
    assert own
    assert own.failures == done.failures
    stripe.control("faults", FAILING)
    again = run(clock)
    assert [one["account"] for one in again.failures] == [scope, "stripe:platform"]
    assert again.state == "finished"


def test_a_run_keeps_as_many_failures_as_an_item_has_room_for(
    stripe: Simulator, hold: str, queue: str, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"stripe:{account}" for account in two_accounts(stripe, hold)]
    monkeypatch.setattr(running, "FAILURES_KEPT", 1)
    stripe.control("faults", FAILING)
    done = run(clock)
    assert [one["account"] for one in done.failures] == names[:1]
    part = running.find(TENANT, done.item_id)
    assert part
    assert [one["account"] for one in part.failures] == names


def test_what_failed_closes_nothing(stripe: Simulator, hold: str, queue: str, clock: Any) -> None:
    paid(stripe, hold, "platform_losses")
    run(clock)
    before = told()
    stripe.control("faults", FAILING)
    assert len(run(clock).failures) == 2
    assert told() == before != []


def test_two_runs_find_the_same(stripe: Simulator, hold: str, queue: str, clock: Any) -> None:
    paid(stripe, hold, "platform_losses")

    def all_of_it() -> Any:
        shown = running.find(PLATFORM_TENANT, clock().date().isoformat())
        assert shown
        kept = [(o.item_id, o.kind, o.first_seen, o.expected, o.found) for o in differences()]
        return sorted(kept), shown.counts, shown.balances, int(shown.transactions)

    run(clock)
    first = all_of_it()
    run(clock)
    assert all_of_it() == first


def test_the_schedule_begins_one_run_a_day_and_goes_on_with_it(
    stripe: Simulator, hold: str, queue: str, clock: Any
) -> None:
    paid(stripe, hold, "stripe_losses")
    day = clock().date() + timedelta(days=1)
    at = running.datetime.combine(day, running.BEGINS_AT)
    clock.later = at - now() - timedelta(minutes=5)
    assert running.work(BY) is None
    clock.later = at - now() + timedelta(minutes=5)
    begun = running.work(BY, time_left=lambda: False)
    assert begun
    assert (begun.item_id, begun.state, int(begun.accounts)) == (day.isoformat(), "running", 0)
    done = running.work(BY)
    assert done
    assert (done.state, int(done.accounts)) == ("finished", 2)
    assert running.work(BY) is None
    # Asked for, it is done once more.
    running.ask(day, BY)
    again = running.work(BY)
    assert again
    assert (again.state, int(again.accounts)) == ("finished", 2)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The accounts that were looked at, in order; the practice has two."""
    found: list[str] = []
    look = running.accounts._stripe

    def seen(holder: Holder, *arguments: Any) -> Any:
        found.append(holder.name)
        return look(holder, *arguments)

    monkeypatch.setattr(running.accounts, "_stripe", seen)
    return found


def two_accounts(stripe: Simulator, hold: str) -> list[str]:
    add_expert()
    second = open_account(stripe, "stripe_losses", payee=EXPERT_ID).stripe_account
    return sorted([paid(stripe, hold, "stripe_losses")["account"], str(second)])


def test_the_place_is_kept_after_each_account(
    stripe: Simulator, hold: str, queue: str, clock: Any, looked_at: list[str]
) -> None:
    first, second = two_accounts(stripe, hold)
    day = clock().date()
    # Time for one more account, each time: that is asked before each practice, and each account.
    left = running.run(day, BY, time_left=iter([True, False]).__next__)
    assert left
    assert (left.state, looked_at) == ("running", [first])
    part = running.find(TENANT, day.isoformat())
    assert part
    assert (part.state, int(part.accounts)) == ("running", 1)
    done = running.run(day, BY)
    assert done
    assert (done.state, int(done.accounts)) == ("finished", 3)
    assert looked_at == [first, second, "stripe"]
    part = running.find(TENANT, day.isoformat())
    assert part
    assert (part.state, int(part.accounts), part.after) == ("finished", 2, None)
    own = differences(state="open")
    assert done.counts == {"in_flight": len(own)}
    # Another run of the day begins with the first of them again.
    run(clock)
    assert looked_at[3:] == [first, second, "stripe"]


def test_an_account_that_is_too_much_holds_up_no_other(
    stripe: Simulator, hold: str, queue: str, clock: Any, looked_at: list[str]
) -> None:
    first, second = two_accounts(stripe, hold)
    day = clock().date()

    def ends() -> bool:
        return looked_at[-1:] == [second]

    # Late in an invocation it is left to the next one, which gives it all of its time.
    left = running.run(day, BY, ends=ends)
    assert left
    assert (left.state, left.failures) == ("running", [])
    left = running.run(day, BY, ends=ends, time_left=iter([True, True, False]).__next__)
    assert left
    assert (left.state, looked_at) == ("running", [first, second, second])
    looked_at.clear()
    done = running.run(day, BY)
    assert done
    assert done.state == "finished"
    assert done.failures == [{"account": f"stripe:{second}", "why": "too_long"}]
    assert looked_at == ["stripe"]


def test_every_invocation_counts_whether_a_run_has_finished(
    stripe: Simulator, aws: Any, queue: str, clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its alarm goes by zeros, not by silence: a new stack has no practices and no first run."""

    def counted() -> list[float]:
        capsys.readouterr()
        context = SimpleNamespace(
            aws_request_id="aws-1",
            function_name="test",
            get_remaining_time_in_millis=lambda: 840_000,
        )
        handler("reconcile")({}, context)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        name = "ReconciliationsFinished"
        # What other runs have counted without a handler comes out with the first.
        return [line[name][-1] for line in lines if name in line]

    at = running.datetime.combine(clock().date() + timedelta(days=1), running.BEGINS_AT)
    clock.later = at - now() - timedelta(minutes=5)
    assert counted() == [0.0]
    clock.later = at - now() + timedelta(minutes=5)
    assert counted() == [1.0]
    assert counted() == [0.0]


def test_nobody_takes_a_run_that_somebody_has(
    stripe: Simulator, hold: str, queue: str, clock: Any
) -> None:
    paid(stripe, hold, "stripe_losses")
    day = clock().date()
    inside: list[Any] = []

    def meanwhile() -> bool:
        inside.append(running.run(day, BY))
        return True

    done = running.run(day, BY, time_left=meanwhile)
    assert done
    assert (set(inside), done.state) == ({None}, "finished")
    clock.later += running.HELD
    # One that died is taken up by the next.
    running.ask(day, BY)
    assert running._take(day, BY)
    assert running.run(day, BY) is None
    clock.later += running.HELD
    assert running.run(day, BY)


def test_a_run_that_is_asked_for_anew_begins_again(
    stripe: Simulator, hold: str, queue: str, clock: Any
) -> None:
    paid(stripe, hold, "stripe_losses")
    day = clock().date()

    def meanwhile() -> bool:
        running.ask(day, BY)
        return True

    assert running.run(day, BY, time_left=meanwhile) is None
    done = running.work(BY)
    assert done
    assert (done.state, int(done.accounts)) == ("finished", 2)


def test_months_that_are_over_are_added_up_once(
    stripe: Simulator, hold: str, queue: str, clock: Any
) -> None:
    made = paid(stripe, hold, "stripe_losses")
    tell(stripe)
    (settled,) = [one for one in postings() if one.event == "charge_settled"]
    place, moment = (made["account"], "MXN"), clock()
    net = ledger_side.balances(TENANT, moment).settled[place]
    for number in range(3):
        key = f"{made['account']}:txn_then_{number}"
        then = moment - timedelta(days=100 + number)
        copied = settled.serialize() | {
            "pk": {"S": TENANT.item(POSTING, key).pk},
            "posting_key": {"S": key},
            "l1pk": {"S": TENANT.listing_by(POSTING, "MONTH", f"{then:%Y-%m}")},
        }
        table.transact([table.put_raw(copied)])
    # This month's row was kept before these were there: it says what months it has.
    row = table.get_raw(TENANT.item(ledger_side.SUMS, "closed"))
    assert row
    last = moment.replace(day=1) - timedelta(days=1)
    assert row["through"]["S"] in (f"{last:%Y-%m}", f"{last.replace(day=1) - timedelta(1):%Y-%m}")
    assert ledger_side.balances(TENANT, moment).settled[place] == net
    table.transact([table.delete(TENANT.item(ledger_side.SUMS, "closed"))])
    assert ledger_side.balances(TENANT, moment).settled[place] == 4 * net
    # From the row, with nothing of those months read again.
    assert ledger_side.balances(TENANT, moment).settled[place] == 4 * net
    later = ledger_side.balances(TENANT, moment + timedelta(days=40))
    assert (later.settled[place], later.unsettled[place]) == (
        4 * net,
        -3 * _waiting(settled, place[0]),
    )


@CONTROLLERS
def test_what_is_posted_while_a_run_reads_is_no_difference(
    stripe: Simulator,
    hold: str,
    queue: str,
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
    controller: str,
) -> None:
    """On a platform that is never still the ledger would be behind its provider every day."""
    clock.later = timedelta()
    paid(stripe, hold, controller)
    read = stripe_side.Books.balances

    def told_meanwhile(books: stripe_side.Books) -> dict[str, int]:
        tell(stripe)
        return read(books)

    monkeypatch.setattr(stripe_side.Books, "balances", told_meanwhile)
    done = run(clock)
    own = running.find(TENANT, done.item_id)
    assert own
    assert told() == []
    for one in (*done.balances, *own.balances):
        assert one["provider"] == one["ledger"] != 0


def _waiting(item: PostingItem, account: str) -> int:
    """What a posting takes out of what was unsettled."""
    name = f"prov:{account}:unsettled"
    return sum(int(e["credit"]) - int(e["debit"]) for e in item.entries if e["account"] == name)


def test_an_open_difference_is_looked_at_until_it_is_gone(
    stripe: Simulator, hold: str, queue: str, clock: Any
) -> None:
    paid(stripe, hold, "stripe_losses")
    run(clock)
    count = len(told())
    # Days later it is out of the usual time, and still looked at.
    clock.later = timedelta(days=9)
    assert run(clock).counts == {"missing_here": count}
    work_off(queue)
    assert run(clock).counts == {}
    assert told() == []


def test_thousands_of_transactions_page_by_page(aws: Any) -> None:
    made = now()
    listed = [
        {
            "id": f"txn_{number}",
            "object": "balance_transaction",
            "amount": number,
            "fee": 1,
            "net": number - 1,
            "fee_details": [{"amount": 1, "type": "stripe_fee"}],
            "currency": "mxn",
            "created": int(made.timestamp()) - number // 10,
            "source": None,
            "type": "topup",
        }
        for number in range(1, 4321)
    ]
    asked = []

    def reply(method: str, path: str, body: str) -> Any:
        query = dict(parse_qsl(urlsplit(path).query))
        after = int(query.get("starting_after", "txn_0").removeprefix("txn_"))
        asked.append(after)
        data = listed[after : after + int(query["limit"])]
        more = after + int(query["limit"]) < len(listed)
        return 200, {}, {"object": "list", "data": data, "has_more": more, "url": "/v1/x"}

    with serving(reply) as url:
        aws.setenv("STRIPE_API_BASE", url)
        settings.reset()
        holder = Holder(PLATFORM_TENANT, "PLAT", "")
        facts = stripe_side.Books(holder, made - timedelta(days=3), made).facts()
    assert [fact.net for fact in facts] == [one["net"] for one in listed]
    assert asked == list(range(0, 4320, 100))


# ---------------------------------------------------------------- the API, and the command

RUNS, DIFFERENCES = "/v1/reconciliations", "/v1/reconciliation-differences"


def test_who_sees_what(stripe: Simulator, hold: str, queue: str, clock: Any) -> None:
    made = paid(stripe, hold, "stripe_losses")
    done = run(clock)
    day = done.item_id
    for role in ("owner", "admin", "billing", "operator"):
        (shown,) = ask("reconciliations", "GET", RUNS, role=role).body["items"]
        assert (shown["day"], shown["state"]) == (day, "finished")
        accounts_ = {one["account"] for one in shown["balances"]}
        assert accounts_ == ({"stripe"} if role == "operator" else {made["account"]})
        assert ask("reconciliations", "GET", f"{RUNS}/{day}", role=role).body == shown
        assert ask("reconciliations", "GET", DIFFERENCES, role=role).body["items"]
    for role in ("expert", "viewer", "patient"):
        for path in (RUNS, f"{RUNS}/{day}", DIFFERENCES, f"{RUNS}/{day}/report"):
            assert ask("reconciliations", "GET", path, role=role).status == 403
    other = signed_in("owner", practice=OTHER_PRACTICE)
    assert call("reconciliations", "GET", f"{RUNS}/{day}", context=other).status == 404
    assert call("reconciliations", "GET", RUNS, context=other).body["items"] == []
    assert call("reconciliations", "GET", DIFFERENCES, context=other).body["items"] == []


def test_differences_by_class_state_and_time(
    stripe: Simulator, hold: str, queue: str, clock: Any
) -> None:
    paid(stripe, hold, "stripe_losses")
    run(clock)

    def listed(query: str = "", role: str = "operator") -> list[str]:
        found, cursor = [], ""
        while True:
            path = f"{DIFFERENCES}?limit=1{query}{cursor}"
            answer = ask("reconciliations", "GET", path, role=role)
            assert answer.status == 200, answer.body
            found += [one["id"] for one in answer.body["items"]]
            if answer.body["next_cursor"] is None:
                return found
            cursor = f"&cursor={answer.body['next_cursor']}"

    everything = listed()
    assert len(everything) == len(set(everything)) == len(differences()) > 1
    assert listed("&class=in_flight&state=open") == everything
    assert listed("&class=amount") == listed("&state=resolved") == []
    assert listed("&to=2026-01-01T00:00:00Z") == []
    assert set(listed(role="owner")) == set(everything)
    one = ask("reconciliations", "GET", DIFFERENCES).body["items"][0]
    assert one["detail"] == "The provider moved this money, and the ledger has no posting of it."
    for wrong in ("class=lost", "state=shut", "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z"):
        assert ask("reconciliations", "GET", f"{DIFFERENCES}?{wrong}").status == 422
    assert ask("reconciliations", "GET", f"{DIFFERENCES}?cursor=x").status == 400


def test_a_report_has_ids_only(stripe: Simulator, hold: str, queue: str, clock: Any) -> None:
    paid(stripe, hold, "stripe_losses")
    day = run(clock).item_id
    raw = handler("reconciliations")(
        event("GET", f"{RUNS}/{day}/report", context=signed_in("operator")),
        SimpleNamespace(aws_request_id="aws-1", function_name="test"),
    )
    assert raw["statusCode"] == 200
    headers = {name.lower(): value for name, value in raw["headers"].items()}
    assert headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(raw["body"])))
    assert {row["id"] for row in rows} == {one.item_id for one in differences()}
    assert {row["currency"] for row in rows} == {"MXN"}
    assert all(int(row["found"]) for row in rows)
    assert ask("reconciliations", "GET", f"{RUNS}/2026-01-01/report").status == 404


def test_an_operator_asks_for_a_day(
    tables: Any, queue: str, environment: pytest.MonkeyPatch
) -> None:
    today = now().date()
    operator = signed_in("operator")

    def post(body: Any, key: str = "k-1", context: Any = operator) -> Answer:
        headers = {"Idempotency-Key": key}
        return call("reconciliations", "POST", RUNS, body, context=context, headers=headers)

    asked = post({})
    assert (asked.status, asked.body["day"]) == (202, today.isoformat())
    assert asked.headers["Location"] == f"{RUNS}/{today}"
    assert asked.body["state"] == "asked"
    assert post({}).status == 202
    assert post({"day": str(today - timedelta(days=1))}).status == 422
    before = post({"day": str(today - timedelta(days=1))}, "k-2")
    assert (before.status, before.body["state"]) == (202, "asked")
    for day in (today + timedelta(days=1), today - timedelta(days=61)):
        assert post({"day": str(day)}, "k-3").status == 422
    assert post({}, "k-4", signed_in("owner")).status == 403
    assert ask("reconciliations", "GET", f"{RUNS}/2026-02-31", role="operator").status == 404
    assert ask("reconciliations", "GET", f"{RUNS}/today", role="operator").status == 422


def test_the_command_says_what_is_open(
    stripe: Simulator, hold: str, queue: str, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = paid(stripe, hold, "stripe_losses")

    class Lambda:
        """What AWS does: the function, with its own policy."""

        def invoke(self, **asked: Any) -> dict[str, Any]:
            context = SimpleNamespace(
                aws_request_id="aws-1",
                function_name="test",
                get_remaining_time_in_millis=lambda: 800_000,
            )
            told = handler("reconcile")(json.loads(asked["Payload"]), context)
            return {"Payload": io.BytesIO(json.dumps(told).encode())}

    monkeypatch.setattr(command, "aws", SimpleNamespace(client=lambda *_: Lambda()))
    day = clock().date().isoformat()
    options = ["reconcile", "--core-table", CORE, "--function", "f", "--day", day]
    flying = CliRunner().invoke(app, options)
    assert flying.exit_code == 0, flying.output
    assert "in_flight not_posted" in flying.output
    tell(stripe)
    right = CliRunner().invoke(app, options)
    assert (right.exit_code, right.output.split(", ")[2]) == (0, "0 differences"), right.output
    form = {"payment_intent": made["provider_id"], "amount": "3000"}
    headers = {"Authorization": "Bearer sk_test_x", "Stripe-Account": made["account"]}
    assert requests.post(f"{stripe.url}/v1/refunds", data=form, headers=headers, timeout=5).ok
    wrong = CliRunner().invoke(app, options)
    assert wrong.exit_code == 1
    assert f"external_refund made_at_provider {PRACTICE} {made['account']} re_" in wrong.output


# ---------------------------------------------------------------- what the simulator gained


def test_the_simulator_pays_out_what_is_available(stripe: Simulator, hold: str) -> None:
    account = paid(stripe, hold, "stripe_losses")["account"]
    refused = {"account": account, "currency": "mxn"}
    url = f"{stripe.url}/_control/payouts"
    assert requests.post(url, json=refused, timeout=5).status_code == 400
    (charge,) = stripe.get("/v1/balance_transactions", account)["data"]

    def balance() -> list[int]:
        found = stripe.get("/v1/balance", account)
        return [found[part][0]["amount"] for part in ("pending", "available")]

    assert balance() == [charge["net"], 0]
    stripe.control("balance", {"account": account})
    assert balance() == [0, charge["net"]]
    payout = stripe.control("payouts", refused)
    assert (payout["automatic"], payout["amount"]) == (True, charge["net"])
    assert balance() == [0, 0]
    listed = stripe.get(f"/v1/balance_transactions?payout={payout['id']}", account)["data"]
    assert [one["type"] for one in listed] == ["payout", "charge"]
    # Nothing is paid out twice.
    assert requests.post(url, json=refused, timeout=5).status_code == 400
    manual = stripe.control("payouts", {**refused, "amount": 1})
    assert (manual["automatic"], manual["reconciliation_status"]) == (False, "not_applicable")
    for query in (f"payout={manual['id']}", "payout=po_x", f"payout={payout['id']}&type=charge"):
        assert "error" in stripe.get(f"/v1/balance_transactions?{query}", account)
    assert "error" in stripe.get("/v1/balance?currency=mxn", account)


# ---------------------------------------------------------------- helpers


def postings() -> list[PostingItem]:
    found = table.Query(TENANT.listing(POSTING), index="walk").all()
    keys = [TENANT.item(POSTING, raw["walksk"]["S"]) for raw in found]
    return [PostingItem.read(raw) for raw in table.batch_get_raw(keys).values()]


def change(item: PostingItem, **values: Any) -> None:
    """Write into the table what no code of ours would."""
    table.transact([table.update(item.key, set_=values)])
