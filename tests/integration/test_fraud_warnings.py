"""Early fraud warnings: from Stripe's event to the payment, the list, and the staff's mail."""

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from consulta.core import aws as clients
from consulta.core import bus, ids, settings, table
from consulta.core.errors import NotFound
from consulta.core.time import now
from consulta.money.disputes import fraud_warnings
from consulta.money.disputes.fraud_warnings import Warned
from consulta.money.records import FRAUD_WARNING
from consulta.money.schema.payments import StartedPayment
from consulta.money.stripe import lookup as stripe_lookup
from consulta.money.webhooks import inbox
from consulta.money.webhooks.inbox import InboxState
from consulta.notifications import claims
from consulta.people.records import MEMBER, ROLE, MemberItem, RoleItem
from tests.faults import Crash, Fault, Faults
from tests.integration import test_money
from tests.integration.test_money import BY, Practice
from tests.integration.test_money_simulated import hold, tell  # noqa: F401
from tests.integration.test_notify import Received
from tests.integration.test_providers import (  # noqa: F401  # fixtures are found by their names
    Simulator,
    ask,
    aws,
    open_account,
    stripe,
    stripe_process,
)
from tests.template import resources
from tests.unit.people.calling import PRACTICE, call, handler, signed_in
from tests.unit.scheduling.world import World

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
practice = test_money.practice
SENDER, APP = "no-reply@consulta.example", "https://app.consulta.example"
FIRST = now() - timedelta(hours=1)


@dataclass
class Issuer:
    """Stripe's warnings as a test says they are; stands for what the adapter reads."""

    warnings: dict[str, Warned] = field(default_factory=dict)
    before_answer: list[Callable[[], None]] = field(default_factory=list)

    def warn(self, payment: StartedPayment, number: int = 1, **more: Any) -> str:
        made = Warned(
            id=f"issfr_{number}",
            about=str(payment.provider_id),
            fraud_type="made_with_stolen_card",
            actionable=True,
            at=FIRST + timedelta(minutes=number),
        )
        self.warnings[made.id] = replace(made, **more)
        return made.id

    def calm(self, warning: str) -> None:
        self.warnings[warning] = replace(self.warnings[warning], actionable=False)

    def read(self, warning_id: str, account: str) -> Warned:
        del account
        found = self.warnings.get(warning_id)
        if found is None:
            raise NotFound
        if self.before_answer:
            self.before_answer.pop()()
        return found


@pytest.fixture
def issuer(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    made = Issuer()
    monkeypatch.setattr(fraud_warnings, "read", made.read)
    return made


def heard(practice: Practice, warning: str, kind: str = "created") -> InboxState:
    return inbox.handle(
        {
            "provider": "stripe",
            "event_id": f"evt_{next(practice.events)}",
            "type": f"radar.early_fraud_warning.{kind}",
            "live": False,
            "account": "",
            "object_id": warning,
            "api_version": "",
        }
    )


def seen(practice: Practice, payment: StartedPayment, role: str = "owner") -> Any:
    item = practice.payment(payment.id)
    subject = item.patient_id if role == "patient" else ""
    context = signed_in(role, practice.world.practice, subject)
    answer = call("payments", "GET", f"/v1/payments/{payment.id}", context=context)
    assert answer.status == 200, answer.body
    return answer.body["fraud_warning"]


def listed(practice: Practice, query: str, role: str = "owner", subject: str = "") -> Any:
    context = signed_in(role, practice.world.practice, subject)
    return call("payments", "GET", "/v1/payments", context=context, query=query)


# ---------------------------------------------------------------- on the payment


def test_a_warning_is_on_its_payment_for_members_only(practice: Practice, issuer: Issuer) -> None:
    payment, other = practice.paid(10), practice.paid(14)
    warning = issuer.warn(payment)
    before = practice.balances()
    assert heard(practice, warning) is InboxState.DONE
    shown = seen(practice, payment)
    assert (shown["id"], shown["actionable"]) == (warning, True)
    assert shown["fraud_type"] == "made_with_stolen_card"
    assert seen(practice, payment, "viewer") == shown
    assert seen(practice, payment, "patient") is None
    assert seen(practice, other) is None
    # No money moved, and nothing of the state did.
    assert practice.balances() == before
    assert practice.payment(payment.id).state == "succeeded"


def test_it_is_what_a_list_can_ask_for(practice: Practice, issuer: Issuer) -> None:
    payment, other = practice.paid(10), practice.paid(14)
    heard(practice, issuer.warn(payment))
    for query, expected in (
        ("fraud_warning=true", {payment.id}),
        ("fraud_warning=false", {other.id}),
        ("fraud_warning=true&status=succeeded", {payment.id}),
        ("fraud_warning=true&status=refunded", set()),
        (f"fraud_warning=true&expert_id={practice.expert}", {payment.id}),
        ("", {payment.id, other.id}),
    ):
        found = listed(practice, query)
        assert {one["id"] for one in found.body["items"]} == expected, query
    patient = practice.payment(payment.id).patient_id
    assert listed(practice, "fraud_warning=true", "patient", patient).status == 403
    assert listed(practice, "fraud_warning=maybe").status == 422


def test_any_order_of_any_repetition_ends_the_same(practice: Practice, issuer: Issuer) -> None:
    payment = practice.paid()
    first, second = issuer.warn(payment, 1), issuer.warn(payment, 2, fraud_type="misc")
    issuer.calm(second)
    told = [(first, "created"), (second, "created"), (second, "updated")]
    told = [*told, (first, "created"), (first, "updated")]
    rows = [practice.world.tenant.item(FRAUD_WARNING, warning) for warning in (first, second)]
    # Every order in which what was told last about each could come; a repetition anywhere.
    orders = random.Random(20261121).sample(list(itertools.permutations(told)), 24)
    for order in orders:
        for warning, kind in order:
            assert heard(practice, warning, kind) is InboxState.DONE
        item = practice.payment(payment.id)
        stored = item.fraud_warning
        assert (stored["id"], stored["fraud_type"], stored["actionable"]) == (second, "misc", False)
        assert all(table.get_raw(row) for row in rows)
        # As if nothing had been heard.
        forgotten = table.change(item, BY, remove=["fraud_warning"])
        table.transact([forgotten, *(table.delete(row) for row in rows)])


def test_an_old_reading_is_not_written_over_a_new_one(practice: Practice, issuer: Issuer) -> None:
    """While one worker holds its answer, Stripe changes it, and another worker is faster."""
    payment = practice.paid()
    warning = issuer.warn(payment)
    heard(practice, warning)

    def meanwhile() -> None:
        issuer.calm(warning)
        assert heard(practice, warning, "updated") is InboxState.DONE

    # The second reading of a message is the one that is written.
    issuer.before_answer = [meanwhile, lambda: None]
    assert heard(practice, warning, "updated") is InboxState.DONE
    assert practice.payment(payment.id).fraud_warning["actionable"] is False


def crash(faults: Faults, *, applied: bool) -> Fault:
    return faults.crash_after if applied else faults.crash_before


@pytest.mark.parametrize("applied", [True, False])
def test_a_worker_that_dies_leaves_all_or_nothing(
    practice: Practice, issuer: Issuer, applied: bool
) -> None:
    payment = practice.paid()
    warning = issuer.warn(payment)
    message = {
        "provider": "stripe",
        "event_id": "evt_dies",
        "type": "radar.early_fraud_warning.created",
        "live": False,
        "account": "",
        "object_id": warning,
        "api_version": "",
    }
    with Faults(clients.client("dynamodb")) as faults:
        # First its row in the inbox is written, then the effect.
        faults.next("TransactWriteItems", Fault(), crash(faults, applied=applied))
        with pytest.raises(Crash):
            inbox.handle(message)
    known = practice.payment(payment.id).fraud_warning
    assert (known is not None) == applied
    assert inbox.handle(message) is InboxState.DONE
    version = practice.payment(payment.id).version
    assert practice.payment(payment.id).fraud_warning["id"] == warning
    assert inbox.handle(message) is InboxState.DONE
    assert practice.payment(payment.id).version == version


def test_what_is_not_ours_or_unknown(
    practice: Practice, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = practice.paid()
    foreign = issuer.warn(payment, 7, about="pi_foreign")
    assert heard(practice, foreign) is InboxState.IGNORED
    assert heard(practice, "issfr_unknown") is InboxState.FAILED
    monkeypatch.setattr(
        stripe_lookup, "find", lambda about, _: stripe_lookup.Found(about, "no practice", "no id")
    )
    assert heard(practice, issuer.warn(payment, 8)) is InboxState.FAILED
    assert practice.payment(payment.id).fraud_warning is None


# ---------------------------------------------------------------- the staff's mail


def member(world: World, role: str, address: str, **more: Any) -> str:
    member_id = ids.new_id("mem")
    place = world.tenant.listing(MEMBER)
    item = MemberItem.create(
        world.tenant.item(MEMBER, member_id),
        MEMBER,
        BY,
        person_id=f"person-{address}",
        role=role,
        email=address,
        name="Somebody",
        l1pk=place,
        l1sk=member_id,
        walkpk=place,
        walksk=member_id,
        **more,
    )
    table.transact([table.put_new(item)])
    return member_id


def role(world: World, *permissions: str) -> str:
    role_id = ids.new_id("role")
    place = world.tenant.listing(ROLE)
    item = RoleItem.create(
        world.tenant.item(ROLE, role_id),
        ROLE,
        BY,
        name="Desk",
        permissions=list(permissions),
        l1pk=place,
        l1sk=role_id,
        walkpk=place,
        walksk=role_id,
    )
    table.transact([table.put_new(item)])
    return role_id


@dataclass
class Post:
    """What comes of a warning's event on the bus."""

    world: World
    read: int = 0

    def told(self, warning: str) -> list[str]:
        """Give the event to the function; the messages that come again."""
        made = {
            "practice": self.world.practice,
            "entity": FRAUD_WARNING,
            "id": warning,
            "version": 1,
            "action": "created",
        }
        records = [{"messageId": "message-1", "body": json.dumps({"detail": made})}]
        context = SimpleNamespace(aws_request_id="aws-1", function_name="test")
        answer = handler("notify")({"Records": records}, context)
        return [failed["itemIdentifier"] for failed in answer["batchItemFailures"]]

    def mails(self) -> list[Received]:
        found = ses_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].sent_messages
        fresh, self.read = found[self.read :], len(found)
        return [Received.read(message) for message in fresh]

    def history(self, warning: str) -> dict[str, tuple[str, str | None, str]]:
        notices = claims.of(self.world.tenant.item(FRAUD_WARNING, warning).pk)
        return {
            notice.sk.rpartition("#")[2]: (notice.status, notice.reason, notice.audience)
            for notice in notices
        }


@pytest.fixture
def post(practice: Practice, environment: pytest.MonkeyPatch) -> Post:
    environment.setenv("SENDER_EMAIL", SENDER)
    environment.setenv("APP_URL", f"{APP}/")
    settings.reset()
    clients.client("ses").verify_email_identity(EmailAddress=SENDER)
    return Post(practice.world)


def test_all_who_may_give_it_back_are_told_once(
    practice: Practice, issuer: Issuer, post: Post
) -> None:
    world = practice.world
    desk = role(world, "payments:manual", "payments:all")
    half = role(world, "payments:manual")
    expected = {
        member(world, "owner", "owner@example.com"),
        member(world, "billing", "billing@example.com"),
        member(world, "custom", "desk@example.com", role_id=desk),
    }
    member(world, "expert", "expert@example.com")
    member(world, "viewer", "viewer@example.com")
    member(world, "custom", "half@example.com", role_id=half)
    member(world, "admin", "gone@example.com", deactivated_at=now())
    payment = practice.paid()
    warning = issuer.warn(payment)
    heard(practice, warning)
    assert post.told(warning) == []
    mails = post.mails()
    assert sorted(to for mail in mails for to in mail.to) == [
        "billing@example.com",
        "desk@example.com",
        "owner@example.com",
    ]
    for mail in mails:
        # Neutral, in the practice's language; who paid is behind the link.
        assert mail.subject == "Um pagamento pode ser contestado"
        assert f"{APP}/payments/{payment.id}" in mail.text
        assert "Inês" not in mail.text
        assert "First consultation" not in mail.text
    sent = ("sent", None, "staff")
    assert post.history(warning) == dict.fromkeys(expected, sent)
    # The event may come again, and the warning change.
    heard(practice, warning, "updated")
    assert post.told(warning) == []
    assert post.mails() == []


def test_nobody_is_told_of_what_is_over(practice: Practice, issuer: Issuer, post: Post) -> None:
    owner = member(practice.world, "owner", "owner@example.com")
    payment = practice.paid()
    warning = issuer.warn(payment)
    heard(practice, warning)
    issuer.calm(warning)
    heard(practice, warning, "updated")
    assert post.told(warning) == []
    assert post.mails() == []
    assert post.history(warning) == {owner: ("skipped", "superseded", "staff")}
    assert post.told("issfr_gone") == []


def test_a_sender_that_dies_is_followed_by_another(
    practice: Practice, issuer: Issuer, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    member(practice.world, "owner", "owner@example.com")
    warning = issuer.warn(practice.paid())
    heard(practice, warning)
    with Faults(clients.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", faults.crash_after)
        with pytest.raises(Crash):
            post.told(warning)
    assert post.told(warning) == ["message-1"]
    moment = now() + timedelta(minutes=2)
    monkeypatch.setattr(claims, "now", lambda: moment)
    assert post.told(warning) == []
    assert len(post.mails()) == 1


def test_the_event_reaches_the_queue_of_notices(practice: Practice, issuer: Issuer) -> None:
    """The new row's event is one that the rule lets through."""
    warning = issuer.warn(practice.paid())
    heard(practice, warning)
    key = practice.world.tenant.item(FRAUD_WARNING, warning)
    raw = table.get_raw(key)
    assert raw
    record = {"dynamodb": {"Keys": table.raw_key(key), "NewImage": raw}}
    event = bus.Event.of_record(record)
    assert event
    rule = resources("AWS::Events::Rule")["NotifyRule"]["Properties"]["EventPattern"]
    assert event.entity in rule["detail-type"]
    assert (event.action, event.id) == ("created", warning)


# ---------------------------------------------------------------- against the simulator


def test_from_the_issuer_to_the_refund(stripe: Simulator, hold: str) -> None:
    open_account(stripe)
    body = {"appointment_id": hold, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", body).body
    stripe.control(f"pay/{started['provider_id']}", {"payment_method": "pm_card_visa"})
    tell("stripe", stripe)
    charge = stripe.get(f"/v1/charges?payment_intent={started['provider_id']}")["data"][0]["id"]
    made = stripe.control("early_fraud_warnings", {"charge": charge, "fraud_type": "misc"})
    assert made["actionable"] is True
    assert stripe.get(f"/v1/radar/early_fraud_warnings?charge={charge}")["data"] == [made]
    path = f"/v1/payments/{started['id']}"
    # In any order, each one twice.
    assert InboxState.FAILED not in tell("stripe", stripe)
    warning = ask("payments", "GET", path).body["fraud_warning"]
    assert (warning["id"], warning["fraud_type"]) == (made["id"], "misc")
    assert warning["actionable"] is True
    ask("payments", "POST", f"{path}/refunds", {})
    assert InboxState.FAILED not in tell("stripe", stripe)
    after = ask("payments", "GET", path).body
    assert after["status"] == "refunded"
    assert after["fraud_warning"] == warning | {"actionable": False}
    world = World(PRACTICE, exists=True)
    assert table.get_raw(world.tenant.item(FRAUD_WARNING, made["id"]))


def test_a_dispute_ends_what_the_warning_asks_for(stripe: Simulator, hold: str) -> None:
    open_account(stripe, "stripe_losses")
    body = {"appointment_id": hold, "provider": "stripe"}
    started = ask("payments", "POST", "/v1/payments", body).body
    stripe.control(f"pay/{started['provider_id']}", {"payment_method": "pm_card_visa"})
    tell("stripe", stripe)
    payment = ask("payments", "GET", f"/v1/payments/{started['id']}").body
    events = stripe.get("/_control/events")["events"]
    charge = next(
        e["event"]["data"]["object"]["id"]
        for e in events
        if e["event"]["type"] == "charge.succeeded"
    )
    stripe.control("early_fraud_warnings", {"charge": charge})
    stripe.control("disputes", {"charge": charge})
    assert InboxState.FAILED not in tell("stripe", stripe)
    after = ask("payments", "GET", f"/v1/payments/{payment['id']}").body
    assert (after["status"], after["fraud_warning"]["actionable"]) == ("disputed", False)


def test_the_simulator_refuses_what_stripe_does_not_know(stripe: Simulator, hold: str) -> None:
    for body in ({}, {"charge": "ch_nope"}):
        answer = requests.post(f"{stripe.url}/_control/early_fraud_warnings", json=body, timeout=5)
        assert answer.status_code in (400, 404)
    unknown = stripe.get("/v1/radar/early_fraud_warnings/issfr_nope")
    assert unknown["error"]["code"] == "resource_missing"
    strict = stripe.get("/v1/radar/early_fraud_warnings?fraud_type=misc")
    assert strict["error"]["type"] == "invalid_request_error"
