"""Payment events, webhooks, and what a payment and a refund cost.

Events are worked on against the local engine, with the payment provider stubbed in this process, so
that what is measured is our own work and DynamoDB's. Rounds are repeated and the quickest counts: a
machine is never faster than it is.
"""

import contextlib
import hashlib
import hmac
import io
import json
import logging
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from benchmarks import engine, imports, practice
from benchmarks.entry import Entry
from benchmarks.practice import Practice
from consulta.aggregates.catalog import figures_key
from consulta.aggregates.contributions import contribution
from consulta.core import settings, table
from consulta.core.ids import new_id
from consulta.core.observe import logger
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.dashboards import payment_summary
from consulta.dashboards.schema_payment_summary import SummaryFilter
from consulta.money.accounts import payees
from consulta.money.paying import orders, payment_lists, payments, refunds
from consulta.money.records import State
from consulta.money.schema.payments import (
    PaymentFilter,
    PaymentRequest,
    RefundRequest,
    StartedPayment,
)
from consulta.money.webhooks import inbox
from consulta.money.webhooks import intake as webhook_intake
from consulta.money.webhooks.inbox import InboxState
from tests.integration.scripted_provider import ScriptedProvider, install
from tests.unit.scheduling.world import World, tomorrow

SMALL, LARGE = 1_000, 100_000
ROUNDS, PAYMENTS, INTAKES = 3, 20, 400
EVENTS_A_SECOND_BAR, INTAKE_BAR_MS, GROWTH_BAR = 50, 100, 1.05
WEBHOOKS = ("stripe_webhook", "mercadopago_webhook")
BY = practice.BY
# What Stripe tells of one payment, the first twice.
TOLD = (
    "payment_intent.succeeded",
    "charge.succeeded",
    "payment_intent.succeeded",
    "charge.updated",
)


def run() -> Iterable[Entry]:
    """money.*: events, webhooks, payments, lists."""
    # A worker's log lines and metrics are not what is printed here.
    level = logger.log_level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            entries = list(_measured())
    finally:
        logger.setLevel(level)
    yield from entries


def _measured() -> Iterator[Entry]:
    yield from _imports()
    yield from _intake()
    with engine.loading() as export:
        made = {size: _write(export, size) for size in (SMALL, LARGE)}
        with engine.client_of(export) as client:
            clock = engine.Clock(client)
            reads, writes = engine.Capacity(client), engine.WriteUnits(client)
            with pytest.MonkeyPatch.context() as patch:
                desk = _Desk(install(patch)[0])
                yield from _events(desk, clock)
                yield from _costs(desk, reads, writes)
            yield from _growth(made, reads)


# ---------------------------------------------------------------- the webhook functions


def _imports() -> Iterator[Entry]:
    """Cold starts of the two functions that answer under a provider's deadline."""
    ratio = max(imports.ratios(WEBHOOKS).values())
    bar = imports.bar_of(WEBHOOKS[0])
    yield Entry.at_most("money.webhook_import", ratio, "× the floor, the slower of both", bar)


class _Queue:
    """Takes messages as SQS does, in no time."""

    def send_message(self, **_: Any) -> None:
        """Nothing is kept."""


def _intake() -> Iterator[Entry]:
    """Verifying and queueing one event of Stripe: all that happens before it is answered."""
    key = "whsec_benchmark"
    secret = webhook_intake.secrets.WebhookSecret(current=SecretStr(key))
    event = {"id": "pi_1", "object": "payment_intent", "metadata": {"practice": "prac_1"}}
    body = json.dumps(
        {
            "id": "evt_1",
            "type": "payment_intent.succeeded",
            "livemode": False,
            "api_version": "2026-10-28",
            "data": {"object": {**event, "filler": "x" * 4_000}},
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAYMENT_EVENTS_QUEUE_URL", "https://queue.example")
        settings.reset()
        known = webhook_intake.secrets.StripeSecret(api_key="sk_test_1", webhook=secret)
        patch.setattr(webhook_intake.secrets, "stripe_secret", lambda: known)
        patch.setattr(webhook_intake.aws, "client", lambda _: _Queue())
        took = []
        for _ in range(INTAKES):
            instant = int(time.time())
            signed = f"{instant}.{body}".encode()
            signature = hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()
            headers = {"stripe-signature": f"t={instant},v1={signature}"}
            began = time.perf_counter()
            message = webhook_intake.stripe_message({"headers": headers, "body": body})
            answer = webhook_intake._accept(message)
            took.append(time.perf_counter() - began)
            assert answer["statusCode"] == 200
    settings.reset()
    yield Entry.at_most(
        "money.intake", 1_000 * statistics.median(took), "ms of own work", INTAKE_BAR_MS
    )


# ---------------------------------------------------------------- payments on the engine


class _Desk:
    """A practice with a connected payee; payments are started here and paid at the stub."""

    def __init__(self, provider: ScriptedProvider) -> None:
        self.provider = provider
        self.world = World()
        self.expert = self.world.expert()
        self.service = self.world.service(self.expert)
        self.patient = self.world.patient()
        self.hours = 0
        tenant = self.world.tenant
        payee = payees.ensure(tenant, tenant.practice, BY)
        controller = {"losses": {"payments": "application"}, "fees": {"payer": "application"}}
        values = {
            "stripe_account": "acct_1",
            "charges_enabled": True,
            "controller": json.dumps(controller),
        }
        owner = payees.Owner(tenant.practice, tenant.practice)
        table.transact(
            [table.change(payee, BY, set_=values), payees.account_row("stripe", "acct_1", owner)]
        )

    def start(self) -> StartedPayment:
        """A booking of its own, and its payment, open."""
        self.hours += 1
        start = tomorrow(0, days=2) + timedelta(hours=self.hours)
        booked = self.world.book(self.service, self.expert, self.patient, start, confirm=True)
        body = PaymentRequest(appointment_id=booked.id, provider="stripe")
        return payments.create(self.world.owner, body, f"key-{self.hours}")

    def tell(self, payment: StartedPayment, number: int) -> None:
        """One of its events, worked on."""
        kind, provider_id = TOLD[number], str(payment.provider_id)
        if number == TOLD.index("charge.updated"):
            self.provider.settle(provider_id)
        about = provider_id.replace("pi_", "ch_") if "charge" in kind else provider_id
        state = inbox.handle(
            {
                "provider": "stripe",
                "event_id": f"evt_{provider_id}_{kind}",
                "type": kind,
                "live": False,
                "account": "",
                "object_id": about,
                "api_version": "",
            }
        )
        assert state is InboxState.DONE


def _events(desk: _Desk, clock: engine.Clock) -> Iterator[Entry]:
    """Every event of a payment, from the queue's message to DONE, by one worker."""
    rates, shares, own = [], [], []
    for number in range(ROUNDS + 1):
        started = [desk.start() for _ in range(PAYMENTS)]
        for payment in started:
            desk.provider.pay(str(payment.provider_id))
        clock.seconds, began = 0.0, time.perf_counter()
        for step in range(len(TOLD)):
            for payment in started:
                desk.tell(payment, step)
        took, count = time.perf_counter() - began, PAYMENTS * len(TOLD)
        if number:  # the first warms connections and caches
            rates.append(count / took)
            shares.append(100 * clock.seconds / took)
            own.append(1_000 * (took - clock.seconds) / count)
    rate, bar = max(rates), EVENTS_A_SECOND_BAR
    yield Entry("money.events", round(rate, 4), "events/s of one worker", bar, ok=rate >= bar)
    yield Entry.at_most(
        "money.events_outside", statistics.median(shares), "% of the time: engine and network"
    )
    yield Entry.at_most("money.events_own_work_ms", min(own), "ms of own work an event")


def _costs(desk: _Desk, reads: engine.Capacity, writes: engine.WriteUnits) -> Iterator[Entry]:
    """Calls and units of a payment, from its start to its settlement, and of a refund."""
    part = RefundRequest.model_validate({"amount": {"amount": 1000, "currency": "EUR"}})
    started: list[StartedPayment] = []

    def pay() -> None:
        payment = started[0]
        desk.provider.pay(str(payment.provider_id))
        for number in range(len(TOLD)):
            desk.tell(payment, number)

    def refund() -> None:
        made = refunds.create(desk.world.owner, started[0].id, part, "refund")
        assert made.state == "succeeded"

    flows: dict[str, Callable[[], object]] = {
        "start": lambda: started.append(desk.start()),
        "payment": pay,
        "refund": refund,
    }
    for name, flow in flows.items():
        reads.reset()
        writes.units = 0.0
        flow()
        if name != "start":  # it books as well, which is another budget's
            yield Entry.at_most(f"money.{name}_calls", reads.calls, "calls to DynamoDB")
            yield Entry.at_most(f"money.{name}_write_units", writes.units, "write units")


# ---------------------------------------------------------------- growth


def _write(export: engine.Export, size: int) -> Practice:
    """A practice with so many payments of this month, and their figures."""
    made = practice.write(export, 0)
    figures: dict[Any, Counter[str]] = defaultdict(Counter)
    instant = now()
    for number in range(size):
        item = orders.make_payment(
            made.tenant,
            BY,
            appointment_id=new_id("appt"),
            order_id=new_id("ord"),
            patient_id=made.patients[number % len(made.patients)],
            expert_id=made.experts[0],
            service_id=made.services[0],
            payee_id=made.id,
            provider="stripe",
            amount=5000,
            currency="EUR",
            zone=practice.ZONE,
            captured=5000,
            settled=True,
            paid_at=instant,
            local_date=instant.date().isoformat(),
        )
        item.state = str(State.SUCCEEDED)
        raw = item.serialize()
        export.write("core", [raw])
        for key, vector in contribution(item.pk, raw).figures.items():
            figures[key].update(vector)
    stamp = {"updated_at": to_text(instant)}
    export.write(
        "aggregates",
        (
            {**table.raw_key(figures_key(made.tenant, key)), **table.to_raw({**vector, **stamp})}
            for key, vector in figures.items()
        ),
    )
    return made


def _growth(made: dict[int, Practice], reads: engine.Capacity) -> Iterator[Entry]:
    """A page of payments and the summary, at a thousand and at a hundred thousand."""
    today = now().date()
    wanted = SummaryFilter.model_validate({"from": today.replace(day=1), "to": today})
    asked: dict[str, Callable[[Practice], object]] = {
        "list": lambda one: payment_lists.page(one.caller(Role.OWNER), PaymentFilter(), 50, None),
        "summary": lambda one: payment_summary.of(one.caller(Role.OWNER), wanted),
    }
    for name, ask in asked.items():
        units = {}
        for size, one in made.items():
            reads.reset()
            ask(one)
            units[size] = reads.units
        growth = units[LARGE] / units[SMALL]
        yield Entry.at_most(f"money.{name}_units_{LARGE}", units[LARGE], "read units")
        yield Entry.at_most(f"money.{name}_growth", growth, "× 1k's at 100k", GROWTH_BAR)
