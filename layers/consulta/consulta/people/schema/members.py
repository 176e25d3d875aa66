"""Members of a practice."""

from datetime import datetime
from typing import Literal, Self

from pydantic import model_validator

from consulta.core.fields import Name
from consulta.core.http import ApiModel, Id
from consulta.core.permissions import Role
from consulta.people.contact import Email
from consulta.people.passwords import NewPassword
from consulta.people.schema.experts import ExpertIn
from consulta.people.schema.fields import Version


class MemberIn(ApiModel):
    """Let somebody in. ``expert`` for who sees patients, ``patient_id`` for a patient's login."""

    email: Email
    name: Name
    role: Literal["owner", "admin", "expert", "billing", "viewer", "patient"]
    temporary_password: NewPassword
    patient_id: Id | None = None
    expert: ExpertIn | None = None

    @model_validator(mode="after")
    def _subject(self) -> Self:
        role = Role(self.role)
        if (role is Role.PATIENT) != (self.patient_id is not None):
            raise ValueError("patient_id belongs to the role patient, and the role needs it")
        if role is Role.EXPERT and self.expert is None:
            raise ValueError("the role expert needs expert")
        if self.expert is not None and role not in {Role.OWNER, Role.ADMIN, Role.EXPERT}:
            raise ValueError("only an owner, an admin or an expert sees patients")
        return self


class MemberOut(ApiModel):
    """A member of the practice, or a patient's login."""

    id: Id
    email: str
    name: str
    role: Role
    expert_id: Id | None
    patient_id: Id | None
    created_at: datetime
    version: Version


class MemberPage(ApiModel):
    """Members in the order in which they came."""

    items: list[MemberOut]
    next_cursor: str | None
