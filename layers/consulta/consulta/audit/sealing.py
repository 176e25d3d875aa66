"""Each hour's rows of a practice under one Merkle root, chained, and put out of anybody's reach.

The bucket keeps every object under a lock for years. A seal is
``roots/<practice>/<yyyy-mm-ddThh>.json``:

    {"practice", "hour", "rows": count, "root", "previous": chain before, "chain", "sealed_at",
     "mac_key", "mac"}

``root`` is over the rows' macs in the order of (recorded_at, pk, sk). An hour is sealed some
minutes after it has ended: rows are listed by when they were recorded, and an index is a little
behind its table. An hour without rows has no seal; the chain goes on.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from botocore.exceptions import ClientError

from consulta.audit import merkle
from consulta.audit.macs import MacKeys, mac_keys
from consulta.audit.rows import PLATFORM
from consulta.audit.writing import audit_table
from consulta.core import aws, keys, settings, table
from consulta.core.keys import Tenant, all_practices, tenant_of
from consulta.core.observe import count, failure
from consulta.core.time import from_text, now, to_text, utc_months

HOUR = timedelta(hours=1)
MARGIN = timedelta(minutes=10)
# Where the platform's own rows begin to be looked for; a practice's begin with the practice.
LOOK_BACK = timedelta(days=32)
START = "0" * 64
S3_TIMEOUT_S = 10.0


class SealSettings(settings.Settings):
    """The bucket of seals."""

    audit_bucket: str


@dataclass(frozen=True, slots=True)
class Place:
    """How far a practice is sealed: the first hour that is not, and the chain's last link."""

    hour: datetime
    chain: str


@dataclass(slots=True)
class Sealed:
    """What one run came to."""

    practices: int = 0
    seals: int = 0
    failed: int = 0


def run(*, time_left: Callable[[], bool] = lambda: True) -> Sealed:
    """Seal what can be sealed, of every practice; what is not reached comes in the next run."""
    sealed = Sealed()
    end = sealable_until(now())
    macs = mac_keys()
    for tenant, since in _tenants():
        if not time_left():
            break
        try:
            sealed.seals += seal(tenant, since, end, macs)
            sealed.practices += 1
        except Exception as error:  # noqa: BLE001  # one practice must not hold up the others
            failure("a practice could not be sealed", error, practice=tenant.practice)
            sealed.failed += 1
    count("AuditSeals", sealed.seals)
    if sealed.failed:
        count("AuditSealsFailed", sealed.failed)
    return sealed


def sealable_until(instant: datetime) -> datetime:
    """The end of the last hour that can be sealed at ``instant``."""
    return hour_of(instant - MARGIN)


def hour_of(instant: datetime) -> datetime:
    """The beginning of its hour."""
    return instant.replace(minute=0, second=0, microsecond=0)


def _tenants() -> Iterator[tuple[Tenant, datetime]]:
    yield Tenant(PLATFORM), now() - LOOK_BACK
    for raw in table.Query(all_practices(), index="l1").all():
        yield tenant_of(raw["pk"]["S"]), from_text(raw["created_at"]["S"])


def seal(tenant: Tenant, since: datetime, end: datetime, macs: MacKeys) -> int:
    """Seal a practice's hours up to ``end``; how many seals were made or found."""
    place = _place(tenant) or Place(hour_of(since), START)
    if place.hour >= end:
        return 0
    made, chain = 0, place.chain
    for hour, leaves in _hours(tenant, place.hour, end):
        document = sealed_hour(tenant.practice, hour, leaves, chain, macs)
        chain = str(_put(document)["chain"])
        made += 1
    _advance(tenant, place, Place(end, chain))
    return made


def sealed_hour(
    practice: str, hour: str, leaves: Iterable[str], previous: str, macs: MacKeys
) -> dict[str, Any]:
    """The seal of one hour. ``hour`` is ``yyyy-mm-ddThh``, ``leaves`` the rows' macs in order."""
    hashed = [bytes.fromhex(leaf) for leaf in leaves]
    top = merkle.root(hashed)
    document = {
        "practice": practice,
        "hour": hour,
        "rows": len(hashed),
        "root": top,
        "previous": previous,
        "chain": merkle.chained(previous, hour, top),
        "sealed_at": to_text(now()),
        "mac_key": macs.id,
    }
    return document | {"mac": macs.sign(document)}


def object_key(practice: str, hour: str) -> str:
    """Where an hour's seal is."""
    return f"roots/{practice}/{hour}.json"


def _hours(tenant: Tenant, low: datetime, end: datetime) -> Iterator[tuple[str, list[str]]]:
    for hour, found in groupby(_rows(tenant, low, end), key=lambda raw: raw["l1sk"]["S"][:13]):
        yield hour, [raw["mac"]["S"] for raw in found]


def _rows(tenant: Tenant, low: datetime, end: datetime) -> Iterator[Mapping[str, Any]]:
    first, last = to_text(low), to_text(end)
    for month in utc_months(low, end):
        partition = tenant.audit_month(month)
        # A place is "<recorded_at>#…", so a row of the very end is not of this range.
        query = table.Query(partition, index="l1", low=first, high=last, table=audit_table())
        yield from query.all()


def _bucket() -> str:
    name: str = settings.load(SealSettings).audit_bucket
    return name


def _put(document: dict[str, Any]) -> dict[str, Any]:
    """Write a seal, or give the one that is there: from a run that died before it said so."""
    key = object_key(document["practice"], document["hour"])
    try:
        aws.client("s3", S3_TIMEOUT_S).put_object(
            Bucket=_bucket(),
            Key=key,
            Body=json.dumps(document, indent=1).encode(),
            ContentType="application/json",
            IfNoneMatch="*",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise
        answer = aws.client("s3", S3_TIMEOUT_S).get_object(Bucket=_bucket(), Key=key)
        found: dict[str, Any] = json.loads(answer["Body"].read())
        return found
    return document


def _place(tenant: Tenant) -> Place | None:
    raw = table.get_raw(_watermark(tenant))
    return Place(from_text(raw["hour"]["S"]), raw["chain"]["S"]) if raw else None


def _advance(tenant: Tenant, old: Place, new: Place) -> None:
    """Save the place. It only rises: of two runs at once, the one that is behind leaves it."""
    action = table.update(
        _watermark(tenant),
        set_={"hour": to_text(new.hour), "chain": new.chain},
        condition="attribute_not_exists(pk) OR #hour <= :old",
        names={"#hour": "hour"},
        values={":old": to_text(old.hour)},
    )
    try:
        table.transact([action])
    except table.ConditionFailed:
        count("AuditSealsRaced")


def _watermark(tenant: Tenant) -> keys.Key:
    return keys.watermark(f"audit-seal:{tenant.practice}")
