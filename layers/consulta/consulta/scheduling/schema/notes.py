"""Notes that members keep with an appointment."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from consulta.core.fields import printable
from consulta.core.http import ApiModel, Id

MAX_TEXT = 10_000


class NoteIn(ApiModel):
    """What is to be remembered of an appointment."""

    text: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_TEXT), AfterValidator(printable)
    ]


class Note(ApiModel):
    """One note. ``author`` is the person, or the API key, that wrote it."""

    id: Id
    appointment_id: Id
    text: str
    author: str
    created_at: datetime
    updated_at: datetime
    version: int


class NotePage(ApiModel):
    """One page, the newest first."""

    items: list[Note]
    next_cursor: str | None
