"""Experts' profiles."""

from typing import Annotated

from pydantic import Field, StringConstraints

from consulta.core.fields import Name, Text, Zone
from consulta.core.http import ApiModel, Id
from consulta.people.schema.fields import Languages, Title, Version


class ExpertIn(ApiModel):
    """The profile that a member who sees patients starts with."""

    title: Title = ""
    bio: Text = ""
    languages: Languages = Field(default_factory=list)
    zone: Zone


class ExpertPatch(ApiModel):
    """What of a profile changes."""

    name: Name | None = None
    title: Title | None = None
    bio: Text | None = None
    languages: Languages | None = None
    zone: Zone | None = None


class ExpertOut(ApiModel):
    """An expert's public profile."""

    id: Id
    name: str
    title: str
    bio: str
    languages: list[str]
    zone: str
    published: bool
    version: Version


class ExpertPage(ApiModel):
    """Experts in the order in which they came."""

    items: list[ExpertOut]
    next_cursor: str | None


class ProfileView(ApiModel):
    """Somebody has seen a profile.

    ``visitor`` is for API keys: an id of the website's own, the same for one visitor all day, and
    nothing that says who they are. Patients who are signed in are visitors themselves.
    """

    visitor: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
        ]
        | None
    ) = None
