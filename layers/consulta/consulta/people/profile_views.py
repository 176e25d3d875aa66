"""Views of experts' profiles: one for each visitor, expert and local day of the practice.

Counted are patients who are signed in, and the visitors whom a practice's own website names with
its API key. So that they count once, a row with their digest lives for two days, and the secret
that it was made with lives as long, in a table without backups. While both are there, whoever may
read both tables can try who it was; once the secret is gone nobody can, also from the counters'
backups or a log that names a row's key. The item that the figures are made of holds numbers.
"""

import hashlib
import hmac
import secrets
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from consulta.core import settings, table
from consulta.core.errors import Busy, Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import local_day, now, to_epoch, to_text
from consulta.people.records import (
    EXPERT,
    PRACTICE,
    PROFILE_VIEWS,
    ExpertItem,
    PracticeItem,
    ProfileViewsItem,
)
from consulta.people.schema.experts import ProfileView

# The day is over by then, in whatever zone.
KEPT = timedelta(days=2)
# Whose profile a patient looks at is not the audit's to know.
VISITOR = "visitor"
SECRET_BYTES = 32
MAX_SECRETS = 256
_SEEN = "seen"


class ViewSettings(settings.Settings):
    """Where it is remembered who has been counted, and by which secret."""

    counters_table: str
    connections_table: str


def record(by: Principal, expert_id: str, body: ProfileView) -> None:
    """Count the caller's visitor, unless they were counted that day; members are not counted.

    Raises NotFound, also for an expert who is not published, and Invalid where an API key names no
    visitor.
    """
    tenant = by.tenant
    expert = table.get(ExpertItem, tenant.item(EXPERT, expert_id))
    if expert is None or not expert.published:
        raise NotFound
    visitor = _visitor(by, body)
    if not visitor:
        return
    practice = table.get(PracticeItem, tenant.item(PRACTICE, tenant.practice))
    if practice is None:
        raise NotFound
    _count(tenant, expert_id, practice.zone, visitor, Actor(VISITOR, by.request_id))


def _visitor(by: Principal, body: ProfileView) -> str:
    """Who is to be counted; empty for nobody."""
    if by.role is Role.PATIENT:
        return f"person:{by.person}"
    if not by.key:
        return ""
    if body.visitor is None:
        raise Invalid.of("body.visitor", "Say which visitor, by an id of your own", "missing")
    return f"visitor:{body.visitor}"


def _count(tenant: Tenant, expert_id: str, zone: str, visitor: str, by: Actor) -> None:
    instant = now()
    day = local_day(instant, zone)
    # Of each expert another: who has seen several is not to be told either.
    said = f"{expert_id}\0{visitor}".encode()
    digest = hmac.new(_secret(tenant, day), said, hashlib.sha256).hexdigest()
    seen = table.update(
        tenant.viewed(expert_id, day, digest),
        set_={"entity": "VIEWED", "expires_at": to_epoch(instant + KEPT)},
        condition="attribute_not_exists(pk)",
        table=settings.load(ViewSettings).counters_table,
        label=_SEEN,
    )
    first = ProfileViewsItem.create(
        tenant.item(PROFILE_VIEWS, f"{expert_id}.{day.isoformat()}"),
        PROFILE_VIEWS,
        by,
        expert_id=expert_id,
        local_date=day.isoformat(),
        zone=zone,
        views=1,
        walkpk=tenant.listing(PROFILE_VIEWS),
        walksk=f"{expert_id}.{day.isoformat()}",
    )
    # Nothing is read first: nearly always the day's item is there, and many write it at once. Once
    # it is there it stays, so that the third of these cannot fail.
    for views in (_one_more(first, instant), _begun(first), _one_more(first, instant)):
        try:
            table.transact([seen, views])
        except table.ConditionFailed as failed:
            if _SEEN in failed.labels:
                return
        else:
            return


@lru_cache(maxsize=MAX_SECRETS)
def _secret(tenant: Tenant, day: date) -> bytes:
    """The day's secret, made by the first who asks; an environment reads it once."""
    key, name = tenant.view_secret(day), settings.load(ViewSettings).connections_table
    # Nearly always it is there.
    found = table.get_raw(key, table=name)
    if found is None:
        made = {"secret": secrets.token_hex(SECRET_BYTES), "expires_at": to_epoch(now() + KEPT)}
        table.written([table.put_values(key, made, table=name)])
        # Somebody else may have been faster: what is there now counts.
        found = table.get_raw(key, table=name)
    if found is None:
        raise Busy
    return bytes.fromhex(found["secret"]["S"])


def reset() -> None:
    """Forget the secrets: for tests."""
    _secret.cache_clear()


def _begun(item: ProfileViewsItem) -> table.Action:
    """The day's first view. An update, so that the function needs no other permission."""
    values: dict[str, Any] = table.from_raw(item.serialize())
    return table.update(
        item.key,
        set_={name: value for name, value in values.items() if name not in ("pk", "sk")},
        condition="attribute_not_exists(pk)",
        label=PROFILE_VIEWS,
    )


def _one_more(item: ProfileViewsItem, instant: datetime) -> table.Action:
    return table.update(
        item.key,
        set_={
            "updated_at": to_text(instant),
            "updated_by": item.updated_by,
            "request_id": item.request_id,
        },
        add={"views": 1, "version": 1},
        condition="attribute_exists(pk)",
        label=PROFILE_VIEWS,
    )
