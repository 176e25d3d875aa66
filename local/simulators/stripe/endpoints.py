"""Webhook endpoints, and event destinations of the second API.

Sources: https://docs.stripe.com/api/webhook_endpoints,
https://docs.stripe.com/api/v2/core/event-destinations.

The address of /_control/config is listed as what it is: an endpoint of the account's own events,
one of the connected accounts', and a destination of thin events, which hear of everything. An event
goes to one endpoint, the newest made here that hears of it, else to that address.
"""

from typing import Any, NotRequired, TypedDict
from urllib.parse import urlencode, urlsplit

from local.simulators.stripe.errors import invalid_request, missing
from local.simulators.stripe.intents import merge_metadata
from local.simulators.stripe.objects import API_VERSION, new, now, token
from local.simulators.stripe.state import APPLICATION, Call, Object, State, paged

KIND, DESTINATION = "webhook_endpoint", "v2.core.event_destination"
# So many in one mode of an account.
MOST = 16
MAX_PAGE = 100
_STARTED = now()
_CONFIGURED = "This endpoint is the address of /_control/config; change it there."


def create(state: State, call: Call) -> Object:
    """Its secret is in this answer only."""
    _only_of_platform(call)
    params = call.params
    _check_url(params["url"])
    if len(state.endpoints) >= MOST:
        raise invalid_request(f"You have reached the maximum of {MOST} test webhook endpoints.")
    endpoint = new(
        KIND,
        api_version=params.get("api_version"),
        application=APPLICATION if params.get("connect") else None,
        description=params.get("description"),
        enabled_events=params["enabled_events"],
        metadata=params.get("metadata") or {},
        status="enabled",
        url=params["url"],
    )
    secret = f"whsec_{token(32)}"
    state.endpoint_secrets |= {endpoint["id"]: secret}
    state.endpoints = (endpoint, *state.endpoints)
    return endpoint | {"secret": secret}


def list_all(state: State, call: Call) -> Object:
    _only_of_platform(call)
    return paged(call, [*state.endpoints, *_configured(state)])


def retrieve(state: State, call: Call, endpoint_id: str) -> Object:
    _only_of_platform(call)
    return _found(state, endpoint_id)


def update(state: State, call: Call, endpoint_id: str) -> Object:
    """All but its API version and whose events it hears of."""
    _only_of_platform(call)
    changed, params = dict(_made(state, endpoint_id)), call.params
    if "url" in params:
        _check_url(params["url"])
    merge_metadata(changed, params)
    changed |= {k: params[k] for k in ("description", "enabled_events", "url") if k in params}
    if "disabled" in params:
        changed["status"] = "disabled" if params["disabled"] else "enabled"
    state.endpoints = tuple(changed if e["id"] == endpoint_id else e for e in state.endpoints)
    return changed


def delete(state: State, call: Call, endpoint_id: str) -> Object:
    _only_of_platform(call)
    _made(state, endpoint_id)
    state.endpoints = tuple(e for e in state.endpoints if e["id"] != endpoint_id)
    return {"id": endpoint_id, "object": KIND, "deleted": True}


class DestinationParams(TypedDict):
    """``EventDestinationListParams``, and the page that ``next_page_url`` carries."""

    include: NotRequired[list[str]]
    limit: NotRequired[int]
    page: NotRequired[int]


def list_destinations(state: State, call: Call) -> Object:
    _only_of_platform(call)
    limit, include = call.params.get("limit", 20), call.params.get("include", [])
    if not 1 <= limit <= MAX_PAGE:
        raise invalid_request(f"limit must be between 1 and {MAX_PAGE}", param="limit")
    for name in include:
        if name != "webhook_endpoint.url":
            raise invalid_request(f"{name} cannot be included", param="include")
    found = _destinations(state, with_url=bool(include))
    offset = call.params.get("page", 0)
    shown, rest = found[offset : offset + limit], len(found) > offset + limit
    following: list[tuple[str, Any]] = [("limit", limit), ("page", offset + limit)]
    following += [(f"include[{n}]", name) for n, name in enumerate(include)]
    return {
        "data": shown,
        "next_page_url": f"{call.path}?{urlencode(following)}" if rest else None,
        "previous_page_url": None,
    }


def _destinations(state: State, *, with_url: bool) -> list[Object]:
    url = state.outbox.settings.webhook_url
    if url is None:
        return []
    made = "2026-01-01T00:00:00.000Z"
    destination = new(
        DESTINATION,
        created=made,
        description="",
        enabled_events=["*"],
        event_payload="thin",
        events_from=["@self", "@accounts"],
        name="_control/config",
        status="enabled",
        type="webhook_endpoint",
        updated=made,
        # What is not asked for is not shown.
        webhook_endpoint={"signing_secret": None, "url": url if with_url else None},
    )
    return [destination | {"id": "ed_test_config"}]


def _configured(state: State) -> list[Object]:
    url = state.outbox.settings.webhook_url
    if url is None:
        return []
    shared = {
        "api_version": API_VERSION,
        "created": _STARTED,
        "description": "/_control/config",
        "enabled_events": ["*"],
        "status": "enabled",
        "url": url,
    }
    return [
        new(KIND, application=application, **shared) | {"id": f"we_config_{name}"}
        for name, application in (("connect", APPLICATION), ("account", None))
    ]


def _found(state: State, endpoint_id: str) -> Object:
    for endpoint in (*state.endpoints, *_configured(state)):
        if endpoint["id"] == endpoint_id:
            return endpoint
    raise missing(KIND, endpoint_id)


def _made(state: State, endpoint_id: str) -> Object:
    endpoint = _found(state, endpoint_id)
    if endpoint not in state.endpoints:
        raise invalid_request(_CONFIGURED)
    return endpoint


def _only_of_platform(call: Call) -> None:
    if call.account is not None:
        raise invalid_request("This simulator has webhook endpoints of the platform only.")


def _check_url(url: str) -> None:
    """In test mode plain HTTP is taken, too."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid_request(
            "Invalid URL: An explicit scheme (such as https) must be provided.", param="url"
        )
