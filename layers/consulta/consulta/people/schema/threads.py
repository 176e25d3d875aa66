"""Messages between a patient and an expert, or the practice."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from consulta.core.fields import printable
from consulta.core.http import ApiModel, Id
from consulta.people.schema.fields import Version
from consulta.people.thread_records import Side

MAX_TEXT = 4_000
MessageText = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_TEXT), AfterValidator(printable)
]
Count = Annotated[int, Field(ge=0)]


class MessageIn(ApiModel):
    """What is written."""

    text: MessageText


class ThreadIn(MessageIn):
    """A first message. Without ``expert_id`` it is between the patient and the practice.

    Members name the patient; a patient is who signs in.
    """

    expert_id: Id | None = None
    patient_id: Id | None = None


class ThreadFilter(ApiModel):
    """Which threads a list shows. ``unread``: those with messages that the caller's side has not
    read.
    """

    unread: bool = False
    expert_id: Id | None = None
    patient_id: Id | None = None


class ReadIn(ApiModel):
    """The last message that was read."""

    up_to: Id


class ThreadParty(ApiModel):
    """Who writes; without a name where the caller may not see it."""

    id: Id
    name: str | None


class ThreadOut(ApiModel):
    """A thread as the caller's side has it. ``expert`` is null where it is with the practice.

    ``unread`` are the other side's messages that this side has not read; all members of the
    practice are one side. ``messages`` are all of both.
    """

    id: Id
    patient: ThreadParty
    expert: ThreadParty | None
    unread: Count
    messages: Count
    last_message_id: Id
    last_message_at: datetime
    last_message_from: Side
    created_at: datetime
    version: Version


class ThreadPage(ApiModel):
    """Threads, that with the newest message first."""

    items: list[ThreadOut]
    next_cursor: str | None


class MessageOut(ApiModel):
    """One message. ``author``, for members only, is the person or API key that wrote it."""

    id: Id
    thread_id: Id
    sender: Side
    author: str | None
    text: str
    created_at: datetime


class MessagePage(ApiModel):
    """Messages of one thread, the newest first."""

    items: list[MessageOut]
    next_cursor: str | None


class ThreadOpened(ThreadOut):
    """The thread, and the message that was sent with it."""

    message: MessageOut
