"""The few calls to Google that calendars need, of OAuth and of the Calendar API v3; errors.

Source: Google's OAuth 2.0 for web server applications (with RFC 7636, PKCE) and the Calendar API
reference. Over urllib3, which comes with botocore: Google's own client is a large import for nine
calls. Nothing that was sent or answered is ever logged.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from http import HTTPStatus
from random import SystemRandom
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from aws_lambda_powertools.utilities.parameters.secrets import SecretsProvider
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from consulta.core import aws, settings
from consulta.core.errors import Problem
from consulta.core.observe import count, failure, logger

CONNECT_S, READ_S = 2.0, 10.0
# All tries of one call together; a worker has several calls to make.
DEADLINE_S = 20.0
SECRET_AGE_S = 300
PAGE_SIZE = 250
EVENTS_SCOPE = "https://www.googleapis.com/auth/calendar.events"
LIST_SCOPE = "https://www.googleapis.com/auth/calendar.calendarlist.readonly"
SCOPES = (EVENTS_SCOPE, LIST_SCOPE)
# What is read of somebody's events: when, and whether it keeps them busy; never what it is.
_FIELDS = (
    "timeZone,nextPageToken,nextSyncToken,items(id,status,start,end,transparency,eventType,"
    "attendees(self,responseStatus),extendedProperties/private)"
)
_RATE_REASONS = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"}
_jitter = SystemRandom()

Body = dict[str, Any]


class GoogleSettings(settings.Settings):
    """Where Google is, and where our credentials are."""

    google_auth_base: str = "https://accounts.google.com"
    google_token_base: str = "https://oauth2.googleapis.com"  # noqa: S105  # an address
    google_api_base: str = "https://www.googleapis.com"
    google_secret_arn: str


class GoogleSecret(BaseModel):
    """Our OAuth client."""

    # A validation error would otherwise quote the secret.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)
    client_id: str
    client_secret: SecretStr


class GoogleError(Exception):
    """Google did not do what was asked; ``status`` is 0 where it did not answer."""

    def __init__(self, operation: str, status: int = 0, reason: str = "") -> None:
        super().__init__(f"{operation}: {status or 'no answer'} {reason}".rstrip())
        self.operation, self.status, self.reason = operation, status, reason


class Unavailable(GoogleError):
    """No answer, 5xx, or too many requests, until the deadline: the same call may come again."""


class Revoked(GoogleError):
    """The consent is withdrawn or has run out: only the expert can give it again."""


class Unauthorized(GoogleError):
    """The access token is no longer good (401)."""


class Missing(GoogleError):
    """There is no such calendar, event or channel (404, 410)."""


class Exists(GoogleError):
    """There is an event of that id already (409)."""


class SyncTokenGone(GoogleError):
    """What changed since is no longer known (410): read everything again."""


class Refused(GoogleError):
    """Refused for another reason (4xx)."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What the token endpoint gave. Its repr shows no token."""

    access: str
    expires_in: int
    refresh: str
    scopes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Grant(expires_in={self.expires_in!r})"


# ---------------------------------------------------------------- our own credentials


@lru_cache(maxsize=1)
def _secrets_of(client: Any) -> SecretsProvider:
    return SecretsProvider(boto3_client=client)


def secret() -> GoogleSecret:
    """Our OAuth client, at most five minutes old. Raises Problem where it cannot be read."""
    arn = settings.load(GoogleSettings).google_secret_arn
    try:
        store = _secrets_of(aws.client("secretsmanager"))
        return GoogleSecret.model_validate_json(str(store.get(arn, max_age=SECRET_AGE_S)))
    except (GetParameterError, ValidationError) as error:
        failure("Google's secret cannot be read", error)
        raise Problem("The secret of the calendars' provider cannot be read") from None


# ---------------------------------------------------------------- OAuth


def consent_url(redirect_uri: str, state: str, challenge: str) -> str:
    """Where the expert's browser goes to consent.

    ``prompt=consent``: without it Google gives a refresh token the first time only.
    """
    query = {
        "response_type": "code",
        "client_id": secret().client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(SCOPES),
        "access_type": "offline",
        "prompt": "consent",
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    base = settings.load(GoogleSettings).google_auth_base.rstrip("/")
    return f"{base}/o/oauth2/v2/auth?{urlencode(query)}"


def exchange(code: str, verifier: str, redirect_uri: str) -> Grant:
    """Tokens for a consent's code, which works once. Raises Refused, Revoked, Unavailable."""
    return _grant(
        "token.exchange",
        {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        },
        again=False,
    )


def refresh(token: str) -> Grant:
    """A new access token. Raises Revoked where the consent is gone, Unavailable."""
    return _grant("token.refresh", {"grant_type": "refresh_token", "refresh_token": token})


def revoke(token: str) -> None:
    """Give the consent back: asked once. One that is gone already is not an error."""
    base = settings.load(GoogleSettings).google_token_base.rstrip("/")
    try:
        _call("token.revoke", "POST", f"{base}/revoke", form={"token": token}, again=False)
    except (Refused, Revoked, Unauthorized):
        return


def _grant(operation: str, form: Mapping[str, str], *, again: bool = True) -> Grant:
    known = secret()
    base = settings.load(GoogleSettings).google_token_base.rstrip("/")
    ours = {
        "client_id": known.client_id,
        "client_secret": known.client_secret.get_secret_value(),
    }
    given = _call(operation, "POST", f"{base}/token", form={**ours, **form}, again=again)
    if not given.get("access_token"):
        raise Refused(operation, HTTPStatus.OK, "no token")
    return Grant(
        given["access_token"],
        int(given.get("expires_in", 0)),
        given.get("refresh_token", ""),
        tuple(str(given.get("scope", "")).split()),
    )


# ---------------------------------------------------------------- the Calendar API


@dataclass(frozen=True, slots=True)
class Changes:
    """One page of events. ``token`` is there on the last page only."""

    events: list[Body]
    zone: str
    page: str
    token: str


@dataclass(frozen=True, slots=True)
class Calendars:
    """The Calendar API in the name of whose access token it is."""

    access: str

    def __repr__(self) -> str:
        return "Calendars()"

    def listing(self) -> list[Body]:
        """The calendars that may be written to: id, summary, primary, timeZone."""
        found: list[Body] = []
        page = ""
        while True:
            query = {"minAccessRole": "writer", "maxResults": str(PAGE_SIZE)}
            answer = self._call(
                "calendars.list",
                "GET",
                "users/me/calendarList",
                query=query | ({"pageToken": page} if page else {}),
            )
            found += answer.get("items", [])
            page = answer.get("nextPageToken", "")
            if not page:
                return found

    def changes(self, calendar: str, query: Mapping[str, str]) -> Changes:
        """One page of single events; ``query`` has a syncToken, or timeMin and timeMax.

        Raises SyncTokenGone, Missing (no such calendar), Unauthorized, Refused, Unavailable.
        """
        common = {"singleEvents": "true", "maxResults": str(PAGE_SIZE), "fields": _FIELDS}
        answer = self._call("events.list", "GET", _events(calendar), query={**common, **query})
        return Changes(
            answer.get("items", []),
            answer.get("timeZone", ""),
            answer.get("nextPageToken", ""),
            answer.get("nextSyncToken", ""),
        )

    def get(self, calendar: str, event_id: str) -> Body:
        """One event. Raises Missing."""
        return self._call("events.get", "GET", _events(calendar, event_id))

    def insert(self, calendar: str, event: Body) -> Body:
        """Make an event under the id that it names. Raises Exists where it is there already."""
        return self._call("events.insert", "POST", _events(calendar), query=_CONFERENCE, body=event)

    def patch(self, calendar: str, event_id: str, event: Body) -> Body:
        """Change an event; one that was deleted comes back. Raises Missing."""
        body = {name: value for name, value in event.items() if name != "id"}
        path = _events(calendar, event_id)
        return self._call("events.patch", "PATCH", path, query=_CONFERENCE, body=body)

    def delete(self, calendar: str, event_id: str) -> None:
        """Delete an event. Raises Missing."""
        self._call("events.delete", "DELETE", _events(calendar, event_id), query=_QUIET)

    def watch(self, calendar: str, channel: Body) -> Body:
        """Be told of changes. ``channel``: id, type, address, token; gives resourceId, expiration.

        Not tried again by itself: a channel's id can be used once.
        """
        path = f"{_events(calendar)}/watch"
        return self._call("events.watch", "POST", path, body=channel, again=False)

    def stop(self, channel: str, resource: str) -> None:
        """Be told no longer: asked once, since somebody may wait. Raises Missing."""
        body = {"id": channel, "resourceId": resource}
        self._call("channels.stop", "POST", "channels/stop", body=body, again=False)

    def _call(self, operation: str, method: str, path: str, **more: Any) -> Body:
        base = settings.load(GoogleSettings).google_api_base.rstrip("/")
        return _call(operation, method, f"{base}/calendar/v3/{path}", access=self.access, **more)


_QUIET = {"sendUpdates": "none"}
_CONFERENCE = {"conferenceDataVersion": "1", **_QUIET}


def _events(calendar: str, event_id: str = "") -> str:
    path = f"calendars/{quote(calendar, safe='')}/events"
    return f"{path}/{quote(event_id, safe='')}" if event_id else path


# ---------------------------------------------------------------- transport


@cache
def _http() -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
    return urllib3.PoolManager(timeout=timeout, retries=False)


def _tries(*, again: bool) -> Iterator[int]:
    """0, 1, 2 … with full jitter between them, as long as there is time for another."""
    end, number = time.monotonic() + DEADLINE_S, 0
    while True:
        yield number
        number += 1
        pause = _jitter.uniform(0, min(4.0, 0.25 * 2**number))
        # Another try may take as long as its timeouts.
        if not again or number > 4 or time.monotonic() + pause + READ_S > end:
            return
        time.sleep(pause)


def _call(
    operation: str,
    method: str,
    url: str,
    *,
    access: str = "",
    query: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    body: Body | None = None,
    again: bool = True,
) -> Body:
    headers = {"Accept": "application/json"}
    if access:
        headers["Authorization"] = f"Bearer {access}"
    sent = None
    if form is not None:
        headers["Content-Type"], sent = "application/x-www-form-urlencoded", urlencode(form)
    elif body is not None:
        headers["Content-Type"], sent = "application/json", json.dumps(body)
    target = f"{url}?{urlencode(query)}" if query else url
    problem: GoogleError = Unavailable(operation)
    for _ in _tries(again=again):
        try:
            answer = _http().request(method, target, body=sent, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            problem = Unavailable(operation, 0, type(error).__name__)
            continue
        parsed = _parsed(answer.data)
        if answer.status < 300:
            return parsed
        problem = _problem(operation, answer.status, parsed, query or {})
        if not isinstance(problem, Unavailable):
            break
    _note(problem)
    raise problem


def _parsed(data: bytes) -> Body:
    try:
        found = json.loads(data) if data else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _problem(operation: str, status: int, body: Body, query: Mapping[str, str]) -> GoogleError:
    error = body.get("error")
    # OAuth's errors are a word; the API's have a list of reasons.
    details = error.get("errors") if isinstance(error, dict) else None
    reasons = {str(part.get("reason")) for part in details or () if isinstance(part, dict)}
    reason = error if isinstance(error, str) else "".join(sorted(reasons)[:1])
    kind: type[GoogleError] = _KINDS.get(status, Refused)
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500 or reasons & _RATE_REASONS:
        kind = Unavailable
    elif reason == "invalid_grant":
        kind = Revoked
    elif status == HTTPStatus.UNAUTHORIZED and operation.startswith("token."):
        # Our own client was refused, which says nothing of the expert's consent.
        kind = Refused
    elif status == HTTPStatus.GONE and "syncToken" in query:
        kind = SyncTokenGone
    return kind(operation, status, reason)


_KINDS: dict[int, type[GoogleError]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.NOT_FOUND: Missing,
    HTTPStatus.GONE: Missing,
    HTTPStatus.CONFLICT: Exists,
}


def _note(problem: GoogleError) -> None:
    """Reasons are Google's own words; texts, which may quote an event, are left out."""
    if isinstance(problem, (Missing, Exists, SyncTokenGone)):
        return
    logger.warning(
        "Google refused or did not answer",
        extra={
            "operation": problem.operation,
            "status": problem.status,
            "reason": problem.reason[:60],
            "kind": type(problem).__name__,
        },
    )
    count("GoogleErrors")
