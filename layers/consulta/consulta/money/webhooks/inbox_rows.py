"""An event's row in the inbox, and the queue's message that it is written for.

Source: MONEY_AND_BOOKING_RULES §5. RECEIVED before anything is looked at, DONE in the transaction
of the effect; only DONE dedupes.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from consulta.core import keys, table
from consulta.core.item import Actor
from consulta.core.keys import Key
from consulta.core.time import now, to_epoch, to_text
from consulta.money.records import INBOX, InboxItem

Message = dict[str, Any]
KEPT = timedelta(days=90)
PLATFORM = "platform"
MERCADOPAGO_GONE = "application.deauthorized"
ACTIONS = frozenset({MERCADOPAGO_GONE, "application.authorized"})


class InboxState(StrEnum):
    """Of one event."""

    RECEIVED = "RECEIVED"
    DONE = "DONE"
    IGNORED = "IGNORED"
    FAILED = "FAILED"


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
        try:
            table.transact([table.put_new(self._item())])
        except table.ConditionFailed as known:
            # The row as it is comes with the failure.
            raw = known.old
        else:
            return InboxState.RECEIVED
        if raw is None:
            return self.receive()
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
