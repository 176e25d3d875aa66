"""Thin events of the second API: they name their object instead of carrying it.

Source: https://docs.stripe.com/api/v2/core/events. None comes by itself here; the control plane
makes them. The list is the platform's, newest first; ``page`` is part of ``next_page_url``.
"""

from datetime import UTC, datetime
from typing import Any, NotRequired, TypedDict
from urllib.parse import urlencode

from stripe.params.v2.core import EventListParamsCreated

from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.objects import token
from local.simulators.stripe.state import Call, Object, State

KIND = "v2.core.event"
MAX_LIMIT = 100


class PageParams(TypedDict):
    """``EventListParams``, and the page that ``next_page_url`` carries (a token, at Stripe)."""

    created: NotRequired[EventListParamsCreated]
    limit: NotRequired[int]
    object_id: NotRequired[str]
    types: NotRequired[list[str]]
    page: NotRequired[int]


def emit(state: State, kind: str, subject: dict[str, str], context: str | None) -> Object:
    """Record one and hand it to delivery."""
    event: Object = {
        "id": f"evt_test_{token(24)}",
        "object": KIND,
        "type": kind,
        "context": context,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "livemode": False,
        "reason": None,
        "related_object": subject,
    }
    state.put(None, event)
    state.outbox.emit(event["id"], event)
    return event


def list_events(state: State, call: Call) -> Object:
    limit = call.params.get("limit", 20)
    if not 1 <= limit <= MAX_LIMIT:
        raise invalid_request(f"limit must be between 1 and {MAX_LIMIT}", param="limit")
    created = {k: _moment(v) for k, v in (call.params.get("created") or {}).items()}
    found = [event for event in state.all(None, KIND) if _matches(event, call.params, created)]
    offset = int(call.params.get("page") or 0)
    shown, rest = found[offset : offset + limit], len(found) > offset + limit
    following = {"limit": limit, "page": offset + limit}
    following |= {f"created[{k}]": v for k, v in (call.params.get("created") or {}).items()}
    return {
        "data": shown,
        "next_page_url": f"{call.path}?{urlencode(following)}" if rest else None,
        "previous_page_url": None,
    }


def _matches(event: Object, params: dict[str, Any], created: dict[str, datetime]) -> bool:
    at = _moment(event["created"])
    tests = {"gt": at.__gt__, "gte": at.__ge__, "lt": at.__lt__, "lte": at.__le__}
    wanted = params.get("object_id") in (None, (event["related_object"] or {}).get("id"))
    types = params.get("types")
    return (
        wanted
        and (types is None or event["type"] in types)
        and all(tests[name](bound) for name, bound in created.items())
    )


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise invalid_request(f"Invalid timestamp: {text}", param="created") from None
