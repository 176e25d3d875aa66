"""Invitations: how somebody comes into a practice."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from consulta.core.fields import Name
from consulta.core.http import ApiModel, Id
from consulta.core.permissions import Role
from consulta.people.contact import Email
from consulta.people.passwords import NewPassword
from consulta.people.schema.experts import ExpertIn
from consulta.people.schema.fields import PracticeName, Version

Token = Annotated[
    SecretStr, Field(min_length=1, max_length=128, description="From the link in the mail")
]
_SEES_PATIENTS = frozenset({Role.OWNER, Role.ADMIN, Role.EXPERT, Role.CUSTOM})


class InvitationIn(ApiModel):
    """Invite somebody as a built-in ``role``, or as ``role_id`` of the practice's own.

    ``expert`` for who sees patients, ``patient_id`` for a patient's login.
    """

    email: Email
    name: Name
    role: Literal["owner", "admin", "expert", "billing", "viewer", "patient"] | None = None
    role_id: Id | None = None
    patient_id: Id | None = None
    expert: ExpertIn | None = None

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if (self.role is None) == (self.role_id is None):
            raise ValueError("either role or role_id")
        role = Role(self.role) if self.role else Role.CUSTOM
        if (role is Role.PATIENT) != (self.patient_id is not None):
            raise ValueError("patient_id belongs to the role patient, and the role needs it")
        if role is Role.EXPERT and self.expert is None:
            raise ValueError("the role expert needs expert")
        if self.expert is not None and role not in _SEES_PATIENTS:
            raise ValueError("this role sees no patients, so expert does not belong to it")
        return self


class InvitationOut(ApiModel):
    """An invitation. ``mailed_at`` is null where the mail could not be sent: send it again."""

    id: Id
    email: str
    name: str
    role: Role
    role_id: Id | None
    patient_id: Id | None
    state: Literal["open", "accepted", "revoked", "expired"]
    valid_until: datetime
    mailed_at: datetime | None
    member_id: Id | None
    created_at: datetime
    version: Version


class InvitationPage(ApiModel):
    """Invitations, the newest first."""

    items: list[InvitationOut]
    next_cursor: str | None


class AcceptIn(ApiModel):
    """Come in without an account: ``password`` is the new account's."""

    token: Token
    password: NewPassword | None = None
    name: Name | None = None


class AcceptSignedIn(ApiModel):
    """Come in with the account that one is signed in with."""

    token: Token
    name: Name | None = None


class AcceptedOut(ApiModel):
    """Where one is a member now, and as what."""

    practice: PracticeName
    member_id: Id
    role: Role
    expert_id: Id | None
    patient_id: Id | None
