"""Payouts, balances, payout schedules and the lookup of accounts, against Stripe's simulator."""

import itertools
import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests

from consulta.aggregates import walk
from consulta.core import aws as clients
from consulta.core import table
from consulta.core.keys import Tenant
from consulta.core.time import now
from consulta.money.accounts import connect, payees, payout_effects
from consulta.money.accounts.payout_effects import PLATFORM_TENANT
from consulta.money.records import PAYOUT, POSTING, InboxItem, PayoutItem, PostingItem
from consulta.money.stripe import payouts as stripe_payouts
from consulta.money.stripe.payouts import ProviderPayout
from consulta.money.webhooks import inbox
from consulta.money.webhooks.inbox import InboxState
from tests.conftest import CORE
from tests.faults import Crash, Fault, Faults
from tests.integration.test_money_simulated import (  # noqa: F401  # a fixture is found by its name
    PRICE,
    hold,
)
from tests.integration.test_providers import (  # noqa: F401  # fixtures are found by their names
    BY,
    EXPERT_ID,
    OTHER_EXPERT,
    Simulator,
    add_expert,
    ask,
    aws,
    open_account,
    stripe,
    stripe_process,
)
from tests.unit.people.calling import PRACTICE, Answer, call, signed_in

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
TENANT = Tenant(PRACTICE)
PATH = "/v1/payouts"


def messages(simulator: Simulator) -> list[dict[str, Any]]:
    """All that the simulator has told, in order, as the queue has it."""
    found = []
    for emitted in simulator.get("/_control/events")["events"]:
        sent = emitted["event"]
        found.append(
            {
                "provider": "stripe",
                "event_id": str(sent["id"]),
                "type": sent["type"],
                "live": False,
                "account": str(sent.get("account") or ""),
                "object_id": str(sent["data"]["object"].get("id") or ""),
                "api_version": "",
            }
        )
    return found


def tell(simulator: Simulator) -> list[InboxState]:
    """Hand it all to the worker, the latest first, each one twice."""
    told = []
    for message in reversed(messages(simulator)):
        told += [inbox.handle(message), inbox.handle(message)]
    return told


def postings(tenant: Tenant = TENANT) -> list[PostingItem]:
    found = []
    for raw in table.Query(tenant.listing(POSTING), index="walk").all():
        posting = table.get(PostingItem, tenant.item(POSTING, raw["walksk"]["S"]))
        assert posting
        found.append(posting)
    return found


def ledger_of(tenant: Tenant = TENANT) -> dict[tuple[str, str], int]:
    """Balances by book's kind and account, from the postings themselves."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for posting in postings(tenant):
        for entry in posting.entries:
            amount = int(entry["debit"]) - int(entry["credit"])
            sums[entry["book"].partition(":")[0], entry["account"]] += amount
    return {key: amount for key, amount in sums.items() if amount}


def shown(payee: str = "practice", role: str = "owner") -> dict[str, int]:
    """What the API says, of the one currency that there is, without zeros."""
    walk.walk(TENANT)
    answer = ask("payouts", "GET", f"{PATH}/balance?payee={payee}", role=role)
    assert answer.status == 200, answer.body
    (found,) = answer.body["balances"]
    assert found.pop("currency") == "MXN"
    return {name: amount["amount"] for name, amount in found.items() if amount["amount"]}


def pay(simulator: Simulator, appointment: str) -> None:
    body = {"appointment_id": appointment, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", body)
    assert started.status == 201, started.body
    simulator.control(f"pay/{started.body['provider_id']}", {"payment_method": "pm_card_visa"})


def payout(simulator: Simulator, account: str | None, amount: int = 9000, **more: Any) -> str:
    body = {"amount": amount, "currency": "mxn", "account": account, **more}
    return str(simulator.control("payouts", {k: v for k, v in body.items() if v})["id"])


# ---------------------------------------------------------------- from the charge to the bank


@pytest.mark.parametrize("controller", ["platform_losses", "stripe_losses"])
def test_money_on_its_way_to_the_bank(stripe: Simulator, hold: str, controller: str) -> None:
    account = str(open_account(stripe, controller).stripe_account)
    pay(stripe, hold)
    assert InboxState.FAILED not in tell(stripe)
    pending = shown()["pending"]
    assert shown() == {"pending": pending}
    assert 0 < pending < PRICE
    stripe.control("balance", {"account": account})
    tell(stripe)
    assert shown() == {"available": pending}
    stripe.control("balance")
    tell(stripe)
    platform = ledger_of(PLATFORM_TENANT)
    # Every transaction of the platform's balance was moved, and nothing was made of it.
    assert platform["PLAT", "prov:stripe:available"] == -platform["PLAT", "prov:stripe:pending"]
    ours = ledger_of()["PLAT", "prov:stripe:pending"]
    assert platform["PLAT", "prov:stripe:available"] == ours
    made = payout(stripe, account, 20000)
    tell(stripe)
    assert shown() == {"available": pending - 20000, "in_transit": 20000}
    stripe.control(f"payouts/{made}", {"status": "paid"})
    tell(stripe)
    after = shown()
    assert after == {"available": pending - 20000, "paid_out": 20000}
    one = ask("payouts", "GET", f"{PATH}/{made}").body
    assert (one["status"], one["amount"]) == ("paid", {"amount": 20000, "currency": "MXN"})
    stripe.control(f"payouts/{made}", {"status": "failed"})
    assert InboxState.FAILED not in tell(stripe)
    assert shown() == {"available": pending}
    one = ask("payouts", "GET", f"{PATH}/{made}").body
    assert (one["status"], one["failure_code"]) == ("failed", "account_closed")
    # Nothing of a payout is left when it becomes available that is told again.
    stripe.control("balance", {"account": account})
    tell(stripe)
    assert shown() == {"available": pending}
    assert "prov:stripe:available" not in {a for (book, a) in ledger_of() if book == "PAYEE"}


@pytest.mark.parametrize("status", ["paid", "failed", "canceled"])
def test_told_only_of_the_end_the_ledger_is_whole(stripe: Simulator, status: str) -> None:
    account = str(open_account(stripe).stripe_account)
    made = payout(stripe, account, status=status)
    (last,) = [m for m in messages(stripe) if m["type"] == f"payout.{status}"]
    assert inbox.handle(last) is InboxState.DONE
    where = "bank" if status == "paid" else f"prov:{account}:available"
    expected = {("PAYEE", f"prov:{account}:available"): -9000, ("PAYEE", "bank"): 9000}
    assert ledger_of() == (expected if where == "bank" else {})
    item = table.get(PayoutItem, TENANT.item(PAYOUT, made))
    assert item
    assert (item.status, item.payee_id, item.account) == (status, PRACTICE, account)


def test_the_platforms_own_payouts_are_in_its_own_book(stripe: Simulator) -> None:
    open_account(stripe)
    made = payout(stripe, None, 5000, status="paid")
    tell(stripe)
    assert ledger_of(PLATFORM_TENANT) == {
        ("PLAT", "prov:stripe:available"): -5000,
        ("PLAT", "bank"): 5000,
    }
    assert ledger_of() == {}
    # It is no practice's to see.
    assert ask("payouts", "GET", f"{PATH}/{made}").status == 404
    assert ask("payouts", "GET", PATH).body["items"] == []


def test_what_is_nobodys_or_not_there(stripe: Simulator) -> None:
    account = str(open_account(stripe).stripe_account)
    payout(stripe, account)
    (told,) = [m for m in messages(stripe) if m["type"] == "payout.created"]
    foreign = {**told, "event_id": "evt_1", "account": "acct_unknown"}
    assert inbox.handle(foreign) is InboxState.IGNORED
    assert inbox.handle({**foreign, "event_id": "evt_2", "type": "balance.available"}) is (
        InboxState.IGNORED
    )
    gone = {**told, "event_id": "evt_3", "object_id": "po_none"}
    assert inbox.handle(gone) is InboxState.FAILED
    assert postings() == []


# ---------------------------------------------------------------- in any order


def reading(status: str) -> ProviderPayout:
    return ProviderPayout(
        id="po_1",
        amount=9000,
        fee=0,
        currency="MXN",
        status=status,
        method="standard",
        automatic=True,
        made_at=datetime(2026, 11, 20, tzinfo=UTC),
        arrives_on=date(2026, 11, 23),
        failure_code="account_closed" if status == "failed" else "",
        transaction="txn_1",
        failure_transaction="txn_2" if status == "failed" else "",
    )


def message(kind: str, number: int) -> dict[str, Any]:
    return {
        "provider": "stripe",
        "event_id": f"evt_{number}",
        "type": kind,
        "live": False,
        "account": "acct_1",
        "object_id": "po_1",
        "api_version": "",
    }


EVENTS = ("payout.created", "payout.updated", "payout.paid", "payout.failed", "payout.created")
# What the provider says when each of five events is looked at: time goes one way only.
LOOKS = [
    looks
    for looks in itertools.combinations_with_replacement(
        ("pending", "in_transit", "paid", "failed"), len(EVENTS)
    )
    if looks[-1] == "failed"
]


def connected(account: str = "acct_1", payee: str = PRACTICE) -> None:
    table.transact([payees.account_row("stripe", account, payees.Owner(PRACTICE, payee))])


def told(monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...], looks: tuple[str, ...]) -> None:
    for number, (kind, status) in enumerate(zip(order, looks, strict=True)):
        monkeypatch.setattr(
            stripe_payouts, "read_payout", lambda *_, status=status: reading(status)
        )
        for _ in range(2):
            assert inbox.handle(message(kind, number)) is InboxState.DONE


@pytest.mark.parametrize("looks", LOOKS)
def test_whenever_it_is_looked_at_it_ends_the_same(
    tables: Any, monkeypatch: pytest.MonkeyPatch, looks: tuple[str, ...]
) -> None:
    connected()
    told(monkeypatch, EVENTS, looks)
    assert ledger_of() == {}
    assert payout_now().status == "failed"


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(EVENTS)))[::7])
def test_whatever_order_the_events_come_in_it_ends_the_same(
    tables: Any, monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    connected()
    told(monkeypatch, order, ("pending", "paid", "paid", "failed", "failed"))
    assert ledger_of() == {}
    assert [p.event for p in sorted(postings(), key=lambda p: p.event)] == [
        "payout_created",
        "payout_paid",
        "payout_returned",
    ]
    assert payout_now().status == "failed"


def payout_now() -> PayoutItem:
    found = table.get(PayoutItem, TENANT.item(PAYOUT, "po_1"))
    assert found
    return found


def test_a_late_look_takes_nothing_back(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connected()
    told(monkeypatch, ("payout.failed", "payout.paid"), ("failed", "paid"))
    assert (payout_now().status, ledger_of()) == ("failed", {})


@pytest.mark.parametrize("crash", [Faults.crash_before, Faults.crash_after])
@pytest.mark.parametrize("write", range(2))
def test_a_crash_at_either_write_is_taken_up_again(
    tables: Any, monkeypatch: pytest.MonkeyPatch, write: int, crash: Fault
) -> None:
    connected()
    monkeypatch.setattr(stripe_payouts, "read_payout", lambda *_: reading("paid"))
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[Fault()] * write, crash)
        with pytest.raises(Crash):
            inbox.handle(message("payout.paid", 1))
    assert inbox.handle(message("payout.paid", 1)) is InboxState.DONE
    assert ledger_of() == {
        ("PAYEE", "prov:acct_1:available"): -9000,
        ("PAYEE", "bank"): 9000,
    }


def test_two_at_once_post_once(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connected()
    monkeypatch.setattr(stripe_payouts, "read_payout", lambda *_: reading("paid"))
    race = Faults.meanwhile(lambda: inbox.handle(message("payout.created", 2)))
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", Fault(), race)
        assert inbox.handle(message("payout.paid", 1)) is InboxState.DONE
        assert faults.happened == 1
    assert sorted(p.event for p in postings()) == ["payout_created", "payout_paid"]
    row = table.get(InboxItem, inbox.Row.of(message("payout.paid", 1)).key)
    assert row
    assert row.state == InboxState.DONE


# ---------------------------------------------------------------- available funds


def transaction(name: str, **changes: Any) -> stripe_payouts.Transaction:
    made = stripe_payouts.Transaction(f"txn_{name}", 1000, "MXN", "payment", True, 1_700_000_000)
    return replace(made, **changes)


def test_each_transaction_is_moved_once(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connected()
    asked: list[int] = []
    found = [transaction("a"), transaction("b", net=-300), transaction("c", is_available=False)]
    found += [transaction("d", kind="payout", net=-700), transaction("e", net=0)]

    def pages(account: str, since: int) -> Any:
        assert account == "acct_1"
        asked.append(since)
        return iter([found[:2], found[2:]])

    monkeypatch.setattr(stripe_payouts, "transactions", pages)
    for number in range(2):
        event = {**message("balance.available", number), "object_id": ""}
        assert inbox.handle(event) is InboxState.DONE
    assert ledger_of()["PAYEE", "prov:acct_1:available"] == 700
    assert len(postings()) == 2
    # The next look goes back to the one that is still pending, with a margin.
    assert asked[1] == 1_700_000_000 - payout_effects.OVERLAP_S
    found[2] = replace(found[2], is_available=True)
    inbox.handle({**message("balance.available", 3), "object_id": ""})
    assert ledger_of()["PAYEE", "prov:acct_1:available"] == 1700


def test_two_looks_at_once_move_each_once(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connected()
    monkeypatch.setattr(
        stripe_payouts, "transactions", lambda *_: iter([[transaction("a"), transaction("b")]])
    )
    first, second = ({**message("balance.available", n), "object_id": ""} for n in (1, 2))
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", Fault(), Faults.meanwhile(lambda: inbox.handle(second)))
        assert inbox.handle(first) is InboxState.DONE
        assert faults.happened == 1
    assert ledger_of()["PAYEE", "prov:acct_1:available"] == 2000


# ---------------------------------------------------------------- who sees what


@pytest.fixture
def three(tables: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two of the practice's, one of an expert's own account; the newest first."""
    add_expert()
    add_expert(OTHER_EXPERT)
    connected()
    connected("acct_2", EXPERT_ID)
    made = []
    for number, (account, status) in enumerate(
        [("acct_1", "paid"), ("acct_2", "in_transit"), ("acct_1", "failed")]
    ):
        at = now() - timedelta(days=60 - 20 * number)
        found = replace(
            reading(status),
            id=f"po_{number}",
            made_at=at,
            transaction=f"txn_{number}",
            failure_transaction="",
        )
        monkeypatch.setattr(stripe_payouts, "read_payout", lambda *_, found=found: found)
        event = {**message("payout.created", number), "account": account, "object_id": found.id}
        assert inbox.handle(event) is InboxState.DONE
        made.append(found.id)
    return made[::-1]


def listed(query: str = "", **who: Any) -> list[str]:
    answer = ask("payouts", "GET", f"{PATH}?{query}" if query else PATH, **who)
    assert answer.status == 200, answer.body
    return [item["id"] for item in answer.body["items"]]


def test_lists_by_payee_status_and_time(three: list[str]) -> None:
    assert listed() == three
    assert listed("payee=practice") == [three[0], three[2]]
    assert listed(f"payee={EXPERT_ID}") == [three[1]]
    assert listed(f"payee={OTHER_EXPERT}") == []
    assert listed("status=failed") == [three[0]]
    assert listed("payee=practice&status=paid") == [three[2]]
    middle = (now() - timedelta(days=45)).strftime("%Y-%m-%dT00:00:00Z")
    assert listed(f"from={middle}") == three[:2]
    assert listed(f"payee=practice&to={middle}") == [three[2]]


def test_a_list_goes_on_where_its_page_ended(three: list[str]) -> None:
    found, cursor = [], ""
    for _ in range(20):
        answer = ask("payouts", "GET", f"{PATH}?limit=1{cursor}")
        found += [item["id"] for item in answer.body["items"]]
        if answer.body["next_cursor"] is None:
            break
        cursor = f"&cursor={answer.body['next_cursor']}"
    assert found == three
    foreign = ask("payouts", "GET", f"{PATH}?payee=practice&limit=1{cursor}")
    assert foreign.status == 400


def test_an_expert_sees_their_own_alone(three: list[str]) -> None:
    own = {"role": "expert", "subject": EXPERT_ID}
    assert listed(**own) == [three[1]]
    assert listed(f"payee={EXPERT_ID}", **own) == [three[1]]
    assert ask("payouts", "GET", f"{PATH}?payee=practice", **own).status == 403
    assert ask("payouts", "GET", f"{PATH}/{three[1]}", **own).status == 200
    assert ask("payouts", "GET", f"{PATH}/{three[0]}", **own).status == 404
    walk.walk(TENANT)
    balance = ask("payouts", "GET", f"{PATH}/balance", **own)
    assert balance.body["payee"] == EXPERT_ID
    assert balance.body["balances"][0]["in_transit"] == {"amount": 9000, "currency": "MXN"}
    assert ask("payouts", "GET", f"{PATH}/balance?payee=practice", **own).status == 403


@pytest.mark.parametrize("path", [PATH, f"{PATH}/balance", f"{PATH}/po_1"])
def test_patients_and_experts_that_are_no_payee_see_nothing(tables: Any, path: str) -> None:
    patient = {"role": "patient", "subject": "pat_01JC0NS0TADEM0000000000000"}
    assert ask("payouts", "GET", path, **patient).status == 403
    assert ask("payouts", "GET", path, role="expert").status == 403


def test_what_is_wrong_is_refused(three: list[str]) -> None:
    assert ask("payouts", "GET", f"{PATH}?status=lost").status == 422
    assert ask("payouts", "GET", f"{PATH}?payee=somebody").status == 422
    assert ask("payouts", "GET", f"{PATH}?limit=51").status == 422
    assert ask("payouts", "GET", f"{PATH}?cursor=x").status == 400
    ten_years = "from=2016-01-01T00:00:00Z&to=2026-01-01T00:00:00Z"
    assert ask("payouts", "GET", f"{PATH}?{ten_years}").status == 422
    unknown = "exp_01JC0NS0TADEM0000000000009"
    assert ask("payouts", "GET", f"{PATH}?payee={unknown}").status == 404
    assert ask("payouts", "GET", f"{PATH}/balance?payee={unknown}").status == 404
    assert ask("payouts", "GET", f"{PATH}/po_none").status == 404
    assert ask("payouts", "GET", f"{PATH}/pay_1").status == 422


def test_a_balance_of_nothing_is_empty(tables: Any) -> None:
    found = ask("payouts", "GET", f"{PATH}/balance").body
    # Balances are counted from the second generation on, and nobody has walked this practice.
    assert found == {"payee": PRACTICE, "balances": [], "complete": False, "as_of": None}
    walk.walk(TENANT)
    assert ask("payouts", "GET", f"{PATH}/balance").body["complete"] is True


# ---------------------------------------------------------------- when it pays out

WEEKLY = {"interval": "weekly", "weekly_anchor": "friday"}
ACCOUNT = "/v1/connect/accounts/practice"


def schedule(wanted: Any, **who: Any) -> Answer:
    return ask("connect", "PATCH", who.pop("path", ACCOUNT), {"payout_schedule": wanted}, **who)


def at_stripe(simulator: Simulator, account: str) -> dict[str, Any]:
    found: dict[str, Any] = simulator.get(f"/v1/accounts/{account}")["settings"]["payouts"]
    return {k: v for k, v in found["schedule"].items() if k != "delay_days"}


def test_a_schedule_is_stripes_and_shown_as_read(stripe: Simulator) -> None:
    account = str(open_account(stripe).stripe_account)
    shown = ask("connect", "GET", ACCOUNT).body["payout_schedule"]
    assert shown == {"interval": "daily", "weekly_anchor": None, "monthly_anchor": None}
    for wanted in (WEEKLY, {"interval": "monthly", "monthly_anchor": 31}, {"interval": "manual"}):
        changed = schedule(wanted)
        assert changed.status == 200, changed.body
        found = {k: v for k, v in changed.body["payout_schedule"].items() if v is not None}
        assert found == wanted == at_stripe(stripe, account)
    payee = payees.find(TENANT, PRACTICE)
    assert payee
    assert payee.schedule_operation is None
    tell(stripe)
    assert ask("connect", "GET", ACCOUNT).body["payout_schedule"]["interval"] == "manual"


@pytest.mark.parametrize(
    "wanted",
    [
        {"interval": "weekly"},
        {"interval": "monthly"},
        {"interval": "daily", "weekly_anchor": "friday"},
        {"interval": "monthly", "monthly_anchor": 32},
        {"interval": "hourly"},
        {**WEEKLY, "delay_days": 1},
    ],
)
def test_a_schedule_that_is_none(stripe: Simulator, wanted: Any) -> None:
    open_account(stripe)
    assert schedule(wanted).status == 422


def test_the_simulator_refuses_what_stripe_would(stripe: Simulator) -> None:
    account = str(open_account(stripe).stripe_account)
    field = "settings[payouts][schedule]"
    for form in (
        {f"{field}[interval]": "weekly"},
        {f"{field}[interval]": "hourly"},
        {f"{field}[interval]": "monthly", f"{field}[monthly_anchor]": "32"},
        {f"{field}[when]": "daily"},
    ):
        answer = requests.post(
            f"{stripe.url}/v1/accounts/{account}",
            data=form,
            headers={"Authorization": "Bearer sk_test_x"},
            timeout=5,
        )
        assert answer.status_code == 400, form


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after", "status"])
def test_an_unknown_outcome_is_the_same_operation(
    stripe: Simulator, aws: pytest.MonkeyPatch, kind: str
) -> None:
    account = str(open_account(stripe).stripe_account)
    times = 1 if kind == "status" else 3
    stripe.control("faults", {"kind": kind, "path_prefix": "/v1/accounts/", "times": times})
    assert schedule(WEEKLY).status == 502
    begun = payees.find(TENANT, PRACTICE)
    assert begun
    assert begun.schedule_operation["schedule"] == WEEKLY
    # A stored failure is replayed for its key; after the minute it is another attempt.
    aws.setattr(connect, "now", lambda: now() + timedelta(seconds=120))
    assert schedule(WEEKLY).status == 200
    assert at_stripe(stripe, account) == WEEKLY


@pytest.mark.parametrize("crash", [Faults.crash_before, Faults.crash_after])
@pytest.mark.parametrize("write", range(2))
def test_a_crash_while_changing_it(
    stripe: Simulator, tables: Any, write: int, crash: Fault
) -> None:
    account = str(open_account(stripe).stripe_account)
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[Fault()] * write, crash)
        with pytest.raises(Crash):
            schedule(WEEKLY)
    assert schedule(WEEKLY).status == 200
    assert at_stripe(stripe, account) == WEEKLY
    payee = payees.find(TENANT, PRACTICE)
    assert payee
    assert (payee.schedule_operation, payee.payout_schedule) == (None, WEEKLY)


def test_the_event_of_the_change_may_be_faster(stripe: Simulator, tables: Any) -> None:
    open_account(stripe)
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", Fault(), Faults.meanwhile(lambda: tell(stripe)))
        assert schedule(WEEKLY).body["payout_schedule"]["weekly_anchor"] == "friday"
        assert faults.happened == 1
    payee = payees.find(TENANT, PRACTICE)
    assert payee
    assert payee.schedule_operation is None


def test_who_says_when_it_pays_out(stripe: Simulator) -> None:
    add_expert()
    open_account(stripe)
    theirs = {"path": f"/v1/connect/accounts/{EXPERT_ID}"}
    own = {"role": "expert", "subject": EXPERT_ID}
    assert schedule(WEEKLY, role="admin").status == 403
    assert schedule(WEEKLY, role="billing").status == 403
    assert schedule(WEEKLY, **own).status == 403
    assert schedule(WEEKLY, **theirs).status == 404
    body = {"payee": EXPERT_ID, "country": "MX"}
    assert ask("connect", "POST", "/v1/connect/accounts", body, **own).status == 201
    assert schedule(WEEKLY, **theirs, **own).status == 200
    both = {"payout_schedule": WEEKLY, "on_behalf_of": True}
    assert ask("connect", "PATCH", theirs["path"], both, **own).status == 403
    assert ask("connect", "PATCH", ACCOUNT, both).body["on_behalf_of"] is True


def test_a_version_that_is_no_longer_current(stripe: Simulator) -> None:
    account = str(open_account(stripe).stripe_account)
    stale = call(
        "connect",
        "PATCH",
        ACCOUNT,
        {"payout_schedule": WEEKLY},
        context=signed_in("owner"),
        headers={"If-Match": '"1"'},
    )
    assert stale.status == 412
    assert at_stripe(stripe, account)["interval"] == "daily"


# ---------------------------------------------------------------- whose account it is

SEARCH = "/v1/connect/accounts/search"
EMAIL = "Ana.Duarte@example.com"


def found(email: str = EMAIL, role: str = "operator") -> Answer:
    return ask("connect", "POST", SEARCH, {"email": email}, role=role)


def give_email(simulator: Simulator, account: str, email: str) -> None:
    answer = requests.post(
        f"{simulator.url}/v1/accounts/{account}",
        data={"email": email},
        headers={"Authorization": "Bearer sk_test_x"},
        timeout=5,
    )
    assert answer.ok, answer.text
    tell(simulator)


def test_an_account_is_found_by_its_email(stripe: Simulator) -> None:
    add_expert()
    account = str(open_account(stripe).stripe_account)
    assert found().body == {"items": []}
    give_email(stripe, account, EMAIL)
    (item,) = found(" ana.duarte@EXAMPLE.com ").body["items"]
    assert (item["practice"], item["payee"]) == (PRACTICE, PRACTICE)
    assert (item["stripe_account"], item["charges_enabled"]) == (account, True)
    second = str(open_account(stripe, payee=EXPERT_ID).stripe_account)
    give_email(stripe, second, EMAIL)
    assert {i["payee"] for i in found().body["items"]} == {PRACTICE, EXPERT_ID}
    give_email(stripe, account, "new@example.com")
    assert [i["payee"] for i in found().body["items"]] == [EXPERT_ID]
    stripe.control(f"accounts/{second}/deauthorize")
    connect.refresh_account(PRACTICE, EXPERT_ID, BY)
    assert found().body == {"items": []}
    stored = json.dumps(clients.client("dynamodb").scan(TableName=CORE)["Items"])
    assert "example.com" not in stored.lower()


def test_only_operators_look_for_accounts(stripe: Simulator) -> None:
    for role in ("owner", "admin", "billing", "viewer"):
        assert found(role=role).status == 403
    assert found("no email").status == 422
