"""Busy times of an expert's calendar elsewhere, read into the rows beside our own calendar rows.

What changed since the last time is read by Google's sync token; everything, where there is none or
it is too old, and once a week, since the window moves on. One sync of an expert runs at a time: its
lease is in the row, and every write depends on it, so that an older reading never comes last.

For each event a row says when it is, so that it can be taken out of its days when it moves. The
row and its days are written together; where they are too many for one transaction, the row says
first where the event was (``was``), until all its days are right.
"""

import secrets
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from typing import Any

from consulta.calendars import queue, tokens
from consulta.calendars.busy_times import FULL_EVERY, Span, Window, entry_of, owner_mark, span_of
from consulta.calendars.google import GoogleError, Refused, Revoked, SyncTokenGone, Unavailable
from consulta.calendars.records import BUSY, ConnectionItem, Sync, busy_key, find, sync_key
from consulta.core import keys, settings, table
from consulta.core.keys import Tenant
from consulta.core.observe import count, logger
from consulta.core.time import from_epoch, now, to_epoch, to_text
from consulta.people.records import EXPERT, ExpertItem
from consulta.scheduling.records import AVAILABILITY, AvailabilityItem

# Longer than the function may run, so that a lease ends only with who had it.
LEASE = timedelta(seconds=150)
# Without being told of a change, busy times are read after as long.
POLL = timedelta(hours=6)
RENEW_BEFORE = timedelta(hours=24)
CHANNEL_LIFE = timedelta(days=7)
PUSH_PATH = "/webhooks/google-calendar"
# Parts of one transaction: the lease's check is one more.
ROOM = 80
HORIZON_DAYS = 60
LEASE_LABEL = "lease"
MICRO = 1_000_000


class PushSettings(settings.Settings):
    """The API's own address; empty where Google could not reach it."""

    api_url: str = ""


class Superseded(Exception):
    """Another sync has the lease, or the calendar was disconnected: nothing more is written."""


@dataclass(frozen=True, slots=True)
class Known:
    """When an event was, as its row has it; ``was`` is where it may still be."""

    span: Span
    was: Span | None = None

    def days(self) -> set[date]:
        """All the days whose rows may have it."""
        return {*self.span.days(), *(self.was.days() if self.was else ())}


@dataclass
class Reading:
    """What Google has said: spans by entry, None for what keeps nobody busy (any more)."""

    spans: dict[str, Span | None] = field(default_factory=dict)
    token: str = ""
    is_full: bool = False


def sync(tenant: Tenant, expert: str) -> None:
    """Read what is new of an expert's calendar, and see to the channel that tells of it.

    Does nothing where nothing is connected. Raises Later while another sync runs, and Unavailable
    where Google is away; what Google refuses is kept as the connection's error, and tried again by
    the schedule.
    """
    connection = find(tenant, expert)
    if connection is None or not connection.is_open:
        return
    run = Run.begin(connection)
    if run is None:
        return
    try:
        run.read()
    except Revoked:
        tokens.mark_revoked(connection)
    except Superseded:
        count("CalendarSyncsSuperseded")
    except Unavailable:
        run.give_up("unavailable")
        raise
    except GoogleError as error:
        count("CalendarSyncsRefused")
        run.give_up(type(error).__name__.lower())
    except Exception:
        run.give_up("failed")
        raise


@dataclass
class Run:
    """One sync under its lease."""

    connection: ConnectionItem
    row: Sync
    lease: int

    @classmethod
    def begin(cls, connection: ConnectionItem) -> "Run | None":
        """Take the lease; None where there is nothing to do any more. Raises Later where another
        has it.
        """
        instant = now()
        # A lease is known by its end and a random part below the second.
        lease = to_epoch(instant + LEASE) * MICRO + secrets.randbelow(MICRO)
        key = sync_key(connection.tenant, connection.expert)
        action = table.update(
            key,
            set_={"running_until": lease},
            condition="consent = :consent AND "
            "(attribute_not_exists(running_until) OR running_until <= :now)",
            values={":consent": connection.consent, ":now": to_epoch(instant) * MICRO},
        )
        try:
            table.transact([action])
        except table.ConditionFailed:
            raise queue.Later from None
        # Settings may have changed before the lease was ours; from here on they cause another sync.
        found = find(connection.tenant, connection.expert)
        run = cls(found or connection, Sync.read(key), lease)
        if found is None or not found.is_open:
            run.give_up("")
            return None
        return run

    @property
    def tenant(self) -> Tenant:
        """The practice's keys."""
        return self.connection.tenant

    @property
    def expert(self) -> str:
        """Whose calendar it is."""
        return self.connection.expert

    def read(self) -> None:
        """The whole of it; the lease is given back with the last write."""
        calendar = self.connection.calendar_id
        is_same = self.row.calendar_id == calendar
        is_due = self.row.full_at + FULL_EVERY.total_seconds() <= to_epoch(now())
        values: dict[str, Any] = {"calendar_id": calendar, "sync_token": ""}
        if self.connection.import_busy:
            token = self.row.sync_token if is_same and not is_due else ""
            reading = self._changes(token)
            self._apply(reading)
            values["sync_token"] = reading.token
            if reading.is_full:
                values["full_at"] = to_epoch(now())
        channel = self._channel(is_same=is_same)
        if not is_same:
            # Before the row says that it was: a sync that fails here asks for it again.
            queue.send(queue.work(queue.OUTWARD, self.tenant.practice, self.expert))
        self._finish({**values, **channel})

    # what Google says

    def _changes(self, token: str) -> Reading:
        window = Window.of(now(), self._horizon())
        if token:
            try:
                return self._pages({"syncToken": token}, window)
            except (SyncTokenGone, Refused):
                count("CalendarSyncTokensGone")
        bounds = {
            "timeMin": to_text(from_epoch(window.low)),
            "timeMax": to_text(from_epoch(window.high)),
        }
        reading = self._pages(bounds, window)
        reading.is_full = True
        return reading

    def _pages(self, query: Mapping[str, str], window: Window) -> Reading:
        reading, page = Reading(), ""
        zone = self._expert_zone()
        owner = owner_mark(self.tenant.practice, self.expert)
        while True:
            asked = {**query, **({"pageToken": page} if page else {})}
            changes = tokens.asking(
                self.connection,
                lambda calendars, asked=asked: calendars.changes(  # type: ignore[misc]
                    self.connection.calendar_id, asked
                ),
            )
            zone = changes.zone or zone
            for event in changes.events:
                span = span_of(event, zone, window, owner)
                reading.spans[entry_of(str(event["id"]))] = span
            page, reading.token = changes.page, changes.token
            if not page:
                return reading

    def _horizon(self) -> int:
        hours = table.get(AvailabilityItem, self.tenant.sub(EXPERT, self.expert, AVAILABILITY))
        return int(hours.horizon_days) if hours else HORIZON_DAYS

    def _expert_zone(self) -> str:
        found = table.get(ExpertItem, self.tenant.item(EXPERT, self.expert))
        return found.zone if found else "UTC"

    # what is written

    def _apply(self, reading: Reading) -> None:
        """Make the rows say what was read; what a full reading does not name is gone."""
        if not reading.spans and not reading.is_full:
            return
        wanted = dict(reading.spans)
        if reading.is_full:
            # What is over is not named either: its rows go, too.
            known = known_times(self.tenant, self.expert)
            wanted |= {entry: None for entry in known if entry not in wanted}
        else:
            known = times_of(self.tenant, self.expert, wanted)
        guard = table.check(
            self.row.key,
            "running_until = :lease",
            values={":lease": self.lease},
            label=LEASE_LABEL,
        )
        Changes(self.tenant, self.expert, known, guard).make(wanted)

    def _channel(self, *, is_same: bool) -> dict[str, Any]:
        """Attributes of the channel that tells of changes: the one there is, or a new one."""
        row, base = self.row, settings.load(PushSettings).api_url
        ends = to_epoch(now() + RENEW_BEFORE)
        is_wanted = bool(base) and self.connection.import_busy
        if not is_wanted or (is_same and row.channel and row.channel_until > ends):
            return {}
        channel, token = str(uuid.uuid4()), secrets.token_urlsafe(32)
        until = to_epoch(now() + CHANNEL_LIFE)
        key = keys.calendar_channel(channel)
        values = {
            "entity": "CALENDAR_CHANNEL",
            "practice": self.tenant.practice,
            "expert": self.expert,
            "digest": sha256(token.encode()).hexdigest(),
            # Google may give it a shorter life, never a longer one; a day more for what is late.
            "expires_at": until + 86_400,
        }
        table.transact([table.put_values(key, values)])
        asked = {
            "id": channel,
            "type": "web_hook",
            "address": f"{base.rstrip('/')}{PUSH_PATH}",
            "token": token,
            "expiration": str(until * 1000),
        }
        try:
            given = tokens.asking(
                self.connection,
                lambda calendars: calendars.watch(self.connection.calendar_id, asked),
            )
        except Revoked:
            raise
        except GoogleError as error:
            # Some calendars tell nobody; busy times are read every six hours all the same.
            logger.warning("no channel", extra={"expert": self.expert, "status": error.status})
            count("CalendarChannelsRefused")
            return {}
        self._stop_old()
        return {
            "channel": channel,
            "resource": str(given.get("resourceId", "")),
            "channel_until": int(given.get("expiration") or until * 1000) // 1000,
        }

    def _stop_old(self) -> None:
        """Best effort: what it still tells finds no row, or does no harm."""
        row = self.row
        if not row.channel:
            return
        table.transact([table.delete(keys.calendar_channel(row.channel))])
        try:
            tokens.asking(self.connection, lambda c: c.stop(row.channel, row.resource))
        except GoogleError:
            count("CalendarChannelsLeft")

    # the lease

    def _finish(self, values: dict[str, Any]) -> None:
        told = values.get("channel_until", self.row.channel_until)
        instant = now()
        again = to_epoch(instant + POLL)
        if told:
            again = min(again, max(to_epoch(instant), told - int(RENEW_BEFORE.total_seconds())))
        self._release(
            {
                **values,
                "read_at": to_epoch(instant),
                "l1pk": keys.calendar_connections(),
                "l1sk": place(again, self.tenant, self.expert),
            },
            remove=["error"],
        )

    def give_up(self, error: str) -> None:
        """Give the lease back; what was written so far is right, and the rest comes again."""
        try:
            self._release({"error": error})
        except Superseded:
            return

    def _release(self, values: dict[str, Any], remove: Iterable[str] = ()) -> None:
        values = {name: value for name, value in values.items() if value != ""}
        gone = [name for name in ("sync_token",) if name not in values and "read_at" in values]
        action = table.update(
            self.row.key,
            set_=values,
            remove=["running_until", *gone, *remove],
            condition="running_until = :lease",
            values={":lease": self.lease},
        )
        try:
            table.transact([action])
        except table.ConditionFailed:
            raise Superseded from None


def place(at: int, tenant: Tenant, expert: str) -> str:
    """Where a connection is on the list of those that have to be looked at."""
    return f"{to_text(from_epoch(at))}#{tenant.practice}#{expert}"


# ---------------------------------------------------------------- the rows


def known_times(tenant: Tenant, expert: str) -> dict[str, Known]:
    """Every event that is in our rows, by its entry."""
    prefix = busy_key(tenant, expert, "x")
    query = table.Query(prefix.pk, begins=f"{BUSY}#", consistent=True)
    return dict(_known(raw) for raw in query.all())


def times_of(tenant: Tenant, expert: str, entries: Iterable[str]) -> dict[str, Known]:
    """Those of these events that are in our rows."""
    rows = table.batch_get_raw([busy_key(tenant, expert, entry) for entry in entries])
    return dict(_known(raw) for raw in rows.values())


def _known(raw: table.Raw) -> tuple[str, Known]:
    row = table.from_raw(raw)
    was = Span(int(row["was_start"]), int(row["was_end"])) if "was_start" in row else None
    entry = raw["sk"]["S"].partition("#")[2]
    return entry, Known(Span(int(row["start"]), int(row["end"])), was)


@dataclass
class Changes:
    """Events put into their days' rows and taken out of them, a transaction's worth at a time."""

    tenant: Tenant
    expert: str
    known: Mapping[str, Known]
    guard: table.Action | None
    rows: list[table.Action] = field(default_factory=list)
    sets: dict[date, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    drops: dict[date, set[str]] = field(default_factory=lambda: defaultdict(set))

    def make(self, wanted: Mapping[str, Span | None]) -> None:
        """Write what differs. Raises Superseded where the lease is gone."""
        for entry, span in wanted.items():
            known = self.known.get(entry)
            if known is None and span is None:
                continue
            if known and span == known.span and known.was is None:
                continue
            old = known.days() if known else set()
            new = set(span.days()) if span else set()
            if len(old | new) + 1 > ROOM:
                self.flush()
                self._long(entry, span, known)
                continue
            if 1 + len(self.rows) + len({*self.sets, *self.drops} | old | new) > ROOM:
                self.flush()
            self.rows.append(self._row(entry, span))
            self._days(entry, span, old - new, new)
        self.flush()

    def _days(
        self, entry: str, span: Span | None, out: Iterable[date], into: Iterable[date]
    ) -> None:
        for day in out:
            self.drops[day].add(entry)
        for day in into:
            self.sets[day][entry] = span.text() if span else ""

    def _long(self, entry: str, span: Span | None, known: Known | None) -> None:
        """More days than a transaction has room for: the row says where it may be until then."""
        here = span or (known.span if known else None)
        if here is None:
            return
        old = known.days() if known else set()
        hull = _hull(known) if known else here
        self.rows.append(self._row(entry, here, hull))
        self.flush()
        new = set(span.days()) if span else set()
        for chunk in _chunks(sorted(old | new)):
            into = [day for day in chunk if day in new]
            self._days(entry, span, [day for day in chunk if day not in new], into)
            self.flush()
        self.rows.append(self._row(entry, span))
        self.flush()

    def _row(self, entry: str, span: Span | None, was: Span | None = None) -> table.Action:
        key = busy_key(self.tenant, self.expert, entry)
        if span is None:
            return table.delete(key)
        values = {"start": span.start, "end": span.end}
        if was:
            return table.update(key, set_={**values, "was_start": was.start, "was_end": was.end})
        return table.update(key, set_=values, remove=["was_start", "was_end"])

    def flush(self) -> None:
        """One transaction, if there is anything to write."""
        days = sorted({*self.sets, *self.drops})
        if not days and not self.rows:
            return
        today = now().date() - timedelta(days=2)
        actions = [*self.rows, *(self._day(day, today) for day in days)]
        if self.guard:
            actions.append(self.guard)
        try:
            table.transact(actions)
        except table.ConditionFailed:
            raise Superseded from None
        self.rows, self.sets, self.drops = [], defaultdict(dict), defaultdict(set)

    def _day(self, day: date, today: date) -> table.Action:
        key = self.tenant.external(self.expert, day)
        if day < today and not self.sets.get(day):
            # Over: nobody reads it again, and all its other entries are over as well.
            return table.delete(key)
        return table.update(
            key,
            set_=self.sets.get(day, {}),
            add={"version": 1},
            remove=sorted(self.drops.get(day, set()) - self.sets.get(day, {}).keys()),
        )


def _hull(known: Known) -> Span:
    days = [known.span, *([known.was] if known.was else [])]
    return Span(min(one.start for one in days), max(one.end for one in days))


def _chunks(days: list[date]) -> Iterator[list[date]]:
    for start in range(0, len(days), ROOM):
        yield days[start : start + ROOM]


def forget(tenant: Tenant, expert: str) -> None:
    """Take every busy time out, where the calendar is disconnected or not to be read.

    Raises Later while a sync runs.
    """
    connection = find(tenant, expert)
    if connection is not None and connection.is_open and connection.import_busy:
        return
    running = Sync.read(sync_key(tenant, expert)).running_until
    if running > to_epoch(now()) * MICRO:
        raise queue.Later
    known = known_times(tenant, expert)
    Changes(tenant, expert, known, None).make(dict.fromkeys(known))
