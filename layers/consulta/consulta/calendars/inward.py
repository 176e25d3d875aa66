"""Busy times of an expert's calendar elsewhere, read into the rows beside our own calendar rows.

What changed since the last time is read by Google's sync token; everything, where there is none or
it is too old, and once a week, since the window moves on. One sync of an expert runs at a time: its
lease is in the row, and every write depends on it, so that an older reading never comes last. What
is written, and how, is in busy_rows.
"""

import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any

from consulta.calendars import queue, tokens
from consulta.calendars.busy_rows import Changes, Superseded, known_times, times_of
from consulta.calendars.busy_times import FULL_EVERY, Span, Window, entry_of, owner_mark, span_of
from consulta.calendars.google import GoogleError, Refused, Revoked, SyncTokenGone, Unavailable
from consulta.calendars.records import (
    ConnectionItem,
    State,
    Sync,
    find,
    place,
    sync_key,
)
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
HORIZON_DAYS = 60
# A sync has seen what was told this much before it began, whatever our clocks say.
SKEW = timedelta(seconds=2)
GUARD = "guard"
MICRO = 1_000_000


class PushSettings(settings.Settings):
    """The API's own address; empty where Google could not reach it."""

    api_url: str = ""


@dataclass
class Reading:
    """What Google has said: spans by entry, None for what keeps nobody busy (any more)."""

    spans: dict[str, Span | None] = field(default_factory=dict)
    token: str = ""
    zone: str = ""
    is_full: bool = False


def sync(tenant: Tenant, expert: str, told_at: int = 0) -> None:
    """Read what is new of an expert's calendar, and see to the channel that tells of it.

    ``told_at`` (epoch seconds) is when Google told of a change: one that a sync has begun after is
    nothing new. Where nothing is connected any more, what was read is forgotten. Raises Later while
    another sync runs, and Unavailable where Google is away; what Google refuses is kept as the
    connection's error, and tried again by the schedule.
    """
    connection = find(tenant, expert)
    if connection is None or not connection.is_open:
        forget(tenant, expert)
        return
    if told_at and Sync.read(sync_key(tenant, expert)).began_at >= told_at + SKEW.total_seconds():
        count("CalendarPushesKnown")
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
        connection, row, began = self.connection, self.row, to_epoch(now())
        calendar = connection.calendar_id
        is_same = row.calendar_id == calendar
        is_due = row.full_at + FULL_EVERY.total_seconds() <= began
        values: dict[str, Any] = {
            "calendar_id": calendar,
            "label": connection.label,
            "sync_token": "",
            "began_at": began,
        }
        if connection.import_busy:
            reading = self._changes(row.sync_token if is_same and not is_due else "")
            self._apply(reading)
            values |= {"sync_token": reading.token, "zone": reading.zone}
            if reading.is_full:
                values["full_at"] = began
        else:
            self._apply(Reading(is_full=True))
        channel = self._channel(is_same=is_same)
        if not is_same or row.label != connection.label:
            # Before the row says that it was: a sync that fails here asks for it again.
            queue.send(queue.work(queue.OUTWARD, self.tenant.practice, self.expert))
        self._finish({**values, **channel})

    # what Google says

    def _changes(self, token: str) -> Reading:
        window = Window.of(now(), self._horizon())
        if token:
            try:
                reading = self._pages({"syncToken": token}, window)
            except (SyncTokenGone, Refused):
                count("CalendarSyncTokensGone")
            else:
                # On other clocks every all-day event is at another time, of which nobody tells.
                if reading.zone == self.row.zone:
                    return reading
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
            page, reading.token, reading.zone = changes.page, changes.token, zone
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
            label=GUARD,
        )
        Changes(self.tenant, self.expert, known, guard).make(wanted)

    def _channel(self, *, is_same: bool) -> dict[str, Any]:
        """Attributes of the channel that tells of changes: the one there is, a new one, or none."""
        row, base = self.row, settings.load(PushSettings).api_url
        ends = to_epoch(now() + RENEW_BEFORE)
        if not self.connection.import_busy:
            self._stop_old()
            return {"channel": "", "resource": "", "channel_until": ""}
        if not base or (is_same and row.channel and row.channel_until > ends):
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
        told = values.get("channel_until", self.row.channel_until) or 0
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
        """Write the row for the last time; what is empty goes."""
        empty = [name for name, value in values.items() if value == ""]
        action = table.update(
            self.row.key,
            set_={name: value for name, value in values.items() if value != ""},
            remove=["running_until", *empty, *remove],
            condition="running_until = :lease",
            values={":lease": self.lease},
        )
        try:
            table.transact([action])
        except table.ConditionFailed:
            raise Superseded from None


def forget(tenant: Tenant, expert: str) -> None:
    """Take every busy time out where the calendar was disconnected, and what the worker knew.

    Raises Later where the calendar was connected again meanwhile: then there is nothing to forget.
    """
    connection = find(tenant, expert)
    if connection is None or connection.state != State.DISCONNECTED:
        return
    as_read = table.check(
        connection.key,
        "#version = :version",
        names={"#version": "version"},
        values={":version": int(connection.version)},
        label=GUARD,
    )
    known = known_times(tenant, expert)
    try:
        Changes(tenant, expert, known, as_read).make(dict.fromkeys(known))
        table.transact([table.delete(sync_key(tenant, expert)), as_read])
    except (Superseded, table.ConditionFailed):
        raise queue.Later from None
