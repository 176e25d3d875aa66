"""The Google simulator over HTTP, as the product and its tests call it."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests
from flask import Flask, request

from local.connect import PROVIDERS
from local.simulators.google.app import create_app
from local.simulators.google.state import CLIENT_ID, CLIENT_SECRET, HOLIDAYS
from local.stack import Stack
from tests.integration.test_simulators import Delivery, Inbox, Local, serve, started, until

ME = "expert@gmail.example"
BACK = "http://127.0.0.1:4701/back"
EVENTS_SCOPE = "https://www.googleapis.com/auth/calendar.events"
LIST_SCOPE = "https://www.googleapis.com/auth/calendar.calendarlist.readonly"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode()[:43]
START, END = "2026-12-01T10:00:00-06:00", "2026-12-01T11:00:00-06:00"
EVENT = {"id": "abc0123", "summary": "Appointment", "start": {"dateTime": START}}
EVENT |= {"end": {"dateTime": END}}
MEET = {"createRequest": {"requestId": "r1", "conferenceSolutionKey": {"type": "hangoutsMeet"}}}


@pytest.fixture(scope="module")
def server() -> Iterator[Local]:
    yield from started(create_app)


@pytest.fixture
def google(server: Local) -> Local:
    server.control("reset")
    server.control("config", {"retry_base_ms": 10})
    return server


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """Where push messages arrive."""
    box = Inbox()
    app = Flask("push")

    @app.post("/push")
    def push() -> tuple[str, int]:
        sent = Delivery(dict(request.headers), request.args.to_dict(), request.get_data())
        box.received.append(sent)
        return "", box.statuses.pop(0) if box.statuses else 200

    running = serve(app)
    box.url = f"http://127.0.0.1:{running.port}/push"
    yield box
    running.shutdown()


def states(inbox: Inbox) -> list[str]:
    return [delivery.headers["X-Goog-Resource-State"] for delivery in inbox.received]


def authorization(google: Local, **change: Any) -> requests.Response:
    query: dict[str, Any] = {
        "client_id": CLIENT_ID,
        "redirect_uri": BACK,
        "response_type": "code",
        "scope": f"{EVENTS_SCOPE} {LIST_SCOPE}",
        "state": "s&1",
        "access_type": "offline",
        "prompt": "consent",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **change,
    }
    return requests.get(
        f"{google.url}/o/oauth2/v2/auth",
        params={name: value for name, value in query.items() if value is not None},
        allow_redirects=False,
        timeout=5,
    )


def returned(answer: requests.Response) -> dict[str, str]:
    assert answer.status_code == 302, answer.text
    return {k: v[0] for k, v in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


def token(google: Local, **form: Any) -> requests.Response:
    sent = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **form}
    sent = {name: value for name, value in sent.items() if value is not None}
    return requests.post(f"{google.url}/token", data=sent, timeout=5)


def exchange(google: Local, given: str, **change: Any) -> requests.Response:
    form = {"grant_type": "authorization_code", "code": given, "redirect_uri": BACK}
    return token(google, **{**form, "code_verifier": VERIFIER, **change})


def refresh(google: Local, given: str, **change: Any) -> requests.Response:
    return token(google, grant_type="refresh_token", refresh_token=given, **change)


def refused(answer: requests.Response, status: int, error: str) -> None:
    """An error of OAuth."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text


@dataclass
class Person:
    """Calls to the Calendar API in somebody's name."""

    google: Local
    access: str
    refresh: str

    def call(
        self, method: str, path: str, body: Any = None, *, headers: Any = None, **query: Any
    ) -> requests.Response:
        return requests.request(
            method,
            f"{self.google.url}/calendar/v3/{path}",
            params=query,
            json=body,
            headers={"Authorization": f"Bearer {self.access}", **(headers or {})},
            timeout=5,
        )

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = self.call(method, path, body, **more)
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.content else None

    def refused(
        self, status: int, reason: str, method: str, path: str, body: Any = None, **more: Any
    ) -> dict[str, Any]:
        """Google's error, of that status and reason."""
        answer = self.call(method, path, body, **more)
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert set(error) == {"code", "message", "errors", "status"}
        assert (error["code"], error["errors"][0]["reason"]) == (status, reason)
        return error

    def make(self, **change: Any) -> Any:
        return self.ok("POST", "calendars/primary/events", {**EVENT, **change})

    def list(self, **query: Any) -> Any:
        return self.ok("GET", "calendars/primary/events", **{"singleEvents": "true", **query})

    def watch(self, inbox: Inbox, **change: Any) -> Any:
        body = {"id": "channel-1", "type": "web_hook", "address": inbox.url, "token": "secret"}
        return self.ok("POST", "calendars/primary/events/watch", {**body, **change})


def signed_in(google: Local, **change: Any) -> Person:
    given = exchange(google, returned(authorization(google, **change))["code"]).json()
    return Person(google, given["access_token"], given.get("refresh_token", ""))


@pytest.fixture
def me(google: Local) -> Person:
    return signed_in(google)


def by_hand(google: Local, path: str = "", *, calendar: str = ME, **wish: Any) -> Any:
    return google.control(f"calendars/{quote(calendar, safe='')}/events{path}", wish)


# --- OAuth --------------------------------------------------------------------------------------


def test_consent_gives_a_code_and_the_code_tokens(google: Local) -> None:
    back = returned(authorization(google))
    assert back["state"] == "s&1"
    given = exchange(google, back["code"])
    assert given.status_code == 200
    answer = given.json()
    assert answer.keys() == {
        "access_token",
        "expires_in",
        "refresh_token",
        "scope",
        "token_type",
    }
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3599)
    assert answer["scope"].split() == [EVENTS_SCOPE, LIST_SCOPE]


def test_the_redirect_address_keeps_its_own_query(google: Local) -> None:
    back = returned(authorization(google, redirect_uri=f"{BACK}?ours=1"))
    assert back["ours"] == "1"
    assert "code" in back


def test_the_local_stack_has_the_simulators_credentials_and_address() -> None:
    assert PROVIDERS["google"][1] == {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    stack = Stack(folder=None, port=4701)  # type: ignore[arg-type]
    assert stack.simulators["google"] == "http://127.0.0.1:4704"
    assert stack.parameters["GoogleApiBase"] == "http://127.0.0.1:4704"
    assert stack.servers["the Google simulator"] == 4704


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_id": "other"}, "invalid_client"),
        ({"redirect_uri": "http://elsewhere.example/back"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "https://app.example/back#part"}, "redirect_uri_mismatch"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "https://www.googleapis.com/auth/calendars"}, "invalid_scope"),
        ({"access_type": "forever"}, "invalid_request"),
        ({"prompt": "always"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "SHA256"}, "invalid_request"),
        ({"colour": "blue"}, "invalid_request"),
    ],
)
def test_a_wrong_authorization_request_does_not_go_back(
    google: Local, change: dict[str, Any], error: str
) -> None:
    answer = authorization(google, **change)
    assert answer.status_code in (400, 401)
    assert answer.json()["error"] == error


def test_only_registered_addresses_where_there_are_some(google: Local) -> None:
    google.control("client", {"redirect_uris": ["https://app.example/back"]})
    refused(authorization(google), 400, "redirect_uri_mismatch")
    answer = authorization(google, redirect_uri="https://app.example/back")
    assert answer.headers["Location"].startswith("https://app.example/back?")


def test_a_person_denies_once(google: Local) -> None:
    google.control("consent", {"deny": True})
    assert returned(authorization(google)) == {"error": "access_denied", "state": "s&1"}
    assert "code" in returned(authorization(google))


def test_a_person_grants_a_part(google: Local) -> None:
    google.control("consent", {"scopes": [LIST_SCOPE]})
    person = signed_in(google)
    person.ok("GET", "users/me/calendarList")
    person.refused(403, "insufficientPermissions", "GET", "calendars/primary/events")


def test_who_consents(google: Local) -> None:
    google.control("consent", {"email": "first@gmail.example", "times": 2})
    for hint, email in (
        (None, "first@gmail.example"),
        ("hint@gmail.example", "first@gmail.example"),
        ("hint@gmail.example", "hint@gmail.example"),
        (None, ME),
    ):
        person = signed_in(google, login_hint=hint)
        assert person.ok("GET", "users/me/calendarList")["items"][0]["id"] == email


def test_a_code_is_good_once_and_for_ten_minutes(google: Local) -> None:
    code = returned(authorization(google))["code"]
    assert exchange(google, code).status_code == 200
    refused(exchange(google, code), 400, "invalid_grant")
    late = returned(authorization(google))["code"]
    google.control("clock", {"advance_s": 601})
    refused(exchange(google, late), 400, "invalid_grant")


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_secret": "other"}, 401, "invalid_client"),
        ({"client_id": None}, 401, "invalid_client"),
        ({"redirect_uri": f"{BACK}/"}, 400, "redirect_uri_mismatch"),
        ({"redirect_uri": None}, 400, "invalid_request"),
        ({"code_verifier": None}, 400, "invalid_grant"),
        ({"code_verifier": "w" * 43}, 400, "invalid_grant"),
        ({"code": "4/unknown"}, 400, "invalid_grant"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"access_type": "offline"}, 400, "invalid_request"),
    ],
)
def test_a_wrong_exchange(google: Local, change: dict[str, Any], status: int, error: str) -> None:
    refused(exchange(google, returned(authorization(google))["code"], **change), status, error)


def test_a_code_without_a_challenge_needs_no_verifier(google: Local) -> None:
    without = {"code_challenge": None, "code_challenge_method": None}
    code = returned(authorization(google, **without))["code"]
    assert exchange(google, code, code_verifier=None).status_code == 200


def test_a_refresh_token_comes_offline_and_with_consent(google: Local) -> None:
    assert not signed_in(google, access_type=None).refresh
    assert signed_in(google).refresh
    assert not signed_in(google, prompt=None).refresh  # the person has consented before


def test_access_runs_out_and_is_renewed(google: Local, me: Person) -> None:
    me.list()
    google.control("clock", {"advance_s": 3600})
    error = me.refused(401, "authError", "GET", "calendars/primary/events")
    assert error["status"] == "UNAUTHENTICATED"
    renewed = refresh(google, me.refresh)
    assert "refresh_token" not in renewed.json()
    Person(google, renewed.json()["access_token"], "").list()


def test_without_a_token(google: Local) -> None:
    answer = requests.get(f"{google.url}/calendar/v3/users/me/calendarList", timeout=5)
    assert answer.status_code == 401
    assert answer.json()["error"]["errors"][0]["reason"] == "required"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("how", ["person", "refresh", "access"])
def test_revoked_access(google: Local, me: Person, how: str) -> None:
    other = signed_in(google, login_hint="other@gmail.example")
    if how == "person":
        assert google.control("revoke", {"email": ME}) == {"revoked": 1}
    else:
        given = me.refresh if how == "refresh" else me.access
        for status in (200, 400):
            answer = requests.post(f"{google.url}/revoke", params={"token": given}, timeout=5)
            assert answer.status_code == status
    me.refused(401, "authError", "GET", "calendars/primary/events")
    refused(refresh(google, me.refresh), 400, "invalid_grant")
    other.list()
    # Consent given again works.
    signed_in(google).list()


def test_refresh_and_revoke_refuse_what_they_do_not_know(google: Local, me: Person) -> None:
    refused(refresh(google, "1//other"), 400, "invalid_grant")
    refused(refresh(google, me.refresh, client_secret="other"), 401, "invalid_client")
    refused(refresh(google, me.refresh, redirect_uri=BACK), 400, "invalid_request")
    refused(token(google, grant_type="refresh_token"), 400, "invalid_request")
    unknown = requests.post(f"{google.url}/revoke", data={"token": "other"}, timeout=5)
    refused(unknown, 400, "invalid_token")
    refused(requests.post(f"{google.url}/revoke", timeout=5), 400, "invalid_request")
    as_json = requests.post(f"{google.url}/token", json={"grant_type": "x"}, timeout=5)
    refused(as_json, 400, "invalid_request")


# --- calendars ----------------------------------------------------------------------------------


def test_the_calendar_list(google: Local, me: Person) -> None:
    added = {"id": "team@group.calendar.google.com", "role": "writer", "zone": "Europe/Lisbon"}
    google.control("accounts", {"email": ME, "calendars": [added]})
    found = me.ok("GET", "users/me/calendarList")
    assert found["kind"] == "calendar#calendarList"
    assert [(c["id"], c["accessRole"]) for c in found["items"]] == [
        (ME, "owner"),
        (HOLIDAYS, "reader"),
        (added["id"], "writer"),
    ]
    assert found["items"][0]["primary"] is True
    assert "primary" not in found["items"][2]
    writers = me.ok("GET", "users/me/calendarList", minAccessRole="writer", maxResults="1")
    assert [c["id"] for c in writers["items"]] == [ME]
    rest = me.ok(
        "GET",
        "users/me/calendarList",
        minAccessRole="writer",
        maxResults="1",
        pageToken=writers["nextPageToken"],
    )
    assert [c["timeZone"] for c in rest["items"]] == ["Europe/Lisbon"]
    assert "nextPageToken" not in rest


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"minAccessRole": "boss"}, "invalidParameter"),
        ({"maxResults": "0"}, "invalidParameter"),
        ({"showHidden": "yes"}, "invalidParameter"),
        ({"pageToken": "other"}, "invalid"),
        ({"timeMin": START}, "badRequest"),
        ({"alt": "xml"}, "invalidParameter"),
    ],
)
def test_a_wrong_calendar_list(me: Person, query: dict[str, str], reason: str) -> None:
    me.refused(400, reason, "GET", "users/me/calendarList", **query)


def test_calendars_of_others(google: Local, me: Person) -> None:
    signed_in(google, login_hint="other@gmail.example")
    me.refused(404, "notFound", "GET", "calendars/other%40gmail.example/events")
    me.refused(404, "notFound", "POST", "calendars/nobody/events", EVENT)
    holidays = f"calendars/{quote(HOLIDAYS, safe='')}/events"
    me.ok("GET", holidays)
    me.refused(403, "requiredAccessLevel", "POST", holidays, EVENT)


def test_unknown_paths(me: Person) -> None:
    me.refused(404, "notFound", "GET", "colors")
    me.refused(404, "notFound", "DELETE", "users/me/calendarList")


# --- one event ----------------------------------------------------------------------------------


def test_an_event_is_made_and_read(me: Person) -> None:
    made = me.make(
        description="d",
        location="l",
        transparency="opaque",
        visibility="private",
        extendedProperties={"private": {"appointment": "a1"}},
        attendees=[{"email": "guest@example.com"}, {"email": ME}],
        reminders={"useDefault": False, "overrides": [{"method": "popup", "minutes": 10}]},
    )
    assert made["kind"] == "calendar#event"
    assert (made["id"], made["status"], made["sequence"]) == ("abc0123", "confirmed", 0)
    assert made["start"] == {"dateTime": START, "timeZone": "America/Mexico_City"}
    assert made["creator"] == made["organizer"] == {"email": ME, "self": True}
    assert made["iCalUID"] == "abc0123@google.com"
    assert made["attendees"] == [
        {"responseStatus": "needsAction", "email": "guest@example.com"},
        {"responseStatus": "needsAction", "email": ME, "self": True},
    ]
    answer = me.call("GET", "calendars/primary/events/abc0123")
    assert answer.json() == made
    assert answer.headers["ETag"] == made["etag"]
    assert me.ok("GET", f"calendars/{ME}/events/abc0123") == made
    unchanged = {"If-None-Match": made["etag"]}
    again = me.call("GET", "calendars/primary/events/abc0123", headers=unchanged)
    assert (again.status_code, again.content) == (304, b"")


def test_times_are_answered_in_the_calendars_zone_or_the_one_asked_for(me: Person) -> None:
    made = me.make(
        start={"dateTime": "2026-12-01T16:00:00Z"},
        end={"dateTime": "2026-12-01T18:00:00", "timeZone": "Europe/Lisbon"},
    )
    assert made["start"]["dateTime"] == "2026-12-01T10:00:00-06:00"
    assert made["end"] == {"dateTime": "2026-12-01T12:00:00-06:00", "timeZone": "Europe/Lisbon"}
    found = me.ok("GET", "calendars/primary/events/abc0123", timeZone="Asia/Kolkata")
    assert found["start"]["dateTime"] == "2026-12-01T21:30:00+05:30"


def test_google_gives_an_id_where_none_is_sent(me: Person) -> None:
    sent = {name: value for name, value in EVENT.items() if name != "id"}
    made = [me.ok("POST", "calendars/primary/events", sent)["id"] for _ in range(2)]
    assert made[0] != made[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "with-dash"}, "invalid"),
        ({"id": "abcw"}, "invalid"),
        ({"id": "xyzxyz"}, "invalid"),
        ({"colour": "red"}, "badRequest"),
        ({"start": {"dateTime": START, "zone": "UTC"}}, "badRequest"),
        ({"summary": 7}, "invalid"),
        ({"start": None}, "required"),
        ({"end": {}}, "required"),
        ({"end": {"dateTime": "2026-12-01T09:59:59-06:00"}}, "timeRangeEmpty"),
        ({"end": {"date": "2026-12-02"}}, "invalid"),
        ({"start": {"dateTime": START, "date": "2026-12-01"}}, "invalid"),
        ({"start": {"dateTime": "2026-12-01T10:00:00"}}, "required"),
        ({"start": {"dateTime": "2026-13-01T10:00:00Z"}}, "invalid"),
        ({"start": {"dateTime": START, "timeZone": "Mars/One"}}, "invalid"),
        ({"status": "gone"}, "invalid"),
        ({"status": "cancelled"}, "invalid"),
        ({"transparency": "busy"}, "invalid"),
        ({"attendees": [{"displayName": "no address"}]}, "invalid"),
        ({"reminders": {"overrides": [{"method": "sms", "minutes": 1}]}}, "invalid"),
        ({"recurrence": ["RRULE:FREQ=DAILY"]}, "badRequest"),
    ],
)
def test_a_wrong_event(me: Person, change: dict[str, Any], reason: str) -> None:
    me.refused(400, reason, "POST", "calendars/primary/events", {**EVENT, **change})
    assert me.list()["items"] == []


def test_a_body_that_is_none(me: Person) -> None:
    me.refused(400, "wrongMediaType", "POST", "calendars/primary/events")
    me.refused(400, "parseError", "POST", "calendars/primary/events", ["a"])
    me.refused(400, "badRequest", "POST", "calendars/primary/events", EVENT, notify="all")
    me.refused(400, "invalidParameter", "POST", "calendars/primary/events", EVENT, sendUpdates="x")


def test_an_id_is_good_once_even_for_a_deleted_event(me: Person) -> None:
    me.make()
    me.refused(409, "duplicate", "POST", "calendars/primary/events", EVENT)
    me.ok("DELETE", "calendars/primary/events/abc0123")
    me.refused(409, "duplicate", "POST", "calendars/primary/events", EVENT)


def test_all_day(me: Person) -> None:
    made = me.make(start={"date": "2026-12-01"}, end={"date": "2026-12-02"})
    assert (made["start"], made["end"]) == ({"date": "2026-12-01"}, {"date": "2026-12-02"})
    # From midnight to midnight where the calendar is, six hours after Greenwich's.
    assert me.list(timeMax="2026-12-01T06:00:00Z")["items"] == []
    assert len(me.list(timeMin="2026-12-02T05:59:59Z", timeMax="2026-12-03T00:00:00Z")["items"])
    assert me.list(timeMin="2026-12-02T06:00:00Z")["items"] == []
    same = {"start": {"date": "2026-12-01"}, "end": {"date": "2026-12-01"}}
    me.refused(400, "timeRangeEmpty", "POST", "calendars/primary/events", {**same, "id": "bcdef"})


def test_a_patch_merges_and_null_clears(me: Person) -> None:
    before = me.make(
        location="l", extendedProperties={"private": {"a": "1", "b": "2"}}, description="d"
    )
    after = me.ok(
        "PATCH",
        "calendars/primary/events/abc0123",
        {"location": None, "extendedProperties": {"private": {"a": None, "c": "3"}}},
    )
    assert "location" not in after
    assert after["extendedProperties"]["private"] == {"b": "2", "c": "3"}
    assert (after["summary"], after["description"]) == ("Appointment", "d")
    assert after["etag"] != before["etag"]
    assert after["sequence"] == 0
    later = {"end": {"dateTime": "2026-12-01T12:00:00-06:00"}}
    assert me.ok("PATCH", "calendars/primary/events/abc0123", later)["sequence"] == 1
    wrong = {"start": {"date": "2026-12-01"}}
    me.refused(400, "invalid", "PATCH", "calendars/primary/events/abc0123", wrong)
    me.refused(400, "invalid", "PATCH", "calendars/primary/events/abc0123", {"id": "other0"})
    me.refused(404, "notFound", "PATCH", "calendars/primary/events/other0", {"summary": "x"})


def test_an_update_replaces(me: Person) -> None:
    made = me.make(location="l", description="d")
    # What was read can be sent back as it is.
    assert me.ok("PUT", "calendars/primary/events/abc0123", made)["location"] == "l"
    times = {"start": made["start"], "end": made["end"]}
    after = me.ok("PUT", "calendars/primary/events/abc0123", times)
    assert not {"location", "summary", "description"} & set(after)
    assert after["created"] == made["created"]
    me.refused(400, "required", "PUT", "calendars/primary/events/abc0123", {"summary": "x"})
    me.refused(404, "notFound", "PUT", "calendars/primary/events/other0", times)


def test_a_deleted_event(me: Person) -> None:
    made = me.make()
    path = "calendars/primary/events/abc0123"
    assert me.call("DELETE", path, sendUpdates="none").status_code == 204
    error = me.refused(410, "deleted", "DELETE", path)
    assert error["message"] == "Resource has been deleted"
    assert me.ok("GET", path)["status"] == "cancelled"
    assert me.list()["items"] == []
    assert me.ok("PATCH", path, {"summary": "still gone"})["status"] == "cancelled"
    assert me.ok("PATCH", path, {"status": "confirmed"})["status"] == "confirmed"
    me.ok("DELETE", path)
    times = {"start": made["start"], "end": made["end"]}
    assert me.ok("PUT", path, times)["status"] == "confirmed"
    me.refused(404, "notFound", "DELETE", "calendars/primary/events/other0")


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_if_match(me: Person, method: str) -> None:
    made = me.make()
    path, body = "calendars/primary/events/abc0123", None if method == "DELETE" else made
    old = {"If-Match": made["etag"]}
    new = me.ok("PATCH", path, {"summary": "changed"})
    error = me.refused(412, "conditionNotMet", method, path, body, headers=old)
    assert error["errors"][0]["location"] == "If-Match"
    assert me.ok("GET", path)["etag"] == new["etag"]
    me.ok(method, path, body, headers={"If-Match": new["etag"]})


def test_two_writers_with_one_etag(me: Person) -> None:
    etag = me.make()["etag"]
    path = "calendars/primary/events/abc0123"
    barrier = threading.Barrier(8)

    def write(number: int) -> int:
        barrier.wait()
        body = {"summary": str(number)}
        return me.call("PATCH", path, body, headers={"If-Match": etag}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(write, range(8))) == [200, *[412] * 7]


def test_guests_are_written_to_where_it_is_asked(google: Local, me: Person) -> None:
    path = "calendars/primary/events"
    guests = {"attendees": [{"email": "guest@example.com"}, {"email": ME}]}
    me.ok("POST", path, {**EVENT, **guests}, sendUpdates="all")
    me.ok("PATCH", f"{path}/abc0123", {"summary": "quiet"}, sendUpdates="none")
    me.ok("DELETE", f"{path}/abc0123", sendUpdates="externalOnly")
    stored = requests.get(f"{google.url}/_control/stored", timeout=5).json()
    assert [(m["to"], m["kind"]) for m in stored["mails"]] == [
        ("guest@example.com", "invitation"),
        ("guest@example.com", "cancellation"),
    ]


# --- Meet ---------------------------------------------------------------------------------------


def test_a_meet_link(me: Person) -> None:
    path = "calendars/primary/events"
    made = me.ok("POST", path, {**EVENT, "conferenceData": MEET}, conferenceDataVersion="1")
    conference = made["conferenceData"]
    assert conference["createRequest"]["status"] == {"statusCode": "success"}
    assert conference["entryPoints"][0]["entryPointType"] == "video"
    assert conference["entryPoints"][0]["uri"] == made["hangoutLink"]
    assert made["hangoutLink"] == f"https://meet.google.com/{conference['conferenceId']}"

    path = f"{path}/abc0123"
    same = me.ok("PATCH", path, {"conferenceData": MEET}, conferenceDataVersion="1")
    assert same["hangoutLink"] == made["hangoutLink"]
    kept = me.ok("PATCH", path, {"summary": "x"}, conferenceDataVersion="1")
    assert kept["hangoutLink"] == made["hangoutLink"]
    ignored = me.ok("PATCH", path, {"conferenceData": None})
    assert ignored["hangoutLink"] == made["hangoutLink"]
    other = {"createRequest": {**MEET["createRequest"], "requestId": "r2"}}
    changed = me.ok("PATCH", path, {"conferenceData": other}, conferenceDataVersion="1")
    assert changed["hangoutLink"] != made["hangoutLink"]
    gone = me.ok("PATCH", path, {"conferenceData": None}, conferenceDataVersion="1")
    assert not {"hangoutLink", "conferenceData"} & set(gone)


def test_conference_data_is_ignored_by_version_0(me: Person) -> None:
    assert "hangoutLink" not in me.make(conferenceData=MEET)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"conferenceSolutionKey": {"type": "hangoutsMeet"}}, "required"),
        ({"requestId": "r1", "conferenceSolutionKey": {"type": "addOn"}}, "invalid"),
        ({"requestId": "r1"}, "invalid"),
    ],
)
def test_a_wrong_conference(me: Person, request_: dict[str, Any], reason: str) -> None:
    body = {**EVENT, "conferenceData": {"createRequest": request_}}
    me.refused(400, reason, "POST", "calendars/primary/events", body, conferenceDataVersion="1")


def test_a_conference_that_comes_later_or_never(google: Local, me: Person) -> None:
    path = "calendars/primary/events"
    google.control("meet", {"mode": "pending"})
    made = me.ok("POST", path, {**EVENT, "conferenceData": MEET}, conferenceDataVersion="1")
    assert made["conferenceData"]["createRequest"]["status"] == {"statusCode": "pending"}
    assert "hangoutLink" not in made
    assert "hangoutLink" in me.ok("GET", f"{path}/abc0123")
    google.control("meet", {"mode": "failure"})
    body = {**EVENT, "id": "bcdef", "conferenceData": MEET}
    me.ok("POST", path, body, conferenceDataVersion="1")
    failed = me.ok("GET", f"{path}/bcdef")
    assert failed["conferenceData"]["createRequest"]["status"] == {"statusCode": "failure"}
    assert "hangoutLink" not in failed


# --- many events --------------------------------------------------------------------------------


def hours(google: Local, *starts: int) -> list[str]:
    """Events of half an hour at these hours of a day, by hand."""
    return [
        by_hand(google, start=f"2026-12-01T{hour:02}:00:00", end=f"2026-12-01T{hour:02}:30:00")[
            "id"
        ]
        for hour in starts
    ]


def ids(listing: Any) -> list[str]:
    return [event["id"] for event in listing["items"]]


def test_a_range_has_open_ends(google: Local, me: Person) -> None:
    nine, ten = hours(google, 9, 10)

    def between(low: str, high: str) -> list[str]:
        return ids(me.list(timeMin=f"2026-12-01T{low}-06:00", timeMax=f"2026-12-01T{high}-06:00"))

    assert between("09:00:00", "11:00:00") == [nine, ten]
    assert between("09:29:59", "10:00:01") == [nine, ten]
    assert between("09:30:00", "10:00:00") == []


def test_order_and_filters(google: Local, me: Person) -> None:
    ten, nine = hours(google, 10, 9)
    by_hand(google, f"/{ten}", summary="Dentist")
    assert ids(me.list(orderBy="startTime")) == [nine, ten]
    assert ids(me.list(orderBy="updated")) == [nine, ten]
    assert ids(me.list(q="dent")) == [ten]
    me.make(extendedProperties={"private": {"appointment": "a1"}})
    assert ids(me.list(privateExtendedProperty="appointment=a1")) == ["abc0123"]
    assert ids(me.list(privateExtendedProperty="appointment=a2")) == []
    assert ids(me.list(iCalUID="abc0123@google.com")) == ["abc0123"]
    assert ids(me.list(eventTypes="outOfOffice")) == []
    by_hand(google, f"/{nine}/delete")
    assert ids(me.list()) == [ten, "abc0123"]
    deleted = me.list(showDeleted="true")["items"][1]
    assert (deleted["id"], deleted["status"]) == (nine, "cancelled")
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert ids(me.list(updatedMin=ahead)) == []


def test_pages_are_of_one_moment_and_the_rest_comes_with_the_sync_token(
    google: Local, me: Person
) -> None:
    made = hours(google, 9, 10, 11)
    first = me.list(maxResults="2")
    assert ids(first) == made[:2]
    assert "nextSyncToken" not in first
    (fourth,) = hours(google, 12)
    by_hand(google, f"/{made[2]}/delete")
    last = me.list(maxResults="2", pageToken=first["nextPageToken"])
    assert ids(last) == made[2:]
    assert "nextPageToken" not in last
    changes = me.list(syncToken=last["nextSyncToken"])
    assert [(e["id"], e["status"]) for e in changes["items"]] == [
        (fourth, "confirmed"),
        (made[2], "cancelled"),
    ]
    me.refused(400, "invalid", "GET", "calendars/primary/events", pageToken=first["nextPageToken"])


def test_incremental_synchronization(google: Local, me: Person) -> None:
    kept, moved, gone = hours(google, 9, 10, 11)
    window = {"timeMin": "2026-11-01T00:00:00Z", "timeMax": "2027-01-01T00:00:00Z"}
    sync = me.list(**window)["nextSyncToken"]
    assert me.list(syncToken=sync)["items"] == []
    by_hand(google, f"/{moved}", start="2026-12-02T10:00:00", end="2026-12-02T11:00:00")
    by_hand(google, f"/{gone}/delete")
    found = me.list(syncToken=sync)
    assert ids(found) == [moved, gone]
    assert found["items"][1].keys() == {"kind", "etag", "id", "status"}
    assert me.list(syncToken=found["nextSyncToken"])["items"] == []
    # The same token again gives the same again, paged or not.
    first = me.list(syncToken=sync, maxResults="1")
    rest = me.list(syncToken=sync, maxResults="1", pageToken=first["nextPageToken"])
    assert ids(first) + ids(rest) == [moved, gone]
    assert kept not in ids(found)


@pytest.mark.parametrize(
    "query",
    [
        {"timeMin": START},
        {"timeMax": START},
        {"updatedMin": START},
        {"orderBy": "updated"},
        {"q": "x"},
        {"iCalUID": "x"},
        {"privateExtendedProperty": "a=b"},
        {"showDeleted": "false"},
        {"singleEvents": "false"},
    ],
)
def test_what_a_sync_token_does_not_go_with(me: Person, query: dict[str, str]) -> None:
    both = {"singleEvents": "true", "syncToken": me.list()["nextSyncToken"], **query}
    me.refused(400, "invalid", "GET", "calendars/primary/events", **both)


def test_a_filtered_listing_has_no_sync_token(me: Person) -> None:
    assert "nextSyncToken" in me.list(timeMin=START)
    for query in ({"orderBy": "startTime"}, {"q": "x"}, {"updatedMin": START}):
        assert "nextSyncToken" not in me.list(**query)


def test_a_sync_token_expires(google: Local, me: Person) -> None:
    sync = me.list()["nextSyncToken"]
    assert google.control("sync-tokens/expire", {"calendar": "other"}) == {"expired": 0}
    me.list(syncToken=sync)
    assert google.control("sync-tokens/expire")["expired"] == 2
    error = me.refused(410, "fullSyncRequired", "GET", "calendars/primary/events", syncToken=sync)
    assert error["message"] == "Sync token is no longer valid, a full sync is required."


def test_a_sync_token_is_of_its_calendar(me: Person) -> None:
    sync = me.list()["nextSyncToken"]
    holidays = f"calendars/{quote(HOLIDAYS, safe='')}/events"
    query = {"singleEvents": "true", "syncToken": sync}
    me.refused(410, "fullSyncRequired", "GET", holidays, **query)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"timeMin": "2026-12-01"}, "badRequest"),
        ({"timeMin": "2026-12-01T00:00:00"}, "badRequest"),
        ({"timeMin": END, "timeMax": START}, "timeRangeEmpty"),
        ({"timeMin": START, "timeMax": START}, "timeRangeEmpty"),
        ({"orderBy": "startTime", "singleEvents": "false"}, "invalid"),
        ({"orderBy": "summary"}, "invalidParameter"),
        ({"singleEvents": "1"}, "invalidParameter"),
        ({"maxResults": "0"}, "invalidParameter"),
        ({"maxResults": "many"}, "invalidParameter"),
        ({"pageToken": "other"}, "invalid"),
        ({"timeZone": "Mars/One"}, "invalid"),
        ({"from": START}, "badRequest"),
        ({"singleEvents": ["true", "true"]}, "invalidParameter"),
        ({"fields": "items(id,colour)"}, "invalidParameter"),
        ({"fields": "items(id"}, "invalidParameter"),
        ({"fields": "items,"}, "invalidParameter"),
        ({"fields": "items id"}, "invalidParameter"),
    ],
)
def test_a_wrong_listing(me: Person, query: dict[str, Any], reason: str) -> None:
    me.refused(400, reason, "GET", "calendars/primary/events", **{"singleEvents": "true", **query})


def test_partial_responses(me: Person) -> None:
    me.make(
        extendedProperties={"private": {"a": "1"}, "shared": {"b": "2"}},
        attendees=[{"email": ME, "responseStatus": "declined"}],
    )
    chosen = "nextSyncToken,items(id,attendees(self,responseStatus),extendedProperties/private)"
    found = me.list(fields=chosen)
    assert found.keys() == {"nextSyncToken", "items"}
    assert found["items"] == [
        {
            "id": "abc0123",
            "attendees": [{"self": True, "responseStatus": "declined"}],
            "extendedProperties": {"private": {"a": "1"}},
        }
    ]
    assert me.ok("GET", "calendars/primary/events/abc0123", fields="status") == {
        "status": "confirmed"
    }
    assert me.list(fields="*").keys() > {"kind", "items", "timeZone"}


# --- by hand ------------------------------------------------------------------------------------


def test_what_people_do_in_their_own_calendars(google: Local, me: Person) -> None:
    times = {"start": "2026-12-01T09:00:00", "end": "2026-12-01T10:00:00"}
    busy = by_hand(google, **times)
    assert busy["start"]["dateTime"] == "2026-12-01T09:00:00-06:00"
    assert by_hand(google, **times, transparent=True)["transparency"] == "transparent"
    assert by_hand(google, **times, eventType="outOfOffice")["eventType"] == "outOfOffice"
    declined = by_hand(google, **times, response="declined", summary="Meeting")
    mine = [one for one in declined["attendees"] if one.get("self")]
    assert [one["responseStatus"] for one in mine] == ["declined"]
    all_day = by_hand(google, start="2026-12-01", end="2026-12-02")
    assert all_day["start"] == {"date": "2026-12-01"}
    moved = by_hand(google, f"/{busy['id']}", start="2026-12-03", end="2026-12-04")
    assert moved["start"] == {"date": "2026-12-03"}
    assert len(me.list()["items"]) == 5


def test_a_series_by_hand_keeps_its_hour_over_a_change_of_clocks(google: Local) -> None:
    google.control("accounts", {"email": "lisbon@gmail.example", "zone": "Europe/Lisbon"})
    times = {"start": "2026-10-20T09:00:00", "end": "2026-10-20T10:00:00"}
    made = by_hand(google, calendar="lisbon@gmail.example", **times, every_days=7, times=2)
    starts = [event["start"]["dateTime"] for event in made["events"]]
    assert starts == ["2026-10-20T09:00:00+01:00", "2026-10-27T09:00:00Z"]
    assert len({event["recurringEventId"] for event in made["events"]}) == 1


def test_wrong_control_calls_say_so(google: Local, me: Person) -> None:
    for path, body, status in (
        ("accounts", {}, 400),
        ("accounts", {"email": ME, "zone": "Mars/One"}, 400),
        ("accounts", {"email": ME, "calendars": [{"id": "x", "role": "boss"}]}, 400),
        ("consent", {"refuse": True}, 400),
        ("clock", {}, 400),
        ("meet", {"mode": "never"}, 400),
        ("down", {"status": 503, "hours": 1}, 400),
        ("calendars/nobody/events", {"start": "2026-12-01", "end": "2026-12-02"}, 404),
        (f"calendars/{ME}/events", {"start": "2026-12-01"}, 400),
        (f"calendars/{ME}/events", {"start": "soon", "end": "later"}, 400),
        (f"calendars/{ME}/events/other0/delete", {}, 404),
    ):
        assert "error" in google.control(path, body, status=status)


def test_what_is_stored(google: Local, me: Person, inbox: Inbox) -> None:
    me.make()
    me.watch(inbox)
    stored = requests.get(f"{google.url}/_control/stored", timeout=5)
    assert me.access not in stored.text
    assert me.refresh not in stored.text
    found = stored.json()
    assert [event["id"] for event in found["calendars"][ME]] == ["abc0123"]
    assert [(c["id"], c["open"]) for c in found["channels"]] == [("channel-1", True)]
    google.control("reset")
    assert requests.get(f"{google.url}/_control/stored", timeout=5).json()["calendars"] == {}


# --- push ---------------------------------------------------------------------------------------


def test_a_channel_is_told_of_every_change(google: Local, me: Person, inbox: Inbox) -> None:
    channel = me.watch(inbox)
    assert channel["kind"] == "api#channel"
    assert channel["resourceUri"].endswith(f"/calendar/v3/calendars/{ME}/events?alt=json")
    inbox.wait_count(1)
    me.make()
    me.ok("PATCH", "calendars/primary/events/abc0123", {"summary": "x"})
    by_hand(google, "/abc0123/delete")
    inbox.wait_count(4)
    assert states(inbox) == ["sync", "exists", "exists", "exists"]
    first, *rest = [delivery.headers for delivery in inbox.received]
    assert first["X-Goog-Channel-Id"] == "channel-1"
    assert first["X-Goog-Channel-Token"] == "secret"
    assert first["X-Goog-Resource-Id"] == channel["resourceId"]
    assert first["X-Goog-Resource-Uri"] == channel["resourceUri"]
    assert first["X-Goog-Channel-Expiration"].endswith(" GMT")
    assert first["X-Goog-Message-Number"] == "1"
    numbers = [int(headers["X-Goog-Message-Number"]) for headers in rest]
    assert numbers == sorted(set(numbers))
    assert all(delivery.body == b"" for delivery in inbox.received)


def test_a_channel_is_of_one_calendar(google: Local, me: Person, inbox: Inbox) -> None:
    me.watch(inbox)
    google.control("accounts", {"email": "other@gmail.example"})
    day = {"start": "2026-12-01", "end": "2026-12-02"}
    by_hand(google, calendar="other@gmail.example", **day)
    by_hand(google, **day)
    until(lambda: [e["state"] for e in google.events()] == ["delivered"] * 2)
    assert states(inbox) == ["sync", "exists"]


def test_channels_end(google: Local, me: Person, inbox: Inbox) -> None:
    channel = me.watch(inbox)
    stop = {"id": "channel-1", "resourceId": channel["resourceId"]}
    me.refused(404, "notFound", "POST", "channels/stop", {**stop, "resourceId": "other"})
    me.refused(404, "notFound", "POST", "channels/stop", {**stop, "id": "other"})
    me.refused(400, "required", "POST", "channels/stop", {"id": "channel-1"})
    other = signed_in(google, login_hint="other@gmail.example")
    other.refused(404, "notFound", "POST", "channels/stop", stop)
    assert me.call("POST", "channels/stop", stop).status_code == 204
    me.refused(404, "notFound", "POST", "channels/stop", stop)
    me.make()
    assert len(google.events()) == 1  # the sync message


@pytest.mark.parametrize("end", ["expiry", "revoked"])
def test_channels_end_by_themselves(google: Local, me: Person, inbox: Inbox, end: str) -> None:
    me.watch(inbox)
    if end == "expiry":
        google.control("clock", {"advance_s": 7 * 86400})
    else:
        google.control("revoke", {"email": ME})
    by_hand(google, start="2026-12-01", end="2026-12-02")
    assert len(google.events()) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, "required"),
        ({"address": None}, "required"),
        ({"id": "with space"}, "channelIdInvalid"),
        ({"id": "x" * 65}, "channelIdInvalid"),
        ({"type": "email"}, "channelUnknown"),
        ({"address": "http://app.example/push"}, "push.webhookUrlNotHttps"),
        ({"token": "x" * 257}, "invalid"),
        ({"expiration": 1}, "invalid"),
        ({"expiration": "tomorrow"}, "invalid"),
        ({"colour": "blue"}, "badRequest"),
    ],
)
def test_a_wrong_channel(me: Person, change: dict[str, Any], reason: str) -> None:
    body = {"id": "channel-1", "type": "web_hook", "address": "https://app.example/push"}
    path = "calendars/primary/events/watch"
    me.refused(400, reason, "POST", path, {**body, **change})


def test_a_channels_id_is_good_once(me: Person, inbox: Inbox) -> None:
    channel = me.watch(inbox)
    body = {"id": "channel-1", "type": "web_hook", "address": inbox.url}
    path = "calendars/primary/events/watch"
    me.refused(400, "channelIdNotUnique", "POST", path, body)
    me.ok("POST", "channels/stop", {"id": "channel-1", "resourceId": channel["resourceId"]})
    me.refused(400, "channelIdNotUnique", "POST", path, body)


def test_how_long_a_channel_lives(me: Person, inbox: Inbox) -> None:
    def days(**change: Any) -> float:
        until_ms = int(me.watch(inbox, **change)["expiration"])
        return round((until_ms / 1000 - datetime.now(UTC).timestamp()) / 86400, 2)

    in_two_days = int((datetime.now(UTC) + timedelta(days=2)).timestamp() * 1000)
    assert days(id="a") == 7
    assert days(id="b", expiration=in_two_days) == 2
    assert days(id="c", expiration=str(in_two_days)) == 2
    assert days(id="d", params={"ttl": "86400"}) == 1
    assert days(id="e", expiration=in_two_days * 2) == 30


def test_a_push_is_tried_again_after_a_5xx_alone(google: Local, me: Person, inbox: Inbox) -> None:
    inbox.statuses[:] = [503, 500]
    me.watch(inbox)
    until(lambda: google.events()[0]["state"] == "delivered")
    assert [d["status"] for d in google.events()[0]["deliveries"]] == [503, 500, 200]
    inbox.statuses[:] = [404]
    me.make()
    until(lambda: google.events()[1]["state"] == "failed")
    assert len(google.events()[1]["deliveries"]) == 1


def test_pushes_come_twice_late_and_again(google: Local, me: Person, inbox: Inbox) -> None:
    google.control("config", {"deliveries": "twice"})
    me.watch(inbox)
    inbox.wait_count(2)
    google.control("config", {"deliveries": "hold"})
    me.make()
    assert google.control("flush") == {"flushed": 1}
    inbox.wait_count(3)
    google.control(f"events/{google.events()[0]['id']}/send")
    inbox.wait_count(4)
    assert states(inbox) == ["sync", "sync", "exists", "sync"]


# --- trouble ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason", "name"),
    [
        (500, "backendError", "INTERNAL"),
        (503, "backendError", "UNAVAILABLE"),
        (429, "rateLimitExceeded", "RESOURCE_EXHAUSTED"),
        (403, "rateLimitExceeded", "PERMISSION_DENIED"),
    ],
)
def test_google_is_down_for_some_calls(
    google: Local, me: Person, status: int, reason: str, name: str
) -> None:
    google.control("down", {"status": status, "times": 2})
    error = me.refused(status, reason, "GET", "users/me/calendarList")
    assert error["status"] == name
    me.refused(status, reason, "POST", "calendars/primary/events", EVENT)
    assert me.list()["items"] == []


def test_tokens_alone_are_down(google: Local, me: Person) -> None:
    google.control("down", {"status": 503, "path_prefix": "/token"})
    me.list()
    refused(refresh(google, me.refresh), 503, "internal_failure")
    assert refresh(google, me.refresh).status_code == 200


def test_no_answer(google: Local, me: Person) -> None:
    google.control("down", {"status": "timeout"})
    with pytest.raises(requests.ConnectionError):
        me.make()
    assert me.list()["items"] == []
    # Lost after it was done: the repetition finds it done.
    prefix = {"path_prefix": "/calendar/", "method": "POST"}
    google.control("faults", {"kind": "timeout_after", **prefix})
    with pytest.raises(requests.ConnectionError):
        me.make()
    me.refused(409, "duplicate", "POST", "calendars/primary/events", EVENT)


def test_many_at_once(me: Person) -> None:
    def make(number: int) -> int:
        body = {**EVENT, "id": f"abcd{number:04}"}
        return me.call("POST", "calendars/primary/events", body).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(make, range(100))) == {200}
    found = me.list(maxResults="2500")["items"]
    assert len({event["etag"] for event in found}) == 100
