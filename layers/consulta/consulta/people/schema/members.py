"""Members of a practice."""

from datetime import datetime
from typing import Literal, Self

from pydantic import model_validator

from consulta.core.fields import Name
from consulta.core.http import ApiModel, Id
from consulta.core.permissions import Role
from consulta.people.schema.experts import ExpertIn
from consulta.people.schema.fields import Version


class MemberPatch(ApiModel):
    """What of a member changes: a built-in ``role``, or ``role_id`` of the practice's own.

    ``expert`` gives a profile to a member who has none and sees patients from now on.
    """

    name: Name | None = None
    role: Literal["owner", "admin", "expert", "billing", "viewer"] | None = None
    role_id: Id | None = None
    expert: ExpertIn | None = None

    @model_validator(mode="after")
    def _one_role(self) -> Self:
        if self.role is not None and self.role_id is not None:
            raise ValueError("either role or role_id")
        return self


class MemberOut(ApiModel):
    """A member of the practice, or a patient's login. ``role_id`` belongs to the role custom."""

    id: Id
    email: str
    name: str
    role: Role
    role_id: Id | None
    expert_id: Id | None
    patient_id: Id | None
    deactivated_at: datetime | None
    created_at: datetime
    version: Version


class MemberPage(ApiModel):
    """Members in the order in which they came."""

    items: list[MemberOut]
    next_cursor: str | None
