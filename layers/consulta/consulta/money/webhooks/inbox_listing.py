"""GET /v1/webhook-inbox: every provider's events, month by month, the last received first.

Time is read by index; provider, state and type are filtered within a read budget, so that a page
may be short and still go on. The inbox is the platform's: it is filled before anybody knows whose
an event is, so only operators see it.
"""

import base64
import binascii
from datetime import datetime, timedelta

from consulta.core import keys, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.keys import Key
from consulta.core.listing import Plan, equal
from consulta.core.time import now, to_text, utc_months
from consulta.money.records import InboxItem
from consulta.money.schema.webhooks import InboxEvent, InboxFilter, InboxPage

PLATFORM = "platform"
LOOK_BACK, MAX_RANGE = timedelta(days=31), timedelta(days=92)
READ_BUDGET = 500
_PARTS = 3


def page(by: Principal, wanted: InboxFilter, limit: int, cursor: str | None) -> InboxPage:
    """One page. Raises Invalid, BadRequest (a cursor of another list)."""
    scope = (by.person, "/v1/webhook-inbox", wanted.model_dump_json())
    high = wanted.to or (wanted.from_ + LOOK_BACK if wanted.from_ else now() + timedelta(days=1))
    low = wanted.from_ or high - LOOK_BACK
    if not timedelta() < high - low <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    asked = {
        name: value
        for name in ("provider", "state", "type")
        if (value := getattr(wanted, name)) is not None
    }
    plan = plan_of(low, high, asked, newest_first=True)
    raws, last_key = plan.read(limit, decode(cursor, *scope))
    shown = [event(InboxItem.read(raw)) for raw in raws]
    return InboxPage(items=shown, next_cursor=encode(last_key, *scope))


def get(inbox_id: str) -> InboxEvent:
    """One event. Raises NotFound."""
    return event(load(inbox_id))


def load(inbox_id: str) -> InboxItem:
    """One event's row, consistently. Raises NotFound."""
    item = table.get(InboxItem, key_of(inbox_id))
    if item is None:
        raise NotFound
    return item


def plan_of(
    low: datetime, high: datetime, asked: dict[str, str], *, newest_first: bool, budget: int = 0
) -> Plan:
    """The months of [low, high), with equality on what is ``asked``."""
    months = [f"{month}-01T00:00:00+00:00" for month in utc_months(low, high)]
    partitions = [keys.inbox_month(datetime.fromisoformat(month)) for month in months]
    return Plan(
        "l1",
        tuple(reversed(partitions) if newest_first else partitions),
        to_text(low),
        to_text(high),
        newest_first,
        **(equal(asked) if asked else {}),
        budget=budget or READ_BUDGET,
    )


def event(item: InboxItem) -> InboxEvent:
    """A row as the API shows it."""
    return InboxEvent(
        id=id_of(item),
        provider=item.provider,
        account=None if item.account == PLATFORM else item.account,
        event_id=item.event_id,
        type=item.type,
        object_id=item.object_id,
        livemode=bool(item.live),
        api_version=item.api_version,
        state=item.state,
        error=item.error,
        attempts=int(item.tries),
        received_at=item.created_at,
        done_at=item.done_at,
    )


def id_of(item: InboxItem) -> str:
    """Provider, account and event id in one part of a path, which their own characters are not."""
    text = f"{item.provider}#{item.account}#{item.event_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def key_of(inbox_id: str) -> Key:
    """The reverse of :func:`id_of`. Raises NotFound for what is no id."""
    try:
        padded = inbox_id + "=" * (-len(inbox_id) % 4)
        parts = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split("#")
        if len(parts) != _PARTS:
            raise NotFound
        return keys.inbox(*parts)
    except (binascii.Error, ValueError):
        raise NotFound from None
