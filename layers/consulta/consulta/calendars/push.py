"""POST /webhooks/google-calendar: Google tells that a calendar has changed, not what.

Source: Google's guide to push notifications. The channel's id finds whose calendar it is, and its
token, of which only the digest is kept, proves that it is Google who tells. No resolver: there is
nothing in the body to read.
"""

import hmac
import json
from hashlib import sha256
from typing import Any

from consulta.calendars import queue
from consulta.core import keys, table
from consulta.core.observe import count, failure
from consulta.core.secure import REQUEST_ID_HEADER, SECURITY_HEADERS
from consulta.core.time import now, to_epoch

Event = dict[str, Any]
MAX_HEADER = 256


def handle(event: Event, _context: Any) -> Event:
    """204 once it is in the queue, 404 for whatever is no channel of ours, 500 to be told again."""
    headers = {name.lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    request_id = str(event.get("requestContext", {}).get("requestId", ""))
    try:
        row = _channel(headers)
        if row is None:
            count("CalendarPushesRefused")
            return _answer(404, request_id, "not-found", "There is no such resource")
        # "sync" says that the channel is there; we have read the calendar before we asked for it.
        if headers.get("x-goog-resource-state") != "sync":
            # Many changes at once are told one by one: a sync that has begun since has seen them.
            work = queue.work(queue.SYNC, row["practice"], row["expert"])
            queue.send({**work, "told_at": str(to_epoch(now()))})
            count("CalendarPushes")
    except Exception as error:  # noqa: BLE001  # whatever it is, Google must tell again
        failure("a calendar's change was not queued", error, request=request_id)
        return _answer(500, request_id, "internal", "Something went wrong on our side")
    return {"statusCode": 204, "headers": _headers(request_id), "body": ""}


def _channel(headers: dict[str, str]) -> dict[str, Any] | None:
    """Whose channel it is; None where there is none, or the token is not its own."""
    channel, token = headers.get("x-goog-channel-id", ""), headers.get("x-goog-channel-token", "")
    if not 0 < len(channel) <= MAX_HEADER or "#" in channel or not 0 < len(token) <= MAX_HEADER:
        return None
    raw = table.get_raw(keys.calendar_channel(channel), consistent=False)
    if raw is None:
        return None
    row = table.from_raw(raw)
    is_it = hmac.compare_digest(sha256(token.encode()).hexdigest(), str(row["digest"]))
    return row if is_it and row["expires_at"] > to_epoch(now()) else None


def _headers(request_id: str) -> dict[str, str]:
    return {**SECURITY_HEADERS, REQUEST_ID_HEADER: request_id, "Cache-Control": "no-store"}


def _answer(status: int, request_id: str, kind: str, title: str) -> Event:
    body = {
        "type": f"urn:consulta:problem:{kind}",
        "title": title,
        "status": status,
        "detail": title,
        "errors": [],
        "request_id": request_id,
    }
    headers = {**_headers(request_id), "Content-Type": "application/problem+json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
