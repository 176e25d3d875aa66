"""What the calendars' queue asks for, done; and what the schedule puts into it."""

import json
from collections.abc import Mapping
from typing import Any

from consulta.calendars import inward, outward, queue
from consulta.calendars.google import Exists, Missing, Refused, Unavailable
from consulta.core import keys, table
from consulta.core.bus import Event
from consulta.core.keys import Tenant, tenant_of
from consulta.core.observe import count, logger
from consulta.core.time import now, to_text

# Connections that one run of the schedule looks at: the next run goes on.
MAX_DUE = 5000
PAGE = 100


def process(records: list[dict[str, Any]]) -> list[str]:
    """Work on one batch; the ids of the messages that have to come again."""
    return list(queue.process(records, handle, later=(Unavailable,)))


def handle(message: Mapping[str, Any]) -> None:
    """One message: an event of the bus, or work of our own."""
    if "detail" in message:
        event = Event.received(json.dumps(message))
        _write(event.tenant, event.id)
        return
    tenant, subject = Tenant(message["practice"]), str(message["id"])
    match message["kind"]:
        case queue.SYNC:
            inward.sync(tenant, subject, int(message.get("told_at", 0)))
        case queue.OUTWARD:
            outward.sync_all(tenant, subject, str(message.get("after", "")))
        case queue.FORGET:
            inward.forget(tenant, subject)
        case queue.APPOINTMENT:
            _write(tenant, subject)
        case kind:
            raise ValueError(f"unknown work: {kind}")


def _write(tenant: Tenant, appointment: str) -> None:
    """One that Google refuses is not tried again: another calendar has to be chosen first.

    Where it is our own credentials that are refused, the message comes again.
    """
    try:
        outward.sync_appointment(tenant, appointment)
    except (Missing, Refused, Exists) as refused:
        if refused.operation.startswith("token."):
            raise
        logger.error(
            "Google refused an appointment",
            extra={"appointment": appointment, "status": refused.status},
        )
        count("CalendarEventsRefused")


def renew() -> int:
    """Ask for a sync of every connection whose channel ends, or that was told nothing for long.

    By the list of connections in order of when each is due: nothing else is read. A connection that
    cannot be synced stays where it is on the list, and is asked for again by the next run.
    """
    query = table.Query(keys.calendar_connections(), index="l1", high=to_text(now()))
    asked, start = 0, None
    while asked < MAX_DUE:
        page = query.page(PAGE, start)
        queue.send_all(_work(raw) for raw in page.items)
        asked += len(page.items)
        start = page.last_key
        if start is None:
            break
    count("CalendarsDue", asked)
    return asked


def _work(raw: table.Raw) -> queue.Message:
    pk = raw["pk"]["S"]
    return queue.work(queue.SYNC, tenant_of(pk).practice, pk.rpartition("#")[2])
