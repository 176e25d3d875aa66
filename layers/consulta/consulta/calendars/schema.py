"""Calendars elsewhere and feeds, as the API has them."""

from datetime import date, datetime
from typing import Annotated, Literal

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import Field, StringConstraints

from consulta.calendars.records import Label
from consulta.core.http import ApiModel, Id

CalendarId = Annotated[str, StringConstraints(min_length=1, max_length=254, pattern=r"^[^\s/#?]+$")]
ExpertId = Annotated[
    Id | None, Query(alias="expert_id", description="Whose; the caller's own if left out")
]
Code = Annotated[str | None, Query(max_length=2048, description="What Google gave the consent")]
BegunState = Annotated[str | None, Query(max_length=200, description="What was begun")]


class ConnectIn(ApiModel):
    """Whose calendar is to be connected: the caller's own where ``expert_id`` is left out."""

    expert_id: Id | None = None


class ConnectOut(ApiModel):
    """Where the browser goes, in which the request was made, within ten minutes."""

    url: str


class CalendarPatch(ApiModel):
    """Which calendar is written and read, whether its busy times count, what events are called."""

    calendar_id: CalendarId | None = None
    import_busy: bool | None = None
    label: Label | None = None


class CalendarOut(ApiModel):
    """The connection: ``revoked`` was withdrawn at Google and wants the consent again.

    ``read_at`` is when busy times were last read; ``told_until`` until when Google tells of
    changes by itself (they are read every six hours all the same).
    """

    expert_id: Id
    state: Literal["connected", "revoked", "disconnected"]
    calendar_id: str | None = None
    import_busy: bool = True
    label: Label = Label.NEUTRAL
    connected_at: datetime | None = None
    read_at: datetime | None = None
    told_until: datetime | None = None
    error: str | None = None
    version: Annotated[int, Field(ge=0)] = 0


class CalendarChoice(ApiModel):
    """A calendar at Google that may be written to."""

    id: str
    name: str
    primary: bool
    zone: str | None


class CalendarChoices(ApiModel):
    """All of them."""

    items: list[CalendarChoice]


class FeedIn(ApiModel):
    """Whose appointments: an expert's, or as a patient one's own.

    ``labels``: every event is called "Appointment", or by its service. A service's name is health
    data, and whoever has the address can read it.
    """

    expert_id: Id | None = None
    labels: Literal["neutral", "service"] = "neutral"


class FeedOut(ApiModel):
    """A feed without its address; ``hint`` are the last characters of it."""

    id: Id
    expert_id: Id | None
    patient_id: Id | None
    labels: Literal["neutral", "service"]
    hint: str
    created_at: datetime
    last_used_on: date | None


class FeedCreated(FeedOut):
    """A new feed. ``url`` is shown this once: null where the same request is made again."""

    url: str | None


class FeedList(ApiModel):
    """All feeds of one expert or patient: at most five."""

    items: list[FeedOut]
