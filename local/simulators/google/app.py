"""The HTTP side of the Google simulator: consent, tokens, and Calendar API v3 as in ROUTES."""

import json
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from local.simulators.control import Fault, control_blueprint, drop_connection, take_fault
from local.simulators.google import channels, events, oauth
from local.simulators.google.bodies import ChannelBody, EventBody, parameters, read, select
from local.simulators.google.control import google_control
from local.simulators.google.errors import (
    GoogleError,
    OAuthError,
    bad_request,
    injected,
    not_found,
)
from local.simulators.google.state import Object, State

API = "/calendar/v3"
EVENTS = f"{API}/calendars/<calendar_id>/events"
EVENT = f"{EVENTS}/<event_id>"

Ids = dict[str, str]
Answer = tuple[int, Any]
Act = Callable[[State, Ids], Answer]


def create_app() -> Flask:
    app = Flask("google_simulator")
    state = State()
    app.register_blueprint(control_blueprint(state))
    app.register_blueprint(google_control(state))
    for method, path, act in ROUTES:
        app.add_url_rule(
            path,
            f"{method} {path}",
            lambda _act=act, **ids: _answer(state, _act, ids),
            methods=[method],
        )
    app.register_error_handler(404, lambda _: _respond(404, not_found().body))
    app.register_error_handler(405, lambda _: _respond(404, not_found().body))
    return app


def _respond(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    text = "" if body is None else json.dumps(body, ensure_ascii=False)
    response = Response(text, status=status, content_type="application/json; charset=UTF-8")
    response.headers["Cache-Control"] = "no-cache, no-store, max-age=0, must-revalidate"
    if isinstance(body, dict) and "etag" in body:
        response.headers["ETag"] = body["etag"]
    response.headers.update(headers or {})
    return response


def _answer(state: State, act: Act, ids: Ids) -> AnyResponse:
    fault = take_fault(state, request.method, request.path)
    if fault and fault.kind == "timeout_before":
        return drop_connection(fault)
    response: AnyResponse
    with state.lock:
        try:
            status, body = _handle(state, act, ids, fault)
            response = redirect(body) if status == 302 else _respond(status, body)
        except GoogleError as error:
            response = _respond(error.status, error.body, error.headers)
    return drop_connection(fault) if fault and fault.kind == "timeout_after" else response


def _handle(state: State, act: Act, ids: Ids, fault: Fault | None) -> Answer:
    if fault and fault.kind == "status":
        if request.path.startswith(API):
            raise injected(fault.status)
        raise OAuthError("internal_failure", "Backend Error", fault.status)
    return act(state, ids)


# --- OAuth --------------------------------------------------------------------------------------


def _once(pairs: Any) -> dict[str, str]:
    if repeated := [name for name, values in pairs.lists() if len(values) > 1]:
        raise OAuthError("invalid_request", f"Parameter {repeated[0]} may be given once")
    return dict(pairs.items())


def _authorize(state: State, _: Ids) -> Answer:
    return 302, oauth.authorize(state, _once(request.args))


def _token(state: State, _: Ids) -> Answer:
    if request.mimetype != "application/x-www-form-urlencoded" or request.args:
        raise OAuthError("invalid_request", "Parameters belong in a form")
    form = _once(request.form)
    if request.authorization and request.authorization.type == "basic":
        given = request.authorization
        form |= {"client_id": given.username or "", "client_secret": given.password or ""}
    return 200, oauth.give_tokens(state, form)


def _revoke(state: State, _: Ids) -> Answer:
    sent = _once(request.args) | _once(request.form)
    if set(sent) != {"token"}:
        raise OAuthError("invalid_request", "Give token and nothing else")
    oauth.revoke(state, sent["token"])
    return 200, {}


# --- the Calendar API ---------------------------------------------------------------------------

Call = Callable[[State, Any, Any, Object, Ids], Answer]


def _api(operation: str, scopes: tuple[str, ...], call: Call) -> Act:
    """A call in somebody's name: authorization first, then parameters, then the call itself."""

    def act(state: State, ids: Ids) -> Answer:
        authorization = request.headers.get("Authorization", "")
        account, grant = oauth.caller(state, authorization, scopes)
        query = parameters(operation, request.args)
        status, body = call(state, account, grant, query, ids)
        return status, select(operation, query.get("fields"), body)

    return act


def _sent(model: Any, what: str) -> Object:
    if request.mimetype != "application/json":
        raise bad_request("Media type is not supported.", "wrongMediaType")
    try:
        body = json.loads(request.get_data() or b"null")
    except ValueError:
        raise bad_request("Parse Error", "parseError") from None
    return read(model, what, body)


def _calendar_list(state: State, account: Any, _: Any, query: Object, __: Ids) -> Answer:
    return 200, events.calendar_list(state, account, query)


def _list(state: State, account: Any, _: Any, query: Object, ids: Ids) -> Answer:
    calendar = state.calendar(account, ids["calendar_id"])
    return 200, events.listing(state, account, calendar, query)


def _get(state: State, account: Any, _: Any, query: Object, ids: Ids) -> Answer:
    calendar = state.calendar(account, ids["calendar_id"])
    found = events.get(state, calendar, ids["event_id"], query)
    return (304, None) if request.headers.get("If-None-Match") == found["etag"] else (200, found)


def _insert(state: State, account: Any, _: Any, query: Object, ids: Ids) -> Answer:
    calendar = events.writable(state, account, ids["calendar_id"])
    return 200, events.insert(state, account, calendar, _sent(EventBody, "event"), query)


def _patch(state: State, account: Any, _: Any, query: Object, ids: Ids) -> Answer:
    return 200, _rewritten(events.patch, state, account, query, ids)


def _update(state: State, account: Any, _: Any, query: Object, ids: Ids) -> Answer:
    return 200, _rewritten(events.update, state, account, query, ids)


def _rewritten(rewrite: Any, state: State, account: Any, query: Object, ids: Ids) -> Any:
    calendar = events.writable(state, account, ids["calendar_id"])
    sent, match = _sent(EventBody, "event"), request.headers.get("If-Match")
    return rewrite(state, account, calendar, ids["event_id"], sent, query, match)


def _delete(state: State, account: Any, _: Any, query: Object, ids: Ids) -> Answer:
    calendar = events.writable(state, account, ids["calendar_id"])
    events.delete(state, calendar, ids["event_id"], query, request.headers.get("If-Match"))
    return 204, None


def _watch(state: State, account: Any, grant: Any, _: Object, ids: Ids) -> Answer:
    calendar = state.calendar(account, ids["calendar_id"])
    sent, base = _sent(ChannelBody, "channel"), request.host_url.rstrip("/")
    return 200, channels.watch(state, grant, calendar, sent, base)


def _stop(state: State, _: Any, grant: Any, __: Object, ___: Ids) -> Answer:
    channels.stop(state, grant, _sent(ChannelBody, "channel"))
    return 204, None


ROUTES: tuple[tuple[str, str, Act], ...] = (
    ("GET", "/o/oauth2/v2/auth", _authorize),
    ("POST", "/token", _token),
    ("POST", "/revoke", _revoke),
    (
        "GET",
        f"{API}/users/me/calendarList",
        _api("calendarList.list", oauth.MAY_LIST, _calendar_list),
    ),
    ("GET", EVENTS, _api("events.list", oauth.MAY_READ, _list)),
    ("POST", EVENTS, _api("events.insert", oauth.MAY_WRITE, _insert)),
    ("GET", EVENT, _api("events.get", oauth.MAY_READ, _get)),
    ("PATCH", EVENT, _api("events.patch", oauth.MAY_WRITE, _patch)),
    ("PUT", EVENT, _api("events.update", oauth.MAY_WRITE, _update)),
    ("DELETE", EVENT, _api("events.delete", oauth.MAY_WRITE, _delete)),
    ("POST", f"{EVENTS}/watch", _api("events.watch", oauth.MAY_READ, _watch)),
    ("POST", f"{API}/channels/stop", _api("channels.stop", oauth.MAY_READ, _stop)),
)
