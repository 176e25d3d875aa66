"""Stream records of the core table → figures: one batch, practice by practice.

A record that cannot be processed is parked: its key goes to the repair queue and the record counts
as done, so that one bad item does not hold up everything behind it in its shard.

Whoever has a dashboard open is told once the figures are there (docs/realtime.md): told before,
they would read the old ones again.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from consulta.aggregates import engine, walk_state
from consulta.aggregates.catalog import BOOK, AggregateKey
from consulta.aggregates.contributions import Contribution, contributes
from consulta.aggregates.images import Image, Malformed
from consulta.aggregates.rows import Damaged
from consulta.aggregates.walk_state import NewerGeneration
from consulta.core import aws, settings
from consulta.core.errors import Busy
from consulta.core.keys import Key, Tenant, parse_item, tenant_of
from consulta.core.observe import count, failure, logger
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.realtime import telling

# Of the function's 60 s. Practices whose turn does not come in time are delivered again.
BUDGET_S = 40.0
SEND_BATCH_MAX = 10
_DASHBOARDS = frozenset({PRACTICE, EXPERT, PATIENT})
# Books of payees; the platform's own is no dashboard's.
_PAYEE = "PAYEE:"

# What DynamoDB answers to a write that it will never take, whenever it is sent.
_REFUSED = {"ValidationException", "TransactionCanceledException"}

Record = dict[str, Any]


class StreamSettings(settings.Settings):
    """Where keys of records that cannot be processed go."""

    repair_queue_url: str


class Delivery(NamedTuple):
    """One record: the id to report it by (a sequence number), what it says, and what was before."""

    record_id: str
    change: engine.Change
    old: Image | None = None


Park = Callable[[str], None]


def process(records: Sequence[Record]) -> list[str]:
    """Apply a batch. Gives the sequence numbers of the records to be delivered again."""
    parked: dict[str, str] = {}
    parts: dict[Tenant, list[Delivery]] = {}
    failed: list[str] = []
    end = time.monotonic() + BUDGET_S
    for record in records:
        found = record["dynamodb"]
        key = Key(found["Keys"]["pk"]["S"], found["Keys"]["sk"]["S"])
        number = found["SequenceNumber"]
        if record.get("eventName") == "INSERT" and _is_practice(key):
            failed += _begun(tenant_of(key.pk), number, end)
        if not contributes(key):
            continue
        try:
            change = change_of(record)
        except Malformed as error:
            failure("a record cannot be processed", error, item=key.pk)
            parked[number] = key.pk
        else:
            delivery = Delivery(number, change, found.get("OldImage"))
            parts.setdefault(tenant_of(key.pk), []).append(delivery)
    for tenant, deliveries in parts.items():
        failed += _apply_part(tenant, deliveries, end, parked)
    failed += park(parked)
    _tell(parts, {*failed, *parked}, end)
    if failed:
        count("FiguresRetried", len(failed))
    return failed


def _is_practice(key: Key) -> bool:
    if not key.pk.startswith("P#"):
        return False
    tenant = tenant_of(key.pk)
    return key == tenant.item(PRACTICE, tenant.practice)


def _begun(tenant: Tenant, number: str, end: float) -> list[str]:
    """A new practice's figures are complete from its first day. Gives what has failed."""
    try:
        if time.monotonic() >= end:
            raise Busy
        walk_state.begin(tenant)
    except (Busy, BotoCoreError, ClientError) as error:
        failure("a practice's figures cannot be begun", error, practice=tenant.practice)
        return [number]
    return []


def change_of(record: Record) -> engine.Change:
    """What one stream record says of its item. Raises Malformed."""
    found = record["dynamodb"]
    pk = found["Keys"]["pk"]["S"]
    if "NewImage" in found:
        return engine.as_of(pk, found["NewImage"])
    return engine.removal(pk, found.get("OldImage", {}))


def _apply_part(
    tenant: Tenant, deliveries: Sequence[Delivery], end: float, parked: dict[str, str]
) -> list[str]:
    """One practice's part; adds to ``parked`` and gives the ids of what should come again."""
    try:
        if (left := end - time.monotonic()) <= 0:
            raise Busy
        engine.apply(tenant, [delivery.change for delivery in deliveries], deadline_s=left)
    except NewerGeneration as newer:
        # A deployment is under way. By the time of the repair the newer code has taken over.
        logger.warning("the figures are of a newer generation", extra={"item": newer.pk})
        parked |= {delivery.record_id: delivery.change.pk for delivery in deliveries}
    except Damaged as damaged:
        failure("a contribution row cannot be read", damaged, item=damaged.pk)
        parked |= {one.record_id: damaged.pk for one in deliveries if one.change.pk == damaged.pk}
        others = [one for one in deliveries if one.change.pk != damaged.pk]
        return _apply_part(tenant, others, end, parked) if others else []
    except ClientError as error:
        if error.response["Error"]["Code"] not in _REFUSED:
            return _again(tenant, deliveries, error)
        if len(deliveries) == 1:
            only = deliveries[0]
            failure("a record cannot be written", error, item=only.change.pk)
            parked[only.record_id] = only.change.pk
            return []
        middle = len(deliveries) // 2
        return [
            *_apply_part(tenant, deliveries[:middle], end, parked),
            *_apply_part(tenant, deliveries[middle:], end, parked),
        ]
    except (Busy, BotoCoreError) as error:
        return _again(tenant, deliveries, error)
    return []


def _again(tenant: Tenant, deliveries: Sequence[Delivery], error: Exception) -> list[str]:
    failure("a practice's records are to come again", error, practice=tenant.practice)
    return [delivery.record_id for delivery in deliveries]


def _tell(parts: Mapping[Tenant, Sequence[Delivery]], unapplied: set[str], end: float) -> None:
    """Tell of what was applied, where somebody is connected. Best effort."""
    applied = {
        tenant: done
        for tenant, deliveries in parts.items()
        if (done := [each for each in deliveries if each.record_id not in unapplied])
    }
    if time.monotonic() >= end:
        # A batch that took all its time has none left for this, and what is applied does not come
        # again: nobody hears of it.
        count("DashboardsUntold", len(applied))
        return
    try:
        listening = telling.listening(applied)
        telling.tell({tenant: _changed(tenant, applied[tenant]) for tenant in listening})
    except Exception as error:  # noqa: BLE001  # the figures are right: nothing may bring them again
        failure("nobody was told that dashboards changed", error)
        count("DashboardsUntold", len(applied))


def _changed(tenant: Tenant, deliveries: Sequence[Delivery]) -> dict[str, set[str]]:
    """Entity → the dashboards that its items are or were part of.

    What no figure counts, before or after, is still in the activity of the practice and its expert:
    a hidden review, say, that is edited.
    """
    found: dict[str, set[str]] = {}
    for delivery in deliveries:
        change = delivery.change
        contributions = [change.contribution, *_before(delivery)]
        subjects = {
            subject
            for contribution in contributions
            for key in contribution.figures
            for subject in _subjects(tenant, key)
        } or _shown_only(tenant, delivery.old)
        if subjects:
            found.setdefault(parse_item(change.pk)[0], set()).update(subjects)
    return found


def _shown_only(tenant: Tenant, old: Image | None) -> set[str]:
    if old is None:
        return set()
    expert = old.get("expert_id", {}).get("S")
    return {f"{PRACTICE}#{tenant.practice}", *([f"{EXPERT}#{expert}"] if expert else [])}


def _before(delivery: Delivery) -> list[Contribution]:
    """What an item contributed: its expert, say, may have been another."""
    if delivery.old is None:
        return []
    try:
        return [engine.as_of(delivery.change.pk, delivery.old).contribution]
    except Malformed:
        return []


def _subjects(tenant: Tenant, key: AggregateKey) -> Iterator[str]:
    if key.subject in _DASHBOARDS:
        yield f"{key.subject}#{key.subject_id}"
    elif key.subject == BOOK and key.subject_id.startswith(_PAYEE):
        # A payee is an expert or the practice, which sees everybody's.
        yield f"{EXPERT}#{key.subject_id.removeprefix(_PAYEE)}"
        yield f"{PRACTICE}#{tenant.practice}"


def park(parked: dict[str, str]) -> list[str]:
    """Send items' keys to the repair queue. Gives the ids of those that could not be sent."""
    if not parked:
        return []
    # Several records of one item are one repair: it reads the item as it is then.
    records_of: dict[str, list[str]] = {}
    for record_id, pk in parked.items():
        records_of.setdefault(pk, []).append(record_id)
    count("FiguresParked", len(records_of))
    queue = settings.load(StreamSettings).repair_queue_url
    pks, failed = list(records_of), []
    for start in range(0, len(pks), SEND_BATCH_MAX):
        batch = pks[start : start + SEND_BATCH_MAX]
        entries = [
            {"Id": str(number), "MessageBody": json.dumps({"pk": pk})}
            for number, pk in enumerate(batch)
        ]
        try:
            answer = aws.client("sqs").send_message_batch(QueueUrl=queue, Entries=entries)
            unsent = [batch[int(entry["Id"])] for entry in answer.get("Failed", ())]
        except (ClientError, BotoCoreError) as error:
            failure("keys cannot be parked", error)
            unsent = batch
        failed += [record_id for pk in unsent for record_id in records_of[pk]]
    return failed
