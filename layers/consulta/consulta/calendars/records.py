"""What is stored of a calendar elsewhere, and of feeds.

The consent is an item, so the audit has each of its changes. What the machine remembers while it
works (tokens' caches, how far it has read, which channel tells it) are rows without an entity: they
change by the minute, and nobody asks who did that.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    ListAttribute,
    UnicodeAttribute,
)

from consulta.core import table
from consulta.core.item import InstantAttribute, Item
from consulta.core.keys import Key, Tenant
from consulta.core.time import from_epoch, to_text
from consulta.people.records import EXPERT
from consulta.scheduling.records import APPOINTMENT, SERVICE

CONNECTION, FEED = "CALENDAR_CONNECTION", "CALENDAR_FEED"
SYNC, EVENT, BUSY = "CALENDAR_SYNC", "CALENDAR_EVENT", "BUSY"
# Google's own name for the account's first calendar: its id would be the person's address.
PRIMARY = "primary"


class State(StrEnum):
    """Of a consent. ``revoked`` is withdrawn at Google, ``disconnected`` is withdrawn here."""

    CONNECTED = "connected"
    REVOKED = "revoked"
    DISCONNECTED = "disconnected"


class Label(StrEnum):
    """What events are called: neutral, or with the patient's initials."""

    NEUTRAL = "neutral"
    INITIALS = "initials"


class ConnectionItem(Item):
    """An expert's consent to their Google calendar: a sub-item of the expert.

    ``ciphertext`` is the refresh token, encrypted for this practice and expert; ``consent`` is an
    id, new with each consent: what was made under another may be in another account's calendar.
    """

    state = UnicodeAttribute()
    consent = UnicodeAttribute()
    person_id = UnicodeAttribute()
    calendar_id = UnicodeAttribute(default=PRIMARY)
    scopes: ListAttribute[Any] = ListAttribute(default=list)
    import_busy = BooleanAttribute(default=True)
    label = UnicodeAttribute(default=Label.NEUTRAL)
    ciphertext = BinaryAttribute(legacy_encoding=False, null=True)
    connected_at = InstantAttribute()

    @property
    def expert(self) -> str:
        """Whose calendar it is."""
        return self.item_id

    @property
    def is_open(self) -> bool:
        """Whether Google can be asked."""
        return self.state == State.CONNECTED and self.ciphertext is not None


class FeedItem(Item):
    """A calendar that others subscribe to: a sub-item of the expert or patient whose it is.

    Only the sha256 of its address's token is kept; ``hint`` are the token's last characters.
    """

    feed_id = UnicodeAttribute()
    token_digest = UnicodeAttribute()
    hint = UnicodeAttribute()
    labels = UnicodeAttribute()


@dataclass(frozen=True, slots=True)
class Sync:
    """What the worker knows of one connection; epochs in seconds, 0 where there is none.

    ``calendar_id`` and ``label`` are what was last written by, ``zone`` what was last read in.
    """

    key: Key
    consent: str = ""
    access: bytes = b""
    access_until: int = 0
    calendar_id: str = ""
    label: str = ""
    zone: str = ""
    sync_token: str = ""
    full_at: int = 0
    began_at: int = 0
    read_at: int = 0
    running_until: int = 0
    channel: str = ""
    resource: str = ""
    channel_until: int = 0
    error: str = ""

    @classmethod
    def read(cls, key: Key) -> Self:
        """The row as it is; an empty one where there is none."""
        raw = table.get_raw(key)
        row = table.from_raw(raw) if raw else {}
        texts = (
            *("consent", "calendar_id", "label", "zone", "sync_token"),
            *("channel", "resource", "error"),
        )
        numbers = (
            *("access_until", "full_at", "began_at", "read_at"),
            *("running_until", "channel_until"),
        )
        values: dict[str, Any] = {name: str(row[name]) for name in texts if name in row}
        values |= {name: int(row[name]) for name in numbers if name in row}
        return cls(key, access=bytes(row.get("access", b"")), **values)


# All that a row has for its sync.
KNOWN = tuple(name for name in Sync.__slots__ if name != "key")


def place(at: int, tenant: Tenant, expert: str) -> str:
    """Where a connection is on the list of those that have to be looked at, by when."""
    return f"{to_text(from_epoch(at))}#{tenant.practice}#{expert}"


def connection_key(tenant: Tenant, expert: str) -> Key:
    """Where an expert's consent is."""
    return tenant.sub(EXPERT, expert, CONNECTION)


def sync_key(tenant: Tenant, expert: str) -> Key:
    """Where the worker keeps how far it is with an expert's calendar."""
    return tenant.sub(EXPERT, expert, SYNC)


def busy_key(tenant: Tenant, expert: str, entry: str) -> Key:
    """When an event elsewhere is: in which days' rows it has to be looked for."""
    return tenant.sub(EXPERT, expert, BUSY, entry)


def event_key(tenant: Tenant, appointment: str) -> Key:
    """What Google was last told of an appointment."""
    return tenant.sub(APPOINTMENT, appointment, EVENT)


def group_key(tenant: Tenant, service: str, expert: str, start: str) -> Key:
    """What Google was last told of a group: all seats of one time are one event."""
    return tenant.sub(SERVICE, service, EVENT, f"{expert}@{start}")


def find(tenant: Tenant, expert: str) -> ConnectionItem | None:
    """The expert's consent, in whatever state."""
    return table.get(ConnectionItem, connection_key(tenant, expert))
