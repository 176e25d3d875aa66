"""Proves a practice's audit: every row, every item's history, every seal.

1. each row is as it was signed, and where its own content says;
2. each item's versions are dense from 1 to the item's own, each begins as the one before ended, and
   what is gone has its removal;
3. each sealed hour has the rows that it had, and the seals are one chain.

Both tables are read whole: it is an operator's tool, not a request. It may run beside live traffic:
what was changed within ``grace`` of now is not missed yet.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from consulta.audit import merkle, rows, sealing
from consulta.audit.macs import MacKeys, mac_keys
from consulta.audit.writing import audit_table
from consulta.core import aws, settings, table
from consulta.core.keys import Key, Tenant, tenant_of
from consulta.core.time import from_text, now, to_text

GRACE = timedelta(minutes=1)
# How long after its hour's end a seal may be missing: the next run, and one that failed.
SEAL_GRACE = timedelta(hours=2)

Row = Mapping[str, Any]
Watch = Callable[[int], None]


class Finding(NamedTuple):
    """What is wrong, and with what: a row's key, an item's, or a seal's. Ids only."""

    practice: str
    row: str
    why: str


@dataclass(slots=True)
class Light:
    """What of a row is needed once its mac was looked at."""

    key: Key
    authentic: bool
    created_at: str
    version: int
    action: str
    before_hash: str
    after_hash: str
    recorded_at: str
    mac: str
    item: Key
    anomaly: bool
    vague: bool

    @property
    def name(self) -> str:
        """Its key as it is told."""
        return f"{self.key.pk} {self.key.sk}"


@dataclass(frozen=True, slots=True)
class Stored:
    """An item as it is."""

    key: Key
    version: int
    created_at: str
    updated_at: str


@dataclass(slots=True)
class Result:
    """What was looked at, what is wrong, and which items began before their audit did."""

    rows: int = 0
    items: int = 0
    seals: int = 0
    findings: list[Finding] = field(default_factory=list)
    older: list[Finding] = field(default_factory=list)

    def add(self, practice: str, row: str, why: str) -> None:
        """One more that is wrong."""
        self.findings.append(Finding(practice, row, why))


def verify(
    practice: str = "", *, grace: timedelta = GRACE, watch: Watch = lambda _: None
) -> Result:
    """All practices, or one."""
    macs, result, instant = mac_keys(), Result(), now()
    described = aws.client("dynamodb").describe_table(TableName=audit_table())["Table"]
    table_since = to_text(described["CreationDateTime"])
    stored = _items(practice)
    found: dict[str, dict[str, list[Light]]] = defaultdict(lambda: defaultdict(list))
    for row in _audit_rows(practice):
        light = _light(row, macs)
        found[tenant_of(light.key.pk).practice][light.key.pk].append(light)
        result.rows += 1
        watch(1)
    for name in sorted({*found, *stored, *([practice] if practice else [])}):
        practice_rows = found.get(name, {})
        one = _Practice(
            name, stored.get(name, {}), practice_rows, result, instant, grace, table_since
        )
        one.check(macs)
    return result


# ---------------------------------------------------------------- reading


def _scan(name: str, **request: Any) -> Iterator[dict[str, Any]]:
    pages = aws.client("dynamodb").get_paginator("scan")
    for page in pages.paginate(TableName=name, ConsistentRead=True, **request):
        for raw in page["Items"]:
            yield table.from_raw(raw)


def _of(practice: str, part: str = "") -> str:
    return f"{Tenant(practice).prefix}{part}" if practice else "P#"


def _items(practice: str) -> dict[str, dict[str, Stored]]:
    """practice → the audit partition of an item → the item."""
    found: dict[str, dict[str, Stored]] = defaultdict(dict)
    request = {
        "FilterExpression": "begins_with(pk, :p) AND attribute_exists(#v) AND attribute_exists(#e)",
        "ProjectionExpression": "pk, sk, #v, created_at, updated_at",
        "ExpressionAttributeNames": {"#v": "version", "#e": "entity"},
        "ExpressionAttributeValues": table.to_raw({":p": _of(practice)}),
    }
    for values in _scan(table.core_table(), **request):
        item, tenant = _stored(values), tenant_of(values["pk"])
        found[tenant.practice][tenant.audit_of(item.key)] = item
    return found


def _stored(values: Row) -> Stored:
    return Stored(
        Key(values["pk"], values["sk"]),
        int(values["version"]),
        str(values.get("created_at", "0")),
        str(values.get("updated_at", "0")),
    )


def _audit_rows(practice: str) -> Iterator[dict[str, Any]]:
    return _scan(
        audit_table(),
        FilterExpression="begins_with(pk, :p)",
        ExpressionAttributeValues=table.to_raw({":p": _of(practice, "AUDIT#")}),
    )


def _light(row: Row, macs: MacKeys) -> Light:
    def text(name: str) -> str:
        return str(row.get(name, ""))

    try:
        version = int(row.get("version", 0))
    except (TypeError, ValueError):
        version = 0
    return Light(
        key=Key(text("pk"), text("sk")),
        authentic=rows.is_authentic(row, macs),
        created_at=text("created_at"),
        version=version,
        action=text("action"),
        before_hash=text("before_hash"),
        after_hash=text("after_hash"),
        recorded_at=text("recorded_at"),
        mac=text("mac"),
        item=Key(text("item_pk"), text("item_sk")),
        anomaly=bool(row.get("anomaly")),
        vague=bool(row.get(rows.ERASED) or row.get("incomplete")),
    )


# ---------------------------------------------------------------- one practice


@dataclass(slots=True)
class _Practice:
    name: str
    items: Mapping[str, Stored]
    partitions: Mapping[str, list[Light]]
    result: Result
    instant: datetime
    grace: timedelta
    table_since: str
    since: str = ""

    def check(self, macs: MacKeys) -> None:
        for partition in self.partitions.values():
            for light in partition:
                if not light.authentic:
                    self._wrong(light.name, "was edited or inserted: its mac is not ours")
                elif light.anomaly:
                    self._wrong(light.name, f"a second history of version {light.version}")
        self.since = self._audited_since()
        for pk, item in self.items.items():
            self.result.items += 1
            self._item(pk, item)
        for pk, partition in self.partitions.items():
            true = [light for light in partition if light.authentic]
            histories = [light for light in true if light.item.pk and not light.anomaly]
            if histories:
                self._histories(histories)
                if pk not in self.items:
                    self._gone(histories)
        _Seals(self, macs).check()

    def _wrong(self, row: str, why: str) -> None:
        self.result.add(self.name, row, why)

    def _audited_since(self) -> str:
        """When this practice's audit began: what was last changed earlier cannot have a row.

        The table is older than its first row; a table that was restored is younger than that.
        """
        recorded = [light.recorded_at for p in self.partitions.values() for light in p]
        return min([*recorded, *_sealed_hours(self.name)[:1], self.table_since])

    def _item(self, pk: str, item: Stored) -> None:
        """The item against its newest row."""
        lives = [light for light in self.partitions.get(pk, ()) if light.item.pk]
        newest = max((li.version for li in lives if li.created_at == item.created_at), default=0)
        if newest == item.version or (newest == 0 and item.updated_at < self.since):
            if not newest:
                older = Finding(self.name, pk, "no row: last changed before its audit began")
                self.result.older.append(older)
            return
        if newest > item.version:
            # Changed since it was read; if not, somebody has put an old state back.
            again = table.get_raw(item.key)
            current = int(again["version"]["N"]) if again else newest
            if newest > current:
                self._wrong(pk, f"the item is at version {current}, its newest row is {newest}")
            return
        if self.instant - from_text(item.updated_at) > self.grace:
            missing = "every row is" if newest == 0 else f"version {newest + 1} up to now is"
            self._wrong(pk, f"{missing} missing: the item is at version {item.version}")

    def _histories(self, histories: Sequence[Light]) -> None:
        """Versions dense, and each beginning as the one before ended, in each life of an item."""
        lives: dict[str, list[Light]] = defaultdict(list)
        for light in histories:
            lives[light.created_at].append(light)
        ordered = [
            sorted(lives[birth], key=lambda li: (li.version, li.action == rows.REMOVED))
            for birth in sorted(lives)
        ]
        for number, life in enumerate(ordered):
            self._life(life)
            if number + 1 < len(ordered) and life[-1].action != rows.REMOVED:
                self._wrong(life[-1].name, "the item was made again, but its removal is missing")

    def _life(self, life: Sequence[Light]) -> None:
        first = life[0]
        if first.version > 1 or first.action != rows.CREATED:
            if first.created_at < self.since:
                why = f"starts at version {first.version}"
                self.result.older.append(Finding(self.name, first.name, why))
            else:
                self._wrong(first.name, "version 1 is missing before it")
        for one, two in pairwise(life):
            steps = two.version - (0 if two.action == rows.REMOVED else 1)
            if steps != one.version:
                self._wrong(two.name, f"version {one.version + 1} is missing before it")
            elif one.after_hash != two.before_hash and not (one.vague or two.vague):
                self._wrong(two.name, f"does not begin as version {one.version} ended")

    def _gone(self, histories: Sequence[Light]) -> None:
        last = max(histories, key=lambda li: (li.created_at, li.version, li.action == rows.REMOVED))
        is_late = self.instant - from_text(last.recorded_at) > self.grace
        if last.action != rows.REMOVED and is_late and table.get_raw(last.item) is None:
            self._wrong(last.name, "the item is gone, and its removal is missing")


# ---------------------------------------------------------------- seals


def _objects(practice: str) -> list[dict[str, Any]]:
    """Every version of every seal, and every delete marker (without ``Size``), by hour."""
    bucket = settings.load(sealing.SealSettings).audit_bucket
    pages = aws.client("s3", sealing.S3_TIMEOUT_S).get_paginator("list_object_versions")
    found: list[dict[str, Any]] = []
    for page in pages.paginate(Bucket=bucket, Prefix=sealing.object_key(practice, "")[:-5]):
        found += [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
    return sorted(found, key=lambda entry: str(entry["Key"]))


def _sealed_hours(practice: str) -> list[str]:
    return sorted({_hour(entry["Key"]) for entry in _objects(practice)})


def _hour(object_key: str) -> str:
    return object_key.rpartition("/")[2].removesuffix(".json")


class _Seals:
    def __init__(self, practice: _Practice, macs: MacKeys) -> None:
        self.practice, self.macs = practice, macs
        self.leaves: dict[str, list[str]] = defaultdict(list)
        every = [light for p in practice.partitions.values() for light in p]
        for light in sorted(every, key=lambda li: (li.recorded_at, li.key.pk, li.key.sk)):
            self.leaves[light.recorded_at[:13]].append(light.mac)

    def check(self) -> None:
        by_hour: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in _objects(self.practice.name):
            by_hour[_hour(entry["Key"])].append(entry)
        previous = sealing.START
        for hour in sorted(by_hour):
            key = sealing.object_key(self.practice.name, hour)
            if len(by_hour[hour]) > 1:
                self._wrong(key, "was written again or deleted: the lock holds its first version")
            seal = self._read(by_hour[hour])
            if seal is not None:
                self.practice.result.seals += 1
                previous = self._seal(key, hour, seal, previous)
        self._unsealed(by_hour)

    def _wrong(self, key: str, why: str) -> None:
        self.practice.result.add(self.practice.name, key, why)

    def _read(self, entries: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        written = [entry for entry in entries if "Size" in entry]
        if not written:
            return None
        # S3 lists an object's versions with the newest first.
        first = written[-1]
        answer = aws.client("s3", sealing.S3_TIMEOUT_S).get_object(
            Bucket=settings.load(sealing.SealSettings).audit_bucket,
            Key=first["Key"],
            VersionId=first["VersionId"],
        )
        try:
            seal: dict[str, Any] = dict(json.loads(answer["Body"].read()))
        except (ValueError, TypeError):
            return {}
        return seal

    def _seal(self, key: str, hour: str, seal: dict[str, Any], previous: str) -> str:
        """One seal against its rows and the one before; gives the link for the next."""
        values = {name: value for name, value in seal.items() if name != "mac"}
        if not self.macs.holds(str(seal.get("mac_key")), values, str(seal.get("mac"))):
            self._wrong(key, "was edited: its mac is not ours")
        elif (seal["practice"], seal["hour"]) != (self.practice.name, hour):
            self._wrong(key, f"is the seal of {seal['practice']} {seal['hour']}")
        elif seal["previous"] != previous:
            self._wrong(key, "does not follow the seal before it: one is missing or was moved")
        top, leaves = str(seal.get("root", "")), self.leaves.get(hour, [])
        try:
            expected = merkle.root([bytes.fromhex(leaf) for leaf in leaves])
        except ValueError:
            expected = "a row has no mac"
        if top != expected:
            self._wrong(
                key,
                f"its root is not that of its rows: sealed {seal.get('rows')}, now {len(leaves)}; "
                "a row was edited, deleted or inserted",
            )
        return str(seal.get("chain", "")) or merkle.chained(previous, hour, top)

    def _unsealed(self, sealed: Mapping[str, object]) -> None:
        late = to_text(self.practice.instant - sealing.HOUR - sealing.MARGIN - SEAL_GRACE)[:13]
        for hour in sorted(self.leaves):
            if hour < late and hour not in sealed:
                key = sealing.object_key(self.practice.name, hour)
                self._wrong(key, f"the seal of {len(self.leaves[hour])} rows is missing")
