"""The platform's webhook endpoints and event destinations at Stripe, in our own words.

Sources: https://docs.stripe.com/api/webhook_endpoints,
https://docs.stripe.com/api/v2/core/event-destinations.
"""

from typing import Any

from consulta.money.stripe.client import client, translated
from consulta.money.webhooks.endpoints import Endpoint, Scope

PAGE = 100
ENABLED = "enabled"
_FROM = {"@self": Scope.ACCOUNT, "@accounts": Scope.CONNECT}


def listed() -> list[Endpoint]:
    """All of them, of the mode (live or test) that the key is of. Raises ProviderFailed."""
    found: dict[str, Endpoint] = {}
    with translated("webhook_endpoints.list"):
        page = client().v1.webhook_endpoints.list({"limit": PAGE})
        for made in page.auto_paging_iter():
            found[made.id] = _endpoint(made.to_dict())
    # One that both lists have is described better here: it names whose events it hears of.
    with translated("v2.event_destinations.list"):
        page = client().v2.core.event_destinations.list({"include": ["webhook_endpoint.url"]})
        for made in page.auto_paging_iter():
            raw = made.to_dict()
            if raw["type"] == "webhook_endpoint":
                found[made.id] = _destination(raw)
    return list(found.values())


def _endpoint(raw: dict[str, Any]) -> Endpoint:
    """It is a Connect endpoint if it names our application: nothing else says so."""
    return Endpoint(
        id=raw["id"],
        url=raw["url"],
        scopes=frozenset({Scope.CONNECT if raw.get("application") else Scope.ACCOUNT}),
        api_version=raw.get("api_version") or "",
        is_enabled=raw["status"] == ENABLED,
        types=frozenset(raw["enabled_events"]),
    )


def _destination(raw: dict[str, Any]) -> Endpoint:
    told = raw.get("events_from") or ["@self"]
    return Endpoint(
        id=raw["id"],
        url=(raw.get("webhook_endpoint") or {}).get("url") or "",
        scopes=frozenset(_FROM[name] for name in told if name in _FROM),
        api_version=raw.get("snapshot_api_version") or "",
        is_enabled=raw["status"] == ENABLED,
        types=frozenset(raw["enabled_events"]),
        is_thin=raw["event_payload"] == "thin",
    )
