"""Whether Stripe tells this stack what it has to: its webhook endpoints beside our table. Pure.

Source: MONEY_AND_BOOKING_RULES §5: an endpoint's API version is pinned to the SDK's and checked at
deploy. An endpoint hears of the platform's own account or of the connected ones, and its API
version cannot be changed any more (https://docs.stripe.com/api/webhook_endpoints). An event
destination of Stripe's second API may hear of both, and a thin one has no version
(https://docs.stripe.com/api/v2/core/event-destinations).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from consulta.money.webhooks.event_types import STRIPE, Work

PATH = "/webhooks/stripe"
# All types but those that Stripe has to be asked for one by one, none of which we know.
EVERY = "*"
# A thin event about an object of the first API is named like its snapshot behind this.
_OF_FIRST_API = "v1."


class Scope(StrEnum):
    """Whose events an endpoint hears of: the platform's own, or the connected accounts'."""

    ACCOUNT = "account"
    CONNECT = "connect"


# What happens in one of the two only; all other types happen in both.
ONLY: dict[Scope, frozenset[str]] = {
    # The platform's money: transfers to the accounts, and its fees of their charges.
    Scope.ACCOUNT: frozenset({"transfer.updated", "transfer.reversed", "application_fee.refunded"}),
    # Of our own account we keep no state.
    Scope.CONNECT: frozenset(
        {"account.updated", "account.application.deauthorized", "capability.updated"}
    ),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the platform's endpoints, as Stripe lists it.

    ``api_version`` is "" where it follows the account's own; ``types`` as enabled, ``*`` included.
    """

    id: str
    url: str
    scopes: frozenset[Scope]
    api_version: str
    is_enabled: bool
    types: frozenset[str]
    is_thin: bool = False


class Finding(NamedTuple):
    """One thing that is wrong.

    ``kind``: ``missing`` (nothing enabled hears of that scope) · ``disabled`` · ``api_version`` (of
    an endpoint; ``detail`` is the one that it has) · ``types`` (``detail`` are those that nobody
    tells of that scope). ``endpoint`` is "" where it is about all of them, ``scope`` names whom it
    concerns.
    """

    kind: str
    endpoint: str
    scope: str
    detail: str


def wanted(scope: Scope) -> frozenset[str]:
    """The types that something is done about, as far as they happen in a scope."""
    elsewhere = frozenset().union(*(types for other, types in ONLY.items() if other != scope))
    return frozenset(k for k, work in STRIPE.items() if isinstance(work, Work)) - elsewhere


def at(url: str, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """The endpoints that call ``url``. Stripe keeps the address as it was typed."""
    return [endpoint for endpoint in endpoints if _address(endpoint.url) == _address(url)]


def check(endpoints: Iterable[Endpoint], url: str, api_version: str) -> list[Finding]:
    """What is wrong with the endpoints at ``url``; nothing where all that we handle is told.

    What one endpoint does not tell another one may: only what none tells is missing.
    """
    ours = sorted(at(url, endpoints), key=lambda endpoint: endpoint.id)
    found: list[Finding] = []
    for endpoint in ours:
        scopes = ", ".join(sorted(endpoint.scopes))
        if not endpoint.is_enabled:
            found.append(Finding("disabled", endpoint.id, scopes, ""))
        if not endpoint.is_thin and endpoint.api_version != api_version:
            told = endpoint.api_version or "the account's own"
            found.append(Finding("api_version", endpoint.id, scopes, told))
    for scope in Scope:
        telling = [one for one in ours if one.is_enabled and scope in one.scopes]
        if not telling:
            found.append(Finding("missing", "", scope, ""))
            continue
        untold = wanted(scope).difference(*(_told(endpoint) for endpoint in telling))
        if untold:
            found.append(Finding("types", "", scope, ", ".join(sorted(untold))))
    return found


def _told(endpoint: Endpoint) -> frozenset[str]:
    """The types of our table that it tells. All of a thin one are of the second API."""
    if endpoint.is_thin:
        return frozenset(kind.removeprefix(_OF_FIRST_API) for kind in endpoint.types) - {EVERY}
    return frozenset(STRIPE) if EVERY in endpoint.types else endpoint.types


def _address(url: str) -> tuple[str, str, int | None, str, str]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port, parts.path, parts.query
