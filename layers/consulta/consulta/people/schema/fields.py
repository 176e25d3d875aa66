"""Fields, and a small model, that several of these models share."""

from typing import Annotated

from pydantic import Field, StringConstraints

from consulta.core.http import ApiModel, Id

Title = Annotated[str, StringConstraints(max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")]
Languages = Annotated[list[Language], Field(max_length=20)]
Phone = Annotated[str, StringConstraints(min_length=4, max_length=32)]
Version = Annotated[int, Field(ge=1)]


class PracticeName(ApiModel):
    """A practice in short."""

    id: Id
    name: str
