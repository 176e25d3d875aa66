"""Calendars and their events, as Calendar API v3 keeps them.

Source: https://developers.google.com/workspace/calendar/api/v3/reference, and its guides to
synchronization, versions (etags) and events. Simplified: recurring events exist only as the
instances that the control plane makes, which is all that singleEvents=true shows of them, and an
event is in its own calendar alone, not in its guests'.
"""

import copy
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from local.simulators.google import meet
from local.simulators.google.bodies import READ_ONLY, moment, zone
from local.simulators.google.errors import (
    GoogleError,
    bad_parameter,
    bad_request,
    empty_range,
    full_sync_required,
    missing,
    not_found,
    writer_needed,
)
from local.simulators.google.state import (
    ROLES,
    Account,
    Calendar,
    Event,
    Object,
    Page,
    State,
    SyncToken,
    stamp,
    token,
)

ID = re.compile(r"[a-v0-9]{5,1024}")
# What cannot come with a sync token, and what leaves a listing without one.
NOT_WITH_SYNC_TOKEN = (
    "iCalUID",
    "orderBy",
    "privateExtendedProperty",
    "q",
    "timeMax",
    "timeMin",
    "updatedMin",
)
WITHOUT_SYNC_TOKEN = tuple(n for n in NOT_WITH_SYNC_TOKEN if n not in ("timeMax", "timeMin"))
_DROPPED = {"kind", "etag", "id", "status"}


# --- calendars ----------------------------------------------------------------------------------


def calendar_list(state: State, account: Account, query: Object) -> Object:
    lowest = ROLES.index(query.get("minAccessRole", ROLES[0]))
    entries = [
        _entry(state, account, calendar_id, role)
        for calendar_id, role in account.roles.items()
        if ROLES.index(role) >= lowest
    ]
    start = _offset(query.get("pageToken"))
    size = query.get("maxResults", 100)
    answer: Object = {
        "kind": "calendar#calendarList",
        "etag": f'"p{len(entries):032d}"',
        "items": entries[start : start + size],
    }
    if start + size < len(entries):
        answer["nextPageToken"] = f"from{start + size}"
    return answer


def _offset(page: str | None) -> int:
    if page is None:
        return 0
    if not re.fullmatch(r"from\d{1,6}", page):
        raise bad_parameter("pageToken", "Invalid page token value.", "invalid")
    return int(page.removeprefix("from"))


def _entry(state: State, account: Account, calendar_id: str, role: str) -> Object:
    calendar = state.calendars[calendar_id]
    entry: Object = {
        "kind": "calendar#calendarListEntry",
        "etag": f'"{len(calendar_id):016d}"',
        "id": calendar.id,
        "summary": calendar.summary,
        "timeZone": calendar.zone,
        "colorId": "14",
        "selected": True,
        "accessRole": role,
        "defaultReminders": [],
        "conferenceProperties": {"allowedConferenceSolutionTypes": [meet.SOLUTION]},
    }
    return entry | ({"primary": True} if calendar.id == account.email else {})


def writable(state: State, account: Account, calendar_id: str) -> Calendar:
    calendar = state.calendar(account, calendar_id)
    if account.roles[calendar.id] not in ("writer", "owner"):
        raise writer_needed()
    return calendar


# --- one event ----------------------------------------------------------------------------------


def get(state: State, calendar: Calendar, event_id: str, query: Object) -> Object:
    """The event; a deleted one too, as cancelled."""
    event = _find(calendar, event_id)
    if meet.settle(event.body):
        state.changed(calendar, event)
    return shown(event.body, query.get("timeZone"))


def insert(
    state: State, account: Account, calendar: Calendar, sent: Object, query: Object
) -> Object:
    sent = {name: value for name, value in sent.items() if value is not None}
    event_id = sent.get("id", secrets.token_hex(13))
    if not ID.fullmatch(event_id):
        raise bad_request("Invalid resource id value.", "invalid")
    if event_id in calendar.events:
        message = "The requested identifier already exists."
        raise GoogleError(409, "duplicate", message)
    if sent.get("status") == "cancelled":
        raise bad_request("Invalid event status.", "invalid")
    now = stamp(state.clock.now())
    body = {
        "kind": "calendar#event",
        "etag": "",
        "id": event_id,
        "status": "confirmed",
        "htmlLink": f"https://www.google.com/calendar/event?eid={event_id}",
        "created": now,
        "updated": now,
        "creator": {"email": account.email, "self": True},
        "organizer": _organizer(account, calendar),
        "iCalUID": f"{event_id}@google.com",
        "sequence": 0,
        "reminders": {"useDefault": True},
        "eventType": "default",
    }
    event = Event(body)
    _write(state, account, calendar, event, _without(sent, READ_ONLY), query)
    state.keep(calendar.events, event_id, event)
    _mail(state, event.body, "invitation", query)
    return shown(state.changed(calendar, event), None)


def _organizer(account: Account, calendar: Calendar) -> Object:
    if calendar.id == account.email:
        return {"email": account.email, "self": True}
    return {"email": calendar.id, "displayName": calendar.summary, "self": True}


def patch(
    state: State,
    account: Account,
    calendar: Calendar,
    event_id: str,
    sent: Object,
    query: Object,
    if_match: str | None,
) -> Object:
    """Merges: objects by their fields, lists as a whole; null clears. A deleted event comes back
    only with a status that says so."""
    event = _find(calendar, event_id)
    _check_match(event, if_match)
    _check_id(sent, event_id)
    changes = _without(sent, {*READ_ONLY, "id"})
    merged = _merged(_writable_part(event.body), changes)
    if "conferenceData" not in changes:
        merged["conferenceData"] = event.body.get("conferenceData")
    return _changed(state, account, calendar, event, merged, query)


def update(
    state: State,
    account: Account,
    calendar: Calendar,
    event_id: str,
    sent: Object,
    query: Object,
    if_match: str | None,
) -> Object:
    """Replaces all that can be written; a deleted event comes back."""
    event = _find(calendar, event_id)
    _check_match(event, if_match)
    _check_id(sent, event_id)
    given = {name: value for name, value in sent.items() if value is not None}
    fresh = {"status": "confirmed", "reminders": {"useDefault": True}, "eventType": "default"}
    return _changed(
        state, account, calendar, event, fresh | _without(given, {*READ_ONLY, "id"}), query
    )


def delete(
    state: State, calendar: Calendar, event_id: str, query: Object, if_match: str | None
) -> None:
    event = _find(calendar, event_id)
    if event.body["status"] == "cancelled":
        raise GoogleError(410, "deleted", "Resource has been deleted")
    _check_match(event, if_match)
    event.body["status"] = "cancelled"
    _mail(state, event.body, "cancellation", query)
    state.changed(calendar, event)


def _changed(
    state: State, account: Account, calendar: Calendar, event: Event, body: Object, query: Object
) -> Object:
    before = (event.body["start"], event.body["end"], event.body["status"])
    candidate = Event({n: v for n, v in event.body.items() if n in READ_ONLY or n == "id"})
    if "conferenceData" in event.body:
        candidate.body["conferenceData"] = event.body["conferenceData"]
    _write(state, account, calendar, candidate, body, query)
    event.body = candidate.body
    if (event.body["start"], event.body["end"], event.body["status"]) != before:
        event.body["sequence"] += 1
    is_gone = event.body["status"] == "cancelled"
    _mail(state, event.body, "cancellation" if is_gone else "update", query)
    return shown(state.changed(calendar, event), None)


def _write(
    state: State, account: Account, calendar: Calendar, event: Event, sent: Object, query: Object
) -> None:
    """Checks what is to be written and writes it; `sent` is the whole of it."""
    start = _when(calendar, sent.get("start"), "start time")
    end = _when(calendar, sent.get("end"), "end time")
    if ("date" in start) != ("date" in end):
        raise bad_request(
            "Start and end times must either both be date or both be dateTime.", "invalid"
        )
    first, last = _moment_of(start, calendar.tzinfo), _moment_of(end, calendar.tzinfo)
    if last < first or (last == first and "date" in start):
        raise empty_range()
    body = event.body
    conference = sent.get("conferenceData")
    body |= {n: v for n, v in sent.items() if v is not None and n not in ("id", "conferenceData")}
    body |= {"start": start, "end": end}
    if "attendees" in body:
        body["attendees"] = [_attendee(one, account) for one in body["attendees"]]
    if query.get("conferenceDataVersion", 0) == 1:
        meet.attach(body, conference, state.meet)


def _attendee(sent: Object, account: Account) -> Object:
    attendee = {"responseStatus": "needsAction"} | {k: v for k, v in sent.items() if v is not None}
    attendee.pop("self", None)
    return attendee | ({"self": True} if attendee["email"] == account.email else {})


def _when(calendar: Calendar, sent: Any, what: str) -> Object:
    """A start or end as it is kept: in the calendar's own offset, with the zone that was named."""
    given = {name: value for name, value in (sent or {}).items() if value is not None}
    if not given:
        raise missing(what)
    if ("date" in given) == ("dateTime" in given):
        raise bad_request(f"Invalid {what}.", "invalid")
    named = zone(given["timeZone"]) if "timeZone" in given else None
    if "timeZone" in given and named is None:
        raise bad_request(f"Invalid time zone definition for {what}.", "invalid")
    if "date" in given:
        if moment(f"{given['date']}T00:00:00", calendar.tzinfo) is None:
            raise bad_request(f"Invalid {what}.", "invalid")
        return {"date": given["date"]}
    found = moment(given["dateTime"], named)
    if found is None and re.fullmatch(r"[0-9T:.-]{19,}", given["dateTime"]) and named is None:
        raise bad_request(f"Missing time zone definition for {what}.", "required")
    if found is None:
        raise bad_request(f"Invalid {what}.", "invalid")
    return {
        "dateTime": _written(found, calendar.tzinfo),
        "timeZone": given.get("timeZone", calendar.zone),
    }


def _written(when: datetime, at: ZoneInfo) -> str:
    text = when.astimezone(at).isoformat(timespec="seconds")
    return text.replace("+00:00", "Z")


def _moment_of(when: Object, at: ZoneInfo) -> datetime:
    if "date" in when:
        return datetime.fromisoformat(when["date"]).replace(tzinfo=at).astimezone(UTC)
    return datetime.fromisoformat(when["dateTime"]).astimezone(UTC)


def shown(body: Object, at: ZoneInfo | None) -> Object:
    """A copy for the answer, its times in another zone where one was asked for."""
    answer = copy.deepcopy(body)
    for name in ("start", "end") if at else ():
        if "dateTime" in answer[name] and at:
            when = datetime.fromisoformat(answer[name]["dateTime"])
            answer[name]["dateTime"] = _written(when, at)
    return answer


def _find(calendar: Calendar, event_id: str) -> Event:
    event = calendar.events.get(event_id)
    if event is None:
        raise not_found()
    return event


def _check_match(event: Event, if_match: str | None) -> None:
    if if_match not in (None, "*", event.body["etag"]):
        raise GoogleError(
            412, "conditionNotMet", "Precondition Failed", location=("header", "If-Match")
        )


def _check_id(sent: Object, event_id: str) -> None:
    if sent.get("id") not in (None, event_id):
        raise bad_request("Invalid resource id value.", "invalid")


def _writable_part(body: Object) -> Object:
    return _without(body, {*READ_ONLY, "id", "conferenceData"})


def _without(body: Object, names: set[str]) -> Object:
    return {name: value for name, value in body.items() if name not in names}


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    both = {**old, **{name: _merged(old.get(name), value) for name, value in new.items()}}
    return {name: value for name, value in both.items() if value is not None}


def _mail(state: State, body: Object, kind: str, query: Object) -> None:
    """What Google would mail to the guests; the control plane lists it."""
    if query.get("sendUpdates", "none") == "none":
        return
    for attendee in body.get("attendees", []):
        if not attendee.get("self"):
            state.mails.append({"to": attendee["email"], "event": body["id"], "kind": kind})


# --- many events --------------------------------------------------------------------------------


def listing(state: State, account: Account, calendar: Calendar, query: Object) -> Object:
    """One page, with a sync token on the last one. Errors: 400, 410 for an unknown sync token.

    Pages are of the moment at which the first was read; what changes meanwhile comes with the sync
    token. Which changes a token brings does not depend on the first listing's timeMin and timeMax.
    """
    _check_query(query)
    asked = {n: str(v) for n, v in query.items() if n not in ("pageToken", "fields", "maxResults")}
    if "pageToken" in query:
        page = state.pages.get(query["pageToken"])
        if page is None or page.asked != asked:
            raise bad_parameter("pageToken", "Invalid page token value.", "invalid")
    else:
        page = Page(asked, _matching(state, calendar, query), calendar.revision)
    size = query.get("maxResults", 250)
    answer: Object = {
        "kind": "calendar#events",
        "etag": f'"p{calendar.revision:032d}"',
        "summary": calendar.summary,
        "updated": stamp(calendar.updated),
        "timeZone": str(query.get("timeZone", calendar.zone)),
        "accessRole": account.roles[calendar.id],
        "defaultReminders": [],
        "items": page.events[:size],
    }
    if rest := page.events[size:]:
        later = Page(asked, rest, page.revision)
        answer["nextPageToken"] = state.keep(state.pages, token("Ci"), later)
    elif not any(name in query for name in WITHOUT_SYNC_TOKEN):
        reached = SyncToken(calendar.id, query.get("singleEvents", False), page.revision)
        answer["nextSyncToken"] = state.keep(state.sync_tokens, token("CP"), reached)
    return answer


def _check_query(query: Object) -> None:
    if "syncToken" in query:
        for name in NOT_WITH_SYNC_TOKEN:
            if name in query:
                message = f"Sync token cannot be used with the parameter {name}."
                raise bad_parameter(name, message, "invalid")
        if query.get("showDeleted") is False:
            message = "Sync token cannot be used with showDeleted=false."
            raise bad_parameter("showDeleted", message, "invalid")
    if query.get("orderBy") == "startTime" and not query.get("singleEvents"):
        message = "The requested ordering is not available for the particular query."
        raise bad_parameter("orderBy", message, "invalid")
    if "timeMin" in query and "timeMax" in query and query["timeMin"] >= query["timeMax"]:
        raise empty_range()
    for constraint in query.get("privateExtendedProperty", []):
        if "=" not in constraint:
            raise bad_parameter("privateExtendedProperty", "Invalid value", "invalid")


def _matching(state: State, calendar: Calendar, query: Object) -> list[Object]:
    for event in calendar.events.values():
        if meet.settle(event.body):
            state.changed(calendar, event)
    since = _since(state, calendar, query)
    found = [
        event
        for event in calendar.events.values()
        if (event.revision > since if since is not None else _is_wanted(calendar, event, query))
    ]
    if query.get("orderBy") == "startTime":
        found.sort(key=lambda event: _moment_of(event.body["start"], calendar.tzinfo))
    elif since is not None or query.get("orderBy") == "updated":
        found.sort(key=lambda event: event.revision)
    return [_listed(event.body, query.get("timeZone")) for event in found]


def _since(state: State, calendar: Calendar, query: Object) -> int | None:
    if "syncToken" not in query:
        return None
    known = state.sync_tokens.get(query["syncToken"])
    if known is None or known.calendar != calendar.id:
        raise full_sync_required()
    if known.single != query.get("singleEvents", False):
        # Undefined at Google; here the mistake shows.
        message = "A sync token takes the singleEvents of the listing that it is from."
        raise bad_parameter("singleEvents", message, "invalid")
    return known.revision


def _is_wanted(calendar: Calendar, event: Event, query: Object) -> bool:
    body = event.body
    is_deleted = body["status"] == "cancelled"
    if is_deleted and not query.get("showDeleted") and "updatedMin" not in query:
        return False
    start = _moment_of(body["start"], calendar.tzinfo)
    end = _moment_of(body["end"], calendar.tzinfo)
    private = body.get("extendedProperties", {}).get("private", {})
    words = " ".join(str(body.get(n, "")) for n in ("summary", "description", "location")).lower()
    return all(
        (
            "timeMin" not in query or end > query["timeMin"],
            "timeMax" not in query or start < query["timeMax"],
            "updatedMin" not in query
            or datetime.fromisoformat(body["updated"]) >= query["updatedMin"],
            query.get("iCalUID", body["iCalUID"]) == body["iCalUID"],
            query.get("q", "").lower() in words,
            body["eventType"] in query.get("eventTypes", [body["eventType"]]),
            *(
                private.get(name) == value
                for name, _, value in (
                    part.partition("=") for part in query.get("privateExtendedProperty", [])
                )
            ),
        )
    )


def _listed(body: Object, at: ZoneInfo | None) -> Object:
    """Of a deleted event only its id is promised, so no more than that is given."""
    if body["status"] == "cancelled":
        return {name: body[name] for name in sorted(_DROPPED)}
    return shown(body, at)


# --- by hand ------------------------------------------------------------------------------------


def by_hand(calendar: Calendar, wish: Object) -> Object:
    """The body of an event that somebody makes in their own calendar.

    `wish`: start and end (both a date, or both a time; without an offset it is the calendar's
    time), summary?, transparent?, response? (of the calendar's person, invited by somebody else),
    eventType?.
    """
    body: Object = {
        name: _by_hand_when(calendar, str(wish[name])) for name in ("start", "end") if name in wish
    }
    if "summary" in wish:
        body["summary"] = wish["summary"]
    if "transparent" in wish:
        body["transparency"] = "transparent" if wish["transparent"] else "opaque"
    if "response" in wish:
        inviting = {"email": "colleague@gmail.example", "organizer": True}
        invited = {"email": calendar.id, "responseStatus": wish["response"]}
        body["attendees"] = [inviting | {"responseStatus": "accepted"}, invited]
    if "eventType" in wish:
        body["eventType"] = wish["eventType"]
    return body


def _by_hand_when(calendar: Calendar, text: str) -> Object:
    if len(text) == len("2026-01-31"):
        return {"date": text, "dateTime": None}
    return {"dateTime": text, "timeZone": calendar.zone, "date": None}


def repeated(body: Object, every_days: int, times: int) -> list[Object]:
    """The same event on later days: the instances of a series."""
    return [_later(body, timedelta(days=every_days * number)) for number in range(times)]


def _later(body: Object, by: timedelta) -> Object:
    moved = copy.deepcopy(body)
    for name in ("start", "end"):
        for kind in ("date", "dateTime"):
            if moved[name].get(kind):
                text = moved[name][kind]
                when = datetime.fromisoformat(text) + by
                moved[name][kind] = when.isoformat()[: len(text) if kind == "date" else None]
    return moved
