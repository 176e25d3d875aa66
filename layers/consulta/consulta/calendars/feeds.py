"""ICS feeds: an expert's or a patient's appointments under an address that nobody can guess.

The address is all that is needed to read it, so what it shows is little: no patient's name ever,
and no service's unless its owner asked for that. Only the token's sha256 is stored.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from consulta.calendars import ics
from consulta.calendars.connections import managed
from consulta.calendars.records import FEED, FeedItem
from consulta.calendars.schema import FeedCreated, FeedIn, FeedList, FeedOut
from consulta.core import keys, table
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Principal
from consulta.core.ids import new_id
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.people.records import EXPERT, MEMBER, PATIENT
from consulta.scheduling.records import APPOINTMENT, BOOKED, SERVICE, AppointmentItem

MAX_FEEDS = 5
BACK, AHEAD = timedelta(days=30), timedelta(days=366)
MAX_EVENTS = 1000
MAX_AGE_S = 900
PATH = "/feeds"
# 32 random bytes as the address has them.
_FILE = re.compile(r"([A-Za-z0-9_-]{43})\.ics")
_COUNT = "CALENDAR_FEEDS"
_LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose appointments a feed has: an expert's or a patient's."""

    tenant: Tenant
    kind: str
    id: str

    @property
    def key(self) -> Key:
        """The expert or patient."""
        return self.tenant.item(self.kind, self.id)

    def feed(self, feed_id: str) -> Key:
        """One of their feeds."""
        return self.tenant.sub(self.kind, self.id, FEED, feed_id)

    @property
    def counter(self) -> Key:
        """How many feeds there are."""
        return self.tenant.sub(self.kind, self.id, _COUNT)


@dataclass(frozen=True, slots=True)
class Document:
    """A feed as it is answered."""

    body: str
    etag: str


def digest_of(token: str) -> str:
    """What of an address is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def owner_of(by: Principal, expert_id: str | None) -> Owner:
    """A patient's own, an expert's own, or, as owner or admin, anybody's of the experts."""
    if by.role is Role.PATIENT:
        if expert_id or not by.patient:
            raise Forbidden("A patient has feeds of their own appointments only")
        return Owner(by.tenant, PATIENT, by.patient)
    return Owner(by.tenant, EXPERT, managed(by, expert_id).item_id)


# ---------------------------------------------------------------- the owner's part


def create(by: Principal, body: FeedIn, key: str | None, base: str) -> FeedCreated:
    """A new feed; its address is shown this once. Raises Conflict for the sixth, Forbidden."""
    owner = owner_of(by, body.expert_id)
    once = Idempotent.of(by.tenant, by.person, key, body)
    if once.result:
        return _again(owner, once.result)
    token, feed_id = secrets.token_urlsafe(32), new_id("feed")
    item = FeedItem.create(
        owner.feed(feed_id),
        FEED,
        by.actor,
        feed_id=feed_id,
        token_digest=digest_of(token),
        hint=token[-4:],
        labels=body.labels,
    )
    lookup = {
        "entity": "FEED",
        "practice": owner.tenant.practice,
        "kind": owner.kind,
        "owner": owner.id,
        "labels": body.labels,
    }
    one_more = table.update(
        owner.counter,
        add={"feeds": 1},
        condition="attribute_not_exists(feeds) OR feeds < :max",
        values={":max": MAX_FEEDS},
        label=_LIMIT,
    )
    actions = [
        table.put_new(item),
        table.put_values(keys.feed(item.token_digest), lookup),
        one_more,
        *once.actions(feed_id),
    ]
    try:
        table.transact(actions)
    except table.ConditionFailed as failed:
        if LABEL in failed.labels:
            return _again(owner, once.again().result)
        raise Conflict(f"There are {MAX_FEEDS} feeds already: delete one first") from None
    shown = _out(owner, item, None).model_dump()
    return FeedCreated(**shown, url=f"{base}{PATH}/{token}.ics")


def listing(by: Principal, expert_id: str | None) -> FeedList:
    """Every feed of one owner, the oldest first; when each was last read, to the day."""
    owner = owner_of(by, expert_id)
    query = table.Query(owner.key.pk, begins=f"{FEED}#", consistent=True)
    items = [FeedItem.read(raw) for raw in query.page(MAX_FEEDS).items]
    rows = table.batch_get_raw([keys.feed(item.token_digest) for item in items]) if items else {}
    used = {
        key.pk: date.fromisoformat(raw["used_on"]["S"])
        for key, raw in rows.items()
        if "used_on" in raw
    }
    return FeedList(
        items=[_out(owner, item, used.get(keys.feed(item.token_digest).pk)) for item in items]
    )


def remove(by: Principal, feed_id: str, expert_id: str | None) -> None:
    """End a feed: its address is good for nothing from now on. Raises NotFound."""
    owner = owner_of(by, expert_id)
    item = table.get(FeedItem, owner.feed(feed_id))
    if item is None:
        raise NotFound
    actions = [
        table.delete(item.key, condition="attribute_exists(pk)"),
        table.delete(keys.feed(item.token_digest)),
        table.update(owner.counter, add={"feeds": -1}),
    ]
    try:
        table.transact(actions)
    except table.ConditionFailed:
        raise NotFound from None


def _again(owner: Owner, feed_id: str) -> FeedCreated:
    item = table.get(FeedItem, owner.feed(feed_id))
    if item is None:
        raise Invalid.of("header.Idempotency-Key", "What this made is deleted by now", "reused")
    return FeedCreated(**_out(owner, item, None).model_dump(), url=None)


def _out(owner: Owner, item: FeedItem, used_on: date | None) -> FeedOut:
    labels: Literal["neutral", "service"] = "service" if item.labels == "service" else "neutral"
    return FeedOut(
        id=item.feed_id,
        expert_id=owner.id if owner.kind == EXPERT else None,
        patient_id=owner.id if owner.kind == PATIENT else None,
        labels=labels,
        hint=item.hint,
        created_at=item.created_at,
        last_used_on=used_on,
    )


# ---------------------------------------------------------------- the reader's part


def document(file: str) -> Document:
    """The feed of an address's last part, ``<token>.ics``.

    Raises NotFound for whatever is no address of ours, revoked ones, and those of people who are no
    longer in the practice: all look the same.
    """
    matched = _FILE.fullmatch(file)
    if not matched:
        raise NotFound
    key = keys.feed(digest_of(matched[1]))
    raw = table.get_raw(key)
    if raw is None:
        raise NotFound
    row = table.from_raw(raw)
    owner = Owner(Tenant(row["practice"]), row["kind"], row["owner"])
    if not _is_there(owner):
        raise NotFound
    items = _appointments(owner)
    names = _names(owner.tenant, items) if row["labels"] == "service" else {}
    entries = [(item, names.get(item.service_id, ics.NEUTRAL), _place(item)) for item in items]
    text = ics.feed(entries).decode()
    _note_use(key, str(row.get("used_on", "")))
    return Document(text, f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"')


def _is_there(owner: Owner) -> bool:
    """A patient who was deleted, and a member who was deactivated, have no feeds any more."""
    raw = table.get_raw(owner.key, consistent=False)
    if raw is None or _is_set(raw, "deleted_at"):
        return False
    if owner.kind == PATIENT:
        return True
    member = owner.tenant.item(MEMBER, raw["member_id"]["S"])
    found = table.get_raw(member, consistent=False)
    # An expert whose member is not there at all was never somebody who could leave.
    return found is None or not _is_set(found, "deactivated_at")


def _is_set(raw: table.Raw, name: str) -> bool:
    return "S" in raw.get(name, {})


def _appointments(owner: Owner) -> list[AppointmentItem]:
    """By one query of the owner's own list: what is on, or waits for approval, or has happened."""
    index, dimension = ("l3", "PATIENT") if owner.kind == PATIENT else ("l2", "EXPERT")
    instant = now()
    query = table.Query(
        owner.tenant.listing_by(APPOINTMENT, dimension, owner.id),
        index=index,
        low=to_text(instant - BACK),
        high=to_text(instant + AHEAD),
        where=f"#status IN ({', '.join(f':{status}' for status in sorted(BOOKED))})",
        names={"#status": "status"},
        values={f":{status}": status for status in BOOKED},
    )
    found: list[table.Raw] = []
    start: table.Raw | None = None
    # DynamoDB ends a page at a megabyte: a second and a third may be needed, never many.
    for _ in range(4):
        page = query.page(MAX_EVENTS, start)
        found += page.items
        start = page.last_key
        if start is None or len(found) >= MAX_EVENTS:
            break
    return [AppointmentItem.read(raw) for raw in found[:MAX_EVENTS]]


def _names(tenant: Tenant, items: Sequence[AppointmentItem]) -> dict[str, str]:
    services = sorted({item.service_id for item in items})
    found = table.batch_get_raw([tenant.item(SERVICE, one) for one in services], consistent=False)
    return {key.pk.rpartition("#")[2]: raw["name"]["S"] for key, raw in found.items()}


def _place(item: AppointmentItem) -> str:
    where: dict[str, Any] = item.location or {}
    return str(item.meeting_url or where.get("address") or "")


def _note_use(key: Key, noted: str) -> None:
    """The day of the last use, written once a day; a feed is read for all that."""
    today = now().date().isoformat()
    if noted == today:
        return
    action = table.update(key, set_={"used_on": today}, condition="attribute_exists(pk)")
    try:
        table.transact([action])
    except table.ConditionFailed:
        raise NotFound from None
