"""The scheduled repair: with no webhook at all, asking the providers leads to the same end."""

import json
import time
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from typer.testing import CliRunner

from consulta.core import keys, settings, table
from consulta.core.item import Actor
from consulta.core.time import from_text, now
from consulta.money.accounts import payees
from consulta.money.paying import orders
from consulta.money.records import State
from consulta.money.webhooks import inbox, missed
from consulta.money.webhooks.missed import Mark, Repaired
from consulta.scheduling.records import PaymentStatus, Status
from consulta_cli import app
from tests.conftest import CORE
from tests.integration.test_money import (  # noqa: F401  # fixtures are found by their names
    Practice,
    practice,
)
from tests.integration.test_money_simulated import (  # noqa: F401
    Simulator,
    ask,
    aws,
    hold,
    mercadopago,
    mercadopago_process,
    open_account,
    shown,
    stripe,
    stripe_process,
    tell,
)
from tests.integration.test_providers import by_card, connect_seller
from tests.integration.test_webhook_inbox import queue, taken  # noqa: F401
from tests.unit.people.calling import PRACTICE
from tests.unit.scheduling.world import World

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
BY = Actor("payment-repair", "request-1")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for: what has just happened is asked for, too."""
    monkeypatch.setattr(missed, "GRACE", timedelta(seconds=-5))


def work_off(queue: str) -> int:
    """Do what is in the queue, as the worker does; how many messages."""
    messages = taken(queue)
    for message in messages:
        assert inbox.handle(message) is not inbox.InboxState.FAILED
    return len(messages)


def pay(stripe: Simulator, hold: str) -> str:
    """A payment at Stripe that no event has told of; its id."""
    started = ask(
        "payments", "POST", "/v1/payments", {"appointment_id": hold, "provider": "stripe"}
    )
    assert started.status == 201, started.body
    stripe.control(f"pay/{started.body['provider_id']}", {"payment_method": "pm_card_visa"})
    return str(started.body["id"])


def settled(stripe: Simulator) -> None:
    """Wait until the charge has settled, of which Stripe tells a moment after it has succeeded."""
    for _ in range(100):
        if "charge.updated" in {e["event"]["type"] for e in told(stripe)}:
            return
        time.sleep(0.05)
    raise AssertionError("the charge never settled")


def told(simulator: Simulator) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = simulator.get("/_control/events")["events"]
    return found


def load(payment_id: str) -> Any:
    return orders.load(World(PRACTICE, exists=True).tenant, payment_id)


# ---------------------------------------------------------------- Stripe


@pytest.mark.parametrize("controller", ["platform_losses", "stripe_losses"])
def test_events_that_never_came(
    stripe: Simulator, hold: str, queue: str, at_once: None, controller: str
) -> None:
    open_account(stripe, controller)
    payment_id = pay(stripe, hold)
    assert shown(hold) == (Status.HELD, PaymentStatus.UNPAID)
    done = missed.run(BY)
    assert done.failed == 0
    assert done.missed > 1
    assert work_off(queue) == done.missed
    assert shown(hold) == (Status.CONFIRMED, PaymentStatus.PAID)
    payment = load(payment_id)
    assert (payment.state, payment.settled) == (State.SUCCEEDED, True)
    again = missed.run(BY)
    assert (again.missed, again.failed) == (0, 0)
    assert taken(queue) == []
    # The webhook, late: the same events, and nothing happens twice.
    tell("stripe", stripe)
    assert load(payment_id).version == payment.version


def test_what_came_is_not_asked_for(
    stripe: Simulator, hold: str, queue: str, at_once: None
) -> None:
    open_account(stripe)
    pay(stripe, hold)
    settled(stripe)
    tell("stripe", stripe)
    done = missed.run(BY)
    assert (done.missed, done.failed) == (0, 0)


def test_what_is_still_on_its_way_is_not_missed(stripe: Simulator, hold: str, queue: str) -> None:
    open_account(stripe)
    pay(stripe, hold)
    assert missed.run(BY).missed == 0


def test_many_pages_are_gone_on_with(
    stripe: Simulator,
    hold: str,
    queue: str,
    at_once: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_account(stripe)
    pay(stripe, hold)
    total = missed.run(BY).missed
    assert work_off(queue) == total
    for item in stripe.get("/_control/events")["events"]:
        event = item["event"]
        key = keys.inbox("stripe", event.get("account") or "platform", event["id"])
        table.transact([table.delete(key)])
    table.transact([table.delete(keys.watermark("missed:stripe:platform"))])
    monkeypatch.setattr(missed, "PAGE", 2)
    monkeypatch.setattr(missed, "PAGES", 1)
    platform, runs = 0, 0
    while True:
        done = Repaired()
        missed._look(done, "stripe:platform", partial(missed._stripe, done, ""))
        platform, runs = platform + done.missed, runs + 1
        assert done.missed <= 2
        if not Mark.read("stripe:platform").until:
            break
    assert runs > 1
    assert platform == len(taken(queue))
    assert 0 < platform <= total


def test_a_provider_that_is_away_is_asked_from_the_same_place(
    stripe: Simulator,
    hold: str,
    queue: str,
    at_once: None,
    environment: pytest.MonkeyPatch,
) -> None:
    open_account(stripe)
    payment_id = pay(stripe, hold)
    begun = Mark.read("stripe:platform").at
    environment.setenv("STRIPE_API_BASE", "http://127.0.0.1:9")
    settings.reset()
    away = missed.run(BY)
    assert (away.missed, away.failed) == (0, 3)
    assert table.get_raw(keys.watermark("missed:stripe:platform")) is None
    environment.setenv("STRIPE_API_BASE", stripe.url)
    settings.reset()
    assert missed.run(BY).failed == 0
    assert Mark.read("stripe:platform").at > begun
    work_off(queue)
    assert load(payment_id).state == State.SUCCEEDED


def test_a_closed_account_holds_nobody_up(
    stripe: Simulator, hold: str, queue: str, at_once: None
) -> None:
    payee = open_account(stripe)
    payment_id = pay(stripe, hold)
    stripe.control(f"accounts/{payee.stripe_account}/deauthorize")
    done = missed.run(BY)
    assert done.failed == 0
    work_off(queue)
    assert load(payment_id).captured


# ---------------------------------------------------------------- Mercado Pago


def test_notifications_that_never_came(
    mercadopago: Simulator,
    hold: str,
    queue: str,
    at_once: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(missed, "_stripe", lambda _done, _account, mark: mark)
    monkeypatch.setattr(missed, "_thin", lambda _done, mark: mark)
    assert connect_seller(mercadopago).status in (200, 201)
    body = by_card(hold, "tok_in_process")
    made = ask("payments", "POST", "/v1/payments", body)
    assert (made.status, made.body["status"]) == (201, "processing"), made.body
    assert missed.run(BY).missed == 0, "it is as we know it"
    mercadopago.control(f"payments/{made.body['provider_id']}/approve")
    done = missed.run(BY)
    assert (done.missed, done.failed) == (1, 0)
    (message,) = taken(queue)
    assert message["event_id"].startswith(f"search-{made.body['provider_id']}-")
    assert "payer" not in json.dumps(message)
    assert inbox.handle(message) is inbox.InboxState.DONE
    assert load(made.body["id"]).state == State.SUCCEEDED
    assert missed.run(BY).missed == 0
    contested = {"status": "in_mediation", "status_detail": "pending"}
    mercadopago.control(f"payments/{made.body['provider_id']}", contested)
    assert missed.run(BY).missed == 1
    (message,) = taken(queue)
    assert (message["type"], message["object_id"]) == ("payment", made.body["provider_id"])
    opened = mercadopago.control(f"payments/{made.body['provider_id']}/chargeback")
    assert missed.run(BY).missed == 1
    (message,) = taken(queue)
    # A chargeback, and as such: the payment does not name it.
    assert (message["type"], message["object_id"]) == ("topic_chargebacks_wh", opened["id"])
    assert inbox.handle(message) is inbox.InboxState.DONE
    assert load(made.body["id"]).disputed == load(made.body["id"]).captured
    assert missed.run(BY).missed == 0


def scripted(monkeypatch: pytest.MonkeyPatch, totals: list[int]) -> list[int]:
    """Searches that find nothing, of so many in all; the offsets that were asked for."""
    asked: list[int] = []

    def answer(_name: str, _call: Any, wanted: dict[str, Any], _options: Any) -> dict[str, Any]:
        asked.append(wanted["offset"])
        return {"paging": {"total": totals[len(asked) - 1]}, "results": []}

    monkeypatch.setattr(missed.mercadopago_client, "answer", answer)
    monkeypatch.setattr(missed.mercadopago_tokens, "access_token", lambda *_: "token")
    return asked


def test_payments_that_move_while_they_are_listed_are_listed_again(
    practice: Practice, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payee = payees.find(practice.world.tenant, practice.world.practice)
    assert payee
    mark = Mark("mercadopago:4711", now() - timedelta(hours=2))
    moved = scripted(monkeypatch, [250, 249])
    assert missed._mercadopago(Repaired(), payee, mark) == mark
    assert moved == [0, 100]
    still = scripted(monkeypatch, [250, 250, 250])
    done = missed._mercadopago(Repaired(), payee, mark)
    assert (done.until, still) == (None, [0, 100, 200])
    assert done.at > mark.at + timedelta(hours=1)


def test_too_many_for_one_look_are_taken_in_halves(
    practice: Practice, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payee = payees.find(practice.world.tenant, practice.world.practice)
    assert payee
    mark = Mark("mercadopago:4711", now() - timedelta(hours=2))
    scripted(monkeypatch, [5000] * missed.PAGES)
    half = missed._mercadopago(Repaired(), payee, mark)
    assert half.at == mark.at
    assert half.until
    assert timedelta(minutes=50) < half.until - mark.at < timedelta(minutes=60)
    scripted(monkeypatch, [10])
    assert missed._mercadopago(Repaired(), payee, half) == Mark(mark.scope, half.until)


# ---------------------------------------------------------------- payments that stay as they are


@pytest.fixture
def waiting(practice: Practice, queue: str, monkeypatch: pytest.MonkeyPatch) -> Practice:
    """A practice whose providers list nothing."""
    for name in ("_stripe", "_mercadopago"):
        monkeypatch.setattr(missed, name, lambda _done, _whose, mark: mark)
    monkeypatch.setattr(missed, "_thin", lambda _done, mark: mark)
    monkeypatch.setattr(missed, "now", lambda: practice.clock.at)
    return practice


def test_what_nobody_told_is_read_after_an_hour(waiting: Practice) -> None:
    payment = waiting.start(waiting.hold())
    waiting.stripe.pay(str(payment.provider_id))
    waiting.stripe.settle(str(payment.provider_id))
    waiting.clock.forward(minutes=30)
    assert missed.run(BY).reread == 0
    waiting.clock.forward(minutes=40)
    done = missed.run(BY)
    assert (done.reread, done.unsettled, done.failed) == (1, 0, 0)
    found = waiting.payment(payment.id)
    assert (found.state, found.settled) == (State.SUCCEEDED, True)
    waiting.clock.forward(hours=6)
    assert missed.run(BY).reread == 0


def test_what_stays_unsettled_is_counted_at_each_age(waiting: Practice) -> None:
    payment = waiting.start(waiting.hold())
    waiting.stripe.pay(str(payment.provider_id))
    waiting.event(payment, "payment_intent.succeeded")
    assert not waiting.payment(payment.id).settled
    seen = []
    for _ in range(40):
        waiting.clock.forward(minutes=15)
        seen.append(missed.run(BY).unsettled)
    assert [number for number, found in enumerate(seen) if found] == [4, 24]
    waiting.stripe.settle(str(payment.provider_id))
    waiting.clock.forward(hours=15)
    done = missed.run(BY)
    assert (done.reread, done.unsettled) == (1, 0)
    assert waiting.payment(payment.id).settled


def test_a_payment_that_cannot_be_read_holds_up_no_other(waiting: Practice) -> None:
    for hour in (10, 12):
        payment = waiting.start(waiting.hold(hour))
        waiting.stripe.pay(str(payment.provider_id))
    waiting.clock.forward(minutes=61)
    waiting.stripe.faults["read", "before"] = KeyError("a shape that we do not know")
    done = missed.run(BY)
    assert (done.reread, done.failed) == (1, 1)
    mark = Mark.read(f"payments:{waiting.world.practice}")
    assert mark.at == waiting.clock.at


def test_a_run_that_was_cut_off_goes_on(waiting: Practice) -> None:
    done = missed.run(BY, time_left=lambda: False)
    assert done.reread == 0
    assert table.get_raw(keys.watermark("missed")) is None
    payment = waiting.start(waiting.hold())
    waiting.stripe.pay(str(payment.provider_id))
    waiting.clock.forward(minutes=61)
    assert missed.run(BY).reread == 1
    raw = table.get_raw(keys.watermark(f"missed:payments:{waiting.world.practice}"))
    assert raw
    assert from_text(table.from_raw(raw)["at"]) == waiting.clock.at


def test_a_mark_never_goes_back(tables: Any) -> None:
    instant = now()
    Mark("stripe:acct_1", instant).save()
    Mark("stripe:acct_1", instant - timedelta(hours=1)).save()
    assert Mark.read("stripe:acct_1").at == instant
    Mark("stripe:acct_1", instant - timedelta(days=90)).save()
    old = Mark("stripe:acct_2", instant - timedelta(days=90))
    old.save()
    assert Mark.read("stripe:acct_2").at > instant - timedelta(days=30)


# ---------------------------------------------------------------- thin events, and whose turn it is


def test_thin_events_that_never_came(
    stripe: Simulator, hold: str, queue: str, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    payee = open_account(stripe)
    account = str(payee.stripe_account)
    missed.run(BY)
    work_off(queue)
    for kind, subject in (
        ("v2.core.account.updated", account),
        ("v2.core.account[requirements].updated", account),
        ("v1.charge.updated", "ch_1"),
        ("v2.core.event_destination.ping", "ed_1"),
    ):
        stripe.control("thin", {"type": kind, "id": subject, "context": account})
    monkeypatch.setattr(missed, "PAGE", 1)
    done = missed.run(BY)
    assert (done.missed, done.failed) == (2, 0)
    messages = taken(queue)
    assert {m["type"] for m in messages} == {
        "v2.core.account.updated",
        "v2.core.account[requirements].updated",
    }
    for message in messages:
        assert (message["account"], message["object_id"]) == (account, account)
        assert inbox.handle(message) is inbox.InboxState.DONE
    assert missed.run(BY).missed == 0


def test_too_many_thin_events_are_taken_in_halves(
    stripe: Simulator, hold: str, queue: str, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        stripe.control("thin", {"type": "v2.core.account.updated", "id": f"acct_{number}"})
    monkeypatch.setattr(missed, "PAGE", 1)
    monkeypatch.setattr(missed, "PAGES", 2)
    mark = Mark("stripe:thin", now() - timedelta(hours=2))
    half = missed._thin(Repaired(), mark)
    assert half.at == mark.at
    assert half.until
    assert half.until < now()
    assert taken(queue) == []


def connected(number: int, provider: str = "stripe") -> None:
    owner = payees.Owner(f"prac_{number:03d}", f"prac_{number:03d}")
    table.transact([payees.account_row(provider, f"acct_{number}", owner)])


@pytest.fixture
def looked(tables: Any, queue: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scopes that were looked at, in turn; the providers list nothing."""
    scopes: list[str] = []

    def look(done: Repaired, scope: str, _ask: Any) -> None:
        scopes.append(scope)
        done.scopes += 1

    monkeypatch.setattr(missed, "_look", look)
    return scopes


def test_only_practices_with_accounts_are_visited(looked: list[str]) -> None:
    World("prac_none")
    connected(1)
    missed.run(BY)
    assert looked == ["stripe:platform", "stripe:thin", "payments:prac_001", "stripe:acct_1"]


def test_no_account_starves_however_short_the_runs(looked: list[str]) -> None:
    for number in range(7):
        connected(number)
    for _ in range(14):
        turns = iter([True, False])
        missed.run(BY, time_left=lambda turns=turns: next(turns))  # type: ignore[misc]
    visits = [scope for scope in looked if scope.startswith("stripe:acct_")]
    # One account a run, each as often as any other, and in turn.
    assert visits[:7] == [f"stripe:acct_{number}" for number in range(7)]
    assert {visits.count(scope) for scope in visits[:7]} == {2} or len(visits) < 14
    assert set(visits) == set(visits[:7])


def test_a_run_that_dies_goes_on_behind_what_was_done(
    looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        connected(number)
    asked = missed._account

    def dies(done: Repaired, account: payees.Account) -> None:
        if account.account == "acct_2":
            raise KeyboardInterrupt
        asked(done, account)

    monkeypatch.setattr(missed, "_account", dies)
    with pytest.raises(KeyboardInterrupt):
        missed.run(BY)
    monkeypatch.setattr(missed, "_account", asked)
    before = len(looked)
    missed.run(BY)
    assert [scope for scope in looked[before:] if "acct_" in scope] == [
        "stripe:acct_2",
        "stripe:acct_3",
    ]
    missed.run(BY)
    assert looked.count("stripe:acct_0") == 2, "the end was reached, and it begins again"


def test_accounts_from_before_the_list_are_put_into_it(practice: Practice) -> None:
    world = practice.world
    for provider, account in (("stripe", "acct_1"), ("mercadopago", "4711")):
        key = keys.provider_account(provider, account)
        table.transact([table.update(key, remove=["l1pk", "l1sk"])])
    assert list(payees.accounts()) == []
    assert payees.list_accounts(world.practice) == 2
    found = {(a.provider, a.account, a.owner.payee) for a in payees.accounts()}
    assert found == {
        ("stripe", "acct_1", world.practice),
        ("mercadopago", "4711", world.practice),
    }
    assert payees.list_accounts(world.practice) == 0


def test_the_command_lists_the_accounts(practice: Practice, queue: str) -> None:
    key = keys.provider_account("stripe", "acct_1")
    table.transact([table.update(key, remove=["l1pk", "l1sk"])])
    options = ["--core-table", CORE, "--events-queue", queue, "--dead-letters-queue", queue]
    for found in (1, 0):
        ran = CliRunner().invoke(app, ["webhooks", "list-accounts", *options])
        assert (ran.exit_code, ran.stdout.strip()) == (0, f"{found} accounts listed")
