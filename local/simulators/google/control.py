"""What people do at Google, and what goes wrong there: this part of /_control.

POST client                         {"client_id"?, "client_secret"?, "redirect_uris"?: [...]}
POST accounts                       {"email", "zone"?,
                                    "calendars"?: [{"id", "summary"?, "zone"?, "role"?}]}
POST consent                        {"email"?, "deny"?, "scopes"?: [...], "times"?: 1}: next time
POST revoke                         {"email"}: the person withdraws what they granted
POST calendars/{id}/events          {"start", "end", "summary"?, "transparent"?, "response"?,
                                    "eventType"?, "every_days"? with "times"?}: by hand
POST calendars/{id}/events/{event}  any of these: moves or changes it by hand
POST calendars/{id}/events/{event}/delete
POST sync-tokens/expire             {"calendar"?}
POST clock                          {"advance_s"}: tokens, codes and channels run out by it
POST meet                           {"mode": "success" | "pending" | "failure"}
POST down                           {"status": 503 | "timeout", "times"?, "seconds"?,
                                    "path_prefix"?}
GET  stored                         everything, without tokens
"""

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, abort, jsonify

from local.simulators.control import Fault, body_of_request, refuse_as_json, required
from local.simulators.google import bodies, events, meet, oauth
from local.simulators.google.errors import GoogleError
from local.simulators.google.state import (
    DEFAULT_ZONE,
    ROLES,
    Account,
    Calendar,
    Client,
    Consent,
    Object,
    State,
    stamp,
)

_BY_HAND = {"start", "end", "summary", "transparent", "response", "eventType"}


def google_control(state: State) -> Blueprint:
    plane = Blueprint("google_control", __name__, url_prefix="/_control")

    @plane.post("/client")
    def client() -> Response:
        body = _only(body_of_request(), {"client_id", "client_secret", "redirect_uris"})
        with state.lock:
            state.client = Client(**body)
        return jsonify(client_id=state.client.client_id)

    @plane.post("/accounts")
    def accounts() -> Response:
        body = _only(required(body_of_request(), "email"), {"email", "zone", "calendars"})
        with state.lock:
            account = state.account(body["email"], _zone(body.get("zone", DEFAULT_ZONE)))
            for wish in body.get("calendars", []):
                _add_calendar(state, account, wish)
            return jsonify(_account(account))

    @plane.post("/consent")
    def consent() -> Response:
        body = _only(body_of_request(), {"email", "deny", "scopes", "times"})
        with state.lock:
            state.consents.append(Consent(**body))
            return jsonify(waiting=len(state.consents))

    @plane.post("/revoke")
    def revoke() -> Response:
        body = required(body_of_request(), "email")
        with state.lock:
            return jsonify(revoked=oauth.revoke_account(state, body["email"]))

    @plane.post("/calendars/<calendar_id>/events")
    def make(calendar_id: str) -> Response:
        body = required(body_of_request(), "start", "end")
        wish = _only(body, {*_BY_HAND, "every_days", "times"})
        with state.lock:
            made = _make(state, *_calendar(state, calendar_id), wish)
            return jsonify(made[0] if "times" not in wish else {"events": made})

    @plane.post("/calendars/<calendar_id>/events/<event_id>")
    def change(calendar_id: str, event_id: str) -> Response:
        wish = _only(body_of_request(), _BY_HAND)
        with state.lock:
            account, calendar = _calendar(state, calendar_id)
            sent = _checked(events.by_hand(calendar, wish))
            return jsonify(events.patch(state, account, calendar, event_id, sent, {}, None))

    @plane.post("/calendars/<calendar_id>/events/<event_id>/delete")
    def delete(calendar_id: str, event_id: str) -> Response:
        with state.lock:
            _, calendar = _calendar(state, calendar_id)
            events.delete(state, calendar, event_id, {}, None)
            return jsonify(deleted=event_id)

    _trouble(state, plane)
    refuse_as_json(plane)

    @plane.errorhandler(GoogleError)
    def refused(error: GoogleError) -> tuple[Response, int]:
        return jsonify(error.body), error.status

    return plane


def _trouble(state: State, plane: Blueprint) -> None:
    """What Google does by itself, and what can be seen of it."""

    @plane.post("/sync-tokens/expire")
    def expire() -> Response:
        chosen = body_of_request().get("calendar")
        with state.lock:
            gone = [t for t, s in state.sync_tokens.items() if chosen in (None, s.calendar)]
            for token in gone:
                del state.sync_tokens[token]
        return jsonify(expired=len(gone))

    @plane.post("/clock")
    def clock() -> Response:
        body = required(body_of_request(), "advance_s")
        with state.lock:
            state.clock.ahead += timedelta(seconds=float(body["advance_s"]))
        return jsonify(now=stamp(state.clock.now()))

    @plane.post("/meet")
    def meetings() -> Response:
        mode = body_of_request().get("mode")
        if mode not in meet.MODES:
            abort(400, f"mode is one of: {', '.join(meet.MODES)}")
        with state.lock:
            state.meet = mode
        return jsonify(mode=mode)

    @plane.post("/down")
    def down() -> Response:
        body = required(body_of_request(), "status")
        _only(body, {"status", "times", "seconds", "path_prefix"})
        common = {"method": "*", "path_prefix": body.get("path_prefix", "/")}
        common |= {name: body[name] for name in ("times", "seconds") if name in body}
        fault = (
            Fault("timeout_before", **common)
            if body["status"] == "timeout"
            else Fault("status", status=int(body["status"]), **common)
        )
        with state.lock:
            state.faults.append(fault)
        return jsonify(times=fault.times)

    @plane.get("/stored")
    def stored() -> Response:
        with state.lock:
            return jsonify(_stored(state))


def _only(body: Object, known: set[str]) -> Object:
    if unknown := sorted(set(body) - known):
        abort(400, f"unknown fields: {', '.join(unknown)}")
    return body


def _zone(name: str) -> str:
    if bodies.zone(name) is None:
        abort(400, f"no time zone {name}")
    return name


def _add_calendar(state: State, account: Account, wish: Any) -> None:
    body = _only(required(wish, "id"), {"id", "summary", "zone", "role"})
    role = body.get("role", "owner")
    if role not in ROLES:
        abort(400, f"role is one of: {', '.join(ROLES)}")
    zone, calendar_id = _zone(body.get("zone", account.zone)), str(body["id"])
    calendar = Calendar(calendar_id, body.get("summary", calendar_id), zone)
    state.add_calendar(account, calendar, role)
    if "zone" in body:
        # Of one that is there already, too: its owner changes its settings.
        state.calendars[calendar_id].zone = zone


def _calendar(state: State, calendar_id: str) -> tuple[Account, Calendar]:
    """A calendar and whoever works in it by hand: its owner."""
    owners = [a for a in state.accounts.values() if a.roles.get(calendar_id) == "owner"]
    if not owners:
        abort(404, f"no calendar {calendar_id}")
    return owners[0], state.calendars[calendar_id]


def _checked(body: Object) -> Object:
    return bodies.read(bodies.EventBody, "event", body)


def _make(state: State, account: Account, calendar: Calendar, wish: Object) -> list[Object]:
    """One event, or the instances of a series."""
    body = _checked(events.by_hand(calendar, wish))
    if "times" not in wish:
        return [events.insert(state, account, calendar, body, {})]
    made: list[Object] = []
    for part in events.repeated(body, int(wish.get("every_days", 7)), int(wish["times"])):
        event = events.insert(state, account, calendar, part, {})
        # Told apart by an API client only by these two.
        kept = calendar.events[event["id"]].body
        series = made[0]["id"] if made else event["id"]
        kept |= {"recurringEventId": f"{series}series", "originalStartTime": kept["start"]}
        made.append(events.shown(kept, None))
    return made


def _account(account: Account) -> Object:
    return {"email": account.email, "zone": account.zone, "calendars": account.roles}


def _stored(state: State) -> Object:
    return {
        "now": stamp(state.clock.now()),
        "accounts": [_account(account) for account in state.accounts.values()],
        "grants": [
            {"email": grant.email, "scopes": grant.scopes, "revoked": grant.revoked}
            for grant in state.grants
        ],
        "calendars": {
            calendar.id: [event.body for event in calendar.events.values()]
            for calendar in state.calendars.values()
        },
        "channels": [
            {
                "id": channel.id,
                "calendar": channel.calendar,
                "address": channel.address,
                "until": stamp(channel.until),
                "open": not (channel.stopped or channel.grant.revoked)
                and channel.until > state.clock.now(),
            }
            for channel in state.channels.values()
        ],
        "mails": state.mails,
    }
