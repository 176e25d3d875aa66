"""An expert's calendar at Google: the consent, its state, its settings, its end.

Source: RFC 6749 and 7636 (PKCE), RFC 9700 (current practice), Google's web server flow. What was
begun is a row that lives ten minutes and is used once; the browser that began it has a cookie, so
that nobody's calendar is connected by a link that another prepared (RFC 9700 §4.7).
"""

import base64
import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from aws_lambda_powertools.shared.cookies import Cookie, SameSite

from consulta.calendars import google, queue, tokens
from consulta.calendars.google import GoogleError, Grant
from consulta.calendars.records import (
    CONNECTION,
    KNOWN,
    PRIMARY,
    ConnectionItem,
    Label,
    State,
    Sync,
    connection_key,
    find,
    place,
    sync_key,
)
from consulta.calendars.schema import (
    CalendarChoice,
    CalendarChoices,
    CalendarOut,
    CalendarPatch,
    ConnectOut,
)
from consulta.core import keys, settings, table
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, ProviderFailed
from consulta.core.http import check_version
from consulta.core.identity import Principal, refuse_key
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, now, to_epoch, to_text
from consulta.people import memberships, writes
from consulta.people.records import EXPERT, ExpertItem

CALLBACK = "/v1/calendars/google/callback"
LIFETIME = timedelta(minutes=10)
COOKIE = "consulta_calendar"
# How the app is told what has become of a consent: ``?calendar=``.
CONNECTED, EXPIRED, REFUSED, UNAVAILABLE = "connected", "expired", "refused", "unavailable"
_STATE = "CALENDAR_STATE"
_MANAGERS = frozenset({Role.OWNER, Role.ADMIN})
_DEADLINE_S = 8.0


class AppSettings(settings.Settings):
    """Where the app and the API are."""

    app_url: str = ""
    public_url: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A consent that was begun: what its row remembers."""

    practice: str
    expert: str
    person: str
    verifier: str
    redirect_uri: str


class NotConnected(Exception):
    """The consent came to nothing; ``reason`` is for the app."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def api_url(domain_name: str) -> str:
    """The API's own address: the gateway's name, which a caller cannot choose, where no other."""
    public: str = settings.load(AppSettings).public_url
    return public.rstrip("/") or f"https://{domain_name}"


def managed(by: Principal, expert_id: str | None) -> ExpertItem:
    """The expert whose calendar the caller may manage: their own, or as owner or admin anybody's.

    Raises Forbidden, NotFound, and Invalid where it is nobody's.
    """
    wanted = expert_id or by.expert
    if by.role not in _MANAGERS and (not by.expert or wanted != by.expert):
        raise Forbidden("An expert connects only their own calendar")
    if not wanted:
        raise Invalid.of("expert_id", "Say which expert's calendar", "missing")
    found = table.get(ExpertItem, by.tenant.item(EXPERT, wanted))
    if found is None:
        raise NotFound
    return found


# ---------------------------------------------------------------- connecting


def connect(by: Principal, expert_id: str | None, domain_name: str) -> tuple[ConnectOut, Cookie]:
    """Begin a consent: where the caller's browser goes, and the cookie that it comes back with."""
    refuse_key(by)
    expert = managed(by, expert_id)
    state, browser, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    redirect_uri = api_url(domain_name) + CALLBACK
    url = google.consent_url(redirect_uri, state, _unpadded(_sha256(verifier)))
    values = {
        "entity": _STATE,
        "practice": by.tenant.practice,
        "expert": expert.item_id,
        "person": by.person,
        "verifier": verifier,
        "redirect_uri": redirect_uri,
        "browser": _sha256(browser).hex(),
        "expires_at": to_epoch(now() + LIFETIME),
    }
    table.transact([table.put_values(keys.calendar_state(_sha256(state).hex()), values)])
    return ConnectOut(url=url), _cookie(browser)


def come_back(
    code: str | None, state: str | None, cookies_sent: list[str], *, origin: str, request_id: str
) -> tuple[str, list[Cookie]]:
    """Where a browser that comes back goes on: to the app, which is told what has become of it."""
    try:
        _finish(code, state or "", _browser(cookies_sent), origin, request_id)
    except NotConnected as refused:
        return _app_url(refused.reason), [_cookie("")]
    return _app_url(CONNECTED), [_cookie("")]


def _finish(code: str | None, state: str, browser: str, origin: str, request_id: str) -> None:
    begun = _use_up(state, browser)
    if not code or not _still_member(begun):
        raise NotConnected(REFUSED)
    try:
        grant = google.exchange(code, begun.verifier, begun.redirect_uri)
    except google.Unavailable:
        raise NotConnected(UNAVAILABLE) from None
    except GoogleError:
        raise NotConnected(REFUSED) from None
    # People can untick what we ask for; without a refresh token it would end within the hour.
    if not grant.refresh or google.EVENTS_SCOPE not in grant.scopes:
        raise NotConnected(REFUSED)
    _store(begun, grant, Actor(begun.person, request_id, origin))
    # The first sync writes what is booked already, too.
    queue.try_to_send(queue.work(queue.SYNC, begun.practice, begun.expert))


def _still_member(begun: Begun) -> bool:
    raw = table.get_raw(keys.membership(begun.person, begun.practice))
    return raw is not None and memberships.Row.read(raw).active


def _store(begun: Begun, grant: Grant, by: Actor) -> None:
    """A consent takes the place of the one before, settings stay."""
    tenant, expert, consent = Tenant(begun.practice), begun.expert, new_id("cal")
    sealed = tokens.seal(tenant, expert, grant.refresh)
    given: dict[str, Any] = {
        "state": State.CONNECTED,
        "consent": consent,
        "person_id": begun.person,
        "scopes": list(grant.scopes),
        "ciphertext": sealed,
    }
    new = {"consent": consent, **tokens.cache_values(tenant, expert, grant)}
    before = Sync.read(sync_key(tenant, expert))
    row = table.update(
        before.key,
        set_={
            **new,
            "l1pk": keys.calendar_connections(),
            "l1sk": place(to_epoch(now()), tenant, expert),
        },
        # Another account's calendar, perhaps: nothing that was read of the one before counts.
        remove=[name for name in KNOWN if name not in new],
    )
    for _ in table.attempts(_DEADLINE_S):
        found = find(tenant, expert)
        if found is None:
            key = connection_key(tenant, expert)
            item = ConnectionItem.create(key, CONNECTION, by, **given, connected_at=now())
            write = table.put_new(item)
        else:
            # A calendar that was chosen may be another account's, which this one does not have.
            chosen = {"calendar_id": PRIMARY, "connected_at": to_text(now())}
            write = table.change(found, by, set_={**given, **chosen})
        try:
            marked = tokens.marked(tenant, expert, by, connected=True)
            table.transact([write, row, *_deaf(before), *marked])
        except table.ConditionFailed:
            continue
        return


def _use_up(state: str, browser: str) -> Begun:
    """What was begun under ``state`` by this browser, which nobody can finish after us."""
    key = keys.calendar_state(_sha256(state).hex())
    raw = table.get_raw(key)
    if raw is None:
        raise NotConnected(EXPIRED)
    values = {":now": to_epoch(now()), ":browser": _sha256(browser).hex()}
    condition = "attribute_exists(pk) AND expires_at > :now AND browser = :browser"
    try:
        table.transact([table.delete(key, condition=condition, values=values)])
    except table.ConditionFailed:
        raise NotConnected(EXPIRED) from None
    row = table.from_raw(raw)
    return Begun(*(str(row[name]) for name in Begun.__slots__))


# ---------------------------------------------------------------- state and settings


def get(by: Principal, expert_id: str | None) -> CalendarOut:
    """How the connection is; one that never was is ``disconnected``."""
    expert = managed(by, expert_id)
    return _out(expert.item_id, find(by.tenant, expert.item_id))


def choices(by: Principal, expert_id: str | None) -> CalendarChoices:
    """The calendars at Google that can be chosen. Raises Conflict, ProviderFailed."""
    connection = _open(by, managed(by, expert_id).item_id)
    found = _asked(connection)
    return CalendarChoices(
        items=[
            CalendarChoice(
                id=one["id"],
                name=str(one.get("summaryOverride") or one.get("summary") or one["id"]),
                primary=bool(one.get("primary")),
                zone=one.get("timeZone"),
            )
            for one in found
        ]
    )


def change(
    by: Principal, expert_id: str | None, body: CalendarPatch, if_match: str | None
) -> CalendarOut:
    """Change the settings; events move to the calendar that is chosen, and are called anew.

    Raises Conflict where nothing is connected, Invalid for a calendar that cannot be written to.
    """
    expert = managed(by, expert_id).item_id
    connection = _open(by, expert)
    check_version(if_match, connection.version)
    values = body.model_dump(exclude_none=True, mode="json")
    values = {name: new for name, new in values.items() if getattr(connection, name) != new}
    if not values:
        return _out(expert, connection)
    chosen = values.get("calendar_id")
    if chosen and chosen != PRIMARY and all(one["id"] != chosen for one in _asked(connection)):
        raise Invalid.of("body.calendar_id", "You cannot write to such a calendar", "unknown")
    try:
        table.transact([table.change(connection, by.actor, set_=values)])
    except table.ConditionFailed:
        raise writes.lost_race(if_match) from None
    # The sync sees what differs from what it knows, so the schedule's next one does as well.
    queue.try_to_send(queue.work(queue.SYNC, by.tenant.practice, expert))
    return _out(expert, find(by.tenant, expert))


def disconnect(by: Principal, expert_id: str | None) -> None:
    """Give the consent back; the worker forgets what was read. Repeating it is fine.

    Events that were written stay in the expert's calendar: they are theirs.
    """
    tenant, expert = by.tenant, managed(by, expert_id).item_id
    for _ in table.attempts(_DEADLINE_S):
        found = find(tenant, expert)
        if found is None:
            return
        if found.state == State.DISCONNECTED:
            break
        row = Sync.read(sync_key(tenant, expert))
        # A sync that runs now finds its lease gone, and writes no more. The place on the schedule's
        # list stays until all is forgotten, should the queue not take it now.
        due = place(to_epoch(now()), tenant, expert)
        actions = [
            table.change(
                found, by.actor, set_={"state": State.DISCONNECTED}, remove=["ciphertext"]
            ),
            *tokens.marked(tenant, expert, by.actor, connected=False),
            table.update(
                row.key,
                set_={"l1pk": keys.calendar_connections(), "l1sk": due},
                remove=KNOWN,
            ),
            *_deaf(row),
        ]
        try:
            table.transact(actions)
        except table.ConditionFailed:
            continue
        queue.try_to_send(queue.work(queue.FORGET, tenant.practice, expert))
        _withdraw(found, row)
        return
    queue.try_to_send(queue.work(queue.FORGET, tenant.practice, expert))


def _deaf(row: Sync) -> list[table.Action]:
    """What the channel still tells is not listened to any more."""
    return [table.delete(keys.calendar_channel(row.channel))] if row.channel else []


def _withdraw(connection: ConnectionItem, row: Sync) -> None:
    """At Google, best effort: here it has ended already."""
    if not connection.is_open:
        return
    practice, expert = connection.tenant.practice, connection.expert
    with suppress(GoogleError):
        if row.channel and row.access:
            calendars = google.Calendars(tokens.opened(row.access, practice, expert))
            calendars.stop(row.channel, row.resource)
    with suppress(GoogleError):
        google.revoke(tokens.refresh_token(connection))


def _open(by: Principal, expert: str) -> ConnectionItem:
    found = find(by.tenant, expert)
    if found is None or not found.is_open:
        raise Conflict("No calendar is connected: connect one first")
    return found


def _asked(connection: ConnectionItem) -> list[dict[str, Any]]:
    try:
        return tokens.asking(connection, lambda calendars: calendars.listing())
    except google.Revoked:
        tokens.mark_revoked(connection)
        raise Conflict("The consent was withdrawn at Google: connect the calendar again") from None
    except GoogleError:
        raise ProviderFailed("Google did not answer, or refused") from None


def _out(expert: str, found: ConnectionItem | None) -> CalendarOut:
    if found is None:
        return CalendarOut(expert_id=expert, state="disconnected")
    row = Sync.read(sync_key(found.tenant, expert))
    return CalendarOut.model_validate(
        {
            "expert_id": expert,
            "state": found.state,
            "calendar_id": found.calendar_id,
            "import_busy": found.import_busy,
            "label": Label(found.label),
            "connected_at": found.connected_at,
            "read_at": from_epoch(row.read_at) if row.read_at else None,
            "told_until": from_epoch(row.channel_until) if row.channel_until else None,
            "error": row.error or None,
            "version": int(found.version),
        }
    )


# ---------------------------------------------------------------- the browser


def _app_url(outcome: str) -> str:
    base = settings.load(AppSettings).app_url.rstrip("/")
    return f"{base}/?{urlencode({'calendar': outcome})}"


def _cookie(value: str) -> Cookie:
    """``Lax``, since the browser comes back by a link from another site; empty, it goes away."""
    return Cookie(
        COOKIE,
        value,
        path=CALLBACK,
        http_only=True,
        secure=True,
        same_site=SameSite.LAX_MODE,
        max_age=int(LIFETIME.total_seconds()) if value else 0,
    )


def _browser(cookies_sent: list[str]) -> str:
    for cookie in cookies_sent:
        name, _, value = cookie.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _sha256(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()


def _unpadded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
