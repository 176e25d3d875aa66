"""What the Google simulator remembers: accounts, consents, calendars, channels; and its clock."""

import itertools
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

from local.simulators.control import Fault
from local.simulators.delivery import Message, Outbox, Settings
from local.simulators.google.errors import not_found

CLIENT_ID = "local.apps.googleusercontent.com"
CLIENT_SECRET = "GOCSPX-local"
DEFAULT_ACCOUNT = "expert@gmail.example"
DEFAULT_ZONE = "America/Mexico_City"
HOLIDAYS = "es.mexican#holiday@group.v.calendar.google.com"
MAX_OBJECTS = 10_000
# "If your service returns these, the API retries with exponential backoff"; others are final.
RETRIED = frozenset({500, 502, 503, 504})
ROLES = ("freeBusyReader", "reader", "writer", "owner")

Object = dict[str, Any]


class Clock:
    """This machine's time, and what the control plane has added to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Client:
    """The product's OAuth client; redirect_uris None: any https one, and http to this machine."""

    client_id: str = CLIENT_ID
    client_secret: str = CLIENT_SECRET
    redirect_uris: list[str] | None = None


@dataclass
class Account:
    """A person; `roles` by calendar id is that person's calendar list."""

    email: str
    zone: str = DEFAULT_ZONE
    roles: dict[str, str] = field(default_factory=dict)


@dataclass
class Event:
    """An event as the API shows it, and the calendar's revision at its last change."""

    body: Object
    revision: int = 0


@dataclass
class Calendar:
    id: str
    summary: str
    zone: str
    events: OrderedDict[str, Event] = field(default_factory=OrderedDict)
    revision: int = 0
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def resource_id(self) -> str:
        """Stable, as Google's is, for all channels of the calendar."""
        return f"r-{self.id.encode().hex()[:40]}"

    @property
    def tzinfo(self) -> ZoneInfo:
        return ZoneInfo(self.zone)


@dataclass
class Grant:
    """One consent. Revoking it ends every token that came of it, and its channels."""

    email: str
    client_id: str
    scopes: tuple[str, ...]
    revoked: bool = False


@dataclass
class Consent:
    """What the person does at the next consents, in place of agreeing to everything."""

    email: str | None = None
    deny: bool = False
    scopes: list[str] | None = None
    times: int = 1


@dataclass(frozen=True)
class Code:
    """An authorization code: good once, and for as long as `until`."""

    grant: Grant
    redirect_uri: str
    challenge: str | None
    method: str
    offline: bool
    until: datetime


@dataclass
class Channel:
    """A push channel of one calendar's events."""

    id: str
    calendar: str
    grant: Grant
    address: str
    token: str | None
    resource_id: str
    uri: str
    until: datetime
    stopped: bool = False
    numbers: Any = field(default_factory=lambda: itertools.count(1))


@dataclass(frozen=True)
class Page:
    """The rest of a listing, as it was when its first page was read."""

    asked: Object
    events: list[Object]
    revision: int


@dataclass(frozen=True)
class SyncToken:
    """How far somebody has read a calendar."""

    calendar: str
    single: bool
    revision: int


def address_message(event: Object, _: Settings) -> Message:
    """A push message: headers and no body.

    Source: https://developers.google.com/workspace/calendar/api/guides/push.
    """
    headers = {
        "Content-Type": "application/json; utf-8",
        "User-Agent": "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)",
        "X-Goog-Channel-ID": event["channel"],
        "X-Goog-Channel-Expiration": event["expiration"],
        "X-Goog-Message-Number": str(event["number"]),
        "X-Goog-Resource-ID": event["resource_id"],
        "X-Goog-Resource-State": event["state"],
        "X-Goog-Resource-URI": event["uri"],
    }
    if event["token"] is not None:
        headers["X-Goog-Channel-Token"] = event["token"]
    return Message(event["address"], headers, b"")


class State:
    """Everything behind one lock, which each API call holds."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.outbox = Outbox(address_message, addressed=True, retried=RETRIED)
        self.faults: list[Fault] = []
        self.clock = Clock()
        self.reset()

    def reset(self) -> None:
        self.clock.ahead = timedelta()
        self.client = Client()
        self.accounts: dict[str, Account] = {}
        self.calendars: dict[str, Calendar] = {}
        self.consents: list[Consent] = []
        self.codes: OrderedDict[str, Code] = OrderedDict()
        self.grants: list[Grant] = []
        self.refresh_tokens: OrderedDict[str, Grant] = OrderedDict()
        self.access_tokens: OrderedDict[str, tuple[Grant, datetime]] = OrderedDict()
        self.channels: OrderedDict[str, Channel] = OrderedDict()
        self.pages: OrderedDict[str, Page] = OrderedDict()
        self.sync_tokens: OrderedDict[str, SyncToken] = OrderedDict()
        self.mails: list[Object] = []
        self.meet = "success"

    def keep[Value](self, kept: OrderedDict[str, Value], key: str, value: Value) -> str:
        """Adds to one of the maps above, which forget their oldest."""
        kept[key] = value
        while len(kept) > MAX_OBJECTS:
            kept.popitem(last=False)
        return key

    def account(self, email: str, zone: str = DEFAULT_ZONE) -> Account:
        """The account of that address; a new one has its own calendar and may read a public one."""
        if email not in self.accounts:
            account = self.accounts[email] = Account(email, zone)
            self.add_calendar(account, Calendar(email, email, zone), "owner")
            if HOLIDAYS not in self.calendars:
                self.calendars[HOLIDAYS] = Calendar(HOLIDAYS, "Holidays in Mexico", DEFAULT_ZONE)
            account.roles[HOLIDAYS] = "reader"
        return self.accounts[email]

    def add_calendar(self, account: Account, calendar: Calendar, role: str) -> None:
        self.calendars.setdefault(calendar.id, calendar)
        account.roles[calendar.id] = role

    def calendar(self, account: Account, calendar_id: str) -> Calendar:
        """A calendar of that person's list; `primary` is the person's own."""
        known = account.email if calendar_id == "primary" else calendar_id
        if known not in account.roles:
            raise not_found()
        return self.calendars[known]

    def changed(self, calendar: Calendar, event: Event) -> Object:
        """Gives the event its new revision, etag and time, and tells the calendar's channels."""
        now = self.clock.now()
        calendar.revision += 1
        calendar.updated = now
        event.revision = calendar.revision
        event.body["updated"] = stamp(now)
        event.body["etag"] = f'"{int(now.timestamp() * 1000)}{calendar.revision:06d}"'
        for channel in list(self.channels.values()):
            if channel.calendar == calendar.id:
                self.notify(channel, "exists")
        return event.body

    def notify(self, channel: Channel, state: str) -> None:
        if channel.stopped or channel.grant.revoked or channel.until <= self.clock.now():
            return
        # Google's numbers rise, but not one by one.
        number = next(channel.numbers) * 10 - 9
        event = {
            "channel": channel.id,
            "address": channel.address,
            "token": channel.token,
            "number": number,
            "state": state,
            "resource_id": channel.resource_id,
            "uri": channel.uri,
            "expiration": format_datetime(channel.until, usegmt=True),
        }
        self.outbox.emit(f"{channel.id}.{number}", event)


def stamp(moment: datetime) -> str:
    """As Google writes created and updated."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def token(prefix: str) -> str:
    return f"{prefix}{secrets.token_urlsafe(24)}"
