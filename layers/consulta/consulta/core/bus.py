"""Changes told on the event bus: which item, which version, what happened; never what is inside,
but for where it was before it moved, which nobody could read any more.

Consumers read the item as it is now, so an event may come twice, late or out of order. The stream
is the outbox: what was written is told, what was not written is not. The stream's reader serves the
audit too: an event that can never be told is counted and left out, so that it does not hold the
audit up.
"""

import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from botocore.exceptions import BotoCoreError, ClientError

from consulta.core import aws, settings
from consulta.core.keys import ITEM, Key, Tenant, parse_item, tenant_of
from consulta.core.observe import count, failure, logger

SOURCE = "consulta"
PUT_MAX = 10
# What the bus did not take is told again after at most these pauses: most of it is a moment's
# throttling, and the stream's own repetition brings all that follows to the audit once more.
PAUSES_S = (0.1, 0.4, 1.0)
# An entry that is refused for this is refused again (EventBridge API, PutEventsResultEntry).
HOPELESS = frozenset(
    {
        "InvalidAccountIdException",
        "InvalidArgument",
        "MalformedDetail",
        "NotAuthorizedForDetailTypeException",
        "NotAuthorizedForSourceException",
        "RedactionFailure",
    }
)

_PLACE = ("start", "expert_id")
_jitter = random.SystemRandom()

Image = Mapping[str, Mapping[str, Any]]


class BusSettings(settings.Settings):
    """The bus that publish puts events on."""

    event_bus_name: str


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one of a practice's items.

    ``status`` and ``was`` are the item's status (or ``state``) after and before, where it has one;
    ``moved`` says that its start changed, or its expert: ``start_was`` and ``expert_was`` are both
    before that, and empty otherwise.
    """

    practice: str
    entity: str
    id: str
    version: int
    action: Literal["created", "changed", "removed"]
    status: str = ""
    was: str = ""
    moved: bool = False
    start_was: str = ""
    expert_was: str = ""

    @property
    def tenant(self) -> Tenant:
        """The practice's keys."""
        return Tenant(self.practice)

    @property
    def key(self) -> Key:
        """The item's key."""
        return self.tenant.item(self.entity, self.id)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self | None:
        """The event of a stream record; None for sub-items and rows that are no items.

        Raises ValueError for a key that is no item's.
        """
        found = record["dynamodb"]
        old, new = found.get("OldImage"), found.get("NewImage")
        image, pk = new or old, found["Keys"]["pk"]["S"]
        if not image or found["Keys"]["sk"]["S"] != ITEM or "version" not in image:
            return None
        entity, item_id = parse_item(pk)
        moved = bool(old and new and any(_text(old, n) != _text(new, n) for n in _PLACE))
        return cls(
            tenant_of(pk).practice,
            entity,
            item_id,
            int(image["version"]["N"]),
            "created" if not old else "removed" if not new else "changed",
            _text(new, "status") or _text(new, "state"),
            _text(old, "status") or _text(old, "state"),
            moved,
            *(_text(old if moved else None, name) for name in _PLACE),
        )

    @classmethod
    def received(cls, body: str) -> Self:
        """The event in a message that a rule of the bus put into a queue.

        What a newer publisher says besides is left out: both are deployed, but not at once.
        """
        detail = json.loads(body)["detail"]
        return cls(**{name: detail[name] for name in cls.__slots__ if name in detail})


def _text(image: Image | None, name: str) -> str:
    return str((image or {}).get(name, {}).get("S", ""))


Told = tuple[str, Event]
"""A record's sequence number, and its event."""


def publish(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Put these stream records' events on the bus; the numbers of those that have to come again.

    Raises nothing for what a record holds or the bus answers.
    """
    told = [told for record in records for told in _events(record)]
    failed = [
        number for n in range(0, len(told), PUT_MAX) for number in _tell(told[n : n + PUT_MAX])
    ]
    if failed:
        count("EventsRetried", len(failed))
    return failed


def _events(record: Mapping[str, Any]) -> list[Told]:
    """The record's event, if it has one."""
    try:
        event = Event.of_record(record)
    except (KeyError, ValueError) as error:
        failure("a change has no event", error, number=record["dynamodb"]["SequenceNumber"])
        count("EventsRefused")
        return []
    return [(record["dynamodb"]["SequenceNumber"], event)] if event else []


def _tell(batch: Sequence[Told]) -> list[str]:
    """Put one batch, and again what was not taken; the numbers of what is left at the end."""
    left = list(batch)
    try:
        left = _put(left)
        for pause in PAUSES_S:
            if not left:
                break
            time.sleep(_jitter.uniform(0, pause))
            left = _put(left)
    except (BotoCoreError, ClientError) as error:
        failure("events cannot be published", error)
    return [number for number, _ in left]


def _put(batch: Sequence[Told]) -> list[Told]:
    """One call; what the bus did not take and may take later."""
    bus = settings.load(BusSettings).event_bus_name
    entries = [
        {
            "EventBusName": bus,
            "Source": SOURCE,
            "DetailType": event.entity,
            "Detail": json.dumps(asdict(event), separators=(",", ":")),
        }
        for _, event in batch
    ]
    answer = aws.client("events").put_events(Entries=entries)
    refused = [
        (told, entry.get("ErrorCode", ""))
        for told, entry in zip(batch, answer["Entries"], strict=True)
        if "EventId" not in entry
    ]
    for (_, event), code in refused:
        if code in HOPELESS:
            logger.error("an event was refused", extra={"code": code, "item": event.id})
            count("EventsRefused")
    return [told for told, code in refused if code not in HOPELESS]
