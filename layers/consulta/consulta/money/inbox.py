"""Events of the providers, from the queue: each done once, in whatever order they come.

Source: MONEY_AND_BOOKING_RULES §5. The row is RECEIVED before anything is looked at, and DONE in
the very transaction of the effect; only DONE dedupes. What an event says is not believed: its
object is read again. Messages are written by :mod:`consulta.money.webhook_intake`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from consulta.core import aws, keys, settings, table
from consulta.core.errors import NotFound
from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant
from consulta.core.observe import count, failure, logger
from consulta.core.time import now, to_epoch, to_text
from consulta.money import connect, effects, mercadopago_connections, payees
from consulta.money.orders import load, payment_id_of
from consulta.money.providers import provider_for
from consulta.money.records import INBOX, InboxItem, PaymentItem, Provider

Message = dict[str, Any]
KEPT = timedelta(days=90)
# Mercado Pago notifies before its own API knows the payment.
NOT_YET_S = 300
PLATFORM = "platform"

STRIPE_PAYMENT_EVENTS = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.requires_action",
        "payment_intent.amount_capturable_updated",
        "payment_intent.canceled",
        "charge.succeeded",
        "charge.failed",
        "charge.captured",
        "charge.updated",
        "charge.refunded",
        "refund.created",
        "refund.updated",
        "refund.failed",
    }
)
STRIPE_ACCOUNT_EVENTS = frozenset({"account.updated", "capability.updated"})
# v2.core.account.updated, v2.core.account[requirements].updated …: only ever thin.
STRIPE_THIN_ACCOUNT = ("v2.core.account.", "v2.core.account[")
STRIPE_PAYOUT_EVENTS = frozenset(
    {
        "payout.created",
        "payout.updated",
        "payout.paid",
        "payout.failed",
        "payout.canceled",
        "payout.reconciliation_completed",
    }
)
STRIPE_DISPUTE_EVENTS = frozenset(
    {
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
    }
)
STRIPE_BALANCE = "balance.available"
STRIPE_GONE = "account.application.deauthorized"
MERCADOPAGO_PAYMENT, MERCADOPAGO_CONNECT = "payment", "mp-connect"
MERCADOPAGO_CHARGEBACK = "topic_chargebacks_wh"
MERCADOPAGO_GONE = "application.deauthorized"
ACTIONS = frozenset({MERCADOPAGO_GONE, "application.authorized"})


class InboxState(StrEnum):
    """Of one event."""

    RECEIVED = "RECEIVED"
    DONE = "DONE"
    IGNORED = "IGNORED"
    FAILED = "FAILED"


class Worker(settings.Settings):
    """Where the messages come from."""

    payment_events_queue_url: str


class NotYet(Exception):
    """The provider does not know its own object yet: to be asked again in five minutes."""


# ---------------------------------------------------------------- the batch


def process(records: list[dict[str, Any]]) -> list[str]:
    """Work on a batch of the queue; the ids of the messages that have to come again.

    What cannot be processed at all comes back until the queue moves it to the dead letters.
    """
    failed = []
    for record in records:
        try:
            handle(json.loads(record["body"]))
        except NotYet:
            _postpone(record)
            failed.append(record["messageId"])
        except Exception as error:  # noqa: BLE001  # one poisoned message must not hold up the others
            failure("event not processed", error, queue_message=record["messageId"])
            failed.append(record["messageId"])
    return failed


def _postpone(record: dict[str, Any]) -> None:
    aws.client("sqs").change_message_visibility(
        QueueUrl=settings.load(Worker).payment_events_queue_url,
        ReceiptHandle=record["receiptHandle"],
        VisibilityTimeout=NOT_YET_S,
    )


def handle(message: Message) -> InboxState:
    """One event; what has become of it. Raises NotYet, and ProviderFailed for another try."""
    row = Row.of(message)
    known = row.receive()
    if known is InboxState.DONE and not row.forced:
        count("EventsRepeated")
        return known
    try:
        state = _route(message, row)
    except NotFound:
        if message["provider"] == Provider.MERCADOPAGO:
            raise NotYet from None
        state = row.finish(InboxState.FAILED, "not_found")
    if state is InboxState.FAILED:
        logger.error("event failed", extra={"event_id": message["event_id"]})
        count("EventsFailed")
    count("EventsProcessed")
    return state


# ---------------------------------------------------------------- its row


@dataclass(frozen=True, slots=True)
class Row:
    """An event's row in the inbox."""

    message: Message
    key: Key
    by: Actor

    @classmethod
    def of(cls, message: Message) -> "Row":
        """One row per provider, account and event id; each stage has one mode, live or test."""
        provider, event_id = message["provider"], message["event_id"]
        key = keys.inbox(provider, message["account"] or PLATFORM, event_id)
        return cls(message, key, Actor(f"webhook:{provider}", event_id))

    @property
    def forced(self) -> bool:
        """Whether an operator wants it done again although it is DONE: read again, no harm."""
        return self.message.get("force") is True

    def receive(self) -> InboxState:
        """Write it, or count another try; its state before."""
        raw = table.get_raw(self.key)
        if raw is None:
            try:
                table.transact([table.put_new(self._item())])
            except table.ConditionFailed:
                return self.receive()
            return InboxState.RECEIVED
        state = InboxState(raw["state"]["S"])
        if state is not InboxState.DONE or self.forced:
            table.transact([table.update(self.key, add={"tries": 1, "version": 1})])
        return state

    def _item(self) -> InboxItem:
        message, instant = self.message, now()
        return InboxItem.create(
            self.key,
            INBOX,
            self.by,
            provider=message["provider"],
            event_id=message["event_id"],
            type=message["type"],
            account=message["account"] or PLATFORM,
            object_id=message["object_id"] or None,
            live=message["live"],
            api_version=message["api_version"] or None,
            state=str(InboxState.RECEIVED),
            tries=1,
            action=_action(message) or None,
            expires_at=to_epoch(instant + KEPT),
            l1pk=keys.inbox_month(instant),
            l1sk=f"{to_text(instant)}#{message['event_id']}",
        )

    def mark(self, state: InboxState, error: str = "") -> table.Action:
        """The row's part of a transaction: fails where another delivery was done first."""
        instant = to_text(now())
        closed = state in (InboxState.DONE, InboxState.IGNORED)
        guard: dict[str, Any] = {
            "condition": "#state <> :done",
            "names": {"#state": "state"},
            "values": {":done": str(InboxState.DONE)},
        }
        return table.update(
            self.key,
            set_={
                "state": str(state),
                "updated_at": instant,
                **({"done_at": instant} if closed else {}),
                **({"error": error} if error else {}),
            },
            remove=[
                *(() if error else ("error",)),
                *(() if closed else ("done_at",)),
            ],
            add={"version": 1},
            **({} if self.forced else guard),
            label="inbox",
        )

    def finish(self, state: InboxState, error: str = "") -> InboxState:
        """Close the row where there is no effect that it belongs to."""
        try:
            table.transact([self.mark(state, error)])
        except table.ConditionFailed:
            return InboxState.DONE
        return state


def _action(message: Message) -> str:
    """What a payload that is acted on says; whatever else is in it is not kept."""
    said = (message.get("payload") or {}).get("action")
    return said if isinstance(said, str) and said in ACTIONS else ""


# ---------------------------------------------------------------- by type


def _route(message: Message, row: Row) -> InboxState:
    find: dict[tuple[str, str], Callable[[Message, Row], InboxState]] = {
        (Provider.STRIPE, STRIPE_GONE): _stripe_gone,
        (Provider.STRIPE, STRIPE_BALANCE): _stripe_balance,
        (Provider.MERCADOPAGO, MERCADOPAGO_PAYMENT): _mercadopago_payment,
        (Provider.MERCADOPAGO, MERCADOPAGO_CONNECT): _mercadopago_gone,
        (Provider.MERCADOPAGO, MERCADOPAGO_CHARGEBACK): _dispute,
    }
    provider, kind = message["provider"], message["type"]
    if provider == Provider.STRIPE and kind in STRIPE_PAYMENT_EVENTS:
        return _stripe_payment(message, row)
    if provider == Provider.STRIPE and (
        kind in STRIPE_ACCOUNT_EVENTS or kind.startswith(STRIPE_THIN_ACCOUNT)
    ):
        return _stripe_account(message, row)
    if provider == Provider.STRIPE and kind in STRIPE_PAYOUT_EVENTS:
        return _stripe_payout(message, row)
    if provider == Provider.STRIPE and kind in STRIPE_DISPUTE_EVENTS:
        return _dispute(message, row)
    known = find.get((provider, kind))
    return known(message, row) if known else row.finish(InboxState.IGNORED, "unknown_type")


def _stripe_payment(message: Message, row: Row) -> InboxState:
    from consulta.money import stripe_lookup  # noqa: PLC0415  # only where a payment's event came

    found = stripe_lookup.find(message["object_id"], message["account"])
    if found is None or not (found.practice and found.payment):
        return row.finish(InboxState.IGNORED, "not_ours")
    tenant = Tenant(found.practice)
    payment_id = payment_id_of(tenant, Provider.STRIPE, found.intent) or found.payment
    return _refresh(tenant, payment_id, found.intent, message, row)


def _mercadopago_payment(message: Message, row: Row) -> InboxState:
    owner = payees.owner_of(Provider.MERCADOPAGO, message["account"])
    if owner is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    tenant, provider_id = Tenant(owner.practice), message["object_id"]
    payment_id = payment_id_of(tenant, Provider.MERCADOPAGO, provider_id)
    if payment_id is None:
        payee = payees.find(tenant, owner.payee)
        if payee is None:
            return row.finish(InboxState.IGNORED, "unknown_account")
        reading = provider_for(Provider.MERCADOPAGO).read(provider_id, payee)
        if reading.practice != tenant.practice or not reading.payment:
            return row.finish(InboxState.IGNORED, "not_ours")
        payment_id = reading.payment
    return _refresh(tenant, payment_id, provider_id, message, row)


def _refresh(
    tenant: Tenant, payment_id: str, provider_id: str, message: Message, row: Row
) -> InboxState:
    """The effect and DONE in one transaction; FAILED with the code where the money is not right."""
    payment = _payment(tenant, payment_id)
    if payment is None or payment.provider != message["provider"]:
        return row.finish(InboxState.FAILED, "unknown_payment")

    def closing(problem: str) -> list[table.Action]:
        return [row.mark(InboxState.FAILED if problem else InboxState.DONE, problem)]

    result = effects.refresh(tenant, payment_id, row.by, provider_id=provider_id, closing=closing)
    return InboxState.FAILED if result.problem else InboxState.DONE


def _payment(tenant: Tenant, payment_id: str) -> PaymentItem | None:
    try:
        return load(tenant, payment_id)
    except (NotFound, ValueError):  # metadata comes from outside: it need not even be an id
        return None


def _stripe_account(message: Message, row: Row) -> InboxState:
    owner = payees.owner_of(Provider.STRIPE, message["account"] or message["object_id"])
    if owner is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    connect.refresh_account(owner.practice, owner.payee, row.by)
    return row.finish(InboxState.DONE)


def _stripe_payout(message: Message, row: Row) -> InboxState:
    from consulta.money import payout_effects  # noqa: PLC0415  # only where a payout's event came

    holder = payout_effects.holder_of(message["account"])
    if holder is None:
        return row.finish(InboxState.IGNORED, "unknown_account")

    def closing() -> list[table.Action]:
        return [row.mark(InboxState.DONE)]

    payout_effects.refresh(holder, message["object_id"], row.by, closing)
    return InboxState.DONE


def _stripe_balance(message: Message, row: Row) -> InboxState:
    """Many postings, each put once under its own key; DONE comes after the last of them."""
    from consulta.money import payout_effects  # noqa: PLC0415  # only where such an event came

    holder = payout_effects.holder_of(message["account"])
    if holder is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    payout_effects.take_available(holder, row.by)
    return row.finish(InboxState.DONE)


def _dispute(message: Message, row: Row) -> InboxState:
    from consulta.money import dispute_effects  # noqa: PLC0415  # only where a dispute's event came

    def closing() -> list[table.Action]:
        return [row.mark(InboxState.DONE)]

    why = dispute_effects.refresh(
        message["provider"], message["object_id"], message["account"], row.by, closing
    )
    if why == "not_ours":
        return row.finish(InboxState.IGNORED, why)
    return row.finish(InboxState.FAILED, why) if why else InboxState.DONE


def _stripe_gone(message: Message, row: Row) -> InboxState:
    """From the event alone: the account can no longer be read."""
    owner = payees.owner_of(Provider.STRIPE, message["account"]) if message["account"] else None
    if owner is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    connect.disconnect(owner.practice, owner.payee, message["account"], row.by)
    return row.finish(InboxState.DONE)


def _mercadopago_gone(message: Message, row: Row) -> InboxState:
    """``application.authorized`` needs nothing: the consent's code is what connects."""
    if (message.get("payload") or {}).get("action") != MERCADOPAGO_GONE:
        return row.finish(InboxState.IGNORED, "not_needed")
    owner = payees.owner_of(Provider.MERCADOPAGO, message["account"])
    if owner is None:
        return row.finish(InboxState.IGNORED, "unknown_account")
    mercadopago_connections.forget(owner.practice, owner.payee, row.by)
    return row.finish(InboxState.DONE)
