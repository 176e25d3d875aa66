"""Changes told on the event bus: which item, which version, what happened; never what is inside.

Consumers read the item as it is now, so an event may come twice, late or out of order. The stream
is the outbox: what was written is told, what was not written is not.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from botocore.exceptions import BotoCoreError, ClientError

from consulta.core import aws, settings
from consulta.core.keys import ITEM, Key, Tenant, parse_item, tenant_of
from consulta.core.observe import count, failure

SOURCE = "consulta"
PUT_MAX = 10

Image = Mapping[str, Mapping[str, Any]]


class BusSettings(settings.Settings):
    """The bus that publish puts events on."""

    event_bus_name: str


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one of a practice's items.

    ``status`` and ``was`` are the item's status after and before, where it has one; ``moved`` says
    that its start changed.
    """

    practice: str
    entity: str
    id: str
    version: int
    action: Literal["created", "changed", "removed"]
    status: str = ""
    was: str = ""
    moved: bool = False

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
        """The event of a stream record; None for sub-items and rows that are no items."""
        found = record["dynamodb"]
        old, new = found.get("OldImage"), found.get("NewImage")
        image, pk = new or old, found["Keys"]["pk"]["S"]
        if not image or found["Keys"]["sk"]["S"] != ITEM or "version" not in image:
            return None
        entity, item_id = parse_item(pk)
        return cls(
            tenant_of(pk).practice,
            entity,
            item_id,
            int(image["version"]["N"]),
            "created" if not old else "removed" if not new else "changed",
            _text(new, "status"),
            _text(old, "status"),
            bool(old and new and _text(old, "start") != _text(new, "start")),
        )

    @classmethod
    def received(cls, body: str) -> Self:
        """The event in a message that a rule of the bus put into a queue."""
        return cls(**json.loads(body)["detail"])


def _text(image: Image | None, name: str) -> str:
    return str((image or {}).get(name, {}).get("S", ""))


def publish(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Put these stream records' events on the bus; the numbers of those that have to come again."""
    told = [
        (record["dynamodb"]["SequenceNumber"], event)
        for record in records
        if (event := Event.of_record(record))
    ]
    failed = [
        number for n in range(0, len(told), PUT_MAX) for number in _put(told[n : n + PUT_MAX])
    ]
    if failed:
        count("EventsRetried", len(failed))
    return failed


def _put(batch: Sequence[tuple[str, Event]]) -> list[str]:
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
    try:
        answer = aws.client("events").put_events(Entries=entries)
    except (BotoCoreError, ClientError) as error:
        failure("events cannot be published", error)
        return [number for number, _ in batch]
    return [
        number
        for (number, _), entry in zip(batch, answer["Entries"], strict=True)
        if "EventId" not in entry
    ]
