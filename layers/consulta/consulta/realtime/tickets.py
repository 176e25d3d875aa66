"""Tickets: a browser cannot send a header with a WebSocket, so it brings one of these instead.

Addresses end in logs of proxies and browsers, and an access token does not belong there. A ticket
is good once and for a minute, says nothing of whom it is for, and only its hash is stored.
"""

import hashlib
import re
import secrets
from dataclasses import asdict
from datetime import timedelta

from consulta.core import keys, settings, table
from consulta.core.errors import Forbidden
from consulta.core.identity import Principal
from consulta.core.keys import Key
from consulta.core.time import from_epoch, now, to_epoch
from consulta.realtime import connections
from consulta.realtime.connections import Holder
from consulta.realtime.schema import RealtimeTicket

LIFETIME = timedelta(seconds=60)
TICKET = "ticket"
# 32 random bytes as the address has them.
_SHAPE = re.compile(r"[A-Za-z0-9_-]{43}")


class EndpointSettings(settings.Settings):
    """Where the WebSocket API's connections are managed: ``https://…/live``."""

    realtime_endpoint: str


def url() -> str:
    """Where browsers connect to: the same address by its own scheme."""
    endpoint: str = settings.load(EndpointSettings).realtime_endpoint
    return f"ws{endpoint.removeprefix('http')}"


def issue(by: Principal, subject: tuple[str, str] | None) -> RealtimeTicket:
    """A ticket for the caller's own dashboard, which is of ``subject``: kind and id.

    Raises Forbidden for an API key, and for who has no dashboard.
    """
    if not by.session:
        raise Forbidden("A connection lasts as long as a session, and an API key has none")
    if subject is None:
        raise Forbidden("The caller has no dashboard of their own")
    holder = Holder(by.practice, by.person, by.session, *subject)
    ticket, expires_at = secrets.token_urlsafe(32), to_epoch(now() + LIFETIME)
    values = {**asdict(holder), "expires_at": expires_at}
    name = connections.connections_table()
    table.transact([table.put_values(_key(ticket), values, table=name, label=TICKET)])
    return RealtimeTicket(ticket=ticket, url=url(), expires_at=from_epoch(expires_at))


def admit(ticket: str, connection_id: str) -> None:
    """Open a connection with a ticket, which is used up by it. Raises Forbidden.

    Why it is refused is not told: a stranger learns nothing of tickets that were.
    """
    if not _SHAPE.fullmatch(ticket):
        raise Forbidden
    name = connections.connections_table()
    raw = table.get_raw(_key(ticket), table=name)
    # The table's TTL only tidies, days late: what has run out does not count.
    if raw is None or int(raw["expires_at"]["N"]) <= to_epoch(now()):
        raise Forbidden
    holder = Holder.read(raw)
    if connections.is_full(holder):
        raise Forbidden
    used = table.delete(_key(ticket), condition="attribute_exists(pk)", table=name, label=TICKET)
    try:
        table.transact([used, *connections.opening(holder, connection_id)])
    except table.ConditionFailed:
        # Somebody else was faster with the same ticket.
        raise Forbidden from None


def _key(ticket: str) -> Key:
    return keys.ticket(hashlib.sha256(ticket.encode()).hexdigest())
