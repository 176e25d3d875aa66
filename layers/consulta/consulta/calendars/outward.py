"""Appointments written into the expert's calendar at Google, and taken out of it.

An event's id is made of what it stands for, so that an insert which was done twice is found out
(409) and becomes a change. What Google was last told is kept as a digest, with a lease: of two
messages about one appointment only one writes at a time, and both write what is true then: the row
is read before the appointment, and counts its leases, so that who has read an older appointment
finds that another has had its turn. The write of the meeting's link causes another message, which
finds the digest as it is.

The seats of a group share one event: it is there as long as anybody has a seat.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from consulta.calendars import queue, tokens
from consulta.calendars.busy_times import MAX_DAYS, OURS, OWNER, owner_mark
from consulta.calendars.google import Calendars, Exists, Missing, Refused, Revoked
from consulta.calendars.records import (
    ConnectionItem,
    Label,
    event_key,
    find,
    group_key,
)
from consulta.core import table
from consulta.core.keys import ITEM, Key, Tenant
from consulta.core.observe import count
from consulta.core.time import now, to_epoch, to_text
from consulta.people.records import PATIENT, PatientItem
from consulta.scheduling.records import APPOINTMENT, OPEN, AppointmentItem, Status

NEUTRAL = "Appointment"
# Longer than the function may run, so that a lease ends only with who had it.
LEASE = timedelta(seconds=150)
# The rows of events go this long after the event.
KEPT = timedelta(days=90)
PAGE = 100
# What happened stays in the calendar.
_PAST = frozenset({Status.COMPLETED, Status.NO_SHOW})
# What may have to be written, or taken out because it was called off while nothing was connected.
_LOOKED_AT = OPEN | {Status.CANCELLED}
_DEADLINE_S = 8.0


@dataclass(frozen=True, slots=True)
class Told:
    """What Google was last told of one event."""

    key: Key
    consent: str = ""
    expert: str = ""
    calendar_id: str = ""
    digest: str = ""
    meeting_url: str = ""
    group: str = ""
    turn: int = 0

    @classmethod
    def read(cls, key: Key) -> "Told":
        """The row as it is; an empty one where there is none."""
        raw = table.get_raw(key)
        row = table.from_raw(raw) if raw else {}
        texts = ("consent", "expert", "calendar_id", "digest", "meeting_url", "group")
        values: dict[str, Any] = {name: str(row[name]) for name in texts if name in row}
        return cls(key, turn=int(row.get("turn", 0)), **values)


@dataclass(frozen=True, slots=True)
class Unit:
    """What one event stands for: an appointment, or all seats of a group's time.

    ``keep`` leaves what is there as it is; without ``seats`` the event goes.
    """

    event_id: str
    expert: str
    seats: tuple[AppointmentItem, ...] = ()
    keep: bool = False


def event_id(*parts: str) -> str:
    """Google's ids are base32hex in lower case; this one is the same for the same thing."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()[:20]
    return base64.b32hexencode(digest).decode().lower()


def sync_appointment(tenant: Tenant, appointment_id: str) -> None:
    """Make the expert's calendar say what is true of an appointment now.

    Raises Later where another does so, Unavailable where Google is away.
    """
    item = _item(tenant, appointment_id)
    if item is None:
        return
    if item.seats > 1:
        _sync_seat(tenant, item)
        return
    _settle(tenant, event_key(tenant, appointment_id), lambda: _single(tenant, appointment_id))


def _item(tenant: Tenant, appointment_id: str) -> AppointmentItem | None:
    return table.get(AppointmentItem, tenant.item(APPOINTMENT, appointment_id))


def _single(tenant: Tenant, appointment_id: str) -> Unit | None:
    item = _item(tenant, appointment_id)
    if item is None:
        return None
    return Unit(
        event_id(tenant.practice, item.item_id),
        item.expert_id,
        (item,) if item.status in OPEN else (),
        keep=item.status in _PAST,
    )


def _sync_seat(tenant: Tenant, item: AppointmentItem) -> None:
    """A seat that was moved leaves one group and joins another: both are looked at."""
    row = Told.read(event_key(tenant, item.item_id))
    name = f"{item.service_id}@{item.expert_id}@{to_text(item.start)}"
    if row.group and row.group != name:
        _sync_group(tenant, row.group, item.key)
    _sync_group(tenant, name, item.key)
    if row.group != name:
        expires = to_epoch(item.end + KEPT)
        table.transact([table.update(row.key, set_={"group": name, "expires_at": expires})])


def _sync_group(tenant: Tenant, name: str, told: Key) -> None:
    """All seats of one time, as ``name`` has it; ``told`` is the one that there is news of."""
    service, expert, start = name.split("@")
    key = group_key(tenant, service, expert, start)
    _settle(tenant, key, lambda: _group(tenant, service, expert, start, told))


def _group(tenant: Tenant, service: str, expert: str, start: str, told: Key) -> Unit:
    partition = tenant.listing_by(APPOINTMENT, "EXPERT", expert)
    listed = table.Query(partition, index="l2", begins=f"{start}#").all()
    # The index may be behind; the items themselves are not, nor is the one that is the news.
    found = table.batch_get_raw([told, *(Key(raw["pk"]["S"], ITEM) for raw in listed)])
    items = sorted((AppointmentItem.read(raw) for raw in found.values()), key=lambda i: i.item_id)
    there = [
        item
        for item in items
        if (item.service_id, item.expert_id, to_text(item.start)) == (service, expert, start)
    ]
    return Unit(
        event_id(tenant.practice, service, expert, start),
        expert,
        tuple(item for item in there if item.status in OPEN),
        keep=any(item.status in _PAST for item in there),
    )


# ---------------------------------------------------------------- one event


def _settle(tenant: Tenant, key: Key, read: Callable[[], Unit | None]) -> None:
    row = Told.read(key)
    unit = read()
    if unit is None or (unit.keep and not unit.seats):
        return
    if row.digest and row.expert != unit.expert:
        # Another expert gives it now: out of the one's calendar, then all that is true anew.
        _remove(tenant, row, unit.event_id)
        _settle(tenant, key, read)
    elif unit.seats:
        _write(tenant, row, unit)
    elif row.digest and _is_open(tenant, row.expert):
        # Otherwise the row stays: who consents again finds by it that the event has to go.
        _remove(tenant, row, unit.event_id)


def _is_open(tenant: Tenant, expert: str) -> bool:
    connection = find(tenant, expert)
    return connection is not None and connection.is_open


def _write(tenant: Tenant, row: Told, unit: Unit) -> None:
    connection = find(tenant, unit.expert)
    if connection is None or not connection.is_open:
        return
    try:
        url = _told(tenant, connection, row, unit)
        if _is_online(unit.seats[0]):
            _meet(connection, row.key, unit, url)
    except Revoked:
        tokens.mark_revoked(connection)


def _told(tenant: Tenant, connection: ConnectionItem, row: Told, unit: Unit) -> str:
    """Tell Google what it does not know yet; the meeting's link, where that is known."""
    first = unit.seats[0]
    body = event_of(tenant, unit, connection)
    digest = _digest(connection.consent, connection.calendar_id, body)
    if row.digest == digest:
        return row.meeting_url
    # Of another account, or in the calendar that was chosen before, it is another event.
    is_there = (row.consent, row.calendar_id) == (connection.consent, connection.calendar_id)
    link = row.meeting_url if is_there else ""
    wanted = _with_meeting(body, unit) if _is_online(first) and not link else body
    held = _Lease.take(row, first.end)
    try:
        if row.consent == connection.consent and not is_there:
            _leave(connection, row, unit.event_id)
        answer = tokens.asking(
            connection,
            lambda calendars: _put(calendars, connection, unit, wanted, is_there=is_there),
        )
    except BaseException:
        held.give_back({})
        raise
    url = str(answer.get("hangoutLink") or link)
    held.give_back(
        {
            "consent": connection.consent,
            "expert": unit.expert,
            "calendar_id": connection.calendar_id,
            "digest": digest,
            "meeting_url": url,
        }
    )
    count("CalendarEventsWritten")
    return url


def _leave(connection: ConnectionItem, row: Told, name: str) -> None:
    """The event moves to the calendar that was chosen since."""
    try:
        tokens.asking(connection, lambda calendars: calendars.delete(row.calendar_id, name))
    except Missing:
        return


def _with_meeting(body: dict[str, Any], unit: Unit) -> dict[str, Any]:
    """Google makes one link for one request, however often that is sent."""
    wanted = {
        "requestId": unit.event_id,
        "conferenceSolutionKey": {"type": "hangoutsMeet"},
    }
    return {**body, "conferenceData": {"createRequest": wanted}}


def _put(
    calendars: Calendars,
    connection: ConnectionItem,
    unit: Unit,
    body: dict[str, Any],
    *,
    is_there: bool,
) -> dict[str, Any]:
    """Change what is there, or insert it: who asks twice, or after a crash, gets the same event."""
    where, name = connection.calendar_id, unit.event_id
    if is_there:
        try:
            return calendars.patch(where, name, body)
        except Missing:
            pass
    try:
        return calendars.insert(where, {**body, "id": name})
    except Exists:
        return calendars.patch(where, name, body)


def _remove(tenant: Tenant, row: Told, name: str) -> None:
    """Take the event out of the calendar that it was written into, and forget it.

    Under another consent that may be another account, which has no such event or calendar.
    """
    connection = find(tenant, row.expert)
    held = _Lease.take(row, now())
    if connection is not None and connection.is_open:
        try:
            tokens.asking(connection, lambda calendars: calendars.delete(row.calendar_id, name))
            count("CalendarEventsRemoved")
        except Missing:
            pass
        except Revoked:
            tokens.mark_revoked(connection)
            held.give_back({})
            return
        except Refused as refused:
            if connection.consent == row.consent or refused.operation.startswith("token."):
                held.give_back({})
                raise
        except BaseException:
            held.give_back({})
            raise
    held.give_back({}, forget=True)


def event_of(tenant: Tenant, unit: Unit, connection: ConnectionItem) -> dict[str, Any]:
    """The event as Google is told of it: neutral, without the patient (rules §11)."""
    first = unit.seats[0]
    confirmed = any(seat.status == Status.CONFIRMED for seat in unit.seats)
    place = first.location or {}
    return {
        "summary": _label(tenant, unit, connection),
        "status": "confirmed" if confirmed else "tentative",
        "start": _when(first.start),
        "end": _when(first.end),
        "location": str(place.get("address") or ""),
        "visibility": "private",
        "transparency": "opaque",
        "extendedProperties": {
            "private": {
                OURS: first.item_id if len(unit.seats) == 1 else unit.event_id,
                OWNER: owner_mark(tenant.practice, unit.expert),
            }
        },
    }


def _when(instant: datetime) -> dict[str, str]:
    return {"dateTime": to_text(instant), "timeZone": "UTC"}


def _label(tenant: Tenant, unit: Unit, connection: ConnectionItem) -> str:
    first = unit.seats[0]
    if connection.label != Label.INITIALS or first.seats > 1:
        return NEUTRAL
    patient = table.get(PatientItem, tenant.item(PATIENT, first.patient_id))
    found = initials(patient.name) if patient and not patient.deleted_at else ""
    return f"{NEUTRAL} {found}" if found else NEUTRAL


def initials(name: str) -> str:
    """``Inês de Carvalho`` → ``I. C.``: of the first and the last part of a name."""
    parts = [part for part in name.split() if part[0].isalpha()]
    chosen = [parts[0], parts[-1]] if len(parts) > 1 else parts
    return " ".join(f"{part[0].upper()}." for part in chosen)


def _is_online(item: AppointmentItem) -> bool:
    """Whether Google is to give it a link: one that has an address of its own needs none."""
    place = item.location or {}
    return place.get("kind") == "online" and not place.get("address")


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------- the meeting's link


def _meet(connection: ConnectionItem, key: Key, unit: Unit, url: str) -> None:
    """Give every seat the link; while Google still makes it, the message comes again."""
    if not url:
        event = tokens.asking(
            connection, lambda calendars: calendars.get(connection.calendar_id, unit.event_id)
        )
        url = str(event.get("hangoutLink") or "")
        if not url:
            request = (event.get("conferenceData") or {}).get("createRequest") or {}
            if (request.get("status") or {}).get("statusCode") == "pending":
                raise queue.Later
            return
        table.transact([table.update(key, set_={"meeting_url": url})])
    for seat in unit.seats:
        _give_link(seat, url)


def _give_link(item: AppointmentItem, url: str) -> None:
    for _ in table.attempts(_DEADLINE_S):
        found = table.get(AppointmentItem, item.key)
        if found is None or found.status not in OPEN or found.meeting_url == url:
            return
        try:
            table.transact([table.change(found, tokens.SYSTEM, set_={"meeting_url": url})])
        except table.ConditionFailed:
            continue
        return


# ---------------------------------------------------------------- the lease


@dataclass(frozen=True, slots=True)
class _Lease:
    key: Key
    until: int

    @classmethod
    def take(cls, row: Told, end: datetime) -> "_Lease":
        """Nobody else writes this event now. Raises Later where somebody does."""
        instant = now()
        until = int((instant + LEASE).timestamp() * 1000)
        action = table.update(
            row.key,
            set_={"running_until": until, "expires_at": to_epoch(max(end, instant) + KEPT)},
            add={"turn": 1},
            # As it was read: whoever had a turn since has told Google something else.
            condition="(attribute_not_exists(running_until) OR running_until <= :now) AND "
            + ("turn = :turn" if row.turn else "attribute_not_exists(turn)"),
            values={
                ":now": int(instant.timestamp() * 1000),
                **({":turn": row.turn} if row.turn else {}),
            },
        )
        try:
            table.transact([action])
        except table.ConditionFailed:
            raise queue.Later from None
        return cls(row.key, until)

    def give_back(self, values: dict[str, str], *, forget: bool = False) -> None:
        """End it with what Google knows now. Raises Later where it had ended before."""
        told = ("consent", "expert", "calendar_id", "digest", "meeting_url")
        action = table.update(
            self.key,
            set_=values,
            remove=["running_until", *(told if forget else ())],
            condition="running_until = :until",
            values={":until": self.until},
        )
        try:
            table.transact([action])
        except table.ConditionFailed:
            raise queue.Later from None


# ---------------------------------------------------------------- all of an expert's


def sync_all(tenant: Tenant, expert: str, after: str = "") -> None:
    """Ask for each of an expert's coming appointments, a page at a time, where one is connected."""
    connection = find(tenant, expert)
    if connection is None or not connection.is_open:
        return
    partition = tenant.listing_by(APPOINTMENT, "EXPERT", expert)
    instant = now()
    query = table.Query(
        partition,
        index="l2",
        low=after or to_text(instant),
        high=to_text(instant + timedelta(days=MAX_DAYS)),
    )
    page = query.page(PAGE)
    found = [raw for raw in page.items if raw["l2sk"]["S"] != after]
    queue.send_all(
        queue.work(queue.APPOINTMENT, tenant.practice, raw["pk"]["S"].rpartition("#")[2])
        for raw in found
        if raw["status"]["S"] in _LOOKED_AT
    )
    if page.last_key and found:
        last = found[-1]["l2sk"]["S"]
        queue.send(queue.work(queue.OUTWARD, tenant.practice, expert, last))
