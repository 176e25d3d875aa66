"""Who sends a notice: its row is put before the mail goes out, and says afterwards what came of it.

A sender that dies in between leaves a pending row: nobody knows whether the mail went out. Once the
claim is over, the redelivered message sends it again, so a notice comes at least once, and at most
``MAX_TRIES`` times; no reader of mail is harmed by a second one, somebody who was never told is.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from consulta.core import table
from consulta.core.item import Actor, Item
from consulta.core.observe import count
from consulta.core.time import now, to_text
from consulta.notifications.records import (
    BY_EVENT,
    NOTIFICATION,
    Kind,
    NotificationItem,
    State,
    key_of,
)
from consulta.notifications.rules import Due

# Longer than one invocation can last (Timeout in template.yaml), shorter than the queue's
# VisibilityTimeout, so that what comes again finds the claim over.
CLAIM = timedelta(seconds=90)
MAX_TRIES = 3
# Why a notice was not sent, besides SES's own codes.
NOT_WANTED, NO_ADDRESS, GONE = "not_wanted", "no_address", "recipient_gone"
OWN_ACTION, BAD_ADDRESS = "own_action", "bad_address"
UNKNOWN_OUTCOME, SUPERSEDED = "unknown_outcome", "superseded"


class NotYet(Exception):
    """Another invocation is sending this notice, or died of it: the message has to come again."""


def of(pk: str) -> list[NotificationItem]:
    """The notices under an item, consistently: a handful each."""
    query = table.Query(pk, begins=f"{NOTIFICATION}#", consistent=True)
    return [NotificationItem.read(raw) for raw in query.all()]


def due_of(notice: NotificationItem) -> Due:
    """What it is a notice of."""
    return Due(Kind(notice.kind), notice.sk.rpartition("#")[2])


def take(
    about: Item, due: Due, notice: NotificationItem | None, by: Actor
) -> NotificationItem | None:
    """Claim a notice: it is this invocation's to send. None where nothing is left to be done.

    Raises :class:`NotYet` while another has it.
    """
    until = now() + CLAIM
    if notice is None:
        made = _new(about, due, by, State.PENDING, claimed_until=until, tries=1)
        if not table.written([table.put_new(made)]):
            raise NotYet
        return made
    if notice.status != State.PENDING:
        return None
    if notice.claimed_until and notice.claimed_until > now():
        raise NotYet
    if int(notice.tries) >= MAX_TRIES:
        settle(notice, by, State.FAILED, reason=UNKNOWN_OUTCOME)
        return None
    values = {"claimed_until": to_text(until), "tries": int(notice.tries) + 1}
    if not table.written([table.change(notice, by, set_=values)]):
        raise NotYet
    notice.version, notice.tries = int(notice.version) + 1, int(notice.tries) + 1
    return notice


def settle(
    notice: NotificationItem,
    by: Actor,
    status: State,
    *,
    reason: str | None = None,
    message_id: str | None = None,
) -> None:
    """What came of it; whoever claimed it meanwhile knows better."""
    values: dict[str, Any] = {"status": str(status), "at": to_text(now())}
    values |= {"reason": reason} if reason else {}
    values |= {"message_id": message_id} if message_id else {}
    table.written([table.change(notice, by, set_=values, remove=["claimed_until"])])
    count({State.SENT: "NoticesSent", State.FAILED: "NoticesFailed"}.get(status, "NoticesSkipped"))


def give_back(notice: NotificationItem, by: Actor) -> None:
    """It was not sent, that is known, and may be tried again: a try that does not count."""
    values = {"tries": int(notice.tries) - 1}
    table.written([table.change(notice, by, set_=values, remove=["claimed_until"])])


def skip(about: Item, due: Due, reason: str, by: Actor) -> None:
    """Record that a notice is not sent, and why; it never will be."""
    made = _new(about, due, by, State.SKIPPED, reason=reason)
    if table.written([table.put_new(made)]):
        count("NoticesSkipped")


def tidy(notices: Iterable[NotificationItem], wanted: Iterable[Due], by: Actor) -> None:
    """Settle what a dead sender left, and is no longer due."""
    still = set(wanted)
    for notice in notices:
        if notice.kind in BY_EVENT:
            continue
        over = not notice.claimed_until or notice.claimed_until <= now()
        if notice.status == State.PENDING and over and due_of(notice) not in still:
            settle(notice, by, State.SKIPPED, reason=SUPERSEDED)


def _new(about: Item, due: Due, by: Actor, status: State, **values: Any) -> NotificationItem:
    return NotificationItem.create(
        key_of(about, due.kind, due.n),
        NOTIFICATION,
        by,
        kind=str(due.kind),
        audience=due.audience,
        status=str(status),
        at=now(),
        **values,
    )
