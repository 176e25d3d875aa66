"""What we ask of a provider, persisted before it is sent, so that a retry is the same operation.

Source: MONEY_AND_BOOKING_RULES §6. An operation is a sub-item of its payment. Sending it again
first looks up what the time before has made; if nothing, and it is too long ago to be still on its
way, the attempt and with it the idempotency key is a new one: a provider also replays its own
failures.
"""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

from pynamodb.attributes import NumberAttribute, UnicodeAttribute

from consulta.core import table
from consulta.core.errors import Busy
from consulta.core.item import Actor, InstantAttribute, Item
from consulta.core.keys import Key, Tenant
from consulta.core.time import now, to_text
from consulta.money.provider import Operation, PaymentDetails
from consulta.money.records import PAYMENT

OPERATION = "OPERATION"
# Longer than the adapters' timeouts with all their retries.
IN_FLIGHT = timedelta(seconds=60)


class Kind(StrEnum):
    """What is asked for."""

    START = "start"
    CAPTURE = "capture"
    CANCEL = "cancel"
    REFUND = "refund"
    RECOVER = "recover"
    GIVE_BACK = "give_back"


class OperationItem(Item):
    """``digest`` is of what was sent besides what our own items say; nothing of it is kept."""

    kind = UnicodeAttribute()
    digest = UnicodeAttribute()
    attempt = NumberAttribute(default=1)
    first_sent = InstantAttribute()
    sent_at = InstantAttribute()


def key_of(tenant: Tenant, payment_id: str, operation_id: str) -> Key:
    """Where an operation is kept."""
    return tenant.sub(PAYMENT, payment_id, OPERATION, operation_id)


def digest(details: PaymentDetails) -> str:
    """Tells two submissions apart; a token cannot be had back from it."""
    return hashlib.sha256(repr(details).encode()).hexdigest()


def new(
    tenant: Tenant, payment_id: str, operation_id: str, kind: Kind, by: Actor, sent: str = ""
) -> OperationItem:
    """An operation that is about to be sent for the first time; the caller writes it."""
    instant = now()
    return OperationItem.create(
        key_of(tenant, payment_id, operation_id),
        OPERATION,
        by,
        kind=str(kind),
        digest=sent,
        first_sent=instant,
        sent_at=instant,
    )


def find(tenant: Tenant, payment_id: str, operation_id: str) -> OperationItem | None:
    """An operation as it was persisted."""
    return table.get(OperationItem, key_of(tenant, payment_id, operation_id))


def id_of(item: OperationItem) -> str:
    """The operation's id, the last part of its key."""
    return str(item.sk).rpartition("#")[2]


def first(item: OperationItem) -> Operation:
    """As the provider's adapter takes it."""
    return Operation(id_of(item), int(item.attempt))


def in_flight(item: OperationItem) -> bool:
    """Whether it may still be on its way."""
    return now() - item.sent_at < IN_FLIGHT


def again[T](
    item: OperationItem, by: Actor, lookup: Callable[[], T | None], send: Callable[[Operation], T]
) -> T:
    """Send what was sent before with unknown outcome; its result, or that of the time before.

    Raises Busy where another process is sending it at this moment.
    """
    made = lookup()
    if made is not None:
        return made
    if in_flight(item):
        return send(first(item))
    attempt = int(item.attempt) + 1
    try:
        table.transact(
            [table.change(item, by, set_={"attempt": attempt, "sent_at": to_text(now())})]
        )
    except table.ConditionFailed:
        raise Busy from None
    return send(Operation(id_of(item), attempt))
