"""Stored items of messages, and what one message or one reading makes of a thread: pure.

A thread is between a patient and one expert, or between a patient and the practice as a whole, and
there is exactly one of each: its id is made from the two. It counts what either side has sent; a
message knows both counts as they were with it. So whatever is read up to is a subtraction, however
many messages there are, and nothing is ever counted again.
"""

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from ulid import ULID

from consulta.core import ids
from consulta.core.item import InstantAttribute, Item, ListedItem
from consulta.core.keys import Key, Tenant
from consulta.core.time import to_text
from consulta.people.records import PATIENT

THREAD, MESSAGE, THREADS = "THREAD", "MESSAGE", "THREADS"
_THREAD_PREFIX, _MESSAGE_PREFIX = "thr", "msg"
# What stands for the practice where an expert's id would: no id is like it.
_PRACTICE_AS_A_WHOLE = "practice"
# How far behind the last id one may be whose machine has a slow clock: of the 80 random bits.
_STEP_BITS = 48


class Side(StrEnum):
    """The two sides of a thread; all members of the practice are one."""

    PATIENT = "patient"
    PRACTICE = "practice"

    @property
    def other(self) -> "Side":
        """Whom this side writes to."""
        return Side.PRACTICE if self is Side.PATIENT else Side.PATIENT


class ThreadItem(ListedItem):
    """What a patient and an expert write each other; without ``expert_id``, with the practice.

    ``sent_<side>`` is how many messages that side has sent, ``unread_<side>`` how many of the other
    side's it has not read. ``seen_<side>`` is how many there were of the other's when this side was
    last here, reading or writing: mails are sent about later ones only. ``ended_at`` marks the
    thread of a deleted patient, which nobody finds any more. Lists, each by the last message:
    ``l1`` the practice's, ``l2`` the expert's, ``l3`` the patient's.
    """

    patient_id = UnicodeAttribute()
    expert_id = UnicodeAttribute(null=True)
    zone = UnicodeAttribute()
    sent_patient = NumberAttribute(default=0)
    sent_practice = NumberAttribute(default=0)
    unread_patient = NumberAttribute(default=0)
    unread_practice = NumberAttribute(default=0)
    seen_patient = NumberAttribute(default=0)
    seen_practice = NumberAttribute(default=0)
    last_message_id = UnicodeAttribute(default="")
    last_from = UnicodeAttribute()
    last_at = InstantAttribute()
    ended_at = InstantAttribute(null=True)
    l2pk = UnicodeAttribute(null=True)
    l2sk = UnicodeAttribute(null=True)
    l3pk = UnicodeAttribute(null=True)
    l3sk = UnicodeAttribute(null=True)

    def sent(self, side: Side) -> int:
        """How many messages that side has sent."""
        return int(getattr(self, f"sent_{side}"))

    def unread(self, side: Side) -> int:
        """How many messages that side has not read."""
        return int(getattr(self, f"unread_{side}"))

    def seen(self, side: Side) -> int:
        """How many there were for that side when it was last here."""
        return int(getattr(self, f"seen_{side}"))


class MessageItem(Item):
    """One message, a sub-item of its thread: MESSAGE#<message id>, in the order in which they came.

    ``sent_<side>`` are the thread's counts with this message in them. Its text is personal to
    ``patient_id``: the audit keeps it under their key. ``author`` is a person or an API key.
    """

    message_id = UnicodeAttribute()
    patient_id = UnicodeAttribute()
    sender = UnicodeAttribute()
    author = UnicodeAttribute()
    text = UnicodeAttribute()
    sent_patient = NumberAttribute()
    sent_practice = NumberAttribute()

    def sent(self, side: Side) -> int:
        """How many messages that side had sent, this one included."""
        return int(getattr(self, f"sent_{side}"))


# ---------------------------------------------------------------- ids and keys


def id_of(patient_id: str, expert_id: str | None) -> str:
    """The id of the one thread between the two; the practice as a whole without an expert."""
    return ids.derived(_THREAD_PREFIX, f"{patient_id}\0{expert_id or _PRACTICE_AS_A_WHOLE}")


def next_message_id(last: str) -> str:
    """A new message's id: later than the ``last`` one's, whatever this machine's clock says.

    Only one message can follow a version of its thread, so the order of ids is the order in which
    messages came. No two tries make the same one.
    """
    found = ULID()
    if last:
        before = ULID.from_str(last.partition("_")[2])
        if found <= before:
            found = ULID.from_int(int(before) + 1 + secrets.randbits(_STEP_BITS))
    return f"{_MESSAGE_PREFIX}_{found}"


def message_key(tenant: Tenant, thread_id: str, message_id: str) -> Key:
    """The key of one message."""
    return tenant.sub(THREAD, thread_id, MESSAGE, message_id)


def threads_key(tenant: Tenant, patient_id: str) -> Key:
    """The row under a patient that names their threads: an attribute each, and ``threads``."""
    return tenant.sub(PATIENT, patient_id, THREADS)


# ---------------------------------------------------------------- what happens to a thread


def places(thread_id: str, at: datetime, *, has_expert: bool) -> dict[str, str]:
    """Where a thread stands in its lists: by its last message."""
    place = f"{to_text(at)}#{thread_id}"
    return {"l1sk": place, "l3sk": place} | ({"l2sk": place} if has_expert else {})


def after_message(
    thread: ThreadItem, sender: Side, message_id: str, at: datetime
) -> dict[str, Any]:
    """What of a thread changes with a message; instants are datetimes.

    Who writes is there, so that no mail tells them of what they have before their eyes; it stays
    unread until it is read.
    """
    reader = sender.other
    instant = max(at, thread.last_at)
    return {
        f"sent_{sender}": thread.sent(sender) + 1,
        f"unread_{reader}": thread.unread(reader) + 1,
        f"seen_{sender}": thread.sent(reader),
        "last_message_id": message_id,
        "last_from": str(sender),
        "last_at": instant,
        **places(thread.item_id, instant, has_expert=bool(thread.expert_id)),
    }


def after_reading(thread: ThreadItem, reader: Side, message: MessageItem) -> dict[str, Any]:
    """What of a thread changes when one side has read up to a message; nothing where it had before.

    What came after that message stays unread.
    """
    left = thread.sent(reader.other) - message.sent(reader.other)
    if left >= thread.unread(reader):
        return {}
    return {f"unread_{reader}": left, f"seen_{reader}": thread.sent(reader.other)}
