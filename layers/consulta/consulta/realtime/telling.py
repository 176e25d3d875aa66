"""Telling that dashboards changed: from the stream's reader into a queue.

A message is a practice's part of one batch of the stream, put into the queue after its figures
were applied: ids and kinds of items, nothing of what is in them::

    {"practice": "prac_…", "at": "2026-11-21T10:30:00.000Z",
     "changed": {"APPOINTMENT": ["EXPERT#exp_…", "PATIENT#pat_…", "PRACTICE#prac_…"]}}

It is best effort: a front end reads again by itself when a section's time is over.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from consulta.core import aws, settings
from consulta.core.keys import Tenant
from consulta.core.observe import count, logger
from consulta.core.time import now, to_text
from consulta.realtime import connections

SEND_BATCH_MAX = 10

Changed = Mapping[str, Collection[str]]
"""Entity → whose dashboards it is part of: ``PRACTICE#…``, ``EXPERT#…``, ``PATIENT#…``."""


class TellingSettings(settings.Settings):
    """Where it is told; nowhere, for what applies figures without being the stream's reader."""

    realtime_queue_url: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What changed in one practice, of one message or of several; ``at`` is the last one's."""

    practice: str
    at: str
    changed: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def received(cls, body: str) -> Self:
        """A message of the queue. Raises ValueError, KeyError or TypeError for what is none."""
        message = json.loads(body)
        changed = {entity: set(subjects) for entity, subjects in message["changed"].items()}
        return cls(Tenant(message["practice"]).practice, str(message["at"]), changed)

    def joined(self, other: Self) -> Self:
        """Both in one."""
        changed = {
            entity: self.changed.get(entity, set()) | other.changed.get(entity, set())
            for entity in self.changed.keys() | other.changed.keys()
        }
        return type(self)(self.practice, max(self.at, other.at), changed)


def listening(tenants: Iterable[Tenant]) -> list[Tenant]:
    """Those practices to which a change is worth telling: nobody else is connected."""
    asked = list(tenants)
    if not asked or not settings.load(TellingSettings).realtime_queue_url:
        return []
    return connections.listening(asked)


def tell(parts: Mapping[Tenant, Changed]) -> None:
    """Tell of practices' changes. Raises ClientError, BotoCoreError."""
    at = to_text(now())
    bodies = [
        json.dumps(
            {
                "practice": tenant.practice,
                "at": at,
                "changed": {entity: sorted(subjects) for entity, subjects in changed.items()},
            },
            separators=(",", ":"),
        )
        for tenant, changed in parts.items()
        if changed
    ]
    queue = settings.load(TellingSettings).realtime_queue_url
    for start in range(0, len(bodies), SEND_BATCH_MAX):
        entries = [
            {"Id": str(number), "MessageBody": body}
            for number, body in enumerate(bodies[start : start + SEND_BATCH_MAX])
        ]
        sqs = aws.client("sqs", connections.TIMEOUT_S, connections.RETRIES)
        answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
        untold = len(answer.get("Failed", ()))
        if untold:
            logger.warning("the queue did not take that dashboards changed")
            count("DashboardsUntold", untold)
